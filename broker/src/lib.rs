//! The broker as a library: everything of the process except its `main`, so that tests and benchmarks can reach it.
//!
//! Invariants: `main.rs` is thin (read the configuration, check the machine, start the threads); no module here knows
//! of a client library.

pub mod admin;
pub mod api;
pub mod config;
pub mod control;
pub mod exit;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod quorum;
pub mod runtime;
pub mod shard;
pub mod startup;

#[cfg(test)]
mod tests;

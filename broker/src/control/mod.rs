//! The control thread: it assembles the broker, runs the metadata quorum, tells the shards what changes, and stops all.
//!
//! A tokio runtime of one thread. It never does anything that a produce or a fetch waits for.

mod assemble;
mod layout;
mod publish;
mod signals;

pub use assemble::run;
#[cfg(test)]
pub(crate) use assemble::store_options;

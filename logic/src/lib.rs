//! Every decision of the broker as state machines: no I/O, no clock, no executor.

pub mod config;
pub mod limits;

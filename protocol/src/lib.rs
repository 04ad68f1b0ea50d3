//! Bytes to types and back: Kafka's messages and record batches. No I/O.

pub mod generated;
pub mod types;

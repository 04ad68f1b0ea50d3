//! The records of a batch: read in place, and built.
//!
//! A record, all integers but the attributes zigzag varints:
//!
//! ```text
//! length │ attributes i8 │ timestamp delta │ offset delta │ key length │ key │ value length │ value │ header count │ headers
//! header: key length │ key │ value length │ value
//! ```
//!
//! A length of -1 is null; a header's key can't be null. Headers keep their order and may repeat a key.

mod build;
mod control;
mod read;
mod retain;

#[cfg(test)]
mod tests;

pub use build::{BatchBuilder, BatchOptions, ProducerStamp, recompress};
pub use control::{ControlKind, ControlRecord, control_batch};
pub use read::{Header, Headers, Record, RecordIter, RecordProblem};
pub use retain::{Retained, without_records};

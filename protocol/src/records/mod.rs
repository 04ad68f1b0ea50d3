//! The records of a batch: read in place, and built.
//!
//! A record, all integers but the attributes zigzag varints:
//!
//! ```text
//! length │ attributes i8 │ timestamp delta │ offset delta │ key length │ key │ value length │ value │ header count │ headers
//! header: key length │ key │ value length │ value
//! ```
//!
//! That is Kafka's encoding; native records ([`crate::native`]) are read and built by the same names. A length of -1 is null; a header's key can't be null. Headers keep their order and may repeat a key.

mod build;
mod control;
mod read;
mod retain;

#[cfg(test)]
mod tests;

pub use build::{BatchBuilder, BatchOptions, ProducerStamp, recompress, restamp};
pub(crate) use build::{join, put_record};
pub use control::{ControlKind, ControlRecord, control_batch};
pub(crate) use read::Part;
pub use read::{Header, HeaderIter, Headers, Record, RecordIter, RecordProblem};
pub use retain::{Retained, without_records};

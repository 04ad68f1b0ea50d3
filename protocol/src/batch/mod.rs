//! Record batches (KIP-98, magic 2, and native ones): the header in place, walking a payload, checking what a producer sent.
//!
//! A batch is 61 bytes of header and a body of records, compressed as a whole or not at all. Everything that the broker
//! decides by is in the header, so the body is looked at only to check it.

mod header;
mod iterate;
mod validate;

#[cfg(test)]
mod tests;

pub(crate) use header::HeaderFields;
pub use header::{
    BatchHeader, Encoding, HEADER_BYTES, LENGTH_BYTES_MIN, MAGIC, MAGIC_NATIVE, OVERHEAD_BYTES,
    TimestampType, crc,
};
pub use iterate::{Batch, BatchIter, FramingError};
pub use validate::{BatchError, BatchLimits, BatchSummary, RecordError, check_crc, validate};

//! What a batch from a producer must fulfil before it is appended.
//!
//! The rules are those of Kafka's broker. In an uncompressed batch the records' framing is walked as well, so that one
//! bad producer can't poison every consumer; a compressed body is taken on the strength of its CRC.

use super::header::{Encoding, crc_of_batch};
use super::{Batch, BatchHeader};
use crate::compression::Compression;
use crate::limits::NATIVE_BODY_BYTES_MAX;
use crate::records::{RecordIter, RecordProblem};
use crate::types::{ProducerId, Timestamp};

/// What bounds a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// The largest batch, header included (`max.message.bytes`).
    pub bytes_max: usize,
}

/// A bad record in an uncompressed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {problem}")]
pub struct RecordError {
    /// The record's place in the batch.
    pub index: i32,
    /// What is wrong with it.
    pub problem: RecordProblem,
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not the format that is taken here.
    #[error("a batch in format {0}")]
    Magic(i8),
    /// Larger than the topic takes.
    #[error("a batch of {size_bytes} bytes is larger than the {bytes_max} allowed")]
    TooLarge {
        /// The whole batch.
        size_bytes: usize,
        /// The topic's limit.
        bytes_max: usize,
    },
    /// The bytes are not those that the producer sent.
    #[error("the CRC-32C is {computed:08x} where the batch says {stored:08x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// A compression that Kafka has not given out.
    #[error("unknown compression in attributes {0:#06x}")]
    Compression(i16),
    /// No record, or a count that is not what the offsets say.
    #[error("a count of {count} where the last offset delta is {last_offset_delta}")]
    Count {
        /// The count.
        count: i32,
        /// The delta, which must be one less.
        last_offset_delta: i32,
    },
    /// Producers don't write control batches.
    #[error("a control batch from a producer")]
    Control,
    /// A producer id without a sequence or an epoch, or a transaction without a producer id.
    #[error("producer id, epoch and sequence don't fit together")]
    Producer,
    /// A record can't be read, or is not where it says.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Bytes follow the last record.
    #[error("{0} bytes follow the last record")]
    Trailing(usize),
}

/// What checking a batch found out on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// How the records are written.
    pub encoding: Encoding,
    /// How the records are compressed.
    pub compression: Compression,
    /// The records' smallest and largest timestamps; none for a compressed body, which is not looked into.
    pub timestamps: Option<(Timestamp, Timestamp)>,
}

/// Checks a batch from a producer. Its length is true already: the payload was cut by it.
pub fn validate(batch: Batch<'_>, limits: BatchLimits) -> Result<BatchSummary, BatchError> {
    let header = batch.header();
    let encoding = header.encoding().ok_or(BatchError::Magic(header.magic()))?;
    let size_bytes = batch.bytes().len();
    if size_bytes > limits.bytes_max {
        return Err(BatchError::TooLarge { size_bytes, bytes_max: limits.bytes_max });
    }
    check_crc(batch)?;
    let compression = header.compression().ok_or(BatchError::Compression(header.attributes()))?;
    validate_header(header)?;
    if encoding == Encoding::Native && batch.body().len() > NATIVE_BODY_BYTES_MAX {
        let bytes_max = NATIVE_BODY_BYTES_MAX.min(limits.bytes_max);
        return Err(BatchError::TooLarge { size_bytes, bytes_max });
    }
    let timestamps = match compression {
        Compression::None => Some(walk(header, batch.body())?),
        _ => None,
    };
    Ok(BatchSummary { encoding, compression, timestamps })
}

/// Checks that the bytes are those that the CRC was made of.
pub fn check_crc(batch: Batch<'_>) -> Result<(), BatchError> {
    let stored = batch.header().crc();
    let computed = crc_of_batch(batch.bytes());
    if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
}

fn validate_header(header: &BatchHeader) -> Result<(), BatchError> {
    let count = header.record_count();
    let last_offset_delta = header.last_offset_delta();
    if count <= 0 || count - 1 != last_offset_delta {
        return Err(BatchError::Count { count, last_offset_delta });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    let idempotent = header.producer_id() != ProducerId::NONE;
    let sequenced = header.base_sequence().0 >= 0 && header.producer_epoch().0 >= 0;
    if idempotent && (header.producer_id().0 < 0 || !sequenced) {
        return Err(BatchError::Producer);
    }
    if header.is_transactional() && !idempotent {
        return Err(BatchError::Producer);
    }
    Ok(())
}

/// Walks the records' framing and returns their smallest and largest timestamps.
fn walk(header: &BatchHeader, body: &[u8]) -> Result<(Timestamp, Timestamp), BatchError> {
    let mut records = RecordIter::new(body, header);
    let (mut smallest, mut largest) = (i64::MAX, i64::MIN);
    for index in 0..header.record_count() {
        let refuse = |problem| RecordError { index, problem };
        let record = records.next().unwrap_or(Err(RecordProblem::Truncated)).map_err(refuse)?;
        record.headers.check().map_err(refuse)?;
        if record.offset_delta != index {
            return Err(refuse(RecordProblem::OffsetDelta { delta: record.offset_delta }).into());
        }
        smallest = smallest.min(record.timestamp.0);
        largest = largest.max(record.timestamp.0);
    }
    match records.left() {
        0 => Ok((Timestamp(smallest), Timestamp(largest))),
        left => Err(BatchError::Trailing(left)),
    }
}

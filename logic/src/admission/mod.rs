//! Which batches a partition takes from a producer, and what has to be done to them first.
//!
//! [`admit`] looks at what one Produce request brings for one partition: exactly one batch, sound in itself
//! ([`protocol::batch::validate`]), and within the topic's rules: size, timestamps, compression. Kafka's rules
//! (`LogValidator`, `UnifiedLog`, `ProduceRequest`), with these differences, all towards refusing:
//!
//! - bytes after the batch are refused, where Kafka drops them;
//! - a batch that claims the broker's timestamps is refused on every topic, where Kafka relabels it on some.
//!
//! A compressed batch is not opened for its timestamps' upper bound: its header's maximum, which retention and time
//! indexes go by, is checked instead. It is opened where [`Admitted::look_inside`] says so.
//!
//! A native batch goes by the same rules, but is opened in any case: Kafka's records may have to be made of it.
//!
//! It must not know: producers' sequences, offsets, Kafka's error codes.

#[cfg(test)]
mod tests;

use crate::config::{CompressionChoice, TimestampType, TopicConfig};
use crate::limits::RECORD_ERRORS_MAX;
use crate::producer::ProducerBatch;
use protocol::batch::{
    self, Batch, BatchError, BatchHeader, BatchIter, BatchLimits, Encoding, FramingError, RecordError,
};
use protocol::compression::Compression;
use protocol::records::{RecordIter, RecordProblem};
use protocol::types::{Offset, Timestamp};
use thiserror::Error;

/// The first version of Produce whose clients may send zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;

/// The record's producer gave it no timestamp.
const TIMESTAMP_NONE: Timestamp = Timestamp(-1);

/// Why a partition does not take what a producer sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// There is no batch.
    #[error("no batch")]
    Empty,
    /// What was sent can't be cut into batches.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// There is more than one batch, or something behind it.
    #[error("{trailing_bytes} bytes follow the batch")]
    SeveralBatches {
        /// How much there is too much.
        trailing_bytes: usize,
    },
    /// The batch is unsound, or too large.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A decompressed batch's records are unsound.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Offsets are the broker's to give.
    #[error("a batch from a producer starts at offset 0, not {base_offset}")]
    BaseOffset {
        /// What it claims.
        base_offset: Offset,
    },
    /// The request is too old for its batch's compression.
    #[error("zstd in version {version} of Produce")]
    CompressionTooNew {
        /// The request's version.
        version: i16,
    },
    /// The batch does not fit in a segment of the topic.
    #[error("a batch of {size_bytes} bytes is larger than a segment of {segment_bytes}")]
    LargerThanSegment {
        /// The whole batch.
        size_bytes: usize,
        /// The topic's limit.
        segment_bytes: u32,
    },
    /// The batch claims that the broker made its timestamps.
    #[error("a producer's timestamps labelled as the broker's")]
    AppendTimeFromProducer,
    /// Records of a compacted topic need keys.
    #[error(
        "One or more records have been rejected due to {count} record errors in total, of which the first are told"
    )]
    WithoutKey {
        /// Where in the batch the first of them are.
        indexes: Vec<i32>,
        /// How many there are.
        count: usize,
    },
    /// A record is further in the past or future than the topic allows.
    #[error("timestamp {timestamp} is not between {earliest} and {latest}")]
    TimestampOutOfRange {
        /// The record's.
        timestamp: Timestamp,
        /// The earliest allowed now.
        earliest: Timestamp,
        /// The latest allowed now.
        latest: Timestamp,
    },
}

/// What to do with a batch's timestamps while it is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing.
    Keep,
    /// All records get this time, the broker's.
    AppendTime(Timestamp),
    /// The header's maximum is not the records': it gets this one.
    MaxTimestamp(Timestamp),
}

/// How a topic wants a batch compressed that came in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompression {
    /// The topic's compression.
    pub compression: Compression,
    /// Its level, where the topic has one.
    pub level: Option<i32>,
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'a> {
    /// The batch.
    pub batch: Batch<'a>,
    /// How many offsets it takes.
    pub record_count: u32,
    /// Its idempotent producer, if it has one.
    pub producer: Option<ProducerBatch>,
    /// What to do with its timestamps.
    pub stamp: Stamp,
    /// What to do with its compression; [`check_size`] follows.
    pub recompression: Option<Recompression>,
    /// Whether it has to be decompressed for [`check_inside`] before it is appended.
    pub look_inside: bool,
}

/// Whether a partition takes `payload`, what a request of this version brings for it.
pub fn admit<'a>(
    now: Timestamp,
    version: i16,
    payload: &'a [u8],
    topic: &TopicConfig,
) -> Result<Admitted<'a>, AdmissionError> {
    let mut batches = BatchIter::new(payload);
    let batch = batches.next().ok_or(AdmissionError::Empty)??;
    if !batches.rest().is_empty() {
        return Err(AdmissionError::SeveralBatches { trailing_bytes: batches.rest().len() });
    }
    let header = batch.header();
    if header.base_offset() != Offset(0) {
        return Err(AdmissionError::BaseOffset { base_offset: header.base_offset() });
    }
    let bytes_max = usize::try_from(topic.message_bytes_max).expect("32 bits fit");
    let summary = batch::validate(batch, BatchLimits { bytes_max })?;
    check_size(batch.bytes().len(), topic)?;
    if summary.compression == Compression::Zstd && version < ZSTD_VERSION_MIN {
        return Err(AdmissionError::CompressionTooNew { version });
    }
    let stamp = admit_timestamps(now, batch, summary.timestamps, topic)?;
    let recompression = admit_compression(summary.compression, topic.compression);
    let is_compacted = topic.compaction.is_some();
    if is_compacted && summary.compression == Compression::None {
        check_keys(header, batch.body())?;
    }
    let bounded_below =
        topic.timestamp_type == TimestampType::CreateTime && topic.timestamp_before_max_ms < i64::MAX;
    let is_compressed = summary.compression != Compression::None;
    // What this broker may have to transcode it looks through, since nobody else will before.
    let is_native = summary.encoding == Encoding::Native;
    Ok(Admitted {
        batch,
        record_count: header.record_count().unsigned_abs(),
        producer: ProducerBatch::of(header),
        stamp,
        recompression,
        look_inside: is_compressed && (is_native || recompression.is_some() || bounded_below || is_compacted),
    })
}

/// Checks the records of a compressed batch, as [`admit`] checks those of an uncompressed one, and says what to do with
/// its timestamps.
pub fn check_inside(
    now: Timestamp,
    header: &BatchHeader,
    records: &[u8],
    topic: &TopicConfig,
) -> Result<Stamp, AdmissionError> {
    let mut walk = RecordIter::new(records, header);
    let mut largest = TIMESTAMP_NONE;
    for index in 0..header.record_count() {
        let refuse = |problem| RecordError { index, problem };
        let record = walk.next().unwrap_or(Err(RecordProblem::Truncated)).map_err(refuse)?;
        record.headers.check().map_err(refuse)?;
        if record.offset_delta != index {
            return Err(refuse(RecordProblem::OffsetDelta { delta: record.offset_delta }).into());
        }
        if topic.timestamp_type == TimestampType::CreateTime {
            check_timestamp(now, record.timestamp, topic)?;
        }
        largest = largest.max(record.timestamp);
    }
    if topic.compaction.is_some() {
        check_keys(header, records)?;
    }
    match walk.left() {
        0 => Ok(stamp(now, header, largest, topic)),
        left => Err(BatchError::Trailing(left).into()),
    }
}

/// Whether every record has a key, as those of a compacted topic must (KIP-467 tells which have not). Called on records whose
/// framing is sound.
fn check_keys(header: &BatchHeader, records: &[u8]) -> Result<(), AdmissionError> {
    let (mut indexes, mut count) = (Vec::new(), 0);
    for (index, record) in (0..).zip(RecordIter::new(records, header)) {
        if record.is_ok_and(|record| record.key.is_none()) {
            count += 1;
            if indexes.len() < RECORD_ERRORS_MAX {
                indexes.push(index);
            }
        }
    }
    if count == 0 { Ok(()) } else { Err(AdmissionError::WithoutKey { indexes, count }) }
}

/// Whether a batch of this size fits the topic: asked again after it was compressed in another way.
pub fn check_size(size_bytes: usize, topic: &TopicConfig) -> Result<(), AdmissionError> {
    let fits = |limit: u32| u32::try_from(size_bytes).is_ok_and(|size| size <= limit);
    if !fits(topic.message_bytes_max) {
        let bytes_max = usize::try_from(topic.message_bytes_max).expect("32 bits fit");
        return Err(BatchError::TooLarge { size_bytes, bytes_max }.into());
    }
    if !fits(topic.segment_bytes) {
        return Err(AdmissionError::LargerThanSegment { size_bytes, segment_bytes: topic.segment_bytes });
    }
    Ok(())
}

/// `walked` are the smallest and largest timestamps, where the records have been looked at.
fn admit_timestamps(
    now: Timestamp,
    batch: Batch<'_>,
    walked: Option<(Timestamp, Timestamp)>,
    topic: &TopicConfig,
) -> Result<Stamp, AdmissionError> {
    let header = batch.header();
    if header.timestamp_type() == batch::TimestampType::LogAppendTime {
        return Err(AdmissionError::AppendTimeFromProducer);
    }
    let (smallest, largest) = walked.unwrap_or((header.base_timestamp(), header.max_timestamp()));
    if topic.timestamp_type == TimestampType::CreateTime {
        check_timestamp(now, largest, topic)?;
        check_timestamp(now, smallest, topic)?;
        // A record without a timestamp hides the smallest of the others: rare enough for a second walk.
        let hidden = walked.is_some() && smallest == TIMESTAMP_NONE && largest > TIMESTAMP_NONE;
        if hidden && topic.timestamp_before_max_ms < i64::MAX {
            return check_inside(now, header, batch.body(), topic);
        }
    }
    Ok(stamp(now, header, largest, topic))
}

fn stamp(now: Timestamp, header: &BatchHeader, largest: Timestamp, topic: &TopicConfig) -> Stamp {
    match topic.timestamp_type {
        TimestampType::LogAppendTime => Stamp::AppendTime(now),
        TimestampType::CreateTime if header.max_timestamp() == largest => Stamp::Keep,
        TimestampType::CreateTime => Stamp::MaxTimestamp(largest),
    }
}

fn check_timestamp(now: Timestamp, timestamp: Timestamp, topic: &TopicConfig) -> Result<(), AdmissionError> {
    if timestamp == TIMESTAMP_NONE {
        return Ok(());
    }
    let earliest = Timestamp(now.get().saturating_sub(topic.timestamp_before_max_ms));
    let latest = Timestamp(now.get().saturating_add(topic.timestamp_after_max_ms));
    // Without a bound nothing is too early, not even what lies before all that 64 bits can count from now.
    let too_early = timestamp < earliest && topic.timestamp_before_max_ms < i64::MAX;
    if too_early || timestamp > latest {
        return Err(AdmissionError::TimestampOutOfRange { timestamp, earliest, latest });
    }
    Ok(())
}

fn admit_compression(source: Compression, wanted: CompressionChoice) -> Option<Recompression> {
    let (compression, level) = match wanted {
        CompressionChoice::Producer => return None,
        CompressionChoice::Uncompressed => (Compression::None, None),
        CompressionChoice::Gzip(level) => {
            (Compression::Gzip, level.and_then(|level| i32::try_from(level).ok()))
        }
        CompressionChoice::Snappy => (Compression::Snappy, None),
        CompressionChoice::Lz4 => (Compression::Lz4, None),
        CompressionChoice::Zstd(level) => (Compression::Zstd, Some(level)),
    };
    (compression != source).then_some(Recompression { compression, level })
}

//! Carries out what admission says has to be done to a batch before it is appended.
//!
//! Most batches go as they are. What must be decompressed (the topic wants another compression, is compacted, or bounds its
//! records' timestamps) is, once and within a bound. The shard does that itself where it is little, and as long as all
//! that is little of one request is not much; the rest is for a thread beside the shard's (see [`super::workbench`]).

use bytes::{Bytes, BytesMut};
use logic::admission::{self, AdmissionError, Admitted, Recompression, Stamp};
use logic::config::TopicConfig;
use logic::producer::ProducerBatch;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::{Compression, DecompressError};
use protocol::records::recompress;
use protocol::types::Timestamp;

use crate::limits::{PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX, PRODUCED_IN_PASSING_BYTES_MAX};

/// A zstd level up to which compressing is no more than [`EFFORT_ZSTD`] times the effort of reading.
const ZSTD_LEVEL_IN_PASSING_MAX: i32 = 3;
/// How many times the effort of reading it is to compress so.
const EFFORT_ZSTD: usize = 2;
/// The same, of gzip at any level.
const EFFORT_GZIP: usize = 8;

/// A batch ready to be appended.
#[derive(Debug)]
pub struct Prepared {
    /// Its bytes, as they are to be stored but for offset, epoch and append time.
    pub records: Bytes,
    /// How many offsets it takes.
    pub record_count: u32,
    /// The largest timestamp.
    pub timestamp_max: Timestamp,
    /// The time that the broker gives to its records, where the topic wants that.
    pub append_time: Option<Timestamp>,
    /// Its producer's stamp, where that is idempotent.
    pub producer: Option<ProducerBatch>,
}

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BatchRefusal {
    /// It breaks a rule.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It can't be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
}

/// What is left of the work that a shard does itself for one request: bytes of records, weighed by the effort.
#[derive(Debug)]
pub struct InPassing {
    bytes_left: usize,
}

impl Default for InPassing {
    fn default() -> Self {
        Self { bytes_left: PRODUCED_IN_PASSING_BYTES_MAX }
    }
}

impl InPassing {
    /// How large records may be that are worked on so.
    fn records_bytes_max(&self, recompression: Option<Recompression>) -> usize {
        effort(recompression).map_or(0, |effort| self.bytes_left / effort)
    }

    fn spend(&mut self, records_bytes: usize, recompression: Option<Recompression>) {
        let spent = effort(recompression).map_or(usize::MAX, |effort| records_bytes.saturating_mul(effort));
        self.bytes_left = self.bytes_left.saturating_sub(spent);
    }
}

/// How many times the effort of reading records it is to do with them what is to be done; none where that is anybody's guess.
fn effort(recompression: Option<Recompression>) -> Option<usize> {
    let Some(wanted) = recompression else { return Some(1) };
    match (wanted.compression, wanted.level) {
        (Compression::None | Compression::Snappy | Compression::Lz4, _) => Some(1),
        (Compression::Gzip, _) => Some(EFFORT_GZIP),
        (Compression::Zstd, Some(level)) if level > ZSTD_LEVEL_IN_PASSING_MAX => None,
        (Compression::Zstd, _) => Some(EFFORT_ZSTD),
    }
}

/// Checks what a request of this version brings for a partition, and makes it ready, where that takes little; none where it
/// takes more than what is left for that.
pub fn prepare_in_passing(
    now: Timestamp,
    version: i16,
    payload: &Bytes,
    topic: &TopicConfig,
    in_passing: &mut InPassing,
) -> Option<Result<Prepared, BatchRefusal>> {
    let admitted = match admission::admit(now, version, payload, topic) {
        Ok(admitted) => admitted,
        Err(error) => return Some(Err(error.into())),
    };
    if !is_opened(&admitted) {
        return Some(Ok(finish(admitted.stamp, payload.clone(), &admitted)));
    }
    let bytes_max = in_passing.records_bytes_max(admitted.recompression);
    if admitted.batch.body().len() > bytes_max {
        return None;
    }
    match admitted.batch.records(bytes_max) {
        Err(DecompressError::TooLarge { .. }) => {
            in_passing.spend(bytes_max, admitted.recompression);
            None
        }
        Err(error) => Some(Err(error.into())),
        Ok(records) => {
            in_passing.spend(records.len(), admitted.recompression);
            Some(open(now, payload, topic, &admitted, &records))
        }
    }
}

/// The same, however much it takes: not for a shard's thread.
///
/// # Errors
/// The first rule that the batch breaks.
pub fn prepare(
    now: Timestamp,
    version: i16,
    payload: &Bytes,
    topic: &TopicConfig,
) -> Result<Prepared, BatchRefusal> {
    let admitted = admission::admit(now, version, payload, topic)?;
    if !is_opened(&admitted) {
        return Ok(finish(admitted.stamp, payload.clone(), &admitted));
    }
    let records = admitted.batch.records(PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX)?;
    open(now, payload, topic, &admitted, &records)
}

/// Whether there is anything to do with the records.
fn is_opened(admitted: &Admitted<'_>) -> bool {
    admitted.look_inside || admitted.recompression.is_some()
}

/// Does to the decompressed records what is to be done with them.
fn open(
    now: Timestamp,
    payload: &Bytes,
    topic: &TopicConfig,
    admitted: &Admitted<'_>,
    records: &[u8],
) -> Result<Prepared, BatchRefusal> {
    let header = admitted.batch.header();
    let mut stamp = admitted.stamp;
    if admitted.look_inside {
        stamp = admission::check_inside(now, header, records, topic)?;
    }
    let mut bytes = payload.clone();
    if let Some(wanted) = admitted.recompression {
        let again = recompress(header, records, wanted.compression, wanted.level);
        admission::check_size(again.len(), topic)?;
        bytes = Bytes::from(again);
    }
    Ok(finish(stamp, bytes, admitted))
}

fn finish(stamp: Stamp, mut records: Bytes, admitted: &Admitted<'_>) -> Prepared {
    let (append_time, timestamp_max) = match stamp {
        Stamp::Keep => (None, admitted.batch.header().max_timestamp()),
        Stamp::AppendTime(time) => (Some(time), time),
        Stamp::MaxTimestamp(largest) => {
            records = with_max_timestamp(&records, largest);
            (None, largest)
        }
    };
    let (record_count, producer) = (admitted.record_count, admitted.producer);
    Prepared { records, record_count, timestamp_max, append_time, producer }
}

/// The batch with another maximum in its header, and the checksum that goes with it.
fn with_max_timestamp(batch: &Bytes, largest: Timestamp) -> Bytes {
    let mut copy = BytesMut::from(&batch[..]);
    let (header, body) = copy.split_at_mut(HEADER_BYTES);
    let header = BatchHeader::from_prefix_mut(header).expect("an admitted batch has a header");
    header.set_max_timestamp(largest, body);
    copy.freeze()
}

#[cfg(test)]
mod tests;

//! Carries out what admission says has to be done to a batch before it is appended.
//!
//! Most batches go as they are. What must be decompressed (the topic wants another compression, or bounds its records'
//! timestamps) is, within a bound.

use bytes::{Bytes, BytesMut};
use logic::admission::{self, AdmissionError, Stamp};
use logic::config::TopicConfig;
use logic::producer::ProducerBatch;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::DecompressError;
use protocol::records::recompress;
use protocol::types::Timestamp;

use crate::limits::PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX;

/// A batch ready to be appended.
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

/// Checks what a request of this version brings for a partition, and makes it ready.
///
/// # Errors
/// The first rule that it breaks.
pub fn prepare(
    now: Timestamp,
    version: i16,
    payload: &Bytes,
    topic: &TopicConfig,
) -> Result<Prepared, BatchRefusal> {
    let admitted = admission::admit(now, version, payload, topic)?;
    let batch = admitted.batch;
    let mut stamp = admitted.stamp;
    let mut records = payload.clone();
    if admitted.look_inside {
        let body = batch.records(PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX)?;
        stamp = admission::check_inside(now, batch.header(), &body, topic)?;
    }
    if let Some(wanted) = admitted.recompression {
        let again =
            recompress(batch, wanted.compression, wanted.level, PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX)?;
        admission::check_size(again.len(), topic)?;
        records = Bytes::from(again);
    }
    let (append_time, timestamp_max) = match stamp {
        Stamp::Keep => (None, batch.header().max_timestamp()),
        Stamp::AppendTime(time) => (Some(time), time),
        Stamp::MaxTimestamp(largest) => {
            records = with_max_timestamp(&records, largest);
            (None, largest)
        }
    };
    let (record_count, producer) = (admitted.record_count, admitted.producer);
    Ok(Prepared { records, record_count, timestamp_max, append_time, producer })
}

/// The batch with another maximum in its header, and the checksum that goes with it.
fn with_max_timestamp(batch: &Bytes, largest: Timestamp) -> Bytes {
    let mut copy = BytesMut::from(&batch[..]);
    let (header, body) = copy.split_at_mut(HEADER_BYTES);
    let header = BatchHeader::from_prefix_mut(header).expect("an admitted batch has a header");
    header.set_max_timestamp(largest, body);
    copy.freeze()
}

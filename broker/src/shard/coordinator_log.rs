//! The log that a coordinator lives in: a partition of an internal topic, read from its start, and appended to.

use bytes::Bytes;
use logic::producer::ProducerBatch;
use protocol::batch::{BatchHeader, BatchIter};
use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp, Record, RecordIter};
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::messages::PartitionError;
use super::partition::Partition;
use super::prepare::Prepared;
use super::produce::ProduceRefusal;
use super::{Shard, Store};
use crate::limits::{COORDINATOR_LOAD_BYTES, DECOMPRESSED_BATCH_BYTES_MAX};
use crate::runtime::{either, yield_if_needed};

/// Reads all records of a partition, up to an end that nothing follows while this returns.
///
/// # Errors
/// The log can't be read, or the shard stops.
pub async fn read_all(
    shard: &Shard,
    partition: &Partition,
    mut visit: impl FnMut(&BatchHeader, &Record<'_>),
) -> Result<(), PartitionError> {
    let mut at = partition.replica().log_start();
    loop {
        let (readable, end) = {
            let replica = partition.replica();
            (replica.readable_end(), replica.log_end())
        };
        if at >= end {
            return Ok(());
        }
        if at >= readable {
            // What was appended last is on its way to the device.
            wait_for(shard, partition, at.plus(1)).await?;
            continue;
        }
        let read = shard.store.read(partition.slot, at, readable, COORDINATOR_LOAD_BYTES).await?;
        for chunk in &read.chunks {
            visit_records(chunk, &mut visit)?;
            yield_if_needed().await;
        }
        if read.next <= at {
            return Err(PartitionError::Batch("a log that ends before its end".to_owned()));
        }
        at = read.next;
    }
}

/// Waits until a partition is committed up to `end`.
///
/// # Errors
/// The partition goes, or the shard stops.
pub async fn wait_for(shard: &Shard, partition: &Partition, end: Offset) -> Result<(), PartitionError> {
    loop {
        let advanced = partition.advanced.next();
        if partition.replica().readable_end() >= end {
            return Ok(());
        }
        let is_here = shard.partitions.get(partition.key).is_some();
        if !is_here || !either(advanced.wait(), shard.stopping.next().wait()).await {
            return Err(PartitionError::Unknown);
        }
    }
}

/// Goes through the records of whole batches.
///
/// # Errors
/// They are none.
pub(super) fn visit_records(
    chunk: &[u8],
    visit: &mut impl FnMut(&BatchHeader, &Record<'_>),
) -> Result<(), PartitionError> {
    let broken = |error: &dyn std::fmt::Display| PartitionError::Batch(error.to_string());
    for batch in BatchIter::new(chunk) {
        let batch = batch.map_err(|error| broken(&error))?;
        let body = batch.records(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| broken(&error))?;
        for record in RecordIter::new(&body, batch.header()) {
            visit(batch.header(), &record.map_err(|error| broken(&error))?);
        }
    }
    Ok(())
}

/// Appends records, in as few batches as the topic's limit allows: all of them or none, after a crash as well, because they
/// are one step of a coordinator. `producer` is whose transaction they belong to.
///
/// # Errors
/// Nothing was appended.
pub fn append<'r>(
    store: &Store,
    partition: &Partition,
    now: Timestamp,
    records: impl Iterator<Item = (&'r Bytes, Option<&'r Bytes>)>,
    producer: Option<(ProducerId, ProducerEpoch)>,
) -> Result<(), ProduceRefusal> {
    let bytes_max = partition.config.get().message_bytes_max as usize / 2;
    partition.append_own(store, now, &batches(now, bytes_max, records, producer))
}

/// Records in batches of at most so many bytes each, where a record is no longer than that by itself.
pub(super) fn batches<'r>(
    now: Timestamp,
    bytes_max: usize,
    records: impl Iterator<Item = (&'r Bytes, Option<&'r Bytes>)>,
    producer: Option<(ProducerId, ProducerEpoch)>,
) -> Vec<Prepared> {
    let mut records = records.peekable();
    let options = BatchOptions {
        transactional: producer.is_some(),
        producer: producer.map_or(ProducerStamp::NONE, |(id, epoch)| ProducerStamp {
            id,
            epoch,
            ..ProducerStamp::NONE
        }),
        ..BatchOptions::default()
    };
    let mut batches = Vec::new();
    while records.peek().is_some() {
        let mut builder = BatchBuilder::new(options);
        while let Some((key, value)) = records.next_if(|(key, value)| {
            let bytes = key.len() + value.map_or(0, Bytes::len);
            builder.record_count() == 0 || builder.records_bytes() + bytes <= bytes_max
        }) {
            builder.append(now, Some(key), value.map(|value| &value[..]), &[]);
        }
        let record_count = u32::try_from(builder.record_count()).expect("a count");
        batches.push(Prepared {
            records: Bytes::from(builder.build()),
            record_count,
            timestamp_max: now,
            append_time: None,
            producer: producer.map(|producer| stamp(producer, record_count)),
        });
    }
    batches
}

/// What the broker's own batches in a producer's transaction are known by: they are not counted.
#[must_use]
pub fn stamp((producer_id, epoch): (ProducerId, ProducerEpoch), record_count: u32) -> ProducerBatch {
    ProducerBatch {
        producer_id,
        epoch,
        base_sequence: Sequence(-1),
        last_offset_delta: i32::try_from(record_count - 1).expect("a batch holds fewer"),
        is_transactional: true,
    }
}

#[cfg(test)]
mod tests {
    use protocol::records::{ControlKind, ControlRecord, control_batch, without_records};
    use protocol::types::LeaderEpoch;

    use super::*;

    #[test]
    fn batches_that_compaction_has_emptied_are_passed_over() {
        let marker = ControlRecord { kind: ControlKind::Abort, coordinator_epoch: 0 };
        let marker = control_batch((ProducerId(7), ProducerEpoch(0)), LeaderEpoch(0), Timestamp(0), marker);
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(Timestamp(0), Some(b"key"), Some(b"value"), &[]);
        let records = builder.build();
        let empty =
            |batch: &[u8]| without_records(BatchIter::new(batch).next().expect("one").expect("whole"));
        let log = [empty(&marker), empty(&records), records.clone(), empty(&marker), marker].concat();
        let mut seen = Vec::new();
        let visited = visit_records(&log, &mut |header, _| seen.push(header.is_control()));
        assert!(visited.is_ok(), "{visited:?}");
        assert_eq!(seen, [false, true]);
    }
}

//! A partition's producers as bytes (`schemas/producer_snapshot.fbs`), for a checkpoint.
//!
//! Whoever stores the bytes proves them by a checksum; here they are verified as FlatBuffers and checked for sense, so
//! that no snapshot, however it came about, breaks an invariant of the table.

use super::arena::Arena;
use super::entry::{Entry, KeptBatch};
use super::table::ProducerTable;
use crate::limits::{PRODUCER_BATCHES_KEPT, PRODUCER_SNAPSHOT_BYTES_MAX, PRODUCERS_PER_PARTITION_MAX};
use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, VerifierOptions};
use protocol::generated::producer_snapshot as schema;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use thiserror::Error;

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// They are not the FlatBuffers table that they should be.
    #[error("not a producer snapshot: {0}")]
    Malformed(#[from] InvalidFlatbuffer),
    /// The table contradicts itself.
    #[error("a producer snapshot that contradicts itself: {what}")]
    Inconsistent {
        /// What is wrong.
        what: &'static str,
    },
}

impl ProducerTable {
    /// The snapshot of the producers of a log that ends at `at`.
    #[must_use]
    pub fn encode_snapshot(&self, at: Offset) -> Vec<u8> {
        assert!(at >= self.end);
        let mut producers = Vec::with_capacity(self.len());
        let mut batches = Vec::with_capacity(self.len());
        for entry in self.entries.iter() {
            let count = u8::try_from(entry.batches().len()).expect("at most PRODUCER_BATCHES_KEPT");
            let (id, seen_at, epoch) = (entry.producer_id.get(), entry.seen_at.get(), entry.epoch.get());
            producers.push(schema::Producer::new(id, seen_at, epoch, count, entry.forgot));
            batches.extend(entry.batches().iter().map(encode_batch));
        }
        let bytes_estimate = producers.len() * 24 + batches.len() * 24 + 64;
        let mut builder = FlatBufferBuilder::with_capacity(bytes_estimate);
        let producers = builder.create_vector(&producers);
        let batches = builder.create_vector(&batches);
        let arguments =
            schema::ProducerSnapshotArgs { at: at.get(), producers: Some(producers), batches: Some(batches) };
        let root = schema::ProducerSnapshot::create(&mut builder, &arguments);
        builder.finish_minimal(root);
        builder.finished_data().to_vec()
    }

    /// The table that `bytes` were made of, and the offset from which the log's batches have to be replayed.
    pub fn decode_snapshot(bytes: &[u8], now: Timestamp) -> Result<(Self, Offset), SnapshotError> {
        let options =
            VerifierOptions { max_apparent_size: PRODUCER_SNAPSHOT_BYTES_MAX, ..VerifierOptions::default() };
        let snapshot = flatbuffers::root_with_opts::<schema::ProducerSnapshot<'_>>(&options, bytes)?;
        let at = Offset(snapshot.at());
        check(at >= Offset(0), "a negative offset")?;
        check(snapshot.producers().len() <= PRODUCERS_PER_PARTITION_MAX, "too many producers")?;
        let mut entries = Arena::default();
        let mut end = Offset(0);
        let mut batches = snapshot.batches().iter();
        for producer in snapshot.producers() {
            let entry = decode_producer(producer, &mut batches, now)?;
            let last = entry.batches().last().expect("an entry has at least one batch");
            end = end.max(last.last_offset.plus(1));
            check(entries.find(entry.producer_id).is_none(), "a producer twice")?;
            entries.insert(entry);
        }
        check(batches.next().is_none(), "batches of no producer")?;
        check(end <= at, "a batch past the end")?;
        Ok((Self { entries, end: at }, at))
    }
}

fn encode_batch(batch: &KeptBatch) -> schema::Batch {
    let (last_offset, timestamp) = (batch.last_offset.get(), batch.timestamp.get());
    schema::Batch::new(last_offset, timestamp, batch.last_sequence.get(), batch.offset_delta)
}

fn decode_producer<'a>(
    producer: &schema::Producer,
    batches: &mut impl Iterator<Item = &'a schema::Batch>,
    now: Timestamp,
) -> Result<Entry, SnapshotError> {
    check(producer.id() >= 0, "a negative producer id")?;
    check(producer.epoch() >= 0, "a negative producer epoch")?;
    let count = usize::from(producer.batch_count());
    check((1..=PRODUCER_BATCHES_KEPT).contains(&count), "too few or too many batches of a producer")?;
    let epoch = ProducerEpoch(producer.epoch());
    // A clock that was set back must not make a producer immortal.
    let seen_at = Timestamp(producer.seen_at()).min(now);
    let mut entry = Entry::new(ProducerId(producer.id()), epoch, seen_at);
    for _ in 0..count {
        let batch = batches.next().ok_or(SnapshotError::Inconsistent { what: "too few batches" })?;
        let batch = decode_batch(batch)?;
        let in_order = entry.batches().last().is_none_or(|last| last.last_offset < batch.base_offset());
        check(in_order, "batches out of order")?;
        entry.add(epoch, batch);
    }
    entry.forgot = producer.forgot();
    Ok(entry)
}

fn decode_batch(batch: &schema::Batch) -> Result<KeptBatch, SnapshotError> {
    check(batch.offset_delta() >= 0, "a negative offset delta")?;
    check(batch.last_sequence() >= 0, "a negative sequence")?;
    check(batch.last_offset() >= i64::from(batch.offset_delta()), "a negative offset of a batch")?;
    check(batch.last_offset() < i64::MAX, "an offset without a next one")?;
    Ok(KeptBatch {
        last_offset: Offset(batch.last_offset()),
        timestamp: Timestamp(batch.timestamp()),
        last_sequence: Sequence(batch.last_sequence()),
        offset_delta: batch.offset_delta(),
    })
}

fn check(holds: bool, what: &'static str) -> Result<(), SnapshotError> {
    if holds { Ok(()) } else { Err(SnapshotError::Inconsistent { what }) }
}

//! A partition's producers as bytes (`schemas/producer_snapshot.fbs`), for a checkpoint.
//!
//! A million producers are tens of megabytes: a snapshot is made step by step, and the table goes on meanwhile.
//!
//! Left out: transactions that are decided and whose marker may not be committed, and those that the coordinator is being
//! asked for. A decision stands whatever becomes of a marker, and whoever asked has gone with the process.
//!
//! Whoever stores the bytes proves them by a checksum; here they are verified as FlatBuffers and checked for sense, so
//! that no snapshot, however it came about, breaks an invariant of the table.

use super::arena::{Arena, Frozen};
use super::entry::{Entry, KeptBatch, NO_COORDINATOR, NO_ENTRY};
use super::table::ProducerTable;
use super::transactions::Transactions;
use crate::limits::{PRODUCER_BATCHES_KEPT, PRODUCER_SNAPSHOT_BYTES_MAX, PRODUCERS_PER_PARTITION_MAX};
use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, Vector, VerifierOptions, WIPOffset};
use protocol::aborted::AbortedTransaction;
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

/// A snapshot in the making: of the table as it was when it was begun, whatever becomes of the table meanwhile.
///
/// FlatBuffers are written from the end, so producers go in from the one that was seen last to the first.
pub struct SnapshotInProgress {
    at: Offset,
    entries: Frozen,
    stage: Stage,
    builder: FlatBufferBuilder<'static>,
    batch_count: usize,
    batches: Option<WIPOffset<Vector<'static, schema::Batch>>>,
    marked: Vec<schema::Marked>,
    timed: Vec<schema::Timed>,
    open: Vec<schema::OpenTransaction>,
    aborted: Vec<schema::AbortedTransaction>,
    last_unkept: Option<Offset>,
}

/// How far a snapshot has come.
#[derive(Clone, Copy)]
enum Stage {
    /// Batches are counted: the next chunk.
    Counting(usize),
    /// Batches go in: the next entry's place.
    Batches(u32),
    /// Producers go in: the next entry's place.
    Producers(u32),
    Done,
}

impl SnapshotInProgress {
    /// The offset that the snapshot stands for.
    #[must_use]
    pub fn at(&self) -> Offset {
        self.at
    }

    /// Goes on by about so many producers; whether that was all.
    pub fn step(&mut self, count_max: usize) -> bool {
        let mut left = count_max;
        while left > 0 {
            match self.stage {
                Stage::Counting(chunk) => left = left.saturating_sub(self.count(chunk)),
                Stage::Batches(place) => {
                    self.push_batches(place);
                    left -= 1;
                }
                Stage::Producers(place) => {
                    self.push_producer(place);
                    left -= 1;
                }
                Stage::Done => return true,
            }
        }
        matches!(self.stage, Stage::Done)
    }

    /// The bytes of the snapshot, which begin at the index told: room that was not needed lies before them.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, usize) {
        assert!(matches!(self.stage, Stage::Done));
        let builder = &mut self.builder;
        let producers = builder.end_vector::<schema::Producer>(self.entries.len());
        self.marked.reverse();
        self.timed.reverse();
        let arguments = schema::ProducerSnapshotArgs {
            at: self.at.get(),
            producers: Some(producers),
            batches: self.batches,
            marked: (!self.marked.is_empty()).then(|| builder.create_vector(&self.marked)),
            open: (!self.open.is_empty()).then(|| builder.create_vector(&self.open)),
            aborted: (!self.aborted.is_empty()).then(|| builder.create_vector(&self.aborted)),
            last_unkept: self.last_unkept.map_or(-1, Offset::get),
            timed: (!self.timed.is_empty()).then(|| builder.create_vector(&self.timed)),
        };
        let root = schema::ProducerSnapshot::create(builder, &arguments);
        builder.finish_minimal(root);
        self.builder.collapse()
    }

    /// Counts the batches of a chunk of entries; after the last one there is room for all. Returns how many entries.
    fn count(&mut self, chunk: usize) -> usize {
        if let Some(entries) = self.entries.chunk(chunk) {
            self.batch_count += entries.iter().map(|entry| entry.batches().len()).sum::<usize>();
            self.stage = Stage::Counting(chunk + 1);
            return entries.len();
        }
        let (transactions, entries) = (self.open.len() + self.aborted.len(), self.entries.len());
        let estimate = (self.batch_count + entries) * 24 + transactions * 32 + entries * 32 + 256;
        self.builder = FlatBufferBuilder::with_capacity(estimate);
        self.builder.start_vector::<schema::Batch>(self.batch_count);
        self.stage = Stage::Batches(self.entries.newest());
        1
    }

    fn push_batches(&mut self, place: u32) {
        if place != NO_ENTRY {
            let entry = self.entries.get(place);
            for batch in entry.batches().iter().rev() {
                self.builder.push(encode_batch(batch));
            }
            self.stage = Stage::Batches(entry.older);
            return;
        }
        self.batches = Some(self.builder.end_vector(self.batch_count));
        self.builder.start_vector::<schema::Producer>(self.entries.len());
        self.stage = Stage::Producers(self.entries.newest());
    }

    fn push_producer(&mut self, place: u32) {
        if place == NO_ENTRY {
            self.stage = Stage::Done;
            return;
        }
        let entry = self.entries.get(place);
        let count = u8::try_from(entry.batches().len()).expect("at most PRODUCER_BATCHES_KEPT");
        let (id, seen_at, epoch) = (entry.producer_id.get(), entry.seen_at.get(), entry.epoch.get());
        self.builder.push(schema::Producer::new(id, seen_at, epoch, count, entry.forgot));
        if entry.coordinator_epoch != NO_COORDINATOR {
            self.marked.push(schema::Marked::new(id, entry.coordinator_epoch));
        }
        if entry.last_timestamp != entry.last_batch_timestamp() {
            self.timed.push(schema::Timed::new(id, entry.last_timestamp.get()));
        }
        self.stage = Stage::Producers(entry.older);
    }
}

impl ProducerTable {
    /// Begins a snapshot of the producers of a log that ends at `at`.
    #[must_use]
    pub fn begin_snapshot(&self, at: Offset) -> SnapshotInProgress {
        assert!(at >= self.end);
        let encode_open =
            |(first, id): (Offset, ProducerId)| schema::OpenTransaction::new(id.get(), first.get());
        SnapshotInProgress {
            at,
            entries: self.entries.freeze(),
            stage: Stage::Counting(0),
            builder: FlatBufferBuilder::with_capacity(0),
            batch_count: 0,
            batches: None,
            marked: Vec::new(),
            timed: Vec::new(),
            open: self.transactions.open().map(encode_open).collect(),
            aborted: self.transactions.aborted.iter().map(encode_aborted).collect(),
            last_unkept: self.transactions.last_unkept,
        }
    }

    /// The snapshot at one go.
    #[cfg(test)]
    pub(crate) fn encode_snapshot(&self, at: Offset) -> Vec<u8> {
        let mut snapshot = self.begin_snapshot(at);
        while !snapshot.step(usize::MAX) {}
        let (bytes, start) = snapshot.finish();
        bytes[start..].to_vec()
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
            if let Some(last) = entry.batches().last() {
                end = end.max(last.last_offset.plus(1));
            }
            check(entries.find(entry.producer_id).is_none(), "a producer twice")?;
            entries.insert(entry);
        }
        check(batches.next().is_none(), "batches of no producer")?;
        check(end <= at, "a batch past the end")?;
        decode_marked(&snapshot, &mut entries)?;
        decode_timed(&snapshot, &mut entries)?;
        let transactions = decode_transactions(&snapshot, &entries, at)?;
        let is_known = |entry: &Entry| {
            entry.coordinator_epoch != NO_COORDINATOR || transactions.is_open(entry.producer_id)
        };
        let is_sound = |entry: &Entry| !entry.batches().is_empty() || is_known(entry);
        check(entries.iter().all(is_sound), "a producer that did nothing")?;
        Ok((Self { entries, transactions, end: at }, at))
    }
}

fn decode_marked(snapshot: &schema::ProducerSnapshot<'_>, entries: &mut Arena) -> Result<(), SnapshotError> {
    for marked in snapshot.marked().into_iter().flatten() {
        let place = entries.find(ProducerId(marked.producer()));
        let place = place.ok_or(SnapshotError::Inconsistent { what: "a marker of no producer" })?;
        check(marked.coordinator_epoch() >= 0, "a negative coordinator epoch")?;
        entries.get_mut(place).coordinator_epoch = marked.coordinator_epoch();
    }
    Ok(())
}

fn decode_timed(snapshot: &schema::ProducerSnapshot<'_>, entries: &mut Arena) -> Result<(), SnapshotError> {
    for timed in snapshot.timed().into_iter().flatten() {
        let place = entries.find(ProducerId(timed.producer()));
        let place = place.ok_or(SnapshotError::Inconsistent { what: "a time of no producer" })?;
        entries.get_mut(place).last_timestamp = Timestamp(timed.last_timestamp());
    }
    Ok(())
}

fn decode_transactions(
    snapshot: &schema::ProducerSnapshot<'_>,
    entries: &Arena,
    at: Offset,
) -> Result<Transactions, SnapshotError> {
    let mut transactions = Transactions::default();
    let mut next = Offset(0);
    for open in snapshot.open().into_iter().flatten() {
        let (id, first) = (ProducerId(open.producer()), Offset(open.first_offset()));
        check(entries.find(id).is_some(), "a transaction of no producer")?;
        check(!transactions.is_open(id), "two open transactions of a producer")?;
        check(first >= next, "open transactions out of order")?;
        check(first < at, "a transaction past the end")?;
        next = first.plus(1);
        transactions.begin(id, first);
    }
    let (mut last_offset, mut last_stable) = (Offset(-1), Offset(0));
    for aborted in snapshot.aborted().into_iter().flatten() {
        let aborted = decode_aborted(aborted);
        let is_ordered = aborted.last_offset > last_offset && aborted.last_stable_offset >= last_stable;
        check(is_ordered, "aborted transactions out of order")?;
        check(aborted.first_offset >= Offset(0), "an aborted transaction before the log")?;
        check(aborted.first_offset < aborted.last_offset, "an aborted transaction without records")?;
        check(aborted.last_offset < at, "an aborted transaction past the end")?;
        check(aborted.last_stable_offset <= aborted.last_offset.plus(1), "a stable offset past its marker")?;
        (last_offset, last_stable) = (aborted.last_offset, aborted.last_stable_offset);
        transactions.aborted.add(aborted);
    }
    let last_unkept = Offset(snapshot.last_unkept());
    check(last_unkept < at.max(Offset(0)), "a marker past the end")?;
    transactions.last_unkept = (last_unkept >= Offset(0)).then_some(last_unkept);
    Ok(transactions)
}

fn encode_aborted(aborted: &AbortedTransaction) -> schema::AbortedTransaction {
    let (first, last) = (aborted.first_offset.get(), aborted.last_offset.get());
    schema::AbortedTransaction::new(aborted.producer_id.get(), first, last, aborted.last_stable_offset.get())
}

fn decode_aborted(aborted: &schema::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(aborted.producer()),
        first_offset: Offset(aborted.first_offset()),
        last_offset: Offset(aborted.last_offset()),
        last_stable_offset: Offset(aborted.last_stable_offset()),
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
    check(count <= PRODUCER_BATCHES_KEPT, "too many batches of a producer")?;
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

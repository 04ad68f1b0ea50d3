//! Abort markers that compaction takes away: never while a consumer, now or after a crash, is told of what they ended.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use protocol::aborted::AbortedTransaction;
use protocol::batch::{BatchHeader, BatchIter};
use protocol::records::{
    BatchBuilder, BatchOptions, ControlKind, ControlRecord, ProducerStamp, RecordIter, control_batch,
};
use protocol::types::{LeaderEpoch, Offset, PartitionKey, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::testing::{block_on, options, run_with, spec};
use super::*;
use crate::disk::memory::MemoryDisk;

const RETENTION_MS: i64 = 1_000;
const ABORTING: ProducerId = ProducerId(7);
/// The aborted record, and its marker.
const ABORTED_AT: Offset = Offset(0);
const MARKER_AT: Offset = Offset(1);

/// What consumers are told of, as the broker keeps it: rebuilt from the last snapshot and the batches behind it.
#[derive(Clone, Default)]
struct Told {
    aborted: Rc<RefCell<Vec<AbortedTransaction>>>,
    end: Rc<Cell<i64>>,
    now: Rc<Cell<i64>>,
    /// So many more pieces a round may take, where that is bounded.
    pieces_left: Rc<Cell<Option<u32>>>,
}

impl Told {
    fn note(&self) {
        self.aborted.borrow_mut().push(AbortedTransaction {
            producer_id: ABORTING,
            first_offset: ABORTED_AT,
            last_offset: MARKER_AT,
            last_stable_offset: MARKER_AT.plus(1),
        });
    }

    fn is_told(&self) -> bool {
        !self.aborted.borrow().is_empty()
    }
}

impl RecoveryObserver for Told {
    fn producer_snapshot(&mut self, _key: PartitionKey, at: Offset, snapshot: &[u8]) {
        self.aborted.borrow_mut().clear();
        self.end.set(at.get());
        if snapshot == b"told" {
            self.note();
        }
    }

    fn batch(&mut self, _key: PartitionKey, header: &[u8; crate::BATCH_HEADER_BYTES], _body: &[u8]) {
        let header = BatchHeader::from_prefix(header).expect("a header");
        if header.is_control() {
            self.note();
        }
        self.end.set(header.last_offset().get() + 1);
    }
}

impl StoreListener for Told {
    fn sealed(&self, _slot: PartitionSlot, _end: Offset) {}

    fn synced(&self, _slot: PartitionSlot, _end: Offset) {}

    fn started(&self, _slot: PartitionSlot, _start: Offset) {}

    fn producer_snapshot(&self, _slot: PartitionSlot) -> TakenSnapshot {
        let state = if self.is_told() { Bytes::from_static(b"told") } else { Bytes::from_static(b"nothing") };
        Box::pin(std::future::ready(Some((Offset(self.end.get()), state))))
    }

    fn pause_destaging(&self, _bytes: usize) -> DestagePause {
        Box::pin(std::future::ready(()))
    }

    fn failed(&self, _failure: &StoreFailure) {}
}

impl CompactionHost for Told {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }

    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        let overlaps = |one: &&AbortedTransaction| one.last_offset >= from && one.first_offset < limit;
        self.aborted.borrow().iter().filter(overlaps).copied().collect()
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        assert_eq!(markers, [MARKER_AT]);
        assert!(self.is_told());
        self.aborted.borrow_mut().clear();
    }

    fn is_last_of_producer(&self, _header: &BatchHeader) -> bool {
        false
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }

    async fn pace(&self, _bytes: u64) -> bool {
        let left = self.pieces_left.get();
        self.pieces_left.set(left.map(|left| left.saturating_sub(1)));
        left != Some(0)
    }
}

fn compacted_spec() -> PartitionSpec {
    let compaction = Some(CompactionConfig {
        dirty_millionths_min: 0,
        delete_retention_ms: RETENTION_MS,
        ..CompactionConfig::default()
    });
    let config = LogConfig { segment_bytes: 2000, compaction, retention_ms: None, ..LogConfig::default() };
    PartitionSpec { config, ..spec(1, 0) }
}

struct Life {
    store: ShardStore<MemoryDisk>,
    slot: PartitionSlot,
    told: Told,
}

impl Life {
    fn open(disk: &MemoryDisk) -> Result<Self, OpenError> {
        let mut told = Told::default();
        let opening = ShardStore::open(disk.clone(), options(), vec![compacted_spec()], &mut told);
        let (store, recovered) = block_on(opening)?;
        store.set_listener(Rc::new(told.clone()));
        Ok(Self { store, slot: recovered.partitions[0].slot, told })
    }

    fn append(&self, records: Vec<u8>) -> Result<(), StoreError> {
        let base_offset = Offset(self.told.end.get());
        let append = BatchAppend {
            records: records.into(),
            base_offset,
            leader_epoch: LeaderEpoch(0),
            log_append_time: None,
        };
        self.store.append(self.slot, append)?;
        self.told.end.set(base_offset.get() + 1);
        Ok(())
    }

    /// The transaction that is aborted.
    fn abort(&self) -> Result<(), StoreError> {
        let producer = ProducerStamp { id: ABORTING, epoch: ProducerEpoch(0), base_sequence: Sequence(0) };
        let options = BatchOptions { producer, transactional: true, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(Timestamp(0), Some(b"aborted"), Some(b"nobody reads this"), &[]);
        self.append(builder.build())?;
        let marker = ControlRecord { kind: ControlKind::Abort, coordinator_epoch: 0 };
        let stamp = (ABORTING, ProducerEpoch(0));
        self.append(control_batch(stamp, LeaderEpoch(0), Timestamp(0), marker))?;
        self.told.note();
        Ok(())
    }

    /// Something to compact, in segments; and a round, when that is worth it.
    fn turn(&self) -> Result<(), StoreError> {
        run_with(&self.store, async {
            for key in 0..14_u8 {
                let mut builder = BatchBuilder::new(BatchOptions::default());
                builder.append(Timestamp(0), Some(&[key % 5]), Some(&[key; 200]), &[]);
                self.append(builder.build())?;
            }
            let sequence = self.store.shared.state.borrow().window.next();
            self.store.wait_synced(sequence).await?;
            self.store.destage_all().await?;
            let stable = self.store.synced_end(self.slot).expect("a partition");
            let now = self.told.now();
            if let Some(plan) = self.store.plan_compaction(self.slot, now, stable).await? {
                self.store.compact(self.slot, &plan, 1 << 16, &self.told).await?;
            }
            self.told.now.update(|now| now + 2 * RETENTION_MS);
            Ok(())
        })
    }

    fn has_record_in_segments(&self) -> bool {
        let segments = self.store.shared.segments(self.slot).expect("a partition");
        let read = block_on(segments.log.read(ABORTED_AT, segments.log.end(), 1)).expect("readable");
        let first = read.chunks.first().and_then(|chunk| BatchHeader::from_prefix(chunk));
        first.is_some_and(|header| header.base_offset() == ABORTED_AT)
    }

    /// Whether the aborted record, and its marker, are there to be read.
    fn found(&self) -> (bool, bool) {
        let end = self.store.sealed_end(self.slot).expect("a partition");
        let (mut has_record, mut has_marker, mut from) = (false, false, Offset(0));
        while from < end {
            let read = block_on(self.store.read(self.slot, from, end, 500)).expect("readable");
            for batch in read.chunks.iter().flat_map(|chunk| BatchIter::new(chunk)) {
                let batch = batch.expect("whole");
                has_marker |= batch.header().is_control();
                let mut records = RecordIter::new(batch.body(), batch.header()).map(Result::unwrap);
                has_record |= records.any(|record| record.key == Some(b"aborted"));
            }
            from = read.next;
        }
        (has_record, has_marker)
    }

    /// What a consumer sees and what it is told fit together.
    fn check(&self, note: &str) -> (bool, bool) {
        let (has_record, has_marker) = self.found();
        let is_told = self.told.is_told();
        assert!(!has_record || is_told, "{note}: a consumer would see what was aborted");
        assert!(!is_told || has_marker, "{note}: a consumer would miss what its producer writes later");
        (has_record, has_marker)
    }
}

const TURNS: usize = 9;

fn live(disk: &MemoryDisk) -> Result<Vec<(bool, bool)>, StoreError> {
    let Ok(life) = Life::open(disk) else { return Ok(Vec::new()) };
    life.abort()?;
    let mut seen = Vec::new();
    for turn in 0..TURNS {
        life.turn()?;
        if !disk.has_crashed() {
            seen.push(life.check(&format!("turn {turn}")));
        }
    }
    Ok(seen)
}

#[test]
fn the_record_goes_first_then_consumers_are_not_told_then_the_marker_goes() {
    let seen = live(&MemoryDisk::default()).expect("no faults");
    let mut stages = seen.clone();
    stages.dedup();
    assert_eq!(stages, [(true, true), (false, true), (false, false)], "{seen:?}");
}

/// What a round that was ended early has taken out of segments, memory still serves until one has gone further.
#[test]
fn consumers_are_told_as_long_as_memory_has_what_was_aborted() {
    let mut left_in_memory = 0;
    for pieces in 0..20 {
        let life = Life::open(&MemoryDisk::default()).expect("an empty one");
        life.abort().expect("no faults");
        for turn in 0..TURNS {
            life.told.pieces_left.set((turn % 3 != 0).then_some(pieces));
            life.turn().expect("no faults");
            let (has_record, _) = life.check(&format!("{pieces} pieces, turn {turn}"));
            left_in_memory += usize::from(has_record && !life.has_record_in_segments());
        }
    }
    assert!(left_in_memory > 0, "some rounds were ended behind the record");
}

/// The slot of the checkpoints that is damaged.
const SLOTS: [Option<&str>; 3] = [None, Some("checkpoint/1/0.a"), Some("checkpoint/1/0.b")];

/// Opens what a power cut left, and one slot rotten besides; none where that was the only whole one.
fn open_rotten(image: &MemoryDisk, slot: Option<&str>) -> Option<Life> {
    let Some(slot) = slot else { return Some(Life::open(image).expect("it opens")) };
    image.rot(Path::new(slot), 40, 1).ok()?;
    Life::open(image).ok()
}

#[test]
fn a_restart_from_any_moment_and_either_checkpoint_tells_of_no_marker_that_is_gone() {
    let disk = MemoryDisk::default();
    live(&disk).expect("no faults");
    let mut without_marker = [0; SLOTS.len()];
    for operation in 1..=disk.operation_count() {
        // Each image is looked at in one of three ways.
        let way = usize::try_from(operation).expect("few") % SLOTS.len();
        let (slot, without) = (SLOTS[way], &mut without_marker[way]);
        let disk = MemoryDisk::default();
        disk.crash_at(operation);
        let outcome = live(&disk);
        assert!(disk.has_crashed(), "{outcome:?}");
        let Some(life) = open_rotten(&disk.crash_image(operation), slot) else { continue };
        if life.told.end.get() > MARKER_AT.get() {
            let (_, has_marker) = life.check(&format!("cut at {operation} without {slot:?}"));
            *without += usize::from(!has_marker);
        }
        // And it goes on from there.
        life.turn().expect("no faults");
        life.check(&format!("cut at {operation} without {slot:?}, and on"));
    }
    assert!(
        without_marker.iter().all(|count| *count > 10),
        "cuts came after it was gone: {without_marker:?}"
    );
}

//! Compaction in a store: beside destaging, below what the checkpoints vouch for, through crashes at every operation.

use std::collections::BTreeMap;

use protocol::aborted::AbortedTransaction;
use protocol::batch::{BatchHeader, BatchIter};
use protocol::records::{BatchBuilder, BatchOptions, RecordIter};
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use super::testing::{block_on, open, options, run_with, spec};
use super::*;
use crate::disk::memory::MemoryDisk;

const KEYS: i64 = 5;

/// A host without transactions and producers, and with all the bandwidth there is.
struct Plain;

impl CompactionHost for Plain {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000)
    }

    fn aborted(&self, _from: Offset, _limit: Offset) -> Vec<AbortedTransaction> {
        Vec::new()
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        panic!("there are no transactions at {markers:?}");
    }

    fn is_last_of_producer(&self, _header: &BatchHeader) -> bool {
        false
    }

    async fn pace(&self, _bytes: u64) -> bool {
        true
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }
}

fn compacted_spec() -> PartitionSpec {
    let compaction = Some(CompactionConfig { dirty_millionths_min: 0, ..CompactionConfig::default() });
    let config = LogConfig { segment_bytes: 2000, compaction, retention_ms: None, ..LogConfig::default() };
    PartitionSpec { config, ..spec(1, 0) }
}

fn small() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 64 << 10,
        journal_files_max: 4,
        frame_bytes_max: 4 << 10,
        tail_cache_bytes: 8 << 10,
        ..options()
    }
}

/// Appends records, each in a batch of its own, with the offset as their value, and waits until they are synced.
async fn produce(
    store: &ShardStore<MemoryDisk>,
    slot: PartitionSlot,
    count: usize,
) -> Result<(), StoreError> {
    produce_at(store, slot, count, Timestamp).await
}

/// The same, with timestamps by their offsets.
async fn produce_at(
    store: &ShardStore<MemoryDisk>,
    slot: PartitionSlot,
    count: usize,
    timestamp_of: impl Fn(i64) -> Timestamp,
) -> Result<(), StoreError> {
    for _ in 0..count {
        let offset = store.end_offset(slot).expect("a partition").get();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let (key, value) = ((offset % KEYS).to_string(), offset.to_string().into_bytes().repeat(40));
        builder.append(timestamp_of(offset), Some(key.as_bytes()), Some(&value), &[]);
        let (records, base_offset, leader_epoch) = (builder.build().into(), Offset(offset), LeaderEpoch(0));
        store.append(slot, BatchAppend { records, base_offset, leader_epoch, log_append_time: None })?;
    }
    let end = store.end_offset(slot);
    std::future::poll_fn(|_| match store.shared.check_failure() {
        Err(error) => std::task::Poll::Ready(Err(error)),
        Ok(()) if store.synced_end(slot) == end => std::task::Poll::Ready(Ok(())),
        Ok(()) => std::task::Poll::Pending,
    })
    .await
}

/// One life: produces, destages, compacts, in turn. The ends that were promised, and up to where it was compacted.
fn live(disk: &MemoryDisk, promised: &mut (i64, i64)) -> Result<(), StoreError> {
    let Ok((store, _, recovered)) = open(disk, small(), vec![compacted_spec()]) else {
        assert!(disk.has_crashed());
        return Ok(());
    };
    let slot = recovered.partitions[0].slot;
    run_with(&store, async {
        for _ in 0..5 {
            produce(&store, slot, 14).await?;
            promised.0 = store.synced_end(slot).expect("a partition").get();
            store.destage_all().await?;
            let stable = store.synced_end(slot).expect("a partition");
            if let Some(plan) = store.plan_compaction(slot, Timestamp(1_000_000), stable).await? {
                promised.1 = promised.1.max(plan.end.get());
                store.compact(slot, &plan, 1 << 16, &Plain).await?;
            }
        }
        Ok(())
    })
}

/// Reads everything and compares: the last record of each key, all that was never compacted, nothing that never was.
fn check(disk: &MemoryDisk, promised: (i64, i64), note: &str) -> usize {
    let (store, _, recovered) = open(disk, small(), vec![compacted_spec()]).expect("it opens");
    let slot = recovered.partitions[0].slot;
    let end = store.sealed_end(slot).expect("a partition");
    assert!(end.get() >= promised.0, "{note}: acked to {}, there to {end}", promised.0);
    let mut found = BTreeMap::new();
    let mut from = Offset(0);
    while from < end {
        let read = block_on(store.read(slot, from, end, 500)).expect("readable");
        assert!(read.next > from, "{note}: a read makes progress at {from}");
        for batch in read.chunks.iter().flat_map(|chunk| BatchIter::new(chunk)) {
            let batch = batch.expect("whole");
            for record in RecordIter::new(batch.body(), batch.header()) {
                let record = record.expect("as it was built");
                let expected = record.offset.to_string().into_bytes().repeat(40);
                assert_eq!(record.value, Some(&expected[..]), "{note}: at {}", record.offset);
                found.insert(record.offset.get(), record.key.expect("all have keys").to_vec());
            }
        }
        from = read.next;
    }
    for offset in (0..end.get()).filter(|&offset| offset >= promised.1 || offset + KEYS >= end.get()) {
        assert!(
            found.contains_key(&offset),
            "{note}: {offset} is gone; end {end}, compacted to {}",
            promised.1
        );
    }
    found.len()
}

#[test]
fn a_store_compacts_what_its_checkpoints_vouch_for() {
    let disk = MemoryDisk::default();
    let mut promised = (0, 0);
    live(&disk, &mut promised).expect("no faults");
    assert!(promised.1 > 40, "rounds were worth it: to {}", promised.1);
    let left = check(&disk, promised, "at the end");
    assert!(left < 40, "{left} records are left of 70");
}

const NOW: i64 = 1_000_000;

/// What makes a round due is its age alone.
fn overdue_spec() -> PartitionSpec {
    let config = CompactionConfig {
        dirty_millionths_min: 1_000_000,
        lag_ms_max: 500_000,
        ..CompactionConfig::default()
    };
    let config = LogConfig { compaction: Some(config), ..compacted_spec().config };
    PartitionSpec { config, ..compacted_spec() }
}

/// A store that was opened again after eighty records, in closed segments but for the last.
fn opened_again(disk: &MemoryDisk, timestamp_of: fn(i64) -> Timestamp) -> ShardStore<MemoryDisk> {
    let (store, _, recovered) = open(disk, small(), vec![overdue_spec()]).expect("a fresh store");
    let slot = recovered.partitions[0].slot;
    run_with(&store, async {
        for _ in 0..2 {
            produce_at(&store, slot, 40, timestamp_of).await.expect("no faults");
            store.destage_all().await.expect("no faults");
        }
        store.close().await.expect("no faults");
    });
    open(disk, small(), vec![overdue_spec()]).expect("a whole store").0
}

fn due_at(store: &ShardStore<MemoryDisk>, now: i64) -> Option<Offset> {
    let slot = store.slot(overdue_spec().key).expect("it is live");
    let stable = store.synced_end(slot).expect("a partition");
    let plan = block_on(store.plan_compaction(slot, Timestamp(now), stable)).expect("it can be told");
    plan.map(|plan| {
        assert!(plan.is_overdue);
        plan.from
    })
}

/// The first batches of the closed segments of these numbers are no batches any more.
fn rot(disk: &MemoryDisk, store: &ShardStore<MemoryDisk>, numbers: std::ops::RangeFrom<usize>) {
    const MAGIC_AT: u64 = 16;
    let slot = store.slot(overdue_spec().key).expect("it is live");
    let segments = store.shared.segments(slot).expect("it is live");
    let summaries = block_on(segments.log.summaries()).expect("no faults");
    let (_, closed) = summaries.split_last().expect("never empty");
    assert!(closed.len() > 3, "{summaries:?}");
    for segment in &closed[numbers] {
        let path = format!("topics/topic-1-0/{:020}.log", segment.base.get());
        disk.rot(path.as_ref(), MAGIC_AT, 0xff).expect("it is there");
    }
}

/// `max.compaction.lag.ms` counts from the earliest of all dirty segments' first timestamps, wherever that is; as with Kafka,
/// one that is not positive is none.
#[test]
fn whatever_dirty_segment_has_waited_too_long_makes_a_round_due() {
    let due = |timestamp_of| due_at(&opened_again(&MemoryDisk::default(), timestamp_of), NOW);
    assert_eq!(due(|_| Timestamp(NOW - 500_000)), None);
    assert_eq!(due(|_| Timestamp(NOW - 500_001)), Some(Offset(0)));
    let late = |offset| Timestamp(if (15..70).contains(&offset) { NOW - 900_000 } else { NOW - 1 });
    assert_eq!(due(late), Some(Offset(0)), "the first segment's are young");
    assert_eq!(due(|offset| Timestamp(if offset < 70 { 0 } else { NOW - 1 })), None);
}

#[test]
fn a_dirty_segment_that_cant_be_read_keeps_no_other_from_being_compacted() {
    let disk = MemoryDisk::default();
    let store = opened_again(&disk, |_| Timestamp(NOW - 500_000));
    rot(&disk, &store, 1..);
    assert_eq!(due_at(&store, NOW), None);
    assert_eq!(due_at(&store, NOW + 1), Some(Offset(0)));
}

/// Rounds are planned for all partitions again and again.
#[test]
fn when_a_segment_begins_is_read_once() {
    let disk = MemoryDisk::default();
    let store = opened_again(&disk, |_| Timestamp(NOW - 500_000));
    assert_eq!(due_at(&store, NOW), None);
    rot(&disk, &store, 0..);
    assert_eq!(due_at(&store, NOW + 1), Some(Offset(0)));
}

#[test]
fn what_was_compacted_is_not_read_as_it_was_from_memory() {
    let disk = MemoryDisk::default();
    let options = StoreOptions { tail_cache_bytes: 1 << 20, ..small() };
    let (store, _, recovered) = open(&disk, options, vec![compacted_spec()]).expect("a fresh store");
    let slot = recovered.partitions[0].slot;
    for _ in 0..2 {
        run_with(&store, async {
            produce(&store, slot, 20).await.expect("no faults");
            store.destage_all().await.expect("no faults");
        });
    }
    let stable = store.synced_end(slot).expect("a partition");
    let plan =
        block_on(store.plan_compaction(slot, Timestamp(0), stable)).expect("no faults").expect("worth it");
    assert!(store.read_cached(slot, Offset(0), stable, 1).is_some(), "all of it is in memory");
    let outcome = run_with(&store, store.compact(slot, &plan, 1 << 16, &Plain)).expect("no faults");
    assert!(store.read_cached(slot, Offset(0), stable, 1).is_none());
    let first = block_on(store.read(slot, Offset(0), stable, 1)).expect("readable");
    let first = BatchHeader::from_prefix(&first.chunks[0]).expect("a batch").base_offset();
    assert!(first > Offset(0), "its first record was written again: {outcome:?}");
    assert!(
        store.read_cached(slot, outcome.cleaned, stable, 1).is_some(),
        "what was not compacted is still there"
    );
}

#[test]
fn power_may_fail_at_each_write_and_sync_of_a_store_that_compacts() {
    let disk = MemoryDisk::default();
    live(&disk, &mut (0, 0)).expect("no faults");
    for operation in 1..=disk.operation_count() {
        let disk = MemoryDisk::default();
        let mut promised = (0, 0);
        disk.crash_at(operation);
        let outcome = live(&disk, &mut promised);
        assert!(disk.has_crashed(), "{outcome:?}");
        for seed in 0..2 {
            let image = disk.crash_image(seed);
            check(&image, promised, &format!("cut at {operation}, image {seed}"));
            // The next life goes on from there, and is cut as well.
            if operation % 7 == 0 {
                let mut next = promised;
                image.crash_at(operation / 3 + 20);
                let _ = live(&image, &mut next);
                image.crash_now();
                check(&image.crash_image(seed), next, &format!("cut at {operation} and again, image {seed}"));
            }
        }
    }
}

#[test]
fn a_partition_that_is_deleted_during_a_round_is_gone_and_nothing_fails() {
    let disk = MemoryDisk::default();
    let (store, heard, recovered) = open(&disk, small(), vec![compacted_spec()]).expect("a fresh store");
    let slot = recovered.partitions[0].slot;
    for _ in 0..3 {
        run_with(&store, async {
            produce(&store, slot, 20).await.expect("no faults");
            store.destage_all().await.expect("no faults");
        });
    }
    let stable = store.synced_end(slot).expect("a partition");
    let plan =
        block_on(store.plan_compaction(slot, Timestamp(0), stable)).expect("no faults").expect("worth it");
    let host = Deleting { store: store.clone(), slot };
    let outcome = run_with(&store, store.compact(slot, &plan, 1 << 16, &host));
    assert!(
        matches!(outcome, Err(StoreError::Gone) | Ok(CompactionOutcome { is_interrupted: true, .. })),
        "{outcome:?}"
    );
    assert!(heard.failure.borrow().is_none());
}

/// Deletes the partition when the first piece has been read.
struct Deleting {
    store: ShardStore<MemoryDisk>,
    slot: PartitionSlot,
}

impl CompactionHost for Deleting {
    fn now(&self) -> Timestamp {
        Plain.now()
    }

    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        Plain.aborted(from, limit)
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        Plain.forget_aborted(markers);
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        Plain.is_last_of_producer(header)
    }

    async fn pace(&self, _bytes: u64) -> bool {
        if self.store.log_start(self.slot).is_some() {
            self.store.delete_partition(self.slot).await.expect("no faults");
            self.store.free_deleted().await.expect("no faults");
        }
        true
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        Plain.beside(work).await
    }
}

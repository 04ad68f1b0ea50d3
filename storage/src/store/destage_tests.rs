//! Destaging as the store's callers see it: when it runs, what it may meet, what it gives back.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Waker};

use protocol::types::Timestamp;

use super::testing::{Heard, append, block_on, open, options, read_all, run_with, spec};
use super::*;
use crate::disk::fault::{Fault, FaultDisk, FaultRates, Faults, OperationKind};
use crate::disk::memory::{MemoryDisk, MemoryOptions};
use crate::limits::{DESTAGE_PACED_CONCURRENT_MAX, SEGMENT_WRITE_BYTES, SYNC_EACH_MAX};

fn slow_disk() -> MemoryDisk {
    MemoryDisk::new(MemoryOptions { delay_polls_max: 5, ..MemoryOptions::default() })
}

/// Appends a batch of so many bytes at a partition's end, and waits until it is synced.
async fn produce<D: Disk>(store: &ShardStore<D>, slot: PartitionSlot, bytes: usize) {
    let base = store.end_offset(slot).expect("a partition").get();
    store.append(slot, append(base, 1, &vec![7; bytes])).expect("appended");
    std::future::poll_fn(|_| match store.synced_end(slot) {
        Some(synced) if synced.get() > base => std::task::Poll::Ready(()),
        _ => std::task::Poll::Pending,
    })
    .await;
}

fn opened(
    disk: &MemoryDisk,
    options: StoreOptions,
    partitions: i32,
) -> (ShardStore<MemoryDisk>, Rc<Heard>, Vec<PartitionSlot>) {
    let live = (0..partitions).map(|partition| spec(1, partition)).collect();
    let (store, heard, recovered) = open(disk, options, live).expect("a store");
    (store, heard, recovered.partitions.iter().map(|found| found.slot).collect())
}

#[test]
fn a_round_keeps_its_frames_while_newer_ones_take_their_room() {
    let options = StoreOptions { tail_cache_bytes: 64 << 10, destage_small_concurrent_max: 1, ..options() };
    let (store, _, slots) = opened(&slow_disk(), options, 4);
    run_with(&store, async {
        for _ in 0..3 {
            for slot in &slots {
                produce(&store, *slot, 4 << 10).await;
            }
        }
    });
    let beside = async {
        for _ in 0..40 {
            produce(&store, slots[0], 16 << 10).await;
        }
    };
    let (destaged, ()) = run_with(&store, futures_lite::future::zip(store.destage_all(), beside));
    destaged.expect("the disk has room");
    for (slot, expected) in slots.iter().zip([43, 3, 3, 3]) {
        assert_eq!(block_on(read_all(&store, *slot, 1 << 20)).len(), expected);
    }
}

#[test]
fn a_round_waits_until_there_is_enough_to_do() {
    let options = StoreOptions { destage_round_bytes: 64 << 10, ..options() };
    let (store, _, slots) = opened(&MemoryDisk::default(), options, 1);
    let mut rounds = Vec::new();
    for _ in 0..10 {
        run_with(&store, produce(&store, slots[0], 15 << 10));
        rounds.push(run_with(&store, store.destage_round()).expect("the disk has room").destaged_bytes);
    }
    assert_eq!(rounds, [0, 0, 0, 64 << 10, 0, 0, 0, 64 << 10, 0, 0]);
}

#[test]
fn the_journal_never_fills_up_while_it_is_destaged() {
    let options = StoreOptions { journal_file_bytes: 128 << 10, journal_files_max: 8, ..options() };
    let (store, _, slots) = opened(&MemoryDisk::default(), options, 2);
    let bytes_max = store.stats().journal_bytes_max;
    let mut produced = 0;
    while produced < 10 * bytes_max {
        for slot in &slots {
            assert_eq!(store.admit(20 << 10), Admission::Admit, "{:?}", store.stats());
            run_with(&store, produce(&store, *slot, 20 << 10));
            produced += 20 << 10;
        }
        while run_with(&store, store.destage_round()).expect("the disk has room").has_more {}
    }
}

#[test]
fn a_full_disk_refuses_reads_on_and_is_healed_by_space() {
    let disk = MemoryDisk::default();
    let (store, _, slots) = opened(&disk, options(), 2);
    for _ in 0..5 {
        for slot in &slots {
            run_with(&store, produce(&store, *slot, 8 << 10));
        }
    }
    run_with(&store, store.destage_all()).expect("the disk has room");
    for slot in &slots {
        run_with(&store, produce(&store, *slot, 16 << 10));
    }
    let capacity_bytes = disk.capacity_bytes();
    let used_bytes = capacity_bytes - block_on(disk.available_bytes()).expect("it tells");
    disk.set_capacity_bytes(used_bytes + (8 << 10));
    assert!(matches!(run_with(&store, store.destage_all()), Err(StoreError::DiskFull)));
    assert_eq!(store.admit(1), Admission::Full);
    let everything = |store: &ShardStore<MemoryDisk>, slots: &[PartitionSlot]| {
        for slot in slots {
            assert_eq!(block_on(read_all(store, *slot, 10 << 10)).len(), 6);
        }
    };
    everything(&store, &slots);
    // What was let in before is acked all the same: the journal has its space.
    run_with(&store, produce(&store, slots[0], 100));
    run_with(&store, store.truncate(slots[0], Offset(6))).expect("a mark needs no space either");
    drop(store);

    let (store, heard, slots) = opened(&disk, options(), 2);
    everything(&store, &slots);
    assert!(matches!(run_with(&store, store.destage_all()), Err(StoreError::DiskFull)));
    everything(&store, &slots);
    disk.set_capacity_bytes(capacity_bytes);
    run_with(&store, store.destage_all()).expect("there is room again");
    assert_eq!(store.admit(1), Admission::Admit);
    assert!(heard.failure.borrow().is_none());
    run_with(&store, produce(&store, slots[1], 100));
    run_with(&store, store.close()).expect("closed");
    drop(store);
    let (store, _, slots) = opened(&disk, options(), 2);
    let counts = [6, 7];
    for (slot, count) in slots.iter().zip(counts) {
        assert_eq!(block_on(read_all(&store, *slot, 10 << 10)).len(), count);
    }
}

#[test]
fn a_full_disk_is_healed_by_deleting_a_partition() {
    let disk = MemoryDisk::default();
    let (store, _, slots) = opened(&disk, options(), 2);
    for _ in 0..5 {
        run_with(&store, produce(&store, slots[0], 30 << 10));
    }
    run_with(&store, store.destage_all()).expect("the disk has room");
    let used_bytes = disk.capacity_bytes() - block_on(disk.available_bytes()).expect("it tells");
    disk.set_capacity_bytes(used_bytes + 4096);
    run_with(&store, produce(&store, slots[1], 30 << 10));
    assert!(matches!(run_with(&store, store.destage_all()), Err(StoreError::DiskFull)));
    run_with(&store, store.delete_partition(slots[0])).expect("deleted");
    block_on(store.free_deleted()).expect("freed");
    run_with(&store, store.destage_all()).expect("there is room");
    assert_eq!(store.admit(1), Admission::Admit);
    assert_eq!(block_on(read_all(&store, slots[1], 1 << 20)).len(), 1);
}

#[test]
fn a_disk_that_stalls_delays_acks_and_loses_nothing() {
    let faults = Faults::new(1);
    let memory = MemoryDisk::default();
    let disk = FaultDisk::new(memory.clone(), faults.clone());
    let mut observer = ();
    let opening = ShardStore::open(disk, options(), vec![spec(1, 0)], &mut observer);
    let (store, recovered) = block_on(opening).expect("a fresh store");
    let heard = Rc::new(Heard::default());
    store.set_listener(heard.clone());
    let slot = recovered.partitions[0].slot;
    run_with(&store, produce(&store, slot, 100));

    let is_stalled = Rc::new(Cell::new(true));
    let stalled = is_stalled.clone();
    faults.set_delay(move |kind| {
        let stalled = stalled.clone();
        Box::pin(std::future::poll_fn(move |_| {
            let is_through = kind == OperationKind::Read || !stalled.get();
            if is_through { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }))
    });
    let mut polls = 0;
    run_with(&store, async {
        for base in 1..50 {
            store.append(slot, append(base, 1, &[7; 100])).expect("there is memory for more");
        }
        std::future::poll_fn(|_| {
            polls += 1;
            let is_over = polls == 1000;
            if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        assert_eq!(store.synced_end(slot), Some(Offset(1)), "nothing is acked that is not on stable media");
        assert_eq!(
            block_on(read_all(&store, slot, 1 << 20)).len(),
            usize::try_from(store.sealed_end(slot).expect("a partition").get()).expect("positive"),
            "reads go on"
        );
        is_stalled.set(false);
        produce(&store, slot, 100).await;
    });
    assert_eq!(store.synced_end(slot), Some(Offset(51)));
    run_with(&store, store.close()).expect("closed");
    assert!(heard.failure.borrow().is_none());
    let (store, _, slots) = opened(&memory, options(), 1);
    assert_eq!(block_on(read_all(&store, slots[0], 1 << 20)).len(), 51);
}

#[test]
fn a_partition_that_rests_gives_its_memory_back_and_goes_on() {
    let (store, _, slots) = opened(&MemoryDisk::default(), options(), 2);
    let retain = || run_with(&store, store.retain(Timestamp(0), |_| Offset(0))).expect("no faults");
    let is_warm = |slot: PartitionSlot| store.shared.segments(slot).expect("a partition").log.is_warm();
    for count in 1..4 {
        for slot in &slots {
            run_with(&store, produce(&store, *slot, 100));
        }
        run_with(&store, store.destage_all()).expect("the disk has room");
        retain();
        assert!(is_warm(slots[0]), "it was written to just now");
        run_with(&store, produce(&store, slots[1], 100));
        run_with(&store, store.destage_all()).expect("the disk has room");
        retain();
        assert!(!is_warm(slots[0]));
        assert!(is_warm(slots[1]));
        assert_eq!(block_on(read_all(&store, slots[0], 1 << 20)).len(), count);
        assert_eq!(block_on(read_all(&store, slots[1], 1 << 20)).len(), 2 * count);
    }
}

/// Produces, destages, and does so again, with some files that can't be opened in between; returns how many files were asked
/// for, and how many rounds were refused.
fn live_without_files(partitions: i32, failing: std::ops::Range<u64>) -> (u64, usize) {
    let disk = MemoryDisk::default();
    let faults = Faults::new(1);
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() };
    let live: Vec<_> =
        (0..partitions).map(|partition| PartitionSpec { config, ..spec(1, partition) }).collect();
    let options = StoreOptions { open_files_max: 6, ..options() };
    let behind = FaultDisk::new(disk.clone(), faults.clone());
    let mut observer = ();
    let opening = ShardStore::open(behind, options.clone(), live.clone(), &mut observer);
    let (store, recovered) = block_on(opening).expect("a fresh store");
    let heard = Rc::new(Heard::default());
    store.set_listener(heard.clone());
    let before = faults.count(OperationKind::Open);
    for number in failing {
        faults.plant(OperationKind::Open, before + number, Fault::Fail);
    }
    let slots: Vec<_> = recovered.partitions.iter().map(|found| found.slot).collect();
    let mut refused = 0;
    run_with(&store, async {
        for _ in 0..3 {
            for slot in &slots {
                produce(&store, *slot, 300).await;
                produce(&store, *slot, 300).await;
            }
            while let Err(error) = store.destage_all().await {
                assert!(matches!(error, StoreError::OutOfFiles), "{error}");
                refused += 1;
            }
        }
    });
    assert!(heard.failure.borrow().is_none());
    let asked = faults.count(OperationKind::Open) - before;
    slots.iter().for_each(|slot| assert_eq!(block_on(read_all(&store, *slot, 1 << 20)).len(), 6));
    drop(store);
    let (store, _, recovered) = open(&disk.crash_image(0), options, live).expect("after a power cut");
    for found in recovered.partitions {
        assert_eq!(block_on(read_all(&store, found.slot, 1 << 20)).len(), 6);
    }
    (asked, refused)
}

#[test]
fn records_stay_in_the_journal_while_no_file_can_be_opened() {
    for partitions in [2, i32::try_from(SYNC_EACH_MAX).expect("few") + 1] {
        let (asked, refused) = live_without_files(partitions, 1..1);
        assert_eq!(refused, 0);
        // Two in a row: where the store has files to close, it tries once more by itself.
        let all = (1..=asked).map(|first| live_without_files(partitions, first..first + 2).1);
        let struck = all.filter(|refused| *refused > 0).count();
        assert!(u64::try_from(struck).expect("few") > asked / 2, "{struck} of {asked}");
    }
}

#[test]
fn a_store_out_of_files_for_long_refuses_no_record_that_fits_its_journal() {
    let disk = MemoryDisk::default();
    let faults = Faults::new(1);
    let behind = FaultDisk::new(disk.clone(), faults.clone());
    let live = vec![spec(1, 0)];
    let (store, _) = block_on(ShardStore::open(behind, options(), live.clone(), &mut ())).expect("a store");
    let heard = Rc::new(Heard::default());
    store.set_listener(heard.clone());
    let slot = store.slot(spec(1, 0).key).expect("it is live");
    faults.set_rates(FaultRates { open_fail_ppm: 1_000_000, ..FaultRates::default() });
    // As many as its first journal file takes: a second one can't be opened either.
    let count = 40;
    for _ in 0..count {
        run_with(&store, produce(&store, slot, 1000));
        assert!(matches!(run_with(&store, store.destage_all()), Err(StoreError::OutOfFiles)));
    }
    faults.set_rates(FaultRates::default());
    run_with(&store, store.destage_all()).expect("files can be opened again");
    assert_eq!(store.admit(1000), Admission::Admit);
    run_with(&store, store.close()).expect("closed");
    assert!(heard.failure.borrow().is_none());
    drop(store);
    let (store, _, _) = open(&disk, options(), live).expect("whole");
    assert_eq!(block_on(read_all(&store, slot, 1 << 20)).len(), count);
}

#[test]
fn a_round_with_much_for_one_partition_lets_others_on_after_each_long_write() {
    let disk = MemoryDisk::new(MemoryOptions::default());
    let journal = StoreOptions { journal_file_bytes: 16 << 20, frame_bytes_max: 1 << 20, ..options() };
    let (store, _heard, slots) = opened(&disk, journal, 1);
    run_with(&store, async {
        for _ in 0..40 {
            produce(&store, slots[0], SEGMENT_WRITE_BYTES / 10).await;
        }
    });
    let mut turns = 0;
    let mut destaging = std::pin::pin!(store.destage_all());
    block_on(std::future::poll_fn(|context| {
        turns += 1;
        destaging.as_mut().poll(context)
    }))
    .expect("destaged");
    assert!(turns > 4, "{turns} turns for four long writes");
}

#[test]
fn only_rounds_of_the_background_are_paced() {
    let disk = MemoryDisk::new(MemoryOptions::default());
    let journal = StoreOptions { destage_round_bytes: 64 << 10, ..options() };
    let (store, heard, slots) = opened(&disk, journal, 1);
    run_with(&store, async {
        while store.stats().journal_used_bytes < 64 << 10 {
            produce(&store, slots[0], 8 << 10).await;
        }
    });
    block_on(store.destage_round()).expect("destaged");
    let paced = *heard.destaged_bytes.borrow();
    assert_eq!(paced as u64, store.stats().batch_bytes);
    run_with(&store, produce(&store, slots[0], 8 << 10));
    block_on(store.destage_all()).expect("destaged");
    assert_eq!(*heard.destaged_bytes.borrow(), paced);
}

/// A journal with room for rounds of several long writes.
fn with_long_writes() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 16 << 20,
        frame_bytes_max: 1 << 20,
        destage_round_bytes: 4 << 20,
        ..options()
    }
}

/// How many of eight partitions a round of the background works on at once, each of which gets one long write, while so many
/// bytes more wait for the journal.
fn worked_on_at_once(waiting_bytes: usize) -> u64 {
    let disk = MemoryDisk::new(MemoryOptions::default());
    let (store, heard, slots) = opened(&disk, with_long_writes(), 8);
    run_with(&store, async {
        for slot in &slots {
            produce(&store, *slot, SEGMENT_WRITE_BYTES / 2).await;
        }
    });
    let partition_bytes = store.stats().batch_bytes / slots.len() as u64;
    let end = store.end_offset(slots[0]).expect("a partition").get();
    store.append(slots[0], append(end, 1, &vec![7; waiting_bytes])).expect("appended");
    heard.holds_destaging.set(true);
    let mut round = std::pin::pin!(store.destage_round());
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        assert!(round.as_mut().poll(&mut context).is_pending());
    }
    *heard.destaged_bytes.borrow() as u64 / partition_bytes
}

#[test]
fn a_round_that_takes_its_time_works_on_few_partitions_at_once() {
    assert_eq!(worked_on_at_once(0), DESTAGE_PACED_CONCURRENT_MAX as u64);
}

#[test]
fn a_round_that_must_hurry_works_on_many_partitions_at_once() {
    let pending_bytes = with_long_writes().pending_bytes_max / 2;
    assert_eq!(worked_on_at_once(pending_bytes), 8);
}

#[test]
fn a_partition_goes_between_two_steps_of_a_round() {
    let disk = MemoryDisk::new(MemoryOptions::default());
    let (store, heard, slots) = opened(&disk, with_long_writes(), 1);
    run_with(&store, async {
        while store.stats().journal_used_bytes < 4 << 20 {
            produce(&store, slots[0], SEGMENT_WRITE_BYTES / 10).await;
        }
    });
    let round = async { store.destage_round().await.expect("destaged") };
    let delete = async {
        store.delete_partition(slots[0]).await.expect("deleted");
        *heard.destaged_bytes.borrow()
    };
    let (_, destaged_before) = run_with(&store, futures_lite::future::zip(round, delete));
    assert!(destaged_before > 0, "the round had begun");
    assert!((destaged_before as u64) < store.stats().batch_bytes, "nobody waits for all of it");
    assert_eq!(*heard.destaged_bytes.borrow(), destaged_before, "what is gone is not moved");
}

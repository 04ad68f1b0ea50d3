use protocol::types::{Offset, Timestamp};

use super::testing::{append, block_on, contents, open, options, read_all, run_with, spec};
use super::*;
use crate::batch::testing::batch;
use crate::disk::memory::{MemoryDisk, MemoryOptions};

#[test]
fn an_append_is_readable_when_sealed_and_there_after_a_restart() {
    let disk = MemoryDisk::default();
    let (store, heard, _) = open(&disk, options(), vec![]).expect("a fresh store");
    let slot = block_on(store.create_partition(&spec(1, 0))).expect("created");
    store.append(slot, append(0, 3, b"first")).expect("appended");
    assert_eq!(store.end_offset(slot), Some(Offset(3)));
    assert_eq!(store.sealed_end(slot), Some(Offset(0)));
    run_with(&store, store.start_epoch(slot, LeaderEpoch(1), Offset(3))).expect("synced");
    assert_eq!(heard.synced.borrow()[&slot], Offset(3));
    let read = store.read_cached(slot, Offset(1), Offset(3), 1).expect("in memory");
    assert_eq!(contents(&read), [(0, 2, b"first".to_vec())]);
    run_with(&store, store.close()).expect("closed");
    assert!(matches!(store.append(slot, append(3, 1, b"late")), Err(StoreError::Closed)));

    let (store, _, recovered) = open(&disk, options(), vec![spec(1, 0)]).expect("reopened");
    let found = &recovered.partitions[0];
    assert_eq!((found.log_start, found.end), (Offset(0), Offset(3)));
    assert_eq!(found.epochs.last().map(|entry| entry.epoch), Some(LeaderEpoch(1)));
    assert_eq!(block_on(read_all(&store, found.slot, 1)), [(0, 2, b"first".to_vec())]);
}

#[test]
fn frames_that_left_memory_are_read_from_the_journal() {
    let disk = MemoryDisk::default();
    let options = StoreOptions { tail_cache_bytes: 0, ..options() };
    let (store, _, _) = open(&disk, options.clone(), vec![]).expect("a fresh store");
    let slot = block_on(store.create_partition(&spec(1, 0))).expect("created");
    let mut expected = Vec::new();
    for base in 0..20 {
        store.append(slot, append(base, 1, &base.to_be_bytes())).expect("appended");
        run_with(&store, store.start_epoch(slot, LeaderEpoch(1), Offset(0))).expect("synced");
        expected.push((base, base, base.to_be_bytes().to_vec()));
    }
    assert!(store.read_cached(slot, Offset(0), Offset(20), 1 << 20).is_none());
    for bytes_max in [1, 200, 1 << 20] {
        assert_eq!(block_on(read_all(&store, slot, bytes_max)), expected);
    }
    run_with(&store, store.close()).expect("closed");
    let (store, _, recovered) = open(&disk, options, vec![spec(1, 0)]).expect("reopened");
    assert_eq!(block_on(read_all(&store, recovered.partitions[0].slot, 100)), expected);
}

#[test]
fn batches_of_one_partition_lie_together_in_a_frame() {
    let (store, _, _) = open(&MemoryDisk::default(), options(), vec![]).expect("a fresh store");
    let one = block_on(store.create_partition(&spec(1, 0))).expect("created");
    let two = block_on(store.create_partition(&spec(1, 1))).expect("created");
    for base in 0..10 {
        store.append(one, append(base, 1, b"one")).expect("appended");
        store.append(two, append(base, 1, b"two")).expect("appended");
    }
    run_with(&store, store.close()).expect("closed");
    for slot in [one, two] {
        let read = store.read_cached(slot, Offset(0), Offset(10), 1 << 20).expect("in memory");
        assert_eq!(read.chunks.len(), 1);
        assert_eq!(contents(&read).len(), 10);
    }
    assert_eq!(store.stats().frames, 1);
}

#[test]
fn a_power_cut_at_any_operation_keeps_what_was_synced() {
    let script = |disk: &MemoryDisk, live: &mut Vec<i64>| -> Result<(), ()> {
        let (store, heard, recovered) = open(disk, options(), vec![spec(1, 0)]).map_err(|_| ())?;
        let slot = recovered.partitions[0].slot;
        let mut base = recovered.partitions[0].end.get();
        for round in 0..4 {
            for _ in 0..3 {
                store.append(slot, append(base, 1, &base.to_be_bytes())).map_err(|_| ())?;
                base += 1;
            }
            let result = run_with(&store, store.start_epoch(slot, LeaderEpoch(round), Offset(base)));
            live.extend(heard.synced.borrow().get(&slot).map(|end| end.get()));
            result.map_err(|_| ())?;
        }
        Ok(())
    };
    let whole = MemoryDisk::default();
    script(&whole, &mut Vec::new()).expect("no crash");
    let operations = whole.operation_count();
    assert!(operations > 10);
    for cut in 1..=operations {
        let disk =
            MemoryDisk::new(MemoryOptions { delay_polls_max: 3, seed: cut, ..MemoryOptions::default() });
        disk.crash_at(cut);
        let mut acked = Vec::new();
        let _ = script(&disk, &mut acked);
        let mut disk = disk.crash_image(cut);
        for life in 0..3 {
            let acked_end = acked.iter().copied().max().unwrap_or(0);
            let (store, _, recovered) = open(&disk, options(), vec![spec(1, 0)]).expect("nothing is damaged");
            let found = &recovered.partitions[0];
            assert!(found.end.get() >= acked_end, "cut {cut}, life {life}: {} < {acked_end}", found.end);
            let all = block_on(read_all(&store, found.slot, 4096));
            let expected: Vec<_> = (0..found.end.get()).map(|o| (o, o, o.to_be_bytes().to_vec())).collect();
            assert_eq!(all, expected, "cut {cut}, life {life}");
            drop(store);
            let count = disk.operation_count();
            disk.crash_at(count + 3 + cut % 7);
            let _ = script(&disk, &mut acked);
            disk = disk.crash_image(cut + life);
        }
    }
}

#[test]
fn batches_that_are_appended_at_once_are_there_together_or_not_at_all() {
    let script = |disk: &MemoryDisk| -> Result<(), StoreError> {
        let Ok((store, _, recovered)) = open(disk, options(), vec![spec(1, 0)]) else { return Ok(()) };
        let slot = recovered.partitions[0].slot;
        for step in 0..4_i64 {
            let mut steps = append(step * 3, 1, &[]);
            let one = |number| batch(1, Timestamp(0), &[number; 3_000]);
            steps.records = (0..3).flat_map(one).collect::<Vec<u8>>().into();
            store.append(slot, steps)?;
            run_with(&store, store.start_epoch(slot, LeaderEpoch(0), Offset(0)))?;
            if step % 2 == 1 {
                run_with(&store, store.destage_all())?;
            }
        }
        Ok(())
    };
    let whole = MemoryDisk::default();
    script(&whole).expect("no crash");
    let mut counts = std::collections::BTreeSet::new();
    for cut in 1..=whole.operation_count() {
        let disk = MemoryDisk::default();
        disk.crash_at(cut);
        let _ = script(&disk);
        for seed in 0..4 {
            let image = disk.crash_image(seed);
            let (store, _, recovered) =
                open(&image, options(), vec![spec(1, 0)]).expect("nothing is damaged");
            let count = block_on(read_all(&store, recovered.partitions[0].slot, 4096)).len();
            assert_eq!(count % 3, 0, "cut {cut}, image {seed}: {count} batches");
            counts.insert(count);
        }
    }
    assert_eq!(counts, [0, 3, 6, 9, 12].into());
}

#[test]
fn the_leaderships_of_many_partitions_begin_with_one_frame() {
    let disk = MemoryDisk::default();
    let live: Vec<_> = (0..600).map(|partition| spec(1, partition)).collect();
    let (store, _, recovered) = open(&disk, options(), live.clone()).expect("a fresh store");
    let start = EpochStart { epoch: LeaderEpoch(3), start: Offset(0) };
    let starts: Vec<_> = recovered.partitions.iter().map(|found| (found.slot, start)).collect();
    run_with(&store, store.start_epochs(&starts)).expect("begun");
    assert_eq!(store.stats().frames, 1);
    run_with(&store, store.start_epochs(&[])).expect("nothing to do");
    assert_eq!(store.stats().frames, 1);
    assert!(starts.iter().all(|(slot, _)| store.epochs(*slot) == [start]));
    // Nothing holds a checkpoint back any more.
    run_with(&store, store.destage_all()).expect("destaged");
    assert_eq!(store.stats().destaged_below, store.stats().synced_below);
    drop(store);
    let (_, _, recovered) = open(&disk.crash_image(0), options(), live).expect("after a power cut");
    assert!(recovered.partitions.iter().all(|found| found.epochs == [start]));
}

/// From memory, from the journal, from segments, and after a restart.
#[test]
fn readers_are_told_where_native_batches_may_be() {
    let native = |base: i64| {
        let mut append = append(base, 1, b"native");
        let mut bytes = append.records.to_vec();
        bytes[16] = protocol::batch::MAGIC_NATIVE.unsigned_abs();
        append.records = bytes.into();
        append
    };
    for tail_cache_bytes in [1 << 20, 0] {
        let disk = MemoryDisk::default();
        let options = StoreOptions { tail_cache_bytes, ..options() };
        let (store, _, _) = open(&disk, options.clone(), vec![]).expect("a fresh store");
        let slot = block_on(store.create_partition(&spec(1, 0))).expect("created");
        let synced = |store: &ShardStore<MemoryDisk>| {
            run_with(store, store.start_epoch(slot, LeaderEpoch(1), Offset(0))).expect("synced");
        };
        store.append(slot, append(0, 1, b"kafka's")).expect("appended");
        synced(&store);
        store.append(slot, append(1, 1, b"kafka's")).expect("appended");
        store.append(slot, native(2)).expect("appended");
        synced(&store);
        let told = |store: &ShardStore<MemoryDisk>, from, limit| {
            let read = block_on(store.read(slot, Offset(from), Offset(limit), 1 << 20)).expect("readable");
            assert_eq!(read.next, Offset(limit));
            read.has_native
        };
        assert!(!told(&store, 0, 1), "a frame of Kafka's");
        assert!(told(&store, 2, 3));
        run_with(&store, store.destage_round()).expect("destaged");
        assert!(!told(&store, 0, 1));
        assert!(told(&store, 0, 3));
        run_with(&store, store.close()).expect("closed");
        let (store, _, _) = open(&disk, options, vec![spec(1, 0)]).expect("reopened");
        assert!(!told(&store, 0, 1));
        assert!(told(&store, 0, 3));
    }
}

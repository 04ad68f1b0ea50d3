use protocol::types::PartitionKey;

use super::testing::{append, block_on, open, options, read_all, run_with, spec};
use super::*;
use crate::disk::Disk;
use crate::disk::memory::{MemoryDisk, MemoryOptions};

fn shard_of(key: PartitionKey, count: u16) -> u16 {
    u16::try_from(key.partition.get()).expect("small") % count
}

fn live() -> Vec<PartitionSpec> {
    (0..6).map(|partition| spec(1, partition)).collect()
}

fn of_shard(shard: u16, count: u16) -> (StoreOptions, Vec<PartitionSpec>) {
    let own = live().into_iter().filter(|spec| shard_of(spec.key, count) == shard).collect();
    (StoreOptions { shard, shard_count: count, ..options() }, own)
}

/// Appends records to all partitions of all shards, some of them destaged.
fn write(disk: &MemoryDisk, count: u16, from: i64) {
    for shard in 0..count {
        let (options, own) = of_shard(shard, count);
        let (store, _, recovered) = open(disk, options, own).expect("whole");
        for base in from..from + 4 {
            for found in &recovered.partitions {
                store.append(found.slot, append(base, 1, &base.to_be_bytes())).expect("appended");
                run_with(&store, store.start_epoch(found.slot, LeaderEpoch(1), Offset(0))).expect("synced");
            }
            if base == from + 1 {
                run_with(&store, store.destage_all()).expect("destaged");
            }
        }
    }
}

fn check(disk: &MemoryDisk, count: u16, end: i64) {
    for shard in 0..count {
        let (options, own) = of_shard(shard, count);
        let (store, _, recovered) = open(disk, options, own).expect("whole");
        for found in recovered.partitions {
            let all = block_on(read_all(&store, found.slot, 100));
            let expected: Vec<_> = (0..end).map(|base| (base, base, base.to_be_bytes().to_vec())).collect();
            assert_eq!(all, expected, "{} on shard {shard} of {count}", found.key);
        }
    }
}

async fn change(disk: &MemoryDisk, from: u16, to: u16) -> Result<(), OpenError> {
    let options = StoreOptions { shard: 0, shard_count: from, ..options() };
    change_shard_count(disk, &options, to, &live(), shard_of).await
}

#[test]
fn records_survive_changes_of_the_number_of_shards() {
    let disk = MemoryDisk::default();
    let mut count = 1;
    for (round, next) in (0..).zip([3, 2, 4, 1, 3]) {
        write(&disk, count, round * 4);
        block_on(change(&disk, count, next)).expect("no faults");
        block_on(remove_other_layouts(&disk, next)).expect("no faults");
        assert_eq!(block_on(disk.list("journal".as_ref())).expect("no faults"), [""; 0]);
        count = next;
        check(&disk, count, (round + 1) * 4);
    }
}

#[test]
fn a_change_may_be_interrupted_anywhere() {
    let prepare = |seed| {
        let disk = MemoryDisk::new(MemoryOptions { seed, ..MemoryOptions::default() });
        write(&disk, 2, 0);
        disk
    };
    let whole = prepare(0);
    let before = whole.operation_count();
    block_on(change(&whole, 2, 3)).expect("no faults");
    let operations = whole.operation_count() - before;
    assert!(operations > 20);
    for cut in 1..=operations {
        let disk = prepare(cut);
        disk.crash_at(disk.operation_count() + cut);
        let outcome = block_on(change(&disk, 2, 3));
        let disk = disk.crash_image(cut);
        // The broker notes the new number when the change is complete.
        if outcome.is_err() {
            check(&disk, 2, 4);
            block_on(change(&disk, 2, 3)).expect("no faults");
        }
        block_on(remove_other_layouts(&disk, 3)).expect("no faults");
        check(&disk, 3, 4);
    }
}

#[test]
fn directories_of_partitions_that_are_not_live_are_retired() {
    let disk = MemoryDisk::default();
    write(&disk, 1, 0);
    let kept: Vec<_> = live().into_iter().take(2).collect();
    assert_eq!(block_on(retire_strangers(&disk, &kept)).expect("no faults"), 4);
    assert_eq!(block_on(retire_strangers(&disk, &kept)).expect("no faults"), 0);
    let (store, _, _) = open(&disk, options(), kept).expect("whole");
    block_on(store.free_deleted()).expect("no faults");
    let names = block_on(disk.list("topics".as_ref())).expect("no faults");
    assert_eq!(names, ["topic-1-0", "topic-1-1"]);
}

//! Rot: what was acked and is damaged is reported with partitions and offsets, never taken for a torn tail.

use std::path::PathBuf;
use std::task::Poll;

use protocol::types::Timestamp;

use super::testing::{append, block_on, contents, open, options, read_all, run_with, spec};
use super::*;
use crate::checkpoint::slots::{self, Slot};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, DiskFile, IoBuffer, OpenMode};

/// Flips a bit in a block of a file.
fn rot(disk: &MemoryDisk, path: &str, block: u64, at: usize) {
    let path = PathBuf::from(path);
    let file = block_on(disk.open(&path, OpenMode::Write)).expect("the file is there");
    let bytes = block_on(file.read_at(block * 4096, 4096)).expect("no faults");
    let mut buffer = IoBuffer::allocate(4096);
    buffer[..bytes.len()].copy_from_slice(&bytes);
    buffer[at] ^= 1;
    block_on(file.write_at(&buffer.freeze(bytes.len()), block * 4096)).expect("no faults");
}

/// A journal with a frame for each of ten records, in two partitions by turns.
fn written(disk: &MemoryDisk) {
    let (store, _, _) = open(disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("a fresh store");
    let slots = [0, 1].map(|partition| store.slot(spec(1, partition).key).expect("it is live"));
    for base in 0..5_i64 {
        for slot in slots {
            store.append(slot, append(base, 1, &base.to_be_bytes())).expect("appended");
            run_with(&store, synced(&store, slot, base + 1));
        }
    }
}

async fn synced(store: &ShardStore<MemoryDisk>, slot: PartitionSlot, end: i64) {
    std::future::poll_fn(|_| match store.synced_end(slot) {
        Some(synced) if synced >= Offset(end) => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await;
}

const SLOTS: [&str; 2] = ["checkpoint/1/0.a", "checkpoint/1/0.b"];
const JOURNAL: &str = "journal/1/0/00000000.journal";

fn damage(disk: &MemoryDisk) -> Damage {
    match open(disk, options(), vec![spec(1, 0), spec(1, 1)]) {
        Err(OpenError::Damaged(damage)) => *damage,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("acked records are damaged"),
    }
}

fn records(damage: &Damage) -> Vec<(i32, i64, i64)> {
    let record = |lost: &LostRecords| (lost.key.partition.get(), lost.from.get(), lost.end.get());
    damage.records.iter().map(record).collect()
}

#[test]
fn a_rotten_batch_is_reported_with_partition_and_offsets() {
    let disk = MemoryDisk::default();
    written(&disk);
    rot(&disk, JOURNAL, 4, 64 + 48 + 61 + 3);
    let damage = damage(&disk);
    assert_eq!(records(&damage), [(0, 2, 3)]);
    assert!(damage.frames.is_empty());
    assert!(damage.to_string().contains("topic-1-0: offsets 2 to 2"), "{damage}");
}

#[test]
fn a_rotten_header_is_reported_by_what_the_frames_behind_lack() {
    let disk = MemoryDisk::default();
    written(&disk);
    rot(&disk, JOURNAL, 5, 17);
    let damage = damage(&disk);
    assert_eq!(records(&damage), [(1, 2, 3)]);
    let frames: Vec<_> = damage.frames.iter().map(|lost| (lost.first.0, lost.end.0)).collect();
    assert_eq!(frames, [(5, 6)]);
    assert_eq!((damage.frames[0].file, damage.frames[0].position), (0, 5 * 4096));
}

#[test]
fn the_operator_may_go_on_with_what_is_left() {
    for (block, at, lost) in [(4, 64 + 48 + 61 + 3, (0, 2, 3)), (5, 17, (1, 2, 3))] {
        let disk = MemoryDisk::default();
        written(&disk);
        rot(&disk, JOURNAL, block, at);
        assert_eq!(records(&damage(&disk)), [lost]);
        let accepting = StoreOptions { accept_damage: true, ..options() };
        let (store, _, recovered) =
            open(&disk, accepting, vec![spec(1, 0), spec(1, 1)]).expect("the operator says so");
        assert_eq!(records(&recovered.damage), [lost]);
        let check = |store: &ShardStore<MemoryDisk>, extra: i64| {
            for partition in [0, 1] {
                let slot = store.slot(spec(1, partition).key).expect("it is live");
                let offsets: Vec<i64> =
                    block_on(read_all(store, slot, 1)).iter().map(|found| found.0).collect();
                let is_lost = |offset: &i64| partition == lost.0 && *offset == lost.1;
                let expected: Vec<i64> = (0..5 + extra).filter(|offset| !is_lost(offset)).collect();
                assert_eq!(offsets, expected);
            }
        };
        check(&store, 0);
        for partition in [0, 1] {
            let slot = store.slot(spec(1, partition).key).expect("it is live");
            store.append(slot, append(5, 1, b"after")).expect("appended");
        }
        run_with(&store, store.close()).expect("closed");
        check(&store, 1);
        // The damage was left behind: nobody needs to say so again.
        let (store, _, recovered) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
        assert!(recovered.damage.is_empty());
        check(&store, 1);
    }
}

#[test]
fn the_last_frame_is_torn_and_not_rotten() {
    let disk = MemoryDisk::default();
    written(&disk);
    rot(&disk, JOURNAL, 9, 17);
    let (_, _, recovered) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("nobody names it");
    assert_eq!(recovered.partitions[1].end, Offset(4));
}

#[test]
fn a_segment_that_is_missing_is_reported() {
    let disk = MemoryDisk::default();
    written(&disk);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
    run_with(&store, store.close()).expect("closed");
    block_on(disk.remove_file(&PathBuf::from("topics/topic-1-1/00000000000000000000.log")))
        .expect("it is there");
    assert_eq!(records(&damage(&disk)), [(1, 0, 5)]);
}

#[test]
fn a_segment_that_is_too_short_is_reported() {
    let disk = MemoryDisk::default();
    written(&disk);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
    run_with(&store, store.close()).expect("closed");
    let path = PathBuf::from("topics/topic-1-0/00000000000000000000.log");
    let file = block_on(disk.open(&path, OpenMode::Write)).expect("it is there");
    block_on(file.truncate(3 * (61 + 8) + 5)).expect("no faults");
    assert_eq!(records(&damage(&disk)), [(0, 3, 5)]);
}

/// Reads five records one by one and all at once: what is before and behind the rotten one comes, that one never.
fn check_one_is_not_served(store: &ShardStore<MemoryDisk>, slot: PartitionSlot, rotten: i64) {
    for from in 0..5 {
        let read = block_on(store.read(slot, Offset(from), Offset(5), 1));
        if from == rotten {
            let error = read.expect_err("it is damaged").to_string();
            assert_eq!(error, format!("the batch of offsets {rotten} to {rotten} is damaged"));
        } else {
            assert_eq!(contents(&read.expect("it is sound"))[0].0, from);
        }
    }
    let read = block_on(store.read(slot, Offset(0), Offset(5), 1 << 20)).expect("some are sound");
    assert_eq!((contents(&read).len(), read.next), (2, Offset(rotten)));
}

#[test]
fn a_record_that_rots_in_its_segment_is_not_served() {
    let disk = MemoryDisk::default();
    written(&disk);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
    run_with(&store, store.close()).expect("closed");
    let batch_bytes = 61 + 8;
    rot(&disk, "topics/topic-1-0/00000000000000000000.log", 0, 2 * batch_bytes + 61 + 3);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("headers are whole");
    let slot = store.slot(spec(1, 0).key).expect("it is live");
    check_one_is_not_served(&store, slot, 2);
    // A search that ends at it doesn't take it for what it looks for; one that passes it by does no worse for it.
    let at_time = |time| block_on(store.batch_at_time(slot, Timestamp(time), Offset(5)));
    assert!(matches!(at_time(2), Err(ReadError::Damaged { .. })));
    assert!(matches!(at_time(3), Ok(Some(_))));
}

#[test]
fn a_record_that_rots_in_the_journal_of_an_open_store_is_not_served() {
    let disk = MemoryDisk::default();
    written(&disk);
    // No room in memory: what is read comes from the journal.
    let options = StoreOptions { tail_cache_bytes: 0, ..options() };
    let (store, _, _) = open(&disk, options, vec![spec(1, 0), spec(1, 1)]).expect("whole");
    rot(&disk, JOURNAL, 4, 64 + 48 + 61 + 3);
    let slot = store.slot(spec(1, 0).key).expect("it is live");
    check_one_is_not_served(&store, slot, 2);
}

#[test]
fn a_checkpoint_is_not_done_without_where_frames_are() {
    let disk = MemoryDisk::default();
    written(&disk);
    SLOTS.iter().for_each(|slot| rot(&disk, slot, 0, 40));
    let outcome = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]);
    assert!(matches!(outcome, Err(OpenError::CheckpointsDamaged { shard: 0 })));
}

#[test]
fn the_older_checkpoint_serves_where_the_newer_is_damaged() {
    let disk = MemoryDisk::default();
    written(&disk);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
    run_with(&store, store.destage_all()).expect("destaged");
    let number = store.shared.state.borrow().checkpoint_number;
    drop(store);
    let slot = ["a", "b"][usize::from(number % 2 == 1)];
    rot(&disk, &format!("checkpoint/1/0.{slot}"), 0, 40);
    let (store, _, recovered) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("the older one");
    for found in recovered.partitions {
        assert_eq!(block_on(read_all(&store, found.slot, 1000)).len(), 5);
    }
}

#[test]
fn a_journal_that_is_gone_is_not_taken_for_an_empty_one() {
    let disk = MemoryDisk::default();
    written(&disk);
    let (store, _, _) = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]).expect("whole");
    run_with(&store, store.destage_all()).expect("destaged");
    drop(store);
    block_on(disk.remove_directory(&PathBuf::from("journal/1"))).expect("it is there");
    let outcome = open(&disk, options(), vec![spec(1, 0), spec(1, 1)]);
    assert!(matches!(outcome, Err(OpenError::JournalMissing { shard: 0, .. })));
}

/// One more life, in which one more record is acked and nothing is destaged. Fails where the power is cut.
fn live_on(disk: &MemoryDisk, base: i64) -> Result<(), OpenError> {
    let (store, heard, recovered) = open(disk, options(), vec![spec(1, 0)])?;
    let slot = recovered.partitions[0].slot;
    assert_eq!(recovered.partitions[0].end, Offset(base), "what was acked is there");
    store.append(slot, append(base, 1, &base.to_be_bytes())).expect("appended");
    run_with(
        &store,
        std::future::poll_fn(|_| {
            let is_synced = store.synced_end(slot) == Some(Offset(base + 1));
            if is_synced || heard.failure.borrow().is_some() { Poll::Ready(()) } else { Poll::Pending }
        }),
    );
    Ok(())
}

/// All records of the only partition.
fn bases(disk: &MemoryDisk) -> Result<Vec<i64>, OpenError> {
    let (store, _, recovered) = open(disk, options(), vec![spec(1, 0)])?;
    let found = block_on(read_all(&store, recovered.partitions[0].slot, 1000));
    Ok(found.iter().map(|record| record.0).collect())
}

#[test]
fn either_slot_knows_of_every_life() {
    for life_count in 1..=4 {
        for rotten in SLOTS {
            let disk = MemoryDisk::default();
            (0..life_count).for_each(|base| live_on(&disk, base).expect("whole"));
            rot(&disk, rotten, 0, 40);
            // The next life is a new one also in the eyes of the slot that is whole again by then.
            live_on(&disk, life_count).expect("one slot is whole");
            for other in SLOTS {
                let disk = disk.crash_image(0);
                rot(&disk, other, 0, 40);
                let found = bases(&disk).expect("one slot is whole");
                assert_eq!(found, (0..=life_count).collect::<Vec<_>>(), "{rotten}, then {other}");
            }
        }
    }
}

#[test]
fn a_slot_that_rots_after_a_power_cut_at_any_operation_of_a_start_loses_nothing_in_silence() {
    for life_count in 0..3 {
        let before = MemoryDisk::default();
        (0..life_count).for_each(|base| live_on(&before, base).expect("whole"));
        let whole = before.crash_image(0);
        live_on(&whole, life_count).expect("whole");
        let mut opened = 0;
        for cut in 1..=whole.operation_count() {
            for (number, rotten) in SLOTS.into_iter().enumerate() {
                let disk = before.crash_image(0);
                disk.crash_at(cut);
                // Whether the last record was acked doesn't matter: those before were.
                assert!(live_on(&disk, life_count).is_ok() || disk.has_crashed());
                let disk = disk.crash_image(cut);
                if block_on(disk.exists(&PathBuf::from(rotten))).expect("no faults") {
                    rot(&disk, rotten, 0, 40);
                }
                let other = block_on(slots::read(&disk, 0, 1, 1 - number)).expect("no faults");
                match bases(&disk) {
                    Ok(found) => {
                        let end = i64::try_from(found.len()).expect("few");
                        assert!((life_count..=life_count + 1).contains(&end), "cut at {cut}: {found:?}");
                        assert!(found.iter().copied().eq(0..end));
                        opened += 1;
                    }
                    Err(OpenError::CheckpointsDamaged { shard: 0 }) => {
                        assert!(!matches!(other, Slot::Valid(_)), "cut at {cut}: one slot is whole");
                    }
                    Err(error) => panic!("cut at {cut}: {error}"),
                }
            }
        }
        assert!(opened > 0);
    }
}

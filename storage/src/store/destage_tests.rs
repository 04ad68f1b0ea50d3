//! Destaging as the store's callers see it: when it runs, what it may meet, what it gives back.

use std::rc::Rc;

use super::testing::{Heard, append, block_on, open, options, read_all, run_with, spec};
use super::*;
use crate::disk::memory::{MemoryDisk, MemoryOptions};

fn slow_disk() -> MemoryDisk {
    MemoryDisk::new(MemoryOptions { delay_polls_max: 5, ..MemoryOptions::default() })
}

/// Appends a batch of so many bytes at a partition's end, and waits until it is synced.
async fn produce(store: &ShardStore<MemoryDisk>, slot: PartitionSlot, bytes: usize) {
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
    let options = StoreOptions { tail_cache_bytes: 64 << 10, destage_concurrent_max: 1, ..options() };
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

//! A disk that doesn't answer, and one that answers when it likes: what waits is bounded, and nothing is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use super::testing::{Heard, append, block_on, options, read_all, run_with, spec};
use super::*;
use crate::disk::fault::{FaultDisk, Faults};
use crate::disk::memory::MemoryDisk;

const RECORD_BYTES: usize = 20_000;

struct Stalling {
    store: ShardStore<FaultDisk<MemoryDisk>>,
    heard: Rc<Heard>,
    slot: PartitionSlot,
    faults: Faults,
}

fn stalling(disk: &MemoryDisk) -> Stalling {
    let faults = Faults::new(1);
    let disk = FaultDisk::new(disk.clone(), faults.clone());
    let live = vec![spec(1, 0)];
    let (store, _) = block_on(ShardStore::open(disk, options(), live, &mut ())).expect("a store");
    let heard = Rc::new(Heard::default());
    store.set_listener(heard.clone());
    let slot = store.slot(spec(1, 0).key).expect("it is live");
    Stalling { store, heard, slot, faults }
}

fn value(number: i64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(RECORD_BYTES, 7);
    value
}

impl Stalling {
    fn append(&self, number: i64) {
        self.store.append(self.slot, append(number, 1, &value(number))).expect("it was let in");
    }

    fn synced(&self) -> i64 {
        self.heard.synced.borrow().get(&self.slot).map_or(0, |end| end.get())
    }

    /// Destages, as the background does, until so much is synced.
    async fn await_synced(&self, end: i64) {
        while self.synced() < end {
            self.store.destage_round().await.expect("it answers in the end");
            polls(1).await;
        }
    }

    fn check_holds(&self, count: i64) {
        let read = block_on(read_all(&self.store, self.slot, 1 << 20));
        let expected: Vec<_> = (0..count).map(|number| (number, number, value(number))).collect();
        assert!(read == expected, "{} of {count} are there as they were", read.len());
    }
}

/// Pending so many times.
async fn polls(mut count: usize) {
    std::future::poll_fn(move |_| match count.checked_sub(1) {
        None => Poll::Ready(()),
        Some(left) => {
            count = left;
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn producers_are_slowed_and_then_stopped_while_the_disk_does_not_answer() {
    let stalling = stalling(&MemoryDisk::default());
    let answers = Rc::new(Cell::new(false));
    stalling.faults.set_delay({
        let answers = Rc::clone(&answers);
        move |_| {
            let answers = Rc::clone(&answers);
            Box::pin(std::future::poll_fn(
                move |_| if answers.get() { Poll::Ready(()) } else { Poll::Pending },
            ))
        }
    });
    let (mut count, mut steps) = (0, Vec::new());
    run_with(&stalling.store, async {
        while stalling.store.admit(RECORD_BYTES) != Admission::Slow(1.0) {
            if let Admission::Slow(fullness) = stalling.store.admit(RECORD_BYTES) {
                steps.push(fullness);
            }
            stalling.append(count);
            count += 1;
            polls(1).await;
        }
        // Those who were let in at the same moment are not refused.
        for _ in 0..5 {
            stalling.append(count);
            count += 1;
            polls(1).await;
        }
        assert!(stalling.store.stats().pending_bytes <= options().pending_bytes_max);
        assert_eq!(stalling.synced(), 0, "nothing is on stable media before the disk says so");
        answers.set(true);
        stalling.await_synced(count).await;
        stalling.store.destage_all().await.expect("it answers again");
    });
    assert!(steps.len() > 5, "slowed, not stopped in one step: {steps:?}");
    assert!(steps.is_sorted(), "{steps:?}");
    assert_eq!(stalling.store.admit(RECORD_BYTES), Admission::Admit);
    stalling.check_holds(count);
}

#[test]
fn a_disk_that_answers_when_it_likes_loses_nothing_and_keeps_the_order() {
    const RECORDS: i64 = 60;
    const DELAY_POLLS_MAX: u64 = 12;
    for seed in 0..20_u64 {
        let disk = MemoryDisk::default();
        let stalling = stalling(&disk);
        let state = Cell::new(seed);
        stalling.faults.set_delay(move |_| {
            // Knuth's generator: its upper bits are good enough here.
            state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            let count = usize::try_from((state.get() >> 33) % DELAY_POLLS_MAX).expect("few");
            Box::pin(polls(count))
        });
        run_with(&stalling.store, async {
            for number in 0..RECORDS {
                // The listener asserts that ends only grow, and that nothing is synced that was not sealed.
                stalling.append(number);
                polls(1).await;
                if stalling.store.admit(RECORD_BYTES) != Admission::Admit {
                    stalling.await_synced(number + 1).await;
                }
            }
            stalling.await_synced(RECORDS).await;
        });
        stalling.check_holds(RECORDS);
        run_with(&stalling.store, stalling.store.close()).expect("closed");
        drop(stalling);
        self::stalling(&disk).check_holds(RECORDS);
    }
}

#[test]
fn a_frame_that_waits_for_a_file_leaves_destaging_no_time() {
    let disk = MemoryDisk::default();
    let stalling = stalling(&disk);
    run_with(&stalling.store, async {
        let mut count = 0;
        // Nobody makes the next file: that is destaging's.
        while stalling.store.has_time() {
            stalling.append(count);
            count += 1;
            polls(10).await;
        }
        assert_eq!(stalling.store.admit(0), Admission::Admit, "the journal is not full, and may grow");
        assert!(stalling.synced() < count);
        stalling.await_synced(count).await;
        stalling.check_holds(count);
    });
}

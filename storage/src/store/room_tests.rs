//! A full disk that goes on: what goes, what never does, and power cuts in the middle of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;

use protocol::types::Timestamp;

use super::testing::{append, block_on, open, options, read_all, run_with, spec};
use super::*;
use crate::disk::memory::MemoryDisk;

const BATCH_BYTES: usize = 8 << 10;
const COMMITTED: fn(PartitionSlot) -> Offset = |_| Offset(i64::MAX);

fn keeping_serving() -> StoreOptions {
    StoreOptions { deletes_when_full: true, destage_round_bytes: 64 << 10, ..options() }
}

/// Two partitions that give room, and one that doesn't.
fn specs() -> Vec<PartitionSpec> {
    let config = LogConfig { segment_bytes: 32 << 10, ..LogConfig::default() };
    let spec = |partition, gives_room| PartitionSpec {
        config: LogConfig { gives_room, ..config },
        ..spec(1, partition)
    };
    vec![spec(0, true), spec(1, true), spec(2, false)]
}

/// What the partition's batch at an offset holds.
fn body(slot: PartitionSlot, base: i64) -> Vec<u8> {
    let mut body = base.to_be_bytes().to_vec();
    body.resize(BATCH_BYTES, u8::try_from(slot.0).expect("few"));
    body
}

struct World {
    disk: MemoryDisk,
    store: ShardStore<MemoryDisk>,
    slots: Vec<PartitionSlot>,
}

impl World {
    fn open(disk: &MemoryDisk, options: StoreOptions) -> Result<Self, OpenError> {
        let (store, _, recovered) = open(disk, options, specs())?;
        let slots = recovered.partitions.iter().map(|found| found.slot).collect();
        Ok(Self { disk: disk.clone(), store, slots })
    }

    fn used_bytes(&self) -> u64 {
        self.disk.capacity_bytes() - block_on(self.disk.available_bytes()).expect("it tells")
    }

    /// Appends a batch, unless it is refused, and waits until it is synced.
    fn produce(&self, number: usize) -> Result<(), StoreError> {
        let slot = self.slots[number];
        if self.store.admit(BATCH_BYTES) == Admission::Full {
            return Err(StoreError::DiskFull);
        }
        let base = self.store.end_offset(slot).expect("a partition").get();
        self.store.append(slot, append(base, 1, &body(slot, base)))?;
        let sequence = self.store.shared.state.borrow().window.next();
        run_with(&self.store, self.store.wait_synced(sequence))
    }

    fn destage(&self) -> Result<(), StoreError> {
        while run_with(&self.store, self.store.destage_round())?.has_more {}
        Ok(())
    }

    fn is_room_wanted(&self) -> bool {
        let mut wanted = std::pin::pin!(self.store.room_wanted());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        wanted.as_mut().poll(&mut context) == Poll::Ready(())
    }

    fn make_room(&self, now: i64) -> Result<Vec<Retained>, StoreError> {
        run_with(&self.store, self.store.make_room(Timestamp(now), COMMITTED))
    }

    /// Every partition has what it should from its start on. Returns where each starts and ends.
    fn check(&self) -> Vec<(i64, i64)> {
        let ends = self.slots.iter().map(|&slot| {
            let start = self.store.log_start(slot).expect("a partition").get();
            let end = self.store.sealed_end(slot).expect("a partition").get();
            let found = block_on(read_all(&self.store, slot, 1 << 20));
            let expected: Vec<_> = (start..end).map(|base| (base, base, body(slot, base))).collect();
            assert!(found == expected, "{slot:?} from {start} to {end}");
            (start, end)
        });
        ends.collect()
    }
}

#[test]
fn produces_go_on_for_ever_while_the_oldest_go() {
    const ROUNDS: i64 = 600;
    let world = World::open(&MemoryDisk::default(), keeping_serving()).expect("a fresh disk");
    for _ in 0..4 {
        world.produce(2).expect("there is room");
    }
    let unused_bytes = 2 << 20;
    world.disk.set_capacity_bytes(world.used_bytes() + unused_bytes);
    let mut deleted = BTreeMap::new();
    for round in 0..ROUNDS {
        // One of the two gets nothing for long: its segments are the oldest then.
        let number = if round < 100 { 1 } else { 0 };
        world.produce(number).expect("never refused");
        world.destage().expect("never full");
        if world.is_room_wanted() {
            assert!(matches!(world.store.admit(1 << 30), Admission::Slow(_)), "it waits for room");
            let moved = world.make_room(ROUNDS).expect("made");
            assert!(!moved.is_empty(), "round {round}: there is always something that may go");
            for retained in moved {
                assert_eq!(world.store.log_start(retained.slot), Some(retained.log_start));
                *deleted.entry(retained.slot).or_insert(0) += retained.segments;
            }
            assert!(!world.is_room_wanted(), "there is room for a while");
        }
    }
    let ends = world.check();
    assert_eq!(ends[2], (0, 4), "what gives nothing is whole");
    let produced_bytes = u64::try_from(ROUNDS).expect("positive") * BATCH_BYTES as u64;
    assert!(produced_bytes > 2 * unused_bytes, "more than the disk has was produced");
    assert!(ends[1].0 > 0, "the oldest went, wherever they were");
    assert!(ends[1].0 < ends[1].1, "the segment that is written to stays while there are others");
    assert!(ends[0].0 > 0);
    let kept_bytes = (ends[0].1 - ends[0].0) * i64::try_from(BATCH_BYTES).expect("small");
    assert!(kept_bytes > 512 << 10, "no more went than had to: {kept_bytes} B are left");
    assert_eq!(deleted.len(), 2);

    run_with(&world.store, world.store.close()).expect("closed");
    let again = World::open(&world.disk, keeping_serving()).expect("a whole store");
    assert_eq!(again.check(), ends, "what went does not come back, and nothing else is gone");
}

#[test]
fn where_nothing_may_go_produces_are_refused_and_nothing_is_lost() {
    let world = World::open(&MemoryDisk::default(), keeping_serving()).expect("a fresh disk");
    world.disk.set_capacity_bytes(world.used_bytes() + (2 << 20));
    let mut count = 0;
    while world.produce(2).is_ok() {
        count += 1;
        world.destage().expect("what was let in has room");
        assert!(world.make_room(0).expect("it looks").is_empty());
    }
    assert!(count > 50);
    assert_eq!(world.store.admit(BATCH_BYTES), Admission::Full);
    assert_eq!(world.check()[2], (0, count));
}

#[test]
fn nothing_goes_that_is_not_committed_or_not_destaged_or_before_room_is_wanted() {
    let world = World::open(&MemoryDisk::default(), keeping_serving()).expect("a fresh disk");
    for _ in 0..20 {
        world.produce(0).expect("there is room");
    }
    run_with(&world.store, world.store.destage_all()).expect("destaged");
    for _ in 0..5 {
        world.produce(0).expect("there is room");
    }
    assert!(world.make_room(0).expect("it looks").is_empty(), "there is room");
    world.disk.set_capacity_bytes(world.used_bytes() + (96 << 10));
    let committed = run_with(&world.store, world.store.make_room(Timestamp(0), |_| Offset(2)));
    assert!(committed.expect("it looks").is_empty(), "nothing is committed");
    let moved = world.make_room(0).expect("made");
    assert_eq!(moved.len(), 1);
    assert!(moved[0].log_start <= Offset(20), "the journal's part stays: {moved:?}");
    assert_eq!(world.check()[0].1, 25);
}

#[test]
fn a_store_that_refuses_when_full_never_wants_room() {
    let world = World::open(&MemoryDisk::default(), options()).expect("a fresh disk");
    world.disk.set_capacity_bytes(world.used_bytes());
    run_with(&world.store, world.store.destage_all()).expect("there is nothing");
    assert!(matches!(world.produce(0), Err(StoreError::DiskFull)));
    assert!(!world.is_room_wanted());
}

/// A reader who is told that an offset is gone is told where the log starts, also while a round is not over.
#[test]
fn each_start_is_told_as_soon_as_nobody_can_read_before_it() {
    let disk = MemoryDisk::default();
    let (store, heard, recovered) = open(&disk, keeping_serving(), specs()).expect("a fresh disk");
    let slots: Vec<_> = recovered.partitions.iter().map(|found| found.slot).collect();
    let world = World { disk, store: store.clone(), slots: slots.clone() };
    for turn in 0..18 {
        world.produce(turn % 2).expect("there is room");
    }
    run_with(&store, store.destage_all()).expect("destaged");
    world.disk.set_capacity_bytes(world.used_bytes() + (32 << 10));
    let mut counts = Vec::new();
    let mut round = std::pin::pin!(store.make_room(Timestamp(100), COMMITTED));
    let moved = run_with(
        &store,
        std::future::poll_fn(|context| {
            let polled = round.as_mut().poll(context);
            let started = heard.started.borrow();
            for slot in &slots {
                let told = started.get(slot).copied().unwrap_or(Offset(0));
                assert_eq!(Some(told), store.log_start(*slot), "{slot:?}");
                let there = store.shared.segments(*slot).expect("a partition").log.start();
                assert!(there <= told, "{slot:?}: segments before {there} went, and {told} is told");
            }
            counts.push(started.len());
            polled
        }),
    );
    assert_eq!(moved.expect("made").len(), 2);
    assert!(counts.contains(&1), "one log had moved while the other had not: {counts:?}");
}

/// A new journal has one file, which is never free again while there is no other.
#[test]
fn a_new_journal_on_a_disk_that_is_nearly_full_goes_on() {
    let (world, frames) = nearly_full(options());
    for start in 1..=frames {
        run_with(&world.store, world.store.set_log_start(world.slots[0], Offset(start))).expect("it goes on");
        world.destage().expect("there is nothing to write but checkpoints");
    }
    check_went_round(&world);
}

/// Two full files are not much of what there could be, and nevertheless all that there is.
#[test]
fn two_files_of_many_go_on_where_the_disk_is_nearly_full() {
    let (world, frames) = nearly_full(StoreOptions { journal_files_max: 32, ..options() });
    for start in 1..=frames {
        let started = world.store.set_log_start(world.slots[0], Offset(start));
        let done = |round: Result<(), StoreError>| round.expect("there is nothing to write but checkpoints");
        beside_rounds(&world, started, done).expect("it goes on");
    }
    check_went_round(&world);
}

/// A store with two files and no room for a third, and how many frames of a grain they hold; as many records are there.
fn nearly_full(options: StoreOptions) -> (World, i64) {
    let reserving = StoreOptions { reserve_bytes: 512 << 10, ..options };
    let (file_bytes, reserve_bytes) = (reserving.journal_file_bytes, reserving.reserve_bytes);
    let world = World::open(&MemoryDisk::default(), reserving).expect("a fresh disk");
    world.disk.set_capacity_bytes(world.used_bytes() + reserve_bytes + file_bytes / 2);
    let first = run_with(&world.store, world.store.destage_round()).expect("there is the reserve");
    assert_eq!((first.added_files, first.has_more), (1, false), "a second one, and no third");
    let frames = 2 * i64::try_from(file_bytes / 4096).expect("small");
    let count = i32::try_from(frames).expect("small");
    world.store.append(world.slots[0], append(0, count, b"records")).expect("there is room");
    (world, frames)
}

fn check_went_round(world: &World) {
    let file_bytes = options().journal_file_bytes;
    assert!(world.store.stats().frame_bytes > 2 * file_bytes - 4096, "both files went round");
    assert!(matches!(world.produce(0), Err(StoreError::DiskFull)));
}

/// How many batches, each in a frame of its own, are in a journal's file.
const BATCHES_IN_FILE: usize = 10;

/// Two files that are soon full.
fn two_files() -> StoreOptions {
    StoreOptions { journal_file_bytes: 128 << 10, journal_files_max: 2, ..options() }
}

/// Rounds of destaging go on beside what waits, as they do where the journal is stalled; each one's end is looked at.
fn beside_rounds<T>(
    world: &World,
    waits: impl Future<Output = T>,
    look: impl Fn(Result<(), StoreError>),
) -> T {
    let rounds = async {
        loop {
            look(world.store.destage_all().await);
            crate::wait::yield_now().await;
        }
    };
    run_with(&world.store, futures_lite::future::or(waits, rounds))
}

#[test]
fn a_file_that_was_read_when_it_might_have_been_freed_is_freed_later() {
    let world = World::open(&MemoryDisk::default(), two_files()).expect("a fresh disk");
    world.destage().expect("a second file");
    let reader = world.store.shared.state.borrow().ring.pin(0);
    for _ in 0..2 * BATCHES_IN_FILE {
        world.produce(0).expect("there is room");
    }
    let start_at = |start| world.store.set_log_start(world.slots[0], Offset(start));
    // What is left behind the last batch.
    for start in 1..=2 {
        run_with(&world.store, start_at(start)).expect("there is room");
    }
    run_with(&world.store, world.store.destage_all()).expect("no faults");
    assert!(world.store.shared.state.borrow().ring.is_tight(), "all is destaged, and nothing is free");
    drop(reader);
    beside_rounds(&world, start_at(3), |round| round.expect("no faults")).expect("it goes on");
}

/// The second checkpoint is all that a file still waits for, and that needs no room.
#[test]
fn on_a_disk_without_any_room_a_file_is_freed_by_a_checkpoint() {
    let many = StoreOptions { journal_files_max: 32, ..two_files() };
    let world = World::open(&MemoryDisk::default(), many).expect("a fresh disk");
    run_with(&world.store, world.store.destage_round()).expect("a second file");
    world.store.append(world.slots[1], append(0, 40, b"records")).expect("there is room");
    for _ in 0..=BATCHES_IN_FILE {
        world.produce(0).expect("there is room");
    }
    world.disk.set_capacity_bytes(world.used_bytes() + (200 << 10));
    run_with(&world.store, world.store.destage_all()).expect("there is room for that");
    assert_eq!(world.store.shared.state.borrow().older_replay_from.sequence, FrameSequence(0));
    world.produce(0).expect("there is room for it, and none to destage it");
    world.disk.set_capacity_bytes(world.used_bytes());
    // Each in a frame of its own: more than the second file has room for.
    for start in 1..=40 {
        let started = world.store.set_log_start(world.slots[1], Offset(start));
        let full = |round| assert!(matches!(round, Ok(()) | Err(StoreError::DiskFull)), "{round:?}");
        beside_rounds(&world, started, full).expect("it goes on");
    }
}

/// What was promised when the power went.
#[derive(Default)]
struct Promised {
    synced: [i64; 3],
    /// Where each log may start: nothing was destaged behind.
    starts_max: [i64; 3],
}

fn live_on_a_full_disk(world: &World, promised: &mut Promised) -> Result<(), StoreError> {
    for turn in 0..18 {
        let number = turn % 3;
        world.produce(number)?;
        promised.synced[number] += 1;
    }
    run_with(&world.store, world.store.destage_all())?;
    world.disk.set_capacity_bytes(world.used_bytes() + (32 << 10));
    promised.starts_max = [6, 6, 0];
    assert!(!world.make_room(100)?.is_empty());
    world.disk.set_capacity_bytes(u64::MAX);
    for number in 0..3 {
        world.produce(number)?;
        promised.synced[number] += 1;
    }
    run_with(&world.store, world.store.destage_all())
}

#[test]
fn a_power_cut_at_any_moment_loses_no_more_than_the_oldest() {
    let fresh = |crash_at: Option<u64>| {
        let disk = MemoryDisk::default();
        if let Some(operation) = crash_at {
            disk.crash_at(operation);
        }
        disk
    };
    let whole = fresh(None);
    let world = World::open(&whole, keeping_serving()).expect("a fresh disk");
    live_on_a_full_disk(&world, &mut Promised::default()).expect("no faults");
    let operations = whole.operation_count();
    let mut deleted_in = 0;
    for operation in 1..=operations {
        let disk = fresh(Some(operation));
        let mut promised = Promised::default();
        if let Ok(world) = World::open(&disk, keeping_serving()) {
            let outcome = live_on_a_full_disk(&world, &mut promised);
            assert!(outcome.is_ok() || disk.has_crashed(), "{outcome:?}");
        }
        let image = disk.crash_image(operation);
        image.set_capacity_bytes(u64::MAX);
        let ends = World::open(&image, keeping_serving()).expect("it opens").check();
        for ((start, end), (synced, start_max)) in
            ends.iter().zip(promised.synced.iter().zip(promised.starts_max))
        {
            assert!(end >= synced, "cut at {operation}: ends {ends:?}");
            assert!(*start <= start_max, "cut at {operation}: starts {ends:?}");
        }
        deleted_in += usize::from(ends[0].0 + ends[1].0 > 0);
    }
    assert!(deleted_in > 3, "some cuts came behind the deletion");
}

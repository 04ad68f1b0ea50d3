//! Power cuts at every write and sync of scripted lives: what was promised is there afterwards.
//!
//! A [`World`] runs steps against a store and a model of what each partition holds. The model knows what was promised
//! (acked, cut, deleted, started) and what was only tried: after a crash the store may have any prefix of what was
//! tried behind what was promised, nothing else. Then the next life goes on from what is there.

use std::collections::BTreeMap;

use protocol::types::{LeaderEpoch, Offset, PartitionKey, Timestamp};

use super::destage::Reach;
use super::testing::{Heard, append, block_on, open, options, read_all, run_with, spec};
use super::*;
use crate::disk::memory::{MemoryDisk, MemoryOptions};
use crate::journal::ring;

/// One step of a life. Partitions go by number.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many batches, then wait until they are synced.
    Produce(i32, usize),
    /// So many batches, without waiting.
    Fire(i32, usize),
    Destage,
    DestageAll,
    Truncate(i32, i64),
    LogStart(i32, i64),
    Retain,
    /// Delete the partition, and make its topic again.
    Recreate(i32),
    StartEpoch(i32, i32),
    Close,
    /// The writer does what it can.
    Write,
    /// The step, while everything that is synced by then is destaged beside it.
    Beside(&'static Step),
    /// The same with one round, of what is synced when it begins.
    BesideRound(&'static Step),
}

/// What is known of a partition.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Counts the topics of its name.
    incarnation: u8,
    /// A recreation was tried: the next incarnation is live.
    records: Vec<Vec<u8>>,
    /// Of these, so many are promised.
    synced: usize,
    log_start: i64,
    /// A start that was tried.
    log_start_tried: i64,
    /// A cut that was tried: the log may end here.
    cut_tried: Option<usize>,
    epoch: i32,
}

struct World {
    partitions: BTreeMap<i32, Model>,
    options: StoreOptions,
    counter: u64,
    config: LogConfig,
    /// Whether to destage beside whatever is done, and how much.
    destages_beside: Option<Reach>,
}

struct Life {
    store: ShardStore<MemoryDisk>,
    heard: std::rc::Rc<Heard>,
    slots: BTreeMap<i32, PartitionSlot>,
}

impl World {
    fn new(options: StoreOptions) -> Self {
        let config = LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() };
        let partitions = (0..3).map(|number| (number, Model::default())).collect();
        Self { partitions, options, counter: 0, config, destages_beside: None }
    }

    fn spec(&self, number: i32) -> PartitionSpec {
        let incarnation = self.partitions[&number].incarnation;
        PartitionSpec { topic_name: "topic".to_owned(), config: self.config, ..spec(incarnation, number) }
    }

    fn open(&self, disk: &MemoryDisk) -> Option<Life> {
        let live: Vec<_> = self.partitions.keys().map(|number| self.spec(*number)).collect();
        let (store, heard, recovered) = match open(disk, self.options.clone(), live) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(disk.has_crashed(), "{error}");
                return None;
            }
        };
        let slots = self.partitions.keys().copied().zip(recovered.partitions.iter().map(|found| found.slot));
        Some(Life { store, heard, slots: slots.collect() })
    }

    /// Runs steps until the power is gone. Returns whether it is.
    fn live(&mut self, disk: &MemoryDisk, steps: &[Step]) -> bool {
        let Some(mut life) = self.open(disk) else { return true };
        for step in steps {
            if self.step(&mut life, *step).is_err() {
                assert!(disk.has_crashed(), "{step:?} failed: {:?}", life.heard.failure.borrow());
                return true;
            }
        }
        disk.has_crashed()
    }

    fn step(&mut self, life: &mut Life, step: Step) -> Result<(), StoreError> {
        let result = self.act(life, step);
        self.listen(life);
        result
    }

    fn act(&mut self, life: &mut Life, step: Step) -> Result<(), StoreError> {
        let store = life.store.clone();
        match step {
            Step::Produce(number, count) => {
                self.fire(life, number, count)?;
                // An entry of any kind is synced behind all that was appended before.
                run_with(&store, store.start_epoch(life.slots[&number], LeaderEpoch(0), Offset(0)))
            }
            Step::Fire(number, count) => self.fire(life, number, count),
            Step::Destage => run_with(&store, store.destage_round()).map(|_| ()),
            Step::DestageAll => run_with(&store, store.destage_all()),
            Step::Truncate(number, offset) => self.truncate(life, number, offset),
            Step::LogStart(number, offset) => {
                let model = self.partitions.get_mut(&number).expect("a partition");
                let offset = offset.min(i64::try_from(model.synced).expect("short"));
                model.log_start_tried = model.log_start_tried.max(offset);
                self.run(&store, store.set_log_start(life.slots[&number], Offset(offset)))?;
                let model = self.partitions.get_mut(&number).expect("a partition");
                model.log_start = model.log_start.max(offset);
                Ok(())
            }
            Step::Retain => self.retain(life),
            Step::Recreate(number) => {
                let old = life.slots.remove(&number).expect("a partition");
                // The metadata is told first: whatever happens now, the new topic is the live one.
                let model = self.partitions.get_mut(&number).expect("a partition");
                *model = Model { incarnation: model.incarnation + 1, ..Model::default() };
                self.run(&store, store.delete_partition(old))?;
                let slot = self.run(&store, store.create_partition(&self.spec(number)))?;
                life.slots.insert(number, slot);
                run_with(&store, store.free_deleted())
            }
            Step::StartEpoch(number, epoch) => {
                let slot = life.slots[&number];
                let end = store.end_offset(slot).expect("a partition");
                run_with(&store, store.start_epoch(slot, LeaderEpoch(epoch), end))?;
                let model = self.partitions.get_mut(&number).expect("a partition");
                model.epoch = model.epoch.max(epoch);
                Ok(())
            }
            Step::Close => run_with(&store, store.close()),
            Step::Write => {
                run_with(&store, async {
                    for _ in 0..1_000 {
                        crate::wait::yield_now().await;
                    }
                });
                Ok(())
            }
            Step::Beside(step) => self.act_beside(life, *step, Reach::All),
            Step::BesideRound(step) => self.act_beside(life, *step, Reach::Ripe),
        }
    }

    fn act_beside(&mut self, life: &mut Life, step: Step, reach: Reach) -> Result<(), StoreError> {
        self.destages_beside = Some(reach);
        let result = self.act(life, step);
        self.destages_beside = None;
        result
    }

    /// Runs what is asked of the store, with or without destaging beside it.
    fn run<T>(
        &self,
        store: &ShardStore<MemoryDisk>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(reach) = self.destages_beside else { return run_with(store, work) };
        let destage = async {
            match reach {
                Reach::All => store.destage_all().await,
                Reach::Ripe => store.destage_round().await.map(drop),
            }
        };
        let (destaged, result) = run_with(store, futures_lite::future::zip(destage, work));
        destaged.and(result)
    }

    fn fire(&mut self, life: &Life, number: i32, count: usize) -> Result<(), StoreError> {
        for _ in 0..count {
            self.counter += 1;
            let model = self.partitions.get_mut(&number).expect("a partition");
            let base = i64::try_from(model.records.len()).expect("short");
            // Of different lengths, so that frames end in different blocks.
            let mut body = self.counter.to_be_bytes().to_vec();
            body.resize(8 + usize::try_from(self.counter * 37 % 300).expect("short"), 7);
            let mut batch = append(base, 1, &body);
            batch.leader_epoch = LeaderEpoch(model.epoch);
            life.store.append(life.slots[&number], batch)?;
            model.records.push(body);
        }
        Ok(())
    }

    fn truncate(&mut self, life: &Life, number: i32, offset: i64) -> Result<(), StoreError> {
        let slot = life.slots[&number];
        let model = self.partitions.get_mut(&number).expect("a partition");
        let offset = offset.max(model.log_start).min(i64::try_from(model.records.len()).expect("short"));
        let cut = usize::try_from(offset).expect("positive");
        model.cut_tried = Some(cut);
        let end = self.run(&life.store, life.store.truncate(slot, Offset(offset)))?;
        assert_eq!(end, Offset(offset));
        let model = self.partitions.get_mut(&number).expect("a partition");
        model.records.truncate(cut);
        model.synced = model.synced.min(cut);
        model.cut_tried = None;
        // What was heard of the batches that are gone says nothing of those to come.
        life.heard.forget(slot);
        Ok(())
    }

    fn retain(&mut self, life: &Life) -> Result<(), StoreError> {
        // Everything destaged is too old.
        for number in life.slots.keys() {
            let model = self.partitions.get_mut(number).expect("a partition");
            model.log_start_tried = i64::try_from(model.synced).expect("short").max(model.log_start_tried);
        }
        let now = Timestamp(i64::from(i32::MAX) * 1000);
        let retained = self.run(&life.store, life.store.retain(now, |_| Offset(i64::MAX)))?;
        for found in retained {
            let number = life.slots.iter().find(|(_, slot)| **slot == found.slot).expect("a partition").0;
            let model = self.partitions.get_mut(number).expect("a partition");
            model.log_start = found.log_start.get();
        }
        Ok(())
    }

    /// Notes what is promised.
    fn listen(&mut self, life: &Life) {
        for (number, slot) in &life.slots {
            if let Some(end) = life.heard.synced.borrow().get(slot) {
                let model = self.partitions.get_mut(number).expect("a partition");
                model.synced = model.synced.max(usize::try_from(end.get()).expect("positive"));
            }
        }
    }

    /// Compares a fresh store with what was promised, and takes what it has as the truth from now on.
    fn check(&mut self, disk: &MemoryDisk, note: &str) {
        let life = self.open(disk).expect("a store opens after a crash");
        for (number, slot) in &life.slots {
            let model = self.partitions.get_mut(number).expect("a partition");
            let found = block_on(read_all(&life.store, *slot, 500));
            let start = life.store.log_start(*slot).expect("a partition").get();
            let end = life.store.sealed_end(*slot).expect("a partition").get();
            let tried = model.log_start_tried.max(model.log_start);
            assert!(
                (model.log_start..=tried).contains(&start),
                "{note}: {number} starts at {start}: {model:?}"
            );
            let promised = model.cut_tried.map_or(model.synced, |cut| cut.min(model.synced));
            let end_min = i64::try_from(promised).expect("short");
            assert!(end >= end_min.max(start), "{note}: {number} ends at {end}: {model:?}");
            let mut expected = start;
            for (base, last, body) in &found {
                assert_eq!((*base, *last), (expected, expected), "{note}: {number}: offsets without gaps");
                let index = usize::try_from(*base).expect("positive");
                assert_eq!(Some(body), model.records.get(index), "{note}: {number}: offset {base}");
                expected += 1;
            }
            assert_eq!(expected, end, "{note}: {number}: all of the log is readable");
            let epochs = life.store.epochs(*slot);
            assert!(
                epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start)
            );
            model.records.truncate(usize::try_from(end).expect("positive"));
            model.synced = model.records.len();
            model.log_start = start;
            model.log_start_tried = start;
            model.cut_tried = None;
        }
    }
}

const SCRIPT: &[Step] = &[
    Step::StartEpoch(0, 1),
    Step::Produce(0, 3),
    Step::Fire(1, 2),
    Step::Produce(2, 4),
    Step::DestageAll,
    Step::Produce(0, 5),
    Step::Truncate(0, 4),
    Step::Produce(0, 3),
    Step::Produce(1, 3),
    Step::LogStart(2, 2),
    Step::DestageAll,
    Step::Recreate(1),
    Step::Produce(1, 2),
    Step::Truncate(2, 3),
    Step::Produce(2, 5),
    Step::DestageAll,
    Step::Retain,
    Step::Produce(0, 2),
    Step::Destage,
    Step::StartEpoch(2, 2),
    Step::Produce(2, 1),
    Step::Recreate(2),
    Step::Fire(2, 3),
    Step::Close,
];

/// A life in which every partition is written, destaged, cut.
const SHORT: &[Step] = &[
    Step::Produce(0, 2),
    Step::Produce(1, 1),
    Step::DestageAll,
    Step::Truncate(0, 3),
    Step::Produce(0, 2),
    Step::Fire(1, 3),
];

/// Cuts of all kinds while the destager is at work on the same partitions.
const BESIDE: &[Step] = &[
    Step::Produce(0, 4),
    Step::Produce(1, 3),
    Step::Produce(2, 3),
    Step::Beside(&Step::Truncate(0, 2)),
    Step::Produce(0, 5),
    Step::Beside(&Step::LogStart(1, 2)),
    Step::Produce(0, 1),
    Step::Beside(&Step::Truncate(0, 3)),
    Step::Fire(2, 2),
    Step::Beside(&Step::Recreate(2)),
    Step::Produce(2, 3),
    Step::Beside(&Step::Truncate(2, 1)),
    Step::Produce(1, 3),
    Step::Beside(&Step::Retain),
    Step::Produce(0, 2),
    Step::Beside(&Step::Truncate(1, 3)),
    Step::Beside(&Step::Truncate(0, 1)),
];

fn small() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 64 << 10,
        frame_bytes_max: 4 << 10,
        tail_cache_bytes: 8 << 10,
        destage_concurrent_max: 2,
        destage_small_concurrent_max: 2,
        ..options()
    }
}

fn disk(seed: u64) -> MemoryDisk {
    MemoryDisk::new(MemoryOptions { seed, delay_polls_max: seed % 4, ..MemoryOptions::default() })
}

#[test]
fn without_a_crash_the_script_keeps_everything() {
    let disk = disk(0);
    let mut world = World::new(small());
    assert!(!world.live(&disk, SCRIPT));
    world.check(&disk, "a clean stop");
    assert!(!world.live(&disk, SHORT));
    world.check(&disk, "a second life");
}

#[test]
fn a_power_cut_at_every_operation_keeps_what_was_promised() {
    let whole = disk(0);
    World::new(small()).live(&whole, SCRIPT);
    let operations = whole.operation_count();
    for cut in 1..=operations {
        let disk = disk(cut);
        disk.crash_at(cut);
        let mut world = World::new(small());
        world.live(&disk, SCRIPT);
        world.check(&disk.crash_image(cut), &format!("cut at {cut} of {operations}"));
    }
}

/// The journal's first file is short, and leaves once there are two others.
#[test]
fn a_power_cut_while_the_short_file_leaves_keeps_what_was_promised() {
    let options = StoreOptions { journal_first_file_bytes: 32 << 10, ..small() };
    let (close, script) = SCRIPT.split_last().expect("it has steps");
    let lap = &[Step::Produce(0, 5), Step::Produce(1, 5), Step::Produce(2, 5), Step::DestageAll];
    let laps = [&[Step::DestageAll], script, lap, lap, &[*close]].concat();
    let whole = disk(0);
    assert!(!World::new(options.clone()).live(&whole, &laps));
    let left = block_on(whole.list_sized(&ring::directory(0, 1))).expect("no faults");
    assert!(left.iter().all(|file| file.size_bytes == options.journal_file_bytes), "it has left: {left:?}");
    let operations = whole.operation_count();
    for cut in 1..=operations {
        let disk = disk(cut);
        disk.crash_at(cut);
        let mut world = World::new(options.clone());
        world.live(&disk, &laps);
        world.check(&disk.crash_image(cut), &format!("cut at {cut} of {operations}"));
    }
}

/// A start writes before anything is destaged.
#[test]
fn a_power_cut_with_a_full_journal_leaves_one_that_starts() {
    for (first, files) in [(16 << 10, 4), (32 << 10, 2)] {
        let options = StoreOptions { journal_first_file_bytes: first, journal_files_max: files, ..small() };
        let mut disk = disk(0);
        let mut world = World::new(options);
        let fill = [Step::Fire(0, 1), Step::Write].repeat(40);
        // The first time there is one file, and then one more each time.
        for life in 0..6 {
            world.live(&disk, &[&[Step::StartEpoch(1, life)], &fill[..]].concat());
            disk = disk.crash_image(1);
            world.check(&disk, &format!("life {life}"));
        }
        let steps = [Step::StartEpoch(1, 9), Step::DestageAll, Step::Produce(0, 5), Step::DestageAll];
        assert!(!world.live(&disk, &steps));
        world.check(&disk, "once there is time to destage");
    }
}

/// Rounds of destaging end with the last frame of a file as well as within one, while the writer goes on in the next, and
/// then in whatever is free.
#[test]
fn a_power_cut_after_a_round_that_ended_where_a_file_does_keeps_what_was_promised() {
    let options = StoreOptions {
        journal_file_bytes: 16 << 10,
        journal_files_max: 4,
        destage_round_bytes: 16 << 10,
        ..small()
    };
    for before in 1..=4 {
        let before = vec![Step::Produce(0, 1); before];
        let after = [Step::Fire(0, 1), Step::Write].repeat(16);
        let beside = [Step::BesideRound(&Step::LogStart(0, 1))];
        let steps = [&[Step::DestageAll], &before[..], &beside, &after].concat();
        let whole = disk(0);
        assert!(!World::new(options.clone()).live(&whole, &steps));
        for cut in 1..=whole.operation_count() + 1 {
            let disk = disk(cut);
            disk.crash_at(cut);
            let mut world = World::new(options.clone());
            world.live(&disk, &steps);
            world.check(&disk.crash_image(cut), &format!("{} frames, cut at {cut}", before.len()));
        }
    }
}

#[test]
fn a_power_cut_while_destaging_goes_on_beside_keeps_what_was_promised() {
    for seed in 0..3 {
        let whole = disk(seed);
        assert!(!World::new(small()).live(&whole, BESIDE));
        let operations = whole.operation_count();
        for cut in 1..=operations {
            let disk = disk(seed);
            disk.crash_at(cut);
            let mut world = World::new(small());
            world.live(&disk, BESIDE);
            world.check(&disk.crash_image(cut), &format!("seed {seed}, cut at {cut} of {operations}"));
        }
    }
}

#[test]
fn several_power_cuts_in_a_row_keep_what_was_promised() {
    for seed in 0..300 {
        let mut disk = disk(seed);
        let mut world = World::new(small());
        for life in 0..5_u64 {
            disk.crash_at(disk.operation_count() + 1 + (seed * 7 + life * 13) % 60);
            let steps = if life % 2 == 0 { SCRIPT } else { SHORT };
            world.live(&disk, steps);
            disk = disk.crash_image(seed + life);
            world.check(&disk, &format!("seed {seed}, life {life}"));
            // What the check wrote may be half there as well.
            disk = disk.crash_image(seed + life + 1);
        }
    }
}

#[test]
fn a_key_names_one_partition_whatever_its_topic_is_called() {
    let disk = disk(1);
    let mut world = World::new(small());
    world.live(&disk, &[Step::Produce(0, 3), Step::DestageAll, Step::Recreate(0), Step::Recreate(0)]);
    let key: PartitionKey = world.spec(0).key;
    let life = world.open(&disk).expect("no crash");
    assert_eq!(life.store.slot(key).and_then(|slot| life.store.end_offset(slot)), Some(Offset(0)));
}

//! Rounds against a model, on the memory disk: what survives, where, and whatever happens on the way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use protocol::aborted::AbortedTransaction;
use protocol::batch::{BatchHeader, BatchIter};
use protocol::compression::Compression;
use protocol::records::{
    BatchBuilder, BatchOptions, ControlKind, ControlRecord, ProducerStamp, RecordIter, control_batch,
};
use protocol::types::{
    LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId,
};

use super::plan::{CompactionConfig, CompactionInput, plan_compaction};
use super::*;
use crate::disk::memory::{MemoryDisk, block_on};
use crate::disk::{Disk, DiskFile};
use crate::segment::{LogConfig, OpenFiles, PartitionLog, partition_directory};
use crate::wait::Turnstile;

const KEY: PartitionKey = PartitionKey { topic_id: TopicId([7; 16]), partition: PartitionIndex(3) };
const RETENTION_MS: i64 = 1000;
/// What a segment may hold where room is tight: less than what is made one.
const TIGHT_BYTES: u64 = 900;

fn directory() -> PathBuf {
    partition_directory("topic", KEY.partition)
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 4000, index_interval_bytes: 300, ..LogConfig::default() }
}

async fn open(disk: &MemoryDisk, cut: i64) -> Result<PartitionLog<MemoryDisk>, crate::segment::SegmentError> {
    let files = OpenFiles::new(disk.clone(), 8);
    PartitionLog::open(&files, KEY, directory(), config(), Offset(cut), Offset(0)).await
}

/// One record as it is read: all that a consumer could see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// All that was ever appended.
#[derive(Clone, Debug, Default)]
struct Model {
    end: i64,
    synced: i64,
    records: BTreeMap<i64, Seen>,
    /// Offsets of records whose transaction was aborted.
    aborted_records: BTreeSet<i64>,
    markers: BTreeSet<i64>,
    /// Those that consumers are told of, each with its records.
    aborted: Vec<(AbortedTransaction, Vec<i64>)>,
    /// Records of those that they are not told of any more.
    forgotten_records: BTreeSet<i64>,
    /// The last batch of each producer, by its last offset.
    producers: BTreeMap<i64, i64>,
    open: BTreeMap<i64, Vec<i64>>,
    now: i64,
    /// Up to where rounds have gone.
    touched: i64,
    /// Up to where the log is compacted.
    cleaned: i64,
    /// How often the last round had something done beside it.
    beside: u32,
}

/// What a batch holds.
#[derive(Clone, Debug)]
struct Written {
    compression: u8,
    /// None outside of transactions.
    producer: Option<i64>,
    /// Keys, and whether there is a value.
    records: Vec<(u8, bool)>,
}

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<Written>),
    /// Ends a producer's transaction, if it is in one.
    End(i64, ControlKind),
    Sync,
    /// With a table of the least size, or a large one; with little room in a segment, or enough; and so much later.
    Compact {
        is_small: bool,
        is_tight: bool,
        later_ms: i64,
    },
    Reopen,
}

fn actions(length: usize) -> impl Strategy<Value = Vec<Action>> {
    let written = (
        0_u8..5,
        proptest::option::weighted(0.4, 1_i64..4),
        proptest::collection::vec((0_u8..30, prop::bool::weighted(0.8)), 1..9),
    )
        .prop_map(|(compression, producer, records)| Written { compression, producer, records });
    let kind = prop_oneof![Just(ControlKind::Abort), Just(ControlKind::Commit)];
    let action = prop_oneof![
        6 => proptest::collection::vec(written, 1..14).prop_map(Action::Append),
        3 => (1_i64..4, kind).prop_map(|(producer, kind)| Action::End(producer, kind)),
        3 => Just(Action::Sync),
        4 => (any::<bool>(), prop::bool::weighted(0.2), 0_i64..2000)
            .prop_map(|(is_small, is_tight, later_ms)| Action::Compact { is_small, is_tight, later_ms }),
        1 => Just(Action::Reopen),
    ];
    proptest::collection::vec(action, 1..length)
}

impl Model {
    fn append(&mut self, written: &Written) -> Bytes {
        let compression = Compression::from_bits(written.compression).expect("one of five");
        let producer = written.producer.map_or(ProducerStamp::NONE, |producer| ProducerStamp {
            id: ProducerId(producer),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
        });
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(self.end),
            compression,
            producer,
            transactional: written.producer.is_some(),
            ..BatchOptions::default()
        });
        let base = self.end;
        for &(key, has_value) in &written.records {
            self.now += 1;
            let key = vec![key; 3];
            let value = has_value.then(|| format!("value {} of {:?}", self.end, key).into_bytes().repeat(3));
            builder.append(Timestamp(self.now), Some(&key), value.as_deref(), &[]);
            self.records.insert(self.end, Seen { timestamp: self.now, key: Some(key), value });
            self.end += 1;
        }
        if let Some(producer) = written.producer {
            self.open.entry(producer).or_default().extend(base..self.end);
            self.producers.insert(producer, self.end - 1);
        }
        builder.build().into()
    }

    fn marker(&mut self, producer: i64, kind: ControlKind) -> Option<Bytes> {
        let records = self.open.remove(&producer)?;
        self.now += 1;
        let marker = ControlRecord { kind, coordinator_epoch: 0 };
        let mut bytes = control_batch(
            (ProducerId(producer), ProducerEpoch(0)),
            LeaderEpoch(0),
            Timestamp(self.now),
            marker,
        );
        BatchHeader::from_prefix_mut(&mut bytes)
            .expect("a header")
            .set_position(Offset(self.end), LeaderEpoch(0));
        self.markers.insert(self.end);
        if kind == ControlKind::Abort {
            let aborted = AbortedTransaction {
                producer_id: ProducerId(producer),
                first_offset: Offset(records[0]),
                last_offset: Offset(self.end),
                last_stable_offset: Offset(self.end),
            };
            self.aborted_records.extend(&records);
            self.aborted.push((aborted, records));
        }
        self.end += 1;
        Some(bytes.into())
    }

    /// Consumers are not told any more of the transactions with these markers.
    fn forget(&mut self, markers: &[Offset]) {
        let (forgotten, told) = std::mem::take(&mut self.aborted)
            .into_iter()
            .partition(|(aborted, _)| markers.contains(&aborted.last_offset));
        self.aborted = told;
        self.forgotten_records.extend(forgotten.into_iter().flat_map(|(_, records)| records));
    }

    fn stable_end(&self) -> i64 {
        let first_open = self.open.values().filter_map(|records| records.first().copied()).min();
        first_open.unwrap_or(self.end).min(self.synced)
    }

    /// What must be there: of each key the last record, unless that is a tombstone; and all that was never compacted.
    fn required(&self) -> BTreeSet<i64> {
        let mut last: BTreeMap<&Vec<u8>, i64> = BTreeMap::new();
        for (offset, seen) in &self.records {
            if !self.aborted_records.contains(offset) {
                last.insert(seen.key.as_ref().expect("all have keys"), *offset);
            }
        }
        let kept = last.into_values().filter(|offset| self.records[offset].value.is_some());
        kept.chain(self.records.keys().copied().filter(|offset| *offset >= self.touched)).collect()
    }

    /// Of what was compacted, the last record of each key is left at most, and none that was aborted.
    fn check_compacted(&self, found: &BTreeMap<i64, Seen>) {
        let mut last = BTreeMap::new();
        for (offset, seen) in self.records.range(..self.cleaned) {
            if !self.aborted_records.contains(offset) {
                last.insert(&seen.key, offset);
            }
        }
        for (offset, seen) in found.range(..self.cleaned) {
            assert!(!self.aborted_records.contains(offset), "{offset} was aborted");
            assert_eq!(last[&seen.key], offset, "it was written again before {}", self.cleaned);
        }
    }

    /// Compares all that can be read. Returns the records.
    async fn check(&self, log: &PartitionLog<MemoryDisk>) -> BTreeMap<i64, Seen> {
        assert_eq!(log.end(), Offset(self.end));
        let (mut found, mut batches) = (BTreeMap::new(), Vec::new());
        let mut from = Offset(0);
        while from < log.end() {
            let read = log.read(from, log.end(), 700).await.expect("readable");
            assert!(!read.chunks.is_empty(), "the log is readable to its end");
            for chunk in &read.chunks {
                for batch in BatchIter::new(chunk) {
                    let batch = batch.expect("whole");
                    protocol::batch::check_crc(batch).expect("the CRC fits");
                    let header = *batch.header();
                    batches.push((header.base_offset().get(), header.last_offset().get()));
                    let records = batch.records(1 << 20).expect("it was compressed here");
                    let all: Vec<_> = RecordIter::new(&records, &header).map(Result::unwrap).collect();
                    assert_eq!(i32::try_from(all.len()), Ok(header.record_count()));
                    if header.is_control() {
                        continue;
                    }
                    for record in all {
                        let seen = Seen {
                            timestamp: record.timestamp.get(),
                            key: record.key.map(<[u8]>::to_vec),
                            value: record.value.map(<[u8]>::to_vec),
                        };
                        found.insert(record.offset.get(), seen);
                    }
                }
            }
            from = read.next;
        }
        assert!(batches.is_sorted_by(|earlier, later| earlier.1 < later.0), "offsets go up");
        for (offset, seen) in &found {
            assert_eq!(Some(seen), self.records.get(offset), "what is there is as it was, at {offset}");
        }
        for offset in self.required() {
            assert!(found.contains_key(&offset), "{offset} is gone; compacted to {}", self.touched);
        }
        for (producer, last) in &self.producers {
            assert!(batches.iter().any(|batch| batch.1 == *last), "the last batch of {producer}, to {last}");
        }
        for offset in &self.forgotten_records {
            assert!(!found.contains_key(offset), "{offset} was aborted, and nobody is told");
        }
        for (aborted, _) in &self.aborted {
            let marker = aborted.last_offset.get();
            assert!(
                batches.iter().any(|batch| batch.0 == marker),
                "the abort at {marker} is told and needed"
            );
        }
        // From any offset on: the first batch that ends at or past it.
        for offset in 0..self.end {
            let read = log.read(Offset(offset), log.end(), 1).await.expect("readable");
            let first = read
                .chunks
                .first()
                .map(|chunk| BatchHeader::from_prefix(chunk).expect("whole").base_offset());
            let expected = batches.iter().find(|batch| batch.1 >= offset).map(|batch| Offset(batch.0));
            assert_eq!(first, expected, "from {offset}");
        }
        found
    }
}

/// A host that knows what the model does.
struct Host<'a> {
    model: &'a Model,
    now: i64,
    paced: Cell<u64>,
    forgotten: RefCell<Vec<Offset>>,
    /// The round is to end after so many pieces.
    pieces_max: Cell<u32>,
    /// How often something was done beside the round.
    beside: Cell<u32>,
}

impl CompactionHost for Host<'_> {
    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        let overlaps = |one: &AbortedTransaction| one.last_offset >= from && one.first_offset < limit;
        self.model.aborted.iter().map(|(one, _)| *one).filter(overlaps).collect()
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        self.forgotten.borrow_mut().extend(markers);
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        self.model.producers.get(&header.producer_id().get()) == Some(&header.last_offset().get())
    }

    async fn pace(&self, bytes: u64) -> bool {
        self.paced.set(self.paced.get() + bytes);
        self.pieces_max.set(self.pieces_max.get().saturating_sub(1));
        self.pieces_max.get() > 0
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.beside.set(self.beside.get() + 1);
        work()
    }
}

fn host(model: &Model, pieces_max: u32) -> Host<'_> {
    let (paced, forgotten) = (Cell::new(0), RefCell::default());
    let (pieces_max, beside) = (Cell::new(pieces_max), Cell::new(0));
    Host { model, now: model.now, paced, forgotten, pieces_max, beside }
}

async fn compact(
    log: &PartitionLog<MemoryDisk>,
    model: &mut Model,
    memory_bytes: usize,
) -> Result<Option<CompactionOutcome>, CompactionError> {
    compact_within(u64::MAX, log, model, memory_bytes).await
}

async fn compact_within(
    segment_bytes_max: u64,
    log: &PartitionLog<MemoryDisk>,
    model: &mut Model,
    memory_bytes: usize,
) -> Result<Option<CompactionOutcome>, CompactionError> {
    let config = CompactionConfig { dirty_millionths_min: 0, ..CompactionConfig::default() };
    let summaries = log.summaries().await.map_err(CompactionError::Read)?;
    let input = CompactionInput {
        now: Timestamp(model.now),
        cleaned: log.cleaned().await.map_err(CompactionError::Read)?,
        end_max: Offset(model.stable_end()),
        earliest_dirty_timestamp: None,
        config,
    };
    let Some(plan) = plan_compaction(&summaries, &input) else { return Ok(None) };
    // A crash may come at any time from here on.
    let touched_before = model.touched;
    model.touched = touched_before.max(plan.end.get());
    let turn = Turnstile::default();
    let host = host(model, u32::MAX);
    let round = Round {
        log,
        turn: &turn,
        host: &host,
        memory_bytes,
        segment_bytes: 4000,
        segment_bytes_max,
        delete_retention_ms: RETENTION_MS,
        forgets_durably: true,
    };
    let outcome = round.run(&plan).await;
    let (paced_bytes, forgotten, beside) = (host.paced.get(), host.forgotten.take(), host.beside.get());
    model.forget(&forgotten);
    model.beside = beside;
    let outcome = outcome?;
    assert!(!outcome.is_interrupted);
    let told_bytes = outcome.dirty_bytes + outcome.before_bytes + outcome.after_bytes;
    match outcome.left_out {
        None => {
            assert_eq!(paced_bytes, told_bytes, "the bandwidth is of all that is read and written");
            model.touched = touched_before.max(outcome.cleaned.get());
            model.cleaned = model.cleaned.max(outcome.cleaned.get());
        }
        Some(_) => {
            assert!(segment_bytes_max < u64::MAX);
            assert!(paced_bytes >= told_bytes);
        }
    }
    Ok(Some(outcome))
}

async fn act(
    disk: &MemoryDisk,
    log: &mut PartitionLog<MemoryDisk>,
    model: &mut Model,
    action: &Action,
) -> Result<(), String> {
    let failed = |error: crate::segment::SegmentError| error.to_string();
    match action {
        Action::Append(batches) => {
            let batches: Vec<Bytes> = batches.iter().map(|written| model.append(written)).collect();
            log.append(&batches).await.map_err(failed)
        }
        Action::End(producer, kind) => match model.marker(*producer, *kind) {
            Some(marker) => log.append(&[marker]).await.map_err(failed),
            None => Ok(()),
        },
        Action::Sync => {
            log.sync().await.map_err(failed)?;
            model.synced = model.end;
            Ok(())
        }
        Action::Compact { is_small, is_tight, later_ms } => {
            model.now += later_ms;
            let memory_bytes = if *is_small { 0 } else { 1 << 20 };
            let segment_bytes_max = if *is_tight { TIGHT_BYTES } else { u64::MAX };
            let outcome = compact_within(segment_bytes_max, log, model, memory_bytes).await;
            outcome.map(|_| ()).map_err(|error| error.to_string())
        }
        Action::Reopen => {
            log.close().await.map_err(failed)?;
            model.synced = model.end;
            *log = open(disk, model.end).await.map_err(failed)?;
            Ok(())
        }
    }
}

fn run(disk: &MemoryDisk, script: &[Action], model: &mut Model) -> Result<PartitionLog<MemoryDisk>, String> {
    block_on(async {
        let mut log = open(disk, 0).await.map_err(|error| error.to_string())?;
        for action in script {
            act(disk, &mut log, model, action).await?;
        }
        Ok(log)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_must_survive_survives_where_it_was(script in actions(25)) {
        let disk = MemoryDisk::default();
        block_on(async {
            let mut log = open(&disk, 0).await.expect("an empty one");
            let mut model = Model::default();
            for action in &script {
                act(&disk, &mut log, &mut model, action).await.expect("no faults");
                model.check_compacted(&model.check(&log).await);
            }
        });
    }
}

/// What a restart may rely on: all that was synced.
fn survivors(model: &Model) -> Model {
    let mut model = model.clone();
    let end = model.synced;
    model.end = end;
    model.records.retain(|offset, _| *offset < end);
    model.aborted.retain(|(one, _)| one.last_offset.get() < end);
    model.aborted_records.retain(|offset| *offset < end);
    model.producers.retain(|_, last| *last < end);
    model
}

fn crash_everywhere(script: &[Action], images: u64) {
    let disk = MemoryDisk::default();
    run(&disk, script, &mut Model::default()).expect("no faults");
    for operation in 1..=disk.operation_count() {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        disk.crash_at(operation);
        let outcome = run(&disk, script, &mut model);
        assert!(disk.has_crashed(), "{:?}", outcome.err());
        let survivors = survivors(&model);
        for seed in 0..images {
            let image = disk.crash_image(seed);
            block_on(async {
                let log = open(&image, survivors.end).await.expect("all that was synced is there");
                survivors.check(&log).await;
                let names = image.list(&directory()).await.expect("no faults");
                let aside = names.iter().find(|name| name.ends_with(".cleaned") || name.ends_with(".swap"));
                assert_eq!(aside, None, "nothing is left aside");
                let mut model = survivors.clone();
                compact(&log, &mut model, 1 << 20).await.expect("it goes on");
                model.check(&log).await;
            });
        }
    }
}

fn values(keys: std::ops::Range<u8>) -> Vec<Written> {
    keys.map(|key| Written {
        compression: key % 5,
        producer: None,
        records: vec![(key % 7, true), (key % 5, true)],
    })
    .collect()
}

#[test]
fn power_may_fail_at_each_write_and_sync() {
    let mut transaction = values(0..3);
    transaction.iter_mut().for_each(|written| written.producer = Some(1));
    let script = [
        Action::Append(values(0..40)),
        Action::Append(transaction.clone()),
        Action::End(1, ControlKind::Abort),
        Action::Append(values(10..60)),
        Action::Sync,
        Action::Compact { is_small: false, is_tight: false, later_ms: 0 },
        Action::Append(transaction),
        Action::End(1, ControlKind::Commit),
        Action::Append(values(30..80)),
        Action::Sync,
        Action::Compact { is_small: true, is_tight: false, later_ms: 2 * RETENTION_MS },
        Action::Compact { is_small: true, is_tight: false, later_ms: 2 * RETENTION_MS },
    ];
    crash_everywhere(&script, 6);
}

#[test]
fn power_may_fail_in_random_scripts() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let script = actions(14).new_tree(&mut runner).expect("a script").current();
        crash_everywhere(&script, 2);
    }
}

fn tombstone(key: u8) -> Action {
    Action::Append(vec![Written { compression: 2, producer: None, records: vec![(key, false)] }])
}

#[test]
fn a_tombstone_stays_until_its_time_is_up_and_goes_in_the_next_round() {
    let disk = MemoryDisk::default();
    let fill = || [Action::Append(values(0..60)), Action::Sync];
    let compact = |later_ms| Action::Compact { is_small: false, is_tight: false, later_ms };
    let mut model = Model::default();
    let mut script: Vec<Action> = vec![tombstone(100)];
    script.extend(fill());
    script.push(compact(0));
    let mut log = run(&disk, &script, &mut model).expect("no faults");
    let is_there = |found: &BTreeMap<i64, Seen>| found.contains_key(&0);
    assert!(is_there(&block_on(model.check(&log))), "its first round gives it a horizon");
    for (later_ms, expected) in [(RETENTION_MS / 2, true), (RETENTION_MS, false)] {
        for action in fill().iter().chain([&compact(later_ms)]) {
            block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
        }
        assert_eq!(is_there(&block_on(model.check(&log))), expected, "{later_ms} ms later");
    }
}

/// The first segments have keys that are deleted later, and are too long for one segment while they are not compacted.
#[test]
fn what_is_too_long_for_a_segment_is_left_out_and_what_was_deleted_there_does_not_come_back() {
    let deleted = 60..70_u8;
    let single =
        |key: u8, has_value| Written { compression: 0, producer: None, records: vec![(key, has_value)] };
    let mut left_out = 0;
    for segment_bytes_max in (500..5_000).step_by(500) {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        let fill = || [Action::Append(values(0..60)), Action::Sync];
        let mut script = vec![Action::Append((60..120).map(|key| single(key, true)).collect())];
        script.extend(fill());
        script.push(Action::Compact { is_small: false, is_tight: false, later_ms: 0 });
        script.push(Action::Append(deleted.clone().map(|key| single(key, false)).collect()));
        let mut log = run(&disk, &script, &mut model).expect("no faults");
        for room in [segment_bytes_max, segment_bytes_max, u64::MAX, u64::MAX] {
            model.now += 2 * RETENTION_MS;
            for action in &fill() {
                block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
            }
            let outcome = block_on(compact_within(room, &log, &mut model, 1 << 20));
            let outcome = outcome.expect("no faults").expect("it is dirty");
            left_out += usize::from(outcome.left_out.is_some() && outcome.after_bytes < outcome.before_bytes);
            model.check_compacted(&block_on(model.check(&log)));
        }
        let found = block_on(model.check(&log));
        let is_deleted = |seen: &Seen| deleted.clone().any(|key| seen.key == Some(vec![key; 3]));
        assert!(!found.values().any(is_deleted), "{segment_bytes_max} bytes: tombstones go in the end");
    }
    assert!(left_out > 2, "some were left out while others were compacted: {left_out}");
}

#[test]
fn the_marker_of_a_transaction_stays_with_its_records_and_goes_after_them() {
    let disk = MemoryDisk::default();
    let mut model = Model::default();
    let transaction = Written { compression: 0, producer: Some(1), records: vec![(100, true)] };
    let fill = || [Action::Append(values(0..60)), Action::Sync];
    let compact = Action::Compact { is_small: false, is_tight: false, later_ms: 2 * RETENTION_MS };
    let commit = Action::End(1, ControlKind::Commit);
    let mut script = vec![Action::Append(vec![transaction.clone()]), commit.clone()];
    script.extend(fill());
    script.push(compact.clone());
    let mut log = run(&disk, &script, &mut model).expect("no faults");
    let has_marker = |log: &PartitionLog<MemoryDisk>| {
        let read = block_on(log.read(Offset(1), log.end(), 1)).expect("readable");
        BatchHeader::from_prefix(&read.chunks[0]).expect("a header").base_offset() == Offset(1)
    };
    assert!(has_marker(&log), "its record is still the last one of its key");
    let mut steps = vec![Action::Append(vec![transaction]), commit];
    steps.extend(fill());
    steps.push(compact.clone());
    for action in &steps {
        block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
    }
    assert!(has_marker(&log), "its record goes in this round");
    for expected in [true, false] {
        for action in fill().iter().chain([&compact]) {
            block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
        }
        assert_eq!(has_marker(&log), expected, "it gets a horizon, and then goes");
    }
    block_on(model.check(&log));
}

/// A log whose first round would make much of many segments.
fn dirty_log(disk: &MemoryDisk, model: &mut Model) -> PartitionLog<MemoryDisk> {
    let fill: Vec<Action> = (0..4).flat_map(|_| [Action::Append(values(0..60)), Action::Sync]).collect();
    run(disk, &fill, model).expect("no faults")
}

#[test]
fn what_the_first_round_leaves_small_becomes_one_in_the_next() {
    let disk = MemoryDisk::default();
    let mut model = Model::default();
    let log = dirty_log(&disk, &mut model);
    let mut log = log;
    block_on(async {
        let mut from = Offset(0);
        let first = log.read(from, log.end(), 200).await.expect("readable");
        from = first.next;
        let outcome = compact(&log, &mut model, 1 << 20).await.expect("no faults").expect("it is dirty");
        assert!(outcome.after_bytes < outcome.before_bytes / 4, "{outcome:?}");
        assert!(!outcome.has_more);
        let read = log.read(from, log.end(), 200).await.expect("readable");
        assert!(read.next > from);
        assert_eq!(compact(&log, &mut model, 1 << 20).await.expect("no faults"), None, "all is clean");
    });
    let count = |log: &PartitionLog<MemoryDisk>| block_on(log.summaries()).expect("no faults").len();
    let before = count(&log);
    let more = [
        Action::Append(values(0..60)),
        Action::Sync,
        Action::Compact { is_small: false, is_tight: false, later_ms: 0 },
    ];
    for action in &more {
        block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
    }
    assert!(count(&log) < before / 2, "{before} segments, then {}", count(&log));
    assert_eq!(
        log.size_bytes(),
        block_on(log.summaries()).expect("no faults").iter().map(|one| one.size_bytes).sum()
    );
    let reopened = block_on(async {
        log.close().await.expect("no faults");
        open(&disk, model.end).await.expect("all is there")
    });
    block_on(model.check(&reopened));
    assert_eq!(block_on(reopened.cleaned()).expect("no faults"), Offset(model.cleaned));
}

#[test]
fn a_round_that_is_ended_early_changes_nothing_or_whole_groups() {
    for pieces_max in 1..60 {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        let log = dirty_log(&disk, &mut model);
        let summaries = block_on(log.summaries()).expect("no faults");
        let input = CompactionInput {
            now: Timestamp(model.now),
            cleaned: Offset(0),
            end_max: Offset(model.end),
            earliest_dirty_timestamp: None,
            config: CompactionConfig::default(),
        };
        let plan = plan_compaction(&summaries, &input).expect("it is dirty");
        let host = host(&model, pieces_max);
        let turn = Turnstile::default();
        let round = Round {
            log: &log,
            turn: &turn,
            host: &host,
            memory_bytes: 1 << 20,
            segment_bytes: 4000,
            segment_bytes_max: u64::MAX,
            delete_retention_ms: RETENTION_MS,
            forgets_durably: true,
        };
        let outcome = block_on(round.run(&plan)).expect("no faults");
        let names = block_on(disk.list(&directory())).expect("no faults");
        assert!(!names.iter().any(|name| name.ends_with(".cleaned") || name.ends_with(".swap")), "{names:?}");
        let touched = if outcome.is_interrupted { plan.end.get() } else { outcome.cleaned.get() };
        let model = Model { touched, ..model.clone() };
        block_on(model.check(&log));
        if !outcome.is_interrupted {
            return;
        }
    }
    panic!("it never ran to its end");
}

#[test]
fn a_damaged_batch_stops_the_round_and_nothing_is_lost() {
    let disk = MemoryDisk::default();
    let mut model = Model::default();
    let log = dirty_log(&disk, &mut model);
    let path = directory().join("00000000000000000000.log");
    let mut content = disk.file_content(&path).expect("it is there");
    content[70] ^= 1;
    let file = block_on(disk.open(&path, crate::disk::OpenMode::Write)).expect("it is there");
    let mut buffer = crate::disk::IoBuffer::allocate(4096);
    buffer[..content.len().min(4096)].copy_from_slice(&content[..content.len().min(4096)]);
    let length = content.len().min(4096);
    block_on(file.write_at(&buffer.freeze_padded(length, 0), 0)).expect("written");
    block_on(file.truncate(u64::try_from(content.len()).expect("small"))).expect("cut");
    let before = log.size_bytes();
    let error = block_on(compact(&log, &mut model, 1 << 20)).expect_err("it is damaged");
    assert!(matches!(error, CompactionError::Damaged { offset: Offset(0), .. }), "{error}");
    assert_eq!(log.size_bytes(), before);
}

/// A table that fills up in the middle of a long batch leaves a round to begin there, with no room for what lies before.
#[test]
fn rounds_go_on_in_the_middle_of_a_batch_of_many_keys() {
    let disk = MemoryDisk::default();
    let mut model = Model::default();
    let long = Written { compression: 0, producer: None, records: (0..250).map(|key| (key, true)).collect() };
    let script = [
        Action::Append(vec![long]),
        Action::Sync,
        Action::Append(values(0..60)),
        Action::Sync,
        Action::Append(values(0..60)),
        Action::Sync,
    ];
    let log = run(&disk, &script, &mut model).expect("no faults");
    block_on(async {
        let mut rounds = 0;
        while let Some(outcome) = compact(&log, &mut model, 0).await.expect("no faults") {
            rounds += 1;
            assert!(outcome.cleaned > Offset(0));
            assert!(rounds < 50, "each round goes further");
        }
        assert!(rounds > 4, "the table took few keys at a time");
        model.check(&log).await;
    });
}

/// A batch of many records is worked on beside the round, and one that is small where it is met. Nothing else is different.
#[test]
fn what_takes_long_is_done_beside_the_round() {
    for compression in 0..5 {
        let many = (0..900_u16).map(|number| (u8::try_from(number % 250).expect("below 250"), true));
        let long = Written { compression, producer: None, records: many.collect() };
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        let mut log = run(&disk, &[Action::Append(vec![long]), Action::Sync], &mut model).expect("no faults");
        let script = [Action::Append(values(0..60)), Action::Sync];
        let again = Action::Compact { is_small: false, is_tight: false, later_ms: 0 };
        block_on(async {
            for action in script.iter().chain([&again]) {
                act(&disk, &mut log, &mut model, action).await.expect("no faults");
            }
            assert_eq!(model.beside, 4, "opened and looked through for its keys, then for its records");
            model.check_compacted(&model.check(&log).await);
            for action in script.iter().chain([&again]) {
                act(&disk, &mut log, &mut model, action).await.expect("no faults");
            }
            assert_eq!(model.beside, 0, "what is left is small");
            model.check_compacted(&model.check(&log).await);
        });
    }
}

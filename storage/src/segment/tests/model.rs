//! Random scripts against a log, compared with a plain list of batches.

use glommio::{LocalExecutorBuilder, Placement};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::disk::glommio::GlommioDisk;
use crate::segment::sync::{Until, sync_together};

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Sizes and timestamps of batches; each has three offsets.
    Append(Vec<(usize, i64)>),
    Sync,
    /// As one of many logs.
    SyncTogether,
    Release,
    /// Close and open again.
    Reopen,
    /// Close as one of many logs, and open again.
    ReopenTogether,
    /// To a part of the log, in thousandths.
    Truncate(i64),
    /// So many of the oldest segments.
    Drop(usize),
}

pub(super) fn actions(length: usize) -> impl Strategy<Value = Vec<Action>> {
    let appended = (61_usize..3000, 0_i64..500);
    let action = prop_oneof![
        5 => proptest::collection::vec(appended, 1..12).prop_map(Action::Append),
        2 => Just(Action::Sync),
        2 => Just(Action::SyncTogether),
        1 => Just(Action::Release),
        1 => Just(Action::Reopen),
        1 => Just(Action::ReopenTogether),
        1 => (0_i64..=1000).prop_map(Action::Truncate),
        1 => (0_usize..3).prop_map(Action::Drop),
    ];
    proptest::collection::vec(action, 1..length)
}

/// A batch as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) base: i64,
    pub(super) end: i64,
    pub(super) timestamp: i64,
    pub(super) bytes: Bytes,
}

/// What the log should hold, and what a checkpoint would vouch for.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) batches: Vec<Known>,
    pub(super) end: i64,
    pub(super) log_start: i64,
    pub(super) synced: i64,
}

impl Model {
    pub(super) fn make(&self, sizes: &[(usize, i64)]) -> Vec<Known> {
        (0..)
            .zip(sizes)
            .map(|(number, &(size, timestamp))| {
                let base = self.end + number * 3;
                let bytes = batch(base, 3, timestamp, size);
                Known { base, end: base + 3, timestamp, bytes }
            })
            .collect()
    }

    pub(super) fn append(&mut self, batches: Vec<Known>) {
        self.batches.extend(batches);
        self.end = self.batches.last().map_or(self.end, |last| last.end);
    }

    pub(super) fn truncate(&mut self, cut: i64) {
        self.batches.retain(|batch| batch.end <= cut);
        self.end = self.batches.last().map_or(self.log_start.min(cut), |last| last.end).min(self.end);
        self.synced = self.synced.min(self.end);
    }

    fn from(&self, offset: i64) -> Vec<u8> {
        self.batches
            .iter()
            .filter(|batch| batch.end > offset)
            .flat_map(|batch| batch.bytes.to_vec())
            .collect()
    }

    /// Compares the log with the model in every way there is to look at it.
    pub(super) async fn check<D: Disk>(&self, log: &PartitionLog<D>) -> Result<(), SegmentError> {
        assert_eq!(log.end(), Offset(self.end));
        for part in [0, 300, 999] {
            let offset = self.log_start + (self.end - self.log_start) * part / 1000;
            for bytes_max in [1, 20_000] {
                let expected = if offset < self.end { self.from(offset) } else { Vec::new() };
                assert_eq!(read_all(log, Offset(offset), bytes_max).await?, expected, "from {offset}");
            }
        }
        let limits =
            [self.end, self.batches.get(self.batches.len() / 2).map_or(self.end, |batch| batch.base)];
        for limit in limits {
            self.check_times(log, limit).await?;
        }
        Ok(())
    }

    async fn check_times<D: Disk>(&self, log: &PartitionLog<D>, limit: i64) -> Result<(), SegmentError> {
        // Segments may begin before the log's start; a look-up by time may find what is there.
        let there: Vec<&Known> = self.batches.iter().filter(|batch| batch.end > log.start().get()).collect();
        for time in [0, 100, 250, 400, 499, 500] {
            let expected = there.iter().find(|batch| batch.timestamp >= time && batch.base < limit);
            let found = log.batch_at_time(Timestamp(time), Offset(limit)).await?;
            assert_eq!(found, expected.map(|batch| batch.bytes.clone()), "at {time} below {limit}");
        }
        let below = there.iter().filter(|batch| batch.base < limit);
        let latest = below.clone().map(|batch| batch.timestamp).max();
        let expected = below.clone().find(|batch| Some(batch.timestamp) == latest);
        let found = log.batch_of_max_timestamp(Offset(limit)).await?;
        assert_eq!(found, expected.map(|batch| batch.bytes.clone()), "the latest below {limit}");
        Ok(())
    }
}

/// A log and its model, through one action. What is durable in the journal of a store (a cut, a start) is so in the
/// model before the log is told.
pub(super) async fn act<D: Disk>(
    disk: &D,
    log: &mut PartitionLog<D>,
    model: &mut Model,
    action: &Action,
) -> Result<(), SegmentError> {
    match action {
        Action::Append(sizes) => {
            let batches = model.make(sizes);
            let bytes: Vec<Bytes> = batches.iter().map(|batch| batch.bytes.clone()).collect();
            model.append(batches);
            log.append(&bytes).await
        }
        Action::Sync => {
            log.sync().await?;
            model.synced = model.end;
            Ok(())
        }
        Action::SyncTogether => {
            sync_together(disk, &[&*log], 2, Until::Later).await?;
            model.synced = model.end;
            Ok(())
        }
        Action::Release => log.release_memory().await,
        Action::Reopen => {
            log.close().await?;
            model.synced = model.end;
            *log = open(disk, model.end, model.log_start).await?;
            Ok(())
        }
        Action::ReopenTogether => {
            sync_together(disk, &[&*log], 2, Until::TheEnd).await?;
            model.synced = model.end;
            *log = open(disk, model.end, model.log_start).await?;
            Ok(())
        }
        Action::Truncate(part) => {
            let cut = model.log_start + (model.end - model.log_start) * part / 1000;
            if cut < model.end {
                let whole = model.batches.iter().map(|batch| batch.end).filter(|&end| end <= cut).max();
                model.truncate(whole.unwrap_or(model.log_start));
                log.truncate(Offset(cut)).await?;
                model.synced = model.end;
            }
            Ok(())
        }
        Action::Drop(count) => {
            let summaries = log.summaries().await?;
            let going: Vec<_> = summaries
                .iter()
                .take(*count)
                .filter(|part| part.size_bytes > 0 && part.end.get() <= model.synced)
                .collect();
            let Some(last) = going.last() else { return Ok(()) };
            let log_start = Offset(model.log_start).max(last.end);
            let plan = RetentionPlan { log_start, segments: going.iter().map(|part| part.base).collect() };
            model.log_start = log_start.get();
            model.batches.retain(|batch| batch.end > log_start.get());
            log.drop_segments(&plan).await
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_the_model_holds(script in actions(30), block_bytes in prop_oneof![Just(512_usize), Just(4096)]) {
        let disk = MemoryDisk::new(MemoryOptions { block_bytes, ..MemoryOptions::default() });
        let mut log = create(&disk);
        let mut model = Model::default();
        for action in &script {
            block_on(act(&disk, &mut log, &mut model, action)).expect("no faults");
            block_on(model.check(&log)).expect("no faults");
        }
    }
}

#[test]
fn a_log_on_a_real_disk_holds_what_the_model_holds() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    for parent in [target.as_path(), Path::new("/dev/shm")] {
        let mut runner = TestRunner::deterministic();
        let executor =
            LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make().expect("an executor");
        for _ in 0..5 {
            let script = actions(16).new_tree(&mut runner).expect("a script").current();
            let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
            executor.run(async {
                let disk = GlommioDisk::open(directory.path()).await.expect("the directory is there");
                let mut log = create(&disk);
                let mut model = Model::default();
                for action in &script {
                    act(&disk, &mut log, &mut model, action).await.expect("no faults");
                    model.check(&log).await.expect("no faults");
                }
                log.sync().await.expect("no faults");
                let reopened = open(&disk, model.end, model.log_start).await.expect("all is there");
                model.check(&reopened).await.expect("no faults");
            });
        }
    }
}

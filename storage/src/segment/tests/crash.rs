//! Power is cut at each write and sync of a script; what was synced before must be there, whatever else arrived.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Action, Model, act, actions};
use super::*;

/// What must be there after a crash: all batches below the cut that a checkpoint vouches for.
fn survivors(model: &Model) -> Model {
    let mut model = model.clone();
    let synced = model.synced.max(model.log_start);
    model.truncate(synced);
    model
}

/// Runs a script up to a crash; the model is what the store knows then.
fn run_to_crash(disk: &MemoryDisk, script: &[Action], model: &mut Model) {
    let mut log = match block_on(open(disk, model.end, model.log_start)) {
        Ok(log) => log,
        Err(error) => {
            assert!(disk.has_crashed(), "{error}");
            return;
        }
    };
    for action in script {
        if let Err(error) = block_on(act(disk, &mut log, model, action)) {
            assert!(disk.has_crashed(), "{action:?}: {error}");
            return;
        }
    }
}

/// Opens an image and compares it with what must have survived.
fn check_image(image: &MemoryDisk, model: &Model) {
    block_on(async {
        let log = open(image, model.end, model.log_start).await?;
        model.check(&log).await?;
        log.append(&[batch(model.end, 1, 7, 5000)]).await?;
        log.sync().await?;
        let read = read_all(&log, Offset(model.end), 10).await?;
        assert_eq!(read, batch(model.end, 1, 7, 5000), "it goes on");
        Ok::<_, SegmentError>(())
    })
    .unwrap_or_else(|error| panic!("{error}; {model:?}"));
}

fn crash_everywhere(script: &[Action], images: u64) {
    let disk = MemoryDisk::default();
    run_to_crash(&disk, script, &mut Model::default());
    for operation in 1..=disk.operation_count() {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        disk.crash_at(operation);
        run_to_crash(&disk, script, &mut model);
        assert!(disk.has_crashed());
        let survivors = survivors(&model);
        for seed in 0..images {
            check_image(&disk.crash_image(seed), &survivors);
        }
    }
}

#[test]
fn power_may_fail_at_each_write_and_sync() {
    let mut small: Vec<(usize, i64)> = (0..9).map(|number| (700 + 10 * number, 5)).collect();
    small[4].1 = 400;
    let script = [
        Action::Append(small.clone()),
        Action::Sync,
        Action::Append(vec![(2500, 20), (2900, 10), (2900, 30), (2000, 3)]),
        Action::Append(small.clone()),
        Action::SyncTogether,
        Action::Release,
        Action::Append(vec![(3000, 50); 9]),
        Action::SyncTogether,
        Action::Append(vec![(2000, 51); 8]),
        Action::SyncTogether,
        Action::Truncate(700),
        Action::Append(vec![(100, 60); 3]),
        Action::Sync,
        Action::Drop(1),
        Action::Append(vec![(2800, 70); 8]),
        Action::Truncate(990),
        Action::Reopen,
        Action::Append(small),
        Action::ReopenTogether,
        Action::Drop(2),
        Action::Sync,
    ];
    crash_everywhere(&script, 12);
}

#[test]
fn power_may_fail_in_random_scripts() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let script = actions(12).new_tree(&mut runner).expect("a script").current();
        crash_everywhere(&script, 3);
    }
}

#[test]
fn power_may_fail_several_times_in_a_row() {
    let mut runner = TestRunner::deterministic();
    for seed in 0..80_u64 {
        let mut disk = MemoryDisk::default();
        let mut model = Model::default();
        for life in 1..5_u64 {
            let script = actions(8).new_tree(&mut runner).expect("a script").current();
            disk.crash_at(1 + (seed * 31 + life * 7) % 60);
            run_to_crash(&disk, &script, &mut model);
            disk.crash_now();
            model = survivors(&model);
            disk = disk.crash_image(seed + life);
        }
        check_image(&disk, &model);
    }
}

use proptest::prelude::*;

use super::*;
use crate::batch::testing::batch;
use crate::batch::{HeaderPatch, batches};
use protocol::types::LeaderEpoch;

fn run(base: i64, end: i64, frame: u64) -> Run {
    Run {
        base: Offset(base),
        end: Offset(end),
        frame: FrameSequence(frame),
        start: 0,
        length_bytes: 10,
        max_timestamp: Timestamp(0),
        has_native: false,
        is_cut: false,
    }
}

fn tail(frames: u64, cached_bytes_max: usize) -> Tail {
    let mut tail = Tail::new(FrameSequence(5), cached_bytes_max);
    for sequence in 5..5 + frames {
        let location = FrameLocation { file: 0, position: (sequence - 5) * 4096 };
        let bytes = Bytes::from(vec![0; 4096]);
        tail.push(FrameSequence(sequence), Frame::new(location, 4096, 0, bytes, vec![PartitionSlot(0)]));
    }
    tail
}

#[test]
fn the_oldest_frames_leave_memory_but_none_that_is_not_synced() {
    let mut tail = tail(4, 2 * 4096);
    tail.evict(FrameSequence(6));
    assert_eq!(tail.cached_bytes(), 3 * 4096);
    tail.evict(FrameSequence(9));
    assert_eq!(tail.cached_bytes(), 2 * 4096);
    let cached: Vec<bool> = (5..9).map(|sequence| tail.bytes(FrameSequence(sequence)).is_some()).collect();
    assert_eq!(cached, [false, false, true, true]);
}

#[test]
fn a_frame_is_forgotten_when_it_is_destaged_and_not_in_memory() {
    let mut tail = tail(4, 2 * 4096);
    assert_eq!(tail.undestaged_bytes(), 4 * 4096);
    tail.evict(FrameSequence(9));
    assert!(tail.forget().is_none(), "the journal is still needed");
    tail.set_destaged_below(FrameSequence(8));
    assert_eq!(tail.undestaged_bytes(), 4096);
    let forgotten: Vec<_> = std::iter::from_fn(|| tail.forget()).map(|(sequence, _)| sequence.0).collect();
    assert_eq!(forgotten, [5, 6], "the third is in memory");
    assert!(tail.remembered(FrameSequence(6)).is_none());
    assert!(tail.remembered(FrameSequence(7)).is_some());
}

#[test]
fn runs_are_found_by_offset_and_forgotten_by_frame() {
    let mut runs = Runs::default();
    for (base, end, frame) in [(0, 5, 1), (5, 9, 2), (9, 10, 4)] {
        runs.push(run(base, end, frame));
    }
    let bases = |from| runs.from(Offset(from)).map(|run| run.base.get()).collect::<Vec<_>>();
    assert_eq!(bases(0), [0, 5, 9]);
    assert_eq!(bases(4), [0, 5, 9]);
    assert_eq!(bases(5), [5, 9]);
    assert_eq!(bases(10), [0_i64; 0]);
    assert_eq!(runs.in_frame(FrameSequence(2)).count(), 1);
    assert_eq!(runs.in_frame(FrameSequence(3)).count(), 0);
    assert_eq!(runs.bytes_from(Offset(5)), 20);
    runs.forget(FrameSequence(2));
    assert_eq!(runs.base(), Some(Offset(9)));
}

#[test]
fn a_truncation_cuts_runs_off_and_one_short() {
    let mut runs = Runs::default();
    for (base, end, frame) in [(0, 5, 1), (5, 9, 2), (9, 10, 4)] {
        runs.push(run(base, end, frame));
    }
    runs.truncate(Offset(7));
    let found: Vec<_> = runs.from(Offset(0)).map(|run| (run.base.get(), run.end.get(), run.is_cut)).collect();
    assert_eq!(found, [(0, 5, false), (5, 7, true)]);
    runs.truncate(Offset(5));
    assert_eq!(runs.from(Offset(0)).count(), 1);
    runs.push(run(5, 6, 9));
    assert_eq!(runs.from(Offset(5)).count(), 1);
}

#[test]
fn batches_found_side_by_side_are_one_run() {
    let mut runs = Runs::default();
    runs.grow(Run { start: 100, ..run(0, 2, 1) });
    runs.grow(Run { start: 110, ..run(2, 3, 1) });
    runs.grow(Run { start: 130, ..run(3, 4, 1) });
    runs.grow(Run { start: 140, ..run(4, 5, 2) });
    let found: Vec<_> = runs.from(Offset(0)).map(|run| (run.base.get(), run.end.get())).collect();
    assert_eq!(found, [(0, 3), (3, 4), (4, 5)]);
}

/// Batches of two records each from offset 0, 100 bytes long.
fn wire(count: i64) -> Bytes {
    let mut bytes = Vec::new();
    for index in 0..count {
        let mut one = batch(2, Timestamp(index), &[0; 39]);
        HeaderPatch { base_offset: Offset(index * 2), leader_epoch: LeaderEpoch(0), log_append_time: None }
            .apply(&mut one);
        bytes.extend_from_slice(&one);
    }
    Bytes::from(bytes)
}

fn selected(from: i64, limit: i64, bytes_max: usize, at_least_one: bool) -> (std::ops::Range<usize>, i64) {
    let wanted = Wanted { from: Offset(from), limit: Offset(limit), bytes_max, at_least_one };
    let (range, next) = select(&wire(5), wanted);
    (range, next.get())
}

#[test]
fn what_is_wanted_is_whole_batches() {
    assert_eq!(selected(0, 10, 1000, true), (0..500, 10));
    assert_eq!(selected(3, 10, 1000, true), (100..500, 10));
    assert_eq!(selected(3, 9, 1000, true), (100..400, 8), "the last batch ends past the limit");
    assert_eq!(selected(0, 10, 250, true), (0..200, 4));
    assert_eq!(selected(0, 10, 1, true), (0..100, 2), "at least one");
    assert_eq!(selected(0, 10, 1, false), (0..0, 0));
    assert_eq!(selected(10, 20, 1000, true), (0..0, 10));
    assert_eq!(selected(0, 1, 1000, true), (0..0, 0));
}

#[test]
fn a_batch_is_found_below_the_limit() {
    let bytes = wire(5);
    let found = find_batch(&bytes, Offset(10), |batch| batch.max_timestamp() >= Timestamp(3));
    assert_eq!(found, Some(bytes.slice(300..400)));
    assert_eq!(find_batch(&bytes, Offset(7), |batch| batch.max_timestamp() >= Timestamp(3)), None);
}

proptest! {
    #[test]
    fn a_selection_is_what_a_walk_finds(from in 0_i64..12, limit in 0_i64..12, bytes_max in 0_usize..700) {
        let (range, next) = selected(from, limit, bytes_max, true);
        let bytes = wire(5);
        let all: Vec<_> = batches(&bytes).map(|batch| (batch.base_offset().get(), batch.end_offset().get())).collect();
        let fitting: Vec<_> = all.iter().filter(|(_, end)| *end > from && *end <= limit).collect();
        let count = fitting.len().min((bytes_max / 100).max(1));
        prop_assert_eq!(range.len(), count * 100);
        if count > 0 {
            prop_assert_eq!(next, fitting[count - 1].1);
        }
    }
}

use protocol::types::{LeaderEpoch, PartitionIndex, TopicId};

use super::*;
use crate::checkpoint::{Life, ReplayFrom};
use crate::journal::Generation;
use crate::journal::frame::{FrameFront, FrameIdentity};
use crate::journal::ring::FrameLocation;

fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint {
        number,
        shard: 0,
        shard_count: 1,
        replay_from: ReplayFrom::default(),
        lives: vec![Life { generation: Generation(1), first: FrameSequence(0) }],
        partitions: Vec::new(),
    }
}

fn chosen(a: Slot, b: Slot, has_frames: bool) -> Option<u64> {
    match choose(a, b, has_frames) {
        Choice::Checkpoint(found) => Some(found.number),
        Choice::Fresh => None,
        Choice::Refuse => Some(u64::MAX),
    }
}

#[test]
fn the_newest_valid_checkpoint_counts() {
    let valid = |number| Slot::Valid(checkpoint(number));
    for has_frames in [false, true] {
        assert_eq!(chosen(valid(4), valid(3), has_frames), Some(4));
        assert_eq!(chosen(valid(4), valid(5), has_frames), Some(5));
        assert_eq!(chosen(valid(4), Slot::Damaged, has_frames), Some(4));
        assert_eq!(chosen(Slot::Empty, valid(1), has_frames), Some(1));
        assert_eq!(chosen(Slot::Damaged, valid(5), has_frames), Some(5));
    }
}

#[test]
fn without_a_checkpoint_only_an_empty_journal_is_fresh() {
    for (a, b) in [(Slot::Empty, Slot::Empty), (Slot::Damaged, Slot::Empty), (Slot::Empty, Slot::Damaged)] {
        assert_eq!(chosen(a, b, false), None);
    }
    assert_eq!(chosen(Slot::Damaged, Slot::Damaged, false), None);
    assert_eq!(chosen(Slot::Empty, Slot::Empty, true), Some(u64::MAX));
    assert_eq!(chosen(Slot::Damaged, Slot::Damaged, true), Some(u64::MAX));
}

fn key() -> PartitionKey {
    PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) }
}

/// A batch of records `base..end` in the epoch, at a place that follows from its base.
fn batch(base: i64, end: i64, epoch: i32) -> EntryBody {
    EntryBody::Batch(BatchEntry {
        base: Offset(base),
        last_offset_delta: i32::try_from(end - base - 1).expect("short"),
        leader_epoch: LeaderEpoch(epoch),
        magic: 2,
        crc: 0,
        start: u32::try_from(base * 10).expect("short"),
        length_bytes: u32::try_from((end - base) * 10).expect("short"),
    })
}

/// Recovers a partition that the checkpoint knows up to 100, with epoch 1 from 0; each entry has a frame of its own.
fn recover(entries: &[EntryBody], damaged: &[usize]) -> RecoveringPartition {
    let state = PartitionState {
        key: key(),
        destaged: Offset(100),
        log_start: Offset(10),
        epochs: vec![EpochStart { epoch: LeaderEpoch(1), start: Offset(0) }],
        producers: Some(Rc::new(ProducerSnapshot { at: Offset(90), state: vec![1].into() })),
    };
    let mut recovery = Recovery::new([key()].into_iter(), vec![state]);
    for (index, body) in entries.iter().enumerate() {
        recovery.frame(&FoundFrame {
            location: FrameLocation::default(),
            front: FrameFront {
                identity: FrameIdentity {
                    shard: 0,
                    generation: Generation(1),
                    sequence: FrameSequence(index as u64),
                    synced_below: FrameSequence(0),
                    previous_crc: 0,
                },
                crc: 0,
                length_bytes: 4096,
                filled_bytes: 4096,
                entries: vec![Entry { key: key(), body: *body }],
            },
            damaged_entries: if damaged.contains(&index) { vec![0] } else { vec![] },
        });
    }
    recovery.finish();
    recovery.partitions.remove(&key()).expect("it is live")
}

fn mark(mark: Mark) -> EntryBody {
    EntryBody::Mark(mark)
}

#[derive(Debug, PartialEq)]
struct Outcome {
    cut: i64,
    log_start: i64,
    end: i64,
    runs: Vec<(i64, i64)>,
    lost: Vec<(i64, i64)>,
    epochs: Vec<(i32, i64)>,
}

fn outcome(partition: &RecoveringPartition) -> Outcome {
    Outcome {
        cut: partition.cut.get(),
        log_start: partition.log_start.get(),
        end: partition.end.get(),
        runs: partition.runs.from(Offset(0)).map(|run| (run.base.get(), run.end.get())).collect(),
        lost: partition.lost.iter().map(|(from, end)| (from.get(), end.get())).collect(),
        epochs: partition.epochs.iter().map(|entry| (entry.epoch.get(), entry.start.get())).collect(),
    }
}

fn expected() -> Outcome {
    Outcome { cut: 100, log_start: 10, end: 100, runs: vec![], lost: vec![], epochs: vec![(1, 0)] }
}

#[test]
fn nothing_in_the_journal_leaves_the_checkpoint() {
    assert_eq!(outcome(&recover(&[], &[])), expected());
}

#[test]
fn batches_at_the_end_make_the_partition_grow() {
    let found = recover(&[batch(100, 103, 1), batch(103, 105, 2)], &[]);
    assert_eq!(
        outcome(&found),
        Outcome {
            end: 105,
            runs: vec![(100, 103), (103, 105)],
            epochs: vec![(1, 0), (2, 103)],
            ..expected()
        }
    );
}

#[test]
fn batches_below_the_end_are_in_segments() {
    let found = recover(&[batch(95, 100, 1), batch(100, 101, 1)], &[]);
    assert_eq!(outcome(&found), Outcome { end: 101, runs: vec![(100, 101)], ..expected() });
}

#[test]
fn what_lies_between_the_end_and_a_later_batch_is_lost() {
    let found = recover(&[batch(104, 105, 1)], &[]);
    assert_eq!(
        outcome(&found),
        Outcome { end: 105, runs: vec![(104, 105)], lost: vec![(100, 104)], ..expected() }
    );
}

#[test]
fn a_damaged_batch_is_lost_and_the_next_one_is_not() {
    let found = recover(&[batch(100, 102, 1), batch(102, 104, 1), batch(104, 105, 1)], &[1]);
    assert_eq!(
        outcome(&found),
        Outcome { end: 105, runs: vec![(100, 102), (104, 105)], lost: vec![(102, 104)], ..expected() }
    );
}

#[test]
fn a_truncation_in_the_journal_cuts_the_journal() {
    let found = recover(&[batch(100, 103, 1), batch(103, 106, 2), mark(Mark::Truncate(Offset(103)))], &[]);
    assert_eq!(outcome(&found), Outcome { end: 103, runs: vec![(100, 103)], ..expected() });
}

#[test]
fn a_truncation_into_segments_cuts_them_and_what_follows_begins_there() {
    let entries = [batch(100, 103, 1), mark(Mark::Truncate(Offset(50))), batch(50, 52, 3)];
    let found = recover(&entries, &[]);
    assert_eq!(
        outcome(&found),
        Outcome { cut: 50, end: 52, runs: vec![(50, 52)], epochs: vec![(1, 0), (3, 50)], ..expected() }
    );
    assert!(found.producers.is_none(), "the snapshot knows of batches that are gone");
}

#[test]
fn a_gap_that_is_cut_off_later_is_no_loss() {
    let found = recover(&[batch(104, 105, 1), mark(Mark::Truncate(Offset(100)))], &[]);
    assert_eq!(outcome(&found), expected());
    let found = recover(&[batch(104, 105, 1), mark(Mark::LogStart(Offset(104)))], &[]);
    assert_eq!(outcome(&found), Outcome { log_start: 104, end: 105, runs: vec![(104, 105)], ..expected() });
}

#[test]
fn the_log_start_never_goes_back() {
    let found = recover(&[mark(Mark::LogStart(Offset(40))), mark(Mark::LogStart(Offset(20)))], &[]);
    assert_eq!(outcome(&found), Outcome { log_start: 40, ..expected() });
}

#[test]
fn an_epoch_is_noted_once_and_only_if_it_is_higher() {
    let entries = [
        mark(Mark::EpochStart(LeaderEpoch(4), Offset(100))),
        mark(Mark::EpochStart(LeaderEpoch(4), Offset(100))),
        mark(Mark::EpochStart(LeaderEpoch(2), Offset(100))),
    ];
    assert_eq!(outcome(&recover(&entries, &[])), Outcome { epochs: vec![(1, 0), (4, 100)], ..expected() });
}

#[test]
fn a_deleted_partition_is_void() {
    let found = recover(&[batch(100, 103, 1), mark(Mark::TopicGone)], &[]);
    assert_eq!(
        outcome(&found),
        Outcome { cut: 0, log_start: 0, end: 0, runs: vec![], lost: vec![], epochs: vec![] }
    );
}

#[test]
fn batches_of_partitions_that_are_not_live_are_void() {
    let mut recovery = Recovery::new(std::iter::empty(), vec![]);
    recovery.frame(&FoundFrame {
        location: FrameLocation::default(),
        front: FrameFront {
            identity: FrameIdentity {
                shard: 0,
                generation: Generation(1),
                sequence: FrameSequence(0),
                synced_below: FrameSequence(0),
                previous_crc: 0,
            },
            crc: 0,
            length_bytes: 4096,
            filled_bytes: 4096,
            entries: vec![Entry { key: key(), body: batch(0, 1, 0) }],
        },
        damaged_entries: vec![],
    });
    recovery.finish();
    assert!(recovery.partitions.is_empty());
    assert_eq!(recovery.frames, [(FrameSequence(0), vec![])]);
}

use protocol::types::{PartitionIndex, TopicId};

use super::*;
use crate::batch::testing::batch;
use crate::journal::Generation;
use crate::journal::frame::FrameFront;

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(partition) }
}

fn pending(base: i64, bodies: &[&[u8]]) -> PendingBatches {
    let records: Vec<u8> = bodies.iter().flat_map(|body| batch(1, Timestamp(base), body)).collect();
    PendingBatches {
        records: Bytes::from(records),
        batch_count: bodies.len(),
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(1),
        log_append_time: None,
    }
}

fn identity(sequence: u64) -> FrameIdentity {
    FrameIdentity {
        shard: 0,
        generation: Generation(1),
        sequence: FrameSequence(sequence),
        synced_below: FrameSequence(0),
        previous_crc: 0,
    }
}

#[test]
fn appends_of_a_partition_are_one_run_whatever_lies_between() {
    let mut collector = Collector::new(1 << 20, FrameSequence(3));
    let mut cursors = [SlotCursor::default(); 2];
    for base in 0..5 {
        for (index, cursor) in (0_i32..).zip(&mut cursors) {
            let slot = PartitionSlot(u32::try_from(index).expect("small"));
            let sequence = collector.append(slot, key(index), cursor, pending(base * 2, &[b"a", b"bc"]));
            assert_eq!(sequence, FrameSequence(3));
        }
    }
    assert_eq!(collector.pending_bytes(), 10 * (61 + 1 + 61 + 2));
    let sealed = collector.seal(identity(3));
    assert!(collector.is_empty());
    assert_eq!(collector.pending_bytes(), 0);
    let runs: Vec<_> = sealed.runs.iter().map(|run| (run.slot.0, run.base.get(), run.end.get())).collect();
    assert_eq!(runs, [(0, 0, 10), (1, 0, 10)]);
    let front = FrameFront::decode(sealed.buffer.padded()).expect("whole");
    assert_eq!(front.entries.len(), 20);
    assert_eq!(front.damaged(sealed.buffer.padded()).count(), 0);
    for run in &sealed.runs {
        assert_eq!(run.length_bytes, 5 * (61 + 1 + 61 + 2));
        assert_eq!(run.max_timestamp, Timestamp(8));
    }
}

#[test]
fn a_frame_that_would_get_too_long_is_followed_by_another() {
    let mut collector = Collector::new(400, FrameSequence(0));
    let mut cursor = SlotCursor::default();
    let mut frames = Vec::new();
    for base in 0..4 {
        frames.push(collector.append(PartitionSlot(0), key(0), &mut cursor, pending(base, &[&[0; 60]])).0);
    }
    // 64 of header, and 48 + 121 for each append: 402 for two.
    assert_eq!(frames, [0, 1, 2, 3]);
    assert!(collector.has_full_frame());
    let long = collector.append(PartitionSlot(0), key(0), &mut cursor, pending(4, &[&[0; 1000]]));
    assert!(long.0 > *frames.last().expect("four"));
    let mut base = 0;
    for sequence in 0..=long.0 {
        let sealed = collector.seal(identity(sequence));
        assert_eq!(sealed.runs[0].base, Offset(base));
        base = sealed.runs[0].end.get();
    }
    assert_eq!(base, 5);
}

#[test]
fn offsets_and_epochs_are_patched_and_times_where_the_topic_wants_it() {
    let mut collector = Collector::new(1 << 20, FrameSequence(0));
    let mut cursor = SlotCursor::default();
    let batches = PendingBatches { log_append_time: Some(Timestamp(55)), ..pending(100, &[b"a", b"b"]) };
    collector.append(PartitionSlot(0), key(0), &mut cursor, batches);
    let sealed = collector.seal(identity(0));
    let run = &sealed.runs[0];
    let start = usize::try_from(run.start).expect("short");
    let bytes = sealed.buffer.slice(start..);
    let found: Vec<_> = crate::batch::batches(&bytes)
        .map(|batch| {
            (
                batch.base_offset().get(),
                batch.leader_epoch().get(),
                batch.max_timestamp().get(),
                batch.crc_fits(),
            )
        })
        .collect();
    assert_eq!(found, [(100, 1, 55, true), (101, 1, 55, true)]);
}

#[test]
#[should_panic(expected = "frames are sealed in order")]
fn a_frame_is_not_sealed_before_its_time() {
    let mut collector = Collector::new(400, FrameSequence(0));
    collector.append(PartitionSlot(0), key(0), &mut SlotCursor::default(), pending(0, &[b"x"]));
    collector.seal(identity(1));
}

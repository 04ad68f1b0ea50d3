use bytes::Bytes;
use proptest::prelude::*;
use protocol::types::Timestamp;

use super::*;
use crate::batch::testing::batch;
use crate::journal::collector::{Collector, PendingBatches, SealedFrame, SlotCursor};
use crate::store::PartitionSlot;

fn key(topic: u8, partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId([topic; 16]), partition: PartitionIndex(partition) }
}

fn identity() -> FrameIdentity {
    FrameIdentity {
        shard: 0x0102,
        generation: Generation(0x0304),
        sequence: FrameSequence(0x0506),
        synced_below: FrameSequence(0x0505),
        previous_crc: 0x0708_090a,
    }
}

/// A frame with a batch of two records at offset 40, and one of each mark.
fn frame() -> SealedFrame {
    let mut collector = Collector::new(1 << 20, identity().sequence);
    let mut cursor = SlotCursor::default();
    let batches = PendingBatches {
        records: Bytes::from(batch(2, Timestamp(9), b"body")),
        batch_count: 1,
        base_offset: Offset(40),
        leader_epoch: LeaderEpoch(5),
        log_append_time: None,
    };
    collector.append(PartitionSlot(0), key(0xaa, 7), &mut cursor, batches);
    for mark in [
        Mark::Truncate(Offset(1)),
        Mark::LogStart(Offset(2)),
        Mark::EpochStart(LeaderEpoch(3), Offset(4)),
        Mark::TopicGone,
    ] {
        collector.append_mark(PartitionSlot(0), key(0xaa, 7), &mut cursor, mark);
    }
    collector.seal(identity())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[test]
fn the_bytes_are_those_of_the_table() {
    let frame = frame();
    let bytes = frame.buffer.padded();
    assert_eq!(&bytes[0..8], b"IOLFRAME");
    assert_eq!(bytes[8..10], [1, 0]);
    assert_eq!(bytes[10..12], [2, 1]);
    assert_eq!(u32_at(bytes, 12), 5);
    assert_eq!(u64_at(bytes, 16), 0x0304);
    assert_eq!(u64_at(bytes, 24), 0x0506);
    assert_eq!(u64_at(bytes, 32), 0x0505);
    assert_eq!(u32_at(bytes, 40), 4096);
    assert_eq!(u32_at(bytes, 44), 64 + 5 * 48 + 65);
    assert_eq!(u32_at(bytes, 48), 0x0708_090a);
    assert_eq!(bytes[52..60], [0; 8]);
    let mut summed = bytes[..60].to_vec();
    summed.extend_from_slice(&bytes[64..64 + 5 * 48]);
    assert_eq!(u32_at(bytes, 60), crc32fast::hash(&summed));
    assert_eq!(u32_at(bytes, 60), frame.crc);

    let entry = &bytes[64..112];
    assert_eq!(entry[0..16], [0xaa; 16]);
    assert_eq!(u32_at(entry, 16), 7);
    assert_eq!(entry[20..24], [1, 2, 0, 0]);
    assert_eq!(u64_at(entry, 24), 40);
    assert_eq!(u32_at(entry, 32), 5);
    assert_eq!(u32_at(entry, 36), 65);
    let wire = &bytes[64 + 5 * 48..][..65];
    assert_eq!(entry[40..44].iter().rev().copied().collect::<Vec<_>>(), wire[17..21]);
    assert_eq!(u32_at(entry, 44), 1);
    assert_eq!(wire[0..8], 40_i64.to_be_bytes());
    assert_eq!(wire[12..16], 5_i32.to_be_bytes());
    assert!(bytes[64 + 5 * 48 + 65..].iter().all(|&byte| byte == 0));
    let kinds: Vec<u8> = (0..5).map(|index| bytes[64 + index * 48 + 20]).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5]);
}

/// The CRC covers header and table, so it stands for all their bytes: a change of the format changes it.
#[test]
fn golden_bytes_do_not_change() {
    assert_eq!(frame().crc, 0xa81a_9630);
}

#[test]
fn what_was_sealed_is_decoded() {
    let frame = frame();
    let bytes = frame.buffer.padded();
    assert_eq!(front_bytes(bytes), Some(64 + 5 * 48));
    let front = FrameFront::decode(bytes).expect("whole");
    assert_eq!(front.identity, identity());
    assert_eq!(front.crc, frame.crc);
    assert_eq!((front.length_bytes, front.filled_bytes), (4096, 64 + 5 * 48 + 65));
    let EntryBody::Batch(found) = front.entries[0].body else { panic!("a batch comes first") };
    assert_eq!((found.base, found.end(), found.leader_epoch), (Offset(40), Offset(42), LeaderEpoch(5)));
    let marks: Vec<_> = front.entries[1..].iter().map(|entry| (entry.key, entry.body)).collect();
    let expected = [
        Mark::Truncate(Offset(1)),
        Mark::LogStart(Offset(2)),
        Mark::EpochStart(LeaderEpoch(3), Offset(4)),
        Mark::TopicGone,
    ];
    assert_eq!(marks, expected.map(|mark| (key(0xaa, 7), EntryBody::Mark(mark))));
    assert_eq!(front.damaged(bytes).count(), 0);
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let frame = frame();
    let whole = frame.buffer.padded();
    let front_bytes = 64 + 5 * 48;
    for index in 0..front_bytes + 65 {
        let mut bytes = whole.to_vec();
        bytes[index] ^= 0x10;
        let Some(front) = FrameFront::decode(&bytes) else {
            assert!(index < front_bytes);
            continue;
        };
        assert!(index >= front_bytes, "byte {index}");
        assert_eq!(front.damaged(&bytes).count(), 1, "byte {index}");
    }
}

proptest! {
    #[test]
    fn garbage_is_no_frame(bytes in proptest::collection::vec(any::<u8>(), 64..600)) {
        prop_assert!(FrameFront::decode(&bytes).is_none());
        let mut like = bytes;
        like[..8].copy_from_slice(b"IOLFRAME");
        like[8..10].copy_from_slice(&[1, 0]);
        prop_assert!(FrameFront::decode(&like).is_none());
    }

    #[test]
    fn a_table_that_lies_under_a_right_crc_does_no_harm(at in 0_usize..5 * 48, value: u8) {
        let mut bytes = frame().buffer.padded().to_vec();
        bytes[64 + at] = value;
        let mut summed = bytes[..60].to_vec();
        summed.extend_from_slice(&bytes[64..64 + 5 * 48]);
        let crc = crc32fast::hash(&summed);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        if let Some(front) = FrameFront::decode(&bytes) {
            let _ = front.damaged(&bytes).count();
        }
    }
}

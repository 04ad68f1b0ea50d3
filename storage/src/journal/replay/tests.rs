use std::path::PathBuf;

use proptest::prelude::*;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};

use super::*;
use crate::batch::testing::batch;
use crate::disk::buffer::size_class_bytes;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, IoBuffer, OpenMode};
use crate::journal::Generation;
use crate::journal::collector::{Collector, PendingBatches, SealedFrame, SlotCursor};
use crate::journal::frame::FrameIdentity;
use crate::store::PartitionSlot;
use crate::store::testing::block_on;

const FILE_BYTES: u64 = 64 << 10;

/// A frame of the shard 0 with one batch, at the offset of its number.
fn frame(identity: FrameIdentity) -> SealedFrame {
    let mut collector = Collector::new(1 << 20, identity.sequence);
    let offset = i64::try_from(identity.sequence.0).expect("small");
    let batches = PendingBatches {
        records: Bytes::from(batch(1, Timestamp(0), b"a record")),
        batch_count: 1,
        base_offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        log_append_time: None,
    };
    let key = PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };
    collector.append(PartitionSlot(0), key, &mut SlotCursor::default(), batches);
    collector.seal(identity)
}

/// A journal of two files, written frame by frame.
struct Journal {
    disk: MemoryDisk,
    place: FrameLocation,
    next: FrameIdentity,
}

impl Journal {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        for number in 0..2 {
            let file = block_on(disk.open(&path(number), OpenMode::Create)).expect("no faults");
            block_on(file.allocate(FILE_BYTES, true)).expect("no faults");
        }
        let next = FrameIdentity {
            shard: 0,
            generation: Generation(1),
            sequence: FrameSequence(10),
            synced_below: FrameSequence(10),
            previous_crc: 77,
        };
        Self { disk, place: FrameLocation::default(), next }
    }

    fn write_bytes(&self, place: FrameLocation, bytes: &[u8]) {
        let mut buffer = IoBuffer::allocate(size_class_bytes(bytes.len()));
        buffer[..bytes.len()].copy_from_slice(bytes);
        let file = block_on(self.disk.open(&path(place.file), OpenMode::Write)).expect("no faults");
        block_on(file.write_at(&buffer.freeze(bytes.len()), place.position)).expect("no faults");
    }

    /// Writes the next frame, with what `change` does to its bytes; the one behind names all before as synced
    /// but `in_flight`.
    fn frame(mut self, in_flight: u64, change: impl Fn(&mut [u8])) -> Self {
        self.next.synced_below = FrameSequence(self.next.sequence.0 - in_flight);
        let sealed = frame(self.next);
        let mut bytes = sealed.buffer.padded().to_vec();
        change(&mut bytes);
        self.write_bytes(self.place, &bytes);
        self.place.position += bytes.len() as u64;
        self.next.sequence = self.next.sequence.next();
        self.next.previous_crc = sealed.crc;
        self
    }

    fn good(self) -> Self {
        self.frame(0, |_| {})
    }

    fn next_file(mut self) -> Self {
        self.place = FrameLocation { file: self.place.file + 1, position: 0 };
        self
    }

    /// Replays with the lives given as (generation, first frame).
    fn replay(&self, lives: &[(u64, u64)]) -> (Vec<(u64, usize)>, Replayed) {
        let files: Vec<_> = (0..2)
            .map(|number| block_on(self.disk.open(&path(number), OpenMode::Read)).expect("no faults"))
            .collect();
        let files: Vec<_> = (0..)
            .zip(&files)
            .map(|(number, file)| ReplayFile { number, file, size_bytes: FILE_BYTES })
            .collect();
        let lives: Vec<_> = lives
            .iter()
            .map(|(generation, first)| Life {
                generation: Generation(*generation),
                first: FrameSequence(*first),
            })
            .collect();
        let from =
            ReplayFrom { sequence: FrameSequence(10), location: FrameLocation::default(), previous_crc: 77 };
        let mut found = Vec::new();
        let mut sink = |frame: FoundFrame, _| {
            found.push((frame.front.identity.sequence.0, frame.damaged_entries.len()));
        };
        let replayed = block_on(replay(&files, 0, &lives, from, &mut sink)).expect("no faults");
        (found, replayed)
    }

    /// Replays as the first life.
    fn check(&self, expected: &[(u64, usize)], lost: &[(u64, u64)]) {
        let (found, replayed) = self.replay(&[(1, 0)]);
        assert_eq!(found, expected);
        let found: Vec<_> = replayed.lost.iter().map(|lost| (lost.first.0, lost.end.0)).collect();
        assert_eq!(found, lost);
        let next = expected.last().map_or(10, |(sequence, _)| sequence + 1);
        assert_eq!(replayed.next.sequence.0, next);
    }
}

fn path(number: u32) -> PathBuf {
    PathBuf::from(format!("{number}"))
}

fn no_header(bytes: &mut [u8]) {
    bytes[20] ^= 1;
}

fn no_batch(bytes: &mut [u8]) {
    bytes[64 + 48 + 62] ^= 1;
}

#[test]
fn an_empty_journal_has_no_frames() {
    Journal::new().check(&[], &[]);
}

#[test]
fn a_chain_is_followed_into_the_next_file() {
    let journal = Journal::new().good().good().next_file().good();
    journal.check(&[(10, 0), (11, 0), (12, 0)], &[]);
    let (_, replayed) = journal.replay(&[(1, 0)]);
    assert_eq!(replayed.files, [0, 1]);
    assert_eq!(replayed.next.location, FrameLocation { file: 1, position: 4096 });
}

#[test]
fn a_torn_frame_at_the_end_is_dropped() {
    Journal::new().good().frame(0, no_header).check(&[(10, 0)], &[]);
    Journal::new().good().frame(0, no_batch).check(&[(10, 0)], &[]);
}

#[test]
fn frames_behind_a_torn_one_that_were_in_flight_with_it_are_dropped_too() {
    Journal::new().good().frame(0, no_header).frame(1, |_| {}).frame(2, |_| {}).check(&[(10, 0)], &[]);
    Journal::new().good().frame(0, no_batch).next_file().frame(1, |_| {}).check(&[(10, 0)], &[]);
}

#[test]
fn a_frame_that_a_later_one_names_as_synced_is_rotten() {
    Journal::new()
        .good()
        .frame(0, no_header)
        .frame(1, |_| {})
        .frame(1, |_| {})
        .check(&[(10, 0), (12, 0), (13, 0)], &[(11, 12)]);
    Journal::new().frame(0, no_header).next_file().good().check(&[(11, 0)], &[(10, 11)]);
    Journal::new().frame(0, no_header).frame(0, no_header).good().check(&[(12, 0)], &[(10, 12)]);
}

#[test]
fn a_rotten_batch_is_named_where_the_table_is_whole() {
    Journal::new().good().frame(0, no_batch).good().check(&[(10, 0), (11, 1), (12, 0)], &[]);
}

#[test]
fn a_frame_of_another_life_never_fits() {
    let journal = Journal::new().good().good().good();
    // The second life began at frame 11, and wrote nothing.
    let (found, replayed) = journal.replay(&[(1, 0), (2, 11)]);
    assert_eq!(found, [(10, 0)]);
    assert!(replayed.lost.is_empty(), "what an earlier life synced is not missing");
    // It wrote one frame over the old one; the old one behind it has the number that comes next.
    let mut journal = journal;
    let (_, replayed) = journal.replay(&[(1, 0), (2, 11)]);
    journal.next = FrameIdentity {
        generation: Generation(2),
        sequence: FrameSequence(11),
        previous_crc: replayed.next.previous_crc,
        ..journal.next
    };
    journal.place = replayed.next.location;
    let journal = journal.good();
    let (found, replayed) = journal.replay(&[(1, 0), (2, 11)]);
    assert_eq!(found, [(10, 0), (11, 0)]);
    assert!(replayed.lost.is_empty());
}

#[test]
fn a_frame_that_names_another_predecessor_never_fits() {
    let mut journal = Journal::new().good();
    journal.next.previous_crc ^= 1;
    journal.good().check(&[(10, 0)], &[]);
}

#[test]
fn a_frame_of_another_shard_never_fits() {
    let mut journal = Journal::new().good();
    journal.next.shard = 1;
    journal.good().check(&[(10, 0)], &[]);
}

#[test]
fn a_record_that_looks_like_a_frame_proves_nothing_about_the_frame_it_lies_in() {
    // The last frame is torn, and holds a block that claims to be a later frame which names it as synced.
    let mut journal = Journal::new().good();
    journal.next.synced_below = FrameSequence(10);
    let claim =
        frame(FrameIdentity { sequence: FrameSequence(12), synced_below: FrameSequence(12), ..journal.next });
    let mut collector = Collector::new(1 << 20, journal.next.sequence);
    let mut body = vec![0; 4096 - 64 - 48 - 61];
    body.extend_from_slice(claim.buffer.padded());
    let batches = PendingBatches {
        records: Bytes::from(batch(1, Timestamp(0), &body)),
        batch_count: 1,
        base_offset: Offset(11),
        leader_epoch: LeaderEpoch(0),
        log_append_time: None,
    };
    let key = PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };
    collector.append(PartitionSlot(0), key, &mut SlotCursor::default(), batches);
    let sealed = collector.seal(journal.next);
    let mut bytes = sealed.buffer.padded().to_vec();
    bytes[4096 + 4095] ^= 1;
    journal.write_bytes(journal.place, &bytes);
    journal.check(&[(10, 0)], &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_anywhere_never_brings_back_what_was_not_written(
        blocks in proptest::collection::vec((0_u32..2, 0_u64..16, any::<u8>(), 0_usize..4096), 0..12),
    ) {
        let journal = Journal::new().good().good().good().next_file().good().good();
        for (file, block, value, at) in blocks {
            let place = FrameLocation { file, position: block * 4096 };
            let handle = block_on(journal.disk.open(&path(file), OpenMode::Read)).expect("no faults");
            let mut bytes = block_on(handle.read_at(place.position, 4096)).expect("no faults").to_vec();
            bytes[at] ^= value;
            journal.write_bytes(place, &bytes);
        }
        let (found, replayed) = journal.replay(&[(1, 0)]);
        prop_assert!(found.iter().all(|(sequence, _)| (10..15).contains(sequence)));
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for lost in &replayed.lost {
            prop_assert!(lost.first < lost.end);
        }
    }
}

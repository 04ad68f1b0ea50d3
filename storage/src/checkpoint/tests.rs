use proptest::prelude::*;

use super::*;
use crate::checkpoint::slots::{Slot, read, write};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, DiskFile, IoBuffer, OpenMode};
use crate::store::testing::block_on;

fn checkpoint(number: u64, partitions: i32) -> Checkpoint {
    let partition = |partition: i32| PartitionState {
        key: PartitionKey { topic_id: TopicId([3; 16]), partition: PartitionIndex(partition) },
        destaged: Offset(i64::from(partition) + 100),
        log_start: Offset(5),
        epochs: vec![
            EpochStart { epoch: LeaderEpoch(1), start: Offset(0) },
            EpochStart { epoch: LeaderEpoch(4), start: Offset(50) },
        ],
        producers: (partition % 2 == 0)
            .then(|| Rc::new(ProducerSnapshot { at: Offset(90), state: vec![1, 2, 3].into() })),
    };
    Checkpoint {
        number,
        shard: 1,
        shard_count: 2,
        replay_from: ReplayFrom {
            sequence: FrameSequence(9),
            location: FrameLocation { file: 3, position: 8192 },
            previous_crc: 0xdead_beef,
        },
        lives: vec![
            Life { generation: Generation(1), first: FrameSequence(0) },
            Life { generation: Generation(2), first: FrameSequence(7) },
        ],
        partitions: (0..partitions).map(partition).collect(),
    }
}

#[test]
fn the_bytes_are_those_of_the_table() {
    let bytes = block_on(checkpoint(1, 1).encode()).to_vec();
    assert_eq!(&bytes[0..8], b"IOLCHKPT");
    assert_eq!(bytes[8..12], [1, 0, 0, 0]);
    let table_bytes = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(table_bytes).expect("short"), bytes.len() - 32);
    assert_eq!(bytes[16..28], [0; 12]);
    let mut summed = bytes[..28].to_vec();
    summed.extend_from_slice(&bytes[32..]);
    assert_eq!(bytes[28..32], crc32fast::hash(&summed).to_le_bytes());
    assert_eq!(&bytes[36..40], b"IOCP", "the table's identifier");
}

#[test]
fn what_is_encoded_is_decoded_whatever_lies_behind() {
    for partitions in [0, 1, 1000] {
        let checkpoint = checkpoint(7, partitions);
        let mut bytes = block_on(checkpoint.encode()).to_vec();
        assert_eq!(Checkpoint::decode(&bytes).as_ref(), Some(&checkpoint));
        bytes.extend_from_slice(&[0xff; 100]);
        assert_eq!(Checkpoint::decode(&bytes).as_ref(), Some(&checkpoint));
    }
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let bytes = block_on(checkpoint(7, 2).encode()).to_vec();
    for index in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[index] ^= 0x40;
        assert_eq!(Checkpoint::decode(&bytes), None, "byte {index}");
    }
}

#[test]
fn each_frame_number_has_one_generation() {
    let lives = [(1, 0), (2, 7), (3, 7), (5, 9)]
        .map(|(generation, first)| Life { generation: Generation(generation), first: FrameSequence(first) });
    for (sequence, expected) in [(0, 1), (6, 1), (7, 3), (8, 3), (9, 5), (100, 5)] {
        let found = Checkpoint::generation_of(&lives, FrameSequence(sequence));
        assert_eq!(found, Some(Generation(expected)), "{sequence}");
    }
    assert_eq!(Checkpoint::generation_of(&lives[1..], FrameSequence(6)), None);
}

#[test]
fn slots_are_written_in_turn() {
    let disk = MemoryDisk::default();
    block_on(disk.create_directory(&directory(2))).expect("no faults");
    for number in 1..6 {
        block_on(write(&disk, &checkpoint(number, 3))).expect("no faults");
        let newest = Checkpoint::slot(number);
        for slot in 0..2 {
            let found = block_on(read(&disk, 1, 2, slot)).expect("no faults");
            match found {
                Slot::Valid(found) => {
                    let expected = if slot == newest { number } else { number - 1 };
                    assert_eq!(found, checkpoint(expected, 3));
                }
                Slot::Empty => assert!(number == 1 && slot != newest),
                Slot::Damaged => panic!("nothing was damaged"),
            }
        }
    }
}

#[test]
fn a_slot_that_is_not_whole_is_damaged_and_one_never_written_is_empty() {
    let disk = MemoryDisk::default();
    block_on(disk.create_directory(&directory(2))).expect("no faults");
    block_on(write(&disk, &checkpoint(2, 500))).expect("no faults");
    let file = block_on(disk.open(&slot_path(1, 2, 0), OpenMode::Write)).expect("it was written");
    let zeros = IoBuffer::allocate(4096).freeze(0);
    block_on(file.write_at(&zeros, 8192)).expect("no faults");
    assert!(matches!(block_on(read(&disk, 1, 2, 0)), Ok(Slot::Damaged)));
    block_on(file.write_at(&zeros, 0)).expect("no faults");
    assert!(matches!(block_on(read(&disk, 1, 2, 0)), Ok(Slot::Empty)));
    assert!(matches!(block_on(read(&disk, 1, 2, 1)), Ok(Slot::Empty)));
}

proptest! {
    #[test]
    fn garbage_is_no_checkpoint(mut bytes in proptest::collection::vec(any::<u8>(), 32..200)) {
        prop_assert_eq!(Checkpoint::decode(&bytes), None);
        bytes[..12].copy_from_slice(b"IOLCHKPT\x01\0\0\0");
        let length = u32::try_from(bytes.len() - 32).expect("short");
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = crc_of(&bytes[..32], &bytes[32..]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        // Whatever the table says, it is verified before it is believed.
        let _ = Checkpoint::decode(&bytes);
    }
}

#[test]
fn the_states_of_many_producers_come_back_as_they_were() {
    for length in [0, 1, ENCODE_PIECE_BYTES - 1, ENCODE_PIECE_BYTES, 3 * ENCODE_PIECE_BYTES + 17] {
        let state: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let mut written = checkpoint(1, 1);
        written.partitions[0].producers =
            Some(Rc::new(ProducerSnapshot { at: Offset(90), state: state.into() }));
        let read = Checkpoint::decode(&block_on(written.encode()));
        assert!(read.as_ref() == Some(&written), "{length} bytes of state");
    }
}

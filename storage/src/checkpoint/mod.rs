//! Checkpoints: from where a shard's journal is replayed, and where its partitions' segments are known synced.
//!
//! Two slots, `checkpoint/<shards>/<shard>.a` and `.b` (`<shards>`: how many the data is laid out for), written in turn: the older one is overwritten, so that one is whole
//! at any moment. The valid one with the higher number counts. A file is:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `IOLCHKPT` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | zero |
//! | 12 | 4 | length of the table |
//! | 16 | 12 | zero |
//! | 28 | 4 | CRC-32 over bytes 0 to 27 and the table |
//! | 32 | | the table: FlatBuffers, `schemas/checkpoint.fbs` |
//! | | | whatever a longer one left behind; zeros up to the block |
//!
//! A checkpoint is also what makes a generation durable: the list of lives says which generation fits the frames
//! from which number on. A start writes its generation to both slots before its first frame, so that either slot, should
//! the other rot, fits every frame that was ever acked. It does not know what a segment is.

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use protocol::generated::checkpoint as schema;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::journal::ring::FrameLocation;
use crate::journal::{FrameSequence, Generation};
use crate::limits::{CHECKPOINT_BYTES_MAX, ENCODE_PIECE_BYTES, STEPS_BETWEEN_YIELDS};
use crate::wait::yield_now;

pub(crate) mod slots;

const MAGIC: [u8; 8] = *b"IOLCHKPT";
pub(crate) const FORMAT_VERSION: u16 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SlotHeader {
    magic: [u8; 8],
    format_version: U16,
    zero: [u8; 2],
    table_bytes: U32,
    reserved: [u8; 12],
    crc: U32,
}

pub(crate) const SLOT_HEADER_BYTES: usize = size_of::<SlotHeader>();
const CRC_AT: usize = std::mem::offset_of!(SlotHeader, crc);
const _: () = assert!(SLOT_HEADER_BYTES == 32);
const _: () = assert!(CRC_AT == 28);

/// The place in the journal where a replay begins, and what the frame there must name as its predecessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayFrom {
    pub(crate) sequence: FrameSequence,
    pub(crate) location: FrameLocation,
    pub(crate) previous_crc: u32,
}

/// A generation, and the number of the first frame that it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) generation: Generation,
    pub(crate) first: FrameSequence,
}

/// Where a leadership's records begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leadership.
    pub epoch: LeaderEpoch,
    /// The offset of its first record, or where that would be.
    pub start: Offset,
}

/// What a checkpoint says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) key: PartitionKey,
    /// All records below are in segments and synced.
    pub(crate) destaged: Offset,
    pub(crate) log_start: Offset,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) producers: Option<Rc<ProducerSnapshot>>,
}

/// What the producers of a partition had done when its log ended at an offset. The store does not look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerSnapshot {
    pub(crate) at: Offset,
    pub(crate) state: Bytes,
}

/// A checkpoint of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    pub(crate) shard: u16,
    pub(crate) shard_count: u16,
    pub(crate) replay_from: ReplayFrom,
    pub(crate) lives: Vec<Life>,
    pub(crate) partitions: Vec<PartitionState>,
}

/// The file of a slot.
pub(crate) fn slot_path(shard: u16, shard_count: u16, slot: usize) -> PathBuf {
    directory(shard_count).join(format!("{shard}.{}", ["a", "b"][slot]))
}

/// The directory of all shards' slots.
pub(crate) fn directory(shard_count: u16) -> PathBuf {
    PathBuf::from(format!("checkpoint/{shard_count}"))
}

impl Checkpoint {
    /// The slot that a checkpoint of this number is written to.
    pub(crate) fn slot(number: u64) -> usize {
        usize::from(!number.is_multiple_of(2))
    }

    /// The file's content. With many partitions or producers that is many milliseconds of work: others get their turn in
    /// between.
    pub(crate) async fn encode(&self) -> Encoded {
        let states: usize = self
            .partitions
            .iter()
            .flat_map(|partition| &partition.producers)
            .map(|taken| taken.state.len())
            .sum();
        let estimate = SLOT_HEADER_BYTES + 256 + 128 * self.partitions.len() + states;
        let mut builder = flatbuffers::FlatBufferBuilder::with_capacity(estimate);
        let mut partitions = Vec::with_capacity(self.partitions.len());
        for some in self.partitions.chunks(STEPS_BETWEEN_YIELDS) {
            for partition in some {
                partitions.push(encode_partition(&mut builder, partition).await);
            }
            yield_now().await;
        }
        let partitions = builder.create_vector(&partitions);
        let lives: Vec<_> =
            self.lives.iter().map(|life| schema::Life::new(life.generation.0, life.first.0)).collect();
        let lives = builder.create_vector(&lives);
        let replay_from = schema::Position::new(
            self.replay_from.sequence.0,
            self.replay_from.location.position,
            self.replay_from.location.file,
            self.replay_from.previous_crc,
        );
        let table = schema::Checkpoint::create(
            &mut builder,
            &schema::CheckpointArgs {
                number: self.number,
                shard: self.shard,
                shard_count: self.shard_count,
                replay_from: Some(&replay_from),
                lives: Some(lives),
                partitions: Some(partitions),
            },
        );
        schema::finish_checkpoint_buffer(&mut builder, table);
        let table_bytes = builder.finished_data().len();
        assert!(table_bytes <= CHECKPOINT_BYTES_MAX);
        let mut header = SlotHeader {
            magic: MAGIC,
            format_version: U16::new(FORMAT_VERSION),
            zero: [0; 2],
            table_bytes: U32::new(u32::try_from(table_bytes).expect("within CHECKPOINT_BYTES_MAX")),
            reserved: [0; 12],
            crc: U32::ZERO,
        };
        let (mut bytes, mut start) = builder.collapse();
        if start < SLOT_HEADER_BYTES {
            bytes.splice(..start, [0; SLOT_HEADER_BYTES]);
            start = SLOT_HEADER_BYTES;
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header.as_bytes()[..CRC_AT]);
        for piece in bytes[start..].chunks(ENCODE_PIECE_BYTES * STEPS_BETWEEN_YIELDS) {
            crc.update(piece);
            yield_now().await;
        }
        header.crc = U32::new(crc.finalize());
        start -= SLOT_HEADER_BYTES;
        bytes[start..start + SLOT_HEADER_BYTES].copy_from_slice(header.as_bytes());
        Encoded { bytes, start }
    }

    /// How long the content of a file that begins with `header` is, if it is one.
    pub(crate) fn content_bytes(header: &[u8]) -> Option<usize> {
        let (header, _) = SlotHeader::ref_from_prefix(header).ok()?;
        let table_bytes = usize::try_from(header.table_bytes.get()).ok()?;
        (header.magic == MAGIC
            && header.format_version.get() == FORMAT_VERSION
            && table_bytes <= CHECKPOINT_BYTES_MAX)
            .then_some(SLOT_HEADER_BYTES + table_bytes)
    }

    /// Decodes a file's content; `None` where it is not whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let content = bytes.get(..Self::content_bytes(bytes)?)?;
        let (header, table) = SlotHeader::ref_from_prefix(content).ok()?;
        if header.crc.get() != crc_of(header.as_bytes(), table) {
            return None;
        }
        // A million partitions need more tables than the verifier takes by default; the CRC has proven the source.
        let options = flatbuffers::VerifierOptions {
            max_tables: 1 << 24,
            max_apparent_size: usize::MAX,
            ..flatbuffers::VerifierOptions::default()
        };
        let table = schema::root_as_checkpoint_with_opts(&options, table).ok()?;
        let replay_from = table.replay_from();
        let lives: Vec<_> = table
            .lives()
            .iter()
            .map(|life| Life {
                generation: Generation(life.generation()),
                first: FrameSequence(life.first_sequence()),
            })
            .collect();
        let ordered = lives
            .windows(2)
            .all(|pair| pair[0].generation < pair[1].generation && pair[0].first <= pair[1].first);
        if lives.is_empty() || !ordered {
            return None;
        }
        Some(Self {
            number: table.number(),
            shard: table.shard(),
            shard_count: table.shard_count(),
            replay_from: ReplayFrom {
                sequence: FrameSequence(replay_from.sequence()),
                location: FrameLocation { file: replay_from.file(), position: replay_from.at() },
                previous_crc: replay_from.previous_crc(),
            },
            lives,
            partitions: table.partitions().iter().map(|partition| decode_partition(&partition)).collect(),
        })
    }

    /// The only generation that fits a frame of this number.
    pub(crate) fn generation_of(lives: &[Life], sequence: FrameSequence) -> Option<Generation> {
        lives.iter().rev().find(|life| life.first <= sequence).map(|life| life.generation)
    }
}

/// The content of a slot's file, behind room that was not needed.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    start: usize,
}

impl std::ops::Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// So many bytes of a producers' state, written at one go.
struct Piece<'s>(&'s [u8; ENCODE_PIECE_BYTES]);

impl flatbuffers::Push for Piece<'_> {
    type Output = [u8; ENCODE_PIECE_BYTES];

    unsafe fn push(&self, destination: &mut [u8], _written_bytes: usize) {
        destination.copy_from_slice(self.0);
    }
}

/// A vector of bytes that may be many. FlatBuffers are written from the end.
async fn encode_state<'a>(
    builder: &mut flatbuffers::FlatBufferBuilder<'a>,
    state: &[u8],
) -> flatbuffers::WIPOffset<flatbuffers::Vector<'a, u8>> {
    let (pieces, rest) = state.as_chunks::<ENCODE_PIECE_BYTES>();
    builder.start_vector::<u8>(state.len());
    for byte in rest.iter().rev() {
        builder.push(*byte);
    }
    for (index, piece) in pieces.iter().enumerate().rev() {
        builder.push(Piece(piece));
        if index % STEPS_BETWEEN_YIELDS == 0 {
            yield_now().await;
        }
    }
    builder.end_vector(state.len())
}

async fn encode_partition<'a>(
    builder: &mut flatbuffers::FlatBufferBuilder<'a>,
    partition: &PartitionState,
) -> flatbuffers::WIPOffset<schema::Partition<'a>> {
    let epochs: Vec<_> = partition
        .epochs
        .iter()
        .map(|entry| schema::EpochStart::new(entry.start.get(), entry.epoch.get()))
        .collect();
    let epochs = builder.create_vector(&epochs);
    let producers = match &partition.producers {
        Some(snapshot) => Some(encode_state(builder, &snapshot.state).await),
        None => None,
    };
    schema::Partition::create(
        builder,
        &schema::PartitionArgs {
            topic_id: Some(&schema::TopicId(partition.key.topic_id.0)),
            partition: partition.key.partition.get(),
            destaged: partition.destaged.get(),
            log_start: partition.log_start.get(),
            epochs: Some(epochs),
            producers_at: partition.producers.as_ref().map_or(-1, |snapshot| snapshot.at.get()),
            producers,
        },
    )
}

fn decode_partition(partition: &schema::Partition<'_>) -> PartitionState {
    let epochs = partition.epochs().map(|epochs| {
        let entry = |entry: &schema::EpochStart| EpochStart {
            epoch: LeaderEpoch(entry.epoch()),
            start: Offset(entry.offset()),
        };
        epochs.iter().map(entry).collect()
    });
    let producers = partition.producers().map(|state| ProducerSnapshot {
        at: Offset(partition.producers_at()),
        state: Bytes::copy_from_slice(state.bytes()),
    });
    PartitionState {
        key: PartitionKey {
            topic_id: TopicId(partition.topic_id().0),
            partition: PartitionIndex(partition.partition()),
        },
        destaged: Offset(partition.destaged()),
        log_start: Offset(partition.log_start()),
        epochs: epochs.unwrap_or_default(),
        producers: producers.filter(|snapshot| snapshot.at.get() >= 0).map(Rc::new),
    }
}

fn crc_of(header: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CRC_AT]);
    hasher.update(table);
    hasher.finalize()
}

#[cfg(test)]
mod tests;

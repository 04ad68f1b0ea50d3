//! The journal's frame on disk: fixed header, entry table, batches.
//!
//! Integers are little-endian; what stands inside a batch is Kafka's, big-endian. A frame:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `IOLFRAME` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | shard |
//! | 12 | 4 | entries in the table |
//! | 16 | 8 | generation: the life of the broker that wrote the frame |
//! | 24 | 8 | sequence: frames of a shard are numbered from 0 through all its lives |
//! | 32 | 8 | synced below: all frames of lower sequence were on stable media when this one was written |
//! | 40 | 4 | length, padding included: where the next frame begins; a multiple of 4,096 |
//! | 44 | 4 | filled: length without the padding, which is zeros |
//! | 48 | 4 | the CRC field of the frame before: the chain |
//! | 52 | 8 | zero |
//! | 60 | 4 | CRC-32 over bytes 0 to 59 and the entry table |
//! | 64 | 48 × entries | the entry table |
//! | | | the wire batches of the batch entries, in the table's order, end to end |
//!
//! An entry of the table:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 16 | topic id |
//! | 16 | 4 | partition |
//! | 20 | 1 | kind: 1 batch, 2 truncate, 3 log start, 4 epoch start, 5 topic gone |
//! | 21 | 1 | batch: its magic; otherwise 0 |
//! | 22 | 2 | zero |
//! | 24 | 8 | offset: the batch's base, where the log is cut, its start, the epoch's first; topic gone: 0 |
//! | 32 | 4 | leader epoch of the batch or the one that starts; otherwise 0 |
//! | 36 | 4 | length of the wire batch; otherwise 0 |
//! | 40 | 4 | CRC-32C of the batch, as in its header; otherwise 0 |
//! | 44 | 4 | last offset delta of the batch; otherwise 0 |
//!
//! A batch is proven by its CRC-32C; the header fields outside that CRC are proven by the table. Entries of one
//! partition stand in the order of their effects. This module knows bytes only: no file, no order between frames.

use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicId};
use zerocopy::byteorder::little_endian::{I32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FrameSequence, Generation};
use crate::batch::{BATCH_HEADER_BYTES, BatchView};
use crate::limits::{BUFFER_ALIGN_BYTES, FRAME_ENTRIES_MAX};

const MAGIC: [u8; 8] = *b"IOLFRAME";
pub(crate) const FORMAT_VERSION: u16 = 1;

/// The grain of frames: the shortest one, and what positions and lengths are multiples of.
pub(crate) const FRAME_GRAIN_BYTES: usize = BUFFER_ALIGN_BYTES;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct FrameHeader {
    magic: [u8; 8],
    format_version: U16,
    shard: U16,
    entry_count: U32,
    generation: U64,
    sequence: U64,
    synced_below: U64,
    length_bytes: U32,
    filled_bytes: U32,
    previous_crc: U32,
    zero: [u8; 8],
    crc: U32,
}

pub(crate) const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
const CRC_AT: usize = 60;
const _: () = assert!(FRAME_HEADER_BYTES == 64);
const _: () = assert!(CRC_AT == std::mem::offset_of!(FrameHeader, crc));

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct EntryRow {
    topic_id: [u8; 16],
    partition: I32,
    kind: u8,
    magic: u8,
    zero: [u8; 2],
    offset: I64,
    leader_epoch: I32,
    length_bytes: U32,
    crc: U32,
    last_offset_delta: I32,
}

pub(crate) const ENTRY_BYTES: usize = size_of::<EntryRow>();
const _: () = assert!(ENTRY_BYTES == 48);

const KIND_BATCH: u8 = 1;
const KIND_TRUNCATE: u8 = 2;
const KIND_LOG_START: u8 = 3;
const KIND_EPOCH_START: u8 = 4;
const KIND_TOPIC_GONE: u8 = 5;

/// What an entry other than a batch says. It is synced before it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// All records at and past the offset are gone.
    Truncate(Offset),
    /// The log starts here.
    LogStart(Offset),
    /// A leadership begins, and its first record will be at this offset or later.
    EpochStart(LeaderEpoch, Offset),
    /// The partition is deleted; what stands in the journal under its key is void.
    TopicGone,
}

/// An entry, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: PartitionKey,
    pub(crate) body: EntryBody,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryBody {
    /// A batch in the frame.
    Batch(BatchEntry),
    /// Anything else.
    Mark(Mark),
}

/// Where a batch lies in its frame, and what proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchEntry {
    pub(crate) base: Offset,
    pub(crate) last_offset_delta: i32,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) magic: u8,
    pub(crate) crc: u32,
    /// The position in the frame.
    pub(crate) start: u32,
    pub(crate) length_bytes: u32,
}

impl BatchEntry {
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(i64::from(self.last_offset_delta) + 1)
    }

    /// Whether `bytes` are the batch that was written.
    pub(crate) fn proves(&self, bytes: &[u8]) -> bool {
        BatchView::first(bytes).is_some_and(|batch| {
            batch.length_bytes() == bytes.len()
                && batch.base_offset() == self.base
                && batch.last_offset_delta() == self.last_offset_delta
                && batch.leader_epoch() == self.leader_epoch
                && batch.magic() == self.magic
                && batch.crc() == self.crc
                && batch.crc_fits()
        })
    }
}

impl EntryRow {
    pub(crate) fn batch(key: PartitionKey, batch: BatchView<'_>) -> Self {
        Self {
            kind: KIND_BATCH,
            magic: batch.magic(),
            offset: I64::new(batch.base_offset().get()),
            leader_epoch: I32::new(batch.leader_epoch().get()),
            length_bytes: U32::new(u32::try_from(batch.length_bytes()).expect("shorter than a frame")),
            crc: U32::new(batch.crc()),
            last_offset_delta: I32::new(batch.last_offset_delta()),
            ..Self::of(key)
        }
    }

    pub(crate) fn mark(key: PartitionKey, mark: Mark) -> Self {
        let (kind, offset, epoch) = match mark {
            Mark::Truncate(offset) => (KIND_TRUNCATE, offset, LeaderEpoch(0)),
            Mark::LogStart(offset) => (KIND_LOG_START, offset, LeaderEpoch(0)),
            Mark::EpochStart(epoch, offset) => (KIND_EPOCH_START, offset, epoch),
            Mark::TopicGone => (KIND_TOPIC_GONE, Offset(0), LeaderEpoch(0)),
        };
        Self { kind, offset: I64::new(offset.get()), leader_epoch: I32::new(epoch.get()), ..Self::of(key) }
    }

    fn of(key: PartitionKey) -> Self {
        Self {
            topic_id: key.topic_id.0,
            partition: I32::new(key.partition.get()),
            kind: 0,
            magic: 0,
            zero: [0; 2],
            offset: I64::ZERO,
            leader_epoch: I32::ZERO,
            length_bytes: U32::ZERO,
            crc: U32::ZERO,
            last_offset_delta: I32::ZERO,
        }
    }

    /// The entry whose batch, if it is one, begins at `start`.
    fn decode(&self, start: u32) -> Option<Entry> {
        let key = PartitionKey {
            topic_id: TopicId(self.topic_id),
            partition: PartitionIndex(self.partition.get()),
        };
        let offset = Offset(self.offset.get());
        let leader_epoch = LeaderEpoch(self.leader_epoch.get());
        if self.zero != [0; 2] || offset.get() < 0 {
            return None;
        }
        if self.kind == KIND_BATCH {
            let last_offset_delta = self.last_offset_delta.get();
            offset.get().checked_add(i64::from(last_offset_delta) + 1)?;
            let long_enough = self.length_bytes.get() >= u32::try_from(BATCH_HEADER_BYTES).ok()?;
            return (long_enough && last_offset_delta >= 0).then_some(Entry {
                key,
                body: EntryBody::Batch(BatchEntry {
                    base: offset,
                    last_offset_delta,
                    leader_epoch,
                    magic: self.magic,
                    crc: self.crc.get(),
                    start,
                    length_bytes: self.length_bytes.get(),
                }),
            });
        }
        let mark = match self.kind {
            KIND_TRUNCATE => Mark::Truncate(offset),
            KIND_LOG_START => Mark::LogStart(offset),
            KIND_EPOCH_START => Mark::EpochStart(leader_epoch, offset),
            KIND_TOPIC_GONE => Mark::TopicGone,
            _ => return None,
        };
        // What a mark does not use is zero, so that one meaning has one encoding.
        (*self.as_bytes() == *Self::mark(key, mark).as_bytes())
            .then_some(Entry { key, body: EntryBody::Mark(mark) })
    }
}

/// What distinguishes a frame from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameIdentity {
    pub(crate) shard: u16,
    pub(crate) generation: Generation,
    pub(crate) sequence: FrameSequence,
    pub(crate) synced_below: FrameSequence,
    pub(crate) previous_crc: u32,
}

/// Writes header and CRC in front of a table that is complete. Returns the frame's CRC.
///
/// `front` begins with the header's place and ends with the table.
pub(crate) fn finish_frame(
    front: &mut [u8],
    identity: FrameIdentity,
    filled_bytes: usize,
    length_bytes: usize,
) -> u32 {
    let table_bytes = front.len() - FRAME_HEADER_BYTES;
    assert_eq!(table_bytes % ENTRY_BYTES, 0);
    assert_eq!(length_bytes % FRAME_GRAIN_BYTES, 0);
    assert!(filled_bytes >= front.len());
    assert!(filled_bytes <= length_bytes);
    let entry_count = table_bytes / ENTRY_BYTES;
    assert!(entry_count > 0, "a frame says something");
    assert!(entry_count <= FRAME_ENTRIES_MAX);
    let mut header = FrameHeader {
        magic: MAGIC,
        format_version: U16::new(FORMAT_VERSION),
        shard: U16::new(identity.shard),
        entry_count: U32::new(u32::try_from(entry_count).expect("within FRAME_ENTRIES_MAX")),
        generation: U64::new(identity.generation.0),
        sequence: U64::new(identity.sequence.0),
        synced_below: U64::new(identity.synced_below.0),
        length_bytes: U32::new(u32::try_from(length_bytes).expect("a buffer's length")),
        filled_bytes: U32::new(u32::try_from(filled_bytes).expect("a buffer's length")),
        previous_crc: U32::new(identity.previous_crc),
        zero: [0; 8],
        crc: U32::ZERO,
    };
    let crc = crc_of(header.as_bytes(), &front[FRAME_HEADER_BYTES..]);
    header.crc = U32::new(crc);
    front[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
    crc
}

fn crc_of(header: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CRC_AT]);
    hasher.update(table);
    hasher.finalize()
}

/// Header and table of a frame whose CRC fits: it says what was once written. Whether its batches are whole, and
/// whether it belongs here, is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameFront {
    pub(crate) identity: FrameIdentity,
    pub(crate) crc: u32,
    pub(crate) length_bytes: u32,
    pub(crate) filled_bytes: u32,
    pub(crate) entries: Vec<Entry>,
}

/// How many bytes header and table take, if `bytes` (at least a header) begin as a frame does. Unproven.
pub(crate) fn front_bytes(bytes: &[u8]) -> Option<usize> {
    let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
    let entry_count = usize::try_from(header.entry_count.get()).ok()?;
    let plausible = header.magic == MAGIC
        && header.format_version.get() == FORMAT_VERSION
        && (1..=FRAME_ENTRIES_MAX).contains(&entry_count);
    plausible.then_some(FRAME_HEADER_BYTES + entry_count * ENTRY_BYTES)
}

/// The life and the number that a header claims, whether or not the frame behind it is whole. Unproven.
pub(crate) fn claimed(header: &[u8]) -> Option<(Generation, FrameSequence)> {
    front_bytes(header)?;
    let (header, _) = FrameHeader::ref_from_prefix(header).ok()?;
    Some((Generation(header.generation.get()), FrameSequence(header.sequence.get())))
}

impl FrameFront {
    /// Decodes header and table from `bytes`, which hold at least both.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let front_bytes = front_bytes(bytes)?;
        let table = bytes.get(FRAME_HEADER_BYTES..front_bytes)?;
        let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
        if header.crc.get() != crc_of(header.as_bytes(), table) || header.zero != [0; 8] {
            return None;
        }
        let rows = <[EntryRow]>::ref_from_bytes(table).ok()?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut position = u32::try_from(front_bytes).ok()?;
        for row in rows {
            entries.push(row.decode(position)?);
            position = position.checked_add(row.length_bytes.get())?;
        }
        let length_bytes = header.length_bytes.get();
        let fits = position == header.filled_bytes.get()
            && position <= length_bytes
            && usize::try_from(length_bytes).ok()?.is_multiple_of(FRAME_GRAIN_BYTES);
        fits.then(|| Self {
            identity: FrameIdentity {
                shard: header.shard.get(),
                generation: Generation(header.generation.get()),
                sequence: FrameSequence(header.sequence.get()),
                synced_below: FrameSequence(header.synced_below.get()),
                previous_crc: header.previous_crc.get(),
            },
            crc: header.crc.get(),
            length_bytes,
            filled_bytes: position,
            entries,
        })
    }

    /// Those of the frame's batches that are not in `frame` (the whole frame) as they were written.
    pub(crate) fn damaged<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| match &entry.body {
            EntryBody::Mark(_) => false,
            EntryBody::Batch(batch) => {
                let bytes = usize::try_from(batch.start)
                    .ok()
                    .and_then(|start| frame.get(start..start + usize::try_from(batch.length_bytes).ok()?));
                !bytes.is_some_and(|bytes| batch.proves(bytes))
            }
        })
    }
}

#[cfg(test)]
mod tests;

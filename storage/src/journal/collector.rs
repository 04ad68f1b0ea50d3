//! Appends of all partitions become frames.
//!
//! While a frame is being written, appends gather in the open one, which only remembers them: their bytes are copied
//! once, when the frame is sealed and its exact size is known. The batches of one partition lie together in a frame
//! (a reader gets them as one slice), which a linked list per partition and frame does without sorting and without
//! looking anything up. A frame that is full is followed by another open one; frames are sealed in order, so an open
//! frame's number is known from the start. Pure: no file, no waiting.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::types::{LeaderEpoch, Offset, PartitionKey, Timestamp};
use zerocopy::IntoBytes;

use super::FrameSequence;
use super::frame::{ENTRY_BYTES, EntryRow, FRAME_HEADER_BYTES, FrameIdentity, Mark, finish_frame};
use crate::batch::{BatchView, HeaderPatch};
use crate::disk::{IoBuffer, SharedBuffer};
use crate::limits::{FRAME_ENTRIES_MAX, OPEN_FRAMES_SPARE_MAX};
use crate::store::PartitionSlot;

/// No further pending append of this partition.
const LAST: u32 = u32::MAX;

/// Where a partition last appended; belongs to the partition, spares the collector any look-up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotCursor {
    frame: Option<FrameSequence>,
    touched: u32,
}

impl SlotCursor {
    /// The frame that the partition's last append is in, if it appended in this life.
    pub(crate) fn frame(self) -> Option<FrameSequence> {
        self.frame
    }
}

/// Batches with consecutive offsets, to be copied when the frame is sealed.
pub(crate) struct PendingBatches {
    /// One or more whole wire batches.
    pub(crate) records: Bytes,
    pub(crate) batch_count: usize,
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) log_append_time: Option<Timestamp>,
}

enum Content {
    Batches(PendingBatches),
    Mark(Mark),
}

struct Pending {
    content: Content,
    next: u32,
}

/// A partition with something in the open frame.
struct Touched {
    slot: PartitionSlot,
    key: PartitionKey,
    first: u32,
    last: u32,
}

#[derive(Default)]
struct OpenFrame {
    sequence: FrameSequence,
    pending: Vec<Pending>,
    touched: Vec<Touched>,
    entry_count: usize,
    body_bytes: usize,
}

impl OpenFrame {
    fn filled_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.entry_count * ENTRY_BYTES + self.body_bytes
    }
}

/// The contiguous batches of one partition in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedRun {
    pub(crate) slot: PartitionSlot,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// The position in the frame.
    pub(crate) start: u32,
    pub(crate) length_bytes: u32,
    pub(crate) max_timestamp: Timestamp,
    /// Whether any of them is native.
    pub(crate) has_native: bool,
}

/// A frame as it goes to the device.
pub(crate) struct SealedFrame {
    pub(crate) sequence: FrameSequence,
    pub(crate) buffer: SharedBuffer,
    pub(crate) crc: u32,
    pub(crate) runs: Vec<SealedRun>,
}

/// The open frames of a shard.
pub(crate) struct Collector {
    frame_bytes_max: usize,
    open: VecDeque<OpenFrame>,
    /// Emptied frames, kept for their vectors' memory.
    spare: Vec<OpenFrame>,
    /// The number of the frame that is opened next.
    next: FrameSequence,
    pending_bytes: usize,
}

impl Collector {
    pub(crate) fn new(frame_bytes_max: usize, next: FrameSequence) -> Self {
        Self { frame_bytes_max, open: VecDeque::new(), spare: Vec::new(), next, pending_bytes: 0 }
    }

    /// Bytes of batches that wait for their frame to be sealed.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the oldest open frame gets nothing more: a younger one is open behind it.
    pub(crate) fn has_full_frame(&self) -> bool {
        self.open.len() > 1
    }

    /// The most that the next frame to be sealed takes on the device before it is padded.
    pub(crate) fn front_filled_bytes(&self) -> Option<usize> {
        self.open.front().map(OpenFrame::filled_bytes)
    }

    /// Adds batches. They are in the frame of the number returned.
    pub(crate) fn append(
        &mut self,
        slot: PartitionSlot,
        key: PartitionKey,
        cursor: &mut SlotCursor,
        batches: PendingBatches,
    ) -> FrameSequence {
        assert!(batches.batch_count > 0);
        let (entries, bytes) = (batches.batch_count, batches.records.len());
        self.push(slot, key, cursor, Content::Batches(batches), entries, bytes)
    }

    /// Adds an entry other than a batch.
    pub(crate) fn append_mark(
        &mut self,
        slot: PartitionSlot,
        key: PartitionKey,
        cursor: &mut SlotCursor,
        mark: Mark,
    ) -> FrameSequence {
        self.push(slot, key, cursor, Content::Mark(mark), 1, 0)
    }

    fn push(
        &mut self,
        slot: PartitionSlot,
        key: PartitionKey,
        cursor: &mut SlotCursor,
        content: Content,
        entries: usize,
        bytes: usize,
    ) -> FrameSequence {
        assert!(entries <= FRAME_ENTRIES_MAX);
        let fits = self.open.back().is_some_and(|frame| {
            frame.filled_bytes() + entries * ENTRY_BYTES + bytes <= self.frame_bytes_max
                && frame.entry_count + entries <= FRAME_ENTRIES_MAX
        });
        if !fits {
            self.open_frame();
        }
        let frame = self.open.back_mut().expect("a frame is open");
        let index = u32::try_from(frame.pending.len()).expect("within FRAME_ENTRIES_MAX");
        frame.pending.push(Pending { content, next: LAST });
        frame.entry_count += entries;
        frame.body_bytes += bytes;
        self.pending_bytes += bytes;
        if cursor.frame == Some(frame.sequence) {
            let touched = &mut frame.touched[usize::try_from(cursor.touched).expect("an index")];
            assert!(touched.slot == slot, "a cursor belongs to one partition");
            let last = usize::try_from(touched.last).expect("an index");
            frame.pending[last].next = index;
            touched.last = index;
        } else {
            cursor.frame = Some(frame.sequence);
            cursor.touched = u32::try_from(frame.touched.len()).expect("within FRAME_ENTRIES_MAX");
            frame.touched.push(Touched { slot, key, first: index, last: index });
        }
        frame.sequence
    }

    fn open_frame(&mut self) {
        let mut frame = self.spare.pop().unwrap_or_default();
        assert!(frame.pending.is_empty());
        assert!(frame.touched.is_empty());
        assert!(frame.entry_count == 0);
        assert!(frame.body_bytes == 0);
        frame.sequence = self.next;
        self.next = self.next.next();
        self.open.push_back(frame);
    }

    /// Copies the oldest open frame into a buffer.
    ///
    /// # Panics
    /// If none is open, or its number is not the one of `identity`.
    pub(crate) fn seal(&mut self, identity: FrameIdentity) -> SealedFrame {
        let mut frame = self.open.pop_front().expect("a frame is open");
        assert_eq!(frame.sequence, identity.sequence, "frames are sealed in order");
        assert!(self.pending_bytes >= frame.body_bytes);
        self.pending_bytes -= frame.body_bytes;
        let sealed = seal(&frame, identity);
        frame.pending.clear();
        frame.touched.clear();
        frame.entry_count = 0;
        frame.body_bytes = 0;
        if self.spare.len() < OPEN_FRAMES_SPARE_MAX {
            self.spare.push(frame);
        }
        sealed
    }
}

fn seal(frame: &OpenFrame, identity: FrameIdentity) -> SealedFrame {
    let filled_bytes = frame.filled_bytes();
    let mut buffer = IoBuffer::allocate(filled_bytes);
    let length_bytes = buffer.len();
    let (front, body) = buffer.split_at_mut(FRAME_HEADER_BYTES + frame.entry_count * ENTRY_BYTES);
    let mut fill = Fill { start: front.len(), rows: &mut front[FRAME_HEADER_BYTES..], body };
    let mut runs = Vec::with_capacity(frame.touched.len());
    for touched in &frame.touched {
        runs.extend(seal_partition(frame, touched, &mut fill));
    }
    assert!(fill.rows.is_empty(), "every entry is in the table");
    assert_eq!(fill.start, filled_bytes);
    let crc = finish_frame(front, identity, filled_bytes, length_bytes);
    SealedFrame { sequence: frame.sequence, buffer: buffer.freeze(filled_bytes), crc, runs }
}

/// What is left to be filled of a frame: the rest of its table, and the rest of its body, which begins at `start`.
struct Fill<'a> {
    start: usize,
    rows: &'a mut [u8],
    body: &'a mut [u8],
}

impl Fill<'_> {
    fn row(&mut self, row: &EntryRow) {
        let (place, rest) = std::mem::take(&mut self.rows).split_at_mut(ENTRY_BYTES);
        place.copy_from_slice(row.as_bytes());
        self.rows = rest;
    }
}

fn seal_partition(frame: &OpenFrame, touched: &Touched, fill: &mut Fill<'_>) -> Option<SealedRun> {
    let mut run: Option<SealedRun> = None;
    let mut index = touched.first;
    while index != LAST {
        let pending = &frame.pending[usize::try_from(index).expect("an index")];
        index = pending.next;
        match &pending.content {
            Content::Mark(mark) => fill.row(&EntryRow::mark(touched.key, *mark)),
            Content::Batches(batches) => {
                let run = run.get_or_insert(SealedRun {
                    slot: touched.slot,
                    base: batches.base_offset,
                    end: batches.base_offset,
                    start: u32::try_from(fill.start).expect("a frame's length"),
                    length_bytes: 0,
                    max_timestamp: Timestamp(-1),
                    has_native: false,
                });
                seal_batches(touched.key, batches, fill, run);
            }
        }
    }
    run
}

fn seal_batches(key: PartitionKey, batches: &PendingBatches, fill: &mut Fill<'_>, run: &mut SealedRun) {
    assert_eq!(run.end, batches.base_offset, "a partition's offsets have no gaps");
    let length = batches.records.len();
    let (mut copy, rest) = std::mem::take(&mut fill.body).split_at_mut(length);
    fill.body = rest;
    fill.start += length;
    copy.copy_from_slice(&batches.records);
    run.length_bytes += u32::try_from(length).expect("a frame's length");
    for _ in 0..batches.batch_count {
        let batch_bytes = BatchView::first(copy).expect("counted when it was appended").length_bytes();
        let (batch, behind) = copy.split_at_mut(batch_bytes);
        HeaderPatch {
            base_offset: run.end,
            leader_epoch: batches.leader_epoch,
            log_append_time: batches.log_append_time,
        }
        .apply(batch);
        let view = BatchView::first(batch).expect("still a batch");
        fill.row(&EntryRow::batch(key, view));
        run.end = view.end_offset();
        run.max_timestamp = run.max_timestamp.max(view.max_timestamp());
        run.has_native |= view.is_native();
        copy = behind;
    }
    assert!(copy.is_empty(), "nothing behind the last batch");
}

#[cfg(test)]
mod tests;

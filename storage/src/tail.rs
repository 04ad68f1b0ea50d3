//! The tail of a shard: which frames are in memory or only in the journal, and where each partition's batches lie
//! in them.
//!
//! - A frame's buffer stays until newer frames need its room, whether destaged by then or not.
//! - A frame is remembered as long as it is in memory or not destaged: what is in neither case is in the segments.
//! - A partition's runs point to frames that are remembered, oldest first, without gaps between their offsets.
//!
//! Pure bookkeeping, on the shard's core; it reads batch headers in memory and never a file.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};

use crate::batch::{BatchView, batches};
use crate::journal::FrameSequence;
use crate::journal::collector::SealedRun;
use crate::journal::ring::FrameLocation;
use crate::store::PartitionSlot;

/// The contiguous batches of a partition in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) base: Offset,
    /// Batches that do not end by here are cut off, though their bytes may still lie in the run.
    pub(crate) end: Offset,
    pub(crate) frame: FrameSequence,
    /// The position in the frame.
    pub(crate) start: u32,
    pub(crate) length_bytes: u32,
    pub(crate) max_timestamp: Timestamp,
    /// Whether any of the batches is native.
    pub(crate) has_native: bool,
    /// Whether `end` was moved down: then not all bytes of the run count.
    pub(crate) is_cut: bool,
}

impl Run {
    pub(crate) fn of(frame: FrameSequence, sealed: &SealedRun) -> Self {
        Self {
            base: sealed.base,
            end: sealed.end,
            frame,
            start: sealed.start,
            length_bytes: sealed.length_bytes,
            max_timestamp: sealed.max_timestamp,
            has_native: sealed.has_native,
            is_cut: false,
        }
    }

    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let start = usize::try_from(self.start).expect("a frame's length");
        start..start + usize::try_from(self.length_bytes).expect("a frame's length")
    }
}

/// The runs of one partition.
#[derive(Default)]
pub(crate) struct Runs(VecDeque<Run>);

impl Runs {
    pub(crate) fn push(&mut self, run: Run) {
        assert!(run.base < run.end);
        if let Some(last) = self.0.back() {
            assert!(last.frame <= run.frame);
            assert!(last.end <= run.base);
        }
        self.0.push_back(run);
    }

    /// Adds a batch that was found at a restart: to the last run, where it lies right behind it.
    pub(crate) fn grow(&mut self, batch: Run) {
        if let Some(last) = self.0.back_mut()
            && last.frame == batch.frame
            && last.end == batch.base
            && !last.is_cut
            && last.start + last.length_bytes == batch.start
        {
            last.end = batch.end;
            last.length_bytes += batch.length_bytes;
            last.max_timestamp = last.max_timestamp.max(batch.max_timestamp);
            last.has_native |= batch.has_native;
        } else {
            self.push(batch);
        }
    }

    /// The first offset in the tail.
    pub(crate) fn base(&self) -> Option<Offset> {
        self.0.front().map(|run| run.base)
    }

    /// The run in a frame.
    pub(crate) fn in_frame(&self, frame: FrameSequence) -> impl Iterator<Item = &Run> {
        let first = self.0.partition_point(|run| run.frame < frame);
        self.0.range(first..).take_while(move |run| run.frame == frame)
    }

    /// Bytes of the batches from an offset on.
    pub(crate) fn bytes_from(&self, from: Offset) -> u64 {
        self.from(from).map(|run| u64::from(run.length_bytes)).sum()
    }

    /// The runs from the one that holds `from`, or the first behind it, on.
    pub(crate) fn from(&self, from: Offset) -> impl Iterator<Item = &Run> {
        let first = self.0.partition_point(|run| run.end <= from);
        self.0.range(first..)
    }

    /// Forgets the runs of a frame, which is the oldest one.
    pub(crate) fn forget(&mut self, frame: FrameSequence) {
        while self.0.front().is_some_and(|run| run.frame <= frame) {
            self.0.pop_front();
        }
    }

    /// Cuts off everything at and past `offset`, which begins a batch.
    pub(crate) fn truncate(&mut self, offset: Offset) {
        while self.0.back().is_some_and(|run| run.base >= offset) {
            self.0.pop_back();
        }
        if let Some(last) = self.0.back_mut()
            && last.end > offset
        {
            last.end = offset;
            last.is_cut = true;
        }
    }
}

/// A frame that is in memory or not destaged.
pub(crate) struct Frame {
    pub(crate) location: FrameLocation,
    pub(crate) length_bytes: u32,
    /// Its CRC, which the next one names.
    pub(crate) crc: u32,
    bytes: Option<Bytes>,
    /// The partitions with batches in it.
    pub(crate) slots: Vec<PartitionSlot>,
}

impl Frame {
    /// A frame that is in memory.
    pub(crate) fn new(
        location: FrameLocation,
        length_bytes: u32,
        crc: u32,
        bytes: Bytes,
        slots: Vec<PartitionSlot>,
    ) -> Self {
        Self { location, length_bytes, crc, bytes: Some(bytes), slots }
    }

    /// Where the next frame begins, if in the same file.
    pub(crate) fn end(&self) -> FrameLocation {
        FrameLocation {
            file: self.location.file,
            position: self.location.position + u64::from(self.length_bytes),
        }
    }
}

/// The frames of a shard.
pub(crate) struct Tail {
    /// The number of the first frame remembered.
    first: FrameSequence,
    frames: VecDeque<Frame>,
    /// From here on frames are in memory.
    cached_from: FrameSequence,
    cached_bytes: usize,
    cached_bytes_max: usize,
    /// All frames below are destaged, and the checkpoints say so.
    destaged_below: FrameSequence,
    undestaged_bytes: u64,
}

impl Tail {
    pub(crate) fn new(first: FrameSequence, cached_bytes_max: usize) -> Self {
        Self {
            first,
            frames: VecDeque::new(),
            cached_from: first,
            cached_bytes: 0,
            cached_bytes_max,
            destaged_below: first,
            undestaged_bytes: 0,
        }
    }

    /// The number of the next frame.
    pub(crate) fn end(&self) -> FrameSequence {
        FrameSequence(self.first.0 + self.frames.len() as u64)
    }

    /// Lets numbers go unused, after damage: nothing points to such a frame.
    pub(crate) fn skip_lost(&mut self, until: FrameSequence) {
        while self.end() < until {
            self.push(self.end(), Frame::new(FrameLocation::default(), 0, 0, Bytes::new(), Vec::new()));
        }
    }

    /// Adds a frame that was sealed, or found at a restart.
    pub(crate) fn push(&mut self, sequence: FrameSequence, frame: Frame) {
        assert_eq!(sequence, self.end(), "frames are numbered without gaps");
        self.cached_bytes += frame.bytes.as_ref().map_or(0, Bytes::len);
        self.undestaged_bytes += u64::from(frame.length_bytes);
        self.frames.push_back(frame);
    }

    /// Says which partitions have batches in a frame that was found before they were known.
    pub(crate) fn set_slots(&mut self, sequence: FrameSequence, slots: Vec<PartitionSlot>) {
        let index = self.index(sequence);
        self.frames[index].slots = slots;
    }

    fn index(&self, sequence: FrameSequence) -> usize {
        assert!(sequence >= self.first);
        usize::try_from(sequence.0 - self.first.0).expect("a remembered frame")
    }

    pub(crate) fn frame(&self, sequence: FrameSequence) -> &Frame {
        &self.frames[self.index(sequence)]
    }

    /// A frame's bytes, if they are in memory.
    pub(crate) fn bytes(&self, sequence: FrameSequence) -> Option<&Bytes> {
        self.remembered(sequence)?.bytes.as_ref()
    }

    /// A frame, unless it is forgotten.
    pub(crate) fn remembered(&self, sequence: FrameSequence) -> Option<&Frame> {
        (sequence >= self.first).then(|| self.frame(sequence))
    }

    /// Makes room in memory: the oldest frames go, but none that is not synced yet.
    pub(crate) fn evict(&mut self, synced_below: FrameSequence) {
        while self.cached_bytes > self.cached_bytes_max && self.cached_from < synced_below {
            let index = self.index(self.cached_from);
            let bytes = self.frames[index].bytes.take().expect("frames in memory are the last ones");
            self.cached_bytes -= bytes.len();
            self.cached_from = self.cached_from.next();
        }
    }

    /// Says that all frames below are destaged.
    pub(crate) fn set_destaged_below(&mut self, below: FrameSequence) {
        assert!(below >= self.destaged_below);
        assert!(below <= self.end());
        for sequence in self.destaged_below.0..below.0 {
            self.undestaged_bytes -= u64::from(self.frame(FrameSequence(sequence)).length_bytes);
        }
        self.destaged_below = below;
    }

    pub(crate) fn destaged_below(&self) -> FrameSequence {
        self.destaged_below
    }

    /// Forgets the oldest frame, if it is destaged and not in memory: its number and its partitions.
    pub(crate) fn forget(&mut self) -> Option<(FrameSequence, Vec<PartitionSlot>)> {
        if self.first >= self.destaged_below || self.first >= self.cached_from {
            return None;
        }
        let frame = self.frames.pop_front()?;
        let sequence = self.first;
        self.first = sequence.next();
        Some((sequence, frame.slots))
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Bytes of the frames that are not destaged.
    pub(crate) fn undestaged_bytes(&self) -> u64 {
        self.undestaged_bytes
    }
}

/// What a reader wants of the batches of one run or segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: Offset,
    /// No batch that ends past it.
    pub(crate) limit: Offset,
    pub(crate) bytes_max: usize,
    /// At least one batch, even where it is longer than `bytes_max`.
    pub(crate) at_least_one: bool,
}

/// Finds the part of `run` (the bytes of consecutive batches) that is wanted: its range, and the offset behind it.
pub(crate) fn select(run: &[u8], wanted: Wanted) -> (std::ops::Range<usize>, Offset) {
    let mut position = 0;
    let mut range: Option<std::ops::Range<usize>> = None;
    let mut next = wanted.from;
    for batch in batches(run) {
        let start = position;
        position += batch.length_bytes();
        if batch.end_offset() <= wanted.from {
            continue;
        }
        if batch.end_offset() > wanted.limit {
            break;
        }
        let (begin, is_first) = range.as_ref().map_or((start, true), |range| (range.start, false));
        if position - begin > wanted.bytes_max && !(is_first && wanted.at_least_one) {
            break;
        }
        range = Some(begin..position);
        next = batch.end_offset();
    }
    (range.unwrap_or(0..0), next)
}

/// The first batch in `run` that is wanted by `test`, and ends by `limit`.
pub(crate) fn find_batch(
    run: &Bytes,
    limit: Offset,
    mut test: impl FnMut(BatchView<'_>) -> bool,
) -> Option<Bytes> {
    let mut position = 0;
    for batch in batches(run) {
        let start = position;
        position += batch.length_bytes();
        if batch.end_offset() > limit {
            break;
        }
        if test(batch) {
            return Some(run.slice(start..position));
        }
    }
    None
}

#[cfg(test)]
mod tests;

//! Walking over the batches of a segment file by their headers, and writing to one in blocks.

use std::io;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use protocol::types::Offset;

use super::header::{BatchPlace, HEADER_BYTES};
use crate::disk::{Disk, DiskFile, IoBuffer, SharedBuffer, buffer::size_class_below};
use crate::limits::{BUFFER_ALIGN_BYTES, SEGMENT_WRITE_BYTES};

/// What a segment is padded with to the end of its last block. Read as a length it is one that no file has: Kafka's
/// tools, and we, take what begins there for a batch that was not written to its end.
pub(super) const PADDING: u8 = 0x7f;

/// A segment as one look at it goes: it may grow meanwhile, and what is here stays.
#[derive(Clone, Copy)]
pub(super) struct SegmentView {
    pub(super) base: Offset,
    /// No batch in it ends past this, and one that ends here is the last.
    pub(super) end: Offset,
    pub(super) size_bytes: u64,
}

/// One step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Batch {
        position: u64,
        place: BatchPlace,
    },
    /// The walk is at the end it was given.
    End,
    /// What stands here is no batch that can be.
    Damage,
}

/// A walk over the batches of one file, header by header. Bodies are skipped, not read, where they are long.
pub(super) struct Walk<'a, F> {
    file: &'a F,
    position: u64,
    end: u64,
    /// No batch may begin below.
    offset_min: Offset,
    /// No batch may end past it.
    offset_end: Offset,
    read_bytes: usize,
    chunk: Bytes,
    chunk_position: u64,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    /// From a batch's position to the end of the batches, reading so many bytes at once.
    pub(super) fn new(file: &'a F, position: u64, view: SegmentView, read_bytes: usize) -> Self {
        let SegmentView { base: offset_min, end: offset_end, size_bytes: end } = view;
        assert!(position <= end);
        assert!(read_bytes >= HEADER_BYTES);
        let chunk = Bytes::new();
        Self { file, position, end, offset_min, offset_end, read_bytes, chunk, chunk_position: position }
    }

    /// Where the next batch would begin.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The offset that the next batch begins at or after.
    pub(super) fn offset(&self) -> Offset {
        self.offset_min
    }

    pub(super) async fn next(&mut self) -> io::Result<Step> {
        if self.position == self.end {
            return Ok(Step::End);
        }
        let header = self.bytes(self.position, HEADER_BYTES).await?;
        let Some(place) = BatchPlace::parse(&header) else { return Ok(Step::Damage) };
        let in_order = place.base >= self.offset_min && place.next() <= self.offset_end;
        let left_bytes = self.end - self.position;
        // What ends with the segment's last offset ends with its last byte.
        let is_cut_short = place.next() == self.offset_end && place.size_bytes != left_bytes;
        if !in_order || is_cut_short || place.size_bytes > left_bytes {
            return Ok(Step::Damage);
        }
        let position = self.position;
        self.position += place.size_bytes;
        self.offset_min = place.next();
        Ok(Step::Batch { position, place })
    }

    /// Some bytes of the file, from what has been read where possible; fewer at the end of the walk.
    pub(super) async fn bytes(&mut self, position: u64, length: usize) -> io::Result<Bytes> {
        let length = length.min(self.left(position));
        if let Some(bytes) = self.read_already(position, length) {
            return Ok(bytes);
        }
        let wanted = self.read_bytes.max(length).min(self.left(position));
        self.chunk = self.file.read_at(position, wanted).await?;
        self.chunk_position = position;
        let there = self.chunk.len().min(length);
        Ok(self.chunk.slice(..there))
    }

    /// What has been read from a position on; empty where nothing has.
    pub(super) fn read_from(&self, position: u64) -> Bytes {
        let skipped =
            position.checked_sub(self.chunk_position).and_then(|skipped| usize::try_from(skipped).ok());
        match skipped.filter(|&skipped| skipped < self.chunk.len()) {
            Some(skipped) => self.chunk.slice(skipped..),
            None => Bytes::new(),
        }
    }

    fn read_already(&self, position: u64, length: usize) -> Option<Bytes> {
        let there = self.read_from(position);
        (there.len() >= length).then(|| there.slice(..length))
    }

    fn left(&self, position: u64) -> usize {
        usize::try_from(self.end - position).unwrap_or(usize::MAX)
    }
}

/// What is written to.
pub(super) enum Target<'a, F> {
    Open(Rc<F>),
    /// A file that need not be open, for small writes.
    Named(&'a Path),
}

impl<F: DiskFile> Target<'_, F> {
    async fn write<D: Disk<File = F>>(
        &self,
        disk: &D,
        buffer: &SharedBuffer,
        position: u64,
        begin: u64,
    ) -> io::Result<()> {
        match self {
            Self::Open(file) => file.write_at(buffer, position).await,
            Self::Named(path) => disk.write_small(path, buffer, position, begin).await,
        }
    }
}

/// Writes pieces end to end from a position at a block's beginning, padded to the end of the last block. Returns what
/// is in the last block where that is not full: whoever writes on writes it again.
pub(super) async fn write_pieces<D: Disk>(
    disk: &D,
    target: &Target<'_, D::File>,
    mut position: u64,
    pieces: &[&[u8]],
    padding: u8,
) -> io::Result<Vec<u8>> {
    let block = disk.block_bytes();
    // Buffers are whole pages: with smaller blocks, a page's end is padding like any other.
    assert!(block <= BUFFER_ALIGN_BYTES);
    assert!(position.is_multiple_of(u64::try_from(block).expect("small")));
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut source = pieces.iter().copied();
    let mut piece: &[u8] = &[];
    let (begin, mut left, mut last) = (position, total, Vec::new());
    while left > 0 {
        let room = size_class_below(left.next_multiple_of(BUFFER_ALIGN_BYTES).min(SEGMENT_WRITE_BYTES));
        let mut buffer = IoBuffer::allocate(room);
        let filled = room.min(left);
        let mut at = 0;
        while at < filled {
            if piece.is_empty() {
                piece = source.next().expect("the pieces are as long as their sum");
            }
            let count = piece.len().min(filled - at);
            buffer[at..at + count].copy_from_slice(&piece[..count]);
            piece = &piece[count..];
            at += count;
        }
        left -= filled;
        last = buffer[filled - filled % block..filled].to_vec();
        target.write(disk, &buffer.freeze_padded(filled, padding), position, begin).await?;
        position += u64::try_from(filled).expect("usize has at most 64 bits");
    }
    Ok(last)
}

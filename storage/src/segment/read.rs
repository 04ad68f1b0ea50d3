//! Reads: an index lookup, then one direct read, of which whole batches are sliced without copying.

use protocol::types::Offset;

use super::header::BatchPlace;
use super::index::{Found, OffsetEntry, find_last_in_file};
use super::log::PartitionLog;
use super::names::FileKind;
use super::walk::{SegmentView, Step, Walk};
use super::{ReadBatches, SegmentError};
use crate::disk::Disk;
use crate::limits::{READ_CURSORS, SEGMENT_READ_BYTES_MAX, SEGMENT_READ_BYTES_MIN};

/// Where the last reads of a partition stopped: whoever reads on needs no lookup.
#[derive(Default)]
pub(super) struct Cursors {
    places: [Option<Cursor>; READ_CURSORS],
    next: usize,
}

#[derive(Clone, Copy)]
struct Cursor {
    next: Offset,
    base: Offset,
    position: u64,
}

impl Cursors {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the position of an offset in a segment, if a read stopped there.
    fn take(&mut self, base: Offset, offset: Offset) -> Option<u64> {
        let fits = |cursor: &Cursor| cursor.base == base && cursor.next == offset;
        self.places
            .iter_mut()
            .find_map(|place| place.take_if(|cursor| fits(cursor)))
            .map(|cursor| cursor.position)
    }

    fn put(&mut self, cursor: Cursor) {
        self.places[self.next] = Some(cursor);
        self.next = (self.next + 1) % self.places.len();
    }
}

impl<D: Disk> PartitionLog<D> {
    /// Reads whole batches from the one that contains `from`, none that begins at or past `limit`, `bytes_max` bytes
    /// at most but at least one batch. Empty where there is none. May return less than there is: read on at `next`. The
    /// end of a segment alone does not end a read: what compaction has left of one may be a single empty batch, and
    /// clients take an answer without a record, time and again, for a batch too large for them.
    ///
    /// # Errors
    /// `OutOfRange` below the first segment; `Corrupt` where the segment is not what was written; what the disk says.
    pub async fn read(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, SegmentError> {
        loop {
            let cuts = self.cuts.get();
            let outcome = self.read_uncut(from, limit, bytes_max).await;
            if cuts == self.cuts.get() {
                return outcome;
            }
        }
    }

    async fn read_uncut(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, SegmentError> {
        let (cuts, limit) = (self.cuts.get(), limit.min(self.end()));
        let bytes_max = bytes_max.min(SEGMENT_READ_BYTES_MAX);
        if from < self.start() {
            return Err(SegmentError::OutOfRange { offset: from, start: self.start(), end: self.end() });
        }
        let mut found = ReadBatches { next: from, ..ReadBatches::default() };
        let mut offset = from;
        while offset < limit {
            let (view, next) = self.view_at(offset);
            let place = (view, next.is_none());
            let is_over = match self.read_segment(place, offset, limit, bytes_max, &mut found).await {
                Ok(is_over) => is_over,
                // The read that begins with it meets it.
                Err(_) if !found.chunks.is_empty() => break,
                Err(error) => return Err(error),
            };
            // After a cut the next segment may be gone, and the caller looks again.
            let has_room = found.chunks.is_empty() || found.bytes < bytes_max;
            let goes_on = is_over && has_room && self.cuts.get() == cuts;
            match next {
                Some(base) if goes_on => offset = base,
                _ => break,
            }
        }
        Ok(found)
    }

    /// The segment that has an offset, and the base of the next one.
    pub(super) fn view_at(&self, offset: Offset) -> (SegmentView, Option<Offset>) {
        let state = self.state.borrow();
        let after = state.segments.partition_point(|segment| segment.base <= offset);
        let segment =
            &state.segments[after.checked_sub(1).expect("the offset is not below the first segment")];
        let next = state.segments.get(after).map(|next| next.base);
        let end = next.unwrap_or(state.end);
        (SegmentView { base: segment.base, end, size_bytes: segment.size_bytes }, next)
    }

    /// A segment, if it is still there.
    pub(super) fn view_of(&self, base: Offset) -> Option<SegmentView> {
        let there = base >= self.start();
        there.then(|| self.view_at(base).0).filter(|view| view.base == base)
    }

    /// As [`PartitionLog::read`], from one segment, which may be the last, behind what other segments gave. Whether the
    /// segment has no batch behind what was read: it may still have offsets there that no batch has any more.
    async fn read_segment(
        &self,
        (view, is_last): (SegmentView, bool),
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        found: &mut ReadBatches,
    ) -> Result<bool, SegmentError> {
        if view.size_bytes == 0 {
            return Ok(true);
        }
        let cuts = self.cuts.get();
        let room_bytes = bytes_max.saturating_sub(found.bytes);
        let known = self.cursors.borrow_mut().take(view.base, from);
        let file = self.file(view.base, FileKind::Log).await?;
        let slack = if known.is_some() { 0 } else { to_usize(self.config.get().index_interval_bytes) };
        let read_bytes =
            room_bytes.saturating_add(slack).clamp(SEGMENT_READ_BYTES_MIN, SEGMENT_READ_BYTES_MAX);
        let (mut walk, step) = match known {
            Some(position) => {
                let behind = SegmentView { base: from, ..view };
                let mut walk = Walk::new(&*file, position, behind, read_bytes);
                let step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
                (walk, step)
            }
            None => self.walk_from(&*file, view, from, read_bytes).await?,
        };
        let Some((position, first)) = self.walk_to(view, &mut walk, step, from).await? else {
            return Ok(true);
        };
        let fits = found.chunks.is_empty() || to_usize(first.size_bytes) <= room_bytes;
        if first.base >= limit || !fits {
            return Ok(false);
        }
        let batches = self.collect(view, &mut walk, (position, first), limit, room_bytes).await?;
        let end = position + as_u64(batches.bytes);
        let is_over = end >= view.size_bytes;
        // Behind a closed segment another one is read on in; after a cut, another batch may stand here, or none.
        if (is_last || !is_over) && self.cuts.get() == cuts {
            self.cursors.borrow_mut().put(Cursor { next: batches.next, base: view.base, position: end });
        }
        found.go_on_with(batches);
        Ok(is_over)
    }

    /// Slices whole batches out of what one read brings.
    async fn collect(
        &self,
        view: SegmentView,
        walk: &mut Walk<'_, D::File>,
        (position, first): (u64, BatchPlace),
        limit: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, SegmentError> {
        let mut length = to_usize(first.size_bytes);
        if walk.read_from(position).len() < length {
            walk.bytes(position, length).await.map_err(self.error(view.base, FileKind::Log))?;
        }
        let chunk = walk.read_from(position);
        if chunk.len() < length {
            return Err(self.corrupt(view.base, position, first.base));
        }
        let mut next = first.next();
        let mut has_native = first.is_native;
        // Whatever is no batch here is met by the read that begins with it.
        while let Some(place) = BatchPlace::parse(&chunk[length..]) {
            let end = length.saturating_add(to_usize(place.size_bytes));
            if place.base < next || place.base >= limit || end > bytes_max.min(chunk.len()) {
                break;
            }
            length = end;
            next = place.next();
            has_native |= place.is_native;
        }
        Ok(ReadBatches { chunks: vec![chunk.slice(..length)], bytes: length, next, has_native })
    }

    /// A walk that begins at or before the batch of an offset, with its first step made. An index entry that leads to
    /// anything but its batch is not believed, nor any other of its index: then the walk begins at the beginning.
    pub(super) async fn walk_from<'a>(
        &self,
        file: &'a D::File,
        view: SegmentView,
        offset: Offset,
        read_bytes: usize,
    ) -> Result<(Walk<'a, D::File>, Step), SegmentError> {
        let error = self.error(view.base, FileKind::Log);
        if let Some(entry) = self.find_offset_entry(view, offset).await? {
            let position = u64::try_from(entry.position).ok().filter(|&position| position < view.size_bytes);
            if let Some(position) = position {
                let mut walk = Walk::new(file, position, view, read_bytes);
                let step = walk.next().await.map_err(&error)?;
                let last = view.base.plus(i64::from(entry.relative_offset));
                if matches!(step, Step::Batch { place, .. } if place.last == last) {
                    return Ok((walk, step));
                }
            }
            self.suspect_index(view.base);
        }
        let mut walk = Walk::new(file, 0, view, read_bytes);
        let step = walk.next().await.map_err(&error)?;
        Ok((walk, step))
    }

    /// The last entry of the offset index at or before an offset.
    async fn find_offset_entry(
        &self,
        view: SegmentView,
        offset: Offset,
    ) -> Result<Option<OffsetEntry>, SegmentError> {
        let found = match self.state.borrow_mut().segment_mut(view.base) {
            Some(segment) => segment.offsets.find_last(before(view, offset)),
            None => Found::Nothing,
        };
        self.search_offsets(view, found, offset).await
    }

    /// Goes on with a search in the file of an offset index, where it has not ended in memory.
    pub(super) async fn search_offsets(
        &self,
        view: SegmentView,
        found: Found<OffsetEntry>,
        offset: Offset,
    ) -> Result<Option<OffsetEntry>, SegmentError> {
        match found {
            Found::Entry(entry) => Ok(Some(entry)),
            Found::Nothing => Ok(None),
            Found::InFile(count) => {
                let file = self.file(view.base, FileKind::OffsetIndex).await?;
                let found = find_last_in_file(&*file, count, before(view, offset)).await;
                found.map_err(self.error(view.base, FileKind::OffsetIndex))
            }
        }
    }

    pub(super) fn suspect_index(&self, base: Offset) {
        let mut state = self.state.borrow_mut();
        let closed = state.last().base != base;
        let Some(segment) = state.segment_mut(base) else { return };
        if !std::mem::replace(&mut segment.index_suspect, true) {
            tracing::warn!(file = %self.path(base, FileKind::OffsetIndex).display(), "the index is damaged");
        }
        // The next sync rebuilds it.
        if closed && !state.closed_unsynced.contains(&base) {
            state.closed_unsynced.push(base);
        }
    }

    /// Walks on to the batch that contains an offset or, where none does any more, the first one after it.
    async fn walk_to(
        &self,
        view: SegmentView,
        walk: &mut Walk<'_, D::File>,
        mut step: Step,
        offset: Offset,
    ) -> Result<Option<(u64, BatchPlace)>, SegmentError> {
        loop {
            match step {
                Step::Batch { place, position } if place.last >= offset => {
                    return Ok(Some((position, place)));
                }
                Step::Batch { .. } => (),
                Step::End => return Ok(None),
                Step::Damage => return Err(self.corrupt(view.base, walk.position(), walk.offset())),
            }
            step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
        }
    }

    pub(super) fn corrupt(&self, base: Offset, position: u64, offset: Offset) -> SegmentError {
        SegmentError::Corrupt { file: self.path(base, FileKind::Log), position, offset }
    }
}

/// Whether an entry's batch ends at or before an offset.
pub(super) fn before(view: SegmentView, offset: Offset) -> impl Fn(&OffsetEntry) -> bool {
    let relative = i32::try_from(offset.since(view.base)).unwrap_or(i32::MAX);
    move |entry| entry.relative_offset <= relative
}

pub(super) fn to_usize(value: impl TryInto<usize>) -> usize {
    value.try_into().unwrap_or(usize::MAX)
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).expect("usize has at most 64 bits")
}

//! Appending: batches are grouped by the segment they go to, and each group is one run of big aligned writes.
//!
//! The run begins at the last block that is not full, with the bytes that are in it already, and ends padded to a
//! block. State in memory changes when a group is written, so after an error the log is what it was before that group.

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};

use super::SegmentError;
use super::config::LogConfig;
use super::header::BatchPlace;
use super::index::{OffsetEntry, TimeEntry};
use super::log::{Active, Latest, PartitionLog, Segment, State};
use super::names::FileKind;
use super::walk::{PADDING, SegmentView, write_pieces};
use crate::disk::{Disk, DiskFile};
use crate::limits::{SEGMENT_ALLOCATE_BYTES_MAX, SEGMENT_ALLOCATE_BYTES_MIN};

/// One batch to append.
struct Piece<'a> {
    place: BatchPlace,
    bytes: &'a [u8],
}

impl<D: Disk> PartitionLog<D> {
    /// Appends whole batches, in order; each `Bytes` holds one or more. Durable after [`PartitionLog::sync`].
    ///
    /// # Errors
    /// `StorageFull`, and a file that could not be opened because too many are, leave the log whole:
    /// [`PartitionLog::end`] tells which batches are in, and the rest may be appended later. After any other error the
    /// process must stop.
    ///
    /// # Panics
    /// If what is appended is not batches, or not past the end.
    pub async fn append(&self, batches: &[Bytes]) -> Result<(), SegmentError> {
        let _writing = self.begin_writing();
        let pieces = split(batches, self.end());
        let mut rest = &pieces[..];
        while let Some(first) = rest.first() {
            if self.must_roll(first.place).await? {
                self.roll(first.place.base).await?;
            }
            let (group, behind) = rest.split_at(self.group_length(rest));
            self.append_group(group).await?;
            rest = behind;
        }
        Ok(())
    }

    async fn must_roll(&self, place: BatchPlace) -> Result<bool, SegmentError> {
        if self.state.borrow().last().size_bytes == 0 {
            return Ok(self.state.borrow().last().relative(place.last).is_none());
        }
        let first_timestamp = self.first_timestamp().await?;
        let state = self.state.borrow();
        let config = self.config.get();
        let full = state.last().offsets.count() >= index_entries_max(&config);
        Ok(full || rolls(&config, state.last(), state.last().size_bytes, first_timestamp, place))
    }

    /// How many of the pieces, the first included, go to the active segment as it is.
    fn group_length(&self, pieces: &[Piece<'_>]) -> usize {
        let state = self.state.borrow();
        let (config, last) = (self.config.get(), state.last());
        let first_timestamp = last.first_timestamp.unwrap_or(pieces[0].place.max_timestamp);
        let entries_left = index_entries_max(&config).saturating_sub(last.offsets.count()).max(1);
        let mut size_bytes = last.size_bytes + pieces[0].place.size_bytes;
        let mut length = 1;
        for piece in pieces[1..].iter().take(usize::try_from(entries_left - 1).expect("32 bits fit")) {
            if rolls(&config, last, size_bytes, first_timestamp, piece.place) {
                break;
            }
            size_bytes += piece.place.size_bytes;
            length += 1;
        }
        length
    }

    /// The largest timestamp of the active segment's first batch: the span of time begins there.
    async fn first_timestamp(&self) -> Result<Timestamp, SegmentError> {
        let base = self.last_view().base;
        Ok(self.load_first_timestamp(base).await?.expect("the segment has a batch"))
    }

    pub(super) fn last_view(&self) -> SegmentView {
        let state = self.state.borrow();
        SegmentView { base: state.last().base, end: state.end, size_bytes: state.last().size_bytes }
    }

    async fn append_group(&self, group: &[Piece<'_>]) -> Result<(), SegmentError> {
        let base = self.prepare_active().await?;
        let tail = self.load_tail().await?;
        self.load_index_tails().await?;
        let size = self.state.borrow().last().size_bytes;
        let added: u64 = group.iter().map(|piece| piece.place.size_bytes).sum();
        self.allocate_ahead(base, size + added).await?;
        let position = size - u64::try_from(tail.len()).expect("less than a block");
        let pieces: Vec<&[u8]> =
            std::iter::once(tail.as_slice()).chain(group.iter().map(|piece| piece.bytes)).collect();
        let path = self.path(base, FileKind::Log);
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let target = self.target(base, FileKind::Log, &path, length).await?;
        let written = write_pieces(self.files.disk(), &target, position, &pieces, PADDING).await;
        let tail = written.map_err(self.error(base, FileKind::Log))?;
        let interval = u64::from(self.config.get().index_interval_bytes);
        let mut state = self.state.borrow_mut();
        group.iter().for_each(|piece| state.add_batch(piece.place, interval));
        state.active.tail = Some(tail);
        state.log_unsynced = true;
        Ok(())
    }

    /// Makes the directory for the active segment's file, where that is not there: the first write makes it.
    async fn prepare_active(&self) -> Result<Offset, SegmentError> {
        let (base, exists, directory_new) = {
            let state = self.state.borrow();
            (state.last().base, state.last().exists, state.directory_new)
        };
        if !exists {
            if directory_new {
                let created = self.files.disk().create_directory(&self.directory).await;
                created.map_err(|error| self.directory_error(error))?;
            }
            let mut state = self.state.borrow_mut();
            state.last_mut().exists = true;
            state.names_unsynced = true;
        }
        Ok(base)
    }

    /// The bytes in the last block where that is not full.
    async fn load_tail(&self) -> Result<Vec<u8>, SegmentError> {
        if let Some(tail) = &self.state.borrow().active.tail {
            return Ok(tail.clone());
        }
        let (base, size) = {
            let state = self.state.borrow();
            (state.last().base, state.last().size_bytes)
        };
        let block = u64::try_from(self.files.disk().block_bytes()).expect("small");
        let length = usize::try_from(size % block).expect("less than a block");
        if length == 0 {
            return Ok(Vec::new());
        }
        let file = self.file(base, FileKind::Log).await?;
        let position = size - size % block;
        let tail = file.read_at(position, length).await.map_err(self.error(base, FileKind::Log))?;
        if tail.len() != length {
            let offset = self.end();
            return Err(SegmentError::Corrupt { file: self.path(base, FileKind::Log), position, offset });
        }
        Ok(tail.to_vec())
    }

    /// Allocates space ahead, so that a segment lies in few pieces. A full disk is met by the write, if at all.
    async fn allocate_ahead(&self, base: Offset, size: u64) -> Result<(), SegmentError> {
        let allocated = self.state.borrow().active.allocated_bytes;
        if size <= allocated || size < SEGMENT_ALLOCATE_BYTES_MIN {
            return Ok(());
        }
        let ahead = size.min(SEGMENT_ALLOCATE_BYTES_MAX);
        let wanted = (size + ahead).min(self.config.get().segment_bytes_effective()).max(size);
        let file = self.file_created(base, FileKind::Log).await?;
        match file.allocate(wanted, false).await {
            Ok(()) => self.state.borrow_mut().active.allocated_bytes = wanted,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => (),
            Err(error) => return Err(self.error(base, FileKind::Log)(error)),
        }
        Ok(())
    }

    /// Closes the active segment and begins one at an offset.
    pub(super) async fn roll(&self, base: Offset) -> Result<(), SegmentError> {
        let (old, size, exists) = {
            let state = self.state.borrow();
            (state.last().base, state.last().size_bytes, state.last().exists)
        };
        assert!(base >= self.end());
        if size > 0 {
            self.finish_active().await?;
        } else if exists {
            self.remove_files(old).await?;
        }
        let mut state = self.state.borrow_mut();
        if size > 0 {
            state.closed_unsynced.push(old);
        } else {
            state.segments.pop_back();
        }
        state.segments.push_back(Segment::empty(base));
        state.active = Active { tail: Some(Vec::new()), ..Active::default() };
        state.log_unsynced = false;
        state.index_unsynced = false;
        state.names_unsynced = true;
        Ok(())
    }

    /// Completes the active segment's indexes and cuts all its files to their length.
    pub(super) async fn finish_active(&self) -> Result<(), SegmentError> {
        self.finish_indexes().await?;
        self.write_indexes(1).await?;
        self.cut_files().await
    }

    /// Enters what a closed segment's indexes end with.
    pub(super) async fn finish_indexes(&self) -> Result<(), SegmentError> {
        self.load_index_tails().await?;
        self.state.borrow_mut().index_latest();
        Ok(())
    }

    /// Cuts the active segment's files to what they hold, the indexes being written.
    pub(super) async fn cut_files(&self) -> Result<(), SegmentError> {
        let (base, size, offsets, times) = {
            let state = self.state.borrow();
            let last = state.last();
            (last.base, last.size_bytes, last.offsets.file_bytes(), last.times.file_bytes())
        };
        for (kind, length) in
            [(FileKind::TimeIndex, times), (FileKind::OffsetIndex, offsets), (FileKind::Log, size)]
        {
            let file = self.file_created(base, kind).await?;
            file.truncate(length).await.map_err(self.error(base, kind))?;
        }
        let mut state = self.state.borrow_mut();
        let last = state.last_mut();
        last.offsets.unload_tail();
        last.times.unload_tail();
        state.active.allocated_bytes = size;
        state.names_unsynced = true;
        Ok(())
    }
}

impl State {
    /// Enters a batch that stands at the end of the active segment. Kafka's rule: a batch is indexed when more than
    /// the interval has gone by since the last one that was, and the time index goes with it.
    pub(super) fn add_batch(&mut self, place: BatchPlace, interval_bytes: u64) {
        assert!(place.base >= self.end);
        let Self { segments, active, end, .. } = self;
        let last = segments.back_mut().expect("there is always a last segment");
        let relative = last.relative(place.last).expect("the segment was rolled before");
        if last.size_bytes == 0 {
            last.first_timestamp = Some(place.max_timestamp);
        }
        if place.max_timestamp > last.latest.map_or(Timestamp(-1), |latest| latest.timestamp) {
            last.latest = Some(Latest { timestamp: place.max_timestamp, offset: place.last });
        }
        let index_due = active.unindexed_bytes > interval_bytes;
        if index_due {
            let position = i32::try_from(last.size_bytes).expect("a segment is shorter than 2 GiB");
            last.offsets.push(OffsetEntry { relative_offset: relative, position });
            active.unindexed_bytes = 0;
        }
        last.size_bytes += place.size_bytes;
        active.unindexed_bytes += place.size_bytes;
        *end = place.next();
        if index_due {
            self.index_latest();
        }
    }

    /// Enters the largest timestamp in the time index, unless it is there.
    pub(super) fn index_latest(&mut self) {
        let Self { segments, active, .. } = self;
        let last = segments.back_mut().expect("there is always a last segment");
        let Some(latest) = last.latest else { return };
        if active.indexed_timestamp.is_none_or(|indexed| latest.timestamp > indexed) {
            let relative_offset = last.relative(latest.offset).expect("it is in the segment");
            last.times.push(TimeEntry { timestamp: latest.timestamp, relative_offset });
            active.indexed_timestamp = Some(latest.timestamp);
        }
    }
}

/// Whether a batch may not follow `size_bytes` bytes in a segment.
fn rolls(
    config: &LogConfig,
    segment: &Segment,
    size_bytes: u64,
    first_timestamp: Timestamp,
    place: BatchPlace,
) -> bool {
    let too_long = size_bytes + place.size_bytes > config.segment_bytes_effective();
    let span_ms = place.max_timestamp.get().saturating_sub(first_timestamp.get());
    let too_late = first_timestamp.get() >= 0 && span_ms > config.segment_ms;
    let too_far = segment.relative(place.last).is_none();
    too_long || too_late || too_far
}

fn index_entries_max(config: &LogConfig) -> u32 {
    // The longer entries decide; one is kept for the last timestamp.
    (config.segment_index_bytes / 12).max(2) - 1
}

/// The batches one by one.
fn split(batches: &[Bytes], end: Offset) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut offset_min = end;
    for bytes in batches {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let place = BatchPlace::parse(rest).expect("what is destaged was checked when it was produced");
            assert!(place.base >= offset_min, "batch at {} is below the end {offset_min}", place.base);
            let length = usize::try_from(place.size_bytes).expect("less than 2 GiB");
            let (batch, behind) = rest.split_at(length);
            pieces.push(Piece { place, bytes: batch });
            offset_min = place.next();
            rest = behind;
        }
    }
    pieces
}

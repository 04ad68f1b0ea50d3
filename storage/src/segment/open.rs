//! Opening: the log is cut at the offset that the checkpoint vouches for, and what is left is found without reading
//! it: closed segments by name and size, the last one by a walk from its last index entry.
//!
//! | what is there | what becomes of it |
//! | --- | --- |
//! | a directory of another topic (its identity file says so) | retired: it belongs to a deleted namesake |
//! | a segment that begins at or past the cut | removed, last first |
//! | any segment, where the log's start is at or past the cut | removed, last first |
//! | a segment that ends at or before the log's start | removed |
//! | an index without its segment | removed |
//! | a segment that was being compacted | removed |
//! | a compacted segment that is to take others' place | it takes it ([`super::replace`]), before anything else |
//! | the last segment, longer than the cut | cut, its index entries too; file and directory synced |
//! | the last segment, ending before the cut | `Corrupt`, with the first offset that is not there |
//! | no segment, or a first one past the log's start, where the cut says there are records | `Missing` |
//! | a closed segment with an index missing or of a length no index has | the index is rebuilt |
//! | the last segment's index, damaged or leading elsewhere than to its batch | rebuilt |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use protocol::types::{Offset, PartitionKey};

use super::SegmentError;
use super::config::LogConfig;
use super::files::OpenFiles;
use super::index::{Entry, Index, OffsetEntry, Rest, TimeEntry, parse_valid, read_valid};
use super::log::{Active, Latest, PartitionLog, Segment, State, retire_directory};
use super::names::{
    FileKind, IDENTITY_FILE, file_name, is_cleaned, parse_file_name, parse_identity, parse_swap_name,
};
use super::read::before;
use super::walk::{PADDING, SegmentView, Step, Target, Walk, write_pieces};
use crate::disk::{DirectoryEntry, Disk, DiskFile, Survey};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_READ_BYTES_MIN, SEGMENT_WALK_BYTES, SURVEYED_FILE_BYTES_MAX};

/// The files of a partition's directory, with their sizes.
#[derive(Default)]
struct Listing {
    logs: BTreeMap<Offset, u64>,
    indexes: BTreeMap<(Offset, FileKind), u64>,
    /// Compacted segments that are to take others' place, by the offsets between which those are.
    swaps: Vec<(Offset, Offset)>,
    /// Files of segments that were being compacted.
    aside: Vec<String>,
}

impl Listing {
    fn of(entries: &[DirectoryEntry]) -> Self {
        let mut listing = Self::default();
        for entry in entries {
            match parse_file_name(&entry.name) {
                Some((base, FileKind::Log)) => {
                    listing.logs.insert(base, entry.size_bytes);
                }
                Some(index) => {
                    listing.indexes.insert(index, entry.size_bytes);
                }
                None if is_cleaned(&entry.name) => listing.aside.push(entry.name.clone()),
                None => listing.swaps.extend(parse_swap_name(&entry.name)),
            }
        }
        listing
    }

    /// The length of an index, if it is one that the index can have.
    fn index_count<E: Entry>(&self, base: Offset) -> Option<u32> {
        let size = *self.indexes.get(&(base, E::KIND))?;
        let entry = u64::try_from(E::BYTES).expect("small");
        if size.is_multiple_of(entry) { u32::try_from(size / entry).ok() } else { None }
    }
}

/// What is read together with the directory: whose it is, and the indexes of the last segment.
fn choose_files(entries: &[DirectoryEntry]) -> Vec<usize> {
    let parsed = || entries.iter().enumerate().map(|(place, entry)| (place, parse_file_name(&entry.name)));
    let last = parsed().filter_map(|(_, name)| name).map(|(base, _)| base).max();
    let is_chosen = |place: usize, name: Option<(Offset, FileKind)>| match name {
        Some((base, kind)) => Some(base) == last && FileKind::INDEXES.contains(&kind),
        None => entries[place].name == IDENTITY_FILE,
    };
    parsed().filter(|(place, name)| is_chosen(*place, *name)).map(|(place, _)| place).collect()
}

/// The last segment as a walk has found it.
struct LastSegment {
    segment: Segment,
    active: Active,
    end: Offset,
    /// Where the walk ended, and why.
    damaged_at: Option<u64>,
    cut: bool,
}

impl<D: Disk> PartitionLog<D> {
    /// Opens a log, cut: nothing at or past `cut` is left, and everything from `log_start` to it is there. Where the
    /// log's start is at or past the cut, nothing needs to be there, and nothing is.
    ///
    /// # Errors
    /// `Missing` or `Corrupt` where records below the cut are not there; what the disk says.
    pub async fn open(
        files: &OpenFiles<D>,
        key: PartitionKey,
        directory: PathBuf,
        config: LogConfig,
        cut: Offset,
        log_start: Offset,
    ) -> Result<Self, SegmentError> {
        let log = Self::create(files, key, directory, config, cut);
        let (known, mut survey) = log.survey().await?;
        let mut listing = Listing::of(&survey.entries);
        let mut removed = !listing.aside.is_empty();
        if !listing.swaps.is_empty() {
            log.finish_replacements(&listing).await?;
            (_, survey) = log.survey().await?;
            listing = Listing::of(&survey.entries);
        }
        log.remove_aside(&listing.aside).await?;
        removed |= log.remove_orphans(&listing).await?;
        let past = if log_start < cut { cut } else { Offset(0) };
        removed |= log.remove_past(&mut listing, past).await?;
        removed |= log.remove_before(&mut listing, log_start).await?;
        let first = listing.logs.keys().next().copied();
        match first {
            Some(first) if first > log_start => return Err(log.missing(log_start, first)),
            None if cut > log_start => return Err(log.missing(log_start, cut)),
            _ => (),
        }
        let cut_back = match first {
            Some(_) => log.open_segments(&listing, &survey, cut).await?,
            None => false,
        };
        if removed || cut_back {
            let synced = files.disk().sync_directory(&log.directory).await;
            synced.map_err(|error| log.directory_error(error))?;
        }
        log.state.borrow_mut().directory_new = !known;
        Ok(log)
    }

    /// Removes all batches at or past an offset, durable when it returns. A batch that contains it goes, too.
    ///
    /// # Errors
    /// What the disk says: the process must stop.
    pub async fn truncate(&self, cut: Offset) -> Result<(), SegmentError> {
        if cut >= self.end() {
            return Ok(());
        }
        {
            let _writing = self.begin_writing();
            self.add_cut();
            self.remove_segments_past(cut).await?;
            self.truncate_last(cut).await?;
            self.add_cut();
        }
        self.sync().await
    }

    /// Removes the segments that begin at or past an offset, the last one first: what is left has no gap.
    async fn remove_segments_past(&self, cut: Offset) -> Result<(), SegmentError> {
        loop {
            let (base, exists) = {
                let mut state = self.state.borrow_mut();
                if state.last().base < cut || state.end == cut && state.last().base == cut {
                    return Ok(());
                }
                let last = state.segments.pop_back().expect("there is always a last segment");
                state.end = last.base.min(state.end);
                state.closed_unsynced.retain(|&base| base != last.base);
                if state.segments.is_empty() {
                    *state = State { directory_new: state.directory_new, ..State::empty(cut) };
                }
                state.names_unsynced |= last.exists;
                (last.base, last.exists)
            };
            if exists {
                self.remove_files(base).await?;
            }
        }
    }

    async fn truncate_last(&self, cut: Offset) -> Result<(), SegmentError> {
        // What is past the cut is as it was written, and is walked over, too.
        let view = SegmentView { end: Offset(i64::MAX), ..self.last_view() };
        if view.size_bytes == 0 {
            return Ok(());
        }
        self.install_last(view, cut).await
    }

    /// Finds the active segment anew from its files, with the indexes that these have or that its headers give.
    pub(super) async fn reload_last(&self) -> Result<(), SegmentError> {
        let end = self.end();
        self.install_last(self.last_view(), end).await?;
        if self.end() < end {
            let view = self.last_view();
            return Err(self.corrupt(view.base, view.size_bytes, self.end()));
        }
        Ok(())
    }

    async fn install_last(&self, view: SegmentView, cut: Offset) -> Result<(), SegmentError> {
        let last = self.recover_last(view, &Survey::default(), cut).await?;
        if let Some(position) = last.damaged_at {
            return Err(self.corrupt(view.base, position, last.end));
        }
        let mut state = self.state.borrow_mut();
        *state.last_mut() = last.segment;
        state.active = last.active;
        state.end = last.end;
        // It may have been closed in between without having been synced: that is asked of the active segment now.
        state.log_unsynced = true;
        state.index_unsynced = state.last().offsets.count() > state.last().offsets.unwritten_count();
        state.closed_unsynced.retain(|&base| base != view.base);
        Ok(())
    }

    /// Looks what is in the directory, and whose it is. Another topic's is taken out of the way. Whether it is known to be
    /// ours.
    async fn survey(&self) -> Result<(bool, Survey), SegmentError> {
        let disk = self.files.disk();
        let survey = disk.survey(&self.directory, choose_files, SURVEYED_FILE_BYTES_MAX).await;
        let survey = survey.map_err(|error| self.directory_error(error))?;
        match survey.content(IDENTITY_FILE).and_then(|content| parse_identity(content)) {
            Some(topic_id) if topic_id == self.key.topic_id => Ok((true, survey)),
            Some(topic_id) => {
                let other = PartitionKey { topic_id, ..self.key };
                retire_directory(disk, &self.directory, other).await?;
                Ok((false, Survey::default()))
            }
            // Made by a life that ended before it was synced; whether anything is missing, the cut tells.
            None => Ok((false, survey)),
        }
    }

    async fn finish_replacements(&self, listing: &Listing) -> Result<(), SegmentError> {
        let bases: BTreeSet<Offset> =
            listing.logs.keys().copied().chain(listing.indexes.keys().map(|(base, _)| *base)).collect();
        let bases: Vec<Offset> = bases.into_iter().collect();
        for &(base, end) in &listing.swaps {
            tracing::info!(directory = %self.directory.display(), %base, %end, "finishing a compaction");
            self.finish_replacement(base, end, &bases).await?;
        }
        Ok(())
    }

    async fn remove_orphans(&self, listing: &Listing) -> Result<bool, SegmentError> {
        let bases: BTreeSet<Offset> = listing.indexes.keys().map(|(base, _)| *base).collect();
        let orphans: Vec<Offset> =
            bases.into_iter().filter(|base| !listing.logs.contains_key(base)).collect();
        for &base in &orphans {
            self.remove_files(base).await?;
        }
        Ok(!orphans.is_empty())
    }

    async fn remove_past(&self, listing: &mut Listing, cut: Offset) -> Result<bool, SegmentError> {
        let gone = listing.logs.split_off(&cut);
        for &base in gone.keys().rev() {
            self.remove_files(base).await?;
        }
        Ok(!gone.is_empty())
    }

    async fn remove_before(&self, listing: &mut Listing, log_start: Offset) -> Result<bool, SegmentError> {
        // The segment that has the log's start is the last one that begins at or before it.
        let first = listing.logs.range(..=log_start).next_back().map(|(&base, _)| base);
        let Some(first) = first else { return Ok(false) };
        let kept = listing.logs.split_off(&first);
        let gone = std::mem::replace(&mut listing.logs, kept);
        for &base in gone.keys() {
            self.remove_files(base).await?;
        }
        Ok(!gone.is_empty())
    }

    fn missing(&self, from: Offset, end: Offset) -> SegmentError {
        SegmentError::Missing { directory: self.directory.clone(), from, end }
    }

    /// Opens what the listing has, the last one cut. Whether something was cut away.
    async fn open_segments(
        &self,
        listing: &Listing,
        survey: &Survey,
        cut: Offset,
    ) -> Result<bool, SegmentError> {
        let mut segments = VecDeque::new();
        let mut rebuild = Vec::new();
        for (&base, &size_bytes) in &listing.logs {
            if size_bytes > SEGMENT_BYTES_MAX {
                return Err(self.corrupt(base, SEGMENT_BYTES_MAX, base));
            }
            let counts = (listing.index_count::<OffsetEntry>(base), listing.index_count::<TimeEntry>(base));
            if counts.0.is_none() || counts.1.is_none() {
                rebuild.push(base);
            }
            let offsets = Index::in_file(counts.0.unwrap_or(0));
            let times = Index::in_file(counts.1.unwrap_or(0));
            segments.push_back(Segment { size_bytes, exists: true, offsets, times, ..Segment::empty(base) });
        }
        let found = segments.pop_back().expect("there is a segment");
        rebuild.retain(|&base| base != found.base);
        let view = SegmentView { base: found.base, end: Offset(i64::MAX), size_bytes: found.size_bytes };
        let last = self.recover_last(view, survey, cut).await?;
        if last.end < cut {
            let position = last.damaged_at.unwrap_or(last.segment.size_bytes);
            return Err(self.corrupt(view.base, position, last.end));
        }
        segments.push_back(last.segment);
        *self.state.borrow_mut() = State::of(segments, last.end, last.active);
        for &base in &rebuild {
            self.rebuild_indexes(base).await?;
            for kind in [FileKind::TimeIndex, FileKind::OffsetIndex] {
                self.sync_file(base, kind).await?;
            }
        }
        Ok(last.cut || !rebuild.is_empty())
    }

    /// Walks over the end of the last segment, from its last index entry on, up to the cut; then cuts its files, and
    /// syncs them. Where records below the cut are damaged, nothing is cut.
    async fn recover_last(
        &self,
        view: SegmentView,
        survey: &Survey,
        cut: Offset,
    ) -> Result<LastSegment, SegmentError> {
        let offsets = self.read_index::<OffsetEntry>(view.base, survey, cut).await?;
        let times = self.read_index::<TimeEntry>(view.base, survey, cut).await?;
        // A time index that is not there covers nothing of what the offset index does.
        let covered = times.is_some() || offsets.as_ref().is_none_or(|(entries, _)| entries.is_empty());
        let (offsets, times) = (offsets.unwrap_or_default(), times.unwrap_or_default());
        let intact = times.1 != Rest::Damage && covered;
        let found = if intact { self.walk_last(view, cut, &offsets.0, &times.0).await? } else { None };
        let mut rebuilt = false;
        let mut found = match found {
            Some(found) if self.proves_latest(view, &found.segment, &times.0).await? => found,
            _ => {
                rebuilt = true;
                tracing::warn!(file = %self.path(view.base, FileKind::OffsetIndex).display(), "rebuilding an index");
                self.walk_last(view, cut, &[], &[]).await?.expect("a walk from the beginning needs no index")
            }
        };
        if found.damaged_at.is_some() {
            return Ok(found);
        }
        let index_cut = rebuilt || offsets.1 != Rest::Nothing || times.1 != Rest::Nothing;
        found.cut = index_cut;
        if index_cut {
            self.write_back_indexes(view.base, &found.segment).await?;
        }
        if self.has_excess(view, found.segment.size_bytes).await? {
            let file = self.file(view.base, FileKind::Log).await?;
            let cut = file.truncate(found.segment.size_bytes).await;
            cut.map_err(self.error(view.base, FileKind::Log))?;
            self.sync_file(view.base, FileKind::Log).await?;
            found.cut = true;
        }
        Ok(found)
    }

    /// The entries of an index below the cut; none where there is no file.
    async fn read_index<E: Entry>(
        &self,
        base: Offset,
        survey: &Survey,
        cut: Offset,
    ) -> Result<Option<(Vec<E>, Rest)>, SegmentError> {
        let keep = |entry: &E| base.plus(i64::from(entry.relative_offset())) < cut;
        if let Some(content) = survey.content(&file_name(base, E::KIND)) {
            return Ok(Some(parse_valid(content, keep)));
        }
        let file = match self.file(base, E::KIND).await {
            Err(SegmentError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            opened => opened?,
        };
        read_valid(&*file, keep).await.map(Some).map_err(self.error(base, E::KIND))
    }

    /// The last segment from its last index entry on. None where the index does not lead to a batch of its own.
    async fn walk_last(
        &self,
        view: SegmentView,
        cut: Offset,
        offsets: &[OffsetEntry],
        times: &[TimeEntry],
    ) -> Result<Option<LastSegment>, SegmentError> {
        let from = match offsets.last().map(|entry| u64::try_from(entry.position)) {
            None => 0,
            Some(Ok(position)) if position < view.size_bytes => position,
            Some(_) => return Ok(None),
        };
        let mut state = State::of(VecDeque::from([Segment::empty(view.base)]), view.base, Active::default());
        state.last_mut().exists = true;
        state.last_mut().offsets = Index::of(offsets, u32::try_from(offsets.len()).expect("bounded"));
        state.last_mut().times = Index::of(times, u32::try_from(times.len()).expect("bounded"));
        state.last_mut().size_bytes = from;
        state.last_mut().latest = times.last().map(|entry| latest_of(view.base, *entry));
        state.active.indexed_timestamp = times.last().map(|entry| entry.timestamp);

        let file = self.file(view.base, FileKind::Log).await?;
        let mut walk = Walk::new(&*file, from, view, SEGMENT_WALK_BYTES);
        let interval = u64::from(self.config.get().index_interval_bytes);
        let mut damaged_at = None;
        let expected = offsets.last().map(|entry| entry.relative_offset);
        let mut first = expected.is_some();
        loop {
            let step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
            match step {
                Step::Batch { place, .. } if first && state.last().relative(place.last) != expected => {
                    return Ok(None);
                }
                Step::Batch { place, .. } if place.next() <= cut => state.add_batch(place, interval),
                // The cut, whether or not it is where a batch begins.
                Step::Batch { .. } | Step::End => break,
                Step::Damage if first => return Ok(None),
                Step::Damage if state.end < cut => {
                    damaged_at = Some(walk.position());
                    break;
                }
                Step::Damage => break,
            }
            first = false;
        }
        state.active.tail = None;
        let State { mut segments, active, end, .. } = state;
        let segment = segments.pop_back().expect("it has one");
        Ok(Some(LastSegment { segment, active, end, damaged_at, cut: false }))
    }

    /// Whether the largest timestamp, where it comes from the time index, is that of the batch it names.
    async fn proves_latest(
        &self,
        view: SegmentView,
        segment: &Segment,
        times: &[TimeEntry],
    ) -> Result<bool, SegmentError> {
        let indexed = times.last().map(|entry| latest_of(view.base, *entry));
        let Some(latest) = segment.latest.filter(|latest| Some(*latest) == indexed) else { return Ok(true) };
        let found = segment.offsets.find_last(before(view, latest.offset));
        let entry = self.search_offsets(view, found, latest.offset).await?;
        let from = entry.map_or(0, |entry| u64::try_from(entry.position).unwrap_or(view.size_bytes));
        let file = self.file(view.base, FileKind::Log).await?;
        let mut walk = Walk::new(&*file, from.min(view.size_bytes), view, SEGMENT_READ_BYTES_MIN);
        let step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
        self.meets_latest(view, walk, step, latest).await
    }

    /// Makes the index files hold exactly what the walk found, less what is not written yet.
    async fn write_back_indexes(&self, base: Offset, segment: &Segment) -> Result<(), SegmentError> {
        let lengths = [
            (
                FileKind::TimeIndex,
                segment.times.file_bytes()
                    - u64::from(segment.times.unwritten_count())
                        * u64::try_from(TimeEntry::BYTES).expect("small"),
            ),
            (
                FileKind::OffsetIndex,
                segment.offsets.file_bytes()
                    - u64::from(segment.offsets.unwritten_count())
                        * u64::try_from(OffsetEntry::BYTES).expect("small"),
            ),
        ];
        for (kind, length) in lengths {
            let file = self.file_created(base, kind).await?;
            file.truncate(length).await.map_err(self.error(base, kind))?;
            self.sync_file(base, kind).await?;
        }
        Ok(())
    }

    /// Whether a segment's file holds more than its batches and their padding.
    async fn has_excess(&self, view: SegmentView, size_bytes: u64) -> Result<bool, SegmentError> {
        let excess = view.size_bytes - size_bytes;
        // Padding ends where a page does.
        if excess >= 4096 {
            return Ok(true);
        }
        let file = self.file(view.base, FileKind::Log).await?;
        let rest = file.read_at(size_bytes, usize::try_from(excess).expect("less than a page")).await;
        let rest = rest.map_err(self.error(view.base, FileKind::Log))?;
        Ok(rest.iter().any(|&byte| byte != PADDING))
    }

    /// Makes both indexes of a closed segment anew, by a walk over all its headers.
    pub(super) async fn rebuild_indexes(&self, base: Offset) -> Result<(), SegmentError> {
        let Some(view) = self.view_of(base) else { return Ok(()) };
        tracing::warn!(file = %self.path(base, FileKind::OffsetIndex).display(), "rebuilding an index");
        let mut state = State::empty(base);
        let interval = u64::from(self.config.get().index_interval_bytes);
        let file = self.file(base, FileKind::Log).await?;
        let mut walk = Walk::new(&*file, 0, view, SEGMENT_WALK_BYTES);
        loop {
            match walk.next().await.map_err(self.error(base, FileKind::Log))? {
                Step::Batch { place, .. } => state.add_batch(place, interval),
                Step::End => break,
                Step::Damage => return Err(self.corrupt(base, walk.position(), state.end)),
            }
        }
        state.index_latest();
        let rebuilt = state.segments.pop_back().expect("it has one");
        let offsets = rebuilt.offsets.plan_write().map(|write| write.bytes).unwrap_or_default();
        let times = rebuilt.times.plan_write().map(|write| write.bytes).unwrap_or_default();
        for (kind, bytes) in [(FileKind::TimeIndex, &times), (FileKind::OffsetIndex, &offsets)] {
            let file = self.file_created(base, kind).await?;
            file.truncate(0).await.map_err(self.error(base, kind))?;
            let written =
                write_pieces(self.files.disk(), &Target::Open(Rc::clone(&file)), 0, &[bytes], 0).await;
            written.map_err(self.error(base, kind))?;
            let length = u64::try_from(bytes.len()).expect("usize has at most 64 bits");
            file.truncate(length).await.map_err(self.error(base, kind))?;
        }
        let mut state = self.state.borrow_mut();
        if let Some(segment) = state.segment_mut(base) {
            segment.offsets = Index::in_file(rebuilt.offsets.count());
            segment.times = Index::in_file(rebuilt.times.count());
            segment.latest = rebuilt.latest;
        }
        Ok(())
    }
}

pub(super) fn latest_of(base: Offset, entry: TimeEntry) -> Latest {
    Latest { timestamp: entry.timestamp, offset: base.plus(i64::from(entry.relative_offset)) }
}

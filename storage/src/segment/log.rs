//! The log of one partition: its segments, what is synced of them, and the few places in memory that change.
//!
//! Everything takes `&self`. Reads may run beside anything; [`PartitionLog::append`], [`PartitionLog::sync`],
//! [`PartitionLog::truncate`] and [`PartitionLog::close`] exclude each other, which their caller sees to (asserted).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::types::{Offset, PartitionKey, Timestamp};

use super::SegmentError;
use super::config::LogConfig;
use super::files::{LogNumber, OpenFiles};
use super::index::{Entry, Index, IndexWrite, OffsetEntry, TimeEntry, in_order, read_entries};
use super::names::{FileKind, TOPICS_DIRECTORY, file_name, is_retired, retired_directory};
use super::read::Cursors;
use super::replace::ReplacedFiles;
use super::retention::{RetentionPlan, SegmentSummary};
use super::walk::{Target, write_pieces};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::SEGMENT_WRITE_SMALL_BYTES_MAX;

/// See the module.
pub struct PartitionLog<D: Disk> {
    pub(super) files: OpenFiles<D>,
    pub(super) number: LogNumber,
    pub(super) key: PartitionKey,
    pub(super) directory: PathBuf,
    pub(super) config: Cell<LogConfig>,
    pub(super) state: RefCell<State>,
    pub(super) cursors: RefCell<Cursors>,
    /// Counts what takes bytes away from under a reader.
    pub(super) cuts: Cell<u64>,
    /// The files of a segment that has just taken the place of others, as long as its names are not its own yet.
    pub(super) replaced: RefCell<Option<ReplacedFiles<D::File>>>,
    /// Up to where the log is compacted; none as long as nobody has looked.
    pub(super) cleaned: Cell<Option<Offset>>,
    /// Its directory is on its way out.
    pub(super) is_retired: Cell<bool>,
    writing: Cell<bool>,
}

pub(super) struct State {
    /// By base offset; never empty. The last one is written to.
    pub(super) segments: VecDeque<Segment>,
    /// The offset after the last one.
    pub(super) end: Offset,
    pub(super) active: Active,
    /// Base offsets of closed segments that are not synced yet.
    pub(super) closed_unsynced: Vec<Offset>,
    /// The active segment has been written to since its last sync.
    pub(super) log_unsynced: bool,
    pub(super) index_unsynced: bool,
    /// Names were added to the directory, or removed, since its last sync.
    pub(super) names_unsynced: bool,
    /// The directory may not be there, or not be known to be ours.
    pub(super) directory_new: bool,
}

pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) size_bytes: u64,
    /// Whether its file is there.
    pub(super) exists: bool,
    pub(super) offsets: Index<OffsetEntry>,
    pub(super) times: Index<TimeEntry>,
    /// None as long as nobody has looked, and in an empty segment.
    pub(super) latest: Option<Latest>,
    /// The largest timestamp of the first batch; none as long as nobody has looked, and in an empty segment.
    pub(super) first_timestamp: Option<Timestamp>,
    /// The index has been seen to be wrong.
    pub(super) index_suspect: bool,
}

/// The largest timestamp so far, and the last offset of the first batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) timestamp: Timestamp,
    pub(super) offset: Offset,
}

/// What is known of the last segment only.
#[derive(Default)]
pub(super) struct Active {
    /// The bytes in the last block where that is not full; none where they must be read first.
    pub(super) tail: Option<Vec<u8>>,
    /// Bytes of batches since the last entry of the offset index.
    pub(super) unindexed_bytes: u64,
    /// The timestamp of the time index's last entry.
    pub(super) indexed_timestamp: Option<Timestamp>,
    pub(super) allocated_bytes: u64,
    /// The time index's file is known to be there.
    pub(super) has_time_index: bool,
}

impl Segment {
    pub(super) fn empty(base: Offset) -> Self {
        Self {
            base,
            size_bytes: 0,
            exists: false,
            offsets: Index::new(),
            times: Index::new(),
            latest: None,
            first_timestamp: None,
            index_suspect: false,
        }
    }

    /// An offset's distance from the base, as indexes have it.
    pub(super) fn relative(&self, offset: Offset) -> Option<i32> {
        i32::try_from(offset.since(self.base)).ok().filter(|&relative| relative >= 0)
    }
}

impl State {
    pub(super) fn of(segments: VecDeque<Segment>, end: Offset, active: Active) -> Self {
        assert!(!segments.is_empty());
        assert!(segments.back().is_some_and(|last| last.base <= end));
        Self {
            segments,
            end,
            active,
            closed_unsynced: Vec::new(),
            log_unsynced: false,
            index_unsynced: false,
            names_unsynced: false,
            directory_new: false,
        }
    }

    /// A log without records.
    pub(super) fn empty(base: Offset) -> Self {
        let active = Active { tail: Some(Vec::new()), ..Active::default() };
        Self { directory_new: true, ..Self::of(VecDeque::from([Segment::empty(base)]), base, active) }
    }

    pub(super) fn last(&self) -> &Segment {
        self.segments.back().expect("there is always a last segment")
    }

    pub(super) fn last_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("there is always a last segment")
    }

    pub(super) fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get_mut(at)
    }
}

/// Held by whoever writes to a log.
pub(super) struct Writing<'a>(&'a Cell<bool>);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<D: Disk> PartitionLog<D> {
    /// A log of a partition that has none yet. Nothing is on the disk before the first append.
    #[must_use]
    pub fn create(
        files: &OpenFiles<D>,
        key: PartitionKey,
        directory: PathBuf,
        config: LogConfig,
        base: Offset,
    ) -> Self {
        Self::with_state(files, key, directory, config, State::empty(base))
    }

    pub(super) fn with_state(
        files: &OpenFiles<D>,
        key: PartitionKey,
        directory: PathBuf,
        config: LogConfig,
        state: State,
    ) -> Self {
        Self {
            files: files.clone(),
            number: files.add_log(),
            key,
            directory,
            config: Cell::new(config),
            state: RefCell::new(state),
            cursors: RefCell::default(),
            cuts: Cell::new(0),
            replaced: RefCell::new(None),
            cleaned: Cell::new(None),
            is_retired: Cell::new(false),
            writing: Cell::new(false),
        }
    }

    /// The first offset that the segments have; the log's start may be later.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.state.borrow().segments.front().expect("there is always a segment").base
    }

    /// The offset after the last one.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.state.borrow().end
    }

    /// The length of all batches.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.state.borrow().segments.iter().map(|segment| segment.size_bytes).sum()
    }

    /// The partition's directory, below the data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Changes the config; what is written already stays as it is.
    pub fn set_config(&self, config: LogConfig) {
        self.config.set(config);
    }

    /// Gives back what memory an idle partition does not need. The next append reads it again.
    ///
    /// # Errors
    /// What the disk says: the process must stop.
    pub async fn release_memory(&self) -> Result<(), SegmentError> {
        let _writing = self.begin_writing();
        self.write_indexes(1).await?;
        let mut state = self.state.borrow_mut();
        state.active.tail = None;
        let last = state.last_mut();
        last.offsets.unload_tail();
        last.times.unload_tail();
        self.cursors.borrow_mut().clear();
        Ok(())
    }

    /// Whether it holds memory that [`PartitionLog::release_memory`] would give back.
    #[cfg(test)]
    pub(crate) fn is_warm(&self) -> bool {
        self.state.borrow().active.tail.is_some()
    }

    /// Cuts all files to their length, finishes the indexes, and syncs: what Kafka leaves behind when it stops.
    ///
    /// # Errors
    /// What the disk says: the process must stop.
    pub async fn close(&self) -> Result<(), SegmentError> {
        {
            let _writing = self.begin_writing();
            if self.state.borrow().last().size_bytes > 0 {
                self.finish_active().await?;
                let mut state = self.state.borrow_mut();
                let base = state.last().base;
                state.closed_unsynced.push(base);
            }
        }
        self.sync().await
    }

    /// Takes the partition's directory out of the way: durable, at once, whatever its size. [`remove_retired`] frees
    /// the space.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn retire(&self) -> Result<(), SegmentError> {
        let _writing = self.begin_writing();
        self.is_retired.set(true);
        self.add_cut();
        let bases: Vec<Offset> = self.state.borrow().segments.iter().map(|segment| segment.base).collect();
        bases.into_iter().for_each(|base| self.files.forget(self.number, base));
        retire_directory(self.files.disk(), &self.directory, self.key).await
    }

    /// The segments as retention sees them, timestamps included.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn summaries(&self) -> Result<Vec<SegmentSummary>, SegmentError> {
        let bases: Vec<Offset> = self.state.borrow().segments.iter().map(|segment| segment.base).collect();
        for base in bases {
            self.load_latest(base).await?;
        }
        let state = self.state.borrow();
        let nexts = state.segments.iter().skip(1).map(|segment| segment.base).chain([state.end]);
        let summaries = state.segments.iter().zip(nexts).map(|(segment, end)| SegmentSummary {
            base: segment.base,
            end,
            size_bytes: segment.size_bytes,
            max_timestamp: segment.latest.map(|latest| latest.timestamp),
            index_entries: segment.offsets.count(),
        });
        Ok(summaries.collect())
    }

    /// Removes the segments that a plan names. The log's start must be durably at or past their end. Where the last
    /// segment is among them, nothing may be appended meanwhile.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn drop_segments(&self, plan: &RetentionPlan) -> Result<(), SegmentError> {
        for &base in &plan.segments {
            let exists = {
                let mut state = self.state.borrow_mut();
                // Cut away in between.
                if state.segments.front().is_none_or(|first| first.base != base) {
                    break;
                }
                let first = state.segments.pop_front().expect("just seen");
                if state.segments.is_empty() {
                    let _writing = self.begin_writing();
                    let end = state.end;
                    assert!(end > base, "an empty segment is never dropped");
                    state.segments.push_back(Segment::empty(end));
                    state.active = Active { tail: Some(Vec::new()), ..Active::default() };
                    state.log_unsynced = false;
                    state.index_unsynced = false;
                }
                state.closed_unsynced.retain(|&other| other != base);
                state.names_unsynced = true;
                first.exists
            };
            self.add_cut();
            if exists {
                self.remove_files(base).await?;
            }
        }
        Ok(())
    }

    pub(super) fn begin_writing(&self) -> Writing<'_> {
        assert!(!self.writing.replace(true), "two writers of one log");
        Writing(&self.writing)
    }

    /// Tells readers under way to look again.
    pub(super) fn add_cut(&self) {
        self.cuts.set(self.cuts.get() + 1);
        self.cursors.borrow_mut().clear();
    }

    pub(super) fn path(&self, base: Offset, kind: FileKind) -> PathBuf {
        self.directory.join(file_name(base, kind))
    }

    pub(super) fn error(&self, base: Offset, kind: FileKind) -> impl Fn(io::Error) -> SegmentError {
        move |source| SegmentError::Io { file: self.path(base, kind), source }
    }

    pub(super) fn directory_error(&self, source: io::Error) -> SegmentError {
        SegmentError::Io { file: self.directory.clone(), source }
    }

    pub(super) async fn file(&self, base: Offset, kind: FileKind) -> Result<Rc<D::File>, SegmentError> {
        if let Some(file) = self.replaced_file(base, kind) {
            return Ok(file);
        }
        let opened = self.files.get(self.number, &self.directory, base, kind, OpenMode::Write);
        opened.await.map_err(self.error(base, kind))
    }

    /// As [`PartitionLog::file`], made where it is not there.
    pub(super) async fn file_created(
        &self,
        base: Offset,
        kind: FileKind,
    ) -> Result<Rc<D::File>, SegmentError> {
        if let Some(file) = self.replaced_file(base, kind) {
            return Ok(file);
        }
        let opened = self.files.get(self.number, &self.directory, base, kind, OpenMode::Create);
        opened.await.map_err(self.error(base, kind))
    }

    /// How so many bytes are written to a file, which is made where it is not there.
    pub(super) async fn target<'a>(
        &self,
        base: Offset,
        kind: FileKind,
        path: &'a Path,
        length: usize,
    ) -> Result<Target<'a, D::File>, SegmentError> {
        if length <= SEGMENT_WRITE_SMALL_BYTES_MAX {
            return Ok(Target::Named(path));
        }
        Ok(Target::Open(self.file_created(base, kind).await?))
    }

    /// Removes a segment's files, the segment itself first: indexes alone are nothing.
    pub(super) async fn remove_files(&self, base: Offset) -> Result<(), SegmentError> {
        self.files.forget(self.number, base);
        for kind in FileKind::ALL {
            match self.files.disk().remove_file(&self.path(base, kind)).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                removed => removed.map_err(self.error(base, kind))?,
            }
        }
        Ok(())
    }

    pub(super) async fn write_index<E: Entry>(
        &self,
        base: Offset,
        write: &IndexWrite,
    ) -> Result<(), SegmentError> {
        let path = self.path(base, E::KIND);
        let target = self.target(base, E::KIND, &path, write.bytes.len()).await?;
        let written = write_pieces(self.files.disk(), &target, write.position, &[&write.bytes], 0).await;
        written.map(|_| ()).map_err(self.error(base, E::KIND))
    }

    /// Makes the index entries of the active segment's last group known, so that more can be added. Where they are not
    /// what was written, the indexes are made anew.
    pub(super) async fn load_index_tails(&self) -> Result<(), SegmentError> {
        let (base, offsets, times) = {
            let state = self.state.borrow();
            let last = state.last();
            (last.base, last.offsets.missing_tail(), last.times.missing_tail())
        };
        if let Some(range) = offsets {
            match self.read_tail(base, range).await? {
                Some(entries) => self.state.borrow_mut().last_mut().offsets.load_tail(entries),
                None => return self.reload_last().await,
            }
        }
        if let Some(range) = times {
            match self.read_tail(base, range).await? {
                Some(entries) => self.state.borrow_mut().last_mut().times.load_tail(entries),
                None => return self.reload_last().await,
            }
        }
        Ok(())
    }

    /// Entries of the active segment's index; none where they are not in order, or not what they were.
    async fn read_tail<E: Entry>(
        &self,
        base: Offset,
        range: (u32, u32),
    ) -> Result<Option<Vec<E>>, SegmentError> {
        let file = self.file(base, E::KIND).await?;
        let entries = read_entries(&*file, range.0, range.1).await.map_err(self.error(base, E::KIND))?;
        let complete = u32::try_from(entries.len()).ok() == Some(range.1 - range.0);
        Ok((complete && in_order::<E>(&entries) && self.tail_fits(&entries)).then_some(entries))
    }

    /// Whether entries may be followed by one of a batch that comes next.
    fn tail_fits<E: Entry>(&self, entries: &[E]) -> bool {
        let state = self.state.borrow();
        let (last, active) = (state.last(), &state.active);
        let before_end = |entry: &E| last.base.plus(i64::from(entry.relative_offset())) < state.end;
        entries.last().is_none_or(|entry| {
            before_end(entry) && entry.timestamp().is_none_or(|time| Some(time) == active.indexed_timestamp)
        })
    }

    pub(super) async fn sync_file(&self, base: Offset, kind: FileKind) -> Result<(), SegmentError> {
        self.file(base, kind).await?.sync().await.map_err(self.error(base, kind))
    }
}

/// Renames a partition's directory, if it is there, to a name that no partition has.
pub(super) async fn retire_directory<D: Disk>(
    disk: &D,
    directory: &Path,
    key: PartitionKey,
) -> Result<(), SegmentError> {
    let retired = retired_directory(key);
    let renamed = async {
        if !disk.exists(directory).await? {
            return Ok(());
        }
        if disk.exists(&retired).await? {
            disk.remove_directory(&retired).await?;
        }
        disk.rename(directory, &retired).await?;
        disk.sync_directory(Path::new(TOPICS_DIRECTORY)).await
    };
    renamed.await.map_err(|source| SegmentError::Io { file: directory.to_owned(), source })
}

/// Frees the space of all partitions that have been retired, in this life or an earlier one.
///
/// # Errors
/// What the disk says.
pub async fn remove_retired<D: Disk>(disk: &D) -> io::Result<()> {
    let topics = Path::new(TOPICS_DIRECTORY);
    for name in disk.list(topics).await?.iter().filter(|name| is_retired(name)) {
        match disk.remove_directory(&topics.join(name)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            removed => removed?,
        }
    }
    Ok(())
}

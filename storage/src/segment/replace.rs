//! One segment takes the place of others: how compaction changes what is on the disk, crash-safe at every step.
//!
//! The new segment is written aside, under names that nobody reads, while the log goes on. Then, in a moment that excludes
//! other writers:
//!
//! | step | what a crash right after it leaves | what opening makes of that |
//! | --- | --- | --- |
//! | 1. `.log.cleaned`, `.index.cleaned`, `.timeindex.cleaned` are written and synced | files aside | removed: nothing happened |
//! | 2. `.log.cleaned` gets the name `<base>-<end>.swap`; the directory is synced | a swap, whole, and all old segments | from here on the new segment is the log: steps 3 to 5 |
//! | 3. the old segments between base and end, their indexes, and the old indexes at base are removed | a swap, some old files | the same again |
//! | 4. the new indexes get their names; the directory is synced | a swap, perhaps its indexes | the same again; the indexes are rebuilt |
//! | 5. the swap becomes `<base>.log`, over the old one; the directory is synced | the new segment | nothing is left to do |
//!
//! No file is removed before step 2 is durable, and the swap keeps its name until all removals are.
//!
//! Readers never wait. Between steps 2 and 3 the new segment takes the old ones' place in memory, with its open files:
//! whoever reads finds these, whatever their names are by then. A reader on its way through an old segment looks again,
//! as after a cut.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use protocol::types::Offset;

use super::SegmentError;
use super::header::{BatchPlace, HEADER_BYTES};
use super::index::Index;
use super::log::{PartitionLog, Segment, State};
use super::names::{CLEANED_FILE, FileKind, cleaned_name, swap_name};
use super::walk::{PADDING, Target, write_pieces};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_WRITE_BYTES};

/// The open files of a segment whose names are changing.
pub(super) struct ReplacedFiles<F> {
    base: Offset,
    /// By [`FileKind`].
    files: Vec<(FileKind, Rc<F>)>,
}

/// A segment that is being written to take the place of others.
pub struct Replacement<'a, D: Disk> {
    log: &'a PartitionLog<D>,
    base: Offset,
    end: Offset,
    /// Of the log, when it was begun.
    cuts: u64,
    file: Rc<D::File>,
    /// The files of its indexes, by [`FileKind`].
    indexes: Vec<(FileKind, Rc<D::File>)>,
    /// The new segment's length and indexes, as if it were a log of its own.
    state: State,
    interval_bytes: u64,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    /// What is in the last block written, where that is not full.
    tail: Vec<u8>,
    written_bytes: u64,
}

impl<D: Disk> PartitionLog<D> {
    /// Begins a segment that will take the place of those from one that begins at `base` to one that ends at `end`.
    /// All of them are closed, synced, and below what any checkpoint that may still be used says is destaged.
    ///
    /// # Errors
    /// What the disk says; nothing has changed then.
    ///
    /// # Panics
    /// If these are not closed segments of the log.
    pub async fn begin_replacement(
        &self,
        base: Offset,
        end: Offset,
    ) -> Result<Replacement<'_, D>, SegmentError> {
        assert!(self.replaced_range(base, end).is_some());
        let cuts = self.cuts.get();
        let mut indexes = Vec::new();
        for kind in FileKind::INDEXES {
            indexes.push((kind, self.open_aside(base, kind).await?));
        }
        let file = self.open_aside(base, FileKind::Log).await?;
        let mut state = State::empty(base);
        state.last_mut().exists = true;
        Ok(Replacement {
            log: self,
            base,
            end,
            cuts,
            file,
            indexes,
            state,
            interval_bytes: u64::from(self.config.get().index_interval_bytes),
            waiting: Vec::new(),
            waiting_bytes: 0,
            tail: Vec::new(),
            written_bytes: 0,
        })
    }

    async fn open_aside(&self, base: Offset, kind: FileKind) -> Result<Rc<D::File>, SegmentError> {
        let open = async {
            let path = self.directory.join(cleaned_name(base, kind));
            let file = self.files.disk().open(&path, OpenMode::Create).await?;
            file.truncate(0).await?;
            io::Result::Ok(Rc::new(file))
        };
        open.await.map_err(self.error(base, kind))
    }

    /// Gives up a replacement: the log is as it was.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn abandon_replacement(&self, base: Offset) -> Result<(), SegmentError> {
        // The directory is out of the way, and its name may be another partition's.
        if self.is_retired.get() {
            return Ok(());
        }
        self.remove_aside(&FileKind::ALL.map(|kind| cleaned_name(base, kind))).await
    }

    /// Where the segments from `base` to `end` stand, if all of them are there and closed.
    fn replaced_range(&self, base: Offset, end: Offset) -> Option<std::ops::Range<usize>> {
        let state = self.state.borrow();
        let from = state.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        let to = state.segments.binary_search_by_key(&end, |segment| segment.base).ok()?;
        (from < to).then_some(from..to)
    }

    pub(super) fn replaced_file(&self, base: Offset, kind: FileKind) -> Option<Rc<D::File>> {
        let replaced = self.replaced.borrow();
        let found = replaced.as_ref().filter(|replaced| replaced.base == base)?;
        found.files.iter().find(|(known, _)| *known == kind).map(|(_, file)| Rc::clone(file))
    }

    fn cleaned_path(&self, base: Offset, kind: FileKind) -> PathBuf {
        self.directory.join(cleaned_name(base, kind))
    }

    /// Steps 3 to 5 for a swap that a crash has left behind. Its indexes are made anew: whose those are that are there is
    /// not known.
    pub(super) async fn finish_replacement(
        &self,
        base: Offset,
        end: Offset,
        bases: &[Offset],
    ) -> Result<(), SegmentError> {
        for &old in bases.iter().filter(|&&old| base <= old && old < end) {
            self.remove_kinds(old, if old == base { &FileKind::INDEXES } else { &FileKind::ALL }).await?;
        }
        self.sync_own_directory().await?;
        self.name_swap(base, end).await?;
        self.sync_own_directory().await
    }

    async fn name_swap(&self, base: Offset, end: Offset) -> Result<(), SegmentError> {
        let swap = self.directory.join(swap_name(base, end));
        let renamed = self.files.disk().rename(&swap, &self.path(base, FileKind::Log)).await;
        renamed.map_err(self.error(base, FileKind::Log))
    }

    async fn remove_kinds(&self, base: Offset, kinds: &[FileKind]) -> Result<(), SegmentError> {
        for &kind in kinds {
            match self.files.disk().remove_file(&self.path(base, kind)).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                removed => removed.map_err(self.error(base, kind))?,
            }
        }
        Ok(())
    }

    async fn sync_own_directory(&self) -> Result<(), SegmentError> {
        let synced = self.files.disk().sync_directory(&self.directory).await;
        synced.map_err(|error| self.directory_error(error))
    }

    /// Removes files aside, whoever wrote them.
    pub(super) async fn remove_aside(&self, names: &[String]) -> Result<(), SegmentError> {
        for name in names {
            let path = self.directory.join(name);
            match self.files.disk().remove_file(&path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                removed => removed.map_err(|source| SegmentError::Io { file: path, source })?,
            }
        }
        Ok(())
    }

    /// Up to where the log was compacted before: what [`PartitionLog::set_cleaned`] said last, or less.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn cleaned(&self) -> Result<Offset, SegmentError> {
        if let Some(known) = self.cleaned.get() {
            return Ok(known.min(self.end()));
        }
        let read = async {
            let path = self.directory.join(CLEANED_FILE);
            let file = match self.files.disk().open(&path, OpenMode::Read).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes::new()),
                opened => opened?,
            };
            let content = file.read_at(0, 4096).await?;
            file.close().await?;
            io::Result::Ok(content)
        };
        let content = read.await.map_err(|error| self.directory_error(error))?;
        let found = parse_cleaned(&content).unwrap_or(Offset(0));
        self.cleaned.set(Some(found));
        Ok(found.min(self.end()))
    }

    /// As [`PartitionLog::cleaned`], as far as that is known without asking the disk.
    #[must_use]
    pub fn cleaned_known(&self) -> Offset {
        self.cleaned.get().unwrap_or(Offset(0))
    }

    /// Says up to where the log is compacted. It need not survive a crash: what is forgotten is done again. Nobody else may
    /// write to the log meanwhile.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn set_cleaned(&self, offset: Offset) -> Result<(), SegmentError> {
        if self.is_retired.get() {
            return Ok(());
        }
        self.cleaned.set(Some(offset));
        let content = format!("version: 0\ncleaned: {offset}\n");
        let path = self.directory.join(CLEANED_FILE);
        let target = Target::Named(&path);
        let written = write_pieces(self.files.disk(), &target, 0, &[content.as_bytes()], b'\n').await;
        written.map(|_| ()).map_err(|source| SegmentError::Io { file: path.clone(), source })
    }
}

/// The offset in a [`CLEANED_FILE`]. It is one block: there as it was written, or as it was before.
pub(super) fn parse_cleaned(content: &[u8]) -> Option<Offset> {
    let mut lines = std::str::from_utf8(content).ok()?.lines();
    let is_known = lines.next()? == "version: 0";
    let offset = lines.next()?.strip_prefix("cleaned: ")?.parse().ok()?;
    (is_known && offset >= 0).then_some(Offset(offset))
}

impl<'a, D: Disk> Replacement<'a, D> {
    /// Adds one batch. All of them are below the end, and go up.
    ///
    /// # Errors
    /// What the disk says: [`PartitionLog::abandon_replacement`].
    ///
    /// # Panics
    /// If it is not one whole batch, or not between what came before and the end, or too much for one segment.
    pub async fn push(&mut self, batch: Bytes) -> Result<(), SegmentError> {
        let place = BatchPlace::parse(&batch).expect("a batch of this log");
        assert_eq!(usize::try_from(place.size_bytes).ok(), Some(batch.len()));
        assert!(place.next() <= self.end);
        assert!(batch.len() >= HEADER_BYTES);
        self.state.add_batch(place, self.interval_bytes);
        assert!(self.size_bytes() <= SEGMENT_BYTES_MAX);
        self.waiting_bytes += batch.len();
        self.waiting.push(batch);
        if self.waiting_bytes >= SEGMENT_WRITE_BYTES { self.write().await } else { Ok(()) }
    }

    /// The length of what was added.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.state.last().size_bytes
    }

    async fn write(&mut self) -> Result<(), SegmentError> {
        let error = self.log.error(self.base, FileKind::Log);
        let position = self.written_bytes - u64::try_from(self.tail.len()).expect("less than a block");
        let pieces: Vec<&[u8]> =
            std::iter::once(&self.tail[..]).chain(self.waiting.iter().map(|batch| &batch[..])).collect();
        let target = Target::Open(Rc::clone(&self.file));
        let tail = write_pieces(self.log.files.disk(), &target, position, &pieces, PADDING).await;
        self.tail = tail.map_err(error)?;
        self.written_bytes += u64::try_from(self.waiting_bytes).expect("usize has at most 64 bits");
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Writes what is left, and the indexes, and syncs all of it: step 1. The log goes on meanwhile.
    ///
    /// # Errors
    /// What the disk says: [`PartitionLog::abandon_replacement`].
    ///
    /// # Panics
    /// If nothing was added.
    pub async fn finish(mut self) -> Result<ReadyReplacement<'a, D>, SegmentError> {
        assert!(self.state.last().size_bytes > 0);
        if self.waiting_bytes > 0 {
            self.write().await?;
        }
        let size = self.state.last().size_bytes;
        assert_eq!(self.written_bytes, size);
        let synced = async {
            self.file.truncate(size).await?;
            self.file.sync().await
        };
        synced.await.map_err(self.log.error(self.base, FileKind::Log))?;
        self.state.index_latest();
        for (kind, file) in &self.indexes {
            let last = self.state.last();
            let write = match kind {
                FileKind::TimeIndex => last.times.plan_write(),
                _ => last.offsets.plan_write(),
            };
            let bytes = write.map(|write| write.bytes).unwrap_or_default();
            let written = self.write_index(file, &bytes).await;
            written.map_err(self.log.error(self.base, *kind))?;
        }
        let mut files = self.indexes;
        files.push((FileKind::Log, self.file));
        let segment = self.state.segments.pop_back().expect("it has one");
        Ok(ReadyReplacement {
            log: self.log,
            base: self.base,
            end: self.end,
            cuts: self.cuts,
            files,
            segment,
        })
    }

    async fn write_index(&self, file: &Rc<D::File>, bytes: &[u8]) -> io::Result<()> {
        let target = Target::Open(Rc::clone(file));
        write_pieces(self.log.files.disk(), &target, 0, &[bytes], 0).await?;
        file.truncate(u64::try_from(bytes.len()).expect("usize has at most 64 bits")).await?;
        file.sync().await
    }
}

/// A segment that is on stable media, aside, and may take the place of others.
pub struct ReadyReplacement<'a, D: Disk> {
    log: &'a PartitionLog<D>,
    base: Offset,
    end: Offset,
    cuts: u64,
    files: Vec<(FileKind, Rc<D::File>)>,
    segment: Segment,
}

impl<D: Disk> ReadyReplacement<'_, D> {
    /// Takes the others' place: steps 2 to 5. Nobody else may write to the log meanwhile. False where something was taken
    /// away from the log since it was begun, by a cut or by retention: then nothing has changed.
    ///
    /// # Errors
    /// What the disk says: the process must stop.
    pub async fn commit(self) -> Result<bool, SegmentError> {
        let Self { log, base, end, cuts, files, segment } = self;
        let _writing = log.begin_writing();
        if log.cuts.get() != cuts {
            log.abandon_replacement(base).await?;
            return Ok(false);
        }
        let disk = log.files.disk();
        let swap = log.directory.join(swap_name(base, end));
        let renamed = disk.rename(&log.cleaned_path(base, FileKind::Log), &swap).await;
        renamed.map_err(log.error(base, FileKind::Log))?;
        log.sync_own_directory().await?;

        let old = log.install(base, end, segment, files);
        for &gone in old.iter().filter(|&&gone| gone != base) {
            log.remove_kinds(gone, &FileKind::ALL).await?;
        }
        for kind in FileKind::INDEXES {
            let renamed = disk.rename(&log.cleaned_path(base, kind), &log.path(base, kind)).await;
            renamed.map_err(log.error(base, kind))?;
        }
        log.sync_own_directory().await?;
        log.name_swap(base, end).await?;
        log.sync_own_directory().await?;
        // From here on the names are the segment's own.
        log.files.forget(log.number, base);
        *log.replaced.borrow_mut() = None;
        Ok(true)
    }
}

impl<D: Disk> PartitionLog<D> {
    /// Puts a segment in the place of others, in memory. Returns the others' bases.
    fn install(
        &self,
        base: Offset,
        end: Offset,
        segment: Segment,
        files: Vec<(FileKind, Rc<D::File>)>,
    ) -> Vec<Offset> {
        let range = self.replaced_range(base, end).expect("nothing was cut since it was begun");
        let mut state = self.state.borrow_mut();
        let placed = Segment {
            offsets: Index::in_file(segment.offsets.count()),
            times: Index::in_file(segment.times.count()),
            ..segment
        };
        let mut behind = state.segments.split_off(range.end);
        let old: VecDeque<Segment> = state.segments.split_off(range.start);
        state.segments.push_back(placed);
        state.segments.append(&mut behind);
        let old: Vec<Offset> = old.iter().map(|segment| segment.base).collect();
        // An index that was to be rebuilt is gone.
        state.closed_unsynced.retain(|base| !old.contains(base));
        drop(state);
        let before = self.replaced.borrow_mut().replace(ReplacedFiles { base, files });
        assert!(before.is_none(), "one replacement at a time");
        old.iter().for_each(|&gone| self.files.forget(self.number, gone));
        self.add_cut();
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_log_is_compacted_to_is_read_back_or_nothing_is() {
        assert_eq!(parse_cleaned(b"version: 0\ncleaned: 1234\n\n\n\n"), Some(Offset(1234)));
        for content in [
            "",
            "version: 0\n",
            "version: 1\ncleaned: 5\n",
            "version: 0\ncleaned: -5\n",
            "version: 0\ncleaned: x\n",
        ] {
            assert_eq!(parse_cleaned(content.as_bytes()), None, "{content}");
        }
    }
}

//! Making durable what was appended: one log by itself, or many at once.
//!
//! By itself a log syncs each of its files, and its directory where names are new. With many logs that is a commit of
//! the filesystem's own journal, or at least a flush of the device, for each file; one sync of the whole filesystem
//! does the same for all. A thousand small segments: two seconds against four milliseconds (see the decision record
//! on syncing many files).
//!
//! In either way the time index is synced before the offset index is written.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use protocol::types::Offset;

use super::SegmentError;
use super::index::{IndexWrite, OffsetEntry, TimeEntry};
use super::log::PartitionLog;
use super::names::{FileKind, IDENTITY_FILE, identity_content};
use super::walk::{Target, write_pieces};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::{INDEX_ENTRIES_UNWRITTEN_MAX, SYNC_EACH_MAX};
use crate::wait::for_each_concurrent;

/// Makes everything appended to several logs durable, as [`PartitionLog::sync`] does for one. Nobody else may write to
/// any of them meanwhile.
///
/// # Errors
/// As [`PartitionLog::sync`].
pub async fn sync_logs<D: Disk>(
    disk: &D,
    logs: &[&PartitionLog<D>],
    concurrent_max: usize,
) -> Result<(), SegmentError> {
    if logs.len() > SYNC_EACH_MAX && disk.can_sync_all() {
        return sync_together(disk, logs, concurrent_max, Until::Later).await;
    }
    for_each_concurrent(logs.iter().map(|log| log.sync()), concurrent_max).await
}

/// Closes several logs, as [`PartitionLog::close`] does one.
///
/// # Errors
/// As [`PartitionLog::close`].
pub async fn close_logs<D: Disk>(
    disk: &D,
    logs: &[&PartitionLog<D>],
    concurrent_max: usize,
) -> Result<(), SegmentError> {
    if logs.len() > SYNC_EACH_MAX && disk.can_sync_all() {
        return sync_together(disk, logs, concurrent_max, Until::TheEnd).await;
    }
    for_each_concurrent(logs.iter().map(|log| log.close()), concurrent_max).await
}

/// Whether more will be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Later,
    TheEnd,
}

pub(super) async fn sync_together<D: Disk>(
    disk: &D,
    logs: &[&PartitionLog<D>],
    concurrent_max: usize,
    until: Until,
) -> Result<(), SegmentError> {
    let _writing: Vec<_> = logs.iter().map(|log| log.begin_writing()).collect();
    let sync_all = async || {
        let failed = |source| SegmentError::Io { file: PathBuf::from("data directory"), source };
        disk.sync_all().await.map_err(failed)
    };
    let due: Vec<Cell<Option<TimesWritten>>> = logs.iter().map(|_| Cell::new(None)).collect();
    let times = logs.iter().zip(&due).map(async |(log, due)| {
        due.set(log.write_times_together(until).await?);
        Ok(())
    });
    for_each_concurrent(times, concurrent_max).await?;
    let due: Vec<Option<TimesWritten>> = due.into_iter().map(Cell::into_inner).collect();
    if due.iter().any(Option::is_some) {
        sync_all().await?;
    }
    let rest = logs.iter().zip(due).map(|(log, due)| log.write_rest_together(due, until));
    for_each_concurrent(rest, concurrent_max).await?;
    sync_all().await?;
    logs.iter().for_each(|log| log.finish_together());
    Ok(())
}

/// The time index of the active segment is written, and must be synced before the offset index is.
pub(super) struct TimesWritten {
    base: Offset,
    write: Option<IndexWrite>,
}

impl<D: Disk> PartitionLog<D> {
    /// Makes everything appended durable, and the names of new files.
    ///
    /// # Errors
    /// What the disk says: the process must stop.
    pub async fn sync(&self) -> Result<(), SegmentError> {
        let _writing = self.begin_writing();
        self.write_indexes(INDEX_ENTRIES_UNWRITTEN_MAX).await?;
        let closed = self.state.borrow().closed_unsynced.clone();
        for base in closed {
            self.sync_closed(base).await?;
            self.state.borrow_mut().closed_unsynced.retain(|&other| other != base);
        }
        let (base, log, index) = {
            let state = self.state.borrow();
            (state.last().base, state.log_unsynced, state.index_unsynced)
        };
        if index {
            self.sync_file(base, FileKind::OffsetIndex).await?;
            self.state.borrow_mut().index_unsynced = false;
        }
        if log {
            self.sync_file(base, FileKind::Log).await?;
            self.state.borrow_mut().log_unsynced = false;
        }
        self.sync_names().await
    }

    /// Writes the active segment's indexes where at least so many entries of the offset index are not in its file.
    pub(super) async fn write_indexes(&self, unwritten_min: u32) -> Result<(), SegmentError> {
        let Some(times) = self.write_times(unwritten_min).await? else { return Ok(()) };
        if times.write.is_some() {
            self.sync_file(times.base, FileKind::TimeIndex).await?;
        }
        self.write_offsets(times).await
    }

    /// The first half of it; none where it is not due.
    async fn write_times(&self, unwritten_min: u32) -> Result<Option<TimesWritten>, SegmentError> {
        let (base, unwritten, write) = {
            let state = self.state.borrow();
            let last = state.last();
            (last.base, last.offsets.unwritten_count(), last.times.plan_write())
        };
        if unwritten < unwritten_min && (unwritten_min > 1 || write.is_none()) {
            return Ok(None);
        }
        match &write {
            Some(write) => self.write_index::<TimeEntry>(base, write).await?,
            // One that is not there at all tells that its name was lost: it is made even when it is empty.
            None if !self.state.borrow().active.has_time_index => {
                self.file_created(base, FileKind::TimeIndex).await?;
            }
            None => {}
        }
        let mut state = self.state.borrow_mut();
        state.active.has_time_index = true;
        state.names_unsynced = true;
        drop(state);
        Ok(Some(TimesWritten { base, write }))
    }

    /// The second half, when the first is synced: what the offset index covers is covered by the time index, whatever
    /// happens.
    async fn write_offsets(&self, times: TimesWritten) -> Result<(), SegmentError> {
        let offsets = {
            let mut state = self.state.borrow_mut();
            assert_eq!(state.last().base, times.base);
            if let Some(write) = &times.write {
                state.last_mut().times.finish_write(write);
            }
            state.last().offsets.plan_write()
        };
        if let Some(write) = offsets {
            self.write_index::<OffsetEntry>(times.base, &write).await?;
            let mut state = self.state.borrow_mut();
            state.last_mut().offsets.finish_write(&write);
            state.index_unsynced = true;
        }
        Ok(())
    }

    /// What has to be written before the first of two syncs of all files.
    async fn write_times_together(&self, until: Until) -> Result<Option<TimesWritten>, SegmentError> {
        if until == Until::Later {
            return self.write_times(INDEX_ENTRIES_UNWRITTEN_MAX).await;
        }
        if self.state.borrow().last().size_bytes == 0 {
            return Ok(None);
        }
        self.finish_indexes().await?;
        self.write_times(1).await
    }

    /// What has to be written before the second.
    async fn write_rest_together(
        &self,
        times: Option<TimesWritten>,
        until: Until,
    ) -> Result<(), SegmentError> {
        if let Some(times) = times {
            self.write_offsets(times).await?;
        }
        if until == Until::TheEnd && self.state.borrow().last().size_bytes > 0 {
            self.cut_files().await?;
        }
        let closed = self.state.borrow().closed_unsynced.clone();
        for base in closed {
            self.rebuild_suspect(base).await?;
        }
        if self.is_directory_due() {
            let written = self.write_identity().await;
            written.map_err(|error| self.directory_error(error))?;
        }
        Ok(())
    }

    /// All files, and all names, have been synced.
    fn finish_together(&self) {
        let is_directory_due = self.is_directory_due();
        let mut state = self.state.borrow_mut();
        state.closed_unsynced.clear();
        state.log_unsynced = false;
        state.index_unsynced = false;
        state.names_unsynced = false;
        state.directory_new &= !is_directory_due;
    }

    /// Rebuilds the indexes of a closed segment where they have been seen to be wrong.
    async fn rebuild_suspect(&self, base: Offset) -> Result<(), SegmentError> {
        let suspect = self
            .state
            .borrow_mut()
            .segment_mut(base)
            .map(|segment| &mut segment.index_suspect)
            .map(std::mem::take);
        if suspect == Some(true) {
            self.rebuild_indexes(base).await?;
        }
        Ok(())
    }

    /// Whether the directory is there and not known to be ours.
    fn is_directory_due(&self) -> bool {
        let state = self.state.borrow();
        state.directory_new && state.segments.iter().any(|segment| segment.exists)
    }

    async fn sync_closed(&self, base: Offset) -> Result<(), SegmentError> {
        self.rebuild_suspect(base).await?;
        for kind in [FileKind::TimeIndex, FileKind::OffsetIndex, FileKind::Log] {
            match self.sync_file(base, kind).await {
                // Dropped while it was synced.
                Err(_) if self.state.borrow_mut().segment_mut(base).is_none() => return Ok(()),
                synced => synced?,
            }
        }
        Ok(())
    }

    async fn sync_names(&self) -> Result<(), SegmentError> {
        let (names, new) = (self.state.borrow().names_unsynced, self.is_directory_due());
        if new {
            self.write_identity().await.map_err(|error| self.directory_error(error))?;
            self.sync_identity().await.map_err(|error| self.directory_error(error))?;
        }
        if names || new {
            let disk = self.files.disk();
            disk.sync_directory(&self.directory).await.map_err(|error| self.directory_error(error))?;
            self.state.borrow_mut().names_unsynced = false;
        }
        if new {
            self.sync_parents().await.map_err(|error| self.directory_error(error))?;
            self.state.borrow_mut().directory_new = false;
        }
        Ok(())
    }

    async fn sync_parents(&self) -> io::Result<()> {
        let mut directory = self.directory.as_path();
        while let Some(parent) = directory.parent() {
            self.files.disk().sync_directory(parent).await?;
            directory = parent;
        }
        Ok(())
    }

    async fn sync_identity(&self) -> io::Result<()> {
        let file = self.files.disk().open(&self.directory.join(IDENTITY_FILE), OpenMode::Write).await?;
        file.sync().await?;
        file.close().await
    }

    async fn write_identity(&self) -> io::Result<()> {
        let content = identity_content(self.key.topic_id);
        let path = self.directory.join(IDENTITY_FILE);
        write_pieces(self.files.disk(), &Target::Named(&path), 0, &[content.as_bytes()], 0).await?;
        let file = self.files.disk().open(&path, OpenMode::Write).await?;
        file.truncate(u64::try_from(content.len()).expect("short")).await?;
        file.close().await
    }
}

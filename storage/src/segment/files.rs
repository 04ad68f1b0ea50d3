//! The open files of a shard's partitions, at most so many: the one unused for longest is closed.
//!
//! Ten thousand partitions have thirty thousand files and more, and a process twenty thousand descriptors. Whoever
//! uses a file holds it by its `Rc`; closing here only lets go of it. A file that was closed in between may be synced
//! through another descriptor: a sync is for the file. Where the process can open no more, half of what is open here is
//! closed: it is the only part of the process that can do with fewer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;

use protocol::types::Offset;
use rustc_hash::FxHashMap;

use super::names::{FileKind, file_name};
use crate::disk::{Disk, OpenMode, is_out_of_files};

/// The open files of one shard. Clones are the same set.
pub struct OpenFiles<D: Disk>(Rc<Inner<D>>);

impl<D: Disk> Clone for OpenFiles<D> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<D: Disk> {
    disk: D,
    files_max: usize,
    state: RefCell<State<D::File>>,
}

struct State<F> {
    open: FxHashMap<FileKey, (Rc<F>, u64)>,
    /// By the time of their last use.
    order: BTreeMap<u64, FileKey>,
    time: u64,
    logs: u64,
    /// Counts what took a name away from a file.
    forgets: u64,
}

/// Names a log among the users of one [`OpenFiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogNumber(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    log: LogNumber,
    base: Offset,
    kind: FileKind,
}

impl<D: Disk> OpenFiles<D> {
    /// Keeps at most `files_max` files of the disk open.
    ///
    /// # Panics
    /// If that is less than the three files of a segment.
    pub fn new(disk: D, files_max: usize) -> Self {
        assert!(files_max >= FileKind::ALL.len());
        let state =
            State { open: FxHashMap::default(), order: BTreeMap::new(), time: 0, logs: 0, forgets: 0 };
        Self(Rc::new(Inner { disk, files_max, state: RefCell::new(state) }))
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.0.disk
    }

    /// How many files are kept open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.0.state.borrow().open.len()
    }

    pub(super) fn add_log(&self) -> LogNumber {
        let mut state = self.0.state.borrow_mut();
        state.logs += 1;
        LogNumber(state.logs)
    }

    /// The file, opened or created if need be.
    pub(super) async fn get(
        &self,
        log: LogNumber,
        directory: &Path,
        base: Offset,
        kind: FileKind,
        mode: OpenMode,
    ) -> io::Result<Rc<D::File>> {
        let key = FileKey { log, base, kind };
        let forgets = {
            let mut state = self.0.state.borrow_mut();
            if let Some(file) = state.touch(key) {
                return Ok(file);
            }
            state.forgets
        };
        let path = directory.join(file_name(base, kind));
        let file = match self.0.disk.open(&path, mode).await {
            Err(error) if is_out_of_files(&error) && self.close_half() => {
                self.0.disk.open(&path, mode).await?
            }
            opened => opened?,
        };
        let file = Rc::new(file);
        let mut state = self.0.state.borrow_mut();
        // Otherwise another file may have the name by now.
        if state.forgets == forgets {
            state.insert(key, Rc::clone(&file), self.0.files_max);
        }
        Ok(file)
    }

    /// Closes the half that is unused for longest. Returns whether there was anything to close.
    fn close_half(&self) -> bool {
        let mut state = self.0.state.borrow_mut();
        let before = state.open.len();
        state.keep_at_most(before / 2);
        state.open.len() < before
    }

    /// Lets go of the files of a segment that is removed or replaced.
    pub(super) fn forget(&self, log: LogNumber, base: Offset) {
        let mut state = self.0.state.borrow_mut();
        state.forgets += 1;
        for kind in FileKind::ALL {
            state.remove(FileKey { log, base, kind });
        }
    }
}

impl<F> State<F> {
    fn touch(&mut self, key: FileKey) -> Option<Rc<F>> {
        let (file, used) = self.open.get_mut(&key)?;
        self.time += 1;
        let known = self.order.remove(used);
        assert_eq!(known, Some(key));
        *used = self.time;
        self.order.insert(self.time, key);
        Some(Rc::clone(file))
    }

    fn insert(&mut self, key: FileKey, file: Rc<F>, files_max: usize) {
        // Two that opened it at once: the later one stays.
        self.remove(key);
        self.time += 1;
        self.open.insert(key, (file, self.time));
        self.order.insert(self.time, key);
        self.keep_at_most(files_max);
    }

    fn keep_at_most(&mut self, files_max: usize) {
        while self.open.len() > files_max {
            let (_, oldest) = self.order.pop_first().expect("as many as files");
            self.open.remove(&oldest).expect("in both or in neither");
        }
        assert_eq!(self.open.len(), self.order.len());
    }

    fn remove(&mut self, key: FileKey) {
        if let Some((_, used)) = self.open.remove(&key) {
            self.order.remove(&used).expect("in both or in neither");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::{Fault, FaultDisk, Faults, OperationKind};
    use crate::disk::memory::{MemoryDisk, block_on};

    #[test]
    fn the_file_unused_for_longest_is_closed() {
        let files = OpenFiles::new(MemoryDisk::default(), 3);
        let log = files.add_log();
        let get = |base, mode| {
            block_on(files.get(log, Path::new(""), Offset(base), FileKind::Log, mode)).expect("no faults")
        };
        let first = get(1, OpenMode::Create);
        get(2, OpenMode::Create);
        get(3, OpenMode::Create);
        assert!(Rc::ptr_eq(&first, &get(1, OpenMode::Write)));
        get(4, OpenMode::Create);
        assert_eq!(files.open_count(), 3);
        assert!(Rc::ptr_eq(&first, &get(1, OpenMode::Write)), "it was used after the second");
        files.forget(log, Offset(1));
        assert_eq!(files.open_count(), 2);
        assert!(!Rc::ptr_eq(&first, &get(1, OpenMode::Write)), "opened anew");
        assert_ne!(files.add_log(), log);
    }

    #[test]
    fn where_no_file_can_be_opened_half_of_the_open_ones_are_closed() {
        let faults = Faults::new(1);
        let files = OpenFiles::new(FaultDisk::new(MemoryDisk::default(), faults.clone()), 10);
        let log = files.add_log();
        let get =
            |base| block_on(files.get(log, Path::new(""), Offset(base), FileKind::Log, OpenMode::Create));
        let fail_next = |count| {
            let before = faults.count(OperationKind::Open);
            (1..=count).for_each(|number| faults.plant(OperationKind::Open, before + number, Fault::Fail));
        };
        fail_next(1);
        assert!(get(0).is_err_and(|error| is_out_of_files(&error)), "there is nothing to close");
        (1..=6).for_each(|base| drop(get(base).expect("no faults")));
        fail_next(1);
        get(7).expect("there is room after three are closed");
        assert_eq!(files.open_count(), 4);
        fail_next(2);
        assert!(get(8).is_err_and(|error| is_out_of_files(&error)));
        assert_eq!(files.open_count(), 2);
    }
}

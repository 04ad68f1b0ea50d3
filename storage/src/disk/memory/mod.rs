//! A disk in memory that can lose power at any operation, deterministic by its seed.
//!
//! It remembers, for each file and directory, what has been synced and every change since. At any moment, or at a
//! chosen operation ([`MemoryDisk::crash_at`]), it yields an image of what a power loss may leave
//! ([`MemoryDisk::crash_image`]): all that was synced, and any subset of the rest, chosen by a seed, block by block:
//! a write of four blocks may arrive as its second and fourth, a later write without an earlier one. What must be
//! synced is what [`super`] says: data and size by the file's sync, names by their directory's.
//!
//! It is harsher than most devices, never kinder. A block, however, is never half written.
//!
//! Clones share one disk. One thread only.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::random::Random;
use super::{DirectoryEntry, Disk, DiskFile, OpenMode, SharedBuffer};
use state::{NodeId, OperationId, State};

mod image;
mod state;
#[cfg(test)]
mod tests;

/// How a memory disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// The grain of writes and of tearing. A power of two.
    pub block_bytes: usize,
    /// What can be allocated in all files together.
    pub capacity_bytes: u64,
    /// Decides how completions are delayed.
    pub seed: u64,
    /// By how many polls a write or sync may complete late, overtaken by others; 0 completes all at once.
    pub delay_polls_max: u64,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { block_bytes: 4096, capacity_bytes: u64::MAX, seed: 0, delay_polls_max: 0 }
    }
}

/// See the module.
#[derive(Clone)]
pub struct MemoryDisk {
    options: MemoryOptions,
    state: Rc<RefCell<State>>,
    random: Rc<RefCell<Random>>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl MemoryDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// If the block is not a power of two.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        assert!(options.block_bytes.is_power_of_two());
        Self::with_state(options, State::new(options.block_bytes, options.capacity_bytes))
    }

    fn with_state(options: MemoryOptions, state: State) -> Self {
        let random = Random::new(options.seed);
        Self { options, state: Rc::new(RefCell::new(state)), random: Rc::new(RefCell::new(random)) }
    }

    /// How many changes and syncs have been asked for.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.state.borrow().operation_count()
    }

    /// Loses power at an operation: the first one has the number 1. It is under way then: it may reach the media or
    /// not, and it fails, as does everything after it.
    pub fn crash_at(&self, operation: u64) {
        self.state.borrow_mut().set_crash_at(operation);
    }

    /// Loses power now.
    pub fn crash_now(&self) {
        self.state.borrow_mut().crash();
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.state.borrow().has_crashed()
    }

    /// What the media may hold when the power is lost now: a fresh disk, all of it durable. One seed, one image.
    #[must_use]
    pub fn crash_image(&self, seed: u64) -> Self {
        let image = self.state.borrow().image(&mut Random::new(seed));
        Self::with_state(MemoryOptions { seed, ..self.options }, image)
    }

    /// Changes how much can be allocated in all files together.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state.borrow_mut().set_capacity_bytes(capacity_bytes);
    }

    /// What can be allocated in all files together.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.state.borrow().capacity
    }

    /// The whole content of a file, for a test to look at.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn file_content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.borrow();
        let node = state.find(path)?;
        let size = usize::try_from(state.file_size(node)?).expect("a test's file fits in memory");
        state.read(node, 0, size)
    }

    /// Puts a file there, durable, in place of what was: for a test that damages files. Its directory must exist.
    ///
    /// # Errors
    /// `NotFound` without the directory.
    pub fn set_file_content(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.state.borrow_mut().replace_file(path, content)
    }

    /// Flips bits of one stored byte, durable: rot.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` past the end.
    pub fn rot(&self, path: &Path, position: u64, flip: u8) -> io::Result<()> {
        let mut content = self.file_content(path)?;
        let index = usize::try_from(position).expect("a test's file fits in memory");
        let byte = content.get_mut(index).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= flip;
        self.set_file_content(path, &content)
    }

    /// Lets others overtake, as a device does.
    async fn delay(&self) {
        if self.options.delay_polls_max == 0 {
            return;
        }
        let mut polls_left = self.random.borrow_mut().below(self.options.delay_polls_max + 1);
        std::future::poll_fn(|context| {
            if polls_left == 0 {
                return Poll::Ready(());
            }
            polls_left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn block_bytes(&self) -> usize {
        self.options.block_bytes
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<MemoryFile> {
        let mut state = self.state.borrow_mut();
        state.check_power()?;
        let node = match state.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode == OpenMode::Create => {
                state.create_file(path)?
            }
            found => found?,
        };
        state.file_size(node)?;
        Ok(MemoryFile { disk: self.clone(), node, mode })
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.borrow();
        state.check_power()?;
        Ok(state.find(path).is_ok())
    }

    async fn list_sized(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state.borrow();
        state.check_power()?;
        state.list(directory)
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.state.borrow_mut().create_directory(path)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.borrow_mut().remove(path, false)
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.state.borrow_mut().remove(path, true)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.borrow_mut().rename(from, to)
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let sync = self.state.borrow_mut().begin_directory_sync(path)?;
        self.delay().await;
        self.state.borrow_mut().finish_directory_sync(sync)
    }

    fn can_sync_all(&self) -> bool {
        true
    }

    async fn sync_all(&self) -> io::Result<()> {
        let sync = self.state.borrow_mut().begin_sync_all()?;
        self.delay().await;
        self.state.borrow_mut().finish_sync_all(sync)
    }

    async fn available_bytes(&self) -> io::Result<u64> {
        let state = self.state.borrow();
        state.check_power()?;
        Ok(state.available_bytes())
    }
}

/// An open file of a [`MemoryDisk`]. It outlives its name, as on any disk.
pub struct MemoryFile {
    disk: MemoryDisk,
    node: NodeId,
    mode: OpenMode,
}

impl MemoryFile {
    fn check_writable(&self) {
        assert_ne!(self.mode, OpenMode::Read, "a file opened for reading is changed");
    }

    fn finish(&self, operation: OperationId) -> io::Result<()> {
        self.disk.state.borrow_mut().complete(self.node, operation)
    }
}

impl DiskFile for MemoryFile {
    async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        self.check_writable();
        let operation = self.disk.state.borrow_mut().write(self.node, position, buffer.padded())?;
        self.disk.delay().await;
        self.finish(operation)?;
        if self.mode == OpenMode::WriteSynced {
            self.disk.state.borrow_mut().make_write_durable(self.node, operation)?;
        }
        Ok(())
    }

    async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let state = self.disk.state.borrow();
        state.check_power()?;
        Ok(Bytes::from(state.read(self.node, position, length)?))
    }

    async fn sync(&self) -> io::Result<()> {
        let sync = self.disk.state.borrow_mut().begin_file_sync(self.node)?;
        self.disk.delay().await;
        self.disk.state.borrow_mut().finish_file_sync(self.node, &sync)
    }

    async fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.check_writable();
        let operation = self.disk.state.borrow_mut().truncate(self.node, size_bytes)?;
        self.finish(operation)
    }

    async fn allocate(&self, size_bytes: u64, extend: bool) -> io::Result<()> {
        self.check_writable();
        let operation = self.disk.state.borrow_mut().allocate(self.node, size_bytes, extend)?;
        self.finish(operation)
    }

    async fn size_bytes(&self) -> io::Result<u64> {
        let state = self.disk.state.borrow();
        state.check_power()?;
        state.file_size(self.node)
    }

    async fn close(self) -> io::Result<()> {
        self.disk.state.borrow().check_power()
    }
}

/// Runs a future that waits for nothing but a memory disk.
///
/// # Panics
/// If it does not end within ten million polls: it waits for something that will not come.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("the future waits for something that will not come");
}

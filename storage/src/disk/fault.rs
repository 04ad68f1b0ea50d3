//! Any disk, with faults: reads, writes and syncs that fail, writes that are torn or lost, a full or slow device, files
//! that can't be opened because too many are.
//!
//! Faults are a function of the seed and of the order of the operations. [`Faults`] is the handle a test keeps: it
//! sets the rates, plants a fault at one operation, fills the disk, counts what was done. Slowness is the test's own
//! future ([`Faults::set_delay`]): this module has no timer.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::random::Random;
use super::{DirectoryEntry, Disk, DiskFile, IoBuffer, OpenMode, SharedBuffer};

#[cfg(test)]
mod tests;

/// What a disk is asked for, as far as faults go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync`], [`Disk::sync_directory`] and [`Disk::sync_all`].
    Sync,
    /// What needs a descriptor of its own for as long as it lasts: [`Disk::open`], [`Disk::sync_directory`]. Whatever fault
    /// strikes it, it fails with `EMFILE`. It is never delayed.
    Open,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with `EIO` and does nothing.
    Fail,
    /// A write does its first blocks, at least none and not all, and fails. Anything else just fails.
    Tear,
    /// A write or a sync does nothing and says that it did: a device that lies. A read fails.
    Lose,
}

/// How often, of a million operations of the kind, a fault strikes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// Reads that fail.
    pub read_fail_ppm: u64,
    /// Writes that fail.
    pub write_fail_ppm: u64,
    /// Writes that are torn.
    pub write_tear_ppm: u64,
    /// Writes that are lost.
    pub write_lose_ppm: u64,
    /// Syncs that fail.
    pub sync_fail_ppm: u64,
    /// Files that can't be opened.
    pub open_fail_ppm: u64,
}

type Delay = Rc<dyn Fn(OperationKind) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The handle that decides about the faults of one [`FaultDisk`]. Clones are the same handle.
#[derive(Clone)]
pub struct Faults(Rc<RefCell<FaultState>>);

struct FaultState {
    random: Random,
    rates: FaultRates,
    planted: Vec<(OperationKind, u64, Fault)>,
    counts: [u64; 4],
    struck: u64,
    full: bool,
    delay: Option<Delay>,
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(FaultState {
            random: Random::new(seed),
            rates: FaultRates::default(),
            planted: Vec::new(),
            counts: [0; 4],
            struck: 0,
            full: false,
            delay: None,
        })))
    }

    /// Sets how often faults strike from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.0.borrow_mut().rates = rates;
    }

    /// Plants a fault at an operation; the first of its kind has the number 1.
    ///
    /// # Panics
    /// If that operation is over.
    pub fn plant(&self, kind: OperationKind, number: u64, fault: Fault) {
        assert!(number > self.count(kind), "that operation is over");
        self.0.borrow_mut().planted.push((kind, number, fault));
    }

    /// Lets every write and allocation fail with `StorageFull`, or no more.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// What each operation waits for before it begins.
    pub fn set_delay(&self, delay: impl Fn(OperationKind) -> Pin<Box<dyn Future<Output = ()>>> + 'static) {
        self.0.borrow_mut().delay = Some(Rc::new(delay));
    }

    /// Nothing is waited for any more.
    pub fn clear_delay(&self) {
        self.0.borrow_mut().delay = None;
    }

    /// How many operations of a kind there were.
    #[must_use]
    pub fn count(&self, kind: OperationKind) -> u64 {
        self.0.borrow().counts[kind as usize]
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck_count(&self) -> u64 {
        self.0.borrow().struck
    }

    fn check_descriptors(&self) -> io::Result<()> {
        match self.0.borrow_mut().draw(OperationKind::Open) {
            None => Ok(()),
            Some(_) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }

    /// Counts an operation, waits as long as the disk is slow, and tells what goes wrong with it.
    async fn begin(&self, kind: OperationKind) -> Option<Fault> {
        let (fault, delay) = {
            let mut state = self.0.borrow_mut();
            (state.draw(kind), state.delay.clone())
        };
        if let Some(delay) = delay {
            delay(kind).await;
        }
        fault
    }

    fn check_space(&self) -> io::Result<()> {
        if self.0.borrow().full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn random_index(&self, end: usize) -> usize {
        self.0.borrow_mut().random.index(end)
    }
}

impl FaultState {
    fn draw(&mut self, kind: OperationKind) -> Option<Fault> {
        self.counts[kind as usize] += 1;
        let number = self.counts[kind as usize];
        let planted = self.planted.iter().find(|(of, at, _)| *of == kind && *at == number);
        let fault = planted.map(|(_, _, fault)| *fault).or_else(|| self.draw_by_rate(kind));
        self.struck += u64::from(fault.is_some());
        fault
    }

    fn draw_by_rate(&mut self, kind: OperationKind) -> Option<Fault> {
        let rates = match kind {
            OperationKind::Read => vec![(self.rates.read_fail_ppm, Fault::Fail)],
            OperationKind::Write => vec![
                (self.rates.write_fail_ppm, Fault::Fail),
                (self.rates.write_tear_ppm, Fault::Tear),
                (self.rates.write_lose_ppm, Fault::Lose),
            ],
            OperationKind::Sync => vec![(self.rates.sync_fail_ppm, Fault::Fail)],
            OperationKind::Open => vec![(self.rates.open_fail_ppm, Fault::Fail)],
        };
        rates.into_iter().find(|(ppm, _)| self.random.chance(*ppm, 1_000_000)).map(|(_, fault)| fault)
    }
}

/// A disk with faults.
#[derive(Clone)]
pub struct FaultDisk<D> {
    inner: D,
    faults: Faults,
}

impl<D: Disk> FaultDisk<D> {
    /// Puts faults in front of a disk.
    pub fn new(inner: D, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The disk behind.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<D: Disk> Disk for FaultDisk<D> {
    type File = FaultFile<D::File>;

    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File> {
        self.faults.check_descriptors()?;
        let inner = self.inner.open(path, mode).await?;
        Ok(FaultFile { inner, faults: self.faults.clone(), block_bytes: self.inner.block_bytes() })
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path).await
    }

    async fn list_sized(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.inner.list_sized(directory).await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.faults.check_space()?;
        self.inner.create_directory(path).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path).await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_directory(path).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to).await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.faults.check_descriptors()?;
        match self.faults.begin(OperationKind::Sync).await {
            None => self.inner.sync_directory(path).await,
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Fail | Fault::Tear) => Err(device_error()),
        }
    }

    fn can_sync_all(&self) -> bool {
        self.inner.can_sync_all()
    }

    async fn sync_all(&self) -> io::Result<()> {
        match self.faults.begin(OperationKind::Sync).await {
            None => self.inner.sync_all().await,
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Fail | Fault::Tear) => Err(device_error()),
        }
    }

    async fn available_bytes(&self) -> io::Result<u64> {
        let available = self.inner.available_bytes().await?;
        Ok(if self.faults.check_space().is_ok() { available } else { 0 })
    }
}

/// An open file of a [`FaultDisk`].
pub struct FaultFile<F> {
    inner: F,
    faults: Faults,
    block_bytes: usize,
}

impl<F: DiskFile> FaultFile<F> {
    /// Writes some of the first blocks, never all.
    async fn write_torn(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        let block_count = buffer.padded_bytes() / self.block_bytes;
        let kept_bytes = self.faults.random_index(block_count) * self.block_bytes;
        if kept_bytes > 0 {
            let mut kept = IoBuffer::allocate(kept_bytes);
            // The last piece of a larger class is taken from what is there already.
            let there = self.inner.read_at(position, kept.len()).await?;
            kept[..there.len()].copy_from_slice(&there);
            kept[..kept_bytes].copy_from_slice(&buffer.padded()[..kept_bytes]);
            let length = kept.len();
            self.inner.write_at(&kept.freeze(length), position).await?;
        }
        Err(device_error())
    }
}

impl<F: DiskFile> DiskFile for FaultFile<F> {
    async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        let fault = self.faults.begin(OperationKind::Write).await;
        self.faults.check_space()?;
        match fault {
            None => self.inner.write_at(buffer, position).await,
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Fail) => Err(device_error()),
            Some(Fault::Tear) => self.write_torn(buffer, position).await,
        }
    }

    async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        match self.faults.begin(OperationKind::Read).await {
            None => self.inner.read_at(position, length).await,
            Some(_) => Err(device_error()),
        }
    }

    async fn sync(&self) -> io::Result<()> {
        match self.faults.begin(OperationKind::Sync).await {
            None => self.inner.sync().await,
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Fail | Fault::Tear) => Err(device_error()),
        }
    }

    async fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.inner.truncate(size_bytes).await
    }

    async fn allocate(&self, size_bytes: u64, extend: bool) -> io::Result<()> {
        self.faults.check_space()?;
        self.inner.allocate(size_bytes, extend).await
    }

    async fn size_bytes(&self) -> io::Result<u64> {
        self.inner.size_bytes().await
    }

    async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }
}

fn device_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

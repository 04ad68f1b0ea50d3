//! The one seam between storage and a device: directories, files, direct writes, syncs.
//!
//! Everything that storage puts on a device goes through [`Disk`], journal and segments alike, so that the same
//! code runs on a device (`glommio`), on a memory disk that can lose power at any sync (`memory`), and behind
//! seeded faults (`fault`). Paths are relative to the data directory.
//!
//! Small writes to many files may go through the page cache ([`Disk::write_small`]); nothing else does where the
//! filesystem has direct I/O.
//!
//! What a device must promise: a logical block ([`Disk::block_bytes`]) is written whole or not at all; a synced
//! write stays. What it need not: order between writes that are not separated by a sync.

use std::io;
use std::path::Path;

use bytes::Bytes;

pub mod buffer;

#[cfg(test)]
mod contract;
pub mod fault;
pub mod glommio;
pub mod memory;
pub mod probe;
mod random;
pub mod read_only;

pub use buffer::{BufferPool, IoBuffer, SharedBuffer};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; the file is created where it does not exist.
    Create,
    /// As [`OpenMode::Write`], and every write is on stable media before it completes (`O_DSYNC`).
    WriteSynced,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name, without the directory.
    pub name: String,
    /// The size of a file; 0 for a directory.
    pub size_bytes: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// A directory tree on a device.
pub trait Disk: Clone + 'static {
    /// An open file of this disk.
    type File: DiskFile;

    /// The grain of writes: positions and lengths of [`DiskFile::write_at`] are multiples of it. A power of two.
    fn block_bytes(&self) -> usize;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` where the mode wants the file to exist; otherwise what the system says.
    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;

    /// Writes to a file that need not be open, and is created where it does not exist: for a little to each of many
    /// files, where what surrounds a write costs more than the write. The position and the buffer's length are multiples
    /// of the block, as in [`DiskFile::write_at`]. Durable as any other write: after the file's sync, or
    /// [`Disk::sync_all`]. What lies below `settled_below` was mostly synced by then, and is not worth memory: a hint.
    ///
    /// # Errors
    /// `StorageFull` without space; otherwise what the system says. After an error nothing is known about the range.
    async fn write_small(
        &self,
        path: &Path,
        buffer: &SharedBuffer,
        position: u64,
        _settled_below: u64,
    ) -> io::Result<()> {
        let file = self.open(path, OpenMode::Create).await?;
        file.write_at(buffer, position).await?;
        file.close().await
    }

    /// Whether a file or directory is there.
    ///
    /// # Errors
    /// What the system says.
    async fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The names in a directory, sorted. A directory that does not exist has none.
    ///
    /// # Errors
    /// What the system says.
    async fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Ok(self.list_sized(directory).await?.into_iter().map(|entry| entry.name).collect())
    }

    /// As [`Disk::list`], with sizes: one call where opening each file would be many.
    ///
    /// # Errors
    /// What the system says.
    async fn list_sized(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// As [`Disk::list_sized`], with the contents of those files that `choose` names by their place, as far as they are no
    /// longer than `bytes_max`: for a few small files in each of thousands of directories, where opening each of them costs
    /// more than what is in it.
    ///
    /// # Errors
    /// What the system says.
    async fn survey(&self, directory: &Path, choose: ChooseFiles, bytes_max: usize) -> io::Result<Survey> {
        let entries = self.list_sized(directory).await?;
        let mut contents = Vec::new();
        for name in chosen(&entries, choose, bytes_max) {
            let file = self.open(&directory.join(&name), OpenMode::Read).await?;
            contents.push((name, file.read_at(0, bytes_max).await?));
            file.close().await?;
        }
        Ok(Survey { entries, contents })
    }

    /// Creates a directory and its parents. Durable after [`Disk::sync_directory`] of each parent.
    ///
    /// # Errors
    /// What the system says.
    async fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_directory`] of its parent.
    ///
    /// # Errors
    /// What the system says.
    async fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all that is in it.
    ///
    /// # Errors
    /// What the system says.
    async fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory, replacing a file. Durable after [`Disk::sync_directory`] of both parents.
    ///
    /// # Errors
    /// What the system says.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the system says; a failed sync is fatal to the caller.
    async fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Whether [`Disk::sync_all`] can be used.
    fn can_sync_all(&self) -> bool;

    /// Makes every completed write, every size and every name durable, in all files and directories: one commit of the
    /// filesystem instead of one for each file. Others who write to the same filesystem take part in it.
    ///
    /// # Errors
    /// What the system says; a failed sync is fatal to the caller.
    async fn sync_all(&self) -> io::Result<()>;

    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// What the system says.
    async fn available_bytes(&self) -> io::Result<u64>;
}

/// Names files of a directory by their places in its list.
pub type ChooseFiles = fn(&[DirectoryEntry]) -> Vec<usize>;

/// A directory, and what is in some of its files.
#[derive(Debug, Default)]
pub struct Survey {
    /// What is there, sorted by name.
    pub entries: Vec<DirectoryEntry>,
    contents: Vec<(String, Bytes)>,
}

impl Survey {
    /// What is in a file; none where it was not asked for, is not there, or is too long.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<&Bytes> {
        self.contents.iter().find(|(found, _)| found == name).map(|(_, content)| content)
    }
}

/// The names of the files that a survey reads.
fn chosen(entries: &[DirectoryEntry], choose: ChooseFiles, bytes_max: usize) -> Vec<String> {
    let is_short =
        |entry: &&DirectoryEntry| usize::try_from(entry.size_bytes).is_ok_and(|size| size <= bytes_max);
    let entries = choose(entries).into_iter().map(|place| &entries[place]);
    entries.filter(|entry| !entry.is_directory).filter(is_short).map(|entry| entry.name.clone()).collect()
}

/// Whether a file could not be opened because the process, or the machine, has too many open: nothing has happened, and
/// it may well succeed later.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// An open file. Several operations may be under way at once; their order is the device's unless awaited.
pub trait DiskFile: 'static {
    /// Writes the whole buffer at a position. Buffer length and position are multiples of the block.
    ///
    /// # Errors
    /// `StorageFull` without space; otherwise what the system says. After an error nothing is known about the range.
    async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()>;

    /// Reads up to `length` bytes; fewer only at the end of the file. Any position and length.
    ///
    /// # Errors
    /// What the system says.
    async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes>;

    /// Makes every completed write, and the size, durable (`fdatasync`). Never retried after a failure.
    ///
    /// # Errors
    /// What the system says; the caller stops the process.
    async fn sync(&self) -> io::Result<()>;

    /// Sets the size.
    ///
    /// # Errors
    /// What the system says.
    async fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Allocates space from 0 to `size_bytes` without changing what is read, and sets the size when `extend`.
    ///
    /// # Errors
    /// `StorageFull` without space.
    async fn allocate(&self, size_bytes: u64, extend: bool) -> io::Result<()>;

    /// The size.
    ///
    /// # Errors
    /// What the system says.
    async fn size_bytes(&self) -> io::Result<u64>;

    /// Closes the file; dropping it does so too, unobserved.
    ///
    /// # Errors
    /// What the system says.
    async fn close(self) -> io::Result<()>;
}

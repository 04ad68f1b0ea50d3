//! A directory tree that is only looked at: through the page cache, without io_uring, and with no way to change it.
//!
//! For tools, on whatever machine they run and whoever else uses the directory. Whatever would write is refused, so that
//! code made for a [`Disk`] can be let loose on data that must stay as it is. Reads block the calling thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{DirectoryEntry, Disk, DiskFile, OpenMode, SharedBuffer};
use crate::limits::BUFFER_ALIGN_BYTES;

/// See the module.
#[derive(Clone, Debug)]
pub struct ReadOnlyDisk {
    root: PathBuf,
}

/// A file that is only read.
#[derive(Debug)]
pub struct ReadOnlyFile(File);

impl ReadOnlyDisk {
    /// The tree below a directory.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the directory is only looked at")
}

impl Disk for ReadOnlyDisk {
    type File = ReadOnlyFile;

    fn block_bytes(&self) -> usize {
        BUFFER_ALIGN_BYTES
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<ReadOnlyFile> {
        match mode {
            OpenMode::Read => {
                // A pipe of a file's name would have its opener wait for a writer.
                let flags = libc::O_NONBLOCK;
                let file = OpenOptions::new().read(true).custom_flags(flags).open(self.root.join(path))?;
                if !file.metadata()?.is_file() {
                    let what = format!("{} is no regular file", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
                }
                Ok(ReadOnlyFile(file))
            }
            OpenMode::Write | OpenMode::Create | OpenMode::WriteSynced => Err(refused()),
        }
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.root.join(path).try_exists()
    }

    async fn list_sized(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let entries = match fs::read_dir(self.root.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is removed meanwhile is not there any more.
            let Ok(metadata) = entry.metadata() else { continue };
            let is_directory = metadata.is_dir();
            found.push(DirectoryEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                size_bytes: if is_directory { 0 } else { metadata.len() },
                is_directory,
            });
        }
        found.sort();
        Ok(found)
    }

    async fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn remove_file(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn remove_directory(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn can_sync_all(&self) -> bool {
        false
    }

    async fn sync_all(&self) -> io::Result<()> {
        Err(refused())
    }

    async fn available_bytes(&self) -> io::Result<u64> {
        // Nothing can be allocated here.
        Ok(0)
    }
}

impl DiskFile for ReadOnlyFile {
    async fn write_at(&self, _buffer: &SharedBuffer, _position: u64) -> io::Result<()> {
        Err(refused())
    }

    async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let left = self.0.metadata()?.len().saturating_sub(position);
        let mut bytes = vec![0; usize::try_from(left).map_or(length, |left| left.min(length))];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = position + u64::try_from(filled).expect("usize has at most 64 bits");
            match self.0.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    async fn sync(&self) -> io::Result<()> {
        Err(refused())
    }

    async fn truncate(&self, _size_bytes: u64) -> io::Result<()> {
        Err(refused())
    }

    async fn allocate(&self, _size_bytes: u64, _extend: bool) -> io::Result<()> {
        Err(refused())
    }

    async fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;
    use crate::disk::IoBuffer;

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("writable");
        fs::create_dir(directory.path().join("below")).expect("writable");
        let disk = ReadOnlyDisk::new(directory.path());
        for name in ["pipe", "below"] {
            let opened = block_on(disk.open(Path::new(name), OpenMode::Read));
            let error = opened.expect_err("it is no regular file");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}: {error}");
        }
    }

    #[test]
    fn it_reads_what_is_there_and_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("below")).expect("writable");
        fs::write(directory.path().join("below/b"), b"0123456789").expect("writable");
        fs::write(directory.path().join("below/a"), b"").expect("writable");
        let disk = ReadOnlyDisk::new(directory.path());
        block_on(async {
            let below = Path::new("below");
            assert_eq!(disk.list(below).await.expect("readable"), ["a", "b"]);
            assert_eq!(disk.list(Path::new("nowhere")).await.expect("readable"), [""; 0]);
            assert!(disk.exists(&below.join("b")).await.expect("readable"));
            let file = disk.open(&below.join("b"), OpenMode::Read).await.expect("readable");
            assert_eq!(file.size_bytes().await.expect("readable"), 10);
            assert_eq!(&file.read_at(3, 4).await.expect("readable")[..], b"3456");
            assert_eq!(&file.read_at(8, 4096).await.expect("readable")[..], b"89");
            assert_eq!(&file.read_at(11, 1).await.expect("readable")[..], b"");
            let buffer = IoBuffer::allocate(BUFFER_ALIGN_BYTES).freeze(0);
            let outcomes = [
                file.write_at(&buffer, 0).await,
                file.truncate(0).await,
                file.allocate(1, true).await,
                file.sync().await,
                disk.open(&below.join("c"), OpenMode::Create).await.map(drop),
                disk.open(&below.join("b"), OpenMode::WriteSynced).await.map(drop),
                disk.write_small(&below.join("b"), &buffer, 0, 0).await,
                disk.create_directory(Path::new("new")).await,
                disk.remove_file(&below.join("b")).await,
                disk.remove_directory(below).await,
                disk.rename(&below.join("b"), &below.join("c")).await,
                disk.sync_directory(below).await,
                disk.sync_all().await,
            ];
            for (number, outcome) in outcomes.into_iter().enumerate() {
                let error = outcome.expect_err("it would change something");
                assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem, "operation {number}");
            }
            let left = disk.list(below).await.expect("readable");
            assert_eq!(left, ["a", "b"]);
        });
        assert_eq!(fs::read(directory.path().join("below/b")).expect("readable"), b"0123456789");
    }
}

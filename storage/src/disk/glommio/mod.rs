//! The disk of a real machine, driven by glommio's io_uring: direct I/O where the filesystem can, buffered otherwise.
//!
//! A handle belongs to the executor it is used on. Reads and writes go through the ring; so do opening, renaming and
//! removing. What glommio has no operation for runs on its pool of blocking threads.
//!
//! Syncing a directory is `fsync`, not glommio's `fdatasync`: on ext4 a new name that fits into an existing block of
//! its directory changes no data that `fdatasync` would wait for.
//!
//! Filesystems that keep their data in memory (tmpfs, ramfs) accept `O_DIRECT` and mean nothing by it; others refuse
//! it. There, files are opened buffered: the same promises, through the page cache, at its price.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use glommio::GlommioError;
use glommio::io::{BufferedFile, DmaFile, OpenOptions};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use small::{SmallWrite, SmallWrites};

use super::{ChooseFiles, DirectoryEntry, Disk, DiskFile, IoBuffer, OpenMode, SharedBuffer, Survey};
use crate::limits::BUFFER_ALIGN_BYTES;

mod read;
mod small;
#[cfg(test)]
mod tests;

/// Not among the constants of `nix`.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// A directory tree of this machine.
#[derive(Clone)]
pub struct GlommioDisk {
    root: Arc<Path>,
    direct: bool,
    /// A file without a name, whose sync flushes the device; none where the filesystem has no such files.
    flusher: Option<Arc<File>>,
    small_writes: Rc<SmallWrites>,
}

impl GlommioDisk {
    /// The tree below an existing directory, with direct I/O where its filesystem can.
    ///
    /// # Errors
    /// `NotFound` without the directory; `Unsupported` where the device's logical block is larger than
    /// [`BUFFER_ALIGN_BYTES`]; otherwise what the system says.
    ///
    /// # Panics
    /// Outside a glommio executor.
    pub async fn open(root: &Path) -> io::Result<Self> {
        let root: Arc<Path> = blocking({
            let root = root.to_owned();
            move || root.canonicalize()
        })
        .await?
        .into();
        let kind = statfs(&*root).map_err(io::Error::from)?.filesystem_type();
        let direct = kind != TMPFS_MAGIC && kind != RAMFS_MAGIC && Self::open_probe(&root).await?;
        if !direct {
            tracing::warn!(
                directory = %root.display(),
                "the filesystem has no direct I/O; writing through the page cache instead"
            );
        }
        let flusher = Self::open_flusher(&root).await;
        Ok(Self { root, direct, flusher, small_writes: Rc::default() })
    }

    /// As [`GlommioDisk::open`], through the page cache in any case.
    ///
    /// # Errors
    /// `NotFound` without the directory; otherwise what the system says.
    pub async fn open_buffered(root: &Path) -> io::Result<Self> {
        let root = root.to_owned();
        let root: Arc<Path> = blocking(move || root.canonicalize()).await?.into();
        let flusher = Self::open_flusher(&root).await;
        Ok(Self { root, direct: false, flusher, small_writes: Rc::default() })
    }

    /// Whether reads and writes bypass the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// The directory it is the tree of.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Asks the filesystem by opening a file directly; its name is gone again afterwards. Shards that start together each
    /// ask with a file of their own: one must not remove another's while it is being opened.
    async fn open_probe(root: &Path) -> io::Result<bool> {
        static NEXT_PROBE: AtomicU32 = AtomicU32::new(0);
        let probe = NEXT_PROBE.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!(".direct-probe-{}-{probe}", std::process::id()));
        let opened = OpenOptions::new().read(true).write(true).create(true).dma_open(&path).await;
        let direct = match opened {
            Ok(file) => {
                let alignment = file.alignment();
                file.close().await.map_err(translate)?;
                if alignment > as_u64(BUFFER_ALIGN_BYTES) {
                    let message = format!(
                        "logical blocks of {alignment} bytes; {BUFFER_ALIGN_BYTES} at most are supported"
                    );
                    Err(io::Error::new(io::ErrorKind::Unsupported, message))
                } else {
                    Ok(true)
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => Err(translate(error)),
        };
        match glommio::io::remove(&path).await {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(translate(error)),
            _ => direct,
        }
    }

    async fn open_flusher(root: &Path) -> Option<Arc<File>> {
        let root = root.to_owned();
        let opened =
            blocking(move || File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(root));
        opened.await.ok().map(Arc::new)
    }

    fn full(&self, path: &Path) -> PathBuf {
        assert!(path.is_relative(), "{} is not below the data directory", path.display());
        self.root.join(path)
    }
}

impl Disk for GlommioDisk {
    type File = GlommioFile;

    /// A page: what the buffers are aligned to and what filesystems allocate. The device's logical block may be
    /// smaller; then a page that is written over with the same beginning keeps that beginning even when torn.
    fn block_bytes(&self) -> usize {
        BUFFER_ALIGN_BYTES
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<GlommioFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
        if mode == OpenMode::WriteSynced {
            options.custom_flags(libc::O_DSYNC);
        }
        let path = self.full(path);
        if self.direct {
            Ok(GlommioFile::Direct(options.dma_open(&path).await.map_err(translate)?))
        } else {
            Ok(GlommioFile::Buffered(options.buffered_open(&path).await.map_err(translate)?))
        }
    }

    async fn write_small(
        &self,
        path: &Path,
        buffer: &SharedBuffer,
        position: u64,
        settled_below: u64,
    ) -> io::Result<()> {
        // Where readers go through the page cache as well, what is there is theirs.
        let forget_below = if self.direct { settled_below } else { 0 };
        let write = SmallWrite { path: self.full(path), buffer: buffer.clone(), position, forget_below };
        self.small_writes.write(write).await.map_err(|error| match error.raw_os_error() {
            Some(libc::EDQUOT) => io::Error::new(io::ErrorKind::StorageFull, error),
            _ => error,
        })
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = self.full(path);
        blocking(move || path.try_exists()).await
    }

    async fn list_sized(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let directory = self.full(directory);
        blocking(move || list_sized_blocking(&directory)).await
    }

    /// All of it on a thread beside, through the page cache: a handful of system calls instead of a dozen ways there and back.
    async fn survey(&self, directory: &Path, choose: ChooseFiles, bytes_max: usize) -> io::Result<Survey> {
        let directory = self.full(directory);
        let survey = move || {
            let entries = list_sized_blocking(&directory)?;
            let read = |name: String| {
                let content = std::fs::read(directory.join(&name))?;
                Ok((name, Bytes::from(content)))
            };
            let names = super::chosen(&entries, choose, bytes_max).into_iter();
            let contents = names.map(read).collect::<io::Result<_>>()?;
            Ok(Survey { entries, contents })
        };
        blocking(survey).await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        let path = self.full(path);
        blocking(move || std::fs::create_dir_all(path)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        glommio::io::remove(self.full(path)).await.map_err(translate)
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let path = self.full(path);
        blocking(move || std::fs::remove_dir_all(path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        glommio::io::rename(self.full(from), self.full(to)).await.map_err(translate)
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let path = self.full(path);
        blocking(move || std::fs::File::open(path)?.sync_all()).await
    }

    fn can_sync_all(&self) -> bool {
        self.flusher.is_some()
    }

    /// `syncfs` writes all that is dirty and commits the filesystem's journal. Where there is nothing to commit, some
    /// filesystems leave what direct writes put in the device's cache there; a sync of any file flushes that.
    async fn sync_all(&self) -> io::Result<()> {
        let flusher = self.flusher.clone().ok_or(io::ErrorKind::Unsupported)?;
        blocking(move || {
            nix::unistd::syncfs(&*flusher)?;
            flusher.sync_data()
        })
        .await
    }

    async fn available_bytes(&self) -> io::Result<u64> {
        let root = Arc::clone(&self.root);
        blocking(move || {
            let found = statvfs(&*root)?;
            Ok(found.blocks_available() * found.fragment_size())
        })
        .await
    }
}

fn list_sized_blocking(directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let names = match std::fs::read_dir(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for name in names {
        let name = name?;
        let metadata = match name.metadata() {
            // Removed between listing and looking.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        let text = name.file_name().into_string().map_err(|name| {
            let message = format!("{} in {} is not UTF-8", name.display(), directory.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        let is_directory = metadata.is_dir();
        let size_bytes = if is_directory { 0 } else { metadata.len() };
        entries.push(DirectoryEntry { name: text, size_bytes, is_directory });
    }
    entries.sort();
    Ok(entries)
}

/// An open file of a [`GlommioDisk`].
pub enum GlommioFile {
    /// Around the page cache.
    Direct(DmaFile),
    /// Through it.
    Buffered(BufferedFile),
}

impl DiskFile for GlommioFile {
    async fn write_at(&self, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
        assert!(
            position.is_multiple_of(as_u64(BUFFER_ALIGN_BYTES)),
            "position {position} is no multiple of a block"
        );
        match self {
            Self::Direct(file) => write_direct(file, buffer, position).await,
            Self::Buffered(file) => write_buffered(file, buffer.padded(), position).await,
        }
    }

    async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        match self {
            Self::Direct(file) => read::read_direct(file, position, length).await,
            Self::Buffered(file) => read::read_buffered(file, position, length).await,
        }
    }

    async fn sync(&self) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.fdatasync().await,
            Self::Buffered(file) => file.fdatasync().await,
        }
        .map_err(translate)
    }

    async fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.truncate(size_bytes).await,
            Self::Buffered(file) => file.truncate(size_bytes).await,
        }
        .map_err(translate)
    }

    async fn allocate(&self, size_bytes: u64, extend: bool) -> io::Result<()> {
        let allocated = match self {
            Self::Direct(file) => file.pre_allocate(size_bytes, !extend).await,
            Self::Buffered(file) => file.pre_allocate(size_bytes, !extend).await,
        };
        match allocated {
            // A filesystem without allocation ahead: space runs out at the write, if it does.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                if extend && self.size_bytes().await? < size_bytes {
                    self.truncate(size_bytes).await?;
                }
                Ok(())
            }
            other => other.map_err(translate),
        }
    }

    async fn size_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Direct(file) => file.file_size().await,
            Self::Buffered(file) => file.file_size().await,
        }
        .map_err(translate)
    }

    async fn close(self) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.close().await,
            Self::Buffered(file) => file.close().await,
        }
        .map_err(translate)
    }
}

/// Writes the whole buffer without copying it. A write that the system cuts short is gone on with from a copy of
/// the rest, for a ring can't write from the middle of a buffer.
async fn write_direct(file: &DmaFile, buffer: &SharedBuffer, position: u64) -> io::Result<()> {
    let mut written = write_direct_once(file, buffer, position).await?;
    let whole = buffer.padded();
    while written < whole.len() {
        let rest = &whole[written..];
        let part_bytes = super::buffer::size_class_below(rest.len());
        let mut part = IoBuffer::allocate(part_bytes);
        assert_eq!(part.len(), part_bytes);
        part.copy_from_slice(&rest[..part_bytes]);
        written += write_direct_once(file, &part.freeze(part_bytes), position + as_u64(written)).await?;
    }
    Ok(())
}

/// Writes some of the buffer: whole blocks from its beginning, at least one.
async fn write_direct_once(file: &DmaFile, buffer: &SharedBuffer, position: u64) -> io::Result<usize> {
    let claim = buffer.claim_write();
    let written = file.write_rc_at(claim.memory(), position).await.map_err(translate)?;
    claim.finish();
    assert!(written <= buffer.padded_bytes());
    // A part of a block counts as not written.
    match written - written % BUFFER_ALIGN_BYTES {
        0 => Err(io::ErrorKind::WriteZero.into()),
        whole_blocks => Ok(whole_blocks),
    }
}

async fn write_buffered(file: &BufferedFile, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = bytes[written..].to_vec();
        match file.write_at(rest, position + as_u64(written)).await.map_err(translate)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}

/// Runs what would block on glommio's pool of threads for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    glommio::executor().spawn_blocking(work).await
}

/// An exceeded quota is a full disk to the one who writes.
fn translate(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EDQUOT) => io::Error::new(io::ErrorKind::StorageFull, error.to_string()),
        // What it is told with hides the number, and there is no kind for it.
        Some(number @ (libc::EMFILE | libc::ENFILE)) => io::Error::from_raw_os_error(number),
        _ => error.into(),
    }
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).expect("usize has at most 64 bits")
}

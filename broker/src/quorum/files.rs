//! The quorum's files. Each change is durable when it returns; a failed one is never tried again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::fcntl::FallocateFlags;

use crate::limits::QUORUM_RESERVE_BYTES;

/// What the quorum needs of a directory.
pub trait Files: Send + 'static {
    /// A whole file; `None` where there is none.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes a file under its name as a whole: afterwards, and after any crash, it is the old one or the new one.
    ///
    /// # Errors
    /// What the system says.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Writes into a file from a position on, which is its end or, over what a crash left torn, before it.
    ///
    /// # Errors
    /// What the system says; afterwards nothing is known about the file from the position on.
    fn write(&mut self, name: &str, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&mut self, name: &str, size_bytes: u64) -> io::Result<()>;

    /// Space that is left.
    ///
    /// # Errors
    /// What the system says.
    fn available_bytes(&self) -> io::Result<u64>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The file written last stays open: the log is written again and again.
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    file: File,
    /// Up to where space is allocated, as far as is known.
    allocated_bytes: u64,
}

impl OpenFile {
    /// Keeps space allocated ahead of what is written, so that a full disk can still take what heals it: deleted
    /// topics. Without space there is nothing to keep, and the file goes on with what it has.
    fn allocate_ahead(&mut self, end: u64) {
        if self.allocated_bytes >= end + QUORUM_RESERVE_BYTES {
            return;
        }
        let target = end + 2 * QUORUM_RESERVE_BYTES;
        let length = i64::try_from(target - end).expect("the reserve is small");
        let start = i64::try_from(end).expect("files are smaller than 2^63 bytes");
        let kept = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        self.allocated_bytes = match nix::fcntl::fallocate(&self.file, kept, start, length) {
            Ok(()) => target,
            Err(_) => self.allocated_bytes.max(end),
        };
    }
}

impl Directory {
    /// Opens a directory, which is made where it isn't there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path, open: None })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut OpenFile> {
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            let file = OpenOptions::new().write(true).open(self.path.join(name))?;
            self.open = Some(OpenFile { name: name.to_owned(), file, allocated_bytes: 0 });
        }
        Ok(self.open.as_mut().expect("opened just now"))
    }
}

impl Files for Directory {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open = None;
        let temporary = self.path.join(format!("{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }

    fn write(&mut self, name: &str, position: u64, bytes: &[u8]) -> io::Result<()> {
        let open = self.file(name)?;
        open.file.write_all_at(bytes, position)?;
        open.allocate_ahead(position + bytes.len() as u64);
        open.file.sync_data()
    }

    fn truncate(&mut self, name: &str, size_bytes: u64) -> io::Result<()> {
        let open = self.file(name)?;
        open.file.set_len(size_bytes)?;
        open.allocated_bytes = 0;
        open.file.sync_all()
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let status = nix::sys::statvfs::statvfs(&self.path)?;
        Ok(status.blocks_available() * status.fragment_size())
    }
}

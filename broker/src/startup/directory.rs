//! The data directory: made, locked against other brokers, proven writable, and known by its filesystem.
//!
//! Layout: `lock` in it carries the flock and the holder's process id; the lock goes when the process does, however it
//! ends. Whose the directory is stands in its identity, which is read here; nothing else is touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{FsType, statfs};

use protocol::types::BrokerId;

use super::StartupError;
use crate::exit::ExitCode;
use crate::quorum::{IDENTITY_FILE, Identity, IdentityError, SealError};

/// The file that is locked.
const LOCK_FILE: &str = "lock";
/// What Apache Kafka keeps in each of its directories.
const KAFKA_FILE: &str = "meta.properties";
/// What a broker makes after its identity.
const LAID_OUT: [&str; 4] = ["journal", "topics", "checkpoint", "quorum"];
/// A process id and a line's end fit well.
const LOCK_FILE_BYTES_MAX: u64 = 32;

/// A data directory that belongs to this process.
#[derive(Debug)]
pub struct DataDirectory {
    /// As the operator named it.
    pub path: PathBuf,
    /// What it stands on.
    pub filesystem: Filesystem,
    _lock: Flock<File>,
}

/// What is known of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its usual name, or its number.
    pub name: String,
    /// Whether it keeps nothing over a restart of the machine.
    pub is_volatile: bool,
    /// Whether it is another machine's.
    pub is_remote: bool,
}

impl DataDirectory {
    /// Makes it where it doesn't exist, locks it and tries to write.
    pub(super) fn claim(path: &Path) -> Result<Self, StartupError> {
        let shown = path.display();
        let refuse = |doing: &str, error: io::Error| {
            let message = format!("data directory {shown}: {doing}: {error}: {}", remedy(&error));
            StartupError::new(ExitCode::DataNotWritable, message)
        };
        fs::create_dir_all(path).map_err(|error| refuse("can't be made", error))?;
        if path.join(KAFKA_FILE).exists() {
            let message = format!(
                "data directory {shown}: it is Apache Kafka's ({KAFKA_FILE} is in it): \
                 name another with --data-dir"
            );
            return Err(StartupError::new(ExitCode::DataFormat, message));
        }
        let lock_path = path.join(LOCK_FILE);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(&lock_path).map_err(|error| refuse("can't be written", error))?;
        let mut lock = lock(file, path)?;
        write_holder(&mut lock).map_err(|error| refuse("can't be written", error))?;
        let filesystem =
            filesystem_of(path).map_err(|error| refuse("can't be asked for its filesystem", error))?;
        warn_of(&filesystem, path);
        Ok(Self { path: path.to_owned(), filesystem, _lock: lock })
    }
}

impl DataDirectory {
    /// Whose the directory is; none where it is new.
    ///
    /// # Errors
    /// It is of another format, damaged, or another node's than `node_id`.
    pub fn identity(&self, node_id: BrokerId) -> Result<Option<Identity>, StartupError> {
        let shown = self.path.display();
        let refuse =
            |code, reason: String| StartupError::new(code, format!("data directory {shown}: {reason}"));
        match Identity::read(&self.path) {
            Ok(Some(identity)) if identity.node_id != node_id => {
                let theirs = identity.node_id;
                let reason = format!(
                    "it belongs to node {theirs}, but node.id is {node_id}: mend that, or --data-dir"
                );
                Err(refuse(ExitCode::DataFormat, reason))
            }
            Ok(Some(identity)) => Ok(Some(identity)),
            Ok(None) => match LAID_OUT.iter().find(|name| self.path.join(name).exists()) {
                None => Ok(None),
                Some(name) => {
                    let reason = format!(
                        "{IDENTITY_FILE} is missing beside {name}/: restore it from a backup, \
                         or name an empty directory with --data-dir"
                    );
                    Err(refuse(ExitCode::Damaged, reason))
                }
            },
            Err(error) => {
                let (code, remedy) = match &error {
                    IdentityError::Seal(SealError::Version { .. }) => (
                        ExitCode::DataFormat,
                        "start a broker that reads it, or name another with --data-dir",
                    ),
                    IdentityError::Seal(SealError::Foreign) => {
                        (ExitCode::DataFormat, "name another with --data-dir")
                    }
                    IdentityError::File(_) => (ExitCode::DataNotWritable, "let this user read and write it"),
                    IdentityError::Seal(SealError::Damaged)
                    | IdentityError::Buffer(_)
                    | IdentityError::Values => (ExitCode::Damaged, "restore it from a backup"),
                };
                Err(refuse(code, format!("{IDENTITY_FILE}: {error}: {remedy}")))
            }
        }
    }
}

fn lock(file: File, path: &Path) -> Result<Flock<File>, StartupError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, error)| {
        let shown = path.display();
        if error != Errno::EWOULDBLOCK {
            let message = format!(
                "data directory {shown}: its filesystem can't lock files ({error}): name another with --data-dir"
            );
            return StartupError::new(ExitCode::DataNotWritable, message);
        }
        let holder = match read_holder(&mut file) {
            Some(process) => format!("process {process}"),
            None => "another process".to_owned(),
        };
        let message = format!(
            "data directory {shown}: a broker runs in it already ({holder}): \
             stop that one, or name another with --data-dir"
        );
        StartupError::new(ExitCode::DataLocked, message)
    })
}

/// Only for the message: whoever reads it may be too late.
fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    lock.sync_all()
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(LOCK_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user the right to write there, or name another with --data-dir"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "its filesystem is mounted read-only: remount it, or name another with --data-dir"
        }
        io::ErrorKind::StorageFull => "its filesystem is full: free some space",
        _ => "name another with --data-dir",
    }
}

fn filesystem_of(path: &Path) -> io::Result<Filesystem> {
    Ok(describe(statfs(path)?.filesystem_type()))
}

/// Names of `linux/magic.h`, and of those that keep their number to themselves.
fn describe(kind: FsType) -> Filesystem {
    let known = match kind.0 {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0xF2F5_2010 => "f2fs",
        0x2FC1_2FC1 => "zfs",
        0xCA45_1A4E => "bcachefs",
        0x0102_1994 => "tmpfs",
        0x8584_58F6 => "ramfs",
        0x794C_7630 => "overlayfs",
        0x6969 => "nfs",
        0xFF53_4D42 | 0xFE53_4D42 => "smb",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00C3_6400 => "ceph",
        _ => "",
    };
    let name = if known.is_empty() { format!("filesystem {:#x}", kind.0) } else { known.to_owned() };
    Filesystem {
        name,
        is_volatile: matches!(known, "tmpfs" | "ramfs"),
        is_remote: matches!(known, "nfs" | "smb" | "fuse" | "9p" | "ceph"),
    }
}

fn warn_of(filesystem: &Filesystem, path: &Path) {
    let (path, filesystem_name) = (path.display(), &filesystem.name);
    if filesystem.is_volatile {
        tracing::warn!(%path, filesystem_name, "the data directory is in memory: it won't survive the machine");
    }
    if filesystem.is_remote {
        tracing::warn!(%path, filesystem_name, "the data directory isn't on a disk of this machine: acks wait for it");
    }
}

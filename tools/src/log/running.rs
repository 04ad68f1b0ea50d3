//! Whether a broker runs on a data directory, found out without touching its lock: the file says whose it was last, and the kernel
//! lists who holds it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

/// The process that holds the directory's lock, if one does.
///
/// # Errors
/// What is called `lock` is no regular file.
pub fn broker_on(directory: &Path) -> io::Result<Option<u32>> {
    // A pipe of that name would have its opener wait for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(directory.join("lock"));
    let Ok(mut file) = opened else { return Ok(None) };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "lock is no regular file"));
    }
    let mut owner = String::new();
    let read = file.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse().ok());
    let Some(process) = read else { return Ok(None) };
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return Ok(None) };
    Ok(holds(&locks, process, metadata.ino()).then_some(process))
}

/// Whether a process holds a `flock` of a file, in the kernel's words: `1: FLOCK ADVISORY WRITE 1234 fe:00:5678 0 EOF`. Not every
/// filesystem has there the device that a file says of itself, so that is passed over.
fn holds(locks: &str, process: u32, inode: u64) -> bool {
    let (process, inode) = (process.to_string(), format!(":{inode}"));
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_flock = words.get(1) == Some(&"FLOCK");
        let is_of_file = words.get(5).is_some_and(|place| place.ends_with(&inode));
        is_flock && is_of_file && words.get(4) == Some(&process.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_in_the_kernels_list() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF
2: FLOCK  ADVISORY  WRITE 4294 fe:00:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF
";
        assert!(holds(locks, 4294, 77));
        assert!(!holds(locks, 11, 77), "a lock of another kind");
        assert!(!holds(locks, 12, 77), "it waits for the lock");
        assert!(!holds(locks, 4294, 7), "another file");
    }
}

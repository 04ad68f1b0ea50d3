//! Whether a broker runs on a data directory, found out without touching its lock: the file says whose it was last, and the kernel
//! lists who holds it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds the directory's lock, if one does.
pub fn broker_on(directory: &Path) -> Option<u32> {
    let path = directory.join("lock");
    let process = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    let inode = fs::metadata(&path).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holds(&locks, process, inode).then_some(process)
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

//! What disks have written so far, by the kernel's count.

use std::fs;
use std::path::PathBuf;

use super::Disk;

/// In a disk's `stat` file, from 0: sectors written, each of 512 bytes whatever the device's own are.
const SECTORS_WRITTEN: usize = 6;
const SECTOR_BYTES: u64 = 512;
/// Block devices that are memory, or files of another device.
const NO_DISKS: [&str; 3] = ["loop", "ram", "zram"];

/// The disks whose writes are counted.
#[derive(Clone, Debug, Default)]
pub struct DiskWrites {
    counts: Vec<PathBuf>,
}

impl DiskWrites {
    /// Of the disk of a directory; all of the machine's where it is not known which that is.
    pub fn of(disk: Option<&Disk>) -> Self {
        let own = disk.and_then(|disk| disk.device.as_ref());
        let own = own.map(|device| PathBuf::from(format!("/sys/class/block/{device}/stat")));
        match own.filter(|path| path.exists()) {
            Some(path) => Self { counts: vec![path] },
            None => Self::of_machine(),
        }
    }

    fn of_machine() -> Self {
        let all = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let disks = all.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
        });
        Self { counts: disks.map(|entry| entry.path().join("stat")).collect() }
    }

    /// Whether there is a disk that tells.
    pub fn is_known(&self) -> bool {
        !self.counts.is_empty()
    }

    /// Written since the machine started.
    pub fn bytes(&self) -> u64 {
        self.counts.iter().filter_map(|path| written(&fs::read_to_string(path).ok()?)).sum()
    }
}

fn written(stat: &str) -> Option<u64> {
    Some(stat.split_whitespace().nth(SECTORS_WRITTEN)?.parse::<u64>().ok()? * SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_counted_in_512_bytes() {
        let stat = "  1000  1 2000 30 400 5 4096 60 0 70 80 0 0 0 0 5 6\n";
        assert_eq!(written(stat), Some(2 << 20));
        assert_eq!(written(""), None);
    }
}

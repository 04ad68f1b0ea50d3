//! Which disk a directory lies on.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The filesystem and device of a directory.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Disk {
    pub directory: PathBuf,
    pub filesystem: String,
    pub mount_options: String,
    /// "vda", where the filesystem is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// "write back": a write is durable only after a flush; "write through": as soon as it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<String>,
    /// Whether the device takes writes that are durable at once in spite of its cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_unit_access: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    pub free_bytes: u64,
}

impl Disk {
    /// The one that `directory` lies on.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let directory = directory.canonicalize()?;
        let number = fs::metadata(&directory)?.dev();
        let (major, minor) = (libc::major(number), libc::minor(number));
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let (filesystem, mount_options) =
            mount_of(&mounts, &format!("{major}:{minor}"), &directory).unwrap_or_default();
        let block = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let block = block.canonicalize().ok();
        let name = block.as_ref().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        // A partition's queue is that of the whole disk above it.
        let disk = block.map(|path| if path.join("queue").exists() { path } else { path.join("..") });
        let told = |file: &str| {
            let text = fs::read_to_string(disk.as_ref()?.join(file)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let space = nix::sys::statvfs::statvfs(&directory)?;
        Ok(Self {
            filesystem,
            mount_options,
            device: name,
            model: told("device/model"),
            write_cache: told("queue/write_cache"),
            forced_unit_access: told("queue/fua").map(|flag| flag == "1"),
            rotational: told("queue/rotational").map(|flag| flag == "1"),
            scheduler: told("queue/scheduler"),
            free_bytes: space.blocks_available() * space.fragment_size(),
            directory,
        })
    }

    /// Whether it is memory and no disk at all.
    pub fn is_memory(&self) -> bool {
        matches!(self.filesystem.as_str(), "tmpfs" | "ramfs")
    }

    /// In a line.
    pub fn told(&self) -> String {
        let device = match (&self.device, &self.model) {
            (Some(device), Some(model)) => format!("{device} ({model})"),
            (Some(device), None) => device.clone(),
            (None, _) => "no block device".to_owned(),
        };
        let cache = self.write_cache.as_deref().unwrap_or("unknown");
        let fua = match self.forced_unit_access {
            Some(true) => "FUA",
            Some(false) => "no FUA",
            None => "FUA unknown",
        };
        format!("{} on {device}, write cache: {cache}, {fua}", self.filesystem)
    }
}

/// Filesystem and options of the mount with this device number that `directory` lies under (the deepest of them).
fn mount_of(mounts: &str, number: &str, directory: &Path) -> Option<(String, String)> {
    let fitting = mounts.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let fields: Vec<&str> = front.split(' ').collect();
        let point = Path::new(*fields.get(4)?);
        if *fields.get(2)? != number || !directory.starts_with(point) {
            return None;
        }
        let found = (back.split(' ').next()?.to_owned(), (*fields.get(5)?).to_owned());
        Some((point.components().count(), found))
    });
    fitting.max_by_key(|(depth, _)| *depth).map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        23 22 0:20 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=1g\n\
        24 22 254:0 /sub /data rw,noatime - xfs /dev/root rw\n";

    #[test]
    fn the_deepest_mount_of_the_device_is_the_one() {
        let of = |number, path| mount_of(MOUNTS, number, Path::new(path));
        let told = |filesystem: &str, options: &str| Some((filesystem.to_owned(), options.to_owned()));
        assert_eq!(of("254:0", "/home/x"), told("ext4", "rw,relatime"));
        assert_eq!(of("254:0", "/data/x"), told("xfs", "rw,noatime"));
        assert_eq!(of("0:20", "/dev/shm/x"), told("tmpfs", "rw,nosuid"));
        assert_eq!(of("1:1", "/"), None);
    }

    #[test]
    fn memory_is_told_from_disks() {
        let disk = |filesystem: &str| Disk { filesystem: filesystem.into(), ..Disk::default() };
        assert!(disk("tmpfs").is_memory());
        assert!(!disk("ext4").is_memory());
    }

    #[test]
    fn a_directory_of_this_machine_has_a_filesystem() {
        let disk = Disk::of(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("it is there");
        assert!(!disk.filesystem.is_empty());
        assert!(disk.free_bytes > 0);
    }
}

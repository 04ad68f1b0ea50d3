//! A small disk of a test's own: an ext4 filesystem in a file, mounted over a loop device. Needs root.
//!
//! It can be filled without hurting anybody, made to stand still (a frozen filesystem takes no write and fails none), and made
//! to fail.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tempfile::TempDir;

use crate::DEADLINE;

/// `FIFREEZE` and `FITHAW`, which libc doesn't name.
const FREEZE: libc::c_ulong = 0xc004_5877;
const THAW: libc::c_ulong = 0xc004_5878;
/// `EXT4_IOC_SHUTDOWN`, and its way to go without writing anything more, as when the power fails.
const SHUT_DOWN: libc::c_ulong = 0x8004_587d;
const WITHOUT_A_WORD: u32 = 2;
/// Between two attempts to unmount.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A mounted filesystem; gone when dropped.
pub struct Volume {
    image: PathBuf,
    mounted: PathBuf,
    // Removed after it is unmounted.
    _folder: TempDir,
}

/// While it lives, nothing is written to its volume.
pub struct Frozen {
    root: File,
}

impl Volume {
    /// Makes and mounts one.
    ///
    /// # Panics
    /// Where that isn't allowed.
    #[must_use]
    pub fn make(bytes: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("volume-").tempdir_in(crate::broker::scratch());
        let folder = folder.expect("a folder for the image");
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("room for a sparse image");
        fs::create_dir(&mounted).expect("a folder to mount it at");
        let format = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(format).arg(&image));
        let volume = Self { image, mounted, _folder: folder };
        volume.mount();
        volume
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mounted));
    }

    /// A new directory on it, for a broker.
    #[must_use]
    pub fn directory(&self) -> TempDir {
        tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir_in(&self.mounted)
            .expect("an empty filesystem has room")
    }

    /// Lets it stand still.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let root = File::open(&self.mounted).expect("it is mounted");
        // SAFETY: the call takes no argument that it reads; the descriptor is open.
        let frozen = unsafe { libc::ioctl(root.as_raw_fd(), FREEZE, 0) };
        assert_eq!(frozen, 0, "freezing: {}", std::io::Error::last_os_error());
        Frozen { root }
    }
}

impl Volume {
    /// Lets the filesystem fail: from now on it does nothing and says so, and what it had only in memory is gone.
    pub fn shut_down(&self) {
        let root = File::open(&self.mounted).expect("it is mounted");
        let flags = WITHOUT_A_WORD;
        // SAFETY: the call reads the four bytes that it is given; the descriptor is open.
        let down = unsafe { libc::ioctl(root.as_raw_fd(), SHUT_DOWN, &raw const flags) };
        assert_eq!(down, 0, "shutting down: {}", std::io::Error::last_os_error());
    }

    /// Mounts it again after it was shut down and everybody has left: the filesystem recovers by its own journal.
    ///
    /// # Panics
    /// When somebody stays.
    pub fn recover(&self) {
        let end = Instant::now() + DEADLINE;
        // The kernel closes the files of a process's io_uring only some time after the process is gone.
        while let Err(why) = nix::mount::umount(&self.mounted) {
            assert!(
                why == Errno::EBUSY && Instant::now() < end,
                "unmounting {}: {why}",
                self.mounted.display()
            );
            thread::park_timeout(LOOK_PAUSE);
        }
        self.mount();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: as above. A volume that can't be thawed would hang the machine's next sync: that must be seen.
        let thawed = unsafe { libc::ioctl(self.root.as_raw_fd(), THAW, 0) };
        assert_eq!(thawed, 0, "thawing: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(&self.mounted);
    }
}

/// Takes away what a killed run left mounted below a folder.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    points.filter(|point| point.starts_with(folder)).for_each(unmount);
}

fn unmount(point: &Path) {
    // Lazily: a broker that is just being killed may still hold files.
    let unmounted = Command::new("umount").arg("-l").arg(point).status();
    if !unmounted.is_ok_and(|status| status.success()) {
        eprintln!("{} stays mounted", point.display());
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

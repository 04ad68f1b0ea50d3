//! A control group for one broker: a limit for all of its memory, what the kernel's page cache holds for it included.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::TargetError;
use super::disclosed::{Disclosed, mebibytes};

/// Where the kernel says which groups this process is in, and where groups are mounted.
const OWN_GROUPS: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";
const HINT: &str = "--limit-mib needs a memory control group, which root may make; or start the tool in one: systemd-run --scope -p MemoryMax=2G";

/// The files by which a version of control groups is told and asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// A hierarchy of the memory controller alone.
    One,
    /// One hierarchy for all controllers.
    Two,
}

/// Where a group for a broker can be made.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    parent: PathBuf,
}

/// A group that is there while its broker is, and is removed after it.
#[derive(Debug)]
pub struct MemoryGroup {
    version: Version,
    directory: PathBuf,
    limit_bytes: u64,
    members: File,
}

impl MemoryGroup {
    /// Makes one with so much memory.
    pub fn make(limit_bytes: u64) -> Result<Self, TargetError> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let place = place(&read(OWN_GROUPS), &read(MOUNTS));
        let Place { version, parent } = place.ok_or_else(|| TargetError::Missing(HINT.into()))?;
        let directory = parent.join(format!("iolite-bench-{:016x}", rand::random::<u64>()));
        let failed = || format!("{}: no control group can be made there ({HINT})", parent.display());
        fs::create_dir(&directory).map_err(TargetError::io(failed()))?;
        let limited = fs::write(directory.join(version.limit()), limit_bytes.to_string());
        let members = limited.and_then(|()| File::options().write(true).open(directory.join("cgroup.procs")));
        match members {
            Ok(members) => Ok(Self { version, directory, limit_bytes, members }),
            Err(error) => {
                remove(&directory);
                Err(TargetError::io(failed())(error))
            }
        }
    }

    /// What a process that is to belong to it writes "0" to.
    pub fn members(&self) -> RawFd {
        self.members.as_raw_fd()
    }

    /// The limit, and how close its members came.
    pub fn disclosed(&self) -> Disclosed {
        let limit = ("memory limit, page cache included", mebibytes(self.limit_bytes));
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).ok();
        let most = || read(self.version.peak())?.trim().parse().ok().map(mebibytes);
        let reached = || self.version.reached(&read(self.version.events())?);
        let most = most().map(|most| ("most memory used, page cache included", most));
        let reached = reached().map(|times| ("times that limit was reached", times.to_string()));
        let told = [Some(limit), most, reached];
        told.into_iter().flatten().map(|(name, words)| (name.to_owned(), words)).collect()
    }
}

impl fmt::Display for MemoryGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> =
            self.disclosed().iter().map(|(name, words)| format!("{name}: {words}")).collect();
        formatter.write_str(&told.join(", "))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir(directory) {
        eprintln!("{} is left behind: {error}", directory.display());
    }
}

/// Makes the calling process a member of a group. Allocates nothing and takes no lock, for the time between fork and exec.
pub fn join(members: RawFd) -> io::Result<()> {
    // SAFETY: one byte of a constant is read; the file outlives the start of the process.
    let written = unsafe { libc::write(members, c"0".as_ptr().cast(), 1) };
    if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Version {
    fn limit(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    fn peak(self) -> &'static str {
        match self {
            Self::One => "memory.max_usage_in_bytes",
            Self::Two => "memory.peak",
        }
    }

    fn events(self) -> &'static str {
        match self {
            Self::One => "memory.failcnt",
            Self::Two => "memory.events",
        }
    }

    /// How often the limit was reached and something had to be given back, of the text of [`Self::events`].
    fn reached(self, text: &str) -> Option<u64> {
        match self {
            Self::One => text.trim().parse().ok(),
            Self::Two => text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok()),
        }
    }
}

/// Below the own group of the memory controller's hierarchy; in the one for all controllers, where a group has either members or
/// groups, beside it.
fn place(own_groups: &str, mounts: &str) -> Option<Place> {
    let own = |is_wanted: &dyn Fn(&str) -> bool| {
        own_groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            is_wanted(controllers).then(|| group.trim_matches('/').to_owned())
        })
    };
    let mount = |is_wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut kind = after.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let columns: Vec<&str> = before.split(' ').collect();
            let (root, at) = (columns.get(3)?, columns.get(4)?);
            is_wanted(name, options).then(|| ((*root).trim_matches('/').to_owned(), PathBuf::from(at)))
        })
    };
    let has_memory = |list: &str| list.split(',').any(|one| one == "memory");
    // A mount may show a part of the hierarchy only, as in a container: what lies around it is not in its paths.
    let below =
        |group: &str, root: &str| group.strip_prefix(root).unwrap_or(group).trim_matches('/').to_owned();
    if let Some(group) = own(&|controllers| has_memory(controllers)) {
        let (root, at) = mount(&|name, options| name == "cgroup" && has_memory(options))?;
        return Some(Place { version: Version::One, parent: at.join(below(&group, &root)) });
    }
    let group = own(&str::is_empty)?;
    let (root, at) = mount(&|name, _| name == "cgroup2")?;
    let group = below(&group, &root);
    let around = group.rsplit_once('/').map_or("", |(around, _)| around);
    Some(Place { version: Version::Two, parent: at.join(around) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own_groups: &str, mounts: &str, expected: Option<(Version, &str)>) {
        let expected = expected.map(|(version, parent)| Place { version, parent: parent.into() });
        // Joining nothing leaves a slash that means nothing.
        let found = place(own_groups, mounts);
        assert_eq!(found, expected, "{own_groups} {mounts}");
    }

    const MOUNT_ONE: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const MOUNT_TWO: &str =
        "42 32 0:39 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_group_of_the_memory_controller_lies_below_the_own() {
        check("4:memory:/a/b\n0::/\n", MOUNT_ONE, Some((Version::One, "/sys/fs/cgroup/memory/a/b")));
        let both = ["1 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", MOUNT_ONE].concat();
        check("5:cpu,memory:/a\n0::/x\n", &both, Some((Version::One, "/sys/fs/cgroup/memory/a")));
    }

    #[test]
    fn a_group_of_all_controllers_lies_beside_the_own() {
        check("0::/user.slice/one.scope\n", MOUNT_TWO, Some((Version::Two, "/sys/fs/cgroup/user.slice")));
        check("0::/one.scope\n", MOUNT_TWO, Some((Version::Two, "/sys/fs/cgroup/")));
        let inner = "9 8 0:7 /pod/7 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        check("0::/pod/7/a/b\n", inner, Some((Version::Two, "/sys/fs/cgroup/a")));
    }

    #[test]
    fn without_the_controller_there_is_no_place() {
        check("", MOUNT_TWO, None);
        check("0::/a\n", "", None);
        check("3:memory:/a\n0::/\n", MOUNT_TWO, None);
    }

    #[test]
    fn both_versions_tell_how_often_the_limit_was_reached() {
        assert_eq!(Version::One.reached("17\n"), Some(17));
        assert_eq!(Version::Two.reached("low 1\nhigh 2\nmax 3\noom 4\n"), Some(3));
        assert_eq!(Version::Two.reached("low 1\n"), None);
    }
}

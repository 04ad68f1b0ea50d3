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
const NEEDED: &str = "--limit-mib needs a memory control group, which root may make";

/// The files by which a group is told and asked.
struct Files {
    limit: &'static str,
    /// Of memory and swap together in the one version, of swap alone in the other.
    swap_limit: &'static str,
    peak: &'static str,
    events: &'static str,
    kill_events: &'static str,
}

const FILES_ONE: Files = Files {
    limit: "memory.limit_in_bytes",
    swap_limit: "memory.memsw.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.failcnt",
    kill_events: "memory.oom_control",
};
const FILES_TWO: Files = Files {
    limit: "memory.max",
    swap_limit: "memory.swap.max",
    peak: "memory.peak",
    events: "memory.events",
    kill_events: "memory.events",
};

/// Of control groups.
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
    members: File,
}

impl MemoryGroup {
    /// Makes one with so much memory, and no swap beyond it.
    pub fn make(limit_bytes: u64) -> Result<Self, TargetError> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let Some(Place { version, parent }) = place(&read(OWN_GROUPS), &read(MOUNTS)) else {
            return Err(TargetError::Missing(format!("{NEEDED}: no such hierarchy is mounted")));
        };
        let directory = parent.join(format!("iolite-bench-{:016x}", rand::random::<u64>()));
        let failed = || format!("{NEEDED}: none can be made in {}", parent.display());
        fs::create_dir(&directory).map_err(TargetError::io(failed()))?;
        if version == Version::Two && !directory.join(version.files().limit).exists() {
            // What can't be enabled is told by what is missing then.
            let _refused = fs::write(parent.join("cgroup.subtree_control"), "+memory");
        }
        let members = directory.join("cgroup.procs");
        let made = limit(version, &directory, limit_bytes).and_then(|()| {
            let opened = File::options().write(true).open(&members);
            opened.map_err(|error| (members, error))
        });
        match made {
            Ok(members) => Ok(Self { version, directory, members }),
            Err((file, error)) => {
                remove(&directory);
                Err(TargetError::io(format!("{NEEDED}: {} can't be written", file.display()))(error))
            }
        }
    }

    /// What a process that is to belong to it writes "0" to.
    pub fn members(&self) -> RawFd {
        self.members.as_raw_fd()
    }

    /// The limit as the kernel has it, and how close its members came.
    pub fn disclosed(&self) -> Disclosed {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let bytes = |name: &str| read(name).trim().parse().ok().map(mebibytes);
        let files = self.version.files();
        let reached = self.version.reached(&read(files.events));
        let kills = kills(&read(files.kill_events)).filter(|kills| *kills > 0);
        let has_swap_limit = self.directory.join(files.swap_limit).exists();
        let told = [
            ("memory limit, page cache included", bytes(files.limit)),
            ("most memory used, page cache and reading back included", bytes(files.peak)),
            ("times that limit was reached", reached.map(|times| times.to_string())),
            ("killed for want of memory, times", kills.map(|times| times.to_string())),
            ("control groups, version", Some(format!("{:?}", self.version).to_lowercase())),
            ("swap", (!has_swap_limit).then(|| "not limited".to_owned())),
        ];
        told.into_iter().filter_map(|(name, words)| Some((name.to_owned(), words?))).collect()
    }
}

/// Sets the limit of a group, for memory and swap together; otherwise, which file did not take it.
fn limit(version: Version, directory: &Path, limit_bytes: u64) -> Result<(), (PathBuf, io::Error)> {
    let write = |name: &str, bytes: u64| {
        let file = directory.join(name);
        fs::write(&file, bytes.to_string()).map_err(|error| (file, error))
    };
    let Files { limit, swap_limit: swap, .. } = version.files();
    write(limit, limit_bytes)?;
    // A kernel that does not count swap has no such file.
    if !directory.join(swap).exists() {
        return Ok(());
    }
    match version {
        Version::One => write(swap, limit_bytes),
        Version::Two => write(swap, 0),
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
    fn files(self) -> &'static Files {
        match self {
            Self::One => &FILES_ONE,
            Self::Two => &FILES_TWO,
        }
    }

    /// How often the limit was reached and something had to be given back, of the text of [`Files::events`].
    fn reached(self, text: &str) -> Option<u64> {
        match self {
            Self::One => text.trim().parse().ok(),
            Self::Two => event(text, "max"),
        }
    }
}

/// How often the kernel killed a member, of the text of [`Files::kill_events`].
fn kills(text: &str) -> Option<u64> {
    event(text, "oom_kill")
}

/// A count by its name, a line each.
fn event(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Below the own group of the memory controller's hierarchy; in the one for all controllers, where a group has either members or
/// groups, beside it; there is nothing beside the outermost group, and only the machine's own may have both.
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
        assert_eq!(place(own_groups, mounts), expected, "{own_groups} {mounts}");
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
        assert_eq!(kills("oom 4\noom_kill 2\noom_group_kill 1\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
    }
}

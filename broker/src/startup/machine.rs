//! What the machine (or the container around the process) offers.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::config::Machine;

/// Asks the kernel. Where it doesn't say, the answer is one core and a small machine: a broker starts anywhere.
#[must_use]
pub fn detect() -> Machine {
    let cores = allowed_cores();
    let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_bytes = physical_memory_bytes().min(container_memory_bytes());
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host_name = match host_name.trim() {
        "" => "localhost",
        name => name,
    };
    Machine { cores, parallelism, memory_bytes, host_name: host_name.to_owned() }
}

fn allowed_cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    let cores: Vec<_> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

const MEMORY_UNKNOWN_BYTES: u64 = 1 << 30;

fn physical_memory_bytes() -> u64 {
    let information = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = information.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.map_or(MEMORY_UNKNOWN_BYTES, |kibibytes| kibibytes.saturating_mul(1024))
}

/// The lowest limit of the process's control group and those above it; no limit is the highest number.
fn container_memory_bytes() -> u64 {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = membership.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return u64::MAX;
    };
    let mut directory = std::path::Path::new("/sys/fs/cgroup").join(group);
    let mut lowest = u64::MAX;
    while directory.starts_with("/sys/fs/cgroup") {
        let limit = fs::read_to_string(directory.join("memory.max")).ok();
        lowest = lowest.min(limit.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX));
        if !directory.pop() {
            break;
        }
    }
    lowest
}

//! What a run ran on: the machine, its kernel, the disk of the data directory and what that disk does bare.

mod baseline;
mod disk;
mod writes;

use std::fs;

use serde::{Deserialize, Serialize};

pub use baseline::{Baseline, measure as measure_baseline};
pub use disk::Disk;
pub use writes::DiskWrites;

/// The machine that the load ran on.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    /// How the first core chooses its frequency, where the kernel says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The hypervisor, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<String>,
    /// Runnable threads just before the run, averaged over a minute.
    pub load_before: f64,
}

impl Machine {
    /// This one, now.
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let meminfo = read("/proc/meminfo");
        let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes: u64 =
            memory.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|first| first.parse().ok());
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field("model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kilobytes * 1024,
            governor: optional("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            virtual_machine: cpuinfo
                .contains(" hypervisor")
                .then(|| optional("/sys/class/dmi/id/product_name").unwrap_or_else(|| "yes".into())),
            load_before: load.unwrap_or_default(),
        }
    }
}

/// A small file of the kernel's, trimmed; empty where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn optional(path: &str) -> Option<String> {
    Some(read(path)).filter(|text| !text.is_empty())
}

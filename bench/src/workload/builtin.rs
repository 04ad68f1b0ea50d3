//! The workloads that are part of the binary.

use std::cmp::Reverse;
use std::sync::OnceLock;

use super::{Workload, WorkloadError, parse};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of each file of `bench/workloads`.
        pub(super) const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../workloads/", $name, ".toml")))),+];
    };
}

files![
    "quick",
    "openmessaging-1-partition",
    "openmessaging-100-partitions",
    "openmessaging-288-partitions",
    "openmessaging-100-partitions-200k",
    "openmessaging-100-partitions-500k",
    "openmessaging-288-partitions-1250k",
    "small-unbatched",
    "small-unbatched-saturated",
    "batched-saturated",
    "keyed-288",
    "producers-4",
    "producers-50",
    "producers-200",
    "catch-up-under-load",
    "fan-out-10",
    "linger-0",
    "linger-5",
    "compression-gzip",
    "compression-snappy",
    "compression-lz4",
    "compression-zstd",
    "bulk-beside-critical",
    "backlog",
    "steady-state",
    "cleanup",
    "headers-and-skewed-keys",
    "producer-performance-1kib",
    "producer-performance-100b",
];

/// All of them.
///
/// # Panics
/// Never in a binary whose tests passed: each file is parsed by one.
pub fn all() -> &'static [Workload] {
    static ALL: OnceLock<Vec<Workload>> = OnceLock::new();
    let parsed = |(name, text): &(&str, &str)| {
        parse(text, &format!("{name}.toml")).unwrap_or_else(|error| panic!("an embedded workload: {error}"))
    };
    ALL.get_or_init(|| FILES.iter().map(parsed).collect())
}

/// The file of the one of this name.
pub fn text(name: &str) -> Result<&'static str, WorkloadError> {
    named(name)?;
    let found = FILES.iter().find(|(file, _)| *file == name);
    Ok(found.map(|(_, text)| *text).expect("each is in a file of its name"))
}

/// The one of this name.
pub fn named(name: &str) -> Result<Workload, WorkloadError> {
    if let Some(found) = all().iter().find(|workload| workload.name == name) {
        return Ok(found.clone());
    }
    let shared = |candidate: &str| {
        let pairs = candidate.chars().zip(name.chars());
        pairs.take_while(|(left, right)| left == right).count()
    };
    let nearest = all().iter().max_by_key(|workload| (shared(&workload.name), Reverse(workload.name.len())));
    let near = nearest.filter(|near| shared(&near.name) >= 3).map(|near| near.name.clone());
    Err(WorkloadError::Unknown { name: name.to_owned(), near })
}

//! What a broker was given to run with, for whoever doubts a comparison: memory budgets, flags and version of a JVM, the
//! kernel's limits.

use std::collections::BTreeMap;
use std::{fs, iter};

use super::metrics;

/// By name, in words.
pub type Disclosed = BTreeMap<String, String>;

/// Limits of a process, by the kernel's names for them.
const LIMITS: [&str; 3] = ["Max open files", "Max locked memory", "Max address space"];
/// Budgets that Iolite tells in its metrics.
const BUDGETS: [(&str, &str); 4] = [
    ("iolite_request_memory_max_bytes", "memory of requests"),
    ("iolite_reply_memory_max_bytes", "memory of replies"),
    ("iolite_tail_cache_bytes", "memory of the newest records, in the end"),
    ("iolite_journal_max_bytes", "journal"),
];

/// The kernel's limits for a process, and the memory of the control group that it is in.
pub fn of_process(id: u32) -> Disclosed {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let mut told = limits(&read(format!("/proc/{id}/limits")));
    let group = read(format!("/proc/{id}/cgroup"));
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    if let Some(most) = group_memory(group, |group| read(format!("/sys/fs/cgroup{group}/memory.max"))) {
        told.insert("memory of the control group".into(), shown_bytes(&most));
    }
    told
}

/// The least that a control group and those around it may have, each of which binds; `limit` tells one's, or nothing. "max" is
/// no limit.
fn group_memory(group: &str, limit: impl Fn(&str) -> String) -> Option<String> {
    let inner = group.trim_end_matches('/');
    let outer = inner.rmatch_indices('/').map(|(at, _)| &inner[..at]);
    let limits = iter::once(inner).chain(outer).map(|group| limit(group).trim().to_owned());
    let told = limits.filter(|limit| !limit.is_empty());
    told.min_by_key(|limit| limit.parse().unwrap_or(u64::MAX))
}

/// Iolite's own budgets; what is not told is left out.
pub fn of_metrics(page: &str) -> Disclosed {
    let budget = |(name, words): (&str, &str)| {
        let bytes = metrics::count(page, name)?;
        Some((words.to_owned(), mebibytes(bytes)))
    };
    BUDGETS.into_iter().filter_map(budget).collect()
}

/// What a JVM says of itself before anything else (`-showversion -XX:+PrintCommandLineFlags`).
pub fn of_jvm(log: &str) -> Disclosed {
    let flags = log.lines().find(|line| line.starts_with("-XX:"));
    let is_version = |line: &&str| line.contains(" version \"") || line.contains("Server VM");
    let version: Vec<&str> = log.lines().filter(is_version).take(2).map(str::trim).collect();
    let mut told = Disclosed::new();
    if let Some(flags) = flags {
        told.insert("JVM flags".into(), flags.trim().to_owned());
    }
    if !version.is_empty() {
        told.insert("java".into(), version.join(", "));
    }
    told
}

/// The soft limits of `/proc/PID/limits`: names, soft and hard values, and units stand in columns.
fn limits(text: &str) -> Disclosed {
    let soft = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut columns = rest.split_whitespace();
        let value = columns.next()?;
        let is_bytes = columns.nth(1) == Some("bytes");
        Some((name.to_owned(), if is_bytes { shown_bytes(value) } else { value.to_owned() }))
    };
    LIMITS.into_iter().filter_map(soft).collect()
}

/// A number of bytes, as mebibytes where it is a whole number of them; words as they are.
fn shown_bytes(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(bytes) if bytes > 0 && bytes.is_multiple_of(1 << 20) => mebibytes(bytes),
        Ok(bytes) => format!("{bytes} bytes"),
        Err(_) => value.to_owned(),
    }
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(told: &Disclosed, expected: &[(&str, &str)]) {
        let told: Vec<(&str, &str)> =
            told.iter().map(|(name, words)| (name.as_str(), words.as_str())).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn limits_are_the_soft_ones() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 1048576              files     \n\
                    Max locked memory         8388608              unlimited            bytes     \n\
                    Max address space         unlimited            unlimited            bytes     \n";
        check(
            &limits(text),
            &[("Max address space", "unlimited"), ("Max locked memory", "8 MiB"), ("Max open files", "1024")],
        );
    }

    #[test]
    fn only_bytes_are_told_as_mebibytes() {
        let text = "Max open files            1073741824           1073741824           files     \n\
                    Max locked memory         65536                65536                bytes     \n\
                    Max address space         1048576              unlimited            bytes     \n";
        check(
            &limits(text),
            &[
                ("Max address space", "1 MiB"),
                ("Max locked memory", "65536 bytes"),
                ("Max open files", "1073741824"),
            ],
        );
    }

    /// The limits of "/a/b", of "/a" and of the root, from within.
    fn check_group(limits: [&str; 3], expected: Option<&str>) {
        let told = group_memory("/a/b", |group| {
            let at = ["/a/b", "/a", ""].iter().position(|known| *known == group);
            format!("{}\n", limits[at.expect("no other is asked")])
        });
        assert_eq!(told.as_deref(), expected, "{limits:?}");
    }

    #[test]
    fn the_least_of_all_control_groups_around_a_process_binds_it() {
        check_group(["8388608", "max", ""], Some("8388608"));
        check_group(["max", "4194304", ""], Some("4194304"));
        check_group(["8388608", "4194304", "16777216"], Some("4194304"));
        check_group(["10485760", "max", "9437184"], Some("9437184"));
        check_group(["max", "max", ""], Some("max"));
        check_group(["", "", ""], None);
        assert_eq!(
            group_memory("/", |group| format!("{}7", group.len())),
            Some("07".into()),
            "the root alone"
        );
    }

    #[test]
    fn a_jvm_tells_its_version_and_all_its_flags() {
        let log = "-XX:MaxHeapSize=536870912 -XX:+UseG1GC \nopenjdk version \"17.0.1\" 2025-04-15\n\
                   OpenJDK Runtime Environment (build 17)\nOpenJDK 64-Bit Server VM (build 17, mixed mode)\nINFO started\n";
        check(
            &of_jvm(log),
            &[
                ("JVM flags", "-XX:MaxHeapSize=536870912 -XX:+UseG1GC"),
                (
                    "java",
                    "openjdk version \"17.0.1\" 2025-04-15, OpenJDK 64-Bit Server VM (build 17, mixed mode)",
                ),
            ],
        );
        check(&of_jvm("INFO started\n"), &[]);
    }

    #[test]
    fn budgets_are_those_of_all_shards() {
        let page = "iolite_reply_memory_max_bytes{shard=\"0\"} 1048576\niolite_reply_memory_max_bytes{shard=\"1\"} 2097152\n\
                    iolite_journal_max_bytes{shard=\"0\"} 536870912\n";
        check(&of_metrics(page), &[("journal", "512 MiB"), ("memory of replies", "3 MiB")]);
    }
}

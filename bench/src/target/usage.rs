//! The broker's side of a run: what its process has used, by the kernel's accounts and by its own metrics, and what the
//! whole machine was busy with.
//!
//! Both are needed: a page cache is written back by kernel threads, on no process's bill.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::metrics;

/// The kernel counts time for /proc in hundredths of a second on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counts at one moment; none where the source is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    pub cpu_seconds: Option<f64>,
    pub context_switches: Option<Switches>,
    pub device_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub journal_frames: Option<u64>,
    pub journal_bytes: Option<u64>,
    pub journal_batches: Option<u64>,
    /// Not destaged yet, at this moment.
    pub journal_used_bytes: Option<u64>,
    pub journal_max_bytes: Option<u64>,
    pub compacted_bytes: Option<u64>,
    pub deleted_segments: Option<u64>,
    pub destaged_bytes: Option<u64>,
    /// Its metrics were asked for and could not be read: what they tell is missing, and not merely untold.
    pub is_unread: bool,
}

/// Context switches of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switches {
    /// Of its threads that live, by their ids: of another process the kernel tells no more.
    ByThread(BTreeMap<u32, u64>),
    /// Of all threads that it has had, as it says itself.
    Total(u64),
}

impl Switches {
    /// Between `before` and this: of threads that ended meanwhile nothing is known, so that they don't lessen what others did.
    fn since(&self, before: &Self) -> Option<u64> {
        match (before, self) {
            (Self::ByThread(before), Self::ByThread(after)) => {
                let own = |(id, count): (&u32, &u64)| {
                    // Less than before is another thread, which has got the id of one that ended.
                    let begun = before.get(id).filter(|begun| *begun <= count).copied();
                    count - begun.unwrap_or(0)
                };
                Some(after.iter().map(own).sum())
            }
            (Self::Total(before), Self::Total(after)) => Some(after.saturating_sub(*before)),
            _ => None,
        }
    }
}

/// What the broker used between two moments.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct BrokerSide {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_gb: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_million_records: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_switches: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_frames: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_bytes_per_frame: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches_per_frame: Option<f64>,
    /// How full the journal was in the end, of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_fill: Option<f64>,
    /// Looked through by compaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted_bytes: Option<u64>,
    /// By retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_segments: Option<u64>,
}

impl BrokerSide {
    /// Of what happened between two moments, in which `records` of `bytes` came or went.
    pub fn between(before: &Counters, after: &Counters, records: u64, bytes: u64) -> Self {
        let cpu_seconds =
            before.cpu_seconds.zip(after.cpu_seconds).map(|(before, after)| (after - before).max(0.0));
        let grown = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        let frames = grown(before.journal_frames, after.journal_frames);
        let per_frame =
            |count: Option<u64>| Some(count? as f64 / frames.filter(|frames| *frames > 0)? as f64);
        let per = |unit: f64| cpu_seconds.filter(|_| unit > 0.0).map(|seconds| seconds / unit);
        Self {
            cpu_seconds,
            cpu_seconds_per_gb: per(bytes as f64 / 1e9),
            cpu_seconds_per_million_records: per(records as f64 / 1e6),
            context_switches: before
                .context_switches
                .as_ref()
                .zip(after.context_switches.as_ref())
                .and_then(|(before, after)| after.since(before)),
            device_bytes: grown(before.device_bytes, after.device_bytes),
            resident_bytes: after.resident_bytes,
            journal_frames: frames,
            journal_bytes_per_frame: per_frame(grown(before.journal_bytes, after.journal_bytes)),
            batches_per_frame: per_frame(grown(before.journal_batches, after.journal_batches)),
            journal_fill: after
                .journal_used_bytes
                .zip(after.journal_max_bytes.filter(|most| *most > 0))
                .map(|(used, most)| used as f64 / most as f64),
            compacted_bytes: grown(before.compacted_bytes, after.compacted_bytes),
            deleted_segments: grown(before.deleted_segments, after.deleted_segments),
        }
    }
}

impl BrokerSide {
    /// Whether it compacted anything or deleted a segment.
    pub fn has_cleaned_up(&self) -> bool {
        self.compacted_bytes.is_some_and(|bytes| bytes > 0)
            || self.deleted_segments.is_some_and(|segments| segments > 0)
    }
}

impl Counters {
    /// Whether the broker says what it does in the background.
    pub fn tells_of_background(&self) -> bool {
        self.background() != [None; 3]
    }

    /// Whether nothing was done in the background since `before`.
    pub fn is_still_as(&self, before: &Self) -> bool {
        self.background() == before.background()
    }

    fn background(&self) -> [Option<u64>; 3] {
        [self.compacted_bytes, self.deleted_segments, self.destaged_bytes]
    }

    /// Fills in what the kernel says of a process.
    pub fn of_process(&mut self, id: u32) {
        let text = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        self.cpu_seconds = cpu_seconds(&text("stat"));
        self.device_bytes = field(&text("io"), "write_bytes:");
        self.resident_bytes = field(&text("status"), "VmRSS:").map(|kilobytes| kilobytes * 1024);
        let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let switches = tasks.filter_map(|task| {
            let thread = task.file_name().to_string_lossy().parse().ok()?;
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let chosen = field(&status, "voluntary_ctxt_switches:")?;
            Some((thread, chosen + field(&status, "nonvoluntary_ctxt_switches:")?))
        });
        let switches: BTreeMap<u32, u64> = switches.collect();
        self.context_switches =
            Some(switches).filter(|switches| !switches.is_empty()).map(Switches::ByThread);
    }

    /// Fills in what the broker's own metrics say, and where the kernel has not told, what they say of its process.
    pub fn of_metrics(&mut self, page: &str) {
        self.cpu_seconds = self.cpu_seconds.or_else(|| metrics::metric(page, "process_cpu_seconds_total"));
        let count = |name| metrics::count(page, name);
        let switches = || count("process_context_switches_total").map(Switches::Total);
        self.context_switches = self.context_switches.take().or_else(switches);
        self.device_bytes = self.device_bytes.or_else(|| count("process_written_bytes_total"));
        self.resident_bytes = self.resident_bytes.or_else(|| count("process_resident_memory_bytes"));
        self.journal_frames = count("iolite_journal_frames_total");
        self.journal_bytes = count("iolite_journal_written_bytes_total");
        self.journal_batches = count("iolite_appended_batches_total");
        self.journal_used_bytes = count("iolite_journal_used_bytes");
        self.journal_max_bytes = count("iolite_journal_max_bytes");
        self.compacted_bytes = count("iolite_compacted_bytes_total");
        self.deleted_segments = count("iolite_deleted_segments_total");
        self.destaged_bytes = count("iolite_destaged_bytes_total");
    }
}

/// What the machine as a whole was busy with since it started, all cores together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineSide {
    pub busy_seconds: f64,
    /// Time that it wanted and the host gave to others; none is known of where there is no host.
    pub stolen_seconds: f64,
}

/// What the kernel says of all cores.
pub fn of_machine() -> MachineSide {
    MachineSide::read(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

impl MachineSide {
    /// Busy is all but idle and waiting for devices: user, nice, system, irq, softirq.
    fn read(stat: &str) -> Self {
        let Some(line) = stat.lines().find(|line| line.starts_with("cpu ")) else { return Self::default() };
        let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        let seconds = |places: &[usize]| {
            places.iter().filter_map(|place| ticks.get(*place)).sum::<f64>() / TICKS_PER_SECOND
        };
        Self { busy_seconds: seconds(&[0, 1, 2, 5, 6]), stolen_seconds: seconds(&[7]) }
    }
}

/// User and system time of a process with all its threads, those that have ended among them.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The command's name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_of_any_kind() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn the_machine_is_busy_but_for_idle_and_waiting() {
        let machine = MachineSide::read("cpu  100 100 100 5000 700 50 25 15 0 0\ncpu0 1 1");
        assert_eq!(machine, MachineSide { busy_seconds: 3.75, stolen_seconds: 0.15 });
    }

    #[test]
    fn what_the_kernel_tells_here_goes_before_what_the_broker_tells() {
        let page = "process_cpu_seconds_total 2.5\nprocess_resident_memory_bytes 4096\nprocess_context_switches_total 8\n\
                    process_written_bytes_total 16\niolite_journal_frames_total{shard=\"0\"} 3\n\
                    iolite_journal_used_bytes{shard=\"0\"} 25\niolite_journal_max_bytes{shard=\"0\"} 100\n";
        let mut told = Counters::default();
        told.of_metrics(page);
        assert_eq!((told.cpu_seconds, told.resident_bytes), (Some(2.5), Some(4_096)));
        assert_eq!((&told.context_switches, told.device_bytes), (&Some(Switches::Total(8)), Some(16)));
        assert_eq!(BrokerSide::between(&told, &told, 1, 1).journal_fill, Some(0.25));
        let mut here = Counters { cpu_seconds: Some(1.0), device_bytes: Some(1), ..Counters::default() };
        here.of_metrics(page);
        assert_eq!((here.cpu_seconds, here.device_bytes, here.journal_frames), (Some(1.0), Some(1), Some(3)));
    }

    #[test]
    fn costs_are_told_per_gigabyte_and_per_million_records() {
        let before = Counters { cpu_seconds: Some(1.0), journal_frames: Some(10), ..Counters::default() };
        let after = Counters { cpu_seconds: Some(3.0), journal_frames: Some(14), ..Counters::default() };
        let side = BrokerSide::between(&before, &after, 500_000, 4_000_000_000);
        assert_eq!(side.cpu_seconds_per_gb, Some(0.5));
        assert_eq!(side.cpu_seconds_per_million_records, Some(4.0));
        assert_eq!(side.journal_frames, Some(4));
        assert_eq!((side.device_bytes, side.journal_bytes_per_frame), (None, None));
    }

    /// Switches by thread before and after.
    fn check_switches(before: &[(u32, u64)], after: &[(u32, u64)], expected: u64) {
        let counters = |threads: &[(u32, u64)]| Counters {
            context_switches: Some(Switches::ByThread(threads.iter().copied().collect())),
            ..Counters::default()
        };
        let side = BrokerSide::between(&counters(before), &counters(after), 1, 1);
        assert_eq!(side.context_switches, Some(expected), "{before:?} to {after:?}");
    }

    #[test]
    fn a_thread_that_ends_takes_no_context_switches_from_the_others() {
        check_switches(&[(1, 10), (2, 10)], &[(1, 15), (2, 12)], 7);
        check_switches(&[(1, 10)], &[(1, 15), (3, 7)], 12);
        check_switches(&[(1, 10), (2, 900)], &[(1, 15)], 5);
        check_switches(&[(1, 10), (2, 900)], &[(1, 15), (2, 4)], 9);
    }

    #[test]
    fn this_process_has_used_something() {
        let mut counters = Counters::default();
        counters.of_process(std::process::id());
        assert!(counters.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert!(counters.cpu_seconds.is_some());
        let Some(Switches::ByThread(threads)) = counters.context_switches else { panic!("{counters:?}") };
        assert!(
            threads.contains_key(&std::process::id()),
            "the first thread has the process's id: {threads:?}"
        );
    }
}

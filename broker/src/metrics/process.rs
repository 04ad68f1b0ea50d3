//! Figures of the whole process, under the names that Prometheus' own client libraries use.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

/// One moment of the process; what the kernel doesn't tell is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) threads: Option<u64>,
    pub(super) context_switches: Option<u64>,
    pub(super) written_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_max: Option<u64>,
}

/// Fields of `/proc/self/stat` after the name in parentheses, which may hold anything.
const STAT_USER_TICKS: usize = 11;
const STAT_SYSTEM_TICKS: usize = 12;
const STAT_THREADS: usize = 17;
const STAT_RESIDENT_PAGES: usize = 21;

pub(super) fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    let ticks_per_second = system_value(libc::_SC_CLK_TCK);
    let page_bytes = system_value(libc::_SC_PAGESIZE);
    let ticks = field(STAT_USER_TICKS).zip(field(STAT_SYSTEM_TICKS)).map(|(user, system)| user + system);
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    Process {
        resident_bytes: field(STAT_RESIDENT_PAGES).zip(page_bytes).map(|(pages, bytes)| pages * bytes),
        cpu_seconds: ticks.zip(ticks_per_second).map(|(ticks, per_second)| seconds(ticks, per_second)),
        threads: field(STAT_THREADS),
        context_switches: context_switches(),
        written_bytes: named(&fs::read_to_string("/proc/self/io").unwrap_or_default(), "write_bytes:"),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        open_files_max: limits.ok().map(|(soft, _)| soft),
    }
}

/// Of all threads, those that have ended among them, of their own accord and not: a counter must not fall when a thread ends.
fn context_switches() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    u64::try_from(switches).ok()
}

fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

#[allow(clippy::cast_precision_loss, reason = "ticks since the start lie far below 2^53")]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

fn system_value(name: libc::c_int) -> Option<u64> {
    // SAFETY: sysconf takes a plain number and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|value| *value > 0)
}

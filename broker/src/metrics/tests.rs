//! Counting is checked through what Prometheus would see; the watchdog by a script of looks.

use super::watchdog::Finding;
use super::*;
use crate::limits::{METRICS_SERIES_MAX, METRICS_SHARDS_SHOWN_MAX};
use std::collections::HashSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

fn check_shown(registry: &Registry, expected: &str) {
    let page = render(registry);
    assert!(page.lines().any(|line| line == expected), "{expected}\nis not in\n{page}");
}

#[test]
fn counts_and_gauges_are_shown_for_each_shard() {
    let (registry, shards) = Registry::new(2, STALL);
    shards[0].add(Count::BytesReceived, 10);
    shards[0].add(Count::BytesReceived, 5);
    shards[1].set(Gauge::Connections, 7);
    shards[1].set(Gauge::Connections, 3);
    shards[1].count_request(ApiKey::Produce);
    check_shown(&registry, "iolite_received_bytes_total{shard=\"0\"} 15");
    check_shown(&registry, "iolite_received_bytes_total{shard=\"1\"} 0");
    check_shown(&registry, "iolite_connections{shard=\"1\"} 3");
    check_shown(&registry, "iolite_requests_total{shard=\"1\",api=\"Produce\"} 1");
}

#[test]
fn latencies_are_cumulative_buckets_over_all_shards() {
    let (registry, shards) = Registry::new(2, STALL);
    let sync = |shard: usize, micros| shards[shard].record_stage(ApiKey::Produce, Stage::Sync, micros);
    sync(0, 0);
    sync(0, 10);
    sync(1, 11);
    sync(1, 1_500_000);
    sync(1, 7_000_000);
    let line = |le, count| {
        let name = "iolite_request_seconds_bucket{api=\"Produce\",stage=\"sync\"";
        check_shown(&registry, &format!("{name},le=\"{le}\"}} {count}"));
    };
    line("0.00001", 2);
    line("0.00002", 3);
    line("1", 3);
    line("2", 4);
    line("5", 4);
    line("+Inf", 5);
    check_shown(&registry, "iolite_request_seconds_sum{api=\"Produce\",stage=\"sync\"} 8.500021");
    check_shown(&registry, "iolite_request_seconds_count{api=\"Produce\",stage=\"sync\"} 5");
}

#[test]
fn errors_have_kafka_s_names() {
    let (registry, shards) = Registry::new(1, STALL);
    shards[0].count_error(ApiKey::Fetch, 1);
    shards[0].count_error(ApiKey::Fetch, -1);
    shards[0].count_error(ApiKey::Fetch, 9999);
    check_shown(&registry, "iolite_errors_total{api=\"Fetch\",error=\"OFFSET_OUT_OF_RANGE\"} 1");
    check_shown(&registry, "iolite_errors_total{api=\"Fetch\",error=\"UNKNOWN_SERVER_ERROR\"} 2");
}

/// Everything at once: each API asked, each stage timed, each error answered, on as many shards as are shown.
#[test]
fn series_are_bounded_whatever_happens() {
    for shard_count in [1, METRICS_SHARDS_SHOWN_MAX, METRICS_SHARDS_SHOWN_MAX + 1, 1024] {
        let (registry, shards) = Registry::new(u16::try_from(shard_count).unwrap(), STALL);
        for shard in &shards {
            for api in ApiKey::ALL {
                shard.count_request(*api);
                Stage::ALL.iter().for_each(|stage| shard.record_stage(*api, *stage, 100));
                (-1..200).for_each(|code| shard.count_error(*api, code));
            }
        }
        let page = render(&registry);
        let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let names: HashSet<_> = series.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(names.len(), series.len(), "each series once");
        assert!(series.len() <= METRICS_SERIES_MAX, "{} series on {shard_count} shards", series.len());
    }
}

#[test]
fn the_page_is_what_prometheus_reads() {
    let (registry, shards) = Registry::new(1, STALL);
    shards[0].count_request(ApiKey::Fetch);
    shards[0].record_stage(ApiKey::Fetch, Stage::Total, 1);
    let mut types = HashSet::new();
    for line in render(&registry).lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(types.insert(name), "one type for each name: {line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        value.parse::<f64>().expect("a number");
        let family = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = family.strip_suffix(end)?;
            types.contains(family).then_some(family)
        });
        let family = family.unwrap_or(name.split('{').next().unwrap());
        assert!(types.contains(family), "a type before {line}");
    }
    for name in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_context_switches_total",
        "process_written_bytes_total",
    ] {
        assert!(types.contains(name), "{name}");
    }
}

#[test]
fn reasons_against_readiness_come_and_go() {
    let (registry, shards) = Registry::new(2, STALL);
    let check = |expected: &[&str]| assert_eq!(registry.unready_reasons(), expected);
    check(&["starting", "shard 0: recovering", "shard 1: recovering"]);
    shards.iter().for_each(|shard| shard.set_condition(Condition::Serving, true));
    check(&["starting"]);
    registry.set_phase(Phase::Running);
    check(&[]);
    shards[1].set_condition(Condition::JournalFull, true);
    shards[1].set_condition(Condition::DiskFull, true);
    check(&["shard 1: journal full", "shard 1: disk full"]);
    shards[1].set_condition(Condition::JournalFull, false);
    check(&["shard 1: disk full"]);
    shards[1].set_condition(Condition::DiskFull, false);
    check(&[]);
    registry.set_phase(Phase::Stopping);
    check(&["stopping"]);
}

const STALL: Duration = Duration::from_millis(10);
const DISK_SLOW: Duration = Duration::from_millis(1000);

/// A watchdog and a clock that goes by looks.
struct Script {
    watchdog: Watchdog,
    now: Instant,
}

impl Script {
    fn new(registry: &Arc<Registry>) -> Self {
        let now = Instant::now();
        Self { watchdog: Watchdog::new(Arc::clone(registry), DISK_SLOW, now), now }
    }

    /// Looks every 100 ms for so long; what was found when.
    fn looks(&mut self, millis: u64) -> Vec<Finding> {
        let mut findings = Vec::new();
        for _ in 0..millis / 100 {
            self.now += Duration::from_millis(100);
            findings.extend(self.watchdog.look(self.now));
        }
        findings
    }
}

#[test]
fn a_poll_that_does_not_end_is_told_of_once_with_what_it_does() {
    let (registry, mut shards) = Registry::new(1, STALL);
    let mut script = Script::new(&registry);
    shards.remove(0).install();
    let task = poll_fn(|_| {
        assert_eq!(script.looks(300), []);
        note(Activity::Api(ApiKey::Fetch));
        let (shard, activity) = (0, Activity::Api(ApiKey::Fetch));
        assert_eq!(script.looks(500), [], "seen for the first time 100 ms ago or later");
        assert_eq!(script.looks(100), [Finding::Stuck { shard, activity, so_far: watchdog::STUCK }]);
        assert_eq!(script.looks(5000), [], "told once");
        Poll::Ready(())
    });
    futures_lite::future::block_on(watched(Activity::Journal, task));
    assert_eq!(script.looks(5000), [], "an idle shard isn't stuck");
}

#[test]
fn a_busy_shard_is_not_a_stuck_one() {
    let (registry, mut shards) = Registry::new(1, STALL);
    let mut script = Script::new(&registry);
    shards.remove(0).install();
    for _ in 0..20 {
        let task = poll_fn(|_| Poll::Ready(script.looks(400)));
        assert_eq!(futures_lite::future::block_on(watched(Activity::Journal, task)), []);
    }
}

#[test]
fn a_machine_that_stood_still_blames_no_shard() {
    let (registry, mut shards) = Registry::new(1, STALL);
    let mut script = Script::new(&registry);
    shards.remove(0).install();
    note(Activity::Upkeep);
    assert_eq!(script.looks(200), []);
    script.now += Duration::from_secs(5);
    assert_eq!(script.looks(100), []);
}

/// The poll watches the clock, so that it is long enough on any machine.
#[test]
fn a_long_poll_counts_as_a_stall() {
    let (registry, mut shards) = Registry::new(1, STALL);
    shards.remove(0).install();
    futures_lite::future::block_on(watched(Activity::Destage, async {
        let begin = Instant::now();
        while begin.elapsed() < STALL {
            std::hint::spin_loop();
        }
    }));
    check_shown(&registry, "iolite_stalls_total{shard=\"0\"} 1");
}

#[test]
fn a_disk_that_does_not_answer_makes_the_broker_unready() {
    let (registry, shards) = Registry::new(1, STALL);
    let mut script = Script::new(&registry);
    registry.set_phase(Phase::Running);
    shards[0].set_condition(Condition::Serving, true);
    shards[0].set_oldest_frame_in_flight(Some(1));
    assert_eq!(script.looks(900), []);
    shards[0].set_oldest_frame_in_flight(Some(2));
    assert_eq!(script.looks(1100), [Finding::DiskSlow { shard: 0, so_far: DISK_SLOW }]);
    assert_eq!(registry.unready_reasons(), ["shard 0: slow disk"]);
    shards[0].set_oldest_frame_in_flight(None);
    let answered = script.looks(100);
    assert!(matches!(answered[..], [Finding::DiskAnswered { shard: 0, .. }]), "{answered:?}");
    assert_eq!(registry.unready_reasons(), [""; 0]);
    assert_eq!(script.looks(5000), [], "an idle disk isn't slow");
}

#[test]
fn every_activity_is_read_back_as_it_was_told() {
    let (registry, mut shards) = Registry::new(1, STALL);
    shards.remove(0).install();
    let apis = ApiKey::ALL.iter().map(|api| Activity::Api(*api));
    let mut shown = HashSet::new();
    for activity in apis.chain(activity::NAMED) {
        note(activity);
        assert_eq!(activity::Moment::of(&registry.shards[0]).activity(), Some(activity));
        assert!(shown.insert(activity.to_string()), "{activity}");
    }
}

#[test]
fn context_switches_stay_counted_when_their_thread_has_ended() {
    let switches = || process::read().context_switches.expect("the kernel tells");
    let (ping, pinged) = std::sync::mpsc::sync_channel::<()>(0);
    let (pong, ponged) = std::sync::mpsc::sync_channel::<()>(0);
    let other = std::thread::spawn(move || pinged.iter().for_each(|()| pong.send(()).expect("it listens")));
    let before = switches();
    for _ in 0..1_000 {
        ping.send(()).expect("it listens");
        ponged.recv().expect("it answers");
    }
    let meanwhile = switches();
    assert!(meanwhile > before, "each waits for the other: {before} to {meanwhile}");
    drop(ping);
    other.join().expect("it ends by itself");
    let after = switches();
    assert!(after >= meanwhile, "{meanwhile} fell to {after}");
}

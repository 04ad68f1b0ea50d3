use super::terminal::text;
use super::*;
use crate::load::{RoundOutcome, StreamRecord, Tick};
use crate::target::{BrokerSide, Facts};
use crate::workload;

/// A contender with these rates in its rounds; every ack takes `latency_us`.
fn contender(name: &str, rates: &[u64], latency_us: u64) -> Contender {
    let mut merged = StreamRecord::default();
    let round = |rate: &u64| {
        let mut record = StreamRecord::default();
        for _ in 0..*rate {
            record.acks.record(latency_us * 1_000);
        }
        record.acked.add(*rate, rate * 1_000);
        merged.merge(record.clone());
        let tick =
            Tick { at_seconds: 1.0, acked: record.acked, acks: record.acks.clone(), ..Tick::default() };
        let outcome = RoundOutcome {
            streams: vec![record],
            ticks: vec![tick],
            seconds: 1.0,
            ..RoundOutcome::default()
        };
        let broker = BrokerSide { cpu_seconds_per_gb: Some(2.0), ..BrokerSide::default() };
        Round::of(
            &outcome,
            &[("main".into(), Some(1_000.0))],
            broker,
            Busy { machine_seconds: 1.5, stolen_seconds: 0.1, tool_seconds: 0.5, is_broker_here: true },
        )
    };
    let rounds: Vec<Round> = rates.iter().map(round).collect();
    Contender {
        name: name.into(),
        facts: Facts { version: "broker 1".into(), ..Facts::default() },
        workload: Some(workload::find("quick").expect("it is built in")),
        summary: Summary::of(&rounds, &[merged]),
        rounds,
        checked: "all of it".into(),
        cleaned_up: None,
        own_maximum: None,
    }
}

fn report(contenders: Vec<Contender>) -> Report {
    let mut report = Report::begin("produce", Settings::default());
    report.contenders = contenders;
    report
}

fn shows(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn the_table_has_rates_latencies_and_what_is_left_out() {
    let told = text(&[report(vec![contender("one", &[1_000, 1_100], 500)])]);
    shows(
        &told,
        &["produced", "1,050 ±", "p50 500 us", "max 500 us", "2.00 ±0.00 CPU s/GB", "checked    all of it"],
    );
    shows(&told, &["no p99.9: it needs 1,000,000 samples, there are 2,100"]);
    assert!(!told.contains("VOID"));
}

#[test]
fn contenders_are_held_against_the_first() {
    let told = text(&[report(vec![contender("one", &[1_000, 2_000], 500), contender("two", &[3_000], 250)])]);
    shows(&told, &["beside one", "x2.00 [1.50 to 3.00]", "x0.50"]);
}

/// The same contender at another pace, or under another workload.
fn under(contender: &Contender, rename: impl FnOnce(&mut Contender)) -> Contender {
    let mut other = contender.clone();
    rename(&mut other);
    other
}

#[test]
fn only_figures_of_the_same_load_are_held_against_each_other() {
    let [slow, quick] = [contender("slow", &[1_000], 500), contender("quick", &[4_000], 500)];
    let of = |name: &str, contender: &Contender| {
        under(contender, |other| other.workload = Some(workload::find(name).expect("it is built in")))
    };
    let half = |contender: &Contender| {
        under(contender, |other| {
            other.own_maximum = Some(OwnMaximum { percent: 50, most_per_second: 9_000.0 })
        })
    };
    let first = report(vec![slow.clone(), quick.clone(), half(&slow), half(&quick)]);
    let second = report(vec![of("keyed-288", &slow), of("keyed-288", &quick)]);
    let reports = [first, second];
    let loads = by_load(&reports);
    let names: Vec<(&str, Vec<&str>)> = loads
        .iter()
        .map(|(load, of_load)| (load.as_str(), of_load.iter().map(|one| one.name.as_str()).collect()))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|(_, names)| *names == ["slow", "quick"]), "{names:?}");
    assert!(names[1].0.contains("at 50 % of the own maximum"), "{names:?}");
    let told = text(&reports);
    assert_eq!(told.matches("\nbeside slow: ").count(), 3, "{told}");
    shows(&told, &["at a part of the own maximum", "9,000"]);
}

/// What these two loads are called, one after the other.
fn names_of(one: (&str, Contender), two: (&str, Contender)) -> [String; 2] {
    let reports = [one, two].map(|(mode, contender)| Report { mode: mode.into(), ..report(vec![contender]) });
    let names = by_load(&reports).into_iter().map(|(name, of_load)| vec![name; of_load.len()]);
    names.flatten().collect::<Vec<_>>().try_into().expect("two contenders")
}

/// A workload that the command line has changed is another, and what was changed is told.
#[test]
fn a_load_is_all_of_its_workload_and_the_mode() {
    use crate::workload::{Acks, ValueBytes};
    let one = contender("one", &[1_000], 500);
    let changed = |change: fn(&mut workload::Stream)| {
        under(&one, |other| change(&mut other.workload.as_mut().expect("it has one").streams[0]))
    };
    let check = |mode: &str, other: Contender, differs: Option<&str>| {
        let [first, second] = names_of(("produce", one.clone()), (mode, other));
        assert_eq!(first != second, differs.is_some(), "{first} and {second}");
        assert!(differs.is_none_or(|words| second.ends_with(&format!(" ({words})"))), "{second}");
    };
    check(
        "produce",
        changed(|stream| stream.record.value_bytes = ValueBytes::Fixed(99)),
        Some("value_bytes 99"),
    );
    check("produce", changed(|stream| stream.acks = Acks::Leader), Some("acks 1"));
    check("produce", changed(|stream| stream.partitions = 77), Some("partitions 77"));
    check("produce", changed(|stream| stream.producers = 77), Some("producers 77"));
    check("end-to-end", one.clone(), Some("mode end-to-end"));
    check("produce", changed(|stream| drop(stream.topic_config.insert("a".into(), "b".into()))), None);
    let closed = |in_flight| {
        under(&one, |other| {
            let workload = other.workload.take().expect("it has one");
            other.workload = Some(workload.paced(crate::pace::Pace::InFlight(in_flight)));
        })
    };
    let [few, many] = names_of(("produce", closed(5)), ("produce", closed(6)));
    assert!(few.ends_with("(in_flight 5)") && many.ends_with("(in_flight 6)"), "{few} and {many}");
}

#[test]
fn what_a_mode_is_about_makes_no_other_load() {
    let one = contender("one", &[1_000], 500);
    let without_acks = under(&one, |other| {
        other.workload.as_mut().expect("it has one").streams[0].acks = workload::Acks::None;
    });
    let [all, none] = names_of(("tradeoff", one), ("tradeoff", without_acks));
    assert_eq!(all, none);
}

#[test]
fn a_void_run_says_so_and_the_worst_status_stays() {
    let mut report = report(vec![contender("one", &[10], 1)]);
    report.problem(Status::Void, "LOST: 3 records".into());
    report.problem(Status::Partial, "the broker ended".into());
    assert_eq!(report.status, Status::Void);
    shows(&text(&[report]), &["VOID", "no figure of this run counts", "LOST: 3 records", "the broker ended"]);
}

#[test]
fn rates_are_missed_below_98_in_100() {
    let missed = |rate| contender("one", &[rate], 1).rounds[0].missed().count();
    assert_eq!((missed(979), missed(980)), (1, 0));
}

#[test]
fn rates_are_overrun_above_102_in_100() {
    let overrun = |rate| contender("one", &[rate], 1).rounds[0].overrun().count();
    assert_eq!((overrun(1_020), overrun(1_021)), (0, 1));
}

#[test]
fn what_is_saved_is_read_back_and_a_page_lies_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let saved = report(vec![contender("one", &[1_000], 500)]);
    let [json, html] = write(&saved, &directory.path().join("sub/run")).expect("it can be written");
    let back = read(&json).expect("it can be read");
    let told = |report: &Report| report.contenders[0].summary.streams[0].acks.told.clone();
    assert_eq!(told(&back), told(&saved));
    assert_eq!(back.contenders[0].workload, saved.contenders[0].workload);
    let page = std::fs::read_to_string(html).expect("it was written");
    shows(&page, &["<!doctype html>", "\"mode\":\"produce\"", "Latency by percentile"]);
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs nothing else");
}

#[test]
fn what_a_name_has_can_not_end_the_script() {
    let told = page(&[report(vec![contender("</script><b>", &[10], 1)])]);
    assert!(!told.contains("</script><b>"));
    shows(&told, &["\\u003c/script\\u003e\\u003cb\\u003e"]);
}

#[test]
fn another_format_or_no_report_at_all_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = |content: &str| {
        let path = directory.path().join("file.json");
        std::fs::write(&path, content).expect("it can be written");
        read(&path).expect_err("it must be refused").to_string()
    };
    shows(
        &refused("{\"format\": 99, \"tool\": \"iolite-bench 9.0.0\"}"),
        &["format 99", "iolite-bench 9.0.0"],
    );
    shows(&refused("{}"), &["is no report", "names no format"]);
    shows(&refused("not json"), &["is no report"]);
    let missing = read(std::path::Path::new("/nowhere/x.json")).expect_err("no such file").to_string();
    shows(&missing, &["/nowhere/x.json"]);
}

#[test]
fn what_differs_between_saved_runs_is_told() {
    let (one, mut two) = (report(vec![contender("one", &[10], 1)]), report(vec![contender("two", &[10], 1)]));
    assert_eq!(doubts(&[one.clone(), two.clone()]), Vec::<String>::new());
    two.tool = "iolite-bench 0.0.9".into();
    two.commit = "another".into();
    two.contenders[0].facts.version = "broker 2".into();
    let workload = two.contenders[0].workload.as_mut().expect("it has one");
    (workload.version, workload.streams[0].partitions) = (7, 77);
    two.problem(Status::Partial, "interrupted".into());
    let told = text(&[one, two]);
    shows(&told, &["another commit of the tool: another", "another broker: broker 2, not broker 1"]);
    shows(
        &told,
        &[
            "beware",
            "another tool version",
            "another workload: quick v7 (partitions 77), not quick v",
            "is no complete run: interrupted",
        ],
    );
}

#[test]
fn a_round_that_stalled_counts_and_what_no_round_did_does_not() {
    let summary = contender("one", &[1_000, 0], 500).summary;
    let rate = summary.streams[0].acked_per_second.as_ref().expect("one round had some");
    assert_eq!((rate.rounds, rate.least), (2, 0.0));
    assert!((rate.mean - 500.0).abs() < 1e-6, "{}", rate.mean);
    assert_eq!(summary.streams[0].drained_per_second, None);
}

#[test]
fn a_sweep_names_the_highest_rate_that_was_kept() {
    let mut report = report(Vec::new());
    report.objective_p99_us = Some(10_000.0);
    let step = |rate: f64, is_kept| SweepStep {
        contender: "iolite".into(),
        asked_per_second: rate,
        acked_per_second: rate,
        is_kept,
        ..SweepStep::default()
    };
    report.sweep = vec![step(1_000.0, true), step(2_000.0, true), step(4_000.0, false)];
    shows(&text(&[report]), &["iolite: 2,000 records/s with p99 within 10.0 ms", "missed"]);
}

#[test]
fn times_stand_in_names_in_utc() {
    assert_eq!(time_in_a_name(0), "19700101-000000");
    assert_eq!(time_in_a_name(951_827_696), "20000229-123456");
    assert_eq!(time_in_a_name(4_102_444_799), "20991231-235959");
}

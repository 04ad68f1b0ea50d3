//! Judgements on rounds that were made up.

use super::*;
use crate::load::{RoundOutcome, StreamRecord};
use crate::measure::{Latencies, Percentiles};
use crate::report::{Busy, Contender, Settings};
use crate::target::BrokerSide;
use crate::workload;

fn report(mode: &str) -> Report {
    let mut report = Report::begin(mode, Settings::default());
    report.machine.cores = 4;
    report
}

/// A histogram of a thousand samples, of which so many took so long (in microseconds) and the rest 10 us.
fn histogram(slow: u32, slow_us: u64) -> Percentiles {
    let mut latencies = Latencies::default();
    (0..1_000).for_each(|number| {
        latencies.record(if number < slow { slow_us * 1_000 } else { 10_000 });
    });
    latencies.percentiles()
}

/// A round of ten seconds with one stream.
fn round(generator_busy: f64, change: impl FnOnce(&mut Round)) -> Round {
    let outcome = RoundOutcome { streams: vec![StreamRecord::default()], ..RoundOutcome::default() };
    let names = [("main".to_owned(), None)];
    let mut round = Round::of(&outcome, &names, BrokerSide::default(), Busy::default());
    (round.seconds, round.generator_busy) = (10.0, generator_busy);
    round.streams[0].acks = histogram(0, 0);
    change(&mut round);
    round
}

/// What is told of these rounds: a note with all of these words, or nothing.
#[track_caller]
fn check(judge: impl FnOnce(&mut Report, &[Round]), rounds: &[Round], words: &[&str]) {
    let mut report = report("produce");
    judge(&mut report, rounds);
    assert_eq!(report.status, Status::Complete, "{:?}", report.problems);
    assert_eq!(report.notes.is_empty(), words.is_empty(), "{:?}", report.notes);
    for word in words {
        assert!(report.notes.iter().any(|note| note.contains(word)), "{word:?} in {:?}", report.notes);
    }
}

fn check_generator(rounds: &[Round], words: &[&str]) {
    check(|report, rounds| generator(report, "one", rounds), rounds, words);
}

#[test]
fn a_generator_is_the_limit_from_95_in_100_on() {
    check_generator(&[round(0.9, |_| ()), round(0.949, |_| ())], &[]);
    check_generator(&[round(0.2, |_| ()), round(0.95, |_| ())], &["the generator, not the broker", "95 %"]);
}

/// The p99 of a thousand samples: eleven slow ones are above it, nine are not.
#[test]
fn a_generator_is_late_by_its_p99_and_beside_the_latency() {
    let late = |slow, late_us, ack_us| {
        round(0.1, |round| {
            let stream = &mut round.streams[0];
            stream.lateness = histogram(slow, late_us);
            stream.acks = histogram(slow, ack_us);
        })
    };
    check_generator(&[late(9, 50_000, 50_000)], &[]);
    check_generator(&[late(11, 50_000, 50_000)], &["records of main", "up to 50.", "ms late (p99)"]);
    // Less than a millisecond nobody waits for; nor for less than a fifth of what the whole takes.
    check_generator(&[late(11, 900, 900)], &[]);
    check_generator(&[late(11, 5_000, 50_000)], &[]);
    check_generator(&[late(11, 5_000, 20_000)], &["up to 5.0 ms late"]);
    // The worst round is told.
    check_generator(&[late(11, 5_000, 20_000), late(11, 8_000, 20_000)], &["up to 8.0 ms late"]);
}

#[test]
fn a_missed_rate_is_the_brokers_unless_the_generator_was_busy() {
    let missed = |generator_busy| {
        round(generator_busy, |round| {
            let stream = &mut round.streams[0];
            (stream.asked_per_second, stream.acked_per_second) = (Some(1_000.0), 900.0);
            stream.unsent = 50;
        })
    };
    for (generator_busy, limit) in
        [(0.5, "the broker (or its acks) was the limit"), (0.97, "the generator was the limit")]
    {
        let mut report = report("produce");
        rates(&mut report, "one", &missed(generator_busy));
        assert_eq!(report.status, Status::RateMissed);
        let told = report.problems.join("\n");
        assert!(told.contains(limit), "{told}");
        assert!(told.contains("asked for 1,000 records/s, 900 were acknowledged"), "{told}");
        assert!(told.contains("50 that were due never left"), "{told}");
    }
    let mut sweep = report("sweep");
    rates(&mut sweep, "one", &missed(0.5));
    assert_eq!((sweep.status, sweep.notes.len()), (Status::Complete, 1), "a sweep looks for that");
}

#[test]
fn readers_fall_behind_where_less_is_read_than_comes_in_for_all_groups() {
    let read = |mode: &str, groups, per_second| {
        let mut workload = workload::find("quick").expect("it is built in");
        workload.streams[0].groups = groups;
        let round = round(0.1, |round| {
            let stream = &mut round.streams[0];
            (stream.acked_per_second, stream.read_per_second) = (1_000.0, per_second);
        });
        let mut report = report(mode);
        readers(&mut report, "one", &round, &workload);
        (report.status, report.problems.len(), report.notes.len())
    };
    assert_eq!(read("consume-tail", 1, 980.0), (Status::Complete, 0, 0));
    assert_eq!(read("consume-tail", 1, 979.0), (Status::RateMissed, 1, 0));
    assert_eq!(read("consume-tail", 2, 1_900.0), (Status::RateMissed, 1, 0));
    assert_eq!(read("mixed", 2, 1_900.0), (Status::Complete, 0, 1), "elsewhere it is told, and no more");
}

#[test]
fn others_at_work_are_told_above_a_tenth_of_the_machine() {
    let busy = |others, stolen| Round {
        others_busy_seconds: Some(others),
        stolen_seconds: stolen,
        ..round(0.1, |_| ())
    };
    let check = |rounds: &[Round], words: &[&str]| {
        check(|report, rounds| others(report, "one", rounds), rounds, words)
    };
    // Of forty seconds of four cores.
    check(&[busy(4.0, 4.0)], &[]);
    check(&[busy(1.0, 1.0), busy(8.0, 0.0)], &["kept 20 % of the machine busy"]);
    check(&[busy(0.0, 10.0)], &["the host took 25 % of the machine away"]);
}

#[test]
fn turns_that_did_not_wait_for_a_quiet_disk_are_counted() {
    let told_of = |is_all_started, settled: &[Option<Settled>]| {
        let rounds = settled.iter().map(|settled| Round { settled: *settled, ..Round::default() }).collect();
        let mut report = report("compare");
        report.contenders = vec![Contender { rounds, ..Contender::default() }];
        settling(&mut report, is_all_started);
        report.notes.join("\n")
    };
    let told = |settled: &[Option<Settled>]| told_of(true, settled);
    let settled = |seconds, is_quiet| Some(Settled { seconds, is_quiet });
    assert_eq!(told(&[None, None]), "");
    let quiet = told(&[settled(1.0, true), settled(2.5, true)]);
    assert!(quiet.contains("before each of 2 turns the disk was quiet, after 2.5 s at most"), "{quiet}");
    assert!(quiet.contains("nobody paid"), "{quiet}");
    let restless = told(&[settled(1.0, true), settled(30.0, false)]);
    assert!(restless.contains("before 1 of 2 turns the disk was not quiet"), "{restless}");
    let elsewhere = told_of(false, &[settled(1.0, true)]);
    assert!(
        elsewhere.contains("before each of 1 turns") && !elsewhere.contains("nobody paid"),
        "{elsewhere}"
    );
    assert!(elsewhere.contains("a broker that ran already"), "{elsewhere}");
}

#[test]
fn only_metrics_that_could_not_be_read_are_told_as_such() {
    let check = |before: &Counters, after: &Counters, words: &[&str]| {
        check(|report, _| broker_side(report, "one", before, after), &[], words);
    };
    let read = Counters { cpu_seconds: Some(1.0), ..Counters::default() };
    let unread = Counters { is_unread: true, ..Counters::default() };
    check(&read, &read, &[]);
    check(&read, &unread, &["could not be read after a round"]);
    check(&unread, &read, &["could not be read before a round"]);
}

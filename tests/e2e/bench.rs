//! `iolite-bench`: every mode runs, its report says what it must, its records were checked, bad input is told. Nothing here
//! is judged by a time.

mod browser;
mod liar;
mod peers;
mod workloads;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::broker::{Broker, Options, Target, built, iolite_binary, scratch};
use e2e::process::{Process, run};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use liar::{CREATE_TOPICS, DELETE_TOPICS, FETCH, Liar, Lie, PRODUCE};

const DEADLINE: Duration = Duration::from_secs(120);
/// Exit codes of the tool: complete, and a rate that this machine, under test, did not reach.
const FINE: [i32; 2] = [0, 5];
const UNREACHABLE: i32 = 1;
const VOID: i32 = 3;
const PARTIAL: i32 = 4;
const RATE_MISSED: i32 = 5;

/// Short runs at low rates.
const SMALL: [(&str, &str); 5] = [
    ("--duration", "1s"),
    ("--warm-up", "200ms"),
    ("--rounds", "2"),
    ("--rate", "400"),
    ("--value-bytes", "200"),
];

/// Topics of which compaction and retention find something after a few mebibytes.
const CLEANED_UP: &str = r#"
name = "cleaned-up"
version = 1
description = "Little segments that are compacted, and others that are deleted."

[[streams]]
name = "compacted"
partitions = 1
producers = 1
rate = 500
record = { value_bytes = 16384, keys = { count = 50 } }

[streams.topic_config]
"cleanup.policy" = "compact"
"min.cleanable.dirty.ratio" = "0.01"
"segment.bytes" = "1048576"

[[streams]]
name = "retained"
partitions = 1
producers = 1
rate = 500
record = { value_bytes = 16384 }

[streams.topic_config]
"retention.bytes" = "1048576"
"segment.bytes" = "1048576"
"#;

/// What a run left behind.
struct Outcome {
    code: Option<i32>,
    lines: Vec<String>,
    directory: TempDir,
}

impl Outcome {
    fn report(&self) -> Value {
        let text = fs::read_to_string(self.stem().with_extension("json")).expect("the report was written");
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn page(&self) -> PathBuf {
        self.stem().with_extension("html")
    }

    fn stem(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    fn says(&self, words: &str) {
        assert!(
            self.lines.iter().any(|line| line.contains(words)),
            "{words:?} in:\n{}",
            self.lines.join("\n")
        );
    }

    /// Something of the backlog was read while it was measured, or, where this machine, under test, had no time for that, the
    /// report says so.
    fn assert_drained(&self) {
        let report = self.report();
        let has_figure =
            streams(&report, 0)[0]["drained_per_second"]["mean"].as_f64().is_some_and(|rate| rate > 0.0);
        if !has_figure {
            self.says("nothing of the backlog");
        }
    }

    /// Before each of its turns the disk was awaited. Whether that of this machine, under test, came to rest is the machine's; the
    /// report says which it was.
    fn assert_settled(&self, turns: usize) {
        let report = self.report();
        let contenders = report["contenders"].as_array().expect("a list").iter();
        let rounds = contenders.flat_map(|contender| contender["rounds"].as_array().expect("a list"));
        let settled: Vec<&Value> = rounds.map(|round| &round["settled"]["is_quiet"]).collect();
        assert_eq!(settled.len(), turns);
        assert!(settled.iter().all(|is_quiet| is_quiet.is_boolean()), "{settled:?}");
        match settled.iter().filter(|is_quiet| **is_quiet == false).count() {
            0 => self.says(&format!("before each of {turns} turns the disk was quiet")),
            restless => self.says(&format!("before {restless} of {turns} turns the disk was not quiet")),
        }
    }

    /// It ran to its end and no record was wrong.
    fn assert_fine(&self) {
        assert!(
            self.code.is_some_and(|code| FINE.contains(&code)),
            "{:?}:\n{}",
            self.code,
            self.lines.join("\n")
        );
    }
}

fn tool() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("iolite-bench"))
}

fn command(directory: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(tool());
    command.current_dir(directory.path()).args(words);
    command
}

fn new_directory() -> TempDir {
    tempfile::Builder::new().prefix("bench-").tempdir_in(scratch()).expect("a directory")
}

/// Runs the tool, which starts its own broker where none is named.
fn bench(mode: &str, words: &[&str]) -> Outcome {
    let directory = new_directory();
    let binary = iolite_binary().display().to_string();
    let place = directory.path().display().to_string();
    let mut all = vec![mode, "--out", "run", "--quiet", "--no-baseline", "--directory", &place];
    all.extend(["--iolite-binary", &binary]);
    for (flag, value) in SMALL {
        let is_set = words.contains(&flag) || (flag == "--rate" && words.contains(&"--in-flight"));
        if !is_set {
            all.extend([flag, value]);
        }
    }
    all.extend(words);
    let (status, lines) = run("iolite-bench", command(&directory, &all), DEADLINE);
    Outcome { code: status.code(), lines, directory }
}

fn streams(report: &Value, contender: usize) -> &Vec<Value> {
    report["contenders"][contender]["summary"]["streams"].as_array().expect("streams")
}

#[test]
fn one_command_starts_a_broker_and_leaves_a_report_and_a_page() {
    let outcome = bench("produce", &[]);
    outcome.assert_fine();
    outcome.says("acknowledged after");
    outcome.says("checked");
    let report = outcome.report();
    assert_eq!(report["mode"], "produce");
    assert_eq!(report["contenders"][0]["rounds"].as_array().map(Vec::len), Some(2));
    // Open loop: as many records as were due while it was measured, no matter how long each took; those that a broker had no
    // room for are counted too.
    let samples = streams(&report, 0)[0]["acks"]["samples"].as_i64().expect("a count");
    let rounds = report["contenders"][0]["rounds"].as_array().expect("rounds").iter();
    let unsent: i64 = rounds.map(|round| round["streams"][0]["unsent"].as_i64().expect("a count")).sum();
    assert!(
        (samples + unsent - 800).abs() <= 4,
        "{samples} samples, {unsent} unsent of 2 rounds of 1 s at 400/s"
    );
    let checked = report["contenders"][0]["checked"].as_str().expect("words");
    assert!(checked.contains("read back and checked"), "{checked}");
    assert!(report["disk"]["filesystem"].is_string());
    assert!(report["contenders"][0]["rounds"][0]["broker"]["journal_frames"].is_u64());
    let page = fs::read_to_string(outcome.page()).expect("the page was written");
    assert!(page.contains("<svg") && !page.contains("https://"));
    let left = fs::read_dir(outcome.directory.path()).expect("it is readable").count();
    assert_eq!(left, 2, "the broker's directory is cleared away");
}

#[test]
fn end_to_end_reads_every_record_along() {
    let outcome = bench("end-to-end", &[]);
    outcome.assert_fine();
    let report = outcome.report();
    let stream = &streams(&report, 0)[0];
    assert_eq!(stream["ends"]["samples"], stream["acks"]["samples"], "each record is read once");
    outcome.says("records were checked as they were read along");
}

#[test]
fn consume_drains_a_backlog() {
    let outcome = bench("consume", &["--backlog-bytes", "2000000"]);
    outcome.assert_fine();
    let report = outcome.report();
    assert!(streams(&report, 0)[0]["drained_mb_per_second"]["mean"].as_f64().is_some_and(|rate| rate > 0.0));
}

#[test]
fn consume_reads_at_the_end_of_a_log() {
    let outcome = bench("consume", &["--tail"]);
    outcome.assert_fine();
    let report = outcome.report();
    assert_eq!(report["mode"], "consume-tail");
    let stream = &streams(&report, 0)[0];
    assert_eq!(stream["ends"]["samples"], stream["acks"]["samples"], "each record is read once");
    assert!(stream["ends"]["samples"].as_u64().is_some_and(|samples| samples > 0));
    assert!(stream["drained_per_second"].is_null(), "there is no backlog");
    // Whether this machine, under test, lets readers keep up is the machine's; the report says when it does not.
    let rounds = report["contenders"][0]["rounds"].as_array().expect("rounds").iter();
    let figure = |round: &Value, name: &str| round["streams"][0][name].as_f64().expect("a rate");
    let behind =
        rounds.filter(|round| figure(round, "read_per_second") < 0.98 * figure(round, "acked_per_second"));
    let is_told = outcome.lines.iter().any(|line| line.contains("fell behind"));
    assert_eq!(is_told, behind.count() > 0, "{}", outcome.lines.join("\n"));
    outcome.says("read along");
}

#[test]
fn mixed_produces_follows_and_catches_up() {
    let words = ["--workload", "catch-up-under-load", "--backlog-bytes", "1000000"];
    let outcome = bench("mixed", &words);
    outcome.assert_fine();
    outcome.assert_drained();
    let report = outcome.report();
    let stream = &streams(&report, 0)[0];
    assert_eq!(stream["ends"]["samples"], stream["acks"]["samples"]);
}

/// A step of a sweep: the rate that was asked for, and whether it was kept.
type Step = (f64, bool);

/// The rates of a sweep of three steps from 200/s on, each half as high again as the one before: as long as they are kept;
/// between the last that was kept and the first that was not; none below the first.
fn climb(is_kept: impl Fn(f64) -> bool) -> Vec<f64> {
    match [200.0, 300.0].map(&is_kept) {
        [false, _] => vec![200.0],
        [true, true] => vec![200.0, 300.0, 450.0],
        [true, false] => vec![200.0, 250.0, 300.0],
    }
}

/// Whichever rates this machine, under test, keeps: the steps follow from each other, and the verdict from the steps.
#[test]
fn a_sweep_has_steps_and_a_verdict() {
    const OBJECTIVE_US: f64 = 60_000_000.0;
    const RATE_MET: f64 = 0.98;
    let outcome = bench("sweep", &["--from", "200", "--steps", "3", "--p99-ms", "60000"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.lines.join("\n"));
    let report = outcome.report();
    let told = report["sweep"].as_array().expect("steps");
    let number = |step: &Value, name: &str| step[name].as_f64();
    let steps: Vec<Step> = told
        .iter()
        .map(|step| {
            let asked = number(step, "asked_per_second").expect("a rate");
            let is_reached = number(step, "acked_per_second").expect("a rate") >= asked * RATE_MET;
            let is_quick = number(step, "p99_us").is_some_and(|p99| p99 <= OBJECTIVE_US);
            assert_eq!(step["is_kept"], is_reached && is_quick, "{step}");
            (asked, is_reached && is_quick)
        })
        .collect();
    let kept: Vec<f64> = steps.iter().filter(|(_, is_kept)| *is_kept).map(|(asked, _)| *asked).collect();
    let tried: Vec<f64> = steps.iter().map(|(asked, _)| *asked).collect();
    assert_eq!(tried, climb(|rate| kept.contains(&rate)), "{steps:?}");
    match kept.last() {
        Some(highest) => outcome.says(&format!("{highest} records/s with p99 within")),
        None => outcome.says("no rate tried keeps p99 within"),
    }
}

#[test]
fn a_tradeoff_tries_every_choice() {
    let mut words = vec!["--settle-max", "2s"];
    // Six brokers at a time.
    for setting in ["journal.bytes=33554432", "journal.file.bytes=8388608"] {
        words.extend(["--set", setting]);
    }
    let outcome = bench("tradeoff", &words);
    outcome.assert_fine();
    let report = outcome.report();
    let contenders = report["contenders"].as_array().expect("a list");
    let names: Vec<&str> = contenders.iter().filter_map(|one| one["name"].as_str()).collect();
    let choices = ["acks all", "acks 1", "acks 0"];
    let expected: Vec<String> = choices
        .iter()
        .flat_map(|acks| ["synced", "relaxed"].map(|flush| format!("{acks}, {flush}")))
        .collect();
    assert_eq!(names, expected);
    let brokers: BTreeSet<&str> =
        contenders.iter().filter_map(|one| one["facts"]["bootstrap"].as_str()).collect();
    assert_eq!(brokers.len(), names.len(), "each has a process of its own: {brokers:?}");
    outcome.assert_settled(2 * names.len());
}

#[test]
fn cleaning_up_takes_turns_with_keeping_everything() {
    let directory = new_directory();
    let workload = directory.path().join("cleaned-up.toml");
    fs::write(&workload, CLEANED_UP).expect("the directory is writable");
    let workload = workload.display().to_string();
    let mut words =
        vec!["--workload", &workload, "--rate", "1000", "--value-bytes", "16384", "--broker-cores", "0"];
    // A journal that is destaged after four mebibytes: each round writes some times as much.
    for setting in ["journal.bytes=16777216", "journal.file.bytes=4194304"] {
        words.extend(["--set", setting]);
    }
    let outcome = bench("cleanup", &words);
    outcome.assert_fine();
    let report = outcome.report();
    let contenders = report["contenders"].as_array().expect("a list");
    let names: Vec<&str> = contenders.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["without", "with cleanup"]);
    for contender in contenders {
        assert!(
            contender["checked"].as_str().is_some_and(|told| told.contains("were read back and checked")),
            "{}",
            contender["checked"]
        );
    }
    for round in contenders[0]["rounds"].as_array().expect("a list") {
        let done = [&round["broker"]["compacted_bytes"], &round["broker"]["deleted_segments"]];
        assert_eq!(done.map(Value::as_u64), [Some(0); 2], "nothing was cleaned up meanwhile");
    }
    let [without, with] = [0, 1].map(|contender| {
        let done = &contenders[contender]["cleaned_up"];
        ["compacted_bytes", "deleted_segments"].map(|name| done[name].as_u64().expect("a number"))
    });
    assert_eq!(without, [0; 2], "nor between the rounds or after them");
    assert!(with.iter().all(|count| *count > 0), "compaction and retention were at work: {with:?}");
}

#[test]
fn a_workload_without_anything_to_clean_up_is_refused() {
    let outcome = bench("cleanup", &[]);
    assert_eq!(outcome.code, Some(UNREACHABLE));
    outcome.says("has no topics to clean up");
}

#[test]
fn a_comparison_takes_turns_and_tells_ratios_and_saved_runs_compare() {
    let words = ["--target", "iolite", "--target", "calm=iolite,relaxed", "--settle-max", "2s"];
    let outcome = bench("compare", &words);
    outcome.assert_fine();
    outcome.says("beside iolite");
    let report = outcome.report();
    let [first, second] = [0, 1].map(|contender| &report["contenders"][contender]);
    assert_ne!(first["facts"]["bootstrap"], second["facts"]["bootstrap"], "each has a process of its own");
    outcome.assert_settled(4);
    let json = outcome.stem().with_extension("json").display().to_string();
    let (status, lines) = run(
        "iolite-bench",
        command(&outcome.directory, &["report", &json, &json, "--out", "both"]),
        DEADLINE,
    );
    assert_eq!(status.code(), outcome.code, "as the runs it shows:\n{}", lines.join("\n"));
    assert!(outcome.directory.path().join("both.html").exists());
}

#[test]
fn readers_take_part_in_a_comparison() {
    let words =
        ["--target", "iolite", "--target", "calm=iolite,relaxed", "--settle-max", "0s", "--rounds", "1"];
    let load = ["--scenario", "mixed", "--workload", "catch-up-under-load", "--backlog-bytes", "4000000"];
    let outcome = bench("compare", &[&words[..], &load].concat());
    outcome.assert_fine();
    outcome.assert_drained();
    let report = outcome.report();
    assert_eq!(report["mode"], "compare-mixed");
    for contender in [0, 1] {
        let read = streams(&report, contender)[0]["read_per_second"]["mean"].as_f64();
        assert!(read.is_some_and(|rate| rate > 0.0), "{read:?}");
        let checked = report["contenders"][contender]["checked"].as_str().expect("words");
        assert!(checked.contains("as they were read along"), "{checked}");
    }
}

#[test]
fn reports_of_different_versions_are_shown_and_not_passed() {
    let outcome = bench("produce", &["--rounds", "1"]);
    outcome.assert_fine();
    let own = outcome.stem().with_extension("json");
    let mut older = outcome.report();
    older["tool"] = "iolite-bench 0.0.1".into();
    let other = outcome.directory.path().join("older.json");
    fs::write(&other, older.to_string()).expect("the directory is writable");
    let compare = |one: &Path, two: &Path| {
        let [one, two] = [one, two].map(|path| path.display().to_string());
        run("iolite-bench", command(&outcome.directory, &["report", &one, &two]), DEADLINE)
    };
    let (status, lines) = compare(&own, &other);
    let told = lines.join("\n");
    assert_eq!(status.code(), Some(UNREACHABLE), "{told}");
    assert!(told.contains("beware  report 2 has another tool version: iolite-bench 0.0.1, not "), "{told}");
    assert!(told.contains("the reports come from different versions of the tool"), "{told}");
    assert!(told.contains("beside "), "they are shown all the same: {told}");
    let (status, lines) = compare(&own, &own);
    assert_eq!(status.code(), outcome.code, "{}", lines.join("\n"));
}

#[test]
fn each_is_loaded_with_parts_of_its_own_maximum() {
    let words =
        ["--target", "iolite", "--target", "calm=iolite,relaxed", "--in-flight", "2", "--settle-max", "0s"];
    let outcome = bench("compare", &[&words[..], &["--rounds", "1", "--own-maximum", "50,10"]].concat());
    outcome.assert_fine();
    let report = outcome.report();
    let contenders = report["contenders"].as_array().expect("a list");
    let names: Vec<&str> = contenders.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["iolite", "calm", "iolite at 10 %", "calm at 10 %", "iolite at 50 %", "calm at 50 %"]);
    for (place, contender) in contenders.iter().enumerate().skip(2) {
        let most = &contenders[place % 2]["summary"]["streams"][0]["acked_per_second"]["median"];
        let most = most.as_f64().expect("a rate");
        let percent = if place < 4 { 10 } else { 50 };
        assert_eq!(contender["own_maximum"]["percent"], percent);
        assert_eq!(contender["own_maximum"]["most_per_second"], most);
        let asked = contender["rounds"][0]["streams"][0]["asked_per_second"].as_f64().expect("a rate");
        let part = most * f64::from(percent) / 100.0;
        assert!((asked - part).abs() < 1e-6 * part, "{asked} is {percent} % of {most}");
    }
    outcome.says("at a part of the own maximum");
    outcome.says("beside iolite at 50 %");
}

#[test]
fn a_rate_is_no_maximum() {
    let outcome = bench("compare", &["--target", "iolite", "--target", "calm=iolite", "--own-maximum", "50"]);
    assert_eq!(outcome.code, Some(UNREACHABLE));
    outcome.says("is a rate, and no maximum");
}

/// Who may not make control groups is told what it takes.
#[test]
fn all_the_memory_of_a_broker_can_be_limited() {
    let outcome = bench("produce", &["--rounds", "1", "--limit-mib", "700", "--memory-mib", "256"]);
    // Where they have a hierarchy of their own and may be made by hand, the tool must be able to as well.
    let by_hand = Path::new("/sys/fs/cgroup/memory").join(e2e::unique("by-hand"));
    let may = fs::create_dir(&by_hand).and_then(|()| fs::remove_dir(&by_hand)).is_ok();
    if !may && outcome.code == Some(UNREACHABLE) {
        outcome.says("--limit-mib needs a memory control group");
        return;
    }
    outcome.assert_fine();
    let report = outcome.report();
    let given = &report["contenders"][0]["facts"]["disclosed"];
    assert_eq!(given["memory limit, page cache included"], "700 MiB");
    assert!(given["times that limit was reached"].is_string(), "{given}");
}

#[test]
fn turns_that_follow_at_once_are_told() {
    let words =
        ["--target", "iolite", "--target", "calm=iolite,relaxed", "--settle-max", "0s", "--rounds", "1"];
    let outcome = bench("compare", &words);
    outcome.assert_fine();
    outcome.says("turns followed each other at once");
    assert!(outcome.report()["contenders"][0]["rounds"][0]["settled"].is_null());
}

#[test]
fn a_closed_loop_keeps_to_what_is_in_flight() {
    let words =
        ["--in-flight", "3", "--duration", "500ms", "--warm-up", "0s", "--rounds", "1", "--producers", "2"];
    let outcome = bench("produce", &words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.lines.join("\n"));
    assert!(streams(&outcome.report(), 0)[0]["acks"]["samples"].as_u64().is_some_and(|samples| samples > 0));
}

#[test]
fn without_acks_nothing_is_lost_on_the_way_to_a_broker_that_lives() {
    let words =
        ["--in-flight", "50", "--acks", "0", "--duration", "500ms", "--warm-up", "0s", "--rounds", "1"];
    let outcome = bench("produce", &words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.lines.join("\n"));
    let checked = outcome.report()["contenders"][0]["checked"].as_str().expect("words").to_owned();
    assert!(checked.contains("read back and checked"), "{checked}");
    outcome.says("acks 0: nobody confirms a record");
}

/// A terabyte a second is more than any machine has a way for.
#[test]
fn a_rate_that_nobody_reaches_is_missed() {
    let words = ["--rate", "1000000", "--value-bytes", "1000000", "--producers", "1"];
    let lengths = ["--duration", "200ms", "--warm-up", "0s", "--rounds", "1"];
    let outcome = bench("produce", &[&words[..], &lengths].concat());
    assert_eq!(outcome.code, Some(RATE_MISSED), "{}", outcome.lines.join("\n"));
    assert_eq!(outcome.report()["status"], "rate-missed");
    outcome.says("asked for");
    let checked = outcome.report()["contenders"][0]["checked"].as_str().expect("words").to_owned();
    assert!(checked.contains("read back and checked"), "what was taken is right: {checked}");
}

/// Runs the tool against a broker that lies; to be true, the lie must have been told.
fn bench_liar(lie: Lie) -> Outcome {
    let liar = Liar::start(lie);
    let address = liar.address.to_string();
    let outcome = bench("produce", &["--bootstrap", &address, "--producers", "1", "--partitions", "1"]);
    assert!(liar.has_lied(), "there was an occasion for {lie:?}");
    drop(liar.broker.stop());
    outcome
}

#[track_caller]
fn check_lie(lie: Lie, told: &str) {
    let outcome = bench_liar(lie);
    assert_eq!(outcome.code, Some(VOID), "{}", outcome.lines.join("\n"));
    outcome.says(told);
    let report = outcome.report();
    assert_eq!(report["status"], "void");
    assert_eq!(report["contenders"][0]["checked"], "FAILED");
    let json = outcome.stem().with_extension("json").display().to_string();
    let (status, _) = run("iolite-bench", command(&outcome.directory, &["report", &json]), DEADLINE);
    assert_eq!(status.code(), Some(VOID), "a report of it is no better");
}

#[test]
fn a_broker_that_loses_records_voids_the_run() {
    check_lie(Lie::Loses, "LOST: ");
}

#[test]
fn a_broker_that_repeats_records_voids_the_run() {
    check_lie(Lie::Repeats, "DUPLICATE: ");
}

#[test]
fn a_broker_that_reorders_records_voids_the_run() {
    check_lie(Lie::Reorders, "OUT OF ORDER: ");
}

#[test]
fn a_broker_that_gives_an_offset_twice_voids_the_run() {
    check_lie(Lie::Renumbers, "OFFSETS: ");
}

#[test]
fn a_broker_that_does_not_say_where_it_put_records_ends_the_run() {
    let outcome = bench_liar(Lie::Withholds);
    assert_eq!(outcome.code, Some(PARTIAL), "{}", outcome.lines.join("\n"));
    outcome.says("were acknowledged without an offset");
}

#[test]
fn the_same_broker_passes_where_it_does_not_lie() {
    bench_liar(Lie::None).assert_fine();
}

/// Two contenders that are the same broker, in two rounds. Each turn fills its journal, so that the turn before need not be kept.
fn compare_liar(lie: Lie, words: &[&str]) -> (Outcome, Liar) {
    let small = [("journal.bytes", "16777216"), ("journal.file.bytes", "4194304")];
    let liar = Liar::with(lie, &small);
    let [one, other] = ["one", "other"].map(|name| format!("{name}={}", liar.address));
    let admin = liar.broker.admin().expect("Iolite has metrics").to_string();
    let brokers = ["--target", &one, "--target", &other, "--admin", &admin];
    let load = ["--producers", "1", "--partitions", "1", "--value-bytes", "131072", "--settle-max", "0s"];
    let outcome = bench("compare", &[&brokers[..], &load, words].concat());
    (outcome, liar)
}

#[test]
fn turns_are_read_back_and_deleted_while_the_rounds_go_on() {
    let (outcome, liar) = compare_liar(Lie::None, &[]);
    outcome.assert_fine();
    let first = [CREATE_TOPICS, PRODUCE, FETCH, DELETE_TOPICS];
    let expected = [&first[..], &first, &first, &[FETCH, DELETE_TOPICS]].concat();
    assert_eq!(liar.called(&[PRODUCE, FETCH, CREATE_TOPICS, DELETE_TOPICS]), expected);
    let report = outcome.report();
    for contender in report["contenders"].as_array().expect("a list") {
        let acked = |round: &Value| round["streams"][0]["acked_per_second"].as_f64().expect("a rate");
        let rounds = contender["rounds"].as_array().expect("a list");
        assert_eq!(rounds.len(), 2);
        assert!(rounds.iter().map(acked).all(|rate| rate > 0.0), "{rounds:?}");
        let checked = contender["checked"].as_str().expect("words");
        assert!(checked.contains("read back and checked"), "{checked}");
    }
}

#[test]
fn turns_with_readers_are_deleted_while_the_rounds_go_on() {
    let (outcome, liar) = compare_liar(Lie::None, &["--scenario", "mixed"]);
    outcome.assert_fine();
    let turn = [CREATE_TOPICS, DELETE_TOPICS];
    assert_eq!(liar.called(&turn), [&turn[..], &turn, &turn].concat());
    assert_eq!(outcome.report()["mode"], "compare-mixed");
}

#[test]
fn a_record_lost_in_one_turn_ends_the_comparison() {
    let (outcome, liar) = compare_liar(Lie::Loses, &[]);
    assert!(liar.has_lied(), "there was an occasion");
    assert_eq!(outcome.code, Some(VOID), "{}", outcome.lines.join("\n"));
    outcome.says("one: LOST: ");
    let report = outcome.report();
    let rounds =
        |contender: usize| report["contenders"][contender]["rounds"].as_array().expect("a list").len();
    assert_eq!([rounds(0), rounds(1)], [1, 1]);
    assert_eq!(report["contenders"][0]["checked"], "FAILED");
    let other = report["contenders"][1]["checked"].as_str().expect("words");
    assert!(
        other.contains("read back and checked"),
        "what it wrote is all right, and was looked at: {other}"
    );
}

#[test]
fn an_interrupted_run_keeps_what_was_measured_and_stops_its_broker() {
    let directory = new_directory();
    let (binary, place) = (iolite_binary().display().to_string(), directory.path().display().to_string());
    let words =
        ["produce", "--out", "run", "--no-baseline", "--directory", &place, "--iolite-binary", &binary];
    let load = ["--duration", "60s", "--warm-up", "0s", "--rate", "100"];
    let mut tool = Process::start("iolite-bench", command(&directory, &[&words[..], &load].concat()));
    tool.wait_for_line(DEADLINE, "a second of load", |line| line.contains("records/s").then_some(()));
    tool.signal(Signal::SIGINT);
    let status = tool.wait(DEADLINE);
    let outcome = Outcome { code: status.code(), lines: tool.lines(), directory };
    assert_eq!(outcome.code, Some(PARTIAL), "{}", outcome.lines.join("\n"));
    outcome.says("interrupted");
    let report = outcome.report();
    assert_eq!(report["status"], "partial");
    let samples = streams(&report, 0)[0]["acks"]["samples"].as_u64();
    assert!(samples.is_some_and(|samples| samples > 0), "what was measured is kept");
    assert!(outcome.page().exists());
    let left = fs::read_dir(outcome.directory.path()).expect("it is readable").count();
    assert_eq!(left, 2, "the broker is stopped, and its directory cleared away");
}

#[test]
fn nobody_there_is_told() {
    let port = e2e::broker::free_port();
    let outcome = bench("produce", &["--bootstrap", &format!("127.0.0.1:{port}")]);
    assert_eq!(outcome.code, Some(UNREACHABLE));
    outcome.says("no broker answers at 127.0.0.1");
}

#[test]
fn a_broker_that_runs_already_tells_its_side() {
    let broker = Broker::start(Target::Iolite, &Options::default());
    let (kafka, admin) =
        (broker.kafka().to_string(), format!("http://{}", broker.admin().expect("it has an admin port")));
    let outcome = bench("produce", &["--bootstrap", &kafka, "--admin", &admin]);
    outcome.assert_fine();
    let report = outcome.report();
    let contender = &report["contenders"][0];
    assert!(
        contender["facts"]["version"].as_str().is_some_and(|version| version.starts_with("iolite-broker "))
    );
    for round in contender["rounds"].as_array().expect("a list") {
        let side = &round["broker"];
        assert!(side["journal_frames"].as_u64().is_some_and(|frames| frames > 0), "{side}");
        assert!(side["journal_bytes_per_frame"].as_f64().is_some_and(|bytes| bytes > 0.0), "{side}");
        assert!(side["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{side}");
        assert!(side["context_switches"].as_u64().is_some_and(|switches| switches > 0), "{side}");
        assert!(side["device_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{side}");
        let shares = ["cpu_seconds", "cpu_seconds_per_gb", "journal_fill"].map(|name| side[name].is_f64());
        assert_eq!(shares, [true; 3], "{side}");
    }
    outcome.says("CPU s/GB");
    drop(broker.stop());
}

#[test]
fn metrics_that_are_none_are_told() {
    let broker = Broker::start(Target::Iolite, &Options::default());
    let kafka = broker.kafka().to_string();
    // The port of Kafka's protocol is no admin port.
    let outcome = bench("produce", &["--bootstrap", &kafka, "--admin", &kafka]);
    assert_eq!(outcome.code, Some(UNREACHABLE), "{}", outcome.lines.join("\n"));
    outcome.says(&format!("the broker's side can't be read from {kafka}"));
    drop(broker.stop());
}

#[test]
fn a_refused_topic_is_told_with_the_brokers_words() {
    let directory = new_directory();
    let file = directory.path().join("wrong.toml");
    let text = "name = \"wrong\"\nversion = 1\ndescription = \"d\"\n[[streams]]\nname = \"s\"\nrate = 10\n\
                topic_config = { \"no.such.config\" = \"1\" }\n";
    fs::write(&file, text).expect("it can be written");
    let outcome = bench("produce", &["--workload", &file.display().to_string()]);
    assert_eq!(outcome.code, Some(UNREACHABLE));
    outcome.says("no.such.config");
}

#[test]
fn a_broker_that_dies_leaves_a_partial_report() {
    let broker = Broker::start(Target::Iolite, &Options::default());
    let directory = new_directory();
    let address = broker.kafka().to_string();
    let words = ["produce", "--bootstrap", &address, "--out", "run", "--duration", "60s", "--warm-up", "0s"];
    let mut tool =
        Process::start("iolite-bench", command(&directory, &[&words[..], &["--rate", "100"]].concat()));
    tool.wait_for_line(DEADLINE, "a second of load", |line| line.contains("records/s").then_some(()));
    drop(broker.kill());
    let status = tool.wait(DEADLINE);
    let outcome = Outcome { code: status.code(), lines: tool.lines(), directory };
    assert_eq!(outcome.code, Some(PARTIAL), "{}", outcome.lines.join("\n"));
    let report = outcome.report();
    assert_eq!(report["status"], "partial");
    assert!(
        streams(&report, 0)[0]["acks"]["samples"].as_u64().is_some_and(|samples| samples > 0),
        "what was measured is kept"
    );
    let json = outcome.stem().with_extension("json").display().to_string();
    let (status, _) = run("iolite-bench", command(&outcome.directory, &["report", &json]), DEADLINE);
    assert_eq!(status.code(), Some(PARTIAL), "a report of it is no better");
}

#[test]
fn a_broker_that_dies_while_it_is_not_its_turn_leaves_the_other_rounds() {
    let [stays, dies] = [(); 2].map(|()| Broker::start(Target::Iolite, &Options::default()));
    let directory = new_directory();
    let targets = [format!("stays={}", stays.kafka()), format!("dies={}", dies.kafka())];
    let words =
        ["compare", "--target", &targets[0], "--target", &targets[1], "--out", "run", "--rate", "100"];
    let lengths = ["--duration", "5s", "--warm-up", "0s", "--rounds", "3", "--settle-max", "2s"];
    let mut tool = Process::start("iolite-bench", command(&directory, &[&words[..], &lengths].concat()));
    tool.wait_for_line(DEADLINE, "the first round", |line| line.contains("stays 1/3").then_some(()));
    drop(dies.kill());
    let status = tool.wait(DEADLINE);
    let outcome = Outcome { code: status.code(), lines: tool.lines(), directory };
    assert_eq!(outcome.code, Some(PARTIAL), "{}", outcome.lines.join("\n"));
    let report = outcome.report();
    let first = &report["contenders"][0];
    assert_eq!(first["rounds"].as_array().map(Vec::len), Some(1), "what was measured is kept");
    let checked = first["checked"].as_str().expect("words");
    assert!(checked.contains("read back and checked"), "one broker's death is not the other's: {checked}");
}

/// A disk of the test's own. Needs root.
mod disk {
    use e2e::volume::Volume;

    use super::*;

    #[test]
    fn a_full_disk_ends_the_run_and_leaves_what_was_measured() {
        let volume = Volume::make(256 << 20);
        let binary = iolite_binary().display().to_string();
        let place = volume.directory();
        let place = place.path().display().to_string();
        let words = ["produce", "--out", "run", "--quiet", "--no-baseline", "--iolite-binary", &binary];
        let small = ["--set", "journal.bytes=33554432", "--set", "journal.file.bytes=8388608"];
        let load = ["--in-flight", "8", "--value-bytes", "50000", "--duration", "100s", "--warm-up", "0s"];
        let directory = new_directory();
        let all = [&words[..], &["--directory", &place], &small, &load, &["--rounds", "1"]].concat();
        let (status, lines) = run("iolite-bench", command(&directory, &all), DEADLINE);
        let outcome = Outcome { code: status.code(), lines, directory };
        assert_eq!(outcome.code, Some(PARTIAL), "{}", outcome.lines.join("\n"));
        outcome.says("KAFKA_STORAGE_ERROR");
        let report = outcome.report();
        assert_eq!(report["status"], "partial");
        assert!(streams(&report, 0)[0]["acks"]["samples"].as_u64().is_some_and(|samples| samples > 0));
    }
}

//! `iolite log dump`: what it tells of a data directory is what was written, what is damaged is found, and nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::broker::{Broker, Options, Target};
use e2e::process::{Finished, run_with_input};
use e2e::{DEADLINE, unique, wire};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ARGUMENTS, DONE, FAILED, NOT_FOUND, assert_refused, binary};

const DAMAGED: i32 = 5;

fn dump(data: &Path, words: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(["log", "dump"]).arg(data).args(words);
    run_with_input("iolite log dump", command, b"", DEADLINE)
}

/// What is told of a directory with which nothing is wrong, piece by piece.
fn told(data: &Path, words: &[&str]) -> Vec<Value> {
    let finished = dump(data, &[words, &["--json"]].concat());
    assert!(finished.status.code() == Some(DONE) && finished.stderr.is_empty(), "{words:?}: {finished}");
    pieces(&finished)
}

fn pieces(finished: &Finished) -> Vec<Value> {
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    finished.stdout.iter().map(read).collect()
}

fn of_kind<'a>(pieces: &'a [Value], kind: &str) -> Vec<&'a Value> {
    pieces.iter().filter(|piece| piece["kind"] == kind).collect()
}

/// A broker with a topic, and these lines in its partition 0.
fn broker_with(lines: &[String]) -> (Broker, String) {
    let broker = Broker::start(Target::Iolite, &Options::default());
    let topic = unique("tool-log");
    wire::create_topic(broker.kafka(), &topic, 2, &[("retention.ms", "-1"), ("index.interval.bytes", "512")]);
    let bootstrap = broker.kafka().to_string();
    // In several batches, so that there are index entries.
    for some in lines.chunks(20) {
        let mut command = Command::new(binary());
        command.args(["produce", &topic, "--partition", "0", "--bootstrap", &bootstrap]);
        let finished = run_with_input("iolite produce", command, some.join("\n").as_bytes(), DEADLINE);
        assert_eq!(finished.status.code(), Some(DONE), "{finished}");
    }
    (broker, topic)
}

fn lines() -> Vec<String> {
    (0..200).map(|number| format!("line {number} {}", "x".repeat(60))).collect()
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// Every file below, with all that is in it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("readable").map(|entry| entry.expect("readable").path()) {
        match entry.is_dir() {
            true => found.extend(contents(&entry)),
            false => {
                found.insert(entry.clone(), fs::read(&entry).expect("readable"));
            }
        }
    }
    found
}

/// The values of the records in these pieces, by offset.
fn values(pieces: &[Value]) -> Vec<(i64, String)> {
    let record = |piece: &&Value| {
        let value = piece["value"].as_str().expect("the tests' records are text").to_owned();
        (piece["offset"].as_i64().expect("an offset"), value)
    };
    of_kind(pieces, "record").iter().map(record).collect()
}

fn numbered(lines: &[String]) -> Vec<(i64, String)> {
    (0..).zip(lines.iter().cloned()).collect()
}

#[test]
fn segments_of_a_broker_that_was_stopped_have_what_was_written() {
    let lines = lines();
    let (broker, topic) = broker_with(&lines);
    let (_, directory) = broker.stop();
    let data = data(&directory);
    let before = contents(&data);
    let partition = format!("{topic}-0");

    let shown = told(&data, &["--records", "--partition", &partition]);
    assert_eq!(values(&shown), numbered(&lines));
    assert_eq!(of_kind(&shown, "directory")[0]["broker"], Value::Null);
    let [found] = of_kind(&shown, "partition")[..] else { panic!("one partition: {shown:?}") };
    assert_eq!(found["partition"], partition.as_str());
    assert_eq!((&found["start"], &found["destaged"]), (&json!(0), &json!(200)));
    let batches = of_kind(&shown, "batch");
    // How lines are put into batches is the producer's: it waits no longer than its linger.
    assert!(batches.len() >= 10 && batches.iter().all(|batch| batch["crc_fits"] == true), "{batches:?}");
    let records: u64 = batches.iter().map(|batch| batch["records"].as_u64().expect("a number")).sum();
    assert_eq!(records, 200);
    let [end] = of_kind(&shown, "segment_end")[..] else { panic!("one segment: {shown:?}") };
    assert_eq!((&end["base"], &end["end"], &end["batches"]), (&json!(0), &json!(200), &json!(batches.len())));
    assert_eq!(end["readable"], true);
    // Both shards have whole checkpoints, and nothing that needs to be replayed.
    let whole = told(&data, &[]);
    let counting: Vec<&Value> =
        of_kind(&whole, "checkpoint").into_iter().filter(|slot| slot["counts"] == true).collect();
    assert_eq!(counting.len(), 2, "{whole:?}");
    assert!(of_kind(&whole, "journal").iter().all(|journal| journal["tail"] == "clean"), "{whole:?}");

    let verified = told(&data, &["--verify", "--partition", &partition]);
    let [judged] = of_kind(&verified, "judged")[..] else { panic!("one partition: {verified:?}") };
    assert_eq!(
        (&judged["batches"], &judged["records"], &judged["faults"]),
        (&json!(batches.len()), &json!(200), &json!(0))
    );
    assert!(judged["index_entries"].as_u64().is_some_and(|count| count > 2), "{judged}");
    assert_eq!(of_kind(&told(&data, &["--verify"]), "fault"), [&Value::Null; 0]);
    assert!(contents(&data) == before, "nothing is changed");
}

#[test]
fn the_journal_of_a_broker_that_was_killed_has_what_was_acknowledged() {
    let lines = lines();
    let (broker, topic) = broker_with(&lines);
    // What it writes at that moment may look damaged: only who it is counts.
    let beside =
        dump(&broker.topics_directory().join(".."), &["--json", "--partition", &format!("{topic}-0")]);
    let running = pieces(&beside);
    assert_eq!(of_kind(&running, "directory")[0]["broker"], json!(broker.process().id()));
    let directory = broker.kill();
    let data = data(&directory);
    let before = contents(&data);
    let shown = told(&data, &["--records"]);
    let mut found = values(&shown);
    found.sort_unstable();
    found.dedup();
    let wanted = numbered(&lines);
    assert!(
        wanted.iter().all(|record| found.contains(record)),
        "{} of {} records",
        found.len(),
        wanted.len()
    );
    assert!(!of_kind(&shown, "frame").is_empty(), "a killed broker leaves frames to be replayed");
    told(&data, &["--verify"]);
    assert!(contents(&data) == before, "nothing is changed");
}

#[test]
fn damage_is_found_and_named() {
    let (broker, topic) = broker_with(&lines());
    let (_, directory) = broker.stop();
    let data = data(&directory);
    let partition = data.join(format!("topics/{topic}-0"));
    let log = partition.join("00000000000000000000.log");
    let index = partition.join("00000000000000000000.index");
    let flipped = |path: &Path, at: usize| {
        let whole = fs::read(path).expect("readable");
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(path, &rotten).expect("writable");
        let finished = dump(&data, &["--verify", "--json"]);
        fs::write(path, &whole).expect("writable");
        assert_eq!(finished.status.code(), Some(DAMAGED), "{}@{at}: {finished}", path.display());
        assert!(finished.stderr.len() == 1 && finished.stderr[0].contains("is damaged"), "{finished}");
        let pieces = pieces(&finished);
        let faults = of_kind(&pieces, "fault");
        faults.iter().map(|fault| fault["what"].as_str().expect("words").to_owned()).collect::<Vec<_>>()
    };
    // In the records of the first batch, in its length, in an entry of the index.
    let [fault] = &flipped(&log, 70)[..] else { panic!("one fault") };
    assert!(fault.contains("00000000000000000000.log") && fault.contains("offsets 0 to "), "{fault}");
    let faults = flipped(&log, 8);
    assert!(faults.iter().any(|fault| fault.contains("no batch that goes on with offset 0")), "{faults:?}");
    let [fault] = &flipped(&index, 7)[..] else { panic!("one fault") };
    assert!(fault.contains("00000000000000000000.index") && fault.contains("entry 0"), "{fault}");
    // A segment that is not there.
    let whole = fs::read(&log).expect("readable");
    fs::remove_file(&log).expect("writable");
    let finished = dump(&data, &["--verify"]);
    assert_eq!(finished.status.code(), Some(DAMAGED), "{finished}");
    assert!(
        finished.stdout.iter().any(|line| line.contains("offsets 0 to 200 (excluded) are not there")),
        "{finished}"
    );
    fs::write(&log, &whole).expect("writable");
    told(&data, &["--verify"]);
    // Nobody vouches for anything: that is told, and the rest is judged all the same.
    for directory in ["checkpoint", "journal"] {
        fs::remove_dir_all(data.join(directory)).expect("writable");
        fs::create_dir(data.join(directory)).expect("writable");
    }
    let faults = flipped(&log, 70);
    assert!(faults.iter().any(|fault| fault.contains("without checkpoint and journal")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("offsets 0 to ")), "{faults:?}");
}

#[test]
fn what_is_not_there_is_told() {
    let (broker, topic) = broker_with(&["one".to_owned()]);
    let (_, directory) = broker.stop();
    let data = data(&directory);
    for missing in [format!("{topic}-1"), "nowhere-0".to_owned()] {
        let words = ["--verify", "--partition", &missing];
        let finished = dump(&data, &words);
        assert_eq!(finished.status.code(), Some(NOT_FOUND), "{finished}");
        assert!(finished.stderr.len() == 1 && finished.stderr[0].contains(&missing), "{finished}");
    }
    let finished = dump(directory.path(), &[]);
    assert_refused(&finished, &["log"], NOT_FOUND, &["no data directory", "--data-dir"]);
    for words in [&["--partition", "orders"][..], &["--verify", "--records"]] {
        assert_eq!(dump(&data, words).status.code(), Some(ARGUMENTS), "{words:?}");
    }
}

/// A named pipe is opened by who waits for a writer: what is looked at is refused instead.
#[test]
fn a_pipe_of_a_files_name_is_refused_and_not_waited_for() {
    let (broker, topic) = broker_with(&["one".to_owned()]);
    let (_, directory) = broker.stop();
    let data = data(&directory);
    let segment = data.join(format!("topics/{topic}-0/{:020}.log", 0));
    for (path, said) in [(segment, ".log is no regular file"), (data.join("lock"), "lock is no regular file")]
    {
        fs::remove_file(&path).expect("a file");
        mkfifo(&path, Mode::S_IRWXU).expect("writable");
        let finished = dump(&data, &[]);
        assert_eq!(finished.status.code(), Some(FAILED), "{finished}");
        let [line] = &finished.stderr[..] else { panic!("one line is wanted: {finished}") };
        assert!(line.contains(said), "{line}");
    }
}

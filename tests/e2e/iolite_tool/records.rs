//! `iolite produce` and `iolite consume`: what one writes the other reads, and so do others.

use std::process::{Command, Stdio};

use e2e::broker::{self, Broker, Options, Target};
use e2e::process::{Process, run_with_input};
use e2e::{DEADLINE, unique, wire};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{ARGUMENTS, DONE, FAILED, NOT_FOUND, UNREACHABLE, binary, done, iolite, refused, told};

fn topic(name: &str, partitions: i32) -> String {
    let topic = unique(&format!("tool-{name}"));
    wire::create_topic(broker::shared().kafka(), &topic, partitions, &[("retention.ms", "-1")]);
    topic
}

/// Produces these lines; how many records the tool says there were.
fn produce(topic: &str, words: &[&str], input: &str) -> u64 {
    let finished = iolite(&[&["produce", topic, "--json"], words].concat(), input.as_bytes());
    assert!(finished.status.code() == Some(DONE) && finished.stderr.is_empty(), "{words:?}: {finished}");
    let told: Value = serde_json::from_str(&finished.stdout.join("\n")).expect("it is JSON");
    assert_eq!(told["topic"], topic);
    told["records"].as_u64().expect("a count")
}

/// Everything in the topic, in this layout.
fn consume(topic: &str, words: &[&str]) -> Vec<String> {
    done(&[&["consume", topic, "--until-end"], words].concat())
}

#[test]
fn lines_become_records_and_records_lines() {
    let topic = topic("lines", 1);
    assert_eq!(produce(&topic, &["--key-separator", "::"], "a::1\n::2\nno key\nb::x::y\n\nlast"), 6);
    let lines = consume(&topic, &["--format", "{partition} {offset} {key}|{value}"]);
    let expected = ["0 0 a|1", "0 1 |2", "0 2 null|no key", "0 3 b|x::y", "0 4 null|", "0 5 null|last"];
    assert_eq!(lines, expected);
    assert_eq!(consume(&topic, &["--from", "4"]), ["", "last"]);
    assert_eq!(consume(&topic, &["--from", "1", "--count", "2"]), ["2", "no key"]);
    assert_eq!(consume(&topic, &["--from", "latest"]), Vec::<String>::new());
    assert_eq!(consume(&topic, &["--from", "1h"]).len(), 6);
    assert_eq!(consume(&topic, &["--from", "2100-01-01T00:00:00Z"]), Vec::<String>::new());
    assert_eq!(produce(&topic, &[], ""), 0);
}

#[test]
fn every_acks_compression_and_form_is_read_back() {
    let topic = topic("forms", 3);
    let line = |number: usize| format!("line {number}:{}", "x".repeat(number * 97 % 500));
    let mut written = Vec::new();
    for (number, words) in [
        ["--acks", "1"],
        ["--acks", "all"],
        ["--compression", "gzip"],
        ["--compression", "snappy"],
        ["--compression", "lz4"],
        ["--compression", "zstd"],
        ["--records", "native"],
        // The last: nothing waits until what it sent is there.
        ["--acks", "0"],
    ]
    .iter()
    .enumerate()
    {
        let lines: Vec<String> = (number * 100..(number + 1) * 100).map(line).collect();
        assert_eq!(produce(&topic, words, &(lines.join("\n") + "\n")), 100, "{words:?}");
        written.extend(lines);
    }
    let count = written.len().to_string();
    // With acks 0 nobody is told when the records are there: the count is waited for.
    let mut read = done(&["consume", &topic, "--count", &count]);
    let is_ordered =
        |lines: &[String]| lines.is_sorted_by_key(|line| written.iter().position(|one| one == line));
    for partition in ["0", "1", "2"] {
        assert!(is_ordered(&consume(&topic, &["--partition", partition])), "partition {partition}");
    }
    read.sort_unstable();
    written.sort_unstable();
    assert_eq!(read, written);
}

#[test]
fn programs_get_a_line_of_json_for_each_record() {
    let topic = topic("json", 2);
    assert_eq!(produce(&topic, &["--partition", "1", "--key-separator", "\t"], "k\tv\u{fc}\n"), 1);
    let lines = consume(&topic, &["--json"]);
    let [line] = &lines[..] else { panic!("one record: {lines:?}") };
    let record: Value = serde_json::from_str(line).expect("it is JSON");
    let timestamp = record["timestamp"].as_i64().expect("a time");
    assert!(timestamp > 1_600_000_000_000, "{timestamp}");
    let expected = json!({
        "topic": topic, "partition": 1, "offset": 0, "timestamp": timestamp, "key": "k", "value": "v\u{fc}", "headers": [],
    });
    assert_eq!(record, expected);
    assert_eq!(told(&["topics", "describe", &topic])[0]["partitions"][1]["end"], 1);
}

#[test]
fn trouble_is_told() {
    let (topic, missing) = (topic("trouble", 1), unique("tool-nowhere"));
    for command in ["produce", "consume"] {
        refused(&[command, &missing], NOT_FOUND, &[&missing, "iolite topics list"]);
        refused(&[command, &topic, "--partition", "1"], NOT_FOUND, &[&topic, "partition 1"]);
    }
    refused(&["consume", &topic, "--from", "5"], FAILED, &[&topic, "there is no offset 5"]);
    for words in [
        &["consume", &topic, "--from", "soon"][..],
        &["consume", &topic, "--format", "{nonsense}"],
        &["consume", &topic, "--json", "--format", "{value}"],
        &["produce", &topic, "--acks", "2"],
        &["produce", &topic, "--key-separator", ""],
    ] {
        let finished = iolite(words, b"");
        assert_eq!(finished.status.code(), Some(ARGUMENTS), "{words:?}: {finished}");
    }
    wire::create_topic(broker::shared().kafka(), &missing, 1, &[("max.message.bytes", "1000")]);
    let finished = iolite(&["produce", &missing], &[&[b'x'; 5_000][..], b"\n"].concat());
    super::assert_refused(&finished, &["produce"], FAILED, &["1 of 1 records were not delivered"]);
}

/// What is typed is sent at once, and Ctrl-C ends both sides cleanly.
#[test]
fn records_flow_until_ctrl_c() {
    let topic = topic("flow", 1);
    let bootstrap = broker::shared().kafka().to_string();
    let start = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(words).args(["--bootstrap", &bootstrap]);
        command
    };
    let mut consumer = Process::start("iolite consume", start(&["consume", &topic]));
    let (mut producer, mut stdin, _stdout) =
        Process::start_interactive("iolite produce", start(&["produce", &topic]));
    for round in 0..3 {
        let line = format!("typed {round}");
        std::io::Write::write_all(&mut stdin, format!("{line}\n").as_bytes()).expect("it is read");
        consumer.wait_for_line(DEADLINE, "what was typed", |read| (read == line).then_some(()));
    }
    for process in [&mut producer, &mut consumer] {
        process.signal(Signal::SIGINT);
        let status = process.wait(DEADLINE);
        assert_eq!(status.code(), Some(DONE), "{}", process.last_lines());
    }
    assert_eq!(consumer.lines(), ["typed 0", "typed 1", "typed 2"]);
}

#[test]
fn a_broker_that_goes_away_under_a_producer_is_told_as_such() {
    let own = Broker::start(Target::Iolite, &Options::default());
    let (address, topic) = (own.kafka(), unique("tool-gone"));
    wire::create_topic(address, &topic, 1, &[]);
    let bootstrap = address.to_string();
    let command = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(words).args(["--bootstrap", &bootstrap, "--timeout", "2"]);
        command
    };
    let (mut producer, mut stdin, _stdout) =
        Process::start_interactive("iolite produce", command(&["produce", &topic]));
    std::io::Write::write_all(&mut stdin, b"delivered\n").expect("it is read");
    let consumer =
        run_with_input("iolite consume", command(&["consume", &topic, "--count", "1"]), b"", DEADLINE);
    assert_eq!(consumer.stdout, ["delivered"], "{consumer}");
    drop(own.kill());
    std::io::Write::write_all(&mut stdin, b"too late\n").expect("it is read");
    drop(stdin);
    let status = producer.wait(DEADLINE);
    let said = producer.last_lines();
    assert_eq!(status.code(), Some(UNREACHABLE), "{said}");
    for words in ["of 2 records were not delivered", "no broker answers any more"] {
        assert!(said.contains(words), "{said}");
    }
}

/// What came before a line that can't be a record is delivered, and told.
#[test]
fn records_before_a_line_that_is_too_long_are_counted() {
    const TOO_LONG_BYTES: usize = (64 << 20) + (128 << 10);
    let topic = topic("too-long", 1);
    let input = [b"one\ntwo\n", &vec![b'x'; TOO_LONG_BYTES][..]].concat();
    let finished = iolite(&["produce", &topic], &input);
    assert_eq!(finished.status.code(), Some(FAILED), "{finished}");
    assert_eq!(finished.stdout, [format!("{topic}: produced, 2 records")], "{finished}");
    let [line] = &finished.stderr[..] else { panic!("one line is wanted: {finished}") };
    assert!(line.contains("no record can be as long"), "{line}");
    assert_eq!(consume(&topic, &[]), ["one", "two"]);
}

/// `iolite consume ... | head -n 3`: no word of the pipe that broke.
#[test]
fn who_reads_no_further_ends_it_quietly() {
    let topic = topic("pipe", 1);
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(produce(&topic, &[], &lines), 50_000);
    let bootstrap = broker::shared().kafka().to_string();
    let script = r#""$0" consume "$1" --bootstrap "$2"; echo "ended with $?" >&2"#;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{{ {script}; }} | head -n 3")]);
    command.arg(binary()).args([&topic, &bootstrap]).stdin(Stdio::null());
    let finished = run_with_input("a pipe", command, b"", DEADLINE);
    assert_eq!(finished.stdout, ["line 0", "line 1", "line 2"]);
    assert_eq!(finished.stderr, ["ended with 0"]);
}

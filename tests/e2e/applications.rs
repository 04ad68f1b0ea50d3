//! What people build on Kafka, killed in the middle of its work: a Kafka Streams application, and Kafka Connect.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use e2e::broker::{Broker, Options, Target, free_port, java};
use e2e::process::{self, Finished, Process};
use e2e::{DEADLINE, wire};
use serde_json::{Value, json};
use tempfile::TempDir;

const INPUT: &str = "lines";
const OUTPUT: &str = "results";

/// A broker that is found again where it was when it comes back.
fn options() -> Options {
    let configs = vec![("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned())];
    Options { port: free_port(), configs, ..Options::default() }
}

fn kcat(broker: &Broker, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.kafka().to_string()]).args(arguments);
    let finished = process::run_with_input("kcat", command, input.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "{arguments:?}: {finished}");
    finished
}

/// Waits until so many records are committed in a topic.
fn await_records(broker: &Broker, topic: &str, count: usize) {
    let count = count.to_string();
    let isolation = "isolation.level=read_committed";
    kcat(broker, &["-C", "-q", "-t", topic, "-o", "beginning", "-c", &count, "-X", isolation], "");
}

/// All that is committed in a topic, key and value with a blank between, each partition in its order.
fn read_all(broker: &Broker, topic: &str) -> Vec<String> {
    let isolation = "isolation.level=read_committed";
    let format = ["-f", "%k %s\\n"];
    let arguments = ["-C", "-e", "-q", "-t", topic, "-o", "beginning", "-X", isolation];
    kcat(broker, &[&arguments[..], &format].concat(), "").stdout
}

/// Lines of three words out of eleven.
fn sentences(numbers: Range<usize>) -> String {
    numbers.map(|number| format!("w{} w{} w{}\n", number % 11, number % 7, number % 3)).collect()
}

fn word_count(broker: &Broker, state: &Path) -> Process {
    let mut command = java("iolite.WordCount");
    command.args([&broker.kafka().to_string(), INPUT, OUTPUT]).arg(state);
    Process::start("word count", command)
}

/// Kafka Streams with exactly_once_v2: a repartitioned topic, a state that is rebuilt from its compacted changelog, offsets and
/// results committed together.
#[test]
fn a_streams_application_counts_each_word_once_through_kill_9() {
    const LINES: usize = 600;
    const WORDS: usize = 3 * LINES;
    let options = options();
    let mut broker = Broker::start(Target::chosen(), &options);
    wire::create_topic(broker.kafka(), INPUT, 2, &[]);
    wire::create_topic(broker.kafka(), OUTPUT, 2, &[]);
    let state = tempfile::tempdir().expect("a directory");

    kcat(&broker, &["-P", "-t", INPUT], &sentences(0..LINES / 3));
    let mut application = word_count(&broker, state.path());
    await_records(&broker, OUTPUT, WORDS / 6);
    application.kill();
    kcat(&broker, &["-P", "-t", INPUT], &sentences(LINES / 3..2 * LINES / 3));
    let mut application = word_count(&broker, state.path());
    await_records(&broker, OUTPUT, WORDS / 2);
    if broker.target() == Target::Iolite {
        broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    }
    kcat(&broker, &["-P", "-t", INPUT], &sentences(2 * LINES / 3..LINES));
    await_records(&broker, OUTPUT, WORDS);
    application.kill();

    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for word in sentences(0..LINES).split_whitespace() {
        *expected.entry(word.to_owned()).or_default() += 1;
    }
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for line in read_all(&broker, OUTPUT) {
        let (word, count) = line.split_once(' ').expect("a word and its count");
        let before = counted.entry(word.to_owned()).or_default();
        *before += 1;
        assert_eq!(count, before.to_string(), "{word} is counted up by one each time");
    }
    assert_eq!(counted, expected);
}

/// A worker of Kafka Connect in distributed mode, with its REST port.
struct Worker {
    process: Process,
    port: u16,
}

impl Worker {
    fn start(broker: &Broker, directory: &Path) -> Self {
        let port = free_port();
        let properties = format!(
            "bootstrap.servers={}\ngroup.id=connect\nlisteners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             config.storage.topic=connect-configs\nconfig.storage.replication.factor=1\n\
             offset.storage.topic=connect-offsets\noffset.storage.replication.factor=1\n\
             status.storage.topic=connect-status\nstatus.storage.replication.factor=1\n\
             exactly.once.source.support=enabled\noffset.flush.interval.ms=500\n\
             session.timeout.ms=6000\nheartbeat.interval.ms=1000\nscheduled.rebalance.max.delay.ms=0\n\
             plugin.discovery=service_load\n",
            broker.kafka()
        );
        let file = directory.join("worker.properties");
        fs::write(&file, properties).expect("it is writable");
        let mut command = java("org.apache.kafka.connect.cli.ConnectDistributed");
        command.arg(&file);
        Self { process: Process::start("connect", command), port }
    }

    /// One request; none while the worker does not answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Configures a connector, as soon as the worker takes that: it has to join its group first.
    fn configure(&self, name: &str, config: &Value) {
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = self.ask("PUT", &format!("/connectors/{name}/config"), config).unwrap_or_default();
            if ["HTTP/1.1 200", "HTTP/1.1 201"].iter().any(|done| answer.starts_with(done)) {
                return;
            }
            assert!(Instant::now() < end, "{name}: {answer}\n{}", self.process.last_lines());
            assert!(!self.process.ends_within(std::time::Duration::from_millis(100)), "connect ended");
        }
    }
}

fn append(file: &Path, numbers: Range<u32>) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("it is writable");
    let lines: String = numbers.map(|number| format!("line {number}\n")).collect();
    file.write_all(lines.as_bytes()).expect("there is room");
}

/// How often each line is in the sink's file; waits until the last of `count` is there.
fn await_lines(worker: &Worker, file: &Path, count: u32) -> BTreeMap<String, usize> {
    let end = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        text.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
        if lines.len() >= count as usize && text.ends_with('\n') {
            return lines;
        }
        assert!(Instant::now() < end, "{} of {count} lines\n{}", lines.len(), worker.process.last_lines());
        assert!(!worker.process.ends_within(std::time::Duration::from_millis(100)), "connect ended");
    }
}

/// Kafka Connect from a file to a file, its state in three compacted topics. The source writes each line exactly once, the sink
/// at least once.
#[test]
fn connect_copies_every_line_through_kill_9() {
    let broker = Broker::start(Target::chosen(), &options());
    wire::create_topic(broker.kafka(), INPUT, 1, &[]);
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    append(&from, 0..500);
    let source = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
        "tasks.max": "1", "file": from, "topic": INPUT, "exactly.once.support": "required",
    });
    let sink = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "tasks.max": "1", "file": to, "topics": INPUT,
        "consumer.override.isolation.level": "read_committed",
    });

    let mut worker = Worker::start(&broker, directory.path());
    worker.configure("source", &source);
    worker.configure("sink", &sink);
    await_lines(&worker, &to, 500);
    append(&from, 500..1_000);
    worker.process.kill();
    append(&from, 1_000..1_500);
    // Connectors and offsets are remembered.
    let worker = Worker::start(&broker, directory.path());
    let copied = await_lines(&worker, &to, 1_500);
    assert!((0..1_500).all(|number| copied.contains_key(&format!("line {number}"))));
    drop(worker);

    let written = kcat(
        &broker,
        &["-C", "-e", "-q", "-t", INPUT, "-o", "beginning", "-X", "isolation.level=read_committed"],
        "",
    );
    let expected: Vec<String> = (0..1_500).map(|number| format!("line {number}")).collect();
    assert_eq!(written.stdout, expected, "each line once, in order");
}

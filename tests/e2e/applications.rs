//! What people build on Kafka, killed in the middle of its work: a Kafka Streams application, and Kafka Connect.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use e2e::batch::Batch;
use e2e::broker::{Broker, Options, Target, free_port, java};
use e2e::process::{self, Finished, Process};
use e2e::wire::Connection;
use e2e::{DEADLINE, wire};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use nix::sys::signal::Signal;
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

/// Has an application stop by itself: it commits what it has written, so that nothing comes later.
fn close(application: Process) {
    application.signal(Signal::SIGTERM);
    application.wait_for_line(DEADLINE, "its end", |line| (line == "closed").then_some(()));
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
    let application = word_count(&broker, state.path());
    await_records(&broker, OUTPUT, WORDS / 2);
    if broker.target() == Target::Iolite {
        broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    }
    kcat(&broker, &["-P", "-t", INPUT], &sentences(2 * LINES / 3..LINES));
    await_records(&broker, OUTPUT, WORDS);
    close(application);

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

const LEFT: &str = "left";
const RIGHT: &str = "right";
const JOIN_WINDOW_MS: i64 = 1_000;

/// One record of a side: key and time follow from its number.
fn event(side: &str, number: i64) -> (String, i64) {
    let late_ms = if side == LEFT { 0 } else { 37 };
    (format!("k{}", number % 7), 1_700_000_000_000 + number * 100 + late_ms)
}

/// Appends events of a side, each key to a partition of its own choice, the same on both sides.
fn produce_events(broker: &Broker, side: &str, numbers: Range<i64>) {
    let mut connection = Connection::open(broker.kafka());
    for number in numbers {
        let (key, timestamp) = event(side, number);
        let batch = Batch::of_key(timestamp, key.as_bytes(), format!("{side}{number}").as_bytes()).encode();
        let index = i32::try_from(number % 7 % 2).expect("small");
        let data = PartitionProduceData::default().with_index(index).with_records(Some(batch.into()));
        let topic =
            TopicProduceData::default().with_name(wire::topic_name(side)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic]);
        let answer = connection.call(9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

/// What the join of so many events of each side is.
fn joined(count: i64) -> BTreeMap<String, usize> {
    let mut pairs = BTreeMap::new();
    for left in 0..count {
        for right in 0..count {
            let ((left_key, left_time), (right_key, right_time)) = (event(LEFT, left), event(RIGHT, right));
            if left_key == right_key && (left_time - right_time).abs() <= JOIN_WINDOW_MS {
                pairs.insert(format!("{left_key} {LEFT}{left}+{RIGHT}{right}"), 1);
            }
        }
    }
    pairs
}

fn windowed_join(broker: &Broker, state: &Path) -> Process {
    let mut command = java("iolite.WindowedJoin");
    command.args([&broker.kafka().to_string(), LEFT, RIGHT, OUTPUT, &JOIN_WINDOW_MS.to_string()]).arg(state);
    Process::start("windowed join", command)
}

/// Kafka Streams with exactly_once_v2 and windows, which live in changelogs that are compacted and deleted by time. One side is far
/// ahead of the other now and then, and the application dies in between: each pair goes out once.
#[test]
fn a_streams_application_joins_each_pair_once_through_kill_9() {
    const EVENTS: i64 = 600;
    let options = options();
    let mut broker = Broker::start(Target::chosen(), &options);
    for topic in [LEFT, RIGHT, OUTPUT] {
        wire::create_topic(broker.kafka(), topic, 2, &[]);
    }
    let state = tempfile::tempdir().expect("a directory");
    let expected = joined(EVENTS);

    produce_events(&broker, LEFT, 0..EVENTS / 2);
    produce_events(&broker, RIGHT, 0..EVENTS / 4);
    let mut application = windowed_join(&broker, state.path());
    await_records(&broker, OUTPUT, expected.len() / 8);
    application.kill();
    produce_events(&broker, RIGHT, EVENTS / 4..3 * EVENTS / 4);
    let application = windowed_join(&broker, state.path());
    await_records(&broker, OUTPUT, 3 * expected.len() / 8);
    if broker.target() == Target::Iolite {
        broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    }
    produce_events(&broker, LEFT, EVENTS / 2..EVENTS);
    produce_events(&broker, RIGHT, 3 * EVENTS / 4..EVENTS);
    await_records(&broker, OUTPUT, expected.len());
    close(application);

    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for pair in read_all(&broker, OUTPUT) {
        *found.entry(pair).or_default() += 1;
    }
    assert_eq!(found, expected);
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
        self.put(&format!("/connectors/{name}/config"), config);
    }

    /// Has the source end its task, which commits what it has written, or go on.
    fn tell_source(&self, what: &str) {
        self.put(&format!("/connectors/source/{what}"), &json!({}));
    }

    fn put(&self, path: &str, body: &Value) {
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = self.ask("PUT", path, body).unwrap_or_default();
            if answer.starts_with("HTTP/1.1 20") {
                return;
            }
            assert!(Instant::now() < end, "{path}: {answer}\n{}", self.process.last_lines());
            assert!(!self.process.ends_within(std::time::Duration::from_millis(100)), "connect ended");
        }
    }

    /// Stops all of its threads where they are.
    fn freeze(&self) {
        self.process.signal(Signal::SIGSTOP);
        let end = Instant::now() + DEADLINE;
        let threads = format!("/proc/{}/task", self.process.id());
        // A thread's state is behind its name, which is in parentheses; a thread that has ended meanwhile has none.
        let is_still = |thread: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(thread.expect("it lives").path().join("stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") T ")
        };
        while !fs::read_dir(&threads).expect("it lives").all(is_still) {
            assert!(Instant::now() < end, "it does not stop");
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

fn lines(numbers: Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

/// What a consumer at this level reads of a topic, values alone.
fn values(broker: &Broker, topic: &str, isolation: &str) -> Vec<String> {
    let isolation = format!("isolation.level={isolation}");
    kcat(broker, &["-C", "-e", "-q", "-t", topic, "-o", "beginning", "-X", &isolation], "").stdout
}

/// How far in its file the source is, as committed in the topic that Connect keeps that in.
fn committed_position(broker: &Broker) -> usize {
    let offsets = values(broker, "connect-offsets", "read_committed");
    let last: Value = serde_json::from_str(offsets.last().expect("an offset")).expect("Connect writes JSON");
    last["position"].as_u64().and_then(|position| position.try_into().ok()).expect("a position")
}

/// Waits until a transaction is open that has written some lines.
fn await_open_transaction(broker: &Broker) {
    let end = Instant::now() + DEADLINE;
    while values(broker, INPUT, "read_uncommitted").len() <= values(broker, INPUT, "read_committed").len() {
        assert!(Instant::now() < end, "nothing is written");
    }
}

/// Kafka Connect from a file to a file, its state in three compacted topics. The source writes each line exactly once, the sink
/// at least once. The worker dies in a transaction, with lines before it, in it, and not yet read.
#[test]
fn connect_copies_every_line_through_kill_9() {
    let broker = Broker::start(Target::chosen(), &options());
    wire::create_topic(broker.kafka(), INPUT, 1, &[]);
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    append(&from, 0..500);
    // It commits when it is stopped, and not before.
    let source = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
        "tasks.max": "1", "file": from, "topic": INPUT, "exactly.once.support": "required",
        "transaction.boundary": "interval", "transaction.boundary.interval.ms": "3600000",
        "producer.override.transaction.timeout.ms": "600000",
    });
    let sink = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "tasks.max": "1", "file": to, "topics": INPUT,
        "consumer.override.isolation.level": "read_committed",
    });

    let mut worker = Worker::start(&broker, directory.path());
    worker.configure("source", &source);
    worker.configure("sink", &sink);
    kcat(
        &broker,
        &["-C", "-q", "-t", INPUT, "-o", "beginning", "-c", "500", "-X", "isolation.level=read_uncommitted"],
        "",
    );
    worker.tell_source("stop");
    await_lines(&worker, &to, 500);
    let position = fs::metadata(&from).expect("it is there").len();
    worker.tell_source("resume");
    append(&from, 500..1_000);
    await_open_transaction(&broker);
    worker.freeze();
    append(&from, 1_000..1_500);
    worker.process.kill();
    // What it sent before it was frozen is in a transaction that nobody has ended: more than is committed, less than there is.
    let written = values(&broker, INPUT, "read_uncommitted");
    assert!(written.len() > 500 && written.len() <= 1_000, "{} lines are written", written.len());
    assert_eq!(written, lines(0..u32::try_from(written.len()).expect("few")));
    assert_eq!(values(&broker, INPUT, "read_committed"), lines(0..500));
    assert_eq!(committed_position(&broker) as u64, position);

    // Connectors and offsets are remembered.
    let worker = Worker::start(&broker, directory.path());
    let mut source = source;
    source["transaction.boundary"] = json!("poll");
    worker.configure("source", &source);
    let copied = await_lines(&worker, &to, 1_500);
    assert!(lines(0..1_500).iter().all(|line| copied.contains_key(line)));
    drop(worker);

    assert_eq!(values(&broker, INPUT, "read_committed"), lines(0..1_500), "each line once, in order");
    let all = values(&broker, INPUT, "read_uncommitted").len();
    assert!(all >= 1_000 + written.len(), "{all} lines with those that were aborted");
}

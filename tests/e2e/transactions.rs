//! Exactly once: what is read, written and committed in transactions is there once, whatever dies.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::time::Instant;

use e2e::batch::Batch;
use e2e::broker::{Broker, Options, Target, java};
use e2e::driver::{Client, ClientError, Driver};
use e2e::figures;
use e2e::process::{self, Finished, Process};
use e2e::records::{from_hex, to_hex};
use e2e::wire::{self, Connection};
use e2e::{DEADLINE, cache, project};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ConsumerGroupHeartbeatRequest, DeleteTopicsRequest, EndTxnRequest, GroupId,
    ProduceRequest, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use serde_json::{Value, json};

const INPUT: &str = "numbers";
pub const OUTPUT: &str = "copies";

fn options(shards: u16) -> Options {
    let configs = vec![("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned())];
    Options { shards, configs, ..Options::default() }
}

fn start(partitions: i32) -> Broker {
    let broker = Broker::start(Target::chosen(), &options(2));
    for topic in [INPUT, OUTPUT] {
        // Some records are from long ago.
        wire::create_topic(broker.kafka(), topic, partitions, &[("retention.ms", "-1")]);
    }
    broker
}

fn kcat(broker: &Broker, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.kafka().to_string()]).args(arguments);
    let finished = process::run_with_input("kcat", command, input.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "{arguments:?}: {finished}");
    finished
}

fn write_numbers(broker: &Broker, numbers: Range<u32>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    kcat(broker, &["-P", "-t", INPUT], &lines);
}

/// How often each value is in the output, as a consumer at this level sees it.
pub fn count(broker: &Broker, isolation: &str) -> BTreeMap<String, usize> {
    let isolation = format!("isolation.level={isolation}");
    let read = kcat(broker, &["-C", "-e", "-q", "-t", OUTPUT, "-o", "beginning", "-X", &isolation], "");
    let mut counts = BTreeMap::new();
    for line in read.stdout {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

fn once_each(numbers: Range<u32>) -> BTreeMap<String, usize> {
    numbers.map(|number| (number.to_string(), 1)).collect()
}

#[test]
fn confluents_transactions_copy_each_record_once_and_fence() {
    let broker = start(3);
    write_numbers(&broker, 0..400);
    let mut command = Command::new(cache().join("venv/bin/python"));
    command.arg(project().join("tests/clients/python/confluent_transactions.py"));
    command.args([&broker.kafka().to_string(), INPUT, OUTPUT, "400"]);
    let finished = process::run_with_input("confluent_transactions", command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    let [aborted, fenced] = finished.stdout.as_slice() else { panic!("{finished}") };
    assert_eq!(fenced, "fenced");
    assert_ne!(aborted, "aborted 0 transactions");
    assert_eq!(count(&broker, "read_committed"), once_each(0..400));
    let all: usize = count(&broker, "read_uncommitted").values().sum();
    assert!(all > 400, "{all} records with those of {aborted}");
    // Where transactions overlap, kafkajs goes wrong: it takes the list of those that were aborted for one in the order of their
    // beginnings, and has each of its records begin one at most.
    assert_eq!(read_in_group(&broker, Client::KafkaJs, 400), once_each(0..400));
}

fn copier(broker: &Broker, max_messages: i32) -> Command {
    let mut command = java("org.apache.kafka.tools.TransactionalMessageCopier");
    command.args(["--broker-list", &broker.kafka().to_string(), "--input-topic", INPUT]);
    command.args(["--input-partition", "0", "--output-topic", OUTPUT, "--consumer-group", "copiers"]);
    command.args(["--transactional-id", "copier", "--transaction-size", "40", "--enable-random-aborts"]);
    command.args(["--max-messages", &max_messages.to_string(), "--use-group-metadata"]);
    command
}

/// Kafka's own copier goes by KIP-890. It dies in the middle of its work, now alone, now after the broker.
#[test]
fn kafkas_copier_copies_each_record_once_through_kill_9() {
    const COUNT: u32 = 4_000;
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start(1);
    write_numbers(&broker, 0..COUNT);
    for round in 0..4_u16 {
        let mut process = Process::start("copier", copier(&broker, -1));
        let transactions = Cell::new(0);
        process.wait_for_line(DEADLINE, "a few transactions", |line| {
            transactions.set(transactions.get() + usize::from(line.contains("ProcessLoop")));
            (transactions.get() >= 4 || line.contains("ShutdownComplete")).then_some(())
        });
        if round % 2 == 0 {
            process.kill();
        } else {
            let directory = broker.kill();
            process.kill();
            broker = Broker::start_on(directory, Target::Iolite, &options(round % 3 + 1));
        }
    }
    let finished = process::run_with_input("copier", copier(&broker, -1), b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    assert_eq!(count(&broker, "read_committed"), once_each(0..COUNT));
}

fn franz_go(broker: &Broker, member: u16) -> Process {
    let mut command = Command::new(cache().join("franz-go"));
    command.args([&broker.kafka().to_string(), "sessions", &format!("session-{member}"), INPUT, OUTPUT]);
    Process::start("franz-go", command)
}

/// Waits until so many records are committed in the output.
fn await_committed(broker: &Broker, count: u32) {
    let (count, isolation) = (count.to_string(), "isolation.level=read_committed");
    kcat(broker, &["-C", "-q", "-t", OUTPUT, "-o", "beginning", "-c", &count, "-X", isolation], "");
}

/// Two members of a group copy, each in transactions of its own, some of which they abort. Now one of them dies, now both and the
/// broker: what they have in common is the group, and the transactions that the dead leave open.
#[test]
fn franz_gos_sessions_copy_each_record_once_through_kill_9() {
    const COUNT: u32 = 3_000;
    const ROUNDS: u16 = 4;
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start(4);
    write_numbers(&broker, 0..COUNT);
    for round in 0..ROUNDS {
        let mut members = [franz_go(&broker, 0), franz_go(&broker, 1)];
        await_committed(&broker, u32::from(round + 1) * COUNT / 8);
        let dies = usize::from(round % 2);
        members[dies].kill();
        if round == 0 {
            // The other one takes its partitions over.
            await_committed(&broker, COUNT / 4);
        }
        members[1 - dies].kill();
        if round % 2 == 1 {
            broker = Broker::start_on(broker.kill(), Target::Iolite, &options(round % 3 + 1));
        }
    }
    let _members = [franz_go(&broker, 0), franz_go(&broker, 1)];
    await_committed(&broker, COUNT);
    assert_eq!(count(&broker, "read_committed"), once_each(0..COUNT));
    let all: usize = count(&broker, "read_uncommitted").values().sum();
    assert!(all > COUNT as usize, "{all} records with those that were aborted");
    assert_eq!(read_in_group(&broker, Client::KafkaPython, COUNT), once_each(0..COUNT));
}

/// How often each value is in what a member of a group is handed of the output, until it has so many; it reads what is committed.
fn read_in_group(broker: &Broker, reader: Client, count: u32) -> BTreeMap<String, usize> {
    let request = json!({
        "op": "group", "topic": OUTPUT, "group": format!("{reader:?}"), "count": count,
        "isolation": "read_committed",
    });
    let answer = Driver::start(reader, broker.kafka()).call(&request).expect("it reads");
    let mut counts = BTreeMap::new();
    for value in answer["values"].as_array().expect("values") {
        let value = String::from_utf8(from_hex(value.as_str().expect("no nulls"))).expect("a number");
        *counts.entry(value).or_default() += 1;
    }
    counts
}

fn tool(broker: &Broker, arguments: &[&str]) -> Finished {
    const CLASS: &str = "org.apache.kafka.tools.TransactionsCommand";
    let mut command = java(CLASS);
    command.args(["--bootstrap-server", &broker.kafka().to_string()]).args(arguments);
    let finished = process::run_with_input(CLASS, command, b"", DEADLINE);
    assert!(finished.status.success(), "{arguments:?}: {finished}");
    finished
}

/// The line of a table that begins with a word, word by word.
fn line<'f>(shown: &'f Finished, first: &str) -> Vec<&'f str> {
    let mut lines = shown.stdout.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.first() == Some(&first)).unwrap_or_else(|| panic!("no {first}: {shown}"))
}

/// Kafka's tool writes 500 records in a few transactions.
fn perform(broker: &Broker) {
    let mut command = java("org.apache.kafka.tools.ProducerPerformance");
    command.args(["--topic", OUTPUT, "--num-records", "500", "--record-size", "10", "--throughput", "1000"]);
    command.args(["--transactional-id", "performer", "--transaction-duration-ms", "100"]);
    command.args(["--producer-props", &format!("bootstrap.servers={}", broker.kafka())]);
    let finished = process::run_with_input("ProducerPerformance", command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
}

#[test]
fn kafkas_tools_write_and_describe_transactions() {
    let broker = start(1);
    perform(&broker);
    assert_eq!(line(&tool(&broker, &["list"]), "performer").last(), Some(&"CompleteCommit"));
    let described = tool(&broker, &["describe", "--transactional-id", "performer"]);
    assert_eq!(line(&described, "1")[4], "CompleteCommit");
    let producers = tool(&broker, &["describe-producers", "--topic", OUTPUT, "--partition", "0"]);
    assert_eq!(line(&producers, "0").last(), Some(&"None"), "no transaction is open: {producers}");
    assert_eq!(count(&broker, "read_committed").values().sum::<usize>(), 500);
}

fn features(broker: &Broker, arguments: &[&str]) -> Finished {
    const CLASS: &str = "org.apache.kafka.tools.FeatureCommand";
    let mut command = java(CLASS);
    command.args(["--bootstrap-server", &broker.kafka().to_string()]).args(arguments);
    process::run_with_input(CLASS, command, b"", DEADLINE)
}

/// The level that Kafka's tool shows to be in force.
fn level(broker: &Broker, feature: &str) -> String {
    let described = features(broker, &["describe"]);
    let line = described.stdout.iter().find(|line| line.starts_with(&format!("Feature: {feature}\t")));
    let line = line.unwrap_or_else(|| panic!("no {feature}: {described}"));
    let told = line.split('\t').find_map(|field| field.strip_prefix("FinalizedVersionLevel: "));
    told.unwrap_or_else(|| panic!("no level: {described}")).to_owned()
}

/// Java's producers add partitions by requests of their own below level 2 of `transaction.version`, and not from there on.
#[test]
fn kafkas_features_tool_says_by_which_protocol_transactions_go() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start(1);
    perform(&broker);
    assert_eq!(figures::requests(&broker, "AddPartitionsToTxn"), 0);
    for wanted in ["1", "0"] {
        let change = ["downgrade", "--feature", &format!("transaction.version={wanted}")];
        let tried = features(&broker, &[&change[..], &["--dry-run"]].concat());
        assert_eq!(tried.stdout, [format!("transaction.version can be downgraded to {wanted}.")], "{tried}");
        let done = features(&broker, &change);
        assert_eq!(done.stdout, [format!("transaction.version was downgraded to {wanted}.")], "{done}");
        assert_eq!(level(&broker, "transaction.version"), wanted);
        let before = figures::requests(&broker, "AddPartitionsToTxn");
        perform(&broker);
        assert!(figures::requests(&broker, "AddPartitionsToTxn") > before);
    }
    broker = Broker::start_on(broker.kill(), Target::Iolite, &options(2));
    assert_eq!(level(&broker, "transaction.version"), "0");
    let wrong = features(&broker, &["upgrade", "--feature", "transaction.version=3"]);
    assert!(!wrong.status.success(), "{wrong}");
    assert!(wrong.stdout[0].contains("only supports versions 0-2"), "{wrong}");
    let done = features(&broker, &["upgrade", "--feature", "transaction.version=2"]);
    assert!(done.status.success(), "{done}");
    perform(&broker);
    assert_eq!(figures::requests(&broker, "AddPartitionsToTxn"), 0);
    assert_eq!(count(&broker, "read_committed").values().sum::<usize>(), 4 * 500);
}

#[test]
fn kafkas_features_tool_takes_the_newer_group_protocol_away_and_gives_it_back() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(1);
    let mut connection = Connection::open(broker.kafka());
    let mut beat = || {
        let request = ConsumerGroupHeartbeatRequest::default().with_group_id(GroupId(wire::text("g")));
        connection.call(1, &request).error_code
    };
    const UNSUPPORTED_VERSION: i16 = 35;
    assert_ne!(beat(), UNSUPPORTED_VERSION);
    let disabled = features(&broker, &["disable", "--feature", "group.version"]);
    assert_eq!(disabled.stdout, ["group.version was disabled."], "{disabled}");
    assert_eq!(level(&broker, "group.version"), "0");
    assert_eq!(beat(), UNSUPPORTED_VERSION);
    let enabled = features(&broker, &["upgrade", "--feature", "group.version=1"]);
    assert_eq!(enabled.stdout, ["group.version was upgraded to 1."], "{enabled}");
    assert_ne!(beat(), UNSUPPORTED_VERSION);
}

/// A client of KIP-890 begins its next transaction as soon as it hears that the last one is decided, while the markers are
/// still on their way: the broker waits for them, the client need not.
#[test]
fn a_transaction_begins_at_once_after_the_one_before() {
    const TRANSACTIONS: i32 = 40;
    const PRODUCE_VERSION: i16 = 12;
    const OFFSETS_VERSION: i16 = 5;
    const END_VERSION: i16 = 5;
    let mut options = options(2);
    let patience = "add.partitions.to.txn.retry.backoff.max.ms".to_owned();
    options.configs.push((patience, DEADLINE.as_millis().to_string()));
    let broker = Broker::start(Target::chosen(), &options);
    wire::create_topic(broker.kafka(), OUTPUT, 8, &[]);
    let mut connection = Connection::open(broker.kafka());
    let id = TransactionalId(wire::text("hurried"));
    let group = GroupId(wire::text("readers"));
    wire::await_group(&mut connection, &group);
    let mut producer = wire::init_transactions(&mut connection, &id, 60_000);
    for number in 0..TRANSACTIONS {
        // Apache Kafka waits for those who write, not for those who say first how far they have read.
        if number % 2 == 0 || Target::chosen() == Target::Kafka {
            let batch = Batch::of_values(1_700_000_000_000, &[number.to_string()])
                .by_producer(producer.0, producer.1, 0)
                .in_transaction();
            let error = produce_at(PRODUCE_VERSION, &mut connection, Some(&id), &batch);
            assert_eq!(error, 0, "transaction {number}");
        } else {
            let error =
                commit_offset(OFFSETS_VERSION, &mut connection, (&id, producer), (&group, number.into()));
            assert_eq!(error, 0, "transaction {number}");
        }
        producer = end_by(END_VERSION, &mut connection, (&id, producer));
    }
    let written = if Target::chosen() == Target::Kafka { 40 } else { 20 };
    assert_eq!(count(&broker, "read_committed").len(), written);
}

/// Commits a transaction by a version of the request; who the producer is from then on, where it says so.
pub fn end_by(
    version: i16,
    connection: &mut Connection,
    (id, producer): (&TransactionalId, (i64, i16)),
) -> (i64, i16) {
    let end = EndTxnRequest::default()
        .with_transactional_id(id.clone())
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_committed(true);
    let ended = connection.call(version, &end);
    assert_eq!(ended.error_code, 0);
    (ended.producer_id.0, ended.producer_epoch)
}

/// Commits an offset of partition 0 of the output for a group without members, in a transaction; the error.
pub fn commit_offset(
    version: i16,
    connection: &mut Connection,
    (id, producer): (&TransactionalId, (i64, i16)),
    (group, offset): (&GroupId, i64),
) -> i16 {
    use kafka_protocol::messages::txn_offset_commit_request::{
        TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    };
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(wire::topic_name(OUTPUT))
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id.clone())
        .with_group_id(group.clone())
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    connection.call(version, &request).topics[0].partitions[0].error_code
}

/// A batch of a producer in partition 0 of the output, under a transactional id or none; the error.
fn produce(connection: &mut Connection, id: Option<&TransactionalId>, batch: &Batch) -> i16 {
    produce_at(9, connection, id, batch)
}

/// The same, by a version of the request.
pub fn produce_at(
    version: i16,
    connection: &mut Connection,
    id: Option<&TransactionalId>,
    batch: &Batch,
) -> i16 {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let partition = PartitionProduceData::default().with_records(Some(batch.encode().into()));
    let topic =
        TopicProduceData::default().with_name(wire::topic_name(OUTPUT)).with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_transactional_id(id.cloned())
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    connection.call(version, &request).responses[0].partition_responses[0].error_code
}

/// Adds partition 0 of the output to a producer's transaction by the older protocol, where the one before may still be ending.
fn begin(connection: &mut Connection, id: &TransactionalId, producer: (i64, i16)) {
    const VERSION: i16 = 3;
    const CONCURRENT: i16 = 51;
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id.clone())
        .with_v3_and_below_producer_id(producer.0.into())
        .with_v3_and_below_producer_epoch(producer.1)
        .with_v3_and_below_topics(vec![
            AddPartitionsToTxnTopic::default().with_name(wire::topic_name(OUTPUT)).with_partitions(vec![0]),
        ]);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let added = connection.call(VERSION, &add);
        match added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code {
            0 => return,
            CONCURRENT => assert!(Instant::now() < deadline, "the transaction before never ends"),
            error => panic!("error {error}"),
        }
    }
}

/// The end of a producer's transaction in partition 0 of the output.
fn marker(producer: (i64, i16), is_commit: bool) -> WritableTxnMarker {
    let topic =
        WritableTxnMarkerTopic::default().with_name(wire::topic_name(OUTPUT)).with_partition_indexes(vec![0]);
    WritableTxnMarker::default()
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_transaction_result(is_commit)
        .with_topics(vec![topic])
}

/// Markers from elsewhere are taken as Kafka takes them; what they say of coordinators keeps the real one from nothing.
#[test]
fn an_invented_coordinators_epoch_does_not_hold_a_producer_up() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(1);
    let mut connection = Connection::open(broker.kafka());
    let id = TransactionalId(wire::text("haunted"));
    let producer = wire::init_transactions(&mut connection, &id, 60_000);
    let marker = marker(producer, false).with_coordinator_epoch(i32::MAX);
    for (sequence, value) in [(0, "aborted from elsewhere"), (1, "committed")] {
        begin(&mut connection, &id, producer);
        let batch = Batch::of_values(1_700_000_000_000, &[value])
            .by_producer(producer.0, producer.1, sequence)
            .in_transaction();
        assert_eq!(produce(&mut connection, Some(&id), &batch), 0, "{value}");
        if sequence == 0 {
            let request = WriteTxnMarkersRequest::default().with_markers(vec![marker.clone()]);
            let answer = connection.call(1, &request);
            assert_eq!(answer.markers[0].topics[0].partitions[0].error_code, 0);
        }
        end_by(3, &mut connection, (&id, producer));
    }
    let read = kcat(&broker, &["-C", "-c", "1", "-q", "-t", OUTPUT, "-o", "beginning"], "");
    assert_eq!(read.stdout, ["committed"]);
}

/// One such marker by version 2 of the request, which says by which protocol its transaction went.
fn mark(connection: &mut Connection, producer: (i64, i16), level: i8) -> i16 {
    const CORRELATION: i32 = 1_000;
    const TAGGED_FIELDS: [u8; 2] = [0, 0];
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker(producer, true)]);
    // The crate knows version 1. Version 2 has one more byte at the end of a marker, before its tagged fields and the request's.
    let mut body = wire::encode_request(CORRELATION, 1, &request).to_vec();
    body[2..4].copy_from_slice(&2_i16.to_be_bytes());
    assert!(body.ends_with(&TAGGED_FIELDS));
    body.truncate(body.len() - TAGGED_FIELDS.len());
    body.extend(level.to_be_bytes());
    body.extend(TAGGED_FIELDS);
    connection.send(&body).expect("the broker reads");
    let frame = connection.receive().expect("the broker answers");
    let answer = wire::decode_response::<WriteTxnMarkersRequest>(frame, CORRELATION, 1);
    answer.markers[0].topics[0].partitions[0].error_code
}

/// By KIP-890 a marker has an epoch above its transaction's own: one that comes late can't end the next transaction.
#[test]
fn a_marker_says_by_which_protocol_its_transaction_went() {
    const INVALID_PRODUCER_EPOCH: i16 = 47;
    // Apache Kafka has this version from 4.2 on.
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(1);
    let mut connection = Connection::open(broker.kafka());
    for (name, level) in [("older", 0), ("old", 1), ("new", 2)] {
        let id = TransactionalId(wire::text(name));
        let producer = wire::init_transactions(&mut connection, &id, 600_000);
        begin(&mut connection, &id, producer);
        let batch =
            Batch::of_values(LONG_AGO_MS, &[name]).by_producer(producer.0, producer.1, 0).in_transaction();
        assert_eq!(produce(&mut connection, Some(&id), &batch), 0, "{name}");
        let next = (producer.0, producer.1 + 1);
        if level == 2 {
            assert_eq!(mark(&mut connection, producer, level), INVALID_PRODUCER_EPOCH, "{name}");
            assert!(!count(&broker, "read_committed").contains_key(name), "it is open");
            assert_eq!(mark(&mut connection, next, level), 0, "{name}");
        } else {
            assert_eq!(mark(&mut connection, producer, level), 0, "{name}");
        }
        assert_eq!(count(&broker, "read_committed").get(name), Some(&1));
    }
}

#[test]
fn a_transaction_whose_client_is_gone_is_aborted_when_its_time_is_up() {
    let broker = start(1);
    let mut connection = Connection::open(broker.kafka());
    let id = TransactionalId(wire::text("abandoned"));
    let producer = wire::init_transactions(&mut connection, &id, 300);
    begin(&mut connection, &id, producer);
    let now = 1_700_000_000_000;
    let batch = Batch::of_values(now, &["never"]).by_producer(producer.0, producer.1, 0).in_transaction();
    assert_eq!(produce(&mut connection, Some(&id), &batch), 0);
    assert_eq!(produce(&mut connection, None, &Batch::of_values(now, &["after"])), 0);
    // The reader waits at the open transaction until its time is up.
    let read = kcat(&broker, &["-C", "-c", "1", "-q", "-t", OUTPUT, "-o", "beginning"], "");
    assert_eq!(read.stdout, ["after"]);
    let again = Batch::of_values(now, &["too late"]).by_producer(producer.0, producer.1, 1).in_transaction();
    assert_eq!(produce(&mut connection, Some(&id), &again), 47, "INVALID_PRODUCER_EPOCH");
}

/// Long enough ago for the tool to look at transactions that were written to then.
const LONG_AGO_MS: i64 = 1_700_000_000_000;

/// A transactional producer of confluent-kafka, step by step.
struct Stepwise(Driver);

impl Stepwise {
    /// One with an open transaction, of one record.
    fn start(broker: &Broker, value: &str) -> Self {
        let mut producer = Self(Driver::start(Client::Confluent, broker.kafka()));
        for step in ["init_transactions", "begin_transaction"] {
            producer.ask(step, json!({})).expect(step);
        }
        producer.send(value).expect("acknowledged");
        producer
    }

    fn ask(&mut self, operation: &str, more: Value) -> Result<(), ClientError> {
        let mut request = json!({ "op": operation, "transactional_id": "open", "timeout_ms": 600_000 });
        for (key, value) in more.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        self.0.call(&request).map(|_done| ())
    }

    fn send(&mut self, value: &str) -> Result<(), ClientError> {
        self.ask("send", json!({ "topic": OUTPUT, "p": 0, "t": LONG_AGO_MS, "v": to_hex(value.as_bytes()) }))
    }

    fn commit(&mut self) -> Result<(), ClientError> {
        self.ask("end_transaction", json!({ "commit": true }))
    }
}

const IN_OUTPUT: [&str; 4] = ["--topic", OUTPUT, "--partition", "0"];

/// Where the partition's open transaction began, as the tool says.
fn open_since(broker: &Broker) -> String {
    let producers = tool(broker, &[&["describe-producers"][..], &IN_OUTPUT].concat());
    line(&producers, "0").last().expect("a word").to_string()
}

/// The transactions that nobody will ever end, as the tool finds them: partition, producer and where each began.
fn hanging(broker: &Broker) -> Vec<[String; 3]> {
    let found = tool(broker, &[&["find-hanging"][..], &IN_OUTPUT].concat());
    let [head, lines @ ..] = found.stdout.as_slice() else { panic!("{found}") };
    assert!(head.starts_with("Topic") && head.contains("StartOffset"), "{found}");
    let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    lines.iter().map(words).map(|words| [1, 2, 5].map(|place| words[place].clone())).collect()
}

fn abort(broker: &Broker, start: &str) {
    tool(broker, &[&["abort", "--start-offset", start][..], &IN_OUTPUT].concat());
}

/// Which producer and which epoch, in which state, where, as the tool says.
fn described_open(broker: &Broker) -> [String; 4] {
    let described = tool(broker, &["describe", "--transactional-id", "open"]);
    let words = line(&described, "1");
    [1, 3, 4, 8].map(|place| words[place].to_owned())
}

/// The tool aborts what a partition has of a transaction. Its coordinator knows nothing of that, so its producer hears nothing
/// either, and commits what it writes from then on.
#[test]
fn kafkas_tool_shows_an_open_transaction_and_aborts_what_a_partition_has_of_it() {
    let broker = start(1);
    let mut producer = Stepwise::start(&broker, "before");
    let ongoing = ["open", "0", "Ongoing", "copies-0"].map(str::to_owned);
    assert_eq!(line(&tool(&broker, &["list"]), "open").last(), Some(&"Ongoing"));
    assert_eq!(described_open(&broker), ongoing);
    assert_eq!(open_since(&broker), "0");
    assert!(hanging(&broker).is_empty(), "its coordinator knows it");
    abort(&broker, "0");
    assert_eq!(open_since(&broker), "None");
    assert_eq!(described_open(&broker), ongoing);

    producer.send("after").expect("acknowledged");
    assert_eq!(open_since(&broker), "2", "behind the marker");
    producer.commit().expect("committed");
    assert_eq!(count(&broker, "read_committed"), [("after".to_owned(), 1)].into());
    let all = [("before".to_owned(), 1), ("after".to_owned(), 1)];
    assert_eq!(count(&broker, "read_uncommitted"), all.into());
}

/// What a producer wrote whose transaction's coordinator has lost all that it knew holds readers up until an operator finds
/// and aborts it. The producer hears that its id is nobody's, and goes on once it has initialised itself again.
#[test]
fn kafkas_tool_finds_and_aborts_a_hanging_transaction() {
    const INVALID_PRODUCER_ID_MAPPING: i64 = 49;
    let broker = start(1);
    let mut producer = Stepwise::start(&broker, "lost");
    kcat(&broker, &["-P", "-t", OUTPUT], "behind it\n");
    assert!(hanging(&broker).is_empty(), "its coordinator knows it");
    let mut connection = Connection::open(broker.kafka());
    let delete = DeleteTopicsRequest::default()
        .with_topic_names(vec![wire::topic_name("__transaction_state")])
        .with_timeout_ms(30_000);
    assert_eq!(connection.call(5, &delete).responses[0].error_code, 0);

    assert_eq!(hanging(&broker), [["0", "0", "0"].map(str::to_owned)]);
    assert_eq!(count(&broker, "read_committed"), BTreeMap::new());
    let refused = producer.commit().expect_err("nobody can say that it is to be committed");
    assert_eq!(refused.code, INVALID_PRODUCER_ID_MAPPING, "{refused:?}");
    abort(&broker, "0");
    assert!(hanging(&broker).is_empty(), "it is aborted");
    assert_eq!(count(&broker, "read_committed"), [("behind it".to_owned(), 1)].into());

    for step in ["init_transactions", "begin_transaction"] {
        producer.ask(step, json!({})).expect(step);
    }
    producer.send("again").expect("acknowledged");
    producer.commit().expect("committed");
    assert_eq!(count(&broker, "read_committed").len(), 2);
}

//! The broker's own topics are Kafka's: its formatters, and whatever else reads those topics, find in them what groups and
//! transactions have left there.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use e2e::batch::Batch;
use e2e::broker::{Broker, Options, Target, free_port, java};
use e2e::driver::{Client, Driver};
use e2e::process::{self, Finished};
use e2e::wire::{Connection, text, topic_name};
use e2e::{DEADLINE, wire};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeTransactionsRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
    TransactionalId,
};
use serde_json::{Deserializer, Value, json};

use crate::consumer_groups::{Member, Owned, partitions_of};
use crate::group_records::decoded;
use crate::static_members::history;
use crate::transactions;

const GROUPS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";
const TOPIC: &str = "read";
const OUTPUT: &str = "written";
const COPIER: &str = "copier";
const TIMEOUT_MS: i32 = 45_000;

// States of transactions, by Kafka's numbers.
const EMPTY: i64 = 0;
const ONGOING: i64 = 1;
const PREPARE_COMMIT: i64 = 2;
const PREPARE_ABORT: i64 = 3;
const COMPLETE_COMMIT: i64 = 4;
const COMPLETE_ABORT: i64 = 5;

/// All groups and all transactional ids in one partition each, so that what is in there has one order.
fn options() -> Options {
    let configs = [
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    Options {
        configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    }
}

fn start() -> Broker {
    let broker = Broker::start(Target::chosen(), &options());
    wire::create_topic(broker.kafka(), TOPIC, 3, &[]);
    wire::create_topic(broker.kafka(), OUTPUT, 2, &[("retention.ms", "-1")]);
    broker
}

fn run(name: &str, command: Command) -> Finished {
    let finished = process::run_with_input(name, command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    finished
}

/// What a formatter of Kafka's prints of an internal topic, one object a record that it knows.
fn printed(broker: &Broker, topic: &str, formatter: &str, isolation: &str) -> Vec<Value> {
    let bootstrap = broker.kafka().to_string();
    let mut count = Command::new("kcat");
    count.args([
        "-b",
        &bootstrap,
        "-C",
        "-t",
        topic,
        "-p",
        "0",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%o\\n",
    ]);
    count.args(["-X", &format!("isolation.level={isolation}")]);
    let records = run("kcat", count).stdout.len();
    let mut console = java("org.apache.kafka.tools.consumer.ConsoleConsumer");
    console.args(["--bootstrap-server", &bootstrap, "--topic", topic, "--partition", "0"]);
    console.args(["--offset", "earliest", "--max-messages", &records.to_string()]);
    console.args(["--isolation-level", isolation]);
    console.args(["--formatter", &format!("org.apache.kafka.tools.consumer.{formatter}")]);
    let shown = run("ConsoleConsumer", console);
    assert!(
        shown.stderr.iter().any(|line| *line == format!("Processed a total of {records} messages")),
        "{shown}"
    );
    // Objects stand one behind the other, with nothing between.
    let text = shown.stdout.join("\n");
    Deserializer::from_str(&text)
        .into_iter()
        .map(|object| object.unwrap_or_else(|error| panic!("{error}: {shown}")))
        .collect()
}

/// The offsets that are told of a group, each as partition, offset and note, in the order in which they were committed.
fn offsets(records: &[Value], group: &str) -> Vec<(i64, i64, String)> {
    let of_group = records.iter().filter(|record| record["key"]["data"]["group"] == group);
    let offset = |record: &Value| {
        assert_eq!(record["key"]["type"], 1, "{record}");
        let (key, value) = (&record["key"]["data"], &record["value"]["data"]);
        assert_eq!(key["topic"], TOPIC, "{record}");
        assert!(value["commitTimestamp"].as_i64().expect("a time") > 1_700_000_000_000, "{record}");
        (
            key["partition"].as_i64().expect("a partition"),
            value["offset"].as_i64().expect("an offset"),
            value["metadata"].as_str().expect("a note").to_owned(),
        )
    };
    of_group.map(offset).collect()
}

/// A note as confluent-kafka sends it: with the byte that ends it in memory.
fn note(text: &str) -> String {
    format!("{text}\0")
}

#[test]
fn kafkas_formatters_print_offsets_and_groups_of_both_protocols() {
    let broker = start();
    let mut driver = Driver::start(Client::Confluent, broker.kafka());
    let classic = json!({
        "group.id": "classic", "client.id": "first", "session.timeout.ms": 7000, "max.poll.interval.ms": 70000,
        "partition.assignment.strategy": "roundrobin",
    });
    let consumer = json!({ "group.id": "consumer", "group.protocol": "consumer" });
    for (config, first) in [(classic, 10), (consumer, 20)] {
        let request = json!({
            "op": "commit_as_member", "topic": TOPIC, "config": config,
            "offsets": [[0, first, "a note"], [1, first + 1, "höher"], [2, first + 2, ""]],
        });
        driver.call(&request).expect("committed");
    }

    let records = printed(&broker, GROUPS, "OffsetsMessageFormatter", "read_uncommitted");
    for (group, first) in [("classic", 10), ("consumer", 20)] {
        let mut told = offsets(&records, group);
        told.sort_unstable();
        let expected = [(0, first, note("a note")), (1, first + 1, note("höher")), (2, first + 2, note(""))];
        assert_eq!(told, expected, "{group}");
    }

    let records = printed(&broker, GROUPS, "GroupMetadataMessageFormatter", "read_uncommitted");
    assert!(records.iter().all(|record| record["key"]["type"] == 2), "{records:?}");
    let of_group = |group: &str| -> Vec<&Value> {
        let is_of_group = |record: &&Value| record["key"]["data"]["group"] == group;
        records.iter().filter(is_of_group).map(|record| &record["value"]["data"]).collect()
    };
    assert_eq!(of_group("consumer"), Vec::<&Value>::new(), "it has records of other types");
    let told = of_group("classic");
    let [.., stable, empty] = told.as_slice() else { panic!("{told:?}") };
    let [member] = stable["members"].as_array().expect("members").as_slice() else { panic!("{stable}") };
    assert_eq!(
        (&stable["protocolType"], &stable["generation"], &stable["protocol"], &stable["leader"]),
        (&json!("consumer"), &json!(1), &json!("roundrobin"), &member["memberId"])
    );
    assert_eq!(
        (&member["clientId"], &member["clientHost"], &member["groupInstanceId"]),
        (&json!("first"), &json!("/127.0.0.1"), &Value::Null)
    );
    assert_eq!((&member["sessionTimeout"], &member["rebalanceTimeout"]), (&json!(7000), &json!(70000)));
    assert!(member["assignment"].as_str().is_some_and(|bytes| !bytes.is_empty()), "{member}");
    assert_eq!(
        (&empty["protocolType"], &empty["generation"], &empty["leader"], &empty["members"]),
        (&json!("consumer"), &json!(2), &Value::Null, &json!([]))
    );
}

#[test]
fn kafkas_formatters_print_transactions_and_the_offsets_committed_in_them() {
    let broker = start();
    let mut driver = Driver::start(Client::Confluent, broker.kafka());
    let mut ask = |request: Value| driver.call(&request).expect("done");
    ask(json!({ "op": "init_transactions", "transactional_id": COPIER, "timeout_ms": TIMEOUT_MS }));
    for (offset, commit) in [(30, true), (40, false)] {
        ask(json!({ "op": "begin_transaction", "transactional_id": COPIER }));
        ask(json!({ "op": "send", "transactional_id": COPIER, "topic": OUTPUT, "p": 1, "t": 0, "v": "00" }));
        ask(json!({
            "op": "send_offsets", "transactional_id": COPIER, "group": "copiers", "topic": TOPIC,
            "offsets": [[1, offset, "copied"]],
        }));
        ask(json!({ "op": "end_transaction", "transactional_id": COPIER, "commit": commit }));
    }
    // Who takes the id over waits until the last transaction has ended everywhere.
    let id = TransactionalId(text(COPIER));
    let (producer_id, _) =
        wire::init_transactions(&mut Connection::open(broker.kafka()), &id, 2 * TIMEOUT_MS);

    let offset = |offset| (1, offset, note("copied"));
    let committed = printed(&broker, GROUPS, "OffsetsMessageFormatter", "read_committed");
    assert_eq!(offsets(&committed, "copiers"), [offset(30)]);
    let all = printed(&broker, GROUPS, "OffsetsMessageFormatter", "read_uncommitted");
    assert_eq!(offsets(&all, "copiers"), [offset(30), offset(40)]);

    let records = printed(&broker, TRANSACTIONS, "TransactionLogMessageFormatter", "read_uncommitted");
    let mut told: Vec<(i64, Partitions, i64)> = Vec::new();
    for record in &records {
        assert_eq!(
            (&record["key"]["type"], &record["key"]["data"]),
            (&json!(0), &json!({ "transactionalId": COPIER }))
        );
        let value = &record["value"]["data"];
        assert_eq!(value["producerId"], producer_id, "{record}");
        assert!(value["transactionLastUpdateTimestampMs"].as_i64() > Some(1_700_000_000_000), "{record}");
        let state = value["transactionStatus"].as_i64().expect("a state");
        let timeout = value["transactionTimeoutMs"].as_i64().expect("a timeout");
        let state = (state, partitions(&value["transactionPartitions"]), timeout);
        // Partitions may come one by one: the last record of each state has them all.
        match told.last_mut().filter(|last| last.0 == state.0) {
            Some(last) => *last = state,
            None => told.push(state),
        }
    }
    let (all, none) = (|| vec![(GROUPS.to_owned(), json!([0])), (OUTPUT.to_owned(), json!([1]))], Vec::new);
    let timeout = i64::from(TIMEOUT_MS);
    let expected = [
        (EMPTY, none(), timeout),
        (ONGOING, all(), timeout),
        (PREPARE_COMMIT, all(), timeout),
        (COMPLETE_COMMIT, none(), timeout),
        (ONGOING, all(), timeout),
        (PREPARE_ABORT, all(), timeout),
        (COMPLETE_ABORT, none(), timeout),
        (EMPTY, none(), 2 * timeout),
    ];
    assert_eq!(told, expected);
}

/// A group's record: its type, and the member or the expression that it is about, if it is about one.
type Subject = (u16, Option<String>);

/// The group's records in a segment, the last one of each subject, without what members have committed.
fn dumped(log: PathBuf, group: &str) -> BTreeMap<Subject, Value> {
    let mut found = BTreeMap::new();
    for record in decoded(&[log]).into_iter().filter(|record| record.kind != 1) {
        let about = &record.about;
        assert_eq!(about["groupId"], group, "{about}");
        let value = record.value.unwrap_or_else(|| panic!("nothing was taken away: {about}"));
        assert_eq!(value["version"], "0", "{about}");
        let more = about["memberId"].as_str().or(about["regularExpression"].as_str());
        found.insert((record.kind, more.map(str::to_owned)), value["data"].clone());
    }
    found
}

/// The records of type 4 that Kafka's first brokers of this protocol wrote are none of 4.1's.
#[test]
fn kafkas_dump_tool_decodes_what_a_consumer_group_is() {
    let broker = start();
    let member = |client: &str, more: &str, topic: &str| {
        let config = format!(
            r#""group.id": "dumped", "group.protocol": "consumer", "client.id": "{client}", "client.rack": "{client}s", {more}"#
        );
        Member::configured(&broker, client, &config, topic)
    };
    let first = member("named", r#""group.instance.id": "static""#, TOPIC);
    first.wait_for_share(3);
    let second = member("matching", r#""group.remote.assignor": "range""#, "^re.d$");
    let shares = [first.wait_for_share(2), second.wait_for_share(1)];
    // A partition's directory, and in it the topic's id as Kafka writes it, is made with its first record.
    let mut write = Command::new("kcat");
    write.args(["-b", &broker.kafka().to_string(), "-P", "-t", TOPIC, "-p", "0"]);
    assert!(process::run_with_input("kcat", write, b"one\n", DEADLINE).status.success());
    let topics = broker.topics_directory();
    let (status, _directory) = broker.stop();
    assert!(status.success() || Target::chosen() == Target::Kafka, "{status}");

    let metadata = fs::read_to_string(topics.join(format!("{TOPIC}-0/partition.metadata"))).expect("there");
    let topic_id = metadata.lines().find_map(|line| line.strip_prefix("topic_id: ")).expect("an id");
    let found = dumped(topics.join(format!("{GROUPS}-0/00000000000000000000.log")), "dumped");
    let of_client = |client: &str| {
        let mut members = found.iter().filter(|((kind, _), _)| *kind == 5);
        let is_of = |value: &Value| value["clientId"] == client;
        let ((_, member), _) = members.find(|(_, value)| is_of(value)).unwrap_or_else(|| panic!("{found:?}"));
        member.clone()
    };
    let [first, second] = ["named", "matching"].map(of_client);
    let wants = |client: &str, instance: Value, topics: Value, expression: &str, assignor: Value| {
        json!({
            "instanceId": instance, "rackId": format!("{client}s"), "clientId": client, "clientHost": "/127.0.0.1",
            "subscribedTopicNames": topics, "subscribedTopicRegex": expression, "rebalanceTimeoutMs": 300_000,
            "serverAssignor": assignor, "classicMemberMetadata": null,
        })
    };
    let partitions = |share: &Owned| {
        let number =
            |one: &String| one.split(['[', ']']).nth(1).and_then(|number| number.parse::<i32>().ok());
        let numbers: Vec<i32> = share.iter().map(|one| number(one).expect("a partition")).collect();
        json!([{ "topicId": topic_id, "partitions": numbers }])
    };
    let target = |share: &Owned| json!({ "topicPartitions": partitions(share) });
    let owns = |member: &Option<String>, share: &Owned| {
        json!({
            "memberEpoch": 2, "previousMemberEpoch": found[&(8, member.clone())]["previousMemberEpoch"], "state": 0,
            "assignedPartitions": partitions(share), "partitionsPendingRevocation": [],
        })
    };
    let expression = || Some("(^re.d$)".to_owned());
    let (group, matched) = (&found[&(3, None)], &found[&(16, expression())]);
    assert!(group["metadataHash"].as_i64().is_some_and(|hash| hash != 0), "{group}");
    assert!(matched["version"].as_i64() > Some(0), "{matched}");
    assert!(matched["timestamp"].as_i64() > Some(1_700_000_000_000), "{matched}");
    let expected = [
        ((3, None), json!({ "epoch": 2, "metadataHash": group["metadataHash"] })),
        ((5, first.clone()), wants("named", json!("static"), json!([TOPIC]), "", Value::Null)),
        ((5, second.clone()), wants("matching", Value::Null, json!([]), "(^re.d$)", json!("range"))),
        ((6, None), json!({ "assignmentEpoch": 2 })),
        ((7, first.clone()), target(&shares[0])),
        ((7, second.clone()), target(&shares[1])),
        ((8, first.clone()), owns(&first, &shares[0])),
        ((8, second.clone()), owns(&second, &shares[1])),
        (
            (16, expression()),
            json!({ "topics": [TOPIC], "version": matched["version"], "timestamp": matched["timestamp"] }),
        ),
    ];
    assert_eq!(found, BTreeMap::from(expected));
}

/// Topics and their partitions.
type Partitions = Vec<(String, Value)>;

/// Those of a transaction as they are printed; none are printed as null or as none.
fn partitions(printed: &Value) -> Partitions {
    let topics = printed.as_array().map_or(&[][..], Vec::as_slice);
    let topic =
        |topic: &Value| (topic["topic"].as_str().expect("a name").to_owned(), topic["partitionIds"].clone());
    let mut partitions: Vec<_> = topics.iter().map(topic).collect();
    partitions.sort_by(|one, other| one.0.cmp(&other.0));
    partitions
}

/// Small segments, a journal that is destaged after four mebibytes, and compaction that hardly rests.
fn compacting() -> Options {
    let mut options = options();
    let more = [
        ("offsets.topic.segment.bytes", "1048576"),
        ("transaction.state.log.segment.bytes", "1048576"),
        ("journal.bytes", "16777216"),
        ("journal.file.bytes", "4194304"),
        ("log.cleaner.backoff.ms", "50"),
        ("log.cleaner.min.cleanable.ratio", "0.01"),
        ("group.consumer.max.session.timeout.ms", "300000"),
        ("group.consumer.session.timeout.ms", "300000"),
        ("group.consumer.min.heartbeat.interval.ms", "200"),
        ("group.consumer.heartbeat.interval.ms", "200"),
    ];
    options.configs.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    options.port = free_port();
    options
}

/// By group and partition: offset and note.
type Offsets = BTreeMap<(String, i32), (i64, String)>;

const GROUP_COUNT: usize = 5;
const PARTITIONS: i32 = 3;
const NOTE_BYTES: usize = 4_000;
const ID_COUNT: usize = 3;
/// A segment is soon full of records with such a key.
const ID_BYTES: usize = 20_000;
const COMMITS_A_ROUND: usize = 100;
const TRANSACTIONS_A_ROUND: usize = 12;
/// Far more than compaction needs to be worth it.
const ROUNDS_MAX: usize = 60;

fn group_of(number: usize) -> String {
    format!("group-{}", number % GROUP_COUNT)
}

fn id_of(number: usize) -> TransactionalId {
    TransactionalId(text(&format!("{:x>ID_BYTES$}", number % ID_COUNT)))
}

/// Commits an offset of each partition for a group without members.
fn commit(connection: &mut Connection, group: &str, offset: i64, into: &mut Offsets) {
    const VERSION: i16 = 8;
    let mut partitions = Vec::new();
    for index in 0..PARTITIONS {
        let note = format!("{offset:->NOTE_BYTES$}");
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(&note)));
        partitions.push(partition);
        into.insert((group.to_owned(), index), (offset, note));
    }
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(partitions);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = connection.call(VERSION, &request);
    assert!(answer.topics[0].partitions.iter().all(|one| one.error_code == 0), "{answer:?}");
}

/// What the broker says that groups have committed.
fn fetch_offsets(connection: &mut Connection, groups: impl Iterator<Item = String>) -> Offsets {
    const VERSION: i16 = 7;
    let mut found = Offsets::new();
    for group in groups {
        let id = GroupId(text(&group));
        wire::await_group(connection, &id);
        let request = OffsetFetchRequest::default().with_group_id(id).with_topics(None);
        let answer = connection.call(VERSION, &request);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(partition.error_code, 0, "{answer:?}");
            let note = partition.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
            found.insert((group.clone(), partition.partition_index), (partition.committed_offset, note));
        }
    }
    found
}

/// What the broker says of transactional ids, once none of them is just ending.
fn describe(connection: &mut Connection, ids: &[TransactionalId]) -> Vec<TransactionState> {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids.to_vec());
    let end = Instant::now() + DEADLINE;
    loop {
        let states = connection.call(0, &request).transaction_states;
        let is_settled = |one: &TransactionState| match one.error_code {
            0 => !one.transaction_state.starts_with("Prepare"),
            // Loading, or not there yet.
            14..=16 => false,
            error => panic!("error {error}"),
        };
        if states.iter().all(is_settled) {
            return states;
        }
        assert!(Instant::now() < end, "they don't settle: {states:?}");
    }
}

/// How many records of an internal topic's partition are there no more.
fn gone(address: SocketAddr, topic: &str) -> usize {
    let mut read = Command::new("kcat");
    read.args(["-b", &address.to_string(), "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q"]);
    read.args(["-f", "%o\\n", "-X", "isolation.level=read_uncommitted"]);
    let offsets = run("kcat", read).stdout;
    let last: usize = offsets.last().and_then(|last| last.parse().ok()).expect("an offset");
    last + 1 - offsets.len()
}

/// A member of a classic group and one of a consumer group, which have all partitions each.
fn members(broker: &Broker) -> [Member; 2] {
    let classic = r#""group.id": "classic", "session.timeout.ms": 300000, "heartbeat.interval.ms": 200"#;
    let consumer = r#""group.id": "consumer", "group.protocol": "consumer""#;
    [classic, consumer].map(|config| {
        let member = Member::configured(broker, config, config, TOPIC);
        assert_eq!(member.wait_for_share(3), partitions_of(TOPIC, PARTITIONS));
        member
    })
}

/// Each member reads what comes now, from all partitions.
fn check_members_read(broker: &Broker, members: &[Member], note: &str) {
    for partition in 0..PARTITIONS {
        let mut write = Command::new("kcat");
        write.args(["-b", &broker.kafka().to_string(), "-P", "-t", TOPIC, "-p", &partition.to_string()]);
        let line = format!("{note} {partition}\n");
        let finished = process::run_with_input("kcat", write, line.as_bytes(), DEADLINE);
        assert!(finished.status.success(), "{finished}");
    }
    for member in members {
        (0..PARTITIONS).for_each(|partition| member.wait_for_value(&format!("{note} {partition}")));
    }
}

/// Groups commit, by themselves and in transactions, until a good part of both internal topics is compacted away. How many
/// commits and transactions that took.
fn commit_until_compacted(
    broker: &Broker,
    producers: &mut [(i64, i16)],
    offsets: &mut Offsets,
) -> (usize, usize) {
    let (address, copiers) = (broker.kafka(), GroupId(text("copiers")));
    let mut connection = Connection::open(address);
    let (mut commits, mut ended) = (0, 0);
    for _ in 0..ROUNDS_MAX {
        for _ in 0..COMMITS_A_ROUND {
            commit(&mut connection, &group_of(commits), i64::try_from(commits).expect("few"), offsets);
            commits += 1;
        }
        for _ in 0..TRANSACTIONS_A_ROUND {
            let (id, producer) = (id_of(ended), &mut producers[ended % ID_COUNT]);
            write(&mut connection, &id, *producer, 0);
            let offset = i64::try_from(ended).expect("few");
            let (producing, committed) = ((&id, *producer), (&copiers, offset));
            assert_eq!(transactions::commit_offset(5, &mut connection, producing, committed), 0);
            offsets.insert((copiers.to_string(), 0), (offset, String::new()));
            *producer = transactions::end_by(5, &mut connection, producing);
            ended += 1;
        }
        // Of each transaction one is a marker, which is not read.
        if gone(address, GROUPS) > commits + ended && gone(address, TRANSACTIONS) > ended {
            return (commits, ended);
        }
    }
    panic!("not compacted\n{}", broker.process().last_lines());
}

#[test]
fn groups_and_transactions_are_as_they_were_after_their_topics_are_compacted_and_kill_9() {
    let options = compacting();
    let broker = Broker::start(Target::Iolite, &options);
    let address = broker.kafka();
    wire::create_topic(address, TOPIC, PARTITIONS, &[("retention.ms", "-1")]);
    wire::create_topic(address, transactions::OUTPUT, 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(address);
    let groups = || (0..GROUP_COUNT).map(group_of).chain(["early", "deleted", "copiers"].map(str::to_owned));
    groups().for_each(|group| wire::await_group(&mut connection, &GroupId(text(&group))));
    let mut offsets = Offsets::new();
    // What is in the first segments only: members, groups of which one is deleted, and a transaction that stays open.
    let members = members(&broker);
    commit(&mut connection, "early", 1, &mut offsets);
    commit(&mut connection, "deleted", 2, &mut Offsets::new());
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("deleted"))]);
    assert_eq!(connection.call(2, &delete).results[0].error_code, 0);
    let open = TransactionalId(text("open"));
    let opened = wire::init_transactions(&mut connection, &open, 900_000);
    write(&mut connection, &open, opened, 0);
    let mut producers: Vec<_> = (0..ID_COUNT)
        .map(|number| wire::init_transactions(&mut connection, &id_of(number), 60_000))
        .collect();
    let (commits, ended) = commit_until_compacted(&broker, &mut producers, &mut offsets);

    let ids: Vec<_> = (0..ID_COUNT).map(id_of).chain([open.clone()]).collect();
    let described = describe(&mut connection, &ids);
    let states: Vec<&str> = described.iter().map(|one| &*one.transaction_state).collect();
    assert_eq!(states, ["CompleteCommit", "CompleteCommit", "CompleteCommit", "Ongoing"]);
    assert_eq!(fetch_offsets(&mut connection, groups()), offsets);
    check_members_read(&broker, &members, "before");
    let owned = members.each_ref().map(history);
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    let mut connection = Connection::open(broker.kafka());
    assert_eq!(fetch_offsets(&mut connection, groups()), offsets);
    assert_eq!(describe(&mut connection, &ids), described);
    assert!(gone(broker.kafka(), GROUPS) > commits + ended, "it is compacted still");
    assert!(gone(broker.kafka(), TRANSACTIONS) > ended, "it is compacted still");

    // All of them go on from there, members with what they had.
    check_members_read(&broker, &members, "after");
    assert_eq!(members.each_ref().map(history), owned, "nobody was assigned anew");
    write(&mut connection, &open, opened, 1);
    transactions::end_by(5, &mut connection, (&open, opened));
    for (number, producer) in producers.iter().enumerate() {
        write(&mut connection, &id_of(number), *producer, 0);
        transactions::end_by(5, &mut connection, (&id_of(number), *producer));
    }
    assert_eq!(transactions::count(&broker, "read_committed").values().sum::<usize>(), 2 + ended + ID_COUNT);
}

/// Writes a record in a transaction, which begins with it.
fn write(connection: &mut Connection, id: &TransactionalId, producer: (i64, i16), sequence: i32) {
    const VERSION: i16 = 12;
    let batch = Batch::of_values(1_700_000_000_000, &["written"])
        .by_producer(producer.0, producer.1, sequence)
        .in_transaction();
    assert_eq!(transactions::produce_at(VERSION, connection, Some(id), &batch), 0);
}

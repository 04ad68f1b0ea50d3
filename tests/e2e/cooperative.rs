//! Cooperative rebalancing: while a third member joins, two others keep what does not move, and read on in it.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use e2e::DEADLINE;
use e2e::broker::{Broker, Target, java};
use e2e::figures;
use e2e::process::Process;
use e2e::wire::{Connection, text};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DescribeGroupsRequest, GroupId,
    JoinGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use serde_json::Value;

use crate::consumer_groups::{self, produce_to_each_partition, start};
use crate::groups::{PARTITIONS, TOPIC};

const GROUP: &str = "g";
const STRATEGY: &str = "cooperative-sticky";
const JAVAS_STRATEGY: &str = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
/// How long the group waits for the third member: longer than anything here may take.
const PATIENCE_MS: i32 = 300_000;

type Partitions = BTreeSet<i32>;

/// A member whose callbacks tell what happens to it.
trait Member {
    fn process(&self) -> &Process;

    /// What it owned after each call of its callbacks, oldest first.
    fn history(&self) -> Vec<Partitions>;

    /// The value that a line says it has read.
    fn value(line: &str) -> Option<String>;

    fn owns(&self) -> Partitions {
        self.history().pop().unwrap_or_default()
    }

    fn wait_for_value(&self, value: &str) {
        self.process().wait_for_line(DEADLINE, value, |line| (Self::value(line)? == value).then_some(()));
    }
}

/// confluent-kafka, by `tests/clients/python/member.py`.
struct Confluent(consumer_groups::Member);

impl Confluent {
    fn start(broker: &Broker, name: &str) -> Self {
        let config = format!(
            r#""session.timeout.ms": 60000, "heartbeat.interval.ms": 200, "partition.assignment.strategy": "{STRATEGY}""#
        );
        Self(consumer_groups::Member::configured(broker, name, &config, TOPIC))
    }
}

impl Member for Confluent {
    fn process(&self) -> &Process {
        &self.0.0
    }

    fn history(&self) -> Vec<Partitions> {
        let number = |owned: &String| {
            let (_, number) = owned.split_once('[').expect("a topic and a partition");
            number.trim_end_matches(']').parse().expect("a number")
        };
        self.0.assignments().iter().map(|owned| owned.iter().map(number).collect()).collect()
    }

    fn value(line: &str) -> Option<String> {
        Some(line.to_owned())
    }
}

/// Kafka's consumer for system tests, which tells all that happens to it, one JSON object a line.
struct Java(Process);

impl Java {
    fn start(broker: &Broker, name: &str) -> Self {
        let mut command = java("org.apache.kafka.tools.VerifiableConsumer");
        command.args([
            "--bootstrap-server",
            &broker.kafka().to_string(),
            "--topic",
            TOPIC,
            "--group-id",
            GROUP,
        ]);
        command.args(["--reset-policy", "earliest", "--verbose", "--enable-autocommit"]);
        command.args(["--group-protocol", "classic", "--session-timeout", "60000"]);
        command.args(["--assignment-strategy", JAVAS_STRATEGY]);
        Self(Process::start(name, command))
    }
}

impl Member for Java {
    fn process(&self) -> &Process {
        &self.0
    }

    fn history(&self) -> Vec<Partitions> {
        let (mut owned, mut history) = (Partitions::new(), Vec::new());
        for event in self.0.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let partitions = event["partitions"].as_array().map_or(&[][..], Vec::as_slice).iter();
            let partitions = partitions.filter_map(|one| i32::try_from(one["partition"].as_i64()?).ok());
            match event["name"].as_str() {
                Some("partitions_assigned") => owned.extend(partitions),
                Some("partitions_revoked") => partitions.for_each(|partition| {
                    assert!(owned.remove(&partition), "{partition} is not its own");
                }),
                _ => continue,
            }
            history.push(owned.clone());
        }
        history
    }

    fn value(line: &str) -> Option<String> {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["name"] == "record_data").then(|| event["value"].as_str().map(str::to_owned))?
    }
}

/// A member that joins and syncs when it is told to, and until then is waited for.
struct Stepwise {
    connection: Connection,
    id: StrBytes,
    generation: i32,
}

impl Stepwise {
    fn new(broker: &Broker) -> Self {
        Self { connection: Connection::open(broker.kafka()), id: StrBytes::default(), generation: -1 }
    }

    /// Joins with nothing owned, and waits until all others have joined as well.
    fn join(&mut self) {
        const VERSION: i16 = 7;
        const SUBSCRIPTION_VERSION: i16 = 1;
        const MEMBER_ID_REQUIRED: i16 = 79;
        let mut metadata = BytesMut::new();
        metadata.put_i16(SUBSCRIPTION_VERSION);
        let subscription = ConsumerProtocolSubscription::default().with_topics(vec![text(TOPIC)]);
        subscription.encode(&mut metadata, SUBSCRIPTION_VERSION).expect("it can be encoded");
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text(STRATEGY)).with_metadata(metadata.freeze());
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(PATIENCE_MS)
            .with_rebalance_timeout_ms(PATIENCE_MS)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let mut answer = self.connection.call(VERSION, &request.clone().with_member_id(self.id.clone()));
        if answer.error_code == MEMBER_ID_REQUIRED {
            self.id = answer.member_id;
            answer = self.connection.call(VERSION, &request.with_member_id(self.id.clone()));
        }
        assert_eq!(answer.error_code, 0);
        assert_ne!(answer.leader, self.id, "one of the others assigns");
        self.generation = answer.generation_id;
    }

    /// What it is given.
    fn sync(&mut self) -> Partitions {
        const VERSION: i16 = 5;
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text(STRATEGY)));
        let answer = self.connection.call(VERSION, &request);
        assert_eq!(answer.error_code, 0);
        let mut given = answer.assignment;
        let version = i16::from_be_bytes([given[0], given[1]]);
        let given = ConsumerProtocolAssignment::decode(&mut given.split_off(2), version.min(3));
        given
            .expect("an assignment")
            .assigned_partitions
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .collect()
    }
}

/// Asks until it is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
    }
}

fn state(broker: &Broker) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(GROUP))]);
    Connection::open(broker.kafka()).call(5, &request).groups[0].group_state.to_string()
}

/// Waits until each has read the note from all that it owns.
fn check_read<M: Member>(broker: &Broker, members: [&M; 2], note: &str) {
    produce_to_each_partition(broker, note);
    for member in members {
        member.owns().iter().for_each(|partition| member.wait_for_value(&format!("{note}{partition}")));
    }
}

/// Two share four partitions. A third one gets one of those: it alone is taken from its owner, nothing from the other, and both
/// read on while the group waits for the third one to take it.
fn keep_what_does_not_move<M: Member>(start_member: impl Fn(&Broker, &str) -> M) {
    let broker = start();
    let first = start_member(&broker, "first member");
    wait_until("the first has all", || first.owns().len() == 4);
    let second = start_member(&broker, "second member");
    let members = [&first, &second];
    wait_until("they share", || members.iter().all(|member| member.owns().len() == 2));
    check_read(&broker, members, "before ");
    let shares = members.map(Member::owns);
    let told = members.map(|member| member.history().len());
    let joins = || figures::requests(&broker, "JoinGroup");
    let joins_before = (broker.target() == Target::Iolite).then(joins);

    let mut third = Stepwise::new(&broker);
    third.join();
    wait_until("one partition is given up, and the group waits", || {
        let left: usize = members.iter().map(|member| member.owns().len()).sum();
        left == 3 && state(&broker) == "PreparingRebalance"
    });
    if let Some(before) = joins_before {
        // Two of the third one, and two of each of the others: by now nobody but the third one is missing.
        wait_until("both wait", || joins() == before + 6);
    }
    let kept = members.map(Member::owns);
    check_read(&broker, members, "meanwhile ");
    assert_eq!(state(&broker), "PreparingRebalance", "it has waited all the time");

    third.join();
    let moved = third.sync();
    wait_until("it is settled", || state(&broker) == "Stable");
    check_read(&broker, members, "after ");
    let all: Partitions = (0..PARTITIONS).collect();
    assert_eq!(moved, &all - &(&kept[0] | &kept[1]), "what was given up goes to the third one");
    for place in 0..2 {
        let since = members[place].history().split_off(told[place]);
        assert!(
            since.iter().all(|owned| owned.is_superset(&kept[place])),
            "{since:?}: more than {moved:?} was revoked"
        );
        assert_eq!(since.last().unwrap_or(&shares[place]), &(&shares[place] - &moved));
    }
}

#[test]
fn confluents_members_read_on_in_what_does_not_move() {
    keep_what_does_not_move(Confluent::start);
}

#[test]
fn javas_members_read_on_in_what_does_not_move() {
    keep_what_does_not_move(Java::start);
}

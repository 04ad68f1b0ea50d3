//! Scripts for the tests: one line a request, a moment or an event, and what became of it.
//!
//! | line | meaning |
//! | --- | --- |
//! | `at 5000` | time passes up to then, every timer in its turn |
//! | `1 join g a range,rr` | request 1: client `a`, without an id, joins group g |
//! | `1 join g a#1 range` | the same with the id that it was given; `static=`, `type=`, `session=`, `rebalance=`, `version=`;
//! | | `meta=t,u` for a subscription, with `owned=t/0,t/1` for what is owned |
//! | `1 sync g a#1 3 a#1=x b#2=t/0,t/1` | with generation 3 and assignments, readable ones among them; `type=`, `protocol=`, `static=` |
//! | `1 beat g a#1 3`, `1 leave g a#1 @name` | heartbeat; leave, by id or by the static member's name |
//! | `1 commit g a#1 3 t/0=5` | commit; `-` and `-1` for nobody; `retention=`, `metadata=`, `version=` |
//! | `1 txn 7 g - -1 t/0=5`, `marker 7 commit` | commit in producer 7's transaction; its end |
//! | `1 fetch g t/0 t/1`, `1 fetch g all` | fetch; `stable` |
//! | `1 forget g t/0`, `1 topics-deleted t` | offsets go |
//! | `1 list`, `1 describe g`, `1 delete g` | `state=`, `type=` |
//! | `1 member g m 0 topics=t,u` | a heartbeat of a consumer group; `regex=`, `static=`, `assignor=`, `owned=t/0,t/1` or `owned=-` |
//! | `1 members g` | ConsumerGroupDescribe |
//! | `config g consumer.session.timeout.ms=50000` | the metadata has configs of group g: these, and no others |
//! | `topic t 4`, `drop t` | the metadata has topic t with 4 partitions; has it no more |
//! | `restart` | the log is replayed; whoever waits is told |
//!
//! Printed are answers, those that wait for the commit with a `*`, and records but for those of consumer groups. Ids are
//! shortened to client and number.

use super::*;
use crate::config::Operation;
use crate::group::classic::CONSUMER_PROTOCOL_TYPE;
use crate::metadata::{
    Alteration, Command, ConfigChange, Image, Incarnation, Listener, MorePartitions, NewTopic,
    RegisterBroker, Resource, TopicReference, TopicShape,
};
use bytes::Bytes;
use protocol::coordinator::{
    GroupMetadataValue, Key, MemberMetadata, OffsetCommitValue, Value, embedded, embedded::Subscription,
};
use protocol::types::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

const ID_MIDDLE: &str = "-00000000-0000-4000-8000-";

pub(super) struct Script {
    pub(super) now: Timestamp,
    pub(super) settings: GroupSettings,
    pub(super) coordinator: Coordinator,
    pub(super) log: Vec<Logged>,
    image: Image,
    fresh: u128,
    waiting: BTreeSet<Ticket>,
}

#[derive(Clone)]
pub(super) enum Logged {
    Record(Option<ProducerId>, Record),
    Marker(ProducerId, bool),
}

#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    check_with(GroupSettings::default(), script, expected);
}

#[track_caller]
pub(super) fn check_with(settings: GroupSettings, script: &str, expected: &str) {
    let mut run = Script::new(settings);
    let mut printed = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let output = run.run(line);
        printed.push_str(&output);
    }
    let trim = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(trim(&printed), trim(expected), "\nprinted:\n{printed}");
}

impl Script {
    pub(super) fn new(settings: GroupSettings) -> Self {
        let mut coordinator = Coordinator::new(settings.clone());
        let effects = coordinator.start(Timestamp(0));
        assert_eq!(effects, Effects::default());
        let mut run = Self {
            now: Timestamp(0),
            settings,
            coordinator,
            log: vec![],
            image: Image::default(),
            fresh: 0,
            waiting: BTreeSet::new(),
        };
        run.change_image(Command::RegisterBroker(RegisterBroker {
            cluster_id: "Zm9yIGEgY2x1c3Rlcg".to_owned(),
            broker: BrokerId(1),
            incarnation: Incarnation([1; 16]),
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
            }],
            rack: None,
        }));
        run
    }

    pub(super) fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "at" => self.pass_time(Timestamp(number(words[1]))),
            "marker" => {
                let (producer, is_committed) = (ProducerId(number(words[1])), words[2] == "commit");
                self.log.push(Logged::Marker(producer, is_committed));
                self.coordinator.end_transaction(producer, is_committed);
                String::new()
            }
            "topic" => {
                self.set_topic(words[1], small(words[2]));
                String::new()
            }
            "drop" => {
                self.change_image(Command::DeleteTopics(vec![TopicReference::Name(words[1].to_owned())]));
                String::new()
            }
            "config" => {
                self.configure(words[1], &words[2..]);
                String::new()
            }
            "committed-topics" => {
                let topics = self.coordinator.committed_topics();
                topics.iter().map(|topic| format!("{topic}\n")).collect()
            }
            "restart" => {
                let effects = self.coordinator.resign(self.now);
                let mut text = self.take(effects);
                self.coordinator = self.replayed();
                self.coordinator.update_image(Arc::new(self.image.clone()));
                let effects = self.coordinator.start(self.now);
                text.push_str(&self.take(effects));
                text
            }
            _ => {
                let request = self.request(&words[1..]);
                self.ask(Ticket(number(words[0]).unsigned_abs()), request)
            }
        }
    }

    pub(super) fn ask(&mut self, ticket: Ticket, request: Request) -> String {
        assert!(self.waiting.insert(ticket), "a ticket is used once at a time");
        let effects = self.coordinator.handle(self.now, ticket, request);
        self.take(effects)
    }

    pub(super) fn pass_time(&mut self, to: Timestamp) -> String {
        let mut text = String::new();
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= to) {
            self.now = at.max(self.now);
            let effects = self.coordinator.on_time(self.now);
            text.push_str(&self.take(effects));
        }
        self.now = to;
        text
    }

    pub(super) fn replayed(&self) -> Coordinator {
        let mut coordinator = Coordinator::new(self.settings.clone());
        for logged in &self.log {
            match logged {
                Logged::Marker(producer, is_committed) => {
                    coordinator.end_transaction(*producer, *is_committed)
                }
                Logged::Record(transaction, record) => {
                    let value = record.value.as_deref();
                    coordinator
                        .replay(*transaction, &record.key, value)
                        .expect("what was written reads back");
                }
            }
        }
        coordinator
    }

    fn set_topic(&mut self, name: &str, partition_count: i32) {
        let command = if self.image.topic(name).is_some() {
            let topic = name.to_owned();
            Command::CreatePartitions(vec![MorePartitions {
                topic,
                count: partition_count,
                assignments: None,
            }])
        } else {
            let shape = TopicShape::Counts { partition_count, replication_factor: 1 };
            Command::CreateTopics(vec![NewTopic {
                name: name.to_owned(),
                id: id_of(name),
                shape,
                settings: vec![],
            }])
        };
        self.change_image(command);
    }

    fn configure(&mut self, group: &str, settings: &[&str]) {
        let changes = settings.iter().map(|setting| {
            let (name, value) = setting.split_once('=').expect("name=value");
            ConfigChange { name: name.to_owned(), operation: Operation::Set, value: Some(value.to_owned()) }
        });
        let resource = Resource::Group { name: group.to_owned(), terms: self.settings.consumer_terms };
        let alteration = Alteration { resource, replace: true, changes: changes.collect() };
        self.change_image(Command::AlterConfigs(vec![alteration]));
    }

    fn change_image(&mut self, command: Command) {
        let next = self.image.sequence() + 1;
        let (response, _) = self.image.apply(next, &command);
        assert!(!format!("{response:?}").contains("Err"), "{response:?}");
        self.coordinator.update_image(Arc::new(self.image.clone()));
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, effects: Effects) -> String {
        let mut text = String::new();
        let transaction = effects.transaction.map(|(producer, _)| producer);
        for record in effects.records {
            if let Some(printed) = print_record(&record) {
                writeln!(text, "log {printed}").expect("a string takes everything");
            }
            self.log.push(Logged::Record(transaction, record));
        }
        for answer in effects.answers {
            assert!(self.waiting.remove(&answer.ticket), "{answer:?} was not waited for");
            let star = if answer.when == When::Committed { "*" } else { "" };
            writeln!(text, "{}{star} {}", answer.ticket.0, print_reply(&answer.reply))
                .expect("a string takes everything");
        }
        text
    }

    fn request(&mut self, words: &[&str]) -> Request {
        let group: Name = words.get(1).copied().unwrap_or_default().into();
        match words[0] {
            "join" => self.join(group, words),
            "sync" => {
                let told = |(id, text): (&str, &str)| (long(id), assignment(text));
                let assignments = words[4..].iter().filter_map(|word| word.split_once('='));
                Request::Sync(Sync {
                    group,
                    member: member(words),
                    generation: small(words[3]),
                    protocol_type: option(words, "type").map(Name::from),
                    protocol_name: option(words, "protocol").map(Name::from),
                    assignments: assignments.filter(|(id, _)| id.contains('#')).map(told).collect(),
                })
            }
            "beat" => {
                Request::Heartbeat(Heartbeat { group, member: member(words), generation: small(words[3]) })
            }
            "leave" => {
                let named = |word: &&str| match word.strip_prefix('@') {
                    Some(name) => MemberName { id: Name::default(), instance_id: Some(name.into()) },
                    None => MemberName { id: long(word), instance_id: None },
                };
                Request::Leave(Leave { group, members: words[2..].iter().map(named).collect() })
            }
            "commit" => Request::Commit(Commit {
                group,
                member: member(words),
                generation: small(words[3]),
                tells_epoch: option(words, "version").is_none_or(|version| small(version) >= 9),
                retention_ms: option(words, "retention").map(number),
                topics: commits(&words[4..]),
            }),
            "txn" => Request::CommitInTransaction(TransactionalCommit {
                group: words[2].into(),
                producer_id: ProducerId(number(words[1])),
                producer_epoch: ProducerEpoch(0),
                member: member(&words[1..]),
                generation: small(words[4]),
                topics: commits(&words[5..]),
            }),
            "fetch" => {
                let topics = (words[2] != "all").then(|| places(&words[2..]));
                Request::FetchOffsets(FetchOffsets {
                    group,
                    member: None,
                    topics,
                    require_stable: words.contains(&"stable"),
                })
            }
            "forget" => Request::DeleteOffsets(DeleteOffsets { group, topics: places(&words[2..]) }),
            "list" => {
                let filter = |name| option(words, name).map(Name::from).into_iter().collect();
                Request::List(GroupFilter { states: filter("state"), types: filter("type") })
            }
            "member" => consumer_heartbeat(group, words),
            "members" => Request::DescribeConsumers { group },
            "describe" => Request::Describe { group },
            "delete" => Request::Delete { group },
            "topics-deleted" => {
                Request::TopicsDeleted { topics: words[1..].iter().map(|word| (*word).into()).collect() }
            }
            other => panic!("not a request: {other}"),
        }
    }

    fn join(&mut self, group: Name, words: &[&str]) -> Request {
        let version = option(words, "version").map_or(4, small);
        let protocol_type = option(words, "type").unwrap_or(CONSUMER_PROTOCOL_TYPE);
        let metadata = match option(words, "meta") {
            Some(topics) if protocol_type == CONSUMER_PROTOCOL_TYPE => {
                let subscription = Subscription {
                    topics: topics.split(',').collect(),
                    owned_partitions: option(words, "owned").map(embedded).unwrap_or_default(),
                    ..Subscription::default()
                };
                subscription.encode(1).expect("a short name")
            }
            other => Bytes::copy_from_slice(other.unwrap_or("?").as_bytes()),
        };
        let named = |name: &str| Protocol { name: name.into(), metadata: metadata.clone() };
        self.fresh += 1;
        let client = words[2].split('#').next().expect("there is one");
        Request::Join(Box::new(Join {
            group,
            member_id: if words[2].contains('#') { long(words[2]) } else { Name::default() },
            instance_id: option(words, "static").map(Name::from),
            client_id: client.into(),
            client_host: "/host".into(),
            fresh_id: self.fresh,
            session_timeout_ms: option(words, "session").map_or(10_000, small),
            rebalance_timeout_ms: option(words, "rebalance").map_or(60_000, small),
            protocol_type: protocol_type.into(),
            protocols: words[3].split(',').filter(|name| *name != "-").map(named).collect(),
            requires_member_id: version >= 4,
            may_skip_assignment: version >= 9,
        }))
    }
}

fn consumer_heartbeat(group: Name, words: &[&str]) -> Request {
    let member_epoch = small(words[3]);
    let joins = member_epoch == 0;
    let names = |list: &str| list.split(',').filter(|name| *name != "-").map(Name::from).collect();
    let owned = option(words, "owned").or(joins.then_some("-")).map(|list| {
        let mut owned: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in list.split(',').filter(|word| *word != "-").map(place) {
            owned.entry(id_of(topic)).or_default().insert(partition);
        }
        owned
    });
    Request::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        group,
        member_id: if words[2] == "-" { Name::default() } else { words[2].into() },
        member_epoch,
        requires_member_id: words[2] != "-",
        instance_id: option(words, "static").map(Name::from),
        rack_id: option(words, "rack").map(Name::from),
        client_id: "client".into(),
        client_host: "/host".into(),
        fresh_id: 77,
        rebalance_timeout_ms: option(words, "rebalance")
            .map(small)
            .or(joins.then_some(30_000))
            .filter(|ms| *ms >= 0),
        topics: option(words, "topics").map(names),
        expression: option(words, "regex").map(Name::from),
        assignor: option(words, "assignor").map(Name::from),
        owned,
    }))
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn small(word: &str) -> i32 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// `a#1` is `a` with the first random id of the script.
pub(super) fn long(id: &str) -> Name {
    match id.split_once('#') {
        Some((client, number)) => format!("{client}{ID_MIDDLE}{:012x}", small(number)).into(),
        None => {
            if id == "-" {
                Name::default()
            } else {
                id.into()
            }
        }
    }
}

pub(super) fn short(id: &str) -> String {
    match id.split_once(ID_MIDDLE) {
        Some((client, number)) => {
            format!("{client}#{}", i64::from_str_radix(number, 16).expect("digits"))
        }
        None => id.to_owned(),
    }
}

/// Partitions as members of the classic protocol tell them.
fn embedded(list: &str) -> Vec<embedded::TopicPartitions<'_>> {
    let places = list.split(',').filter(|word| *word != "-").map(place);
    places.map(|(topic, index)| embedded::TopicPartitions { topic, partitions: vec![index] }).collect()
}

/// An assignment: of partitions, or any bytes.
fn assignment(text: &str) -> Bytes {
    if !text.contains('/') {
        return Bytes::copy_from_slice(text.as_bytes());
    }
    let assignment = embedded::Assignment { assigned_partitions: embedded(text), user_data: None };
    assignment.encode(1).expect("short names")
}

fn print_assignment(bytes: &[u8]) -> String {
    let Ok((_, assignment)) = embedded::Assignment::decode(bytes) else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let of_topic = |told: &embedded::TopicPartitions<'_>| -> Vec<String> {
        told.partitions.iter().map(|partition| format!("{}/{partition}", told.topic)).collect()
    };
    assignment.assigned_partitions.iter().flat_map(of_topic).collect::<Vec<_>>().join(",")
}

fn member(words: &[&str]) -> MemberName {
    MemberName { id: long(words[2]), instance_id: option(words, "static").map(Name::from) }
}

fn place(word: &str) -> (&str, PartitionIndex) {
    let (topic, partition) = word.split_once('/').expect("topic/partition");
    (topic, PartitionIndex(small(partition)))
}

fn places(words: &[&str]) -> Vec<TopicPartitions> {
    let named = words.iter().filter(|word| word.contains('/')).map(|word| place(word));
    named
        .map(|(topic, partition)| TopicPartitions {
            topic: topic.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![partition],
        })
        .collect()
}

fn commits(words: &[&str]) -> Vec<CommitTopic> {
    let metadata = option(words, "metadata").unwrap_or("");
    let asked = words.iter().filter(|word| word.contains('/')).map(|word| {
        let (at, offset) = word.split_once('=').expect("topic/partition=offset");
        let (topic, partition) = place(at);
        let offset = Offset(number(offset));
        let partition =
            CommitPartition { partition, offset, leader_epoch: LeaderEpoch(2), metadata: metadata.into() };
        CommitTopic { topic: topic.into(), topic_id: TopicId::ZERO, partitions: vec![partition] }
    });
    asked.collect()
}

fn print_record(record: &Record) -> Option<String> {
    Some(match (Key::decode(&record.key).expect("a key"), &record.value) {
        (Key::Offset { group, topic, partition }, Some(value)) => {
            let value = OffsetCommitValue::decode(value).expect("an offset");
            format!("{group} {topic}/{partition}={}", value.offset)
        }
        (Key::Offset { group, topic, partition }, None) => format!("{group} {topic}/{partition} gone"),
        (Key::ClassicGroup { group }, Some(value)) => {
            let value = GroupMetadataValue::decode(value).expect("a group");
            let assigned = |member: &MemberMetadata<'_>| {
                format!("{}={}", short(member.member_id), print_assignment(member.assignment))
            };
            let members: Vec<String> = value.members.iter().map(assigned).collect();
            let protocol = value.protocol.unwrap_or("-");
            format!("{group} generation {} {protocol} [{}]", value.generation, members.join(" "))
        }
        (Key::ClassicGroup { group }, None) => format!("{group} gone"),
        (Key::ConsumerGroup { group }, None) => format!("{group} of consumers gone"),
        _ => return None,
    })
}

fn print_consumers(group: &DescribedConsumerGroup) -> String {
    let partitions = |topics: &[DescribedTopic]| {
        let each = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(move |partition| format!("{}/{partition}", topic.topic))
        });
        each.collect::<Vec<_>>().join(",")
    };
    let mut text =
        format!("{} epoch {} target {} {}", group.state, group.epoch, group.target_epoch, group.assignor);
    for member in &group.members {
        let (assignment, target) = (partitions(&member.assignment), partitions(&member.target));
        let protocol = if member.speaks_classic { "(classic)" } else { "" };
        write!(text, " {}{protocol}@{}:{assignment}", short(&member.member_id), member.epoch)
            .expect("a string takes everything");
        if assignment != target {
            write!(text, "->{target}").expect("a string takes everything");
        }
    }
    text
}

fn print_beat(beat: &ConsumerBeat) -> String {
    let mut text = format!("{} epoch {}", beat.member_id, beat.member_epoch);
    if ![0, GroupSettings::default().consumer_terms.heartbeat_interval.default]
        .contains(&beat.heartbeat_interval_ms)
    {
        write!(text, " every {} ms", beat.heartbeat_interval_ms).expect("a string takes everything");
    }
    if let Some(topics) = &beat.assignment {
        text.push_str(" owns");
        for topic in topics {
            for partition in &topic.partitions {
                write!(text, " {}/{partition}", name_of(topic.topic_id)).expect("a string takes everything");
            }
        }
    }
    text
}

/// Topics have one letter, which their ids are made of.
fn id_of(topic: &str) -> TopicId {
    TopicId([topic.as_bytes()[0]; 16])
}

fn name_of(id: TopicId) -> char {
    char::from(id.0[0])
}

fn print_reply(reply: &Reply) -> String {
    let outcomes = |outcomes: &[Result<(), GroupError>]| {
        let each: Vec<String> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_or_else(|error| format!("{error:?}"), |()| "ok".into()))
            .collect();
        each.join(" ")
    };
    match reply {
        Reply::Join(Ok(joined)) => {
            let members: Vec<String> = joined.members.iter().map(|member| short(&member.member_id)).collect();
            let skip = if joined.skip_assignment { " skip" } else { "" };
            let protocol = joined.protocol_name.as_deref().unwrap_or("-");
            let told = if members.is_empty() { String::new() } else { format!(" of {}", members.join(",")) };
            format!(
                "{} joined generation {} {protocol} led by {}{told}{skip}",
                short(&joined.member_id),
                joined.generation,
                short(&joined.leader)
            )
        }
        Reply::Join(Err(refused)) => {
            format!("{:?} {}", refused.error, short(&refused.member_id)).trim().to_owned()
        }
        Reply::Sync(Ok(synced)) => format!("assigned {}", print_assignment(&synced.assignment)),
        Reply::Sync(Err(error)) | Reply::FetchOffsets(Err(error)) | Reply::Describe(Err(error)) => {
            format!("{error:?}")
        }
        Reply::Heartbeat(outcome) | Reply::Delete(outcome) => outcomes(std::slice::from_ref(outcome)),
        Reply::Leave(outcome) => {
            outcome.as_ref().map_or_else(|error| format!("{error:?}"), |each| outcomes(each))
        }
        Reply::Commit(outcome) | Reply::DeleteOffsets(outcome) => {
            outcome.as_ref().map_or_else(|error| format!("{error:?}"), |each| outcomes(&each.concat()))
        }
        Reply::FetchOffsets(Ok(topics)) => {
            let mut text = String::from("offsets");
            for topic in topics {
                for found in &topic.partitions {
                    let error = found.error.as_ref().map(|error| format!(" {error:?}")).unwrap_or_default();
                    write!(text, " {}/{}={}{error}", topic.topic, found.partition, found.offset)
                        .expect("a string takes everything");
                }
            }
            text
        }
        Reply::List(groups) => {
            let each: Vec<String> = groups
                .iter()
                .map(|group| {
                    format!("{}:{}:{}:{}", group.group, group.kind, group.state, group.protocol_type)
                })
                .collect();
            format!("groups {}", each.join(" ")).trim().to_owned()
        }
        Reply::Describe(Ok(group)) => {
            let members = group.members.iter().map(|member| {
                let texts = [&member.metadata, &member.assignment]
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                format!("{}:{}:{}", short(&member.member_id), texts[0], texts[1])
            });
            let members: Vec<String> = members.collect();
            format!("{} {} {} [{}]", group.state, group.protocol_type, group.protocol, members.join(" "))
        }
        Reply::ConsumerHeartbeat(Ok(beat)) => print_beat(beat),
        Reply::DescribeConsumers(Ok(group)) => print_consumers(group),
        Reply::ConsumerHeartbeat(Err(error)) | Reply::DescribeConsumers(Err(error)) => format!("{error:?}"),
        Reply::Done => "done".into(),
    }
}

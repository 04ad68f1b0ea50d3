//! Consumer groups of both protocols, request by request: errors, epochs, and how much each member owns.
//!
//! A case is a script of requests about one group, and its outcome what each was answered:
//!
//! | step | request |
//! | --- | --- |
//! | `join m` | ConsumerGroupHeartbeat with epoch 0, a subscription to the case's topic, and nothing owned |
//! | `beat m 3` | the same with epoch 3 and nothing else, but for `topics=yes`, `owned=0,1`, `rebalance=5`, ... |
//! | `old c` | JoinGroup of a consumer, with the id that it was told last; `csync c 3`, `cbeat c 3`, `leave c` |
//! | `commit m 3`, `fetch m 3`, `forget`, `delete` | OffsetCommit, OffsetFetch, OffsetDelete of the topic, DeleteGroups |
//! | `describe`, `cdescribe`, `list` | ConsumerGroupDescribe, DescribeGroups, ListGroups |
//!
//! Words of any step: `v=` the version, `static=`, `group=`, `protocol=`.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use e2e::DEADLINE;
use e2e::broker::Target;
use e2e::wire::{text, topic_name};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Case, Side, compare};

/// A script under way.
struct Play<'a> {
    side: &'a mut Side,
    /// The ids that members of the classic protocol were told.
    ids: BTreeMap<String, StrBytes>,
}

/// One step: its words.
struct Step<'a>(Vec<&'a str>);

impl<'a> Step<'a> {
    fn option(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn text(&self, name: &str) -> Option<StrBytes> {
        self.option(name).map(text)
    }

    fn number(&self, index: usize) -> i32 {
        self.0[index].parse().unwrap_or_else(|_| panic!("not a number in {:?}", self.0))
    }

    fn version(&self, default: i16) -> i16 {
        self.option("v").map_or(default, |version| version.parse().expect("a version"))
    }

    fn member(&self) -> StrBytes {
        if self.0[1] == "-" { StrBytes::default() } else { text(self.0[1]) }
    }
}

fn play(side: &mut Side, script: &str) -> String {
    await_coordinator(side);
    let mut play = Play { side, ids: BTreeMap::new() };
    if play.side.broker.target() == Target::Kafka {
        play.await_topic();
    }
    let steps = script.split(';').map(|step| Step(step.split_whitespace().collect()));
    let outcomes: Vec<String> = steps.map(|step| play.step(&step)).collect();
    outcomes.join(" | ")
}

/// The partition of `__consumer_offsets` that keeps a group: Java's hash of its name.
fn partition_of_group(group: &str) -> i32 {
    let hash = group.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) % 50
}

/// Apache Kafka makes the groups' topic when somebody asks for a coordinator, and loads it after that.
fn await_coordinator(side: &mut Side) {
    let group = text(&side.topic);
    let find = FindCoordinatorRequest::default().with_key(group.clone()).with_key_type(0);
    let beat = HeartbeatRequest::default().with_group_id(GroupId(group)).with_member_id(text("nobody"));
    let end = Instant::now() + DEADLINE;
    loop {
        let found = side.connection.call(3, &find).error_code;
        let beaten = side.connection.call(4, &beat).error_code;
        if found == 0 && ![14, 15, 16].contains(&beaten) {
            return;
        }
        assert!(Instant::now() < end, "no coordinator: errors {found} and {beaten}");
    }
}

impl Play<'_> {
    /// Apache Kafka's coordinators hear of a new topic some time after its leaders do, each by itself: waits until that of the
    /// case's group knows the topic, by asking for another of its groups.
    fn await_topic(&mut self) {
        let of_case = partition_of_group(&self.side.topic);
        let mut names = (0..).map(|number| format!("{}-{number}", self.side.topic));
        let name = names.find(|name| partition_of_group(name) == of_case).expect("names are many");
        let (join, leave) = (format!("join probe group={name}"), format!("beat probe -1 group={name}"));
        let end = Instant::now() + DEADLINE;
        loop {
            let joined = self.step(&Step(join.split(' ').collect()));
            self.step(&Step(leave.split(' ').collect()));
            if joined.contains("owns 2") {
                return;
            }
            assert!(Instant::now() < end, "the coordinator does not hear of the topic: {joined}");
        }
    }

    fn group(&self, step: &Step<'_>) -> GroupId {
        GroupId(step.text("group").unwrap_or_else(|| text(&self.side.topic)))
    }

    fn step(&mut self, step: &Step<'_>) -> String {
        match step.0[0] {
            "join" | "beat" => self.heartbeat(step),
            "old" => self.classic_join(step),
            "csync" => {
                let request = SyncGroupRequest::default()
                    .with_group_id(self.group(step))
                    .with_generation_id(step.number(2))
                    .with_member_id(self.id(step.0[1]))
                    .with_group_instance_id(step.text("static"))
                    .with_protocol_type(Some(text("consumer")))
                    .with_protocol_name(Some(text(step.option("protocol").unwrap_or("range"))));
                let answer = self.side.connection.call(5, &request);
                format!("error {}, owns {}", answer.error_code, owned_count(&answer.assignment))
            }
            "cbeat" => {
                let request = HeartbeatRequest::default()
                    .with_group_id(self.group(step))
                    .with_generation_id(step.number(2))
                    .with_member_id(self.id(step.0[1]))
                    .with_group_instance_id(step.text("static"));
                format!("error {}", self.side.connection.call(4, &request).error_code)
            }
            "leave" => {
                let member = MemberIdentity::default().with_member_id(self.id(step.0[1]));
                let member = member.with_group_instance_id(step.text("static"));
                let request =
                    LeaveGroupRequest::default().with_group_id(self.group(step)).with_members(vec![member]);
                let answer = self.side.connection.call(5, &request);
                let each: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
                format!("error {}, each {each:?}", answer.error_code)
            }
            _ => self.question(step),
        }
    }

    fn question(&mut self, step: &Step<'_>) -> String {
        let group = self.group(step);
        let connection = &mut self.side.connection;
        match step.0[0] {
            "commit" => self.commit(step),
            "fetch" => self.fetch(step),
            "forget" => {
                let partition = OffsetDeleteRequestPartition::default();
                let topic = OffsetDeleteRequestTopic::default()
                    .with_name(topic_name(&self.side.topic))
                    .with_partitions(vec![partition]);
                let request = OffsetDeleteRequest::default().with_group_id(group).with_topics(vec![topic]);
                let answer = connection.call(0, &request);
                let each = answer.topics.iter().flat_map(|topic| &topic.partitions);
                let each: Vec<i16> = each.map(|partition| partition.error_code).collect();
                format!("error {}, each {each:?}", answer.error_code)
            }
            "delete" => {
                let answer =
                    connection.call(2, &DeleteGroupsRequest::default().with_groups_names(vec![group]));
                format!("error {}", answer.results[0].error_code)
            }
            "describe" => {
                let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group]);
                let answer = connection.call(1, &request);
                let told = &answer.groups[0];
                let members = told.members.iter().map(|member| {
                    let count = |partitions: usize| partitions.to_string();
                    let assigned =
                        member.assignment.topic_partitions.iter().map(|topic| topic.partitions.len());
                    let target =
                        member.target_assignment.topic_partitions.iter().map(|topic| topic.partitions.len());
                    let (assigned, target) = (count(assigned.sum()), count(target.sum()));
                    format!(
                        "type {} epoch {} owns {assigned} of {target}",
                        member.member_type, member.member_epoch
                    )
                });
                let mut members: Vec<String> = members.collect();
                members.sort();
                format!(
                    "error {}, {} {} of {} by {}, {members:?}",
                    told.error_code,
                    told.group_state,
                    told.assignment_epoch,
                    told.group_epoch,
                    told.assignor_name
                )
            }
            "cdescribe" => {
                let request = DescribeGroupsRequest::default().with_groups(vec![group]);
                let answer = connection.call(step.version(6), &request);
                let told = &answer.groups[0];
                format!("error {}, {}, {} members", told.error_code, told.group_state, told.members.len())
            }
            "list" => {
                let answer = connection.call(5, &ListGroupsRequest::default());
                let told = answer.groups.iter().find(|told| told.group_id == group);
                told.map_or("none".to_owned(), |told| {
                    format!("{} {} {}", told.protocol_type, told.group_state, told.group_type)
                })
            }
            other => panic!("no such step: {other}"),
        }
    }

    fn heartbeat(&mut self, step: &Step<'_>) -> String {
        let joins = step.0[0] == "join";
        let or_if_joining = |name: &str, default: &'static str| match step.option(name) {
            Some("none") => None,
            told => told.or(joins.then_some(default)),
        };
        let topics = or_if_joining("topics", "yes")
            .map(|told| if told == "no" { Vec::new() } else { vec![topic_name(&self.side.topic)] });
        let owned = or_if_joining("owned", "-").map(|list| {
            let partitions: Vec<i32> = list.split(',').filter_map(|word| word.parse().ok()).collect();
            let topic = TopicPartitions::default().with_topic_id(self.side.topic_id);
            if partitions.is_empty() { Vec::new() } else { vec![topic.with_partitions(partitions)] }
        });
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group(step))
            .with_member_id(step.member())
            .with_member_epoch(if joins { 0 } else { step.number(2) })
            .with_instance_id(step.text("static"))
            .with_rack_id(step.text("rack"))
            .with_rebalance_timeout_ms(
                or_if_joining("rebalance", "30000").map_or(-1, |ms| ms.parse().expect("a number")),
            )
            .with_subscribed_topic_names(topics)
            .with_subscribed_topic_regex(step.text("regex"))
            .with_server_assignor(step.text("assignor"))
            .with_topic_partitions(owned);
        let answer = self.side.connection.call(step.version(1), &request);
        if answer.error_code != 0 {
            return format!("error {}", answer.error_code);
        }
        let topics = answer.assignment.map(|assignment| assignment.topic_partitions);
        let owns = topics.map(|topics| topics.iter().map(|topic| topic.partitions.len()).sum::<usize>());
        let owns = owns.map_or("the same".to_owned(), |count| count.to_string());
        format!("epoch {}, owns {owns}, every {} ms", answer.member_epoch, answer.heartbeat_interval_ms)
    }

    fn id(&self, name: &str) -> StrBytes {
        self.ids
            .get(name)
            .cloned()
            .unwrap_or_else(|| if name == "-" { StrBytes::default() } else { text(name) })
    }

    fn classic_join(&mut self, step: &Step<'_>) -> String {
        let name = step.0[1];
        let assignors = step.option("protocol").unwrap_or("range");
        let metadata = if step.option("meta") == Some("none") {
            Bytes::from_static(b"?")
        } else {
            subscription(&self.side.topic)
        };
        let protocols = assignors.split(',').map(|assignor| {
            JoinGroupRequestProtocol::default().with_name(text(assignor)).with_metadata(metadata.clone())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(self.group(step))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(self.ids.get(name).cloned().unwrap_or_default())
            .with_group_instance_id(step.text("static"))
            .with_protocol_type(text(step.option("type").unwrap_or("consumer")))
            .with_protocols(protocols.collect());
        let answer = self.side.connection.call(step.version(9), &request);
        if !answer.member_id.is_empty() {
            self.ids.insert(name.to_owned(), answer.member_id.clone());
        }
        let protocol = answer.protocol_name.unwrap_or_default();
        let leads = if answer.leader == answer.member_id && answer.error_code == 0 { ", leads" } else { "" };
        format!("error {}, generation {} {protocol}{leads}", answer.error_code, answer.generation_id)
    }

    fn commit(&mut self, step: &Step<'_>) -> String {
        let version = step.version(9);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.side.topic))
            .with_partitions(vec![OffsetCommitRequestPartition::default().with_committed_offset(1)]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group(step))
            .with_member_id(self.id(step.0[1]))
            .with_generation_id_or_member_epoch(step.number(2))
            .with_topics(vec![topic]);
        let answer = self.side.connection.call(version, &request);
        format!("error {}", answer.topics[0].partitions[0].error_code)
    }

    fn fetch(&mut self, step: &Step<'_>) -> String {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(&self.side.topic))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(self.group(step))
            .with_member_id(Some(self.id(step.0[1])).filter(|id| !id.is_empty()))
            .with_member_epoch(step.number(2))
            .with_topics(Some(vec![topic]));
        let answer = self.side.connection.call(9, &OffsetFetchRequest::default().with_groups(vec![group]));
        let told = &answer.groups[0];
        let offsets = told.topics.iter().flat_map(|topic| &topic.partitions);
        let offsets: Vec<i64> = offsets.map(|partition| partition.committed_offset).collect();
        format!("error {}, {offsets:?}", told.error_code)
    }
}

/// A subscription of the classic protocol, version 1, that owns nothing.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).expect("a short name"));
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(-1);
    bytes.put_i32(0);
    bytes.freeze()
}

/// How many partitions an assignment of one topic has.
fn owned_count(assignment: &[u8]) -> usize {
    let number = |at: usize| {
        assignment.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().expect("four")))
    };
    if number(2) == 0 {
        return 0;
    }
    let name_bytes = usize::from(u16::from_be_bytes([assignment[6], assignment[7]]));
    usize::try_from(number(8 + name_bytes)).expect("a count")
}

const HEARTBEATS: &[Case] = &[
    ("alone", |side| {
        play(side, "join a; beat a 1; beat a 1 owned=0,1 topics=yes rebalance=9; describe; list")
    }),
    ("two", |side| {
        play(
            side,
            "join a; join b; beat a 1; beat b 2; beat a 1 owned=0; beat a 2; beat b 2; describe; beat b -1; beat a 2",
        )
    }),
    ("lost answer", |side| {
        play(side, "join a; join b; beat a 1 owned=0; beat a 1 owned=0; beat a 1; beat a 1 owned=0,1")
    }),
    ("rejoin", |side| play(side, "join a; join a; beat a 1; join b; join a; describe")),
    ("everything given back at once", |side| {
        play(side, "join a; join b; beat a 1 owned=-; beat b 2; describe")
    }),
    ("no topics", |side| {
        play(side, "join a topics=no; describe; beat a 1 topics=yes; beat a 1 topics=no; beat a 2 owned=-")
    }),
    ("leave and come back", |side| {
        play(side, "join a; beat a -1; describe; cdescribe; list; join a; beat a 2")
    }),
    ("static", |side| {
        play(
            side,
            "join a static=i; join b static=i; beat a -2 static=i; describe; join b static=i; beat a 1 static=i; \
             beat b 1 static=i; beat b 1; beat b -1; describe",
        )
    }),
    ("static leaves", |side| play(side, "join a static=i; beat b -1 static=i; beat a -1 static=i; describe")),
    ("static unknown", |side| play(side, "join a; beat a 1 static=i; beat b 1 static=i; beat b -2 static=i")),
    ("assignors", |side| {
        play(
            side,
            "join a assignor=range; describe; join b assignor=uniform; describe; beat b 2 assignor=best",
        )
    }),
];

const REFUSALS: &[Case] = &[
    ("no group", |side| play(side, "join a group=")),
    ("unknown group", |side| {
        play(side, "beat a 1; beat a -1; beat a -2 static=i; describe; cdescribe; cdescribe v=5; list")
    }),
    ("no member", |side| play(side, "join - v=1; beat - 1; beat - -1")),
    ("no member in version 0", |side| play(side, "join - v=0; describe; beat - 1 v=0")),
    ("no rebalance timeout", |side| play(side, "join a rebalance=none")),
    ("joins and owns", |side| play(side, "join a owned=0")),
    ("joins and does not say", |side| play(side, "join a owned=none")),
    ("joins without topics", |side| play(side, "join a topics=none")),
    ("joins with a bad pattern", |side| play(side, "join a topics=none regex=a(")),
    ("empty words", |side| {
        play(side, "join a static=; join a rack=; join a assignor=; join a topics=none regex=")
    }),
    ("epochs that there are not", |side| {
        play(side, "join a; beat a -3; beat a -2; beat a 2; beat a 7; beat b 1; beat b -1")
    }),
    ("unknown assignor", |side| play(side, "join a assignor=best; describe")),
];

const OFFSETS: &[Case] = &[
    ("by members", |side| {
        play(
            side,
            "join a; commit a 1; commit a 0; commit a 2; commit b 1; commit - -1; fetch a 1; fetch a 2",
        )
    }),
    ("by nobody", |side| {
        play(side, "commit - -1; join a; fetch - -1; fetch b 1; beat a -1; commit - -1; fetch b 1; list")
    }),
    ("old version", |side| {
        play(side, "join a; commit a 1 v=8; commit a 2 v=8; commit b 1 v=8; commit b 1 v=5")
    }),
    ("no group", |side| play(side, "commit a 1; commit a 1 v=8; fetch a 1; fetch - -1")),
    ("deletion", |side| {
        play(side, "join a; commit a 1; forget; delete; beat a -1; forget; delete; list; describe")
    }),
];

const MIXED: &[Case] = &[
    ("an old member in a new group", |side| {
        play(
            side,
            "join a; old c; old c; csync c 2; cbeat c 2; describe; beat a 1 owned=0,1; beat a 1 owned=0; cbeat c 2; old c; \
             csync c 2; cbeat c 2; describe; list; leave c; describe",
        )
    }),
    ("it is refused", |side| {
        play(
            side,
            "join a; old c type=connect; old c protocol=range; old c; old d protocol=roundrobin v=3; old d meta=none v=3; csync c 1; \
             csync c 2 protocol=roundrobin; csync a 1; cbeat a 1; cbeat c 1; cbeat x 2; commit c 1; commit c 2; fetch c 1; leave x",
        )
    }),
    ("a new member in an old group", |side| {
        play(
            side,
            "old c v=3; csync c 1; join a; list; cbeat c 1; csync c 1; commit c 1; old c; csync c 2; cbeat c 2; beat a 2; describe; \
             beat a -1; list; cbeat c 2; commit c 2; old c",
        )
    }),
    ("a new member in an empty old group", |side| {
        play(side, "old c v=3; leave c; list; join a; list; beat a -1; old c v=3; list")
    }),
    ("a new member in another kind of group", |side| play(side, "old c v=3 type=connect; join a; describe")),
    ("static", |side| {
        play(
            side,
            "old c static=i; csync c 1 static=i; join a static=i; describe; cbeat c 1 static=i; old d static=i; list; \
             beat a 2 static=i; cbeat d 2 static=i",
        )
    }),
];

#[test]
fn heartbeats_are_answered_as_kafka_does() {
    compare("heartbeats", HEARTBEATS);
}

#[test]
fn heartbeats_are_refused_as_kafka_does() {
    compare("refusals", REFUSALS);
}

#[test]
fn offsets_of_consumer_groups_are_kept_as_kafka_does() {
    compare("group-offsets", OFFSETS);
}

#[test]
fn groups_of_both_protocols_are_kept_as_kafka_does() {
    compare("mixed-groups", MIXED);
}

//! A script of requests about one group, and what each was answered: what the cases of groups are written in.
//!
//! | step | request |
//! | --- | --- |
//! | `join m` | ConsumerGroupHeartbeat with epoch 0, a subscription to the case's topic, and nothing owned |
//! | `beat m 3` | the same with epoch 3 and nothing else, but for `topics=yes`, `owned=0,1`, `rebalance=5`, ... |
//! | `old c` | JoinGroup of a consumer, with the id that it was told last; `csync c 3`, `cbeat c 3`, `leave c,d` |
//! | `begin d`, `end d` | JoinGroup on a connection of its own, and its answer |
//! | `rebalancing c 3` | heartbeats until the group rebalances |
//! | `commit m 3`, `fetch m 3`, `forget`, `delete` | OffsetCommit, OffsetFetch, OffsetDelete of the topic, DeleteGroups |
//! | `describe`, `cdescribe`, `list` | ConsumerGroupDescribe, DescribeGroups, ListGroups |
//! | `look` | all that there is to a classic group: DescribeGroups, and OffsetFetch of whatever is committed |
//!
//! Words of any step: `v=` the version, `static=`, `group=`, `protocol=`. Of a join: `id=` a member's id, `session=` its
//! timeout, `type=`. Of a sync: `give=c,d` to each a partition. Of a commit: `partition=0,9`, `offset=`, `note=` its length;
//! `topic=` another topic than the case's.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use e2e::DEADLINE;
use e2e::broker::Target;
use e2e::wire::{Connection, await_group, decode_response, encode_request, text, topic_name};
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
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Side;

/// From this version on several members may leave at a time.
const LEAVE_SEVERAL_VERSION_MIN: i16 = 3;

/// A script under way.
struct Play<'a> {
    side: &'a mut Side,
    /// The ids that members of the classic protocol were told.
    ids: BTreeMap<String, StrBytes>,
    /// Joins that are under way, each with its version.
    joins: BTreeMap<String, (Connection, i16)>,
}

/// What a join's connection numbers its one request.
const CORRELATION: i32 = 1;

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

    /// The partitions that are named; 0 if none are.
    fn partitions(&self) -> Vec<i32> {
        let list = self.option("partition").unwrap_or("0").split(',');
        list.map(|word| word.parse().expect("a partition")).collect()
    }
}

/// Plays a script; the outcomes of its steps.
pub fn play(side: &mut Side, script: &str) -> String {
    await_coordinator(side);
    if script.contains("group=") {
        await_group(&mut side.connection, &GroupId::default());
    }
    let mut play = Play { side, ids: BTreeMap::new(), joins: BTreeMap::new() };
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
            "begin" => self.begin_join(step),
            "end" => self.end_join(step),
            "rebalancing" => self.await_rebalance(step),
            "csync" => {
                let version = step.version(5);
                let request = SyncGroupRequest::default()
                    .with_group_id(self.group(step))
                    .with_generation_id(step.number(2))
                    .with_member_id(self.id(step.0[1]))
                    .with_group_instance_id(step.text("static"))
                    .with_protocol_type(Some(text(step.option("type").unwrap_or("consumer"))))
                    .with_protocol_name(Some(text(step.option("protocol").unwrap_or("range"))))
                    .with_assignments(self.assignments(step));
                let answer = self.side.connection.call(version, &request);
                format!("error {}, owns {}", answer.error_code, owned_count(&answer.assignment))
            }
            "cbeat" => {
                let request = HeartbeatRequest::default()
                    .with_group_id(self.group(step))
                    .with_generation_id(step.number(2))
                    .with_member_id(self.id(step.0[1]))
                    .with_group_instance_id(step.text("static"));
                format!("error {}", self.side.connection.call(step.version(4), &request).error_code)
            }
            "leave" => {
                let request = self.leaving(step);
                let answer = self.side.connection.call(step.version(5), &request);
                let each: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
                format!("error {}, each {each:?}", answer.error_code)
            }
            _ => self.question(step),
        }
    }

    fn leaving(&self, step: &Step<'_>) -> LeaveGroupRequest {
        let request = LeaveGroupRequest::default().with_group_id(self.group(step));
        if step.version(5) < LEAVE_SEVERAL_VERSION_MIN {
            return request.with_member_id(self.id(step.0[1]));
        }
        let members = step.0[1].split(',').map(|name| {
            let member = MemberIdentity::default().with_member_id(self.id(name));
            member.with_group_instance_id(step.text("static"))
        });
        request.with_members(members.collect())
    }

    fn topic(&self, step: &Step<'_>) -> TopicName {
        topic_name(step.option("topic").unwrap_or(&self.side.topic))
    }

    fn question(&mut self, step: &Step<'_>) -> String {
        let group = self.group(step);
        let topic = self.topic(step);
        let connection = &mut self.side.connection;
        match step.0[0] {
            "commit" => self.commit(step),
            "fetch" => self.fetch(step),
            "look" => self.look(step),
            "forget" => {
                let wanted = |index: i32| OffsetDeleteRequestPartition::default().with_partition_index(index);
                let topic = OffsetDeleteRequestTopic::default()
                    .with_name(topic)
                    .with_partitions(step.partitions().into_iter().map(wanted).collect());
                let request = OffsetDeleteRequest::default().with_group_id(group).with_topics(vec![topic]);
                let answer = connection.call(0, &request);
                let lines = answer.topics.iter().flat_map(|topic| &topic.partitions);
                let mut lines: Vec<(i32, i16)> =
                    lines.map(|line| (line.partition_index, line.error_code)).collect();
                lines.sort_unstable();
                let each: Vec<i16> = lines.into_iter().map(|(_, error)| error).collect();
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

    fn joining(&self, step: &Step<'_>) -> JoinGroupRequest {
        let metadata = if step.option("meta") == Some("none") {
            Bytes::from_static(b"?")
        } else {
            subscription(&self.side.topic)
        };
        let assignors = step.option("protocol").unwrap_or("range").split(',').filter(|name| !name.is_empty());
        let protocols = assignors.map(|assignor| {
            JoinGroupRequestProtocol::default().with_name(text(assignor)).with_metadata(metadata.clone())
        });
        let timeout =
            |name: &str| step.option(name).map_or(30_000, |ms| ms.parse().expect("a number of milliseconds"));
        let member_id = step.text("id").or_else(|| self.ids.get(step.0[1]).cloned());
        JoinGroupRequest::default()
            .with_group_id(self.group(step))
            .with_session_timeout_ms(timeout("session"))
            .with_rebalance_timeout_ms(timeout("rebalance"))
            .with_member_id(member_id.unwrap_or_default())
            .with_group_instance_id(step.text("static"))
            .with_protocol_type(text(step.option("type").unwrap_or("consumer")))
            .with_protocols(protocols.collect())
    }

    fn classic_join(&mut self, step: &Step<'_>) -> String {
        let answer = self.side.connection.call(step.version(9), &self.joining(step));
        self.joined(step.0[1], answer)
    }

    fn begin_join(&mut self, step: &Step<'_>) -> String {
        let mut connection = Connection::open(self.side.broker.kafka());
        let version = step.version(9);
        connection
            .send(&encode_request(CORRELATION, version, &self.joining(step)))
            .expect("the broker takes it");
        self.joins.insert(step.0[1].to_owned(), (connection, version));
        "sent".to_owned()
    }

    fn end_join(&mut self, step: &Step<'_>) -> String {
        let (mut connection, version) = self.joins.remove(step.0[1]).expect("it was begun");
        let frame = connection.receive().expect("the broker answers");
        self.joined(step.0[1], decode_response::<JoinGroupRequest>(frame, CORRELATION, version))
    }

    fn joined(&mut self, name: &str, answer: JoinGroupResponse) -> String {
        if !answer.member_id.is_empty() {
            self.ids.insert(name.to_owned(), answer.member_id.clone());
        }
        let protocol = answer.protocol_name.unwrap_or_default();
        let leads = if answer.leader == answer.member_id && answer.error_code == 0 { ", leads" } else { "" };
        format!("error {}, generation {} {protocol}{leads}", answer.error_code, answer.generation_id)
    }

    /// A join that was sent on another connection has arrived when the group rebalances.
    fn await_rebalance(&mut self, step: &Step<'_>) -> String {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group(step))
            .with_generation_id(step.number(2))
            .with_member_id(self.id(step.0[1]));
        let end = Instant::now() + DEADLINE;
        loop {
            let error = self.side.connection.call(4, &request).error_code;
            if error != 0 {
                return format!("error {error}");
            }
            assert!(Instant::now() < end, "the group does not rebalance");
        }
    }

    /// To each member that is named, the partition of its place in the list.
    fn assignments(&self, step: &Step<'_>) -> Vec<SyncGroupRequestAssignment> {
        let names = step.option("give").into_iter().flat_map(|list| list.split(','));
        let give = |(partition, name): (i32, &str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(self.id(name))
                .with_assignment(assignment(&self.side.topic, partition))
        };
        (0..).zip(names).map(give).collect()
    }

    fn commit(&mut self, step: &Step<'_>) -> String {
        let version = step.version(9);
        let offset = step.option("offset").map_or(1, |word| word.parse().expect("an offset"));
        let note = step.option("note").map_or(0, |word| word.parse().expect("a length"));
        let wanted = |index: i32| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(text(&"n".repeat(note))))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(self.topic(step))
            .with_partitions(step.partitions().into_iter().map(wanted).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group(step))
            .with_member_id(self.id(step.0[1]))
            .with_group_instance_id(step.text("static"))
            .with_generation_id_or_member_epoch(step.number(2))
            .with_topics(vec![topic]);
        let answer = self.side.connection.call(version, &request);
        // Apache Kafka answers those first that it has not asked the coordinator about.
        let lines = answer.topics[0].partitions.iter();
        let mut lines: Vec<(i32, i16)> = lines.map(|line| (line.partition_index, line.error_code)).collect();
        lines.sort_unstable();
        let each: Vec<String> = lines.iter().map(|(_, error)| error.to_string()).collect();
        format!("error {}", each.join(", "))
    }

    fn fetch(&mut self, step: &Step<'_>) -> String {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(self.topic(step))
            .with_partition_indexes(step.partitions());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(self.group(step))
            .with_member_id(Some(self.id(step.0[1])).filter(|id| !id.is_empty()))
            .with_member_epoch(step.number(2))
            .with_topics(Some(vec![topic]));
        let answer = self.side.connection.call(9, &OffsetFetchRequest::default().with_groups(vec![group]));
        let told = &answer.groups[0];
        let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
        // An error of a partition is told by the offset that comes with none.
        let offsets: Vec<i64> = partitions.map(|partition| partition.committed_offset).collect();
        format!("error {}, {offsets:?}", told.error_code)
    }

    /// What members see and what is committed: the same before and after a request that was refused.
    fn look(&mut self, step: &Step<'_>) -> String {
        let request = DescribeGroupsRequest::default().with_groups(vec![self.group(step)]);
        let answer = self.side.connection.call(6, &request);
        let told = &answer.groups[0];
        let members = told.members.iter().map(|member| {
            let instance = member.group_instance_id.as_deref().unwrap_or("-");
            let (says, owns) = (member.member_metadata.len(), owned_count(&member.member_assignment));
            format!("{instance} says {} owns {owns}", if says == 0 { "nothing" } else { "something" })
        });
        let mut members: Vec<String> = members.collect();
        members.sort();
        let all = OffsetFetchRequestGroup::default()
            .with_group_id(self.group(step))
            .with_member_epoch(-1)
            .with_topics(None);
        let answer = self.side.connection.call(9, &OffsetFetchRequest::default().with_groups(vec![all]));
        let partitions = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
        let mut committed: Vec<String> = partitions
            .map(|one| {
                let note = one.metadata.as_ref().map_or(0, |note| note.len());
                format!("{}: {} with {note} B", one.partition_index, one.committed_offset)
            })
            .collect();
        committed.sort();
        // Apache Kafka may keep a group that it has refused everything.
        let is_nothing = committed.is_empty() && members.is_empty() && told.protocol_type.is_empty();
        if is_nothing && ["Dead", "Empty"].contains(&&*told.group_state) {
            return "(nothing)".to_owned();
        }
        format!(
            "({} {} {} {} {members:?} {committed:?})",
            told.error_code, told.group_state, told.protocol_type, told.protocol_data
        )
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

/// An assignment of one partition of a topic.
fn assignment(topic: &str, partition: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).expect("a short name"));
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(1);
    bytes.put_i32(partition);
    bytes.put_i32(-1);
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

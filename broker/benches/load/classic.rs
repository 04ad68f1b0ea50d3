//! A member of a classic group: joins, assigns where it leads, syncs, sends heartbeats, commits.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::coordinator::embedded::{Assignment, Subscription, TopicPartitions};
use protocol::error::KafkaError;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::calls::Answer;
use super::wire::Prepared;

const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_VERSION: i16 = 5;
const COMMIT_VERSION: i16 = 8;
/// The version of subscriptions and assignments.
const EMBEDDED_VERSION: i16 = 1;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "roundrobin";
/// Longer than a run: nobody is to be thrown out while others are measured.
const SESSION_TIMEOUT_MS: i32 = 1_800_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// The topic that members subscribe to.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: Rc<str>,
    pub partitions: i32,
}

/// A member and what it was told.
pub struct Member {
    group: Rc<str>,
    topic: Topic,
    id: String,
    pub generation: i32,
    /// How many members the generation has, where this one leads it.
    pub led: Option<usize>,
    /// What it is to own in this generation, as soon as it knows.
    pub assignment: Option<Vec<i32>>,
}

impl Member {
    /// One that has not joined yet.
    pub fn new(group: Rc<str>, topic: Topic) -> Self {
        Self { group, topic, id: String::new(), generation: -1, led: None, assignment: None }
    }

    /// Whether it has been given an id, and so was heard of.
    pub fn has_id(&self) -> bool {
        !self.id.is_empty()
    }

    pub fn join(&self) -> Prepared {
        let subscription = Subscription {
            topics: vec![&self.topic.name],
            user_data: None,
            owned_partitions: Vec::new(),
            generation_id: -1,
            rack_id: None,
        };
        let metadata = subscription.encode(EMBEDDED_VERSION).expect("short names");
        let request = JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: &self.id,
            group_instance_id: None,
            protocol_type: PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL, metadata: &metadata }],
            reason: None,
        };
        Prepared::of(JOIN_VERSION, &request)
    }

    pub fn heartbeat(&self) -> Prepared {
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: None,
        };
        Prepared::of(HEARTBEAT_VERSION, &request)
    }

    /// Commits an offset of the topic's partition 0.
    pub fn commit(&self, offset: i64) -> Prepared {
        let partition = OffsetCommitRequestPartition {
            partition_index: PartitionIndex(0),
            committed_offset: Offset(offset),
            committed_leader_epoch: LeaderEpoch::UNKNOWN,
            committed_metadata: Some(""),
        };
        let topic = OffsetCommitRequestTopic {
            name: &self.topic.name,
            topic_id: TopicId::ZERO,
            partitions: vec![partition],
        };
        let request = OffsetCommitRequest {
            group_id: &self.group,
            generation_id_or_member_epoch: self.generation,
            member_id: &self.id,
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![topic],
        };
        Prepared::of(COMMIT_VERSION, &request)
    }

    pub fn leave(&self) -> Prepared {
        let member = MemberIdentity { member_id: &self.id, group_instance_id: None, reason: None };
        let request = LeaveGroupRequest { group_id: &self.group, member_id: "", members: vec![member] };
        Prepared::of(LEAVE_VERSION, &request)
    }

    /// Takes an answer on the way to an assignment; what to ask next, nothing where the member needs nothing.
    pub fn take(&mut self, answer: &Answer) -> Option<Prepared> {
        match answer.request().api {
            ApiKey::JoinGroup => Some(self.take_join(&answer.read())),
            ApiKey::SyncGroup => self.take_sync(&answer.read()),
            ApiKey::Heartbeat => {
                let response: HeartbeatResponse = answer.read();
                self.go_on(response.error_code.into_result(), "heartbeat")
            }
            api => unreachable!("a member does not ask for {api} on the way to its assignment"),
        }
    }

    fn take_join(&mut self, response: &JoinGroupResponse<'_>) -> Prepared {
        match response.error_code.into_result() {
            Err(KafkaError::MemberIdRequired) => {
                assert!(!self.has_id(), "{}: an id is given once", self.group);
                response.member_id.clone_into(&mut self.id);
                return self.join();
            }
            outcome => outcome.unwrap_or_else(|error| panic!("{}: join: {error}", self.group)),
        }
        assert_eq!(response.member_id, self.id, "a member keeps its id");
        assert!(response.generation_id > self.generation, "generations go up");
        self.generation = response.generation_id;
        self.led = (response.leader == self.id).then_some(response.members.len());
        let members: Vec<&str> = response.members.iter().map(|member| member.member_id).collect();
        self.sync(&members)
    }

    /// Gives partitions to `members` in turn, who are all where this one leads and none otherwise.
    fn sync(&self, members: &[&str]) -> Prepared {
        let share = |place: usize| {
            let partitions = (0..self.topic.partitions).skip(place).step_by(members.len());
            let partitions = partitions.map(PartitionIndex).collect();
            let topic = TopicPartitions { topic: &self.topic.name, partitions };
            let assignment = Assignment { assigned_partitions: vec![topic], user_data: None };
            assignment.encode(EMBEDDED_VERSION).expect("short names")
        };
        let shares: Vec<_> = (0..members.len()).map(share).collect();
        let assignments = members
            .iter()
            .zip(&shares)
            .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(PROTOCOL),
            assignments: assignments.collect(),
        };
        Prepared::of(SYNC_VERSION, &request)
    }

    fn take_sync(&mut self, response: &SyncGroupResponse<'_>) -> Option<Prepared> {
        let outcome = response.error_code.into_result();
        if outcome.is_ok() {
            let (_, assignment) = Assignment::decode(response.assignment).expect("what the leader gave");
            let topics = &assignment.assigned_partitions;
            assert!(topics.iter().all(|topic| *topic.topic == *self.topic.name), "the topic subscribed to");
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            self.assignment = Some(partitions.map(|partition| partition.0).collect());
        }
        self.go_on(outcome, "sync")
    }

    /// Joins again where a rebalance wants it.
    fn go_on(&mut self, outcome: Result<(), KafkaError>, what: &str) -> Option<Prepared> {
        match outcome {
            Ok(()) => None,
            Err(KafkaError::RebalanceInProgress) => {
                self.assignment = None;
                Some(self.join())
            }
            Err(error) => panic!("{}: {what}: {error}", self.group),
        }
    }
}

/// Holds that a heartbeat was taken in a group that is at rest.
pub fn check_heartbeat(answer: &Answer) {
    let response: HeartbeatResponse = answer.read();
    response.error_code.into_result().expect("the member is in its generation");
}

/// Holds that a commit was taken.
pub fn check_commit(answer: &Answer) {
    let response: OffsetCommitResponse<'_> = answer.read();
    let partitions: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
    assert_eq!(partitions.len(), 1, "a commit of one offset is answered for one");
    partitions[0].error_code.into_result().expect("the offset is committed");
}

/// Holds that a member was let go.
pub fn check_leave(answer: &Answer) {
    let response: LeaveGroupResponse<'_> = answer.read();
    response.error_code.into_result().expect("the request is taken");
    assert_eq!(response.members.len(), 1, "one member leaves");
    response.members[0].error_code.into_result().expect("the member leaves");
}

//! A member of a consumer group (KIP-848): one kind of heartbeat joins, stays, takes assignments, and leaves.

use std::collections::BTreeSet;
use std::rc::Rc;

use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use protocol::types::{PartitionIndex, TopicId};

use super::calls::Answer;
use super::classic::Topic;
use super::wire::Prepared;

const HEARTBEAT_VERSION: i16 = 1;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// The epoch of who joins.
const JOINING: i32 = 0;
/// The epoch of who leaves.
const LEAVING: i32 = -1;

/// A member and what it owns.
pub struct Member {
    group: Rc<str>,
    topic: Topic,
    id: String,
    pub epoch: i32,
    topic_id: TopicId,
    pub owned: BTreeSet<i32>,
    /// The coordinator has not been told what is owned now.
    has_news: bool,
}

/// What an assignment changes.
#[derive(Default)]
pub struct Change {
    pub released: Vec<i32>,
    pub taken: Vec<i32>,
}

impl Member {
    /// One that has not joined yet.
    pub fn new(group: Rc<str>, topic: Topic, id: String) -> Self {
        let (epoch, topic_id) = (JOINING, TopicId::ZERO);
        Self { group, topic, id, epoch, topic_id, owned: BTreeSet::new(), has_news: true }
    }

    /// Whether it has not joined yet.
    pub fn is_new(&self) -> bool {
        self.epoch == JOINING
    }

    /// The next heartbeat.
    pub fn heartbeat(&mut self) -> Prepared {
        let is_joining = self.is_new();
        let owned = std::mem::take(&mut self.has_news).then(|| self.owned_by_topic());
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &self.group,
            member_id: &self.id,
            member_epoch: self.epoch,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: if is_joining { REBALANCE_TIMEOUT_MS } else { -1 },
            subscribed_topic_names: is_joining.then(|| vec![&*self.topic.name]),
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: owned,
        };
        Prepared::of(HEARTBEAT_VERSION, &request)
    }

    fn owned_by_topic(&self) -> Vec<TopicPartitions> {
        if self.owned.is_empty() {
            return Vec::new();
        }
        let partitions = self.owned.iter().copied().map(PartitionIndex).collect();
        vec![TopicPartitions { topic_id: self.topic_id, partitions }]
    }

    /// The heartbeat that leaves; all is let go of.
    pub fn leave(&mut self) -> Prepared {
        self.epoch = LEAVING;
        self.owned.clear();
        self.heartbeat()
    }

    /// Takes the answer to a heartbeat; what it changes.
    pub fn take(&mut self, answer: &Answer) -> Change {
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
        if let Err(error) = response.error_code.into_result() {
            panic!("{}: heartbeat: {error} {:?}", self.group, response.error_message);
        }
        assert!(response.member_epoch >= self.epoch, "epochs go up");
        self.epoch = response.member_epoch;
        let Some(assignment) = response.assignment else { return Change::default() };
        assert!(assignment.topic_partitions.len() <= 1, "one topic is subscribed to");
        let mut target = BTreeSet::new();
        for topic in &assignment.topic_partitions {
            self.topic_id = topic.topic_id;
            target.extend(topic.partitions.iter().map(|partition| partition.0));
        }
        let change = Change {
            released: self.owned.difference(&target).copied().collect(),
            taken: target.difference(&self.owned).copied().collect(),
        };
        self.owned = target;
        self.has_news = true;
        change
    }
}

/// Holds that a member was let go.
pub fn check_leave(answer: &Answer) {
    let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
    response.error_code.into_result().expect("the member leaves");
    assert_eq!(response.member_epoch, LEAVING, "it is told that it has left");
}

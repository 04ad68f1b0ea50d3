//! DescribeTopicPartitions (key 75): topics and their partitions, page by page.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

/// Asks for a page of partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeTopicPartitions)]
pub struct DescribeTopicPartitionsRequest<'a> {
    /// The topics asked for.
    pub topics: Vec<TopicRequest<'a>>,
    /// The most partitions to answer with.
    #[wire(default = 2000)]
    pub response_partition_limit: i32,
    /// Where to go on; null to begin.
    pub cursor: Option<Cursor<'a>>,
}

/// A topic asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicRequest<'a> {
    /// The topic.
    pub name: &'a str,
}

/// A place in the list of all partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Cursor<'a> {
    /// The topic.
    pub topic_name: &'a str,
    /// The partition.
    pub partition_index: PartitionIndex,
}

/// A page of partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeTopicPartitions)]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics described.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where to go on; null at the end.
    pub next_cursor: Option<Cursor<'a>>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The topic.
    pub name: Option<&'a str>,
    /// The topic's id.
    pub topic_id: TopicId,
    /// Whether the broker keeps this topic for itself.
    pub is_internal: bool,
    /// What is asked or told, by partition.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// What the client may do to the topic, as bits; `i32::MIN` where not asked.
    #[wire(default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// A partition and its replicas.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The partition's leader; -1 for none.
    pub leader_id: BrokerId,
    /// The leader's epoch.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub leader_epoch: LeaderEpoch,
    /// All replicas.
    pub replica_nodes: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr_nodes: Vec<BrokerId>,
    /// Replicas outside of the ISR that may lead without loss.
    pub eligible_leader_replicas: Option<Vec<BrokerId>>,
    /// The last in-sync replicas known.
    pub last_known_elr: Option<Vec<BrokerId>>,
    /// The replicas that are offline.
    pub offline_replicas: Vec<BrokerId>,
}

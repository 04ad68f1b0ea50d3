//! OffsetFetch (key 9): read a group's offsets.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Asks for committed offsets.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = OffsetFetch)]
pub struct OffsetFetchRequest<'a> {
    /// The group.
    #[wire(versions = "0-7")]
    pub group_id: &'a str,
    /// The partitions asked for; null for all.
    #[wire(versions = "0-7", nullable = "2-7")]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
    /// What is asked or told, by group.
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup<'a>>,
    /// Whether to refuse while a transaction holds an offset open.
    #[wire(versions = "7+")]
    pub require_stable: bool,
}

/// Partitions asked for (up to version 7).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<PartitionIndex>,
}

/// A group asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestGroup<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member.
    #[wire(versions = "9+", ignorable)]
    pub member_id: Option<&'a str>,
    /// The member's epoch.
    #[wire(versions = "9+", default = -1, ignorable)]
    pub member_epoch: i32,
    /// The partitions asked for; null for all.
    pub topics: Option<Vec<OffsetFetchRequestTopics<'a>>>,
}

/// Partitions asked for (from version 8).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestTopics<'a> {
    /// The topic.
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// The partitions.
    pub partition_indexes: Vec<PartitionIndex>,
}

/// Committed offsets.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = OffsetFetch)]
pub struct OffsetFetchResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    #[wire(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// The outcome.
    #[wire(versions = "2-7", ignorable)]
    pub error_code: ErrorCode,
    /// What is asked or told, by group.
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup<'a>>,
}

/// Offsets in a topic (up to version 7).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

/// A group's offsets.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseGroup<'a> {
    /// The group.
    pub group_id: &'a str,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetFetchResponseTopics<'a>>,
    /// The outcome.
    pub error_code: ErrorCode,
}

/// A committed offset (up to version 7).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponsePartition<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The offset committed; -1 for none.
    pub committed_offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    #[wire(versions = "5+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub committed_leader_epoch: LeaderEpoch,
    /// What the client remembered with it.
    pub metadata: Option<&'a str>,
    /// The outcome.
    pub error_code: ErrorCode,
}

/// Offsets in a topic (from version 8).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseTopics<'a> {
    /// The topic.
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetFetchResponsePartitions<'a>>,
}

/// A committed offset (from version 8).
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponsePartitions<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The offset committed; -1 for none.
    pub committed_offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub committed_leader_epoch: LeaderEpoch,
    /// What the client remembered with it.
    pub metadata: Option<&'a str>,
    /// The outcome.
    pub error_code: ErrorCode,
}

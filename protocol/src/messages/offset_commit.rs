//! OffsetCommit (key 8): commit a group's offsets.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Commits offsets.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = OffsetCommit)]
pub struct OffsetCommitRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The group's generation (classic) or the member's epoch; -1 outside of a group.
    #[wire(default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "7+")]
    pub group_instance_id: Option<&'a str>,
    /// How long to keep the offsets, in milliseconds; -1 for the broker's choice.
    #[wire(versions = "0-4", default = -1, ignorable)]
    pub retention_time_ms: i64,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

/// Offsets to commit in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitRequestTopic<'a> {
    /// The topic.
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitRequestPartition<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The offset committed; -1 for none.
    pub committed_offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    #[wire(versions = "6+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub committed_leader_epoch: LeaderEpoch,
    /// What the client wants to remember with it.
    pub committed_metadata: Option<&'a str>,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = OffsetCommit)]
pub struct OffsetCommitResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitResponseTopic<'a> {
    /// The topic.
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitResponsePartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
}

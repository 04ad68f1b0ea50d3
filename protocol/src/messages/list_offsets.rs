//! ListOffsets (key 2): offsets by time.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp};

/// Asks for the first offset at or after a time.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ListOffsets)]
pub struct ListOffsetsRequest<'a> {
    /// The follower that asks; -1 for a consumer.
    pub replica_id: BrokerId,
    /// 0 reads everything, 1 reads what is committed by its transaction.
    #[wire(versions = "2+")]
    pub isolation_level: i8,
    /// What is asked or told, by topic.
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    #[wire(versions = "10+", ignorable)]
    pub timeout_ms: i32,
}

/// What to look for in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// What to look for in a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsPartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The leader's epoch as the client knows it; -1 asks for no check.
    #[wire(versions = "4+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub current_leader_epoch: LeaderEpoch,
    /// The time to look for, or a negative number with a meaning: -1 latest, -2 earliest, -3 maximum timestamp.
    pub timestamp: Timestamp,
}

/// The offsets found.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ListOffsets)]
pub struct ListOffsetsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
}

/// What was found in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsTopicResponse<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// What was found in a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The record's timestamp.
    #[wire(default = Timestamp(-1))]
    pub timestamp: Timestamp,
    /// The offset found; -1 for none.
    #[wire(default = Offset(-1))]
    pub offset: Offset,
    /// The leader's epoch.
    #[wire(versions = "4+", default = LeaderEpoch::UNKNOWN)]
    pub leader_epoch: LeaderEpoch,
}

//! OffsetForLeaderEpoch (key 23): where an epoch ends (KIP-101, KIP-320).

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex};

/// Asks where epochs end.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = OffsetForLeaderEpoch)]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The follower that asks; -1 for a consumer, -2 for a tool.
    #[wire(versions = "3+", default = BrokerId(-2), ignorable)]
    pub replica_id: BrokerId,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
}

/// What to look for in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// The epoch to look for in a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader's epoch as the client knows it; -1 asks for no check.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub current_leader_epoch: LeaderEpoch,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Where epochs end.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = OffsetForLeaderEpoch)]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
}

/// What was found in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderTopicResult<'a> {
    /// The topic.
    pub topic: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<EpochEndOffset>,
}

/// The epoch found in a partition and where it ends.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct EpochEndOffset {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader's epoch.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub leader_epoch: LeaderEpoch,
    /// Where it ends.
    #[wire(default = Offset(-1))]
    pub end_offset: Offset,
}

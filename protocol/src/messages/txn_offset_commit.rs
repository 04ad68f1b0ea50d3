//! TxnOffsetCommit (key 28): commit a group's offsets in a transaction.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};

/// Commits offsets in a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = TxnOffsetCommit)]
pub struct TxnOffsetCommitRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The group.
    pub group_id: &'a str,
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// The group's generation (classic) or the member's epoch; -1 outside of a group.
    #[wire(versions = "3+", default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member.
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "3+")]
    pub group_instance_id: Option<&'a str>,
    /// What is asked or told, by topic.
    pub topics: Vec<TxnOffsetCommitRequestTopic<'a>>,
}

/// Offsets to commit in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitRequestTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<TxnOffsetCommitRequestPartition<'a>>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitRequestPartition<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The offset committed; -1 for none.
    pub committed_offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    #[wire(versions = "2+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub committed_leader_epoch: LeaderEpoch,
    /// What the client wants to remember with it.
    pub committed_metadata: Option<&'a str>,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = TxnOffsetCommit)]
pub struct TxnOffsetCommitResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<TxnOffsetCommitResponseTopic<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitResponseTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<TxnOffsetCommitResponsePartition>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitResponsePartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
}

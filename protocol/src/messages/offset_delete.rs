//! OffsetDelete (key 47): delete a group's offsets.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::PartitionIndex;

/// Deletes offsets.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = OffsetDelete)]
pub struct OffsetDeleteRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetDeleteRequestTopic<'a>>,
}

/// Offsets to delete in a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteRequestTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

/// An offset to delete.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteRequestPartition {
    /// The partition.
    pub partition_index: PartitionIndex,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = OffsetDelete)]
pub struct OffsetDeleteResponse<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<OffsetDeleteResponseTopic<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteResponseTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteResponsePartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
}

//! DeleteRecords (key 21): advance the start of logs.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{Offset, PartitionIndex};

/// Deletes the records below an offset.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DeleteRecords)]
pub struct DeleteRecordsRequest<'a> {
    /// What is asked or told, by topic.
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
}

/// What to delete from a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// What to delete from a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsPartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The first offset to keep; -1 deletes all that is committed.
    pub offset: Offset,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DeleteRecords)]
pub struct DeleteRecordsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsPartitionResult {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The partition's first offset afterwards.
    pub low_watermark: Offset,
    /// The outcome.
    pub error_code: ErrorCode,
}

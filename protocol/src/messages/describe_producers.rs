//! DescribeProducers (key 61): the producers known to partitions.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{Offset, PartitionIndex, ProducerId, Sequence, Timestamp};

/// Asks for the producers of partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeProducers)]
pub struct DescribeProducersRequest<'a> {
    /// What is asked or told, by topic.
    pub topics: Vec<TopicRequest<'a>>,
}

/// A topic asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicRequest<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<PartitionIndex>,
}

/// The producers of partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeProducers)]
pub struct DescribeProducersResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by topic.
    pub topics: Vec<TopicResponse<'a>>,
}

/// A topic's partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicResponse<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<PartitionResponse<'a>>,
}

/// A partition's producers.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionResponse<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// The producers known to the partition.
    pub active_producers: Vec<ProducerState>,
}

/// A producer known to a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ProducerState {
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: i32,
    /// The last sequence appended; -1 for none.
    #[wire(default = Sequence(-1))]
    pub last_sequence: Sequence,
    /// When that was; -1 for never.
    #[wire(default = Timestamp(-1))]
    pub last_timestamp: Timestamp,
    /// The coordinator's epoch.
    pub coordinator_epoch: i32,
    /// Where the open transaction begins; -1 for none.
    #[wire(default = Offset(-1))]
    pub current_txn_start_offset: Offset,
}

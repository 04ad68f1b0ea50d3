//! CreatePartitions (key 37): add partitions to topics.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::BrokerId;

/// Adds partitions to topics.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = CreatePartitions)]
pub struct CreatePartitionsRequest<'a> {
    /// The topics that are to grow.
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
    /// Whether to check only, and do nothing.
    pub validate_only: bool,
}

/// A topic that is to grow.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// How many partitions there are to be in all.
    pub count: i32,
    /// Which brokers get the new partitions; null lets the broker choose.
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// The brokers of one new partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsAssignment {
    /// The brokers, leader first.
    pub broker_ids: Vec<BrokerId>,
}

/// The outcome for each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = CreatePartitions)]
pub struct CreatePartitionsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome, item by item.
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
}

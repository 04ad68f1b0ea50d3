//! CreateTopics (key 19): create topics.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, PartitionIndex, TopicId};

/// Creates topics.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = CreateTopics)]
pub struct CreateTopicsRequest<'a> {
    /// The topics to create.
    pub topics: Vec<CreatableTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    #[wire(default = 60000)]
    pub timeout_ms: i32,
    /// Whether to check only, and do nothing.
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// How many partitions; -1 for the broker's default.
    pub num_partitions: i32,
    /// How many replicas; -1 for the broker's default.
    pub replication_factor: i16,
    /// Which brokers get which partitions; empty lets the broker choose.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// The topic's configuration.
    pub configs: Vec<CreatableTopicConfig<'a>>,
}

/// The brokers of one new partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableReplicaAssignment {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The brokers, leader first.
    pub broker_ids: Vec<BrokerId>,
}

/// A configuration value to set.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicConfig<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: Option<&'a str>,
}

/// The outcome for each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = CreateTopics)]
pub struct CreateTopicsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome for each topic.
    pub topics: Vec<CreatableTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "7+", ignorable)]
    pub topic_id: TopicId,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// Why the configuration is not told, if it isn't.
    #[wire(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: ErrorCode,
    /// How many partitions there are; -1 where unknown.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub num_partitions: i32,
    /// How many replicas each has; -1 where unknown.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub replication_factor: i16,
    /// The topic's configuration.
    #[wire(versions = "5+", ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
}

/// A configuration value in force.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicConfigs<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: Option<&'a str>,
    /// Whether it can't be changed while running.
    pub read_only: bool,
    /// Where the value comes from.
    #[wire(default = -1)]
    pub config_source: i8,
    /// Whether the value is a secret and therefore null.
    pub is_sensitive: bool,
}

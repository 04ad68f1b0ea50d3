//! ConsumerGroupHeartbeat (key 68): join, stay in and leave a consumer group (KIP-848).

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{PartitionIndex, TopicId};

/// Tells what a member wants and has.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ConsumerGroupHeartbeat)]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member.
    pub member_id: &'a str,
    /// The member's epoch.
    pub member_epoch: i32,
    /// The static member's own name; null for a dynamic member.
    pub instance_id: Option<&'a str>,
    /// The member's rack; null for no change.
    pub rack_id: Option<&'a str>,
    /// How long the member may take to rejoin, in milliseconds; -1 where not told.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The topics subscribed to; null for no change.
    pub subscribed_topic_names: Option<Vec<&'a str>>,
    /// The pattern subscribed to; null for no change.
    #[wire(versions = "1+")]
    pub subscribed_topic_regex: Option<&'a str>,
    /// The assignor to use; null for no change.
    pub server_assignor: Option<&'a str>,
    /// The partitions that the member owns; null for no change.
    pub topic_partitions: Option<Vec<TopicPartitions>>,
}

/// A topic's partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicPartitions {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Tells what a member is to own.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ConsumerGroupHeartbeat)]
pub struct ConsumerGroupHeartbeatResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// The member.
    pub member_id: Option<&'a str>,
    /// The member's epoch.
    pub member_epoch: i32,
    /// How often to send a heartbeat, in milliseconds.
    pub heartbeat_interval_ms: i32,
    /// What the member is to own; null for no change.
    pub assignment: Option<Assignment>,
}

/// What a member owns.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Assignment {
    /// The partitions by topic.
    pub topic_partitions: Vec<TopicPartitions>,
}

//! The values of consumer groups (KIP-848).

use protocol_derive::Message;

use super::Value;
use crate::types::{PartitionIndex, Timestamp, TopicId};

macro_rules! value {
    ($($name:ident $(<$lifetime:lifetime>)?),* $(,)?) => {$(
        impl<'a> Value<'a> for $name $(<$lifetime>)? {
            const VERSION_MAX: i16 = 0;
            const FLEXIBLE_FROM: i16 = 0;
        }
    )*};
}

value! {
    ConsumerGroupMetadataValue,
    ConsumerGroupMemberMetadataValue<'a>,
    ConsumerGroupTargetAssignmentMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupRegularExpressionValue<'a>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupMetadataValue {
    /// The group's epoch.
    pub epoch: i32,
    /// A hash of the topics subscribed to, by which a change of them is noticed.
    #[wire(tag = 0)]
    pub metadata_hash: i64,
}

/// What a member wants.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupMemberMetadataValue<'a> {
    /// The static member's own name; null for a dynamic member.
    pub instance_id: Option<&'a str>,
    /// The member's rack.
    pub rack_id: Option<&'a str>,
    /// The client's id.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// The topics subscribed to.
    pub subscribed_topic_names: Vec<&'a str>,
    /// The pattern subscribed to.
    pub subscribed_topic_regex: Option<&'a str>,
    /// How long the member may take to give partitions back, in milliseconds.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The assignor that the member wants.
    pub server_assignor: Option<&'a str>,
    /// What a member that speaks the classic protocol said when it joined; null for the others.
    #[wire(tag = 0, marked)]
    pub classic_member_metadata: Option<ClassicMemberMetadata<'a>>,
}

/// A member that speaks the classic protocol in a consumer group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ClassicMemberMetadata<'a> {
    /// After how long without a heartbeat the member is out, in milliseconds.
    pub session_timeout_ms: i32,
    /// The assignors that the member supports.
    pub supported_protocols: Vec<ClassicProtocol<'a>>,
}

/// An assignor that a member supports.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ClassicProtocol<'a> {
    /// The assignor.
    pub name: &'a str,
    /// The member's subscription.
    pub metadata: &'a [u8],
}

/// The target assignment of a group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    /// The group's epoch for which it was computed.
    pub assignment_epoch: i32,
    /// When it was computed; 0 where unknown.
    #[wire(tag = 0)]
    pub assignment_timestamp: Timestamp,
}

/// What a member is to own in the end.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    /// The partitions by topic.
    pub topic_partitions: Vec<TargetTopicPartitions>,
}

/// A topic's partitions in a target assignment.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TargetTopicPartitions {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// What a member owns.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    /// The member's epoch.
    pub member_epoch: i32,
    /// Its epoch before that.
    pub previous_member_epoch: i32,
    /// 0 stable, 1 unrevoked partitions, 2 unreleased partitions, 127 unknown.
    pub state: i8,
    /// What it owns.
    pub assigned_partitions: Vec<CurrentTopicPartitions>,
    /// What it is asked to give back.
    pub partitions_pending_revocation: Vec<CurrentTopicPartitions>,
}

/// A topic's partitions in a current assignment.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct CurrentTopicPartitions {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
    /// The member's epoch in which each partition was assigned, if told.
    #[wire(tag = 0)]
    pub assignment_epochs: Option<Vec<i32>>,
}

/// The topics that match a regular expression.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupRegularExpressionValue<'a> {
    /// The topics.
    pub topics: Vec<&'a str>,
    /// The version of the metadata for which they were looked up.
    pub version: i64,
    /// When they were looked up.
    pub timestamp: Timestamp,
}

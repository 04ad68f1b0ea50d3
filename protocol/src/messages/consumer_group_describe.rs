//! ConsumerGroupDescribe (key 69): describe consumer groups (KIP-848).

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{PartitionIndex, TopicId};

/// Asks for groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ConsumerGroupDescribe)]
pub struct ConsumerGroupDescribeRequest<'a> {
    /// The groups asked for.
    pub group_ids: Vec<&'a str>,
    /// Whether to tell what the client may do to each group.
    pub include_authorized_operations: bool,
}

/// Groups and their members.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ConsumerGroupDescribe)]
pub struct ConsumerGroupDescribeResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What is asked or told, by group.
    pub groups: Vec<DescribedGroup<'a>>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedGroup<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// The group.
    pub group_id: &'a str,
    /// The group's state.
    pub group_state: &'a str,
    /// The group's epoch.
    pub group_epoch: i32,
    /// The epoch of the assignment.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor_name: &'a str,
    /// The members.
    pub members: Vec<Member<'a>>,
    /// What the client may do to the group, as bits; `i32::MIN` where not asked.
    #[wire(default = i32::MIN)]
    pub authorized_operations: i32,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Member<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    pub instance_id: Option<&'a str>,
    /// The member's rack, if it has one.
    pub rack_id: Option<&'a str>,
    /// The member's epoch.
    pub member_epoch: i32,
    /// The client's id.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// The topics subscribed to.
    pub subscribed_topic_names: Vec<&'a str>,
    /// The pattern subscribed to, if there is one.
    pub subscribed_topic_regex: Option<&'a str>,
    /// The member's assignment.
    pub assignment: Assignment<'a>,
    /// What the member is to own in the end.
    pub target_assignment: Assignment<'a>,
    /// 0 classic, 1 consumer, -1 unknown.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub member_type: i8,
}

/// A topic's partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicPartitions<'a> {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The topic.
    pub topic_name: &'a str,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// What a member owns.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Assignment<'a> {
    /// The partitions by topic.
    pub topic_partitions: Vec<TopicPartitions<'a>>,
}

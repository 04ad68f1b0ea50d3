//! DescribeGroups (key 15): describe classic groups.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Asks for groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeGroups)]
pub struct DescribeGroupsRequest<'a> {
    /// The groups asked for.
    pub groups: Vec<&'a str>,
    /// Whether to tell what the client may do to each group.
    #[wire(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// Groups and their members.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeGroups)]
pub struct DescribeGroupsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
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
    #[wire(versions = "6+")]
    pub error_message: Option<&'a str>,
    /// The group.
    pub group_id: &'a str,
    /// The group's state.
    pub group_state: &'a str,
    /// What the group does: `consumer`, `connect`, ...
    pub protocol_type: &'a str,
    /// The assignor in use.
    pub protocol_data: &'a str,
    /// The members.
    pub members: Vec<DescribedGroupMember<'a>>,
    /// What the client may do to the group, as bits; `i32::MIN` where not asked.
    #[wire(versions = "3+", default = i32::MIN)]
    pub authorized_operations: i32,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedGroupMember<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "4+", ignorable)]
    pub group_instance_id: Option<&'a str>,
    /// The client's id.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// The member's subscription.
    pub member_metadata: &'a [u8],
    /// The member's assignment.
    pub member_assignment: &'a [u8],
}

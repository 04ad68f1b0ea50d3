//! SyncGroup (key 14): hand out assignments in a classic group.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Gives and asks for assignments.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = SyncGroup)]
pub struct SyncGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The group's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "3+")]
    pub group_instance_id: Option<&'a str>,
    /// What the group does: `consumer`, `connect`, ...
    #[wire(versions = "5+", ignorable)]
    pub protocol_type: Option<&'a str>,
    /// The assignor chosen.
    #[wire(versions = "5+", ignorable)]
    pub protocol_name: Option<&'a str>,
    /// What the leader assigns; empty from the other members.
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// What a member is to own.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct SyncGroupRequestAssignment<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The member's assignment.
    pub assignment: &'a [u8],
}

/// The member's assignment.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = SyncGroup)]
pub struct SyncGroupResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What the group does: `consumer`, `connect`, ...
    #[wire(versions = "5+", ignorable)]
    pub protocol_type: Option<&'a str>,
    /// The assignor chosen.
    #[wire(versions = "5+", ignorable)]
    pub protocol_name: Option<&'a str>,
    /// The member's assignment.
    pub assignment: &'a [u8],
}

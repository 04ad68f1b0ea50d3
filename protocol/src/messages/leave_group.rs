//! LeaveGroup (key 13): leave a classic group.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Leaves a group.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = LeaveGroup)]
pub struct LeaveGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member.
    #[wire(versions = "0-2")]
    pub member_id: &'a str,
    /// The members.
    #[wire(versions = "3+")]
    pub members: Vec<MemberIdentity<'a>>,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberIdentity<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    pub group_instance_id: Option<&'a str>,
    /// Why, for people.
    #[wire(versions = "5+", ignorable)]
    pub reason: Option<&'a str>,
}

/// The outcome for each member.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = LeaveGroup)]
pub struct LeaveGroupResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The members.
    #[wire(versions = "3+")]
    pub members: Vec<MemberResponse<'a>>,
}

/// The outcome for a member.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberResponse<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    pub group_instance_id: Option<&'a str>,
    /// The outcome.
    pub error_code: ErrorCode,
}

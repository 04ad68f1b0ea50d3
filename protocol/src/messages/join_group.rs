//! JoinGroup (key 11): join a classic group.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Joins a group.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = JoinGroup)]
pub struct JoinGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// After how long without a heartbeat the member is out, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long the member may take to rejoin, in milliseconds; -1 where not told.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub rebalance_timeout_ms: i32,
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "5+")]
    pub group_instance_id: Option<&'a str>,
    /// What the group does: `consumer`, `connect`, ...
    pub protocol_type: &'a str,
    /// The assignors that the member supports, best first.
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    /// Why, for people.
    #[wire(versions = "8+", ignorable)]
    pub reason: Option<&'a str>,
}

/// An assignor that a member supports.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct JoinGroupRequestProtocol<'a> {
    /// The assignor.
    pub name: &'a str,
    /// The member's subscription, in the protocol's own format.
    pub metadata: &'a [u8],
}

/// The group joined.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = JoinGroup)]
pub struct JoinGroupResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The group's generation.
    #[wire(default = -1)]
    pub generation_id: i32,
    /// What the group does: `consumer`, `connect`, ...
    #[wire(versions = "7+", ignorable)]
    pub protocol_type: Option<&'a str>,
    /// The assignor chosen.
    #[wire(nullable = "7+")]
    pub protocol_name: Option<&'a str>,
    /// The member that assigns.
    pub leader: &'a str,
    /// Whether the leader is to leave the assignment as it is.
    #[wire(versions = "9+")]
    pub skip_assignment: bool,
    /// The member.
    pub member_id: &'a str,
    /// The members.
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// A member, as told to the leader.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct JoinGroupResponseMember<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "5+", ignorable)]
    pub group_instance_id: Option<&'a str>,
    /// The member's subscription, in the protocol's own format.
    pub metadata: &'a [u8],
}

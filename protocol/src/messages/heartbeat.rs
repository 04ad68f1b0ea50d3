//! Heartbeat (key 12): stay in a classic group.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Keeps a member alive.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = Heartbeat)]
pub struct HeartbeatRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The group's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "3+")]
    pub group_instance_id: Option<&'a str>,
}

/// Whether the member is still in.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = Heartbeat)]
pub struct HeartbeatResponse {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
}

//! ListGroups (key 16): list groups.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Asks which groups there are.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ListGroups)]
pub struct ListGroupsRequest<'a> {
    /// The states asked for; empty for all.
    #[wire(versions = "4+")]
    pub states_filter: Vec<&'a str>,
    /// The group types asked for; empty for all.
    #[wire(versions = "5+")]
    pub types_filter: Vec<&'a str>,
}

/// The groups that this broker coordinates.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ListGroups)]
pub struct ListGroupsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What is asked or told, by group.
    pub groups: Vec<ListedGroup<'a>>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListedGroup<'a> {
    /// The group.
    pub group_id: &'a str,
    /// What the group does: `consumer`, `connect`, ...
    pub protocol_type: &'a str,
    /// The group's state.
    #[wire(versions = "4+", ignorable)]
    pub group_state: &'a str,
    /// The group's type.
    #[wire(versions = "5+", ignorable)]
    pub group_type: &'a str,
}

//! DeleteGroups (key 42): delete groups.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Deletes groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DeleteGroups)]
pub struct DeleteGroupsRequest<'a> {
    /// The groups to delete.
    pub groups_names: Vec<&'a str>,
}

/// The outcome for each group.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DeleteGroups)]
pub struct DeleteGroupsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome, item by item.
    pub results: Vec<DeletableGroupResult<'a>>,
}

/// The outcome for a group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeletableGroupResult<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The outcome.
    pub error_code: ErrorCode,
}

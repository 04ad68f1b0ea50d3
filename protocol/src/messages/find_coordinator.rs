//! FindCoordinator (key 10): which broker coordinates a group or transaction.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::BrokerId;

/// Asks for coordinators.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = FindCoordinator)]
pub struct FindCoordinatorRequest<'a> {
    /// The group, transactional id or share key.
    #[wire(versions = "0-3")]
    pub key: &'a str,
    /// What the key is: 0 a group, 1 a transactional id, 2 a share key.
    #[wire(versions = "1+")]
    pub key_type: i8,
    /// The keys to find coordinators for.
    #[wire(versions = "4+")]
    pub coordinator_keys: Vec<&'a str>,
}

/// The coordinators.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = FindCoordinator)]
pub struct FindCoordinatorResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The outcome.
    #[wire(versions = "0-3")]
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    #[wire(versions = "1-3", ignorable)]
    pub error_message: Option<&'a str>,
    /// The coordinator.
    #[wire(versions = "0-3")]
    pub node_id: BrokerId,
    /// The host to connect to.
    #[wire(versions = "0-3")]
    pub host: &'a str,
    /// The port to connect to.
    #[wire(versions = "0-3")]
    pub port: i32,
    /// The coordinator of each key.
    #[wire(versions = "4+")]
    pub coordinators: Vec<Coordinator<'a>>,
}

/// The coordinator of a key.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Coordinator<'a> {
    /// The group, transactional id or share key.
    pub key: &'a str,
    /// The coordinator.
    pub node_id: BrokerId,
    /// The host to connect to.
    pub host: &'a str,
    /// The port to connect to.
    pub port: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
}

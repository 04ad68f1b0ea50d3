//! AlterConfigs (key 33): replace configurations as a whole.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Replaces configurations as a whole.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = AlterConfigs)]
pub struct AlterConfigsRequest<'a> {
    /// What is to be read or changed.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether to check only, and do nothing.
    pub validate_only: bool,
}

/// A resource to change.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterConfigsResource<'a> {
    /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: &'a str,
    /// What to set.
    pub configs: Vec<AlterableConfig<'a>>,
}

/// A configuration value to change.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterableConfig<'a> {
    /// The key.
    pub name: &'a str,
    /// The value; null for the default.
    pub value: Option<&'a str>,
}

/// The outcome for each resource.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = AlterConfigs)]
pub struct AlterConfigsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome, item by item.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}

/// The outcome for a resource.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: &'a str,
}

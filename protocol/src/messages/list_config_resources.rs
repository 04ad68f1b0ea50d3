//! ListConfigResources (key 74): list what carries a configuration.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Asks what carries a configuration.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ListConfigResources)]
pub struct ListConfigResourcesRequest {
    /// The kinds asked for; empty for all.
    #[wire(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// What carries a configuration.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ListConfigResources)]
pub struct ListConfigResourcesResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The resources that carry a configuration.
    pub config_resources: Vec<ConfigResource<'a>>,
}

/// A resource that carries a configuration.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConfigResource<'a> {
    /// Its name.
    pub resource_name: &'a str,
    /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    #[wire(versions = "1+", default = 16, ignorable)]
    pub resource_type: i8,
}

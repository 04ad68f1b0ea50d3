//! DescribeConfigs (key 32): read configurations.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Asks for configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeConfigs)]
pub struct DescribeConfigsRequest<'a> {
    /// What is to be read or changed.
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Whether to tell where else the value could come from.
    pub include_synonyms: bool,
    /// Whether to tell what each key means.
    #[wire(versions = "3+")]
    pub include_documentation: bool,
}

/// A resource asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResource<'a> {
    /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: &'a str,
    /// The keys asked for; null for all.
    pub configuration_keys: Option<Vec<&'a str>>,
}

/// Configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeConfigs)]
pub struct DescribeConfigsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome, item by item.
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// A resource's configuration.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResult<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: &'a str,
    /// The configuration.
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
}

/// A configuration value.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResourceResult<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: Option<&'a str>,
    /// Whether it can't be changed while running.
    pub read_only: bool,
    /// Where the value comes from.
    #[wire(default = -1)]
    pub config_source: i8,
    /// Whether the value is a secret and therefore null.
    pub is_sensitive: bool,
    /// Where the value could come from, first come first used.
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// The value's type.
    #[wire(versions = "3+", ignorable)]
    pub config_type: i8,
    /// What the key means.
    #[wire(versions = "3+", ignorable)]
    pub documentation: Option<&'a str>,
}

/// A place that the value could come from.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsSynonym<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: Option<&'a str>,
    /// Where the value comes from.
    pub source: i8,
}

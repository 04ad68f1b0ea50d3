//! ApiVersions (key 18): which APIs and versions the broker offers; every client's first request.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::BrokerId;

/// Asks what the broker offers.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ApiVersions)]
pub struct ApiVersionsRequest<'a> {
    /// The client library's name.
    #[wire(versions = "3+", ignorable)]
    pub client_software_name: &'a str,
    /// The client library's version.
    #[wire(versions = "3+", ignorable)]
    pub client_software_version: &'a str,
    /// The cluster that the client believes to be connected to; null where it doesn't know one.
    #[wire(versions = "5+", ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The broker that it believes to be connected to; -1 where it doesn't know one.
    #[wire(versions = "5+", default = BrokerId(-1), ignorable)]
    pub node_id: BrokerId,
}

/// What the broker offers.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ApiVersions)]
pub struct ApiVersionsResponse<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The APIs on offer.
    pub api_keys: Vec<ApiVersion>,
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The feature levels that the broker could run at.
    #[wire(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// Counts changes of the finalized features; -1 where unknown.
    #[wire(versions = "3+", tag = 1, default = -1, ignorable)]
    pub finalized_features_epoch: i64,
    /// The feature levels in force across the cluster.
    #[wire(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// Whether a migration from ZooKeeper may begin; never here.
    #[wire(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
    /// Not Kafka's: the highest version of native batches that the broker takes; 0 for none.
    #[wire(versions = "3+", tag = 18767, ignorable)]
    pub native_version: i8,
}

/// An API and the versions on offer.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ApiVersion {
    /// The API's key.
    pub api_key: i16,
    /// The lowest version supported.
    pub min_version: i16,
    /// The highest version supported.
    pub max_version: i16,
}

/// A feature and the levels that the broker could run at.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct SupportedFeatureKey<'a> {
    /// The feature.
    pub name: &'a str,
    /// The lowest version supported.
    pub min_version: i16,
    /// The highest version supported.
    pub max_version: i16,
}

/// A feature and the levels in force.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct FinalizedFeatureKey<'a> {
    /// The feature.
    pub name: &'a str,
    /// The highest level in force.
    pub max_version_level: i16,
    /// The lowest level in force.
    pub min_version_level: i16,
}

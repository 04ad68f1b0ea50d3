//! DescribeCluster (key 60): the cluster and its brokers.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::BrokerId;

/// Asks for the cluster's brokers.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeCluster)]
pub struct DescribeClusterRequest {
    /// Whether to tell what the client may do to the cluster.
    pub include_cluster_authorized_operations: bool,
    /// Whose addresses: 1 brokers, 2 controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// Whether to list brokers that are fenced.
    #[wire(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The cluster's brokers.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeCluster)]
pub struct DescribeClusterResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// Whose addresses: 1 brokers, 2 controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// The id of the cluster that answers.
    pub cluster_id: &'a str,
    /// The broker that acts as controller; -1 where unknown.
    #[wire(default = BrokerId(-1))]
    pub controller_id: BrokerId,
    /// The brokers of the cluster.
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// What the client may do to the cluster, as bits; `i32::MIN` where not asked.
    #[wire(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
}

/// A broker and its address.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeClusterBroker<'a> {
    /// The broker's id.
    pub broker_id: BrokerId,
    /// The host to connect to.
    pub host: &'a str,
    /// The port to connect to.
    pub port: i32,
    /// The broker's rack, if it has one.
    pub rack: Option<&'a str>,
    /// Whether the broker is fenced.
    #[wire(versions = "2+")]
    pub is_fenced: bool,
}

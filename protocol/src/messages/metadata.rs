//! Metadata (key 3): brokers, topics, partitions and who leads them.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

/// Asks for brokers and topics.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = Metadata)]
pub struct MetadataRequest<'a> {
    /// The topics asked for: null for all, empty for none (version 0: empty for all).
    #[wire(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether a missing topic may be created, if the broker allows that too.
    #[wire(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    /// Whether to tell what the client may do to the cluster.
    #[wire(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    /// Whether to tell what the client may do to each topic.
    #[wire(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

/// A topic asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataRequestTopic<'a> {
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// The topic.
    #[wire(nullable = "10+")]
    pub name: Option<&'a str>,
}

/// Brokers and topics.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = Metadata)]
pub struct MetadataResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The brokers of the cluster.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The id of the cluster that answers.
    #[wire(versions = "2+", ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The broker that acts as controller; -1 where unknown.
    #[wire(versions = "1+", default = BrokerId(-1), ignorable)]
    pub controller_id: BrokerId,
    /// The topics asked for.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// What the client may do to the cluster, as bits; `i32::MIN` where not asked.
    #[wire(versions = "8-10", default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    /// The outcome.
    #[wire(versions = "13+", ignorable)]
    pub error_code: ErrorCode,
}

/// A broker and its address.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponseBroker<'a> {
    /// The broker's id.
    pub node_id: BrokerId,
    /// The host to connect to.
    pub host: &'a str,
    /// The port to connect to.
    pub port: i32,
    /// The broker's rack, if it has one.
    #[wire(versions = "1+", ignorable)]
    pub rack: Option<&'a str>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponseTopic<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The topic.
    #[wire(nullable = "12+")]
    pub name: Option<&'a str>,
    /// The topic's id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    /// Whether the broker keeps this topic for itself.
    #[wire(versions = "1+", ignorable)]
    pub is_internal: bool,
    /// The topic's partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do to the topic, as bits; `i32::MIN` where not asked.
    #[wire(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// A partition and its replicas.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponsePartition {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The partition's leader; -1 for none.
    pub leader_id: BrokerId,
    /// The leader's epoch.
    #[wire(versions = "7+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub leader_epoch: LeaderEpoch,
    /// All replicas.
    pub replica_nodes: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr_nodes: Vec<BrokerId>,
    /// The replicas that are offline.
    #[wire(versions = "5+", ignorable)]
    pub offline_replicas: Vec<BrokerId>,
}

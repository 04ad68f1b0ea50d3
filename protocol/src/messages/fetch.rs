//! Fetch (key 1): read batches; consumers and followers alike.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use crate::wire::Payload;

/// Asks for batches.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = Fetch)]
pub struct FetchRequest<'a> {
    /// The cluster that a follower believes to be in.
    #[wire(versions = "12+", tag = 0, ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The follower that asks; -1 for a consumer.
    #[wire(versions = "0-14", default = BrokerId(-1))]
    pub replica_id: BrokerId,
    /// The follower that asks.
    #[wire(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes to wait for.
    pub min_bytes: i32,
    /// The most bytes to answer with; a first batch larger than this comes whole.
    #[wire(default = i32::MAX)]
    pub max_bytes: i32,
    /// 0 reads everything, 1 reads what is committed by its transaction.
    pub isolation_level: i8,
    /// The fetch session; 0 for none.
    #[wire(versions = "7+", ignorable)]
    pub session_id: i32,
    /// Counts the fetches of the session; 0 opens one, -1 closes it or does without.
    #[wire(versions = "7+", default = -1, ignorable)]
    pub session_epoch: i32,
    /// What to fetch: everything, or what changed in the session.
    pub topics: Vec<FetchTopic<'a>>,
    /// What leaves the session.
    #[wire(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// The consumer's rack, to be served from nearby.
    #[wire(versions = "11+", ignorable)]
    pub rack_id: &'a str,
    /// Not Kafka's: the highest version of native batches that the client reads; 0 for none, which are transcoded then.
    #[wire(versions = "12+", tag = 18767, ignorable)]
    pub native_version: i8,
}

/// A follower and its incarnation.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReplicaState {
    /// The follower that asks; -1 for a consumer.
    #[wire(default = BrokerId(-1))]
    pub replica_id: BrokerId,
    /// The follower's incarnation; -1 where unknown.
    #[wire(default = -1)]
    pub replica_epoch: i64,
}

/// What to fetch from a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchTopic<'a> {
    /// The topic.
    #[wire(versions = "0-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    /// What is asked or told, by partition.
    pub partitions: Vec<FetchPartition>,
}

/// Partitions that leave the session.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct ForgottenTopic<'a> {
    /// The topic.
    #[wire(versions = "0-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// What to fetch from a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader's epoch as the client knows it; -1 asks for no check.
    #[wire(versions = "9+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub current_leader_epoch: LeaderEpoch,
    /// Where to read from.
    pub fetch_offset: Offset,
    /// The epoch of the last batch fetched; -1 where unknown.
    #[wire(versions = "12+", default = LeaderEpoch::UNKNOWN)]
    pub last_fetched_epoch: LeaderEpoch,
    /// A follower's first offset; -1 from a consumer.
    #[wire(versions = "5+", default = Offset(-1), ignorable)]
    pub log_start_offset: Offset,
    /// The most bytes from this partition.
    pub partition_max_bytes: i32,
    /// The directory that the follower keeps the partition in.
    #[wire(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: [u8; 16],
    /// The high watermark as the follower knows it; `i64::MAX` where it says nothing.
    #[wire(versions = "18+", tag = 1, default = Offset(i64::MAX), ignorable)]
    pub high_watermark: Offset,
}

/// Batches.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = Fetch)]
pub struct FetchResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    #[wire(versions = "7+", ignorable)]
    pub error_code: ErrorCode,
    /// The fetch session; 0 for none.
    #[wire(versions = "7+")]
    pub session_id: i32,
    /// What was fetched, by topic.
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Where the leaders named in this answer are.
    #[wire(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// What was fetched from a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchableTopicResponse<'a> {
    /// The topic.
    #[wire(versions = "0-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    /// What is asked or told, by partition.
    pub partitions: Vec<PartitionData<'a>>,
}

/// A broker and its address.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    pub node_id: BrokerId,
    /// The host to connect to.
    pub host: &'a str,
    /// The port to connect to.
    pub port: i32,
    /// The broker's rack, if it has one.
    pub rack: Option<&'a str>,
}

/// What was fetched from a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionData<'a> {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The end of what is committed.
    pub high_watermark: Offset,
    /// The end of what no open transaction touches.
    #[wire(default = Offset(-1))]
    pub last_stable_offset: Offset,
    /// The partition's first offset; -1 where unknown.
    #[wire(versions = "5+", default = Offset(-1), ignorable)]
    pub log_start_offset: Offset,
    /// Where the follower's log leaves the leader's.
    #[wire(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    /// Where to go instead, when this broker is not the leader.
    #[wire(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to fetch instead (controllers only).
    #[wire(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    /// The aborted transactions in what was fetched; null where not asked for.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The broker to fetch from instead; -1 for this one.
    #[wire(versions = "11+", default = BrokerId(-1))]
    pub preferred_read_replica: BrokerId,
    /// The batches.
    pub records: Option<Payload<'a>>,
}

/// An epoch and where it ends.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct EpochEndOffset {
    /// The epoch.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub epoch: LeaderEpoch,
    /// Where it ends.
    #[wire(default = Offset(-1))]
    pub end_offset: Offset,
}

/// A leader and its epoch.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct LeaderIdAndEpoch {
    /// The leader now; -1 where unknown.
    #[wire(default = BrokerId(-1))]
    pub leader_id: BrokerId,
    /// The leader's epoch; -1 where unknown.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub leader_epoch: LeaderEpoch,
}

/// A snapshot of a controller's log.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct SnapshotId {
    /// Where it ends.
    #[wire(default = Offset(-1))]
    pub end_offset: Offset,
    /// The epoch.
    #[wire(default = LeaderEpoch::UNKNOWN)]
    pub epoch: LeaderEpoch,
}

/// An aborted transaction.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: ProducerId,
    /// The transaction's first offset.
    pub first_offset: Offset,
}

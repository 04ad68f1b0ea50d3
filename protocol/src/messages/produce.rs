//! Produce (key 0): append batches.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use crate::wire::Payload;

/// Appends batches.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = Produce)]
pub struct ProduceRequest<'a> {
    /// The transactional id; null outside of transactions.
    pub transactional_id: Option<&'a str>,
    /// When to answer: 0 never, 1 when the leader has it, -1 when all in-sync replicas have it.
    pub acks: i16,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
    /// What to append, by topic.
    pub topic_data: Vec<TopicProduceData<'a>>,
}

/// What to append to a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicProduceData<'a> {
    /// The topic.
    #[wire(versions = "0-12", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    /// What to append, by partition.
    pub partition_data: Vec<PartitionProduceData<'a>>,
}

/// What to append to a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionProduceData<'a> {
    /// The partition.
    pub index: PartitionIndex,
    /// The batches.
    pub records: Option<Payload<'a>>,
}

/// The outcome of appending. Not sent for acks 0.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = Produce)]
pub struct ProduceResponse<'a> {
    /// The outcome, item by item.
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Where the leaders named in this answer are.
    #[wire(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicProduceResponse<'a> {
    /// The topic.
    #[wire(versions = "0-12", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    /// The outcome for each partition.
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
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

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionProduceResponse<'a> {
    /// The partition.
    pub index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The offset of the first record appended.
    pub base_offset: Offset,
    /// The timestamp that the broker gave the batch; -1 where it kept the producer's.
    #[wire(default = Timestamp(-1))]
    pub log_append_time_ms: Timestamp,
    /// The partition's first offset; -1 where unknown.
    #[wire(versions = "5+", default = Offset(-1), ignorable)]
    pub log_start_offset: Offset,
    /// The records that caused the batch to be refused.
    #[wire(versions = "8+", ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage<'a>>,
    /// What went wrong, for people; null without an error.
    #[wire(versions = "8+", ignorable)]
    pub error_message: Option<&'a str>,
    /// Where to go instead, when this broker is not the leader.
    #[wire(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
}

/// A record that caused its batch to be refused.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// The record's index in its batch.
    pub batch_index: i32,
    /// What is wrong with the record.
    pub batch_index_error_message: Option<&'a str>,
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

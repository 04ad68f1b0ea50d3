//! AddPartitionsToTxn (key 24): add partitions to transactions.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId};

/// Adds partitions to transactions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = AddPartitionsToTxn)]
pub struct AddPartitionsToTxnRequest<'a> {
    /// What to add, by transaction.
    #[wire(versions = "4+")]
    pub transactions: Vec<AddPartitionsToTxnTransaction<'a>>,
    /// The transactional id.
    #[wire(versions = "0-3")]
    pub v3_and_below_transactional_id: &'a str,
    /// The producer.
    #[wire(versions = "0-3")]
    pub v3_and_below_producer_id: ProducerId,
    /// The producer's epoch.
    #[wire(versions = "0-3")]
    pub v3_and_below_producer_epoch: ProducerEpoch,
    /// The partitions that the transaction is to write to.
    #[wire(versions = "0-3")]
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopic<'a>>,
}

/// A transaction and what to add to it.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTransaction<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// Whether to check only that the partitions are in the transaction.
    pub verify_only: bool,
    /// The partitions that the transaction is to write to.
    pub topics: Vec<AddPartitionsToTxnTopic<'a>>,
}

/// Partitions to add.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = AddPartitionsToTxn)]
pub struct AddPartitionsToTxnResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    #[wire(versions = "4+", ignorable)]
    pub error_code: ErrorCode,
    /// The outcome for each transaction.
    #[wire(versions = "4+")]
    pub results_by_transaction: Vec<AddPartitionsToTxnResult<'a>>,
    /// The outcome for each topic.
    #[wire(versions = "0-3")]
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult<'a>>,
}

/// The outcome for a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnResult<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The outcome for each topic.
    pub topic_results: Vec<AddPartitionsToTxnTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// The outcome for each partition.
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnPartitionResult {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub partition_error_code: ErrorCode,
}

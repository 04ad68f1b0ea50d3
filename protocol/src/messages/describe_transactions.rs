//! DescribeTransactions (key 65): the state of transactions.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp};

/// Asks for transactions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeTransactions)]
pub struct DescribeTransactionsRequest<'a> {
    /// The transactional ids asked for.
    pub transactional_ids: Vec<&'a str>,
}

/// Transactions.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeTransactions)]
pub struct DescribeTransactionsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The transactions.
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TransactionState<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The transaction's state.
    pub transaction_state: &'a str,
    /// After how long an open transaction is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// When the transaction began.
    pub transaction_start_time_ms: Timestamp,
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// What is asked or told, by topic.
    pub topics: Vec<TopicData<'a>>,
}

/// Partitions that the transaction writes to.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicData<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

//! ListTransactions (key 66): list transactions.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::ProducerId;

/// Asks which transactions there are.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = ListTransactions)]
pub struct ListTransactionsRequest<'a> {
    /// The states asked for; empty for all.
    pub state_filters: Vec<&'a str>,
    /// The producers asked for; empty for all.
    pub producer_id_filters: Vec<ProducerId>,
    /// Only transactions open for longer than this, in milliseconds; -1 for all.
    #[wire(versions = "1+", default = -1)]
    pub duration_filter: i64,
    /// Only transactional ids that match; null for all.
    #[wire(versions = "2+")]
    pub transactional_id_pattern: Option<&'a str>,
}

/// The transactions that this broker coordinates.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = ListTransactions)]
pub struct ListTransactionsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The states asked for that there are not.
    pub unknown_state_filters: Vec<&'a str>,
    /// The transactions.
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TransactionState<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer.
    pub producer_id: ProducerId,
    /// The transaction's state.
    pub transaction_state: &'a str,
}

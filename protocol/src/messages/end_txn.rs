//! EndTxn (key 26): commit or abort a transaction.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{ProducerEpoch, ProducerId};

/// Commits or aborts.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = EndTxn)]
pub struct EndTxnRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// Whether to commit; otherwise abort.
    pub committed: bool,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = EndTxn)]
pub struct EndTxnResponse {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The producer.
    #[wire(versions = "5+", default = ProducerId::NONE, ignorable)]
    pub producer_id: ProducerId,
    /// The producer's epoch.
    #[wire(versions = "5+", default = ProducerEpoch(-1), ignorable)]
    pub producer_epoch: ProducerEpoch,
}

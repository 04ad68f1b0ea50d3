//! AddOffsetsToTxn (key 25): add a group's offsets to a transaction.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{ProducerEpoch, ProducerId};

/// Adds a group's offsets to a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = AddOffsetsToTxn)]
pub struct AddOffsetsToTxnRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// The group.
    pub group_id: &'a str,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = AddOffsetsToTxn)]
pub struct AddOffsetsToTxnResponse {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
}

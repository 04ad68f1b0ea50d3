//! InitProducerId (key 22): an id for an idempotent or transactional producer.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{ProducerEpoch, ProducerId};

/// Asks for a producer id.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = InitProducerId)]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id; null for a producer that is idempotent only.
    pub transactional_id: Option<&'a str>,
    /// After how long an open transaction is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// The producer's id, to bump its epoch; -1 for a new one.
    #[wire(versions = "3+", default = ProducerId::NONE)]
    pub producer_id: ProducerId,
    /// The producer's epoch, to bump it; -1 for a new producer.
    #[wire(versions = "3+", default = ProducerEpoch(-1))]
    pub producer_epoch: ProducerEpoch,
}

/// The producer id.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = InitProducerId)]
pub struct InitProducerIdResponse {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    pub error_code: ErrorCode,
    /// The id to use; -1 with an error.
    #[wire(default = ProducerId::NONE)]
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
}

//! InitProducerId (key 22): an id for an idempotent producer.
//!
//! There is no transaction coordinator: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the
//! one error that every client takes for final here (librdkafka asks again for ever after most others).

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::types::{ProducerEpoch, ProducerId};

use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// The epoch of a producer that is new, and of none.
const FIRST_EPOCH: ProducerEpoch = ProducerEpoch(0);
const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &InitProducerIdRequest<'_>, reply: Reply) {
    let outcome = match check(request) {
        Err(error) => Err(error),
        // Clients ask again after this error, as when Kafka's controller gives no ids.
        Ok(()) => shard.next_producer_id().await.ok_or(KafkaError::CoordinatorLoadInProgress),
    };
    reply.send(&response(outcome));
}

fn check(request: &InitProducerIdRequest<'_>) -> Result<(), KafkaError> {
    if (request.producer_id == ProducerId::NONE) != (request.producer_epoch == NO_EPOCH) {
        return Err(KafkaError::InvalidRequest);
    }
    match request.transactional_id {
        // Whatever the producer was before: an idempotent one begins anew.
        None => Ok(()),
        Some("") => Err(KafkaError::InvalidRequest),
        Some(_) => Err(KafkaError::TransactionalIdAuthorizationFailed),
    }
}

fn response(outcome: Result<ProducerId, KafkaError>) -> InitProducerIdResponse {
    let error = outcome.err().unwrap_or(KafkaError::None);
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::InitProducerId, error),
        producer_id: outcome.unwrap_or(ProducerId::NONE),
        producer_epoch: if outcome.is_ok() { FIRST_EPOCH } else { NO_EPOCH },
    }
}

#[cfg(test)]
mod tests;

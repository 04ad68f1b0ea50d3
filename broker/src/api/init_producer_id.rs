//! InitProducerId (key 22): an id for an idempotent producer; for a transactional one the id and the epoch that fence its
//! former instances.

use std::rc::Rc;
use std::sync::Arc;

use logic::transaction::{Producer, Reply as TransactionReply};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::types::{ProducerEpoch, ProducerId};

use super::errors::told;
use super::reply::Reply;
use super::transact::{change_transaction, producer, transaction_refusal};
use crate::shard::Shard;
use crate::shard::messages::TransactionRequest;

/// The epoch of an idempotent producer that is new.
const FIRST_EPOCH: ProducerEpoch = ProducerEpoch(0);

/// Before this version the error for a producer that was replaced is another.
const FENCED_VERSION_MIN: i16 = 4;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &InitProducerIdRequest<'_>, reply: Reply) {
    let outcome = match (check(request), request.transactional_id) {
        (Err(error), _) => Err(error),
        (Ok(_), None) => {
            // Whatever the producer was before: an idempotent one begins anew. Clients ask again after this error, as
            // when Kafka's controller gives no ids.
            let id = shard.next_producer_id().await.ok_or(KafkaError::CoordinatorLoadInProgress);
            id.map(|id| producer(id, FIRST_EPOCH))
        }
        (Ok(expected), Some(id)) => {
            let timeout_ms = request.transaction_timeout_ms;
            let initialise = TransactionRequest::Initialise { id: Arc::from(id), timeout_ms, expected };
            let fenced = if reply.version() < FENCED_VERSION_MIN {
                KafkaError::InvalidProducerEpoch
            } else {
                KafkaError::ProducerFenced
            };
            match change_transaction(shard, id, initialise).await {
                Ok(TransactionReply::Initialised(producer)) => Ok(producer),
                Ok(_) => unreachable!("an initialisation is answered as such"),
                Err(refusal) => Err(transaction_refusal(refusal, fenced)),
            }
        }
    };
    reply.send(&response(outcome));
}

/// What the producer says to have been.
fn check(request: &InitProducerIdRequest<'_>) -> Result<Option<Producer>, KafkaError> {
    if (request.producer_id == ProducerId::NONE) != (request.producer_epoch == ProducerEpoch::NONE) {
        return Err(KafkaError::InvalidRequest);
    }
    if request.transactional_id == Some("") {
        return Err(KafkaError::InvalidRequest);
    }
    let said = producer(request.producer_id, request.producer_epoch);
    Ok((said != Producer::NONE).then_some(said))
}

fn response(outcome: Result<Producer, KafkaError>) -> InitProducerIdResponse {
    let producer = outcome.unwrap_or(Producer::NONE);
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::InitProducerId, outcome.err().unwrap_or(KafkaError::None)),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
    }
}

#[cfg(test)]
mod tests;

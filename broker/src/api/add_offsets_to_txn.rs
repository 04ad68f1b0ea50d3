//! AddOffsetsToTxn (key 25): a group's offsets will be committed in a transaction.

use std::rc::Rc;
use std::sync::Arc;

use logic::group::partition_of_group;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use protocol::types::TransactionVersion;

use super::errors::told;
use super::reply::Reply;
use super::transact::{change_transaction, producer, transaction_refusal};
use crate::shard::Shard;
use crate::shard::internal_topics::GROUPS_TOPIC;
use crate::shard::messages::TransactionRequest;

/// Before this version the error for a producer that was replaced is another.
const FENCED_VERSION_MIN: i16 = 2;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &AddOffsetsToTxnRequest<'_>, reply: Reply) {
    let error = add(shard, request, reply.version()).await.err().unwrap_or(KafkaError::None);
    reply.send(&response(error));
}

async fn add(
    shard: &Rc<Shard>,
    request: &AddOffsetsToTxnRequest<'_>,
    version: i16,
) -> Result<(), KafkaError> {
    let image = shard.image();
    // It is made when the group's coordinator is looked for, which a client does next.
    let topic = image.topic(GROUPS_TOPIC).ok_or(KafkaError::CoordinatorNotAvailable)?;
    let partition = partition_of_group(request.group_id, topic.partition_count());
    let add = TransactionRequest::Add {
        id: Arc::from(request.transactional_id),
        producer: producer(request.producer_id, request.producer_epoch),
        partitions: [(GROUPS_TOPIC, partition)].into_iter().collect(),
        version: TransactionVersion::V0,
        waits: false,
    };
    let fenced = if version < FENCED_VERSION_MIN {
        KafkaError::InvalidProducerEpoch
    } else {
        KafkaError::ProducerFenced
    };
    let outcome = change_transaction(shard, request.transactional_id, add).await;
    outcome.map(|_| ()).map_err(|refusal| transaction_refusal(refusal, fenced))
}

fn response(error: KafkaError) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code: told(ApiKey::AddOffsetsToTxn, error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        in_every_version!(
            AddOffsetsToTxnResponse,
            |_version| response(KafkaError::InvalidTxnState),
            |_version, read| {
                assert_eq!(read.error_code, KafkaError::InvalidTxnState.into());
            }
        );
    }
}

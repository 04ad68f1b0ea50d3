//! EndTxn (key 26): a transaction is committed or aborted. The answer comes when that is decided for good; its markers
//! follow.

use std::rc::Rc;
use std::sync::Arc;

use logic::transaction::{End, Producer, Reply as TransactionReply};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use protocol::types::TransactionVersion;

use super::errors::told;
use super::reply::Reply;
use super::transact::{change_transaction, producer, transaction_refusal};
use crate::shard::Shard;
use crate::shard::messages::TransactionRequest;

/// Before this version the error for a producer that was replaced is another.
const FENCED_VERSION_MIN: i16 = 2;
/// From this version on the producer gets another epoch with each end (KIP-890).
const EPOCH_VERSION_MIN: i16 = 5;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &EndTxnRequest<'_>, reply: Reply) {
    let version = reply.version();
    let bumps_epoch = version >= EPOCH_VERSION_MIN;
    let end = TransactionRequest::End {
        id: Arc::from(request.transactional_id),
        producer: producer(request.producer_id, request.producer_epoch),
        end: if request.committed { End::Commit } else { End::Abort },
        version: if bumps_epoch { TransactionVersion::V2 } else { TransactionVersion::V0 },
    };
    let fenced = if version < FENCED_VERSION_MIN {
        KafkaError::InvalidProducerEpoch
    } else {
        KafkaError::ProducerFenced
    };
    let outcome = match change_transaction(shard, request.transactional_id, end).await {
        Ok(TransactionReply::Ended(producer)) => Ok(producer),
        Ok(_) => unreachable!("an end is answered as such"),
        Err(refusal) => Err(transaction_refusal(refusal, fenced)),
    };
    reply.send(&response(outcome, version));
}

fn response(outcome: Result<Producer, KafkaError>, version: i16) -> EndTxnResponse {
    let next = outcome.ok().filter(|_| version >= EPOCH_VERSION_MIN).unwrap_or(Producer::NONE);
    EndTxnResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::EndTxn, outcome.err().unwrap_or(KafkaError::None)),
        producer_id: next.id,
        producer_epoch: next.epoch,
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{ProducerEpoch, ProducerId};

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let next = producer(ProducerId(7), ProducerEpoch(3));
        in_every_version!(EndTxnResponse, |version| response(Ok(next), version), |version, read| {
            let expected = if version >= EPOCH_VERSION_MIN { next } else { Producer::NONE };
            assert_eq!(producer(read.producer_id, read.producer_epoch), expected);
        });
        let refused = response(Err(KafkaError::ProducerFenced), EPOCH_VERSION_MIN);
        assert_eq!(refused.error_code, KafkaError::ProducerFenced.into());
        assert_eq!(refused.producer_id, ProducerId::NONE);
    }
}

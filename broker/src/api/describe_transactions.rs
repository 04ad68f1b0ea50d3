//! DescribeTransactions (key 65): what is known of transactional ids.

use std::rc::Rc;
use std::sync::Arc;

use logic::transaction::Producer;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};
use protocol::types::Timestamp;

use super::errors::told;
use super::once::each_once;
use super::reply::Reply;
use super::transact::{ask_transaction, transaction_refusal};
use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::messages::{DescribedTransaction, TransactionReply, TransactionRequest};

type Outcome = Result<Box<DescribedTransaction>, KafkaError>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DescribeTransactionsRequest<'_>, reply: Reply) {
    let ids = each_once(request.transactional_ids.iter().copied(), |id| *id);
    let outcomes = join_all(ids.iter().map(|id| describe(shard, id))).await;
    reply.send(&response(&ids, &outcomes));
}

async fn describe(shard: &Rc<Shard>, id: &str) -> Outcome {
    match ask_transaction(shard, id, TransactionRequest::Describe(Arc::from(id))).await {
        Ok(TransactionReply::Described(found)) => Ok(found),
        Ok(_) => unreachable!("a description is answered as such"),
        Err(refusal) => Err(transaction_refusal(refusal, KafkaError::ProducerFenced)),
    }
}

fn response<'a>(ids: &[&'a str], outcomes: &'a [Outcome]) -> DescribeTransactionsResponse<'a> {
    let line = |(id, outcome): (&&'a str, &'a Outcome)| match outcome {
        Ok(found) => TransactionState {
            error_code: KafkaError::None.into(),
            transactional_id: id,
            transaction_state: found.state.name(),
            transaction_timeout_ms: found.timeout_ms,
            transaction_start_time_ms: found.started_at,
            producer_id: found.producer.id,
            producer_epoch: found.producer.epoch,
            topics: found
                .partitions
                .topics()
                .map(|(topic, partitions)| TopicData {
                    topic,
                    partitions: partitions.iter().copied().collect(),
                })
                .collect(),
        },
        Err(error) => TransactionState {
            error_code: told(ApiKey::DescribeTransactions, *error),
            transactional_id: id,
            transaction_state: "",
            transaction_timeout_ms: 0,
            transaction_start_time_ms: Timestamp(0),
            producer_id: Producer::NONE.id,
            producer_epoch: Producer::NONE.epoch,
            topics: Vec::new(),
        },
    };
    DescribeTransactionsResponse {
        throttle_time_ms: 0,
        transaction_states: ids.iter().zip(outcomes).map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use logic::transaction::TransactionState as State;
    use protocol::types::{PartitionIndex, ProducerEpoch, ProducerId};

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let found = DescribedTransaction {
            state: State::Ongoing,
            producer: Producer { id: ProducerId(4), epoch: ProducerEpoch(2) },
            timeout_ms: 60_000,
            started_at: Timestamp(5),
            partitions: [("a", PartitionIndex(1)), ("a", PartitionIndex(0))].into_iter().collect(),
        };
        let outcomes = [Ok(Box::new(found)), Err(KafkaError::TransactionalIdNotFound)];
        in_every_version!(
            DescribeTransactionsResponse<'_>,
            |_version| response(&["one", "other"], &outcomes),
            |_version, read| {
                let [one, other] = read.transaction_states.as_slice() else { panic!("two lines") };
                assert_eq!((one.transaction_state, one.topics[0].partitions.len()), ("Ongoing", 2));
                assert_eq!(other.error_code, KafkaError::TransactionalIdNotFound.into());
            }
        );
    }
}

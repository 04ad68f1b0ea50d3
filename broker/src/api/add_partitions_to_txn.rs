//! AddPartitionsToTxn (key 24): partitions join a transaction before they are written to; from version 4 on for brokers,
//! about several transactions, and to verify only.

use std::rc::Rc;
use std::sync::Arc;

use logic::transaction::{PartitionSet, Producer};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};
use protocol::types::{PartitionIndex, TransactionVersion};

use super::errors::told;
use super::once::each_once;
use super::reply::Reply;
use super::transact::{ask_transaction, producer, sort_out, transaction_refusal};
use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::messages::{TransactionReply, TransactionRequest};

/// From this version on a request is about several transactions, and its clients go by KIP-890.
const SEVERAL_VERSION_MIN: i16 = 4;
/// Before this version the error for a producer that was replaced is another.
const FENCED_VERSION_MIN: i16 = 2;

/// One transaction of a request.
struct Asked<'a> {
    id: &'a str,
    producer: Producer,
    verify_only: bool,
    topics: Vec<Topic<'a>>,
}

/// A topic, and those of its partitions that are named, each of them once.
type Topic<'a> = (&'a str, Vec<PartitionIndex>);

/// The partitions of a request, each of them once.
fn distinct<'a>(topics: &[AddPartitionsToTxnTopic<'a>]) -> Vec<Topic<'a>> {
    let all =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name, *partition)));
    let all = each_once(all, |named| *named);
    let topics = all.chunk_by(|(one, _), (next, _)| one == next);
    topics.map(|named| (named[0].0, named.iter().map(|(_, partition)| *partition).collect())).collect()
}

/// One error for each partition, topic by topic.
type Errors = Vec<Vec<KafkaError>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &AddPartitionsToTxnRequest<'_>, reply: Reply) {
    let version = reply.version();
    if version < SEVERAL_VERSION_MIN {
        let asked = Asked {
            id: request.v3_and_below_transactional_id,
            producer: producer(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch),
            verify_only: false,
            topics: distinct(&request.v3_and_below_topics),
        };
        let errors = add(shard, &asked, version).await;
        reply.send(&classic_response(&asked.topics, &errors));
        return;
    }
    let asked: Vec<Asked<'_>> = each_once(&request.transactions, |transaction| transaction.transactional_id)
        .into_iter()
        .map(|transaction| Asked {
            id: transaction.transactional_id,
            producer: producer(transaction.producer_id, transaction.producer_epoch),
            verify_only: transaction.verify_only,
            topics: distinct(&transaction.topics),
        })
        .collect();
    let errors = join_all(asked.iter().map(|asked| add(shard, asked, version))).await;
    reply.send(&response(&asked, &errors));
}

async fn add(shard: &Rc<Shard>, asked: &Asked<'_>, version: i16) -> Errors {
    let topics = asked.topics.iter().map(|(name, partitions)| (*name, partitions.as_slice()));
    let known = sort_out(&shard.image(), topics);
    if known.iter().flatten().any(|is_known| !is_known) {
        let error = |is_known: &bool| {
            if *is_known { KafkaError::OperationNotAttempted } else { KafkaError::UnknownTopicOrPartition }
        };
        return known.iter().map(|line| line.iter().map(error).collect()).collect();
    }
    let partitions: PartitionSet = asked
        .topics
        .iter()
        .flat_map(|(name, partitions)| partitions.iter().map(|partition| (*name, *partition)))
        .collect();
    let (id, producer): (Arc<str>, _) = (Arc::from(asked.id), asked.producer);
    let request = if asked.verify_only {
        TransactionRequest::Verify { id, producer, partitions }
    } else {
        let goes_by =
            if version < SEVERAL_VERSION_MIN { TransactionVersion::V0 } else { TransactionVersion::V2 };
        TransactionRequest::Add { id, producer, partitions, version: goes_by, waits: false }
    };
    let outcome = ask_transaction(shard, asked.id, request).await;
    let error_of = |topic: &str, partition| match &outcome {
        Ok(TransactionReply::Verified(those_in)) if !those_in.contains(topic, partition) => {
            KafkaError::TransactionAbortable
        }
        Ok(_) => KafkaError::None,
        Err(refusal) => transaction_refusal(*refusal, fenced(version)),
    };
    let line = |(name, partitions): &Topic<'_>| {
        partitions.iter().map(|partition| error_of(name, *partition)).collect()
    };
    asked.topics.iter().map(line).collect()
}

fn fenced(version: i16) -> KafkaError {
    if version < FENCED_VERSION_MIN { KafkaError::InvalidProducerEpoch } else { KafkaError::ProducerFenced }
}

fn topic_results<'a>(topics: &[Topic<'a>], errors: &Errors) -> Vec<AddPartitionsToTxnTopicResult<'a>> {
    let result = |((name, partitions), errors): (&Topic<'a>, &Vec<KafkaError>)| {
        let lines = partitions.iter().zip(errors);
        AddPartitionsToTxnTopicResult {
            name,
            results_by_partition: lines
                .map(|(partition, error)| AddPartitionsToTxnPartitionResult {
                    partition_index: *partition,
                    partition_error_code: told(ApiKey::AddPartitionsToTxn, *error),
                })
                .collect(),
        }
    };
    topics.iter().zip(errors).map(result).collect()
}

fn classic_response<'a>(topics: &[Topic<'a>], errors: &Errors) -> AddPartitionsToTxnResponse<'a> {
    AddPartitionsToTxnResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        results_by_transaction: Vec::new(),
        results_by_topic_v3_and_below: topic_results(topics, errors),
    }
}

fn response<'a>(asked: &[Asked<'a>], errors: &[Errors]) -> AddPartitionsToTxnResponse<'a> {
    let result = |(asked, errors): (&Asked<'a>, &Errors)| AddPartitionsToTxnResult {
        transactional_id: asked.id,
        topic_results: topic_results(&asked.topics, errors),
    };
    AddPartitionsToTxnResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        results_by_transaction: asked.iter().zip(errors).map(result).collect(),
        results_by_topic_v3_and_below: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{ProducerEpoch, ProducerId};

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn what_is_named_again_is_there_once() {
        let topic = |name, partitions: &[i32]| AddPartitionsToTxnTopic {
            name,
            partitions: partitions.iter().copied().map(PartitionIndex).collect(),
        };
        let named = [topic("a", &[1, 0, 1]), topic("b", &[1]), topic("a", &[0, 2])];
        let expected = [("a", [1, 0].as_slice()), ("b", &[1]), ("a", &[2])];
        let expected = expected.map(|(name, indexes)| (name, topic(name, indexes).partitions));
        assert_eq!(distinct(&named), expected);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let partitions = vec![PartitionIndex(0), PartitionIndex(3)];
        let topics = vec![("orders", partitions)];
        let errors: Errors =
            vec![vec![KafkaError::OperationNotAttempted, KafkaError::UnknownTopicOrPartition]];
        let asked = [Asked {
            id: "payments",
            producer: producer(ProducerId(1), ProducerEpoch(0)),
            verify_only: false,
            topics: topics.clone(),
        }];
        in_every_version!(
            AddPartitionsToTxnResponse<'_>,
            |version| if version < SEVERAL_VERSION_MIN {
                classic_response(&topics, &errors)
            } else {
                response(&asked, std::slice::from_ref(&errors))
            },
            |version, read| {
                let lines = if version < SEVERAL_VERSION_MIN {
                    &read.results_by_topic_v3_and_below
                } else {
                    &read.results_by_transaction[0].topic_results
                };
                let codes = lines[0].results_by_partition.iter().map(|line| line.partition_error_code);
                let expected = [KafkaError::OperationNotAttempted, KafkaError::UnknownTopicOrPartition];
                assert!(codes.eq(expected.map(ErrorCode::from)));
            }
        );
    }
}

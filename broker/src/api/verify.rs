//! Before the first batch of a transaction reaches a partition, its coordinator is asked whether it belongs there
//! (KIP-890): so that no batch comes after its transaction's end and is held open for ever.

use std::rc::Rc;
use std::sync::Arc;

use logic::producer::{ProducerBatch, VerificationGuard};
use logic::transaction::PartitionSet;
use protocol::error::KafkaError;
use protocol::types::{PartitionKey, ProducerId, TransactionVersion};

use super::errors::produce_refusal;
use super::scatter::scatter;
use super::transact::{ask_transaction, producer, transaction_refusal};
use crate::shard::Shard;
use crate::shard::messages::{
    Answer, Question, TransactionRefusal, TransactionReply, TransactionRequest, Verification,
};

/// What to show with a batch; none where nobody has to be asked.
pub type Verified = Result<Option<VerificationGuard>, KafkaError>;

/// What a client understands, by the version of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Partitions were added by a request of their own.
    Classic,
    /// And it knows `TRANSACTION_ABORTABLE`.
    Abortable,
    /// Partitions are added by being written to.
    AddsPartitions,
}

/// A batch that is to be appended in a transaction.
pub struct Batch<'n> {
    /// The topic.
    pub topic: &'n str,
    /// The partition.
    pub key: PartitionKey,
    /// The batch.
    pub batch: ProducerBatch,
}

/// Finds out for each batch, in their order, whether its partition takes it.
pub async fn verify(
    shard: &Rc<Shard>,
    transactional_id: &str,
    support: Support,
    batches: &[Batch<'_>],
) -> Vec<Verified> {
    let bumps_epoch = support == Support::AddsPartitions;
    let items = batches
        .iter()
        .map(|Batch { key, batch, .. }| (*key, Verification { key: *key, batch: *batch, bumps_epoch }));
    let asked = scatter(shard, items, Question::Verifications, |answer| match answer {
        Answer::Verifications(answers) => answers,
        _ => unreachable!("verifications are answered as such"),
    });
    let mut verified: Vec<Verified> =
        asked.await.into_iter().map(|answer| answer.map_err(|refusal| produce_refusal(&refusal))).collect();
    let open: Vec<usize> =
        (0..verified.len()).filter(|place| matches!(verified[*place], Ok(Some(_)))).collect();
    let Some(first) = open.first().map(|place| &batches[*place]) else { return verified };
    let producer = producer(first.batch.producer_id, first.batch.epoch);
    let partitions: PartitionSet =
        open.iter().map(|place| (batches[*place].topic, batches[*place].key.partition)).collect();
    let those_in = ask(shard, transactional_id, support, producer, partitions).await;
    let mut refused = Vec::new();
    for place in open {
        let Batch { topic, key, batch } = &batches[place];
        let is_producers = (batch.producer_id, batch.epoch) == (producer.id, producer.epoch);
        let outcome = match &those_in {
            _ if !is_producers => Err(KafkaError::InvalidProducerIdMapping),
            Err(error) => Err(*error),
            Ok(those_in) if those_in.contains(topic, key.partition) => Ok(()),
            Ok(_) => Err(not_added(support)),
        };
        if let Err(error) = outcome {
            verified[place] = Err(error);
            if !error.retriable() {
                refused.push((*key, (*key, batch.producer_id)));
            }
        }
    }
    forget(shard, refused).await;
    verified
}

/// What was refused for good leaves nothing behind: guards are few.
async fn forget(shard: &Rc<Shard>, refused: Vec<(PartitionKey, (PartitionKey, ProducerId))>) {
    scatter(shard, refused, Question::ForgetVerifications, |answer| match answer {
        Answer::Forgotten(count) => vec![(); count],
        _ => unreachable!("what is forgotten is answered as such"),
    })
    .await;
}

/// Those of the partitions that are in the transaction.
async fn ask(
    shard: &Rc<Shard>,
    transactional_id: &str,
    support: Support,
    producer: logic::transaction::Producer,
    partitions: PartitionSet,
) -> Result<PartitionSet, KafkaError> {
    let id: Arc<str> = Arc::from(transactional_id);
    let all = partitions.clone();
    let request = if support == Support::AddsPartitions {
        // Its client begins the next transaction as soon as the end of the last one is decided, while the markers are still
        // on their way. Sent away, it would wait for longer than they take.
        TransactionRequest::Add { id, producer, partitions, version: TransactionVersion::V2, waits: true }
    } else {
        TransactionRequest::Verify { id, producer, partitions }
    };
    match ask_transaction(shard, transactional_id, request).await {
        Ok(TransactionReply::Verified(those_in)) => Ok(those_in),
        Ok(_) => Ok(all),
        Err(refusal) => Err(unverified(refusal, support)),
    }
}

/// What the client is told where the coordinator can't or won't say: an error after which it tries again, or gives up, as it
/// should. Clients that write do not look for coordinators.
fn unverified(refusal: TransactionRefusal, support: Support) -> KafkaError {
    match transaction_refusal(refusal, KafkaError::InvalidProducerEpoch) {
        KafkaError::CoordinatorLoadInProgress
        | KafkaError::CoordinatorNotAvailable
        | KafkaError::NotCoordinator => KafkaError::NotEnoughReplicas,
        KafkaError::ConcurrentTransactions if support != Support::AddsPartitions => {
            KafkaError::NotEnoughReplicas
        }
        other => other,
    }
}

fn not_added(support: Support) -> KafkaError {
    if support == Support::Classic { KafkaError::InvalidTxnState } else { KafkaError::TransactionAbortable }
}

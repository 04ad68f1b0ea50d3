//! Asking the coordinator of a transactional id, on whichever shard it is.

use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::Image;
use logic::transaction::{Producer, Reply, TransactionError, partition_of};
use protocol::error::KafkaError;
use protocol::types::{PartitionIndex, PartitionKey, ProducerEpoch, ProducerId};

use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::internal_topics::TRANSACTIONS_TOPIC;
use crate::shard::messages::{
    Answer, ListRequest, Question, TransactionAnswer, TransactionRefusal, TransactionReply,
    TransactionRequest,
};

/// Asks the coordinator of a transactional id.
///
/// # Errors
/// It can't be asked (now, or here), or refuses.
pub async fn ask_transaction(shard: &Rc<Shard>, id: &str, request: TransactionRequest) -> TransactionAnswer {
    let image = shard.image();
    let topic = image.topic(TRANSACTIONS_TOPIC).ok_or(TransactionRefusal::NotHere)?;
    // An id that is too short for a hash of its own is refused by whoever is asked.
    let key = PartitionKey { topic_id: topic.id, partition: partition_of(id, topic.partition_count()) };
    ask(shard, key, request).await
}

/// Asks for a change of a transaction.
///
/// # Errors
/// As [`ask_transaction`].
pub async fn change_transaction(
    shard: &Rc<Shard>,
    id: &str,
    request: TransactionRequest,
) -> Result<Reply, TransactionRefusal> {
    match ask_transaction(shard, id, request).await? {
        TransactionReply::Changed(reply) => Ok(reply),
        _ => unreachable!("a change is answered as such"),
    }
}

/// Asks all coordinators for their transactional ids.
pub async fn ask_all(shard: &Rc<Shard>, wanted: &Arc<ListRequest>) -> Vec<TransactionAnswer> {
    let image = shard.image();
    let Some(topic) = image.topic(TRANSACTIONS_TOPIC) else { return Vec::new() };
    let keys = (0..topic.partition_count())
        .map(|index| PartitionKey { topic_id: topic.id, partition: PartitionIndex(index) });
    join_all(keys.map(|key| ask(shard, key, TransactionRequest::List(Arc::clone(wanted))))).await
}

async fn ask(shard: &Rc<Shard>, key: PartitionKey, request: TransactionRequest) -> TransactionAnswer {
    match shard.ask(shard.owner_of(key), Question::Transaction { key, request }).await {
        Answer::Transaction(answer) => answer,
        _ => unreachable!("a question about transactions is answered as such"),
    }
}

/// A producer as a request names it.
pub fn producer(id: ProducerId, epoch: ProducerEpoch) -> Producer {
    Producer { id, epoch }
}

/// What a client is told of a refusal; `fenced` is its version's word for a producer that a newer one has replaced.
pub fn transaction_refusal(refusal: TransactionRefusal, fenced: KafkaError) -> KafkaError {
    match refusal {
        TransactionRefusal::Loading => KafkaError::CoordinatorLoadInProgress,
        TransactionRefusal::NotHere => KafkaError::NotCoordinator,
        TransactionRefusal::Unavailable => KafkaError::CoordinatorNotAvailable,
        TransactionRefusal::Refused(error) => transaction_error(error, fenced),
    }
}

fn transaction_error(error: TransactionError, fenced: KafkaError) -> KafkaError {
    match error {
        TransactionError::InvalidId => KafkaError::InvalidRequest,
        TransactionError::InvalidTimeout { .. } => KafkaError::InvalidTransactionTimeout,
        TransactionError::UnknownMapping => KafkaError::InvalidProducerIdMapping,
        TransactionError::Fenced => fenced,
        TransactionError::Concurrent => KafkaError::ConcurrentTransactions,
        TransactionError::InvalidState => KafkaError::InvalidTxnState,
        TransactionError::NotFound => KafkaError::TransactionalIdNotFound,
        TransactionError::NotAvailable | TransactionError::TooManyIds | TransactionError::NeedsProducerId => {
            KafkaError::CoordinatorNotAvailable
        }
        TransactionError::NotCoordinator => KafkaError::NotCoordinator,
        TransactionError::TooManyPartitions => KafkaError::InvalidRequest,
    }
}

/// The partitions of a request, and which of them there are: in its order.
pub fn sort_out<'r>(
    image: &Image,
    topics: impl Iterator<Item = (&'r str, &'r [PartitionIndex])>,
) -> Vec<Vec<bool>> {
    let is_there = |name, partition| {
        image.topic(name).is_some_and(|topic: &Arc<_>| topic.partition(partition).is_some())
    };
    topics
        .map(|(name, partitions)| partitions.iter().map(|partition| is_there(name, *partition)).collect())
        .collect()
}

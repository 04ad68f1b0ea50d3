//! What a sender does differently in transactions: partitions are added before they are written to (but not with brokers
//! that go by KIP-890's second part, where writing adds them), and what is given up is given up as a whole.

use std::rc::Rc;

use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use protocol::types::{ProducerEpoch, ProducerId};

use super::Sender;
use crate::error::{ClientError, ProduceError, TransactionError};
use crate::producer::topic::PartitionState;
use crate::producer::transaction::Transactions;

/// The last version of Produce in which partitions must have been added before.
const PRODUCE_VERSION_MAX: i16 = 11;
/// The last version of AddPartitionsToTxn that is meant for clients.
const ADD_VERSION_MAX: i16 = 3;

impl Sender {
    /// Which version of Produce to use of those that the broker knows.
    pub(super) fn produce_version(&self, newest: i16) -> i16 {
        match &self.transactions {
            Some(transactions) if !transactions.joins_by_writing() => newest.min(PRODUCE_VERSION_MAX),
            Some(_) | None => newest,
        }
    }

    /// Whether a partition may be written to now. If it must be added to the transaction first, that is begun.
    pub(super) fn may_write(self: &Rc<Self>, partition: &Rc<PartitionState>) -> bool {
        let Some(transactions) = &self.transactions else { return true };
        if partition.queue.borrow().is_empty() {
            return true;
        }
        if transactions.joins_by_writing() || partition.joined.get() == transactions.number() {
            return true;
        }
        if transactions.wants_in(partition) {
            glommio::spawn_local(Rc::clone(self).join()).detach();
        }
        false
    }

    /// Adds partitions for as long as some want in.
    async fn join(self: Rc<Self>) {
        let transactions = self.transactions.as_ref().expect("only transactions are joined");
        while let Some(partitions) = transactions.next_to_join() {
            let number = transactions.number();
            transactions.is_told_to_brokers();
            match self.add(transactions, &partitions).await {
                Ok(()) => partitions.iter().for_each(|partition| partition.joined.set(number)),
                Err(error) => {
                    transactions.fail(TransactionError::of(error));
                    partitions.iter().for_each(|partition| self.give_up_what_waits(partition));
                }
            }
            self.ways.work.raise();
        }
    }

    async fn add(
        &self,
        transactions: &Transactions,
        partitions: &[Rc<PartitionState>],
    ) -> Result<(), ClientError> {
        let (producer_id, producer_epoch) = self.identity();
        let mut topics: Vec<AddPartitionsToTxnTopic<'_>> = Vec::new();
        for partition in partitions {
            match topics.iter_mut().find(|topic| *topic.name == *partition.topic.name) {
                Some(topic) => topic.partitions.push(partition.index),
                None => topics.push(AddPartitionsToTxnTopic {
                    name: &partition.topic.name,
                    partitions: vec![partition.index],
                }),
            }
        }
        let request = AddPartitionsToTxnRequest {
            transactions: Vec::new(),
            v3_and_below_transactional_id: transactions.id(),
            v3_and_below_producer_id: producer_id,
            v3_and_below_producer_epoch: producer_epoch,
            v3_and_below_topics: topics,
        };
        let doing = format!("add partitions to a transaction of {}", transactions.id());
        transactions
            .until_done(&doing, async |connection| {
                let answer = connection.call_up_to(ADD_VERSION_MAX, &request).await?;
                let response: AddPartitionsToTxnResponse<'_> = answer.decode()?;
                let results = &response.results_by_topic_v3_and_below;
                let codes = results.iter().flat_map(|topic| &topic.results_by_partition);
                let refused: Vec<ErrorCode> =
                    codes.map(|one| one.partition_error_code).filter(|code| !code.is_none()).collect();
                // Where one partition is refused, the others are not attempted: theirs is not the reason.
                let is_reason = |code: &&ErrorCode| code.known() != Some(KafkaError::OperationNotAttempted);
                let reason = refused.iter().find(is_reason).or(refused.first());
                reason.map_or(Ok(()), |code| self.client.check(&doing, *code, None))
            })
            .await
    }

    /// Who the producer is now.
    pub(in crate::producer) fn identity(&self) -> (ProducerId, ProducerEpoch) {
        self.identity.get().expect("transactions have an identity")
    }

    /// Who the producer is from now on. Nothing of the transaction before is left.
    pub(in crate::producer) fn go_on_as(&self, (id, epoch): (ProducerId, ProducerEpoch)) {
        self.identity.set(Some((id, epoch)));
        for topic in self.topics.borrow().values() {
            topic.partitions().iter().for_each(|one| one.queue.borrow_mut().go_on_as(id, epoch));
        }
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.transactions.as_ref().is_some_and(Transactions::is_aborting)
    }

    /// Waits until everything taken is decided, or something has gone wrong; nothing lingers meanwhile.
    pub(in crate::producer) async fn flush_unless_it_fails(&self) {
        let transactions = self.transactions.as_ref().expect("only transactions fail");
        loop {
            let freed = self.freed.next();
            if transactions.has_failed() || self.undecided.borrow().is_empty() || self.has_ended.get() {
                return;
            }
            self.in_a_hurry(freed.wait()).await;
        }
    }

    /// Gives up all that is not delivered, and waits for the answers to what is under way.
    pub(in crate::producer) async fn give_up(&self) {
        let transactions = self.transactions.as_ref().expect("only transactions are given up");
        let aborting = transactions.abort();
        let partitions: Vec<Rc<PartitionState>> =
            self.topics.borrow().values().flat_map(|topic| topic.partitions()).collect();
        partitions.iter().for_each(|partition| self.give_up_what_waits(partition));
        self.flush().await;
        transactions.all_joined().await;
        drop(aborting);
    }

    fn give_up_what_waits(&self, partition: &PartitionState) {
        let waiting = partition.queue.borrow_mut().take_all();
        for batch in waiting {
            self.decide(partition, batch, Err(ProduceError::Aborted));
        }
    }
}

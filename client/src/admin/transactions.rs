//! Which transactional ids there are, and what goes on under them.

use std::time::Duration;

use protocol::error::KafkaError;
use protocol::messages::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use protocol::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use protocol::types::{ProducerEpoch, ProducerId, Timestamp};

use super::groups::in_order;
use super::{Admin, Partition};
use crate::coordinator::{Coordinator, Kind};
use crate::error::ClientError;

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionState {
    /// There was none yet.
    Empty,
    /// It is open.
    Ongoing,
    /// It will be committed, whatever happens; not all partitions know yet.
    PrepareCommit,
    /// It will be aborted, likewise.
    PrepareAbort,
    /// It was committed, and there is none since.
    CompleteCommit,
    /// It was aborted, likewise.
    CompleteAbort,
    /// Its id is being forgotten.
    Dead,
    /// Its producer is being fenced.
    PrepareEpochFence,
    /// One that this client does not know.
    Unknown,
}

impl TransactionState {
    fn of(name: &str) -> Self {
        match name {
            "Empty" => Self::Empty,
            "Ongoing" => Self::Ongoing,
            "PrepareCommit" => Self::PrepareCommit,
            "PrepareAbort" => Self::PrepareAbort,
            "CompleteCommit" => Self::CompleteCommit,
            "CompleteAbort" => Self::CompleteAbort,
            "Dead" => Self::Dead,
            "PrepareEpochFence" => Self::PrepareEpochFence,
            _ => Self::Unknown,
        }
    }
}

/// A transactional id as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    /// The transactional id.
    pub id: String,
    /// Its producer.
    pub producer_id: ProducerId,
    /// How far its transaction has come.
    pub state: TransactionState,
}

/// A transactional id and its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The transactional id.
    pub id: String,
    /// Its producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// How far its transaction has come.
    pub state: TransactionState,
    /// After how long an open transaction is aborted.
    pub timeout: Duration,
    /// When the transaction began, where there is one.
    pub started_at: Option<Timestamp>,
    /// The partitions that it has written to, in order.
    pub partitions: Vec<Partition>,
}

impl Admin {
    /// The transactional ids of the cluster, in order.
    ///
    /// # Errors
    /// A broker can't be asked.
    pub async fn list_transactions(&self) -> Result<Vec<ListedTransaction>, ClientError> {
        let doing = "list transactions";
        let request = ListTransactionsRequest {
            state_filters: Vec::new(),
            producer_id_filters: Vec::new(),
            duration_filter: -1,
            transactional_id_pattern: None,
        };
        let mut transactions = self
            .on_each_broker(doing, async |connection| {
                let answer = connection.call(&request).await?;
                let response: ListTransactionsResponse<'_> = answer.decode()?;
                self.client.check(doing, response.error_code, None)?;
                let listed = response.transaction_states.iter().map(|one| ListedTransaction {
                    id: one.transactional_id.to_owned(),
                    producer_id: one.producer_id,
                    state: TransactionState::of(one.transaction_state),
                });
                Ok(listed.collect())
            })
            .await?;
        transactions.sort_unstable_by(|one: &ListedTransaction, other| one.id.cmp(&other.id));
        // One that has moved meanwhile may have been listed by both brokers.
        transactions.dedup_by(|one, other| one.id == other.id);
        Ok(transactions)
    }

    /// Transactional ids with their transactions, in the order of the ids here.
    ///
    /// # Errors
    /// There is no such id ([`KafkaError::TransactionalIdNotFound`]), or its coordinator can't be asked.
    pub async fn describe_transactions(
        &self,
        ids: &[&str],
    ) -> Result<Vec<TransactionDescription>, ClientError> {
        let mut transactions = Vec::with_capacity(ids.len());
        for id in ids {
            transactions.push(self.describe_transaction(id).await?);
        }
        Ok(transactions)
    }

    async fn describe_transaction(&self, id: &str) -> Result<TransactionDescription, ClientError> {
        let coordinator = Coordinator::new(&self.client, Kind::TransactionalId, id);
        let doing = format!("describe transactional id {id}");
        let request = DescribeTransactionsRequest { transactional_ids: vec![id] };
        coordinator
            .until_done(&doing, async |connection| {
                let answer = connection.call(&request).await?;
                let response: DescribeTransactionsResponse<'_> = answer.decode()?;
                let found = response.transaction_states.first().ok_or_else(|| ClientError::Kafka {
                    doing: doing.clone(),
                    error: KafkaError::TransactionalIdNotFound,
                    message: None,
                })?;
                self.client.check(&doing, found.error_code, None)?;
                let topics = found.topics.iter();
                let timeout_ms = u64::try_from(found.transaction_timeout_ms).unwrap_or(0);
                Ok(TransactionDescription {
                    id: id.to_owned(),
                    producer_id: found.producer_id,
                    producer_epoch: found.producer_epoch,
                    state: TransactionState::of(found.transaction_state),
                    timeout: Duration::from_millis(timeout_ms),
                    started_at: Some(found.transaction_start_time_ms).filter(|time| *time >= Timestamp(0)),
                    partitions: in_order(topics.map(|topic| (topic.topic, topic.partitions.as_slice()))),
                })
            })
            .await
    }
}

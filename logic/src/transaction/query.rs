//! What is told of transactions: DescribeTransactions, ListTransactions.

use super::coordinator::{Coordinator, Slot};
use super::error::TransactionError;
use super::partitions::PartitionSet;
use super::state::TransactionState;
use super::transition::Producer;
use protocol::types::{ProducerId, Timestamp};

/// One transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// Its state.
    pub state: TransactionState,
    /// Its producer.
    pub producer: Producer,
    /// After how long an open transaction is aborted.
    pub timeout_ms: i32,
    /// When the transaction began; -1 without one.
    pub started_at: Timestamp,
    /// The partitions of the transaction.
    pub partitions: &'a PartitionSet,
}

/// Which ids are listed: those that each filter lets pass.
#[derive(Clone, Copy, Default)]
pub struct ListFilter<'a> {
    /// Their states. None for all; clients may name only states that there are not, and then none passes.
    pub states: Option<&'a [TransactionState]>,
    /// Their producers; empty for all.
    pub producer_ids: &'a [ProducerId],
    /// For how long they have been going on, at least, and a bit.
    pub open_longer_than_ms: Option<i64>,
    /// Which names.
    pub matches: Option<&'a dyn Fn(&str) -> bool>,
}

impl Coordinator {
    /// How many transactional ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether something is under way for an id, so that it takes no change: a record of it, or the end of a transaction.
    #[must_use]
    pub fn is_busy(&self, id: &str) -> bool {
        self.slots.get(id).is_some_and(Slot::is_busy)
    }

    /// What is known of an id.
    pub fn describe(&self, id: &str) -> Result<Description<'_>, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidId);
        }
        let slot = self.slots.get(id).filter(|slot| !slot.is_going()).ok_or(TransactionError::NotFound)?;
        let transaction = &slot.transaction;
        Ok(Description {
            state: transaction.state,
            producer: transaction.producer,
            timeout_ms: transaction.timeout_ms,
            started_at: transaction.started_at,
            partitions: &transaction.partitions,
        })
    }

    /// The ids that a filter lets pass, in no order.
    pub fn list<'a>(
        &'a self,
        now: Timestamp,
        filter: ListFilter<'a>,
    ) -> impl Iterator<Item = (&'a str, ProducerId, TransactionState)> {
        self.slots.iter().filter(|(_, slot)| !slot.is_going()).filter_map(move |(id, slot)| {
            let transaction = &slot.transaction;
            let (producer_id, state) = (transaction.producer.id, transaction.state);
            let open_ms = now.get().saturating_sub(transaction.started_at.get());
            let passes = filter.states.is_none_or(|states| states.contains(&state))
                && (filter.producer_ids.is_empty() || filter.producer_ids.contains(&producer_id))
                && filter.open_longer_than_ms.is_none_or(|longest| open_ms > longest)
                && filter.matches.is_none_or(|matches| matches(id));
            passes.then_some((&**id, producer_id, state))
        })
    }
}

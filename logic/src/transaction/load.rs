//! A coordinator from the records of its partition.

use super::coordinator::{Coordinator, CoordinatorConfig, Slot};
use super::effects::Effects;
use super::record::LoadError;
use super::transition::Transaction;
use protocol::transaction_log::decode_key;
use protocol::types::Timestamp;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Loader {
    transactions: FxHashMap<Arc<str>, Transaction>,
}

impl Loader {
    /// Takes the next record of the log, from its start to its end.
    ///
    /// # Errors
    /// The record is passed over: tell of it, and go on.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), LoadError> {
        let id = decode_key(key)?;
        match value {
            Some(value) => drop(self.transactions.insert(Arc::from(id), Transaction::decode(value)?)),
            None => drop(self.transactions.remove(id)),
        }
        Ok(())
    }

    /// The coordinator, and what it resumes: the markers of every end that was decided and not known to be written.
    pub fn finish(self, now: Timestamp, config: CoordinatorConfig, epoch: i32) -> (Coordinator, Effects) {
        let mut coordinator = Coordinator::new(config, epoch);
        let mut effects = Effects::default();
        let mut transactions: Vec<_> = self.transactions.into_iter().collect();
        transactions.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (id, transaction) in transactions {
            let is_prepared = transaction.state.is_prepared();
            coordinator.slots.insert(Arc::clone(&id), Slot::new(transaction));
            if is_prepared {
                coordinator.deliver(now, &id, &mut effects);
            } else {
                coordinator.set_timer(&id, None);
            }
        }
        (coordinator, effects)
    }
}

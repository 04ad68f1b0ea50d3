//! A partition's share of transactions: who may begin one here, their ends, how far readers of committed records may read.

use bytes::Bytes;
use logic::producer::{
    MarkerError, ProducerBatch, ProducerError, ProducerState, TransactionMarker, VerificationGuard,
};
use protocol::aborted::AbortedTransaction;
use protocol::types::{Offset, Timestamp};

use super::Partition;
use crate::shard::Store;
use crate::shard::prepare::Prepared;
use crate::shard::produce::ProduceRefusal;

/// Why a marker was not written.
#[derive(Debug, thiserror::Error)]
pub enum MarkRefusal {
    /// There is no such partition here.
    #[error("the partition is not here")]
    Unknown,
    /// The producers' table refuses it.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// The log takes nothing for now, or the shard stops.
    #[error("the marker can't be written for now")]
    Unavailable,
}

impl Partition {
    /// Where the first open transaction begins, or what is committed by the log ends.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        let mut state = self.state.borrow_mut();
        let high_watermark = state.replica.high_watermark();
        state.producers.last_stable_offset(high_watermark)
    }

    /// The aborted transactions with records in `from..limit`.
    #[must_use]
    pub fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        self.state.borrow().producers.aborted(from, limit)
    }

    /// What is known of each producer.
    #[must_use]
    pub fn producer_states(&self) -> Vec<ProducerState> {
        self.state.borrow().producers.states().collect()
    }

    /// What to show with a batch once its transaction's coordinator has said yes; none where it need not be asked.
    ///
    /// # Errors
    /// The batch would be refused whatever the coordinator says.
    pub fn verification(
        &self,
        now: Timestamp,
        batch: &ProducerBatch,
        bumps_epoch: bool,
    ) -> Result<Option<VerificationGuard>, ProducerError> {
        self.change_producers(|table| table.verification(now, batch, bumps_epoch))
    }

    /// Whether the broker's own records could be appended now, in a producer's transaction.
    ///
    /// # Errors
    /// Why not.
    pub fn check_own_in_transaction(
        &self,
        store: &Store,
        batch: &ProducerBatch,
        guard: Option<VerificationGuard>,
    ) -> Result<(), ProduceRefusal> {
        self.check_own_append(store)?;
        self.state.borrow().producers.check_verified(batch, guard)?;
        Ok(())
    }

    /// Appends a marker; it is committed when the high watermark is past the offset that is returned.
    ///
    /// # Errors
    /// Nothing was appended.
    pub fn append_marker(
        &self,
        store: &Store,
        now: Timestamp,
        marker: &TransactionMarker,
    ) -> Result<Offset, MarkRefusal> {
        self.state.borrow().producers.check_marker(marker)?;
        let batch = Prepared {
            records: Bytes::from(marker.batch(now)),
            record_count: 1,
            timestamp_max: now,
            append_time: None,
            producer: None,
        };
        let offset = self.replica().log_end();
        self.append_own(store, now, &[batch]).map_err(|_| MarkRefusal::Unavailable)?;
        self.change_producers(|table| table.record_marker(now, marker, offset));
        Ok(self.replica().log_end())
    }
}

//! Transactions that a partition was asked to take part in and that the coordinator has not spoken for yet (KIP-890).
//!
//! A partition takes the first batch of a transaction only from who shows the guard that it gave out before the
//! coordinator was asked. A marker, or the first batch, takes the guard back, so that an answer that was overtaken by the
//! transaction's end opens nothing.

use super::table::ProducerBatch;
use crate::limits::VERIFICATIONS_PER_PARTITION_MAX;
use protocol::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use rustc_hash::FxHashMap;

/// What a partition gave out before the coordinator was asked; shown again with the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// A producer whose transaction is being asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verification {
    guard: VerificationGuard,
    since: Timestamp,
    epoch: ProducerEpoch,
    /// The lowest sequence number that was refused or is waiting: nothing past it goes first, or it would never fit.
    pub(super) lowest_sequence: Sequence,
    /// Whether the client goes by KIP-890: then an unknown producer begins with 0.
    pub(super) bumps_epoch: bool,
}

/// All of a partition's, by producer.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    waiting: FxHashMap<i64, Verification>,
    given: u64,
}

impl Verifications {
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= VERIFICATIONS_PER_PARTITION_MAX
    }

    pub(super) fn find(&self, id: ProducerId) -> Option<&Verification> {
        self.waiting.get(&id.get())
    }

    /// Whether `guard` is the one that the producer's batch needs.
    pub(super) fn holds(&self, id: ProducerId, guard: Option<VerificationGuard>) -> bool {
        guard.is_some() && guard == self.find(id).map(|verification| verification.guard)
    }

    /// The guard of the producer, a new one if it has none.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        batch: &ProducerBatch,
        bumps_epoch: bool,
    ) -> VerificationGuard {
        let given = &mut self.given;
        let verification = self.waiting.entry(batch.producer_id.get()).or_insert_with(|| {
            *given += 1;
            Verification {
                guard: VerificationGuard(*given),
                since: now,
                epoch: batch.epoch,
                lowest_sequence: batch.base_sequence,
                bumps_epoch,
            }
        });
        if batch.epoch > verification.epoch {
            verification.epoch = batch.epoch;
            verification.lowest_sequence = batch.base_sequence;
        } else if batch.epoch == verification.epoch {
            verification.lowest_sequence = verification.lowest_sequence.min(batch.base_sequence);
        }
        verification.guard
    }

    /// The transaction has its first batch here.
    pub(super) fn begun(&mut self, id: ProducerId) {
        self.waiting.remove(&id.get());
    }

    /// A transaction of the producer ended here. With KIP-890 a marker has the epoch of the transaction that follows, so
    /// one that is being asked for in that epoch is not the one that ended.
    pub(super) fn ended(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        let is_next = self.find(id).is_some_and(|found| found.bumps_epoch && found.epoch == epoch);
        if !is_next {
            self.waiting.remove(&id.get());
        }
    }

    pub(super) fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.waiting.retain(|_, found| now.get().saturating_sub(found.since.get()) < expiration_ms);
    }
}

//! What is known of one transactional id, and what each request makes of it. Nothing here is remembered or sent: a
//! transition takes what is and gives what would be, once its record is committed.
//!
//! | from | asked for | to | epoch |
//! | --- | --- | --- | --- |
//! | Empty, Complete* | initialisation | Empty | + 1, or 0 of a fresh producer id when it is exhausted |
//! | Ongoing | initialisation, timeout | PrepareAbort | + 1: the instance that had it is fenced |
//! | Empty, Complete*, Ongoing | partitions | Ongoing | |
//! | Ongoing | commit, abort | Prepare* | with KIP-890 + 1 |
//! | Empty, Complete* | abort, with KIP-890 | PrepareAbort | + 1 |
//! | Prepare* | all markers are written | Complete* | 0 of the next producer id, if there is one |

use super::error::TransactionError;
use super::partitions::PartitionSet;
use super::state::TransactionState;
use protocol::types::{ProducerEpoch, ProducerId, Timestamp, TransactionVersion};

/// A producer as it is told to clients, and as they tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

impl Producer {
    /// No producer.
    pub const NONE: Self = Self { id: ProducerId::NONE, epoch: ProducerEpoch::NONE };
}

/// How a transaction is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its records count.
    Commit,
    /// They never happened.
    Abort,
}

/// One transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) producer: Producer,
    /// The id before the last change.
    pub(super) previous_id: ProducerId,
    /// The id that follows once all markers are written.
    pub(super) next_id: ProducerId,
    /// The epoch before, where the same client may ask again for what it did not hear the answer of. Not in records.
    pub(super) last_epoch: ProducerEpoch,
    pub(super) timeout_ms: i32,
    pub(super) state: TransactionState,
    pub(super) partitions: PartitionSet,
    /// -1 where there was no transaction since the last initialisation.
    pub(super) started_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// What the client went by when it began or ended the transaction.
    pub(super) version: TransactionVersion,
}

/// What an end comes to.
pub(super) enum Ended {
    /// It was that before; what to tell the client.
    Already(Producer),
    /// This.
    Becomes(Transaction),
}

const NOT_STARTED: Timestamp = Timestamp(-1);

impl Transaction {
    /// A transactional id that nobody has used.
    pub(super) fn new(now: Timestamp, id: ProducerId, timeout_ms: i32) -> Self {
        Self {
            producer: Producer { id, epoch: ProducerEpoch::NONE },
            previous_id: ProducerId::NONE,
            next_id: ProducerId::NONE,
            last_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: PartitionSet::default(),
            started_at: NOT_STARTED,
            updated_at: now,
            version: TransactionVersion::V0,
        }
    }

    /// Whether no record of it is committed.
    pub(super) fn is_new(&self) -> bool {
        self.producer.epoch == ProducerEpoch::NONE
    }

    /// Another instance begins; `expected` is what it was before, where it says so (KIP-360).
    pub(super) fn initialise(
        &self,
        now: Timestamp,
        timeout_ms: i32,
        expected: Option<Producer>,
        fresh: Option<ProducerId>,
    ) -> Result<Self, TransactionError> {
        assert!(self.state.may_expire());
        let epoch = self.producer.epoch;
        let mut next = self.become_next(now, TransactionState::Empty);
        next.timeout_ms = timeout_ms;
        next.partitions = PartitionSet::default();
        next.started_at = NOT_STARTED;
        let is_current = self.is_new() || expected.is_none_or(|expected| expected.epoch == epoch);
        if is_current && epoch.is_exhausted() {
            let id = fresh.ok_or(TransactionError::NeedsProducerId)?;
            next.producer = Producer { id, epoch: ProducerEpoch(0) };
            next.last_epoch = expected.map_or(ProducerEpoch::NONE, |_| epoch);
        } else if is_current {
            next.producer.epoch = epoch.next().expect("an exhausted epoch is not raised");
            next.last_epoch = expected.map_or(ProducerEpoch::NONE, |_| epoch);
        } else if expected.is_some_and(|expected| expected.epoch == self.last_epoch) {
            // The answer to its last initialisation was lost.
            next.last_epoch = self.last_epoch;
        } else {
            return Err(TransactionError::Fenced);
        }
        Ok(next)
    }

    /// Whether a client that says to have been `expected` may initialise.
    pub(super) fn accepts(&self, expected: Producer) -> bool {
        // After a rotation whose answer was lost, the client has the id before, at its end.
        let is_before_rotation = expected.id == self.previous_id && expected.epoch.is_exhausted();
        self.is_new() || expected.id == self.producer.id || is_before_rotation
    }

    /// The open transaction is aborted, and whoever had it is fenced.
    pub(super) fn fence(
        &self,
        now: Timestamp,
        version: TransactionVersion,
        fresh: Option<ProducerId>,
    ) -> Result<Self, TransactionError> {
        assert_eq!(self.state, TransactionState::Ongoing);
        if version.bumps_epoch() {
            return self.prepare(now, End::Abort, version, fresh);
        }
        let mut next = self.become_next(now, TransactionState::PrepareAbort);
        next.version = TransactionVersion::V0;
        // At the very last epoch there is nobody else left to fence.
        next.producer.epoch = self.producer.epoch.next().unwrap_or(self.producer.epoch);
        next.last_epoch = ProducerEpoch::NONE;
        Ok(next)
    }

    /// Partitions join the transaction, or begin it.
    pub(super) fn add(&self, now: Timestamp, added: &PartitionSet, version: TransactionVersion) -> Self {
        let mut next = self.become_next(now, TransactionState::Ongoing);
        if self.state != TransactionState::Ongoing {
            next.started_at = now;
        }
        next.partitions.extend(added);
        next.version = version;
        next
    }

    /// A client ends its transaction by the rules before KIP-890.
    pub(super) fn end_classic(&self, now: Timestamp, end: End) -> Result<Ended, TransactionError> {
        match (self.state, end) {
            (TransactionState::Ongoing, _) => {
                let prepared = self.prepare(now, end, TransactionVersion::V0, None)?;
                Ok(Ended::Becomes(prepared))
            }
            (TransactionState::CompleteCommit, End::Commit)
            | (TransactionState::CompleteAbort, End::Abort) => Ok(Ended::Already(Producer::NONE)),
            _ => Err(TransactionError::InvalidState),
        }
    }

    /// A client of KIP-890 ends its transaction, or says again that it did.
    pub(super) fn end_bumping(
        &self,
        now: Timestamp,
        end: End,
        is_again: bool,
        fresh: Option<ProducerId>,
    ) -> Result<Ended, TransactionError> {
        match (self.state, end) {
            (TransactionState::CompleteCommit, End::Commit)
            | (TransactionState::CompleteAbort, End::Abort)
                if is_again =>
            {
                Ok(Ended::Already(self.producer))
            }
            (TransactionState::Ongoing, _) => {
                Ok(Ended::Becomes(self.prepare(now, end, TransactionVersion::V2, fresh)?))
            }
            (state, End::Abort) if state.may_expire() && !is_again => {
                let mut prepared = self.prepare(now, end, TransactionVersion::V2, fresh)?;
                prepared.started_at = now;
                Ok(Ended::Becomes(prepared))
            }
            _ => Err(TransactionError::InvalidState),
        }
    }

    /// Whether a client of KIP-890 that has this producer is ending its transaction again, having missed the answer: the
    /// epoch was raised meanwhile, or the id was changed.
    pub(super) fn is_end_again(&self, producer: Producer) -> bool {
        let is_raised = producer.epoch.next() == Some(self.producer.epoch);
        is_raised || self.is_rotated(producer)
    }

    /// Whether the producer is the one before the id was changed.
    pub(super) fn is_rotated(&self, producer: Producer) -> bool {
        self.previous_id == producer.id
            && producer.epoch == ProducerEpoch::LAST_GIVEN
            && self.producer.epoch == ProducerEpoch(0)
    }

    /// All markers are written.
    pub(super) fn complete(&self, now: Timestamp) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let mut next = self.become_next(now, state);
        next.partitions = PartitionSet::default();
        if self.version.bumps_epoch() && self.next_id != ProducerId::NONE {
            next.producer = Producer { id: self.next_id, epoch: ProducerEpoch(0) };
        }
        next
    }

    /// The end is decided: what stands once this is committed.
    fn prepare(
        &self,
        now: Timestamp,
        end: End,
        version: TransactionVersion,
        fresh: Option<ProducerId>,
    ) -> Result<Self, TransactionError> {
        let state = match end {
            End::Commit => TransactionState::PrepareCommit,
            End::Abort => TransactionState::PrepareAbort,
        };
        let mut next = self.become_next(now, state);
        next.version = version;
        if version.bumps_epoch() {
            if self.producer.epoch.is_exhausted() {
                next.next_id = fresh.ok_or(TransactionError::NeedsProducerId)?;
            }
            next.producer.epoch = self.producer.epoch.next().unwrap_or(self.producer.epoch);
            next.last_epoch = self.producer.epoch;
        }
        Ok(next)
    }

    fn become_next(&self, now: Timestamp, state: TransactionState) -> Self {
        assert!(self.state.leads_to(state), "{:?} does not lead to {state:?}", self.state);
        let (previous_id, next_id) = (self.producer.id, ProducerId::NONE);
        Self { state, previous_id, next_id, updated_at: now.max(self.updated_at), ..self.clone() }
    }
}

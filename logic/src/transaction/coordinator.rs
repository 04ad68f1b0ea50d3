//! The coordinator of the transactional ids of one partition of `__transaction_state`.
//!
//! Invariants: an id changes when the record of the change is committed, not before; meanwhile it takes no other change. An
//! id in a prepared state has a delivery of its markers, unless a newer coordinator was heard of. Each id has one timer
//! at most, and none while a record of it is under way.

use super::delivery::Delivery;
use super::effects::{AppendId, CallId, Effects, MarkersId, NewRecord, Outcome, Reply};
use super::error::TransactionError;
use super::partitions::PartitionSet;
use super::state::TransactionState;
use super::transition::{End, Ended, Producer, Transaction};
use crate::limits::{
    TRANSACTION_RETRY_MS, TRANSACTION_TIMERS_PER_STEP_MAX, TRANSACTIONAL_IDS_PER_PARTITION_MAX,
};
use protocol::transaction_log::{TRANSACTIONAL_ID_BYTES_MAX, encode_key};
use protocol::types::{PartitionIndex, ProducerId, Timestamp, TransactionVersion};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a coordinator goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// `transaction.max.timeout.ms`.
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
    /// The finalized level of `transaction.version`: what the coordinator itself ends transactions by.
    pub version: TransactionVersion,
}

/// One transactional id.
#[derive(Debug)]
pub(super) struct Slot {
    /// As committed.
    pub(super) transaction: Transaction,
    pub(super) pending: Option<Pending>,
    pub(super) delivery: Option<Delivery>,
    timer: Option<Timestamp>,
}

/// A change whose record is under way.
#[derive(Debug)]
pub(super) struct Pending {
    append: AppendId,
    /// What it changes to; none where the id is forgotten.
    target: Option<Transaction>,
    /// Who waits, and for what answer.
    reply: Option<(CallId, Outcome)>,
}

/// See the module.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: CoordinatorConfig,
    pub(super) epoch: i32,
    pub(super) slots: FxHashMap<Arc<str>, Slot>,
    appends: FxHashMap<AppendId, Arc<str>>,
    pub(super) deliveries: FxHashMap<u64, Arc<str>>,
    timers: BTreeSet<(Timestamp, Arc<str>)>,
    numbers_given: u64,
}

impl Coordinator {
    /// A coordinator without ids; [`super::Loader`] makes one of a log. `epoch` is the leader's epoch of its partition.
    pub(super) fn new(config: CoordinatorConfig, epoch: i32) -> Self {
        Self {
            config,
            epoch,
            slots: FxHashMap::default(),
            appends: FxHashMap::default(),
            deliveries: FxHashMap::default(),
            timers: BTreeSet::new(),
            numbers_given: 0,
        }
    }

    /// `transaction.version` is in force at this level from now on. What clients have begun they end as they have begun it.
    pub fn update_version(&mut self, version: TransactionVersion) {
        self.config.version = version;
    }

    /// When [`Coordinator::tick`] has something to do, if nothing else happens.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// InitProducerId with a transactional id. `expected` is what the client says to have been (version 3 and later).
    pub fn initialise(
        &mut self,
        now: Timestamp,
        call: CallId,
        request: &Initialise<'_>,
        fresh: Option<ProducerId>,
    ) -> Effects {
        let mut effects = Effects::default();
        let outcome = self.begin_initialise(now, call, request, fresh, &mut effects);
        answer_refusal(outcome, call, &mut effects);
        effects
    }

    /// AddPartitionsToTxn for one transaction, and AddOffsetsToTxn, whose partition is the one of `__consumer_offsets`
    /// that keeps the group. `version` is the client's: V2 for a partition that joins by being written to.
    pub fn add_partitions(
        &mut self,
        now: Timestamp,
        call: CallId,
        (id, producer): (&str, Producer),
        partitions: &PartitionSet,
        version: TransactionVersion,
    ) -> Effects {
        let mut effects = Effects::default();
        let outcome = self.begin_add(now, call, (id, producer), partitions, version, &mut effects);
        answer_refusal(outcome, call, &mut effects);
        effects
    }

    /// Whether each partition is in the transaction (AddPartitionsToTxn of brokers, to verify only).
    pub fn verify<'a>(
        &self,
        (id, producer): (&str, Producer),
        partitions: &'a PartitionSet,
    ) -> Result<Vec<(&'a str, PartitionIndex, bool)>, TransactionError> {
        check_id(id)?;
        let transaction = &self.slots.get(id).ok_or(TransactionError::UnknownMapping)?.transaction;
        check_producer(transaction, producer)?;
        if transaction.state.is_prepared() {
            return Err(TransactionError::Concurrent);
        }
        let is_in = |topic, partition| transaction.partitions.contains(topic, partition);
        Ok(partitions.iter().map(|(topic, one)| (topic, one, is_in(topic, one))).collect())
    }

    /// EndTxn. `version` is the client's: V2 from version 5 of the request on.
    pub fn end(
        &mut self,
        now: Timestamp,
        call: CallId,
        (id, producer): (&str, Producer),
        end: End,
        version: TransactionVersion,
        fresh: Option<ProducerId>,
    ) -> Effects {
        let mut effects = Effects::default();
        let outcome = if version.bumps_epoch() {
            self.begin_end_bumping(now, call, (id, producer), end, fresh, &mut effects)
        } else {
            self.begin_end_classic(now, call, (id, producer), end, &mut effects)
        };
        answer_refusal(outcome, call, &mut effects);
        effects
    }

    /// A record is committed. Records are committed in the order in which they were given out.
    pub fn committed(&mut self, now: Timestamp, append: AppendId) -> Effects {
        let mut effects = Effects::default();
        let id = self.appends.remove(&append).expect("a record is committed once");
        let slot = self.slots.get_mut(&id).expect("an id with a record under way stays");
        let pending = slot.pending.take().expect("its record is under way");
        assert_eq!(pending.append, append);
        effects.replies.extend(pending.reply);
        match pending.target {
            None => {
                assert!(slot.delivery.is_none());
                self.slots.remove(&id);
            }
            Some(target) => {
                slot.transaction = target;
                if slot.transaction.state.is_prepared() {
                    self.deliver(now, &id, &mut effects);
                } else {
                    self.end_delivery(&id);
                    self.set_timer(&id, None);
                }
            }
        }
        effects
    }

    /// A record was not appended, and never will be.
    pub fn refused(&mut self, now: Timestamp, append: AppendId) -> Effects {
        let mut effects = Effects::default();
        let id = self.appends.remove(&append).expect("a record is refused once");
        let slot = self.slots.get_mut(&id).expect("an id with a record under way stays");
        let pending = slot.pending.take().expect("its record is under way");
        assert_eq!(pending.append, append);
        if let Some((call, _)) = pending.reply {
            effects.replies.push((call, Err(TransactionError::NotAvailable)));
        }
        if slot.transaction.is_new() {
            self.slots.remove(&id);
        } else {
            let retry_at = Timestamp(now.get().saturating_add(TRANSACTION_RETRY_MS));
            self.set_timer(&id, Some(retry_at));
        }
        effects
    }

    /// Aborts transactions whose time is up, forgets ids that were not used for long, and tries again what failed: a
    /// bounded number of them; [`Coordinator::next_tick`] says when to come back. A fresh producer id serves one
    /// transaction, and is used up if a record of these effects was made of it.
    pub fn tick(&mut self, now: Timestamp, fresh: Option<ProducerId>) -> Effects {
        let mut effects = Effects::default();
        let mut fresh = fresh;
        for _ in 0..TRANSACTION_TIMERS_PER_STEP_MAX {
            if self.next_tick().is_none_or(|at| at > now) {
                break;
            }
            let (_, id) = self.timers.pop_first().expect("there is a first");
            self.slots.get_mut(&id).expect("an id with a timer").timer = None;
            self.on_timer(now, &id, &mut fresh, &mut effects);
        }
        effects
    }

    /// This broker is the coordinator no longer: what those who wait are told.
    #[must_use]
    pub fn resign(self) -> Vec<(CallId, Outcome)> {
        let waiting = self.slots.into_values().filter_map(|slot| slot.pending?.reply);
        let mut replies: Vec<_> =
            waiting.map(|(call, _)| (call, Err(TransactionError::NotCoordinator))).collect();
        replies.sort_unstable_by_key(|(call, _)| *call);
        replies
    }

    fn begin_initialise(
        &mut self,
        now: Timestamp,
        call: CallId,
        request: &Initialise<'_>,
        fresh: Option<ProducerId>,
        effects: &mut Effects,
    ) -> Result<(), TransactionError> {
        check_id(request.id)?;
        let (timeout_ms, timeout_ms_max) = (request.timeout_ms, self.config.timeout_ms_max);
        if !(1..=timeout_ms_max).contains(&timeout_ms) {
            return Err(TransactionError::InvalidTimeout { timeout_ms_max });
        }
        let id = self.find_or_add(now, request, fresh)?;
        let transaction = self.idle(&id)?;
        if request.expected.is_some_and(|expected| !transaction.accepts(expected)) {
            return Err(TransactionError::Fenced);
        }
        let (target, outcome) = if transaction.state == TransactionState::Ongoing {
            // The client comes back when the transaction has ended.
            (transaction.fence(now, self.config.version, fresh)?, Err(TransactionError::Concurrent))
        } else {
            let target = transaction.initialise(now, timeout_ms, request.expected, fresh)?;
            let producer = target.producer;
            (target, Ok(Reply::Initialised(producer)))
        };
        self.append(&id, Some(target), Some((call, outcome)), effects)
    }

    fn begin_add(
        &mut self,
        now: Timestamp,
        call: CallId,
        (id, producer): (&str, Producer),
        partitions: &PartitionSet,
        version: TransactionVersion,
        effects: &mut Effects,
    ) -> Result<(), TransactionError> {
        let id = self.known(id)?;
        let transaction = self.idle(&id)?;
        check_producer(transaction, producer)?;
        let is_ongoing = transaction.state == TransactionState::Ongoing;
        if is_ongoing && transaction.partitions.contains_all(partitions) {
            effects.replies.push((call, Ok(Reply::Added)));
            return Ok(());
        }
        let target = transaction.add(now, partitions, version);
        self.append(&id, Some(target), Some((call, Ok(Reply::Added))), effects)
    }

    fn begin_end_classic(
        &mut self,
        now: Timestamp,
        call: CallId,
        (id, producer): (&str, Producer),
        end: End,
        effects: &mut Effects,
    ) -> Result<(), TransactionError> {
        let id = self.known(id)?;
        check_producer(&self.slots[&id].transaction, producer)?;
        match self.idle(&id)?.end_classic(now, end)? {
            Ended::Already(producer) => {
                effects.replies.push((call, Ok(Reply::Ended(producer))));
                Ok(())
            }
            Ended::Becomes(target) => {
                self.append(&id, Some(target), Some((call, Ok(Reply::Ended(Producer::NONE)))), effects)
            }
        }
    }

    fn begin_end_bumping(
        &mut self,
        now: Timestamp,
        call: CallId,
        (id, producer): (&str, Producer),
        end: End,
        fresh: Option<ProducerId>,
        effects: &mut Effects,
    ) -> Result<(), TransactionError> {
        let id = self.known(id)?;
        // First of all: the producer may have an id already that is not committed yet.
        let transaction = self.idle(&id)?;
        if transaction.producer.id != producer.id && !transaction.is_rotated(producer) {
            return Err(TransactionError::UnknownMapping);
        }
        let is_current = transaction.producer == producer;
        let is_again = transaction.is_end_again(producer);
        let was_ended =
            matches!(transaction.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
        let is_known = is_current || (is_again && was_ended);
        if !is_known {
            return Err(TransactionError::Fenced);
        }
        match transaction.end_bumping(now, end, is_again, fresh)? {
            Ended::Already(producer) => {
                effects.replies.push((call, Ok(Reply::Ended(producer))));
                Ok(())
            }
            Ended::Becomes(target) => {
                // The client goes on as what the producer is once all markers are written.
                let producer = target.complete(now).producer;
                self.append(&id, Some(target), Some((call, Ok(Reply::Ended(producer)))), effects)
            }
        }
    }

    /// The id as the map has it.
    fn known(&self, id: &str) -> Result<Arc<str>, TransactionError> {
        check_id(id)?;
        let known = self.slots.get_key_value(id).map(|(known, _)| Arc::clone(known));
        known.ok_or(TransactionError::UnknownMapping)
    }

    /// The transaction of an id that nothing is under way for.
    fn idle(&self, id: &Arc<str>) -> Result<&Transaction, TransactionError> {
        let slot = &self.slots[id];
        if slot.is_busy() { Err(TransactionError::Concurrent) } else { Ok(&slot.transaction) }
    }

    fn find_or_add(
        &mut self,
        now: Timestamp,
        request: &Initialise<'_>,
        fresh: Option<ProducerId>,
    ) -> Result<Arc<str>, TransactionError> {
        if let Ok(known) = self.known(request.id) {
            return Ok(known);
        }
        if self.slots.len() >= TRANSACTIONAL_IDS_PER_PARTITION_MAX {
            return Err(TransactionError::TooManyIds);
        }
        let fresh = fresh.ok_or(TransactionError::NeedsProducerId)?;
        let transaction = Transaction::new(now, fresh, request.timeout_ms);
        let id: Arc<str> = Arc::from(request.id);
        self.slots.insert(Arc::clone(&id), Slot::new(transaction));
        Ok(id)
    }

    /// Gives out the record of a change, which takes place when that is committed.
    pub(super) fn append(
        &mut self,
        id: &Arc<str>,
        target: Option<Transaction>,
        reply: Option<(CallId, Outcome)>,
        effects: &mut Effects,
    ) -> Result<(), TransactionError> {
        let value = target.as_ref().map(|target| target.encode(self.config.version)).transpose()?;
        let append = AppendId(self.next_number());
        let slot = self.slots.get_mut(id).expect("known");
        assert!(slot.pending.is_none(), "one change at a time");
        slot.pending = Some(Pending { append, target, reply });
        if let Some(timer) = slot.timer.take() {
            self.timers.remove(&(timer, Arc::clone(id)));
        }
        self.appends.insert(append, Arc::clone(id));
        effects.records.push(NewRecord { append, key: encode_key(id), value });
        Ok(())
    }

    pub(super) fn next_markers_id(&mut self) -> MarkersId {
        MarkersId { coordinator_epoch: self.epoch, number: self.next_number() }
    }

    fn next_number(&mut self) -> u64 {
        self.numbers_given += 1;
        self.numbers_given
    }

    /// Sets the one timer of an id: at its deadline, or no earlier than `at`.
    pub(super) fn set_timer(&mut self, id: &Arc<str>, not_before: Option<Timestamp>) {
        let slot = self.slots.get_mut(id).expect("known");
        let due = slot.due(self.config.id_expiration_ms);
        let timer = due.map(|due| not_before.map_or(due, |not_before| due.max(not_before)));
        let before = std::mem::replace(&mut slot.timer, timer);
        if let Some(before) = before {
            self.timers.remove(&(before, Arc::clone(id)));
        }
        if let Some(timer) = timer {
            self.timers.insert((timer, Arc::clone(id)));
        }
    }

    fn on_timer(
        &mut self,
        now: Timestamp,
        id: &Arc<str>,
        fresh: &mut Option<ProducerId>,
        effects: &mut Effects,
    ) {
        let slot = &self.slots[id];
        assert!(slot.pending.is_none());
        if slot.due(self.config.id_expiration_ms).is_none_or(|due| due > now) {
            // The configs have changed since.
            return self.set_timer(id, None);
        }
        if slot.transaction.state.is_prepared() {
            return self.redeliver(now, id, effects);
        }
        if slot.transaction.state != TransactionState::Ongoing {
            return self.append(id, None, None, effects).expect("nothing is encoded");
        }
        match slot.transaction.fence(now, self.config.version, *fresh) {
            Ok(target) => {
                if target.next_id != ProducerId::NONE {
                    *fresh = None;
                }
                self.append(id, Some(target), None, effects).expect("its partitions fitted before");
            }
            Err(error) => {
                assert_eq!(error, TransactionError::NeedsProducerId);
                effects.needs_producer_id = true;
                let retry_at = Timestamp(now.get().saturating_add(TRANSACTION_RETRY_MS));
                self.set_timer(id, Some(retry_at));
            }
        }
    }
}

/// What InitProducerId asks for.
#[derive(Clone, Copy, Debug)]
pub struct Initialise<'a> {
    /// The transactional id.
    pub id: &'a str,
    /// After how long an open transaction is aborted.
    pub timeout_ms: i32,
    /// What the client says to have been, with an id and an epoch.
    pub expected: Option<Producer>,
}

impl Slot {
    pub(super) fn new(transaction: Transaction) -> Self {
        Self { transaction, pending: None, delivery: None, timer: None }
    }

    /// Whether it takes no change, because a record of one is under way or a transaction is being ended.
    pub(super) fn is_busy(&self) -> bool {
        self.pending.is_some() || self.transaction.state.is_prepared()
    }

    /// Whether it is being forgotten.
    pub(super) fn is_going(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.target.is_none())
    }

    /// When something has to be done for it without being asked.
    fn due(&self, id_expiration_ms: i64) -> Option<Timestamp> {
        let transaction = &self.transaction;
        let after = |from: Timestamp, ms: i64| Some(Timestamp(from.get().saturating_add(ms)));
        match transaction.state {
            _ if self.pending.is_some() => None,
            TransactionState::Ongoing => after(transaction.started_at, i64::from(transaction.timeout_ms) + 1),
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                self.delivery.as_ref().and_then(Delivery::due)
            }
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                after(transaction.updated_at, id_expiration_ms)
            }
        }
    }
}

fn check_id(id: &str) -> Result<(), TransactionError> {
    let is_id = (1..=TRANSACTIONAL_ID_BYTES_MAX).contains(&id.len());
    if is_id { Ok(()) } else { Err(TransactionError::InvalidId) }
}

fn check_producer(transaction: &Transaction, producer: Producer) -> Result<(), TransactionError> {
    if transaction.producer.id != producer.id {
        return Err(TransactionError::UnknownMapping);
    }
    if transaction.producer.epoch != producer.epoch {
        return Err(TransactionError::Fenced);
    }
    Ok(())
}

fn answer_refusal(outcome: Result<(), TransactionError>, call: CallId, effects: &mut Effects) {
    if let Err(error) = outcome {
        assert!(effects.records.is_empty());
        effects.replies.push((call, Err(error)));
    }
}

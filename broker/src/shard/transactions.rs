//! The coordinators of transactional ids on this shard: one for each partition of `__transaction_state` that it leads.
//!
//! `logic::transaction` decides. Here it is given its log, a clock, producer ids, and a way to the partitions that
//! markers are written in. Requests are handed in by whoever brings them, between two steps of a coordinator's task.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use logic::metadata::{Feature, Image};
use logic::transaction::{
    AppendId, CallId, Coordinator, CoordinatorConfig, Effects, Initialise, ListFilter, Loader, MarkerAnswer,
    Markers, TransactionError,
};
use protocol::types::{Offset, PartitionKey, ProducerId, Timestamp, TransactionVersion};
use rustc_hash::FxHashMap;

use super::background::pause;
use super::calls::Calls;
use super::coordinator_task::{Clock, wait_for_work, wait_while};
use super::messages::{
    Answer, DescribedTransaction, ListRequest, ListedTransaction, PartitionError, TransactionAnswer,
    TransactionRefusal, TransactionReply, TransactionRequest,
};
use super::partition::Partition;
use super::{Shard, coordinator_log, markers};
use crate::limits::COORDINATOR_RETRY_SECONDS;
use crate::runtime::{Queue, Signal, spawn_into};

/// The coordinators of a shard.
pub struct Transactions {
    config: CoordinatorConfig,
    led: RefCell<FxHashMap<PartitionKey, Rc<Led>>>,
}

/// A coordinator and the log that it lives in.
pub(super) struct Led {
    partition: Rc<Partition>,
    phase: RefCell<Phase>,
    /// Requests that are not answered yet.
    calls: Calls,
    /// Records that are on their way to being committed, by where they end.
    due: RefCell<VecDeque<(Offset, AppendId)>>,
    /// Something has changed that the task has to know.
    changed: Signal,
    /// Records were committed, or refused: ids may be idle since.
    settled: Signal,
    /// A transaction whose time is up needs a producer id.
    needs_producer_id: Cell<bool>,
    clock: Clock,
}

enum Phase {
    /// The log is being read.
    Loading,
    /// Requests are taken.
    Running(Box<Coordinator>),
    /// The partition is not led here any more.
    Ended,
}

impl Transactions {
    /// No coordinator yet.
    #[must_use]
    pub fn new(config: CoordinatorConfig) -> Self {
        Self { config, led: RefCell::default() }
    }

    /// A partition of the topic is led here from now on.
    pub fn begin(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let led = Rc::new(Led {
            partition: Rc::clone(partition),
            phase: RefCell::new(Phase::Loading),
            calls: Calls::default(),
            due: RefCell::default(),
            changed: Signal::default(),
            settled: Signal::default(),
            needs_producer_id: Cell::new(false),
            clock: Clock::default(),
        });
        let before = self.led.borrow_mut().insert(partition.key, Rc::clone(&led));
        assert!(before.is_none(), "a partition is led once");
        spawn_into(Queue::Latency, live(led, Rc::clone(shard)));
    }

    /// A partition is led here no longer: whoever waits is told to look elsewhere.
    pub fn end(&self, key: PartitionKey) {
        if let Some(led) = self.led.borrow_mut().remove(&key) {
            led.end();
        }
    }

    /// Brings a request to the coordinator in a partition, and waits for its answer.
    pub async fn ask(
        &self,
        shard: &Rc<Shard>,
        key: PartitionKey,
        request: TransactionRequest,
    ) -> TransactionAnswer {
        let led = self.led.borrow().get(&key).cloned().ok_or(TransactionRefusal::NotHere)?;
        if let Some(answer) = led.look(shard, &request) {
            return answer;
        }
        let wait_end = Instant::now() + shard.config.transaction_wait_max;
        loop {
            let answer = led.change_as_needed(shard, &request).await;
            match (&request, &answer) {
                (
                    TransactionRequest::Add { id, waits: true, .. },
                    Err(TransactionRefusal::Refused(TransactionError::Concurrent)),
                ) if led.await_idle(shard, id, wait_end).await => {}
                _ => return answer,
            }
        }
    }
}

/// A coordinator's life.
async fn live(led: Rc<Led>, shard: Rc<Shard>) {
    loop {
        match led.load(&shard).await {
            Ok(loader) => return led.run(&shard, loader).await,
            Err(error) => {
                if shard.stopping.is_raised() || matches!(*led.phase.borrow(), Phase::Ended) {
                    return;
                }
                tracing::error!(partition = %led.partition.key, %error, "transactions can't be loaded");
                if !pause(&shard, Duration::from_secs(COORDINATOR_RETRY_SECONDS)).await {
                    return;
                }
            }
        }
    }
}

impl Led {
    async fn load(&self, shard: &Shard) -> Result<Loader, PartitionError> {
        let mut loader = Loader::default();
        coordinator_log::read_all(shard, &self.partition, |_, record| {
            if let Err(error) = loader.replay(record.key.unwrap_or_default(), record.value) {
                let offset = record.offset.get();
                tracing::warn!(partition = %self.partition.key, offset, %error, "passed over");
            }
        })
        .await?;
        Ok(loader)
    }

    /// Serves until the shard stops or the partition goes.
    async fn run(self: &Rc<Self>, shard: &Rc<Shard>, loader: Loader) {
        if matches!(*self.phase.borrow(), Phase::Ended) {
            return;
        }
        let epoch = self.partition.replica().leader_epoch().get();
        let config =
            CoordinatorConfig { version: version_in_force(&shard.image()), ..shard.transactions.config };
        let (coordinator, effects) = loader.finish(self.clock.now(shard), config, epoch);
        self.phase.replace(Phase::Running(Box::new(coordinator)));
        self.carry_out(shard, effects);
        loop {
            let (advanced, changed) = (self.partition.advanced.next(), self.changed.next());
            self.settle_due(shard);
            let now = self.clock.now(shard);
            let deadline = match &*self.phase.borrow() {
                Phase::Running(coordinator) => coordinator.next_tick(),
                Phase::Loading | Phase::Ended => return,
            };
            if deadline.is_some_and(|deadline| deadline <= now) {
                let wants_id = self.needs_producer_id.take();
                let fresh = if wants_id { shard.next_producer_id().await } else { None };
                self.turn(shard, |coordinator| coordinator.tick(now, fresh));
                continue;
            }
            if !wait_for_work(shard, advanced, changed, (now, deadline)).await {
                return;
            }
        }
    }

    /// Answers what changes nothing; none where the request is to change something.
    fn look(&self, shard: &Shard, request: &TransactionRequest) -> Option<TransactionAnswer> {
        let phase = self.phase.borrow();
        let coordinator = match running(&phase) {
            Ok(coordinator) => coordinator,
            Err(refusal) => return Some(Err(refusal)),
        };
        Some(match request {
            TransactionRequest::Verify { id, producer, partitions } => coordinator
                .verify((id, *producer), partitions)
                .map(|lines| {
                    let those_in = lines.into_iter().filter(|(.., is_in)| *is_in);
                    TransactionReply::Verified(
                        those_in.map(|(topic, partition, _)| (topic, partition)).collect(),
                    )
                })
                .map_err(TransactionRefusal::from),
            TransactionRequest::Describe(id) => describe(coordinator, id),
            TransactionRequest::List(wanted) => {
                Ok(TransactionReply::Listed(list(coordinator, self.clock.now(shard), wanted)))
            }
            TransactionRequest::Initialise { .. }
            | TransactionRequest::Add { .. }
            | TransactionRequest::End { .. } => return None,
        })
    }

    /// Hands in what is to change something, with a producer id if it takes one.
    async fn change_as_needed(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        request: &TransactionRequest,
    ) -> TransactionAnswer {
        match self.change(shard, request, None).await {
            Err(TransactionRefusal::Refused(TransactionError::NeedsProducerId)) => {
                let fresh = shard.next_producer_id().await.ok_or(TransactionRefusal::Unavailable)?;
                self.change(shard, request, Some(fresh)).await
            }
            answer => answer,
        }
    }

    /// Hands in what is to change something, and waits for the answer.
    async fn change(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        request: &TransactionRequest,
        fresh: Option<ProducerId>,
    ) -> TransactionAnswer {
        running(&self.phase.borrow())?;
        self.partition.check_own_append(&shard.store).map_err(|_| TransactionRefusal::Unavailable)?;
        let asked = self.calls.open();
        let (now, call) = (self.clock.now(shard), CallId(asked.call()));
        self.turn(shard, |coordinator| match request {
            TransactionRequest::Initialise { id, timeout_ms, expected } => {
                let initialise = Initialise { id, timeout_ms: *timeout_ms, expected: *expected };
                coordinator.initialise(now, call, &initialise, fresh)
            }
            TransactionRequest::Add { id, producer, partitions, version, waits: _ } => {
                coordinator.add_partitions(now, call, (id, *producer), partitions, *version)
            }
            TransactionRequest::End { id, producer, end, version } => {
                coordinator.end(now, call, (id, *producer), *end, *version, fresh)
            }
            TransactionRequest::Verify { .. }
            | TransactionRequest::Describe(_)
            | TransactionRequest::List(_) => unreachable!("looking changes nothing"),
        });
        match asked.answer().await {
            Answer::Transaction(answer) => answer,
            _ => unreachable!("a coordinator answers as such"),
        }
    }

    /// Waits until nothing is under way for an id. False when its time is up or the shard is to stop.
    async fn await_idle(&self, shard: &Shard, id: &str, end: Instant) -> bool {
        let is_busy = || running(&self.phase.borrow()).is_ok_and(|coordinator| coordinator.is_busy(id));
        wait_while(is_busy, &self.settled, &shard.stopping, end).await
    }

    /// Whether it leads its transactional ids: it does not when the partition has gone elsewhere.
    pub(super) fn is_running(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Running(_))
    }

    /// What became of a marker in one partition.
    pub(super) fn marker_answered(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        markers: &Markers,
        place: (&str, protocol::types::PartitionIndex),
        answer: MarkerAnswer,
    ) {
        let now = self.clock.now(shard);
        self.turn(shard, |coordinator| coordinator.marker_answered(now, markers.id, place, answer));
    }

    /// One input: what comes of it is carried out before the next.
    fn turn(self: &Rc<Self>, shard: &Rc<Shard>, input: impl FnOnce(&mut Coordinator) -> Effects) {
        let effects = match &mut *self.phase.borrow_mut() {
            Phase::Running(coordinator) => {
                coordinator.update_version(version_in_force(&shard.image()));
                input(coordinator)
            }
            Phase::Loading | Phase::Ended => return,
        };
        self.carry_out(shard, effects);
        // The task settles what is committed, and sets its timer again.
        self.changed.raise();
    }

    fn carry_out(self: &Rc<Self>, shard: &Rc<Shard>, effects: Effects) {
        let mut refused = Vec::new();
        for record in &effects.records {
            let (store, now) = (&shard.store, shard.now());
            let one = std::iter::once((&record.key, record.value.as_ref()));
            match coordinator_log::append(store, &self.partition, now, one, None) {
                Ok(()) => {
                    let end = self.partition.replica().log_end();
                    self.due.borrow_mut().push_back((end, record.append));
                }
                Err(error) => {
                    tracing::warn!(partition = %self.partition.key, %error, "a transaction's record was refused");
                    refused.push(record.append);
                }
            }
        }
        for (call, outcome) in effects.replies {
            let answer = outcome.map(TransactionReply::Changed).map_err(TransactionRefusal::from);
            self.calls.answer(call.0, Answer::Transaction(answer));
        }
        for markers in effects.markers {
            spawn_into(Queue::Latency, markers::deliver(Rc::clone(shard), Rc::clone(self), markers));
        }
        if effects.needs_producer_id {
            self.needs_producer_id.set(true);
        }
        for append in refused {
            let now = self.clock.now(shard);
            // A record that is refused asks for no other.
            self.turn(shard, |coordinator| coordinator.refused(now, append));
            self.settled.raise();
        }
    }

    /// Tells the coordinator which of its records are committed.
    fn settle_due(self: &Rc<Self>, shard: &Rc<Shard>) {
        let committed = self.partition.replica().high_watermark();
        while let Some(append) = self.next_committed(committed) {
            let now = self.clock.now(shard);
            self.turn(shard, |coordinator| coordinator.committed(now, append));
            self.settled.raise();
        }
    }

    fn next_committed(&self, committed: Offset) -> Option<AppendId> {
        let mut due = self.due.borrow_mut();
        due.pop_front_if(|(end, _)| *end <= committed).map(|(_, append)| append)
    }

    fn end(&self) {
        if let Phase::Running(coordinator) = self.phase.replace(Phase::Ended) {
            for (call, outcome) in coordinator.resign() {
                let answer = outcome.map(TransactionReply::Changed).map_err(TransactionRefusal::from);
                self.calls.answer(call.0, Answer::Transaction(answer));
            }
        }
        self.due.borrow_mut().clear();
        self.settled.raise();
        self.changed.raise();
    }
}

/// The level of `transaction.version`.
fn version_in_force(image: &Image) -> TransactionVersion {
    TransactionVersion::from_level(image.features().of(Feature::Transaction))
        .expect("levels are those of the type")
}

fn running(phase: &Phase) -> Result<&Coordinator, TransactionRefusal> {
    match phase {
        Phase::Running(coordinator) => Ok(coordinator),
        Phase::Loading => Err(TransactionRefusal::Loading),
        Phase::Ended => Err(TransactionRefusal::NotHere),
    }
}

fn describe(coordinator: &Coordinator, id: &str) -> TransactionAnswer {
    let found = coordinator.describe(id)?;
    Ok(TransactionReply::Described(Box::new(DescribedTransaction {
        state: found.state,
        producer: found.producer,
        timeout_ms: found.timeout_ms,
        started_at: found.started_at,
        partitions: found.partitions.clone(),
    })))
}

fn list(coordinator: &Coordinator, now: Timestamp, wanted: &ListRequest) -> Vec<ListedTransaction> {
    let matches = |id: &str| wanted.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id));
    let filter = ListFilter {
        states: wanted.states.as_deref(),
        producer_ids: &wanted.producer_ids,
        open_longer_than_ms: wanted.open_longer_than_ms,
        matches: Some(&matches),
    };
    coordinator
        .list(now, filter)
        .map(|(id, producer_id, state)| ListedTransaction { id: id.into(), producer_id, state })
        .collect()
}

//! The coordinators of consumer groups on this shard: one for each partition of `__consumer_offsets` that it leads.
//!
//! `logic::group` decides. Here it is given its log: it is rebuilt by reading the partition, its records are appended,
//! and what it answers leaves when they are committed. A task for each coordinator loads it, minds its timers, and tells
//! who waits; requests are handed in by whoever brings them, between two steps of that task.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use logic::group::{
    Answer as Outcome, Coordinator, Effects, GroupSettings, Name, ReplayError, Request, Ticket,
    TransactionalCommit, When,
};
use logic::metadata::Image;
use logic::producer::VerificationGuard;
use protocol::batch::BatchHeader;
use protocol::records::{ControlKind, ControlRecord, Record};
use protocol::types::{Offset, PartitionKey, ProducerId, Timestamp};
use rustc_hash::FxHashMap;

use super::background::pause;
use super::calls::Calls;
use super::coordinator_task::{Clock, wait_for_work};
use super::messages::{Answer, GroupAnswer, GroupRefusal, PartitionError};
use super::partition::Partition;
use super::produce::ProduceRefusal;
use super::{Shard, coordinator_log};
use crate::limits::COORDINATOR_RETRY_SECONDS;
use crate::runtime::{Queue, Signal, spawn_into};

/// The coordinators of a shard.
pub struct Groups {
    settings: GroupSettings,
    led: RefCell<FxHashMap<PartitionKey, Rc<Led>>>,
}

/// A coordinator and the log that it lives in.
struct Led {
    partition: Rc<Partition>,
    phase: RefCell<Phase>,
    /// Requests that are not answered yet.
    calls: Calls,
    /// Answers that wait until the log is committed up to an offset.
    due: RefCell<VecDeque<(Offset, Outcome)>>,
    /// Something has changed that the task has to know.
    changed: Signal,
    /// What the task's timer is set to.
    armed: Cell<Option<Timestamp>>,
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

impl Groups {
    /// No coordinator yet.
    #[must_use]
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings, led: RefCell::default() }
    }

    /// A partition of the topic is led here from now on.
    pub fn begin(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let led = Rc::new(Led {
            partition: Rc::clone(partition),
            phase: RefCell::new(Phase::Loading),
            calls: Calls::default(),
            due: RefCell::default(),
            changed: Signal::default(),
            armed: Cell::new(None),
            clock: Clock::default(),
        });
        let before = self.led.borrow_mut().insert(partition.key, Rc::clone(&led));
        assert!(before.is_none(), "a partition is led once");
        spawn_into(Queue::Latency, live(led, Rc::clone(shard)));
    }

    /// A partition is led here no longer: whoever waits is told to look elsewhere.
    pub fn end(&self, shard: &Shard, key: PartitionKey) {
        if let Some(led) = self.led.borrow_mut().remove(&key) {
            led.end(shard, Phase::Ended);
        }
    }

    /// Brings a request to the coordinator in a partition, and waits for its answer.
    pub async fn ask(&self, shard: &Rc<Shard>, key: PartitionKey, request: Request) -> GroupAnswer {
        let led = self.led.borrow().get(&key).cloned().ok_or(GroupRefusal::NotHere)?;
        let asked = led.calls.open();
        led.hand_in(shard, Ticket(asked.call()), request)?;
        match asked.answer().await {
            Answer::Group(answer) => answer,
            _ => unreachable!("a coordinator answers as such"),
        }
    }

    /// Commits offsets in a transaction, where the partition takes a batch of it.
    pub async fn commit_in_transaction(
        &self,
        shard: &Rc<Shard>,
        key: PartitionKey,
        commit: TransactionalCommit,
        guard: Option<VerificationGuard>,
    ) -> GroupAnswer {
        let led = self.led.borrow().get(&key).cloned().ok_or(GroupRefusal::NotHere)?;
        let batch = coordinator_log::stamp((commit.producer_id, commit.producer_epoch), 1);
        let checked = led.partition.check_own_in_transaction(&shard.store, &batch, guard);
        checked.map_err(|refusal| match refusal {
            ProduceRefusal::Producer(error) => GroupRefusal::Producer(error),
            _ => GroupRefusal::Unavailable,
        })?;
        self.ask(shard, key, Request::CommitInTransaction(commit)).await
    }

    /// The marker of a producer's transaction is committed in a partition.
    pub fn end_transaction(&self, key: PartitionKey, producer: ProducerId, is_committed: bool) {
        if let Some(led) = self.led.borrow().get(&key)
            && let Phase::Running(coordinator) = &mut *led.phase.borrow_mut()
        {
            // One that is loading reads the marker.
            coordinator.end_transaction(producer, is_committed);
        }
    }

    /// Topics are gone, and with them the offsets that groups have committed there.
    pub fn forget_topics(&self, shard: &Shard, topics: &[Name]) {
        let all: Vec<Rc<Led>> = self.led.borrow().values().cloned().collect();
        for led in all {
            let ticket = Ticket(led.calls.name());
            // A coordinator that is loading looks for such topics itself when it has loaded.
            let _ = led.hand_in(shard, ticket, Request::TopicsDeleted { topics: topics.to_vec() });
        }
    }
}

/// A coordinator's life.
async fn live(led: Rc<Led>, shard: Rc<Shard>) {
    loop {
        match led.load(&shard).await {
            Ok(coordinator) => led.run(&shard, coordinator).await,
            Err(error) => {
                tracing::error!(partition = %led.partition.key, %error, "groups can't be loaded");
                if !pause(&shard, Duration::from_secs(COORDINATOR_RETRY_SECONDS)).await {
                    return;
                }
            }
        }
        if shard.stopping.is_raised() || matches!(*led.phase.borrow(), Phase::Ended) {
            return;
        }
    }
}

impl Led {
    /// Rebuilds the coordinator from its log.
    async fn load(&self, shard: &Shard) -> Result<Coordinator, PartitionError> {
        let mut coordinator = Coordinator::new(shard.groups.settings.clone());
        coordinator_log::read_all(shard, &self.partition, |header, record| {
            if let Err(error) = replay(&mut coordinator, header, record) {
                let offset = record.offset.get();
                tracing::warn!(partition = %self.partition.key, offset, %error, "passed over");
            }
        })
        .await?;
        Ok(coordinator)
    }

    /// Serves until the shard stops, the partition goes, or the log has to be read again.
    async fn run(&self, shard: &Shard, mut coordinator: Coordinator) {
        coordinator.update_image(shard.image());
        let effects = coordinator.start(self.clock.now(shard));
        if matches!(*self.phase.borrow(), Phase::Ended) {
            return;
        }
        let topics = gone_topics(&coordinator, &shard.image());
        let (now, ticket) = (self.clock.now(shard), Ticket(self.calls.name()));
        self.phase.replace(Phase::Running(Box::new(coordinator)));
        self.carry_out(shard, effects);
        self.turn(shard, |coordinator| coordinator.handle(now, ticket, Request::TopicsDeleted { topics }));
        loop {
            let (advanced, changed) = (self.partition.advanced.next(), self.changed.next());
            self.settle_due();
            let now = self.clock.now(shard);
            let deadline = match &mut *self.phase.borrow_mut() {
                Phase::Running(coordinator) => coordinator.deadline(),
                Phase::Loading | Phase::Ended => return,
            };
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.turn(shard, |coordinator| coordinator.on_time(now));
                continue;
            }
            self.armed.set(deadline);
            if !wait_for_work(shard, advanced, changed, (now, deadline)).await {
                return;
            }
        }
    }

    /// Hands a request in, if they are taken.
    fn hand_in(&self, shard: &Shard, ticket: Ticket, request: Request) -> Result<(), GroupRefusal> {
        match &*self.phase.borrow() {
            Phase::Running(_) => {}
            Phase::Loading => return Err(GroupRefusal::Loading),
            Phase::Ended => return Err(GroupRefusal::NotHere),
        }
        // The coordinator changes before its records are appended: it is not asked where they would be refused.
        self.partition.check_own_append(&shard.store).map_err(|_| GroupRefusal::Unavailable)?;
        let now = self.clock.now(shard);
        self.turn(shard, |coordinator| coordinator.handle(now, ticket, request));
        Ok(())
    }

    /// One input: what comes of it is carried out before the next.
    fn turn(&self, shard: &Shard, input: impl FnOnce(&mut Coordinator) -> Effects) {
        let effects = match &mut *self.phase.borrow_mut() {
            Phase::Running(coordinator) => {
                // What topics there are matters to inputs alone: consumer groups look at their members' heartbeats.
                coordinator.update_image(shard.image());
                input(coordinator)
            }
            Phase::Loading | Phase::Ended => return,
        };
        self.carry_out(shard, effects);
    }

    fn carry_out(&self, shard: &Shard, effects: Effects) {
        let records = effects.records.iter().map(|record| (&record.key, record.value.as_ref()));
        let appended =
            coordinator_log::append(&shard.store, &self.partition, shard.now(), records, effects.transaction);
        if let Err(error) = appended {
            tracing::warn!(partition = %self.partition.key, %error, "groups are read again: a record was refused");
            for outcome in effects.answers {
                self.calls.answer(outcome.ticket.0, Answer::Group(Err(GroupRefusal::Unavailable)));
            }
            return self.end(shard, Phase::Loading);
        }
        let end = self.partition.replica().log_end();
        for outcome in effects.answers {
            match outcome.when {
                When::Now => self.settle(outcome),
                When::Committed => self.due.borrow_mut().push_back((end, outcome)),
            }
        }
        self.settle_due();
        let deadline = match &*self.phase.borrow() {
            Phase::Running(coordinator) => coordinator.deadline(),
            Phase::Loading | Phase::Ended => None,
        };
        if deadline.is_some_and(|deadline| self.armed.get().is_none_or(|armed| deadline < armed)) {
            self.changed.raise();
        }
    }

    /// Tells whose records are committed.
    fn settle_due(&self) {
        let committed = self.partition.replica().high_watermark();
        loop {
            let next = {
                let mut due = self.due.borrow_mut();
                if due.front().is_none_or(|(end, _)| *end > committed) {
                    return;
                }
                due.pop_front().expect("there is a first")
            };
            self.settle(next.1);
        }
    }

    fn settle(&self, outcome: Outcome) {
        self.calls.answer(outcome.ticket.0, Answer::Group(Ok(outcome.reply)));
    }

    /// The coordinator stops. Where it is to be loaded again, answers whose records are in the log stay due.
    fn end(&self, shard: &Shard, next: Phase) {
        let is_over = matches!(next, Phase::Ended);
        let before = self.phase.replace(next);
        if let Phase::Running(mut coordinator) = before {
            for outcome in coordinator.resign(self.clock.now(shard)).answers {
                self.settle(outcome);
            }
        }
        if is_over {
            for (_, outcome) in self.due.take() {
                self.calls.answer(outcome.ticket.0, Answer::Group(Err(GroupRefusal::NotHere)));
            }
        }
        self.changed.raise();
    }
}

/// Lets a record of the log, or a marker in it, count.
pub(super) fn replay(
    coordinator: &mut Coordinator,
    header: &BatchHeader,
    record: &Record<'_>,
) -> Result<(), ReplayError> {
    if header.is_control() {
        if let Ok(Some(marker)) = ControlRecord::read(record) {
            coordinator.end_transaction(header.producer_id(), marker.kind == ControlKind::Commit);
        }
        return Ok(());
    }
    let transaction = header.is_transactional().then(|| header.producer_id());
    coordinator.replay(transaction, record.key.unwrap_or_default(), record.value)
}

/// Topics with committed offsets that were deleted while nobody could say so to the coordinator.
fn gone_topics(coordinator: &Coordinator, image: &Image) -> Vec<Name> {
    coordinator.committed_topics().into_iter().filter(|topic| image.topic(topic).is_none()).collect()
}

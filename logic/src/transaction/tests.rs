//! What a coordinator promises: as scripts for each transition, and against crashes between any two steps.

mod cluster;
mod scripts;

use super::*;
use bytes::Bytes;
use protocol::types::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TransactionVersion};
use std::collections::VecDeque;

/// The coordinator of one partition, its log, and what is under way.
pub(super) struct Harness {
    pub(super) coordinator: Coordinator,
    pub(super) config: CoordinatorConfig,
    pub(super) now: i64,
    /// Committed records, key and value.
    pub(super) log: Vec<(Bytes, Option<Bytes>)>,
    /// Records under way.
    pub(super) appended: VecDeque<NewRecord>,
    pub(super) markers: Vec<Markers>,
    pub(super) replies: Vec<(CallId, Outcome)>,
    pub(super) next_producer_id: i64,
    pub(super) epoch: i32,
    calls: u64,
}

pub(super) fn config(version: TransactionVersion) -> CoordinatorConfig {
    CoordinatorConfig { timeout_ms_max: 900_000, id_expiration_ms: 1_000_000, version }
}

pub(super) fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

impl Harness {
    pub(super) fn new(version: TransactionVersion) -> Self {
        let config = config(version);
        let (coordinator, effects) = Loader::default().finish(Timestamp(0), config, 1);
        assert_eq!(effects, Effects::default());
        Self {
            coordinator,
            config,
            now: 0,
            log: Vec::new(),
            appended: VecDeque::new(),
            markers: Vec::new(),
            replies: Vec::new(),
            next_producer_id: 100,
            epoch: 1,
            calls: 0,
        }
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub(super) fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    pub(super) fn take(&mut self, effects: Effects) {
        self.appended.extend(effects.records);
        self.replies.extend(effects.replies);
        self.markers.extend(effects.markers);
    }

    /// Carries a request out, with a fresh producer id where it needs one.
    pub(super) fn ask(
        &mut self,
        request: impl Fn(&mut Coordinator, Timestamp, CallId, Option<ProducerId>) -> Effects,
    ) -> CallId {
        let (call, now) = (self.next_call(), self.time());
        let mut effects = request(&mut self.coordinator, now, call, None);
        if effects.replies == [(call, Err(TransactionError::NeedsProducerId))] {
            let fresh = ProducerId(self.next_producer_id);
            self.next_producer_id += 1;
            effects = request(&mut self.coordinator, now, call, Some(fresh));
        }
        self.take(effects);
        call
    }

    pub(super) fn initialise(&mut self, id: &str, timeout_ms: i32, expected: Option<Producer>) -> CallId {
        self.ask(|coordinator, now, call, fresh| {
            coordinator.initialise(now, call, &Initialise { id, timeout_ms, expected }, fresh)
        })
    }

    pub(super) fn add(&mut self, id: &str, producer: Producer, topic: &str, index: i32) -> CallId {
        let partitions = PartitionSet::from_iter([(topic, PartitionIndex(index))]);
        let version = self.config.version;
        self.ask(|coordinator, now, call, _| {
            coordinator.add_partitions(now, call, (id, producer), &partitions, version)
        })
    }

    pub(super) fn end(
        &mut self,
        id: &str,
        producer: Producer,
        end: End,
        version: TransactionVersion,
    ) -> CallId {
        self.ask(|coordinator, now, call, fresh| {
            coordinator.end(now, call, (id, producer), end, version, fresh)
        })
    }

    /// The first record under way is committed: whether there was one.
    pub(super) fn commit(&mut self) -> bool {
        let Some(record) = self.appended.pop_front() else { return false };
        self.log.push((record.key, record.value));
        let effects = self.coordinator.committed(self.time(), record.append);
        self.take(effects);
        true
    }

    /// The last record under way is refused by the log.
    pub(super) fn refuse(&mut self) {
        let record = self.appended.pop_back().expect("one is under way");
        let effects = self.coordinator.refused(self.time(), record.append);
        self.take(effects);
    }

    pub(super) fn answer(&mut self, markers: &Markers, answer: MarkerAnswer) {
        for (topic, partition) in markers.partitions.iter() {
            let time = self.time();
            let effects = self.coordinator.marker_answered(time, markers.id, (topic, partition), answer);
            self.take(effects);
        }
    }

    pub(super) fn tick(&mut self) {
        let effects = self.coordinator.tick(self.time(), None);
        let needs_producer_id = effects.needs_producer_id;
        self.take(effects);
        if needs_producer_id {
            self.now = self.coordinator.next_tick().expect("it comes back").get().max(self.now);
            let fresh = ProducerId(self.next_producer_id);
            self.next_producer_id += 1;
            let effects = self.coordinator.tick(self.time(), Some(fresh));
            self.take(effects);
        }
    }

    /// The coordinator is gone, and with it all that was not committed; another one takes up the log.
    pub(super) fn crash(&mut self) {
        self.appended.clear();
        self.markers.clear();
        self.replies.clear();
        self.epoch += 1;
        let mut loader = Loader::default();
        for (key, value) in &self.log {
            loader.replay(key, value.as_deref()).expect("its own record");
        }
        let (coordinator, effects) = loader.finish(self.time(), self.config, self.epoch);
        self.coordinator = coordinator;
        self.take(effects);
    }

    /// Commits and answers until nothing is under way.
    pub(super) fn settle(&mut self) {
        loop {
            let committed = self.commit();
            let markers = std::mem::take(&mut self.markers);
            for one in &markers {
                self.answer(one, MarkerAnswer::Written);
            }
            if !committed && markers.is_empty() {
                return;
            }
        }
    }
}

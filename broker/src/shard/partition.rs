//! A partition: where its replica (what to decide) and its log (what is kept) meet.
//!
//! A batch goes: checks, producer's sequence, offset from the replica, journal. Nothing of it waits. Its outcome waits
//! here until the replica says that its acks are due. State is borrowed for one step at a time, never across a wait or
//! a call out of this file.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use logic::config::TopicConfig;
use logic::producer::{AppendedAt, OriginalBatch, ProducerTable, Verdict, VerificationGuard};
use logic::replica::{Acks, Advance, Appended, FetchCheck, Replica, Waiters};
use protocol::api::ApiKey;
use protocol::types::{Offset, PartitionKey, Timestamp};
use rustc_hash::FxHashMap;
use storage::store::{Admission, BatchAppend, PartitionSlot, ReadBatches, ReadError};

use super::catch_up::Place;
use super::messages::{Isolation, PartitionError, ProduceItem, ProduceTerms, ReadDone, ReadItem};
use super::prepare::{InPassing, Prepared, prepare_in_passing};
use super::produce::{Pending, ProduceCall, ProduceRefusal, Produced};
use super::producer_memory::{Held, ProducerMemory};
use super::{Shard, Store};
use crate::limits::PRODUCERS_PER_SNAPSHOT_STEP;
use crate::metrics::{self, Count, Stage};
use crate::runtime::{Signal, yield_if_needed};

mod transactional;

pub use transactional::MarkRefusal;

/// One partition of this shard.
pub struct Partition {
    /// Its name for ever.
    pub key: PartitionKey,
    /// Its topic's name.
    pub topic_name: Arc<str>,
    /// Its place in the store.
    pub slot: PartitionSlot,
    /// What the topic's configs say.
    pub config: Cell<TopicConfig>,
    /// Raised when more can be read, and when the partition goes.
    pub advanced: Signal,
    state: RefCell<State>,
    /// When the frames that are not synced yet went to the device, by the end of what they hold.
    sealed: RefCell<VecDeque<(Offset, Instant)>>,
    /// The damage that was logged last.
    damage_told: RefCell<String>,
}

/// What has become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appending {
    /// All that its producer waits for.
    Done(Produced),
    /// Appended; the outcome comes later, through [`Partition::pop_due`].
    Waits,
    /// Nothing yet: to make it ready takes longer than a shard has time.
    TakesLong,
}

struct State {
    replica: Replica,
    producers: ProducerTable,
    producer_memory: Rc<ProducerMemory>,
    /// Replies to acks=1.
    waiting_acked: Waiters<Pending>,
    /// Replies to acks=all.
    waiting_committed: Waiters<Pending>,
}

impl Partition {
    /// A partition over a recovered or a new log.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "each is a fact of its own, and there are two callers")]
    pub fn new(
        key: PartitionKey,
        topic_name: Arc<str>,
        slot: PartitionSlot,
        config: TopicConfig,
        replica: Replica,
        producers: ProducerTable,
        producer_memory: &Rc<ProducerMemory>,
    ) -> Rc<Self> {
        producer_memory.note(Held::default(), Held::by(&producers));
        let state = State {
            replica,
            producers,
            producer_memory: Rc::clone(producer_memory),
            waiting_acked: Waiters::default(),
            waiting_committed: Waiters::default(),
        };
        Rc::new(Self {
            key,
            topic_name,
            slot,
            config: Cell::new(config),
            advanced: Signal::default(),
            state: RefCell::new(state),
            sealed: RefCell::default(),
            damage_told: RefCell::default(),
        })
    }

    /// The replica, to look at.
    pub fn replica(&self) -> Ref<'_, Replica> {
        Ref::map(self.state.borrow(), |state| &state.replica)
    }

    /// How far consumers may read.
    #[must_use]
    pub fn readable_end(&self, isolation: Isolation) -> Offset {
        let end = self.state.borrow().replica.readable_end();
        match isolation {
            Isolation::Uncommitted => end,
            Isolation::Committed => isolation.limit(end, self.last_stable_offset()),
        }
    }

    /// Moves the replica on; take what is due afterwards.
    pub fn advance(&self, change: impl FnOnce(&mut Replica) -> Advance) {
        let advance = change(&mut self.state.borrow_mut().replica);
        if advance.readable {
            self.advanced.raise();
        }
    }

    /// Changes the replica in a way that moves nothing.
    pub fn change_replica<T>(&self, change: impl FnOnce(&mut Replica) -> T) -> T {
        change(&mut self.state.borrow_mut().replica)
    }

    /// Changes the producers' table.
    pub fn change_producers<T>(&self, change: impl FnOnce(&mut ProducerTable) -> T) -> T {
        self.state.borrow_mut().change_producers(change)
    }

    /// Appends a batch, unless it takes long to make it ready.
    ///
    /// # Errors
    /// Nothing was appended.
    pub fn produce(
        &self,
        store: &Store,
        now: Timestamp,
        terms: ProduceTerms,
        item: &ProduceItem,
        call: &Rc<ProduceCall>,
        in_passing: &mut InPassing,
    ) -> Result<Appending, ProduceRefusal> {
        self.replica().check_append(terms.acks)?;
        match prepare_in_passing(now, terms.version, &item.records, &self.config.get(), in_passing) {
            Some(prepared) => self.append_prepared(store, now, terms, item, call, prepared?),
            None => Ok(Appending::TakesLong),
        }
    }

    /// Appends a batch that is ready.
    ///
    /// # Errors
    /// Nothing was appended.
    pub fn append_prepared(
        &self,
        store: &Store,
        now: Timestamp,
        terms: ProduceTerms,
        item: &ProduceItem,
        call: &Rc<ProduceCall>,
        prepared: Prepared,
    ) -> Result<Appending, ProduceRefusal> {
        let mut state = self.state.borrow_mut();
        state.replica.check_append(terms.acks)?;
        let log_start = state.replica.log_start();
        let (end, produced) = match state.check_producer(&prepared, item.guard)? {
            Some(original) => {
                metrics::add(Count::BatchesDuplicate, 1);
                let append_time = prepared.append_time.map(|_| original.timestamp);
                let produced = Produced { base_offset: original.base_offset, append_time, log_start };
                (original.last_offset.plus(1), produced)
            }
            None => {
                let append_time = prepared.append_time;
                let appended = state.append(self.slot, store, now, prepared)?;
                if appended.advance.readable {
                    self.advanced.raise();
                }
                (
                    state.replica.log_end(),
                    Produced { base_offset: appended.base_offset, append_time, log_start },
                )
            }
        };
        let State { replica, waiting_acked, waiting_committed, .. } = &mut *state;
        let (waiters, watermark) = match terms.acks {
            Acks::None => return Ok(Appending::Done(produced)),
            Acks::Leader => (waiting_acked, replica.acked_end()),
            Acks::All => (waiting_committed, replica.high_watermark()),
        };
        if end <= watermark {
            return Ok(Appending::Done(produced));
        }
        let appended = Instant::now();
        let pending = Pending { call: Rc::clone(call), place: item.place, produced, appended };
        waiters.push(end, terms.deadline, pending);
        Ok(Appending::Waits)
    }

    /// The log begins at `start` now.
    pub(super) fn start_at(&self, start: Offset) {
        self.advance(|replica| replica.on_log_start(start));
        self.change_producers(|table| table.start_at(start));
    }

    /// Whether the broker's own records could be appended now.
    ///
    /// # Errors
    /// Why not.
    pub fn check_own_append(&self, store: &Store) -> Result<(), ProduceRefusal> {
        self.state.borrow().replica.check_append(Acks::All)?;
        if store.admit(0) == Admission::Full { Err(ProduceRefusal::DiskFull) } else { Ok(()) }
    }

    /// Appends batches of the broker's own, which need no checks: a crash leaves all of them or none. They are committed when
    /// the high watermark is past them.
    ///
    /// # Errors
    /// Nothing was appended.
    pub fn append_own(
        &self,
        store: &Store,
        now: Timestamp,
        batches: &[Prepared],
    ) -> Result<(), ProduceRefusal> {
        let records = match batches {
            [] => return Ok(()),
            [one] => one.records.clone(),
            all => Bytes::from(all.iter().map(|batch| &batch.records[..]).collect::<Vec<_>>().concat()),
        };
        let mut state = self.state.borrow_mut();
        state.replica.check_append(Acks::All)?;
        // What is handed over at once goes into one frame.
        state.hand_over(self.slot, store, records, None)?;
        for batch in batches {
            assert!(batch.append_time.is_none());
            if state.count(now, batch).advance.readable {
                self.advanced.raise();
            }
        }
        Ok(())
    }

    /// The next reply whose acks are there; call it until it returns none.
    pub fn pop_due(&self) -> Option<Pending> {
        let mut state = self.state.borrow_mut();
        let State { replica, waiting_acked, waiting_committed, .. } = &mut *state;
        waiting_acked
            .pop_due(replica.acked_end())
            .or_else(|| waiting_committed.pop_due(replica.high_watermark()))
    }

    /// Batches below `end` went to the device.
    pub fn note_sealed(&self, end: Offset) {
        self.sealed.borrow_mut().push_back((end, Instant::now()));
    }

    /// Batches below `end` are on stable media, and told of.
    pub fn note_synced(&self, end: Offset) {
        self.sealed.borrow_mut().retain(|(sealed_end, _)| *sealed_end > end);
    }

    /// Records how long a batch waited for its frame, and its frame for the device and the replicas, until `now`.
    pub fn record_stages(&self, pending: &Pending, now: Instant) {
        let sealed = self.sealed.borrow();
        let frame = sealed.iter().find(|(end, _)| *end > pending.produced.base_offset);
        if let Some((_, at)) = frame {
            metrics::record_stage(ApiKey::Produce, Stage::Journal, pending.appended, *at);
            metrics::record_stage(ApiKey::Produce, Stage::Sync, *at, now);
        }
    }

    /// The next reply whatever it waits for: the partition is gone.
    pub fn pop_any(&self) -> Option<Pending> {
        let mut state = self.state.borrow_mut();
        state.waiting_acked.pop_any().or_else(|| state.waiting_committed.pop_any())
    }

    /// The replies whose time is up.
    pub fn expired(&self, now: Timestamp) -> Vec<Pending> {
        let mut expired = Vec::new();
        let mut state = self.state.borrow_mut();
        state.waiting_acked.expire(now, &mut expired);
        state.waiting_committed.expire(now, &mut expired);
        expired
    }

    /// The producers as they are now, for a checkpoint; none where there are none.
    pub async fn producer_snapshot(&self) -> Option<(Offset, Bytes)> {
        let mut snapshot = {
            let state = self.state.borrow();
            if state.producers.is_empty() {
                return None;
            }
            state.producers.begin_snapshot(state.replica.log_end())
        };
        let at = snapshot.at();
        while !snapshot.step(PRODUCERS_PER_SNAPSHOT_STEP) {
            yield_if_needed().await;
        }
        let (bytes, start) = snapshot.finish();
        Some((at, Bytes::from(bytes).slice(start..)))
    }

    /// Reads without waiting; `None` where that needs the disk.
    pub fn read_now(&self, store: &Store, item: ReadItem) -> Option<Result<ReadDone, PartitionError>> {
        let (from, limit, mut done) = match self.check_read(item) {
            Ok(checked) => checked,
            Err(error) => return Some(Err(error)),
        };
        if done.diverging.is_some() || from >= limit || item.bytes_max == 0 {
            return Some(Ok(done));
        }
        let batches = store.read_cached(self.slot, from, limit, item.bytes_max)?;
        self.fill(&mut done, item, batches);
        Some(Ok(done))
    }

    /// Reads, from wherever the batches are; a read from the disk makes way for producers until then.
    ///
    /// # Errors
    /// The replica refuses, or the log can't be read.
    pub async fn read(
        &self,
        shard: &Rc<Shard>,
        item: ReadItem,
        patient_until: Instant,
    ) -> Result<ReadDone, PartitionError> {
        if let Some(outcome) = self.read_now(&shard.store, item) {
            return outcome;
        }
        let (from, limit, mut done) = self.check_read(item)?;
        let place = Place { key: self.key, slot: self.slot, from, limit, patient_until };
        let read = shard.catch_up(place, item.bytes_max).await;
        self.fill(&mut done, item, read.map_err(|error| self.tell(error))?);
        Ok(done)
    }

    /// Logs damage that a read has met, once: consumers ask for it again and again.
    pub(super) fn tell(&self, error: ReadError) -> ReadError {
        if let ReadError::Damaged { place } = &error {
            let before = self.damage_told.replace(place.clone());
            if before != *place {
                let (topic, partition) = (&self.topic_name, self.key.partition);
                tracing::error!(%topic, %partition, "{error}: it is not served; restore it from a backup");
            }
        }
        error
    }

    fn check_read(&self, item: ReadItem) -> Result<(Offset, Offset, ReadDone), PartitionError> {
        let last_stable = self.last_stable_offset();
        let replica = self.replica();
        let done = ReadDone {
            high_watermark: replica.high_watermark(),
            last_stable,
            readable_end: item.isolation.limit(replica.readable_end(), last_stable),
            log_start: replica.log_start(),
            ..ReadDone::default()
        };
        Ok(match replica.check_fetch(item.from, item.epoch, item.last_fetched_epoch)? {
            FetchCheck::Read(position) => {
                (position.from, item.isolation.limit(position.limit, last_stable), done)
            }
            FetchCheck::Diverging(end) => (item.from, item.from, ReadDone { diverging: Some(end), ..done }),
        })
    }

    fn fill(&self, done: &mut ReadDone, item: ReadItem, batches: ReadBatches) {
        metrics::add(Count::BytesFetched, batches.bytes as u64);
        if item.isolation == Isolation::Committed {
            done.aborted = self.aborted(item.from, batches.next);
        }
        done.bytes = batches.bytes;
        done.has_native = batches.has_native;
        done.chunks = batches.chunks;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.producer_memory.note(Held::by(&self.producers), Held::default());
    }
}

impl State {
    fn change_producers<T>(&mut self, change: impl FnOnce(&mut ProducerTable) -> T) -> T {
        let before = Held::by(&self.producers);
        let changed = change(&mut self.producers);
        self.producer_memory.note(before, Held::by(&self.producers));
        changed
    }

    /// Whether the batch repeats one that was appended: which.
    fn check_producer(
        &self,
        prepared: &Prepared,
        guard: Option<VerificationGuard>,
    ) -> Result<Option<OriginalBatch>, ProduceRefusal> {
        let Some(batch) = &prepared.producer else { return Ok(None) };
        Ok(match self.producers.check_verified(batch, guard)? {
            Verdict::New => None,
            Verdict::Duplicate(original) => Some(original),
        })
    }

    fn append(
        &mut self,
        slot: PartitionSlot,
        store: &Store,
        now: Timestamp,
        mut prepared: Prepared,
    ) -> Result<Appended, ProduceRefusal> {
        let records = std::mem::take(&mut prepared.records);
        self.hand_over(slot, store, records, prepared.append_time)?;
        Ok(self.count(now, &prepared))
    }

    /// The store may refuse; the replica and the producers count only what it has taken.
    fn hand_over(
        &self,
        slot: PartitionSlot,
        store: &Store,
        records: Bytes,
        log_append_time: Option<Timestamp>,
    ) -> Result<(), ProduceRefusal> {
        if store.admit(records.len()) == Admission::Full {
            return Err(ProduceRefusal::DiskFull);
        }
        let append = BatchAppend {
            records,
            base_offset: self.replica.log_end(),
            leader_epoch: self.replica.leader_epoch(),
            log_append_time,
        };
        store.append(slot, append)?;
        Ok(())
    }

    fn count(&mut self, now: Timestamp, prepared: &Prepared) -> Appended {
        let appended = self.replica.append(prepared.record_count);
        metrics::add(Count::BatchesAppended, 1);
        metrics::add(Count::RecordsAppended, u64::from(prepared.record_count));
        if let Some(batch) = &prepared.producer {
            let at = AppendedAt { base_offset: appended.base_offset, timestamp: prepared.timestamp_max };
            self.change_producers(|table| table.record(now, batch, at));
        }
        appended
    }
}

/// The partitions of a shard, by name and by their place in the store.
#[derive(Default)]
pub struct Partitions {
    by_key: RefCell<FxHashMap<PartitionKey, Rc<Partition>>>,
    by_slot: RefCell<Vec<Option<Rc<Partition>>>>,
}

impl Partitions {
    /// The partition of this name.
    #[must_use]
    pub fn get(&self, key: PartitionKey) -> Option<Rc<Partition>> {
        self.by_key.borrow().get(&key).cloned()
    }

    /// The partition at this place in the store.
    #[must_use]
    pub fn at(&self, slot: PartitionSlot) -> Option<Rc<Partition>> {
        self.by_slot.borrow().get(place_of(slot)).cloned().flatten()
    }

    /// Takes a partition in.
    pub fn insert(&self, partition: Rc<Partition>) {
        let mut by_slot = self.by_slot.borrow_mut();
        let index = place_of(partition.slot);
        if by_slot.len() <= index {
            by_slot.resize(index + 1, None);
        }
        assert!(by_slot[index].is_none(), "a place in the store is taken by one partition");
        by_slot[index] = Some(Rc::clone(&partition));
        let before = self.by_key.borrow_mut().insert(partition.key, partition);
        assert!(before.is_none(), "a partition is made once");
    }

    /// Takes a partition out.
    pub fn remove(&self, key: PartitionKey) -> Option<Rc<Partition>> {
        let partition = self.by_key.borrow_mut().remove(&key)?;
        self.by_slot.borrow_mut()[place_of(partition.slot)] = None;
        Some(partition)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_key.borrow().len()
    }

    /// All of them, as they are now.
    #[must_use]
    pub fn all(&self) -> Vec<Rc<Partition>> {
        self.by_key.borrow().values().cloned().collect()
    }
}

fn place_of(slot: PartitionSlot) -> usize {
    usize::try_from(slot.0).expect("addresses have 64 bits")
}

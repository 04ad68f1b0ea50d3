//! Power cuts on the whole way of a transaction: its coordinator's log, two partitions, and a group whose offsets it commits, on
//! one disk that is cut at each write and sync. Afterwards every transaction is committed in both partitions or in none, as its
//! client was told, and the group's offset is that of the last one committed. One shard has all of them, or two share them: then
//! nothing orders what the two journals hold but who waited for whom.
//!
//! Real are the stores with their journals, segments and checkpoints, the coordinators, and what the partitions know of producers.
//! This file stands in for the shards: it appends, waits until that is synced, and says so.

mod group;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use logic::producer::{AppendedAt, ProducerBatch, ProducerTable, Teller, TransactionMarker, Verdict};
use logic::transaction::{
    CallId, Coordinator, CoordinatorConfig, Effects, End, Initialise, Loader, MarkerAnswer, Markers,
    NewRecord, Outcome, PartitionSet, Producer, Reply, TransactionError,
};
use protocol::batch::{BatchHeader, BatchIter, HEADER_BYTES};
use protocol::records::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp, RecordIter};
use protocol::types::{
    LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerId, Sequence, Timestamp, TopicId,
    TransactionVersion,
};
use storage::disk::memory::{MemoryDisk, MemoryOptions, block_on};
use storage::store::{
    BatchAppend, DestagePause, LogConfig, PartitionSlot, PartitionSpec, RecoveryObserver, ShardStore,
    StoreError, StoreFailure, StoreListener, StoreOptions, TakenSnapshot,
};

use super::internal_topics::GROUPS_TOPIC;

const ID: &str = "transactional";
const TOPIC: &str = "data";
const DATA: TopicId = TopicId([1; 16]);
const LOG: TopicId = TopicId([2; 16]);
const OFFSETS: TopicId = TopicId([3; 16]);
/// Of the data; places of their own have the groups' partition behind them, and the coordinator's log behind that.
const PARTITIONS: usize = 2;
const GROUPS: usize = PARTITIONS;
const TAKING_PART: usize = PARTITIONS + 1;
const COORDINATOR: usize = TAKING_PART;
const TIMEOUT_MS: i32 = 100;
const BODY_BYTES: usize = 300;

fn options(shard: usize, shard_count: usize) -> StoreOptions {
    let number = |count: usize| u16::try_from(count).expect("few");
    StoreOptions {
        journal_file_bytes: 256 << 10,
        journal_files_max: 4,
        frame_bytes_max: 32 << 10,
        tail_cache_bytes: 1 << 20,
        reserve_bytes: 0,
        ..StoreOptions::new(number(shard), number(shard_count))
    }
}

/// What a place is called, as a transaction's coordinator names it.
fn name_of(place: usize) -> (&'static str, PartitionIndex) {
    match place {
        GROUPS => (GROUPS_TOPIC, PartitionIndex(0)),
        COORDINATOR => ("log", PartitionIndex(0)),
        data => (TOPIC, PartitionIndex(i32::try_from(data).expect("few"))),
    }
}

fn spec(place: usize) -> PartitionSpec {
    let (name, partition) = name_of(place);
    let topic_id = match place {
        GROUPS => OFFSETS,
        COORDINATOR => LOG,
        _ => DATA,
    };
    PartitionSpec {
        key: PartitionKey { topic_id, partition },
        topic_name: name.to_owned(),
        config: LogConfig { segment_bytes: 1500, ..LogConfig::default() },
    }
}

/// What a shard has, in the order of its slots. With two of them, the first data partition and the group are not where the
/// transaction's coordinator is.
fn places_of(shard: usize, shard_count: usize) -> Vec<usize> {
    (0..=COORDINATOR).filter(|place| place % shard_count == shard).collect()
}

/// What the partitions that take part know of producers, and where they end.
#[derive(Clone, Default)]
struct Tables(Rc<RefCell<[(ProducerTable, i64); TAKING_PART]>>);

fn number_of(key: PartitionKey) -> Option<usize> {
    (0..TAKING_PART).find(|place| spec(*place).key == key)
}

impl RecoveryObserver for Tables {
    fn producer_snapshot(&mut self, key: PartitionKey, at: Offset, snapshot: &[u8]) {
        let Some(number) = number_of(key) else { return };
        let table = match snapshot {
            [] => ProducerTable::default(),
            bytes => ProducerTable::decode_snapshot(bytes, Timestamp(0)).expect("its own").0,
        };
        self.0.borrow_mut()[number] = (table, at.get());
    }

    fn batch(&mut self, key: PartitionKey, header: &[u8; HEADER_BYTES], body: &[u8]) {
        let Some(number) = number_of(key) else { return };
        let header = BatchHeader::from_prefix(header).expect("a header");
        let (table, end) = &mut self.0.borrow_mut()[number];
        table.replay(Timestamp(0), header, body);
        *end = header.next_offset().get();
    }
}

/// What the store of a shard asks.
struct Listener {
    tables: Tables,
    places: Vec<usize>,
}

impl StoreListener for Listener {
    fn sealed(&self, _slot: PartitionSlot, _end: Offset) {}

    fn synced(&self, _slot: PartitionSlot, _end: Offset) {}

    fn started(&self, _slot: PartitionSlot, _start: Offset) {}

    fn producer_snapshot(&self, slot: PartitionSlot) -> TakenSnapshot {
        let tables = self.tables.0.borrow();
        let place = self.places[usize::try_from(slot.0).expect("small")];
        let taken = tables.get(place).map(|(table, end)| {
            let mut snapshot = table.begin_snapshot(Offset(*end));
            while !snapshot.step(usize::MAX) {}
            let (bytes, start) = snapshot.finish();
            (Offset(*end), Bytes::from(bytes).slice(start..))
        });
        Box::pin(std::future::ready(taken))
    }

    fn pause_destaging(&self, _bytes: usize) -> DestagePause {
        Box::pin(std::future::ready(()))
    }

    fn failed(&self, _failure: &StoreFailure) {}
}

/// A transaction as its client knows it.
#[derive(Clone, Debug)]
struct Known {
    producer: Producer,
    /// In which partition, where, and what.
    writes: Vec<(usize, Offset, Bytes)>,
    /// So many of these are synced.
    synced: usize,
    /// Where the group is if it commits.
    offset: Option<Offset>,
    told: Option<End>,
}

/// A shard's store, and its pump as long as it runs.
struct Running {
    store: ShardStore<MemoryDisk>,
    pump: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Running {
    fn open(
        disk: &MemoryDisk,
        shard: usize,
        shard_count: usize,
        tables: &mut Tables,
    ) -> Result<Self, StoreError> {
        let places = places_of(shard, shard_count);
        let specs = places.iter().map(|place| spec(*place)).collect();
        let opened = block_on(ShardStore::open(disk.clone(), options(shard, shard_count), specs, tables));
        let Ok((store, _)) = opened else {
            assert!(disk.has_crashed(), "{:?}", opened.err());
            return Err(StoreError::Closed);
        };
        store.set_listener(Rc::new(Listener { tables: tables.clone(), places }));
        let pump_store = store.clone();
        Ok(Self { store, pump: Some(Box::pin(async move { pump_store.run_writer().await })) })
    }
}

struct Life {
    shards: Vec<Running>,
    tables: Tables,
    coordinator: Coordinator,
    groups: logic::group::Coordinator,
    now: i64,
    calls: u64,
    producer_ids: i64,
    records: VecDeque<NewRecord>,
    network: VecDeque<(Markers, usize)>,
    replies: BTreeMap<CallId, Outcome>,
}

impl Life {
    fn open(
        disk: &MemoryDisk,
        shard_count: usize,
        version: TransactionVersion,
        epoch: i32,
    ) -> Result<Self, StoreError> {
        let mut tables = Tables::default();
        let shards = (0..shard_count)
            .map(|shard| Running::open(disk, shard, shard_count, &mut tables))
            .collect::<Result<Vec<_>, _>>()?;
        let config = CoordinatorConfig { timeout_ms_max: 900_000, id_expiration_ms: 1_000_000_000, version };
        let mut loader = Loader::default();
        for (key, value) in coordinators_log(&shards[COORDINATOR % shard_count].store) {
            loader.replay(&key, value.as_deref()).expect("its own record");
        }
        let (coordinator, effects) = loader.finish(Timestamp(0), config, epoch);
        let groups = group::load(&shards[GROUPS % shard_count].store);
        let mut life = Self {
            shards,
            tables,
            coordinator,
            groups,
            now: 0,
            calls: 0,
            // Ids are given out by the metadata quorum: never twice.
            producer_ids: i64::from(epoch) * 1_000,
            records: VecDeque::new(),
            network: VecDeque::new(),
            replies: BTreeMap::new(),
        };
        life.take(effects);
        life.settle()?;
        Ok(life)
    }

    /// Runs something of each of some stores, with all pumps beside it, until all of it is done.
    fn run<F: Future<Output = Result<(), StoreError>>>(&mut self, futures: Vec<F>) -> Result<(), StoreError> {
        let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
        let mut outcome = Ok(());
        block_on(poll_fn(|context| {
            for shard in &mut self.shards {
                shard.pump.take_if(|pump| pump.as_mut().poll(context).is_ready());
            }
            futures.retain_mut(|future| match future.as_mut().poll(context) {
                Poll::Ready(Err(error)) => {
                    outcome = Err(error);
                    false
                }
                polled => polled.is_pending(),
            });
            if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
        outcome
    }

    fn store(&self, place: usize) -> &ShardStore<MemoryDisk> {
        &self.shards[place % self.shards.len()].store
    }

    fn slot(&self, place: usize) -> PartitionSlot {
        self.store(place).slot(spec(place).key).expect("it is live")
    }

    fn end(&self, place: usize) -> Offset {
        self.store(place).end_offset(self.slot(place)).expect("a partition")
    }

    /// Appends a batch; it is synced when this returns.
    fn append(&mut self, place: usize, records: Vec<u8>) -> Result<(), StoreError> {
        self.append_unsynced(place, records)?;
        self.sync(&[place])
    }

    fn append_unsynced(&mut self, place: usize, records: Vec<u8>) -> Result<(), StoreError> {
        let (slot, base_offset) = (self.slot(place), self.end(place));
        let append = BatchAppend {
            records: records.into(),
            base_offset,
            leader_epoch: LeaderEpoch(0),
            log_append_time: None,
        };
        self.store(place).append(slot, append)?;
        if let Some((_, end)) = self.tables.0.borrow_mut().get_mut(place) {
            *end = self.end(place).get();
        }
        Ok(())
    }

    /// Waits until what was appended to some partitions is synced.
    fn sync(&mut self, places: &[usize]) -> Result<(), StoreError> {
        // An entry of any kind is synced behind all that was appended before.
        let entries = places.iter().map(|&place| {
            let (store, slot) = (self.store(place).clone(), self.slot(place));
            async move { store.start_epoch(slot, LeaderEpoch(0), Offset(0)).await }
        });
        let entries: Vec<_> = entries.collect();
        self.run(entries)
    }

    fn destage(&mut self) -> Result<(), StoreError> {
        let all = self.shards.iter().map(|shard| {
            let store = shard.store.clone();
            async move { store.destage_all().await }
        });
        let all: Vec<_> = all.collect();
        self.run(all)
    }

    fn take(&mut self, effects: Effects) {
        self.records.extend(effects.records);
        self.replies.extend(effects.replies);
        for markers in effects.markers {
            let is_told = |place: &usize| {
                let (topic, partition) = name_of(*place);
                markers.partitions.contains(topic, partition)
            };
            self.network.extend((0..TAKING_PART).filter(is_told).map(|place| (markers.clone(), place)));
        }
    }

    /// Appends and writes markers until nothing is under way.
    fn settle(&mut self) -> Result<(), StoreError> {
        loop {
            if let Some(record) = self.records.pop_front() {
                let mut builder = BatchBuilder::new(BatchOptions::default());
                builder.append(Timestamp(0), Some(&record.key), record.value.as_deref(), &[]);
                self.append(COORDINATOR, builder.build())?;
                let effects = self.coordinator.committed(Timestamp(self.now), record.append);
                self.take(effects);
            } else if self.network.is_empty() {
                return Ok(());
            } else {
                self.write_markers()?;
            }
        }
    }

    /// Writes all markers that are on their way, at the same time.
    fn write_markers(&mut self) -> Result<(), StoreError> {
        let all = std::mem::take(&mut self.network);
        let mut places = Vec::new();
        for (markers, place) in &all {
            self.append_marker(markers, *place)?;
            places.push(*place);
        }
        self.sync(&places)?;
        for (markers, place) in all {
            if place == GROUPS {
                self.groups.end_transaction(markers.producer.id, markers.end == End::Commit);
            }
            let (now, place) = (Timestamp(self.now), name_of(place));
            let effects = self.coordinator.marker_answered(now, markers.id, place, MarkerAnswer::Written);
            self.take(effects);
        }
        Ok(())
    }

    fn append_marker(&mut self, markers: &Markers, place: usize) -> Result<(), StoreError> {
        let marker = TransactionMarker {
            producer_id: markers.producer.id,
            epoch: markers.producer.epoch,
            kind: if markers.end == End::Commit { ControlKind::Commit } else { ControlKind::Abort },
            coordinator_epoch: markers.coordinator_epoch,
            version: markers.version,
            told_by: Teller::Leader,
        };
        let checked = self.tables.0.borrow()[place].0.check_marker(&marker);
        checked.expect("nobody else writes here");
        // As the shard does: what is appended counts at once, and is answered when it is synced.
        let offset = self.end(place);
        self.tables.0.borrow_mut()[place].0.record_marker(Timestamp(0), &marker, offset);
        self.append_unsynced(place, marker.batch(Timestamp(0)))
    }

    /// Asks the coordinator, with a fresh producer id where it needs one; the answer may come before an error.
    fn ask(
        &mut self,
        request: impl Fn(&mut Coordinator, Timestamp, CallId, Option<ProducerId>) -> Effects,
    ) -> (Option<Outcome>, Result<(), StoreError>) {
        self.calls += 1;
        let (call, now) = (CallId(self.calls), Timestamp(self.now));
        let mut effects = request(&mut self.coordinator, now, call, None);
        if effects.replies == [(call, Err(TransactionError::NeedsProducerId))] {
            let fresh = self.fresh_producer_id();
            effects = request(&mut self.coordinator, now, call, Some(fresh));
        }
        self.take(effects);
        let settled = self.settle();
        (self.replies.remove(&call), settled)
    }

    fn initialise(&mut self) -> (Option<Outcome>, Result<(), StoreError>) {
        self.ask(|coordinator, now, call, fresh| {
            let request = Initialise { id: ID, timeout_ms: TIMEOUT_MS, expected: None };
            coordinator.initialise(now, call, &request, fresh)
        })
    }

    fn fresh_producer_id(&mut self) -> ProducerId {
        self.producer_ids += 1;
        ProducerId(self.producer_ids)
    }

    /// Time passes until nothing is open any more.
    fn pass_time(&mut self) -> Result<(), StoreError> {
        let until = self.now + 10 * i64::from(TIMEOUT_MS);
        while let Some(at) = self.coordinator.next_tick().filter(|at| at.get() <= until) {
            self.now = self.now.max(at.get());
            let mut effects = self.coordinator.tick(Timestamp(self.now), None);
            if effects.needs_producer_id {
                self.take(std::mem::take(&mut effects));
                let at = self.coordinator.next_tick().expect("it comes back");
                self.now = self.now.max(at.get());
                let fresh = self.fresh_producer_id();
                effects = self.coordinator.tick(Timestamp(self.now), Some(fresh));
            }
            self.take(effects);
            self.settle()?;
        }
        Ok(())
    }
}

/// The records of the coordinator's log.
fn coordinators_log(store: &ShardStore<MemoryDisk>) -> Vec<(Bytes, Option<Bytes>)> {
    let mut records = Vec::new();
    for (_, batch) in batches(store, COORDINATOR) {
        for record in RecordIter::new(&batch[HEADER_BYTES..], header_of(&batch)) {
            let record = record.expect("as it was built");
            let value = record.value.map(Bytes::copy_from_slice);
            records.push((Bytes::copy_from_slice(record.key.expect("all have keys")), value));
        }
    }
    records
}

fn header_of(batch: &Bytes) -> &BatchHeader {
    BatchHeader::from_prefix(batch).expect("a header")
}

/// The batches of a partition, by where they begin.
fn batches(store: &ShardStore<MemoryDisk>, place: usize) -> BTreeMap<Offset, Bytes> {
    let slot = store.slot(spec(place).key).expect("it is live");
    let end = store.sealed_end(slot).expect("a partition");
    let (mut all, mut from) = (BTreeMap::new(), Offset(0));
    while from < end {
        let read = block_on(store.read(slot, from, end, 1 << 20)).expect("readable");
        for batch in read.chunks.iter().flat_map(|chunk| BatchIter::new(chunk)) {
            let batch = batch.expect("whole");
            all.insert(batch.header().base_offset(), Bytes::copy_from_slice(batch.bytes()));
        }
        from = read.next;
    }
    all
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A transaction with so many writes in each partition, in between the offset of a group if it takes any; it is left open
    /// without an end.
    Transaction([usize; PARTITIONS], Offsets, Option<End>),
    /// Another instance takes the id over.
    TakeOver,
    Destage,
}

/// Whether a transaction commits where the group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offsets {
    With,
    Without,
}

const SCRIPT: &[Step] = &[
    Step::Transaction([2, 1], Offsets::With, Some(End::Commit)),
    Step::Transaction([1, 2], Offsets::With, Some(End::Abort)),
    Step::Destage,
    Step::Transaction([0, 2], Offsets::With, Some(End::Commit)),
    Step::Transaction([3, 0], Offsets::With, Some(End::Abort)),
    Step::Destage,
    Step::Transaction([1, 3], Offsets::Without, Some(End::Commit)),
    Step::Transaction([1, 1], Offsets::With, None),
    Step::TakeOver,
    Step::Transaction([1, 1], Offsets::With, Some(End::Commit)),
    Step::Transaction([1, 1], Offsets::With, None),
];

/// A client with its producer.
struct Client<'l> {
    life: &'l mut Life,
    version: TransactionVersion,
    producer: Producer,
    sequences: [i32; PARTITIONS],
}

impl Client<'_> {
    fn transaction(
        &mut self,
        writes: [usize; PARTITIONS],
        offsets: Offsets,
        end: Option<End>,
        known: &mut Vec<Known>,
    ) -> Result<(), StoreError> {
        let number = known.len();
        known.push(Known {
            producer: self.producer,
            writes: Vec::new(),
            synced: 0,
            offset: None,
            told: None,
        });
        for (place, count) in writes.into_iter().enumerate() {
            for turn in 0..count {
                let body = Bytes::from(format!("{number} {place} {turn} ").repeat(BODY_BYTES / 6));
                self.write(place, &body, &mut known[number])?;
            }
            if place == 0 && offsets == Offsets::With {
                let offset = Offset(i64::try_from(number).expect("few") + 1);
                known[number].offset = Some(offset);
                self.commit_offset(offset)?;
            }
        }
        let Some(end) = end else { return Ok(()) };
        let (producer, version) = (self.producer, self.version);
        let (outcome, settled) = self.life.ask(|coordinator, now, call, fresh| {
            coordinator.end(now, call, (ID, producer), end, version, fresh)
        });
        match outcome {
            Some(Ok(Reply::Ended(next))) => {
                known[number].told = Some(end);
                if version.bumps_epoch() {
                    self.producer = next;
                    self.sequences = [0; PARTITIONS];
                }
            }
            None => {}
            other => panic!("{other:?}"),
        }
        settled
    }

    /// The transaction that is open is aborted, whatever its client says from now on; then the new instance is let in.
    fn take_over(&mut self, known: &mut [Known]) -> Result<(), StoreError> {
        let (outcome, settled) = self.life.initialise();
        assert!(matches!(outcome, None | Some(Err(TransactionError::Concurrent))), "{outcome:?}");
        settled?;
        let (outcome, settled) = self.life.initialise();
        let next = match outcome {
            Some(Ok(Reply::Initialised(next))) => next,
            None => return settled,
            other => panic!("{other:?}"),
        };
        known.last_mut().expect("it was open").told = Some(End::Abort);
        settled?;
        let (old, version) = (std::mem::replace(&mut self.producer, next), self.version);
        assert_eq!(old.id, next.id);
        assert!(old.epoch < next.epoch);
        self.sequences = [0; PARTITIONS];
        let (outcome, settled) = self.life.ask(|coordinator, now, call, fresh| {
            coordinator.end(now, call, (ID, old), End::Commit, version, fresh)
        });
        assert_eq!(outcome, Some(Err(TransactionError::Fenced)));
        settled
    }

    fn write(&mut self, place: usize, body: &Bytes, known: &mut Known) -> Result<(), StoreError> {
        let producer = self.producer;
        let batch = ProducerBatch {
            producer_id: producer.id,
            epoch: producer.epoch,
            base_sequence: Sequence(self.sequences[place]),
            last_offset_delta: 0,
            is_transactional: true,
        };
        self.verify(place, &batch)?;
        let mut builder = BatchBuilder::new(BatchOptions {
            producer: ProducerStamp {
                id: producer.id,
                epoch: producer.epoch,
                base_sequence: batch.base_sequence,
            },
            transactional: true,
            ..BatchOptions::default()
        });
        builder.append(Timestamp(0), None, Some(body), &[]);
        let base_offset = self.life.end(place);
        let at = AppendedAt { base_offset, timestamp: Timestamp(0) };
        self.life.tables.0.borrow_mut()[place].0.record(Timestamp(0), &batch, at);
        known.writes.push((place, base_offset, body.clone()));
        self.life.append(place, builder.build())?;
        known.synced += 1;
        self.sequences[place] += 1;
        Ok(())
    }

    /// The batch may be appended when this returns: the partition is in the transaction.
    fn verify(&mut self, place: usize, batch: &ProducerBatch) -> Result<(), StoreError> {
        let (producer, version) = (self.producer, self.version);
        let guard = {
            let mut tables = self.life.tables.0.borrow_mut();
            tables[place].0.verification(Timestamp(0), batch, version.bumps_epoch()).expect("it may")
        };
        if guard.is_some() {
            let partitions = PartitionSet::from_iter([name_of(place)]);
            let (outcome, settled) = self.life.ask(|coordinator, now, call, _| {
                coordinator.add_partitions(now, call, (ID, producer), &partitions, version)
            });
            assert!(matches!(outcome, None | Some(Ok(Reply::Added))), "{outcome:?}");
            settled?;
        }
        let verdict = self.life.tables.0.borrow()[place].0.check_verified(batch, guard);
        assert_eq!(verdict, Ok(Verdict::New));
        Ok(())
    }
}

/// A client's life, until the power is gone.
fn live(
    disk: &MemoryDisk,
    shard_count: usize,
    version: TransactionVersion,
    known: &mut Vec<Known>,
) -> Result<(), StoreError> {
    let mut life = Life::open(disk, shard_count, version, 1)?;
    let (outcome, settled) = life.initialise();
    settled?;
    let Some(Ok(Reply::Initialised(producer))) = outcome else { panic!("{outcome:?}") };
    let mut client = Client { life: &mut life, version, producer, sequences: [0; PARTITIONS] };
    for step in SCRIPT {
        match *step {
            Step::Transaction(writes, offsets, end) => client.transaction(writes, offsets, end, known)?,
            Step::TakeOver => client.take_over(known)?,
            Step::Destage => client.life.destage()?,
        }
    }
    Ok(())
}

/// Whether a transaction is there for readers of committed records; none where nothing of it is left at all.
fn fate(life: &Life, known: &Known, found: &[BTreeMap<Offset, Bytes>], note: &str) -> Option<bool> {
    let tables = life.tables.0.borrow();
    let mut fates = BTreeSet::new();
    let mut missing = 0;
    for (index, (place, offset, body)) in known.writes.iter().enumerate() {
        let value = |batch: &Bytes| {
            let mut records = RecordIter::new(&batch[HEADER_BYTES..], header_of(batch));
            records.next().and_then(|record| record.ok()?.value.map(Bytes::copy_from_slice))
        };
        if found[*place].get(offset).and_then(value).as_ref() != Some(body) {
            assert!(index >= known.synced, "{note}: what was acknowledged is gone: {known:?}");
            missing += 1;
            continue;
        }
        let aborted = tables[*place].0.aborted(*offset, offset.plus(1));
        let is_aborted = aborted.iter().any(|one| {
            one.producer_id == known.producer.id && one.first_offset <= *offset && *offset < one.last_offset
        });
        fates.insert(!is_aborted);
    }
    assert!(fates.len() <= 1, "{note}: half of it is there: {known:?}");
    let is_there = fates.first().copied();
    assert!(is_there != Some(true) || missing == 0, "{note}: committed without all of it: {known:?}");
    is_there
}

/// After the power is back: everything has one fate, the one that was told, and nobody is held back. How many are committed.
fn check(
    image: &MemoryDisk,
    shard_count: usize,
    version: TransactionVersion,
    known: &[Known],
    note: &str,
) -> usize {
    let mut life =
        Life::open(image, shard_count, version, 2).unwrap_or_else(|error| panic!("{note}: {error}"));
    life.pass_time().unwrap_or_else(|error| panic!("{note}: {error}"));
    let found: Vec<_> = (0..PARTITIONS).map(|place| batches(life.store(place), place)).collect();
    for place in 0..TAKING_PART {
        let end = life.store(place).synced_end(life.slot(place)).expect("a partition");
        let stable = life.tables.0.borrow_mut()[place].0.last_stable_offset(end);
        assert_eq!(stable, end, "{note}: partition {place} holds its readers back");
    }
    let mut committed = 0;
    let mut offset = Offset(-1);
    for one in known {
        let fate = fate(&life, one, &found, note);
        match one.told {
            Some(End::Commit) => assert_eq!(fate, Some(true), "{note}: it was committed: {one:?}"),
            Some(End::Abort) => assert_eq!(fate, Some(false), "{note}: it was aborted: {one:?}"),
            None => {}
        }
        if fate == Some(true) {
            committed += 1;
            offset = one.offset.unwrap_or(offset);
        }
    }
    assert_eq!(
        life.committed_offset(),
        offset,
        "{note}: the group is where its last committed transaction was"
    );
    committed
}

/// Cuts the power at each operation, where those of two shards are under way at the same time and overtake each other.
fn cut_everywhere(shard_count: usize, version: TransactionVersion) {
    let delay_polls_max = if shard_count > 1 { 7 } else { 0 };
    let disk = || MemoryDisk::new(MemoryOptions { delay_polls_max, ..MemoryOptions::default() });
    let whole = disk();
    let mut known = Vec::new();
    live(&whole, shard_count, version, &mut known).expect("no faults");
    let operations = whole.operation_count();
    assert_eq!(check(&whole, shard_count, version, &known, "without a cut"), 4);
    // A transaction that was decided, and its client not told, by the number of them that are committed.
    let mut outcomes = BTreeSet::new();
    for operation in 1..=operations {
        let disk = disk();
        disk.crash_at(operation);
        let mut known = Vec::new();
        let lived = live(&disk, shard_count, version, &mut known);
        assert!(disk.has_crashed(), "{:?}", lived.err());
        for seed in 0..2 {
            let note = format!("cut at {operation}, image {seed}");
            let committed = check(&disk.crash_image(seed), shard_count, version, &known, &note);
            let told = known.iter().filter(|one| one.told == Some(End::Commit)).count();
            outcomes.insert(committed - told);
        }
    }
    assert_eq!(outcomes, BTreeSet::from([0, 1]), "some cuts came between decision and answer");
}

#[test]
fn a_power_cut_at_any_moment_leaves_no_transaction_half_done() {
    cut_everywhere(1, TransactionVersion::V0);
}

#[test]
fn nor_where_producers_bump_their_epochs() {
    cut_everywhere(1, TransactionVersion::V2);
}

#[test]
fn nor_across_two_shards() {
    cut_everywhere(2, TransactionVersion::V0);
    cut_everywhere(2, TransactionVersion::V2);
}

//! The task that takes what is due from the partitions' queues, sends it, and judges what comes back.
//!
//! A queue is on the list of ready ones when it may have something to send. A round goes over the list once: each queue
//! gives at most one batch to the request of its leader; what can't go now stays on the list, what has nothing leaves it
//! and comes back when a record or an answer does. A request for which the next batch is too much is full, and who found it
//! so is first when the next one is filled; only a batch that no request has room for makes one larger than it may be, alone.
//! Requests to one broker leave in the order in which they were made.

mod answers;
mod joining;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::api::ApiKey;
use protocol::batch::Encoding;
use protocol::error::KafkaError;
use protocol::messages::metadata::MetadataRequest;
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::records::BatchOptions;
use protocol::types::{BrokerId, ProducerEpoch, ProducerId};
use protocol::wire::Payload;
use rustc_hash::FxHashMap;

use super::batch::{Acked, Batch, Delivery, Outcome, record_bytes};
use super::queue::{Front, QueueLimits, Verdict};
use super::topic::{PartitionState, ProducerTopic, SharedIdentity, TopicState};
use super::transaction::Transactions;
use super::{
    Acks, DeliveredBatch, ProducerOptions, Record, SentBatch, TrySendError, batch_options, now, now_timestamp,
};
use crate::Client;
use crate::connection::{Connection, Reply};
use crate::error::{ClientError, ProduceError, SendError, TransactionError};
use crate::ways::Ways;
use executor::Signal;

/// How long the sender sleeps at most while something waits that nothing else may wake it for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All that a producer is.
pub(super) struct Sender {
    client: Client,
    ways: Rc<Ways>,
    options: ProducerOptions,
    limits: QueueLimits,
    identity: SharedIdentity,
    /// Where everything is sent in transactions.
    pub transactions: Option<Transactions>,
    /// What new batches are written in: as the options say, or as the brokers take them.
    encoding: Cell<Encoding>,
    topics: RefCell<FxHashMap<Rc<str>, Rc<TopicState>>>,
    ready: RefCell<VecDeque<Rc<PartitionState>>>,
    /// Queues whose open batch lingers, by the moment at which it is due.
    lingering: RefCell<VecDeque<(Instant, Rc<PartitionState>)>>,
    lanes: RefCell<FxHashMap<BrokerId, Rc<Lane>>>,
    /// Batches not decided yet, by their numbers, and how many parts of each there are.
    undecided: RefCell<BTreeMap<u64, u32>>,
    next_number: Cell<u64>,
    /// Requests so far.
    requests: Cell<u64>,
    held_bytes: Cell<usize>,
    /// How many wait for memory or a flush: nothing lingers while any does.
    hurried: Cell<usize>,
    /// Raised when a batch was decided.
    pub freed: Signal,
    is_refusing: Cell<bool>,
    has_ended: Cell<bool>,
}

/// What is under way to one broker.
#[derive(Default)]
struct Lane {
    in_flight: Cell<usize>,
    waiting_for_room: Cell<bool>,
}

/// One request: at most one batch of each partition.
struct Group {
    broker: BrokerId,
    connection: Connection,
    bytes: usize,
    /// A batch found no room in it.
    is_full: bool,
    batches: Vec<(Rc<PartitionState>, Option<Batch>)>,
}

/// What a queue had for a request.
enum Given {
    /// A batch, which is in it.
    Batch,
    /// A batch, and the request has no room for it.
    NoRoom,
    /// Nothing before this moment.
    Later(Instant),
    /// Nothing until something is appended, or comes back.
    Nothing,
    /// Nothing ever.
    Broken,
}

impl Sender {
    pub(super) fn start(
        client: &Client,
        options: ProducerOptions,
        limits: QueueLimits,
        identity: Option<(ProducerId, ProducerEpoch)>,
        transactions: Option<Transactions>,
    ) -> Rc<Self> {
        let sender = Rc::new(Self {
            client: client.clone(),
            ways: Ways::new(client.cluster()),
            encoding: Cell::new(options.encoding),
            options,
            limits,
            identity: Rc::new(Cell::new(identity)),
            transactions,
            topics: RefCell::default(),
            ready: RefCell::default(),
            lingering: RefCell::default(),
            lanes: RefCell::default(),
            undecided: RefCell::default(),
            next_number: Cell::new(0),
            requests: Cell::new(0),
            held_bytes: Cell::new(0),
            hurried: Cell::new(0),
            freed: Signal::default(),
            is_refusing: Cell::new(false),
            has_ended: Cell::new(false),
        });
        glommio::spawn_local(Rc::clone(&sender).run()).detach();
        sender
    }

    pub(super) async fn topic(&self, name: &str) -> Result<ProducerTopic, ClientError> {
        let known = self.topics.borrow().get(name).cloned();
        if let Some(state) = known {
            return Ok(ProducerTopic { state });
        }
        let described = self.client.topic(name).await?;
        let mut topics = self.topics.borrow_mut();
        let state = topics.entry(Rc::clone(&described.name)).or_insert_with(|| {
            let epochs_are_given = self.transactions.is_some();
            TopicState::new(self.client.cluster(), &described, self.limits, &self.identity, epochs_are_given)
        });
        Ok(ProducerTopic { state: Rc::clone(state) })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }

    pub(super) fn try_send(
        self: &Rc<Self>,
        topic: &ProducerTopic,
        record: &Record<'_>,
    ) -> Result<Delivery, TrySendError> {
        if self.is_refusing.get() {
            return Err(ProduceError::Closed.into());
        }
        let is_ours = Rc::ptr_eq(&topic.state.identity, &self.identity);
        assert!(is_ours, "records for a topic go through the producer that was asked for it");
        let bytes = record_bytes(record);
        let bytes_max = self.options.request_bytes_max;
        if bytes > bytes_max {
            return Err(ProduceError::RecordTooLarge { bytes, bytes_max }.into());
        }
        // A record larger than the memory still passes when it is alone.
        let held = self.held_bytes.get();
        if held > 0 && held + bytes > self.options.memory_bytes_max {
            return Err(TrySendError::Full);
        }
        topic.state.follow(self.client.cluster());
        let partition = topic.state.partition_for(record, bytes)?;
        let timestamp = record.timestamp.unwrap_or_else(now_timestamp);
        self.held_bytes.set(held + bytes);
        let mut queue = partition.queue.borrow_mut();
        let (batch, is_new) = match queue.with_room(bytes) {
            Some(_) => (queue.with_room(bytes).expect("it has room"), false),
            None => (queue.push(self.open_batch()), true),
        };
        let index = batch.push(record, timestamp, bytes);
        if self.options.listener.is_some() {
            batch.tokens.push(record.token);
        }
        let delivery = Delivery::new(Rc::clone(&batch.fate), index);
        let opened_at = batch.opened_at;
        let is_due = queue.is_due(opened_at, self.is_hurried());
        drop(queue);
        if is_due {
            self.list(&partition);
        } else if is_new {
            self.let_linger(opened_at + self.limits.linger, &partition);
        }
        Ok(delivery)
    }

    fn open_batch(&self) -> Batch {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.undecided.borrow_mut().insert(number, 1);
        let (encoding, transactional) = (self.encoding.get(), self.transactions.is_some());
        let options = BatchOptions { encoding, transactional, ..batch_options(&self.options) };
        Batch::open(number, now(), options, self.limits.batch_bytes_max)
    }

    fn is_hurried(&self) -> bool {
        self.hurried.get() > 0
    }

    fn let_linger(&self, due: Instant, partition: &Rc<PartitionState>) {
        let mut lingering = self.lingering.borrow_mut();
        lingering.push_back((due, Rc::clone(partition)));
        // The first to be due sets the sender's alarm; those behind it are due later.
        if lingering.len() == 1 {
            self.ways.work.raise();
        }
    }

    /// Puts a queue on the list of those that may have something to send.
    fn list(&self, partition: &Rc<PartitionState>) {
        let was_listed = std::mem::replace(&mut partition.queue.borrow_mut().is_listed, true);
        if !was_listed {
            self.ready.borrow_mut().push_back(Rc::clone(partition));
            self.ways.work.raise();
        }
    }

    /// Waits for something; nothing lingers meanwhile.
    pub(super) async fn in_a_hurry(&self, wait: impl Future<Output = ()>) {
        let hurry = Hurry::begin(self);
        wait.await;
        drop(hurry);
    }

    pub(super) async fn flush(&self) {
        let end = self.next_number.get();
        let is_done = || self.undecided.borrow().first_key_value().is_none_or(|(first, _)| *first >= end);
        loop {
            let freed = self.freed.next();
            if is_done() || self.has_ended.get() {
                break;
            }
            self.in_a_hurry(freed.wait()).await;
        }
        if self.options.acks == Acks::None {
            self.until_read().await;
        }
    }

    /// Waits until brokers have read what they were sent and don't answer: they read in order, and answer this.
    async fn until_read(&self) {
        let brokers: Vec<BrokerId> = self.lanes.borrow().keys().copied().collect();
        for connection in brokers.into_iter().filter_map(|broker| self.ways.open(broker)) {
            // Where the connection ends meanwhile, losses go unnoticed, as without acks they do.
            let _read =
                connection.call(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).await;
        }
    }

    /// Takes no more records.
    pub(super) fn refuse(&self) {
        self.is_refusing.set(true);
    }

    /// Stops; what is not decided is not going to be.
    pub(super) fn end(&self) {
        self.refuse();
        self.has_ended.set(true);
        self.ways.work.raise();
    }

    async fn run(self: Rc<Self>) {
        while !self.has_ended.get() {
            let work = self.ways.work.next();
            let alarm = self.round(now());
            work.wait_until(alarm).await;
        }
        for (_, topic) in self.topics.take() {
            for partition in topic.forget_partitions() {
                let left = partition.queue.borrow_mut().take_all();
                left.into_iter().for_each(|batch| self.decide(&partition, batch, Err(ProduceError::Closed)));
            }
        }
        self.ready.take();
        self.lingering.take();
        self.ways.close();
    }

    /// Sends what can be sent; when to look again at the latest.
    fn round(self: &Rc<Self>, now: Instant) -> Option<Instant> {
        let mut alarm = self.list_lingered(now);
        loop {
            let (groups, later) = self.gather(now);
            alarm = earliest(alarm, later);
            if groups.is_empty() {
                break;
            }
            groups.into_iter().for_each(|group| self.dispatch(group));
        }
        let is_blocked = !self.ready.borrow().is_empty();
        if is_blocked { earliest(alarm, Some(now + LOOK_AGAIN)) } else { alarm }
    }

    /// Lists the queues whose batches have lingered; when the next one will have.
    fn list_lingered(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut lingering = self.lingering.borrow_mut();
            let due = lingering.front()?.0;
            if due > now && !self.is_hurried() {
                return Some(due);
            }
            let (_, partition) = lingering.pop_front().expect("there is a front");
            drop(lingering);
            self.list(&partition);
        }
    }

    /// Goes over the list once: what to send now, and when to look again.
    fn gather(self: &Rc<Self>, now: Instant) -> (Vec<Group>, Option<Instant>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut crowded_out = Vec::new();
        let mut alarm = None;
        let listed = self.ready.borrow().len();
        for _ in 0..listed {
            let partition = self.ready.borrow_mut().pop_front();
            let Some(partition) = partition else { break };
            self.expire(&partition, now);
            if !self.may_write(&partition) {
                self.ready.borrow_mut().push_back(partition);
                continue;
            }
            let Some(group) = self.group_for(&partition, &mut groups) else {
                self.ready.borrow_mut().push_back(partition);
                continue;
            };
            match self.give(&partition, group, now) {
                Given::Batch => self.ready.borrow_mut().push_back(partition),
                Given::NoRoom => crowded_out.push(partition),
                Given::Later(moment) => {
                    alarm = earliest(alarm, Some(moment));
                    self.ready.borrow_mut().push_back(partition);
                }
                Given::Nothing => partition.queue.borrow_mut().is_listed = false,
                Given::Broken => {
                    partition.queue.borrow_mut().is_listed = false;
                    self.fail_all(&partition);
                }
            }
        }
        crowded_out.into_iter().rev().for_each(|partition| self.ready.borrow_mut().push_front(partition));
        groups.retain(|group| !group.batches.is_empty());
        (groups, alarm)
    }

    /// Puts the partition's next batch into a request, if it has one and the request has room. A batch that is larger than
    /// any request has room in an empty one.
    fn give(&self, partition: &Rc<PartitionState>, group: &mut Group, now: Instant) -> Given {
        let bytes_max = self.options.request_bytes_max;
        if group.is_full || group.bytes >= bytes_max {
            return Given::NoRoom;
        }
        let mut queue = partition.queue.borrow_mut();
        let bytes = match queue.front(now, self.is_hurried()) {
            Front::Batch(batch) => {
                self.mind_encoding(&group.connection, batch);
                batch.bytes().len()
            }
            Front::Later(moment) => return Given::Later(moment),
            Front::Nothing => return Given::Nothing,
            Front::Broken => return Given::Broken,
        };
        // Nothing more is asked of this request's queues: a batch that is shown takes no more records.
        group.is_full = !group.batches.is_empty() && group.bytes + bytes > bytes_max;
        if group.is_full {
            return Given::NoRoom;
        }
        group.bytes += bytes;
        group.batches.push((Rc::clone(partition), Some(queue.take_front())));
        Given::Batch
    }

    /// A broker that takes no native batches gets Kafka's: this one is made one of those, later ones are from the start.
    fn mind_encoding(&self, connection: &Connection, batch: &mut Batch) {
        if self.options.encoding == Encoding::Kafka {
            return;
        }
        let takes_native = connection.takes_native();
        self.encoding.set(if takes_native { Encoding::Native } else { Encoding::Kafka });
        if !takes_native {
            batch.make_kafkas();
        }
    }

    /// The request that the partition's batch would go into, full or not; none where its leader can't be written to now.
    fn group_for<'a>(
        self: &Rc<Self>,
        partition: &PartitionState,
        groups: &'a mut Vec<Group>,
    ) -> Option<&'a mut Group> {
        let Some(broker) = partition.leader(self.client.cluster()) else {
            self.ways.refresh();
            return None;
        };
        if let Some(place) = groups.iter().position(|group| group.broker == broker) {
            return Some(&mut groups[place]);
        }
        let lane = self.lane(broker);
        if lane.in_flight.get() >= self.options.in_flight_max.max(1) {
            return None;
        }
        let connection = self.ways.to(broker)?;
        if !connection.has_room() {
            self.wait_for_room(connection, &lane);
            return None;
        }
        groups.push(Group { broker, connection, bytes: 0, is_full: false, batches: Vec::new() });
        groups.last_mut()
    }

    fn lane(&self, broker: BrokerId) -> Rc<Lane> {
        Rc::clone(self.lanes.borrow_mut().entry(broker).or_default())
    }

    fn wait_for_room(self: &Rc<Self>, connection: Connection, lane: &Rc<Lane>) {
        if lane.waiting_for_room.replace(true) {
            return;
        }
        let (sender, lane) = (Rc::clone(self), Rc::clone(lane));
        let waiting = async move {
            connection.room().await;
            lane.waiting_for_room.set(false);
            sender.ways.work.raise();
        };
        glommio::spawn_local(waiting).detach();
    }

    fn dispatch(self: &Rc<Self>, mut group: Group) {
        // Its batches have taken sequences: an end, or an epoch, must follow even if none of them gets to a broker.
        self.transactions.iter().for_each(Transactions::is_told_to_brokers);
        let sent = self.send(&mut group);
        if sent.is_ok() {
            self.tell_sent(&group);
        }
        match sent {
            Ok(Some(reply)) => {
                let lane = self.lane(group.broker);
                lane.in_flight.update(|count| count + 1);
                let sender = Rc::clone(self);
                let waiting = async move {
                    let outcome = reply.await;
                    lane.in_flight.update(|count| count - 1);
                    sender.settle(group, outcome);
                };
                glommio::spawn_local(waiting).detach();
            }
            Ok(None) => {
                for (partition, batch) in group.batches {
                    let mut batch = batch.expect("nothing was settled yet");
                    let verdict = partition.queue.borrow_mut().judge(&mut batch, None);
                    assert_eq!(verdict, Verdict::Appended);
                    let acked = Acked { partition: partition.index, offset: None, append_time: None };
                    self.decide(&partition, batch, Ok(acked));
                    self.list(&partition);
                }
            }
            Err(error) => self.take_back(group, &error),
        }
    }

    fn send(&self, group: &mut Group) -> Result<Option<Reply>, SendError> {
        // One entry for each topic, however its partitions were listed.
        group.batches.sort_by(|(one, _), (other, _)| {
            one.topic.name.cmp(&other.topic.name).then(one.index.cmp(&other.index))
        });
        let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
        for (partition, batch) in &group.batches {
            let bytes = batch.as_ref().expect("nothing was settled yet").bytes().clone();
            let data = PartitionProduceData { index: partition.index, records: Some(Payload::Shared(bytes)) };
            match topics.last_mut().filter(|topic| topic.name == &*partition.topic.name) {
                Some(topic) => topic.partition_data.push(data),
                None => topics.push(TopicProduceData {
                    name: &partition.topic.name,
                    topic_id: partition.topic.id(),
                    partition_data: vec![data],
                }),
            }
        }
        let timeout = self.client.cluster().connection_options().request_timeout;
        let request = ProduceRequest {
            transactional_id: self.transactions.as_ref().map(Transactions::id),
            acks: self.options.acks.wire(),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics,
        };
        match self.options.acks {
            Acks::None => group.connection.try_send_unanswered(&request).map(|()| None),
            Acks::Leader | Acks::All => {
                let version = self.produce_version(group.connection.version(ApiKey::Produce)?);
                group.connection.try_send_in(version, &request).map(Some)
            }
        }
    }

    fn tell_sent(&self, group: &Group) {
        let request = self.requests.get() + 1;
        self.requests.set(request);
        let Some(listener) = &self.options.listener else { return };
        for (partition, batch) in &group.batches {
            let batch = batch.as_ref().expect("nothing was settled yet");
            listener.sent(&SentBatch {
                topic: &partition.topic.name,
                partition: partition.index,
                tokens: &batch.tokens,
                attempt: batch.attempts,
                request,
            });
        }
    }

    /// A request that was not sent.
    fn take_back(self: &Rc<Self>, group: Group, error: &SendError) {
        let not_before = now() + self.client.cluster().backoff(1);
        for (partition, batch) in group.batches {
            let mut batch = batch.expect("nothing was settled yet");
            match error {
                SendError::Encode(reason) => {
                    let refused =
                        partition.queue.borrow_mut().judge(&mut batch, Some(KafkaError::InvalidRequest));
                    assert_eq!(refused, Verdict::Failed);
                    self.decide(&partition, batch, Err(ProduceError::Unsendable(*reason)));
                }
                SendError::Full | SendError::Connection(_) => {
                    partition.queue.borrow_mut().put_back_unsent(batch, not_before);
                }
            }
            self.list(&partition);
        }
    }

    fn expire(&self, partition: &PartitionState, now: Instant) {
        let expired = partition.queue.borrow_mut().take_expired(now);
        for batch in expired {
            let after = self.limits.delivery_timeout;
            let was_sent = batch.attempts > 0;
            self.decide(partition, batch, Err(ProduceError::Expired { after, was_sent }));
        }
    }

    fn fail_all(&self, partition: &PartitionState) {
        let failed = partition.queue.borrow_mut().take_all();
        for batch in failed {
            let error = match self.transactions {
                Some(_) => ProduceError::Aborted,
                None => ProduceError::EpochsUsedUp,
            };
            self.decide(partition, batch, Err(error));
        }
    }

    fn decide(&self, partition: &PartitionState, batch: Batch, outcome: Outcome) {
        if let (Some(transactions), Err(error)) = (&self.transactions, &outcome) {
            transactions.fail(TransactionError::Undelivered(error.clone()));
        }
        self.held_bytes.update(|held| held - batch.charged_bytes);
        self.one_less_of(batch.number);
        if let Some(listener) = &self.options.listener {
            listener.delivered(&DeliveredBatch {
                topic: &partition.topic.name,
                partition: partition.index,
                outcome: &outcome,
                tokens: &batch.tokens,
                payload_bytes: batch.payload_bytes,
            });
        }
        batch.fate.decide(outcome);
        self.freed.raise();
    }

    fn one_less_of(&self, number: u64) {
        let mut undecided = self.undecided.borrow_mut();
        let parts = undecided.get_mut(&number).expect("a batch is decided once");
        *parts -= 1;
        if *parts == 0 {
            undecided.remove(&number);
        }
    }
}

/// Counts as a hurry of the sender while it lives.
struct Hurry<'a>(&'a Sender);

impl<'a> Hurry<'a> {
    fn begin(sender: &'a Sender) -> Self {
        sender.hurried.update(|count| count + 1);
        sender.ways.work.raise();
        Self(sender)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurried.update(|count| count - 1);
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;

//! One producer: makes records when they are due, gathers them into batches, keeps up to five requests in flight.
//!
//! It works as Kafka's own producer does (batch size, linger, requests in flight, sticky partitions), so that figures
//! compare. Open loop: a record's latency counts from when it was due, whatever held it up. It sleeps between sends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client::ConnectionError;
use client::connection::{Answer, Prepared};
use protocol::compression::Compression;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use protocol::records::{Header, ProducerStamp};
use protocol::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use protocol::wire::Payload;

use super::StreamPlan;
use super::accumulator::{Accumulator, Batch, NewRecord};
use super::cluster::Cluster;
use super::moment::News;
use super::recorder::Notes;
use super::spread::Spreader;
use super::thread::{LoadError, Shared, nanoseconds};
use crate::limits::DRAIN_TIME_MAX;
use crate::pace::{Pace, Schedule};
use crate::payload::{Noise, Payload as Maker};
use crate::stamp::Stamp;
use crate::verify::Lane;
use crate::workload::{Acks, Codec};

/// The last version whose topics have names in every broker from Kafka 2.1 on.
const PRODUCE_VERSION: i16 = 7;
/// Kafka's default (`max.in.flight.requests.per.connection`).
const REQUESTS_IN_FLIGHT_MAX: u32 = 5;
/// With acks 0: beyond it the connection takes no more until the socket has.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Kafka's default (`max.request.size`).
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Kafka's default (`buffer.memory`): beyond it no record is made, and those that are due are late.
const BUFFER_BYTES_MAX: usize = 32 << 20;
/// No sleep is shorter: a timer for each record would cost more than the records.
const PAUSE_NS_MIN: u64 = 20_000;
/// Nor longer: whether to stop is looked at in between.
const PAUSE_NS_MAX: u64 = 100_000_000;
/// How long after the end what was due before it is still handed on. What is left then is counted, and told.
const GRACE_NS: u64 = 2_000_000_000;
/// Records made before others on this thread have their turn.
const RECORDS_PER_TURN: usize = 2_000;

/// A producer on its executor.
pub struct Producer {
    stream: usize,
    worker: u32,
    shared: Arc<Shared>,
    notes: Notes,
    cluster: Cluster,
    news: News,
    /// Requests in flight, by leader.
    in_flight: RefCell<Vec<u32>>,
    /// Records that are made and not answered.
    open: Cell<u32>,
    is_flushing: Cell<bool>,
    linger_ns: u64,
    accumulator: RefCell<Accumulator>,
    making: RefCell<Making>,
}

/// What makes records.
struct Making {
    maker: Maker,
    spreader: Spreader,
    schedule: Option<Schedule>,
    /// The next number of each partition.
    sequences: Vec<u64>,
    value: Vec<u8>,
    key: Vec<u8>,
    /// The value of every header.
    header: Vec<u8>,
    headers: usize,
}

impl Producer {
    /// Connects producer `share` of a stream to every leader.
    pub async fn connect(
        stream: usize,
        share: u32,
        shared: Arc<Shared>,
        notes: Notes,
        noise: Rc<Noise>,
    ) -> Result<Rc<Self>, LoadError> {
        let plan = &shared.plan.streams[stream];
        let spec = &plan.stream;
        let cluster = match spec.acks {
            Acks::None => Cluster::connect_unanswered(&plan.layout, UNSENT_BYTES_MAX).await?,
            Acks::Leader | Acks::All => Cluster::connect(&plan.layout).await?,
        };
        let identity = if spec.idempotent { identity(&cluster).await? } else { ProducerStamp::NONE };
        let partitions = plan.layout.places.len();
        let worker = plan.first_worker + share;
        let batch_bytes = usize::try_from(spec.batch_bytes).expect("bounded by the workload's check");
        let linger_ns = nanoseconds(Duration::from_secs_f64(spec.linger_ms / 1e3));
        let accumulator =
            Accumulator::new(partitions, batch_bytes, linger_ns, codec(spec.compression), identity);
        let schedule = match spec.pace() {
            Pace::PerSecond(rate) => Some(Schedule::new(rate, share, plan.producers)),
            Pace::InFlight(_) => None,
        };
        let seed = u64::from(shared.plan.run) << 32 | u64::from(worker);
        let making = Making {
            maker: Maker::new(&spec.record, noise, seed),
            spreader: Spreader::new(spec.topics, spec.partitions, spec.record.spread, batch_bytes, worker),
            schedule,
            sequences: vec![0; partitions],
            value: Vec::new(),
            key: Vec::new(),
            header: vec![b'h'; spec.record.header_bytes],
            headers: spec.record.headers,
        };
        Ok(Rc::new(Self {
            stream,
            worker,
            in_flight: RefCell::new(vec![0; cluster.connections.len()]),
            cluster,
            news: News::default(),
            open: Cell::new(0),
            is_flushing: Cell::new(false),
            linger_ns,
            accumulator: RefCell::new(accumulator),
            making: RefCell::new(making),
            shared,
            notes,
        }))
    }

    fn plan(&self) -> &StreamPlan {
        &self.shared.plan.streams[self.stream]
    }

    /// Produces until the end of what is measured, then waits for the last answer.
    pub async fn run(self: Rc<Self>) {
        let window = self.shared.window();
        loop {
            let now = self.shared.now_ns();
            let is_over = now >= window.until_ns && (!self.owes() || now >= window.until_ns + GRACE_NS);
            if is_over || self.shared.is_stopped() {
                break;
            }
            let next_due = self.make(now);
            self.send(now);
            let lingers = self.accumulator.borrow().next_deadline_ns().filter(|_| self.has_room());
            let next = [next_due, lingers]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(u64::MAX)
                .min(window.until_ns.max(now + 1_000_000));
            let pause = next.saturating_sub(self.shared.now_ns()).clamp(PAUSE_NS_MIN, PAUSE_NS_MAX);
            self.news.wait(Duration::from_nanos(pause)).await;
        }
        self.finish().await;
        self.shared.producing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether a record that was due while measured is not made yet.
    fn owes(&self) -> bool {
        let making = self.making.borrow();
        let window = self.shared.window();
        let is_due = |schedule: &Schedule| window.begin_ns + nanoseconds(schedule.due()) < window.until_ns;
        making.schedule.as_ref().is_some_and(is_due)
    }

    async fn finish(self: &Rc<Self>) {
        self.is_flushing.set(true);
        while self.owes() {
            if let Some(schedule) = &mut self.making.borrow_mut().schedule {
                schedule.advance();
            }
            self.notes.borrow_mut().streams[self.stream].unsent += 1;
        }
        let deadline = self.shared.now_ns() + nanoseconds(DRAIN_TIME_MAX);
        while self.open.get() > 0 && !self.shared.is_stopped() {
            self.send(self.shared.now_ns());
            if self.shared.now_ns() > deadline {
                let open = self.open.get();
                self.shared.fail(format!("{open} records were not answered within {DRAIN_TIME_MAX:?}"));
            }
            self.news.wait(Duration::from_nanos(PAUSE_NS_MAX)).await;
        }
        if self.plan().stream.acks == Acks::None && !self.shared.is_stopped() {
            // A broker answers in order: once it has answered this, it has had every record before it.
            if let Err(error) = self.cluster.offsets(&self.plan().layout, -1).await {
                self.shared.fail(error.0);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.borrow().iter().any(|count| *count < self.in_flight_max())
    }

    /// Requests that nobody answers are handed on one after the other: several that wait for room could change places.
    fn in_flight_max(&self) -> u32 {
        if self.plan().stream.acks == Acks::None { 1 } else { REQUESTS_IN_FLIGHT_MAX }
    }

    /// Makes what is due; when the next record is, if that is known.
    fn make(&self, now_ns: u64) -> Option<u64> {
        let window = self.shared.window();
        let pace = self.plan().stream.pace();
        let mut making = self.making.borrow_mut();
        for _ in 0..RECORDS_PER_TURN {
            if self.accumulator.borrow().bytes() >= BUFFER_BYTES_MAX {
                return None;
            }
            let due_ns = match (pace, &mut making.schedule) {
                (Pace::InFlight(count), _) if self.open.get() >= count => return None,
                (Pace::InFlight(_), _) => now_ns,
                (Pace::PerSecond(_), Some(schedule)) => {
                    let due_ns = window.begin_ns + nanoseconds(schedule.due());
                    if due_ns > now_ns || due_ns >= window.until_ns {
                        return Some(due_ns);
                    }
                    schedule.advance();
                    due_ns
                }
                (Pace::PerSecond(_), None) => panic!("a rate has a schedule"),
            };
            making.add(self, due_ns, now_ns);
            self.open.set(self.open.get() + 1);
        }
        Some(now_ns)
    }

    /// Sends what is ready while requests may leave.
    fn send(self: &Rc<Self>, now_ns: u64) {
        for leader in 0..self.cluster.connections.len() {
            while self.in_flight.borrow()[leader] < self.in_flight_max() {
                let places = &self.plan().layout.places;
                let taken = self.accumulator.borrow_mut().take_ready(
                    now_ns,
                    REQUEST_BYTES_MAX,
                    self.is_flushing.get(),
                    |partition| places[partition].leader == leader,
                );
                if taken.is_empty() {
                    break;
                }
                if let Err(error) = self.send_batches(leader, taken) {
                    return self.shared.fail(error.0);
                }
            }
        }
    }

    fn send_batches(self: &Rc<Self>, leader: usize, taken: Vec<(usize, Batch)>) -> Result<(), LoadError> {
        let plan = self.plan();
        let acks = plan.stream.acks;
        let mut topics = BTreeMap::<usize, Vec<PartitionProduceData<'_>>>::new();
        let mut sent = Vec::with_capacity(taken.len());
        for (partition, batch) in taken {
            let place = &plan.layout.places[partition];
            let records = Some(Payload::Shared(Bytes::from(batch.builder.build())));
            topics.entry(place.topic).or_default().push(PartitionProduceData { index: place.index, records });
            sent.push(Sent { partition, dues_ns: batch.dues_ns, payload_bytes: batch.payload_bytes });
        }
        let topic = |(topic, partition_data): (usize, Vec<_>)| TopicProduceData {
            name: &plan.layout.topics[topic],
            partition_data,
            ..Default::default()
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: match acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            timeout_ms: 60_000,
            topic_data: topics.into_iter().map(topic).collect(),
        };
        let prepared = Prepared::new(PRODUCE_VERSION, &request, acks != Acks::None)
            .map_err(|error| LoadError(error.to_string()))?;
        self.notes.borrow_mut().streams[self.stream].requests += 1;
        self.in_flight.borrow_mut()[leader] += 1;
        let own = Rc::clone(self);
        if acks == Acks::None {
            glommio::spawn_local(async move { own.hand_on(leader, &prepared, &sent).await }).detach();
            return Ok(());
        }
        let reply = self.cluster.connections[leader].try_send_prepared(&prepared)?;
        let reply = reply.expect("what has acks is answered");
        self.note_lateness(&sent);
        glommio::spawn_local(async move { own.answered(leader, reply.await, &sent) }).detach();
        Ok(())
    }

    /// With acks 0: through as soon as the connection takes it.
    async fn hand_on(self: &Rc<Self>, leader: usize, prepared: &Prepared, sent: &[Sent]) {
        match self.cluster.connections[leader].send_prepared(prepared).await {
            Ok(_) => {
                self.note_lateness(sent);
                sent.iter().for_each(|batch| self.account(batch, None));
            }
            Err(error) => return self.shared.fail(error.to_string()),
        }
        self.go_on(leader);
    }

    /// These were handed to the connection: how much later than they were due, beyond what their linger allows.
    fn note_lateness(&self, sent: &[Sent]) {
        let now_ns = self.shared.now_ns();
        let window = self.shared.window();
        let lateness = &mut self.notes.borrow_mut().streams[self.stream].lateness;
        for due_ns in sent.iter().flat_map(|batch| &batch.dues_ns).filter(|due_ns| window.contains(**due_ns))
        {
            lateness.record(now_ns.saturating_sub(*due_ns).saturating_sub(self.linger_ns));
        }
    }

    fn answered(self: &Rc<Self>, leader: usize, answer: Result<Answer, ConnectionError>, sent: &[Sent]) {
        if let Err(error) = answer.map_err(LoadError::from).and_then(|answer| self.take_answer(&answer, sent))
        {
            return self.shared.fail(error.0);
        }
        self.go_on(leader);
    }

    /// A request is through: there is room for the next.
    fn go_on(self: &Rc<Self>, leader: usize) {
        self.in_flight.borrow_mut()[leader] -= 1;
        self.send(self.shared.now_ns());
        let is_closed_loop = matches!(self.plan().stream.pace(), Pace::InFlight(_));
        if is_closed_loop || self.is_flushing.get() || !self.accumulator.borrow().is_empty() {
            self.news.tell();
        }
    }

    fn take_answer(&self, answer: &Answer, sent: &[Sent]) -> Result<(), LoadError> {
        let response: ProduceResponse<'_> = answer.decode()?;
        let layout = &self.plan().layout;
        let mut answered = 0;
        for topic in &response.responses {
            for partition in &topic.partition_responses {
                let place = |sent: &&Sent| {
                    let place = &layout.places[sent.partition];
                    place.index == partition.index && layout.topics[place.topic] == topic.name
                };
                let (name, index) = (topic.name, partition.index);
                let Some(batch) = sent.iter().find(place) else {
                    return Err(LoadError(format!(
                        "the broker answers for {name}-{index}, which was not asked"
                    )));
                };
                if !partition.error_code.is_none() {
                    let said = partition.error_code;
                    return Err(LoadError(format!("the broker refuses records of {name}-{index}: {said}")));
                }
                self.account(batch, Some(partition.base_offset.0));
                answered += 1;
            }
        }
        if answered == sent.len() {
            return Ok(());
        }
        Err(LoadError(format!("the broker answers for {answered} of {} partitions", sent.len())))
    }

    /// A batch counts as written: acknowledged, or (acks 0) handed to the connection.
    fn account(&self, sent: &Sent, base_offset: Option<i64>) {
        let now_ns = self.shared.now_ns();
        let window = self.shared.window();
        let partition = u32::try_from(sent.partition).expect("a bounded number of partitions");
        let count = u32::try_from(sent.dues_ns.len()).expect("a batch is smaller");
        let notes = &mut *self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        for due_ns in &sent.dues_ns {
            let latency_ns = now_ns.saturating_sub(*due_ns);
            notes.tick.acks.record(latency_ns);
            if window.contains(*due_ns) {
                stream.acks.record(latency_ns);
            }
        }
        let (records, bytes) = (u64::from(count), sent.payload_bytes as u64);
        notes.tick.acked.add(records, bytes);
        if window.contains(now_ns) {
            stream.acked.add(records, bytes);
        }
        stream.batches += 1;
        *stream.lanes.entry(Lane { worker: self.worker, partition }).or_default() += records;
        if let Some(base) = base_offset {
            stream.offsets.entry(partition).or_default().note(base, count);
            let end = base + i64::from(count);
            self.shared.ends[self.stream][sent.partition].fetch_max(end, Ordering::AcqRel);
        }
        self.open.set(self.open.get() - count);
    }
}

/// What is remembered of a batch until it is answered.
struct Sent {
    partition: usize,
    dues_ns: Vec<u64>,
    payload_bytes: usize,
}

impl Making {
    fn add(&mut self, producer: &Producer, due_ns: u64, now_ns: u64) {
        let made = self.maker.choose();
        self.key.clear();
        self.key.extend_from_slice(made.key.unwrap_or_default());
        let (has_key, value_bytes) = (made.key.is_some(), made.value_bytes);
        let headers: Vec<Header<'_>> =
            (0..self.headers).map(|_| Header { key: b"bench", value: Some(&self.header) }).collect();
        let key = has_key.then_some(&self.key[..]);
        let partition = self.spreader.choose(key, value_bytes + self.key.len());
        let at = usize::try_from(partition).expect("a bounded number of partitions");
        let (run, worker) = (producer.shared.plan.run, producer.worker);
        let stamp = Stamp { run, worker, sequence: self.sequences[at], due_ns };
        self.sequences[at] += 1;
        self.value.clear();
        self.maker.append_value(value_bytes, &stamp, &mut self.value);
        let record = NewRecord {
            partition: at,
            due_ns,
            timestamp: wall_clock(),
            key,
            value: &self.value,
            headers: &headers,
        };
        producer.accumulator.borrow_mut().push(now_ns, &record);
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

async fn identity(cluster: &Cluster) -> Result<ProducerStamp, LoadError> {
    let connection =
        cluster.connections.first().ok_or_else(|| LoadError("no broker leads anything".into()))?;
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(-1),
    };
    let answer = connection.call(&request).await?;
    let response: InitProducerIdResponse = answer.decode()?;
    if !response.error_code.is_none() {
        return Err(LoadError(format!("no identity for an idempotent producer: {}", response.error_code)));
    }
    let (id, epoch) = (response.producer_id, response.producer_epoch);
    Ok(ProducerStamp { id, epoch, base_sequence: Sequence(0) })
}

fn codec(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

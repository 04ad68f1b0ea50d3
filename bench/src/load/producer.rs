//! One producer: makes records when they are due, and hands them to the client's producer.
//!
//! The client's producer works as Kafka's own does (batch size, linger, requests in flight), so that figures compare; which
//! partition a record goes to is chosen here, since its number in that partition is part of it. Open loop: a record's latency
//! counts from when it was due, whatever held it up. It sleeps between sends.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::producer::{Header, ProducerOptions, ProducerTopic, Record};
use client::{Client, executor};
use protocol::compression::Compression;

use super::StreamPlan;
use super::account::Account;
use super::cluster::Layout;
use super::recorder::Notes;
use super::spread::Spreader;
use super::thread::{LoadError, Shared, nanoseconds};
use crate::limits::DRAIN_TIME_MAX;
use crate::pace::{Pace, Schedule};
use crate::payload::{Noise, Payload as Maker};
use crate::stamp::Stamp;
use crate::workload::{self, Acks, Codec};

/// Kafka's default (`max.in.flight.requests.per.connection`).
const REQUESTS_IN_FLIGHT_MAX: usize = 5;
/// With acks 0: beyond it the connection takes no more until the socket has.
pub const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Kafka's default (`max.request.size`).
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// What a record may take beside its value and its headers' values: the largest of keys, and what is around them all.
const RECORD_OVERHEAD_BYTES_MAX: usize = 64 << 10;
/// Kafka's default (`buffer.memory`): beyond it no record is made, and those that are due are late.
const BUFFER_BYTES_MAX: usize = 32 << 20;
/// How long a record may wait: it is the round that ends before its time, never a record.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
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
    shared: Arc<Shared>,
    notes: Notes,
    account: Rc<Account>,
    producer: client::Producer,
    making: RefCell<Making>,
}

/// What makes records.
struct Making {
    run: u32,
    worker: u32,
    layout: Layout,
    /// The layout's topics.
    topics: Vec<ProducerTopic>,
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
    /// Makes producer `share` of a stream.
    pub async fn connect(
        client: &Client,
        stream: usize,
        share: u32,
        shared: Arc<Shared>,
        notes: Notes,
        noise: Rc<Noise>,
    ) -> Result<Self, LoadError> {
        let plan = &shared.plan.streams[stream];
        let spec = &plan.stream;
        let worker = plan.first_worker + share;
        let linger = Duration::from_secs_f64(spec.linger_ms / 1e3);
        let (own, noted) = (Arc::clone(&shared), Rc::clone(&notes));
        let account = Rc::new(Account::new(stream, worker, own, noted, nanoseconds(linger)));
        let options =
            ProducerOptions { listener: Some(Rc::<Account>::clone(&account)), ..options(spec, linger) };
        let batch_bytes = options.batch_bytes_max;
        let producer = client.producer(options).await?;
        let mut topics = Vec::new();
        for name in &plan.layout.topics {
            topics.push(producer.topic(name).await?);
        }
        let schedule = match spec.pace() {
            Pace::PerSecond(rate) => Some(Schedule::new(rate, share, plan.producers)),
            Pace::InFlight(_) => None,
        };
        let seed = u64::from(shared.plan.run) << 32 | u64::from(worker);
        let making = RefCell::new(Making {
            run: shared.plan.run,
            worker,
            layout: plan.layout.clone(),
            topics,
            maker: Maker::new(&spec.record, noise, seed),
            spreader: Spreader::new(spec.topics, spec.partitions, spec.record.spread, batch_bytes, worker),
            schedule,
            sequences: vec![0; plan.layout.count()],
            value: Vec::new(),
            key: Vec::new(),
            header: vec![b'h'; spec.record.header_bytes],
            headers: spec.record.headers,
        });
        Ok(Self { stream, shared, notes, account, producer, making })
    }

    fn plan(&self) -> &StreamPlan {
        &self.shared.plan.streams[self.stream]
    }

    /// Produces until the end of what is measured, then waits for the last answer.
    pub async fn run(self) {
        let window = self.shared.window();
        loop {
            let now = self.shared.now_ns();
            let is_over = now >= window.until_ns && (!self.owes() || now >= window.until_ns + GRACE_NS);
            if is_over || self.shared.is_stopped() {
                break;
            }
            let next_due = self.make(now);
            self.account.is_waited_for.set(next_due.is_none());
            let next = next_due.unwrap_or(u64::MAX).min(window.until_ns.max(now + 1_000_000));
            let pause = next.saturating_sub(self.shared.now_ns()).clamp(PAUSE_NS_MIN, PAUSE_NS_MAX);
            self.account.news.wait(Duration::from_nanos(pause)).await;
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

    async fn finish(&self) {
        while self.owes() {
            if let Some(schedule) = &mut self.making.borrow_mut().schedule {
                schedule.advance();
            }
            self.notes.borrow_mut().streams[self.stream].unsent += 1;
        }
        let begun_at = Instant::now();
        // Without acks, until the brokers have read the last record.
        let mut flushing = pin!(self.producer.flush());
        while !self.shared.is_stopped() {
            let look_at = Instant::now() + Duration::from_nanos(PAUSE_NS_MAX);
            if executor::before(look_at, flushing.as_mut()).await.is_some() {
                break;
            }
            if begun_at.elapsed() > DRAIN_TIME_MAX {
                self.shared.fail(self.told_of_silence());
            }
        }
    }

    /// What a broker has not answered in time, in words.
    fn told_of_silence(&self) -> String {
        let (open, held) = (self.account.open.get(), self.producer.held_bytes());
        let worker = self.making.borrow().worker;
        match (open, self.plan().stream.acks) {
            // They count as answered when the connection has taken them.
            (0, Acks::None) => format!(
                "producer {worker}: the broker did not tell within {DRAIN_TIME_MAX:?} that it has read what was sent"
            ),
            _ => format!(
                "{open} records of producer {worker}, which holds {held} bytes, were not answered within {DRAIN_TIME_MAX:?}"
            ),
        }
    }

    /// Makes what is due; when the next record is, or none where something must be answered first.
    fn make(&self, now_ns: u64) -> Option<u64> {
        let window = self.shared.window();
        let pace = self.plan().stream.pace();
        let mut making = self.making.borrow_mut();
        for _ in 0..RECORDS_PER_TURN {
            if self.producer.held_bytes() >= BUFFER_BYTES_MAX {
                return None;
            }
            let due_ns = match (pace, &mut making.schedule) {
                (Pace::InFlight(count), _) if self.account.open.get() >= count => return None,
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
            self.account.open.set(self.account.open.get() + 1);
            if let Err(error) = making.send(&self.producer, due_ns) {
                self.shared.fail(error.0);
                return None;
            }
        }
        Some(now_ns)
    }
}

impl Making {
    /// Makes the next record and hands it to the producer.
    fn send(&mut self, producer: &client::Producer, due_ns: u64) -> Result<(), LoadError> {
        let made = self.maker.choose();
        self.key.clear();
        self.key.extend_from_slice(made.key.unwrap_or_default());
        let (has_key, value_bytes) = (made.key.is_some(), made.value_bytes);
        let headers: Vec<Header<'_>> =
            (0..self.headers).map(|_| Header { key: b"bench", value: Some(&self.header) }).collect();
        let key = has_key.then_some(&self.key[..]);
        let number = self.spreader.choose(key, value_bytes + self.key.len());
        let number = usize::try_from(number).expect("a bounded number of partitions");
        let sequence = &mut self.sequences[number];
        let stamp = Stamp { run: self.run, worker: self.worker, sequence: *sequence, due_ns };
        *sequence += 1;
        let (topic, index) = self.layout.place(number);
        self.value.clear();
        self.maker.append_value(value_bytes, &stamp, &mut self.value);
        let record = Record {
            partition: Some(index),
            timestamp: None,
            key,
            value: Some(&self.value),
            headers: &headers,
            token: due_ns,
        };
        match producer.try_send(&self.topics[topic], &record) {
            // What becomes of it, the account is told.
            Ok(_delivery) => Ok(()),
            Err(error) => Err(LoadError(format!("a record was not taken: {error}"))),
        }
    }
}

/// How the client's producer is to behave.
fn options(spec: &workload::Stream, linger: Duration) -> ProducerOptions {
    let largest = spec.record.value_bytes.max() + spec.record.headers * spec.record.header_bytes;
    let batch_bytes_max = usize::try_from(spec.batch_bytes).expect("bounded by the workload's check");
    ProducerOptions {
        acks: match spec.acks {
            Acks::None => client::producer::Acks::None,
            Acks::Leader => client::producer::Acks::Leader,
            Acks::All => client::producer::Acks::All,
        },
        idempotent: spec.idempotent,
        compression: match spec.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        batch_bytes_max,
        linger,
        in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        request_bytes_max: REQUEST_BYTES_MAX.max(batch_bytes_max).max(largest + RECORD_OVERHEAD_BYTES_MAX),
        // How much is held is looked at before a record is made: one that is made is taken.
        memory_bytes_max: usize::MAX,
        delivery_timeout: DELIVERY_TIME_MAX,
        ..ProducerOptions::default()
    }
}

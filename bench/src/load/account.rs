//! What becomes of one producer's records, taken down as the client tells of it: when they were handed on, when they were
//! acknowledged, and with which offsets.
//!
//! The token of a record is the moment at which it was due, so nothing is kept for a record but what its batch carries. Any
//! attempt that fails ends the round: what a repetition would measure is not the broker under this load.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::producer::{Acked, DeliveredBatch, DeliveryListener, FailedBatch, SentBatch};
use protocol::types::{Offset, PartitionIndex};

use super::moment::News;
use super::recorder::Notes;
use super::thread::Shared;
use crate::pace::Pace;
use crate::verify::Lane;
use crate::workload::Acks;

/// The account of one producer.
pub struct Account {
    stream: usize,
    worker: u32,
    shared: Arc<Shared>,
    notes: Notes,
    linger_ns: u64,
    /// Requests that have left.
    requests: Cell<u64>,
    /// Records that are made and not answered.
    pub open: Cell<u32>,
    /// Whether the producer makes nothing before something was answered.
    pub is_waited_for: Cell<bool>,
    pub news: News,
}

impl Account {
    pub fn new(stream: usize, worker: u32, shared: Arc<Shared>, notes: Notes, linger_ns: u64) -> Self {
        Self {
            stream,
            worker,
            shared,
            notes,
            linger_ns,
            requests: Cell::new(0),
            open: Cell::new(0),
            is_waited_for: Cell::new(false),
            news: News::default(),
        }
    }

    /// A batch counts as written: acknowledged, or (acks 0) handed to the connection.
    fn count(&self, batch: &DeliveredBatch<'_>, offset: Option<Offset>) {
        let now_ns = self.shared.now_ns();
        let window = self.shared.window();
        let place = self.place(batch.topic, batch.partition);
        let partition = u32::try_from(place).expect("a bounded number of partitions");
        let count = u32::try_from(batch.tokens.len()).expect("a batch is smaller");
        let notes = &mut *self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        for due_ns in batch.tokens {
            let latency_ns = now_ns.saturating_sub(*due_ns);
            notes.tick.acks.record(latency_ns);
            if window.contains(*due_ns) {
                stream.acks.record(latency_ns);
            }
        }
        let (records, bytes) = (u64::from(count), batch.payload_bytes as u64);
        notes.tick.acked.add(records, bytes);
        if window.contains(now_ns) {
            stream.acked.add(records, bytes);
        }
        stream.batches += 1;
        *stream.lanes.entry(Lane { worker: self.worker, partition }).or_default() += records;
        if let Some(base) = offset {
            stream.offsets.entry(partition).or_default().note(base.0, count);
            let end = base.0 + i64::from(count);
            self.shared.ends[self.stream][place].fetch_max(end, Ordering::AcqRel);
        }
        self.open.set(self.open.get() - count);
    }

    fn is_acked(&self) -> bool {
        self.shared.plan.streams[self.stream].stream.acks != Acks::None
    }

    fn place(&self, topic: &str, index: PartitionIndex) -> usize {
        let layout = &self.shared.plan.streams[self.stream].layout;
        layout.position(topic, index).expect("what is written to is in the layout")
    }
}

impl DeliveryListener for Account {
    fn delivered(&self, batch: &DeliveredBatch<'_>) {
        let DeliveredBatch { topic, partition, outcome, .. } = batch;
        match outcome {
            // An ack without an offset can't be checked.
            Ok(Acked { offset: None, .. }) if self.is_acked() => {
                self.shared
                    .fail(format!("records of {topic}-{partition} were acknowledged without an offset"));
            }
            Ok(acked) => self.count(batch, acked.offset),
            // What is left when the round has ended before its time is given up.
            Err(_) if self.shared.is_stopped() => {}
            Err(error) => self.shared.fail(format!("records of {topic}-{partition}: {error}")),
        }
        let is_closed_loop = matches!(self.shared.plan.streams[self.stream].stream.pace(), Pace::InFlight(_));
        if is_closed_loop || self.is_waited_for.get() {
            self.news.tell();
        }
    }

    /// These were handed to the connection: how much later than they were due, beyond what their linger allows.
    fn sent(&self, batch: &SentBatch<'_>) {
        let now_ns = self.shared.now_ns();
        let window = self.shared.window();
        let stream = &mut self.notes.borrow_mut().streams[self.stream];
        if self.requests.replace(batch.request) != batch.request {
            stream.requests += 1;
        }
        for due_ns in batch.tokens.iter().filter(|due_ns| window.contains(**due_ns)) {
            stream.lateness.record(now_ns.saturating_sub(*due_ns).saturating_sub(self.linger_ns));
        }
    }

    fn failed(&self, batch: &FailedBatch<'_>) {
        let FailedBatch { topic, partition, .. } = batch;
        self.shared.fail(match batch.reason {
            Some(said) => format!("the broker refuses records of {topic}-{partition}: {said}"),
            None => format!("records of {topic}-{partition} were not answered: the connection ended"),
        });
    }
}

//! Records gathered into batches, partition by partition, until they are full or have waited long enough.
//!
//! As Kafka's producer does it: a batch leaves when it is full or its first record has lingered; while no request may
//! leave, batches go on filling; a request takes one batch of each partition that is ready. Knows no sockets and no
//! clock: moments are nanoseconds that the caller gives.

use std::collections::VecDeque;

use protocol::compression::Compression;
use protocol::records::{BatchBuilder, BatchOptions, Header, ProducerStamp};
use protocol::types::{Sequence, Timestamp};

/// What a record takes beside its key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 21;

/// A batch on its way.
#[derive(Debug)]
pub struct Batch {
    pub builder: BatchBuilder,
    /// When each of its records was due.
    pub dues_ns: Vec<u64>,
    /// Bytes of keys and values.
    pub payload_bytes: usize,
    opened_ns: u64,
}

/// Batches of one producer that wait.
#[derive(Debug)]
pub struct Accumulator {
    options: BatchOptions,
    linger_ns: u64,
    batch_bytes: usize,
    partitions: Vec<VecDeque<Batch>>,
    /// Records of each partition so far: what an idempotent producer numbers its batches by.
    counts: Vec<u64>,
    /// Partitions that have batches, each once, in the order in which they got one.
    waiting: VecDeque<usize>,
    /// Bytes of all that wait.
    bytes: usize,
}

/// A record as it goes into a batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    pub partition: usize,
    pub due_ns: u64,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub headers: &'a [Header<'a>],
}

impl Accumulator {
    /// For `partitions`; `batch_bytes` is when a batch is full. With the identity of an idempotent producer, batches are
    /// numbered.
    pub fn new(
        partitions: usize,
        batch_bytes: usize,
        linger_ns: u64,
        compression: Compression,
        identity: ProducerStamp,
    ) -> Self {
        let options = BatchOptions { compression, producer: identity, ..BatchOptions::default() };
        let lanes = std::iter::repeat_with(VecDeque::new).take(partitions).collect();
        let counts = vec![0; partitions];
        Self {
            options,
            linger_ns,
            batch_bytes,
            partitions: lanes,
            counts,
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a record at the moment `now_ns`.
    pub fn push(&mut self, now_ns: u64, record: &NewRecord<'_>) {
        let header_bytes: usize =
            record.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        let payload_bytes = record.key.map_or(0, <[u8]>::len) + record.value.len();
        let bytes = payload_bytes + header_bytes + RECORD_OVERHEAD_BYTES;
        let batches = &mut self.partitions[record.partition];
        if batches.is_empty() {
            self.waiting.push_back(record.partition);
        }
        let fits = |batch: &Batch| batch.builder.records_bytes() + bytes <= self.batch_bytes;
        if !batches.back().is_some_and(fits) {
            let builder = BatchBuilder::new(numbered(self.options, self.counts[record.partition]));
            batches.push_back(Batch { builder, dues_ns: Vec::new(), payload_bytes: 0, opened_ns: now_ns });
        }
        let batch = batches.back_mut().expect("one was pushed where there was none");
        batch.builder.append(record.timestamp, record.key, Some(record.value), record.headers);
        batch.dues_ns.push(record.due_ns);
        batch.payload_bytes += payload_bytes;
        self.bytes += payload_bytes;
        self.counts[record.partition] += 1;
    }

    /// Takes at most one batch of each partition that `is_wanted` and is ready, of `bytes_max` together (but at least one);
    /// all that wait are ready where `flush`.
    pub fn take_ready(
        &mut self,
        now_ns: u64,
        bytes_max: usize,
        flush: bool,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Batch)> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for _ in 0..self.waiting.len() {
            let partition = self.waiting.pop_front().expect("it was counted");
            let batches = &mut self.partitions[partition];
            let front = batches.front().expect("who waits has a batch");
            let is_ready = flush
                || batches.len() > 1
                || front.builder.records_bytes() + RECORD_OVERHEAD_BYTES >= self.batch_bytes
                || front.opened_ns.saturating_add(self.linger_ns) <= now_ns;
            let fits = taken.is_empty() || bytes + front.builder.records_bytes() <= bytes_max;
            if is_ready && fits && is_wanted(partition) {
                let batch = batches.pop_front().expect("it has a front");
                bytes += batch.builder.records_bytes();
                self.bytes -= batch.payload_bytes;
                taken.push((partition, batch));
            }
            if !self.partitions[partition].is_empty() {
                self.waiting.push_back(partition);
            }
        }
        taken
    }

    /// When the next batch has lingered long enough, if any waits.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let opened = self.waiting.iter().map(|partition| self.partitions[*partition][0].opened_ns);
        opened.min().map(|opened| opened.saturating_add(self.linger_ns))
    }
}

/// Sequences of an idempotent producer go up to 2^31 - 1 and begin again at 0.
fn numbered(mut options: BatchOptions, count: u64) -> BatchOptions {
    if options.producer != ProducerStamp::NONE {
        let wrapped = i32::try_from(count % (1 << 31)).expect("it is below 2^31");
        options.producer.base_sequence = Sequence(wrapped);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(accumulator: &mut Accumulator, partition: usize, now_ns: u64, bytes: usize) {
        let value = vec![1; bytes];
        let timestamp = Timestamp(0);
        let record =
            NewRecord { partition, due_ns: now_ns, timestamp, key: None, value: &value, headers: &[] };
        accumulator.push(now_ns, &record);
    }

    /// Partition and records of each batch that is ready at `now_ns`.
    fn ready(accumulator: &mut Accumulator, now_ns: u64) -> Vec<(usize, usize)> {
        let taken = accumulator.take_ready(now_ns, 1_000_000, false, |_| true);
        taken.iter().map(|(partition, batch)| (*partition, batch.dues_ns.len())).collect()
    }

    #[test]
    fn a_batch_leaves_when_it_has_lingered() {
        let mut accumulator = Accumulator::new(2, 1_000, 50, Compression::None, ProducerStamp::NONE);
        push(&mut accumulator, 0, 100, 10);
        push(&mut accumulator, 0, 120, 10);
        assert_eq!(accumulator.next_deadline_ns(), Some(150));
        assert_eq!(ready(&mut accumulator, 149), []);
        assert_eq!(ready(&mut accumulator, 150), [(0, 2)]);
        assert!(accumulator.is_empty());
        assert_eq!(accumulator.bytes(), 0);
    }

    #[test]
    fn a_full_batch_leaves_at_once() {
        let mut accumulator = Accumulator::new(1, 150, 1_000_000, Compression::None, ProducerStamp::NONE);
        (0..3).for_each(|_| push(&mut accumulator, 0, 0, 80));
        assert_eq!(ready(&mut accumulator, 0), [(0, 1)], "two don't fit, and the first is full");
        assert_eq!(ready(&mut accumulator, 0), [(0, 1)]);
        assert_eq!(ready(&mut accumulator, 0), []);
    }

    #[test]
    fn one_byte_a_batch_is_one_record_a_batch() {
        let mut accumulator = Accumulator::new(1, 1, 0, Compression::None, ProducerStamp::NONE);
        (0..3).for_each(|_| push(&mut accumulator, 0, 0, 80));
        for _ in 0..3 {
            assert_eq!(ready(&mut accumulator, 0), [(0, 1)]);
        }
    }

    #[test]
    fn a_request_takes_one_batch_of_each_partition_within_its_bytes() {
        let mut accumulator = Accumulator::new(3, 1, 0, Compression::None, ProducerStamp::NONE);
        for partition in [2, 0, 2, 1] {
            push(&mut accumulator, partition, 0, 400);
        }
        let taken = accumulator.take_ready(0, 900, false, |_| true);
        assert_eq!(taken.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [2, 0]);
        let taken = accumulator.take_ready(0, 10, false, |partition| partition != 1);
        assert_eq!(taken.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [2]);
        assert_eq!(ready(&mut accumulator, 0), [(1, 1)]);
    }

    #[test]
    fn a_flush_takes_what_still_lingers() {
        let mut accumulator = Accumulator::new(1, 1_000, 1_000, Compression::None, ProducerStamp::NONE);
        push(&mut accumulator, 0, 0, 10);
        assert_eq!(accumulator.take_ready(0, 1_000, true, |_| true).len(), 1);
    }
}

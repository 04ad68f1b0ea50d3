//! A batch on its way, and the fate that its records share.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use protocol::batch::{self as wire, BatchIter, Encoding};
use protocol::native::to_kafka;
use protocol::records::{self, BatchBuilder, BatchOptions, ProducerStamp, RecordIter, restamp};
use protocol::types::{Offset, PartitionIndex, Sequence, Timestamp};
use smallvec::SmallVec;

use super::{Header, Record};
use crate::error::ProduceError;
use crate::limits::{BATCH_CAPACITY_BYTES, BUILT_BYTES_MAX, RECORD_OVERHEAD_BYTES};

/// Where a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset; none with acks 0, or where the broker knows the record as a duplicate and no longer its offset.
    pub offset: Option<Offset>,
    /// The timestamp that the broker gave it, where the topic says so.
    pub append_time: Option<Timestamp>,
}

/// What became of a batch. `offset` is that of its first record.
pub(super) type Outcome = Result<Acked, ProduceError>;

/// What the records of a batch share: whoever asks for one record's fate looks here.
#[derive(Default)]
pub(super) struct Fate {
    course: RefCell<Course>,
    /// Who waits; each has its place until it gives up.
    wakers: RefCell<Vec<Option<Waker>>>,
}

/// How far the batch has come.
#[derive(Default)]
enum Course {
    #[default]
    Open,
    Decided(Outcome),
    /// It was too large and goes on in two parts, of which the front has so many records.
    Parted {
        at: u32,
        front: Rc<Fate>,
        back: Rc<Fate>,
    },
}

impl Fate {
    pub(super) fn decide(&self, outcome: Outcome) {
        self.come_to(Course::Decided(outcome));
    }

    /// The fates of a batch's two parts.
    fn part(&self, at: u32) -> (Rc<Self>, Rc<Self>) {
        let (front, back) = (Rc::<Self>::default(), Rc::<Self>::default());
        self.come_to(Course::Parted { at, front: Rc::clone(&front), back: Rc::clone(&back) });
        (front, back)
    }

    fn come_to(&self, course: Course) {
        let before = self.course.replace(course);
        assert!(matches!(before, Course::Open), "a batch is decided once");
        // Who waits for a record of a parted batch finds the part and goes on waiting there.
        self.wakers.take().into_iter().flatten().for_each(Waker::wake);
    }

    /// The part that a record is in now, and its index there; none where there are no parts.
    fn part_of(&self, index: u32) -> Option<(Rc<Self>, u32)> {
        match &*self.course.borrow() {
            Course::Parted { at, front, .. } if index < *at => Some((Rc::clone(front), index)),
            Course::Parted { at, back, .. } => Some((Rc::clone(back), index - at)),
            Course::Open | Course::Decided(_) => None,
        }
    }

    fn of_record(&self, index: u32) -> Option<Outcome> {
        if let Some((part, index)) = self.part_of(index) {
            return part.of_record(index);
        }
        let Course::Decided(outcome) = &*self.course.borrow() else { return None };
        Some(
            outcome.clone().map(|acked| Acked {
                offset: acked.offset.map(|first| first.plus(i64::from(index))),
                ..acked
            }),
        )
    }
}

/// The fate of one record, as a future. It costs no allocation until it is awaited; dropping it changes nothing for the
/// record.
#[must_use = "whether a record was delivered is told only to who waits for it"]
pub struct Delivery {
    fate: Rc<Fate>,
    index: u32,
    place: Option<usize>,
}

impl Delivery {
    pub(super) fn new(fate: Rc<Fate>, index: u32) -> Self {
        Self { fate, index, place: None }
    }

    /// The outcome, if it is known already.
    #[must_use]
    pub fn now(&self) -> Option<Result<Acked, ProduceError>> {
        self.fate.of_record(self.index)
    }
}

impl Future for Delivery {
    type Output = Result<Acked, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some((part, index)) = this.fate.part_of(this.index) {
            // The place went with the waker when the batch was parted.
            (this.fate, this.index, this.place) = (part, index, None);
        }
        if let Some(outcome) = this.now() {
            return Poll::Ready(outcome);
        }
        let mut wakers = this.fate.wakers.borrow_mut();
        let place = *this.place.get_or_insert_with(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        wakers[place] = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        // The places go when the batch is decided.
        if let Some(waker) = self.fate.wakers.borrow_mut().get_mut(place) {
            *waker = None;
        }
    }
}

/// A batch: gathering, or built and waiting to be sent, or sent and waiting to be sent again.
pub(super) struct Batch {
    /// Counts the batches of the producer in the order of their first records.
    pub number: u64,
    /// Where its first record was in the batch of that number before that was parted.
    first: u32,
    pub opened_at: Instant,
    /// How often it was sent.
    pub attempts: u32,
    /// An attempt may have appended it, and nobody has said so.
    pub is_unclear: bool,
    pub record_count: u32,
    /// What it counts for in the producer's memory.
    pub charged_bytes: usize,
    /// Bytes of its keys and values.
    pub payload_bytes: usize,
    /// What the sender calls its records, if anyone listens.
    pub tokens: Vec<u64>,
    pub fate: Rc<Fate>,
    pub stamp: ProducerStamp,
    content: Content,
}

enum Content {
    Open(BatchBuilder),
    Built(Bytes),
}

impl Batch {
    pub(super) fn open(number: u64, now: Instant, options: BatchOptions, bytes_max: usize) -> Self {
        let capacity = bytes_max.min(BATCH_CAPACITY_BYTES);
        Self {
            number,
            first: 0,
            opened_at: now,
            attempts: 0,
            is_unclear: false,
            record_count: 0,
            charged_bytes: 0,
            payload_bytes: 0,
            tokens: Vec::new(),
            fate: Rc::default(),
            stamp: ProducerStamp::NONE,
            content: Content::Open(BatchBuilder::with_capacity(options, capacity)),
        }
    }

    /// Adds a record; its index.
    pub(super) fn push(&mut self, record: &Record<'_>, timestamp: Timestamp, bytes: usize) -> u32 {
        let Content::Open(builder) = &mut self.content else { panic!("a built batch takes no record") };
        builder.append(timestamp, record.key, record.value, record.headers);
        self.charged_bytes += bytes;
        self.payload_bytes += payload_bytes(record);
        self.record_count += 1;
        self.record_count - 1
    }

    /// Bytes of its records before compression.
    pub(super) fn records_bytes(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.records_bytes(),
            Content::Built(bytes) => bytes.len(),
        }
    }

    /// Whether it takes more records: its bytes are not made yet.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.content, Content::Open(_))
    }

    /// Makes the bytes to be sent, unless they are made.
    pub(super) fn build(&mut self, stamp: ProducerStamp) {
        if let Content::Open(_) = &self.content {
            let Content::Open(builder) = std::mem::replace(&mut self.content, Content::Built(Bytes::new()))
            else {
                unreachable!("it was open a moment ago")
            };
            self.content = Content::Built(builder.build_for(stamp).into());
            self.stamp = stamp;
        }
    }

    /// Gives a built batch another identity.
    pub(super) fn restamp(&mut self, stamp: ProducerStamp) {
        let Content::Built(bytes) = &mut self.content else { panic!("an open batch has no stamp yet") };
        let taken = std::mem::take(bytes);
        // A connection that has ended may still hold the bytes.
        let mut own = taken.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        restamp(&mut own, stamp);
        *bytes = own.freeze();
        self.stamp = stamp;
        // What was sent under the identity before is not appended, or this one would not be needed.
        self.is_unclear = false;
    }

    /// Makes a natively built batch one of Kafka's: its broker takes no native ones.
    pub(super) fn make_kafkas(&mut self) {
        let Content::Built(bytes) = &mut self.content else { panic!("an open batch is not sent") };
        if only_batch(bytes).header().encoding() == Some(Encoding::Kafka) {
            return;
        }
        *bytes = to_kafka(only_batch(bytes), BUILT_BYTES_MAX).expect("it was built here").into();
    }

    /// Parts a batch that was refused as too large, about equally by bytes. The parts keep its identity, and their records
    /// their sequences.
    pub(super) fn part(mut self, options: BatchOptions) -> (Self, Self) {
        assert!(self.record_count > 1, "a record can't be parted");
        let bytes = self.bytes().clone();
        let batch = only_batch(&bytes);
        let encoding = batch.header().encoding().expect("it was built here");
        let options = BatchOptions { encoding, transactional: batch.header().is_transactional(), ..options };
        let body = batch.records(BUILT_BYTES_MAX).expect("it was built here");
        let records = || RecordIter::new(&body, batch.header()).map(|record| record.expect("built here"));
        let sizes: Vec<usize> = records().map(|record| as_sent(&record, record_bytes)).collect();
        let at = middle(&sizes);
        let front_payload_bytes: usize =
            records().take(at).map(|record| as_sent(&record, payload_bytes)).sum();
        let mut builders = [BatchBuilder::new(options), BatchBuilder::new(options)];
        for (index, record) in records().enumerate() {
            let builder = &mut builders[usize::from(index >= at)];
            as_sent(&record, |copied| {
                builder.append(record.timestamp, copied.key, copied.value, copied.headers);
            });
        }
        let front_bytes: usize = sizes[..at].iter().sum();
        let count = u32::try_from(at).expect("a batch has fewer than 2^31 records");
        let (front_fate, back_fate) = self.fate.part(count);
        let back_tokens = self.tokens.split_off(at.min(self.tokens.len()));
        let back_stamp = match self.stamp {
            ProducerStamp::NONE => ProducerStamp::NONE,
            stamp => ProducerStamp { base_sequence: sequence_after(stamp.base_sequence, count), ..stamp },
        };
        let [front, back] = builders;
        let back = Self {
            first: self.first + count,
            record_count: self.record_count - count,
            charged_bytes: self.charged_bytes - front_bytes,
            payload_bytes: self.payload_bytes - front_payload_bytes,
            tokens: back_tokens,
            fate: back_fate,
            stamp: back_stamp,
            content: Content::Built(back.build_for(back_stamp).into()),
            ..self
        };
        let front = Self {
            record_count: count,
            charged_bytes: front_bytes,
            payload_bytes: front_payload_bytes,
            tokens: std::mem::take(&mut self.tokens),
            fate: front_fate,
            content: Content::Built(front.build_for(self.stamp).into()),
            ..self
        };
        (front, back)
    }

    /// Its place among the batches of its partition.
    pub(super) fn place(&self) -> (u64, u32) {
        (self.number, self.first)
    }

    pub(super) fn bytes(&self) -> &Bytes {
        let Content::Built(bytes) = &self.content else { panic!("an open batch has no bytes yet") };
        bytes
    }

    /// The sequence of its last record.
    pub(super) fn last_sequence(&self) -> Sequence {
        sequence_after(self.stamp.base_sequence, self.record_count - 1)
    }

    /// The sequence after its last record.
    pub(super) fn next_sequence(&self) -> Sequence {
        sequence_after(self.stamp.base_sequence, self.record_count)
    }
}

/// The sequence so many records later; they wrap to 0.
pub(super) fn sequence_after(sequence: Sequence, records: u32) -> Sequence {
    Sequence(sequence.0.wrapping_add_unsigned(records) & i32::MAX)
}

/// The batch that these bytes are.
fn only_batch(bytes: &[u8]) -> wire::Batch<'_> {
    BatchIter::new(bytes).next().expect("there is one").expect("it was built here")
}

/// Shows a record that was read back from a batch as one to be sent.
fn as_sent<T>(record: &records::Record<'_>, show: impl FnOnce(&Record<'_>) -> T) -> T {
    let headers: SmallVec<[Header<'_>; 8]> =
        record.headers.iter().map(|header| header.expect("it was built here")).collect();
    show(&Record { key: record.key, value: record.value, headers: &headers, ..Record::default() })
}

/// How many of these sizes make about half of their sum: at least one, and not all.
fn middle(sizes: &[usize]) -> usize {
    let total: usize = sizes.iter().sum();
    let mut sum = 0;
    let is_in_front = |size: &&usize| {
        sum += **size;
        sum * 2 <= total
    };
    sizes.iter().take_while(is_in_front).count().clamp(1, sizes.len() - 1)
}

/// What a record takes in a batch at most.
pub(super) fn record_bytes(record: &Record<'_>) -> usize {
    let headers: usize =
        record.headers.iter().map(|header| 10 + header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    RECORD_OVERHEAD_BYTES + payload_bytes(record) + headers
}

/// Bytes of key and value.
fn payload_bytes(record: &Record<'_>) -> usize {
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
}

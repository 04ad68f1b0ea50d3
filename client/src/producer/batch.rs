//! A batch on its way, and the fate that its records share.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp, restamp};
use protocol::types::{Offset, PartitionIndex, Sequence, Timestamp};

use super::Record;
use crate::error::ProduceError;
use crate::limits::{BATCH_CAPACITY_BYTES, RECORD_OVERHEAD_BYTES};

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
    outcome: RefCell<Option<Outcome>>,
    /// Who waits; each has its place until it gives up.
    wakers: RefCell<Vec<Option<Waker>>>,
}

impl Fate {
    pub(super) fn decide(&self, outcome: Outcome) {
        let before = self.outcome.replace(Some(outcome));
        assert!(before.is_none(), "a batch is decided once");
        self.wakers.take().into_iter().flatten().for_each(Waker::wake);
    }

    fn of_record(&self, index: u32) -> Option<Outcome> {
        let outcome = self.outcome.borrow().clone()?;
        Some(
            outcome.map(|acked| Acked {
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
        if let Some(outcome) = self.now() {
            return Poll::Ready(outcome);
        }
        let this = &mut *self;
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
    pub opened_at: Instant,
    /// How often it was sent.
    pub attempts: u32,
    pub record_count: u32,
    /// What it counts for in the producer's memory.
    pub charged_bytes: usize,
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
            opened_at: now,
            attempts: 0,
            record_count: 0,
            charged_bytes: 0,
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
    }

    pub(super) fn bytes(&self) -> &Bytes {
        let Content::Built(bytes) = &self.content else { panic!("an open batch has no bytes yet") };
        bytes
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

/// What a record takes in a batch at most.
pub(super) fn record_bytes(record: &Record<'_>) -> usize {
    let headers: usize =
        record.headers.iter().map(|header| 10 + header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    RECORD_OVERHEAD_BYTES + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

//! What was fetched from one partition: batches and records that borrow from the buffer that was received into.
//!
//! Walking an uncompressed batch copies nothing and allocates nothing. A compressed batch is decompressed as a whole, into
//! memory of its own. What is not for the application is passed over: markers, records before the position asked for, and,
//! for who reads committed records, aborted transactions.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use protocol::batch::{Batch, BatchHeader, BatchIter, FramingError, check_crc};
use protocol::messages::fetch::AbortedTransaction;
use protocol::records::{ControlKind, ControlRecord, Record, RecordIter};
use protocol::types::{Offset, PartitionIndex, ProducerId};
use smallvec::SmallVec;

use crate::admin::Partition;
use crate::error::FetchedError;

/// Some batches of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    topic: Rc<str>,
    partition: PartitionIndex,
    bytes: Bytes,
    from: Offset,
    next: Offset,
    high_watermark: Offset,
    /// By their first offsets; empty for who reads everything.
    aborted: Vec<AbortedTransaction>,
    limits: ReadLimits,
    /// Which assignment of the partition it was fetched for.
    incarnation: u64,
    round_trip: Option<RoundTrip>,
}

/// How long a fetch took. Pieces of one answer have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// When the fetch was handed to the connection.
    pub sent_at: Instant,
    /// When its answer was there.
    pub answered_at: Instant,
}

/// How batches are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// What a batch may decompress to.
    pub decompressed_bytes_max: usize,
    /// Whether each batch is held against its CRC.
    pub checks_crc: bool,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { decompressed_bytes_max: 256 << 20, checks_crc: true }
    }
}

impl Fetched {
    /// Takes whole batches, as a fetch answers them; what follows the last whole batch is left away. Records before
    /// `from` are passed over.
    ///
    /// # Errors
    /// The bytes are no batches.
    pub fn new(
        topic: Rc<str>,
        partition: PartitionIndex,
        mut bytes: Bytes,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Self, FetchedError> {
        let mut batches = BatchIter::new(&bytes);
        let (mut next, mut whole) = (from, 0);
        loop {
            match batches.next() {
                None | Some(Err(FramingError::Truncated { .. })) => break,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(batch)) => {
                    next = next.max(batch.header().next_offset());
                    whole += batch.bytes().len();
                }
            }
        }
        bytes.truncate(whole);
        let (high_watermark, aborted) = (Offset(-1), Vec::new());
        let (incarnation, round_trip) = (0, None);
        Ok(Self {
            topic,
            partition,
            bytes,
            from,
            next,
            high_watermark,
            aborted,
            limits,
            incarnation,
            round_trip,
        })
    }

    pub(super) fn with_answer(
        mut self,
        high_watermark: Offset,
        mut aborted: Vec<AbortedTransaction>,
        incarnation: u64,
        round_trip: RoundTrip,
    ) -> Self {
        self.incarnation = incarnation;
        self.round_trip = Some(round_trip);
        aborted.sort_unstable_by_key(|transaction| transaction.first_offset);
        self.high_watermark = high_watermark;
        self.aborted = aborted;
        self
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Rc<str> {
        &self.topic
    }

    /// The partition.
    #[must_use]
    pub const fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// Topic and partition, as groups and transactions take them.
    #[must_use]
    pub fn place(&self) -> Partition {
        Partition { topic: self.topic.to_string(), index: self.partition }
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Bytes of the batches.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The position after all of it: what to commit, or to go on from.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The end of what was committed when this was fetched.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// How long the fetch took that brought it; none for what was not fetched by a consumer.
    #[must_use]
    pub const fn round_trip(&self) -> Option<RoundTrip> {
        self.round_trip
    }

    /// The batches for the application, in order, each checked as it is reached. Ends after the first error.
    #[must_use]
    pub fn batches(&self) -> Batches<'_> {
        Batches {
            iter: BatchIter::new(&self.bytes),
            fetched: self,
            aborted: &self.aborted,
            aborting: SmallVec::new(),
            has_failed: false,
        }
    }

    /// Calls `each` for every record, in order.
    ///
    /// # Errors
    /// See [`FetchedError`]; `each` has then been called for all records before.
    pub fn for_each(&self, mut each: impl FnMut(&Record<'_>)) -> Result<(), FetchedError> {
        for batch in self.batches() {
            let batch = batch?;
            for record in batch.records() {
                each(&record?);
            }
        }
        Ok(())
    }
}

/// Walks the batches of a [`Fetched`].
#[derive(Debug)]
pub struct Batches<'a> {
    iter: BatchIter<'a>,
    fetched: &'a Fetched,
    /// Transactions whose first offset was not reached yet.
    aborted: &'a [AbortedTransaction],
    /// Producers that are within a transaction that was aborted.
    aborting: SmallVec<[ProducerId; 8]>,
    has_failed: bool,
}

impl<'a> Batches<'a> {
    fn read(&mut self, batch: Batch<'a>) -> Result<Option<BatchView<'a>>, FetchedError> {
        let header = batch.header();
        let offset = header.base_offset();
        if header.encoding().is_none() {
            return Err(FramingError::Magic(header.magic()).into());
        }
        let limits = self.fetched.limits;
        if limits.checks_crc {
            check_crc(batch).map_err(|reason| FetchedError::Batch { offset, reason })?;
        }
        let is_aborted = self.follow_transactions(batch)?;
        if is_aborted || header.is_control() || header.next_offset() <= self.fetched.from {
            return Ok(None);
        }
        let records = batch
            .records(limits.decompressed_bytes_max)
            .map_err(|reason| FetchedError::Compression { offset, reason })?;
        Ok(Some(BatchView { header, records, from: self.fetched.from }))
    }

    /// Whether the batch belongs to an aborted transaction.
    fn follow_transactions(&mut self, batch: Batch<'_>) -> Result<bool, FetchedError> {
        let header = batch.header();
        while let Some((first, rest)) = self.aborted.split_first()
            && first.first_offset <= header.last_offset()
        {
            self.aborted = rest;
            self.aborting.push(first.producer_id);
        }
        let producer = header.producer_id();
        if self.aborting.is_empty() || !header.is_transactional() || !self.aborting.contains(&producer) {
            return Ok(false);
        }
        if header.is_control() && is_abort(batch)? {
            self.aborting.retain(|one| *one != producer);
        }
        Ok(true)
    }
}

fn is_abort(batch: Batch<'_>) -> Result<bool, FetchedError> {
    let offset = batch.header().base_offset();
    let record = RecordIter::new(batch.body(), batch.header()).next().transpose();
    let record = record.map_err(|reason| FetchedError::Record { offset, reason })?;
    let marker = record.and_then(|record| ControlRecord::read(&record).ok().flatten());
    Ok(marker.is_some_and(|marker| marker.kind == ControlKind::Abort))
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, FetchedError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_failed {
            let outcome = match self.iter.next()? {
                Ok(batch) => self.read(batch).transpose(),
                Err(error) => Some(Err(error.into())),
            };
            if let Some(item) = outcome {
                self.has_failed = item.is_err();
                return Some(item);
            }
        }
        None
    }
}

/// One batch, ready to be read.
#[derive(Debug)]
pub struct BatchView<'a> {
    header: &'a BatchHeader,
    records: Cow<'a, [u8]>,
    from: Offset,
}

impl BatchView<'_> {
    /// The batch's header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        self.header
    }

    /// The records for the application, in order. Ends after the first error.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { iter: RecordIter::new(&self.records, self.header), header: self.header, from: self.from }
    }
}

/// Walks the records of a batch.
#[derive(Debug)]
pub struct Records<'a> {
    iter: RecordIter<'a>,
    header: &'a BatchHeader,
    from: Offset,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FetchedError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.iter.next()? {
                Ok(record) if record.offset < self.from => {}
                Ok(record) => return Some(Ok(record)),
                Err(reason) => {
                    let offset = self.header.base_offset();
                    return Some(Err(FetchedError::Record { offset, reason }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

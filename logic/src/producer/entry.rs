//! What is kept of one producer: its epoch and its last batches, in a fixed number of bytes.
//!
//! Invariants: batches are in the order of their offsets, all of the one epoch; there is at least one, but where the
//! epoch came with a marker or with a batch without sequence numbers.

use super::sequence::{sequence_after, sequence_before};
use super::table::{AppendedAt, OriginalBatch, ProducerBatch};
use crate::limits::PRODUCER_BATCHES_KEPT;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// No neighbour in the list of entries.
pub(super) const NO_ENTRY: u32 = u32::MAX;

/// No transaction of the producer has ended here.
pub(super) const NO_COORDINATOR: i32 = -1;

/// One batch of a producer, as much as a repetition of it is recognised and answered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptBatch {
    pub(super) last_offset: Offset,
    pub(super) timestamp: Timestamp,
    pub(super) last_sequence: Sequence,
    pub(super) offset_delta: i32,
}

impl KeptBatch {
    pub(super) fn new(batch: &ProducerBatch, at: &AppendedAt) -> Self {
        Self {
            last_offset: at.base_offset.plus(i64::from(batch.last_offset_delta)),
            timestamp: at.timestamp,
            last_sequence: batch.last_sequence(),
            offset_delta: batch.last_offset_delta,
        }
    }

    pub(super) fn base_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    fn original(&self) -> OriginalBatch {
        let (base_offset, last_offset) = (self.base_offset(), self.last_offset);
        OriginalBatch { base_offset, last_offset, timestamp: self.timestamp }
    }
}

/// One producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) producer_id: ProducerId,
    pub(super) seen_at: Timestamp,
    /// The neighbours in the order of `seen_at`.
    pub(super) older: u32,
    pub(super) newer: u32,
    pub(super) epoch: ProducerEpoch,
    batch_count: u8,
    /// Whether it had batches that are no longer kept, or an older epoch: what a cut of the log can't bring back.
    pub(super) forgot: bool,
    /// The time of the last batch or marker; -1 for none.
    pub(super) last_timestamp: Timestamp,
    /// The epoch of the coordinator that last ended a transaction of it; [`NO_COORDINATOR`] for none.
    pub(super) coordinator_epoch: i32,
    /// The first `batch_count` are kept, the oldest first.
    batches: [KeptBatch; PRODUCER_BATCHES_KEPT],
}

// A million producers in 200 bytes each: the entry, and its share of the index.
const _: () = assert!(size_of::<Entry>() <= 160);

impl Entry {
    pub(super) fn new(producer_id: ProducerId, epoch: ProducerEpoch, seen_at: Timestamp) -> Self {
        Self {
            producer_id,
            seen_at,
            older: NO_ENTRY,
            newer: NO_ENTRY,
            epoch,
            batch_count: 0,
            forgot: false,
            last_timestamp: Timestamp(-1),
            coordinator_epoch: NO_COORDINATOR,
            batches: [KeptBatch::default(); PRODUCER_BATCHES_KEPT],
        }
    }

    pub(super) fn batches(&self) -> &[KeptBatch] {
        &self.batches[..usize::from(self.batch_count)]
    }

    /// The kept batch with exactly this range of sequence numbers, in this epoch.
    pub(super) fn original_of(&self, batch: &ProducerBatch) -> Option<OriginalBatch> {
        if batch.epoch != self.epoch || !batch.is_sequenced() {
            return None;
        }
        let last_sequence = batch.last_sequence();
        let same = self.batches().iter().find(|kept| {
            kept.last_sequence == last_sequence
                && sequence_before(kept.last_sequence, kept.offset_delta) == batch.base_sequence
        });
        same.map(KeptBatch::original)
    }

    /// The time of the last kept batch; -1 for none.
    pub(super) fn last_batch_timestamp(&self) -> Timestamp {
        self.batches().last().map_or(Timestamp(-1), |last| last.timestamp)
    }

    /// The sequence number that the next batch of this epoch starts with.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.batches().last().map_or(Sequence(0), |last| sequence_after(last.last_sequence, 1))
    }

    /// Another epoch starts afresh.
    pub(super) fn note_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batch_count = 0;
            self.forgot = true;
        }
    }

    /// Adds a batch at the end.
    pub(super) fn add(&mut self, epoch: ProducerEpoch, batch: KeptBatch) {
        self.note_epoch(epoch);
        if let Some(last) = self.batches().last() {
            assert!(batch.base_offset() > last.last_offset);
        }
        let count = usize::from(self.batch_count);
        if count == PRODUCER_BATCHES_KEPT {
            self.batches.copy_within(1.., 0);
            self.batches[count - 1] = batch;
            self.forgot = true;
        } else {
            self.batches[count] = batch;
            self.batch_count += 1;
        }
        self.last_timestamp = batch.timestamp;
    }

    /// Drops batches at and past `end`, and says how many.
    pub(super) fn truncate(&mut self, end: Offset) -> usize {
        let before = self.batches().len();
        while let Some(last) = self.batches().last() {
            if last.last_offset < end {
                break;
            }
            self.batch_count -= 1;
        }
        before - self.batches().len()
    }
}

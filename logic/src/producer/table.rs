//! The table itself: check before the append, record after it, expire, cut, rebuild.

use super::arena::Arena;
use super::entry::{Entry, KeptBatch};
use super::sequence::sequence_after;
use crate::limits::PRODUCERS_PER_PARTITION_MAX;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use thiserror::Error;

/// What the header of an idempotent producer's batch says.
///
/// The batch has passed admission: id, epoch and sequence are not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record.
    pub base_sequence: Sequence,
    /// The last record's offset minus the first's.
    pub last_offset_delta: i32,
}

impl ProducerBatch {
    /// What the header says; none for a batch without an idempotent producer, or without a sequence.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let (producer_id, epoch) = (header.producer_id(), header.producer_epoch());
        let (base_sequence, last_offset_delta) = (header.base_sequence(), header.last_offset_delta());
        let is_sequenced = producer_id.get() >= 0 && epoch.get() >= 0 && base_sequence.get() >= 0;
        (is_sequenced && last_offset_delta >= 0).then_some(Self {
            producer_id,
            epoch,
            base_sequence,
            last_offset_delta,
        })
    }

    /// The sequence number of the last record.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// Where a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedAt {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// Its largest timestamp, or the time of the append where the topic has that.
    pub timestamp: Timestamp,
}

/// The batch that a repeated one repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalBatch {
    /// Its first offset, which the producer is told.
    pub base_offset: Offset,
    /// Its last offset: the answer waits until it is committed.
    pub last_offset: Offset,
    /// Its timestamp, which the producer is told.
    pub timestamp: Timestamp,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it, then [`ProducerTable::record`] it.
    New,
    /// Don't append it; answer as its original was, or will be, answered.
    Duplicate(OriginalBatch),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProducerError {
    /// A batch before it is missing, or it is older than the batches kept.
    #[error("sequence {got} of producer {producer_id} is out of order, {expected} is next")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence number that would be next.
        expected: Sequence,
        /// The one that came.
        got: Sequence,
    },
    /// A newer incarnation of the producer has written to the partition.
    #[error("epoch {got} of producer {producer_id} is fenced by {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// Its newest epoch.
        current: ProducerEpoch,
        /// The one that came.
        got: ProducerEpoch,
    },
}

/// Whether a cut left the table as if the batches past it had never been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Truncation {
    /// It did.
    Exact,
    /// Batches that were forgotten long ago are a producer's last ones again: rebuild the table from its snapshot and
    /// the headers of the log. Until then it must not be used.
    Rebuild,
}

/// The idempotent producers of one partition.
#[derive(Debug, Default)]
pub struct ProducerTable {
    pub(super) entries: Arena,
    /// The offset after the last batch recorded.
    pub(super) end: Offset,
}

impl ProducerTable {
    /// How many producers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held, for the shard's budget.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes()
    }

    /// What to do with a batch from a client.
    ///
    /// A producer that is not known may start with any sequence number: its records may have been deleted, or its id
    /// may have expired. A new epoch of a known producer starts with 0.
    pub fn check(&self, batch: &ProducerBatch) -> Result<Verdict, ProducerError> {
        assert_idempotent(batch);
        let Some(place) = self.entries.find(batch.producer_id) else {
            return Ok(Verdict::New);
        };
        let entry = self.entries.get(place);
        let (producer_id, got) = (batch.producer_id, batch.base_sequence);
        if let Some(original) = entry.original_of(batch) {
            return Ok(Verdict::Duplicate(original));
        }
        if batch.epoch < entry.epoch {
            return Err(ProducerError::StaleEpoch { producer_id, current: entry.epoch, got: batch.epoch });
        }
        let expected = if batch.epoch == entry.epoch { entry.next_sequence() } else { Sequence(0) };
        if got != expected {
            return Err(ProducerError::OutOfOrderSequence { producer_id, expected, got });
        }
        Ok(Verdict::New)
    }

    /// Notes a batch that was [`Verdict::New`] and has been appended.
    pub fn record(&mut self, now: Timestamp, batch: &ProducerBatch, at: AppendedAt) {
        debug_assert_eq!(self.check(batch), Ok(Verdict::New));
        assert!(at.base_offset >= self.end);
        self.add(now, batch, at);
    }

    /// Notes a batch that is in the log: recovery, and batches from a leader. What the log holds is not questioned.
    ///
    /// Batches that the table has seen already are skipped, so a replay may start anywhere before the snapshot's end.
    pub fn replay(&mut self, now: Timestamp, header: &BatchHeader) {
        let at = AppendedAt { base_offset: header.base_offset(), timestamp: header.max_timestamp() };
        if at.base_offset < self.end {
            return;
        }
        if let Some(batch) = ProducerBatch::of(header) {
            self.add(now, &batch, at);
        }
    }

    /// Forgets at most `count_max` producers that were not seen for `expiration_ms`, and says how many those were.
    ///
    /// As many as `count_max` means that there may be more.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64, count_max: usize) -> usize {
        assert!(expiration_ms > 0);
        let mut count = 0;
        while count < count_max {
            match self.oldest_seen_at() {
                Some(seen_at) if now.get().saturating_sub(seen_at.get()) >= expiration_ms => {
                    self.forget_oldest()
                }
                Some(_) | None => break,
            }
            count += 1;
        }
        count
    }

    /// When the producer that has been silent for longest was last seen.
    #[must_use]
    pub fn oldest_seen_at(&self) -> Option<Timestamp> {
        self.entries.oldest().map(|entry| entry.seen_at)
    }

    /// Forgets the producer that has been silent for longest: for a shard whose budget is used up.
    pub fn forget_oldest(&mut self) {
        if let Some(oldest) = self.entries.oldest() {
            let place = self.entries.find(oldest.producer_id).expect("every entry is in the index");
            self.entries.remove(place);
        }
    }

    /// The log was cut at `end`.
    pub fn truncate(&mut self, end: Offset) -> Truncation {
        if end >= self.end {
            return Truncation::Exact;
        }
        let mut outcome = Truncation::Exact;
        for place in (0..self.len()).rev() {
            let place = u32::try_from(place).expect("bounded by PRODUCERS_PER_PARTITION_MAX");
            let entry = self.entries.get_mut(place);
            if entry.truncate(end) == 0 {
                continue;
            }
            if entry.forgot {
                outcome = Truncation::Rebuild;
            }
            if entry.batches().is_empty() {
                self.entries.remove(place);
            }
        }
        self.end = end;
        outcome
    }

    fn add(&mut self, now: Timestamp, batch: &ProducerBatch, at: AppendedAt) {
        assert_idempotent(batch);
        let kept = KeptBatch::new(batch, &at);
        match self.entries.find(batch.producer_id) {
            Some(place) => {
                self.entries.get_mut(place).add(batch.epoch, kept);
                self.entries.touch(place, now);
            }
            None => {
                if self.len() >= PRODUCERS_PER_PARTITION_MAX {
                    self.forget_oldest();
                }
                let mut entry = Entry::new(batch.producer_id, batch.epoch, now);
                entry.add(batch.epoch, kept);
                self.entries.insert(entry);
            }
        }
        self.end = kept.last_offset.plus(1);
    }
}

fn assert_idempotent(batch: &ProducerBatch) {
    assert!(batch.producer_id.get() >= 0);
    assert!(batch.epoch.get() >= 0);
    assert!(batch.base_sequence.get() >= 0);
    assert!(batch.last_offset_delta >= 0);
}

//! The table itself: check before the append, record after it, expire, cut, rebuild.

use super::arena::Arena;
use super::entry::{Entry, KeptBatch, NO_COORDINATOR};
use super::marker::FoundMarker;
use super::sequence::sequence_after;
use super::transactions::Transactions;
use super::verification::VerificationGuard;
use crate::limits::PRODUCERS_PER_PARTITION_MAX;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use thiserror::Error;

/// What the header of an idempotent or transactional producer's batch says.
///
/// The batch has passed admission: id and epoch are not negative. Nor is the sequence, but for the batches that a group
/// coordinator writes in a transaction: those have none, -1.
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
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
}

impl ProducerBatch {
    /// What the header says; none for a batch without an idempotent producer, and for a marker.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let (producer_id, epoch) = (header.producer_id(), header.producer_epoch());
        let (base_sequence, last_offset_delta) = (header.base_sequence(), header.last_offset_delta());
        let is_transactional = header.is_transactional();
        let is_known = producer_id.get() >= 0 && epoch.get() >= 0 && last_offset_delta >= 0;
        let is_data = !header.is_control() && (base_sequence.get() >= 0 || is_transactional);
        (is_known && is_data).then_some(Self {
            producer_id,
            epoch,
            base_sequence,
            last_offset_delta,
            is_transactional,
        })
    }

    /// Whether its records are counted.
    #[must_use]
    pub fn is_sequenced(&self) -> bool {
        self.base_sequence.get() >= 0
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
    /// The batch belongs to a transaction that this partition is not known to be in: the coordinator was not asked, or
    /// the transaction has ended since.
    #[error("no transaction of producer {producer_id} is open here")]
    NotInTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// The batch belongs to no transaction, and its producer has one open.
    #[error("producer {producer_id} writes outside of its open transaction")]
    OutsideTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// There is no room for another open transaction; later there may be.
    #[error("too many transactions in one partition")]
    TooManyTransactions,
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
    pub(super) transactions: Transactions,
    /// The offset after the last batch recorded.
    pub(super) end: Offset,
}

impl ProducerTable {
    /// How many producers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a snapshot would hold nothing: no producer is known, and no aborted transaction is left in the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.transactions.aborted.len() == 0
    }

    /// Bytes of memory that producers hold, for the shard's budget: what [`ProducerTable::forget_oldest`] gives back.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes()
    }

    /// What to do with a batch from a client.
    ///
    /// A producer that is not known may start with any sequence number: its records may have been deleted, or its id
    /// may have expired. A new epoch of a known producer starts with 0.
    pub fn check(&self, batch: &ProducerBatch) -> Result<Verdict, ProducerError> {
        self.check_verified(batch, None)
    }

    /// As [`ProducerTable::check`], for a batch whose transaction the coordinator has been asked for.
    pub fn check_verified(
        &self,
        batch: &ProducerBatch,
        guard: Option<VerificationGuard>,
    ) -> Result<Verdict, ProducerError> {
        assert_idempotent(batch);
        let producer_id = batch.producer_id;
        let entry = self.find(producer_id);
        if let Some(original) = entry.and_then(|entry| entry.original_of(batch)) {
            return Ok(Verdict::Duplicate(original));
        }
        check_epoch(entry, batch)?;
        if batch.is_transactional {
            self.check_transaction(entry, batch, guard)?;
        }
        if batch.is_sequenced() {
            self.check_sequence(entry, batch)?;
        }
        if !batch.is_transactional && self.transactions.is_open(producer_id) {
            return Err(ProducerError::OutsideTransaction { producer_id });
        }
        Ok(Verdict::New)
    }

    /// What to show with a transactional batch, once the coordinator has said that the partition is in the transaction;
    /// none where that is known.
    ///
    /// `bumps_epoch` is for a client that goes by KIP-890 (version 12 of Produce and later).
    pub fn verification(
        &mut self,
        now: Timestamp,
        batch: &ProducerBatch,
        bumps_epoch: bool,
    ) -> Result<Option<VerificationGuard>, ProducerError> {
        assert_idempotent(batch);
        let entry = self.find(batch.producer_id);
        check_epoch(entry, batch)?;
        if !batch.is_transactional || self.is_in_transaction(entry, batch) {
            return Ok(None);
        }
        let verifications = &mut self.transactions.verifications;
        if verifications.is_full() && verifications.find(batch.producer_id).is_none() {
            return Err(ProducerError::TooManyTransactions);
        }
        Ok(Some(verifications.begin(now, batch, bumps_epoch)))
    }

    /// The coordinator has refused the producer for good: the guard that it was given is void.
    pub fn forget_verification(&mut self, id: ProducerId) {
        self.transactions.verifications.begun(id);
    }

    /// Notes a batch that was [`Verdict::New`] and has been appended.
    pub fn record(&mut self, now: Timestamp, batch: &ProducerBatch, at: AppendedAt) {
        assert!(at.base_offset >= self.end);
        assert!(self.find(batch.producer_id).is_none_or(|entry| batch.epoch >= entry.epoch));
        self.add(now, batch, at);
    }

    /// Notes a batch that is in the log: recovery, and batches from a leader. What the log holds is not questioned.
    /// `body` is what follows the header; only that of a marker is looked at.
    ///
    /// Batches that the table has seen already are skipped, so a replay may start anywhere before the snapshot's end.
    pub fn replay(&mut self, now: Timestamp, header: &BatchHeader, body: &[u8]) {
        let at = AppendedAt { base_offset: header.base_offset(), timestamp: header.max_timestamp() };
        if at.base_offset < self.end {
            return;
        }
        if header.is_control() {
            if let Some(found) = FoundMarker::read(header, body) {
                self.add_marker(now, &found);
            }
        } else if let Some(batch) = ProducerBatch::of(header) {
            self.add(now, &batch, at);
        }
    }

    /// Looks at no more than `count_max` producers that were not seen for `expiration_ms`, and says at how many.
    /// They are forgotten, but for those with an open transaction, which count as seen.
    ///
    /// As many as `count_max` means that there may be more.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64, count_max: usize) -> usize {
        assert!(expiration_ms > 0);
        self.transactions.verifications.expire(now, expiration_ms);
        let mut count = 0;
        while count < count_max {
            match self.oldest_seen_at() {
                Some(seen_at) if now.get().saturating_sub(seen_at.get()) >= expiration_ms => {
                    self.forget_oldest_unless_open(now);
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

    /// Forgets the producer that has been silent for longest and has no open transaction: for a shard whose budget is
    /// used up.
    pub fn forget_oldest(&mut self) {
        let newest_seen_at = self.entries.newest().map_or(Timestamp(0), |newest| newest.seen_at);
        for _ in 0..=self.transactions.open_count() {
            if self.forget_oldest_unless_open(newest_seen_at) {
                return;
            }
        }
    }

    /// The log was cut at `end`.
    pub fn truncate(&mut self, end: Offset) -> Truncation {
        if end >= self.end {
            return Truncation::Exact;
        }
        if !self.transactions.truncate(end) {
            return Truncation::Rebuild;
        }
        let mut outcome = Truncation::Exact;
        for place in (0..self.len()).rev() {
            let place = u32::try_from(place).expect("bounded by PRODUCERS_PER_PARTITION_MAX");
            let entry = self.entries.get_mut(place);
            if entry.truncate(end) == 0 {
                continue;
            }
            let is_marked = entry.coordinator_epoch != NO_COORDINATOR;
            // The time of a marker is not kept beside that of a later batch.
            if entry.forgot || is_marked {
                outcome = Truncation::Rebuild;
            }
            entry.last_timestamp = entry.last_batch_timestamp();
            let is_empty = entry.batches().is_empty() && !is_marked;
            if is_empty && !self.transactions.is_open(entry.producer_id) {
                self.entries.remove(place);
            }
        }
        self.end = end;
        outcome
    }

    /// What is known of a producer.
    pub(super) fn find(&self, id: ProducerId) -> Option<&Entry> {
        self.entries.find(id).map(|place| self.entries.get(place))
    }

    /// Whether the batch's producer has a transaction open here, in its epoch.
    fn is_in_transaction(&self, entry: Option<&Entry>, batch: &ProducerBatch) -> bool {
        entry.is_some_and(|entry| entry.epoch == batch.epoch) && self.transactions.is_open(batch.producer_id)
    }

    fn check_transaction(
        &self,
        entry: Option<&Entry>,
        batch: &ProducerBatch,
        guard: Option<VerificationGuard>,
    ) -> Result<(), ProducerError> {
        let producer_id = batch.producer_id;
        if self.is_in_transaction(entry, batch) {
            return Ok(());
        }
        if !self.transactions.verifications.holds(producer_id, guard) {
            return Err(ProducerError::NotInTransaction { producer_id });
        }
        if self.transactions.is_full() && !self.transactions.is_open(producer_id) {
            return Err(ProducerError::TooManyTransactions);
        }
        Ok(())
    }

    fn check_sequence(&self, entry: Option<&Entry>, batch: &ProducerBatch) -> Result<(), ProducerError> {
        let (producer_id, got) = (batch.producer_id, batch.base_sequence);
        let refuse = |expected| Err(ProducerError::OutOfOrderSequence { producer_id, expected, got });
        if let Some(verification) = self.transactions.verifications.find(producer_id) {
            let is_unknown = entry.is_none_or(|entry| entry.batches().is_empty());
            if verification.bumps_epoch && is_unknown && got != Sequence(0) {
                return refuse(Sequence(0));
            }
            if got > verification.lowest_sequence {
                return refuse(verification.lowest_sequence);
            }
        }
        match entry {
            Some(entry) if batch.epoch == entry.epoch && got != entry.next_sequence() => {
                refuse(entry.next_sequence())
            }
            Some(entry) if batch.epoch > entry.epoch && got != Sequence(0) => refuse(Sequence(0)),
            Some(_) | None => Ok(()),
        }
    }

    fn add(&mut self, now: Timestamp, batch: &ProducerBatch, at: AppendedAt) {
        assert_idempotent(batch);
        let place = self.seen(now, batch.producer_id, batch.epoch);
        let entry = self.entries.get_mut(place);
        if batch.is_sequenced() {
            entry.add(batch.epoch, KeptBatch::new(batch, &at));
        } else {
            entry.note_epoch(batch.epoch);
            entry.forgot = true;
            entry.last_timestamp = at.timestamp;
            self.transactions.last_unkept = Some(at.base_offset);
        }
        if batch.is_transactional {
            self.transactions.verifications.begun(batch.producer_id);
            if !self.transactions.is_open(batch.producer_id) {
                self.transactions.begin(batch.producer_id, at.base_offset);
            }
        }
        self.end = at.base_offset.plus(i64::from(batch.last_offset_delta) + 1);
    }

    /// The producer's entry, a new one if it has none, as the one seen last.
    pub(super) fn seen(&mut self, now: Timestamp, producer_id: ProducerId, epoch: ProducerEpoch) -> u32 {
        if let Some(place) = self.entries.find(producer_id) {
            self.entries.touch(place, now);
            return place;
        }
        if self.len() >= PRODUCERS_PER_PARTITION_MAX {
            self.forget_oldest();
        }
        self.entries.insert(Entry::new(producer_id, epoch, now))
    }

    /// Forgets the oldest producer, or has it seen where its transaction is open: whether it was forgotten.
    fn forget_oldest_unless_open(&mut self, now: Timestamp) -> bool {
        let Some(oldest) = self.entries.oldest() else { return false };
        let id = oldest.producer_id;
        let place = self.entries.find(id).expect("every entry is in the index");
        let is_open = self.transactions.is_open(id);
        if is_open {
            self.entries.touch(place, now);
        } else {
            self.entries.remove(place);
        }
        !is_open
    }
}

fn check_epoch(entry: Option<&Entry>, batch: &ProducerBatch) -> Result<(), ProducerError> {
    match entry {
        Some(entry) if batch.epoch < entry.epoch => {
            let (producer_id, current, got) = (batch.producer_id, entry.epoch, batch.epoch);
            Err(ProducerError::StaleEpoch { producer_id, current, got })
        }
        Some(_) | None => Ok(()),
    }
}

fn assert_idempotent(batch: &ProducerBatch) {
    assert!(batch.producer_id.get() >= 0);
    assert!(batch.epoch.get() >= 0);
    assert!(batch.is_sequenced() || batch.is_transactional);
    assert!(batch.last_offset_delta >= 0);
}

//! The ends of transactions in one partition: which markers are taken, what they change, what may be read since.

use super::table::ProducerTable;
use protocol::aborted::AbortedTransaction;
use protocol::batch::BatchHeader;
use protocol::records::{ControlKind, ControlRecord, RecordIter, control_batch};
use protocol::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TransactionVersion,
};
use thiserror::Error;

/// Who tells of a transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The coordinator that leads the transactional id, as this broker's own metadata says: there is no later one. A marker
    /// from elsewhere, whose coordinator's epoch may be invented, must not keep it from ending its transactions.
    Leader,
    /// Whoever sent a request: a coordinator elsewhere, an operator.
    Sender,
}

/// The end of a transaction, as its coordinator tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch; with KIP-890 the one after the transaction's own.
    pub epoch: ProducerEpoch,
    /// How the transaction ended.
    pub kind: ControlKind,
    /// The coordinator's epoch: a later coordinator's word counts more.
    pub coordinator_epoch: i32,
    /// The protocol that the transaction went by.
    pub version: TransactionVersion,
    /// Whose word it is.
    pub told_by: Teller,
}

/// Why a marker is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MarkerError {
    /// The producer is past the marker's transaction.
    #[error("a marker with epoch {got} of producer {producer_id}, which is at {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// Its newest epoch here.
        current: ProducerEpoch,
        /// The marker's.
        got: ProducerEpoch,
    },
    /// A later coordinator has ended a transaction of the producer here.
    #[error(
        "a marker of coordinator epoch {got} for producer {producer_id}, which {current} has written for"
    )]
    StaleCoordinator {
        /// The producer.
        producer_id: ProducerId,
        /// The newest coordinator's epoch.
        current: i32,
        /// The marker's.
        got: i32,
    },
}

/// A transaction that had records in the partition, and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record's offset.
    pub first_offset: Offset,
    /// Its marker's offset.
    pub last_offset: Offset,
    /// How it ended.
    pub kind: ControlKind,
}

/// What is told of one producer of a partition (DescribeProducers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence number of its last record; -1 for none in its epoch.
    pub last_sequence: Sequence,
    /// The time of its last batch or of the last marker, whichever came later.
    pub last_timestamp: Timestamp,
    /// The epoch of the coordinator that last ended a transaction of it; -1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub open_from: Option<Offset>,
}

/// A marker as the log has it.
pub(super) struct FoundMarker {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    record: ControlRecord,
    offset: Offset,
    timestamp: Timestamp,
}

impl FoundMarker {
    /// The marker in a control batch; none where compaction has removed it, and for control records of other kinds.
    pub(super) fn read(header: &BatchHeader, body: &[u8]) -> Option<Self> {
        let record = RecordIter::new(body, header).next()?.ok()?;
        let offset = header.base_offset().plus(i64::from(record.offset_delta));
        let record = ControlRecord::read(&record).ok()??;
        let (producer_id, epoch) = (header.producer_id(), header.producer_epoch());
        let timestamp = header.max_timestamp();
        let is_known = producer_id.get() >= 0 && epoch.get() >= 0;
        is_known.then_some(Self { producer_id, epoch, record, offset, timestamp })
    }
}

impl TransactionMarker {
    /// The batch to append; offset and leader's epoch are patched as in any other.
    #[must_use]
    pub fn batch(&self, now: Timestamp) -> Vec<u8> {
        let record = ControlRecord { kind: self.kind, coordinator_epoch: self.coordinator_epoch };
        control_batch((self.producer_id, self.epoch), LeaderEpoch::UNKNOWN, now, record)
    }
}

impl ProducerTable {
    /// Whether the partition takes a marker.
    ///
    /// With KIP-890 a marker's epoch is above that of its transaction, so that one that comes late can't end the next
    /// transaction. One that was taken may come again, from a coordinator that did not hear of it, as long as nothing followed.
    pub fn check_marker(&self, marker: &TransactionMarker) -> Result<(), MarkerError> {
        let producer_id = marker.producer_id;
        assert!(producer_id.get() >= 0);
        assert!(marker.epoch.get() >= 0);
        let Some(entry) = self.find(producer_id) else { return Ok(()) };
        let (current, got) = (entry.epoch, marker.epoch);
        // An epoch that has no next one is ended by itself.
        let is_last = got.next().is_none();
        let needs_next = marker.version.bumps_epoch() && self.transactions.is_open(producer_id) && !is_last;
        if got < current || (needs_next && got == current) {
            return Err(MarkerError::StaleEpoch { producer_id, current, got });
        }
        let (current, got) = (entry.coordinator_epoch, marker.coordinator_epoch);
        if marker.told_by == Teller::Sender && got < current {
            return Err(MarkerError::StaleCoordinator { producer_id, current, got });
        }
        Ok(())
    }

    /// Notes a marker that was checked and has been appended at `offset`, with `now` as its time; the transaction that it
    /// ended, if one had records here.
    pub fn record_marker(
        &mut self,
        now: Timestamp,
        marker: &TransactionMarker,
        offset: Offset,
    ) -> Option<CompletedTransaction> {
        assert!(offset >= self.end);
        assert!(self.check_marker(marker).is_ok());
        let record = ControlRecord { kind: marker.kind, coordinator_epoch: marker.coordinator_epoch };
        let (producer_id, epoch) = (marker.producer_id, marker.epoch);
        self.add_marker(now, &FoundMarker { producer_id, epoch, record, offset, timestamp: now })
    }

    /// How far consumers of committed records may read, with the log committed up to `high_watermark`.
    pub fn last_stable_offset(&mut self, high_watermark: Offset) -> Offset {
        self.transactions.last_stable_offset(high_watermark)
    }

    /// The aborted transactions with records in `from..limit`, in the order of their markers.
    #[must_use]
    pub fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        self.transactions.aborted.overlapping(from, limit)
    }

    /// The aborted transactions whose markers are in `from..limit`: the transaction index of a segment with these offsets.
    pub fn aborted_ended_in(&self, from: Offset, limit: Offset) -> impl Iterator<Item = &AbortedTransaction> {
        self.transactions.aborted.ended_in(from, limit)
    }

    /// The log starts at `log_start` now: what was aborted before it can't be read.
    pub fn start_at(&mut self, log_start: Offset) {
        self.transactions.start_at(log_start);
    }

    /// Compaction has found no record left of the aborted transactions whose markers are at these offsets, which go up.
    pub fn forget_markers(&mut self, markers: &[Offset]) {
        self.transactions.aborted.forget_markers(markers);
    }

    /// How many transactions are open.
    #[must_use]
    pub fn open_transaction_count(&self) -> usize {
        self.transactions.open_count()
    }

    /// Whether a batch of the log is the last one that is known of its producer: compaction keeps it, so that a table that
    /// is rebuilt from the log knows as much.
    #[must_use]
    pub fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let Some(entry) = self.find(header.producer_id()) else { return false };
        match entry.batches().last() {
            Some(last) => last.last_offset == header.last_offset(),
            None => header.is_control() && entry.epoch == header.producer_epoch(),
        }
    }

    /// What is known of each producer.
    pub fn states(&self) -> impl Iterator<Item = ProducerState> {
        self.entries.iter().map(|entry| {
            let last = entry.batches().last();
            ProducerState {
                producer_id: entry.producer_id,
                epoch: entry.epoch,
                last_sequence: last.map_or(Sequence(-1), |batch| batch.last_sequence),
                last_timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                open_from: self.transactions.first_offset(entry.producer_id),
            }
        })
    }

    pub(super) fn add_marker(&mut self, now: Timestamp, found: &FoundMarker) -> Option<CompletedTransaction> {
        let (producer_id, kind, last_offset) = (found.producer_id, found.record.kind, found.offset);
        let place = self.seen(now, producer_id, found.epoch);
        let entry = self.entries.get_mut(place);
        entry.note_epoch(found.epoch);
        entry.coordinator_epoch = found.record.coordinator_epoch;
        entry.last_timestamp = found.timestamp;
        self.transactions.verifications.ended(producer_id, found.epoch);
        self.transactions.last_unkept = Some(last_offset);
        self.end = last_offset.plus(1);
        let is_abort = kind == ControlKind::Abort;
        let first_offset = self.transactions.end(producer_id, last_offset, is_abort)?;
        Some(CompletedTransaction { producer_id, first_offset, last_offset, kind })
    }
}

//! Compaction: of all records with one key, the last one stays. Offsets never change.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | when a log is worth a round, and which segments become one: pure |
//! | `keys` | where each key was written last, in a bounded table |
//! | `transactions` | which batches were aborted, which markers are still needed: pure |
//! | `batch` | which records of a batch stay: pure |
//! | `round` | the executor |
//!
//! A round, as Kafka's cleaner does it:
//!
//! 1. The *dirty* part is read (what came since the last round, up to what may be compacted), and the table filled with the
//!    last offset of each key. When the table is full, the round ends there, and the next one goes on.
//! 2. All segments up to there are read again, in groups that become one segment each. A record stays when no later one in
//!    the table has its key; a tombstone, besides, until the delete horizon that its batch gets in its first round.
//! 3. Each group's new segment takes the place of the old ones ([`crate::segment`], `replace`).
//!
//! What stays in any case: the active segment; what is not committed, or of a transaction still open; what is younger than
//! `min.compaction.lag.ms`; what a checkpoint that may still be used does not vouch for. The last batch of a group, and the
//! last one of each producer, stay without records where none is left: a segment ends where it ended, and sequences go on.
//! A marker stays as long as its transaction has records, and then until its horizon. One that aborted stays, besides, until
//! consumers are not told of it any more, and no restart would bring that back.
//!
//! Segments of which more stays than one may hold are left as they were, the rest of the log is compacted. What they have of
//! keys that were deleted since must not come back: no tombstone goes behind them, and the next round begins where this one did.
//!
//! It must not know: clocks, who leads, what consumers are told. Those come from a [`CompactionHost`].

use protocol::aborted::AbortedTransaction;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use crate::segment::SegmentError;

mod batch;
mod keys;
mod plan;
mod round;
#[cfg(test)]
mod tests;
mod transactions;

pub use plan::{CompactionConfig, CompactionPlan};
pub(crate) use plan::{CompactionInput, dirty_bases, plan_compaction};
pub(crate) use round::Round;

/// Who knows what compaction must not: asked while a round runs.
pub trait CompactionHost {
    /// The clock.
    fn now(&self) -> Timestamp;

    /// The aborted transactions with records between two offsets.
    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction>;

    /// No batch is left of the aborted transactions whose markers are at these offsets, which go up, wherever a read may begin
    /// from now on: consumers need not be told of them any more.
    fn forget_aborted(&self, markers: &[Offset]);

    /// Whether this is the last batch that a producer wrote, as far as is known.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool;

    /// Called when so many bytes were read or written: waits until the bandwidth allows more. False ends the round.
    async fn pace(&self, bytes: u64) -> bool;

    /// Does what takes long without waiting: on a thread beside the caller's, where there is one.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T;
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionOutcome {
    /// Up to where the log is compacted now.
    pub cleaned: Offset,
    /// Bytes of batches that were read to fill the table.
    pub dirty_bytes: u64,
    /// Bytes of the segments that were looked through.
    pub before_bytes: u64,
    /// Bytes that are left of them.
    pub after_bytes: u64,
    /// Keys in the table.
    pub keys: usize,
    /// Whether the table was full before the dirty part was through.
    pub has_more: bool,
    /// Whether the round was ended before all groups were through.
    pub is_interrupted: bool,
    /// Where segments begin of which more stays than one segment may hold: they are as they were, the log does not count as
    /// compacted, and tombstones behind them stay.
    pub left_out: Option<Offset>,
}

/// Why a round ended early. What was done until then stays done.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The log could not be read.
    #[error(transparent)]
    Read(SegmentError),
    /// A new segment could not be written; the log is as it was.
    #[error(transparent)]
    Write(SegmentError),
    /// A new segment could not take the others' place: the process must stop.
    #[error(transparent)]
    Commit(SegmentError),
    /// A batch that is not what was produced: nothing of this log can be compacted.
    #[error("the batch at offset {offset} is damaged: {reason}")]
    Damaged {
        /// Its first offset.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
}

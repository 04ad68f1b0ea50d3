//! Idempotent producers of one partition: which batches are new, which are repeated, which are out of order (KIP-98).
//!
//! [`ProducerTable`] keeps, for each producer id that has written to the partition, its epoch and its last five batches,
//! those in flight included. A batch is checked before it is appended and recorded right after, with nothing between. A
//! repeated batch is answered with what its original got, when the original is committed: [`Verdict::Duplicate`] carries
//! the offset to wait for.
//!
//! Kafka's rules (`ProducerStateManager`, 4.x), with one difference: a producer expires by when this broker last saw a
//! batch of it, not by the timestamps that its records carry, which are the client's to choose.
//!
//! Memory: no allocation per producer. Entries of fixed size lie end to end in chunks, an index finds them by id, and a
//! list through them is in the order in which they were last seen, so that expiry takes the oldest ones only.
//!
//! # Transactions
//!
//! The same table keeps the partition's share of transactions (KIP-98, KIP-890). For a transactional batch:
//!
//! 1. [`ProducerTable::verification`] says whether the coordinator has to be asked first, and gives a guard. Version 12 of
//!    Produce asks it to add the partition, older ones to verify that it was added.
//! 2. With the coordinator's yes, [`ProducerTable::check_verified`] with the guard, append, [`ProducerTable::record`].
//!
//! For a marker (WriteTxnMarkers): [`ProducerTable::check_marker`], append [`TransactionMarker::batch`] at one offset,
//! [`ProducerTable::record_marker`]; answer the coordinator once it is committed.
//!
//! Consumers of committed records read up to [`ProducerTable::last_stable_offset`], which is asked for at each advance of
//! the high watermark and wakes their fetches when it moves, and are told of [`ProducerTable::aborted`] from where they read
//! to where the reply ends. [`ProducerTable::start_at`] follows the log's start. A compaction that finds no record of an
//! aborted transaction left says so by [`ProducerTable::forget_markers`], before its marker goes: an entry without its marker would
//! hide what its producer wrote later.
//!
//! It must not know: replicas, disks, who the coordinator is.

mod aborted;
mod arena;
mod entry;
mod marker;
mod sequence;
mod snapshot;
mod table;
mod transactions;
mod verification;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;

pub use marker::{CompletedTransaction, MarkerError, ProducerState, Teller, TransactionMarker};
pub use sequence::{sequence_after, sequence_before};
pub use snapshot::{SnapshotError, SnapshotInProgress};
pub use table::{
    AppendedAt, OriginalBatch, ProducerBatch, ProducerError, ProducerTable, Truncation, Verdict,
};
pub use verification::VerificationGuard;

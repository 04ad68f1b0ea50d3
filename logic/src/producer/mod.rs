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
//! It must not know: replicas, disks, transactions (their producers pass through here like others).

mod arena;
mod entry;
mod sequence;
mod snapshot;
mod table;

#[cfg(test)]
mod tests;

pub use sequence::{sequence_after, sequence_before};
pub use snapshot::SnapshotError;
pub use table::{
    AppendedAt, OriginalBatch, ProducerBatch, ProducerError, ProducerTable, Truncation, Verdict,
};

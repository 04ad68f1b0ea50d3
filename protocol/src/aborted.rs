//! A transaction that was aborted, as far as one partition is concerned: what readers of committed records are told of.
//!
//! Each partition keeps its own in memory and in its snapshots of producers, and rebuilds them from its batches; Kafka's
//! `.txnindex` files are neither written nor read.

use crate::types::{Offset, ProducerId};

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record's offset.
    pub first_offset: Offset,
    /// Its marker's offset.
    pub last_offset: Offset,
    /// The last stable offset once the marker was there: what lies before it is decided.
    pub last_stable_offset: Offset,
}

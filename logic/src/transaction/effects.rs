//! What a coordinator asks its caller to do.

use super::error::TransactionError;
use super::partitions::PartitionSet;
use super::transition::{End, Producer};
use bytes::Bytes;
use protocol::types::TransactionVersion;

/// Names a request that waits for its answer; the caller's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names a record until the caller has said what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub(super) u64);

/// Names the markers of one end of a transaction, through all attempts to write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkersId {
    pub(super) coordinator_epoch: i32,
    pub(super) number: u64,
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The producer to write as.
    Initialised(Producer),
    /// The partitions are in the transaction.
    Added,
    /// The end is decided. The producer to go on as, for a client of KIP-890.
    Ended(Producer),
}

/// How a request ended.
pub type Outcome = Result<Reply, TransactionError>;

/// A record to append to the coordinator's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// To say what became of it: [`super::Coordinator::committed`] or [`super::Coordinator::refused`].
    pub append: AppendId,
    /// Its key.
    pub key: Bytes,
    /// Its value; none for an id that is forgotten.
    pub value: Option<Bytes>,
}

/// Markers to write, one in each partition; answers come by [`super::Coordinator::marker_answered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    /// To answer by.
    pub id: MarkersId,
    /// The producer and epoch to write.
    pub producer: Producer,
    /// How the transaction ended.
    pub end: End,
    /// The coordinator's epoch, to write.
    pub coordinator_epoch: i32,
    /// The protocol that the transaction went by.
    pub version: TransactionVersion,
    /// Where to write.
    pub partitions: PartitionSet,
}

/// What became of a marker in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerAnswer {
    /// It is written, and committed.
    Written,
    /// The partition is no more.
    Gone,
    /// The partition has seen a newer epoch of the producer: what was open there has ended.
    StaleProducer,
    /// The partition has seen a newer coordinator, so this one's time is over.
    StaleCoordinator,
    /// It was not written, or nobody knows: again.
    Retry,
}

/// What the caller has to do, in this order: append the records in theirs, answer, send the markers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Records to append.
    pub records: Vec<NewRecord>,
    /// Requests to answer.
    pub replies: Vec<(CallId, Outcome)>,
    /// Markers to write.
    pub markers: Vec<Markers>,
    /// A transaction whose time is up needs a fresh producer id: give the next [`super::Coordinator::tick`] one.
    pub needs_producer_id: bool,
}

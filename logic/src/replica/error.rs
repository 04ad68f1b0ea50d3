//! What a replica refuses, and what its caller needs to answer it.

use protocol::types::{BrokerId, LeaderEpoch, Offset};
use thiserror::Error;

/// Why a replica refused an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplicaError {
    /// This replica does not lead; ask `leader`, or look for a new one when it is none.
    #[error("not the leader; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, as far as this replica was told.
        leader: Option<BrokerId>,
    },
    /// This replica does not follow, so it takes nothing from a leader.
    #[error("not a follower")]
    NotFollower,
    /// The leader's epoch is not durable yet; the append may be tried again when it is.
    #[error("leader epoch {epoch} is not durable yet")]
    EpochNotDurable {
        /// The epoch that waits for its journal entry.
        epoch: LeaderEpoch,
    },
    /// The other side speaks of an older epoch than this replica's.
    #[error("fenced: the epoch here is {current}")]
    FencedEpoch {
        /// The epoch of this replica.
        current: LeaderEpoch,
    },
    /// The other side speaks of a newer epoch, which this replica has not heard of yet.
    #[error("unknown epoch: the epoch here is {current}")]
    UnknownEpoch {
        /// The epoch of this replica.
        current: LeaderEpoch,
    },
    /// The offset lies outside the log.
    #[error("offset out of range: the log holds {log_start} to {log_end}")]
    OffsetOutOfRange {
        /// The first offset of the log.
        log_start: Offset,
        /// The offset after the last.
        log_end: Offset,
    },
    /// A new leader cannot tell yet what is committed (KIP-207).
    #[error("the high watermark {high_watermark} has not reached this leadership's start {epoch_start}")]
    OffsetNotAvailable {
        /// What is known to be committed.
        high_watermark: Offset,
        /// Where the current leader epoch starts.
        epoch_start: Offset,
    },
    /// acks=all with fewer replicas in sync than `min.insync.replicas` asks for.
    #[error("{in_sync} replicas in sync, {required} required")]
    NotEnoughReplicas {
        /// Replicas in sync, this one included.
        in_sync: usize,
        /// What `min.insync.replicas` asks for.
        required: usize,
    },
    /// The broker is not a replica of this partition.
    #[error("broker {broker} is not a replica of this partition")]
    UnknownReplica {
        /// The stranger.
        broker: BrokerId,
    },
    /// A follower was sent a batch that doesn't start at its end.
    #[error("batch starts at {base_offset}, the log ends at {log_end}")]
    NotContiguous {
        /// Where the batch starts.
        base_offset: Offset,
        /// Where the log ends.
        log_end: Offset,
    },
    /// The follower has not settled its divergence from the leader yet.
    #[error("the log has not been compared with the leader's yet")]
    NotSettled,
}

//! One partition's replica as a state machine: roles, epochs, in-sync replicas, high watermark, acks.
//!
//! [`Replica`] counts offsets and never sees a record. Its caller, the shard that owns the partition, tells it what
//! happened (appended, sealed, synced, a follower synced, the metadata changed) and learns from the returned [`Advance`]
//! which watermarks moved. Replies wait in [`Waiters`], readers below [`Replica::readable_end`].
//!
//! ```text
//!  log_start <= high_watermark <= log_end        what is committed lies below the high watermark
//!  synced_end <= sealed_end <= log_end           appended in memory, in a readable frame, on stable media here
//! ```
//!
//! Invariants: the high watermark never falls while this replica leads; an offset is assigned once in a leader epoch,
//! because an epoch is durable before its first append ([`Replica::on_epoch_durable`]); a log is cut by leader epoch
//! (KIP-101, KIP-279) and by nothing else. It must not know: disks, sockets, Kafka's error codes.

mod acks;
mod epochs;
mod error;
mod follower;
mod isr;
mod leader;
mod state;

#[cfg(test)]
mod model;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

pub use acks::{AckPolicy, Acks, Waiters};
pub use epochs::{EpochEnd, EpochEntry, EpochHistory};
pub use error::ReplicaError;
pub use follower::{Divergence, FollowerSettings};
pub use isr::IsrChange;
pub use leader::{Appended, LeaderSettings};
pub use state::{Advance, FetchCheck, FetchPosition, Recovered, Replica, Role};

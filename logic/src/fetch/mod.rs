//! Fetching, decided without reading: incremental sessions (KIP-227), what to read, and whether to answer or to wait.
//!
//! A fetch goes through here three times:
//!
//! 1. [`SessionCache::open`] finds or makes its session, or says that there is none and the request stands for itself.
//! 2. [`plan`] shares the bytes out over its partitions, in order; [`decide`] says whether what there is suffices.
//! 3. [`SessionCache::answer`] says partition by partition which outcome is news to the client and which can be left out.
//!
//! Fairness: partitions are served in the order of the session, and one that was answered with records goes to the end of
//! it. Without a session the order is the client's, who turns it himself (KIP-74).
//!
//! It must not know: logs, replicas, Kafka's error codes, metadata. Topics are what the client calls them, by name or id.

mod cache;
mod plan;
mod session;

#[cfg(test)]
mod tests;

pub use cache::{MovedSession, Opened, SessionCache, SessionError, SessionOptions, SessionRequest};
pub use plan::{Candidate, Decision, FetchBounds, FetchWait, PlannedRead, decide, plan};
pub use session::{
    FetchSession, PartitionHandle, PartitionOutcome, PartitionRequest, SessionPartition, SessionTopic,
    TopicKey,
};

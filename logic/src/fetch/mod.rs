//! Fetching, decided without reading: incremental sessions (KIP-227), how bytes are shared out, how long to wait.
//!
//! A fetch goes through here three times:
//!
//! 1. [`SessionCache::open`] finds or makes its session, or says that there is none and the request stands for itself.
//! 2. [`Share`] shares the bytes out over its partitions, in order; [`FetchBounds`] say how many, and how many suffice.
//! 3. [`SessionCache::answer`] says partition by partition which outcome is news to the client and which can be left out.
//!
//! Fairness: partitions are served in the order of the session, and one that was answered with records goes to the end of
//! it. Without a session the order is the client's, who turns it himself (KIP-74).
//!
//! It must not know: logs, replicas, Kafka's error codes, metadata. Topics are what the client calls them, by name or id.

mod cache;
mod session;
mod share;

#[cfg(test)]
mod tests;

pub use cache::{Opened, SessionCache, SessionError, SessionOptions, SessionRequest};
pub use session::{
    FetchSession, PartitionHandle, PartitionOutcome, PartitionRequest, SessionPartition, SessionTopic,
    TopicKey,
};
pub use share::{FetchBounds, Share};

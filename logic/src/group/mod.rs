//! The coordinator of consumer groups: one [`Coordinator`] for each partition of `__consumer_offsets`.
//!
//! A group belongs to the partition that [`partition_of_group`] says. The shard that leads the partition owns its
//! coordinator and drives it; whoever has a request for the group brings it there. All decisions are made here, from
//! what comes in; the log remembers them.
//!
//! # What to call, and when
//!
//! | call | when | then |
//! | --- | --- | --- |
//! | [`Coordinator::new`] | the shard becomes the partition's leader | read the partition from its start to its end: |
//! | [`Coordinator::update_image`] | before `start`, and whenever topics have changed | |
//! | [`Coordinator::replay`] | for each record of it that is no control record, in order | a refusal is logged and passed over |
//! | [`Coordinator::end_transaction`] | for each transaction marker, while replaying and later | |
//! | [`Coordinator::start`] | once, at the end of the log; only then requests | as after each call |
//! | [`Coordinator::handle`] | a request has come | see below |
//! | [`Coordinator::on_time`] | [`Coordinator::deadline`] is not later than now | see below |
//! | [`Coordinator::resign`] | the shard leads the partition no longer, or an append was refused | answers only; drop it |
//!
//! Requests before `start` has returned are the caller's to refuse (the coordinator is loading).
//!
//! # What to do with the effects
//!
//! 1. Append [`Effects::records`] in order, before the next call, in one batch where they fit into one; a
//!    transactional batch of the producer where [`Effects::transaction`] names one. The state has changed already, so
//!    ask first whether the partition takes appends (leader, room on the disk, enough in-sync replicas): a request that
//!    comes while it doesn't is not handed in. Should the append be refused nevertheless, call `resign`, drop the
//!    coordinator, and build another from the log.
//! 2. Send each of [`Effects::answers`]: at once, or for [`When::Committed`] when the high watermark has reached the
//!    end of the log as it is after step 1. That holds for answers without records too: they tell of state that may
//!    not be committed yet.
//! 3. Arm a timer for [`Coordinator::deadline`], which may have moved either way.
//!
//! Every ticket is answered exactly once: by the call that it came with, by a later one, or by `resign`.
//!
//! Times never go backwards between calls. Bytes in requests must not be slices of a connection's frames, for they are
//! kept. Which Kafka error an error is, and which versions know it, is the caller's: a commit that is refused with
//! [`GroupError::GroupNotFound`] is ILLEGAL_GENERATION before version 9, one refused with
//! [`GroupError::StaleMemberEpoch`] is UNSUPPORTED_VERSION then (a transactional one ILLEGAL_GENERATION), and a
//! description refused so is a group in state Dead before version 6.
//!
//! # Groups of two kinds
//!
//! Members of a classic group assign among themselves; a consumer group (KIP-848) is assigned here. A group without
//! members becomes one of the other kind when somebody joins it so, and keeps its offsets. A group with members does if
//! [`MigrationPolicy`] says so: a classic group of consumers when the first one joins that speaks the newer protocol, a
//! consumer group when the last such one has left. In between members of both protocols share one consumer group.
//!
//! It must not know: logs, connections, Kafka's error codes.

mod classic;
mod commits;
mod consumer;
mod coordinator;
mod error;
mod kind;
mod membership;
mod migration;
mod offsets;
mod partition;
mod replay;
mod reply;
mod request;
mod settings;
mod timers;
mod turn;

#[cfg(test)]
mod tests;

pub use consumer::Assignor;
pub use coordinator::Coordinator;
pub use error::GroupError;
pub use partition::partition_of_group;
pub use replay::ReplayError;
pub use reply::{
    Answer, ConsumerBeat, DescribedConsumer, DescribedConsumerGroup, DescribedGroup, DescribedMember,
    DescribedTopic, Effects, FetchedPartition, FetchedTopic, JoinRefused, Joined, JoinedMember, ListedGroup,
    OwnedTopic, Record, Reply, Synced, When,
};
use request::CommitTerms;
pub use request::{
    Commit, CommitPartition, CommitTopic, ConsumerHeartbeat, DeleteOffsets, FetchOffsets, GroupFilter,
    Heartbeat, Join, Leave, MemberName, Protocol, Request, Sync, Ticket, TopicPartitions,
    TransactionalCommit,
};
pub use settings::{GroupSettings, MigrationPolicy};

/// A name or an id: shared, not copied, and free to cross to other cores.
pub type Name = std::sync::Arc<str>;

//! What a coordinator is asked, owned so that it can cross from core to core.

use super::Name;
use bytes::Bytes;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// Names a request among those that are not answered yet. The caller's choice, never used twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request about the groups of one coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// JoinGroup.
    Join(Box<Join>),
    /// SyncGroup.
    Sync(Sync),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(Leave),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// OffsetCommit.
    Commit(Commit),
    /// TxnOffsetCommit.
    CommitInTransaction(TransactionalCommit),
    /// OffsetFetch, of one group.
    FetchOffsets(FetchOffsets),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsets),
    /// ListGroups.
    List(GroupFilter),
    /// DescribeGroups, of one group.
    Describe {
        /// The group.
        group: Name,
    },
    /// ConsumerGroupDescribe, of one group.
    DescribeConsumers {
        /// The group.
        group: Name,
    },
    /// DeleteGroups, of one group.
    Delete {
        /// The group.
        group: Name,
    },
    /// Topics are gone: their offsets go too. Answered with [`super::Reply::Done`].
    TopicsDeleted {
        /// Their names.
        topics: Vec<Name>,
    },
}

/// A member wants to join.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// The group.
    pub group: Name,
    /// The member; empty for one that has no id yet.
    pub member_id: Name,
    /// The static member's own name.
    pub instance_id: Option<Name>,
    /// The client's id, from the request's header.
    pub client_id: Name,
    /// The client's address as people read it.
    pub client_host: Name,
    /// Randomness for the id of a new member.
    pub fresh_id: u128,
    /// After how long without a heartbeat the member is out.
    pub session_timeout_ms: i32,
    /// How long the member may take to rejoin; the session timeout where the version has no such field.
    pub rebalance_timeout_ms: i32,
    /// What the group does: `consumer`, `connect`, ...
    pub protocol_type: Name,
    /// The assignors that the member supports, best first.
    pub protocols: Vec<Protocol>,
    /// Whether a new member is told its id and has to come back with it (version 4 on).
    pub requires_member_id: bool,
    /// Whether the member understands that it leads without having to assign (version 9 on).
    pub may_skip_assignment: bool,
}

/// An assignor with a member's subscription in its format. The bytes are the caller's own, not part of a larger frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// The assignor.
    pub name: Name,
    /// The subscription.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings those of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// The group.
    pub group: Name,
    /// The member.
    pub member: MemberName,
    /// The generation that it joined.
    pub generation: i32,
    /// What it takes for the protocol's type, if it says so.
    pub protocol_type: Option<Name>,
    /// What it takes for the assignor, if it says so.
    pub protocol_name: Option<Name>,
    /// From the leader: each member's assignment. The bytes are the caller's own, not part of a larger frame.
    pub assignments: Vec<(Name, Bytes)>,
}

/// A member by its id and, where it is static, its own name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberName {
    /// The member's id; empty where none is told.
    pub id: Name,
    /// The static member's own name.
    pub instance_id: Option<Name>,
}

/// A member is alive.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The group.
    pub group: Name,
    /// The member.
    pub member: MemberName,
    /// The generation that it is in.
    pub generation: i32,
}

/// Members leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Leave {
    /// The group.
    pub group: Name,
    /// The members; one with an empty id is removed by its own name.
    pub members: Vec<MemberName>,
}

/// What a member of a consumer group (KIP-848) wants and has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: Name,
    /// The member.
    pub member_id: Name,
    /// Its epoch: 0 to join, -1 to leave, -2 to be back soon.
    pub member_epoch: i32,
    /// Whether the client chooses the member's id (version 1 on).
    pub requires_member_id: bool,
    /// The static member's own name.
    pub instance_id: Option<Name>,
    /// The member's rack; none for no change.
    pub rack_id: Option<Name>,
    /// The client's id, from the request's header.
    pub client_id: Name,
    /// The client's address as people read it.
    pub client_host: Name,
    /// Randomness for the id of a member that has none.
    pub fresh_id: u128,
    /// How long the member may take to give partitions back; none (-1 on the wire) for no change.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics subscribed to; none for no change.
    pub topics: Option<Vec<Name>>,
    /// The pattern subscribed to; none for no change, empty for no pattern.
    pub expression: Option<Name>,
    /// The assignor that the member wants; none for no change.
    pub assignor: Option<Name>,
    /// What the member owns; none for no change.
    pub owned: Option<BTreeMap<TopicId, BTreeSet<PartitionIndex>>>,
}

/// Offsets to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The group.
    pub group: Name,
    /// The member; empty outside of a group.
    pub member: MemberName,
    /// The generation or the member's epoch; -1 outside of a group.
    pub generation: i32,
    /// Whether it may be a member's epoch (version 9 on).
    pub tells_epoch: bool,
    /// How long to keep the offsets; none for the broker's choice (and in versions without the field).
    pub retention_ms: Option<i64>,
    /// The offsets. The partitions exist: who asks has looked.
    pub topics: Vec<CommitTopic>,
}

/// What a commit's number may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitTerms {
    /// A generation.
    Generation,
    /// A generation or a member's epoch.
    Epoch,
    /// Either, in a transaction.
    Transactional,
}

/// Offsets to commit when a transaction commits.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionalCommit {
    /// The group.
    pub group: Name,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch; who asks has checked it.
    pub producer_epoch: ProducerEpoch,
    /// The member; empty where none is told.
    pub member: MemberName,
    /// The generation or the member's epoch; -1 where none is told.
    pub generation: i32,
    /// The offsets. The partitions exist: who asks has looked.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitTopic {
    /// The topic.
    pub topic: Name,
    /// Its id, where the client said so; otherwise zero.
    pub topic_id: TopicId,
    /// The offsets.
    pub partitions: Vec<CommitPartition>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset.
    pub offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to remember with it; null is the same as nothing.
    pub metadata: Box<str>,
}

/// Which offsets of a group are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchOffsets {
    /// The group.
    pub group: Name,
    /// The member and its epoch, where the client tells them (version 9 on).
    pub member: Option<(Name, i32)>,
    /// The partitions; none for all.
    pub topics: Option<Vec<TopicPartitions>>,
    /// Whether an offset that a transaction holds open is to be refused.
    pub require_stable: bool,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: Name,
    /// Its id, where the client said so; otherwise zero.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Offsets to forget.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: Name,
    /// The partitions. They exist: who asks has looked.
    pub topics: Vec<TopicPartitions>,
}

/// Which groups are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupFilter {
    /// Their states, in any case; empty for all.
    pub states: Vec<Name>,
    /// Their types, in any case; empty for all.
    pub types: Vec<Name>,
}

//! A classic group: its members agree on an assignor, one of them assigns, the coordinator passes it on.
//!
//! | state | meaning | leaves it |
//! | --- | --- | --- |
//! | Empty | no members; offsets may remain | a join: Preparing |
//! | Preparing | waiting for members to join, each join parked | all joined or the time is up: Completing, or Empty without members |
//! | Completing | joins answered, waiting for the leader's assignment, each sync parked | the leader's sync: Stable; a join or a leave: Preparing |
//! | Stable | everybody has an assignment | a join or a leave: Preparing |
//!
//! Invariants: a generation only grows; a join is parked in Preparing alone, a sync in Completing alone; the leader is a
//! member; the assignor chosen in a generation is one that all its members support. What is in the log is the group as
//! its last leader's sync left it, so a member may be known here that the log doesn't know.

mod join;
mod members;
mod migration;
mod protocols;
mod rebalance;
mod record;
mod sync;

use super::timers::Session;
use super::{GroupError, ListedGroup, Name, Ticket};
use bytes::Bytes;
use protocol::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub(super) use join::fresh_member_id;
pub(super) use members::protocols_of;
use protocols::Protocols;

/// What consumers call themselves; their subscriptions can be read.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The state of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    /// Whether the group may go from this state to that one.
    const fn may_become(self, next: Self) -> bool {
        match next {
            Self::Preparing => matches!(self, Self::Empty | Self::Completing | Self::Stable),
            Self::Completing | Self::Empty => matches!(self, Self::Preparing),
            Self::Stable => matches!(self, Self::Completing),
        }
    }
}

/// A classic group.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    id: Name,
    state: State,
    /// When the state changed last; none where the log does not say.
    state_since: Option<Timestamp>,
    generation: i32,
    protocol_type: Option<Name>,
    protocol: Option<Name>,
    leader: Option<Name>,
    members: BTreeMap<Name, Member>,
    /// The ids of static members by their own names.
    static_members: BTreeMap<Name, Name>,
    /// Ids that were given out and with which nobody has joined yet.
    expected: BTreeMap<Name, Session>,
    /// How many members' joins are parked.
    joining_count: usize,
    /// Members that have not synced in this generation.
    unsynced: BTreeSet<Name>,
    protocols: Protocols,
    /// The topics that the members read; none where that can't be told.
    subscribed: Option<BTreeSet<Name>>,
    /// When waiting for joins ends.
    join_until: Option<Timestamp>,
    /// When waiting for syncs ends.
    sync_until: Option<Timestamp>,
    /// While the group waits for its very first members: how much longer it may, and whether another one has come.
    first: Option<FirstRebalance>,
    /// Memory of the members.
    memory_bytes: usize,
}

/// A rebalance of a group that was empty: it waits a little for more members, and again while they keep coming.
#[derive(Clone, Copy, Debug)]
struct FirstRebalance {
    delay_ms: i32,
    remaining_ms: i32,
    has_new_member: bool,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    id: Name,
    instance_id: Option<Name>,
    client_id: Name,
    client_host: Name,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    protocols: Vec<(Name, Bytes)>,
    assignment: Bytes,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    session: Session,
    /// It has not been told its first generation yet, so it can't send heartbeats.
    is_new: bool,
}

impl ClassicGroup {
    pub(super) fn new(now: Option<Timestamp>, id: Name) -> Self {
        Self {
            id,
            state: State::Empty,
            state_since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            expected: BTreeMap::new(),
            joining_count: 0,
            unsynced: BTreeSet::new(),
            protocols: Protocols::default(),
            subscribed: None,
            join_until: None,
            sync_until: None,
            first: None,
            memory_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub(super) fn has_expected_members(&self) -> bool {
        !self.expected.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            kind: "classic",
        }
    }

    /// Whether the group reads a topic, as far as that can be told: consumers of which it can't read any.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// From when on the retention of offsets counts; none while they don't expire.
    pub(super) fn retention_base(&self) -> Option<RetentionBase> {
        match (&self.protocol_type, self.state) {
            (None, _) => Some(RetentionBase::Commit),
            (Some(_), State::Empty) => {
                Some(self.state_since.map_or(RetentionBase::Commit, RetentionBase::Since))
            }
            (Some(_), State::Stable) if self.is_of_consumers() && self.subscribed.is_some() => {
                Some(RetentionBase::Commit)
            }
            (Some(_), _) => None,
        }
    }

    /// Whether the group may be deleted.
    pub(super) fn check_deletion(&self) -> Result<(), GroupError> {
        if self.is_empty() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// Whether offsets may be deleted: of consumers, those of topics that they don't read.
    pub(super) fn check_offset_deletion(&self) -> Result<(), GroupError> {
        let may = self.is_empty() || self.is_of_consumers();
        if may { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    fn become_state(&mut self, now: Timestamp, next: State) {
        assert!(self.state.may_become(next), "from {:?} to {next:?}", self.state);
        self.state = next;
        self.state_since = Some(now);
    }
}

/// From when on the retention of offsets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetentionBase {
    /// From each one's commit.
    Commit,
    /// From then on.
    Since(Timestamp),
}

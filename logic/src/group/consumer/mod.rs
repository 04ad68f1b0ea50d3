//! A consumer group (KIP-848): the coordinator assigns, and leads each member to its assignment at the member's pace.
//!
//! | epoch | meaning |
//! | --- | --- |
//! | of the group | grows with every change of what is to be assigned: subscriptions, topics, members |
//! | of the target | the group's epoch for which the target assignment was computed |
//! | of a member | the target's epoch that the member has reached |
//!
//! Members may speak the classic protocol while the group migrates: each join takes such a member a step, as a heartbeat
//! does the others, and each heartbeat tells it whether it has to join again.
//!
//! A member goes to a new target in up to three heartbeats: it gives back what is not its own any more (`Revoking`),
//! takes the new epoch and what is free (`Releasing` while others still hold some of it), and is `Stable` when it has all.
//!
//! Invariants: a partition has one owner at most; a member owns what it was told and has not yet said to have given
//! back; every change goes through [`change::Change`], which is a record of the log, so that a replay ends where the
//! group was. It must not know what a record's bytes hold.

mod assign;
mod change;
mod classic;
mod describe;
mod heartbeat;
mod migration;
mod reconcile;
mod target;

#[cfg(test)]
mod tests;

use super::classic::RetentionBase;
use super::timers::{Awaited, Session, Timer};
use super::turn::Turn;
use super::{GroupError, ListedGroup, Name};
use crate::limits::{GROUP_MEMBER_BYTES, GROUP_OWNED_PARTITION_BYTES};
use bytes::Bytes;
use protocol::types::{PartitionIndex, Timestamp, TopicId};
use std::collections::{BTreeMap, BTreeSet};

pub use assign::Assignor;
pub(super) use change::Change;
pub(super) use heartbeat::check_heartbeat;

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// Partitions by topic, each with the member's epoch in which it was assigned.
pub(super) type Owned = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// The epoch of a static member that is away and will be back.
const AWAY_EPOCH: i32 = -2;

/// The epoch with which a member leaves.
const LEAVE_EPOCH: i32 = -1;

/// A consumer group.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    id: Name,
    epoch: i32,
    /// What the subscribed topics looked like when the epoch was last raised.
    topics_hash: i64,
    target_epoch: i32,
    target: BTreeMap<Name, Partitions>,
    members: BTreeMap<Name, Member>,
    /// The ids of static members by their own names.
    static_members: BTreeMap<Name, Name>,
    /// Who owns what, given back or not.
    owners: BTreeMap<(TopicId, PartitionIndex), Name>,
    /// The topics that match each expression subscribed to.
    expressions: BTreeMap<Name, Resolved>,
    sessions: BTreeMap<Name, Session>,
    /// Until when members have to have done what is awaited of them.
    awaited: BTreeMap<(Name, Awaited), Timestamp>,
    /// The metadata for which the subscribed topics were last looked at.
    topics_seen: Option<u64>,
    /// The metadata for which the expressions were last resolved, and when.
    expressions_seen: Option<(u64, Timestamp)>,
    memory_bytes: usize,
}

/// The topics that match an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    topics: BTreeSet<Name>,
    /// The metadata's number then.
    version: i64,
    /// When they were looked up.
    at: Timestamp,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    wants: Wants,
    current: Current,
}

/// What a member wants, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    instance_id: Option<Name>,
    rack_id: Option<Name>,
    client_id: Name,
    client_host: Name,
    topics: BTreeSet<Name>,
    expression: Option<Name>,
    rebalance_timeout_ms: i32,
    assignor: Option<Name>,
    /// What it said when it joined by the classic protocol, if that is the one that it speaks.
    classic: Option<SaidClassic>,
}

/// What a member of the classic protocol says of itself beyond what others say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SaidClassic {
    session_timeout_ms: i32,
    /// The assignors that it supports, each with its subscription in that one's format. Never empty.
    protocols: Vec<(Name, Bytes)>,
}

/// What a member owns, and how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Current {
    epoch: i32,
    previous_epoch: i32,
    state: MemberState,
    assigned: Owned,
    /// What it was asked to give back.
    revoking: Owned,
}

/// How far a member has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has what it is to have.
    #[default]
    Stable,
    /// It has to give partitions back first.
    Revoking,
    /// It waits for others to give partitions back.
    Releasing,
}

impl ConsumerGroup {
    pub(super) fn new(id: Name) -> Self {
        Self {
            id,
            epoch: 0,
            topics_hash: 0,
            target_epoch: 0,
            target: BTreeMap::new(),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            owners: BTreeMap::new(),
            expressions: BTreeMap::new(),
            sessions: BTreeMap::new(),
            awaited: BTreeMap::new(),
            topics_seen: None,
            expressions_seen: None,
            memory_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn has_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn retention_base(&self) -> Option<RetentionBase> {
        Some(RetentionBase::Commit)
    }

    pub(super) fn check_deletion(&self) -> Result<(), GroupError> {
        if self.is_empty() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.wants.topics.contains(topic))
            || self.expressions.values().any(|resolved| resolved.topics.contains(topic))
    }

    pub(super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: "consumer".into(),
            state: self.state_name(),
            kind: "consumer",
        }
    }

    /// The state, in Kafka's words.
    fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.is_reconciled() {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether every member has come to its target.
    pub(super) fn is_reconciled(&self) -> bool {
        let has_all = |member: &Member| {
            member.current.state == MemberState::Stable && member.current.epoch == self.target_epoch
        };
        self.epoch == self.target_epoch && self.members.values().all(has_all)
    }

    /// The replay is over: members have from now on to be heard of.
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in ids {
            self.heard_of(turn, &id);
            if self.members[&id].current.state == MemberState::Revoking {
                self.await_for_rebalance(turn, &id, Awaited::Revocation);
            }
        }
    }

    /// Stops all timers: the group is about to go.
    pub(super) fn dissolve(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in ids {
            self.stop_timers(turn, &id);
        }
        assert!(self.sessions.is_empty());
        assert!(self.awaited.is_empty());
    }

    fn heard_of(&mut self, turn: &mut Turn<'_>, id: &Name) {
        let classic = self.members[id].wants.classic.as_ref();
        let timeout_ms = match classic {
            Some(said) => said.session_timeout_ms,
            None => turn.consumer_config(&self.id).session_timeout_ms,
        };
        let deadline = turn.after(timeout_ms);
        let session = self.sessions.entry(id.clone()).or_default();
        session
            .extend(turn.timers, deadline, || Timer::Session { group: self.id.clone(), member: id.clone() });
    }

    /// Gives a member as long as it takes for a rebalance.
    fn await_for_rebalance(&mut self, turn: &mut Turn<'_>, id: &Name, awaited: Awaited) {
        self.stop_awaiting(turn, id, awaited);
        let until = turn.after(self.members[id].wants.rebalance_timeout_ms);
        turn.timers.arm(until, Timer::Member { group: self.id.clone(), member: id.clone(), awaited });
        self.awaited.insert((id.clone(), awaited), until);
    }

    fn stop_awaiting(&mut self, turn: &mut Turn<'_>, id: &Name, awaited: Awaited) {
        if let Some(at) = self.awaited.remove(&(id.clone(), awaited)) {
            turn.timers.cancel(at, Timer::Member { group: self.id.clone(), member: id.clone(), awaited });
        }
    }

    fn stop_timers(&mut self, turn: &mut Turn<'_>, id: &Name) {
        for awaited in [Awaited::Revocation, Awaited::Join, Awaited::Sync] {
            self.stop_awaiting(turn, id, awaited);
        }
        if let Some(mut session) = self.sessions.remove(id) {
            session.end(turn.timers, Timer::Session { group: self.id.clone(), member: id.clone() });
        }
    }

    /// A member was silent for too long, or has moved its deadline meanwhile.
    pub(super) fn on_session_timer(&mut self, turn: &mut Turn<'_>, id: &Name) {
        let timer = Timer::Session { group: self.id.clone(), member: id.clone() };
        let session = self.sessions.get_mut(id).expect("the session of a member ends with it");
        if session.is_over(turn.timers, turn.now, timer) {
            self.fence(turn, std::slice::from_ref(id));
        }
    }

    /// A member has not done in time what was awaited of it.
    pub(super) fn on_member_timer(&mut self, turn: &mut Turn<'_>, id: &Name, awaited: Awaited) {
        self.awaited.remove(&(id.clone(), awaited)).expect("only an armed timer is due");
        self.fence(turn, std::slice::from_ref(id));
    }

    /// Makes a change: in the log and here.
    fn change(&mut self, turn: &mut Turn<'_>, change: Change) {
        turn.append(change.record(&self.id).expect("what was checked when it came can be written"));
        self.apply(change);
    }
}

impl Member {
    fn memory_bytes(&self) -> usize {
        let wants = &self.wants;
        let topics: usize = wants.topics.iter().map(|topic| topic.len() + 32).sum();
        let owned = [&self.current.assigned, &self.current.revoking];
        let partitions: usize = owned.into_iter().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        GROUP_MEMBER_BYTES
            + topics
            + wants.expression.as_ref().map_or(0, |expression| expression.len())
            + wants.classic.as_ref().map_or(0, SaidClassic::memory_bytes)
            + wants.client_id.len()
            + wants.client_host.len()
            + partitions * GROUP_OWNED_PARTITION_BYTES
    }
}

impl SaidClassic {
    fn memory_bytes(&self) -> usize {
        self.protocols.iter().map(|(name, bytes)| name.len() + bytes.len() + 64).sum()
    }
}

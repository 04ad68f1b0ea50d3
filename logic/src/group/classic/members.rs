//! Who is in a group: adding, replacing and removing members, and what goes with them.

use super::{ClassicGroup, Member, Name};
use crate::group::request::{Join, MemberName};
use crate::group::timers::Timer;
use crate::group::turn::Turn;
use crate::group::{GroupError, JoinRefused, Reply};
use crate::limits::{GROUP_MEMBER_BYTES, GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS};
use bytes::Bytes;
use protocol::types::Timestamp;

impl Member {
    /// The member that joins.
    pub(super) fn joining(id: Name, join: &Join) -> Self {
        Self {
            id,
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: protocols_of(join),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            session: Default::default(),
            is_new: true,
        }
    }

    /// Its subscription for an assignor.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| &**name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it says again what it said before.
    pub(super) fn says_the_same(&self, join: &Join) -> bool {
        self.protocols == protocols_of(join)
    }

    fn memory_bytes(&self) -> usize {
        let protocols: usize = self.protocols.iter().map(|(name, bytes)| name.len() + bytes.len() + 64).sum();
        GROUP_MEMBER_BYTES
            + 2 * self.id.len()
            + self.client_id.len()
            + self.client_host.len()
            + self.assignment.len()
            + protocols
    }
}

/// The assignors that a member supports; of two with one name the first counts.
pub(in crate::group) fn protocols_of(join: &Join) -> Vec<(Name, Bytes)> {
    let mut protocols: Vec<(Name, Bytes)> = Vec::with_capacity(join.protocols.len());
    for protocol in &join.protocols {
        if protocols.iter().all(|(name, _)| *name != protocol.name) {
            protocols.push((protocol.name.clone(), protocol.metadata.clone()));
        }
    }
    protocols
}

impl ClassicGroup {
    /// Checks that a member is who it says.
    pub(super) fn check_member(&self, member: &MemberName) -> Result<(), GroupError> {
        if let Some(instance_id) = &member.instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(id) if *id != member.id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(&member.id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    /// Adds a member. Its join, if it is one, is parked by the caller.
    pub(super) fn add(&mut self, member: Member, protocol_type: &Name) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        assert_eq!(self.protocol_type.as_ref(), Some(protocol_type));
        if let Some(instance_id) = &member.instance_id {
            let before = self.static_members.insert(instance_id.clone(), member.id.clone());
            assert!(before.is_none(), "a static member is added once");
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.protocols.add(&member.protocols);
        self.memory_bytes += member.memory_bytes();
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Removes a member or an id that was given out; what it had parked is answered first.
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &str) {
        self.refuse_parked(turn, id, "", &GroupError::UnknownMember);
        let timer = |id: &Name| Timer::Session { group: self.id.clone(), member: id.clone() };
        if let Some((id, mut session)) = self.expected.remove_entry(id) {
            session.end(turn.timers, timer(&id));
            self.memory_bytes -= GROUP_MEMBER_BYTES;
        }
        if let Some(mut member) = self.members.remove(id) {
            member.session.end(turn.timers, timer(&member.id));
            self.protocols.remove(&member.protocols);
            self.memory_bytes -= member.memory_bytes();
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.unsynced.remove(id);
    }

    /// The static member comes back as another process: the old id is fenced, the new one takes its place.
    pub(super) fn replace_static(&mut self, turn: &mut Turn<'_>, old_id: &Name, new_id: &Name) {
        self.refuse_parked(turn, old_id, old_id, &GroupError::FencedInstance);
        let mut member = self.members.remove(old_id).expect("the static member is a member");
        member.session.end(turn.timers, Timer::Session { group: self.id.clone(), member: old_id.clone() });
        let instance_id = member.instance_id.clone().expect("only a static member is replaced");
        self.memory_bytes -= member.memory_bytes();
        member.id = new_id.clone();
        member.is_new = false;
        self.memory_bytes += member.memory_bytes();
        self.members.insert(new_id.clone(), member);
        self.static_members.insert(instance_id, new_id.clone());
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(new_id.clone());
        }
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, join: &Join, id: &str) {
        let member = self.members.get_mut(id).expect("who is updated is a member");
        self.protocols.remove(&member.protocols);
        self.memory_bytes -= member.memory_bytes();
        member.protocols = protocols_of(join);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        self.memory_bytes += member.memory_bytes();
        self.protocols.add(&member.protocols);
    }

    /// Gives a member its assignment.
    pub(super) fn assign(&mut self, id: &str, assignment: Bytes) {
        let member = self.members.get_mut(id).expect("who is assigned to is a member");
        self.memory_bytes -= member.assignment.len();
        self.memory_bytes += assignment.len();
        member.assignment = assignment;
    }

    /// An id was given out: whoever got it is expected to join with it.
    pub(super) fn expect_member(&mut self, turn: &mut Turn<'_>, id: &Name, session_timeout_ms: i32) {
        let mut session = super::Session::default();
        let deadline = turn.after(session_timeout_ms);
        session
            .extend(turn.timers, deadline, || Timer::Session { group: self.id.clone(), member: id.clone() });
        let before = self.expected.insert(id.clone(), session);
        assert!(before.is_none(), "a fresh id is fresh");
        self.memory_bytes += GROUP_MEMBER_BYTES;
    }

    /// Who was expected has come.
    pub(super) fn unexpect_member(&mut self, turn: &mut Turn<'_>, id: &Name) {
        if let Some(mut session) = self.expected.remove(id) {
            session.end(turn.timers, Timer::Session { group: self.id.clone(), member: id.clone() });
            self.memory_bytes -= GROUP_MEMBER_BYTES;
        }
    }

    /// A member was heard of: it has until its session timeout to be heard of again.
    pub(super) fn heard_of(&mut self, turn: &mut Turn<'_>, id: &str) {
        let member = self.members.get_mut(id).expect("who was heard of is a member");
        let deadline = turn.after(member.session_timeout_ms);
        extend_session(turn, &self.id, member, deadline);
    }

    /// A member has joined for the first time. It does not send heartbeats while its join is parked, so it has longer.
    pub(super) fn heard_of_new(&mut self, turn: &mut Turn<'_>, id: &str) {
        let member = self.members.get_mut(id).expect("who has joined is a member");
        let deadline = turn.after(GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS);
        extend_session(turn, &self.id, member, deadline);
    }

    /// Answers what a member has parked with an error; its joins with `told_id`.
    fn refuse_parked(&mut self, turn: &mut Turn<'_>, id: &str, told_id: &str, error: &GroupError) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(ticket) = member.joining.take() {
            self.joining_count -= 1;
            let refused = JoinRefused { member_id: told_id.into(), error: error.clone() };
            turn.answer(ticket, Reply::Join(Err(refused)));
        }
        if let Some(ticket) = member.syncing.take() {
            turn.answer(ticket, Reply::Sync(Err(error.clone())));
        }
    }

    /// The group's own timers, besides those of the sessions.
    pub(super) fn stop_timers(&mut self, turn: &mut Turn<'_>) {
        let group = self.id.clone();
        if let Some(at) = self.join_until.take() {
            turn.timers.cancel(at, Timer::Join { group: group.clone() });
        }
        if let Some(at) = self.sync_until.take() {
            turn.timers.cancel(at, Timer::Sync { group });
        }
    }

    /// Answers everything parked, forgets all members and stops all timers: the group is about to go.
    pub(in crate::group) fn dissolve(&mut self, turn: &mut Turn<'_>, error: &GroupError) {
        self.stop_timers(turn);
        let ids: Vec<Name> = self.members.keys().chain(self.expected.keys()).cloned().collect();
        for id in ids {
            self.refuse_parked(turn, &id, &id, error);
            self.remove(turn, &id);
        }
        assert_eq!(self.memory_bytes, 0);
    }
}

fn extend_session(turn: &mut Turn<'_>, group: &Name, member: &mut Member, deadline: Timestamp) {
    let id = &member.id;
    member
        .session
        .extend(turn.timers, deadline, || Timer::Session { group: group.clone(), member: id.clone() });
}

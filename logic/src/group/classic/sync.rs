//! What members do between rebalances: sync, show that they are alive, leave, commit; and how they are described.

use super::{ClassicGroup, Name, State};
use crate::group::request::{Heartbeat, MemberName, Sync};
use crate::group::turn::Turn;
use crate::group::{DescribedGroup, DescribedMember, GroupError, Reply, Synced, Ticket};
use bytes::Bytes;
use std::collections::BTreeMap;

impl ClassicGroup {
    /// A member asks for its assignment.
    pub(in crate::group) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, sync: &Sync) {
        match self.check_sync(sync) {
            Err(error) => turn.answer(ticket, Reply::Sync(Err(error))),
            Ok(()) if self.state == State::Stable => {
                self.synced_member(&sync.member.id);
                let synced = self.synced(&sync.member.id);
                turn.answer_committed(ticket, Reply::Sync(Ok(synced)));
            }
            Ok(()) => {
                assert_eq!(self.state, State::Completing);
                self.park_sync(turn, ticket, &sync.member.id);
                if self.is_leader(&sync.member.id) {
                    self.take_assignments(turn, &sync.assignments);
                }
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        if self.state == State::Empty {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(&sync.member)?;
        if sync.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |told: &Option<Name>, ours: &Option<Name>| told.is_some() && told != ours;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol_name, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.state == State::Preparing { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    fn synced_member(&mut self, id: &str) {
        self.unsynced.remove(id);
    }

    fn park_sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, id: &str) {
        self.synced_member(id);
        let member = self.members.get_mut(id).expect("it was checked");
        if let Some(abandoned) = member.syncing.replace(ticket) {
            turn.answer(abandoned, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
    }

    /// The leader has assigned: that goes into the log, and to each member.
    fn take_assignments(&mut self, turn: &mut Turn<'_>, assignments: &[(Name, Bytes)]) {
        let assignments: BTreeMap<&Name, &Bytes> =
            assignments.iter().map(|(id, bytes)| (id, bytes)).collect();
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in &ids {
            let assignment = assignments.get(id).copied().cloned().unwrap_or_default();
            self.assign(id, assignment);
        }
        // The log says when the group became stable, so it does before it is written; a group that is too large for a
        // record never was.
        let Some(record) = self.record_that_fits(turn.settings, turn.now) else {
            self.refuse_syncs(turn, &GroupError::RecordTooLarge);
            self.prepare_rebalance(turn);
            return;
        };
        self.become_state(turn.now, State::Stable);
        turn.append(record);
        for id in ids {
            let synced = self.synced(&id);
            let member = self.members.get_mut(&id).expect("it was just listed");
            if let Some(ticket) = member.syncing.take() {
                turn.answer_committed(ticket, Reply::Sync(Ok(synced)));
                self.heard_of(turn, &id);
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members[id].assignment.clone(),
        }
    }

    /// A member is alive.
    pub(in crate::group) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), GroupError> {
        self.check_member(&heartbeat.member)?;
        if heartbeat.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.heard_of(turn, &heartbeat.member.id);
        match self.state {
            State::Preparing => Err(GroupError::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
            State::Empty => unreachable!("an empty group has no member"),
        }
    }

    /// Members leave.
    pub(in crate::group) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        members: &[MemberName],
    ) -> Vec<Result<(), GroupError>> {
        let outcomes: Vec<_> = members.iter().map(|member| self.leave_one(turn, member)).collect();
        if outcomes.iter().any(Result::is_ok) {
            self.after_leaving(turn);
        }
        outcomes
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, member: &MemberName) -> Result<(), GroupError> {
        let id = if member.id.is_empty() {
            // An administrator removes a static member by its own name.
            let by_name = member.instance_id.as_ref().and_then(|name| self.static_members.get(name));
            by_name.cloned().ok_or(GroupError::UnknownMember)?
        } else {
            if !self.expected.contains_key(&member.id) {
                self.check_member(member)?;
            }
            member.id.clone()
        };
        self.remove(turn, &id);
        Ok(())
    }

    /// Whether a member, or somebody outside of the group, may commit offsets.
    pub(in crate::group) fn check_commit(
        &self,
        member: &MemberName,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), GroupError> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        let is_of_member = generation >= 0 || !member.id.is_empty() || member.instance_id.is_some();
        if is_of_member {
            self.check_member(member)?;
            if generation != self.generation {
                return Err(GroupError::IllegalGeneration);
            }
        } else if !is_transactional {
            return Err(GroupError::UnknownMember);
        }
        // The member knows the generation but not yet what it owns in it.
        let is_too_early = !is_transactional && self.state == State::Completing;
        if is_too_early { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member has committed offsets, so it is alive.
    pub(in crate::group) fn committed(&mut self, turn: &mut Turn<'_>, member: &MemberName) {
        let counts = matches!(self.state, State::Stable | State::Preparing);
        if counts && self.members.contains_key(&member.id) {
            self.heard_of(turn, &member.id);
        }
    }

    pub(in crate::group) fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol.as_ref().filter(|_| self.state == State::Stable);
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.cloned().unwrap_or_default(),
            members: members.collect(),
        }
    }
}

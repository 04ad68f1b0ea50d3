//! Joining a group: new members, those that come back, and static members that were restarted.

use super::{ClassicGroup, Member, Name, State};
use crate::group::request::{Join, MemberName};
use crate::group::turn::Turn;
use crate::group::{GroupError, JoinRefused, Joined, JoinedMember, Reply, Ticket};
use crate::limits::{GROUP_CLIENT_ID_BYTES_IN_MEMBER_ID_MAX, GROUP_EXPECTED_MEMBERS_MAX};
use protocol::types::Timestamp;

impl ClassicGroup {
    /// A member joins. The request itself has been checked.
    pub(in crate::group) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        let is_new = join.member_id.is_empty();
        let outcome = if !self.has_room_for(turn, &join.member_id) {
            self.remove(turn, &join.member_id);
            self.go_on_if_all_joined(turn);
            Err(JoinRefused { member_id: Name::default(), error: GroupError::GroupFull })
        } else if !self.accepts_protocols(join) {
            let member_id = join.member_id.clone();
            Err(JoinRefused { member_id, error: GroupError::InconsistentProtocol })
        } else if is_new {
            self.join_new(turn, ticket, join)
        } else {
            let refused = |error| JoinRefused { member_id: join.member_id.clone(), error };
            self.join_known(turn, ticket, join).map_err(refused)
        };
        if let Err(refused) = outcome {
            turn.answer(ticket, Reply::Join(Err(refused)));
        }
    }

    /// Whether one more may join. While the group prepares a rebalance those count that have joined it: the last to
    /// come are left out if the group has become smaller than it was.
    fn has_room_for(&self, turn: &Turn<'_>, id: &str) -> bool {
        let members_max = turn.settings.members_max;
        match self.state {
            State::Empty => true,
            State::Preparing => {
                let is_parked = self.members.get(id).is_some_and(|member| member.joining.is_some());
                is_parked || self.joining_count < members_max
            }
            State::Completing | State::Stable => {
                self.members.contains_key(id) || self.members.len() < members_max
            }
        }
    }

    fn accepts_protocols(&self, join: &Join) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let is_supported = |name: &str| self.protocols.is_supported_by_all(name, self.members.len());
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|protocol| is_supported(&protocol.name))
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) -> Result<(), JoinRefused> {
        let new_id = fresh_member_id(join);
        if let Some(instance_id) = &join.instance_id {
            match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.rejoin_static(turn, ticket, join, &old_id, &new_id),
                None => self.join_first_time(turn, ticket, join, new_id),
            }
        } else if !join.requires_member_id {
            self.join_first_time(turn, ticket, join, new_id);
        } else if self.expected.len() >= GROUP_EXPECTED_MEMBERS_MAX {
            return Err(JoinRefused { member_id: Name::default(), error: GroupError::OutOfMemory });
        } else {
            self.expect_member(turn, &new_id, join.session_timeout_ms);
            return Err(JoinRefused { member_id: new_id, error: GroupError::MemberIdRequired });
        }
        Ok(())
    }

    fn join_first_time(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join, id: Name) {
        if let Some(first) = &mut self.first {
            first.has_new_member = true;
        }
        self.unexpect_member(turn, &id);
        self.add(Member::joining(id.clone(), join), &join.protocol_type);
        self.park_join(turn, &id, ticket);
        self.heard_of_new(turn, &id);
        self.rebalance_or_go_on(turn);
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) -> Result<(), GroupError> {
        let id = &join.member_id;
        if self.expected.contains_key(id) {
            if join.instance_id.is_some() {
                return Err(GroupError::UnknownMember);
            }
            self.join_first_time(turn, ticket, join, id.clone());
            return Ok(());
        }
        self.check_member(&MemberName { id: id.clone(), instance_id: join.instance_id.clone() })?;
        let says_the_same = self.members[id].says_the_same(join);
        // A leader that joins a stable group wants a rebalance: only it can know that topics have changed.
        let is_repeated = match self.state {
            State::Empty => return Err(GroupError::UnknownMember),
            State::Preparing => false,
            State::Completing => says_the_same,
            State::Stable => says_the_same && !self.is_leader(id),
        };
        if is_repeated {
            let joined = self.joined(id);
            turn.answer(ticket, Reply::Join(Ok(Box::new(joined))));
        } else {
            self.update(join, id);
            self.park_join(turn, id, ticket);
            self.rebalance_or_go_on(turn);
        }
        Ok(())
    }

    /// A static member was restarted: it takes the place of its former self, without a rebalance if it can.
    fn rejoin_static(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: &Join,
        old_id: &Name,
        new_id: &Name,
    ) {
        let leader_before = self.leader.clone().unwrap_or_default();
        self.replace_static(turn, old_id, new_id);
        self.update(join, new_id);
        self.heard_of(turn, new_id);
        let record = (self.state == State::Stable && self.elect_protocol() == self.protocol)
            .then(|| self.record_that_fits(turn.settings, self.state_since.unwrap_or(Timestamp(-1))))
            .flatten();
        match record {
            Some(record) => {
                turn.append(record);
                let mut joined = self.joined(new_id);
                if join.may_skip_assignment {
                    joined.skip_assignment = self.is_leader(new_id);
                } else {
                    // Told that it leads, it would assign anew: so it is told that its former self still does.
                    joined.leader = leader_before;
                    joined.members.clear();
                }
                turn.answer_committed(ticket, Reply::Join(Ok(Box::new(joined))));
            }
            // The leader may have been told the old id already, so its assignment would miss the new one.
            None => {
                self.park_join(turn, new_id, ticket);
                self.rebalance_or_go_on(turn);
            }
        }
    }

    /// Parks a member's join. One that was parked before is answered: its connection has given up on it.
    fn park_join(&mut self, turn: &mut Turn<'_>, id: &Name, ticket: Ticket) {
        let member = self.members.get_mut(id).expect("only members are parked");
        match member.joining.replace(ticket) {
            None => self.joining_count += 1,
            Some(abandoned) => {
                let refused = JoinRefused { member_id: id.clone(), error: GroupError::RebalanceInProgress };
                turn.answer(abandoned, Reply::Join(Err(refused)));
            }
        }
    }

    /// The group as a member is told that has joined its present generation.
    pub(super) fn joined(&self, id: &Name) -> Joined {
        let members = if self.is_leader(id) { self.joined_members() } else { Vec::new() };
        Joined {
            member_id: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().expect("a group that was joined has an assignor");
        let told = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(told).collect()
    }
}

/// An id for a new member: its own name or its client's, a dash, and a random UUID.
pub(in crate::group) fn fresh_member_id(join: &Join) -> Name {
    let known_as = join.instance_id.as_ref().unwrap_or(&join.client_id);
    let end = known_as.floor_char_boundary(GROUP_CLIENT_ID_BYTES_IN_MEMBER_ID_MAX);
    // The bits that say "random UUID": version 4, variant 1.
    let uuid = (join.fresh_id & !((0xf << 76) | (0b11 << 62))) | (4 << 76) | (0b10 << 62);
    let digits = format!("{uuid:032x}");
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{}-{a}-{b}-{c}-{d}-{e}", &known_as[..end]).into()
}

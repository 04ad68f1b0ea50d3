//! Who deals with requests about members, and how a group of one kind becomes one of the other.

use super::classic::ClassicGroup;
use super::consumer::{ConsumerGroup, check_heartbeat};
use super::coordinator::{Coordinator, Entry};
use super::kind::Group;
use super::reply::{Effects, JoinRefused, Reply};
use super::request::{ConsumerHeartbeat, Heartbeat, Join, Leave, Sync, Ticket};
use super::{GroupError, Name};
use crate::limits::GROUP_TEXT_BYTES_MAX;
use protocol::types::Timestamp;

impl Coordinator {
    pub(super) fn join(&mut self, now: Timestamp, effects: &mut Effects, ticket: Ticket, join: &Join) {
        if let Err(error) = self.check_join(join) {
            let refused = JoinRefused { member_id: join.member_id.clone(), error };
            effects.answer(ticket, Reply::Join(Err(refused)));
            return;
        }
        match self.groups.get(&join.group).map(|entry| &entry.group) {
            None => self.begin_classic(now, effects, &join.group),
            Some(Group::Consumer(group)) if group.is_empty() => {
                effects.records.extend(group.tombstones());
                self.begin_classic(now, effects, &join.group);
            }
            Some(_) => {}
        }
        self.with_group(now, effects, &join.group, |entry, turn| entry.group.join(turn, ticket, join));
        // It may have taken the place of the last static member that spoke the newer protocol.
        self.downgrade_if_due(now, effects, &join.group, false);
    }

    /// The group begins, or begins anew, as a classic one; its offsets stay.
    fn begin_classic(&mut self, now: Timestamp, effects: &mut Effects, id: &Name) {
        let offsets = self.take_group(now, effects, id).unwrap_or_default();
        let group = Group::Classic(ClassicGroup::new(Some(now), id.clone()));
        self.put_group(id, Entry { group, offsets });
        self.with_group(now, effects, id, |entry, turn| {
            if let Group::Classic(group) = &entry.group {
                group.append_record(turn);
            }
        });
    }

    /// Whether a join can be right at all, before a group is made for it.
    fn check_join(&self, join: &Join) -> Result<(), GroupError> {
        check_group_id(&join.group)?;
        let timeouts = self.settings.session_timeout_ms_min..=self.settings.session_timeout_ms_max;
        if !timeouts.contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let instance_id = join.instance_id.as_deref().unwrap_or("-");
        let texts = [&*join.member_id, instance_id, &join.client_id, &join.client_host, &join.protocol_type];
        let names = join.protocols.iter().map(|protocol| &*protocol.name);
        if texts.into_iter().chain(names).any(|text| text.len() > GROUP_TEXT_BYTES_MAX) {
            return Err(GroupError::InvalidRequest("a name is longer than 32767 bytes"));
        }
        if instance_id.is_empty() {
            return Err(GroupError::InvalidRequest("a static member's name is not empty"));
        }
        let group = self.groups.get(&join.group).map(|entry| &entry.group);
        if group.is_none_or(|group| matches!(group, Group::Consumer(group) if group.is_empty())) {
            if !join.member_id.is_empty() {
                return Err(GroupError::UnknownMember);
            }
            if join.protocol_type.is_empty() || join.protocols.is_empty() {
                return Err(GroupError::InconsistentProtocol);
            }
        }
        let is_known = !join.member_id.is_empty();
        if !is_known && self.is_out_of_memory() { Err(GroupError::OutOfMemory) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self, now: Timestamp, effects: &mut Effects, ticket: Ticket, sync: &Sync) {
        let known = check_group_id(&sync.group).and_then(|()| {
            if self.groups.contains_key(&sync.group) { Ok(()) } else { Err(GroupError::UnknownMember) }
        });
        match known {
            Err(error) => effects.answer(ticket, Reply::Sync(Err(error))),
            Ok(()) => {
                self.with_group(now, effects, &sync.group, |entry, turn| {
                    entry.group.sync(turn, ticket, sync)
                });
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        ticket: Ticket,
        beat: &Heartbeat,
    ) {
        let outcome = check_group_id(&beat.group).and_then(|()| {
            self.with_group(now, effects, &beat.group, |entry, turn| entry.group.heartbeat(turn, beat))
                .unwrap_or(Err(GroupError::UnknownMember))
        });
        effects.answer(ticket, Reply::Heartbeat(outcome));
    }

    pub(super) fn leave(&mut self, now: Timestamp, effects: &mut Effects, ticket: Ticket, leave: &Leave) {
        let outcome = check_group_id(&leave.group).map(|()| {
            let outcomes = self.with_group(now, effects, &leave.group, |entry, turn| {
                entry.group.leave(turn, &leave.members)
            });
            outcomes.unwrap_or_else(|| vec![Err(GroupError::UnknownMember); leave.members.len()])
        });
        self.downgrade_if_due(now, effects, &leave.group, true);
        effects.answer_committed(ticket, Reply::Leave(outcome));
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        ticket: Ticket,
        beat: &ConsumerHeartbeat,
    ) {
        let checked =
            check_heartbeat(&self.settings, beat).and_then(|()| self.check_consumer_heartbeat(beat));
        let outcome = checked.and_then(|()| {
            self.begin_consumer(now, effects, &beat.group);
            let beaten = self.with_group(now, effects, &beat.group, |entry, turn| match &mut entry.group {
                Group::Consumer(group) => group.heartbeat(turn, beat),
                Group::Classic(_) => unreachable!("the group was made a consumer group"),
            });
            beaten.expect("the group was made")
        });
        if beat.member_epoch < 0 {
            self.downgrade_if_due(now, effects, &beat.group, true);
        }
        effects.answer_committed(ticket, Reply::ConsumerHeartbeat(outcome.map(Box::new)));
    }

    /// Whether the group takes the heartbeat; one that has no members yet may be of any kind, or not be at all.
    fn check_consumer_heartbeat(&self, beat: &ConsumerHeartbeat) -> Result<(), GroupError> {
        match self.groups.get(&beat.group).map(|entry| &entry.group) {
            Some(Group::Consumer(group)) => {
                let is_known = group.has_member(&beat.member_id);
                if beat.member_epoch == 0 && !is_known && self.is_out_of_memory() {
                    return Err(GroupError::OutOfMemory);
                }
                group.check(&self.settings, beat)
            }
            Some(Group::Classic(_)) | None if beat.member_epoch != 0 => Err(GroupError::GroupNotFound),
            Some(Group::Classic(_)) | None if self.is_out_of_memory() => Err(GroupError::OutOfMemory),
            Some(Group::Classic(group)) if !group.is_empty() => {
                let (group, _) = self.upgraded(&beat.group, group).ok_or(GroupError::GroupNotFound)?;
                group.check(&self.settings, beat)
            }
            Some(Group::Classic(_)) | None => {
                ConsumerGroup::new(beat.group.clone()).check(&self.settings, beat)
            }
        }
    }

    /// The group is a consumer group from now on, if it was not one already; its offsets stay.
    fn begin_consumer(&mut self, now: Timestamp, effects: &mut Effects, id: &Name) {
        match self.groups.get(id).map(|entry| &entry.group) {
            Some(Group::Consumer(_)) => return,
            Some(Group::Classic(group)) if !group.is_empty() => {
                let upgraded = self.upgraded(id, group).expect("it was checked");
                return self.upgrade(now, effects, id, upgraded);
            }
            Some(group @ Group::Classic(_)) => effects.records.extend(group.tombstones(id)),
            None => {}
        }
        let offsets = self.take_group(now, effects, id).unwrap_or_default();
        self.put_group(id, Entry { group: Group::Consumer(ConsumerGroup::new(id.clone())), offsets });
    }
}

/// Whether a group may be called so.
pub(super) fn check_group_id(group: &str) -> Result<(), GroupError> {
    let is_valid = !group.is_empty() && group.len() <= GROUP_TEXT_BYTES_MAX;
    if is_valid { Ok(()) } else { Err(GroupError::InvalidGroupId) }
}

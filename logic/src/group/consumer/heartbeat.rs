//! ConsumerGroupHeartbeat: joining, staying in and leaving, and what each heartbeat brings the member nearer to.

use super::reconcile::Step;
use super::target::compile;
use super::{
    AWAY_EPOCH, Change, ConsumerGroup, Current, LEAVE_EPOCH, MemberState, Name, Owned, Partitions, Wants,
};
use crate::group::reply::{ConsumerBeat, OwnedTopic};
use crate::group::request::{ConsumerHeartbeat, MemberName};
use crate::group::timers::Awaited;
use crate::group::turn::Turn;
use crate::group::{CommitTerms, CommitTopic, GroupError, GroupSettings};
use crate::limits::{GROUP_EXPRESSION_BYTES_MAX, GROUP_TEXT_BYTES_MAX};
use crate::metadata::Image;
use bytes::Bytes;
use protocol::types::TopicId;

/// What a heartbeat's member is to the group.
enum Standing {
    Known,
    New,
    /// A static member that was away comes back under another id.
    Replaces(Name),
}

/// Whether a heartbeat can be right at all, whatever the group.
pub(in crate::group) fn check_heartbeat(
    settings: &GroupSettings,
    beat: &ConsumerHeartbeat,
) -> Result<(), GroupError> {
    use GroupError::InvalidRequest;
    let instance_id = beat.instance_id.as_deref();
    let needs_id = beat.requires_member_id || beat.member_epoch > 0 || beat.member_epoch == LEAVE_EPOCH;
    if needs_id && beat.member_id.is_empty() {
        return Err(InvalidRequest("MemberId can't be empty."));
    }
    if beat.group.is_empty() {
        return Err(InvalidRequest("GroupId can't be empty."));
    }
    if instance_id == Some("") {
        return Err(InvalidRequest("InstanceId can't be empty."));
    }
    if beat.rack_id.as_deref() == Some("") {
        return Err(InvalidRequest("RackId can't be empty."));
    }
    match beat.member_epoch {
        0 if beat.rebalance_timeout_ms.is_none() => {
            return Err(InvalidRequest("RebalanceTimeoutMs must be provided in first request."));
        }
        0 if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return Err(InvalidRequest("TopicPartitions must be empty when (re-)joining."));
        }
        0 if beat.topics.is_none() && beat.expression.is_none() => {
            return Err(InvalidRequest(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            ));
        }
        AWAY_EPOCH if instance_id.is_none() => return Err(InvalidRequest("InstanceId can't be null.")),
        epoch if epoch < AWAY_EPOCH => return Err(InvalidRequest("MemberEpoch is invalid.")),
        _ => {}
    }
    let is_offered = |name: &str| settings.consumer_assignors.iter().any(|assignor| assignor.name() == name);
    if beat.assignor.as_deref().is_some_and(|assignor| !is_offered(assignor)) {
        return Err(GroupError::UnsupportedAssignor);
    }
    let rack_id = beat.rack_id.as_deref().unwrap_or("");
    let texts = [&*beat.group, &*beat.member_id, instance_id.unwrap_or(""), rack_id, &*beat.client_id];
    let topics = beat.topics.iter().flatten().map(|topic| &**topic);
    if texts.into_iter().chain(topics).any(|text| text.len() > GROUP_TEXT_BYTES_MAX) {
        return Err(InvalidRequest("a name is longer than 32767 bytes"));
    }
    let expression = beat.expression.as_deref().unwrap_or("");
    if expression.len() > GROUP_EXPRESSION_BYTES_MAX {
        return Err(GroupError::InvalidRegularExpression);
    }
    Ok(())
}

impl ConsumerGroup {
    /// Whether the group takes the heartbeat; if not, nothing has changed.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::group) fn check(
        &self,
        settings: &GroupSettings,
        beat: &ConsumerHeartbeat,
    ) -> Result<(), GroupError> {
        if beat.member_epoch < 0 {
            return self.check_leave(beat);
        }
        if self.has_no_room_for(settings, beat) {
            return Err(GroupError::GroupFull);
        }
        self.standing(beat)?;
        let expression = beat.expression.as_deref().filter(|expression| !expression.is_empty());
        if let Some(expression) = expression
            && !self.expressions.contains_key(expression)
        {
            compile(expression)?;
        }
        self.check_record(settings, &beat.member_id, self.wants(beat))
    }

    /// Whether what a member wants fits into a record.
    pub(super) fn check_record(
        &self,
        settings: &GroupSettings,
        id: &str,
        wants: Wants,
    ) -> Result<(), GroupError> {
        let record = Change::Member(Name::default(), Some(wants)).record(&self.id);
        let bytes = record.map_or(usize::MAX, |record| record.value.as_ref().map_or(0, Bytes::len));
        let spare_bytes = self.id.len() + id.len() + 64;
        let fits = bytes.saturating_add(spare_bytes) <= settings.record_bytes_max;
        if fits { Ok(()) } else { Err(GroupError::RecordTooLarge) }
    }

    /// Deals with a heartbeat that was checked.
    ///
    /// # Errors
    /// [`GroupError::RecordTooLarge`] where the target assignment does not fit; what the member wants is remembered.
    pub(in crate::group) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, GroupError> {
        if beat.member_epoch < 0 {
            return Ok(self.leave(turn, beat));
        }
        let id = member_id(beat);
        if let Standing::Replaces(away) = self.standing(beat).expect("it was checked") {
            self.replace_static(turn, &away, &id);
        }
        let before = self.members.get(&id).map(|member| member.current.assigned.clone());
        let wants = self.wants(beat);
        self.update_member(turn, &id, wants, beat.owned.as_ref())?;
        let current = &self.members[&id].current;
        let is_full = beat.rebalance_timeout_ms.is_some()
            && (beat.topics.is_some() || beat.expression.is_some())
            && beat.owned.is_some();
        let has_changed = before.is_none_or(|before| before != current.assigned);
        Ok(ConsumerBeat {
            member_id: id.clone(),
            member_epoch: current.epoch,
            heartbeat_interval_ms: turn.consumer_config(&self.id).heartbeat_interval_ms,
            assignment: (beat.member_epoch == 0 || is_full || has_changed).then(|| told(&current.assigned)),
        })
    }

    /// Takes over what a member wants, and takes it a step nearer to its target.
    ///
    /// # Errors
    /// [`GroupError::RecordTooLarge`] where the target assignment does not fit; what the member wants is remembered.
    pub(super) fn update_member(
        &mut self,
        turn: &mut Turn<'_>,
        id: &Name,
        wants: Wants,
        owned: Option<&Partitions>,
    ) -> Result<(), GroupError> {
        let before = self.members.get(id).map(|member| &member.wants);
        let assignor = self.assignor(turn.settings);
        let subscription_changed = before.is_none_or(|before| {
            before.topics != wants.topics || before.expression_used() != wants.expression_used()
        });
        let was_classic = before.is_some_and(|before| before.classic.is_some());
        let has_changed = before != Some(&wants);
        if was_classic && wants.classic.is_none() {
            self.stop_awaiting(turn, id, Awaited::Join);
            self.stop_awaiting(turn, id, Awaited::Sync);
        }
        if has_changed {
            self.change(turn, Change::Member(id.clone(), Some(wants)));
        }
        self.refresh_expressions(turn);
        self.refresh_epoch(turn, subscription_changed || self.assignor(turn.settings) != assignor);
        self.heard_of(turn, id);
        self.refresh_target(turn)?;
        self.reconcile(turn, id, subscription_changed, owned);
        Ok(())
    }

    fn has_no_room_for(&self, settings: &GroupSettings, beat: &ConsumerHeartbeat) -> bool {
        let is_back = |name: &Name| self.static_members.contains_key(name);
        let is_known =
            self.members.contains_key(&beat.member_id) || beat.instance_id.as_ref().is_some_and(is_back);
        !is_known && self.members.len() >= settings.consumer_members_max
    }

    fn standing(&self, beat: &ConsumerHeartbeat) -> Result<Standing, GroupError> {
        let joins = beat.member_epoch == 0;
        let known = match &beat.instance_id {
            None => self.members.get_key_value(&beat.member_id),
            Some(instance_id) => {
                let id = self.static_members.get(instance_id);
                id.and_then(|id| self.members.get_key_value(id))
            }
        };
        let Some((id, member)) = known else {
            return if joins { Ok(Standing::New) } else { Err(GroupError::UnknownMember) };
        };
        if *id != beat.member_id {
            // One that speaks the classic protocol can't say that it is away.
            let is_released = member.current.epoch == AWAY_EPOCH || member.wants.classic.is_some();
            return match (joins, is_released) {
                (true, true) => Ok(Standing::Replaces(id.clone())),
                (true, false) => Err(GroupError::UnreleasedInstance),
                (false, _) => Err(GroupError::FencedInstance),
            };
        }
        // The answer that told the newer epoch may have been lost: the member then still has what it had, or less.
        let current = &member.current;
        let may_have_missed = beat.member_epoch == current.previous_epoch
            && beat.member_epoch < current.epoch
            && beat.owned.as_ref().is_some_and(|owned| is_within(owned, &current.assigned));
        let is_right = joins || beat.member_epoch == current.epoch || may_have_missed;
        if is_right { Ok(Standing::Known) } else { Err(GroupError::FencedMemberEpoch) }
    }

    /// What the member wants with this heartbeat: what it wanted, and what it says anew.
    fn wants(&self, beat: &ConsumerHeartbeat) -> Wants {
        let by_name = beat.instance_id.as_ref().and_then(|name| self.static_members.get(name));
        let known = self.members.get(by_name.unwrap_or(&beat.member_id));
        let mut wants = known.map(|member| member.wants.clone()).unwrap_or_default();
        let told = |told: &Option<Name>, kept: &mut Option<Name>| {
            if told.is_some() {
                kept.clone_from(told);
            }
        };
        told(&beat.instance_id, &mut wants.instance_id);
        told(&beat.rack_id, &mut wants.rack_id);
        told(&beat.assignor, &mut wants.assignor);
        told(&beat.expression, &mut wants.expression);
        if let Some(topics) = &beat.topics {
            wants.topics = topics.iter().cloned().collect();
        }
        wants.rebalance_timeout_ms = beat.rebalance_timeout_ms.unwrap_or(wants.rebalance_timeout_ms);
        wants.client_id = beat.client_id.clone();
        wants.client_host = beat.client_host.clone();
        wants.classic = None;
        wants
    }

    pub(super) fn replace_static(&mut self, turn: &mut Turn<'_>, away: &Name, id: &Name) {
        self.stop_timers(turn, away);
        let member = self.members[away].clone();
        let target = self.target.get(away).cloned().unwrap_or_default();
        self.remove_member(turn, away);
        self.change(turn, Change::Member(id.clone(), Some(member.wants)));
        self.change(turn, Change::TargetOfMember(id.clone(), Some(target)));
        let current = Current { epoch: 0, previous_epoch: 0, ..member.current };
        self.change(turn, Change::Current(id.clone(), Some(current)));
    }

    fn remove_member(&mut self, turn: &mut Turn<'_>, id: &Name) {
        self.change(turn, Change::Current(id.clone(), None));
        self.change(turn, Change::TargetOfMember(id.clone(), None));
        self.change(turn, Change::Member(id.clone(), None));
    }

    /// Takes a member one step nearer to its target.
    fn reconcile(
        &mut self,
        turn: &mut Turn<'_>,
        id: &Name,
        subscription_changed: bool,
        owned: Option<&Partitions>,
    ) {
        let member = &self.members[id];
        let current = &member.current;
        let has_all = current.state == MemberState::Stable && current.epoch == self.target_epoch;
        if has_all && !subscription_changed {
            return;
        }
        let nothing = Partitions::new();
        let step = Step {
            member,
            target_epoch: self.target_epoch,
            target: self.target.get(id).unwrap_or(&nothing),
            subscribed: &self.subscribed(&member.wants, turn.image),
            subscription_changed,
            owned,
            is_free: &|topic, partition| self.owners.get(&(topic, partition)).is_none_or(|owner| owner == id),
        };
        let Some(next) = step.next() else { return };
        let is_revoking = next.state == MemberState::Revoking;
        self.change(turn, Change::Current(id.clone(), Some(next)));
        if is_revoking {
            self.await_for_rebalance(turn, id, Awaited::Revocation);
        } else {
            self.stop_awaiting(turn, id, Awaited::Revocation);
        }
    }

    fn check_leave(&self, beat: &ConsumerHeartbeat) -> Result<(), GroupError> {
        match &beat.instance_id {
            None if self.members.contains_key(&beat.member_id) => Ok(()),
            None => Err(GroupError::UnknownMember),
            Some(instance_id) => match self.static_members.get(instance_id) {
                None => Err(GroupError::UnknownMember),
                Some(id) if *id != beat.member_id => Err(GroupError::FencedInstance),
                Some(_) => Ok(()),
            },
        }
    }

    fn leave(&mut self, turn: &mut Turn<'_>, beat: &ConsumerHeartbeat) -> ConsumerBeat {
        let id = &beat.member_id;
        if beat.member_epoch == AWAY_EPOCH {
            // It will be back within its session, so what it owns is kept for it.
            self.stop_awaiting(turn, id, Awaited::Revocation);
            let current = self.members[id].current.clone();
            let current = Current { epoch: AWAY_EPOCH, revoking: Owned::new(), ..current };
            self.change(turn, Change::Current(id.clone(), Some(current)));
        } else {
            self.fence(turn, std::slice::from_ref(id));
        }
        ConsumerBeat {
            member_id: id.clone(),
            member_epoch: beat.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        }
    }

    /// Removes members: what they own is free at once.
    pub(super) fn fence(&mut self, turn: &mut Turn<'_>, ids: &[Name]) {
        for id in ids {
            self.stop_timers(turn, id);
            self.remove_member(turn, id);
        }
        self.refresh_expressions(turn);
        self.refresh_epoch(turn, true);
    }

    /// LeaveGroup, which is also how administrators remove members: by id, or static ones by their own names.
    pub(in crate::group) fn leave_by_name(
        &mut self,
        turn: &mut Turn<'_>,
        members: &[MemberName],
    ) -> Vec<Result<(), GroupError>> {
        let mut leaving = Vec::new();
        let mut leave = |member: &MemberName| {
            let id = match &member.instance_id {
                None => self.members.get_key_value(&member.id).map(|(id, _)| id),
                Some(instance_id) => self.static_members.get(instance_id),
            };
            let id = id.ok_or(GroupError::UnknownMember)?;
            if !member.id.is_empty() && *id != member.id {
                return Err(GroupError::FencedInstance);
            }
            if !leaving.contains(id) {
                leaving.push(id.clone());
            }
            Ok(())
        };
        let outcomes = members.iter().map(&mut leave).collect();
        if !leaving.is_empty() {
            self.fence(turn, &leaving);
        }
        outcomes
    }

    /// Whether a member, or somebody outside of the group, may commit these offsets.
    pub(in crate::group) fn check_commit(
        &self,
        image: &Image,
        member: &MemberName,
        epoch: i32,
        terms: CommitTerms,
        topics: &[CommitTopic],
    ) -> Result<(), GroupError> {
        let is_transactional = terms == CommitTerms::Transactional;
        let is_nobody = epoch < 0 && member.id.is_empty() && member.instance_id.is_none();
        if (epoch < 0 && self.members.is_empty()) || (is_transactional && is_nobody) {
            return Ok(());
        }
        let known = self.members.get(&member.id).ok_or(GroupError::UnknownMember)?;
        if known.wants.classic.is_none() && terms == CommitTerms::Generation {
            return Err(GroupError::StaleMemberEpoch);
        }
        let current = &known.current;
        // A member that has not heard of its newest epoch may commit what it had before already.
        let had_before = |topic: &CommitTopic| {
            let named = image.topic(&topic.topic).map(|topic| topic.id);
            let id = if topic.topic_id == TopicId::ZERO { named } else { Some(topic.topic_id) };
            let assigned = id.and_then(|id| current.assigned.get(&id));
            topic.partitions.iter().all(|asked| {
                let since = assigned.and_then(|assigned| assigned.get(&asked.partition));
                since.is_some_and(|since| *since <= epoch)
            })
        };
        let is_right = epoch == current.epoch
            || (known.wants.classic.is_none() && epoch < current.epoch && topics.iter().all(had_before));
        if is_right { Ok(()) } else { Err(known.wants.wrong_epoch()) }
    }

    /// Whether a member may fetch offsets.
    pub(in crate::group) fn check_fetch(&self, id: &str, epoch: i32) -> Result<(), GroupError> {
        let member = self.members.get(id).ok_or(GroupError::UnknownMember)?;
        if member.current.epoch == epoch { Ok(()) } else { Err(member.wants.wrong_epoch()) }
    }
}

impl Wants {
    /// What a member is told that names another epoch than its own: to the classic protocol it is a generation.
    fn wrong_epoch(&self) -> GroupError {
        if self.classic.is_some() { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
    }
}

/// The member's id: its own choice, or a fresh one in versions that leave it to the coordinator.
fn member_id(beat: &ConsumerHeartbeat) -> Name {
    if beat.member_id.is_empty() { format!("{:032x}", beat.fresh_id).into() } else { beat.member_id.clone() }
}

/// Whether everything is among what is owned.
fn is_within(told: &Partitions, owned: &Owned) -> bool {
    told.iter().all(|(topic, partitions)| {
        let owned = owned.get(topic);
        partitions.iter().all(|partition| owned.is_some_and(|owned| owned.contains_key(partition)))
    })
}

fn told(owned: &Owned) -> Vec<OwnedTopic> {
    let told = owned.iter().map(|(topic_id, partitions)| OwnedTopic {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
    });
    told.collect()
}

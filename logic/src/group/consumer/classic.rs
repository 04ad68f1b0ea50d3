//! Members of the classic protocol in a consumer group: what a join, a sync and a heartbeat of theirs do.
//!
//! To such a member the group looks like a classic one that somebody else leads: its generation is the member's epoch,
//! and its assignor the first one of its own.

use super::{Awaited, ConsumerGroup, MemberState, Name, Partitions, SaidClassic, Wants};
use crate::group::classic::{CONSUMER_PROTOCOL_TYPE, fresh_member_id, protocols_of};
use crate::group::request::{Heartbeat, Join, MemberName, Sync, Ticket};
use crate::group::turn::Turn;
use crate::group::{GroupError, JoinRefused, Joined, Reply, Synced};
use crate::metadata::Image;
use bytes::Bytes;
use protocol::coordinator::embedded::{Assignment, Subscription, TopicPartitions};

/// What a member says when it joins, as a consumer group understands it.
struct Told {
    wants: Wants,
    owned: Partitions,
}

impl ConsumerGroup {
    /// A member joins by the classic protocol. It is answered at once, with its own epoch as the generation.
    pub(in crate::group) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        let id = if join.member_id.is_empty() { fresh_member_id(join) } else { join.member_id.clone() };
        match self.try_join(turn, join, &id) {
            Ok(joined) => turn.answer_committed(ticket, Reply::Join(Ok(Box::new(joined)))),
            Err(error) => {
                let member_id = match error {
                    GroupError::MemberIdRequired => id,
                    GroupError::GroupFull => Name::default(),
                    _ => join.member_id.clone(),
                };
                turn.answer_committed(ticket, Reply::Join(Err(JoinRefused { member_id, error })));
            }
        }
    }

    fn try_join(&mut self, turn: &mut Turn<'_>, join: &Join, id: &Name) -> Result<Joined, GroupError> {
        let is_new = join.member_id.is_empty();
        let former = join.instance_id.as_ref().and_then(|name| self.static_members.get(name)).cloned();
        let is_known = former.is_some() || self.members.contains_key(id);
        if !is_known && self.members.len() >= turn.settings.consumer_members_max {
            return Err(GroupError::GroupFull);
        }
        if !self.accepts_protocols(join, former.as_ref().unwrap_or(id)) {
            return Err(GroupError::InconsistentProtocol);
        }
        if is_new && join.instance_id.is_none() && join.requires_member_id {
            return Err(GroupError::MemberIdRequired);
        }
        match &former {
            None if join.instance_id.is_some() && !is_new => return Err(GroupError::UnknownMember),
            Some(former) if !is_new && former != id => return Err(GroupError::FencedInstance),
            _ => {}
        }
        let told = self.told(turn.image, join, former.as_ref().unwrap_or(id))?;
        self.check_record(turn.settings, id, told.wants.clone())?;
        if let Some(former) = former.filter(|former| former != id) {
            self.replace_static(turn, &former, id);
        }
        self.stop_awaiting(turn, id, Awaited::Join);
        self.update_member(turn, id, told.wants, Some(&told.owned))?;
        self.await_for_rebalance(turn, id, Awaited::Sync);
        let member = &self.members[id];
        Ok(Joined {
            member_id: id.clone(),
            generation: member.current.epoch,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.into()),
            protocol_name: member.wants.classic_assignor().cloned(),
            leader: Name::default(),
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    /// Whether the member that joins, known as `id` so far, shares an assignor with all others of the classic protocol:
    /// they may have to be a classic group again.
    fn accepts_protocols(&self, join: &Join, id: &Name) -> bool {
        let others = self.members.iter().filter(|(other, _)| *other != id);
        let others: Vec<&SaidClassic> =
            others.filter_map(|(_, member)| member.wants.classic.as_ref()).collect();
        let is_shared = |name: &Name| others.iter().all(|said| said.supports(name));
        *join.protocol_type == *CONSUMER_PROTOCOL_TYPE
            && join.protocols.iter().any(|protocol| is_shared(&protocol.name))
    }

    /// What the member wants from now on and owns, by the subscription for the first of its assignors.
    fn told(&self, image: &Image, join: &Join, id: &Name) -> Result<Told, GroupError> {
        let protocols = protocols_of(join);
        let (_, metadata) = protocols.first().ok_or(GroupError::InconsistentProtocol)?;
        let (_, subscription) =
            Subscription::decode(metadata).map_err(|_| GroupError::InconsistentProtocol)?;
        let known = self.members.get(id).map(|member| member.wants.clone()).unwrap_or_default();
        let wants = Wants {
            instance_id: join.instance_id.clone(),
            rack_id: subscription.rack_id.map(Name::from),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            topics: subscription.topics.iter().map(|topic| Name::from(*topic)).collect(),
            expression: None,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            assignor: known.assignor,
            classic: Some(SaidClassic {
                session_timeout_ms: join.session_timeout_ms,
                protocols: protocols.clone(),
            }),
        };
        Ok(Told { wants, owned: by_id(image, &subscription.owned_partitions) })
    }

    /// A member of the classic protocol asks for its assignment.
    pub(in crate::group) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, sync: &Sync) {
        let id = &sync.member.id;
        if let Err(error) = self.check_sync(sync) {
            if error == GroupError::RebalanceInProgress {
                self.await_join(turn, id);
            }
            return turn.answer(ticket, Reply::Sync(Err(error)));
        }
        self.stop_awaiting(turn, id, Awaited::Sync);
        self.heard_of(turn, id);
        let synced = Synced {
            protocol_type: sync.protocol_type.clone(),
            protocol_name: sync.protocol_name.clone(),
            assignment: self.classic_assignment(turn.image, id),
        };
        turn.answer_committed(ticket, Reply::Sync(Ok(synced)));
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_classic_member(&sync.member, sync.generation)?;
        let member = &self.members[&sync.member.id];
        let assignor = member.wants.classic_assignor();
        let is_other_type = sync.protocol_type.as_deref().is_some_and(|kind| kind != CONSUMER_PROTOCOL_TYPE);
        if is_other_type || (sync.protocol_name.is_some() && sync.protocol_name.as_ref() != assignor) {
            return Err(GroupError::InconsistentProtocol);
        }
        // One that has to give back first joins again when it has, and is then told of the newer epoch.
        let is_behind = member.current.epoch < self.epoch && member.current.state != MemberState::Revoking;
        if is_behind { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member of the classic protocol is alive.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInProgress`] where it has to join again, to come nearer to its target.
    pub(in crate::group) fn classic_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Heartbeat,
    ) -> Result<(), GroupError> {
        let id = &beat.member.id;
        self.check_classic_member(&beat.member, beat.generation)?;
        self.heard_of(turn, id);
        let current = &self.members[id].current;
        let has_to_join = current.epoch < self.epoch
            || match current.state {
                MemberState::Stable => false,
                MemberState::Revoking => true,
                MemberState::Releasing => self.is_target_free(id),
            };
        if !has_to_join {
            return Ok(());
        }
        self.await_join(turn, id);
        Err(GroupError::RebalanceInProgress)
    }

    /// The member was told to join again: from then on it has as long as a rebalance takes.
    fn await_join(&mut self, turn: &mut Turn<'_>, id: &Name) {
        if !self.awaited.contains_key(&(id.clone(), Awaited::Join)) {
            self.await_for_rebalance(turn, id, Awaited::Join);
        }
    }

    /// Whether nobody else owns any of what the member is to own.
    fn is_target_free(&self, id: &Name) -> bool {
        let places = self.target.get(id).into_iter().flatten();
        let mut places = places.flat_map(|(topic, list)| list.iter().map(|partition| (*topic, *partition)));
        places.all(|place| self.owners.get(&place).is_none_or(|owner| owner == id))
    }

    fn check_classic_member(&self, member: &MemberName, generation: i32) -> Result<(), GroupError> {
        if let Some(instance_id) = &member.instance_id {
            let id = self.static_members.get(instance_id).ok_or(GroupError::UnknownMember)?;
            if *id != member.id {
                return Err(GroupError::FencedInstance);
            }
        }
        let known = self.members.get(&member.id).ok_or(GroupError::UnknownMember)?;
        if known.wants.classic.is_none() {
            return Err(GroupError::UnknownMember);
        }
        if known.current.epoch == generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    fn classic_assignment(&self, image: &Image, id: &Name) -> Bytes {
        let member = &self.members[id];
        let assigned = member.current.assigned.iter();
        let partitions = assigned.map(|(topic, list)| (*topic, list.keys().copied().collect())).collect();
        let said = member.wants.classic.as_ref().expect("it speaks the classic protocol");
        encode_assignment(image, &partitions, said)
    }
}

/// An assignment as a member of the classic protocol reads it, in the version of its own subscription. Topics that are
/// gone are left out.
pub(super) fn encode_assignment(image: &Image, partitions: &Partitions, said: &SaidClassic) -> Bytes {
    let named = partitions.iter().filter_map(|(id, list)| Some((image.topic_by_id(*id)?, list)));
    let assigned_partitions = named.map(|(topic, list)| TopicPartitions {
        topic: &topic.name,
        partitions: list.iter().copied().collect(),
    });
    let assignment = Assignment { assigned_partitions: assigned_partitions.collect(), user_data: None };
    let subscription = said.protocols.first().map(|(_, metadata)| Subscription::decode(metadata));
    let version = subscription.and_then(Result::ok).map_or(0, |(version, _)| version);
    assignment.encode(version).expect("a topic's name is short")
}

/// Partitions by their topics' ids; those of topics that are gone are left out.
pub(super) fn by_id(image: &Image, told: &[TopicPartitions<'_>]) -> Partitions {
    let mut partitions = Partitions::new();
    for told in told {
        if let Some(topic) = image.topic(told.topic) {
            partitions.entry(topic.id).or_default().extend(told.partitions.iter().copied());
        }
    }
    partitions
}

impl SaidClassic {
    pub(super) fn supports(&self, assignor: &Name) -> bool {
        self.protocols.iter().any(|(name, _)| name == assignor)
    }
}

impl Wants {
    /// The assignor that a member of the classic protocol is told.
    fn classic_assignor(&self) -> Option<&Name> {
        self.classic.as_ref().and_then(|said| said.protocols.first()).map(|(name, _)| name)
    }
}

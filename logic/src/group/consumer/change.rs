//! Every change of a consumer group: what it does here, and how it stands in the log.

use super::{
    ConsumerGroup, Current, Member, MemberState, Name, Owned, Partitions, Resolved, SaidClassic, Wants,
};
use crate::group::{Record, ReplayError};
use bytes::Bytes;
use protocol::coordinator::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
    CurrentTopicPartitions, Key, TargetTopicPartitions, Value,
};
use protocol::types::Timestamp;
use protocol::wire::EncodeError;

/// A change; none means that what it is about is gone.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::group) enum Change {
    /// The group's epoch, and what the topics looked like. Without: the group is gone.
    Epoch(Option<(i32, i64)>),
    /// What a member wants.
    Member(Name, Option<Wants>),
    /// The epoch of the target assignment.
    Target(Option<i32>),
    /// What a member is to own in the end.
    TargetOfMember(Name, Option<Partitions>),
    /// What a member owns.
    Current(Name, Option<Current>),
    /// The topics that match an expression.
    Expression(Name, Option<Resolved>),
}

/// Every value has one version so far.
const VERSION: i16 = 0;

impl Change {
    /// Whether something is gone.
    pub(in crate::group) const fn is_removal(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(value) => value.is_none(),
            Self::TargetOfMember(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Expression(_, value) => value.is_none(),
        }
    }

    /// The change as a record.
    ///
    /// # Errors
    /// [`EncodeError`] where a name is longer than a record can say.
    pub(super) fn record(&self, group: &str) -> Result<Record, EncodeError> {
        let (key, value) = match self {
            Self::Epoch(value) => (Key::ConsumerGroup { group }, value.map(epoch_value).transpose()?),
            Self::Member(member, value) => {
                (Key::ConsumerMember { group, member }, value.as_ref().map(wants_value).transpose()?)
            }
            Self::Target(value) => (Key::ConsumerTarget { group }, value.map(target_value).transpose()?),
            Self::TargetOfMember(member, value) => {
                let value = value.as_ref().map(target_member_value).transpose()?;
                (Key::ConsumerTargetMember { group, member }, value)
            }
            Self::Current(member, value) => {
                (Key::ConsumerCurrentMember { group, member }, value.as_ref().map(current_value).transpose()?)
            }
            Self::Expression(expression, value) => {
                let value = value.as_ref().map(resolved_value).transpose()?;
                (Key::ConsumerRegularExpression { group, expression }, value)
            }
        };
        Ok(Record { key: key.encode()?, value })
    }

    /// The group and the change that a record tells of; none if it is about something else.
    ///
    /// # Errors
    /// [`ReplayError`] where the value can't be read.
    pub(in crate::group) fn of_record<'a>(
        key: &Key<'a>,
        value: Option<&[u8]>,
    ) -> Result<Option<(&'a str, Self)>, ReplayError> {
        Ok(Some(match *key {
            Key::ConsumerGroup { group } => {
                let value = value.map(ConsumerGroupMetadataValue::decode).transpose()?;
                (group, Self::Epoch(value.map(|value| (value.epoch, value.metadata_hash))))
            }
            Key::ConsumerMember { group, member } => {
                let value = value.map(ConsumerGroupMemberMetadataValue::decode).transpose()?;
                (group, Self::Member(member.into(), value.as_ref().map(wants_of)))
            }
            Key::ConsumerTarget { group } => {
                let value = value.map(ConsumerGroupTargetAssignmentMetadataValue::decode).transpose()?;
                (group, Self::Target(value.map(|value| value.assignment_epoch)))
            }
            Key::ConsumerTargetMember { group, member } => {
                let value = value.map(ConsumerGroupTargetAssignmentMemberValue::decode).transpose()?;
                (group, Self::TargetOfMember(member.into(), value.as_ref().map(target_of)))
            }
            Key::ConsumerCurrentMember { group, member } => {
                let value = value.map(ConsumerGroupCurrentMemberAssignmentValue::decode).transpose()?;
                (group, Self::Current(member.into(), value.as_ref().map(current_of)))
            }
            Key::ConsumerRegularExpression { group, expression } => {
                let value = value.map(ConsumerGroupRegularExpressionValue::decode).transpose()?;
                (group, Self::Expression(expression.into(), value.as_ref().map(resolved_of)))
            }
            Key::Offset { .. } | Key::ClassicGroup { .. } | Key::Unknown(_) => return Ok(None),
        }))
    }
}

fn epoch_value((epoch, metadata_hash): (i32, i64)) -> Result<Bytes, EncodeError> {
    ConsumerGroupMetadataValue { epoch, metadata_hash }.encode(VERSION)
}

fn wants_value(wants: &Wants) -> Result<Bytes, EncodeError> {
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: wants.instance_id.as_deref(),
        rack_id: wants.rack_id.as_deref(),
        client_id: &wants.client_id,
        client_host: &wants.client_host,
        subscribed_topic_names: wants.topics.iter().map(|topic| &**topic).collect(),
        subscribed_topic_regex: wants.expression.as_deref(),
        rebalance_timeout_ms: wants.rebalance_timeout_ms,
        server_assignor: wants.assignor.as_deref(),
        classic_member_metadata: wants.classic.as_ref().map(classic_value),
    };
    value.encode(VERSION)
}

fn wants_of(value: &ConsumerGroupMemberMetadataValue<'_>) -> Wants {
    Wants {
        instance_id: value.instance_id.map(Name::from),
        rack_id: value.rack_id.map(Name::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        topics: value.subscribed_topic_names.iter().map(|topic| Name::from(*topic)).collect(),
        expression: value.subscribed_topic_regex.map(Name::from),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.map(Name::from),
        classic: value.classic_member_metadata.as_ref().map(classic_of),
    }
}

fn classic_value(said: &SaidClassic) -> ClassicMemberMetadata<'_> {
    let protocols = said.protocols.iter().map(|(name, metadata)| ClassicProtocol { name, metadata });
    ClassicMemberMetadata {
        session_timeout_ms: said.session_timeout_ms,
        supported_protocols: protocols.collect(),
    }
}

fn classic_of(value: &ClassicMemberMetadata<'_>) -> SaidClassic {
    let protocols = value.supported_protocols.iter();
    SaidClassic {
        session_timeout_ms: value.session_timeout_ms,
        protocols: protocols
            .map(|protocol| (protocol.name.into(), Bytes::copy_from_slice(protocol.metadata)))
            .collect(),
    }
}

fn target_value(assignment_epoch: i32) -> Result<Bytes, EncodeError> {
    ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp: Timestamp(0) }
        .encode(VERSION)
}

pub(super) fn target_member_value(target: &Partitions) -> Result<Bytes, EncodeError> {
    let topic_partitions = target.iter().map(|(topic_id, partitions)| TargetTopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topic_partitions.collect() }.encode(VERSION)
}

fn target_of(value: &ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    let told = value.topic_partitions.iter();
    told.map(|told| (told.topic_id, told.partitions.iter().copied().collect())).collect()
}

fn current_value(current: &Current) -> Result<Bytes, EncodeError> {
    let told = |owned: &Owned| -> Vec<CurrentTopicPartitions> {
        let told = owned.iter().map(|(topic_id, partitions)| CurrentTopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
        told.collect()
    };
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.state.number(),
        assigned_partitions: told(&current.assigned),
        partitions_pending_revocation: told(&current.revoking),
    };
    value.encode(VERSION)
}

fn current_of(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    let owned = |told: &[CurrentTopicPartitions]| -> Owned {
        let owned = told.iter().map(|told| {
            // Kafka before 4.3 does not tell in which epoch a partition was assigned: then the member's own counts.
            let epochs = told.assignment_epochs.as_deref().unwrap_or(&[]);
            let epoch = |index: usize| epochs.get(index).copied().unwrap_or(value.member_epoch);
            let partitions = told.partitions.iter().enumerate();
            (told.topic_id, partitions.map(|(index, partition)| (*partition, epoch(index))).collect())
        });
        owned.collect()
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::of_number(value.state),
        assigned: owned(&value.assigned_partitions),
        revoking: owned(&value.partitions_pending_revocation),
    }
}

fn resolved_value(resolved: &Resolved) -> Result<Bytes, EncodeError> {
    let topics = resolved.topics.iter().map(|topic| &**topic).collect();
    ConsumerGroupRegularExpressionValue { topics, version: resolved.version, timestamp: resolved.at }
        .encode(VERSION)
}

fn resolved_of(value: &ConsumerGroupRegularExpressionValue<'_>) -> Resolved {
    Resolved {
        topics: value.topics.iter().map(|topic| Name::from(*topic)).collect(),
        version: value.version,
        at: value.timestamp,
    }
}

impl MemberState {
    const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Revoking => 1,
            Self::Releasing => 2,
        }
    }

    /// A state of later Kafka counts as one in which the member goes on towards its target.
    const fn of_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Revoking,
            _ => Self::Releasing,
        }
    }
}

impl ConsumerGroup {
    /// What a change does here: live and in replay.
    pub(in crate::group) fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(value) => {
                if let Some((epoch, topics_hash)) = value {
                    self.epoch = epoch;
                    self.topics_hash = topics_hash;
                }
            }
            Change::Member(id, Some(wants)) => self.apply_wants(id, wants),
            Change::Member(id, None) => self.apply_departure(&id),
            Change::Target(epoch) => self.target_epoch = epoch.unwrap_or(0),
            Change::TargetOfMember(id, Some(target)) => {
                self.target.insert(id, target);
            }
            Change::TargetOfMember(id, None) => {
                self.target.remove(&id);
            }
            // In a compacted log what a member owns may stand before what it wants.
            Change::Current(id, Some(current)) => self.apply_current(&id, current),
            Change::Current(id, None) => {
                if self.members.contains_key(&id) {
                    self.apply_current(&id, Current::default());
                }
            }
            Change::Expression(expression, Some(resolved)) => {
                self.expressions.insert(expression, resolved);
            }
            Change::Expression(expression, None) => {
                self.expressions.remove(&expression);
            }
        }
    }

    fn apply_wants(&mut self, id: Name, wants: Wants) {
        self.ensure_member(&id);
        let member = self.members.get_mut(&id).expect("it was ensured");
        self.memory_bytes -= member.memory_bytes();
        if let Some(before) = member.wants.instance_id.take() {
            self.static_members.remove(&before);
        }
        if let Some(instance_id) = &wants.instance_id {
            self.static_members.insert(instance_id.clone(), id);
        }
        member.wants = wants;
        self.memory_bytes += member.memory_bytes();
    }

    fn ensure_member(&mut self, id: &Name) {
        if !self.members.contains_key(id) {
            let member = Member::default();
            self.memory_bytes += member.memory_bytes();
            self.members.insert(id.clone(), member);
        }
    }

    fn apply_departure(&mut self, id: &Name) {
        let Some(member) = self.members.get(id) else { return };
        if let Some(instance_id) = &member.wants.instance_id
            && self.static_members.get(instance_id) == Some(id)
        {
            self.static_members.remove(instance_id);
        }
        self.apply_current(id, Current::default());
        let member = self.members.remove(id).expect("it was just there");
        self.memory_bytes -= member.memory_bytes();
    }

    fn apply_current(&mut self, id: &Name, current: Current) {
        self.ensure_member(id);
        let member = self.members.get_mut(id).expect("it was ensured");
        self.memory_bytes -= member.memory_bytes();
        let before = std::mem::replace(&mut member.current, current);
        self.memory_bytes += member.memory_bytes();
        for place in places(&before) {
            if self.owners.get(&place) == Some(id) {
                self.owners.remove(&place);
            }
        }
        for place in places(&self.members[id].current) {
            self.owners.insert(place, id.clone());
        }
    }
}

/// All that a member owns.
fn places(
    current: &Current,
) -> impl Iterator<Item = (protocol::types::TopicId, protocol::types::PartitionIndex)> {
    let owned = current.assigned.iter().chain(&current.revoking);
    owned.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}

impl ConsumerGroup {
    /// The changes that take the group out of the log.
    pub(in crate::group) fn tombstones(&self) -> Vec<Record> {
        let members = || self.members.keys().cloned();
        let mut changes: Vec<Change> = members().map(|id| Change::Current(id, None)).collect();
        changes.extend(self.target.keys().cloned().map(|id| Change::TargetOfMember(id, None)));
        changes.push(Change::Target(None));
        changes.extend(members().map(|id| Change::Member(id, None)));
        changes.extend(self.expressions.keys().cloned().map(|name| Change::Expression(name, None)));
        changes.push(Change::Epoch(None));
        let written = changes.iter().map(|change| change.record(&self.id));
        written.map(|record| record.expect("what was written once can be written again")).collect()
    }

    /// The members by id, with what they own: for tests that compare groups.
    #[cfg(test)]
    pub(in crate::group) fn picture(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let members: Vec<(Name, Member)> =
            self.members.iter().map(|(id, member)| (id.clone(), member.clone())).collect();
        let epochs = (self.epoch, self.topics_hash, self.target_epoch);
        (
            epochs,
            members,
            self.target.clone(),
            self.owners.clone(),
            self.expressions.clone(),
            self.memory_bytes,
        )
    }
}

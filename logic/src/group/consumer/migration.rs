//! A consumer group that takes over the members of a classic one, or hands its own over to one.

use super::classic::{by_id, encode_assignment};
use super::{Change, ConsumerGroup, Current, MemberState, Name, Partitions, SaidClassic, Wants};
use crate::group::Record;
use crate::group::migration::Moving;
use crate::metadata::Image;
use protocol::coordinator::embedded::{Assignment, Subscription};
use std::collections::BTreeSet;

impl ConsumerGroup {
    /// The group that a classic one becomes, and the records that say so; none if somebody's subscription or assignment
    /// can't be read, or two own the same.
    pub(in crate::group) fn of_classic(
        image: &Image,
        id: &Name,
        generation: i32,
        members: Vec<Moving>,
    ) -> Option<(Self, Vec<Record>)> {
        let mut taken = BTreeSet::new();
        let mut arrivals: Vec<(Name, Wants, Partitions)> = Vec::with_capacity(members.len());
        for moving in members {
            let arrival = arrival(image, moving)?;
            let mut places =
                arrival.2.iter().flat_map(|(topic, list)| list.iter().map(|index| (*topic, *index)));
            if !places.all(|place| taken.insert(place)) {
                return None;
            }
            arrivals.push(arrival);
        }
        let mut group = Self::new(id.clone());
        let wants = arrivals.iter().map(|(id, wants, _)| Change::Member(id.clone(), Some(wants.clone())));
        let mut changes: Vec<Change> = wants.collect();
        changes.iter().for_each(|change| group.apply(change.clone()));
        changes.push(Change::Epoch(Some((generation, group.hash_of_topics(image)))));
        let targets = arrivals.iter().map(|(id, _, owned)| (id.clone(), Some(owned.clone())));
        changes.extend(targets.map(|(id, owned)| Change::TargetOfMember(id, owned)));
        changes.push(Change::Target(Some(generation)));
        changes.extend(arrivals.iter().map(|(id, _, owned)| {
            let assigned = owned.iter().map(|(topic, list)| {
                (*topic, list.iter().map(|partition| (*partition, generation)).collect())
            });
            let current = Current {
                epoch: generation,
                previous_epoch: generation,
                state: MemberState::Stable,
                assigned: assigned.collect(),
                revoking: Default::default(),
            };
            Change::Current(id.clone(), Some(current))
        }));
        let mut records = Vec::with_capacity(changes.len());
        for change in changes {
            records.push(change.record(id).ok()?);
            group.apply(change);
        }
        Some((group, records))
    }

    /// The group's generation and its members, if all of them speak the classic protocol, and share an assignor.
    pub(in crate::group) fn as_classic(&self, image: &Image) -> Option<(i32, Vec<Moving>)> {
        let said = self.members.values().map(|member| member.wants.classic.as_ref());
        let said: Vec<&SaidClassic> = said.collect::<Option<_>>()?;
        let (first, others) = said.split_first()?;
        let is_shared = |name: &Name| others.iter().all(|said| said.supports(name));
        if !first.protocols.iter().any(|(name, _)| is_shared(name)) {
            return None;
        }
        let nothing = Partitions::new();
        let moving = self.members.iter().zip(said).map(|((id, member), said)| Moving {
            id: id.clone(),
            instance_id: member.wants.instance_id.clone(),
            client_id: member.wants.client_id.clone(),
            client_host: member.wants.client_host.clone(),
            rebalance_timeout_ms: member.wants.rebalance_timeout_ms,
            session_timeout_ms: said.session_timeout_ms,
            protocols: said.protocols.clone(),
            assignment: encode_assignment(image, self.target.get(id).unwrap_or(&nothing), said),
        });
        // Who has come furthest finds its own generation there, and goes on with what it owns until it has joined again.
        let generation = self.members.values().map(|member| member.current.epoch).max()?;
        Some((generation.max(0), moving.collect()))
    }
}

/// What a member of a classic group wants and owns, in a consumer group's terms.
fn arrival(image: &Image, moving: Moving) -> Option<(Name, Wants, Partitions)> {
    let (_, metadata) = moving.protocols.first()?;
    let (_, subscription) = Subscription::decode(metadata).ok()?;
    let owned = if moving.assignment.is_empty() {
        Partitions::new()
    } else {
        let (_, assignment) = Assignment::decode(&moving.assignment).ok()?;
        by_id(image, &assignment.assigned_partitions)
    };
    let wants = Wants {
        instance_id: moving.instance_id,
        rack_id: subscription.rack_id.map(Name::from),
        client_id: moving.client_id,
        client_host: moving.client_host,
        topics: subscription.topics.iter().map(|topic| Name::from(*topic)).collect(),
        expression: None,
        rebalance_timeout_ms: moving.rebalance_timeout_ms,
        assignor: None,
        classic: Some(SaidClassic {
            session_timeout_ms: moving.session_timeout_ms,
            protocols: moving.protocols.clone(),
        }),
    };
    Some((moving.id, wants, owned))
}

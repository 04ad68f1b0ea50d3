//! A classic group that hands its members over to a consumer group, or takes those of one over.

use super::{ClassicGroup, Member, Name, State};
use crate::group::GroupSettings;
use crate::group::migration::Moving;
use protocol::types::Timestamp;

impl ClassicGroup {
    /// The group's generation and its members, if they are consumers. The first of a member's assignors is the one that
    /// the group uses.
    pub(in crate::group) fn as_consumers(&self) -> Option<(i32, Vec<Moving>)> {
        if !self.is_of_consumers() {
            return None;
        }
        let protocol = self.protocol.clone().or_else(|| self.elect_protocol())?;
        let moving = self.members.values().map(|member| {
            let mut protocols = member.protocols.clone();
            protocols.sort_by_key(|(name, _)| *name != protocol);
            Moving {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols,
                assignment: member.assignment.clone(),
            }
        });
        Some((self.generation, moving.collect()))
    }

    /// The group that a consumer group becomes, if it fits into a record. Its members share an assignor. A rebalance is
    /// the caller's to begin.
    pub(in crate::group) fn of_consumers(
        now: Timestamp,
        settings: &GroupSettings,
        id: &Name,
        generation: i32,
        members: Vec<Moving>,
    ) -> Option<Self> {
        assert!(!members.is_empty(), "an empty group changes its kind by itself");
        let mut group = Self::new(Some(now), id.clone());
        group.generation = generation;
        for moving in members {
            let member = Member {
                id: moving.id,
                instance_id: moving.instance_id,
                client_id: moving.client_id,
                client_host: moving.client_host,
                rebalance_timeout_ms: moving.rebalance_timeout_ms,
                session_timeout_ms: moving.session_timeout_ms,
                protocols: moving.protocols,
                assignment: moving.assignment,
                joining: None,
                syncing: None,
                session: Default::default(),
                is_new: false,
            };
            group.add(member, &super::CONSUMER_PROTOCOL_TYPE.into());
        }
        group.state = State::Stable;
        group.protocol = group.elect_protocol();
        group.subscribed = group.read_subscriptions();
        group.record_that_fits(settings, now).map(|_| group)
    }
}

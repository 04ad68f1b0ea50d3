//! A classic group in the log: what is written of it, and how it is rebuilt from that.

use super::{ClassicGroup, Member, Name, State};
use crate::group::turn::Turn;
use crate::group::{GroupSettings, Record};
use bytes::Bytes;
use protocol::coordinator::{GroupMetadataValue, Key, MemberMetadata, Value};
use protocol::types::Timestamp;

impl ClassicGroup {
    /// Appends the group as it is. The caller knows that it fits into a record.
    pub(in crate::group) fn append_record(&self, turn: &mut Turn<'_>) {
        let since = self.state_since.unwrap_or(Timestamp(-1));
        let record = self.record(since).expect("what was checked when it came can be written");
        turn.append(record);
    }

    /// The group as it will be from `since` on, if the log takes a record of that size.
    pub(super) fn record_that_fits(&self, settings: &GroupSettings, since: Timestamp) -> Option<Record> {
        let record = self.record(since)?;
        let bytes = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
        (bytes <= settings.record_bytes_max).then_some(record)
    }

    fn record(&self, since: Timestamp) -> Option<Record> {
        let protocol = self.protocol.as_deref();
        let told: Vec<(&Member, Bytes)> = self
            .members
            .values()
            .map(|member| (member, protocol.map(|name| member.metadata(name)).unwrap_or_default()))
            .collect();
        let members = told.iter().map(|(member, subscription)| MemberMetadata {
            member_id: &member.id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription,
            assignment: &member.assignment,
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or(""),
            generation: self.generation,
            protocol,
            leader: self.leader.as_deref(),
            current_state_timestamp: since,
            members: members.collect(),
        };
        let key = Key::ClassicGroup { group: &self.id }.encode().ok()?;
        Some(Record { key, value: Some(value.encode(value.version()).ok()?) })
    }

    /// The group that a record tells of. Its members' sessions begin when the replay is over.
    pub(in crate::group) fn from_record(
        id: &Name,
        value: &GroupMetadataValue<'_>,
    ) -> Result<Self, &'static str> {
        let since = Some(value.current_state_timestamp).filter(|at| at.get() >= 0);
        let mut group = Self::new(since, id.clone());
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty()).map(Name::from);
        group.protocol = value.protocol.map(Name::from);
        for told in &value.members {
            let protocol = value.protocol.ok_or("a group has members and no assignor")?;
            let protocol_type = group.protocol_type.clone().ok_or("a group has members and no protocol")?;
            let is_known = |name: &str| group.static_members.contains_key(name);
            if group.members.contains_key(told.member_id) || told.group_instance_id.is_some_and(is_known) {
                return Err("a group has a member twice");
            }
            group.add(replayed_member(protocol, told), &protocol_type);
        }
        group.leader = value.leader.filter(|leader| group.members.contains_key(*leader)).map(Name::from);
        if !group.members.is_empty() {
            group.leader.get_or_insert_with(|| group.members.keys().next().expect("there is one").clone());
            group.state = State::Stable;
        }
        group.subscribed = group.read_subscriptions();
        Ok(group)
    }

    /// The replay is over: members have from now on to be heard of.
    pub(in crate::group) fn start(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in &ids {
            self.heard_of(turn, id);
        }
        if self.members.len() > turn.settings.members_max {
            self.prepare_rebalance(turn);
        }
    }
}

fn replayed_member(protocol: &str, told: &MemberMetadata<'_>) -> Member {
    let rebalance_timeout_ms =
        if told.rebalance_timeout < 0 { told.session_timeout } else { told.rebalance_timeout };
    Member {
        id: told.member_id.into(),
        instance_id: told.group_instance_id.map(Name::from),
        client_id: told.client_id.into(),
        client_host: told.client_host.into(),
        rebalance_timeout_ms,
        session_timeout_ms: told.session_timeout,
        protocols: vec![(protocol.into(), Bytes::copy_from_slice(told.subscription))],
        assignment: Bytes::copy_from_slice(told.assignment),
        joining: None,
        syncing: None,
        session: Default::default(),
        is_new: false,
    }
}

//! Groups that change their kind while they have members, and in which direction that is allowed.

use super::Name;
use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::coordinator::{Coordinator, Entry};
use super::kind::Group;
use super::reply::{Effects, Record};
use bytes::Bytes;
use protocol::types::Timestamp;

/// A member on its way from a group of one kind to one of the other: a consumer of the classic protocol.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moving {
    pub(super) id: Name,
    pub(super) instance_id: Option<Name>,
    pub(super) client_id: Name,
    pub(super) client_host: Name,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// Its assignors, the group's own first, with its subscriptions. Never empty.
    pub(super) protocols: Vec<(Name, Bytes)>,
    pub(super) assignment: Bytes,
}

impl Coordinator {
    /// The consumer group that a classic one with members becomes, if it may and can, with the records that say so.
    pub(super) fn upgraded(&self, id: &Name, group: &ClassicGroup) -> Option<(ConsumerGroup, Vec<Record>)> {
        if !self.settings.consumer_migration.allows_upgrade() {
            return None;
        }
        let (generation, members) = group.as_consumers()?;
        if members.len() > self.settings.consumer_members_max {
            return None;
        }
        let (group, records) = ConsumerGroup::of_classic(&self.image, id, generation, members)?;
        let fits = |record: &Record| {
            record.key.len() + record.value.as_ref().map_or(0, Bytes::len) <= self.settings.record_bytes_max
        };
        records.iter().all(fits).then_some((group, records))
    }

    /// A classic group goes on as the consumer group that it becomes: whoever waits is told to join again.
    pub(super) fn upgrade(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        id: &Name,
        (group, records): (ConsumerGroup, Vec<Record>),
    ) {
        effects.records.extend(self.groups[id].group.tombstones(id));
        effects.records.extend(records);
        let offsets = self.take_group(now, effects, id).expect("it is there");
        self.put_group(id, Entry { group: Group::Consumer(group), offsets });
        self.with_group(now, effects, id, |entry, turn| entry.group.start(turn));
    }

    /// A consumer group whose members all speak the classic protocol becomes a classic one, if it may. It rebalances if
    /// a member has left, or had not come to its target yet.
    pub(super) fn downgrade_if_due(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        id: &Name,
        has_left: bool,
    ) {
        let Some(Group::Consumer(group)) = self.groups.get(id).map(|entry| &entry.group) else { return };
        if !self.settings.consumer_migration.allows_downgrade() {
            return;
        }
        let Some((generation, members)) = group.as_classic(&self.image) else { return };
        if members.len() > self.settings.members_max {
            return;
        }
        let classic = ClassicGroup::of_consumers(now, &self.settings, id, generation, members);
        let Some(classic) = classic else { return };
        let rebalances = has_left || !group.is_reconciled();
        effects.records.extend(group.tombstones());
        let offsets = self.take_group(now, effects, id).expect("it is there");
        self.put_group(id, Entry { group: Group::Classic(classic), offsets });
        self.with_group(now, effects, id, |entry, turn| {
            let Group::Classic(group) = &mut entry.group else { unreachable!("it was just made one") };
            group.append_record(turn);
            group.start(turn);
            if rebalances {
                group.prepare_rebalance(turn);
            }
        });
    }
}

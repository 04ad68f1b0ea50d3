//! The coordinator: which groups there are, who deals with which request, and when somebody has to be woken.

use super::classic::ClassicGroup;
use super::kind::Group;
use super::offsets::{Committed, Offsets, Place};
use super::reply::{Effects, Reply};
use super::request::{GroupFilter, Request, Ticket};
use super::settings::GroupSettings;
use super::timers::{Timer, Timers};
use super::turn::Turn;
use super::{GroupError, ListedGroup, Name};
use crate::limits::GROUP_BYTES;
use crate::metadata::Image;
use protocol::types::{ProducerId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The groups of one partition of `__consumer_offsets`. The module's head says how it is driven.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) settings: GroupSettings,
    pub(super) image: Arc<Image>,
    pub(super) groups: BTreeMap<Name, Entry>,
    pub(super) timers: Timers,
    /// Offsets that count when their transaction commits.
    pub(super) pending: BTreeMap<ProducerId, BTreeMap<Place, Committed>>,
    /// How many offsets have been committed so far: what gives each its order.
    pub(super) order: u64,
    pub(super) memory_bytes: usize,
    has_started: bool,
}

/// A group with its offsets.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) group: Group,
    pub(super) offsets: Offsets,
}

impl Entry {
    pub(super) fn new(group: Group) -> Self {
        Self { group, offsets: Offsets::default() }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        GROUP_BYTES + self.group.memory_bytes() + self.offsets.memory_bytes()
    }
}

impl Coordinator {
    /// A coordinator without groups, to be filled by a replay.
    #[must_use]
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            image: Arc::default(),
            groups: BTreeMap::new(),
            timers: Timers::default(),
            pending: BTreeMap::new(),
            order: 0,
            memory_bytes: 0,
            has_started: false,
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Memory held, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// When [`Coordinator::on_time`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The settings have changed; what is under way goes on with the old ones.
    pub fn update_settings(&mut self, settings: GroupSettings) {
        self.settings = settings;
    }

    /// The metadata has changed. Consumer groups notice at their members' next heartbeats.
    pub fn update_image(&mut self, image: Arc<Image>) {
        self.image = image;
    }

    /// The replay is over: members have from now on to be heard of, and requests may come.
    pub fn start(&mut self, now: Timestamp) -> Effects {
        assert!(!self.has_started, "a coordinator starts once");
        self.has_started = true;
        self.arm_retention(now, self.settings.offsets_retention_check_interval_ms);
        let mut effects = Effects::default();
        let ids: Vec<Name> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with_group(now, &mut effects, &id, |entry, turn| entry.group.start(turn));
        }
        effects
    }

    /// Deals with a request.
    pub fn handle(&mut self, now: Timestamp, ticket: Ticket, request: Request) -> Effects {
        assert!(self.has_started, "requests come after the replay");
        let mut effects = Effects::default();
        let cx = &mut effects;
        match request {
            Request::Join(join) => self.join(now, cx, ticket, &join),
            Request::Sync(sync) => self.sync(now, cx, ticket, &sync),
            Request::Heartbeat(beat) => self.heartbeat(now, cx, ticket, &beat),
            Request::Leave(leave) => self.leave(now, cx, ticket, &leave),
            Request::ConsumerHeartbeat(beat) => self.consumer_heartbeat(now, cx, ticket, &beat),
            Request::Commit(commit) => self.commit(now, cx, ticket, &commit),
            Request::CommitInTransaction(commit) => self.commit_in_transaction(now, cx, ticket, &commit),
            Request::FetchOffsets(fetch) => self.fetch_offsets(cx, ticket, &fetch),
            Request::DeleteOffsets(delete) => self.delete_offsets(cx, ticket, &delete),
            Request::List(filter) => cx.answer_committed(ticket, Reply::List(self.list(&filter))),
            Request::Describe { group } => {
                let described = match self.groups.get(&group).map(|entry| &entry.group) {
                    Some(Group::Classic(group)) => Ok(Box::new(group.describe())),
                    Some(Group::Consumer(_)) | None => Err(GroupError::GroupNotFound),
                };
                cx.answer_committed(ticket, Reply::Describe(described));
            }
            Request::DescribeConsumers { group } => {
                let described = match self.groups.get(&group).map(|entry| &entry.group) {
                    Some(Group::Consumer(group)) => Ok(Box::new(group.describe(&self.settings, &self.image))),
                    Some(Group::Classic(_)) | None => Err(GroupError::GroupNotFound),
                };
                cx.answer_committed(ticket, Reply::DescribeConsumers(described));
            }
            Request::Delete { group } => {
                let outcome = self.delete_group(now, cx, &group);
                cx.answer_committed(ticket, Reply::Delete(outcome));
            }
            Request::TopicsDeleted { topics } => {
                self.delete_topics(cx, &topics);
                cx.answer_committed(ticket, Reply::Done);
            }
        }
        effects
    }

    /// The time that [`Coordinator::deadline`] said has come.
    pub fn on_time(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        while let Some(timer) = self.timers.pop_due(now) {
            let cx = &mut effects;
            match timer {
                Timer::Session { group, member } => {
                    self.with_group(now, cx, &group, |entry, turn| {
                        entry.group.on_session_timer(turn, &member);
                    });
                    self.downgrade_if_due(now, cx, &group, true);
                }
                Timer::Member { group, member, awaited } => {
                    self.with_group(now, cx, &group, |entry, turn| {
                        entry.group.on_member_timer(turn, &member, awaited);
                    });
                    self.downgrade_if_due(now, cx, &group, true);
                }
                Timer::Join { group } => {
                    self.with_group(now, cx, &group, |entry, turn| entry.group.on_join_timer(turn));
                }
                Timer::Sync { group } => {
                    self.with_group(now, cx, &group, |entry, turn| entry.group.on_sync_timer(turn));
                }
                Timer::Retention => {
                    let next_ms = self.expire_offsets(now, cx);
                    self.arm_retention(now, next_ms);
                }
            }
        }
        effects
    }

    /// The coordinator ends: all who wait are told so.
    pub fn resign(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let ids: Vec<Name> = self.groups.keys().cloned().collect();
        for id in ids {
            self.drop_group(now, &mut effects, &id, &GroupError::NotCoordinator);
        }
        assert!(effects.records.is_empty(), "who resigns writes nothing");
        effects
    }

    /// Lets a group deal with something; none if there is no such group.
    pub(super) fn with_group<R>(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        id: &str,
        deal: impl FnOnce(&mut Entry, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let entry = self.groups.get_mut(id)?;
        let mut turn =
            Turn { now, settings: &self.settings, image: &self.image, timers: &mut self.timers, effects };
        self.memory_bytes -= entry.memory_bytes();
        let result = deal(entry, &mut turn);
        self.memory_bytes += entry.memory_bytes();
        Some(result)
    }

    /// The group, which is made if there is none.
    pub(super) fn make_group(&mut self, now: Option<Timestamp>, id: &Name) {
        if !self.groups.contains_key(id) {
            self.put_group(id, Entry::new(Group::Classic(ClassicGroup::new(now, id.clone()))));
        }
    }

    pub(super) fn put_group(&mut self, id: &Name, entry: Entry) {
        self.memory_bytes += entry.memory_bytes();
        if let Some(before) = self.groups.insert(id.clone(), entry) {
            self.memory_bytes -= before.memory_bytes();
        }
    }

    /// Takes a group out; whoever waits for it is refused with `error`.
    pub(super) fn drop_group(&mut self, now: Timestamp, effects: &mut Effects, id: &str, error: &GroupError) {
        self.with_group(now, effects, id, |entry, turn| entry.group.dissolve(turn, error));
        if let Some(entry) = self.groups.remove(id) {
            self.memory_bytes -= entry.memory_bytes();
        }
    }

    /// Takes a group out that is about to be another, and leaves its offsets; who was expected is so no longer.
    pub(super) fn take_group(&mut self, now: Timestamp, effects: &mut Effects, id: &str) -> Option<Offsets> {
        self.with_group(now, effects, id, |entry, turn| {
            entry.group.dissolve(turn, &GroupError::RebalanceInProgress);
        });
        let entry = self.groups.remove(id)?;
        self.memory_bytes -= entry.memory_bytes();
        Some(entry.offsets)
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        self.memory_bytes >= self.settings.memory_bytes_max
    }

    fn arm_retention(&mut self, now: Timestamp, delay_ms: i64) {
        let at = Timestamp(now.get().saturating_add(delay_ms.max(1)));
        self.timers.arm(at, Timer::Retention);
    }

    fn list(&self, filter: &GroupFilter) -> Vec<ListedGroup> {
        let passes = |wanted: &[Name], is: &str| {
            wanted.is_empty() || wanted.iter().any(|name| name.trim().eq_ignore_ascii_case(is))
        };
        let all = self.groups.values().map(|entry| entry.group.list());
        all.filter(|group| passes(&filter.states, group.state) && passes(&filter.types, group.kind)).collect()
    }
}

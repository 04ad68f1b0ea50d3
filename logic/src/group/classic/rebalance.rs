//! Rebalances: when one begins, how long it waits for joins and for syncs, and how it ends.

use super::{ClassicGroup, FirstRebalance, Name, State};
use crate::group::timers::Timer;
use crate::group::turn::Turn;
use crate::group::{GroupError, Reply};
use bytes::Bytes;
use protocol::coordinator::embedded::Subscription;
use std::collections::BTreeSet;

impl ClassicGroup {
    /// Something has changed: begins a rebalance, or sees whether the one that is under way can go on.
    pub(super) fn rebalance_or_go_on(&mut self, turn: &mut Turn<'_>) {
        if self.state.may_become(State::Preparing) {
            self.prepare_rebalance(turn);
        } else {
            self.go_on_if_all_joined(turn);
        }
    }

    /// Members have left.
    pub(super) fn after_leaving(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Stable | State::Completing => self.prepare_rebalance(turn),
            State::Preparing => self.go_on_if_all_joined(turn),
            State::Empty => {}
        }
    }

    pub(in crate::group) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::Completing {
            self.refuse_syncs(turn, &GroupError::RebalanceInProgress);
        }
        self.stop_timers(turn);
        self.unsynced.clear();
        let was_empty = self.state == State::Empty;
        self.become_state(turn.now, State::Preparing);
        if was_empty {
            let delay_ms = turn.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.first = Some(FirstRebalance { delay_ms, remaining_ms, has_new_member: false });
            self.wait_for_joins(turn, delay_ms);
        } else if self.have_all_joined() {
            self.complete_joins(turn);
        } else {
            self.wait_for_joins(turn, self.rebalance_timeout_ms());
        }
    }

    pub(super) fn go_on_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::Preparing && self.first.is_none() && self.have_all_joined() {
            self.complete_joins(turn);
        }
    }

    fn have_all_joined(&self) -> bool {
        self.joining_count == self.members.len() && self.expected.is_empty()
    }

    /// The longest that any member may take.
    fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn wait_for_joins(&mut self, turn: &mut Turn<'_>, delay_ms: i32) {
        let until = turn.after(delay_ms);
        turn.timers.arm(until, Timer::Join { group: self.id.clone() });
        let before = self.join_until.replace(until);
        assert!(before.is_none(), "one wait at a time");
    }

    /// Waiting for joins is over.
    pub(in crate::group) fn on_join_timer(&mut self, turn: &mut Turn<'_>) {
        assert_eq!(self.state, State::Preparing, "joins are waited for in Preparing alone");
        self.join_until = None;
        match self.first {
            Some(first) if first.has_new_member && first.remaining_ms > 0 => {
                let delay_ms = turn.settings.initial_rebalance_delay_ms.min(first.remaining_ms);
                let remaining_ms = (first.remaining_ms - first.delay_ms).max(0);
                self.first = Some(FirstRebalance { delay_ms, remaining_ms, has_new_member: false });
                self.wait_for_joins(turn, delay_ms);
            }
            _ => self.complete_joins(turn),
        }
    }

    /// The generation begins with those who have joined.
    fn complete_joins(&mut self, turn: &mut Turn<'_>) {
        self.stop_timers(turn);
        self.first = None;
        let is_gone = |member: &super::Member| member.joining.is_none() && member.instance_id.is_none();
        let gone: Vec<Name> =
            self.members.values().filter(|member| is_gone(member)).map(|member| member.id.clone()).collect();
        for id in gone {
            self.remove(turn, &id);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Static members alone, and none of them has joined: their session timeouts decide.
            self.wait_for_joins(turn, self.rebalance_timeout_ms());
            return;
        }
        self.generation =
            self.generation.checked_add(1).expect("a group never lives through 2^31 rebalances");
        self.protocol = self.elect_protocol();
        self.subscribed = self.read_subscriptions();
        if self.members.is_empty() {
            self.become_state(turn.now, State::Empty);
            self.append_record(turn);
        } else {
            self.become_state(turn.now, State::Completing);
            self.answer_joins(turn);
        }
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let member = self.members.get_mut(&id).expect("it was just listed");
            member.is_new = false;
            if let Some(ticket) = member.joining.take() {
                self.joining_count -= 1;
                turn.answer(ticket, Reply::Join(Ok(Box::new(joined))));
            }
            self.heard_of(turn, &id);
            self.unsynced.insert(id);
        }
        assert_eq!(self.joining_count, 0);
        let until = turn.after(self.rebalance_timeout_ms());
        turn.timers.arm(until, Timer::Sync { group: self.id.clone() });
        self.sync_until = Some(until);
    }

    /// Waiting for syncs is over: who has not synced is out.
    pub(in crate::group) fn on_sync_timer(&mut self, turn: &mut Turn<'_>) {
        assert!(matches!(self.state, State::Completing | State::Stable));
        self.sync_until = None;
        let late: Vec<Name> = self.unsynced.iter().cloned().collect();
        if late.is_empty() {
            return;
        }
        for id in late {
            self.remove(turn, &id);
        }
        self.prepare_rebalance(turn);
    }

    /// A member, or one that was expected, was silent for too long, or has moved its deadline meanwhile.
    pub(in crate::group) fn on_session_timer(&mut self, turn: &mut Turn<'_>, id: &Name) {
        let timer = Timer::Session { group: self.id.clone(), member: id.clone() };
        if let Some(session) = self.expected.get_mut(id) {
            if session.is_over(turn.timers, turn.now, timer) {
                self.remove(turn, id);
                self.go_on_if_all_joined(turn);
            }
            return;
        }
        let member = self.members.get_mut(id).expect("the session of a member ends with it");
        if !member.session.is_over(turn.timers, turn.now, timer) {
            return;
        }
        // Who waits for the others is not silent; its session begins anew when it is answered.
        let is_waiting = member.joining.is_some() || member.syncing.is_some();
        if !member.is_new && is_waiting {
            return;
        }
        self.remove(turn, id);
        self.after_leaving(turn);
    }

    /// Answers all parked syncs with an error, and takes the assignments back.
    pub(super) fn refuse_syncs(&mut self, turn: &mut Turn<'_>, error: &GroupError) {
        assert_eq!(self.state, State::Completing);
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in ids {
            self.assign(&id, Bytes::new());
            let member = self.members.get_mut(&id).expect("it was just listed");
            if let Some(ticket) = member.syncing.take() {
                turn.answer(ticket, Reply::Sync(Err(error.clone())));
                self.heard_of(turn, &id);
            }
        }
    }

    /// Keeps the leader if it has joined, otherwise takes one that has; false if nobody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Name| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let Some(first) = self.members.keys().find(|id| has_joined(id)) else { return false };
            self.leader = Some(first.clone());
        }
        true
    }

    pub(super) fn elect_protocol(&self) -> Option<Name> {
        self.protocols.elect(self.members.values().map(|member| &member.protocols[..]))
    }

    /// The topics that consumers read, if their subscriptions can be understood.
    pub(super) fn read_subscriptions(&self) -> Option<BTreeSet<Name>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        let Some(protocol) = self.protocol.as_deref() else { return Some(topics) };
        for member in self.members.values() {
            let metadata = member.metadata(protocol);
            topics.extend(Subscription::decode_topics(&metadata).ok()?.into_iter().map(Name::from));
        }
        Some(topics)
    }
}

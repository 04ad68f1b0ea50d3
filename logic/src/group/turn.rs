//! One input's turn: the time, the settings, and where its effects go.

use super::reply::{Effects, Record, Reply};
use super::request::Ticket;
use super::settings::GroupSettings;
use super::timers::Timers;
use crate::config::GroupConfig;
use crate::metadata::Image;
use protocol::types::Timestamp;

/// What a group needs besides itself to deal with an input.
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) settings: &'a GroupSettings,
    pub(super) image: &'a Image,
    pub(super) timers: &'a mut Timers,
    pub(super) effects: &'a mut Effects,
}

impl Turn<'_> {
    /// The time so many milliseconds from now.
    pub(super) fn after(&self, delay_ms: i32) -> Timestamp {
        Timestamp(self.now.get().saturating_add(i64::from(delay_ms.max(0))))
    }

    /// What holds for the members of a consumer group, as it is configured now.
    pub(super) fn consumer_config(&self, group: &str) -> GroupConfig {
        GroupConfig::resolve(self.image.group_settings(group), &self.settings.consumer_terms)
    }

    pub(super) fn answer(&mut self, ticket: Ticket, reply: Reply) {
        self.effects.answer(ticket, reply);
    }

    pub(super) fn answer_committed(&mut self, ticket: Ticket, reply: Reply) {
        self.effects.answer_committed(ticket, reply);
    }

    pub(super) fn append(&mut self, record: Record) {
        self.effects.records.push(record);
    }
}

//! What a consumer group is to own as a whole: its subscriptions, the topics they name, and the target assignment.

use super::assign::{self, Assignor, Wanted};
use super::change::target_member_value;
use super::{Change, ConsumerGroup, Name, Partitions, Resolved, Wants};
use crate::group::turn::Turn;
use crate::group::{GroupError, GroupSettings};
use crate::limits::{GROUP_EXPRESSION_COMPILED_BYTES_MAX, GROUP_EXPRESSION_REFRESH_MS_MIN};
use crate::metadata::Image;
use protocol::types::TopicId;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;

/// Compiles an expression that has to match the whole of a topic's name.
///
/// The syntax is RE2's but for details: no look-around, no back-references, and matching in linear time.
pub(super) fn compile(expression: &str) -> Result<Regex, GroupError> {
    // An expression that is valid alone stays so in a group; one that is not could close the group.
    let alone = RegexBuilder::new(expression).size_limit(GROUP_EXPRESSION_COMPILED_BYTES_MAX).build();
    let whole = RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(GROUP_EXPRESSION_COMPILED_BYTES_MAX)
        .build();
    alone.and(whole).map_err(|_| GroupError::InvalidRegularExpression)
}

impl ConsumerGroup {
    /// Looks up the topics of expressions that are new, or whose topics may have changed, and forgets those that
    /// nobody subscribes to any more.
    pub(super) fn refresh_expressions(&mut self, turn: &mut Turn<'_>) {
        let used: BTreeSet<Name> =
            self.members.values().filter_map(|member| member.wants.expression_used().cloned()).collect();
        let unused: Vec<Name> =
            self.expressions.keys().filter(|expression| !used.contains(*expression)).cloned().collect();
        for expression in unused {
            self.change(turn, Change::Expression(expression, None));
        }
        let version = turn.image.sequence();
        let is_due = match self.expressions_seen {
            Some((seen, at)) => {
                seen != version && turn.now.get().saturating_sub(at.get()) >= GROUP_EXPRESSION_REFRESH_MS_MIN
            }
            None => true,
        };
        if is_due {
            self.expressions_seen = Some((version, turn.now));
        }
        for expression in used {
            let known = self.expressions.get(&expression);
            if known.is_some() && !is_due {
                continue;
            }
            let topics = matching(&expression, turn.image);
            if known.is_none_or(|known| known.topics != topics) {
                let version = i64::try_from(version).expect("commands are counted from 0");
                let resolved = Resolved { topics, version, at: turn.now };
                self.change(turn, Change::Expression(expression, Some(resolved)));
                self.topics_seen = None;
            }
        }
    }

    /// Raises the group's epoch if it must, or if the topics subscribed to have changed.
    pub(super) fn refresh_epoch(&mut self, turn: &mut Turn<'_>, must_rise: bool) {
        let version = turn.image.sequence();
        if !must_rise && self.topics_seen == Some(version) {
            return;
        }
        self.topics_seen = Some(version);
        let topics_hash = self.hash_of_topics(turn.image);
        if must_rise || topics_hash != self.topics_hash {
            let epoch = self.epoch.checked_add(1).expect("a group never lives through 2^31 changes");
            self.change(turn, Change::Epoch(Some((epoch, topics_hash))));
        }
    }

    /// Computes the target assignment anew if the group's epoch has risen.
    ///
    /// # Errors
    /// [`GroupError::RecordTooLarge`] where a member would get more than a record can hold; the group then keeps the
    /// target that it has, and tries again at the next heartbeat.
    pub(super) fn refresh_target(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        if self.target_epoch >= self.epoch {
            return Ok(());
        }
        let target = assign::assign(self.assignor(turn.settings), &self.wanted(turn.image));
        // What a member owns is told with epochs, and what it gives back stands beside it: room for four times as much.
        let fits = |target: &Partitions| {
            target_member_value(target).is_ok_and(|value| 4 * value.len() <= turn.settings.record_bytes_max)
        };
        if !target.values().all(fits) {
            return Err(GroupError::RecordTooLarge);
        }
        for (id, partitions) in target {
            if self.target.get(&id) != Some(&partitions) {
                self.change(turn, Change::TargetOfMember(id, Some(partitions)));
            }
        }
        self.change(turn, Change::Target(Some(self.epoch)));
        Ok(())
    }

    /// The assignor that most members ask for; of equals, the first one offered. One that is offered no more has no
    /// votes.
    pub(super) fn assignor(&self, settings: &GroupSettings) -> Assignor {
        let asked_for: Vec<&str> =
            self.members.values().filter_map(|member| member.wants.assignor.as_deref()).collect();
        let votes = |assignor: Assignor| asked_for.iter().filter(|name| **name == assignor.name()).count();
        let offered = settings.consumer_assignors.iter().rev().copied();
        offered.max_by_key(|assignor| votes(*assignor)).expect("an assignor is offered")
    }

    /// The topics that a member reads.
    pub(super) fn subscribed(&self, wants: &Wants, image: &Image) -> BTreeSet<TopicId> {
        let resolved = wants.expression_used().and_then(|expression| self.expressions.get(expression));
        let names = wants.topics.iter().chain(resolved.into_iter().flat_map(|resolved| &resolved.topics));
        names.filter_map(|name| image.topic(name)).map(|topic| topic.id).collect()
    }

    fn wanted(&self, image: &Image) -> Wanted<'_> {
        let mut members: Vec<_> = self.members.iter().collect();
        // Static members first, by their own names: those don't change when a process is restarted.
        members.sort_by_key(|(id, member)| {
            let instance_id = member.wants.instance_id.clone();
            (instance_id.is_none(), instance_id, (*id).clone())
        });
        let members: Vec<_> =
            members.into_iter().map(|(id, member)| (id, self.subscribed(&member.wants, image))).collect();
        let ids: BTreeSet<TopicId> = members.iter().flat_map(|(_, topics)| topics).copied().collect();
        let count_of = |id: TopicId| image.topic_by_id(id).map(|topic| (id, topic.partition_count()));
        Wanted { members, topics: ids.into_iter().filter_map(count_of).collect(), before: &self.target }
    }

    /// A hash of the topics subscribed to: their names, ids and partition counts. FNV-1a, which never changes.
    pub(super) fn hash_of_topics(&self, image: &Image) -> i64 {
        let mut names: BTreeSet<&Name> = BTreeSet::new();
        for member in self.members.values() {
            names.extend(&member.wants.topics);
        }
        for resolved in self.expressions.values() {
            names.extend(&resolved.topics);
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        let mut is_empty = true;
        for topic in names.into_iter().filter_map(|name| image.topic(name)) {
            is_empty = false;
            take(topic.name.as_bytes());
            take(&topic.id.0);
            take(&topic.partition_count().to_be_bytes());
        }
        if is_empty { 0 } else { hash.cast_signed() }
    }
}

impl Wants {
    /// The expression subscribed to; an empty one is none.
    pub(super) fn expression_used(&self) -> Option<&Name> {
        self.expression.as_ref().filter(|expression| !expression.is_empty())
    }
}

/// The topics whose names match.
fn matching(expression: &str, image: &Image) -> BTreeSet<Name> {
    // One that later Kafka wrote may not compile here: it matches nothing.
    let Ok(compiled) = compile(expression) else { return BTreeSet::new() };
    let names = image.topics().map(|topic| &topic.name);
    names.filter(|name| compiled.is_match(name)).cloned().collect()
}

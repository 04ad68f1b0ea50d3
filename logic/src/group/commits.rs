//! Offsets: committed, fetched and deleted by request, and expired.

use super::classic::RetentionBase;
use super::coordinator::Coordinator;
use super::membership::check_group_id;
use super::offsets::{Committed, Place};
use super::reply::{Effects, FetchedPartition, FetchedTopic, Reply};
use super::request::{
    Commit, CommitPartition, CommitTerms, CommitTopic, DeleteOffsets, FetchOffsets, Ticket, TopicPartitions,
    TransactionalCommit,
};
use super::{GroupError, Name};
use crate::limits::{GROUP_EXPIRED_OFFSETS_PER_TURN_MAX, GROUP_EXPIRY_TURN_DELAY_MS, GROUP_TEXT_BYTES_MAX};
use protocol::types::{PartitionIndex, ProducerId, Timestamp};
use std::collections::BTreeSet;

impl Coordinator {
    pub(super) fn commit(&mut self, now: Timestamp, effects: &mut Effects, ticket: Ticket, commit: &Commit) {
        let terms = if commit.tells_epoch { CommitTerms::Epoch } else { CommitTerms::Generation };
        let outcome = self.check_commit(&commit.group, commit.generation, |entry| {
            entry.group.check_commit(&self.image, &commit.member, commit.generation, terms, &commit.topics)
        });
        let outcome = outcome.map(|()| {
            self.make_group(Some(now), &commit.group);
            self.with_group(now, effects, &commit.group, |entry, turn| {
                entry.group.committed(turn, &commit.member);
            });
            self.commit_all(effects, &commit.group, &commit.topics, None, |topic, asked| {
                Committed::of_request(now, commit.retention_ms, topic.topic_id, asked).into_logged()
            })
        });
        effects.answer_committed(ticket, Reply::Commit(outcome));
    }

    pub(super) fn commit_in_transaction(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        ticket: Ticket,
        commit: &TransactionalCommit,
    ) {
        let outcome = check_group_id(&commit.group).and_then(|()| {
            self.check_commit(&commit.group, commit.generation, |entry| {
                let terms = CommitTerms::Transactional;
                entry.group.check_commit(
                    &self.image,
                    &commit.member,
                    commit.generation,
                    terms,
                    &commit.topics,
                )
            })
        });
        let outcome = outcome.map(|()| {
            self.make_group(Some(now), &commit.group);
            effects.transaction = Some((commit.producer_id, commit.producer_epoch));
            let producer = Some(commit.producer_id);
            self.commit_all(effects, &commit.group, &commit.topics, producer, |topic, asked| {
                Committed::of_request(now, None, topic.topic_id, asked)
            })
        });
        effects.answer_committed(ticket, Reply::Commit(outcome));
    }

    /// Whether the group takes the commit; one that does not exist takes those of nobody's generation.
    fn check_commit(
        &self,
        group: &Name,
        generation: i32,
        check: impl FnOnce(&super::coordinator::Entry) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        if group.len() > GROUP_TEXT_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        match self.groups.get(group) {
            Some(entry) => check(entry),
            None if generation < 0 && self.is_out_of_memory() => Err(GroupError::OutOfMemory),
            None if generation < 0 => Ok(()),
            None => Err(GroupError::GroupNotFound),
        }
    }

    fn commit_all(
        &mut self,
        effects: &mut Effects,
        group: &Name,
        topics: &[CommitTopic],
        producer: Option<ProducerId>,
        committed_of: impl Fn(&CommitTopic, &CommitPartition) -> Committed,
    ) -> Vec<Vec<Result<(), GroupError>>> {
        let mut outcomes = Vec::with_capacity(topics.len());
        for topic in topics {
            let mut commit_one = |asked: &CommitPartition| {
                self.check_offset(group, topic, asked)?;
                let (group, topic_name) = (group.clone(), topic.topic.clone());
                let place = Place { group, topic: topic_name, partition: asked.partition };
                let committed = committed_of(topic, asked);
                effects.records.push(committed.record(&place));
                self.apply_commit(place, committed, producer);
                Ok(())
            };
            outcomes.push(topic.partitions.iter().map(&mut commit_one).collect());
        }
        outcomes
    }

    fn check_offset(
        &self,
        group: &Name,
        topic: &CommitTopic,
        asked: &CommitPartition,
    ) -> Result<(), GroupError> {
        let metadata_bytes_max = self.settings.offset_metadata_bytes_max.min(GROUP_TEXT_BYTES_MAX);
        if asked.metadata.len() > metadata_bytes_max {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        if topic.topic.len() > GROUP_TEXT_BYTES_MAX {
            return Err(GroupError::InvalidRequest("a topic's name is longer than 32767 bytes"));
        }
        let is_there = self.groups[group].offsets.contains(&topic.topic, asked.partition);
        if !is_there && self.is_out_of_memory() { Err(GroupError::OutOfMemory) } else { Ok(()) }
    }

    /// An offset is committed, or will be when the producer's transaction commits: live and in replay.
    pub(super) fn apply_commit(
        &mut self,
        place: Place,
        mut committed: Committed,
        producer: Option<ProducerId>,
    ) {
        self.order += 1;
        committed.order = self.order;
        let entry = self.groups.get_mut(&place.group).expect("the group was made");
        let Some(producer) = producer else {
            self.memory_bytes -= entry.offsets.memory_bytes();
            entry.offsets.insert(&place.topic, place.partition, committed);
            self.memory_bytes += entry.offsets.memory_bytes();
            return;
        };
        entry.offsets.hold_open(&place.topic, place.partition, producer);
        self.memory_bytes += committed.memory_bytes();
        if let Some(before) = self.pending.entry(producer).or_default().insert(place, committed) {
            self.memory_bytes -= before.memory_bytes();
        }
    }

    /// An offset is gone, and with it what transactions meant to make of it: live and in replay.
    pub(super) fn apply_removal(&mut self, place: &Place) {
        let Some(entry) = self.groups.get_mut(&place.group) else { return };
        self.memory_bytes -= entry.offsets.memory_bytes();
        let holders = entry.offsets.remove(&place.topic, place.partition);
        self.memory_bytes += entry.offsets.memory_bytes();
        for producer in holders {
            let pending = self.pending.get_mut(&producer).expect("who holds an offset open has it pending");
            let removed = pending.remove(place).expect("who holds an offset open has it pending");
            self.memory_bytes -= removed.memory_bytes();
            if pending.is_empty() {
                self.pending.remove(&producer);
            }
        }
    }

    /// A producer's transaction is over: its marker is in the log. Live and in replay.
    pub fn end_transaction(&mut self, producer: ProducerId, is_committed: bool) {
        let Some(pending) = self.pending.remove(&producer) else { return };
        for (place, committed) in pending {
            self.memory_bytes -= committed.memory_bytes();
            let entry = self.groups.get_mut(&place.group).expect("a group with open offsets stays");
            entry.offsets.release(&place.topic, place.partition, producer);
            let newest = entry.offsets.get(&place.topic, place.partition).map(|found| found.order);
            // Of an offset committed both ways, the later record counts, whenever the transaction ends.
            if is_committed && newest.is_none_or(|order| order < committed.order) {
                self.memory_bytes -= entry.offsets.memory_bytes();
                entry.offsets.insert(&place.topic, place.partition, committed);
                self.memory_bytes += entry.offsets.memory_bytes();
            }
        }
    }

    pub(super) fn fetch_offsets(&self, effects: &mut Effects, ticket: Ticket, fetch: &FetchOffsets) {
        let entry = self.groups.get(&fetch.group);
        let checked = entry.map_or(Ok(()), |entry| entry.group.check_fetch(fetch.member.as_ref()));
        if let Err(error) = checked {
            effects.answer(ticket, Reply::FetchOffsets(Err(error)));
            return;
        }
        let topics = match (entry, &fetch.topics) {
            (Some(entry), Some(asked)) => entry.offsets.fetch(asked, fetch.require_stable),
            (Some(entry), None) => entry.offsets.fetch_all(fetch.require_stable),
            (None, Some(asked)) => asked.iter().map(nothing_committed).collect(),
            (None, None) => Vec::new(),
        };
        effects.answer_committed(ticket, Reply::FetchOffsets(Ok(topics)));
    }

    pub(super) fn delete_offsets(&mut self, effects: &mut Effects, ticket: Ticket, delete: &DeleteOffsets) {
        let outcome = check_group_id(&delete.group).and_then(|()| {
            let entry = self.groups.get(&delete.group).ok_or(GroupError::GroupNotFound)?;
            entry.group.check_offset_deletion()
        });
        let outcome = outcome.map(|()| {
            let topics = delete.topics.iter();
            topics.map(|asked| self.delete_offsets_of_topic(effects, &delete.group, asked)).collect()
        });
        effects.answer_committed(ticket, Reply::DeleteOffsets(outcome));
    }

    fn delete_offsets_of_topic(
        &mut self,
        effects: &mut Effects,
        group: &Name,
        asked: &TopicPartitions,
    ) -> Vec<Result<(), GroupError>> {
        if self.groups[group].group.is_subscribed_to(&asked.topic) {
            return vec![Err(GroupError::SubscribedToTopic); asked.partitions.len()];
        }
        for &partition in &asked.partitions {
            if self.groups[group].offsets.contains(&asked.topic, partition) {
                self.forget_offset(effects, group, &asked.topic, partition);
            }
        }
        vec![Ok(()); asked.partitions.len()]
    }

    fn forget_offset(
        &mut self,
        effects: &mut Effects,
        group: &Name,
        topic: &Name,
        partition: PartitionIndex,
    ) {
        let place = Place { group: group.clone(), topic: topic.clone(), partition };
        effects.records.push(place.tombstone());
        self.apply_removal(&place);
    }

    /// Deletes a group and all that belongs to it.
    pub(super) fn delete_group(
        &mut self,
        now: Timestamp,
        effects: &mut Effects,
        group: &Name,
    ) -> Result<(), GroupError> {
        let entry = self.groups.get(group).ok_or(GroupError::GroupNotFound)?;
        entry.group.check_deletion()?;
        for (topic, partition) in entry.offsets.places() {
            self.forget_offset(effects, group, &topic, partition);
        }
        let tombstones = self.groups[group].group.tombstones(group);
        effects.records.extend(tombstones);
        self.drop_group(now, effects, group, &GroupError::UnknownMember);
        Ok(())
    }

    /// The topics that groups have committed offsets for. One that is gone, and whose offsets outlived it because the
    /// broker died in between, is to be told of by [`Request::TopicsDeleted`]: a new topic of its name begins anew.
    #[must_use]
    pub fn committed_topics(&self) -> BTreeSet<Name> {
        self.groups.values().flat_map(|entry| entry.offsets.topics()).cloned().collect()
    }

    /// Topics are gone, and so is what groups have committed for them.
    pub(super) fn delete_topics(&mut self, effects: &mut Effects, topics: &[Name]) {
        let of_topics = |entry: &super::coordinator::Entry| {
            let mut places = entry.offsets.places();
            places.retain(|(topic, _)| topics.contains(topic));
            places
        };
        let has_any =
            |entry: &super::coordinator::Entry| entry.offsets.topics().any(|topic| topics.contains(topic));
        let affected: Vec<_> = self
            .groups
            .iter()
            .filter(|(_, entry)| has_any(entry))
            .map(|(group, entry)| (group.clone(), of_topics(entry)))
            .collect();
        for (group, places) in affected {
            for (topic, partition) in places {
                self.forget_offset(effects, &group, &topic, partition);
            }
        }
    }

    /// Forgets offsets that nobody has committed again for long, and groups without members that have none left.
    /// Says in how many milliseconds to look again.
    pub(super) fn expire_offsets(&mut self, now: Timestamp, effects: &mut Effects) -> i64 {
        let mut left = GROUP_EXPIRED_OFFSETS_PER_TURN_MAX;
        let ids: Vec<Name> = self.groups.keys().cloned().collect();
        for group in ids {
            if left == 0 {
                return i64::from(GROUP_EXPIRY_TURN_DELAY_MS);
            }
            let expired = self.expired_offsets(now, &group, left);
            left -= expired.len();
            for (topic, partition) in expired {
                self.forget_offset(effects, &group, &topic, partition);
            }
            let entry = &self.groups[&group];
            if entry.offsets.is_empty() && entry.group.is_deserted() {
                self.delete_group(now, effects, &group).expect("an empty group can be deleted");
            }
        }
        self.settings.offsets_retention_check_interval_ms
    }

    fn expired_offsets(&self, now: Timestamp, group: &Name, count_max: usize) -> Vec<(Name, PartitionIndex)> {
        let entry = &self.groups[group];
        let Some(base) = entry.group.retention_base() else { return Vec::new() };
        let is_expired = |committed: &Committed| {
            let base = match base {
                RetentionBase::Commit => committed.committed_at,
                RetentionBase::Since(since) => since,
            };
            committed.is_expired(now, base, self.settings.offsets_retention_ms)
        };
        entry.offsets.expired(|topic| !entry.group.is_subscribed_to(topic), is_expired, count_max)
    }
}

fn nothing_committed(asked: &TopicPartitions) -> FetchedTopic {
    FetchedTopic {
        topic: asked.topic.clone(),
        topic_id: asked.topic_id,
        partitions: asked.partitions.iter().map(|index| FetchedPartition::none(*index)).collect(),
    }
}

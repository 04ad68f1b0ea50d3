//! The offsets of one group: committed ones, and which of them transactions hold open.

use super::reply::{FetchedPartition, FetchedTopic};
use super::request::{CommitPartition, TopicPartitions};
use super::{GroupError, Name, Record};
use crate::limits::GROUP_OFFSET_BYTES;
use protocol::coordinator::{Key, OffsetCommitValue, Value};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId, Timestamp, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// A committed offset.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Committed {
    pub(super) offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) metadata: Box<str>,
    pub(super) committed_at: Timestamp,
    /// When it expires, where the client said so.
    pub(super) expires_at: Option<Timestamp>,
    /// Zero where the client named the topic.
    pub(super) topic_id: TopicId,
    /// The place of its record among those of the log: of two, the later one counts.
    pub(super) order: u64,
}

impl Committed {
    pub(super) fn of_request(
        now: Timestamp,
        retention_ms: Option<i64>,
        topic_id: TopicId,
        asked: &CommitPartition,
    ) -> Self {
        let expiry = |keep_ms: i64| Timestamp(now.get().saturating_add(keep_ms).max(0));
        Self {
            offset: asked.offset,
            leader_epoch: LeaderEpoch(asked.leader_epoch.get().max(-1)),
            metadata: asked.metadata.clone(),
            committed_at: now,
            expires_at: retention_ms.map(expiry),
            topic_id,
            order: 0,
        }
    }

    pub(super) fn of_record(value: &OffsetCommitValue<'_>) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            committed_at: value.commit_timestamp,
            expires_at: Some(value.expire_timestamp).filter(|at| at.get() >= 0),
            topic_id: value.topic_id,
            order: 0,
        }
    }

    /// What the log reads when it is read again: not all versions carry everything.
    pub(super) fn into_logged(mut self) -> Self {
        if self.expires_at.is_some() {
            self.leader_epoch = LeaderEpoch::UNKNOWN;
            self.topic_id = TopicId::ZERO;
        }
        self
    }

    /// The record of the commit; the names have been checked to fit into one.
    pub(super) fn record(&self, place: &Place) -> Record {
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.committed_at,
            expire_timestamp: self.expires_at.unwrap_or(Timestamp(-1)),
            topic_id: self.topic_id,
        };
        let value = value.encode(value.version()).expect("the metadata was checked");
        Record { key: place.key(), value: Some(value) }
    }

    pub(super) fn is_expired(&self, now: Timestamp, base: Timestamp, retention_ms: i64) -> bool {
        match self.expires_at {
            Some(at) => at <= now,
            None => now.get().saturating_sub(base.get()) >= retention_ms,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        GROUP_OFFSET_BYTES + self.metadata.len()
    }
}

/// Whose offset of which partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) group: Name,
    pub(super) topic: Name,
    pub(super) partition: PartitionIndex,
}

impl Place {
    fn key(&self) -> bytes::Bytes {
        Key::Offset { group: &self.group, topic: &self.topic, partition: self.partition }
            .encode()
            .expect("names were checked when they came")
    }

    /// The record that says that the offset is gone.
    pub(super) fn tombstone(&self) -> Record {
        Record { key: self.key(), value: None }
    }
}

/// The offsets of a group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<Name, BTreeMap<PartitionIndex, Committed>>,
    /// The transactions that will change an offset if they commit.
    open: BTreeMap<(Name, PartitionIndex), BTreeSet<ProducerId>>,
    memory_bytes: usize,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.open.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        self.committed.get(topic)?.get(&partition)
    }

    /// Whether there is an offset, committed or open.
    pub(super) fn contains(&self, topic: &Name, partition: PartitionIndex) -> bool {
        self.get(topic, partition).is_some() || self.open.contains_key(&(topic.clone(), partition))
    }

    pub(super) fn insert(&mut self, topic: &Name, partition: PartitionIndex, committed: Committed) {
        self.memory_bytes += committed.memory_bytes();
        let before = self.committed.entry(topic.clone()).or_default().insert(partition, committed);
        self.memory_bytes -= before.map_or(0, |before| before.memory_bytes());
    }

    /// Forgets an offset; says which transactions held it open, and do so no longer.
    pub(super) fn remove(&mut self, topic: &Name, partition: PartitionIndex) -> BTreeSet<ProducerId> {
        if let Some(partitions) = self.committed.get_mut(topic) {
            if let Some(removed) = partitions.remove(&partition) {
                self.memory_bytes -= removed.memory_bytes();
            }
            if partitions.is_empty() {
                self.committed.remove(topic);
            }
        }
        self.open.remove(&(topic.clone(), partition)).unwrap_or_default()
    }

    /// A transaction will change an offset if it commits.
    pub(super) fn hold_open(&mut self, topic: &Name, partition: PartitionIndex, producer: ProducerId) {
        self.open.entry((topic.clone(), partition)).or_default().insert(producer);
    }

    /// The transaction is over.
    pub(super) fn release(&mut self, topic: &Name, partition: PartitionIndex, producer: ProducerId) {
        let place = (topic.clone(), partition);
        if let Some(producers) = self.open.get_mut(&place) {
            producers.remove(&producer);
            if producers.is_empty() {
                self.open.remove(&place);
            }
        }
    }

    /// Every topic with an offset, committed or open; one may come more than once.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Name> {
        self.committed.keys().chain(self.open.keys().map(|(topic, _)| topic))
    }

    /// Every partition with an offset, committed or open.
    pub(super) fn places(&self) -> BTreeSet<(Name, PartitionIndex)> {
        let committed = self.committed.iter();
        let committed =
            committed.flat_map(|(topic, partitions)| partitions.keys().map(|index| (topic.clone(), *index)));
        committed.chain(self.open.keys().cloned()).collect()
    }

    /// The committed offsets that `is_expired` of topics that pass, unless a transaction holds them open.
    pub(super) fn expired(
        &self,
        passes: impl Fn(&Name) -> bool,
        is_expired: impl Fn(&Committed) -> bool,
        count_max: usize,
    ) -> Vec<(Name, PartitionIndex)> {
        let topics = self.committed.iter().filter(|(topic, _)| passes(topic));
        let all = topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(index, committed)| (topic, *index, committed))
        });
        all.filter(|(topic, index, committed)| {
            is_expired(committed) && !self.open.contains_key(&((*topic).clone(), *index))
        })
        .take(count_max)
        .map(|(topic, index, _)| (topic.clone(), index))
        .collect()
    }

    /// The offsets of the partitions asked for.
    pub(super) fn fetch(&self, asked: &[TopicPartitions], require_stable: bool) -> Vec<FetchedTopic> {
        let fetch_topic = |asked: &TopicPartitions| {
            let fetch = |&partition: &PartitionIndex| {
                let found = self.get(&asked.topic, partition);
                // An offset of a topic that was deleted and made again under its name is none of this topic's.
                let is_same = |found: &&Committed| {
                    let ids = [found.topic_id, asked.topic_id];
                    ids.contains(&TopicId::ZERO) || ids[0] == ids[1]
                };
                self.fetched(&asked.topic, partition, found.filter(is_same), require_stable)
            };
            FetchedTopic {
                topic: asked.topic.clone(),
                topic_id: asked.topic_id,
                partitions: asked.partitions.iter().map(fetch).collect(),
            }
        };
        asked.iter().map(fetch_topic).collect()
    }

    /// All offsets.
    pub(super) fn fetch_all(&self, require_stable: bool) -> Vec<FetchedTopic> {
        let fetch_topic = |(topic, partitions): (&Name, &BTreeMap<PartitionIndex, Committed>)| {
            let fetch = |(index, found): (&PartitionIndex, &Committed)| {
                self.fetched(topic, *index, Some(found), require_stable)
            };
            let topic_id = partitions.values().map(|found| found.topic_id).max().unwrap_or_default();
            FetchedTopic {
                topic: topic.clone(),
                topic_id,
                partitions: partitions.iter().map(fetch).collect(),
            }
        };
        self.committed.iter().map(fetch_topic).collect()
    }

    fn fetched(
        &self,
        topic: &Name,
        partition: PartitionIndex,
        found: Option<&Committed>,
        require_stable: bool,
    ) -> FetchedPartition {
        let is_unstable = require_stable && self.open.contains_key(&(topic.clone(), partition));
        match found.filter(|_| !is_unstable) {
            Some(found) => FetchedPartition {
                partition,
                offset: found.offset,
                leader_epoch: found.leader_epoch,
                metadata: found.metadata.clone(),
                error: None,
            },
            None => FetchedPartition {
                error: is_unstable.then_some(GroupError::UnstableOffset),
                ..FetchedPartition::none(partition)
            },
        }
    }
}

impl FetchedPartition {
    /// Nothing is committed.
    pub(super) fn none(partition: PartitionIndex) -> Self {
        Self {
            partition,
            offset: Offset(-1),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: Box::default(),
            error: None,
        }
    }
}

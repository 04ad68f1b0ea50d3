//! Sets of partitions by topic name, and which partition of `__transaction_state` keeps a transactional id.

use protocol::types::PartitionIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions, by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSet {
    topics: BTreeMap<Arc<str>, BTreeSet<PartitionIndex>>,
    count: usize,
}

impl PartitionSet {
    /// How many partitions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a partition, unless it is there.
    pub fn insert(&mut self, topic: &str, partition: PartitionIndex) {
        let added = match self.topics.get_mut(topic) {
            Some(partitions) => partitions.insert(partition),
            None => self.topics.insert(Arc::from(topic), BTreeSet::from([partition])).is_none(),
        };
        self.count += usize::from(added);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        for (topic, partition) in other.iter() {
            self.insert(topic, partition);
        }
    }

    /// Removes a partition: whether it was there.
    pub fn remove(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        let Some(partitions) = self.topics.get_mut(topic) else { return false };
        let removed = partitions.remove(&partition);
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        self.count -= usize::from(removed);
        removed
    }

    /// Whether the partition is there.
    #[must_use]
    pub fn contains(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.topics.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Whether all of another set are there.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.iter().all(|(topic, partition)| self.contains(topic, partition))
    }

    /// Each partition, with its topic's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PartitionIndex)> {
        self.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |one| (&**topic, *one)))
    }

    /// Each topic with its partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &BTreeSet<PartitionIndex>)> {
        self.topics.iter().map(|(topic, partitions)| (&**topic, partitions))
    }
}

impl<'a> FromIterator<(&'a str, PartitionIndex)> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = (&'a str, PartitionIndex)>>(partitions: I) -> Self {
        let mut set = Self::default();
        partitions.into_iter().for_each(|(topic, partition)| set.insert(topic, partition));
        set
    }
}

/// The partition of `__transaction_state` that keeps a transactional id.
///
/// Java's hash of the string, its sign dropped: Kafka's `Utils.abs`, which makes 0 of the one number without a positive
/// twin.
#[must_use]
pub fn partition_of(transactional_id: &str, partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0);
    let hash = transactional_id
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partition_count)
}

//! What a command changed, so that a shard can act without comparing images.

use std::sync::Arc;

use protocol::types::PartitionIndex;

use super::image::{Image, Topic};

/// A topic before and after. At least one is there; both have one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// As it was; `None` where it was made.
    pub before: Option<Arc<Topic>>,
    /// As it is; `None` where it was deleted.
    pub after: Option<Arc<Topic>>,
}

impl TopicChange {
    /// The topic, as it is or, deleted, as it was.
    ///
    /// # Panics
    /// Never: one side is always there.
    #[must_use]
    pub fn topic(&self) -> &Arc<Topic> {
        self.after.as_ref().or(self.before.as_ref()).expect("a change has a side")
    }

    /// The partitions that were not there before.
    pub fn partitions_created(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        partitions_from(count(self.before.as_ref()), count(self.after.as_ref()))
    }

    /// The partitions that are there no more.
    pub fn partitions_deleted(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        partitions_from(count(self.after.as_ref()), count(self.before.as_ref()))
    }

    /// Whether a topic that was there before and is there now has other overrides.
    #[must_use]
    pub fn settings_changed(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.settings != after.settings,
            _ => false,
        }
    }
}

fn count(topic: Option<&Arc<Topic>>) -> usize {
    topic.map_or(0, |topic| topic.partitions.len())
}

fn partitions_from(start: usize, end: usize) -> impl Iterator<Item = PartitionIndex> {
    (start..end).map(|index| PartitionIndex(i32::try_from(index).expect("partition counts fit an i32")))
}

/// Everything that one command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The topics, each once.
    pub topics: Vec<TopicChange>,
    /// Whether a broker registered.
    pub brokers_changed: bool,
    /// Whether dynamic broker configs changed, of one broker or of the cluster: every topic's effective config may
    /// have changed with them.
    pub broker_settings_changed: bool,
    /// Whether configs of groups changed. Their coordinators look at them with each heartbeat.
    pub group_settings_changed: bool,
    /// Whether a feature is in force at another level.
    pub features_changed: bool,
}

impl Delta {
    /// What lies between two images. Looks at every topic: for images that came by another way than a command.
    #[must_use]
    pub fn between(before: &Image, after: &Image) -> Self {
        let gone = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none());
        let gone = gone.map(|topic| TopicChange { before: Some(topic.clone()), after: None });
        let there = after.topics().filter_map(|topic| {
            let was = before.topic_by_id(topic.id);
            (was != Some(topic)).then(|| TopicChange { before: was.cloned(), after: Some(topic.clone()) })
        });
        Self {
            topics: gone.chain(there).collect(),
            brokers_changed: before.brokers != after.brokers,
            broker_settings_changed: before.cluster_settings != after.cluster_settings
                || before.broker_settings != after.broker_settings,
            group_settings_changed: before.group_settings != after.group_settings,
            features_changed: before.features != after.features,
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
            && !self.brokers_changed
            && !self.broker_settings_changed
            && !self.group_settings_changed
            && !self.features_changed
    }
}

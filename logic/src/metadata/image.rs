//! The metadata as it is after some command: immutable for its readers, cheap to clone, cheap to change a part of.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use rustc_hash::FxBuildHasher;

use super::feature::Levels;
use super::name::unified;
use crate::config::ConfigMap;
use crate::limits::PARTITIONS_MAX;

/// Counts the registrations of the cluster's brokers; a broker's newest one fences its older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerEpoch(pub i64);

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Names one start of one broker: random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// An address that clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name: clients get the address of the listener they came in by.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Its newest registration.
    pub epoch: BrokerEpoch,
    /// The start that registered.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// Its rack.
    pub rack: Option<String>,
}

/// A partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The leader; `None` where no replica can lead.
    pub leader: Option<BrokerId>,
    /// Counts the leaderships.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of this state.
    pub partition_epoch: i32,
    /// The replicas, the preferred leader first. Shared between partitions that are alike.
    pub replicas: Arc<[BrokerId]>,
    /// The replicas that have everything committed.
    pub in_sync: Arc<[BrokerId]>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: Arc<str>,
    /// The id.
    pub id: TopicId,
    /// Its overrides.
    pub settings: Arc<ConfigMap>,
    /// The partitions by index.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Finds a partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        usize::try_from(index.get()).ok().and_then(|index| self.partitions.get(index))
    }

    /// How many partitions there are.
    ///
    /// # Panics
    /// Never: the count is limited far below.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition counts fit an i32")
    }
}

type TopicsById = HashTrieMapSync<TopicId, Arc<Topic>, FxBuildHasher>;
type NamesByUnified = HashTrieMapSync<Arc<str>, Arc<str>, FxBuildHasher>;

/// The whole metadata after the command with number [`Image::sequence`].
#[derive(Clone)]
pub struct Image {
    pub(super) sequence: u64,
    pub(super) cluster_id: Arc<str>,
    pub(super) next_broker_epoch: i64,
    pub(super) next_producer_id: i64,
    pub(super) brokers: Arc<BTreeMap<BrokerId, Broker>>,
    pub(super) cluster_settings: Arc<ConfigMap>,
    pub(super) broker_settings: Arc<BTreeMap<BrokerId, ConfigMap>>,
    pub(super) group_settings: RedBlackTreeMapSync<Arc<str>, Arc<ConfigMap>>,
    pub(super) features: Levels,
    by_name: RedBlackTreeMapSync<Arc<str>, Arc<Topic>>,
    by_id: TopicsById,
    /// Names with `.` or `_`, by their form in which those are alike: no two topics may share one.
    by_unified: NamesByUnified,
    partition_count: usize,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            sequence: 0,
            cluster_id: Arc::from(""),
            next_broker_epoch: 1,
            next_producer_id: 0,
            brokers: Arc::default(),
            cluster_settings: Arc::default(),
            broker_settings: Arc::default(),
            group_settings: RedBlackTreeMapSync::new_sync(),
            features: Levels::default(),
            by_name: RedBlackTreeMapSync::new_sync(),
            by_id: TopicsById::new_with_hasher_and_ptr_kind(FxBuildHasher),
            by_unified: NamesByUnified::new_with_hasher_and_ptr_kind(FxBuildHasher),
            partition_count: 0,
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Image")
            .field("sequence", &self.sequence)
            .field("cluster_id", &self.cluster_id)
            .field("brokers", &self.brokers.len())
            .field("topics", &self.topic_count())
            .field("partitions", &self.partition_count)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.cluster_id == other.cluster_id
            && self.next_broker_epoch == other.next_broker_epoch
            && self.next_producer_id == other.next_producer_id
            && self.brokers == other.brokers
            && self.cluster_settings == other.cluster_settings
            && self.broker_settings == other.broker_settings
            && self.group_settings == other.group_settings
            && self.features == other.features
            && self.topics().eq(other.topics())
    }
}

impl Image {
    /// The number of the newest command in it; 0 for none.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The cluster's id; empty until the first broker has registered.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The brokers by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// Finds a broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// Finds a topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// Finds a topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The topics from a name on (included), in the order of names.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.range::<str, _>((Bound::Included(name), Bound::Unbounded)).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.by_name.size()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The dynamic configs of every broker.
    #[must_use]
    pub fn cluster_settings(&self) -> &Arc<ConfigMap> {
        &self.cluster_settings
    }

    /// The dynamic configs of one broker; `None` where it has none.
    #[must_use]
    pub fn broker_settings(&self, id: BrokerId) -> Option<&ConfigMap> {
        self.broker_settings.get(&id)
    }

    /// The brokers that have dynamic configs of their own.
    pub fn brokers_with_settings(&self) -> impl Iterator<Item = (BrokerId, &ConfigMap)> {
        self.broker_settings.iter().map(|(id, settings)| (*id, settings))
    }

    /// The configs of one group; `None` where it has none of its own.
    #[must_use]
    pub fn group_settings(&self, group: &str) -> Option<&ConfigMap> {
        self.group_settings.get(group).map(AsRef::as_ref)
    }

    /// The groups that have configs of their own, in the order of their names.
    pub fn groups_with_settings(&self) -> impl Iterator<Item = (&Arc<str>, &ConfigMap)> {
        self.group_settings.iter().map(|(name, settings)| (name, settings.as_ref()))
    }

    /// The levels of features that are in force.
    #[must_use]
    pub const fn features(&self) -> Levels {
        self.features
    }

    /// The topic whose name differs from this one in `.` and `_` only.
    pub(super) fn topic_colliding(&self, name: &str) -> Option<&Arc<str>> {
        unified(name).and_then(|unified| self.by_unified.get(unified.as_str()))
    }

    /// Adds a topic.
    pub(super) fn insert_topic(&mut self, topic: &Arc<Topic>) {
        assert!(self.topic(&topic.name).is_none(), "topic {} is there already", topic.name);
        assert!(self.topic_by_id(topic.id).is_none(), "topic id {} is there already", topic.id);
        assert!(!topic.partitions.is_empty(), "topic {} has no partition", topic.name);
        self.partition_count += topic.partitions.len();
        assert!(self.partition_count <= PARTITIONS_MAX);
        self.by_name.insert_mut(topic.name.clone(), topic.clone());
        self.by_id.insert_mut(topic.id, topic.clone());
        if let Some(unified) = unified(&topic.name) {
            self.by_unified.insert_mut(Arc::from(unified), topic.name.clone());
        }
    }

    /// Removes a topic.
    pub(super) fn remove_topic(&mut self, topic: &Topic) {
        assert!(self.by_name.remove_mut(&topic.name), "topic {} is not there", topic.name);
        assert!(self.by_id.remove_mut(&topic.id), "topic id {} is not there", topic.id);
        if let Some(unified) = unified(&topic.name) {
            assert!(self.by_unified.remove_mut(unified.as_str()), "topic {} has no unified name", topic.name);
        }
        self.partition_count -= topic.partitions.len();
    }

    /// Replaces a topic by its next state: same name and id, partitions never fewer.
    pub(super) fn replace_topic(&mut self, next: &Arc<Topic>) {
        let before = self.by_id.get(&next.id).expect("the topic that is replaced is there");
        assert_eq!(before.name, next.name, "a topic keeps its name");
        assert!(before.partitions.len() <= next.partitions.len(), "partitions are never taken away");
        self.partition_count += next.partitions.len() - before.partitions.len();
        assert!(self.partition_count <= PARTITIONS_MAX);
        self.by_name.insert_mut(next.name.clone(), next.clone());
        self.by_id.insert_mut(next.id, next.clone());
    }
}

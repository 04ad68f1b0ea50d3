//! What can be asked of the metadata, what it answers, and why it refuses.

use std::sync::Arc;

use protocol::types::{BrokerId, PartitionIndex, ProducerId, TopicId};

use super::image::{BrokerEpoch, Incarnation, Listener, Topic};
use crate::config::{ConfigError, GroupTerms, Operation};

/// One entry of the metadata log. A command names many resources where Kafka's request does: each gets an answer
/// of its own, and all of them cost one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes topics.
    CreateTopics(Vec<NewTopic>),
    /// Removes topics and all that is theirs.
    DeleteTopics(Vec<TopicReference>),
    /// Adds partitions to topics.
    CreatePartitions(Vec<MorePartitions>),
    /// Changes the configs of topics, groups, brokers and the cluster.
    AlterConfigs(Vec<Alteration>),
    /// Hands a block of producer ids to a broker, never to be handed out again.
    AllocateProducerIds {
        /// Who asks.
        broker: BrokerId,
        /// Its registration; an older one is refused.
        broker_epoch: BrokerEpoch,
    },
    /// A broker's start.
    RegisterBroker(RegisterBroker),
    /// Puts features in force at other levels: all of these or none.
    UpdateFeatures(Vec<FeatureUpdate>),
}

/// Another level for a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature's name, known or not.
    pub feature: String,
    /// The level.
    pub level: i16,
    /// Which way whoever asks believes to go.
    pub direction: Direction,
}

/// Which way a feature's level is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Up.
    Upgrade,
    /// Down. No feature here loses anything by that, so that safe and unsafe downgrades are the same.
    Downgrade,
    /// The client said something else.
    Unknown,
}

/// A topic to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Drawn at random by whoever makes the command.
    pub id: TopicId,
    /// Partitions and replicas.
    pub shape: TopicShape,
    /// Config overrides; a missing value is refused.
    pub settings: Vec<(String, Option<String>)>,
}

/// How many partitions and replicas a topic gets, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicShape {
    /// The metadata places them. Defaults are filled in before the command is made.
    Counts {
        /// Partitions.
        partition_count: i32,
        /// Replicas of each.
        replication_factor: i16,
    },
    /// Whoever asks has placed them.
    Assigned(Vec<Assignment>),
}

/// The replicas of one partition, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: PartitionIndex,
    /// Its replicas.
    pub brokers: Vec<BrokerId>,
}

/// Names a topic that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicReference {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// More partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic's name.
    pub topic: String,
    /// The count afterwards.
    pub count: i32,
    /// The replicas of each new partition in order; `None`: the metadata places them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic, by name.
    Topic(String),
    /// One broker.
    Broker(BrokerId),
    /// Every broker.
    Cluster,
    /// A group, by name: one that exists or not.
    Group {
        /// Its name.
        name: String,
        /// What the broker that asks lets groups be configured to: its own file says so, so the command must.
        terms: GroupTerms,
    },
}

/// Changes of one resource's configs: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// Whose.
    pub resource: Resource,
    /// Whether the changes are all that holds afterwards (AlterConfigs), or change what holds.
    pub replace: bool,
    /// The changes.
    pub changes: Vec<ConfigChange>,
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The config.
    pub name: String,
    /// What happens to it.
    pub operation: Operation,
    /// With what; nothing when it is deleted.
    pub value: Option<String>,
}

/// A broker says that it has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The cluster that its data directory belongs to. The first registration names the cluster.
    pub cluster_id: String,
    /// Its id.
    pub broker: BrokerId,
    /// Drawn at random by each start. Registering one incarnation twice changes nothing the second time.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// Its rack.
    pub rack: Option<String>,
}

/// Producer ids from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first one.
    pub first: ProducerId,
    /// How many.
    pub count: i64,
}

/// The answer to a command; one element for each resource it named, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The topics as they were made.
    CreateTopics(Vec<Result<Arc<Topic>, MetadataError>>),
    /// The topics as they were.
    DeleteTopics(Vec<Result<Arc<Topic>, MetadataError>>),
    /// The topics as they are now.
    CreatePartitions(Vec<Result<Arc<Topic>, MetadataError>>),
    /// Nothing to say.
    AlterConfigs(Vec<Result<(), MetadataError>>),
    /// The block.
    AllocateProducerIds(Result<ProducerIdBlock, MetadataError>),
    /// The registration's epoch.
    RegisterBroker(Result<BrokerEpoch, MetadataError>),
    /// Nothing to say.
    UpdateFeatures(Result<(), MetadataError>),
}

/// Why a command, or one resource of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The name breaks the rules, or another topic is too much like it.
    #[error("{0}")]
    InvalidTopicName(String),
    /// There is one already.
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    /// There is none of this name.
    #[error("This server does not host this topic-partition.")]
    UnknownTopic(String),
    /// There is none of this id.
    #[error("This server does not host this topic ID.")]
    UnknownTopicId(TopicId),
    /// The number of partitions can't be.
    #[error("{0}")]
    InvalidPartitions(String),
    /// The number of replicas can't be.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// The replicas can't be where they were asked to be.
    #[error("{0}")]
    InvalidReplicaAssignment(String),
    /// The config can't be.
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// The feature can't have that level.
    #[error("{0}")]
    InvalidFeatureUpdate(String),
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// A limit of this broker forbids it.
    #[error("{0}")]
    LimitExceeded(String),
    /// No broker of this id has ever registered.
    #[error("Broker ID {0} is not currently registered.")]
    BrokerNotRegistered(BrokerId),
    /// Another start of the broker has registered since.
    #[error("broker {broker} asks with epoch {asked}, but its registration has {registered}")]
    StaleBrokerEpoch {
        /// Who asked.
        broker: BrokerId,
        /// Its epoch.
        asked: BrokerEpoch,
        /// The epoch that holds.
        registered: BrokerEpoch,
    },
    /// The broker's data directory belongs to another cluster.
    #[error("this is cluster {cluster}, the broker's data directory belongs to cluster {asked}")]
    InconsistentClusterId {
        /// This cluster.
        cluster: String,
        /// What the broker said.
        asked: String,
    },
}

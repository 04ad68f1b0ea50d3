//! Topics as the cluster describes them: partitions and replicas, and where each value of a configuration comes from.
//!
//! Asked for anew each time: nothing is kept, and nothing of what the client keeps is used.

use std::collections::BTreeSet;

use protocol::error::KafkaError;
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
};
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

use super::{Admin, RESOURCE_TOPIC};
use crate::error::ClientError;

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id; zero where the cluster has no topic ids.
    pub id: TopicId,
    /// Whether the broker keeps it for itself.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its index.
    pub index: PartitionIndex,
    /// Its leader; none where it has none now.
    pub leader: Option<BrokerId>,
    /// The leader's epoch; [`LeaderEpoch::UNKNOWN`] where the cluster doesn't tell.
    pub leader_epoch: LeaderEpoch,
    /// All replicas.
    pub replicas: Vec<BrokerId>,
    /// The replicas that have all that is committed.
    pub in_sync: Vec<BrokerId>,
    /// The replicas that are away.
    pub offline: Vec<BrokerId>,
}

/// A value of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its key.
    pub name: String,
    /// The value that is in force; none where it is a secret.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: ConfigSource,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// It was set for the topic.
    Topic,
    /// From the brokers' configuration.
    Broker,
    /// It is what holds if nobody sets anything.
    Default,
    /// From elsewhere.
    Other(i8),
}

impl ConfigSource {
    const fn read(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2..=4 => Self::Broker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

impl Admin {
    /// All topics, by name.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn topics(&self) -> Result<Vec<TopicDescription>, ClientError> {
        let mut topics = self.described(None).await?;
        topics.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// These topics, in this order.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn describe_topics(&self, names: &[&str]) -> Result<Vec<TopicDescription>, ClientError> {
        let described = self.described(Some(names)).await?;
        let find = |name: &&str| {
            let found = described.iter().find(|topic| topic.name == *name);
            found.cloned().ok_or_else(|| ClientError::UnknownTopic((*name).to_owned()))
        };
        names.iter().map(find).collect()
    }

    /// The topics of these names, or all, in whatever order the broker has them.
    async fn described(&self, names: Option<&[&str]>) -> Result<Vec<TopicDescription>, ClientError> {
        let wanted = names.map(|names| {
            let topics =
                names.iter().map(|name| MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(*name) });
            topics.collect()
        });
        let request = MetadataRequest {
            topics: wanted,
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        let answer = self.client.any_connection().await?.call(&request).await?;
        let response: MetadataResponse<'_> = answer.decode()?;
        response.topics.iter().map(|topic| self.read_topic(topic)).collect()
    }

    fn read_topic(&self, topic: &MetadataResponseTopic<'_>) -> Result<TopicDescription, ClientError> {
        let name = topic.name.unwrap_or_default();
        match topic.error_code.into_result() {
            Err(KafkaError::UnknownTopicOrPartition) => {
                return Err(ClientError::UnknownTopic(name.to_owned()));
            }
            // Partitions without a leader are told one by one.
            Ok(()) | Err(KafkaError::LeaderNotAvailable) => {}
            Err(_) => self.client.check(&format!("describe {name}"), topic.error_code, None)?,
        }
        let mut partitions: Vec<PartitionDescription> = topic.partitions.iter().map(read_partition).collect();
        partitions.sort_unstable_by_key(|partition| partition.index);
        Ok(TopicDescription {
            name: name.to_owned(),
            id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions,
        })
    }

    /// The configuration of a topic, key by key, with where each value comes from.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn describe_topic_configs(&self, topic: &str) -> Result<Vec<TopicConfig>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic,
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: false,
        };
        let answer = self.client.any_connection().await?.call(&request).await?;
        let response: DescribeConfigsResponse<'_> = answer.decode()?;
        let mut configs = Vec::new();
        for result in &response.results {
            let doing = format!("read the configuration of topic {topic}");
            self.client.check(&doing, result.error_code, result.error_message)?;
            configs.extend(result.configs.iter().map(read_config));
        }
        configs.sort_unstable_by(|one: &TopicConfig, other| one.name.cmp(&other.name));
        Ok(configs)
    }
}

/// Whether a configuration has this value of a key, or none of the topic's own. Of a key that brokers take and never describe
/// nothing else can be said.
pub(super) fn shows(described: &[TopicConfig], name: &str, value: Option<&str>) -> bool {
    let Some(config) = described.iter().find(|config| config.name == name) else { return true };
    match value {
        None => config.source != ConfigSource::Topic,
        // A secret is not shown.
        Some(value) => {
            let is_same = config.value.as_deref().is_none_or(|shown| is_same_value(shown, value));
            config.source == ConfigSource::Topic && is_same
        }
    }
}

/// Whether two values may mean the same: brokers show values as they have read them.
fn is_same_value(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>()) {
        return one == other;
    }
    if let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) {
        return one.total_cmp(&other).is_eq();
    }
    let items = |list: &str| {
        list.split(',').map(|item| item.trim().to_ascii_lowercase()).collect::<BTreeSet<String>>()
    };
    items(one) == items(other)
}

fn read_partition(partition: &MetadataResponsePartition) -> PartitionDescription {
    PartitionDescription {
        index: partition.partition_index,
        leader: Some(partition.leader_id).filter(|leader| leader.0 >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        in_sync: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
    }
}

fn read_config(config: &DescribeConfigsResourceResult<'_>) -> TopicConfig {
    TopicConfig {
        name: config.name.to_owned(),
        value: config.value.map(str::to_owned),
        source: ConfigSource::read(config.config_source),
    }
}

#[cfg(test)]
mod tests;

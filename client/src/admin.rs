//! Calls that change and describe the cluster: topics, offsets, configurations; groups and transactions (describe only).

mod groups;
mod transactions;

mod describe;

use std::collections::BTreeMap;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use crate::Client;
use crate::connection::Connection;
use crate::error::ClientError;
pub use groups::{GroupDescription, GroupKind, GroupMember, GroupState, ListedGroup};
pub use transactions::{ListedTransaction, TransactionDescription, TransactionState};

use describe::shows;
pub use describe::{ConfigSource, PartitionDescription, TopicConfig, TopicDescription};

/// What a resource is in requests about configurations: a topic.
const RESOURCE_TOPIC: i8 = 2;
/// A key is given a value.
const CONFIG_SET: i8 = 0;
/// A key loses its value, and has its default.
const CONFIG_DELETE: i8 = 1;

/// Calls that change and describe the cluster.
pub struct Admin {
    client: Client,
}

/// A topic to make.
#[derive(Clone, Debug)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions; -1 for the broker's default.
    pub partition_count: i32,
    /// How many replicas; -1 for the broker's default.
    pub replication_factor: i16,
    /// Its configuration, by Kafka's names.
    pub configs: &'a [(&'a str, &'a str)],
}

impl<'a> NewTopic<'a> {
    /// A topic with so many partitions, otherwise as the broker likes it.
    #[must_use]
    pub const fn new(name: &'a str, partition_count: i32) -> Self {
        Self { name, partition_count, replication_factor: -1, configs: &[] }
    }
}

/// A place in a partition to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first offset there is.
    Earliest,
    /// The end: the high watermark, or the last stable offset for who reads committed records.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after this time.
    Time(Timestamp),
}

impl At {
    const fn wire(self) -> Timestamp {
        match self {
            Self::Latest => Timestamp(-1),
            Self::Earliest => Timestamp(-2),
            Self::MaxTimestamp => Timestamp(-3),
            Self::Time(time) => time,
        }
    }
}

/// Whether what open and aborted transactions wrote is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Everything is.
    #[default]
    ReadUncommitted,
    /// Only what is committed.
    ReadCommitted,
}

impl Isolation {
    pub(crate) const fn wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: String,
    /// Its index.
    pub index: PartitionIndex,
}

impl Partition {
    /// A partition.
    pub fn new(topic: impl Into<String>, index: i32) -> Self {
        Self { topic: topic.into(), index: PartitionIndex(index) }
    }
}

impl Admin {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// Makes topics, and waits until the cluster describes each with all of its partitions led.
    ///
    /// # Errors
    /// The broker refuses one (the others may have been made), or no broker answers.
    pub async fn create_topics(&self, topics: &[NewTopic<'_>]) -> Result<(), ClientError> {
        let creatable = topics.iter().map(|topic| CreatableTopic {
            name: topic.name,
            num_partitions: topic.partition_count,
            replication_factor: topic.replication_factor,
            assignments: Vec::new(),
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig { name, value: Some(value) })
                .collect(),
        });
        let request = CreateTopicsRequest {
            topics: creatable.collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let answer = self.client.any_connection().await?.call(&request).await?;
        let response: CreateTopicsResponse<'_> = answer.decode()?;
        for result in &response.topics {
            let doing = format!("create topic {}", result.name);
            self.client.check(&doing, result.error_code, result.error_message)?;
        }
        for topic in topics {
            self.until_led(topic.name).await?;
        }
        Ok(())
    }

    /// Waits until all partitions of a topic have leaders.
    async fn until_led(&self, name: &str) -> Result<(), ClientError> {
        self.client
            .until_done(&format!("describe {name}"), async || {
                let topic = self.client.topic(name).await?;
                let is_led = !topic.partitions.is_empty()
                    && topic.partitions.iter().all(|partition| partition.leader.is_some());
                if is_led { Ok(()) } else { Err(ClientError::UnknownTopic(name.to_owned())) }
            })
            .await
    }

    /// Has a topic grow to so many partitions in all, and waits until the cluster describes each of them as led. Keys may
    /// go to other partitions from then on.
    ///
    /// # Errors
    /// There is no such topic, it has as many or more, or no broker answers.
    pub async fn create_partitions(&self, topic: &str, partition_count: i32) -> Result<(), ClientError> {
        let growing = CreatePartitionsTopic { name: topic, count: partition_count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![growing],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let answer = self.client.any_connection().await?.call(&request).await?;
        let response: CreatePartitionsResponse<'_> = answer.decode()?;
        let doing = format!("add partitions to topic {topic}");
        for result in &response.results {
            self.client.check(&doing, result.error_code, result.error_message)?;
        }
        let last = PartitionIndex(partition_count - 1);
        self.client.refresh().await?;
        self.client
            .until_done(&doing, async || {
                self.client.topic(topic).await?.partition(last).map(drop).map_err(|_| ClientError::Kafka {
                    doing: doing.clone(),
                    error: KafkaError::LeaderNotAvailable,
                    message: None,
                })
            })
            .await?;
        self.until_led(topic).await
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// The broker refuses one (the others may be gone), or no broker answers.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<(), ClientError> {
        let connection = self.client.any_connection().await?;
        let by_state = connection.version(ApiKey::DeleteTopics)? >= 6;
        let state = |name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO };
        let request = DeleteTopicsRequest {
            topics: if by_state { names.iter().copied().map(state).collect() } else { Vec::new() },
            topic_names: if by_state { Vec::new() } else { names.to_vec() },
            timeout_ms: self.timeout_ms(),
        };
        let answer = connection.call(&request).await?;
        let response: DeleteTopicsResponse<'_> = answer.decode()?;
        for result in &response.responses {
            let name = result.name.unwrap_or_default();
            let doing = format!("delete topic {name}");
            self.client.check(&doing, result.error_code, result.error_message)?;
            self.client.cluster().forget(name);
        }
        Ok(())
    }

    /// The configuration of a topic: every key and its value, whether set or a default; none where it is a secret.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn topic_configs(&self, topic: &str) -> Result<BTreeMap<String, Option<String>>, ClientError> {
        let configs = self.describe_topic_configs(topic).await?;
        Ok(configs.into_iter().map(|config| (config.name, config.value)).collect())
    }

    /// Sets keys of a topic's configuration, or puts them back to their defaults where no value is given, and waits until a
    /// broker describes it so: others may come to know of it a moment later.
    ///
    /// # Errors
    /// There is no such topic, the broker refuses a value, or no broker answers in time.
    pub async fn set_topic_configs(
        &self,
        topic: &str,
        changes: &[(&str, Option<&str>)],
    ) -> Result<(), ClientError> {
        let configs = changes.iter().map(|(name, value)| AlterableConfig {
            name,
            config_operation: if value.is_some() { CONFIG_SET } else { CONFIG_DELETE },
            value: *value,
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic,
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let answer = self.client.any_connection().await?.call(&request).await?;
        let response: IncrementalAlterConfigsResponse<'_> = answer.decode()?;
        let doing = format!("change the configuration of topic {topic}");
        for one in &response.responses {
            self.client.check(&doing, one.error_code, one.error_message)?;
        }
        self.client
            .until_done(&doing, async || {
                let described = self.describe_topic_configs(topic).await?;
                let is_described = changes.iter().all(|(name, value)| shows(&described, name, *value));
                if is_described { Ok(()) } else { Err(ClientError::NotDescribed) }
            })
            .await
    }

    /// Looks for offsets, one for each partition asked for, in that order; none where no record is so late.
    ///
    /// # Errors
    /// There is no such topic or partition, or no broker answers in time.
    pub async fn offsets(
        &self,
        wanted: &[(Partition, At)],
        isolation: Isolation,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        // A topic or partition that is not there is no matter of patience.
        for (partition, _) in wanted {
            self.client.topic(&partition.topic).await?.partition(partition.index)?;
        }
        self.client
            .until_done("look for offsets", async || {
                let mut found = vec![None; wanted.len()];
                for ((broker, _), places) in self.by_leader(wanted).await? {
                    self.offsets_from(broker, &places, wanted, isolation, &mut found).await?;
                }
                Ok(found)
            })
            .await
    }

    /// Which places of the list go into which request: by leader, and a partition once in each, as brokers demand.
    async fn by_leader(
        &self,
        wanted: &[(Partition, At)],
    ) -> Result<BTreeMap<(BrokerId, usize), Vec<usize>>, ClientError> {
        let mut leaders: BTreeMap<(BrokerId, usize), Vec<usize>> = BTreeMap::new();
        let mut times: BTreeMap<&Partition, usize> = BTreeMap::new();
        for (place, (partition, _)) in wanted.iter().enumerate() {
            let topic = self.client.topic(&partition.topic).await?;
            let leader = topic.partition(partition.index)?.leader.unwrap_or(BrokerId(-1));
            let time = times.entry(partition).or_default();
            leaders.entry((leader, *time)).or_default().push(place);
            *time += 1;
        }
        Ok(leaders)
    }

    async fn offsets_from(
        &self,
        broker: BrokerId,
        places: &[usize],
        wanted: &[(Partition, At)],
        isolation: Isolation,
        found: &mut [Option<Offset>],
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for place in places {
            topics.entry(&wanted[*place].0.topic).or_default().push(*place);
        }
        let partition = |place: &usize| ListOffsetsPartition {
            partition_index: wanted[*place].0.index,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            timestamp: wanted[*place].1.wire(),
        };
        let request = ListOffsetsRequest {
            replica_id: BrokerId(-1),
            isolation_level: isolation.wire(),
            topics: topics
                .iter()
                .map(|(name, places)| ListOffsetsTopic {
                    name,
                    partitions: places.iter().map(partition).collect(),
                })
                .collect(),
            timeout_ms: self.timeout_ms(),
        };
        let answer = self.client.connection(broker).await?.call(&request).await?;
        let response: ListOffsetsResponse<'_> = answer.decode()?;
        for topic in &response.topics {
            let Some(places) = topics.get(topic.name) else { continue };
            for result in &topic.partitions {
                let doing = format!("look for an offset in {}-{}", topic.name, result.partition_index);
                self.client.check(&doing, result.error_code, None)?;
                for place in places.iter().filter(|place| wanted[**place].0.index == result.partition_index) {
                    found[*place] = Some(result.offset).filter(|offset| *offset >= Offset(0));
                }
            }
        }
        Ok(())
    }

    /// Asks each broker for what it alone has, and puts it all together.
    async fn on_each_broker<T>(
        &self,
        doing: &str,
        attempt: impl AsyncFn(Connection) -> Result<Vec<T>, ClientError>,
    ) -> Result<Vec<T>, ClientError> {
        self.client
            .until_done(doing, async || {
                let mut all = Vec::new();
                for broker in self.client.brokers() {
                    all.extend(attempt(self.client.connection(broker).await?).await?);
                }
                Ok(all)
            })
            .await
    }

    fn timeout_ms(&self) -> i32 {
        let timeout = self.client.cluster().connection_options().request_timeout;
        i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests;

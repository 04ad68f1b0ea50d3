//! Topics, leaders and offsets: what must be known and made before a load can run.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{Connection, ConnectionOptions};
use glommio::{LocalExecutorBuilder, Placement};
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use protocol::types::{PartitionIndex, Timestamp};

use super::thread::LoadError;
use crate::interrupt;

/// How long a new topic may take until every partition has a leader that answers.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
const SETTLE_LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LIST_OFFSETS_VERSION: i16 = 4;
const DELETE_TOPICS_VERSION: i16 = 5;

/// One partition of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the stream's topics.
    pub topic: usize,
    pub index: PartitionIndex,
    /// Which of the layout's brokers leads it.
    pub leader: usize,
}

/// Where a stream's partitions are, numbered through: topic by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub topics: Vec<String>,
    pub places: Vec<Place>,
    /// `host:port` of every leader.
    pub brokers: Vec<String>,
}

/// A connection to each leader of a layout.
#[derive(Clone)]
pub struct Cluster {
    pub connections: Vec<Connection>,
}

/// Runs what needs connections, on this thread, outside of any load.
pub fn block_on<T>(future: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).name("bench-set-up").make();
    let executor = executor.map_err(|error| LoadError(format!("no io_uring executor: {error}")))?;
    executor.run(future)
}

/// How the tool's connections behave: the load bounds itself by its requests in flight, so the connection must not.
fn connection_options() -> ConnectionOptions {
    ConnectionOptions {
        client_id: "iolite-bench".to_owned(),
        request_timeout: Duration::from_secs(60),
        in_flight_max: 1_000,
        unsent_bytes_max: usize::MAX,
        ..ConnectionOptions::default()
    }
}

impl Cluster {
    /// Connects to every leader.
    pub async fn connect(layout: &Layout) -> Result<Self, LoadError> {
        Self::open(layout, &connection_options()).await
    }

    /// The same for requests that nobody answers: their senders wait while so many bytes are not sent.
    pub async fn connect_unanswered(layout: &Layout, unsent_bytes_max: usize) -> Result<Self, LoadError> {
        Self::open(layout, &ConnectionOptions { unsent_bytes_max, ..connection_options() }).await
    }

    async fn open(layout: &Layout, options: &ConnectionOptions) -> Result<Self, LoadError> {
        let mut connections = Vec::new();
        for broker in &layout.brokers {
            connections.push(Connection::open(broker, options).await?);
        }
        Ok(Self { connections })
    }

    /// An offset of each partition: -1 asks for the end, -2 for the start.
    pub async fn offsets(&self, layout: &Layout, at: i64) -> Result<Vec<i64>, LoadError> {
        let mut found = vec![-1; layout.places.len()];
        for (broker, connection) in self.connections.iter().enumerate() {
            let mut topics = BTreeMap::<usize, Vec<ListOffsetsPartition>>::new();
            for place in layout.places.iter().filter(|place| place.leader == broker) {
                let asked = ListOffsetsPartition {
                    partition_index: place.index,
                    timestamp: Timestamp(at),
                    ..Default::default()
                };
                topics.entry(place.topic).or_default().push(asked);
            }
            let topic = |(topic, partitions): (usize, _)| ListOffsetsTopic {
                name: &layout.topics[topic],
                partitions,
            };
            let topics = topics.into_iter().map(topic).collect();
            let request = ListOffsetsRequest { replica_id: (-1).into(), topics, ..Default::default() };
            let answer = connection.try_send_in(LIST_OFFSETS_VERSION, &request)?.await?;
            let response: ListOffsetsResponse<'_> = answer.decode()?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let (name, index) = (topic.name, partition.partition_index);
                    if !partition.error_code.is_none() {
                        return Err(LoadError(format!(
                            "offsets of {name}-{}: {}",
                            index.0, partition.error_code
                        )));
                    }
                    if let Some(at) = layout.position(name, index) {
                        found[at] = partition.offset.0;
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Layout {
    /// The number of a partition.
    pub fn position(&self, topic: &str, index: PartitionIndex) -> Option<usize> {
        let topic = self.topics.iter().position(|name| name == topic)?;
        self.places.iter().position(|place| place.topic == topic && place.index == index)
    }
}

/// Makes topics and waits until every partition has a leader that answers.
pub async fn create_topics(
    bootstrap: SocketAddr,
    names: &[String],
    partitions: u32,
    configs: &BTreeMap<String, String>,
) -> Result<Layout, LoadError> {
    let connection = Connection::open(&bootstrap.to_string(), &connection_options()).await?;
    let config = |(name, value): (&'_ String, &'_ String)| (name.clone(), value.clone());
    let configs: Vec<(String, String)> = configs.iter().map(config).collect();
    let topic = |name: &'_ String| -> CreatableTopic<'_> {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) });
        CreatableTopic {
            name: names.iter().find(|other| *other == name).expect("one of them"),
            num_partitions: i32::try_from(partitions).expect("a checked number of partitions"),
            replication_factor: -1,
            assignments: Vec::new(),
            configs: configs.collect(),
        }
    };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: 60_000,
        validate_only: false,
    };
    let answer = connection.call(&request).await?;
    let response: CreateTopicsResponse<'_> = answer.decode()?;
    if let Some(topic) = response.topics.iter().find(|topic| !topic.error_code.is_none()) {
        let message = topic.error_message.unwrap_or("no reason given");
        return Err(LoadError(format!(
            "the broker does not make topic {}: {} ({message})",
            topic.name, topic.error_code
        )));
    }
    settle(&connection, names, partitions).await
}

async fn settle(connection: &Connection, names: &[String], partitions: u32) -> Result<Layout, LoadError> {
    let deadline = Instant::now() + SETTLE_TIME_MAX;
    loop {
        let outcome = match look(connection, names, partitions).await {
            Ok(layout) => match Cluster::connect(&layout).await {
                Ok(cluster) => cluster.offsets(&layout, -1).await.map(|_| layout),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match outcome {
            Ok(layout) => return Ok(layout),
            Err(_) if interrupt::was_asked() => return Err(LoadError("interrupted".into())),
            Err(error) if Instant::now() > deadline => {
                return Err(LoadError(format!("the new topics are not served: {error}")));
            }
            Err(_) => glommio::timer::sleep(SETTLE_LOOK_INTERVAL).await,
        }
    }
}

async fn look(connection: &Connection, names: &[String], partitions: u32) -> Result<Layout, LoadError> {
    let topics = names.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = connection.call(&request).await?;
    let response: MetadataResponse<'_> = answer.decode()?;
    let mut layout = Layout { topics: names.to_vec(), ..Layout::default() };
    let mut known = BTreeMap::<i32, usize>::new();
    for (number, name) in names.iter().enumerate() {
        let topic = response.topics.iter().find(|topic| topic.name == Some(name));
        let topic = topic.ok_or_else(|| LoadError(format!("topic {name} is not there")))?;
        let mut found: Vec<_> = topic.partitions.iter().collect();
        found.sort_by_key(|partition| partition.partition_index.0);
        if u32::try_from(found.len()).ok() != Some(partitions) {
            return Err(LoadError(format!(
                "topic {name} has {} partitions, {partitions} were asked for",
                found.len()
            )));
        }
        for partition in found {
            let id = partition.leader_id;
            let broker = response.brokers.iter().find(|broker| broker.node_id == id);
            let broker = broker.ok_or_else(|| LoadError(format!("a partition of {name} has no leader")))?;
            let leader = *known.entry(id.0).or_insert_with(|| {
                layout.brokers.push(format!("{}:{}", broker.host, broker.port));
                layout.brokers.len() - 1
            });
            layout.places.push(Place { topic: number, index: partition.partition_index, leader });
        }
    }
    Ok(layout)
}

/// Deletes topics of a broker that goes on after the run.
pub async fn delete_topics(bootstrap: SocketAddr, names: &[String]) -> Result<(), LoadError> {
    let connection = Connection::open(&bootstrap.to_string(), &connection_options()).await?;
    let topic_names = names.iter().map(String::as_str).collect();
    let request = DeleteTopicsRequest { topic_names, timeout_ms: 60_000, ..Default::default() };
    let answer = connection.try_send_in(DELETE_TOPICS_VERSION, &request)?.await?;
    let response: DeleteTopicsResponse<'_> = answer.decode()?;
    // One that was refused when it was to be made is not there.
    let is_gone = |code: ErrorCode| code.is_none() || code == KafkaError::UnknownTopicOrPartition.into();
    let refused = response.responses.iter().find(|topic| !is_gone(topic.error_code));
    refused.map_or(Ok(()), |topic| {
        Err(LoadError(format!("topic {:?} is left behind: {}", topic.name, topic.error_code)))
    })
}

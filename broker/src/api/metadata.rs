//! Metadata (key 3): brokers, topics, leaders. Creates missing topics where client and broker allow it.

use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::{Command, Image, NewTopic, Response, Topic, TopicShape};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use protocol::types::{BrokerId, TopicId};

use super::errors::{metadata_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// What a client without authorisation may do, where it asks: unknown.
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

/// One topic of the answer.
enum Entry<'a> {
    Found(Arc<Topic>),
    Missing { name: Option<&'a str>, id: TopicId, error: KafkaError },
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &MetadataRequest<'_>, reply: Reply) {
    let entries = match &request.topics {
        Some(asked) if !(asked.is_empty() && reply.version() == 0) => {
            let create = request.allow_auto_topic_creation && shard.config.auto_create_topics;
            look_up(shard, asked.iter().map(|topic| (topic.name, topic.topic_id)), create).await
        }
        _ => shard.image().topics().map(|topic| Entry::Found(Arc::clone(topic))).collect(),
    };
    let image = shard.image();
    let brokers = brokers(&image);
    reply.send(&MetadataResponse {
        throttle_time_ms: 0,
        brokers: brokers
            .iter()
            .map(|(node_id, host, port)| MetadataResponseBroker {
                node_id: *node_id,
                host,
                port: *port,
                rack: None,
            })
            .collect(),
        cluster_id: Some(image.cluster_id()),
        controller_id: shard.broker_id,
        topics: entries.iter().map(topic).collect(),
        cluster_authorized_operations: OPERATIONS_UNKNOWN,
        error_code: KafkaError::None.into(),
    });
}

/// The brokers and where clients reach them.
pub fn brokers(image: &Image) -> Vec<(BrokerId, String, i32)> {
    image
        .brokers()
        .filter_map(|broker| {
            let listener = broker.listeners.first()?;
            Some((broker.id, listener.host.clone(), i32::from(listener.port)))
        })
        .collect()
}

async fn look_up<'a>(
    shard: &Rc<Shard>,
    asked: impl Iterator<Item = (Option<&'a str>, TopicId)>,
    create: bool,
) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    for (name, id) in asked {
        let found = find(&shard.image(), name, id);
        entries.push(match (found, name) {
            (Some(topic), _) => Entry::Found(topic),
            (None, Some(name)) if create && id == TopicId::ZERO => create_missing(shard, name).await,
            (None, Some(name)) => {
                let error = match logic::metadata::validate_topic_name(name) {
                    Ok(()) => KafkaError::UnknownTopicOrPartition,
                    Err(_) => KafkaError::InvalidTopicException,
                };
                Entry::Missing { name: Some(name), id, error }
            }
            (None, None) => Entry::Missing { name: None, id, error: KafkaError::UnknownTopicId },
        });
    }
    entries
}

fn find(image: &Image, name: Option<&str>, id: TopicId) -> Option<Arc<Topic>> {
    match name {
        Some(name) if id == TopicId::ZERO => image.topic(name).cloned(),
        _ => image.topic_by_id(id).cloned(),
    }
}

/// Makes a topic that a client wants to use. Kafka answers LEADER_NOT_AVAILABLE and lets the client ask again; here the
/// topic is ready when the answer leaves.
async fn create_missing<'a>(shard: &Rc<Shard>, name: &'a str) -> Entry<'a> {
    let missing = |error| Entry::Missing { name: Some(name), id: TopicId::ZERO, error };
    let topic = NewTopic {
        name: name.to_owned(),
        id: shard.random_topic_id(),
        shape: TopicShape::Counts {
            partition_count: shard.config.default_partition_count,
            replication_factor: shard.config.default_replication_factor,
        },
        settings: Vec::new(),
    };
    match shard.submit(Command::CreateTopics(vec![topic])).await {
        Ok(Response::CreateTopics(mut outcomes)) => match outcomes.pop() {
            Some(Ok(topic)) => Entry::Found(topic),
            Some(Err(error)) => match find(&shard.image(), Some(name), TopicId::ZERO) {
                Some(topic) => Entry::Found(topic),
                None => missing(metadata_error(&error)),
            },
            None => missing(KafkaError::UnknownServerError),
        },
        Ok(_) => missing(KafkaError::UnknownServerError),
        Err(_) => missing(KafkaError::LeaderNotAvailable),
    }
}

fn topic<'a>(entry: &'a Entry<'a>) -> MetadataResponseTopic<'a> {
    match entry {
        Entry::Found(topic) => MetadataResponseTopic {
            error_code: KafkaError::None.into(),
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: false,
            partitions: partitions(topic),
            topic_authorized_operations: OPERATIONS_UNKNOWN,
        },
        Entry::Missing { name, id, error } => MetadataResponseTopic {
            error_code: told(ApiKey::Metadata, *error),
            name: *name,
            topic_id: *id,
            is_internal: false,
            partitions: Vec::new(),
            topic_authorized_operations: OPERATIONS_UNKNOWN,
        },
    }
}

fn partitions(topic: &Topic) -> Vec<MetadataResponsePartition> {
    (0..)
        .zip(&topic.partitions)
        .map(|(index, partition)| MetadataResponsePartition {
            error_code: match partition.leader {
                Some(_) => KafkaError::None.into(),
                None => KafkaError::LeaderNotAvailable.into(),
            },
            partition_index: i32::into(index),
            leader_id: partition.leader.unwrap_or(BrokerId(-1)),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.to_vec(),
            isr_nodes: partition.in_sync.to_vec(),
            offline_replicas: Vec::new(),
        })
        .collect()
}

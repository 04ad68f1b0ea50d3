//! Metadata (key 3): brokers, topics, leaders. Creates missing topics where client and broker allow it.

use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::{Command, Image, NewTopic, Response, Topic, TopicShape};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::types::{BrokerId, TopicId};

use super::endpoints::{Endpoint, endpoints};
use super::errors::{metadata_error, told};
use super::once::each_once;
use super::operations;
use super::reply::Reply;
use crate::shard::Shard;
use crate::shard::internal_topics::{internal_topic, is_internal};

/// From this version on a topic can be asked for by its id.
const IDS_VERSION_MIN: i16 = 12;

/// One topic of the answer.
enum Entry<'a> {
    Found(Arc<Topic>),
    Missing { name: Option<&'a str>, id: TopicId, error: KafkaError },
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &MetadataRequest<'_>, reply: Reply) {
    if let Some(refused) = refused(request, reply.version()) {
        return reply.send(&refused);
    }
    let entries = match &request.topics {
        Some(asked) if !(asked.is_empty() && reply.version() == 0) => {
            let create = request.allow_auto_topic_creation && shard.config.auto_create_topics;
            let asked = asked.iter().map(|topic| (topic.name, topic.topic_id));
            look_up(shard, each_once(asked, |asked| *asked).into_iter(), create).await
        }
        _ => shard.image().topics().map(|topic| Entry::Found(Arc::clone(topic))).collect(),
    };
    let image = shard.image();
    reply.send(&response(&image, shard.broker_id, request, &entries));
}

/// Versions 10 and 11 have a field for the id already, but Kafka takes names only: each topic carries the error.
fn refused<'a>(request: &MetadataRequest<'a>, version: i16) -> Option<MetadataResponse<'a>> {
    let asked = request.topics.as_ref().filter(|_| version < IDS_VERSION_MIN)?;
    if asked.iter().all(|topic| topic.name.is_some() && topic.topic_id == TopicId::ZERO) {
        return None;
    }
    let topic = |asked: &MetadataRequestTopic<'a>| MetadataResponseTopic {
        error_code: told(ApiKey::Metadata, KafkaError::InvalidRequest),
        name: Some(asked.name.unwrap_or_default()),
        topic_id: asked.topic_id,
        is_internal: false,
        partitions: Vec::new(),
        topic_authorized_operations: operations::NOT_ASKED,
    };
    Some(MetadataResponse {
        throttle_time_ms: 0,
        brokers: Vec::new(),
        cluster_id: None,
        controller_id: BrokerId(-1),
        topics: asked.iter().map(topic).collect(),
        cluster_authorized_operations: operations::NOT_ASKED,
        error_code: ErrorCode::NONE,
    })
}

fn response<'a>(
    image: &'a Image,
    controller_id: BrokerId,
    request: &MetadataRequest<'_>,
    entries: &'a [Entry<'a>],
) -> MetadataResponse<'a> {
    let if_asked = |asked, operations| if asked { operations } else { operations::NOT_ASKED };
    let topic_operations = if_asked(request.include_topic_authorized_operations, operations::TOPIC);
    MetadataResponse {
        throttle_time_ms: 0,
        brokers: endpoints(image).map(broker).collect(),
        cluster_id: Some(image.cluster_id()),
        controller_id,
        topics: entries.iter().map(|entry| topic(entry, topic_operations)).collect(),
        cluster_authorized_operations: if_asked(
            request.include_cluster_authorized_operations,
            operations::CLUSTER,
        ),
        error_code: ErrorCode::NONE,
    }
}

fn broker(endpoint: Endpoint<'_>) -> MetadataResponseBroker<'_> {
    MetadataResponseBroker {
        node_id: endpoint.id,
        host: endpoint.host,
        port: endpoint.port,
        rack: endpoint.rack,
    }
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
    let id = shard.random_topic_id();
    let topic = internal_topic(&shard.config, name, id).unwrap_or_else(|| NewTopic {
        name: name.to_owned(),
        id,
        shape: TopicShape::Counts {
            partition_count: shard.config.default_partition_count,
            replication_factor: shard.config.default_replication_factor,
        },
        settings: Vec::new(),
    });
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

fn topic<'a>(entry: &'a Entry<'a>, topic_authorized_operations: i32) -> MetadataResponseTopic<'a> {
    match entry {
        Entry::Found(topic) => MetadataResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: partitions(topic),
            topic_authorized_operations,
        },
        Entry::Missing { name, id, error } => MetadataResponseTopic {
            error_code: told(ApiKey::Metadata, *error),
            name: *name,
            topic_id: *id,
            is_internal: false,
            partitions: Vec::new(),
            topic_authorized_operations,
        },
    }
}

fn partitions(topic: &Topic) -> Vec<MetadataResponsePartition> {
    (0..)
        .zip(&topic.partitions)
        .map(|(index, partition)| MetadataResponsePartition {
            error_code: match partition.leader {
                Some(_) => ErrorCode::NONE,
                None => told(ApiKey::Metadata, KafkaError::LeaderNotAvailable),
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

#[cfg(test)]
mod tests;

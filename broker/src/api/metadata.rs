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
use crate::limits::TOPICS_CREATED_AT_ONCE_MAX;
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
            let asked = each_once(asked.iter().map(|topic| (topic.name, topic.topic_id)), |asked| *asked);
            let image = shard.image();
            let mut entries: Vec<_> = asked.into_iter().map(|asked| look_up(&image, asked)).collect();
            if create {
                create_missing(shard, &mut entries).await;
            }
            entries
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

fn look_up<'a>(image: &Image, (name, id): (Option<&'a str>, TopicId)) -> Entry<'a> {
    let error = match (find(image, name, id), name) {
        (Some(topic), _) => return Entry::Found(topic),
        (None, Some(name)) if logic::metadata::validate_topic_name(name).is_err() => {
            KafkaError::InvalidTopicException
        }
        (None, Some(_)) => KafkaError::UnknownTopicOrPartition,
        (None, None) => KafkaError::UnknownTopicId,
    };
    Entry::Missing { name, id, error }
}

fn find(image: &Image, name: Option<&str>, id: TopicId) -> Option<Arc<Topic>> {
    match name {
        Some(name) if id == TopicId::ZERO => image.topic(name).cloned(),
        _ => image.topic_by_id(id).cloned(),
    }
}

/// Makes the topics that a client wants to use, many with each command to the quorum. Kafka answers LEADER_NOT_AVAILABLE and
/// lets the client ask again; here the topics are ready when the answer leaves.
async fn create_missing(shard: &Rc<Shard>, entries: &mut [Entry<'_>]) {
    let mut missing: Vec<_> = entries.iter_mut().filter_map(creatable).collect();
    for some in missing.chunks_mut(TOPICS_CREATED_AT_ONCE_MAX) {
        let topics = some.iter().map(|(name, _)| new_topic(shard, name)).collect();
        let answer = shard.submit(Command::CreateTopics(topics)).await;
        let mut outcomes = answer.map(|response| match response {
            Response::CreateTopics(outcomes) => outcomes.into_iter(),
            other => unreachable!("CreateTopics is answered by {other:?}"),
        });
        let image = shard.image();
        for (name, entry) in some {
            let name = *name;
            let made = match &mut outcomes {
                Ok(outcomes) => outcomes.next().expect("each topic has an outcome").or_else(|error| {
                    // Somebody else may have made it meanwhile.
                    find(&image, Some(name), TopicId::ZERO).ok_or(metadata_error(&error))
                }),
                Err(_) => Err(KafkaError::LeaderNotAvailable),
            };
            **entry = match made {
                Ok(topic) => Entry::Found(topic),
                Err(error) => Entry::Missing { name: Some(name), id: TopicId::ZERO, error },
            };
        }
    }
}

/// The name of a topic that is not there and can be made, and where its entry is.
fn creatable<'e, 'a>(entry: &'e mut Entry<'a>) -> Option<(&'a str, &'e mut Entry<'a>)> {
    match *entry {
        Entry::Missing {
            name: Some(name),
            id: TopicId::ZERO,
            error: KafkaError::UnknownTopicOrPartition,
        } => Some((name, entry)),
        _ => None,
    }
}

fn new_topic(shard: &Shard, name: &str) -> NewTopic {
    let id = shard.random_topic_id();
    internal_topic(&shard.config, name, id).unwrap_or_else(|| NewTopic {
        name: name.to_owned(),
        id,
        shape: TopicShape::Counts {
            partition_count: shard.config.default_partition_count,
            replication_factor: shard.config.default_replication_factor,
        },
        settings: Vec::new(),
    })
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

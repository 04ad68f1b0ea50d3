//! DescribeTopicPartitions (key 75): topics and their partitions, in the order of names, page by page.
//!
//! A page ends where it is full; its cursor names what comes next, whether that still exists when it is asked for or not.

use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::{Image, Partition, Topic, validate_topic_name};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::types::{BrokerId, PartitionIndex, TopicId};

use super::errors::told;
use super::operations;
use super::reply::Reply;
use crate::shard::Shard;
use crate::shard::internal_topics::is_internal;

/// What a page is taken from, in order: each name and its topic, where there is one.
type Candidates<'a> = Vec<(&'a str, Option<&'a Arc<Topic>>)>;

/// Answers.
pub fn handle(shard: &Rc<Shard>, request: &DescribeTopicPartitionsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let count_max = request.response_partition_limit.min(shard.config.partitions_described_max);
    reply.send(&match candidates(&image, request) {
        Ok(candidates) => page(&candidates, request.cursor.as_ref(), count_max),
        Err(error) => refused(request, error),
    });
}

/// The topics asked for, from the cursor on: all, or those named.
fn candidates<'a>(
    image: &'a Image,
    request: &DescribeTopicPartitionsRequest<'a>,
) -> Result<Candidates<'a>, KafkaError> {
    let from = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name);
    if request.cursor.as_ref().is_some_and(|cursor| cursor.partition_index.get() < 0) {
        return Err(KafkaError::InvalidRequest);
    }
    if request.topics.is_empty() {
        return Ok(image.topics_from(from).map(|topic| (&*topic.name, Some(topic))).collect());
    }
    let mut names: Vec<&str> = request.topics.iter().map(|topic| topic.name).collect();
    names.retain(|name| *name >= from);
    names.sort_unstable();
    names.dedup();
    // The cursor comes from a page of the same list.
    if request.cursor.is_some() && names.first() != Some(&from) {
        return Err(KafkaError::InvalidRequest);
    }
    Ok(names.into_iter().map(|name| (name, image.topic(name))).collect())
}

fn page<'a>(
    candidates: &Candidates<'a>,
    cursor: Option<&Cursor<'_>>,
    count_max: i32,
) -> DescribeTopicPartitionsResponse<'a> {
    let mut response =
        DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics: Vec::new(), next_cursor: None };
    let mut left = usize::try_from(count_max).unwrap_or(0).max(1);
    for (name, topic) in candidates {
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: PartitionIndex(0) });
            break;
        }
        let Some(topic) = topic else {
            response.topics.push(missing(name));
            continue;
        };
        let start = cursor.filter(|cursor| cursor.topic_name == *name).map_or(0, |cursor| {
            usize::try_from(cursor.partition_index.get()).expect("the cursor is checked before")
        });
        let end = start.saturating_add(left).min(topic.partitions.len());
        let partitions = topic.partitions.get(start..end).unwrap_or_default();
        left -= partitions.len();
        response.topics.push(found(topic, start, partitions));
        if end < topic.partitions.len() {
            let next = i32::try_from(end).expect("partition counts fit an i32");
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: PartitionIndex(next) });
            break;
        }
    }
    response
}

fn found<'a>(
    topic: &'a Topic,
    start: usize,
    partitions: &[Partition],
) -> DescribeTopicPartitionsResponseTopic<'a> {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: (start..).zip(partitions).map(|(index, state)| partition(index, state)).collect(),
        topic_authorized_operations: operations::TOPIC,
    }
}

fn partition(index: usize, state: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let error = match state.leader {
        Some(_) => KafkaError::None,
        None => KafkaError::LeaderNotAvailable,
    };
    DescribeTopicPartitionsResponsePartition {
        error_code: told(ApiKey::DescribeTopicPartitions, error),
        partition_index: PartitionIndex(i32::try_from(index).expect("partition counts fit an i32")),
        leader_id: state.leader.unwrap_or(BrokerId(-1)),
        leader_epoch: state.leader_epoch,
        replica_nodes: state.replicas.to_vec(),
        isr_nodes: state.in_sync.to_vec(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    }
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic<'_> {
    let error = match validate_topic_name(name) {
        Ok(()) => KafkaError::UnknownTopicOrPartition,
        Err(_) => KafkaError::InvalidTopicException,
    };
    nothing(name, error, operations::TOPIC)
}

fn nothing(
    name: &str,
    error: KafkaError,
    topic_authorized_operations: i32,
) -> DescribeTopicPartitionsResponseTopic<'_> {
    DescribeTopicPartitionsResponseTopic {
        error_code: told(ApiKey::DescribeTopicPartitions, error),
        name: Some(name),
        topic_id: TopicId::ZERO,
        is_internal: false,
        partitions: Vec::new(),
        topic_authorized_operations,
    }
}

/// The response has no error of its own: each topic carries it.
fn refused<'a>(
    request: &DescribeTopicPartitionsRequest<'a>,
    error: KafkaError,
) -> DescribeTopicPartitionsResponse<'a> {
    let topics = request.topics.iter().map(|topic| nothing(topic.name, error, operations::NOT_ASKED));
    DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics: topics.collect(), next_cursor: None }
}

#[cfg(test)]
mod tests;

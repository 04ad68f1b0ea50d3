//! FindCoordinator (key 10): which broker coordinates a group, or a transactional id. The topic that they are kept in is
//! made by the first who asks.

use std::rc::Rc;

use logic::group::partition_of_group;
use logic::metadata::{Command, Image};
use logic::transaction::partition_of;
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::types::{BrokerId, PartitionIndex};

use super::endpoints::{Endpoint, endpoints};
use super::errors::{quorum_error, told};
use super::once::each_once;
use super::reply::Reply;
use crate::shard::Shard;
use crate::shard::internal_topics::{GROUPS_TOPIC, TRANSACTIONS_TOPIC, internal_topic};

/// What a key may be.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// From this version on keys come in a list.
const LIST_VERSION_MIN: i16 = 4;

/// Why there is no coordinator: the error, and a sentence.
type Refusal = (KafkaError, &'static str);

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &FindCoordinatorRequest<'_>, reply: Reply) {
    let version = reply.version();
    let outcome = match kind(request.key_type) {
        Ok(kind) => make_topic(shard, kind).await.map(|()| kind),
        Err(refusal) => Err(refusal),
    };
    let image = shard.image();
    let find = |key: &str| outcome.and_then(|kind| find_leader(&image, kind, key));
    reply.send(&response(request, find, version));
}

/// What is coordinated: where it is kept, and in which of how many partitions.
#[derive(Clone, Copy)]
struct Kind {
    topic_name: &'static str,
    partition_of: fn(&str, i32) -> PartitionIndex,
}

fn kind(key_type: i8) -> Result<Kind, Refusal> {
    match key_type {
        GROUP => Ok(Kind { topic_name: GROUPS_TOPIC, partition_of: partition_of_group }),
        TRANSACTION => Ok(Kind { topic_name: TRANSACTIONS_TOPIC, partition_of }),
        SHARE => Err((KafkaError::InvalidRequest, "This broker does not coordinate share groups.")),
        _ => Err((KafkaError::InvalidRequest, "This broker does not know this type of coordinator.")),
    }
}

/// Makes the topic, unless it is there. Two who make it at a time both find it made.
async fn make_topic(shard: &Rc<Shard>, kind: Kind) -> Result<(), Refusal> {
    if shard.image().topic(kind.topic_name).is_some() {
        return Ok(());
    }
    let topic = internal_topic(&shard.config, kind.topic_name, shard.random_topic_id());
    let topic = topic.expect("coordinators live in internal topics");
    match shard.submit(Command::CreateTopics(vec![topic])).await {
        Ok(_) => Ok(()),
        Err(error) => Err((quorum_error(&error), "The coordinators' topic can't be made for now.")),
    }
}

/// The leader of the partition that a group, or a transactional id, is kept in.
fn find_leader<'i>(image: &'i Image, kind: Kind, key: &str) -> Result<Endpoint<'i>, Refusal> {
    const NOT_YET: Refusal = (KafkaError::CoordinatorNotAvailable, "There is no coordinator for now.");
    let topic = image.topic(kind.topic_name).ok_or(NOT_YET)?;
    let index = (kind.partition_of)(key, topic.partition_count());
    let partition = topic.partition(index).ok_or(NOT_YET)?;
    endpoints(image).find(|endpoint| Some(endpoint.id) == partition.leader).ok_or(NOT_YET)
}

fn response<'a>(
    request: &FindCoordinatorRequest<'a>,
    find: impl Fn(&str) -> Result<Endpoint<'a>, Refusal>,
    version: i16,
) -> FindCoordinatorResponse<'a> {
    let coordinator = |key: &'a str| match find(key) {
        Ok(Endpoint { id, host, port, .. }) => {
            Coordinator { key, node_id: id, host, port, error_code: ErrorCode::NONE, error_message: None }
        }
        Err((error, reason)) => Coordinator {
            key,
            node_id: BrokerId(-1),
            host: "",
            port: -1,
            error_code: told(ApiKey::FindCoordinator, error),
            error_message: Some(reason),
        },
    };
    if version >= LIST_VERSION_MIN {
        return FindCoordinatorResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            error_message: None,
            node_id: BrokerId::default(),
            host: "",
            port: 0,
            coordinators: each_once(request.coordinator_keys.iter().copied(), |key| *key)
                .into_iter()
                .map(coordinator)
                .collect(),
        };
    }
    let only = coordinator(request.key);
    FindCoordinatorResponse {
        throttle_time_ms: 0,
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        coordinators: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

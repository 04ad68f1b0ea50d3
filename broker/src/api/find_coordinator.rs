//! FindCoordinator (key 10): which broker coordinates a group. The topic that groups are kept in is made by the first who
//! asks.
//!
//! Transactions are refused with an error after which clients give up: they ask again for ever after
//! COORDINATOR_NOT_AVAILABLE, while Java explains INVALID_REQUEST as "the message was sent to an incompatible broker"; the
//! sentence beside it says what is missing. One client goes on asking even so: librdkafka (versions up to 3) for a
//! transactional id, unless it hears TRANSACTIONAL_ID_AUTHORIZATION_FAILED.

use std::rc::Rc;

use logic::group::partition_of_group;
use logic::metadata::{Command, Image};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::types::BrokerId;

use super::endpoints::{Endpoint, endpoints};
use super::errors::{quorum_error, told};
use super::reply::Reply;
use crate::shard::Shard;
use crate::shard::internal_topics::{GROUPS_TOPIC, groups_topic};

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
    let outcome = match refusal(request.key_type, version) {
        Some(refusal) => Err(refusal),
        None => make_groups_topic(shard).await,
    };
    let image = shard.image();
    let find = |key: &str| outcome.and_then(|()| find_group(&image, key));
    reply.send(&response(request, find, version));
}

/// Why no key of this type has a coordinator here, if so.
fn refusal(key_type: i8, version: i16) -> Option<Refusal> {
    Some(match key_type {
        GROUP => return None,
        TRANSACTION if version < LIST_VERSION_MIN => {
            (KafkaError::TransactionalIdAuthorizationFailed, NO_TRANSACTIONS)
        }
        TRANSACTION => (KafkaError::InvalidRequest, NO_TRANSACTIONS),
        SHARE => (KafkaError::InvalidRequest, "This broker does not coordinate share groups."),
        _ => (KafkaError::InvalidRequest, "This broker does not know this type of coordinator."),
    })
}

const NO_TRANSACTIONS: &str =
    "This broker does not coordinate transactions yet: leave transactional.id unset.";

/// Makes the groups' topic, unless it is there. Two who make it at a time both find it made.
async fn make_groups_topic(shard: &Rc<Shard>) -> Result<(), Refusal> {
    if shard.image().topic(GROUPS_TOPIC).is_some() {
        return Ok(());
    }
    let topic = groups_topic(&shard.config, shard.random_topic_id());
    match shard.submit(Command::CreateTopics(vec![topic])).await {
        Ok(_) => Ok(()),
        Err(error) => Err((quorum_error(&error), "The topic of the groups can't be made for now.")),
    }
}

/// The leader of the partition that a group is kept in.
fn find_group<'i>(image: &'i Image, group: &str) -> Result<Endpoint<'i>, Refusal> {
    const NOT_YET: Refusal = (KafkaError::CoordinatorNotAvailable, "The group has no coordinator for now.");
    let topic = image.topic(GROUPS_TOPIC).ok_or(NOT_YET)?;
    let partition = topic.partition(partition_of_group(group, topic.partition_count())).ok_or(NOT_YET)?;
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
            coordinators: request.coordinator_keys.iter().map(|key| coordinator(key)).collect(),
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

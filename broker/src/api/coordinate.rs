//! Asking the coordinator of a consumer group, on whichever shard it is.

use std::net::SocketAddr;
use std::rc::Rc;

use logic::group::{GroupError, Name, Reply, Request, partition_of_group};
use logic::metadata::{Feature, Image, Topic};
use protocol::error::KafkaError;
use protocol::types::{PartitionIndex, PartitionKey, TopicId};

use super::errors::{group_error, group_refusal};
use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::internal_topics::GROUPS_TOPIC;
use crate::shard::messages::{Answer, GroupAnswer, Question};

/// Who sends a request.
pub struct Client<'a> {
    /// Its id, from the request's header.
    pub id: Option<&'a str>,
    /// Where it is.
    pub peer: SocketAddr,
}

impl Client<'_> {
    /// Its id; empty where it has none.
    pub fn id(&self) -> Name {
        self.id.unwrap_or_default().into()
    }

    /// Its address, as Kafka shows it.
    pub fn host(&self) -> Name {
        format!("/{}", self.peer.ip()).into()
    }
}

/// Whether the protocol of KIP-848 is in force.
pub fn has_consumer_groups(shard: &Shard) -> bool {
    shard.image().features().of(Feature::Group) >= 1
}

/// Asks the coordinator of a group.
///
/// # Errors
/// It can't be asked (now, or here).
pub async fn ask_group(shard: &Rc<Shard>, group: &str, request: Request) -> Result<Reply, KafkaError> {
    let image = shard.image();
    let topic = image.topic(GROUPS_TOPIC).ok_or(KafkaError::NotCoordinator)?;
    let key =
        PartitionKey { topic_id: topic.id, partition: partition_of_group(group, topic.partition_count()) };
    ask(shard, key, request).await.map_err(group_refusal)
}

/// Asks the coordinators of all groups the same.
pub async fn ask_all_groups(
    shard: &Rc<Shard>,
    request: impl Fn() -> Request,
) -> Vec<Result<Reply, KafkaError>> {
    let image = shard.image();
    let Some(topic) = image.topic(GROUPS_TOPIC) else { return Vec::new() };
    let keys = (0..topic.partition_count())
        .map(|index| PartitionKey { topic_id: topic.id, partition: PartitionIndex(index) });
    let answers = join_all(keys.map(|key| ask(shard, key, request()))).await;
    answers.into_iter().map(|answer| answer.map_err(group_refusal)).collect()
}

async fn ask(shard: &Rc<Shard>, key: PartitionKey, request: Request) -> GroupAnswer {
    match shard.ask(shard.owner_of(key), Question::Group { key, request }).await {
        Answer::Group(answer) => answer,
        _ => unreachable!("a question about groups is answered as such"),
    }
}

/// The code for what a coordinator has decided.
pub fn decided<T>(outcome: &Result<T, GroupError>) -> KafkaError {
    outcome.as_ref().map_or_else(group_error, |_| KafkaError::None)
}

/// The topic that a line of a request names, by name or by id, if it has the partition.
///
/// # Errors
/// What the line is answered with.
pub fn find_topic<'i>(
    image: &'i Image,
    name: &str,
    id: TopicId,
    by_id: bool,
) -> Result<&'i Topic, KafkaError> {
    let (found, unknown) = if by_id {
        (image.topic_by_id(id), KafkaError::UnknownTopicId)
    } else {
        (image.topic(name), KafkaError::UnknownTopicOrPartition)
    };
    found.map(|topic| &**topic).ok_or(unknown)
}

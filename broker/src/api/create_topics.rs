//! CreateTopics (key 19): topics are made, each for itself: one that can't be made hinders no other. Answered once every
//! shard has applied them, so that the client's next request finds them.

use std::rc::Rc;
use std::sync::Arc;

use logic::config::{BrokerLayers, Described, describe_topic};
use logic::metadata::{Assignment, Command, NewTopic, Response, Topic, TopicShape};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::types::TopicId;

use super::config_codes;
use super::errors::{Refused, told};
use super::reply::Reply;
use super::submit::{Place, Wish, repeated, submit};
use crate::shard::Shard;

/// Kafka keeps this name for its controllers' log; tools take a topic so called for that log.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// What a topic gets where its creator leaves it open.
struct Defaults {
    partition_count: i32,
    replication_factor: i16,
}

/// One topic of the answer.
struct Line<'a> {
    name: &'a str,
    outcome: Result<Made, Refused>,
}

struct Made {
    topic: Arc<Topic>,
    configs: Vec<Described>,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &CreateTopicsRequest<'_>, reply: Reply) {
    let defaults = Defaults {
        partition_count: shard.config.default_partition_count,
        replication_factor: shard.config.default_replication_factor,
    };
    let (names, planned) = plan(request, &defaults, || shard.random_topic_id());
    let topics: Vec<NewTopic> = planned.iter().filter_map(|plan| plan.clone().ok()).collect();
    let wish = Wish::of(request.validate_only, request.timeout_ms);
    let outcomes = match topics.len() {
        0 => Ok(Response::CreateTopics(Vec::new())),
        _ => submit(shard, Command::CreateTopics(topics), wish).await,
    };
    let image = shard.image();
    let lines = gather(&names, planned, outcomes, &shard.layers(&image));
    reply.send(&response(&lines));
}

/// What is to be made, and what is refused before the metadata is asked.
fn plan<'a>(
    request: &CreateTopicsRequest<'a>,
    defaults: &Defaults,
    mut random_id: impl FnMut() -> TopicId,
) -> (Vec<&'a str>, Vec<Result<NewTopic, Refused>>) {
    let mut repeated = repeated(request.topics.iter().map(|topic| topic.name));
    let refuse = |reason: &str| Err(Refused::new(KafkaError::InvalidRequest, reason));
    let plans = request.topics.iter().filter_map(|topic| {
        let planned = match repeated.next(topic.name) {
            Place::Again => return None,
            Place::FirstOfSeveral => refuse("Duplicate topic name."),
            Place::Only if topic.name == CLUSTER_METADATA => {
                refuse("Creation of internal topic __cluster_metadata is prohibited.")
            }
            Place::Only => shape(topic, defaults).map(|shape| NewTopic {
                name: topic.name.to_owned(),
                id: random_id(),
                shape,
                settings: topic
                    .configs
                    .iter()
                    .map(|config| (config.name.to_owned(), config.value.map(str::to_owned)))
                    .collect(),
            }),
        };
        Some((topic.name, planned))
    });
    plans.unzip()
}

fn shape(topic: &CreatableTopic<'_>, defaults: &Defaults) -> Result<TopicShape, Refused> {
    if topic.assignments.is_empty() {
        let or_default = |count, default| if count == -1 { default } else { count };
        return Ok(TopicShape::Counts {
            partition_count: or_default(topic.num_partitions, defaults.partition_count),
            replication_factor: match topic.replication_factor {
                -1 => defaults.replication_factor,
                factor => factor,
            },
        });
    }
    let contradiction = |what: &str| {
        let reason = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Refused::new(KafkaError::InvalidRequest, reason))
    };
    if topic.replication_factor != -1 {
        return contradiction("replication factor");
    }
    if topic.num_partitions != -1 {
        return contradiction("numPartitions");
    }
    let assigned = topic.assignments.iter().map(|assignment| Assignment {
        partition: assignment.partition_index,
        brokers: assignment.broker_ids.clone(),
    });
    Ok(TopicShape::Assigned(assigned.collect()))
}

/// Brings the metadata's answers to the topics that it was asked for, in their order.
fn gather<'a>(
    names: &[&'a str],
    planned: Vec<Result<NewTopic, Refused>>,
    outcomes: Result<Response, KafkaError>,
    layers: &BrokerLayers<'_>,
) -> Vec<Line<'a>> {
    let mut outcomes = outcomes.map(|response| match response {
        Response::CreateTopics(outcomes) => outcomes.into_iter(),
        other => unreachable!("CreateTopics is answered by {other:?}"),
    });
    let mut made = |planned: Result<NewTopic, Refused>| {
        planned?;
        let outcomes = outcomes.as_mut().map_err(|error| Refused::new(*error, error.name()))?;
        let topic =
            outcomes.next().expect("each topic has an outcome").map_err(|error| Refused::from(&error))?;
        let configs = describe_topic(&topic.settings, layers);
        Ok(Made { topic, configs })
    };
    names.iter().zip(planned).map(|(name, planned)| Line { name, outcome: made(planned) }).collect()
}

fn response<'a>(lines: &'a [Line<'a>]) -> CreateTopicsResponse<'a> {
    CreateTopicsResponse { throttle_time_ms: 0, topics: lines.iter().map(result).collect() }
}

fn result<'a>(line: &'a Line<'a>) -> CreatableTopicResult<'a> {
    match &line.outcome {
        Ok(Made { topic, configs }) => CreatableTopicResult {
            name: line.name,
            topic_id: topic.id,
            error_code: ErrorCode::NONE,
            error_message: None,
            topic_config_error_code: ErrorCode::NONE,
            num_partitions: topic.partition_count(),
            replication_factor: i16::try_from(topic.partitions[0].replicas.len()).expect("replicas are few"),
            configs: Some(configs.iter().map(config).collect()),
        },
        Err(refused) => CreatableTopicResult {
            name: line.name,
            topic_id: TopicId::ZERO,
            error_code: told(ApiKey::CreateTopics, refused.error),
            error_message: Some(&refused.message),
            topic_config_error_code: ErrorCode::NONE,
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(Vec::new()),
        },
    }
}

fn config(described: &Described) -> CreatableTopicConfigs<'_> {
    CreatableTopicConfigs {
        name: described.name,
        value: described.value.as_deref(),
        read_only: described.read_only,
        config_source: config_codes::source(described.source),
        is_sensitive: described.sensitive,
    }
}

#[cfg(test)]
mod tests;

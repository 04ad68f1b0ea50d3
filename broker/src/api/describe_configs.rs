//! DescribeConfigs (key 32): the configs of topics, of groups, of this broker, and of all brokers together, with where each value
//! comes from and what would hold without it.

use std::rc::Rc;

use logic::config::{
    BrokerLayers, Described, GroupTerms, SynonymValue, describe_broker, describe_cluster_default,
    describe_group, describe_topic,
};
use logic::metadata::{Image, validate_topic_name};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::types::BrokerId;
use rustc_hash::FxHashSet;

use super::config_codes::{self, ResourceKind};
use super::errors::{Refused, told};
use super::once::each_once;
use super::reply::Reply;
use crate::shard::Shard;

/// Everything that configs are described from.
struct Known<'a> {
    image: &'a Image,
    layers: BrokerLayers<'a>,
    /// The broker's configs that Kafka has no part in.
    local: &'a [Described],
    broker: BrokerId,
    /// What it lets groups be configured to.
    group_terms: GroupTerms,
}

/// What the client wants to know of each config.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

/// One resource of the answer.
struct Line<'a> {
    resource_type: i8,
    name: &'a str,
    outcome: Result<Vec<Described>, Refused>,
}

/// Answers.
pub fn handle(shard: &Rc<Shard>, request: &DescribeConfigsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let known = Known {
        image: &image,
        layers: shard.layers(&image),
        local: &shard.local_configs,
        broker: shard.broker_id,
        group_terms: shard.config.groups.consumer_terms,
    };
    let resources = each_once(&request.resources, |resource| identity(resource));
    let lines: Vec<Line<'_>> = resources.into_iter().map(|resource| known.line(resource)).collect();
    let detail = Detail { synonyms: request.include_synonyms, documentation: request.include_documentation };
    reply.send(&response(&lines, detail));
}

/// What a resource is called: a broker's number may be written in many ways.
fn identity<'a>(resource: &DescribeConfigsResource<'a>) -> (i8, Result<i32, &'a str>) {
    let name = resource.resource_name;
    let is_broker = ResourceKind::from_code(resource.resource_type) == Some(ResourceKind::Broker);
    (resource.resource_type, if is_broker { name.parse().map_err(|_| name) } else { Err(name) })
}

impl Known<'_> {
    fn line<'a>(&self, resource: &DescribeConfigsResource<'a>) -> Line<'a> {
        let outcome = self.describe(resource).map(|mut described| {
            // No key and every key are the same wish, as in Kafka.
            if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
                let keys: FxHashSet<&str> = keys.iter().copied().collect();
                described.retain(|config| keys.contains(config.name));
            }
            described
        });
        Line { resource_type: resource.resource_type, name: resource.resource_name, outcome }
    }

    fn describe(&self, resource: &DescribeConfigsResource<'_>) -> Result<Vec<Described>, Refused> {
        let name = resource.resource_name;
        let invalid = |reason: String| Err(Refused::new(KafkaError::InvalidRequest, reason));
        match ResourceKind::from_code(resource.resource_type) {
            Some(ResourceKind::Topic) => self.describe_topic(name),
            Some(ResourceKind::Broker) if name.is_empty() => {
                Ok(describe_cluster_default(self.layers.dynamic_default))
            }
            Some(ResourceKind::Broker) => match name.parse::<i32>() {
                Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
                Ok(id) if id != self.broker.get() => invalid(format!(
                    "Unexpected broker id, expected {} or empty string, but received {name}",
                    self.broker
                )),
                Ok(_) => Ok(self.describe_this_broker()),
            },
            Some(ResourceKind::Group) if name.is_empty() => {
                invalid("Group name must not be empty".to_owned())
            }
            Some(ResourceKind::Group) => {
                Ok(describe_group(self.image.group_settings(name), &self.group_terms))
            }
            Some(ResourceKind::BrokerLogger) => {
                invalid("Loggers are set by logging.level when the broker starts.".to_owned())
            }
            Some(ResourceKind::ClientMetrics) => {
                invalid(format!("Unsupported resource type: {}", ResourceKind::ClientMetrics.name()))
            }
            None => invalid(format!("Unknown resource type {} for resource {name}", resource.resource_type)),
        }
    }

    fn describe_topic(&self, name: &str) -> Result<Vec<Described>, Refused> {
        validate_topic_name(name)
            .map_err(|reason| Refused::new(KafkaError::InvalidTopicException, reason))?;
        let topic = self.image.topic(name).ok_or_else(|| {
            let reason = "This server does not host this topic-partition.";
            Refused::new(KafkaError::UnknownTopicOrPartition, reason)
        })?;
        Ok(describe_topic(&topic.settings, &self.layers))
    }

    fn describe_this_broker(&self) -> Vec<Described> {
        let mut all = describe_broker(&self.layers);
        all.extend_from_slice(self.local);
        all.sort_by_key(|described| described.name);
        all
    }
}

fn response<'a>(lines: &'a [Line<'a>], detail: Detail) -> DescribeConfigsResponse<'a> {
    let result = |line: &'a Line<'a>| {
        let (resource_type, resource_name) = (line.resource_type, line.name);
        match &line.outcome {
            Ok(described) => DescribeConfigsResult {
                error_code: ErrorCode::NONE,
                error_message: None,
                resource_type,
                resource_name,
                configs: described.iter().map(|config| entry(config, detail)).collect(),
            },
            Err(refused) => DescribeConfigsResult {
                error_code: told(ApiKey::DescribeConfigs, refused.error),
                error_message: Some(&refused.message),
                resource_type,
                resource_name,
                configs: Vec::new(),
            },
        }
    };
    DescribeConfigsResponse { throttle_time_ms: 0, results: lines.iter().map(result).collect() }
}

fn entry(config: &Described, detail: Detail) -> DescribeConfigsResourceResult<'_> {
    let synonyms = if detail.synonyms { config.synonyms.as_slice() } else { &[] };
    DescribeConfigsResourceResult {
        name: config.name,
        value: config.value.as_deref(),
        read_only: config.read_only,
        config_source: config_codes::source(config.source),
        is_sensitive: config.sensitive,
        synonyms: synonyms.iter().map(synonym).collect(),
        config_type: config_codes::kind(config.kind),
        documentation: detail.documentation.then_some(config.documentation),
    }
}

fn synonym(value: &SynonymValue) -> DescribeConfigsSynonym<'_> {
    DescribeConfigsSynonym {
        name: value.name,
        value: value.value.as_deref(),
        source: config_codes::source(value.source),
    }
}

#[cfg(test)]
mod tests;

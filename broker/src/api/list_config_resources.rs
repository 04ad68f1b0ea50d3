//! ListConfigResources (key 74): what has configs; of groups those that have some of their own. There are no subscriptions
//! to clients' metrics, so that their list is empty.

use std::rc::Rc;

use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::config_codes::ResourceKind;
use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// From this version on others than subscriptions to clients' metrics can be asked for.
const KINDS_VERSION_MIN: i16 = 1;

/// Answers.
pub fn handle(shard: &Rc<Shard>, request: &ListConfigResourcesRequest, reply: Reply) {
    let found = find(&shard.image(), request, reply.version());
    reply.send(&response(&found));
}

/// The names and kinds.
fn find(
    image: &Image,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> Result<Vec<(String, ResourceKind)>, KafkaError> {
    if version < KINDS_VERSION_MIN {
        return Ok(Vec::new());
    }
    let kinds = request.resource_types.iter().map(|code| ResourceKind::from_code(*code));
    let mut kinds: Vec<ResourceKind> = kinds.collect::<Option<_>>().ok_or(KafkaError::UnsupportedVersion)?;
    if kinds.is_empty() {
        kinds.extend(ResourceKind::ALL);
    }
    let mut found = Vec::new();
    if kinds.contains(&ResourceKind::Group) {
        found.extend(image.groups_with_settings().map(|(name, _)| (name.to_string(), ResourceKind::Group)));
    }
    if kinds.contains(&ResourceKind::Broker) {
        found.extend(image.brokers().map(|broker| (broker.id.to_string(), ResourceKind::Broker)));
    }
    if kinds.contains(&ResourceKind::Topic) {
        found.extend(image.topics().map(|topic| (topic.name.to_string(), ResourceKind::Topic)));
    }
    Ok(found)
}

fn response(found: &Result<Vec<(String, ResourceKind)>, KafkaError>) -> ListConfigResourcesResponse<'_> {
    let error = found.as_ref().err().copied().unwrap_or(KafkaError::None);
    ListConfigResourcesResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::ListConfigResources, error),
        config_resources: found
            .iter()
            .flatten()
            .map(|(name, kind)| ConfigResource { resource_name: name, resource_type: kind.code() })
            .collect(),
    }
}

#[cfg(test)]
mod tests;

//! AlterConfigs (key 33): what a resource's configs are afterwards, all of them. Old clients' way; new ones change configs
//! one by one.

use std::rc::Rc;

use logic::config::Operation;
use protocol::api::ApiKey;
use protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::config_changes::{Asked, Change, alter};
use super::errors::{Refused, told_of};
use super::reply::Reply;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &AlterConfigsRequest<'_>, reply: Reply) {
    let asked: Vec<Asked<'_>> = request.resources.iter().map(asked).collect();
    let outcomes = alter(shard, &asked, request.validate_only).await;
    reply.send(&response(&asked, &outcomes));
}

fn asked<'a>(resource: &AlterConfigsResource<'a>) -> Asked<'a> {
    let changes = resource.configs.iter().map(|config| Change {
        name: config.name,
        operation: Ok(Operation::Set),
        value: config.value,
    });
    Asked {
        resource_type: resource.resource_type,
        name: resource.resource_name,
        replace: true,
        changes: changes.collect(),
    }
}

fn response<'a>(asked: &'a [Asked<'a>], outcomes: &'a [Result<(), Refused>]) -> AlterConfigsResponse<'a> {
    let response =
        |(asked, outcome): (&'a Asked<'a>, &'a Result<(), Refused>)| AlterConfigsResourceResponse {
            error_code: told_of(ApiKey::AlterConfigs, outcome),
            error_message: outcome.as_ref().err().map(|refused| refused.message.as_str()),
            resource_type: asked.resource_type,
            resource_name: asked.name,
        };
    AlterConfigsResponse {
        throttle_time_ms: 0,
        responses: asked.iter().zip(outcomes).map(response).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::error::{ErrorCode, KafkaError};
    use protocol::messages::alter_configs::AlterableConfig;

    use super::*;
    use crate::api::testing::in_every_version;

    fn resource<'a>(name: &'a str, value: Option<&'a str>) -> AlterConfigsResource<'a> {
        let configs = vec![AlterableConfig { name: "retention.ms", value }];
        AlterConfigsResource { resource_type: 2, resource_name: name, configs }
    }

    #[test]
    fn every_change_sets_and_what_is_not_named_goes() {
        let asked = asked(&resource("one", Some("5")));
        assert!(asked.replace);
        assert_eq!(asked.changes[0].operation, Ok(Operation::Set));
        assert_eq!(asked.changes[0].value, Some("5"));
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let (one, two) = (resource("one", Some("5")), resource("two", None));
        let asked = [asked(&one), asked(&two)];
        let outcomes = [Ok(()), Err(Refused::new(KafkaError::InvalidRequest, "no value"))];
        in_every_version!(
            AlterConfigsResponse<'_>,
            |_version| response(&asked, &outcomes),
            |_version, read| {
                let [done, refused] = read.responses.as_slice() else { panic!("two resources: {read:?}") };
                assert_eq!((done.resource_name, done.error_code), ("one", ErrorCode::NONE));
                assert_eq!((refused.resource_name, refused.error_message), ("two", Some("no value")));
                assert_eq!(refused.error_code, KafkaError::InvalidRequest.into());
            }
        );
    }
}

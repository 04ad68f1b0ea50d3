//! IncrementalAlterConfigs (key 44): configs change one by one; what is not named stays as it is.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::config_changes::{Asked, Change, alter};
use super::config_codes::operation;
use super::errors::{Refused, told_of};
use super::reply::Reply;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &IncrementalAlterConfigsRequest<'_>, reply: Reply) {
    let asked: Vec<Asked<'_>> = request.resources.iter().map(asked).collect();
    let outcomes = alter(shard, &asked, request.validate_only).await;
    reply.send(&response(&asked, &outcomes));
}

fn asked<'a>(resource: &AlterConfigsResource<'a>) -> Asked<'a> {
    let changes = resource.configs.iter().map(|config| Change {
        name: config.name,
        operation: operation(config.config_operation).ok_or(config.config_operation),
        value: config.value,
    });
    Asked {
        resource_type: resource.resource_type,
        name: resource.resource_name,
        replace: false,
        changes: changes.collect(),
    }
}

fn response<'a>(
    asked: &'a [Asked<'a>],
    outcomes: &'a [Result<(), Refused>],
) -> IncrementalAlterConfigsResponse<'a> {
    let response =
        |(asked, outcome): (&'a Asked<'a>, &'a Result<(), Refused>)| AlterConfigsResourceResponse {
            error_code: told_of(ApiKey::IncrementalAlterConfigs, outcome),
            error_message: outcome.as_ref().err().map(|refused| refused.message.as_str()),
            resource_type: asked.resource_type,
            resource_name: asked.name,
        };
    IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses: asked.iter().zip(outcomes).map(response).collect(),
    }
}

#[cfg(test)]
mod tests {
    use logic::config::Operation;
    use protocol::error::{ErrorCode, KafkaError};
    use protocol::messages::incremental_alter_configs::AlterableConfig;

    use super::*;
    use crate::api::testing::in_every_version;

    fn resource<'a>(name: &'a str, operations: &[i8]) -> AlterConfigsResource<'a> {
        let config = |operation: &i8| AlterableConfig {
            name: "cleanup.policy",
            config_operation: *operation,
            value: Some("delete"),
        };
        let configs = operations.iter().map(config).collect();
        AlterConfigsResource { resource_type: 2, resource_name: name, configs }
    }

    #[test]
    fn each_number_means_its_operation() {
        let asked = asked(&resource("one", &[0, 1, 2, 3, 4]));
        let operations: Vec<_> = asked.changes.iter().map(|change| change.operation).collect();
        let known = [Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract].map(Ok);
        assert_eq!(operations[..4], known);
        assert_eq!(operations[4], Err(4));
        assert!(!asked.replace);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let (one, two) = (resource("one", &[0]), resource("two", &[9]));
        let asked = [asked(&one), asked(&two)];
        let outcomes = [Ok(()), Err(Refused::new(KafkaError::InvalidRequest, "unknown"))];
        in_every_version!(
            IncrementalAlterConfigsResponse<'_>,
            |_version| response(&asked, &outcomes),
            |_version, read| {
                let [done, refused] = read.responses.as_slice() else { panic!("two resources: {read:?}") };
                assert_eq!((done.resource_name, done.error_code), ("one", ErrorCode::NONE));
                assert_eq!((refused.resource_name, refused.error_message), ("two", Some("unknown")));
            }
        );
    }
}

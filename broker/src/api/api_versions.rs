//! ApiVersions (key 18): what this broker offers. Every client asks it first.

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};

use super::OFFERED;
use super::errors::told;
use super::reply::Reply;

/// The version of the answer to a version that the broker doesn't know (KIP-511).
const FALLBACK_VERSION: i16 = 0;

/// Answers.
pub fn handle(request: &ApiVersionsRequest<'_>, reply: Reply) {
    let named = |text: &str| {
        text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text.chars().last().is_some_and(|last| last.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
    };
    let valid = reply.version() < 3
        || (named(request.client_software_name) && named(request.client_software_version));
    if valid {
        reply.send(&response(KafkaError::None, OFFERED));
    } else {
        reply.send(&response(KafkaError::InvalidRequest, &[]));
    }
}

/// Answers a request of an unknown version: in version 0, with what is known of ApiVersions itself, so that the client
/// can ask again.
pub fn handle_unknown_version(reply: Reply) {
    reply.send_as(&response(KafkaError::UnsupportedVersion, &[ApiKey::ApiVersions]), FALLBACK_VERSION);
}

fn response(error: KafkaError, offered: &[ApiKey]) -> ApiVersionsResponse<'static> {
    ApiVersionsResponse {
        error_code: told(ApiKey::ApiVersions, error),
        api_keys: offered
            .iter()
            .map(|api| ApiVersion {
                api_key: api.key(),
                min_version: api.advertised_min(),
                max_version: *api.versions().end(),
            })
            .collect(),
        throttle_time_ms: 0,
        supported_features: Vec::new(),
        finalized_features_epoch: -1,
        finalized_features: Vec::new(),
        zk_migration_ready: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        in_every_version!(
            ApiVersionsResponse<'_>,
            |_version| response(KafkaError::None, OFFERED),
            |_version, read| {
                assert_eq!(read.api_keys.len(), OFFERED.len());
                assert!(read.api_keys.is_sorted_by_key(|api| api.api_key));
                let produce = &read.api_keys[0];
                assert_eq!((produce.api_key, produce.min_version), (ApiKey::Produce.key(), 0));
            }
        );
    }
}

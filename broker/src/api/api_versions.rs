//! ApiVersions (key 18): what this broker offers. Every client asks it first.

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use protocol::native;
use protocol::types::TransactionVersion;

use super::OFFERED;
use super::errors::told;
use super::reply::Reply;

/// The version of the answer to a version that the broker doesn't know (KIP-511).
const FALLBACK_VERSION: i16 = 0;

/// What clients choose their ways by (KIP-584), and how much of it is there, on every broker of this version.
const FEATURES: &[(&str, i16)] = &[
    // Consumer groups of KIP-848.
    ("group.version", 1),
    // Transactions whose ends raise the producer's epoch (KIP-890).
    ("transaction.version", TransactionVersion::V2.level()),
];
/// From this version on clients know that a feature's lowest level may be 0 (KIP-1022).
const LEVEL_0_VERSION_MIN: i16 = 4;
/// Nothing about features is told.
const UNKNOWN_EPOCH: i64 = -1;

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
        let version = reply.version();
        reply.send(&with_features(response(KafkaError::None, OFFERED), version));
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
        finalized_features_epoch: UNKNOWN_EPOCH,
        finalized_features: Vec::new(),
        zk_migration_ready: false,
        native_version: 0,
    }
}

/// Adds the features in force, which never change while this broker is the cluster.
fn with_features(mut response: ApiVersionsResponse<'static>, version: i16) -> ApiVersionsResponse<'static> {
    let min_version = if version >= LEVEL_0_VERSION_MIN { 0 } else { 1 };
    let supported = |(name, max_version)| SupportedFeatureKey { name, min_version, max_version };
    let finalized =
        |(name, level)| FinalizedFeatureKey { name, max_version_level: level, min_version_level: level };
    response.supported_features = FEATURES.iter().copied().map(supported).collect();
    response.finalized_features_epoch = 0;
    response.native_version = native::VERSION;
    response.finalized_features = FEATURES.iter().copied().map(finalized).collect();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        in_every_version!(
            ApiVersionsResponse<'_>,
            |version| with_features(response(KafkaError::None, OFFERED), version),
            |version, read| {
                assert_eq!(read.api_keys.len(), OFFERED.len());
                assert!(read.api_keys.is_sorted_by_key(|api| api.api_key));
                let produce = &read.api_keys[0];
                assert_eq!((produce.api_key, produce.min_version), (ApiKey::Produce.key(), 0));
                let levels = read.supported_features.first().map(|feature| feature.min_version);
                let lowest = if version >= LEVEL_0_VERSION_MIN { 0 } else { 1 };
                assert_eq!(levels, (version >= 3).then_some(lowest));
                let finalized = read.finalized_features.iter().map(|feature| feature.name);
                assert!(finalized.eq(FEATURES.iter().map(|(name, _)| *name).filter(|_| version >= 3)));
            }
        );
    }
}

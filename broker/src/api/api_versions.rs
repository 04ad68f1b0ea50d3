//! ApiVersions (key 18): what this broker offers, and the levels of features that are in force. Every client asks it first.

use std::rc::Rc;

use logic::metadata::{Feature, Image};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use protocol::native;
use protocol::types::BrokerId;

use super::OFFERED;
use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// The version of the answer to a version that the broker doesn't know (KIP-511).
const FALLBACK_VERSION: i16 = 0;

/// From this version on clients say who they are.
const NAMED_VERSION_MIN: i16 = 3;
/// From this version on clients know that a feature's lowest level may be 0 (KIP-1022).
const LEVEL_0_VERSION_MIN: i16 = 4;
/// Nothing about features is told.
const UNKNOWN_EPOCH: i64 = -1;

/// Answers.
pub fn handle(shard: &Rc<Shard>, request: &ApiVersionsRequest<'_>, reply: Reply) {
    let (image, version) = (shard.image(), reply.version());
    match check(request, version, image.cluster_id(), shard.broker_id) {
        KafkaError::None => reply.send(&with_features(response(KafkaError::None, OFFERED), &image, version)),
        error => reply.send(&response(error, &[])),
    }
}

/// What is wrong with a request: the client's name, or whom it takes this broker for (KIP-1242).
fn check(request: &ApiVersionsRequest<'_>, version: i16, cluster_id: &str, broker: BrokerId) -> KafkaError {
    let named = |text: &str| {
        text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text.chars().last().is_some_and(|last| last.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
    };
    let is_named = named(request.client_software_name) && named(request.client_software_version);
    if version >= NAMED_VERSION_MIN && !is_named {
        return KafkaError::InvalidRequest;
    }
    match request.cluster_id {
        Some(believed) if (believed, request.node_id) != (cluster_id, broker) => {
            KafkaError::RebootstrapRequired
        }
        Some(_) | None => KafkaError::None,
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

/// Adds the features (KIP-584): those there are, and those in force. A client goes by the answer with the highest epoch, which
/// is the number of the metadata's last change.
fn with_features(
    mut response: ApiVersionsResponse<'static>,
    image: &Image,
    version: i16,
) -> ApiVersionsResponse<'static> {
    let min_version = if version >= LEVEL_0_VERSION_MIN { 0 } else { 1 };
    let supported = |feature: Feature| SupportedFeatureKey {
        name: feature.name(),
        min_version,
        max_version: feature.newest(),
    };
    let finalized = |feature: Feature| {
        let level = image.features().of(feature);
        let told =
            FinalizedFeatureKey { name: feature.name(), max_version_level: level, min_version_level: level };
        (level > 0).then_some(told)
    };
    response.supported_features = Feature::ALL.map(supported).to_vec();
    response.finalized_features_epoch = i64::try_from(image.sequence()).unwrap_or(i64::MAX);
    response.native_version = native::VERSION;
    response.finalized_features = Feature::ALL.into_iter().filter_map(finalized).collect();
    response
}

#[cfg(test)]
mod tests {
    use logic::metadata::{Command, Direction, FeatureUpdate};

    use super::*;
    use crate::api::testing::{apply, in_every_version, one_broker};

    #[test]
    fn who_takes_the_broker_for_another_is_to_look_for_its_cluster_again() {
        let ask = |cluster_id, node_id, client_software_name| {
            let request = ApiVersionsRequest {
                client_software_name,
                client_software_version: "1.0",
                cluster_id,
                node_id: BrokerId(node_id),
            };
            check(&request, 5, "ours", BrokerId(1))
        };
        assert_eq!(ask(None, -1, "e2e"), KafkaError::None);
        assert_eq!(ask(None, 7, "e2e"), KafkaError::None);
        assert_eq!(ask(Some("ours"), 1, "e2e"), KafkaError::None);
        assert_eq!(ask(Some("ours"), 2, "e2e"), KafkaError::RebootstrapRequired);
        assert_eq!(ask(Some("ours"), -1, "e2e"), KafkaError::RebootstrapRequired);
        assert_eq!(ask(Some("theirs"), 1, "e2e"), KafkaError::RebootstrapRequired);
        assert_eq!(ask(Some("theirs"), 1, "a b"), KafkaError::InvalidRequest);
    }

    #[test]
    fn a_feature_is_told_of_as_long_as_it_is_in_force() {
        let mut image = one_broker();
        let mut put = |feature: &str, level, direction| {
            let update = FeatureUpdate { feature: feature.to_owned(), level, direction };
            apply(&mut image, &Command::UpdateFeatures(vec![update]));
            let told = with_features(response(KafkaError::None, OFFERED), &image, 4);
            let levels = told.finalized_features.iter().map(|key| (key.name, key.max_version_level));
            (told.finalized_features_epoch, levels.collect::<Vec<_>>())
        };
        let (before, levels) = put("transaction.version", 1, Direction::Downgrade);
        assert_eq!(levels, [("group.version", 1), ("transaction.version", 1)]);
        let (after, levels) = put("group.version", 0, Direction::Downgrade);
        assert_eq!(levels, [("transaction.version", 1)]);
        assert!(after > before);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let image = one_broker();
        in_every_version!(
            ApiVersionsResponse<'_>,
            |version| with_features(response(KafkaError::None, OFFERED), &image, version),
            |version, read| {
                assert_eq!(read.api_keys.len(), OFFERED.len());
                assert!(read.api_keys.is_sorted_by_key(|api| api.api_key));
                let produce = &read.api_keys[0];
                assert_eq!((produce.api_key, produce.min_version), (ApiKey::Produce.key(), 0));
                let levels = read.supported_features.first().map(|feature| feature.min_version);
                let lowest = if version >= LEVEL_0_VERSION_MIN { 0 } else { 1 };
                assert_eq!(levels, (version >= 3).then_some(lowest));
                let finalized = read.finalized_features.iter().map(|feature| feature.name);
                assert!(finalized.eq(Feature::ALL.map(Feature::name).into_iter().filter(|_| version >= 3)));
            }
        );
    }
}

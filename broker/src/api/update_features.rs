//! UpdateFeatures (key 57): features are put in force at other levels, all that a request names or none. Clients hear of them
//! by ApiVersions, and go by them from then on.

use std::rc::Rc;

use logic::metadata::{Command, Direction, FeatureUpdate, Response};
use protocol::api::ApiKey;
use protocol::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::errors::{Refused, told_of};
use super::reply::Reply;
use super::submit::{Wish, submit};
use crate::shard::Shard;

/// Up to this version each feature has an outcome of its own, which is that of all.
const RESULTS_VERSION_MAX: i16 = 1;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &UpdateFeaturesRequest<'_>, reply: Reply) {
    let updates = request.feature_updates.iter().map(update).collect();
    let wish = Wish::of(request.validate_only, request.timeout_ms);
    let outcome = match submit(shard, Command::UpdateFeatures(updates), wish).await {
        Ok(Response::UpdateFeatures(outcome)) => outcome.map_err(|error| {
            let refused = Refused::from(&error);
            let all = "The update failed for all features since the following feature had an error: ";
            Refused::new(refused.error, format!("{all}{}", refused.message))
        }),
        Ok(other) => unreachable!("UpdateFeatures is answered by {other:?}"),
        Err(error) => Err(Refused::new(error, error.name())),
    };
    let version = reply.version();
    reply.send(&response(request, &outcome, version));
}

/// Version 0 has a flag for the way down, which Kafka does not look at either: it goes up only.
fn update(asked: &FeatureUpdateKey<'_>) -> FeatureUpdate {
    FeatureUpdate {
        feature: asked.feature.to_owned(),
        level: asked.max_version_level,
        direction: match asked.upgrade_type {
            1 => Direction::Upgrade,
            2 | 3 => Direction::Downgrade,
            _ => Direction::Unknown,
        },
    }
}

fn response<'a>(
    request: &UpdateFeaturesRequest<'a>,
    outcome: &'a Result<(), Refused>,
    version: i16,
) -> UpdateFeaturesResponse<'a> {
    let is_told_each = outcome.is_ok() && version <= RESULTS_VERSION_MAX;
    let each = request.feature_updates.iter().filter(|_| is_told_each);
    UpdateFeaturesResponse {
        throttle_time_ms: 0,
        error_code: told_of(ApiKey::UpdateFeatures, outcome),
        error_message: outcome.as_ref().err().map(|refused| refused.message.as_str()),
        results: each
            .map(|asked| UpdatableFeatureResult {
                feature: asked.feature,
                error_code: told_of(ApiKey::UpdateFeatures, outcome),
                error_message: None,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::error::{ErrorCode, KafkaError};

    use super::*;
    use crate::api::testing::in_every_version;

    fn asked(level: i16, upgrade_type: i8) -> FeatureUpdateKey<'static> {
        FeatureUpdateKey {
            feature: "transaction.version",
            max_version_level: level,
            allow_downgrade: false,
            upgrade_type,
        }
    }

    #[test]
    fn each_number_means_its_direction() {
        let direction = |upgrade_type| update(&asked(1, upgrade_type)).direction;
        assert_eq!(direction(1), Direction::Upgrade);
        assert_eq!([direction(2), direction(3)], [Direction::Downgrade; 2]);
        assert_eq!([direction(0), direction(4), direction(-1)], [Direction::Unknown; 3]);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let request =
            UpdateFeaturesRequest { timeout_ms: 0, feature_updates: vec![asked(1, 2)], validate_only: false };
        let refused = Err(Refused::new(KafkaError::InvalidUpdateVersion, "no such level"));
        in_every_version!(
            UpdateFeaturesResponse<'_>,
            |version| response(&request, &Ok(()), version),
            |version, read| {
                assert_eq!((read.error_code, read.error_message), (ErrorCode::NONE, None));
                assert_eq!(read.results.len(), usize::from(version <= RESULTS_VERSION_MAX));
            }
        );
        in_every_version!(
            UpdateFeaturesResponse<'_>,
            |version| response(&request, &refused, version),
            |_version, read| {
                assert_eq!(read.error_code, KafkaError::InvalidUpdateVersion.into());
                assert_eq!((read.error_message, read.results.len()), (Some("no such level"), 0));
            }
        );
    }
}

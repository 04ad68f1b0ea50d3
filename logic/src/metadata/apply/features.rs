//! Features change their levels: all that a command names, or none.

use crate::metadata::{Delta, Direction, Feature, FeatureUpdate, Image, MetadataError};

pub(super) fn update(
    image: &mut Image,
    updates: &[FeatureUpdate],
    delta: &mut Delta,
) -> Result<(), MetadataError> {
    let before = image.features;
    let mut after = before;
    for update in updates {
        let feature = checked(image, update).map_err(|reason| {
            let (level, name) = (update.level, &update.feature);
            MetadataError::InvalidFeatureUpdate(format!(
                "Invalid update version {level} for feature {name}. {reason}"
            ))
        })?;
        after.set(feature, update.level);
    }
    image.features = after;
    delta.features_changed = before != after;
    Ok(())
}

/// The feature, or why it can't have that level, in the order in which Kafka looks.
fn checked(image: &Image, update: &FeatureUpdate) -> Result<Feature, String> {
    let feature = Feature::from_name(&update.feature);
    let newest = feature.map_or(0, Feature::newest);
    let current = feature.map_or(0, |feature| image.features.of(feature));
    let level = update.level;
    if update.direction == Direction::Unknown {
        return Err("The controller does not support the given upgrade type.".to_owned());
    }
    if level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    if level > newest {
        return Err(match newest {
            0 => "Local controller does not support this feature.".to_owned(),
            _ => format!("Local controller only supports versions 0-{newest}"),
        });
    }
    if level < current && update.direction == Direction::Upgrade {
        return Err(
            "Can't downgrade the version of this feature without setting the upgrade type to either \
                    safe or unsafe downgrade."
                .to_owned(),
        );
    }
    if level > current && update.direction == Direction::Downgrade {
        return Err("Can't downgrade to a newer version.".to_owned());
    }
    feature.ok_or_else(|| format!("Feature {} not found.", update.feature))
}

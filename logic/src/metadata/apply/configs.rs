//! Configs change, of topics, of groups, of single brokers, of all brokers.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::types::BrokerId;

use super::each;
use crate::config::{self, ConfigError, ConfigMap, Definition, GroupTerms, Kind, Operation};
use crate::limits::{GROUP_TEXT_BYTES_MAX, GROUPS_WITH_SETTINGS_MAX};
use crate::metadata::{Alteration, ConfigChange, Delta, Image, MetadataError, Resource, Topic, TopicChange};

pub(super) fn alter(
    image: &mut Image,
    alterations: &[Alteration],
    delta: &mut Delta,
) -> Vec<Result<(), MetadataError>> {
    let duplicate = "Each resource must appear at most once.";
    each(
        alterations,
        |alteration| identity(&alteration.resource),
        duplicate,
        |alteration| match &alteration.resource {
            Resource::Topic(name) => alter_topic(image, name, alteration, delta),
            Resource::Broker(id) => alter_broker(image, *id, alteration, delta),
            Resource::Cluster => alter_cluster(image, alteration, delta),
            Resource::Group { name, terms } => alter_group(image, name, terms, alteration, delta),
        },
    )
}

/// What makes two resources one: not what goes with them.
fn identity(resource: &Resource) -> (u8, Option<BrokerId>, &str) {
    match resource {
        Resource::Topic(name) => (0, None, name),
        Resource::Broker(id) => (1, Some(*id), ""),
        Resource::Cluster => (2, None, ""),
        Resource::Group { name, .. } => (3, None, name),
    }
}

fn alter_topic(
    image: &mut Image,
    name: &str,
    alteration: &Alteration,
    delta: &mut Delta,
) -> Result<(), MetadataError> {
    let before = image.topic(name).cloned().ok_or_else(|| MetadataError::UnknownTopic(name.to_owned()))?;
    let settings = changed(&before.settings, alteration, |name| {
        config::topic::definition(name).map(|found| &found.definition)
    })?;
    if settings == *before.settings {
        return Ok(());
    }
    let mut next = Topic::clone(&before);
    next.settings = Arc::new(settings);
    let next = Arc::new(next);
    image.replace_topic(&next);
    delta.topics.push(TopicChange { before: Some(before), after: Some(next) });
    Ok(())
}

fn alter_broker(
    image: &mut Image,
    id: BrokerId,
    alteration: &Alteration,
    delta: &mut Delta,
) -> Result<(), MetadataError> {
    if image.broker(id).is_none() {
        return Err(MetadataError::BrokerNotRegistered(id));
    }
    let none = ConfigMap::new();
    let before = image.broker_settings(id).unwrap_or(&none);
    let settings = changed(before, alteration, |name| config::broker::check_dynamic(name, false))?;
    if settings == *before {
        return Ok(());
    }
    let all = Arc::make_mut(&mut image.broker_settings);
    if settings.is_empty() {
        all.remove(&id);
    } else {
        all.insert(id, settings);
    }
    delta.broker_settings_changed = true;
    Ok(())
}

fn alter_cluster(image: &mut Image, alteration: &Alteration, delta: &mut Delta) -> Result<(), MetadataError> {
    let settings =
        changed(&image.cluster_settings, alteration, |name| config::broker::check_dynamic(name, true))?;
    if settings == *image.cluster_settings {
        return Ok(());
    }
    image.cluster_settings = Arc::new(settings);
    delta.broker_settings_changed = true;
    Ok(())
}

fn alter_group(
    image: &mut Image,
    name: &str,
    terms: &GroupTerms,
    alteration: &Alteration,
    delta: &mut Delta,
) -> Result<(), MetadataError> {
    if name.is_empty() {
        return Err(MetadataError::InvalidRequest("Default group resources are not allowed.".to_owned()));
    }
    if name.len() > GROUP_TEXT_BYTES_MAX {
        let reason = format!("A group's name has at most {GROUP_TEXT_BYTES_MAX} bytes.");
        return Err(MetadataError::InvalidRequest(reason));
    }
    let none = ConfigMap::new();
    let before = image.group_settings(name).unwrap_or(&none);
    let settings = changed(before, alteration, config::group::definition)?;
    config::group::check_terms(&settings, terms)?;
    if settings == *before {
        return Ok(());
    }
    if settings.is_empty() {
        image.group_settings.remove_mut(name);
    } else {
        if before.is_empty() && image.group_settings.size() >= GROUPS_WITH_SETTINGS_MAX {
            let reason = format!("There are {GROUPS_WITH_SETTINGS_MAX} groups with configs already.");
            return Err(MetadataError::LimitExceeded(reason));
        }
        image.group_settings.insert_mut(Arc::from(name), Arc::new(settings));
    }
    delta.group_settings_changed = true;
    Ok(())
}

/// The settings after an alteration.
fn changed(
    before: &ConfigMap,
    alteration: &Alteration,
    definition: impl Fn(&str) -> Result<&'static Definition, ConfigError>,
) -> Result<ConfigMap, MetadataError> {
    let mut names = BTreeSet::new();
    if !alteration.changes.iter().all(|change| names.insert(change.name.as_str())) {
        return Err(MetadataError::InvalidRequest("Error due to duplicate config keys".to_owned()));
    }
    let mut after = if alteration.replace { ConfigMap::new() } else { before.clone() };
    for change in &alteration.changes {
        // What is set can always be taken back, even where this version doesn't know it.
        if change.operation == Operation::Delete && after.remove(&change.name).is_some() {
            continue;
        }
        let definition = definition(&change.name)?;
        if let Some(value) = change_value(before, change, definition)? {
            after.insert(change.name.clone(), value);
        }
    }
    Ok(after)
}

fn change_value(
    before: &ConfigMap,
    change: &ConfigChange,
    definition: &Definition,
) -> Result<Option<String>, ConfigError> {
    let name = || change.name.clone();
    if change.operation == Operation::Delete {
        return Ok(None);
    }
    let value = change.value.as_deref().ok_or_else(|| ConfigError::MissingValue { name: name() })?;
    let list = || {
        if definition.kind != Kind::List {
            return Err(ConfigError::NotList { operation: change.operation, name: name() });
        }
        let current = before.get(&change.name).map(String::as_str).or(definition.default).unwrap_or_default();
        Ok(config::list_elements(current).map(str::to_owned).collect::<Vec<_>>())
    };
    let value = match change.operation {
        Operation::Delete => unreachable!("answered above"),
        Operation::Set => value.to_owned(),
        Operation::Append => {
            let mut elements = list()?;
            for element in config::list_elements(value) {
                if !elements.iter().any(|present| present == element) {
                    elements.push(element.to_owned());
                }
            }
            elements.join(",")
        }
        Operation::Subtract => {
            let mut elements = list()?;
            elements.retain(|present| config::list_elements(value).all(|element| element != present));
            elements.join(",")
        }
    };
    definition.check(&value)?;
    Ok(Some(value))
}

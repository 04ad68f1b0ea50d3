//! What DescribeConfigs tells: every config with its value, where that comes from, and what lies below it.

use super::definition::{Definition, Kind, Update};
use super::group::{self, GroupTerms};
use super::{BrokerLayers, ConfigMap, broker, topic};

/// Where a value comes from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The topic's own override.
    DynamicTopic,
    /// The group's own override.
    DynamicGroup,
    /// Set dynamically for this broker.
    DynamicBroker,
    /// Set dynamically for every broker.
    DynamicDefault,
    /// The broker's file, environment and flags.
    File,
    /// Built in.
    Default,
}

/// A value that would hold if the stronger ones were not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    /// The config that has the value.
    pub name: &'static str,
    /// The value; `None` where it must not be shown.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// One config of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name.
    pub name: &'static str,
    /// The value; `None` where it is unset or must not be shown.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// The type.
    pub kind: Kind,
    /// Whether it can't be changed at run time.
    pub read_only: bool,
    /// Whether the value must not be shown.
    pub sensitive: bool,
    /// What it does.
    pub documentation: &'static str,
    /// The values in their order, the effective one first.
    pub synonyms: Vec<SynonymValue>,
}

/// Every config of a topic.
#[must_use]
pub fn describe_topic(overrides: &ConfigMap, layers: &BrokerLayers<'_>) -> Vec<Described> {
    topic::DEFINITIONS
        .iter()
        .map(|found| {
            let definition = &found.definition;
            let mut values: Vec<(&'static str, String, Source)> = Vec::new();
            if let Some(value) = overrides.get(definition.name) {
                values.push((definition.name, value.clone(), Source::DynamicTopic));
            }
            for (source, map) in layers.ordered() {
                for synonym in found.synonyms {
                    if let Some(value) = map.get(synonym.name) {
                        values.push((synonym.name, topic::convert(value, synonym.factor), source));
                    }
                }
            }
            if let Some(default) = definition.default {
                let name = found.synonyms.first().map_or(definition.name, |synonym| synonym.name);
                values.push((name, default.to_owned(), Source::Default));
            }
            described(definition, false, values)
        })
        .collect()
}

/// Every config of a broker.
#[must_use]
pub fn describe_broker(layers: &BrokerLayers<'_>) -> Vec<Described> {
    broker::DEFINITIONS
        .iter()
        .map(|definition| {
            let mut values: Vec<(&'static str, String, Source)> = layers
                .ordered()
                .into_iter()
                .filter_map(|(source, map)| {
                    map.get(definition.name).map(|value| (definition.name, value.clone(), source))
                })
                .collect();
            if let Some(default) = definition.default {
                values.push((definition.name, default.to_owned(), Source::Default));
            }
            described(definition, definition.update == Update::ReadOnly, values)
        })
        .collect()
}

/// What is set dynamically for every broker of the cluster, and nothing else.
#[must_use]
pub fn describe_cluster_default(dynamic_default: &ConfigMap) -> Vec<Described> {
    broker::DEFINITIONS
        .iter()
        .filter_map(|definition| {
            let value = dynamic_default.get(definition.name)?;
            Some(described(definition, false, vec![(definition.name, value.clone(), Source::DynamicDefault)]))
        })
        .collect()
}

/// Every config of a group, which need not exist. As in Kafka, what the broker gives its groups is a default.
#[must_use]
pub fn describe_group(overrides: Option<&ConfigMap>, terms: &GroupTerms) -> Vec<Described> {
    let default = |name: &str| match name {
        group::HEARTBEAT_INTERVAL => terms.heartbeat_interval.default,
        group::SESSION_TIMEOUT => terms.session_timeout.default,
        other => panic!("{other} has no term"),
    };
    let describe = |definition: &Definition| {
        let value = match overrides.and_then(|overrides| overrides.get(definition.name)) {
            Some(value) => (definition.name, value.clone(), Source::DynamicGroup),
            None => (definition.name, default(definition.name).to_string(), Source::Default),
        };
        described(definition, false, vec![value])
    };
    group::DEFINITIONS.iter().map(describe).collect()
}

pub(super) fn described(
    definition: &Definition,
    read_only: bool,
    values: Vec<(&'static str, String, Source)>,
) -> Described {
    let sensitive = definition.is_sensitive();
    let show = |value: String| if sensitive { None } else { Some(value) };
    let synonyms: Vec<SynonymValue> = values
        .into_iter()
        .map(|(name, value, source)| SynonymValue { name, value: show(value), source })
        .collect();
    Described {
        name: definition.name,
        value: synonyms.first().and_then(|first| first.value.clone()),
        source: synonyms.first().map_or(Source::Default, |first| first.source),
        kind: definition.kind,
        read_only,
        sensitive,
        documentation: definition.documentation,
        synonyms,
    }
}

//! What can be configured, by Kafka's names: definitions, validation, defaults and where a value comes from.
//!
//! Tables only and functions over them: [`topic::DEFINITIONS`], [`broker::DEFINITIONS`] and [`group::DEFINITIONS`] say
//! what is honoured, [`topic::REFUSED`] and [`group::REFUSED`] which of Kafka's names are not and why. A name that is in no table is an error that names
//! the nearest right one; nothing is ever ignored. Text comes in and goes out as Kafka's clients send it; shards
//! use the typed [`TopicConfig`]. This module must not know files, flags, requests or error codes.
//!
//! Where a topic's value comes from, first hit wins: the topic's override, the broker's dynamic config, the cluster's
//! dynamic default, the broker's file and flags, the built-in default.

pub mod broker;
mod definition;
mod describe;
pub mod group;
pub mod topic;

#[cfg(test)]
mod tests;

pub(crate) use definition::list_elements;
pub use definition::{ConfigError, Definition, Kind, Operation, Update, Valid};
pub use describe::{
    Described, Source, SynonymValue, describe_broker, describe_cluster_default, describe_group,
    describe_topic,
};
pub use group::{GroupConfig, GroupTerms, TermMs};
pub use topic::{CompactionChoice, CompressionChoice, TimestampType, TopicConfig};

use std::collections::BTreeMap;

/// Settings of one resource: name to value, in the order of names.
pub type ConfigMap = BTreeMap<String, String>;

/// The broker's own settings, from the strongest to the weakest layer. Borrowed: shards never hold it.
#[derive(Clone, Copy, Debug)]
pub struct BrokerLayers<'a> {
    /// Set dynamically for this broker.
    pub dynamic_broker: &'a ConfigMap,
    /// Set dynamically for every broker of the cluster.
    pub dynamic_default: &'a ConfigMap,
    /// From the broker's file, environment and flags.
    pub file: &'a ConfigMap,
}

impl<'a> BrokerLayers<'a> {
    /// The layers in their order with the source that each stands for.
    #[must_use]
    pub fn ordered(&self) -> [(Source, &'a ConfigMap); 3] {
        [
            (Source::DynamicBroker, self.dynamic_broker),
            (Source::DynamicDefault, self.dynamic_default),
            (Source::File, self.file),
        ]
    }

    /// The value of a broker config; `None` where nothing sets it and it has no default.
    ///
    /// # Panics
    /// If `name` is not in [`broker::DEFINITIONS`]: callers name what they honour.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let definition = broker::definition(name).expect("a broker config that is in the table");
        self.ordered()
            .into_iter()
            .find_map(|(_, map)| map.get(name).map(String::as_str))
            .or(definition.default)
    }
}

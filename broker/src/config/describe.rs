//! What `DescribeConfigs` tells of the keys that are this broker's alone: those that topics don't inherit and
//! [`logic::config::broker`] doesn't know. None of them changes while the broker runs.

use logic::config::{Described, Kind, Source, SynonymValue, broker};

use super::ConfigEntry;
use super::error::Place;
use super::table::BrokerConfig;
use super::value::ConfigType;

impl BrokerConfig {
    /// The keys that are this broker's alone, ready to be told.
    #[must_use]
    pub fn describe_local(&self) -> Vec<Described> {
        let local = self.entries().filter(|entry| broker::definition(entry.definition.key).is_err());
        local.map(described).collect()
    }
}

fn described(entry: ConfigEntry<'_>) -> Described {
    let name = entry.definition.key;
    let source = if *entry.place == Place::Default { Source::Default } else { Source::File };
    let shown = entry.value.clone().map(|value| SynonymValue { name, value: Some(value), source });
    Described {
        name,
        value: entry.value,
        source,
        kind: match entry.definition.config_type() {
            ConfigType::Boolean => Kind::Boolean,
            ConfigType::String => Kind::String,
            ConfigType::Int => Kind::Int,
            ConfigType::Long => Kind::Long,
            ConfigType::Double => Kind::Double,
            ConfigType::List => Kind::List,
        },
        read_only: true,
        sensitive: false,
        documentation: entry.definition.words.trim(),
        synonyms: shown.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told_once_between_the_two_tables() {
        let config = BrokerConfig::embedded();
        let mut told: Vec<&str> = config.describe_local().iter().map(|local| local.name).collect();
        told.extend(broker::DEFINITIONS.iter().map(|definition| definition.name));
        told.sort_unstable();
        assert!(told.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(config.entries().all(|entry| told.binary_search(&entry.definition.key).is_ok()));
    }

    #[test]
    fn what_is_unset_has_no_value_and_no_synonym() {
        let config = BrokerConfig::embedded();
        let local = config.describe_local();
        let rack = local.iter().find(|local| local.name == "broker.rack").expect("it is in the table");
        assert_eq!((&rack.value, rack.source), (&None, Source::Default));
        assert!(rack.synonyms.is_empty());
        let journal = local.iter().find(|local| local.name == "journal.bytes").expect("it is in the table");
        assert_eq!(journal.synonyms.len(), 1);
        assert!(journal.read_only);
    }
}

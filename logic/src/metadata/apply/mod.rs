//! Applies commands: each file the commands of one kind. A refused command, or resource of one, changes nothing.

mod brokers;
mod configs;
mod features;
mod topics;

use std::collections::BTreeSet;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::{Command, Delta, Image, MetadataError, Response};
use crate::limits::RESOURCES_PER_COMMAND_MAX;

impl Image {
    /// Applies the command with this number in the log.
    ///
    /// # Panics
    /// If the number is not above that of the image: commands are applied in order, each once.
    pub fn apply(&mut self, sequence: u64, command: &Command) -> (Response, Delta) {
        assert!(sequence > self.sequence, "command {sequence} comes after command {}", self.sequence);
        self.sequence = sequence;
        self.change(command)
    }

    /// What the command would answer if it were the next one. The image stays as it is.
    #[must_use]
    pub fn dry_run(&self, command: &Command) -> Response {
        self.clone().change(command).0
    }

    /// Notes that the log went on to this number without a command for the metadata.
    ///
    /// # Panics
    /// If the number is not above that of the image.
    pub fn skip(&mut self, sequence: u64) {
        assert!(sequence > self.sequence, "entry {sequence} comes after entry {}", self.sequence);
        self.sequence = sequence;
    }

    fn change(&mut self, command: &Command) -> (Response, Delta) {
        let mut delta = Delta::default();
        let response = match command {
            Command::CreateTopics(topics) => Response::CreateTopics(topics::create(self, topics, &mut delta)),
            Command::DeleteTopics(topics) => Response::DeleteTopics(topics::delete(self, topics, &mut delta)),
            Command::CreatePartitions(topics) => {
                Response::CreatePartitions(topics::create_partitions(self, topics, &mut delta))
            }
            Command::AlterConfigs(alterations) => {
                Response::AlterConfigs(configs::alter(self, alterations, &mut delta))
            }
            Command::AllocateProducerIds { broker, broker_epoch } => {
                Response::AllocateProducerIds(brokers::allocate_producer_ids(self, *broker, *broker_epoch))
            }
            Command::RegisterBroker(registration) => {
                Response::RegisterBroker(brokers::register(self, registration, &mut delta))
            }
            Command::UpdateFeatures(updates) => {
                Response::UpdateFeatures(features::update(self, updates, &mut delta))
            }
        };
        let mut seen = BTreeSet::new();
        assert!(
            delta.topics.iter().all(|change| seen.insert(change.topic().id)),
            "a topic changes once a command"
        );
        (response, delta)
    }
}

/// Runs `one` for each resource; a resource named more than once is refused each time, as Kafka does, and a command
/// with too many resources is refused as a whole.
fn each<'a, T, K: Hash + Eq, R>(
    resources: &'a [T],
    key: impl Fn(&'a T) -> K,
    duplicate: &str,
    mut one: impl FnMut(&'a T) -> Result<R, MetadataError>,
) -> Vec<Result<R, MetadataError>> {
    if resources.len() > RESOURCES_PER_COMMAND_MAX {
        let refuse = || Err(MetadataError::LimitExceeded("Too many resources in one request.".to_owned()));
        return resources.iter().map(|_| refuse()).collect();
    }
    let mut counts: FxHashMap<K, usize> = FxHashMap::default();
    for resource in resources {
        *counts.entry(key(resource)).or_default() += 1;
    }
    resources
        .iter()
        .map(|resource| {
            if counts[&key(resource)] > 1 {
                return Err(MetadataError::InvalidRequest(duplicate.to_owned()));
            }
            one(resource)
        })
        .collect()
}

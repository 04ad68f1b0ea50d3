//! Changing the metadata on behalf of a client: within its time, each resource once, or only to see what would happen.

use std::hash::Hash;
use std::time::Duration;

use logic::metadata::{Command, Response};
use protocol::error::KafkaError;
use rustc_hash::FxHashMap;

use super::errors::quorum_error;
use crate::runtime::{either, sleep};
use crate::shard::Shard;

/// Whether a change is wanted, or only what would come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The change, answered once every shard has applied it, or after so many milliseconds although it goes on.
    Change {
        /// How long the client waits; not positive: it does not wait.
        timeout_ms: i32,
    },
    /// To know what would come of it.
    Validate,
}

impl Wish {
    /// What a request's two fields say together.
    pub fn of(validate_only: bool, timeout_ms: i32) -> Self {
        if validate_only { Self::Validate } else { Self::Change { timeout_ms } }
    }
}

/// Has a command applied, or tried.
///
/// # Errors
/// It was not taken, or not applied everywhere in time. It may be applied nevertheless.
pub async fn submit(shard: &Shard, command: Command, wish: Wish) -> Result<Response, KafkaError> {
    let timeout_ms = match wish {
        Wish::Validate => return Ok(shard.image().dry_run(&command)),
        Wish::Change { timeout_ms } => u64::try_from(timeout_ms).unwrap_or(0),
    };
    let mut outcome = Err(KafkaError::RequestTimedOut);
    let submitted = async {
        outcome = shard.submit(command).await.map_err(|error| quorum_error(&error));
    };
    either(submitted, sleep(Duration::from_millis(timeout_ms))).await;
    outcome
}

/// The names that stand more than once in a request. Kafka answers each of them once, with a refusal.
pub fn repeated<K: Hash + Eq + Copy>(names: impl Iterator<Item = K>) -> Repeated<K> {
    let mut counts = FxHashMap::default();
    for name in names {
        *counts.entry(name).or_insert(0_usize) += 1;
    }
    counts.retain(|_, count| *count > 1);
    Repeated { counts }
}

/// See [`repeated`].
pub struct Repeated<K> {
    counts: FxHashMap<K, usize>,
}

/// What the place of a name in a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The only one.
    Only,
    /// The first of several: refuse here.
    FirstOfSeveral,
    /// One more of several: say nothing.
    Again,
}

impl<K: Hash + Eq + Copy> Repeated<K> {
    /// Whether the name stands more than once.
    pub fn is_repeated(&self, name: K) -> bool {
        self.counts.contains_key(&name)
    }

    /// The next occurrence of a name, in the order of the request.
    pub fn next(&mut self, name: K) -> Place {
        match self.counts.get_mut(&name) {
            None => Place::Only,
            Some(0) => Place::Again,
            Some(count) => {
                *count = 0;
                Place::FirstOfSeveral
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_three_times_is_refused_once() {
        let names = ["a", "b", "a", "c", "a"];
        let mut repeated = repeated(names.into_iter());
        let places = names.map(|name| repeated.next(name));
        assert_eq!(places, [Place::FirstOfSeveral, Place::Only, Place::Again, Place::Only, Place::Again]);
    }
}

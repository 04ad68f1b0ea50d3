//! The configs of single consumer groups (KIP-848): what is honoured, what is refused and why, and what holds.
//!
//! A group keeps only its overrides. Which values are possible is the broker's to say ([`GroupTerms`]): what is set is
//! checked against them, and what was set under other terms counts as the nearest value within today's.

use super::definition::{Definition, Kind, Update, Valid, nearest};
use super::topic::Refused;
use super::{ConfigError, ConfigMap};

/// How often a member is to be heard of.
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
/// After how long of silence a member is out.
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

const fn define(name: &'static str, default: &'static str, documentation: &'static str) -> Definition {
    Definition {
        name,
        kind: Kind::Int,
        default: Some(default),
        valid: Valid::AtLeast(1),
        update: Update::ClusterWide,
        documentation,
    }
}

/// The configs of groups, in the order of names. The defaults are those of a broker that sets none of its own.
pub const DEFINITIONS: &[Definition] = &[
    define(HEARTBEAT_INTERVAL, "5000", "How often the members of the consumer group send heartbeats."),
    define(
        SESSION_TIMEOUT,
        "45000",
        "After how long without a heartbeat a member of the consumer group is out.",
    ),
];

const fn refuse(name: &'static str, reason: &'static str) -> Refused {
    Refused { name, reason }
}

const NO_SHARES: &str = "there are no share groups";
const NO_STREAMS: &str = "there are no streams groups: Kafka Streams uses the classic protocol";

/// Kafka's group configs that this broker refuses, in the order of names.
pub const REFUSED: &[Refused] = &[
    refuse("share.auto.offset.reset", NO_SHARES),
    refuse("share.heartbeat.interval.ms", NO_SHARES),
    refuse("share.isolation.level", NO_SHARES),
    refuse("share.record.lock.duration.ms", NO_SHARES),
    refuse("share.session.timeout.ms", NO_SHARES),
    refuse("streams.heartbeat.interval.ms", NO_STREAMS),
    refuse("streams.num.standby.replicas", NO_STREAMS),
    refuse("streams.session.timeout.ms", NO_STREAMS),
];

/// Finds a group config.
///
/// # Errors
/// [`ConfigError::Unsupported`] for what Kafka has and this broker refuses, [`ConfigError::Unknown`] otherwise.
pub fn definition(name: &str) -> Result<&'static Definition, ConfigError> {
    if let Some(found) = DEFINITIONS.iter().find(|candidate| candidate.name == name) {
        return Ok(found);
    }
    if let Some(refused) = REFUSED.iter().find(|candidate| candidate.name == name) {
        return Err(ConfigError::Unsupported { name: name.to_owned(), reason: refused.reason });
    }
    let nearest = nearest(name, DEFINITIONS.iter().map(|candidate| candidate.name));
    Err(ConfigError::Unknown { of: "group", name: name.to_owned(), nearest })
}

/// What a time may be, in milliseconds, and what it is where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TermMs {
    /// The least.
    pub least: i32,
    /// Where nothing is set.
    pub default: i32,
    /// The most.
    pub most: i32,
}

impl TermMs {
    /// What a value counts as. The operator's word is the last one, even where it contradicts itself.
    fn bound(self, value: i32) -> i32 {
        value.max(self.least).min(self.most)
    }
}

/// What a broker lets consumer groups be configured to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupTerms {
    /// `group.consumer.heartbeat.interval.ms` with its least and most.
    pub heartbeat_interval: TermMs,
    /// `group.consumer.session.timeout.ms` with its least and most.
    pub session_timeout: TermMs,
}

impl Default for GroupTerms {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            heartbeat_interval: TermMs { least: 5_000, default: 5_000, most: 15_000 },
            session_timeout: TermMs { least: 45_000, default: 45_000, most: 60_000 },
        }
    }
}

/// A consumer group's config, ready to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
}

impl GroupConfig {
    /// What holds for a group with these overrides, if it has any.
    ///
    /// # Panics
    /// If a value is wrong: overrides are checked when they are set.
    #[must_use]
    pub fn resolve(overrides: Option<&ConfigMap>, terms: &GroupTerms) -> Self {
        let value = |name: &str, term: TermMs| {
            overridden(overrides, name).map_or(term.default, |value| term.bound(value))
        };
        Self {
            heartbeat_interval_ms: value(HEARTBEAT_INTERVAL, terms.heartbeat_interval),
            session_timeout_ms: value(SESSION_TIMEOUT, terms.session_timeout),
        }
    }
}

fn overridden(overrides: Option<&ConfigMap>, name: &str) -> Option<i32> {
    let value = overrides?.get(name)?;
    Some(value.trim().parse().expect("config values are checked when they are set"))
}

/// Checks what would hold for a group with these overrides, each of which is right by itself.
///
/// # Errors
/// [`ConfigError::OutOfBounds`], the first that Kafka would name.
pub fn check_terms(overrides: &ConfigMap, terms: &GroupTerms) -> Result<(), ConfigError> {
    const AT_LEAST: &str = "greater than or equal to";
    const AT_MOST: &str = "less than or equal to";
    let value = |name: &str, term: TermMs| overridden(Some(overrides), name).unwrap_or(term.default);
    let out = |name, relation, bound| Err(ConfigError::OutOfBounds { name, relation, bound });
    let (heartbeat, session) = (terms.heartbeat_interval, terms.session_timeout);
    let interval_ms = value(HEARTBEAT_INTERVAL, heartbeat);
    let timeout_ms = value(SESSION_TIMEOUT, session);
    if interval_ms < heartbeat.least {
        return out(HEARTBEAT_INTERVAL, AT_LEAST, "group.consumer.min.heartbeat.interval.ms");
    }
    if interval_ms > heartbeat.most {
        return out(HEARTBEAT_INTERVAL, AT_MOST, "group.consumer.max.heartbeat.interval.ms");
    }
    if timeout_ms < session.least {
        return out(SESSION_TIMEOUT, AT_LEAST, "group.consumer.min.session.timeout.ms");
    }
    if timeout_ms > session.most {
        return out(SESSION_TIMEOUT, AT_MOST, "group.consumer.max.session.timeout.ms");
    }
    if timeout_ms <= interval_ms {
        return out(SESSION_TIMEOUT, "greater than", HEARTBEAT_INTERVAL);
    }
    Ok(())
}

//! The configs of topics: what is honoured, what is refused and why, and the typed form that shards use.
//!
//! A topic keeps only its overrides; [`TopicConfig`] is computed from them and the broker's layers where it is
//! needed. One default differs from Kafka's: `flush.messages` unset means 1, every ack is synced.

use super::definition::{Definition, Kind, Update, Valid, nearest};
use super::{BrokerLayers, ConfigError, ConfigMap};

/// How a broker config gives a topic config its default.
#[derive(Clone, Copy, Debug)]
pub struct Synonym {
    /// The broker config's name.
    pub name: &'static str,
    /// What its number is multiplied by (minutes and hours to milliseconds).
    pub factor: i64,
}

/// A topic config and the broker configs that give its default, the strongest first.
#[derive(Clone, Copy, Debug)]
pub struct TopicDefinition {
    /// The config.
    pub definition: Definition,
    /// The broker configs.
    pub synonyms: &'static [Synonym],
}

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn define(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    valid: Valid,
    synonyms: &'static [Synonym],
    documentation: &'static str,
) -> TopicDefinition {
    TopicDefinition {
        definition: Definition {
            name,
            kind,
            default: Some(default),
            valid,
            update: Update::ClusterWide,
            documentation,
        },
        synonyms,
    }
}

/// The words of `compression.type`.
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// The words of `message.timestamp.type`.
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

/// Of `cleanup.policy`, what exists here.
pub(super) fn check_cleanup_policy(value: &str) -> Result<(), String> {
    let mut is_empty = true;
    for element in super::definition::list_elements(value) {
        if !["compact", "delete"].contains(&element) {
            return Err("String must be one of: compact, delete".to_owned());
        }
        is_empty = false;
    }
    if is_empty { Err("the policy must not be empty; use delete".to_owned()) } else { Ok(()) }
}

/// A part of a whole, from 0 to 1.
pub(super) fn check_ratio(value: &str) -> Result<(), String> {
    match value.parse::<f64>() {
        Ok(ratio) if ratio < 0.0 => Err("Value must be at least 0".to_owned()),
        Ok(ratio) if ratio > 1.0 => Err("Value must be no more than 1".to_owned()),
        _ => Ok(()),
    }
}

/// The configs that topics can have, in the order of names.
pub const DEFINITIONS: &[TopicDefinition] = &[
    define(
        "cleanup.policy",
        Kind::List,
        "delete",
        Valid::Checked(check_cleanup_policy),
        &[same("log.cleanup.policy")],
        "What happens to old records: delete discards segments past the retention time or size, compact keeps the last record \
         of each key.",
    ),
    define(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        Valid::BetweenOr(1, 9, -1),
        &[same("compression.gzip.level")],
        "The level where compression.type is gzip; -1 is the library's default.",
    ),
    define(
        "compression.type",
        Kind::String,
        "producer",
        Valid::OneOf(COMPRESSION_TYPES),
        &[same("compression.type")],
        "The compression batches are kept in; producer keeps what the producer chose.",
    ),
    define(
        "compression.zstd.level",
        Kind::Int,
        "3",
        Valid::Between(-131_072, 22),
        &[same("compression.zstd.level")],
        "The level where compression.type is zstd.",
    ),
    define(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        Valid::AtLeast(0),
        &[same("log.cleaner.delete.retention.ms")],
        "How long a tombstone stays in a compacted topic after its first compaction, so that consumers can see it.",
    ),
    define(
        "flush.messages",
        Kind::Long,
        "1",
        Valid::AtLeast(1),
        &[same("log.flush.interval.messages")],
        "After how many records a sync is due. 1, the default here: every record is on stable media before it is \
         acknowledged. Higher acknowledges from memory: a crash of the machine can lose acknowledged records.",
    ),
    define(
        "flush.ms",
        Kind::Long,
        "9223372036854775807",
        Valid::AtLeast(0),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "After how long a sync is due where flush.messages is above 1.",
    ),
    define(
        "index.interval.bytes",
        Kind::Int,
        "4096",
        Valid::AtLeast(0),
        &[same("log.index.interval.bytes")],
        "How many bytes of batches lie between two entries of a segment's offset index.",
    ),
    define(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        Valid::AtLeast(1),
        &[same("log.cleaner.max.compaction.lag.ms")],
        "How long a record of a compacted topic waits for compaction at most, however little is dirty.",
    ),
    define(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        Valid::AtLeast(0),
        &[same("message.max.bytes")],
        "The largest batch that is taken, after compression.",
    ),
    define(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Valid::AtLeast(0),
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie ahead of the broker's clock where message.timestamp.type is CreateTime.",
    ),
    define(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        Valid::AtLeast(0),
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie behind the broker's clock where message.timestamp.type is CreateTime.",
    ),
    define(
        "message.timestamp.type",
        Kind::String,
        "CreateTime",
        Valid::OneOf(TIMESTAMP_TYPES),
        &[same("log.message.timestamp.type")],
        "Whether a record's timestamp is the producer's or the time of its append.",
    ),
    define(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Valid::Checked(check_ratio),
        &[same("log.cleaner.min.cleanable.ratio")],
        "A compacted topic's partition is compacted when more than this part of it has come since the last time.",
    ),
    define(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        Valid::AtLeast(0),
        &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record of a compacted topic stays at least, though a later one has its key.",
    ),
    define(
        "min.insync.replicas",
        Kind::Int,
        "1",
        Valid::AtLeast(1),
        &[same("min.insync.replicas")],
        "How many replicas must have a record before it is acknowledged to a producer with acks=all.",
    ),
    define(
        "retention.bytes",
        Kind::Long,
        "-1",
        Valid::Any,
        &[same("log.retention.bytes")],
        "The size a partition may grow to before old segments are deleted; negative is unlimited.",
    ),
    define(
        "retention.ms",
        Kind::Long,
        "604800000",
        Valid::AtLeast(-1),
        &[
            same("log.retention.ms"),
            Synonym { name: "log.retention.minutes", factor: MINUTE_MS },
            Synonym { name: "log.retention.hours", factor: HOUR_MS },
        ],
        "How long records are kept before their segment is deleted; -1 is for ever.",
    ),
    define(
        "segment.bytes",
        Kind::Int,
        "1073741824",
        Valid::AtLeast(1024 * 1024),
        &[same("log.segment.bytes")],
        "The size of a segment file.",
    ),
    define(
        "segment.ms",
        Kind::Long,
        "604800000",
        Valid::AtLeast(1),
        &[same("log.roll.ms"), Synonym { name: "log.roll.hours", factor: HOUR_MS }],
        "After how long a segment is closed although it is not full, so that retention can delete it.",
    ),
];

/// A config of Kafka's topics or groups that is refused, and why.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Kafka's name.
    pub name: &'static str,
    /// Why, and what to do instead.
    pub reason: &'static str,
}

const fn refuse(name: &'static str, reason: &'static str) -> Refused {
    Refused { name, reason }
}

const NO_TIERS: &str = "there is no remote storage";
const NO_THROTTLE: &str = "replication is not throttled by replica lists";

/// Kafka's topic configs that this broker refuses, in the order of names.
pub const REFUSED: &[Refused] = &[
    refuse("compression.lz4.level", "the lz4 encoder has no levels"),
    refuse("errors.deadletterqueue.group.enable", "there are no share groups"),
    refuse("file.delete.delay.ms", "deleted segments are removed as soon as the last reader is done"),
    refuse("follower.replication.throttled.replicas", NO_THROTTLE),
    refuse("leader.replication.throttled.replicas", NO_THROTTLE),
    refuse("local.retention.bytes", NO_TIERS),
    refuse("local.retention.ms", NO_TIERS),
    refuse("message.downconversion.enable", "records are never converted to formats before Kafka 0.11"),
    refuse("message.format.version", "records are always kept in format version 2"),
    refuse("preallocate", "the storage engine decides where preallocation pays"),
    refuse("remote.copy.lag.bytes", NO_TIERS),
    refuse("remote.copy.lag.ms", NO_TIERS),
    refuse("remote.log.copy.disable", NO_TIERS),
    refuse("remote.log.delete.on.disable", NO_TIERS),
    refuse("remote.storage.enable", NO_TIERS),
    refuse("segment.index.bytes", "indexes grow with their segment"),
    refuse("segment.jitter.ms", "segments close at their own time already: each has its own first record"),
    refuse("unclean.leader.election.enable", "a replica that is not in sync never becomes leader"),
];

/// Finds a topic config.
///
/// # Errors
/// [`ConfigError::Unsupported`] for what Kafka has and this broker refuses, [`ConfigError::Unknown`] otherwise.
pub fn definition(name: &str) -> Result<&'static TopicDefinition, ConfigError> {
    if let Some(found) = DEFINITIONS.iter().find(|candidate| candidate.definition.name == name) {
        return Ok(found);
    }
    if let Some(refused) = REFUSED.iter().find(|candidate| candidate.name == name) {
        return Err(ConfigError::Unsupported { name: name.to_owned(), reason: refused.reason });
    }
    let nearest = nearest(name, DEFINITIONS.iter().map(|candidate| candidate.definition.name));
    Err(ConfigError::Unknown { of: "topic", name: name.to_owned(), nearest })
}

/// Checks one override: the name is known and the value fits.
///
/// # Errors
/// As [`definition`] and [`Definition::check`].
pub fn check(name: &str, value: &str) -> Result<(), ConfigError> {
    definition(name)?.definition.check(value)
}

/// The compression that a topic keeps its batches in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionChoice {
    /// As the producer sent them.
    Producer,
    /// None.
    Uncompressed,
    /// gzip at a level from 1 to 9; `None` is the library's default.
    Gzip(Option<u32>),
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd at a level.
    Zstd(i32),
}

/// Whose timestamps records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's at the append.
    LogAppendTime,
}

/// How a topic is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionChoice {
    /// `min.cleanable.dirty.ratio`, in millionths.
    pub dirty_millionths_min: u32,
    /// `min.compaction.lag.ms`.
    pub lag_ms_min: i64,
    /// `max.compaction.lag.ms`; `i64::MAX` is for ever.
    pub lag_ms_max: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
}

/// A topic's config, ready to use. Small and plain: shards copy it into each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `compression.type` and its level.
    pub compression: CompressionChoice,
    /// `flush.messages`.
    pub flush_messages: u64,
    /// `flush.ms`; `None` is never for the sake of time alone.
    pub flush_ms: Option<u64>,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` is unlimited.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` is unlimited.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub insync_replicas_min: u32,
    /// `retention.bytes`; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// Whether `cleanup.policy` has `delete`.
    pub deletes_old: bool,
    /// Set where `cleanup.policy` has `compact`.
    pub compaction: Option<CompactionChoice>,
}

impl TopicConfig {
    /// The config of a topic with these overrides on a broker with these layers.
    ///
    /// # Panics
    /// If a value is wrong: overrides and layers are checked when they are set.
    #[must_use]
    pub fn resolve(overrides: &ConfigMap, layers: &BrokerLayers<'_>) -> Self {
        let number = |name: &str| -> i64 {
            effective(name, overrides, layers)
                .trim()
                .parse()
                .expect("config values are checked when they are set")
        };
        let unsigned = |name: &str| u64::try_from(number(name)).expect("checked not to be negative");
        let size = |name: &str| u32::try_from(number(name)).expect("checked to be a positive int");
        let word = |name: &str| effective(name, overrides, layers).trim().to_owned();
        let flush_ms = number("flush.ms");
        let policy = word("cleanup.policy");
        let has_policy =
            |name: &str| super::definition::list_elements(&policy).any(|element| element == name);
        Self {
            compression: match word("compression.type").as_str() {
                "producer" => CompressionChoice::Producer,
                "uncompressed" => CompressionChoice::Uncompressed,
                "gzip" => CompressionChoice::Gzip(u32::try_from(number("compression.gzip.level")).ok()),
                "snappy" => CompressionChoice::Snappy,
                "lz4" => CompressionChoice::Lz4,
                "zstd" => CompressionChoice::Zstd(
                    i32::try_from(number("compression.zstd.level")).expect("checked to be an int"),
                ),
                other => panic!("compression.type {other} passed its check"),
            },
            flush_messages: unsigned("flush.messages"),
            flush_ms: if flush_ms == i64::MAX { None } else { u64::try_from(flush_ms).ok() },
            index_interval_bytes: size("index.interval.bytes"),
            message_bytes_max: size("max.message.bytes"),
            timestamp_type: match word("message.timestamp.type").as_str() {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                other => panic!("message.timestamp.type {other} passed its check"),
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            insync_replicas_min: size("min.insync.replicas"),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            retention_ms: u64::try_from(number("retention.ms")).ok(),
            segment_bytes: size("segment.bytes"),
            segment_ms: unsigned("segment.ms"),
            deletes_old: has_policy("delete"),
            compaction: has_policy("compact").then(|| CompactionChoice {
                dirty_millionths_min: millionths(&word("min.cleanable.dirty.ratio")),
                lag_ms_min: number("min.compaction.lag.ms"),
                lag_ms_max: number("max.compaction.lag.ms"),
                delete_retention_ms: number("delete.retention.ms"),
            }),
        }
    }

    /// Whether a record must be on stable media before it is acknowledged.
    #[must_use]
    pub const fn syncs_before_ack(&self) -> bool {
        self.flush_messages == 1
    }
}

/// A ratio that was checked, as a whole number.
fn millionths(ratio: &str) -> u32 {
    let ratio: f64 = ratio.parse().expect("config values are checked when they are set");
    // Formatted and parsed, for there is no conversion that can't truncate.
    format!("{:.0}", ratio * 1e6).parse().expect("from 0 to a million")
}

fn effective(name: &str, overrides: &ConfigMap, layers: &BrokerLayers<'_>) -> String {
    if let Some(value) = overrides.get(name) {
        return value.clone();
    }
    let found = definition(name).expect("a topic config that is in the table");
    default_from_broker(found, layers)
        .map(|(_, _, value)| value)
        .unwrap_or_else(|| found.definition.default.expect("topic configs have defaults").to_owned())
}

/// The strongest broker config that gives a topic config its value: which one, from which source, converted.
pub(super) fn default_from_broker(
    found: &TopicDefinition,
    layers: &BrokerLayers<'_>,
) -> Option<(&'static str, super::Source, String)> {
    layers.ordered().into_iter().find_map(|(source, map)| {
        found.synonyms.iter().find_map(|synonym| {
            map.get(synonym.name).map(|value| (synonym.name, source, convert(value, synonym.factor)))
        })
    })
}

/// Brings a broker config's value into the topic config's unit; negative stays "no limit".
pub(super) fn convert(value: &str, factor: i64) -> String {
    if factor == 1 {
        return value.to_owned();
    }
    let number: i64 = value.trim().parse().expect("config values are checked when they are set");
    if number < 0 { "-1".to_owned() } else { number.saturating_mul(factor).to_string() }
}

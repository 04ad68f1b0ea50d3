//! The configs of brokers by Kafka's names: type, default, rule, and whether they can change at run time.
//!
//! The broker's file, environment and flags are checked against this table, and so is what clients alter
//! dynamically. A config is in the table when the broker honours it.

use super::ConfigError;
use super::definition::{Definition, Kind, Update, Valid, nearest};
use super::topic::{COMPRESSION_TYPES, TIMESTAMP_TYPES, check_cleanup_policy, check_ratio};

const fn define(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    valid: Valid,
    update: Update,
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, default, valid, update, documentation }
}

use Kind::{Boolean, Double, Int, List, Long, String as Text};
use Update::{ClusterWide, ReadOnly};
use Valid::{Any, AtLeast, Between, BetweenOr, Checked, OneOf};

/// The configs of brokers, in the order of names.
pub const DEFINITIONS: &[Definition] = &[
    define(
        "advertised.listeners",
        List,
        None,
        Any,
        ReadOnly,
        "The addresses clients are told to connect to; unset means those of listeners.",
    ),
    define(
        "auto.create.topics.enable",
        Boolean,
        Some("true"),
        Any,
        ReadOnly,
        "Whether asking for a topic that does not exist creates it.",
    ),
    define(
        "compression.gzip.level",
        Int,
        Some("-1"),
        BetweenOr(1, 9, -1),
        ClusterWide,
        "The level where compression.type is gzip; -1 is the library's default.",
    ),
    define(
        "compression.type",
        Text,
        Some("producer"),
        OneOf(COMPRESSION_TYPES),
        ClusterWide,
        "The compression of topics that set none of their own.",
    ),
    define(
        "compression.zstd.level",
        Int,
        Some("3"),
        Between(-131_072, 22),
        ClusterWide,
        "The level where compression.type is zstd.",
    ),
    define(
        "connections.max.idle.ms",
        Long,
        Some("600000"),
        AtLeast(1),
        ReadOnly,
        "A connection that sends nothing for this long is closed.",
    ),
    define(
        "default.replication.factor",
        Int,
        Some("1"),
        AtLeast(1),
        ReadOnly,
        "The replicas of a topic that is created without a number.",
    ),
    define("delete.topic.enable", Boolean, Some("true"), Any, ReadOnly, "Whether topics can be deleted."),
    define(
        "fetch.max.bytes",
        Int,
        Some("57671680"),
        AtLeast(1024),
        ReadOnly,
        "The most bytes of one fetch's reply, whatever the client asks for.",
    ),
    define(
        "listeners",
        List,
        Some("PLAINTEXT://127.0.0.1:9092"),
        Any,
        ReadOnly,
        "The addresses to listen on.",
    ),
    define(
        "log.cleaner.backoff.ms",
        Long,
        Some("15000"),
        AtLeast(1),
        ReadOnly,
        "How long compaction rests when nothing is worth it.",
    ),
    define(
        "log.cleaner.dedupe.buffer.size",
        Long,
        Some("134217728"),
        AtLeast(1024 * 1024),
        ReadOnly,
        "Memory for the keys of what is being compacted, of all shards together.",
    ),
    define(
        "log.cleaner.delete.retention.ms",
        Long,
        Some("86400000"),
        AtLeast(0),
        ClusterWide,
        "The delete.retention.ms of topics that set none.",
    ),
    define(
        "log.cleaner.io.max.bytes.per.second",
        Long,
        Some("67108864"),
        AtLeast(1),
        ReadOnly,
        "How much compaction reads and writes, all shards together.",
    ),
    define(
        "log.cleaner.max.compaction.lag.ms",
        Long,
        Some("9223372036854775807"),
        AtLeast(1),
        ClusterWide,
        "The max.compaction.lag.ms of topics that set none.",
    ),
    define(
        "log.cleaner.min.cleanable.ratio",
        Double,
        Some("0.5"),
        Checked(check_ratio),
        ClusterWide,
        "The min.cleanable.dirty.ratio of topics that set none.",
    ),
    define(
        "log.cleaner.min.compaction.lag.ms",
        Long,
        Some("0"),
        AtLeast(0),
        ClusterWide,
        "The min.compaction.lag.ms of topics that set none.",
    ),
    define(
        "log.cleanup.policy",
        List,
        Some("delete"),
        Checked(check_cleanup_policy),
        ClusterWide,
        "What happens to the old segments of topics that set no cleanup.policy.",
    ),
    define("log.dirs", List, Some("./data"), Any, ReadOnly, "The data directory; one only."),
    define(
        "log.flush.interval.messages",
        Long,
        Some("1"),
        AtLeast(1),
        ClusterWide,
        "The flush.messages of topics that set none. 1, the default here: every record is synced before its ack.",
    ),
    define(
        "log.flush.interval.ms",
        Long,
        None,
        AtLeast(0),
        ClusterWide,
        "The flush.ms of topics that set none; unset means log.flush.scheduler.interval.ms.",
    ),
    define(
        "log.flush.scheduler.interval.ms",
        Long,
        Some("9223372036854775807"),
        AtLeast(0),
        ReadOnly,
        "The flush.ms of topics where log.flush.interval.ms is unset.",
    ),
    define(
        "log.index.interval.bytes",
        Int,
        Some("4096"),
        AtLeast(0),
        ClusterWide,
        "How many bytes lie between two entries of an offset index.",
    ),
    define(
        "log.message.timestamp.after.max.ms",
        Long,
        Some("3600000"),
        AtLeast(0),
        ClusterWide,
        "How far a record's timestamp may lie ahead of the broker's clock.",
    ),
    define(
        "log.message.timestamp.before.max.ms",
        Long,
        Some("9223372036854775807"),
        AtLeast(0),
        ClusterWide,
        "How far a record's timestamp may lie behind the broker's clock.",
    ),
    define(
        "log.message.timestamp.type",
        Text,
        Some("CreateTime"),
        OneOf(TIMESTAMP_TYPES),
        ClusterWide,
        "Whether a record's timestamp is the producer's or the time of its append.",
    ),
    define(
        "log.retention.bytes",
        Long,
        Some("-1"),
        Any,
        ClusterWide,
        "The size of a partition before old segments are deleted; negative is unlimited.",
    ),
    define(
        "log.retention.check.interval.ms",
        Long,
        Some("300000"),
        AtLeast(1),
        ReadOnly,
        "How often retention looks for segments to delete.",
    ),
    define(
        "log.retention.hours",
        Int,
        Some("168"),
        AtLeast(-1),
        ReadOnly,
        "How long records are kept where neither log.retention.ms nor log.retention.minutes is set.",
    ),
    define(
        "log.retention.minutes",
        Int,
        None,
        AtLeast(-1),
        ReadOnly,
        "How long records are kept where log.retention.ms is unset.",
    ),
    define(
        "log.retention.ms",
        Long,
        None,
        AtLeast(-1),
        ClusterWide,
        "How long records are kept; -1 is for ever; unset means log.retention.minutes, then log.retention.hours.",
    ),
    define(
        "log.roll.hours",
        Int,
        Some("168"),
        AtLeast(1),
        ReadOnly,
        "After how long a segment is closed where log.roll.ms is unset.",
    ),
    define(
        "log.roll.ms",
        Long,
        None,
        AtLeast(1),
        ClusterWide,
        "After how long a segment is closed although it is not full; unset means log.roll.hours.",
    ),
    define(
        "log.segment.bytes",
        Int,
        Some("1073741824"),
        AtLeast(1024 * 1024),
        ClusterWide,
        "The size of a segment file.",
    ),
    define("max.connections", Int, Some("10000"), AtLeast(1), ReadOnly, "The most connections at a time."),
    define(
        "max.incremental.fetch.session.cache.slots",
        Int,
        Some("1000"),
        AtLeast(0),
        ReadOnly,
        "The most fetch sessions at a time.",
    ),
    define(
        "message.max.bytes",
        Int,
        Some("1048588"),
        AtLeast(0),
        ClusterWide,
        "The largest batch that is taken by topics that set no max.message.bytes.",
    ),
    define(
        "min.insync.replicas",
        Int,
        Some("1"),
        AtLeast(1),
        ClusterWide,
        "How many replicas must have a record before it is acknowledged with acks=all.",
    ),
    define("node.id", Int, Some("1"), AtLeast(0), ReadOnly, "Names this broker in its cluster."),
    define(
        "num.partitions",
        Int,
        Some("1"),
        AtLeast(1),
        ReadOnly,
        "The partitions of a topic that is created without a number.",
    ),
    define(
        "producer.id.expiration.ms",
        Int,
        Some("86400000"),
        AtLeast(1),
        ReadOnly,
        "An idempotent producer that writes nothing to a partition for this long is forgotten there.",
    ),
    define(
        "socket.request.max.bytes",
        Int,
        Some("104857600"),
        AtLeast(1),
        ReadOnly,
        "The largest request that is read.",
    ),
];

/// Finds a broker config.
///
/// # Errors
/// [`ConfigError::Unknown`], with the nearest right name.
pub fn definition(name: &str) -> Result<&'static Definition, ConfigError> {
    DEFINITIONS.iter().find(|candidate| candidate.name == name).ok_or_else(|| ConfigError::Unknown {
        of: "broker",
        name: name.to_owned(),
        nearest: nearest(name, DEFINITIONS.iter().map(|candidate| candidate.name)),
    })
}

/// Checks a setting of the broker's file, environment or flags.
///
/// # Errors
/// As [`definition`] and [`Definition::check`].
pub fn check(name: &str, value: &str) -> Result<(), ConfigError> {
    definition(name)?.check(value)
}

/// Checks that a broker config may be altered at run time, for one broker or (`cluster_wide`) for all.
///
/// # Errors
/// As [`definition`]; [`ConfigError::ReadOnly`] and [`ConfigError::PerBrokerOnly`].
pub fn check_dynamic(name: &str, cluster_wide: bool) -> Result<&'static Definition, ConfigError> {
    let definition = definition(name)?;
    match definition.update {
        Update::ReadOnly => Err(ConfigError::ReadOnly { name: name.to_owned() }),
        Update::PerBroker if cluster_wide => Err(ConfigError::PerBrokerOnly { name: name.to_owned() }),
        Update::PerBroker | Update::ClusterWide => Ok(definition),
    }
}

//! The table of everything that can be configured: each key once, with its type, default, bounds and words.
//!
//! Keys are Kafka's where Kafka has one with this meaning; ours end in their unit as Kafka's do. The table makes
//! [`BrokerConfig`] (a typed field for each key) and its part of [`definitions`] (the words) at one go, so they can't
//! differ. What topics inherit and clients may alter while the broker runs has no field here, since a field would go
//! stale: those keys come from [`logic::config::broker`] and are kept as text for its layers.

use super::ConfigEntry;
use super::error::{ConfigError, Place};
use super::sources::Values;
use super::value::{
    self, AssignorList, ConfigType, ConfigValue, CoreList, Endpoint, FullDiskChoice, Listener, LogFormat,
    MigrationChoice, Rule, SyncChoice, Unit,
};
use logic::config::{ConfigMap, broker as inherited};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// What the table says of one key.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The key.
    pub key: &'static str,
    /// Other names that Kafka has for it.
    pub aliases: &'static [&'static str],
    /// The heading under which the reference lists it.
    pub section: &'static str,
    /// The default as text; empty where it is unset.
    pub default: &'static str,
    /// What it does; the first sentence stands for itself.
    pub words: &'static str,
    /// The flag for it (without dashes) and what its value is called, if it is an everyday one.
    pub flag: Option<(&'static str, &'static str)>,
    pub(super) value_type: ConfigType,
    pub(super) rule: Rule,
}

impl Definition {
    /// The type that `DescribeConfigs` names.
    #[must_use]
    pub fn config_type(&self) -> ConfigType {
        match (self.value_type, self.rule.range) {
            (ConfigType::Long, Some((_, high))) if high <= i64::from(i32::MAX) => ConfigType::Int,
            (value_type, _) => value_type,
        }
    }

    /// The variable of the environment that sets it.
    #[must_use]
    pub fn environment_variable(&self) -> String {
        environment_variable(self.key)
    }
}

/// `log.segment.bytes` is `IOLITE_LOG_SEGMENT_BYTES` in the environment.
pub(super) fn environment_variable(key: &str) -> String {
    format!("IOLITE_{}", key.to_ascii_uppercase().replace(['.', '-'], "_"))
}

macro_rules! given_or {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

macro_rules! configuration {
    ($($section:literal {$(
        $(#[doc = $words:literal])+
        $key:literal $(| $alias:literal)* => $field:ident: $type:ty = $default:literal
            $(, in $range:expr)? $(, of $choices:expr)? $(, flag $flag:literal $value_name:literal)?;
    )+})+) => {
        /// A broker's configuration: one typed field for each key of the table.
        #[derive(Clone, Debug)]
        pub struct BrokerConfig {
            $($($(#[doc = $words])+ pub $field: $type,)+)+
            layer: ConfigMap,
            places: Vec<Place>,
        }

        static TYPED: &[Definition] = &[$($(Definition {
            key: $key,
            aliases: &[$($alias),*],
            section: $section,
            default: $default,
            words: concat!($($words),+),
            flag: given_or!(None $(, Some(($flag, $value_name)))?),
            value_type: <$type as ConfigValue>::TYPE,
            rule: Rule {
                unit: Unit::of_key($key),
                range: given_or!(None $(, Some($range))?),
                choices: given_or!(&[] $(, &$choices)?),
            },
        },)+)+];

        impl BrokerConfig {
            /// Reads every field; a field whose text is wrong gets its default and leaves an error.
            pub(super) fn from_values(values: &Values, errors: &mut Vec<ConfigError>) -> Self {
                let mut definitions = TYPED.iter();
                let mut places = Vec::with_capacity(TYPED.len());
                $($(
                    let definition = definitions.next().expect("one definition for each field");
                    let $field = read_field::<$type>(definition, values, &mut places, errors);
                )+)+
                let mut config = Self { $($($field,)+)+ layer: ConfigMap::new(), places };
                config.read_inherited(values, errors);
                config
            }

            fn rendered_typed(&self) -> Vec<Option<String>> {
                vec![$($(self.$field.render(),)+)+]
            }
        }
    };
}

fn read_field<T: ConfigValue>(
    definition: &'static Definition,
    values: &Values,
    places: &mut Vec<Place>,
    errors: &mut Vec<ConfigError>,
) -> T {
    let default =
        || T::parse(definition.default, &definition.rule).expect("a default is within its own bounds");
    let Some(given) = values.get(definition.key) else {
        places.push(Place::Default);
        return default();
    };
    places.push(given.place.clone());
    T::parse(&given.text, &definition.rule).unwrap_or_else(|reason| {
        let key = Some(definition.key.to_owned());
        errors.push(ConfigError { place: given.place.clone(), key, reason });
        default()
    })
}

/// Every key: those of the table, then those that topics inherit.
#[must_use]
pub fn definitions() -> &'static [Definition] {
    static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        let is_typed = |key| TYPED.iter().any(|typed| typed.key == key);
        let inherited = inherited::DEFINITIONS.iter().filter(|definition| !is_typed(definition.name));
        TYPED.iter().cloned().chain(inherited.map(from_logic)).collect()
    });
    &ALL
}

fn from_logic(definition: &'static logic::config::Definition) -> Definition {
    Definition {
        key: definition.name,
        aliases: &[],
        section: "Topics",
        default: definition.default.unwrap_or_default(),
        words: definition.documentation,
        flag: None,
        value_type: match definition.kind {
            logic::config::Kind::Boolean => ConfigType::Boolean,
            logic::config::Kind::Int => ConfigType::Int,
            logic::config::Kind::Long => ConfigType::Long,
            logic::config::Kind::Double => ConfigType::Double,
            logic::config::Kind::List => ConfigType::List,
            logic::config::Kind::String | logic::config::Kind::Password => ConfigType::String,
        },
        rule: Rule { unit: Unit::of_key(definition.name), range: None, choices: &[] },
    }
}

/// The text that logic's check and Kafka's tools want: numbers without a unit.
fn normalised(definition: &Definition, text: &str) -> Result<String, String> {
    let text = match definition.value_type {
        ConfigType::Int | ConfigType::Long => value::parse_number(text, &definition.rule)?.to_string(),
        _ => text.to_owned(),
    };
    match inherited::check(definition.key, &text) {
        Ok(()) => Ok(text),
        Err(logic::config::ConfigError::Invalid { value, reason, .. }) => Err(format!("{value:?}: {reason}")),
        Err(error) => Err(error.to_string()),
    }
}

impl BrokerConfig {
    /// The defaults alone.
    #[must_use]
    pub fn embedded() -> Self {
        Self::from_values(&Values::default(), &mut Vec::new())
    }

    /// Fills the layer and the places of keys without a field.
    fn read_inherited(&mut self, values: &Values, errors: &mut Vec<ConfigError>) {
        for (definition, value) in TYPED.iter().zip(self.rendered_typed()) {
            let is_shared =
                values.get(definition.key).is_some() && inherited::definition(definition.key).is_ok();
            if let (Some(value), true) = (value, is_shared) {
                self.layer.insert(definition.key.to_owned(), value);
            }
        }
        for definition in &definitions()[TYPED.len()..] {
            let Some(given) = values.get(definition.key) else {
                self.places.push(Place::Default);
                continue;
            };
            self.places.push(given.place.clone());
            if given.text.is_empty() && definition.default.is_empty() {
                continue;
            }
            match normalised(definition, &given.text) {
                Ok(text) => drop(self.layer.insert(definition.key.to_owned(), text)),
                Err(reason) => {
                    let key = Some(definition.key.to_owned());
                    errors.push(ConfigError { place: given.place.clone(), key, reason });
                }
            }
        }
    }

    /// What file, environment and flags set of the keys that [`logic::config::broker`] knows: the layer that topics
    /// inherit from.
    #[must_use]
    pub fn layer(&self) -> &ConfigMap {
        &self.layer
    }

    /// Every key with its value and where that came from.
    pub fn entries(&self) -> impl Iterator<Item = ConfigEntry<'_>> {
        let inherited = definitions()[TYPED.len()..].iter().map(|definition| {
            let default = (!definition.default.is_empty()).then(|| definition.default.to_owned());
            self.layer.get(definition.key).cloned().or(default)
        });
        let values = self.rendered_typed().into_iter().chain(inherited);
        let valued = definitions().iter().zip(values).zip(&self.places);
        valued.map(|((definition, value), place)| ConfigEntry { definition, value, place })
    }

    /// One key's entry by its name.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<ConfigEntry<'_>> {
        self.entries().find(|entry| entry.definition.key == key)
    }
}

const INT_MAX: i64 = i32::MAX as i64;

configuration! {
    "Network" {
        /// Where Kafka clients connect: `HOST:PORT`, or Kafka's `PLAINTEXT://HOST:PORT`.
        /// Port 0 takes a free one; an empty host means every address of the machine.
        "listeners" => listeners: Listener = "PLAINTEXT://127.0.0.1:9092", flag "listen" "HOST:PORT";
        /// The address that clients are told to connect to.
        /// Unset: the listener's own, or this machine's name where the listener has every address.
        "advertised.listeners" => advertised_listeners: Option<Listener> = "", flag "advertise" "HOST:PORT";
        /// Where /metrics, /healthz and /readyz are served over HTTP.
        /// Empty: nowhere. It has no authentication: keep it on loopback or a private network.
        "admin.listener" => admin_listener: Option<Endpoint> = "127.0.0.1:9644", flag "admin" "HOST:PORT";
        /// The largest request a client may send.
        "socket.request.max.bytes" => socket_request_max_bytes: usize = "104857600", in (1024, INT_MAX);
        /// How long a connection may be silent before it is closed.
        "connections.max.idle.ms" => connections_max_idle: Duration = "600000", in (1, i64::MAX);
        /// How many connections the broker takes at once; one more is closed at once.
        "max.connections" => max_connections: u32 = "10000", in (1, 10_000_000);
    }
    "Broker" {
        /// The number that names this broker in its cluster.
        "node.id" | "broker.id" => node_id: i32 = "1", in (0, INT_MAX);
        /// The rack (or availability zone) that clients are told this broker stands in.
        "broker.rack" => broker_rack: Option<String> = "";
        /// The directory that holds everything the broker keeps.
        "log.dirs" | "log.dir" => log_dirs: PathBuf = "./data", flag "data-dir" "DIR";
        /// How many shards (threads that own partitions) to run.
        /// Unset: one for each core named, or for each core the process may use.
        "shards" => shards: Option<u16> = "", in (1, 1024), flag "shards" "N";
        /// The cores to pin shards to, such as `0,2-3`.
        /// Unset: those the process may use. More shards than cores share them.
        "cores" => cores: Option<CoreList> = "", flag "cores" "LIST";
    }
    "Topics" {
        /// Whether a topic that a client asks for comes into being by that.
        "auto.create.topics.enable" => auto_create_topics_enable: bool = "true";
        /// Whether topics may be deleted.
        "delete.topic.enable" => delete_topic_enable: bool = "true";
        /// How many partitions a topic gets where its creator doesn't say.
        "num.partitions" => num_partitions: i32 = "1", in (1, 100_000);
        /// How many replicas a partition gets where its creator doesn't say.
        "default.replication.factor" => default_replication_factor: i32 = "1", in (1, 32_767);
        /// How often retention looks for what may go.
        "log.retention.check.interval.ms" => log_retention_check_interval: Duration = "300000", in (1, i64::MAX);
        /// How long compaction rests when nothing is worth it.
        "log.cleaner.backoff.ms" => log_cleaner_backoff: Duration = "15000", in (1, i64::MAX);
        /// Memory for the keys of what is being compacted, of all shards together: 27 bytes a key.
        /// Where it is too little for all keys, it takes more than one round.
        "log.cleaner.dedupe.buffer.size" => log_cleaner_dedupe_buffer_size: usize = "134217728",
            in (1 << 20, 1 << 40);
        /// How many bytes a second compaction reads and writes, all shards together.
        "log.cleaner.io.max.bytes.per.second" => log_cleaner_io_max_bytes_per_second: u64 = "67108864",
            in (1, i64::MAX);
    }
    "Producers and consumers" {
        /// How long a producer id is remembered after its last batch.
        "producer.id.expiration.ms" => producer_id_expiration: Duration = "86400000", in (1, INT_MAX);
        /// How often expired producer ids are looked for.
        "producer.id.expiration.check.interval.ms" => producer_id_expiration_check_interval: Duration = "600000",
            in (1, i64::MAX);
        /// The most bytes that one fetch is answered with, whatever the client asks for.
        "fetch.max.bytes" => fetch_max_bytes: usize = "57671680", in (1024, INT_MAX);
        /// How many incremental fetch sessions are kept.
        "max.incremental.fetch.session.cache.slots" => max_incremental_fetch_session_cache_slots: u32 = "1000",
            in (0, INT_MAX);
        /// How many partitions one DescribeTopicPartitions is answered with at most.
        "max.request.partition.size.limit" => max_request_partition_size_limit: i32 = "2000", in (1, INT_MAX);
    }
    "Consumer groups" {
        /// The shortest session timeout that a member may ask for.
        "group.min.session.timeout.ms" => group_min_session_timeout_ms: i32 = "6000", in (0, INT_MAX);
        /// The longest session timeout that a member may ask for.
        "group.max.session.timeout.ms" => group_max_session_timeout_ms: i32 = "1800000", in (0, INT_MAX);
        /// How long the first rebalance of a new group waits for more members.
        "group.initial.rebalance.delay.ms" => group_initial_rebalance_delay_ms: i32 = "3000", in (0, INT_MAX);
        /// How many members a group may have.
        "group.max.size" => group_max_size: i32 = "2147483647", in (1, INT_MAX);
        /// After how long without a heartbeat a member of a consumer group (KIP-848) is out.
        "group.consumer.session.timeout.ms" => group_consumer_session_timeout_ms: i32 = "45000", in (1, INT_MAX);
        /// The shortest that it may be.
        "group.consumer.min.session.timeout.ms" => group_consumer_min_session_timeout_ms: i32 = "45000",
            in (1, INT_MAX);
        /// The longest that it may be.
        "group.consumer.max.session.timeout.ms" => group_consumer_max_session_timeout_ms: i32 = "60000",
            in (1, INT_MAX);
        /// How often such a member is told to send a heartbeat.
        "group.consumer.heartbeat.interval.ms" => group_consumer_heartbeat_interval_ms: i32 = "5000",
            in (1, INT_MAX);
        /// The shortest that it may be.
        "group.consumer.min.heartbeat.interval.ms" => group_consumer_min_heartbeat_interval_ms: i32 = "5000",
            in (1, INT_MAX);
        /// The longest that it may be.
        "group.consumer.max.heartbeat.interval.ms" => group_consumer_max_heartbeat_interval_ms: i32 = "15000",
            in (1, INT_MAX);
        /// How many members a consumer group (KIP-848) may have.
        "group.consumer.max.size" => group_consumer_max_size: i32 = "2147483647", in (1, INT_MAX);
        /// Which groups change their kind while they have members: `disabled`, `upgrade` (a classic group becomes a
        /// consumer group when the first consumer of KIP-848 joins), `downgrade` (back when the last one has left) or
        /// `bidirectional`.
        "group.consumer.migration.policy" => group_consumer_migration_policy: MigrationChoice = "bidirectional";
        /// The assignors on offer to consumer groups (KIP-848), by name; the first one is used where members ask for none.
        "group.consumer.assignors" => group_consumer_assignors: AssignorList = "uniform,range";
        /// The longest note that a client may leave with a committed offset.
        "offset.metadata.max.bytes" => offset_metadata_max_bytes: i32 = "4096", in (0, INT_MAX);
        /// How long the offsets of a group without members are kept.
        "offsets.retention.minutes" => offsets_retention_minutes: i32 = "10080", in (1, INT_MAX);
        /// How often offsets that are not kept any longer are looked for.
        "offsets.retention.check.interval.ms" => offsets_retention_check_interval_ms: i64 = "600000",
            in (1, i64::MAX);
        /// Into how many partitions groups are spread, where their topic is still to be made.
        "offsets.topic.num.partitions" => offsets_topic_num_partitions: i32 = "50", in (1, 1_000);
        /// How many replicas each of them gets, likewise.
        "offsets.topic.replication.factor" => offsets_topic_replication_factor: i32 = "1", in (1, 32_767);
        /// How large their segments get, likewise.
        "offsets.topic.segment.bytes" => offsets_topic_segment_bytes: u32 = "104857600", in (1 << 20, INT_MAX);
    }
    "Transactions" {
        /// The longest time that a client may ask for its transactions to be left open.
        "transaction.max.timeout.ms" => transaction_max_timeout_ms: i32 = "900000", in (1, INT_MAX);
        /// How long a transactional id is remembered after it was last used.
        "transactional.id.expiration.ms" => transactional_id_expiration_ms: i32 = "604800000", in (1, INT_MAX);
        /// How long a batch that begins a transaction waits for the end of its producer's last one, whose markers are still on
        /// their way, before its client is told to try again.
        "add.partitions.to.txn.retry.backoff.max.ms" => add_partitions_to_txn_retry_backoff_max: Duration = "100",
            in (0, INT_MAX);
        /// Into how many partitions transactional ids are spread, where their topic is still to be made.
        "transaction.state.log.num.partitions" => transaction_state_log_num_partitions: i32 = "50",
            in (1, 1_000);
        /// How many replicas each of them gets, likewise.
        "transaction.state.log.replication.factor" => transaction_state_log_replication_factor: i32 = "1",
            in (1, 32_767);
        /// How large their segments get, likewise.
        "transaction.state.log.segment.bytes" => transaction_state_log_segment_bytes: u32 = "104857600",
            in (1 << 20, INT_MAX);
    }
    "Memory" {
        /// What the broker may use for everything below, all shards together.
        /// Unset: half of the machine's (or the container's) memory, at most 2 GiB a shard.
        "memory.bytes" => memory_bytes: Option<u64> = "", in (64 << 20, 1 << 50);
        /// The part of it for requests in progress; past it sockets are not read.
        /// Unset: a quarter.
        "queued.max.request.bytes" => queued_max_request_bytes: Option<u64> = "", in (1 << 20, 1 << 50);
        /// The part of it for the newest records, from which consumers that keep up are served.
        /// Unset: three eighths.
        "memory.tail.bytes" => memory_tail_bytes: Option<u64> = "", in (1 << 20, 1 << 50);
        /// The part of it for replies that clients have not taken yet; past it no fetch is read for.
        /// Unset: an eighth.
        "memory.replies.bytes" => memory_replies_bytes: Option<u64> = "", in (1 << 20, 1 << 50);
        /// The part of it for what is known of idempotent producers, about 200 bytes each; past it those are forgotten
        /// that were silent for longest. Unset: an eighth.
        "memory.producers.bytes" => memory_producers_bytes: Option<u64> = "", in (1 << 20, 1 << 50);
    }
    "Journal and disk" {
        /// How large the journal of each shard may grow.
        /// More takes longer bursts without slowing producers, and longer to start after a crash.
        "journal.bytes" => journal_bytes: u64 = "536870912", in (8 << 20, 1 << 40);
        /// The size of each file of the journal; the first one of a new journal has 8 MiB at most.
        "journal.file.bytes" => journal_file_bytes: u64 = "67108864", in (1 << 20, 1 << 32);
        /// The most bytes written to the journal at one go; a batch of records must fit.
        "journal.frame.max.bytes" => journal_frame_max_bytes: usize = "2097152", in (64 << 10, 192 << 20);
        /// How many journal writes may be on their way to the device at once.
        "journal.max.frames.in.flight" => journal_max_frames_in_flight: usize = "2", in (1, 16);
        /// How a journal write is made durable: `auto`, `dsync` or `write-then-sync`.
        /// `auto` asks the device at start and logs the choice.
        "journal.sync.method" => journal_sync_method: SyncChoice = "auto";
        /// What the journal's contents never use of the disk when they move to segments, so that a full disk can be
        /// healed by deleting topics.
        "disk.reserve.bytes" => disk_reserve_bytes: u64 = "67108864", in (0, 1 << 50);
        /// What becomes of produces when the disk is full: `refuse` answers them with an error; `delete-oldest` deletes the
        /// oldest segments of topics whose `cleanup.policy` has delete, before it comes to that. It begins when less than
        /// 256 MiB a shard (half a journal where that is less) is left beside `disk.reserve.bytes`.
        "disk.full.policy" => disk_full_policy: FullDiskChoice = "refuse";
        /// Whether to start although acknowledged records are proven to be damaged, and go on without them.
        /// Without it such a start is refused, with the partitions and offsets in the log.
        "recovery.accept.damage" => recovery_accept_damage: bool = "false";
        /// How long the disk may take over one sync before /readyz says so.
        "disk.slow.ms" => disk_slow: Duration = "1000", in (1, i64::MAX);
    }
    "Logging and watching" {
        /// How log lines look: `text` or `json`. They go to standard error.
        "logging.format" => logging_format: LogFormat = "text", flag "log-format" "text|json";
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,iolite_broker::net=debug`.
        "logging.level" => logging_level: String = "info", flag "log-level" "LEVEL";
        /// How long a shard may be busy with one thing before a line of the log says with what.
        "shard.stall.ms" => shard_stall: Duration = "10", in (1, 60_000);
    }
}

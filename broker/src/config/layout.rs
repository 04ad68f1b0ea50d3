//! What follows from a configuration and the machine together: cores of shards, budgets of memory, relations of keys.
//!
//! Pure: the machine's facts are handed in, so every rule here is tested on machines that nobody has.

use super::error::ConfigError;
use super::table::BrokerConfig;
use super::value::{CoreList, Endpoint, Listener};

/// The facts about a machine (or the container around the process) that the configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cores the process may run on, in order.
    pub cores: Vec<usize>,
    /// How many of them it may keep busy at once: less than all where a container has a quota.
    pub parallelism: usize,
    /// The memory it may use.
    pub memory_bytes: u64,
    /// The name of the machine, by which others may find it.
    pub host_name: String,
}

/// Which core each shard is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    /// One core for each shard, by the shard's index; a core may carry several.
    pub core_of_shard: Vec<usize>,
}

impl ShardLayout {
    /// How many shards run.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.core_of_shard.len()).expect("the table bounds shards")
    }
}

/// What one shard may hold in memory for each purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Everything below, and what moves: open frames of the journal, reads of segments.
    pub total_bytes: u64,
    /// Requests read and not answered yet.
    pub requests_bytes: u64,
    /// Newest records, sealed and kept for consumers that keep up.
    pub tail_bytes: u64,
    /// Replies that clients have not taken yet.
    pub replies_bytes: u64,
    /// Idempotent producers.
    pub producers_bytes: u64,
    /// Older records, read ahead for consumers that catch up.
    pub read_ahead_bytes: u64,
    /// Consumer groups.
    pub groups_bytes: u64,
}

const MEMORY_PER_SHARD_BYTES_MAX: u64 = 2 << 30;
const READ_AHEAD_BYTES_MAX: u64 = 64 << 20;
const SHARDS_MAX: usize = 1024;

impl BrokerConfig {
    /// How many shards run, and on which cores.
    #[must_use]
    pub fn shard_layout(&self, machine: &Machine) -> ShardLayout {
        assert!(!machine.cores.is_empty(), "a running process has a core");
        let cores = self.cores.as_ref().map_or(&machine.cores, |CoreList(cores)| cores);
        let natural = if self.cores.is_some() { cores.len() } else { machine.parallelism.min(cores.len()) };
        let count = self.shards.map_or(natural.clamp(1, SHARDS_MAX), usize::from);
        ShardLayout { core_of_shard: (0..count).map(|shard| cores[shard % cores.len()]).collect() }
    }

    /// What each of `shard_count` shards may hold in memory.
    #[must_use]
    pub fn memory_budget(&self, machine: &Machine, shard_count: u16) -> MemoryBudget {
        let shards = u64::from(shard_count.max(1));
        let natural = (machine.memory_bytes / 2).min(shards * MEMORY_PER_SHARD_BYTES_MAX);
        let total_bytes = self.memory_bytes.unwrap_or(natural) / shards;
        let part =
            |given: Option<u64>, eighths: u64| given.map_or(total_bytes / 8 * eighths, |all| all / shards);
        MemoryBudget {
            total_bytes,
            requests_bytes: part(self.queued_max_request_bytes, 2),
            tail_bytes: part(self.memory_tail_bytes, 3),
            replies_bytes: part(self.memory_replies_bytes, 1),
            producers_bytes: part(self.memory_producers_bytes, 1),
            groups_bytes: total_bytes / 16,
            read_ahead_bytes: (total_bytes / 16).min(READ_AHEAD_BYTES_MAX),
        }
    }

    /// Where clients are told to connect, when the listener got `port`.
    #[must_use]
    pub fn advertised(&self, machine: &Machine, port: u16) -> Endpoint {
        match &self.advertised_listeners {
            Some(Listener(endpoint)) if endpoint.port == 0 => Endpoint { port, ..endpoint.clone() },
            Some(Listener(endpoint)) => endpoint.clone(),
            None if self.listeners.0.is_wildcard() => Endpoint { host: machine.host_name.clone(), port },
            None => Endpoint { port, ..self.listeners.0.clone() },
        }
    }

    /// What members of consumer groups are told is within what it may be.
    pub(super) fn check_groups(&self, errors: &mut Vec<ConfigError>) {
        let mut check = |what: &str, low: i32, value: i32, high: i32| {
            if value < low || value > high {
                let key = format!("group.consumer.{what}");
                let place = self.entry(&key).expect("a key of the table").place.clone();
                let reason = format!(
                    "{value} is not within group.consumer.min.{what} ({low}) and group.consumer.max.{what} ({high})"
                );
                errors.push(ConfigError { place, key: Some(key), reason });
            }
        };
        check(
            "session.timeout.ms",
            self.group_consumer_min_session_timeout_ms,
            self.group_consumer_session_timeout_ms,
            self.group_consumer_max_session_timeout_ms,
        );
        check(
            "heartbeat.interval.ms",
            self.group_consumer_min_heartbeat_interval_ms,
            self.group_consumer_heartbeat_interval_ms,
            self.group_consumer_max_heartbeat_interval_ms,
        );
        let (interval, timeout) =
            (self.group_consumer_heartbeat_interval_ms, self.group_consumer_session_timeout_ms);
        if interval >= timeout {
            let key = "group.consumer.heartbeat.interval.ms".to_owned();
            let place = self.entry(&key).expect("a key of the table").place.clone();
            let reason = format!("must be less than group.consumer.session.timeout.ms ({timeout})");
            errors.push(ConfigError { place, key: Some(key), reason });
        }
    }

    /// How many files the journal of a shard may have.
    #[must_use]
    pub fn journal_files(&self) -> u64 {
        (self.journal_bytes / self.journal_file_bytes).max(JOURNAL_FILES_MIN)
    }

    /// What no single key can say of itself.
    pub(super) fn check_relations(&self, errors: &mut Vec<ConfigError>) {
        let mut refuse = |key: &str, reason: String| {
            let place = self.entry(key).expect("a key of the table").place.clone();
            errors.push(ConfigError { place, key: Some(key.to_owned()), reason });
        };
        let text = self.entry("message.max.bytes").and_then(|entry| entry.value);
        let message: u64 = text.and_then(|text| text.parse().ok()).expect("it has a default and was checked");
        let append_most = (self.journal_file_bytes / 2).min(APPEND_BYTES_MAX);
        if message > append_most {
            let reason = "a batch must fit half a journal file";
            refuse(
                "message.max.bytes",
                format!("{reason}: at most {append_most}, or raise journal.file.bytes"),
            );
        }
        if usize::try_from(message).is_ok_and(|message| message > self.socket_request_max_bytes) {
            let reason = "a batch must fit a request";
            refuse(
                "message.max.bytes",
                format!("{reason}: set socket.request.max.bytes to more than {message}"),
            );
        }
        if self.journal_bytes / JOURNAL_FILES_MIN < self.journal_file_bytes {
            let most = self.journal_bytes / JOURNAL_FILES_MIN;
            let reason = format!("a journal has at least {JOURNAL_FILES_MIN} files");
            refuse("journal.file.bytes", format!("{reason}: at most {most}, or raise journal.bytes"));
        }
        if !self.journal_file_bytes.is_multiple_of(JOURNAL_FILE_MULTIPLE_BYTES) {
            refuse("journal.file.bytes", format!("must be a multiple of {JOURNAL_FILE_MULTIPLE_BYTES}"));
        }
        if u64::try_from(self.journal_frame_max_bytes).is_ok_and(|frame| frame > append_most) {
            let reason = "a journal write must fit half a journal file";
            refuse(
                "journal.frame.max.bytes",
                format!("{reason}: at most {append_most}, or raise journal.file.bytes"),
            );
        }
        if self.advertised_listeners.as_ref().is_some_and(|Listener(endpoint)| endpoint.is_wildcard()) {
            refuse("advertised.listeners", "no client can connect to it: name a host or address".to_owned());
        }
        if let Some(memory) = self.memory_bytes {
            let given = [
                self.queued_max_request_bytes,
                self.memory_tail_bytes,
                self.memory_replies_bytes,
                self.memory_producers_bytes,
            ];
            let parts: u64 = given.iter().flatten().sum();
            if parts > memory {
                refuse("memory.bytes", format!("its parts alone are {parts}: raise it or lower them"));
            }
        }
    }
}

/// One file is written while another is destaged, and neither waits.
const JOURNAL_FILES_MIN: u64 = 4;
/// Journal files are written in blocks.
const JOURNAL_FILE_MULTIPLE_BYTES: u64 = 4096;
/// The longest append that the store takes.
const APPEND_BYTES_MAX: u64 = 192 << 20;

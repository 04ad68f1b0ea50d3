//! The fields of a workload file, their defaults and their bounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WorkloadError;
use crate::limits::{
    BACKLOG_MEMORIES_MAX, HEADERS_MAX, KEYS_MAX, PARTITIONS_MAX, PRODUCERS_MAX, RATE_MAX, SKEWED_KEYS_MAX,
    STREAMS_MAX, VALUE_BYTES_MAX,
};
use crate::pace::Pace;
use crate::stamp::STAMP_BYTES;

/// A load: one or more streams that run at the same time.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// Goes up with every change of what it means: results of different versions are not compared.
    pub version: u32,
    /// What it is for, in a sentence.
    pub description: String,
    /// Whether ten journal volumes, and the retention limit, are passed before anything is measured.
    #[serde(default)]
    pub steady_state: bool,
    /// What runs at the same time.
    pub streams: Vec<Stream>,
}

/// Topics of one kind with their producers and readers.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Names it in reports and in its topics' names.
    pub name: String,
    #[serde(default = "one")]
    pub topics: u32,
    /// Of each topic.
    #[serde(default = "one")]
    pub partitions: u32,
    /// Configs of the topics, by Kafka's names.
    #[serde(default)]
    pub topic_config: BTreeMap<String, String>,
    /// Connections that produce, each to all partitions.
    #[serde(default = "one")]
    pub producers: u32,
    /// Open loop: records a second of all producers together.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Closed loop: records open at each producer.
    #[serde(default)]
    pub in_flight: Option<u32>,
    #[serde(default)]
    pub acks: Acks,
    #[serde(default)]
    pub idempotent: bool,
    /// A batch is sent when it has so many bytes; 1 is a record a batch.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: u32,
    /// Or when its first record has waited so long.
    #[serde(default)]
    pub linger_ms: f64,
    #[serde(default)]
    pub compression: Codec,
    /// Groups that read along, each all partitions.
    #[serde(default)]
    pub groups: u32,
    /// Readers of each group; they share its partitions.
    #[serde(default = "one")]
    pub readers_per_group: u32,
    /// Readers that read the backlog from its start, each all partitions, while the load runs.
    #[serde(default)]
    pub catch_up_readers: u32,
    /// Written before anything is measured, for readers to catch up with.
    #[serde(default)]
    pub backlog_bytes: u64,
    /// The backlog is at least so many times the memory that the broker is given: it can't be read from there.
    #[serde(default)]
    pub backlog_memories: u32,
    #[serde(default)]
    pub record: Record,
}

/// What a record is made of.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    pub value_bytes: ValueBytes,
    /// No keys unless this is there.
    pub keys: Option<Keys>,
    /// How records without a key are spread over the partitions.
    pub spread: Spread,
    /// 0: noise; 1: nothing but zeros behind the stamp.
    pub compressibility: f64,
    pub headers: usize,
    /// Of each header's value.
    pub header_bytes: usize,
}

/// Bytes of the values: all alike, or anything in a range.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum ValueBytes {
    /// All alike.
    Fixed(usize),
    /// Each length from `min` to `max` as likely as any other.
    #[serde(rename_all = "snake_case")]
    Between { min: usize, max: usize },
}

impl ValueBytes {
    /// The largest.
    pub fn max(self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Between { max, .. } => max,
        }
    }

    /// The smallest.
    pub fn min(self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Between { min, .. } => min,
        }
    }

    /// In the middle.
    pub fn mean(self) -> u64 {
        (self.min() + self.max()).div_ceil(2) as u64
    }
}

/// The keys of a stream.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// How many there are.
    pub count: u32,
    /// How long each is.
    #[serde(default = "default_key_bytes")]
    pub bytes: usize,
    #[serde(default)]
    pub skew: Skew,
}

/// How often which key comes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Skew {
    /// Each as often as any other.
    #[default]
    Uniform,
    /// The n-th as often as 1 / n.
    Zipf,
}

/// How records without keys are spread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// A batch to one partition, the next to another, as Kafka's own producer does it.
    #[default]
    Sticky,
    /// Each record to the next partition.
    RoundRobin,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Acks {
    /// Nobody says so: it was sent.
    #[serde(rename = "0")]
    None,
    /// The leader has it.
    #[serde(rename = "1")]
    Leader,
    /// All in-sync replicas have it.
    #[default]
    #[serde(rename = "all")]
    All,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            value_bytes: ValueBytes::Fixed(1024),
            keys: None,
            spread: Spread::Sticky,
            compressibility: 0.0,
            headers: 0,
            header_bytes: 16,
        }
    }
}

fn one() -> u32 {
    1
}

fn default_batch_bytes() -> u32 {
    16 * 1024
}

fn default_key_bytes() -> usize {
    16
}

impl Stream {
    /// How it is paced.
    pub fn pace(&self) -> Pace {
        match (self.rate, self.in_flight) {
            (Some(rate), None) => Pace::PerSecond(rate),
            (None, Some(count)) => Pace::InFlight(count),
            _ => panic!("a checked stream has one of rate and in_flight"),
        }
    }

    /// Partitions of all its topics.
    pub fn partitions_all(&self) -> u32 {
        self.topics * self.partitions
    }

    /// Whether its topics are compacted.
    pub fn is_compacted(&self) -> bool {
        self.topic_config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    }

    fn problem(&self) -> Option<String> {
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '-';
        let (record, pace) = (&self.record, (self.rate, self.in_flight));
        let counts = [
            ("topics", self.topics, PARTITIONS_MAX),
            ("partitions", self.partitions, PARTITIONS_MAX),
            ("producers", self.producers, PRODUCERS_MAX),
            ("readers_per_group", self.readers_per_group, PRODUCERS_MAX),
            ("batch_bytes", self.batch_bytes, 1 << 30),
        ];
        let readers = u64::from(self.groups) * u64::from(self.readers_per_group);
        let readers = readers + u64::from(self.catch_up_readers);
        let out_of_bounds = counts.iter().find(|(_, value, most)| *value == 0 || value > most);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_name) {
            Some("its name must be 1 to 64 letters, digits and '-': it becomes part of a topic's name".into())
        } else if let Some((name, value, most)) = out_of_bounds {
            Some(format!("{name} is {value}; it can be 1 to {most}"))
        } else if u64::from(self.topics) * u64::from(self.partitions) > u64::from(PARTITIONS_MAX) {
            Some(format!("topics x partitions is more than {PARTITIONS_MAX}"))
        } else if readers > u64::from(PRODUCERS_MAX) {
            Some(format!("{readers} readers; there can be {PRODUCERS_MAX}"))
        } else if self.backlog_memories > BACKLOG_MEMORIES_MAX {
            Some(format!(
                "backlog_memories is {}; it can be 0 to {BACKLOG_MEMORIES_MAX}",
                self.backlog_memories
            ))
        } else if self.catch_up_readers > 0 && self.backlog_bytes == 0 && self.backlog_memories == 0 {
            Some("catch_up_readers need backlog_bytes to catch up with".into())
        } else if self.is_compacted() && readers > 0 {
            Some(
                "a reader can't tell what compaction took from what was lost: a compacted stream has none"
                    .into(),
            )
        } else if self.is_compacted() && record.keys.is_none() {
            Some("its topics are compacted: its records need keys".into())
        } else if !(0.0..=60_000.0).contains(&self.linger_ms) {
            Some(format!("linger_ms is {}; it can be 0 to 60000", self.linger_ms))
        } else if self.idempotent && self.acks != Acks::All {
            Some("an idempotent producer needs acks = \"all\"".into())
        } else {
            pace_problem(pace).or_else(|| record.problem())
        }
    }
}

fn pace_problem(pace: (Option<f64>, Option<u32>)) -> Option<String> {
    match pace {
        (None, None) => Some("it needs a pace: rate (open loop) or in_flight (closed loop)".into()),
        (Some(_), Some(_)) => Some("rate and in_flight exclude each other".into()),
        (Some(rate), None) if !(rate > 0.0 && rate <= RATE_MAX) => {
            Some(format!("rate is {rate}; it can be above 0 and up to {RATE_MAX} records a second"))
        }
        (None, Some(count)) if count == 0 || count > 1_000_000 => {
            Some(format!("in_flight is {count}; it can be 1 to 1000000"))
        }
        _ => None,
    }
}

impl Record {
    fn problem(&self) -> Option<String> {
        let (min, max) = (self.value_bytes.min(), self.value_bytes.max());
        if min < STAMP_BYTES || max > VALUE_BYTES_MAX || min > max {
            Some(format!(
                "value_bytes is {min} to {max}; it can be {STAMP_BYTES} (each value carries a stamp of that size) to \
                 {VALUE_BYTES_MAX}"
            ))
        } else if !(0.0..=1.0).contains(&self.compressibility) {
            Some(format!("compressibility is {}; it can be 0 to 1", self.compressibility))
        } else if self.headers > HEADERS_MAX || self.header_bytes > VALUE_BYTES_MAX {
            Some(format!("at most {HEADERS_MAX} headers of at most {VALUE_BYTES_MAX} bytes"))
        } else {
            self.keys.and_then(Keys::problem)
        }
    }
}

impl Keys {
    fn problem(self) -> Option<String> {
        let most = if self.skew == Skew::Zipf { SKEWED_KEYS_MAX } else { KEYS_MAX };
        if self.count == 0 || self.count > most {
            Some(format!("keys.count is {}; it can be 1 to {most}", self.count))
        } else if !(8..=1_024).contains(&self.bytes) {
            Some(format!("keys.bytes is {}; it can be 8 to 1024", self.bytes))
        } else {
            None
        }
    }
}

impl Workload {
    /// Whether its values make sense.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let invalid = |problem: String| WorkloadError::Invalid { name: self.name.clone(), problem };
        if self.streams.is_empty() || self.streams.len() > STREAMS_MAX {
            return Err(invalid(format!("it needs 1 to {STREAMS_MAX} [[streams]]")));
        }
        for (index, stream) in self.streams.iter().enumerate() {
            if let Some(problem) = stream.problem() {
                return Err(invalid(format!("stream {:?}: {problem}", stream.name)));
            }
            if self.streams[..index].iter().any(|other| other.name == stream.name) {
                return Err(invalid(format!("two streams are named {:?}", stream.name)));
            }
        }
        Ok(())
    }

    /// The same at another pace: a rate is shared out as before, an in-flight count holds for each producer.
    pub fn paced(mut self, pace: Pace) -> Self {
        let total: f64 = self.streams.iter().filter_map(|stream| stream.rate).sum();
        let count = self.streams.len() as f64;
        for stream in &mut self.streams {
            match pace {
                Pace::PerSecond(rate) => {
                    let share = stream.rate.map_or(1.0 / count, |own| own / total);
                    (stream.rate, stream.in_flight) = (Some(rate * share), None);
                }
                Pace::InFlight(in_flight) => (stream.rate, stream.in_flight) = (None, Some(in_flight)),
            }
        }
        self
    }

    /// Records a second of all streams; none where one runs in a closed loop.
    pub fn rate(&self) -> Option<f64> {
        self.streams.iter().map(|stream| stream.rate).sum()
    }
}

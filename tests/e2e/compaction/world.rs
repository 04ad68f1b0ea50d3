//! A broker whose compaction hardly rests, to be stopped and started, and what clients see of its topics.
//!
//! Times are those that records claim, so nothing here waits for time to pass. A stop of the broker puts all that was written into
//! segments that its checkpoints vouch for, and whatever is due is compacted after the next start.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use e2e::DEADLINE;
use e2e::broker::{Broker, Options, Target};
use e2e::driver::{Client, Driver, Produce};
use e2e::records::Record;
use e2e::segments;
use e2e::wire;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kcat;

/// What was aborted, too.
const ALL: &str = "isolation.level=read_uncommitted";
const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Records more than a second apart are in segments of their own.
pub const ROLLS_EACH_SECOND: (&str, &str) = ("segment.ms", "1000");
/// Whatever is dirty is worth a round.
pub const EAGER: (&str, &str) = ("min.cleanable.dirty.ratio", "0.01");
pub const COMPACT: (&str, &str) = ("cleanup.policy", "compact");

/// A key, its value or none, and when it was so.
pub type Written<'a> = (&'a str, Option<&'a str>, i64);

/// A broker that can be stopped and started, all partitions on one shard, and a client that writes.
pub struct World {
    options: Options,
    pub broker: Broker,
    writer: Driver,
}

impl World {
    pub fn start() -> Self {
        let mut configs = vec![("log.cleaner.backoff.ms", "50"), ("log.retention.check.interval.ms", "100")];
        if Target::chosen() == Target::Kafka {
            configs.push(("log.initial.task.delay.ms", "100"));
        }
        let configs = configs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let options = Options { shards: 1, configs, ..Options::default() };
        let broker = Broker::start(Target::chosen(), &options);
        let writer = Driver::start(Client::Confluent, broker.kafka());
        Self { options, broker, writer }
    }

    /// Stops the broker, and starts it on what it has.
    pub fn restart(self) -> Self {
        let Self { options, broker, .. } = self;
        let (status, directory) = broker.stop();
        assert!(status.success() || Target::chosen() == Target::Kafka, "{status}");
        Self::start_on(directory, options)
    }

    /// The same after kill -9.
    pub fn restart_killed(self) -> Self {
        let Self { options, broker, .. } = self;
        Self::start_on(broker.kill(), options)
    }

    fn start_on(directory: TempDir, options: Options) -> Self {
        let broker = Broker::start_on(directory, Target::chosen(), &options);
        let writer = Driver::start(Client::Confluent, broker.kafka());
        Self { options, broker, writer }
    }

    pub fn address(&self) -> SocketAddr {
        self.broker.kafka()
    }

    pub fn create(&self, topic: &str, configs: &[(&str, &str)]) {
        wire::create_topic(self.address(), topic, 1, configs);
    }

    pub fn alter(&mut self, topic: &str, key: &str, value: &str) {
        let request = json!({ "op": "alter_configs", "topic": topic, "set": { key: value }, "delete": [] });
        self.writer.call(&request).expect("it can be changed");
    }

    /// Writes records, each in a batch of its own.
    pub fn write(&mut self, topic: &str, records: &[Written<'_>]) {
        for &(key, value, time) in records {
            let value = value.map(|value| value.as_bytes().to_vec());
            let record = Record { value, ..Record::new(0, "").key(key).at(time) };
            self.writer.produce(topic, Produce::default(), &[record]).expect("it is acknowledged");
        }
    }

    /// Offset, key and value of each record that is there.
    pub fn read(&self, topic: &str) -> Vec<String> {
        let arguments = ["-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-Z", "-X", ALL];
        kcat(self.address(), &[&arguments[..], &["-f", "%o %k=%s\n"]].concat(), "").stdout
    }

    /// Waits until these records are left, and no other.
    pub fn await_records(&self, topic: &str, expected: &[impl AsRef<str> + Debug]) {
        let end = Instant::now() + DEADLINE;
        loop {
            let read = self.read(topic);
            if read.iter().eq(expected.iter().map(AsRef::as_ref)) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{topic}: {read:?} instead of {expected:?}\n{}",
                self.broker.process().last_lines()
            );
        }
    }

    pub fn start_offset(&mut self, topic: &str) -> i64 {
        let request = json!({ "op": "list_offsets", "topic": topic, "partition": 0, "at": "earliest" });
        let answer: Value = self.writer.call(&request).expect("it is answered");
        answer["offset"].as_i64().expect("an offset")
    }

    /// The first offset of each segment file of a topic's partition 0.
    pub fn segments(&self, topic: &str) -> Vec<i64> {
        segments::bases(&self.broker.topics_directory().join(format!("{topic}-0")))
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292278994")
}

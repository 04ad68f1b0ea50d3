//! Compacted topics, as kcat writes and reads them: of each key the last record stays, where it was, through kill -9.

mod configs;
mod native;
mod producers;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use e2e::broker::{Broker, Options, Target};
use e2e::figures::figure;
use e2e::process::{self, Finished};
use e2e::records::{Maker, to_hex};
use e2e::wire::{Connection, text, topic_name};
use e2e::{DEADLINE, batch, wire};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

const KEYS: usize = 50;
const INVALID_RECORD: i16 = 87;
const COMPRESSIONS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Far more than compaction needs to be worth it.
const RECORDS_MAX: usize = 150_000;

/// A journal that is destaged after four mebibytes, and compaction that hardly rests.
fn options() -> Options {
    let configs =
        [("journal.bytes", "16777216"), ("journal.file.bytes", "4194304"), ("log.cleaner.backoff.ms", "50")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Options { shards: 1, configs, ..Options::default() }
}

fn kcat(address: SocketAddr, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new("kcat");
    command.args(["-b", &address.to_string()]).args(arguments);
    let finished = process::run_with_input("kcat", command, input.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "kcat {arguments:?}: {finished}");
    finished
}

/// What was written, by offset: key and value.
#[derive(Default)]
struct Ledger {
    records: Vec<(String, String)>,
}

impl Ledger {
    /// Writes each key some times over, a kibibyte each, in one of the compressions.
    fn produce(&mut self, address: SocketAddr, topic: &str, compression: &str, count: usize) {
        let mut maker = Maker::new(self.records.len() as u64 + 1);
        let mut input = String::new();
        for _ in 0..count {
            let key = format!("key-{}", self.records.len() * 7 % KEYS);
            let value = to_hex(&maker.bytes(512));
            input += &format!("{key}:{value}\n");
            self.records.push((key, value));
        }
        let arguments =
            ["-P", "-t", topic, "-p", "0", "-K", ":", "-z", compression, "-X", "enable.idempotence=true"];
        kcat(address, &arguments, &input);
    }

    /// Writes in all compressions until much of it is compacted away: what is written last never is.
    fn produce_until_compacted(&mut self, broker: &Broker, topic: &str) {
        let before = self.records.len();
        for compression in COMPRESSIONS.into_iter().cycle() {
            self.produce(broker.kafka(), topic, compression, 2500);
            if figure(broker, "compacted_away_bytes_total") > 3 << 20 {
                return;
            }
            assert!(self.records.len() < before + RECORDS_MAX, "{}", broker.process().last_lines());
        }
    }

    /// Everything that is read is as it was written, where it was; of each key the last record is there. How many are.
    fn check(&self, address: SocketAddr, topic: &str) -> usize {
        let arguments = ["-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %k:%s\n"];
        let read = kcat(address, &arguments, "");
        let mut last = BTreeMap::new();
        let mut before = None;
        for line in &read.stdout {
            let (offset, record) = line.split_once(' ').expect("an offset");
            let offset: usize = offset.parse().expect("a number");
            assert!(before.is_none_or(|before| before < offset), "offsets go up");
            before = Some(offset);
            let (key, value) = &self.records[offset];
            assert_eq!(record, format!("{key}:{value}"), "at {offset}");
            last.insert(key, offset);
        }
        let mut expected = BTreeMap::new();
        for (offset, (key, _)) in self.records.iter().enumerate() {
            expected.insert(key, offset);
        }
        assert_eq!(last, expected, "the last record of each key");
        read.stdout.len()
    }
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was_through_kill_9() {
    let broker = Broker::start(Target::Iolite, &options());
    let configs =
        [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];
    wire::create_topic(broker.kafka(), "compacted", 1, &configs);
    let mut ledger = Ledger::default();
    let mut broker = broker;
    for life in 0..2 {
        ledger.produce_until_compacted(&broker, "compacted");
        let written = ledger.records.len();
        let left = ledger.check(broker.kafka(), "compacted");
        assert!(left < written - 2000, "life {life}: {left} of {written} are left");
        let directory = broker.kill();
        broker = Broker::start_on(directory, Target::Iolite, &options());
        let left = ledger.check(broker.kafka(), "compacted");
        assert!(left < written - 2000, "life {life}, after kill -9: {left} of {written} are left");
    }
    ledger.check(broker.kafka(), "compacted");
    let (status, _) = broker.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_record_without_a_key_is_refused_by_itself() {
    let broker = Broker::start(Target::Iolite, &options());
    wire::create_topic(broker.kafka(), "keyed", 1, &[("cleanup.policy", "compact,delete")]);
    let mut connection = Connection::open(broker.kafka());
    let records = Bytes::from(batch::Batch::of_values(1_700_000_000_000, &["a", "b"]).encode());
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(topic_name("keyed")).with_partition_data(vec![partition]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let response = connection.call(9, &request);
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, INVALID_RECORD);
    let words = text("Compacted topic cannot accept message without key in topic partition keyed-0.");
    let told: Vec<_> = refused
        .record_errors
        .iter()
        .map(|one| (one.batch_index, one.batch_index_error_message.clone()))
        .collect();
    assert_eq!(told, [(0, Some(words.clone())), (1, Some(words))]);
}

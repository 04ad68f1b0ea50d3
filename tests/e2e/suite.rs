//! What every client must be able to do with the broker, written once.

use e2e::broker::{self, Broker};
use e2e::driver::{Client, ClientError, Driver, Produce};
use e2e::records::{Maker, Record, awkward};
use e2e::{unique, wire};
use serde_json::json;

/// Records may be as old as they like: retention is not what these tests are about.
const KEEP: (&str, &str) = ("retention.ms", "-1");

/// One client at work on the shared broker.
pub struct Bench {
    broker: &'static Broker,
    driver: Driver,
}

impl Bench {
    pub fn new(client: Client) -> Self {
        let broker = broker::shared();
        Self { broker, driver: Driver::start(client, broker.kafka()) }
    }

    fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = unique(&format!("{:?}-{name}", self.driver.client()));
        wire::create_topic(self.broker.kafka(), &topic, partitions, &[KEEP]);
        topic
    }

    fn error_code(&mut self, request: serde_json::Value) -> i64 {
        self.driver.call(&request).expect_err("the broker refuses this").code
    }
}

/// Writes, checks the offsets, reads back with the same client and compares.
fn round_trip(bench: &mut Bench, topic: &str, how: Produce<'_>, records: &[Record]) {
    let offsets =
        bench.driver.produce(topic, how, records).unwrap_or_else(|error| panic!("{how:?}: {error:?}"));
    let expected = placed(records);
    for (record, offset) in expected.iter().zip(by_partition(records, &offsets)) {
        let unknown = how.acks == "0";
        assert!(unknown || offset == record.offset, "{how:?}: {record:?} was acknowledged at {offset}");
    }
    let read = bench.driver.consume(topic, &wanted(&expected)).expect("what was written can be read");
    assert_same(&format!("{how:?}"), bench.driver.client(), &expected, &read);
}

/// The records as an empty topic must give them back: sorted by partition, offsets from 0.
pub fn placed(records: &[Record]) -> Vec<Record> {
    let mut placed = records.to_vec();
    placed.sort_by_key(|record| record.partition);
    for index in 0..placed.len() {
        let follows = index > 0 && placed[index - 1].partition == placed[index].partition;
        placed[index].offset = if follows { placed[index - 1].offset + 1 } else { 0 };
    }
    placed
}

fn by_partition(records: &[Record], offsets: &[i64]) -> Vec<i64> {
    assert_eq!(records.len(), offsets.len(), "one offset a record");
    let mut pairs: Vec<(i32, i64)> =
        records.iter().map(|record| record.partition).zip(offsets.iter().copied()).collect();
    pairs.sort_by_key(|(partition, _)| *partition);
    pairs.into_iter().map(|(_, offset)| offset).collect()
}

/// Every partition from its start, with the count that it must have.
pub fn wanted(placed: &[Record]) -> Vec<(i32, i64, usize)> {
    placed
        .chunk_by(|before, after| before.partition == after.partition)
        .map(|chunk| (chunk[0].partition, chunk[0].offset, chunk.len()))
        .collect()
}

/// Compares by content; what one client can't tell is evened out in the expectation.
pub fn assert_same(what: &str, reader: Client, expected: &[Record], read: &[Record]) {
    let mut expected = expected.to_vec();
    if reader == Client::KafkaJs {
        for record in &mut expected {
            group_headers(record);
        }
    }
    for (expected, read) in expected.iter().zip(read) {
        assert_eq!(expected, read, "{what}: read by {reader:?}");
    }
    assert_eq!(expected.len(), read.len(), "{what}: read by {reader:?}");
}

/// kafkajs keeps headers in an object: names in the order of first use, each with its values.
fn group_headers(record: &mut Record) {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &record.headers {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    record.headers.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
}

pub fn every_compression(mut bench: Bench) {
    let mut make = Maker::new(1);
    for compression in bench.driver.client().compressions() {
        let topic = bench.topic(compression, 3);
        let records: Vec<Record> = (0..150).map(|index| make.record(index % 3, 3000)).collect();
        round_trip(&mut bench, &topic, Produce { compression, ..Produce::default() }, &records);
    }
}

pub fn awkward_records(mut bench: Bench) {
    let client = bench.driver.client();
    for compression in ["none", "gzip"] {
        let topic = bench.topic("awkward", 1);
        round_trip(&mut bench, &topic, Produce { compression, ..Produce::default() }, &awkward(client));
    }
}

pub fn sizes_from_one_byte_to_one_mebibyte(mut bench: Bench) {
    let mut make = Maker::new(2);
    let topic = bench.topic("sizes", 2);
    let sizes = [1, 2, 127, 128, 4_000, 4_096, 4_097, 16_383, 65_536, 131_071, 500_000, 1_000_000, 1_048_000];
    let records: Vec<Record> = (0..)
        .zip(sizes)
        .map(|(index, size)| {
            make.next_timestamp += 1;
            Record::new(index % 2, make.bytes(size)).at(make.next_timestamp)
        })
        .collect();
    round_trip(&mut bench, &topic, Produce { linger_ms: 0, ..Produce::default() }, &records);
}

pub fn a_hundred_partitions(mut bench: Bench) {
    let mut make = Maker::new(3);
    let topic = bench.topic("hundred", 100);
    let records: Vec<Record> = (0..700).map(|index| make.record(index % 100, 200)).collect();
    round_trip(&mut bench, &topic, Produce::default(), &records);
}

pub fn every_acks(mut bench: Bench) {
    let mut make = Maker::new(4);
    for (acks, idempotent) in [("0", false), ("1", false), ("all", false), ("all", true)] {
        let topic = bench.topic("acks", 2);
        let records: Vec<Record> = (0..40).map(|index| make.record(index % 2, 500)).collect();
        let how = Produce { acks, idempotent, batch_bytes: 2_000, ..Produce::default() };
        round_trip(&mut bench, &topic, how, &records);
    }
}

/// Each offset of a compressed batch can be the start.
pub fn reading_from_any_offset(mut bench: Bench) {
    let mut make = Maker::new(5);
    let topic = bench.topic("seek", 1);
    let records: Vec<Record> = (0..30).map(|_| make.record(0, 100)).collect();
    let how = Produce { compression: "gzip", linger_ms: 100, ..Produce::default() };
    bench.driver.produce(&topic, how, &records).expect("produced");
    let expected = placed(&records);
    for from in [1, 7, 29] {
        let offset = i64::try_from(from).expect("a small number");
        let read = bench.driver.consume(&topic, &[(0, offset, 30 - from)]).expect("read");
        assert_same(&format!("from {from}"), bench.driver.client(), &expected[from..], &read);
    }
}

/// A group is given every record once, and its next member goes on where the last one stopped.
pub fn a_group_goes_on_where_it_was(mut bench: Bench) {
    let topic = bench.topic("group", 3);
    let group = unique("group");
    let values = |numbers: std::ops::Range<i32>| -> Vec<Vec<u8>> {
        numbers.map(|number| format!("{number:04}").into_bytes()).collect()
    };
    for numbers in [0..300, 300..350] {
        let records: Vec<Record> = values(numbers.clone())
            .into_iter()
            .zip((0..3).cycle())
            .map(|(value, partition)| Record::new(partition, value))
            .collect();
        bench.driver.produce(&topic, Produce::default(), &records).expect("produced");
        let read = bench.driver.read_in_group(&topic, &group, records.len()).expect("read");
        assert_eq!(read, values(numbers));
    }
}

/// A reader that waits at the end gets what comes.
pub fn waiting_at_the_end(mut bench: Bench) {
    let mut make = Maker::new(6);
    let topic = bench.topic("tail", 1);
    let records: Vec<Record> = (0..20).map(|_| make.record(0, 100)).collect();
    bench.driver.ask_consume(&topic, &[(0, 0, records.len())]);
    let mut writer = Driver::start(bench.driver.client(), bench.broker.kafka());
    for piece in records.chunks(5) {
        writer.produce(&topic, Produce::default(), piece).expect("produced");
    }
    let read = bench.driver.answer_consume().expect("read");
    assert_same("tail", bench.driver.client(), &placed(&records), &read);
}

pub fn a_topic_made_by_producing_to_it(mut bench: Bench) {
    let topic = unique(&format!("{:?}-auto", bench.driver.client()));
    let records = [Record::new(0, "first").at(1_700_000_000_000)];
    round_trip(&mut bench, &topic, Produce::default(), &records);
}

pub fn topics(mut bench: Bench) {
    let topic = unique(&format!("{:?}-admin", bench.driver.client()));
    let create = |partitions: i32| json!({ "op": "create_topic", "topic": topic, "partitions": partitions, "configs": {} });
    let made = bench.driver.call(&create(3)).expect("created");
    wire::settle(bench.broker.kafka(), &topic, 3);
    assert!(made.get("partitions").is_none_or(|count| *count == 3), "{made}");
    assert_eq!(bench.error_code(create(3)), 36, "TOPIC_ALREADY_EXISTS");

    let listed = bench.driver.call(&json!({ "op": "list_topics" })).expect("listed");
    assert!(listed["topics"].as_array().expect("topics").contains(&json!(topic)), "{listed}");

    let grown = json!({ "op": "create_partitions", "topic": topic, "count": 5 });
    bench.driver.call(&grown).expect("five partitions");
    wire::settle(bench.broker.kafka(), &topic, 5);
    assert_eq!(bench.error_code(grown), 37, "INVALID_PARTITIONS: as many as there are");
    let described = bench.driver.call(&json!({ "op": "describe_topic", "topic": topic })).expect("described");
    assert_eq!(described["leaders"].as_array().expect("leaders").len(), 5, "{described}");
    round_trip(
        &mut bench,
        &topic,
        Produce::default(),
        &[Record::new(4, "in the new one").at(1_700_000_000_000)],
    );

    let delete = json!({ "op": "delete_topic", "topic": topic });
    bench.driver.call(&delete).expect("deleted");
    assert_eq!(bench.error_code(delete), 3, "UNKNOWN_TOPIC_OR_PARTITION");
    let bad = json!({ "op": "create_topic", "topic": "no/slashes", "partitions": 1, "configs": {} });
    assert_eq!(bench.error_code(bad), 17, "INVALID_TOPIC_EXCEPTION");
}

pub fn configs(mut bench: Bench) {
    let topic = unique(&format!("{:?}-configs", bench.driver.client()));
    let set = json!({ "retention.ms": "1234567", "max.message.bytes": "2000000" });
    bench
        .driver
        .call(&json!({ "op": "create_topic", "topic": topic, "partitions": 1, "configs": set }))
        .expect("created");
    wire::settle(bench.broker.kafka(), &topic, 1);
    assert_eq!(config(&mut bench, &topic, "retention.ms"), ("1234567".to_owned(), false));
    assert_eq!(config(&mut bench, &topic, "segment.bytes"), ("1073741824".to_owned(), true));

    let alter = |set: serde_json::Value, delete: &[&str]| json!({ "op": "alter_configs", "topic": topic, "set": set, "delete": delete });
    let keep_and_set = json!({ "retention.ms": "7654321", "max.message.bytes": "2000000" });
    bench.driver.call(&alter(keep_and_set, &[])).expect("altered");
    assert_eq!(config(&mut bench, &topic, "retention.ms"), ("7654321".to_owned(), false));
    assert_eq!(config(&mut bench, &topic, "max.message.bytes"), ("2000000".to_owned(), false));
    assert_eq!(bench.error_code(alter(json!({ "no.such.config": "1" }), &[])), 40, "INVALID_CONFIG");
    assert_eq!(bench.error_code(alter(json!({ "retention.ms": "soon" }), &[])), 40, "INVALID_CONFIG");
    if bench.driver.client() != Client::KafkaJs {
        bench.driver.call(&alter(json!({}), &["retention.ms"])).expect("altered");
        assert_eq!(config(&mut bench, &topic, "retention.ms"), ("604800000".to_owned(), true));
    }
}

fn config(bench: &mut Bench, topic: &str, name: &str) -> (String, bool) {
    let described =
        bench.driver.call(&json!({ "op": "describe_configs", "topic": topic })).expect("described");
    let entry = &described["configs"][name];
    let value = entry["value"].as_str().unwrap_or_else(|| panic!("{name} in {described}"));
    (value.to_owned(), entry["default"].as_bool().expect("a flag"))
}

pub fn offsets_by_time_and_deleted_records(mut bench: Bench) {
    let topic = bench.topic("offsets", 1);
    let times =
        [1_700_000_000_000, 1_700_000_000_010, 1_700_000_000_010, 1_700_000_000_005, 1_700_000_000_020];
    let records: Vec<Record> = times.map(|time| Record::new(0, "x").at(time)).to_vec();
    for (compression, start) in [("none", 0), ("gzip", 5)] {
        let how = Produce { compression, linger_ms: 100, ..Produce::default() };
        let shift = start * 1_000_000;
        let records: Vec<Record> =
            records.iter().map(|one| one.clone().at(one.timestamp.expect("a time") + shift)).collect();
        bench.driver.produce(&topic, how, &records).expect("produced");
        let found = [(0, 0), (1, 1), (10, 1), (11, 4), (20, 4)];
        for (time, offset) in found {
            let at = 1_700_000_000_000 + shift + time;
            assert_eq!(
                offset_at(&mut bench, &topic, json!(at)),
                start + offset,
                "{compression}, at +{time} ms"
            );
        }
    }
    if bench.driver.client() != Client::KafkaJs {
        assert_eq!(offset_at(&mut bench, &topic, json!("max_timestamp")), 9);
    }
    assert_eq!(offset_at(&mut bench, &topic, json!("earliest")), 0);
    assert_eq!(offset_at(&mut bench, &topic, json!("latest")), 10);

    let delete =
        |before: i64| json!({ "op": "delete_records", "topic": topic, "partition": 0, "before": before });
    let deleted = bench.driver.call(&delete(7)).expect("deleted");
    assert_eq!(deleted["low_watermark"], 7);
    assert_eq!(offset_at(&mut bench, &topic, json!("earliest")), 7);
    assert_eq!(offset_at(&mut bench, &topic, json!(0)), 7, "what was deleted has no time");
    let read = bench.driver.consume(&topic, &[(0, 7, 3)]).expect("read");
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [7, 8, 9]);
    let ClientError { code, .. } = bench.driver.call(&delete(11)).expect_err("there are only ten");
    assert!(
        code == 1 || (code == -1 && bench.driver.client() == Client::KafkaJs),
        "OFFSET_OUT_OF_RANGE, not {code}"
    );
}

fn offset_at(bench: &mut Bench, topic: &str, at: serde_json::Value) -> i64 {
    let request = json!({ "op": "list_offsets", "topic": topic, "partition": 0, "at": at });
    bench.driver.call(&request).expect("listed")["offset"].as_i64().expect("an offset")
}

pub fn the_cluster_it_sees(mut bench: Bench) {
    let cluster = bench.driver.call(&json!({ "op": "describe_cluster" })).expect("described");
    let nodes = cluster["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 1, "{cluster}");
    assert_eq!(nodes[0]["port"], bench.broker.kafka().port(), "{cluster}");
    assert_eq!(nodes[0]["id"], cluster["controller"], "{cluster}");
    assert!(cluster["cluster_id"].as_str().is_some_and(|id| !id.is_empty()), "{cluster}");
}

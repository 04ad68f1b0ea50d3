//! What goes over the wire: batches as they are for those who read them, sizes that were asked for, nothing for the hostile.

use ::bytes::Bytes;
use client::protocol::batch::{BatchHeader, BatchIter, Encoding, HEADER_BYTES};
use client::protocol::compression::Compression;
use client::protocol::records::RecordIter;
use client::protocol::types::{LeaderEpoch, Offset};
use e2e::batch::{self, sign};
use e2e::broker::{self, Broker, Options, Target};
use e2e::records::{Maker, Record};
use e2e::unique;
use e2e::wire::{self, Connection};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{BATCH_RECORDS, TAG, TIMESTAMP, batch, fetch, native_batch, produce, write};

const AMPLE: i32 = 16 << 20;
const CORRUPT_MESSAGE: i16 = 2;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;

fn records(seed: u64, count: usize) -> Vec<Record> {
    let mut make = Maker::new(seed);
    (0..count).map(|_| make.record(0, 300)).collect()
}

fn topic_on(address: std::net::SocketAddr, configs: &[(&str, &str)]) -> (String, Connection) {
    let topic = unique("native-bytes");
    wire::create_topic(address, &topic, 1, &[&[("retention.ms", "-1")], configs].concat());
    (topic, Connection::open(address))
}

fn topic() -> (String, Connection) {
    topic_on(broker::shared().kafka(), &[])
}

/// A batch as the log holds it.
fn stored(mut batch: Vec<u8>, base: i64) -> Vec<u8> {
    let header = BatchHeader::from_prefix_mut(&mut batch).expect("a header");
    header.set_position(Offset(base), LeaderEpoch(0));
    batch
}

/// The same without what the leader says: its epoch is not known here.
fn without_epochs(batches: &Bytes) -> Vec<u8> {
    let mut all = Vec::new();
    for batch in BatchIter::new(batches) {
        let batch = batch.expect("whole batches were served");
        all.extend(stored(batch.bytes().to_vec(), batch.header().base_offset().get()));
    }
    all
}

#[test]
fn the_broker_says_that_it_takes_them() {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(wire::text("e2e"))
        .with_client_software_version(wire::text("1"));
    let answer = Connection::open(broker::shared().kafka()).call(3, &request);
    assert_eq!(answer.unknown_tagged_fields.get(&TAG), Some(&Bytes::from_static(&[1])));
}

#[test]
fn who_reads_them_gets_them_as_they_were_written_and_others_get_kafkas() {
    for compression in Compression::ALL {
        let (topic, mut connection) = topic();
        let records = records(1, 40);
        write(&mut connection, &topic, compression, &records);
        let in_log = |encoding| -> Vec<u8> {
            let bases = (0..).step_by(BATCH_RECORDS);
            let batches = records.chunks(BATCH_RECORDS).zip(bases);
            batches.flat_map(|(some, base)| stored(batch(encoding, compression, some), base)).collect()
        };
        let native = fetch(&mut connection, &topic, (0, AMPLE), true).expect("served");
        assert_eq!(without_epochs(&native), in_log(Encoding::Native), "{compression}");
        let kafkas = fetch(&mut connection, &topic, (0, AMPLE), false).expect("served");
        assert_eq!(without_epochs(&kafkas), in_log(Encoding::Kafka), "{compression}");
    }
}

#[test]
fn an_answer_is_no_larger_than_was_asked_for_after_transcoding() {
    let (topic, mut connection) = topic();
    let records = records(2, 200);
    write(&mut connection, &topic, Compression::None, &records);
    let mut values = Vec::new();
    let mut answers = 0;
    while values.len() < records.len() {
        let next = i64::try_from(values.len()).expect("a test is short");
        let bytes = fetch(&mut connection, &topic, (next, 4000), false).expect("served");
        assert!(bytes.len() <= 4000, "{} B", bytes.len());
        let read = batch::walk(&bytes);
        assert!(!read.is_empty(), "one batch comes in any case");
        // The first batch holds `next`, and perhaps some before.
        values.extend(read.into_iter().filter(|read| read.offset >= next).map(|read| read.value));
        answers += 1;
    }
    assert!(answers > 10);
    let written: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(values, written);
    let one = fetch(&mut connection, &topic, (0, 1), false).expect("served");
    assert_eq!(batch::walk(&one).len(), BATCH_RECORDS, "one batch, however large");
}

#[test]
fn a_search_by_time_looks_into_them() {
    let (topic, mut connection) = topic();
    let mut all: Vec<Record> = (0..20).map(|number: u8| Record::new(0, [number])).collect();
    for (record, timestamp) in all.iter_mut().zip((TIMESTAMP..).step_by(10)) {
        record.timestamp = Some(timestamp);
    }
    write(&mut connection, &topic, Compression::Lz4, &all);
    for (time, offset) in [(TIMESTAMP, 0), (TIMESTAMP + 31, 4), (TIMESTAMP + 190, 19), (TIMESTAMP + 191, -1)]
    {
        let wanted = ListOffsetsPartition::default().with_timestamp(time);
        let asked =
            ListOffsetsTopic::default().with_name(wire::topic_name(&topic)).with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let found = &connection.call(5, &request).topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset), (0, offset), "{time}");
    }
}

#[test]
fn the_topics_rules_hold_for_them() {
    let (topic, mut connection) = topic_on(broker::shared().kafka(), &[("cleanup.policy", "compact")]);
    let keyless = [Record::new(0, "no key").at(TIMESTAMP)];
    for compression in [Compression::None, Compression::Gzip] {
        assert_eq!(
            produce(&mut connection, &topic, native_batch(compression, &keyless)),
            Err(INVALID_RECORD)
        );
    }
    let (topic, mut connection) = topic_on(
        broker::shared().kafka(),
        &[("message.timestamp.type", "LogAppendTime"), ("compression.type", "zstd")],
    );
    let some = records(3, 5);
    produce(&mut connection, &topic, native_batch(Compression::None, &some)).expect("taken");
    let bytes = fetch(&mut connection, &topic, (0, AMPLE), true).expect("served");
    let batch = BatchIter::new(&bytes).next().expect("one").expect("whole");
    assert_eq!(batch.header().encoding(), Some(Encoding::Native));
    assert_eq!(batch.header().compression(), Some(Compression::Zstd));
    let body = batch.records(1 << 20).expect("zstd");
    for (record, written) in RecordIter::new(&body, batch.header()).zip(&some) {
        let record = record.expect("it can be read");
        assert_eq!(record.timestamp, batch.header().max_timestamp(), "the broker's time");
        assert_eq!(record.value, written.value.as_deref());
    }
}

/// A body that somebody has spoilt on purpose, with the CRC that goes with it.
fn spoilt(random: &mut SmallRng, compression: Compression) -> Vec<u8> {
    let mut bytes = native_batch(compression, &records(random.random(), 5));
    let body = HEADER_BYTES..bytes.len();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(body.clone());
        bytes[at] = if random.random_bool(0.5) { random.random() } else { 0xff };
    }
    sign(&mut bytes);
    bytes
}

#[test]
fn hostile_bodies_are_refused_or_harmless_and_the_connection_goes_on() {
    let (topic, mut connection) = topic();
    let mut random = SmallRng::seed_from_u64(7);
    let (mut refused, mut taken) = (0, 0);
    for round in 0..400 {
        let compression = Compression::ALL[round % Compression::ALL.len()];
        match produce(&mut connection, &topic, spoilt(&mut random, compression)) {
            Ok(_) => taken += 1,
            Err(CORRUPT_MESSAGE | INVALID_TIMESTAMP | INVALID_RECORD) => refused += 1,
            Err(other) => panic!("error {other}"),
        }
    }
    assert!(refused > 100, "{refused} refused, {taken} taken");
    produce(&mut connection, &topic, native_batch(Compression::None, &records(8, 5))).expect("an honest one");
    // Whatever was taken can be served to everybody.
    for reads_native in [false, true] {
        let mut next = 0;
        loop {
            let bytes = fetch(&mut connection, &topic, (next, 100_000), reads_native).expect("served");
            let Some(last) = BatchIter::new(&bytes).last() else { break };
            next = last.expect("whole batches").header().next_offset().get();
        }
        assert_eq!(next, (taken + 1) * 5);
    }
}

/// The journal has them, and so have segments.
#[test]
fn they_outlive_a_kill() {
    let options = Options {
        configs: vec![("log.segment.bytes".to_owned(), "1048576".to_owned())],
        ..Options::default()
    };
    let broker = Broker::start(Target::Iolite, &options);
    let (topic, mut connection) = topic_on(broker.kafka(), &[]);
    let codecs = Compression::ALL.into_iter().cycle();
    let batches: Vec<Vec<u8>> =
        codecs.zip(0..60).map(|(codec, seed)| native_batch(codec, &records(seed, 50))).collect();
    for batch in &batches {
        produce(&mut connection, &topic, batch.clone()).expect("acknowledged");
    }
    let expected: Vec<u8> =
        batches.iter().zip((0..).step_by(50)).flat_map(|(batch, base)| stored(batch.clone(), base)).collect();
    let mut directory = broker.kill();
    for _ in 0..2 {
        let broker = Broker::start_on(directory, Target::Iolite, &options);
        let mut connection = Connection::open(broker.kafka());
        let (mut native, mut next) = (Vec::new(), 0);
        loop {
            let bytes = fetch(&mut connection, &topic, (next, AMPLE), true).expect("served");
            let Some(last) = BatchIter::new(&bytes).last() else { break };
            next = last.expect("whole").header().next_offset().get();
            native.extend(without_epochs(&bytes));
        }
        assert_eq!(native.len(), expected.len());
        assert!(native == expected, "every byte is there");
        let kafkas = fetch(&mut connection, &topic, (0, AMPLE), false).expect("served");
        assert!(
            BatchIter::new(&kafkas)
                .all(|batch| { batch.expect("whole").header().encoding() == Some(Encoding::Kafka) })
        );
        // Once as it died, and once as it was stopped: then all is in segments.
        let (status, stopped) = broker.stop();
        assert!(status.success());
        directory = stopped;
    }
}

//! Native batches in compacted topics, with and without transactions: they stay native, and every client reads what is left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use client::producer::{ProducerOptions, Record as NativeRecord, TransactionOptions};
use client::protocol::batch::{BatchIter, Encoding};
use client::protocol::compression::Compression;
use client::protocol::types::{PartitionIndex, Timestamp};
use e2e::DEADLINE;
use e2e::broker::java;
use e2e::driver::{Client, Driver};
use e2e::process;
use e2e::records::Record;
use e2e::wire::Connection;
use serde_json::json;

use super::world::{COMPACT, DAY, EAGER, MINUTE, ROLLS_EACH_SECOND, World, now};
use crate::native::fetch;
use crate::native_client::{with_client, write};
use crate::suite::assert_same;

const TOPIC: &str = "native";
const READERS: [Client; 3] = [Client::Native, Client::KafkaPython, Client::Java];
/// The whole topic at once.
const AMPLE: i32 = 16 << 20;

/// A producer that closes a batch when it is told to flush, and not before.
fn options(compression: Compression) -> ProducerOptions {
    ProducerOptions {
        encoding: Encoding::Native,
        compression,
        linger: DEADLINE,
        ..ProducerOptions::default()
    }
}

/// What a log of these records, from offset 0 on, comes to once all below `end` is compacted: of each key the last one.
fn compacted(written: &[Record], end: usize) -> Vec<Record> {
    let last: BTreeMap<_, _> = written[..end].iter().map(|record| (&record.key, record.offset)).collect();
    let stays = |record: &&Record| last.get(&record.key).is_none_or(|last| record.offset >= *last);
    written.iter().filter(stays).cloned().collect()
}

fn numbered(mut records: Vec<Record>) -> Vec<Record> {
    for (record, offset) in records.iter_mut().zip(0..) {
        record.offset = offset;
    }
    records
}

/// As [`World::read`] shows them.
fn shown(records: &[Record]) -> Vec<String> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        None => "NULL".to_owned(),
    };
    records
        .iter()
        .map(|record| format!("{} {}={}", record.offset, text(&record.key), text(&record.value)))
        .collect()
}

fn consume(reader: Client, address: SocketAddr, isolation: &str, count: usize) -> Vec<Record> {
    let mut driver = Driver::start(reader, address);
    let request =
        json!({ "op": "consume", "topic": TOPIC, "partitions": [[0, 0, count]], "isolation": isolation });
    let answer = driver.call(&request).expect("it can be read");
    answer["records"].as_array().expect("records").iter().map(Record::from_json).collect()
}

/// Of each batch in the log: its compression, and how many of its records are gone. All but markers are native.
fn batches(address: SocketAddr) -> Vec<(Compression, i32)> {
    let log = fetch(&mut Connection::open(address), TOPIC, (0, AMPLE), true).expect("served");
    let batches = BatchIter::new(&log).map(|batch| batch.expect("whole batches").header());
    batches
        .filter(|header| !header.is_control())
        .map(|header| {
            assert_eq!(header.encoding(), Some(Encoding::Native), "at {:?}", header.base_offset());
            (header.compression().expect("known"), header.last_offset_delta() + 1 - header.record_count())
        })
        .collect()
}

/// One batch of seven records: some keys come again in it, some in later ones, some never.
fn versions(batch: i64, time: i64) -> Vec<Record> {
    let record = |place: i64| {
        let key = match place {
            0 => format!("once-{batch}"),
            1 => "deleted".to_owned(),
            _ => format!("key-{}", (batch * 3 + place * 2) % 8),
        };
        let value = format!("{batch}.{place}");
        let record = Record::new(0, value.as_bytes()).key(key).at(time + place);
        let record = record.header("of", Some(value.as_bytes())).header("of", Some(b"")).header("none", None);
        if place == 1 { Record { value: None, ..record } } else { record }
    };
    (0..7).map(record).collect()
}

#[test]
fn the_last_value_of_each_key_stays_where_it_was_with_its_headers() {
    let world = World::start();
    world.create(TOPIC, &[COMPACT, EAGER, ROLLS_EACH_SECOND]);
    let start = now() - DAY;
    let rounds = Compression::ALL.into_iter().cycle().take(12);
    let of_batches: Vec<_> =
        (0..).zip(rounds).map(|(batch, codec)| (codec, versions(batch, start + batch * MINUTE))).collect();
    with_client(world.address(), async |client| {
        for (codec, records) in &of_batches {
            write(&client, TOPIC, options(*codec), records).await;
        }
    });
    assert!(batches(world.address()).iter().all(|(_, gone)| *gone == 0));
    let written = numbered(of_batches.into_iter().flat_map(|(_, records)| records).collect());
    // The last batch is in the segment that is written to.
    let expected = compacted(&written, written.len() - 7);

    let world = world.restart();
    world.await_records(TOPIC, &shown(&expected));
    for reader in READERS {
        let read = consume(reader, world.address(), "read_uncommitted", expected.len());
        assert_same("compacted", reader, &expected, &read);
    }
    let left = batches(world.address());
    for codec in Compression::ALL {
        assert!(left.iter().any(|(found, gone)| *found == codec && *gone > 0), "{codec}: {left:?}");
    }
}

/// Writes one transaction natively, and what it is that it wrote.
async fn transact(producer: &mut client::TransactionalProducer, records: &[Record], commits: bool) {
    let topic = producer.topic(TOPIC).await.expect("the topic");
    let transaction = producer.begin().await.expect("it begins");
    let mut deliveries = Vec::new();
    for record in records {
        let headers = record.borrowed_headers();
        let record = NativeRecord {
            partition: Some(PartitionIndex(0)),
            timestamp: record.timestamp.map(Timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            token: 0,
        };
        deliveries.push(transaction.send(&topic, &record).await.expect("it is taken"));
    }
    for delivery in deliveries {
        delivery.await.expect("it is written");
    }
    let ended = if commits { transaction.commit().await } else { transaction.abort().await };
    ended.expect("it ends");
}

/// Offset, key and value as Kafka's console consumer shows what is committed.
fn console(address: SocketAddr, count: usize) -> Vec<String> {
    let mut command = java("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &address.to_string(), "--topic", TOPIC, "--from-beginning"]);
    command.args(["--isolation-level", "read_committed", "--max-messages", &count.to_string()]);
    for property in ["print.offset=true", "print.key=true", "null.literal=NULL", "key.separator= "] {
        command.args(["--property", property]);
    }
    let read = process::run_with_input("ConsoleConsumer", command, b"", DEADLINE);
    assert!(read.status.success(), "{read}");
    read.stdout
}

/// What is committed, as three clients read it.
fn check_committed(address: SocketAddr, expected: &[Record]) {
    for reader in [Client::Native, Client::KafkaPython] {
        let read = consume(reader, address, "read_committed", expected.len());
        assert_same("committed", reader, expected, &read);
    }
    let lines = shown(expected).iter().map(|line| format!("Offset:{}", line.replace('=', " "))).collect();
    let lines: Vec<String> = lines;
    assert_eq!(console(address, expected.len()), lines);
}

#[test]
fn committed_values_are_read_and_aborted_ones_go() {
    let world = World::start();
    world.create(TOPIC, &[COMPACT, EAGER, ROLLS_EACH_SECOND]);
    let start = now() - DAY;
    let mut committed = Vec::new();
    let mut all = Vec::new();
    with_client(world.address(), async |client| {
        let producer = ProducerOptions { linger: Duration::ZERO, ..options(Compression::None) };
        let options = TransactionOptions { producer, ..TransactionOptions::default() };
        let mut producer = client.transactional_producer("teller", options).await.expect("a producer");
        let mut offset = 0;
        for (number, commits) in (0..).zip([true, false, true, false, true]) {
            // The last one comes later than the markers of all others, and so in a segment of its own.
            let time = if number == 4 { now() + 10 * MINUTE } else { start + number * MINUTE };
            let mut records = versions(number, time);
            transact(&mut producer, &records, commits).await;
            for record in &mut records {
                record.offset = offset;
                offset += 1;
            }
            // Behind them is the marker.
            offset += 1;
            if commits {
                committed.extend(records.iter().cloned());
            }
            all.extend(records);
        }
        producer.close().await.expect("nothing is open");
    });
    check_committed(world.address(), &committed);
    assert_eq!(world.read(TOPIC), shown(&all));
    assert_eq!(batches(world.address()).iter().map(|(_, gone)| gone).sum::<i32>(), 0);

    let expected = compacted(&committed, committed.len() - 7);
    assert!(expected.len() < committed.len());
    let world = world.restart();
    // Whoever reads all sees nothing any more of what was aborted.
    world.await_records(TOPIC, &shown(&expected));
    check_committed(world.address(), &expected);
    batches(world.address());
}

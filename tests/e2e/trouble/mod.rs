//! Disks that are full, slow or rotten, big data and full journals, stops under load: what was acknowledged is there.

mod damage;
mod disk;
mod life;

use bytes::Bytes;
use e2e::batch::{self, Batch};
use e2e::wire::{Closed, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, ProduceRequest};

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const TIMESTAMP: i64 = 1_700_000_000_000;
const FETCH_BYTES_MAX: i32 = 16 << 20;

/// A record of so many bytes that begins with its number.
fn numbered(number: usize, bytes: usize) -> Vec<u8> {
    let mut value = format!("<{number}>").into_bytes();
    value.resize(bytes.max(value.len()), b'.');
    value
}

fn produce_request(topic: &str, batch: &Batch) -> ProduceRequest {
    let batch = batch.encode();
    let data = PartitionProduceData::default().with_records(Some(batch.into()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic])
}

fn send_produce(
    connection: &mut Connection,
    correlation: i32,
    topic: &str,
    value: &[u8],
) -> Result<(), Closed> {
    let batch = Batch::of_values(TIMESTAMP, &[value]);
    connection.send(&encode_request(correlation, PRODUCE_VERSION, &produce_request(topic, &batch)))
}

/// The offset of an acknowledgement, or the error.
fn receive_produced(connection: &mut Connection, correlation: i32) -> Result<Result<i64, i16>, Closed> {
    let answer = decode_response::<ProduceRequest>(connection.receive()?, correlation, PRODUCE_VERSION);
    let answer = &answer.responses[0].partition_responses[0];
    Ok(if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(answer.error_code) })
}

/// One record into partition 0.
fn produce(connection: &mut Connection, topic: &str, value: &[u8]) -> Result<i64, i16> {
    send_produce(connection, 1, topic, value).expect("the broker lives");
    receive_produced(connection, 1).expect("the broker answers")
}

/// One record with a key into partition 0.
fn produce_keyed(connection: &mut Connection, topic: &str, key: &[u8], value: &[u8]) -> Result<i64, i16> {
    let request = produce_request(topic, &Batch::of_key(TIMESTAMP, key, value));
    connection.send(&encode_request(1, PRODUCE_VERSION, &request)).expect("the broker lives");
    receive_produced(connection, 1).expect("the broker answers")
}

/// What a fetch of partition 0 brings, or the error.
fn fetch(connection: &mut Connection, topic: &str, from: i64) -> Result<Bytes, i16> {
    let wanted = FetchPartition::default().with_fetch_offset(from).with_partition_max_bytes(FETCH_BYTES_MAX);
    let asked = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_session_epoch(-1)
        .with_topics(vec![asked]);
    let answer = connection.call(FETCH_VERSION, &request);
    let answer = &answer.responses[0].partitions[0];
    if answer.error_code == 0 {
        Ok(answer.records.clone().unwrap_or_default())
    } else {
        Err(answer.error_code)
    }
}

/// The values of partition 0 from offset 0 to the end, which stand without a gap.
fn read_all(connection: &mut Connection, topic: &str) -> Vec<Bytes> {
    try_read_from(connection, topic, 0)
        .unwrap_or_else(|Refused { offset, code }| panic!("{topic} at {offset}: error {code}"))
}

/// A fetch that was answered with an error.
struct Refused {
    offset: i64,
    code: i16,
}

/// The same from an offset on, unless a fetch on the way is refused.
fn try_read_from(connection: &mut Connection, topic: &str, start: i64) -> Result<Vec<Bytes>, Refused> {
    let mut values = Vec::new();
    loop {
        let offset = start + i64::try_from(values.len()).expect("a test is short");
        let bytes = fetch(connection, topic, offset).map_err(|code| Refused { offset, code })?;
        let records = batch::walk(&bytes);
        if records.is_empty() {
            return Ok(values);
        }
        for record in records {
            let expected = start + i64::try_from(values.len()).expect("a test is short");
            assert_eq!(record.offset, expected, "{topic}: no gap");
            values.push(record.value);
        }
    }
}

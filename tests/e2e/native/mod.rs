//! Native batches: written as native clients write them, read by everybody else, and by native clients as they are.
//!
//! There is no other writer of this format than our own, so these tests build their batches by the crate `protocol`; what came of
//! them is judged by Kafka's clients and by `batch`, which know nothing of it.

mod bytes;
mod readers;

use ::bytes::Bytes;
use client::protocol::batch::Encoding;
use client::protocol::compression::Compression;
use client::protocol::records::{BatchBuilder, BatchOptions};
use client::protocol::types::Timestamp;
use e2e::records::Record;
use e2e::wire::{Connection, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, ProduceRequest};

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const TIMESTAMP: i64 = 1_700_000_000_000;
/// The tag by which a client says that it reads native batches, and the broker that it takes them.
const TAG: i32 = 18767;
/// Records of one batch.
const BATCH_RECORDS: usize = 7;

/// One batch of these records.
fn batch(encoding: Encoding, compression: Compression, records: &[Record]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { encoding, compression, ..BatchOptions::default() });
    for record in records {
        let headers = record.borrowed_headers();
        let timestamp = Timestamp(record.timestamp.expect("the tests say when"));
        builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    builder.build()
}

fn native_batch(compression: Compression, records: &[Record]) -> Vec<u8> {
    batch(Encoding::Native, compression, records)
}

/// The offset at which bytes were appended to partition 0, or the error.
fn produce(connection: &mut Connection, topic: &str, batch: Vec<u8>) -> Result<i64, i16> {
    let data = PartitionProduceData::default().with_records(Some(batch.into()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic]);
    let answer = connection.call(PRODUCE_VERSION, &request);
    let answer = &answer.responses[0].partition_responses[0];
    if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(answer.error_code) }
}

/// Writes records natively, a few in a batch.
fn write(connection: &mut Connection, topic: &str, compression: Compression, records: &[Record]) {
    for some in records.chunks(BATCH_RECORDS) {
        produce(connection, topic, native_batch(compression, some)).expect("native batches are taken");
    }
}

/// What a fetch of partition 0 brings, or the error; with the announcement or without.
pub fn fetch(
    connection: &mut Connection,
    topic: &str,
    (from, bytes_max): (i64, i32),
    reads_native: bool,
) -> Result<Bytes, i16> {
    let wanted = FetchPartition::default().with_fetch_offset(from).with_partition_max_bytes(bytes_max);
    let asked = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![wanted]);
    let mut request =
        FetchRequest::default().with_max_bytes(bytes_max).with_session_epoch(-1).with_topics(vec![asked]);
    if reads_native {
        request.unknown_tagged_fields.insert(TAG, Bytes::from_static(&[1]));
    }
    let answer = connection.call(FETCH_VERSION, &request);
    let answer = &answer.responses[0].partitions[0];
    if answer.error_code == 0 {
        Ok(answer.records.clone().unwrap_or_default())
    } else {
        Err(answer.error_code)
    }
}

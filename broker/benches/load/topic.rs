//! Makes the topics that are loaded, and waits until their partitions take records: a broker may say that a topic is made
//! before it leads its partitions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::frame::{SIZE_BYTES, read_response_header};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::messages::{Message, Request};
use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, Timestamp};
use protocol::wire::Reader;

use super::broker::rest;
use super::wire::{DECODE_BYTES_MAX, Prepared};

const CREATE_TOPICS_VERSION: i16 = 5;
const LIST_OFFSETS_VERSION: i16 = 4;
/// The time that asks for a log's end.
const LATEST: Timestamp = Timestamp(-1);
/// How long partitions may take to be led.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often they are asked.
const INTERVAL: Duration = Duration::from_millis(50);

/// Makes a topic; its partitions take records when this returns.
pub fn create(address: SocketAddr, name: &str, partitions: i32, configs: &[(&str, String)]) {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) });
    let topic = CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.collect(),
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, validate_only: false };
    let body = ask(&mut stream, ApiKey::CreateTopics, CREATE_TOPICS_VERSION, &request);
    let response = CreateTopicsResponse::decode(&body, CREATE_TOPICS_VERSION, DECODE_BYTES_MAX)
        .expect("an answer to CreateTopics");
    for topic in &response.topics {
        assert_eq!(topic.error_code.0, 0, "{}: {:?}", topic.name, topic.error_message);
    }
    let until = Instant::now() + PATIENCE;
    while !is_led(&mut stream, name, partitions) {
        assert!(Instant::now() < until, "nobody leads all partitions of {name}");
        rest(INTERVAL);
    }
}

/// Whether every partition has a leader that answers for it.
fn is_led(stream: &mut TcpStream, name: &str, partitions: i32) -> bool {
    let partition = |index| ListOffsetsPartition {
        partition_index: PartitionIndex(index),
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        timestamp: LATEST,
    };
    let request = ListOffsetsRequest {
        replica_id: BrokerId(-1),
        isolation_level: 0,
        topics: vec![ListOffsetsTopic { name, partitions: (0..partitions).map(partition).collect() }],
        timeout_ms: 0,
    };
    let body = ask(stream, ApiKey::ListOffsets, LIST_OFFSETS_VERSION, &request);
    let response = ListOffsetsResponse::decode(&body, LIST_OFFSETS_VERSION, DECODE_BYTES_MAX)
        .expect("an answer to ListOffsets");
    let mut outcomes = response.topics.iter().flat_map(|topic| &topic.partitions);
    outcomes.all(|partition| match partition.error_code.into_result() {
        Ok(()) => true,
        Err(
            KafkaError::NotLeaderOrFollower
            | KafkaError::LeaderNotAvailable
            | KafkaError::UnknownTopicOrPartition,
        ) => false,
        Err(error) => panic!("{name}: {error}"),
    })
}

/// The body of the answer to one request.
fn ask<'a, M: Request<'a>>(stream: &mut TcpStream, api: ApiKey, version: i16, request: &M) -> Vec<u8> {
    let prepared = Prepared::of(version, request);
    stream.write_all(&prepared.head(1)).expect("the broker reads");
    stream.write_all(prepared.tail()).expect("the broker reads");
    let mut size = [0; SIZE_BYTES];
    stream.read_exact(&mut size).expect("the broker answers");
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
    stream.read_exact(&mut frame).expect("the broker answers to the end");
    let mut reader = Reader::new(&frame, DECODE_BYTES_MAX);
    read_response_header(&mut reader, api, version).expect("a header");
    reader.rest().to_vec()
}

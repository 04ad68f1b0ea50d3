//! Makes the topics that are loaded, and waits until their partitions take records: a broker may say that a topic is made
//! before it leads its partitions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, Timestamp};

use super::broker::rest;
use super::calls::Calls;
use super::wire::Prepared;

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
    let mut calls = Calls::connect(address, 1);
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) });
    let topic = CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.collect(),
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, validate_only: false };
    let answer = calls.call(0, Prepared::of(CREATE_TOPICS_VERSION, &request));
    let response: CreateTopicsResponse<'_> = answer.read();
    for topic in &response.topics {
        assert_eq!(topic.error_code.0, 0, "{}: {:?}", topic.name, topic.error_message);
    }
    let until = Instant::now() + PATIENCE;
    while !is_led(&mut calls, name, partitions) {
        assert!(Instant::now() < until, "nobody leads all partitions of {name}");
        rest(INTERVAL);
    }
}

/// Whether every partition has a leader that answers for it.
fn is_led(calls: &mut Calls, name: &str, partitions: i32) -> bool {
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
    let answer = calls.call(0, Prepared::of(LIST_OFFSETS_VERSION, &request));
    let response: ListOffsetsResponse<'_> = answer.read();
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

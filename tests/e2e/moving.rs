//! Connections move to the shard of their data while they are in use, and nobody notices.

use std::net::SocketAddr;
use std::thread;

use e2e::batch::{self, Batch};
use e2e::broker::{Broker, Options, Target};
use e2e::figures::figure;
use e2e::wire::{self, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, ProduceRequest};

const TOPIC: &str = "moving";
const PARTITIONS: i32 = 32;
/// Enough for every connection to settle, and to go on afterwards.
const REQUESTS: i32 = 300;

/// The kernel spreads the connections over the shards by chance: of 32 it puts all where they belong once in 2^32 times.
#[test]
fn connections_move_to_their_data_and_lose_nothing() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = Broker::start(Target::Iolite, &Options { shards: 2, ..Options::default() });
    wire::create_topic(broker.kafka(), TOPIC, PARTITIONS, &[]);
    let address = broker.kafka();
    thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            scope.spawn(move || {
                write_pipelined(address, partition);
                read_one_by_one(address, partition);
            });
        }
    });
    let moved = figure(&broker, "connections_moved_total");
    println!("{moved} of {} connections moved", 2 * PARTITIONS);
    assert!(moved > 0, "no connection has moved");
}

/// Sends requests without waiting; each is answered, in order, at its offset.
fn write_pipelined(address: SocketAddr, partition: i32) {
    let mut sending = Connection::open(address);
    let mut receiving = sending.share();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..REQUESTS {
                let request = encode_request(number, 9, &produce(partition, number));
                sending.send(&request).expect("the broker takes requests");
            }
        });
        for number in 0..REQUESTS {
            let frame = receiving.receive().expect("the broker answers");
            let answer = decode_response::<ProduceRequest>(frame, number, 9);
            let line = &answer.responses[0].partition_responses[0];
            assert_eq!((line.error_code, line.base_offset), (0, i64::from(number)));
        }
    });
}

/// Fetches every record by a request of its own.
fn read_one_by_one(address: SocketAddr, partition: i32) {
    let mut connection = Connection::open(address);
    for number in 0..REQUESTS {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(i64::from(number))
            .with_partition_max_bytes(1);
        let topic = FetchTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(10_000)
            .with_min_bytes(1)
            .with_max_bytes(1)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = connection.call(11, &request);
        let line = &answer.responses[0].partitions[0];
        assert_eq!((answer.error_code, line.error_code), (0, 0));
        let read = batch::walk(line.records.as_ref().expect("there are records"));
        let values: Vec<_> = read.iter().map(|record| (record.offset, record.value.clone())).collect();
        assert_eq!(values, [(i64::from(number), value(number).into())]);
    }
}

fn produce(partition: i32, number: i32) -> ProduceRequest {
    let records = Batch::of_values(1_700_000_000_000, &[value(number)]).encode();
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records.into()));
    let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

fn value(number: i32) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

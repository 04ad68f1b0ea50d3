//! An idempotent producer whose records were compacted away: its last batch is known still, and its next one is taken.

use client::protocol::batch::BatchIter;
use e2e::DEADLINE;
use e2e::batch::Batch;
use e2e::wire::{Connection, topic_name};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use std::net::SocketAddr;
use std::time::Instant;

use super::world::{COMPACT, EAGER, HOUR, MINUTE, ROLLS_EACH_SECOND, World, now};
use crate::native::fetch;

const TOPIC: &str = "outlived";
/// The whole topic at once.
const AMPLE: i32 = 16 << 20;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// An idempotent producer, which gives each record of its a batch.
struct Producer {
    id: i64,
    epoch: i16,
}

impl Producer {
    fn start(address: SocketAddr) -> Self {
        let mut connection = Connection::open(address);
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let end = Instant::now() + DEADLINE;
        loop {
            let made = connection.call(4, &request);
            match made.error_code {
                0 => return Self { id: made.producer_id.0, epoch: made.producer_epoch },
                // Apache Kafka's is loading.
                14 => assert!(Instant::now() < end, "no producer id"),
                error => panic!("error {error}"),
            }
        }
    }

    /// Sends the batch of a sequence number; error and offset.
    fn send(&self, address: SocketAddr, sequence: i32, key: &str, time: i64) -> (i16, i64) {
        let batch = Batch::of_key(time, key.as_bytes(), sequence.to_string().as_bytes());
        let batch = batch.by_producer(self.id, self.epoch, sequence).encode();
        let data = PartitionProduceData::default().with_records(Some(batch.into()));
        let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic]);
        let answer = Connection::open(address).call(9, &request);
        let answer = &answer.responses[0].partition_responses[0];
        (answer.error_code, answer.base_offset)
    }
}

/// Of each batch in the log: its first offset, its producer's id and epoch, its sequence, and how many records it has.
fn batches(address: SocketAddr) -> Vec<(i64, (i64, i16, i32), i32)> {
    let log = fetch(&mut Connection::open(address), TOPIC, (0, AMPLE), false).expect("served");
    let headers = BatchIter::new(&log).map(|batch| *batch.expect("whole batches").header());
    headers
        .map(|header| {
            let producer = (header.producer_id().0, header.producer_epoch().0, header.base_sequence().0);
            (header.base_offset().0, producer, header.record_count())
        })
        .collect()
}

#[test]
fn the_last_batch_of_a_producer_is_known_when_its_records_are_compacted_away_and_through_restarts() {
    let mut world = World::start();
    world.create(TOPIC, &[COMPACT, EAGER, ROLLS_EACH_SECOND]);
    let producer = Producer::start(world.address());
    // Kafka forgets producers by the time of their last batch, after a day.
    let start = now() - HOUR;
    for sequence in 0..3 {
        let time = start + i64::from(sequence) * MINUTE;
        assert_eq!(producer.send(world.address(), sequence, "key", time), (0, i64::from(sequence)));
    }
    let others = [("key", Some("theirs"), start + 3 * MINUTE), ("end", Some("end"), start + 4 * MINUTE)];
    world.write(TOPIC, &others);

    let again = |world: &World| producer.send(world.address(), 2, "key", start + 2 * MINUTE);
    let gap = |world: &World, sequence| producer.send(world.address(), sequence, "key", start + 5 * MINUTE).0;
    let world = world.restart();
    world.await_records(TOPIC, &["3 key=theirs", "4 end=end"]);
    // Its last batch is there without its record, so that the log tells of it as well.
    let of_producer = |world: &World| {
        let mut found = batches(world.address());
        found.retain(|(_, (id, ..), _)| *id == producer.id);
        found
    };
    assert_eq!(of_producer(&world), [(2, (producer.id, producer.epoch, 2), 0)]);
    let world = world.restart();
    assert_eq!(again(&world), (0, 2), "after a stop");
    assert_eq!(gap(&world, 4), OUT_OF_ORDER_SEQUENCE_NUMBER, "after a stop");

    let world = world.restart_killed();
    assert_eq!(again(&world), (0, 2), "after kill -9");
    assert_eq!(gap(&world, 4), OUT_OF_ORDER_SEQUENCE_NUMBER, "after kill -9");
    assert_eq!(producer.send(world.address(), 3, "next", start + 5 * MINUTE), (0, 5));

    // What was sent since is known, too, and nothing of it was written twice.
    let world = world.restart_killed();
    assert_eq!(producer.send(world.address(), 3, "next", start + 5 * MINUTE), (0, 5));
    assert_eq!(gap(&world, 5), OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(producer.send(world.address(), 4, "next", start + 6 * MINUTE), (0, 6));
    assert_eq!(world.read(TOPIC), ["3 key=theirs", "4 end=end", "5 next=3", "6 next=4"]);
}

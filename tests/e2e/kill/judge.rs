//! Reads everything that the broker has and holds it against the books.

use bytes::{Bytes, BytesMut};
use e2e::batch;
use e2e::broker::{Broker, Target};
use e2e::wire::{self, Connection, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use super::world::{PLANS, Topic, World};
use super::{chores, connect, load};

const FETCH_BYTES_MAX: i32 = 16 << 20;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Panics unless every promise on the books is kept.
pub fn everything(broker: &Broker, world: &World, when: &str) {
    let mut connection = connect(broker);
    if broker.target() == Target::Kafka {
        let live: Vec<usize> = world.lock().topics.keys().copied().collect();
        live.into_iter().for_each(|plan| wire::settle(broker.kafka(), PLANS[plan].name, 1));
    }
    chores::take_stock(&mut connection, world);
    let topics: Vec<Topic> = world.lock().topics.values().copied().collect();
    let mut wrongs = std::mem::take(&mut world.lock().wrongs);
    for topic in topics {
        let plan = &PLANS[topic.plan];
        wire::settle(broker.kafka(), plan.name, plan.partitions);
        for partition in 0..plan.partitions {
            // Retention may move the start while the partition is read; what counts is the start before and after.
            let (start, end, batches) = read_partition(&mut connection, topic, partition);
            let served: Vec<_> =
                batch::walk(&batches).into_iter().filter(|record| record.offset >= start).collect();
            let mut state = world.lock();
            let ledger = state.ledgers.get_mut(&(topic.incarnation, partition)).expect("it is on the books");
            let judged = ledger.judge((topic.incarnation, partition), start, end, &served);
            wrongs.extend(
                judged.err().into_iter().flatten().map(|wrong| format!("{}-{partition}: {wrong}", plan.name)),
            );
        }
    }
    assert!(wrongs.is_empty(), "{when}:\n{}\n{}", wrongs.join("\n"), broker.process().last_lines());
}

/// Everything from the log's start to its end; begins again if retention moved the start meanwhile.
fn read_partition(connection: &mut Connection, topic: Topic, partition: i32) -> (i64, i64, Bytes) {
    loop {
        let start = list_offset(connection, topic, partition, EARLIEST);
        let end = list_offset(connection, topic, partition, LATEST);
        let read = read_range(connection, topic, partition, start, end);
        if let Some(batches) = read
            && list_offset(connection, topic, partition, EARLIEST) == start
        {
            return (start, end, batches);
        }
    }
}

fn list_offset(connection: &mut Connection, topic: Topic, partition: i32, at: i64) -> i64 {
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(PLANS[topic.plan].name))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = connection.call(7, &request);
    let answer = &answer.topics[0].partitions[0];
    assert_eq!(answer.error_code, 0, "ListOffsets of {partition}");
    answer.offset
}

/// None where the start was deleted under the reader.
fn read_range(
    connection: &mut Connection,
    topic: Topic,
    partition: i32,
    start: i64,
    end: i64,
) -> Option<Bytes> {
    const OFFSET_OUT_OF_RANGE: i16 = 1;
    let mut batches = BytesMut::new();
    let mut next = start;
    while next < end {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(FETCH_BYTES_MAX);
        let asked = FetchTopic::default().with_topic_id(load::uuid(topic.id)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_wait_ms(1_000)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_session_epoch(-1)
            .with_topics(vec![asked]);
        let answer = connection.call(13, &request);
        let answer = &answer.responses[0].partitions[0];
        if answer.error_code == OFFSET_OUT_OF_RANGE {
            return None;
        }
        assert_eq!(answer.error_code, 0, "Fetch of {partition} from {next}");
        let bytes = answer.records.clone().unwrap_or_default();
        let records = batch::walk(&bytes);
        let last = records.last().unwrap_or_else(|| panic!("nothing at {next}, though the end is {end}"));
        // A fetch brings whole batches; one cut off at the end comes again.
        batches.extend_from_slice(&bytes[..batch::whole_bytes(&bytes)]);
        next = last.offset + 1;
    }
    Some(batches.freeze())
}

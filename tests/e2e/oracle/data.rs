//! Produce, Fetch and ListOffsets with everything that can be wrong about them.

use e2e::batch::{Batch, sign};
use e2e::wire::{text, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
    ProduceRequest,
};

use super::{Case, Side, compare};

const NOW: i64 = 1_700_000_000_000;

fn good() -> Batch {
    Batch::of_values(NOW, &["one", "two", "three"])
}

/// Produces bytes as partition 0's records; the answer is error code and base offset.
fn produce(side: &mut Side, records: Vec<u8>) -> String {
    produce_to(side, 9, -1, 0, records)
}

fn produce_to(side: &mut Side, version: i16, acks: i16, partition: i32, records: Vec<u8>) -> String {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records.into()));
    let topic = TopicProduceData::default().with_partition_data(vec![data]);
    let topic = if version >= 13 {
        topic.with_topic_id(side.topic_id)
    } else {
        topic.with_name(topic_name(&side.topic))
    };
    let request =
        ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    let Ok(answer) = side.connection.try_call(version, &request) else { return "closed".to_owned() };
    let answer = &answer.responses[0].partition_responses[0];
    format!("error {} at {}", answer.error_code, answer.base_offset)
}

fn changed(change: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = good();
    change(&mut batch);
    batch.encode()
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = good().encode();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch
}

/// The length field of the good batch, off by some.
fn batch_length(off_by: i32) -> [u8; 4] {
    (i32::try_from(good().records.len()).expect("a short batch") + 49 + off_by).to_be_bytes()
}

fn patched_and_signed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = patched(at, bytes);
    sign(&mut batch);
    batch
}

fn producer_id(side: &mut Side) -> i64 {
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    loop {
        let answer = side.connection.call(4, &request);
        // Apache Kafka's coordinator may still be loading.
        if answer.error_code != 14 {
            return answer.producer_id.0;
        }
    }
}

/// Sequences of one producer: each batch as `(epoch, first sequence)`; the answers in order.
fn sequences(side: &mut Side, batches: &[(i16, i32)]) -> String {
    let id = producer_id(side);
    let answers = batches
        .iter()
        .map(|(epoch, sequence)| produce(side, good().by_producer(id, *epoch, *sequence).encode()));
    answers.collect::<Vec<_>>().join(", ")
}

const PRODUCE: &[Case] = &[
    ("a good batch", |side| produce(side, good().encode())),
    ("by id", |side| produce_to(side, 13, -1, 0, good().encode())),
    ("acks 1", |side| produce_to(side, 9, 1, 0, good().encode())),
    ("acks 2", |side| produce_to(side, 9, 2, 0, good().encode())),
    ("acks -2", |side| produce_to(side, 9, -2, 0, good().encode())),
    ("empty records", |side| produce(side, Vec::new())),
    ("unknown partition", |side| produce_to(side, 9, -1, 7, good().encode())),
    ("negative partition", |side| produce_to(side, 9, -1, -1, good().encode())),
    ("unknown topic", |side| {
        side.topic = "nobody-made-this".to_owned();
        produce(side, good().encode())
    }),
    ("bad topic name", |side| {
        side.topic = "no/slashes".to_owned();
        produce(side, good().encode())
    }),
    ("unknown topic id", |side| {
        side.topic_id = uuid::Uuid::from_bytes([7; 16]);
        produce_to(side, 13, -1, 0, good().encode())
    }),
    ("zero topic id", |side| {
        side.topic_id = uuid::Uuid::nil();
        produce_to(side, 13, -1, 0, good().encode())
    }),
    ("bad CRC", |side| produce(side, patched(17, &[1, 2, 3, 4]))),
    ("a flipped bit in a value", |side| produce(side, patched(70, &[0xff]))),
    ("magic 0", |side| produce(side, patched(16, &[0]))),
    ("magic 1", |side| produce(side, patched(16, &[1]))),
    ("magic 3", |side| produce(side, patched(16, &[3]))),
    ("magic -1", |side| produce(side, patched(16, &[0xff]))),
    ("length one too long", |side| produce(side, patched(8, &batch_length(1)))),
    ("length one too short", |side| produce(side, patched(8, &batch_length(-1)))),
    ("length 0", |side| produce(side, patched(8, &[0; 4]))),
    ("length negative", |side| produce(side, patched(8, &[0xff; 4]))),
    ("length enormous", |side| produce(side, patched(8, &[0x7f, 0xff, 0xff, 0xff]))),
    ("half a header", |side| produce(side, good().encode()[..30].to_vec())),
    ("eleven bytes", |side| produce(side, vec![0; 11])),
    ("a batch and three bytes", |side| produce(side, [good().encode(), vec![0; 3]].concat())),
    ("two batches", |side| produce(side, [good().encode(), good().encode()].concat())),
    ("base offset not 0", |side| produce(side, patched(0, &77_i64.to_be_bytes()))),
    ("more records claimed", |side| produce(side, changed(|batch| batch.record_count = 4))),
    ("fewer records claimed", |side| produce(side, changed(|batch| batch.record_count = 2))),
    ("no records claimed", |side| produce(side, changed(|batch| batch.record_count = 0))),
    ("negative records claimed", |side| produce(side, changed(|batch| batch.record_count = -1))),
    ("two thousand million records claimed", |side| {
        produce(side, changed(|batch| batch.record_count = i32::MAX))
    }),
    ("last offset delta too high", |side| produce(side, changed(|batch| batch.last_offset_delta = 3))),
    ("last offset delta too low", |side| produce(side, changed(|batch| batch.last_offset_delta = 1))),
    ("last offset delta negative", |side| produce(side, changed(|batch| batch.last_offset_delta = -1))),
    ("no records at all", |side| {
        produce(
            side,
            changed(|batch| {
                batch.records.clear();
                batch.record_count = 0;
                batch.last_offset_delta = -1;
            }),
        )
    }),
    ("records cut short", |side| {
        produce(
            side,
            changed(|batch| {
                batch.records.pop();
            }),
        )
    }),
    ("a byte after the records", |side| produce(side, changed(|batch| batch.records.push(0)))),
    ("a record's length is wild", |side| produce(side, changed(|batch| batch.records[0] = 0x7e))),
    ("a record's length is negative", |side| produce(side, changed(|batch| batch.records[0] = 1))),
    ("offset deltas do not ascend", |side| produce(side, changed(|batch| batch.records[3] = 2))),
    ("compression 5", |side| produce(side, patched_and_signed(21, &[0, 5]))),
    ("compression 7", |side| produce(side, patched_and_signed(21, &[0, 7]))),
    ("gzip that is none", |side| produce(side, patched_and_signed(21, &[0, 1]))),
    ("zstd that is none", |side| produce(side, patched_and_signed(21, &[0, 4]))),
    ("a control batch", |side| produce(side, patched_and_signed(21, &[0, 0x20]))),
    ("a transactional batch", |side| produce(side, patched_and_signed(21, &[0, 0x10]))),
    ("log append time claimed", |side| produce(side, patched_and_signed(21, &[0, 8]))),
    ("unknown attributes", |side| produce(side, patched_and_signed(21, &[0x40, 0]))),
    ("a timestamp far ahead", |side| produce(side, Batch::of_values(i64::MAX / 2, &["x"]).encode())),
    ("a timestamp of -1", |side| produce(side, Batch::of_values(-1, &["x"]).encode())),
    ("a timestamp of -2", |side| produce(side, Batch::of_values(-2, &["x"]).encode())),
    ("larger than max.message.bytes", |side| {
        produce(side, Batch::of_values(NOW, &[vec![b'x'; 1_100_000]]).encode())
    }),
    ("as large as max.message.bytes", |side| {
        let empty = Batch::of_values(NOW, &[vec![b'x'; 1_000_000]]).encode().len() - 1_000_000;
        produce(side, Batch::of_values(NOW, &[vec![b'x'; 1_048_588 - empty]]).encode())
    }),
];

const IDEMPOTENCE: &[Case] = &[
    ("in order", |side| sequences(side, &[(0, 0), (0, 3), (0, 6)])),
    ("a duplicate of the last", |side| sequences(side, &[(0, 0), (0, 0)])),
    ("a duplicate of the fifth last", |side| {
        sequences(side, &[(0, 0), (0, 3), (0, 6), (0, 9), (0, 12), (0, 0)])
    }),
    ("a duplicate of the sixth last", |side| {
        sequences(side, &[(0, 0), (0, 3), (0, 6), (0, 9), (0, 12), (0, 15), (0, 0)])
    }),
    ("a gap", |side| sequences(side, &[(0, 0), (0, 4)])),
    ("an overlap", |side| sequences(side, &[(0, 0), (0, 2)])),
    ("not from 0", |side| sequences(side, &[(0, 9), (0, 12)])),
    ("an old epoch", |side| sequences(side, &[(1, 0), (0, 3)])),
    ("a new epoch from 0", |side| sequences(side, &[(0, 0), (1, 0), (1, 3)])),
    ("a new epoch not from 0", |side| sequences(side, &[(0, 0), (1, 3)])),
    ("sequence -1", |side| sequences(side, &[(0, -1)])),
    ("epoch -1", |side| sequences(side, &[(-1, 0)])),
    ("sequences that wrap", |side| sequences(side, &[(0, i32::MAX - 2), (0, 0)])),
    ("sequences that wrap in a batch", |side| sequences(side, &[(0, i32::MAX - 1), (0, 1)])),
    ("an id that nobody gave out", |side| produce(side, good().by_producer(123_456_789, 0, 0).encode())),
];

struct Fetch {
    version: i16,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    session: (i32, i32),
    isolation: i8,
    bytes_max: i32,
}

const FETCH: Fetch = Fetch {
    version: 12,
    partition: 0,
    offset: 0,
    leader_epoch: -1,
    session: (0, -1),
    isolation: 0,
    bytes_max: 1 << 20,
};

/// Fetches after producing three records; the answer is the codes, the bounds and how many bytes came.
fn fetch(side: &mut Side, how: &Fetch) -> String {
    produce(side, good().encode());
    let wanted = FetchPartition::default()
        .with_partition(how.partition)
        .with_fetch_offset(how.offset)
        .with_current_leader_epoch(how.leader_epoch)
        .with_partition_max_bytes(how.bytes_max);
    let topic = FetchTopic::default().with_partitions(vec![wanted]);
    let topic = if how.version >= 13 {
        topic.with_topic_id(side.topic_id)
    } else {
        topic.with_topic(topic_name(&side.topic))
    };
    let request = FetchRequest::default()
        .with_max_wait_ms(10)
        .with_min_bytes(1)
        .with_max_bytes(how.bytes_max)
        .with_isolation_level(how.isolation)
        .with_session_id(how.session.0)
        .with_session_epoch(how.session.1)
        .with_topics(vec![topic]);
    let Ok(answer) = side.connection.try_call(how.version, &request) else { return "closed".to_owned() };
    let session = if answer.session_id == 0 { "no session" } else { "a session" };
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|one| {
        let bytes = one.records.as_ref().map_or(0, bytes::Bytes::len);
        let (high, stable, start) = (one.high_watermark, one.last_stable_offset, one.log_start_offset);
        format!("error {}, high {high}, stable {stable}, start {start}, {bytes} B", one.error_code)
    });
    format!("error {}, {session}, {:?}", answer.error_code, partitions.collect::<Vec<_>>())
}

const FETCHES: &[Case] = &[
    ("from the start", |side| fetch(side, &FETCH)),
    ("by id", |side| fetch(side, &Fetch { version: 18, ..FETCH })),
    ("version 4", |side| fetch(side, &Fetch { version: 4, ..FETCH })),
    ("from within the batch", |side| fetch(side, &Fetch { offset: 1, ..FETCH })),
    ("from the end", |side| fetch(side, &Fetch { offset: 3, ..FETCH })),
    ("past the end", |side| fetch(side, &Fetch { offset: 4, ..FETCH })),
    ("from -1", |side| fetch(side, &Fetch { offset: -1, ..FETCH })),
    ("one byte at most", |side| fetch(side, &Fetch { bytes_max: 1, ..FETCH })),
    ("no bytes at most", |side| fetch(side, &Fetch { bytes_max: 0, ..FETCH })),
    ("a negative number of bytes at most", |side| fetch(side, &Fetch { bytes_max: -1, ..FETCH })),
    ("unknown partition", |side| fetch(side, &Fetch { partition: 5, ..FETCH })),
    ("unknown topic", |side| {
        side.topic = "nobody-made-this".to_owned();
        fetch(side, &FETCH)
    }),
    ("unknown topic id", |side| {
        side.topic_id = uuid::Uuid::from_bytes([7; 16]);
        fetch(side, &Fetch { version: 13, ..FETCH })
    }),
    ("zero topic id", |side| {
        side.topic_id = uuid::Uuid::nil();
        fetch(side, &Fetch { version: 13, ..FETCH })
    }),
    ("a leader epoch to come", |side| fetch(side, &Fetch { leader_epoch: 1_000_000, ..FETCH })),
    ("read committed", |side| fetch(side, &Fetch { isolation: 1, ..FETCH })),
    ("isolation level 9", |side| fetch(side, &Fetch { isolation: 9, ..FETCH })),
    ("a new session", |side| fetch(side, &Fetch { session: (0, 0), ..FETCH })),
    ("an unknown session", |side| fetch(side, &Fetch { session: (12_345, 1), ..FETCH })),
    ("session 0 at epoch 7", |side| fetch(side, &Fetch { session: (0, 7), ..FETCH })),
];

/// ListOffsets after producing three records.
fn list(side: &mut Side, version: i16, partition: i32, timestamp: i64, leader_epoch: i32) -> String {
    produce(side, good().encode());
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp)
        .with_current_leader_epoch(leader_epoch);
    let topic = ListOffsetsTopic::default().with_name(topic_name(&side.topic)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let Ok(answer) = side.connection.try_call(version, &request) else { return "closed".to_owned() };
    let answer = &answer.topics[0].partitions[0];
    format!("error {}, offset {}, time {}", answer.error_code, answer.offset, answer.timestamp)
}

/// OffsetForLeaderEpoch after producing three records.
fn epoch_end(side: &mut Side, partition: i32, current: i32, asked: i32) -> String {
    produce(side, good().encode());
    let wanted = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current)
        .with_leader_epoch(asked);
    let topic =
        OffsetForLeaderTopic::default().with_topic(topic_name(&side.topic)).with_partitions(vec![wanted]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let Ok(answer) = side.connection.try_call(4, &request) else { return "closed".to_owned() };
    let answer = &answer.topics[0].partitions[0];
    format!("error {}, end {}", answer.error_code, answer.end_offset)
}

const OFFSETS: &[Case] = &[
    ("latest", |side| list(side, 7, 0, -1, -1)),
    ("earliest", |side| list(side, 7, 0, -2, -1)),
    ("max timestamp", |side| list(side, 7, 0, -3, -1)),
    ("earliest local", |side| list(side, 8, 0, -4, -1)),
    ("latest tiered", |side| list(side, 9, 0, -5, -1)),
    ("max timestamp in a version without it", |side| list(side, 6, 0, -3, -1)),
    ("-99", |side| list(side, 7, 0, -99, -1)),
    ("at the time", |side| list(side, 7, 0, NOW, -1)),
    ("before the time", |side| list(side, 7, 0, 0, -1)),
    ("after the time", |side| list(side, 7, 0, NOW + 1, -1)),
    ("max timestamp of an empty partition", |side| list(side, 7, 1, -3, -1)),
    ("a time in an empty partition", |side| list(side, 7, 1, 0, -1)),
    ("version 1", |side| list(side, 1, 0, -1, -1)),
    ("unknown partition", |side| list(side, 7, 9, -1, -1)),
    ("unknown topic", |side| {
        side.topic = "nobody-made-this".to_owned();
        list(side, 7, 0, -1, -1)
    }),
    ("a leader epoch to come", |side| list(side, 7, 0, -1, 1_000_000)),
    ("end of an epoch to come", |side| epoch_end(side, 0, -1, 1_000_000)),
    ("end of an epoch, asked with an epoch to come", |side| epoch_end(side, 0, 1_000_000, 0)),
    ("end of epoch -1", |side| epoch_end(side, 0, -1, -1)),
    ("end of an epoch of an unknown partition", |side| epoch_end(side, 9, -1, 0)),
];

#[test]
fn produce_answers_as_kafka_does() {
    compare("produce", PRODUCE);
}

#[test]
fn idempotent_producers_are_judged_as_kafka_does() {
    compare("idempotence", IDEMPOTENCE);
}

#[test]
fn fetch_answers_as_kafka_does() {
    compare("fetch", FETCHES);
}

#[test]
fn offsets_are_looked_up_as_kafka_does() {
    compare("offsets", OFFSETS);
}

#[test]
fn a_fetch_session_lives_as_in_kafka() {
    compare(
        "session",
        &[("full, incremental, forgotten", |side| {
            produce(side, good().encode());
            let mut answers = Vec::new();
            let mut session = 0;
            for epoch in [0, 1, 2, 9] {
                let wanted = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
                let topic =
                    FetchTopic::default().with_topic(topic_name(&side.topic)).with_partitions(vec![wanted]);
                let request = FetchRequest::default()
                    .with_max_bytes(1 << 20)
                    .with_session_id(session)
                    .with_session_epoch(epoch)
                    .with_rack_id(text(""))
                    .with_topics(if epoch == 0 { vec![topic] } else { Vec::new() });
                let answer = side.connection.call(12, &request);
                session = answer.session_id.max(session);
                let bytes = answer.responses.iter().flat_map(|topic| &topic.partitions);
                let bytes: Vec<usize> =
                    bytes.map(|one| one.records.as_ref().map_or(0, bytes::Bytes::len)).collect();
                answers.push(format!("error {}, {bytes:?}", answer.error_code));
            }
            answers.join("; ")
        })],
    );
}

//! Transactions with everything that can be wrong about them, by requests of our own making.

use e2e::DEADLINE;
use e2e::batch::Batch;
use e2e::unique;
use e2e::wire::{init_transactions, text, topic_name};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest,
    ProduceRequest, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use std::time::Instant;

use super::{Case, Side, compare};

pub const NOW: i64 = 1_700_000_000_000;
pub const TIMEOUT_MS: i32 = 60_000;
/// Errors after which every client asks again: loading, elsewhere, being changed.
pub const AGAIN: [i16; 4] = [14, 15, 16, 51];

/// A transactional id of one case, and the producer that it was given.
pub struct Producer {
    pub name: TransactionalId,
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A new transactional id, initialised.
pub fn producer(side: &mut Side) -> Producer {
    let name = TransactionalId(text(&unique("oracle")));
    let (id, epoch) = init_transactions(&mut side.connection, &name, TIMEOUT_MS);
    Producer { name, id, epoch, sequence: 0 }
}

/// Asks until the answer is none of those after which clients ask again.
pub fn settled(mut ask: impl FnMut() -> i16) -> i16 {
    let end = Instant::now() + DEADLINE;
    loop {
        let error = ask();
        if !AGAIN.contains(&error) {
            return error;
        }
        assert!(Instant::now() < end, "error {error} again and again");
    }
}

pub fn initialise(side: &mut Side, name: &str, timeout_ms: i32, said: (i64, i16)) -> i16 {
    find(side, name, 1);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(name))))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(said.0.into())
        .with_producer_epoch(said.1);
    settled(|| side.connection.call(4, &request).error_code)
}

/// Adds partitions of the case's topic to the producer's transaction.
pub fn add(side: &mut Side, version: i16, producer: &Producer, partitions: &[i32]) -> Vec<i16> {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name(&side.topic))
        .with_partitions(partitions.to_vec());
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(producer.name.clone())
        .with_v3_and_below_producer_id(producer.id.into())
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(vec![topic]);
    let mut errors = Vec::new();
    settled(|| {
        let answer = side.connection.call(version, &request);
        // Kafka answers in no order.
        let mut lines = answer.results_by_topic_v3_and_below[0].results_by_partition.clone();
        lines.sort_by_key(|line| line.partition_index);
        errors = lines.iter().map(|line| line.partition_error_code).collect();
        errors[0]
    });
    errors
}

pub fn write(side: &mut Side, version: i16, producer: &mut Producer) -> i16 {
    let batch = Batch::of_values(NOW, &["one"])
        .by_producer(producer.id, producer.epoch, producer.sequence)
        .in_transaction();
    let error = send(side, version, Some(producer.name.clone()), &batch);
    producer.sequence += i32::from(error == 0);
    error
}

/// Produces to partition 0 of the case's topic.
pub fn send(side: &mut Side, version: i16, name: Option<TransactionalId>, batch: &Batch) -> i16 {
    let data = PartitionProduceData::default().with_records(Some(batch.encode().into()));
    let topic =
        TopicProduceData::default().with_name(topic_name(&side.topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(name)
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    settled(|| side.connection.call(version, &request).responses[0].partition_responses[0].error_code)
}

/// Ends the producer's transaction.
pub fn end(side: &mut Side, version: i16, producer: &Producer, committed: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(producer.name.clone())
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(committed);
    settled(|| side.connection.call(version, &request).error_code)
}

pub fn add_offsets(side: &mut Side, producer: &Producer, group: &str) -> i16 {
    find(side, group, 0);
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(producer.name.clone())
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_group_id(GroupId(text(group)));
    settled(|| side.connection.call(3, &request).error_code)
}

/// Looking for a coordinator makes the topic that groups (0) or transactional ids (1) live in.
fn find(side: &mut Side, key: &str, key_type: i8) {
    let find = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(key_type);
    assert_eq!(settled(|| side.connection.call(3, &find).error_code), 0);
}

/// Commits an offset for a partition of the case's topic, by a member of this generation.
pub fn commit(
    side: &mut Side,
    producer: &Producer,
    group: &str,
    generation: i32,
    partition: i32,
    note: &str,
) -> i16 {
    find(side, "any", 0);
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(1)
        .with_committed_metadata(Some(text(note)));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name(&side.topic))
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(producer.name.clone())
        .with_group_id(GroupId(text(group)))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_generation_id(generation)
        .with_topics(vec![topic]);
    settled(|| side.connection.call(3, &request).topics[0].partitions[0].error_code)
}

pub fn mark(side: &mut Side, topic: &str, partition: i32, producer: (i64, i16)) -> i16 {
    let topic = WritableTxnMarkerTopic::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![partition]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_transaction_result(false)
        .with_topics(vec![topic]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let answer = side.connection.call(1, &request);
    answer.markers[0].topics[0].partitions[0].error_code
}

/// When the one producer of partition 0 last wrote, or a transaction of it ended.
fn last_time(side: &mut Side) -> i64 {
    let topic = TopicRequest::default().with_name(topic_name(&side.topic)).with_partition_indexes(vec![0]);
    let answer = side.connection.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
    let [producer] = &answer.topics[0].partitions[0].active_producers[..] else { panic!("one: {answer:?}") };
    producer.last_timestamp
}

pub fn described(side: &mut Side, name: &str) -> String {
    let request =
        DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text(name))]);
    let mut state = String::new();
    let error = settled(|| {
        let answer = &side.connection.call(0, &request).transaction_states[0];
        state = answer.transaction_state.to_string();
        answer.error_code
    });
    format!("error {error}, state {state:?}")
}

const TRANSACTIONS: &[Case] = &[
    ("a timeout of 0", |side| format!("{}", initialise(side, &unique("t"), 0, (-1, -1)))),
    ("a timeout of hours", |side| format!("{}", initialise(side, &unique("t"), 900_001, (-1, -1)))),
    ("an empty id", |side| format!("{}", initialise(side, "", TIMEOUT_MS, (-1, -1)))),
    ("an id without an epoch", |side| format!("{}", initialise(side, &unique("t"), TIMEOUT_MS, (7, -1)))),
    ("a new id with a past", |side| format!("{}", initialise(side, &unique("t"), TIMEOUT_MS, (7, 3)))),
    ("the same instance again", |side| {
        let producer = producer(side);
        let name = producer.name.0.to_string();
        format!("{}", initialise(side, &name, TIMEOUT_MS, (producer.id, producer.epoch)))
    }),
    ("an instance of the future", |side| {
        let producer = producer(side);
        let name = producer.name.0.to_string();
        format!("{}", initialise(side, &name, TIMEOUT_MS, (producer.id, producer.epoch + 5)))
    }),
    ("an instance with another id", |side| {
        let producer = producer(side);
        let name = producer.name.0.to_string();
        format!("{}", initialise(side, &name, TIMEOUT_MS, (producer.id + 1_000_000, 0)))
    }),
    ("partitions of an unknown id", |side| {
        let mut producer = producer(side);
        producer.name = TransactionalId(text(&unique("unknown")));
        format!("{:?}", add(side, 3, &producer, &[0]))
    }),
    ("partitions of another producer", |side| {
        let mut producer = producer(side);
        producer.id += 1_000_000;
        format!("{:?}", add(side, 3, &producer, &[0]))
    }),
    ("partitions of a fenced instance", |side| {
        let old = producer(side);
        init_transactions(&mut side.connection, &old.name, TIMEOUT_MS);
        format!("{:?} and {:?}", add(side, 3, &old, &[0]), add(side, 1, &old, &[0]))
    }),
    ("partitions that there are not", |side| {
        let producer = producer(side);
        format!("{:?}", add(side, 3, &producer, &[0, 7]))
    }),
    ("an end of nothing", |side| {
        let producer = producer(side);
        format!("{} and {}", end(side, 3, &producer, true), end(side, 3, &producer, false))
    }),
    ("a commit twice", |side| {
        let producer = producer(side);
        add(side, 3, &producer, &[0]);
        format!("{} and {}", end(side, 3, &producer, true), end(side, 3, &producer, true))
    }),
    ("an abort after a commit", |side| {
        let producer = producer(side);
        add(side, 3, &producer, &[0]);
        format!("{} and {}", end(side, 3, &producer, true), end(side, 3, &producer, false))
    }),
    ("an end by a fenced instance", |side| {
        let old = producer(side);
        add(side, 3, &old, &[0]);
        init_transactions(&mut side.connection, &old.name, TIMEOUT_MS);
        format!("{} and {}", end(side, 3, &old, true), end(side, 1, &old, true))
    }),
    ("an end of an unknown id", |side| {
        let mut producer = producer(side);
        producer.name = TransactionalId(text(&unique("unknown")));
        format!("{}", end(side, 3, &producer, true))
    }),
    ("an abort of nothing that raises the epoch", |side| {
        let producer = producer(side);
        format!("{} and {}", end(side, 5, &producer, false), end(side, 5, &producer, false))
    }),
    ("a commit of nothing that raises the epoch", |side| {
        let producer = producer(side);
        format!("{}", end(side, 5, &producer, true))
    }),
    ("a batch before its partition is added", |side| {
        let mut producer = producer(side);
        format!("{} and {}", write(side, 9, &mut producer), write(side, 11, &mut producer))
    }),
    ("a batch that adds its partition", |side| {
        let mut producer = producer(side);
        format!("{}, then {}", write(side, 12, &mut producer), end(side, 5, &producer, true))
    }),
    ("a batch after its partition is added", |side| {
        let mut producer = producer(side);
        add(side, 3, &producer, &[0]);
        format!("{} and {}", write(side, 9, &mut producer), write(side, 9, &mut producer))
    }),
    ("a batch of a fenced instance", |side| {
        let mut old = producer(side);
        init_transactions(&mut side.connection, &old.name, TIMEOUT_MS);
        format!("{} and {}", write(side, 9, &mut old), write(side, 12, &mut old))
    }),
    ("a batch under an unknown id", |side| {
        let mut producer = producer(side);
        producer.name = TransactionalId(text(&unique("unknown")));
        format!("{}", write(side, 9, &mut producer))
    }),
    ("a batch under no id", |side| {
        let producer = producer(side);
        add(side, 3, &producer, &[0]);
        let batch =
            Batch::of_values(NOW, &["one"]).by_producer(producer.id, producer.epoch, 0).in_transaction();
        format!("{}", send(side, 9, None, &batch))
    }),
    ("a plain batch in a transaction", |side| {
        let mut producer = producer(side);
        add(side, 3, &producer, &[0]);
        let first = write(side, 9, &mut producer);
        let plain = Batch::of_values(NOW, &["one"]).by_producer(producer.id, producer.epoch, 1);
        format!("{first} and {}", send(side, 9, Some(producer.name), &plain))
    }),
    ("offsets of a group that was not added", |side| {
        let producer = producer(side);
        format!("{}", commit(side, &producer, &unique("g"), -1, 0, ""))
    }),
    ("offsets of a group that was added", |side| {
        let (producer, group) = (producer(side), unique("g"));
        format!("{} and {}", add_offsets(side, &producer, &group), commit(side, &producer, &group, -1, 0, ""))
    }),
    ("offsets of a generation of a group without members", |side| {
        let (producer, group) = (producer(side), unique("g"));
        format!("{} and {}", add_offsets(side, &producer, &group), commit(side, &producer, &group, 5, 0, ""))
    }),
    ("offsets of a partition that there is not", |side| {
        let (producer, group) = (producer(side), unique("g"));
        format!("{} and {}", add_offsets(side, &producer, &group), commit(side, &producer, &group, -1, 9, ""))
    }),
    ("offsets with a long note", |side| {
        let (producer, group) = (producer(side), unique("g"));
        let note = "n".repeat(5_000);
        let added = add_offsets(side, &producer, &group);
        format!("{added} and {}", commit(side, &producer, &group, -1, 0, &note))
    }),
    ("offsets of a group without a name", |side| {
        let producer = producer(side);
        format!("{} and {}", add_offsets(side, &producer, ""), commit(side, &producer, "", -1, 0, ""))
    }),
    ("offsets of a fenced instance", |side| {
        let (old, group) = (producer(side), unique("g"));
        init_transactions(&mut side.connection, &old.name, TIMEOUT_MS);
        format!("{} and {}", add_offsets(side, &old, &group), commit(side, &old, &group, -1, 0, ""))
    }),
    ("a marker of a stranger", |side| {
        let topic = side.topic.clone();
        format!("{}", mark(side, &topic, 0, (1_000_000_000, 0)))
    }),
    ("the time of a producer's last batch, and of the marker after it", |side| {
        let mut producer = producer(side);
        add(side, 3, &producer, &[0]);
        let written = write(side, 9, &mut producer);
        let of_batch = last_time(side) - NOW;
        let topic = side.topic.clone();
        let marked = mark(side, &topic, 0, (producer.id, producer.epoch));
        format!("{written}: {of_batch} ms, {marked}: later: {}", last_time(side) > NOW)
    }),
    ("a marker for what there is not", |side| {
        let topic = side.topic.clone();
        format!("{} and {}", mark(side, &topic, 9, (7, 0)), mark(side, "nobody-made-this", 0, (7, 0)))
    }),
    ("a marker of an old epoch", |side| {
        let mut producer = producer(side);
        init_transactions(&mut side.connection, &producer.name, TIMEOUT_MS);
        producer.epoch += 1;
        add(side, 3, &producer, &[0]);
        let written = write(side, 9, &mut producer);
        let topic = side.topic.clone();
        format!("{written} and {}", mark(side, &topic, 0, (producer.id, producer.epoch - 1)))
    }),
    ("a description of a new id", |side| {
        let name = producer(side).name.0.to_string();
        described(side, &name)
    }),
    ("a description of an open transaction", |side| {
        let producer = producer(side);
        add(side, 3, &producer, &[0]);
        described(side, &producer.name.0.to_string())
    }),
    ("a description of an unknown id", |side| described(side, &unique("unknown"))),
    ("a description of no id", |side| described(side, "")),
    ("a list of states that there are not", |side| {
        producer(side);
        let request = ListTransactionsRequest::default().with_state_filters(vec![text("Asleep")]);
        let answer = side.connection.call(1, &request);
        format!(
            "error {}, unknown {:?}, {} listed",
            answer.error_code,
            answer.unknown_state_filters,
            answer.transaction_states.len()
        )
    }),
    ("producers of what there is not", |side| {
        let topic =
            TopicRequest::default().with_name(topic_name(&side.topic)).with_partition_indexes(vec![0, 9]);
        let answer = side.connection.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
        let lines = answer.topics[0].partitions.iter();
        lines.map(|line| format!("error {}", line.error_code)).collect::<Vec<_>>().join(", ")
    }),
];

#[test]
fn transactions_are_refused_as_kafka_does() {
    compare("transactions", TRANSACTIONS);
}

//! What the broker keeps in memory stays within what it was given, whatever clients do.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use e2e::DEADLINE;
use e2e::batch::{self, Batch};
use e2e::broker::{Broker, Options, Target};
use e2e::figures::{await_figure, figure, figure_max};
use e2e::wire::{self, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use socket2::{Domain, Socket, Type};

const TOPIC: &str = "remembered";
const TIMESTAMP: i64 = 1_700_000_000_000;
const PRODUCERS: i32 = 20_000;
/// What a mebibyte holds of them, at about 200 bytes each.
const PRODUCERS_HELD_MAX: u64 = 6_000;

fn start(configs: &[(&str, &str)]) -> Broker {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let broker = Broker::start(Target::Iolite, &Options { shards: 1, configs, ..Options::default() });
    wire::create_topic(broker.kafka(), TOPIC, 1, &[]);
    broker
}

fn produce(batch: &Batch) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.encode().into()));
    let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// The first batch of a producer.
fn first_of(producer: i32) -> Batch {
    Batch::of_values(TIMESTAMP, &[producer.to_string()]).by_producer(i64::from(producer), 0, 0)
}

/// Produces one batch and says where it lies.
fn offset_of(address: SocketAddr, batch: &Batch) -> i64 {
    let answer = Connection::open(address).call(9, &produce(batch));
    let line = &answer.responses[0].partition_responses[0];
    assert_eq!(line.error_code, 0);
    line.base_offset
}

/// Many producers write one batch each, on one connection, without waiting.
fn produce_by_many(address: SocketAddr) {
    let mut sending = Connection::open(address);
    let mut receiving = sending.share();
    thread::scope(|scope| {
        scope.spawn(move || {
            for producer in 0..PRODUCERS {
                sending.send(&encode_request(producer, 9, &produce(&first_of(producer)))).expect("sent");
            }
        });
        for producer in 0..PRODUCERS {
            let frame = receiving.receive().expect("the broker answers");
            let answer = decode_response::<ProduceRequest>(frame, producer, 9);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    });
}

#[test]
fn producers_beyond_their_memory_are_forgotten_the_eldest_first() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(&[("memory.producers.bytes", "1MiB")]);
    produce_by_many(broker.kafka());
    let held = await_figure(&broker, "iolite_producer_ids", |count| (1..PRODUCERS_HELD_MAX).contains(&count));
    assert!(held > PRODUCERS_HELD_MAX / 4, "only {held} are left");
    let last = PRODUCERS - 1;
    assert_eq!(offset_of(broker.kafka(), &first_of(last)), i64::from(last), "a repetition is known as one");
    assert_eq!(offset_of(broker.kafka(), &first_of(0)), i64::from(PRODUCERS), "the eldest was forgotten");
}

#[test]
fn silent_producers_expire() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let expiration =
        [("producer.id.expiration.ms", "500"), ("producer.id.expiration.check.interval.ms", "100")];
    let broker = start(&expiration);
    assert_eq!(offset_of(broker.kafka(), &first_of(7)), 0);
    let began = Instant::now();
    // Until it is forgotten its batch is a repetition, which does not make it any younger.
    while offset_of(broker.kafka(), &first_of(7)) == 0 {
        assert!(began.elapsed() < DEADLINE, "it is remembered still");
    }
}

const BATCHES: i32 = 64;
const BATCH_BYTES: usize = 900_000;
const DEAF_CLIENTS: usize = 50;
/// What they ask for in all is a hundred times as much.
const GROWTH_BYTES_MAX: u64 = 160 << 20;

fn fetch(offset: i64) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(50 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Clients ask for records again and again and never read an answer; the records come from the disk, so that each answer
/// is memory of its own. The broker stays small, and another client reads all there is.
#[test]
fn records_that_nobody_takes_are_not_read() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(&[("memory.bytes", "256MiB"), ("memory.tail.bytes", "1MiB")]);
    let address = broker.kafka();
    let value = vec![b'x'; BATCH_BYTES];
    for offset in 0..i64::from(BATCHES) {
        assert_eq!(offset_of(address, &Batch::of_values(TIMESTAMP, &[&value])), offset);
    }
    let before = figure(&broker, "process_resident_memory_bytes");
    let request = encode_request(1, 11, &fetch(0));
    let length = u32::try_from(request.len()).expect("short").to_be_bytes();
    let requests = [&length[..], &request].concat().repeat(4);
    let mut deaf: Vec<TcpStream> =
        (0..DEAF_CLIENTS).map(|_| TcpStream::connect(address).expect("connected")).collect();
    for connection in &mut deaf {
        std::io::Write::write_all(connection, &requests).expect("sent");
    }
    let mut connection = Connection::open(address);
    let mut next = 0;
    while next < i64::from(BATCHES) {
        let answer = connection.call(11, &fetch(next));
        let line = &answer.responses[0].partitions[0];
        assert_eq!((answer.error_code, line.error_code), (0, 0));
        let read = batch::walk(line.records.as_ref().expect("there are records"));
        assert_eq!(read.first().map(|record| record.offset), Some(next));
        next += i64::try_from(read.len()).expect("few");
        let grown = figure(&broker, "process_resident_memory_bytes").saturating_sub(before);
        assert!(grown <= GROWTH_BYTES_MAX, "grew by {grown} B");
    }
    drop(deaf);
}

const REPLIES_BYTES_MAX: u64 = 4 << 20;
/// Beyond its limit the memory of replies holds the one that was made last.
const REPLY_BYTES_MAX: u64 = 1 << 20;
/// More replies than the kernel takes for a connection that receives into so little.
const DEAF_REQUESTS: usize = 64;
const DEAF_RECEIVE_BYTES: usize = 16 << 10;

/// Clients ask for the metadata of many partitions, again and again, and never read an answer. What is made for them stays
/// within the memory for replies, and another client is answered as soon as they are given up.
#[test]
fn descriptions_that_nobody_takes_are_not_made() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start(&[("memory.replies.bytes", "4MiB")]);
    let address = broker.kafka();
    for number in 0..5 {
        wire::create_topic(address, &format!("wide-{number}"), 1000, &[]);
    }
    let request = encode_request(1, 9, &MetadataRequest::default().with_topics(None));
    let length = u32::try_from(request.len()).expect("short").to_be_bytes();
    let requests = [&length[..], &request].concat().repeat(DEAF_REQUESTS);
    let deaf: Vec<Socket> = (0..DEAF_CLIENTS)
        .map(|_| {
            let mut connection = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            connection.set_recv_buffer_size(DEAF_RECEIVE_BYTES).expect("a new socket");
            connection.connect(&address.into()).expect("connected");
            std::io::Write::write_all(&mut connection, &requests).expect("sent");
            connection
        })
        .collect();
    await_figure(&broker, "iolite_reply_memory_bytes", |bytes| bytes >= REPLIES_BYTES_MAX);
    thread::scope(|scope| {
        let everything = MetadataRequest::default().with_topics(None);
        let patient = scope.spawn(move || Connection::open(address).call(9, &everything));
        let held_max = figure_max(&broker, "iolite_reply_memory_bytes", || patient.is_finished());
        assert!(held_max <= REPLIES_BYTES_MAX + REPLY_BYTES_MAX, "replies held {held_max} B");
        assert_eq!(patient.join().expect("it was answered").topics.len(), 6);
    });
    drop(deaf);
}

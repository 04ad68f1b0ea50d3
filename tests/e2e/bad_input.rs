//! Clients that misbehave for long or in numbers: the broker stays up, small and quick for all others.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use e2e::batch::Batch;
use e2e::broker::{self, Broker, Options, Target};
use e2e::figures::figure;
use e2e::wire::{self, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, FetchRequest, MetadataRequest, ProduceRequest};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// What misbehaving connections may cost in all.
const GROWTH_BYTES_MAX: u64 = 256 << 20;
const IDLE_CONNECTIONS: usize = 2_000;
/// How long a well-behaved client may have to wait meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A broker of the test's own: what it does to it must not reach the others.
fn start() -> Broker {
    let broker = Broker::start(Target::chosen(), &Options::default());
    wire::create_topic(broker.kafka(), "good", 1, &[]);
    broker
}

/// An everyday request on a new connection is answered, and soon.
fn serves(broker: &mut Broker) {
    broker.assert_alive();
    let began = Instant::now();
    let data = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Batch::of_values(1_700_000_000_000, &["still here"]).encode().into()));
    let topic = TopicProduceData::default().with_name(topic_name("good")).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    let answer = Connection::open(broker.kafka()).call(9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert!(began.elapsed() < ANSWER_DEADLINE, "others waited for {:?}", began.elapsed());
}

/// The process's memory, as the kernel counts it.
fn resident_bytes(broker: &Broker) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", broker.process().id())).expect("the broker lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kibibytes * 1024
}

/// Fails if the broker has grown by more than misbehaviour may cost. Java's heap is not ours to judge.
fn assert_small(broker: &Broker, before: u64) {
    let now = resident_bytes(broker);
    let grown = now.saturating_sub(before);
    assert!(broker.target() == Target::Kafka || grown <= GROWTH_BYTES_MAX, "grew by {grown} B to {now} B");
}

/// A frame announced in full length and never sent costs nothing. (Apache Kafka pays, and with a heap of 1 GiB stops
/// answering.)
#[test]
fn announced_frames_are_not_paid_for_in_advance() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start();
    let before = resident_bytes(&broker);
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::open(broker.kafka());
        // 90 MiB: allowed by the default limit of 100 MiB.
        let announced = [&(90_u32 << 20).to_be_bytes()[..], &[0, 0, 0, 9, 0, 0]].concat();
        connection.send_bytes(&announced).expect("sent");
        held.push(connection);
    }
    serves(&mut broker);
    assert_small(&broker, before);
    drop(held);
    serves(&mut broker);
}

#[test]
fn thousands_of_idle_connections() {
    let mut broker = start();
    let before = resident_bytes(&broker);
    let idle: Vec<TcpStream> =
        (0..IDLE_CONNECTIONS).map(|_| TcpStream::connect(broker.kafka()).expect("connected")).collect();
    serves(&mut broker);
    assert_small(&broker, before);
    drop(idle);
    serves(&mut broker);
}

/// A client that asks and never reads is not served for ever from memory.
#[test]
fn answers_that_nobody_reads() {
    let mut broker = start();
    let before = resident_bytes(&broker);
    for topic in 0..20 {
        wire::create_topic(broker.kafka(), &format!("filler-{topic}"), 50, &[]);
    }
    let body = encode_request(1, 12, &MetadataRequest::default().with_topics(None));
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let piece: Vec<u8> = [&length[..], &body].concat().repeat(1_000);
    let mut deaf: Vec<TcpStream> =
        (0..4).map(|_| TcpStream::connect(broker.kafka()).expect("connected")).collect();
    for connection in &mut deaf {
        connection.set_nonblocking(true).expect("a socket option");
        for _ in 0..20 {
            // Stops where the broker stops reading: that is the point.
            let Ok(_written) = std::io::Write::write(connection, &piece) else { break };
        }
    }
    serves(&mut broker);
    assert_small(&broker, before);
}

#[test]
fn garbage_of_every_api_and_version() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut broker = start();
    let before = resident_bytes(&broker);
    for key in 0..=76_i16 {
        let Ok(api) = ApiKey::try_from(key) else { continue };
        let versions = api.valid_versions();
        for version in versions.min..=versions.max {
            for _ in 0..3 {
                let mut body = vec![0; random.random_range(0..200)];
                random.fill_bytes(&mut body);
                let header =
                    [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 0xff, 0xff, 0]].concat();
                let mut connection = Connection::open(broker.kafka());
                // Refused or answered, both will do: what counts is that the broker lives.
                let _sent = connection.send(&[header, body].concat());
                connection.finish_sending();
                drop(connection);
            }
        }
        broker.assert_alive();
    }
    serves(&mut broker);
    assert_small(&broker, before);
}

/// Valid requests with single bytes changed: what passes the framing reaches the handlers.
#[test]
fn requests_with_a_flipped_byte() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut broker = start();
    let data = PartitionProduceData::default()
        .with_records(Some(Batch::of_values(1_700_000_000_000, &["one", "two"]).encode().into()));
    let topic = TopicProduceData::default().with_name(topic_name("good")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(100).with_topic_data(vec![topic]);
    for version in 3..=12 {
        let body = encode_request(1, version, &request);
        for _ in 0..60 {
            let mut broken = body.to_vec();
            let at = random.random_range(4..broken.len());
            broken[at] ^= 1 << random.random_range(0..8);
            let mut connection = Connection::open(broker.kafka());
            let _sent = connection.send(&broken);
            connection.finish_sending();
        }
        broker.assert_alive();
    }
    serves(&mut broker);
}

/// Half a frame and an end: many times, nothing left behind.
#[test]
fn half_frames() {
    let mut broker = start();
    let before = resident_bytes(&broker);
    let body = encode_request(1, 12, &MetadataRequest::default().with_topics(None));
    for cut in 0..body.len() {
        for _ in 0..20 {
            let mut connection = Connection::open(broker.kafka());
            let length = u32::try_from(body.len()).expect("short").to_be_bytes();
            let _sent = connection.send_bytes(&[&length[..], &body[..cut]].concat());
        }
    }
    serves(&mut broker);
    assert_small(&broker, before);
}

/// Null records in a produce request; Apache Kafka never answers them at all.
#[test]
fn null_records_are_answered() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let topic = e2e::unique("null-records");
    let address = broker::shared().kafka();
    wire::create_topic(address, &topic, 1, &[]);
    for version in [3, 9, 12] {
        let data = PartitionProduceData::default().with_records(None);
        let data = TopicProduceData::default().with_name(topic_name(&topic)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![data]);
        let answer = Connection::open(address).call(version, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 87, "INVALID_RECORD, v{version}");
    }
}

/// A name of a few bytes stands for a hundred partitions: it is not worth more the more often it comes.
#[test]
fn what_is_asked_again_and_again_is_answered_once() {
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    let mut broker = start();
    wire::create_topic(broker.kafka(), "t", 100, &[]);
    let before = resident_bytes(&broker);
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic; 100_000]));
    let answer = Connection::open(broker.kafka()).call(9, &request);
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].partitions.len(), 100);
    let wanted = FetchPartition::default().with_partition(7).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![wanted; 100_000]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let answer = Connection::open(broker.kafka()).call(11, &request);
    assert_eq!(answer.error_code, 0);
    let partitions: Vec<i32> = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|line| line.partition_index)
        .collect();
    assert_eq!(partitions, [7]);
    assert_small(&broker, before);
    serves(&mut broker);
}

/// A client asks for many topics that are not there: they are made together, and those that can't be hinder no other.
#[test]
fn topics_that_are_asked_for_by_the_thousand_are_there_with_the_answer() {
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    const NAMES: usize = 1_200;
    const INVALID_TOPIC: i16 = 17;
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start();
    let mut names: Vec<String> = (0..NAMES).map(|number| format!("wanted.{number}")).collect();
    names[7] = "good".to_owned();
    names[9] = "no/name".to_owned();
    names[11] = "wanted_12".to_owned();
    let asked = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_allow_auto_topic_creation(true)
        .with_topics(Some(names.iter().map(asked).collect()));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = Connection::open(broker.kafka()).call(12, &request);
        assert_eq!(answer.topics.len(), NAMES);
        for (place, (name, topic)) in names.iter().zip(&answer.topics).enumerate() {
            let expected = if matches!(place, 9 | 12) { INVALID_TOPIC } else { 0 };
            assert_eq!(
                (topic.name.as_ref(), topic.error_code),
                (Some(&topic_name(name)), expected),
                "{name}"
            );
            assert_eq!(topic.partitions.len(), usize::from(expected == 0), "{name}");
        }
        ids.push(answer.topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>());
    }
    assert_eq!(ids[0], ids[1], "each is made once");
    serves(&mut broker);
}

/// A commit of six million offsets, 84 MB, within the limit of a request: it would take four times as much once it is decoded.
#[test]
fn a_request_of_too_many_small_things_is_refused_before_it_is_decoded_whole() {
    const OFFSETS: u32 = 6_000_000;
    // A partition, an offset, and no metadata.
    const OFFSET_BYTES: usize = 4 + 8 + 2;
    if Target::chosen() == Target::Kafka {
        return;
    }
    let mut broker = start();
    let before = resident_bytes(&broker);
    // OffsetCommit version 2, correlation id 1, no client id.
    let mut request = vec![0, 8, 0, 2, 0, 0, 0, 1, 0xff, 0xff];
    // The group "g", no generation, no member, no retention, one topic "t".
    request
        .extend_from_slice(b"\0\x01g\xff\xff\xff\xff\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01\0\x01t");
    request.extend_from_slice(&OFFSETS.to_be_bytes());
    request.resize(request.len() + usize::try_from(OFFSETS).expect("it fits") * OFFSET_BYTES, 0);
    let mut connection = Connection::open(broker.kafka());
    connection.send(&request).expect("the broker takes what is within its limit");
    assert!(connection.receive().is_err(), "it is not answered, and its connection is closed");
    assert_small(&broker, before);
    serves(&mut broker);
}

/// Batches of some hundred kilobytes at most that unfold to sixty mebibytes each, for topics whose records are looked into.
const BOMBS_PER_TOPIC: i32 = 6;
const BOMB_VALUE_BYTES: usize = 60 << 20;
/// What all of them take together, unfolded.
const BOMBS_BYTES: u64 = BOMB_VALUE_BYTES as u64 * 2 * BOMBS_PER_TOPIC.unsigned_abs() as u64;
/// A shard that worked on them itself would serve nobody between the first and the last of them.
const SERVED_MEANWHILE_MIN: u32 = 4;

fn bomb(compression: Compression) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(vec![0; BOMB_VALUE_BYTES].into()),
        headers: IndexMap::default(),
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut batch, [&record], &options).expect("it can be encoded");
    assert!(batch.len() < 1_000_000, "{} bytes", batch.len());
    batch.freeze()
}

/// One request to two topics, with the same batch for each of so many partitions.
fn produce_to_all(partitions: i32, compacted: &Bytes, recompressed: &Bytes) -> ProduceRequest {
    let topics = [("compacted", compacted), ("recompressed", recompressed)].map(|(name, records)| {
        let data = (0..partitions).map(|partition| {
            PartitionProduceData::default().with_index(partition).with_records(Some(records.clone()))
        });
        TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data.collect())
    });
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(topics.to_vec())
}

/// One client's batches keep a thread busy for seconds. The shard goes on serving others, and takes each partition's
/// batches in the order in which they came.
#[test]
fn batches_that_unfold_to_much_hold_up_nobody() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    // A poll this long would be told of.
    let configs = vec![("shard.stall.ms".to_owned(), "1000".to_owned())];
    let mut broker = Broker::start(Target::Iolite, &Options { shards: 1, configs, ..Options::default() });
    wire::create_topic(broker.kafka(), "good", 1, &[]);
    wire::create_topic(broker.kafka(), "compacted", BOMBS_PER_TOPIC, &[("cleanup.policy", "compact")]);
    wire::create_topic(broker.kafka(), "recompressed", BOMBS_PER_TOPIC, &[("compression.type", "lz4")]);
    let bombs = produce_to_all(BOMBS_PER_TOPIC, &bomb(Compression::Gzip), &bomb(Compression::Zstd));
    let small = Batch::of_key(1_700_000_000_000, b"key", b"small").encode().into();
    let small = produce_to_all(BOMBS_PER_TOPIC, &small, &small);
    let before = resident_bytes(&broker);
    let mut bomber = Connection::open(broker.kafka());
    for (correlation, request) in [(1, &bombs), (2, &small)] {
        bomber.send(&encode_request(correlation, 9, request)).expect("sent");
    }
    let mut served = 0;
    while !bomber.has_something_to_read() {
        serves(&mut broker);
        served += 1;
    }
    println!("others were served {served} times meanwhile");
    assert!(served >= SERVED_MEANWHILE_MIN, "others were served {served} times meanwhile");
    for (offset, correlation) in [(0, 1), (1, 2)] {
        let frame = bomber.receive().expect("the broker answers");
        let answer = decode_response::<ProduceRequest>(frame, correlation, 9);
        for line in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
            assert_eq!((line.error_code, line.base_offset), (0, offset), "partition {}", line.index);
        }
    }
    assert_eq!(
        figure(&broker, "prepared_aside_batches_total"),
        u64::from(BOMBS_PER_TOPIC.unsigned_abs()) * 2
    );
    let stuck = broker.process().lines().into_iter().find(|line| line.contains("stuck in"));
    assert_eq!(stuck, None);
    let grown = resident_bytes(&broker).saturating_sub(before);
    println!("the broker has grown by {grown} B");
    assert!(grown < BOMBS_BYTES / 2, "grew by {grown} B");
}

//! Clients that misbehave for long or in numbers: the broker stays up, small and quick for all others.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::batch::Batch;
use e2e::broker::{self, Broker, Options, Target};
use e2e::wire::{self, Connection, encode_request, topic_name};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, FetchRequest, MetadataRequest, ProduceRequest};
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

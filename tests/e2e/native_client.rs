//! The project's own client, against whichever broker is under test: what it writes is what it and others read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use client::admin::NewTopic;
use client::consumer::{ConsumerOptions, Start};
use client::producer::{Acks, Header, ProducerOptions};
use client::protocol::compression::Compression;
use client::protocol::types::{Offset, PartitionIndex, Timestamp};
use client::{Client, ClientOptions, Partition};
use e2e::broker::{self, Broker, Options, Target, free_port};
use e2e::ledger::Stamp;
use e2e::records::{Maker, Record};
use e2e::{DEADLINE, unique, wire};

use crate::suite::placed;

const PARTITIONS: i32 = 3;

/// Runs on an executor of the test's thread with a client of the broker.
fn with_client<T>(address: SocketAddr, work: impl AsyncFnOnce(Client) -> T) -> T {
    let main = || async move {
        let options = ClientOptions::new([address.to_string()]);
        work(Client::connect(options).await.expect("the broker answers")).await
    };
    client::executor::run(None, main).expect("an executor")
}

/// Everyday records and all that is awkward about records, over all partitions.
fn samples(seed: u64) -> Vec<Record> {
    let mut make = Maker::new(seed);
    let mut records: Vec<Record> = (0..PARTITIONS)
        .flat_map(|partition| {
            let mut null = Record::new(partition, "").at(1_700_000_000_000);
            null.value = None;
            let twice = Record::new(partition, "v").at(1_700_000_000_000).key("");
            let twice = twice.header("h", None).header("h", Some(b"")).header("h", Some(b"x"));
            [null, twice, Record::new(partition, vec![7; 100_000]).at(1_699_999_999_999)]
        })
        .collect();
    records.extend((0..600).map(|number| make.record(number % PARTITIONS, 3_000)));
    records
}

async fn write(client: &Client, topic: &str, options: ProducerOptions, records: &[Record]) -> Vec<i64> {
    let producer = client.producer(options).await.expect("a producer");
    let topic = producer.topic(topic).await.expect("the topic");
    let mut deliveries = Vec::new();
    for record in records {
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let record = client::producer::Record {
            partition: Some(PartitionIndex(record.partition)),
            timestamp: record.timestamp.map(Timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            token: 0,
        };
        deliveries.push(producer.send(&topic, &record).await.expect("it is taken"));
    }
    producer.flush().await;
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.expect("it is delivered").offset.map_or(-1, Offset::get));
    }
    producer.close().await;
    assert_eq!(producer.held_bytes(), 0, "nothing is held of what was delivered");
    offsets
}

/// Reads `count` records from the start of all partitions, by partition.
async fn read(client: &Client, topic: &str, options: ConsumerOptions, count: usize) -> Vec<Record> {
    let consumer = client.consumer(options);
    let partitions: Vec<(Partition, Start)> =
        (0..PARTITIONS).map(|index| (Partition::new(topic, index), Start::Earliest)).collect();
    consumer.assign(&partitions).await.expect("there is a start");
    let mut records = Vec::new();
    while records.len() < count {
        let fetched = consumer.next().await.expect("records");
        let each = |record: &client::consumer::Record<'_>| {
            let headers = record.headers.iter().map(|header| {
                let header = header.expect("a header");
                (String::from_utf8(header.key.to_vec()).expect("text"), header.value.map(<[u8]>::to_vec))
            });
            records.push(Record {
                partition: fetched.partition().get(),
                offset: record.offset.get(),
                timestamp: Some(record.timestamp.get()),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            });
        };
        fetched.for_each(each).expect("readable");
    }
    records.sort_by_key(|record| record.partition);
    records
}

#[test]
fn it_reads_what_it_wrote() {
    round_trips();
}

/// Every compression, several partitions; acks from the leader alone and from all, idempotent and not.
pub fn round_trips() {
    with_client(broker::shared().kafka(), async |client| {
        for (number, compression) in (0..).zip(Compression::ALL) {
            let topic = unique(&format!("native-{compression}"));
            let new = NewTopic { configs: &[("retention.ms", "-1")], ..NewTopic::new(&topic, PARTITIONS) };
            client.admin().create_topics(&[new]).await.expect("a topic");
            let records = samples(number);
            let options = ProducerOptions {
                compression,
                idempotent: number % 2 == 0,
                acks: if number % 2 == 0 { Acks::All } else { Acks::Leader },
                linger: Duration::from_millis(number),
                ..ProducerOptions::default()
            };
            let expected = placed(&records);
            let offsets = write(&client, &topic, options, &records).await;
            let mut told: Vec<(i32, i64)> =
                records.iter().map(|record| record.partition).zip(offsets).collect();
            told.sort_unstable();
            let due: Vec<(i32, i64)> =
                expected.iter().map(|record| (record.partition, record.offset)).collect();
            assert_eq!(told, due, "{compression}: offsets told and offsets due");
            let read = read(&client, &topic, ConsumerOptions::default(), expected.len()).await;
            assert!(read == expected, "{compression}: {} records read", read.len());
        }
    });
}

/// What is sent without acks arrives as well, in order, as long as nothing breaks.
#[test]
fn it_reads_what_was_sent_without_acks() {
    with_client(broker::shared().kafka(), async |client| {
        let topic = unique("native-unacked");
        // Who wants no acks is not told either that a leader is not ready yet: this one waits until all are.
        wire::create_topic(broker::shared().kafka(), &topic, PARTITIONS, &[("retention.ms", "-1")]);
        let records = samples(77);
        let options = ProducerOptions { acks: Acks::None, ..ProducerOptions::default() };
        let offsets = write(&client, &topic, options, &records).await;
        assert!(offsets.iter().all(|offset| *offset == -1), "nobody tells offsets");
        let expected = placed(&records);
        let read = read(&client, &topic, ConsumerOptions::default(), expected.len()).await;
        assert!(read == expected, "{} records read", read.len());
    });
}

/// How often the broker is killed, and how many records are acknowledged between two kills.
const KILLS: u64 = 3;
const RECORDS_A_ROUND: u64 = 3_000;
/// Records that may wait for their fate.
const UNDECIDED_MAX: usize = 500;

/// The broker is killed again and again under an idempotent producer: each record arrives once, and in order.
#[test]
fn a_killed_broker_costs_no_record_and_no_order() {
    let options = Options { port: free_port(), ..Options::default() };
    let mut broker = Broker::start(Target::chosen(), &options);
    wire::create_topic(broker.kafka(), "killed", PARTITIONS, &[("retention.ms", "-1")]);
    let address = broker.kafka();
    let (round_done, rounds) = mpsc::channel();
    let (killed, kills) = mpsc::channel();
    let producer = thread::spawn(move || {
        with_client(address, async |client| produce_through_kills(&client, &round_done, &kills).await)
    });
    for _ in 0..KILLS {
        rounds.recv_timeout(DEADLINE).expect("the producer gets on");
        broker = Broker::start_on(broker.kill(), Target::chosen(), &options);
        killed.send(()).expect("the producer is at work");
    }
    let sent = producer.join().expect("every record is delivered");
    let read = with_client(address, async |client| {
        read(&client, "killed", ConsumerOptions::default(), usize::try_from(sent).expect("few")).await
    });
    let mut next = [0_u64; 3];
    for record in &read {
        let place = usize::try_from(record.partition).expect("a partition");
        let stamp = Stamp { incarnation: 0, partition: record.partition, producer: 0, number: next[place] };
        assert_eq!(record.value.as_deref(), Some(&*stamp.value()), "{record:?} where {stamp:?} is due");
        next[place] += 1;
    }
    assert_eq!(next.iter().sum::<u64>(), sent);
}

/// Sends until as many kills were seen as there are to be and another round is done; how many records there were.
async fn produce_through_kills(
    client: &Client,
    round_done: &mpsc::Sender<()>,
    kills: &mpsc::Receiver<()>,
) -> u64 {
    let options = ProducerOptions { batch_bytes_max: 2_000, ..ProducerOptions::default() };
    let producer = client.producer(options).await.expect("a producer");
    let topic = producer.topic("killed").await.expect("the topic");
    let mut undecided = VecDeque::new();
    let (mut sent, mut acked, mut seen, mut last_round) = (0, 0, 0, 0);
    while seen < KILLS || acked < last_round + RECORDS_A_ROUND {
        let partition = i32::try_from(sent % 3).expect("small");
        let value = Stamp { incarnation: 0, partition, producer: 0, number: sent / 3 }.value();
        let record = client::producer::Record {
            partition: Some(PartitionIndex(partition)),
            ..client::producer::Record::of_value(&value)
        };
        undecided.push_back(producer.send(&topic, &record).await.expect("it is taken"));
        sent += 1;
        while undecided.len() > UNDECIDED_MAX {
            let delivery = undecided.pop_front().expect("there are many");
            delivery.await.expect("it is delivered, by whichever attempt");
            acked += 1;
        }
        if kills.try_recv().is_ok() {
            seen += 1;
            last_round = acked;
        }
        // The main thread kills once for each round, and not while the broker is still on its way back.
        if acked >= (last_round + RECORDS_A_ROUND) && seen < KILLS {
            last_round = u64::MAX - RECORDS_A_ROUND;
            round_done.send(()).expect("the test waits");
        }
    }
    for delivery in undecided {
        delivery.await.expect("it is delivered, by whichever attempt");
    }
    producer.close().await;
    sent
}

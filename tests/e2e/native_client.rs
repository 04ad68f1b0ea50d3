//! The project's own client, against whichever broker is under test: what it writes is what it and others read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use client::admin::{GroupKind, GroupState, NewTopic, TransactionState};
use client::consumer::{ConsumeProblem, ConsumerOptions, OffsetReset, Start};
use client::group::{GroupConsumer, GroupOptions};
use client::producer::{Acks, DeliveredBatch, DeliveryListener, ProducerOptions};
use client::protocol::batch::Encoding;
use client::protocol::compression::Compression;
use client::protocol::error::KafkaError;
use client::protocol::types::{Offset, PartitionIndex, Timestamp};
use client::{Client, ClientError, ClientOptions, Partition};
use e2e::broker::{self, Broker, Options, Target, free_port};
use e2e::ledger::Stamp;
use e2e::records::{Maker, Record};
use e2e::{DEADLINE, unique, wire};

use crate::suite::placed;

const PARTITIONS: i32 = 3;

/// Runs on an executor of the test's thread with a client of the broker.
pub fn with_client<T>(address: SocketAddr, work: impl AsyncFnOnce(Client) -> T) -> T {
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

pub async fn write(client: &Client, topic: &str, options: ProducerOptions, records: &[Record]) -> Vec<i64> {
    let producer = client.producer(options).await.expect("a producer");
    let topic = producer.topic(topic).await.expect("the topic");
    let mut deliveries = Vec::new();
    for record in records {
        let headers = record.borrowed_headers();
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

#[test]
fn it_reads_what_it_wrote_natively() {
    round_trips_in(Encoding::Native);
}

pub fn round_trips() {
    round_trips_in(Encoding::Kafka);
}

/// Every compression, several partitions; acks from the leader alone and from all, idempotent and not.
fn round_trips_in(encoding: Encoding) {
    with_client(broker::shared().kafka(), async |client| {
        for (number, compression) in (0..).zip(Compression::ALL) {
            let topic = unique(&format!("native-{compression}"));
            let new = NewTopic { configs: &[("retention.ms", "-1")], ..NewTopic::new(&topic, PARTITIONS) };
            client.admin().create_topics(&[new]).await.expect("a topic");
            let records = samples(number);
            let options = ProducerOptions {
                encoding,
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

/// A producer gathers more into a batch than the topic takes: it goes in parts, and nothing is lost or out of order.
#[test]
fn batches_that_are_too_large_for_the_topic_go_in_parts() {
    with_client(broker::shared().kafka(), async |client| {
        let topic = unique("native-parts");
        let small = [("retention.ms", "-1"), ("max.message.bytes", "5000")];
        let new = NewTopic { configs: &small, ..NewTopic::new(&topic, PARTITIONS) };
        client.admin().create_topics(&[new]).await.expect("a topic");
        let mut make = Maker::new(9);
        let records: Vec<Record> = (0..300).map(|number| make.record(number % PARTITIONS, 1_000)).collect();
        let options = ProducerOptions {
            batch_bytes_max: 100_000,
            linger: Duration::from_secs(3600),
            ..ProducerOptions::default()
        };
        let expected = placed(&records);
        write(&client, &topic, options, &records).await;
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

/// Notes what it is told.
#[derive(Default)]
struct Notes(RefCell<Vec<(u64, PartitionIndex, Offset)>>);

impl DeliveryListener for Notes {
    fn delivered(&self, batch: &DeliveredBatch<'_>) {
        let acked = batch.outcome.as_ref().expect("it is delivered");
        let first = acked.offset.expect("offsets are told");
        let told =
            batch.tokens.iter().zip(0..).map(|(token, place)| (*token, acked.partition, first.plus(place)));
        self.0.borrow_mut().extend(told);
    }
}

/// A producer with hardly any memory makes its caller wait, and loses nothing; a listener hears of each record once.
#[test]
fn memory_is_bounded_and_a_listener_hears_of_every_record() {
    const MEMORY: usize = 4_000;
    with_client(broker::shared().kafka(), async |client| {
        let topic = unique("native-bounded");
        client.admin().create_topics(&[NewTopic::new(&topic, PARTITIONS)]).await.expect("a topic");
        let notes = Rc::new(Notes::default());
        let options = ProducerOptions {
            memory_bytes_max: MEMORY,
            linger: Duration::from_secs(3600),
            listener: Some(Rc::<Notes>::clone(&notes)),
            ..ProducerOptions::default()
        };
        let producer = client.producer(options).await.expect("a producer");
        let to = producer.topic(&topic).await.expect("the topic");
        for token in 0..300 {
            let key = format!("key {token}");
            let record =
                client::producer::Record { token, ..client::producer::Record::of(key.as_bytes(), &[7; 100]) };
            let _told_by_listener = producer.send(&to, &record).await.expect("it is taken");
            assert!(producer.held_bytes() <= MEMORY, "{} bytes are held", producer.held_bytes());
        }
        producer.close().await;
        let refused = producer.try_send(&to, &client::producer::Record::of_value(b"late"));
        assert!(refused.is_err(), "a closed producer takes nothing");
        let mut told = notes.0.take();
        for (token, partition, _) in &told {
            let key = format!("key {token}");
            assert_eq!(*partition, client::partitioner::partition_of_key(key.as_bytes(), 3));
        }
        told.sort_unstable();
        assert!(told.iter().map(|(token, ..)| *token).eq(0..300), "each record once");
    });
}

/// Where a consumer begins: a time, an offset, an end; what it does where there is no such offset.
#[test]
fn it_begins_where_it_is_told() {
    with_client(broker::shared().kafka(), async |client| {
        let topic = unique("native-starts");
        let new = NewTopic { configs: &[("retention.ms", "-1")], ..NewTopic::new(&topic, PARTITIONS) };
        client.admin().create_topics(&[new]).await.expect("a topic");
        let records: Vec<Record> = (0..10)
            .map(|number| Record::new(0, format!("{number}")).at(1_700_000_000_000 + number))
            .collect();
        // A batch for each record, so that there are times to look for.
        let options = ProducerOptions { batch_bytes_max: 1, ..ProducerOptions::default() };
        write(&client, &topic, options, &records).await;
        let partition = Partition::new(&topic, 0);
        let consumer = client.consumer(ConsumerOptions::default());
        let first = async |start| {
            consumer.assign(&[(partition.clone(), start)]).await.expect("there is such a place");
            consumer.positions()[0].1.get()
        };
        assert_eq!(first(Start::Earliest).await, 0);
        assert_eq!(first(Start::Latest).await, 10);
        assert_eq!(first(Start::Time(Timestamp(1_700_000_000_004))).await, 4);
        assert_eq!(first(Start::Time(Timestamp(1_800_000_000_000))).await, 10);
        consumer.seek(&partition, Start::Offset(Offset(7))).await.expect("it is assigned");
        let mut offsets = Vec::new();
        while offsets.len() < 3 {
            let fetched = consumer.next().await.expect("records");
            fetched.for_each(|record| offsets.push(record.offset.get())).expect("readable");
        }
        assert_eq!(offsets, [7, 8, 9]);
        assert_eq!(consumer.positions(), [(partition.clone(), Offset(10))]);
        consumer.seek(&partition, Start::Offset(Offset(1_000))).await.expect("it is assigned");
        let error = consumer.next().await.expect_err("there is no such offset");
        assert!(matches!(error.reason, ConsumeProblem::OutOfRange(Offset(1_000))), "{error}");
        let options = ConsumerOptions { reset: OffsetReset::Earliest, ..ConsumerOptions::default() };
        let forgiving = client.consumer(options);
        forgiving.assign(&[(partition, Start::Offset(Offset(1_000)))]).await.expect("asked without looking");
        let fetched = forgiving.next().await.expect("it goes on at the start");
        assert_eq!(
            fetched.batches().next().map(|batch| batch.expect("sound").header().base_offset()),
            Some(Offset(0))
        );
    });
}

/// Two members share a topic; when one leaves, the other has all of it. Offsets kept by name alone work as well.
#[test]
fn members_share_a_topic() {
    with_client(broker::shared().kafka(), async |client| {
        let topic = unique("native-shared");
        client.admin().create_topics(&[NewTopic::new(&topic, PARTITIONS)]).await.expect("a topic");
        let group = unique("native-members");
        let deadline = Instant::now() + DEADLINE;
        let topics = [topic.as_str()];
        let join = || client.join_group(&group, &topics, GroupOptions::default());
        let first = join().await.expect("it joins");
        let owns = async |members: &[&GroupConsumer], shares: &[usize]| loop {
            let mut owned: Vec<usize> = members.iter().map(|member| member.owned().len()).collect();
            owned.sort_unstable();
            if owned == shares {
                return;
            }
            assert!(Instant::now() < deadline, "{owned:?} are owned where {shares:?} are due");
            // Heartbeats go on while this waits; nothing comes, since nothing was sent.
            let soon = Instant::now() + Duration::from_millis(20);
            assert!(members[0].next_before(soon).await.is_none());
        };
        owns(&[&first], &[3]).await;
        let second = join().await.expect("it joins");
        owns(&[&first, &second], &[1, 2]).await;
        second.leave().await.expect("it leaves");
        owns(&[&first], &[3]).await;
        first.leave().await.expect("it leaves");
        let kept = client.group(&unique("native-kept"));
        let partitions = [Partition::new(&topic, 0), Partition::new(&topic, 2)];
        assert_eq!(kept.committed(&partitions).await.expect("answered"), [None, None]);
        kept.commit(&[(partitions[1].clone(), Offset(0))]).await.expect("nobody else is in the group");
        assert_eq!(kept.committed(&partitions).await.expect("answered"), [None, Some(Offset(0))]);
    });
}

/// Groups of both kinds, and transactional ids, as the broker tells of them.
#[test]
fn groups_and_transactions_are_listed_and_described() {
    with_client(broker::shared().kafka(), async |client| {
        let (admin, topic) = (client.admin(), unique("native-told"));
        admin.create_topics(&[NewTopic::new(&topic, 2)]).await.expect("a topic");
        let (offsets, members, id) = (unique("native-offsets"), unique("native-joined"), unique("native-id"));
        let first = Partition::new(&topic, 0);
        client.group(&offsets).commit(&[(first.clone(), Offset(0))]).await.expect("nobody is in the group");
        let topics = [topic.as_str()];
        let member = client.join_group(&members, &topics, GroupOptions::default()).await.expect("it joins");
        let deadline = Instant::now() + DEADLINE;
        while member.owned().len() < 2 {
            assert!(Instant::now() < deadline, "nothing is assigned");
            assert!(member.next_before(Instant::now() + Duration::from_millis(20)).await.is_none());
        }
        let groups = admin.describe_groups(&[&offsets, &members]).await.expect("both are there");
        assert_eq!((groups[0].kind, groups[0].state), (GroupKind::Classic, GroupState::Empty));
        assert_eq!(groups[0].members, []);
        assert_eq!((groups[1].kind, groups[1].state), (GroupKind::Consumer, GroupState::Stable));
        let [described] = groups[1].members.as_slice() else { panic!("{groups:?}") };
        assert_eq!(described.assignment, [first.clone(), Partition::new(&topic, 1)]);
        let listed = admin.list_groups().await.expect("told");
        let kind_of = |name: &str| listed.iter().find(|group| group.name == name).expect("it is listed").kind;
        assert_eq!(kind_of(&offsets), Some(GroupKind::Classic));
        assert_eq!(kind_of(&members), Some(GroupKind::Consumer));
        member.leave().await.expect("it leaves");
        let error = admin.describe_groups(&[&unique("native-none")]).await.expect_err("it is not there");
        assert_eq!(error.kafka(), Some(KafkaError::GroupIdNotFound));

        let options = client::producer::TransactionOptions::default();
        let mut producer = client.transactional_producer(&id, options).await.expect("a producer");
        let to = producer.topic(&topic).await.expect("the topic");
        let transaction = producer.begin().await.expect("it begins");
        let record = client::producer::Record { partition: Some(PartitionIndex(0)), ..Default::default() };
        let delivery = transaction.send(&to, &record).await.expect("it is taken");
        delivery.await.expect("it is written");
        let described = admin.describe_transactions(&[&id]).await.expect("it is there");
        assert_eq!(described[0].state, TransactionState::Ongoing);
        assert_eq!(described[0].partitions, [first]);
        assert_eq!(described[0].timeout, Duration::from_secs(60));
        assert!(described[0].started_at.is_some());
        transaction.abort().await.expect("it is aborted");
        let listed = admin.list_transactions().await.expect("told");
        let line = listed.iter().find(|one| one.id == id).expect("it is listed");
        assert_eq!(line.producer_id, described[0].producer_id);
        let is_aborted =
            matches!(line.state, TransactionState::PrepareAbort | TransactionState::CompleteAbort);
        assert!(is_aborted, "{line:?}");
        let error = admin.describe_transactions(&[&unique("none")]).await.expect_err("it is not there");
        assert_eq!(error.kafka(), Some(KafkaError::TransactionalIdNotFound));
    });
}

/// A topic's configuration is read and changed; what is not there is said to be not there.
#[test]
fn topics_are_described_changed_and_deleted() {
    with_client(broker::shared().kafka(), async |client| {
        let (admin, topic) = (client.admin(), unique("native-admin"));
        let new = NewTopic { configs: &[("retention.ms", "5000")], ..NewTopic::new(&topic, 2) };
        admin.create_topics(&[new]).await.expect("a topic");
        let retention = async || admin.topic_configs(&topic).await.expect("told")["retention.ms"].clone();
        assert_eq!(retention().await.as_deref(), Some("5000"));
        admin.set_topic_configs(&topic, &[("retention.ms", Some("6000"))]).await.expect("changed");
        assert_eq!(retention().await.as_deref(), Some("6000"));
        admin.set_topic_configs(&topic, &[("retention.ms", None)]).await.expect("changed");
        assert_eq!(retention().await.as_deref(), Some("604800000"));
        admin.create_partitions(&topic, 5).await.expect("there are more");
        assert_eq!(client.topic(&topic).await.expect("it is there").partitions.len(), 5);
        let error = admin.create_partitions(&topic, 3).await.expect_err("there can't be fewer");
        assert_eq!(error.kafka(), Some(KafkaError::InvalidPartitions));
        admin.delete_topics(&[&topic]).await.expect("deleted");
        let error = client.topic(&topic).await.expect_err("it is gone");
        assert!(matches!(error, ClientError::UnknownTopic(_)), "{error}");
    });
}

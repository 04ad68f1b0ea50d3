//! Transactions of the project's own client, against whichever broker is under test.

use std::sync::mpsc;
use std::thread;

use client::admin::NewTopic;
use client::consumer::{ConsumerOptions, Start};
use client::group::GroupOptions;
use client::producer::{ProducerOptions, ProducerTopic, Record, Transaction, TransactionOptions};
use client::protocol::types::{Offset, PartitionIndex};
use client::{Client, Fetched, Isolation, Partition, TransactionError, TransactionalProducer};
use e2e::broker::{self, Broker, Options, Target, free_port};
use e2e::{DEADLINE, unique, wire};

use crate::native_client::with_client;

async fn topic(client: &Client, name: &str) -> String {
    let topic = unique(name);
    client.admin().create_topics(&[NewTopic::new(&topic, 2)]).await.expect("a topic");
    topic
}

async fn begin_as(client: &Client, id: &str) -> TransactionalProducer {
    let options = TransactionOptions::default();
    client.transactional_producer(id, options).await.expect("a producer")
}

async fn send(transaction: &Transaction<'_>, topic: &ProducerTopic, values: &[&str]) {
    for (partition, value) in (0..).zip(values) {
        let partition = Some(PartitionIndex(partition % 2));
        let record = Record { partition, ..Record::of_value(value.as_bytes()) };
        // Whether it is delivered is the commit's affair.
        let _delivery = transaction.send(topic, &record).await.expect("it is taken");
    }
}

/// So many values of a topic's two partitions, as one sees them who reads so.
async fn values(client: &Client, topic: &str, isolation: Isolation, count: usize) -> Vec<String> {
    let consumer = client.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() });
    let starts = [0, 1].map(|index| (Partition::new(topic, index), Start::Earliest));
    consumer.assign(&starts).await.expect("there is a start");
    let mut values = Vec::new();
    while values.len() < count {
        values.extend(texts(&consumer.next().await.expect("records")));
    }
    values.sort();
    values
}

fn texts(piece: &Fetched) -> Vec<String> {
    let mut texts = Vec::new();
    let each = |record: &client::consumer::Record<'_>| {
        texts.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
    };
    piece.for_each(each).expect("readable");
    texts
}

#[test]
fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    commits_and_aborts();
}

pub fn commits_and_aborts() {
    with_client(broker::shared().kafka(), async |client| {
        let topic = topic(&client, "native-transactions").await;
        let mut producer = begin_as(&client, &unique("native-teller")).await;
        let to = producer.topic(&topic).await.expect("the topic");
        let transaction = producer.begin().await.expect("it begins");
        send(&transaction, &to, &["a1", "a2", "a3"]).await;
        transaction.commit().await.expect("it is committed");
        let transaction = producer.begin().await.expect("it begins");
        let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(b"b1") };
        let delivery = transaction.send(&to, &record).await.expect("it is taken");
        delivery.await.expect("it is written");
        transaction.abort().await.expect("it is aborted");
        // One that is dropped is aborted before the next.
        let transaction = producer.begin().await.expect("it begins");
        let delivery = transaction.send(&to, &record).await.expect("it is taken");
        delivery.await.expect("it is written");
        drop(transaction);
        for value in ["c1", "c2"] {
            let transaction = producer.begin().await.expect("it begins");
            send(&transaction, &to, &[value]).await;
            transaction.commit().await.expect("it is committed");
        }
        producer.close().await.expect("nothing is open");
        let committed = values(&client, &topic, Isolation::ReadCommitted, 5).await;
        assert_eq!(committed, ["a1", "a2", "a3", "c1", "c2"]);
        let all = values(&client, &topic, Isolation::ReadUncommitted, 7).await;
        assert_eq!(all, ["a1", "a2", "a3", "b1", "b1", "c1", "c2"]);
    });
}

#[test]
fn a_second_producer_with_the_id_fences_the_first_and_aborts_what_it_left_open() {
    with_client(broker::shared().kafka(), async |client| {
        let (topic, id) = (topic(&client, "native-fenced").await, unique("native-fenced-teller"));
        let mut first = begin_as(&client, &id).await;
        let to = first.topic(&topic).await.expect("the topic");
        let left_open = first.begin().await.expect("it begins");
        let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(b"first") };
        let delivery = left_open.send(&to, &record).await.expect("it is taken");
        delivery.await.expect("it is written");
        let mut second = begin_as(&client, &id).await;
        let also_to = second.topic(&topic).await.expect("the topic");
        let transaction = second.begin().await.expect("it begins");
        send(&transaction, &also_to, &["second"]).await;
        transaction.commit().await.expect("it is committed");
        let error = left_open.commit().await.expect_err("another one has the id");
        assert!(matches!(error, TransactionError::Fenced), "{error}");
        assert!(matches!(first.begin().await, Err(TransactionError::Fenced)));
        assert_eq!(values(&client, &topic, Isolation::ReadCommitted, 1).await, ["second"]);
    });
}

/// A member of a group reads, and says in a transaction how far: only a commit counts.
#[test]
fn offsets_are_committed_with_the_records_made_of_what_was_read() {
    offsets_go_along();
}

pub fn offsets_go_along() {
    with_client(broker::shared().kafka(), async |client| {
        let (from, to) = (topic(&client, "native-from").await, topic(&client, "native-to").await);
        let group = unique("native-copiers");
        let source = client.producer(ProducerOptions::default()).await.expect("a producer");
        let source_topic = source.topic(&from).await.expect("the topic");
        for value in ["1", "2", "3"] {
            let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(value.as_bytes()) };
            let delivery = source.send(&source_topic, &record).await.expect("it is taken");
            delivery.await.expect("it is delivered");
        }
        let options = GroupOptions { start: Start::Earliest, ..GroupOptions::default() };
        let member = client.join_group(&group, &[&from], options).await.expect("it joins");
        let mut pieces = Vec::new();
        while pieces.iter().map(|piece| texts(piece).len()).sum::<usize>() < 3 {
            pieces.push(member.next().await.expect("records"));
        }
        let mut producer = begin_as(&client, &unique("native-copier")).await;
        let copies = producer.topic(&to).await.expect("the topic");
        for commits in [false, true] {
            let transaction = producer.begin().await.expect("it begins");
            for text in pieces.iter().flat_map(texts) {
                send(&transaction, &copies, &[&text]).await;
            }
            transaction.send_offsets_after(&member, &pieces).await.expect("the member has them");
            if commits {
                transaction.commit().await.expect("it is committed");
            } else {
                transaction.abort().await.expect("it is aborted");
            }
            let committed = client.group(&group).committed(&[Partition::new(&from, 0)]).await;
            assert_eq!(committed.expect("answered"), [commits.then_some(Offset(3))]);
        }
        assert_eq!(values(&client, &to, Isolation::ReadCommitted, 3).await, ["1", "2", "3"]);
        member.leave().await.expect("it leaves");
    });
}

/// What a member was handed of a partition that another one has by now is not for it to commit.
#[test]
fn a_piece_of_a_partition_that_was_lost_fails_the_transaction() {
    with_client(broker::shared().kafka(), async |client| {
        let from = topic(&client, "native-lost").await;
        let source = client.producer(ProducerOptions::default()).await.expect("a producer");
        let source_topic = source.topic(&from).await.expect("the topic");
        for partition in [0, 1] {
            let record = Record { partition: Some(PartitionIndex(partition)), ..Record::of_value(b"v") };
            let delivery = source.send(&source_topic, &record).await.expect("it is taken");
            delivery.await.expect("it is delivered");
        }
        let (group, topics) = (unique("native-losers"), [from.as_str()]);
        let options = || GroupOptions { start: Start::Earliest, ..GroupOptions::default() };
        let member = client.join_group(&group, &topics, options()).await.expect("it joins");
        let pieces = [member.next().await.expect("records"), member.next().await.expect("records")];
        let other = client.join_group(&group, &topics, options()).await.expect("it joins");
        // The other one is handed a record when the first has let go of its partition.
        let taken = other.next().await.expect("records").partition();
        let mut producer = begin_as(&client, &unique("native-loser")).await;
        let transaction = producer.begin().await.expect("it begins");
        let error = transaction.send_offsets_after(&member, &pieces).await.expect_err("one of them is lost");
        let lost = Partition::new(&from, taken.get());
        assert!(matches!(&error, TransactionError::NotAssigned(partition) if *partition == lost), "{error}");
        let error = transaction.commit().await.expect_err("it has failed");
        assert!(matches!(error, TransactionError::NotAssigned(_)), "{error}");
        member.commit_after(&pieces).await.expect("what is lost is passed over");
        let both = [0, 1].map(|index| Partition::new(&from, index));
        let committed = client.group(&group).committed(&both).await.expect("answered");
        let expected = both.map(|partition| (partition != lost).then_some(Offset(1)));
        assert_eq!(committed, expected);
        let kept: Vec<&Fetched> = pieces.iter().filter(|piece| piece.partition() != taken).collect();
        let transaction = producer.begin().await.expect("it begins");
        transaction.send_offsets_after(&member, kept).await.expect("the member has it");
        transaction.commit().await.expect("it is committed");
        other.leave().await.expect("it leaves");
        member.leave().await.expect("it leaves");
    });
}

/// How many records are copied, and how often the broker is killed meanwhile.
const COUNT: i64 = 600;
const KILLS: i64 = 3;

/// The broker is killed again and again under one who copies in transactions: each record is there once, in order.
#[test]
fn a_killed_broker_costs_no_copy_and_doubles_none() {
    let options = Options { port: free_port(), ..Options::default() };
    let mut broker = Broker::start(Target::chosen(), &options);
    let address = broker.kafka();
    for topic in ["from", "to"] {
        wire::create_topic(address, topic, 2, &[("retention.ms", "-1")]);
    }
    let (round_done, rounds) = mpsc::channel();
    let copier = thread::spawn(move || {
        with_client(address, async |client| {
            fill(&client).await;
            copy(&client, &round_done).await;
        });
    });
    for _ in 0..KILLS {
        rounds.recv_timeout(DEADLINE).expect("the copier gets on");
        broker = Broker::start_on(broker.kill(), Target::chosen(), &options);
    }
    copier.join().expect("everything is copied");
    with_client(broker.kafka(), async |client| {
        let consumer = client
            .consumer(ConsumerOptions { isolation: Isolation::ReadCommitted, ..ConsumerOptions::default() });
        consumer.assign(&[(Partition::new("to", 0), Start::Earliest)]).await.expect("there is a start");
        let mut next = 0;
        while next < COUNT {
            for text in texts(&consumer.next().await.expect("records")) {
                assert_eq!(text, next.to_string());
                next += 1;
            }
        }
    });
}

async fn fill(client: &Client) {
    let options = ProducerOptions { batch_bytes_max: 150, ..ProducerOptions::default() };
    let producer = client.producer(options).await.expect("a producer");
    let topic = producer.topic("from").await.expect("the topic");
    for number in 0..COUNT {
        let value = number.to_string();
        let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(value.as_bytes()) };
        let _delivery = producer.send(&topic, &record).await.expect("it is taken");
    }
    producer.close().await;
}

/// Copies everything, and says so after each share of it.
async fn copy(client: &Client, round_done: &mpsc::Sender<()>) {
    let (group, from) = (client.group("copiers"), Partition::new("from", 0));
    let mut producer = begin_as(client, "copier").await;
    let to = producer.topic("to").await.expect("the topic");
    // A few records a transaction.
    let consumer = client.consumer(ConsumerOptions { partition_bytes_max: 1, ..ConsumerOptions::default() });
    consumer.assign(&[(from.clone(), Start::Earliest)]).await.expect("there is a start");
    let mut rounds = 0;
    loop {
        // What was in doubt is decided once the next one begins: then the group knows what is copied.
        let Ok(transaction) = producer.begin().await else { continue };
        let committed = group.committed(std::slice::from_ref(&from)).await.expect("answered in time");
        let copied = committed[0].map_or(0, Offset::get);
        if copied == COUNT {
            return;
        }
        if rounds < KILLS && copied >= COUNT * (rounds + 1) / (KILLS + 1) {
            rounds += 1;
            round_done.send(()).expect("the test waits");
        }
        if consumer.positions()[0].1.get() != copied {
            consumer.seek(&from, Start::Offset(Offset(copied))).await.expect("it is assigned");
        }
        let piece = consumer.next().await.expect("records");
        match copy_piece(&transaction, &to, &piece, &group).await {
            Ok(()) => match transaction.commit().await {
                Ok(()) | Err(TransactionError::InDoubt(_) | TransactionError::Undelivered(_)) => {}
                Err(error) => println!("again: {error}"),
            },
            Err(error) => println!("again: {error}"),
        }
    }
}

async fn copy_piece(
    transaction: &Transaction<'_>,
    to: &ProducerTopic,
    piece: &Fetched,
    group: &client::Group,
) -> Result<(), TransactionError> {
    for text in texts(piece) {
        let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(text.as_bytes()) };
        let _delivery = transaction.send(to, &record).await.map_err(TransactionError::Undelivered)?;
    }
    let place = Partition::new("from", 0);
    transaction.send_offsets(group, &[(place, piece.next_offset())]).await
}

//! Transactions of the project's own client, against whichever broker is under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use client::admin::NewTopic;
use client::consumer::{ConsumerOptions, Start};
use client::group::{Group, GroupConsumer, GroupOptions};
use client::producer::{ProducerOptions, ProducerTopic, Record, Transaction, TransactionOptions};
use client::protocol::types::{Offset, PartitionIndex};
use client::{Client, Fetched, Isolation, Partition, TransactionError, TransactionalProducer};
use e2e::broker::{self, Broker, Options, Target, free_port};
use e2e::{DEADLINE, figures, unique, wire};

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
    commits_and_aborts(broker::shared().kafka());
}

pub fn commits_and_aborts(address: SocketAddr) {
    with_client(address, async |client| {
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
    fences_and_aborts(broker::shared().kafka());
}

fn fences_and_aborts(address: SocketAddr) {
    with_client(address, async |client| {
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
    offsets_go_along(broker::shared().kafka());
}

pub fn offsets_go_along(address: SocketAddr) {
    with_client(address, async |client| {
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

/// Below level 2 of the feature brokers want to be told of partitions and groups before these are written to.
#[test]
fn transactions_go_by_the_first_protocol_where_the_broker_does() {
    go_by_the_first_protocol();
}

pub fn go_by_the_first_protocol() {
    let broker = Broker::start(Target::chosen(), &Options::default());
    for level in [1, 0] {
        wire::lower_feature(broker.kafka(), "transaction.version", level);
        let added = || ["AddPartitionsToTxn", "AddOffsetsToTxn"].map(|api| figures::requests(&broker, api));
        // Apache Kafka has no such figures; there the level that it tells has to do.
        let before = (broker.target() == Target::Iolite).then(added);
        commits_and_aborts(broker.kafka());
        fences_and_aborts(broker.kafka());
        offsets_go_along(broker.kafka());
        if let Some(before) = before {
            let after = added();
            assert!(after[0] > before[0], "{before:?} {after:?}");
            assert!(after[1] > before[1], "{before:?} {after:?}");
        }
    }
}

/// How many records of each partition are copied, and how often the broker is killed meanwhile.
const COUNT: i64 = 600;
const KILLS: i64 = 3;
/// The partitions of both topics.
const PARTITIONS: i32 = 2;
/// Written behind everything else.
const END: &str = "the end";

/// The broker is killed again and again under one who copies in transactions: each record is there once, in order.
#[test]
fn a_killed_broker_costs_no_copy_and_doubles_none() {
    kill_under(2, async |client, round_done| copy(client, round_done).await);
}

/// The same under a member of a group, whose partitions and places the group knows.
#[test]
fn a_killed_broker_costs_a_member_no_copy_and_doubles_none() {
    kill_under(2, async |client, round_done| copy_as_member(client, round_done).await);
}

#[test]
fn a_killed_broker_costs_a_member_no_copy_and_doubles_none_by_the_first_protocol() {
    kill_under(0, async |client, round_done| copy_as_member(client, round_done).await);
}

/// Kills the broker, at a level of `transaction.version`, whenever who copies says so; in the end each partition's copies are
/// there once each, in order, with nothing behind them, and the group knows as much.
fn kill_under(level: i16, copier: impl AsyncFnOnce(&Client, &mpsc::Sender<()>) + Send + 'static) {
    let options = Options { port: free_port(), ..Options::default() };
    let mut broker = Broker::start(Target::chosen(), &options);
    let address = broker.kafka();
    if level < 2 {
        wire::lower_feature(address, "transaction.version", level);
    }
    for topic in ["from", "to"] {
        wire::create_topic(address, topic, PARTITIONS, &[("retention.ms", "-1")]);
    }
    let (round_done, rounds) = mpsc::channel();
    let copying = thread::spawn(move || {
        with_client(address, async |client| {
            fill(&client).await;
            copier(&client, &round_done).await;
        });
    });
    for _ in 0..KILLS {
        rounds.recv_timeout(DEADLINE).expect("the copier gets on");
        broker = Broker::start_on(broker.kill(), Target::chosen(), &options);
    }
    copying.join().expect("everything is copied");
    with_client(broker.kafka(), async |client| {
        for partition in 0..PARTITIONS {
            let expected: Vec<String> = (0..COUNT).map(|number| format!("{partition} {number}")).collect();
            assert_eq!(committed_copies(&client, partition).await, expected);
        }
        let from: Vec<Partition> = (0..PARTITIONS).map(|index| Partition::new("from", index)).collect();
        let known = client.group("copiers").committed(&from).await.expect("answered");
        assert_eq!(known, vec![Some(Offset(COUNT)); from.len()]);
    });
}

async fn fill(client: &Client) {
    let options = ProducerOptions { batch_bytes_max: 150, ..ProducerOptions::default() };
    let producer = client.producer(options).await.expect("a producer");
    let topic = producer.topic("from").await.expect("the topic");
    for number in 0..COUNT {
        for partition in 0..PARTITIONS {
            let value = format!("{partition} {number}");
            let partition = Some(PartitionIndex(partition));
            let record = Record { partition, ..Record::of_value(value.as_bytes()) };
            let _delivery = producer.send(&topic, &record).await.expect("it is taken");
        }
    }
    producer.close().await;
}

/// Everything committed in a partition of the copies: what is written now comes behind all of it.
async fn committed_copies(client: &Client, partition: i32) -> Vec<String> {
    let producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    let to = producer.topic("to").await.expect("the topic");
    let end = Record { partition: Some(PartitionIndex(partition)), ..Record::of_value(END.as_bytes()) };
    let delivery = producer.send(&to, &end).await.expect("it is taken");
    delivery.await.expect("it is delivered");
    producer.close().await;
    let options = ConsumerOptions { isolation: Isolation::ReadCommitted, ..ConsumerOptions::default() };
    let consumer = client.consumer(options);
    consumer.assign(&[(Partition::new("to", partition), Start::Earliest)]).await.expect("there is a start");
    let mut copies = Vec::new();
    while copies.last().is_none_or(|last| last != END) {
        copies.extend(texts(&consumer.next().await.expect("records")));
    }
    copies.pop();
    copies
}

/// Says so once for each share of everything that is copied.
struct Rounds<'a> {
    done: i64,
    round_done: &'a mpsc::Sender<()>,
}

impl Rounds<'_> {
    fn note(&mut self, copied: i64) {
        let all = COUNT * i64::from(PARTITIONS);
        if self.done < KILLS && copied >= all * (self.done + 1) / (KILLS + 1) {
            self.done += 1;
            self.round_done.send(()).expect("the test waits");
        }
    }
}

/// Copies everything, partition after partition, from where the group says that it has come.
async fn copy(client: &Client, round_done: &mpsc::Sender<()>) {
    let group = client.group("copiers");
    let mut producer = begin_as(client, "copier").await;
    let to = producer.topic("to").await.expect("the topic");
    let mut rounds = Rounds { done: 0, round_done };
    // A few records a transaction.
    let consumer = client.consumer(ConsumerOptions { partition_bytes_max: 1, ..ConsumerOptions::default() });
    for index in 0..PARTITIONS {
        let from = Partition::new("from", index);
        consumer.assign(&[(from.clone(), Start::Earliest)]).await.expect("there is a start");
        loop {
            let transaction = begin(&mut producer).await;
            let copied = offset_known(&group, &from).await;
            if copied == COUNT {
                break;
            }
            rounds.note(i64::from(index) * COUNT + copied);
            if consumer.positions()[0].1.get() != copied {
                consumer.seek(&from, Start::Offset(Offset(copied))).await.expect("it is assigned");
            }
            let piece = consumer.next().await.expect("records");
            let offsets = [(from.clone(), piece.next_offset())];
            let outcome = match send_copies(&transaction, &to, &piece).await {
                Ok(()) => transaction.send_offsets(&group, &offsets).await,
                failed => failed,
            };
            finish(transaction, outcome).await;
        }
    }
}

/// Copies everything that the group hands it, until the group knows of all of it.
async fn copy_as_member(client: &Client, round_done: &mpsc::Sender<()>) {
    let group = client.group("copiers");
    let consumer = ConsumerOptions { partition_bytes_max: 1, ..ConsumerOptions::default() };
    let options = GroupOptions { consumer, start: Start::Earliest, ..GroupOptions::default() };
    let member = client.join_group("copiers", &["from"], options).await.expect("it joins");
    let mut producer = begin_as(client, "copier").await;
    let to = producer.topic("to").await.expect("the topic");
    let mut rounds = Rounds { done: 0, round_done };
    let mut copied = BTreeMap::new();
    while copied.values().sum::<i64>() < COUNT * i64::from(PARTITIONS) {
        let piece = member.next().await.expect("records");
        copy_piece(&mut producer, &member, &group, &to, &piece).await;
        let place = piece.place();
        copied.insert(place.clone(), offset_known(&group, &place).await);
        rounds.note(copied.values().sum());
    }
    member.leave().await.expect("it leaves");
    producer.close().await.expect("nothing is open");
}

/// Copies a piece once, in as many transactions as it takes; not if it has become somebody else's.
async fn copy_piece(
    producer: &mut TransactionalProducer,
    member: &GroupConsumer,
    group: &Group,
    to: &ProducerTopic,
    piece: &Fetched,
) {
    loop {
        let transaction = begin(producer).await;
        if offset_known(group, &piece.place()).await >= piece.next_offset().get() {
            // The last one was in doubt, and is committed.
            return;
        }
        let outcome = match send_copies(&transaction, to, piece).await {
            Ok(()) => transaction.send_offsets_after(member, [piece]).await,
            failed => failed,
        };
        if matches!(outcome, Err(TransactionError::NotAssigned(_))) {
            return;
        }
        if finish(transaction, outcome).await {
            return;
        }
    }
}

/// The next transaction; what was in doubt before is decided then.
async fn begin(producer: &mut TransactionalProducer) -> Transaction<'_> {
    while let Err(error) = producer.begin().await.map(drop) {
        assert!(!error.is_final(), "{error}");
        println!("again: {error}");
    }
    // One that is dropped before a broker has heard of it costs nothing.
    producer.begin().await.expect("nothing is open")
}

async fn offset_known(group: &Group, partition: &Partition) -> i64 {
    let known = group.committed(std::slice::from_ref(partition)).await.expect("answered in time");
    known[0].map_or(0, Offset::get)
}

async fn send_copies(
    transaction: &Transaction<'_>,
    to: &ProducerTopic,
    piece: &Fetched,
) -> Result<(), TransactionError> {
    for text in texts(piece) {
        let partition = Some(piece.partition());
        let record = Record { partition, ..Record::of_value(text.as_bytes()) };
        let _delivery = transaction.send(to, &record).await.map_err(TransactionError::Undelivered)?;
    }
    Ok(())
}

/// Commits what has gone well so far; whether it is known to be committed.
async fn finish(transaction: Transaction<'_>, outcome: Result<(), TransactionError>) -> bool {
    let outcome = match outcome {
        Ok(()) => transaction.commit().await,
        failed => failed,
    };
    outcome.inspect_err(|error| println!("again: {error}")).is_ok()
}

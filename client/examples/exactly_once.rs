//! Copies a topic to another one, exactly once: what is written and how far was read are committed together.
//!
//! `cargo run -p iolite-client --example exactly_once -- 127.0.0.1:9092 greetings shouted [NAME]`
//!
//! Run it several times with different names, and they share the work; kill one, and the others go on where it has
//! committed. Who reads only what is committed sees each record once.

use std::error::Error;

use client::consumer::{ConsumerOptions, Fetched, Start};
use client::error::TransactionError;
use client::group::GroupOptions;
use client::producer::{ProducerTopic, Record, TransactionOptions, TransactionalProducer};
use client::protocol::error::KafkaError;
use client::{Client, ClientOptions, GroupConsumer, Isolation, NewTopic};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(from), Some(to)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: exactly_once HOST:PORT FROM TO [NAME]".into());
    };
    let name = arguments.next().unwrap_or_else(|| "copier".to_owned());
    client::executor::run(None, || copy(server, from, to, name))?
}

async fn copy(server: String, from: String, to: String, name: String) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(ClientOptions::new([server])).await?;
    match client.admin().create_topics(&[NewTopic::new(&to, 3)]).await {
        Err(error) if error.kafka() != Some(KafkaError::TopicAlreadyExists) => return Err(error.into()),
        _ => {}
    }
    let options = GroupOptions {
        consumer: ConsumerOptions { isolation: Isolation::ReadCommitted, ..ConsumerOptions::default() },
        start: Start::Earliest,
        ..GroupOptions::default()
    };
    let member = client.join_group("copiers", &[&from], options).await?;
    // Another process with this name would fence this one: a name belongs to one that runs.
    let mut producer = client.transactional_producer(&name, TransactionOptions::default()).await?;
    let to = producer.topic(&to).await?;
    loop {
        let piece = member.next().await?;
        loop {
            match copy_piece(&mut producer, &member, &to, &piece).await {
                Ok(()) => break println!("copied up to {}", piece.next_offset()),
                // Another member reads the partition from where the last transaction ended.
                Err(TransactionError::NotAssigned(partition)) => break println!("lost {partition:?}"),
                // It may be committed. What is, only the group knows: start again from there.
                Err(error @ (TransactionError::Fenced | TransactionError::InDoubt(_))) => {
                    return Err(error.into());
                }
                // Nothing is committed, and the piece is still at hand.
                Err(error) => println!("again: {error}"),
            }
        }
    }
}

async fn copy_piece(
    producer: &mut TransactionalProducer,
    member: &GroupConsumer,
    to: &ProducerTopic,
    piece: &Fetched,
) -> Result<(), TransactionError> {
    let transaction = producer.begin().await?;
    for batch in piece.batches() {
        let batch = batch.expect("what the broker keeps can be read");
        for record in batch.records() {
            let record = record.expect("what the broker keeps can be read");
            let value = record.value.map(<[u8]>::to_ascii_uppercase);
            let copy = Record { key: record.key, value: value.as_deref(), ..Record::default() };
            // `commit` fails if this was not delivered.
            let _delivery = transaction.send(to, &copy).await.map_err(TransactionError::Undelivered)?;
        }
    }
    transaction.send_offsets_after(member, [piece]).await?;
    transaction.commit().await
}

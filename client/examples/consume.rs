//! Prints what is in a topic, from its start, and goes on with what comes.
//!
//! `cargo run -p iolite-client --example consume -- 127.0.0.1:9092 greetings [GROUP]`
//!
//! With a group, members of it share the topic, and the next one goes on where this one has committed.

use std::error::Error;

use client::consumer::{ConsumerOptions, Fetched, Start};
use client::group::GroupOptions;
use client::{Client, ClientOptions, Partition};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(topic)) = (arguments.next(), arguments.next()) else {
        return Err("usage: consume HOST:PORT TOPIC [GROUP]".into());
    };
    let group = arguments.next();
    client::executor::run(None, || async move {
        let client = Client::connect(ClientOptions::new([server])).await?;
        match group {
            Some(group) => read_as_member(&client, &group, &topic).await,
            None => read_all(&client, &topic).await,
        }
    })?
}

async fn read_all(client: &Client, topic: &str) -> Result<(), Box<dyn Error>> {
    let consumer = client.consumer(ConsumerOptions::default());
    let partitions = &client.topic(topic).await?.partitions;
    let starts: Vec<(Partition, Start)> = partitions
        .iter()
        .map(|partition| (Partition::new(topic, partition.index.get()), Start::Earliest))
        .collect();
    consumer.assign(&starts).await?;
    loop {
        print(&consumer.next().await?)?;
    }
}

async fn read_as_member(client: &Client, group: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let options = GroupOptions { start: Start::Earliest, ..GroupOptions::default() };
    let member = client.join_group(group, &[topic], options).await?;
    loop {
        print(&member.next().await?)?;
        member.commit().await?;
    }
}

fn print(fetched: &Fetched) -> Result<(), Box<dyn Error>> {
    let partition = fetched.partition();
    fetched.for_each(|record| {
        let value = record.value.unwrap_or(b"null").escape_ascii();
        println!("{partition}@{} {value}", record.offset);
    })?;
    Ok(())
}

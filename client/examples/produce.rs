//! Sends lines to a topic, which it makes if there is none.
//!
//! `cargo run -p iolite-client --example produce -- 127.0.0.1:9092 greetings <lines.txt`

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use client::producer::Record;
use client::protocol::error::KafkaError;
use client::{Client, ClientOptions, NewTopic, ProducerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(topic)) = (arguments.next(), arguments.next()) else {
        return Err("usage: produce HOST:PORT TOPIC, lines on standard input".into());
    };
    client::executor::run(None, || send_lines(server, topic))?
}

async fn send_lines(server: String, name: String) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(ClientOptions::new([server])).await?;
    match client.admin().create_topics(&[NewTopic::new(&name, 3)]).await {
        Err(error) if error.kafka() != Some(KafkaError::TopicAlreadyExists) => return Err(error.into()),
        _ => {}
    }
    let linger = Duration::from_millis(5);
    let producer = client.producer(ProducerOptions { linger, ..ProducerOptions::default() }).await?;
    let topic = producer.topic(&name).await?;
    let mut deliveries = Vec::new();
    for line in std::io::stdin().lock().lines() {
        deliveries.push(producer.send(&topic, &Record::of_value(line?.as_bytes())).await?);
    }
    producer.flush().await;
    for delivery in deliveries {
        let acked = delivery.await?;
        println!("partition {} offset {}", acked.partition, acked.offset.unwrap_or_default());
    }
    producer.close().await;
    Ok(())
}

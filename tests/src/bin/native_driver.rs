//! The project's own client behind the driver protocol of `tests/clients/README.md`, as far as it can do what is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use client::admin::{At, Isolation, NewTopic};
use client::consumer::{ConsumerOptions, Start};
use client::group::GroupOptions;
use client::producer::{Acks, Header, ProducerOptions, Record};
use client::protocol::compression::Compression;
use client::protocol::types::{Offset, PartitionIndex, Timestamp};
use client::{Client, ClientError, ClientOptions, Fetched, Partition};
use e2e::records::from_hex;
use serde_json::{Value, json};

/// How long a read waits for what is asked.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<Value, Box<dyn std::error::Error>>;

fn main() {
    let bootstrap = std::env::args().nth(1).expect("the bootstrap address is the argument");
    let ran = client::executor::run(None, || async move {
        let client = Client::connect(ClientOptions::new([bootstrap])).await.expect("the broker answers");
        // The requests come one at a time, so nothing else waits while a line is read.
        for line in std::io::stdin().lock().lines() {
            let request: Value = serde_json::from_str(&line.expect("a line")).expect("a line is JSON");
            let answer = answer(&client, &request).await.unwrap_or_else(|error| {
                let kafka = error.downcast_ref::<ClientError>().and_then(ClientError::kafka);
                let code = kafka.map_or(-1, |error| i64::from(error.code().0));
                json!({ "error": { "code": code, "message": error.to_string() } })
            });
            println!("{answer}");
            std::io::stdout().flush().expect("someone reads");
        }
    });
    ran.expect("an executor");
}

async fn answer(client: &Client, request: &Value) -> Outcome {
    match request["op"].as_str().unwrap_or_default() {
        "hello" => Ok(json!({ "client": "iolite-client" })),
        "produce" => produce(client, request).await,
        "consume" => consume(client, request).await,
        "group" => group(client, request).await,
        "create_topic" => create_topic(client, request).await,
        "delete_topic" => {
            client.admin().delete_topics(&[text(request, "topic")]).await?;
            Ok(json!({}))
        }
        "list_offsets" => list_offsets(client, request).await,
        op => Err(format!("this driver does not know {op}").into()),
    }
}

fn text<'a>(request: &'a Value, key: &str) -> &'a str {
    request[key].as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

fn small(value: &Value) -> i32 {
    i32::try_from(number(value)).expect("a small number")
}

fn count(value: &Value) -> usize {
    usize::try_from(number(value)).expect("a count")
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(from_hex)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn produce(client: &Client, request: &Value) -> Outcome {
    let codec = text(request, "compression");
    let producer = client
        .producer(ProducerOptions {
            acks: match text(request, "acks") {
                "0" => Acks::None,
                "1" => Acks::Leader,
                _ => Acks::All,
            },
            idempotent: request["idempotent"].as_bool().unwrap_or_default(),
            compression: Compression::ALL.into_iter().find(|one| one.name() == codec).expect("a compression"),
            linger: Duration::from_millis(u64::try_from(number(&request["linger_ms"]))?),
            batch_bytes_max: count(&request["batch_bytes"]),
            request_bytes_max: 2 << 20,
            ..ProducerOptions::default()
        })
        .await?;
    let topic = producer.topic(text(request, "topic")).await?;
    let mut deliveries = Vec::new();
    for record in request["records"].as_array().expect("records") {
        let headers: Vec<(&str, Option<Vec<u8>>)> = record["h"]
            .as_array()
            .expect("headers")
            .iter()
            .map(|header| (header[0].as_str().expect("a name"), bytes(&header[1])))
            .collect();
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let (key, value) = (bytes(&record["k"]), bytes(&record["v"]));
        let record = Record {
            partition: Some(PartitionIndex(small(&record["p"]))),
            timestamp: record["t"].as_i64().map(Timestamp),
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
            token: 0,
        };
        deliveries.push(producer.send(&topic, &record).await?);
    }
    producer.flush().await;
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await?.offset.map_or(-1, Offset::get));
    }
    producer.close().await;
    Ok(json!({ "offsets": offsets }))
}

fn record_of(fetched: &Fetched, record: &client::consumer::Record<'_>) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|header| {
            let header = header.expect("a header");
            json!([String::from_utf8_lossy(header.key), header.value.map(hex)])
        })
        .collect();
    json!({
        "p": fetched.partition().get(), "o": record.offset.get(), "t": record.timestamp.get(),
        "k": record.key.map(hex), "v": record.value.map(hex), "h": headers,
    })
}

async fn consume(client: &Client, request: &Value) -> Outcome {
    let topic = text(request, "topic");
    let mut wanted: BTreeMap<i32, usize> = BTreeMap::new();
    let mut starts = Vec::new();
    for asked in request["partitions"].as_array().expect("partitions") {
        let index = small(&asked[0]);
        wanted.insert(index, count(&asked[2]));
        starts.push((Partition::new(topic, index), Start::Offset(Offset(number(&asked[1])))));
    }
    let isolation = match request["isolation"].as_str() {
        Some("read_committed") => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let consumer = client.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() });
    consumer.assign(&starts).await?;
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while wanted.values().any(|left| *left > 0) {
        let Some(fetched) = consumer.next_before(deadline).await else { break };
        let fetched = fetched?;
        let left = wanted.entry(fetched.partition().get()).or_default();
        fetched.for_each(|record| {
            if *left > 0 {
                *left -= 1;
                records.push(record_of(&fetched, record));
            }
        })?;
    }
    Ok(json!({ "records": records }))
}

async fn group(client: &Client, request: &Value) -> Outcome {
    let options = GroupOptions { start: Start::Earliest, ..GroupOptions::default() };
    let member = client.join_group(text(request, "group"), &[text(request, "topic")], options).await?;
    let deadline = Instant::now() + PATIENCE;
    let mut values = Vec::new();
    let wanted = count(&request["count"]);
    while values.len() < wanted {
        let Some(fetched) = member.next_before(deadline).await else { break };
        fetched?.for_each(|record| values.push(hex(record.value.unwrap_or_default())))?;
    }
    member.commit().await?;
    member.leave().await?;
    Ok(json!({ "values": values }))
}

async fn create_topic(client: &Client, request: &Value) -> Outcome {
    let name = text(request, "topic");
    let configs: Vec<(&str, &str)> = request["configs"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().expect("text")))
        .collect();
    let new = NewTopic { configs: &configs, ..NewTopic::new(name, small(&request["partitions"])) };
    client.admin().create_topics(&[new]).await?;
    let topic = client.topic(name).await?;
    Ok(json!({ "partitions": topic.partitions.len(), "id": topic.id.to_string() }))
}

async fn list_offsets(client: &Client, request: &Value) -> Outcome {
    let at = match request["at"].as_str() {
        Some("earliest") => At::Earliest,
        Some("latest") => At::Latest,
        Some("max_timestamp") => At::MaxTimestamp,
        _ => At::Time(Timestamp(number(&request["at"]))),
    };
    let partition = Partition::new(text(request, "topic"), small(&request["partition"]));
    let found = client.admin().offsets(&[(partition, at)], Isolation::ReadUncommitted).await?;
    Ok(json!({ "offset": found.first().copied().flatten().map_or(-1, Offset::get), "timestamp": -1 }))
}

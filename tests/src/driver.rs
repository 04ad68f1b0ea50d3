//! Real clients behind the driver protocol of `tests/clients/README.md`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::process::Process;
use crate::records::{Record, from_hex};
use crate::{DEADLINE, broker, cache, project};

/// A client that has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// confluent-kafka for Python, which is librdkafka.
    Confluent,
    /// kafka-python.
    KafkaPython,
    /// kafkajs for Node.
    KafkaJs,
    /// franz-go.
    FranzGo,
    /// Kafka's own Java clients.
    Java,
    /// The project's own.
    Native,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Confluent, Self::KafkaPython, Self::KafkaJs, Self::FranzGo, Self::Java, Self::Native];

    /// The compressions it can write and read.
    #[must_use]
    pub fn compressions(self) -> &'static [&'static str] {
        match self {
            Self::KafkaJs => &["none", "gzip"],
            _ => &["none", "gzip", "snappy", "lz4", "zstd"],
        }
    }

    /// Can it write a header without a value? (Reading one, they all can.)
    #[must_use]
    pub fn writes_null_headers(self) -> bool {
        !matches!(self, Self::KafkaPython | Self::KafkaJs)
    }

    /// Can it write a record without key and value?
    #[must_use]
    pub fn writes_empty_records(self) -> bool {
        self != Self::KafkaPython
    }

    /// Was it left out by `tests/clients/install` (which said why)?
    #[must_use]
    pub fn left_out(self) -> bool {
        let name = match self {
            Self::Confluent | Self::KafkaPython => "python",
            Self::KafkaJs => "kafkajs",
            Self::FranzGo => "franz_go",
            Self::Java => "java",
            Self::Native => return false,
        };
        let list = std::fs::read_to_string(cache().join("left-out")).unwrap_or_default();
        list.lines().any(|line| line.split(' ').next() == Some(name))
    }

    fn command(self) -> Command {
        let clients = project().join("tests/clients");
        let python = |script: &str| {
            let mut command = Command::new(cache().join("venv/bin/python"));
            command.arg(clients.join("python").join(script));
            command
        };
        match self {
            Self::Confluent => python("confluent_driver.py"),
            Self::KafkaPython => python("kafka_python_driver.py"),
            Self::KafkaJs => {
                let mut command = Command::new("node");
                command.arg(clients.join("kafkajs/driver.js"));
                command
            }
            Self::FranzGo => Command::new(cache().join("franz-go")),
            Self::Java => broker::java("iolite.Driver"),
            Self::Native => Command::new(broker::target_directory().join("native_driver")),
        }
    }
}

/// What a client said when it did not do as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// Kafka's error code, -1 where the client hides it.
    pub code: i64,
    /// The client's words.
    pub message: String,
}

/// How to produce.
#[derive(Clone, Copy, Debug)]
pub struct Produce<'a> {
    /// `"0"`, `"1"` or `"all"`.
    pub acks: &'a str,
    /// With a producer id and sequences.
    pub idempotent: bool,
    /// The codec's name.
    pub compression: &'a str,
    /// How long the client gathers a batch.
    pub linger_ms: u32,
    /// How large it may grow.
    pub batch_bytes: u32,
}

impl Default for Produce<'_> {
    fn default() -> Self {
        Self { acks: "all", idempotent: false, compression: "none", linger_ms: 5, batch_bytes: 100_000 }
    }
}

/// A running client.
pub struct Driver {
    client: Client,
    process: Process,
    requests: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl Driver {
    /// Starts the client's program.
    #[must_use]
    pub fn start(client: Client, bootstrap: SocketAddr) -> Self {
        let mut command = client.command();
        command.arg(bootstrap.to_string());
        let (process, requests, stdout) = Process::start_interactive(&format!("{client:?}"), command);
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { client, process, requests, answers }
    }

    /// Which client it is.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// Sends one request; the answer is taken by [`Driver::answer`].
    pub fn ask(&mut self, request: &Value) {
        writeln!(self.requests, "{request}").unwrap_or_else(|error| {
            panic!("{:?} is gone: {error}\n{}", self.client, self.process.last_lines())
        });
    }

    /// Takes the answer to the oldest request that has none yet.
    pub fn answer(&mut self) -> Result<Value, ClientError> {
        let line = self.answers.recv_timeout(DEADLINE);
        let line =
            line.unwrap_or_else(|error| panic!("{:?}: {error}\n{}", self.client, self.process.last_lines()));
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{:?} said {line:?}, not JSON: {error}", self.client));
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(ClientError {
                code: error["code"].as_i64().unwrap_or(-1),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Asks and takes the answer.
    pub fn call(&mut self, request: &Value) -> Result<Value, ClientError> {
        self.ask(request);
        self.answer()
    }

    /// Produces; the answer is one offset a record.
    pub fn produce(
        &mut self,
        topic: &str,
        how: Produce<'_>,
        records: &[Record],
    ) -> Result<Vec<i64>, ClientError> {
        let records: Vec<Value> = records.iter().map(Record::to_json).collect();
        let answer = self.call(&json!({
            "op": "produce", "topic": topic, "acks": how.acks, "idempotent": how.idempotent,
            "compression": how.compression, "linger_ms": how.linger_ms, "batch_bytes": how.batch_bytes,
            "records": records,
        }))?;
        let offsets = answer["offsets"].as_array().expect("offsets");
        Ok(offsets.iter().map(|offset| offset.as_i64().expect("an offset")).collect())
    }

    /// Asks for `count` records from offset `from` of each `(partition, from, count)`.
    pub fn ask_consume(&mut self, topic: &str, partitions: &[(i32, i64, usize)]) {
        self.ask(&json!({ "op": "consume", "topic": topic, "partitions": partitions }));
    }

    /// Takes the answer to [`Driver::ask_consume`], sorted by partition, each partition in the order it was read.
    pub fn answer_consume(&mut self) -> Result<Vec<Record>, ClientError> {
        let answer = self.answer()?;
        let mut records: Vec<Record> =
            answer["records"].as_array().expect("records").iter().map(Record::from_json).collect();
        records.sort_by_key(|record| record.partition);
        Ok(records)
    }

    /// Reads `count` records as a member of a group, which commits them and leaves. Their values, sorted.
    pub fn read_in_group(
        &mut self,
        topic: &str,
        group: &str,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, ClientError> {
        let answer = self.call(&json!({ "op": "group", "topic": topic, "group": group, "count": count }))?;
        let values = answer["values"].as_array().expect("values").iter();
        let mut values: Vec<Vec<u8>> = values.map(|value| from_hex(value.as_str().expect("text"))).collect();
        values.sort();
        Ok(values)
    }

    /// Reads `count` records from offset `from` of each `(partition, from, count)`.
    pub fn consume(
        &mut self,
        topic: &str,
        partitions: &[(i32, i64, usize)],
    ) -> Result<Vec<Record>, ClientError> {
        self.ask_consume(topic, partitions);
        self.answer_consume()
    }
}

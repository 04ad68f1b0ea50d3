//! A client of Kafka's protocol on glommio (io_uring, one executor a thread): for Iolite and Apache Kafka alike.
//!
//! | module | owns |
//! | --- | --- |
//! | [`Client`] | one view of a cluster, from which all else is made |
//! | [`connection`] | one pipelined TCP connection: requests in, answers out, in order |
//! | [`cluster`] | brokers, topics, leaders, and when to ask again |
//! | [`producer`] | batches, acks, idempotence, transactions, memory |
//! | [`consumer`] | fetching ahead, records that borrow from what was received |
//! | [`group`] | offsets kept under a name, members of groups (KIP-848) |
//! | [`admin`] | topics, offsets, configurations; which groups and transactions there are |
//! | [`partitioner`] | murmur2, as the Java client has it |
//! | [`executor`] | an executor for who has none |
//! | [`error`] | what can go wrong, typed |
//! | [`limits`] | what is bounded, and by how much |
//!
//! # How it is made
//!
//! Everything belongs to the executor on which [`Client::connect`] was called: nothing is `Send`, nothing is locked. An
//! application that wants more cores runs a client on each. Handles are cheap clones of one state; a task each keeps a
//! producer's requests and a consumer's fetches going, and connections are not shared between producers, consumers and
//! calls, since a broker answers a connection in order and a fetch may wait.
//!
//! Nothing is queued without bound: requests in flight and bytes not sent (a connection), bytes held (a producer, whose
//! [`send`](Producer::send) waits then), bytes fetched or on their way (a consumer, which fetches no more then).
//!
//! # Produce
//!
//! ```no_run
//! # use client::{Client, ClientOptions};
//! # use client::producer::{ProducerOptions, Record};
//! # async fn produce() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientOptions::new(["127.0.0.1:9092"])).await?;
//! let producer = client.producer(ProducerOptions::default()).await?;
//! let topic = producer.topic("greetings").await?;
//! let delivery = producer.send(&topic, &Record::of(b"key", b"value")).await?;
//! println!("at offset {:?}", delivery.await?.offset);
//! producer.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Delivery`](producer::Delivery) is the fate of one record; who sends millions rather gives the producer a
//! [`DeliveryListener`](producer::DeliveryListener), which is told of whole batches with a token for each record.
//!
//! # Consume
//!
//! ```no_run
//! # use client::{Client, ClientOptions, Partition};
//! # use client::consumer::{ConsumerOptions, Start};
//! # async fn consume(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
//! let consumer = client.consumer(ConsumerOptions::default());
//! consumer.assign(&[(Partition::new("greetings", 0), Start::Earliest)]).await?;
//! loop {
//!     let fetched = consumer.next().await?;
//!     for batch in fetched.batches() {
//!         for record in batch?.records() {
//!             println!("{:?}", record?.value);
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! # Transactions
//!
//! A [`TransactionalProducer`] has records appear together or not at all, with the offsets of what they were made of.
//!
//! # Examples
//!
//! Whole programs, against a broker that runs at 127.0.0.1:9092:
//!
//! | `cargo run -p iolite-client --example` | does |
//! | --- | --- |
//! | `produce -- 127.0.0.1:9092 greetings <lines.txt` | sends lines, and tells where each went |
//! | `consume -- 127.0.0.1:9092 greetings [GROUP]` | prints what is there and what comes, alone or as one of a group |
//! | `exactly_once -- 127.0.0.1:9092 greetings shouted` | copies a topic in transactions, each record once |

pub mod admin;
mod client;
pub mod cluster;
pub mod connection;
pub mod consumer;
mod coordinator;
pub mod error;
pub mod group;
pub mod limits;
mod links;
#[cfg(test)]
mod mock;
pub mod partitioner;
pub mod producer;
mod ways;

pub use admin::{Admin, At, Isolation, NewTopic, Partition};
pub use client::Client;
pub use cluster::{ClientOptions, Topic};
pub use connection::{Connection, ConnectionOptions};
pub use consumer::{ConsumeError, ConsumeProblem, Consumer, ConsumerOptions, Fetched, Start};
pub use error::{ClientError, ConnectionError, ProduceError, TransactionError};
/// Executors for who has none, and what runs on one.
pub use executor;
pub use group::{Group, GroupConsumer, GroupError, GroupOptions};
pub use producer::{Producer, ProducerOptions, Transaction, TransactionOptions, TransactionalProducer};
/// Types and codes of the protocol, as far as the client's own speak of them.
pub use protocol;

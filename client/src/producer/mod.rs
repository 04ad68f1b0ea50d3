//! Sends records: gathered into batches, in order for each partition, within bounded memory.
//!
//! [`Producer::send`] puts a record into its partition's open batch and returns at once with a [`Delivery`]; it waits
//! only while the producer holds as many bytes as it may. The sender, one task, takes what is due from the partitions'
//! queues, one request for each leader at a time, up to `in_flight_max` of them. A batch leaves when it is full, when it
//! has lingered, when someone flushes or waits for memory, and otherwise as soon as the way is free.

mod batch;
mod queue;
mod sender;
mod topic;
mod transaction;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

pub use protocol::batch::Encoding;
use protocol::compression::Compression;
use protocol::error::KafkaError;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::records::BatchOptions;
use protocol::types::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp};

pub use protocol::records::Header;

use crate::Client;
use crate::error::{ClientError, ProduceError};
use crate::limits::IDEMPOTENT_IN_FLIGHT_MAX;

pub use batch::{Acked, Delivery};
use queue::QueueLimits;
use sender::Sender;
pub use topic::ProducerTopic;
use transaction::Transactions;
pub use transaction::{Transaction, TransactionOptions, TransactionalProducer};

/// When a broker says that a batch is appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Never: what is sent counts as delivered, and losses go unnoticed.
    None,
    /// When the leader has it.
    Leader,
    /// When all in-sync replicas have it.
    #[default]
    All,
}

impl Acks {
    const fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer behaves.
#[derive(Clone)]
pub struct ProducerOptions {
    /// When a broker says that a batch is appended.
    pub acks: Acks,
    /// Whether brokers know each batch again, so that a repeated one is appended once. With other acks than [`Acks::All`]
    /// none is, whatever is said here.
    pub idempotent: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// At which level, on the compression's own scale; its default if none.
    pub compression_level: Option<i32>,
    /// How records are written into batches. Brokers that don't say that they take native ones (only Iolite does) get
    /// Kafka's, whatever is chosen here.
    pub encoding: Encoding,
    /// Bytes of records, before compression, at which a batch is full. A larger record makes a batch of its own.
    pub batch_bytes_max: usize,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Requests that one broker may have unanswered. With idempotence, no partition has more than 5 batches among them.
    pub in_flight_max: usize,
    /// Bytes of batches in one request; a batch that is larger all the same goes alone. No record may be larger.
    pub request_bytes_max: usize,
    /// Bytes of records that the producer holds, from [`Producer::send`] to the answer.
    pub memory_bytes_max: usize,
    /// How long delivering a record may take in all, from [`Producer::send`] on.
    pub delivery_timeout: Duration,
    /// Told of every batch, for who would rather not hold a [`Delivery`] for each record.
    pub listener: Option<Rc<dyn DeliveryListener>>,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            compression_level: None,
            encoding: Encoding::Kafka,
            batch_bytes_max: 16 * 1024,
            linger: Duration::ZERO,
            in_flight_max: 5,
            request_bytes_max: 1 << 20,
            memory_bytes_max: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            listener: None,
        }
    }
}

impl fmt::Debug for ProducerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acks, idempotent, compression, batch_bytes_max, linger, in_flight_max, .. } = self;
        formatter
            .debug_struct("ProducerOptions")
            .field("acks", acks)
            .field("idempotent", idempotent)
            .field("compression", compression)
            .field("batch_bytes_max", batch_bytes_max)
            .field("linger", linger)
            .field("in_flight_max", in_flight_max)
            .finish_non_exhaustive()
    }
}

/// Is told what becomes of batches, on the producer's executor, as soon as it is known. Must not send from within: that is what
/// a task is for.
pub trait DeliveryListener {
    /// A batch was delivered, or was not.
    fn delivered(&self, batch: &DeliveredBatch<'_>);

    /// A batch was handed to the connection to its leader.
    fn sent(&self, _batch: &SentBatch<'_>) {}

    /// A batch was sent in vain, and goes again, whole or in parts.
    fn failed(&self, _batch: &FailedBatch<'_>) {}
}

/// What became of a batch.
#[derive(Debug)]
pub struct DeliveredBatch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where: `offset` is the first record's, the others follow it; or why not.
    pub outcome: &'a Result<Acked, ProduceError>,
    /// The [`Record::token`] of each record, in order.
    pub tokens: &'a [u64],
    /// Bytes of the keys and values.
    pub payload_bytes: usize,
}

/// A batch on its way to its leader.
#[derive(Debug)]
pub struct SentBatch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// The [`Record::token`] of each record, in order.
    pub tokens: &'a [u64],
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Counts the producer's requests, from 1: batches that leave together have the same.
    pub request: u64,
}

/// A batch that goes again.
#[derive(Debug)]
pub struct FailedBatch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// The [`Record::token`] of each record, in order.
    pub tokens: &'a [u64],
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Why: what the broker said; none where it can't be told, since no answer came, or not to the question.
    pub reason: Option<KafkaError>,
}

/// A record to send. What it borrows is copied into the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Its partition; chosen by its key, or in turn, if none.
    pub partition: Option<PartitionIndex>,
    /// Its timestamp; now if none.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [Header<'a>],
    /// What the listener is to know it by.
    pub token: u64,
}

impl<'a> Record<'a> {
    /// A record with a value alone.
    #[must_use]
    pub fn of_value(value: &'a [u8]) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// A record with key and value.
    #[must_use]
    pub fn of(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: Some(key), value: Some(value), ..Self::default() }
    }
}

/// Why a record was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrySendError {
    /// The producer holds as many bytes as it may; try again when some were delivered.
    #[error("the producer holds as many bytes as it may")]
    Full,
    /// It will never be taken.
    #[error(transparent)]
    Refused(#[from] ProduceError),
}

/// Sends records. Clones share everything; with the last of them the producer ends, and what is not sent is lost:
/// [`close`](Self::close) it first.
#[derive(Clone)]
pub struct Producer {
    owner: Rc<Owner>,
}

/// Ends the sender when the last handle goes.
struct Owner(Rc<Sender>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Producer {
    /// Starts a producer; an idempotent one asks the cluster for its id.
    pub(crate) async fn start(client: &Client, options: ProducerOptions) -> Result<Self, ClientError> {
        let identity = match options.idempotent && options.acks == Acks::All {
            true => Some(identify(client).await?),
            false => None,
        };
        Ok(Self::with_identity(client, options, identity, None))
    }

    fn with_identity(
        client: &Client,
        options: ProducerOptions,
        identity: Option<(ProducerId, ProducerEpoch)>,
        transactions: Option<Transactions>,
    ) -> Self {
        let in_flight_max = options.in_flight_max.max(1);
        let limits = QueueLimits {
            batch_bytes_max: options.batch_bytes_max.clamp(1, options.request_bytes_max),
            linger: options.linger,
            in_flight_max: match identity {
                Some(_) => in_flight_max.min(IDEMPOTENT_IN_FLIGHT_MAX),
                None => in_flight_max,
            },
            delivery_timeout: options.delivery_timeout,
        };
        let sender = Sender::start(client, options, limits, identity, transactions);
        Self { owner: Rc::new(Owner(sender)) }
    }

    fn sender(&self) -> &Rc<Sender> {
        &self.owner.0
    }

    /// A topic to send to, which is asked for if the client does not know it.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<ProducerTopic, ClientError> {
        self.owner.0.topic(name).await
    }

    /// Takes a record, waiting while there is no memory for it.
    ///
    /// # Panics
    /// The topic was asked of another producer.
    ///
    /// # Errors
    /// See [`ProduceError`]; what happens to it later is told by the [`Delivery`].
    pub async fn send(&self, topic: &ProducerTopic, record: &Record<'_>) -> Result<Delivery, ProduceError> {
        loop {
            let freed = self.owner.0.freed.next();
            match self.try_send(topic, record) {
                Ok(delivery) => return Ok(delivery),
                Err(TrySendError::Refused(error)) => return Err(error),
                Err(TrySendError::Full) => self.owner.0.in_a_hurry(freed.wait()).await,
            }
        }
    }

    /// Takes a record if there is memory for it.
    ///
    /// # Panics
    /// The topic was asked of another producer.
    ///
    /// # Errors
    /// See [`TrySendError`].
    pub fn try_send(&self, topic: &ProducerTopic, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.owner.0.try_send(topic, record)
    }

    /// Waits until everything taken before is decided; nothing lingers meanwhile. With [`Acks::None`], also until the
    /// brokers have read what was sent to them, for as long as their connections last.
    pub async fn flush(&self) {
        self.owner.0.flush().await;
    }

    /// Takes no more records, and waits until everything taken before is decided.
    pub async fn close(&self) {
        self.owner.0.refuse();
        self.flush().await;
        self.owner.0.end();
    }

    /// Bytes of records that the producer holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.owner.0.held_bytes()
    }
}

/// Gets an id for an idempotent producer.
async fn identify(client: &Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
    };
    client
        .until_done("get a producer id", async || {
            let answer = client.any_connection().await?.call(&request).await?;
            let response: InitProducerIdResponse = answer.decode()?;
            client.check("get a producer id", response.error_code, None)?;
            Ok((response.producer_id, response.producer_epoch))
        })
        .await
}

fn batch_options(options: &ProducerOptions) -> BatchOptions {
    BatchOptions {
        encoding: options.encoding,
        compression: options.compression,
        compression_level: options.compression_level,
        ..BatchOptions::default()
    }
}

/// The wall clock, in milliseconds.
fn now_timestamp() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The moment on the clock that the queues are told.
fn now() -> Instant {
    Instant::now()
}

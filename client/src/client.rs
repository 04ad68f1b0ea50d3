//! The client: one view of the cluster, from which producers, consumers and calls are made.

use std::rc::Rc;
use std::time::Instant;

use protocol::error::{ErrorCode, KafkaError};
use protocol::types::BrokerId;

use crate::admin::Admin;
use crate::cluster::{ClientOptions, Cluster, Topic};
use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::ClientError;
use crate::group::{Group, GroupConsumer, GroupOptions};
use crate::limits::CONCURRENT_TRANSACTIONS_PAUSE;
use crate::links::Links;
use crate::producer::{Producer, ProducerOptions, TransactionOptions, TransactionalProducer};
use executor::sleep;

/// A client of one cluster, on one executor. Clones share it.
#[derive(Clone)]
pub struct Client {
    cluster: Rc<Cluster>,
    /// For calls that are answered at once.
    links: Rc<Links>,
}

impl Client {
    /// Connects to the first bootstrap server that answers.
    ///
    /// # Errors
    /// No address is given or one is malformed, or none answers.
    pub async fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        executor::keep_nudged();
        let cluster = Cluster::connect(options).await?;
        let links = Rc::new(Links::new(Rc::clone(&cluster)));
        Ok(Self { cluster, links })
    }

    /// A topic: as it is known, or asked for.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<Rc<Topic>, ClientError> {
        self.cluster.topic(name).await
    }

    /// Asks for all known topics and brokers anew.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        self.cluster.refresh(self.cluster.generation()).await
    }

    /// The brokers of the cluster, as last told.
    #[must_use]
    pub fn brokers(&self) -> Vec<BrokerId> {
        self.cluster.broker_ids()
    }

    /// A connection to a broker of the caller's own, for raw requests.
    ///
    /// # Errors
    /// The broker is not known or can't be reached.
    pub async fn connection_to(&self, broker: BrokerId) -> Result<Connection, ClientError> {
        let (host, port) = self.cluster.address_of(broker).ok_or(ClientError::UnknownBroker(broker))?;
        Ok(Connection::open_at(&host, port, self.cluster.connection_options()).await?)
    }

    /// Starts a producer.
    ///
    /// # Errors
    /// An idempotent one gets no id.
    pub async fn producer(&self, options: ProducerOptions) -> Result<Producer, ClientError> {
        Producer::start(self, options).await
    }

    /// Starts a producer of transactions. Whoever had the transactional id before is fenced, and what it left open aborted.
    ///
    /// # Errors
    /// The broker refuses, or no broker answers.
    pub async fn transactional_producer(
        &self,
        id: &str,
        options: TransactionOptions,
    ) -> Result<TransactionalProducer, ClientError> {
        TransactionalProducer::start(self, id, options).await
    }

    /// Starts a consumer, with nothing assigned.
    #[must_use]
    pub fn consumer(&self, options: ConsumerOptions) -> Consumer {
        Consumer::start(self, options)
    }

    /// The offsets kept under a group's name.
    #[must_use]
    pub fn group(&self, name: &str) -> Group {
        Group::new(self, name)
    }

    /// Joins a group (KIP-848) that reads these topics; the broker says which of their partitions.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers. That the group refuses is told by [`GroupConsumer::next`].
    pub async fn join_group(
        &self,
        name: &str,
        topics: &[&str],
        options: GroupOptions,
    ) -> Result<GroupConsumer, ClientError> {
        GroupConsumer::join(self, name, topics, options).await
    }

    /// What changes and describes the cluster.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self)
    }

    pub(crate) fn cluster(&self) -> &Rc<Cluster> {
        &self.cluster
    }

    /// Connections that nobody else uses.
    pub(crate) fn links(&self) -> Links {
        Links::new(Rc::clone(&self.cluster))
    }

    /// The shared connection to a broker, for calls that are answered at once.
    pub(crate) async fn connection(&self, broker: BrokerId) -> Result<Connection, ClientError> {
        self.links.connect(broker).await
    }

    /// The shared connection to a broker that can answer what any can.
    pub(crate) async fn any_connection(&self) -> Result<Connection, ClientError> {
        let broker = self.cluster.any_broker().ok_or(ClientError::UnknownBroker(BrokerId(-1)))?;
        self.connection(broker).await
    }

    /// Success, or the broker's refusal.
    pub(crate) fn check(
        &self,
        doing: &str,
        code: ErrorCode,
        message: Option<&str>,
    ) -> Result<(), ClientError> {
        code.into_result().map_err(|error| ClientError::Kafka {
            doing: doing.to_owned(),
            error,
            message: message.map(str::to_owned),
        })
    }

    /// Tries until it succeeds, fails for good, or has taken `call_timeout`. Metadata is renewed between tries.
    pub(crate) async fn until_done<T>(
        &self,
        doing: &str,
        attempt: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let after = self.cluster.options().call_timeout;
        let deadline = Instant::now() + after;
        let mut failures = 0;
        loop {
            let seen = self.cluster.generation();
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_retriable() {
                return Err(error);
            }
            if Instant::now() >= deadline {
                return Err(ClientError::TimedOut { doing: doing.to_owned(), after, last: Box::new(error) });
            }
            if error.kafka() == Some(KafkaError::ConcurrentTransactions) {
                sleep(CONCURRENT_TRANSACTIONS_PAUSE).await;
                continue;
            }
            failures += 1;
            sleep(self.cluster.backoff(failures)).await;
            // A failure is no news: the next attempt finds out for itself.
            let _known = self.cluster.refresh(seen).await;
        }
    }
}

/// Whether another broker leads now, or the topic is another one.
pub(crate) const fn is_misdirected(error: KafkaError) -> bool {
    matches!(
        error,
        KafkaError::NotLeaderOrFollower
            | KafkaError::LeaderNotAvailable
            | KafkaError::FencedLeaderEpoch
            | KafkaError::UnknownLeaderEpoch
            | KafkaError::UnknownTopicOrPartition
            | KafkaError::UnknownTopicId
            | KafkaError::InconsistentTopicId
            | KafkaError::ReplicaNotAvailable
            | KafkaError::KafkaStorageError
            | KafkaError::OffsetNotAvailable
    )
}

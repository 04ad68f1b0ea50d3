//! Transactions: what is sent in one is read together or not at all (by who reads what is committed), over any partitions,
//! with the offsets of what it was made of.
//!
//! A transactional id belongs to one producer at a time: one that begins with it fences the one before and aborts what that
//! left open. With brokers that go by KIP-890's second part (`transaction.version` 2), writing to a partition adds it to the
//! transaction, and each end brings a new epoch; with older ones partitions are added first, and only an abort brings a
//! new epoch. What the end of a transaction came to is known, or said to be not known; a transaction that was left open, by
//! dropping it or by an end in doubt, is aborted before the next one begins.

mod offsets;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::types::{ProducerEpoch, ProducerId, TransactionVersion};

use super::sender::Sender;
use super::topic::{PartitionState, ProducerTopic};
use super::{Acks, Delivery, Producer, ProducerOptions, Record, TrySendError};
use crate::Client;
use crate::connection::Connection;
use crate::coordinator::{Coordinator, Kind};
use crate::error::{ClientError, ProduceError, TransactionError};
use executor::Signal;

/// The feature that says which protocol transactions go by.
const FEATURE: &str = "transaction.version";
/// The first versions in which writing adds to a transaction and an end brings an epoch.
const SECOND_PROTOCOL: [(ApiKey, i16); 3] =
    [(ApiKey::Produce, 12), (ApiKey::TxnOffsetCommit, 5), (ApiKey::EndTxn, 5)];
/// The last version of EndTxn that leaves the epoch as it is.
const END_VERSION_MAX: i16 = 4;
/// The first version of InitProducerId that names the producer before.
const RENEW_VERSION_MIN: i16 = 3;

/// How a transactional producer behaves.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// How it produces. It is idempotent and waits for all in-sync replicas, whatever is said here.
    pub producer: ProducerOptions,
    /// How long a transaction may be open before its coordinator aborts it.
    pub timeout: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self { producer: ProducerOptions::default(), timeout: Duration::from_secs(60) }
    }
}

/// A producer all of whose records belong to transactions.
///
/// ```no_run
/// # use client::{Client, error::TransactionError};
/// # use client::producer::{Record, TransactionOptions};
/// # async fn transfer(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut producer = client.transactional_producer("teller-1", TransactionOptions::default()).await?;
/// let accounts = producer.topic("accounts").await?;
/// let transaction = producer.begin().await?;
/// // Deliveries need not be awaited: `commit` does, and fails if one of them has.
/// let _debit = transaction.send(&accounts, &Record::of(b"alice", b"-10")).await?;
/// let _credit = transaction.send(&accounts, &Record::of(b"bob", b"+10")).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct TransactionalProducer {
    producer: Producer,
}

/// A transaction that is open. Dropped, it is aborted before the next one begins, or when its time is up.
#[must_use = "nothing is committed by dropping a transaction"]
pub struct Transaction<'p> {
    producer: &'p TransactionalProducer,
}

/// What a sender knows of its transactions.
pub(super) struct Transactions {
    coordinator: Coordinator,
    timeout: Duration,
    /// Whether writing adds partitions, and each end brings an epoch.
    joins_by_writing: Cell<bool>,
    /// Counts them.
    number: Cell<u64>,
    is_open: Cell<bool>,
    /// Whether brokers may know of the one that is open.
    is_told: Cell<bool>,
    /// By the first protocol: it is ended, and all that is left to do is to get an epoch for the next one.
    is_ended: Cell<bool>,
    is_aborting: Cell<bool>,
    /// Why the one that is open can't be committed.
    trouble: RefCell<Option<TransactionError>>,
    /// Partitions that want to be added.
    to_join: RefCell<Vec<Rc<PartitionState>>>,
    is_joining: Cell<bool>,
    joined: Signal,
    /// Groups whose offsets were added to the one that is open.
    groups: RefCell<Vec<String>>,
}

/// What is not delivered is given up while this lives.
pub(super) struct Aborting<'a>(&'a Transactions);

impl Drop for Aborting<'_> {
    fn drop(&mut self) {
        self.0.is_aborting.set(false);
    }
}

impl Transactions {
    fn new(client: &Client, id: &str, timeout: Duration) -> Self {
        Self {
            coordinator: Coordinator::new(client, Kind::TransactionalId, id),
            timeout,
            joins_by_writing: Cell::new(false),
            number: Cell::new(0),
            is_open: Cell::new(false),
            is_told: Cell::new(false),
            is_ended: Cell::new(false),
            is_aborting: Cell::new(false),
            trouble: RefCell::default(),
            to_join: RefCell::default(),
            is_joining: Cell::new(false),
            joined: Signal::default(),
            groups: RefCell::default(),
        }
    }

    pub(super) fn id(&self) -> &str {
        self.coordinator.name()
    }

    pub(super) fn joins_by_writing(&self) -> bool {
        self.joins_by_writing.get()
    }

    pub(super) fn number(&self) -> u64 {
        self.number.get()
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.is_aborting.get()
    }

    pub(super) fn abort(&self) -> Aborting<'_> {
        self.is_aborting.set(true);
        self.to_join.take();
        Aborting(self)
    }

    /// A broker hears of the transaction, so that it has to be ended.
    pub(super) fn is_told_to_brokers(&self) {
        self.is_told.set(true);
    }

    /// The transaction can't be committed any more; the first reason stays, unless a later one is final.
    pub(super) fn fail(&self, reason: TransactionError) {
        let mut trouble = self.trouble.borrow_mut();
        if trouble.is_none() || reason.is_final() {
            *trouble = Some(reason);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.trouble.borrow().is_some()
    }

    /// Notes a partition that is to be added; whether somebody must begin with it.
    pub(super) fn wants_in(&self, partition: &Rc<PartitionState>) -> bool {
        let mut to_join = self.to_join.borrow_mut();
        if !to_join.iter().any(|one| Rc::ptr_eq(one, partition)) {
            to_join.push(Rc::clone(partition));
        }
        !self.is_joining.replace(true)
    }

    /// The partitions to add next; none when all are added.
    pub(super) fn next_to_join(&self) -> Option<Vec<Rc<PartitionState>>> {
        let next = self.to_join.take();
        if next.is_empty() {
            self.is_joining.set(false);
            self.joined.raise();
            return None;
        }
        Some(next)
    }

    /// Waits until no partition is being added.
    pub(super) async fn all_joined(&self) {
        loop {
            let joined = self.joined.next();
            if !self.is_joining.get() {
                return;
            }
            joined.wait().await;
        }
    }

    /// Asks the coordinator of the transactional id until it is done.
    pub(super) async fn until_done<T>(
        &self,
        doing: &str,
        attempt: impl AsyncFn(Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.coordinator.until_done(doing, attempt).await
    }

    /// Gets an identity: a new one for who has none, a new epoch for who has one. What is open is aborted by it.
    async fn initialise(
        &self,
        client: &Client,
        before: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), ClientError> {
        let doing = format!("begin as {}", self.id());
        let attempt = async |connection: Connection| {
            let can_renew = connection.version(ApiKey::InitProducerId)? >= RENEW_VERSION_MIN;
            let (producer_id, producer_epoch) =
                before.filter(|_| can_renew).unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
            let request = InitProducerIdRequest {
                transactional_id: Some(self.id()),
                transaction_timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
                producer_id,
                producer_epoch,
            };
            let answer = connection.call(&request).await?;
            let response: InitProducerIdResponse = answer.decode()?;
            client.check(&doing, response.error_code, None)?;
            let knows =
                |(api, version): (ApiKey, i16)| connection.version(api).is_ok_and(|one| one >= version);
            let is_second = connection.feature_level(FEATURE) >= TransactionVersion::V2.level();
            self.joins_by_writing.set(is_second && SECOND_PROTOCOL.into_iter().all(knows));
            Ok((response.producer_id, response.producer_epoch))
        };
        self.until_done(&doing, attempt).await
    }

    /// Ends what is open; the identity to go on with.
    async fn end(
        &self,
        client: &Client,
        (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
        committed: bool,
    ) -> Result<(ProducerId, ProducerEpoch), NotEnded> {
        let may_have_ended = Cell::new(false);
        let request = EndTxnRequest { transactional_id: self.id(), producer_id, producer_epoch, committed };
        let doing = format!("{} a transaction of {}", if committed { "commit" } else { "abort" }, self.id());
        let version_max = if self.joins_by_writing() { i16::MAX } else { END_VERSION_MAX };
        let attempt = async |connection: Connection| {
            let before = may_have_ended.replace(true);
            let answer = connection.call_up_to(version_max, &request).await?;
            let response: EndTxnResponse = answer.decode()?;
            may_have_ended.set(before || leaves_doubt(response.error_code));
            client.check(&doing, response.error_code, None)?;
            Ok((response.producer_id, response.producer_epoch))
        };
        let given = self.until_done(&doing, attempt).await.map_err(|error| {
            let is_refused = matches!(error, ClientError::Kafka { .. }) && !may_have_ended.get();
            NotEnded { error, is_refused }
        })?;
        Ok(if given.0 == ProducerId::NONE { (producer_id, producer_epoch) } else { given })
    }
}

/// An end of a transaction that was not confirmed.
struct NotEnded {
    error: ClientError,
    /// It was refused, and nothing can have come of attempts before. Otherwise one of them may have ended it: what is refused
    /// then is to end it again.
    is_refused: bool,
}

/// Whether an end may have been decided although the coordinator says otherwise: its log may have taken it. Nothing has come
/// of it where the coordinator was busy with the transaction before, or not ready, or has refused it for good.
fn leaves_doubt(code: ErrorCode) -> bool {
    match code.into_result() {
        Ok(()) | Err(KafkaError::ConcurrentTransactions | KafkaError::CoordinatorLoadInProgress) => false,
        Err(error) => error.retriable(),
    }
}

impl TransactionalProducer {
    /// Takes the transactional id over, and aborts what its last producer left open.
    pub(crate) async fn start(
        client: &Client,
        id: &str,
        options: TransactionOptions,
    ) -> Result<Self, ClientError> {
        let TransactionOptions { producer, timeout } = options;
        let transactions = Transactions::new(client, id, timeout);
        let identity = transactions.initialise(client, None).await?;
        let options = ProducerOptions { acks: Acks::All, idempotent: true, ..producer };
        let producer = Producer::with_identity(client, options, Some(identity), Some(transactions));
        Ok(Self { producer })
    }

    /// The transactional id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.transactions().id()
    }

    /// A topic to send to, which is asked for if the client does not know it.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<ProducerTopic, ClientError> {
        self.producer.topic(name).await
    }

    /// Begins a transaction. That costs no request, unless the one before was left open.
    ///
    /// # Errors
    /// The producer is fenced, or the one before was left open and can't be aborted now.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, TransactionError> {
        let transactions = self.transactions();
        if let Some(error) = transactions.trouble.borrow().as_ref().filter(|error| error.is_final()) {
            return Err(error.clone());
        }
        if transactions.is_open.get() {
            self.sender().give_up().await;
            self.renew().await?;
        }
        transactions.trouble.replace(None);
        transactions.groups.take();
        transactions.number.update(|number| number + 1);
        transactions.is_told.set(false);
        transactions.is_open.set(true);
        Ok(Transaction { producer: self })
    }

    /// Takes no more transactions; one that was left open is aborted.
    ///
    /// # Errors
    /// What was left open can't be aborted: its coordinator does so when its time is up.
    pub async fn close(self) -> Result<(), TransactionError> {
        let outcome = match self.transactions().is_open.get() {
            true => self.abort().await,
            false => Ok(()),
        };
        self.producer.close().await;
        outcome
    }

    fn sender(&self) -> &Rc<Sender> {
        self.producer.sender()
    }

    fn transactions(&self) -> &Transactions {
        self.sender().transactions.as_ref().expect("a transactional producer has them")
    }

    /// Aborts what is open.
    async fn abort(&self) -> Result<(), TransactionError> {
        let (sender, transactions) = (self.sender(), self.transactions());
        sender.give_up().await;
        if !transactions.joins_by_writing() {
            // Some of what was given up may have had its sequences: a new epoch begins them anew.
            return self.renew().await;
        }
        if transactions.is_told.get() {
            let ended = transactions.end(sender.client(), sender.identity(), false).await;
            sender.go_on_as(ended.map_err(|not_ended| self.note(not_ended.error))?);
        }
        transactions.is_open.set(false);
        Ok(())
    }

    /// Aborts what is open and gets a new epoch. Nothing is done if no broker knows of it.
    async fn renew(&self) -> Result<(), TransactionError> {
        let (sender, transactions) = (self.sender(), self.transactions());
        if transactions.is_told.get() {
            // By the first protocol, who asks for an epoch while a transaction of its own is open is fenced with it. Who asks for
            // one again, since the answer never came, must not end anything as who it was before.
            if !transactions.joins_by_writing() && !transactions.is_ended.get() {
                let ended = transactions.end(sender.client(), sender.identity(), false).await;
                match ended.map_err(|not_ended| (not_ended.error.kafka(), not_ended.error)) {
                    // It is committed or aborted, or its coordinator has never heard of it or forgotten its producer.
                    Ok(_)
                    | Err((Some(KafkaError::InvalidTxnState | KafkaError::InvalidProducerIdMapping), _)) => {}
                    Err((_, error)) => return Err(self.note(error)),
                }
                transactions.is_ended.set(true);
            }
            let renewed = transactions.initialise(sender.client(), Some(sender.identity())).await;
            sender.go_on_as(renewed.map_err(|error| self.note(error))?);
            transactions.is_ended.set(false);
        }
        transactions.is_open.set(false);
        Ok(())
    }

    /// What an error means; one that is final is kept.
    fn note(&self, error: ClientError) -> TransactionError {
        let error = TransactionError::of(error);
        if error.is_final() {
            self.transactions().fail(error.clone());
        }
        error
    }
}

impl Transaction<'_> {
    /// Takes a record, waiting while there is no memory for it.
    ///
    /// # Errors
    /// See [`ProduceError`]; what happens to it later is told by the [`Delivery`], and by [`commit`](Self::commit).
    pub async fn send(&self, topic: &ProducerTopic, record: &Record<'_>) -> Result<Delivery, ProduceError> {
        self.open()?;
        self.producer.producer.send(topic, record).await
    }

    /// Takes a record if there is memory for it.
    ///
    /// # Errors
    /// See [`TrySendError`].
    pub fn try_send(&self, topic: &ProducerTopic, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.open()?;
        self.producer.producer.try_send(topic, record)
    }

    /// Commits: everything sent in the transaction, and the offsets, is seen from now on by who reads what is committed.
    ///
    /// # Errors
    /// A record was not delivered, or the coordinator refuses: nothing is committed, and what was written is aborted.
    /// [`TransactionError::InDoubt`] alone means that it may be committed.
    pub async fn commit(self) -> Result<(), TransactionError> {
        let Self { producer } = self;
        let (sender, transactions) = (producer.sender(), producer.transactions());
        sender.flush_unless_it_fails().await;
        let trouble = transactions.trouble.borrow().clone();
        if let Some(trouble) = trouble {
            // Where that fails, the next transaction sees to it, or the coordinator when its time is up.
            let aborted = producer.abort().await;
            return Err(aborted.err().filter(TransactionError::is_final).unwrap_or(trouble));
        }
        if transactions.is_told.get() {
            match transactions.end(sender.client(), sender.identity(), true).await {
                Ok(identity) => sender.go_on_as(identity),
                Err(NotEnded { error, is_refused: true }) => return Err(producer.note(error)),
                Err(NotEnded { error, .. }) => return Err(TransactionError::InDoubt(error)),
            }
        }
        transactions.is_open.set(false);
        Ok(())
    }

    /// Aborts: nothing of it is ever seen by who reads what is committed.
    ///
    /// # Errors
    /// The producer is fenced, or no coordinator answers: it will be aborted nevertheless.
    pub async fn abort(self) -> Result<(), TransactionError> {
        self.producer.abort().await
    }

    /// Whether there is still something to be sent for.
    fn open(&self) -> Result<(), ProduceError> {
        if self.producer.transactions().has_failed() { Err(ProduceError::Aborted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;

//! What a client knows of its cluster: brokers, topics, leaders; asked for once, and again when it proves wrong.
//!
//! Everybody looks at the newest snapshot. Who finds it wrong (a broker is not the leader, a topic's id is not known)
//! asks for one newer than that; all who ask at a time share one request. A task renews a snapshot that has grown old
//! although nothing seems wrong with it: that is how new partitions are found. A topic's epochs never go back: an answer
//! from a broker that lags is not taken for it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use rustc_hash::FxHashMap;

use crate::connection::{Connection, ConnectionOptions, split_server};
use crate::error::{ClientError, ConnectionError};
use crate::limits::TOPICS_MAX;
use crate::links;
use executor::{Signal, sleep};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where to begin: `host:port` of some brokers of the cluster.
    pub bootstrap: Vec<String>,
    /// How its connections behave.
    pub connection: ConnectionOptions,
    /// After how long metadata is renewed although nothing seems wrong with it: new partitions of a topic, and brokers,
    /// are noticed by then.
    pub metadata_age_max: Duration,
    /// The pause after a first failure; each further one doubles it.
    pub retry_backoff: Duration,
    /// The longest pause.
    pub retry_backoff_max: Duration,
    /// How long a call (not a record: see the producer's own) is tried again before it fails.
    pub call_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            connection: ConnectionOptions::default(),
            metadata_age_max: Duration::from_secs(300),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            call_timeout: Duration::from_secs(60),
        }
    }
}

impl ClientOptions {
    /// The defaults, beginning at these servers.
    #[must_use]
    pub fn new<S: Into<String>>(bootstrap: impl IntoIterator<Item = S>) -> Self {
        Self { bootstrap: bootstrap.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// A topic as the cluster described it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Rc<str>,
    /// Its id; zero where the cluster has no topic ids.
    pub id: TopicId,
    /// Its partitions, by index.
    pub partitions: Vec<TopicPartition>,
}

/// A partition and its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPartition {
    /// Its index.
    pub index: PartitionIndex,
    /// Its leader; none where it has none now.
    pub leader: Option<BrokerId>,
    /// The leader's epoch; [`LeaderEpoch::UNKNOWN`] where the cluster doesn't tell.
    pub leader_epoch: LeaderEpoch,
}

impl Topic {
    /// A partition of the topic.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn partition(&self, index: PartitionIndex) -> Result<&TopicPartition, ClientError> {
        let place = usize::try_from(index.0).ok();
        place
            .and_then(|place| self.partitions.get(place))
            .ok_or_else(|| ClientError::UnknownPartition { topic: self.name.to_string(), partition: index })
    }

    fn read(answer: &MetadataResponseTopic<'_>, name: &str) -> Self {
        let mut partitions: Vec<TopicPartition> = answer
            .partitions
            .iter()
            .map(|partition| TopicPartition {
                index: partition.partition_index,
                leader: Some(partition.leader_id).filter(|leader| leader.0 >= 0),
                leader_epoch: partition.leader_epoch,
            })
            .collect();
        partitions.sort_unstable_by_key(|partition| partition.index);
        Self { name: name.into(), id: answer.topic_id, partitions }
    }

    /// Keeps of `earlier` what is newer there: leaders of a later epoch.
    fn keep_newer(&mut self, earlier: &Self) {
        if self.id != earlier.id {
            return;
        }
        for (now, before) in self.partitions.iter_mut().zip(&earlier.partitions) {
            if before.leader_epoch > now.leader_epoch && now.leader_epoch != LeaderEpoch::UNKNOWN {
                *now = *before;
            }
        }
    }
}

/// What is known of a topic asked for.
#[derive(Clone, Debug)]
enum Known {
    Described(Rc<Topic>),
    /// The cluster has an answer for it, and it is no description.
    Refused(KafkaError),
}

/// The one request for metadata that is under way; it is over when this goes, answered or given up.
struct Refreshing<'a>(&'a Cluster);

impl<'a> Refreshing<'a> {
    fn begin(cluster: &'a Cluster) -> Option<Self> {
        (!cluster.refreshing.replace(true)).then_some(Self(cluster))
    }
}

impl Drop for Refreshing<'_> {
    fn drop(&mut self) {
        self.0.refreshing.set(false);
        self.0.refreshed.raise();
    }
}

/// The cluster as one client sees it.
pub(crate) struct Cluster {
    options: ClientOptions,
    brokers: RefCell<FxHashMap<BrokerId, (Rc<str>, u16)>>,
    controller: Cell<Option<BrokerId>>,
    topics: RefCell<FxHashMap<Rc<str>, Option<Known>>>,
    /// Counts what was learned.
    generation: Cell<u64>,
    learned_at: Cell<Instant>,
    refreshing: Cell<bool>,
    refreshed: Signal,
    /// The connection that metadata is asked on.
    connection: RefCell<Option<Connection>>,
}

impl Cluster {
    /// Connects to the first bootstrap server that answers and learns of the brokers.
    pub(crate) async fn connect(options: ClientOptions) -> Result<Rc<Self>, ClientError> {
        if options.bootstrap.is_empty() {
            return Err(ClientError::NoBootstrap);
        }
        for server in &options.bootstrap {
            split_server(server)?;
        }
        let cluster = Rc::new(Self {
            options,
            brokers: RefCell::default(),
            controller: Cell::default(),
            topics: RefCell::default(),
            generation: Cell::new(0),
            learned_at: Cell::new(Instant::now()),
            refreshing: Cell::new(false),
            refreshed: Signal::default(),
            connection: RefCell::default(),
        });
        cluster.refresh(0).await?;
        glommio::spawn_local(stay_young(Rc::downgrade(&cluster))).detach();
        Ok(cluster)
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(crate) fn connection_options(&self) -> &ConnectionOptions {
        &self.options.connection
    }

    /// How long to wait after so many failures in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        links::backoff(self.options.retry_backoff, self.options.retry_backoff_max, failures)
    }

    /// Counts what was learned: pass it to [`Self::refresh`] when what was known then proved wrong.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub(crate) fn address_of(&self, broker: BrokerId) -> Option<(Rc<str>, u16)> {
        self.brokers.borrow().get(&broker).cloned()
    }

    /// A broker to ask what any can answer: the controller, or some other.
    pub(crate) fn any_broker(&self) -> Option<BrokerId> {
        let brokers = self.brokers.borrow();
        self.controller.get().filter(|id| brokers.contains_key(id)).or_else(|| brokers.keys().min().copied())
    }

    /// All brokers known, in order.
    pub(crate) fn broker_ids(&self) -> Vec<BrokerId> {
        let mut ids: Vec<BrokerId> = self.brokers.borrow().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// A topic as it was last described, if it was; no request.
    pub(crate) fn known(&self, name: &str) -> Option<Rc<Topic>> {
        match self.topics.borrow().get(name) {
            Some(Some(Known::Described(topic))) => Some(Rc::clone(topic)),
            _ => None,
        }
    }

    /// What the cluster said of a topic instead of describing it, when it was last asked.
    pub(crate) fn refusal(&self, name: &str) -> Option<KafkaError> {
        match self.topics.borrow().get(name) {
            Some(Some(Known::Refused(error))) => Some(*error),
            _ => None,
        }
    }

    /// Has a topic asked for from now on that somebody still reads or writes, should it be forgotten.
    pub(crate) fn want(&self, name: &Rc<str>) {
        self.topics.borrow_mut().entry(Rc::clone(name)).or_default();
    }

    /// A topic: as it is known, or asked for.
    pub(crate) async fn topic(&self, name: &str) -> Result<Rc<Topic>, ClientError> {
        if let Some(topic) = self.known(name) {
            return Ok(topic);
        }
        let is_new = !self.topics.borrow().contains_key(name);
        if is_new && self.topics.borrow().len() >= TOPICS_MAX {
            return Err(ClientError::TooManyTopics(TOPICS_MAX));
        }
        self.topics.borrow_mut().insert(name.into(), None);
        // An answer under way may be to a question that did not name the topic yet.
        let mut seen = self.generation();
        while self.refreshing.get() {
            self.refreshed.next().wait().await;
            seen = self.generation();
        }
        self.refresh(seen).await?;
        let known = self.topics.borrow().get(name).cloned().flatten();
        match known {
            Some(Known::Described(topic)) => Ok(topic),
            Some(Known::Refused(error)) => {
                self.topics.borrow_mut().remove(name);
                match error {
                    KafkaError::UnknownTopicOrPartition => Err(ClientError::UnknownTopic(name.to_owned())),
                    error => {
                        Err(ClientError::Kafka { doing: format!("describe {name}"), error, message: None })
                    }
                }
            }
            None => Err(ClientError::UnknownTopic(name.to_owned())),
        }
    }

    /// Learns something newer than generation `seen`, unless that has happened already.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<(), ClientError> {
        while self.generation() <= seen {
            if let Some(_turn) = Refreshing::begin(self) {
                return self.learn().await;
            }
            self.refreshed.next().wait().await;
            if self.generation() <= seen {
                // The attempt that was waited for failed; spare the brokers a storm.
                sleep(self.options.retry_backoff).await;
            }
        }
        Ok(())
    }

    /// Forgets a topic: it was deleted here.
    pub(crate) fn forget(&self, name: &str) {
        self.topics.borrow_mut().remove(name);
    }

    /// How long what is known is still young.
    fn youth_left(&self) -> Duration {
        self.options.metadata_age_max.saturating_sub(self.learned_at.get().elapsed())
    }

    async fn learn(&self) -> Result<(), ClientError> {
        let names: Vec<Rc<str>> = self.topics.borrow().keys().cloned().collect();
        let topics =
            names.iter().map(|name| MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(name) });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        let connection = self.any_connection().await?;
        let answer = match connection.call(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                self.connection.replace(None);
                return Err(error);
            }
        };
        let response: MetadataResponse<'_> = answer.decode()?;
        self.take(&response);
        Ok(())
    }

    fn take(&self, response: &MetadataResponse<'_>) {
        if !response.brokers.is_empty() {
            let brokers = response.brokers.iter().filter_map(|broker| {
                Some((broker.node_id, (broker.host.into(), u16::try_from(broker.port).ok()?)))
            });
            self.brokers.replace(brokers.collect());
        }
        self.controller.set(Some(response.controller_id).filter(|id| id.0 >= 0));
        let mut topics = self.topics.borrow_mut();
        for answer in &response.topics {
            let Some(name) = answer.name else { continue };
            let Some(place) = topics.get_mut(name) else { continue };
            *place = match answer.error_code.into_result() {
                Ok(()) => {
                    let mut topic = Topic::read(answer, name);
                    if let Some(Known::Described(earlier)) = place {
                        topic.keep_newer(earlier);
                    }
                    Some(Known::Described(Rc::new(topic)))
                }
                Err(error) => Some(Known::Refused(error)),
            };
        }
        drop(topics);
        self.learned_at.set(Instant::now());
        self.generation.set(self.generation.get() + 1);
    }

    /// The connection to ask on: the one at hand, or to any broker known, or to a bootstrap server.
    async fn any_connection(&self) -> Result<Connection, ClientError> {
        let open = self.connection.borrow().as_ref().filter(|open| open.ended().is_none()).cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let known: Vec<(Rc<str>, u16)> = self.brokers.borrow().values().cloned().collect();
        let bootstrap = self.options.bootstrap.iter().filter_map(|server| split_server(server).ok());
        let servers = known.into_iter().chain(bootstrap.map(|(host, port)| (host.into(), port)));
        let mut last = ConnectionError::Closed;
        for (host, port) in servers {
            match Connection::open_at(&host, port, self.connection_options()).await {
                Ok(connection) => {
                    self.connection.replace(Some(connection.clone()));
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(ClientError::NoBroker(last))
    }
}

/// Renews what has grown old, for as long as there is a cluster.
async fn stay_young(cluster: Weak<Cluster>) {
    let mut failures = 0;
    loop {
        let Some(known) = cluster.upgrade() else { return };
        let pause = match failures {
            0 => known.youth_left().max(known.options.retry_backoff),
            // What can't be renewed stays good for as long as nobody finds it wrong.
            failures => known.backoff(failures),
        };
        drop(known);
        sleep(pause).await;
        let Some(known) = cluster.upgrade() else { return };
        let is_renewed = !known.youth_left().is_zero() || known.refresh(known.generation()).await.is_ok();
        failures = if is_renewed { 0 } else { failures + 1 };
    }
}

#[cfg(test)]
mod tests;

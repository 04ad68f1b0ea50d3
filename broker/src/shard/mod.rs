//! A shard: one core, and all that is its own: partitions, store, connections, memory.
//!
//! Everything here is touched by the shard's thread alone, so nothing is locked. What other shards want comes in as a
//! [`messages::Message`]; what the metadata says comes in as an image and a delta.

mod answers;
mod background;
mod bandwidth;
mod calls;
mod catch_up;
mod compaction;
pub mod coordinator_log;
mod coordinator_task;
mod figures;
mod groups;
mod inbox;
pub mod inflow;
pub mod internal_topics;
mod markers;
pub mod messages;
mod offsets;
mod pacing;
pub mod partition;
#[cfg(test)]
mod power_cut_tests;
pub mod prepare;
pub mod produce;
mod producer_ids;
mod producer_memory;
pub mod questions;
mod serving;
pub mod start;
mod topics;
mod transactions;
mod workbench;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use logic::config::{BrokerLayers, ConfigMap, Described};
use logic::fetch::SessionCache;
use logic::group::GroupSettings;
use logic::metadata::{Command, Image, Response, shard_of};
use logic::transaction::CoordinatorConfig;
use protocol::types::{BrokerId, PartitionKey, Timestamp, TopicId};
use protocol::wire::Writer;
use storage::disk::glommio::GlommioDisk;
use storage::store::ShardStore;
use tokio::sync::watch;

use crate::metrics::{self, Count};
use crate::net::budget::Budget;
use crate::net::connection::Connections;
use crate::net::frames::Scratch;
use crate::net::poller::Poller;
use crate::net::replies::Replies;
use crate::net::seats::Seats;
use crate::quorum::{QuorumError, QuorumHandle};
use crate::runtime::{Mesh, Signal, Tally, either, sleep};
use answers::DueAnswers;
use calls::Calls;
use catch_up::CatchUp;
pub use compaction::CompactionShare;
use groups::Groups;
use inflow::{Drained, Inflow, Sent};
use internal_topics::InternalTopic;
use messages::{Answer, Message, ProduceItems, ProduceOutcome, ProduceTerms, Question};
use pacing::Pacing;
use partition::{Appending, Partition, Partitions};
use prepare::InPassing;
use produce::{Listener, ProduceCall};
use producer_ids::ProducerIds;
use producer_memory::ProducerMemory;
pub use topics::partition_specs;
use transactions::Transactions;
use workbench::{Waiting, Workbench};

/// The store as the broker runs it.
pub type Store = ShardStore<GlommioDisk>;

/// What a shard is told when it starts, and never again.
pub struct ShardConfig {
    /// Its index.
    pub index: usize,
    /// How many there are.
    pub shard_count: u16,
    /// Whether a topic that a client asks for is made.
    pub auto_create_topics: bool,
    /// Partitions of a topic made so, or made without a count.
    pub default_partition_count: i32,
    /// Replicas likewise.
    pub default_replication_factor: i16,
    /// Whether topics may be deleted.
    pub delete_topics: bool,
    /// Partitions that one DescribeTopicPartitions is answered with at most.
    pub partitions_described_max: i32,
    /// The data directory as clients are told of it.
    pub data_directory: std::path::PathBuf,
    /// The most that a fetch answers with.
    pub fetch_bytes_max: usize,
    /// Memory for what is read ahead.
    pub read_ahead_bytes: usize,
    /// How groups are coordinated.
    pub groups: GroupSettings,
    /// The groups' topic, where it is still to be made.
    pub groups_topic: InternalTopic,
    /// How transactions are coordinated.
    pub transactions: CoordinatorConfig,
    /// How long a transaction that begins waits for the end of the one before.
    pub transaction_wait_max: Duration,
    /// The topic of the transactional ids, where it is still to be made.
    pub transactions_topic: InternalTopic,
    /// Fetch sessions that it keeps.
    pub fetch_sessions_max: usize,
    /// The largest request.
    pub request_bytes_max: usize,
    /// Silence after which a connection is closed.
    pub idle_max: std::time::Duration,
    /// Connections that the broker takes, on all shards together.
    pub seats: Seats,
    /// The queues before the journals of all shards.
    pub inflows: Arc<[Inflow]>,
    /// Memory for requests.
    pub requests_bytes: usize,
    /// Memory for replies.
    pub replies_bytes: usize,
    /// Memory for what is known of idempotent producers.
    pub producers_bytes: usize,
    /// How often old segments are looked for.
    pub retention_interval: std::time::Duration,
    /// What compaction may take.
    pub compaction: CompactionShare,
    /// How often silent producers are looked for.
    pub producer_expiry_interval: std::time::Duration,
    /// How long an idempotent producer is remembered.
    pub producer_expiry_ms: i64,
}

/// One core's share of the broker.
pub struct Shard {
    /// What it was told at the start.
    pub config: ShardConfig,
    /// The broker that it is a part of.
    pub broker_id: BrokerId,
    /// Its logs.
    pub store: Store,
    /// Its partitions.
    pub partitions: Partitions,
    /// Its connections.
    pub connections: Connections,
    /// The memory of its requests.
    pub budget: Rc<Budget>,
    /// How fast its journal is freed.
    drained: RefCell<Drained>,
    /// How fast a round of destaging goes.
    pacing: Pacing,
    /// Partitions with acks that are there and nobody has been told of.
    due: DueAnswers,
    /// What is known of idempotent producers, in all of its partitions.
    pub producer_memory: Rc<ProducerMemory>,
    /// Fetches that wait for records of its partitions.
    pub fetches_parked: Tally,
    /// Which of its sockets can be read and written.
    pub poller: Rc<Poller>,
    /// Where its connections receive into.
    pub scratch: Rc<Scratch>,
    /// What takes long of what producers send.
    workbench: Workbench,
    /// What its consumers that catch up share.
    catch_up: CatchUp,
    /// The coordinators of consumer groups.
    groups: Groups,
    /// The coordinators of transactional ids.
    transactions: Transactions,
    /// The fetch sessions of its connections.
    pub sessions: RefCell<SessionCache>,
    /// Writes its responses.
    pub writer: RefCell<Writer>,
    /// The metadata quorum.
    pub quorum: QuorumHandle,
    /// Raised when it is to stop.
    pub stopping: Signal,
    /// The broker's configs that topics don't inherit, to be told.
    pub local_configs: Arc<[Described]>,
    /// The broker's own settings, which topics inherit.
    settings: Arc<ConfigMap>,
    image: RefCell<Arc<Image>>,
    /// The last change of the metadata that every shard has applied.
    everywhere: watch::Receiver<u64>,
    /// Something was deleted whose space is not free yet.
    deleted: Cell<bool>,
    mesh: Mesh<Message>,
    calls: Calls,
    /// Produce calls that other shards have a part in.
    produces: RefCell<rustc_hash::FxHashMap<u64, Rc<ProduceCall>>>,
    producer_ids: ProducerIds,
}

impl Shard {
    /// The metadata as this shard has applied it.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// The layers that topics of an image inherit their configs from.
    #[must_use]
    pub fn layers<'a>(&'a self, image: &'a Image) -> BrokerLayers<'a> {
        topics::layers(image, self.broker_id, &self.settings)
    }

    /// The time, for records and deadlines.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        wall_clock()
    }

    /// The shard that owns a partition.
    #[must_use]
    pub fn owner_of(&self, key: PartitionKey) -> usize {
        usize::from(shard_of(key.topic_id, key.partition, self.config.shard_count))
    }

    /// Asks the metadata quorum, and waits until every shard has applied what came of it.
    ///
    /// # Errors
    /// The quorum did not take the command.
    pub async fn submit(&self, command: Command) -> Result<Response, QuorumError> {
        let answer = self.quorum.submit(command).await?;
        if answer.changed {
            let mut everywhere = self.everywhere.clone();
            let applied = everywhere.wait_for(|sequence| *sequence >= answer.sequence).await;
            applied.map_err(|_| QuorumError::Stopped)?;
        }
        Ok(answer.response)
    }

    /// Asks a shard about its partitions; this one answers itself.
    pub async fn ask(self: &Rc<Self>, shard: usize, question: Question) -> Answer {
        if shard == self.config.index {
            return self.answer(question).await;
        }
        metrics::add(Count::Forwarded, 1);
        let asked = self.calls.open();
        self.mesh.send(shard, Message::Ask { call: asked.call(), question });
        asked.answer().await
    }

    /// Appends batches on the shard that owns their partitions, and notes each outcome in `call`.
    pub fn produce(
        self: &Rc<Self>,
        owner: usize,
        now: Timestamp,
        call: &Rc<ProduceCall>,
        terms: ProduceTerms,
        items: ProduceItems,
    ) {
        if owner == self.config.index {
            return self.produce_here(now, call, terms, items);
        }
        metrics::add(Count::Forwarded, 1);
        let name = self.calls.name();
        self.produces.borrow_mut().insert(name, Rc::clone(call));
        self.mesh.send(owner, Message::Produce { call: name, terms, items });
    }

    fn produce_here(
        self: &Rc<Self>,
        now: Timestamp,
        call: &Rc<ProduceCall>,
        terms: ProduceTerms,
        items: ProduceItems,
    ) {
        let mut in_passing = InPassing::default();
        for item in items {
            self.catch_up.note_produced(item.records.len());
            if self.workbench.has_line(item.key) {
                self.line_up(Waiting { call: Rc::clone(call), terms, item, is_long: false });
                continue;
            }
            let place = item.place;
            let outcome = match self.partitions.get(item.key) {
                Some(partition) => partition.produce(&self.store, now, terms, &item, call, &mut in_passing),
                None => Err(produce::ProduceRefusal::Unknown),
            };
            match outcome {
                Ok(Appending::Waits) => {}
                Ok(Appending::TakesLong) => {
                    self.line_up(Waiting { call: Rc::clone(call), terms, item, is_long: true });
                }
                Ok(Appending::Done(produced)) => {
                    self.note(call, ProduceOutcome { place, result: Ok(produced) })
                }
                Err(refusal) => self.note(call, ProduceOutcome { place, result: Err(refusal) }),
            }
        }
        self.note_fullness();
    }

    /// Notes an outcome; the last one of a call is told to whoever waits for it.
    fn note(&self, call: &ProduceCall, outcome: ProduceOutcome) {
        match call.note(outcome) {
            None => {}
            Some((Listener::Client(listener), outcomes)) => listener(outcomes),
            Some((Listener::Shard { from, call }, outcomes)) => {
                self.mesh.send(from, Message::Produced { call, outcomes });
            }
        }
    }

    /// Holds a producer back while the journals of the shards that its request went to fill up, and its connection lasts.
    pub async fn hold_back(&self, sent: &Sent, replies: &Replies) {
        let pause = async |time: Duration| {
            metrics::add(Count::HeldBack, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            let is_over = either(sleep(time), replies.closing.next().wait()).await;
            self.note_fullness();
            is_over && !replies.is_closed()
        };
        for &(owner, bytes) in sent.bytes_by_shard() {
            if !self.config.inflows[owner].wait(bytes, &pause).await {
                return;
            }
        }
    }

    /// Tells everybody how full the journal of this shard is.
    fn note_fullness(&self) {
        self.config.inflows[self.config.index].set(self.store.admit(0), &self.drained.borrow());
    }

    /// Tells everybody whose acks are there.
    pub(crate) fn answer_due(&self, partition: &Partition) {
        let now = Instant::now();
        while let Some(pending) = partition.pop_due() {
            partition.record_stages(&pending, now);
            let outcome = ProduceOutcome { place: pending.place, result: Ok(pending.produced) };
            self.note(&pending.call, outcome);
        }
    }

    /// An id for a new topic.
    #[must_use]
    pub fn random_topic_id(&self) -> TopicId {
        let mut bytes: [u8; 16] = rand::random();
        // RFC 9562, version 4.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        TopicId(bytes)
    }

    /// Bits that nobody can foresee by looking at the broker from outside.
    #[must_use]
    pub fn random_bits(&self) -> u128 {
        rand::random()
    }
}

/// The time of day.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

//! A shard's life: recover, lead, listen, serve, stop.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use logic::config::{ConfigMap, Described};
use logic::fetch::{SessionCache, SessionOptions};
use logic::metadata::{Delta, Image, shard_of};
use logic::producer::ProducerTable;
use logic::replica::{EpochEntry, EpochHistory, Recovered, Replica};
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::types::{BrokerId, Offset, PartitionKey, Timestamp};
use protocol::wire::Writer;
use rustc_hash::FxHashMap;
use storage::disk::BufferPool;
use storage::disk::glommio::GlommioDisk;
use storage::disk::probe::probe;
use storage::store::{
    DestagePause, OpenError, PartitionSlot, PartitionSpec, RecoveryObserver, ShardStore, StoreFailure,
    StoreListener, StoreOptions, SyncMethod, TakenSnapshot,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::answers::DueAnswers;
use super::calls::Calls;
use super::catch_up::CatchUp;
use super::groups::Groups;
use super::inflow::Drained;
use super::messages::Message;
use super::pacing::Pacing;
use super::partition::{Partition, Partitions};
use super::producer_ids::ProducerIds;
use super::producer_memory::ProducerMemory;
use super::topics::{partition_specs, topic_config};
use super::transactions::Transactions;
use super::workbench::Workbench;
use super::{Shard, ShardConfig, answers, background, inbox, pacing, serving, wall_clock};
use crate::api::Api;
use crate::limits::{
    DEVICE_PROBE_MILLISECONDS, FETCH_SESSION_EVICTION_MILLISECONDS, FETCH_SESSION_PARTITIONS_MAX,
    TAIL_BYTES_PER_SPARE_BYTE,
};
use crate::metrics::{self, Activity, Condition, ShardMetrics, note};
use crate::net::budget::{Budget, BudgetLimits};
use crate::net::connection::Connections;
use crate::net::frames::Scratch;
use crate::net::listener::BoundSocket;
use crate::net::poller::Poller;
use crate::quorum::QuorumHandle;
use crate::runtime::{MeshJoin, MeshReceiver, Queue, Signal, Submission, Tally, either, spawn_into};

/// What a shard needs to start.
pub struct StartOrder {
    /// What it is told once.
    pub config: ShardConfig,
    /// The broker that it is a part of.
    pub broker_id: BrokerId,
    /// The data directory.
    pub data_dir: PathBuf,
    /// How its store works.
    pub store_options: StoreOptions,
    /// How its journal gets on stable media; none: the device is asked.
    pub sync_method: Option<SyncMethod>,
    /// The broker's own settings, which topics inherit.
    pub settings: Arc<ConfigMap>,
    /// The broker's configs that topics don't inherit.
    pub local_configs: Arc<[Described]>,
    /// Its ends of the mesh.
    pub mesh: MeshJoin<Message>,
    /// Its listening socket.
    pub socket: BoundSocket,
    /// The last change of the metadata that every shard has applied.
    pub everywhere: watch::Receiver<u64>,
    /// The metadata at the start; what comes later comes by the mailbox.
    pub image: Arc<Image>,
    /// The quorum.
    pub quorum: QuorumHandle,
    /// What the control thread has to say.
    pub mailbox: mpsc::Receiver<ControlMessage>,
    /// Told once connections are accepted.
    pub ready: oneshot::Sender<()>,
    /// Where it counts.
    pub metrics: ShardMetrics,
}

/// What the control thread says to a shard.
pub enum ControlMessage {
    /// The metadata has changed.
    Changed {
        /// As it is now.
        image: Arc<Image>,
        /// What is different.
        delta: Arc<Delta>,
        /// Told once it is applied.
        applied: oneshot::Sender<()>,
    },
    /// Stop serving, make everything durable, and end.
    Stop,
}

/// Why a shard has ended other than by being told so.
#[derive(Debug, thiserror::Error)]
pub enum ShardFailure {
    /// The data directory can't be used.
    #[error("the data directory can't be used: {0}")]
    Disk(std::io::Error),
    /// Its store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while it ran, or could not follow the metadata.
    #[error("storage failed: {0}")]
    Store(String),
    /// It can't be told of its sockets.
    #[error("a shard can't wait for its sockets: {0}; allow more open files (LimitNOFILE, ulimit -n)")]
    Descriptors(std::io::Error),
    /// It can't listen.
    #[error("can't listen: {0}")]
    Listen(std::io::Error),
}

/// Runs a shard until it is told to stop.
///
/// # Errors
/// It could not start, or could not go on.
pub async fn run(order: StartOrder) -> Result<(), ShardFailure> {
    let StartOrder { config, broker_id, data_dir, store_options, settings, mesh, socket, image, .. } = order;
    order.metrics.install();
    note(Activity::Recovery);
    let (mailbox, ready, quorum) = (order.mailbox, order.ready, order.quorum);
    let shard_index = u16::try_from(config.index).expect("an index is below the count");
    let (mesh, receivers) = mesh.connect().await;
    let specs = own_partitions(&config, &image, broker_id, &settings);
    let mut producers = ProducerRecovery { now: wall_clock(), tables: FxHashMap::default() };
    BufferPool::set_bytes_max(store_options.tail_cache_bytes / (TAIL_BYTES_PER_SPARE_BYTE - 1));
    let disk = GlommioDisk::open(&data_dir).await.map_err(ShardFailure::Disk)?;
    let sync_method = match order.sync_method {
        Some(chosen) => chosen,
        None => ask_device(&disk, config.index).await.map_err(ShardFailure::Disk)?,
    };
    let store_options = StoreOptions { sync_method, ..store_options };
    let (store, recovered) = ShardStore::open(disk, store_options, specs, &mut producers).await?;
    let budget = Budget::new(BudgetLimits {
        requests_bytes: config.requests_bytes,
        frame_bytes_max: config.request_bytes_max,
        replies_bytes: config.replies_bytes,
    });
    let producer_memory = ProducerMemory::new(config.producers_bytes);
    let sessions = SessionCache::new(SessionOptions {
        slots_max: config.fetch_sessions_max,
        partitions_max: FETCH_SESSION_PARTITIONS_MAX,
        eviction_ms: FETCH_SESSION_EVICTION_MILLISECONDS,
        shard: shard_index,
        shard_count: config.shard_count,
        seed: rand::random(),
    });
    let workbench = Workbench::new(config.requests_bytes / 2);
    let catch_up = CatchUp::new(config.read_ahead_bytes);
    let groups = Groups::new(config.groups.clone());
    let transactions = Transactions::new(config.transactions);
    let poller = Poller::new().map_err(ShardFailure::Descriptors)?;
    let shard = Rc::new(Shard {
        config,
        broker_id,
        store,
        partitions: Partitions::default(),
        connections: Connections::default(),
        budget,
        drained: RefCell::new(Drained::default()),
        pacing: Pacing::new(Instant::now()),
        due: DueAnswers::default(),
        producer_memory,
        fetches_parked: Tally::default(),
        poller,
        scratch: Scratch::new(),
        workbench,
        catch_up,
        groups,
        transactions,
        sessions: RefCell::new(sessions),
        writer: RefCell::new(Writer::new()),
        quorum,
        stopping: Signal::default(),
        local_configs: order.local_configs,
        settings,
        image: RefCell::new(Arc::clone(&image)),
        everywhere: order.everywhere,
        deleted: Cell::new(true),
        mesh,
        calls: Calls::default(),
        produces: RefCell::default(),
        producer_ids: ProducerIds::default(),
    });
    shard.store.set_listener(Rc::new(StoreEvents { shard: Rc::downgrade(&shard) }));
    spawn_into(Queue::Latency, {
        let store = shard.store.clone();
        async move { store.run_writer().await }
    });
    shard.take_up(&image, recovered, producers).await?;
    shard.serve(socket, receivers, ready)?;
    shard.follow(mailbox).await?;
    shard.stop().await;
    Ok(())
}

/// How journal frames get on stable media best here.
async fn ask_device(disk: &GlommioDisk, shard: usize) -> std::io::Result<SyncMethod> {
    let report = probe(disk, Duration::from_millis(DEVICE_PROBE_MILLISECONDS)).await?;
    let (choice, reason) = report.choice();
    // All shards are on one device: it is told once.
    if shard == 0 {
        tracing::info!(device = %report, ?choice, "journal writes are made durable as suits the device: {reason}");
    }
    Ok(choice.into())
}

/// The partitions of the image that belong to a shard.
fn own_partitions(
    config: &ShardConfig,
    image: &Image,
    broker_id: BrokerId,
    settings: &ConfigMap,
) -> Vec<PartitionSpec> {
    let is_own = |spec: &PartitionSpec| {
        usize::from(shard_of(spec.key.topic_id, spec.key.partition, config.shard_count)) == config.index
    };
    let all = image.topics().flat_map(|topic| partition_specs(image, topic, broker_id, settings));
    all.filter(is_own).collect()
}

impl Shard {
    /// Takes up the partitions that the store has recovered, and leads those that the metadata gives to this broker.
    async fn take_up(
        self: &Rc<Self>,
        image: &Image,
        recovered: storage::store::Recovered,
        mut producers: ProducerRecovery,
    ) -> Result<(), ShardFailure> {
        let mut led = Vec::new();
        for found in recovered.partitions {
            let topic = image
                .topic_by_id(found.key.topic_id)
                .expect("the store was opened with the image's partitions");
            let state = topic.partition(found.key.partition).expect("likewise");
            let epochs =
                found.epochs.iter().map(|entry| EpochEntry { epoch: entry.epoch, start: entry.start });
            let replica = Replica::new(
                self.broker_id,
                Recovered {
                    log_start: found.log_start,
                    log_end: found.end,
                    high_watermark: found.end,
                    epochs: EpochHistory::new(epochs),
                },
            );
            let config = topic_config(image, topic, self.broker_id, &self.settings);
            let mut table = producers.tables.remove(&found.key).unwrap_or_default();
            table.start_at(found.log_start);
            let name = Arc::clone(&topic.name);
            let partition =
                Partition::new(found.key, name, found.slot, config, replica, table, &self.producer_memory);
            self.partitions.insert(Rc::clone(&partition));
            led.push((partition, state.clone()));
        }
        self.lead_all(&led).await.map_err(|error| ShardFailure::Store(error.to_string()))
    }

    /// Starts listening, and all tasks that run as long as the shard.
    fn serve(
        self: &Rc<Self>,
        socket: BoundSocket,
        receivers: Vec<MeshReceiver<Message>>,
        ready: oneshot::Sender<()>,
    ) -> Result<(), ShardFailure> {
        let api = Rc::new(Api::new(Rc::clone(self)));
        for receiver in receivers {
            spawn_into(Queue::Latency, inbox::serve(Rc::clone(self), Rc::clone(&api), receiver));
        }
        background::start(self);
        let submission = Submission::new().map_err(ShardFailure::Descriptors)?;
        spawn_into(Queue::Latency, answers::answer(Rc::clone(self), submission));
        spawn_into(Queue::Latency, wait_for_sockets(Rc::clone(self)));
        let listener = socket.listen().map_err(ShardFailure::Listen)?;
        spawn_into(Queue::Latency, serving::accept(Rc::clone(self), api, listener));
        metrics::set_condition(Condition::Serving, true);
        // Nobody waits any more where the start was given up elsewhere.
        let _ = ready.send(());
        Ok(())
    }

    /// Follows the control thread until it says stop, or has gone.
    async fn follow(
        self: &Rc<Self>,
        mut mailbox: mpsc::Receiver<ControlMessage>,
    ) -> Result<(), ShardFailure> {
        while let Some(message) = mailbox.recv().await {
            match message {
                ControlMessage::Changed { image, delta, applied } => {
                    note(Activity::Metadata);
                    let outcome = self.apply(image, &delta).await;
                    outcome.map_err(|error| ShardFailure::Store(error.to_string()))?;
                    let _ = applied.send(());
                }
                ControlMessage::Stop => break,
            }
        }
        Ok(())
    }

    async fn stop(self: &Rc<Self>) {
        self.stopping.raise();
        self.connections.close_all();
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store did not close in order");
        }
    }
}

/// Has the sockets of a shard told what can be read and written, until it stops.
async fn wait_for_sockets(shard: Rc<Shard>) {
    let waiting = async {
        let error = shard.poller.run().await;
        panic!("nobody tells a shard of its sockets any more: {error}");
    };
    either(waiting, shard.stopping.next().wait()).await;
}

/// Rebuilds the producers' tables while the store recovers.
struct ProducerRecovery {
    /// When the start began: a producer found in the journal counts as seen now, whatever times its records carry.
    now: Timestamp,
    tables: FxHashMap<PartitionKey, ProducerTable>,
}

impl RecoveryObserver for ProducerRecovery {
    fn producer_snapshot(&mut self, key: PartitionKey, _: Offset, snapshot: &[u8]) {
        match ProducerTable::decode_snapshot(snapshot, self.now) {
            Ok((table, _)) => drop(self.tables.insert(key, table)),
            Err(error) => {
                tracing::error!(partition = %key, %error, "a snapshot of producers is damaged; batches since the log's start would be needed to rebuild it")
            }
        }
    }

    fn batch(&mut self, key: PartitionKey, header: &[u8; HEADER_BYTES], body: &[u8]) {
        let header = BatchHeader::from_prefix(header).expect("a header has its length");
        self.tables.entry(key).or_default().replay(self.now, header, body);
    }
}

/// What the store tells the shard while its journal moves on.
struct StoreEvents {
    shard: Weak<Shard>,
}

impl StoreListener for StoreEvents {
    fn sealed(&self, slot: PartitionSlot, end: Offset) {
        let Some(shard) = self.shard.upgrade() else { return };
        if let Some(partition) = shard.partitions.at(slot) {
            partition.note_sealed(end);
            partition.advance(|replica| replica.on_sealed(end));
        }
    }

    fn synced(&self, slot: PartitionSlot, end: Offset) {
        let Some(shard) = self.shard.upgrade() else { return };
        let Some(partition) = shard.partitions.at(slot) else { return };
        partition.advance(|replica| replica.on_synced(end));
        shard.due.add(partition, end);
    }

    fn started(&self, slot: PartitionSlot, start: Offset) {
        let Some(shard) = self.shard.upgrade() else { return };
        if let Some(partition) = shard.partitions.at(slot) {
            partition.start_at(start);
        }
    }

    fn producer_snapshot(&self, slot: PartitionSlot) -> TakenSnapshot {
        let partition = self.shard.upgrade().and_then(|shard| shard.partitions.at(slot));
        Box::pin(async move { partition?.producer_snapshot().await })
    }

    fn pause_destaging(&self, bytes: usize) -> DestagePause {
        let shard = self.shard.upgrade();
        Box::pin(async move {
            if let Some(shard) = shard {
                pacing::pause_destaging(&shard, bytes).await;
            }
        })
    }

    fn failed(&self, failure: &StoreFailure) {
        crate::exit::fatal(crate::exit::ExitCode::StorageFailed, failure);
    }
}

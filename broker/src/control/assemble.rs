//! From a configuration to a running broker, and back.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use logic::config::{GroupTerms, TermMs};
use logic::group::{GroupSettings, MigrationPolicy};
use logic::metadata::{
    Command, Image, Incarnation, Listener as AdvertisedListener, RegisterBroker, Response,
};
use logic::transaction::CoordinatorConfig;
use protocol::types::{BrokerId, TransactionVersion};
use storage::store::{OpenError, StoreOptions, SyncMethod};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::layout::{self, Layout};
use super::publish::publish;
use super::signals::StopSignals;
use crate::admin;
use crate::config::{
    BrokerConfig, Endpoint, FullDiskChoice, Machine, MemoryBudget, MigrationChoice, ShardLayout, SyncChoice,
};
use crate::exit::ExitCode;
use crate::limits::{COORDINATOR_BYTES_MIN, MAILBOX_MESSAGES_MAX, TAIL_BYTES_PER_SPARE_BYTE};
use crate::logging;
use crate::metrics::{Phase, Registry, ShardMetrics, Watchdog};
use crate::net::listener::BoundSocket;
use crate::net::seats::Seats;
use crate::quorum::{Identity, Quorum, QuorumHandle};
use crate::runtime::{MeshJoin, start_shard};
use crate::shard::inflow::Inflow;
use crate::shard::internal_topics::InternalTopic;
use crate::shard::start::{self, ControlMessage, ShardFailure, StartOrder};
use crate::shard::{CompactionShare, ShardConfig};
use crate::startup::{self, Banner, OpenFilesShare, Prepared, StartupError};

/// The shards as the control thread sees them.
struct Shards {
    mailboxes: Vec<mpsc::Sender<ControlMessage>>,
    ready: Vec<oneshot::Receiver<()>>,
    ended: mpsc::Receiver<Result<(), ShardFailure>>,
    everywhere: watch::Sender<u64>,
}

/// What the machine gives the shards.
struct Share {
    budget: MemoryBudget,
    open_files: OpenFilesShare,
}

/// Runs a broker until it is told to stop by a signal.
///
/// # Errors
/// It could not start, or could not go on.
pub fn run(config: &BrokerConfig, machine: &Machine, began: Instant) -> Result<(), StartupError> {
    let unexpected = |error: std::io::Error| StartupError::new(ExitCode::Unexpected, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unexpected)?;
    logging::start(config)?;
    LocalSet::new().block_on(&runtime, run_control(config, machine, began))
}

async fn run_control(config: &BrokerConfig, machine: &Machine, began: Instant) -> Result<(), StartupError> {
    let layout = config.shard_layout(machine);
    let mut prepared = startup::prepare(config, layout.shard_count())?;
    let sockets = bind(prepared.kafka.address, layout.core_of_shard.len())?;
    let mut identity = identify(config, &prepared, layout.shard_count())?;
    let quorum = Quorum::start(config.log_dirs.clone(), identity.node_id)
        .await
        .map_err(|error| StartupError::new(ExitCode::QuorumFailed, error.to_string()))?;
    let advertised = config.advertised(machine, prepared.kafka.address.port());
    register(&quorum.handle(), &identity, &advertised, config).await?;
    let (image, changes) = quorum.subscribe();
    let open_files = prepared.open_files;
    settle_layout(config, machine, open_files, &layout, &image, &mut identity)?;
    let (registry, hands) = Registry::new(layout.shard_count(), config.shard_stall);
    let belongings = sockets.into_iter().zip(hands).collect();
    let admin = start_watching(config, &mut prepared, &registry);
    let share = Share { budget: config.memory_budget(machine, layout.shard_count()), open_files };
    let mut shards =
        start_shards(config, &share, &layout, identity.node_id, belongings, image, &quorum.handle())?;
    let everywhere = shards.everywhere.clone();
    tokio::task::spawn_local(publish(changes, shards.mailboxes.clone(), everywhere));
    let mut signals = StopSignals::listen()?;
    tokio::select! {
        ready = shards.wait_until_ready() => ready?,
        // Nothing was promised in this life yet: to give up a start is as good as to be killed in it.
        () = signals.told() => return Ok(()),
    }
    registry.set_phase(Phase::Running);
    // Whoever has closed standard output wants no banner.
    let _ = writeln!(std::io::stdout(), "{}", banner(config, &prepared, &advertised, admin, began));
    let outcome = tokio::select! {
        () = signals.told() => Ok(()),
        ended = shards.ended.recv() => Err(shard_ended(ended)),
        reason = quorum.failed() => Err(StartupError::new(ExitCode::QuorumFailed, reason)),
    };
    registry.set_phase(Phase::Stopping);
    shards.stop().await;
    quorum.stop().await;
    outcome
}

fn bind(address: SocketAddr, count: usize) -> Result<Vec<BoundSocket>, StartupError> {
    BoundSocket::bind_all(address, count)
        .map_err(|error| StartupError::new(ExitCode::Address, format!("can't listen on {address}: {error}")))
}

/// Whose the data directory is: made at the first start, before anything else is written there.
fn identify(config: &BrokerConfig, prepared: &Prepared, shard_count: u16) -> Result<Identity, StartupError> {
    let node_id = BrokerId(config.node_id);
    if let Some(identity) = prepared.data.identity(node_id)? {
        return Ok(identity);
    }
    let identity = Identity::new(node_id, shard_count);
    identity.write(&config.log_dirs).map_err(|error| {
        let reason = format!("data directory {}: {error}", config.log_dirs.display());
        StartupError::new(ExitCode::DataNotWritable, reason)
    })?;
    Ok(identity)
}

/// Has the data laid out for the shards there are now.
fn settle_layout(
    config: &BrokerConfig,
    machine: &Machine,
    open_files: OpenFilesShare,
    layout: &ShardLayout,
    image: &Arc<Image>,
    identity: &mut Identity,
) -> Result<(), StartupError> {
    let shards_before = identity.shard_count;
    if image.topic_count() == 0 && shards_before == layout.shard_count() {
        return Ok(());
    }
    let budget = config.memory_budget(machine, shards_before);
    let wanted = Layout {
        data_directory: config.log_dirs.clone(),
        image: Arc::clone(image),
        settings: Arc::new(config.layer().clone()),
        options: StoreOptions {
            open_files_max: open_files.segment_files_max,
            ..store_options(config, 0, shards_before, &budget)
        },
        shard_count: layout.shard_count(),
    };
    layout::settle(wanted, identity)
}

/// Serves the admin port and watches the shards for as long as the control thread runs.
fn start_watching(
    config: &BrokerConfig,
    prepared: &mut Prepared,
    registry: &Arc<Registry>,
) -> Option<SocketAddr> {
    let watchdog = Watchdog::new(Arc::clone(registry), config.disk_slow, Instant::now());
    tokio::task::spawn_local(watchdog.run());
    let listener = prepared.admin.take()?;
    let address = listener.local_addr().ok();
    let registry = Arc::clone(registry);
    tokio::task::spawn_local(async move {
        if let Err(error) = admin::serve(listener, registry, std::future::pending()).await {
            tracing::error!(%error, "the admin port is gone");
        }
    });
    address
}

/// Tells the metadata of this start. Every partition that this broker leads gets its next leader epoch by it.
async fn register(
    quorum: &QuorumHandle,
    identity: &Identity,
    advertised: &Endpoint,
    config: &BrokerConfig,
) -> Result<(), StartupError> {
    let registration = RegisterBroker {
        cluster_id: identity.cluster_id.clone(),
        broker: identity.node_id,
        incarnation: Incarnation(rand::random()),
        listeners: vec![AdvertisedListener {
            name: "PLAINTEXT".to_owned(),
            host: advertised.host.clone(),
            port: advertised.port,
        }],
        rack: config.broker_rack.clone(),
    };
    let failed =
        |reason: &dyn std::fmt::Display| StartupError::new(ExitCode::QuorumFailed, reason.to_string());
    let answer =
        quorum.submit(Command::RegisterBroker(registration)).await.map_err(|error| failed(&error))?;
    match answer.response {
        Response::RegisterBroker(Ok(_)) => Ok(()),
        Response::RegisterBroker(Err(error)) => Err(failed(&error)),
        other => unreachable!("a registration is answered by {other:?}"),
    }
}

fn start_shards(
    config: &BrokerConfig,
    share: &Share,
    layout: &ShardLayout,
    broker_id: BrokerId,
    belongings: Vec<(BoundSocket, ShardMetrics)>,
    image: Arc<Image>,
    quorum: &QuorumHandle,
) -> Result<Shards, StartupError> {
    let shard_count = layout.shard_count();
    let Share { budget, open_files } = share;
    let settings = Arc::new(config.layer().clone());
    let local_configs: Arc<[_]> = config.describe_local().into();
    let (everywhere, everywhere_seen) = watch::channel(image.sequence());
    let (ended_sender, ended) = mpsc::channel(belongings.len());
    let mut shards = Shards { mailboxes: Vec::new(), ready: Vec::new(), ended, everywhere };
    let seats = Seats::new(open_files.connections_max);
    let inflows = Inflow::of_shards(shard_count);
    let joins = MeshJoin::all(usize::from(shard_count));
    let belongings = belongings.into_iter().zip(joins);
    for (index, ((socket, metrics), mesh)) in (0..shard_count).zip(belongings) {
        let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES_MAX);
        let (ready, is_ready) = oneshot::channel();
        let order = StartOrder {
            config: shard_config(config, index, shard_count, budget, (&seats, &inflows)),
            broker_id,
            data_dir: config.log_dirs.clone(),
            store_options: StoreOptions {
                open_files_max: open_files.segment_files_max,
                ..store_options(config, index, shard_count, budget)
            },
            sync_method: sync_method(config.journal_sync_method),
            settings: Arc::clone(&settings),
            local_configs: Arc::clone(&local_configs),
            mesh,
            socket,
            everywhere: everywhere_seen.clone(),
            image: Arc::clone(&image),
            quorum: quorum.clone(),
            mailbox: messages,
            ready,
            metrics,
        };
        shards.mailboxes.push(mailbox);
        shards.ready.push(is_ready);
        let ended = ended_sender.clone();
        let core = layout.core_of_shard[usize::from(index)];
        start_shard(usize::from(index), Some(core), move || async move {
            let outcome = start::run(order).await;
            // The control thread has gone already where it does not listen.
            let _ = ended.send(outcome).await;
        })
        .map_err(|error| {
            StartupError::new(ExitCode::Unexpected, format!("no thread for a shard: {error}"))
        })?;
    }
    Ok(shards)
}

fn shard_config(
    config: &BrokerConfig,
    index: u16,
    shard_count: u16,
    budget: &MemoryBudget,
    (seats, inflows): (&Seats, &Arc<[Inflow]>),
) -> ShardConfig {
    ShardConfig {
        index: usize::from(index),
        shard_count,
        auto_create_topics: config.auto_create_topics_enable,
        default_partition_count: config.num_partitions,
        default_replication_factor: i16::try_from(config.default_replication_factor).unwrap_or(i16::MAX),
        delete_topics: config.delete_topic_enable,
        partitions_described_max: config.max_request_partition_size_limit,
        data_directory: std::path::absolute(&config.log_dirs).unwrap_or_else(|_| config.log_dirs.clone()),
        fetch_bytes_max: config.fetch_max_bytes,
        groups: group_settings(config, shard_count, budget),
        groups_topic: InternalTopic {
            partition_count: config.offsets_topic_num_partitions,
            replication_factor: i16::try_from(config.offsets_topic_replication_factor).unwrap_or(i16::MAX),
            segment_bytes: config.offsets_topic_segment_bytes,
        },
        transactions: CoordinatorConfig {
            timeout_ms_max: config.transaction_max_timeout_ms,
            id_expiration_ms: i64::from(config.transactional_id_expiration_ms),
            // The metadata says which is in force; coordinators look there.
            version: TransactionVersion::default(),
        },
        transaction_wait_max: config.add_partitions_to_txn_retry_backoff_max,
        transactions_topic: InternalTopic {
            partition_count: config.transaction_state_log_num_partitions,
            replication_factor: i16::try_from(config.transaction_state_log_replication_factor)
                .unwrap_or(i16::MAX),
            segment_bytes: config.transaction_state_log_segment_bytes,
        },
        read_ahead_bytes: usize::try_from(budget.read_ahead_bytes).unwrap_or(usize::MAX),
        fetch_sessions_max: usize::try_from(config.max_incremental_fetch_session_cache_slots)
            .unwrap_or(usize::MAX)
            .div_ceil(usize::from(shard_count)),
        request_bytes_max: config.socket_request_max_bytes,
        idle_max: config.connections_max_idle,
        seats: seats.clone(),
        inflows: Arc::clone(inflows),
        requests_bytes: usize::try_from(budget.requests_bytes).unwrap_or(usize::MAX),
        replies_bytes: usize::try_from(budget.replies_bytes).unwrap_or(usize::MAX),
        producers_bytes: usize::try_from(budget.producers_bytes).unwrap_or(usize::MAX),
        retention_interval: config.log_retention_check_interval,
        compaction: compaction_share(config, shard_count),
        producer_expiry_interval: config.producer_id_expiration_check_interval,
        producer_expiry_ms: i64::try_from(config.producer_id_expiration.as_millis()).unwrap_or(i64::MAX),
    }
}

/// What compaction may take on each shard: all of them together keep to what the operator allows.
fn compaction_share(config: &BrokerConfig, shard_count: u16) -> CompactionShare {
    CompactionShare {
        pause: config.log_cleaner_backoff,
        memory_bytes: config.log_cleaner_dedupe_buffer_size / usize::from(shard_count),
        bytes_per_second: (config.log_cleaner_io_max_bytes_per_second / u64::from(shard_count)).max(1),
    }
}

/// How each coordinator of a shard keeps its groups. The shard's coordinators share its budget evenly.
fn group_settings(config: &BrokerConfig, shard_count: u16, budget: &MemoryBudget) -> GroupSettings {
    let coordinators =
        u64::from(config.offsets_topic_num_partitions.unsigned_abs()).div_ceil(u64::from(shard_count));
    let memory_bytes = (budget.groups_bytes / coordinators).max(COORDINATOR_BYTES_MIN);
    let count = |setting: i32| usize::try_from(setting).unwrap_or(0);
    GroupSettings {
        session_timeout_ms_min: config.group_min_session_timeout_ms,
        session_timeout_ms_max: config.group_max_session_timeout_ms,
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        members_max: count(config.group_max_size),
        consumer_terms: group_terms(config),
        consumer_assignors: config.group_consumer_assignors.0.clone(),
        consumer_migration: match config.group_consumer_migration_policy {
            MigrationChoice::Disabled => MigrationPolicy::Disabled,
            MigrationChoice::Upgrade => MigrationPolicy::Upgrade,
            MigrationChoice::Downgrade => MigrationPolicy::Downgrade,
            MigrationChoice::Bidirectional => MigrationPolicy::Bidirectional,
        },
        consumer_members_max: count(config.group_consumer_max_size),
        offset_metadata_bytes_max: count(config.offset_metadata_max_bytes),
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        memory_bytes_max: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
        ..GroupSettings::default()
    }
}

/// What members of consumer groups are told, and what single groups may be configured to.
fn group_terms(config: &BrokerConfig) -> GroupTerms {
    GroupTerms {
        heartbeat_interval: TermMs {
            least: config.group_consumer_min_heartbeat_interval_ms,
            default: config.group_consumer_heartbeat_interval_ms,
            most: config.group_consumer_max_heartbeat_interval_ms,
        },
        session_timeout: TermMs {
            least: config.group_consumer_min_session_timeout_ms,
            default: config.group_consumer_session_timeout_ms,
            most: config.group_consumer_max_session_timeout_ms,
        },
    }
}

/// The operator's choice; none where the device is to be asked.
fn sync_method(choice: SyncChoice) -> Option<SyncMethod> {
    match choice {
        SyncChoice::Auto => None,
        SyncChoice::Dsync => Some(SyncMethod::Dsync),
        SyncChoice::WriteThenSync => Some(SyncMethod::WriteThenSync),
    }
}

pub(crate) fn store_options(
    config: &BrokerConfig,
    index: u16,
    shard_count: u16,
    budget: &MemoryBudget,
) -> StoreOptions {
    let tail_bytes = usize::try_from(budget.tail_bytes).unwrap_or(usize::MAX);
    StoreOptions {
        journal_file_bytes: config.journal_file_bytes,
        journal_files_max: usize::try_from(config.journal_files()).unwrap_or(usize::MAX),
        frame_bytes_max: config.journal_frame_max_bytes,
        frames_in_flight_max: config.journal_max_frames_in_flight,
        tail_cache_bytes: tail_bytes - tail_bytes / TAIL_BYTES_PER_SPARE_BYTE,
        accept_damage: config.recovery_accept_damage,
        reserve_bytes: config.disk_reserve_bytes,
        deletes_when_full: config.disk_full_policy == FullDiskChoice::DeleteOldest,
        ..StoreOptions::new(index, shard_count)
    }
}

impl Shards {
    /// Waits until every shard accepts connections; the first one that fails ends the wait.
    async fn wait_until_ready(&mut self) -> Result<(), StartupError> {
        for ready in std::mem::take(&mut self.ready) {
            tokio::select! {
                biased;
                told = ready => if told.is_ok() { continue },
                ended = self.ended.recv() => return Err(shard_ended(ended)),
            }
            return Err(shard_ended(self.ended.recv().await));
        }
        Ok(())
    }

    /// Stops all and waits for them.
    async fn stop(mut self) {
        for mailbox in &self.mailboxes {
            // A shard that has ended needs no telling.
            let _ = mailbox.send(ControlMessage::Stop).await;
        }
        let count = self.mailboxes.len();
        self.mailboxes.clear();
        for _ in 0..count {
            match self.ended.recv().await {
                Some(Ok(())) => {}
                Some(Err(failure)) => tracing::error!(%failure, "a shard did not stop in order"),
                None => break,
            }
        }
    }
}

fn shard_ended(ended: Option<Result<(), ShardFailure>>) -> StartupError {
    match ended {
        Some(Err(ShardFailure::Open(error @ OpenError::Damaged(_)))) => {
            let remedy =
                "restore them from a backup, or go on without them: --set recovery.accept.damage=true";
            StartupError::new(ExitCode::Damaged, format!("{error}: {remedy}"))
        }
        Some(Err(failure @ ShardFailure::Descriptors(_))) => {
            StartupError::new(ExitCode::OpenFiles, failure.to_string())
        }
        Some(Err(failure @ ShardFailure::Listen(_))) => {
            StartupError::new(ExitCode::Address, failure.to_string())
        }
        Some(Err(failure @ ShardFailure::Disk(_))) => {
            StartupError::new(ExitCode::DataNotWritable, failure.to_string())
        }
        Some(Err(failure)) => StartupError::new(ExitCode::StorageFailed, failure.to_string()),
        Some(Ok(())) | None => StartupError::new(ExitCode::Unexpected, "a shard ended without being told so"),
    }
}

fn banner<'a>(
    config: &'a BrokerConfig,
    prepared: &'a Prepared,
    advertised: &'a Endpoint,
    admin: Option<SocketAddr>,
    began: Instant,
) -> Banner<'a> {
    let flush = config.layer().get("log.flush.interval.messages").and_then(|value| value.parse().ok());
    Banner {
        ready_after: began.elapsed(),
        kafka: prepared.kafka.address,
        advertised,
        admin,
        data_directory: &config.log_dirs,
        filesystem: &prepared.data.filesystem,
        flush_messages: flush.unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_of_all_shards_keeps_to_the_bandwidth_configured() {
        for (configured, shard_count, share) in [(9_000, 3, 3_000), (10, 4, 2), (64 << 20, 1, 64 << 20)] {
            let mut config = BrokerConfig::embedded();
            config.log_cleaner_io_max_bytes_per_second = configured;
            assert_eq!(compaction_share(&config, shard_count).bytes_per_second, share);
        }
    }
}

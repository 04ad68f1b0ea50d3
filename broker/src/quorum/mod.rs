//! The metadata quorum on the control thread: openraft over our own log, snapshot and identity files.
//!
//! A single broker is a quorum of one from its first start, without any set-up step. Everything here lives on one
//! thread, inside a tokio `LocalSet`; the rest of the broker holds a [`QuorumHandle`], and shards hear of changes
//! through subscriptions. What is decided is `logic::metadata`'s; this module must not know topics or configs.
//!
//! Files under `quorum/`: `log` (see `record`), `snapshot` (see `sealed`). Both are written by one thread of their
//! own (see `writer`).

mod codec;
mod files;
mod handle;
mod identity;
mod log;
mod machine;
mod raft;
mod record;
mod sealed;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub use codec::PayloadError;
pub use handle::{Answer, QuorumError, QuorumHandle};
pub use identity::{IDENTITY_FILE, Identity, IdentityError, cluster_id_of};
pub use log::OpenLogError;
pub use machine::{Change, OpenSnapshotError};
pub use record::LogError;
pub use sealed::SealError;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use logic::metadata::Image;
use openraft::error::{Fatal, InitializeError, RaftError};
use openraft::metrics::WaitError;
use openraft::{Config, LogIdOptionExt, Raft, SnapshotPolicy};
use protocol::types::BrokerId;
use tokio::sync::mpsc;

use crate::limits::{QUORUM_CHANGES_WAITING_MAX, QUORUM_START_SECONDS_MAX};
use files::{Directory, Files};
use raft::{NoPeers, NodeId, Types};
use upkeep::Upkeep;
use writer::Writer;

/// The directory of the quorum's files in the data directory.
pub const QUORUM_DIRECTORY: &str = "quorum";

/// Why the quorum can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory or the thread.
    #[error("the metadata quorum can't start: {0}")]
    File(#[from] io::Error),
    /// The log.
    #[error("the metadata quorum's log (quorum/log): {0}")]
    Log(#[from] OpenLogError),
    /// The snapshot.
    #[error("the metadata quorum's snapshot (quorum/snapshot): {0}")]
    Snapshot(#[from] OpenSnapshotError),
    /// The log begins after what the snapshot ends with, or before anything was agreed on.
    #[error("the metadata quorum's log begins after its snapshot ends: a file is missing")]
    Incomplete,
    /// openraft stopped.
    #[error("the metadata quorum stopped while it started: {0}")]
    Stopped(#[from] Fatal<NodeId>),
    /// No leader in time.
    #[error("the metadata quorum found no leader: {0}")]
    NoLeader(#[from] WaitError),
    /// Its first entry was refused.
    #[error("the metadata quorum can't be made: {0}")]
    Refused(String),
}

/// The running quorum; belongs to the control thread.
pub struct Quorum {
    raft: Raft<Types>,
    machine: machine::Machine,
    handle: QuorumHandle,
}

impl Quorum {
    /// Opens the quorum of a data directory, or makes it, and waits until it leads and has applied all there is.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub async fn start(data_directory: PathBuf, node_id: BrokerId) -> Result<Self, StartError> {
        Self::start_on(Directory::open(data_directory.join(QUORUM_DIRECTORY))?, node_id).await
    }

    async fn start_on(mut files: impl Files, node_id: BrokerId) -> Result<Self, StartError> {
        let node = NodeId::try_from(node_id.get()).expect("a broker's id is not negative");
        let log = log::open(&mut files)?;
        let snapshot = machine::open(&files)?;
        let writer = Rc::new(Writer::start(files)?);
        let log = log.start(writer.clone());
        let (machine, newest) = snapshot.start(writer.clone());
        if log.first_index() > machine.applied().next_index() {
            return Err(StartError::Incomplete);
        }
        let raft = Raft::new(node, Arc::new(config()), NoPeers, log.clone(), machine.clone()).await?;
        lead(&raft, node).await?;
        let (handle, requests) = QuorumHandle::new(newest);
        let upkeep = Rc::new(Upkeep::new(log, machine.clone(), writer));
        tokio::task::spawn_local(handle::pump(raft.clone(), requests, upkeep));
        Ok(Self { raft, machine, handle })
    }

    /// For everybody else.
    #[must_use]
    pub fn handle(&self) -> QuorumHandle {
        self.handle.clone()
    }

    /// The newest image, and every change after it in order. A subscriber must take changes without waiting for
    /// the quorum in between: nothing is applied while its channel is full.
    #[must_use]
    pub fn subscribe(&self) -> (Arc<Image>, mpsc::Receiver<Change>) {
        self.machine.subscribe(QUORUM_CHANGES_WAITING_MAX)
    }

    /// Waits until the quorum can't go on, and says why: a write of its files failed. The process must stop then.
    pub async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "openraft has ended".to_owned();
            }
        }
    }

    /// Ends the quorum; what was answered is durable already.
    pub async fn stop(self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the metadata quorum did not end in order");
        }
    }
}

/// A single member needs no heartbeat; these times are for a cluster, and cost two wake-ups a second.
fn config() -> Config {
    Config {
        cluster_name: "iolite".to_owned(),
        heartbeat_interval: 500,
        election_timeout_min: 1_500,
        election_timeout_max: 3_000,
        // `upkeep` asks for snapshots by size; none is needed of what is in them.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    }
}

/// Makes the quorum of one at the first start, leads it, and has everything in the log applied.
async fn lead(raft: &Raft<Types>, node: NodeId) -> Result<(), StartError> {
    if !raft.is_initialized().await? {
        match raft.initialize(BTreeSet::from([node])).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(error)) => return Err(StartError::Refused(error.to_string())),
            Err(RaftError::Fatal(fatal)) => return Err(fatal.into()),
        }
    } else if raft.current_leader().await.is_none() {
        raft.trigger().elect().await?;
    }
    let wait = raft.wait(Some(Duration::from_secs(QUORUM_START_SECONDS_MAX)));
    let applied_all = |metrics: &openraft::RaftMetrics<NodeId, openraft::EmptyNode>| {
        metrics.current_leader == Some(node) && metrics.last_applied.index() == metrics.last_log_index
    };
    wait.metrics(applied_all, "leading, everything applied").await?;
    Ok(())
}

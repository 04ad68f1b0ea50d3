//! The state machine that openraft drives: applies committed commands to the image, tells subscribers, and keeps
//! snapshots in a file.
//!
//! The state lives in memory; what makes it durable is the log, and the snapshot that lets the log be short.

use std::cell::RefCell;
use std::io::{self, Cursor};
use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::{Delta, Image};
use openraft::storage::RaftStateMachine;
use openraft::{
    EmptyNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use tokio::sync::{mpsc, watch};

use super::codec::{PayloadError, SnapshotContent, decode_snapshot, encode_snapshot};
use super::files::Files;
use super::raft::{Applied, LogId, NodeId, StorageError, StoredMembership, Types};
use super::sealed::{Seal, SealError, seal, unseal};
use super::writer::Writer;

/// The snapshot's file.
pub(super) const SNAPSHOT_FILE: &str = "snapshot";
const SNAPSHOT_SEAL: Seal = Seal { magic: *b"IOLITEQS", version: 1 };

/// What a command changed, as every subscriber hears it: in order, each once.
#[derive(Clone, Debug)]
pub struct Change {
    /// The image with the change in it; its sequence is the change's number.
    pub image: Arc<Image>,
    /// What changed.
    pub delta: Arc<Delta>,
}

/// Why a snapshot can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSnapshotError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is not what it should be.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The content is not what it should be.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// Reads the snapshot; without one, the state is empty.
pub(super) fn open(files: &impl Files) -> Result<OpenedSnapshot, OpenSnapshotError> {
    let Some(file) = files.read(SNAPSHOT_FILE)? else {
        let content =
            SnapshotContent { last: None, membership: StoredMembership::default(), image: Image::default() };
        return Ok(OpenedSnapshot { content, size_bytes: 0, kept: None });
    };
    let body = unseal(SNAPSHOT_SEAL, &file)?;
    let content = decode_snapshot(body)?;
    let kept = Some((meta(&content), body.to_vec()));
    Ok(OpenedSnapshot { content, size_bytes: file.len() as u64, kept })
}

/// A snapshot as it was found.
pub(super) struct OpenedSnapshot {
    content: SnapshotContent,
    size_bytes: u64,
    kept: Option<(SnapshotMeta<NodeId, EmptyNode>, Vec<u8>)>,
}

impl OpenedSnapshot {
    pub(super) fn start(self, writer: Rc<Writer>) -> (Machine, watch::Receiver<Arc<Image>>) {
        let (newest, receiver) = watch::channel(Arc::new(self.content.image.clone()));
        let shared = Shared {
            content: self.content,
            kept: self.kept,
            snapshot_bytes: self.size_bytes,
            newest,
            subscribers: Vec::new(),
        };
        (Machine { shared: Rc::new(RefCell::new(shared)), writer }, receiver)
    }
}

struct Shared {
    content: SnapshotContent,
    /// The newest snapshot: what it is of, and its bytes.
    kept: Option<(SnapshotMeta<NodeId, EmptyNode>, Vec<u8>)>,
    snapshot_bytes: u64,
    newest: watch::Sender<Arc<Image>>,
    subscribers: Vec<mpsc::Sender<Change>>,
}

/// The state machine. Clones share it.
#[derive(Clone)]
pub(super) struct Machine {
    shared: Rc<RefCell<Shared>>,
    writer: Rc<Writer>,
}

impl Machine {
    /// The newest image, and a channel for every change from it on.
    pub(super) fn subscribe(&self, capacity: usize) -> (Arc<Image>, mpsc::Receiver<Change>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let mut shared = self.shared.borrow_mut();
        shared.subscribers.push(sender);
        let image = shared.newest.borrow().clone();
        (image, receiver)
    }

    /// The size of the newest snapshot; 0 without one.
    pub(super) fn snapshot_bytes(&self) -> u64 {
        self.shared.borrow().snapshot_bytes
    }

    /// The number of the last entry that was applied.
    pub(super) fn applied(&self) -> Option<LogId> {
        self.shared.borrow().content.last
    }

    async fn publish(&self, delta: Delta) {
        let (change, subscribers) = {
            let mut shared = self.shared.borrow_mut();
            let image = Arc::new(shared.content.image.clone());
            shared.newest.send_replace(image.clone());
            if delta.is_empty() {
                return;
            }
            shared.subscribers.retain(|subscriber| !subscriber.is_closed());
            (Change { image, delta: Arc::new(delta) }, shared.subscribers.clone())
        };
        for subscriber in subscribers {
            // A subscriber that went away between the look and the send misses nothing that it wants.
            drop(subscriber.send(change.clone()).await);
        }
    }

    async fn write_snapshot(&self, content: SnapshotContent) -> Result<Snapshot<Types>, io::Error> {
        let meta = meta(&content);
        let body = Arc::new(std::sync::OnceLock::new());
        let made = body.clone();
        self.writer
            .replace(SNAPSHOT_FILE, move || {
                seal(SNAPSHOT_SEAL, made.get_or_init(|| encode_snapshot(&content)))
            })
            .await?;
        let body = body.get().expect("the writer has made it").clone();
        let mut shared = self.shared.borrow_mut();
        shared.snapshot_bytes = body.len() as u64;
        shared.kept = Some((meta.clone(), body.clone()));
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(body)) })
    }
}

fn meta(content: &SnapshotContent) -> SnapshotMeta<NodeId, EmptyNode> {
    let place =
        content.last.map_or_else(|| "0".to_owned(), |id| format!("{}-{}", id.leader_id.term, id.index));
    SnapshotMeta {
        last_log_id: content.last,
        last_membership: content.membership.clone(),
        snapshot_id: place,
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let shared = self.shared.borrow();
        Ok((shared.content.last, shared.content.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Applied>>, StorageError>
    where
        I: IntoIterator<Item = super::raft::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut responses = Vec::new();
        for entry in entries {
            let (response, delta) = {
                let content = &mut self.shared.borrow_mut().content;
                content.last = Some(entry.log_id);
                let sequence = sequence_of(entry.log_id.index);
                match entry.payload {
                    EntryPayload::Normal(command) => {
                        let (response, delta) = content.image.apply(sequence, &command);
                        let changed = !delta.is_empty();
                        (Some(Applied { response, changed }), delta)
                    }
                    EntryPayload::Membership(membership) => {
                        content.image.skip(sequence);
                        content.membership = StoredMembership::new(Some(entry.log_id), membership);
                        (None, Delta::default())
                    }
                    EntryPayload::Blank => {
                        content.image.skip(sequence);
                        (None, Delta::default())
                    }
                }
            };
            self.publish(delta).await;
            responses.push(response);
        }
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let content = decode_snapshot(snapshot.get_ref())
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), &error))?;
        self.write_snapshot(content.clone())
            .await
            .map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        let delta = Delta::between(&self.shared.borrow().content.image, &content.image);
        self.shared.borrow_mut().content = content;
        self.publish(delta).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let kept = self.shared.borrow().kept.clone();
        Ok(kept.map(|(meta, body)| Snapshot { meta, snapshot: Box::new(Cursor::new(body)) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let content = self.shared.borrow().content.clone();
        self.write_snapshot(content)
            .await
            .map_err(|error| StorageIOError::write_snapshot(None, &error).into())
    }
}

/// An entry's number in the metadata: from 1, since an image without any entry has 0.
pub(super) fn sequence_of(index: u64) -> u64 {
    index + 1
}

//! How the rest of the broker asks the quorum: from the control thread or from a shard, without blocking either.
//!
//! Only executor-agnostic channels lie between: an answer wakes its asker wherever that runs.

use std::rc::Rc;
use std::sync::Arc;

use logic::metadata::{Command, Image, Response};
use openraft::Raft;
use openraft::error::ClientWriteError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::machine::sequence_of;
use super::raft::{Applied, Types};
use super::upkeep::Upkeep;
use crate::limits::QUORUM_COMMANDS_OPEN_MAX;

/// Why a command has no answer. It may have been applied nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// The quorum has stopped: the log can't be written, or the broker is ending.
    #[error("the metadata quorum has stopped")]
    Stopped,
    /// Another broker leads the quorum.
    #[error("this broker does not lead the metadata quorum")]
    NotLeader,
    /// The disk is almost full: only deleting topics is possible.
    #[error("the disk is almost full: metadata is not changed, except to delete topics")]
    DiskFull,
}

/// A command's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the metadata says.
    pub response: Response,
    /// The command's number. A shard that has applied the change of this number, or any later one, knows of it; a
    /// command that changed nothing has no change of its own.
    pub sequence: u64,
    /// Whether it changed anything: whether a change with this number went to the subscribers.
    pub changed: bool,
}

pub(super) struct Request {
    command: Command,
    answer: oneshot::Sender<Result<Answer, QuorumError>>,
}

/// Asks the quorum. Cheap to clone, and at home on every thread.
#[derive(Clone, Debug)]
pub struct QuorumHandle {
    requests: mpsc::Sender<Request>,
    newest: watch::Receiver<Arc<Image>>,
}

impl QuorumHandle {
    pub(super) fn new(newest: watch::Receiver<Arc<Image>>) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(QUORUM_COMMANDS_OPEN_MAX);
        (Self { requests, newest }, queue)
    }

    /// Has a command agreed on and applied. When it returns, the command is durable and every later image has it.
    ///
    /// # Errors
    /// [`QuorumError`]; what the metadata itself refuses is in the answer.
    pub async fn submit(&self, command: Command) -> Result<Answer, QuorumError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { command, answer }).await.map_err(|_| QuorumError::Stopped)?;
        answered.await.unwrap_or(Err(QuorumError::Stopped))
    }

    /// The newest image that was applied. For the control thread; shards have theirs from their own mailbox.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.newest.borrow().clone()
    }
}

/// Hands requests to openraft in the order they came, a bounded number at a time, until every handle is gone.
pub(super) async fn pump(raft: Raft<Types>, mut requests: mpsc::Receiver<Request>, upkeep: Rc<Upkeep>) {
    let open = Arc::new(Semaphore::new(QUORUM_COMMANDS_OPEN_MAX));
    while let Some(Request { command, answer }) = requests.recv().await {
        let permit = open.clone().acquire_owned().await.expect("the semaphore is never closed");
        if upkeep.refuses(&command).await {
            drop(answer.send(Err(QuorumError::DiskFull)));
            continue;
        }
        let written = match raft.client_write_ff(Arc::new(command)).await {
            Ok(written) => written,
            Err(fatal) => {
                tracing::error!(%fatal, "the metadata quorum has stopped");
                drop(answer.send(Err(QuorumError::Stopped)));
                continue;
            }
        };
        let (raft, upkeep) = (raft.clone(), upkeep.clone());
        tokio::task::spawn_local(async move {
            let result = match written.await {
                Ok(Ok(done)) => Ok(answer_of(sequence_of(done.log_id.index), done.data)),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(QuorumError::NotLeader),
                Ok(Err(ClientWriteError::ChangeMembershipError(error))) => {
                    unreachable!("no command changes the membership: {error}")
                }
                Err(_) => Err(QuorumError::Stopped),
            };
            // Whoever asked may have gone; the command is applied all the same.
            drop(answer.send(result));
            drop(permit);
            upkeep.after_write(&raft).await;
        });
    }
}

fn answer_of(sequence: u64, response: Option<Applied>) -> Answer {
    let applied = response.expect("a command's entry has a response");
    Answer { response: applied.response, sequence, changed: applied.changed }
}

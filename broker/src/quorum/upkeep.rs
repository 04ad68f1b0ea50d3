//! When the log is cut by a snapshot, and what a full disk still allows.

use std::cell::Cell;
use std::rc::Rc;

use logic::metadata::Command;
use openraft::Raft;

use super::log::Log;
use super::machine::Machine;
use super::raft::Types;
use super::writer::Writer;
use crate::limits::{QUORUM_LOG_BYTES_MIN, QUORUM_SPACE_LOW_BYTES};

/// Looks after the log's size and the disk's space.
pub(super) struct Upkeep {
    log: Log,
    machine: Machine,
    writer: Rc<Writer>,
    /// The log's size when a snapshot was asked for that is not there yet.
    asked_at_bytes: Cell<Option<u64>>,
}

impl Upkeep {
    pub(super) const fn new(log: Log, machine: Machine, writer: Rc<Writer>) -> Self {
        Self { log, machine, writer, asked_at_bytes: Cell::new(None) }
    }

    /// Whether the disk is too full for a command. What frees space, and a start, is never refused.
    pub(super) async fn refuses(&self, command: &Command) -> bool {
        if matches!(command, Command::DeleteTopics(_) | Command::RegisterBroker(_)) {
            return false;
        }
        if self.writer.available_bytes() >= QUORUM_SPACE_LOW_BYTES {
            return false;
        }
        // The figure is as old as the last write: perhaps there is space again.
        self.writer.measure().await.is_ok_and(|available| available < QUORUM_SPACE_LOW_BYTES)
    }

    /// Asks for a snapshot once the log is twice as large as the newest one: over time, no more is written for
    /// snapshots than for the log.
    pub(super) async fn after_write(&self, raft: &Raft<Types>) {
        let log_bytes = self.log.size_bytes();
        if self.asked_at_bytes.get().is_some_and(|asked| log_bytes < asked) {
            self.asked_at_bytes.set(None);
        }
        let snapshot_bytes = self.machine.snapshot_bytes();
        let due = log_bytes >= QUORUM_LOG_BYTES_MIN.max(2 * snapshot_bytes);
        let space = self.writer.available_bytes() >= QUORUM_SPACE_LOW_BYTES + 2 * log_bytes + snapshot_bytes;
        if due && space && self.asked_at_bytes.get().is_none() {
            self.asked_at_bytes.set(Some(log_bytes));
            if let Err(fatal) = raft.trigger().snapshot().await {
                tracing::error!(%fatal, "the metadata quorum has stopped");
            }
        }
    }
}

//! The segments of one partition: batches in wire format, end to end, with sparse indexes by offset and by time, in
//! Kafka's own layout and file names, so that Kafka's own tools read them.
//!
//! What is *destaged* lives here. A [`PartitionLog`] appends whole batches in big aligned writes, rolls, syncs, cuts,
//! reads, and drops what retention plans. It gets batches in order and promises nothing before
//! [`PartitionLog::sync`] returns: until then the journal has them.
//!
//! Invariants:
//! - Below the end of the log a segment's bytes never change, but by a cut, or where compaction puts a segment in the
//!   place of others ([`PartitionLog::begin_replacement`]); its last block is written again, with the
//!   same beginning, when more is appended. The device writes a logical block whole or not at all.
//! - What the offset index in the file covers, the time index in the file covers too: it is synced before.
//! - Indexes are derived: one that is missing or damaged is rebuilt from its segment.
//!
//! This module must not know of the journal, of checkpoints, of time that passes, or what is inside a batch.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use protocol::types::Offset;

mod append;
mod config;
mod files;
mod header;
mod index;
pub(crate) mod inspect;
mod log;
mod names;
mod open;
mod read;
mod replace;
mod retention;
mod room;
mod sync;
#[cfg(test)]
mod tests;
mod time;
mod walk;

pub use config::LogConfig;
pub use files::OpenFiles;
pub use log::{PartitionLog, remove_retired};
pub use names::{TOPICS_DIRECTORY, partition_directory};
pub(crate) use replace::Replacement;
pub use retention::{RetentionInput, RetentionPlan, SegmentSummary, plan_retention};
pub use room::{RoomGiver, plan_room};
pub use sync::{close_logs, sync_logs};

/// Batches that were read: whole ones, consecutive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBatches {
    /// Their bytes; each chunk holds whole batches.
    pub chunks: Vec<Bytes>,
    /// The length of all chunks.
    pub bytes: usize,
    /// The offset to go on at.
    pub next: Offset,
    /// Whether there may be native batches among them.
    pub has_native: bool,
}

impl ReadBatches {
    /// Adds what was read behind these.
    fn go_on_with(&mut self, mut others: Self) {
        self.chunks.append(&mut others.chunks);
        self.bytes += others.bytes;
        self.next = others.next;
        self.has_native |= others.has_native;
    }
}

/// Why a log could not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk failed. `StorageFull`, and a file that could not be opened because too many are, leave the log as it was;
    /// after anything else that was a write or a sync, the process must stop.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A segment holds something that was not written there.
    #[error("{file} is damaged at position {position}: no batch there continues offset {offset}", file = file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// The first offset that cannot be read.
        offset: Offset,
    },
    /// Segments that should be there are not.
    #[error("{directory}: offsets {from} to {end} (excluded) are missing", directory = directory.display())]
    Missing {
        /// The partition's directory.
        directory: PathBuf,
        /// The first offset missing.
        from: Offset,
        /// The offset after the last one missing.
        end: Offset,
    },
    /// The offset asked for is not in the log.
    #[error("offset {offset} is not in the log, which goes from {start} to {end} (excluded)")]
    OutOfRange {
        /// The one asked for.
        offset: Offset,
        /// The first one there.
        start: Offset,
        /// The one after the last.
        end: Offset,
    },
}

impl SegmentError {
    /// What the system said, where it was asked.
    pub(crate) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether the disk is full: refuse produces, and go on.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

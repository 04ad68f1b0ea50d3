//! What can go wrong in a shard's store, and what to do about it.

use std::io;

use protocol::types::Offset;

use super::types::Damage;
use crate::disk::is_out_of_files;
use crate::segment::SegmentError;

/// A lost write or failed sync. Never retried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} failed: {reason}")]
pub struct StoreFailure {
    /// What was being done.
    pub what: String,
    /// What the system said.
    pub reason: String,
}

impl StoreFailure {
    pub(crate) fn new(what: impl Into<String>, error: &io::Error) -> Self {
        Self { what: what.into(), reason: error.to_string() }
    }
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The partition is deleted, or not of this store.
    #[error("the partition is not there")]
    Gone,
    /// The append is longer than a frame can be.
    #[error("{bytes} bytes in one append; at most {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest there can be.
        bytes_max: usize,
    },
    /// Too much waits for the journal: slow down.
    #[error("the journal is full of batches that wait to be destaged")]
    Overloaded,
    /// The disk has no room.
    #[error("no space left on the disk")]
    DiskFull,
    /// The process can open no more files for now. Nothing is lost: what was to be done is done later.
    #[error("no more files can be opened: raise nofile, or lower max.connections")]
    OutOfFiles,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// A write or sync failed before: nothing is written any more.
    #[error(transparent)]
    Failed(#[from] StoreFailure),
    /// The disk refused something that changed nothing.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// What a full disk, or a file that could not be opened because too many are, comes to; none for what does not pass.
    pub(crate) fn passing(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::DiskFull),
            _ => is_out_of_files(error).then_some(Self::OutOfFiles),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The partition is deleted, or not of this store.
    #[error("the partition is not there")]
    Gone,
    /// The offset is not in the log.
    #[error("the log reaches from {start} to {end}")]
    OutOfRange {
        /// The first offset.
        start: Offset,
        /// The offset behind the last record.
        end: Offset,
    },
    /// What was read is not what was written.
    #[error("{place} is damaged")]
    Damaged {
        /// File and position, or frame.
        place: String,
    },
    /// The disk failed to read.
    #[error("reading: {0}")]
    Io(#[from] io::Error),
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Acked records are damaged.
    #[error("acked records are damaged: {0}")]
    Damaged(Box<Damage>),
    /// No checkpoint is readable, yet the journal has frames.
    #[error("both checkpoints of shard {shard} are damaged")]
    CheckpointsDamaged {
        /// The shard.
        shard: u16,
    },
    /// The journal has fewer files than the checkpoint names.
    #[error("journal file {file} of shard {shard} is missing")]
    JournalMissing {
        /// The shard.
        shard: u16,
        /// The file's number.
        file: u32,
    },
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<SegmentError> for ReadError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io { source, .. } => Self::Io(source),
            SegmentError::OutOfRange { start, end, .. } => Self::OutOfRange { start, end },
            damaged => Self::Damaged { place: damaged.to_string() },
        }
    }
}

/// Says what was being done when the disk failed.
pub(crate) trait While<T> {
    fn opening(self, what: &str) -> Result<T, OpenError>;
    fn doing(self, what: &str) -> Result<T, StoreError>;
}

impl<T> While<T> for io::Result<T> {
    fn opening(self, what: &str) -> Result<T, OpenError> {
        self.map_err(|source| OpenError::Io { what: what.to_owned(), source })
    }

    fn doing(self, what: &str) -> Result<T, StoreError> {
        self.map_err(|source| {
            StoreError::passing(&source).unwrap_or_else(|| StoreError::Io { what: what.to_owned(), source })
        })
    }
}

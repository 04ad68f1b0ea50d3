//! How the log of one partition is kept.

use crate::compaction::CompactionConfig;
use crate::limits::SEGMENT_BYTES_MAX;

/// How the log of one partition is kept: the topic's configs that storage knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before it gets longer (`segment.bytes`).
    pub segment_bytes: u64,
    /// A segment is closed when its records span more time than this (`segment.ms`).
    pub segment_ms: i64,
    /// The most bytes of an index (`segment.index.bytes`).
    pub segment_index_bytes: u32,
    /// More than so many bytes of batches lie between two entries of an index (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// The oldest segments go when the log is longer (`retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// Segments go when all their records are older (`retention.ms`).
    pub retention_ms: Option<i64>,
    /// Records may claim to be this much later than the clock (`message.timestamp.after.max.ms`); what claims more
    /// does not hold up retention.
    pub timestamp_after_max_ms: i64,
    /// The oldest segments go when the disk is full and the operator chose so (`cleanup.policy` has delete, and the topic is
    /// not the broker's own).
    pub gives_room: bool,
    /// Of all records with one key only the last one stays (`cleanup.policy`).
    pub compaction: Option<CompactionConfig>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            timestamp_after_max_ms: 3600 * 1000,
            gives_room: true,
            compaction: None,
        }
    }
}

impl LogConfig {
    /// Positions in an index have 31 bits, whatever the config says.
    pub(crate) fn segment_bytes_effective(&self) -> u64 {
        self.segment_bytes.min(SEGMENT_BYTES_MAX)
    }
}

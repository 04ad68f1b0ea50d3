//! The aborted transactions of one partition: what a consumer of committed records is told to leave out.
//!
//! In the order of their markers, as in Kafka's transaction index. An entry stays as long as a record of its transaction
//! may be read: [`AbortedIndex::forget_below`] follows the log's start, [`AbortedIndex::forget_markers`] compaction. Records that
//! follow an entry's last stable offset are of transactions that began later, which is where a search ends.

use protocol::aborted::AbortedTransaction;
use protocol::types::Offset;
use std::collections::VecDeque;

/// The aborted transactions that are still known.
#[derive(Clone, Debug, Default)]
pub(super) struct AbortedIndex {
    entries: VecDeque<AbortedTransaction>,
}

impl AbortedIndex {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AbortedTransaction> {
        self.entries.iter()
    }

    pub(super) fn add(&mut self, aborted: AbortedTransaction) {
        assert!(aborted.first_offset < aborted.last_offset);
        assert!(aborted.last_stable_offset <= aborted.last_offset.plus(1));
        if let Some(last) = self.entries.back() {
            assert!(last.last_offset < aborted.last_offset);
            // What is decided stays decided.
            assert!(last.last_stable_offset <= aborted.last_stable_offset);
        }
        self.entries.push_back(aborted);
    }

    /// Those with a record in `from..limit`.
    pub(super) fn overlapping(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        let start = self.entries.partition_point(|entry| entry.last_offset < from);
        let mut found = Vec::new();
        for entry in self.entries.range(start..) {
            if entry.first_offset < limit {
                found.push(*entry);
            }
            if entry.last_stable_offset >= limit {
                break;
            }
        }
        found
    }

    /// Those whose marker is in `from..limit`, a segment.
    pub(super) fn ended_in(&self, from: Offset, limit: Offset) -> impl Iterator<Item = &AbortedTransaction> {
        let start = self.entries.partition_point(|entry| entry.last_offset < from);
        self.entries.range(start..).take_while(move |entry| entry.last_offset < limit)
    }

    /// The log starts at `log_start` now.
    pub(super) fn forget_below(&mut self, log_start: Offset) {
        let count = self.entries.partition_point(|entry| entry.last_offset < log_start);
        self.entries.drain(..count);
        self.shrink();
    }

    /// No record is left of the transactions whose markers are at these offsets, which go up.
    pub(super) fn forget_markers(&mut self, markers: &[Offset]) {
        assert!(markers.is_sorted());
        self.entries.retain(|entry| markers.binary_search(&entry.last_offset).is_err());
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.entries.capacity() > 1_024 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

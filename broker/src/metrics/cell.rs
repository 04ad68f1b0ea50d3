//! A counter with one writer and any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts up. Two writers would lose counts (never worse); [`super::ShardMetrics`] sees to it that there is one.
#[derive(Debug, Default)]
pub(super) struct OwnedCounter(AtomicU64);

impl OwnedCounter {
    /// A load and a store: no locked instruction, since nobody else writes.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

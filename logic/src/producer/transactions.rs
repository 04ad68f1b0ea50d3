//! The transactions of one partition: which are open, which are decided, how far consumers of committed records may read.
//!
//! | state of a transaction here | holds the last stable offset back |
//! | --- | --- |
//! | open: it has records, and no marker | at its first record |
//! | deciding: its marker is appended, and not committed | at its first record |
//! | decided | not at all |
//!
//! Invariants: a producer has one open transaction at most; the two lists of open ones name the same.

use super::aborted::AbortedIndex;
use super::verification::Verifications;
use crate::limits::{TRANSACTIONS_ABORTED_PER_PARTITION_MAX, TRANSACTIONS_OPEN_PER_PARTITION_MAX};
use protocol::aborted::AbortedTransaction;
use protocol::types::{Offset, ProducerId};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// The transactions of one partition.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    first_offsets: FxHashMap<i64, Offset>,
    open: BTreeMap<Offset, ProducerId>,
    /// First offset and marker of those whose marker may not be committed yet.
    deciding: BTreeMap<Offset, Offset>,
    pub(super) aborted: AbortedIndex,
    pub(super) verifications: Verifications,
    /// The last batch that left no trace that a cut could take back: a marker, or one without sequence numbers.
    pub(super) last_unkept: Option<Offset>,
    log_start: Offset,
}

impl Transactions {
    /// Where the open transaction of a producer begins.
    pub(super) fn first_offset(&self, id: ProducerId) -> Option<Offset> {
        self.first_offsets.get(&id.get()).copied()
    }

    pub(super) fn is_open(&self, id: ProducerId) -> bool {
        self.first_offsets.contains_key(&id.get())
    }

    /// The open ones in the order of their first offsets.
    pub(super) fn open(&self) -> impl Iterator<Item = (Offset, ProducerId)> {
        self.open.iter().map(|(first, id)| (*first, *id))
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Whether there is no room for another one.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= TRANSACTIONS_OPEN_PER_PARTITION_MAX
            || self.aborted.len() >= TRANSACTIONS_ABORTED_PER_PARTITION_MAX
    }

    /// A transaction's first batch is here.
    pub(super) fn begin(&mut self, id: ProducerId, first: Offset) {
        let producer_before = self.first_offsets.insert(id.get(), first);
        assert!(producer_before.is_none());
        let offset_before = self.open.insert(first, id);
        assert!(offset_before.is_none());
    }

    /// The producer's open transaction ended with the marker at `marker`; its first offset, if there was one.
    pub(super) fn end(&mut self, id: ProducerId, marker: Offset, is_abort: bool) -> Option<Offset> {
        let first_offset = self.first_offsets.remove(&id.get())?;
        assert!(first_offset < marker);
        let removed = self.open.remove(&first_offset);
        assert_eq!(removed, Some(id));
        self.deciding.insert(first_offset, marker);
        if is_abort {
            let next_open = self.open.first_key_value().map(|(first, _)| *first);
            let last_stable_offset = next_open.unwrap_or_else(|| marker.plus(1));
            let (producer_id, last_offset) = (id, marker);
            self.aborted.add(AbortedTransaction {
                producer_id,
                first_offset,
                last_offset,
                last_stable_offset,
            });
        }
        Some(first_offset)
    }

    /// How far consumers of committed records may read.
    pub(super) fn last_stable_offset(&mut self, high_watermark: Offset) -> Offset {
        while let Some(first) = self.deciding.first_entry() {
            if *first.get() >= high_watermark {
                break;
            }
            first.remove();
        }
        let deciding = self.deciding.first_key_value().map(|(first, _)| *first);
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let undecided = deciding.into_iter().chain(open).min().unwrap_or(high_watermark);
        undecided.max(self.log_start).min(high_watermark)
    }

    /// The log starts at `log_start` now.
    pub(super) fn start_at(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
        self.aborted.forget_below(log_start);
    }

    /// The log was cut at `end`: whether what is left is as if nothing had been past it.
    pub(super) fn truncate(&mut self, end: Offset) -> bool {
        if self.last_unkept.is_some_and(|at| at >= end) {
            return false;
        }
        for id in self.open.split_off(&end).into_values() {
            self.first_offsets.remove(&id.get());
        }
        true
    }
}

//! Where each leader epoch of a log starts: the history that divergence is settled by (KIP-101, KIP-279).
//!
//! Invariant: epochs and start offsets both grow strictly from entry to entry.

use protocol::types::{LeaderEpoch, Offset};

/// The first offset of one leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset that was, or would have been, appended in it.
    pub start: Offset,
}

/// Where an epoch ends: the answer to OffsetForLeaderEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch that is not past the one asked for.
    pub epoch: LeaderEpoch,
    /// The offset after the last one of that epoch.
    pub end: Offset,
}

/// The leader epochs of one log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    entries: Vec<EpochEntry>,
}

impl EpochHistory {
    /// The history made of `entries`, as the log kept them: entries that contradict a later one are dropped.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = EpochEntry>) -> Self {
        let mut history = Self::default();
        for entry in entries {
            history.start_epoch(entry.epoch, entry.start);
        }
        history
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` starts at `start`, and drops entries that this shows to hold no record.
    ///
    /// A repeated epoch keeps its first, smaller start.
    pub fn start_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(epoch.get() >= 0);
        assert!(start.get() >= 0);
        if let Some(last) = self.last()
            && last.epoch == epoch
            && last.start <= start
        {
            return;
        }
        while let Some(last) = self.entries.last() {
            if last.epoch < epoch && last.start < start {
                break;
            }
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start });
    }

    /// Where `asked` ends in a log that ends at `log_end`; none when `asked` is unknown or newer than all epochs here.
    ///
    /// Epochs 2 from 0 and 5 from 10, log end 30: 2, 3 and 4 end at 10, 5 ends at 30, 6 is unknown. Asked for 1, which
    /// lies before the whole history, the answer is (1, 0): nothing of it is left.
    #[must_use]
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if asked == LeaderEpoch::UNKNOWN {
            return None;
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= asked);
        let epoch = match after.checked_sub(1) {
            Some(floor) => self.entries[floor].epoch,
            None => asked,
        };
        match self.entries.get(after) {
            Some(next) => Some(EpochEnd { epoch, end: next.start }),
            None if epoch == asked && after > 0 => Some(EpochEnd { epoch, end: log_end }),
            None => None,
        }
    }

    /// The epoch that the record at `offset` was appended in.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).map(|floor| self.entries[floor].epoch)
    }

    /// Forgets epochs that start at or past `end`, where the log was cut.
    pub fn truncate(&mut self, end: Offset) {
        while self.entries.last().is_some_and(|entry| entry.start >= end) {
            self.entries.pop();
        }
    }

    /// Forgets epochs that end at or before `start`, below which the log was deleted.
    pub fn trim(&mut self, start: Offset) {
        let after = self.entries.partition_point(|entry| entry.start <= start);
        if after > 0 {
            self.entries[after - 1].start = start;
            self.entries.drain(..after - 1);
        }
    }
}

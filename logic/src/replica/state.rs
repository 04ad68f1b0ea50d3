//! The replica itself: its watermarks, the one place where they move, and what readers may ask of it.
//!
//! Cost: a partition without followers (ISR of one) takes a handful of compares per batch and allocates nothing.

use super::acks::AckPolicy;
use super::epochs::{EpochEnd, EpochEntry, EpochHistory};
use super::error::ReplicaError;
use super::isr::Peer;
use protocol::types::{BrokerId, LeaderEpoch, Offset};

/// What a replica is to its partition at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody has told it yet.
    Unassigned,
    /// It takes appends from producers.
    Leader,
    /// It takes appends from `leader`, where one is known.
    Follower {
        /// The leader it follows.
        leader: Option<BrokerId>,
    },
}

/// What recovery found of a replica's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The first offset.
    pub log_start: Offset,
    /// The offset after the last; everything below it is on stable media.
    pub log_end: Offset,
    /// What is known to be committed; `log_start` where nothing was kept.
    pub high_watermark: Offset,
    /// The leader epochs of the log.
    pub epochs: EpochHistory,
}

/// Which watermarks an input moved: what the caller has to look after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Advance {
    /// [`Replica::acked_end`] moved: replies to acks=1 may be due; a follower tells its leader.
    pub acked: bool,
    /// [`Replica::high_watermark`] moved: replies to acks=all may be due.
    pub committed: bool,
    /// [`Replica::readable_end`] moved: waiting fetches may be due.
    pub readable: bool,
}

/// Where a fetch may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// The first offset to read.
    pub from: Offset,
    /// The offset to stop before; at or below `from` when there is nothing to read yet.
    pub limit: Offset,
    /// What is committed.
    pub high_watermark: Offset,
    /// The first offset of the log.
    pub log_start: Offset,
}

/// What a fetch is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCheck {
    /// Records, or none yet.
    Read(FetchPosition),
    /// No records: the reader's log differs from here on, and it has to cut its own first.
    Diverging(EpochEnd),
}

/// The replica of one partition on one broker.
#[derive(Debug)]
pub struct Replica {
    pub(super) local: BrokerId,
    pub(super) role: Role,
    pub(super) leader_epoch: LeaderEpoch,
    /// Where the log ended when the current leadership began.
    pub(super) epoch_start: Offset,
    /// Whether the journal has the current epoch's start on stable media.
    pub(super) epoch_durable: bool,
    /// Whether a follower's log is known to be a prefix of its leader's.
    pub(super) settled: bool,
    pub(super) ack_policy: AckPolicy,
    pub(super) min_insync_replicas: usize,
    pub(super) isr_change_in_flight: bool,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    pub(super) sealed_end: Offset,
    pub(super) synced_end: Offset,
    pub(super) acked_end: Offset,
    pub(super) high_watermark: Offset,
    /// The other replicas; filled on a leader only.
    pub(super) peers: Vec<Peer>,
    pub(super) epochs: EpochHistory,
}

impl Replica {
    /// A replica as recovery found it, before the metadata has said who leads.
    #[must_use]
    pub fn new(local: BrokerId, recovered: Recovered) -> Self {
        let Recovered { log_start, log_end, high_watermark, epochs } = recovered;
        let replica = Self {
            local,
            role: Role::Unassigned,
            leader_epoch: LeaderEpoch::UNKNOWN,
            epoch_start: log_end,
            epoch_durable: false,
            settled: false,
            ack_policy: AckPolicy::WhenSynced,
            min_insync_replicas: 1,
            isr_change_in_flight: false,
            log_start,
            log_end,
            sealed_end: log_end,
            synced_end: log_end,
            acked_end: log_end,
            high_watermark: high_watermark.clamp(log_start, log_end),
            peers: Vec::new(),
            epochs,
        };
        replica.assert_invariants();
        replica
    }

    /// What the replica is at the moment.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The leader, as far as this replica was told.
    #[must_use]
    pub const fn leader(&self) -> Option<BrokerId> {
        match self.role {
            Role::Unassigned => None,
            Role::Leader => Some(self.local),
            Role::Follower { leader } => leader,
        }
    }

    /// The epoch of the current leadership.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Where the log ended when the current leadership began.
    #[must_use]
    pub const fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The leader epochs of the log.
    #[must_use]
    pub const fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// The first offset of the log.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset after the last appended record.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Batches below it are on stable media here.
    #[must_use]
    pub const fn synced_end(&self) -> Offset {
        self.synced_end
    }

    /// What this replica vouches for: acks=1 below it are due, and a follower reports it to its leader.
    #[must_use]
    pub const fn acked_end(&self) -> Offset {
        self.acked_end
    }

    /// Records below it are committed: acks=all below it are due.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Consumers may read below it: committed, and in a frame that can be read.
    #[must_use]
    pub fn readable_end(&self) -> Offset {
        self.high_watermark.min(self.sealed_end)
    }

    /// The batches below `end` can be read from their frame.
    pub fn on_sealed(&mut self, end: Offset) -> Advance {
        assert!(end >= self.sealed_end);
        assert!(end <= self.log_end);
        let readable_before = self.readable_end();
        self.sealed_end = end;
        Advance { readable: self.readable_end() > readable_before, ..Advance::default() }
    }

    /// The batches below `end` are on stable media.
    ///
    /// The store syncs a truncation after the frames that it cuts, so no news of a cut frame comes after the cut.
    pub fn on_synced(&mut self, end: Offset) -> Advance {
        assert!(end >= self.synced_end);
        assert!(end <= self.log_end);
        let readable_before = self.readable_end();
        self.synced_end = end;
        self.sealed_end = self.sealed_end.max(end);
        self.advance(readable_before)
    }

    /// Changes what the topic's configuration says; what was acked stays acked.
    pub fn on_settings(&mut self, ack_policy: AckPolicy, min_insync_replicas: usize) -> Advance {
        assert!(min_insync_replicas >= 1);
        let readable_before = self.readable_end();
        self.ack_policy = ack_policy;
        self.min_insync_replicas = min_insync_replicas;
        self.advance(readable_before)
    }

    /// Refuses a request made for another leadership; an unknown epoch asks for no check.
    pub const fn check_epoch(&self, epoch: LeaderEpoch) -> Result<(), ReplicaError> {
        let current = self.leader_epoch;
        if epoch.get() == LeaderEpoch::UNKNOWN.get() || epoch.get() == current.get() {
            Ok(())
        } else if epoch.get() < current.get() {
            Err(ReplicaError::FencedEpoch { current })
        } else {
            Err(ReplicaError::UnknownEpoch { current })
        }
    }

    /// Refuses a request that only the leader of `epoch` answers.
    pub const fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), ReplicaError> {
        if let Err(error) = self.check_epoch(epoch) {
            return Err(error);
        }
        match self.role {
            Role::Leader => Ok(()),
            Role::Unassigned | Role::Follower { .. } => {
                Err(ReplicaError::NotLeader { leader: self.leader() })
            }
        }
    }

    /// Where a fetch at `from` may read; `last_fetched` is the epoch of the record before it, where the reader knows it.
    pub fn check_fetch(
        &self,
        from: Offset,
        epoch: LeaderEpoch,
        last_fetched: LeaderEpoch,
    ) -> Result<FetchCheck, ReplicaError> {
        self.check_leader(epoch)?;
        let out_of_range =
            ReplicaError::OffsetOutOfRange { log_start: self.log_start, log_end: self.log_end };
        if last_fetched != LeaderEpoch::UNKNOWN {
            let known = self.epochs.end_of(last_fetched, self.log_end).ok_or(out_of_range)?;
            if from < self.log_start {
                return Err(out_of_range);
            }
            if known.epoch < last_fetched || known.end < from {
                return Ok(FetchCheck::Diverging(known));
            }
        }
        if from < self.log_start || from > self.log_end {
            return Err(out_of_range);
        }
        Ok(FetchCheck::Read(FetchPosition {
            from,
            limit: self.readable_end(),
            high_watermark: self.high_watermark,
            log_start: self.log_start,
        }))
    }

    /// Where epoch `asked` ends (OffsetForLeaderEpoch); none when it is not known here.
    ///
    /// Not answered before the leader's own epoch is durable. Otherwise: it answers, a follower settles and copies; it
    /// crashes, loses the end of its log and with it the start of its epoch; it leads again in the same epoch, and
    /// the follower, settled in that epoch, does not notice that they differ.
    pub fn epoch_end(
        &self,
        epoch: LeaderEpoch,
        asked: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, ReplicaError> {
        self.check_leader(epoch)?;
        if !self.epoch_durable {
            return Err(ReplicaError::EpochNotDurable { epoch: self.leader_epoch });
        }
        Ok(self.epochs.end_of(asked, self.log_end))
    }

    /// The offset that a consumer who asks for the latest starts at.
    pub fn latest_offset(&self, epoch: LeaderEpoch) -> Result<Offset, ReplicaError> {
        self.check_leader(epoch)?;
        if self.high_watermark < self.epoch_start {
            let (high_watermark, epoch_start) = (self.high_watermark, self.epoch_start);
            return Err(ReplicaError::OffsetNotAvailable { high_watermark, epoch_start });
        }
        Ok(self.high_watermark)
    }

    /// Where a client's wish to delete the records below `wish` moves the log start; none asks for all that is committed.
    ///
    /// A wish below the log start changes nothing. The caller makes the result durable, then calls
    /// [`Replica::on_log_start`].
    pub fn check_delete_records(&self, wish: Option<Offset>) -> Result<Offset, ReplicaError> {
        self.check_leader(LeaderEpoch::UNKNOWN)?;
        let start = wish.unwrap_or(self.high_watermark);
        if start < Offset(0) || start > self.high_watermark {
            return Err(ReplicaError::OffsetOutOfRange {
                log_start: self.log_start,
                log_end: self.high_watermark,
            });
        }
        Ok(start.max(self.log_start))
    }

    /// The log starts at `start` now, and stable media say so: retention, deleted records, or the leader's log start.
    pub fn on_log_start(&mut self, start: Offset) -> Advance {
        assert!(start <= self.log_end);
        if start <= self.log_start {
            return Advance::default();
        }
        let readable_before = self.readable_end();
        assert!(start <= self.high_watermark || self.role != Role::Leader);
        self.log_start = start;
        self.epochs.trim(start);
        let committed = self.high_watermark < start;
        self.high_watermark = self.high_watermark.max(start);
        self.assert_invariants();
        Advance { acked: false, committed, readable: self.readable_end() > readable_before }
    }

    /// Moves what follows from the log's ends: the only place where watermarks rise.
    pub(super) fn advance(&mut self, readable_before: Offset) -> Advance {
        let acked_before = self.acked_end;
        let committed_before = self.high_watermark;
        let local_end = match self.ack_policy {
            AckPolicy::WhenSynced => self.synced_end,
            AckPolicy::WhenAppended => self.log_end,
        };
        self.acked_end = self.acked_end.max(local_end);
        if self.role == Role::Leader {
            self.high_watermark = self.high_watermark.max(self.committed_candidate());
        }
        self.assert_invariants();
        Advance {
            acked: self.acked_end > acked_before,
            committed: self.high_watermark > committed_before,
            readable: self.readable_end() > readable_before,
        }
    }

    /// Notes the start of an epoch, when a leadership begins or a follower meets it in the leader's batches.
    pub(super) fn start_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(start <= self.log_end);
        self.epochs.start_epoch(epoch, start);
        assert_eq!(self.epochs.last().map(|last| last.epoch), Some(epoch));
    }

    /// The epoch entry that a leader makes durable before its first append.
    #[must_use]
    pub const fn epoch_entry(&self) -> EpochEntry {
        EpochEntry { epoch: self.leader_epoch, start: self.epoch_start }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.log_start <= self.high_watermark);
        assert!(self.high_watermark <= self.log_end);
        assert!(self.synced_end <= self.sealed_end);
        assert!(self.sealed_end <= self.log_end);
        assert!(self.acked_end <= self.log_end);
    }
}

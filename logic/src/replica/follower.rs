//! Following a leader: settling divergence by leader epoch, taking its batches, and cutting the log.
//!
//! ```text
//!  follower                                    leader
//!  last epoch of its log              ───────► where that epoch ends there (the largest it knows, not past it)
//!  truncate to what both agree on     ◄───────
//!  not settled: it asks again with an older epoch (KIP-279), each time a smaller one
//! ```

use super::acks::AckPolicy;
use super::epochs::EpochEnd;
use super::error::ReplicaError;
use super::state::{Advance, Replica, Role};
use protocol::types::{BrokerId, LeaderEpoch, Offset};

/// What the metadata and the topic's configuration say to a follower.
#[derive(Clone, Copy, Debug)]
pub struct FollowerSettings {
    /// The leadership that it follows.
    pub epoch: LeaderEpoch,
    /// The leader, where there is one.
    pub leader: Option<BrokerId>,
    /// What this replica vouches for.
    pub ack_policy: AckPolicy,
}

/// What a follower does after it has heard from its leader where an epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// The log is a prefix of the leader's once it is cut at `end`: cut it durably, then [`Replica::on_truncated`].
    Settled {
        /// Where to cut; the log's end when there is nothing to cut.
        end: Offset,
    },
    /// Cut at `end` in the same way, then ask again.
    AskAgain {
        /// Where to cut.
        end: Offset,
    },
    /// Nothing of this log is shared: throw it away durably, then [`Replica::on_restarted_at`].
    Restart {
        /// Where the new log starts.
        at: Offset,
    },
    /// The leader knows nothing of the epoch, which is newer than all of its own: it is not the leader that this replica
    /// should follow, or not yet.
    Unknown,
}

impl Replica {
    /// This replica follows from now on; a repeated call for the same leadership changes nothing but the settings.
    pub fn become_follower(&mut self, settings: FollowerSettings) -> Result<(), ReplicaError> {
        let current = self.leader_epoch;
        if settings.epoch < current || (settings.epoch == current && self.role == Role::Leader) {
            return Err(ReplicaError::FencedEpoch { current });
        }
        if settings.epoch > current {
            self.settled = false;
        }
        self.role = Role::Follower { leader: settings.leader };
        self.leader_epoch = settings.epoch;
        self.epoch_durable = false;
        self.epoch_start = self.log_end;
        self.ack_policy = settings.ack_policy;
        self.peers.clear();
        self.isr_change_in_flight = false;
        Ok(())
    }

    /// What a follower reports to its leader, with the epoch that it follows; none before its log is settled, because
    /// until then its end says nothing about whose records lie below it.
    #[must_use]
    pub fn report(&self) -> Option<(Offset, LeaderEpoch)> {
        let follows = matches!(self.role, Role::Follower { .. });
        (follows && self.settled).then_some((self.acked_end, self.leader_epoch))
    }

    /// The epoch to ask the leader about ([`Replica::epoch_end`]); unknown when the log has no records to differ by.
    ///
    /// The question is asked in any case: a leader answers only when its epoch is durable, and nothing may be copied
    /// from it before.
    #[must_use]
    pub fn divergence_question(&self) -> LeaderEpoch {
        self.epochs.last().map_or(LeaderEpoch::UNKNOWN, |last| last.epoch)
    }

    /// The leader of `epoch` answered where the epoch ends that it was asked about: how this log differs.
    pub fn settle(
        &mut self,
        epoch: LeaderEpoch,
        answer: Option<EpochEnd>,
    ) -> Result<Divergence, ReplicaError> {
        self.check_follower(epoch)?;
        let asked = self.divergence_question();
        if asked == LeaderEpoch::UNKNOWN {
            assert_eq!(self.log_start, self.log_end);
            self.settled = true;
            return Ok(Divergence::Settled { end: self.log_end });
        }
        let Some(theirs) = answer else { return Ok(Divergence::Unknown) };
        if theirs.epoch > asked {
            return Ok(Divergence::Unknown);
        }
        let end = match self.epochs.end_of(theirs.epoch, self.log_end) {
            // Both know the epoch: they agree up to where it ends first.
            Some(ours) if ours.epoch == theirs.epoch => ours.end.min(theirs.end),
            // The leader's epoch is not in this log: nothing newer than the last epoch before it can be shared.
            Some(ours) if self.epochs.entries().iter().any(|entry| entry.epoch == ours.epoch) => {
                return Ok(Divergence::AskAgain { end: ours.end.min(self.log_end) });
            }
            // The leader's epoch lies before this log's history.
            Some(_) | None => theirs.end.min(self.log_end),
        };
        if end < self.log_start {
            return Ok(Divergence::Restart { at: end });
        }
        self.settled = end == self.log_end;
        Ok(Divergence::Settled { end })
    }

    /// The log was cut at `end` durably. With `settled` it is now a prefix of the leader's.
    ///
    /// Only an unclean election can cut below the high watermark, which then falls with the log.
    pub fn on_truncated(&mut self, end: Offset, settled: bool) {
        assert!(matches!(self.role, Role::Follower { .. }));
        assert!(end >= self.log_start);
        assert!(end <= self.log_end);
        self.log_end = end;
        self.sealed_end = self.sealed_end.min(end);
        self.synced_end = self.synced_end.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs.truncate(end);
        self.epoch_start = self.epoch_start.min(end);
        self.settled = settled;
        self.reset_acked();
        self.assert_invariants();
    }

    /// The log was thrown away and starts at `start`: what it lacked is no longer on the leader either.
    pub fn on_restarted_at(&mut self, start: Offset) {
        assert!(matches!(self.role, Role::Follower { .. }));
        assert!(start >= Offset(0));
        for end in [&mut self.log_start, &mut self.log_end, &mut self.sealed_end, &mut self.synced_end] {
            *end = start;
        }
        self.high_watermark = start;
        self.epoch_start = start;
        self.epochs = super::epochs::EpochHistory::default();
        self.settled = true;
        self.reset_acked();
        self.assert_invariants();
    }

    /// Takes a batch from the leader of `epoch`: `record_count` offsets from `base_offset`, appended in `batch_epoch`.
    pub fn append_replicated(
        &mut self,
        epoch: LeaderEpoch,
        base_offset: Offset,
        record_count: u32,
        batch_epoch: LeaderEpoch,
    ) -> Result<Advance, ReplicaError> {
        assert!(record_count > 0);
        self.check_follower(epoch)?;
        if !self.settled {
            return Err(ReplicaError::NotSettled);
        }
        if base_offset != self.log_end {
            return Err(ReplicaError::NotContiguous { base_offset, log_end: self.log_end });
        }
        if batch_epoch > epoch {
            return Err(ReplicaError::UnknownEpoch { current: epoch });
        }
        let last = self.epochs.last().map_or(LeaderEpoch::UNKNOWN, |last| last.epoch);
        if batch_epoch < last {
            return Err(ReplicaError::FencedEpoch { current: last });
        }
        if batch_epoch > last {
            self.start_epoch(batch_epoch, base_offset);
        }
        let readable_before = self.readable_end();
        self.log_end = base_offset.plus(i64::from(record_count));
        Ok(self.advance(readable_before))
    }

    /// The leader of `epoch` says what is committed; a follower believes it for as much as it has.
    pub fn on_leader_committed(
        &mut self,
        epoch: LeaderEpoch,
        high_watermark: Offset,
    ) -> Result<Advance, ReplicaError> {
        self.check_follower(epoch)?;
        if !self.settled {
            return Err(ReplicaError::NotSettled);
        }
        let readable_before = self.readable_end();
        let committed_before = self.high_watermark;
        self.high_watermark = self.high_watermark.max(high_watermark.min(self.log_end));
        self.assert_invariants();
        Ok(Advance {
            acked: false,
            committed: self.high_watermark > committed_before,
            readable: self.readable_end() > readable_before,
        })
    }

    fn check_follower(&self, epoch: LeaderEpoch) -> Result<(), ReplicaError> {
        assert_ne!(epoch, LeaderEpoch::UNKNOWN);
        self.check_epoch(epoch)?;
        match self.role {
            Role::Follower { .. } => Ok(()),
            Role::Unassigned | Role::Leader => Err(ReplicaError::NotFollower),
        }
    }
}

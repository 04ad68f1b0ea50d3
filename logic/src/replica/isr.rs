//! The other replicas as their leader sees them: what each has, who is in sync, and who should join or leave.
//!
//! A replica that is about to join already holds the high watermark back, from before its joining is proposed until the
//! metadata has answered: whatever is committed meanwhile, it has. One that is about to leave does so until it has left.

use super::acks::AckPolicy;
use super::error::ReplicaError;
use super::state::{Advance, Replica, Role};
use crate::limits::REPLICAS_PER_PARTITION_MAX;
use protocol::types::{BrokerId, LeaderEpoch, Offset, Timestamp};

/// Nothing has been heard of the replica in this leadership.
const NO_PROGRESS: Offset = Offset(-1);

/// Never in this leadership.
const NEVER: Timestamp = Timestamp(i64::MIN);

/// Another replica of a partition that is led here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    broker: BrokerId,
    /// What it vouches for.
    end: Offset,
    in_sync: bool,
    /// Not in sync yet, but close enough that the high watermark waits for it.
    joining: bool,
    /// The last time at which it had all that the leader had.
    caught_up_at: Timestamp,
    /// When it last reported, and where the log ended then: what it reports next is compared with that, because a busy
    /// leader's log never stands still long enough for a follower to meet its end.
    reported_at: Timestamp,
    log_end_when_reported: Offset,
}

/// A set of in-sync replicas that the leader proposes to the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    /// The leadership that proposes it.
    pub leader_epoch: LeaderEpoch,
    /// The new set, the leader first.
    pub isr: Vec<BrokerId>,
}

impl Replica {
    /// How many replicas are in sync, the leader included.
    #[must_use]
    pub fn in_sync_count(&self) -> usize {
        if self.peers.is_empty() {
            return 1;
        }
        1 + self.peers.iter().filter(|peer| peer.in_sync).count()
    }

    /// `min.insync.replicas`, but never more than there are replicas.
    #[must_use]
    pub fn in_sync_required(&self) -> usize {
        self.min_insync_replicas.min(self.peers.len() + 1)
    }

    /// Whether acks=all can be answered with "yes": asked at the append and again when the batch is committed.
    pub fn check_in_sync(&self) -> Result<(), ReplicaError> {
        if self.peers.is_empty() {
            return Ok(());
        }
        let (in_sync, required) = (self.in_sync_count(), self.in_sync_required());
        if in_sync < required {
            return Err(ReplicaError::NotEnoughReplicas { in_sync, required });
        }
        Ok(())
    }

    /// A follower in leadership `epoch` vouches for all below `end`.
    pub fn on_follower_acked(
        &mut self,
        now: Timestamp,
        broker: BrokerId,
        end: Offset,
        epoch: LeaderEpoch,
    ) -> Result<Advance, ReplicaError> {
        self.check_leader(epoch)?;
        let (log_start, log_end) = (self.log_start, self.log_end);
        let peer = self
            .peers
            .iter_mut()
            .find(|peer| peer.broker == broker)
            .ok_or(ReplicaError::UnknownReplica { broker })?;
        if end < Offset(0) || end > log_end {
            return Err(ReplicaError::OffsetOutOfRange { log_start, log_end });
        }
        if end >= log_end {
            peer.caught_up_at = peer.caught_up_at.max(now);
        } else if end >= peer.log_end_when_reported {
            peer.caught_up_at = peer.caught_up_at.max(peer.reported_at);
        }
        peer.reported_at = now;
        peer.log_end_when_reported = log_end;
        peer.end = end;
        let readable_before = self.readable_end();
        Ok(self.advance(readable_before))
    }

    /// The metadata says who the replicas are and which of them are in sync, in leadership `epoch`.
    pub fn on_isr_changed(
        &mut self,
        now: Timestamp,
        epoch: LeaderEpoch,
        replicas: &[BrokerId],
        isr: &[BrokerId],
    ) -> Result<Advance, ReplicaError> {
        assert_ne!(epoch, LeaderEpoch::UNKNOWN);
        self.check_leader(epoch)?;
        let readable_before = self.readable_end();
        self.set_peers(now, replicas, isr);
        Ok(self.advance(readable_before))
    }

    /// The metadata refused the proposed change for good: the set stays, and another change may be proposed.
    ///
    /// A proposal without an answer is sent again instead: it may have been accepted.
    pub fn on_isr_refused(&mut self, epoch: LeaderEpoch) -> Result<Advance, ReplicaError> {
        assert_ne!(epoch, LeaderEpoch::UNKNOWN);
        self.check_leader(epoch)?;
        let readable_before = self.readable_end();
        self.isr_change_in_flight = false;
        for peer in &mut self.peers {
            peer.joining = false;
        }
        Ok(self.advance(readable_before))
    }

    /// Who should join or leave the in-sync replicas, if anybody should; call it every fraction of `lag_ms_max`.
    ///
    /// A replica leaves when it has not had all of the leader's log for `lag_ms_max`; it joins when it has, and has all
    /// that is committed and all that was there when this leadership began.
    pub fn plan_isr(&mut self, now: Timestamp, lag_ms_max: i64) -> Option<IsrChange> {
        assert!(lag_ms_max > 0);
        if self.role != Role::Leader || self.peers.is_empty() || self.isr_change_in_flight {
            return None;
        }
        let (log_end, committed, epoch_start) = (self.log_end, self.high_watermark, self.epoch_start);
        let mut changed = false;
        let mut isr = vec![self.local];
        for peer in &mut self.peers {
            let oldest = Timestamp(now.get().saturating_sub(lag_ms_max));
            let close = peer.end == log_end || peer.caught_up_at >= oldest;
            peer.joining = close && !peer.in_sync;
            let stays = if peer.in_sync { close } else { close && peer.end >= committed.max(epoch_start) };
            changed |= stays != peer.in_sync;
            if stays {
                isr.push(peer.broker);
            }
        }
        if !changed {
            return None;
        }
        self.isr_change_in_flight = true;
        Some(IsrChange { leader_epoch: self.leader_epoch, isr })
    }

    /// Takes over the assignment, keeping what is known of replicas that were there before.
    pub(super) fn set_peers(&mut self, now: Timestamp, replicas: &[BrokerId], isr: &[BrokerId]) {
        assert!(replicas.len() <= REPLICAS_PER_PARTITION_MAX);
        assert!(replicas.contains(&self.local));
        assert!(isr.contains(&self.local));
        assert!(isr.iter().all(|broker| replicas.contains(broker)));
        let before = std::mem::take(&mut self.peers);
        for &broker in replicas.iter().filter(|broker| **broker != self.local) {
            let in_sync = isr.contains(&broker);
            let known = before.iter().find(|peer| peer.broker == broker).copied();
            let mut peer = known.unwrap_or(Peer {
                broker,
                end: NO_PROGRESS,
                in_sync,
                joining: false,
                caught_up_at: if in_sync { now } else { NEVER },
                reported_at: NEVER,
                log_end_when_reported: self.log_end,
            });
            peer.in_sync = in_sync;
            peer.joining = false;
            self.peers.push(peer);
        }
        self.isr_change_in_flight = false;
    }

    /// How far the log is on all replicas that count, or nowhere past the high watermark when too few are in sync.
    pub(super) fn committed_candidate(&self) -> Offset {
        assert_eq!(self.role, Role::Leader);
        if self.peers.is_empty() {
            return self.acked_end;
        }
        if self.check_in_sync().is_err() {
            return self.high_watermark;
        }
        let counted = self.peers.iter().filter(|peer| peer.in_sync || peer.joining);
        counted.map(|peer| peer.end).fold(self.acked_end, Offset::min)
    }

    /// Lowers what this replica vouches for to what is left after its log was cut.
    pub(super) fn reset_acked(&mut self) {
        self.acked_end = match self.ack_policy {
            AckPolicy::WhenSynced => self.synced_end,
            AckPolicy::WhenAppended => self.log_end,
        };
    }
}

//! Leading a partition: taking over, and assigning offsets.

use super::acks::{AckPolicy, Acks};
use super::error::ReplicaError;
use super::state::{Advance, Replica, Role};
use protocol::types::{BrokerId, LeaderEpoch, Offset, Timestamp};

/// What the metadata and the topic's configuration say to a new leader.
#[derive(Clone, Copy, Debug)]
pub struct LeaderSettings<'a> {
    /// The new leadership.
    pub epoch: LeaderEpoch,
    /// All replicas, this one included.
    pub replicas: &'a [BrokerId],
    /// Those in sync, this one included.
    pub isr: &'a [BrokerId],
    /// `min.insync.replicas`, at least 1.
    pub min_insync_replicas: usize,
    /// What an ack means here.
    pub ack_policy: AckPolicy,
}

/// Where a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The epoch to write in its header.
    pub leader_epoch: LeaderEpoch,
    /// What the append moved: with relaxed flushing it is acked at once.
    pub advance: Advance,
}

impl Replica {
    /// This replica leads from now on.
    ///
    /// The epoch must be newer than any in the log: an epoch that has assigned offsets before a crash must not assign
    /// them again. The caller makes [`Replica::epoch_entry`] durable and then calls [`Replica::on_epoch_durable`]; until
    /// then reads are served and appends refused.
    pub fn become_leader(
        &mut self,
        now: Timestamp,
        settings: &LeaderSettings<'_>,
    ) -> Result<Advance, ReplicaError> {
        assert!(settings.min_insync_replicas >= 1);
        let in_log = self.epochs.last().map_or(LeaderEpoch::UNKNOWN, |last| last.epoch);
        let current = self.leader_epoch.max(in_log);
        if settings.epoch <= current {
            return Err(ReplicaError::FencedEpoch { current });
        }
        let readable_before = self.readable_end();
        self.role = Role::Leader;
        self.leader_epoch = settings.epoch;
        self.epoch_start = self.log_end;
        self.epoch_durable = false;
        self.ack_policy = settings.ack_policy;
        self.min_insync_replicas = settings.min_insync_replicas;
        self.peers.clear();
        self.set_peers(now, settings.replicas, settings.isr);
        self.start_epoch(settings.epoch, self.epoch_start);
        Ok(self.advance(readable_before))
    }

    /// The start of leader epoch `epoch` is on stable media: appends may begin. An older epoch's news is ignored.
    pub fn on_epoch_durable(&mut self, epoch: LeaderEpoch) {
        if self.role == Role::Leader && self.leader_epoch == epoch {
            self.epoch_durable = true;
        }
    }

    /// Whether a batch with `acks` would be taken now.
    pub fn check_append(&self, acks: Acks) -> Result<(), ReplicaError> {
        if self.role != Role::Leader {
            return Err(ReplicaError::NotLeader { leader: self.leader() });
        }
        if !self.epoch_durable {
            return Err(ReplicaError::EpochNotDurable { epoch: self.leader_epoch });
        }
        match acks {
            Acks::None | Acks::Leader => Ok(()),
            Acks::All => self.check_in_sync(),
        }
    }

    /// Assigns the next `record_count` offsets, after [`Replica::check_append`] said yes to the batch.
    pub fn append(&mut self, record_count: u32) -> Appended {
        assert!(record_count > 0);
        assert!(self.role == Role::Leader);
        assert!(self.epoch_durable);
        let readable_before = self.readable_end();
        let base_offset = self.log_end;
        self.log_end = base_offset.plus(i64::from(record_count));
        let advance = match self.ack_policy {
            AckPolicy::WhenSynced => Advance::default(),
            AckPolicy::WhenAppended => self.advance(readable_before),
        };
        Appended { base_offset, leader_epoch: self.leader_epoch, advance }
    }
}

//! The batches of one partition: in order, each sequence once, whatever the brokers answer. No I/O, no clock.
//!
//! Batches leave from the front, as soon as a request has room for them. One that has to be sent again comes back to its
//! place and leaves before all others, when nothing is under way. An idempotent producer's batches carry sequences, given when they first leave, by which the
//! broker keeps order and knows a batch again; as long as a batch's fate is unknown it is sent with the same ones.
//! Nothing is sent behind the first batch of all, or of an epoch, until that one is acknowledged. Without sequences a batch
//! that fails may be overtaken by those that were under way with it. Where the chain is broken for good (a batch was
//! refused, or the broker lost what it had acknowledged), the partition starts a new epoch with sequence 0 (KIP-360), once
//! nothing is in flight, and what waits is stamped anew. In transactions it is the coordinator who gives epochs: there a
//! broken chain fails all that waits.
//!
//! "Out of order" alone breaks no chain. A broker knows batches again for as long as it remembers them, and one that was
//! killed may remember the last alone: a batch whose earlier attempt was never answered can be refused for being there
//! already. Such a batch is unclear until the leader has said how far it has come with this producer.
//!
//! A batch that is too large for the broker comes back in two parts, which have its place and its sequences.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::records::ProducerStamp;
use protocol::types::{ProducerEpoch, ProducerId, Sequence};

use super::batch::{Batch, sequence_after};

/// What bounds a partition's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Bytes at which a batch is full.
    pub batch_bytes_max: usize,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Batches that may be under way at a time.
    pub in_flight_max: usize,
    /// How long a batch may take in all.
    pub delivery_timeout: Duration,
}

/// The batches of one partition.
pub(super) struct Queue {
    limits: QueueLimits,
    batches: VecDeque<Batch>,
    in_flight: usize,
    identity: Option<Identity>,
    /// The leader has taken a batch, of this epoch if there are epochs. Until then a second one could get in before the
    /// first: a leader that is not quite ready refuses one and takes the next, with any sequence.
    is_known: bool,
    /// Whether epochs come from a transaction's coordinator.
    epochs_are_given: bool,
    /// Where the queue is known to the sender as having something to send.
    pub is_listed: bool,
    /// No batch leaves before.
    pub not_before: Option<Instant>,
}

/// Who an idempotent producer is in this partition.
#[derive(Clone, Copy, Debug)]
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
    /// The sequence after the last that was acknowledged.
    acked: Sequence,
    /// The next batch begins an epoch.
    is_broken: bool,
}

impl Identity {
    const fn new(id: ProducerId, epoch: ProducerEpoch) -> Self {
        Self { id, epoch, next: Sequence(0), acked: Sequence(0), is_broken: false }
    }
}

/// What there is to send.
pub(super) enum Front<'a> {
    /// This batch, built: [`Queue::take_front`] takes it.
    Batch(&'a mut Batch),
    /// Nothing before this moment.
    Later(Instant),
    /// Nothing until something is appended, or comes back.
    Nothing,
    /// The chain is broken, and there is no epoch to begin: they are used up, or given by a coordinator.
    Broken,
}

/// What an answer means for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is appended, now or by an earlier attempt.
    Appended,
    /// It goes back and is sent again.
    Again,
    /// It failed for good.
    Failed,
    /// It is too large as a whole, and goes on in two parts.
    TooLarge,
    /// It may be appended, and the leader must be asked; until [`Queue::clear_up`] it counts as under way.
    Unclear,
}

/// What is known of a producer in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The last sequence of the epoch that the leader has; none where it has nothing of the epoch.
    Last(Option<Sequence>),
    /// No leader says anything at the moment.
    Nothing,
    /// Brokers of this age can't be asked.
    Never,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, identity: Option<(ProducerId, ProducerEpoch)>) -> Self {
        let identity = identity.map(|(id, epoch)| Identity::new(id, epoch));
        Self {
            limits,
            batches: VecDeque::new(),
            in_flight: 0,
            identity,
            is_known: false,
            epochs_are_given: false,
            is_listed: false,
            not_before: None,
        }
    }

    /// A queue whose producer's epochs are given by a transaction's coordinator.
    pub(super) fn in_transactions(
        limits: QueueLimits,
        identity: Option<(ProducerId, ProducerEpoch)>,
    ) -> Self {
        Self { epochs_are_given: true, ..Self::new(limits, identity) }
    }

    /// A transaction has ended, and the coordinator gave this identity. The same one goes on with its sequences.
    pub(super) fn go_on_as(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        assert_eq!(self.in_flight, 0, "no batch outlives its transaction");
        assert!(self.batches.is_empty(), "no batch outlives its transaction");
        if self.identity.is_none_or(|before| (before.id, before.epoch) != (id, epoch)) {
            self.identity = Some(Identity::new(id, epoch));
            self.is_known = false;
        }
    }

    /// The batch that a record of `bytes` belongs in, if there is one with room.
    pub(super) fn with_room(&mut self, bytes: usize) -> Option<&mut Batch> {
        let bytes_max = self.limits.batch_bytes_max;
        let last = self.batches.back_mut()?;
        (last.is_open() && last.records_bytes() + bytes <= bytes_max).then_some(last)
    }

    /// Whether nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// A new batch behind all others.
    pub(super) fn push(&mut self, batch: Batch) -> &mut Batch {
        self.batches.push_back(batch);
        self.batches.back_mut().expect("it was pushed")
    }

    /// Whether the front need not wait for more records. `hurry`: nothing waits for more.
    pub(super) fn is_due(&self, now: Instant, hurry: bool) -> bool {
        let Some(front) = self.batches.front() else { return false };
        let is_full = self.batches.len() > 1 || front.records_bytes() >= self.limits.batch_bytes_max;
        hurry || is_full || !front.is_open() || now >= front.opened_at + self.limits.linger
    }

    /// The next batch to send, built. It stays where it is, and has no sequences of its own yet if it was never sent.
    pub(super) fn front(&mut self, now: Instant, hurry: bool) -> Front<'_> {
        if let Some(moment) = self.not_before.filter(|moment| *moment > now) {
            return Front::Later(moment);
        }
        self.not_before = None;
        let is_repeat = self.batches.front().is_some_and(|front| front.attempts > 0);
        let is_broken = self.identity.is_some_and(|identity| identity.is_broken);
        let must_be_alone = is_repeat || is_broken || !self.is_known;
        let in_flight_max = if must_be_alone { 1 } else { self.limits.in_flight_max };
        let Some(front) = self.batches.front().filter(|_| self.in_flight < in_flight_max) else {
            return Front::Nothing;
        };
        if !self.is_due(now, hurry) {
            return Front::Later(front.opened_at + self.limits.linger);
        }
        if is_broken && !self.begin_epoch() {
            return Front::Broken;
        }
        let stamp = self.next_stamp();
        let front = self.batches.front_mut().expect("an empty queue is not due");
        front.build(stamp);
        Front::Batch(front)
    }

    /// Takes the batch that [`Queue::front`] has just shown.
    pub(super) fn take_front(&mut self) -> Batch {
        let mut batch = self.batches.pop_front().expect("it was shown");
        assert!(!batch.is_open(), "what is shown is built");
        if batch.attempts == 0 {
            let stamp = self.stamp(batch.record_count);
            // It may have been built for another epoch, and have had to wait for a request with room.
            if batch.stamp != stamp {
                batch.restamp(stamp);
            }
        }
        batch.attempts += 1;
        self.in_flight += 1;
        batch
    }

    /// Batches that have waited too long. A batch that was sent and whose fate is unknown takes along all that were:
    /// they can neither be sent in another epoch, which might append them twice, nor wait for what never comes.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Batch> {
        let timeout = self.limits.delivery_timeout;
        let is_late = |batch: &Batch| now >= batch.opened_at + timeout;
        let mut expired = Vec::new();
        while self.in_flight == 0
            && let Some(front) = self.batches.front()
            && (is_late(front) || (front.attempts > 0 && !expired.is_empty()))
        {
            if front.attempts > 0 {
                self.break_chain();
            }
            expired.extend(self.batches.pop_front());
        }
        expired
    }

    /// All that waits: the producer has failed.
    pub(super) fn take_all(&mut self) -> Vec<Batch> {
        self.batches.drain(..).collect()
    }

    /// What an answer to `batch`, which was under way, means.
    pub(super) fn judge(&mut self, batch: &mut Batch, error: Option<KafkaError>) -> Verdict {
        assert!(self.in_flight > 0, "an answer is to something in flight");
        self.in_flight -= 1;
        // A batch of an epoch that is over has nothing to say about this one.
        let is_current = self.identity.is_none_or(|identity| batch.stamp.epoch == identity.epoch);
        match error {
            None | Some(KafkaError::DuplicateSequenceNumber) => {
                if is_current {
                    self.is_acked(batch);
                }
                Verdict::Appended
            }
            Some(KafkaError::OutOfOrderSequenceNumber | KafkaError::UnknownProducerId)
                if self.identity.is_some() =>
            {
                self.judge_disorder(batch, is_current)
            }
            Some(KafkaError::MessageTooLarge | KafkaError::RecordListTooLarge) if batch.record_count > 1 => {
                Verdict::TooLarge
            }
            Some(error) if error.retriable() => {
                // Leaders that step down or wait for replicas in vain say so of what they have appended as well.
                batch.is_unclear = true;
                Verdict::Again
            }
            Some(_) => {
                self.break_chain();
                Verdict::Failed
            }
        }
    }

    /// A batch is out of order. Behind one that is on its way again, that is no more than a matter of time; where it is
    /// this one's turn, either the leader has it already, or it has lost what it acknowledged.
    fn judge_disorder(&mut self, batch: &Batch, is_current: bool) -> Verdict {
        let identity = self.identity.as_ref().expect("sequences come with an identity");
        let is_next = batch.stamp.base_sequence == identity.acked;
        let is_alone =
            self.in_flight == 0 && self.batches.front().is_none_or(|front| front.place() > batch.place());
        if !is_current || !(is_next || is_alone) {
            return Verdict::Again;
        }
        if self.epochs_are_given {
            self.break_chain();
            return Verdict::Failed;
        }
        if batch.is_unclear {
            self.in_flight += 1;
            return Verdict::Unclear;
        }
        self.break_chain();
        Verdict::Again
    }

    /// What the leader's word means for an unclear batch.
    pub(super) fn clear_up(&mut self, batch: &Batch, told: Told) -> Verdict {
        assert!(self.in_flight > 0, "an unclear batch counts as under way");
        self.in_flight -= 1;
        match told {
            Told::Last(Some(last)) if is_at_or_past(last, batch.last_sequence()) => {
                self.is_acked(batch);
                Verdict::Appended
            }
            Told::Last(_) => {
                self.break_chain();
                Verdict::Again
            }
            Told::Nothing => Verdict::Again,
            Told::Never => {
                self.break_chain();
                Verdict::Failed
            }
        }
    }

    fn is_acked(&mut self, batch: &Batch) {
        self.is_known = true;
        if let Some(identity) = &mut self.identity {
            identity.acked = batch.next_sequence();
        }
    }

    /// Puts a batch back to its place, to be sent again.
    pub(super) fn put_back(&mut self, batch: Batch, not_before: Instant) {
        let place = self.batches.iter().take_while(|earlier| earlier.place() < batch.place()).count();
        self.batches.insert(place, batch);
        self.not_before = Some(not_before);
    }

    /// A batch was not sent after all.
    pub(super) fn put_back_unsent(&mut self, batch: Batch, not_before: Instant) {
        assert!(self.in_flight > 0, "it was taken");
        self.in_flight -= 1;
        self.put_back(batch, not_before);
    }

    fn break_chain(&mut self) {
        if let Some(identity) = &mut self.identity {
            identity.is_broken = true;
        }
    }

    /// What the next batch that leaves for the first time is stamped with.
    fn next_stamp(&self) -> ProducerStamp {
        self.identity.map_or(ProducerStamp::NONE, |identity| ProducerStamp {
            id: identity.id,
            epoch: identity.epoch,
            base_sequence: identity.next,
        })
    }

    /// Takes so many sequences.
    fn stamp(&mut self, records: u32) -> ProducerStamp {
        let stamp = self.next_stamp();
        if let Some(identity) = &mut self.identity {
            identity.next = sequence_after(identity.next, records);
        }
        stamp
    }

    /// Starts over with the next epoch; false where there is none.
    fn begin_epoch(&mut self) -> bool {
        assert_eq!(self.in_flight, 0, "nothing of the epoch before is under way");
        if self.epochs_are_given {
            return false;
        }
        let Some(identity) = &mut self.identity else { return true };
        let Some(epoch) = identity.epoch.next().filter(|_| !identity.epoch.is_exhausted()) else {
            return false;
        };
        *identity = Identity::new(identity.id, epoch);
        self.is_known = false;
        let sent = self.batches.iter().take_while(|batch| batch.attempts > 0).count();
        for place in 0..sent {
            let stamp = self.stamp(self.batches[place].record_count);
            self.batches[place].restamp(stamp);
        }
        true
    }
}

/// Whether a sequence is another one or comes after it. They wrap, and what is compared is never far apart.
fn is_at_or_past(sequence: Sequence, other: Sequence) -> bool {
    let distance = sequence.0.wrapping_sub(other.0) & i32::MAX;
    distance < 1 << 30
}

#[cfg(test)]
mod tests;

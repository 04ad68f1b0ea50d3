//! Who waits for what: acks 0, 1 and all, and the queue of replies that wait for a watermark.

use protocol::types::{Offset, Timestamp};
use std::collections::VecDeque;

/// When a producer wants to hear "yes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never: no reply is sent.
    None,
    /// When the leader has it: `acks=1`.
    Leader,
    /// When every in-sync replica has it: `acks=all`.
    All,
}

impl Acks {
    /// The wire's value, none when it is not one of -1, 0 and 1.
    #[must_use]
    pub const fn from_wire(value: i16) -> Option<Self> {
        match value {
            -1 => Some(Self::All),
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            _ => None,
        }
    }
}

/// What a replica must have done with a batch before it vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckPolicy {
    /// It is on stable media: the default.
    WhenSynced,
    /// It is in memory: topics whose `flush.messages` is more than 1.
    WhenAppended,
}

/// Replies of one partition that wait for a watermark, in the order of what they wait for.
///
/// A partition keeps one queue for acks=1 and one for acks=all. Nearly every reply goes to the back; only a duplicate,
/// which waits for its original, goes further to the front.
#[derive(Debug)]
pub struct Waiters<T> {
    queue: VecDeque<Waiter<T>>,
}

#[derive(Debug)]
struct Waiter<T> {
    end: Offset,
    deadline: Timestamp,
    token: T,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new() }
    }
}

impl<T> Waiters<T> {
    /// Waits until the watermark reaches `end`, or until `deadline`.
    pub fn push(&mut self, end: Offset, deadline: Timestamp, token: T) {
        let waiter = Waiter { end, deadline, token };
        if self.queue.back().is_none_or(|last| last.end <= end) {
            self.queue.push_back(waiter);
        } else {
            let place = self.queue.partition_point(|other| other.end <= end);
            self.queue.insert(place, waiter);
        }
    }

    /// Takes the next reply that the watermark has reached: call it until it returns none.
    pub fn pop_due(&mut self, watermark: Offset) -> Option<T> {
        if self.queue.front().is_some_and(|first| first.end <= watermark) {
            self.queue.pop_front().map(|waiter| waiter.token)
        } else {
            None
        }
    }

    /// Takes the next reply whatever it waits for: when leadership is lost, or the log was cut.
    pub fn pop_any(&mut self) -> Option<T> {
        self.queue.pop_front().map(|waiter| waiter.token)
    }

    /// Takes every reply whose deadline is at or before `now`, in order, into `expired`.
    pub fn expire(&mut self, now: Timestamp, expired: &mut Vec<T>) {
        if self.queue.iter().all(|waiter| waiter.deadline > now) {
            return;
        }
        for _ in 0..self.queue.len() {
            let Some(waiter) = self.queue.pop_front() else { break };
            if waiter.deadline <= now {
                expired.push(waiter.token);
            } else {
                self.queue.push_back(waiter);
            }
        }
    }

    /// The earliest deadline: when [`Waiters::expire`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.queue.iter().map(|waiter| waiter.deadline).min()
    }

    /// How many replies wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no reply waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

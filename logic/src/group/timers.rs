//! Who has to be woken when. One wake-up per member and a few per group, each of them removed when it is cancelled.

use super::Name;
use protocol::types::Timestamp;
use std::collections::BTreeSet;

/// What happens when the time has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member of a group, or one that is expected, was silent for too long.
    Session { group: Name, member: Name },
    /// A group has waited long enough for its members to join.
    Join { group: Name },
    /// A group has waited long enough for its members to sync.
    Sync { group: Name },
    /// A member of a consumer group has had long enough for what is awaited of it.
    Member { group: Name, member: Name, awaited: Awaited },
    /// It is time to look for expired offsets.
    Retention,
}

/// What is awaited of a member of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// That it gives partitions back.
    Revocation,
    /// That it joins again: it speaks the classic protocol and was told of a rebalance.
    Join,
    /// That it fetches its assignment: it speaks the classic protocol and has joined.
    Sync,
}

/// The timers of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Timestamp, timer: Timer) {
        let is_new = self.armed.insert((at, timer));
        assert!(is_new, "a timer is armed once");
    }

    pub(super) fn cancel(&mut self, at: Timestamp, timer: Timer) {
        let was_armed = self.armed.remove(&(at, timer));
        assert!(was_armed, "who cancels knows what it armed");
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.armed.first().map(|(at, _)| *at)
    }

    /// The next timer that is due, which is armed no longer.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let is_due = self.next().is_some_and(|at| at <= now);
        is_due.then(|| self.armed.pop_first().expect("it is the first").1)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }
}

/// When a member has to be heard of at the latest.
///
/// A heartbeat only moves the deadline; the timer that is armed moves after it when it is due. So a heartbeat costs no
/// work on the timers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    deadline: Option<Timestamp>,
    armed: Option<Timestamp>,
}

impl Session {
    /// Moves the deadline.
    pub(super) fn extend(&mut self, timers: &mut Timers, deadline: Timestamp, timer: impl Fn() -> Timer) {
        self.deadline = Some(deadline);
        match self.armed {
            Some(at) if at <= deadline => return,
            Some(at) => timers.cancel(at, timer()),
            None => {}
        }
        timers.arm(deadline, timer());
        self.armed = Some(deadline);
    }

    /// The timer was due: whether the member is too late. If not, the timer is armed again.
    pub(super) fn is_over(&mut self, timers: &mut Timers, now: Timestamp, timer: Timer) -> bool {
        assert!(self.armed.is_some_and(|at| at <= now), "only an armed timer is due");
        self.armed = None;
        let deadline = self.deadline.expect("an armed timer has a deadline");
        if deadline <= now {
            return true;
        }
        timers.arm(deadline, timer);
        self.armed = Some(deadline);
        false
    }

    /// Nothing is expected any more.
    pub(super) fn end(&mut self, timers: &mut Timers, timer: Timer) {
        if let Some(at) = self.armed.take() {
            timers.cancel(at, timer);
        }
        self.deadline = None;
    }
}

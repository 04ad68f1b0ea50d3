//! How fast a round of destaging goes while there is time for it.
//!
//! A round at one go takes much of the core and of the device for a moment, and whoever produces then waits behind it. So
//! a round goes on at a multiple of the rate at which the journal fills up: it is over well before the next one is due,
//! and takes no more at a time than it must. A journal that is half full or waits for a free file and a shard that stops
//! are not paced.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use super::background::pause;
use crate::limits::{
    DESTAGE_AHEAD_MAX, DESTAGE_BYTES_PER_SECOND_MIN, DESTAGE_LOOK_INTERVAL, DESTAGE_PER_INFLOW,
};
use crate::runtime::yield_if_needed;

/// The pace of a shard's rounds.
#[derive(Debug)]
pub struct Pacing {
    /// When the round began, and how many bytes had been appended by then.
    began: Cell<(Instant, u64)>,
    bytes_per_second: Cell<u64>,
    /// When all that the round has moved so far would be moved at its rate.
    due: Cell<Instant>,
    /// The round has waited: how long it takes says nothing of how fast it could be.
    has_paused: Cell<bool>,
}

impl Pacing {
    /// For a shard that starts.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: Cell::new((now, 0)),
            bytes_per_second: Cell::new(DESTAGE_BYTES_PER_SECOND_MIN),
            due: Cell::new(now),
            has_paused: Cell::new(false),
        }
    }

    /// A round begins, with so many bytes appended ever.
    pub fn begin(&self, now: Instant, appended_bytes: u64) {
        let (before, bytes_before) = self.began.replace((now, appended_bytes));
        let milliseconds = u64::try_from(now.duration_since(before).as_millis()).unwrap_or(u64::MAX).max(1);
        let inflow = appended_bytes.saturating_sub(bytes_before).saturating_mul(1000) / milliseconds;
        self.bytes_per_second
            .set(inflow.saturating_mul(DESTAGE_PER_INFLOW).max(DESTAGE_BYTES_PER_SECOND_MIN));
        self.due.set(now);
        self.has_paused.set(false);
    }

    /// So many bytes more were moved: when the round is to go on. Steps of a round stand in one queue.
    fn step(&self, bytes: usize, now: Instant) -> Instant {
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second.get();
        let due = self.due.get().max(now) + Duration::from_nanos(nanoseconds);
        self.due.set(due);
        due
    }

    /// How long a round that is to go on at `due` pauses before it looks again; none where it goes on now.
    fn pause(&self, due: Instant, now: Instant, has_time: bool) -> Option<Duration> {
        let ahead = due.saturating_duration_since(now);
        if ahead < DESTAGE_AHEAD_MAX || !has_time {
            return None;
        }
        self.has_paused.set(true);
        Some(ahead.min(DESTAGE_LOOK_INTERVAL))
    }

    /// Whether the round, so far, went as fast as it could.
    #[must_use]
    pub fn is_unpaced(&self) -> bool {
        !self.has_paused.get()
    }
}

/// Ends when a round that has moved so many bytes more may go on.
pub(super) async fn pause_destaging(shard: &Rc<Shard>, bytes: usize) {
    let due = shard.pacing.step(bytes, Instant::now());
    while let Some(time) = shard.pacing.pause(due, Instant::now(), shard.store.has_time()) {
        if !pause(shard, time).await {
            return;
        }
    }
    yield_if_needed().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// How long a round of so many MiB, in steps of one, goes on where so many were appended in the second before.
    fn round(appended: u64, moved: u64) -> Duration {
        let start = Instant::now();
        let pacing = Pacing::new(start);
        let mut now = start + Duration::from_secs(1);
        let began = now;
        pacing.begin(now, appended * MIB);
        for _ in 0..moved {
            now = now.max(pacing.step(1 << 20, now));
        }
        now - began
    }

    #[test]
    fn a_round_takes_a_fraction_of_the_time_in_which_as_much_is_appended() {
        let took = round(100, 100);
        let seconds = took.as_secs_f64() * f64::from(u32::try_from(DESTAGE_PER_INFLOW).expect("small"));
        assert!((0.99..1.01).contains(&seconds), "{took:?}");
    }

    #[test]
    fn hardly_anything_appended_is_no_reason_to_crawl() {
        let took = round(0, DESTAGE_BYTES_PER_SECOND_MIN / MIB);
        assert!((0.99..1.01).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[test]
    fn a_round_that_paused_says_nothing_of_how_fast_it_could_be() {
        let start = Instant::now();
        let pacing = Pacing::new(start);
        let due = pacing.step(100 << 20, start);
        assert_eq!(pacing.pause(due, start, false), None, "there is no time for it");
        assert_eq!(pacing.pause(due, due, true), None, "it is time");
        assert!(pacing.is_unpaced());
        assert_eq!(pacing.pause(due, start, true), Some(DESTAGE_LOOK_INTERVAL));
        assert!(!pacing.is_unpaced());
        pacing.begin(start, 0);
        assert!(pacing.is_unpaced(), "the next one is another");
    }

    #[test]
    fn steps_that_take_longer_than_their_share_are_not_paused() {
        let start = Instant::now();
        let pacing = Pacing::new(start);
        pacing.begin(start + Duration::from_secs(1), 1000 * MIB);
        for second in 2..10 {
            let now = start + Duration::from_secs(second);
            assert!(pacing.step(1 << 20, now) - now < Duration::from_millis(1));
        }
    }
}

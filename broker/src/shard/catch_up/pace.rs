//! How reads of consumers that catch up make way for producers.
//!
//! A read has the device for itself for a while, and what it brings has the core while it leaves: a frame that is to be synced
//! waits behind both. So while producers are at work one such read goes at a time, and after each comes a pause of several
//! times its length. Where the log grows nearly as fast as those who wait read it there is no pause, and several go at once: who
//! catches up must get there.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::{
    CATCH_UP_PAUSE_MAX, CATCH_UP_PAUSES, CATCH_UP_PER_INFLOW, CATCH_UP_READS_MAX, PRODUCERS_AT_WORK,
};

/// The pace of a shard's catch-up reads.
pub struct Pace {
    /// Reads under way.
    reading: Cell<usize>,
    /// How many bytes producers had sent ever when a turn was last asked for, and when the last read began.
    produced_bytes: Cell<u64>,
    produced_bytes_begun: Cell<u64>,
    /// Until then producers count as at work.
    busy_until: Cell<Instant>,
    /// What the last read that ended brought.
    read_bytes: Cell<u64>,
    /// When the next one may begin beside producers.
    due: Cell<Instant>,
}

/// What becomes of a read that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It begins, and is to be told of when it [ends](Pace::end).
    Begins,
    /// It may ask again then.
    Pauses(Duration),
    /// It may ask again when another has ended.
    Waits,
}

impl Pace {
    /// For a shard that starts.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            reading: Cell::new(0),
            produced_bytes: Cell::new(0),
            produced_bytes_begun: Cell::new(0),
            busy_until: Cell::new(now),
            read_bytes: Cell::new(0),
            due: Cell::new(now),
        }
    }

    /// Asks for a turn, with so many bytes sent by producers ever, for one of so many who wait; one who has no patience left
    /// makes way for nobody.
    #[must_use]
    pub fn begin(&self, now: Instant, produced_bytes: u64, waiting: usize, is_patient: bool) -> Turn {
        if self.produced_bytes.replace(produced_bytes) != produced_bytes {
            self.busy_until.set(now + PRODUCERS_AT_WORK);
        }
        let inflow = produced_bytes.saturating_sub(self.produced_bytes_begun.get());
        let wanted = inflow.saturating_mul(CATCH_UP_PER_INFLOW).saturating_mul(waiting as u64);
        let gets_there = self.read_bytes.get() >= wanted;
        let makes_way = is_patient && gets_there && now < self.busy_until.get();
        let reads_max = if makes_way { 1 } else { CATCH_UP_READS_MAX };
        if self.reading.get() >= reads_max {
            return Turn::Waits;
        }
        let pause = self.due.get().saturating_duration_since(now);
        if makes_way && !pause.is_zero() {
            return Turn::Pauses(pause);
        }
        self.produced_bytes_begun.set(produced_bytes);
        self.reading.update(|count| count + 1);
        Turn::Begins
    }

    /// A read that began then has ended, with so many bytes.
    pub fn end(&self, began: Instant, now: Instant, bytes: usize) {
        self.reading.update(|count| count - 1);
        // What failed says nothing of how fast reads go.
        if bytes > 0 {
            self.read_bytes.set(bytes as u64);
        }
        let pause = now.duration_since(began).saturating_mul(CATCH_UP_PAUSES).min(CATCH_UP_PAUSE_MAX);
        self.due.set(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_BYTES: usize = 1 << 20;
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// One who waits alone, and has patience, asks.
    fn ask(pace: &Pace, now: Instant, produced_bytes: u64) -> Turn {
        pace.begin(now, produced_bytes, 1, true)
    }

    /// A pace whose last read took a millisecond and has just ended, and when that was.
    fn after_a_read() -> (Pace, Instant) {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert_eq!(ask(&pace, start, 0), Turn::Begins);
        pace.end(start, start + MILLISECOND, READ_BYTES);
        (pace, start + MILLISECOND)
    }

    #[test]
    fn nobody_waits_or_pauses_where_nothing_is_appended() {
        let (pace, now) = after_a_read();
        for _ in 0..CATCH_UP_READS_MAX {
            assert_eq!(ask(&pace, now, 0), Turn::Begins);
        }
        assert_eq!(ask(&pace, now, 0), Turn::Waits);
        pace.end(now, now, READ_BYTES);
        assert_eq!(ask(&pace, now, 0), Turn::Begins);
    }

    #[test]
    fn beside_producers_a_read_goes_alone_and_then_pauses() {
        let (pace, now) = after_a_read();
        let pause = CATCH_UP_PAUSES * MILLISECOND;
        assert_eq!(ask(&pace, now, 1), Turn::Pauses(pause));
        assert_eq!(ask(&pace, now + pause, 1), Turn::Begins);
        assert_eq!(ask(&pace, now + pause, 1), Turn::Waits);
    }

    #[test]
    fn producers_that_have_stopped_are_waited_for_no_longer_than_a_moment() {
        let (pace, now) = after_a_read();
        assert!(matches!(ask(&pace, now, 1), Turn::Pauses(_)));
        let later = now + PRODUCERS_AT_WORK;
        assert_eq!(ask(&pace, later, 1), Turn::Begins);
        assert_eq!(ask(&pace, later, 1), Turn::Begins);
    }

    #[test]
    fn a_log_that_grows_as_fast_as_it_is_read_is_read_by_several_without_a_pause() {
        let (pace, now) = after_a_read();
        let most = READ_BYTES as u64 / CATCH_UP_PER_INFLOW;
        assert!(matches!(ask(&pace, now, most), Turn::Pauses(_)));
        assert_eq!(ask(&pace, now, most + 1), Turn::Begins);
        assert_eq!(ask(&pace, now, 2 * (most + 1)), Turn::Begins, "and another beside it");
    }

    #[test]
    fn each_of_those_who_wait_must_get_there() {
        let (pace, now) = after_a_read();
        let most = READ_BYTES as u64 / CATCH_UP_PER_INFLOW / 3;
        assert!(matches!(pace.begin(now, most, 3, true), Turn::Pauses(_)));
        assert_eq!(pace.begin(now, most, 4, true), Turn::Begins);
    }

    #[test]
    fn who_has_waited_for_long_makes_way_for_nobody() {
        let (pace, now) = after_a_read();
        assert!(matches!(pace.begin(now, 1, 1, true), Turn::Pauses(_)));
        for _ in 0..CATCH_UP_READS_MAX {
            assert_eq!(pace.begin(now, 1, 1, false), Turn::Begins);
        }
        assert_eq!(pace.begin(now, 1, 1, false), Turn::Waits);
    }

    #[test]
    fn a_device_that_was_stuck_is_not_waited_for_a_multiple_of_that() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert_eq!(ask(&pace, start, 0), Turn::Begins);
        let now = start + 10 * CATCH_UP_PAUSE_MAX;
        pace.end(start, now, READ_BYTES);
        assert_eq!(ask(&pace, now, 1), Turn::Pauses(CATCH_UP_PAUSE_MAX));
    }
}

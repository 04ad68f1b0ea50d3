//! So many bytes a second, and no more: how long whoever has read or written some is to wait before it goes on.
//!
//! Time in which nothing was done is not made up for later. It is told what the time is.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::COMPACTION_AHEAD_MAX;

/// A share of the device's bandwidth.
#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: u64,
    /// When all that was done so far would be done at this rate.
    due: Cell<Instant>,
}

impl Bandwidth {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        assert!(bytes_per_second > 0, "a share of nothing is none");
        Self { bytes_per_second, due: Cell::new(now) }
    }

    /// So many bytes more were read or written: how long to wait, if it is worth it. What is not waited for now is later.
    pub fn take(&self, bytes: u64, now: Instant) -> Option<Duration> {
        let nanoseconds = u128::from(bytes) * 1_000_000_000;
        let nanoseconds = nanoseconds.div_ceil(u128::from(self.bytes_per_second));
        let took = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let due = self.due.get().max(now) + took;
        self.due.set(due);
        let ahead = due - now;
        (ahead > COMPACTION_AHEAD_MAX).then_some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// How long somebody takes who moves so many pieces in no time, and waits as told.
    fn time_of(bytes_per_second: u64, pieces: u32, piece_bytes: u64) -> Duration {
        let began = Instant::now();
        let bandwidth = Bandwidth::new(bytes_per_second, began);
        let mut now = began;
        for _ in 0..pieces {
            now += bandwidth.take(piece_bytes, now).unwrap_or_default();
        }
        now - began
    }

    #[test]
    fn no_more_than_the_rate_is_taken_whatever_the_pieces_are() {
        for (bytes_per_second, pieces, piece_bytes) in [
            (64 * MIB, 640, MIB),
            (64 * MIB, 10, 64 * MIB),
            // Less than a microsecond each.
            (64 * MIB, 1_000_000, 61),
            (u64::MAX / 4, 1_000, 1 << 50),
            (1_000, 10_000, 1),
            (1, 60, 1),
        ] {
            let took = time_of(bytes_per_second, pieces, piece_bytes).as_secs_f64();
            let least = f64::from(pieces) * piece_bytes as f64 / bytes_per_second as f64;
            let ahead = COMPACTION_AHEAD_MAX.as_secs_f64();
            let name =
                format!("{pieces} of {piece_bytes} B at {bytes_per_second} B/s: {took} s for {least} s");
            assert!(took >= least - ahead, "too fast: {name}");
            assert!(took <= least * 1.01 + ahead, "too slow: {name}");
        }
    }

    #[test]
    fn time_that_was_not_used_is_not_made_up_for() {
        let began = Instant::now();
        let bandwidth = Bandwidth::new(MIB, began);
        let later = began + Duration::from_secs(100);
        assert_eq!(bandwidth.take(MIB, later), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_was_not_waited_for_is_later() {
        let now = Instant::now();
        let bandwidth = Bandwidth::new(1_000, now);
        assert_eq!(bandwidth.take(5, now), None, "5 ms are not worth it");
        assert_eq!(bandwidth.take(1, now), Some(Duration::from_millis(6)));
    }
}

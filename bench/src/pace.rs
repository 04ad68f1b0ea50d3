//! When records are due.
//!
//! Open loop: the schedule is made before anything is sent and knows nothing of answers, so a broker that stalls is
//! charged for every record that was due meanwhile (no coordinated omission).

use std::time::Duration;

/// The due times of one of several producers that share a rate, as time since the start of the load.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Records a second of all of them together.
    rate: f64,
    share: u64,
    shares: u64,
    next: u64,
}

impl Schedule {
    /// Producer `share` of `shares`: they take turns, so that their sends are spread over time.
    pub fn new(rate: f64, share: u32, shares: u32) -> Self {
        assert!(rate > 0.0, "a rate is positive");
        assert!(share < shares, "a share is one of all");
        Self { rate, share: share.into(), shares: shares.into(), next: 0 }
    }

    /// When the next record is due. Computed from its number, so that rounding never adds up.
    pub fn due(&self) -> Duration {
        let number = self.next * self.shares + self.share;
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// The record of [`due`](Self::due) was sent.
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

/// How a stream is paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Open loop: so many records a second over all producers, whatever comes back.
    PerSecond(f64),
    /// Closed loop: so many records open at each producer at any time.
    InFlight(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(rate: f64, share: u32, shares: u32, count: usize) -> Vec<Duration> {
        let mut schedule = Schedule::new(rate, share, shares);
        let next = || {
            let due = schedule.due();
            schedule.advance();
            due
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn producers_take_turns() {
        let milliseconds =
            |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(first(1_000.0, 0, 2, 3), milliseconds(&[0, 2, 4]));
        assert_eq!(first(1_000.0, 1, 2, 3), milliseconds(&[1, 3, 5]));
    }

    #[test]
    fn rounding_does_not_add_up() {
        let mut schedule = Schedule::new(3.0, 0, 1);
        schedule.next = 3_000_000_000;
        assert_eq!(schedule.due(), Duration::from_secs(1_000_000_000));
    }
}

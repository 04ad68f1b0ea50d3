//! What the tasks of all coordinators have in common: a clock, and waiting for the next thing to do.

use std::cell::Cell;
use std::time::{Duration, Instant};

use protocol::types::Timestamp;

use super::Shard;
use crate::runtime::{Signal, Wait, either, sleep};

/// The time as a coordinator is told it: it never goes back.
#[derive(Default)]
pub struct Clock(Cell<Option<Timestamp>>);

impl Clock {
    /// Now, or what was told last if that is later.
    pub fn now(&self, shard: &Shard) -> Timestamp {
        let now = self.0.get().map_or(shard.now(), |last| last.max(shard.now()));
        self.0.set(Some(now));
        now
    }
}

/// Waits until the log has moved on, something has changed, or the deadline has come. False when the shard is to stop.
pub async fn wait_for_work(
    shard: &Shard,
    advanced: Wait<'_>,
    changed: Wait<'_>,
    (now, deadline): (Timestamp, Option<Timestamp>),
) -> bool {
    let timer = async {
        match deadline {
            Some(deadline) => {
                let left_ms = u64::try_from(deadline.get() - now.get()).unwrap_or(0);
                sleep(Duration::from_millis(left_ms)).await;
            }
            None => std::future::pending().await,
        }
    };
    let moved = async {
        either(advanced.wait(), changed.wait()).await;
    };
    let woken = async {
        either(moved, timer).await;
    };
    either(woken, shard.stopping.next().wait()).await
}

/// Waits while something is so, looking again each time that `settled` is raised. False when it still is at the end, or when
/// the shard is to stop.
pub async fn wait_while(is_so: impl Fn() -> bool, settled: &Signal, stopping: &Signal, end: Instant) -> bool {
    loop {
        let (settled, stops) = (settled.next(), stopping.next());
        if !is_so() {
            return true;
        }
        if stopping.is_raised() || Instant::now() >= end {
            return false;
        }
        either(settled.wait_until(Some(end)), stops.wait()).await;
    }
}

#[cfg(test)]
mod tests;

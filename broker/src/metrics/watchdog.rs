//! Watches the shards from the control thread: who is stuck in one poll, whose disk doesn't answer.
//!
//! It only compares what it saw last with what it sees now, so shards pay nothing for being watched. It looks four times
//! in the time that counts as a stall, so a stall is found at the latest a quarter later. Where the watchdog itself was
//! not run for that long, the machine stood still, and no shard is blamed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Registry;
use super::activity::{Activity, Moment};

/// Looks in each stall's time.
const LOOKS_PER_STALL: u32 = 4;
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(250);

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A shard has been in one poll for so long, and still is.
    Stalled { shard: usize, activity: Activity, so_far: Duration },
    /// It came out of it.
    Recovered { shard: usize, activity: Activity, lasted: Duration },
    /// A journal frame has been on its way for so long, and still is.
    DiskSlow { shard: usize, so_far: Duration },
    /// It arrived.
    DiskAnswered { shard: usize, lasted: Duration },
}

#[derive(Clone, Debug)]
struct Seen {
    moment: Moment,
    moment_since: Instant,
    stalled: bool,
    frame: u64,
    frame_since: Instant,
}

/// The watch on all shards.
#[derive(Debug)]
pub struct Watchdog {
    registry: Arc<Registry>,
    stall: Duration,
    disk_slow: Duration,
    last_look: Instant,
    seen: Vec<Seen>,
}

impl Watchdog {
    /// Watches for polls longer than `stall` and journal frames slower than `disk_slow`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, stall: Duration, disk_slow: Duration, now: Instant) -> Self {
        let seen = |cells: &Arc<super::ShardCells>| Seen {
            moment: Moment::of(cells),
            moment_since: now,
            stalled: false,
            frame: 0,
            frame_since: now,
        };
        let seen = registry.shards.iter().map(seen).collect();
        Self { registry, stall, disk_slow, last_look: now, seen }
    }

    /// Looks for as long as the process runs; on the control thread's executor.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(self.look_interval());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            for finding in self.look(Instant::now()) {
                log(finding);
            }
        }
    }

    fn look_interval(&self) -> Duration {
        (self.stall / LOOKS_PER_STALL).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX)
    }

    /// Compares with the look before.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Finding> {
        let slept = now.saturating_duration_since(self.last_look);
        self.last_look = now;
        let excused = slept > self.stall.max(self.look_interval() * 2);
        let mut findings = Vec::new();
        for (shard, seen) in self.seen.iter_mut().enumerate() {
            let cells = &self.registry.shards[shard];
            let moment = Moment::of(cells);
            if moment != seen.moment {
                if let (true, Some(activity)) = (seen.stalled, seen.moment.activity()) {
                    let lasted = now.saturating_duration_since(seen.moment_since);
                    findings.push(Finding::Recovered { shard, activity, lasted });
                }
                *seen = Seen { moment, moment_since: now, stalled: false, ..seen.clone() };
            } else if excused && !seen.stalled {
                seen.moment_since = now;
            } else if let Some(activity) = moment.activity() {
                let so_far = now.saturating_duration_since(seen.moment_since);
                if so_far >= self.stall && !seen.stalled {
                    seen.stalled = true;
                    cells.stalls.add(1);
                    findings.push(Finding::Stalled { shard, activity, so_far });
                }
            }
            let frame = cells.oldest_frame.load(Ordering::Relaxed);
            let was_slow = cells.disk_is_slow.load(Ordering::Relaxed);
            let so_far = now.saturating_duration_since(seen.frame_since);
            if frame != seen.frame {
                if was_slow {
                    cells.disk_is_slow.store(false, Ordering::Relaxed);
                    findings.push(Finding::DiskAnswered { shard, lasted: so_far });
                }
                seen.frame = frame;
                seen.frame_since = now;
            } else if frame != 0 && !was_slow && so_far >= self.disk_slow {
                cells.disk_is_slow.store(true, Ordering::Relaxed);
                findings.push(Finding::DiskSlow { shard, so_far });
            }
        }
        findings
    }
}

fn log(finding: Finding) {
    match finding {
        // Recovery reads and computes in long strides, and nobody waits for the shard yet.
        Finding::Stalled { activity: Activity::Recovery, .. }
        | Finding::Recovered { activity: Activity::Recovery, .. } => {}
        Finding::Stalled { shard, activity, so_far } => {
            tracing::warn!(shard, so_far_ms = milliseconds(so_far), "shard {shard} is stuck in {activity}");
        }
        Finding::Recovered { shard, activity, lasted } => {
            tracing::warn!(shard, lasted_ms = milliseconds(lasted), "shard {shard} was stuck in {activity}");
        }
        Finding::DiskSlow { shard, so_far } => {
            tracing::warn!(shard, so_far_ms = milliseconds(so_far), "the disk doesn't answer: acks wait");
        }
        Finding::DiskAnswered { shard, lasted } => {
            tracing::warn!(shard, lasted_ms = milliseconds(lasted), "the disk answers again");
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

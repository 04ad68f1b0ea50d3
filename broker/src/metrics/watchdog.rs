//! Watches the shards from the control thread: who doesn't come out of one poll, whose disk doesn't answer.
//!
//! It only compares what it saw last with what it sees now, ten times a second: shards pay nothing for it, and an idle
//! machine next to nothing. Shorter stalls are told of by the shards themselves when they are over. Where the watchdog
//! itself was not run for long, the machine stood still, and no shard is blamed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Registry;
use super::activity::{Activity, Moment};

const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A poll that lasts for so long may never end.
pub(super) const STUCK: Duration = Duration::from_millis(500);
/// A watchdog that slept for so long doesn't know what the shards did meanwhile.
const SLEPT: Duration = Duration::from_millis(300);

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A shard has been in one poll for so long, and still is.
    Stuck { shard: usize, activity: Activity, so_far: Duration },
    /// A journal frame has been on its way for so long, and still is.
    DiskSlow { shard: usize, so_far: Duration },
    /// It arrived.
    DiskAnswered { shard: usize, lasted: Duration },
}

#[derive(Clone, Debug)]
struct Seen {
    moment: Moment,
    moment_since: Instant,
    told: bool,
    frame: u64,
    frame_since: Instant,
}

/// The watch on all shards.
#[derive(Debug)]
pub struct Watchdog {
    registry: Arc<Registry>,
    disk_slow: Duration,
    last_look: Instant,
    seen: Vec<Seen>,
}

impl Watchdog {
    /// Watches for polls that don't end and journal frames slower than `disk_slow`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, disk_slow: Duration, now: Instant) -> Self {
        let seen = |cells: &Arc<super::ShardCells>| Seen {
            moment: Moment::of(cells),
            moment_since: now,
            told: false,
            frame: 0,
            frame_since: now,
        };
        let seen = registry.shards.iter().map(seen).collect();
        Self { registry, disk_slow, last_look: now, seen }
    }

    /// Looks for as long as the process runs; on the control thread's executor.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            for finding in self.look(Instant::now()) {
                log(finding);
            }
        }
    }

    /// Compares with the look before.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Finding> {
        let slept = now.saturating_duration_since(self.last_look);
        self.last_look = now;
        let excused = slept > SLEPT;
        let mut findings = Vec::new();
        for (shard, seen) in self.seen.iter_mut().enumerate() {
            let cells = &self.registry.shards[shard];
            let moment = Moment::of(cells);
            if moment != seen.moment {
                *seen = Seen { moment, moment_since: now, told: false, ..seen.clone() };
            } else if excused && !seen.told {
                seen.moment_since = now;
            } else if let Some(activity) = moment.activity() {
                let so_far = now.saturating_duration_since(seen.moment_since);
                if so_far >= STUCK && !seen.told {
                    seen.told = true;
                    findings.push(Finding::Stuck { shard, activity, so_far });
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
        Finding::Stuck { activity: Activity::Recovery, .. } => {}
        Finding::Stuck { shard, activity, so_far } => {
            tracing::warn!(shard, so_far_ms = milliseconds(so_far), "shard {shard} is stuck in {activity}");
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

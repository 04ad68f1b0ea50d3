//! What a shard does besides answering: destaging, retention, sweeps.

use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::types::Offset;
use storage::store::PartitionSlot;

use super::messages::{Isolation, ProduceOutcome};
use super::produce::ProduceRefusal;
use super::{Shard, compaction, figures, producer_memory};
use crate::limits::{
    DESTAGE_IDLE_PAUSES, DESTAGE_PAUSE_MILLISECONDS, PRODUCERS_EXPIRED_PER_STEP_MAX, ROOM_PAUSE_MILLISECONDS,
    ROOM_RETRY_MILLISECONDS, SWEEP_MILLISECONDS,
};
use crate::metrics::{self, Activity, Count, note};
use crate::runtime::{Queue, either, sleep, spawn_into, yield_if_needed};

/// Starts all of it.
pub fn start(shard: &Rc<Shard>) {
    spawn_into(Queue::Latency, sweep(Rc::clone(shard)));
    figures::start(shard);
    spawn_into(Queue::Background, destage(Rc::clone(shard)));
    spawn_into(Queue::Background, retain(Rc::clone(shard)));
    spawn_into(Queue::Background, make_room(Rc::clone(shard)));
    spawn_into(Queue::Background, compaction::compact(Rc::clone(shard)));
    spawn_into(Queue::Background, expire_producers(Rc::clone(shard)));
    spawn_into(Queue::Latency, producer_memory::keep_within_limit(Rc::clone(shard)));
}

/// Waits for a time; false once the shard stops.
pub(super) async fn pause(shard: &Shard, duration: Duration) -> bool {
    if shard.stopping.is_raised() {
        return false;
    }
    either(sleep(duration), shard.stopping.next().wait()).await
}

/// Closes idle connections and answers produces whose time is up.
async fn sweep(shard: Rc<Shard>) {
    while pause(&shard, Duration::from_millis(SWEEP_MILLISECONDS)).await {
        shard.note_fullness();
        shard.connections.sweep(Instant::now(), shard.config.idle_max, &shard.budget);
        let now = shard.now();
        for partition in shard.partitions.all() {
            // What is synced is not late, although nobody was told yet.
            shard.answer_due(&partition);
            for pending in partition.expired(now) {
                let outcome = ProduceOutcome { place: pending.place, result: Err(ProduceRefusal::TimedOut) };
                shard.note(&pending.call, outcome);
            }
        }
    }
}

/// Moves the journal's tail into segments, round after round. Where nothing was appended since the last one, a round comes
/// seldom: it asks the filesystem how much room there is, which an idle broker need not know so exactly.
async fn destage(shard: Rc<Shard>) {
    let mut idle = Idle::default();
    loop {
        if idle.is_idle(&shard) {
            if !pause(&shard, Duration::from_millis(DESTAGE_PAUSE_MILLISECONDS)).await {
                return;
            }
            continue;
        }
        note(Activity::Destage);
        let began = Instant::now();
        shard.pacing.begin(began, shard.store.stats().batch_bytes);
        let outcome = shard.store.destage_round().await;
        if let Ok(outcome) = &outcome
            && shard.pacing.is_unpaced()
        {
            shard.drained.borrow_mut().note(outcome.destaged_bytes, began.elapsed());
        }
        shard.note_fullness();
        let wait = match outcome {
            Ok(outcome) => {
                metrics::add(Count::BytesDestaged, outcome.destaged_bytes);
                idle.has_more = outcome.has_more;
                let pause = if outcome.has_more { 0 } else { DESTAGE_PAUSE_MILLISECONDS };
                Duration::from_millis(pause)
            }
            Err(error) => {
                tracing::warn!(%error, "records stay in the journal for now");
                Duration::from_secs(1)
            }
        };
        if shard.deleted.take() && shard.config.index == 0 {
            free_deleted(&shard).await;
        }
        if !pause(&shard, wait).await {
            return;
        }
    }
}

/// Whether there is anything to destage.
#[derive(Default)]
struct Idle {
    /// The last round said that another one would find work.
    has_more: bool,
    batch_bytes: u64,
    pauses: u32,
}

impl Idle {
    /// Whether this is one of a few pauses in which nothing has happened.
    fn is_idle(&mut self, shard: &Shard) -> bool {
        let batch_bytes = shard.store.stats().batch_bytes;
        let is_quiet = !self.has_more
            && batch_bytes == self.batch_bytes
            && shard.store.has_time()
            && !(shard.deleted.get() && shard.config.index == 0);
        self.batch_bytes = batch_bytes;
        self.pauses = if is_quiet { self.pauses + 1 } else { 0 };
        is_quiet && !self.pauses.is_multiple_of(DESTAGE_IDLE_PAUSES)
    }
}

/// Gives the space of deleted partitions back. A partition that another shard has yet to let go is found next time.
async fn free_deleted(shard: &Shard) {
    if let Err(error) = shard.store.free_deleted().await {
        tracing::warn!(%error, "the space of deleted topics is not free yet");
    }
}

/// Drops segments that are too old or too much.
async fn retain(shard: Rc<Shard>) {
    while pause(&shard, shard.config.retention_interval).await {
        match shard.store.retain(shard.now(), |slot| committed_end(&shard, slot)).await {
            Ok(moved) => {
                for retained in moved {
                    metrics::add(Count::SegmentsDeleted, retained.segments as u64);
                }
            }
            Err(error) => tracing::warn!(%error, "old segments stay for now"),
        }
    }
}

/// Drops the oldest segments when the disk is full, where the operator chose so.
async fn make_room(shard: Rc<Shard>) {
    while either(shard.store.room_wanted(), shard.stopping.next().wait()).await {
        let made = shard.store.make_room(shard.now(), |slot| committed_end(&shard, slot)).await;
        let moved = made.unwrap_or_else(|error| {
            tracing::warn!(%error, "no room could be made on the disk");
            Vec::new()
        });
        let wait = if moved.is_empty() { ROOM_RETRY_MILLISECONDS } else { ROOM_PAUSE_MILLISECONDS };
        for retained in moved {
            metrics::add(Count::SegmentsDeletedForRoom, retained.segments as u64);
            let Some(partition) = shard.partitions.at(retained.slot) else { continue };
            let topic = shard.image().topic_by_id(partition.key.topic_id).map(|topic| topic.name.to_string());
            tracing::warn!(
                topic = topic.unwrap_or_default(),
                partition = partition.key.partition.0,
                log_start = retained.log_start.get(),
                segments = retained.segments,
                "the disk is full: the oldest records were deleted"
            );
        }
        if !pause(&shard, Duration::from_millis(wait)).await {
            return;
        }
    }
}

/// Up to where a partition's records are committed.
fn committed_end(shard: &Shard, slot: PartitionSlot) -> Offset {
    shard.partitions.at(slot).map_or(Offset(0), |partition| partition.readable_end(Isolation::Uncommitted))
}

/// Forgets producers that have been silent for long.
async fn expire_producers(shard: Rc<Shard>) {
    while pause(&shard, shard.config.producer_expiry_interval).await {
        for partition in shard.partitions.all() {
            let now = shard.now();
            let expire = |_: ()| {
                partition.change_producers(|table| {
                    table.expire(now, shard.config.producer_expiry_ms, PRODUCERS_EXPIRED_PER_STEP_MAX)
                })
            };
            while expire(()) == PRODUCERS_EXPIRED_PER_STEP_MAX {
                yield_if_needed().await;
            }
        }
    }
}

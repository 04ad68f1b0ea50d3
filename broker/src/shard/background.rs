//! What a shard does besides answering: sweeps.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use super::messages::ProduceOutcome;
use super::produce::ProduceRefusal;
use crate::limits::{PRODUCERS_EXPIRED_PER_STEP_MAX, SWEEP_MILLISECONDS};
use crate::runtime::{Queue, either, sleep, spawn_into, yield_if_needed};

/// Starts all of it.
pub fn start(shard: &Rc<Shard>) {
    spawn_into(Queue::Latency, sweep(Rc::clone(shard)));
    spawn_into(Queue::Background, expire_producers(Rc::clone(shard)));
}

/// Waits for a time; false once the shard stops.
async fn pause(shard: &Shard, duration: Duration) -> bool {
    if shard.stopping.is_raised() {
        return false;
    }
    either(sleep(duration), shard.stopping.next().wait()).await
}

/// Closes idle connections and answers produces whose time is up.
async fn sweep(shard: Rc<Shard>) {
    while pause(&shard, Duration::from_millis(SWEEP_MILLISECONDS)).await {
        shard.connections.sweep(Instant::now(), shard.config.idle_max);
        let now = shard.now();
        for partition in shard.partitions.all() {
            for pending in partition.expired(now) {
                let outcome = ProduceOutcome { place: pending.place, result: Err(ProduceRefusal::TimedOut) };
                shard.note(&pending.call, outcome);
            }
        }
    }
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

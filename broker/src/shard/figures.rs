//! What a shard tells of itself: gauges and counts of the store, published now and then for the control thread to show.

use std::rc::Rc;
use std::time::Duration;

use storage::store::{Admission, StoreStats};

use super::Shard;
use crate::limits::{FIGURES_MILLISECONDS, ROOM_BYTES_MIN};
use crate::metrics::{self, Condition, Count, Gauge};
use crate::runtime::{Queue, spawn_into};

/// Publishes at once, since who asks a shard that is ready must not hear that its limits are 0, and until the shard stops.
pub fn start(shard: &Rc<Shard>) {
    let first = publish(shard, &StoreStats::default());
    spawn_into(Queue::Latency, go_on(Rc::clone(shard), first));
}

async fn go_on(shard: Rc<Shard>, mut last: StoreStats) {
    while super::background::pause(&shard, Duration::from_millis(FIGURES_MILLISECONDS)).await {
        last = publish(&shard, &last);
    }
}

/// Publishes what there is now, counts as far as they have grown since `before`.
fn publish(shard: &Shard, before: &StoreStats) -> StoreStats {
    let now = shard.store.stats();
    publish_store(before, &now);
    metrics::set(Gauge::Connections, shard.connections.count() as u64);
    metrics::set(Gauge::Partitions, shard.partitions.count() as u64);
    metrics::set(Gauge::RequestBytes, shard.budget.used_bytes() as u64);
    metrics::set(Gauge::RequestBytesMax, shard.config.requests_bytes as u64);
    metrics::set(Gauge::ReplyBytes, shard.budget.replies.used_bytes() as u64);
    metrics::set(Gauge::ReplyBytesMax, shard.config.replies_bytes as u64);
    metrics::set(Gauge::FetchesParked, shard.fetches_parked.count() as u64);
    metrics::set(Gauge::ProducerIds, shard.producer_memory.count() as u64);
    let full = matches!(shard.store.admit(ROOM_BYTES_MIN), Admission::Full);
    metrics::set_condition(Condition::DiskFull, full);
    now
}

/// The store counts by itself; what it has counted since the last time is added.
fn publish_store(before: &StoreStats, now: &StoreStats) {
    let more = |count, then: u64, now: u64| metrics::add(count, now.saturating_sub(then));
    more(Count::JournalFrames, before.frames, now.frames);
    more(Count::JournalBytes, before.frame_bytes, now.frame_bytes);
    more(Count::BytesAppended, before.batch_bytes, now.batch_bytes);
    more(Count::TailHits, before.reads_cached, now.reads_cached);
    more(Count::TailMisses, reads_missed(before), reads_missed(now));
    metrics::set(Gauge::TailBytes, now.tail_cached_bytes as u64);
    metrics::set(Gauge::JournalUsedBytes, now.journal_used_bytes);
    metrics::set(Gauge::JournalMaxBytes, now.journal_bytes_max);
    let full =
        now.journal_used_bytes >= now.journal_bytes_max / JOURNAL_FULL_PARTS * (JOURNAL_FULL_PARTS - 1);
    metrics::set_condition(Condition::JournalFull, full);
    let oldest = (now.synced_below < now.sealed_below).then_some(now.synced_below.0 + 1);
    metrics::set_oldest_frame_in_flight(oldest);
}

/// The journal counts as full when less than this part of it is free: producers are slowed almost to a stop by then.
const JOURNAL_FULL_PARTS: u64 = 32;

fn reads_missed(stats: &StoreStats) -> u64 {
    stats.reads_journal + stats.reads_segment
}

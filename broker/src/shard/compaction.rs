//! Compaction: the partition of which most is dirty goes first, one round at a time, within the shard's share of memory and
//! bandwidth.

use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::aborted::AbortedTransaction;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, PartitionKey, Timestamp};
use rustc_hash::FxHashMap;
use storage::store::{CompactionHost, CompactionPlan, StoreError};

use super::Shard;
use super::background::pause;
use super::bandwidth::Bandwidth;
use super::messages::Isolation;
use super::partition::Partition;
use crate::limits::COMPACTION_LEFT_OUT_PAUSE;
use crate::metrics::{self, Activity, Count, note};
use crate::runtime::{run_blocking, yield_if_needed};

/// What a shard's compaction may take.
#[derive(Clone, Copy, Debug)]
pub struct CompactionShare {
    /// How long it rests when nothing is worth a round.
    pub pause: Duration,
    /// Memory for the table of keys.
    pub memory_bytes: usize,
    /// Bytes read and written.
    pub bytes_per_second: u64,
}

/// Compacts, round after round, until the shard stops.
pub(super) async fn compact(shard: Rc<Shard>) {
    // Logs of which a round would get no further than the last one: until then, or for ever where they are damaged.
    let mut set_aside: FxHashMap<PartitionKey, Option<Instant>> = FxHashMap::default();
    // Of all rounds together: many that are short are not to take more than one that is long.
    let bandwidth = Bandwidth::new(shard.config.compaction.bytes_per_second, Instant::now());
    while pause(&shard, shard.config.compaction.pause).await {
        note(Activity::Upkeep);
        while let Some((partition, plan)) = dirtiest(&shard, &set_aside).await {
            match round(&shard, &partition, &plan, &bandwidth).await {
                Ok(RoundEnd::Done) => {}
                Ok(RoundEnd::Interrupted) => break,
                Ok(RoundEnd::LeftOut(from)) => {
                    tracing::warn!(topic = %partition.topic_name, partition = %partition.key.partition, %from,
                        "a segment could not be compacted: what stays of it is too long for one; tombstones behind it stay");
                    set_aside.insert(partition.key, Some(Instant::now() + COMPACTION_LEFT_OUT_PAUSE));
                }
                Err(StoreError::Gone) => {}
                Err(error @ StoreError::Io { .. }) => {
                    tracing::error!(topic = %partition.topic_name, partition = %partition.key.partition, %error,
                        "this partition is not compacted any more until the broker is started again");
                    set_aside.insert(partition.key, None);
                }
                Err(error) => {
                    tracing::warn!(topic = %partition.topic_name, partition = %partition.key.partition, %error,
                        "not compacted for now");
                    break;
                }
            }
        }
    }
}

/// The partition that a round is worth most for: those that have waited too long, then those of which most is dirty.
async fn dirtiest(
    shard: &Shard,
    set_aside: &FxHashMap<PartitionKey, Option<Instant>>,
) -> Option<(Rc<Partition>, CompactionPlan)> {
    let now = Instant::now();
    let mut best: Option<(Rc<Partition>, CompactionPlan)> = None;
    for partition in shard.partitions.all() {
        let is_aside = set_aside.get(&partition.key).is_some_and(|until| until.is_none_or(|at| now < at));
        if partition.config.get().compaction.is_none() || is_aside {
            continue;
        }
        yield_if_needed().await;
        let stable = partition.readable_end(Isolation::Committed);
        let plan = match shard.store.plan_compaction(partition.slot, shard.now(), stable).await {
            Ok(Some(plan)) => plan,
            Ok(None) | Err(StoreError::Gone) => continue,
            Err(error) => {
                tracing::warn!(topic = %partition.topic_name, partition = %partition.key.partition, %error,
                    "whether to compact it can't be told");
                continue;
            }
        };
        let worth = |plan: &CompactionPlan| (plan.is_overdue, plan.dirty_millionths());
        if best.as_ref().is_none_or(|(_, found)| worth(found) < worth(&plan)) {
            best = Some((partition, plan));
        }
    }
    best
}

/// How a round ended.
enum RoundEnd {
    Done,
    /// The shard stops, or the log was cut meanwhile.
    Interrupted,
    /// Segments from here on are as they were.
    LeftOut(Offset),
}

/// One round.
async fn round(
    shard: &Rc<Shard>,
    partition: &Rc<Partition>,
    plan: &CompactionPlan,
    bandwidth: &Bandwidth,
) -> Result<RoundEnd, StoreError> {
    let host = Host { shard, partition, bandwidth };
    let memory_bytes = shard.config.compaction.memory_bytes;
    let outcome = shard.store.compact(partition.slot, plan, memory_bytes, &host).await;
    // What was read ahead may have records that are gone, and a round that fails has done a part of its work.
    shard.catch_up.forget(partition.key);
    let outcome = outcome?;
    metrics::add(Count::BytesCompacted, outcome.before_bytes);
    metrics::add(Count::BytesCompactedAway, outcome.before_bytes.saturating_sub(outcome.after_bytes));
    if outcome.is_interrupted {
        return Ok(RoundEnd::Interrupted);
    }
    metrics::add(Count::CompactionRounds, 1);
    tracing::debug!(topic = %partition.topic_name, partition = %partition.key.partition, cleaned = %outcome.cleaned,
        before_bytes = outcome.before_bytes, after_bytes = outcome.after_bytes, keys = outcome.keys, "compacted");
    Ok(outcome.left_out.map_or(RoundEnd::Done, RoundEnd::LeftOut))
}

/// What the store asks during a round.
struct Host<'a> {
    shard: &'a Rc<Shard>,
    partition: &'a Rc<Partition>,
    bandwidth: &'a Bandwidth,
}

impl CompactionHost for Host<'_> {
    fn now(&self) -> Timestamp {
        self.shard.now()
    }

    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        self.partition.change_producers(|table| table.aborted(from, limit))
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        self.partition.change_producers(|table| table.forget_markers(markers));
        // What was read ahead may be from before their records went.
        self.shard.catch_up.forget(self.partition.key);
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        self.partition.change_producers(|table| table.is_last_of_producer(header))
    }

    async fn pace(&self, bytes: u64) -> bool {
        if let Some(wait) = self.bandwidth.take(bytes, Instant::now()) {
            return pause(self.shard, wait).await;
        }
        yield_if_needed().await;
        !self.shard.stopping.is_raised()
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        run_blocking(work).await
    }
}

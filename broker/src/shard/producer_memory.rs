//! The memory that a shard spends on idempotent producers, over all of its partitions.
//!
//! Partitions say what their tables hold; where that is more than the budget, those producers are forgotten that were
//! silent for longest, wherever they are, a slice at a time.

use std::cell::Cell;
use std::rc::Rc;

use logic::producer::ProducerTable;

use super::Shard;
use crate::limits::PRODUCERS_EXPIRED_PER_STEP_MAX;
use crate::runtime::{Signal, either, yield_if_needed};

/// What the tables of a shard hold.
pub struct ProducerMemory {
    limit_bytes: usize,
    held: Cell<Held>,
    /// Raised when it is more than the limit.
    over: Signal,
}

/// What one table holds, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    count: usize,
    bytes: usize,
}

impl Held {
    /// What a table holds.
    #[must_use]
    pub fn by(table: &ProducerTable) -> Self {
        Self { count: table.len(), bytes: table.memory_bytes() }
    }
}

impl ProducerMemory {
    /// Nothing is held of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Rc<Self> {
        Rc::new(Self { limit_bytes, held: Cell::default(), over: Signal::default() })
    }

    /// How many producers are known, counted for each partition that they write to.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.get().count
    }

    /// A table that held `before` holds `after`.
    pub fn note(&self, before: Held, after: Held) {
        if before == after {
            return;
        }
        let held = self.held.get();
        let change = |all: usize, before: usize, after: usize| {
            all.checked_sub(before).expect("all hold what one of them holds") + after
        };
        let count = change(held.count, before.count, after.count);
        self.held.set(Held { count, bytes: change(held.bytes, before.bytes, after.bytes) });
        if self.is_over() && after.bytes > before.bytes {
            self.over.raise();
        }
    }

    fn is_over(&self) -> bool {
        self.held.get().bytes > self.limit_bytes
    }
}

/// Forgets producers whenever there are too many, until the shard stops.
pub async fn keep_within_limit(shard: Rc<Shard>) {
    loop {
        let over = shard.producer_memory.over.next();
        while shard.producer_memory.is_over() && forget_eldest(&shard).await > 0 {}
        if shard.stopping.is_raised() || !either(over.wait(), shard.stopping.next().wait()).await {
            return;
        }
    }
}

/// Forgets the producers in the eldest part of the time in which all were last seen. Returns how many it has forgotten:
/// those with an open transaction stay.
async fn forget_eldest(shard: &Shard) -> usize {
    let before = shard.producer_memory.count();
    look_at_eldest(shard).await;
    before.saturating_sub(shard.producer_memory.count())
}

async fn look_at_eldest(shard: &Shard) {
    let now = shard.now();
    let partitions = shard.partitions.all();
    let seen_at =
        partitions.iter().filter_map(|partition| partition.change_producers(|table| table.oldest_seen_at()));
    let Some(eldest) = seen_at.min() else { return };
    let age_ms = now.get().saturating_sub(eldest.get()).max(0);
    let forgotten_from_ms = (age_ms - age_ms / ELDEST_PART).max(1);
    let mut looked_at = 0;
    for partition in &partitions {
        loop {
            let step = partition.change_producers(|table| {
                table.expire(now, forgotten_from_ms, PRODUCERS_EXPIRED_PER_STEP_MAX)
            });
            looked_at += step;
            yield_if_needed().await;
            if step < PRODUCERS_EXPIRED_PER_STEP_MAX || !shard.producer_memory.is_over() {
                break;
            }
        }
    }
    if looked_at == 0 {
        // All of them came this very millisecond: any one is as good as another.
        let largest =
            partitions.iter().max_by_key(|partition| partition.change_producers(|table| table.len()));
        if let Some(partition) = largest {
            partition.change_producers(|table| {
                let count = table.len().min(PRODUCERS_EXPIRED_PER_STEP_MAX);
                (0..count).for_each(|_| table.forget_oldest());
            });
        }
    }
}

/// One part in so many of the time since the eldest was seen is forgotten at a time.
const ELDEST_PART: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn held(count: usize, bytes: usize) -> Held {
        Held { count, bytes }
    }

    #[test]
    fn tables_that_grow_past_the_limit_are_told_of() {
        let memory = ProducerMemory::new(1_000);
        memory.note(Held::default(), held(5, 900));
        assert!(!memory.over.is_raised());
        memory.note(Held::default(), held(1, 200));
        assert!(memory.over.is_raised());
        assert_eq!(memory.count(), 6);
        memory.note(held(5, 900), Held::default());
        assert_eq!((memory.count(), memory.is_over()), (1, false));
    }

    #[test]
    #[should_panic(expected = "all hold what one of them holds")]
    fn a_table_gives_back_no_more_than_it_held() {
        ProducerMemory::new(1_000).note(held(1, 1), Held::default());
    }
}

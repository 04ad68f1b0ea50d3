//! What the shards count, and how it is shown: Prometheus text for `/metrics`, reasons for `/readyz`, a watch on stalls.
//!
//! A shard's thread has one [`ShardMetrics`] installed and is the only writer of its cells: counting is a relaxed load and store, without a
//! lock, a locked instruction or a clock. The control thread reads the same cells through the [`Registry`] whenever
//! somebody asks; it may see a request counted and its latency not yet, never a torn number.
//!
//! Invariants: nothing here is kept per topic, partition, client or connection, so the number of series depends on the
//! number of shards alone (see `limits.rs`; tested). Memory is fixed when the shards are made.

mod activity;
mod cell;
mod here;
mod histogram;
mod names;
mod process;
mod render;
mod watchdog;

#[cfg(test)]
mod tests;

pub use activity::{Activity, note, watched};
pub use here::set_oldest_frame_in_flight;
pub use here::{Timing, add, count_error, count_request, record_stage, set, set_condition};
pub use names::{Count, Gauge, Stage};
pub use render::render;
pub use watchdog::Watchdog;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use protocol::api::ApiKey;
use protocol::error::KafkaError;

use cell::OwnedCounter;
use histogram::Histogram;

const API_COUNT: usize = ApiKey::ALL.len();
/// One for each of Kafka's codes, from -1 on.
const ERROR_SLOTS: usize = 144;
const _: () = {
    let last = KafkaError::ALL[KafkaError::ALL.len() - 1];
    assert!(error_index(last) < ERROR_SLOTS);
};

const fn error_index(error: KafkaError) -> usize {
    (error as i16 + 1).cast_unsigned() as usize
}

/// The place of each API key in the cells.
const API_SLOTS: [u8; 128] = {
    let mut slots = [u8::MAX; 128];
    let mut slot = 0_u8;
    while (slot as usize) < API_COUNT {
        let key = ApiKey::ALL[slot as usize].key();
        assert!(key >= 0 && key < 128);
        slots[key.cast_unsigned() as usize] = slot;
        slot += 1;
    }
    slots
};

fn slot(api: ApiKey) -> usize {
    usize::from(API_SLOTS[usize::from(api.key().cast_unsigned())])
}

/// What one API of one shard counts.
#[derive(Debug)]
struct ApiCells {
    requests: OwnedCounter,
    stages: [Histogram; Stage::ALL.len()],
    /// By code, from -1 on.
    errors: [OwnedCounter; ERROR_SLOTS],
}

impl Default for ApiCells {
    fn default() -> Self {
        Self {
            requests: OwnedCounter::default(),
            stages: std::array::from_fn(|_| Histogram::default()),
            errors: std::array::from_fn(|_| OwnedCounter::default()),
        }
    }
}

/// Everything of one shard that others may read.
#[derive(Debug)]
struct ShardCells {
    apis: Box<[ApiCells]>,
    counts: [OwnedCounter; Count::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    conditions: AtomicU32,
    /// What the shard does right now, see [`activity`].
    activity: AtomicU64,
    /// The oldest journal frame on its way to the device; 0 for none.
    oldest_frame: AtomicU64,
    /// Set by the watchdog, the only writer.
    disk_is_slow: AtomicBool,
    stalls: OwnedCounter,
}

impl ShardCells {
    fn new() -> Self {
        Self {
            apis: (0..API_COUNT).map(|_| ApiCells::default()).collect(),
            counts: std::array::from_fn(|_| OwnedCounter::default()),
            gauges: std::array::from_fn(|_| AtomicU64::new(0)),
            conditions: AtomicU32::new(0),
            activity: AtomicU64::new(0),
            oldest_frame: AtomicU64::new(0),
            disk_is_slow: AtomicBool::new(false),
            stalls: OwnedCounter::default(),
        }
    }
}

/// What keeps a shard from taking records, or lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Recovered and answering requests.
    Serving,
    /// Producers wait because the journal is not emptied fast enough.
    JournalFull,
    /// Produces are refused because the disk has no room.
    DiskFull,
}

impl Condition {
    const fn bit(self) -> u32 {
        match self {
            Self::Serving => 1,
            Self::JournalFull => 2,
            Self::DiskFull => 4,
        }
    }
}

/// A shard's own hand on its cells. It moves to the shard's thread and stays there: one writer only.
#[derive(Debug)]
pub struct ShardMetrics {
    cells: Arc<ShardCells>,
    shard: usize,
    /// From how long on a poll is a stall.
    stall: Duration,
    /// Not `Sync`: a second thread with a reference would be a second writer.
    _one_writer: PhantomData<Cell<()>>,
}

impl ShardMetrics {
    /// Counts a request of this API.
    pub fn count_request(&self, api: ApiKey) {
        self.cells.apis[slot(api)].requests.add(1);
    }

    /// Records how long a stage of a request took.
    pub fn record_stage(&self, api: ApiKey, stage: Stage, micros: u64) {
        self.cells.apis[slot(api)].stages[stage.index()].record(micros);
    }

    /// Counts an error that a request of this API was answered with.
    pub fn count_error(&self, api: ApiKey, code: i16) {
        let known = KafkaError::from_code(code).unwrap_or(KafkaError::UnknownServerError);
        self.cells.apis[slot(api)].errors[error_index(known)].add(1);
    }

    /// Adds to a count.
    pub fn add(&self, count: Count, more: u64) {
        self.cells.counts[count.index()].add(more);
    }

    /// Says what a gauge stands at.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.cells.gauges[gauge.index()].store(value, Ordering::Relaxed);
    }

    /// Says whether a condition holds.
    pub fn set_condition(&self, condition: Condition, holds: bool) {
        let before = self.cells.conditions.load(Ordering::Relaxed);
        let after = if holds { before | condition.bit() } else { before & !condition.bit() };
        self.cells.conditions.store(after, Ordering::Relaxed);
    }

    /// Says which journal frame is the oldest that the device has not finished (its number, from 1), if any. The
    /// watchdog finds a slow disk by it.
    pub fn set_oldest_frame_in_flight(&self, frame: Option<u64>) {
        assert_ne!(frame, Some(0), "frames are counted from 1 here");
        self.cells.oldest_frame.store(frame.unwrap_or(0), Ordering::Relaxed);
    }

    /// Makes this the hand of the calling thread, which is the shard's: from now on the functions of this module
    /// count for it. Once.
    pub fn install(self) {
        here::install(self);
    }
}

/// How far the life of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Shards recover.
    Starting,
    /// Shards serve.
    Running,
    /// Asked to stop.
    Stopping,
}

/// All shards' cells, for whoever reads them.
#[derive(Debug)]
pub struct Registry {
    shards: Box<[Arc<ShardCells>]>,
    phase: AtomicU8,
}

impl Registry {
    /// Cells for `shard_count` shards, and the hand of each. A poll as long as `stall` is told of.
    #[must_use]
    pub fn new(shard_count: u16, stall: Duration) -> (Arc<Self>, Vec<ShardMetrics>) {
        let shards: Box<[_]> = (0..shard_count).map(|_| Arc::new(ShardCells::new())).collect();
        let hand = |(shard, cells): (usize, &Arc<ShardCells>)| ShardMetrics {
            cells: Arc::clone(cells),
            shard,
            stall,
            _one_writer: PhantomData,
        };
        let hands = shards.iter().enumerate().map(hand).collect();
        (Arc::new(Self { shards, phase: AtomicU8::new(Phase::Starting as u8) }), hands)
    }

    /// Says how far the process has come.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Why the broker should get no traffic now; nothing where it should.
    #[must_use]
    pub fn unready_reasons(&self) -> Vec<String> {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Stopping as u8 {
            return vec!["stopping".to_owned()];
        }
        let mut reasons = Vec::new();
        if phase == Phase::Starting as u8 {
            reasons.push("starting".to_owned());
        }
        for (index, cells) in self.shards.iter().enumerate() {
            let conditions = cells.conditions.load(Ordering::Relaxed);
            let holds = |condition: Condition| conditions & condition.bit() != 0;
            if !holds(Condition::Serving) {
                reasons.push(format!("shard {index}: recovering"));
            }
            if holds(Condition::JournalFull) {
                reasons.push(format!("shard {index}: journal full"));
            }
            if holds(Condition::DiskFull) {
                reasons.push(format!("shard {index}: disk full"));
            }
            if cells.disk_is_slow.load(Ordering::Relaxed) {
                reasons.push(format!("shard {index}: slow disk"));
            }
        }
        reasons
    }
}

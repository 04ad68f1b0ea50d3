//! What one generator thread notes while it runs, stream by stream.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::measure::Latencies;
use crate::verify::{Faults, Lane, Offsets};

/// Records and their bytes (of keys and values).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub records: u64,
    pub bytes: u64,
}

impl Volume {
    /// Some more.
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }

    fn merge(&mut self, other: Self) {
        self.add(other.records, other.bytes);
    }
}

/// What happened to one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamRecord {
    /// From due to acknowledged, of records that were due while measured.
    pub acks: Latencies,
    /// From due to read, likewise.
    pub ends: Latencies,
    /// From due to handed to the connection, less the linger, likewise: the generator's own part, and back-pressure.
    pub lateness: Latencies,
    /// From asking to answered, of fetches that drain a backlog.
    pub fetches: Latencies,
    /// Acknowledged while measured.
    pub acked: Volume,
    /// Read along while measured.
    pub read: Volume,
    /// Drained from a backlog while measured.
    pub drained: Volume,
    /// Due while measured, and never handed on: the broker took no more.
    pub unsent: u64,
    pub batches: u64,
    pub requests: u64,
    /// Since the start of the round, warm-up and end included.
    pub lanes: HashMap<Lane, u64>,
    pub offsets: HashMap<u32, Offsets>,
    /// How far each group that follows has come in each lane.
    pub followed: HashMap<u32, HashMap<Lane, u64>>,
    pub faults: Faults,
}

impl StreamRecord {
    /// Takes up another thread's.
    pub fn merge(&mut self, other: Self) {
        self.acks.merge(&other.acks);
        self.ends.merge(&other.ends);
        self.lateness.merge(&other.lateness);
        self.fetches.merge(&other.fetches);
        self.acked.merge(other.acked);
        self.read.merge(other.read);
        self.drained.merge(other.drained);
        self.unsent += other.unsent;
        self.batches += other.batches;
        self.requests += other.requests;
        self.lanes.extend(other.lanes);
        for (partition, offsets) in other.offsets {
            self.offsets.entry(partition).or_default().merge(&offsets);
        }
        for (group, lanes) in other.followed {
            self.followed.entry(group).or_default().extend(lanes);
        }
        self.faults.merge(other.faults);
    }
}

/// What happened in about a second, in all streams.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// Seconds from the begin of the load, warm-up included, to the end of the tick.
    pub at_seconds: f64,
    pub acked: Volume,
    pub read: Volume,
    pub drained: Volume,
    pub acks: Latencies,
    pub ends: Latencies,
}

impl Tick {
    /// Takes up another thread's of the same second.
    pub fn merge(&mut self, other: &Self) {
        self.at_seconds = self.at_seconds.max(other.at_seconds);
        self.acked.merge(other.acked);
        self.read.merge(other.read);
        self.drained.merge(other.drained);
        self.acks.merge(&other.acks);
        self.ends.merge(&other.ends);
    }
}

/// One thread's notes.
pub type Notes = Rc<RefCell<ThreadNotes>>;

/// What they hold.
#[derive(Debug, Default)]
pub struct ThreadNotes {
    pub streams: Vec<StreamRecord>,
    pub tick: Tick,
}

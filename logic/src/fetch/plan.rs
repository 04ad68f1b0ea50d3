//! Which bytes to read for a fetch, and whether to answer with them or to wait for more.
//!
//! Example: `max_bytes` 1000, three partitions with 300, 0 and 5000 bytes to read, each at most 800: the first may read
//! 300 and in any case one whole batch, the second nothing, the third 700 in whole batches, or nothing if its first
//! batch is larger than that.

use crate::limits::FETCH_WAIT_MS_MAX;
use protocol::types::Timestamp;

/// What a request says of the whole of it, already bounded by the broker's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchBounds {
    /// How long to wait for `bytes_min`, in milliseconds.
    pub wait_ms_max: i64,
    /// How many bytes to wait for.
    pub bytes_min: u64,
    /// The most bytes to answer with.
    pub bytes_max: u64,
}

impl FetchBounds {
    /// The bounds of a request: nothing negative, no wait for more than may be answered.
    #[must_use]
    pub fn new(wait_ms_max: i32, bytes_min: i32, bytes_max: i32, broker_bytes_max: u64) -> Self {
        let positive = |number: i32| u64::from(number.max(0).unsigned_abs());
        let bytes_max = positive(bytes_max).min(broker_bytes_max);
        Self {
            wait_ms_max: i64::from(wait_ms_max).clamp(0, FETCH_WAIT_MS_MAX),
            bytes_min: positive(bytes_min).min(bytes_max),
            bytes_max,
        }
    }
}

/// A partition that might be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Bytes that can be read from where the client is, or more than that; 0 only if there are none.
    pub available_bytes: u64,
    /// The most that the client takes from this partition, but for a first batch; less than 0 counts as 0.
    pub bytes_max: i32,
}

/// What to read of the candidate at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedRead {
    /// How many bytes of whole batches; 0 for no read.
    pub bytes_max: u64,
    /// Whether one whole batch is read even if it is larger: the answer then always moves on.
    pub at_least_one_batch: bool,
}

/// Shares `bytes_max` out in the order of the candidates; `reads` gets one entry for each.
pub fn plan(bytes_max: u64, candidates: impl Iterator<Item = Candidate>, reads: &mut Vec<PlannedRead>) {
    reads.clear();
    let mut left = bytes_max;
    let mut at_least_one_batch = true;
    for candidate in candidates {
        let wanted = candidate.available_bytes.min(u64::from(candidate.bytes_max.max(0).unsigned_abs()));
        let has_records = candidate.available_bytes > 0;
        let read = PlannedRead {
            bytes_max: wanted.min(left),
            at_least_one_batch: at_least_one_batch && has_records,
        };
        if read.at_least_one_batch {
            at_least_one_batch = false;
        }
        left -= read.bytes_max;
        reads.push(read);
    }
}

/// Whether to answer a fetch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer with what there is.
    Answer,
    /// Wait for more.
    Wait(FetchWait),
}

/// A fetch that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchWait {
    /// When to answer whatever there is.
    pub deadline: Timestamp,
    missing_bytes: u64,
}

/// Whether `found_bytes` suffice, or something must be told at once: an error, a diverging epoch, nothing asked for.
#[must_use]
pub fn decide(now: Timestamp, bounds: &FetchBounds, found_bytes: u64, must_tell: bool) -> Decision {
    if must_tell || bounds.wait_ms_max == 0 || found_bytes >= bounds.bytes_min {
        return Decision::Answer;
    }
    Decision::Wait(FetchWait {
        deadline: Timestamp(now.get().saturating_add(bounds.wait_ms_max)),
        missing_bytes: bounds.bytes_min - found_bytes,
    })
}

impl FetchWait {
    /// More bytes became readable in one of its partitions: whether it is to be answered now.
    pub fn on_readable(&mut self, bytes: u64) -> bool {
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        self.missing_bytes == 0
    }

    /// Whether its time is up.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.deadline
    }
}

//! Counting for the shard of the calling thread: the functions that the data plane calls.
//!
//! On a thread that is no shard's (the control thread, a unit test) they do nothing.

use std::cell::OnceCell;
use std::time::Instant;

use protocol::api::ApiKey;

use super::{Condition, Count, Gauge, ShardMetrics, Stage};

thread_local! {
    static HERE: OnceCell<ShardMetrics> = const { OnceCell::new() };
}

pub(super) fn install(metrics: ShardMetrics) {
    HERE.with(|slot| slot.set(metrics)).expect("a thread carries one shard");
}

pub(super) fn with(use_it: impl FnOnce(&ShardMetrics)) {
    HERE.with(|slot| {
        if let Some(metrics) = slot.get() {
            use_it(metrics);
        }
    });
}

/// Counts a request of this API.
pub fn count_request(api: ApiKey) {
    with(|metrics| metrics.count_request(api));
}

/// Records how long a stage of a request took.
pub fn record_stage(api: ApiKey, stage: Stage, from: Instant, to: Instant) {
    let micros = to.saturating_duration_since(from).as_micros();
    with(|metrics| metrics.record_stage(api, stage, u64::try_from(micros).unwrap_or(u64::MAX)));
}

/// Counts an error that a request of this API was answered with.
pub fn count_error(api: ApiKey, code: i16) {
    with(|metrics| metrics.count_error(api, code));
}

/// Adds to a count.
pub fn add(count: Count, more: u64) {
    with(|metrics| metrics.add(count, more));
}

/// Says what a gauge stands at.
pub fn set(gauge: Gauge, value: u64) {
    with(|metrics| metrics.set(gauge, value));
}

/// Says whether a condition holds.
pub fn set_condition(condition: Condition, holds: bool) {
    with(|metrics| metrics.set_condition(condition, holds));
}

/// Says which journal frame is the oldest on its way, see [`ShardMetrics::set_oldest_frame_in_flight`].
pub fn set_oldest_frame_in_flight(frame: Option<u64>) {
    with(|metrics| metrics.set_oldest_frame_in_flight(frame));
}

/// The moments of one request on its way through a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    received: Instant,
    api: Option<ApiKey>,
    answered: Option<Instant>,
}

impl Timing {
    /// A request has just been read to its end.
    #[must_use]
    pub fn received() -> Self {
        Self { received: Instant::now(), api: None, answered: None }
    }

    /// Its handler begins.
    pub fn begin(&mut self, api: ApiKey) {
        self.api = Some(api);
        count_request(api);
        record_stage(api, Stage::Queue, self.received, Instant::now());
    }

    /// Its answer is known.
    pub fn answer(&mut self) {
        self.answered = Some(Instant::now());
    }

    /// The last byte of its answer was given to the kernel at `now`.
    pub fn sent(self, now: Instant) {
        if let (Some(api), Some(answered)) = (self.api, self.answered) {
            record_stage(api, Stage::Reply, answered, now);
            record_stage(api, Stage::Total, self.received, now);
        }
    }
}

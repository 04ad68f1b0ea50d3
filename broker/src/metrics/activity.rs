//! What a shard is doing right now, told to whoever watches for stalls.
//!
//! One cell a shard: a number that changes with every poll of a task, and a code for what the task does; code 0 while
//! nothing runs. A poll that took too long is told of by the shard itself when it ends, however short the stall; one
//! that doesn't end is found by the watchdog, which sees the same number for long.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use protocol::api::ApiKey;

use super::{ShardCells, ShardMetrics, here};

/// What a shard may be busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Connections, messages of other shards, whatever a client waits for.
    Requests,
    /// Answering a request of this API.
    Api(ApiKey),
    /// Filling, writing or completing journal frames.
    Journal,
    /// What the control thread says: changed metadata.
    Metadata,
    /// Reading for consumers that catch up.
    CatchUp,
    /// Moving records from the journal to segments.
    Destage,
    /// Retention, expiry, sweeps.
    Upkeep,
    /// Recovering at the start.
    Recovery,
    /// Anything else.
    Other,
}

const API_CODES_FROM: u64 = 0x100;
const CODE_BITS: u32 = 16;

/// All but those of APIs.
pub(super) const NAMED: [Activity; 8] = [
    Activity::Requests,
    Activity::Journal,
    Activity::Metadata,
    Activity::CatchUp,
    Activity::Destage,
    Activity::Upkeep,
    Activity::Recovery,
    Activity::Other,
];

impl Activity {
    const fn code(self) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Journal => 2,
            Self::Metadata => 3,
            Self::CatchUp => 4,
            Self::Destage => 5,
            Self::Upkeep => 6,
            Self::Recovery => 7,
            Self::Other => 8,
            Self::Api(api) => API_CODES_FROM + api.key().cast_unsigned() as u64,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        match code.checked_sub(API_CODES_FROM) {
            Some(key) => i16::try_from(key).ok().and_then(ApiKey::from_key).map(Self::Api),
            None => NAMED.into_iter().find(|named| named.code() == code),
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Requests => "connections and messages",
            Self::Journal => "the journal",
            Self::Metadata => "changed metadata",
            Self::CatchUp => "reading for consumers that catch up",
            Self::Destage => "destaging",
            Self::Upkeep => "retention and upkeep",
            Self::Recovery => "recovery",
            Self::Other => "something unnamed",
            Self::Api(api) => return write!(formatter, "a request ({})", api.name()),
        })
    }
}

/// A moment of a shard's activity, as the cell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn of(cells: &ShardCells) -> Self {
        Self(cells.activity.load(Ordering::Relaxed))
    }

    /// What runs; nothing where the shard is between tasks.
    pub(super) fn activity(self) -> Option<Activity> {
        Activity::from_code(self.0 & ((1 << CODE_BITS) - 1))
    }
}

thread_local! {
    /// The code of what runs, so that a task inside a task gives it back.
    static CODE: Cell<u64> = const { Cell::new(0) };
}

/// Says that this thread's shard goes over to something else, and answers what it did before.
fn switch(code: u64) -> u64 {
    here::with(|metrics| {
        let cell = &metrics.cells.activity;
        let number = (cell.load(Ordering::Relaxed) >> CODE_BITS).wrapping_add(1);
        cell.store(number << CODE_BITS | code, Ordering::Relaxed);
    });
    CODE.replace(code)
}

/// Says more exactly what the task that runs is doing; it holds to the end of this poll. Nothing on other threads.
pub fn note(activity: Activity) {
    switch(activity.code());
}

#[cold]
fn tell_of_stall(metrics: &ShardMetrics, code: u64, lasted: Duration) {
    metrics.cells.stalls.add(1);
    let activity = Activity::from_code(code).unwrap_or(Activity::Other);
    let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(shard = metrics.shard, lasted_ms, "shard {} was stuck in {activity}", metrics.shard);
}

/// Runs a future that tells what it does whenever it is polled.
pub async fn watched<F: Future>(activity: Activity, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let before = switch(activity.code());
        let begin = Instant::now();
        let polled = future.as_mut().poll(context);
        let lasted = begin.elapsed();
        let code = switch(before);
        here::with(|metrics| {
            if lasted >= metrics.stall {
                tell_of_stall(metrics, code, lasted);
            }
        });
        polled
    })
    .await
}

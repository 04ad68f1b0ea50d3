//! The load itself: glommio executors, each bound to a core away from the broker's, on which producers and readers run.
//!
//! One round is one call of [`run_round`]: all connect, all begin at the same moment, warm up, are measured, and end when
//! every record is answered and read. By one clock: nanoseconds since the run's start. What goes over the network is the
//! native client's business, as an application's would be, but for readers that follow. Knows nothing of reports.

mod account;
mod audit;
mod cluster;
mod course;
mod drain;
mod follower;
mod moment;
mod producer;
mod recorder;
mod spread;
mod thread;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::At;

pub use audit::Audit;
pub use cluster::{Layout, block_on, create_topics, delete_topics};
pub use recorder::{StreamRecord, Tick};
pub use thread::LoadError;

use crate::verify::{self, Faults, Lane, Offsets};
use crate::workload::Stream;

/// Who reads what in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the producers, in the group of this number.
    Tail(u32),
    /// Reads the backlog from its start, again and again while the round lasts.
    Drain,
}

/// One stream as a round runs it.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    pub stream: Stream,
    pub layout: Layout,
    /// Producers of this round; 0 where nothing is produced.
    pub producers: u32,
    /// The number of its first producer: each producer of a run has its own.
    pub first_worker: u32,
    pub tail_readers: bool,
    /// Readers that drain the backlog.
    pub drain_readers: u32,
    /// Where the backlog ends in each partition.
    pub backlog_ends: Vec<i64>,
}

/// One round.
#[derive(Clone, Debug)]
pub struct RoundPlan {
    pub run: u32,
    pub epoch: Instant,
    pub warm_up: Duration,
    pub measured: Duration,
    pub streams: Vec<StreamPlan>,
    /// One thread for each, bound to the core where one is named.
    pub cores: Vec<Option<usize>>,
}

/// What a round has shown.
#[derive(Debug, Default)]
pub struct RoundOutcome {
    pub streams: Vec<StreamRecord>,
    /// A tick a second, of all threads together.
    pub ticks: Vec<Tick>,
    /// How long it was measured.
    pub seconds: f64,
    /// How busy the busiest generator thread was while measured, of 1.
    pub generator_busy: f64,
    /// Why it ended before its time.
    pub failure: Option<String>,
    pub faults: Faults,
}

impl RoundOutcome {
    /// What was acknowledged in each lane of a stream.
    pub fn acknowledged(&self, stream: usize) -> &HashMap<Lane, u64> {
        &self.streams[stream].lanes
    }

    /// Where no reader failed: what groups that follow have not had of what was acknowledged is lost.
    fn miss_unread(&mut self, plan: &RoundPlan) {
        for (stream, record) in plan.streams.iter().zip(&self.streams) {
            let groups = if stream.tail_readers { stream.stream.groups } else { 0 };
            for group in 0..groups {
                let read = record.followed.get(&group).cloned().unwrap_or_default();
                self.faults.merge(verify::unread(&record.lanes, &read));
            }
        }
    }

    /// The offsets that acknowledgements gave, by partition.
    pub fn offsets(&self, stream: usize) -> &HashMap<u32, Offsets> {
        &self.streams[stream].offsets
    }
}

/// What happens while a round runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The measured part begins.
    Begin,
    /// The measured part is over.
    End,
}

/// Runs a round against the broker at `bootstrap`. `on_edge` is called at both ends of what is measured, `on_tick` about once a second.
pub fn run_round(
    bootstrap: SocketAddr,
    plan: RoundPlan,
    mut on_edge: impl FnMut(Edge),
    mut on_tick: impl FnMut(&Tick),
) -> Result<RoundOutcome, LoadError> {
    let threads = thread::start(bootstrap, Arc::new(plan))?;
    threads.conduct(&mut on_edge, &mut on_tick)
}

/// Reads the newest records of all partitions, up to about `records_max`, and checks every one.
pub fn audit(
    layout: &Layout,
    run: u32,
    sent: &HashMap<Lane, u64>,
    is_compacted: bool,
    records_max: u64,
) -> Result<Audit, LoadError> {
    block_on(audit::audit(layout, run, sent, is_compacted, records_max))
}

/// Where the partitions of a layout end.
pub fn ends(layout: &Layout) -> Result<Vec<i64>, LoadError> {
    block_on(async {
        let client = cluster::connect(&layout.bootstrap, None).await?;
        layout.offsets(&client.admin(), At::Latest).await
    })
}

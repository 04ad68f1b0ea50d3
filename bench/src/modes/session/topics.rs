//! The topics of a session: made before a turn, filled where a workload wants that, held against what was acknowledged, deleted.

use std::time::Duration;

use anyhow::{Context, anyhow};
use client::executor::interrupt;

use super::{Entry, Server, Session};
use crate::limits::ROUNDS_MAX;
use crate::load;
use crate::measure::grouped;
use crate::modes::written::Written;
use crate::report::Status;
use crate::target::Kind;
use crate::workload::{Acks, Stream, Workload};

/// Journal volumes that are passed before a steady state is measured.
const STEADY_VOLUMES: u64 = 10;
/// Taken for the size of all journals where nobody tells it.
const JOURNAL_BYTES_ASSUMED: u64 = 512 << 20;
/// How a backlog is written: large batches, many in flight, in slices of this length.
const FILL_SLICE: Duration = Duration::from_secs(2);
const FILL_BATCH_BYTES: u32 = 256 << 10;
const FILL_IN_FLIGHT: u32 = 4_000;
const FILL_PRODUCERS: u32 = 4;
/// Of records that were not checked, or not all of them.
const ENDED_EARLY: &str = "the run ended before its time";

/// A turn whose topics are still there.
pub(super) struct Kept {
    entry: usize,
    streams: Vec<Written>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.streams.iter().map(|written| written.bytes).sum()
    }
}

impl Server {
    /// The size of all its journals.
    fn journal_bytes(&self) -> u64 {
        self.target.journal_bytes.unwrap_or(JOURNAL_BYTES_ASSUMED)
    }

    /// Its earliest turn, where what came later, and a tenth of its own, would fill the journals.
    fn take_settled(&mut self) -> Option<Kept> {
        let later: u64 = self.kept.iter().skip(1).map(Kept::bytes).sum();
        let own = self.kept.front()?.bytes();
        (later + own / 10 >= self.journal_bytes()).then(|| self.kept.pop_front()).flatten()
    }
}

impl Session {
    /// Makes the topics of an entry's turn, empty ones.
    pub(super) fn make_topics(
        &mut self,
        (index, turn): (usize, u32),
        name: &str,
        server: usize,
        workload: &Workload,
    ) -> anyhow::Result<Vec<Written>> {
        let address = self.servers[server].target.address;
        let mut streams = Vec::new();
        for stream in &workload.streams {
            let topic = |number| format!("bench-{:08x}-{index}-{turn}-{}-{number}", self.run, stream.name);
            let topics: Vec<String> = (0..stream.topics).map(topic).collect();
            self.topics.push((server, topics.clone()));
            let (bootstrap, config) = (address.to_string(), &stream.topic_config);
            let made = load::create_topics(bootstrap, topics, stream.partitions, config);
            let layout = load::block_on(made).with_context(|| format!("{name}: topics for the run"))?;
            streams.push(Written::to(layout));
        }
        Ok(streams)
    }

    /// Before a turn of an entry: it has topics, empty ones unless they were filled before.
    pub fn begin_turn(&mut self, index: usize) -> anyhow::Result<()> {
        let entry = &self.entries[index];
        if !entry.streams.is_empty() {
            return Ok(());
        }
        let (name, workload) = (entry.name.clone(), entry.workload.clone());
        let (server, turn) = (entry.server, entry.turn + 1);
        let streams = self.make_topics((index, turn), &name, server, &workload)?;
        let entry = &mut self.entries[index];
        (entry.streams, entry.turn) = (streams, turn);
        Ok(())
    }

    /// After a turn of an entry: its topics are kept a while, and those of earlier turns go that need not be kept any more.
    ///
    /// What a broker still has in its journal of a turn is its work, and is to be done while the broker is loaded: topics that
    /// are deleted before would spare it that. So they stay until no more than a tenth of them can still be there. Backlogs, and
    /// topics that were filled before anything was measured, stay to the end.
    ///
    /// False when the session is to end: something is wrong, and the report says what.
    pub fn end_turn(&mut self, index: usize) -> bool {
        let entry = &mut self.entries[index];
        let has_backlog =
            entry.roles.drain && entry.workload.streams.iter().any(|stream| stream.backlog_bytes > 0);
        if entry.workload.steady_state || has_backlog {
            return true;
        }
        let server = entry.server;
        let streams = std::mem::take(&mut entry.streams);
        self.servers[server].kept.push_back(Kept { entry: index, streams });
        while let Some(kept) = self.servers[server].take_settled() {
            if !self.retire(kept) {
                return false;
            }
        }
        true
    }

    /// Checks what was written, and deletes its topics. False where it is not all right.
    fn retire(&mut self, Kept { entry, streams }: Kept) -> bool {
        if !self.check(entry, &streams) {
            return false;
        }
        let index = self.entries[entry].server;
        let Server { kind, target, .. } = &self.servers[index];
        for Written { layout, .. } in streams {
            let deleted = load::delete_topics(target.address.to_string(), &layout.topics);
            match load::block_on(deleted) {
                Ok(()) => self.topics.retain(|(of, names)| *of != index || *names != layout.topics),
                // One that goes on after the run is asked once more at the end.
                Err(_) if matches!(kind, Kind::Running(_)) => {}
                Err(error) => {
                    self.report.note(format!("topics of a turn stay until the broker is stopped: {error}"));
                }
            }
        }
        true
    }

    /// Says of brokers that they have ended, where no round has told it, by whoever comes first of those that they had to do with.
    pub(super) fn note_deaths(&mut self) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            let Some(why) = server.target.ended().filter(|_| !server.is_end_told) else { continue };
            if let Some(entry) = self.entries.iter().find(|entry| entry.server == index) {
                self.report.problem(Status::Partial, format!("{}: {why}", entry.name));
            }
        }
    }

    /// Checks at the end what was not checked before.
    pub(super) fn check_rest(&mut self) {
        for server in 0..self.servers.len() {
            for kept in std::mem::take(&mut self.servers[server].kept) {
                self.check(kept.entry, &kept.streams);
            }
        }
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            let streams = std::mem::take(&mut entry.streams);
            if entry.is_cut {
                entry.checked.cut(ENDED_EARLY);
            } else {
                self.check(index, &streams);
            }
        }
    }

    /// Holds what was acknowledged against what can be read. False where that is not all right, or was not before.
    fn check(&mut self, index: usize, streams: &[Written]) -> bool {
        let entry = &mut self.entries[index];
        if streams.iter().all(Written::is_empty) {
            return !entry.is_void;
        }
        let has_died = self.servers[entry.server].target.ended().is_some();
        if has_died || interrupt::was_asked() {
            let told = format!("{}: not all of its records were checked: {ENDED_EARLY}", entry.name);
            self.report.problem(Status::Partial, told);
            entry.checked.cut(ENDED_EARLY);
            return false;
        }
        for (stream, written) in entry.workload.streams.iter().zip(streams) {
            let faults = match entry.checked.check(self.run, stream, written) {
                Ok(faults) => faults,
                Err(error) => {
                    let told = format!("{}: what was written can't be read back: {error}", entry.name);
                    self.report.problem(Status::Partial, told);
                    entry.checked.cut(error.to_string());
                    return false;
                }
            };
            entry.is_void |= !faults.is_empty();
            for fault in &faults {
                self.report.problem(Status::Void, format!("{}: {fault}", entry.name));
            }
        }
        !entry.is_void
    }

    /// Deletes the run's topics where the broker goes on without it; what is left behind, in words.
    pub(super) fn clear_away(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for (server, topics) in std::mem::take(&mut self.topics) {
            let Server { kind, target, .. } = &self.servers[server];
            if !matches!(kind, Kind::Running(_)) {
                continue;
            }
            if let Err(error) = load::block_on(load::delete_topics(target.address.to_string(), &topics)) {
                left.push(format!("topics of the run are left behind: {error}"));
            }
        }
        left
    }

    /// Writes `bytes` of each stream that wants some, as fast as it goes.
    fn fill(&mut self, index: usize, wanted: &[u64], label: &str) -> anyhow::Result<()> {
        let begin: Vec<u64> = self.entries[index].streams.iter().map(|stream| stream.bytes).collect();
        for _ in 0..ROUNDS_MAX {
            let written = |number: usize| self.entries[index].streams[number].bytes - begin[number];
            let missing: Vec<bool> =
                wanted.iter().enumerate().map(|(at, bytes)| written(at) < *bytes).collect();
            if !missing.contains(&true) {
                return Ok(());
            }
            let mut plan = self.plan(index, Duration::ZERO, FILL_SLICE);
            for (stream, is_missing) in plan.streams.iter_mut().zip(&missing) {
                (stream.tail_readers, stream.drain_readers) = (false, 0);
                stream.producers = if *is_missing { FILL_PRODUCERS } else { 0 };
                stream.first_worker = self.next_worker;
                self.next_worker += stream.producers;
                (stream.stream.rate, stream.stream.in_flight) = (None, Some(FILL_IN_FLIGHT));
                stream.stream.batch_bytes = FILL_BATCH_BYTES;
                stream.stream.linger_ms = 1.0;
                // What is written here is awaited, whatever the workload's own records are.
                stream.stream.acks = Acks::All;
            }
            let (_, _, _, outcome) = self.run(index, plan, label)?;
            if !self.take_outcome(index, &outcome) {
                let reason = outcome.failure.unwrap_or_else(|| outcome.faults.lines().join("; "));
                return Err(anyhow!("{label}: {reason}"));
            }
        }
        Err(anyhow!("{label}: not done after {ROUNDS_MAX} slices"))
    }

    pub(super) fn fill_backlog(&mut self, index: usize) -> anyhow::Result<()> {
        let entry = &self.entries[index];
        if !entry.roles.drain {
            return Ok(());
        }
        let wanted: Vec<u64> = entry.workload.streams.iter().map(|stream| stream.backlog_bytes).collect();
        self.fill(index, &wanted, "writing the backlog")?;
        for written in &mut self.entries[index].streams {
            written.backlog_ends = load::ends(&written.layout)?;
        }
        Ok(())
    }

    pub(super) fn reach_steady_state(&mut self, index: usize) -> anyhow::Result<()> {
        let entry = &self.entries[index];
        if !entry.workload.steady_state {
            return Ok(());
        }
        let journal = self.servers[entry.server].journal_bytes();
        let wanted = steady_bytes(&entry.workload, journal);
        let told = format!("passing {STEADY_VOLUMES} journal volumes");
        self.fill(index, &wanted, &told)?;
        let name = &self.entries[index].name;
        let bytes = wanted.iter().copied().fold(0, u64::saturating_add);
        self.report
            .note(format!("{name}: {} bytes were written before anything was measured", grouped(bytes)));
        Ok(())
    }
}

impl Entry {
    /// How its records were checked, in words.
    pub(super) fn told_of_checks(&self) -> String {
        if self.is_void {
            return "FAILED".into();
        }
        let has_groups = self.workload.streams.iter().any(|stream| stream.groups > 0);
        self.checked.told(self.roles.tail && has_groups)
    }
}

/// A session that ends before its time leaves no topics behind either.
impl Drop for Session {
    fn drop(&mut self) {
        for told in self.clear_away() {
            eprintln!("{told}");
        }
    }
}

/// Of each stream, what is written before a steady state is measured: more than its topics keep, and by the first as much as
/// passes the journals so and so often.
fn steady_bytes(workload: &Workload, journal_bytes: u64) -> Vec<u64> {
    let kept = |stream: &Stream| {
        let of_partition =
            stream.topic_config.get("retention.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
        of_partition.unwrap_or(0).saturating_mul(stream.partitions_all().into())
    };
    let passing = |kept: u64| kept.saturating_add(kept / 4);
    let mut wanted: Vec<u64> = workload.streams.iter().map(|stream| passing(kept(stream))).collect();
    wanted[0] = wanted[0].max(STEADY_VOLUMES.saturating_mul(journal_bytes));
    wanted
}

//! A session: brokers that are up, topics that are made, rounds that are run one by one, and a report that grows.
//!
//! Whatever goes wrong on the way ends up in the report: what was measured before is kept and marked.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use client::executor::interrupt;

use super::options::{self, Placement};
use super::written::{Checked, Written};
use super::{judge, settle};
use crate::cli::LoadArgs;
use crate::load::{self, Edge, RoundOutcome, RoundPlan, StreamPlan, StreamRecord};
use crate::machine;
use crate::measure::Spread;
use crate::pace::Pace;
use crate::report::{
    self, Busy, CleanedUp, Contender, OwnMaximum, Report, Round, Settings, Settled, Status, Summary,
};
use crate::target::{self, BrokerSide, Kind, Target};
use crate::workload::{Acks, Stream, Workload};

mod topics;

use topics::Kept;

/// How long each half of the baseline takes.
const BASELINE_TIME: Duration = Duration::from_millis(700);
/// A broker whose counts of background work stand still for so long is done with it.
const SETTLED_TIME: Duration = Duration::from_secs(3);
const SETTLE_LOOK_INTERVAL: Duration = Duration::from_millis(250);
const SETTLE_TIME_MAX: Duration = Duration::from_mins(2);

/// What takes part in the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub produce: bool,
    pub tail: bool,
    pub drain: bool,
}

/// One target under one workload, with all that it did so far.
struct Entry {
    name: String,
    /// The broker that it has to do with.
    server: usize,
    workload: Workload,
    roles: Roles,
    /// Of each stream; none between turns.
    streams: Vec<Written>,
    /// How often topics were made for it.
    turn: u32,
    checked: Checked,
    rounds: Vec<Round>,
    merged: Vec<StreamRecord>,
    cleaned_up: Option<CleanedUp>,
    /// How the disk came to rest before the next round.
    settled: Option<Settled>,
    own_maximum: Option<OwnMaximum>,
    /// A round did not end as it should: what was sent is not known to the last record.
    is_cut: bool,
    is_void: bool,
}

/// A broker, and what turns have left there.
struct Server {
    kind: Kind,
    target: Target,
    /// The earliest first.
    kept: VecDeque<Kept>,
    /// That it has ended was told, with a round that met it.
    is_end_told: bool,
}

/// Brokers, topics and the report.
pub struct Session {
    pub report: Report,
    arguments: LoadArgs,
    servers: Vec<Server>,
    entries: Vec<Entry>,
    /// What was asked to be made, by target: to be deleted again, however the session ends.
    topics: Vec<(usize, Vec<String>)>,
    load_cores: Vec<Option<usize>>,
    /// Where the brokers that were started have their directories.
    directory: Option<PathBuf>,
    run: u32,
    epoch: Instant,
    next_worker: u32,
}

impl Session {
    /// Looks at the machine, measures it bare, starts or finds the brokers.
    pub fn open(mode: &str, arguments: &LoadArgs, kinds: &[Kind]) -> anyhow::Result<Self> {
        options::check(arguments, kinds)?;
        let placement = options::placement(&arguments.target);
        let mut report = Report::begin(mode, settings(arguments, &placement));
        let starts_any = kinds.iter().any(|kind| !matches!(kind, Kind::Running(_)));
        let (directory, disk) = if starts_any {
            let (directory, disk) = options::directory(&arguments.target)?;
            if disk.is_memory() {
                report.note("the data is in memory (tmpfs): a synced write means nothing".into());
            }
            (directory, Some(disk))
        } else {
            (std::env::temp_dir(), None)
        };
        if starts_any && !arguments.target.no_baseline {
            let measured = machine::measure_baseline(&directory, BASELINE_TIME);
            report.baseline = Some(measured.context("the bare disk can't be measured")?);
        }
        report.disk = disk;
        let mut servers = Vec::new();
        let admins = options::admins(&arguments.target, kinds)?;
        for (kind, admin) in kinds.iter().zip(admins) {
            let given = match kind {
                Kind::Iolite => arguments.target.settings.as_slice(),
                Kind::Kafka => &arguments.target.kafka_settings,
                Kind::Tansu | Kind::Running(_) => &[],
            };
            let local = options::local(&arguments.target, &directory, &placement, given, admin);
            let target = Target::open(kind, &local)?;
            servers.push(Server { kind: kind.clone(), target, kept: VecDeque::new(), is_end_told: false });
        }
        if placement.broker_cores.is_none() && starts_any {
            report.note("broker and load were left to the kernel's scheduler".into());
        }
        if cfg!(debug_assertions) {
            report
                .note("a debug build of iolite-bench: the generator costs many times what it should".into());
        }
        Ok(Self {
            report,
            arguments: arguments.clone(),
            servers,
            entries: Vec::new(),
            topics: Vec::new(),
            load_cores: placement.load_cores,
            directory: starts_any.then_some(directory),
            run: rand::random(),
            epoch: Instant::now(),
            next_worker: 0,
        })
    }

    /// Makes the topics of a workload, and the backlog that its readers want.
    pub fn prepare(
        &mut self,
        name: &str,
        server: usize,
        workload: Workload,
        roles: Roles,
    ) -> anyhow::Result<usize> {
        let index = self.entries.len();
        let streams = self.make_topics((index, 1), name, server, &workload)?;
        if workload.streams.iter().any(|stream| stream.acks == Acks::None) {
            self.report.note(
                "acks 0: nobody confirms a record; its latency ends when it is handed to the connection"
                    .into(),
            );
        }
        let entry = Entry {
            name: name.to_owned(),
            server,
            workload,
            roles,
            streams,
            turn: 1,
            checked: Checked::default(),
            rounds: Vec::new(),
            merged: Vec::new(),
            cleaned_up: None,
            settled: None,
            own_maximum: None,
            is_cut: false,
            is_void: false,
        };
        self.entries.push(entry);
        self.fill_backlog(index)?;
        self.reach_steady_state(index)?;
        Ok(index)
    }

    /// Runs one round of an entry. False when the session is to end: something went wrong, and the report says what.
    pub fn round(&mut self, index: usize, label: &str) -> anyhow::Result<bool> {
        if interrupt::was_asked() {
            bail!("interrupted");
        }
        let plan = self.plan(index, self.arguments.warm_up, self.arguments.duration);
        let (before, after, busy, outcome) = self.run(index, plan, label)?;
        let entry = &mut self.entries[index];
        let asked = |stream: &Stream| {
            let asked = stream.rate.filter(|_| entry.roles.produce);
            (stream.name.clone(), asked)
        };
        let streams: Vec<_> = entry.workload.streams.iter().map(asked).collect();
        let sum = |figure: fn(&StreamRecord) -> u64| outcome.streams.iter().map(figure).sum::<u64>();
        let records = sum(|stream| stream.acked.records + stream.drained.records);
        let bytes = sum(|stream| stream.acked.bytes + stream.drained.bytes);
        let broker = BrokerSide::between(&before, &after, records, bytes);
        let mut round = Round::of(&outcome, &streams, broker, busy);
        round.settled = entry.settled.take();
        if outcome.failure.is_none() {
            judge::rates(&mut self.report, &entry.name, &round);
            if entry.roles.tail {
                judge::readers(&mut self.report, &entry.name, &round, &entry.workload);
            }
        }
        judge::broker_side(&mut self.report, &entry.name, &before, &after);
        let is_whole = self.take_outcome(index, &outcome);
        let entry = &mut self.entries[index];
        entry.rounds.push(round);
        entry.merged.resize_with(outcome.streams.len(), StreamRecord::default);
        for (merged, stream) in entry.merged.iter_mut().zip(outcome.streams) {
            // Lanes and offsets are kept by stream; what is merged here are samples.
            merged.merge(StreamRecord {
                lanes: HashMap::new(),
                offsets: HashMap::new(),
                followed: HashMap::new(),
                ..stream
            });
        }
        Ok(is_whole)
    }

    /// Before a turn of an entry: waits until what others' turns have left to write is on the disk, but no longer than `time_max`.
    pub fn settle_before(&mut self, index: usize, time_max: Duration) -> anyhow::Result<()> {
        let disk = machine::DiskWrites::of(self.report.disk.as_ref());
        if time_max.is_zero() || !disk.is_known() {
            let why = if disk.is_known() { "--settle-max 0" } else { "no disk here tells what it writes" };
            self.report.note(format!(
                "turns followed each other at once, whatever the last had left to write ({why})"
            ));
            return Ok(());
        }
        let targets: Vec<&Target> = self.servers.iter().map(|server| &server.target).collect();
        let settled = settle::settle(self.directory.as_deref(), &disk, &targets, time_max)?;
        self.entries[index].settled = Some(settled);
        Ok(())
    }

    /// Waits until the broker of an entry, which must tell of it, has nothing left to do in the background.
    pub fn settle(&self, index: usize) -> anyhow::Result<()> {
        let target = &self.servers[self.entries[index].server].target;
        let (began, mut last) = (Instant::now(), target.counters());
        let mut still_since = Instant::now();
        while still_since.elapsed() < SETTLED_TIME {
            if began.elapsed() > SETTLE_TIME_MAX {
                bail!("the broker is not done with its work in the background after {SETTLE_TIME_MAX:?}");
            }
            if interrupt::was_asked() {
                bail!("interrupted");
            }
            std::thread::park_timeout(SETTLE_LOOK_INTERVAL);
            let now = target.counters();
            // Who is too busy to tell is busy.
            if !now.tells_of_background() || !now.is_still_as(&last) {
                (last, still_since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Notes what the broker of an entry, which no other has, has cleaned up, once that is enough.
    pub fn await_cleanup(
        &mut self,
        index: usize,
        is_enough: impl Fn(&CleanedUp) -> bool,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let entry = &mut self.entries[index];
            let done = CleanedUp::of(&self.servers[entry.server].target.counters());
            entry.cleaned_up = done.or(entry.cleaned_up);
            if done.as_ref().is_some_and(&is_enough) {
                return Ok(());
            }
            if interrupt::was_asked() {
                bail!("interrupted");
            }
            if began.elapsed() > SETTLE_TIME_MAX {
                let told =
                    format!("{}: less was cleaned up than it is about: more has to be written", entry.name);
                self.report.problem(Status::Partial, told);
                return Ok(());
            }
            std::thread::park_timeout(SETTLE_LOOK_INTERVAL);
        }
    }

    /// The last round of an entry.
    pub fn last_round(&self, index: usize) -> Option<&Round> {
        self.entries[index].rounds.last()
    }

    /// Of each stream of an entry: the median of what was acknowledged a second.
    pub fn median_rates(&self, index: usize) -> Vec<f64> {
        let entry = &self.entries[index];
        let rates = |stream: usize| {
            let of_rounds = entry.rounds.iter().map(|round| round.streams[stream].acked_per_second);
            Spread::of(&of_rounds.collect::<Vec<_>>()).map_or(0.0, |spread| spread.median)
        };
        (0..entry.workload.streams.len()).map(rates).collect()
    }

    /// Says of an entry that its rate is a part of its contender's own maximum.
    pub fn set_own_maximum(&mut self, index: usize, own_maximum: OwnMaximum) {
        self.entries[index].own_maximum = Some(own_maximum);
    }

    /// From now on an entry's load comes at another rate.
    pub fn set_rate(&mut self, index: usize, rate: f64) {
        let workload = self.entries[index].workload.clone();
        self.entries[index].workload = workload.paced(Pace::PerSecond(rate));
    }

    /// Ends as the rounds did: what was measured before something went wrong is kept and marked; only where nothing was,
    /// there is no report.
    pub fn end(mut self, outcome: anyhow::Result<()>) -> anyhow::Result<Report> {
        if let Err(error) = outcome {
            if self.entries.iter().all(|entry| entry.rounds.is_empty()) {
                return Err(error);
            }
            self.report.problem(Status::Partial, format!("{error:#}"));
        }
        Ok(self.finish())
    }

    /// Checks every record, stops the brokers, and hands out the report.
    fn finish(mut self) -> Report {
        self.check_rest();
        self.note_deaths();
        self.servers.iter_mut().for_each(|server| server.target.disclose());
        for entry in &self.entries {
            if entry.rounds.is_empty() {
                self.report.note(format!("{}: it had no turn", entry.name));
                continue;
            }
            let checked = entry.told_of_checks();
            judge::generator(&mut self.report, &entry.name, &entry.rounds);
            judge::others(&mut self.report, &entry.name, &entry.rounds);
            judge_drains(&mut self.report, entry);
            let summary = Summary::of(&entry.rounds, &entry.merged);
            let facts = self.servers[entry.server].target.facts.clone();
            self.report.contenders.push(Contender {
                name: entry.name.clone(),
                facts,
                workload: Some(entry.workload.clone()),
                rounds: entry.rounds.clone(),
                summary,
                checked,
                cleaned_up: entry.cleaned_up,
                own_maximum: entry.own_maximum,
            });
        }
        let is_all_started = self.servers.iter().all(|server| !matches!(server.kind, Kind::Running(_)));
        judge::settling(&mut self.report, is_all_started);
        for told in self.clear_away() {
            self.report.note(told);
        }
        std::mem::take(&mut self.report)
    }

    fn plan(&mut self, index: usize, warm_up: Duration, measured: Duration) -> RoundPlan {
        let entry = &self.entries[index];
        let mut next_worker = self.next_worker;
        let stream = |(stream, written): (&Stream, &Written)| {
            let producers = if entry.roles.produce { stream.producers } else { 0 };
            let first_worker = next_worker;
            next_worker += producers;
            StreamPlan {
                stream: stream.clone(),
                layout: written.layout.clone(),
                producers,
                first_worker,
                tail_readers: entry.roles.tail && stream.groups > 0,
                drain_readers: if entry.roles.drain { drain_readers(stream, entry.roles) } else { 0 },
                backlog_ends: written.backlog_ends.clone(),
            }
        };
        let streams = entry.workload.streams.iter().zip(&entry.streams).map(stream).collect();
        self.next_worker = next_worker;
        let cores = self.load_cores.clone();
        RoundPlan { run: self.run, epoch: self.epoch, warm_up, measured, streams, cores }
    }

    /// Runs a round; what the broker had used before and after it, and how long the machine was busy meanwhile.
    fn run(
        &mut self,
        index: usize,
        plan: RoundPlan,
        label: &str,
    ) -> anyhow::Result<(target::Counters, target::Counters, Busy, RoundOutcome)> {
        let server = self.entries[index].server;
        let target = &self.servers[server].target;
        let (mut before, mut after) = (target::Counters::default(), target::Counters::default());
        let (mut busy_before, mut busy) = (busy_now(), Busy::default());
        let on_edge = |edge| match edge {
            Edge::Begin => (before, busy_before) = (target.counters(), busy_now()),
            Edge::End => {
                after = target.counters();
                let now = busy_now();
                busy = Busy {
                    machine_seconds: now.machine_seconds - busy_before.machine_seconds,
                    stolen_seconds: now.stolen_seconds - busy_before.stolen_seconds,
                    tool_seconds: now.tool_seconds - busy_before.tool_seconds,
                    is_broker_here: target.is_here(),
                };
            }
        };
        let is_quiet = self.arguments.output.quiet;
        let on_tick = |tick: &load::Tick| {
            if !is_quiet {
                report::progress(label, tick);
            }
        };
        let outcome = load::run_round(target.address, plan, on_edge, on_tick);
        if !is_quiet {
            report::clear_progress();
        }
        let server = &mut self.servers[server];
        let died = server.target.ended();
        match outcome {
            Ok(mut outcome) => {
                if let (Some(failure), Some(died)) = (&mut outcome.failure, died) {
                    *failure = format!("{died}\n(the load saw: {failure})");
                    server.is_end_told = true;
                }
                Ok((before, after, busy, outcome))
            }
            Err(error) => {
                server.is_end_told |= died.is_some();
                Err(anyhow!(died.unwrap_or_else(|| error.to_string())))
            }
        }
    }

    /// Takes up what is to be checked later; false where the round failed.
    fn take_outcome(&mut self, index: usize, outcome: &RoundOutcome) -> bool {
        let entry = &mut self.entries[index];
        entry.is_cut |= outcome.failure.is_some();
        entry.is_void |= !outcome.faults.is_empty();
        let streams = entry.streams.iter_mut().zip(&entry.workload.streams).take(outcome.streams.len());
        for (number, (written, stream)) in streams.enumerate() {
            written.take(stream, outcome, number);
        }
        for line in outcome.faults.lines() {
            self.report.problem(Status::Void, format!("{}: {line}", entry.name));
        }
        if let Some(failure) = &outcome.failure {
            self.report.problem(Status::Partial, format!("{}: {failure}", entry.name));
        }
        outcome.failure.is_none() && outcome.faults.is_empty()
    }
}

/// A reader at least, where the mode is all about draining.
fn drain_readers(stream: &Stream, roles: Roles) -> u32 {
    match stream.backlog_bytes {
        0 => 0,
        _ if roles.produce => stream.catch_up_readers,
        _ => stream.catch_up_readers.max(1),
    }
}

/// Says where readers of a backlog were too slow to have a figure.
fn judge_drains(report: &mut Report, entry: &Entry) {
    let drains = |stream: &&Stream| entry.roles.drain && drain_readers(stream, entry.roles) > 0;
    for stream in entry.workload.streams.iter().filter(drains) {
        let rounds = entry.rounds.iter().flat_map(|round| &round.streams);
        let mut of_stream = rounds.filter(|round| round.name == stream.name);
        if of_stream.all(|round| round.drained_per_second == 0.0) {
            let name = &entry.name;
            report.note(format!(
                "{name}: nothing of the backlog of {} was read while it was measured",
                stream.name
            ));
        }
    }
}

/// Seconds of a core, since the machine and this process started.
fn busy_now() -> Busy {
    let mut own = target::Counters::default();
    own.of_process(std::process::id());
    let machine = target::of_machine();
    Busy {
        machine_seconds: machine.busy_seconds,
        stolen_seconds: machine.stolen_seconds,
        tool_seconds: own.cpu_seconds.unwrap_or_default(),
        is_broker_here: true,
    }
}

fn settings(arguments: &LoadArgs, placement: &Placement) -> Settings {
    Settings {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        rounds: arguments.rounds,
        warm_up_seconds: arguments.warm_up.as_secs_f64(),
        round_seconds: arguments.duration.as_secs_f64(),
        broker_cores: placement.broker_cores.clone(),
        load_cores: placement.load_cores.iter().copied().collect(),
        load_threads: placement.load_cores.len(),
        memory_bytes: arguments.target.memory_mib << 20,
        limit_bytes: arguments.target.limit_mib.map(|mib| mib << 20),
    }
}

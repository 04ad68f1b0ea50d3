//! The report as it is saved: everything that somebody who doubts it would ask for.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::load::RoundOutcome;
use crate::machine::{Baseline, Disk, Machine};
use crate::measure::{Latencies, Percentiles, Spread};
use crate::target::{BrokerSide, Counters, Facts};
use crate::workload::Workload;

/// Which layout a saved report has; another is refused.
pub const FORMAT: u32 = 1;
/// Below this share of the asked rate, the rate was missed.
const RATE_MET: f64 = 0.98;
/// Above this share of the asked rate, a round has taken in what was due before it.
const RATE_OVERRUN: f64 = 1.02;
/// Fewer records too many are those that a moment's delay moves into a short round.
const OVERRUN_RECORDS_MIN: f64 = 20.0;
/// From here on the generator has no time left that could be the broker's.
pub const GENERATOR_BUSY: f64 = 0.95;

/// How a run ended, the worst last.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should.
    #[default]
    Complete,
    /// A rate that was asked for was not reached.
    RateMissed,
    /// It ended before its time.
    Partial,
    /// Records were lost, came twice or out of order: no figure of the run counts.
    Void,
}

/// How the tool was told to run.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Settings {
    pub command: String,
    pub rounds: u32,
    pub warm_up_seconds: f64,
    pub round_seconds: f64,
    /// None leaves them to the kernel.
    pub broker_cores: Option<Vec<usize>>,
    pub load_cores: Option<Vec<usize>>,
    pub load_threads: usize,
    /// What each broker may use, where it has a setting for that.
    pub memory_bytes: u64,
    /// All the memory of each broker, page cache included, where a control group limited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// Everything of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    pub format: u32,
    pub tool: String,
    pub commit: String,
    pub mode: String,
    /// Seconds since 1970.
    pub started_at: u64,
    pub status: Status,
    /// Why the run is void, partial or short of its rate.
    pub problems: Vec<String>,
    /// What should be known when its figures are read.
    pub notes: Vec<String>,
    pub settings: Settings,
    pub machine: Machine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    pub contenders: Vec<Contender>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<SweepStep>,
    /// What a sweep was to keep: p99 in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_p99_us: Option<f64>,
}

/// One target under one workload.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Contender {
    pub name: String,
    pub facts: Facts,
    pub workload: Option<Workload>,
    pub rounds: Vec<Round>,
    pub summary: Summary,
    /// How its records were checked.
    pub checked: String,
    /// What was cleaned up of its topics in all, where the mode is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleaned_up: Option<CleanedUp>,
    /// Where its rate is a part of what it has reached itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_maximum: Option<OwnMaximum>,
}

/// A rate that is so many percent of a contender's own maximum.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct OwnMaximum {
    pub percent: u32,
    /// The median of what it acknowledged a second when it went as fast as it could.
    pub most_per_second: f64,
}

/// What a broker cleaned up in the rounds of a contender, between them, and after the last one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct CleanedUp {
    /// Looked through by compaction.
    pub compacted_bytes: u64,
    /// By retention.
    pub deleted_segments: u64,
}

impl CleanedUp {
    /// Since a broker was started; none where it did not tell.
    pub fn of(counters: &Counters) -> Option<Self> {
        Some(Self {
            compacted_bytes: counters.compacted_bytes?,
            deleted_segments: counters.deleted_segments?,
        })
    }
}

/// One measured round.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Round {
    pub seconds: f64,
    pub streams: Vec<StreamRound>,
    pub broker: BrokerSide,
    /// Of all cores, the generator's among them.
    pub machine_busy_seconds: f64,
    /// Of those, neither this broker's nor the generator's: other processes, and the kernel on nobody's bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_busy_seconds: Option<f64>,
    /// Time that the machine wanted and its host gave to others.
    #[serde(default)]
    pub stolen_seconds: f64,
    /// The busiest generator thread, of 1.
    pub generator_busy: f64,
    /// How the disk came to rest before it, where others had a turn before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    pub timeline: Vec<TimePoint>,
}

/// How long it was waited for what other turns had left to write.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Settled {
    pub seconds: f64,
    /// Otherwise the wait was over before the disk was quiet.
    pub is_quiet: bool,
}

/// Who was busy while a round was measured, in seconds of a core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy {
    pub machine_seconds: f64,
    pub stolen_seconds: f64,
    /// This process.
    pub tool_seconds: f64,
    /// What the broker used is a part of what this machine was busy with.
    pub is_broker_here: bool,
}

/// What one stream did in a round.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StreamRound {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_per_second: Option<f64>,
    pub acked_per_second: f64,
    pub acked_mb_per_second: f64,
    pub read_per_second: f64,
    pub read_mb_per_second: f64,
    pub drained_per_second: f64,
    pub drained_mb_per_second: f64,
    pub records_per_batch: f64,
    /// Due, and never handed on: no latency counts for them.
    pub unsent: u64,
    pub acks: Percentiles,
    pub ends: Percentiles,
    pub fetches: Percentiles,
    pub lateness: Percentiles,
}

/// A second of the load, warm-up included; latencies of what ended in it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct TimePoint {
    pub seconds: f64,
    pub records_per_second: f64,
    pub mb_per_second: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub max_us: Option<f64>,
}

/// All rounds of a contender together.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Summary {
    pub streams: Vec<StreamSummary>,
    pub cpu_seconds_per_gb: Option<Spread>,
    pub cpu_seconds_per_million_records: Option<Spread>,
    pub resident_bytes: Option<u64>,
}

/// One stream over all rounds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StreamSummary {
    pub name: String,
    pub acked_per_second: Option<Spread>,
    pub acked_mb_per_second: Option<Spread>,
    pub read_per_second: Option<Spread>,
    pub read_mb_per_second: Option<Spread>,
    pub drained_per_second: Option<Spread>,
    pub drained_mb_per_second: Option<Spread>,
    /// Over the p50 and p99 of each round.
    pub ack_p50_us: Option<Spread>,
    pub ack_p99_us: Option<Spread>,
    pub end_p50_us: Option<Spread>,
    pub end_p99_us: Option<Spread>,
    /// Of the samples of all rounds together.
    pub acks: Percentiles,
    pub ends: Percentiles,
    pub fetches: Percentiles,
    pub lateness: Percentiles,
    pub ack_histogram: Latencies,
    pub end_histogram: Latencies,
}

/// One step of a sweep.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SweepStep {
    pub contender: String,
    pub asked_per_second: f64,
    pub acked_per_second: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub max_us: f64,
    pub generator_busy: f64,
    /// Whether rate and latency were kept.
    pub is_kept: bool,
}

impl Report {
    /// An empty one, begun now.
    pub fn begin(mode: &str, settings: Settings) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            format: FORMAT,
            tool: format!("iolite-bench {}", env!("CARGO_PKG_VERSION")),
            commit: env!("IOLITE_BENCH_COMMIT").to_owned(),
            mode: mode.to_owned(),
            started_at: now.as_secs(),
            settings,
            machine: Machine::look(),
            ..Self::default()
        }
    }

    /// Notes a problem; the worst kind of all decides the status.
    pub fn problem(&mut self, status: Status, told: String) {
        self.status = self.status.max(status);
        if !self.problems.contains(&told) {
            self.problems.push(told);
        }
    }

    /// Notes something once.
    pub fn note(&mut self, told: String) {
        if !self.notes.contains(&told) {
            self.notes.push(told);
        }
    }
}

impl Round {
    /// Of what the load noted; `names` and `asked` are the streams'.
    pub fn of(
        outcome: &RoundOutcome,
        streams: &[(String, Option<f64>)],
        broker: BrokerSide,
        busy: Busy,
    ) -> Self {
        let seconds = outcome.seconds.max(1e-9);
        let stream = |(record, (name, asked)): (&crate::load::StreamRecord, &(String, Option<f64>))| {
            let per_second = |count: u64| count as f64 / seconds;
            let megabytes = |bytes: u64| bytes as f64 / 1e6 / seconds;
            let all_records: u64 = record.lanes.values().sum();
            StreamRound {
                name: name.clone(),
                asked_per_second: *asked,
                acked_per_second: per_second(record.acked.records),
                acked_mb_per_second: megabytes(record.acked.bytes),
                read_per_second: per_second(record.read.records),
                read_mb_per_second: megabytes(record.read.bytes),
                drained_per_second: per_second(record.drained.records),
                drained_mb_per_second: megabytes(record.drained.bytes),
                records_per_batch: all_records as f64 / record.batches.max(1) as f64,
                unsent: record.unsent,
                acks: record.acks.percentiles(),
                ends: record.ends.percentiles(),
                fetches: record.fetches.percentiles(),
                lateness: record.lateness.percentiles(),
            }
        };
        let mut before = 0.0;
        let point = |tick: &crate::load::Tick| {
            let length = (tick.at_seconds - before).max(1e-3);
            before = tick.at_seconds;
            // What is shown is what the round is about: acks, else what was read along, else what was drained.
            let (volume, latencies) = if tick.acked.records > 0 {
                (tick.acked, &tick.acks)
            } else if tick.read.records > 0 {
                (tick.read, &tick.ends)
            } else {
                (tick.drained, &tick.ends)
            };
            TimePoint {
                seconds: tick.at_seconds,
                records_per_second: volume.records as f64 / length,
                mb_per_second: volume.bytes as f64 / 1e6 / length,
                p50_us: latencies.quantile_us(0.5),
                p99_us: latencies.quantile_us(0.99),
                max_us: latencies.quantile_us(1.0),
            }
        };
        Self {
            seconds: outcome.seconds,
            streams: outcome.streams.iter().zip(streams).map(stream).collect(),
            broker,
            machine_busy_seconds: busy.machine_seconds,
            others_busy_seconds: broker
                .cpu_seconds
                .filter(|_| busy.is_broker_here)
                .map(|own| (busy.machine_seconds - own - busy.tool_seconds).max(0.0)),
            stolen_seconds: busy.stolen_seconds,
            generator_busy: outcome.generator_busy,
            settled: None,
            timeline: outcome.ticks.iter().map(point).collect(),
        }
    }

    /// The streams whose readers fell behind what came in, with what each of them would have had to read a second.
    pub fn fallen_behind<'a>(
        &'a self,
        workload: &'a Workload,
    ) -> impl Iterator<Item = (&'a StreamRound, f64)> {
        self.streams.iter().zip(&workload.streams).filter_map(|(round, stream)| {
            let wanted = round.acked_per_second * f64::from(stream.groups);
            (round.read_per_second < wanted * RATE_MET).then_some((round, wanted))
        })
    }

    /// The streams whose asked rate was not reached.
    pub fn missed(&self) -> impl Iterator<Item = (&StreamRound, f64)> {
        self.streams.iter().filter_map(|stream| {
            let asked = stream.asked_per_second?;
            (stream.acked_per_second < asked * RATE_MET).then_some((stream, asked))
        })
    }

    /// The streams of which clearly more was acknowledged than was asked for meanwhile: what was due before came in late.
    pub fn overrun(&self) -> impl Iterator<Item = (&StreamRound, f64)> {
        self.streams.iter().filter_map(|stream| {
            let asked = stream.asked_per_second?;
            let beyond = (stream.acked_per_second - asked) * self.seconds;
            let is_clear = stream.acked_per_second > asked * RATE_OVERRUN && beyond > OVERRUN_RECORDS_MIN;
            is_clear.then_some((stream, asked))
        })
    }
}

impl Summary {
    /// Of these rounds, whose samples `merged` holds together, stream by stream.
    pub fn of(rounds: &[Round], merged: &[crate::load::StreamRecord]) -> Self {
        let broker = |figure: fn(&BrokerSide) -> Option<f64>| {
            Spread::of(&rounds.iter().filter_map(|round| figure(&round.broker)).collect::<Vec<_>>())
        };
        let stream = |(index, record): (usize, &crate::load::StreamRecord)| {
            let over = |figure: &dyn Fn(&StreamRound) -> Option<f64>| {
                let of_round = |round: &Round| figure(round.streams.get(index)?);
                Spread::of(&rounds.iter().filter_map(of_round).collect::<Vec<_>>())
            };
            // A round that stalled counts as what it was: only what no round did at all is left out.
            let rate = |figure: fn(&StreamRound) -> f64| {
                over(&|round| Some(figure(round))).filter(|spread| spread.most > 0.0)
            };
            StreamSummary {
                name: rounds.first().map(|round| round.streams[index].name.clone()).unwrap_or_default(),
                acked_per_second: rate(|round| round.acked_per_second),
                acked_mb_per_second: rate(|round| round.acked_mb_per_second),
                read_per_second: rate(|round| round.read_per_second),
                read_mb_per_second: rate(|round| round.read_mb_per_second),
                drained_per_second: rate(|round| round.drained_per_second),
                drained_mb_per_second: rate(|round| round.drained_mb_per_second),
                ack_p50_us: over(&|round| round.acks.get("p50")),
                ack_p99_us: over(&|round| round.acks.get("p99")),
                end_p50_us: over(&|round| round.ends.get("p50")),
                end_p99_us: over(&|round| round.ends.get("p99")),
                acks: record.acks.percentiles(),
                ends: record.ends.percentiles(),
                fetches: record.fetches.percentiles(),
                lateness: record.lateness.percentiles(),
                ack_histogram: record.acks.clone(),
                end_histogram: record.ends.clone(),
            }
        };
        Self {
            streams: merged.iter().enumerate().map(stream).collect(),
            cpu_seconds_per_gb: broker(|side| side.cpu_seconds_per_gb),
            cpu_seconds_per_million_records: broker(|side| side.cpu_seconds_per_million_records),
            resident_bytes: rounds.iter().filter_map(|round| round.broker.resident_bytes).max(),
        }
    }
}

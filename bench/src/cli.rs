//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::limits::{ROUNDS_MAX, SWEEP_STEPS_MAX};
use crate::modes::Scenario;

/// Load, latency and reports against any broker that speaks Kafka's protocol.
///
/// With no broker named, one is started on a directory and ports of its own, and cleared away afterwards. Exit codes: 0
/// complete, 1 could not run, 2 wrong arguments, 3 void (records lost, repeated or out of order), 4 partial, 5 an asked
/// rate was not reached.
#[derive(Debug, Parser)]
#[command(name = "iolite-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    pub mode: Mode,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Produce, and measure from when a record was due until it is acknowledged.
    Produce(LoadArgs),
    /// Write a backlog and drain it as fast as it goes; or, with --tail, read along at the end of a log.
    Consume(ConsumeArgs),
    /// Produce and read along: from when a record was due until it is read, by one clock.
    EndToEnd(LoadArgs),
    /// All that the workload has at the same time: producers, groups that follow, readers that catch up.
    Mixed(LoadArgs),
    /// Raise the rate step by step: the highest that keeps a latency objective, and the curve to it.
    Sweep(SweepArgs),
    /// The same load under acks 0, 1 and all, synced and relaxed: what each choice costs.
    Tradeoff(TradeoffArgs),
    /// The same load with compaction and retention at work, and with neither: what they cost producers.
    Cleanup(LoadArgs),
    /// Two or more brokers in turn, round by round, with the ratios between them.
    Compare(CompareArgs),
    /// Show saved reports, side by side.
    Report(ReportArgs),
    /// Say where Kafka's jars are, which `compare --peer kafka` uses; Maven fetches them the first time.
    KafkaJars {
        /// A directory with them, instead of those that Maven fetches.
        #[arg(long)]
        kafka_jars: Option<PathBuf>,
    },
    /// List the workloads that are built in.
    Workloads {
        /// Print this one's file.
        name: Option<String>,
    },
}

/// When a record counts as written on the broker's side (`flush.messages`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// As the broker does by itself.
    #[default]
    Default,
    /// Every record is on stable media before its ack.
    Synced,
    /// The broker flushes when it sees fit.
    Relaxed,
}

impl Flush {
    /// The config of a topic, if it needs one.
    pub fn config(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Synced => Some("1"),
            Self::Relaxed => Some("9223372036854775807"),
        }
    }
}

/// What every run is told.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// A built-in workload's name, or a TOML file.
    #[arg(long, short, default_value = "quick")]
    pub workload: String,
    /// How long each round is measured (10s, 2m, 500ms).
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub duration: Duration,
    /// Loaded, but not measured, before each round.
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub warm_up: Duration,
    /// How many rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub rounds: u32,
    /// Open loop: records a second of all producers, instead of the workload's.
    #[arg(long, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    /// Closed loop: records open at each producer, instead of the workload's rate.
    #[arg(long)]
    pub in_flight: Option<u32>,
    /// Instead of the workload's.
    #[arg(long)]
    pub producers: Option<u32>,
    /// Instead of the workload's.
    #[arg(long)]
    pub partitions: Option<u32>,
    /// Instead of the workload's.
    #[arg(long)]
    pub value_bytes: Option<usize>,
    /// Instead of the workload's: 0, 1 or all.
    #[arg(long)]
    pub acks: Option<String>,
    /// Written before a backlog is drained, instead of the workload's.
    #[arg(long)]
    pub backlog_bytes: Option<u64>,
    /// Whether topics are made with a `flush.messages` of their own.
    #[arg(long, value_enum, default_value_t)]
    pub flush: Flush,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which broker, and how it is started.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// A broker that runs already: HOST:PORT[,HOST:PORT...].
    #[arg(long)]
    pub bootstrap: Option<String>,
    /// Where a broker that runs already has its /metrics: HOST:PORT or a URL; BOOTSTRAP=HOST:PORT where several run.
    #[arg(long)]
    pub admin: Vec<String>,
    /// The iolite-broker to start, instead of the one beside this binary or on the path.
    #[arg(long)]
    pub iolite_binary: Option<PathBuf>,
    /// A directory with Kafka's jars, instead of those that Maven fetches.
    #[arg(long)]
    pub kafka_jars: Option<PathBuf>,
    /// The tansu to start, instead of the one that cargo builds from crates.io the first time.
    #[arg(long)]
    pub tansu_binary: Option<PathBuf>,
    /// A setting of an Iolite that is started: KEY=VALUE. May be repeated.
    #[arg(long = "set")]
    pub settings: Vec<String>,
    /// A property of a Kafka that is started: KEY=VALUE. May be repeated.
    #[arg(long = "set-kafka")]
    pub kafka_settings: Vec<String>,
    /// Shards of an Iolite that is started; one for each of its cores unless given.
    #[arg(long)]
    pub shards: Option<u16>,
    /// Cores of a broker that is started (0,2-3); the first half of the machine's unless given.
    #[arg(long, value_parser = cores)]
    pub broker_cores: Option<Cores>,
    /// Cores of the load, a thread each; the last of the machine's unless given.
    #[arg(long, value_parser = cores)]
    pub load_cores: Option<Cores>,
    /// Leave broker and load to the kernel's scheduler.
    #[arg(long, conflicts_with_all = ["broker_cores", "load_cores"])]
    pub unpinned: bool,
    /// MiB that each started broker may use: Iolite's memory.bytes, Kafka's heap. With --bootstrap: what that broker has, for
    /// workloads whose backlog is a multiple of it.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub memory_mib: u64,
    /// MiB of all memory of each started broker, what the kernel's page cache holds for it included: a control group, which takes root.
    /// More than --memory-mib, which is what the broker is told. Backlogs that are a multiple of a broker's memory go by it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub limit_mib: Option<u64>,
    /// Where the directories of started brokers are made; the system's for temporary files unless that is memory.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Accept a directory in memory (tmpfs), where a synced write means nothing.
    #[arg(long)]
    pub allow_tmpfs: bool,
    /// Don't measure the bare disk and the loopback first.
    #[arg(long)]
    pub no_baseline: bool,
}

/// Where results go.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Write PATH.json and PATH.html; a name with the mode and the time unless given.
    #[arg(long, short)]
    pub out: Option<PathBuf>,
    /// No progress, only the result.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Of reading.
#[derive(Clone, Debug, Args)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// No backlog: readers at the end of the log, while records come in.
    #[arg(long, conflicts_with = "backlog_bytes")]
    pub tail: bool,
}

/// Of a sweep.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// The first rate; a tenth of the workload's unless given.
    #[arg(long)]
    pub from: Option<f64>,
    /// Each step's rate is the one before times this.
    #[arg(long, default_value_t = 1.5)]
    pub factor: f64,
    /// The most steps.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=i64::from(SWEEP_STEPS_MAX)))]
    pub steps: u32,
    /// The objective: p99 from due to acknowledged, in milliseconds.
    #[arg(long, default_value_t = 10.0)]
    pub p99_ms: f64,
    /// Sweep these brokers, one after the other: iolite, kafka, tansu or HOST:PORT.
    #[arg(long)]
    pub target: Vec<String>,
}

/// Of a comparison.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// Iolite, synced and relaxed, beside this broker: kafka, which is so too, or tansu, which knows neither.
    #[arg(long, conflicts_with = "target")]
    pub peer: Option<String>,
    /// One that takes part, as [NAME=]BROKER[,synced|relaxed|default]; BROKER is iolite, kafka, tansu or HOST:PORT. Repeat it.
    #[arg(long)]
    pub target: Vec<String>,
    /// What is done in each turn: as the mode of that name.
    #[arg(long, value_enum, default_value_t)]
    pub scenario: Scenario,
    /// After the rounds as fast as it goes, each once more at these percentages of what was the most for itself (10,50,95).
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100))]
    pub own_maximum: Vec<u32>,
    #[command(flatten)]
    pub turns: TurnArgs,
}

/// Of a run under several choices.
#[derive(Clone, Debug, Args)]
pub struct TradeoffArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub turns: TurnArgs,
}

/// Of contenders that take turns.
#[derive(Clone, Debug, Args)]
pub struct TurnArgs {
    /// How long to wait, before each turn, for the disk to be quiet at most; 0s: not at all.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub settle_max: Duration,
}

/// Of showing.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Reports that were saved.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Write PATH.html with all of them.
    #[arg(long, short)]
    pub out: Option<PathBuf>,
}

/// A list of cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

fn cores(text: &str) -> Result<Cores, String> {
    let number = |word: &str| word.trim().parse::<usize>().map_err(|_| format!("{word:?} is no core"));
    let mut found = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => found.extend(number(first)?..=number(last)?.min(number(first)? + 4_096)),
            None => found.push(number(part)?),
        }
    }
    let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match found.iter().find(|core| **core >= machine) {
        Some(core) => Err(format!("there is no core {core}: the machine has {machine}")),
        None if found.is_empty() => Err("no core is named".into()),
        None => Ok(Cores(found)),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no time: write 10s, 2m or 500ms"))?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        other => return Err(format!("{other:?} is no unit of time: use ms, s, m or h")),
    };
    if seconds > 7.0 * 86_400.0 {
        return Err("longer than a week".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("2 days").is_err());
        assert!(duration("").is_err());
        assert!(duration("9999h").is_err());
    }

    #[test]
    fn cores_are_lists_of_ranges() {
        assert_eq!(cores("0"), Ok(Cores(vec![0])));
        assert!(cores("1000000").is_err_and(|error| error.contains("there is no core")));
        assert!(cores("x").is_err());
    }
}

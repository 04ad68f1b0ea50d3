//! Contenders side by side: ratios to the first of them, with what lay between.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Contender, Report};
use crate::measure::{Spread, rounded};
use crate::workload::Workload;

/// All that a load is made of, by name.
type LoadSettings = BTreeMap<String, String>;
const MODE: &str = "mode";

/// A figure of a contender beside that of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    pub figure: &'static str,
    pub stream: String,
    pub contender: String,
    pub value: f64,
    /// Of the first contender.
    pub base: f64,
    /// `value / base`, by medians of rounds.
    pub ratio: f64,
    /// The least and most that the rounds allow.
    pub between: (f64, f64),
}

type Figure = (&'static str, fn(&Contender, usize) -> Option<Spread>);

const FIGURES: [Figure; 9] = [
    ("records/s", |contender, stream| contender.summary.streams.get(stream)?.acked_per_second.clone()),
    ("MB/s", |contender, stream| contender.summary.streams.get(stream)?.acked_mb_per_second.clone()),
    ("drained MB/s", |contender, stream| {
        contender.summary.streams.get(stream)?.drained_mb_per_second.clone()
    }),
    ("read MB/s", |contender, stream| contender.summary.streams.get(stream)?.read_mb_per_second.clone()),
    ("ack p50 us", |contender, stream| contender.summary.streams.get(stream)?.ack_p50_us.clone()),
    ("ack p99 us", |contender, stream| contender.summary.streams.get(stream)?.ack_p99_us.clone()),
    ("end-to-end p50 us", |contender, stream| contender.summary.streams.get(stream)?.end_p50_us.clone()),
    ("end-to-end p99 us", |contender, stream| contender.summary.streams.get(stream)?.end_p99_us.clone()),
    ("broker CPU s/GB", |contender, stream| {
        contender.summary.cpu_seconds_per_gb.clone().filter(|_| stream == 0)
    }),
];

/// Under which load each contender of each report was measured, in words that are the same for the same load alone: figures of
/// different loads are not held against each other.
pub fn load_names(reports: &[Report]) -> Vec<Vec<String>> {
    let load =
        |report: &Report, contender: &Contender| (words(report, contender), settings(report, contender));
    let loads = |report: &Report| report.contenders.iter().map(|contender| load(report, contender)).collect();
    let loads: Vec<Vec<(String, LoadSettings)>> = reports.iter().map(loads).collect();
    let name = |(words, own): &(String, LoadSettings)| {
        let alike = || loads.iter().flatten().filter(|(other, _)| other == words);
        let differs = |name: &str, value: &str| {
            alike().any(|(_, other)| other.get(name).is_none_or(|other| other != value))
        };
        told(words, own, differs)
    };
    loads.iter().map(|loads| loads.iter().map(name).collect()).collect()
}

/// Workload, pace and placement, in words.
fn words(report: &Report, contender: &Contender) -> String {
    let workload = contender.workload.as_ref();
    let named = workload.map(|workload| format!("{} v{}", workload.name, workload.version));
    let pace = match (&contender.own_maximum, workload.map(Workload::rate)) {
        (Some(own), _) => format!("at {} % of the own maximum", own.percent),
        (None, Some(Some(rate))) => format!("{} records/s", rounded(rate)),
        (None, Some(None)) => "as fast as it goes".to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    let placed = if report.settings.broker_cores.is_none() { ", unpinned" } else { "" };
    format!("{}, {pace}{placed}", named.unwrap_or_default())
}

/// These words, and those settings that make a difference.
fn told(words: &str, settings: &LoadSettings, differs: impl Fn(&str, &str) -> bool) -> String {
    let differing = settings.iter().filter(|(name, value)| differs(name, value));
    let differing: Vec<String> = differing.map(|(name, value)| format!("{name} {value}")).collect();
    if differing.is_empty() { words.to_owned() } else { format!("{words} ({})", differing.join(", ")) }
}

/// What contenders must have in common to be held against each other: the mode and the workload, but for what a comparison is about.
fn settings(report: &Report, contender: &Contender) -> LoadSettings {
    let mut settings = LoadSettings::from([(MODE.to_owned(), report.mode.clone())]);
    let Some(workload) = &contender.workload else { return settings };
    settings.insert("steady_state".into(), workload.steady_state.to_string());
    for stream in &workload.streams {
        let mut fields = serde_json::to_value(stream).expect("a stream is made of plain data");
        let fields = fields.as_object_mut().expect("it has fields");
        // How a broker flushes and cleans up is its side of a comparison.
        fields.remove("topic_config");
        // Such a rate is found out by the run.
        if contender.own_maximum.is_some() || report.mode == "sweep" {
            fields.remove("rate");
        }
        if report.mode == "tradeoff" {
            fields.remove("acks");
            fields.remove("idempotent");
        }
        let record = fields.remove("record");
        let of_record = record.iter().filter_map(Value::as_object).flatten();
        for (name, value) in fields.iter().chain(of_record).filter(|(_, value)| !value.is_null()) {
            let name = match workload.streams.len() {
                1 => name.clone(),
                _ => format!("{} of {}", name, stream.name),
            };
            settings.insert(name, value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
        }
    }
    settings
}

/// The contenders of all reports by their loads, in the order in which those come first.
pub fn by_load(reports: &[Report]) -> Vec<(String, Vec<&Contender>)> {
    let mut loads: Vec<(String, Vec<&Contender>)> = Vec::new();
    for (report, names) in reports.iter().zip(load_names(reports)) {
        for (contender, load) in report.contenders.iter().zip(names) {
            match loads.iter_mut().find(|(name, _)| *name == load) {
                Some((_, contenders)) => contenders.push(contender),
                None => loads.push((load, vec![contender])),
            }
        }
    }
    loads
}

/// Every figure of every contender after the first, beside the first's.
pub fn ratios(contenders: &[&Contender]) -> Vec<Ratio> {
    let Some((base, others)) = contenders.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (stream, summary) in base.summary.streams.iter().enumerate() {
        for (figure, of) in FIGURES {
            let Some(first) = of(base, stream).filter(|spread| spread.median > 0.0) else { continue };
            for contender in others {
                let Some(spread) = of(contender, stream) else { continue };
                found.push(Ratio {
                    figure,
                    stream: summary.name.clone(),
                    contender: contender.name.clone(),
                    value: spread.median,
                    base: first.median,
                    ratio: spread.median / first.median,
                    between: (spread.least / first.most, spread.most / first.least.max(f64::MIN_POSITIVE)),
                });
            }
        }
    }
    found
}

/// Why saved reports should not be held against each other, in words; empty where nothing speaks against it.
pub fn doubts(reports: &[Report]) -> Vec<String> {
    let Some((first, others)) = reports.split_first() else { return Vec::new() };
    let workload = |report: &Report, other: &Report| {
        let contender = report.contenders.first()?;
        let workload = contender.workload.as_ref()?;
        let others = other.contenders.first().map(|contender| settings(other, contender)).unwrap_or_default();
        let is_other =
            |name: &str, value: &str| name != MODE && others.get(name).is_none_or(|other| other != value);
        Some(told(
            &format!("{} v{}", workload.name, workload.version),
            &settings(report, contender),
            is_other,
        ))
    };
    let brokers = |report: &Report| {
        let mut versions: Vec<&str> =
            report.contenders.iter().map(|one| one.facts.version.as_str()).collect();
        versions.dedup();
        versions.join(", ")
    };
    let mut doubts = Vec::new();
    for (number, other) in (2..).zip(others) {
        let mut differs = |what: &str, one: String, two: String| {
            if one != two {
                doubts.push(format!("report {number} has another {what}: {two}, not {one}"));
            }
        };
        differs("tool version", first.tool.clone(), other.tool.clone());
        differs("commit of the tool", first.commit.clone(), other.commit.clone());
        differs("broker", brokers(first), brokers(other));
        differs("mode", first.mode.clone(), other.mode.clone());
        let memory = |report: &Report| match report.settings.limit_bytes {
            Some(limit) => format!("{} MiB, {} MiB in all", report.settings.memory_bytes >> 20, limit >> 20),
            None => format!("{} MiB", report.settings.memory_bytes >> 20),
        };
        differs("memory for brokers", memory(first), memory(other));
        let workload = |one, two| workload(one, two).unwrap_or_else(|| "none".to_owned());
        differs("workload", workload(first, other), workload(other, first));
        differs("kernel", first.machine.kernel.clone(), other.machine.kernel.clone());
        differs("CPU", first.machine.cpu.clone(), other.machine.cpu.clone());
        let disk = |report: &Report| report.disk.as_ref().map(crate::machine::Disk::told).unwrap_or_default();
        differs("disk", disk(first), disk(other));
    }
    for (number, report) in (1..).zip(reports) {
        if report.status != super::Status::Complete {
            doubts.push(format!("report {number} is no complete run: {}", report.problems.join("; ")));
        }
    }
    doubts
}

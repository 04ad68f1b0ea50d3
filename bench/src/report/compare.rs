//! Contenders side by side: ratios to the first of them, with what lay between.

use super::{Contender, Report};
use crate::measure::Spread;

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

const FIGURES: [Figure; 8] = [
    ("records/s", |contender, stream| contender.summary.streams.get(stream)?.acked_per_second.clone()),
    ("MB/s", |contender, stream| contender.summary.streams.get(stream)?.acked_mb_per_second.clone()),
    ("drained MB/s", |contender, stream| {
        contender.summary.streams.get(stream)?.drained_mb_per_second.clone()
    }),
    ("ack p50 us", |contender, stream| contender.summary.streams.get(stream)?.ack_p50_us.clone()),
    ("ack p99 us", |contender, stream| contender.summary.streams.get(stream)?.ack_p99_us.clone()),
    ("end-to-end p50 us", |contender, stream| contender.summary.streams.get(stream)?.end_p50_us.clone()),
    ("end-to-end p99 us", |contender, stream| contender.summary.streams.get(stream)?.end_p99_us.clone()),
    ("broker CPU s/GB", |contender, stream| {
        contender.summary.cpu_seconds_per_gb.clone().filter(|_| stream == 0)
    }),
];

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
    let workload = |report: &Report| {
        let workload = report.contenders.first()?.workload.as_ref()?;
        Some((workload.name.clone(), workload.version))
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
        differs("workload", format!("{:?}", workload(first)), format!("{:?}", workload(other)));
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

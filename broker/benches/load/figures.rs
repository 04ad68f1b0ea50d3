//! Figures of several rounds: the median, and between what they lay.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::produce::Round;

/// One figure of each round.
#[derive(Clone, Debug, Default)]
pub struct Figure(Vec<f64>);

impl Figure {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one; of an even number the lower.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let text = format!("{} ({}..{})", Short(self.median()), Short(least), Short(most));
        formatter.pad(&text)
    }
}

/// A number with about three digits.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            value if value >= 100.0 => write!(formatter, "{:.0}", self.0),
            value if value >= 10.0 => write!(formatter, "{:.1}", self.0),
            _ => write!(formatter, "{:.2}", self.0),
        }
    }
}

/// The figures of several cases, which are run in turn, round after round.
#[derive(Default)]
pub struct Table {
    cases: Vec<String>,
    figures: BTreeMap<(usize, usize), Figure>,
    names: Vec<&'static str>,
}

impl Table {
    /// Notes a figure of a case.
    pub fn note(&mut self, case: &str, name: &'static str, value: f64) {
        let row = position(&mut self.cases, |known| known == case, || case.to_owned());
        let column = position(&mut self.names, |known| *known == name, || name);
        self.figures.entry((row, column)).or_default().push(value);
    }

    /// Notes all figures of a round of producing.
    pub fn note_round(&mut self, case: &str, round: &Round) {
        let requests = round.requests.max(1) as f64;
        let gigabytes = round.bytes as f64 / 1e9;
        self.note_latency(case, &round.latency);
        self.note(case, "requests/s", round.requests as f64 / round.seconds);
        self.note(case, "records/s", round.records as f64 / round.seconds);
        self.note(case, "MB/s", round.bytes as f64 / 1e6 / round.seconds);
        self.note(case, "CPU µs/request", round.used.cpu.as_secs_f64() * 1e6 / requests);
        self.note(case, "CPU s/GB", round.used.cpu.as_secs_f64() / gigabytes);
        self.note(case, "others %", round.used.others.as_secs_f64() / round.seconds * 100.0);
        self.note(case, "device B/B", round.used.device_bytes as f64 / round.bytes as f64);
        self.note(case, "RSS MiB", round.resident_bytes as f64 / f64::from(1 << 20));
    }

    pub fn note_latency(&mut self, case: &str, latency: &Histogram<u64>) {
        for (name, quantile) in [("p50 µs", 0.5), ("p99 µs", 0.99), ("p99.9 µs", 0.999)] {
            self.note(case, name, latency.value_at_quantile(quantile) as f64 / 1e3);
        }
    }
}

/// Notes a latency in nanoseconds.
pub fn record(latency: &mut Histogram<u64>, took: Duration) {
    let nanoseconds = u64::try_from(took.as_nanos()).expect("centuries");
    latency.record(nanoseconds).expect("the histogram grows by itself");
}

fn position<T>(known: &mut Vec<T>, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    known.iter().position(is_it).unwrap_or_else(|| {
        known.push(make());
        known.len() - 1
    })
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, case) in self.cases.iter().enumerate() {
            writeln!(formatter, "{case}")?;
            for (column, name) in self.names.iter().enumerate() {
                if let Some(figure) = self.figures.get(&(row, column)) {
                    writeln!(formatter, "  {name:<16} {figure}")?;
                }
            }
        }
        Ok(())
    }
}

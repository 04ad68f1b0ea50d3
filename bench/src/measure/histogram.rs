//! Latencies in HDR histograms, in nanoseconds, three significant digits.
//!
//! From p99.9 on a percentile is told only where enough samples lie beyond it: a thousand, so a p99.9 needs a million
//! samples. The curve ends where the table does.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::LATENCY_NANOSECONDS_MAX;

/// Samples that must lie beyond a percentile of a tail before it is told.
const SAMPLES_PER_TAIL: u64 = 1_000;
/// The percentiles that are told, in parts of a million.
const TOLD: [(&str, u64); 7] = [
    ("p50", 500_000),
    ("p75", 750_000),
    ("p90", 900_000),
    ("p95", 950_000),
    ("p99", 990_000),
    ("p99.9", 999_000),
    ("p99.99", 999_900),
];
/// From here on a percentile speaks of a tail, and is left out when there are too few samples for it.
const TAIL_FROM: u64 = 999_000;
/// A curve goes on to here however few samples there are, as the table does.
const CURVE_END_MIN: f64 = 0.99;
/// Points of a curve of percentiles.
const CURVE_POINTS: i32 = 120;

/// Latencies of records.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// Where some share of the latencies lies below.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Percentile {
    /// "p99.9".
    pub name: String,
    /// None where there are too few samples to tell.
    pub microseconds: Option<f64>,
}

/// What is told of a histogram.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Percentiles {
    pub samples: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub max_us: f64,
    pub told: Vec<Percentile>,
    /// Why some are not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Latency over percentile: `[percentile, microseconds]`, dense towards its end, which is p99 or where a thousand
    /// samples lie beyond. The maximum is no part of it.
    pub curve: Vec<[f64; 2]>,
}

impl Percentiles {
    /// The percentile of this name, where it is told.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.told.iter().find(|told| told.name == name)?.microseconds
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { histogram: Histogram::new(3).expect("three digits are within bounds") }
    }
}

impl Latencies {
    /// Notes one, in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram
            .record(nanoseconds.clamp(1, LATENCY_NANOSECONDS_MAX))
            .expect("the histogram grows by itself");
    }

    /// Takes up those of another worker or round.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("the histogram grows by itself");
    }

    /// How many there are.
    pub fn samples(&self) -> u64 {
        self.histogram.len()
    }

    /// A quantile in microseconds, whatever the number of samples: for what is shown while a run goes on.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        (!self.histogram.is_empty()).then(|| microseconds(self.histogram.value_at_quantile(quantile)))
    }

    /// What is told of it.
    pub fn percentiles(&self) -> Percentiles {
        let histogram = &self.histogram;
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let mut left_out = Vec::new();
        let mut tell = |(name, parts): &(&str, u64)| {
            let few = too_few_for(*parts, histogram.len());
            left_out.extend(few.map(|needed| {
                format!(
                    "no {name}: it needs {} samples, there are {}",
                    grouped(needed),
                    grouped(histogram.len())
                )
            }));
            let value = || microseconds(histogram.value_at_quantile(*parts as f64 / 1e6));
            Percentile { name: (*name).to_owned(), microseconds: few.is_none().then(value) }
        };
        let told = TOLD.iter().map(&mut tell).collect();
        Percentiles {
            samples: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            min_us: microseconds(histogram.min()),
            max_us: microseconds(histogram.max()),
            told,
            left_out,
            curve: self.curve(),
        }
    }

    /// The curve of all percentiles that may be told: equal steps of 1 / (1 - quantile) on a log axis.
    fn curve(&self) -> Vec<[f64; 2]> {
        let told_anyway = 1.0 / (1.0 - CURVE_END_MIN);
        let last = (self.histogram.len() as f64 / SAMPLES_PER_TAIL as f64).max(told_anyway).log10();
        let point = |step: i32| {
            let quantile = 1.0 - 10_f64.powf(-last * f64::from(step) / f64::from(CURVE_POINTS));
            [quantile * 100.0, microseconds(self.histogram.value_at_quantile(quantile))]
        };
        (0..=CURVE_POINTS).map(point).collect()
    }
}

/// How many samples a percentile needs (in parts of a million), where `samples` are too few.
fn too_few_for(parts: u64, samples: u64) -> Option<u64> {
    let needed = SAMPLES_PER_TAIL * 1_000_000 / (1_000_000 - parts);
    (parts >= TAIL_FROM && samples < needed).then_some(needed)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// 1234567 as "1,234,567".
pub fn grouped(number: u64) -> String {
    group(&number.to_string())
}

/// 1234567.8 as "1,234,568"; not for negative numbers.
pub fn rounded(number: f64) -> String {
    group(&format!("{number:.0}"))
}

fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As `[nanoseconds, count]` pairs: whoever reads the JSON needs no decoder.
impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.histogram.iter_recorded();
        serializer.collect_seq(recorded.map(|step| [step.value_iterated_to(), step.count_at_value()]))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latencies = Self::default();
        for [nanoseconds, count] in Vec::<[u64; 2]>::deserialize(deserializer)? {
            let kept = nanoseconds.clamp(1, LATENCY_NANOSECONDS_MAX);
            latencies.histogram.record_n(kept, count).map_err(serde::de::Error::custom)?;
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread_evenly(samples: u64) -> Latencies {
        let mut latencies = Latencies::default();
        (1..=samples).for_each(|number| latencies.record(number * 1_000));
        latencies
    }

    #[test]
    fn percentiles_are_within_three_digits() {
        let told = spread_evenly(10_000).percentiles();
        for (name, expected) in [("p50", 5_000.0), ("p99", 9_900.0)] {
            let value = told.get(name).expect("enough samples");
            assert!((value / expected - 1.0).abs() < 0.001, "{name} is {value}");
        }
        assert_eq!(told.samples, 10_000);
        assert!((told.max_us / 10_000.0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn a_tail_needs_a_thousand_samples_beyond_it() {
        let few = spread_evenly(999_999).percentiles();
        assert_eq!(few.get("p99.9"), None);
        assert_eq!(few.left_out[0], "no p99.9: it needs 1,000,000 samples, there are 999,999");
        let enough = spread_evenly(1_000_000).percentiles();
        assert!(enough.get("p99.9").is_some());
        assert_eq!(enough.get("p99.99"), None);
    }

    #[test]
    fn workers_are_merged_as_if_they_were_one() {
        let (mut one, mut other, mut all) =
            (Latencies::default(), Latencies::default(), Latencies::default());
        for number in 1..5_000_u64 {
            let half = if number % 3 == 0 { &mut one } else { &mut other };
            half.record(number * 777);
            all.record(number * 777);
        }
        one.merge(&other);
        assert_eq!(one.percentiles(), all.percentiles());
    }

    #[test]
    fn what_is_saved_reads_back_the_same() {
        let latencies = spread_evenly(5_000);
        let text = serde_json::to_string(&latencies).expect("it can be written");
        let back: Latencies = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(back.samples(), 5_000);
        assert_eq!(back.percentiles().told, latencies.percentiles().told);
    }

    #[test]
    fn an_empty_one_tells_nothing() {
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
        assert_eq!(Latencies::default().quantile_us(0.5), None);
    }

    #[test]
    fn the_curve_rises_and_ends_with_a_thousand_samples_beyond_it() {
        for (samples, end) in [(1_000_000, 99.9), (10_000, 99.0), (10, 99.0)] {
            let curve = spread_evenly(samples).percentiles().curve;
            assert!(curve.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]));
            let last = curve.last().expect("points")[0];
            assert!((last - end).abs() < 1e-6, "{last} of {samples} samples");
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(rounded(1_234_567.8), "1,234,568");
    }
}

//! A latency histogram with the buckets that it is shown with: 10 µs to 5 s, three a decade.

use super::cell::OwnedCounter;

/// Upper bounds of the buckets, in microseconds; one more bucket takes what is above.
pub(super) const BOUNDS_MICROS: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000,
];

/// Counts by bucket, and the sum.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [OwnedCounter; BOUNDS_MICROS.len() + 1],
    sum_micros: OwnedCounter,
}

impl Histogram {
    pub(super) fn record(&self, micros: u64) {
        let index = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[index].add(1);
        self.sum_micros.add(micros);
    }
}

/// What several histograms hold together, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) buckets: [u64; BOUNDS_MICROS.len() + 1],
    pub(super) sum_micros: u64,
}

impl Merged {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.sum_micros += histogram.sum_micros.get();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += bucket;
        }
        self.sum_micros += other.sum_micros;
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

//! Histograms that cost two additions per value and a few hundred bytes: there is one per route, and there are hundreds of routes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

/// What is measured, in whole units: nanoseconds or bytes.
pub(super) struct Scale {
    /// Upper bounds of the buckets, growing.
    bounds: &'static [u64],
    /// Units in one of what the metric is told in.
    per_unit: f64,
}

const MS: u64 = 1_000_000;
const SECONDS: f64 = 1e9;

/// Requests as a whole.
pub(super) static DURATIONS: Scale = Scale {
    bounds: &[
        5 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        400 * MS,
        600 * MS,
        800 * MS,
        1_000 * MS,
        1_250 * MS,
        1_500 * MS,
        2_000 * MS,
        3_000 * MS,
        4_000 * MS,
        5_000 * MS,
        6_000 * MS,
        8_000 * MS,
        10_000 * MS,
        15_000 * MS,
        20_000 * MS,
        30_000 * MS,
        45_000 * MS,
        60_000 * MS,
    ],
    per_unit: SECONDS,
};

/// Requests without what others took.
pub(super) static SERVICE_LEVEL: Scale = Scale {
    bounds: DURATIONS.bounds.split_at(2).1,
    per_unit: SECONDS,
};

/// The first part of watches.
pub(super) static WATCH_LISTS: Scale = Scale {
    bounds: &[
        50 * MS,
        100 * MS,
        200 * MS,
        400 * MS,
        600 * MS,
        800 * MS,
        1_000 * MS,
        2_000 * MS,
        4_000 * MS,
        6_000 * MS,
        8_000 * MS,
        10_000 * MS,
        15_000 * MS,
        20_000 * MS,
        30_000 * MS,
        45_000 * MS,
        60_000 * MS,
    ],
    per_unit: SECONDS,
};

/// What updates are compared in.
pub(super) static COMPARISONS: Scale = Scale {
    bounds: &[
        MS / 10,
        3 * MS / 10,
        MS,
        3 * MS,
        10 * MS,
        30 * MS,
        100 * MS,
        300 * MS,
        1_000 * MS,
        5_000 * MS,
    ],
    per_unit: SECONDS,
};

/// Parts of the chain.
pub(super) static FILTERS: Scale = Scale {
    bounds: &[
        MS / 10,
        3 * MS / 10,
        MS,
        3 * MS,
        10 * MS,
        30 * MS,
        100 * MS,
        300 * MS,
        1_000 * MS,
        5_000 * MS,
        10_000 * MS,
        15_000 * MS,
        30_000 * MS,
    ],
    per_unit: SECONDS,
};

/// Answers, from a kilobyte to a gigabyte.
pub(super) static RESPONSES: Scale = Scale {
    bounds: &[
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
    ],
    per_unit: 1.0,
};

/// Events of watches, from 1 KiB to 128 KiB.
pub(super) static EVENTS: Scale = Scale {
    bounds: &[
        1 << 10,
        1 << 11,
        1 << 12,
        1 << 13,
        1 << 14,
        1 << 15,
        1 << 16,
        1 << 17,
    ],
    per_unit: 1.0,
};

/// Bodies of requests, from 50 KB in steps of 100 KB.
pub(super) static BODIES: Scale = Scale {
    bounds: &linear::<31>(50_000, 100_000),
    per_unit: 1.0,
};

const fn linear<const N: usize>(first: u64, step: u64) -> [u64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] + step;
        at += 1;
    }
    bounds
}

/// Values of one series.
pub(super) struct Histogram {
    scale: &'static Scale,
    /// Per bucket, with one more for what is above all bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Histogram {
        let counts = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0));
        Histogram {
            scale,
            counts: counts.collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value in the scale's unit.
    pub(super) fn observe(&self, value: u64) {
        // Most values are small.
        let mut bounds = self.scale.bounds.iter();
        let bucket = bounds.position(|bound| value <= *bound);
        let bucket = bucket.unwrap_or(self.scale.bounds.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(super) fn observe_duration(&self, value: Duration) {
        self.observe(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another of the same scale has counted.
    pub(super) fn add(&self, other: &Histogram) {
        for (own, more) in self.counts.iter().zip(&other.counts) {
            own.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let more = other.sum.load(Ordering::Relaxed);
        self.sum.fetch_add(more, Ordering::Relaxed);
    }

    /// How many values there were.
    pub(super) fn count(&self) -> u64 {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn collect(&self) -> proto::Histogram {
        let per_unit = self.scale.per_unit;
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.scale.bounds.len());
        let mut counts = self.counts.iter();
        for (bound, count) in self.scale.bounds.iter().zip(&mut counts) {
            total += count.load(Ordering::Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(total);
            bucket.set_upper_bound(*bound as f64 / per_unit);
            buckets.push(bucket);
        }
        total += counts
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<u64>();
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(total);
        histogram.set_sample_sum(self.sum.load(Ordering::Relaxed) as f64 / per_unit);
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let histogram = Histogram::new(&RESPONSES);
        for value in [0, 1_000, 1_001, 5_000_000_000] {
            histogram.observe(value);
        }
        let other = Histogram::new(&RESPONSES);
        other.observe(10_000);
        histogram.add(&other);
        let told = histogram.collect();
        let counts: Vec<u64> = told
            .get_bucket()
            .iter()
            .map(proto::Bucket::cumulative_count)
            .collect();
        assert_eq!(counts, [2, 4, 4, 4, 4, 4, 4]);
        assert_eq!(told.get_sample_count(), 5);
        assert_eq!(histogram.count(), 5);
        assert_eq!(told.get_sample_sum(), 5_000_012_001.0);
    }

    #[test]
    fn bounds_are_told_in_the_metrics_unit() {
        let bounds = |scale: &'static Scale| -> Vec<f64> {
            let told = Histogram::new(scale).collect();
            told.get_bucket()
                .iter()
                .map(proto::Bucket::upper_bound)
                .collect()
        };
        assert_eq!(bounds(&DURATIONS)[..3], [0.005, 0.025, 0.05]);
        assert_eq!(bounds(&SERVICE_LEVEL)[..2], [0.05, 0.1]);
        assert_eq!(bounds(&FILTERS)[..3], [0.0001, 0.0003, 0.001]);
        let bodies = bounds(&BODIES);
        assert_eq!((bodies[1], bodies[30]), (150_000.0, 3_050_000.0));
        let histogram = Histogram::new(&DURATIONS);
        histogram.observe_duration(Duration::from_millis(1_500));
        assert_eq!(histogram.collect().get_sample_sum(), 1.5);
    }
}

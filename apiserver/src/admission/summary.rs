//! How long the steps of admission took: sum, count, and quantiles of the last hours.
//! Upstream: the summary of admission/metrics and client_golang's Summary.
//!
//! Values are counted in buckets that grow by 2%, one set of them for each of five parts of the time that quantiles are about, so
//! that a value costs a lock and an addition, and a quantile is off by at most 1%.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::metrics::families::{family, pair};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::Operation;

/// The time that quantiles are about, and its parts.
const MAX_AGE: Duration = Duration::from_secs(5 * 60 * 60);
const PARTS: usize = 5;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const GROWTH: f64 = 1.02;
/// Nothing is shorter than this, in seconds.
const SHORTEST: f64 = 1e-6;
/// Up to about an hour.
const BUCKETS: usize = 1112;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Summary(Option<Arc<Inner>>);

struct Inner {
    desc: Desc,
    /// By type of the step, operation and whether the request was rejected: admit first.
    series: [Mutex<Option<Box<Window>>>; 16],
}

const TYPES: [&str; 2] = [super::metrics::ADMIT, super::metrics::VALIDATE];
const OPERATIONS: [Operation; 4] = [
    Operation::Create,
    Operation::Update,
    Operation::Delete,
    Operation::Connect,
];

impl Summary {
    pub(super) fn new(name: &str, help: &str) -> Option<Self> {
        let labels = ["type", "operation", "rejected"]
            .map(str::to_owned)
            .to_vec();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new()).ok()?;
        let series = std::array::from_fn(|_| Mutex::default());
        Some(Self(Some(Arc::new(Inner { desc, series }))))
    }

    pub(super) fn observe(
        &self,
        validate: bool,
        operation: Operation,
        rejected: bool,
        now: Instant,
        elapsed: Duration,
    ) {
        let Some(inner) = &self.0 else { return };
        let index = usize::from(validate) * 8 + operation as usize * 2 + usize::from(rejected);
        let mut window = inner.series[index].lock();
        let window = window.get_or_insert_with(|| Box::new(Window::new(now)));
        window.add(now, elapsed.as_secs_f64());
    }
}

impl Collector for Summary {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().map(|inner| &inner.desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let Some(inner) = &self.0 else {
            return Vec::new();
        };
        let now = Instant::now();
        let mut metrics = Vec::new();
        for (index, window) in inner.series.iter().enumerate() {
            let mut window = window.lock();
            let Some(window) = window.as_mut() else {
                continue;
            };
            let mut metric = proto::Metric::default();
            let labels = [
                ("operation", OPERATIONS[index % 8 / 2].as_str()),
                ("rejected", ["false", "true"][index % 2]),
                ("type", TYPES[index / 8]),
            ];
            metric.set_label(labels.map(|(name, value)| pair(name, value)).to_vec());
            metric.set_summary(window.summary(now));
            metrics.push(metric);
        }
        if metrics.is_empty() {
            return Vec::new();
        }
        let (name, help) = (inner.desc.fq_name.clone(), &inner.desc.help);
        vec![family(name, help, proto::MetricType::SUMMARY, metrics)]
    }
}

/// The values of one series.
struct Window {
    sum: f64,
    count: u64,
    /// The newest part, by the number of parts since the start.
    newest: u64,
    start: Instant,
    /// How many values are in each bucket, by number of the part.
    parts: BTreeMap<u64, Vec<u32>>,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            sum: 0.0,
            count: 0,
            newest: 0,
            start: now,
            parts: BTreeMap::new(),
        }
    }

    /// Forgets what is too old.
    fn advance(&mut self, now: Instant) {
        let part = MAX_AGE.as_secs() / PARTS as u64;
        let newest = now.saturating_duration_since(self.start).as_secs() / part;
        if newest > self.newest {
            self.newest = newest;
            let kept = (newest + 1).saturating_sub(PARTS as u64);
            self.parts = self.parts.split_off(&kept);
        }
    }

    fn add(&mut self, now: Instant, seconds: f64) {
        self.advance(now);
        self.sum += seconds;
        self.count += 1;
        let part = self.parts.entry(self.newest);
        let buckets = part.or_insert_with(|| vec![0; BUCKETS]);
        let bucket = &mut buckets[bucket_of(seconds)];
        *bucket = bucket.saturating_add(1);
    }

    fn summary(&mut self, now: Instant) -> proto::Summary {
        self.advance(now);
        let mut all = vec![0_u64; BUCKETS];
        for part in self.parts.values() {
            for (sum, count) in all.iter_mut().zip(part) {
                *sum += u64::from(*count);
            }
        }
        let quantiles = QUANTILES.map(|quantile| {
            let mut found = proto::Quantile::default();
            found.set_quantile(quantile);
            found.set_value(value_at(&all, quantile));
            found
        });
        let mut summary = proto::Summary::default();
        summary.set_sample_sum(self.sum);
        summary.set_sample_count(self.count);
        summary.set_quantile(quantiles.to_vec());
        summary
    }
}

fn bucket_of(seconds: f64) -> usize {
    let steps = (seconds.max(SHORTEST) / SHORTEST).ln() / GROWTH.ln();
    // Not negative, and what is too long is in the last one.
    (steps as usize).min(BUCKETS - 1)
}

/// The value that this part of the values does not exceed; not a number without values.
fn value_at(buckets: &[u64], quantile: f64) -> f64 {
    let count: u64 = buckets.iter().sum();
    if count == 0 {
        return f64::NAN;
    }
    let rank = ((quantile * count as f64).ceil() as u64).max(1);
    let mut seen = 0;
    for (index, in_bucket) in buckets.iter().enumerate() {
        seen += in_bucket;
        if seen >= rank {
            return SHORTEST * GROWTH.powf(index as f64 + 0.5);
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(window: &mut Window, now: Instant) -> Vec<f64> {
        let summary = window.summary(now);
        summary.get_quantile().iter().map(|q| q.value()).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_last_hours() {
        let start = Instant::now();
        let hours = |hours: u64| start + Duration::from_secs(hours * 60 * 60);
        let mut window = Window::new(start);
        for value in 1..=1000 {
            window.add(start, f64::from(value) / 1000.0);
        }
        for (found, want) in quantiles(&mut window, hours(4))
            .into_iter()
            .zip([0.5, 0.9, 0.99])
        {
            assert!((found / want - 1.0).abs() < 0.015, "{found} {want}");
        }
        assert!(quantiles(&mut window, hours(5))[0].is_nan());
        assert_eq!(window.count, 1000);
        assert!((window.sum - 500.5).abs() < 1e-6);
        window.add(hours(6), 1e-9);
        window.add(hours(6), 1e9);
        let found = quantiles(&mut window, hours(6));
        assert!(found[0] < 1.1e-6 && found[2] > 3000.0, "{found:?}");
    }

    #[test]
    fn a_series_is_shown_once_it_has_a_value() {
        let summary = Summary::new("s", "h").unwrap();
        assert!(summary.collect().is_empty());
        let now = Instant::now();
        summary.observe(true, Operation::Update, false, now, Duration::from_secs(1));
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&summary.collect())
            .unwrap();
        for line in [
            "# TYPE s summary",
            "s_sum{operation=\"UPDATE\",rejected=\"false\",type=\"validate\"} 1",
            "s_count{operation=\"UPDATE\",rejected=\"false\",type=\"validate\"} 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{text}");
        }
    }
}

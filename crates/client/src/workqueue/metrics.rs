//! The workqueue_* metrics. Upstream: `component-base/metrics/prometheus/workqueue`, `client-go/util/workqueue/metrics.go`.
//!
//! Upstream refreshes the two "in progress" gauges with a ticker per queue; here they are computed when the registry is
//! collected, so an idle queue costs nothing and a scrape is never half a second old.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// How long the items that are being processed have been processed, in seconds.
pub(super) trait InProgress: Send + Sync {
    /// (sum over all, longest)
    fn running_seconds(&self) -> (f64, f64);
}

/// The metric families of all workqueues of a process. Make one per registry and pass it to every queue.
#[derive(Clone)]
pub struct QueueMetrics {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    queue_duration: HistogramVec,
    work_duration: HistogramVec,
    retries: IntCounterVec,
    live: Live,
}

type Live = Arc<Mutex<Vec<(String, Weak<dyn InProgress>)>>>;

/// The metrics of one queue, resolved once.
#[derive(Clone)]
pub(super) struct NamedMetrics {
    pub depth: IntGauge,
    pub adds: IntCounter,
    pub queue_duration: Histogram,
    pub work_duration: Histogram,
    pub retries: IntCounter,
}

impl QueueMetrics {
    /// Registers the families. Fails when the registry already has them: share the first value instead.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        // 10 ns to 10 s in decades, as upstream.
        let buckets = prometheus::exponential_buckets(10e-9, 10.0, 10)?;
        let metrics = Self {
            depth: IntGaugeVec::new(
                Opts::new("workqueue_depth", "Current depth of workqueue"),
                &["name"],
            )?,
            adds: IntCounterVec::new(
                Opts::new(
                    "workqueue_adds_total",
                    "Total number of adds handled by workqueue",
                ),
                &["name"],
            )?,
            queue_duration: HistogramVec::new(
                HistogramOpts::new(
                    "workqueue_queue_duration_seconds",
                    "How long in seconds an item stays in workqueue before being requested.",
                )
                .buckets(buckets.clone()),
                &["name"],
            )?,
            work_duration: HistogramVec::new(
                HistogramOpts::new(
                    "workqueue_work_duration_seconds",
                    "How long in seconds processing an item from workqueue takes.",
                )
                .buckets(buckets),
                &["name"],
            )?,
            retries: IntCounterVec::new(
                Opts::new(
                    "workqueue_retries_total",
                    "Total number of retries handled by workqueue",
                ),
                &["name"],
            )?,
            live: Live::default(),
        };
        registry.register(Box::new(metrics.depth.clone()))?;
        registry.register(Box::new(metrics.adds.clone()))?;
        registry.register(Box::new(metrics.queue_duration.clone()))?;
        registry.register(Box::new(metrics.work_duration.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(Running::new(metrics.live.clone())?))?;
        Ok(metrics)
    }

    pub(super) fn named(&self, name: &str) -> NamedMetrics {
        NamedMetrics {
            depth: self.depth.with_label_values(&[name]),
            adds: self.adds.with_label_values(&[name]),
            queue_duration: self.queue_duration.with_label_values(&[name]),
            work_duration: self.work_duration.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
        }
    }

    pub(super) fn follow(&self, name: &str, queue: Weak<dyn InProgress>) {
        let mut live = self.live.lock();
        live.retain(|(_, queue)| queue.strong_count() > 0);
        live.push((name.to_owned(), queue));
    }
}

/// Computes the two gauges that change while nothing happens.
struct Running {
    unfinished: GaugeVec,
    longest: GaugeVec,
    live: Live,
}

impl Running {
    fn new(live: Live) -> Result<Self, prometheus::Error> {
        Ok(Self {
            unfinished: GaugeVec::new(
                Opts::new(
                    "workqueue_unfinished_work_seconds",
                    "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck \
                     threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
                ),
                &["name"],
            )?,
            longest: GaugeVec::new(
                Opts::new(
                    "workqueue_longest_running_processor_seconds",
                    "How many seconds has the longest running processor for workqueue been running.",
                ),
                &["name"],
            )?,
            live,
        })
    }
}

impl Collector for Running {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.unfinished.desc();
        all.extend(self.longest.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (name, queue) in self.live.lock().iter() {
            let (sum, longest) = queue
                .upgrade()
                .map_or((0.0, 0.0), |queue| queue.running_seconds());
            self.unfinished.with_label_values(&[name]).set(sum);
            self.longest.with_label_values(&[name]).set(longest);
        }
        let mut all = self.unfinished.collect();
        all.extend(self.longest.collect());
        all
    }
}

//! What `/metrics` shows of flow control, with upstream's names, labels and buckets. Upstream: util/flowcontrol/metrics.
//!
//! Levels count under their own locks; the numbers are gathered when they are asked for.

use std::sync::{Arc, Weak};

use component_base::metrics::families::{counter, family, gauge, pair};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::FlowControl;
use super::stats::{Histogram, REASONS, SchemaStats, TimingHistogram};

/// Shows the numbers of a server's flow control as long as there is one.
pub(crate) struct FlowCollector {
    flow: Weak<FlowControl>,
    /// What the registry knows it by.
    desc: Desc,
}

impl FlowCollector {
    pub(crate) fn new(flow: &Arc<FlowControl>) -> prometheus::Result<FlowCollector> {
        Ok(FlowCollector {
            flow: Arc::downgrade(flow),
            desc: Desc::new(
                name("dispatched_requests_total"),
                "[BETA] Number of requests executed by API Priority and Fairness subsystem"
                    .to_owned(),
                vec!["flow_schema".to_owned(), "priority_level".to_owned()],
                std::collections::HashMap::new(),
            )?,
        })
    }
}

impl Collector for FlowCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.flow.upgrade() {
            Some(flow) => families(&flow),
            None => Vec::new(),
        }
    }
}

fn name(short: &str) -> String {
    format!("apiserver_flowcontrol_{short}")
}

fn histogram(labels: Vec<LabelPair>, histogram: &Histogram) -> Metric {
    let mut count = 0;
    let buckets = histogram
        .bounds
        .iter()
        .zip(&*histogram.counts)
        .map(|(bound, in_bucket)| {
            count += in_bucket;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            bucket
        })
        .collect();
    let mut proto = ProtoHistogram::default();
    proto.set_bucket(buckets);
    proto.set_sample_count(histogram.count());
    proto.set_sample_sum(histogram.sum);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(proto);
    metric
}

/// Families in the making.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn add(&mut self, short: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        self.named(name(short), help, kind, metrics);
    }

    fn named(&mut self, name: String, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        self.0.push(family(name, help, kind, metrics));
    }
}

/// A level's numbers, copied so that its lock is not held while they are shown.
struct LevelNumbers {
    name: String,
    stats: super::stats::LevelStats,
    schemas: Vec<SchemaStats>,
    r: f64,
    nominal: u32,
    min: u32,
    max: u32,
    current: u32,
    demand: super::stats::DemandSummary,
    smoothed: f64,
    target: f64,
}

impl LevelNumbers {
    fn labels(&self) -> Vec<LabelPair> {
        vec![pair("priority_level", &self.name)]
    }

    fn with(&self, name: &str, value: &str) -> Vec<LabelPair> {
        let mut labels = vec![pair(name, value), pair("priority_level", &self.name)];
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        labels
    }

    fn of_schema(&self, schema: &SchemaStats, more: Option<(&str, &str)>) -> Vec<LabelPair> {
        let mut labels = vec![
            pair("flow_schema", &schema.name),
            pair("priority_level", &self.name),
        ];
        labels.extend(more.map(|(name, value)| pair(name, value)));
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        labels
    }
}

/// One metric of each schema of each level that has anything to show.
fn schemas(
    levels: &[LevelNumbers],
    show: impl Fn(&LevelNumbers, &SchemaStats) -> Vec<Metric>,
) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for level in levels {
        for schema in &level.schemas {
            metrics.extend(show(level, schema));
        }
    }
    metrics
}

const READ_VS_WRITE: &str = "read_vs_write_current_requests";
const READ_VS_WRITE_HELP: &str = "EXPERIMENTAL: [ALPHA] Observations, at the end of every nanosecond, of the number of requests (as a fraction of the relevant limit) waiting or in regular stage of execution";
const FAIR_FRACTION: &str = "seat_fair_frac";
const FAIR_FRACTION_HELP: &str = "[ALPHA] Fair fraction of server's concurrency to allocate to each priority level that can use it";

/// What is shown where there are only limits of requests in flight: how far each kind uses its own.
pub(crate) fn without_levels(executing: [(&str, &TimingHistogram); 2]) -> Vec<MetricFamily> {
    let mut families = Families::default();
    let read_write = executing.map(|(kind, timing)| {
        let labels = vec![pair("phase", "executing"), pair("request_kind", kind)];
        histogram(labels, &timing.histogram)
    });
    families.add(
        READ_VS_WRITE,
        READ_VS_WRITE_HELP,
        MetricType::HISTOGRAM,
        read_write.into(),
    );
    families.add(
        FAIR_FRACTION,
        FAIR_FRACTION_HELP,
        MetricType::GAUGE,
        vec![gauge(Vec::new(), 0.0)],
    );
    families.0
}

fn families(flow: &FlowControl) -> Vec<MetricFamily> {
    let (levels, fair_fraction) = numbers(flow);
    let mut families = Families::default();
    of_schemas(&levels, &mut families);
    of_levels(&levels, &mut families);
    families.add(
        FAIR_FRACTION,
        FAIR_FRACTION_HELP,
        MetricType::GAUGE,
        vec![gauge(Vec::new(), fair_fraction)],
    );
    let mut read_write = Vec::new();
    let (mut in_flight, mut in_queue) = (Vec::new(), Vec::new());
    for (kind, name) in flow.shared.kinds.iter().zip(["readOnly", "mutating"]) {
        let mut kind = kind.lock();
        let peak = kind.peak(flow.shared.clock.now());
        let label = || vec![pair("request_kind", name)];
        in_flight.push(gauge(label(), f64::from(peak.executing)));
        in_queue.push(gauge(label(), f64::from(peak.waiting)));
        for (phase, timing) in [("executing", &kind.executing), ("waiting", &kind.waiting)] {
            read_write.push(histogram(
                vec![pair("phase", phase), pair("request_kind", name)],
                &timing.histogram,
            ));
        }
    }
    families.add(
        READ_VS_WRITE,
        READ_VS_WRITE_HELP,
        MetricType::HISTOGRAM,
        read_write,
    );
    for (name, help, metrics) in [
        (
            "apiserver_current_inflight_requests",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
            in_flight,
        ),
        (
            "apiserver_current_inqueue_requests",
            "[ALPHA] Maximal number of queued requests in this apiserver per request kind in last second.",
            in_queue,
        ),
    ] {
        families.named(name.to_owned(), help, MetricType::GAUGE, metrics);
    }
    families.0
}

fn numbers(flow: &FlowControl) -> (Vec<LevelNumbers>, f64) {
    let control = flow.control.lock();
    let levels = control
        .levels
        .iter()
        .map(|(name, managed)| {
            let queues = managed.level.lock_synced();
            LevelNumbers {
                name: name.clone(),
                stats: queues.stats.clone(),
                schemas: queues.schemas.clone(),
                r: queues.r(),
                nominal: managed.nominal,
                min: managed.min,
                max: managed.max,
                current: managed.current,
                demand: managed.demand,
                smoothed: managed.smoothed,
                target: managed.target,
            }
        })
        .collect();
    (levels, control.fair_fraction)
}

fn of_schemas(levels: &[LevelNumbers], families: &mut Families) {
    families.add(
        "rejected_requests_total",
        "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
        MetricType::COUNTER,
        schemas(levels, |level, schema| {
            REASONS
                .iter()
                .zip(schema.rejected)
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| {
                    let labels = level.of_schema(schema, Some(("reason", reason.as_str())));
                    counter(labels, count)
                })
                .collect()
        }),
    );
    families.add(
        "dispatched_requests_total",
        "[BETA] Number of requests executed by API Priority and Fairness subsystem",
        MetricType::COUNTER,
        schemas(levels, |level, schema| {
            let seen = schema.dispatched > 0;
            seen.then(|| counter(level.of_schema(schema, None), schema.dispatched))
                .into_iter()
                .collect()
        }),
    );
    families.add(
        "request_dispatch_no_accommodation_total",
        "[ALPHA] Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats",
        MetricType::COUNTER,
        schemas(levels, |level, schema| {
            let seen = schema.no_accommodation > 0;
            seen.then(|| counter(level.of_schema(schema, None), schema.no_accommodation))
                .into_iter()
                .collect()
        }),
    );
    type Number = fn(&SchemaStats) -> u32;
    let gauges: [(&str, &str, bool, Number); 4] = [
        (
            "current_inqueue_requests",
            "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
            true,
            |schema| schema.waiting,
        ),
        (
            "current_inqueue_seats",
            "[ALPHA] Number of seats currently pending in queues of the API Priority and Fairness subsystem",
            true,
            |schema| schema.seats_waiting,
        ),
        (
            "current_executing_requests",
            "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
            false,
            |schema| schema.executing,
        ),
        (
            "current_executing_seats",
            "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
            false,
            |schema| schema.seats_in_use,
        ),
    ];
    for (short, help, queued, number) in gauges {
        let metrics = schemas(levels, |level, schema| {
            let seen = if queued {
                schema.queue_length.count() > 0
            } else {
                schema.dispatched > 0
            };
            let value = f64::from(number(schema));
            seen.then(|| gauge(level.of_schema(schema, None), value))
                .into_iter()
                .collect()
        });
        families.add(short, help, MetricType::GAUGE, metrics);
    }
    type Observed = fn(&SchemaStats) -> [(Option<(&'static str, &'static str)>, &Histogram); 2];
    let histograms: [(&str, &str, Observed); 2] = [
        (
            "request_wait_duration_seconds",
            "[BETA] Length of time a request spent waiting in its queue",
            |schema| {
                [
                    (Some(("execute", "false")), &schema.waited[0]),
                    (Some(("execute", "true")), &schema.waited[1]),
                ]
            },
        ),
        (
            "request_execution_seconds",
            "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
            |schema| {
                [
                    (Some(("type", "regular")), &schema.executed[0]),
                    (Some(("type", "watch")), &schema.executed[1]),
                ]
            },
        ),
    ];
    for (short, help, observed) in histograms {
        let metrics = schemas(levels, |level, schema| {
            observed(schema)
                .into_iter()
                .filter(|(_, observed)| observed.count() > 0)
                .map(|(label, observed)| histogram(level.of_schema(schema, label), observed))
                .collect()
        });
        families.add(short, help, MetricType::HISTOGRAM, metrics);
    }
    type Plain = fn(&SchemaStats) -> &Histogram;
    let plain: [(&str, &str, Plain); 3] = [
        (
            "request_queue_length_after_enqueue",
            "[ALPHA] Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
            |schema| &schema.queue_length,
        ),
        (
            "watch_count_samples",
            "[ALPHA] count of watchers for mutating requests in API Priority and Fairness",
            |schema| &schema.watch_count,
        ),
        (
            "work_estimated_seats",
            "[ALPHA] Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness",
            |schema| &schema.seats,
        ),
    ];
    for (short, help, observed) in plain {
        let metrics = schemas(levels, |level, schema| {
            let observed = observed(schema);
            let seen = observed.count() > 0;
            seen.then(|| histogram(level.of_schema(schema, None), observed))
                .into_iter()
                .collect()
        });
        families.add(short, help, MetricType::HISTOGRAM, metrics);
    }
}

fn of_levels(levels: &[LevelNumbers], families: &mut Families) {
    type Number = fn(&LevelNumbers) -> f64;
    let gauges: [(&str, &str, Number); 10] = [
        ("current_r", "[ALPHA] R(time of last change)", |level| {
            level.r
        }),
        (
            "nominal_limit_seats",
            "[BETA] Nominal number of execution seats configured for each priority level",
            |level| f64::from(level.nominal),
        ),
        (
            "lower_limit_seats",
            "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
            |level| f64::from(level.min),
        ),
        (
            "upper_limit_seats",
            "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
            |level| f64::from(level.max),
        ),
        (
            "demand_seats_high_watermark",
            "[ALPHA] High watermark, over last adjustment period, of demand_seats",
            |level| level.demand.max,
        ),
        (
            "demand_seats_average",
            "[ALPHA] Time-weighted average, over last adjustment period, of demand_seats",
            |level| level.demand.average,
        ),
        (
            "demand_seats_stdev",
            "[ALPHA] Time-weighted standard deviation, over last adjustment period, of demand_seats",
            |level| level.demand.deviation,
        ),
        (
            "demand_seats_smoothed",
            "[ALPHA] Smoothed seat demands",
            |level| level.smoothed,
        ),
        ("target_seats", "[ALPHA] Seat allocation targets", |level| {
            level.target
        }),
        (
            "current_limit_seats",
            "[ALPHA] current derived number of execution seats available to each priority level",
            |level| f64::from(level.current),
        ),
    ];
    for (short, help, number) in gauges {
        let metrics = levels
            .iter()
            .map(|level| gauge(level.labels(), number(level)))
            .collect();
        families.add(short, help, MetricType::GAUGE, metrics);
    }
    let dispatched = |number: fn(&super::stats::DispatchMarks) -> f64| {
        levels
            .iter()
            .filter_map(|level| {
                let marks = level.stats.dispatch.as_ref()?;
                Some(gauge(level.labels(), number(marks)))
            })
            .collect()
    };
    families.add(
        "dispatch_r",
        "[ALPHA] R(time of last dispatch)",
        MetricType::GAUGE,
        dispatched(|marks| marks.r),
    );
    families.add(
        "latest_s",
        "[ALPHA] S(most recently dispatched request)",
        MetricType::GAUGE,
        dispatched(|marks| marks.s),
    );
    let bounds = |number: fn(&super::stats::DispatchMarks) -> [f64; 2]| {
        let mut metrics = Vec::new();
        for level in levels {
            if let Some(marks) = &level.stats.dispatch {
                let [min, max] = number(marks);
                metrics.push(gauge(level.with("bound", "max"), max));
                metrics.push(gauge(level.with("bound", "min"), min));
            }
        }
        metrics
    };
    families.add(
        "next_s_bounds",
        "[ALPHA] min and max, over queues, of S(oldest waiting request in queue)",
        MetricType::GAUGE,
        bounds(|marks| marks.s_bounds),
    );
    families.add(
        "next_discounted_s_bounds",
        "[ALPHA] min and max, over queues, of S(oldest waiting request in queue) - estimated work in progress",
        MetricType::GAUGE,
        bounds(|marks| marks.discounted_s_bounds),
    );
    families.add(
        "epoch_advance_total",
        "[ALPHA] Number of times the queueset's progress meter jumped backward",
        MetricType::COUNTER,
        levels
            .iter()
            .filter(|level| level.stats.epochs > 0)
            .map(|level| counter(level.with("success", "true"), level.stats.epochs))
            .collect(),
    );
    families.add(
        "priority_level_seat_utilization",
        "EXPERIMENTAL: [ALPHA] Observations, at the end of every nanosecond, of utilization of seats for any stage of execution (but only initial stage for WATCHes)",
        MetricType::HISTOGRAM,
        levels
            .iter()
            .map(|level| {
                let labels = level.with("phase", "executing");
                histogram(labels, &level.stats.seats.histogram)
            })
            .collect(),
    );
    let mut utilization = Vec::new();
    for phase in ["executing", "waiting"] {
        for level in levels {
            let timing = match phase {
                "executing" => &level.stats.executing,
                _ => &level.stats.waiting,
            };
            utilization.push(histogram(level.with("phase", phase), &timing.histogram));
        }
    }
    families.add(
        "priority_level_request_utilization",
        "EXPERIMENTAL: [ALPHA] Observations, at the end of every nanosecond, of number of requests (as a fraction of the relevant limit) waiting or in any stage of execution (but only initial stage for WATCHes)",
        MetricType::HISTOGRAM,
        utilization,
    );
    families.add(
        "demand_seats",
        "EXPERIMENTAL: [ALPHA] Observations, at the end of every nanosecond, of (the number of seats each priority level could use) / (nominal number of seats for that level)",
        MetricType::HISTOGRAM,
        levels
            .iter()
            .map(|level| histogram(level.labels(), &level.stats.demand_ratio.histogram))
            .collect(),
    );
}

//! Metrics: a registry that is handed down from `main`, upstream's stability levels in help texts, buckets, and `/metrics`.
//! Upstream: k8s.io/component-base/metrics.
//!
//! A constructor called twice with the same name gives the same metric, so that parts of a daemon need not know of each
//! other. Metrics that are disabled or past their deprecation can still be written to, they are only not shown.

/// Pieces of families.
pub mod families;
mod process;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use apimachinery::os_error;
use apimachinery::quote::quote;
use parking_lot::Mutex;
use prometheus::core::Collector;
pub use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec};
use prometheus::{Encoder as _, TextEncoder};

pub use process::start_time_seconds;

use crate::flags::Flags;
use crate::serving::{Body, Request, Response};
use crate::version;

/// How firmly a metric is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stability {
    #[default]
    Alpha,
    Beta,
    Stable,
    Internal,
}

impl Stability {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Stable => "STABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Minor releases a metric is shown after the one that deprecated it.
    fn deprecation_window(self) -> u32 {
        match self {
            Self::Stable => 3,
            Self::Beta => 1,
            Self::Alpha | Self::Internal => 0,
        }
    }
}

/// Name, help and promises of a metric.
#[derive(Clone, Debug)]
pub struct Opts {
    name: String,
    help: String,
    stability: Stability,
    /// Minor of 1.x.
    deprecated_since: Option<u32>,
    buckets: Vec<f64>,
    constant_labels: HashMap<String, String>,
}

impl Opts {
    /// The full name (`namespace_subsystem_name`) and upstream's help text, without its stability prefix.
    pub fn new(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            stability: Stability::Alpha,
            deprecated_since: None,
            buckets: default_buckets(),
            constant_labels: HashMap::new(),
        }
    }

    pub fn stability(mut self, stability: Stability) -> Self {
        self.stability = stability;
        self
    }

    /// Deprecated since 1.`minor`.
    pub fn deprecated_since(mut self, minor: u32) -> Self {
        self.deprecated_since = Some(minor);
        self
    }

    /// Upper bounds of a histogram's buckets, without the infinite one.
    pub fn buckets(mut self, buckets: Vec<f64>) -> Self {
        self.buckets = buckets;
        self
    }

    pub fn constant_label(mut self, name: &str, value: &str) -> Self {
        self.constant_labels
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn help_text(&self) -> String {
        let level = self.stability.as_str();
        match self.deprecated_since {
            Some(minor) => format!("[{level}] (Deprecated since 1.{minor}.0) {}", self.help),
            None => format!("[{level}] {}", self.help),
        }
    }

    fn common(&self) -> prometheus::Opts {
        prometheus::Opts::new(&self.name, self.help_text())
            .const_labels(self.constant_labels.clone())
    }

    fn histogram(&self) -> prometheus::HistogramOpts {
        prometheus::HistogramOpts {
            common_opts: self.common(),
            buckets: self.buckets.clone(),
        }
    }
}

/// Go's `prometheus.DefBuckets`.
pub fn default_buckets() -> Vec<f64> {
    vec![
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]
}

/// `count` bounds from `start`, each `factor` times the one before.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor))
        .take(count)
        .collect()
}

/// `count` bounds from `min` to `max`, evenly spaced on a logarithmic scale.
pub fn exponential_buckets_range(min: f64, max: f64, count: usize) -> Vec<f64> {
    let growth = (max / min).powf(1.0 / (count - 1) as f64);
    (0..count).map(|i| min * growth.powi(i as i32)).collect()
}

/// `count` bounds from `start`, `width` apart.
pub fn linear_buckets(start: f64, width: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound + width))
        .take(count)
        .collect()
}

/// The bounds of several lists, one after the other.
pub fn merge_buckets(lists: &[&[f64]]) -> Vec<f64> {
    lists.iter().flat_map(|list| list.iter().copied()).collect()
}

/// What the metrics flags say.
#[derive(Clone, Debug, Default)]
pub struct MetricsOptions {
    pub show_hidden: bool,
    pub disabled: BTreeSet<String>,
}

impl MetricsOptions {
    /// Reads `--show-hidden-metrics-for-version` and `--disabled-metrics`, where the daemon has them.
    pub fn from_flags(flags: &Flags) -> Result<Self, String> {
        let shown = if flags.has("show-hidden-metrics-for-version") {
            flags.string("show-hidden-metrics-for-version")
        } else {
            ""
        };
        let disabled = if flags.has("disabled-metrics") {
            flags.strings("disabled-metrics").to_vec()
        } else {
            Vec::new()
        };
        let manifest = "allow-metric-labels-manifest";
        if flags.has(manifest)
            && let Some(path) = flags.non_empty(manifest)
            && let Err(error) = std::fs::read(path)
        {
            return Err(format!(
                "metrics.allowListMappingManifest: Invalid value: {}: failed to read allow list manifest: {}",
                quote(path),
                os_error::on_reading(std::path::Path::new(path), &error)
            ));
        }
        Self::new(shown, disabled)
    }

    /// The same from a config file's values.
    pub fn new(show_hidden_for: &str, disabled: Vec<String>) -> Result<Self, String> {
        let previous = format!("{}.{}", version::MAJOR, version::MINOR - 1);
        if !show_hidden_for.is_empty() && show_hidden_for != previous {
            return Err(format!(
                "metrics.showHiddenMetricsForVersion: Invalid value: {}: must be omitted or have the value '{previous}'; only the previous minor version is allowed",
                quote(show_hidden_for)
            ));
        }
        Ok(Self {
            show_hidden: !show_hidden_for.is_empty(),
            disabled: disabled
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }
}

/// A daemon's metrics. Clones are the same registry.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: prometheus::Registry,
    options: MetricsOptions,
    made: Mutex<HashMap<String, Box<dyn Any + Send>>>,
    /// What empties the metrics that have labels.
    resets: Mutex<Vec<Box<dyn Fn() + Send>>>,
    registered: CounterVec,
    hidden: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::bare(MetricsOptions::default())
    }
}

impl Metrics {
    /// A registry with what every daemon shows: the process, the build, and the count of metrics.
    pub fn for_daemon(options: MetricsOptions) -> Self {
        let disabled = options.disabled.len();
        let metrics = Self::bare(options);
        let _ = metrics
            .inner
            .registry
            .register(Box::new(metrics.inner.registered.clone()));
        let _ = metrics
            .inner
            .registry
            .register(Box::new(metrics.inner.hidden.clone()));
        let count = metrics.counter(
            Opts::new("disabled_metrics_total", "The count of disabled metrics.")
                .stability(Stability::Beta),
        );
        count.inc_by(disabled as f64);
        metrics.counter(Opts::new(
            "cardinality_enforcement_unexpected_categorizations_total",
            "The count of unexpected categorizations during cardinality enforcement.",
        ));
        metrics.register(Box::new(process::ProcessCollector::new()));
        let info = version::Info::get();
        metrics
            .gauge_vec(
                Opts::new(
                    "kubernetes_build_info",
                    "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
                )
                .stability(Stability::Beta),
                &["major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform"],
            )
            .with_label_values(&[
                info.major.as_str(),
                &info.minor,
                &info.git_version,
                &info.git_commit,
                &info.git_tree_state,
                &info.build_date,
                &info.go_version,
                &info.compiler,
                &info.platform,
            ])
            .set(1.0);
        let minor = format!("{}.{}", version::MAJOR, version::MINOR);
        let compatible = format!("{}.{}", version::MAJOR, version::MINOR - 1);
        metrics
            .gauge_vec(
                Opts::new(
                    "version_info",
                    "Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.",
                ),
                &["component", "binary", "emulation", "min_compat"],
            )
            .with_label_values(&["kube", minor.as_str(), &minor, &compatible])
            .set(1.0);
        metrics
    }

    /// An empty registry, for tests and for `/metrics/slis`.
    pub fn bare(options: MetricsOptions) -> Self {
        let registered = CounterVec::new(
            prometheus::Opts::new(
                "registered_metrics_total",
                "[BETA] The count of registered metrics broken by stability level and deprecation version.",
            ),
            &["stability_level", "deprecated_version"],
        )
        .expect("the metric is well formed");
        let hidden = Counter::new(
            "hidden_metrics_total",
            "[BETA] The count of hidden metrics.",
        )
        .expect("the metric is well formed");
        Self {
            inner: Arc::new(Inner {
                registry: prometheus::Registry::new(),
                options,
                made: Mutex::new(HashMap::new()),
                resets: Mutex::new(Vec::new()),
                registered,
                hidden,
            }),
        }
    }

    /// The registry itself, for libraries that bring their own metrics.
    pub fn registry(&self) -> &prometheus::Registry {
        &self.inner.registry
    }

    pub fn counter(&self, opts: Opts) -> Counter {
        self.make(&opts, || Counter::with_opts(opts.common()))
    }

    pub fn counter_vec(&self, opts: Opts, labels: &[&str]) -> CounterVec {
        self.make(&opts, || {
            let metric = CounterVec::new(opts.common(), labels)?;
            let own = metric.clone();
            self.inner.resets.lock().push(Box::new(move || own.reset()));
            Ok(metric)
        })
    }

    pub fn gauge(&self, opts: Opts) -> Gauge {
        self.make(&opts, || Gauge::with_opts(opts.common()))
    }

    pub fn gauge_vec(&self, opts: Opts, labels: &[&str]) -> GaugeVec {
        self.make(&opts, || {
            let metric = GaugeVec::new(opts.common(), labels)?;
            let own = metric.clone();
            self.inner.resets.lock().push(Box::new(move || own.reset()));
            Ok(metric)
        })
    }

    pub fn histogram(&self, opts: Opts) -> Histogram {
        self.make(&opts, || Histogram::with_opts(opts.histogram()))
    }

    pub fn histogram_vec(&self, opts: Opts, labels: &[&str]) -> HistogramVec {
        self.make(&opts, || {
            let metric = HistogramVec::new(opts.histogram(), labels)?;
            let own = metric.clone();
            self.inner.resets.lock().push(Box::new(move || own.reset()));
            Ok(metric)
        })
    }

    /// Which metrics are shown.
    pub fn options(&self) -> &MetricsOptions {
        &self.inner.options
    }

    /// What is to be done when somebody empties the metrics.
    pub fn on_reset(&self, reset: impl Fn() + Send + 'static) {
        self.inner.resets.lock().push(Box::new(reset));
    }

    /// Adds a collector that computes its values when asked. A collector whose names are taken is left out, with a
    /// warning.
    pub fn register(&self, collector: Box<dyn Collector>) {
        if let Err(error) = self.inner.registry.register(collector) {
            tracing::warn!(%error, "A metrics collector is left out");
        }
    }

    fn make<M>(&self, opts: &Opts, new: impl FnOnce() -> prometheus::Result<M>) -> M
    where
        M: Collector + Clone + Send + 'static,
    {
        let mut made = self.inner.made.lock();
        if let Some(existing) = made.get(&opts.name) {
            return existing
                .downcast_ref::<M>()
                .unwrap_or_else(|| panic!("metric {} is made as two different types", opts.name))
                .clone();
        }
        let metric = new()
            .unwrap_or_else(|error| panic!("metric {} is not well formed: {error}", opts.name));
        made.insert(opts.name.clone(), Box::new(metric.clone()));
        if self.is_hidden(opts) {
            self.inner.hidden.inc();
        } else if !self.inner.options.disabled.contains(&opts.name) {
            if let Err(error) = self.inner.registry.register(Box::new(metric.clone())) {
                panic!("metric {} cannot be registered: {error}", opts.name);
            }
            let since = opts
                .deprecated_since
                .map(|minor| format!("1.{minor}.0"))
                .unwrap_or_default();
            self.inner
                .registered
                .with_label_values(&[opts.stability.as_str(), &since])
                .inc();
        }
        metric
    }

    fn is_hidden(&self, opts: &Opts) -> bool {
        let past = |minor: u32| minor + opts.stability.deprecation_window() <= version::MINOR;
        !self.inner.options.show_hidden && opts.deprecated_since.is_some_and(past)
    }

    /// All metrics as text.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.inner.registry.gather(), &mut text) {
            tracing::error!(%error, "Metrics could not be encoded");
        }
        text
    }

    /// Answers `/metrics`. DELETE empties the metrics that have labels, as upstream's does.
    pub fn handle(&self, request: &Request) -> Response {
        if request.method() == http::Method::DELETE {
            for reset in &*self.inner.resets.lock() {
                reset();
            }
            let mut response =
                crate::serving::text_response(http::StatusCode::OK, "metrics reset\n");
            response
                .headers_mut()
                .remove(http::header::X_CONTENT_TYPE_OPTIONS);
            return response;
        }
        let mut response = Response::new(Body::from(self.text()));
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            ),
        );
        response
    }
}

/// Results of health checks, shown at `/metrics/slis`. Clones are the same.
#[derive(Clone)]
pub struct HealthMetrics {
    metrics: Metrics,
    last: GaugeVec,
    total: CounterVec,
}

impl Default for HealthMetrics {
    fn default() -> Self {
        let metrics = Metrics::default();
        let last = metrics.gauge_vec(
            Opts::new(
                "kubernetes_healthcheck",
                "This metric records the result of a single healthcheck.",
            )
            .stability(Stability::Stable),
            &["name", "type"],
        );
        let total = metrics.counter_vec(
            Opts::new(
                "kubernetes_healthchecks_total",
                "This metric records the results of all healthcheck.",
            )
            .stability(Stability::Stable),
            &["name", "type", "status"],
        );
        metrics
            .gauge(
                Opts::new(
                    "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds.",
                )
                .stability(Stability::Alpha),
            )
            .set(start_time_seconds());
        Self {
            metrics,
            last,
            total,
        }
    }
}

impl HealthMetrics {
    /// Records one result; `kind` is `healthz`, `livez` or `readyz`.
    pub fn observe(&self, check: &str, kind: &str, passed: bool) {
        self.last
            .with_label_values(&[check, kind])
            .set(f64::from(u8::from(passed)));
        self.total
            .with_label_values(&[check, kind, if passed { "success" } else { "error" }])
            .inc();
    }

    /// Answers `/metrics/slis`.
    pub fn handle(&self, request: &Request) -> Response {
        self.metrics.handle(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text()).unwrap()
    }

    #[test]
    fn help_has_the_stability_level_and_names_are_shared() {
        let metrics = Metrics::default();
        metrics.counter(Opts::new("a_total", "Counts a.")).inc();
        metrics.counter(Opts::new("a_total", "Counts a.")).inc();
        let text = text(&metrics);
        assert!(
            text.contains("# HELP a_total [ALPHA] Counts a.\n# TYPE a_total counter\na_total 2\n"),
            "{text}"
        );
    }

    #[test]
    fn disabled_and_hidden_metrics_are_not_shown() {
        let options = MetricsOptions {
            show_hidden: false,
            disabled: BTreeSet::from(["off".to_owned()]),
        };
        let metrics = Metrics::bare(options);
        metrics.gauge(Opts::new("off", "x")).set(1.0);
        metrics
            .gauge(Opts::new("old_alpha", "x").deprecated_since(36))
            .set(1.0);
        metrics
            .gauge(
                Opts::new("old_stable", "x")
                    .stability(Stability::Stable)
                    .deprecated_since(34),
            )
            .set(1.0);
        let text = text(&metrics);
        assert!(!text.contains("off"), "{text}");
        assert!(!text.contains("old_alpha"), "{text}");
        assert!(
            text.contains("[STABLE] (Deprecated since 1.34.0) x"),
            "{text}"
        );
        let shown = Metrics::bare(MetricsOptions::new("1.35", Vec::new()).unwrap());
        shown
            .gauge(Opts::new("old_alpha", "x").deprecated_since(36))
            .set(1.0);
        assert!(
            String::from_utf8(shown.text())
                .unwrap()
                .contains("old_alpha 1")
        );
        assert!(MetricsOptions::new("1.30", Vec::new()).is_err());
    }

    #[test]
    fn delete_empties_metrics_with_labels() {
        let metrics = Metrics::default();
        metrics
            .counter_vec(Opts::new("a_total", "x"), &["b"])
            .with_label_values(&["c"])
            .inc();
        metrics.counter(Opts::new("d_total", "x")).inc();
        let request = http::Request::delete("/metrics")
            .body(Body::empty())
            .unwrap();
        assert_eq!(metrics.handle(&request).status(), 200);
        let text = text(&metrics);
        assert!(
            !text.contains("a_total{") && text.contains("d_total 1"),
            "{text}"
        );
    }

    #[test]
    fn buckets() {
        assert_eq!(exponential_buckets(0.001, 2.0, 3), [0.001, 0.002, 0.004]);
        assert_eq!(linear_buckets(1.0, 2.0, 3), [1.0, 3.0, 5.0]);
        let range = exponential_buckets_range(1.0, 100.0, 3);
        assert!((range[1] - 10.0).abs() < 1e-9 && (range[2] - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_daemon_shows_itself() {
        let text = text(&Metrics::for_daemon(MetricsOptions::default()));
        for name in [
            "kubernetes_build_info{",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "registered_metrics_total{",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
    }

    #[test]
    fn health_results() {
        let health = HealthMetrics::default();
        health.observe("ping", "livez", true);
        health.observe("etcd", "livez", false);
        let text = text(&health.metrics);
        assert!(
            text.contains("kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 0"),
            "{text}"
        );
        assert!(
            text.contains(
                "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"livez\"} 1"
            ),
            "{text}"
        );
    }
}

//! What `/metrics` shows of requests, with upstream's names, labels and texts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use component_base::metrics::families::{self, counter, gauge, pair};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::histogram::{self, Histogram};
use super::writes::COMPARISONS;
use super::{Filter, Inner, RequestMetrics, Route};

/// Shows the numbers as long as there is a server.
pub(super) struct RequestCollector {
    metrics: Weak<Inner>,
    /// What the registry knows it by.
    desc: Desc,
}

impl RequestCollector {
    pub(super) fn new(metrics: &RequestMetrics) -> Option<RequestCollector> {
        let desc = Desc::new(
            "apiserver_request_total".to_owned(),
            "[STABLE] Requests".to_owned(),
            Vec::new(),
            HashMap::new(),
        );
        Some(RequestCollector {
            metrics: Arc::downgrade(&metrics.0),
            desc: desc.ok()?,
        })
    }
}

impl Collector for RequestCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(metrics) = self.metrics.upgrade() else {
            return Vec::new();
        };
        let routes: Vec<Arc<Route>> = {
            let routes = metrics.routes.read();
            routes.iter().map(|handle| handle.0.clone()).collect()
        };
        let mut families = of_routes(&routes, metrics.shown.show_hidden);
        families.extend(merged(&routes));
        families.push(filters(&metrics));
        families.extend(writes(&metrics));
        let disabled = &metrics.shown.disabled;
        families
            .retain(|family| !family.get_metric().is_empty() && !disabled.contains(family.name()));
        families
    }
}

/// Series of single routes.
fn of_routes(routes: &[Arc<Route>], hidden: bool) -> Vec<MetricFamily> {
    let mut families = vec![
        family(
            "request_total",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
            MetricType::COUNTER,
            routes.iter().flat_map(|route| totals(route)),
        ),
        family(
            "longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
            MetricType::GAUGE,
            routes.iter().filter_map(|route| {
                let running = route.long_running.get()?.load(Ordering::Relaxed);
                Some(gauge(labels(route, &[]), running as f64))
            }),
        ),
        family(
            "request_duration_seconds",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
            MetricType::HISTOGRAM,
            routes.iter().flat_map(|route| durations(route)),
        ),
        family(
            "request_sli_duration_seconds",
            "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
            MetricType::HISTOGRAM,
            routes
                .iter()
                .filter_map(|route| of(route, route.service_level.get())),
        ),
        family(
            "response_sizes",
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
            MetricType::HISTOGRAM,
            routes
                .iter()
                .filter_map(|route| of(route, route.responses.get())),
        ),
        family(
            "request_terminations_total",
            "[ALPHA] Number of requests which apiserver terminated in self-defense.",
            MetricType::COUNTER,
            routes.iter().flat_map(|route| {
                let terminations = route.terminations.read();
                let told = terminations.iter().map(|(code, count)| {
                    let more = [("code", code.to_string())];
                    counter(labels(route, &more), count.load(Ordering::Relaxed))
                });
                told.collect::<Vec<Metric>>()
            }),
        ),
    ];
    if hidden {
        families.push(family(
            "request_slo_duration_seconds",
            "[ALPHA] (Deprecated since 1.27.0) Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
            MetricType::HISTOGRAM,
            routes.iter().filter_map(|route| of(route, route.service_level.get())),
        ));
    }
    families
}

fn totals(route: &Route) -> Vec<Metric> {
    let totals = route.totals.read();
    let told = totals.iter().map(|total| {
        let more = [
            ("code", total.code.to_string()),
            ("dry_run", total.dry_run.to_string()),
            ("system_client", total.client.0.to_owned()),
        ];
        counter(labels(route, &more), total.count.load(Ordering::Relaxed))
    });
    told.collect()
}

fn durations(route: &Route) -> Vec<Metric> {
    let told = |dry_run: &str, durations: &Histogram| {
        histogram(labels(route, &[("dry_run", dry_run.to_owned())]), durations)
    };
    let dry_runs = route.dry_runs.read();
    let dry = dry_runs
        .iter()
        .map(|(option, durations)| told(option, durations));
    let wet = route.durations.get();
    wet.map(|durations| told("", durations))
        .into_iter()
        .chain(dry)
        .collect()
}

fn of(route: &Route, values: Option<&Histogram>) -> Option<Metric> {
    Some(histogram(labels(route, &[]), values?))
}

/// Series that several routes have a part in.
fn merged(routes: &[Arc<Route>]) -> Vec<MetricFamily> {
    let mut aborts: BTreeMap<Vec<(&str, &str)>, u64> = BTreeMap::new();
    let mut own: BTreeMap<Vec<(&str, &str)>, u64> = BTreeMap::new();
    let mut deprecated: BTreeMap<Vec<(&str, &str)>, f64> = BTreeMap::new();
    let mut bodies = Merged::new(&histogram::BODIES);
    let mut events = Merged::new(&histogram::EVENTS);
    let mut lists = Merged::new(&histogram::WATCH_LISTS);
    for route in routes {
        let all = route.labels();
        let (group, version) = (("group", all.group), ("version", all.version));
        let resource = ("resource", all.resource);
        let subresource = ("subresource", all.subresource);
        let broken_off = route.aborts.load(Ordering::Relaxed);
        if broken_off > 0 {
            let scope = ("scope", all.scope);
            let labels = vec![
                group,
                resource,
                scope,
                subresource,
                ("verb", all.verb),
                version,
            ];
            *aborts.entry(labels).or_default() += broken_off;
        }
        let requests = route.own.load(Ordering::Relaxed);
        if requests > 0 {
            let labels = vec![group, resource, subresource, ("verb", all.verb)];
            *own.entry(labels).or_default() += requests;
        }
        if let Some(removed_release) = route.deprecated.get() {
            let labels = vec![
                group,
                ("removed_release", removed_release),
                resource,
                subresource,
                version,
            ];
            deprecated.insert(labels, 1.0);
        }
        if let Some(sizes) = route.bodies.get() {
            let labels = vec![group, resource, ("verb", body_verb(all.verb, all.scope))];
            bodies.add(labels, sizes);
        }
        if let Some(sizes) = route.events.get() {
            events.add(vec![group, resource, version], sizes);
        }
        if let Some(durations) = route.watch_lists.get() {
            let labels = vec![group, resource, ("scope", all.scope), version];
            lists.add(labels, durations);
        }
    }
    vec![
        family(
            "request_aborts_total",
            "[ALPHA] Number of requests which apiserver aborted possibly due to a timeout, for each group, version, verb, resource, subresource and scope",
            MetricType::COUNTER,
            aborts
                .into_iter()
                .map(|(labels, count)| counter(pairs(&labels), count)),
        ),
        family(
            "selfrequest_total",
            "[ALPHA] Counter of apiserver self-requests broken out for each verb, API resource and subresource.",
            MetricType::COUNTER,
            own.into_iter()
                .map(|(labels, count)| counter(pairs(&labels), count)),
        ),
        family(
            "requested_deprecated_apis",
            "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
            MetricType::GAUGE,
            deprecated
                .into_iter()
                .map(|(labels, value)| gauge(pairs(&labels), value)),
        ),
        family(
            "request_body_size_bytes",
            "[ALPHA] Apiserver request body size in bytes broken out by resource and verb.",
            MetricType::HISTOGRAM,
            bodies.told(),
        ),
        family(
            "watch_events_total",
            "[ALPHA] Number of events sent in watch clients",
            MetricType::COUNTER,
            events
                .series
                .iter()
                .map(|(labels, sizes)| counter(pairs(labels), sizes.count())),
        ),
        family(
            "watch_events_sizes",
            "[ALPHA] Watch event size distribution in bytes",
            MetricType::HISTOGRAM,
            events.told(),
        ),
        family(
            "watch_list_duration_seconds",
            "[BETA] Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.",
            MetricType::HISTOGRAM,
            lists.told(),
        ),
    ]
}

/// Histograms by labels.
struct Merged<'a> {
    scale: &'static histogram::Scale,
    series: BTreeMap<Vec<(&'static str, &'a str)>, Histogram>,
}

impl<'a> Merged<'a> {
    fn new(scale: &'static histogram::Scale) -> Merged<'a> {
        let series = BTreeMap::new();
        Merged { scale, series }
    }

    fn add(&mut self, labels: Vec<(&'static str, &'a str)>, values: &Histogram) {
        let series = self.series.entry(labels);
        series
            .or_insert_with(|| Histogram::new(self.scale))
            .add(values);
    }

    fn told(&self) -> impl Iterator<Item = Metric> {
        let series = self.series.iter();
        series.map(|(labels, values)| histogram(pairs(labels), values))
    }
}

/// As the metric of bodies calls verbs.
fn body_verb(verb: &str, scope: &str) -> &'static str {
    match verb {
        "POST" => "create",
        "PUT" => "update",
        "DELETE" if scope != "resource" => "delete_collection",
        "DELETE" => "delete",
        _ => "patch",
    }
}

fn filters(metrics: &Inner) -> MetricFamily {
    let names = [
        (Filter::Audit, "audit"),
        (Filter::Authentication, "authentication"),
        (Filter::Authorization, "authorization"),
        (Filter::Impersonation, metrics.impersonation),
        (Filter::PriorityAndFairness, "priorityandfairness"),
    ];
    let told = names.into_iter().filter_map(|(filter, name)| {
        let values = metrics.filters.get(filter as usize)?;
        (values.count() > 0).then(|| histogram(pairs(&[("filter", name)]), values))
    });
    family(
        "request_filter_duration_seconds",
        "[ALPHA] Request filter latency distribution in seconds, for each filter type",
        MetricType::HISTOGRAM,
        told,
    )
}

fn writes(metrics: &Inner) -> [MetricFamily; 2] {
    let post_timeouts = metrics.post_timeouts.counts();
    let comparisons = COMPARISONS.into_iter().filter_map(|(outcome, path)| {
        let values = metrics.comparisons.of(outcome);
        (values.count() > 0).then(|| histogram(pairs(&[("code_path", path)]), values))
    });
    [
        family(
            "request_post_timeout_total",
            "[ALPHA] Tracks the activity of the request handlers after the associated requests have been timed out by the apiserver",
            MetricType::COUNTER,
            post_timeouts.map(|(source, status, count)| {
                counter(pairs(&[("source", source), ("status", status)]), count)
            }),
        ),
        family(
            "request_timestamp_comparison_time",
            "[ALPHA] Time taken for comparison of old vs new objects in UPDATE or PATCH requests",
            MetricType::HISTOGRAM,
            comparisons,
        ),
    ]
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: impl Iterator<Item = Metric>,
) -> MetricFamily {
    families::family(format!("apiserver_{name}"), help, kind, metrics.collect())
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| pair(name, value))
        .collect()
}

/// The labels of a route and more, in the order of their names.
fn labels(route: &Route, more: &[(&str, String)]) -> Vec<LabelPair> {
    let all = route.labels();
    let mut pairs = pairs(&[
        ("component", all.component),
        ("group", all.group),
        ("resource", all.resource),
        ("scope", all.scope),
        ("subresource", all.subresource),
        ("verb", all.verb),
        ("version", all.version),
    ]);
    pairs.extend(more.iter().map(|(name, value)| pair(name, value)));
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}

fn histogram(labels: Vec<LabelPair>, values: &Histogram) -> Metric {
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(values.collect());
    metric
}

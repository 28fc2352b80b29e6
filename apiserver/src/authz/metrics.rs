//! What is counted of authorizers and of requests. Upstream: apiserver/pkg/authorization/{metrics,cel},
//! plugin/pkg/authorizer/webhook/metrics, endpoints/filters/metrics.go.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use component_base::auth::{AuthorizeError, Decision};
use component_base::metrics::{
    Counter, CounterVec, Histogram, HistogramVec, Metrics, Opts, default_buckets,
    exponential_buckets,
};

/// What all authorizers share, also those of later configurations.
#[derive(Clone)]
pub struct AuthorizerMetrics {
    decisions: CounterVec,
    evaluations: CounterVec,
    durations: HistogramVec,
    failed_open: CounterVec,
    condition_errors: CounterVec,
    condition_exclusions: CounterVec,
    condition_seconds: HistogramVec,
}

impl AuthorizerMetrics {
    /// To be called once for a registry.
    pub fn new(metrics: &Metrics) -> Self {
        let opts =
            |name: &str, help: &str| Opts::new(format!("apiserver_authorization_{name}"), help);
        let by_result = ["name", "result"];
        let by_name = ["type", "name"];
        Self {
            decisions: metrics.counter_vec(
                opts("decisions_total", "Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision."),
                &["type", "name", "decision"],
            ),
            evaluations: metrics.counter_vec(
                opts("webhook_evaluations_total", "Round-trips to authorization webhooks."),
                &by_result,
            ),
            durations: metrics.histogram_vec(
                opts("webhook_duration_seconds", "Request latency in seconds.").buckets(default_buckets()),
                &by_result,
            ),
            failed_open: metrics.counter_vec(
                opts("webhook_evaluations_fail_open_total", "NoOpinion results due to webhook timeout or error."),
                &by_result,
            ),
            condition_errors: metrics.counter_vec(
                opts("match_condition_evaluation_errors_total", "Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and name."),
                &by_name,
            ),
            condition_exclusions: metrics.counter_vec(
                opts("match_condition_exclusions_total", "Total number of exclusions when an authorization webhook is skipped because match conditions exclude it."),
                &by_name,
            ),
            condition_seconds: metrics.histogram_vec(
                opts("match_condition_evaluation_seconds", "Authorization match condition evaluation time in seconds, split by authorizer type and name.")
                    .buckets(vec![0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25]),
                &by_name,
            ),
        }
    }

    pub(super) fn decisions(&self, kind: &str, name: &str) -> Decisions {
        Decisions {
            counters: self.decisions.clone(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            allowed: OnceLock::new(),
            denied: OnceLock::new(),
        }
    }

    pub(super) fn webhook(&self, name: &str) -> WebhookMetrics {
        WebhookMetrics {
            name: name.to_owned(),
            all: self.clone(),
        }
    }
}

/// Of one authorizer: how often it ended the search. What it never did is not shown.
pub(super) struct Decisions {
    counters: CounterVec,
    kind: String,
    name: String,
    allowed: OnceLock<Counter>,
    denied: OnceLock<Counter>,
}

impl Decisions {
    pub(super) fn count(&self, verdict: &Result<Decision, AuthorizeError>) {
        let (counter, decision) = match verdict {
            Ok(Decision::NoOpinion(_)) => return,
            Ok(Decision::Allow(_)) => (&self.allowed, "allowed"),
            Ok(Decision::Deny(_)) => (&self.denied, "denied"),
            Err(error) if error.denied => (&self.denied, "denied"),
            Err(_) => return,
        };
        let labels = [&*self.kind, &*self.name, decision];
        counter
            .get_or_init(|| self.counters.with_label_values(&labels))
            .inc();
    }
}

/// Of one webhook.
pub(super) struct WebhookMetrics {
    name: String,
    all: AuthorizerMetrics,
}

impl WebhookMetrics {
    /// Match conditions were evaluated, in this time.
    pub(super) fn evaluated(&self, took: Duration, errors: bool) {
        let labels = ["Webhook", &*self.name];
        let seconds = self.all.condition_seconds.with_label_values(&labels);
        seconds.observe(took.as_secs_f64());
        if errors {
            self.all.condition_errors.with_label_values(&labels).inc();
        }
    }

    /// A match condition left a request out.
    pub(super) fn excluded(&self) {
        let labels = ["Webhook", &*self.name];
        self.all
            .condition_exclusions
            .with_label_values(&labels)
            .inc();
    }

    /// The webhook was passed over since it did not answer.
    pub(super) fn failed_open(&self, result: &str) {
        let labels = [&*self.name, result];
        self.all.failed_open.with_label_values(&labels).inc();
    }

    /// A call begins.
    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt {
            metrics: self,
            started: Instant::now(),
            result: "canceled",
        }
    }
}

/// A call under way, which counts as canceled when nobody waits for its end.
pub(super) struct Attempt<'a> {
    metrics: &'a WebhookMetrics,
    started: Instant,
    result: &'static str,
}

impl Attempt<'_> {
    pub(super) fn ended(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let labels = [&*self.metrics.name, self.result];
        let all = &self.metrics.all;
        all.evaluations.with_label_values(&labels).inc();
        all.durations
            .with_label_values(&labels)
            .observe(self.started.elapsed().as_secs_f64());
    }
}

/// How authorization of requests ended.
pub struct RequestMetrics {
    allowed: Outcome,
    denied: Outcome,
    no_opinion: Outcome,
    error: Outcome,
}

struct Outcome {
    attempts: Counter,
    duration: Histogram,
}

impl RequestMetrics {
    /// To be called once for a registry.
    pub fn new(metrics: &Metrics) -> Self {
        let attempts = metrics.counter_vec(
            Opts::new("authorization_attempts_total", "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'."),
            &["result"],
        );
        let durations = metrics.histogram_vec(
            Opts::new(
                "authorization_duration_seconds",
                "Authorization duration in seconds broken out by result.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 15)),
            &["result"],
        );
        let outcome = |result: &str| Outcome {
            attempts: attempts.with_label_values(&[result]),
            duration: durations.with_label_values(&[result]),
        };
        Self {
            allowed: outcome("allowed"),
            denied: outcome("denied"),
            no_opinion: outcome("no-opinion"),
            error: outcome("error"),
        }
    }

    pub fn count(&self, verdict: &Result<Decision, AuthorizeError>, took: Duration) {
        let outcome = match verdict {
            Ok(Decision::Allow(_)) => &self.allowed,
            Ok(Decision::Deny(_)) => &self.denied,
            Ok(Decision::NoOpinion(_)) => &self.no_opinion,
            Err(_) => &self.error,
        };
        outcome.attempts.inc();
        outcome.duration.observe(took.as_secs_f64());
    }
}

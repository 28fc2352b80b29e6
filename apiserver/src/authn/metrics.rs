//! How requests were authenticated. Upstream: apiserver/pkg/endpoints/filters/metrics.go and authentication/token/cache/stats.go.
//!
//! The values of labels are few and known, so counting looks nothing up.

use std::time::{Duration, Instant};

use component_base::metrics::{
    Counter, CounterVec, Gauge, Histogram, HistogramVec, Metrics, Opts, exponential_buckets,
};

/// User names that are told apart.
const KNOWN_USERS: [&str; 5] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
];

/// One result of authentication.
struct Outcome {
    attempts: Counter,
    duration: Histogram,
}

impl Outcome {
    fn new(attempts: &CounterVec, durations: &HistogramVec, result: &str) -> Self {
        Self {
            attempts: attempts.with_label_values(&[result]),
            duration: durations.with_label_values(&[result]),
        }
    }

    fn count(&self, took: Duration) {
        self.attempts.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// What is counted of all requests.
pub struct AuthenticationMetrics {
    users: CounterVec,
    other_users: Counter,
    success: Outcome,
    failure: Outcome,
    error: Outcome,
}

impl AuthenticationMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let users = metrics.counter_vec(
            Opts::new(
                "authenticated_user_requests",
                "Counter of authenticated requests broken out by username.",
            ),
            &["username"],
        );
        let attempts = metrics.counter_vec(
            Opts::new(
                "authentication_attempts",
                "Counter of authenticated attempts.",
            ),
            &["result"],
        );
        let durations = metrics.histogram_vec(
            Opts::new(
                "authentication_duration_seconds",
                "Authentication duration in seconds broken out by result.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 15)),
            &["result"],
        );
        let outcome = |result: &str| Outcome::new(&attempts, &durations, result);
        Self {
            other_users: users.with_label_values(&["other"]),
            users,
            success: outcome("success"),
            failure: outcome("failure"),
            error: outcome("error"),
        }
    }

    /// A request is from this user.
    pub fn success(&self, user: &str, took: Duration) {
        if KNOWN_USERS.contains(&user) {
            self.users.with_label_values(&[user]).inc();
        } else if user.contains('@') {
            self.users.with_label_values(&["email_id"]).inc();
        } else {
            self.other_users.inc();
        }
        self.success.count(took);
    }

    /// A request has no credential.
    pub fn failure(&self, took: Duration) {
        self.failure.count(took);
    }

    /// A request has a wrong credential.
    pub fn error(&self, took: Duration) {
        self.error.count(took);
    }
}

/// What is counted of tokens of service accounts. Upstream: pkg/serviceaccount/metrics.go.
pub struct ServiceAccountMetrics {
    /// Tokens that are for no audience.
    pub(super) legacy: Counter,
    /// Tokens that should have been replaced by now.
    pub(super) stale: Counter,
    /// Tokens that live longer than was asked for, and need not be replaced yet.
    pub(super) valid: Counter,
    pub(super) manual: Counter,
    pub(super) automatic: Counter,
    pub(super) invalid: Counter,
}

impl ServiceAccountMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| {
            metrics.counter(Opts::new(format!("serviceaccount_{name}_total"), help))
        };
        Self {
            legacy: counter(
                "legacy_tokens",
                "Cumulative legacy service account tokens used",
            ),
            stale: counter(
                "stale_tokens",
                "Cumulative stale projected service account tokens used",
            ),
            valid: counter(
                "valid_tokens",
                "Cumulative valid projected service account tokens used",
            ),
            manual: counter(
                "legacy_manual_token_uses",
                "Cumulative manually created legacy tokens used",
            ),
            automatic: counter(
                "legacy_auto_token_uses",
                "Cumulative auto-generated legacy tokens used",
            ),
            invalid: counter(
                "invalid_legacy_auto_token_uses",
                "Cumulative invalid auto-generated legacy tokens used",
            ),
        }
    }
}

/// What is counted of the cache of tokens.
pub(super) struct TokenCacheMetrics {
    hits: Counter,
    misses: Counter,
    hit_duration: Histogram,
    miss_duration: Histogram,
    fetched: Counter,
    unfetched: Counter,
    in_flight: Gauge,
    blocked: Gauge,
}

/// A question that the cache had no answer to.
pub(super) struct Miss<'a> {
    metrics: &'a TokenCacheMetrics,
    started: Instant,
    worked: bool,
}

impl TokenCacheMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let name = |name: &str| Opts::new(format!("authentication_token_cache_{name}"), "");
        let requests = metrics.counter_vec(name("request_total"), &["status"]);
        let durations = metrics.histogram_vec(name("request_duration_seconds"), &["status"]);
        let fetches = metrics.counter_vec(name("fetch_total"), &["status"]);
        let active = metrics.gauge_vec(name("active_fetch_count"), &["status"]);
        Self {
            hits: requests.with_label_values(&["hit"]),
            misses: requests.with_label_values(&["miss"]),
            hit_duration: durations.with_label_values(&["hit"]),
            miss_duration: durations.with_label_values(&["miss"]),
            fetched: fetches.with_label_values(&["ok"]),
            unfetched: fetches.with_label_values(&["error"]),
            in_flight: active.with_label_values(&["in_flight"]),
            blocked: active.with_label_values(&["blocked"]),
        }
    }

    pub(super) fn hit(&self, took: Duration) {
        self.hits.inc();
        self.hit_duration.observe(took.as_secs_f64());
    }

    /// Counts as under way until it is dropped.
    pub(super) fn miss(&self, started: Instant) -> Miss<'_> {
        self.in_flight.inc();
        self.blocked.inc();
        Miss {
            metrics: self,
            started,
            worked: false,
        }
    }
}

impl Miss<'_> {
    pub(super) fn worked(&mut self) {
        self.worked = true;
    }
}

impl Drop for Miss<'_> {
    fn drop(&mut self) {
        let metrics = self.metrics;
        metrics.in_flight.dec();
        metrics.blocked.dec();
        metrics.misses.inc();
        metrics
            .miss_duration
            .observe(self.started.elapsed().as_secs_f64());
        if self.worked {
            metrics.fetched.inc();
        } else {
            metrics.unfetched.inc();
        }
    }
}

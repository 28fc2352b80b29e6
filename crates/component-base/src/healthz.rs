//! `/healthz`, `/livez`, `/readyz`. Upstream: k8s.io/apiserver/pkg/server/healthz.
//!
//! Each path has a list of named checks. All are run on every request, none hides another. Why a check fails is for the
//! log and for `/<path>/<check>`; the summary withholds it, since it is public.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use parking_lot::RwLock;

use crate::auth::BoxFuture;
use crate::metrics::HealthMetrics;
use crate::serving::{Request, Response, error_response, text_response};
use apimachinery::quote::quote;

/// A named check. The error is why it fails.
pub trait HealthCheck: Send + Sync {
    fn name(&self) -> &str;

    fn check(&self) -> BoxFuture<'_, Result<(), String>>;

    /// A name that excludes several checks at once.
    fn group(&self) -> Option<&str> {
        None
    }
}

struct Named<F> {
    name: String,
    check: F,
}

impl<F> HealthCheck for Named<F>
where
    F: Fn() -> Result<(), String> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        let result = (self.check)();
        Box::pin(std::future::ready(result))
    }
}

/// A check made of a function that answers at once.
pub fn named_check<F>(name: impl Into<String>, check: F) -> Arc<dyn HealthCheck>
where
    F: Fn() -> Result<(), String> + Send + Sync + 'static,
{
    Arc::new(Named {
        name: name.into(),
        check,
    })
}

/// The check that always passes.
pub fn ping() -> Arc<dyn HealthCheck> {
    named_check("ping", || Ok(()))
}

/// Passes while the process can write its log; writing is never buffered behind a lock here, so it always can.
pub fn log() -> Arc<dyn HealthCheck> {
    named_check("log", || Ok(()))
}

/// Passes always: upstream's servers call themselves with a certificate that ends with time, and nothing here does.
pub fn loopback_serving_certificate() -> Arc<dyn HealthCheck> {
    named_check("loopback-serving-certificate", || Ok(()))
}

/// Fails once the process is told to stop.
pub fn shutdown(stop: tokio_util::sync::CancellationToken) -> Arc<dyn HealthCheck> {
    named_check("shutdown", move || {
        if stop.is_cancelled() {
            Err("process is shutting down".to_owned())
        } else {
            Ok(())
        }
    })
}

/// Start-up work that must end before a check passes: the check passes when every handle is dropped.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<AtomicUsize>,
}

/// Held by start-up work; dropping it says the work is done.
#[derive(Debug)]
pub struct ReadinessHandle {
    waiting: Arc<AtomicUsize>,
}

impl Readiness {
    pub fn handle(&self) -> ReadinessHandle {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        ReadinessHandle {
            waiting: self.waiting.clone(),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// A check that passes when all handles are dropped.
    pub fn check(&self, name: impl Into<String>, not_ready: &'static str) -> Arc<dyn HealthCheck> {
        let this = self.clone();
        named_check(name, move || {
            if this.is_ready() {
                Ok(())
            } else {
                Err(not_ready.to_owned())
            }
        })
    }
}

impl Drop for ReadinessHandle {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The checks of one path. Clones share them; checks can be added while serving.
#[derive(Clone)]
pub struct HealthChecks {
    inner: Arc<Inner>,
}

struct Inner {
    /// `/healthz` and the like.
    path: String,
    checks: RwLock<Vec<Arc<dyn HealthCheck>>>,
    healthy_once: AtomicBool,
    metrics: Option<HealthMetrics>,
}

impl HealthChecks {
    /// Checks at a path, which starts with a slash.
    pub fn new(path: &str, checks: impl IntoIterator<Item = Arc<dyn HealthCheck>>) -> Self {
        Self::with_metrics(path, checks, None)
    }

    /// [`Self::new`], counting results in `kubernetes_healthcheck` and `kubernetes_healthchecks_total`.
    pub fn with_metrics(
        path: &str,
        checks: impl IntoIterator<Item = Arc<dyn HealthCheck>>,
        metrics: Option<HealthMetrics>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                checks: RwLock::new(checks.into_iter().collect()),
                healthy_once: AtomicBool::new(false),
                metrics,
            }),
        }
    }

    pub fn add(&self, check: Arc<dyn HealthCheck>) {
        self.inner.checks.write().push(check);
    }

    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// The path and those of all checks.
    pub fn paths(&self) -> Vec<String> {
        let path = &self.inner.path;
        let checks = self.inner.checks.read();
        let checks = checks
            .iter()
            .map(|check| format!("{path}/{}", check.name()));
        std::iter::once(path.clone()).chain(checks).collect()
    }

    /// Whether the summary passed at least once.
    pub fn was_healthy(&self) -> bool {
        self.inner.healthy_once.load(Ordering::Relaxed)
    }

    fn name(&self) -> &str {
        self.inner
            .path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default()
    }

    /// Answers the path and `<path>/<check>`; `None` for other paths and for checks that do not exist.
    pub async fn handle(&self, request: &Request) -> Option<Response> {
        self.answer(
            request.uri().path(),
            request.uri().query().unwrap_or_default(),
        )
        .await
    }

    /// [`Self::handle`] for a path and query.
    pub async fn answer(&self, path: &str, query: &str) -> Option<Response> {
        let rest = path.strip_prefix(self.inner.path.as_str())?;
        let checks = self.inner.checks.read().clone();
        let checks = if checks.is_empty() {
            vec![ping()]
        } else {
            checks
        };
        if rest.is_empty() {
            return Some(self.summary(&checks, query).await);
        }
        let name = rest.strip_prefix('/')?;
        let check = checks.iter().find(|check| check.name() == name)?;
        Some(match check.check().await {
            // Unlike the summary, it does not tell browsers to take its word for the type.
            Ok(()) => {
                let mut response = text_response(StatusCode::OK, "ok");
                response
                    .headers_mut()
                    .remove(http::header::X_CONTENT_TYPE_OPTIONS);
                response
            }
            Err(why) => error_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("internal server error: {why}"),
            ),
        })
    }

    async fn summary(&self, checks: &[Arc<dyn HealthCheck>], query: &str) -> Response {
        let mut excluded = BTreeSet::new();
        let mut verbose = false;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "exclude" => {
                    excluded.insert(value.into_owned());
                }
                "verbose" => verbose = true,
                _ => {}
            }
        }
        let mut unknown = excluded.clone();
        let mut output = String::new();
        let mut details = String::new();
        let mut failed = Vec::new();
        for check in checks {
            let name = check.name();
            if excluded.contains(name) {
                unknown.remove(name);
                output.push_str(&format!("[+]{name} excluded: ok\n"));
                continue;
            }
            if let Some(group) = check.group().filter(|group| excluded.contains(*group)) {
                unknown.remove(group);
                output.push_str(&format!("[+]{name} excluded with {group}: ok\n"));
                continue;
            }
            let result = check.check().await;
            if let Some(metrics) = &self.inner.metrics {
                metrics.observe(name, self.name(), result.is_ok());
            }
            match result {
                Ok(()) => output.push_str(&format!("[+]{name} ok\n")),
                Err(why) => {
                    output.push_str(&format!("[-]{name} failed: reason withheld\n"));
                    details.push_str(&format!("[-]{name} failed: {why}\n"));
                    failed.push(name);
                }
            }
        }
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.iter().map(|name| quote(name)).collect();
            output.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {}\n",
                names.join(",")
            ));
        }
        let name = self.name();
        if !failed.is_empty() {
            tracing::debug!("{} check failed: {name}\n{details}", failed.join(","));
            let text = format!("{output}{name} check failed");
            return error_response(StatusCode::INTERNAL_SERVER_ERROR, &text);
        }
        self.inner.healthy_once.store(true, Ordering::Relaxed);
        if verbose {
            text_response(StatusCode::OK, format!("{output}{name} check passed\n"))
        } else {
            text_response(StatusCode::OK, "ok")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(checks: &HealthChecks, path: &str, query: &str) -> (u16, String) {
        let response = checks.answer(path, query).await.expect("the path is known");
        let status = response.status().as_u16();
        let body = response.into_body().collect(10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn texts_are_upstreams() {
        let checks = HealthChecks::new(
            "/healthz",
            [ping(), named_check("etcd", || Err("no route".to_owned()))],
        );
        let (status, text) = get(&checks, "/healthz", "").await;
        assert_eq!(
            (status, text.as_str()),
            (
                500,
                "[+]ping ok\n[-]etcd failed: reason withheld\nhealthz check failed\n"
            )
        );
        assert!(!checks.was_healthy());
        let (status, text) = get(&checks, "/healthz/etcd", "").await;
        assert_eq!(
            (status, text.as_str()),
            (500, "internal server error: no route\n")
        );
        assert_eq!(
            get(&checks, "/healthz/ping", "").await,
            (200, "ok".to_owned())
        );
        let (status, text) = get(&checks, "/healthz", "exclude=etcd&exclude=zz&verbose").await;
        assert_eq!(status, 200);
        assert_eq!(
            text,
            "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"zz\"\nhealthz check passed\n"
        );
        assert_eq!(
            get(&checks, "/healthz", "exclude=etcd").await,
            (200, "ok".to_owned())
        );
        assert!(checks.was_healthy());
        assert!(checks.answer("/healthz/none", "").await.is_none());
        assert!(checks.answer("/healthzz", "").await.is_none());
    }

    #[tokio::test]
    async fn ready_when_all_handles_are_dropped() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.handle(), readiness.handle());
        let checks = HealthChecks::new("/readyz", [readiness.check("start-up", "not done")]);
        drop(first);
        assert_eq!(get(&checks, "/readyz", "").await.0, 500);
        drop(second);
        assert_eq!(get(&checks, "/readyz", "").await.0, 200);
    }
}

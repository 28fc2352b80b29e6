//! How requests end when the server stops. Upstream: server/filters/with_retry_after.go, watch_termination.go and the end of
//! genericapiserver.go's Run.

use std::time::Duration;

use component_base::serving::{self, Response};
use http::{HeaderValue, StatusCode, header};
use rand::Rng as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::request::context::RequestContext;

/// Probes and scrapes go on to the end.
const SERVED_TO_THE_END: [&str; 4] = ["/readyz", "/livez", "/healthz", "/metrics"];

/// What happens between the wish to stop and the end.
pub struct Draining {
    /// `--shutdown-send-retry-after`: those who come late are sent elsewhere, and those who are there are waited for.
    send_retry_after: bool,
    /// `--shutdown-watch-termination-grace-period`: watches end one after another in this time, so that their clients do not all
    /// come back at once.
    pub watch_grace: Duration,
    begun: CancellationToken,
    requests: TaskTracker,
    watches: TaskTracker,
}

impl Draining {
    pub fn new(send_retry_after: bool, watch_grace: Duration) -> Draining {
        Draining {
            send_retry_after,
            watch_grace,
            begun: CancellationToken::new(),
            requests: TaskTracker::new(),
            watches: TaskTracker::new(),
        }
    }

    /// No new requests from now on.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// The answer to a request that comes too late.
    pub fn refuse(&self, cx: &RequestContext) -> Option<Response> {
        if !self.send_retry_after || !self.begun.is_cancelled() || is_exempt(cx) {
            return None;
        }
        cx.connection.close_gracefully();
        let mut response = serving::error_response(
            StatusCode::TOO_MANY_REQUESTS,
            "The apiserver is shutting down, please try again later.",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        Some(response)
    }

    /// Held while a request that is not a long one is worked on; nothing where nobody waits for it.
    pub fn enter(&self) -> Option<TaskTrackerToken> {
        self.send_retry_after.then(|| self.requests.token())
    }

    /// Held by a watch; nothing where nobody waits for it.
    pub fn enter_watch(&self) -> Option<TaskTrackerToken> {
        (!self.watch_grace.is_zero()).then(|| self.watches.token())
    }

    /// When a watch that is told to stop does.
    pub fn watch_delay(watch_grace: Duration) -> Duration {
        if watch_grace.is_zero() {
            return Duration::ZERO;
        }
        rand::rng().random_range(Duration::ZERO..watch_grace)
    }

    /// Waits until requests and watches have ended, where the server listens so long. Otherwise their connections are waited for.
    pub async fn wait(&self, request_timeout: Duration) {
        if !self.send_retry_after {
            return;
        }
        self.requests.close();
        self.watches.close();
        // Requests end by themselves in this time.
        let requests = tokio::time::timeout(request_timeout, self.requests.wait());
        let watches = tokio::time::timeout(self.watch_grace, self.watches.wait());
        let _ = tokio::join!(requests, watches);
    }
}

fn is_exempt(cx: &RequestContext) -> bool {
    cx.user_agent().starts_with("kube-apiserver/")
        || SERVED_TO_THE_END
            .iter()
            .any(|prefix| cx.info.path.starts_with(prefix))
}

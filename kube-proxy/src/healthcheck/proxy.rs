//! `/healthz` and `/livez` on port 10256: is the kernel kept up to date? `/healthz` also turns unhealthy when the node is on its way
//! out, so that load balancers stop sending to it.

use std::collections::HashMap;
use std::time::Duration;

use component_base::serving::{Request, Response, json_response, not_found};
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::sys::Family;

/// What /healthz tells.
pub struct ProxyHealth {
    /// A change that waits longer than this means that the proxy hangs.
    patience: Duration,
    state: Mutex<State>,
    metrics: Metrics,
}

struct State {
    families: HashMap<Family, FamilyState>,
    node_eligible: bool,
}

#[derive(Default)]
struct FamilyState {
    updated: Option<Timestamp>,
    /// Since when a change waits; None when nothing does.
    oldest_pending: Option<Timestamp>,
}

impl ProxyHealth {
    /// `sync_period` is the proxy's: twice as long, and it is unhealthy.
    pub fn new(sync_period: Duration, metrics: Metrics) -> Self {
        Self {
            patience: sync_period * 2,
            state: Mutex::new(State {
                families: HashMap::new(),
                node_eligible: true,
            }),
            metrics,
        }
    }

    pub fn queued(&self, family: Family) {
        self.state
            .lock()
            .families
            .entry(family)
            .or_default()
            .oldest_pending
            .get_or_insert_with(Timestamp::now);
    }

    pub fn updated(&self, family: Family) {
        let mut state = self.state.lock();
        let family = state.families.entry(family).or_default();
        family.oldest_pending = None;
        family.updated = Some(Timestamp::now());
    }

    /// Whether traffic may come to this node: it is not being deleted, by its own fate or the autoscaler's.
    pub fn set_node_eligible(&self, eligible: bool) {
        self.state.lock().node_eligible = eligible;
    }

    /// `/healthz` and `/livez`.
    pub fn handle(&self, request: &Request) -> Response {
        let path = request.uri().path();
        if path != "/healthz" && path != "/livez" {
            return not_found();
        }
        let (healthy, eligible, body) = self.report(Timestamp::now());
        let live = path == "/livez";
        let good = healthy && (live || eligible);
        let status = if good {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        self.metrics.health_asked(live, status.as_u16());
        let mut response = json_response(status, body.to_string().into_bytes());
        response.headers_mut().insert(
            "X-Content-Type-Options",
            http::HeaderValue::from_static("nosniff"),
        );
        response
    }

    fn report(&self, now: Timestamp) -> (bool, bool, serde_json::Value) {
        let state = self.state.lock();
        let mut healthy = true;
        let mut last_updated: Option<Timestamp> = None;
        let mut families = serde_json::Map::new();
        for family in Family::ALL
            .into_iter()
            .filter(|family| state.families.contains_key(family))
        {
            let Some(of) = state.families.get(&family) else {
                continue;
            };
            // Nothing written yet is not healthy; nothing waiting is; a change may wait for a while.
            let fine = of.updated.is_some()
                && of
                    .oldest_pending
                    .is_none_or(|since| now.duration_since(since).unsigned_abs() < self.patience);
            healthy &= fine;
            let shown = if of.oldest_pending.is_none() && of.updated.is_some() {
                Some(now)
            } else {
                of.updated
            };
            last_updated = last_updated.max(shown);
            families.insert(family.api().to_owned(), serde_json::json!({"lastUpdated": shown.unwrap_or(Timestamp::UNIX_EPOCH).to_string(), "healthy": fine}));
        }
        let healthy = healthy && !families.is_empty();
        let body = serde_json::json!({
            "lastUpdated": last_updated.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            "currentTime": now.to_string(),
            "nodeEligible": state.node_eligible,
            "healthy": healthy,
            "status": families,
        });
        (healthy, state.node_eligible, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_wait_for_a_while() {
        let health = ProxyHealth::new(Duration::from_secs(30), Metrics::for_tests());
        let later = |seconds| Timestamp::now() + Duration::from_secs(seconds);
        assert!(!health.report(later(0)).0, "nothing is known yet");
        health.queued(Family::V4);
        assert!(!health.report(later(0)).0, "nothing is written yet");
        health.updated(Family::V4);
        assert!(health.report(later(1000)).0, "nothing waits");
        health.queued(Family::V4);
        assert!(health.report(later(10)).0);
        assert!(!health.report(later(61)).0, "a change waits too long");
        health.updated(Family::V4);
        health.set_node_eligible(false);
        let (healthy, eligible, body) = health.report(later(0));
        assert!(healthy && !eligible);
        assert_eq!(body["nodeEligible"], false);
    }
}

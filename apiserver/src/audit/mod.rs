//! Audit: who did what, written down. Upstream: apiserver/pkg/audit and plugin/pkg/audit.
//!
//! [`policy`] says how much of a request is noted. A [`record::Record`] goes with the request's context; handlers tell it what
//! they find out, and it turns into events, which the [`backend`]s keep. Without a policy or a backend there is no [`Audit`], and
//! a request costs one look at an `Option`.
//!
//! Bodies are kept and encoded only for the levels that show them. A request that the policy does not want has no record.

/// Where events go.
pub mod backend;
/// The bytes of events.
pub mod event;
/// Audit among what a request goes through.
mod filter;
/// Events as text.
mod legacy;
/// Counters.
mod metrics;
/// Objects as events show them.
mod objects;
/// Backends as flags describe them.
mod options;
/// What is noted.
pub mod policy;
/// One request.
pub mod record;

use std::sync::Arc;

use component_base::auth::UserInfo;
use component_base::flags::Flags;
use component_base::metrics::Metrics;
use tokio_util::task::TaskTracker;

use crate::egress::Dialer;
use crate::request::RequestInfo;
use backend::{Backend, Sent};
use event::Line;
use metrics::AuditMetrics;
use policy::{Level, Policy, Verdict};
pub use record::Record;

/// The policy and the backends.
pub struct Audit {
    policy: Policy,
    backends: Vec<Backend>,
    metrics: AuditMetrics,
    /// Events of requests that could not wait for them.
    pending: TaskTracker,
}

impl Audit {
    /// What the flags want, if anything.
    pub fn new(
        flags: &Flags,
        via: &Dialer,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Audit>>, component_base::Error> {
        let metrics = AuditMetrics::new(metrics);
        let Some((policy, backends)) = options::build(flags, via, &metrics)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Audit {
            policy,
            backends,
            metrics,
            pending: TaskTracker::new(),
        })))
    }

    fn metrics(&self) -> &AuditMetrics {
        &self.metrics
    }

    fn evaluate(&self, info: &RequestInfo, user: Option<&UserInfo>) -> Verdict {
        let verdict = self.policy.evaluate(info, user);
        self.metrics.level(verdict.level);
        verdict
    }

    /// Gives an event to all backends. `line` makes it, with or without the objects.
    fn send(&self, level: Level, line: &dyn Fn(bool) -> Line) -> Sent {
        let whole = line(true);
        let sent = self
            .backends
            .iter()
            .map(|backend| backend.send(level, &whole, line));
        sent.reduce(Sent::and).unwrap_or(Sent::Done(true))
    }

    /// Sees to it that an event is kept of which nobody waits.
    fn see_to(&self, sent: Sent) {
        if let Sent::Pending(kept) = sent
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.pending.spawn_on(kept, &runtime);
        }
    }

    /// Waits until all events are where they belong. Nothing is noted afterwards.
    pub async fn shutdown(&self) {
        self.pending.close();
        self.pending.wait().await;
        for backend in &self.backends {
            backend.shutdown().await;
        }
    }
}

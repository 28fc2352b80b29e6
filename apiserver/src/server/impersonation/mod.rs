//! Acting as somebody else. Upstream: endpoints/filters/impersonation, KEP-5284.
//!
//! A caller who sends `Impersonate-User` (and perhaps `-Group`, `-Uid`, `-Extra-*`) is that user from here on, if it may be. There
//! are several ways in which it may, the modes; the first that allows it wins. Constrained modes, which feature gate
//! ConstrainedImpersonation switches on, ask two things: may the caller do this request in this mode (verb
//! `impersonate-on:<mode>:<verb>` on what the request is about), and may it be this user in this mode (verb `impersonate:<mode>`).
//! The last mode is the old one, verb `impersonate` on the user alone.

mod cache;
mod headers;
mod metrics;
mod modes;

use std::time::Instant;

use apimachinery::status::StatusError;
use component_base::auth::{Authorizer, UserInfo};
use component_base::features::FeatureGates;
use component_base::metrics::Metrics;

use self::cache::LastModes;
use self::metrics::ImpersonationMetrics;
use self::modes::{Asker, Kind, Mode};
use crate::request::context::RequestContext;

/// Whom a caller may act as.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Impersonated {
    user: UserInfo,
    /// The verb that allowed it; empty in the old mode.
    constraint: &'static str,
}

/// Judges impersonation, and remembers what it allowed for a short while.
pub struct Impersonation {
    modes: Vec<Mode>,
    last_modes: LastModes,
    /// Only constrained impersonation is counted.
    metrics: Option<ImpersonationMetrics>,
}

impl Impersonation {
    /// What spans call it.
    pub fn filter_name(&self) -> &'static str {
        match self.metrics {
            Some(_) => "constrainedimpersonation",
            None => "impersonation",
        }
    }

    pub fn new(features: &FeatureGates, metrics: &Metrics) -> Impersonation {
        let constrained = features.enabled("ConstrainedImpersonation");
        let kinds: &[Kind] = if constrained {
            &Kind::ALL
        } else {
            &[Kind::Legacy]
        };
        Impersonation {
            modes: kinds.iter().copied().map(Mode::new).collect(),
            last_modes: LastModes::default(),
            metrics: constrained.then(|| ImpersonationMetrics::new(metrics)),
        }
    }

    /// Acts as another user when the caller asks for it and may. Gives the verb that allowed it, which is empty in the old mode;
    /// `None` when the caller stays who it is.
    pub async fn impersonate(
        &self,
        cx: &mut RequestContext,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<&'static str>, StatusError> {
        let Some(wanted) = headers::wanted_user(&cx.headers, self.metrics.is_some())? else {
            return Ok(None);
        };
        headers::remove(&mut cx.headers);
        let attributes = cx.attributes();
        let started = Instant::now();
        let asker = Asker {
            authorizer,
            metrics: self.metrics.as_ref(),
        };
        let found = self.find(&asker, &wanted, &attributes).await;
        if let Some(metrics) = &self.metrics {
            let kind = found.as_ref().ok().map(|(kind, _)| *kind);
            metrics.attempts.count(kind, started.elapsed());
        }
        let (_, impersonated) = found.inspect_err(|error| {
            tracing::debug!(uri = %cx.uri, error = %error, "Forbidden");
        })?;
        cx.user = impersonated.user;
        Ok(Some(impersonated.constraint))
    }

    /// Tries the modes, the one that this caller used last before the others. The first refusal is the one that is told.
    async fn find(
        &self,
        asker: &Asker<'_>,
        wanted: &UserInfo,
        attributes: &component_base::auth::Attributes,
    ) -> Result<(Kind, Impersonated), StatusError> {
        let requestor = &attributes.user.name;
        let last = self.last_modes.get(requestor);
        let others = (0..self.modes.len()).filter(|index| Some(*index) != last);
        let mut refusal = None;
        for index in last.into_iter().chain(others) {
            let Some(mode) = self.modes.get(index) else {
                continue;
            };
            match mode.check(asker, wanted, attributes).await {
                Ok(Some(impersonated)) => {
                    if last != Some(index) {
                        self.last_modes.set(requestor, index);
                    }
                    return Ok((mode.kind, impersonated));
                }
                Ok(None) => {}
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        // The old mode takes everybody, so there is a refusal.
        Err(refusal
            .unwrap_or_else(|| apimachinery::status::internal("all impersonation modes failed")))
    }
}

#[cfg(test)]
mod tests;

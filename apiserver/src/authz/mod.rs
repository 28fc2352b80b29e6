//! Decides whether a caller may do what it asks. Upstream: pkg/kubeapiserver/authorizer and plugin/pkg/auth/authorizer.
//!
//! Flags and `--authorization-config` say the same thing, a [`configuration`]; the [`chain`] is made from it, and made anew when the
//! file changes. Invariants: the group system:masters is allowed before any authorizer is asked; the first verdict other than "no
//! opinion" wins; without any verdict a request is refused. Verdicts read indexes in memory, never storage; only webhooks ask others.

/// A file of policies.
pub mod abac;
/// The authorizers in their order.
pub mod chain;
/// Which authorizers there are.
pub mod configuration;
mod metrics;
/// What kubelets may touch.
pub mod node;
/// Roles and bindings.
pub mod rbac;
/// The configuration file while the server runs.
pub mod reload;
mod union;
/// Servers that are asked.
pub mod webhook;

use api_types::authorization::v1::{NonResourceRule, ResourceRule};
use component_base::auth::UserInfo;

pub use chain::{Chain, Lasting};
pub use metrics::{AuthorizerMetrics, RequestMetrics};

/// What a caller may do in a namespace, as far as that can be listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub resource: Vec<ResourceRule>,
    pub non_resource: Vec<NonResourceRule>,
    /// There may be more.
    pub incomplete: bool,
    /// Why some are missing.
    pub errors: Vec<String>,
}

impl Rules {
    /// There may be any, and this is why they are not listed.
    fn unknown(why: &str) -> Self {
        Self {
            incomplete: true,
            errors: vec![why.to_owned()],
            ..Self::default()
        }
    }

    fn extend(&mut self, more: Rules) {
        self.resource.extend(more.resource);
        self.non_resource.extend(more.non_resource);
        self.incomplete |= more.incomplete;
        self.errors.extend(more.errors);
    }
}

/// Lists what a caller may do. Upstream: authorizer.RuleResolver.
pub trait RuleResolver: Send + Sync {
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules;
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

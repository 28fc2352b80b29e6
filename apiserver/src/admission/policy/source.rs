//! Policies with their bindings, compiled once per change. Upstream: plugin/policy/generic/policy_source.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::admissionregistration::v1::{MatchResources, ParamKind, ParamRef};
use apimachinery::status::StatusError;
use arc_swap::ArcSwapOption;

use crate::admission::matching::Criteria;
use crate::registry::derived::Derived;
use crate::registry::object::Object;
use crate::registry::table::Resources;

const GROUP: &str = "admissionregistration.k8s.io";
const VERSION: &str = "v1";

/// A policy of either kind.
#[derive(Debug)]
pub struct Policy<E> {
    pub name: String,
    /// What goes wrong denies the request.
    pub fail_closed: bool,
    pub criteria: Criteria,
    pub param_kind: Option<ParamKind>,
    pub evaluator: E,
}

/// A binding of either kind.
#[derive(Debug)]
pub struct Binding {
    pub name: String,
    pub policy: String,
    /// None: everything that the policy is about.
    pub criteria: Option<Criteria>,
    pub param_ref: Option<ParamRef>,
    /// Of validating policies.
    pub actions: Vec<String>,
}

/// A policy that is in force.
#[derive(Debug)]
pub struct Hook<E> {
    pub policy: Arc<Policy<E>>,
    pub bindings: Vec<Arc<Binding>>,
}

/// What a policy applies to; a policy that does not say is about everything.
pub(super) fn criteria(resources: Option<&MatchResources>) -> Criteria {
    match resources {
        Some(resources) => Criteria::of_resources(resources),
        None => Criteria::of_resources(&MatchResources::default()),
    }
}

/// The policies that are in force.
pub struct Source<E> {
    policies: Derived<Option<Arc<Policy<E>>>>,
    bindings: Derived<Option<Arc<Binding>>>,
    joined: ArcSwapOption<Joined<E>>,
    none: Arc<[Hook<E>]>,
}

type Parts<T> = Arc<[Arc<Option<Arc<T>>>]>;

struct Joined<E> {
    policies: Parts<Policy<E>>,
    bindings: Parts<Binding>,
    hooks: Arc<[Hook<E>]>,
}

impl<E: Send + Sync + 'static> Source<E> {
    /// Of these two resources; none if they are not served.
    pub fn new(
        resources: &Resources,
        policies: &str,
        bindings: &str,
        policy: impl Fn(&Object) -> Option<Policy<E>> + Send + Sync + 'static,
        binding: impl Fn(&Object) -> Option<Binding> + Send + Sync + 'static,
    ) -> Option<Source<E>> {
        let resource = |name| resources.get(GROUP, VERSION, name);
        Some(Source {
            policies: Derived::new(resource(policies)?.clone(), move |object| {
                policy(&object).map(Arc::new)
            }),
            bindings: Derived::new(resource(bindings)?.clone(), move |object| {
                binding(&object).map(Arc::new)
            }),
            joined: ArcSwapOption::empty(),
            none: Arc::from([]),
        })
    }

    /// Policies with at least one binding, in the order of their names.
    pub async fn hooks(&self) -> Result<Arc<[Hook<E>]>, StatusError> {
        let bindings = self.bindings.get().await?;
        if bindings.is_empty() {
            return Ok(self.none.clone());
        }
        let policies = self.policies.get().await?;
        let known = self.joined.load();
        if let Some(known) = known.as_deref().filter(|known| {
            Arc::ptr_eq(&known.policies, &policies) && Arc::ptr_eq(&known.bindings, &bindings)
        }) {
            return Ok(known.hooks.clone());
        }
        let mut by_policy: BTreeMap<&str, Vec<Arc<Binding>>> = BTreeMap::new();
        for binding in bindings.iter().filter_map(|binding| (**binding).as_ref()) {
            let of_policy = by_policy.entry(&binding.policy).or_default();
            of_policy.push(binding.clone());
        }
        let hooks: Arc<[Hook<E>]> = policies
            .iter()
            .filter_map(|policy| (**policy).as_ref())
            .filter_map(|policy| {
                let bindings = by_policy.remove(policy.name.as_str())?;
                Some(Hook {
                    policy: policy.clone(),
                    bindings,
                })
            })
            .collect();
        self.joined.store(Some(Arc::new(Joined {
            policies,
            bindings: bindings.clone(),
            hooks: hooks.clone(),
        })));
        Ok(hooks)
    }
}

//! Policies with their bindings, compiled once per change. Upstream: plugin/policy/generic/{policy_source,composite_policy_source}.go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::admissionregistration::v1::{MatchResources, ParamKind, ParamRef};
use apimachinery::quote::quote;
use apimachinery::status::StatusError;
use arc_swap::ArcSwapOption;

use super::{is_about_policies, is_review};
use crate::admission::Attributes;
use crate::admission::manifests::{self, Followed, Manifest, Manifests};
use crate::admission::matching::Criteria;
use crate::registry::derived::Derived;
use crate::registry::table::Resources;

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

/// The policies that are in force: those of manifests, and those that are stored.
pub struct Source<E> {
    manifests: Option<Followed<Arc<[Hook<E>]>>>,
    /// None where they are not served.
    stored: Option<Stored<E>>,
}

/// The policies that are stored.
struct Stored<E> {
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

/// The policies that may be about one request, those of manifests first.
pub struct Hooks<E> {
    manifests: Option<Arc<Arc<[Hook<E>]>>>,
    stored: Option<Arc<[Hook<E>]>>,
}

impl<E> Hooks<E> {
    pub fn iter(&self) -> impl Iterator<Item = &Hook<E>> {
        let manifests = self.manifests.iter().flat_map(|hooks| hooks.iter());
        manifests.chain(self.stored.iter().flat_map(|hooks| hooks.iter()))
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<E: Send + Sync + 'static> Source<E> {
    /// Of a kind of policies and one of bindings. `folder` has manifests.
    pub(in crate::admission) fn new<P: Manifest, B: Manifest>(
        resources: &Resources,
        plugin: &'static str,
        (folder, manifests): (Option<PathBuf>, &Manifests),
        policy: fn(&P) -> Policy<E>,
        binding: fn(&B) -> Binding,
    ) -> Result<Source<E>, String> {
        let manifests = match folder {
            None => None,
            Some(folder) => {
                let shown = folder.display().to_string();
                let followed = Followed::start(plugin, folder, manifests, move |folder| {
                    let (policies, bindings, hash) = manifests::policies(folder)?;
                    Ok((in_force(&policies, policy, &bindings, binding), hash))
                });
                let followed = followed.map_err(|why| {
                    let shown = quote(&shown);
                    format!("failed to load static policy manifests from {shown}: {why}")
                })?;
                Some(followed)
            }
        };
        Ok(Source {
            manifests,
            stored: Stored::new(resources, policy, binding),
        })
    }

    /// The policies that may be about a request.
    pub async fn hooks(&self, attributes: &Attributes) -> Result<Hooks<E>, StatusError> {
        let resource = &attributes.resource;
        let none = Hooks {
            manifests: None,
            stored: None,
        };
        if is_review(resource) {
            return Ok(none);
        }
        let manifests = self.manifests.as_ref().map(Followed::current);
        let stored = match &self.stored {
            // A wrong policy could not be removed any more; one of a manifest can.
            Some(stored) if !is_about_policies(resource) => Some(stored.hooks().await?),
            _ => None,
        };
        Ok(Hooks { manifests, stored })
    }
}

/// The policies of manifests with their bindings; both are in the order of their names.
fn in_force<P, B, E>(
    policies: &[P],
    policy: fn(&P) -> Policy<E>,
    bindings: &[B],
    binding: fn(&B) -> Binding,
) -> Arc<[Hook<E>]> {
    let bindings: Vec<Arc<Binding>> = bindings.iter().map(binding).map(Arc::new).collect();
    let hook = |found| {
        let policy = policy(found);
        let bindings = bindings.iter();
        let bindings = bindings.filter(|binding| binding.policy == policy.name);
        Hook {
            bindings: bindings.cloned().collect(),
            policy: Arc::new(policy),
        }
    };
    policies.iter().map(hook).collect()
}

impl<E: Send + Sync + 'static> Stored<E> {
    fn new<P: Manifest, B: Manifest>(
        resources: &Resources,
        policy: fn(&P) -> Policy<E>,
        binding: fn(&B) -> Binding,
    ) -> Option<Stored<E>> {
        let resource = |name| resources.get(P::GROUP, P::VERSION, name);
        Some(Stored {
            policies: Derived::new(resource(P::PLURAL)?.clone(), move |object| {
                object.get().map(policy).map(Arc::new)
            }),
            bindings: Derived::new(resource(B::PLURAL)?.clone(), move |object| {
                object.get().map(binding).map(Arc::new)
            }),
            joined: ArcSwapOption::empty(),
            none: Arc::from([]),
        })
    }

    /// Policies with at least one binding, in the order of their names.
    async fn hooks(&self) -> Result<Arc<[Hook<E>]>, StatusError> {
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

//! Pods that want to be, or must not be, near others. Upstream: plugins/interpodaffinity.
//!
//! Terms of the incoming pod are answered by [`counters`](crate::cache::counters); terms that pods on nodes carry are matched once per
//! distinct term. So a cycle costs terms and the nodes that have matches, not pods.

mod filtering;
mod scoring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::{Namespace, Node, Pod};
use api_types::kube_scheduler_config::v1::InterPodAffinityArgs;
use apimachinery::labels::Selector;
use client::ObjectKey;
use client::cache::Lister;

use crate::framework::event::{
    Action, Change, ClusterEventWithHint, EventResource, Hint, HintResult,
};
use crate::framework::plugin::Plugin;
use crate::framework::pod_info::{AffinityTerm, PodInfo};

pub struct InterPodAffinity {
    hard_weight: i32,
    ignore_preferred_of_existing: bool,
    namespaces: Lister<Namespace>,
}

/// Whether the pod matches all terms; no terms match nothing.
fn matches_all(terms: &[AffinityTerm], pod: &Pod) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, None))
}

impl InterPodAffinity {
    /// As configured.
    pub fn new(args: &InterPodAffinityArgs, namespaces: Lister<Namespace>) -> Self {
        Self {
            hard_weight: args.hard_pod_affinity_weight.unwrap_or(1),
            ignore_preferred_of_existing: args.ignore_preferred_terms_of_existing_pods,
            namespaces,
        }
    }

    /// The term with its namespace selector turned into the names of today.
    fn resolved(&self, term: &AffinityTerm) -> AffinityTerm {
        let mut term = term.clone();
        if term.namespace_selector.is_nothing() {
            return term;
        }
        // An empty selector means all namespaces, which matching understands by itself; but counting is by name.
        let selected = self.namespaces.select(&term.namespace_selector);
        term.namespaces
            .extend(selected.iter().map(|ns| ns.metadata.name.clone()));
        term.namespace_selector = Selector::nothing();
        term
    }

    fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        self.namespaces
            .get(&ObjectKey::cluster(name))
            .map(|namespace| namespace.metadata.labels.clone())
            .unwrap_or_default()
    }

    fn after_pod_change(&self, pod: &Arc<Pod>, change: &Change) -> HintResult {
        let (old, new) = change.pods();
        if let (Some(_), Some(new)) = (old, new)
            && new.metadata.uid == pod.metadata.uid
        {
            return Ok(Hint::Queue);
        }
        let unplaced = |pod: Option<&Arc<Pod>>| pod.is_some_and(|pod| super::was_never_placed(pod));
        if unplaced(new) || unplaced(old) {
            return Ok(Hint::Skip);
        }
        let info = parsed(pod)?;
        let resolve = |terms: &[AffinityTerm]| -> Vec<AffinityTerm> {
            terms.iter().map(|term| self.resolved(term)).collect()
        };
        let terms = resolve(&info.terms.required_affinity);
        let anti = resolve(&info.terms.required_anti_affinity);
        match (old, new) {
            (Some(old), Some(new)) => Ok(Hint::queue_if(
                !matches_all(&terms, old) && matches_all(&terms, new)
                    || matches_all(&anti, old) && !matches_all(&anti, new),
            )),
            (None, Some(new)) => Ok(Hint::queue_if(matches_all(&terms, new))),
            (Some(old), None) => {
                let theirs = resolve(&parsed(old)?.terms.required_anti_affinity);
                Ok(Hint::queue_if(
                    matches_all(&anti, old) || matches_all(&theirs, pod),
                ))
            }
            (None, None) => Err("unexpected objects in isSchedulableAfterPodChange".into()),
        }
    }

    fn after_node_change(&self, pod: &Arc<Pod>, change: &Change) -> HintResult {
        let (old, Some(new)) = change.nodes() else {
            return Err("unexpected objects in isSchedulableAfterNodeChange".into());
        };
        let info = parsed(pod)?;
        let value = |node: &Node, key: &str| node.metadata.labels.get(key).cloned();
        for term in &info.terms.required_affinity {
            let is = value(new, &term.topology_key);
            let was = old.and_then(|old| value(old, &term.topology_key));
            if is.is_some() && is != was {
                return Ok(Hint::Queue);
            }
        }
        for term in &info.terms.required_anti_affinity {
            let Some(old) = old else {
                return Ok(Hint::Queue);
            };
            let was = value(old, &term.topology_key);
            if was.is_some() && was != value(new, &term.topology_key) {
                return Ok(Hint::Queue);
            }
        }
        Ok(Hint::Skip)
    }
}

fn parsed(pod: &Arc<Pod>) -> Result<PodInfo, String> {
    let info = PodInfo::new(pod.clone());
    match info.invalid_terms {
        Some(error) => Err(error),
        None => Ok(info),
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        super::names::INTER_POD_AFFINITY
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        let plugin = self.clone();
        vec![
            ClusterEventWithHint::hinted(
                EventResource::Pod,
                Action::ADD.or(Action::UPDATE_POD_LABEL).or(Action::DELETE),
                move |pod, change| plugin.after_pod_change(pod, change),
            ),
            ClusterEventWithHint::hinted(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_LABEL),
                move |pod, change| self.after_node_change(pod, change),
            ),
        ]
    }
}

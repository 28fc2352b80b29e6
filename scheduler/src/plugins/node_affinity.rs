//! Node selectors, required and preferred node affinity. Upstream: plugins/nodeaffinity.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::core::v1::NodeSelectorTerm;
use api_types::kube_scheduler_config::v1::NodeAffinityArgs;
use apimachinery::field::{ErrorList, Path};
use apimachinery::scheduling::{NodeSelector, PreferredSchedulingTerms, RequiredNodeAffinity};

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{
    Action, Change, ClusterEventWithHint, EventResource, Hint, HintResult,
};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{
    Cycle, Filter, NodeNames, Plugin, PreFilter, PreScore, Score, default_normalize_score,
};
use crate::framework::status::{Status, Verdict};

const PRE_FILTER: &str = "PreFilterNodeAffinity";
const PRE_SCORE: &str = "PreScoreNodeAffinity";

const REASON_POD: &str = "node(s) didn't match Pod's node affinity/selector";
const REASON_ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
const REASON_CONFLICT: &str = "pod affinity terms conflict";

pub struct NodeAffinity {
    added_required: Option<NodeSelector>,
    added_preferred: Option<PreferredSchedulingTerms>,
}

impl NodeAffinity {
    /// With affinity that the profile adds to all of its pods.
    pub fn new(args: &NodeAffinityArgs) -> Result<Self, ErrorList> {
        let path = Path::new("addedAffinity");
        let added = args.added_affinity.as_deref();
        let required = added.and_then(|added| {
            added
                .required_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let preferred = added
            .map(|added| {
                added
                    .preferred_during_scheduling_ignored_during_execution
                    .as_slice()
            })
            .filter(|terms| !terms.is_empty());
        Ok(Self {
            added_required: required
                .map(|selector| {
                    NodeSelector::new(
                        selector,
                        &path.child("requiredDuringSchedulingIgnoredDuringExecution"),
                    )
                })
                .transpose()?,
            added_preferred: preferred
                .map(|terms| {
                    PreferredSchedulingTerms::new(
                        terms,
                        &path.child("preferredDuringSchedulingIgnoredDuringExecution"),
                    )
                })
                .transpose()?,
        })
    }

    fn after_node_change(&self, pod: &api_types::core::v1::Pod, change: &Change) -> HintResult {
        let (old, Some(new)) = change.nodes() else {
            return Ok(Hint::Queue);
        };
        if let Some(added) = &self.added_required
            && !added.matches(new).unwrap_or(false)
        {
            return Ok(Hint::Skip);
        }
        let affinity = RequiredNodeAffinity::new(pod);
        let matches = |node| affinity.matches(node).map_err(|errors| errors.to_string());
        if !matches(new)? {
            return Ok(Hint::Skip);
        }
        match old {
            Some(old) => Ok(Hint::queue_if(!matches(old)?)),
            None => Ok(Hint::Queue),
        }
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        super::names::NODE_AFFINITY
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![ClusterEventWithHint::hinted(
            EventResource::Node,
            Action::ADD.or(Action::UPDATE_NODE_LABEL),
            move |pod, change| self.after_node_change(pod, change),
        )]
    }
}

/// Names that a term allows, if it names nodes at all.
fn names_of(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let mut names: Option<BTreeSet<String>> = None;
    for field in &term.match_fields {
        if field.key == "metadata.name" && field.operator == "In" {
            let these: BTreeSet<String> = field.values.iter().cloned().collect();
            names = Some(match names {
                None => these,
                Some(names) => names.intersection(&these).cloned().collect(),
            });
        }
    }
    names
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let spec = &cycle.pod().spec;
        let required = spec
            .affinity
            .as_deref()
            .and_then(|affinity| affinity.node_affinity.as_deref())
            .and_then(|affinity| {
                affinity
                    .required_during_scheduling_ignored_during_execution
                    .as_deref()
            });
        if required.is_none() && self.added_required.is_none() && spec.node_selector.is_empty() {
            return Err(Status::skip());
        }
        state.write(PRE_FILTER, Arc::new(RequiredNodeAffinity::new(cycle.pod())));
        let Some(required) = required.filter(|required| !required.node_selector_terms.is_empty())
        else {
            return Ok(None);
        };
        // Terms are ORed: all of them must name nodes before the search can be narrowed.
        let mut names = BTreeSet::new();
        for term in &required.node_selector_terms {
            let Some(these) = names_of(term) else {
                return Ok(None);
            };
            names.extend(these);
        }
        if names.is_empty() {
            return Err(Status::unresolvable(REASON_CONFLICT));
        }
        Ok(Some(names))
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        if let Some(added) = &self.added_required
            && !added.matches(node.node()).unwrap_or(false)
        {
            return Err(Status::unresolvable(REASON_ENFORCED));
        }
        let matches = match state.read::<Arc<RequiredNodeAffinity>>(PRE_FILTER) {
            Some(affinity) => affinity.matches(node.node()),
            None => RequiredNodeAffinity::new(cycle.pod()).matches(node.node()),
        };
        if matches.unwrap_or(false) {
            return Ok(());
        }
        Err(Status::unresolvable(REASON_POD))
    }
}

impl PreScore for NodeAffinity {
    fn pre_score(&self, cycle: &Cycle<'_>, state: &mut CycleState, _: &[Arc<NodeInfo>]) -> Verdict {
        let affinity = cycle.pod().spec.affinity.as_deref();
        let preferred = affinity
            .and_then(|affinity| affinity.node_affinity.as_deref())
            .map(|affinity| {
                affinity
                    .preferred_during_scheduling_ignored_during_execution
                    .as_slice()
            })
            .filter(|terms| !terms.is_empty());
        if preferred.is_none() && self.added_preferred.is_none() {
            return Err(Status::skip());
        }
        let parsed = PreferredSchedulingTerms::new(preferred.unwrap_or_default(), &Path::nil())
            .map_err(|errors| Status::error(errors.to_string()))?;
        state.write(PRE_SCORE, Arc::new(parsed));
        Ok(())
    }
}

impl Score for NodeAffinity {
    fn score(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let mut score = 0;
        if let Some(added) = &self.added_preferred {
            score += added.score(node.node());
        }
        if let Some(preferred) = state.read::<Arc<PreferredSchedulingTerms>>(PRE_SCORE) {
            score += preferred.score(node.node());
        }
        Ok(score)
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) -> Verdict {
        default_normalize_score(scores, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{check_filter, cycle_of, node, pod, scores};
    use serde_json::{Value, json};

    fn plain() -> NodeAffinity {
        NodeAffinity::new(&NodeAffinityArgs::default()).unwrap()
    }

    fn required(terms: Value) -> api_types::core::v1::Pod {
        pod(
            json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}}),
        )
    }

    #[test]
    fn filters() {
        let no = || Err(Status::unresolvable(REASON_POD));
        let labelled =
            || node(json!({"metadata": {"name": "n", "labels": {"foo": "bar", "num": "5"}}}));
        let selector =
            |key: &str, value: &str| pod(json!({"spec": {"nodeSelector": {key: value}}}));
        check_filter(&plain(), selector("foo", "bar"), labelled(), Ok(()));
        check_filter(&plain(), selector("foo", "baz"), labelled(), no());
        #[track_caller]
        fn check(expression: Value, fits: bool) {
            let node =
                node(json!({"metadata": {"name": "n", "labels": {"foo": "bar", "num": "5"}}}));
            let expected = if fits {
                Ok(())
            } else {
                Err(Status::unresolvable(REASON_POD))
            };
            check_filter(
                &plain(),
                required(json!([{"matchExpressions": [expression]}])),
                node,
                expected,
            );
        }
        check(
            json!({"key": "foo", "operator": "In", "values": ["bar", "x"]}),
            true,
        );
        check(
            json!({"key": "foo", "operator": "NotIn", "values": ["bar"]}),
            false,
        );
        check(
            json!({"key": "num", "operator": "Gt", "values": ["4"]}),
            true,
        );
        check(
            json!({"key": "num", "operator": "Lt", "values": ["4"]}),
            false,
        );
        check(json!({"key": "none", "operator": "Exists"}), false);
        check(json!({"key": "none", "operator": "DoesNotExist"}), true);
        // No terms, and a term without conditions, match nothing.
        check_filter(&plain(), required(json!([])), labelled(), no());
        check_filter(&plain(), required(json!([{}])), labelled(), no());
        // Terms are ORed.
        let either = json!([
            {"matchExpressions": [{"key": "foo", "operator": "In", "values": ["x"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]);
        check_filter(&plain(), required(either), labelled(), Ok(()));
    }

    #[test]
    fn pre_filter_narrows_to_named_nodes() {
        #[track_caller]
        fn check(terms: Value, expected: Result<NodeNames, Status>) {
            cycle_of(required(terms), Vec::new(), |cycle, state| {
                assert_eq!(plain().pre_filter(cycle, state), expected);
            });
        }
        let name =
            |values: &[&str]| json!({"key": "metadata.name", "operator": "In", "values": values});
        let names = |names: &[&str]| Ok(Some(names.iter().map(|n| (*n).to_owned()).collect()));
        check(
            json!([{"matchFields": [name(&["a", "b"])]}]),
            names(&["a", "b"]),
        );
        check(
            json!([{"matchFields": [name(&["a"])]}, {"matchFields": [name(&["b"])]}]),
            names(&["a", "b"]),
        );
        check(
            json!([{"matchFields": [name(&["a"]), name(&["b"])]}]),
            Err(Status::unresolvable(REASON_CONFLICT)),
        );
        check(
            json!([{"matchFields": [name(&["a"])]}, {"matchExpressions": [{"key": "k", "operator": "Exists"}]}]),
            Ok(None),
        );
    }

    #[test]
    fn added_affinity_is_enforced() {
        let args = json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}});
        let args = api_types::decode_json(args.to_string().as_bytes()).unwrap();
        let plugin = NodeAffinity::new(&args).unwrap();
        check_filter(
            &plugin,
            pod(json!({})),
            node(json!({})),
            Err(Status::unresolvable(REASON_ENFORCED)),
        );
        check_filter(
            &plugin,
            pod(json!({})),
            node(json!({"metadata": {"labels": {"zone": "a"}}})),
            Ok(()),
        );
    }

    #[test]
    fn scores_by_weight() {
        let preferred = |weight: i32, key: &str| json!({"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}});
        let pod = pod(json!({"spec": {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [preferred(2, "a"), preferred(4, "b")]}}}}));
        let nodes = vec![
            node(json!({"metadata": {"name": "1"}})),
            node(json!({"metadata": {"name": "2", "labels": {"a": ""}}})),
            node(json!({"metadata": {"name": "3", "labels": {"a": "", "b": ""}}})),
        ];
        let plugin = plain();
        assert_eq!(scores(&plugin, Some(&plugin), pod, nodes), [0, 33, 100]);
    }
}

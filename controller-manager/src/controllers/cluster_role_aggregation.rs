//! Fills the rules of ClusterRoles that aggregate others. Upstream: pkg/controller/clusterroleaggregation.

use std::sync::Arc;

use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::PatchOptions;
use api_types::rbac::v1::{ClusterRole, PolicyRule};
use client::{Client, Lister, ObjectKey, Patch};
use serde_json::{Value, json};

use super::controller_ref::{key_of, selector_of};
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Setup, on_change};
use crate::runner::Queue;

/// The clusterrole-aggregation-controller. Its keys are ClusterRoles.
pub struct ClusterRoleAggregationController {
    client: Client,
    roles: Lister<ClusterRole>,
}

impl Controller for ClusterRoleAggregationController {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    const ALIASES: &'static [&'static str] = &["clusterrole-aggregation"];
    const SERVICE_ACCOUNT: &'static str = "clusterrole-aggregation-controller";
    const QUEUE: &'static str = "ClusterRoleAggregator";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let informer = setup.informer::<ClusterRole>();
        let (to, roles) = (queue.clone(), informer.lister());
        // Any role may be part of any aggregate.
        on_change(&informer, move |_| {
            for role in roles.list() {
                if role.aggregation_rule.is_some() {
                    to.add(key_of(&role.metadata));
                }
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            roles: informer.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        5
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(role) = self.roles.get(key) else {
            return Ok(Next::Done);
        };
        let Some(rules) = aggregate(&role, &self.roles.list())? else {
            return Ok(Next::Done);
        };
        if rules == role.rules {
            return Ok(Next::Done);
        }
        let apply = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": key.name},
            "rules": rules.iter().map(to_json).collect::<Vec<_>>(),
        });
        let options = PatchOptions {
            field_manager: "clusterrole-aggregation-controller".to_owned(),
            force: Some(true),
            ..Default::default()
        };
        let patch = Patch::Apply(apply.to_string().into_bytes());
        self.client
            .api::<ClusterRole>()
            .patch(&key.name, &patch, &options)
            .await?;
        Ok(Next::Done)
    }
}

/// The rules of all roles that the aggregate selects, each once, in the order of selectors and names.
fn aggregate(
    role: &ClusterRole,
    all: &[Arc<ClusterRole>],
) -> Result<Option<Vec<PolicyRule>>, SyncError> {
    let Some(aggregation) = &role.aggregation_rule else {
        return Ok(None);
    };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        let selector = selector_of(Some(selector))?;
        let mut selected: Vec<_> = all
            .iter()
            .filter(|other| {
                selector.matches(&other.metadata.labels)
                    && other.metadata.name != role.metadata.name
            })
            .collect();
        selected.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for rule in selected.iter().flat_map(|other| &other.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Ok(Some(rules))
}

fn to_json(rule: &PolicyRule) -> Value {
    let mut value = json!({});
    for (key, list) in [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ] {
        if !list.is_empty() {
            value[key] = json!(list);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use api_types::meta::v1::LabelSelector;
    use api_types::rbac::v1::AggregationRule;

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> ClusterRole {
        let mut role = ClusterRole::default();
        role.metadata.name = name.into();
        role.metadata.labels.insert("to".into(), label.into());
        role.rules = verbs
            .iter()
            .map(|verb| PolicyRule {
                verbs: vec![(*verb).into()],
                ..Default::default()
            })
            .collect();
        role
    }

    #[test]
    fn rules_are_joined_once_and_in_order() {
        let selector = |label: &str| LabelSelector {
            match_labels: [("to".to_owned(), label.to_owned())].into(),
            ..Default::default()
        };
        let mut admin = role("admin", "x", &["old"]);
        assert_eq!(aggregate(&admin, &[]).unwrap(), None);
        admin.aggregation_rule = Some(Box::new(AggregationRule {
            cluster_role_selectors: vec![selector("y"), selector("x")],
        }));
        let all = [
            role("b", "x", &["get", "list"]),
            role("a", "x", &["watch", "get"]),
            role("c", "y", &["delete"]),
            role("d", "z", &["never"]),
            admin.clone(),
        ]
        .map(Arc::new);
        let rules = aggregate(&admin, &all).unwrap().unwrap();
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["delete", "watch", "get", "list"]);
        assert_eq!(to_json(&rules[0]), json!({"verbs": ["delete"]}));
    }
}

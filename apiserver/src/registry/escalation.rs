//! Nobody grants rights by RBAC that they do not have, unless they may `escalate` the role or `bind` it.
//! Upstream: pkg/registry/rbac (escalation_check.go, the policybased folders, validation/rule.go).
//!
//! The rule is part of writing these kinds, not an admission plugin: it holds whatever plugins and authorizers are on.

use std::collections::{BTreeMap, BTreeSet};

use api_types::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef,
};
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use component_base::auth::{self, UserInfo};

use super::errors::plain;
use super::object::Object;
use crate::admission::{Attributes, Operation};
use crate::authz::rbac::{Limits, covers_within};
use crate::server::ApiServer;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Of what is missing so many single grants are told, and so much work is a comparison worth: well below a second.
const LIMITS: Limits = Limits {
    uncovered: 20_000,
    steps: 200_000_000,
};
/// Nobody has to be asked for these.
const PRIVILEGED: &str = "system:masters";

/// Refuses a role or binding, as mutating admission left it, that grants what its author does not have.
pub async fn check(
    server: &ApiServer,
    attributes: &Attributes,
    object: &Object,
) -> Result<(), StatusError> {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    if attributes.resource.group != GROUP || !written {
        return Ok(());
    }
    let user = &attributes.user;
    if user.groups.iter().any(|group| group == PRIVILEGED) {
        return Ok(());
    }
    let old = attributes.old_object.as_deref();
    if old.is_some_and(|old| only_garbage_collection(object, old)) {
        return Ok(());
    }
    let namespace = attributes.namespace.as_str();
    let forbidden = |reason: String| {
        let name = &object.metadata().name;
        status::forbidden(&attributes.group_resource(), name, reason)
    };
    if let Some(reference) = reference_of(object) {
        let resource = match reference.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            other => {
                let kind = quote(other);
                return Err(plain(format!("unsupported role reference kind: {kind}")));
            }
        };
        let right = right(user, "bind", resource, namespace, &reference.name);
        if allows(server, &right).await {
            return Ok(());
        }
        let rules = rules_of(server, reference, resource, namespace).await;
        // As upstream, a missing role is told as one of the resource of the request.
        let rules = rules.map_err(|error| match status::is_not_found(&error) {
            true => status::not_found(&attributes.group_resource(), &reference.name),
            false => error,
        })?;
        return held(server, user, namespace, &rules).map_err(forbidden);
    }
    let (rules, aggregates) = if let Some(role) = object.get::<Role>() {
        (&role.rules, false)
    } else if let Some(role) = object.get::<ClusterRole>() {
        let was = old.and_then(Object::get::<ClusterRole>);
        (&role.rules, aggregates(role) || was.is_some_and(aggregates))
    } else {
        return Ok(());
    };
    let resource = &attributes.resource.resource;
    let right = right(user, "escalate", resource, namespace, &attributes.name);
    if allows(server, &right).await {
        return Ok(());
    }
    held(server, user, namespace, rules).map_err(forbidden)?;
    if aggregates && held(server, user, namespace, &everything()).is_err() {
        let reason = "must have cluster-admin privileges to use the aggregationRule";
        return Err(forbidden(reason.to_owned()));
    }
    Ok(())
}

fn reference_of(object: &Object) -> Option<&RoleRef> {
    match object.get::<RoleBinding>() {
        Some(binding) => Some(&binding.role_ref),
        None => Some(&object.get::<ClusterRoleBinding>()?.role_ref),
    }
}

fn aggregates(role: &ClusterRole) -> bool {
    let rule = role.aggregation_rule.as_ref();
    rule.is_some_and(|rule| !rule.cluster_role_selectors.is_empty())
}

/// Whether only what lets the garbage collector delete the object differs.
fn only_garbage_collection(object: &Object, old: &Object) -> bool {
    let mut metadata = object.metadata().clone();
    let before = old.metadata();
    metadata
        .owner_references
        .clone_from(&before.owner_references);
    metadata.finalizers.clone_from(&before.finalizers);
    metadata.managed_fields.clone_from(&before.managed_fields);
    metadata == *before && object.equals_besides_metadata(old)
}

fn right(
    user: &UserInfo,
    verb: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> auth::Attributes {
    auth::Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        namespace: namespace.to_owned(),
        api_group: GROUP.to_owned(),
        api_version: "*".to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        resource_request: true,
        ..auth::Attributes::default()
    }
}

async fn allows(server: &ApiServer, right: &auth::Attributes) -> bool {
    match server.authorizer.authorize(right).await {
        Ok(decision) => decision.is_allowed(),
        Err(error) => {
            tracing::error!(error = %error, verb = right.verb, "Unable to authorize the writing of a role or binding");
            false
        }
    }
}

/// The rules of the role that a binding names, as stored now: the role may have been made a moment ago.
async fn rules_of(
    server: &ApiServer,
    reference: &RoleRef,
    resource: &str,
    namespace: &str,
) -> Result<Vec<PolicyRule>, StatusError> {
    let row = server
        .resources
        .get(GROUP, "v1", resource)
        .ok_or_else(|| status::internal(format!("{resource} are not served")))?;
    let stored = crate::handlers::read(&row, namespace, &reference.name, "").await?;
    let role = row.decode_stored(&stored.value, stored.resource_version)?;
    Ok(match role.get::<ClusterRole>() {
        Some(role) => role.rules.clone(),
        None => role
            .get::<Role>()
            .map(|role| role.rules.clone())
            .unwrap_or_default(),
    })
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..PolicyRule::default()
        },
        PolicyRule {
            verbs: all(),
            non_resource_urls: all(),
            ..PolicyRule::default()
        },
    ]
}

/// Whether the user has all of some rights in a namespace; if not, which are missing.
fn held(
    server: &ApiServer,
    user: &UserInfo,
    namespace: &str,
    rules: &[PolicyRule],
) -> Result<(), String> {
    let owned = server
        .rbac
        .as_ref()
        .map(|rbac| rbac.policy_rules(user, namespace));
    let owned = owned.unwrap_or_default();
    let coverage = covers_within(&owned.rules, rules, LIMITS);
    if coverage.is_complete() {
        return Ok(());
    }
    let missing: BTreeSet<String> = compact(coverage.uncovered).iter().map(describe).collect();
    let mut missing: Vec<String> = missing.into_iter().collect();
    if coverage.more {
        missing.push("and more, or too many to compare: grant fewer at once".to_owned());
    }
    let mut text = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        quoted(&user.groups),
        missing.join("\n")
    );
    if !owned.errors.is_empty() {
        text.push_str(&format!(
            "; resolution errors: [{}]",
            owned.errors.join(", ")
        ));
    }
    Err(text)
}

/// Rules of one resource with their verbs together.
fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut simple: BTreeMap<(String, String, Option<String>), PolicyRule> = BTreeMap::new();
    let mut compacted = Vec::new();
    for rule in rules {
        let is_simple = rule.non_resource_urls.is_empty()
            && rule.resource_names.len() <= 1
            && rule.api_groups.len() == 1
            && rule.resources.len() == 1;
        if !is_simple {
            compacted.push(rule);
            continue;
        }
        let key = (
            rule.api_groups[0].clone(),
            rule.resources[0].clone(),
            rule.resource_names.first().cloned(),
        );
        match simple.get_mut(&key) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => {
                simple.insert(key, rule);
            }
        }
    }
    compacted.extend(simple.into_values());
    compacted
}

fn describe(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| format!("{name}:{}", quoted(values)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

/// A list as Go quotes it.
fn quoted(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resource: &str, verb: &str) -> PolicyRule {
        PolicyRule {
            api_groups: vec![group.to_owned()],
            resources: vec![resource.to_owned()],
            verbs: vec![verb.to_owned()],
            ..PolicyRule::default()
        }
    }

    #[test]
    fn missing_rights_are_told_together() {
        let path = PolicyRule {
            non_resource_urls: vec!["/metrics".to_owned()],
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        };
        let rules = vec![
            rule("", "pods", "get"),
            path,
            rule("", "pods", "list"),
            rule("apps", "pods", "get"),
        ];
        let told: Vec<String> = compact(rules).iter().map(describe).collect();
        assert_eq!(
            told,
            [
                r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}"#,
            ]
        );
    }

    #[test]
    fn what_lets_the_collector_delete_grants_nothing() {
        let mut role = Role::default();
        role.rules.push(rule("", "pods", "get"));
        let old = Object::from(role.clone());
        role.metadata.finalizers.push("a/b".to_owned());
        assert!(only_garbage_collection(&Object::from(role.clone()), &old));
        role.rules.push(rule("", "secrets", "get"));
        assert!(!only_garbage_collection(&Object::from(role), &old));
    }
}

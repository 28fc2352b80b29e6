//! Roles and bindings. Upstream: pkg/apis/rbac/validation.

use api_types::rbac::v1::*;
use apimachinery::labels::Selector;

use super::*;

const GROUP: &str = "rbac.authorization.k8s.io";

fn rbac_name(name: &str, _: bool) -> Vec<String> {
    rules::is_path_segment_name(name)
}

fn policy_rules(list: &[PolicyRule], namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in list.iter().enumerate() {
        let path = Path::new("rules").index(i);
        if rule.verbs.is_empty() {
            errors.push(field::required(
                &path.child("verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !rule.non_resource_urls.is_empty() {
            let path = path.child("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(field::invalid(&path, &rule.non_resource_urls, detail));
            }
            if !(rule.api_groups.is_empty()
                && rule.resources.is_empty()
                && rule.resource_names.is_empty())
            {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(field::invalid(&path, &rule.non_resource_urls, detail));
            }
            continue;
        }
        if rule.api_groups.is_empty() {
            let detail = "resource rules must supply at least one api group";
            errors.push(field::required(&path.child("apiGroups"), detail));
        }
        if rule.resources.is_empty() {
            let detail = "resource rules must supply at least one resource";
            errors.push(field::required(&path.child("resources"), detail));
        }
    }
    errors
}

pub fn validate_role(role: &Role) -> ErrorList {
    let mut errors = object_meta(&role.metadata, true, rbac_name);
    errors.extend(policy_rules(&role.rules, true));
    errors
}

pub fn validate_role_update(new: &Role, old: &Role) -> ErrorList {
    let mut errors = validate_role(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors
}

fn cluster_role_rules(role: &ClusterRole, keep_invalid: bool) -> ErrorList {
    let mut errors = object_meta(&role.metadata, false, rbac_name);
    errors.extend(policy_rules(&role.rules, false));
    let Some(rule) = &role.aggregation_rule else {
        return errors;
    };
    let path = path(&["aggregationRule", "clusterRoleSelectors"]);
    if rule.cluster_role_selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(field::required(&path, detail));
    }
    for (i, selector) in rule.cluster_role_selectors.iter().enumerate() {
        let path = path.index(i);
        errors.extend(label_selector_allowing(Some(selector), keep_invalid, &path));
        if Selector::from_label_selector(Some(selector)).is_err() {
            // Upstream prints the selector that could not be made.
            errors.push(field::invalid(
                &path,
                Option::<&str>::None,
                "invalid label selector.",
            ));
        }
    }
    errors
}

pub fn validate_cluster_role(role: &ClusterRole) -> ErrorList {
    cluster_role_rules(role, false)
}

pub fn validate_cluster_role_update(new: &ClusterRole, old: &ClusterRole) -> ErrorList {
    let selectors = old
        .aggregation_rule
        .iter()
        .flat_map(|rule| &rule.cluster_role_selectors);
    let mut selectors = selectors.map(|selector| label_selector(Some(selector), &Path::nil()));
    let mut errors = cluster_role_rules(new, selectors.any(|problems| !problems.is_empty()));
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors
}

fn role_ref(reference: &RoleRef, kinds: &[&str]) -> ErrorList {
    let path = Path::new("roleRef");
    let mut errors = one_of(&reference.api_group, &[GROUP], &path.child("apiGroup"));
    errors.extend(one_of(&reference.kind, kinds, &path.child("kind")));
    errors.extend(super::networking::path_segment(
        &reference.name,
        &path.child("name"),
    ));
    errors
}

fn subjects(subjects: &[Subject], namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, subject) in subjects.iter().enumerate() {
        let path = Path::new("subjects").index(i);
        let (name_path, group_path) = (path.child("name"), path.child("apiGroup"));
        if subject.name.is_empty() {
            errors.push(field::required(&name_path, ""));
        }
        match subject.kind.as_str() {
            "ServiceAccount" => {
                if !subject.name.is_empty() {
                    errors.extend(dns_subdomain(&subject.name, &name_path));
                }
                errors.extend(one_of(&subject.api_group, &[""], &group_path));
                if !namespaced && subject.namespace.is_empty() {
                    errors.push(field::required(&path.child("namespace"), ""));
                }
            }
            "User" | "Group" => errors.extend(one_of(&subject.api_group, &[GROUP], &group_path)),
            other => errors.extend(one_of(
                other,
                &["ServiceAccount", "User", "Group"],
                &path.child("kind"),
            )),
        }
    }
    errors
}

pub fn validate_role_binding(binding: &RoleBinding) -> ErrorList {
    let mut errors = object_meta(&binding.metadata, true, rbac_name);
    errors.extend(role_ref(&binding.role_ref, &["Role", "ClusterRole"]));
    errors.extend(subjects(&binding.subjects, true));
    errors
}

pub fn validate_cluster_role_binding(binding: &ClusterRoleBinding) -> ErrorList {
    let mut errors = object_meta(&binding.metadata, false, rbac_name);
    errors.extend(role_ref(&binding.role_ref, &["ClusterRole"]));
    errors.extend(subjects(&binding.subjects, false));
    errors
}

fn same_role(new: &RoleRef, old: &RoleRef) -> Option<Error> {
    let path = Path::new("roleRef");
    (new != old).then(|| field::invalid(&path, go_value::bad_value(new), "cannot change roleRef"))
}

pub fn validate_role_binding_update(new: &RoleBinding, old: &RoleBinding) -> ErrorList {
    let mut errors = validate_role_binding(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(same_role(&new.role_ref, &old.role_ref));
    errors
}

pub fn validate_cluster_role_binding_update(
    new: &ClusterRoleBinding,
    old: &ClusterRoleBinding,
) -> ErrorList {
    let mut errors = validate_cluster_role_binding(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(same_role(&new.role_ref, &old.role_ref));
    errors
}

//! Pod groups, and workloads, which have templates of them. Upstream: pkg/apis/scheduling/validation, and the markers of the types.

use std::collections::HashSet;

use api_types::Struct;
use api_types::scheduling::v1alpha2::*;
use apimachinery::validation::validate_conditions;
use rules::content;

use super::*;
use crate::apis::gates;

const TOPOLOGY: &str = "TopologyAwareWorkloadScheduling";
const PREEMPTION: &str = "WorkloadAwarePreemption";

const MOST_TEMPLATES: usize = 8;
const MOST_CLAIMS: usize = 4;
const MOST_LEVELS: usize = 1;
const HIGHEST_PRIORITY: i32 = 1_000_000_000;

// === What groups and templates have in common ===

struct Parts<'a> {
    policy: &'a PodGroupSchedulingPolicy,
    constraints: Option<&'a PodGroupSchedulingConstraints>,
    claims: &'a [PodGroupResourceClaim],
    disruption_mode: Option<&'a str>,
    class: &'a str,
    priority: Option<i32>,
}

macro_rules! parts_of {
    ($of:expr) => {
        Parts {
            policy: &$of.scheduling_policy,
            constraints: $of.scheduling_constraints.as_deref(),
            claims: &$of.resource_claims,
            disruption_mode: $of.disruption_mode.as_deref(),
            class: &$of.priority_class_name,
            priority: $of.priority,
        }
    };
}

fn parts(of: &Parts<'_>, path: &Path) -> ErrorList {
    let mut errors = policy(of.policy, &path.child("schedulingPolicy"));
    if let Some(constraints) = of.constraints {
        let path = path.child("schedulingConstraints").child("topology");
        errors.extend(list(&constraints.topology, MOST_LEVELS, &path, level));
    }
    let claims = path.child("resourceClaims");
    errors.extend(map(of.claims, MOST_CLAIMS, &claims, |it| &it.name, claim));
    if let Some(mode) = of.disruption_mode {
        errors.extend(one_of(
            mode,
            &["Pod", "PodGroup"],
            &path.child("disruptionMode"),
        ));
    }
    if !of.class.is_empty() {
        let path = path.child("priorityClassName");
        errors.extend(invalids(
            &path,
            of.class,
            content::is_dns1123_subdomain(of.class),
        ));
    }
    if let Some(priority) = of.priority.filter(|it| *it > HIGHEST_PRIORITY) {
        let detail = format!("must be less than or equal to {HIGHEST_PRIORITY}");
        errors.push(field::invalid(&path.child("priority"), priority, detail));
    }
    errors
}

/// Exactly one member of a union is set.
fn union(members: &[(&str, bool)], path: &Path) -> ErrorList {
    let set: Vec<&str> = members.iter().filter(|it| it.1).map(|it| it.0).collect();
    let all: Vec<String> = members.iter().map(|it| format!("`{}`", it.0)).collect();
    let all = all.join(", ");
    match set.len() {
        0 => field::invalid(path, "", format!("must specify one of: {all}")).into(),
        1 => ErrorList::new(),
        _ => {
            let value = format!("{{{}}}", set.join(", "));
            field::invalid(path, value, format!("must specify exactly one of: {all}")).into()
        }
    }
}

/// A list that is not too long.
fn list<T>(
    items: &[T],
    most: usize,
    path: &Path,
    check: impl Fn(&T, &Path) -> ErrorList,
) -> ErrorList {
    if items.len() > most {
        return field::too_many(path, Some(items.len()), most).into();
    }
    let items = items.iter().enumerate();
    items
        .flat_map(|(i, item)| check(item, &path.index(i)))
        .collect()
}

/// As [`list`], of items with different names.
fn map<T: Struct>(
    items: &[T],
    most: usize,
    path: &Path,
    name: impl Fn(&T) -> &String,
    check: impl Fn(&T, &Path) -> ErrorList,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if items.len() <= most {
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            if !seen.insert(name(item)) {
                errors.push(field::duplicate(&path.index(i), BadValue::of(item)));
            }
        }
    }
    errors.extend(list(items, most, path, check));
    errors
}

fn required_name(name: &str, path: &Path, check: fn(&str) -> Vec<String>) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    invalids(path, name, check(name))
}

fn policy(policy: &PodGroupSchedulingPolicy, path: &Path) -> ErrorList {
    let members = [
        ("basic", policy.basic.is_some()),
        ("gang", policy.gang.is_some()),
    ];
    let mut errors = union(&members, path);
    if let Some(gang) = &policy.gang {
        let path = path.child("gang").child("minCount");
        if gang.min_count == 0 {
            errors.push(field::required(&path, ""));
        } else if gang.min_count < 1 {
            let detail = "must be greater than or equal to 1";
            errors.push(field::invalid(&path, gang.min_count, detail));
        }
    }
    errors
}

fn level(constraint: &TopologyConstraint, path: &Path) -> ErrorList {
    required_name(&constraint.key, &path.child("key"), content::is_label_key)
}

fn claim(claim: &PodGroupResourceClaim, path: &Path) -> ErrorList {
    let (name, template) = (
        &claim.resource_claim_name,
        &claim.resource_claim_template_name,
    );
    let members = [
        ("resourceClaimName", name.is_some()),
        ("resourceClaimTemplateName", template.is_some()),
    ];
    let mut errors = union(&members, path);
    errors.extend(required_name(
        &claim.name,
        &path.child("name"),
        content::is_dns1123_label,
    ));
    for ((field, _), name) in members.into_iter().zip([name, template]) {
        if let Some(name) = name {
            errors.extend(invalids(
                &path.child(field),
                name,
                content::is_dns1123_subdomain(name),
            ));
        }
    }
    errors
}

/// An error of declarative validation, which does not show the value.
fn changed(path: &Path) -> Error {
    field::invalid(path, BadValue::Text("null".to_owned()), IMMUTABLE)
}

// === PodGroup ===

pub(crate) fn validate_pod_group(group: &PodGroup) -> ErrorList {
    let mut errors = object_meta(&group.metadata, true, rules::name_is_dns_subdomain);
    let path = Path::new("spec");
    if let Some(reference) = &group.spec.pod_group_template_ref {
        let path = path.child("podGroupTemplateRef");
        let workload = reference.workload.as_deref();
        errors.extend(union(&[("workload", workload.is_some())], &path));
        if let Some(workload) = workload {
            let path = path.child("workload");
            errors.extend(required_name(
                &workload.workload_name,
                &path.child("workloadName"),
                content::is_dns1123_subdomain,
            ));
            errors.extend(required_name(
                &workload.pod_group_template_name,
                &path.child("podGroupTemplateName"),
                content::is_dns1123_label,
            ));
        }
    }
    errors.extend(parts(&parts_of!(group.spec), &path));
    errors
}

/// Nothing of the spec changes; what belongs to a feature that is off stays.
pub(crate) fn validate_pod_group_update(new: &PodGroup, old: &PodGroup) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = Path::new("spec");
    let (new, old) = (&new.spec, &old.spec);
    if new.pod_group_template_ref != old.pod_group_template_ref {
        errors.push(changed(&path.child("podGroupTemplateRef")));
    }
    if new.scheduling_policy != old.scheduling_policy {
        errors.push(changed(&path.child("schedulingPolicy")));
    }
    let constraints = &new.scheduling_constraints;
    if *constraints != old.scheduling_constraints {
        let path = path.child("schedulingConstraints");
        errors.extend(gated(TOPOLOGY, constraints.is_some(), &path));
    }
    if new.resource_claims != old.resource_claims {
        let path = path.child("resourceClaims");
        errors.push(changed(&path));
        if new.resource_claims.len() > MOST_CLAIMS {
            let count = Some(new.resource_claims.len());
            errors.push(field::too_many(&path, count, MOST_CLAIMS));
        }
    }
    if new.disruption_mode != old.disruption_mode {
        let (mode, path) = (&new.disruption_mode, path.child("disruptionMode"));
        if mode.is_none() && gates::enabled(PREEMPTION) {
            errors.push(field::required(&path, ""));
        }
        errors.extend(gated(PREEMPTION, mode.is_some(), &path));
    }
    if new.priority_class_name != old.priority_class_name {
        let path = path.child("priorityClassName");
        errors.extend(gated(
            PREEMPTION,
            !new.priority_class_name.is_empty(),
            &path,
        ));
    }
    if new.priority != old.priority {
        let path = path.child("priority");
        errors.extend(gated(PREEMPTION, new.priority.is_some(), &path));
    }
    errors
}

/// What is wrong with the change of a field that a feature brings: without it the field can only go.
fn gated(gate: &str, is_set: bool, path: &Path) -> Option<Error> {
    if gates::enabled(gate) {
        Some(changed(path))
    } else {
        is_set.then(|| field::forbidden(path, ""))
    }
}

pub(crate) fn validate_pod_group_status_update(new: &PodGroup, old: &PodGroup) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = Path::new("status");
    errors.extend(validate_conditions(
        &new.status.conditions,
        &status.child("conditions"),
    ));
    let path = status.child("resourceClaimStatuses");
    let statuses = &new.status.resource_claim_statuses;
    let claims = new.spec.resource_claims.iter();
    let known: HashSet<&String> = claims.map(|claim| &claim.name).collect();
    for (i, status) in statuses.iter().enumerate() {
        if !known.contains(&status.name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            let path = path.index(i).child("name");
            errors.push(field::invalid(&path, &status.name, detail));
        }
    }
    if *statuses != old.status.resource_claim_statuses {
        let claim_name = |status: &PodGroupResourceClaimStatus, path: &Path| {
            let path = path.child("resourceClaimName");
            let name = status.resource_claim_name.as_deref();
            name.map(|name| invalids(&path, name, content::is_dns1123_subdomain(name)))
                .unwrap_or_default()
        };
        errors.extend(map(statuses, MOST_CLAIMS, &path, |it| &it.name, claim_name));
    }
    errors
}

// === Workload ===

pub(crate) fn validate_workload(workload: &Workload) -> ErrorList {
    let mut errors = object_meta(&workload.metadata, true, rules::name_is_dns_subdomain);
    let path = Path::new("spec");
    if let Some(reference) = &workload.spec.controller_ref {
        let path = path.child("controllerRef");
        if !reference.api_group.is_empty() {
            errors.extend(invalids(
                &path.child("apiGroup"),
                &reference.api_group,
                content::is_dns1123_subdomain(&reference.api_group),
            ));
        }
        for (name, field) in [(&reference.kind, "kind"), (&reference.name, "name")] {
            errors.extend(required_name(
                name,
                &path.child(field),
                content::is_path_segment_name,
            ));
        }
    }
    let templates = &workload.spec.pod_group_templates;
    let path = path.child("podGroupTemplates");
    if templates.is_empty() {
        errors.push(field::required(&path, ""));
    }
    errors.extend(map(
        templates,
        MOST_TEMPLATES,
        &path,
        |it| &it.name,
        template,
    ));
    errors
}

fn template(template: &PodGroupTemplate, path: &Path) -> ErrorList {
    let mut errors = required_name(
        &template.name,
        &path.child("name"),
        content::is_dns1123_label,
    );
    errors.extend(parts(&parts_of!(template), path));
    errors
}

pub(crate) fn validate_workload_update(new: &Workload, old: &Workload) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = Path::new("spec");
    if new.spec.controller_ref != old.spec.controller_ref {
        errors.push(changed(&path.child("controllerRef")));
    }
    let templates = &new.spec.pod_group_templates;
    if *templates != old.spec.pod_group_templates {
        let path = path.child("podGroupTemplates");
        errors.push(changed(&path));
        if templates.len() > MOST_TEMPLATES {
            let count = Some(templates.len());
            errors.push(field::too_many(&path, count, MOST_TEMPLATES));
        }
        if templates.is_empty() {
            errors.push(field::required(&path, ""));
        }
    }
    errors
}

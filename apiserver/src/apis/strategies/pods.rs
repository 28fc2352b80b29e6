//! Pods, and pod templates. Upstream: pkg/registry/core/pod and podtemplate.

use std::collections::{BTreeMap, HashMap};

use api_types::core::v1::*;
use api_types::meta::v1::{DeleteOptions, LabelSelector, LabelSelectorRequirement};
use apimachinery::field::Path;
use apimachinery::resource::pod_qos;
use apimachinery::validation as rules;

use super::pod_fields::{
    drop_disabled_fields, drop_disabled_status_fields, drop_disabled_template_fields,
};
use super::pod_warnings::{APPARMOR_DEPRECATED, pod_warnings, template_warnings};
use super::{Generation, Kind, Row, Status, host_name_warning, path, reset_metadata, row};
use crate::apis::gates;
use crate::apis::validation::pod_status::validate_pod_status_update;
use crate::apis::validation::pods as checks;
use crate::apis::validation::security::{APPARMOR_CONTAINER, apparmor_profile};
use crate::registry::strategy::Context;
use crate::request::context::Warnings;

pub(super) static ROWS: &[Row] = &[
    row("", "Pod", "", &POD),
    row("", "Pod", "status", &POD_STATUS),
    row("", "Pod", "ephemeralcontainers", &EPHEMERAL_CONTAINERS),
    row("", "Pod", "resize", &RESIZE),
    row("", "PodTemplate", "", &POD_TEMPLATE),
];

static POD: Kind<Pod> = Kind {
    prepare,
    prepare_update: |_, pod, old| drop_disabled_fields(&mut pod.spec, Some(&old.spec)),
    warn: |_, pod| {
        let mut warnings: Vec<String> = host_name_warning(&pod.metadata.name, "the Pod's hostname")
            .into_iter()
            .collect();
        warnings.extend(pod_warnings(pod));
        warnings
    },
    graceful_delete: Some(grace_period),
    generation: Generation::Spec,
    ..Kind::new(
        |_, pod| checks::validate_pod(pod),
        |_, pod, old| checks::validate_pod_update(pod, old),
    )
};

static POD_STATUS: Status<Pod> = Status {
    prepare: |_, pod, old| {
        pod.metadata.deletion_timestamp = None;
        pod.metadata
            .owner_references
            .clone_from(&old.metadata.owner_references);
        if pod.status.qos_class.is_empty() {
            pod.status.qos_class.clone_from(&old.status.qos_class);
        }
        keep_observed_generation(&mut pod.status, &old.status);
        drop_disabled_fields(&mut pod.spec, Some(&old.spec));
        drop_disabled_status_fields(&mut pod.status, Some(&old.status));
    },
    warn: |_, pod, _| status_warnings(&pod.status),
    ..Status::new(|_, pod, old| validate_pod_status_update(pod, old))
};

static EPHEMERAL_CONTAINERS: Status<Pod> = Status {
    fields: &["Spec"],
    prepare: |_, pod, old| {
        let added = std::mem::take(&mut pod.spec.ephemeral_containers);
        pod.spec = old.spec.clone();
        reset_metadata(&mut pod.metadata, &old.metadata);
        pod.spec.ephemeral_containers = added;
        drop_disabled_fields(&mut pod.spec, Some(&old.spec));
        count_generation(pod, old);
    },
    ..Status::new(|_, pod, old| checks::validate_pod_ephemeral_containers_update(pod, old))
};

static RESIZE: Status<Pod> = Status {
    fields: &["Spec"],
    prepare: |_, pod, old| {
        keep_all_but_resources(pod, old);
        drop_disabled_fields(&mut pod.spec, Some(&old.spec));
        count_generation(pod, old);
    },
    ..Status::new(|_, pod, old| checks::validate_pod_resize(pod, old))
};

static POD_TEMPLATE: Kind<PodTemplate> = Kind {
    prepare: |_, template| drop_disabled_template_fields(&mut template.template, None),
    prepare_update: |_, template, old| {
        drop_disabled_template_fields(&mut template.template, Some(&old.template));
    },
    warn: |_, template| template_warnings(&Path::new("template"), &template.template),
    warn_update: |_, template, old| {
        if template.metadata.generation == old.metadata.generation {
            return Vec::new();
        }
        template_warnings(&Path::new("template"), &template.template)
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, template| checks::validate_pod_template(template),
        |_, template, old| checks::validate_pod_template_update(template, old),
    )
};

fn count_generation(pod: &mut Pod, old: &Pod) {
    if pod.spec != old.spec {
        pod.metadata.generation += 1;
    }
}

fn prepare(context: &Context, pod: &mut Pod) {
    pod.status = PodStatus {
        phase: "Pending".to_owned(),
        ..PodStatus::default()
    };
    pod.status.qos_class = pod_qos(pod).to_owned();
    drop_disabled_fields(&mut pod.spec, None);
    drop_disabled_status_fields(&mut pod.status, None);
    if !pod.spec.scheduling_gates.is_empty() {
        pod.status.conditions.push(PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: "SchedulingGated".to_owned(),
            message: "Scheduling is blocked due to non-empty scheduling gates".to_owned(),
            last_transition_time: api_types::Time::now(),
            ..PodCondition::default()
        });
    }
    affinity_keys(pod);
    if gates::enabled("MatchLabelKeysInPodTopologySpread")
        && gates::enabled("MatchLabelKeysInPodTopologySpreadSelectorMerge")
    {
        for constraint in &mut pod.spec.topology_spread_constraints {
            if let Some(selector) = &mut constraint.label_selector {
                add_keys(
                    selector,
                    &constraint.match_label_keys,
                    "In",
                    &pod.metadata.labels,
                );
            }
        }
    }
    apparmor_from_annotations(pod, &context.warnings);
}

/// Adds requirements for the pod's values of label keys.
fn add_keys(
    selector: &mut LabelSelector,
    keys: &[String],
    operator: &str,
    labels: &BTreeMap<String, String>,
) {
    for key in keys {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: vec![value.clone()],
            });
        }
    }
}

fn affinity_keys(pod: &mut Pod) {
    let labels = &pod.metadata.labels;
    let apply = |term: &mut PodAffinityTerm| {
        if let Some(selector) = &mut term.label_selector {
            add_keys(selector, &term.match_label_keys, "In", labels);
            add_keys(selector, &term.mismatch_label_keys, "NotIn", labels);
        }
    };
    let Some(affinity) = &mut pod.spec.affinity else {
        return;
    };
    if let Some(affinity) = &mut affinity.pod_affinity {
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .iter_mut();
        preferred.for_each(|term| apply(&mut term.pod_affinity_term));
        affinity
            .required_during_scheduling_ignored_during_execution
            .iter_mut()
            .for_each(apply);
    }
    if let Some(affinity) = &mut affinity.pod_anti_affinity {
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .iter_mut();
        preferred.for_each(|term| apply(&mut term.pod_affinity_term));
        affinity
            .required_during_scheduling_ignored_during_execution
            .iter_mut()
            .for_each(apply);
    }
}

/// The profile that an annotation from before the field means.
pub(super) fn profile_of_annotation(annotation: &str) -> Option<AppArmorProfile> {
    let (ty, local) = match annotation {
        "unconfined" => ("Unconfined", None),
        "runtime/default" => ("RuntimeDefault", None),
        other => (
            "Localhost",
            Some(
                other
                    .strip_prefix("localhost/")
                    .filter(|name| !name.is_empty())?,
            ),
        ),
    };
    Some(AppArmorProfile {
        type_: ty.to_owned(),
        localhost_profile: local.map(str::to_owned),
    })
}

/// Sets the fields of containers that only have the older annotation, and warns of those: afterwards they could not be told from others.
fn apparmor_from_annotations(pod: &mut Pod, warnings: &Warnings) {
    if pod.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let pod_profile = pod
        .spec
        .security_context
        .as_ref()
        .and_then(|context| context.app_armor_profile.clone());
    let annotations = &pod.metadata.annotations;
    let apply = |name: &str, context: &mut Option<Box<SecurityContext>>| {
        let key = format!("{APPARMOR_CONTAINER}{name}");
        let Some(annotation) = annotations.get(&key) else {
            return;
        };
        if context
            .as_ref()
            .is_some_and(|context| context.app_armor_profile.is_some())
        {
            return;
        }
        let profile = profile_of_annotation(annotation)
            .filter(|profile| apparmor_profile(Some(profile), &Path::nil()).is_empty())
            .map(Box::new);
        if profile.is_some() && profile == pod_profile {
            return;
        }
        let path = path(&["metadata", "annotations"]).key(&key);
        warnings.add(format!("{path}: {APPARMOR_DEPRECATED}"));
        if profile.is_some() {
            context.get_or_insert_default().app_armor_profile = profile;
        }
    };
    for container in pod
        .spec
        .init_containers
        .iter_mut()
        .chain(&mut pod.spec.containers)
    {
        apply(&container.name, &mut container.security_context);
    }
    for ephemeral in &mut pod.spec.ephemeral_containers {
        let container = &mut ephemeral.ephemeral_container_common;
        apply(&container.name, &mut container.security_context);
    }
}

/// Unscheduled and finished pods go at once; others have the time that they or the request ask for.
fn grace_period(pod: &Pod, options: &mut DeleteOptions) {
    let mut seconds = options
        .grace_period_seconds
        .or(pod.spec.termination_grace_period_seconds)
        .unwrap_or(0);
    if pod.spec.node_name.is_empty() || matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
    {
        seconds = 0;
    }
    if seconds < 0 {
        seconds = 1;
    }
    options.grace_period_seconds = Some(seconds);
}

/// A node that does not know of generations must not clear them.
fn keep_observed_generation(status: &mut PodStatus, old: &PodStatus) {
    if status.observed_generation == 0 {
        status.observed_generation = old.observed_generation;
    }
    let mut known: HashMap<&str, std::collections::VecDeque<i64>> = HashMap::new();
    for condition in &old.conditions {
        known
            .entry(&condition.type_)
            .or_default()
            .push_back(condition.observed_generation);
    }
    for condition in &mut status.conditions {
        let before = known
            .get_mut(condition.type_.as_str())
            .and_then(|known| known.pop_front());
        if condition.observed_generation == 0 {
            condition.observed_generation = before.unwrap_or(0);
        }
    }
}

fn status_warnings(status: &PodStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, ip) in status.pod_ips.iter().enumerate() {
        let path = path(&["status", "podIPs"]).index(i).child("ip");
        warnings.extend(rules::get_warnings_for_ip(&path, &ip.ip));
    }
    for (i, ip) in status.host_ips.iter().enumerate() {
        let path = path(&["status", "hostIPs"]).index(i).child("ip");
        warnings.extend(rules::get_warnings_for_ip(&path, &ip.ip));
    }
    warnings
}

/// Takes nothing but requests, limits and resize policies from the request. When containers were added, removed or
/// renamed, everything stays, for validation to refuse.
fn keep_all_but_resources(pod: &mut Pod, old: &Pod) {
    let same_count = pod.spec.containers.len() == old.spec.containers.len()
        && pod.spec.init_containers.len() == old.spec.init_containers.len();
    if !same_count {
        return;
    }
    let merge = |new: &[Container], old: &[Container]| -> Vec<Container> {
        if new.iter().zip(old).any(|(new, old)| new.name != old.name) {
            return new.to_vec();
        }
        let merged = new.iter().zip(old).map(|(new, old)| Container {
            resources: new.resources.clone(),
            resize_policy: new.resize_policy.clone(),
            ..old.clone()
        });
        merged.collect()
    };
    let containers = merge(&pod.spec.containers, &old.spec.containers);
    let init_containers = merge(&pod.spec.init_containers, &old.spec.init_containers);
    let resources = pod.spec.resources.take();
    pod.spec = old.spec.clone();
    if gates::enabled("InPlacePodLevelResourcesVerticalScaling") {
        pod.spec.resources = resources;
    }
    pod.spec.containers = containers;
    pod.spec.init_containers = init_containers;
    reset_metadata(&mut pod.metadata, &old.metadata);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apparmor_annotations_become_fields_and_are_warned_of() {
        let check = |annotation: &str, of_pod: Option<&str>| {
            let mut pod = Pod::default();
            pod.spec.containers.push(Container {
                name: "c".to_owned(),
                ..Container::default()
            });
            let key = format!("{APPARMOR_CONTAINER}c");
            pod.metadata.annotations.insert(key, annotation.to_owned());
            if let Some(of_pod) = of_pod {
                let context = pod.spec.security_context.get_or_insert_default();
                context.app_armor_profile = profile_of_annotation(of_pod).map(Box::new);
            }
            let context = Context::default();
            prepare(&context, &mut pod);
            let container = pod.spec.containers[0].security_context.as_ref();
            let profile = container.and_then(|it| it.app_armor_profile.as_ref());
            (
                profile.map(|profile| profile.type_.clone()),
                context.warnings.headers().len(),
            )
        };
        assert_eq!(check("unconfined", None), (Some("Unconfined".into()), 1));
        assert_eq!(check("nonsense", None), (None, 1));
        assert_eq!(check("unconfined", Some("unconfined")), (None, 0));
    }
}

//! Deployments, replica sets, daemon sets, stateful sets and their revisions. Upstream: pkg/apis/apps/validation.

use std::collections::BTreeSet;

use api_types::IntOrString;
use api_types::apps::v1::*;
use api_types::core::v1::{
    PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume, VolumeSource,
};
use apimachinery::labels::Selector;

use super::persistent_volumes::new_claim_spec;
use super::pod_options::PodOptions;
use super::pods::validate_pod_template_spec;
use super::*;

const NO_MATCH: &str = "`selector` does not match template `labels`";
const MORE_THAN_REPLICAS: &str = "cannot be greater than status.replicas";

/// A selector that is needed, and must not be empty.
fn needed_selector(selector: Option<&LabelSelector>, kind: &str, path: &Path) -> ErrorList {
    let Some(selector) = selector else {
        return field::required(path, "").into();
    };
    let mut errors = label_selector(Some(selector), path);
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        let detail = format!("empty selector is invalid for {kind}");
        errors.push(field::invalid(path, go_value::bad_value(selector), detail));
    }
    errors
}

fn selected(selector: &Selector, template: &PodTemplateSpec, path: &Path) -> Option<Error> {
    if selector.is_empty() || selector.matches(&template.metadata.labels) {
        return None;
    }
    let path = path.child("metadata").child("labels");
    Some(field::invalid(&path, &template.metadata.labels, NO_MATCH))
}

/// What templates of pods that run forever must be.
fn runs_forever(template: &PodTemplateSpec, kind: &str, path: &Path) -> ErrorList {
    let path = path.child("spec");
    let mut errors = one_of(
        &template.spec.restart_policy,
        &["Always"],
        &path.child("restartPolicy"),
    );
    if template.spec.active_deadline_seconds.is_some() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(field::forbidden(
            &path.child("activeDeadlineSeconds"),
            detail,
        ));
    }
    errors
}

fn same_selector(new: Option<&LabelSelector>, old: Option<&LabelSelector>) -> ErrorList {
    immutable(&new, &old, &path(&["spec", "selector"]), || {
        go_value::bad_option(new)
    })
}

fn collision_count(new: Option<i32>, old: Option<i32>) -> Option<Error> {
    let decremented = match (new, old) {
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new < old,
        _ => false,
    };
    let path = path(&["status", "collisionCount"]);
    decremented.then(|| field::invalid(&path, new.unwrap_or(0), "cannot be decremented"))
}

fn counts(values: &[(i64, &'static str)]) -> ErrorList {
    let path = Path::new("status");
    values
        .iter()
        .flat_map(|(value, child)| nonnegative(*value, &path.child(*child)))
        .collect()
}

fn at_most(limit: i32, values: &[(i32, &'static str)], detail: &str) -> ErrorList {
    let path = Path::new("status");
    values
        .iter()
        .filter(|(value, _)| *value > limit)
        .map(|(value, child)| field::invalid(&path.child(*child), *value, detail))
        .collect()
}

// === Integers or percentages ===

fn int_or_percent_value(value: &IntOrString) -> BadValue {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.into(),
    }
}

/// A count or a percentage.
pub(super) fn int_or_percent(value: &IntOrString, path: &Path) -> ErrorList {
    match value {
        IntOrString::Int(number) => nonnegative((*number).into(), path),
        IntOrString::String(text) => invalids(path, text, rules::is_valid_percent(text)),
    }
}

fn percent(value: &IntOrString) -> Option<i64> {
    let IntOrString::String(text) = value else {
        return None;
    };
    if !rules::is_valid_percent(text).is_empty() {
        return None;
    }
    Some(text.trim_end_matches('%').parse().unwrap_or(i64::MAX))
}

fn amount(value: &IntOrString) -> i64 {
    percent(value).unwrap_or_else(|| value.int_value().into())
}

pub(super) fn at_most_100_percent(value: &IntOrString, path: &Path) -> ErrorList {
    if percent(value).is_none_or(|value| value <= 100) {
        return ErrorList::new();
    }
    field::invalid(
        path,
        int_or_percent_value(value),
        "must not be greater than 100%",
    )
    .into()
}

fn or_zero(value: &Option<IntOrString>) -> IntOrString {
    value.clone().unwrap_or_default()
}

// === Deployment and ReplicaSet ===

fn replicated_template(
    template: &PodTemplateSpec,
    selector: Option<&LabelSelector>,
    old: Option<&PodTemplateSpec>,
) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = needed_selector(selector, "deployment", &path.child("selector"));
    let template_path = path.child("template");
    match Selector::from_label_selector(selector) {
        Err(_) => {
            let value = go_value::bad_option(selector);
            errors.push(field::invalid(
                &path.child("selector"),
                value,
                "invalid label selector",
            ));
        }
        Ok(labels) => {
            // No selector selects nothing, which is not an empty selector.
            errors.extend(selected(&labels, template, &template_path));
            let options = PodOptions::of_template(template, old);
            errors.extend(validate_pod_template_spec(
                template,
                &template_path,
                &options,
            ));
            errors.extend(runs_forever(template, "ReplicaSet", &template_path));
        }
    }
    errors
}

pub fn validate_deployment(deployment: &Deployment) -> ErrorList {
    let mut errors = object_meta(&deployment.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(deployment_spec(&deployment.spec, None));
    errors
}

pub fn validate_deployment_update(new: &Deployment, old: &Deployment) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(deployment_spec(&new.spec, Some(&old.spec)));
    errors.extend(same_selector(
        new.spec.selector.as_deref(),
        old.spec.selector.as_deref(),
    ));
    errors
}

fn deployment_spec(spec: &DeploymentSpec, old: Option<&DeploymentSpec>) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = nonnegative(spec.replicas.unwrap_or(0).into(), &path.child("replicas"));
    let old_template = old.map(|old| &old.template);
    errors.extend(replicated_template(
        &spec.template,
        spec.selector.as_deref(),
        old_template,
    ));
    errors.extend(deployment_strategy(&spec.strategy, &path.child("strategy")));
    errors.extend(nonnegative(
        spec.min_ready_seconds.into(),
        &path.child("minReadySeconds"),
    ));
    if let Some(limit) = spec.revision_history_limit {
        errors.extend(nonnegative(
            limit.into(),
            &path.child("revisionHistoryLimit"),
        ));
    }
    if let Some(seconds) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        errors.extend(nonnegative(seconds.into(), &path));
        if seconds <= spec.min_ready_seconds {
            errors.push(field::invalid(
                &path,
                seconds,
                "must be greater than minReadySeconds",
            ));
        }
    }
    errors
}

fn deployment_strategy(strategy: &DeploymentStrategy, path: &Path) -> ErrorList {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            field::forbidden(&rolling_path, detail).into()
        }
        ("Recreate", None) => ErrorList::new(),
        ("RollingUpdate", None) => {
            field::required(&rolling_path, "this should be defaulted and never be nil").into()
        }
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (
                or_zero(&rolling.max_unavailable),
                or_zero(&rolling.max_surge),
            );
            let unavailable_path = rolling_path.child("maxUnavailable");
            let mut errors = int_or_percent(&unavailable, &unavailable_path);
            errors.extend(int_or_percent(&surge, &rolling_path.child("maxSurge")));
            if amount(&unavailable) == 0 && amount(&surge) == 0 {
                let value = int_or_percent_value(&unavailable);
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(field::invalid(&unavailable_path, value, detail));
            }
            errors.extend(at_most_100_percent(&unavailable, &unavailable_path));
            errors
        }
        _ => {
            let value = go_value::bad_value(strategy);
            field::not_supported(path, value, &["Recreate", "RollingUpdate"]).into()
        }
    }
}

pub fn validate_deployment_status_update(new: &Deployment, old: &Deployment) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = &new.status;
    errors.extend(counts(&[
        (status.observed_generation, "observedGeneration"),
        (status.replicas.into(), "replicas"),
        (status.updated_replicas.into(), "updatedReplicas"),
        (status.ready_replicas.into(), "readyReplicas"),
        (status.available_replicas.into(), "availableReplicas"),
        (status.unavailable_replicas.into(), "unavailableReplicas"),
        (
            status.terminating_replicas.unwrap_or(0).into(),
            "terminatingReplicas",
        ),
        (status.collision_count.unwrap_or(0).into(), "collisionCount"),
    ]));
    let (available, ready) = (status.available_replicas, status.ready_replicas);
    let all = [
        (status.updated_replicas, "updatedReplicas"),
        (ready, "readyReplicas"),
        (available, "availableReplicas"),
    ];
    errors.extend(at_most(status.replicas, &all, MORE_THAN_REPLICAS));
    errors.extend(at_most(
        ready,
        &[(available, "availableReplicas")],
        "cannot be greater than readyReplicas",
    ));
    errors.extend(collision_count(
        status.collision_count,
        old.status.collision_count,
    ));
    errors
}

pub fn validate_replica_set(set: &ReplicaSet) -> ErrorList {
    let mut errors = object_meta(&set.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(replica_set_spec(&set.spec, None));
    errors
}

pub fn validate_replica_set_update(new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(replica_set_spec(&new.spec, Some(&old.spec)));
    errors.extend(same_selector(
        new.spec.selector.as_deref(),
        old.spec.selector.as_deref(),
    ));
    errors
}

fn replica_set_spec(spec: &ReplicaSetSpec, old: Option<&ReplicaSetSpec>) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = nonnegative(spec.replicas.unwrap_or(0).into(), &path.child("replicas"));
    errors.extend(nonnegative(
        spec.min_ready_seconds.into(),
        &path.child("minReadySeconds"),
    ));
    let old_template = old.map(|old| &old.template);
    errors.extend(replicated_template(
        &spec.template,
        spec.selector.as_deref(),
        old_template,
    ));
    errors
}

pub fn validate_replica_set_status_update(new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = &new.status;
    let (available, ready) = (status.available_replicas, status.ready_replicas);
    errors.extend(counts(&[
        (status.replicas.into(), "replicas"),
        (status.fully_labeled_replicas.into(), "fullyLabeledReplicas"),
        (ready.into(), "readyReplicas"),
        (available.into(), "availableReplicas"),
        (status.observed_generation, "observedGeneration"),
        (
            status.terminating_replicas.unwrap_or(0).into(),
            "terminatingReplicas",
        ),
    ]));
    let all = [
        (status.fully_labeled_replicas, "fullyLabeledReplicas"),
        (ready, "readyReplicas"),
        (available, "availableReplicas"),
    ];
    errors.extend(at_most(status.replicas, &all, MORE_THAN_REPLICAS));
    errors.extend(at_most(
        ready,
        &[(available, "availableReplicas")],
        "cannot be greater than readyReplicas",
    ));
    errors
}

// === DaemonSet ===

pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The generation of a daemon set's template, which the versioned type keeps in an annotation.
pub(crate) fn template_generation(set: &DaemonSet) -> i64 {
    let text = set.metadata.annotations.get(TEMPLATE_GENERATION);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Sets [`template_generation`].
pub(crate) fn set_template_generation(set: &mut DaemonSet, generation: i64) {
    set.metadata
        .annotations
        .insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

pub fn validate_daemon_set(set: &DaemonSet) -> ErrorList {
    let mut errors = object_meta(&set.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(daemon_set_spec(set, None));
    errors
}

pub fn validate_daemon_set_update(new: &DaemonSet, old: &DaemonSet) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = path(&["spec", "templateGeneration"]);
    let (generation, before) = (template_generation(new), template_generation(old));
    let updated = new.spec.template != old.spec.template;
    if generation < before {
        errors.push(field::invalid(&path, generation, "must not be decremented"));
    }
    if generation == before && updated {
        let detail = "must be incremented upon template update";
        errors.push(field::invalid(&path, generation, detail));
    } else if generation > before && !updated {
        let detail = "must not be incremented without template update";
        errors.push(field::invalid(&path, generation, detail));
    }
    errors.extend(same_selector(
        new.spec.selector.as_deref(),
        old.spec.selector.as_deref(),
    ));
    errors.extend(daemon_set_spec(new, Some(old)));
    errors
}

/// Whether a stored selector has values that newer rules refuse.
fn stored_selector_is_invalid(selector: Option<&LabelSelector>) -> bool {
    rules::label_selector_has_invalid_label_value(selector)
}

fn daemon_set_spec(set: &DaemonSet, old: Option<&DaemonSet>) -> ErrorList {
    let spec = &set.spec;
    let path = Path::new("spec");
    let selector = spec.selector.as_deref();
    let selector_path = path.child("selector");
    let mut options = PodOptions::of_template(&spec.template, old.map(|old| &old.spec.template));
    options.allow_invalid_label_value_in_selector |=
        old.is_some_and(|old| stored_selector_is_invalid(old.spec.selector.as_deref()));
    let keep_invalid = options.allow_invalid_label_value_in_selector;
    let mut errors = label_selector_allowing(selector, keep_invalid, &selector_path);
    let template_path = path.child("template");
    if let Ok(labels) = Selector::from_label_selector(selector)
        && !labels.matches(&spec.template.metadata.labels)
    {
        let path = template_path.child("metadata").child("labels");
        errors.push(field::invalid(
            &path,
            &spec.template.metadata.labels,
            NO_MATCH,
        ));
    }
    if let Some(selector) = selector
        && selector.match_labels.is_empty()
        && selector.match_expressions.is_empty()
    {
        let detail = "empty selector is invalid for daemonset";
        errors.push(field::invalid(
            &selector_path,
            go_value::bad_value(selector),
            detail,
        ));
    }
    errors.extend(validate_pod_template_spec(
        &spec.template,
        &template_path,
        &options,
    ));
    errors.extend(runs_forever(&spec.template, "DaemonSet", &template_path));
    errors.extend(nonnegative(
        spec.min_ready_seconds.into(),
        &path.child("minReadySeconds"),
    ));
    errors.extend(nonnegative(
        template_generation(set),
        &path.child("templateGeneration"),
    ));
    errors.extend(daemon_set_strategy(
        &spec.update_strategy,
        &path.child("updateStrategy"),
    ));
    if let Some(limit) = spec.revision_history_limit {
        errors.extend(nonnegative(
            limit.into(),
            &path.child("revisionHistoryLimit"),
        ));
    }
    errors
}

fn daemon_set_strategy(strategy: &DaemonSetUpdateStrategy, path: &Path) -> ErrorList {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("OnDelete", _) => ErrorList::new(),
        ("RollingUpdate", None) => field::required(&rolling_path, "").into(),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (
                or_zero(&rolling.max_unavailable),
                or_zero(&rolling.max_surge),
            );
            let (unavailable_path, surge_path) = (
                rolling_path.child("maxUnavailable"),
                rolling_path.child("maxSurge"),
            );
            let mut errors = int_or_percent(&unavailable, &unavailable_path);
            errors.extend(int_or_percent(&surge, &surge_path));
            errors.extend(at_most_100_percent(&unavailable, &unavailable_path));
            errors.extend(at_most_100_percent(&surge, &surge_path));
            match (amount(&unavailable) != 0, amount(&surge) != 0) {
                (true, true) => {
                    let value = int_or_percent_value(&surge);
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(field::invalid(&surge_path, value, detail));
                }
                (false, false) => {
                    errors.push(field::required(
                        &unavailable_path,
                        "cannot be 0 when maxSurge is 0",
                    ));
                }
                _ => {}
            }
            errors
        }
        _ => {
            let value = go_value::bad_value(strategy);
            field::not_supported(path, value, &["RollingUpdate", "OnDelete"]).into()
        }
    }
}

pub fn validate_daemon_set_status_update(new: &DaemonSet, old: &DaemonSet) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = &new.status;
    errors.extend(counts(&[
        (
            status.current_number_scheduled.into(),
            "currentNumberScheduled",
        ),
        (status.number_misscheduled.into(), "numberMisscheduled"),
        (
            status.desired_number_scheduled.into(),
            "desiredNumberScheduled",
        ),
        (status.number_ready.into(), "numberReady"),
        (status.observed_generation, "observedGeneration"),
        (
            status.updated_number_scheduled.into(),
            "updatedNumberScheduled",
        ),
        (status.number_available.into(), "numberAvailable"),
        (status.number_unavailable.into(), "numberUnavailable"),
        (status.collision_count.unwrap_or(0).into(), "collisionCount"),
    ]));
    errors.extend(collision_count(
        status.collision_count,
        old.status.collision_count,
    ));
    errors
}

// === StatefulSet ===

/// What of a stateful set is taken as it is, because it is stored already.
#[derive(Clone, Copy, Default)]
struct StatefulSetOptions {
    any_service_name: bool,
    skip_template: bool,
    skip_claims: bool,
}

pub fn validate_stateful_set(set: &StatefulSet) -> ErrorList {
    let mut errors = object_meta(&set.metadata, true, rules::name_is_dns_label);
    let options = PodOptions::of_template(&set.spec.template, None);
    errors.extend(stateful_set_spec(
        &set.spec,
        &options,
        StatefulSetOptions::default(),
        &Path::new("spec"),
    ));
    errors
}

pub fn validate_stateful_set_update(new: &StatefulSet, old: &StatefulSet) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let pod_options = PodOptions::of_template(&new.spec.template, Some(&old.spec.template));
    let mut options = StatefulSetOptions {
        any_service_name: true,
        skip_template: false,
        skip_claims: true,
    };
    options.skip_template =
        !stateful_set_spec(&old.spec, &pod_options, options, &Path::nil()).is_empty();
    errors.extend(stateful_set_spec(
        &new.spec,
        &pod_options,
        options,
        &Path::new("spec"),
    ));
    let before = &old.spec;
    let clone = StatefulSetSpec {
        replicas: before.replicas,
        template: before.template.clone(),
        update_strategy: before.update_strategy.clone(),
        min_ready_seconds: before.min_ready_seconds,
        ordinals: before.ordinals.clone(),
        revision_history_limit: before.revision_history_limit,
        persistent_volume_claim_retention_policy: before
            .persistent_volume_claim_retention_policy
            .clone(),
        ..new.spec.clone()
    };
    if clone != *before {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(field::forbidden(&Path::new("spec"), detail));
    }
    errors
}

fn stateful_set_spec(
    spec: &StatefulSetSpec,
    pod_options: &PodOptions,
    options: StatefulSetOptions,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let management_path = path.child("podManagementPolicy");
    match spec.pod_management_policy.as_str() {
        "" => errors.push(field::required(&management_path, "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            errors.push(field::invalid(
                &management_path,
                other,
                "must be 'OrderedReady' or 'Parallel'",
            ));
        }
    }
    errors.extend(stateful_set_strategy(
        &spec.update_strategy,
        &path.child("updateStrategy"),
    ));
    if let Some(policy) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (value, child) in [
            (&policy.when_deleted, "whenDeleted"),
            (&policy.when_scaled, "whenScaled"),
        ] {
            errors.extend(one_of(value, &["Retain", "Delete"], &path.child(child)));
        }
    }
    if !options.skip_claims {
        for (i, claim) in spec.volume_claim_templates.iter().enumerate() {
            let path = path.child("volumeClaimTemplates").index(i).child("spec");
            errors.extend(new_claim_spec(&claim.spec, &path));
        }
    }
    errors.extend(nonnegative(
        spec.replicas.unwrap_or(0).into(),
        &path.child("replicas"),
    ));
    errors.extend(nonnegative(
        spec.min_ready_seconds.into(),
        &path.child("minReadySeconds"),
    ));
    if let Some(ordinals) = &spec.ordinals {
        errors.extend(nonnegative(
            ordinals.start.into(),
            &path.child("ordinals.start"),
        ));
    }
    if !options.any_service_name && !spec.service_name.is_empty() {
        errors.extend(dns_label(&spec.service_name, &path.child("serviceName")));
    }
    let selector = spec.selector.as_deref();
    errors.extend(needed_selector(
        selector,
        "statefulset",
        &path.child("selector"),
    ));
    let template_path = path.child("template");
    match Selector::from_label_selector(selector) {
        Err(_) => {
            let value = go_value::bad_option(selector);
            errors.push(field::invalid(&path.child("selector"), value, ""));
        }
        Ok(labels) => {
            let template = template_of(spec);
            errors.extend(selected(&labels, &template, &template_path));
            if !options.skip_template {
                errors.extend(validate_pod_template_spec(
                    &template,
                    &template_path,
                    pod_options,
                ));
            }
            // Upstream looks at the template's metadata twice.
            errors.extend(super::pods::template_metadata(
                &template,
                &template_path,
                pod_options,
            ));
        }
    }
    errors.extend(runs_forever(&spec.template, "StatefulSet", &template_path));
    errors
}

/// The template with what the controller adds: claims as volumes, and names that it sets itself.
fn template_of(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    template.spec.subdomain.clear();
    template.spec.hostname.clear();
    let names: BTreeSet<&String> = spec
        .volume_claim_templates
        .iter()
        .map(|claim| &claim.metadata.name)
        .collect();
    let claims = names.iter().map(|name| Volume {
        name: (*name).clone(),
        volume_source: VolumeSource {
            persistent_volume_claim: Some(Box::new(PersistentVolumeClaimVolumeSource {
                claim_name: (*name).clone(),
                ..PersistentVolumeClaimVolumeSource::default()
            })),
            ..VolumeSource::default()
        },
    });
    let own = std::mem::take(&mut template.spec.volumes).into_iter();
    template.spec.volumes = claims
        .chain(own.filter(|volume| !names.contains(&volume.name)))
        .collect();
    template
}

fn stateful_set_strategy(strategy: &StatefulSetUpdateStrategy, path: &Path) -> ErrorList {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("", _) => field::required(path, "").into(),
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            field::invalid(&rolling_path, go_value::bad_value(&**rolling), detail).into()
        }
        ("OnDelete" | "RollingUpdate", None) => ErrorList::new(),
        ("RollingUpdate", Some(rolling)) => {
            let path = rolling_path.child("maxUnavailable");
            let mut errors = nonnegative(
                rolling.partition.unwrap_or(0).into(),
                &rolling_path.child("partition"),
            );
            if let Some(unavailable) = &rolling.max_unavailable {
                errors.extend(int_or_percent(unavailable, &path));
                if amount(unavailable) == 0 {
                    errors.push(field::invalid(
                        &path,
                        int_or_percent_value(unavailable),
                        "cannot be 0",
                    ));
                }
                errors.extend(at_most_100_percent(unavailable, &path));
            }
            errors
        }
        _ => {
            let value = go_value::bad_value(strategy);
            field::invalid(path, value, "must be 'RollingUpdate' or 'OnDelete'").into()
        }
    }
}

pub fn validate_stateful_set_status_update(new: &StatefulSet, old: &StatefulSet) -> ErrorList {
    let status = &new.status;
    let (available, ready) = (status.available_replicas, status.ready_replicas);
    let mut errors = counts(&[
        (status.replicas.into(), "replicas"),
        (ready.into(), "readyReplicas"),
        (status.current_replicas.into(), "currentReplicas"),
        (status.updated_replicas.into(), "updatedReplicas"),
        (available.into(), "availableReplicas"),
        (status.observed_generation, "observedGeneration"),
        (status.collision_count.unwrap_or(0).into(), "collisionCount"),
    ]);
    let all = [
        (ready, "readyReplicas"),
        (status.current_replicas, "currentReplicas"),
        (status.updated_replicas, "updatedReplicas"),
        (available, "availableReplicas"),
    ];
    errors.extend(at_most(status.replicas, &all, MORE_THAN_REPLICAS));
    let detail = "cannot be greater than status.readyReplicas";
    errors.extend(at_most(ready, &[(available, "availableReplicas")], detail));
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(collision_count(
        status.collision_count,
        old.status.collision_count,
    ));
    errors
}

// === ControllerRevision ===

fn revision_rules(revision: &ControllerRevision) -> ErrorList {
    let mut errors = object_meta(&revision.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(nonnegative(revision.revision, &Path::new("revision")));
    errors
}

pub fn validate_controller_revision(revision: &ControllerRevision) -> ErrorList {
    let mut errors = revision_rules(revision);
    let path = Path::new("data");
    let raw = &revision.data.raw;
    match serde_json::from_slice::<serde_json::Value>(raw) {
        _ if raw.is_empty() => errors.push(field::required(&path, "data is mandatory")),
        Err(error) => {
            let problem = crate::go_json::syntax_error(raw, &error);
            let detail = format!("error parsing data: {problem}");
            errors.push(field::invalid(&path, "<value omitted>", detail));
        }
        Ok(serde_json::Value::Null) => errors.push(field::required(&path, "data is mandatory")),
        Ok(serde_json::Value::Object(_)) => {}
        Ok(_) => errors.push(field::required(&path, "data must be a valid JSON object")),
    }
    errors
}

pub fn validate_controller_revision_update(
    new: &ControllerRevision,
    old: &ControllerRevision,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(revision_rules(new));
    errors.extend(immutable(
        &new.data.raw,
        &old.data.raw,
        &Path::new("data"),
        || go_value::bad_list(&new.data),
    ));
    errors
}

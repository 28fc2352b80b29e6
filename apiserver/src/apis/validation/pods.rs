//! Pods and templates as a whole: creation, what an update may change, resize, ephemeral containers, binding.
//! Upstream: pkg/apis/core/validation.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use api_types::core::v1::*;
use apimachinery::quote::quote;
use apimachinery::resource::{compute_pod_qos, pod_qos};

use super::containers::{as_container, image_whitespace};
use super::pod_options::PodOptions;
use super::pod_spec::{validate_pod_spec, validate_tolerations};
use super::security::{APPARMOR_CONTAINER, annotations_match_fields, profile_annotations};
use super::*;

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// All containers with their paths: init, regular, ephemeral.
pub(crate) fn containers<'a>(spec: &'a PodSpec, path: &Path) -> Vec<(Cow<'a, Container>, Path)> {
    let mut all = Vec::new();
    for (list, child) in [
        (&spec.init_containers, "initContainers"),
        (&spec.containers, "containers"),
    ] {
        let path = path.child(child);
        let listed = list.iter().enumerate();
        all.extend(listed.map(|(i, container)| (Cow::Borrowed(container), path.index(i))));
    }
    let path = path.child("ephemeralContainers");
    for (i, ephemeral) in spec.ephemeral_containers.iter().enumerate() {
        let container = as_container(&ephemeral.ephemeral_container_common);
        all.push((Cow::Owned(container), path.index(i)));
    }
    all
}

/// Whether the annotation that ranks pods for deletion is missing or a number.
pub(super) fn is_deletion_cost_valid(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(DELETION_COST).is_none_or(|value| {
        let canonical =
            value == "0" || value.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
        canonical && value.parse::<i32>().is_ok()
    })
}

fn pod_annotations(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(value) = annotations.get(MIRROR)
        && spec.node_name.is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(field::invalid(&path.key(MIRROR), value, detail));
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|text| !text.is_empty()) {
        match tolerations_of(text) {
            Ok(tolerations) => {
                errors.extend(validate_tolerations(
                    &tolerations,
                    &path.child(TOLERATIONS),
                    options,
                ));
            }
            Err(problem) => errors.push(field::invalid(path, TOLERATIONS, problem)),
        }
    }
    if !options.allow_invalid_pod_deletion_cost && !is_deletion_cost_valid(annotations) {
        let value = annotations.get(DELETION_COST).map_or("", String::as_str);
        errors.push(field::invalid(
            &path.key(DELETION_COST),
            value,
            "must be a 32bit integer",
        ));
    }
    errors.extend(profile_annotations(annotations, spec, path));
    errors
}

fn tolerations_of(text: &str) -> Result<Vec<Toleration>, String> {
    let items: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    items
        .iter()
        .map(|item| {
            api_types::decode_json(item.to_string().as_bytes()).map_err(|error| error.to_string())
        })
        .collect()
}

/// Annotations that must not change, and the rules of those that may.
pub(super) fn status_annotations(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let path = path(&["metadata", "annotations"]);
    let mut errors = ErrorList::new();
    let (annotations, old_annotations) = (&new.metadata.annotations, &old.metadata.annotations);
    for (key, value) in old_annotations {
        if annotations.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(APPARMOR_CONTAINER) {
            let detail = "may not remove or update AppArmor annotations";
            errors.push(field::forbidden(&path.key(key.as_str()), detail));
        }
        if key == MIRROR {
            let detail = "may not remove or update mirror pod annotation";
            errors.push(field::forbidden(&path.key(key.as_str()), detail));
        }
    }
    for key in annotations
        .keys()
        .filter(|key| !old_annotations.contains_key(*key))
    {
        if key.starts_with(APPARMOR_CONTAINER) {
            errors.push(field::forbidden(
                &path.key(key.as_str()),
                "may not add AppArmor annotations",
            ));
        }
        if key == MIRROR {
            errors.push(field::forbidden(
                &path.key(key.as_str()),
                "may not add mirror pod annotation",
            ));
        }
    }
    errors.extend(pod_annotations(annotations, &new.spec, &path, options));
    errors
}

fn metadata_and_spec(pod: &Pod, options: &PodOptions) -> ErrorList {
    let spec_path = Path::new("spec");
    let mut errors = object_meta(&pod.metadata, true, rules::name_is_dns_subdomain);
    let annotations_path = path(&["metadata", "annotations"]);
    errors.extend(pod_annotations(
        &pod.metadata.annotations,
        &pod.spec,
        &annotations_path,
        options,
    ));
    errors.extend(validate_pod_spec(
        &pod.spec,
        Some(&pod.metadata),
        &spec_path,
        options,
    ));
    if pod.spec.service_account_name.is_empty() {
        for (i, volume) in pod.spec.volumes.iter().enumerate() {
            let Some(projected) = &volume.volume_source.projected else {
                continue;
            };
            for (j, source) in projected.sources.iter().enumerate() {
                if source.service_account_token.is_some() {
                    let path = spec_path
                        .child("volumes")
                        .index(i)
                        .child("projected")
                        .child("sources");
                    errors.push(field::forbidden(
                        &path.index(j).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    for (list, child) in [
        (&pod.spec.containers, "containers"),
        (&pod.spec.init_containers, "initContainers"),
    ] {
        for (i, container) in list.iter().enumerate() {
            errors.extend(image_whitespace(
                container,
                &spec_path.child(child).index(i),
            ));
        }
    }
    errors
}

/// A new pod.
pub fn validate_pod(pod: &Pod) -> ErrorList {
    let mut options = PodOptions::new(&pod.spec, None, None);
    options.resource_is_pod = true;
    let path = Path::new("spec");
    let mut errors = metadata_and_spec(pod, &options);
    if !pod.spec.ephemeral_containers.is_empty() {
        errors.push(field::forbidden(
            &path.child("ephemeralContainers"),
            "cannot be set on create",
        ));
    }
    if !pod.spec.node_name.is_empty() && !pod.spec.scheduling_gates.is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(field::forbidden(&path.child("nodeName"), detail));
    }
    errors.extend(annotations_match_fields(
        &pod.metadata.annotations,
        &pod.spec,
        &path,
    ));
    errors
}

/// The options under which a pod is changed.
pub(super) fn update_options(new: &Pod, old: &Pod) -> PodOptions {
    PodOptions {
        resource_is_pod: true,
        ..PodOptions::new(&new.spec, Some(&old.spec), Some(&old.metadata))
    }
}

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A changed pod: little of its spec may differ.
pub fn validate_pod_update(new: &Pod, old: &Pod) -> ErrorList {
    let options = update_options(new, old);
    let path = Path::new("spec");
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(metadata_and_spec(new, &options));
    errors.extend(status_annotations(new, old, &options));
    for (list, old_list, child) in [
        (&new.spec.containers, &old.spec.containers, "containers"),
        (
            &new.spec.init_containers,
            &old.spec.init_containers,
            "initContainers",
        ),
    ] {
        let path = path.child(child);
        if list.len() != old_list.len() {
            errors.push(field::forbidden(
                &path,
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        for (i, container) in list.iter().enumerate() {
            if container.image.is_empty() {
                errors.push(field::required(&path.index(i).child("image"), ""));
            }
            errors.extend(image_whitespace(container, &path.index(i)));
        }
    }
    let deadline_path = path.child("activeDeadlineSeconds");
    match (
        new.spec.active_deadline_seconds,
        old.spec.active_deadline_seconds,
    ) {
        (Some(seconds), _) if seconds < 0 || seconds > i32::MAX.into() => {
            let detail = rules::inclusive_range_error(0, i32::MAX.into());
            errors.push(field::invalid(&deadline_path, seconds, detail));
            return errors;
        }
        (Some(seconds), Some(before)) if before < seconds => {
            let detail = "must be less than or equal to previous value";
            errors.push(field::invalid(&deadline_path, seconds, detail));
            return errors;
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(field::invalid(&deadline_path, Option::<i64>::None, detail));
        }
        _ => {}
    }
    errors.extend(only_added_tolerations(
        new,
        old,
        &path.child("tolerations"),
        &options,
    ));
    errors.extend(only_deleted_gates(new, old, &path.child("schedulingGates")));
    if new.spec == old.spec {
        return errors;
    }
    let mut munged = new.spec.clone();
    for (container, before) in munged.containers.iter_mut().zip(&old.spec.containers) {
        container.image.clone_from(&before.image);
    }
    for (container, before) in munged
        .init_containers
        .iter_mut()
        .zip(&old.spec.init_containers)
    {
        container.image.clone_from(&before.image);
    }
    munged.active_deadline_seconds = old.spec.active_deadline_seconds;
    munged
        .scheduling_gates
        .clone_from(&old.spec.scheduling_gates);
    munged.tolerations.clone_from(&old.spec.tolerations);
    if old
        .spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
        && munged.termination_grace_period_seconds == Some(1)
    {
        munged.termination_grace_period_seconds = old.spec.termination_grace_period_seconds;
    }
    if !old.spec.scheduling_gates.is_empty() {
        errors.extend(gated_changes(&mut munged, &old.spec, &path));
    }
    if munged != old.spec {
        let diff = go_value::diff(&old.spec, &munged);
        let detail = format!("pod updates may not change fields other than {UPDATABLE}\n{diff}");
        errors.push(field::forbidden(&path, detail));
    }
    errors
}

/// A gated pod may get a narrower choice of nodes. What may change is put back in `munged`.
fn gated_changes(munged: &mut PodSpec, old: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if munged.node_selector != old.node_selector {
        let changed =
            |(key, value): (&String, &String)| munged.node_selector.get(key) != Some(value);
        if old.node_selector.iter().any(changed) {
            let detail =
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(field::invalid(
                &path.child("nodeSelector"),
                &munged.node_selector,
                detail,
            ));
        }
        munged.node_selector.clone_from(&old.node_selector);
    }
    let node_affinity = |spec: &PodSpec| {
        spec.affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.clone())
    };
    let (new_affinity, old_affinity) = (node_affinity(munged), node_affinity(old));
    if new_affinity == old_affinity {
        return errors;
    }
    let affinity_path = path.child("affinity").child("nodeAffinity");
    errors.extend(node_affinity_change(
        new_affinity.as_deref(),
        old_affinity.as_deref(),
        &affinity_path,
    ));
    match &mut munged.affinity {
        None => {
            munged.affinity = old_affinity.map(|node_affinity| {
                Box::new(Affinity {
                    node_affinity: Some(node_affinity),
                    ..Affinity::default()
                })
            });
        }
        Some(affinity)
            if old.affinity.is_none()
                && affinity.pod_affinity.is_none()
                && affinity.pod_anti_affinity.is_none() =>
        {
            munged.affinity = None;
        }
        Some(affinity) => affinity.node_affinity = old_affinity,
    }
    errors
}

fn node_affinity_change(
    new: Option<&NodeAffinity>,
    old: Option<&NodeAffinity>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let terms = |affinity: Option<&NodeAffinity>| -> Option<Vec<NodeSelectorTerm>> {
        let required = affinity?
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        Some(required.node_selector_terms.clone())
    };
    let Some(old) = terms(old) else { return errors };
    let new = terms(new).unwrap_or_default();
    let path = path
        .child("requiredDuringSchedulingIgnoredDuringExecution")
        .child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return field::invalid(&path, go_value::bad_list(&new), detail).into();
    }
    for (i, (old, new)) in old.iter().zip(&new).enumerate() {
        let was_empty = old.match_expressions.is_empty() && old.match_fields.is_empty();
        let is_empty = new.match_expressions.is_empty() && new.match_fields.is_empty();
        let only_added = new.match_expressions.starts_with(&old.match_expressions)
            && new.match_fields.starts_with(&old.match_fields);
        if !only_added || was_empty && !is_empty {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(field::invalid(
                &path.index(i),
                go_value::bad_value(new),
                detail,
            ));
        }
    }
    errors
}

fn only_added_tolerations(new: &Pod, old: &Pod, path: &Path, options: &PodOptions) -> ErrorList {
    fn but_seconds(toleration: &Toleration) -> [&str; 4] {
        let Toleration {
            key,
            operator,
            value,
            effect,
            toleration_seconds: _,
        } = toleration;
        [key, operator, value, effect]
    }
    let kept: HashSet<[&str; 4]> = new.spec.tolerations.iter().map(but_seconds).collect();
    for before in &old.spec.tolerations {
        if !kept.contains(&but_seconds(before)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            return field::forbidden(path, detail).into();
        }
    }
    validate_tolerations(&new.spec.tolerations, path, options)
}

fn only_deleted_gates(new: &Pod, old: &Pod, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let before: HashSet<&String> = old
        .spec
        .scheduling_gates
        .iter()
        .map(|gate| &gate.name)
        .collect();
    for (i, gate) in new.spec.scheduling_gates.iter().enumerate() {
        if !before.contains(&gate.name) {
            let detail = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                gate.name
            );
            errors.push(field::forbidden(&path.index(i).child("name"), detail));
        }
    }
    errors
}

/// A pod with more ephemeral containers.
pub fn validate_pod_ephemeral_containers_update(new: &Pod, old: &Pod) -> ErrorList {
    let options = update_options(new, old);
    if old.metadata.annotations.contains_key(MIRROR) {
        let detail = "static pods do not support ephemeral containers";
        return field::forbidden(&Path::new(""), detail).into();
    }
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(metadata_and_spec(new, &options));
    errors.extend(status_annotations(new, old, &options));
    let path = path(&["spec", "ephemeralContainers"]);
    // The last one counts where a name is there twice.
    let kept: HashMap<&String, &EphemeralContainer> = new
        .spec
        .ephemeral_containers
        .iter()
        .map(|container| (&container.ephemeral_container_common.name, container))
        .collect();
    for before in &old.spec.ephemeral_containers {
        let name = &before.ephemeral_container_common.name;
        match kept.get(name).copied() {
            None => {
                let detail = format!(
                    "existing ephemeral containers {} may not be removed\n",
                    quote(name)
                );
                errors.push(field::forbidden(&path, detail));
            }
            Some(container) if container != before => {
                let diff = go_value::diff(before, container);
                let detail = format!(
                    "existing ephemeral containers {} may not be changed\n{diff}",
                    quote(name)
                );
                errors.push(field::forbidden(&path, detail));
            }
            Some(_) => {}
        }
    }
    errors
}

/// A pod with other requests and limits.
pub fn validate_pod_resize(new: &Pod, old: &Pod) -> ErrorList {
    let options = update_options(new, old);
    let refuse = |detail: &str| -> ErrorList { field::forbidden(&Path::new(""), detail).into() };
    if old.metadata.annotations.contains_key(MIRROR) {
        return refuse("static pods cannot be resized");
    }
    if old.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return refuse("windows pods cannot be resized");
    }
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(metadata_and_spec(new, &options));
    let path = Path::new("spec");
    if pod_qos(old) != compute_pod_qos(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(field::invalid(&path, &new.status.qos_class, detail));
    }
    let running = old
        .status
        .container_statuses
        .iter()
        .find(|status| status.state.running.is_some());
    if running.is_some_and(|status| status.resources.is_none()) {
        errors.push(field::forbidden(
            &path,
            "Pod running on node without support for resize",
        ));
    }
    let mut spec = new.spec.clone();
    let has_resources = |pod: &Pod| {
        let resources = pod.spec.resources.as_ref();
        resources
            .is_some_and(|resources| !resources.requests.is_empty() || !resources.limits.is_empty())
    };
    if has_resources(old) || has_resources(new) {
        if !options.resize_pod_level_resources {
            errors.extend(refuse("resize of pods with pod-level resources is forbidden when InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled"));
            return errors;
        }
        errors.extend(resize_pod_resources(new, old, &mut spec, &path));
    }
    if !old
        .status
        .node_allocatable_resource_claim_statuses
        .is_empty()
    {
        errors.push(field::forbidden(
            &path,
            "pods with node allocatable resource claims cannot be resized",
        ));
    }
    let moved = resized_container_order(new, old, &path);
    if !moved.is_empty() {
        errors.extend(moved);
        return errors;
    }
    let any_init = gates::enabled("InPlacePodVerticalScalingInitContainers");
    let resizable =
        |container: &Container| any_init || container.restart_policy.as_deref() == Some("Always");
    for (i, (container, before)) in new
        .spec
        .init_containers
        .iter()
        .zip(&old.spec.init_containers)
        .enumerate()
    {
        if resizable(before) {
            let path = path.child("initContainers").index(i).child("resources");
            errors.extend(resources_kept(
                &container.resources,
                &before.resources,
                &path,
            ));
        }
    }
    for (i, (container, before)) in new
        .spec
        .containers
        .iter()
        .zip(&old.spec.containers)
        .enumerate()
    {
        let path = path.child("containers").index(i).child("resources");
        errors.extend(resources_kept(
            &container.resources,
            &before.resources,
            &path,
        ));
    }
    const MUTABLE: &str = "only cpu and memory resources are mutable";
    for (container, before) in spec.containers.iter_mut().zip(&old.spec.containers) {
        put_back_resources(container, before);
        if container != before {
            errors.push(field::forbidden(&path, MUTABLE));
        }
    }
    for (i, (container, before)) in spec
        .init_containers
        .iter_mut()
        .zip(&old.spec.init_containers)
        .enumerate()
    {
        let modified = container != before;
        let path_of = path.child("initContainers").index(i);
        if resizable(container) {
            put_back_resources(container, before);
            if container != before {
                let detail =
                    "only cpu and memory resources for init or sidecar containers are mutable";
                errors.push(field::forbidden(&path_of, detail));
            }
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            let restarts = container
                .resize_policy
                .iter()
                .filter(|policy| policy.restart_policy == "RestartContainer");
            for _ in restarts.filter(|_| modified && !sidecar) {
                let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(field::forbidden(&path_of, detail));
            }
        } else if modified {
            let detail = "resources for non-sidecar init containers are immutable";
            errors.push(field::forbidden(&path, detail));
        }
    }
    if errors.is_empty() && spec != old.spec {
        errors.push(field::forbidden(&path, MUTABLE));
    }
    errors
}

fn resized_container_order(new: &Pod, old: &Pod, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (list, old_list, child) in [
        (&new.spec.containers, &old.spec.containers, "containers"),
        (
            &new.spec.init_containers,
            &old.spec.init_containers,
            "initContainers",
        ),
    ] {
        let path = path.child(child);
        if list.len() != old_list.len() {
            let detail = format!("{child} may not be added or removed on resize");
            errors.push(field::forbidden(&path, detail));
            continue;
        }
        for (i, (container, before)) in list.iter().zip(old_list).enumerate() {
            if container.name != before.name {
                let detail = format!("{child} may not be renamed or reordered on resize");
                errors.push(field::forbidden(&path.index(i).child("name"), detail));
            }
        }
    }
    errors
}

fn removed(new: &Amounts, old: &Amounts) -> bool {
    old.keys().any(|name| !new.contains_key(name))
}

fn resources_kept(
    new: &ResourceRequirements,
    old: &ResourceRequirements,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if removed(&new.requests, &old.requests) {
        errors.push(field::forbidden(
            &path.child("requests"),
            "resource requests cannot be removed",
        ));
    }
    if removed(&new.limits, &old.limits) {
        errors.push(field::forbidden(
            &path.child("limits"),
            "resource limits cannot be removed",
        ));
    }
    errors
}

/// Gives a list the CPU and memory of another.
fn put_back(list: &mut Amounts, old: &Amounts) {
    for name in ["cpu", "memory"] {
        list.remove(name);
        if let Some(amount) = old.get(name) {
            list.insert(name.to_owned(), amount.clone());
        }
    }
}

fn put_back_resources(container: &mut Container, old: &Container) {
    put_back(&mut container.resources.limits, &old.resources.limits);
    put_back(&mut container.resources.requests, &old.resources.requests);
    // Upstream rebuilds the requirements without claims here, so that containers with claims cannot be resized.
    container.resources.claims.clear();
}

fn resize_pod_resources(new: &Pod, old: &Pod, spec: &mut PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let resources_path = path.child("resources");
    if let Some(before) = &old.spec.resources {
        let Some(resources) = &new.spec.resources else {
            return field::forbidden(&resources_path, "pod-level resources cannot be removed")
                .into();
        };
        if removed(&resources.requests, &before.requests) {
            let detail = "pod-level resource requests cannot be removed";
            errors.push(field::forbidden(&resources_path.child("requests"), detail));
        }
        if removed(&resources.limits, &before.limits) {
            let detail = "pod-level resource limits cannot be removed";
            errors.push(field::forbidden(&resources_path.child("limits"), detail));
        }
    }
    let default = ResourceRequirements::default();
    let before = old.spec.resources.as_deref().unwrap_or(&default);
    if let Some(resources) = &mut spec.resources {
        put_back(&mut resources.requests, &before.requests);
        put_back(&mut resources.limits, &before.limits);
        if old.spec.resources.is_none() && **resources == default {
            spec.resources = None;
        }
    }
    if spec.resources != old.spec.resources {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(field::forbidden(path, detail));
    }
    errors
}

/// What a pod is bound to.
pub fn validate_pod_binding(binding: &Binding) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = binding.target.kind.as_str();
    if !matches!(kind, "" | "Node") {
        errors.push(field::not_supported(
            &path(&["target", "kind"]),
            kind,
            &["Node", "<empty>"],
        ));
    }
    if binding.target.name.is_empty() {
        errors.push(field::required(&path(&["target", "name"]), ""));
    }
    errors
}

// === Templates ===

/// Labels and annotations of a template.
pub(super) fn template_metadata(
    template: &PodTemplateSpec,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let metadata = &template.metadata;
    let path_of_annotations = path.child("annotations");
    let mut errors = rules::validate_labels(&metadata.labels, &path.child("labels"));
    errors.extend(rules::validate_annotations(
        &metadata.annotations,
        &path_of_annotations,
    ));
    errors.extend(pod_annotations(
        &metadata.annotations,
        &template.spec,
        &path_of_annotations,
        options,
    ));
    errors
}

/// A template for pods, wherever one stands.
pub fn validate_pod_template_spec(
    template: &PodTemplateSpec,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let metadata = &template.metadata;
    let spec_path = path.child("spec");
    let mut errors = template_metadata(template, path, options);
    errors.extend(validate_pod_spec(&template.spec, None, &spec_path, options));
    errors.extend(annotations_match_fields(
        &metadata.annotations,
        &template.spec,
        &spec_path,
    ));
    if !template.spec.ephemeral_containers.is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(field::forbidden(
            &spec_path.child("ephemeralContainers"),
            detail,
        ));
    }
    errors
}

pub fn validate_pod_template(template: &PodTemplate) -> ErrorList {
    let options = PodOptions::of_template(&template.template, None);
    let mut errors = object_meta(&template.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(validate_pod_template_spec(
        &template.template,
        &Path::new("template"),
        &options,
    ));
    errors
}

pub fn validate_pod_template_update(new: &PodTemplate, old: &PodTemplate) -> ErrorList {
    let options = PodOptions::of_template(&new.template, Some(&old.template));
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(validate_pod_template_spec(
        &new.template,
        &Path::new("template"),
        &options,
    ));
    errors
}

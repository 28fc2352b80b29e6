//! Priority classes and runtime classes. Upstream: pkg/apis/scheduling/validation and pkg/apis/node/validation.

use std::collections::BTreeSet;

use api_types::core::v1::ResourceRequirements;
use api_types::node::v1::{RuntimeClass, Scheduling};
use api_types::scheduling::v1::PriorityClass;

use super::pod_options::PodOptions;
use super::pod_spec::{preemption_policy, validate_tolerations};
use super::resources::container_requirements;
use super::*;

/// The priority classes that every cluster has, and their values.
const SYSTEM_CLASSES: [(&str, i32); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

pub fn validate_priority_class(class: &PriorityClass) -> ErrorList {
    let mut errors = object_meta(&class.metadata, false, rules::name_is_dns_subdomain);
    let name = class.metadata.name.as_str();
    if name.starts_with("system-") {
        if let Some(problem) = system_class_problem(class) {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            errors.push(field::forbidden(&path(&["metadata", "name"]), detail));
        }
    } else if class.value > 1_000_000_000 {
        let detail = "maximum allowed value of a user defined priority is 1000000000";
        errors.push(field::forbidden(&Path::new("value"), detail));
    }
    if let Some(policy) = &class.preemption_policy {
        errors.extend(preemption_policy(policy, &Path::new("preemptionPolicy")));
    }
    errors
}

fn system_class_problem(class: &PriorityClass) -> Option<String> {
    let name = &class.metadata.name;
    let Some((_, value)) = SYSTEM_CLASSES.iter().find(|(known, _)| known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.value != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    class
        .global_default
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

pub fn validate_priority_class_update(new: &PriorityClass, old: &PriorityClass) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.value != old.value {
        errors.push(field::forbidden(
            &Path::new("value"),
            "may not be changed in an update.",
        ));
    }
    let (policy, before) = (&new.preemption_policy, &old.preemption_policy);
    errors.extend(immutable(
        policy,
        before,
        &Path::new("preemptionPolicy"),
        || policy.as_deref().into(),
    ));
    errors
}

pub fn validate_runtime_class(class: &RuntimeClass) -> ErrorList {
    let mut errors = plain_object_meta(&class.metadata, false, rules::name_is_dns_subdomain);
    let path = Path::new("handler");
    if class.handler.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(dns_label(&class.handler, &path));
    }
    if let Some(overhead) = &class.overhead {
        let requirements = ResourceRequirements {
            limits: overhead.pod_fixed.clone(),
            ..ResourceRequirements::default()
        };
        let path = Path::new("overhead");
        errors.extend(container_requirements(
            &requirements,
            &BTreeSet::new(),
            &path,
            &PodOptions::default(),
        ));
    }
    if let Some(scheduling) = &class.scheduling {
        errors.extend(class_scheduling(scheduling));
    }
    errors
}

fn class_scheduling(scheduling: &Scheduling) -> ErrorList {
    let path = Path::new("scheduling");
    let mut errors = rules::validate_labels(&scheduling.node_selector, &path.child("nodeSelector"));
    let path = path.child("tolerations");
    errors.extend(validate_tolerations(
        &scheduling.tolerations,
        &path,
        &PodOptions::default(),
    ));
    let mut seen = BTreeSet::new();
    for (i, toleration) in scheduling.tolerations.iter().enumerate() {
        let key = (
            &toleration.key,
            &toleration.operator,
            &toleration.value,
            &toleration.effect,
        );
        if !seen.insert(key) {
            errors.push(field::duplicate(
                &path.index(i),
                go_value::bad_value(toleration),
            ));
        }
    }
    errors
}

pub fn validate_runtime_class_update(new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
    let mut errors = validate_runtime_class(new);
    errors.extend(plain_object_meta_update(&new.metadata, &old.metadata));
    errors.extend(rules::validate_immutable_field(
        &new.handler,
        &old.handler,
        &Path::new("handler"),
    ));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_of_runtime_classes_need_no_domain() {
        let mut class = RuntimeClass::default();
        class.metadata.name = "a".to_owned();
        class.metadata.resource_version = "1".to_owned();
        class.metadata.finalizers = vec!["bad".to_owned()];
        class.handler = "h".to_owned();
        assert!(validate_runtime_class(&class).is_empty());
        assert!(validate_runtime_class_update(&class, &class).is_empty());
    }
}

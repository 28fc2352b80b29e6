//! Conditions of a terminating namespace. Upstream: pkg/controller/namespace/deletion/status_condition_utils.go.

use std::collections::BTreeMap;

use api_types::Time;
use api_types::core::v1::{NamespaceCondition, NamespaceStatus};
use client::GroupVersionResource;

/// Type, and reason and message while nothing is wrong.
const CONDITIONS: [(&str, &str, &str); 5] = [
    (
        DISCOVERY_FAILURE,
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        CONTENT_FAILURE,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (
        CONTENT_REMAINING,
        "ContentRemoved",
        "All content successfully removed",
    ),
    (
        FINALIZERS_REMAINING,
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
];
const DISCOVERY_FAILURE: &str = "NamespaceDeletionDiscoveryFailure";
const CONTENT_FAILURE: &str = "NamespaceDeletionContentFailure";
const CONTENT_REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS_REMAINING: &str = "NamespaceFinalizersRemaining";

/// What one pass over a namespace found.
#[derive(Default)]
pub(super) struct Findings {
    /// Why discovery failed, if it did.
    pub discovery: Option<String>,
    /// What could not be deleted.
    pub failures: Vec<String>,
    /// Instances left by resource.
    pub remaining: BTreeMap<String, usize>,
    /// Instances left by finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// How a resource is named in conditions.
pub(super) fn resource_name(resource: &GroupVersionResource) -> String {
    format!("{}.{}", resource.resource, resource.group)
}

impl Findings {
    fn bad(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut found = Vec::new();
        if let Some(error) = &self.discovery {
            found.push((DISCOVERY_FAILURE, "DiscoveryFailed", error.clone()));
        }
        if !self.remaining.is_empty() {
            let mut left: Vec<String> = self
                .remaining
                .iter()
                .map(|(resource, count)| format!("{resource} has {count} resource instances"))
                .collect();
            left.sort();
            let message = format!("Some resources are remaining: {}", left.join(", "));
            found.push((CONTENT_REMAINING, "SomeResourcesRemain", message));
        }
        if !self.finalizers.is_empty() {
            let mut left: Vec<String> = self
                .finalizers
                .iter()
                .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
                .collect();
            left.sort();
            let message = format!(
                "Some content in the namespace has finalizers remaining: {}",
                left.join(", ")
            );
            found.push((FINALIZERS_REMAINING, "SomeFinalizersRemain", message));
        }
        if !self.failures.is_empty() {
            let mut failures = self.failures.clone();
            failures.sort();
            let message = format!(
                "Failed to delete all resource types, {} remaining: {}",
                failures.len(),
                failures.join(", ")
            );
            found.push((CONTENT_FAILURE, "ContentDeletionFailed", message));
        }
        found
    }

    /// Brings the conditions up to date; whether anything changed.
    pub(super) fn apply(&self, status: &mut NamespaceStatus, now: Time) -> bool {
        let bad = self.bad();
        let mut changed = false;
        for (type_, ok_reason, ok_message) in CONDITIONS {
            let (state, reason, message) = match bad.iter().find(|(kind, ..)| *kind == type_) {
                Some((_, reason, message)) => ("True", *reason, message.as_str()),
                None => ("False", ok_reason, ok_message),
            };
            match status
                .conditions
                .iter_mut()
                .find(|condition| condition.type_ == type_)
            {
                None => {
                    status.conditions.push(NamespaceCondition {
                        type_: type_.to_owned(),
                        status: state.to_owned(),
                        last_transition_time: now,
                        reason: reason.to_owned(),
                        message: message.to_owned(),
                    });
                    changed = true;
                }
                Some(old)
                    if old.status != state || old.reason != reason || old.message != message =>
                {
                    if old.status != state {
                        old.last_transition_time = now;
                    }
                    old.status = state.to_owned();
                    old.reason = reason.to_owned();
                    old.message = message.to_owned();
                    changed = true;
                }
                Some(_) => {}
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_the_findings() {
        let mut status = NamespaceStatus::default();
        let mut findings = Findings::default();
        assert!(findings.apply(&mut status, Time::from_unix(1)));
        assert_eq!(status.conditions.len(), 5);
        assert!(
            status
                .conditions
                .iter()
                .all(|condition| condition.status == "False")
        );
        assert!(
            !findings.apply(&mut status, Time::from_unix(2)),
            "nothing new"
        );

        findings.remaining.insert("pods.".into(), 2);
        findings.remaining.insert("jobs.batch".into(), 1);
        findings.finalizers.insert("x/y".into(), 2);
        findings.failures = vec!["b".into(), "a".into()];
        assert!(findings.apply(&mut status, Time::from_unix(3)));
        let message = |type_: &str| {
            let condition = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
            (
                condition.status.clone(),
                condition.reason.clone(),
                condition.message.clone(),
            )
        };
        assert_eq!(
            message(CONTENT_REMAINING),
            (
                "True".into(),
                "SomeResourcesRemain".into(),
                "Some resources are remaining: jobs.batch has 1 resource instances, pods. has 2 resource instances".into()
            )
        );
        assert_eq!(
            message(FINALIZERS_REMAINING).2,
            "Some content in the namespace has finalizers remaining: x/y in 2 resource instances"
        );
        assert_eq!(
            message(CONTENT_FAILURE).2,
            "Failed to delete all resource types, 2 remaining: a, b"
        );
        findings.remaining.insert("pods.".into(), 1);
        assert!(findings.apply(&mut status, Time::from_unix(9)));
        let remaining = status
            .conditions
            .iter()
            .find(|c| c.type_ == CONTENT_REMAINING)
            .unwrap();
        assert_eq!(
            remaining.last_transition_time,
            Time::from_unix(3),
            "the status did not change"
        );
    }
}

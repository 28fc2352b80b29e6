//! Namespaces: their labels must be right, and whoever tightens them is told which pods would no longer pass.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use api_types::core::v1::{Namespace, Pod as ApiPod};
use apimachinery::gvk::GroupKind;
use apimachinery::owner_ref::controller_of;
use apimachinery::status;
use tokio::time::{Instant, timeout_at};

use super::levels::{Level, LevelVersion, PREFIX, Policy};
use super::policy::{self, Pod};
use super::{PodSecurity, note};
use crate::admission::{Attributes, Cluster, Operation, Verdict};

/// More pods are not looked at.
const MAX_PODS: usize = 3000;
/// Nor are they for longer.
const MAX_TIME: Duration = Duration::from_secs(1);

impl PodSecurity {
    pub(super) async fn namespace(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Verdict {
        if !attributes.subresource.is_empty() {
            return Ok(());
        }
        let failed = |what: &str| {
            note(attributes, "error", what);
            Err(status::bad_request(what))
        };
        let Some(namespace) = attributes.object::<Namespace>() else {
            return failed("failed to decode namespace");
        };
        let (policy, errors) = self.policy(namespace);
        let invalid = || {
            let kind = GroupKind {
                group: attributes.kind.group.clone(),
                kind: attributes.kind.kind.clone(),
            };
            Err(status::invalid(&kind, &attributes.name, &errors))
        };
        let name = &namespace.metadata.name;
        if attributes.operation == Operation::Create {
            if !errors.is_empty() {
                return invalid();
            }
            if self.exempts_namespace(name) {
                self.warn_of_exemption(attributes, namespace, &policy);
            }
            return Ok(());
        }
        let Some(old) = attributes.old::<Namespace>() else {
            return failed("failed to decode  old namespace");
        };
        let (old_policy, old_errors) = self.policy(old);
        if !errors.is_empty() && errors.to_string() != old_errors.to_string() {
            return invalid();
        }
        let (new, old) = (policy.enforce, old_policy.enforce);
        let is_looser = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || is_looser {
            return Ok(());
        }
        if self.exempts_namespace(name) {
            self.warn_of_exemption(attributes, namespace, &policy);
            return Ok(());
        }
        let warnings = self.violations(name, new, attributes.deadline, cluster);
        for warning in warnings.await {
            attributes.warnings.add(warning);
        }
        Ok(())
    }

    /// Labels of an exempt namespace look as if they counted.
    fn warn_of_exemption(&self, attributes: &Attributes, namespace: &Namespace, policy: &Policy) {
        if policy.is_privileged() || policy.is_like(&self.configuration.defaults) {
            return;
        }
        let labels = &namespace.metadata.labels;
        let is_set = |mode: &str| {
            labels.contains_key(&format!("{PREFIX}{mode}"))
                || labels.contains_key(&format!("{PREFIX}{mode}-version"))
        };
        let modes: Vec<String> = policy
            .modes()
            .into_iter()
            .filter(|(mode, asked)| asked.level != Level::Privileged && is_set(mode))
            .map(|(mode, asked)| format!("{mode}={asked}"))
            .collect();
        attributes.warnings.add(format!(
            "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            namespace.metadata.name,
            modes.join(", ")
        ));
    }

    /// What is wrong with the pods that are there.
    async fn violations(
        &self,
        namespace: &str,
        asked: LevelVersion,
        deadline: Option<Instant>,
        cluster: &dyn Cluster,
    ) -> Vec<String> {
        let now = Instant::now();
        // Half of the time that is left, at most.
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now) / 2);
        let until = now + left.map_or(MAX_TIME, |left| left.min(MAX_TIME));
        let listed = timeout_at(until, cluster.list("", "pods", namespace)).await;
        let Ok(Ok(objects)) = listed else {
            tracing::error!(namespace, "Failed to list pods");
            let failed = "failed to list pods while checking new PodSecurity enforce level";
            return vec![failed.to_owned()];
        };
        let pods = objects.iter().filter_map(|object| object.get::<ApiPod>());
        self.warnings(namespace, asked, pods, || Instant::now() >= until)
    }

    pub(super) fn warnings<'p>(
        &self,
        namespace: &str,
        asked: LevelVersion,
        pods: impl Iterator<Item = &'p ApiPod>,
        is_late: impl Fn() -> bool,
    ) -> Vec<String> {
        let pods = self.by_controller(pods);
        // Which reasons there are, with the first pod's name and the number of pods.
        let mut found: BTreeMap<String, (&str, usize)> = BTreeMap::new();
        let mut checked = 0;
        for pod in pods.iter().take(MAX_PODS) {
            checked += 1;
            let name = pod.metadata.name.as_str();
            let pod = Pod {
                metadata: &pod.metadata,
                spec: &pod.spec,
            };
            let refusals = policy::evaluate(asked, pod);
            if !refusals.is_empty() {
                let (first, count) = found.entry(policy::reasons(&refusals)).or_insert((name, 0));
                *first = name.min(first);
                *count += 1;
            }
            if is_late() {
                break;
            }
        }
        let mut warnings = Vec::new();
        let all = pods.len();
        if checked < all {
            warnings.push(format!("new PodSecurity enforce level only checked against the first {checked} of {all} existing pods"));
        }
        if !found.is_empty() {
            warnings.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{asked}\""));
        }
        let mut lines: Vec<String> = found
            .into_iter()
            .map(|(reasons, (first, count))| match count {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                _ => format!("{first} (and {} other pods): {reasons}", count - 1),
            })
            .collect();
        lines.sort_unstable();
        warnings.append(&mut lines);
        warnings
    }

    /// Pods of exempt runtime classes are left out; of a controller's pods, all but the first come last.
    fn by_controller<'p>(&self, pods: impl Iterator<Item = &'p ApiPod>) -> Vec<&'p ApiPod> {
        let mut seen = HashSet::new();
        let (mut first, more): (Vec<_>, Vec<_>) = pods
            .filter(|pod| !self.exempts_class_of(&pod.spec))
            .partition(|pod| {
                controller_of(&pod.metadata).is_none_or(|owner| seen.insert(&owner.uid))
            });
        first.extend(more);
        first
    }
}

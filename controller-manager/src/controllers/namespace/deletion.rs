//! Deletes what a terminating namespace contains. Upstream: pkg/controller/namespace/deletion.
//!
//! Every resource that discovery knows is emptied: with one DELETE of the collection where the server has that, else object by
//! object. Pods go first and alone, so that no pod outlives the policies that guard it (KEP-5080).

use std::collections::BTreeMap;

use api_types::core::v1::{Namespace, Pod};
use api_types::meta::v1::{DeleteOptions, ListOptions, PartialObjectMetadata};
use api_types::{List as _, Time};
use client::{Client, GroupVersionResource};

use super::super::SyncError;
use super::super::pod_state;
use super::conditions::{Findings, resource_name};
use crate::clock::Clock;

/// The finalizer in `spec.finalizers` that we take off.
const FINALIZER: &str = "kubernetes";
/// How long objects with finalizers are given, in seconds.
const FINALIZER_ESTIMATE: i64 = 15;

/// How far the deletion of a namespace has come.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// Nothing is left for us to do.
    Done,
    /// Some content is on its way out.
    Remaining {
        /// Seconds until it may be gone.
        estimate: i64,
    },
}

/// Deletes namespaces' content.
pub(super) struct Deleter {
    client: Client,
    clock: Clock,
}

/// One resource and the verbs that matter here.
struct Target {
    resource: GroupVersionResource,
    list: bool,
    delete_collection: bool,
}

/// What is left of one resource.
#[derive(Debug, Default, PartialEq)]
struct Left {
    estimate: i64,
    count: usize,
    finalizers: BTreeMap<String, usize>,
}

fn background() -> DeleteOptions {
    DeleteOptions {
        propagation_policy: Some("Background".to_owned()),
        ..Default::default()
    }
}

/// Resources appear in discovery that answer no request at all.
fn unsupported(error: &client::Error) -> bool {
    error.is_method_not_supported() || error.is_not_found()
}

impl Deleter {
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock }
    }

    /// One pass over the namespace. To be called again until it is done.
    pub(super) async fn delete(&self, name: &str) -> Result<Progress, SyncError> {
        let api = self.client.api::<Namespace>();
        let Some(mut namespace) = api.get_optional(name).await? else {
            return Ok(Progress::Done);
        };
        // The phase follows the deletion; others may write at the same time.
        loop {
            if namespace.metadata.deletion_timestamp.is_none() {
                return Ok(Progress::Done);
            }
            if namespace.status.phase == "Terminating" {
                break;
            }
            let mut changed = namespace.clone();
            changed.status.phase = "Terminating".to_owned();
            match api.update_status(&changed).await {
                Ok(updated) => namespace = updated,
                Err(error) if error.is_not_found() => return Ok(Progress::Done),
                Err(error) if error.is_conflict() => {
                    let Some(latest) = self.same(&namespace).await? else {
                        return Ok(Progress::Done);
                    };
                    namespace = latest;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if namespace.spec.finalizers.is_empty() {
            return Ok(Progress::Done);
        }
        let estimate = self.delete_content(&mut namespace).await?;
        if estimate > 0 {
            return Ok(Progress::Remaining { estimate });
        }
        self.finalize(namespace).await?;
        Ok(Progress::Done)
    }

    /// The namespace as it is now; `None` when it is gone, an error when another one has its name.
    async fn same(&self, namespace: &Namespace) -> Result<Option<Namespace>, SyncError> {
        let latest = self
            .client
            .api::<Namespace>()
            .get_optional(&namespace.metadata.name)
            .await?;
        match latest {
            Some(latest) if latest.metadata.uid != namespace.metadata.uid => {
                Err(SyncError::other("namespace uid has changed across retries"))
            }
            latest => Ok(latest),
        }
    }

    async fn finalize(&self, mut namespace: Namespace) -> Result<(), SyncError> {
        let api = self.client.api::<Namespace>();
        loop {
            let mut changed = Namespace {
                metadata: namespace.metadata.clone(),
                spec: namespace.spec.clone(),
                ..Default::default()
            };
            changed.spec.finalizers = remaining_finalizers(&namespace.spec.finalizers);
            let result = api
                .update_subresource::<Namespace, Namespace>(
                    &namespace.metadata.name,
                    "finalize",
                    &changed,
                )
                .await;
            match result {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_conflict() => match self.same(&namespace).await? {
                    None => return Ok(()),
                    Some(latest) => namespace = latest,
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The namespaced resources that can be deleted, each once, and what discovery could not tell.
    async fn targets(&self) -> (Vec<Target>, Option<String>) {
        let served = match self.client.discovery().preferred_resources().await {
            Ok(served) => served,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let failure = (!served.failed.is_empty()).then(|| {
            let groups: Vec<String> = served
                .failed
                .iter()
                .map(|(version, error)| format!("{version}: {error}"))
                .collect();
            format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                groups.len(),
                groups.join(", ")
            )
        });
        let targets = served
            .with_verbs(&["delete"])
            .into_iter()
            .filter(|(_, resource)| resource.namespaced)
            .map(|(resource, described)| {
                let has = |verb: &str| described.verbs.iter().any(|has| has == verb);
                Target {
                    resource,
                    list: has("list"),
                    delete_collection: has("deletecollection"),
                }
            })
            .collect();
        (targets, failure)
    }

    /// Deletes what is there. Gives the longest time any of it may still take, zero when nothing is left.
    async fn delete_content(&self, namespace: &mut Namespace) -> Result<i64, SyncError> {
        let (targets, failure) = self.targets().await;
        let mut errors: Vec<SyncError> = failure.iter().cloned().map(SyncError::Other).collect();
        let mut findings = Findings {
            discovery: failure,
            ..Default::default()
        };
        let name = namespace.metadata.name.clone();
        let deleted_at = namespace.metadata.deletion_timestamp.unwrap_or_default();
        let mut estimate = 0;
        let is_pods = |target: &Target| {
            target.resource.group.is_empty() && target.resource.resource == "pods"
        };
        let (pods, others): (Vec<_>, Vec<_>) = targets.into_iter().partition(is_pods);
        for (target, is_pod) in pods
            .iter()
            .map(|target| (target, true))
            .chain(others.iter().map(|target| (target, false)))
        {
            if !is_pod && findings.remaining.contains_key("pods.") {
                tracing::debug!(
                    v = 5,
                    namespace = name,
                    "Pods still remain, delaying deletion of other resources"
                );
                break;
            }
            let (left, error) = self.delete_resource(target, &name, deleted_at).await;
            if let Some(error) = error {
                findings.failures.push(error.to_string());
                errors.push(if is_pod {
                    SyncError::other(format!(
                        "failed to delete pods for namespace: {name}, err: {error}"
                    ))
                } else {
                    error
                });
            }
            estimate = estimate.max(left.estimate);
            if left.count > 0 {
                findings
                    .remaining
                    .insert(resource_name(&target.resource), left.count);
                for (finalizer, count) in left.finalizers {
                    *findings.finalizers.entry(finalizer).or_default() += count;
                }
            }
        }
        if findings.apply(&mut namespace.status, self.clock.now_time()) {
            match self
                .client
                .api::<Namespace>()
                .update_status(namespace)
                .await
            {
                Ok(updated) => *namespace = updated,
                Err(error) => {
                    tracing::error!(namespace = name, %error, "Couldn't update status condition for namespace");
                }
            }
        }
        SyncError::aggregate(errors)?;
        Ok(estimate)
    }

    async fn delete_resource(
        &self,
        target: &Target,
        namespace: &str,
        deleted_at: Time,
    ) -> (Left, Option<SyncError>) {
        let mut estimate = 0;
        if target.resource.group.is_empty() && target.resource.resource == "pods" {
            let pods = self
                .client
                .namespaced::<Pod>(namespace)
                .list(&ListOptions::default())
                .await;
            match pods {
                Ok(pods) => {
                    let since = self
                        .clock
                        .now()
                        .duration_since(deleted_at.timestamp())
                        .as_secs();
                    estimate = grace_estimate(pods.items(), since);
                }
                Err(error) => return (Left::default(), Some(error.into())),
            }
        }
        let waiting = Left {
            estimate,
            ..Default::default()
        };
        let api = self
            .client
            .metadata(target.resource.clone(), Some(namespace));
        let mut one_by_one = !target.delete_collection;
        if !one_by_one {
            match api
                .delete_collection(&background(), &ListOptions::default())
                .await
            {
                Ok(()) => {}
                Err(error) if unsupported(&error) => one_by_one = true,
                Err(error) => return (waiting, Some(error.into())),
            }
        }
        if !target.list {
            return (waiting, None);
        }
        if one_by_one {
            let items = match api.list(&ListOptions::default()).await {
                Ok(list) => list.items,
                Err(error) if unsupported(&error) => return (waiting, None),
                Err(error) => return (waiting, Some(error.into())),
            };
            for item in items {
                match api.delete(&item.metadata.name, &background()).await {
                    Err(error) if !unsupported(&error) => return (waiting, Some(error.into())),
                    _ => {}
                }
            }
        }
        match api.list(&ListOptions::default()).await {
            Ok(list) => {
                let left = left(&list.items, estimate);
                let unexpected = left.count > 0 && left.estimate == 0;
                let error = unexpected.then(|| {
                    SyncError::other(format!(
                        "unexpected items still remain in namespace: {namespace} for gvr: {}",
                        target.resource
                    ))
                });
                (left, error)
            }
            Err(error) if unsupported(&error) => (waiting, None),
            Err(error) => (waiting, Some(error.into())),
        }
    }
}

/// The finalizers but ours, sorted, each once.
fn remaining_finalizers(finalizers: &[String]) -> Vec<String> {
    let mut left: Vec<String> = finalizers
        .iter()
        .filter(|f| *f != FINALIZER)
        .cloned()
        .collect();
    left.sort();
    left.dedup();
    left
}

/// Seconds that pods may take to end, or zero when the namespace's deletion is longer ago than that.
fn grace_estimate(pods: &[Pod], since_deletion: i64) -> i64 {
    let longest = pods
        .iter()
        .filter(|pod| !pod_state::is_terminal(pod))
        .filter_map(|pod| pod.spec.termination_grace_period_seconds)
        .fold(0, i64::max);
    if since_deletion >= longest {
        0
    } else {
        longest
    }
}

/// What remains and how long it may take: an estimate of zero with something left is a surprise.
fn left(items: &[PartialObjectMetadata], estimate: i64) -> Left {
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    for finalizer in items.iter().flat_map(|item| &item.metadata.finalizers) {
        *finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    let estimate = match (items.is_empty(), estimate) {
        (true, _) => 0,
        (false, 0) if !finalizers.is_empty() => FINALIZER_ESTIMATE,
        (false, estimate) => estimate,
    };
    Left {
        estimate,
        count: items.len(),
        finalizers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(finalizers: &[&str]) -> PartialObjectMetadata {
        let mut item = PartialObjectMetadata::default();
        item.metadata.finalizers = finalizers.iter().map(|f| (*f).to_owned()).collect();
        item
    }

    #[test]
    fn estimates() {
        #[track_caller]
        fn check(items: &[PartialObjectMetadata], estimate: i64, expected: (i64, usize)) {
            let left = left(items, estimate);
            assert_eq!((left.estimate, left.count), expected);
        }
        check(&[], 30, (0, 0));
        check(&[item(&[])], 30, (30, 1));
        check(&[item(&["a"])], 30, (30, 1));
        check(&[item(&["a"]), item(&[])], 0, (15, 2));
        check(&[item(&[])], 0, (0, 1));
        assert_eq!(
            left(&[item(&["a", "b"]), item(&["a"])], 0).finalizers["a"],
            2
        );
    }

    #[test]
    fn pods_get_their_grace_period_once() {
        let pod = |grace, phase: &str| {
            let mut pod = Pod::default();
            pod.spec.termination_grace_period_seconds = grace;
            pod.status.phase = phase.into();
            pod
        };
        let pods = [
            pod(Some(30), "Running"),
            pod(Some(90), "Failed"),
            pod(None, "Running"),
        ];
        assert_eq!(grace_estimate(&pods, 0), 30);
        assert_eq!(grace_estimate(&pods, 29), 30);
        assert_eq!(grace_estimate(&pods, 30), 0);
        assert_eq!(grace_estimate(&[], 0), 0);
    }

    #[test]
    fn only_our_finalizer_goes() {
        let all = ["x/b", "kubernetes", "x/a", "x/a"].map(str::to_owned);
        assert_eq!(remaining_finalizers(&all), ["x/a", "x/b"]);
    }
}

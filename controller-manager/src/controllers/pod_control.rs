//! Creating and deleting pods for an owner, with the events that users look for. Upstream: `RealPodControl` in pkg/controller.

use std::future::Future;

use api_types::Object;
use api_types::core::v1::{ObjectReference, Pod, PodTemplateSpec};
use api_types::meta::v1::{DeleteOptions, OwnerReference, Preconditions};
use client::{Client, EventRecorder};

use super::SyncError;

/// First batch of [`slow_start`].
pub const SLOW_START_INITIAL_BATCH_SIZE: usize = 1;
/// Largest batch of [`slow_start`].
const MAX_BATCH_SIZE: usize = 500;

/// Creates and deletes pods in the name of a controller.
#[derive(Clone)]
pub struct PodControl {
    /// Acts as the controller.
    pub client: Client,
    /// Records events on the pods' owners.
    pub recorder: EventRecorder,
}

impl PodControl {
    /// Creates a pod and records SuccessfulCreate or FailedCreate on `owner`.
    pub async fn create(&self, owner: &ObjectReference, pod: &Pod) -> Result<Pod, client::Error> {
        match self
            .client
            .namespaced::<Pod>(&pod.metadata.namespace)
            .create(pod)
            .await
        {
            Ok(created) => {
                let name = &created.metadata.name;
                self.recorder.event(
                    owner,
                    "Normal",
                    "SuccessfulCreate",
                    format!("Created pod: {name}"),
                );
                Ok(created)
            }
            Err(error) => {
                // Nobody needs to be told that a terminating namespace takes no new pods.
                if !is_namespace_terminating(&error) {
                    self.recorder.event(
                        owner,
                        "Warning",
                        "FailedCreate",
                        format!("Error creating: {error}"),
                    );
                }
                Err(error)
            }
        }
    }

    /// Deletes a pod and records SuccessfulDelete or FailedDelete on `owner`. A pod that is gone is an error without event.
    pub async fn delete(
        &self,
        owner: &ObjectReference,
        namespace: &str,
        name: &str,
    ) -> Result<(), client::Error> {
        self.delete_with(owner, namespace, name, &DeleteOptions::default())
            .await
    }

    /// As [`PodControl::delete`], only if the pod still has this uid.
    pub async fn delete_exactly(
        &self,
        owner: &ObjectReference,
        pod: &Pod,
    ) -> Result<(), client::Error> {
        let preconditions = Preconditions {
            uid: Some(pod.metadata.uid.clone()),
            ..Default::default()
        };
        let options = DeleteOptions {
            preconditions: Some(Box::new(preconditions)),
            ..Default::default()
        };
        self.delete_with(owner, &pod.metadata.namespace, &pod.metadata.name, &options)
            .await
    }

    async fn delete_with(
        &self,
        owner: &ObjectReference,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), client::Error> {
        tracing::debug!(pod = %format_args!("{namespace}/{name}"), "Deleting pod");
        match self
            .client
            .namespaced::<Pod>(namespace)
            .delete(name, options)
            .await
        {
            Ok(_) => {
                self.recorder.event(
                    owner,
                    "Normal",
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
                Ok(())
            }
            Err(error) => {
                if !error.is_not_found() {
                    self.recorder.event(
                        owner,
                        "Warning",
                        "FailedDelete",
                        format!("Error deleting: {error}"),
                    );
                }
                Err(error)
            }
        }
    }
}

/// The apiserver refused because the namespace is being deleted.
pub fn is_namespace_terminating(error: &client::Error) -> bool {
    let Some(details) = error.status().and_then(|status| status.details.as_ref()) else {
        return false;
    };
    details
        .causes
        .iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// The pod that a template describes, owned by `controller` and named after its owner.
pub fn pod_from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    owner_name: &str,
    controller: OwnerReference,
) -> Pod {
    let mut pod = Pod::default();
    pod.metadata_mut().namespace = namespace.to_owned();
    pod.metadata.labels = template.metadata.labels.clone();
    pod.metadata.annotations = template.metadata.annotations.clone();
    pod.metadata.finalizers = template.metadata.finalizers.clone();
    pod.metadata.generate_name = pods_prefix(owner_name);
    pod.metadata.owner_references.push(controller);
    pod.spec = template.spec.clone();
    pod
}

/// The owner's name with a dash, where that still makes a valid prefix.
fn pods_prefix(owner_name: &str) -> String {
    let prefix = format!("{owner_name}-");
    // A prefix may end in a dash; upstream checks it with the dash taken for a letter.
    let checked = format!("{owner_name}a");
    if apimachinery::validation::is_dns1123_subdomain(&checked).is_empty() {
        prefix
    } else {
        owner_name.to_owned()
    }
}

/// Runs `action` `count` times in batches that start at `initial` and double while nothing fails, so that a batch that is
/// bound to fail (a quota, a webhook) costs few requests and events. Returns the successes and the first error.
pub async fn slow_start<F, Fut>(
    count: usize,
    initial: usize,
    action: F,
) -> (usize, Result<(), SyncError>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), SyncError>>,
{
    let (mut started, mut successes) = (0, 0);
    let mut batch = initial.min(count);
    while batch > 0 {
        let results = futures::future::join_all((started..started + batch).map(&action)).await;
        started += batch;
        successes += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find(Result::is_err) {
            return (successes, error);
        }
        batch = (2 * batch).min(MAX_BATCH_SIZE).min(count - started);
    }
    (successes, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Every call after the first `works` fails.
    fn run(count: usize, works: usize) -> (usize, usize, bool) {
        let calls = Cell::new(0);
        let action = |_| {
            calls.set(calls.get() + 1);
            let result = if calls.get() > works {
                Err(SyncError::other("no"))
            } else {
                Ok(())
            };
            std::future::ready(result)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (successes, result) =
            runtime.block_on(slow_start(count, SLOW_START_INITIAL_BATCH_SIZE, action));
        (successes, calls.get(), result.is_ok())
    }

    #[test]
    fn slow_start_doubles_until_a_batch_fails() {
        assert_eq!(run(0, 9), (0, 0, true));
        assert_eq!(run(10, 10), (10, 10, true));
        assert_eq!(run(10, 0), (0, 1, false));
        assert_eq!(run(10, 1), (1, 3, false), "batches 1, 2");
        assert_eq!(run(10, 5), (5, 7, false), "batches 1, 2, 4");
        assert_eq!(run(9, 8), (8, 9, false), "batches 1, 2, 4, 2");
    }

    #[test]
    fn pods_take_labels_annotations_and_finalizers_of_the_template() {
        let mut template = PodTemplateSpec::default();
        template.metadata.labels.insert("a".into(), "b".into());
        template.metadata.annotations.insert("c".into(), "d".into());
        template.metadata.finalizers.push("f/g".into());
        template.metadata.name = "ignored".into();
        template.spec.node_name = "n".into();
        let pod = pod_from_template(
            &template,
            "ns",
            "web",
            OwnerReference {
                uid: "u".into(),
                ..Default::default()
            },
        );
        assert_eq!(
            (
                pod.metadata.namespace.as_str(),
                pod.metadata.name.as_str(),
                pod.metadata.generate_name.as_str()
            ),
            ("ns", "", "web-")
        );
        assert_eq!(
            (
                pod.metadata.labels.len(),
                pod.metadata.annotations.len(),
                pod.metadata.finalizers.len()
            ),
            (1, 1, 1)
        );
        assert_eq!(pod.metadata.owner_references[0].uid, "u");
        assert_eq!(pod.spec.node_name, "n");
    }

    #[test]
    fn a_long_owner_name_is_its_own_prefix() {
        assert_eq!(pods_prefix("web"), "web-");
        let long = "a".repeat(253);
        assert_eq!(pods_prefix(&long), long);
    }
}

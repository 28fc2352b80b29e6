//! Makes the claims of pods' generic ephemeral volumes. Upstream: pkg/controller/volume/ephemeral.

use api_types::core::v1::{PersistentVolumeClaim, Pod, Volume};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::ObjectMeta;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use component_base::metrics::{Counter, Opts};

use super::controller_ref::{is_controlled_by, key_of, new_controller_ref};
use super::volume_protection::{CLAIM_INDEX, index_by_claim};
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The ephemeral-volume-controller. Its keys are pods.
pub struct EphemeralVolumeController {
    client: Client,
    recorder: EventRecorder,
    pods: Lister<Pod>,
    claims: Lister<PersistentVolumeClaim>,
    attempts: Counter,
    failures: Counter,
}

impl Controller for EphemeralVolumeController {
    const NAME: &'static str = "ephemeral-volume-controller";
    const ALIASES: &'static [&'static str] = &["ephemeral-volume"];
    const SERVICE_ACCOUNT: &'static str = "ephemeral-volume-controller";
    const QUEUE: &'static str = "ephemeral_volume";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let pods = setup.informer::<Pod>();
        index_by_claim(&pods);
        let to = queue.clone();
        on_change(&pods, move |change| {
            if let Change::Added(pod, _) = change
                && pod.metadata.deletion_timestamp.is_none()
                && pod
                    .spec
                    .volumes
                    .iter()
                    .any(|volume| volume.volume_source.ephemeral.is_some())
            {
                to.add(key_of(&pod.metadata));
            }
        });
        let claims = setup.informer::<PersistentVolumeClaim>();
        let (to, users) = (queue.clone(), pods.lister());
        on_change(&claims, move |change| {
            // A pod may still need a claim that somebody deleted.
            if let Change::Deleted(claim) = change {
                let index = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
                for pod in users.by_index(CLAIM_INDEX, &index) {
                    to.add(key_of(&pod.metadata));
                }
            }
        });
        let help = "Number of PersistentVolumeClaim creation requests";
        let counter = |name: &str| {
            setup.metrics().counter(Opts::new(
                format!("ephemeral_volume_controller_{name}"),
                help,
            ))
        };
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("ephemeral_volume"),
            pods: pods.lister(),
            claims: claims.lister(),
            attempts: counter("create_total"),
            failures: counter("create_failures_total"),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        let workers = config
            .ephemeral_volume_controller
            .concurrent_ephemeral_volume_syncs;
        usize::try_from(workers).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(pod) = self
            .pods
            .get(key)
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        else {
            return Ok(Next::Done);
        };
        for volume in &pod.spec.volumes {
            if let Err(error) = self.ensure_claim(&pod, volume).await {
                let message = format!("ephemeral volume {}: {error}", volume.name);
                self.recorder.event(
                    &object_reference(&*pod),
                    "Warning",
                    "FailedBinding",
                    &message,
                );
                return Err(SyncError::other(format!("pod {key}, {message}")));
            }
        }
        Ok(Next::Done)
    }
}

impl EphemeralVolumeController {
    async fn ensure_claim(&self, pod: &Pod, volume: &Volume) -> Result<(), String> {
        let Some(claim) = wanted_claim(pod, volume) else {
            return Ok(());
        };
        let name = claim.metadata.name.clone();
        let namespace = pod.metadata.namespace.as_str();
        if let Some(present) = self.claims.get(&ObjectKey::new(namespace, name.as_str())) {
            return belongs_to(&present, pod);
        }
        self.attempts.inc();
        let api = self.client.namespaced::<PersistentVolumeClaim>(namespace);
        match api.create(&claim).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.failures.inc();
                Err(format!("create PVC {name}: {error}"))
            }
        }
    }
}

/// Name of the claim of a pod's ephemeral volume.
pub fn claim_name(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.metadata.name, volume.name)
}

/// A claim that somebody made under the same name must not be used.
fn belongs_to(claim: &PersistentVolumeClaim, pod: &Pod) -> Result<(), String> {
    if claim.metadata.namespace == pod.metadata.namespace
        && is_controlled_by(&claim.metadata, &pod.metadata)
    {
        return Ok(());
    }
    Err(format!(
        "PVC {}/{} was not created for pod {}/{} (pod is not owner)",
        claim.metadata.namespace, claim.metadata.name, pod.metadata.namespace, pod.metadata.name
    ))
}

fn wanted_claim(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume
        .volume_source
        .ephemeral
        .as_ref()?
        .volume_claim_template
        .as_deref();
    let template = template.cloned().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: claim_name(pod, volume),
            namespace: pod.metadata.namespace.clone(),
            owner_references: vec![new_controller_ref(pod)],
            labels: template.metadata.labels,
            annotations: template.metadata.annotations,
            ..Default::default()
        },
        spec: template.spec,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{EphemeralVolumeSource, PersistentVolumeClaimTemplate};

    use super::*;

    #[test]
    fn claims_follow_the_template() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = "u".into();
        let mut volume = Volume {
            name: "v".into(),
            ..Default::default()
        };
        assert!(wanted_claim(&pod, &volume).is_none());
        let mut template = PersistentVolumeClaimTemplate::default();
        template.metadata.labels.insert("a".into(), "b".into());
        template.spec.storage_class_name = Some("fast".into());
        volume.volume_source.ephemeral = Some(Box::new(EphemeralVolumeSource {
            volume_claim_template: Some(Box::new(template)),
        }));
        let mut claim = wanted_claim(&pod, &volume).unwrap();
        assert_eq!(claim.metadata.name, "p-v");
        assert_eq!(claim.metadata.labels["a"], "b");
        assert_eq!(claim.spec.storage_class_name.as_deref(), Some("fast"));
        assert_eq!(belongs_to(&claim, &pod), Ok(()));
        claim.metadata.owner_references.clear();
        assert_eq!(
            belongs_to(&claim, &pod),
            Err("PVC ns/p-v was not created for pod ns/p (pod is not owner)".into())
        );
    }
}

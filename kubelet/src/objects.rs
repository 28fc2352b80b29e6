//! ConfigMaps and Secrets that pods of this node refer to: one watch per object, for as long as a pod needs it.
//!
//! Upstream: `pkg/kubelet/util/manager/watch_based_manager.go`. A node may read only what its pods refer to, so there is no
//! list of all; each object has its own small informer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource;
use api_types::core::v1::{ConfigMap, Pod, Secret};
use client::{Client, ListScope, ObjectKey, SharedInformer};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How long a reader waits for the first answer of a watch.
const SYNC_LIMIT: Duration = Duration::from_secs(1);

/// Why an object cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ObjectError {
    /// It does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// ConfigMaps and Secrets by name.
pub trait PodObjects: Send + Sync {
    /// A ConfigMap, as fresh as the watch has it.
    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<ConfigMap>, ObjectError>>;
    /// A Secret, as fresh as the watch has it.
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Secret>, ObjectError>>;
}

struct Watched<T> {
    informer: SharedInformer<T>,
    pods: HashSet<String>,
    token: CancellationToken,
}

/// Watches of one kind.
struct Watches<T> {
    kind: &'static str,
    client: Option<Client>,
    token: CancellationToken,
    objects: Mutex<HashMap<ObjectKey, Watched<T>>>,
}

impl<T: Resource + client::cache::Cacheable> Watches<T> {
    fn new(kind: &'static str, client: Option<Client>, token: CancellationToken) -> Self {
        Watches {
            kind,
            client,
            token,
            objects: Mutex::default(),
        }
    }

    /// Makes the set of objects a pod needs be exactly `names`.
    fn set(&self, pod_uid: &str, namespace: &str, names: &HashSet<String>) {
        let Some(client) = &self.client else { return };
        let mut objects = self.objects.lock();
        for name in names {
            let key = ObjectKey::new(namespace, name);
            let watched = objects.entry(key).or_insert_with(|| {
                let scope = ListScope::<T> {
                    namespace: Some(namespace.to_owned()),
                    field_selector: format!("metadata.name={name}"),
                    ..Default::default()
                };
                let informer = SharedInformer::new(client, scope, Duration::ZERO);
                let token = self.token.child_token();
                let runner = informer.clone();
                let stop = token.clone();
                tokio::spawn(async move { runner.run(stop).await });
                Watched {
                    informer,
                    pods: HashSet::new(),
                    token,
                }
            });
            watched.pods.insert(pod_uid.to_owned());
        }
        objects.retain(|key, watched| {
            if key.namespace == namespace && !names.contains(&key.name) {
                watched.pods.remove(pod_uid);
            }
            if watched.pods.is_empty() {
                watched.token.cancel();
                return false;
            }
            true
        });
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Arc<T>, ObjectError> {
        let kind = self.kind;
        if self.client.is_none() {
            return Err(ObjectError::Other(format!(
                "couldn't get {kind} {namespace}/{name}, no kubeClient defined"
            )));
        }
        let key = ObjectKey::new(namespace, name);
        let (informer, token) = match self.objects.lock().get(&key) {
            Some(watched) => (watched.informer.clone(), watched.token.clone()),
            None => {
                return Err(ObjectError::Other(format!(
                    "object {namespace:?}/{name:?} not registered"
                )));
            }
        };
        match tokio::time::timeout(SYNC_LIMIT, informer.wait_for_sync(&token)).await {
            Ok(true) => {}
            _ => {
                return Err(ObjectError::Other(format!(
                    "failed to sync {kind} cache: timed out waiting for the condition"
                )));
            }
        }
        informer
            .lister()
            .get(&key)
            .ok_or_else(|| ObjectError::NotFound(format!("{kind} {name:?} not found")))
    }
}

/// The watches of the kubelet.
pub struct ObjectManager {
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

impl ObjectManager {
    /// No watches yet; all end with the token.
    #[must_use]
    pub fn new(client: Option<Client>, token: &CancellationToken) -> Self {
        ObjectManager {
            config_maps: Watches::new("configmap", client.clone(), token.clone()),
            secrets: Watches::new("secret", client, token.clone()),
        }
    }

    /// Watches what the pod refers to. Call it again when the pod's spec changed.
    pub fn register(&self, pod: &Pod) {
        let namespace = &pod.metadata.namespace;
        let (config_maps, secrets) = references(pod);
        self.config_maps
            .set(&pod.metadata.uid, namespace, &config_maps);
        self.secrets.set(&pod.metadata.uid, namespace, &secrets);
    }

    /// Ends watches that only this pod needed.
    pub fn unregister(&self, pod: &Pod) {
        let none = HashSet::new();
        self.config_maps
            .set(&pod.metadata.uid, &pod.metadata.namespace, &none);
        self.secrets
            .set(&pod.metadata.uid, &pod.metadata.namespace, &none);
    }
}

impl PodObjects for ObjectManager {
    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<ConfigMap>, ObjectError>> {
        Box::pin(self.config_maps.get(namespace, name))
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Secret>, ObjectError>> {
        Box::pin(self.secrets.get(namespace, name))
    }
}

/// Names of the ConfigMaps and Secrets a pod refers to.
fn references(pod: &Pod) -> (HashSet<String>, HashSet<String>) {
    let (mut config_maps, mut secrets) = (HashSet::new(), HashSet::new());
    secrets.extend(
        pod.spec
            .image_pull_secrets
            .iter()
            .map(|reference| reference.name.clone()),
    );
    for container in crate::container::all_containers(&pod.spec) {
        for from in &container.env_from {
            config_maps.extend(
                from.config_map_ref
                    .as_ref()
                    .map(|reference| reference.local_object_reference.name.clone()),
            );
            secrets.extend(
                from.secret_ref
                    .as_ref()
                    .map(|reference| reference.local_object_reference.name.clone()),
            );
        }
        for source in container
            .env
            .iter()
            .filter_map(|variable| variable.value_from.as_deref())
        {
            config_maps.extend(
                source
                    .config_map_key_ref
                    .as_ref()
                    .map(|key| key.local_object_reference.name.clone()),
            );
            secrets.extend(
                source
                    .secret_key_ref
                    .as_ref()
                    .map(|key| key.local_object_reference.name.clone()),
            );
        }
    }
    for volume in &pod.spec.volumes {
        let source = &volume.volume_source;
        config_maps.extend(
            source
                .config_map
                .as_ref()
                .map(|map| map.local_object_reference.name.clone()),
        );
        secrets.extend(
            source
                .secret
                .as_ref()
                .map(|secret| secret.secret_name.clone()),
        );
        let local = |reference: &Option<Box<api_types::core::v1::LocalObjectReference>>| {
            reference.as_ref().map(|reference| reference.name.clone())
        };
        secrets.extend(
            source
                .iscsi
                .as_ref()
                .and_then(|iscsi| local(&iscsi.secret_ref)),
        );
        secrets.extend(
            source
                .flex_volume
                .as_ref()
                .and_then(|flex| local(&flex.secret_ref)),
        );
        secrets.extend(
            source
                .csi
                .as_ref()
                .and_then(|csi| local(&csi.node_publish_secret_ref)),
        );
        for projected in source
            .projected
            .iter()
            .flat_map(|projected| &projected.sources)
        {
            config_maps.extend(
                projected
                    .config_map
                    .as_ref()
                    .map(|map| map.local_object_reference.name.clone()),
            );
            secrets.extend(
                projected
                    .secret
                    .as_ref()
                    .map(|secret| secret.local_object_reference.name.clone()),
            );
        }
    }
    config_maps.remove("");
    secrets.remove("");
    (config_maps, secrets)
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{
        ConfigMapEnvSource, Container, EnvFromSource, LocalObjectReference, SecretVolumeSource,
        Volume, VolumeSource,
    };

    use super::*;

    #[test]
    fn all_references() {
        let mut pod = Pod::default();
        pod.spec.image_pull_secrets = vec![LocalObjectReference {
            name: "pull".into(),
        }];
        pod.spec.init_containers = vec![Container {
            env_from: vec![EnvFromSource {
                config_map_ref: Some(Box::new(ConfigMapEnvSource {
                    local_object_reference: LocalObjectReference { name: "env".into() },
                    optional: None,
                })),
                ..Default::default()
            }],
            ..Default::default()
        }];
        pod.spec.volumes = vec![Volume {
            name: "v".into(),
            volume_source: VolumeSource {
                secret: Some(Box::new(SecretVolumeSource {
                    secret_name: "vol".into(),
                    ..Default::default()
                })),
                ..Default::default()
            },
        }];
        let (config_maps, secrets) = references(&pod);
        assert_eq!(config_maps, HashSet::from(["env".to_owned()]));
        assert_eq!(
            secrets,
            HashSet::from(["pull".to_owned(), "vol".to_owned()])
        );
    }
}

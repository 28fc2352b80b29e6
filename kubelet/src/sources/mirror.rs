//! Mirror pods: what the API shows of static pods. Upstream: `pkg/kubelet/pod/mirror_client.go`.

use std::sync::Arc;

use api_types::core::v1::{Node, Pod};
use api_types::meta::v1::{DeleteOptions, OwnerReference, Preconditions};
use client::{Client, Error};

use super::{CONFIG_HASH, CONFIG_MIRROR};

/// Makes and deletes mirror pods.
pub struct MirrorClient {
    client: Option<Client>,
    node_name: String,
}

impl MirrorClient {
    /// Without a client there are no mirrors.
    #[must_use]
    pub fn new(client: Option<Client>, node_name: &str) -> Self {
        MirrorClient {
            client,
            node_name: node_name.to_owned(),
        }
    }

    /// Makes the mirror of a static pod. One that is there already, of the same pod, is fine.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn create(&self, pod: &Pod) -> Result<(), Error> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        // The mirror is owned by its node, so that it goes when the node does.
        let node = client.api::<Node>().get(&self.node_name).await?;
        let mut mirror = pod.clone();
        let hash = mirror
            .metadata
            .annotations
            .get(CONFIG_HASH)
            .cloned()
            .unwrap_or_default();
        mirror
            .metadata
            .annotations
            .insert(CONFIG_MIRROR.to_owned(), hash.clone());
        mirror.metadata.uid.clear();
        mirror.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node_name.clone(),
            uid: node.metadata.uid,
            controller: Some(true),
            ..Default::default()
        }];
        match client
            .namespaced::<Pod>(mirror.metadata.namespace.as_str())
            .create(&mirror)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_already_exists() => {
                let api = client.namespaced::<Pod>(mirror.metadata.namespace.as_str());
                let existing = api.get(&mirror.metadata.name).await?;
                if existing.metadata.annotations.get(CONFIG_MIRROR) == Some(&hash) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a mirror. With a UID only that one.
    ///
    /// # Errors
    /// As the API server says; one that is gone is fine.
    pub async fn delete(&self, full_name: &str, uid: Option<&str>) -> Result<bool, Error> {
        let (Some(client), Some((name, namespace))) = (&self.client, full_name.rsplit_once('_'))
        else {
            return Ok(false);
        };
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: uid.map(|uid| {
                Box::new(Preconditions {
                    uid: Some(uid.to_owned()),
                    ..Default::default()
                })
            }),
            ..Default::default()
        };
        match client
            .namespaced::<Pod>(namespace)
            .delete(name, &options)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a mirror shows this version of the static pod.
    #[must_use]
    pub fn is_mirror_of(mirror: &Arc<Pod>, pod: &Arc<Pod>) -> bool {
        let (hash, want) = (
            mirror.metadata.annotations.get(CONFIG_MIRROR),
            pod.metadata.annotations.get(CONFIG_HASH),
        );
        mirror.metadata.name == pod.metadata.name
            && mirror.metadata.namespace == pod.metadata.namespace
            && hash.is_some()
            && hash == want
    }
}

//! Deletes what only absent objects own, and carries out foreground and orphan deletion. Upstream: pkg/controller/garbagecollector.
//!
//! Informers over the metadata of every deletable resource feed the [`graph`]. Before anything is deleted the live object and its
//! live owners are read, so a late or wrong graph costs requests but no objects.

/// Who owns whom.
mod graph;
/// The informers.
mod monitors;

use std::collections::HashSet;
use std::sync::Arc;

use api_types::core::v1::ObjectReference;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{
    DeleteOptions, ObjectMeta, OwnerReference, PartialObjectMetadata, PatchOptions, Preconditions,
};
use client::{Client, EventRecorder, GroupResource, Patch, retry_on_conflict};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::graph::Identity;
use self::graph::{AbsentOwners, Effect, FOREGROUND, Graph, ORPHAN, Snapshot, has_finalizer};
use self::monitors::Monitors;
use super::{Backoff, BuildError, Controller, Next, SyncError};
use crate::context::Setup;
use crate::runner::{Queue, work};

const ABSENT_OWNERS: usize = 500;

/// The garbage-collector-controller. Its keys are objects that may have to go.
pub struct GarbageCollectorController {
    client: Client,
    shared: Arc<Shared>,
    monitors: Monitors,
    /// Whether work may begin.
    ready: watch::Sender<bool>,
    workers: usize,
}

/// What the informers' handlers and the workers share.
struct Shared {
    graph: Mutex<Graph>,
    absent: Mutex<AbsentOwners>,
    delete: Queue<Identity>,
    orphan: Queue<Identity>,
    recorder: EventRecorder,
}

impl Shared {
    fn apply(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Delete(item) => self.delete.add(item),
                Effect::DeleteLater(item) => self.delete.add_rate_limited(item),
                Effect::Orphan(item) => self.orphan.add(item),
                Effect::Absent(item) => self.absent.lock().add(item),
                Effect::InvalidNamespace { item, owner } => {
                    let message = format!(
                        "ownerRef {owner} does not exist in namespace {:?}",
                        item.namespace
                    );
                    let reference = ObjectReference {
                        kind: item.kind,
                        api_version: item.api_version,
                        namespace: item.namespace,
                        name: item.name,
                        uid: item.uid,
                        ..Default::default()
                    };
                    self.recorder.event(
                        &reference,
                        "Warning",
                        "OwnerRefInvalidNamespace",
                        &message,
                    );
                }
            }
        }
    }

    fn observe(&self, identity: Identity, old: Option<&ObjectMeta>, new: &ObjectMeta) {
        let effects = self.graph.lock().observe(identity, old, new);
        self.apply(effects);
    }

    fn forget(&self, identity: &Identity) {
        let effects = self.graph.lock().forget(identity);
        self.apply(effects);
    }

    fn forget_absent(&self, identity: &Identity) {
        tracing::debug!(v = 5, item = %identity, "item not found, generating a virtual delete event");
        let effects = self.graph.lock().forget_absent(identity);
        self.apply(effects);
    }
}

impl Controller for GarbageCollectorController {
    const NAME: &'static str = "garbage-collector-controller";
    const ALIASES: &'static [&'static str] = &["garbagecollector"];
    const SERVICE_ACCOUNT: &'static str = "generic-garbage-collector";
    const QUEUE: &'static str = "garbage_collector_attempt_to_delete";
    type Key = Identity;

    async fn build(setup: &Setup, queue: &Queue<Identity>) -> Result<Option<Self>, BuildError> {
        let config = &setup.config().garbage_collector_controller;
        if config.enable_garbage_collector == Some(false) {
            return Ok(None);
        }
        let ignored: HashSet<GroupResource> = config
            .gc_ignored_resources
            .iter()
            .map(|ignored| GroupResource::new(&*ignored.group, &*ignored.resource))
            .collect();
        let shared = Arc::new(Shared {
            graph: Mutex::default(),
            absent: Mutex::new(AbsentOwners::new(ABSENT_OWNERS)),
            delete: queue.clone(),
            orphan: setup.queue("garbage_collector_attempt_to_orphan", Backoff::DEFAULT),
            recorder: setup.recorder("garbage-collector-controller"),
        });
        let clients = &setup.context.clients;
        let monitors = Monitors::new(
            clients.discovery_client(Self::SERVICE_ACCOUNT).await?,
            clients.root_client("metadata-informers")?,
            ignored,
            shared.clone(),
            setup.metrics(),
        );
        Ok(Some(Self {
            client: setup.client.clone(),
            shared,
            monitors,
            ready: watch::Sender::new(false),
            workers: Self::workers(setup.config()),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.garbage_collector_controller.concurrent_gc_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &Identity) -> Result<Next, SyncError> {
        self.wait_until_ready().await;
        let Some(snapshot) = self.shared.graph.lock().snapshot(key) else {
            return Ok(Next::Done);
        };
        match self.attempt_to_delete(key, &snapshot).await {
            Ok(Verdict::Forget) => Ok(Next::Done),
            // Its informer may be late: look again until it shows the object or the object is found absent.
            Ok(Verdict::Looked) if snapshot.is_virtual => Ok(Next::Retry),
            Ok(Verdict::Looked) => Ok(Next::Done),
            Err(Failure::NoMapping(error)) => {
                tracing::debug!(v = 5, item = %key, error, "error syncing item");
                Ok(Next::Retry)
            }
            Err(Failure::NamespacedOwner) => Ok(Next::Done),
            Err(Failure::Api(error)) => Err(error.into()),
            Err(Failure::Other(error)) => Err(SyncError::Other(error)),
        }
    }

    async fn run(&self, stop: CancellationToken) {
        let orphan = work(
            Self::NAME,
            &self.shared.orphan,
            self.workers,
            &stop,
            |owner: Identity| async move {
                self.wait_until_ready().await;
                self.attempt_to_orphan(&owner).await
            },
        );
        let monitors = self.monitors.run(stop.clone(), || {
            self.ready.send_replace(true);
        });
        futures::future::join(orphan, monitors).await;
    }
}

enum Verdict {
    /// Done with the item, whatever it is.
    Forget,
    /// The item was looked at.
    Looked,
}

enum Failure {
    Api(client::Error),
    /// The kind is not served.
    NoMapping(String),
    /// A cluster-scoped object names a namespaced owner: nothing can be said about it, ever.
    NamespacedOwner,
    Other(String),
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::Api(error)
    }
}

/// An object's owners, by what is known of them.
#[derive(Default)]
struct Classified {
    solid: Vec<OwnerReference>,
    dangling: Vec<OwnerReference>,
    waiting: Vec<OwnerReference>,
}

impl GarbageCollectorController {
    async fn wait_until_ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as we do.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    async fn attempt_to_delete(
        &self,
        item: &Identity,
        snapshot: &Snapshot,
    ) -> Result<Verdict, Failure> {
        // It is going already; only foreground deletion needs help.
        if snapshot.being_deleted && !snapshot.deleting_dependents {
            return Ok(Verdict::Looked);
        }
        let latest = match self.get(item).await {
            Err(Failure::Api(error)) if error.is_not_found() => None,
            result => Some(result?).filter(|latest| latest.metadata.uid == item.uid),
        };
        let Some(latest) = latest else {
            self.shared.forget_absent(item);
            return Ok(Verdict::Forget);
        };
        if snapshot.deleting_dependents {
            self.advance_foreground(item, snapshot).await?;
            return Ok(Verdict::Looked);
        }
        let metadata = &latest.metadata;
        if metadata.owner_references.is_empty() {
            return Ok(Verdict::Looked);
        }
        let owners = self.classify(item, &metadata.owner_references).await?;
        if !owners.solid.is_empty() {
            let gone: Vec<&str> = owners
                .dangling
                .iter()
                .chain(&owners.waiting)
                .map(|owner| owner.uid.as_str())
                .collect();
            if !gone.is_empty() {
                self.remove_owners(item, &gone).await?;
            }
            return Ok(Verdict::Looked);
        }
        let policy = if !owners.waiting.is_empty() && !snapshot.dependents.is_empty() {
            if snapshot
                .dependents
                .iter()
                .any(|dependent| dependent.deleting_dependents)
            {
                // A cycle of objects that wait for each other would never end.
                self.unblock_owners(item, snapshot).await?;
            }
            "Foreground"
        } else if has_finalizer(metadata, ORPHAN) {
            "Orphan"
        } else if has_finalizer(metadata, FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        tracing::info!(%item, propagation_policy = policy, "Deleting item");
        match self.delete(item, metadata, policy).await {
            Err(Failure::Api(error)) if error.is_not_found() => {
                self.shared.forget_absent(item);
                Ok(Verdict::Forget)
            }
            result => result.map(|()| Verdict::Looked),
        }
    }

    async fn classify(
        &self,
        item: &Identity,
        owners: &[OwnerReference],
    ) -> Result<Classified, Failure> {
        let mut classified = Classified::default();
        for reference in owners {
            match self.live_owner(item, reference).await? {
                None => classified.dangling.push(reference.clone()),
                Some(owner)
                    if owner.metadata.deletion_timestamp.is_some()
                        && has_finalizer(&owner.metadata, FOREGROUND) =>
                {
                    classified.waiting.push(reference.clone());
                }
                Some(_) => classified.solid.push(reference.clone()),
            }
        }
        Ok(classified)
    }

    /// The owner a reference names, if it exists.
    async fn live_owner(
        &self,
        item: &Identity,
        reference: &OwnerReference,
    ) -> Result<Option<PartialObjectMetadata>, Failure> {
        let mut owner = Identity::of_owner(reference, "");
        {
            let mut absent = self.shared.absent.lock();
            if absent.has(&owner) {
                return Ok(None);
            }
            owner.namespace = item.namespace.clone();
            if absent.has(&owner) {
                return Ok(None);
            }
        }
        let (_, namespaced) = self.monitors.resource(&owner).map_err(Failure::NoMapping)?;
        if !namespaced {
            owner.namespace = String::new();
        } else if item.namespace.is_empty() {
            tracing::info!(%item, %owner, "item is cluster-scoped, but refers to a namespaced owner");
            return Err(Failure::NamespacedOwner);
        }
        match self.get(&owner).await {
            Ok(live) if live.metadata.uid == reference.uid => Ok(Some(live)),
            Err(Failure::Api(error)) if !error.is_not_found() => Err(error.into()),
            Err(error) if !matches!(error, Failure::Api(_)) => Err(error),
            _ => {
                self.shared.absent.lock().add(owner);
                Ok(None)
            }
        }
    }

    /// The owner may go once no dependent blocks it.
    async fn advance_foreground(
        &self,
        item: &Identity,
        snapshot: &Snapshot,
    ) -> Result<(), Failure> {
        let mut blocked = false;
        for dependent in snapshot
            .dependents
            .iter()
            .filter(|dependent| dependent.blocking)
        {
            blocked = true;
            if !dependent.deleting_dependents {
                self.shared.delete.add(dependent.identity.clone());
            }
        }
        if blocked {
            return Ok(());
        }
        self.remove_finalizer(item, FOREGROUND).await
    }

    async fn attempt_to_orphan(&self, owner: &Identity) -> Result<Next, SyncError> {
        let dependents = match self.shared.graph.lock().snapshot(owner) {
            Some(snapshot) => snapshot.dependents,
            None => Vec::new(),
        };
        let orphaned = futures::future::join_all(dependents.iter().map(|dependent| async {
            match self.remove_owners(&dependent.identity, &[&owner.uid]).await {
                Err(Failure::Api(error)) if error.is_not_found() => None,
                Ok(()) => None,
                Err(error) => Some(format!(
                    "orphaning {} failed, {}",
                    dependent.identity,
                    text(&error)
                )),
            }
        }))
        .await;
        let errors: Vec<String> = orphaned.into_iter().flatten().collect();
        if !errors.is_empty() {
            return Err(SyncError::other(format!(
                "orphanDependents for {owner} failed with failed to orphan dependents of owner {owner}, got errors: {}",
                errors.join(", ")
            )));
        }
        match self.remove_finalizer(owner, ORPHAN).await {
            Ok(()) => Ok(Next::Done),
            Err(error) => Err(SyncError::other(format!(
                "removeOrphanFinalizer for {owner} failed with {}",
                text(&error)
            ))),
        }
    }

    // === Requests ===

    fn api(&self, item: &Identity) -> Result<client::MetadataApi, Failure> {
        let (resource, namespaced) = self.monitors.resource(item).map_err(Failure::NoMapping)?;
        if namespaced && item.namespace.is_empty() {
            return Err(Failure::NamespacedOwner);
        }
        Ok(self
            .client
            .metadata(resource, namespaced.then_some(item.namespace.as_str())))
    }

    async fn get(&self, item: &Identity) -> Result<PartialObjectMetadata, Failure> {
        Ok(self.api(item)?.get(&item.name).await?)
    }

    /// Deletes this very object in the state that was judged. A change that did not touch its owners does not matter.
    async fn delete(
        &self,
        item: &Identity,
        judged: &ObjectMeta,
        policy: &str,
    ) -> Result<(), Failure> {
        let api = self.api(item)?;
        let options = |version: Option<String>| DeleteOptions {
            preconditions: Some(Box::new(Preconditions {
                uid: Some(item.uid.clone()),
                resource_version: version,
            })),
            propagation_policy: Some(policy.to_owned()),
            ..Default::default()
        };
        let error = match api
            .delete(&item.name, &options(Some(judged.resource_version.clone())))
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() => error,
            Err(error) => return Err(error.into()),
        };
        match api.get(&item.name).await {
            Err(gone) if gone.is_not_found() => Err(gone.into()),
            Ok(live)
                if live.metadata.uid == item.uid
                    && live.metadata.resource_version != judged.resource_version
                    && live.metadata.owner_references == judged.owner_references =>
            {
                api.delete(&item.name, &options(None)).await?;
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    async fn remove_owners(&self, item: &Identity, owners: &[&str]) -> Result<(), Failure> {
        let deleted: Vec<_> = owners
            .iter()
            .map(|uid| json!({"$patch": "delete", "uid": uid}))
            .collect();
        let patch = json!({"metadata": {"ownerReferences": deleted, "uid": item.uid}});
        self.patch(item, &patch, |references| {
            references.retain(|reference| !owners.contains(&reference.uid.as_str()));
        })
        .await
    }

    async fn unblock_owners(&self, item: &Identity, snapshot: &Snapshot) -> Result<(), Failure> {
        let unblocked: Vec<_> = snapshot
            .owners
            .iter()
            .filter(|owner| owner.block_owner_deletion == Some(true))
            .map(|owner| {
                let mut owner = owner.clone();
                owner.block_owner_deletion = Some(false);
                reference_json(&owner)
            })
            .collect();
        let patch = json!({"metadata": {"ownerReferences": unblocked, "uid": item.uid}});
        self.patch(item, &patch, |references| {
            for reference in references {
                reference.block_owner_deletion = Some(false);
            }
        })
        .await
    }

    /// Sends a strategic merge patch; for resources that take none, `change` is applied to the live references.
    async fn patch(
        &self,
        item: &Identity,
        patch: &serde_json::Value,
        change: impl Fn(&mut Vec<OwnerReference>),
    ) -> Result<(), Failure> {
        const UNSUPPORTED_MEDIA_TYPE: u16 = 415;
        let api = self.api(item)?;
        let options = PatchOptions::default();
        let strategic = Patch::Strategic(patch.to_string().into_bytes());
        match api.patch(&item.name, &strategic, &options).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == UNSUPPORTED_MEDIA_TYPE => {}
            Err(error) => return Err(error.into()),
        }
        let live = api.get(&item.name).await?;
        let mut references = live.metadata.owner_references;
        change(&mut references);
        let references: Vec<_> = references.iter().map(reference_json).collect();
        let merge = json!({"metadata": {
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": references,
        }});
        let merge = Patch::Merge(merge.to_string().into_bytes());
        api.patch(&item.name, &merge, &options).await?;
        Ok(())
    }

    async fn remove_finalizer(&self, item: &Identity, finalizer: &str) -> Result<(), Failure> {
        let api = self.api(item)?;
        let result = retry_on_conflict(|| async {
            let live = match api.get(&item.name).await {
                Err(error) if error.is_not_found() => return Ok(()),
                live => live?.metadata,
            };
            if !has_finalizer(&live, finalizer) {
                return Ok(());
            }
            let left: Vec<&String> = live
                .finalizers
                .iter()
                .filter(|has| *has != finalizer)
                .collect();
            let patch = json!({"metadata": {
                "resourceVersion": live.resource_version,
                "finalizers": if left.is_empty() { serde_json::Value::Null } else { json!(left) },
            }});
            let patch = Patch::Merge(patch.to_string().into_bytes());
            api.patch(&item.name, &patch, &PatchOptions::default())
                .await
                .map(drop)
        })
        .await;
        match result {
            Err(error) if error.is_conflict() => Err(Failure::Other(format!(
                "updateMaxRetries(5) has reached. The garbage collector will retry later for owner {item}"
            ))),
            result => Ok(result?),
        }
    }
}

fn reference_json(reference: &OwnerReference) -> serde_json::Value {
    let mut value = json!({
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
    });
    if let Some(controller) = reference.controller {
        value["controller"] = controller.into();
    }
    if let Some(block) = reference.block_owner_deletion {
        value["blockOwnerDeletion"] = block.into();
    }
    value
}

fn text(failure: &Failure) -> String {
    match failure {
        Failure::Api(error) => error.to_string(),
        Failure::NoMapping(error) | Failure::Other(error) => error.clone(),
        Failure::NamespacedOwner => {
            "cluster-scoped objects cannot refer to namespaced owners".to_owned()
        }
    }
}

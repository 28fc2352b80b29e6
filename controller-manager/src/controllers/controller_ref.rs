//! Which objects belong to a controller's object: adoption of orphans, release of what no longer matches. Upstream:
//! pkg/controller/controller_ref_manager.go.
//!
//! Ownership is the owner reference with `controller: true`, found by uid and never by name. Adoption is tried only after a
//! live read has shown that the owner is not being deleted (otherwise the garbage collector and we would fight).

use std::sync::Arc;

use api_types::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, PatchOptions};
use api_types::{Object, Resource};
use apimachinery::labels::Selector;
use client::{Client, ObjectKey, Patch, SharedInformer};
use serde_json::json;
use tokio::sync::OnceCell;

use super::SyncError;

/// The owner reference with `controller: true`.
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .find(|reference| reference.controller == Some(true))
}

/// Whether `owner` controls the object.
pub fn is_controlled_by(metadata: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(metadata).is_some_and(|reference| reference.uid == owner.uid)
}

/// The reference that makes `owner` the controller of another object.
pub fn new_controller_ref<O: Object>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version().to_owned(),
        kind: O::KIND.to_owned(),
        name: owner.metadata().name.clone(),
        uid: owner.metadata().uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The key of an object in caches and queues.
pub fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
    }
}

/// Turns an API selector into one that matches labels. An absent selector matches nothing.
pub fn selector_of(selector: Option<&LabelSelector>) -> Result<Selector, SyncError> {
    Selector::from_label_selector(selector)
        .map_err(|error| SyncError::other(format!("invalid label selector: {error}")))
}

/// Name of the index by controller: see [`index_by_controller`].
pub const CONTROLLER_INDEX: &str = "podController";

/// Indexes a cache by the controller of its objects; orphans are found under their namespace.
pub fn index_by_controller<T: Resource>(informer: &SharedInformer<T>) {
    informer.add_index(CONTROLLER_INDEX, |object| {
        let metadata = object.metadata();
        vec![controller_index_key(
            &metadata.namespace,
            controller_of(metadata),
        )]
    });
}

/// The value under which [`CONTROLLER_INDEX`] finds the objects of a controller, or a namespace's orphans.
pub fn controller_index_key(namespace: &str, controller: Option<&OwnerReference>) -> String {
    match controller {
        None => namespace.to_owned(),
        Some(reference) => format!(
            "{namespace}/{}/{}/{}",
            reference.kind, reference.name, reference.uid
        ),
    }
}

/// What to do about one candidate.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Owned,
    Adopt,
    Release,
    Ignore,
}

fn decide(owner: &ObjectMeta, candidate: &ObjectMeta, matches: bool) -> Claim {
    match controller_of(candidate) {
        Some(reference) if reference.uid != owner.uid => Claim::Ignore,
        Some(_) if matches => Claim::Owned,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if owner.deletion_timestamp.is_some()
            || !matches
            || candidate.deletion_timestamp.is_some() =>
        {
            Claim::Ignore
        }
        None if !owner.namespace.is_empty() && owner.namespace != candidate.namespace => {
            Claim::Ignore
        }
        None => Claim::Adopt,
    }
}

/// Claims objects for one owner during one sync.
pub struct Claimer<'a, O> {
    /// Used to patch candidates and to read the owner afresh.
    pub client: &'a Client,
    /// The owner as the cache has it.
    pub owner: &'a O,
    /// What the owner selects.
    pub selector: &'a Selector,
    /// Finalizers that an adopted object gets and a released one loses.
    pub finalizers: &'a [&'a str],
    may_adopt: OnceCell<Result<(), String>>,
}

impl<'a, O: Resource> Claimer<'a, O> {
    /// A claimer without finalizers.
    pub fn new(client: &'a Client, owner: &'a O, selector: &'a Selector) -> Self {
        Self {
            client,
            owner,
            selector,
            finalizers: &[],
            may_adopt: OnceCell::new(),
        }
    }

    /// The candidates the owner has after adopting and releasing. `extra` narrows what the selector matches; `wrote` sees
    /// each patched object.
    pub async fn claim<T: Resource>(
        &self,
        candidates: Vec<Arc<T>>,
        extra: impl Fn(&T) -> bool,
        wrote: impl Fn(&T),
    ) -> Result<Vec<Arc<T>>, SyncError> {
        let (mut claimed, mut errors) = (Vec::with_capacity(candidates.len()), Vec::new());
        for candidate in candidates {
            let metadata = candidate.metadata();
            let matches = self.selector.matches(&metadata.labels) && extra(&candidate);
            match decide(self.owner.metadata(), metadata, matches) {
                Claim::Owned => claimed.push(candidate),
                Claim::Ignore => {}
                Claim::Adopt => match self.adopt(&*candidate).await {
                    // The object as it is after the patch, so that the caller sees its new finalizers.
                    Ok(Some(adopted)) => {
                        wrote(&adopted);
                        claimed.push(Arc::new(adopted));
                    }
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                },
                Claim::Release => match self.release(&*candidate).await {
                    Ok(Some(released)) => wrote(&released),
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                },
            }
        }
        SyncError::aggregate(errors)?;
        Ok(claimed)
    }

    async fn adopt<T: Resource>(&self, candidate: &T) -> Result<Option<T>, SyncError> {
        let metadata = candidate.metadata();
        if let Err(reason) = self.may_adopt.get_or_init(|| self.recheck()).await {
            let (kind, namespace, name, uid) =
                (T::KIND, &metadata.namespace, &metadata.name, &metadata.uid);
            return Err(SyncError::other(format!(
                "can't adopt {kind} {namespace}/{name} ({uid}): {reason}"
            )));
        }
        let reference = new_controller_ref(self.owner);
        let patch = adopt_patch(&reference, &metadata.uid, self.finalizers);
        match self.patch(candidate, patch).await {
            Ok(adopted) => Ok(Some(adopted)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn release<T: Resource>(&self, candidate: &T) -> Result<Option<T>, SyncError> {
        let metadata = candidate.metadata();
        tracing::debug!(object = %key_of(metadata), kind = T::KIND, "Removing the controller reference of an object that no longer matches");
        let patch = release_patch(&self.owner.metadata().uid, &metadata.uid, self.finalizers);
        match self.patch(candidate, patch).await {
            Ok(released) => Ok(Some(released)),
            // Invalid: the object has no owner reference any more, or another object has taken its name.
            Err(error) if error.is_not_found() || error.is_invalid() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn patch<T: Resource>(
        &self,
        candidate: &T,
        patch: serde_json::Value,
    ) -> Result<T, client::Error> {
        let metadata = candidate.metadata();
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        self.client
            .namespaced::<T>(&metadata.namespace)
            .patch(&metadata.name, &patch, &PatchOptions::default())
            .await
    }

    /// Adoption needs a live read of the owner: the cache may not know yet that it is being deleted.
    async fn recheck(&self) -> Result<(), String> {
        let owner = self.owner.metadata();
        let (kind, namespace, name) = (O::KIND, &owner.namespace, &owner.name);
        let fresh = self
            .client
            .namespaced::<O>(namespace)
            .get(name)
            .await
            .map_err(|error| format!("can't recheck DeletionTimestamp: {error}"))?;
        let fresh = fresh.metadata();
        if fresh.uid != owner.uid {
            return Err(format!(
                "can't recheck DeletionTimestamp: original {kind} {namespace}/{name} is gone: got uid {}, wanted {}",
                fresh.uid, owner.uid
            ));
        }
        match fresh.deletion_timestamp {
            Some(time) => Err(format!(
                "{namespace}/{name} has just been deleted at {time}"
            )),
            None => Ok(()),
        }
    }
}

fn adopt_patch(reference: &OwnerReference, uid: &str, finalizers: &[&str]) -> serde_json::Value {
    let reference = json!({
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    });
    let mut patch = json!({"metadata": {"uid": uid, "ownerReferences": [reference]}});
    if !finalizers.is_empty() {
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    patch
}

fn release_patch(owner_uid: &str, uid: &str, finalizers: &[&str]) -> serde_json::Value {
    let mut patch = json!({"metadata": {"uid": uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}});
    if !finalizers.is_empty() {
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(finalizers);
    }
    patch
}

#[cfg(test)]
mod tests {
    use api_types::Time;

    use super::*;

    fn object(controller: Option<&str>, deleting: bool) -> ObjectMeta {
        let reference = |uid: &str| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..Default::default()
        };
        ObjectMeta {
            namespace: "ns".into(),
            uid: "me".into(),
            owner_references: controller.map(reference).into_iter().collect(),
            deletion_timestamp: deleting.then(Time::now),
            ..Default::default()
        }
    }

    #[test]
    fn claims() {
        let (alive, dying) = (object(None, false), object(None, true));
        for (owner, candidate, matches, expected) in [
            (&alive, object(Some("me"), false), true, Claim::Owned),
            (&dying, object(Some("me"), false), true, Claim::Owned),
            (&alive, object(Some("me"), false), false, Claim::Release),
            (&dying, object(Some("me"), false), false, Claim::Ignore),
            (&alive, object(Some("other"), false), true, Claim::Ignore),
            (&alive, object(None, false), true, Claim::Adopt),
            (&alive, object(None, false), false, Claim::Ignore),
            (&alive, object(None, true), true, Claim::Ignore),
            (&dying, object(None, false), true, Claim::Ignore),
        ] {
            assert_eq!(decide(owner, &candidate, matches), expected);
        }
        let mut elsewhere = object(None, false);
        elsewhere.namespace = "other".into();
        assert_eq!(decide(&alive, &elsewhere, true), Claim::Ignore);
    }

    #[test]
    fn patches_name_the_incarnation() {
        let reference = OwnerReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: "j".into(),
            uid: "u".into(),
            ..Default::default()
        };
        assert_eq!(
            adopt_patch(&reference, "p", &["f"]).to_string(),
            r#"{"metadata":{"finalizers":["f"],"ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"j","uid":"u"}],"uid":"p"}}"#
        );
        assert_eq!(
            release_patch("u", "p", &["f"]).to_string(),
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["f"],"ownerReferences":[{"$patch":"delete","uid":"u"}],"uid":"p"}}"#
        );
    }

    #[test]
    fn orphans_are_indexed_by_namespace() {
        assert_eq!(controller_index_key("ns", None), "ns");
        let reference = OwnerReference {
            kind: "ReplicaSet".into(),
            name: "r".into(),
            uid: "u".into(),
            ..Default::default()
        };
        assert_eq!(
            controller_index_key("ns", Some(&reference)),
            "ns/ReplicaSet/r/u"
        );
    }
}

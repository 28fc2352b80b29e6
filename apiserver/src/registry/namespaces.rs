//! Deletion of namespaces: first the namespace is marked Terminating, the namespace controller empties it and takes the
//! `kubernetes` finalizer out of its spec, and only then it goes. Upstream: pkg/registry/core/namespace/storage.

use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::Namespace;
use api_types::meta::v1::{DeleteOptions, ObjectMeta, Preconditions as MetaPreconditions};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};

use super::object::Object;
use super::store::{Deleted, ValidateDelete, Write};
use crate::storage::Preconditions;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// DELETE of a namespace.
pub async fn delete(
    write: &Write<'_>,
    options: &mut DeleteOptions,
    validate: &ValidateDelete<'_>,
) -> Result<(Deleted, bool), StatusError> {
    let object = write.current().await?;
    let metadata = object.metadata().clone();
    let resource = GroupResource::new("", "namespaces");
    let preconditions = exact_preconditions(options, &metadata, &resource)?;
    if metadata.deletion_timestamp.is_none() {
        validate(Arc::new(object)).await?;
        let options = options.clone();
        let marked = write
            .modify(preconditions, move |object| {
                let options = options.clone();
                Box::pin(std::future::ready(Ok(terminating(object, &options))))
            })
            .await?;
        return Ok((Deleted::Object(marked), false));
    }
    // Until its content is gone, asking again changes nothing.
    if object
        .get::<Namespace>()
        .is_some_and(|namespace| !namespace.spec.finalizers.is_empty())
    {
        return Ok((Deleted::Object(object), false));
    }
    write.delete(options, validate).await
}

/// Makes a deletion one of just this object, if it is still the one that the client means.
pub(crate) fn exact_preconditions(
    options: &mut DeleteOptions,
    metadata: &ObjectMeta,
    resource: &GroupResource,
) -> Result<Preconditions, StatusError> {
    let preconditions = options
        .preconditions
        .get_or_insert_with(|| Box::new(MetaPreconditions::default()));
    match &preconditions.uid {
        None => preconditions.uid = Some(metadata.uid.clone()),
        Some(uid) if *uid != metadata.uid => {
            return Err(status::conflict(
                resource,
                &metadata.name,
                format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    metadata.uid
                ),
            ));
        }
        Some(_) => {}
    }
    if let Some(version) = preconditions
        .resource_version
        .as_ref()
        .filter(|version| **version != metadata.resource_version)
    {
        return Err(status::conflict(
            resource,
            &metadata.name,
            format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                metadata.resource_version
            ),
        ));
    }
    Ok(Preconditions {
        uid: preconditions.uid.clone(),
        resource_version: preconditions.resource_version.clone(),
    })
}

fn terminating(mut object: Object, options: &DeleteOptions) -> Object {
    if let Some(namespace) = object.get_mut::<Namespace>() {
        "Terminating".clone_into(&mut namespace.status.phase);
    }
    object.edit_metadata(|metadata| {
        if metadata.deletion_timestamp.is_none() {
            metadata.deletion_timestamp = Some(Time::now());
        }
        let has = |finalizer: &str| metadata.finalizers.iter().any(|have| have == finalizer);
        let policy = options.propagation_policy.as_deref();
        let orphan = options
            .orphan_dependents
            .unwrap_or_else(|| policy.map_or(has(ORPHAN), |policy| policy == "Orphan"));
        let foreground = match options.orphan_dependents {
            Some(_) => false,
            None => policy.map_or(has(FOREGROUND), |policy| policy == "Foreground"),
        };
        for (finalizer, wanted) in [(ORPHAN, orphan), (FOREGROUND, foreground)] {
            if wanted == metadata.finalizers.iter().any(|have| have == finalizer) {
                continue;
            }
            if wanted {
                metadata.finalizers.push(finalizer.to_owned());
            } else {
                metadata.finalizers.retain(|have| have != finalizer);
            }
        }
    });
    object
}

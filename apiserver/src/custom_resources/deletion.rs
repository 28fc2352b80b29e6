//! DELETE of a CRD: the first marks it, with a finalizer that stays until its objects are gone.
//! Upstream: Delete of pkg/registry/customresourcedefinition/etcd.go.

use std::sync::Arc;

use api_types::Time;
use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::meta::v1::DeleteOptions;
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;

use super::conditions::{self, CLEANUP_FINALIZER, TERMINATING, condition};
use crate::registry::namespaces::exact_preconditions;
use crate::registry::object::Object;
use crate::registry::store::{Deleted, ValidateDelete, Write};

pub(crate) async fn delete(
    write: &Write<'_>,
    options: &mut DeleteOptions,
    validate: &ValidateDelete<'_>,
) -> Result<(Deleted, bool), StatusError> {
    let object = write.current().await?;
    let resource = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
    let preconditions = exact_preconditions(options, object.metadata(), &resource)?;
    if object.metadata().deletion_timestamp.is_some() {
        return write.delete(options, validate).await;
    }
    validate(Arc::new(object)).await?;
    let marked = write
        .modify(preconditions, |object| {
            Box::pin(std::future::ready(Ok(terminating(object))))
        })
        .await?;
    Ok((Deleted::Object(marked), false))
}

fn terminating(mut object: Object) -> Object {
    object.edit_metadata(|metadata| {
        metadata.deletion_timestamp.get_or_insert_with(Time::now);
        if !metadata.finalizers.iter().any(|it| it == CLEANUP_FINALIZER) {
            metadata.finalizers.push(CLEANUP_FINALIZER.to_owned());
        }
    });
    if let Some(crd) = object.get_mut::<CustomResourceDefinition>() {
        conditions::set(
            crd,
            condition(
                TERMINATING,
                true,
                "InstanceDeletionPending",
                "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            ),
        );
    }
    object
}

//! Deletes the objects of a CRD that is being deleted, and lets the CRD go when there are none left.
//! Upstream: pkg/controller/finalizer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionCondition};
use api_types::meta::v1::DeleteOptions;
use apimachinery::field::aggregate;
use apimachinery::status::{self, StatusError};
use tokio::time::Instant;

use super::super::conditions::{self, CLEANUP_FINALIZER, ESTABLISHED, TERMINATING, condition};
use crate::handlers::{Endpoint, write};
use crate::loopback::{self, Loopback};
use crate::registry::errors::{Operation, interpret};
use crate::registry::resource::Resource;
use crate::server::ApiServer;
use crate::storage::{Everything, ListOptions};

/// How long objects may take to go, with all their finalizers, before deleting them all is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are gone: soon, then less often.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Resources that CRDs may not empty, as they are stored at the same place: group and plural.
const BUILT_IN: [(&str, &str); 2] = [
    ("apiregistration.k8s.io", "apiservices"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

/// Whether a CRD is being deleted and waits for this.
pub(super) fn is_due(crd: &CustomResourceDefinition) -> bool {
    let metadata = &crd.metadata;
    let mut finalizers = metadata.finalizers.iter();
    metadata.deletion_timestamp.is_some() && finalizers.any(|it| it == CLEANUP_FINALIZER)
}

/// Deletes the objects, then the CRD.
pub(super) async fn run(
    server: &Arc<ApiServer>,
    client: &Loopback,
    name: &str,
) -> Result<(), StatusError> {
    let crd = client.get::<CustomResourceDefinition>("", name).await?;
    let Some(mut crd) = crd.filter(is_due) else {
        return Ok(());
    };
    conditions::set(
        &mut crd,
        condition(
            TERMINATING,
            true,
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
        ),
    );
    let mut crd = client.update_status(crd).await?;
    let names = (&*crd.spec.group, &*crd.spec.names.plural);
    if BUILT_IN.contains(&names) {
        conditions::set(
            &mut crd,
            condition(
                TERMINATING,
                false,
                "OverlappingBuiltInResource",
                "instances overlap with built-in resources in storage",
            ),
        );
    } else if conditions::is_true(&crd, ESTABLISHED) {
        match delete_instances(server, &crd).await {
            Ok(()) => conditions::set(
                &mut crd,
                condition(
                    TERMINATING,
                    false,
                    "InstanceDeletionCompleted",
                    "removed all instances",
                ),
            ),
            Err(failure) => {
                conditions::set(&mut crd, failure.condition);
                client.update_status(crd).await?;
                return Err(failure.error);
            }
        }
    } else {
        conditions::set(
            &mut crd,
            condition(
                TERMINATING,
                false,
                "NeverEstablished",
                "resource was never established",
            ),
        );
    }
    crd.metadata.finalizers.retain(|it| it != CLEANUP_FINALIZER);
    match client.update_status(crd).await {
        Err(error) if !status::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Why objects are still there, and what the CRD says of it.
struct Failure {
    condition: CustomResourceDefinitionCondition,
    error: StatusError,
}

impl Failure {
    fn new(reason: &str, what: &str, error: StatusError) -> Failure {
        let message = format!("{what}: {error}");
        Failure {
            condition: condition(TERMINATING, true, reason, message),
            error,
        }
    }
}

async fn delete_instances(
    server: &Arc<ApiServer>,
    crd: &CustomResourceDefinition,
) -> Result<(), Failure> {
    let not_listed =
        |error| Failure::new("InstanceDeletionFailed", "could not list instances", error);
    let Some(resource) = server.custom_resources.stored_resource(&crd.metadata.name) else {
        let names = (&crd.status.accepted_names.plural, &crd.spec.group);
        return Err(not_listed(status::internal(format!(
            "unable to find a custom resource client for {}.{}",
            names.0, names.1
        ))));
    };
    let endpoint = Endpoint {
        resource: resource.clone(),
        subresource: None,
    };
    let mut errors = BTreeSet::new();
    for (namespace, name) in instances(&resource).await.map_err(not_listed)? {
        if let Err(error) = delete_instance(server, &endpoint, &namespace, &name).await {
            errors.insert(error.to_string());
        }
    }
    if let Some(errors) = aggregate(errors) {
        return Err(Failure::new(
            "InstanceDeletionFailed",
            "could not issue all deletes",
            status::internal(errors),
        ));
    }
    let not_gone = |error| {
        let what = "could not confirm zero CustomResources remaining";
        Failure::new("InstanceDeletionCheck", what, error)
    };
    let start = Instant::now();
    let mut wait = FIRST_LOOK;
    while !instances(&resource).await.map_err(not_gone)?.is_empty() {
        if start.elapsed() > PATIENCE {
            return Err(not_gone(status::internal("context deadline exceeded")));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_LOOK);
    }
    Ok(())
}

/// Namespaces and names of all objects, from etcd itself.
async fn instances(resource: &Resource) -> Result<Vec<(String, String)>, StatusError> {
    let storage = resource.storage()?;
    let failed = |error| interpret(error, Operation::List, &resource.group_resource(), "");
    let scope = storage.scope("", "").map_err(failed)?;
    let list = storage
        .list(&scope, &ListOptions::default(), Arc::new(Everything))
        .await
        .map_err(failed)?;
    let names = list
        .iter()
        .map(|entry| (entry.namespace().to_owned(), entry.name().to_owned()));
    Ok(names.collect())
}

/// Deletes one object. Admission is not asked, as upstream: what it says of objects does not keep a CRD.
async fn delete_instance(
    server: &Arc<ApiServer>,
    endpoint: &Endpoint,
    namespace: &str,
    name: &str,
) -> Result<(), StatusError> {
    let cx = loopback::context("delete", &endpoint.resource, namespace, name);
    let write = write::write_of(server, &cx, endpoint, &*endpoint.resource.strategy, false);
    let deleted = write
        .delete(&mut DeleteOptions::default(), &|_| {
            Box::pin(std::future::ready(Ok(())))
        })
        .await;
    match deleted {
        Err(error) if !status::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

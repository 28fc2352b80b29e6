//! Nothing is made in a namespace that is missing or going away. Upstream: admission/plugin/namespace/{lifecycle,exists,autoprovision}.

use std::collections::HashMap;
use std::time::Duration;

use api_types::core::v1::Namespace;
use api_types::meta::v1::StatusCause;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Settings;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::loopback::LateLoopback;

/// For this long after a deletion was seen, the cached "Active" of a namespace is not believed.
const DOUBT: Duration = Duration::from_secs(30);
/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[derive(Default)]
pub(super) struct NamespaceLifecycle {
    doubted: Mutex<HashMap<String, Instant>>,
}

impl NamespaceLifecycle {
    fn doubt(&self, name: &str) {
        let mut doubted = self.doubted.lock();
        let now = Instant::now();
        doubted.retain(|_, until| *until > now);
        doubted.insert(name.to_owned(), now + DOUBT);
    }

    fn is_doubted(&self, name: &str) -> bool {
        self.doubted
            .lock()
            .get(name)
            .is_some_and(|until| *until > Instant::now())
    }
}

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(
            operation,
            Operation::Create | Operation::Update | Operation::Delete
        )
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if attributes.is("", "namespaces") {
                if attributes.operation == Operation::Delete {
                    if IMMORTAL.contains(&attributes.name.as_str()) {
                        return Err(attributes.forbidden("this namespace may not be deleted"));
                    }
                    self.doubt(&attributes.name);
                }
                return Ok(());
            }
            // Deletion goes on in a namespace that is going away; reviews are not stored.
            if attributes.namespace.is_empty()
                || attributes.operation == Operation::Delete
                || attributes.is("authorization.k8s.io", "localsubjectaccessreviews")
            {
                return Ok(());
            }
            let mut namespace = find(&attributes.namespace, Freshness::Cached, cluster).await?;
            let believed = namespace.as_ref().is_some_and(|namespace| {
                namespace.status.phase != "Active" || !self.is_doubted(&attributes.namespace)
            });
            if !believed {
                namespace = find(&attributes.namespace, Freshness::Consistent, cluster).await?;
            }
            let Some(namespace) = namespace else {
                return Err(not_found(&attributes.namespace));
            };
            if attributes.operation == Operation::Create && namespace.status.phase == "Terminating"
            {
                let name = &attributes.namespace;
                let refused = attributes.forbidden(format!("unable to create new content in namespace {name} because it is being terminated"));
                return Err(refused.with_cause(StatusCause {
                    reason: "NamespaceTerminating".to_owned(),
                    message: format!("namespace {name} is being terminated"),
                    field: "metadata.namespace".to_owned(),
                }));
            }
            Ok(())
        })
    }
}

pub(super) async fn find(
    name: &str,
    freshness: Freshness,
    cluster: &dyn Cluster,
) -> Result<Option<Namespace>, StatusError> {
    Ok(cluster
        .get("", "namespaces", "", name, freshness)
        .await?
        .and_then(|object| object.get::<Namespace>().cloned()))
}

fn not_found(name: &str) -> StatusError {
    status::not_found(
        &GroupResource {
            group: String::new(),
            resource: "namespaces".to_owned(),
        },
        name,
    )
}

/// Makes the namespace that an object is created in.
pub(super) struct NamespaceAutoProvision(LateLoopback);

impl NamespaceAutoProvision {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(settings.client.clone())
    }
}

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let name = &attributes.namespace;
            if attributes.dry_run || name.is_empty() || attributes.is("", "namespaces") {
                return Ok(());
            }
            if find(name, Freshness::Cached, cluster).await?.is_some() {
                return Ok(());
            }
            let Some(client) = self.0.get() else {
                return Err(attributes.forbidden("not yet ready to handle request"));
            };
            let mut namespace = Namespace::default();
            namespace.metadata.name.clone_from(name);
            let made = client.ensure(namespace).await;
            made.map_err(|error| attributes.forbidden(&error.message))
        })
    }
}

/// Refuses whatever names a namespace that does not exist.
pub(super) struct NamespaceExists;

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(
            operation,
            Operation::Create | Operation::Update | Operation::Delete
        )
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if attributes.namespace.is_empty() || attributes.is("", "namespaces") {
                return Ok(());
            }
            match find(&attributes.namespace, Freshness::Consistent, cluster).await? {
                Some(_) => Ok(()),
                None => Err(not_found(&attributes.namespace)),
            }
        })
    }
}

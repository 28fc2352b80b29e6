//! Empties terminating namespaces, pods first, and lets them go. Upstream: pkg/controller/namespace.

/// Status conditions that tell what still stands in the way.
mod conditions;
/// Deleting everything in one namespace.
mod deletion;

use std::time::Duration;

use api_types::core::v1::Namespace;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use client::{Lister, ObjectKey};

use self::deletion::{Deleter, Progress};
use super::{Backoff, BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change_resynced};
use crate::runner::Queue;

/// Time for other apiservers to learn of a namespace's deletion, and for other etcd members to show its last objects.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The namespace-controller. Its keys are names of namespaces.
pub struct NamespaceController {
    namespaces: Lister<Namespace>,
    deleter: Deleter,
}

impl Controller for NamespaceController {
    const NAME: &'static str = "namespace-controller";
    const ALIASES: &'static [&'static str] = &["namespace"];
    const SERVICE_ACCOUNT: &'static str = "namespace-controller";
    const QUEUE: &'static str = "namespace";
    /// Faster than others: deletion is tried again at least every minute.
    const BACKOFF: Backoff = Backoff {
        max: Duration::from_secs(60),
        ..Backoff::DEFAULT
    };
    type Key = String;

    async fn build(setup: &Setup, queue: &Queue<String>) -> Result<Option<Self>, BuildError> {
        let namespaces = setup.informer::<Namespace>();
        let to = queue.clone();
        let resync = setup
            .config()
            .namespace_controller
            .namespace_sync_period
            .as_std();
        on_change_resynced(&namespaces, resync, move |change| match change {
            Change::Added(namespace, _) | Change::Updated(_, namespace)
                if namespace.metadata.deletion_timestamp.is_some() =>
            {
                to.add_after(namespace.metadata.name.clone(), GRACE_PERIOD)
            }
            _ => {}
        });
        // Emptying one namespace takes several requests for each resource: the usual limits would make that slow.
        let limits = &setup.client.config();
        let client = setup
            .client
            .with_rate_limit(limits.qps * 20.0, limits.burst.saturating_mul(100));
        Ok(Some(Self {
            namespaces: namespaces.lister(),
            deleter: Deleter::new(client, setup.clock()),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.namespace_controller.concurrent_namespace_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &String) -> Result<Next, SyncError> {
        if self
            .namespaces
            .get(&ObjectKey::cluster(key.as_str()))
            .is_none()
        {
            tracing::info!(namespace = key, "Namespace has been deleted");
            return Ok(Next::Done);
        }
        match self.deleter.delete(key).await? {
            Progress::Done => Ok(Next::Done),
            Progress::Remaining { estimate } => {
                let wait = estimate / 2 + 1;
                tracing::debug!(
                    namespace = key,
                    wait_seconds = wait,
                    "Content remaining in namespace"
                );
                Ok(Next::After(Duration::from_secs(wait.unsigned_abs())))
            }
        }
    }
}

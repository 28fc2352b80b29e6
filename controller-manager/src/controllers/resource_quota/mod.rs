//! Counts what namespaces use of their ResourceQuotas. Upstream: pkg/controller/resourcequota and pkg/quota/v1.
//!
//! Admission raises usage as objects come; this controller lowers it as they go, and counts anew now and then. The counting itself is
//! shared with admission (apimachinery::quota).

mod count;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api_types::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, ResourceQuota, Service};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::ListOptions;
use api_types::resource::v1::{DeviceClass, ResourceClaim};
use apimachinery::quota::{self, Amounts, Counted, DeviceClasses};
use client::{Client, GroupResource, GroupVersionResource, Lister, ObjectKey, SharedInformer};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::count::Caches;
use super::controller_ref::key_of;
use super::{Backoff, BuildError, Controller, Next, SyncError, pod_state};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

/// How often discovery is asked for countable resources.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

/// The resourcequota-controller. Its keys are ResourceQuotas.
pub struct ResourceQuotaController {
    client: Client,
    discovery: Client,
    clock: Clock,
    quotas: Lister<ResourceQuota>,
    caches: Caches,
    queue: Queue<ObjectKey>,
    /// Quotas whose status was never right: they go before the others.
    priority: Queue<ObjectKey>,
    /// Resources that quotas of the form `count/...` may name.
    countable: Mutex<BTreeMap<GroupResource, GroupVersionResource>>,
    period: Duration,
    workers: usize,
}

impl Controller for ResourceQuotaController {
    const NAME: &'static str = "resourcequota-controller";
    const ALIASES: &'static [&'static str] = &["resourcequota"];
    const SERVICE_ACCOUNT: &'static str = "resourcequota-controller";
    const QUEUE: &'static str = "resourcequota_primary";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let priority: Queue<ObjectKey> = setup.queue("resourcequota_priority", Backoff::DEFAULT);
        let quotas = setup.informer::<ResourceQuota>();
        let (to, first) = (queue.clone(), priority.clone());
        on_change(&quotas, move |change| {
            let quota = match change {
                Change::Added(quota, _) => quota,
                Change::Updated(old, new) if old.spec.hard != new.spec.hard => new,
                Change::Updated(..) => return,
                Change::Deleted(quota) => return to.add(key_of(&quota.metadata)),
            };
            let key = key_of(&quota.metadata);
            if lacks_usage(quota) {
                first.add(key);
            } else {
                to.add(key);
            }
        });
        let pods = setup.informer::<Pod>();
        let (to, known) = (queue.clone(), quotas.lister());
        on_change(&pods, move |change| match change {
            Change::Deleted(pod) => replenish(&known, &to, &pod.metadata.namespace, "", "pods"),
            Change::Updated(old, new) if frees(old, new) => {
                replenish(&known, &to, &new.metadata.namespace, "", "pods")
            }
            _ => {}
        });
        let services = setup.informer::<Service>();
        let (to, known) = (queue.clone(), quotas.lister());
        on_change(&services, move |change| match change {
            Change::Deleted(service) => {
                replenish(&known, &to, &service.metadata.namespace, "", "services")
            }
            Change::Updated(old, new)
                if old.spec.type_ != new.spec.type_
                    || old.spec.ports.len() != new.spec.ports.len() =>
            {
                replenish(&known, &to, &new.metadata.namespace, "", "services")
            }
            _ => {}
        });
        let claims = setup.informer::<PersistentVolumeClaim>();
        let (to, known) = (queue.clone(), quotas.lister());
        on_change(&claims, move |change| match change {
            Change::Deleted(claim) => replenish(
                &known,
                &to,
                &claim.metadata.namespace,
                "",
                "persistentvolumeclaims",
            ),
            Change::Updated(old, new)
                if old.spec.resources != new.spec.resources
                    || quota::volume_status_counts(old, new) =>
            {
                replenish(
                    &known,
                    &to,
                    &new.metadata.namespace,
                    "",
                    "persistentvolumeclaims",
                )
            }
            _ => {}
        });
        // Nobody waits for these caches: their API group may be switched off.
        let device_claims = setup.context.informers.informer::<ResourceClaim>();
        let device_classes = setup
            .enabled("DRAExtendedResource")
            .then(|| setup.context.informers.informer::<DeviceClass>());
        let (to, known) = (queue.clone(), quotas.lister());
        let classes = device_classes.as_ref().map(SharedInformer::lister);
        on_change(&device_claims, move |change| {
            if let Change::Deleted(claim) = change {
                let namespace = &claim.metadata.namespace;
                let classes = classes.as_ref().map(device_classes_of);
                let limits = |name: &str| {
                    let (group, resource) = ("resource.k8s.io", "resourceclaims");
                    quota::limits_resource(name, group, resource, classes.as_ref())
                };
                replenish_where(&known, &to, namespace, limits);
            }
        });
        let caches = Caches {
            pods: pods.lister(),
            services: services.lister(),
            volume_claims: claims.lister(),
            device_claims: device_claims.lister(),
            device_classes: device_classes.as_ref().map(SharedInformer::lister),
            has_devices: Box::new(move || {
                let classes = device_classes.as_ref();
                device_claims.has_synced() && classes.is_none_or(SharedInformer::has_synced)
            }),
        };
        let discovery = setup
            .context
            .clients
            .discovery_client(Self::SERVICE_ACCOUNT)
            .await?;
        Ok(Some(Self {
            client: setup.client.clone(),
            discovery,
            clock: setup.clock(),
            quotas: quotas.lister(),
            caches,
            queue: queue.clone(),
            priority,
            countable: Mutex::default(),
            period: setup
                .config()
                .resource_quota_controller
                .resource_quota_sync_period
                .as_std(),
            workers: Self::workers(setup.config()),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(
            config
                .resource_quota_controller
                .concurrent_resource_quota_syncs,
        )
        .unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(quota) = self.quotas.get(key) else {
            return Ok(Next::Done);
        };
        let mut errors = Vec::new();
        let counted = match self.count(&quota).await {
            Ok(counted) => counted,
            Err((counted, error)) => {
                errors.push(error);
                counted
            }
        };
        if let Some(status) = new_status(&quota, &counted) {
            let mut changed = (*quota).clone();
            changed.status = status;
            let api = self
                .client
                .namespaced::<ResourceQuota>(key.namespace.as_str());
            if let Err(error) = api.update_status(&changed).await {
                errors.push(error.into());
            }
        }
        SyncError::aggregate(errors)?;
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let first = work(
            Self::NAME,
            &self.priority,
            self.workers,
            &stop,
            |key: ObjectKey| async move { self.sync(&key).await },
        );
        let all = async {
            if self.period.is_zero() {
                tracing::info!("periodic quota controller resync disabled");
                return;
            }
            let mut tick = tokio::time::interval(self.period);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                for quota in self.quotas.list() {
                    self.queue.add(key_of(&quota.metadata));
                }
            }
        };
        let discover = async {
            let mut tick = tokio::time::interval(DISCOVERY_PERIOD);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                if stop.run_until_cancelled(self.discover()).await.is_none() {
                    break;
                }
            }
        };
        futures::future::join3(first, all, discover).await;
    }
}

/// The status has not the limits of the spec, or no usage for one of them.
fn lacks_usage(quota: &ResourceQuota) -> bool {
    quota.spec.hard != quota.status.hard
        || quota
            .status
            .hard
            .keys()
            .any(|name| !quota.status.used.contains_key(name))
}

/// Counts anew the quotas of a namespace that limit a resource.
fn replenish(
    quotas: &Lister<ResourceQuota>,
    queue: &Queue<ObjectKey>,
    namespace: &str,
    group: &str,
    resource: &str,
) {
    let limits = |name: &str| quota::limits_resource(name, group, resource, None);
    replenish_where(quotas, queue, namespace, limits);
}

/// Counts anew the quotas of a namespace with such a limit.
fn replenish_where(
    quotas: &Lister<ResourceQuota>,
    queue: &Queue<ObjectKey>,
    namespace: &str,
    is_of_interest: impl Fn(&str) -> bool,
) {
    for quota in quotas.list_namespace(namespace) {
        if quota.status.hard.keys().any(|name| is_of_interest(name)) {
            queue.add(key_of(&quota.metadata));
        }
    }
}

fn device_classes_of(classes: &Lister<DeviceClass>) -> DeviceClasses {
    DeviceClasses::of(classes.list().iter().map(|class| &**class))
}

/// The pod may use less than before, or count for other quotas: it has ended, was resized, or is to end at some time.
fn frees(old: &Pod, new: &Pod) -> bool {
    let ended = !pod_state::is_terminal(old) && pod_state::is_terminal(new);
    let terminating =
        old.metadata.deletion_timestamp.is_none() && new.metadata.deletion_timestamp.is_some();
    let resources = |pod: &Pod| {
        pod.spec
            .containers
            .iter()
            .map(|container| container.resources.clone())
            .collect::<Vec<_>>()
    };
    let in_use = |pod: &Pod| {
        let statuses = &pod.status;
        let all = statuses.container_statuses.iter();
        all.chain(&statuses.init_container_statuses)
            .map(|status: &ContainerStatus| (status.name.clone(), status.resources.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    ended
        || terminating
        || quota::is_terminating(old) != quota::is_terminating(new)
        || resources(old) != resources(new)
        || in_use(old) != in_use(new)
}

/// The status to write, unless it is so already. What could not be counted keeps its last usage.
fn new_status(
    quota: &ResourceQuota,
    counted: &Amounts,
) -> Option<api_types::core::v1::ResourceQuotaStatus> {
    let hard = quota.spec.hard.clone();
    let mut used = quota.status.used.clone();
    used.extend(
        counted
            .iter()
            .map(|(name, amount)| (name.clone(), amount.clone())),
    );
    used.retain(|name, _| hard.contains_key(name));
    let status = api_types::core::v1::ResourceQuotaStatus { hard, used };
    (status != quota.status).then_some(status)
}

impl ResourceQuotaController {
    async fn discover(&self) {
        let served = match self.discovery.discovery().preferred_resources().await {
            Ok(served) => served,
            Err(error) => {
                tracing::error!(%error, "Error during resource discovery");
                return;
            }
        };
        let failed: BTreeSet<String> = served
            .failed
            .iter()
            .map(|(version, _)| version.to_string())
            .collect();
        let mut found: BTreeMap<GroupResource, GroupVersionResource> = served
            .with_verbs(&["create", "list", "watch", "delete"])
            .into_iter()
            .filter(|(name, resource)| {
                resource.namespaced && !quota::is_ignored(&name.group, &name.resource)
            })
            .map(|(resource, _)| (resource.group_resource(), resource))
            .collect();
        let mut countable = self.countable.lock();
        for (name, resource) in countable.iter() {
            if failed.contains(&resource.group_version().to_string()) {
                found
                    .entry(name.clone())
                    .or_insert_with(|| resource.clone());
            }
        }
        *countable = found;
    }

    /// What the quota's limits are used of. On failure, what could be counted.
    async fn count(&self, quota: &ResourceQuota) -> Result<Amounts, (Amounts, SyncError)> {
        let namespace = quota.metadata.namespace.as_str();
        let mut count = self.caches.count(quota, self.clock.now_time());
        let others: Vec<GroupVersionResource> = self
            .countable
            .lock()
            .values()
            .filter(|resource| !Caches::hold(&resource.group, &resource.resource))
            .cloned()
            .collect();
        for resource in others {
            let (group, name) = (&resource.group, &resource.resource);
            if !count.begin(group, name) {
                continue;
            }
            let list = self
                .client
                .metadata(resource.clone(), Some(namespace))
                .list_all(&ListOptions::default())
                .await;
            match list {
                Ok(list) => {
                    for _ in &list.items {
                        count.add(group, name, Counted::Other);
                    }
                }
                Err(error) => count.fail(group, name, error.into()),
            }
        }
        count.finish()
    }
}

#[cfg(test)]
mod tests {
    use api_types::Quantity;

    use super::*;

    fn amounts(of: &[(&str, &str)]) -> Amounts {
        of.iter()
            .map(|(name, amount)| ((*name).to_owned(), Quantity::parse(amount).unwrap()))
            .collect()
    }

    fn quota(
        hard: &[(&str, &str)],
        status_hard: &[(&str, &str)],
        used: &[(&str, &str)],
    ) -> ResourceQuota {
        let mut quota = ResourceQuota::default();
        quota.spec.hard = amounts(hard);
        quota.status.hard = amounts(status_hard);
        quota.status.used = amounts(used);
        quota
    }

    #[test]
    fn statuses() {
        let check =
            |quota: &ResourceQuota, counted: &[(&str, &str)], expected: Option<&[(&str, &str)]>| {
                let status = new_status(quota, &amounts(counted));
                assert_eq!(
                    status.as_ref().map(|status| status.used.clone()),
                    expected.map(amounts)
                );
                assert!(status.is_none_or(|status| status.hard == quota.spec.hard));
            };
        let fresh = quota(&[("pods", "5"), ("cpu", "2")], &[], &[]);
        check(
            &fresh,
            &[("pods", "1"), ("cpu", "500m")],
            Some(&[("pods", "1"), ("cpu", "500m")]),
        );
        let right = quota(&[("pods", "5")], &[("pods", "5")], &[("pods", "1")]);
        check(&right, &[("pods", "1")], None);
        check(&right, &[("pods", "2")], Some(&[("pods", "2")]));
        check(&right, &[], None);
        let fewer = quota(
            &[("pods", "5")],
            &[("pods", "5"), ("cpu", "2")],
            &[("pods", "1"), ("cpu", "1")],
        );
        check(&fewer, &[("pods", "1")], Some(&[("pods", "1")]));
    }

    #[test]
    fn new_quotas_go_first() {
        assert!(lacks_usage(&quota(&[("pods", "5")], &[], &[])));
        assert!(lacks_usage(&quota(&[("pods", "5")], &[("pods", "5")], &[])));
        assert!(!lacks_usage(&quota(
            &[("pods", "5")],
            &[("pods", "5")],
            &[("pods", "0")]
        )));
    }

    #[test]
    fn pods_that_change_what_they_count_for() {
        let old = Pod::default();
        assert!(!frees(&old, &old));
        let mut ending = old.clone();
        ending.spec.active_deadline_seconds = Some(5);
        assert!(frees(&old, &ending));
        let mut resized = old.clone();
        let mut status = ContainerStatus::default();
        resized.status.container_statuses.push(status.clone());
        status.resources = Some(Box::default());
        let before = resized.clone();
        resized.status.container_statuses[0] = status;
        assert!(frees(&before, &resized));
    }
}

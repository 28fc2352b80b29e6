//! Counts what namespaces use of their ResourceQuotas. Upstream: pkg/controller/resourcequota and pkg/quota/v1.
//!
//! Admission raises usage as objects come; this controller lowers it as they go, and counts anew now and then. The counting itself is
//! shared with admission (apimachinery::quota).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api_types::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::ListOptions;
use api_types::{Quantity, Time};
use apimachinery::quota::{self, Counted};
use client::{Client, GroupResource, GroupVersionResource, Lister, ObjectKey};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::controller_ref::key_of;
use super::{Backoff, BuildError, Controller, Next, SyncError, pod_state};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

type Amounts = BTreeMap<String, Quantity>;

/// How often discovery is asked for countable resources.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

/// The resourcequota-controller. Its keys are ResourceQuotas.
pub struct ResourceQuotaController {
    client: Client,
    discovery: Client,
    clock: Clock,
    quotas: Lister<ResourceQuota>,
    pods: Lister<Pod>,
    services: Lister<Service>,
    claims: Lister<PersistentVolumeClaim>,
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
            Change::Updated(old, new) if old.spec.resources != new.spec.resources => replenish(
                &known,
                &to,
                &new.metadata.namespace,
                "",
                "persistentvolumeclaims",
            ),
            _ => {}
        });
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
            pods: pods.lister(),
            services: services.lister(),
            claims: claims.lister(),
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
    for quota in quotas.list_namespace(namespace) {
        if quota
            .status
            .hard
            .keys()
            .any(|name| quota::limits_resource(name, group, resource))
        {
            queue.add(key_of(&quota.metadata));
        }
    }
}

/// The pod uses less than before: it has ended, or was made smaller.
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
    ended || terminating || resources(old) != resources(new)
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
            .filter(|(_, resource)| resource.namespaced)
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
        let hard: BTreeSet<&str> = quota.spec.hard.keys().map(String::as_str).collect();
        let namespace = quota.metadata.namespace.as_str();
        let now = self.clock.now_time();
        let limited = |group: &str, resource: &str| {
            hard.iter()
                .any(|name| quota::limits_resource(name, group, resource))
        };
        let mut total = Amounts::new();
        let mut add = |usage: Amounts| total = quota::add(&total, &usage);
        if limited("", "pods") {
            add(zero(&hard, "", "pods"));
            for pod in self.pods.list_namespace(namespace) {
                add(usage(quota, "", "pods", Counted::Pod(&pod), now));
            }
        }
        if limited("", "services") {
            add(zero(&hard, "", "services"));
            for service in self.services.list_namespace(namespace) {
                add(usage(
                    quota,
                    "",
                    "services",
                    Counted::Service(&service),
                    now,
                ));
            }
        }
        if limited("", "persistentvolumeclaims") {
            add(zero(&hard, "", "persistentvolumeclaims"));
            for claim in self.claims.list_namespace(namespace) {
                add(usage(
                    quota,
                    "",
                    "persistentvolumeclaims",
                    Counted::PersistentVolumeClaim(&claim),
                    now,
                ));
            }
        }
        let known = ["pods", "services", "persistentvolumeclaims"];
        let others: Vec<GroupVersionResource> = self
            .countable
            .lock()
            .values()
            .filter(|resource| {
                !(resource.group.is_empty() && known.contains(&resource.resource.as_str()))
                    && limited(&resource.group, &resource.resource)
            })
            .cloned()
            .collect();
        let mut failure = None;
        for resource in others {
            let list = self
                .client
                .metadata(resource.clone(), Some(namespace))
                .list_all(&ListOptions::default())
                .await;
            match list {
                Ok(list) => {
                    add(zero(&hard, &resource.group, &resource.resource));
                    for _ in &list.items {
                        add(usage(
                            quota,
                            &resource.group,
                            &resource.resource,
                            Counted::Other,
                            now,
                        ));
                    }
                }
                Err(error) => failure = Some(error.into()),
            }
        }
        let counted = quota::mask(&total, |name| hard.contains(name));
        match failure {
            None => Ok(counted),
            Some(error) => Err((counted, error)),
        }
    }
}

/// Nothing, of each limit that the resource falls under.
fn zero(hard: &BTreeSet<&str>, group: &str, resource: &str) -> Amounts {
    hard.iter()
        .filter(|name| quota::limits_resource(name, group, resource))
        .map(|name| ((*name).to_owned(), Quantity::default()))
        .collect()
}

/// What one object uses, if it is in the quota's scopes.
fn usage(
    quota: &ResourceQuota,
    group: &str,
    resource: &str,
    object: Counted<'_>,
    now: Time,
) -> Amounts {
    if quota::in_scope(quota, object) {
        quota::usage(group, resource, object, now)
    } else {
        Amounts::new()
    }
}

#[cfg(test)]
mod tests {
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
    fn limits_without_objects_are_used_by_nothing() {
        let hard = BTreeSet::from(["pods", "count/configmaps", "requests.cpu"]);
        assert_eq!(
            zero(&hard, "", "configmaps"),
            amounts(&[("count/configmaps", "0")])
        );
        assert!(zero(&hard, "", "pods").contains_key("requests.cpu"));
    }
}

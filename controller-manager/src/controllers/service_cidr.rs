//! Readies ServiceCIDRs and keeps those that Services use from being deleted (KEP-1880). Upstream: pkg/controller/servicecidrs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::PatchOptions;
use api_types::networking::v1::{IPAddress, ServiceCIDR};
use client::{Client, EventRecorder, Lister, ObjectKey, Patch, object_reference};
use ipnet::IpNet;
use serde_json::json;

use super::controller_ref::key_of;
use super::{BuildError, Controller, Default as DefaultState, Next, SyncError};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Time for allocators to learn of a deletion before the range goes.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// The service-cidr-controller. Its keys are ServiceCIDRs.
pub struct ServiceCidrController {
    client: Client,
    recorder: EventRecorder,
    clock: Clock,
    ranges: Lister<ServiceCIDR>,
    addresses: Lister<IPAddress>,
}

impl Controller for ServiceCidrController {
    const NAME: &'static str = "service-cidr-controller";
    const DEFAULT: DefaultState = DefaultState::Gated(&["MultiCIDRServiceAllocator"]);
    const SERVICE_ACCOUNT: &'static str = "service-cidrs-controller";
    const QUEUE: &'static str = "ipaddresses";
    const MAX_RETRIES: Option<u32> = Some(15);
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let ranges = setup.informer::<ServiceCIDR>();
        let (to, known) = (queue.clone(), ranges.lister());
        on_change(&ranges, move |change| {
            let range = change.object();
            to.add(key_of(&range.metadata));
            if let Change::Added(..) = change {
                for other in known.list() {
                    if prefixes(&other)
                        .any(|other| prefixes(range).any(|range| overlap(other, range)))
                    {
                        to.add(key_of(&other.metadata));
                    }
                }
            }
        });
        let addresses = setup.informer::<IPAddress>();
        let (to, known) = (queue.clone(), ranges.lister());
        on_change(&addresses, move |change| {
            if matches!(change, Change::Updated(..)) || !is_allocated(change.object()) {
                return;
            }
            if let Ok(ip) = change.object().metadata.name.parse() {
                for range in containing(&known.list(), ip) {
                    to.add(key_of(&range.metadata));
                }
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder(Self::NAME),
            clock: setup.clock(),
            ranges: ranges.lister(),
            addresses: addresses.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        5
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(range) = self.ranges.get(key) else {
            return Ok(Next::Done);
        };
        let has_finalizer = range
            .metadata
            .finalizers
            .iter()
            .any(|finalizer| finalizer == FINALIZER);
        if let Some(deleted) = range.metadata.deletion_timestamp {
            if !can_delete(&range, &self.ranges.list(), &self.addresses.list()) {
                let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
                self.set_ready(&range, "False", "Terminating", message)
                    .await?;
                return Ok(Next::Done);
            }
            let since = self.clock.now().duration_since(deleted.timestamp());
            let left = GRACE_PERIOD.saturating_sub(Duration::try_from(since).unwrap_or_default());
            if !left.is_zero() {
                return Ok(Next::After(left));
            }
            if has_finalizer {
                self.patch(
                    key,
                    &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}),
                )
                .await?;
            }
            return Ok(Next::Done);
        }
        if !has_finalizer {
            self.patch(key, &json!({"metadata": {"finalizers": [FINALIZER]}}))
                .await?;
        }
        if let Err(error) = self
            .set_ready(&range, "True", "", "Kubernetes Service CIDR is ready")
            .await
        {
            let message = "The ServiceCIDR Status can not be set to Ready=True";
            self.recorder.event(
                &object_reference(&*range),
                "Warning",
                "KubernetesServiceCIDRError",
                message,
            );
            return Err(error);
        }
        Ok(Next::Done)
    }
}

impl ServiceCidrController {
    async fn patch(&self, key: &ObjectKey, patch: &serde_json::Value) -> Result<(), SyncError> {
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        let api = self.client.api::<ServiceCIDR>();
        match api.patch(&key.name, &patch, &PatchOptions::default()).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn set_ready(
        &self,
        range: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), SyncError> {
        let current = range
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        if current.is_some_and(|current| {
            current.status == status && current.reason == reason && current.message == message
        }) {
            return Ok(());
        }
        let apply = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": range.metadata.name},
            "status": {"conditions": [{
                "type": "Ready",
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": self.clock.now_time().to_string(),
            }]},
        });
        let options = PatchOptions {
            field_manager: Self::NAME.to_owned(),
            force: Some(true),
            ..Default::default()
        };
        let patch = Patch::Apply(apply.to_string().into_bytes());
        let api = self.client.api::<ServiceCIDR>();
        api.patch_status(&range.metadata.name, &patch, &options)
            .await?;
        Ok(())
    }
}

fn is_allocated(address: &IPAddress) -> bool {
    address
        .metadata
        .labels
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == ALLOCATOR)
}

fn prefixes(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> + '_ {
    range.spec.cidrs.iter().filter_map(|cidr| cidr.parse().ok())
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The ranges that may give an address, those being deleted among them.
fn containing(ranges: &[Arc<ServiceCIDR>], ip: IpAddr) -> Vec<&Arc<ServiceCIDR>> {
    ranges
        .iter()
        .filter(|range| prefixes(range).any(|prefix| is_usable(prefix, ip)))
        .collect()
}

/// The first address of a range, and an IPv4 range's last one, are never given.
fn is_usable(prefix: IpNet, ip: IpAddr) -> bool {
    prefix.contains(&ip) && ip != prefix.network() && !(ip.is_ipv4() && ip == prefix.broadcast())
}

/// No Service would lose its address.
fn can_delete(
    range: &ServiceCIDR,
    ranges: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
) -> bool {
    let is_other = |other: &&Arc<ServiceCIDR>| other.metadata.name != range.metadata.name;
    let has_parent = prefixes(range).all(|prefix| {
        ranges
            .iter()
            .filter(is_other)
            .any(|other| prefixes(other).any(|other| other.contains(&prefix)))
    });
    if has_parent {
        return true;
    }
    let families: BTreeSet<bool> = prefixes(range)
        .map(|prefix| prefix.network().is_ipv4())
        .collect();
    !addresses
        .iter()
        .filter(|address| is_allocated(address))
        .any(|address| {
            let Ok(ip) = address.metadata.name.parse::<IpAddr>() else {
                return false;
            };
            let found = containing(ranges, ip);
            families.contains(&ip.is_ipv4())
                && found.len() == 1
                && found
                    .iter()
                    .all(|found| found.metadata.name == range.metadata.name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidrs: &[&str]) -> Arc<ServiceCIDR> {
        let mut range = ServiceCIDR::default();
        range.metadata.name = name.into();
        range.spec.cidrs = cidrs.iter().map(|cidr| (*cidr).into()).collect();
        Arc::new(range)
    }

    fn address(ip: &str, allocated: bool) -> Arc<IPAddress> {
        let mut address = IPAddress::default();
        address.metadata.name = ip.into();
        if allocated {
            address
                .metadata
                .labels
                .insert(MANAGED_BY.into(), ALLOCATOR.into());
        }
        Arc::new(address)
    }

    #[test]
    fn ranges_in_use_stay() {
        let check = |others: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>], expected: bool| {
            let ours = range("ours", &["10.0.0.0/24"]);
            let all = [std::slice::from_ref(&ours), others].concat();
            assert_eq!(can_delete(&ours, &all, addresses), expected);
        };
        check(&[], &[], true);
        check(&[], &[address("10.0.0.5", true)], false);
        check(&[], &[address("10.0.0.5", false)], true);
        check(&[], &[address("10.1.0.5", true)], true);
        check(&[], &[address("10.0.0.0", true)], true);
        check(
            &[range("parent", &["10.0.0.0/16"])],
            &[address("10.0.0.5", true)],
            true,
        );
        check(
            &[range("same", &["10.0.0.0/24"])],
            &[address("10.0.0.5", true)],
            true,
        );
        check(
            &[range("part", &["10.0.0.0/28"])],
            &[address("10.0.0.5", true)],
            true,
        );
        check(
            &[range("part", &["10.0.0.0/28"])],
            &[address("10.0.0.50", true)],
            false,
        );
        check(
            &[range("six", &["fd00::/64"])],
            &[address("fd00::5", true)],
            true,
        );
    }
}

//! Cluster IPs: a Service's address has an IPAddress that refers to the Service, and an IPAddress that was made for a Service has
//! one that has the address. Upstream: ipallocator/controller/repairip.go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Service;
use api_types::networking::v1::{IPAddress, ParentReference, ServiceCIDR};
use apimachinery::status::{self, StatusError};
use client::record::{EventRecorder, object_reference};
use client::workqueue::RateLimitingQueue;
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{INTERVAL, RETRY, recorder};
use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow};
use crate::registry::service::ip_addresses::{address_of, has_labels, is_managed};
use crate::server::ApiServer;

const CONTROLLER: &str = "ipallocator-repair-controller";
const DEFAULT_CIDR: &str = "kubernetes";
/// How often a key is tried that fails.
const MAX_RETRIES: u32 = 15;
/// An address is taken before its Service is written: requests have this long.
const GRACE: Duration = Duration::from_secs(60);
/// And give back what they have taken in this time, when it was for nothing.
const REVERT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Service(String, String),
    Address(String),
}

pub(super) fn start(
    server: &Arc<ApiServer>,
    client: &Loopback,
    looked: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let resources = &server.resources;
    let (Some(services), Some(addresses)) = (
        resources.get("", "v1", "services"),
        resources.get("networking.k8s.io", "v1", "ipaddresses"),
    ) else {
        return;
    };
    let queue = Arc::new(RateLimitingQueue::new());
    let synced = watch::Sender::new((false, false));
    let (told, told_synced) = (queue.clone(), synced.clone());
    follow::<Service>(services, stop.clone(), move |change| match change {
        Change::Set(service) => {
            let metadata = service.metadata;
            told.add(Key::Service(metadata.namespace, metadata.name));
        }
        Change::Gone { .. } => {}
        Change::Synced => told_synced.send_modify(|synced| synced.0 = true),
    });
    let (told, told_synced) = (queue.clone(), synced.clone());
    follow::<IPAddress>(addresses, stop.clone(), move |change| match change {
        Change::Set(address) => told.add(Key::Address(address.metadata.name)),
        Change::Gone { .. } => {}
        Change::Synced => told_synced.send_modify(|synced| synced.1 = true),
    });
    let repair = Repair {
        client: client.clone(),
        recorder: recorder(server, client, CONTROLLER),
        queue,
    };
    tokio::spawn(async move {
        let mut synced = synced.subscribe();
        tokio::select! {
            () = stop.cancelled() => {}
            () = async {
                // The sender lives as long as this.
                let _ = synced.wait_for(|synced| *synced == (true, true)).await;
                repair.work(looked).await;
            } => {}
        }
    });
}

struct Repair {
    client: Loopback,
    recorder: EventRecorder,
    queue: Arc<RateLimitingQueue<Key>>,
}

impl Repair {
    async fn work(&self, looked: mpsc::Sender<()>) {
        while let Err(error) = self.look_at_everything().await {
            tracing::error!(%error, "Unable to repair the cluster IPs yet");
            tokio::time::sleep(RETRY).await;
        }
        drop(looked);
        let start = tokio::time::Instant::now() + INTERVAL;
        let mut again = tokio::time::interval_at(start, INTERVAL);
        loop {
            let key = tokio::select! {
                key = self.queue.get() => key,
                _ = again.tick() => {
                    self.everything().into_iter().for_each(|key| self.queue.add(key));
                    continue;
                }
            };
            let Some(key) = key else { return };
            match self.sync(&key).await {
                Ok(()) => self.queue.forget(&key),
                Err(error) if self.queue.num_requeues(&key) < MAX_RETRIES => {
                    tracing::debug!(?key, %error, "Unable to repair a cluster IP, retrying");
                    self.queue.add_rate_limited(key.clone());
                }
                Err(error) => {
                    tracing::error!(?key, %error, "Unable to repair a cluster IP");
                    self.queue.forget(&key);
                }
            }
            self.queue.done(&key);
        }
    }

    /// All Services, and then all addresses.
    fn everything(&self) -> Vec<Key> {
        let services = self.client.keys::<Service>().into_iter();
        let services = services.map(|(namespace, name)| Key::Service(namespace, name));
        let addresses = self.client.keys::<IPAddress>().into_iter();
        services
            .chain(addresses.map(|(_, name)| Key::Address(name)))
            .collect()
    }

    async fn look_at_everything(&self) -> Result<(), StatusError> {
        if self
            .client
            .cached::<ServiceCIDR>("", DEFAULT_CIDR)
            .is_none()
        {
            return Err(status::internal("there is no default ServiceCIDR yet"));
        }
        for key in self.everything() {
            self.sync(&key).await?;
        }
        Ok(())
    }

    async fn sync(&self, key: &Key) -> Result<(), StatusError> {
        match key {
            Key::Service(namespace, name) => {
                let service = self.client.cached::<Service>(namespace, name);
                match service {
                    Some(service) => self.sync_service(&service).await,
                    None => Ok(()),
                }
            }
            Key::Address(name) => match self.client.cached::<IPAddress>("", name) {
                Some(address) if is_managed(&address) => self.sync_address(&address).await,
                _ => Ok(()),
            },
        }
    }

    /// The address of each family has an IPAddress of this Service.
    async fn sync_service(&self, service: &Service) -> Result<(), StatusError> {
        if matches!(service.spec.cluster_ip.as_str(), "" | "None") {
            return Ok(());
        }
        let warn =
            |reason: &str, action: &str, text: String| self.warn(service, reason, action, text);
        let allocation = "ClusterIPAllocation";
        for text in &service.spec.cluster_ips {
            let Ok(ip) = text.parse::<IpAddr>() else {
                let told = format!("Cluster IP {text} is not a valid IP; please recreate Service");
                warn("ClusterIPNotValid", "ClusterIPValidation", told);
                continue;
            };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            if !self.is_in_range(ip).await? {
                let told = format!(
                    "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
                );
                warn("ClusterIPOutOfRange", allocation, told);
                continue;
            }
            let Some(address) = self.client.cached::<IPAddress>("", &ip.to_string()) else {
                let told = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
                warn("ClusterIPNotAllocated", allocation, told);
                self.client.create(address_of(ip, service)).await?;
                continue;
            };
            let parent = parent_of(&address);
            let wrong = || {
                let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
                let told = format!(
                    "the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing"
                );
                warn("ClusterIPNotAllocated", allocation, told);
            };
            if !is_service(&parent) {
                wrong();
                self.make_anew(ip, service).await?;
                continue;
            }
            let metadata = &service.metadata;
            if (&parent.namespace, &parent.name) != (&metadata.namespace, &metadata.name) {
                let other = self
                    .client
                    .cached::<Service>(&parent.namespace, &parent.name);
                let Some(other) = other else {
                    wrong();
                    self.make_anew(ip, service).await?;
                    continue;
                };
                // Of two Services with one address, one has it: which is for people to say.
                if other.spec.cluster_ips.contains(&address.metadata.name) {
                    let told = format!(
                        "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
                    );
                    warn("ClusterIPAlreadyAllocated", allocation, told);
                }
            }
            if !has_labels(&address, ip) {
                self.make_anew(ip, service).await?;
            }
        }
        Ok(())
    }

    /// The Service of an address has it.
    async fn sync_address(&self, address: &IPAddress) -> Result<(), StatusError> {
        let name = &address.metadata.name;
        let parent = parent_of(address);
        let allocation = "IPAddressAllocation";
        if !is_service(&parent) {
            let ParentReference {
                group,
                resource,
                namespace,
                name: parent,
            } = &parent;
            let told = format!(
                "IPAddress {name} appears to have been modified, not referencing a Service &ParentReference{{Group:{group},Resource:{resource},Namespace:{namespace},Name:{parent},}}: cleaning up"
            );
            self.warn(address, "IPAddressNotAllocated", allocation, told);
            return self.client.delete::<IPAddress>("", name).await;
        }
        let created = address.metadata.creation_timestamp;
        let age = jiff::Timestamp::now().duration_since(created.timestamp());
        let age = Duration::try_from(age).unwrap_or_default();
        let again = |after: Duration| self.queue.add_after(Key::Address(name.clone()), after);
        let (namespace, parent) = (&parent.namespace, &parent.name);
        let Some(service) = self.client.cached::<Service>(namespace, parent) else {
            if age <= GRACE {
                again(GRACE - age + Duration::from_secs(1));
                return Ok(());
            }
            let told = format!(
                "IPAddress: {name} for Service {namespace}/{parent} appears to have leaked: cleaning up"
            );
            self.warn(address, "IPAddressNotAllocated", allocation, told);
            return self.client.delete::<IPAddress>("", name).await;
        };
        if service.spec.cluster_ips.contains(name) {
            return Ok(());
        }
        // It becomes a Service with addresses.
        if service.spec.type_ == "ExternalName" && age < GRACE {
            again(GRACE - age);
            return Ok(());
        }
        // Somebody wants to make a Service that there is.
        if created.timestamp() > service.metadata.creation_timestamp.timestamp() && age < REVERT {
            again(REVERT);
            return Ok(());
        }
        let told = format!(
            "IPAddress: {name} for Service {namespace}/{parent} has a wrong reference; cleaning up"
        );
        self.warn(address, "IPAddressWrongReference", allocation, told);
        self.client.delete::<IPAddress>("", name).await
    }

    /// Whether one of the cluster's ranges has the address.
    async fn is_in_range(&self, ip: IpAddr) -> Result<bool, StatusError> {
        let ranges = self.client.list::<ServiceCIDR>("").await?;
        let mut ranges = ranges.iter().flat_map(|range| &range.spec.cidrs);
        Ok(ranges.any(|range| {
            let range = range.parse::<IpNet>();
            range.is_ok_and(|range| range.contains(&ip))
        }))
    }

    async fn make_anew(&self, ip: IpAddr, service: &Service) -> Result<(), StatusError> {
        self.client.delete::<IPAddress>("", &ip.to_string()).await?;
        self.client.create(address_of(ip, service)).await.map(drop)
    }

    fn warn<T: api_types::Object>(&self, object: &T, reason: &str, action: &str, text: String) {
        tracing::error!(text, "A cluster IP is wrong");
        let object = object_reference(object);
        self.recorder
            .event_with(&object, None, "Warning", reason, action, text);
    }
}

fn parent_of(address: &IPAddress) -> ParentReference {
    address
        .spec
        .parent_ref
        .as_deref()
        .cloned()
        .unwrap_or_default()
}

fn is_service(parent: &ParentReference) -> bool {
    parent.group.is_empty() && parent.resource == "services"
}

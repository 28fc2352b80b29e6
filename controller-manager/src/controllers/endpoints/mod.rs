//! Keeps the Endpoints object of Services with a selector. Upstream: pkg/controller/endpoint.

/// The layout of subsets.
pub mod subsets;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use apimachinery::labels::Selector;
use apimachinery::validation::parse_ip_sloppy;
use client::workqueue::RateLimitingQueue;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::controller_ref::key_of;
use super::endpoint_slice::HEADLESS;
use super::endpoint_slice::plan::annotate_trigger_time;
use super::endpoint_slice::pods::{
    PodProjection, find_port, has_endpoint, is_cluster_ip_set, shows_hostname,
};
use super::endpoint_slice::tracker::TriggerTimeTracker;
use super::pod_control::is_namespace_terminating;
use super::pod_state::is_ready;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Left by leader election of old; such objects are no Service's.
pub(super) const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// The endpoints-controller. Its keys are Services.
pub struct EndpointsController {
    client: Client,
    recorder: EventRecorder,
    services: Lister<Service>,
    pods: Lister<Pod>,
    endpoints: Lister<Endpoints>,
    queue: Queue<ObjectKey>,
    changed_pods: Queue<PodProjection>,
    trigger_times: TriggerTimeTracker,
    /// The version of each object that we have replaced since.
    stale: Mutex<HashMap<ObjectKey, String>>,
    batch_period: Duration,
    workers: usize,
}

impl Controller for EndpointsController {
    const NAME: &'static str = "endpoints-controller";
    const ALIASES: &'static [&'static str] = &["endpoint"];
    const SERVICE_ACCOUNT: &'static str = "endpoint-controller";
    const QUEUE: &'static str = "endpoint";
    const MAX_RETRIES: Option<u32> = Some(15);
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let changed_pods: Queue<PodProjection> = RateLimitingQueue::new();
        let services = setup.informer::<Service>();
        let to = queue.clone();
        on_change(&services, move |change| {
            to.add(key_of(&change.object().metadata))
        });
        let pods = setup.informer::<Pod>();
        let to = changed_pods.clone();
        on_change(&pods, move |change| {
            if let Some(projection) = PodProjection::of(&change) {
                to.add(projection);
            }
        });
        let endpoints = setup.informer::<Endpoints>();
        let to = queue.clone();
        on_change(&endpoints, move |change| {
            if let Change::Deleted(endpoints) = change {
                to.add(key_of(&endpoints.metadata));
            }
        });
        let config = &setup.config().endpoint_controller;
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder(MANAGER),
            services: services.lister(),
            pods: pods.lister(),
            endpoints: endpoints.lister(),
            queue: queue.clone(),
            changed_pods,
            trigger_times: TriggerTimeTracker::default(),
            stale: Mutex::default(),
            batch_period: config.endpoint_updates_batch_period.as_std(),
            workers: Self::workers(setup.config()),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.endpoint_controller.concurrent_endpoint_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(service) = self.services.get(key) else {
            let api = self.client.namespaced::<Endpoints>(key.namespace.as_str());
            match api.delete(&key.name, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            self.trigger_times.forget(key);
            self.stale.lock().remove(key);
            return Ok(Next::Done);
        };
        if service.spec.type_ == "ExternalName" || service.spec.selector.is_empty() {
            return Ok(Next::Done);
        }
        let pods = self
            .pods
            .select_in(&key.namespace, &Selector::from_set(&service.spec.selector));
        let trigger_time = self.trigger_times.trigger_time(&service, &pods);
        let wanted = subsets_of(&service, &pods);
        let present = self.endpoints.get(key);
        if let Some(present) = &present {
            if self.stale.lock().get(key) == Some(&present.metadata.resource_version) {
                return Err(SyncError::other(format!(
                    "endpoints informer cache is out of date, resource version {} already processed for endpoints {key}",
                    present.metadata.resource_version
                )));
            }
            if is_right(present, &service, &wanted) {
                return Ok(Next::Done);
            }
        }
        let mut endpoints = present.as_deref().cloned().unwrap_or_else(|| {
            let mut new = Endpoints::default();
            new.metadata.name = key.name.clone();
            new.metadata.namespace = key.namespace.clone();
            new
        });
        endpoints.subsets = wanted;
        endpoints.metadata.labels = labels(&service);
        annotate_trigger_time(&mut endpoints.metadata.annotations, trigger_time);
        if subsets::truncate(&mut endpoints.subsets) {
            endpoints
                .metadata
                .annotations
                .insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
        } else {
            endpoints.metadata.annotations.remove(OVER_CAPACITY);
        }
        self.write(key, endpoints, present.is_none()).await?;
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        // Endpoints whose Service went while nobody looked.
        for endpoints in self.endpoints.list() {
            if !endpoints
                .metadata
                .annotations
                .contains_key(LEADER_ANNOTATION)
            {
                self.queue.add(key_of(&endpoints.metadata));
            }
        }
        let sync = |projection: PodProjection| async move {
            for service in projection.services(&self.services) {
                self.queue.add_after(service, self.batch_period);
            }
            Ok(Next::Done)
        };
        work(Self::NAME, &self.changed_pods, self.workers, &stop, sync).await;
    }
}

impl EndpointsController {
    async fn write(
        &self,
        key: &ObjectKey,
        endpoints: Endpoints,
        create: bool,
    ) -> Result<(), SyncError> {
        let api = self.client.namespaced::<Endpoints>(key.namespace.as_str());
        let result = if create {
            api.create(&endpoints).await
        } else {
            api.update(&endpoints).await
        };
        match result {
            Ok(written) => {
                let before = endpoints.metadata.resource_version;
                if !create && written.metadata.resource_version != before {
                    self.stale.lock().insert(key.clone(), before);
                }
                Ok(())
            }
            Err(error) if create && is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let (reason, message) = if create {
                    (
                        "FailedToCreateEndpoint",
                        format!("Failed to create endpoint for service {key}: {error}"),
                    )
                } else {
                    (
                        "FailedToUpdateEndpoint",
                        format!("Failed to update endpoint {key}: {error}"),
                    )
                };
                self.recorder
                    .event(&object_reference(&endpoints), "Warning", reason, &message);
                Err(error.into())
            }
        }
    }
}

/// The Service's subsets.
fn subsets_of(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let mut found = Vec::new();
    for pod in pods {
        if !has_endpoint(pod, service.spec.publish_not_ready_addresses) {
            continue;
        }
        let Some(address) = address(service, pod) else {
            tracing::debug!(
                v = 2,
                service = service.metadata.name,
                pod = pod.metadata.name,
                "Failed to find endpoint for service on pod"
            );
            continue;
        };
        let mut add = |ports: Vec<EndpointPort>| {
            let (addresses, not_ready_addresses) =
                if service.spec.publish_not_ready_addresses || is_ready(pod) {
                    (vec![address.clone()], Vec::new())
                } else {
                    (Vec::new(), vec![address.clone()])
                };
            found.push(EndpointSubset {
                addresses,
                not_ready_addresses,
                ports,
            });
        };
        // Headless Services need no ports.
        if service.spec.ports.is_empty() && service.spec.cluster_ip == "None" {
            add(Vec::new());
        }
        for port in &service.spec.ports {
            if let Some(number) = find_port(pod, port) {
                add(vec![EndpointPort {
                    name: port.name.clone(),
                    port: number,
                    protocol: port.protocol.clone(),
                    app_protocol: port.app_protocol.clone(),
                }]);
            }
        }
    }
    subsets::repack(&found)
}

/// The pod's address in the Service's first family.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let is_v6 = |ip: &str| parse_ip_sloppy(ip).is_some_and(|ip| ip.is_ipv6());
    let v6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None if is_cluster_ip_set(service) => is_v6(&service.spec.cluster_ip),
        None => is_v6(&pod.status.pod_ip),
    };
    let ip = pod
        .status
        .pod_ips
        .iter()
        .filter_map(|ip| parse_ip_sloppy(&ip.ip))
        .find(|ip| ip.is_ipv6() == v6)?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: if shows_hostname(pod, service) {
            pod.spec.hostname.clone()
        } else {
            String::new()
        },
        node_name: Some(pod.spec.node_name.clone()),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        })),
    })
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    if is_cluster_ip_set(service) {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Whether nothing has to be written.
fn is_right(present: &Endpoints, service: &Service, wanted: &[EndpointSubset]) -> bool {
    (subsets::equal(&present.subsets, wanted)
        || subsets::equal(&subsets::repack(&present.subsets), wanted))
        && has_labels_of(&present.metadata.labels, &service.metadata.labels)
        && subsets::count(&present.subsets) <= subsets::MAX_CAPACITY
        && !present.metadata.annotations.contains_key(OVER_CAPACITY)
}

/// Our own labels aside, both have the same.
fn has_labels_of(endpoints: &BTreeMap<String, String>, service: &BTreeMap<String, String>) -> bool {
    let ours = |label: &str| label == HEADLESS || label == MANAGED_BY;
    let own: Vec<_> = endpoints.iter().filter(|(label, _)| !ours(label)).collect();
    endpoints
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == MANAGER)
        && own
            .iter()
            .all(|(label, value)| service.get(*label) == Some(*value))
        && own.len() == service.len()
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{PodCondition, PodIP, ServicePort};

    use super::*;

    fn service(families: &[&str], ip: &str) -> Service {
        let mut service = Service::default();
        service.metadata.name = "web".into();
        service.metadata.namespace = "ns".into();
        service.spec.ip_families = families.iter().map(|f| (*f).to_owned()).collect();
        service.spec.cluster_ip = ip.into();
        service.spec.ports = vec![ServicePort {
            port: 80,
            target_port: 8080.into(),
            protocol: "TCP".into(),
            ..Default::default()
        }];
        service
    }

    fn pod(number: u8, ready: bool) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = format!("pod{number}");
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = format!("u{number}");
        pod.spec.node_name = "node".into();
        pod.status.pod_ip = format!("1.2.3.{number}");
        pod.status.pod_ips = [pod.status.pod_ip.clone(), format!("fd00::{number}")]
            .map(|ip| PodIP { ip })
            .to_vec();
        if ready {
            pod.status.conditions.push(PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                ..Default::default()
            });
        }
        Arc::new(pod)
    }

    #[test]
    fn families() {
        let check = |families: &[&str], ip: &str, expected: &str| {
            assert_eq!(
                address(&service(families, ip), &pod(1, true)).unwrap().ip,
                expected
            );
        };
        check(&["IPv4", "IPv6"], "10.0.0.1", "1.2.3.1");
        check(&["IPv6", "IPv4"], "fd00::a", "fd00::1");
        check(&[], "10.0.0.1", "1.2.3.1");
        check(&[], "fd00::a", "fd00::1");
        check(&[], "None", "1.2.3.1");
        let mut v4 = (*pod(1, true)).clone();
        v4.status.pod_ips.truncate(1);
        assert!(address(&service(&["IPv6"], "fd00::a"), &v4).is_none());
    }

    #[test]
    fn readiness_decides_the_list() {
        let mut service = service(&["IPv4"], "10.0.0.1");
        let pods = [pod(1, true), pod(2, false)];
        let found = subsets_of(&service, &pods);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (
                found[0].addresses[0].ip.as_str(),
                found[0].not_ready_addresses[0].ip.as_str()
            ),
            ("1.2.3.1", "1.2.3.2")
        );
        assert_eq!(found[0].ports[0].port, 8080);
        service.spec.publish_not_ready_addresses = true;
        assert_eq!(subsets_of(&service, &pods)[0].addresses.len(), 2);
        service.spec.ports.clear();
        assert!(
            subsets_of(&service, &pods).is_empty(),
            "a Service with an address needs ports"
        );
        service.spec.cluster_ip = "None".into();
        assert_eq!(subsets_of(&service, &pods)[0].addresses.len(), 2);
        assert!(subsets_of(&service, &pods)[0].ports.is_empty());
    }

    #[test]
    fn right_objects_are_left_alone() {
        let mut service = service(&["IPv4"], "None");
        service.metadata.labels.insert("a".into(), "b".into());
        let wanted = subsets_of(&service, &[pod(1, true), pod(2, false)]);
        let mut present = Endpoints {
            subsets: wanted.clone(),
            ..Default::default()
        };
        present.metadata.labels = labels(&service);
        assert!(is_right(&present, &service, &wanted));
        let check = |change: fn(&mut Endpoints)| {
            let mut changed = present.clone();
            change(&mut changed);
            assert!(!is_right(&changed, &service, &wanted));
        };
        check(|endpoints| drop(endpoints.metadata.labels.remove(MANAGED_BY)));
        check(|endpoints| drop(endpoints.metadata.labels.remove("a")));
        check(|endpoints| drop(endpoints.metadata.labels.insert("x".into(), "y".into())));
        check(|endpoints| {
            drop(
                endpoints
                    .metadata
                    .annotations
                    .insert(OVER_CAPACITY.into(), "truncated".into()),
            )
        });
        check(|endpoints| endpoints.subsets.clear());
    }
}

//! The Service default/kubernetes and its endpoints: the addresses of all apiservers that are alive, as their
//! masterleases in etcd say. Upstream: pkg/controlplane/controller/kubernetesservice and pkg/controlplane/reconcilers.

use std::net::IpAddr;

use api_types::IntOrString;
use api_types::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service, ServicePort,
};
use api_types::discovery::v1::{
    Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice,
};
use apimachinery::status::StatusError;

use super::system_namespaces;
use crate::loopback::Loopback;
use crate::registry::server_leases;
use crate::server::ApiServer;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    ensure_service(server, client).await?;
    if server.config.endpoint_reconciler == "none" {
        return Ok(());
    }
    renew(server).await?;
    let addresses = alive(server).await?;
    reconcile(server, client, &addresses).await
}

/// Takes this server out of the endpoints.
pub(super) async fn stop(server: &ApiServer, client: &Loopback) {
    if server.config.endpoint_reconciler == "none" {
        return;
    }
    let address = server.config.advertise_address.to_string();
    server_leases::remove(&server.master_leases, &address).await;
    if let Ok(addresses) = alive(server).await {
        let _ = reconcile(server, client, &addresses).await;
    }
}

async fn ensure_service(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    if client.get::<Service>(NAMESPACE, NAME).await?.is_some() {
        return Ok(());
    }
    // At the first start the hook that makes the system's namespaces may not have come to this one.
    system_namespaces::ensure(client, NAMESPACE).await?;
    let Some(range) = server.config.service_cluster_ip_ranges.first() else {
        return Ok(());
    };
    let Some(ip) = range.hosts().next() else {
        return Ok(());
    };
    let mut service = Service::default();
    NAME.clone_into(&mut service.metadata.name);
    NAMESPACE.clone_into(&mut service.metadata.namespace);
    service
        .metadata
        .labels
        .insert("provider".to_owned(), "kubernetes".to_owned());
    service
        .metadata
        .labels
        .insert("component".to_owned(), "apiserver".to_owned());
    let node_port = server.config.kubernetes_service_node_port;
    service.spec.ports = vec![ServicePort {
        name: "https".to_owned(),
        port: 443,
        protocol: "TCP".to_owned(),
        target_port: IntOrString::Int(i32::from(server.config.serving.bind_port)),
        node_port: i32::from(node_port),
        ..ServicePort::default()
    }];
    service.spec.cluster_ip = ip.to_string();
    service.spec.ip_family_policy = Some("SingleStack".to_owned());
    service.spec.session_affinity = "None".to_owned();
    service.spec.type_ = if node_port > 0 {
        "NodePort"
    } else {
        "ClusterIP"
    }
    .to_owned();
    client.ensure(service).await
}

/// Writes this server's masterlease.
async fn renew(server: &ApiServer) -> Result<(), StatusError> {
    let address = server.config.advertise_address.to_string();
    server_leases::renew(&server.master_leases, &address, |endpoints| {
        endpoints.subsets = vec![EndpointSubset {
            addresses: vec![EndpointAddress {
                ip: address.clone(),
                ..EndpointAddress::default()
            }],
            ..EndpointSubset::default()
        }];
    })
    .await
}

/// Addresses of the servers whose masterlease is there.
async fn alive(server: &ApiServer) -> Result<Vec<String>, StatusError> {
    let leases = server_leases::list(&server.master_leases).await?;
    let mut addresses: Vec<String> = leases.into_iter().map(|(name, _)| name).collect();
    addresses.sort();
    Ok(addresses)
}

async fn reconcile(
    server: &ApiServer,
    client: &Loopback,
    addresses: &[String],
) -> Result<(), StatusError> {
    let port = i32::from(server.config.serving.bind_port);
    let subsets = if addresses.is_empty() {
        Vec::new()
    } else {
        vec![EndpointSubset {
            addresses: addresses
                .iter()
                .map(|ip| EndpointAddress {
                    ip: ip.clone(),
                    ..EndpointAddress::default()
                })
                .collect(),
            ports: vec![EndpointPort {
                name: "https".to_owned(),
                port,
                protocol: "TCP".to_owned(),
                ..EndpointPort::default()
            }],
            ..EndpointSubset::default()
        }]
    };
    // The EndpointSlice mirrors these endpoints; the mirroring controller is told to leave them alone.
    let skip_mirror = "endpointslice.kubernetes.io/skip-mirror".to_owned();
    match client.get::<Endpoints>(NAMESPACE, NAME).await? {
        None => {
            let mut endpoints = Endpoints {
                subsets,
                ..Endpoints::default()
            };
            NAME.clone_into(&mut endpoints.metadata.name);
            NAMESPACE.clone_into(&mut endpoints.metadata.namespace);
            endpoints
                .metadata
                .labels
                .insert(skip_mirror, "true".to_owned());
            client.ensure(endpoints).await?;
        }
        Some(mut endpoints)
            if endpoints.subsets != subsets
                || endpoints
                    .metadata
                    .labels
                    .get(&skip_mirror)
                    .is_none_or(|value| value != "true") =>
        {
            endpoints.subsets = subsets;
            endpoints
                .metadata
                .labels
                .insert(skip_mirror, "true".to_owned());
            client.update(endpoints).await?;
        }
        Some(_) => {}
    }
    reconcile_slice(client, addresses, port).await
}

async fn reconcile_slice(
    client: &Loopback,
    addresses: &[String],
    port: i32,
) -> Result<(), StatusError> {
    let ipv6 = addresses
        .first()
        .is_some_and(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()));
    let endpoints: Vec<Endpoint> = addresses
        .iter()
        .map(|ip| Endpoint {
            addresses: vec![ip.clone()],
            conditions: EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            },
            ..Endpoint::default()
        })
        .collect();
    let ports = vec![SlicePort {
        name: Some("https".to_owned()),
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        ..SlicePort::default()
    }];
    match client.get::<EndpointSlice>(NAMESPACE, NAME).await? {
        None => {
            let mut slice = EndpointSlice {
                endpoints,
                ports,
                address_type: if ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
                ..EndpointSlice::default()
            };
            NAME.clone_into(&mut slice.metadata.name);
            NAMESPACE.clone_into(&mut slice.metadata.namespace);
            slice
                .metadata
                .labels
                .insert("kubernetes.io/service-name".to_owned(), NAME.to_owned());
            client.ensure(slice).await
        }
        Some(mut slice) if slice.endpoints != endpoints || slice.ports != ports => {
            slice.endpoints = endpoints;
            slice.ports = ports;
            client.update(slice).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

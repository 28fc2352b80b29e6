//! The endpoints of default/kubernetes: the addresses of all apiservers that are alive, as their masterleases in etcd say.
//! Upstream: pkg/controlplane/reconcilers/{lease,endpointsadapter}.go.

use std::net::Ipv6Addr;

use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use api_types::discovery::v1::{
    Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice,
};
use apimachinery::status::{self, StatusError};

use super::{NAME, NAMESPACE};
use crate::loopback::Loopback;
use crate::registry::server_leases;
use crate::server::ApiServer;

/// The EndpointSlice mirrors these endpoints; the mirroring controller is told to leave them alone.
pub(super) const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

/// Renews this server's masterlease, and writes who is alive.
pub(super) async fn publish(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let address = server.config.advertise_address.to_string();
    server_leases::renew(&server.master_leases, &address, |endpoints| {
        endpoints.subsets = vec![EndpointSubset {
            addresses: vec![address_of(&address)],
            ..EndpointSubset::default()
        }];
    })
    .await?;
    // Servers with other ports would take turns with theirs.
    reconcile(server, client, false, false).await
}

/// Takes this server out. False, and nothing is done, where it was not in. A server that goes may leave none behind.
pub(super) async fn remove(
    server: &ApiServer,
    client: &Loopback,
    goes: bool,
) -> Result<bool, StatusError> {
    let address = server.config.advertise_address.to_string();
    if !server_leases::remove(&server.master_leases, &address).await? {
        return Ok(false);
    }
    reconcile(server, client, true, goes).await.map(|()| true)
}

async fn reconcile(
    server: &ApiServer,
    client: &Loopback,
    reconcile_ports: bool,
    goes: bool,
) -> Result<(), StatusError> {
    let stored = client.get::<Endpoints>(NAMESPACE, NAME).await?;
    if stored.is_none() && goes {
        return Ok(());
    }
    let leases = server_leases::list(&server.master_leases).await?;
    let mut alive: Vec<String> = leases.into_iter().map(|(name, _)| name).collect();
    alive.sort();
    if alive.is_empty() && !goes {
        return Err(status::internal(
            "no API server IP addresses were listed in storage, refusing to erase all endpoints for the kubernetes Service",
        ));
    }
    let exists = stored.is_some();
    let mut endpoints = stored.unwrap_or_default();
    let changed = correct(&mut endpoints, &alive, port_of(server), reconcile_ports);
    if !exists {
        NAME.clone_into(&mut endpoints.metadata.name);
        NAMESPACE.clone_into(&mut endpoints.metadata.namespace);
        client.ensure(endpoints.clone()).await?;
    } else if changed {
        tracing::warn!(service = NAME, addresses = ?alive, "Resetting endpoints for master service");
        client.update(endpoints.clone()).await?;
    }
    reconcile_slice(client, &endpoints).await
}

pub(super) fn port_of(server: &ApiServer) -> EndpointPort {
    EndpointPort {
        name: "https".to_owned(),
        port: i32::from(server.config.serving.bind_port),
        protocol: "TCP".to_owned(),
        ..EndpointPort::default()
    }
}

/// Makes the endpoints say who is alive. Other ports than these are wrong only when `reconcile_ports`. Says whether something
/// was wrong.
fn correct(
    endpoints: &mut Endpoints,
    alive: &[String],
    port: EndpointPort,
    reconcile_ports: bool,
) -> bool {
    let skip = endpoints
        .metadata
        .labels
        .insert(SKIP_MIRROR.to_owned(), "true".to_owned());
    let mut changed = skip.is_none_or(|value| value != "true");
    let ports = vec![port];
    match &mut endpoints.subsets[..] {
        [subset] => {
            let mut listed: Vec<&str> = subset.addresses.iter().map(|one| &*one.ip).collect();
            listed.sort_unstable();
            if listed != alive {
                subset.addresses = alive.iter().map(|ip| address_of(ip)).collect();
                changed = true;
            }
            if reconcile_ports && subset.ports != ports {
                subset.ports = ports;
                changed = true;
            }
        }
        _ => {
            endpoints.subsets = vec![EndpointSubset {
                addresses: alive.iter().map(|ip| address_of(ip)).collect(),
                ports,
                ..EndpointSubset::default()
            }];
            changed = true;
        }
    }
    endpoints
        .subsets
        .retain(|one| !(one.addresses.is_empty() && one.not_ready_addresses.is_empty()));
    changed
}

pub(super) fn address_of(ip: &str) -> EndpointAddress {
    EndpointAddress {
        ip: ip.to_owned(),
        ..EndpointAddress::default()
    }
}

pub(super) async fn reconcile_slice(
    client: &Loopback,
    endpoints: &Endpoints,
) -> Result<(), StatusError> {
    let wanted = slice_of(endpoints);
    match client.get::<EndpointSlice>(NAMESPACE, NAME).await? {
        None => client.ensure(wanted).await,
        // The type of addresses cannot be changed.
        Some(slice) if slice.address_type != wanted.address_type => {
            client.delete::<EndpointSlice>(NAMESPACE, NAME).await?;
            client.ensure(wanted).await
        }
        Some(mut slice)
            if slice.endpoints != wanted.endpoints
                || slice.ports != wanted.ports
                || slice.metadata.labels != wanted.metadata.labels =>
        {
            slice.endpoints = wanted.endpoints;
            slice.ports = wanted.ports;
            slice.metadata.labels = wanted.metadata.labels;
            client.update(slice).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

/// The same as an EndpointSlice, of one family of addresses.
fn slice_of(endpoints: &Endpoints) -> EndpointSlice {
    let mut slice = EndpointSlice {
        address_type: "IPv4".to_owned(),
        ..EndpointSlice::default()
    };
    NAME.clone_into(&mut slice.metadata.name);
    NAMESPACE.clone_into(&mut slice.metadata.namespace);
    slice
        .metadata
        .labels
        .insert("kubernetes.io/service-name".to_owned(), NAME.to_owned());
    let Some(subset) = endpoints.subsets.first() else {
        return slice;
    };
    let is_ipv6 = |address: &EndpointAddress| address.ip.parse::<Ipv6Addr>().is_ok();
    let ready = subset.addresses.iter().map(|address| (address, true));
    let not_ready = subset.not_ready_addresses.iter();
    let all: Vec<(&EndpointAddress, bool)> = ready
        .chain(not_ready.map(|address| (address, false)))
        .collect();
    let ipv6 = !all.is_empty() && all.iter().all(|(address, _)| is_ipv6(address));
    if ipv6 {
        slice.address_type = "IPv6".to_owned();
    }
    slice.endpoints = all
        .into_iter()
        .filter(|(address, _)| is_ipv6(address) == ipv6)
        .map(|(address, ready)| Endpoint {
            addresses: vec![address.ip.clone()],
            conditions: EndpointConditions {
                ready: Some(ready),
                ..EndpointConditions::default()
            },
            target_ref: address.target_ref.clone(),
            node_name: address.node_name.clone(),
            ..Endpoint::default()
        })
        .collect();
    slice.ports = subset
        .ports
        .iter()
        .map(|port| SlicePort {
            name: Some(port.name.clone()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone()),
            ..SlicePort::default()
        })
        .collect();
    slice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: i32) -> EndpointPort {
        EndpointPort {
            name: "https".to_owned(),
            port,
            protocol: "TCP".to_owned(),
            ..EndpointPort::default()
        }
    }

    /// Addresses and ports of what [`correct`] makes of addresses with port 6443, on a server with port 443.
    #[track_caller]
    fn check(stored: &[&str], alive: &[&str], reconcile_ports: bool, wanted: (bool, &[&str], i32)) {
        let mut endpoints = Endpoints::default();
        let skip = (SKIP_MIRROR.to_owned(), "true".to_owned());
        endpoints.metadata.labels = [skip].into_iter().collect();
        if !stored.is_empty() {
            endpoints.subsets = vec![EndpointSubset {
                addresses: stored.iter().map(|ip| address_of(ip)).collect(),
                ports: vec![port(6443)],
                ..EndpointSubset::default()
            }];
        }
        let alive: Vec<String> = alive.iter().map(|ip| (*ip).to_owned()).collect();
        let changed = correct(&mut endpoints, &alive, port(443), reconcile_ports);
        let subset = endpoints.subsets.first();
        let addresses: Vec<&str> = subset.map_or(Vec::new(), |subset| {
            subset.addresses.iter().map(|one| &*one.ip).collect()
        });
        let port = subset.map_or(0, |subset| subset.ports[0].port);
        assert_eq!((changed, &addresses[..], port), wanted);
    }

    #[test]
    fn ports_of_other_servers_stay() {
        check(
            &["10.0.0.1"],
            &["10.0.0.1"],
            false,
            (false, &["10.0.0.1"], 6443),
        );
        check(
            &["10.0.0.2", "10.0.0.1"],
            &["10.0.0.1", "10.0.0.2"],
            false,
            (false, &["10.0.0.2", "10.0.0.1"], 6443),
        );
        check(
            &["10.0.0.1"],
            &["10.0.0.1", "10.0.0.2"],
            false,
            (true, &["10.0.0.1", "10.0.0.2"], 6443),
        );
        check(
            &["10.0.0.1"],
            &["10.0.0.1"],
            true,
            (true, &["10.0.0.1"], 443),
        );
        check(&[], &["10.0.0.1"], false, (true, &["10.0.0.1"], 443));
        check(&["10.0.0.1"], &[], true, (true, &[], 0));
    }
}

//! The endpoints of default/kubernetes where it is only known how many apiservers there are (`--apiserver-count`): each adds itself
//! and takes out one that is too many. Upstream: pkg/controlplane/reconcilers/instancecount.go.

use api_types::core::v1::{EndpointPort, EndpointSubset, Endpoints};
use apimachinery::status::StatusError;

use super::endpoints::{SKIP_MIRROR, address_of, port_of, reconcile_slice};
use super::{NAME, NAMESPACE};
use crate::loopback::Loopback;
use crate::server::ApiServer;

/// Adds this server.
pub(super) async fn publish(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let address = server.config.advertise_address.to_string();
    let count = usize::try_from(server.config.flags.int("apiserver-count")).unwrap_or(1);
    let port = port_of(server);
    let Some(mut endpoints) = client.get::<Endpoints>(NAMESPACE, NAME).await? else {
        let mut endpoints = Endpoints::default();
        NAME.clone_into(&mut endpoints.metadata.name);
        NAMESPACE.clone_into(&mut endpoints.metadata.namespace);
        add(&mut endpoints, &address, count, port);
        client.ensure(endpoints.clone()).await?;
        return reconcile_slice(client, &endpoints).await;
    };
    if add(&mut endpoints, &address, count, port) {
        tracing::warn!(
            service = NAME,
            address,
            "Resetting endpoints for master service"
        );
        client.update(endpoints.clone()).await?;
    }
    reconcile_slice(client, &endpoints).await
}

/// Takes this server out. False where it was not in.
pub(super) async fn remove(server: &ApiServer, client: &Loopback) -> Result<bool, StatusError> {
    let address = server.config.advertise_address.to_string();
    let Some(mut endpoints) = client.get::<Endpoints>(NAMESPACE, NAME).await? else {
        return Ok(false);
    };
    if !take_out(&mut endpoints, &address) {
        return Ok(false);
    }
    client.update(endpoints.clone()).await?;
    reconcile_slice(client, &endpoints).await.map(|()| true)
}

/// Makes the endpoints have an address, and no more than `count`. Says whether something was wrong. Ports of other servers stay.
fn add(endpoints: &mut Endpoints, address: &str, count: usize, port: EndpointPort) -> bool {
    let skip = endpoints
        .metadata
        .labels
        .insert(SKIP_MIRROR.to_owned(), "true".to_owned());
    let changed = skip.is_none_or(|value| value != "true");
    let [subset] = &mut endpoints.subsets[..] else {
        endpoints.subsets = vec![EndpointSubset {
            addresses: vec![address_of(address)],
            ports: vec![port],
            ..EndpointSubset::default()
        }];
        return true;
    };
    let addresses = &mut subset.addresses;
    let is_own = |ip: &str| ip == address;
    if addresses.len() <= count && addresses.iter().any(|one| is_own(&one.ip)) {
        return changed;
    }
    addresses.push(address_of(address));
    addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    addresses.dedup_by(|a, b| a.ip == b.ip);
    // Those behind the own one go first, and then from the start.
    while addresses.len() > count.max(1) {
        let own = addresses.iter().position(|one| is_own(&one.ip));
        let next = own.map_or(0, |own| (own + 1) % addresses.len());
        addresses.remove(next);
    }
    true
}

fn take_out(endpoints: &mut Endpoints, address: &str) -> bool {
    let Some(subset) = endpoints.subsets.first_mut() else {
        return false;
    };
    let before = subset.addresses.len();
    subset.addresses.retain(|one| one.ip != address);
    let changed = subset.addresses.len() != before;
    if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
        endpoints.subsets.remove(0);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(addresses: &[&str]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        let skip = (SKIP_MIRROR.to_owned(), "true".to_owned());
        endpoints.metadata.labels = [skip].into_iter().collect();
        endpoints.subsets = vec![EndpointSubset {
            addresses: addresses.iter().map(|ip| address_of(ip)).collect(),
            ..EndpointSubset::default()
        }];
        endpoints
    }

    fn shown(endpoints: &Endpoints) -> Vec<&str> {
        let addresses = endpoints.subsets.iter().flat_map(|one| &one.addresses);
        addresses.map(|one| &*one.ip).collect()
    }

    #[track_caller]
    fn check(stored: &[&str], count: usize, changed: bool, wanted: &[&str]) {
        let mut endpoints = endpoints(stored);
        let said = add(&mut endpoints, "10.0.0.5", count, EndpointPort::default());
        assert_eq!((said, &shown(&endpoints)[..]), (changed, wanted));
    }

    #[test]
    fn a_server_adds_itself_and_takes_out_who_is_too_many() {
        check(&["10.0.0.5"], 1, false, &["10.0.0.5"]);
        check(&["10.0.0.1"], 1, true, &["10.0.0.5"]);
        check(&["10.0.0.1"], 2, true, &["10.0.0.1", "10.0.0.5"]);
        check(
            &["10.0.0.1", "10.0.0.9"],
            2,
            true,
            &["10.0.0.1", "10.0.0.5"],
        );
        check(
            &["10.0.0.1", "10.0.0.2"],
            2,
            true,
            &["10.0.0.2", "10.0.0.5"],
        );
        let three = ["10.0.0.1", "10.0.0.2", "10.0.0.5"];
        check(&three, 2, true, &["10.0.0.2", "10.0.0.5"]);
        check(&three, 4, false, &three);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_made_anew() {
        let mut new = Endpoints::default();
        assert!(add(&mut new, "10.0.0.5", 3, EndpointPort::default()));
        assert_eq!(shown(&new), ["10.0.0.5"]);
        assert_eq!(new.metadata.labels[SKIP_MIRROR], "true");
        let mut two = endpoints(&["10.0.0.5"]);
        two.subsets.push(EndpointSubset::default());
        assert!(add(&mut two, "10.0.0.5", 3, EndpointPort::default()));
        assert_eq!(two.subsets.len(), 1);
    }

    #[test]
    fn a_server_that_goes_takes_itself_out() {
        let mut stored = endpoints(&["10.0.0.1", "10.0.0.5"]);
        assert!(take_out(&mut stored, "10.0.0.5"));
        assert!(!take_out(&mut stored, "10.0.0.5"));
        assert_eq!(shown(&stored), ["10.0.0.1"]);
        assert!(take_out(&mut stored, "10.0.0.1"));
        assert!(stored.subsets.is_empty());
    }
}

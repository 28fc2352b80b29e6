//! What a Service holds besides its fields: cluster IPs and node ports, taken before it is stored and given back when
//! it is gone. Upstream: pkg/registry/core/service/storage.
//!
//! A cluster IP is an IPAddress object of that name, so that two servers cannot hand out the same one; node ports are
//! bits of one RangeAllocation.

/// Which IP families and addresses a Service gets.
mod families;
/// Addresses.
pub mod ip_addresses;
/// What is counted.
pub mod metrics;
/// Node ports.
pub mod node_ports;
/// The bitmap of node ports as the Services say that it should be.
mod repair;

use std::sync::{Arc, OnceLock, Weak};

use api_types::core::v1::{Endpoints, Service};
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;

use super::object::Object;
use super::store::{Reservation, WriteHooks};
use crate::loopback::Loopback;
use crate::server::ApiServer;
use ip_addresses::IpAddresses;
use node_ports::NodePorts;
pub use repair::{Finding, PortRepair};

/// Allocation of a cluster's Services.
pub struct ServiceHooks {
    /// Set once the server is built: allocations are writes of that server.
    server: OnceLock<Weak<ApiServer>>,
    addresses: IpAddresses,
    ports: NodePorts,
}

/// What a write has taken and what it gives back when it succeeds.
#[derive(Default)]
struct Taken {
    addresses: Vec<String>,
    ports: Vec<i32>,
    released_addresses: Vec<String>,
    released_ports: Vec<i32>,
}

impl ServiceHooks {
    pub fn new(addresses: IpAddresses, ports: NodePorts) -> ServiceHooks {
        ServiceHooks {
            server: OnceLock::new(),
            addresses,
            ports,
        }
    }

    /// Tells whose allocations these are.
    pub fn attach(&self, server: &Arc<ApiServer>) {
        let _ = self.server.set(Arc::downgrade(server));
    }

    /// Where node ports are taken from.
    pub fn ports(&self) -> &NodePorts {
        &self.ports
    }

    fn client(&self) -> Result<Loopback, StatusError> {
        let server = self
            .server
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| status::internal("the server is not ready to allocate"))?;
        Ok(Loopback::new(&server))
    }

    async fn give_back(
        addresses: &IpAddresses,
        ports: &NodePorts,
        client: &Loopback,
        gone: &[String],
        free: &[i32],
    ) {
        for address in gone {
            if let Err(error) = addresses.release(client, address).await {
                tracing::error!(address, error = %error, "Releasing a cluster IP");
            }
        }
        if !free.is_empty()
            && let Err(error) = ports.release(free).await
        {
            tracing::error!(ports = ?free, error = %error, "Releasing node ports");
        }
    }

    /// The reservation of what was taken.
    fn reservation(&self, client: Loopback, taken: Taken, dry_run: bool) -> Reservation {
        if dry_run {
            return Reservation::none();
        }
        let (addresses, ports) = (self.addresses.clone(), self.ports.clone());
        Reservation::new(move |success| {
            Box::pin(async move {
                let (gone, free) = if success {
                    (taken.released_addresses, taken.released_ports)
                } else {
                    (taken.addresses, taken.ports)
                };
                ServiceHooks::give_back(&addresses, &ports, &client, &gone, &free).await;
            })
        })
    }

    async fn create(
        &self,
        service: &mut Service,
        dry_run: bool,
    ) -> Result<Reservation, StatusError> {
        families::normalize_cluster_ips(service, None);
        families::init(service, None, &self.addresses.families())?;
        let client = self.client()?;
        let mut taken = Taken::default();
        let result = self
            .allocate_new(&client, service, &mut taken, dry_run)
            .await;
        self.settle(client, result, taken, dry_run).await
    }

    /// Gives everything back at once when allocation failed half-way.
    async fn settle(
        &self,
        client: Loopback,
        result: Result<(), StatusError>,
        taken: Taken,
        dry_run: bool,
    ) -> Result<Reservation, StatusError> {
        let reservation = self.reservation(client, taken, dry_run);
        match result {
            Ok(()) => Ok(reservation),
            Err(error) => {
                reservation.finish(false).await;
                Err(error)
            }
        }
    }

    async fn allocate_new(
        &self,
        client: &Loopback,
        service: &mut Service,
        taken: &mut Taken,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        self.allocate_addresses(client, service, 0, taken, dry_run)
            .await?;
        if matches!(service.spec.type_.as_str(), "NodePort" | "LoadBalancer") {
            self.ports
                .assign_new(service, &mut taken.ports, dry_run)
                .await?;
        }
        if needs_health_check(service) {
            self.ports
                .assign_health_check(service, &mut taken.ports, dry_run)
                .await?;
        }
        Ok(())
    }

    /// Takes an address per family from index `from` on.
    async fn allocate_addresses(
        &self,
        client: &Loopback,
        service: &mut Service,
        from: usize,
        taken: &mut Taken,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        if !has_cluster_ip(service) {
            return Ok(());
        }
        for index in from..service.spec.ip_families.len() {
            if service.spec.cluster_ips.len() <= index {
                service.spec.cluster_ips.push(String::new());
            }
            let family = service.spec.ip_families[index].clone();
            let asked = service.spec.cluster_ips[index].clone();
            let address = self
                .addresses
                .allocate(client, service, &family, &asked, dry_run)
                .await?;
            if !dry_run {
                taken.addresses.push(address.clone());
            }
            if index == 0 {
                service.spec.cluster_ip.clone_from(&address);
            }
            service.spec.cluster_ips[index] = address;
        }
        Ok(())
    }

    async fn update(
        &self,
        service: &mut Service,
        old: &Service,
        dry_run: bool,
    ) -> Result<Reservation, StatusError> {
        families::patch_allocated_values(service, old);
        families::normalize_cluster_ips(service, Some(old));
        families::init(service, Some(old), &self.addresses.families())?;
        let client = self.client()?;
        let mut taken = Taken::default();
        let result = self
            .allocate_changed(&client, service, old, &mut taken, dry_run)
            .await;
        self.settle(client, result, taken, dry_run).await
    }

    async fn allocate_changed(
        &self,
        client: &Loopback,
        service: &mut Service,
        old: &Service,
        taken: &mut Taken,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        let external = |service: &Service| service.spec.type_ == "ExternalName";
        if external(old) && !external(service) {
            self.allocate_addresses(client, service, 0, taken, dry_run)
                .await?;
        } else if has_cluster_ip(old) {
            if external(service) {
                taken.released_addresses.clone_from(&old.spec.cluster_ips);
            } else if old.spec.ip_families.len() == 1 && service.spec.ip_families.len() == 2 {
                self.allocate_addresses(client, service, 1, taken, dry_run)
                    .await?;
            } else if old.spec.ip_families.len() == 2 && service.spec.ip_families.len() == 1 {
                taken
                    .released_addresses
                    .extend(old.spec.cluster_ips.get(1).cloned());
            }
        }

        let has_ports =
            |service: &Service| matches!(service.spec.type_.as_str(), "NodePort" | "LoadBalancer");
        let old_ports: Vec<i32> = old
            .spec
            .ports
            .iter()
            .map(|port| port.node_port)
            .filter(|port| *port != 0)
            .collect();
        if has_ports(service) {
            self.ports
                .assign_changed(service, &old_ports, &mut taken.ports, dry_run)
                .await?;
            let kept: Vec<i32> = service
                .spec
                .ports
                .iter()
                .map(|port| port.node_port)
                .collect();
            taken
                .released_ports
                .extend(old_ports.iter().filter(|port| !kept.contains(port)));
        } else if has_ports(old) {
            taken.released_ports.extend(&old_ports);
        }
        match (needs_health_check(old), needs_health_check(service)) {
            (false, true) => {
                self.ports
                    .assign_health_check(service, &mut taken.ports, dry_run)
                    .await?
            }
            (true, false) => taken.released_ports.push(old.spec.health_check_node_port),
            _ => {}
        }
        Ok(())
    }
}

/// Whether the Service has addresses of its own: not headless, not an alias.
fn has_cluster_ip(service: &Service) -> bool {
    service.spec.type_ != "ExternalName"
        && service
            .spec
            .cluster_ips
            .first()
            .is_none_or(|ip| ip != "None")
}

fn needs_health_check(service: &Service) -> bool {
    service.spec.type_ == "LoadBalancer" && service.spec.external_traffic_policy == "Local"
}

impl WriteHooks for ServiceHooks {
    fn begin_create<'a>(
        &'a self,
        object: &'a mut Object,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>> {
        Box::pin(async move {
            match object.get_mut::<Service>() {
                Some(service) => self.create(service, dry_run).await,
                None => Ok(Reservation::none()),
            }
        })
    }

    fn begin_update<'a>(
        &'a self,
        object: &'a mut Object,
        old: &'a Object,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>> {
        Box::pin(async move {
            match (object.get_mut::<Service>(), old.get::<Service>()) {
                (Some(service), Some(old)) => self.update(service, old, dry_run).await,
                _ => Ok(Reservation::none()),
            }
        })
    }

    fn after_delete<'a>(&'a self, object: &'a Object, dry_run: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (Some(service), Ok(client), false) =
                (object.get::<Service>(), self.client(), dry_run)
            else {
                return;
            };
            // A new Service of that name must not find old endpoints.
            if let Err(error) = client
                .delete::<Endpoints>(&service.metadata.namespace, &service.metadata.name)
                .await
            {
                tracing::error!(error = %error, "Deleting the endpoints of a deleted service");
            }
            let addresses: &[String] = if has_cluster_ip(service) {
                &service.spec.cluster_ips
            } else {
                &[]
            };
            let mut ports: Vec<i32> = service
                .spec
                .ports
                .iter()
                .map(|port| port.node_port)
                .filter(|port| *port != 0)
                .collect();
            if needs_health_check(service) && service.spec.health_check_node_port > 0 {
                ports.push(service.spec.health_check_node_port);
            }
            ServiceHooks::give_back(&self.addresses, &self.ports, &client, addresses, &ports).await;
        })
    }
}

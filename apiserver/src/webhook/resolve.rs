//! Where a Service is. Upstream: the ServiceResolvers of kube-aggregator/pkg/apiserver, ResolveCluster and ResolveEndpoint of
//! apiserver/pkg/util/proxy.

use std::sync::Arc;

use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use api_types::{Kind as _, Resource as _};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use rand::seq::SliceRandom as _;

use crate::registry::table::Resources;
use crate::storage::{Everything, ListOptions};

/// Finds the address behind a Service's port.
pub trait ServiceResolver: Send + Sync {
    /// Host and port. The error is what users are shown.
    fn resolve<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<(String, u16), String>>;
}

/// Resolves from the watch caches.
pub struct ClusterServices {
    resources: Arc<Resources>,
    /// Where `default/kubernetes` is: this process.
    own: (String, u16),
    /// `--enable-aggregator-routing`: to a ready endpoint instead of the cluster IP.
    to_endpoints: bool,
}

impl ClusterServices {
    pub fn new(resources: Arc<Resources>, own: (String, u16), to_endpoints: bool) -> Self {
        Self {
            resources,
            own,
            to_endpoints,
        }
    }

    async fn find(&self, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
        if (namespace, name, port) == ("default", "kubernetes", 443) {
            return Ok(self.own.clone());
        }
        let text = |error: StatusError| error.message.clone();
        let service = self.service(namespace, name).map_err(text)?;
        if self.to_endpoints {
            let slices = self.slices(namespace, name).await.map_err(text)?;
            return endpoint(&service, &slices, name, port);
        }
        cluster_ip(&service, port)
    }

    fn service(&self, namespace: &str, name: &str) -> Result<Service, StatusError> {
        let resource = self
            .resources
            .known(Service::GROUP, Service::PLURAL)
            .ok_or_else(|| status::internal("services are not served"))?;
        let storage = resource.storage()?;
        let not_found = || status::not_found(&GroupResource::new("", "service"), name);
        let key = storage.key(namespace, name).map_err(|_| not_found())?;
        let entry = storage.peek(&key).ok_or_else(not_found)?;
        resource
            .decode_stored(&entry.value(), entry.resource_version())?
            .into_value()
            .downcast::<Service>()
            .map(|service| *service)
            .map_err(|_| not_found())
    }

    async fn slices(&self, namespace: &str, name: &str) -> Result<Vec<EndpointSlice>, StatusError> {
        let resource = self
            .resources
            .known(EndpointSlice::GROUP, EndpointSlice::PLURAL)
            .ok_or_else(|| status::internal("endpointslices are not served"))?;
        let storage = resource.storage()?;
        let scope = storage.scope(namespace, "").map_err(status::internal)?;
        let options = ListOptions {
            resource_version: "0".to_owned(),
            ..ListOptions::default()
        };
        let list = storage
            .list(&scope, &options, Arc::new(Everything))
            .await
            .map_err(status::internal)?;
        let mut slices = Vec::new();
        for entry in list.iter() {
            let object = resource.decode_stored(&entry.value(), entry.resource_version())?;
            if object
                .metadata()
                .labels
                .get("kubernetes.io/service-name")
                .map(String::as_str)
                == Some(name)
                && let Ok(slice) = object.into_value().downcast::<EndpointSlice>()
            {
                slices.push(*slice);
            }
        }
        Ok(slices)
    }
}

impl ServiceResolver for ClusterServices {
    fn resolve<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<(String, u16), String>> {
        Box::pin(self.find(namespace, name, port))
    }
}

fn has_cluster_ip(service: &Service) -> bool {
    matches!(
        service.spec.type_.as_str(),
        "ClusterIP" | "LoadBalancer" | "NodePort"
    )
}

fn unsupported(service: &Service) -> String {
    format!("unsupported service type {:?}", service.spec.type_)
}

fn no_port(service: &Service, port: u16) -> String {
    format!(
        "no service port {port} found for service {:?}",
        service.metadata.name
    )
}

/// The address that the Service itself has.
pub(crate) fn cluster_ip(service: &Service, port: u16) -> Result<(String, u16), String> {
    let spec = &service.spec;
    if spec.type_ == "ClusterIP" && spec.cluster_ip == "None" {
        return Err("cannot route to service with ClusterIP \"None\"".to_owned());
    }
    if has_cluster_ip(service) {
        let known = spec.ports.iter().any(|row| row.port == i32::from(port));
        return match known {
            true => Ok((spec.cluster_ip.clone(), port)),
            false => Err(no_port(service, port)),
        };
    }
    if spec.type_ == "ExternalName" {
        return Ok((spec.external_name.clone(), port));
    }
    Err(unsupported(service))
}

/// A ready endpoint, of the Service's first IP family if there is one.
pub(crate) fn endpoint(
    service: &Service,
    slices: &[EndpointSlice],
    name: &str,
    port: u16,
) -> Result<(String, u16), String> {
    if !has_cluster_ip(service) {
        return Err(unsupported(service));
    }
    let port = service
        .spec
        .ports
        .iter()
        .find(|row| row.port == i32::from(port))
        .ok_or_else(|| no_port(service, port))?;
    let mut slices: Vec<&EndpointSlice> = slices.iter().collect();
    slices.shuffle(&mut rand::rng());
    if let Some(family) = service.spec.ip_families.first() {
        slices.sort_by_key(|slice| slice.address_type != *family);
    }
    for slice in slices {
        let number = slice
            .ports
            .iter()
            .find(|row| row.name.as_deref() == Some(&port.name))
            .and_then(|row| u16::try_from(row.port?).ok());
        let Some(number) = number else { continue };
        let ready = slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.ready != Some(false));
        let mut addresses: Vec<&String> = ready
            .filter_map(|endpoint| endpoint.addresses.first())
            .collect();
        addresses.shuffle(&mut rand::rng());
        if let Some(address) = addresses.first() {
            return Ok(((*address).clone(), number));
        }
    }
    Err(format!("no endpoints available for service {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::ServicePort;

    fn service(type_: &str, cluster_ip: &str) -> Service {
        let mut service = Service::default();
        service.metadata.name = "hook".to_owned();
        service.spec.type_ = type_.to_owned();
        service.spec.cluster_ip = cluster_ip.to_owned();
        service.spec.external_name = "hook.example".to_owned();
        service.spec.ports = vec![ServicePort {
            port: 8443,
            ..ServicePort::default()
        }];
        service
    }

    #[test]
    fn addresses_of_services() {
        let check = |type_: &str, ip: &str, port: u16, want: Result<(&str, u16), &str>| {
            let found = cluster_ip(&service(type_, ip), port);
            let want = want
                .map(|(host, port)| (host.to_owned(), port))
                .map_err(str::to_owned);
            assert_eq!(found, want, "{type_} {ip} {port}");
        };
        check("ClusterIP", "10.0.0.7", 8443, Ok(("10.0.0.7", 8443)));
        check("NodePort", "10.0.0.7", 8443, Ok(("10.0.0.7", 8443)));
        check("ExternalName", "", 443, Ok(("hook.example", 443)));
        check(
            "ClusterIP",
            "10.0.0.7",
            443,
            Err("no service port 443 found for service \"hook\""),
        );
        check(
            "ClusterIP",
            "None",
            8443,
            Err("cannot route to service with ClusterIP \"None\""),
        );
        check("Other", "", 8443, Err("unsupported service type \"Other\""));
    }
}

//! Where the server behind a Service is dialed. Upstream: apiserver/pkg/util/proxy and kube-aggregator's resolvers.

use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;

use crate::webhook::{cluster_ip, endpoint};

/// A Service as the cluster has it now.
#[derive(Default)]
pub(super) struct Backend {
    pub(super) service: Option<Box<Service>>,
    pub(super) slices: Vec<EndpointSlice>,
}

impl Backend {
    /// Host and port to dial: the Service's address, or with `routing` that of one of its ready endpoints.
    pub(super) fn resolve(
        &self,
        name: &str,
        port: u16,
        routing: bool,
    ) -> Result<(String, u16), String> {
        let service = self
            .service
            .as_deref()
            .ok_or_else(|| format!("service {name:?} not found"))?;
        if routing {
            endpoint(service, &self.slices, name, port)
        } else {
            cluster_ip(service, port)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use api_types::core::v1::ServicePort;
    use api_types::discovery::v1::{Endpoint, EndpointPort};

    use super::*;

    pub(in crate::aggregator) fn service(type_: &str) -> Service {
        let mut service = Service::default();
        service.metadata.name = "api".to_owned();
        service.metadata.namespace = "ns".to_owned();
        service.spec.type_ = type_.to_owned();
        service.spec.cluster_ip = "10.0.0.7".to_owned();
        service.spec.external_name = "api.example".to_owned();
        service.spec.ports = vec![ServicePort {
            name: "https".to_owned(),
            port: 443,
            ..ServicePort::default()
        }];
        service
    }

    pub(in crate::aggregator) fn slice(address: &str, ready: Option<bool>) -> EndpointSlice {
        let mut endpoint = Endpoint {
            addresses: vec![address.to_owned()],
            ..Endpoint::default()
        };
        endpoint.conditions.ready = ready;
        EndpointSlice {
            address_type: if address.contains(':') {
                "IPv6"
            } else {
                "IPv4"
            }
            .to_owned(),
            endpoints: vec![endpoint],
            ports: vec![EndpointPort {
                name: Some("https".to_owned()),
                port: Some(8443),
                ..EndpointPort::default()
            }],
            ..EndpointSlice::default()
        }
    }

    fn backend(service: Service, slices: Vec<EndpointSlice>) -> Backend {
        Backend {
            service: Some(Box::new(service)),
            slices,
        }
    }

    #[track_caller]
    fn check(found: Result<(String, u16), String>, want: Result<(&str, u16), &str>) {
        let want = want
            .map(|(host, port)| (host.to_owned(), port))
            .map_err(str::to_owned);
        assert_eq!(found, want);
    }

    #[test]
    fn addresses_of_services() {
        let resolve =
            |service: Service, port| backend(service, Vec::new()).resolve("api", port, false);
        check(resolve(service("ClusterIP"), 443), Ok(("10.0.0.7", 443)));
        check(resolve(service("NodePort"), 443), Ok(("10.0.0.7", 443)));
        check(
            resolve(service("ExternalName"), 8443),
            Ok(("api.example", 8443)),
        );
        check(
            resolve(service("ClusterIP"), 444),
            Err("no service port 444 found for service \"api\""),
        );
        let mut headless = service("ClusterIP");
        headless.spec.cluster_ip = "None".to_owned();
        check(
            resolve(headless, 443),
            Err("cannot route to service with ClusterIP \"None\""),
        );
        check(
            Backend::default().resolve("api", 443, false),
            Err("service \"api\" not found"),
        );
    }

    #[test]
    fn endpoints_are_ready_ones_and_of_the_first_family() {
        let resolve = |slices| backend(service("ClusterIP"), slices).resolve("api", 443, true);
        check(
            resolve(vec![slice("10.1.0.1", None)]),
            Ok(("10.1.0.1", 8443)),
        );
        check(
            resolve(vec![
                slice("10.1.0.1", Some(false)),
                slice("10.1.0.2", None),
            ]),
            Ok(("10.1.0.2", 8443)),
        );
        check(
            resolve(vec![slice("10.1.0.1", Some(false))]),
            Err("no endpoints available for service \"api\""),
        );
        let mut dual = service("ClusterIP");
        dual.spec.ip_families = vec!["IPv6".to_owned(), "IPv4".to_owned()];
        let slices = vec![slice("10.1.0.1", None), slice("fd00::1", None)];
        check(
            backend(dual, slices).resolve("api", 443, true),
            Ok(("fd00::1", 8443)),
        );
        check(
            backend(service("ExternalName"), Vec::new()).resolve("api", 443, true),
            Err("unsupported service type \"ExternalName\""),
        );
    }
}

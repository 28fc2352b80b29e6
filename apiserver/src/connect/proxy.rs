//! HTTP proxies to nodes, pods and services. Upstream: the ResourceLocation functions of pkg/registry/core and
//! apimachinery/pkg/util/proxy.

use std::net::IpAddr;
use std::sync::Arc;

use api_types::core::v1::{Pod, Service};
use api_types::discovery::v1::{Endpoint, EndpointSlice};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use apimachinery::validation::{is_global_unicast, parse_ip_sloppy};
use client::streaming;
use component_base::serving::{Body, Response};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use rand::seq::SliceRandom as _;

use super::dial::{self, Target};
use super::links::Links;
use super::relay;
use super::{Upgrade, node_of, pod_of};
use crate::handlers;
use crate::loopback::Loopback;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// `[scheme:]name[:port]` in its parts, or None when it is none.
fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    match parts.as_slice() {
        [name] if !name.is_empty() => Some(("", name, "")),
        [name, port] if !name.is_empty() => Some(("", name, port)),
        [scheme @ ("" | "http" | "https"), name, port] if !name.is_empty() => {
            Some((scheme, name, port))
        }
        _ => None,
    }
}

/// An address that is one host's others can reach. Those of this host and of its link are not for clients. What has leading zeros is
/// decimal, as everywhere in the API, and it is the address that was judged that is dialed.
fn proxyable(address: &str) -> Result<IpAddr, StatusError> {
    parse_ip_sloppy(address)
        .filter(|address| is_global_unicast(*address))
        .ok_or_else(|| status::bad_request("address not allowed"))
}

/// The addresses of a host, each of which must be one that clients may reach.
async fn proxyable_host(host: &str) -> Result<Vec<IpAddr>, StatusError> {
    let found = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|error| status::bad_request(error.to_string()))?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if found.is_empty() {
        return Err(status::bad_request("no addresses for hostname"));
    }
    if !found.iter().all(|address| is_global_unicast(*address)) {
        return Err(status::bad_request("address not allowed"));
    }
    Ok(found)
}

async fn node_target(server: &Arc<ApiServer>, id: &str) -> Result<Target, StatusError> {
    let (scheme, name, port) =
        split(id).ok_or_else(|| status::bad_request(format!("invalid node request {id:?}")))?;
    let mut kubelet = server
        .connector
        .kubelet(&node_of(server, "nodes", name).await?, false)?
        .target;
    kubelet.found = proxyable_host(&kubelet.host).await?;
    if port.is_empty() || port == kubelet.port.to_string() {
        return Ok(kubelet);
    }
    Ok(Target {
        security: server.connector.security(scheme),
        port: number(port)?,
        ..kubelet
    })
}

fn number(port: &str) -> Result<u16, StatusError> {
    port.parse()
        .map_err(|_| status::bad_request(format!("invalid port {port:?}")))
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

async fn pod_target(
    server: &Arc<ApiServer>,
    namespace: &str,
    id: &str,
) -> Result<Target, StatusError> {
    let (scheme, name, port) =
        split(id).ok_or_else(|| status::bad_request(format!("invalid pod request {id:?}")))?;
    let pod = pod_of(server, namespace, name).await?;
    let port = if port.is_empty() {
        let declared = pod
            .spec
            .containers
            .iter()
            .flat_map(|container| &container.ports);
        declared
            .map(|port| port.container_port)
            .next()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or_else(|| default_port(scheme))
    } else {
        number(port)?
    };
    let address = pod
        .status
        .pod_ips
        .first()
        .map_or(&pod.status.pod_ip, |address| &address.ip);
    Ok(at(server, scheme, proxyable(address)?, port))
}

/// A server that nobody vouches for.
fn at(server: &ApiServer, scheme: &str, address: IpAddr, port: u16) -> Target {
    Target {
        security: server.connector.security(scheme),
        host: address.to_string(),
        found: vec![address],
        port,
        via: server.connector.via.clone(),
    }
}

async fn service_target(
    server: &Arc<ApiServer>,
    namespace: &str,
    id: &str,
) -> Result<Target, StatusError> {
    let (scheme, name, port) =
        split(id).ok_or_else(|| status::bad_request(format!("invalid service request {id:?}")))?;
    let loopback = Loopback::new(server);
    let service = loopback
        .get::<Service>(namespace, name)
        .await?
        .ok_or_else(|| status::not_found(&GroupResource::new("", "services"), name))?;
    // Ports of endpoints have the names of the service's ports.
    let mut port_name = port.to_owned();
    if let Ok(wanted) = port.parse::<i64>() {
        match service
            .spec
            .ports
            .iter()
            .find(|port| i64::from(port.port) == wanted)
        {
            Some(found) => port_name.clone_from(&found.name),
            None => {
                return Err(status::service_unavailable(format!(
                    "no service port {wanted} found for service {name:?}"
                )));
            }
        }
    }
    let slices = loopback.list::<EndpointSlice>(namespace).await?;
    let of_service = |slice: &&EndpointSlice| {
        slice
            .metadata
            .labels
            .get("kubernetes.io/service-name")
            .is_some_and(|of| of == name)
    };
    if !slices.iter().any(|slice| of_service(&slice)) {
        return Err(status::not_found(&GroupResource::new("", "services"), name));
    }
    let mut candidates: Vec<(&Endpoint, u16)> = slices
        .iter()
        .filter(|slice| of_service(slice) && slice.address_type != "FQDN")
        .flat_map(|slice| {
            let port = slice
                .ports
                .iter()
                .find(|port| port.name.as_deref().unwrap_or_default() == port_name)
                .and_then(|port| u16::try_from(port.port?).ok());
            let ready = slice
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.conditions.ready != Some(false));
            ready.filter_map(move |endpoint| Some((endpoint, port?)))
        })
        .collect();
    candidates.shuffle(&mut rand::rng());
    for (endpoint, port) in candidates {
        if let Some(address) = pod_address(&loopback, namespace, endpoint).await? {
            return Ok(at(server, scheme, proxyable(address)?, port));
        }
    }
    let mut of_it = slices.iter().filter(of_service);
    let shown = if of_it.all(|slice| slice.endpoints.is_empty()) {
        name
    } else {
        id
    };
    Err(status::service_unavailable(format!(
        "no endpoints available for service {shown:?}"
    )))
}

/// The address of an endpoint that is a pod of the namespace: who may write endpoints must not choose what this server connects to.
/// Upstream: isValidAddress of pkg/registry/core/service/storage.
async fn pod_address<'a>(
    loopback: &Loopback,
    namespace: &str,
    endpoint: &'a Endpoint,
) -> Result<Option<&'a str>, StatusError> {
    let (Some(address), Some(target)) = (endpoint.addresses.first(), &endpoint.target_ref) else {
        return Ok(None);
    };
    if target.namespace != namespace {
        return Ok(None);
    }
    let pod = loopback.get::<Pod>(namespace, &target.name).await?;
    let its = |pod: Pod| pod.status.pod_ips.iter().any(|ip| ip.ip == *address);
    Ok(pod.is_some_and(its).then_some(address))
}

/// What comes after `/proxy` in a path, as the client wrote it.
fn rest_of(cx: &RequestContext, namespaced: bool) -> &str {
    // "", api, version, [namespaces, namespace,] resource, name, proxy, rest
    let before = if namespaced { 8 } else { 6 };
    cx.uri
        .path()
        .splitn(before + 1, '/')
        .nth(before)
        .unwrap_or_default()
}

/// Passes a request on.
pub(super) async fn serve(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &handlers::Endpoint,
    body: Body,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let info = &cx.info;
    let target = match endpoint.resource.info.resource {
        "nodes" => node_target(server, &info.name).await?,
        "pods" => pod_target(server, &info.namespace, &info.name).await?,
        _ => service_target(server, &info.namespace, &info.name).await?,
    };
    let rest = rest_of(cx, endpoint.resource.info.namespaced);
    let path_of_url = cx.uri.path();
    let query = cx
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let path = format!("/{rest}{query}");
    if streaming::is_upgrade_request(&cx.headers)
        && let Some(client) = upgrade
    {
        return relay::upgrade(cx, &target, &path, client).await;
    }
    // Relative links of a page at the root work only below a slash.
    if rest.is_empty()
        && !path_of_url.ends_with('/')
        && matches!(cx.method, Method::GET | Method::HEAD)
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(location) = HeaderValue::try_from(format!("{path_of_url}/{query}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let prefix = path_of_url
        .strip_suffix(rest)
        .unwrap_or(path_of_url)
        .trim_end_matches('/');
    let mut request = Request::new(body);
    *request.method_mut() = cx.method.clone();
    *request.uri_mut() = path
        .parse()
        .map_err(|error| relay::plain_error(format!("{error}")))?;
    let mut headers = relay::own_headers(cx);
    relay::remove_hop_by_hop(&mut headers);
    for (name, value) in [
        ("x-forwarded-uri", path_of_url.to_owned()),
        ("x-forwarded-host", cx.header(header::HOST).to_owned()),
        (
            "x-forwarded-proto",
            if cx.connection.tls { "https" } else { "http" }.to_owned(),
        ),
    ] {
        if let Ok(value) = HeaderValue::try_from(value)
            && !value.is_empty()
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    *request.headers_mut() = headers;
    let answer = dial::send(&target, request).await.map_err(|error| {
        status::service_unavailable(format!("error trying to reach service: {error}"))
    })?;
    let mut response = relay::passed_on(answer);
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
    ] {
        response.headers_mut().remove(name);
    }
    let links = Links {
        prefix: prefix.to_owned(),
        backend: target.authority(),
        asked: cx.header(header::HOST).to_owned(),
    };
    Ok(links.rewrite(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_scheme_and_port() {
        assert_eq!(split("a"), Some(("", "a", "")));
        assert_eq!(split("a:80"), Some(("", "a", "80")));
        assert_eq!(split("https:a:web"), Some(("https", "a", "web")));
        assert_eq!(split("https:a:"), Some(("https", "a", "")));
        assert_eq!(split("ftp:a:1"), None);
        assert_eq!(split(""), None);
        assert_eq!(split("a:b:c:d"), None);
    }

    #[test]
    fn addresses_of_this_host_are_refused() {
        for address in [
            "127.0.0.1",
            "127.000.000.001",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "",
            "224.0.0.1",
            "239.1.2.3",
            "ff05::1",
            "255.255.255.255",
            "localhost",
        ] {
            assert!(proxyable(address).is_err(), "{address}");
        }
        assert!(proxyable("10.1.2.3").is_ok());
    }

    /// CVE-2021-29923: leading zeros are octal to some.
    #[test]
    fn cve_2021_29923_addresses_are_decimal() {
        for (text, address) in [("010.9.8.7", "10.9.8.7"), ("0177.0.0.1", "177.0.0.1")] {
            assert_eq!(proxyable(text).unwrap().to_string(), address);
        }
    }
}

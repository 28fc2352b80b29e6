//! `--egress-selector-config-file`. Upstream: egressselector/config.go and connectionToDialerCreator.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use apimachinery::field::{self, ErrorList, Path};
use apimachinery::os_error;
use apimachinery::quote::quote;
use client::config::{CertificateSource, TlsSettings};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};

use super::http_connect::{Address, HttpConnect};
use super::metrics::EgressMetrics;
use super::tunnel::Tunnels;
use super::{Dialer, Egress, Proxy};
use crate::admission::configuration::strict;

const KINDS: [(&str, &str); 2] = [
    ("apiserver.k8s.io/v1beta1", "EgressSelectorConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "EgressSelectorConfiguration"),
];
const NAMES: [&str; 3] = ["cluster", "controlplane", "etcd"];
const PROTOCOLS: [&str; 3] = ["Direct", "HTTPConnect", "GRPC"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    egress_selections: Option<Vec<Selection>>,
}

impl Configuration {
    fn selections(&self) -> &[Selection] {
        self.egress_selections.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Selection {
    name: String,
    connection: Connection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Connection {
    proxy_protocol: String,
    transport: Option<Transport>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transport {
    tcp: Option<Tcp>,
    uds: Option<Uds>,
}

/// Serialized as errors show it, as [`Tls`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Tcp {
    #[serde(rename(serialize = "URL"))]
    url: String,
    #[serde(rename(serialize = "TLSConfig"))]
    tls_config: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Uds {
    uds_name: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(
    rename_all(deserialize = "camelCase", serialize = "PascalCase"),
    default
)]
struct Tls {
    #[serde(rename(serialize = "CABundle"))]
    ca_bundle: String,
    client_key: String,
    client_cert: String,
    #[serde(rename(serialize = "TLSServerName"))]
    tls_server_name: String,
}

fn known(path: &str, name: &str) -> bool {
    const CONNECTION: &str = "egressSelections.connection";
    let members: &[&str] = match path.strip_prefix(CONNECTION) {
        None if path.is_empty() => &["egressSelections"],
        None if path == "egressSelections" => &["name", "connection"],
        Some("") => &["proxyProtocol", "transport"],
        Some(".transport") => &["tcp", "uds"],
        Some(".transport.tcp") => &["url", "tlsConfig"],
        Some(".transport.uds") => &["udsName"],
        Some(".transport.tcp.tlsConfig") => {
            &["caBundle", "clientKey", "clientCert", "tlsServerName"]
        }
        _ => &[],
    };
    members.contains(&name)
}

pub(super) fn read(file: &FilePath, metrics: &EgressMetrics) -> Result<Egress, String> {
    let unread = |why: String| format!("failed to read egress selector config: {why}");
    let text = std::fs::read(file).map_err(|error| {
        let why = os_error::on_reading(file, &error);
        let file = quote(&file.to_string_lossy());
        unread(format!(
            "unable to read egress selector configuration from {file} [{why}]"
        ))
    })?;
    let configuration: Configuration = strict(&text, &KINDS, &known).map_err(unread)?;
    if let Some(problems) = validate(&configuration).aggregate() {
        return Err(format!(
            "failed to validate egress selector configuration: {problems}"
        ));
    }
    let mut egress = Egress::default();
    let mut named = Vec::new();
    for selection in configuration.selections() {
        let name = selection.name.to_lowercase();
        let dialer = dialer(&selection.connection, metrics).map_err(|why| {
            format!(
                "failed to setup egress selector: failed to create dialer for egressSelection {}: {why}",
                quote(&name)
            )
        })?;
        match name.as_str() {
            "cluster" => egress.cluster = dialer,
            "controlplane" => egress.control_plane = dialer,
            _ => egress.etcd = dialer,
        }
        named.push(name);
    }
    egress.named = configuration.egress_selections.is_some().then_some(named);
    Ok(egress)
}

fn validate(configuration: &Configuration) -> ErrorList {
    let path = Path::new("service").child("connection");
    let mut errors = ErrorList::new();
    for Selection { connection, .. } in configuration.selections() {
        let transport = connection.transport.as_ref();
        match connection.proxy_protocol.as_str() {
            "Direct" if transport.is_some() => {
                let path = path.child("transport");
                let why = "config must be absent for direct connect";
                errors.push(field::invalid(&path, "direct", why));
            }
            "Direct" => {}
            "HTTPConnect" => errors.extend(validate_http_connect(transport, &path)),
            "GRPC" => errors.extend(validate_grpc(transport, &path)),
            other => {
                let path = path.child("protocol");
                errors.push(field::not_supported(&path, other, &PROTOCOLS));
            }
        }
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, selection) in configuration.selections().iter().enumerate() {
        let name = selection.name.to_lowercase();
        if seen.contains(&name) {
            errors.push(field::duplicate(&path.index(index), name.as_str()));
            continue;
        }
        if !NAMES.contains(&&*name) {
            errors.push(field::not_supported(&path, name.as_str(), &NAMES));
        }
        seen.push(name);
    }
    errors
}

fn validate_http_connect(transport: Option<&Transport>, path: &Path) -> ErrorList {
    let Some(transport) = transport else {
        let why = "transport must be set for HTTPConnect";
        return field::required(&path.child("transport"), why).into();
    };
    match (&transport.tcp, &transport.uds) {
        (Some(tcp), Some(_)) => {
            let shown = serde_json::to_string(tcp).unwrap_or_default();
            let why = "TCP and UDS cannot both be set";
            field::invalid(&path.child("tcp"), field::BadValue::Text(shown), why).into()
        }
        (None, None) => field::required(&path.child("tcp"), "One of TCP or UDS must be set").into(),
        (Some(tcp), None) => validate_tcp(tcp, path),
        (None, Some(uds)) => validate_uds(uds, path),
    }
}

fn validate_grpc(transport: Option<&Transport>, path: &Path) -> ErrorList {
    let Some(transport) = transport else {
        let why = "transport must be set for GRPC";
        return field::required(&path.child("transport"), why).into();
    };
    match &transport.uds {
        Some(uds) => validate_uds(uds, path),
        None => field::required(&path.child("uds"), "UDS must be set with GRPC").into(),
    }
}

fn validate_uds(uds: &Uds, path: &Path) -> ErrorList {
    if !uds.uds_name.is_empty() {
        return ErrorList::new();
    }
    let why = "must be present for UDS connections";
    field::invalid(&path.child("udsName"), "nil", why).into()
}

fn validate_tcp(tcp: &Tcp, path: &Path) -> ErrorList {
    let tls_path = path.child("tlsConfig");
    if tcp.url.starts_with("http://") {
        if tcp.tls_config.is_none() {
            return ErrorList::new();
        }
        let why = "config must not be present when using HTTP";
        return field::invalid(&tls_path, "nil", why).into();
    }
    if !tcp.url.starts_with("https://") {
        let why = "supported connection protocols are http:// and https://";
        return field::invalid(&path.child("url"), tcp.url.as_str(), why).into();
    }
    let Some(tls) = &tcp.tls_config else {
        let why = "TLSConfig must be present when using HTTPS";
        return field::required(&tls_path, why).into();
    };
    let mut errors = ErrorList::new();
    let mut check = |name: &'static str, file: &str, absent: &str, missing: &str| {
        let path = tls_path.child(name);
        if file.is_empty() {
            if !absent.is_empty() {
                errors.push(field::invalid(&path, "nil", absent.to_owned()));
            }
        } else if !FilePath::new(file).exists() {
            errors.push(field::invalid(&path, file, missing.to_owned()));
        }
    };
    check(
        "caBundle",
        &tls.ca_bundle,
        "",
        "TLS config ca bundle does not exist",
    );
    check(
        "clientCert",
        &tls.client_cert,
        "Using TLS requires clientCert",
        "TLS client cert does not exist",
    );
    check(
        "clientKey",
        &tls.client_key,
        "Using TLS requires requires clientKey",
        "TLS client key does not exist",
    );
    errors
}

/// Of a connection that is valid.
fn dialer(connection: &Connection, metrics: &EgressMetrics) -> Result<Dialer, String> {
    let at = match (connection.proxy_protocol.as_str(), &connection.transport) {
        ("HTTPConnect", Some(Transport { uds: Some(uds), .. })) => {
            Address::Unix(PathBuf::from(&uds.uds_name))
        }
        ("HTTPConnect", Some(Transport { tcp: Some(tcp), .. })) => tcp_address(tcp)?,
        ("GRPC", Some(Transport { uds: Some(uds), .. })) => {
            return Ok(Dialer(Some(Proxy::Grpc(Arc::new(Tunnels {
                socket: PathBuf::from(&uds.uds_name),
                dials: metrics.dials("grpc", "uds"),
                metrics: metrics.tunnels.clone(),
            })))));
        }
        _ => return Ok(Dialer::default()),
    };
    let dials = metrics.dials("http_connect", at.transport());
    let proxy = HttpConnect { at, dials };
    Ok(Dialer(Some(Proxy::HttpConnect(Arc::new(proxy)))))
}

fn tcp_address(tcp: &Tcp) -> Result<Address, String> {
    let wrong = |why: &dyn std::fmt::Display| {
        format!("invalid proxy server url {}: {why}", quote(&tcp.url))
    };
    let url = url::Url::parse(&tcp.url).map_err(|error| wrong(&error))?;
    let host = url.host_str().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url
        .port_or_known_default()
        .ok_or_else(|| wrong(&"no port"))?;
    let Some(tls) = &tcp.tls_config else {
        return Ok(Address::Tcp {
            host,
            port,
            tls: None,
        });
    };
    let file =
        |path: &str| (!path.is_empty()).then(|| CertificateSource::File(PathBuf::from(path)));
    let settings = TlsSettings {
        ca: file(&tls.ca_bundle),
        client_certificate: file(&tls.client_cert),
        client_key: file(&tls.client_key),
        ..TlsSettings::default()
    };
    let config = settings.client_config(&[]).map_err(|error| {
        let (cert, key) = (&tls.client_cert, &tls.client_key);
        format!("failed to read key pair {cert} & {key}, got {error}")
    })?;
    let name = match tls.tls_server_name.as_str() {
        "" => host.clone(),
        name => name.to_owned(),
    };
    let name = match name.parse::<std::net::IpAddr>() {
        Ok(address) => ServerName::IpAddress(address.into()),
        Err(_) => ServerName::try_from(name).map_err(|error| wrong(&error))?,
    };
    Ok(Address::Tcp {
        host,
        port,
        tls: Some((Arc::new(config), name)),
    })
}

#[cfg(test)]
mod tests {
    use component_base::metrics::Metrics;

    use super::*;

    fn problem(selections: &str) -> Option<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("egress.yaml");
        let text = format!(
            "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections: {selections}\n"
        );
        std::fs::write(&file, text).expect("written");
        let metrics = EgressMetrics::new(&Metrics::default());
        read(&file, &metrics).err()
    }

    #[test]
    fn configurations() {
        let direct = "[{name: Cluster, connection: {proxyProtocol: Direct}}, {name: etcd, connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: /run/p}}}}]";
        assert_eq!(problem(direct), None);
        let grpc = "[{name: Cluster, connection: {proxyProtocol: GRPC, transport: {uds: {udsName: /run/p}}}}]";
        assert_eq!(problem(grpc), None);
        let invalid = "failed to validate egress selector configuration:";
        for (selections, expected) in [
            (
                "[{name: x, connection: {proxyProtocol: Pigeon}}]",
                format!(
                    "{invalid} [service.connection.protocol: Unsupported value: \"Pigeon\": supported values: \"Direct\", \"HTTPConnect\", \
                     \"GRPC\", service.connection: Unsupported value: \"x\": supported values: \"cluster\", \"controlplane\", \"etcd\"]"
                ),
            ),
            (
                "[{name: etcd, connection: {proxyProtocol: Direct}}, {name: ETCD, connection: {proxyProtocol: Direct, transport: {}}}]",
                format!(
                    "{invalid} [service.connection.transport: Invalid value: \"direct\": config must be absent for direct connect, \
                     service.connection[1]: Duplicate value: \"etcd\"]"
                ),
            ),
            (
                "[{name: etcd, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: 'https://p:1', tlsConfig: {clientCert: /none}}}}}]",
                format!(
                    "{invalid} [service.connection.tlsConfig.clientCert: Invalid value: \"/none\": TLS client cert does not exist, \
                     service.connection.tlsConfig.clientKey: Invalid value: \"nil\": Using TLS requires requires clientKey]"
                ),
            ),
            (
                "[{name: etcd, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: 'https://p:1', tlsConfig: {caBundle: /a}}, uds: {}}}}]",
                format!(
                    "{invalid} service.connection.tcp: Invalid value: {{\"URL\":\"https://p:1\",\"TLSConfig\":{{\"CABundle\":\"/a\",\"ClientKey\":\"\",\
                     \"ClientCert\":\"\",\"TLSServerName\":\"\"}}}}: TCP and UDS cannot both be set"
                ),
            ),
            (
                "[{name: etcd, connection: {proxyProtocol: GRPC, transport: {tcp: {url: 'http://p:1'}}}}, {name: cluster, connection: {proxyProtocol: GRPC, transport: {uds: {}}}}]",
                format!(
                    "{invalid} [service.connection.uds: Required value: UDS must be set with GRPC, \
                     service.connection.udsName: Invalid value: \"nil\": must be present for UDS connections]"
                ),
            ),
            (
                "[{name: etcd, connection: {proxy: Direct}}]",
                "failed to read egress selector config: strict decoding error: unknown field \"egressSelections[0].connection.proxy\""
                    .to_owned(),
            ),
        ] {
            assert_eq!(problem(selections), Some(expected));
        }
    }
}

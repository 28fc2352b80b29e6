//! What the command line says, resolved: files read, defaults filled in, everything checked before a socket is opened.
//! Upstream: cmd/kube-apiserver/app/options and pkg/controlplane/apiserver/options.

pub mod flags;
pub mod reload;
mod validation;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use apimachinery::quote::quote;
use apimachinery::{duration, os_error};
use client::config::key_pair;
use component_base::features::FeatureGates;
use component_base::flags::{Flags, PortRange};
use component_base::serving::SecureServingOptions;
use ipnet::IpNet;

pub(crate) use self::validation::parse_bool;
use crate::authn::configuration::AuthenticationSettings;
use crate::authn::jws::{KeyError, PrivateKey};
use crate::authz::configuration::AuthorizationSettings;
use crate::storage::{EtcdConfig, LeaseConfig, TlsFiles};

/// Settings that cannot be used. What contradicts itself is told in one run; what cannot even be understood is told alone, as
/// upstream does.
#[derive(Debug, thiserror::Error)]
#[error("{}", component_base::aggregate(.0))]
pub struct ConfigError(pub Vec<String>);

impl From<String> for ConfigError {
    fn from(problem: String) -> Self {
        Self(vec![problem])
    }
}

/// How kubelets are reached.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub certificate_authority: Option<PathBuf>,
    /// Node address types, best first.
    pub preferred_address_types: Vec<String>,
    /// Where kubelets listen whose nodes do not say it.
    pub port: i32,
    pub timeout: Duration,
}

/// Everything the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub flags: Flags,
    pub features: FeatureGates,
    pub serving: SecureServingOptions,
    pub etcd: EtcdConfig,
    pub etcd_healthcheck_timeout: Duration,
    pub etcd_readycheck_timeout: Duration,
    /// How long the server waits for its watch caches before it says that it is ready.
    pub storage_initialization_timeout: Duration,
    /// How many objects of a collection are deleted at once; at least one.
    pub delete_collection_workers: usize,
    pub advertise_address: IpAddr,
    pub service_cluster_ip_ranges: Vec<IpNet>,
    pub service_node_port_range: PortRange,
    /// Node port of default/kubernetes; 0 makes it a ClusterIP Service.
    pub kubernetes_service_node_port: u16,
    pub endpoint_reconciler: String,
    pub event_ttl: Duration,
    pub request_timeout: Duration,
    pub min_request_timeout: Duration,
    pub max_requests_inflight: usize,
    pub max_mutating_requests_inflight: usize,
    pub enable_garbage_collector: bool,
    /// `--allow-privileged`: whether pods may have privileged containers.
    pub allow_privileged: bool,
    pub kubelet: KubeletConfig,
    pub shutdown_delay: Duration,
    pub runtime_config: RuntimeConfig,
    /// Name of this server among its peers.
    pub hostname: String,
    pub livez_grace_period: Duration,
    /// Issuers of tokens, and who may be anonymous.
    pub authentication: AuthenticationSettings,
    /// Which authorizers there are.
    pub authorization: AuthorizationSettings,
}

/// `--runtime-config`: which group versions are served.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    settings: Vec<(String, bool)>,
}

impl RuntimeConfig {
    /// Reads `key=value` settings, `api/all`, `api/ga`, `api/beta`, `api/alpha`, `group/version` and
    /// `group/version/resource` among them. A key alone means true.
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> RuntimeConfig {
        let settings = settings
            .into_iter()
            .map(|(key, value)| {
                let on = value.is_empty() || parse_bool(&value).unwrap_or(false);
                let key = key.trim_start_matches('/');
                (
                    key.strip_prefix("api/v1")
                        .map_or_else(|| key.to_owned(), |rest| format!("v1{rest}")),
                    on,
                )
            })
            .collect();
        RuntimeConfig { settings }
    }

    fn setting(&self, key: &str) -> Option<bool> {
        self.settings
            .iter()
            .find(|(have, _)| have == key)
            .map(|(_, value)| *value)
    }

    /// Whether a resource is served; the most exact setting counts.
    pub fn serves(&self, group: &str, version: &str, resource: &str, default_on: bool) -> bool {
        let group_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let level = if version.contains("alpha") {
            "api/alpha"
        } else if version.contains("beta") {
            "api/beta"
        } else {
            "api/ga"
        };
        self.setting(&format!("{group_version}/{resource}"))
            .or_else(|| self.setting(&group_version))
            .or_else(|| self.setting(level))
            .or_else(|| self.setting("api/all"))
            .unwrap_or(default_on)
    }
}

impl Config {
    /// Where clients outside find this server: host and port for URLs.
    pub fn external_authority(&self) -> String {
        let host = match self.flags.non_empty("external-hostname") {
            Some(host) => host.to_owned(),
            None if self.advertise_address.is_ipv6() => format!("[{}]", self.advertise_address),
            None => self.advertise_address.to_string(),
        };
        let port = self.flags.int("secure-port");
        if host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            host
        } else {
            format!("{host}:{port}")
        }
    }

    /// Resolves the flags. Upstream: Complete, Validate and the flags' part of NewConfig.
    pub fn new(flags: Flags) -> Result<Config, ConfigError> {
        let features = FeatureGates::default()
            .with_components(flags.multimap("feature-gates"))
            .map_err(|problems| ConfigError(problems.iter().map(ToString::to_string).collect()))?;
        let ranges = service_ranges(flags.string("service-cluster-ip-range"))?;
        let bind_address = flags
            .ip("bind-address")
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let advertise_address = match flags.ip("advertise-address") {
            Some(address) if !address.is_unspecified() => address,
            _ if !bind_address.is_unspecified() => bind_address,
            _ => default_interface_address()?,
        };
        check_token_signing(&flags)?;
        check_watch_cache_sizes(&flags)?;
        let problems = validation::validate(&flags, &features, &ranges, advertise_address);
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let mut serving = SecureServingOptions::from_flags(&flags, "apiserver", true)
            .map_err(|error| error.to_string())?;
        serving.request_client_certificate = true;
        let concurrency =
            flags.int("max-requests-inflight") + flags.int("max-mutating-requests-inflight");
        if flags.bool("enable-priority-and-fairness") && concurrency <= 0 {
            return Err(ConfigError::from("invalid configuration: MaxRequestsInFlight=0 and MaxMutatingRequestsInFlight=0; they must add up to something positive".to_owned()));
        }
        validation::runtime_config(&flags)?;
        check_files(&flags)?;
        check_proxy_client(&flags)?;
        let authentication = AuthenticationSettings::from_flags(&flags)?;
        let authorization = AuthorizationSettings::from_flags(&flags).map_err(ConfigError)?;
        let endpoint_reconciler = flags.string("endpoint-reconciler-type").to_owned();
        if !matches!(&*endpoint_reconciler, "master-count" | "lease" | "none") {
            return Err(ConfigError::from(format!(
                "Reconciler not implemented: {endpoint_reconciler}"
            )));
        }
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        let tls = TlsFiles {
            ca_file: path("etcd-cafile"),
            cert_file: path("etcd-certfile"),
            key_file: path("etcd-keyfile"),
        };
        let etcd = EtcdConfig {
            endpoints: flags.strings("etcd-servers").to_vec(),
            prefix: format!("/{}", flags.string("etcd-prefix").trim_matches('/')),
            tls,
            compaction_interval: flags.duration("etcd-compaction-interval"),
            db_metric_poll_interval: flags.duration("etcd-db-metric-poll-interval"),
            count_metric_poll_period: flags.duration("etcd-count-metric-poll-period"),
            lease: LeaseConfig {
                reuse_duration: Duration::from_secs(
                    u64::try_from(flags.int("lease-reuse-duration-seconds")).unwrap_or(60),
                ),
                ..LeaseConfig::default()
            },
            consistency_check_period: match features.enabled("DetectCacheInconsistency") {
                true => EtcdConfig::default().consistency_check_period,
                false => Duration::ZERO,
            },
            ..EtcdConfig::default()
        };
        let runtime_config = RuntimeConfig::new(
            flags
                .map("runtime-config")
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        let inflight = |name: &str| usize::try_from(flags.int(name)).unwrap_or(0);
        Ok(Config {
            features,
            serving,
            etcd,
            etcd_healthcheck_timeout: flags.duration("etcd-healthcheck-timeout"),
            etcd_readycheck_timeout: flags.duration("etcd-readycheck-timeout"),
            storage_initialization_timeout: flags.duration("storage-initialization-timeout"),
            delete_collection_workers: usize::try_from(flags.int("delete-collection-workers"))
                .unwrap_or(0)
                .max(1),
            advertise_address,
            service_cluster_ip_ranges: ranges,
            service_node_port_range: flags.port_range("service-node-port-range"),
            kubernetes_service_node_port: u16::try_from(flags.int("kubernetes-service-node-port"))
                .unwrap_or(0),
            endpoint_reconciler,
            event_ttl: flags.duration("event-ttl"),
            request_timeout: flags.duration("request-timeout"),
            min_request_timeout: Duration::from_secs(
                u64::try_from(flags.int("min-request-timeout")).unwrap_or(1800),
            ),
            max_requests_inflight: inflight("max-requests-inflight"),
            max_mutating_requests_inflight: inflight("max-mutating-requests-inflight"),
            enable_garbage_collector: flags.bool("enable-garbage-collector"),
            allow_privileged: flags.bool("allow-privileged"),
            kubelet: KubeletConfig {
                client_certificate: path("kubelet-client-certificate"),
                client_key: path("kubelet-client-key"),
                certificate_authority: path("kubelet-certificate-authority"),
                preferred_address_types: flags.strings("kubelet-preferred-address-types").to_vec(),
                port: i32::try_from(flags.uint("kubelet-port")).unwrap_or(i32::MAX),
                timeout: flags.duration("kubelet-timeout"),
            },
            shutdown_delay: flags.duration("shutdown-delay-duration"),
            runtime_config,
            hostname: hostname(),
            livez_grace_period: flags.duration("livez-grace-period"),
            authentication,
            authorization,
            flags,
        })
    }
}

/// One range, or one of each family.
fn service_ranges(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() {
        // Upstream's deprecated default.
        return Ok("10.0.0.0/24".parse::<IpNet>().into_iter().collect());
    }
    let mut ranges = Vec::new();
    // Of more than two, the validation says that they are too many.
    for (i, element) in text.split(',').take(2).enumerate() {
        let range: IpNet = element.parse().map_err(|_| {
            let what = if i == 0 { "a valid cidr" } else { "an ip net" };
            format!("service-cluster-ip-range[{i}] is not {what}")
        })?;
        let range = range.trunc();
        if i == 0 && range.max_prefix_len() - range.prefix_len() < 3 {
            return Err("error determining service IP ranges for primary service cidr: the service cluster IP range must be at least 8 IP addresses".to_owned());
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// What must be in order before a token can be signed.
fn check_token_signing(flags: &Flags) -> Result<(), String> {
    let longest = flags.duration_nanos("service-account-max-token-expiration");
    let seconds = longest / duration::SECOND;
    if longest != 0 && !(3600..=1 << 32).contains(&seconds) {
        return Err(
            "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
                .to_owned(),
        );
    }
    let issuers = flags.strings("service-account-issuer");
    if issuers.first().is_none_or(String::is_empty) {
        return Ok(());
    }
    let Some(path) = flags.non_empty("service-account-signing-key-file") else {
        return Ok(());
    };
    if flags
        .non_empty("service-account-signing-endpoint")
        .is_some()
    {
        return Err("service-account-signing-key-file and service-account-signing-endpoint are mutually exclusive and cannot be set at the same time".to_owned());
    }
    let failed = |why: String| format!("failed to parse service-account-issuer-key-file: {why}");
    let pem = std::fs::read(path)
        .map_err(|error| failed(os_error::on_reading(Path::new(path), &error)))?;
    match PrivateKey::from_pem(&pem) {
        Ok(_) => Ok(()),
        Err(KeyError::NoKey(_)) => Err(failed(format!(
            "error reading private key file {path}: data does not contain a valid RSA or ECDSA private key"
        ))),
        Err(error) => Err(failed(format!(
            "error reading private key file {path}: {error}"
        ))),
    }
}

fn check_watch_cache_sizes(flags: &Flags) -> Result<(), String> {
    for element in flags.strings("watch-cache-sizes") {
        let [_, size] = element.split('#').collect::<Vec<_>>()[..] else {
            return Err(format!("invalid value of watch cache size: {element}"));
        };
        match size.parse::<i64>() {
            Err(_) => return Err(format!("invalid size of watch cache size: {element}")),
            Ok(size) if size < 0 => {
                return Err(format!("watch cache size cannot be negative: {element}"));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The certificate for aggregated servers, if there is one.
fn check_proxy_client(flags: &Flags) -> Result<(), String> {
    let proxy_client = [
        flags.non_empty("proxy-client-cert-file"),
        flags.non_empty("proxy-client-key-file"),
    ];
    if let [Some(certificate), Some(key)] = proxy_client {
        let read = |path: &str| {
            std::fs::read(path).map_err(|error| os_error::on_reading(Path::new(path), &error))
        };
        key_pair(&read(certificate)?, &read(key)?).map_err(|error| {
            format!("proxy client certificate {certificate} and key {key}: {error}")
        })?;
    }
    Ok(())
}

/// Files of features that are not built. That they cannot be read is told all the same.
fn check_files(flags: &Flags) -> Result<(), String> {
    for (name, before) in [
        (
            "egress-selector-config-file",
            "failed to read egress selector config: unable to read egress selector configuration from",
        ),
        (
            "admission-control-config-file",
            "failed to apply admission: failed to read plugin config: unable to read admission control configuration from",
        ),
    ] {
        let Some(path) = flags.non_empty(name) else {
            continue;
        };
        if let Err(error) = std::fs::read(path) {
            let why = os_error::on_reading(Path::new(path), &error);
            return Err(match (before, name) {
                (before, "egress-selector-config-file" | "admission-control-config-file") => {
                    format!("{before} {} [{why}]", quote(path))
                }
                (before, _) => format!("{before} {}: {why}", quote(path)),
            });
        }
    }
    Ok(())
}

/// The kernel's host name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "localhost".to_owned())
}

/// The address this machine talks to the world with. Nothing is sent.
fn default_interface_address() -> Result<IpAddr, String> {
    let address = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    address()
        .ok()
        .filter(|ip| !ip.is_unspecified())
        .ok_or_else(|| "Unable to find suitable network address.error='no default routes found in \"/proc/net/route\" or \"/proc/net/ipv6_route\"'. Try to set the AdvertiseAddress directly or provide a valid BindAddress to fix this.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_runtime_config_counts() {
        let settings = [
            ("api/all", "false"),
            ("apps/v1", "true"),
            ("batch/v1/jobs", "true"),
            ("api/beta", "true"),
        ];
        let config =
            RuntimeConfig::new(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(config.serves("apps", "v1", "deployments", true));
        assert!(config.serves("batch", "v1", "jobs", true));
        assert!(!config.serves("batch", "v1", "cronjobs", true));
        assert!(config.serves("networking.k8s.io", "v1beta1", "ipaddresses", false));
        let core = RuntimeConfig::new([("/v1/nodes".to_owned(), "false".to_owned())]);
        assert!(!core.serves("", "v1", "nodes", true));
    }
}

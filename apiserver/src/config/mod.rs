//! What the command line says, resolved: files read, defaults filled in, everything checked before a socket is opened.
//! Upstream: cmd/kube-apiserver/app/options and pkg/controlplane/apiserver/options.

pub mod flags;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use component_base::features::FeatureGates;
use component_base::flags::{Flags, PortRange};
use component_base::serving::SecureServingOptions;
use ipnet::IpNet;

use crate::storage::{EtcdConfig, LeaseConfig, TlsFiles};

/// A setting that cannot be used. All are reported in one run.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// How kubelets are reached.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub certificate_authority: Option<PathBuf>,
    /// Node address types, best first.
    pub preferred_address_types: Vec<String>,
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
}

/// `--runtime-config`: which group versions are served.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    settings: Vec<(String, bool)>,
}

impl RuntimeConfig {
    /// Reads `key=value` settings, `api/all`, `api/ga`, `api/beta`, `api/alpha`, `group/version` and
    /// `group/version/resource` among them.
    pub fn new(
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<RuntimeConfig, Vec<String>> {
        let mut errors = Vec::new();
        let mut parsed = Vec::new();
        for (key, value) in settings {
            match value.as_str() {
                "" | "true" => parsed.push((key, true)),
                "false" => parsed.push((key, false)),
                other => errors.push(format!(
                    "invalid value {other:?} for --runtime-config {key}: want true or false"
                )),
            }
        }
        if errors.is_empty() {
            Ok(RuntimeConfig { settings: parsed })
        } else {
            Err(errors)
        }
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

    /// Resolves the flags. Every problem is reported at once.
    pub fn new(flags: Flags) -> Result<Config, ConfigError> {
        let mut errors = Vec::new();
        let features =
            match FeatureGates::default().with_components(flags.multimap("feature-gates")) {
                Ok(features) => features,
                Err(problems) => {
                    errors.extend(problems.iter().map(ToString::to_string));
                    FeatureGates::default()
                }
            };
        let serving = match SecureServingOptions::from_flags(&flags, "apiserver", true) {
            Ok(mut serving) => {
                serving.request_client_certificate = true;
                serving
            }
            Err(error) => {
                errors.push(error.to_string());
                SecureServingOptions::default()
            }
        };
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        if flags.strings("etcd-servers").is_empty() {
            errors.push("--etcd-servers must be specified".to_owned());
        }
        if !matches!(flags.string("storage-backend"), "" | "etcd3") {
            errors.push(format!("--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3': {}", flags.string("storage-backend")));
        }
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
            lease: LeaseConfig {
                reuse_duration: Duration::from_secs(
                    u64::try_from(flags.int("lease-reuse-duration-seconds")).unwrap_or(60),
                ),
                ..LeaseConfig::default()
            },
            ..EtcdConfig::default()
        };
        let mut ranges = Vec::new();
        for text in flags
            .string("service-cluster-ip-range")
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            match text.parse::<IpNet>() {
                Ok(range) => ranges.push(range.trunc()),
                Err(_) => errors.push(format!(
                    "service-cluster-ip-range {text:?} is not a valid CIDR"
                )),
            }
        }
        if ranges.is_empty() {
            // Upstream's deprecated default.
            ranges.extend("10.0.0.0/24".parse::<IpNet>());
        }
        if ranges.len() > 2 {
            errors
                .push("--service-cluster-ip-range must not hold more than two entries".to_owned());
        }
        let advertise_address = flags
            .ip("advertise-address")
            .filter(|ip| !ip.is_unspecified())
            .unwrap_or_else(|| {
                if serving.bind_address.is_unspecified() {
                    default_interface_address()
                } else {
                    serving.bind_address
                }
            });
        let runtime_config = match RuntimeConfig::new(
            flags
                .map("runtime-config")
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        ) {
            Ok(config) => config,
            Err(problems) => {
                errors.extend(problems);
                RuntimeConfig::default()
            }
        };
        let inflight = |name: &str| usize::try_from(flags.int(name)).unwrap_or(0);
        let config = Config {
            features,
            serving,
            etcd,
            etcd_healthcheck_timeout: flags.duration("etcd-healthcheck-timeout"),
            advertise_address,
            service_cluster_ip_ranges: ranges,
            service_node_port_range: flags.port_range("service-node-port-range"),
            kubernetes_service_node_port: u16::try_from(flags.int("kubernetes-service-node-port"))
                .unwrap_or(0),
            endpoint_reconciler: flags.string("endpoint-reconciler-type").to_owned(),
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
                timeout: flags.duration("kubelet-timeout"),
            },
            shutdown_delay: flags.duration("shutdown-delay-duration"),
            runtime_config,
            hostname: hostname(),
            livez_grace_period: flags.duration("livez-grace-period"),
            flags,
        };
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(errors))
        }
    }
}

/// The kernel's host name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "localhost".to_owned())
}

/// The address this machine talks to the world with. Nothing is sent.
fn default_interface_address() -> IpAddr {
    let address = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    address()
        .ok()
        .filter(|ip| !ip.is_unspecified())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
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
            RuntimeConfig::new(settings.map(|(key, value)| (key.to_owned(), value.to_owned())))
                .unwrap();
        assert!(config.serves("apps", "v1", "deployments", true));
        assert!(config.serves("batch", "v1", "jobs", true));
        assert!(!config.serves("batch", "v1", "cronjobs", true));
        assert!(config.serves("networking.k8s.io", "v1beta1", "ipaddresses", false));
        assert!(RuntimeConfig::new([("a".to_owned(), "x".to_owned())]).is_err());
    }
}

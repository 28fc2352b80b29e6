//! Flags and the configuration file, resolved: after this no code asks where a value came from. Upstream: cmd/kube-proxy/app/options.go
//! and pkg/proxy/apis/config.

pub mod flags;
mod validation;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::kube_proxy_config::v1alpha1::KubeProxyConfiguration;
use apimachinery::duration;
use component_base::component_config::logging_options;
use component_base::config::Document;
use component_base::features::FeatureGates;
use component_base::flags::Flags;
use component_base::logs;
use ipnet::IpNet;

use crate::sys::Family;

/// Everything the daemon was told.
#[derive(Debug)]
pub struct Config {
    /// The file's content with defaults, also shown at /configz.
    pub component: KubeProxyConfiguration,
    pub node: String,
    pub master: String,
    pub healthz: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub cluster_ranges: Vec<IpNet>,
    /// None: node ports answer on the node's primary addresses.
    pub node_port_ranges: Option<Vec<IpNet>>,
    pub cleanup: bool,
    pub init_only: bool,
    /// `--write-config-to`: write the configuration there and end.
    pub write_config_to: Option<PathBuf>,
    pub logging: logs::Options,
}

/// Why the daemon cannot run as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something cannot be read.
    #[error("failed complete: {0}")]
    Complete(String),
    /// The log cannot be set up.
    #[error("initialize logging: logging.{0}")]
    Logging(String),
    /// All contradictions.
    #[error("failed validate: {}", component_base::aggregate(.0))]
    Invalid(Vec<String>),
    /// A mode that is not part of this release.
    #[error("{0}")]
    Mode(String),
}

impl Config {
    /// Reads the file that `--config` names, or makes the same out of flags.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigError> {
        let mut component = match flags.non_empty("config") {
            Some(path) => load(Path::new(path)).map_err(ConfigError::Complete)?,
            None => from_flags(flags),
        };
        // These count in any case.
        let name = flags.string("hostname-override");
        if !name.is_empty() {
            if name.trim().is_empty() {
                let why = "empty hostname-override is invalid".to_owned();
                return Err(ConfigError::Complete(why));
            }
            component.hostname_override = name.to_owned();
        }
        set_defaults(&mut component);
        FeatureGates::default()
            .with(&component.feature_gates)
            .map_err(|problems| {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                ConfigError::Complete(component_base::aggregate(&texts))
            })?;
        let logging = logging_options(&component.logging, flags).map_err(ConfigError::Logging)?;
        let problems = validation::validate(&component);
        if !problems.0.is_empty() {
            return Err(ConfigError::Invalid(
                problems.0.iter().map(ToString::to_string).collect(),
            ));
        }
        Self::resolve(component, logging, flags)
    }

    /// From what was found to be valid.
    fn resolve(
        component: KubeProxyConfiguration,
        logging: logs::Options,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        match component.mode.as_str() {
            "nftables" => {}
            "" | "iptables" => return Err(ConfigError::Mode("mode: only nftables is supported by this release: set mode: nftables in the configuration file or --proxy-mode=nftables".to_owned())),
            other => return Err(ConfigError::Mode(format!("mode: Unsupported value: {other:?}: supported values: \"nftables\""))),
        }
        let ranges = |texts: &mut dyn Iterator<Item = &str>| -> Vec<IpNet> {
            texts
                .filter_map(|text| text.trim().parse::<IpNet>().ok())
                .map(|range| range.trunc())
                .collect()
        };
        let cluster_ranges = ranges(&mut component.cluster_cidr.split(','));
        let primary = component.node_port_addresses.is_empty()
            || component.node_port_addresses == ["primary"];
        let node_port_ranges = (!primary)
            .then(|| ranges(&mut component.node_port_addresses.iter().map(String::as_str)));
        let node = if component.hostname_override.is_empty() {
            component_base::component_config::hostname()
        } else {
            component.hostname_override.to_lowercase()
        };
        Ok(Self {
            node: node.trim().to_owned(),
            master: flags.string("master").to_owned(),
            healthz: bind_address(&component.healthz_bind_address, 10256),
            metrics: bind_address(&component.metrics_bind_address, 10249),
            cluster_ranges,
            node_port_ranges,
            cleanup: flags.bool("cleanup"),
            init_only: flags.bool("init-only"),
            write_config_to: flags.non_empty("write-config-to").map(PathBuf::from),
            logging,
            component,
        })
    }

    /// The configuration as JSON, with kind and version.
    pub fn shown(&self) -> serde_json::Value {
        let json = api_types::encode_json(&self.component);
        let mut shown: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        shown["kind"] = "KubeProxyConfiguration".into();
        shown["apiVersion"] = "kubeproxy.config.k8s.io/v1alpha1".into();
        shown
    }

    pub fn sync_period(&self) -> Duration {
        self.component.nftables.sync_period.as_std()
    }

    pub fn min_sync_period(&self) -> Duration {
        self.component.nftables.min_sync_period.as_std()
    }

    /// The pods' range in a family, when local traffic is told by it.
    pub fn cluster_range(&self, family: Family) -> Option<IpNet> {
        self.cluster_ranges
            .iter()
            .find(|range| Family::of(&range.addr()) == family)
            .copied()
    }
}

/// Reads a configuration file. Fields it does not know are logged and left out, as upstream has it.
fn load(path: &Path) -> Result<KubeProxyConfiguration, String> {
    Document::read(path)
        .and_then(|document| document.decode_leniently())
        .map_err(|error| match error {
            component_base::config::ConfigError::Read { .. } => error.to_string(),
            error => format!("failed to decode: {error}"),
        })
}

/// Empty means off; an address without port gets the default one.
fn bind_address(text: &str, port: u16) -> Option<SocketAddr> {
    text.parse::<SocketAddr>().ok().or_else(|| {
        text.parse::<IpAddr>()
            .ok()
            .map(|address| SocketAddr::new(address, port))
    })
}

fn nanoseconds(value: Duration) -> api_types::Duration {
    api_types::Duration(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
}

/// The configuration that flags alone make. Most are ignored when there is a file.
fn from_flags(flags: &Flags) -> KubeProxyConfiguration {
    let text = |name: &str| flags.string(name).to_owned();
    let mut config = KubeProxyConfiguration {
        bind_address: text("bind-address"),
        healthz_bind_address: text("healthz-bind-address"),
        metrics_bind_address: text("metrics-bind-address"),
        bind_address_hard_fail: flags.bool("bind-address-hard-fail"),
        enable_profiling: flags.bool("profiling"),
        show_hidden_metrics_for_version: text("show-hidden-metrics-for-version"),
        mode: text("proxy-mode"),
        detect_local_mode: text("detect-local-mode"),
        cluster_cidr: text("cluster-cidr"),
        node_port_addresses: flags.strings("nodeport-addresses").to_vec(),
        oom_score_adj: Some(flags.int32("oom-score-adj")),
        config_sync_period: nanoseconds(flags.duration("config-sync-period")),
        feature_gates: flags.bool_map("feature-gates").clone(),
        ..KubeProxyConfiguration::default()
    };
    config.client_connection.kubeconfig = text("kubeconfig");
    config.client_connection.content_type = text("kube-api-content-type");
    config.client_connection.qps = flags.float("kube-api-qps") as f32;
    config.client_connection.burst = flags.int32("kube-api-burst");
    config.detect_local.bridge_interface = text("pod-bridge-interface");
    config.detect_local.interface_name_prefix = text("pod-interface-name-prefix");
    config.nftables.masquerade_all = flags.bool("masquerade-all");
    config.nftables.masquerade_bit = Some(flags.int32("iptables-masquerade-bit"));
    config.nftables.sync_period = nanoseconds(flags.duration("iptables-sync-period"));
    config.nftables.min_sync_period = nanoseconds(flags.duration("iptables-min-sync-period"));
    config.conntrack.max_per_core = Some(flags.int32("conntrack-max-per-core"));
    config.conntrack.min = Some(flags.int32("conntrack-min"));
    config.conntrack.tcp_established_timeout = Some(nanoseconds(
        flags.duration("conntrack-tcp-timeout-established"),
    ));
    config.conntrack.tcp_close_wait_timeout = Some(nanoseconds(
        flags.duration("conntrack-tcp-timeout-close-wait"),
    ));
    config.conntrack.tcp_be_liberal = flags.bool("conntrack-tcp-be-liberal");
    config.conntrack.udp_timeout = nanoseconds(flags.duration("conntrack-udp-timeout"));
    config.conntrack.udp_stream_timeout =
        nanoseconds(flags.duration("conntrack-udp-timeout-stream"));
    config
}

/// Upstream: SetDefaults_KubeProxyConfiguration.
fn set_defaults(config: &mut KubeProxyConfiguration) {
    let text = |slot: &mut String, default: &str| {
        if slot.is_empty() {
            default.clone_into(slot);
        }
    };
    let time = |slot: &mut api_types::Duration, seconds: i64| {
        if slot.0 == 0 {
            slot.0 = seconds * duration::SECOND;
        }
    };
    text(&mut config.bind_address, "0.0.0.0");
    let wide = if config.bind_address.contains(':') {
        "[::]"
    } else {
        "0.0.0.0"
    };
    text(&mut config.healthz_bind_address, &format!("{wide}:10256"));
    text(
        &mut config.metrics_bind_address,
        if wide == "[::]" {
            "[::1]:10249"
        } else {
            "127.0.0.1:10249"
        },
    );
    text(&mut config.detect_local_mode, "ClusterCIDR");
    config.oom_score_adj.get_or_insert(-999);
    time(&mut config.config_sync_period, 15 * 60);
    time(&mut config.nftables.sync_period, 30);
    time(&mut config.nftables.min_sync_period, 1);
    config.nftables.masquerade_bit.get_or_insert(14);
    config.conntrack.max_per_core.get_or_insert(32 * 1024);
    config.conntrack.min.get_or_insert(128 * 1024);
    config
        .conntrack
        .tcp_established_timeout
        .get_or_insert(api_types::Duration(24 * 3600 * duration::SECOND));
    config
        .conntrack
        .tcp_close_wait_timeout
        .get_or_insert(api_types::Duration(3600 * duration::SECOND));
    text(
        &mut config.client_connection.content_type,
        "application/vnd.kubernetes.protobuf",
    );
    if config.client_connection.qps == 0.0 {
        config.client_connection.qps = 5.0;
    }
    if config.client_connection.burst == 0 {
        config.client_connection.burst = 10;
    }
}

#[cfg(test)]
mod tests {
    use component_base::flags::Parsed;

    use super::*;

    fn parse(arguments: &[&str]) -> Flags {
        match Flags::parse(
            &flags::COMMAND,
            arguments.iter().map(|argument| (*argument).to_owned()),
        ) {
            Ok(Parsed::Run(flags)) => flags,
            other => panic!("not valid flags: {other:?}"),
        }
    }

    #[test]
    fn a_file_with_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nclusterCIDR: 10.244.0.0/16,fd00::/48\nhostnameOverride: Node1\n").expect("written");
        let config = Config::from_flags(&parse(&[
            "--config",
            path.to_str().expect("UTF-8"),
            "--proxy-mode=iptables",
        ]))
        .expect("valid");
        assert_eq!(config.node, "node1");
        assert_eq!(
            config.healthz,
            Some("0.0.0.0:10256".parse().expect("an address"))
        );
        assert_eq!(
            config.metrics,
            Some("127.0.0.1:10249".parse().expect("an address"))
        );
        assert_eq!(
            config.cluster_range(Family::V6),
            Some("fd00::/48".parse().expect("a range"))
        );
        assert_eq!(config.sync_period(), Duration::from_secs(30));
        // What it does not know is no reason not to start.
        std::fs::write(&path, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nnope: 1\n").expect("written");
        Config::from_flags(&parse(&["--config", path.to_str().expect("UTF-8")]))
            .expect("an unknown field");
    }

    #[test]
    fn all_mistakes_at_once() {
        let error = Config::from_flags(&parse(&[
            "--proxy-mode=ipvs",
            "--cluster-cidr=nonsense",
            "--iptables-masquerade-bit=32",
            "--healthz-bind-address=127.0.0.1:0",
        ]))
        .expect_err("mistakes")
        .to_string();
        assert_eq!(
            error,
            "failed validate: [KubeProxyConfiguration.KubeProxyNFTablesConfiguration.MasqueradeBit: Invalid value: 32: must be within the range [0, 31], \
             KubeProxyConfiguration.HealthzBindAddress: Invalid value: \"0\": must be a valid port, \
             KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: \"nonsense\": must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)]"
        );
        let error = Config::from_flags(&parse(&["--proxy-mode=ipvs"])).expect_err("a mode");
        assert_eq!(
            error.to_string(),
            "mode: Unsupported value: \"ipvs\": supported values: \"nftables\""
        );
    }
}

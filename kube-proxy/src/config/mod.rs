//! Flags and the configuration file, resolved: after this no code asks where a value came from. Upstream: cmd/kube-proxy/app/options.go
//! and pkg/proxy/apis/config.

pub mod flags;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use api_types::kube_proxy_config::v1alpha1::KubeProxyConfiguration;
use apimachinery::duration;
use component_base::flags::Flags;
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
}

/// All mistakes of one run.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl Config {
    /// Reads the file that `--config` names, or makes the same out of flags.
    pub fn from_flags(flags: &Flags) -> Result<Self, component_base::Error> {
        let mut component = match flags.non_empty("config") {
            Some(path) => component_base::config::load::<KubeProxyConfiguration>(Path::new(path))?,
            None => from_flags(flags),
        };
        // These count in any case.
        if !flags.string("hostname-override").is_empty() {
            component.hostname_override = flags.string("hostname-override").to_owned();
        }
        set_defaults(&mut component);
        Ok(Self::resolve(component, flags)?)
    }

    fn resolve(component: KubeProxyConfiguration, flags: &Flags) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut check = |problem: Option<String>| errors.extend(problem);
        check(match component.mode.as_str() {
            "nftables" => None,
            "" | "iptables" => Some("mode: only nftables is supported by this release: set mode: nftables in the configuration file or --proxy-mode=nftables".to_owned()),
            other => Some(format!("mode: Unsupported value: {other:?}: supported values: \"nftables\"")),
        });
        let mut address = |field: &str, text: &str, port: u16| match bind_address(text, port) {
            Ok(address) => address,
            Err(()) => {
                errors.push(format!("{field}: Invalid value: {text:?}: must be IP:port"));
                None
            }
        };
        let healthz = address("healthzBindAddress", &component.healthz_bind_address, 10256);
        let metrics = address("metricsBindAddress", &component.metrics_bind_address, 10249);
        let mut ranges = |field: &str, texts: &mut dyn Iterator<Item = &str>| {
            let mut all = Vec::new();
            for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
                match text.parse::<IpNet>() {
                    Ok(range) => all.push(range.trunc()),
                    Err(_) => errors.push(format!("{field}: Invalid value: {text:?}: must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)")),
                }
            }
            all
        };
        let cluster_ranges = ranges("clusterCIDR", &mut component.cluster_cidr.split(','));
        let primary = component.node_port_addresses.is_empty()
            || component.node_port_addresses == ["primary"];
        let node_port_ranges = if primary {
            None
        } else {
            Some(ranges(
                "nodePortAddresses",
                &mut component.node_port_addresses.iter().map(String::as_str),
            ))
        };
        if let Some(bit) = component
            .nftables
            .masquerade_bit
            .filter(|bit| !(0..=31).contains(bit))
        {
            errors.push(format!(
                "nftables.masqueradeBit: Invalid value: {bit}: must be within the range [0, 31]"
            ));
        }
        for (field, value) in [
            ("nftables.syncPeriod", component.nftables.sync_period),
            ("configSyncPeriod", component.config_sync_period),
        ] {
            if value.0 <= 0 {
                errors.push(format!(
                    "{field}: Invalid value: {value}: must be greater than 0"
                ));
            }
        }
        if component.nftables.min_sync_period.0 > component.nftables.sync_period.0 {
            errors.push(format!("nftables.syncPeriod: Invalid value: {}: must be greater than or equal to nftables.minSyncPeriod", component.nftables.sync_period));
        }
        let missing = match component.detect_local_mode.as_str() {
            "BridgeInterface" => component
                .detect_local
                .bridge_interface
                .is_empty()
                .then_some("detectLocal.bridgeInterface: Required value"),
            "InterfaceNamePrefix" => component
                .detect_local
                .interface_name_prefix
                .is_empty()
                .then_some("detectLocal.interfaceNamePrefix: Required value"),
            "ClusterCIDR" | "NodeCIDR" => None,
            _ => Some(
                "detectLocalMode: Unsupported value: supported values: \"BridgeInterface\", \"ClusterCIDR\", \"InterfaceNamePrefix\", \"NodeCIDR\"",
            ),
        };
        errors.extend(missing.map(str::to_owned));
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let node = if component.hostname_override.is_empty() {
            component_base::component_config::hostname()
        } else {
            component.hostname_override.to_lowercase()
        };
        Ok(Self {
            node: node.trim().to_owned(),
            master: flags.string("master").to_owned(),
            healthz,
            metrics,
            cluster_ranges,
            node_port_ranges,
            cleanup: flags.bool("cleanup"),
            init_only: flags.bool("init-only"),
            component,
        })
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

/// Empty means off; an address without port gets the default one.
fn bind_address(text: &str, port: u16) -> Result<Option<SocketAddr>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Some(address));
    }
    text.parse::<IpAddr>()
        .map(|address| Some(SocketAddr::new(address, port)))
        .map_err(|_| ())
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
        std::fs::write(&path, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nnope: 1\n").expect("written");
        let error = Config::from_flags(&parse(&["--config", path.to_str().expect("UTF-8")]))
            .expect_err("unknown field")
            .to_string();
        assert!(error.contains("unknown field \"nope\""), "{error}");
    }

    #[test]
    fn all_mistakes_at_once() {
        let error = Config::from_flags(&parse(&[
            "--proxy-mode=ipvs",
            "--cluster-cidr=nonsense",
            "--iptables-masquerade-bit=32",
        ]))
        .expect_err("mistakes")
        .to_string();
        for part in ["mode:", "clusterCIDR:", "nftables.masqueradeBit:"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

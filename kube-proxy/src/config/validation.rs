//! What a configuration must not say. Upstream: pkg/proxy/apis/config/validation, whose names of fields and texts these are.

use std::net::IpAddr;

use api_types::Duration;
use api_types::kube_proxy_config::v1alpha1::KubeProxyConfiguration;
use apimachinery::field::{self, BadValue, Error, ErrorList, Path};
use component_base::metrics::MetricsOptions;
use ipnet::IpNet;

const RANGE: &str = "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
const ONE_OR_TWO: &str = "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// All mistakes of a configuration whose defaults are filled in.
pub(super) fn validate(config: &KubeProxyConfiguration) -> ErrorList {
    let path = Path::new("KubeProxyConfiguration");
    let mut errors: Vec<Error> = Vec::new();
    for (name, bit) in [
        (
            "KubeProxyIPTablesConfiguration",
            config.iptables.masquerade_bit,
        ),
        (
            "KubeProxyNFTablesConfiguration",
            config.nftables.masquerade_bit,
        ),
    ] {
        if let Some(bit) = bit.filter(|bit| !(0..=31).contains(bit)) {
            errors.push(field::invalid(
                &path.child(name).child("MasqueradeBit"),
                i64::from(bit),
                "must be within the range [0, 31]",
            ));
        }
    }
    of_linux(
        config,
        &path.child("KubeProxyLinuxConfiguration"),
        &mut errors,
    );
    let mode = config.mode.as_str();
    if !matches!(mode, "" | "iptables" | "ipvs" | "nftables") {
        errors.push(field::invalid(
            &path.child("Mode").child("ProxyMode"),
            mode,
            "must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])",
        ));
    }
    let burst = config.client_connection.burst;
    if burst < 0 {
        errors.push(field::invalid(
            &path.child("ClientConnection").child("Burst"),
            i64::from(burst),
            NOT_NEGATIVE,
        ));
    }
    periods(config, &path, &mut errors);
    if config.bind_address.parse::<IpAddr>().is_err() {
        errors.push(field::invalid(
            &path.child("BindAddress"),
            &config.bind_address,
            "not a valid textual representation of an IP address",
        ));
    }
    for (name, address) in [
        ("HealthzBindAddress", &config.healthz_bind_address),
        ("MetricsBindAddress", &config.metrics_bind_address),
    ] {
        // An address alone gets the default port.
        if address.parse::<IpAddr>().is_err() {
            host_port(address, &path.child(name), &mut errors);
        }
    }
    node_port_addresses(config, &path.child("NodePortAddresses"), &mut errors);
    let hidden = &config.show_hidden_metrics_for_version;
    if let Err(why) = MetricsOptions::new(hidden, Vec::new()) {
        errors.push(field::invalid(
            &path.child("ShowHiddenMetricsForVersion"),
            hidden,
            why.trim_start_matches("metrics.").to_owned(),
        ));
    }
    local_traffic(config, &path, &mut errors);
    ErrorList(errors)
}

fn shown(value: &Duration) -> BadValue {
    BadValue::String(value.to_string())
}

fn of_linux(config: &KubeProxyConfiguration, path: &Path, errors: &mut Vec<Error>) {
    let conntrack = &config.conntrack;
    let at = path.child("KubeProxyConntrackConfiguration");
    for (name, value) in [
        ("MaxPerCore", conntrack.max_per_core),
        ("Min", conntrack.min),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            errors.push(field::invalid(
                &at.child(name),
                i64::from(value),
                NOT_NEGATIVE,
            ));
        }
    }
    for (name, value) in [
        (
            "TCPEstablishedTimeout",
            conntrack.tcp_established_timeout.as_ref(),
        ),
        (
            "TCPCloseWaitTimeout",
            conntrack.tcp_close_wait_timeout.as_ref(),
        ),
        ("UDPTimeout", Some(&conntrack.udp_timeout)),
        ("UDPStreamTimeout", Some(&conntrack.udp_stream_timeout)),
    ] {
        if let Some(value) = value.filter(|value| value.0 < 0) {
            errors.push(field::invalid(&at.child(name), shown(value), NOT_NEGATIVE));
        }
    }
    let score = config.oom_score_adj.unwrap_or(0);
    if !(-1000..=1000).contains(&score) {
        errors.push(field::invalid(
            &path.child("OOMScoreAdj"),
            i64::from(score),
            "must be within the range [-1000, 1000]",
        ));
    }
}

fn periods(config: &KubeProxyConfiguration, path: &Path, errors: &mut Vec<Error>) {
    let (period, least) = (
        &config.nftables.sync_period,
        &config.nftables.min_sync_period,
    );
    for (name, value) in [
        ("ConfigSyncPeriod", &config.config_sync_period),
        ("SyncPeriod", period),
    ] {
        if value.0 <= 0 {
            errors.push(field::invalid(
                &path.child(name),
                shown(value),
                "must be greater than 0",
            ));
        }
    }
    if least.0 < 0 {
        errors.push(field::invalid(
            &path.child("MinSyncPeriod"),
            shown(least),
            NOT_NEGATIVE,
        ));
    }
    if least.0 > period.0 {
        errors.push(field::invalid(
            &path.child("SyncPeriod"),
            shown(least),
            format!(
                "must be greater than or equal to {}",
                path.child("MinSyncPeriod")
            ),
        ));
    }
}

fn host_port(text: &str, path: &Path, errors: &mut Vec<Error>) {
    let split = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':')),
    };
    let Some((host, port)) = split else {
        return errors.push(field::invalid(path, text, "must be IP:port"));
    };
    if host.parse::<IpAddr>().is_err() {
        errors.push(field::invalid(path, host, "must be a valid IP"));
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        errors.push(field::invalid(path, port, "must be a valid port"));
    }
}

fn node_port_addresses(config: &KubeProxyConfiguration, path: &Path, errors: &mut Vec<Error>) {
    for (i, text) in config.node_port_addresses.iter().enumerate() {
        let at = path.index(i);
        if text == "primary" {
            if config.node_port_addresses.len() != 1 {
                errors.push(field::invalid(
                    &at,
                    text,
                    "can't use both 'primary' and CIDRs",
                ));
            }
            return;
        }
        if text.parse::<IpNet>().is_err() {
            errors.push(field::invalid(&at, text, "must be a valid CIDR"));
        }
    }
}

fn local_traffic(config: &KubeProxyConfiguration, path: &Path, errors: &mut Vec<Error>) {
    let at = path.child("DetectLocalConfiguration");
    let mut named = |name: &'static str, value: &String| {
        if value.is_empty() {
            errors.push(field::invalid(&at.child(name), value, "must not be empty"));
        }
    };
    match config.detect_local_mode.as_str() {
        "BridgeInterface" => named("InterfaceName", &config.detect_local.bridge_interface),
        "InterfaceNamePrefix" => {
            named(
                "InterfacePrefix",
                &config.detect_local.interface_name_prefix,
            );
        }
        "ClusterCIDR" if !config.cluster_cidr.is_empty() => {
            cluster_ranges(&config.cluster_cidr, &at.child("ClusterCIDRs"), errors);
        }
        "ClusterCIDR" | "NodeCIDR" | "" => {}
        other => errors.push(field::not_supported(
            &path.child("DetectLocalMode"),
            other,
            &[
                "ClusterCIDR",
                "NodeCIDR",
                "BridgeInterface",
                "InterfaceNamePrefix",
                "",
            ],
        )),
    }
}

fn cluster_ranges(text: &str, path: &Path, errors: &mut Vec<Error>) {
    let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
    if texts.len() > 2 {
        return errors.push(field::invalid(path, &texts, ONE_OR_TWO));
    }
    let mut ranges: Vec<IpNet> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(range) => ranges.push(range),
            Err(_) => errors.push(field::invalid(&path.index(i), text, RANGE)),
        }
    }
    if let [one, other] = ranges.as_slice()
        && one.addr().is_ipv4() == other.addr().is_ipv4()
    {
        errors.push(field::invalid(path, &texts, ONE_OR_TWO));
    }
}

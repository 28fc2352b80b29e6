//! Every flag of this daemon: upstream's names, defaults and help texts. Upstream: cmd/kube-proxy/app/options.
//!
//! Rows without effect say why; `component_base::flags` logs a warning when one of them is set.

use component_base::flags::{
    Command, FlagRow, Group, Kind, NOT_YET, UPSTREAM_ONLY, UsageStyle, common,
};

/// What the command line looks like.
pub const COMMAND: Command = Command {
    name: "kube-proxy",
    description: DESCRIPTION,
    flags: FLAGS,
    features: component_base::features::KNOWN,
    usage_style: UsageStyle::UsageThenError,
};

const DESCRIPTION: &str = "\
The Kubernetes network proxy runs on each node. This\n\
reflects services as defined in the Kubernetes API on each node and can do simple\n\
TCP, UDP, and SCTP stream forwarding or round robin TCP, UDP, and SCTP forwarding across a set of backends.\n\
Service cluster IPs and ports are currently found through Docker-links-compatible\n\
environment variables specifying ports opened by the service proxy. There is an optional\n\
addon that provides cluster DNS for these cluster IPs. The user must create a service\n\
with the apiserver API to configure the proxy.";

/// All flags, in the order of sections in `--help`.
pub const FLAGS: &[Group] = &[
    Group { section: "", rows: common::LOGS },
    Group { section: "", rows: common::VERSION },
    Group {
        section: "",
        rows: &[
            FlagRow::new("bind-address", Kind::IpText, "0.0.0.0", "Overrides kube-proxy's idea of what its node's primary IP is. Note that the name is a historical artifact, and kube-proxy does not actually bind any sockets to this IP. This parameter is ignored if a config file is specified by --config."),
            FlagRow::new("bind-address-hard-fail", Kind::Bool, "false", "If true kube-proxy will treat failure to bind to a port as fatal and exit"),
            FlagRow::new("boot-id-file", Kind::String, "/proc/sys/kernel/random/boot_id", "Comma-separated list of files to check for boot-id. Use the first one that exists.").without_effect(UPSTREAM_ONLY),
            FlagRow::new("cleanup", Kind::Bool, "false", "If true cleanup iptables and ipvs rules and exit."),
            FlagRow::new("cluster-cidr", Kind::String, "", "The CIDR range of the pods in the cluster. (For dual-stack clusters, this can be a comma-separated dual-stack pair of CIDR ranges.). When --detect-local-mode is set to ClusterCIDR, kube-proxy will consider traffic to be local if its source IP is in this range. (Otherwise it is not used.) This parameter is ignored if a config file is specified by --config."),
            FlagRow::new("config", Kind::String, "", "The path to the configuration file."),
            FlagRow::new("config-sync-period", Kind::Duration, "15m0s", "How often configuration from the apiserver is refreshed.  Must be greater than 0."),
            FlagRow::new("conntrack-max-per-core", Kind::Int32, "32768", "Maximum number of NAT connections to track per CPU core (0 to leave the limit as-is and ignore conntrack-min)."),
            FlagRow::new("conntrack-min", Kind::Int32, "131072", "Minimum number of conntrack entries to allocate, regardless of conntrack-max-per-core (set conntrack-max-per-core=0 to leave the limit as-is)."),
            FlagRow::new("conntrack-tcp-be-liberal", Kind::Bool, "false", "Enable liberal mode for tracking TCP packets by setting nf_conntrack_tcp_be_liberal to 1"),
            FlagRow::new("conntrack-tcp-timeout-close-wait", Kind::Duration, "1h0m0s", "NAT timeout for TCP connections in the CLOSE_WAIT state"),
            FlagRow::new("conntrack-tcp-timeout-established", Kind::Duration, "24h0m0s", "Idle timeout for established TCP connections (0 to leave as-is)"),
            FlagRow::new("conntrack-udp-timeout", Kind::Duration, "0s", "Idle timeout for UNREPLIED UDP connections (0 to leave as-is)"),
            FlagRow::new("conntrack-udp-timeout-stream", Kind::Duration, "0s", "Idle timeout for ASSURED UDP connections (0 to leave as-is)"),
            FlagRow::new("detect-local-mode", Kind::String, "", "Mode to use to detect local traffic. This parameter is ignored if a config file is specified by --config.").varname("LocalMode"),
            FlagRow::new("feature-gates", Kind::MapStringBool, "", "A set of key=value pairs that describe feature gates for alpha/experimental features. Options are:\nThis parameter is ignored if a config file is specified by --config."),
            FlagRow::new("healthz-bind-address", Kind::IpPort, "0.0.0.0:10256", r#"The IP address and port for the health check server to serve on, defaulting to "0.0.0.0:10256". This parameter is ignored if a config file is specified by --config."#),
            FlagRow::new("help", Kind::Bool, "false", "help for kube-proxy").shorthand('h'),
            FlagRow::new("hostname-override", Kind::String, "", "If non-empty, will be used as the name of the Node that kube-proxy is running on. If unset, the node name is assumed to be the same as the node's hostname."),
            FlagRow::new("init-only", Kind::Bool, "false", "If true, perform any initialization steps that must be done with full root privileges, and then exit. After doing this, you can run kube-proxy again with only the CAP_NET_ADMIN capability."),
            FlagRow::new("iptables-localhost-nodeports", Kind::Bool, "true", "If false, kube-proxy will disable the legacy behavior of allowing NodePort services to be accessed via localhost. (Applies only to iptables mode and IPv4; localhost NodePorts are never allowed with other proxy modes or with IPv6.)"),
            FlagRow::new("iptables-masquerade-bit", Kind::Int32, "14", "If using the iptables or ipvs proxy mode, the bit of the fwmark space to mark packets requiring SNAT with.  Must be within the range [0, 31]."),
            FlagRow::new("iptables-min-sync-period", Kind::Duration, "1s", "The minimum period between iptables rule resyncs (e.g. '5s', '1m', '2h22m'). A value of 0 means every Service or EndpointSlice change will result in an immediate iptables resync."),
            FlagRow::new("iptables-sync-period", Kind::Duration, "30s", "An interval (e.g. '5s', '1m', '2h22m') indicating how frequently various re-synchronizing and cleanup operations are performed. Must be greater than 0."),
            FlagRow::new("ipvs-exclude-cidrs", Kind::StringSlice, "[]", "A comma-separated list of CIDRs which the ipvs proxier should not touch when cleaning up IPVS rules.").without_effect(NOT_YET),
            FlagRow::new("ipvs-min-sync-period", Kind::Duration, "1s", "The minimum period between IPVS rule resyncs (e.g. '5s', '1m', '2h22m'). A value of 0 means every Service or EndpointSlice change will result in an immediate IPVS resync.").without_effect(NOT_YET),
            FlagRow::new("ipvs-scheduler", Kind::String, "", "The ipvs scheduler type when proxy mode is ipvs").without_effect(NOT_YET),
            FlagRow::new("ipvs-strict-arp", Kind::Bool, "false", "Enable strict ARP by setting arp_ignore to 1 and arp_announce to 2").without_effect(NOT_YET),
            FlagRow::new("ipvs-sync-period", Kind::Duration, "30s", "An interval (e.g. '5s', '1m', '2h22m') indicating how frequently various re-synchronizing and cleanup operations are performed. Must be greater than 0.").without_effect(NOT_YET),
            FlagRow::new("ipvs-tcp-timeout", Kind::Duration, "0s", "The timeout for idle IPVS TCP connections, 0 to leave as-is. (e.g. '5s', '1m', '2h22m').").without_effect(NOT_YET),
            FlagRow::new("ipvs-tcpfin-timeout", Kind::Duration, "0s", "The timeout for IPVS TCP connections after receiving a FIN packet, 0 to leave as-is. (e.g. '5s', '1m', '2h22m').").without_effect(NOT_YET),
            FlagRow::new("ipvs-udp-timeout", Kind::Duration, "0s", "The timeout for IPVS UDP packets, 0 to leave as-is. (e.g. '5s', '1m', '2h22m').").without_effect(NOT_YET),
            FlagRow::new("kube-api-burst", Kind::Int32, "10", "Burst to use while talking with kubernetes apiserver"),
            FlagRow::new("kube-api-content-type", Kind::String, "application/vnd.kubernetes.protobuf", "Content type of requests sent to apiserver."),
            FlagRow::new("kube-api-qps", Kind::Float32, "5", "QPS to use while talking with kubernetes apiserver"),
            FlagRow::new("kubeconfig", Kind::String, "", "Path to kubeconfig file with authorization information (the master location can be overridden by the master flag)."),
            FlagRow::new("machine-id-file", Kind::String, "/etc/machine-id,/var/lib/dbus/machine-id", "Comma-separated list of files to check for machine-id. Use the first one that exists.").without_effect(UPSTREAM_ONLY),
            FlagRow::new("masquerade-all", Kind::Bool, "false", "SNAT all traffic sent via Service cluster IPs. This may be required with some CNI plugins. Only supported on Linux."),
            FlagRow::new("master", Kind::String, "", "The address of the Kubernetes API server (overrides any value in kubeconfig)"),
            FlagRow::new("metrics-bind-address", Kind::IpPort, "127.0.0.1:10249", r#"The IP address and port for the metrics server to serve on, defaulting to "127.0.0.1:10249". (Set to "0.0.0.0:10249" / "[::]:10249" to bind on all interfaces.) Set empty to disable. This parameter is ignored if a config file is specified by --config."#),
            FlagRow::new("nodeport-addresses", Kind::StringSlice, "[]", "A list of CIDR ranges that contain valid node IPs, or alternatively, the single string 'primary'. If set to a list of CIDRs, connections to NodePort services will only be accepted on node IPs in one of the indicated ranges. If set to 'primary', NodePort services will only be accepted on the node's primary IP(s) according to the Node object. If unset, NodePort connections will be accepted on all local IPs. This parameter is ignored if a config file is specified by --config."),
            FlagRow::new("oom-score-adj", Kind::Int32, "-999", "The oom-score-adj value for kube-proxy process. Values must be within the range [-1000, 1000]. This parameter is ignored if a config file is specified by --config."),
            FlagRow::new("pod-bridge-interface", Kind::String, "", "A bridge interface name. When --detect-local-mode is set to BridgeInterface, kube-proxy will consider traffic to be local if it originates from this bridge."),
            FlagRow::new("pod-interface-name-prefix", Kind::String, "", "An interface name prefix. When --detect-local-mode is set to InterfaceNamePrefix, kube-proxy will consider traffic to be local if it originates from any interface whose name begins with this prefix."),
            FlagRow::new("profiling", Kind::Bool, "false", "If true enables profiling via web interface on /debug/pprof handler. This parameter is ignored if a config file is specified by --config.").without_effect(NOT_YET),
            FlagRow::new("proxy-mode", Kind::String, "", "Which proxy mode to use: on Linux this can be 'iptables' (default), 'ipvs', or 'nftables'. On Windows the only supported value is 'kernelspace'. This parameter is ignored if a config file is specified by --config.").varname("ProxyMode"),
            FlagRow::new("show-hidden-metrics-for-version", Kind::String, "", "The previous version for which you want to show hidden metrics. Only the previous minor version is meaningful, other values will not be allowed. The format is <major>.<minor>, e.g.: '1.16'. The purpose of this format is make sure you have the opportunity to notice if the next release hides additional metrics, rather than being surprised when they are permanently removed in the release after that. This parameter is ignored if a config file is specified by --config."),
            FlagRow::new("write-config-to", Kind::String, "", "If set, write the default configuration values to this file and exit."),
            FlagRow::new("healthz-port", Kind::Int32, "0", "The port to bind the health check server. Use 0 to disable.").deprecated("This flag is deprecated and will be removed in a future release. Please use --healthz-bind-address instead.").hidden(),
            FlagRow::new("metrics-port", Kind::Int32, "0", "The port to bind the metrics server. Use 0 to disable.").deprecated("This flag is deprecated and will be removed in a future release. Please use --metrics-bind-address instead.").hidden(),
        ],
    },
];

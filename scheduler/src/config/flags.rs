//! Every flag of this daemon: upstream's names, defaults and help texts. Upstream: cmd/kube-scheduler/app/options.
//!
//! Rows without effect say why; `component_base::flags` logs a warning when one of them is set.

use component_base::flags::{
    Command, FlagRow, Group, Kind, NOT_YET, UPSTREAM_ONLY, UsageStyle, common,
};

/// What the command line looks like.
pub const COMMAND: Command = Command {
    name: "kube-scheduler",
    description: DESCRIPTION,
    flags: FLAGS,
    features: component_base::features::KNOWN,
    usage_style: UsageStyle::UsageThenError,
};

const DESCRIPTION: &str = "\
The Kubernetes scheduler is a control plane process which assigns\n\
Pods to Nodes. The scheduler determines which Nodes are valid placements for\n\
each Pod in the scheduling queue according to constraints and available\n\
resources. The scheduler then ranks each valid Node and binds the Pod to a\n\
suitable Node. Multiple different schedulers may be used within a cluster;\n\
kube-scheduler is the reference implementation.\n\
See [scheduling](https://kubernetes.io/docs/concepts/scheduling-eviction/)\n\
for more information about scheduling and the kube-scheduler component.";

/// All flags, in the order of sections in `--help`.
pub const FLAGS: &[Group] = &[
    Group {
        section: "Misc",
        rows: &[
            FlagRow::new("config", Kind::String, "", "The path to the configuration file."),
            FlagRow::new("master", Kind::String, "", "The address of the Kubernetes API server (overrides any value in kubeconfig)"),
            FlagRow::new("unsupported-kube-api-over-localhost", Kind::Bool, "false", "when set makes KS prefer talking to localhost kube-apiserver (when available) instead of an LB").without_effect(NOT_YET),
            FlagRow::new("write-config-to", Kind::String, "", "If set, write the configuration values to this file and exit."),
        ],
    },
    Group { section: "Secure serving", rows: common::SECURE_SERVING },
    Group {
        section: "Secure serving",
        rows: &[
            FlagRow::new("bind-address", Kind::Ip, "0.0.0.0", "The IP address on which to listen for the --secure-port port. The associated interface(s) must be reachable by the rest of the cluster, and by CLI/web clients. If blank or an unspecified address (0.0.0.0 or ::), all interfaces and IP address families will be used."),
            FlagRow::new("cert-dir", Kind::String, "", "The directory where the TLS certs are located. If --tls-cert-file and --tls-private-key-file are provided, this flag will be ignored."),
            FlagRow::new("secure-port", Kind::Int, "10259", "The port on which to serve HTTPS with authentication and authorization. If 0, don't serve HTTPS at all."),
        ],
    },
    Group { section: "Authentication", rows: common::DELEGATED_AUTHENTICATION },
    Group {
        section: "Authentication",
        rows: &[
            FlagRow::new("authentication-tolerate-lookup-failure", Kind::Bool, "true", "If true, failures to look up missing authentication configuration from the cluster are not considered fatal. Note that this can result in authentication that treats all requests as anonymous."),
        ],
    },
    Group { section: "Authorization", rows: common::DELEGATED_AUTHORIZATION },
    Group {
        section: "Deprecated",
        rows: &[
            FlagRow::new("contention-profiling", Kind::Bool, "true", "DEPRECATED: enable block profiling, if profiling is enabled. This parameter is ignored if a config file is specified in --config.").without_effect(UPSTREAM_ONLY),
            FlagRow::new("kube-api-burst", Kind::Int32, "100", "DEPRECATED: burst to use while talking with kubernetes apiserver. This parameter is ignored if a config file is specified in --config."),
            FlagRow::new("kube-api-content-type", Kind::String, "application/vnd.kubernetes.protobuf", "DEPRECATED: content type of requests sent to apiserver. This parameter is ignored if a config file is specified in --config."),
            FlagRow::new("kube-api-qps", Kind::Float32, "50", "DEPRECATED: QPS to use while talking with kubernetes apiserver. This parameter is ignored if a config file is specified in --config."),
            FlagRow::new("kubeconfig", Kind::String, "", "DEPRECATED: path to kubeconfig file with authorization and master location information. This parameter is ignored if a config file is specified in --config."),
            FlagRow::new("pod-max-in-unschedulable-pods-duration", Kind::Duration, "5m0s", "DEPRECATED: the maximum time a pod can stay in unschedulablePods. If a pod stays in unschedulablePods for longer than this value, the pod will be moved from unschedulablePods to backoffQ or activeQ. This flag is deprecated and will be removed in a future version."),
            FlagRow::new("profiling", Kind::Bool, "true", "DEPRECATED: enable profiling via web interface host:port/debug/pprof/. This parameter is ignored if a config file is specified in --config.").without_effect(NOT_YET),
        ],
    },
    Group { section: "Leader election", rows: common::LEADER_ELECTION },
    Group {
        section: "Leader election",
        rows: &[
            FlagRow::new("leader-elect-resource-name", Kind::String, "kube-scheduler", "The name of resource object that is used for locking during leader election."),
        ],
    },
    Group { section: "Feature gate", rows: common::EMULATION },
    Group { section: "Feature gate", rows: common::COMPONENT_FEATURE_GATES },
    Group { section: "Metrics", rows: common::METRICS },
    Group { section: "Logs", rows: common::LOGS },
    Group { section: "Global", rows: common::VERSION },
    Group {
        section: "Global",
        rows: &[
            FlagRow::new("help", Kind::Bool, "false", "help for kube-scheduler").shorthand('h'),
        ],
    },
];

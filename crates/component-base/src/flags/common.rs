//! Rows that several daemons have. Upstream: the AddFlags functions of component-base and apiserver/pkg/server/options.

use super::{FlagRow, Kind, NOT_YET};

/// Emulated versions, for daemons with versioned feature gates.
pub const EMULATION: &[FlagRow] = &[
    FlagRow::new("emulated-version", Kind::StringSlice, "[]", r#"The versions different components emulate their capabilities (APIs, features, ...) of.
If set, the component will emulate the behavior of this version instead of the underlying binary version.
Version format could only be major.minor, for example: '--emulated-version=wardle=1.2,kube=1.31'.
Options are: kube=1.33..1.36(default:1.36)
If the component is not specified, defaults to "kube""#).without_effect(NOT_YET),
    FlagRow::new("min-compatibility-version", Kind::StringSlice, "[]", r#"The min version of control plane components the server should be compatible with.
Must be less or equal to the emulated-version. Version format could only be major.minor, for example: '--min-compatibility-version=wardle=1.2,kube=1.31'.
Options are: kube=1.33..1.36(default:1.35)
If the component is not specified, defaults to "kube""#).without_effect(NOT_YET),
];

/// Feature gates of daemons with versioned feature gates: `component:Gate=true`, the component may be left out.
pub const COMPONENT_FEATURE_GATES: &[FlagRow] = &[FlagRow::new(
    "feature-gates",
    Kind::ColonMultimap { default_key: true },
    "",
    r#"Comma-separated list of component:key=value pairs that describe feature gates for alpha/experimental features of different components.
If the component is not specified, defaults to "kube". This flag can be repeatedly invoked. For example: --feature-gates 'wardle:featureA=true,wardle:featureB=false' --feature-gates 'kube:featureC=true'Options are:"#,
)];

/// HTTPS serving, but for `--bind-address`, `--secure-port` and `--cert-dir`, whose defaults or texts differ between daemons.
pub const SECURE_SERVING: &[FlagRow] = &[
    FlagRow::new(
        "disable-http2-serving",
        Kind::Bool,
        "false",
        "If true, HTTP2 serving will be disabled [default=false]",
    ),
    FlagRow::new(
        "http2-max-streams-per-connection",
        Kind::Int,
        "0",
        "The limit that the server gives to clients for the maximum number of streams in an HTTP/2 connection. Zero means to use golang's default.",
    ),
    FlagRow::new(
        "permit-address-sharing",
        Kind::Bool,
        "false",
        "If true, SO_REUSEADDR will be used when binding the port. This allows binding to wildcard IPs like 0.0.0.0 and specific IPs in parallel, and it avoids waiting for the kernel to release sockets in TIME_WAIT state. [default=false]",
    ),
    FlagRow::new(
        "permit-port-sharing",
        Kind::Bool,
        "false",
        "If true, SO_REUSEPORT will be used when binding the port, which allows more than one instance to bind on the same address and port. [default=false]",
    ),
    FlagRow::new(
        "tls-cert-file",
        Kind::String,
        "",
        "File containing the default x509 Certificate for HTTPS. (CA cert, if any, concatenated after server cert). If HTTPS serving is enabled, and --tls-cert-file and --tls-private-key-file are not provided, a self-signed certificate and key are generated for the public address and saved to the directory specified by --cert-dir.",
    ),
    FlagRow::new(
        "tls-cipher-suites",
        Kind::StringSlice,
        "[]",
        "Comma-separated list of cipher suites for the server. If omitted, the default Go cipher suites will be used. \nPreferred values: TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256.\nInsecure values: TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, TLS_ECDHE_RSA_WITH_RC4_128_SHA, TLS_RSA_WITH_3DES_EDE_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA256, TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_256_GCM_SHA384, TLS_RSA_WITH_RC4_128_SHA.",
    ),
    FlagRow::new(
        "tls-curve-preferences",
        Kind::Int32Slice,
        "[]",
        "Comma-separated list of numeric Go crypto/tls CurveID values, as the allowed key exchange mechanisms for the server. The supported values depend on the Go version used. See https://pkg.go.dev/crypto/tls#CurveID for values supported for each Go version. The order of the list is ignored, and key exchange mechanisms are chosen by Go from this list using an internal preference order. If omitted, the default Go curves will be used.",
    ),
    FlagRow::new(
        "tls-min-version",
        Kind::String,
        "",
        "Minimum TLS version supported. Possible values: VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13",
    ),
    FlagRow::new(
        "tls-private-key-file",
        Kind::String,
        "",
        "File containing the default x509 private key matching --tls-cert-file.",
    ),
    FlagRow::new(
        "tls-sni-cert-key",
        Kind::NamedCertKey,
        "[]",
        r#"A pair of x509 certificate and private key file paths, optionally suffixed with a list of domain patterns which are fully qualified domain names, possibly with prefixed wildcard segments. The domain patterns also allow IP addresses, but IPs should only be used if the apiserver has visibility to the IP address requested by a client. If no domain patterns are provided, the names of the certificate are extracted. Non-wildcard matches trump over wildcard matches, explicit domain patterns trump over extracted names. For multiple key/certificate pairs, use the --tls-sni-cert-key multiple times. Examples: "example.crt,example.key" or "foo.crt,foo.key:*.foo.com,foo.com"."#,
    ),
];

/// Authentication that asks the apiserver, but for `--authentication-tolerate-lookup-failure`, whose default differs.
pub const DELEGATED_AUTHENTICATION: &[FlagRow] = &[
    FlagRow::new(
        "authentication-kubeconfig",
        Kind::String,
        "",
        "kubeconfig file pointing at the 'core' kubernetes server with enough rights to create tokenreviews.authentication.k8s.io. This is optional. If empty, all token requests are considered to be anonymous and no client CA is looked up in the cluster.",
    ),
    FlagRow::new(
        "authentication-skip-lookup",
        Kind::Bool,
        "false",
        "If false, the authentication-kubeconfig will be used to lookup missing authentication configuration from the cluster.",
    ),
    FlagRow::new(
        "authentication-token-webhook-cache-ttl",
        Kind::Duration,
        "10s",
        "The duration to cache responses from the webhook token authenticator.",
    ),
    FlagRow::new(
        "client-ca-file",
        Kind::String,
        "",
        "If set, any request presenting a client certificate signed by one of the authorities in the client-ca-file is authenticated with an identity corresponding to the CommonName of the client certificate.",
    ),
    FlagRow::new(
        "requestheader-allowed-names",
        Kind::StringSlice,
        "[]",
        "List of client certificate common names to allow to provide usernames in headers specified by --requestheader-username-headers. If empty, any client certificate validated by the authorities in --requestheader-client-ca-file is allowed.",
    ),
    FlagRow::new(
        "requestheader-client-ca-file",
        Kind::String,
        "",
        "Root certificate bundle to use to verify client certificates on incoming requests before trusting usernames in headers specified by --requestheader-username-headers. WARNING: generally do not depend on authorization being already done for incoming requests.",
    ),
    FlagRow::new(
        "requestheader-extra-headers-prefix",
        Kind::StringSlice,
        "[x-remote-extra-]",
        "List of request header prefixes to inspect. X-Remote-Extra- is suggested.",
    ),
    FlagRow::new(
        "requestheader-group-headers",
        Kind::StringSlice,
        "[x-remote-group]",
        "List of request headers to inspect for groups. X-Remote-Group is suggested.",
    ),
    FlagRow::new(
        "requestheader-uid-headers",
        Kind::StringSlice,
        "[]",
        "List of request headers to inspect for UIDs. X-Remote-Uid is suggested. Requires the RemoteRequestHeaderUID feature to be enabled.",
    ),
    FlagRow::new(
        "requestheader-username-headers",
        Kind::StringSlice,
        "[x-remote-user]",
        "List of request headers to inspect for usernames. X-Remote-User is common.",
    ),
];

/// Authorization that asks the apiserver.
pub const DELEGATED_AUTHORIZATION: &[FlagRow] = &[
    FlagRow::new(
        "authorization-always-allow-paths",
        Kind::StringSlice,
        "[/healthz,/readyz,/livez]",
        "A list of HTTP paths to skip during authorization, i.e. these are authorized without contacting the 'core' kubernetes server.",
    ),
    FlagRow::new(
        "authorization-kubeconfig",
        Kind::String,
        "",
        "kubeconfig file pointing at the 'core' kubernetes server with enough rights to create subjectaccessreviews.authorization.k8s.io. This is optional. If empty, all requests not skipped by authorization are forbidden.",
    ),
    FlagRow::new(
        "authorization-webhook-cache-authorized-ttl",
        Kind::Duration,
        "10s",
        "The duration to cache 'authorized' responses from the webhook authorizer.",
    ),
    FlagRow::new(
        "authorization-webhook-cache-unauthorized-ttl",
        Kind::Duration,
        "10s",
        "The duration to cache 'unauthorized' responses from the webhook authorizer.",
    ),
];

/// Leader election, but for `--leader-elect-resource-name`, whose default is the daemon's name.
pub const LEADER_ELECTION: &[FlagRow] = &[
    FlagRow::new(
        "leader-elect",
        Kind::Bool,
        "true",
        "Start a leader election client and gain leadership before executing the main loop. Enable this when running replicated components for high availability.",
    ),
    FlagRow::new(
        "leader-elect-lease-duration",
        Kind::Duration,
        "15s",
        "The duration that non-leader candidates will wait after observing a leadership renewal until attempting to acquire leadership of a led but unrenewed leader slot. This is effectively the maximum duration that a leader can be stopped before it is replaced by another candidate. This is only applicable if leader election is enabled.",
    ),
    FlagRow::new(
        "leader-elect-renew-deadline",
        Kind::Duration,
        "10s",
        "The interval between attempts by the acting master to renew a leadership slot before it stops leading. This must be less than the lease duration. This is only applicable if leader election is enabled.",
    ),
    FlagRow::new(
        "leader-elect-resource-lock",
        Kind::String,
        "leases",
        "The type of resource object that is used for locking during leader election. Supported options are 'leases'.",
    ),
    FlagRow::new(
        "leader-elect-resource-namespace",
        Kind::String,
        "kube-system",
        "The namespace of resource object that is used for locking during leader election.",
    ),
    FlagRow::new(
        "leader-elect-retry-period",
        Kind::Duration,
        "2s",
        "The duration the clients should wait between attempting acquisition and renewal of a leadership. This is only applicable if leader election is enabled.",
    ),
];

/// What `/metrics` shows.
pub const METRICS: &[FlagRow] = &[
    FlagRow::new("allow-metric-labels", Kind::StringToString, "[]", "The map from metric-label to value allow-list of this label. The key's format is <MetricName>,<LabelName>. The value's format is <allowed_value>,<allowed_value>...e.g. metric1,label1='v1,v2,v3', metric1,label2='v1,v2,v3' metric2,label1='v1,v2,v3'.").without_effect(NOT_YET),
    FlagRow::new("allow-metric-labels-manifest", Kind::String, "", r#"The path to the manifest file that contains the allow-list mapping. The format of the file is the same as the flag --allow-metric-labels, i.e., 
allowListMapping:
  "metric1,label1": "value11,value12"
  "metric2,label2": ""
Note that the flag --allow-metric-labels will override the manifest file."#).without_effect(NOT_YET),
    FlagRow::new("disabled-metrics", Kind::StringSlice, "[]", "This flag provides an escape hatch for misbehaving metrics. You must provide the fully qualified metric name in order to disable it. Disclaimer: disabling metrics is higher in precedence than showing hidden metrics."),
    FlagRow::new("show-hidden-metrics-for-version", Kind::String, "", "The previous version for which you want to show hidden metrics. Only the previous minor version is meaningful, other values will not be allowed. The format is <major>.<minor>, e.g.: '1.16'. The purpose of this format is make sure you have the opportunity to notice if the next release hides additional metrics, rather than being surprised when they are permanently removed in the release after that."),
];

/// Logs.
pub const LOGS: &[FlagRow] = &[
    FlagRow::new("log-flush-frequency", Kind::Duration, "5s", "Maximum number of seconds between log flushes"),
    FlagRow::new("log-json-info-buffer-size", Kind::Quantity, "", "[Alpha] In JSON format with split output streams, the info messages can be buffered for a while to increase performance. The default value of zero bytes disables buffering. The size can be specified as number of bytes (512), multiples of 1000 (1K), multiples of 1024 (2Ki), or powers of those (3M, 4G, 5Mi, 6Gi). Enable the LoggingAlphaOptions feature gate to use this.").without_effect(NOT_YET),
    FlagRow::new("log-json-split-stream", Kind::Bool, "false", "[Alpha] In JSON format, write error messages to stderr and info messages to stdout. The default is to write a single stream to stdout. Enable the LoggingAlphaOptions feature gate to use this.").without_effect(NOT_YET),
    FlagRow::new("log-text-info-buffer-size", Kind::Quantity, "", "[Alpha] In text format with split output streams, the info messages can be buffered for a while to increase performance. The default value of zero bytes disables buffering. The size can be specified as number of bytes (512), multiples of 1000 (1K), multiples of 1024 (2Ki), or powers of those (3M, 4G, 5Mi, 6Gi). Enable the LoggingAlphaOptions feature gate to use this.").without_effect(NOT_YET),
    FlagRow::new("log-text-split-stream", Kind::Bool, "false", "[Alpha] In text format, write error messages to stderr and info messages to stdout. The default is to write a single stream to stdout. Enable the LoggingAlphaOptions feature gate to use this.").without_effect(NOT_YET),
    FlagRow::new("logging-format", Kind::String, "text", r#"Sets the log format. Permitted formats: "json" (gated by LoggingBetaOptions), "text"."#),
    FlagRow::new("v", Kind::Level, "0", "number for the log level verbosity").shorthand('v'),
    FlagRow::new("vmodule", Kind::VModule, "", "comma-separated list of pattern=N settings for file-filtered logging (only works for text log format)"),
];

/// `--version`.
pub const VERSION: &[FlagRow] = &[FlagRow::new(
    "version",
    Kind::Version,
    "false",
    "--version, --version=raw prints version information and quits; --version=vX.Y.Z... sets the reported version",
)];

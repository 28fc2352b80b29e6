//! Every flag of this daemon: upstream's names, defaults and help texts. Upstream: cmd/kube-controller-manager/app/options.
//!
//! Rows without effect say why; `component_base::flags` logs a warning when one of them is set.

use component_base::flags::{
    Command, FlagRow, Group, Kind, NOT_YET, UPSTREAM_ONLY, UsageStyle, common,
};

/// What the command line looks like.
pub const COMMAND: Command = Command {
    name: "kube-controller-manager",
    description: DESCRIPTION,
    flags: FLAGS,
    features: component_base::features::KNOWN,
    usage_style: UsageStyle::UsageThenError,
};

const DESCRIPTION: &str = "\
The Kubernetes controller manager is a daemon that embeds\n\
the core control loops shipped with Kubernetes. In applications of robotics and\n\
automation, a control loop is a non-terminating loop that regulates the state of\n\
the system. In Kubernetes, a controller is a control loop that watches the shared\n\
state of the cluster through the apiserver and makes changes attempting to move the\n\
current state towards the desired state. Examples of controllers that ship with\n\
Kubernetes today are the replication controller, endpoints controller, namespace\n\
controller, and serviceaccounts controller.";

/// All flags, in the order of sections in `--help`.
pub const FLAGS: &[Group] = &[
    Group {
        section: "Debugging",
        rows: &[
            FlagRow::new("contention-profiling", Kind::Bool, "false", "Enable block profiling, if profiling is enabled").without_effect(UPSTREAM_ONLY),
            FlagRow::new("profiling", Kind::Bool, "true", "Enable profiling via web interface host:port/debug/pprof/").without_effect(NOT_YET),
        ],
    },
    Group {
        section: "Leader-migration",
        rows: &[
            FlagRow::new("enable-leader-migration", Kind::Bool, "false", "Whether to enable controller leader migration.").without_effect(NOT_YET),
            FlagRow::new("leader-migration-config", Kind::String, "", "Path to the config file for controller leader migration, or empty to use the value that reflects default configuration of the controller manager. The config file should be of type LeaderMigrationConfiguration, group controllermanager.config.k8s.io, version v1alpha1.").without_effect(NOT_YET),
        ],
    },
    Group { section: "Generic", rows: common::EMULATION },
    Group { section: "Generic", rows: common::COMPONENT_FEATURE_GATES },
    Group { section: "Generic", rows: common::LEADER_ELECTION },
    Group {
        section: "Generic",
        rows: &[
            FlagRow::new("allocate-node-cidrs", Kind::Bool, "false", "Should CIDRs for Pods be allocated and set on the cloud provider. Requires --cluster-cidr."),
            FlagRow::new("cidr-allocator-type", Kind::String, "RangeAllocator", "Type of CIDR allocator to use"),
            FlagRow::new("cloud-config", Kind::String, "", "The path to the cloud provider configuration file. Empty string for no configuration file.").without_effect(NOT_YET),
            FlagRow::new("cloud-provider", Kind::String, "", "The provider for cloud services. Empty string for no provider.").without_effect(NOT_YET),
            FlagRow::new("cluster-cidr", Kind::String, "", "CIDR Range for Pods in cluster. Only used when --allocate-node-cidrs=true; if false, this option will be ignored."),
            FlagRow::new("cluster-name", Kind::String, "kubernetes", "The instance prefix for the cluster."),
            FlagRow::new("configure-cloud-routes", Kind::Bool, "true", "Should CIDRs allocated by allocate-node-cidrs be configured on the cloud provider.").without_effect(NOT_YET),
            FlagRow::new("controller-shutdown-timeout", Kind::Duration, "10s", "Time to wait for the controllers to shut down before terminating the executable"),
            FlagRow::new("controller-start-interval", Kind::Duration, "0s", "Interval between starting controller managers."),
            FlagRow::new("controllers", Kind::StringSlice, "[*]", "A list of controllers to enable. '*' enables all on-by-default controllers, 'foo' enables the controller named 'foo', '-foo' disables the controller named 'foo'.\nAll controllers: bootstrap-signer-controller, certificatesigningrequest-approving-controller, certificatesigningrequest-cleaner-controller, certificatesigningrequest-signing-controller, cloud-node-lifecycle-controller, clusterrole-aggregation-controller, cronjob-controller, daemonset-controller, deployment-controller, device-taint-eviction-controller, disruption-controller, endpoints-controller, endpointslice-controller, endpointslice-mirroring-controller, ephemeral-volume-controller, garbage-collector-controller, horizontal-pod-autoscaler-controller, job-controller, kube-apiserver-serving-clustertrustbundle-publisher-controller, legacy-serviceaccount-token-cleaner-controller, namespace-controller, node-ipam-controller, node-lifecycle-controller, node-route-controller, persistentvolume-attach-detach-controller, persistentvolume-binder-controller, persistentvolume-expander-controller, persistentvolume-protection-controller, persistentvolumeclaim-protection-controller, pod-garbage-collector-controller, podcertificaterequest-cleaner-controller, podgroup-protection-controller, replicaset-controller, replicationcontroller-controller, resourceclaim-controller, resourcepoolstatusrequest-controller, resourcequota-controller, root-ca-certificate-publisher-controller, selinux-warning-controller, service-cidr-controller, service-lb-controller, serviceaccount-controller, serviceaccount-token-controller, statefulset-controller, storage-version-migrator-controller, storageversion-garbage-collector-controller, taint-eviction-controller, token-cleaner-controller, ttl-after-finished-controller, ttl-controller, validatingadmissionpolicy-status-controller, volumeattributesclass-protection-controller\nDisabled-by-default controllers: bootstrap-signer-controller, selinux-warning-controller, token-cleaner-controller"),
            FlagRow::new("external-cloud-volume-plugin", Kind::String, "", "The plugin to use when cloud provider is set to external. Can be empty, should only be set when cloud-provider is external. Currently used to allow node-ipam-controller, persistentvolume-binder-controller, persistentvolume-expander-controller and attach-detach-controller to work for in tree cloud providers.").without_effect(NOT_YET),
            FlagRow::new("kube-api-burst", Kind::Int32, "30", "Burst to use while talking with kubernetes apiserver."),
            FlagRow::new("kube-api-content-type", Kind::String, "application/vnd.kubernetes.protobuf", "Content type of requests sent to apiserver."),
            FlagRow::new("kube-api-qps", Kind::Float32, "20", "QPS to use while talking with kubernetes apiserver."),
            FlagRow::new("leader-elect-resource-name", Kind::String, "kube-controller-manager", "The name of resource object that is used for locking during leader election."),
            FlagRow::new("min-resync-period", Kind::Duration, "12h0m0s", "The resync period in reflectors will be random between MinResyncPeriod and 2*MinResyncPeriod."),
            FlagRow::new("node-monitor-period", Kind::Duration, "5s", "The period for syncing NodeStatus in cloud-node-lifecycle-controller."),
            FlagRow::new("route-reconciliation-period", Kind::Duration, "10s", "The period for reconciling routes created for Nodes by cloud provider.").without_effect(NOT_YET),
            FlagRow::new("use-service-account-credentials", Kind::Bool, "false", "If true, use individual service account credentials for each controller."),
            FlagRow::new("allow-untagged-cloud", Kind::Bool, "false", "Allow the cluster to run without the cluster-id on cloud instances. This is a legacy mode of operation and a cluster-id will be required in the future.").deprecated("This flag is deprecated and will be removed in a future release. A cluster-id will be required on cloud instances.").without_effect(NOT_YET).hidden(),
            FlagRow::new("node-sync-period", Kind::Duration, "0s", "This flag is deprecated and will be removed in future releases. See node-monitor-period for Node health checking or route-reconciliation-period for cloud provider's route configuration settings.").deprecated("This flag is currently no-op and will be deleted.").without_effect(UPSTREAM_ONLY).hidden(),
        ],
    },
    Group {
        section: "Service-lb-controller",
        rows: &[
            FlagRow::new("concurrent-service-syncs", Kind::Int32, "1", "The number of services that are allowed to sync concurrently. Larger number = more responsive service management, but more CPU (and network) load").without_effect(NOT_YET),
        ],
    },
    Group { section: "Secure serving", rows: common::SECURE_SERVING },
    Group {
        section: "Secure serving",
        rows: &[
            FlagRow::new("bind-address", Kind::Ip, "0.0.0.0", "The IP address on which to listen for the --secure-port port. The associated interface(s) must be reachable by the rest of the cluster, and by CLI/web clients. If blank or an unspecified address (0.0.0.0 or ::), all interfaces and IP address families will be used."),
            FlagRow::new("cert-dir", Kind::String, "", "The directory where the TLS certs are located. If --tls-cert-file and --tls-private-key-file are provided, this flag will be ignored."),
            FlagRow::new("secure-port", Kind::Int, "10257", "The port on which to serve HTTPS with authentication and authorization. If 0, don't serve HTTPS at all."),
        ],
    },
    Group { section: "Authentication", rows: common::DELEGATED_AUTHENTICATION },
    Group {
        section: "Authentication",
        rows: &[
            FlagRow::new("authentication-tolerate-lookup-failure", Kind::Bool, "false", "If true, failures to look up missing authentication configuration from the cluster are not considered fatal. Note that this can result in authentication that treats all requests as anonymous."),
        ],
    },
    Group { section: "Authorization", rows: common::DELEGATED_AUTHORIZATION },
    Group {
        section: "Persistentvolume-attach-detach-controller",
        rows: &[
            FlagRow::new("attach-detach-reconcile-sync-period", Kind::Duration, "1m0s", "The reconciler sync wait time between volume attach detach. This duration must be larger than one second, and increasing this value from the default may allow for volumes to be mismatched with pods."),
            FlagRow::new("disable-attach-detach-reconcile-sync", Kind::Bool, "false", "Disable volume attach detach reconciler sync. Disabling this may cause volumes to be mismatched with pods. Use wisely."),
            FlagRow::new("disable-force-detach-on-timeout", Kind::Bool, "false", "Prevent force detaching volumes based on maximum unmount time and node status. If this flag is set to true, the non-graceful node shutdown feature must be used to recover from node failure. See https://k8s.io/docs/storage-disable-force-detach-on-timeout/."),
        ],
    },
    Group {
        section: "Certificatesigningrequest-signing-controller",
        rows: &[
            FlagRow::new("cluster-signing-cert-file", Kind::String, "", "Filename containing a PEM-encoded X509 CA certificate used to issue cluster-scoped certificates.  If specified, no more specific --cluster-signing-* flag may be specified."),
            FlagRow::new("cluster-signing-duration", Kind::Duration, "8760h0m0s", "The max length of duration signed certificates will be given.  Individual CSRs may request shorter certs by setting spec.expirationSeconds."),
            FlagRow::new("cluster-signing-key-file", Kind::String, "", "Filename containing a PEM-encoded RSA or ECDSA private key used to sign cluster-scoped certificates.  If specified, no more specific --cluster-signing-* flag may be specified."),
            FlagRow::new("cluster-signing-kube-apiserver-client-cert-file", Kind::String, "", "Filename containing a PEM-encoded X509 CA certificate used to issue certificates for the kubernetes.io/kube-apiserver-client signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-kube-apiserver-client-key-file", Kind::String, "", "Filename containing a PEM-encoded RSA or ECDSA private key used to sign certificates for the kubernetes.io/kube-apiserver-client signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-kubelet-client-cert-file", Kind::String, "", "Filename containing a PEM-encoded X509 CA certificate used to issue certificates for the kubernetes.io/kube-apiserver-client-kubelet signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-kubelet-client-key-file", Kind::String, "", "Filename containing a PEM-encoded RSA or ECDSA private key used to sign certificates for the kubernetes.io/kube-apiserver-client-kubelet signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-kubelet-serving-cert-file", Kind::String, "", "Filename containing a PEM-encoded X509 CA certificate used to issue certificates for the kubernetes.io/kubelet-serving signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-kubelet-serving-key-file", Kind::String, "", "Filename containing a PEM-encoded RSA or ECDSA private key used to sign certificates for the kubernetes.io/kubelet-serving signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-legacy-unknown-cert-file", Kind::String, "", "Filename containing a PEM-encoded X509 CA certificate used to issue certificates for the kubernetes.io/legacy-unknown signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
            FlagRow::new("cluster-signing-legacy-unknown-key-file", Kind::String, "", "Filename containing a PEM-encoded RSA or ECDSA private key used to sign certificates for the kubernetes.io/legacy-unknown signer.  If specified, --cluster-signing-{cert,key}-file must not be set."),
        ],
    },
    Group {
        section: "Deployment-controller",
        rows: &[
            FlagRow::new("concurrent-deployment-syncs", Kind::Int32, "5", "The number of deployment objects that are allowed to sync concurrently. Larger number = more responsive deployments, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Device-taint-eviction-controller",
        rows: &[
            FlagRow::new("concurrent-device-taint-eviction-syncs", Kind::Int32, "8", "The number of operations (evicting pods, updating DeviceTaintRule status) allowed to run concurrently. Greater number = more responsive, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Resourceclaim-controller",
        rows: &[
            FlagRow::new("concurrent-resourceclaim-syncs", Kind::Int32, "50", "The number of operations (creating or deleting ResourceClaims) allowed to run concurrently. Larger number = more responsive, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Statefulset-controller",
        rows: &[
            FlagRow::new("concurrent-statefulset-syncs", Kind::Int32, "5", "The number of statefulset objects that are allowed to sync concurrently. Larger number = more responsive statefulsets, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Daemonset-controller",
        rows: &[
            FlagRow::new("concurrent-daemonset-syncs", Kind::Int32, "2", "The number of daemonset objects that are allowed to sync concurrently. Larger number = more responsive daemonsets, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Endpoints-controller",
        rows: &[
            FlagRow::new("concurrent-endpoint-syncs", Kind::Int32, "5", "The number of endpoint syncing operations that will be done concurrently. Larger number = faster endpoint updating, but more CPU (and network) load"),
            FlagRow::new("endpoint-updates-batch-period", Kind::Duration, "0s", "The length of endpoint updates batching period. Processing of pod changes will be delayed by this duration to join them with potential upcoming updates and reduce the overall number of endpoints updates. Larger number = higher endpoint programming latency, but lower number of endpoints revision generated"),
        ],
    },
    Group {
        section: "Endpointslice-controller",
        rows: &[
            FlagRow::new("concurrent-service-endpoint-syncs", Kind::Int32, "5", "The number of service endpoint syncing operations that will be done concurrently. Larger number = faster endpoint slice updating, but more CPU (and network) load. Defaults to 5."),
            FlagRow::new("endpointslice-updates-batch-period", Kind::Duration, "0s", "The length of endpoint slice updates batching period. Processing of pod changes will be delayed by this duration to join them with potential upcoming updates and reduce the overall number of endpoints updates. Larger number = higher endpoint programming latency, but lower number of endpoints revision generated"),
            FlagRow::new("max-endpoints-per-slice", Kind::Int32, "100", "The maximum number of endpoints that will be added to an EndpointSlice. More endpoints per slice will result in less endpoint slices, but larger resources. Defaults to 100."),
        ],
    },
    Group {
        section: "Endpointslice-mirroring-controller",
        rows: &[
            FlagRow::new("mirroring-concurrent-service-endpoint-syncs", Kind::Int32, "5", "The number of service endpoint syncing operations that will be done concurrently by the endpointslice-mirroring-controller. Larger number = faster endpoint slice updating, but more CPU (and network) load. Defaults to 5."),
            FlagRow::new("mirroring-endpointslice-updates-batch-period", Kind::Duration, "0s", "The length of EndpointSlice updates batching period for endpointslice-mirroring-controller. Processing of EndpointSlice changes will be delayed by this duration to join them with potential upcoming updates and reduce the overall number of EndpointSlice updates. Larger number = higher endpoint programming latency, but lower number of endpoints revision generated"),
            FlagRow::new("mirroring-max-endpoints-per-subset", Kind::Int32, "1000", "The maximum number of endpoints that will be added to an EndpointSlice by the endpointslice-mirroring-controller. More endpoints per slice will result in less endpoint slices, but larger resources. Defaults to 100."),
        ],
    },
    Group {
        section: "Ephemeral-volume-controller",
        rows: &[
            FlagRow::new("concurrent-ephemeralvolume-syncs", Kind::Int32, "5", "The number of ephemeral volume syncing operations that will be done concurrently. Larger number = faster ephemeral volume updating, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Garbage-collector-controller",
        rows: &[
            FlagRow::new("concurrent-gc-syncs", Kind::Int32, "20", "The number of garbage collector workers that are allowed to sync concurrently."),
            FlagRow::new("enable-garbage-collector", Kind::Bool, "true", "Enables the generic garbage collector. MUST be synced with the corresponding flag of the kube-apiserver."),
        ],
    },
    Group {
        section: "Horizontal-pod-autoscaler-controller",
        rows: &[
            FlagRow::new("concurrent-horizontal-pod-autoscaler-syncs", Kind::Int32, "5", "The number of horizontal pod autoscaler objects that are allowed to sync concurrently. Larger number = more responsive horizontal pod autoscaler objects processing, but more CPU (and network) load."),
            FlagRow::new("horizontal-pod-autoscaler-cpu-initialization-period", Kind::Duration, "5m0s", "The period after pod start when CPU samples might be skipped."),
            FlagRow::new("horizontal-pod-autoscaler-downscale-stabilization", Kind::Duration, "5m0s", "The period for which autoscaler will look backwards and not scale down below any recommendation it made during that period."),
            FlagRow::new("horizontal-pod-autoscaler-initial-readiness-delay", Kind::Duration, "30s", "The period after pod start during which readiness changes will be treated as initial readiness."),
            FlagRow::new("horizontal-pod-autoscaler-sync-period", Kind::Duration, "15s", "The period for syncing the number of pods in horizontal pod autoscaler."),
            FlagRow::new("horizontal-pod-autoscaler-tolerance", Kind::Float64, "0.1", "The minimum change (from 1.0) in the desired-to-actual metrics ratio for the horizontal pod autoscaler to consider scaling."),
        ],
    },
    Group {
        section: "Job-controller",
        rows: &[
            FlagRow::new("concurrent-job-syncs", Kind::Int32, "5", "The number of job objects that are allowed to sync concurrently. Larger number = more responsive jobs, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Cronjob-controller",
        rows: &[
            FlagRow::new("concurrent-cron-job-syncs", Kind::Int32, "5", "The number of cron job objects that are allowed to sync concurrently. Larger number = more responsive jobs, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Legacy-serviceaccount-token-cleaner-controller",
        rows: &[
            FlagRow::new("legacy-service-account-token-clean-up-period", Kind::Duration, "8760h0m0s", "The period of time since the last usage of an legacy service account token before it can be deleted."),
        ],
    },
    Group {
        section: "Namespace-controller",
        rows: &[
            FlagRow::new("concurrent-namespace-syncs", Kind::Int32, "10", "The number of namespace objects that are allowed to sync concurrently. Larger number = more responsive namespace termination, but more CPU (and network) load"),
            FlagRow::new("namespace-sync-period", Kind::Duration, "5m0s", "The period for syncing namespace life-cycle updates"),
        ],
    },
    Group {
        section: "Node-ipam-controller",
        rows: &[
            FlagRow::new("node-cidr-mask-size", Kind::Int32, "0", "Mask size for node cidr in cluster. Default is 24 for IPv4 and 64 for IPv6."),
            FlagRow::new("node-cidr-mask-size-ipv4", Kind::Int32, "0", "Mask size for IPv4 node cidr in dual-stack cluster. Default is 24."),
            FlagRow::new("node-cidr-mask-size-ipv6", Kind::Int32, "0", "Mask size for IPv6 node cidr in dual-stack cluster. Default is 64."),
            FlagRow::new("service-cluster-ip-range", Kind::String, "", "CIDR Range for Services in cluster. Only used when --allocate-node-cidrs=true; if false, this option will be ignored."),
        ],
    },
    Group {
        section: "Node-lifecycle-controller",
        rows: &[
            FlagRow::new("large-cluster-size-threshold", Kind::Int32, "50", "Number of nodes from which node-lifecycle-controller treats the cluster as large for the eviction logic purposes. --secondary-node-eviction-rate is implicitly overridden to 0 for clusters this size or smaller. Notice: If nodes reside in multiple zones, this threshold will be considered as zone node size threshold for each zone to determine node eviction rate independently."),
            FlagRow::new("node-eviction-rate", Kind::Float32, "0.1", "Number of nodes per second on which pods are deleted in case of node failure when a zone is healthy (see --unhealthy-zone-threshold for definition of healthy/unhealthy). Zone refers to entire cluster in non-multizone clusters."),
            FlagRow::new("node-monitor-grace-period", Kind::Duration, "50s", "Amount of time which we allow running Node to be unresponsive before marking it unhealthy. Must be N times more than kubelet's nodeStatusUpdateFrequency, where N means number of retries allowed for kubelet to post node status. This value should also be greater than the sum of HTTP2_PING_TIMEOUT_SECONDS and HTTP2_READ_IDLE_TIMEOUT_SECONDS"),
            FlagRow::new("node-startup-grace-period", Kind::Duration, "1m0s", "Amount of time which we allow starting Node to be unresponsive before marking it unhealthy."),
            FlagRow::new("secondary-node-eviction-rate", Kind::Float32, "0.01", "Number of nodes per second on which pods are deleted in case of node failure when a zone is unhealthy (see --unhealthy-zone-threshold for definition of healthy/unhealthy). Zone refers to entire cluster in non-multizone clusters. This value is implicitly overridden to 0 if the cluster size is smaller than --large-cluster-size-threshold."),
            FlagRow::new("unhealthy-zone-threshold", Kind::Float32, "0.55", "Fraction of Nodes in a zone which needs to be not Ready (minimum 3) for zone to be treated as unhealthy. "),
        ],
    },
    Group {
        section: "Persistentvolume-binder-controller",
        rows: &[
            FlagRow::new("enable-dynamic-provisioning", Kind::Bool, "true", "Enable dynamic provisioning for environments that support it."),
            FlagRow::new("enable-hostpath-provisioner", Kind::Bool, "false", "Enable HostPath PV provisioning when running without a cloud provider. This allows testing and development of provisioning features.  HostPath provisioning is not supported in any way, won't work in a multi-node cluster, and should not be used for anything other than testing or development.").without_effect(NOT_YET),
            FlagRow::new("flex-volume-plugin-dir", Kind::String, "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/", "Full path of the directory in which the flex volume plugin should search for additional third party volume plugins.").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-increment-timeout-nfs", Kind::Int32, "30", "the increment of time added per Gi to ActiveDeadlineSeconds for an NFS scrubber pod").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-minimum-timeout-hostpath", Kind::Int32, "60", "The minimum ActiveDeadlineSeconds to use for a HostPath Recycler pod.  This is for development and testing only and will not work in a multi-node cluster.").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-minimum-timeout-nfs", Kind::Int32, "300", "The minimum ActiveDeadlineSeconds to use for an NFS Recycler pod").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-pod-template-filepath-hostpath", Kind::String, "", "The file path to a pod definition used as a template for HostPath persistent volume recycling. This is for development and testing only and will not work in a multi-node cluster.").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-pod-template-filepath-nfs", Kind::String, "", "The file path to a pod definition used as a template for NFS persistent volume recycling").without_effect(NOT_YET),
            FlagRow::new("pv-recycler-timeout-increment-hostpath", Kind::Int32, "30", "the increment of time added per Gi to ActiveDeadlineSeconds for a HostPath scrubber pod.  This is for development and testing only and will not work in a multi-node cluster.").without_effect(NOT_YET),
            FlagRow::new("pvclaimbinder-sync-period", Kind::Duration, "15s", "The period for syncing persistent volumes and persistent volume claims"),
        ],
    },
    Group {
        section: "Pod-garbage-collector-controller",
        rows: &[
            FlagRow::new("terminated-pod-gc-threshold", Kind::Int32, "12500", "Number of terminated pods that can exist before the terminated pod garbage collector starts deleting terminated pods. If <= 0, the terminated pod garbage collector is disabled."),
        ],
    },
    Group {
        section: "Replicaset-controller",
        rows: &[
            FlagRow::new("concurrent-replicaset-syncs", Kind::Int32, "5", "The number of replica sets that are allowed to sync concurrently. Larger number = more responsive replica management, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Replicationcontroller-controller",
        rows: &[
            FlagRow::new("concurrent-rc-syncs", Kind::Int32, "5", "The number of replication controllers that are allowed to sync concurrently. Larger number = more responsive replica management, but more CPU (and network) load"),
        ],
    },
    Group {
        section: "Resourcequota-controller",
        rows: &[
            FlagRow::new("concurrent-resource-quota-syncs", Kind::Int32, "5", "The number of resource quotas that are allowed to sync concurrently. Larger number = more responsive quota management, but more CPU (and network) load"),
            FlagRow::new("resource-quota-sync-period", Kind::Duration, "5m0s", "The period for syncing quota usage status in the system"),
        ],
    },
    Group {
        section: "Serviceaccount-controller",
        rows: &[
            FlagRow::new("concurrent-serviceaccount-token-syncs", Kind::Int32, "5", "The number of service account token objects that are allowed to sync concurrently. Larger number = more responsive token generation, but more CPU (and network) load"),
            FlagRow::new("root-ca-file", Kind::String, "", "If set, this root certificate authority will be included in service account's token secret. This must be a valid PEM-encoded CA bundle."),
            FlagRow::new("service-account-private-key-file", Kind::String, "", "Enables legacy secret-based tokens when set. Filename containing a PEM-encoded private RSA or ECDSA key used to sign service account tokens."),
        ],
    },
    Group {
        section: "Ttl-after-finished-controller",
        rows: &[
            FlagRow::new("concurrent-ttl-after-finished-syncs", Kind::Int32, "5", "The number of ttl-after-finished-controller workers that are allowed to sync concurrently."),
        ],
    },
    Group {
        section: "Validatingadmissionpolicy-status-controller",
        rows: &[
            FlagRow::new("concurrent-validating-admission-policy-status-syncs", Kind::Int32, "5", "The number of ValidatingAdmissionPolicyStatusController workers that are allowed to sync concurrently."),
        ],
    },
    Group { section: "Metrics", rows: common::METRICS },
    Group { section: "Logs", rows: common::LOGS },
    Group {
        section: "Misc",
        rows: &[
            FlagRow::new("kubeconfig", Kind::String, "", "Path to kubeconfig file with authorization and master location information (the master location can be overridden by the master flag)."),
            FlagRow::new("master", Kind::String, "", "The address of the Kubernetes API server (overrides any value in kubeconfig)."),
        ],
    },
    Group { section: "Global", rows: common::VERSION },
    Group {
        section: "Global",
        rows: &[
            FlagRow::new("help", Kind::Bool, "false", "help for kube-controller-manager").shorthand('h'),
        ],
    },
];

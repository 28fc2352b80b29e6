//! From flags to [`Config`], what the daemon runs with. Upstream: cmd/kube-controller-manager/app/options.
//!
//! This daemon reads no config file, upstream's neither: flags fill the component configuration, which `/configz` shows.
//! All mistakes are reported in one run, before a socket is opened.

/// The table of flags.
pub mod flags;
/// `--controllers`.
pub mod selection;

use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::kube_controller_manager_config::v1alpha1::{
    CSRSigningConfiguration, KubeControllerManagerConfiguration,
};
use apimachinery::quote::quote;
use apimachinery::{duration, os_error};
use component_base::auth::delegated::validate_request_header_flags;
use component_base::features::FeatureGates;
use component_base::flags::Flags;
use component_base::metrics::MetricsOptions;
use component_base::serving::SecureServingOptions;
use component_base::version;

use self::selection::Selection;
use crate::controllers::CONTROLLERS;

/// Everything the flags say, resolved.
#[derive(Clone)]
pub struct Config {
    /// The part that controllers read, and `/configz` shows.
    pub component: KubeControllerManagerConfiguration,
    /// `--master`.
    pub master: String,
    /// Which controllers run.
    pub selection: Selection,
    /// Feature gates.
    pub features: FeatureGates,
    /// The secure port.
    pub serving: SecureServingOptions,
    /// How metrics are shown.
    pub metrics: MetricsOptions,
    /// How long controllers have to end; zero waits without limit.
    pub shutdown_timeout: Duration,
}

/// All mistakes in the flags.
#[derive(Debug, thiserror::Error)]
#[error("{}", component_base::aggregate(.0))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Resolves the flags.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigErrors> {
        // What cannot be understood is told alone, as upstream does; contradictions all at once, in upstream's order.
        let features = FeatureGates::new(component_base::features::KNOWN)
            .with_components(flags.multimap("feature-gates"))
            .map_err(|problems| ConfigErrors(problems.iter().map(ToString::to_string).collect()))?;
        let component = component(flags);
        let mut errors = version::validate_emulation(flags);
        let election = &component.generic.leader_election;
        if election.leader_elect == Some(true) && election.resource_lock != "leases" {
            errors.push("resourceLock value must be \"leases\"".to_owned());
        }
        let selection = Selection::new(&component.generic.controllers, CONTROLLERS);
        if let Err(problems) = &selection {
            errors.extend(problems.iter().cloned());
        }
        validate(&component, &mut errors);
        let serving = SecureServingOptions::from_flags(flags, "kube-controller-manager", false);
        if let Err(problem) = &serving {
            errors.push(problem.to_string());
        }
        errors.extend(validate_request_header_flags(flags));
        let metrics = MetricsOptions::from_flags(flags);
        if let Err(problem) = &metrics {
            errors.push(problem.clone());
        }
        validate_cloud(&component, &mut errors);
        if errors.is_empty() {
            errors.extend(what_stops_clients(&component, flags));
        }
        match (selection, serving, metrics) {
            (Ok(selection), Ok(serving), Ok(metrics)) if errors.is_empty() => Ok(Self {
                component,
                master: flags.string("master").to_owned(),
                selection,
                features,
                serving,
                metrics,
                shutdown_timeout: flags.duration("controller-shutdown-timeout"),
            }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// The kubeconfig of the daemon's own clients.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        let path = &self.component.generic.client_connection.kubeconfig;
        (!path.is_empty()).then(|| PathBuf::from(path))
    }
}

/// Upstream's Validate functions of the controllers' options.
fn validate(config: &KubeControllerManagerConfiguration, errors: &mut Vec<String>) {
    if config
        .attach_detach_controller
        .reconciler_sync_loop_period
        .0
        < duration::SECOND
    {
        errors.push("duration time must be greater than one second as set via command line option reconcile-sync-loop-period".to_owned());
    }
    let signing = &config.csr_signing_controller;
    // The names are upstream's, which is one off for the kubelets' clients.
    let specific = [
        (
            "cluster-signing-kubelet-serving",
            &signing.kubelet_serving_signer_configuration,
        ),
        (
            "cluster-signing-kube-apiserver-client",
            &signing.kubelet_client_signer_configuration,
        ),
        (
            "cluster-signing-kube-apiserver",
            &signing.kube_api_server_client_signer_configuration,
        ),
        (
            "cluster-signing-legacy-unknown",
            &signing.legacy_unknown_signer_configuration,
        ),
    ];
    for (name, signer) in &specific {
        let half = match (signer.cert_file.as_str(), signer.key_file.as_str()) {
            ("", key) if !key.is_empty() => "cannot specify key without cert",
            (cert, "") if !cert.is_empty() => "cannot specify cert without key",
            _ => continue,
        };
        errors.push(format!("{}: {half}", quote(name)));
    }
    let general = !signing.cluster_signing_cert_file.is_empty()
        || !signing.cluster_signing_key_file.is_empty();
    if general
        && specific
            .iter()
            .any(|(_, signer)| !signer.cert_file.is_empty() || !signer.key_file.is_empty())
    {
        errors.push("cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time".to_owned());
    }
    let mut workers = |flag: &str, value: i32, words: &str| {
        if value < 1 {
            errors.push(format!("{flag} must be {words} got {value}"));
        }
    };
    let greater = "greater than 0, but";
    workers(
        "concurrent-daemonset-syncs",
        config.daemon_set_controller.concurrent_daemon_set_syncs,
        greater,
    );
    workers(
        "concurrent-device-taint-eviction-syncs",
        config.device_taint_eviction_controller.concurrent_syncs,
        "greater than zero,",
    );
    workers(
        "concurrent-resourceclaim-syncs",
        config.resource_claim_controller.concurrent_syncs,
        "larger than 0,",
    );
    workers(
        "concurrent-statefulset-syncs",
        config.stateful_set_controller.concurrent_stateful_set_syncs,
        greater,
    );
    let slices = &config.endpoint_slice_controller;
    check_range(
        errors,
        "concurrent-service-endpoint-syncs",
        slices.concurrent_service_endpoint_syncs,
        1,
        50,
    );
    check_range(
        errors,
        "max-endpoints-per-slice",
        slices.max_endpoints_per_slice,
        1,
        1000,
    );
    let mirroring = &config.endpoint_slice_mirroring_controller;
    check_range(
        errors,
        "mirroring-concurrent-service-endpoint-syncs",
        mirroring.mirroring_concurrent_service_endpoint_syncs,
        1,
        50,
    );
    check_range(
        errors,
        "mirroring-max-endpoints-per-subset",
        mirroring.mirroring_max_endpoints_per_subset,
        1,
        1000,
    );
    for (flag, value) in [
        (
            "concurrent-ephemeralvolume-syncs",
            config
                .ephemeral_volume_controller
                .concurrent_ephemeral_volume_syncs,
        ),
        (
            "concurrent-horizontal-pod-autoscaler-syncs",
            config
                .hpa_controller
                .concurrent_horizontal_pod_autoscaler_syncs,
        ),
        (
            "concurrent-job-syncs",
            config.job_controller.concurrent_job_syncs,
        ),
        (
            "concurrent-cron-job-syncs",
            config.cron_job_controller.concurrent_cron_job_syncs,
        ),
    ] {
        if value < 1 {
            errors.push(format!("{flag} must be {greater} got {value}"));
        }
    }
}

fn validate_cloud(config: &KubeControllerManagerConfiguration, errors: &mut Vec<String>) {
    let provider = &config.kube_cloud_shared.cloud_provider.name;
    if !provider.is_empty() && provider != "external" {
        errors.push(format!("cloud provider {} was specified, but built-in cloud providers are disabled. Please set --cloud-provider=external and migrate to an external cloud provider", quote(provider)));
    }
    let allocator = &config.kube_cloud_shared.cidr_allocator_type;
    if !allocator.is_empty() && allocator != "RangeAllocator" {
        errors.push(format!(
            "built-in cloud providers are disabled. The ipam {allocator} is not available"
        ));
    }
}

/// What upstream finds while it makes clients and reads its migration file.
fn what_stops_clients(
    config: &KubeControllerManagerConfiguration,
    flags: &Flags,
) -> Option<String> {
    let connection = &config.generic.client_connection;
    if connection.qps > 0.0 && connection.burst <= 0 {
        return Some("burst is required to be greater than 0 when RateLimiter is not set and QPS is set to greater than 0".to_owned());
    }
    let path = flags.non_empty("leader-migration-config")?;
    if !config.generic.leader_migration_enabled {
        return None;
    }
    std::fs::read(path).err().map(|error| {
        format!(
            "unable to read leader migration configuration from {}: {}",
            quote(path),
            os_error::on_reading(Path::new(path), &error)
        )
    })
}

fn check_range(errors: &mut Vec<String>, flag: &str, value: i32, least: i32, most: i32) {
    if value < least {
        errors.push(format!(
            "{flag} must not be less than {least}, but got {value}"
        ));
    } else if value > most {
        errors.push(format!(
            "{flag} must not be more than {most}, but got {value}"
        ));
    }
}

/// The component configuration as the flags have it.
fn component(flags: &Flags) -> KubeControllerManagerConfiguration {
    let text = |name: &str| flags.string(name).to_owned();
    let number = |name: &str| flags.int32(name);
    let time = |name: &str| api_types::Duration(flags.duration_nanos(name));
    let mut c = KubeControllerManagerConfiguration::default();

    let generic = &mut c.generic;
    generic.port = i32::try_from(flags.int("secure-port")).unwrap_or_default();
    generic.address = flags
        .ip("bind-address")
        .map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
    generic.min_resync_period = time("min-resync-period");
    generic.controller_start_interval = time("controller-start-interval");
    generic.controllers = flags.strings("controllers").to_vec();
    generic.client_connection.kubeconfig = text("kubeconfig");
    generic.client_connection.content_type = text("kube-api-content-type");
    generic.client_connection.qps = flags.float("kube-api-qps") as f32;
    generic.client_connection.burst = number("kube-api-burst");
    generic.debugging.enable_profiling = Some(flags.bool("profiling"));
    generic.debugging.enable_contention_profiling = Some(flags.bool("contention-profiling"));
    generic.leader_migration_enabled = flags.bool("enable-leader-migration");
    let election = &mut generic.leader_election;
    election.leader_elect = Some(flags.bool("leader-elect"));
    election.lease_duration = time("leader-elect-lease-duration");
    election.renew_deadline = time("leader-elect-renew-deadline");
    election.retry_period = time("leader-elect-retry-period");
    election.resource_lock = text("leader-elect-resource-lock");
    election.resource_name = text("leader-elect-resource-name");
    election.resource_namespace = text("leader-elect-resource-namespace");

    let shared = &mut c.kube_cloud_shared;
    shared.cloud_provider.name = text("cloud-provider");
    shared.cloud_provider.cloud_config_file = text("cloud-config");
    shared.external_cloud_volume_plugin = text("external-cloud-volume-plugin");
    shared.use_service_account_credentials = flags.bool("use-service-account-credentials");
    shared.route_reconciliation_period = time("route-reconciliation-period");
    shared.node_monitor_period = time("node-monitor-period");
    shared.cluster_name = text("cluster-name");
    shared.cluster_cidr = text("cluster-cidr");
    shared.allocate_node_cidrs = flags.bool("allocate-node-cidrs");
    shared.cidr_allocator_type = text("cidr-allocator-type");
    shared.configure_cloud_routes = Some(flags.bool("configure-cloud-routes"));

    c.attach_detach_controller
        .disable_attach_detach_reconciler_sync = flags.bool("disable-attach-detach-reconcile-sync");
    c.attach_detach_controller.reconciler_sync_loop_period =
        time("attach-detach-reconcile-sync-period");
    c.attach_detach_controller.disable_force_detach_on_timeout =
        flags.bool("disable-force-detach-on-timeout");

    let signer = |name: &str| CSRSigningConfiguration {
        cert_file: text(&format!("cluster-signing-{name}-cert-file")),
        key_file: text(&format!("cluster-signing-{name}-key-file")),
    };
    let signing = &mut c.csr_signing_controller;
    signing.cluster_signing_cert_file = text("cluster-signing-cert-file");
    signing.cluster_signing_key_file = text("cluster-signing-key-file");
    signing.kubelet_serving_signer_configuration = signer("kubelet-serving");
    signing.kubelet_client_signer_configuration = signer("kubelet-client");
    signing.kube_api_server_client_signer_configuration = signer("kube-apiserver-client");
    signing.legacy_unknown_signer_configuration = signer("legacy-unknown");
    signing.cluster_signing_duration = time("cluster-signing-duration");

    c.daemon_set_controller.concurrent_daemon_set_syncs = number("concurrent-daemonset-syncs");
    c.deployment_controller.concurrent_deployment_syncs = number("concurrent-deployment-syncs");
    c.stateful_set_controller.concurrent_stateful_set_syncs =
        number("concurrent-statefulset-syncs");
    c.endpoint_controller.concurrent_endpoint_syncs = number("concurrent-endpoint-syncs");
    c.endpoint_controller.endpoint_updates_batch_period = time("endpoint-updates-batch-period");
    c.endpoint_slice_controller
        .concurrent_service_endpoint_syncs = number("concurrent-service-endpoint-syncs");
    c.endpoint_slice_controller.max_endpoints_per_slice = number("max-endpoints-per-slice");
    c.endpoint_slice_controller.endpoint_updates_batch_period =
        time("endpointslice-updates-batch-period");
    let mirroring = &mut c.endpoint_slice_mirroring_controller;
    mirroring.mirroring_concurrent_service_endpoint_syncs =
        number("mirroring-concurrent-service-endpoint-syncs");
    mirroring.mirroring_max_endpoints_per_subset = number("mirroring-max-endpoints-per-subset");
    mirroring.mirroring_endpoint_updates_batch_period =
        time("mirroring-endpointslice-updates-batch-period");
    c.ephemeral_volume_controller
        .concurrent_ephemeral_volume_syncs = number("concurrent-ephemeralvolume-syncs");
    c.garbage_collector_controller.enable_garbage_collector =
        Some(flags.bool("enable-garbage-collector"));
    c.garbage_collector_controller.concurrent_gc_syncs = number("concurrent-gc-syncs");
    let hpa = &mut c.hpa_controller;
    hpa.concurrent_horizontal_pod_autoscaler_syncs =
        number("concurrent-horizontal-pod-autoscaler-syncs");
    hpa.horizontal_pod_autoscaler_sync_period = time("horizontal-pod-autoscaler-sync-period");
    hpa.horizontal_pod_autoscaler_downscale_stabilization_window =
        time("horizontal-pod-autoscaler-downscale-stabilization");
    hpa.horizontal_pod_autoscaler_tolerance = flags.float("horizontal-pod-autoscaler-tolerance");
    hpa.horizontal_pod_autoscaler_cpu_initialization_period =
        time("horizontal-pod-autoscaler-cpu-initialization-period");
    hpa.horizontal_pod_autoscaler_initial_readiness_delay =
        time("horizontal-pod-autoscaler-initial-readiness-delay");
    c.job_controller.concurrent_job_syncs = number("concurrent-job-syncs");
    c.cron_job_controller.concurrent_cron_job_syncs = number("concurrent-cron-job-syncs");
    c.legacy_sa_token_cleaner.clean_up_period =
        time("legacy-service-account-token-clean-up-period");
    c.namespace_controller.namespace_sync_period = time("namespace-sync-period");
    c.namespace_controller.concurrent_namespace_syncs = number("concurrent-namespace-syncs");

    let ipam = &mut c.node_ipam_controller;
    // Two ranges, one per IP family, are given with a comma.
    let ranges = text("service-cluster-ip-range");
    let (first, second) = ranges.split_once(',').unwrap_or((&ranges, ""));
    (ipam.service_cidr, ipam.secondary_service_cidr) = (first.to_owned(), second.to_owned());
    ipam.node_cidr_mask_size = number("node-cidr-mask-size");
    ipam.node_cidr_mask_size_ipv4 = number("node-cidr-mask-size-ipv4");
    ipam.node_cidr_mask_size_ipv6 = number("node-cidr-mask-size-ipv6");
    let lifecycle = &mut c.node_lifecycle_controller;
    lifecycle.node_eviction_rate = flags.float("node-eviction-rate") as f32;
    lifecycle.secondary_node_eviction_rate = flags.float("secondary-node-eviction-rate") as f32;
    lifecycle.node_startup_grace_period = time("node-startup-grace-period");
    lifecycle.node_monitor_grace_period = time("node-monitor-grace-period");
    lifecycle.large_cluster_size_threshold = number("large-cluster-size-threshold");
    lifecycle.unhealthy_zone_threshold = flags.float("unhealthy-zone-threshold") as f32;

    let binder = &mut c.persistent_volume_binder_controller;
    binder.pv_claim_binder_sync_period = time("pvclaimbinder-sync-period");
    let volumes = &mut binder.volume_configuration;
    volumes.enable_host_path_provisioning = Some(flags.bool("enable-hostpath-provisioner"));
    volumes.enable_dynamic_provisioning = Some(flags.bool("enable-dynamic-provisioning"));
    volumes.flex_volume_plugin_dir = text("flex-volume-plugin-dir");
    let recycler = &mut volumes.persistent_volume_recycler_configuration;
    recycler.maximum_retry = 3;
    recycler.minimum_timeout_nfs = number("pv-recycler-minimum-timeout-nfs");
    recycler.pod_template_file_path_nfs = text("pv-recycler-pod-template-filepath-nfs");
    recycler.increment_timeout_nfs = number("pv-recycler-increment-timeout-nfs");
    recycler.pod_template_file_path_host_path = text("pv-recycler-pod-template-filepath-hostpath");
    recycler.minimum_timeout_host_path = number("pv-recycler-minimum-timeout-hostpath");
    recycler.increment_timeout_host_path = number("pv-recycler-timeout-increment-hostpath");

    c.pod_gc_controller.terminated_pod_gc_threshold = number("terminated-pod-gc-threshold");
    c.replica_set_controller.concurrent_rs_syncs = number("concurrent-replicaset-syncs");
    c.replication_controller.concurrent_rc_syncs = number("concurrent-rc-syncs");
    c.resource_quota_controller.resource_quota_sync_period = time("resource-quota-sync-period");
    c.resource_quota_controller.concurrent_resource_quota_syncs =
        number("concurrent-resource-quota-syncs");
    c.sa_controller.service_account_key_file = text("service-account-private-key-file");
    c.sa_controller.concurrent_sa_token_syncs = number("concurrent-serviceaccount-token-syncs");
    c.sa_controller.root_ca_file = text("root-ca-file");
    c.service_controller.concurrent_service_syncs = number("concurrent-service-syncs");
    c.ttl_after_finished_controller.concurrent_ttl_syncs =
        number("concurrent-ttl-after-finished-syncs");
    c.validating_admission_policy_status_controller
        .concurrent_policy_syncs = number("concurrent-validating-admission-policy-status-syncs");
    c.device_taint_eviction_controller.concurrent_syncs =
        number("concurrent-device-taint-eviction-syncs");
    c.resource_claim_controller.concurrent_syncs = number("concurrent-resourceclaim-syncs");
    c
}

#[cfg(test)]
mod tests {
    use component_base::flags::Parsed;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        match Flags::parse(
            &flags::COMMAND,
            arguments.iter().map(|argument| (*argument).to_owned()),
        ) {
            Ok(Parsed::Run(flags)) => {
                Config::from_flags(&flags).map_err(|errors| errors.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_upstreams() {
        let c = parse(&[]).unwrap().component;
        assert_eq!(
            (c.generic.port, c.generic.address.as_str()),
            (10257, "0.0.0.0")
        );
        assert_eq!(
            (
                c.deployment_controller.concurrent_deployment_syncs,
                c.daemon_set_controller.concurrent_daemon_set_syncs
            ),
            (5, 2)
        );
        assert_eq!(
            c.generic.min_resync_period.as_std(),
            Duration::from_secs(12 * 3600)
        );
        assert_eq!(
            c.generic.leader_election.resource_name,
            "kube-controller-manager"
        );
        assert_eq!(c.generic.leader_election.resource_namespace, "kube-system");
    }

    #[test]
    fn flags_reach_the_configuration() {
        let c = parse(&[
            "--concurrent-job-syncs=9",
            "--service-cluster-ip-range=10.96.0.0/16,fd00::/108",
            "--kube-api-qps=50",
            "--leader-elect=false",
        ])
        .unwrap();
        let component = c.component;
        assert_eq!(component.job_controller.concurrent_job_syncs, 9);
        assert_eq!(component.node_ipam_controller.service_cidr, "10.96.0.0/16");
        assert_eq!(
            component.node_ipam_controller.secondary_service_cidr,
            "fd00::/108"
        );
        assert_eq!(component.generic.client_connection.qps, 50.0);
        assert_eq!(component.generic.leader_election.leader_elect, Some(false));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let error = parse(&[
            "--controllers=nonsense",
            "--max-endpoints-per-slice=0",
            "--cloud-provider=gce",
        ])
        .err()
        .unwrap();
        assert!(
            error.contains("\"nonsense\" is not in the list of known controllers"),
            "{error}"
        );
        assert!(
            error.contains("max-endpoints-per-slice must not be less than 1")
                && error.contains("cloud provider \"gce\""),
            "{error}"
        );
    }
}

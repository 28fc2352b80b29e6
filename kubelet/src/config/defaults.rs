//! Defaults of KubeletConfiguration. Upstream: `pkg/kubelet/apis/config/v1beta1/defaults.go`.

use api_types::Duration;
use api_types::kubelet_config::v1beta1::KubeletConfiguration;

const SECOND: i64 = 1_000_000_000;

fn duration(value: &mut Duration, seconds: i64) {
    if value.0 == 0 {
        value.0 = seconds * SECOND;
    }
}

fn text(value: &mut String, default: &str) {
    if value.is_empty() {
        default.clone_into(value);
    }
}

fn number(value: &mut i32, default: i32) {
    if *value == 0 {
        *value = default;
    }
}

/// Fills in what the configuration does not say.
pub fn set_defaults(config: &mut KubeletConfiguration) {
    config.enable_server.get_or_insert(true);
    duration(&mut config.sync_frequency, 60);
    duration(&mut config.file_check_frequency, 20);
    duration(&mut config.http_check_frequency, 20);
    text(&mut config.address, "0.0.0.0");
    number(&mut config.port, 10250);
    let authentication = &mut config.authentication;
    authentication.anonymous.enabled.get_or_insert(false);
    authentication.webhook.enabled.get_or_insert(true);
    duration(&mut authentication.webhook.cache_ttl, 120);
    text(&mut config.authorization.mode, "Webhook");
    duration(&mut config.authorization.webhook.cache_authorized_ttl, 300);
    duration(&mut config.authorization.webhook.cache_unauthorized_ttl, 30);
    config.registry_pull_qps.get_or_insert(5);
    number(&mut config.registry_burst, 10);
    text(
        &mut config.image_pull_credentials_verification_policy,
        "NeverVerifyPreloadedImages",
    );
    config.event_record_qps.get_or_insert(50);
    number(&mut config.event_burst, 100);
    config.enable_debugging_handlers.get_or_insert(true);
    config.healthz_port.get_or_insert(10248);
    text(&mut config.healthz_bind_address, "127.0.0.1");
    config.oom_score_adj.get_or_insert(-999);
    duration(&mut config.streaming_connection_idle_timeout, 4 * 3600);
    if config.node_status_report_frequency.0 == 0 {
        // Who sets only the update frequency expects reports as often.
        config.node_status_report_frequency = match config.node_status_update_frequency {
            Duration(0) => Duration(300 * SECOND),
            frequency => frequency,
        };
    }
    duration(&mut config.node_status_update_frequency, 10);
    number(&mut config.node_lease_duration_seconds, 40);
    duration(&mut config.image_minimum_gc_age, 120);
    config.image_gc_high_threshold_percent.get_or_insert(85);
    config.image_gc_low_threshold_percent.get_or_insert(80);
    duration(&mut config.volume_stats_agg_period, 60);
    config.cgroups_per_qos.get_or_insert(true);
    text(&mut config.cgroup_driver, "cgroupfs");
    text(&mut config.cpu_manager_policy, "none");
    duration(&mut config.cpu_manager_reconcile_period, 10);
    text(&mut config.memory_manager_policy, "None");
    text(&mut config.topology_manager_policy, "none");
    text(&mut config.topology_manager_scope, "container");
    duration(&mut config.runtime_request_timeout, 120);
    text(&mut config.hairpin_mode, "promiscuous-bridge");
    number(&mut config.max_pods, 110);
    if config.pod_pids_limit.is_none_or(|limit| limit < 0) {
        config.pod_pids_limit = Some(-1);
    }
    config
        .resolv_conf
        .get_or_insert_with(|| "/etc/resolv.conf".to_owned());
    config.cpu_cfs_quota.get_or_insert(true);
    config
        .cpu_cfs_quota_period
        .get_or_insert(Duration(SECOND / 10));
    config.node_status_max_images.get_or_insert(50);
    if config.max_open_files == 0 {
        config.max_open_files = 1_000_000;
    }
    text(
        &mut config.content_type,
        "application/vnd.kubernetes.protobuf",
    );
    config.kube_api_qps.get_or_insert(50);
    number(&mut config.kube_api_burst, 100);
    if config.serialize_image_pulls.is_none() {
        config.serialize_image_pulls =
            Some(config.max_parallel_image_pulls.is_none_or(|max| max < 2));
    }
    duration(&mut config.eviction_pressure_transition_period, 300);
    config.merge_default_eviction_settings.get_or_insert(false);
    config.enable_controller_attach_detach.get_or_insert(true);
    config.make_ip_tables_util_chains.get_or_insert(true);
    config.iptables_masquerade_bit.get_or_insert(14);
    config.iptables_drop_bit.get_or_insert(15);
    config.fail_swap_on.get_or_insert(true);
    text(&mut config.container_log_max_size, "10Mi");
    config.container_log_max_files.get_or_insert(5);
    config.container_log_max_workers.get_or_insert(1);
    config
        .container_log_monitor_interval
        .get_or_insert(Duration(10 * SECOND));
    text(
        &mut config.config_map_and_secret_change_detection_strategy,
        "Watch",
    );
    if config.enforce_node_allocatable.is_empty() {
        config.enforce_node_allocatable = vec!["pods".to_owned()];
    }
    text(
        &mut config.volume_plugin_dir,
        "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
    );
    config.enable_system_log_handler.get_or_insert(true);
    config.enable_profiling_handler.get_or_insert(true);
    config.enable_debug_flags_handler.get_or_insert(true);
    config.seccomp_default.get_or_insert(false);
    config.fail_cgroup_v1.get_or_insert(true);
    config.memory_throttling_factor.get_or_insert(0.9);
    text(&mut config.memory_reservation_policy, "None");
    config.register_node.get_or_insert(true);
    config.local_storage_capacity_isolation.get_or_insert(true);
    text(
        &mut config.container_runtime_endpoint,
        "unix:///run/containerd/containerd.sock",
    );
    text(&mut config.pod_logs_dir, "/var/log/pods");
    config
        .crash_loop_back_off
        .max_container_restart_period
        .get_or_insert(Duration(300 * SECOND));
}

/// Hard eviction thresholds of a configuration that names none.
pub const DEFAULT_EVICTION_HARD: [(&str, &str); 5] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];

/// The thresholds in force: named ones replace all defaults unless they are to be merged.
pub fn set_eviction_defaults(config: &mut KubeletConfiguration) {
    let merge = config.merge_default_eviction_settings == Some(true);
    if config.eviction_hard.is_empty() || merge {
        for (signal, threshold) in DEFAULT_EVICTION_HARD {
            config
                .eviction_hard
                .entry(signal.to_owned())
                .or_insert_with(|| threshold.to_owned());
        }
    }
}

/// What a kubelet without a configuration file starts from: the defaults flags had before there was such a file.
pub fn set_legacy_defaults(config: &mut KubeletConfiguration) {
    config.authentication.anonymous.enabled = Some(true);
    config.authentication.webhook.enabled = Some(false);
    "AlwaysAllow".clone_into(&mut config.authorization.mode);
    config.read_only_port = 10255;
}

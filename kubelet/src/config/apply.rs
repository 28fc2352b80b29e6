//! Flags that mirror fields of the configuration. One row per flag: a flag that was given wins over the file.

use api_types::Duration;
use api_types::core::v1::Taint;
use api_types::kubelet_config::v1beta1::KubeletConfiguration;
use component_base::flags::Flags;

type Setter = fn(&mut KubeletConfiguration, &Flags, &str) -> Result<(), String>;

macro_rules! set {
    ($field:ident = $kind:ident) => {
        |config, flags, name| {
            config.$field = set!(@get $kind, flags, name);
            Ok(())
        }
    };
    (@get text, $flags:ident, $name:ident) => { $flags.string($name).to_owned() };
    (@get some_text, $flags:ident, $name:ident) => { Some($flags.string($name).to_owned()) };
    (@get bool, $flags:ident, $name:ident) => { $flags.bool($name) };
    (@get some_bool, $flags:ident, $name:ident) => { Some($flags.bool($name)) };
    (@get int32, $flags:ident, $name:ident) => { $flags.int32($name) };
    (@get some_int32, $flags:ident, $name:ident) => { Some($flags.int32($name)) };
    (@get int, $flags:ident, $name:ident) => { $flags.int($name) };
    (@get some_int, $flags:ident, $name:ident) => { Some($flags.int($name)) };
    (@get duration, $flags:ident, $name:ident) => { Duration($flags.duration_nanos($name)) };
    (@get some_duration, $flags:ident, $name:ident) => { Some(Duration($flags.duration_nanos($name))) };
    (@get strings, $flags:ident, $name:ident) => { $flags.strings($name).to_vec() };
    (@get map, $flags:ident, $name:ident) => { $flags.map($name).clone() };
}

/// Flag name and the field it sets. Flags that are no fields are read where they are used.
pub(super) const ROWS: &[(&str, Setter)] = &[
    ("address", |config, flags, name| {
        config.address = flags.value(name).to_string_for_config();
        Ok(())
    }),
    (
        "allowed-unsafe-sysctls",
        set!(allowed_unsafe_sysctls = strings),
    ),
    ("anonymous-auth", |config, flags, name| {
        config.authentication.anonymous.enabled = Some(flags.bool(name));
        Ok(())
    }),
    ("authentication-token-webhook", |config, flags, name| {
        config.authentication.webhook.enabled = Some(flags.bool(name));
        Ok(())
    }),
    (
        "authentication-token-webhook-cache-ttl",
        |config, flags, name| {
            config.authentication.webhook.cache_ttl = Duration(flags.duration_nanos(name));
            Ok(())
        },
    ),
    ("authorization-mode", |config, flags, name| {
        config.authorization.mode = flags.string(name).to_owned();
        Ok(())
    }),
    (
        "authorization-webhook-cache-authorized-ttl",
        |config, flags, name| {
            config.authorization.webhook.cache_authorized_ttl =
                Duration(flags.duration_nanos(name));
            Ok(())
        },
    ),
    (
        "authorization-webhook-cache-unauthorized-ttl",
        |config, flags, name| {
            config.authorization.webhook.cache_unauthorized_ttl =
                Duration(flags.duration_nanos(name));
            Ok(())
        },
    ),
    ("cgroup-driver", set!(cgroup_driver = text)),
    ("cgroup-root", set!(cgroup_root = text)),
    ("cgroups-per-qos", set!(cgroups_per_qos = some_bool)),
    ("client-ca-file", |config, flags, name| {
        config.authentication.x509.client_ca_file = flags.string(name).to_owned();
        Ok(())
    }),
    ("cluster-dns", set!(cluster_dns = strings)),
    ("cluster-domain", set!(cluster_domain = text)),
    (
        "container-log-max-files",
        set!(container_log_max_files = some_int32),
    ),
    (
        "container-log-max-size",
        set!(container_log_max_size = text),
    ),
    (
        "container-runtime-endpoint",
        set!(container_runtime_endpoint = text),
    ),
    (
        "contention-profiling",
        set!(enable_contention_profiling = bool),
    ),
    ("cpu-cfs-quota", set!(cpu_cfs_quota = some_bool)),
    (
        "cpu-cfs-quota-period",
        set!(cpu_cfs_quota_period = some_duration),
    ),
    ("cpu-manager-policy", set!(cpu_manager_policy = text)),
    (
        "cpu-manager-policy-options",
        set!(cpu_manager_policy_options = map),
    ),
    (
        "cpu-manager-reconcile-period",
        set!(cpu_manager_reconcile_period = duration),
    ),
    (
        "enable-controller-attach-detach",
        set!(enable_controller_attach_detach = some_bool),
    ),
    (
        "enable-debugging-handlers",
        set!(enable_debugging_handlers = some_bool),
    ),
    ("enable-server", set!(enable_server = some_bool)),
    (
        "enforce-node-allocatable",
        set!(enforce_node_allocatable = strings),
    ),
    ("event-burst", set!(event_burst = int32)),
    ("event-qps", set!(event_record_qps = some_int32)),
    ("eviction-hard", set!(eviction_hard = map)),
    (
        "eviction-max-pod-grace-period",
        set!(eviction_max_pod_grace_period = int32),
    ),
    (
        "eviction-minimum-reclaim",
        set!(eviction_minimum_reclaim = map),
    ),
    (
        "eviction-pressure-transition-period",
        set!(eviction_pressure_transition_period = duration),
    ),
    ("eviction-soft", set!(eviction_soft = map)),
    (
        "eviction-soft-grace-period",
        set!(eviction_soft_grace_period = map),
    ),
    ("fail-cgroupv1", set!(fail_cgroup_v1 = some_bool)),
    ("fail-swap-on", set!(fail_swap_on = some_bool)),
    ("feature-gates", |config, flags, name| {
        // Flags add to the gates of the file, gate by gate.
        config.feature_gates.extend(flags.bool_map(name).clone());
        Ok(())
    }),
    (
        "file-check-frequency",
        set!(file_check_frequency = duration),
    ),
    ("hairpin-mode", set!(hairpin_mode = text)),
    ("healthz-bind-address", |config, flags, name| {
        config.healthz_bind_address = flags.value(name).to_string_for_config();
        Ok(())
    }),
    ("healthz-port", set!(healthz_port = some_int32)),
    (
        "http-check-frequency",
        set!(http_check_frequency = duration),
    ),
    (
        "image-gc-high-threshold",
        set!(image_gc_high_threshold_percent = some_int32),
    ),
    (
        "image-gc-low-threshold",
        set!(image_gc_low_threshold_percent = some_int32),
    ),
    (
        "image-service-endpoint",
        set!(image_service_endpoint = text),
    ),
    (
        "kernel-memcg-notification",
        set!(kernel_memcg_notification = bool),
    ),
    ("kube-api-burst", set!(kube_api_burst = int32)),
    ("kube-api-content-type", set!(content_type = text)),
    ("kube-api-qps", set!(kube_api_qps = some_int32)),
    ("kube-reserved", set!(kube_reserved = map)),
    ("kube-reserved-cgroup", set!(kube_reserved_cgroup = text)),
    ("kubelet-cgroups", set!(kubelet_cgroups = text)),
    (
        "local-storage-capacity-isolation",
        set!(local_storage_capacity_isolation = some_bool),
    ),
    (
        "make-iptables-util-chains",
        set!(make_ip_tables_util_chains = some_bool),
    ),
    ("manifest-url", set!(static_pod_url = text)),
    ("manifest-url-header", |config, flags, name| {
        config.static_pod_url_header = flags.multimap(name).clone();
        Ok(())
    }),
    ("max-open-files", set!(max_open_files = int)),
    ("max-pods", set!(max_pods = int32)),
    ("memory-manager-policy", set!(memory_manager_policy = text)),
    (
        "minimum-image-ttl-duration",
        set!(image_minimum_gc_age = duration),
    ),
    (
        "node-status-max-images",
        set!(node_status_max_images = some_int32),
    ),
    (
        "node-status-update-frequency",
        set!(node_status_update_frequency = duration),
    ),
    ("oom-score-adj", set!(oom_score_adj = some_int32)),
    ("pod-cidr", set!(pod_cidr = text)),
    ("pod-manifest-path", set!(static_pod_path = text)),
    ("pod-max-pids", set!(pod_pids_limit = some_int)),
    ("pods-per-core", set!(pods_per_core = int32)),
    ("port", set!(port = int32)),
    (
        "protect-kernel-defaults",
        set!(protect_kernel_defaults = bool),
    ),
    ("provider-id", set!(provider_id = text)),
    ("qos-reserved", set!(qos_reserved = map)),
    ("read-only-port", set!(read_only_port = int32)),
    ("register-node", set!(register_node = some_bool)),
    ("register-with-taints", |config, flags, name| {
        config.register_with_taints = flags
            .strings(name)
            .iter()
            .map(|text| parse_taint(text))
            .collect::<Result<_, _>>()?;
        Ok(())
    }),
    ("registry-burst", set!(registry_burst = int32)),
    ("registry-qps", set!(registry_pull_qps = some_int32)),
    ("reserved-cpus", set!(reserved_system_cpus = text)),
    ("resolv-conf", set!(resolv_conf = some_text)),
    ("rotate-certificates", set!(rotate_certificates = bool)),
    (
        "rotate-server-certificates",
        set!(server_tls_bootstrap = bool),
    ),
    ("runonce", set!(run_once = bool)),
    (
        "runtime-request-timeout",
        set!(runtime_request_timeout = duration),
    ),
    ("seccomp-default", set!(seccomp_default = some_bool)),
    (
        "serialize-image-pulls",
        set!(serialize_image_pulls = some_bool),
    ),
    (
        "streaming-connection-idle-timeout",
        set!(streaming_connection_idle_timeout = duration),
    ),
    ("sync-frequency", set!(sync_frequency = duration)),
    ("system-cgroups", set!(system_cgroups = text)),
    ("system-reserved", set!(system_reserved = map)),
    (
        "system-reserved-cgroup",
        set!(system_reserved_cgroup = text),
    ),
    ("tls-cert-file", set!(tls_cert_file = text)),
    ("tls-cipher-suites", set!(tls_cipher_suites = strings)),
    ("tls-min-version", set!(tls_min_version = text)),
    ("tls-private-key-file", set!(tls_private_key_file = text)),
    (
        "topology-manager-policy",
        set!(topology_manager_policy = text),
    ),
    (
        "topology-manager-policy-options",
        set!(topology_manager_policy_options = map),
    ),
    (
        "topology-manager-scope",
        set!(topology_manager_scope = text),
    ),
    ("volume-plugin-dir", set!(volume_plugin_dir = text)),
    (
        "volume-stats-agg-period",
        set!(volume_stats_agg_period = duration),
    ),
];

/// Text of a flag that is an address in any form.
trait ConfigText {
    fn to_string_for_config(&self) -> String;
}

impl ConfigText for component_base::flags::Value {
    fn to_string_for_config(&self) -> String {
        use component_base::flags::Value;
        match self {
            Value::Ip(Some(ip)) => ip.to_string(),
            Value::String(text) => text.clone(),
            _ => String::new(),
        }
    }
}

/// `key=value:effect` or `key:effect`.
fn parse_taint(text: &str) -> Result<Taint, String> {
    let (key_value, effect) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("invalid taint spec: {text}"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(format!(
            "invalid taint effect: {effect}, unsupported taint effect"
        ));
    }
    let (key, value) = key_value.split_once('=').unwrap_or((key_value, ""));
    Ok(Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
        ..Default::default()
    })
}

/// Puts every flag that was given over the configuration.
pub(super) fn apply_flags(config: &mut KubeletConfiguration, flags: &Flags) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, set) in ROWS {
        if flags.changed(name)
            && let Err(error) = set(config, flags, name)
        {
            let given = flags.value(name).to_string();
            errors.push(format!(
                "invalid argument {} for \"--{name}\" flag: {error}",
                apimachinery::quote::quote(given.trim_matches(['[', ']']))
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_flag() {
        for (name, _) in ROWS {
            assert!(
                super::super::flags::FLAGS
                    .iter()
                    .flat_map(|group| group.rows)
                    .any(|row| row.name == *name),
                "{name} is no flag"
            );
        }
    }

    #[test]
    fn taints() {
        let taint = parse_taint("key=value:NoSchedule").expect("taint");
        assert_eq!(
            (
                taint.key.as_str(),
                taint.value.as_str(),
                taint.effect.as_str()
            ),
            ("key", "value", "NoSchedule")
        );
        assert_eq!(parse_taint("key:NoExecute").expect("taint").value, "");
        assert!(parse_taint("key=value").is_err());
        assert!(parse_taint("key:Nope").is_err());
    }
}

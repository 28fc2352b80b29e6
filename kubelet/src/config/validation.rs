//! Rules of KubeletConfiguration. Upstream: `pkg/kubelet/apis/config/validation`; the texts are upstream's.

use api_types::kubelet_config::v1beta1::KubeletConfiguration;

/// Everything that is wrong, all at once.
#[must_use]
pub fn validate(config: &KubeletConfiguration) -> Vec<String> {
    let mut errors = Vec::new();
    let mut rule = |broken: bool, text: String| {
        if broken {
            errors.push(format!("invalid configuration: {text}"));
        }
    };
    let port = |value: i32| !(1..=65535).contains(&value);
    let percent = |value: i32| !(0..=100).contains(&value);
    let shown = |value: &api_types::Duration| apimachinery::duration::format(value.0);

    rule(
        config.node_lease_duration_seconds <= 0,
        "nodeLeaseDurationSeconds must be greater than 0".into(),
    );
    rule(
        !config.system_cgroups.is_empty() && config.cgroup_root.is_empty(),
        "systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified".into(),
    );
    for (name, flag, value) in [
        ("eventBurst", "event-burst", config.event_burst),
        (
            "eventRecordQPS",
            "event-qps",
            config.event_record_qps.unwrap_or(0),
        ),
        ("kubeAPIBurst", "kube-api-burst", config.kube_api_burst),
        (
            "kubeAPIQPS",
            "kube-api-qps",
            config.kube_api_qps.unwrap_or(0),
        ),
        ("maxPods", "max-pods", config.max_pods),
        ("podsPerCore", "pods-per-core", config.pods_per_core),
        ("registryBurst", "registry-burst", config.registry_burst),
        (
            "registryPullQPS",
            "registry-qps",
            config.registry_pull_qps.unwrap_or(0),
        ),
    ] {
        rule(
            value < 0,
            format!("{name} (--{flag}) {value} must not be a negative number"),
        );
    }
    rule(
        config.max_open_files < 0,
        format!(
            "maxOpenFiles (--max-open-files) {} must not be a negative number",
            config.max_open_files
        ),
    );
    let healthz = config.healthz_port.unwrap_or(0);
    rule(
        healthz != 0 && port(healthz),
        format!("healthzPort (--healthz-port) {healthz} must be between 1 and 65535, inclusive"),
    );
    rule(
        port(config.port),
        format!(
            "port (--port) {} must be between 1 and 65535, inclusive",
            config.port
        ),
    );
    rule(
        config.read_only_port != 0 && port(config.read_only_port),
        format!(
            "readOnlyPort (--read-only-port) {} must be between 0 and 65535, inclusive",
            config.read_only_port
        ),
    );
    if let Some(period) = &config.cpu_cfs_quota_period {
        rule(
            !(1_000_000..=1_000_000_000).contains(&period.0),
            format!(
                "cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {{{}}} must be between 1ms and 1sec, inclusive",
                shown(period)
            ),
        );
    }
    let (high, low) = (
        config.image_gc_high_threshold_percent.unwrap_or(85),
        config.image_gc_low_threshold_percent.unwrap_or(80),
    );
    rule(
        percent(high),
        format!(
            "imageGCHighThresholdPercent (--image-gc-high-threshold) {high} must be between 0 and 100, inclusive"
        ),
    );
    rule(
        percent(low),
        format!(
            "imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be between 0 and 100, inclusive"
        ),
    );
    rule(
        low >= high,
        format!(
            "imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
        ),
    );
    let (min_age, max_age) = (&config.image_minimum_gc_age, &config.image_maximum_gc_age);
    rule(
        min_age.0 < 0,
        format!("imageMinimumGCAge {} must not be negative", shown(min_age)),
    );
    rule(
        max_age.0 < 0,
        format!("imageMaximumGCAge {} must not be negative", shown(max_age)),
    );
    rule(
        max_age.0 > 0 && max_age.0 <= min_age.0,
        format!(
            "imageMaximumGCAge {} must be greater than imageMinimumGCAge {}",
            shown(max_age),
            shown(min_age)
        ),
    );
    let images = config.node_status_max_images.unwrap_or(50);
    rule(
        images < -1,
        format!("nodeStatusMaxImages (--node-status-max-images) {images} must be -1 or greater"),
    );
    let oom = config.oom_score_adj.unwrap_or(0);
    rule(
        !(-1000..=1000).contains(&oom),
        format!("oomScoreAdj (--oom-score-adj) {oom} must be between -1000 and 1000, inclusive"),
    );
    let serialize = config.serialize_image_pulls == Some(true);
    if let Some(parallel) = config.max_parallel_image_pulls {
        rule(
            parallel < 1,
            format!("maxParallelImagePulls {parallel} must be a positive number"),
        );
        rule(
            serialize && parallel > 1,
            "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false"
                .into(),
        );
    }
    rule(
        config.run_once,
        format!(
            "runOnce (--runOnce) {}, Runonce mode has been deprecated and should not be set",
            config.run_once
        ),
    );
    rule(
        !matches!(
            config.topology_manager_policy.as_str(),
            "none" | "best-effort" | "restricted" | "single-numa-node"
        ),
        format!(
            "topologyManagerPolicy (--topology-manager-policy) {:?} must be one of: [\"none\" \"best-effort\" \"restricted\" \"single-numa-node\"]",
            config.topology_manager_policy
        ),
    );
    rule(
        !matches!(config.topology_manager_scope.as_str(), "container" | "pod"),
        format!(
            "topologyManagerScope (--topology-manager-scope) {:?} must be one of: \"container\", or \"pod\"",
            config.topology_manager_scope
        ),
    );
    let (all, critical) = (
        &config.shutdown_grace_period,
        &config.shutdown_grace_period_critical_pods,
    );
    rule(
        critical.0 > all.0,
        format!(
            "shutdownGracePeriodCriticalPods {{{}}} must be <= shutdownGracePeriod {{{}}}",
            shown(critical),
            shown(all)
        ),
    );
    for (name, value) in [
        ("shutdownGracePeriod", all),
        ("shutdownGracePeriodCriticalPods", critical),
    ] {
        rule(
            value.0 < 0 || (value.0 > 0 && value.0 < 1_000_000_000),
            format!(
                "{name} {{{}}} must be either zero or otherwise >= 1 sec",
                shown(value)
            ),
        );
    }
    if let Some(period) = &config.crash_loop_back_off.max_container_restart_period {
        let millis = period.0 / 1_000_000;
        rule(
            !(1000..=300_000).contains(&millis),
            format!(
                "CrashLoopBackOff.MaxContainerRestartPeriod (got: {} seconds) must be set between 1s and 300s",
                millis / 1000
            ),
        );
    }
    rule(
        !matches!(
            config.memory_swap.swap_behavior.as_str(),
            "" | "NoSwap" | "LimitedSwap"
        ),
        format!(
            "memorySwap.swapBehavior {:?} must be one of: \"\", \"LimitedSwap\" or \"NoSwap\"",
            config.memory_swap.swap_behavior
        ),
    );
    const ENFORCEMENTS: [&str; 6] = [
        "pods",
        "system-reserved",
        "system-reserved-compressible",
        "kube-reserved",
        "kube-reserved-compressible",
        "none",
    ];
    let mut seen: Vec<&str> = Vec::new();
    for value in &config.enforce_node_allocatable {
        let suffix = "enforceNodeAllocatable (--enforce-node-allocatable)";
        rule(
            seen.contains(&value.as_str()),
            format!("duplicated enforcements {value:?} in {suffix}"),
        );
        seen.push(value);
        match value.as_str() {
            "system-reserved" | "system-reserved-compressible" => rule(
                config.system_reserved_cgroup.is_empty(),
                format!(
                    "systemReservedCgroup (--system-reserved-cgroup) must be specified when \"system-reserved\" or \"system-reserved-compressible\" included in {suffix}"
                ),
            ),
            "kube-reserved" | "kube-reserved-compressible" => rule(
                config.kube_reserved_cgroup.is_empty(),
                format!(
                    "kubeReservedCgroup (--kube-reserved-cgroup) must be specified when \"kube-reserved\" or \"kube-reserved-compressible\" included in {suffix}"
                ),
            ),
            "none" => rule(
                config.enforce_node_allocatable.len() > 1,
                format!(
                    "{suffix} may not contain additional enforcements when \"none\" is specified"
                ),
            ),
            _ => {}
        }
        rule(
            !ENFORCEMENTS.contains(&value.as_str()),
            format!(
                "option {value:?} specified for {suffix}. Valid options are \"pods\", \"system-reserved\", \"system-reserved-compressible\", \"kube-reserved\", \"kube-reserved-compressible\" or \"none\""
            ),
        );
        rule(
            config.cgroups_per_qos == Some(false) && value == "pods",
            format!(
                "cgroupsPerQOS (--cgroups-per-qos) must be set to true when {value:?} contained in {suffix}"
            ),
        );
    }
    rule(
        !matches!(
            config.hairpin_mode.as_str(),
            "none" | "hairpin-veth" | "promiscuous-bridge"
        ),
        format!(
            "option {:?} specified for hairpinMode (--hairpin-mode). Valid options are \"none\", \"hairpin-veth\" or \"promiscuous-bridge\"",
            config.hairpin_mode
        ),
    );
    rule(
        !config.reserved_system_cpus.is_empty()
            && (!config.system_reserved_cgroup.is_empty() || !config.kube_reserved_cgroup.is_empty()),
        "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)"
            .into(),
    );
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::set_defaults;

    #[test]
    fn defaults_are_valid() {
        let mut config = KubeletConfiguration::default();
        set_defaults(&mut config);
        assert_eq!(validate(&config), Vec::<String>::new());
    }

    #[track_caller]
    fn check(change: impl Fn(&mut KubeletConfiguration), want: &str) {
        let mut config = KubeletConfiguration::default();
        set_defaults(&mut config);
        change(&mut config);
        let errors = validate(&config);
        assert!(errors.iter().any(|error| error == want), "{errors:?}");
    }

    #[test]
    fn rules() {
        check(
            |c| c.port = 0,
            "invalid configuration: port (--port) 0 must be between 1 and 65535, inclusive",
        );
        check(
            |c| c.max_pods = -1,
            "invalid configuration: maxPods (--max-pods) -1 must not be a negative number",
        );
        check(
            |c| c.image_gc_high_threshold_percent = Some(80),
            "invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) 80 must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) 80",
        );
        check(
            |c| c.run_once = true,
            "invalid configuration: runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set",
        );
        check(
            |c| c.enforce_node_allocatable = vec!["pods".into(), "none".into()],
            "invalid configuration: enforceNodeAllocatable (--enforce-node-allocatable) may not contain additional enforcements when \"none\" is specified",
        );
    }
}

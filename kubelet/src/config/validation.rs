//! Rules of KubeletConfiguration. Upstream: `pkg/kubelet/apis/config/validation`; the texts are upstream's.

use api_types::kubelet_config::v1beta1::KubeletConfiguration;
use apimachinery::validation::{is_label_value, is_qualified_name};

/// Everything that is wrong, all at once.
#[must_use]
pub fn validate(config: &KubeletConfiguration) -> Vec<String> {
    let mut errors = Vec::new();
    let mut taints = Vec::new();
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
    not_negative(
        &mut rule,
        "eventBurst",
        "event-burst",
        config.event_burst.into(),
    );
    not_negative(
        &mut rule,
        "eventRecordQPS",
        "event-qps",
        config.event_record_qps.unwrap_or(0).into(),
    );
    let healthz = config.healthz_port.unwrap_or(0);
    rule(
        healthz != 0 && port(healthz),
        format!("healthzPort (--healthz-port) {healthz} must be between 1 and 65535, inclusive"),
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
    for (name, flag, bit) in [
        (
            "iptablesDropBit",
            "iptables-drop-bit",
            config.iptables_drop_bit,
        ),
        (
            "iptablesMasqueradeBit",
            "iptables-masquerade-bit",
            config.iptables_masquerade_bit,
        ),
    ] {
        let bit = bit.unwrap_or(0);
        rule(
            !(0..=31).contains(&bit),
            format!("{name} (--{flag}) {bit} must be between 0 and 31, inclusive"),
        );
    }
    not_negative(
        &mut rule,
        "kubeAPIBurst",
        "kube-api-burst",
        config.kube_api_burst.into(),
    );
    not_negative(
        &mut rule,
        "kubeAPIQPS",
        "kube-api-qps",
        config.kube_api_qps.unwrap_or(0).into(),
    );
    let images = config.node_status_max_images.unwrap_or(50);
    rule(
        images < -1,
        format!("nodeStatusMaxImages (--node-status-max-images) {images} must be -1 or greater"),
    );
    not_negative(
        &mut rule,
        "maxOpenFiles",
        "max-open-files",
        config.max_open_files,
    );
    not_negative(&mut rule, "maxPods", "max-pods", config.max_pods.into());
    let oom = config.oom_score_adj.unwrap_or(0);
    rule(
        !(-1000..=1000).contains(&oom),
        format!("oomScoreAdj (--oom-score-adj) {oom} must be between -1000 and 1000, inclusive"),
    );
    rule(
        config.pods_per_core < 0,
        format!(
            "podsPerCore (--pods-per-core) {} must not be a negative number",
            config.pods_per_core
        ),
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
    not_negative(
        &mut rule,
        "registryBurst",
        "registry-burst",
        config.registry_burst.into(),
    );
    not_negative(
        &mut rule,
        "registryPullQPS",
        "registry-qps",
        config.registry_pull_qps.unwrap_or(0).into(),
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
    for taint in &config.register_with_taints {
        let fine = is_qualified_name(&taint.key).is_empty()
            && (taint.value.is_empty() || is_label_value(&taint.value).is_empty())
            && matches!(
                taint.effect.as_str(),
                "NoSchedule" | "PreferNoSchedule" | "NoExecute"
            );
        taints.extend((!fine).then(|| {
            format!(
                "invalid taint: {{{} {} {} <nil>}}",
                taint.key, taint.value, taint.effect
            )
        }));
    }
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
    rule(
        !config.shutdown_grace_period_by_pod_priority.is_empty()
            && (config.shutdown_grace_period.0 > 0
                || config.shutdown_grace_period_critical_pods.0 > 0),
        "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time".into(),
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
    for which in ["system-reserved", "kube-reserved"] {
        let compressible = format!("{which}-compressible");
        let has = |wanted: &str| {
            config
                .enforce_node_allocatable
                .iter()
                .any(|one| one == wanted)
        };
        rule(
            has(which) && has(&compressible),
            format!(
                "both {which:?} and {compressible:?} cannot be specified together in enforceNodeAllocatable (--enforce-node-allocatable)"
            ),
        );
    }
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
    let policy = config.image_pull_credentials_verification_policy.as_str();
    rule(
        !matches!(
            policy,
            "NeverVerify"
                | "NeverVerifyPreloadedImages"
                | "NeverVerifyAllowlistedImages"
                | "AlwaysVerify"
        ),
        format!(
            "option {policy:?} specified for imagePullCredentialsVerificationPolicy. Valid options are \"NeverVerify\", \"NeverVerifyPreloadedImages\", \"NeverVerifyAllowlistedImages\" or \"AlwaysVerify\""
        ),
    );
    rule(
        !config.preloaded_images_verification_allowlist.is_empty()
            && policy != "NeverVerifyAllowlistedImages",
        "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\"".into(),
    );
    rule(
        !config.reserved_system_cpus.is_empty()
            && (!config.system_reserved_cgroup.is_empty() || !config.kube_reserved_cgroup.is_empty()),
        "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)"
            .into(),
    );
    if let Some(why) = cpu_list_problem(&config.reserved_system_cpus) {
        rule(
            true,
            format!(
                "unable to parse reservedSystemCPUs (--reserved-cpus) {}, error: {why}",
                config.reserved_system_cpus
            ),
        );
    }
    let ids = config
        .user_namespaces
        .as_ref()
        .and_then(|namespaces| namespaces.ids_per_pod);
    if let Some(ids) = ids {
        let why = match ids {
            ..USER_NAMESPACE_UNIT => Some(format!("must not be less than {USER_NAMESPACE_UNIT}")),
            _ if ids % USER_NAMESPACE_UNIT != 0 => {
                Some(format!("must be a multiple of {USER_NAMESPACE_UNIT}"))
            }
            _ if ids > i64::from(u32::MAX) => Some(format!("must not be more than {}", u32::MAX)),
            _ => None,
        };
        rule(
            why.is_some(),
            format!("userNamespaces.idsPerPod {}", why.unwrap_or_default()),
        );
    }
    if let Some(factor) = config.memory_throttling_factor {
        rule(
            factor <= 0.0 || factor > 1.0,
            format!(
                "memoryThrottlingFactor {factor} must be greater than 0 and less than or equal to 1.0"
            ),
        );
    }
    rule(
        !matches!(
            config.memory_reservation_policy.as_str(),
            "None" | "TieredReservation"
        ),
        format!(
            "option {:?} specified for memoryReservationPolicy. Valid options are \"None\" or \"TieredReservation\"",
            config.memory_reservation_policy
        ),
    );
    rule(
        config.container_runtime_endpoint.is_empty(),
        "the containerRuntimeEndpoint was not specified or empty".into(),
    );
    rule(
        config.enable_system_log_query == Some(true)
            && config.enable_system_log_handler != Some(true),
        "enableSystemLogHandler is required for enableSystemLogQuery".into(),
    );
    rule(
        config.container_log_max_workers.unwrap_or(1) < 1,
        "containerLogMaxWorkers must be greater than or equal to 1".into(),
    );
    rule(
        config
            .container_log_monitor_interval
            .as_ref()
            .is_some_and(|interval| interval.0 < 3 * apimachinery::duration::SECOND),
        "containerLogMonitorInterval must be a positive time duration greater than or equal to 3s"
            .into(),
    );
    rule(
        config.container_log_max_files.unwrap_or(5) <= 1,
        "containerLogMaxFiles must be greater than 1".into(),
    );
    pod_logs_dir(&config.pod_logs_dir, &mut rule);
    errors.extend(taints);
    errors
}

/// Identities a pod's user namespace is made of.
const USER_NAMESPACE_UNIT: i64 = 65536;

fn not_negative(rule: &mut impl FnMut(bool, String), name: &str, flag: &str, value: i64) {
    rule(
        value < 0,
        format!("{name} (--{flag}) {value} must not be a negative number"),
    );
}

fn pod_logs_dir(dir: &str, rule: &mut impl FnMut(bool, String)) {
    rule(dir.is_empty(), "podLogsDir was not specified".into());
    rule(
        !dir.starts_with('/'),
        format!("pod logs path {dir:?} must be absolute path"),
    );
    let normal = dir == "/"
        || dir
            .trim_start_matches('/')
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
    rule(!normal, format!("pod logs path {dir:?} must be normalized"));
    rule(
        !dir.is_ascii(),
        format!("pod logs path {dir:?} mut contains ASCII characters only"),
    );
}

/// What is wrong with a list like `0-3,7`.
fn cpu_list_problem(list: &str) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| {
            format!(
                "strconv.Atoi: parsing {}: invalid syntax",
                apimachinery::quote::quote(text)
            )
        })
    };
    list.split(',').find_map(|part| match part.split_once('-') {
        None => number(part).err(),
        Some((from, to)) => match (number(from), number(to)) {
            (Ok(from), Ok(to)) if from > to => {
                Some(format!("invalid range {part:?} ({from} > {to})"))
            }
            (from, to) => from.err().or(to.err()),
        },
    })
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
        check(
            |c| c.reserved_system_cpus = "0-1,x".into(),
            "invalid configuration: unable to parse reservedSystemCPUs (--reserved-cpus) 0-1,x, error: strconv.Atoi: parsing \"x\": invalid syntax",
        );
        check(
            |c| c.pod_logs_dir = "/var/../log".into(),
            "invalid configuration: pod logs path \"/var/../log\" must be normalized",
        );
        check(
            |c| c.container_log_max_files = Some(1),
            "invalid configuration: containerLogMaxFiles must be greater than 1",
        );
        check(
            |c| {
                c.register_with_taints = vec![api_types::core::v1::Taint {
                    key: "a".into(),
                    effect: "Foo".into(),
                    ..Default::default()
                }];
            },
            "invalid taint: {a  Foo <nil>}",
        );
    }
}

//! CPU and memory amounts in the units of cgroups, and the OOM score of containers.
//!
//! Upstream: `pkg/kubelet/cm/helpers_linux.go` and `pkg/kubelet/qos/policy.go`.

use api_types::core::v1::{Container, Pod};

use crate::container::is_sidecar;
use crate::pod_resources::{QosClass, get, qos_class};

/// Fewest cpu shares the kernel takes.
pub const MIN_SHARES: i64 = 2;
/// Most cpu shares the kernel takes.
pub const MAX_SHARES: i64 = 262_144;
/// Shares of one CPU.
pub const SHARES_PER_CPU: i64 = 1024;
/// Milli-CPU of one CPU.
pub const MILLI_PER_CPU: i64 = 1000;
/// Default CFS period, in microseconds.
pub const QUOTA_PERIOD: i64 = 100_000;
/// Shortest quota the kernel takes, in microseconds.
pub const MIN_QUOTA: i64 = 1000;

/// Shares for a CPU request.
#[must_use]
pub fn milli_cpu_to_shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 {
        return MIN_SHARES;
    }
    (milli_cpu * SHARES_PER_CPU / MILLI_PER_CPU).clamp(MIN_SHARES, MAX_SHARES)
}

/// The CPU request shares stand for, rounded up.
#[must_use]
pub fn shares_to_milli_cpu(shares: i64) -> i64 {
    if shares < MIN_SHARES {
        0
    } else {
        (shares * MILLI_PER_CPU).div_euclid(SHARES_PER_CPU)
            + i64::from(shares * MILLI_PER_CPU % SHARES_PER_CPU != 0)
    }
}

/// Quota in microseconds per period for a CPU limit; zero without a limit.
#[must_use]
pub fn milli_cpu_to_quota(milli_cpu: i64, period: i64) -> i64 {
    if milli_cpu == 0 {
        0
    } else {
        (milli_cpu * period / MILLI_PER_CPU).max(MIN_QUOTA)
    }
}

/// The CPU limit a quota stands for.
#[must_use]
pub fn quota_to_milli_cpu(quota: i64, period: i64) -> i64 {
    if quota == -1 || period == 0 {
        0
    } else {
        quota * MILLI_PER_CPU / period
    }
}

/// cgroup v2 weight for cgroup v1 shares: 2..262144 becomes 1..10000.
#[must_use]
pub fn shares_to_weight(shares: i64) -> i64 {
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
}

/// The shares a weight stands for.
#[must_use]
pub fn weight_to_shares(weight: i64) -> i64 {
    (weight - 1) * (MAX_SHARES - MIN_SHARES) / 9999 + MIN_SHARES
}

const GUARANTEED_OOM_SCORE: i64 = -997;
const BEST_EFFORT_OOM_SCORE: i64 = 1000;

fn memory_request(container: &Container) -> i64 {
    get(&container.resources.requests, "memory")
}

/// Pod-level memory request that no container asked for, shared out evenly.
fn unclaimed_memory_per_container(pod: &Pod) -> i64 {
    let Some(resources) = pod.spec.resources.as_deref() else {
        return 0;
    };
    let Some(wanted) = resources.requests.get("memory") else {
        return 0;
    };
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| is_sidecar(container));
    let claimants: Vec<&Container> = pod.spec.containers.iter().chain(sidecars).collect();
    if claimants.is_empty() {
        return 0;
    }
    let claimed: i64 = claimants
        .iter()
        .map(|container| memory_request(container))
        .sum();
    let rest = wanted.value() - claimed;
    if rest <= 0 {
        0
    } else {
        rest / i64::try_from(claimants.len()).unwrap_or(1)
    }
}

/// How willingly the kernel kills the container when memory runs out: the more of the node's memory it asked for, the less.
#[must_use]
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    // system-node-critical; static and mirror pods are critical too only when they say so.
    if pod
        .spec
        .priority
        .is_some_and(|priority| priority >= NODE_CRITICAL_PRIORITY)
    {
        return GUARANTEED_OOM_SCORE;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => return GUARANTEED_OOM_SCORE,
        QosClass::BestEffort => return BEST_EFFORT_OOM_SCORE,
        QosClass::Burstable => {}
    }
    let capacity = memory_capacity.max(1);
    let extra = unclaimed_memory_per_container(pod);
    let score_of = |request: i64| 1000 - (1000_i64.saturating_mul(request + extra)) / capacity;
    let mut score = score_of(memory_request(container));
    if is_sidecar(container)
        && pod
            .spec
            .init_containers
            .iter()
            .any(|init| init.name == container.name)
    {
        // A sidecar is not killed before the containers it serves.
        let smallest = pod
            .spec
            .containers
            .iter()
            .map(memory_request)
            .min()
            .unwrap_or(0);
        score = score.min(score_of(smallest));
    }
    if score < 1000 + GUARANTEED_OOM_SCORE {
        1000 + GUARANTEED_OOM_SCORE
    } else if score == BEST_EFFORT_OOM_SCORE {
        score - 1
    } else {
        score
    }
}

/// Priority of `system-node-critical`.
pub const NODE_CRITICAL_PRIORITY: i32 = 2_000_001_000;
/// Priority of `system-cluster-critical`: such pods may push others off the node.
pub const CRITICAL_PRIORITY: i32 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::container;

    #[test]
    fn shares() {
        for (milli, want) in [
            (0, 2),
            (1, 2),
            (2, 2),
            (3, 3),
            (100, 102),
            (250, 256),
            (500, 512),
            (1500, 1536),
            (1_000_000, 262_144),
        ] {
            assert_eq!(milli_cpu_to_shares(milli), want, "{milli}");
        }
        for (shares, want) in [(2, 2), (102, 100), (256, 250), (1024, 1000), (1536, 1500)] {
            assert_eq!(shares_to_milli_cpu(shares), want, "{shares}");
        }
        for (shares, want) in [(2, 1), (102, 4), (1024, 39), (262_144, 10000)] {
            assert_eq!(shares_to_weight(shares), want, "{shares}");
        }
    }

    #[test]
    fn quota() {
        for (milli, want) in [
            (0, 0),
            (5, 1000),
            (9, 1000),
            (10, 1000),
            (200, 20000),
            (500, 50000),
            (1500, 150_000),
        ] {
            assert_eq!(milli_cpu_to_quota(milli, QUOTA_PERIOD), want, "{milli}");
        }
        assert_eq!(quota_to_milli_cpu(50000, QUOTA_PERIOD), 500);
        assert_eq!(quota_to_milli_cpu(-1, QUOTA_PERIOD), 0);
    }

    #[track_caller]
    fn check_oom(pod: &Pod, index: usize, capacity: i64, want: i64) {
        assert_eq!(
            oom_score_adj(pod, &pod.spec.containers[index], capacity),
            want
        );
    }

    #[test]
    fn oom_scores_of_upstream() {
        const CAPACITY: i64 = 8_000_000_000;
        let pod = |containers: Vec<Container>| {
            let mut pod = Pod::default();
            pod.spec.containers = containers;
            pod
        };
        check_oom(
            &pod(vec![container("best-effort", &[], &[])]),
            0,
            CAPACITY,
            1000,
        );
        let full: &[(&str, &str)] = &[("memory", "10G"), ("cpu", "5m")];
        check_oom(
            &pod(vec![container("guaranteed", full, full)]),
            0,
            123_456_789,
            -997,
        );
        check_oom(
            &pod(vec![container(
                "half",
                &[("memory", "4000000000"), ("cpu", "5m")],
                &[],
            )]),
            0,
            CAPACITY,
            500,
        );
        check_oom(
            &pod(vec![container(
                "most",
                &[("memory", "7999500000"), ("cpu", "5m")],
                &[],
            )]),
            0,
            CAPACITY,
            3,
        );
        check_oom(
            &pod(vec![container("cpu-only", &[("cpu", "5m")], &[])]),
            0,
            CAPACITY,
            999,
        );
        let mut critical = pod(vec![container("critical", &[], &[])]);
        critical.spec.priority = Some(NODE_CRITICAL_PRIORITY);
        check_oom(&critical, 0, CAPACITY, -997);
    }
}

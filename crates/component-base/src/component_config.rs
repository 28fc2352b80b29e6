//! The parts that component configs share: their flags, defaults and rules. Upstream: k8s.io/component-base/config
//! (options, validation, v1alpha1 defaults) and k8s.io/component-base/logs/api/v1.

use std::path::PathBuf;
use std::time::Duration;

use api_types::component_base_config::v1alpha1::{
    ClientConnectionConfiguration, LeaderElectionConfiguration,
};
use api_types::component_base_logs::v1::LoggingConfiguration;
use apimachinery::duration;
use apimachinery::field::{self, ErrorList, Path};
use client::leader_election::LeaderElectionConfig;

use crate::flags::Flags;
use crate::logs;

/// Upstream's defaults of a config that says nothing; the Lease is named after the daemon.
pub fn default_leader_election(config: &mut LeaderElectionConfiguration) {
    let fill = |value: &mut api_types::Duration, seconds: i64| {
        if value.0 == 0 {
            value.0 = seconds * duration::SECOND;
        }
    };
    fill(&mut config.lease_duration, 15);
    fill(&mut config.renew_deadline, 10);
    fill(&mut config.retry_period, 2);
    if config.resource_lock.is_empty() {
        config.resource_lock = "leases".to_owned();
    }
    config.leader_elect.get_or_insert(true);
}

/// Puts the `--leader-elect*` flags that were set over a config.
pub fn apply_leader_election_flags(flags: &Flags, config: &mut LeaderElectionConfiguration) {
    if flags.changed("leader-elect") {
        config.leader_elect = Some(flags.bool("leader-elect"));
    }
    for (name, value) in [
        ("leader-elect-lease-duration", &mut config.lease_duration),
        ("leader-elect-renew-deadline", &mut config.renew_deadline),
        ("leader-elect-retry-period", &mut config.retry_period),
    ] {
        if flags.changed(name) {
            value.0 = flags.duration_nanos(name);
        }
    }
    for (name, value) in [
        ("leader-elect-resource-lock", &mut config.resource_lock),
        ("leader-elect-resource-name", &mut config.resource_name),
        (
            "leader-elect-resource-namespace",
            &mut config.resource_namespace,
        ),
    ] {
        if flags.changed(name) {
            *value = flags.string(name).to_owned();
        }
    }
}

/// Upstream's rules for leader election.
pub fn validate_leader_election(config: &LeaderElectionConfiguration, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    if config.leader_elect != Some(true) {
        return ErrorList(errors);
    }
    let text = |value: &api_types::Duration| duration::format(value.0);
    for (name, value) in [
        ("leaseDuration", &config.lease_duration),
        ("renewDeadline", &config.renew_deadline),
        ("retryPeriod", &config.retry_period),
    ] {
        if value.0 <= 0 {
            errors.push(field::invalid(
                &path.child(name),
                text(value),
                "must be greater than zero",
            ));
        }
    }
    if config.lease_duration.0 <= config.renew_deadline.0 {
        let value = text(&config.renew_deadline);
        errors.push(field::invalid(
            &path.child("leaseDuration"),
            value,
            "must be greater than `RenewDeadline`",
        ));
    }
    for (name, value) in [
        ("resourceLock", &config.resource_lock),
        ("resourceNamespace", &config.resource_namespace),
        ("resourceName", &config.resource_name),
    ] {
        if value.is_empty() {
            errors.push(field::required(&path.child(name), ""));
        }
    }
    ErrorList(errors)
}

/// What the client's elector needs, for a config that is valid. `component` names the daemon in metrics.
pub fn leader_elector_config(
    config: &LeaderElectionConfiguration,
    component: &str,
) -> LeaderElectionConfig {
    let time =
        |value: &api_types::Duration| Duration::from_nanos(u64::try_from(value.0).unwrap_or(0));
    LeaderElectionConfig {
        lock_name: config.resource_name.clone(),
        lease_duration: time(&config.lease_duration),
        renew_deadline: time(&config.renew_deadline),
        retry_period: time(&config.retry_period),
        ..LeaderElectionConfig::new(&config.resource_namespace, component, unique_identity())
    }
}

/// `<host name>_<random>`: unique even when two daemons of a host take part.
pub fn unique_identity() -> String {
    format!("{}_{}", hostname(), uuid::Uuid::new_v4())
}

/// The kernel's host name.
pub fn hostname() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .trim()
        .to_lowercase();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// Upstream's rules for a connection to the apiserver.
pub fn validate_client_connection(
    config: &ClientConnectionConfiguration,
    path: &Path,
) -> ErrorList {
    let mut errors = Vec::new();
    if config.burst < 0 {
        errors.push(field::invalid(
            &path.child("burst"),
            i64::from(config.burst),
            "must be non-negative",
        ));
    }
    ErrorList(errors)
}

/// Where a connection's kubeconfig is; `None` when the config names none.
pub fn kubeconfig_of(config: &ClientConnectionConfiguration) -> Option<PathBuf> {
    (!config.kubeconfig.is_empty()).then(|| PathBuf::from(&config.kubeconfig))
}

/// The log options of a config file, with the flags that were set over them. The error is upstream's.
pub fn logging_options(
    config: &LoggingConfiguration,
    flags: &Flags,
) -> Result<logs::Options, String> {
    let format = if flags.changed("logging-format") {
        flags.string("logging-format")
    } else {
        &config.format
    };
    let verbosity = if flags.changed("v") {
        flags.uint("v") as u32
    } else {
        config.verbosity
    };
    let vmodule = if flags.changed("vmodule") {
        flags.string("vmodule").to_owned()
    } else {
        let items = config
            .vmodule
            .iter()
            .map(|item| format!("{}={}", item.file_pattern, item.verbosity));
        items.collect::<Vec<_>>().join(",")
    };
    logs::Options::new(format, verbosity, &vmodule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> LeaderElectionConfiguration {
        let mut config = LeaderElectionConfiguration {
            resource_name: "kube-scheduler".to_owned(),
            resource_namespace: "kube-system".to_owned(),
            ..LeaderElectionConfiguration::default()
        };
        default_leader_election(&mut config);
        config
    }

    #[test]
    fn defaults_are_valid() {
        let config = valid();
        assert!(
            validate_leader_election(&config, &Path::new("leaderElection"))
                .0
                .is_empty()
        );
        let elector = leader_elector_config(&config, "kube-scheduler");
        assert_eq!(elector.lease_duration, Duration::from_secs(15));
        assert_eq!(
            (elector.lock_namespace.as_str(), elector.lock_name.as_str()),
            ("kube-system", "kube-scheduler")
        );
        assert!(elector.identity.starts_with(&format!("{}_", hostname())));
        assert_ne!(unique_identity(), unique_identity());
    }

    #[test]
    fn rules() {
        let mut config = valid();
        config.renew_deadline = config.lease_duration;
        config.resource_name.clear();
        config.retry_period.0 = 0;
        let errors = validate_leader_election(&config, &Path::new("leaderElection"));
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "leaderElection.retryPeriod: Invalid value: \"0s\": must be greater than zero",
                "leaderElection.leaseDuration: Invalid value: \"15s\": must be greater than `RenewDeadline`",
                "leaderElection.resourceName: Required value",
            ]
        );
        config.leader_elect = Some(false);
        assert!(
            validate_leader_election(&config, &Path::new("leaderElection"))
                .0
                .is_empty()
        );
    }
}

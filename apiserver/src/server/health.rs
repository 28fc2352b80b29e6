//! `/healthz`, `/livez`, `/readyz` with upstream's checks in upstream's order. Upstream: server/healthz.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::auth::BoxFuture;
use component_base::healthz::{self, HealthCheck, HealthChecks, Readiness, ReadinessHandle};
use component_base::metrics::HealthMetrics;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hooks::{identity, leader_election};
use crate::peers;
use crate::storage::Backend;
use crate::storage::encryption::Encryption;
use crate::storage_versions;

/// Post-start hooks, in the order health checks list them.
pub const POST_START_HOOKS: &[&str] = &[
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    CRDS_HOOK,
    "start-system-namespaces-controller",
    leader_election::HOOK,
    PEERS_HOOK,
    "start-cluster-authentication-info-controller",
    IDENTITY_HOOKS[0],
    IDENTITY_HOOKS[1],
    STORAGE_HOOK,
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    RBAC_HOOK,
    PRIORITY_CLASSES_HOOK,
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "aggregator-reload-proxy-client-cert",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-wait-for-first-sync",
    "apiservice-discovery-controller",
    AUTOREGISTRATION,
];
/// Hooks of servers that have names.
const IDENTITY_HOOKS: [&str; 2] = [
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
];
/// The hook that makes APIServices of what is served here.
const AUTOREGISTRATION: &str = "kube-apiserver-autoregistration";
/// The hook that waits for the CustomResourceDefinitions.
pub const CRDS_HOOK: &str = "crd-informer-synced";
/// The hook that makes the classes of system pods.
pub const PRIORITY_CLASSES_HOOK: &str = "scheduling/bootstrap-system-priority-classes";
/// The hook that waits for watch caches.
const STORAGE_HOOK: &str = "storage-readiness";
/// The hook that tells peers where this server is.
const PEERS_HOOK: &str = "peer-endpoint-reconciler-controller";
/// The hook that is there when the file of encryption at rest is followed.
pub const RELOAD_HOOK: &str = "start-encryption-provider-config-automatic-reload";
/// Hooks listed after `autoregister-completion`.
pub const LATE_HOOKS: &[&str] = &[
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
];

/// Hooks there are only with priority and fairness.
const FAIRNESS_HOOKS: [&str; 2] = [
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
];

/// The health endpoints.
pub struct Health {
    pub healthz: HealthChecks,
    pub livez: HealthChecks,
    pub readyz: HealthChecks,
    /// Hooks that have not finished yet.
    running: Mutex<HashMap<&'static str, ReadinessHandle>>,
}

struct Etcd {
    name: String,
    group: &'static str,
    backend: Backend,
    timeout: Duration,
}

impl Etcd {
    fn check(
        backend: &Backend,
        name: &str,
        group: &'static str,
        timeout: Duration,
    ) -> Arc<dyn HealthCheck> {
        Arc::new(Etcd {
            name: name.to_owned(),
            group,
            backend: backend.clone(),
            timeout,
        })
    }
}

impl HealthCheck for Etcd {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Option<&str> {
        Some(self.group)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.backend
                .health(self.timeout)
                .await
                .map_err(|error| error.to_string())
        })
    }
}

/// A check that passes for some time, whatever is the matter: `--livez-grace-period`.
struct Delayed {
    check: Arc<dyn HealthCheck>,
    from: Instant,
}

impl HealthCheck for Delayed {
    fn name(&self) -> &str {
        self.check.name()
    }

    fn group(&self) -> Option<&str> {
        self.check.group()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        match Instant::now() > self.from {
            true => self.check.check(),
            false => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

/// Makes the roles of a new cluster; only where roles count.
pub(crate) const RBAC_HOOK: &str = "rbac/bootstrap-roles";

impl Health {
    pub fn new(
        backend: &Backend,
        config: &Config,
        encryption: Option<&Arc<Encryption>>,
        slis: &HealthMetrics,
        stop: CancellationToken,
    ) -> Health {
        let etcd = Etcd::check(backend, "etcd", "etcd", config.etcd_healthcheck_timeout);
        let (readiness, timeout) = ("etcd-readiness", config.etcd_readycheck_timeout);
        let etcd_readiness = Etcd::check(backend, readiness, readiness, timeout);
        let mut running = HashMap::new();
        let mut hooks: Vec<Arc<dyn HealthCheck>> = Vec::new();
        let reloads = encryption.is_some_and(|encryption| encryption.reloads());
        let mut names: Vec<&'static str> = POST_START_HOOKS.to_vec();
        if reloads {
            names.insert(1, RELOAD_HOOK);
        }
        if storage_versions::is_on(&config.features) {
            let before = names.iter().position(|name| *name == AUTOREGISTRATION);
            names.insert(before.unwrap_or(names.len()), storage_versions::HOOK);
        }
        if config.flags.non_empty("peer-ca-file").is_some() {
            let after = names.iter().position(|name| *name == PEERS_HOOK);
            let at = after.map_or(names.len(), |after| after + 1);
            names.splice(at..at, peers::HOOKS);
        }
        if !config.authorization.has("RBAC") {
            names.retain(|name| *name != RBAC_HOOK);
        }
        if !config.features.enabled(identity::FEATURE) {
            names.retain(|name| !IDENTITY_HOOKS.contains(name));
        }
        if !config.features.enabled(leader_election::FEATURE) {
            names.retain(|name| *name != leader_election::HOOK);
        }
        if !config
            .features
            .enabled("WatchCacheInitializationPostStartHook")
        {
            names.retain(|name| *name != STORAGE_HOOK);
        }
        let fair = config.flags.bool("enable-priority-and-fairness");
        for name in names.iter().chain(LATE_HOOKS) {
            // Limits of requests in flight have a hook of their own.
            if !fair && FAIRNESS_HOOKS.contains(name) {
                if *name == FAIRNESS_HOOKS[0] {
                    let name = "poststarthook/max-in-flight-filter";
                    hooks.push(healthz::named_check(name, || Ok(())));
                }
                continue;
            }
            let readiness = Readiness::default();
            running.insert(*name, readiness.handle());
            if *name == LATE_HOOKS[0] {
                hooks.push(healthz::named_check("autoregister-completion", || Ok(())));
            }
            hooks.push(readiness.check(format!("poststarthook/{name}"), "not finished"));
        }
        let checks = |path, checks| HealthChecks::with_metrics(path, checks, Some(slis.clone()));
        let alive = [
            healthz::ping(),
            healthz::log(),
            healthz::loopback_serving_certificate(),
            etcd.clone(),
        ];
        let ready = vec![healthz::ping(), healthz::log(), etcd, etcd_readiness];
        let health = Health {
            healthz: checks("/healthz", alive.to_vec()),
            livez: checks("/livez", alive.to_vec()),
            readyz: checks("/readyz", ready),
            running: Mutex::new(running),
        };
        // Key services are no reason to start this process again.
        for check in encryption
            .iter()
            .flat_map(|encryption| encryption.health_checks())
        {
            health.healthz.add(check.clone());
            health.readyz.add(check);
        }
        health
            .readyz
            .add(healthz::named_check("informer-sync", || Ok(())));
        let from = Instant::now() + config.livez_grace_period;
        for check in hooks {
            health.livez.add(Arc::new(Delayed {
                check: check.clone(),
                from,
            }));
            health.healthz.add(check.clone());
            health.readyz.add(check);
        }
        health.readyz.add(healthz::shutdown(stop));
        health
    }

    /// Checks etcds that keep some of the resources.
    pub fn add_etcds<'a>(&self, backends: impl Iterator<Item = &'a Backend>, config: &Config) {
        for (i, backend) in backends.enumerate() {
            let (name, timeout) = (
                format!("etcd-override-{i}"),
                config.etcd_healthcheck_timeout,
            );
            let check = Etcd::check(backend, &name, "etcd", timeout);
            for path in [&self.healthz, &self.livez, &self.readyz] {
                path.add(check.clone());
            }
            let (name, timeout) = (
                format!("etcd-override-readiness-{i}"),
                config.etcd_readycheck_timeout,
            );
            let check = Etcd::check(backend, &name, "etcd-readiness", timeout);
            self.readyz.add(check);
        }
    }

    /// Says that a hook has done its work. After the last one the server has started.
    pub fn hook_done(&self, name: &str) {
        let mut running = self.running.lock();
        if running.remove(name).is_some() && running.is_empty() {
            // No work for a thread that answers requests: it takes milliseconds.
            std::thread::spawn(|| {
                give_back();
                std::thread::sleep(SETTLED);
                give_back();
            });
        }
    }

    /// Whether a hook has done its work.
    pub fn is_hook_done(&self, name: &str) -> bool {
        !self.running.lock().contains_key(name)
    }
}

/// After this time what the hooks have set going runs by itself, and everybody who waited for the server has come.
const SETTLED: Duration = Duration::from_secs(10);

/// Gives back the pages of the program that only its start needed: nearly half of it.
fn give_back() {
    match resident::give_back() {
        Ok(bytes) => tracing::debug!(bytes, "Program pages given back after the start"),
        Err(error) => tracing::warn!(%error, "Program pages of the start stay in memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_delayed_check_passes_until_its_time() {
        let check = Delayed {
            check: healthz::named_check("hook", || Err("not finished".to_owned())),
            from: Instant::now() + Duration::from_secs(10),
        };
        assert_eq!((check.name(), check.check().await), ("hook", Ok(())));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(check.check().await, Err("not finished".to_owned()));
    }
}

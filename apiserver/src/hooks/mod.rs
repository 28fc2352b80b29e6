//! What runs once the server serves: the objects every cluster has, and this server's own place among its peers.
//! Upstream: PostStartHooks of pkg/controlplane.
//!
//! Each hook is one file and one row of [`start`]. A hook that fails is tried again until it works; health checks list
//! it as unfinished as long. Only the roles and the repair of Services have a deadline, after which the server ends.

/// APIServices of what is served here.
pub(crate) mod api_services;
/// Who signs client certificates, for extension servers.
mod authentication_info;
/// OpenAPI of custom resources.
mod custom_openapi;
/// Events this server writes.
mod events;
/// Default priority levels and flow schemas.
pub(crate) mod flow_control;
/// Which flow schemas have no priority level.
mod flow_schema_status;
/// This server's Lease.
pub(crate) mod identity;
/// default/kubernetes and its endpoints.
pub(crate) mod kubernetes_service;
/// Who of other components' instances leads.
pub(crate) mod leader_election;
/// system-cluster-critical and system-node-critical.
pub(crate) mod priority_classes;
/// Default roles and bindings.
mod rbac;
/// The default ServiceCIDR.
mod service_cidr;
/// Cluster IPs and node ports that nobody has, or two.
mod service_repair;
/// Namespaces every cluster has.
mod system_namespaces;
/// Since when legacy tokens are tracked.
mod token_tracking;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::status::StatusError;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::custom_resources::controllers;
use crate::loopback::Loopback;
use crate::peers::Peers;
use crate::registry::resource::Resource;
use crate::server::health::{CRDS_HOOK, PRIORITY_CLASSES_HOOK, RBAC_HOOK, RELOAD_HOOK};
use crate::server::{ApiServer, LATE_HOOKS, POST_START_HOOKS};

/// The wait after a first failure, which doubles: hooks wait for the storage and for each other's objects.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_millis(500);

/// Hooks with work to do; the rest of the list is done at once.
const WORKING: &[&str] = &[
    "start-system-namespaces-controller",
    "peer-endpoint-reconciler-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    identity::GARBAGE_HOOK,
    "start-legacy-token-tracking-controller",
    service_repair::HOOK,
    RBAC_HOOK,
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    kubernetes_service::HOOK,
    "start-kubernetes-service-cidr-controller",
    "storage-readiness",
    "kube-apiserver-autoregistration",
    CRDS_HOOK,
    "start-apiextensions-controllers",
    "apiservice-registration-controller",
    "apiservice-wait-for-first-sync",
    "apiservice-discovery-controller",
];

/// Where a hook says that the server cannot go on without it.
#[derive(Clone)]
struct Failed(mpsc::Sender<String>);

impl Failed {
    async fn tell(&self, hook: &str, why: &str) {
        // Nobody listens to a server that ends already.
        let _ = self
            .0
            .send(format!("PostStartHook {hook:?} failed: {why}"))
            .await;
    }
}

/// Tells of a hook without which the server cannot go on.
pub struct Failures(mpsc::Receiver<String>);

impl Failures {
    /// Waits for one; for ever where all is well.
    pub async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }
}

/// Starts all hooks.
pub fn start(server: &Arc<ApiServer>, stop: CancellationToken) -> Failures {
    let (failed, failures) = mpsc::channel(1);
    let failed = Failed(failed);
    for name in POST_START_HOOKS
        .iter()
        .chain(LATE_HOOKS)
        .filter(|name| !WORKING.contains(name))
    {
        server.health.hook_done(name);
    }
    if let Some(encryption) = server
        .encryption
        .clone()
        .filter(|encryption| encryption.reloads())
    {
        server.health.hook_done(RELOAD_HOOK);
        let resources = server.resources.clone();
        tokio::spawn(async move {
            encryption
                .follow(|| reread_unreadable(&resources.rows()))
                .await;
        });
    }
    let done = server.clone();
    crate::custom_resources::serving::start(server, stop.clone(), move || {
        done.health.hook_done(CRDS_HOOK);
    });
    let client = Loopback::new(server);
    let done = server.clone();
    controllers::start(server, &client, stop.clone(), move || {
        done.health.hook_done("start-apiextensions-controllers");
    });
    controllers::registration::start(server, &client, stop.clone());
    let once = |name: &'static str, client: &Loopback| Runner {
        server: server.clone(),
        client: client.clone(),
        name,
        stop: stop.clone(),
        wake: Arc::default(),
    };
    let deadline = Instant::now() + server.config.storage_initialization_timeout;
    once("storage-readiness", &client)
        .run(move |server, _| async move { ready_until(&server, deadline) });
    once("start-system-namespaces-controller", &client)
        .repeat(Duration::from_secs(60), |_, client| async move {
            system_namespaces::run(&client).await
        });
    {
        let (server, client, failed) = (server.clone(), client.clone(), failed.clone());
        let work = async move {
            match priority_classes::initialize(&client).await {
                Ok(()) => server.health.hook_done(PRIORITY_CLASSES_HOOK),
                Err(why) => failed.tell(PRIORITY_CLASSES_HOOK, &why).await,
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
    }
    if server.rbac.is_some() {
        let (server, client, stop) = (server.clone(), client.clone(), stop.clone());
        let failed = failed.clone();
        let work = async move {
            match rbac::initialize(|| rbac::run(&client)).await {
                Ok(()) => server.health.hook_done(RBAC_HOOK),
                Err(why) => failed.tell(RBAC_HOOK, &why).await,
            }
        };
        tokio::spawn(stop.run_until_cancelled_owned(work));
    }
    once("priority-and-fairness-config-producer", &client)
        .repeat(Duration::from_secs(60), |_, client| async move {
            flow_control::run(&client.managed_by(flow_control::PRODUCER)).await
        });
    flow_schema_status::start(server, &client, stop.clone());
    if let Some(flow) = server.flow_control() {
        flow.start(stop.clone());
    }
    service_repair::start(server, &client, failed.clone(), stop.clone());
    custom_openapi::start(server, stop.clone());
    crate::aggregator::start(server, &client, stop.clone());
    let default_cidr = Arc::new(service_cidr::DefaultServiceCidr::new(server, &client));
    once("start-kubernetes-service-cidr-controller", &client).repeat(
        service_cidr::INTERVAL,
        move |_, _| {
            let default_cidr = default_cidr.clone();
            async move { default_cidr.sync().await }
        },
    );
    let told = once("start-cluster-authentication-info-controller", &client);
    authentication_info::follow(server, &told.wake, &stop);
    told.repeat(Duration::from_secs(60), |server, client| async move {
        authentication_info::run(&server, &client).await
    });
    once("start-legacy-token-tracking-controller", &client)
        .repeat(Duration::from_secs(3600), |_, client| async move {
            token_tracking::run(&client).await
        });
    if server.config.features.enabled(identity::FEATURE) {
        once("start-kube-apiserver-identity-lease-controller", &client)
            .repeat(Duration::from_secs(10), |server, client| async move {
                identity::run(&server, &client).await
            });
        once(identity::GARBAGE_HOOK, &client)
            .repeat_beside(Duration::from_secs(3600), |_, client| async move {
                identity::collect_garbage(&client).await
            });
    }
    if server.config.features.enabled(leader_election::FEATURE) {
        leader_election::start(server, &client, stop.clone());
        server.health.hook_done(leader_election::HOOK);
    }
    Peers::start(server, stop.clone());
    once("peer-endpoint-reconciler-controller", &client).repeat_beside(
        Duration::from_secs(10),
        |server, _| async move {
            match &server.peers {
                None => Ok(()),
                Some(peers) => peers.renew().await.inspect_err(
                    |error| tracing::error!(%error, "unable to update peer endpoint leases"),
                ),
            }
        },
    );
    once("kube-apiserver-autoregistration", &client)
        .run(|server, client| async move { api_services::run(&server, &client).await });
    kubernetes_service::start(once(kubernetes_service::HOOK, &client));
    Failures(failures)
}

/// Takes back what other servers must not see of a stopped one.
pub async fn stop(server: &Arc<ApiServer>) {
    if let Some(peers) = &server.peers {
        peers.stop().await;
    }
    kubernetes_service::stop(server, &Loopback::new(server)).await;
}

/// Another configuration may read what this one could not.
fn reread_unreadable(resources: &[Arc<Resource>]) {
    for resource in resources {
        if let Some(storage) = &resource.storage {
            storage.reread_unreadable();
        }
    }
}

/// Fails while a watch cache is not filled, up to the deadline (`--storage-initialization-timeout`).
fn ready_until(server: &ApiServer, deadline: Instant) -> Result<(), StatusError> {
    ready(server).or_else(|error| {
        if Instant::now() < deadline {
            return Err(error);
        }
        tracing::warn!("Deadline exceeded while waiting for storage readiness... ignoring");
        Ok(())
    })
}

fn ready(server: &ApiServer) -> Result<(), StatusError> {
    for resource in server.resources.built_in() {
        if let Some(storage) = &resource.storage {
            storage.ready().map_err(apimachinery::status::internal)?;
        }
    }
    Ok(())
}

/// Runs one hook.
struct Runner {
    server: Arc<ApiServer>,
    client: Loopback,
    name: &'static str,
    stop: CancellationToken,
    /// Ends a wait.
    wake: Arc<Notify>,
}

impl Runner {
    /// Until it works, once.
    fn run<F, Fut>(self, hook: F)
    where
        F: Fn(Arc<ApiServer>, Loopback) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), StatusError>> + Send + 'static,
    {
        self.schedule(None, true, hook);
    }

    /// Until it works, and then every `period`.
    fn repeat<F, Fut>(self, period: Duration, hook: F)
    where
        F: Fn(Arc<ApiServer>, Loopback) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), StatusError>> + Send + 'static,
    {
        self.schedule(Some(period), true, hook);
    }

    /// Every `period`, and sooner when it fails. The server is ready after the first time, whatever came of it.
    fn repeat_beside<F, Fut>(self, period: Duration, hook: F)
    where
        F: Fn(Arc<ApiServer>, Loopback) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), StatusError>> + Send + 'static,
    {
        self.schedule(Some(period), false, hook);
    }

    fn schedule<F, Fut>(self, period: Option<Duration>, needed: bool, hook: F)
    where
        F: Fn(Arc<ApiServer>, Loopback) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), StatusError>> + Send + 'static,
    {
        tokio::spawn(async move {
            let mut done = false;
            let mut retry = FIRST_RETRY;
            let longest = match period {
                Some(period) if !needed => period,
                _ => LONGEST_RETRY,
            };
            loop {
                let outcome = hook(self.server.clone(), self.client.clone()).await;
                if !done && (outcome.is_ok() || !needed) {
                    done = true;
                    self.server.health.hook_done(self.name);
                }
                let wait = match outcome {
                    Ok(()) => {
                        retry = FIRST_RETRY;
                        match period {
                            Some(period) => period,
                            None => return,
                        }
                    }
                    Err(error) => {
                        if needed && retry == LONGEST_RETRY {
                            tracing::warn!(hook = self.name, error = %error, "Post-start hook failed, trying again");
                        }
                        let wait = retry;
                        retry = (retry * 2).min(longest);
                        wait
                    }
                };
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }
}

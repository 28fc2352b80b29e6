//! The daemon's life: serve, fill caches, lead, schedule. Upstream: cmd/kube-scheduler/app, pkg/scheduler/scheduler.go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use client::leader_election::{LeaderElectionMetrics, LeaderElector, LeaderStatus, Outcome};
use client::{
    Client, ClientConfig, ContentType, EventRecorder, InformerFactory, ListScope, RestMetrics,
};
use component_base::auth::delegated::{DelegatedAuthentication, DelegatedAuthorization};
use component_base::auth::filter::Filter;
use component_base::component_config::{hostname, kubeconfig_of, leader_elector_config};
use component_base::configz::Configz;
use component_base::flagz::Flagz;
use component_base::healthz::{self, HealthChecks, named_check};
use component_base::metrics::{HealthMetrics, Metrics as BaseMetrics};
use component_base::run::Start;
use component_base::serving::{Request, Response, handler_fn, not_found};
use component_base::statusz::Statusz;
use component_base::{debug, version};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::config::{Config, profile};
use crate::cycle::Scheduler;
use crate::event_handlers::{NodeHandler, PodHandler, wake_on};
use crate::extender::Extender;
use crate::framework::event::EventResource;
use crate::framework::handle::{Handle, Listers};
use crate::framework::runtime::Framework;
use crate::metrics::Metrics;
use crate::queue::{Options, ProfileHooks, SchedulingQueue, system_clock};

const NAME: &str = "kube-scheduler";
/// Name of the configuration at `/configz`.
const CONFIGZ_NAME: &str = "kubescheduler.config.k8s.io";
/// The lead may be expired this long before the process is reported as unhealthy.
const LEADER_TOLERANCE: Duration = Duration::from_secs(20);
/// Pods that are over need no node, and take none.
const PODS_FIELD_SELECTOR: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another process leads now, or may.
    #[error("leaderelection lost")]
    LeadershipLost,
    /// The configuration does not work.
    #[error("{0}")]
    Build(String),
    /// The configuration could not be written.
    #[error("{}", apimachinery::os_error::on_path("open", path, error))]
    Write {
        path: std::path::PathBuf,
        error: std::io::Error,
    },
}

/// Runs the daemon until it is told to stop or loses the lead.
pub async fn run(start: Start) -> Result<(), component_base::Error> {
    let Start { flags, stop } = start;
    let mut config = Config::from_flags(&flags)?;
    if let Some(path) = &config.write_config_to {
        let text = serde_json::to_vec_pretty(&config.shown())?;
        std::fs::write(path, text).map_err(|error| AppError::Write {
            path: path.clone(),
            error,
        })?;
        tracing::info!(file = %path.display(), "Wrote configuration");
        return Ok(());
    }
    tracing::info!(
        version = version::GIT_VERSION,
        "Starting Kubernetes Scheduler"
    );
    let user_agent = version::user_agent(NAME);
    let base = BaseMetrics::for_daemon(config.metrics.clone());
    config.features.register_metrics(&base);
    let metrics = Metrics::new(&base);

    let connection = &config.component.client_connection;
    let kubeconfig = kubeconfig_of(connection);
    let client_config = ClientConfig::load(kubeconfig.as_deref(), &config.master)?
        .with_user_agent(&user_agent)
        .with_qps(connection.qps)
        .with_burst(u32::try_from(connection.burst).unwrap_or(0))
        .with_content_type(ContentType::parse(&connection.content_type)?)
        .with_metrics(RestMetrics::new(base.registry())?);
    let client = Client::new(client_config)?;
    let health = Health::new(&stop);
    let pages = Pages::new(&config, &flags, &base, &health);
    let serving = if config.serving.switched_off() {
        None
    } else {
        Some(serve(&mut config, &flags, &base, pages, &user_agent, &stop).await?)
    };
    let result = lead(&config, &client, metrics, &base, &health, &stop).await;
    stop.cancel();
    if let Some(serving) = serving {
        serving.await?;
    }
    Ok(result?)
}

/// Opens the secure port and answers on it, behind delegated authentication and authorization.
async fn serve(
    config: &mut Config,
    flags: &component_base::flags::Flags,
    metrics: &BaseMetrics,
    pages: Pages,
    user_agent: &str,
    stop: &CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, component_base::Error> {
    config
        .serving
        .default_self_signed("localhost", &[], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
    let server = config.serving.clone().bind(stop)?;
    let authentication = DelegatedAuthentication::from_flags(flags)
        .build(user_agent, metrics, stop)
        .await?;
    let authorizer = DelegatedAuthorization::from_flags(flags).build(user_agent)?;
    let pages = Arc::new(pages);
    let inner = handler_fn(move |request| {
        let pages = pages.clone();
        async move { pages.answer(request).await }
    });
    let handler = Filter {
        authenticator: authentication.authenticator,
        authorizer,
        request_header: Some(authentication.request_header),
        inner: Arc::new(inner),
    };
    Ok(server.spawn(Arc::new(handler), stop.clone(), Duration::ZERO))
}

/// What is checked at `/healthz`, `/livez` and `/readyz`.
#[derive(Clone)]
struct Health {
    healthz: HealthChecks,
    livez: HealthChecks,
    readyz: HealthChecks,
    sli: HealthMetrics,
    /// Set once the election runs.
    election: Arc<Mutex<Option<LeaderStatus>>>,
    handlers_synced: Arc<std::sync::atomic::AtomicBool>,
}

impl Health {
    fn new(stop: &CancellationToken) -> Self {
        let sli = HealthMetrics::default();
        let election: Arc<Mutex<Option<LeaderStatus>>> = Arc::default();
        let status = election.clone();
        let leader = named_check("leaderElection", move || match &*status.lock() {
            Some(status) => status.check(LEADER_TOLERANCE),
            None => Ok(()),
        });
        let handlers_synced: Arc<std::sync::atomic::AtomicBool> = Arc::default();
        let synced = handlers_synced.clone();
        let handlers = named_check("sched-handler-sync", move || {
            if synced.load(std::sync::atomic::Ordering::Acquire) {
                Ok(())
            } else {
                Err("handlers are not fully synchronized".to_owned())
            }
        });
        let checks =
            |path, checks: Vec<_>| HealthChecks::with_metrics(path, checks, Some(sli.clone()));
        Self {
            healthz: checks("/healthz", vec![healthz::ping(), leader.clone()]),
            livez: checks("/livez", vec![healthz::ping()]),
            readyz: checks(
                "/readyz",
                vec![
                    healthz::ping(),
                    leader,
                    handlers,
                    healthz::shutdown(stop.clone()),
                ],
            ),
            sli,
            election,
            handlers_synced,
        }
    }
}

/// What the secure port shows.
struct Pages {
    health: Health,
    metrics: BaseMetrics,
    configz: Configz,
    flagz: Option<Flagz>,
    statusz: Option<Statusz>,
    profiling: bool,
}

impl Pages {
    fn new(
        config: &Config,
        flags: &component_base::flags::Flags,
        metrics: &BaseMetrics,
        health: &Health,
    ) -> Self {
        let configz = Configz::default();
        configz.set(CONFIGZ_NAME, config.shown());
        let paths = [
            "/configz",
            "/debug/flags/v",
            "/debug/pprof/",
            "/flagz",
            "/healthz",
            "/livez",
            "/metrics",
            "/metrics/slis",
            "/readyz",
            "/statusz",
        ];
        let enabled = |gate: &str| config.features.enabled(gate);
        Self {
            health: health.clone(),
            metrics: metrics.clone(),
            configz,
            flagz: enabled("ComponentFlagz").then(|| Flagz::new(NAME, flags)),
            statusz: enabled("ComponentStatusz").then(|| Statusz::new(NAME, paths)),
            profiling: config.component.debugging_configuration.enable_profiling == Some(true),
        }
    }

    async fn answer(&self, request: Request) -> Response {
        for checks in [
            &self.health.healthz,
            &self.health.livez,
            &self.health.readyz,
        ] {
            if let Some(response) = checks.handle(&request).await {
                return response;
            }
        }
        match request.uri().path() {
            "/metrics" => self.metrics.handle(&request),
            "/metrics/slis" => self.health.sli.handle(&request),
            "/configz" => self.configz.handle(),
            "/flagz" => self
                .flagz
                .as_ref()
                .map_or_else(not_found, |flagz| flagz.handle(&request)),
            "/statusz" => self
                .statusz
                .as_ref()
                .map_or_else(not_found, |statusz| statusz.handle(&request)),
            _ => debug::handle(request, self.profiling)
                .await
                .unwrap_or_else(|_| not_found()),
        }
    }
}

/// Schedules, as the leader if there is an election.
async fn lead(
    config: &Config,
    client: &Client,
    metrics: Metrics,
    base: &BaseMetrics,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let app = App::new(config, client, metrics, health)?;
    let election = &config.component.leader_election;
    // Warm caches make taking over quick.
    let delay = config.component.delay_cache_until_active && election.leader_elect == Some(true);
    if !delay {
        app.start_caches(stop).await;
    }
    if election.leader_elect != Some(true) {
        app.schedule(stop).await;
        return Ok(());
    }
    let mut candidate = leader_elector_config(election, NAME);
    // A successor need not wait for the lease to expire.
    candidate.release_on_cancel = true;
    candidate.recorder = EventRecorder::new(client, NAME, "");
    candidate.metrics = LeaderElectionMetrics::new(base.registry()).ok();
    let elector = LeaderElector::new(client, candidate)
        .map_err(|error| AppError::Build(error.to_string()))?;
    *health.election.lock() = Some(elector.status());
    let work = move |lead: CancellationToken| async move {
        if delay {
            app.start_caches(&lead).await;
        }
        app.schedule(&lead).await;
    };
    match elector.run(stop.clone(), work).await {
        Outcome::Lost => Err(AppError::LeadershipLost),
        Outcome::Cancelled => {
            tracing::info!("Requested to terminate, exiting");
            Ok(())
        }
    }
}

/// The scheduler with its caches.
struct App {
    scheduler: Arc<Scheduler>,
    informers: InformerFactory,
    health: Health,
}

impl App {
    fn new(
        config: &Config,
        client: &Client,
        metrics: Metrics,
        health: &Health,
    ) -> Result<Self, AppError> {
        let component = &config.component;
        let extenders = component
            .extenders
            .iter()
            .map(Extender::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AppError::Build(format!("couldn't build extenders: {error}")))?;
        let informers = InformerFactory::new(client.clone(), Duration::ZERO);
        let listers = listers(&informers);
        let base = Handle {
            client: client.clone(),
            listers: listers.clone(),
            recorder: EventRecorder::discarding(),
            metrics: metrics.clone(),
            unbound: Arc::default(),
            extenders: Arc::new(extenders),
            queue: Arc::default(),
            tasks: tokio::runtime::Handle::current(),
            features: config.features.clone(),
        };
        let mut profiles: HashMap<String, Arc<Framework>> = HashMap::new();
        for each in &component.profiles {
            let name = each.scheduler_name.clone().unwrap_or_default();
            let handle = Handle {
                recorder: EventRecorder::events_v1(client, name.as_str(), &hostname()),
                ..base.clone()
            };
            let framework = profile::build(each, handle).map_err(|error| {
                AppError::Build(format!(
                    "initializing profiles: creating profile for scheduler name {name}: {error}"
                ))
            })?;
            profiles.insert(name, Arc::new(framework));
        }
        let seconds = |value: Option<i64>| {
            Duration::from_secs(value.and_then(|value| value.try_into().ok()).unwrap_or(0))
        };
        let queue_sort = profiles
            .values()
            .find_map(|framework| framework.queue_sort().cloned())
            .ok_or_else(|| AppError::Build("at least one profile is required".into()))?;
        let queue = Arc::new(SchedulingQueue::new(Options {
            initial_backoff: seconds(component.pod_initial_backoff_seconds),
            max_backoff: seconds(component.pod_max_backoff_seconds),
            max_in_unschedulable_pods: config.max_in_unschedulable_pods,
            clock: system_clock(),
            profiles: profiles
                .iter()
                .map(|(name, framework)| (name.clone(), ProfileHooks::of(framework)))
                .collect(),
            queue_sort,
            pods: Some(listers.pods.clone()),
            metrics,
        }));
        // Set once, here: nothing else has this handle yet.
        let _ = base.queue.set(queue.clone());
        let scheduler = Arc::new(Scheduler {
            cache: Arc::new(Cache::default()),
            queue,
            profiles,
            handle: base,
            percentage_of_nodes_to_score: component.percentage_of_nodes_to_score.unwrap_or(0),
        });
        Ok(Self {
            scheduler,
            informers,
            health: health.clone(),
        })
    }

    /// Fills the caches, and the queue.
    async fn start_caches(&self, stop: &CancellationToken) {
        let scheduler = &self.scheduler;
        let informers = &self.informers;
        use EventResource as R;
        let handlers = [
            pods(informers).add_handler(Arc::new(PodHandler(scheduler.clone()))),
            informers
                .informer()
                .add_handler(Arc::new(NodeHandler(scheduler.clone()))),
            wake_on::<api_types::core::v1::PersistentVolume>(
                scheduler,
                &informers.informer(),
                R::PersistentVolume,
            ),
            wake_on::<api_types::core::v1::PersistentVolumeClaim>(
                scheduler,
                &informers.informer(),
                R::PersistentVolumeClaim,
            ),
            wake_on::<api_types::storage::v1::CSINode>(
                scheduler,
                &informers.informer(),
                R::CsiNode,
            ),
            wake_on::<api_types::storage::v1::CSIDriver>(
                scheduler,
                &informers.informer(),
                R::CsiDriver,
            ),
            wake_on::<api_types::storage::v1::CSIStorageCapacity>(
                scheduler,
                &informers.informer(),
                R::CsiStorageCapacity,
            ),
            wake_on::<api_types::storage::v1::StorageClass>(
                scheduler,
                &informers.informer(),
                R::StorageClass,
            ),
            wake_on::<api_types::storage::v1::VolumeAttachment>(
                scheduler,
                &informers.informer(),
                R::VolumeAttachment,
            ),
        ];
        informers.start(stop.clone());
        let synced = async {
            informers.wait_for_sync(stop).await;
            for handler in &handlers {
                handler.synced().await;
            }
        };
        if stop.run_until_cancelled(synced).await.is_some() {
            self.health
                .handlers_synced
                .store(true, std::sync::atomic::Ordering::Release);
            tracing::info!("Caches are synced");
        }
    }

    /// Schedules until told to stop.
    async fn schedule(&self, stop: &CancellationToken) {
        let scheduler = self.scheduler.clone();
        let spawned = std::thread::Builder::new()
            .name("scheduling".into())
            .spawn(move || scheduler.run());
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => {
                tracing::error!(%error, "Starting the scheduling thread failed");
                return stop.cancel();
            }
        };
        // Closes the queue when it ends, and with that the thread.
        self.scheduler.queue.run(stop).await;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if let Ok(Err(panic)) = joined {
            std::panic::resume_unwind(panic);
        }
    }
}

fn pods(informers: &InformerFactory) -> client::SharedInformer<Pod> {
    informers.informer_with(ListScope {
        transform: Some(client::cache::transforms::drop_managed_fields()),
        ..ListScope::fields(PODS_FIELD_SELECTOR)
    })
}

fn listers(informers: &InformerFactory) -> Listers {
    Listers {
        pods: pods(informers).lister(),
        nodes: informers.informer().lister(),
        namespaces: informers.informer().lister(),
        services: informers.informer().lister(),
        replication_controllers: informers.informer().lister(),
        replica_sets: informers.informer().lister(),
        stateful_sets: informers.informer().lister(),
        persistent_volumes: informers.informer().lister(),
        persistent_volume_claims: informers.informer().lister(),
        storage_classes: informers.informer().lister(),
        csi_nodes: informers.informer().lister(),
        csi_drivers: informers.informer().lister(),
        csi_storage_capacities: informers.informer().lister(),
        volume_attachments: informers.informer().lister(),
        pod_disruption_budgets: informers.informer().lister(),
    }
}

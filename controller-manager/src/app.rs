//! The daemon's life: serve, lead, build and run controllers, stop. Upstream: cmd/kube-controller-manager/app.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use client::leader_election::{
    LeaderElectionConfig, LeaderElectionMetrics, LeaderElector, Outcome,
};
use client::{Client, ClientConfig, ContentType, EventRecorder, InformerFactory, RestMetrics};
use component_base::auth::delegated::{DelegatedAuthentication, DelegatedAuthorization};
use component_base::auth::filter::Filter;
use component_base::configz::Configz;
use component_base::flagz::Flagz;
use component_base::healthz::{HealthCheck, HealthChecks, named_check};
use component_base::metrics::{HealthMetrics, Metrics as BaseMetrics};
use component_base::run::Start;
use component_base::serving::{Request, Response, handler_fn, not_found};
use component_base::statusz::Statusz;
use component_base::{debug, version};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client_builder::ClientBuilder;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::selection::Verdict;
use crate::context::Context;
use crate::controllers::{BuildError, CONTROLLERS};
use crate::metrics::Metrics;
use crate::runner::Runnable;

const NAME: &str = "kube-controller-manager";
/// Name of the configuration at `/configz`.
const CONFIGZ_NAME: &str = "kubecontrollermanager.config.k8s.io";
/// The lead may be expired this long before the process is reported as unhealthy.
const LEADER_TOLERANCE: Duration = Duration::from_secs(20);
/// How long the apiserver has to become healthy once we lead.
const APISERVER_PATIENCE: Duration = Duration::from_secs(10);
const APISERVER_PERIOD: Duration = Duration::from_secs(1);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another process leads now, or may.
    #[error("leaderelection lost")]
    LeadershipLost,
    /// The apiserver was not healthy in time.
    #[error("failed to wait for apiserver being healthy: timed out waiting for the condition: {0}")]
    ApiServer(String),
    /// Controllers did not end in time.
    #[error("controller shutdown timeout reached")]
    ShutdownTimeout,
    /// A controller could not be built.
    #[error("error building controllers")]
    Build(#[from] BuildError),
}

/// Runs the daemon until it is told to stop or loses the lead.
pub async fn run(start: Start) -> Result<(), component_base::Error> {
    let Start { flags, stop } = start;
    let mut config = Config::from_flags(&flags)?;
    tracing::info!(version = version::GIT_VERSION, "Starting");
    let user_agent = version::user_agent(NAME);
    let base = BaseMetrics::for_daemon(config.metrics.clone());
    config.features.register_metrics(&base);
    let metrics = Metrics::new(base.clone())?;

    let connection = &config.component.generic.client_connection;
    let mut client_config = ClientConfig::load(config.kubeconfig().as_deref(), &config.master)?
        .with_user_agent(&user_agent)
        .with_qps(connection.qps)
        .with_burst(u32::try_from(connection.burst).unwrap_or(0))
        .with_content_type(ContentType::parse(&connection.content_type)?)
        .with_metrics(RestMetrics::new(base.registry())?);
    // The deprecated kinds that are told of here are the controllers' business, and not new.
    client_config.ignore_warnings = true;

    let sli = HealthMetrics::default();
    let health = HealthChecks::with_metrics("/healthz", [], Some(sli.clone()));
    let pages = Pages::new(&config, &flags, &base, &health, sli)?;
    let serving = if config.serving.switched_off() {
        None
    } else {
        Some(serve(&mut config, &flags, &base, pages, &user_agent, &stop).await?)
    };

    let app = App {
        clients: ClientBuilder::new(
            client_config,
            config
                .component
                .kube_cloud_shared
                .use_service_account_credentials,
        )?,
        config: Arc::new(config),
        metrics,
        health,
    };
    let result = app.lead(&stop).await;
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

/// What the secure port shows.
struct Pages {
    health: HealthChecks,
    sli: HealthMetrics,
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
        health: &HealthChecks,
        sli: HealthMetrics,
    ) -> Result<Self, component_base::Error> {
        let configz = Configz::default();
        let mut shown: serde_json::Value =
            serde_json::from_slice(&api_types::encode_json(&config.component))?;
        shown["kind"] = "KubeControllerManagerConfiguration".into();
        shown["apiVersion"] = "kubecontrollermanager.config.k8s.io/v1alpha1".into();
        configz.set(CONFIGZ_NAME, shown);
        let paths = [
            "/configz",
            "/flagz",
            "/healthz",
            "/metrics",
            "/metrics/slis",
        ];
        Ok(Self {
            health: health.clone(),
            sli,
            metrics: metrics.clone(),
            configz,
            flagz: config
                .features
                .enabled("ComponentFlagz")
                .then(|| Flagz::new(NAME, flags)),
            statusz: config
                .features
                .enabled("ComponentStatusz")
                .then(|| Statusz::new(NAME, paths)),
            profiling: config.component.generic.debugging.enable_profiling == Some(true),
        })
    }

    async fn answer(&self, request: Request) -> Response {
        if let Some(response) = self.health.handle(&request).await {
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.metrics.handle(&request),
            "/metrics/slis" => self.sli.handle(&request),
            "/configz" => self.configz.handle(),
            "/flagz" => self
                .flagz
                .as_ref()
                .map_or_else(not_found, |flagz| flagz.handle(&request)),
            "/statusz" => self
                .statusz
                .as_ref()
                .map_or_else(not_found, |statusz| statusz.handle(&request)),
            _ => match debug::handle(request, self.profiling).await {
                Ok(response) => response,
                Err(_) => not_found(),
            },
        }
    }
}

/// What leading needs.
struct App {
    clients: ClientBuilder,
    config: Arc<Config>,
    metrics: Metrics,
    health: HealthChecks,
}

impl App {
    /// Runs controllers, as the leader if there is an election.
    async fn lead(self, stop: &CancellationToken) -> Result<(), AppError> {
        let election = &self.config.component.generic.leader_election;
        if election.leader_elect != Some(true) {
            return self.run_controllers(stop).await;
        }
        let client = self.clients.root_client("leader-election")?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        // Two processes on one host must not both become active.
        let identity = format!("{}_{}", host.trim(), uuid::Uuid::new_v4());
        let mut candidate = LeaderElectionConfig::new(
            &*election.resource_namespace,
            &*election.resource_name,
            identity,
        );
        candidate.lease_duration = election.lease_duration.as_std();
        candidate.renew_deadline = election.renew_deadline.as_std();
        candidate.retry_period = election.retry_period.as_std();
        candidate.release_on_cancel = self
            .config
            .features
            .knows("ControllerManagerReleaseLeaderElectionLockOnExit")
            && self
                .config
                .features
                .enabled("ControllerManagerReleaseLeaderElectionLockOnExit");
        candidate.recorder = EventRecorder::new(&client, NAME, "");
        candidate.metrics = LeaderElectionMetrics::new(self.metrics.base().registry()).ok();
        let elector = LeaderElector::new(&client, candidate)
            .map_err(|error| BuildError::Config(error.to_string()))?;
        let status = elector.status();
        self.health.add(named_check("leaderElection", move || {
            status.check(LEADER_TOLERANCE)
        }));

        let (report, mut result) = tokio::sync::mpsc::channel(1);
        let stopped = stop.clone();
        let work = move |lead: CancellationToken| async move {
            let result = self.run_controllers(&lead).await;
            // The process ends when its work ends.
            let _ = report.send(result).await;
            stopped.cancel();
        };
        let outcome = elector.run(stop.clone(), work).await;
        let failed = result.try_recv().ok().and_then(Result::err);
        match (outcome, failed) {
            (_, Some(error)) => Err(error),
            (Outcome::Lost, None) => Err(AppError::LeadershipLost),
            (Outcome::Cancelled, None) => {
                tracing::info!("Requested to terminate. Exiting.");
                Ok(())
            }
        }
    }

    /// Builds all selected controllers, fills the caches, and runs until `stop`.
    async fn run_controllers(&self, stop: &CancellationToken) -> Result<(), AppError> {
        let client = self.clients.root_client("shared-informers")?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            healthy = wait_for_apiserver(&client) => healthy?,
        }
        let generic = &self.config.component.generic;
        // Different for each process, so that they do not ask for everything at the same time.
        let resync = generic
            .min_resync_period
            .as_std()
            .mul_f64(1.0 + rand::random::<f64>());
        let context = Arc::new(Context {
            config: Arc::new(self.config.component.clone()),
            features: self.config.features.clone(),
            clients: self.clients.clone(),
            informers: InformerFactory::new(client, resync),
            clock: Clock::system(),
            metrics: self.metrics.clone(),
            event_instance: String::new(),
        });
        let controllers = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            built = self.build(&context) => built?,
        };
        context.informers.start(stop.clone());
        self.supervise(
            controllers,
            generic.controller_start_interval.as_std(),
            stop,
        )
        .await
    }

    async fn build(&self, context: &Arc<Context>) -> Result<Vec<Box<dyn Runnable>>, AppError> {
        let (mut controllers, mut missing) = (Vec::new(), Vec::new());
        for row in CONTROLLERS {
            let name = row.name;
            match (
                self.config.selection.verdict(row, &self.config.features),
                row.build,
            ) {
                (Verdict::Run, Some(build)) => match build(context.clone()).await? {
                    Some(controller) => {
                        let health = controller.health();
                        let check: Arc<dyn HealthCheck> = named_check(name, move || health());
                        self.health.add(check);
                        controllers.push(controller);
                    }
                    None => tracing::info!(controller = name, "Warning: skipping controller"),
                },
                (Verdict::Run, None) | (Verdict::NotBuilt, _) => missing.push(name),
                (Verdict::Disabled, _) => {
                    tracing::info!(controller = name, "Warning: controller is disabled")
                }
                (Verdict::GateOff, _) => {
                    let gates = row.default.gates();
                    tracing::info!(controller = name, required_feature_gates = ?gates, "Controller is disabled by a feature gate");
                }
                (Verdict::Cloud, _) => {
                    tracing::info!(controller = name, "Skipping a cloud provider controller")
                }
            }
        }
        if !missing.is_empty() {
            tracing::warn!(
                controllers = missing.join(","),
                "These controllers are not part of this version and do not run"
            );
        }
        Ok(controllers)
    }

    /// Runs controllers side by side. A panic in one of them is handed on and ends the process.
    async fn supervise(
        &self,
        controllers: Vec<Box<dyn Runnable>>,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<(), AppError> {
        let mut running = JoinSet::new();
        for controller in controllers {
            let stop = stop.clone();
            let delay = interval.mul_f64(1.0 + rand::random::<f64>());
            running.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stop.cancelled() => return,
                }
                controller.run(stop).await;
            });
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = running.join_next() => hand_on_panic(ended),
            }
        }
        let ended = async {
            while let Some(ended) = running.join_next().await {
                hand_on_panic(ended);
            }
        };
        let timeout = self.config.shutdown_timeout;
        if timeout.is_zero() {
            ended.await;
        } else if tokio::time::timeout(timeout, ended).await.is_err() {
            return Err(AppError::ShutdownTimeout);
        }
        tracing::info!("All controllers terminated");
        Ok(())
    }
}

fn hand_on_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// An apiserver that was started together with us gets some time.
async fn wait_for_apiserver(client: &Client) -> Result<(), AppError> {
    let mut last = String::new();
    let healthy = async {
        let mut tick = tokio::time::interval(APISERVER_PERIOD);
        loop {
            tick.tick().await;
            match client
                .raw(
                    http::Request::get("/healthz")
                        .body(bytes::Bytes::new())
                        .unwrap_or_default(),
                )
                .await
            {
                Ok(response) if response.status().is_success() => return,
                Ok(response) => {
                    last = format!(
                        "APIServer isn't healthy: {}",
                        String::from_utf8_lossy(response.body())
                    )
                }
                Err(error) => last = format!("failed to get apiserver /healthz status: {error}"),
            }
        }
    };
    match tokio::time::timeout(APISERVER_PATIENCE, healthy).await {
        Ok(()) => Ok(()),
        Err(_) => Err(AppError::ApiServer(last)),
    }
}

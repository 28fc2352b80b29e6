//! The controllers, one file each, and the table of all of them. Upstream: pkg/controller and
//! cmd/kube-controller-manager/app/controller_descriptor.go.
//!
//! To add one: write `controllers/<name>.rs` with a type that implements [`Controller`], add its `mod` line, and turn its
//! [`not_built`] row of [`CONTROLLERS`] into `row::<TheType>()`. Names are IDs and never change.

/// What belongs to whom: adoption and release.
pub mod controller_ref;
/// What a controller waits to see after it wrote.
pub mod expectations;
/// ControllerRevisions.
pub mod history;
/// Numbers given as percentages.
pub mod int_or_percent;
/// Waiting for one's own writes to reach the caches.
pub mod own_writes;
/// From owned objects to their owners.
pub mod owners;
/// Pods created and deleted, with events.
pub mod pod_control;
/// Which pods go first.
pub mod pod_ranking;
/// Questions about one pod.
pub mod pod_state;
/// Hashes of pod templates.
pub mod template_hash;
#[cfg(test)]
mod test_server;

/// bootstrap-signer-controller, token-cleaner-controller
pub mod bootstrap_tokens;
/// The certificatesigningrequest controllers.
pub mod certificates;
/// clusterrole-aggregation-controller
pub mod cluster_role_aggregation;
/// cronjob-controller
pub mod cronjob;
/// daemonset-controller
pub mod daemonset;
/// deployment-controller
pub mod deployment;
/// disruption-controller
pub mod disruption;
/// endpointslice-controller
pub mod endpoint_slice;
/// endpointslice-mirroring-controller
pub mod endpoint_slice_mirroring;
/// endpoints-controller
pub mod endpoints;
/// ephemeral-volume-controller
pub mod ephemeral_volume;
/// garbage-collector-controller
pub mod garbage_collector;
/// job-controller
pub mod job;
/// legacy-serviceaccount-token-cleaner-controller
pub mod legacy_service_account_token_cleaner;
/// namespace-controller
pub mod namespace;
/// node-ipam-controller
pub mod node_ipam;
/// node-lifecycle-controller
pub mod node_lifecycle;
/// Taints of nodes.
pub mod node_taints;
/// Conditions of pods.
pub mod pod_conditions;
/// pod-garbage-collector-controller
pub mod pod_gc;
/// validatingadmissionpolicy-status-controller
pub mod policy_status;
/// replicaset-controller, replicationcontroller-controller
pub mod replicaset;
/// resourcequota-controller
pub mod resource_quota;
/// root-ca-certificate-publisher-controller
pub mod root_ca_cert_publisher;
/// serviceaccount-controller
pub mod service_account;
/// serviceaccount-token-controller
pub mod service_account_token;
/// service-cidr-controller
pub mod service_cidr;
/// statefulset-controller
pub mod statefulset;
/// taint-eviction-controller
pub mod taint_eviction;
/// ttl-controller
pub mod ttl;
/// ttl-after-finished-controller
pub mod ttl_after_finished;
/// persistentvolume-binder-controller
pub mod volume_binder;
/// persistentvolume-protection-controller, persistentvolumeclaim-protection-controller,
/// volumeattributesclass-protection-controller
pub mod volume_protection;

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Setup};
use crate::runner::{self, Queue, Runnable};

/// A key of a controller's queue: what one `sync` works on.
pub trait Key: Clone + Debug + Eq + Hash + Send + Sync + 'static {}
impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Key for T {}

/// Whether a controller runs when the operator says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// Runs whatever the operator says: other controllers may need it for their credentials.
    Always,
    /// Part of `*`.
    On,
    /// Runs only when named.
    Off,
    /// Part of `*`, but only runs when all these feature gates are on.
    Gated(&'static [&'static str]),
    /// Only when named, and only when all these feature gates are on.
    OffAndGated(&'static [&'static str]),
    /// Belongs to the cloud-controller-manager; known by name here and never started.
    Cloud,
}

impl Default {
    /// The feature gates that must all be on.
    pub const fn gates(self) -> &'static [&'static str] {
        match self {
            Self::Gated(gates) | Self::OffAndGated(gates) => gates,
            Self::Always | Self::On | Self::Off | Self::Cloud => &[],
        }
    }

    /// Whether `*` leaves the controller out.
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off | Self::OffAndGated(_))
    }
}

/// What to do with a key after a `sync` that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something wakes the key; its failure count is reset.
    Done,
    /// Sync again after this time; the failure count is reset.
    After(Duration),
    /// Sync again with the queue's backoff, without logging an error.
    Retry,
}

/// Why a `sync` failed. The runner logs it and retries with backoff.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A request to the apiserver failed.
    #[error(transparent)]
    Api(#[from] client::Error),
    /// Anything else; the text says what failed and on what.
    #[error("{0}")]
    Other(String),
    /// Several parts failed.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<SyncError>),
}

impl SyncError {
    /// An error with this text.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// `Ok` when `errors` is empty, the one error when there is one, else all of them.
    pub fn aggregate(mut errors: Vec<SyncError>) -> Result<(), SyncError> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The apiserver's error behind this one, when there is exactly one.
    pub fn api(&self) -> Option<&client::Error> {
        match self {
            Self::Api(error) => Some(error),
            Self::Other(_) | Self::Several(_) => None,
        }
    }
}

/// Why a controller could not be built. It ends the process, as upstream.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A request that building needs failed.
    #[error("failed to create Kubernetes client for {name:?}")]
    Client {
        /// The identity the client was for.
        name: String,
        /// What failed.
        #[source]
        source: client::Error,
    },
    /// The configuration does not fit this controller.
    #[error("{0}")]
    Config(String),
}

/// How a queue spaces the retries of a failing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
    /// Whether all keys together are held to ten retries a second, after a burst of a hundred.
    pub shared_limit: bool,
}

impl Backoff {
    /// 5 ms to 1000 s, and the shared limit.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(5),
        max: Duration::from_secs(1000),
        shared_limit: true,
    };
}

/// A control loop. The runner calls `build` once, waits for the caches that were asked for, then runs `workers` loops over the
/// queue and `run` beside them.
///
/// `sync` gets a key, never an event: it reads the cache, decides, acts, and must be safe to run again. The same key is never
/// synced twice at once; wakes during a `sync` merge into one more `sync`. Every await point of `sync` and `run` may be the
/// last one: the process stops there at shutdown.
pub trait Controller: Sized + Send + Sync + 'static {
    /// The canonical name. An ID: used by `--controllers`, health checks, metrics.
    const NAME: &'static str;
    /// Older names that `--controllers` still takes.
    const ALIASES: &'static [&'static str] = &[];
    /// Whether it runs when not named.
    const DEFAULT: Default = Default::On;
    /// The ServiceAccount in kube-system it acts as under `--use-service-account-credentials`, and its User-Agent suffix.
    const SERVICE_ACCOUNT: &'static str;
    /// Acts as the daemon itself even under `--use-service-account-credentials`; then the above is a User-Agent suffix only.
    const ACTS_AS_DAEMON: bool = false;
    /// The `name` label of its workqueue_* metrics.
    const QUEUE: &'static str;
    /// Spacing of retries.
    const BACKOFF: Backoff = Backoff::DEFAULT;
    /// Failures after which a key is dropped until something wakes it again; `None` retries for ever.
    const MAX_RETRIES: Option<u32> = None;

    /// What one `sync` works on; an enum when the controller has several kinds of work.
    type Key: Key;

    /// Registers handlers that add keys to `queue`, and makes the controller. `None` means the configuration leaves it out.
    /// Caches are empty here: do not read them.
    fn build(
        setup: &Setup,
        queue: &Queue<Self::Key>,
    ) -> impl Future<Output = Result<Option<Self>, BuildError>> + Send;

    /// How many keys are synced at once.
    fn workers(config: &KubeControllerManagerConfiguration) -> usize;

    /// Brings one key's object closer to what it should be.
    fn sync(&self, key: &Self::Key) -> impl Future<Output = Result<Next, SyncError>> + Send;

    /// Work beside the queue (periodic passes, further queues). Starts once the caches are filled; ends with `stop`.
    fn run(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send {
        async move { stop.cancelled().await }
    }

    /// The controller's health check at /healthz; the default always passes.
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The future of a boxed `build`.
pub type BuildFuture =
    Pin<Box<dyn Future<Output = Result<Option<Box<dyn Runnable>>, BuildError>> + Send>>;

/// One controller as the process knows it.
pub struct Descriptor {
    /// Canonical name.
    pub name: &'static str,
    /// Older names.
    pub aliases: &'static [&'static str],
    /// Whether it runs when not named.
    pub default: Default,
    /// Builds it; `None` when this version does not have the controller.
    pub build: Option<fn(Arc<Context>) -> BuildFuture>,
}

/// The row of a controller that this daemon has.
pub const fn row<C: Controller>() -> Descriptor {
    Descriptor {
        name: C::NAME,
        aliases: C::ALIASES,
        default: C::DEFAULT,
        build: Some(|context| Box::pin(runner::build::<C>(context))),
    }
}

/// The row of an upstream controller that this daemon does not have yet: naming it in `--controllers` is refused, `*` leaves
/// it out.
pub const fn not_built(
    name: &'static str,
    aliases: &'static [&'static str],
    default: Default,
) -> Descriptor {
    Descriptor {
        name,
        aliases,
        default,
        build: None,
    }
}

/// Every controller of upstream, in its registration order. The first is started before the rest: they may need its tokens.
pub const CONTROLLERS: &[Descriptor] = &[
    row::<service_account_token::ServiceAccountTokenController>(),
    row::<endpoints::EndpointsController>(),
    row::<endpoint_slice::EndpointSliceController>(),
    row::<endpoint_slice_mirroring::EndpointSliceMirroringController>(),
    row::<replicaset::ReplicationControllerController>(),
    row::<pod_gc::PodGcController>(),
    row::<resource_quota::ResourceQuotaController>(),
    row::<namespace::NamespaceController>(),
    row::<service_account::ServiceAccountController>(),
    row::<garbage_collector::GarbageCollectorController>(),
    row::<daemonset::DaemonSetController>(),
    row::<job::JobController>(),
    not_built(
        "podgroup-protection-controller",
        &[],
        Default::Gated(&["GenericWorkload"]),
    ),
    row::<deployment::DeploymentController>(),
    row::<replicaset::ReplicaSetController>(),
    not_built(
        "horizontal-pod-autoscaler-controller",
        &["horizontalpodautoscaling"],
        Default::On,
    ),
    row::<disruption::DisruptionController>(),
    row::<statefulset::StatefulSetController>(),
    row::<cronjob::CronJobController>(),
    row::<certificates::signer::CsrSigningController>(),
    row::<certificates::approver::CsrApprovingController>(),
    row::<certificates::cleaner::CsrCleanerController>(),
    not_built(
        "podcertificaterequest-cleaner-controller",
        &[],
        Default::Gated(&["PodCertificateRequest"]),
    ),
    row::<ttl::TtlController>(),
    row::<bootstrap_tokens::BootstrapSigner>(),
    row::<bootstrap_tokens::TokenCleaner>(),
    row::<node_ipam::NodeIpamController>(),
    row::<node_lifecycle::NodeLifecycleController>(),
    not_built("service-lb-controller", &["service"], Default::Cloud),
    not_built("node-route-controller", &["route"], Default::Cloud),
    not_built(
        "cloud-node-lifecycle-controller",
        &["cloud-node-lifecycle"],
        Default::Cloud,
    ),
    row::<volume_binder::VolumeBinderController>(),
    not_built(
        "persistentvolume-attach-detach-controller",
        &["attachdetach"],
        Default::On,
    ),
    not_built(
        "persistentvolume-expander-controller",
        &["persistentvolume-expander"],
        Default::On,
    ),
    row::<cluster_role_aggregation::ClusterRoleAggregationController>(),
    row::<volume_protection::PvcProtectionController>(),
    row::<volume_protection::PvProtectionController>(),
    row::<volume_protection::VacProtectionController>(),
    row::<ttl_after_finished::TtlAfterFinished>(),
    row::<root_ca_cert_publisher::RootCaCertPublisher>(),
    not_built(
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        &[],
        Default::Gated(&["ClusterTrustBundle"]),
    ),
    row::<ephemeral_volume::EphemeralVolumeController>(),
    not_built(
        "storageversion-garbage-collector-controller",
        &["storage-version-gc"],
        Default::Gated(&["APIServerIdentity", "StorageVersionAPI"]),
    ),
    not_built(
        "resourceclaim-controller",
        &["resource-claim-controller"],
        Default::Gated(&["DynamicResourceAllocation"]),
    ),
    not_built(
        "resourcepoolstatusrequest-controller",
        &[],
        Default::Gated(&["DRAResourcePoolStatus"]),
    ),
    not_built(
        "device-taint-eviction-controller",
        &[],
        Default::Gated(&["DRADeviceTaints"]),
    ),
    row::<legacy_service_account_token_cleaner::LegacyTokenCleaner>(),
    row::<policy_status::PolicyStatusController>(),
    row::<taint_eviction::TaintEvictionController>(),
    row::<service_cidr::ServiceCidrController>(),
    not_built(
        "storage-version-migrator-controller",
        &["svm"],
        Default::Gated(&["StorageVersionMigrator"]),
    ),
    not_built(
        "selinux-warning-controller",
        &[],
        Default::OffAndGated(&["SELinuxChangePolicy"]),
    ),
];

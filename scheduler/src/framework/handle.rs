//! What plugins are built from. Upstream: kube-scheduler/framework/interface.go (`Handle`).

use std::sync::Arc;

use api_types::apps::v1::{ReplicaSet, StatefulSet};
use api_types::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use api_types::policy::v1::PodDisruptionBudget;
use api_types::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};
use client::cache::Lister;
use client::{Client, EventRecorder};

use super::waiting::UnboundPods;
use crate::extender::Extender;
use crate::metrics::Metrics;
use crate::queue::SchedulingQueue;

/// Reads the shared caches.
#[derive(Clone)]
pub struct Listers {
    pub pods: Lister<Pod>,
    pub nodes: Lister<Node>,
    pub namespaces: Lister<Namespace>,
    pub services: Lister<Service>,
    pub replication_controllers: Lister<ReplicationController>,
    pub replica_sets: Lister<ReplicaSet>,
    pub stateful_sets: Lister<StatefulSet>,
    pub persistent_volumes: Lister<PersistentVolume>,
    pub persistent_volume_claims: Lister<PersistentVolumeClaim>,
    pub storage_classes: Lister<StorageClass>,
    pub csi_nodes: Lister<CSINode>,
    pub csi_drivers: Lister<CSIDriver>,
    pub csi_storage_capacities: Lister<CSIStorageCapacity>,
    pub volume_attachments: Lister<VolumeAttachment>,
    pub pod_disruption_budgets: Lister<PodDisruptionBudget>,
}

impl Listers {
    /// Caches that hold what a test puts in them: nothing.
    pub fn empty() -> Self {
        Self {
            pods: Lister::of([]),
            nodes: Lister::of([]),
            namespaces: Lister::of([]),
            services: Lister::of([]),
            replication_controllers: Lister::of([]),
            replica_sets: Lister::of([]),
            stateful_sets: Lister::of([]),
            persistent_volumes: Lister::of([]),
            persistent_volume_claims: Lister::of([]),
            storage_classes: Lister::of([]),
            csi_nodes: Lister::of([]),
            csi_drivers: Lister::of([]),
            csi_storage_capacities: Lister::of([]),
            volume_attachments: Lister::of([]),
            pod_disruption_budgets: Lister::of([]),
        }
    }
}

/// What plugins are built from.
#[derive(Clone)]
pub struct Handle {
    pub client: Client,
    pub listers: Listers,
    /// Records as the profile's scheduler.
    pub recorder: EventRecorder,
    pub metrics: Metrics,
    pub unbound: Arc<UnboundPods>,
    pub extenders: Arc<Vec<Extender>>,
    /// Set once the queue exists: it is built from the plugins itself.
    pub queue: Arc<std::sync::OnceLock<Arc<SchedulingQueue>>>,
    /// Runs what talks to the apiserver.
    pub tasks: tokio::runtime::Handle,
    /// Which alpha and beta behaviour is on.
    pub features: component_base::features::FeatureGates,
}

impl Handle {
    /// The queue, once it exists.
    pub fn queue(&self) -> Option<&Arc<SchedulingQueue>> {
        self.queue.get()
    }
}

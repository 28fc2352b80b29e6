//! What a ReplicaSet and a ReplicationController have in common. Upstream converts one into the other
//! (pkg/controller/replication/conversion.go); here both are read and written through one trait.

use std::collections::BTreeMap;

use api_types::apps::v1::{ReplicaSet, ReplicaSetCondition};
use api_types::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::{Resource, Time};
use apimachinery::labels::Selector;

use crate::controllers::SyncError;
use crate::controllers::controller_ref::selector_of;

/// The status of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: Option<i32>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// A condition of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    pub kind: String,
    pub status: String,
    pub last_transition_time: Time,
    pub reason: String,
    pub message: String,
}

/// An object that keeps a number of equal pods.
pub trait ReplicaOwner: Resource {
    const CONTROLLER: &'static str;
    const ALIAS: &'static str;
    const SERVICE_ACCOUNT: &'static str;
    const QUEUE: &'static str;
    /// `source.component` of its events.
    const COMPONENT: &'static str;
    /// The kind reports terminating pods.
    const REPORTS_TERMINATING: bool;
    /// Feature gate of the read-your-writes guard, where upstream has one.
    const CONSISTENCY_GATE: Option<&'static str>;

    fn workers(config: &KubeControllerManagerConfiguration) -> i32;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Result<Selector, SyncError>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Status;
    fn set_status(&mut self, status: Status);
}

impl ReplicaOwner for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const ALIAS: &'static str = "replicaset";
    const SERVICE_ACCOUNT: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const REPORTS_TERMINATING: bool = true;
    const CONSISTENCY_GATE: Option<&'static str> = Some("StaleControllerConsistencyReplicaSet");

    fn workers(config: &KubeControllerManagerConfiguration) -> i32 {
        config.replica_set_controller.concurrent_rs_syncs
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds
    }

    fn selector(&self) -> Result<Selector, SyncError> {
        selector_of(self.spec.selector.as_deref())
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        Some(&self.spec.template)
    }

    fn status(&self) -> Status {
        let status = &self.status;
        Status {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            terminating: status.terminating_replicas,
            observed_generation: status.observed_generation,
            conditions: status
                .conditions
                .iter()
                .cloned()
                .map(Condition::from)
                .collect(),
        }
    }

    fn set_status(&mut self, status: Status) {
        let to = &mut self.status;
        to.replicas = status.replicas;
        to.fully_labeled_replicas = status.fully_labeled;
        to.ready_replicas = status.ready;
        to.available_replicas = status.available;
        to.terminating_replicas = status.terminating;
        to.observed_generation = status.observed_generation;
        to.conditions = status
            .conditions
            .into_iter()
            .map(ReplicaSetCondition::from)
            .collect();
    }
}

impl ReplicaOwner for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller-controller";
    const ALIAS: &'static str = "replicationcontroller";
    const SERVICE_ACCOUNT: &'static str = "replication-controller";
    const QUEUE: &'static str = "replicationmanager";
    const COMPONENT: &'static str = "replication-controller";
    const REPORTS_TERMINATING: bool = false;
    const CONSISTENCY_GATE: Option<&'static str> = None;

    fn workers(config: &KubeControllerManagerConfiguration) -> i32 {
        config.replication_controller.concurrent_rc_syncs
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds
    }

    fn selector(&self) -> Result<Selector, SyncError> {
        let labels: &BTreeMap<String, String> = &self.spec.selector;
        // An empty selector selects nothing; `from_set` of nothing would select everything.
        if labels.is_empty() {
            selector_of(None)
        } else {
            Ok(Selector::from_set(labels))
        }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_deref()
    }

    fn status(&self) -> Status {
        let status = &self.status;
        Status {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            terminating: None,
            observed_generation: status.observed_generation,
            conditions: status
                .conditions
                .iter()
                .cloned()
                .map(Condition::from)
                .collect(),
        }
    }

    fn set_status(&mut self, status: Status) {
        let to = &mut self.status;
        to.replicas = status.replicas;
        to.fully_labeled_replicas = status.fully_labeled;
        to.ready_replicas = status.ready;
        to.available_replicas = status.available;
        to.observed_generation = status.observed_generation;
        to.conditions = status
            .conditions
            .into_iter()
            .map(ReplicationControllerCondition::from)
            .collect();
    }
}

impl From<ReplicaSetCondition> for Condition {
    fn from(c: ReplicaSetCondition) -> Self {
        Self {
            kind: c.type_,
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        }
    }
}

impl From<Condition> for ReplicaSetCondition {
    fn from(c: Condition) -> Self {
        Self {
            type_: c.kind,
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        }
    }
}

impl From<ReplicationControllerCondition> for Condition {
    fn from(c: ReplicationControllerCondition) -> Self {
        Self {
            kind: c.type_,
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        }
    }
}

impl From<Condition> for ReplicationControllerCondition {
    fn from(c: Condition) -> Self {
        Self {
            type_: c.kind,
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        }
    }
}

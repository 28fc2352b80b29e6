//! Registers the Node and keeps its status current.
//!
//! Upstream: `kubelet_node_status.go`. The status is computed every `nodeStatusUpdateFrequency` and written when it changed, or
//! after `nodeStatusReportFrequency`; at the start it is computed ten times a second until the node is ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::Time;
use api_types::core::v1::{Node, NodeRuntimeHandler, NodeStatus, Taint};
use api_types::meta::v1::PatchOptions;
use apimachinery::patch::strategic::{PatchSchema, create_two_way};
use client::{Client, Patch};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::NodeInfo;
use super::status::{self, Pressure};
use crate::events::{Kind, Recorder};

const CONTROLLER_MANAGED_ATTACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const MAX_RETRIES: usize = 5;

/// Labels every node gets.
pub(super) fn default_labels(hostname: &str) -> BTreeMap<String, String> {
    let architecture = if std::env::consts::ARCH == "aarch64" {
        "arm64"
    } else {
        "amd64"
    };
    [
        ("kubernetes.io/hostname", hostname),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// How the node presents itself when it registers.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// `registerNode`.
    pub register: bool,
    /// `--node-labels`.
    pub labels: BTreeMap<String, String>,
    /// `registerWithTaints`.
    pub taints: Vec<Taint>,
    /// `providerID`.
    pub provider_id: String,
    /// `--cloud-provider=external`: a cloud controller finishes the node.
    pub external_cloud: bool,
    /// `enableControllerAttachDetach`.
    pub controller_attach_detach: bool,
    /// Port of the kubelet's server.
    pub port: i32,
    /// `nodeStatusMaxImages`.
    pub max_images: i32,
    /// `localStorageCapacityIsolation`.
    pub local_storage: bool,
    /// Names of declared features.
    pub declared_features: Vec<String>,
}

/// What the status is made of and others know.
pub trait NodeConditions: Send + Sync {
    /// Everything that keeps the node from being ready.
    fn not_ready(&self) -> Vec<String>;
    /// Whether the node lacks a resource.
    fn under_pressure(&self, pressure: Pressure) -> bool;
    /// Images, biggest first.
    fn images(&self) -> Vec<crate::cri::v1::Image>;
    /// Volumes in use.
    fn volumes_in_use(&self) -> Vec<String>;
    /// The volumes in use were reported.
    fn volumes_reported(&self, volumes: &[String]);
    /// Handlers of the runtime.
    fn runtime_handlers(&self) -> Vec<NodeRuntimeHandler>;
    /// The runtime decides about supplemental groups.
    fn supplemental_groups_policy(&self) -> Option<bool>;
}

/// Registers and reports.
pub struct NodeReporter {
    client: Client,
    node: Arc<NodeInfo>,
    recorder: Arc<Recorder>,
    registration: Registration,
    conditions: Arc<dyn NodeConditions>,
    frequency: Duration,
    report_frequency: Duration,
    last_report: Mutex<Option<Instant>>,
    wake: Notify,
}

impl NodeReporter {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(
        client: Client,
        node: Arc<NodeInfo>,
        recorder: Arc<Recorder>,
        registration: Registration,
        conditions: Arc<dyn NodeConditions>,
        frequency: Duration,
        report_frequency: Duration,
    ) -> Arc<Self> {
        Arc::new(NodeReporter {
            client,
            node,
            recorder,
            registration,
            conditions,
            frequency,
            report_frequency,
            last_report: Mutex::new(None),
            wake: Notify::new(),
        })
    }

    /// Something changed: report soon.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn initial_node(&self) -> Node {
        let registration = &self.registration;
        let mut node = Node::default();
        node.metadata.name.clone_from(&self.node.name);
        node.metadata.labels = default_labels(&self.node.hostname);
        node.metadata.labels.extend(registration.labels.clone());
        if registration.controller_attach_detach {
            node.metadata
                .annotations
                .insert(CONTROLLER_MANAGED_ATTACH.to_owned(), "true".to_owned());
        }
        node.spec.taints.clone_from(&registration.taints);
        if registration.external_cloud {
            node.spec.taints.push(Taint {
                key: "node.cloudprovider.kubernetes.io/uninitialized".to_owned(),
                value: "true".to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Default::default()
            });
        }
        node.spec.provider_id.clone_from(&registration.provider_id);
        self.set_status(&mut node.status, true);
        node
    }

    /// Computes the status. Conditions that changed are told in `events`, which repeated attempts leave out.
    fn set_status(&self, current: &mut NodeStatus, events: bool) {
        let now = Time::now();
        current.addresses = self.node.addresses();
        // Extended resources of others stay in the status.
        current.capacity.extend(self.node.capacity());
        current.allocatable.extend(self.node.allocatable());
        current.node_info = self.node.machine.info.clone();
        current.daemon_endpoints.kubelet_endpoint.port = self.registration.port;
        current.images = status::images(&self.conditions.images(), self.registration.max_images);
        current.volumes_in_use = self.conditions.volumes_in_use();
        current.runtime_handlers = self.conditions.runtime_handlers();
        if let Some(policy) = self.conditions.supplemental_groups_policy() {
            current.features = Some(Box::new(api_types::core::v1::NodeFeatures {
                supplemental_groups_policy: Some(policy),
            }));
        }
        current
            .declared_features
            .clone_from(&self.registration.declared_features);
        let mut transitions = Vec::new();
        for pressure in [Pressure::Memory, Pressure::Disk, Pressure::Pid] {
            transitions.extend(status::set_pressure(
                current,
                pressure,
                self.conditions.under_pressure(pressure),
                now,
            ));
        }
        transitions.extend(status::set_ready(
            current,
            self.conditions.not_ready(),
            self.registration.local_storage,
            now,
        ));
        for transition in transitions.into_iter().filter(|_| events) {
            let message = format!(
                "Node {} status is now: {}",
                self.node.name, transition.event
            );
            self.recorder.node(Kind::Normal, transition.event, &message);
        }
    }

    /// Reads the Node anew, past every cache.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn refresh(&self) -> Result<(), client::Error> {
        let node = self.client.api::<Node>().get(&self.node.name).await?;
        self.node.set_object(node);
        Ok(())
    }

    /// Registers and reports until the token ends it.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        if self.registration.register && !self.register(&token).await {
            return;
        }
        let mut fast = true;
        loop {
            let ready = self.report().await;
            fast &= !ready;
            let period = if fast {
                Duration::from_millis(500)
            } else {
                self.frequency
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    /// Tries until the node is registered. Answers `false` when the token ended it.
    async fn register(&self, token: &CancellationToken) -> bool {
        let mut wait = Duration::from_millis(100);
        loop {
            tracing::info!(node = %self.node.name, "Attempting to register node");
            match self.try_register().await {
                Ok(node) => {
                    tracing::info!(node = %self.node.name, "Successfully registered node");
                    self.node.set_object(node);
                    return true;
                }
                Err(error) => {
                    tracing::error!(node = %self.node.name, %error, "Unable to register node with API server");
                }
            }
            tokio::select! {
                () = token.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(7));
        }
    }

    async fn try_register(&self) -> Result<Node, client::Error> {
        let api = self.client.api::<Node>();
        let wanted = self.initial_node();
        match api.create(&wanted).await {
            Ok(node) => Ok(node),
            Err(error) if error.is_already_exists() || error.is_forbidden() => {
                // A node may exist that we may not create: then it can be read.
                let existing = match api.get(&self.node.name).await {
                    Ok(existing) => existing,
                    Err(_) if error.is_forbidden() => return Err(error),
                    Err(error) => return Err(error),
                };
                let mut updated = existing.clone();
                // Only the labels every node has are ours to correct; the rest may have been changed on purpose.
                for (key, value) in default_labels(&self.node.hostname) {
                    updated.metadata.labels.insert(key, value);
                }
                if self.registration.controller_attach_detach {
                    updated
                        .metadata
                        .annotations
                        .insert(CONTROLLER_MANAGED_ATTACH.to_owned(), "true".to_owned());
                } else {
                    updated
                        .metadata
                        .annotations
                        .remove(CONTROLLER_MANAGED_ATTACH);
                }
                match patch(&existing, &updated) {
                    Some(bytes) => {
                        api.patch(
                            &self.node.name,
                            &Patch::Strategic(bytes),
                            &PatchOptions::default(),
                        )
                        .await
                    }
                    None => Ok(existing),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the status if it is due. Answers whether the node is ready.
    async fn report(&self) -> bool {
        for attempt in 1..=MAX_RETRIES {
            match self.try_report(attempt == 1).await {
                Ok(ready) => return ready,
                Err(error) => {
                    tracing::error!(%error, attempt, "Error updating node status, will retry")
                }
            }
        }
        tracing::error!("Unable to update node status: update node status exceeds retry count");
        false
    }

    async fn try_report(&self, events: bool) -> Result<bool, client::Error> {
        let api = self.client.api::<Node>();
        let node = api
            .get_opts(
                &self.node.name,
                &client::GetOptions {
                    resource_version: "0".to_owned(),
                    ..Default::default()
                },
            )
            .await?;
        let mut updated = node.clone();
        self.set_status(&mut updated.status, events);
        let ready = updated
            .status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let due = self
            .last_report
            .lock()
            .is_none_or(|last| last.elapsed() >= self.report_frequency);
        let volumes = updated.status.volumes_in_use.clone();
        if !due && !status::changed(&node.status, &updated.status) {
            self.conditions.volumes_reported(&volumes);
            self.node.set_object(node);
            return Ok(ready);
        }
        let stored = match patch(&node, &updated) {
            Some(bytes) => {
                api.patch_status(
                    &self.node.name,
                    &Patch::Strategic(bytes),
                    &PatchOptions::default(),
                )
                .await?
            }
            None => node,
        };
        *self.last_report.lock() = Some(Instant::now());
        self.conditions.volumes_reported(&volumes);
        self.node.set_object(stored);
        Ok(ready)
    }
}

fn patch(old: &Node, new: &Node) -> Option<Vec<u8>> {
    let document = |node: &Node| serde_json::from_slice(&api_types::encode_json(node)).ok();
    let (mut before, mut after): (
        serde_json::Map<String, serde_json::Value>,
        serde_json::Map<String, serde_json::Value>,
    ) = (document(old)?, document(new)?);
    // Addresses merge by their type, which two may share: the list is replaced as a whole.
    let mut replaced = None;
    if old.status.addresses != new.status.addresses {
        for map in [&mut before, &mut after] {
            if let Some(status) = map
                .get_mut("status")
                .and_then(serde_json::Value::as_object_mut)
            {
                replaced = status.remove("addresses");
            }
        }
    }
    let mut patch = create_two_way(&before, &after, PatchSchema::of::<Node>()).ok()?;
    if let Some(addresses) = replaced.as_mut().and_then(serde_json::Value::as_array_mut) {
        addresses.push(serde_json::json!({"$patch": "replace"}));
        let status = patch
            .entry("status")
            .or_insert_with(|| serde_json::json!({}));
        status["addresses"] = serde_json::Value::Array(std::mem::take(addresses));
    }
    if patch.is_empty() {
        None
    } else {
        serde_json::to_vec(&patch).ok()
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::NodeAddress;

    use super::*;

    #[test]
    fn addresses_are_replaced() {
        let address = |ip: &str| NodeAddress {
            type_: "InternalIP".into(),
            address: ip.into(),
        };
        let old = Node {
            status: NodeStatus {
                addresses: vec![address("1.1.1.1")],
                ..Default::default()
            },
            ..Default::default()
        };
        let mut new = old.clone();
        assert_eq!(patch(&old, &new), None);
        new.status.addresses = vec![address("2.2.2.2"), address("fd00::2")];
        let bytes = patch(&old, &new).expect("a patch");
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let addresses = value["status"]["addresses"].as_array().expect("list");
        assert_eq!(addresses.len(), 3);
        assert_eq!(addresses[2]["$patch"], "replace");
    }
}

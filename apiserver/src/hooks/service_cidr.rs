//! The ServiceCIDR `kubernetes` holds the ranges of the command line. Upstream: pkg/controlplane/controller/defaultservicecidr.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::Time;
use api_types::networking::v1::ServiceCIDR;
use apimachinery::status::{self, StatusError};
use client::record::{EventRecorder, object_reference};
use serde_json::json;

use super::events::Events;
use crate::loopback::Loopback;
use crate::server::ApiServer;

const NAME: &str = "kubernetes";
const CONTROLLER: &str = "kubernetes-service-cidr-controller";
/// Between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
const FAILED: &str = "KubernetesDefaultServiceCIDRError";
const INCONSISTENT: &str = "KubernetesDefaultServiceCIDRInconsistent";

/// Looks after it.
pub(super) struct DefaultServiceCidr {
    client: Loopback,
    recorder: EventRecorder,
    /// The first range is of the family that Services have by default.
    cidrs: Vec<String>,
    mismatch_told: AtomicBool,
    not_ready_told: AtomicBool,
}

impl DefaultServiceCidr {
    pub(super) fn new(server: &ApiServer, client: &Loopback) -> DefaultServiceCidr {
        let ranges = server.config.service_cluster_ip_ranges.iter();
        let sink = Arc::new(Events(client.clone()));
        DefaultServiceCidr {
            client: client.clone(),
            recorder: EventRecorder::core_v1_to(sink, CONTROLLER, ""),
            cidrs: ranges.map(ToString::to_string).collect(),
            mismatch_told: AtomicBool::new(false),
            not_ready_told: AtomicBool::new(false),
        }
    }

    pub(super) async fn sync(&self) -> Result<(), StatusError> {
        let Some(existing) = self.client.get::<ServiceCIDR>("", NAME).await? else {
            return self.create().await;
        };
        // A cluster becomes one of both families.
        if let ([first], [same, _]) = (&existing.spec.cidrs[..], &self.cidrs[..])
            && first == same
        {
            let mut both = existing.clone();
            both.spec.cidrs.clone_from(&self.cidrs);
            if let Err(error) = self.client.update(both).await {
                tracing::error!(%error, to = ?self.cidrs, "The default ServiceCIDR can not be updated to dual stack");
                let all = go_list(&self.cidrs);
                let text = format!(
                    "The default ServiceCIDR can not be upgraded from {same} to dual stack {all} : {error}"
                );
                self.warn(&existing, FAILED, text);
            }
            return Ok(());
        }
        self.sync_status(&existing).await;
        Ok(())
    }

    async fn create(&self) -> Result<(), StatusError> {
        let mut wanted = ServiceCIDR::default();
        NAME.clone_into(&mut wanted.metadata.name);
        wanted.spec.cidrs.clone_from(&self.cidrs);
        match self.client.create(wanted.clone()).await {
            Ok(created) => {
                self.sync_status(&created).await;
                Ok(())
            }
            // Another server was first: the next look is at what it made.
            Err(error) if status::is_already_exists(&error) => Ok(()),
            Err(error) => {
                let text = "The default ServiceCIDR can not be created";
                self.warn(&wanted, FAILED, text);
                Err(error)
            }
        }
    }

    /// Says that it is ready, where nobody has said anything. What another has said stays: two that disagree would write for ever.
    async fn sync_status(&self, existing: &ServiceCIDR) {
        if existing.metadata.deletion_timestamp.is_some() {
            return;
        }
        if existing.spec.cidrs != self.cidrs {
            if !self.mismatch_told.swap(true, Ordering::Relaxed) {
                let (stored, flags) = (go_list(&existing.spec.cidrs), go_list(&self.cidrs));
                tracing::warn!(stored, flags, "Inconsistent ServiceCIDR status");
                let text = format!(
                    "The default ServiceCIDR {stored} does not match the controller flag configurations {flags}"
                );
                self.warn(existing, INCONSISTENT, text);
            }
            return;
        }
        let mut conditions = existing.status.conditions.iter();
        let ready = conditions.find(|condition| condition.type_ == "Ready");
        match ready.map(|ready| (ready, &*ready.status)) {
            Some((ready, "False")) => {
                if !self.not_ready_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason = ready.reason, "Default ServiceCIDR is not ready");
                    let text = format!("Configuration matches, but {}", ready.message);
                    self.warn(existing, &ready.reason, text);
                }
            }
            None | Some((_, "Unknown")) => {
                let ready = json!({"conditions": [{
                    "type": "Ready",
                    "status": "True",
                    "message": "Kubernetes default Service CIDR is ready",
                    "lastTransitionTime": Time::now().to_string(),
                }]});
                let client = self.client.managed_by(CONTROLLER);
                if let Err(error) = client.apply_status::<ServiceCIDR>(NAME, ready).await {
                    tracing::error!(%error, "error updating default ServiceCIDR status");
                    let text = "The default ServiceCIDR Status can not be set to Ready=True";
                    self.warn(existing, FAILED, text);
                }
            }
            Some(_) => {}
        }
    }

    fn warn(&self, cidr: &ServiceCIDR, reason: &str, text: impl Into<String>) {
        self.recorder
            .event(&object_reference(cidr), "Warning", reason, text);
    }
}

/// A list as Go prints it.
fn go_list(cidrs: &[String]) -> String {
    format!("[{}]", cidrs.join(" "))
}

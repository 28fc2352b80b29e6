//! The ServiceCIDR `kubernetes` holds the ranges of the command line. Upstream: pkg/controlplane/controller/defaultservicecidr.

use api_types::Time;
use api_types::meta::v1::Condition;
use api_types::networking::v1::ServiceCIDR;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;
use crate::server::ApiServer;

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let cidrs: Vec<String> = server
        .config
        .service_cluster_ip_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    let existing = match client.get::<ServiceCIDR>("", "kubernetes").await? {
        Some(existing) => existing,
        None => {
            let mut wanted = ServiceCIDR::default();
            "kubernetes".clone_into(&mut wanted.metadata.name);
            wanted.spec.cidrs = cidrs.clone();
            client.create(wanted).await?
        }
    };
    if existing.spec.cidrs != cidrs {
        tracing::warn!(stored = ?existing.spec.cidrs, configured = ?cidrs, "Default ServiceCIDR does not match the command line");
        return Ok(());
    }
    if existing
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready")
    {
        return Ok(());
    }
    let mut ready = existing;
    ready.status.conditions.push(Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: String::new(),
        message: "Kubernetes default Service CIDR is ready".to_owned(),
        last_transition_time: Time::now(),
        ..Condition::default()
    });
    client.update_status(ready).await.map(drop)
}

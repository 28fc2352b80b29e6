//! The ServiceCIDR `kubernetes` holds the ranges of the command line. Upstream: pkg/controlplane/controller/defaultservicecidr.

use api_types::Time;
use api_types::networking::v1::ServiceCIDR;
use apimachinery::status::StatusError;
use serde_json::json;

use crate::loopback::Loopback;
use crate::server::ApiServer;

const NAME: &str = "kubernetes";
const MANAGER: &str = "kubernetes-service-cidr-controller";

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let cidrs: Vec<String> = server
        .config
        .service_cluster_ip_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    let existing = match client.get::<ServiceCIDR>("", NAME).await? {
        Some(existing) => existing,
        None => {
            let mut wanted = ServiceCIDR::default();
            NAME.clone_into(&mut wanted.metadata.name);
            wanted.spec.cidrs = cidrs.clone();
            client.create(wanted).await?
        }
    };
    // A cluster becomes one of both families.
    if let ([first], [same, _]) = (&existing.spec.cidrs[..], &cidrs[..])
        && first == same
    {
        let mut both = existing;
        both.spec.cidrs = cidrs;
        return client.update(both).await.map(drop);
    }
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
    let ready = json!({"conditions": [{
        "type": "Ready",
        "status": "True",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": Time::now().to_string(),
    }]});
    let client = client.managed_by(MANAGER);
    client.apply_status::<ServiceCIDR>(NAME, ready).await
}

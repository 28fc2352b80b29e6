//! The node's Lease: a small object whose renewal says that the kubelet lives.
//!
//! Upstream: `component-helpers/apimachinery/lease`. Renewed at a quarter of its duration.

use std::sync::Arc;
use std::time::Duration;

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use api_types::meta::v1::OwnerReference;
use client::{Client, Error};
use tokio_util::sync::CancellationToken;

use super::NodeInfo;

const NAMESPACE: &str = "kube-node-lease";
const MAX_UPDATE_RETRIES: usize = 5;

/// Renews until the token ends it.
pub async fn renew_lease(
    client: Client,
    node: Arc<NodeInfo>,
    duration_seconds: i32,
    token: CancellationToken,
) {
    let api = client.namespaced::<Lease>(NAMESPACE);
    let period = Duration::from_secs_f64(f64::from(duration_seconds) * 0.25);
    let mut latest: Option<Lease> = None;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Some(lease) = latest.take() {
            match update(&api, lease, &node, duration_seconds).await {
                Ok(lease) => {
                    latest = Some(lease);
                    continue;
                }
                Err(error) => {
                    tracing::info!(%error, "Failed to update lease using latest lease, fallback to ensure lease")
                }
            }
        }
        latest = tokio::select! {
            () = token.cancelled() => return,
            lease = ensure(&api, &node, duration_seconds) => Some(lease),
        };
        if let Some(lease) = latest.take() {
            match update(&api, lease, &node, duration_seconds).await {
                Ok(lease) => latest = Some(lease),
                Err(error) => tracing::error!(%error, "Failed to update lease"),
            }
        }
    }
}

fn renewed(mut lease: Lease, node: &NodeInfo, duration_seconds: i32) -> Lease {
    lease.spec.holder_identity = Some(node.name.clone());
    lease.spec.lease_duration_seconds = Some(duration_seconds);
    lease.spec.renew_time = Some(MicroTime::now());
    if lease.metadata.owner_references.is_empty()
        && let Some(uid) = node.uid()
    {
        lease.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.name.clone(),
            uid,
            ..Default::default()
        }];
    }
    lease
}

async fn update(
    api: &client::Api<Lease>,
    lease: Lease,
    node: &NodeInfo,
    duration_seconds: i32,
) -> Result<Lease, Error> {
    let mut lease = lease;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match api
            .update(&renewed(lease.clone(), node, duration_seconds))
            .await
        {
            Ok(lease) => return Ok(lease),
            Err(error) if attempt >= MAX_UPDATE_RETRIES => return Err(error),
            Err(error) => {
                if error.is_conflict() {
                    lease = api.get(&node.name).await?;
                }
            }
        }
    }
}

/// Gets or makes the lease, trying until it is there.
async fn ensure(api: &client::Api<Lease>, node: &NodeInfo, duration_seconds: i32) -> Lease {
    let mut wait = Duration::from_millis(200);
    loop {
        let result = match api.get(&node.name).await {
            Ok(lease) => Ok(lease),
            Err(error) if error.is_not_found() => {
                let mut lease = Lease::default();
                lease.metadata.name.clone_from(&node.name);
                lease.metadata.namespace = NAMESPACE.to_owned();
                api.create(&renewed(lease, node, duration_seconds)).await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(lease) => return lease,
            Err(error) => {
                tracing::info!(%error, ?wait, "Failed to ensure lease exists, will retry");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(7));
            }
        }
    }
}

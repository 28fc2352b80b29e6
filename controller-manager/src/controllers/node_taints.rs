//! Adding and removing taints of nodes. Upstream: `AddOrUpdateTaintOnNode` and `RemoveTaintOffNode` in pkg/controller, pkg/util/node.

use std::time::Duration;

use api_types::Time;
use api_types::core::v1::{Node, Taint};
use api_types::meta::v1::{GetOptions, PatchOptions};
use apimachinery::scheduling::{add_or_update_taint, remove_taint, taint_exists};
use client::{Client, Patch};
use serde_json::json;

/// The node has not been heard of.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The node says that it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

const STEPS: u32 = 5;
const WAIT: Duration = Duration::from_millis(100);

/// A taint with this key and effect.
pub fn taint(key: &str, effect: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        ..Default::default()
    }
}

/// Adds taints, stamped with `now`, and then removes others. Failures are logged and give `false`.
pub async fn swap(
    client: &Client,
    node: &Node,
    mut add: Vec<Taint>,
    remove: &[Taint],
    now: Time,
) -> bool {
    let name = &node.metadata.name;
    for taint in &mut add {
        taint.time_added = Some(now);
    }
    if let Err(error) = change(client, name, |taints| {
        let mut changed = false;
        for taint in &add {
            changed |= add_or_update_taint(taints, taint);
        }
        changed
    })
    .await
    {
        tracing::error!(node = name, ?add, %error, "unable to taint unresponsive Node");
        return false;
    }
    if let Err(error) = take_off(client, node, remove).await {
        tracing::error!(node = name, ?remove, %error, "unable to remove unneeded taint from unresponsive Node");
        return false;
    }
    true
}

/// Removes taints. Asks nobody when the cached node has none of them.
pub async fn take_off(client: &Client, node: &Node, remove: &[Taint]) -> Result<(), client::Error> {
    if !remove
        .iter()
        .any(|taint| taint_exists(&node.spec.taints, taint))
    {
        return Ok(());
    }
    change(client, &node.metadata.name, |taints| {
        let mut changed = false;
        for taint in remove {
            changed |= remove_taint(taints, taint);
        }
        changed
    })
    .await
}

/// Reads the node, changes its taints, and writes them if the node is still the same. Conflicts are tried again.
async fn change(
    client: &Client,
    name: &str,
    change: impl Fn(&mut Vec<Taint>) -> bool,
) -> Result<(), client::Error> {
    let api = client.api::<Node>();
    let mut step = 0;
    loop {
        step += 1;
        let node = if step == 1 {
            // Whatever a watch cache has will do the first time.
            let cached = GetOptions {
                resource_version: "0".to_owned(),
                ..Default::default()
            };
            api.get_opts(name, &cached).await?
        } else {
            api.get(name).await?
        };
        let mut taints = node.spec.taints;
        if !change(&mut taints) {
            return Ok(());
        }
        let taints: serde_json::Value = if taints.is_empty() {
            serde_json::Value::Null
        } else {
            taints.iter().map(to_json).collect::<Vec<_>>().into()
        };
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        match api.patch(name, &patch, &PatchOptions::default()).await {
            Err(error) if error.is_conflict() && step < STEPS => {
                tokio::time::sleep(WAIT.mul_f64(1.0 + rand::random::<f64>())).await;
            }
            result => return result.map(drop),
        }
    }
}

fn to_json(taint: &Taint) -> serde_json::Value {
    let mut value = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        value["value"] = taint.value.as_str().into();
    }
    if let Some(time) = taint.time_added.filter(|time| !time.is_zero()) {
        value["timeAdded"] = time.to_string().into();
    }
    value
}

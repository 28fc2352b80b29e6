//! access: what it costs to find out who asks, whether they may, and what admission says.
//!
//! The same request is made by a cluster admin with a client certificate, who is verified when the connection is made and passed
//! by RBAC because of the group, and by a ServiceAccount with a token that is bound to a pod, among many roles and bindings. The
//! difference is what the token and RBAC cost. Reads meet no admission; creations are dry runs, which meet all of it and do not
//! write: a ConfigMap is of interest to few plugins, a pod to most of those that are on by default.

use http::Method;
use serde_json::{Value, json};

use super::bench::Bench;
use super::caller::Caller;
use super::compare::{Variant, compare};
use super::objects::{self, NAMESPACE, pod_name};
use super::setup::{self, RBAC, account, binding, create, grant};
use crate::Result;
use crate::connection::{Call, JSON};

const READ: &str = "read";

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let client = &bench.client;
    let configmaps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    create(client, &configmaps, &config_map(READ)).await?;
    for number in 0..bench.options.roles {
        others_role(bench, number).await?;
    }
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}
    ]);
    // In the middle of the others' names.
    let config = account(client, &bench.config, "perf-m", rules).await?;
    let read = format!("{configmaps}/{READ}");
    let as_account = client::Client::new(config.clone().with_qps(-1.0))?;
    setup::until(
        &as_account,
        Method::GET,
        &read,
        &Value::Null,
        |status, _| status.is_success(),
    )
    .await?;
    let account = Caller::connect(&config, bench.options.connections).await?;

    let dry_configmaps = format!("{configmaps}?dryRun=All");
    let dry_pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
    let config_map = config_map("created").to_string();
    let pod = objects::pod().named(&pod_name(0));
    let get = || Call::get(&read);
    let create_config_map =
        || Call::with_body(Method::POST, &dry_configmaps, JSON, config_map.clone());
    let create_pod = || Call::with_body(Method::POST, &dry_pods, JSON, pod.clone());
    let mut records = compare(
        bench,
        &variants(
            bench,
            &account,
            ["access-get-admin", "access-get-account"],
            &get,
        ),
    )
    .await?;
    records.extend(
        compare(
            bench,
            &variants(
                bench,
                &account,
                ["access-create-admin", "access-create-account"],
                &create_config_map,
            ),
        )
        .await?,
    );
    records.extend(
        compare(
            bench,
            &variants(
                bench,
                &account,
                ["access-create-pod-admin", "access-create-pod-account"],
                &create_pod,
            ),
        )
        .await?,
    );
    bench.write(records)
}

/// The request by the admin and by the account.
fn variants<'a>(
    bench: &'a Bench<'_>,
    account: &'a Caller,
    [by_admin, by_account]: [&'static str; 2],
    call: &'a (impl Fn() -> Call + Sync),
) -> [Variant<'a>; 2] {
    [(by_admin, &bench.admin), (by_account, account)].map(|(workload, caller)| Variant {
        workload,
        caller,
        call: Box::new(move |_| call()),
    })
}

/// Rights of someone else: a role and its binding, in the namespace and in the cluster.
async fn others_role(bench: &Bench<'_>, number: usize) -> Result<()> {
    let name = format!(
        "perf-{}-{number:04}",
        if number.is_multiple_of(2) { 'a' } else { 'z' }
    );
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"], "resourceNames": [name]}
    ]);
    grant(&bench.client, &name, rules.clone()).await?;
    let role = json!({"metadata": {"name": name, "labels": setup::labels()}, "rules": rules});
    create(&bench.client, &format!("{RBAC}/clusterroles"), &role).await?;
    let binding = binding("ClusterRole", &name);
    create(
        &bench.client,
        &format!("{RBAC}/clusterrolebindings"),
        &binding,
    )
    .await?;
    Ok(())
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"level": "info", "port": "8080"}})
}

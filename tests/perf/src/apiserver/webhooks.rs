//! webhooks: what one call of an admission webhook costs the API server.
//!
//! The webhook is a server of this process, on a thread of its own, with TLS. Both configurations exist all the time and select
//! objects by a label: what is compared are creations of a small ConfigMap without the label, and with it.

use http::Method;
use serde_json::{Value, json};

use super::bench::Bench;
use super::compare::{Variant, compare};
use super::objects::NAMESPACE;
use super::setup::{self, ADMISSION, create, labels};
use super::webhook_server::WebhookServer;
use crate::Result;
use crate::connection::{Call, JSON};

const HOOK: &str = "hook";

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let server = WebhookServer::start()?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?dryRun=All");
    for (resource, kind) in [
        ("validatingwebhookconfigurations", "validating"),
        ("mutatingwebhookconfigurations", "mutating"),
    ] {
        let path = format!("{ADMISSION}/{resource}");
        create(&bench.client, &path, &configuration(&server, kind)).await?;
    }
    // A dry run tells whether the server knows of them.
    for kind in ["validating", "mutating"] {
        let before = server.calls(kind);
        setup::until(
            &bench.client,
            Method::POST,
            &path,
            &config_map(kind),
            |_, answer| {
                server.calls(kind) > before
                    && (kind != "mutating" || answer["metadata"]["labels"]["mutated"] == "yes")
            },
        )
        .await?;
    }
    let variant = |workload, kind| {
        let body = config_map(kind).to_string();
        let path = &path;
        Variant {
            workload,
            caller: &bench.admin,
            call: Box::new(move |_| Call::with_body(Method::POST, path, JSON, body.clone())),
        }
    };
    let before = ["validating", "mutating"].map(|kind| server.calls(kind));
    let records = compare(
        bench,
        &[
            variant("webhook-none", "none"),
            variant("webhook-validating", "validating"),
            variant("webhook-mutating", "mutating"),
        ],
    )
    .await?;
    for ((record, kind), before) in records[1..]
        .iter()
        .zip(["validating", "mutating"])
        .zip(before)
    {
        let seen = server.calls(kind) - before;
        if seen < record.operations {
            return Err(format!(
                "{} requests, but the {kind} webhook was called {seen} times",
                record.operations
            )
            .into());
        }
    }
    bench.write(records)
}

fn configuration(server: &WebhookServer, kind: &str) -> Value {
    json!({
        "metadata": {"name": "perf", "labels": labels()},
        "webhooks": [{
            "name": format!("{kind}.perf.example.com"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "clientConfig": {"url": server.url(kind), "caBundle": server.authority()},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "objectSelector": {"matchLabels": {HOOK: kind}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"], "scope": "Namespaced"}]
        }]
    })
}

fn config_map(kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hooked", "labels": {HOOK: kind}}, "data": {"level": "info", "port": "8080"}})
}

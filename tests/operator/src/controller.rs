//! The operator. For each Website there is a ConfigMap with its page and a Deployment that serves it, both owned by it, and a line in the ledger: a
//! ConfigMap of the operator's own namespace, which nothing but the operator's finalizer strikes out.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasStatus as _;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Client, CustomResourceExt as _, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::website::{Website, WebsiteStatus};

const MANAGER: &str = "website-operator";
const FINALIZER: &str = "e2e.example.com/ledger";
const LEDGER: &str = "ledger";
/// When a Website is looked at again that nothing happened to.
const RESYNC: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);
const DEFINITION_LIMIT: Duration = Duration::from_secs(30);

struct Context {
    client: Client,
    recorder: Recorder,
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the API server: {0}")]
    Api(#[source] Box<kube::Error>),
    #[error("the finalizer: {0}")]
    Finalizer(#[source] Box<kube::runtime::finalizer::Error<ReconcileError>>),
    #[error("a Website without namespace or UID")]
    Incomplete,
}

impl From<kube::Error> for ReconcileError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Runs until it is told to stop.
pub(crate) async fn run() -> Result<(), crate::Error> {
    let client = Client::try_default().await?;
    define(&client).await?;
    let context = Arc::new(Context {
        client: client.clone(),
        recorder: Recorder::new(client.clone(), Reporter::from(MANAGER)),
    });
    let deployments: Api<Deployment> = Api::all(client.clone());
    let config_maps: Api<ConfigMap> = Api::all(client.clone());
    Controller::new(Api::<Website>::all(client), watcher::Config::default())
        .owns(deployments, watcher::Config::default())
        .owns(
            config_maps,
            watcher::Config::default().labels("e2e.example.com/website"),
        )
        .shutdown_on_signal()
        .run(reconcile, retry, context)
        .for_each(|result| async move {
            match result {
                Ok((website, _)) => eprintln!("reconciled {website}"),
                Err(error) => eprintln!("{error}"),
            }
        })
        .await;
    Ok(())
}

/// Applies the definition and waits until it is served.
async fn define(client: &Client) -> Result<(), crate::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = Website::crd();
    let name = definition.name_any();
    let apply = PatchParams::apply(MANAGER).force();
    definitions
        .patch(&name, &apply, &Patch::Apply(definition))
        .await?;
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    tokio::time::timeout(DEFINITION_LIMIT, established).await??;
    Ok(())
}

fn retry(website: Arc<Website>, error: &ReconcileError, _: Arc<Context>) -> Action {
    eprintln!("{}: {error}", website.name_any());
    Action::requeue(RETRY)
}

async fn reconcile(website: Arc<Website>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = website.namespace().ok_or(ReconcileError::Incomplete)?;
    let websites: Api<Website> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&websites, FINALIZER, website, |event| async {
        match event {
            Finalizer::Apply(website) => apply(&website, &namespace, &context).await,
            Finalizer::Cleanup(website) => {
                write_ledger(&website, &namespace, None, &context).await?;
                Ok(Action::await_change())
            }
        }
    })
    .await
    .map_err(|error| ReconcileError::Finalizer(Box::new(error)))
}

async fn apply(
    website: &Website,
    namespace: &str,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let name = website.name_any();
    let owner = website
        .controller_owner_ref(&())
        .ok_or(ReconcileError::Incomplete)?;
    let labels = json!({"e2e.example.com/website": name});
    let metadata = json!({"name": name, "labels": labels, "ownerReferences": [owner]});
    let apply = PatchParams::apply(MANAGER).force();

    write_ledger(website, namespace, Some(&website.spec.text), context).await?;
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"index.html": website.spec.text}
    });
    Api::<ConfigMap>::namespaced(context.client.clone(), namespace)
        .patch(&name, &apply, &Patch::Apply(config_map))
        .await?;
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": website.spec.replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "web",
                        "image": "pintle.local/demo:1",
                        "command": ["busybox", "httpd", "-f", "-p", "8080", "-h", "/page"],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "page", "mountPath": "/page"}]
                    }],
                    "volumes": [{"name": "page", "configMap": {"name": name}}]
                }
            }
        }
    });
    let deployment = Api::<Deployment>::namespaced(context.client.clone(), namespace)
        .patch(&name, &apply, &Patch::Apply(deployment))
        .await?;
    let ready = deployment
        .status
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default();
    report(website, namespace, ready, context).await?;
    Ok(Action::requeue(RESYNC))
}

/// Writes the status, and an event when all pods have come to serve.
async fn report(
    website: &Website,
    namespace: &str,
    ready: i32,
    context: &Context,
) -> Result<(), ReconcileError> {
    let status = WebsiteStatus {
        observed_generation: website.metadata.generation.unwrap_or_default(),
        ready,
    };
    if website.status() == Some(&status) {
        return Ok(());
    }
    let patch = json!({"status": status});
    Api::<Website>::namespaced(context.client.clone(), namespace)
        .patch_status(
            &website.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
    if ready == website.spec.replicas {
        let event = Event {
            type_: EventType::Normal,
            reason: "Published".to_owned(),
            note: Some(format!("{ready} pods serve the page")),
            action: "Publish".to_owned(),
            secondary: None,
        };
        context
            .recorder
            .publish(&event, &website.object_ref(&()))
            .await?;
    }
    Ok(())
}

/// Enters the text under the Website's name, or strikes it out.
async fn write_ledger(
    website: &Website,
    namespace: &str,
    text: Option<&str>,
    context: &Context,
) -> Result<(), ReconcileError> {
    let ledger: Api<ConfigMap> = Api::default_namespaced(context.client.clone());
    let key = format!("{namespace}.{}", website.name_any());
    let patch = Patch::Merge(json!({"data": {key: text}}));
    ledger
        .patch(LEDGER, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

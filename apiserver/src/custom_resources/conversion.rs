//! Between the versions of a custom resource: by name alone, or by a webhook.
//! Upstream: apiextensions-apiserver/pkg/apiserver/conversion.
//!
//! Conversion is called from the encoding and decoding of objects, which does not wait for anything. A webhook is waited
//! for in place, with the runtime told so; lists and caches ask for all their objects at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api_types::CustomObject;
use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::apiextensions::v1::conversion_strategy_type;
use serde_json::{Value, json};

use super::{Definition, document};
use crate::request::context::AuditAnnotations;
use crate::webhook::{ClientConfig, Webhooks};

/// How long a webhook may take. Upstream sets no limit of its own; requests have one of a minute.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Who converts the objects of a CRD.
pub struct Webhook {
    webhooks: Arc<Webhooks>,
    config: ClientConfig,
    /// Versions of ConversionReview that it takes, best first.
    review_versions: Vec<String>,
}

impl Webhook {
    /// The webhook of a CRD, if it has one.
    pub fn of(crd: &CustomResourceDefinition, webhooks: &Arc<Webhooks>) -> Option<Webhook> {
        let conversion = crd.spec.conversion.as_deref()?;
        let webhook = conversion.webhook.as_deref()?;
        if conversion.strategy != conversion_strategy_type::WEBHOOK {
            return None;
        }
        let mut config = ClientConfig::from(webhook.client_config.as_deref()?);
        if config.ca_bundle.trim_ascii().is_empty() {
            config.ca_bundle.clear();
        }
        Some(Webhook {
            webhooks: webhooks.clone(),
            config,
            review_versions: webhook.conversion_review_versions.clone(),
        })
    }

    async fn post(&self, review: &Value) -> Result<Value, String> {
        let client = self
            .webhooks
            .client(&self.config)
            .map_err(|error| error.to_string())?;
        let body = review.to_string().into_bytes().into();
        let answer = client
            .post(body, Some(TIMEOUT), &AuditAnnotations::default())
            .await
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// Converts some objects to a version. Those that have it already stay as they are.
pub fn convert(
    definition: &Definition,
    objects: Vec<CustomObject>,
    api_version: &str,
) -> Result<Vec<CustomObject>, String> {
    let Some(webhook) = &definition.webhook else {
        return Ok(objects
            .into_iter()
            .map(|mut object| {
                api_version.clone_into(&mut object.type_meta.api_version);
                object
            })
            .collect());
    };
    let outdated: Vec<&CustomObject> = objects
        .iter()
        .filter(|object| object.type_meta.api_version != api_version)
        .collect();
    if outdated.is_empty() {
        return Ok(objects);
    }
    let from = outdated[0].type_meta.clone();
    let (group, version) = from
        .api_version
        .split_once('/')
        .unwrap_or(("", &from.api_version));
    let failed = |text: String| {
        format!(
            "conversion webhook for {group}/{version}, Kind={} {text}",
            from.kind
        )
    };
    let documents = outdated
        .iter()
        .map(|object| document::of(object))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let count = documents.len();
    let converted = call(webhook, documents, api_version)
        .map_err(|error| failed(format!("failed: {error}")))?;
    if converted.len() != count {
        return Err(failed(format!(
            "returned {} objects, expected {count}",
            converted.len()
        )));
    }
    let mut converted = converted.into_iter().enumerate();
    objects
        .into_iter()
        .map(|original| {
            if original.type_meta.api_version == api_version {
                return Ok(original);
            }
            let (index, document) = converted.next().unwrap_or_default();
            restored(original, &document, api_version, index).map_err(failed)
        })
        .collect()
}

fn call(webhook: &Webhook, objects: Vec<Value>, api_version: &str) -> Result<Vec<Value>, String> {
    let version = webhook
        .review_versions
        .iter()
        .find(|version| matches!(version.as_str(), "v1" | "v1beta1"))
        .ok_or("no supported conversion review versions")?;
    let uid = uuid::Uuid::new_v4().to_string();
    let review_version = format!("apiextensions.k8s.io/{version}");
    let review = json!({
        "kind": "ConversionReview",
        "apiVersion": review_version,
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
    });
    let runtime = tokio::runtime::Handle::current();
    let answer = tokio::task::block_in_place(|| runtime.block_on(webhook.post(&review)))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if version == "v1"
        && (text(&answer["kind"]) != "ConversionReview"
            || text(&answer["apiVersion"]) != review_version)
    {
        let found = text(&answer["apiVersion"]);
        let (group, version) = found.split_once('/').unwrap_or(("", &found));
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {group}/{version}, Kind={}",
            text(&answer["kind"])
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    if version == "v1" && text(&response["uid"]) != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            text(&response["uid"])
        ));
    }
    let result = &response["result"];
    if text(&result["status"]) != "Success" {
        let message = text(&result["message"]);
        return Err(if message.is_empty() {
            format!(
                "response.result.status was '{}', not 'Success'",
                text(&result["status"])
            )
        } else {
            message
        });
    }
    Ok(response["convertedObjects"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

/// A converted object with the metadata it had, but for labels and annotations, which the webhook may change.
fn restored(
    original: CustomObject,
    converted: &Value,
    api_version: &str,
    index: usize,
) -> Result<CustomObject, String> {
    let invalid = |what: &str, expected: &str, received: &str| {
        format!(
            "returned invalid converted object at index {index}: invalid {what} (expected {expected}, received {received})"
        )
    };
    let mut object = document::parse_object(converted)
        .map_err(|error| format!("returned invalid converted object at index {index}: {error}"))?;
    if object.type_meta.api_version != api_version {
        let received = &object.type_meta.api_version;
        return Err(invalid("groupVersion", api_version, received));
    }
    if object.type_meta.kind != original.type_meta.kind {
        return Err(invalid(
            "kind",
            &original.type_meta.kind,
            &object.type_meta.kind,
        ));
    }
    let (old, new) = (&original.metadata, &object.metadata);
    for (what, a, b) in [
        ("name", &old.name, &new.name),
        ("namespace", &old.namespace, &new.namespace),
        ("UID", &old.uid, &new.uid),
    ] {
        if a != b {
            return Err(format!(
                "returned invalid converted object at index {index}: must have the same {what}: {a} != {b}"
            ));
        }
    }
    if converted.get("metadata").is_none() {
        return Err(format!(
            "returned invalid metadata in object at index {index}: missing metadata in converted object"
        ));
    }
    let mut metadata = original.metadata;
    metadata.labels = std::mem::take(&mut object.metadata.labels);
    metadata.annotations = std::mem::take(&mut object.metadata.annotations);
    object.metadata = metadata;
    Ok(object)
}

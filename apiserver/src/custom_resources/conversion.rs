//! Between the versions of a custom resource: by name alone, or by a webhook.
//! Upstream: apiextensions-apiserver/pkg/apiserver/conversion.
//!
//! Conversion is called from the encoding and decoding of objects, which does not wait for anything. A webhook is waited
//! for in place, with the runtime told so; lists and caches ask for all their objects at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::CustomObject;
use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::apiextensions::v1::conversion_strategy_type;
use api_types::meta::v1::ObjectMeta;
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation::{validate_annotations, validate_labels};
use serde_json::{Map, Value, json};

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
    let (group, version) = group_and_version(&from.api_version);
    let documents = outdated
        .iter()
        .map(|object| document::of(object))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let start = Instant::now();
    let result = converted(webhook, documents, objects, api_version);
    definition.metrics.converted(
        &definition.name,
        (version, group_and_version(api_version).1),
        start.elapsed(),
        result.as_ref().err().map(|failure| failure.kind),
    );
    result.map_err(|failure| {
        let (kind, text) = (&from.kind, failure.text);
        format!("conversion webhook for {group}/{version}, Kind={kind} {text}")
    })
}

fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Why a conversion failed; the kind is what metrics show.
struct Failure {
    kind: &'static str,
    text: String,
}

const CALL: &str = "conversion_webhook_call_failure";
const MALFORMED: &str = "conversion_webhook_malformed_response_failure";
const PARTIAL: &str = "conversion_webhook_partial_response_failure";
const INVALID: &str = "conversion_webhook_invalid_converted_object_failure";

/// Asks the webhook for those that are not of the version.
fn converted(
    webhook: &Webhook,
    documents: Vec<Value>,
    objects: Vec<CustomObject>,
    api_version: &str,
) -> Result<Vec<CustomObject>, Failure> {
    let count = documents.len();
    let converted = call(webhook, documents, api_version)?;
    if converted.len() != count {
        return Err(Failure {
            kind: PARTIAL,
            text: format!("returned {} objects, expected {count}", converted.len()),
        });
    }
    let single = objects.len() == 1;
    let mut converted = converted.into_iter().enumerate();
    objects
        .into_iter()
        .map(|original| {
            if original.type_meta.api_version == api_version {
                return Ok(original);
            }
            let (index, document) = converted.next().unwrap_or_default();
            restored(original, document, api_version).map_err(|problem| Failure {
                kind: INVALID,
                text: problem.text((!single).then_some(index)),
            })
        })
        .collect()
}

fn call(webhook: &Webhook, objects: Vec<Value>, api_version: &str) -> Result<Vec<Value>, Failure> {
    let failed = |kind| {
        move |error: String| Failure {
            kind,
            text: format!("failed: {error}"),
        }
    };
    let version = webhook
        .review_versions
        .iter()
        .find(|version| matches!(version.as_str(), "v1" | "v1beta1"))
        .ok_or_else(|| failed(CALL)("no supported conversion review versions".to_owned()))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let review_version = format!("apiextensions.k8s.io/{version}");
    let review = json!({
        "kind": "ConversionReview",
        "apiVersion": review_version,
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
    });
    let runtime = tokio::runtime::Handle::current();
    let answer = tokio::task::block_in_place(|| runtime.block_on(webhook.post(&review)));
    objects_of(answer.map_err(failed(CALL))?, version, &uid).map_err(failed(MALFORMED))
}

/// The objects in an answer to a review, if it is one and says success.
fn objects_of(mut answer: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let review_version = format!("apiextensions.k8s.io/{version}");
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
    match answer["response"]["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// What is wrong with a converted object.
enum Problem {
    /// It is no object.
    Unreadable(String),
    /// It has another version or kind.
    Type(String),
    Object(String),
    Metadata(String),
}

impl Problem {
    /// What is said of it; `index` is its place if it is one of a list.
    fn text(self, index: Option<usize>) -> String {
        match (self, index) {
            (Problem::Unreadable(why) | Problem::Type(why) | Problem::Object(why), Some(index)) => {
                format!("returned invalid converted object at index {index}: {why}")
            }
            (Problem::Metadata(why), Some(index)) => {
                format!("returned invalid metadata in object at index {index}: {why}")
            }
            (Problem::Type(why), None) => format!("returned invalid object at index 0: {why}"),
            (Problem::Unreadable(why) | Problem::Object(why), None) => {
                format!("returned invalid object: {why}")
            }
            (Problem::Metadata(why), None) => format!("returned invalid metadata: {why}"),
        }
    }
}

/// A converted object with the metadata it had, but for labels and annotations, which the webhook may change.
fn restored(
    original: CustomObject,
    mut converted: Value,
    api_version: &str,
) -> Result<CustomObject, Problem> {
    let invalid = |what: &str, expected: &str, received: &str| {
        Problem::Type(format!(
            "invalid {what} (expected {expected}, received {received})"
        ))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (received, kind) = (text(&converted["apiVersion"]), text(&converted["kind"]));
    if kind.is_empty() {
        return Err(Problem::Unreadable(format!(
            "Object 'Kind' is missing in '{converted}'"
        )));
    }
    if received != api_version {
        return Err(invalid("groupVersion", api_version, &received));
    }
    if kind != original.type_meta.kind {
        return Err(invalid("kind", &original.type_meta.kind, &kind));
    }
    let old = &original.metadata;
    for (what, field, old) in [
        ("name", "name", &old.name),
        ("namespace", "namespace", &old.namespace),
        ("UID", "uid", &old.uid),
    ] {
        let new = text(&converted["metadata"][field]);
        if *old != new {
            return Err(Problem::Object(format!(
                "must have the same {what}: {old} != {new}"
            )));
        }
    }
    let fields = converted.as_object_mut();
    let new = fields.and_then(|fields| fields.remove("metadata"));
    let metadata = restored_metadata(original.metadata, new).map_err(Problem::Metadata)?;
    let mut object = document::parse_object(&converted)
        .map_err(|error| Problem::Unreadable(error.to_string()))?;
    object.metadata = metadata;
    Ok(object)
}

/// Labels and annotations must be such as a client may write them, where they changed.
fn restored_metadata(mut old: ObjectMeta, new: Option<Value>) -> Result<ObjectMeta, String> {
    let new = match new {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(new)) => new,
        Some(other) => {
            return Err(format!(
                "invalid metadata of type {} in converted object",
                go_type(&other)
            ));
        }
    };
    let labels = strings(&new, "labels")?;
    if labels != old.labels {
        let path = Path::new("metadata").child("labels");
        refuse(validate_labels(&labels, &path))?;
        old.labels = labels;
    }
    let annotations = strings(&new, "annotations")?;
    if annotations != old.annotations {
        // Upstream's path has the singular.
        let path = Path::new("metadata").child("annotation");
        refuse(validate_annotations(&annotations, &path))?;
        old.annotations = annotations;
    }
    Ok(old)
}

fn refuse(errors: ErrorList) -> Result<(), String> {
    errors.aggregate().map_or(Ok(()), Err)
}

/// A map of strings.
fn strings(metadata: &Map<String, Value>, field: &str) -> Result<BTreeMap<String, String>, String> {
    let map = match metadata.get(field) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(format!(
                "invalid metadata.{field} of type {} in converted object",
                go_type(other)
            ));
        }
    };
    let string = |(key, value): (&String, &Value)| match value {
        Value::String(value) => Ok((key.clone(), value.clone())),
        other => Err(format!(
            "metadata.{field}[{key}] must be a string, but is {} in converted object",
            go_type(other)
        )),
    };
    map.iter().map(string).collect()
}

/// What Go calls the type of a JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custom_resources::testing::object;

    const V2: &str = "example.com/v2";

    /// What becomes of an object whose converted form has this metadata besides name, namespace and UID.
    fn check(more: Value, list: bool) -> Result<CustomObject, String> {
        let mut original = object(json!({"a": 1}));
        original.metadata.labels.insert("old".into(), "bad!".into());
        let mut converted = json!({
            "apiVersion": V2, "kind": "Thing", "b": 1,
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"old": "bad!"}},
        });
        merge(&mut converted, &more);
        restored(original, converted, V2).map_err(|problem| problem.text(list.then_some(3)))
    }

    fn merge(into: &mut Value, more: &Value) {
        match (into, more) {
            (Value::Object(into), Value::Object(more)) => {
                for (key, value) in more {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, more) => *into = more.clone(),
        }
    }

    #[test]
    fn only_labels_and_annotations_change() {
        let made = check(
            json!({"metadata": {"resourceVersion": "9", "annotations": {"a": "b"}}}),
            false,
        )
        .unwrap();
        assert_eq!(made.metadata.resource_version, "1");
        assert_eq!(made.metadata.annotations["a"], "b");
        assert_eq!(made.metadata.labels["old"], "bad!", "it did not change");
        assert_eq!(made.type_meta.api_version, V2);
        assert!(made.content.contains_key("b") && !made.content.contains_key("a"));
        let made = check(json!({"metadata": {"labels": null}}), false).unwrap();
        assert!(made.metadata.labels.is_empty());
    }

    #[test]
    fn what_a_webhook_must_not_do() {
        for (more, of_list, alone) in [
            (
                json!({"apiVersion": "example.com/v3"}),
                "returned invalid converted object at index 3: invalid groupVersion (expected example.com/v2, received example.com/v3)",
                "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                json!({"kind": "Other"}),
                "returned invalid converted object at index 3: invalid kind (expected Thing, received Other)",
                "returned invalid object at index 0: invalid kind (expected Thing, received Other)",
            ),
            (
                json!({"metadata": {"uid": "x"}}),
                "returned invalid converted object at index 3: must have the same UID: u != x",
                "returned invalid object: must have the same UID: u != x",
            ),
            (
                json!({"metadata": {"labels": {"k": 1}}}),
                "returned invalid metadata in object at index 3: metadata.labels[k] must be a string, but is int64 in converted object",
                "returned invalid metadata: metadata.labels[k] must be a string, but is int64 in converted object",
            ),
            (
                json!({"metadata": {"annotations": []}}),
                "returned invalid metadata in object at index 3: invalid metadata.annotations of type []interface {} in converted object",
                "returned invalid metadata: invalid metadata.annotations of type []interface {} in converted object",
            ),
        ] {
            assert_eq!(check(more.clone(), true).unwrap_err(), of_list);
            assert_eq!(check(more, false).unwrap_err(), alone);
        }
        for (more, want) in [
            (
                json!({"metadata": {"labels": {"old": "b d"}}}),
                "returned invalid metadata: metadata.labels: Invalid value: \"b d\": ",
            ),
            (
                json!({"metadata": {"annotations": {"a b": "c"}}}),
                "returned invalid metadata: metadata.annotation: Invalid value: \"a b\": ",
            ),
        ] {
            let found = check(more, false).unwrap_err();
            assert!(found.starts_with(want), "{found}");
        }
    }
}

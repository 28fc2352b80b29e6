//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply.
//! Upstream: endpoints/handlers/patch.go.
//!
//! A patch is applied to the served version of the current object, as JSON, and the result decoded again, so that what
//! a client patches is what it sees. On conflict it is applied again to the newer object.

use std::sync::Arc;

use api_types::codec;
use api_types::meta::v1::{PatchOptions, UpdateOptions};
use apimachinery::field::{self, Path};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::patch as patches;
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::options::{self, FieldValidation};
use super::write::{
    self, both_attributes, create_attributes, dedup_owner_references, is_dry_run, run_write,
    validator,
};
use super::{Endpoint, body, respond, yaml};
use crate::registry::managed_fields;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// The kinds of patches, by Content-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    const ALL: [(PatchType, &'static str); 4] = [
        (PatchType::Json, "application/json-patch+json"),
        (PatchType::Merge, "application/merge-patch+json"),
        (
            PatchType::Strategic,
            "application/strategic-merge-patch+json",
        ),
        (PatchType::Apply, "application/apply-patch+yaml"),
    ];

    fn of(cx: &RequestContext) -> Result<PatchType, StatusError> {
        let content_type = cx.header(http::header::CONTENT_TYPE);
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        PatchType::ALL
            .iter()
            .find(|(_, name)| *name == media_type)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| {
                // The router refuses it before any handler sees it.
                status::generic_server_response(
                    415,
                    "",
                    &GroupResource::default(),
                    "",
                    "415: Unsupported Media Type",
                    0,
                    false,
                )
            })
    }
}

/// A patch as it came.
#[derive(Clone, Debug)]
pub struct PatchRequest {
    pub kind: PatchType,
    pub bytes: bytes::Bytes,
    pub options: PatchOptions,
    pub validation: FieldValidation,
    pub manager: String,
}

impl PatchRequest {
    /// Reads a patch request.
    pub async fn read(
        cx: &RequestContext,
        request_body: Body,
    ) -> Result<PatchRequest, StatusError> {
        let kind = PatchType::of(cx)?;
        let bytes = body::read(request_body).await?;
        let options = options::patch_options(&cx.query, kind == PatchType::Apply)?;
        let validation = FieldValidation::parse(&options.field_validation);
        let manager = if kind == PatchType::Apply {
            options.field_manager.clone()
        } else {
            cx.field_manager(&options.field_manager)
        };
        Ok(PatchRequest {
            kind,
            bytes,
            options,
            validation,
            manager,
        })
    }

    pub fn update_options(&self) -> UpdateOptions {
        UpdateOptions {
            dry_run: self.options.dry_run.clone(),
            field_manager: self.options.field_manager.clone(),
            field_validation: self.options.field_validation.clone(),
            ..UpdateOptions::default()
        }
    }

    /// Applies a patch that is not an apply to an object of the served version (or a subresource's kind).
    pub fn apply_to(&self, cx: &RequestContext, served: &Object) -> Result<Object, StatusError> {
        let original = api_types::encode_json(served.value());
        let (patched, mut findings) = match self.kind {
            PatchType::Json => self.json_patch(&original)?,
            PatchType::Merge => self.merge_patch(&original)?,
            PatchType::Strategic => self.strategic_patch(&original, served)?,
            PatchType::Apply => return Err(status::internal("apply is not a patch of JSON")),
        };
        let text = serde_json::to_vec(&patched).map_err(status::internal)?;
        let schema = served.value().schema();
        let kind = schema
            .kind
            .and_then(|kind| api_types::kinds::lookup(kind.group, kind.version, kind.kind));
        let mut object = Object::new((kind.ok_or_else(|| status::internal("unknown kind"))?.new)());
        let invalid = |message: String| {
            let value = String::from_utf8_lossy(&text).into_owned();
            let errors = field::invalid(&Path::new("patch"), value.as_str(), message).into();
            status::invalid(&GroupKind::default(), "", &errors)
        };
        if self.validation == FieldValidation::Ignore {
            codec::decode_json_into(object.value_mut(), &text)
                .map_err(|error| invalid(error.to_string()))?;
        } else {
            let problems = codec::decode_json_reporting_into(object.value_mut(), &text)
                .map_err(|error| invalid(error.to_string()))?;
            findings.extend(problems.iter().map(ToString::to_string));
            if !findings.is_empty() {
                if self.validation == FieldValidation::Strict {
                    return Err(invalid(body::strict_error(&findings)));
                }
                findings
                    .into_iter()
                    .for_each(|finding| cx.warnings.add(finding));
            }
        }
        object.clear_field("TypeMeta");
        Ok(object)
    }

    /// Duplicate keys of the patch itself, unless they do not matter.
    fn duplicates(&self, prefix: &str) -> Vec<String> {
        if self.validation == FieldValidation::Ignore {
            return Vec::new();
        }
        duplicate_keys(&self.bytes)
            .into_iter()
            .map(|path| format!("{prefix}duplicate field {path:?}"))
            .collect()
    }

    fn json_patch(&self, original: &[u8]) -> Result<(Value, Vec<String>), StatusError> {
        let findings = self.duplicates("json patch ");
        let document: Value = serde_json::from_slice(original).map_err(status::internal)?;
        if let Some(what) = json_kind(&self.bytes).filter(|what| *what != "array") {
            return Err(status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {what} into Go value of type []handlers.jsonPatchOp"
            )));
        }
        let patch = patches::json::Patch::parse(&self.bytes)
            .map_err(|error| status::bad_request(error.to_string()))?;
        if patch.len() > patches::json::MAX_OPERATIONS {
            return Err(status::request_entity_too_large(format!(
                "The allowed maximum operations in a JSON patch is {}, got {}",
                patches::json::MAX_OPERATIONS,
                patch.len()
            )));
        }
        let patched = patch.apply(document).map_err(|error| {
            status::generic_server_response(
                422,
                "",
                &GroupResource::default(),
                "",
                &error.to_string(),
                0,
                false,
            )
        })?;
        Ok((patched, findings))
    }

    fn merge_patch(&self, original: &[u8]) -> Result<(Value, Vec<String>), StatusError> {
        let findings = self.duplicates("");
        if self.validation != FieldValidation::Ignore
            && let Some(what) = json_kind(&self.bytes).filter(|what| *what != "object")
        {
            return Err(status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
            )));
        }
        let patched = patches::merge::apply_bytes(original, &self.bytes).map_err(|error| {
            // What the strict reading of the patch says first.
            match serde_json::from_slice::<Value>(&self.bytes) {
                Err(error) if self.validation != FieldValidation::Ignore => {
                    status::bad_request(format!(
                        "error decoding patch: {}",
                        go_syntax_error(&self.bytes, &error)
                    ))
                }
                _ => status::bad_request(error.to_string()),
            }
        })?;
        Ok((patched, findings))
    }

    fn strategic_patch(
        &self,
        original: &[u8],
        served: &Object,
    ) -> Result<(Value, Vec<String>), StatusError> {
        let findings = self.duplicates("");
        let patch: Map<String, Value> = serde_json::from_slice(&self.bytes)
            .map_err(|error| status::bad_request(go_syntax_error(&self.bytes, &error)))?;
        let document: Map<String, Value> =
            serde_json::from_slice(original).map_err(status::internal)?;
        let patched = patches::strategic::apply(
            document,
            patch,
            patches::strategic::PatchSchema::new(served.value().schema()),
        )
        .map_err(strategic_error)?;
        Ok((Value::Object(patched), findings))
    }

    /// The configuration of an apply.
    pub fn configuration(&self) -> Result<Value, StatusError> {
        yaml::to_json(&self.bytes)
            .map_err(|error| status::bad_request(format!("error decoding YAML: {error}")))
    }

    /// Applies an apply configuration. None as live object: it creates. The result is of the served version.
    pub fn apply_configuration(
        &self,
        cx: &RequestContext,
        endpoint: &Endpoint,
        live: Option<&Object>,
    ) -> Result<Object, StatusError> {
        let configuration = self.configuration()?;
        let force = self.options.force.unwrap_or(false);
        let applied = managed_fields::apply(
            &endpoint.resource,
            live,
            &configuration,
            &self.manager,
            endpoint.subresource_name(),
            force,
        )?;
        if self.validation != FieldValidation::Ignore
            && let Some(text) = yaml::duplicate_key(&self.bytes)
        {
            let text = format!("error converting YAML to JSON: {text}");
            if self.validation == FieldValidation::Strict {
                return Err(status::bad_request(format!(
                    "error strict decoding YAML: {text}"
                )));
            }
            cx.warnings.add(text);
        }
        Ok(applied)
    }
}

fn strategic_error(error: patches::strategic::Error) -> StatusError {
    use patches::strategic::Error;
    match error {
        Error::Other(message) => crate::registry::errors::plain(message),
        Error::ListOfLists => status::generic_server_response(
            422,
            "",
            &GroupResource::default(),
            "",
            &error.to_string(),
            0,
            false,
        ),
        error => status::bad_request(error.to_string()),
    }
}

/// What a JSON text is, in Go's words; None when it is no JSON.
fn json_kind(bytes: &[u8]) -> Option<&'static str> {
    Some(match serde_json::from_slice::<Value>(bytes).ok()? {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

/// Go's text for broken JSON: that of the decoder of types, which reads any JSON to its end.
fn go_syntax_error(bytes: &[u8], error: &serde_json::Error) -> String {
    match codec::decode_json::<api_types::meta::v1::Status>(bytes) {
        Err(codec::DecodeError::Syntax { message, .. }) => message,
        _ => error.to_string(),
    }
}

/// Paths of keys that appear twice in one object of a JSON text.
fn duplicate_keys(bytes: &[u8]) -> Vec<String> {
    struct Seed<'a> {
        path: String,
        found: &'a mut Vec<String>,
    }
    impl<'de> serde::de::DeserializeSeed<'de> for Seed<'_> {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Seed<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            let mut index = 0;
            while items
                .next_element_seed(Seed {
                    path: format!("{}[{index}]", self.path),
                    found: self.found,
                })?
                .is_some()
            {
                index += 1;
            }
            Ok(())
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
            let mut seen = std::collections::HashSet::new();
            while let Some(key) = entries.next_key::<String>()? {
                let path = if self.path.is_empty() {
                    key.clone()
                } else {
                    format!("{}.{key}", self.path)
                };
                if !seen.insert(key) {
                    self.found.push(path.clone());
                }
                entries.next_value_seed(Seed {
                    path,
                    found: self.found,
                })?;
            }
            Ok(())
        }
    }
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // Text that is no JSON is reported elsewhere.
    let _ = serde::de::DeserializeSeed::deserialize(
        Seed {
            path: String::new(),
            found: &mut found,
        },
        &mut deserializer,
    );
    found
}

/// PATCH of an object.
pub async fn patch(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    PatchType::of(cx)?;
    let media = respond::negotiate(cx)?;
    let request = PatchRequest::read(cx, request_body).await?;
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(async move {
        let (object, created) = patch_stored(&server, &cx, &endpoint, &request).await?;
        let code = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        respond::object(&cx, &endpoint.resource, media, code, object)
    })
    .await
}

/// Patches the stored object, again and again until nobody else changed it meanwhile.
async fn patch_stored(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    request: &PatchRequest,
) -> Result<(Object, bool), StatusError> {
    let resource = &endpoint.resource;
    let dry_run = is_dry_run(&request.options.dry_run);
    let (create, update) = both_attributes(cx, endpoint, request.update_options(), dry_run);
    let validate = validator(
        server,
        create.clone(),
        Some(update.clone()),
        Some(create_attributes(cx)),
    );
    let strategy = server.strategy(endpoint);
    write::write_of(server, cx, endpoint, strategy, dry_run)
        .update(None, request.kind == PatchType::Apply, &validate, |existing: Option<Arc<Object>>| {
            let mut attributes = if existing.is_some() { update.clone() } else { create.clone() };
            Box::pin(async move {
                let existing = existing.as_deref();
                let mut object = match (existing, request.kind) {
                    (_, PatchType::Apply) => {
                        let served = request.apply_configuration(cx, endpoint, existing)?;
                        write::hub_of(endpoint, served)?
                    }
                    (None, _) => return Err(status::not_found(&resource.group_resource(), &cx.info.name)),
                    (Some(existing), _) => {
                        let served = resource.to_served(existing.clone())?;
                        let patched = request.apply_to(cx, &served)?;
                        let mut object = write::hub_of(endpoint, patched)?;
                        managed_fields::update(resource, Some(existing), &mut object, &request.manager, endpoint.subresource_name());
                        object
                    }
                };
                if existing.is_none() && !object.metadata().uid.is_empty() {
                    let uid = &object.metadata().uid;
                    return Err(status::conflict(
                        &resource.group_resource(),
                        &cx.info.name,
                        format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found"),
                    ));
                }
                write::check_name(cx, endpoint, &mut object)?;
                attributes.old_object = existing.map(|existing| Arc::new(existing.clone()));
                let mut object = write::admit(server, &mut attributes, object).await?;
                dedup_owner_references(&mut object, cx, true);
                Ok(object)
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_found_with_their_path() {
        assert_eq!(
            duplicate_keys(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":2}],"a":3}"#),
            ["a.b", "c[0].d", "a"]
        );
        assert!(duplicate_keys(br#"{"a":1"#).is_empty());
    }
}

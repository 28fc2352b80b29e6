//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply.
//! Upstream: endpoints/handlers/patch.go.
//!
//! A patch is applied to the served version of the current object, as JSON, and the result decoded again, so that what
//! a client patches is what it sees. On conflict it is applied again to the newer object.

use std::sync::Arc;

use api_types::codec;
use api_types::kinds::KindInfo;
use api_types::meta::v1::{PatchOptions, UpdateOptions};
use apimachinery::field::{self, Path};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::patch as patches;
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::finisher::run_write;
use super::options::{self, FieldValidation};
use super::write::{self, both_attributes, dedup_owner_references, is_dry_run, validator};
use super::{Endpoint, body, respond, yaml};
use crate::custom_resources::CustomResource;
use crate::go_json;
use crate::registry::managed_fields;
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::registry::sent_empty;
use crate::request::context::{RequestContext, Warnings};
use crate::server::ApiServer;
use crate::traces::trace;

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

    /// The kind of a request, or that the resource has no such one.
    pub fn of(cx: &RequestContext, resource: &Resource) -> Result<PatchType, StatusError> {
        let content_type = cx.header(http::header::CONTENT_TYPE);
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_custom = resource.custom.is_some();
        let mut kinds = PatchType::ALL
            .iter()
            .filter(|(kind, _)| !is_custom || *kind != PatchType::Strategic);
        let found = kinds.clone().find(|(_, name)| *name == media_type);
        if let Some((kind, _)) = found {
            return Ok(*kind);
        }
        if is_custom {
            let names: Vec<&str> = kinds.by_ref().map(|(_, name)| *name).collect();
            let accepted = names.join(", ");
            return Err(respond::unsupported_media_type(
                crate::negotiation::UnsupportedMediaType { accepted },
            ));
        }
        // The router refuses it before any handler sees it.
        let text = "415: Unsupported Media Type";
        Err(status::generic_server_response(
            415,
            "",
            &GroupResource::default(),
            "",
            text,
            0,
            false,
        ))
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
    /// The last object that was decoded from a patched text, as JSON, or those of its fields that the patch names.
    pub patched: Arc<Mutex<Vec<u8>>>,
}

impl PatchRequest {
    /// Reads a patch request.
    pub async fn read(
        cx: &RequestContext,
        resource: &Resource,
        request_body: Body,
    ) -> Result<PatchRequest, StatusError> {
        let kind = PatchType::of(cx, resource)?;
        let bytes = body::read(cx, request_body).await?;
        let options = options::patch_options(&cx.query, kind == PatchType::Apply)?;
        let validation = FieldValidation::parse(&options.field_validation);
        let manager = if kind == PatchType::Apply {
            options.field_manager.clone()
        } else {
            cx.field_manager(&options.field_manager)
        };
        if let Some(audit) = &cx.audit {
            audit.sent_patch(&bytes, kind == PatchType::Apply);
            trace::step("Recorded the audit event");
        }
        Ok(PatchRequest {
            kind,
            bytes,
            options,
            validation,
            manager,
            patched: Arc::default(),
        })
    }

    /// Says of an error what was sent.
    fn explain(&self, error: StatusError, endpoint: &Endpoint) -> StatusError {
        let schema = endpoint.resource.served.schema;
        if self.kind != PatchType::Apply {
            return sent_empty::explain(error, &self.patched.lock(), schema);
        }
        match self.configuration() {
            Ok(sent) if error.code == 422 => {
                sent_empty::explain(error, sent.to_string().as_bytes(), schema)
            }
            _ => error,
        }
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
    pub fn apply_to(
        &self,
        warnings: &Warnings,
        served: &Object,
        custom: Option<&CustomResource>,
    ) -> Result<Object, StatusError> {
        if let Some(custom) = custom {
            return self.apply_to_custom(warnings, served, custom);
        }
        if self.kind == PatchType::Strategic
            && let Some(patched) = self.strategic_patch_of_fields(warnings, served)
        {
            return Ok(patched);
        }
        self.apply_to_whole(warnings, served)
    }

    fn apply_to_custom(
        &self,
        warnings: &Warnings,
        served: &Object,
        custom: &CustomResource,
    ) -> Result<Object, StatusError> {
        let original = api_types::encode_json(served.value());
        let (patched, mut findings) = match self.kind {
            PatchType::Json => self.json_patch(&original)?,
            PatchType::Merge => self.merge_patch(&original)?,
            PatchType::Strategic | PatchType::Apply => {
                return Err(status::internal("not a patch of custom objects"));
            }
        };
        let report = self.validation != FieldValidation::Ignore;
        let invalid = |message: String| invalid_patch(&patched.shown, message);
        let (object, problems) = custom.decode(&patched.text, report).map_err(invalid)?;
        findings.extend(problems);
        if self.validation == FieldValidation::Strict && !findings.is_empty() {
            return Err(invalid(body::strict_error(&findings)));
        }
        findings
            .into_iter()
            .for_each(|finding| warnings.add(finding));
        body::check_custom_kind(&object, custom)?;
        Ok(Object::from(object))
    }

    fn apply_to_whole(&self, warnings: &Warnings, served: &Object) -> Result<Object, StatusError> {
        let original = api_types::encode_json(served.value());
        let (patched, mut findings) = match self.kind {
            PatchType::Json => self.json_patch(&original)?,
            PatchType::Merge => self.merge_patch(&original)?,
            PatchType::Strategic => self.strategic_patch(&original, served)?,
            PatchType::Apply => return Err(status::internal("apply is not a patch of JSON")),
        };
        let invalid = |message: String| invalid_patch(&patched.shown, message);
        let kind = served.value().schema().kind;
        let kind = kind
            .and_then(|kind| api_types::kinds::lookup(kind.group, kind.version, kind.kind))
            .ok_or_else(|| status::internal("unknown kind"))?;
        // A strategic merge patch is decoded as what it patched, whatever it calls itself.
        if self.kind != PatchType::Strategic {
            check_kind(&patched.text, kind).map_err(invalid)?;
        }
        let mut object = Object::new((kind.new)());
        if self.validation == FieldValidation::Ignore {
            codec::decode_json_into(object.value_mut(), &patched.text)
                .map_err(|error| invalid(error.to_string()))?;
        } else {
            let problems = codec::decode_json_reporting_into(object.value_mut(), &patched.text)
                .map_err(|error| invalid(error.to_string()))?;
            findings.extend(problems.iter().map(ToString::to_string));
            if !findings.is_empty() {
                if self.validation == FieldValidation::Strict {
                    return Err(invalid(body::strict_error(&findings)));
                }
                findings
                    .into_iter()
                    .for_each(|finding| warnings.add(finding));
            }
        }
        object.clear_field("TypeMeta");
        sent_empty::note(&mut object, &patched.text);
        *self.patched.lock() = patched.text;
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

    fn json_patch(&self, original: &[u8]) -> Result<(Patched, Vec<String>), StatusError> {
        let findings = self.duplicates("json patch ");
        let bad_patch = |text: String| status::bad_request(format!("error decoding patch: {text}"));
        match go_json::parse(&self.bytes).map_err(bad_patch)? {
            Value::Array(_) | Value::Null => {}
            other => {
                let target = "value of type []handlers.jsonPatchOp";
                return Err(bad_patch(go_json::cannot_unmarshal(&other, target)));
            }
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
        let patched = patch.apply(original).map_err(|error| {
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
        Ok((Patched::shown_whole(patched), findings))
    }

    fn merge_patch(&self, original: &[u8]) -> Result<(Patched, Vec<String>), StatusError> {
        let findings = self.duplicates("");
        if self.validation != FieldValidation::Ignore {
            go_json::parse_object(&self.bytes).map_err(|error| {
                // What the strict reading of the patch says first.
                status::bad_request(format!("error decoding patch: {error}"))
            })?;
        }
        let patched = patches::merge::apply_bytes(original, &self.bytes)
            .map_err(|error| status::bad_request(error.to_string()))?;
        Ok((Patched::shown_whole(patched), findings))
    }

    fn strategic_patch(
        &self,
        original: &[u8],
        served: &Object,
    ) -> Result<(Patched, Vec<String>), StatusError> {
        let findings = self.duplicates("");
        let patch = go_json::parse_object(&self.bytes).map_err(status::bad_request)?;
        let document = go_json::parse_object(original).map_err(status::internal)?;
        let shown = patches::strategic::go_map(&patch);
        let schema = served.value().schema();
        let patched = patches::strategic::apply(
            document,
            patch,
            patches::strategic::PatchSchema::new(schema),
        )
        .map_err(strategic_error)?;
        if let Some(problem) = patches::strategic::restore_problem(&patched, schema) {
            return Err(invalid_patch(&shown, problem));
        }
        let text = serde_json::to_vec(&patched).map_err(status::internal)?;
        Ok((Patched { text, shown }, findings))
    }

    /// A strategic merge patch in which nothing is wrong, at the cost of those of the object's fields that it names. `None`:
    /// the whole object has to be looked at, if only for what is to be said about the patch.
    fn strategic_patch_of_fields(&self, warnings: &Warnings, served: &Object) -> Option<Object> {
        let findings = self.duplicates("");
        let patch = go_json::parse_object(&self.bytes).ok()?;
        let schema = served.value().schema();
        let mut named = Vec::with_capacity(patch.len());
        for key in patch.keys() {
            let at = schema.fields.iter().position(|field| field.json == key)?;
            named.push(at);
        }
        let mut original = vec![b'{'];
        for at in &named {
            codec::write_json_field(served.value(), *at, &mut original);
        }
        original.push(b'}');
        let document = go_json::parse_object(&original).ok()?;
        let types = patches::strategic::PatchSchema::new(schema);
        let patched = patches::strategic::apply(document, patch, types).ok()?;
        if patches::strategic::restore_problem(&patched, schema).is_some() {
            return None;
        }
        let text = serde_json::to_vec(&patched).ok()?;
        let mut object = served.clone();
        for at in named {
            object.clear_field(schema.fields[at].go);
        }
        let problems = codec::decode_json_reporting_into(object.value_mut(), &text).ok()?;
        if self.validation != FieldValidation::Ignore {
            let problems = problems.iter().map(ToString::to_string);
            let findings: Vec<String> = findings.into_iter().chain(problems).collect();
            if self.validation == FieldValidation::Strict && !findings.is_empty() {
                return None;
            }
            findings
                .into_iter()
                .for_each(|finding| warnings.add(finding));
        }
        object.clear_field("TypeMeta");
        sent_empty::note(&mut object, &text);
        *self.patched.lock() = text;
        Some(object)
    }

    /// The configuration of an apply.
    pub fn configuration(&self) -> Result<Value, StatusError> {
        let bad_yaml = |error: String| status::bad_request(format!("error decoding YAML: {error}"));
        let value = yaml::to_json(&self.bytes)
            .map_err(|error| bad_yaml(format!("error converting YAML to JSON: {error}")))?;
        match value {
            Value::Object(_) => Ok(value),
            Value::Null => Ok(Value::Object(Map::new())),
            other => {
                let target = "value of type map[string]interface {}";
                let problem = go_json::cannot_unmarshal(&other, target);
                Err(bad_yaml(format!(
                    "error unmarshaling JSON: while decoding JSON: {problem}"
                )))
            }
        }
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
            if self.validation == FieldValidation::Strict {
                let error = yaml::duplicates_error(&text);
                return Err(status::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: {error}"
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

/// A patched object before it is decoded.
struct Patched {
    text: Vec<u8>,
    /// What errors show.
    shown: String,
}

impl Patched {
    fn shown_whole(text: Vec<u8>) -> Patched {
        let shown = String::from_utf8_lossy(&text).into_owned();
        Patched { text, shown }
    }
}

fn invalid_patch(shown: &str, message: String) -> StatusError {
    let errors = field::invalid(&Path::new("patch"), shown, message).into();
    status::invalid(&GroupKind::default(), "", &errors)
}

/// A patched text must still be of the kind that it was.
fn check_kind(text: &[u8], kind: &'static KindInfo) -> Result<(), String> {
    let (api_version, name) = body::version_and_kind(text)?;
    let api_version = match api_version.as_str() {
        "" => kind.schema.kind.map_or("", |kind| kind.api_version),
        api_version => api_version,
    };
    let name = if name.is_empty() { kind.kind } else { &name };
    match api_types::kinds::lookup_api_version(api_version, name) {
        // Another version of the same kind would be converted.
        Some(found) if found.kind == kind.kind && found.group == kind.group => Ok(()),
        found => Err(body::no_conversion(found, api_version, name, kind)),
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
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    let request = PatchRequest::read(cx, &endpoint.resource, request_body).await?;
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let stored = patch_stored(&server, &cx, &endpoint, &request).await;
            let (object, created) = stored.map_err(|error| request.explain(error, &endpoint))?;
            trace::step("Object stored in database");
            respond::stored_object(&cx, &endpoint.resource, media, created, object)
        }),
    )
    .await
}

/// Patches the stored object, again and again until nobody else changed it meanwhile.
pub async fn patch_stored(
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
        Some(cx.attributes()),
    );
    let strategy = server.strategy(endpoint);
    write::informed_write_of(server, cx, endpoint, strategy, dry_run)
        .await
        .update(None, request.kind == PatchType::Apply, &validate, |existing: Option<Arc<Object>>| {
            let mut attributes = if existing.is_some() { update.clone() } else { create.clone() };
            Box::pin(async move {
                let mut object = match (existing.as_deref(), request.kind) {
                    (existing, PatchType::Apply) => {
                        let served = request.apply_configuration(cx, endpoint, existing)?;
                        write::hub_of(endpoint, served)?
                    }
                    (None, _) => return Err(status::not_found(&resource.group_resource(), &cx.info.name)),
                    (Some(existing), _) => {
                        let custom = resource.custom.as_deref();
                        let patched = if resource.conversion.is_some() {
                            request.apply_to(&cx.warnings, &resource.to_served(existing.clone())?, None)?
                        } else {
                            request.apply_to(&cx.warnings, existing, custom)?
                        };
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
                attributes.old_object = existing;
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
    fn a_patch_cannot_make_another_kind_of_an_object() {
        let kind = api_types::kinds::lookup("", "v1", "ConfigMap").unwrap();
        let check = |text: &str, want: Result<(), &str>| {
            assert_eq!(
                check_kind(text.as_bytes(), kind),
                want.map_err(str::to_owned)
            );
        };
        check(r#"{"apiVersion":"v1","kind":"ConfigMap"}"#, Ok(()));
        check(r#"{"kind":"ConfigMap"}"#, Ok(()));
        check(
            r#"{"apiVersion":"v1","kind":"Nonsense"}"#,
            Err(
                "no kind \"Nonsense\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            ),
        );
        check(
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            Err("converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        );
        check(
            r#"{"apiVersion":"a/b/c","kind":"ConfigMap"}"#,
            Err("unexpected GroupVersion string: a/b/c"),
        );
    }

    #[test]
    fn invalid_patches_show_what_upstream_shows() {
        let mut map = api_types::core::v1::ConfigMap::default();
        map.metadata.name = "a".to_owned();
        map.metadata.uid = "u".to_owned();
        map.data.insert("k".to_owned(), "v".to_owned());
        map.type_meta.api_version = "v1".to_owned();
        map.type_meta.kind = "ConfigMap".to_owned();
        let served = Object::from(map);
        let check = |kind, validation, patch: &str, want: &str| {
            let request = PatchRequest {
                kind,
                bytes: patch.to_owned().into(),
                options: PatchOptions::default(),
                validation,
                manager: String::new(),
                patched: Arc::default(),
            };
            let error = request
                .apply_to(&Warnings::default(), &served, None)
                .unwrap_err();
            assert_eq!(error.message, want, "{patch}");
        };
        let (warn, strict) = (FieldValidation::Warn, FieldValidation::Strict);
        check(
            PatchType::Merge,
            warn,
            r#"{"data":7}"#,
            r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":7,\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}": json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string"#,
        );
        check(
            PatchType::Strategic,
            warn,
            r#"{"metadata":7}"#,
            r#" "" is invalid: patch: Invalid value: "map[metadata:7]": cannot restore struct from: int64"#,
        );
        check(
            PatchType::Strategic,
            strict,
            r#"{"unknown":1}"#,
            r#" "" is invalid: patch: Invalid value: "map[unknown:1]": strict decoding error: unknown field "unknown""#,
        );
        check(
            PatchType::Json,
            warn,
            "",
            "error decoding patch: unexpected end of JSON input",
        );
    }

    #[test]
    fn a_patch_of_fields_is_a_patch_of_the_whole() {
        let mut pod = api_types::core::v1::Pod::default();
        let text = br#"{"metadata": {"name": "a", "labels": {"l": "1", "m": "2"}, "finalizers": ["x", "y"]},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}]}, {"name": "d"}],
                     "tolerations": [{"key": "k"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "1.1.1.1"}]}}"#;
        codec::decode_json_into(&mut pod, text).unwrap();
        let served = Object::from(pod);
        let mut alone = 0;
        for patch in [
            r#"{}"#,
            r#"{"status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}, {"type": "Other"}]}}"#,
            r#"{"status": {"$setElementOrder/conditions": [{"type": "Other"}, {"type": "Ready"}], "conditions": [{"type": "Other"}]}}"#,
            r#"{"status": null}"#,
            r#"{"status": {"conditions": null, "podIPs": [{"ip": "2.2.2.2"}], "podIP": "2.2.2.2"}}"#,
            r#"{"status": {"conditions": [{"$patch": "delete", "type": "Ready"}]}}"#,
            r#"{"metadata": {"labels": {"l": null, "n": "3"}, "$deleteFromPrimitiveList/finalizers": ["x"]}}"#,
            r#"{"metadata": {"labels": null}, "spec": {"containers": [{"name": "c", "image": "j", "env": [{"name": "F"}]}]}}"#,
            r#"{"spec": {"$patch": "replace", "containers": [{"name": "z"}]}}"#,
            r#"{"spec": {"containers": [{"name": "c", "unknown": 1}], "tolerations": []}}"#,
            r#"{"spec": {"activeDeadlineSeconds": "no number"}}"#,
            r#"{"metadata": 7}"#,
            r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "m"}}"#,
            r#"{"unknown": 1}"#,
            r#"{"$patch": "delete"}"#,
            r#"{"metadata": {"labels": {"a": "1", "a": "2"}}}"#,
        ] {
            for validation in [
                FieldValidation::Ignore,
                FieldValidation::Warn,
                FieldValidation::Strict,
            ] {
                let request = PatchRequest {
                    kind: PatchType::Strategic,
                    bytes: patch.to_owned().into(),
                    options: PatchOptions::default(),
                    validation,
                    manager: String::new(),
                    patched: Arc::default(),
                };
                let (warnings, whole_warnings) = (Warnings::default(), Warnings::default());
                let Some(of_fields) = request.strategic_patch_of_fields(&warnings, &served) else {
                    continue;
                };
                alone += 1;
                let whole = request.apply_to_whole(&whole_warnings, &served).unwrap();
                assert_eq!(format!("{of_fields:?}"), format!("{whole:?}"), "{patch}");
                assert_eq!(warnings.headers(), whole_warnings.headers(), "{patch}");
            }
        }
        assert!(alone >= 28, "{alone}");
    }

    #[test]
    fn duplicate_keys_are_found_with_their_path() {
        assert_eq!(
            duplicate_keys(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":2}],"a":3}"#),
            ["a.b", "c[0].d", "a"]
        );
        assert!(duplicate_keys(br#"{"a":1"#).is_empty());
    }
}

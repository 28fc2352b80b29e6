//! Request bodies: read within a limit, decoded, with field validation. Upstream: endpoints/handlers/rest.go and the
//! strict decoders of the serializers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use api_types::CustomObject;
use api_types::codec;
use api_types::kinds::{self, KindInfo};
use api_types::meta::v1::TypeMeta;
use api_types::value::View;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use bytes::Bytes;
use component_base::serving::{Body, CollectError};
use serde_json::Value;
use serde_json::value::RawValue;

use super::options::FieldValidation;
use super::yaml;
use crate::custom_resources::CustomResource;
use crate::go_json;
use crate::negotiation::Encoding;
use crate::registry::object::Object;
use crate::registry::sent_empty;
use crate::request::context::{RequestContext, Warnings};
use crate::traces::trace;

/// Bodies above this are refused with 413.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Reads a request's body.
pub async fn read(cx: &RequestContext, body: Body) -> Result<Bytes, StatusError> {
    let read = body.collect(LIMIT).await.map_err(|error| match error {
        CollectError::TooLarge { limit } => {
            status::request_entity_too_large(format!("limit is {limit}"))
        }
        CollectError::Read(source) => status::bad_request(source.to_string()),
    })?;
    cx.measured.body(read.len());
    trace::step_with("limitedReadBody succeeded", |fields| {
        fields.number("len", read.len());
    });
    Ok(read)
}

/// What is said of a protobuf body without a byte.
pub const EMPTY_DATA: &str = "empty data";

/// A decoded body and what it called itself.
#[derive(Debug)]
pub struct Decoded {
    pub object: Object,
    pub api_version: String,
    pub kind: String,
}

/// Decodes a body as `kind`. Findings of field validation become warnings or the error.
pub fn decode(
    encoding: Encoding,
    body: &[u8],
    kind: &'static KindInfo,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Decoded, StatusError> {
    let expected_version = kind
        .schema
        .kind
        .map_or_else(String::new, |name| name.api_version.to_owned());
    match encoding {
        Encoding::Protobuf if body.is_empty() => Err(unrecognized(kind, EMPTY_DATA, body)),
        Encoding::Protobuf => {
            let envelope =
                codec::decode_envelope(body).map_err(|error| unrecognized(kind, error, body))?;
            let (api_version, name) =
                names(envelope.api_version, envelope.kind, &expected_version, kind);
            let target = target(&api_version, &name, kind)?;
            let mut object = Object::new((target.new)());
            codec::decode_protobuf_into(object.value_mut(), envelope.raw)
                .map_err(|error| cannot_be_handled(&name, &api_version, kind, error))?;
            Ok(Decoded {
                object,
                api_version,
                kind: name,
            })
        }
        Encoding::Json => decode_json(
            body,
            body,
            kind,
            &expected_version,
            validation,
            warnings,
            None,
        ),
        Encoding::Yaml => {
            let value = yaml::to_json(body).map_err(|error| unrecognized(kind, error, body))?;
            let json =
                serde_json::to_vec(&value).map_err(|error| unrecognized(kind, error, body))?;
            let findings = match validation {
                FieldValidation::Ignore => None,
                _ => yaml::duplicate_key(body),
            };
            decode_json(
                &json,
                body,
                kind,
                &expected_version,
                validation,
                warnings,
                findings,
            )
        }
    }
}

/// Decodes a body as a custom object. Findings of field validation become warnings or the error.
pub fn decode_custom(
    encoding: Encoding,
    body: &[u8],
    custom: &CustomResource,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Object, StatusError> {
    let kind = custom.version().kind;
    let (json, mut findings) = match encoding {
        Encoding::Yaml => {
            let value = yaml::to_json(body).map_err(|error| unrecognized(kind, error, body))?;
            let json =
                serde_json::to_vec(&value).map_err(|error| unrecognized(kind, error, body))?;
            let duplicate = match validation {
                FieldValidation::Ignore => None,
                _ => yaml::duplicate_key(body),
            };
            (Cow::Owned(json), Vec::from_iter(duplicate))
        }
        _ => (Cow::Borrowed(body), Vec::new()),
    };
    let (api_version, name) =
        version_and_kind(&json).map_err(|text| unrecognized(kind, text, body))?;
    if name.is_empty() {
        let text = format!(
            "Object 'Kind' is missing in '{}'",
            String::from_utf8_lossy(&json)
        );
        return Err(unrecognized(kind, text, body));
    }
    let expected = custom.version().api_version;
    if api_version != expected {
        return Err(status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    let report = validation != FieldValidation::Ignore;
    let (object, problems) = custom
        .decode(&json, report)
        .map_err(|error| cannot_be_handled(&name, &api_version, kind, error))?;
    if validation == FieldValidation::Strict {
        findings = findings
            .iter()
            .map(|text| yaml::duplicates_error(text))
            .chain(problems)
            .collect();
        if !findings.is_empty() {
            let error = strict_error(&findings);
            return Err(cannot_be_handled(&name, &api_version, kind, error));
        }
    } else {
        findings.extend(problems);
        findings
            .into_iter()
            .for_each(|finding| warnings.add(finding));
    }
    check_custom_kind(&object, custom)?;
    Ok(Object::from(object))
}

/// A custom object must call itself what its resource's objects are called.
pub fn check_custom_kind(
    object: &CustomObject,
    custom: &CustomResource,
) -> Result<(), StatusError> {
    let expected = custom.type_meta();
    let found = &object.type_meta;
    let mut errors = ErrorList::new();
    for (path, found, expected) in [
        ("kind", &found.kind, &expected.kind),
        ("apiVersion", &found.api_version, &expected.api_version),
    ] {
        if found != expected {
            let text = format!("must be {expected}");
            errors.push(field::invalid(&Path::new(path), found.as_str(), text));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind {
        group: custom.definition.group.to_owned(),
        kind: found.kind.clone(),
    };
    Err(status::invalid(&kind, &object.metadata.name, &errors))
}

fn decode_json(
    json: &[u8],
    body: &[u8],
    kind: &'static KindInfo,
    expected_version: &str,
    validation: FieldValidation,
    warnings: &Warnings,
    duplicate_key: Option<String>,
) -> Result<Decoded, StatusError> {
    let decode = |object: &mut Object| {
        if validation == FieldValidation::Ignore {
            codec::decode_json_into(object.value_mut(), json).map(|()| Vec::new())
        } else {
            codec::decode_json_reporting_into(object.value_mut(), json)
        }
    };
    // Nearly every body is what is expected: then one look at it is enough. All others are asked first what they are.
    let mut object = Object::new((kind.new)());
    let mut read = decode(&mut object);
    let (mut api_version, mut name) = (expected_version.to_owned(), kind.kind.to_owned());
    if read.is_err() || !calls_itself(&object, &api_version, &name) {
        let (its_version, its_name) =
            version_and_kind(json).map_err(|text| unrecognized(kind, text, body))?;
        (api_version, name) = names(&its_version, &its_name, expected_version, kind);
        object = Object::new((target(&api_version, &name, kind)?.new)());
        read = decode(&mut object);
    }
    let problems = read.map_err(|error| decode_failed(&name, &api_version, kind, error, body))?;
    sent_empty::note(&mut object, json);
    let problems = problems.iter().map(ToString::to_string);
    if validation == FieldValidation::Strict {
        let duplicates = duplicate_key.as_deref().map(yaml::duplicates_error);
        let findings: Vec<String> = duplicates.into_iter().chain(problems).collect();
        if !findings.is_empty() {
            let error = strict_error(&findings);
            return Err(cannot_be_handled(&name, &api_version, kind, error));
        }
    } else {
        let findings = duplicate_key.into_iter().chain(problems);
        findings.for_each(|finding| warnings.add(finding));
    }
    Ok(Decoded {
        object,
        api_version,
        kind: name,
    })
}

/// Whether an object was sent with these names.
fn calls_itself(object: &Object, api_version: &str, name: &str) -> bool {
    match object.field("TypeMeta").map(api_types::Value::view) {
        Some(View::Struct(names)) => names.downcast_ref::<TypeMeta>().is_some_and(|names| {
            (names.api_version.as_str(), names.kind.as_str()) == (api_version, name)
        }),
        _ => false,
    }
}

/// What a JSON text says that it is. Upstream reads this first, on its own. Errors have its words.
pub fn version_and_kind(json: &[u8]) -> Result<(String, String), String> {
    let parse_error = |text: String| format!("couldn't get version/kind; json parse error: {text}");
    // Of a key that comes twice the last value counts.
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_slice(json) {
        Ok(fields) => fields,
        Err(error) => {
            let what = go_json::parse(json)
                .map_err(|_| parse_error(go_json::syntax_error(json, &error)))?;
            if what.is_null() {
                return Ok(Default::default());
            }
            let target = "value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
            return Err(parse_error(go_json::cannot_unmarshal(&what, target)));
        }
    };
    let name = |key: &str| -> Result<String, String> {
        match fields
            .get(key)
            .map(|raw| go_json::parse(raw.get().as_bytes()))
        {
            None | Some(Ok(Value::Null) | Err(_)) => Ok(String::new()),
            Some(Ok(Value::String(text))) => Ok(text),
            Some(Ok(other)) => {
                let target = format!("struct field .{key} of type string");
                Err(parse_error(go_json::cannot_unmarshal(&other, &target)))
            }
        }
    };
    let (api_version, kind) = (name("apiVersion")?, name("kind")?);
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    Ok((api_version, kind))
}

/// Upstream's joined strict decoding error.
pub fn strict_error(findings: &[String]) -> String {
    format!("strict decoding error: {}", findings.join(", "))
}

/// What the body calls itself, filled up with what is expected.
fn names(
    api_version: &str,
    name: &str,
    expected_version: &str,
    kind: &KindInfo,
) -> (String, String) {
    let name = if name.is_empty() { kind.kind } else { name };
    let api_version = if api_version.is_empty() {
        expected_version
    } else {
        api_version
    };
    (api_version.to_owned(), name.to_owned())
}

/// The type to decode into: the endpoint's own, or a refusal.
fn target(
    api_version: &str,
    name: &str,
    kind: &'static KindInfo,
) -> Result<&'static KindInfo, StatusError> {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let expected = kind.schema.kind.map_or("", |name| name.api_version);
    match kinds::lookup_api_version(api_version, name) {
        Some(found) if std::ptr::eq(found.schema, kind.schema) => Ok(kind),
        // The endpoint of evictions takes both versions, for clients older than policy/v1; their fields are the same.
        Some(found)
            if (found.group, found.kind) == ("policy", "Eviction") && kind.kind == "Eviction" =>
        {
            Ok(kind)
        }
        // Versions of one kind convert into each other, but an endpoint takes only its own. The two Events are one kind.
        Some(found)
            if found.kind == kind.kind && (found.group == kind.group || name == "Event") =>
        {
            Err(status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )))
        }
        None if name == kind.kind && KNOWN_NOT_SERVED.contains(&api_version) => {
            Err(status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )))
        }
        found => Err(status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {}: {}",
            kind.kind,
            no_conversion(found, api_version, name, kind)
        ))),
    }
}

/// Versions that upstream knows and no longer serves, of kinds with one version here.
const KNOWN_NOT_SERVED: [&str; 2] = [
    "apiextensions.k8s.io/v1beta1",
    "apiregistration.k8s.io/v1beta1",
];

/// Why what is known, or not known, by these names cannot become an object of a kind.
pub fn no_conversion(
    found: Option<&KindInfo>,
    api_version: &str,
    name: &str,
    kind: &KindInfo,
) -> String {
    let scheme = scheme(kind.group);
    let found = found.filter(|found| {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let of_machinery = api_version == "v1" && found.schema.package.ends_with("/meta/v1");
        scheme == self::scheme(group) || (of_machinery && name != "List")
    });
    match found {
        Some(found) => format!(
            "converting ({}.{}) to ({}.{}): unknown conversion",
            found.version,
            found.kind,
            hub_package(kind.group),
            kind.kind
        ),
        None => format!(
            "no kind {name:?} is registered for version {api_version:?} in scheme {scheme:?}"
        ),
    }
}

/// Where upstream registers the kinds of a group: three servers are one there, and each knows its own kinds, and those of
/// the API machinery.
fn scheme(group: &str) -> &'static str {
    match group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => "pkg/api/legacyscheme/scheme.go:30",
    }
}

/// Upstream's internal package of a group.
pub fn hub_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// A decoding error. Text that is no JSON at all never gets as far as having a kind.
fn decode_failed(
    name: &str,
    api_version: &str,
    kind: &KindInfo,
    error: codec::DecodeError,
    body: &[u8],
) -> StatusError {
    match error {
        codec::DecodeError::Syntax { message, .. } => unrecognized(
            kind,
            format!("couldn't get version/kind; json parse error: {message}"),
            body,
        ),
        error => cannot_be_handled(name, api_version, kind, error),
    }
}

fn cannot_be_handled(
    name: &str,
    api_version: &str,
    kind: &KindInfo,
    error: impl std::fmt::Display,
) -> StatusError {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    status::bad_request(format!(
        "{name} in version {version:?} cannot be handled as a {}: {error}",
        kind.kind
    ))
}

fn unrecognized(kind: &KindInfo, error: impl std::fmt::Display, body: &[u8]) -> StatusError {
    status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {error} ({})",
        kind.kind,
        summarize(body)
    ))
}

/// The start of a body, as text when it is JSON and in hexadecimal otherwise.
fn summarize(body: &[u8]) -> String {
    const MAX: usize = 30;
    let head = &body[..body.len().min(MAX)];
    let more = if body.len() > MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!(
            "{}{more}",
            head.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> &'static KindInfo {
        kinds::lookup("", "v1", name).unwrap()
    }

    #[track_caller]
    fn refused(body: &str, validation: FieldValidation, expected: &str) {
        let error = decode(
            Encoding::Json,
            body.as_bytes(),
            kind("Pod"),
            validation,
            &Warnings::default(),
        )
        .unwrap_err();
        assert_eq!(error.message, expected);
    }

    #[test]
    fn a_server_knows_its_own_kinds_and_those_of_the_machinery() {
        let check = |group: &str, kind: &str, (api_version, name): (&str, &str), expected: &str| {
            let kind = kinds::lookup(group, "v1", kind).unwrap();
            let found = kinds::lookup_api_version(api_version, name);
            assert_eq!(no_conversion(found, api_version, name, kind), expected);
        };
        let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
        check(
            group,
            kind,
            ("v1", "Binding"),
            "no kind \"Binding\" is registered for version \"v1\" in scheme \"k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55\"",
        );
        check(
            group,
            kind,
            ("v1", "Status"),
            "converting (v1.Status) to (apiextensions.CustomResourceDefinition): unknown conversion",
        );
        check(
            group,
            kind,
            ("v1", "List"),
            "no kind \"List\" is registered for version \"v1\" in scheme \"k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55\"",
        );
        check(
            "apiregistration.k8s.io",
            "APIService",
            ("apps/v1", "Deployment"),
            "no kind \"Deployment\" is registered for version \"apps/v1\" in scheme \"k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28\"",
        );
        check(
            "",
            "ConfigMap",
            ("apiregistration.k8s.io/v1", "APIService"),
            "no kind \"APIService\" is registered for version \"apiregistration.k8s.io/v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        );
    }

    #[test]
    fn refusals_have_upstreams_words() {
        refused(
            r#"{"kind":"Pod","apiVersion":"v1","spec":{"foo":1}}"#,
            FieldValidation::Strict,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\"",
        );
        refused(
            r#"{"kind":"Service","apiVersion":"v1"}"#,
            FieldValidation::Warn,
            "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion",
        );
        refused(
            r#"{"apiVersion":"a/b/c","kind":"Pod"}"#,
            FieldValidation::Warn,
            "the object provided is unrecognized (must be of type Pod): unexpected GroupVersion string: a/b/c ({\"apiVersion\":\"a/b/c\",\"kind\":\" ...)",
        );
        refused(
            r#"{"apiVersion":7,"kind":"Pod"}"#,
            FieldValidation::Warn,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .apiVersion of type string ({\"apiVersion\":7,\"kind\":\"Pod\"})",
        );
        refused(
            "[1]",
            FieldValidation::Warn,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b315d)",
        );
        let empty = decode(
            Encoding::Protobuf,
            b"",
            kind("Pod"),
            FieldValidation::Warn,
            &Warnings::default(),
        );
        assert_eq!(
            empty.unwrap_err().message,
            "the object provided is unrecognized (must be of type Pod): empty data (<empty>)"
        );
    }

    #[test]
    fn evictions_of_the_old_version_are_taken() {
        let body = br#"{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"a"},"deleteOptions":{"gracePeriodSeconds":3}}"#;
        let kind = kinds::lookup("policy", "v1", "Eviction").unwrap();
        let warnings = Warnings::default();
        let decoded = decode(
            Encoding::Json,
            body,
            kind,
            FieldValidation::Strict,
            &warnings,
        )
        .unwrap();
        let eviction = decoded
            .object
            .get::<api_types::policy::v1::Eviction>()
            .unwrap();
        let options = eviction.delete_options.as_ref().unwrap();
        assert_eq!(options.grace_period_seconds, Some(3));
    }

    #[test]
    fn findings_become_warnings_by_default() {
        let warnings = Warnings::default();
        let decoded = decode(
            Encoding::Json,
            br#"{"metadata":{"name":"a"},"spec":{"foo":1}}"#,
            kind("Pod"),
            FieldValidation::Warn,
            &warnings,
        )
        .unwrap();
        assert_eq!(
            (
                decoded.kind.as_str(),
                decoded.api_version.as_str(),
                decoded.object.metadata().name.as_str()
            ),
            ("Pod", "v1", "a")
        );
        assert_eq!(
            warnings.headers(),
            ["299 - \"unknown field \\\"spec.foo\\\"\""]
        );
    }

    #[test]
    fn yaml_is_read_as_json() {
        let body = b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n";
        let decoded = decode(
            Encoding::Yaml,
            body,
            kind("Pod"),
            FieldValidation::Strict,
            &Warnings::default(),
        )
        .unwrap();
        assert_eq!(decoded.object.metadata().name, "a");
    }
}

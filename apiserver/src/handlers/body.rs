//! Request bodies: read within a limit, decoded, with field validation. Upstream: endpoints/handlers/rest.go and the
//! strict decoders of the serializers.

use api_types::codec;
use api_types::kinds::{self, KindInfo};
use apimachinery::status::{self, StatusError};
use bytes::Bytes;
use component_base::serving::{Body, CollectError};

use super::options::FieldValidation;
use super::yaml;
use crate::negotiation::Encoding;
use crate::registry::object::Object;
use crate::request::context::Warnings;

/// Bodies above this are refused with 413.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Reads a request's body.
pub async fn read(body: Body) -> Result<Bytes, StatusError> {
    body.collect(LIMIT).await.map_err(|error| match error {
        CollectError::TooLarge { limit } => {
            status::request_entity_too_large(format!("limit is {limit}"))
        }
        CollectError::Read(source) => status::bad_request(source.to_string()),
    })
}

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
            Vec::new(),
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
                findings.into_iter().collect(),
            )
        }
    }
}

fn decode_json(
    json: &[u8],
    body: &[u8],
    kind: &'static KindInfo,
    expected_version: &str,
    validation: FieldValidation,
    warnings: &Warnings,
    mut findings: Vec<String>,
) -> Result<Decoded, StatusError> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct TypeMeta<'a> {
        #[serde(borrow)]
        api_version: Option<std::borrow::Cow<'a, str>>,
        #[serde(borrow)]
        kind: Option<std::borrow::Cow<'a, str>>,
    }
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    let what = match first {
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'0'..=b'9' | b'-') => "number",
        _ => "",
    };
    if !what.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok() {
        let text = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        );
        return Err(unrecognized(kind, text, body));
    }
    // What does not parse here is reported by the decoder below, in Go's words.
    let type_meta: TypeMeta<'_> = serde_json::from_slice(json).unwrap_or_default();
    let (api_version, name) = names(
        type_meta.api_version.as_deref().unwrap_or_default(),
        type_meta.kind.as_deref().unwrap_or_default(),
        expected_version,
        kind,
    );
    let target = target(&api_version, &name, kind)?;
    let mut object = Object::new((target.new)());
    if validation == FieldValidation::Ignore {
        codec::decode_json_into(object.value_mut(), json)
            .map_err(|error| decode_failed(&name, &api_version, kind, error, body))?;
        return Ok(Decoded {
            object,
            api_version,
            kind: name,
        });
    }
    let problems = codec::decode_json_reporting_into(object.value_mut(), json)
        .map_err(|error| decode_failed(&name, &api_version, kind, error, body))?;
    findings.extend(problems.iter().map(ToString::to_string));
    if !findings.is_empty() {
        match validation {
            FieldValidation::Strict => {
                return Err(cannot_be_handled(
                    &name,
                    &api_version,
                    kind,
                    strict_error(&findings),
                ));
            }
            _ => findings
                .into_iter()
                .for_each(|finding| warnings.add(finding)),
        }
    }
    Ok(Decoded {
        object,
        api_version,
        kind: name,
    })
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
        Some(found) => Err(status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {}: converting ({}.{}) to ({}.{}): unknown conversion",
            kind.kind,
            found.version,
            found.kind,
            hub_package(kind.group),
            kind.kind
        ))),
        None => Err(status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {}: no kind {name:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            kind.kind
        ))),
    }
}

/// Upstream's internal package of a group.
fn hub_package(group: &str) -> &str {
    match group {
        "" => "core",
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

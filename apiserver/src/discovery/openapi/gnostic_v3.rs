//! The protobuf form of OpenAPI v3 documents. Upstream: gnostic-models/openapiv3.
//!
//! Made of the JSON form, which is read for it: few clients ask, and none of them often.

use serde_json::{Map, Value};

use super::gnostic::{Message, yaml};

/// A document's message. What is no OpenAPI document gives an empty one.
pub(super) fn document(json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let empty = Map::new();
    let document = value.as_object().unwrap_or(&empty);
    let mut out = Message::default();
    out.member_text(1, document, "openapi");
    if let Some(info) = object(document, "info") {
        out.message(2, |out| {
            out.member_text(1, info, "title");
            out.member_text(2, info, "description");
            out.member_text(6, info, "version");
            out.extensions(7, info);
        });
    }
    if let Some(paths) = object(document, "paths") {
        out.message(4, |out| named(out, 1, paths, path_item));
    }
    if let Some(components) = object(document, "components") {
        out.message(5, |out| {
            if let Some(schemas) = object(components, "schemas") {
                out.message(1, |out| named(out, 1, schemas, schema_or_reference));
            }
            if let Some(schemes) = object(components, "securitySchemes") {
                out.message(7, |out| {
                    named(out, 1, schemes, |out, scheme| {
                        out.message(1, |out| security_scheme(out, scheme));
                    });
                });
            }
        });
    }
    out.extensions(9, document);
    out.into_bytes()
}

fn object<'a>(of: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    of.get(key)?.as_object()
}

/// Messages of a name and a value, for each member but extensions.
fn named(
    out: &mut Message,
    field: u32,
    members: &Map<String, Value>,
    value: impl Fn(&mut Message, &Map<String, Value>),
) {
    let members = members.iter().filter(|(name, _)| !name.starts_with("x-"));
    for (name, member) in members {
        let Some(member) = member.as_object() else {
            continue;
        };
        out.message(field, |out| {
            out.text(1, name);
            out.message(2, |out| value(out, member));
        });
    }
}

/// Either the thing itself or what it refers to.
fn or_reference(
    out: &mut Message,
    value: &Map<String, Value>,
    itself: impl FnOnce(&mut Message, &Map<String, Value>),
) {
    if value.contains_key("$ref") {
        out.message(2, |out| {
            out.member_text(1, value, "$ref");
            out.member_text(2, value, "summary");
            out.member_text(3, value, "description");
        });
    } else {
        out.message(1, |out| itself(out, value));
    }
}

/// A message for each object of a list.
fn each(
    out: &mut Message,
    field: u32,
    list: Option<&Value>,
    value: impl Fn(&mut Message, &Map<String, Value>),
) {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    for item in items.filter_map(Value::as_object) {
        out.message(field, |out| value(out, item));
    }
}

fn path_item(out: &mut Message, item: &Map<String, Value>) {
    out.member_text(2, item, "summary");
    out.member_text(3, item, "description");
    for (field, method) in [
        (4, "get"),
        (5, "put"),
        (6, "post"),
        (7, "delete"),
        (8, "options"),
        (9, "head"),
        (10, "patch"),
        (11, "trace"),
    ] {
        if let Some(value) = object(item, method) {
            out.message(field, |out| operation(out, value));
        }
    }
    parameters(out, 13, item);
    out.extensions(14, item);
}

fn operation(out: &mut Message, value: &Map<String, Value>) {
    out.texts(1, value.get("tags"));
    out.member_text(2, value, "summary");
    out.member_text(3, value, "description");
    out.member_text(5, value, "operationId");
    parameters(out, 6, value);
    if let Some(body) = object(value, "requestBody") {
        out.message(7, |out| {
            or_reference(out, body, |out, body| {
                out.member_text(1, body, "description");
                content(out, 2, body);
                out.member_flag(3, body, "required");
                out.extensions(4, body);
            });
        });
    }
    if let Some(responses) = object(value, "responses") {
        out.message(8, |out| answers(out, responses));
    }
    out.member_flag(10, value, "deprecated");
    out.extensions(13, value);
}

fn answers(out: &mut Message, responses: &Map<String, Value>) {
    const DEFAULT: &str = "default";
    if let Some(default) = object(responses, DEFAULT) {
        out.message(1, |out| or_reference(out, default, response));
    }
    let mut codes = responses.clone();
    codes.remove(DEFAULT);
    named(out, 2, &codes, |out, value| {
        or_reference(out, value, response);
    });
    out.extensions(3, responses);
}

fn response(out: &mut Message, value: &Map<String, Value>) {
    out.member_text(1, value, "description");
    content(out, 3, value);
    out.extensions(5, value);
}

/// Media types and what is in them.
fn content(out: &mut Message, field: u32, of: &Map<String, Value>) {
    if let Some(types) = object(of, "content") {
        out.message(field, |out| {
            named(out, 1, types, |out, media_type| {
                member_schema(out, 1, media_type);
                out.extensions(5, media_type);
            });
        });
    }
}

fn parameters(out: &mut Message, field: u32, of: &Map<String, Value>) {
    each(out, field, of.get("parameters"), |out, value| {
        or_reference(out, value, |out, value| {
            out.member_text(1, value, "name");
            out.member_text(2, value, "in");
            out.member_text(3, value, "description");
            out.member_flag(4, value, "required");
            out.member_flag(5, value, "deprecated");
            out.member_flag(6, value, "allowEmptyValue");
            member_schema(out, 10, value);
            content(out, 13, value);
            out.extensions(14, value);
        });
    });
}

fn security_scheme(out: &mut Message, value: &Map<String, Value>) {
    out.member_text(1, value, "type");
    out.member_text(2, value, "description");
    out.member_text(3, value, "name");
    out.member_text(4, value, "in");
    out.member_text(5, value, "scheme");
    out.extensions(9, value);
}

fn member_schema(out: &mut Message, field: u32, of: &Map<String, Value>) {
    if let Some(value) = object(of, "schema") {
        out.message(field, |out| schema_or_reference(out, value));
    }
}

fn schema_or_reference(out: &mut Message, value: &Map<String, Value>) {
    or_reference(out, value, schema);
}

fn schema(out: &mut Message, value: &Map<String, Value>) {
    out.member_flag(1, value, "nullable");
    out.member_flag(3, value, "readOnly");
    out.member_flag(4, value, "writeOnly");
    if let Some(documents) = object(value, "externalDocs") {
        out.message(6, |out| {
            out.member_text(1, documents, "description");
            out.member_text(2, documents, "url");
        });
    }
    if let Some(example) = value.get("example") {
        out.message(7, |any| any.text(2, &yaml(example)));
    }
    out.member_flag(8, value, "deprecated");
    out.member_text(9, value, "title");
    out.member_double(10, value, "multipleOf");
    out.member_double(11, value, "maximum");
    out.member_flag(12, value, "exclusiveMaximum");
    out.member_double(13, value, "minimum");
    out.member_flag(14, value, "exclusiveMinimum");
    out.member_int(15, value, "maxLength");
    out.member_int(16, value, "minLength");
    out.member_text(17, value, "pattern");
    out.member_int(18, value, "maxItems");
    out.member_int(19, value, "minItems");
    out.member_flag(20, value, "uniqueItems");
    out.member_int(21, value, "maxProperties");
    out.member_int(22, value, "minProperties");
    out.texts(23, value.get("required"));
    let members = value.get("enum").and_then(Value::as_array);
    for member in members.into_iter().flatten() {
        out.message(24, |any| any.text(2, &yaml(member)));
    }
    out.member_text(25, value, "type");
    each(out, 26, value.get("allOf"), schema_or_reference);
    each(out, 27, value.get("oneOf"), schema_or_reference);
    each(out, 28, value.get("anyOf"), schema_or_reference);
    if let Some(not) = object(value, "not") {
        out.message(29, |out| schema(out, not));
    }
    if let Some(items) = object(value, "items") {
        out.message(30, |out| {
            out.message(1, |out| schema_or_reference(out, items));
        });
    }
    if let Some(properties) = object(value, "properties") {
        out.message(31, |out| {
            // Properties may be called anything.
            for (name, property) in properties {
                if let Some(property) = property.as_object() {
                    out.message(1, |out| {
                        out.text(1, name);
                        out.message(2, |out| schema_or_reference(out, property));
                    });
                }
            }
        });
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(allowed)) => out.message(32, |out| out.always_flag(2, *allowed)),
        Some(Value::Object(values)) => out.message(32, |out| {
            out.message(1, |out| schema_or_reference(out, values));
        }),
        _ => {}
    }
    if let Some(default) = value.get("default") {
        out.message(33, |out| match default {
            Value::Number(number) => out.always_double(1, number.as_f64().unwrap_or_default()),
            Value::Bool(flag) => out.always_flag(2, *flag),
            Value::String(text) => out.always_text(3, text),
            // Other defaults have no field.
            _ => {}
        });
    }
    out.member_text(34, value, "description");
    out.member_text(35, value, "format");
    out.extensions(36, value);
}

#[cfg(test)]
mod tests {
    use super::super::sha512_hex;
    use super::*;

    /// The hash is that of what upstream's server sends for the same text.
    #[test]
    fn messages_are_upstreams() {
        let json = r##"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"1.36"},"paths":{"/version/":{"get":{"tags":["version"],"description":"get the version information for this server","operationId":"getCodeVersion","responses":{"200":{"description":"OK","content":{"application/json":{"schema":{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.version.Info"}}}},"401":{"description":"Unauthorized"}}}}},"components":{"schemas":{"io.k8s.apimachinery.pkg.version.Info":{"description":"Info contains versioning information. how we'll want to distribute that information.","type":"object","required":["major","minor","gitVersion","gitCommit","gitTreeState","buildDate","goVersion","compiler","platform"],"properties":{"buildDate":{"type":"string","default":""},"compiler":{"type":"string","default":""},"emulationMajor":{"description":"EmulationMajor is the major version of the emulation version","type":"string"},"emulationMinor":{"description":"EmulationMinor is the minor version of the emulation version","type":"string"},"gitCommit":{"type":"string","default":""},"gitTreeState":{"type":"string","default":""},"gitVersion":{"type":"string","default":""},"goVersion":{"type":"string","default":""},"major":{"description":"Major is the major version of the binary version","type":"string","default":""},"minCompatibilityMajor":{"description":"MinCompatibilityMajor is the major version of the minimum compatibility version","type":"string"},"minCompatibilityMinor":{"description":"MinCompatibilityMinor is the minor version of the minimum compatibility version","type":"string"},"minor":{"description":"Minor is the minor version of the binary version","type":"string","default":""},"platform":{"type":"string","default":""}}}},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}}}}"##;
        let hash = "BB0634395A99FE5159B5D397D0B56D8C2E507D4155D48862695434D633B11FB93A53160F5BF47589CADF5967717C567937BDCCB3C6CE13F86374C436F1FF665B";
        assert_eq!(sha512_hex(&document(json.as_bytes())), hash);
    }

    #[test]
    fn what_is_no_document_gives_nothing() {
        for text in ["", "[]", "{\"paths\": 1, \"components\": []}"] {
            assert_eq!(document(text.as_bytes()), b"", "{text}");
        }
    }
}

//! `apiVersion`, `kind` and `metadata` of embedded resources. Upstream: apiserver/schema/objectmeta.

use api_types::meta::v1::ObjectMeta;
use apimachinery::field::{self, BadValue, Error, ErrorList, Path};
use apimachinery::quote::quote;
use apimachinery::validation::{
    is_dns1035_label, is_path_segment_name, is_path_segment_prefix, validate_object_meta,
};
use serde_json::{Map, Value};

use crate::node::{Additional, Node, Structural};

/// What to do with metadata that is not as it should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoerceOptions {
    /// Drops fields of the wrong type; else they are errors.
    pub drop_invalid: bool,
    /// Collects the paths of fields that metadata does not have.
    pub report_unknown: bool,
}

impl Structural {
    /// Checks the types of `apiVersion`, `kind` and `metadata` in embedded resources, and in the object itself if it is a
    /// whole resource, and drops what metadata does not have. Returns the paths of what was dropped, if asked to.
    pub fn coerce(
        &self,
        object: &mut Value,
        is_resource: bool,
        options: CoerceOptions,
    ) -> Result<Vec<String>, Error> {
        coerce_root(&self.root, &Path::nil(), object, is_resource, options)
    }

    /// What is wrong with `apiVersion`, `kind` and `metadata` of embedded resources, and of the object itself if it is a whole
    /// resource.
    pub fn validate_embedded(&self, object: &Value, path: &Path, is_resource: bool) -> ErrorList {
        validate_root(&self.root, path, object, is_resource)
    }
}

pub(crate) fn coerce_root(
    node: &Node,
    path: &Path,
    value: &mut Value,
    is_resource: bool,
    options: CoerceOptions,
) -> Result<Vec<String>, Error> {
    let mut unknown = Vec::new();
    let embedded = is_resource || node.flags.embedded;
    if embedded || node.flags.has_embedded {
        coerce(node, embedded, path, value, options, &mut unknown)?;
        unknown.sort();
    }
    Ok(unknown)
}

fn coerce(
    node: &Node,
    embedded: bool,
    path: &Path,
    value: &mut Value,
    options: CoerceOptions,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    match value {
        Value::Object(fields) => {
            if embedded {
                coerce_resource(fields, path, options, unknown)?;
            }
            if !node.flags.has_embedded {
                return Ok(());
            }
            for (name, value) in fields.iter_mut() {
                let (child, path) = match (node.property(name), &node.additional) {
                    (Some(property), _) if property.flags.has_embedded => {
                        (property, path.child(name.clone()))
                    }
                    (None, Additional::Schema(values)) if values.flags.has_embedded => {
                        (values, path.key(name.clone()))
                    }
                    _ => continue,
                };
                coerce(child, child.flags.embedded, &path, value, options, unknown)?;
            }
            Ok(())
        }
        Value::Array(items) => {
            let Some(schema) = node.items.as_ref().filter(|node| node.flags.has_embedded) else {
                return Ok(());
            };
            for (index, item) in items.iter_mut().enumerate() {
                let path = path.index(index);
                coerce(schema, schema.flags.embedded, &path, item, options, unknown)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn coerce_resource(
    fields: &mut Map<String, Value>,
    path: &Path,
    options: CoerceOptions,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    for name in ["apiVersion", "kind"] {
        match fields.get(name) {
            None | Some(Value::String(_)) => {}
            Some(_) if options.drop_invalid => {
                fields.remove(name);
            }
            Some(value) => {
                let value = crate::validate::bad(value);
                return Err(field::invalid(&path.child(name), value, "must be a string"));
            }
        }
    }
    let Some(metadata) = fields.get("metadata") else {
        return Ok(());
    };
    let prefix = options
        .report_unknown
        .then(|| path.child("metadata").to_string());
    match read(metadata, options.drop_invalid, prefix.as_deref(), unknown) {
        Ok(meta) => {
            fields.insert("metadata".to_owned(), write(&meta));
            Ok(())
        }
        Err(_) if options.drop_invalid => Ok(()),
        Err(message) => {
            let value = crate::validate::bad(metadata);
            Err(field::invalid(&path.child("metadata"), value, message))
        }
    }
}

/// Reads metadata. With `drop_invalid`, the fields that can be read.
fn read(
    metadata: &Value,
    drop_invalid: bool,
    prefix: Option<&str>,
    unknown: &mut Vec<String>,
) -> Result<ObjectMeta, String> {
    let mut note = |problems: Vec<api_types::FieldProblem>| {
        if let Some(prefix) = prefix {
            let paths = problems.into_iter().map(|problem| problem.path);
            unknown.extend(paths.map(|path| format!("{prefix}.{path}")));
        }
    };
    let error =
        match api_types::decode_json_reporting::<ObjectMeta>(metadata.to_string().as_bytes()) {
            Ok((meta, problems)) => {
                note(problems);
                return Ok(meta);
            }
            Err(error) => error.to_string(),
        };
    if !drop_invalid {
        return Err(error);
    }
    let Value::Object(fields) = metadata else {
        return Err("invalid metadata: expected object".to_owned());
    };
    let mut kept = Map::new();
    for (name, value) in fields {
        let one: Value = [(name.clone(), value.clone())].into_iter().collect();
        if api_types::decode_json::<ObjectMeta>(one.to_string().as_bytes()).is_ok() {
            kept.insert(name.clone(), value.clone());
        }
    }
    let kept = Value::Object(kept).to_string();
    let (meta, problems) =
        api_types::decode_json_reporting(kept.as_bytes()).map_err(|error| error.to_string())?;
    note(problems);
    Ok(meta)
}

fn write(meta: &ObjectMeta) -> Value {
    let mut value = serde_json::from_slice(&api_types::encode_json(meta)).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut value
        && fields.get("creationTimestamp").is_some_and(Value::is_null)
    {
        fields.remove("creationTimestamp");
    }
    value
}

pub(crate) fn validate_root(
    node: &Node,
    path: &Path,
    value: &Value,
    is_resource: bool,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let embedded = is_resource || node.flags.embedded;
    if embedded || node.flags.has_embedded {
        validate(node, embedded, path, value, &mut errors);
    }
    errors
}

fn validate(node: &Node, embedded: bool, path: &Path, value: &Value, errors: &mut ErrorList) {
    match value {
        Value::Object(fields) => {
            if embedded {
                validate_resource(fields, path, errors);
            }
            if !node.flags.has_embedded {
                return;
            }
            for (name, value) in fields {
                let (child, path) = match (node.property(name), &node.additional) {
                    (Some(property), _) if property.flags.has_embedded => {
                        (property, path.child(name.clone()))
                    }
                    (None, Additional::Schema(values)) if values.flags.has_embedded => {
                        (values, path.key(name.clone()))
                    }
                    _ => continue,
                };
                validate(child, child.flags.embedded, &path, value, errors);
            }
        }
        Value::Array(items) => {
            let Some(schema) = node.items.as_ref().filter(|node| node.flags.has_embedded) else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                let path = path.index(index);
                validate(schema, schema.flags.embedded, &path, item, errors);
            }
        }
        _ => {}
    }
}

fn validate_resource(fields: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        if !fields.contains_key(name) {
            errors.push(field::required(&path.child(name), ""));
        }
    }
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        let text = match fields.get(name) {
            None => continue,
            Some(Value::String(text)) => text,
            Some(value) => {
                let value = crate::validate::bad(value);
                errors.push(field::invalid(&path, value, "must be a string"));
                continue;
            }
        };
        if text.is_empty() {
            errors.push(field::invalid(&path, text, "must not be empty"));
        } else if name == "apiVersion" {
            if text.matches('/').count() > 1 {
                let detail = format!("unexpected GroupVersion string: {text}");
                errors.push(field::invalid(&path, text, detail));
            }
        } else {
            let problems = is_dns1035_label(&text.to_lowercase());
            if !problems.is_empty() {
                let problems = problems.join(",");
                let detail = format!("may have mixed case, but should otherwise match: {problems}");
                errors.push(field::invalid(&path, text, detail));
            }
        }
    }
    let Some(metadata) = fields.get("metadata") else {
        return;
    };
    let path = path.child("metadata");
    match read(metadata, false, None, &mut Vec::new()) {
        Ok(mut meta) => {
            if meta.name.is_empty() {
                // An embedded resource needs no name, and validation wants one.
                meta.name = "fakename".to_owned();
            }
            let namespaced = !meta.namespace.is_empty();
            errors.extend(validate_object_meta(&meta, namespaced, segment, &path));
        }
        Err(message) => {
            let value: BadValue = crate::validate::bad(metadata);
            errors.push(field::invalid(&path, value, message));
        }
    }
}

fn segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        is_path_segment_prefix(name)
    } else {
        is_path_segment_name(name)
    }
}

/// What strict field validation says of an unknown field.
pub fn unknown_field(path: &str) -> String {
    format!("unknown field {}", quote(path))
}

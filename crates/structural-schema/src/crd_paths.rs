//! The paths a CRD names: printer columns, selectable fields, the scale subresource. Upstream:
//! pkg/apis/apiextensions/validation/validation.go.

use std::collections::HashSet;

use api_types::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceSubresources, SelectableField,
};
use apimachinery::field::{self, ErrorList, Path};

use crate::field_path::valid_field_path;
use crate::node::{Kind, Structural};

const MAX_SELECTABLE_FIELDS: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];

/// What is wrong with a printer column.
pub fn validate_printer_column(column: &CustomResourceColumnDefinition, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if column.name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    if column.type_.is_empty() {
        errors.push(field::required(&path.child("type"), types));
    } else if !COLUMN_TYPES.contains(&&*column.type_) {
        errors.push(field::invalid(&path.child("type"), &column.type_, types));
    }
    if !column.format.is_empty() && !COLUMN_FORMATS.contains(&&*column.format) {
        let formats = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(field::invalid(
            &path.child("format"),
            &column.format,
            formats,
        ));
    }
    // Upstream names the field as its internal type does.
    let path = path.child("JSONPath");
    if column.json_path.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        starts_with_dot(&column.json_path, &path, &mut errors);
    }
    errors
}

fn starts_with_dot(text: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let fine = text.starts_with('.');
    if !fine {
        let detail = "must be a simple json path starting with .";
        errors.push(field::invalid(path, text, detail));
    }
    fine
}

/// What is wrong with the paths of the scale subresource.
pub fn validate_subresources(subresources: &CustomResourceSubresources, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(scale) = &subresources.scale else {
        return errors;
    };
    for (name, text, parent, detail) in [
        (
            "scale.specReplicasPath",
            &scale.spec_replicas_path,
            ".spec.",
            "should be a json path under .spec",
        ),
        (
            "scale.statusReplicasPath",
            &scale.status_replicas_path,
            ".status.",
            "should be a json path under .status",
        ),
    ] {
        let path = path.child(name);
        if text.is_empty() {
            errors.push(field::required(&path, ""));
        } else if starts_with_dot(text, &path, &mut errors) && !text.starts_with(parent) {
            errors.push(field::invalid(&path, text, detail));
        }
    }
    if let Some(text) = scale
        .label_selector_path
        .as_ref()
        .filter(|text| !text.is_empty())
    {
        let path = path.child("scale.labelSelectorPath");
        let is_below = text.starts_with(".spec.") || text.starts_with(".status.");
        if starts_with_dot(text, &path, &mut errors) && !is_below {
            let detail = "should be a json path under either .spec or .status";
            errors.push(field::invalid(&path, text, detail));
        }
    }
    errors
}

/// What is wrong with the fields by which resources of a CRD can be selected. `may_have_too_many` is for CRDs that already
/// have more than there may be, and did not change them.
pub fn validate_selectable_fields(
    fields: &[SelectableField],
    schema: &Structural,
    path: &Path,
    may_have_too_many: bool,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: HashSet<String> = HashSet::new();
    for (index, selectable) in fields.iter().enumerate() {
        let text = &selectable.json_path;
        let path = path.index(index).child("jsonPath");
        if text.is_empty() {
            errors.push(field::required(&path, ""));
            continue;
        }
        let found = match valid_field_path(text, &schema.root, false) {
            Ok(found) => found,
            Err(error) => {
                let detail = format!("is an invalid path: {error}");
                errors.push(field::invalid(&path, text, detail));
                continue;
            }
        };
        if found.root == "metadata" {
            let detail = "must not point to fields in metadata";
            errors.push(field::invalid(&path, text, detail));
        }
        let is_scalar = found
            .node
            .is_some_and(|node| matches!(node.kind, Kind::String | Kind::Boolean | Kind::Integer));
        if !is_scalar {
            errors.push(field::invalid(
                &path,
                text,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                 are allowed.",
            ));
        }
        let name = found.path.to_string();
        if !seen.insert(name) {
            errors.push(field::duplicate(&path, text));
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS && !may_have_too_many {
        errors.push(field::too_many(
            path,
            Some(seen.len()),
            MAX_SELECTABLE_FIELDS,
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{schema, texts};
    use api_types::apiextensions::v1::CustomResourceSubresourceScale;
    use serde_json::json;

    #[test]
    fn columns_have_types_and_paths() {
        let column = |name: &str, kind: &str, format: &str, path: &str| {
            let column = CustomResourceColumnDefinition {
                name: name.to_owned(),
                type_: kind.to_owned(),
                format: format.to_owned(),
                json_path: path.to_owned(),
                ..Default::default()
            };
            texts(&validate_printer_column(&column, &Path::new("c")))
        };
        assert!(column("a", "string", "", ".spec.a").is_empty());
        assert_eq!(
            column("", "", "", ""),
            [
                "c.name: Required value",
                "c.type: Required value: must be one of boolean,date,integer,number,string",
                "c.JSONPath: Required value",
            ]
        );
        assert_eq!(
            column("a", "object", "x", "spec"),
            [
                "c.type: Invalid value: \"object\": must be one of boolean,date,integer,number,string",
                "c.format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password",
                "c.JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
            ]
        );
    }

    #[test]
    fn scales_are_below_spec_and_status() {
        let check = |spec: &str, status: &str, selector: Option<&str>| {
            let subresources = CustomResourceSubresources {
                scale: Some(Box::new(CustomResourceSubresourceScale {
                    spec_replicas_path: spec.to_owned(),
                    status_replicas_path: status.to_owned(),
                    label_selector_path: selector.map(str::to_owned),
                })),
                ..Default::default()
            };
            texts(&validate_subresources(&subresources, &Path::new("s")))
        };
        assert!(check(".spec.n", ".status.n", Some(".status.selector")).is_empty());
        assert_eq!(
            check("", ".spec.n", Some(".x")),
            [
                "s.scale.specReplicasPath: Required value",
                "s.scale.statusReplicasPath: Invalid value: \".spec.n\": should be a json path under .status",
                "s.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status",
            ]
        );
        assert_eq!(
            check("spec", ".status.n", None),
            [
                "s.scale.specReplicasPath: Invalid value: \"spec\": must be a simple json path starting with ."
            ]
        );
    }

    #[test]
    fn selectable_fields_are_scalars() {
        let schema = schema(json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"type": "object", "properties": {"a": {"type": "string"}, "o": {"type": "object"}}}}}));
        let fields = |paths: &[&str]| -> Vec<SelectableField> {
            let field = |path: &&str| SelectableField {
                json_path: (*path).to_owned(),
            };
            paths.iter().map(field).collect()
        };
        let check = |paths: &[&str], want: &[&str]| {
            let errors =
                validate_selectable_fields(&fields(paths), &schema, &Path::new("f"), false);
            assert_eq!(texts(&errors), want);
        };
        check(&[".spec.a"], &[]);
        check(
            &[
                "",
                ".spec.o",
                ".spec.a",
                ".spec.a",
                ".metadata.name",
                ".spec['a']",
            ],
            &[
                "f[0].jsonPath: Required value",
                "f[1].jsonPath: Invalid value: \".spec.o\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
                "f[3].jsonPath: Duplicate value: \".spec.a\"",
                "f[4].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
                "f[5].jsonPath: Invalid value: \".spec['a']\": is an invalid path: array notation is not allowed",
            ],
        );
    }
}

//! Definitions of types, from the schema tables. Upstream: kube-openapi's generators and its common package.
//!
//! Invariants: a definition's name is the Go import path with its host reversed, and every `$ref` that is written has
//! its target recorded in [`Targets`], so a document's definitions are complete and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use api_types::kinds;
use api_types::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};
use apimachinery::managedfields::ATOMIC_STRUCTS;
use serde_json::{Map, Value, json};

use super::texts;

/// The two forms of the same definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Swagger 2.0: no defaults, no `oneOf`, texts beside a `$ref`.
    V2,
    /// OpenAPI 3.0: a `$ref` with siblings is wrapped into `allOf`.
    V3,
}

/// What a definition is made from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Struct(&'static StructSchema),
    /// A type that marshals itself.
    Special(&'static Special),
}

/// A type that marshals itself, by its definition's name.
#[derive(Debug)]
pub(super) struct Special {
    name: &'static str,
    /// Group and version under which the text is kept.
    described: (&'static str, &'static str),
    ty: &'static str,
    format: &'static str,
    /// Types of the alternatives in the third form.
    one_of: &'static [&'static str],
}

const META: (&str, &str) = ("meta.k8s.io", "v1");

macro_rules! special {
    ($id:ident, $name:literal, $described:expr, $ty:literal, $format:literal, $one_of:expr) => {
        static $id: Special = Special {
            name: $name,
            described: $described,
            ty: $ty,
            format: $format,
            one_of: $one_of,
        };
    };
}

special!(
    QUANTITY,
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    ("", ""),
    "string",
    "",
    &["string", "number"]
);
special!(
    TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    META,
    "string",
    "date-time",
    &[]
);
special!(
    MICRO_TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    META,
    "string",
    "date-time",
    &[]
);
special!(
    DURATION,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
    META,
    "string",
    "",
    &[]
);
special!(
    INT_OR_STRING,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    ("", ""),
    "string",
    "int-or-string",
    &["integer", "string"]
);
special!(
    RAW_EXTENSION,
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    ("", ""),
    "object",
    "",
    &[]
);
special!(
    FIELDS_V1,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    META,
    "object",
    "",
    &[]
);
special!(
    JSON,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    ("apiextensions.k8s.io", "v1"),
    "",
    "",
    &[]
);
special!(
    PATCH,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    META,
    "object",
    "",
    &[]
);

/// The body of a patch request.
pub(super) const PATCH_BODY: Target = Target::Special(&PATCH);

/// The definitions a document needs.
#[derive(Debug, Default)]
pub(super) struct Targets {
    found: BTreeMap<String, Target>,
    pending: Vec<Target>,
}

impl Targets {
    /// Records a use and gives the definition's name.
    pub(super) fn name(&mut self, target: Target) -> String {
        let name = definition_name(target);
        if !self.found.contains_key(&name) {
            self.found.insert(name.clone(), target);
            self.pending.push(target);
        }
        name
    }

    fn reference(&mut self, form: Form, target: Target) -> Value {
        let name = self.name(target);
        reference(form, &name)
    }

    /// All that is used, directly or through other definitions, by name.
    pub(super) fn close(mut self) -> BTreeMap<String, Target> {
        while let Some(target) = self.pending.pop() {
            if let Target::Struct(schema) = target
                && schema.json_form == JsonForm::Object
            {
                for field in schema.json_fields() {
                    if let Some(used) = target_of(&field.ty) {
                        self.name(used);
                    }
                }
            }
        }
        self.found
    }
}

/// A `$ref` to a definition.
pub(super) fn reference(form: Form, name: &str) -> Value {
    match form {
        Form::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Form::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

fn definition_name(target: Target) -> String {
    match target {
        Target::Special(special) => special.name.to_owned(),
        Target::Struct(schema) => {
            let (host, path) = schema
                .package
                .split_once('/')
                .unwrap_or((schema.package, ""));
            let mut out = String::new();
            for part in host.rsplit('.').chain(path.split('/')) {
                out.push_str(part);
                out.push('.');
            }
            out.push_str(schema.name);
            out
        }
    }
}

/// The definition at the bottom of a type.
fn target_of(ty: &TypeRef) -> Option<Target> {
    Some(match ty {
        TypeRef::Struct(schema) => Target::Struct(schema),
        TypeRef::List(inner)
        | TypeRef::WrappedList(inner)
        | TypeRef::Map(inner)
        | TypeRef::Pointer(inner) => return target_of(inner),
        TypeRef::Quantity => Target::Special(&QUANTITY),
        TypeRef::Time => Target::Special(&TIME),
        TypeRef::MicroTime => Target::Special(&MICRO_TIME),
        TypeRef::Duration => Target::Special(&DURATION),
        TypeRef::IntOrString => Target::Special(&INT_OR_STRING),
        TypeRef::RawExtension => Target::Special(&RAW_EXTENSION),
        TypeRef::FieldsV1 => Target::Special(&FIELDS_V1),
        TypeRef::Json => Target::Special(&JSON),
        _ => return None,
    })
}

/// Group and version under which a type's texts are kept.
fn described(schema: &StructSchema) -> (&'static str, &'static str) {
    static PACKAGES: OnceLock<HashMap<&'static str, (&'static str, &'static str)>> =
        OnceLock::new();
    match schema.package {
        "k8s.io/apimachinery/pkg/apis/meta/v1" => META,
        "k8s.io/apimachinery/pkg/version" => ("version", ""),
        package => PACKAGES
            .get_or_init(|| {
                kinds::KINDS
                    .iter()
                    .filter_map(|info| info.schema.kind.map(|kind| (info.schema.package, kind)))
                    .map(|(package, kind)| (package, (kind.group, kind.version)))
                    .collect()
            })
            .get(package)
            .copied()
            .unwrap_or(("", "")),
    }
}

pub(super) const API_VERSION_TEXT: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
pub(super) const KIND_TEXT: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// Which group versions a document's definitions of kinds in every group version name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// All that the server knows.
    Everything,
    /// All that clients know.
    Clients,
    /// The core group and this one.
    GroupVersion(&'a str, &'a str),
}

/// Makes one definition.
pub(super) fn definition(form: Form, target: Target, scope: Scope<'_>) -> Value {
    match target {
        Target::Special(special) => special_definition(form, special),
        Target::Struct(schema) => struct_definition(form, schema, scope),
    }
}

fn special_definition(form: Form, special: &Special) -> Value {
    let mut out = Map::new();
    let (group, version) = special.described;
    let name = special.name.rsplit('.').next().unwrap_or_default();
    if let Some(text) = texts::description(group, version, name, "") {
        out.insert("description".to_owned(), text.into());
    }
    if form == Form::V3 && !special.one_of.is_empty() {
        let alternatives: Vec<Value> = special
            .one_of
            .iter()
            .map(|ty| json!({"type": ty}))
            .collect();
        out.insert("oneOf".to_owned(), alternatives.into());
    } else if !special.ty.is_empty() {
        out.insert("type".to_owned(), special.ty.into());
    }
    if !special.format.is_empty() {
        out.insert("format".to_owned(), special.format.into());
    }
    Value::Object(out)
}

fn struct_definition(form: Form, schema: &'static StructSchema, scope: Scope<'_>) -> Value {
    let mut out = Map::new();
    let (group, version) = described(schema);
    if let Some(text) = texts::description(group, version, schema.name, "") {
        out.insert("description".to_owned(), text.into());
    }
    if schema.json_form != JsonForm::Object {
        return Value::Object(out);
    }
    let mut properties = Map::new();
    if schema.has_type_meta() {
        properties.insert(
            "apiVersion".to_owned(),
            json!({"description": API_VERSION_TEXT, "type": "string"}),
        );
        properties.insert(
            "kind".to_owned(),
            json!({"description": KIND_TEXT, "type": "string"}),
        );
    }
    let mut required = Vec::new();
    for field in schema.json_fields() {
        if properties.contains_key(field.json) {
            continue;
        }
        if field.required {
            required.push(Value::from(field.json));
        }
        properties.insert(
            field.json.to_owned(),
            property(form, (group, version, schema.name), field),
        );
    }
    out.insert("type".to_owned(), "object".into());
    if !properties.is_empty() {
        out.insert("properties".to_owned(), properties.into());
    }
    if !required.is_empty() {
        out.insert("required".to_owned(), required.into());
    }
    if ATOMIC_STRUCTS.contains(&(schema.package, schema.name)) {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let kinds = group_version_kinds(schema, scope);
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
    }
    if let Some((.., unions)) = UNIONS
        .iter()
        .find(|(package, name, ..)| (*package, *name) == (schema.package, schema.name))
        && let Ok(unions) = serde_json::from_str(unions)
    {
        out.insert("x-kubernetes-unions".to_owned(), unions);
    }
    Value::Object(out)
}

fn property(form: Form, owner: (&str, &str, &str), field: &'static FieldSchema) -> Value {
    let (group, version, name) = owner;
    let mut unused = Targets::default();
    let mut out = match type_schema(form, &field.ty, &mut unused) {
        Value::Object(out) => out,
        _ => Map::new(),
    };
    let mut text = texts::description(group, version, name, field.json);
    if let Some((values, meanings)) = texts::enumeration(group, version, name, field.json) {
        if let Ok(values) = serde_json::from_str(values) {
            out.insert("enum".to_owned(), values);
        }
        let text = text.get_or_insert_default();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str("Possible enum values:\n");
        text.push_str(&meanings);
    }
    if let Some((values, _)) =
        texts::enumeration(group, version, name, &format!("{}[]", field.json))
        && let Ok(values) = serde_json::from_str(values)
        && let Some(inner) = out
            .get_mut(if field.ty.list_item().is_some() {
                "items"
            } else {
                "additionalProperties"
            })
            .and_then(Value::as_object_mut)
    {
        inner.insert("enum".to_owned(), values);
    }
    if let Some(text) = text {
        out.insert("description".to_owned(), text.into());
    }
    if form == Form::V3
        && let Some(default) = default_of(field)
    {
        out.insert("default".to_owned(), default);
    }
    if form == Form::V3
        && out.len() > 1
        && let Some(reference) = out.remove("$ref")
    {
        out.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    extensions(field, &mut out);
    Value::Object(out)
}

fn extensions(field: &FieldSchema, out: &mut Map<String, Value>) {
    for (key, value) in [
        ("x-kubernetes-list-type", field.list_type),
        ("x-kubernetes-patch-merge-key", field.patch_merge_key),
        ("x-kubernetes-patch-strategy", field.patch_strategy),
    ] {
        if !value.is_empty() {
            out.insert(key.to_owned(), value.into());
        }
    }
    let map_type = if field.map_type.is_empty() {
        field.struct_type
    } else {
        field.map_type
    };
    if !map_type.is_empty() {
        out.insert("x-kubernetes-map-type".to_owned(), map_type.into());
    }
    if !field.list_map_keys.is_empty() {
        out.insert(
            "x-kubernetes-list-map-keys".to_owned(),
            field.list_map_keys.into(),
        );
    }
}

fn default_of(field: &FieldSchema) -> Option<Value> {
    match field.default {
        "" => {}
        // The two named constants that defaults refer to.
        "ref(AzureDataDiskCachingReadWrite)" => return Some("ReadWrite".into()),
        "ref(AzureSharedBlobDisk)" => return Some("Shared".into()),
        text => {
            if let Ok(value) = serde_json::from_str(text) {
                return Some(value);
            }
        }
    }
    match field.ty {
        TypeRef::Struct(schema) if schema.json_form == JsonForm::Object => Some(json!({})),
        _ if field.omit != Omit::Never => None,
        TypeRef::String => Some("".into()),
        TypeRef::Bool => Some(false.into()),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 => Some(0.into()),
        TypeRef::Float32 | TypeRef::Float64 => Some(0.into()),
        _ => None,
    }
}

fn type_schema(form: Form, ty: &TypeRef, targets: &mut Targets) -> Value {
    match ty {
        TypeRef::String | TypeRef::TimeOrMetaDuration => json!({"type": "string"}),
        TypeRef::Bool => json!({"type": "boolean"}),
        TypeRef::Int32 => json!({"type": "integer", "format": "int32"}),
        TypeRef::Int64 | TypeRef::Uint32 => json!({"type": "integer", "format": "int64"}),
        TypeRef::Float64 => json!({"type": "number", "format": "double"}),
        TypeRef::Float32 => json!({"type": "number", "format": "float"}),
        TypeRef::Bytes => json!({"type": "string", "format": "byte"}),
        TypeRef::Pointer(inner) => type_schema(form, inner, targets),
        TypeRef::List(inner) | TypeRef::WrappedList(inner) => {
            json!({"type": "array", "items": type_schema(form, inner, targets)})
        }
        TypeRef::Map(inner) => {
            json!({"type": "object", "additionalProperties": type_schema(form, inner, targets)})
        }
        other => match target_of(other) {
            Some(target) => targets.reference(form, target),
            None => json!({}),
        },
    }
}

/// The kinds of meta/v1 that upstream registers in every group version, with `x-kubernetes-group-version-kind` saying so.
const EVERYWHERE: &[&str] = &["DeleteOptions", "WatchEvent"];

fn group_version_kinds(schema: &StructSchema, scope: Scope<'_>) -> Vec<Value> {
    let entry = |group: &str, version: &str, kind: &str| json!({"group": group, "kind": kind, "version": version});
    if schema.package != "k8s.io/apimachinery/pkg/apis/meta/v1" {
        return match schema.kind {
            Some(kind) => vec![entry(kind.group, kind.version, kind.kind)],
            None => Vec::new(),
        };
    }
    if !EVERYWHERE.contains(&schema.name) {
        return match schema.kind {
            Some(_) => vec![entry("", "v1", schema.name)],
            None => Vec::new(),
        };
    }
    let mut out = vec![entry("", "v1", schema.name)];
    match scope {
        Scope::GroupVersion("", "v1") => {}
        Scope::GroupVersion(group, version) => out.push(entry(group, version, schema.name)),
        Scope::Everything | Scope::Clients => {
            let all = matches!(scope, Scope::Everything);
            for (group, versions) in REGISTERED
                .iter()
                .filter(|(group, _)| all || !SERVERS_ONLY.contains(group))
            {
                out.extend(
                    versions
                        .iter()
                        .map(|version| entry(group, version, schema.name)),
                );
            }
        }
    }
    out
}

/// The groups of [`REGISTERED`] that are unknown to upstream's clients.
const SERVERS_ONLY: &[&str] = &[
    "admission.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "imagepolicy.k8s.io",
];

/// Group versions that upstream's scheme knows besides the core group, served or not.
const REGISTERED: &[(&str, &[&str])] = &[
    ("admission.k8s.io", &["v1", "v1beta1"]),
    (
        "admissionregistration.k8s.io",
        &["v1", "v1alpha1", "v1beta1"],
    ),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apiregistration.k8s.io", &["v1", "v1beta1"]),
    ("apps", &["v1", "v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["v1", "v1beta1", "v1beta2", "v1beta3"],
    ),
    ("imagepolicy.k8s.io", &["v1alpha1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

/// Types marked as unions: package, name, extension.
const UNIONS: &[(&str, &str, &str)] = &[
    (
        "k8s.io/api/core/v1",
        "AppArmorProfile",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]"#,
    ),
    (
        "k8s.io/api/core/v1",
        "PodSchedulingGroup",
        r#"[{"fields-to-discriminateBy":{"podGroupName":"PodGroupName"}}]"#,
    ),
    (
        "k8s.io/api/core/v1",
        "SeccompProfile",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]"#,
    ),
    (
        "k8s.io/api/flowcontrol/v1",
        "LimitResponse",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"queuing":"Queuing"}}]"#,
    ),
    (
        "k8s.io/api/flowcontrol/v1",
        "PriorityLevelConfigurationSpec",
        r#"[{"discriminator":"type","fields-to-discriminateBy":{"exempt":"Exempt","limited":"Limited"}}]"#,
    ),
    (
        "k8s.io/api/flowcontrol/v1",
        "Subject",
        r#"[{"discriminator":"kind","fields-to-discriminateBy":{"group":"Group","serviceAccount":"ServiceAccount","user":"User"}}]"#,
    ),
    (
        "k8s.io/api/scheduling/v1alpha2",
        "PodGroupSchedulingPolicy",
        r#"[{"fields-to-discriminateBy":{"basic":"Basic","gang":"Gang"}}]"#,
    ),
    (
        "k8s.io/api/scheduling/v1alpha2",
        "PodGroupTemplateReference",
        r#"[{"fields-to-discriminateBy":{"workload":"Workload"}}]"#,
    ),
];

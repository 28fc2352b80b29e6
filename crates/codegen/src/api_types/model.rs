//! The schema folder, read and resolved: which Rust type and which table entry stands for a Go type.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::names;

#[derive(Deserialize)]
pub(crate) struct Package {
    pub group: String,
    pub version: String,
    pub package: String,
    #[serde(default)]
    pub imports: BTreeMap<String, String>,
    pub types: BTreeMap<String, Type>,
    #[serde(skip)]
    pub module: (String, String),
}

#[derive(Deserialize)]
pub(crate) struct Type {
    pub kind: String,
    #[serde(default)]
    pub of: String,
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub introduced: String,
    #[serde(default)]
    pub deprecated: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    pub go: String,
    pub json: String,
    #[serde(rename = "type")]
    pub ty: String,
    #[serde(default)]
    pub omit: String,
    #[serde(default)]
    pub inline: bool,
    #[serde(default)]
    pub proto: String,
    #[serde(default)]
    pub tag: u32,
    #[serde(default)]
    pub patch_strategy: String,
    #[serde(default)]
    pub patch_merge_key: String,
    #[serde(default)]
    pub list_type: String,
    #[serde(default)]
    pub list_map_keys: Vec<String>,
    #[serde(default)]
    pub map_type: String,
    #[serde(default)]
    pub struct_type: String,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub default: String,
    #[serde(default)]
    pub feature_gates: Vec<String>,
}

/// A Go type with its aliases followed.
#[derive(Clone, PartialEq)]
pub(crate) enum Resolved {
    /// A scalar or hand-written type: its Rust name and its `TypeRef` variant.
    Leaf(&'static str, &'static str),
    /// A struct: package and name.
    Struct(String, String),
    List(Box<Resolved>),
    /// A named slice type, wrapped by protobuf where it is not a repeated field.
    NamedList(Box<Resolved>),
    Map(Box<Resolved>),
    Pointer(Box<Resolved>),
}

/// Types that exist in Go but are no API: interfaces, plumbing, and those written by hand.
const SKIPPED: &[(&str, &str)] = &[
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Timestamp"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "InternalEvent"),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSON",
    ),
    ("k8s.io/component-base/logs/api/v1", "TimeOrMetaDuration"),
    ("k8s.io/component-base/logs/api/v1", "LoggingOptions"),
    ("k8s.io/component-base/logs/api/v1", "RuntimeControl"),
];

pub(crate) fn skipped(package: &str, name: &str) -> bool {
    SKIPPED.contains(&(package, name))
}

pub(crate) struct Model {
    pub packages: BTreeMap<String, Package>,
}

impl Model {
    pub(crate) fn load(dir: &Path) -> Result<Model, String> {
        let mut packages = BTreeMap::new();
        let entries =
            std::fs::read_dir(dir).map_err(|err| format!("reading {}: {err}", dir.display()))?;
        for entry in entries {
            let path = entry
                .map_err(|err| format!("reading {}: {err}", dir.display()))?
                .path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if !name.ends_with(".json") || name == "resources.json" {
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .map_err(|err| format!("reading {}: {err}", path.display()))?;
            let mut package: Package = serde_json::from_str(&text)
                .map_err(|err| format!("parsing {}: {err}", path.display()))?;
            if let Some(module) = names::module(&package.package) {
                package.module = module;
                packages.insert(package.package.clone(), package);
            }
        }
        Ok(Model { packages })
    }

    /// Follows a Go type text as seen from a package.
    pub(crate) fn resolve(&self, package: &Package, ty: &str) -> Result<Resolved, String> {
        if let Some(rest) = ty.strip_prefix('*') {
            return Ok(Resolved::Pointer(Box::new(self.resolve(package, rest)?)));
        }
        if ty == "[]byte" {
            return Ok(Resolved::Leaf("ByteString", "Bytes"));
        }
        if let Some(rest) = ty.strip_prefix("[]") {
            return Ok(Resolved::List(Box::new(self.resolve(package, rest)?)));
        }
        if let Some(rest) = ty.strip_prefix("map[") {
            let (_, value) = rest
                .split_once(']')
                .ok_or_else(|| format!("odd map type {ty}"))?;
            return Ok(Resolved::Map(Box::new(self.resolve(package, value)?)));
        }
        let leaf = |rust, table| Ok(Resolved::Leaf(rust, table));
        match ty {
            "string" => return leaf("String", "String"),
            "bool" => return leaf("bool", "Bool"),
            "int32" => return leaf("i32", "Int32"),
            "int64" => return leaf("i64", "Int64"),
            "uint32" => return leaf("u32", "Uint32"),
            "float64" => return leaf("f64", "Float64"),
            "float32" => return leaf("f32", "Float32"),
            "interface{}" => return leaf("JSON", "Json"),
            _ => {}
        }
        let (owner, name) = match ty.split_once('.') {
            Some((alias, name)) => {
                let path = package
                    .imports
                    .get(alias)
                    .ok_or_else(|| format!("{}: no import named {alias}", package.package))?;
                (path.as_str(), name)
            }
            None => (package.package.as_str(), ty),
        };
        match (owner, name) {
            ("k8s.io/apimachinery/pkg/types", _) => return leaf("String", "String"),
            ("k8s.io/apimachinery/pkg/api/resource", _) => return leaf("Quantity", "Quantity"),
            ("k8s.io/apimachinery/pkg/util/intstr", _) => {
                return leaf("IntOrString", "IntOrString");
            }
            ("k8s.io/apimachinery/pkg/runtime", _) => return leaf("RawExtension", "RawExtension"),
            ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time") => return leaf("Time", "Time"),
            ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime") => {
                return leaf("MicroTime", "MicroTime");
            }
            ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration") => {
                return leaf("Duration", "Duration");
            }
            ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1") => {
                return leaf("FieldsV1", "FieldsV1");
            }
            ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSON") => {
                return leaf("JSON", "Json");
            }
            ("k8s.io/component-base/logs/api/v1", "TimeOrMetaDuration") => {
                return leaf("TimeOrMetaDuration", "TimeOrMetaDuration");
            }
            _ => {}
        }
        let home = self
            .packages
            .get(owner)
            .ok_or_else(|| format!("{}: unknown package {owner}", package.package))?;
        let found = home
            .types
            .get(name)
            .ok_or_else(|| format!("{}: unknown type {owner}.{name}", package.package))?;
        if found.kind == "struct" {
            return Ok(Resolved::Struct(owner.to_string(), name.to_string()));
        }
        match self.resolve(home, &found.of)? {
            Resolved::List(inner) => Ok(Resolved::NamedList(inner)),
            other => Ok(other),
        }
    }

    /// Enum values of the string type behind a field, through pointers and lists.
    pub(crate) fn enum_values<'a>(&'a self, package: &'a Package, ty: &str) -> &'a [String] {
        let base = ty.trim_start_matches(['*', '[', ']']);
        let (home, name) = match base.split_once('.') {
            Some((alias, name)) => match package
                .imports
                .get(alias)
                .and_then(|path| self.packages.get(path))
            {
                Some(home) => (home, name),
                None => return &[],
            },
            None => (package, base),
        };
        match home.types.get(name) {
            Some(found) if found.kind == "alias" && found.of == "string" => &found.values,
            Some(found) if found.kind == "alias" && found.of != base => {
                self.enum_values(home, &found.of)
            }
            _ => &[],
        }
    }

    /// Go's printed form of a type: local names are qualified with the package's last element.
    pub(crate) fn go_type(&self, package: &Package, ty: &str) -> String {
        for prefix in ["*", "[]"] {
            if let Some(rest) = ty.strip_prefix(prefix) {
                return format!("{prefix}{}", self.go_type(package, rest));
            }
        }
        if let Some((key, value)) = ty
            .strip_prefix("map[")
            .and_then(|rest| rest.split_once(']'))
        {
            return format!(
                "map[{}]{}",
                self.go_type(package, key),
                self.go_type(package, value)
            );
        }
        match ty {
            "byte" => "uint8".to_string(),
            "string" | "bool" | "int32" | "int64" | "uint32" | "float64" | "float32"
            | "interface{}" => ty.to_string(),
            _ => match ty.split_once('.') {
                Some((alias, name)) => {
                    let path = package.imports.get(alias).map_or(alias, String::as_str);
                    format!("{}.{name}", path.rsplit('/').next().unwrap_or_default())
                }
                None => format!(
                    "{}.{ty}",
                    package.package.rsplit('/').next().unwrap_or_default()
                ),
            },
        }
    }
}

impl Field {
    /// `TypeMeta` embedded in a kind, tagged inline or not tagged at all.
    pub(crate) fn is_type_meta(&self) -> bool {
        self.go == "TypeMeta" && self.ty.rsplit('.').next() == Some("TypeMeta")
    }

    /// The JSON key: Go uses the field's name where there is no tag.
    pub(crate) fn json_key(&self) -> &str {
        match self.json.as_str() {
            "-" => "",
            "" if !self.inline && !self.is_type_meta() => &self.go,
            other => other,
        }
    }

    /// The Rust name.
    pub(crate) fn rust_name(&self) -> String {
        match self.json_key() {
            "" => names::snake(&self.go),
            key => names::snake(key),
        }
    }
}

impl Type {
    pub(crate) fn has_type_meta(&self) -> bool {
        self.fields.first().is_some_and(Field::is_type_meta)
    }

    fn has_metadata(&self, meta: &str) -> bool {
        self.fields
            .iter()
            .any(|field| field.json == "metadata" && field.ty.rsplit('.').next() == Some(meta))
    }

    pub(crate) fn is_object(&self) -> bool {
        self.has_type_meta() && self.has_metadata("ObjectMeta")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.has_type_meta()
            && self.has_metadata("ListMeta")
            && self.fields.iter().any(|field| field.json == "items")
    }
}

//! Documents of custom resources. Upstream: apiextensions-apiserver's controller/openapi and controller/openapiv3.
//!
//! - `definitions`: the kind and its list; `paths`: the operations.
//!
//! Invariants: a [`Custom`] never changes. Of the CustomResourceDefinition it keeps the compressed text alone, and of
//! each form the compressed pieces, made when they are first asked for. The definitions that all custom resources share
//! are kept once.

mod definitions;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use api_types::apiextensions::v1 as apiextensions;
use api_types::resources::ResourceInfo;
use serde_json::Value;

use super::document;
use super::gnostic;
use super::pieces::{Piece, Stored};
use super::schemas::{self, Form, Scope, Targets};

const TITLE: &str = "Kubernetes CRD Swagger";
const VERSION: &str = "v0.1.0";

/// One version of a custom resource, as far as documents depend on it.
struct Description<'a> {
    group: &'a str,
    version: &'a str,
    plural: &'a str,
    kind: &'a str,
    list_kind: &'a str,
    namespaced: bool,
    /// `spec.preserveUnknownFields`.
    preserve: bool,
    status: bool,
    scale: bool,
    schema: Option<&'a Value>,
    selectable: Vec<&'a str>,
}

impl<'a> Description<'a> {
    fn new(spec: &'a Value, version: &'a Value) -> Description<'a> {
        let text = |pointer: &str| {
            spec.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Description {
            group: text("/group"),
            version: version["name"].as_str().unwrap_or_default(),
            plural: text("/names/plural"),
            kind: text("/names/kind"),
            list_kind: text("/names/listKind"),
            namespaced: text("/scope") == apiextensions::resource_scope::NAMESPACED,
            preserve: spec["preserveUnknownFields"] == true,
            status: version.pointer("/subresources/status").is_some(),
            scale: version.pointer("/subresources/scale").is_some(),
            schema: version.pointer("/schema/openAPIV3Schema"),
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|field| field["jsonPath"].as_str())
                .collect(),
        }
    }

    /// The name of a definition.
    fn definition(&self, kind: &str) -> String {
        let group: Vec<&str> = self.group.rsplit('.').collect();
        format!("{}.{}.{kind}", group.join("."), self.version)
    }
}

/// The documents of one CustomResourceDefinition.
#[derive(Debug)]
pub(super) struct Custom {
    group: String,
    /// The served versions.
    versions: Vec<String>,
    spec: Piece,
    fingerprint: String,
    /// The paths of built-in resources in these group versions: those are not hidden.
    taken: BTreeSet<String>,
    second: OnceLock<Second>,
    second_protobuf: OnceLock<Arc<Piece>>,
    /// By the index of the served version.
    third: Vec<OnceLock<Third>>,
}

/// What goes into the tables of the document of the second form.
#[derive(Debug)]
pub(super) struct Second {
    /// Each member begins with its comma.
    pub(super) paths: Arc<Piece>,
    pub(super) definitions: Arc<Piece>,
    pub(super) hash: String,
}

/// What goes into a document of the third form.
#[derive(Clone, Debug)]
struct Third {
    /// Members, each after a comma.
    schemas: Arc<Piece>,
    /// Members, with commas between them.
    paths: Arc<Piece>,
    scale: bool,
}

impl Custom {
    /// `None` when nothing is to be published: the resource is not served yet.
    pub(super) fn new(crd: &apiextensions::CustomResourceDefinition) -> Option<Custom> {
        use apiextensions::custom_resource_definition_condition_type as conditions;
        let is = |ty: &str| {
            crd.status
                .conditions
                .iter()
                .any(|condition| condition.type_ == ty && condition.status == "True")
        };
        if !is(conditions::ESTABLISHED) {
            return None;
        }
        let spec = api_types::encode_json(&crd.spec);
        let versions: Vec<String> = crd
            .spec
            .versions
            .iter()
            .filter(|version| version.served)
            .map(|version| version.name.clone())
            .collect();
        Some(Custom {
            group: crd.spec.group.clone(),
            third: versions.iter().map(|_| OnceLock::new()).collect(),
            versions,
            spec: Piece::new(&spec),
            fingerprint: document::sha512_hex(&spec),
            taken: BTreeSet::new(),
            second: OnceLock::new(),
            second_protobuf: OnceLock::new(),
        })
    }

    /// Leaves the paths of built-in resources out of the document of the second form.
    pub(super) fn beside(mut self, rows: &[&'static ResourceInfo]) -> Custom {
        for version in &self.versions {
            self.taken
                .extend(document::v2_paths(rows, &self.group, version));
        }
        self
    }

    /// Whether both have the same documents.
    pub(super) fn is_same(&self, other: &Custom) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// The names of the documents of the third form that this is part of.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.versions
            .iter()
            .map(|version| super::paths::base_path(&self.group, version)[1..].to_owned())
    }

    fn spec(&self) -> Value {
        // The text is our own.
        serde_json::from_slice(&self.spec.text()).unwrap_or_default()
    }

    fn each_version(&self, mut on: impl FnMut(&Description<'_>)) {
        let spec = self.spec();
        for version in spec["versions"].as_array().into_iter().flatten() {
            if version["served"] == true {
                on(&Description::new(&spec, version));
            }
        }
    }

    /// The members of the document of the second form. The built-in document has the definitions and parameters that
    /// they refer to.
    fn each_second(
        &self,
        mut path: impl FnMut(&str, &Value),
        mut definition: impl FnMut(&str, &Value),
    ) {
        self.each_version(|description| {
            let mut paths = paths::paths(Form::V2, description, &mut Targets::default());
            paths.retain(|name, _| !self.taken.contains(name));
            let mut used = String::new();
            for (name, mut item) in paths {
                document::share_parameters(&mut item, &mut Default::default());
                path(&name, &item);
                if !self.taken.is_empty() {
                    used.push_str(&item.to_string());
                }
            }
            // Items refer to their list, and the list to the kind.
            for (name, value) in definitions::definitions(Form::V2, description) {
                if self.taken.is_empty() || used.contains(&format!("#/definitions/{name}")) {
                    definition(&name, &value);
                }
            }
        });
    }

    pub(super) fn second(&self) -> &Second {
        self.second.get_or_init(|| {
            let (mut paths, mut definitions) = (Vec::new(), Vec::new());
            self.each_second(
                |name, item| member(&mut paths, name, item),
                |name, value| member(&mut definitions, name, value),
            );
            let hash = document::sha512_hex(&[&paths[..], &definitions].concat());
            Second {
                paths: Arc::new(Piece::new(&paths)),
                definitions: Arc::new(Piece::new(&definitions)),
                hash,
            }
        })
    }

    /// The message to append to the built-in document's: readers merge the tables of both.
    pub(super) fn second_protobuf(&self) -> Arc<Piece> {
        let piece = self.second_protobuf.get_or_init(|| {
            let mut paths = Vec::new();
            let mut out = gnostic::Document::default();
            self.each_second(
                |name, item| paths.push((name.to_owned(), item.clone())),
                |name, value| out.definition(name, value),
            );
            for (name, item) in paths {
                out.path(&name, &item);
            }
            Arc::new(Piece::new(&out.tables()))
        });
        piece.clone()
    }

    fn third(&self, name: &str) -> Option<Third> {
        let index = self.names().position(|known| known == name)?;
        let wanted = self.versions.get(index)?;
        let third = self.third.get(index)?.get_or_init(|| {
            let (mut schemas, mut paths, mut scale) = (Vec::new(), Vec::new(), false);
            self.each_version(|description| {
                if description.version != wanted {
                    return;
                }
                scale = description.scale;
                for (name, item) in paths::paths(Form::V3, description, &mut Targets::default()) {
                    member(&mut paths, &name, &item);
                }
                for (name, value) in definitions::definitions(Form::V3, description) {
                    member(&mut schemas, &name, &value);
                }
            });
            Third {
                schemas: Arc::new(Piece::new(&schemas)),
                paths: Arc::new(Piece::new(paths.get(1..).unwrap_or_default())),
                scale,
            }
        });
        Some(third.clone())
    }
}

/// The document of the third form of all resources of a group version.
pub(super) fn third(resources: &[Arc<Custom>], name: &str) -> Stored {
    static COMMA: OnceLock<Arc<Piece>> = OnceLock::new();
    static MIDDLE: OnceLock<Arc<Piece>> = OnceLock::new();
    static END: OnceLock<Arc<Piece>> = OnceLock::new();
    let fixed = |cell: &OnceLock<Arc<Piece>>, text: &str| {
        cell.get_or_init(|| Arc::new(Piece::new(text.as_bytes())))
            .clone()
    };
    let thirds: Vec<Third> = resources
        .iter()
        .filter_map(|custom| custom.third(name))
        .collect();
    let mut pieces = vec![start(thirds.iter().any(|third| third.scale))];
    pieces.extend(thirds.iter().map(|third| third.schemas.clone()));
    pieces.push(fixed(&MIDDLE, r#"}},"paths":{"#));
    for (index, third) in thirds.into_iter().enumerate() {
        if index > 0 {
            pieces.push(fixed(&COMMA, ","));
        }
        pieces.push(third.paths);
    }
    pieces.push(fixed(&END, "}}"));
    Stored::hashed(pieces)
}

/// The start of a document of the third form with the definitions of built-in types.
fn start(scale: bool) -> Arc<Piece> {
    static STARTS: [OnceLock<Arc<Piece>>; 2] = [OnceLock::new(), OnceLock::new()];
    let piece = STARTS[usize::from(scale)].get_or_init(|| {
        let description = Description {
            group: "",
            version: "",
            plural: "",
            kind: "",
            list_kind: "",
            namespaced: true,
            preserve: false,
            status: true,
            scale,
            schema: None,
            selectable: Vec::new(),
        };
        let mut targets = Targets::default();
        paths::paths(Form::V3, &description, &mut targets);
        for schema in [
            &api_types::meta::v1::schema::ObjectMeta,
            &api_types::meta::v1::schema::ListMeta,
        ] {
            targets.name(schemas::Target::Struct(schema));
        }
        let mut members = Vec::new();
        for (name, target) in targets.close() {
            let definition = schemas::definition(Form::V3, target, Scope::Clients);
            member(&mut members, &name, &definition);
        }
        let mut out = format!(
            r#"{{"openapi":"3.0.0","info":{{"title":"{TITLE}","version":"{VERSION}"}},"components":{{"schemas":{{"#
        )
        .into_bytes();
        out.extend_from_slice(members.get(1..).unwrap_or_default());
        Arc::new(Piece::new(&out))
    });
    piece.clone()
}

/// Writes a member of an object after a comma.
pub(super) fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    out.push(b',');
    out.extend_from_slice(Value::from(key).to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(value.to_string().as_bytes());
}

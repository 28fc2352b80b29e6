//! A CRD made ready for requests. Upstream: crdInfo of apiextensions-apiserver/pkg/apiserver/customresource_handler.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api_types::CustomObject;
use api_types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
    JSONSchemaProps, custom_resource_definition_condition_type as condition, resource_scope,
};
use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;
use apimachinery::fields::Selector;
use apimachinery::managedfields::{ObjectType, custom_type};
use structural_schema::Structural;
use structural_schema::json_path::JsonPath;

use super::CustomResourceMetrics;
use super::columns::Columns;
use super::conversion::Webhook;
use super::document;
use super::intern::{self, Names};
use crate::discovery::compare_versions;
use crate::webhook::Webhooks;

/// Why a CRD cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("the schema of version {version} cannot be used: {problem}")]
    Schema {
        version: String,
        problem: structural_schema::Problem,
    },
    #[error("no version is the storage version")]
    NoStorageVersion,
}

/// A CRD.
#[derive(Debug)]
pub struct Definition {
    /// `plural.group`
    pub name: String,
    pub uid: String,
    pub group: &'static str,
    pub kind: &'static str,
    pub list_kind: &'static str,
    pub namespaced: bool,
    /// All versions, served or not, in the order of the CRD.
    pub versions: Vec<Version>,
    /// The version objects are stored in, by its place among the versions.
    pub storage_version: usize,
    /// Who converts; without one, versions differ in their names only.
    pub webhook: Option<Webhook>,
    /// Unknown fields are kept whatever the schemas say.
    pub preserve_unknown_fields: bool,
    /// Its names are its own for good: it is in discovery.
    pub established: bool,
    /// The CRD is being deleted: nothing new is created.
    pub terminating: bool,
    pub metrics: CustomResourceMetrics,
}

/// A version of a CRD.
#[derive(Debug)]
pub struct Version {
    pub info: &'static ResourceInfo,
    pub kind: &'static KindInfo,
    /// `group/version`
    pub api_version: &'static str,
    pub served: bool,
    pub schema: Structural,
    /// The schema of the status, where there is one.
    pub status_schema: Option<Structural>,
    pub has_status: bool,
    pub scale: Option<Box<CustomResourceSubresourceScale>>,
    pub columns: Columns,
    /// Fields that lists and watches can be selected by.
    pub selectable: Vec<(&'static str, JsonPath)>,
    /// What clients of a version on its way out are told.
    pub deprecation: Option<String>,
    /// How objects of this version merge.
    pub object_type: ObjectType,
}

/// Whether a condition of a CRD is true.
pub fn is_true(crd: &CustomResourceDefinition, condition: &str) -> bool {
    let mut conditions = crd.status.conditions.iter();
    conditions.any(|have| have.type_ == condition && have.status == "True")
}

/// Whether a CRD's names are its own, so that it can be served.
pub fn is_accepted(crd: &CustomResourceDefinition) -> bool {
    is_true(crd, condition::NAMES_ACCEPTED) || is_true(crd, condition::ESTABLISHED)
}

impl Definition {
    pub fn new(
        crd: &CustomResourceDefinition,
        webhooks: &Arc<Webhooks>,
        metrics: &CustomResourceMetrics,
    ) -> Result<Definition, DefinitionError> {
        let spec = &crd.spec;
        let storage_version = spec
            .versions
            .iter()
            .position(|version| version.storage)
            .ok_or(DefinitionError::NoStorageVersion)?;
        let terminating = is_true(crd, condition::TERMINATING);
        let versions = spec
            .versions
            .iter()
            .map(|version| {
                let start = Instant::now();
                let made = Version::new(crd, version, &spec.versions[storage_version].name)?;
                if made.schema.has_rules() {
                    metrics.compiled(start);
                }
                Ok(made)
            })
            .collect::<Result<_, _>>()?;
        let names = &crd.status.accepted_names;
        Ok(Definition {
            name: crd.metadata.name.clone(),
            uid: crd.metadata.uid.clone(),
            group: intern::text(&spec.group),
            kind: intern::text(&names.kind),
            list_kind: intern::text(&names.list_kind),
            namespaced: spec.scope == resource_scope::NAMESPACED,
            versions,
            storage_version,
            webhook: Webhook::of(crd, webhooks),
            metrics: metrics.clone(),
            preserve_unknown_fields: spec.preserve_unknown_fields,
            established: is_true(crd, condition::ESTABLISHED),
            terminating,
        })
    }

    /// The version by its `group/version`.
    pub fn version(&self, api_version: &str) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.api_version == api_version)
    }

    pub fn stored(&self) -> &Version {
        &self.versions[self.storage_version]
    }

    /// The selectable fields of all versions.
    pub fn selectable(&self) -> HashMap<&'static str, JsonPath> {
        self.versions
            .iter()
            .flat_map(|version| version.selectable.iter().cloned())
            .collect()
    }
}

/// What is said of a deprecated version where the CRD says nothing: use the newest of the newer ones.
fn deprecation_of(crd: &CustomResourceDefinition, deprecated: &str) -> String {
    let (group, kind) = (&crd.spec.group, &crd.spec.names.kind);
    let newer = crd.spec.versions.iter().filter(|version| {
        version.served && !version.deprecated && compare_versions(&version.name, deprecated).is_gt()
    });
    let replacement = newer
        .max_by(|a, b| compare_versions(&a.name, &b.name))
        .map(|version| format!("; use {group}/{} {kind}", version.name));
    format!(
        "{group}/{deprecated} {kind} is deprecated{}",
        replacement.unwrap_or_default()
    )
}

impl Version {
    fn new(
        crd: &CustomResourceDefinition,
        version: &CustomResourceDefinitionVersion,
        storage_version: &str,
    ) -> Result<Version, DefinitionError> {
        let names = &crd.status.accepted_names;
        let subresources = version.subresources.as_deref();
        let scale = subresources.and_then(|subresources| subresources.scale.clone());
        let has_status = subresources.is_some_and(|subresources| subresources.status.is_some());
        let description = intern::describe(Names {
            group: crd.spec.group.clone(),
            version: version.name.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            kind: names.kind.clone(),
            namespaced: crd.spec.scope == resource_scope::NAMESPACED,
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            status: has_status,
            scale: scale.is_some(),
            storage_version: storage_version.to_owned(),
        });
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_deref());
        // A CRD from the time before schemas were required.
        let none = JSONSchemaProps {
            x_kubernetes_preserve_unknown_fields: Some(true),
            ..JSONSchemaProps::default()
        };
        let structural = Structural::new(schema.unwrap_or(&none)).map_err(|problem| {
            DefinitionError::Schema {
                version: version.name.clone(),
                problem,
            }
        })?;
        let structural = structural.with_pruned_defaults();
        let api_version = intern::text(&format!("{}/{}", crd.spec.group, version.name));
        let deprecation = version.deprecated.then(|| {
            let text = version.deprecation_warning.clone();
            text.unwrap_or_else(|| deprecation_of(crd, &version.name))
        });
        Ok(Version {
            info: description.info,
            kind: description.kind,
            api_version,
            served: version.served,
            status_schema: structural.property("status"),
            schema: structural,
            has_status,
            scale,
            columns: Columns::new(&version.additional_printer_columns),
            selectable: version
                .selectable_fields
                .iter()
                .filter_map(|field| {
                    let name = field
                        .json_path
                        .strip_prefix('.')
                        .unwrap_or(&field.json_path);
                    let path = JsonPath::parse(&field.json_path).ok()?;
                    Some((intern::text(name), path))
                })
                .collect(),
            deprecation,
            object_type: match schema {
                Some(schema) => custom_type(schema, crd.spec.preserve_unknown_fields),
                None => ObjectType::deduced(),
            },
        })
    }

    /// Whether an object of this version has what its selectable fields must have.
    pub fn matches(&self, fields: &Selector, object: &CustomObject) -> bool {
        if fields.is_empty() {
            return true;
        }
        let Ok(document) = document::of(object) else {
            return false;
        };
        let values: HashMap<&str, String> = self
            .selectable
            .iter()
            .filter_map(|(name, path)| Some((*name, path.field_value(&document).ok()?)))
            .collect();
        fields.matches(|field| Some(values.get(field).map_or("", String::as_str)))
    }

    /// The stored name of a field a client selects by, or what is wrong with it.
    pub fn field_label(&self, label: &str) -> Result<String, String> {
        let known = matches!(label, "metadata.name" | "metadata.namespace")
            || self.selectable.iter().any(|(name, _)| *name == label);
        if known {
            return Ok(label.to_owned());
        }
        Err(format!("field label not supported: {label}"))
    }
}

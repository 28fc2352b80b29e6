//! What a row of the table of resources has when a CRD made it: how its objects are read, written and merged.
//! Upstream: customresource_handler.go, crdConversionRESTOptionsGetter and schemaCoercingDecoder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api_types::codec::{self, FieldProblemKind};
use api_types::meta::v1::TypeMeta;
use api_types::{CustomObject, apiextensions::v1::CustomResourceSubresourceScale};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::managedfields::{
    ConversionError, FieldManager, Filter, ObjectType, Path, Set, TypeConverter,
};
use parking_lot::Mutex;
use serde_json::Value;
use structural_schema::{CoerceOptions, unknown_field};
use tokio_util::sync::CancellationToken;

use super::strategy::CustomStrategy;
use super::{Definition, Version, conversion, document};
use crate::registry::object::Object;

/// One served version of a custom resource.
pub struct CustomResource {
    pub definition: Arc<Definition>,
    /// Place among the definition's versions.
    version: usize,
    pub main: CustomStrategy,
    pub status: CustomStrategy,
    /// By subresource, made when first used.
    managers: Mutex<HashMap<String, Arc<FieldManager>>>,
    /// Ends watches when the CRD changes: their clients come back to the new one.
    pub stop: CancellationToken,
}

impl CustomResource {
    pub fn new(
        definition: &Arc<Definition>,
        version: usize,
        stop: CancellationToken,
    ) -> CustomResource {
        let strategy = |status| CustomStrategy::new(definition.clone(), version, status);
        CustomResource {
            definition: definition.clone(),
            version,
            main: strategy(false),
            status: strategy(true),
            managers: Mutex::default(),
            stop,
        }
    }

    pub fn version(&self) -> &Version {
        &self.definition.versions[self.version]
    }

    pub fn scale(&self) -> Option<&CustomResourceSubresourceScale> {
        self.version().scale.as_deref()
    }

    /// apiVersion and kind of this version's objects.
    pub fn type_meta(&self) -> TypeMeta {
        TypeMeta {
            kind: self.definition.kind.to_owned(),
            api_version: self.version().api_version.to_owned(),
        }
    }

    /// An object with nothing but its names.
    pub fn empty(&self) -> Object {
        Object::from(CustomObject {
            type_meta: self.type_meta(),
            ..CustomObject::default()
        })
    }

    /// Reads a JSON text, without defaults. Fields that the schema does not have are dropped; what was dropped, and keys that
    /// were there twice, is returned where `report` asks for it.
    pub fn decode(&self, json: &[u8], report: bool) -> Result<(CustomObject, Vec<String>), String> {
        let mut object = CustomObject::default();
        let problems = if report {
            codec::decode_json_reporting_into(&mut object, json)
        } else {
            codec::decode_json_into(&mut object, json).map(|()| Vec::new())
        };
        // Metadata is decoded on its own upstream, after everything else.
        let problems = problems.map_err(|error| {
            let text = error.to_string();
            text.replace(
                "struct field ObjectMeta.metadata.",
                "struct field ObjectMeta.",
            )
        })?;
        let (duplicate, unknown): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| problem.kind == FieldProblemKind::Duplicate);
        let mut unknown: Vec<String> = unknown.into_iter().map(|problem| problem.path).collect();
        if object.type_meta.api_version == self.version().api_version {
            let definition = &self.definition;
            let found = clean(definition, self.version(), &mut object, false, report)?;
            unknown.extend(found);
        }
        unknown.sort();
        let duplicate = duplicate.iter().map(ToString::to_string);
        let unknown = unknown.iter().map(|path| unknown_field(path));
        Ok((object, duplicate.chain(unknown).collect()))
    }

    /// Fills in this version's defaults.
    pub fn default(&self, object: &mut CustomObject) {
        fill_defaults(self.version(), object);
    }

    /// The object that stored bytes hold, in this version.
    pub fn read(&self, value: &[u8]) -> Result<CustomObject, String> {
        self.read_all(&[value])?
            .pop()
            .ok_or_else(|| "no object".to_owned())
    }

    /// Objects that stored bytes hold, in this version, converted together.
    pub fn read_all(&self, values: &[&[u8]]) -> Result<Vec<CustomObject>, String> {
        let objects = values
            .iter()
            .map(|value| read_stored(&self.definition, value))
            .collect::<Result<Vec<_>, _>>()?;
        self.converted(objects, self.version())
    }

    /// An object of any version of the definition, in this one.
    pub fn in_this_version(&self, object: Object) -> Result<Object, String> {
        match object.get::<CustomObject>() {
            Some(custom) if custom.type_meta.api_version != self.version().api_version => {
                let mut converted = self.converted(vec![custom.clone()], self.version())?;
                let converted = converted.pop().ok_or("conversion lost the object")?;
                Ok(Object::from(converted))
            }
            _ => Ok(object),
        }
    }

    /// Objects in another version than they have, cut down to that version's schema.
    fn converted(
        &self,
        objects: Vec<CustomObject>,
        version: &Version,
    ) -> Result<Vec<CustomObject>, String> {
        let definition = &self.definition;
        if objects
            .iter()
            .all(|object| object.type_meta.api_version == version.api_version)
        {
            return Ok(objects);
        }
        let mut objects = conversion::convert(definition, objects, version.api_version)?;
        for object in &mut objects {
            clean(definition, version, object, false, false)?;
        }
        Ok(objects)
    }

    /// The bytes to store for an object of this version, without its resourceVersion.
    pub fn write(&self, mut object: CustomObject) -> Result<Vec<u8>, String> {
        object.metadata.resource_version.clear();
        object.metadata.self_link.clear();
        let object = self
            .converted(vec![object], self.definition.stored())?
            .pop()
            .ok_or("conversion lost the object")?;
        let mut json = document::json(&object);
        json.push(b'\n');
        Ok(json)
    }

    /// The manager of fields of an endpoint.
    pub fn manager(&self, subresource: &str) -> Arc<FieldManager> {
        let mut managers = self.managers.lock();
        if let Some(manager) = managers.get(subresource) {
            return manager.clone();
        }
        let version = self.version();
        let reset: &[&[&str]] = match subresource {
            "status" => &[&["metadata"], &["spec"]],
            _ if version.has_status => &[&["status"]],
            _ => &[],
        };
        let reset: Set = reset.iter().map(|path| Path::of_fields(path)).collect();
        let reset = if reset.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(version.api_version.to_owned(), Filter::Exclude(reset))])
        };
        let manager = Arc::new(FieldManager::new(
            GroupVersionKind::from_api_version_and_kind(version.api_version, self.definition.kind),
            subresource,
            Arc::new(CustomTypes(self.definition.clone())),
            reset,
        ));
        managers.insert(subresource.to_owned(), manager.clone());
        manager
    }
}

impl std::fmt::Debug for CustomResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.definition.name, self.version().api_version)
    }
}

/// An object as it was stored: cut down to its version's schema, with its defaults.
fn read_stored(definition: &Definition, value: &[u8]) -> Result<CustomObject, String> {
    let mut object = CustomObject::default();
    codec::decode_json_into(&mut object, value).map_err(|error| error.to_string())?;
    if object.metadata.generation == 0 {
        // From the time before custom resources had one.
        object.metadata.generation = 1;
    }
    if let Some(version) = definition.version(&object.type_meta.api_version) {
        clean(definition, version, &mut object, true, false)?;
        fill_defaults(version, &mut object);
    }
    Ok(object)
}

/// What stored bytes hold, as a document of the version they were stored in.
pub fn stored_document(definition: &Definition, value: &[u8]) -> Result<Value, String> {
    let object = read_stored(definition, value)?;
    document::of(&object).map_err(|error| error.to_string())
}

/// Drops what a version's schema does not have. Returns the paths of what that was, if asked to.
fn clean(
    definition: &Definition,
    version: &Version,
    object: &mut CustomObject,
    drop_invalid: bool,
    report_unknown: bool,
) -> Result<Vec<String>, String> {
    let schema = &version.schema;
    let fields = document::content(object).map_err(|error| error.to_string())?;
    let mut content = Value::Object(fields);
    let mut unknown = Vec::new();
    if !definition.preserve_unknown_fields {
        if report_unknown {
            unknown = schema.prune_reporting(&mut content, true);
        } else {
            schema.prune(&mut content, true);
        }
        schema.prune_nulls(&mut content);
    }
    let options = CoerceOptions {
        drop_invalid,
        report_unknown,
    };
    let dropped = schema
        .coerce(&mut content, false, options)
        .map_err(|error| error.to_string())?;
    unknown.extend(dropped);
    if let Value::Object(fields) = content {
        document::set_content(object, fields);
    }
    Ok(unknown)
}

pub fn fill_defaults(version: &Version, object: &mut CustomObject) {
    let Ok(fields) = document::content(object) else {
        return;
    };
    let mut content = Value::Object(fields);
    version.schema.apply_defaults(&mut content);
    if let Value::Object(fields) = content {
        document::set_content(object, fields);
    }
}

/// The types of a definition's versions, for managed fields.
struct CustomTypes(Arc<Definition>);

impl TypeConverter for CustomTypes {
    fn object_type(&self, api_version: &str) -> Option<ObjectType> {
        Some(self.0.version(api_version)?.object_type.clone())
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ConversionError> {
        let definition = &self.0;
        if definition.version(api_version).is_none() {
            return Err(ConversionError::MissingVersion);
        }
        if object["apiVersion"] == api_version {
            return Ok(object.clone());
        }
        let failed = |error: String| ConversionError::Failed(error);
        let object = document::parse_object(object).map_err(|error| failed(error.to_string()))?;
        let mut converted =
            conversion::convert(definition, vec![object], api_version).map_err(failed)?;
        let object = converted.pop().ok_or(ConversionError::MissingVersion)?;
        document::of(&object).map_err(|error| failed(error.to_string()))
    }

    fn empty_object(&self, api_version: &str) -> Value {
        serde_json::json!({"apiVersion": api_version, "kind": self.0.kind})
    }
}

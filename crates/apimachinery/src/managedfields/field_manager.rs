//! Managed fields in terms of objects. Upstream: managedfields/internal fieldmanager.go and the managers it stacks up.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::meta::v1::ManagedFieldsEntry;
use api_types::{FieldsV1, Struct, Time};
use serde_json::Value;

use super::built_in::built_in_type;
use super::conflict::Conflicts;
use super::entries::{
    Manager, Managers, SERVER_FIELDS, cap_update_managers, decode, decode_beside, encode,
    entries_of, is_reset, without_server_fields,
};
use super::last_applied::{KUBECTL, annotation, remaining_conflicts, set_annotation};
use super::schema::ObjectType;
use super::set::{Filter, Set};
use super::typed::{TypedValue, compare_objects, fields_of_created};
use super::updater::{self, Updater, Versioned};
use super::{MAX_UPDATE_MANAGERS, ParseSetError};
use crate::gvk::GroupVersionKind;
use crate::status::{self, StatusError};

/// Why an object could not be converted to another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// The version does not exist (any more). Managers at that version are forgotten.
    #[error("the version does not exist")]
    MissingVersion,
    /// The conversion failed.
    #[error("{0}")]
    Failed(String),
}

/// The types of a kind in its versions.
pub trait TypeConverter: Send + Sync {
    /// The type of objects of the kind at a version (`apps/v1`); `None` if the version does not exist.
    fn object_type(&self, api_version: &str) -> Option<ObjectType>;

    /// Converts an object to a version.
    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ConversionError>;

    /// An object of the kind at a version with nothing set, in the form in which objects are passed in otherwise: for
    /// built-in kinds with those fields that are always written.
    fn empty_object(&self, api_version: &str) -> Value;
}

/// The types of a built-in kind. Conversions between versions are the caller's.
pub struct BuiltInTypes {
    kind: String,
    convert: fn(&Value, &str) -> Result<Value, ConversionError>,
}

impl BuiltInTypes {
    /// A kind that exists in one version only.
    pub fn single_version(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            convert: |_, _| Err(ConversionError::MissingVersion),
        }
    }

    /// A kind with several versions.
    pub fn with_conversion(
        kind: impl Into<String>,
        convert: fn(&Value, &str) -> Result<Value, ConversionError>,
    ) -> Self {
        Self {
            kind: kind.into(),
            convert,
        }
    }
}

impl TypeConverter for BuiltInTypes {
    fn object_type(&self, api_version: &str) -> Option<ObjectType> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        built_in_type(group, version, &self.kind)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ConversionError> {
        (self.convert)(object, api_version)
    }

    fn empty_object(&self, api_version: &str) -> Value {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let written = api_types::kinds::lookup(group, version, &self.kind)
            .and_then(|info| serde_json::from_slice(&api_types::encode_json(&*(info.new)())).ok());
        let mut object: Value = written.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if let Value::Object(fields) = &mut object {
            fields.insert("apiVersion".to_owned(), Value::from(api_version));
            fields.insert("kind".to_owned(), Value::from(self.kind.as_str()));
        }
        object
    }
}

/// Why managed fields could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct UpdateError(String);

/// Why an apply failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// The request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// Other managers own what the apply sets.
    #[error("{}", .0.to_status())]
    Conflicts(Conflicts),
    /// The objects do not fit their types, or something broke.
    #[error("{0}")]
    Other(String),
}

impl ApplyError {
    /// The error as a client sees it. What is neither a bad request nor a conflict is a 500 without a reason, as upstream.
    pub fn to_status(&self) -> StatusError {
        match self {
            Self::BadRequest(message) => status::bad_request(message),
            Self::Conflicts(conflicts) => conflicts.to_status(),
            Self::Other(message) => StatusError::from(api_types::meta::v1::Status {
                status: "Failure".to_owned(),
                code: 500,
                message: message.clone(),
                ..Default::default()
            }),
        }
    }
}

impl From<updater::Error> for ApplyError {
    fn from(error: updater::Error) -> Self {
        match error {
            updater::Error::Conflicts(conflicts) => Self::Conflicts(conflicts),
            updater::Error::Other(message) => Self::Other(message),
        }
    }
}

/// What an apply made.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, without managed fields. It is not defaulted yet.
    pub object: Value,
    /// Its managed fields.
    pub managed_fields: Vec<ManagedFieldsEntry>,
    /// Whether the apply changed the object.
    pub changed: bool,
}

/// Tracks who manages which fields of the objects of a kind, through the resource itself or one of its subresources.
///
/// All objects passed in are at the version of the field manager's kind.
pub struct FieldManager {
    kind: GroupVersionKind,
    api_version: String,
    subresource: String,
    types: Arc<dyn TypeConverter>,
    reset_fields: BTreeMap<String, Filter>,
}

impl FieldManager {
    /// A field manager for a kind at a version. `subresource` is empty for the resource itself. `reset_fields` has by version
    /// what the resource's strategy resets, such as the status on updates of the resource itself.
    pub fn new(
        kind: GroupVersionKind,
        subresource: impl Into<String>,
        types: Arc<dyn TypeConverter>,
        reset_fields: BTreeMap<String, Filter>,
    ) -> Self {
        let api_version = kind.api_version();
        Self {
            kind,
            api_version,
            subresource: subresource.into(),
            types,
            reset_fields,
        }
    }

    /// The kind.
    pub fn kind(&self) -> &GroupVersionKind {
        &self.kind
    }

    /// The type of the kind at its version.
    pub fn object_type(&self) -> Option<ObjectType> {
        self.types.object_type(&self.api_version)
    }

    /// The managed fields of `new` after a create, update or patch by `manager`.
    ///
    /// For a create, `live` is [`TypeConverter::empty_object`]. `now` is the time for entries that change.
    pub fn update(
        &self,
        live: &Value,
        new: &Value,
        manager: &str,
        now: Time,
    ) -> Result<Vec<ManagedFieldsEntry>, UpdateError> {
        let managers =
            self.managers_before(entries_of(live).as_deref(), entries_of(new).as_deref());
        self.update_managers(live, new, managers, manager, now)
            .map(encode)
    }

    /// Like [`FieldManager::update`], and nothing is managed any more if that fails: a write must not fail for bookkeeping.
    pub fn update_no_errors(
        &self,
        live: &Value,
        new: &Value,
        manager: &str,
        now: Time,
    ) -> Vec<ManagedFieldsEntry> {
        self.update(live, new, manager, now).unwrap_or_default()
    }

    /// Like [`FieldManager::update_no_errors`], for objects of the kind's own type; `live` is the zero value for a create.
    ///
    /// `documents` makes the JSON documents of the two (live first), which is asked for only when a manager is at another
    /// version than the field manager.
    pub fn update_objects(
        &self,
        live: &dyn Struct,
        new: &dyn Struct,
        manager: &str,
        now: Time,
        documents: impl FnOnce() -> (Value, Value),
    ) -> Vec<ManagedFieldsEntry> {
        let entries_of = |object: &dyn Struct| {
            let entries = object
                .object_meta()
                .map(|metadata| &metadata.managed_fields);
            entries.filter(|entries| !entries.is_empty()).cloned()
        };
        let managers =
            self.managers_before(entries_of(live).as_deref(), entries_of(new).as_deref());
        if managers
            .values()
            .any(|owned| owned.api_version != self.api_version)
        {
            let (live, new) = documents();
            return self.update_no_errors(&live, &new, manager, now);
        }
        // Objects from before managed fields were tracked are not tracked until the first apply.
        let is_create = live
            .object_meta()
            .is_none_or(|metadata| metadata.uid.is_empty());
        if managers.is_empty() {
            if !is_create {
                return Vec::new();
            }
            if let Some(entry) = self.entry_of_created(live, new, manager, now) {
                return vec![entry];
            }
        }
        let (Ok(comparison), Some(ty)) = (compare_objects(live, new), self.object_type()) else {
            return Vec::new();
        };
        let current = current_operation();
        let mut managers =
            self.updater()
                .update_compared(comparison, &ty, &self.api_version, managers, &current);
        self.rename_current(&current, &mut managers, manager, now);
        cap_update_managers(&mut managers, MAX_UPDATE_MANAGERS);
        encode(managers)
    }

    /// The entry of who creates an object, for those that need no comparison of sets.
    fn entry_of_created(
        &self,
        zero: &dyn Struct,
        new: &dyn Struct,
        manager: &str,
        now: Time,
    ) -> Option<ManagedFieldsEntry> {
        let reset = match self.reset_fields.get(&self.api_version) {
            None => None,
            Some(Filter::Exclude(set)) => Some(set),
            Some(Filter::Include(_)) => return None,
        };
        let fields = fields_of_created(zero, new, reset, &SERVER_FIELDS)?;
        let manager = Manager::update(manager, &self.api_version, &self.subresource);
        Some(ManagedFieldsEntry {
            manager: manager.name,
            operation: manager.operation,
            api_version: manager.api_version,
            time: Some(now),
            fields_type: "FieldsV1".to_owned(),
            fields_v1: Some(FieldsV1::new(fields.into_bytes())),
            subresource: manager.subresource,
        })
    }

    /// The managers before an update. Clients may set managed fields themselves, or reset them; a client that knows nothing
    /// of them keeps them.
    fn managers_before(
        &self,
        live: Option<&[ManagedFieldsEntry]>,
        new: Option<&[ManagedFieldsEntry]>,
    ) -> Managers {
        let of_live = || {
            live.and_then(|entries| decode_beside(entries, entries).ok())
                .unwrap_or_default()
        };
        // What arrives through a subresource does not set metadata.
        if !self.subresource.is_empty() {
            return of_live();
        }
        if is_reset(new) {
            return Managers::new();
        }
        match new.map(|entries| decode_beside(entries, live.unwrap_or_default())) {
            Some(Ok(managers)) if !managers.is_empty() => managers,
            _ => of_live(),
        }
    }

    fn update_managers(
        &self,
        live: &Value,
        new: &Value,
        managers: Managers,
        manager: &str,
        now: Time,
    ) -> Result<Managers, UpdateError> {
        // Objects from before managed fields were tracked are not tracked until the first apply.
        let is_create = live
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty);
        if managers.is_empty() && !is_create {
            return Ok(managers);
        }
        let mut managers = self.track(live, new, managers, manager, now)?;
        cap_update_managers(&mut managers, MAX_UPDATE_MANAGERS);
        Ok(managers)
    }

    fn track(
        &self,
        live: &Value,
        new: &Value,
        managers: Managers,
        manager: &str,
        now: Time,
    ) -> Result<Managers, UpdateError> {
        let live = self.typed(live, true).map_err(|error| {
            UpdateError(format!(
                "failed to convert live object ({}) to smd typed: {error}",
                names(live)
            ))
        })?;
        let typed_new = self.typed(new, true).map_err(|error| {
            UpdateError(format!(
                "failed to convert new object ({}) to smd typed: {error}",
                names(new)
            ))
        })?;
        let current = current_operation();
        let mut managers = self
            .updater()
            .update(&live, &typed_new, managers, &current)
            .map_err(|error| {
                UpdateError(format!(
                    "failed to update ManagedFields ({}): {error}",
                    names(new)
                ))
            })?;
        self.rename_current(&current, &mut managers, manager, now);
        Ok(managers)
    }

    /// What the current operation owns becomes the manager's.
    fn rename_current(&self, current: &Manager, managers: &mut Managers, manager: &str, now: Time) {
        if let Some(mut owned) = managers.remove(current) {
            owned.set = without_server_fields(owned.set);
            if !owned.set.is_empty() {
                let id = Manager::update(manager, &self.api_version, &self.subresource);
                if let Some(previous) = managers.remove(&id) {
                    if previous.set.contains(&owned.set) {
                        owned.set = previous.set;
                        owned.text = previous.text;
                    } else {
                        Arc::make_mut(&mut owned.set).absorb(Arc::unwrap_or_clone(previous.set));
                    }
                }
                owned.time = Some(now);
                managers.insert(id, owned);
            }
        }
    }

    /// Merges the applied configuration into the live object.
    ///
    /// If there is no object yet, `live` is [`TypeConverter::empty_object`]. `now` is the time for the applier's entry if the
    /// object changes.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        manager: &str,
        force: bool,
        now: Time,
    ) -> Result<Applied, ApplyError> {
        let kind = kind_of(config);
        if kind != self.kind {
            return Err(ApplyError::BadRequest(format!(
                "invalid object type: {kind}"
            )));
        }
        let entries = entries_of(live).unwrap_or_default();
        let managers = decode(&entries).map_err(|error| {
            ApplyError::Other(format!("failed to decode managed fields: {error}"))
        })?;
        let mut applied = match self.apply_once(live, config, managers.clone(), manager, force, now)
        {
            // What was applied on the client side and did not change since may be taken over.
            Err(ApplyError::Conflicts(conflicts)) if manager == KUBECTL => {
                let remaining = remaining_conflicts(self, live, conflicts);
                if !remaining.0.is_empty() {
                    return Err(ApplyError::Conflicts(remaining));
                }
                self.apply_once(live, config, managers, manager, true, now)?
            }
            result => result?,
        };
        if manager == KUBECTL && annotation(&applied.object).is_some() {
            set_annotation(&mut applied.object, config);
        }
        Ok(applied)
    }

    fn apply_once(
        &self,
        live: &Value,
        config: &Value,
        managers: Managers,
        manager: &str,
        force: bool,
        now: Time,
    ) -> Result<Applied, ApplyError> {
        let mut managers = managers;
        if managers.is_empty() {
            // Somebody must own what is there already.
            let empty = self.types.empty_object(&self.api_version);
            managers = self
                .track(&empty, live, managers, "before-first-apply", now)
                .map_err(|error| {
                    ApplyError::Other(format!(
                        "failed to create manager for existing fields: {error}"
                    ))
                })?;
            cap_update_managers(&mut managers, MAX_UPDATE_MANAGERS);
        }
        if config
            .pointer("/metadata/managedFields")
            .is_some_and(Value::is_array)
        {
            return Err(ApplyError::BadRequest(
                "metadata.managedFields must be nil".to_owned(),
            ));
        }
        let typed_config = self.typed(config, false).map_err(|error| {
            ApplyError::Other(format!(
                "failed to create typed patch object ({}): {error}",
                names(config)
            ))
        })?;
        let typed_live = self.typed(live, true).map_err(|error| {
            ApplyError::Other(format!(
                "failed to create typed live object ({}): {error}",
                names(live)
            ))
        })?;
        let id = Manager::apply(manager, &self.subresource);
        let (object, mut managers) =
            self.updater()
                .apply(&typed_live, &typed_config, managers, &id, force)?;
        if let Some(mut owned) = managers.remove(&id) {
            owned.set = without_server_fields(owned.set);
            if object.is_some() {
                owned.time = Some(now);
            }
            if !owned.set.is_empty() {
                managers.insert(id, owned);
            }
        }
        let changed = object.is_some();
        let object = object.map_or(typed_live.typed.value, |object| object.typed.value);
        Ok(Applied {
            object,
            managed_fields: encode(managers),
            changed,
        })
    }

    fn updater(&self) -> Updater<'_> {
        Updater {
            types: &*self.types,
            ignore: &self.reset_fields,
        }
    }

    /// The object with its type, without managed fields: nobody manages those.
    fn typed(&self, object: &Value, allow_duplicates: bool) -> Result<Versioned, String> {
        let ty = self
            .object_type()
            .ok_or_else(|| format!("no corresponding type for {}", self.kind))?;
        let mut object = object.clone();
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        let typed =
            TypedValue::new(object, ty, allow_duplicates).map_err(|errors| errors.to_string())?;
        Ok(Versioned {
            typed,
            api_version: self.api_version.clone(),
        })
    }
}

/// A name that nobody has, so that what an operation changed can be told from what its manager had before.
fn current_operation() -> Manager {
    Manager::update("current-operation", "", "")
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    GroupVersionKind::from_api_version_and_kind(text("apiVersion"), text("kind"))
}

/// An object in messages: `namespace/name; group/version, Kind=kind`.
fn names(object: &Value) -> String {
    let text = |name: &str| {
        object
            .pointer(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    format!(
        "{}/{}; {}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        kind_of(object)
    )
}

/// What a manager applied last, cut out of an object. `None` if the manager has no entry. Upstream: `ExtractInto`.
pub fn extract(
    object: &Value,
    ty: &ObjectType,
    manager: &str,
    subresource: &str,
) -> Result<Option<Value>, ExtractError> {
    let entries = entries_of(object).unwrap_or_default();
    let entry = entries
        .iter()
        .find(|e| e.manager == manager && e.operation == "Apply" && e.subresource == subresource);
    let Some(fields) = entry.and_then(|entry| entry.fields_v1.as_ref()) else {
        return Ok(None);
    };
    let set = Set::parse(fields)?;
    let typed = TypedValue::new(object.clone(), ty.clone(), false)
        .map_err(|errors| ExtractError::Type(errors.to_string()))?;
    let mut extracted = typed.extract_items(&set.leaves()).value;
    if let Value::Object(fields) = &mut extracted {
        for name in ["apiVersion", "kind"] {
            if let Some(value) = object.get(name) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
    }
    Ok(Some(extracted))
}

/// Why a manager's fields could not be cut out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The object does not fit its type.
    #[error("error converting obj to typed: {0}")]
    Type(String),
    /// The entry's fields are malformed.
    #[error("error marshalling FieldsV1 to JSON: {0}")]
    Fields(#[from] ParseSetError),
}

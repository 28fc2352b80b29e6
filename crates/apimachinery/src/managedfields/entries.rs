//! Managed fields entries and what they mean. Upstream: managedfields/internal/managedfields.go.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api_types::meta::v1::ManagedFieldsEntry;
use api_types::{FieldsV1, Time};
use serde_json::Value;

use super::parsed;
use super::path::Path;
use super::set::Set;

/// Who an entry is about. Upstream uses the JSON text of these as the key of its maps, and sorts by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Manager {
    /// Name.
    pub name: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// Version, for updates only: an applier is the same in every version.
    pub api_version: String,
    /// Subresource through which the fields were set.
    pub subresource: String,
}

impl Manager {
    /// The manager of an update.
    pub(super) fn update(name: &str, api_version: &str, subresource: &str) -> Self {
        Self {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation: "Update".to_owned(),
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// The manager of an apply.
    pub(super) fn apply(name: &str, subresource: &str) -> Self {
        Self {
            operation: "Apply".to_owned(),
            api_version: String::new(),
            ..Self::update(name, "", subresource)
        }
    }

    /// Upstream's key, for its order.
    fn identifier(&self) -> String {
        let text = |value: &str| crate::field::go_json(&Value::from(value));
        let mut out = String::from("{");
        for (name, value) in [
            ("manager", &self.name),
            ("operation", &self.operation),
            ("apiVersion", &self.api_version),
            ("subresource", &self.subresource),
        ] {
            if !value.is_empty() {
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(&format!("\"{name}\":{}", text(value)));
            }
        }
        out.push('}');
        out
    }
}

impl Ord for Manager {
    fn cmp(&self, other: &Self) -> Ordering {
        // Names without quotes or escapes in them sort as their identifiers do up to the first difference.
        if self == other {
            Ordering::Equal
        } else {
            self.identifier().cmp(&other.identifier())
        }
    }
}

impl PartialOrd for Manager {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owned {
    /// The fields.
    pub set: Arc<Set>,
    /// The version in which the paths are.
    pub api_version: String,
    /// Whether the manager applies.
    pub applied: bool,
    /// When the entry changed last.
    pub time: Option<Time>,
    /// The fields as they are stored, while they are the same.
    pub text: Option<FieldsV1>,
}

impl Owned {
    /// Sets the fields.
    pub(super) fn set_fields(&mut self, set: Set) {
        if *self.set != set {
            self.text = None;
            self.set = Arc::new(set);
        }
    }

    /// Takes fields out.
    pub(super) fn lose(&mut self, fields: &Set) {
        if self.set.meets(fields) {
            Arc::make_mut(&mut self.set).remove(fields);
            self.text = None;
        }
    }
}

/// All managers of an object.
pub(super) type Managers = BTreeMap<Manager, Owned>;

/// Why entries make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The operation is neither of the two.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// There is no version.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// There is no format.
    #[error("missing fieldsType in managed fields entry {0}")]
    MissingFieldsType(usize),
    /// The format is unknown.
    #[error("invalid fieldsType {} in managed fields entry {}", crate::quote::quote(.0), .1)]
    FieldsType(String, usize),
    /// The fields are malformed.
    #[error("error decoding set: {0}")]
    Fields(#[from] super::fields_v1::ParseSetError),
}

/// Checks that entries can be understood. Upstream: `ValidateManagedFields`.
pub fn decode_managed_fields(entries: &[ManagedFieldsEntry]) -> Result<(), DecodeError> {
    decode(entries).map(|_| ())
}

pub(super) fn decode(entries: &[ManagedFieldsEntry]) -> Result<Managers, DecodeError> {
    decode_beside(entries, &[])
}

/// The managers in entries of which some are those of the stored object: their text need not be written anew.
pub(super) fn decode_beside(
    entries: &[ManagedFieldsEntry],
    stored: &[ManagedFieldsEntry],
) -> Result<Managers, DecodeError> {
    let mut managers = Managers::new();
    for (i, entry) in entries.iter().enumerate() {
        let applied = match entry.operation.as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return Err(DecodeError::Operation),
        };
        if entry.api_version.is_empty() {
            return Err(DecodeError::ApiVersion);
        }
        match entry.fields_type.as_str() {
            "FieldsV1" => {}
            "" => return Err(DecodeError::MissingFieldsType(i)),
            other => return Err(DecodeError::FieldsType(other.to_owned(), i)),
        }
        let fields = entry.fields_v1.as_ref();
        let set = fields.map_or_else(|| Ok(Arc::default()), parsed::parse)?;
        let manager = Manager {
            name: entry.manager.clone(),
            operation: entry.operation.clone(),
            api_version: if applied {
                String::new()
            } else {
                entry.api_version.clone()
            },
            subresource: entry.subresource.clone(),
        };
        let owned = Owned {
            set,
            api_version: entry.api_version.clone(),
            applied,
            time: entry.time,
            text: entry
                .fields_v1
                .as_ref()
                .filter(|text| {
                    let same = stored.get(i).and_then(|entry| entry.fields_v1.as_ref());
                    same == Some(*text)
                })
                .cloned(),
        };
        managers.insert(manager, owned);
    }
    Ok(managers)
}

pub(super) fn encode(managers: Managers) -> Vec<ManagedFieldsEntry> {
    let mut entries: Vec<ManagedFieldsEntry> = managers
        .into_iter()
        .map(|(manager, owned)| ManagedFieldsEntry {
            manager: manager.name,
            operation: if owned.applied {
                "Apply".to_owned()
            } else {
                manager.operation
            },
            api_version: owned.api_version,
            time: owned.time,
            fields_type: "FieldsV1".to_owned(),
            fields_v1: Some(owned.text.unwrap_or_else(|| owned.set.to_fields_v1())),
            subresource: manager.subresource,
        })
        .collect();
    entries.sort_by(|a, b| {
        a.operation
            .cmp(&b.operation)
            .then_with(|| seconds(a.time).cmp(&seconds(b.time)))
            .then_with(|| a.manager.cmp(&b.manager))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    entries
}

fn seconds(time: Option<Time>) -> i64 {
    time.map_or(0, |time| time.timestamp().as_second())
}

/// The entries in an object's metadata; `None` if it has no list of them. Entries that are no objects count as empty.
pub(super) fn entries_of(object: &Value) -> Option<Vec<ManagedFieldsEntry>> {
    let list = object.get("metadata")?.get("managedFields")?.as_array()?;
    let entry = |value: &Value| {
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        ManagedFieldsEntry {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            time: value
                .get("time")
                .and_then(Value::as_str)
                .and_then(|time| Time::parse(time).ok()),
            fields_type: text("fieldsType"),
            fields_v1: value
                .get("fieldsV1")
                .filter(|fields| !fields.is_null())
                .map(|fields| api_types::FieldsV1::new(fields.to_string().into_bytes())),
            subresource: text("subresource"),
        }
    };
    Some(list.iter().map(entry).collect())
}

/// Whether a client asks to forget all managers: an empty list, or one entry with nothing in it.
pub(super) fn is_reset(entries: Option<&[ManagedFieldsEntry]>) -> bool {
    match entries {
        None => false,
        Some([]) => true,
        Some([only]) => *only == ManagedFieldsEntry::default(),
        Some(_) => false,
    }
}

/// Puts the oldest updaters together until there are no more than `max`. They go into one entry per version, named
/// `ancient-changes`.
pub(super) fn cap_update_managers(managers: &mut Managers, max: usize) {
    let mut updaters: Vec<(i64, Manager)> = managers
        .iter()
        .filter(|(_, owned)| !owned.applied)
        .map(|(manager, owned)| (seconds(owned.time), manager.clone()))
        .collect();
    let mut count = updaters.len();
    if count <= max {
        return;
    }
    updaters.sort();
    let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
    for (_, manager) in updaters {
        if count <= max {
            return;
        }
        let Some(version) = managers
            .get(&manager)
            .map(|owned| owned.api_version.clone())
        else {
            continue;
        };
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, manager);
            continue;
        };
        let bucket = Manager::update("ancient-changes", &version, "");
        if !managers.contains_key(&bucket)
            && let Some(owned) = managers.remove(first)
        {
            managers.insert(bucket.clone(), owned);
        }
        if manager == bucket {
            // An older bucket is what the others go into.
            continue;
        }
        if let Some(owned) = managers.remove(&manager)
            && let Some(all) = managers.get_mut(&bucket)
        {
            all.set_fields(owned.set.union(&all.set));
            all.time = owned.time;
            count -= 1;
        }
    }
}

/// Fields of metadata that the server sets, and that nobody owns.
pub(super) static SERVER_FIELDS: LazyLock<Set> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    ["apiVersion", "kind", "metadata"]
        .into_iter()
        .map(|name| Path::of_fields(&[name]))
        .chain(
            metadata
                .into_iter()
                .map(|name| Path::of_fields(&["metadata", name])),
        )
        .collect()
});

/// A set without [`SERVER_FIELDS`].
pub(super) fn without_server_fields(mut set: Arc<Set>) -> Arc<Set> {
    if set.meets(&SERVER_FIELDS) {
        Arc::make_mut(&mut set).remove(&SERVER_FIELDS);
    }
    set
}

/// Takes back new times in entries of an object that did not change otherwise, so that an apply that changes nothing does not
/// make a new version of the object. Returns whether times were taken back.
///
/// `same_besides_managed_fields` compares the objects without their managed fields; it is asked only when all else says that
/// nothing changed. Upstream: apiserver's `IgnoreManagedFieldsTimestampsTransformer`.
pub fn revert_timestamp_updates(
    old: &[ManagedFieldsEntry],
    new: &mut [ManagedFieldsEntry],
    same_besides_managed_fields: impl FnOnce() -> bool,
) -> bool {
    let same_besides_time = |a: &ManagedFieldsEntry, b: &ManagedFieldsEntry| {
        a.manager == b.manager
            && a.operation == b.operation
            && a.api_version == b.api_version
            && a.fields_type == b.fields_type
            && a.fields_v1 == b.fields_v1
            && a.subresource == b.subresource
    };
    if old.len() != new.len()
        || old.iter().zip(new.iter()).all(|(a, b)| a.time == b.time)
        || !old
            .iter()
            .zip(new.iter())
            .all(|(a, b)| same_besides_time(a, b))
        || !same_besides_managed_fields()
    {
        return false;
    }
    for (entry, before) in new.iter_mut().zip(old) {
        entry.time = before.time;
    }
    true
}

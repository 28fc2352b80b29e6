//! Who owns which field. Upstream: apimachinery/pkg/util/managedfields and endpoints/handlers/fieldmanager.

use super::object::Object;
use super::resource::Resource;

/// Keeps the record of the stored object when an update sends none.
pub fn update(
    _resource: &Resource,
    live: Option<&Object>,
    object: &mut Object,
    _manager: &str,
    _subresource: &str,
) {
    if let Some(live) = live {
        let managed_fields = live.metadata().managed_fields.clone();
        object.edit_metadata(|metadata| metadata.managed_fields = managed_fields);
    }
}

/// An update that changes nothing but times in managedFields is no change: the old entries stay.
pub fn ignore_timestamp_changes(object: &mut Object, old: &Object) {
    let same = {
        let (new, old) = (
            &object.metadata().managed_fields,
            &old.metadata().managed_fields,
        );
        new.len() == old.len()
            && new.iter().zip(old).all(|(new, old)| {
                let mut new = new.clone();
                new.time = old.time;
                new == *old
            })
    };
    if !same || !object.equals_besides_metadata(old) {
        return;
    }
    let mut new_metadata = object.metadata().clone();
    let old_metadata = old.metadata();
    new_metadata
        .managed_fields
        .clone_from(&old_metadata.managed_fields);
    new_metadata
        .resource_version
        .clone_from(&old_metadata.resource_version);
    if new_metadata == *old_metadata {
        let managed_fields = old_metadata.managed_fields.clone();
        object.edit_metadata(|metadata| metadata.managed_fields = managed_fields);
    }
}

/// Applies a configuration to the live object.
pub fn apply(
    _resource: &Resource,
    _live: Option<&Object>,
    _configuration: &serde_json::Value,
    _manager: &str,
    _subresource: &str,
    _force: bool,
) -> Result<Object, apimachinery::status::StatusError> {
    Err(apimachinery::status::internal(
        "server-side apply is not available yet",
    ))
}

/// Applies a configuration of a scale.
pub fn apply_scale(
    _resource: &Resource,
    _existing: &Object,
    _scale: &Object,
    _configuration: &[u8],
    _manager: &str,
    _force: bool,
) -> Result<Object, apimachinery::status::StatusError> {
    Err(apimachinery::status::internal(
        "server-side apply is not available yet",
    ))
}

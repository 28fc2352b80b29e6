//! Owner references: who controls an object. Upstream: apimachinery/pkg/apis/meta/v1 controller_ref.go.

use api_types::Object;
use api_types::meta::v1::{ObjectMeta, OwnerReference};

use crate::gvk::GroupVersionKind;

/// The reference to the object's controller, if it has one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .find(|reference| reference.controller == Some(true))
}

/// Whether `owner` is the object's controller. Only the uid decides.
pub fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|reference| reference.uid == owner.uid)
}

/// A reference that makes `owner` the controller, and blocks its deletion in the foreground.
pub fn new_controller_ref<T: Object>(owner: &T) -> OwnerReference {
    new_controller_ref_for(owner.metadata(), &GroupVersionKind::of::<T>())
}

/// Like [`new_controller_ref`] for an owner whose kind is known only at run time.
pub fn new_controller_ref_for(owner: &ObjectMeta, kind: &GroupVersionKind) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::apps::v1::ReplicaSet;

    #[test]
    fn controller_references() {
        let mut owner = ReplicaSet::default();
        owner.metadata.name = "web".to_owned();
        owner.metadata.uid = "1".to_owned();
        let reference = new_controller_ref(&owner);
        assert_eq!(
            (reference.api_version.as_str(), reference.kind.as_str()),
            ("apps/v1", "ReplicaSet")
        );
        assert_eq!(
            (reference.controller, reference.block_owner_deletion),
            (Some(true), Some(true))
        );

        let mut meta = ObjectMeta::default();
        assert!(controller_of(&meta).is_none());
        assert!(!is_controlled_by(&meta, &owner.metadata));
        meta.owner_references.push(OwnerReference {
            uid: "0".to_owned(),
            ..Default::default()
        });
        assert!(controller_of(&meta).is_none());
        meta.owner_references.push(reference);
        assert!(is_controlled_by(&meta, &owner.metadata));
        owner.metadata.uid = "2".to_owned();
        assert!(!is_controlled_by(&meta, &owner.metadata));
    }
}

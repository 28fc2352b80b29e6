//! Which volume suits a claim. Upstream: k8s.io/component-helpers/storage/volume and pkg/controller/volume/persistentvolume/index.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use api_types::meta::v1::ObjectMeta;
use api_types::storage::v1::StorageClass;

use super::super::SyncError;
use super::super::controller_ref::selector_of;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The class of a claim; "" is none.
pub(super) fn claim_class(claim: &PersistentVolumeClaim) -> String {
    match claim.metadata.annotations.get(CLASS_ANNOTATION) {
        Some(class) => class.clone(),
        None => claim.spec.storage_class_name.clone().unwrap_or_default(),
    }
}

/// Whether the claim names a class, be it none.
pub(super) fn names_class(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.annotations.contains_key(CLASS_ANNOTATION)
        || claim.spec.storage_class_name.is_some()
}

fn volume_class(volume: &PersistentVolume) -> &str {
    volume
        .metadata
        .annotations
        .get(CLASS_ANNOTATION)
        .unwrap_or(&volume.spec.storage_class_name)
}

/// The class for claims that name none: the newest of those marked so.
pub(super) fn default_class(classes: &[Arc<StorageClass>]) -> Option<Arc<StorageClass>> {
    let is_default = |metadata: &ObjectMeta| {
        DEFAULT_CLASS.iter().any(|key| {
            metadata
                .annotations
                .get(*key)
                .is_some_and(|value| value == "true")
        })
    };
    classes
        .iter()
        .filter(|class| is_default(&class.metadata))
        .min_by_key(|class| {
            (
                std::cmp::Reverse(class.metadata.creation_timestamp.unix()),
                class.metadata.name.clone(),
            )
        })
        .cloned()
}

/// The volume is reserved for the claim, or bound to it.
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
    })
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    claim
        .spec
        .resources
        .requests
        .get("storage")
        .cloned()
        .unwrap_or_default()
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    volume
        .spec
        .capacity
        .get("storage")
        .cloned()
        .unwrap_or_default()
}

/// Block and filesystem volumes do not mix.
pub(super) fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    mode(&claim.spec.volume_mode) != mode(&volume.spec.volume_mode)
}

fn has_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim
        .spec
        .access_modes
        .iter()
        .all(|mode| volume.spec.access_modes.contains(mode))
}

fn attributes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    name(&claim.spec.volume_attributes_class_name)
        != name(&volume.spec.volume_attributes_class_name)
}

/// Why a volume that a claim names does not suit it.
pub(super) fn check(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Result<(), String> {
    let problem = if volume.metadata.deletion_timestamp.is_some() {
        return Err(format!(
            "the volume is marked for deletion {:?}",
            volume.metadata.name
        ));
    } else if capacity(volume).value() < requested(claim).value() {
        "requested PV is too small"
    } else if volume_class(volume) != claim_class(claim) {
        "storageClassName does not match"
    } else if attributes_differ(claim, volume) {
        "volumeAttributesClassName does not match"
    } else if modes_differ(claim, volume) {
        "incompatible volumeMode"
    } else if !has_modes(volume, claim) {
        "incompatible accessMode"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

/// The best volume for a claim: one that is reserved for it, else the smallest that suits among those with the fewest access modes.
/// With `delay` only a reserved one, since the scheduler chooses for the others.
pub(super) fn find(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delay: bool,
) -> Result<Option<Arc<PersistentVolume>>, SyncError> {
    let selector = match &claim.spec.selector {
        Some(selector) => Some(selector_of(Some(selector))?),
        None => None,
    };
    let class = claim_class(claim);
    let mut groups: BTreeMap<(usize, Vec<String>), Vec<&Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes.iter().filter(|volume| has_modes(volume, claim)) {
        let mut modes = volume.spec.access_modes.clone();
        modes.sort();
        modes.dedup();
        groups.entry((modes.len(), modes)).or_default().push(volume);
    }
    for group in groups.into_values() {
        let suitable: Vec<_> = group
            .into_iter()
            .filter(|volume| {
                (volume.spec.claim_ref.is_none() || is_bound_to(volume, claim))
                    && capacity(volume) >= requested(claim)
                    && !modes_differ(claim, volume)
                    && !attributes_differ(claim, volume)
                    && volume.metadata.deletion_timestamp.is_none()
            })
            .collect();
        if let Some(reserved) = suitable.iter().find(|volume| is_bound_to(volume, claim)) {
            return Ok(Some(Arc::clone(reserved)));
        }
        if delay {
            continue;
        }
        let smallest = suitable
            .into_iter()
            .filter(|volume| {
                volume.status.phase == "Available"
                    && selector
                        .as_ref()
                        .is_none_or(|selector| selector.matches(&volume.metadata.labels))
                    && volume_class(volume) == class
            })
            .min_by(|a, b| {
                capacity(a)
                    .cmp(&capacity(b))
                    .then_with(|| a.metadata.name.cmp(&b.metadata.name))
            });
        if let Some(smallest) = smallest {
            return Ok(Some(smallest.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use api_types::Time;
    use api_types::core::v1::ObjectReference;

    use super::*;

    fn volume(name: &str, size: &str, modes: &[&str]) -> PersistentVolume {
        let mut volume = PersistentVolume::default();
        volume.metadata.name = name.into();
        volume
            .spec
            .capacity
            .insert("storage".into(), Quantity::parse(size).unwrap());
        volume.spec.access_modes = modes.iter().map(|mode| (*mode).into()).collect();
        volume.status.phase = "Available".into();
        volume
    }

    fn claim(size: &str, modes: &[&str]) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "claim".into();
        claim.metadata.namespace = "ns".into();
        claim.metadata.uid = "u".into();
        claim.spec.access_modes = modes.iter().map(|mode| (*mode).into()).collect();
        claim
            .spec
            .resources
            .requests
            .insert("storage".into(), Quantity::parse(size).unwrap());
        claim
    }

    fn reference(name: &str, uid: &str) -> Option<Box<ObjectReference>> {
        Some(Box::new(ObjectReference {
            name: name.into(),
            namespace: "ns".into(),
            uid: uid.into(),
            ..Default::default()
        }))
    }

    #[track_caller]
    fn check_found(
        claim: &PersistentVolumeClaim,
        volumes: &[PersistentVolume],
        delay: bool,
        expected: Option<&str>,
    ) {
        let volumes: Vec<_> = volumes.iter().cloned().map(Arc::new).collect();
        let found = find(claim, &volumes, delay).unwrap();
        assert_eq!(
            found.as_ref().map(|volume| volume.metadata.name.as_str()),
            expected
        );
    }

    #[test]
    fn the_smallest_with_the_fewest_modes_is_chosen() {
        let all = [
            volume("big", "10Gi", &["ReadWriteOnce"]),
            volume("fits", "5Gi", &["ReadWriteOnce"]),
            volume("exact", "4Gi", &["ReadWriteOnce", "ReadOnlyMany"]),
            volume("small", "1Gi", &["ReadWriteOnce"]),
        ];
        check_found(&claim("4Gi", &["ReadWriteOnce"]), &all, false, Some("fits"));
        check_found(&claim("4Gi", &["ReadOnlyMany"]), &all, false, Some("exact"));
        check_found(&claim("4Gi", &["ReadWriteMany"]), &all, false, None);
        check_found(&claim("20Gi", &["ReadWriteOnce"]), &all, false, None);
        check_found(&claim("4Gi", &["ReadWriteOnce"]), &all, true, None);
    }

    #[test]
    fn reserved_volumes_come_first_and_only_for_their_claim() {
        let mut reserved = volume("reserved", "50Gi", &["ReadWriteOnce"]);
        reserved.spec.claim_ref = reference("claim", "");
        let mut other = volume("other", "4Gi", &["ReadWriteOnce"]);
        other.spec.claim_ref = reference("another", "");
        let all = [
            other.clone(),
            volume("fits", "4Gi", &["ReadWriteOnce"]),
            reserved,
        ];
        check_found(
            &claim("4Gi", &["ReadWriteOnce"]),
            &all,
            false,
            Some("reserved"),
        );
        check_found(
            &claim("4Gi", &["ReadWriteOnce"]),
            &all,
            true,
            Some("reserved"),
        );
        check_found(&claim("4Gi", &["ReadWriteOnce"]), &[other], false, None);
    }

    #[test]
    fn everything_must_fit() {
        let ours = claim("4Gi", &["ReadWriteOnce"]);
        let verdict = |change: fn(&mut PersistentVolume), expected: Result<(), &str>| {
            let mut volume = volume("v", "5Gi", &["ReadWriteOnce"]);
            change(&mut volume);
            assert_eq!(check(&volume, &ours), expected.map_err(ToOwned::to_owned));
            check_found(&ours, &[volume], false, expected.ok().map(|()| "v"));
        };
        verdict(|_| {}, Ok(()));
        verdict(
            |v| v.spec.storage_class_name = "fast".into(),
            Err("storageClassName does not match"),
        );
        verdict(
            |v| v.spec.volume_mode = Some("Block".into()),
            Err("incompatible volumeMode"),
        );
        verdict(
            |v| v.spec.access_modes.clear(),
            Err("incompatible accessMode"),
        );
        verdict(
            |v| v.metadata.deletion_timestamp = Some(Time::from_unix(1)),
            Err("the volume is marked for deletion \"v\""),
        );
        verdict(
            |v| v.spec.volume_attributes_class_name = Some("gold".into()),
            Err("volumeAttributesClassName does not match"),
        );
    }

    #[test]
    fn default_classes() {
        let class = |name: &str, default: bool, created: i64| {
            let mut class = StorageClass::default();
            class.metadata.name = name.into();
            class.metadata.creation_timestamp = Time::from_unix(created);
            if default {
                class
                    .metadata
                    .annotations
                    .insert(DEFAULT_CLASS[0].into(), "true".into());
            }
            Arc::new(class)
        };
        let name = |classes: &[Arc<StorageClass>]| {
            default_class(classes).map(|class| class.metadata.name.clone())
        };
        assert_eq!(name(&[class("a", false, 1)]), None);
        assert_eq!(
            name(&[class("a", true, 1), class("b", true, 2)]).as_deref(),
            Some("b")
        );
        assert_eq!(
            name(&[class("b", true, 2), class("a", true, 2)]).as_deref(),
            Some("a")
        );
    }
}

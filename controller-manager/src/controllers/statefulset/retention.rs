//! Who owns the claims of a StatefulSet's pods, by its retention policy (KEP-1847). Pure. Upstream: stateful_set_utils.go.
//!
//! A claim that is to be deleted with the set is owned by the set, one that is to be deleted with a scaled-down pod by that
//! pod; the garbage collector does the rest. Claims that others control, or that belong to an earlier set or pod of the same
//! name, are left alone.

use api_types::Object;
use api_types::apps::v1::StatefulSet;
use api_types::core::v1::{PersistentVolumeClaim, Pod};
use api_types::meta::v1::OwnerReference;

use super::identity::in_range;
use crate::controllers::controller_ref::new_controller_ref;

const DELETE: &str = "Delete";

fn deletes(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_deref();
    policy.map_or((false, false), |policy| {
        (policy.when_scaled == DELETE, policy.when_deleted == DELETE)
    })
}

/// Claims go away with the pods of a smaller set.
pub(super) fn deletes_when_scaled(set: &StatefulSet) -> bool {
    deletes(set).0
}

/// The reference names the object; it may be of another incarnation of it.
fn names<O: Object>(reference: &OwnerReference, owner: &O) -> bool {
    reference.api_version == O::api_version()
        && reference.kind == O::KIND
        && reference.name == owner.metadata().name
}

fn is_owner<O: Object>(claim: &PersistentVolumeClaim, owner: &O) -> bool {
    claim
        .metadata
        .owner_references
        .iter()
        .any(|reference| reference.uid == owner.metadata().uid)
}

/// The claim belongs to an earlier object of the same name.
pub(super) fn has_stale_owner<O: Object>(claim: &PersistentVolumeClaim, owner: &O) -> bool {
    let reference = claim
        .metadata
        .owner_references
        .iter()
        .find(|reference| names(reference, owner));
    reference.is_some_and(|reference| reference.uid != owner.metadata().uid)
}

/// Somebody else controls the claim although the policy asks us to.
pub(super) fn has_unexpected_controller(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &Pod,
) -> bool {
    if deletes(set) == (false, false) {
        return false;
    }
    claim.metadata.owner_references.iter().any(|reference| {
        if names(reference, set) {
            reference.uid != set.metadata.uid
        } else if names(reference, pod) {
            reference.uid != pod.metadata.uid
        } else {
            reference.controller == Some(true)
        }
    })
}

fn has_non_controller_owner(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let ours = |reference: &&OwnerReference| {
        reference.uid == set.metadata.uid || reference.uid == pod.metadata.uid
    };
    claim
        .metadata
        .owner_references
        .iter()
        .filter(ours)
        .any(|reference| reference.controller != Some(true))
}

/// Whether the set and the pod should own the claim.
fn wanted_owners(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let (when_scaled, when_deleted) = deletes(set);
    let scaled_down = !in_range(set, pod);
    (
        when_deleted && !(when_scaled && scaled_down),
        when_scaled && scaled_down,
    )
}

/// Whether the owners of the claim are as the policy wants them, or not ours to change.
pub(super) fn is_up_to_date(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    if has_stale_owner(claim, set) || has_stale_owner(claim, pod) {
        return true;
    }
    let owners = (is_owner(claim, set), is_owner(claim, pod));
    if has_unexpected_controller(claim, set, pod) {
        return owners == (false, false);
    }
    !has_non_controller_owner(claim, set, pod) && owners == wanted_owners(set, pod)
}

/// Makes the owners of the claim what the policy wants.
pub(super) fn update_owners(claim: &mut PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) {
    let unexpected = has_unexpected_controller(claim, set, pod);
    let references = &mut claim.metadata.owner_references;
    references.retain(|reference| !names(reference, set) && !names(reference, pod));
    if unexpected {
        return;
    }
    let (set_owns, pod_owns) = wanted_owners(set, pod);
    let wanted = [
        set_owns.then(|| new_controller_ref(set)),
        pod_owns.then(|| new_controller_ref(pod)),
    ];
    for reference in wanted.into_iter().flatten() {
        if references.iter().all(|has| has.uid != reference.uid) {
            references.push(reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy;

    use super::super::identity::tests::{pod_of, set};
    use super::*;

    fn with_policy(when_scaled: &str, when_deleted: &str) -> StatefulSet {
        let mut set = set(1);
        let policy = StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_scaled: when_scaled.into(),
            when_deleted: when_deleted.into(),
        };
        set.spec.persistent_volume_claim_retention_policy = Some(Box::new(policy));
        set
    }

    #[track_caller]
    fn check(when_scaled: &str, when_deleted: &str, ordinal: i32, expected: &[&str]) {
        let set = with_policy(when_scaled, when_deleted);
        let pod = pod_of(&set, ordinal);
        for before in [
            vec![],
            vec![new_controller_ref(&set)],
            vec![new_controller_ref(&pod)],
            vec![new_controller_ref(&set), new_controller_ref(&pod)],
        ] {
            let mut claim = PersistentVolumeClaim::default();
            claim.metadata.owner_references = before;
            let was_up_to_date = is_up_to_date(&claim, &set, &pod);
            let owners = |claim: &PersistentVolumeClaim| {
                claim
                    .metadata
                    .owner_references
                    .iter()
                    .map(|r| r.uid.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                was_up_to_date,
                owners(&claim) == expected,
                "{:?}",
                owners(&claim)
            );
            update_owners(&mut claim, &set, &pod);
            assert_eq!(owners(&claim), expected);
            assert!(is_up_to_date(&claim, &set, &pod));
        }
    }

    #[test]
    fn owners_follow_the_policy() {
        for ordinal in [0, 1] {
            check("Retain", "Retain", ordinal, &[]);
            check("Retain", "Delete", ordinal, &["set"]);
        }
        check("Delete", "Retain", 0, &[]);
        check("Delete", "Retain", 1, &["pod-1"]);
        check("Delete", "Delete", 0, &["set"]);
        check("Delete", "Delete", 1, &["pod-1"]);
    }

    #[test]
    fn claims_of_others_are_left_alone() {
        let set = with_policy("Delete", "Delete");
        let pod = pod_of(&set, 0);
        let other = OwnerReference {
            kind: "X".into(),
            name: "x".into(),
            uid: "x".into(),
            controller: Some(true),
            ..Default::default()
        };
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.owner_references = vec![other.clone()];
        assert!(has_unexpected_controller(&claim, &set, &pod) && is_up_to_date(&claim, &set, &pod));
        claim
            .metadata
            .owner_references
            .push(new_controller_ref(&set));
        assert!(
            !is_up_to_date(&claim, &set, &pod),
            "ours beside another controller must go"
        );
        update_owners(&mut claim, &set, &pod);
        assert_eq!(claim.metadata.owner_references, [other]);
    }

    #[test]
    fn an_earlier_incarnation_keeps_its_claim() {
        let set = with_policy("Delete", "Delete");
        let (pod, mut old) = (pod_of(&set, 0), set.clone());
        old.metadata.uid = "old".into();
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.owner_references = vec![new_controller_ref(&old)];
        assert!(has_stale_owner(&claim, &set) && is_up_to_date(&claim, &set, &pod));
        assert!(has_unexpected_controller(&claim, &set, &pod));
    }

    #[test]
    fn an_owner_that_does_not_control_is_replaced() {
        let set = with_policy("Retain", "Delete");
        let pod = pod_of(&set, 0);
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.owner_references = vec![OwnerReference {
            controller: None,
            ..new_controller_ref(&set)
        }];
        assert!(!is_up_to_date(&claim, &set, &pod));
        update_owners(&mut claim, &set, &pod);
        assert_eq!(claim.metadata.owner_references, [new_controller_ref(&set)]);
    }
}

//! What upstream's servers do not store and is a default for who reads the object: a strategy clears the status of a new volume claim
//! after defaults were set, and an autoscaler of v1, whose behavior is in an annotation, is stored as v2 without v2's defaults. Of all
//! others what is stored has its defaults, and is served as it is.
//!
//! Upstream compares an update with the object that was read, not with what is stored: the first one, which writes the defaults or could
//! have, always writes.

use api_types::autoscaling::v2::HorizontalPodAutoscaler;
use api_types::core::v1::PersistentVolumeClaim;
use api_types::resources::ResourceInfo;

use super::object::Object;
use super::wire;
use crate::apis::defaults::set_defaults;

/// Tags of a claim's status and its phase, and of an autoscaler's spec and its behavior.
const PHASE: [u32; 2] = [3, 1];
const BEHAVIOR: [u32; 2] = [2, 5];
/// Tags of rules, and of what has a default in them: which policy, the policies, and how long before scaling up.
const SCALE_UP: u32 = 1;
const SCALE_DOWN: u32 = 2;
const SELECT_POLICY: u32 = 1;
const POLICIES: u32 = 2;
const STABILIZATION: u32 = 3;

/// What tells whether a message has to be completed, for the resources where there are such messages.
fn check(info: &ResourceInfo) -> Option<fn(&[u8]) -> bool> {
    match (info.group, info.resource) {
        ("", "persistentvolumeclaims") => Some(lacks_phase),
        ("autoscaling", "horizontalpodautoscalers") => Some(lacks_behavior),
        _ => None,
    }
}

/// Whether there are messages of a resource that have to be completed.
pub(super) fn can_be_incomplete(info: &ResourceInfo) -> bool {
    check(info).is_some()
}

/// Whether a stored message has to be completed.
pub(super) fn is_incomplete(info: &ResourceInfo, message: &[u8]) -> bool {
    check(info).is_some_and(|check| check(message))
}

fn lacks_phase(message: &[u8]) -> bool {
    let phase = wire::find(message, &PHASE).ok().flatten();
    phase.and_then(wire::Wire::text).is_none_or(str::is_empty)
}

fn lacks_behavior(message: &[u8]) -> bool {
    let has = |message: &[u8], tags: &[u32]| wire::find(message, tags).ok().flatten().is_some();
    let behavior = wire::find(message, &BEHAVIOR).ok().flatten();
    behavior
        .and_then(wire::Wire::bytes)
        .is_some_and(|behavior| {
            let wanted = [
                [SCALE_UP, SELECT_POLICY],
                [SCALE_UP, POLICIES],
                [SCALE_UP, STABILIZATION],
                [SCALE_DOWN, SELECT_POLICY],
                [SCALE_DOWN, POLICIES],
            ];
            wanted.iter().any(|tags| !has(behavior, tags))
        })
}

/// Whether an object that came in a version with other fields is stored without the hub's defaults.
pub(super) fn is_stored_without(object: &Object) -> bool {
    object.get::<HorizontalPodAutoscaler>().is_some()
}

/// Fills in what was not stored.
pub(super) fn complete(object: &mut Object) {
    let claim = object.get::<PersistentVolumeClaim>();
    let autoscaler = object.get::<HorizontalPodAutoscaler>();
    if claim.is_some_and(|claim| claim.status.phase.is_empty())
        || autoscaler.is_some_and(|autoscaler| autoscaler.spec.behavior.is_some())
    {
        set_defaults(object.value_mut());
    }
}

#[cfg(test)]
mod tests {
    use api_types::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

    use super::*;

    #[track_caller]
    fn check(resource: &str, mut object: Object, incomplete: bool) {
        let info = api_types::resources::RESOURCES
            .iter()
            .find(|info| info.resource == resource)
            .unwrap();
        let is = |object: &Object| is_incomplete(info, &api_types::encode_protobuf(object.value()));
        assert_eq!(is(&object), incomplete);
        complete(&mut object);
        assert!(!is(&object));
    }

    #[test]
    fn what_was_not_stored_is_filled_in() {
        let claim = |phase: &str| {
            let mut claim = PersistentVolumeClaim::default();
            claim.status.phase = phase.to_owned();
            Object::from(claim)
        };
        check("persistentvolumeclaims", claim(""), true);
        check("persistentvolumeclaims", claim("Bound"), false);
        let autoscaler = |behavior: Option<HorizontalPodAutoscalerBehavior>| {
            let mut autoscaler = HorizontalPodAutoscaler::default();
            autoscaler.spec.behavior = behavior.map(Box::new);
            Object::from(autoscaler)
        };
        check("horizontalpodautoscalers", autoscaler(None), false);
        check(
            "horizontalpodautoscalers",
            autoscaler(Some(HorizontalPodAutoscalerBehavior::default())),
            true,
        );
        let mut whole = HorizontalPodAutoscaler::default();
        whole.spec.behavior = Some(Box::default());
        set_defaults(&mut whole);
        let behavior = whole.spec.behavior.clone().unwrap();
        check("horizontalpodautoscalers", Object::from(whole), false);
        let up = HPAScalingRules {
            stabilization_window_seconds: None,
            ..*behavior.scale_up.clone().unwrap()
        };
        let partly = HorizontalPodAutoscalerBehavior {
            scale_up: Some(Box::new(up)),
            ..*behavior
        };
        check("horizontalpodautoscalers", autoscaler(Some(partly)), true);
    }
}

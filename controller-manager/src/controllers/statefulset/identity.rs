//! Names, labels, host names and volumes of a StatefulSet's pods. Pure. Upstream: stateful_set_utils.go.

use api_types::apps::v1::StatefulSet;
use api_types::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use api_types::meta::v1::TypeMeta;

use crate::controllers::controller_ref::new_controller_ref;
use crate::controllers::pod_control::pod_from_template;

/// The label with the name of a pod's ControllerRevision.
pub(super) const REVISION_LABEL: &str = "controller-revision-hash";
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// The first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec
        .ordinals
        .as_ref()
        .map_or(0, |ordinals| ordinals.start)
}

/// The name before the last dash, and the number behind it when it fits: `web-3` is 3 of `web`.
fn parent_and_ordinal(name: &str) -> (&str, Option<i32>) {
    match name.rsplit_once('-') {
        Some((parent, digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (parent, digits.parse().ok())
        }
        _ => ("", None),
    }
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    parent_and_ordinal(&pod.metadata.name).1
}

/// Whether the pod is named after the set.
pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parent_and_ordinal(&pod.metadata.name).0 == set.metadata.name
}

pub(super) fn in_range(set: &StatefulSet, pod: &Pod) -> bool {
    ordinal(pod).is_some_and(|ordinal| {
        ordinal >= start(set)
            && i64::from(ordinal) < i64::from(start(set)) + i64::from(replicas(set))
    })
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name)
}

pub(super) fn claim_name(
    set: &StatefulSet,
    template: &PersistentVolumeClaim,
    ordinal: i32,
) -> String {
    format!("{}-{}-{ordinal}", template.metadata.name, set.metadata.name)
}

/// The pod's revision label, or "".
pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata
        .labels
        .get(REVISION_LABEL)
        .map_or("", String::as_str)
}

pub(super) fn identity_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let (parent, ordinal) = parent_and_ordinal(&pod.metadata.name);
    ordinal.is_some_and(|ordinal| pod.metadata.name == pod_name(set, ordinal))
        && parent == set.metadata.name
        && pod.metadata.namespace == set.metadata.namespace
        && pod.metadata.labels.get(POD_NAME_LABEL) == Some(&pod.metadata.name)
}

pub(super) fn storage_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else {
        return false;
    };
    set.spec.volume_claim_templates.iter().all(|template| {
        let volume = pod
            .spec
            .volumes
            .iter()
            .rfind(|volume| volume.name == template.metadata.name);
        let source =
            volume.and_then(|volume| volume.volume_source.persistent_volume_claim.as_ref());
        source.is_some_and(|source| source.claim_name == claim_name(set, template, ordinal))
    })
}

/// Gives the pod its name and labels.
pub(super) fn set_identity(set: &StatefulSet, pod: &mut Pod) {
    let ordinal = ordinal(pod).unwrap_or(-1);
    let metadata = &mut pod.metadata;
    metadata.name = pod_name(set, ordinal);
    metadata.namespace = set.metadata.namespace.clone();
    metadata
        .labels
        .insert(POD_NAME_LABEL.to_owned(), metadata.name.clone());
    metadata
        .labels
        .insert(POD_INDEX_LABEL.to_owned(), ordinal.to_string());
}

/// Makes the pod's volumes those of the set's claims; other volumes of the template stay.
pub(super) fn set_storage(set: &StatefulSet, pod: &mut Pod) {
    let ordinal = ordinal(pod).unwrap_or(-1);
    let templates = &set.spec.volume_claim_templates;
    let mut volumes: Vec<Volume> = templates
        .iter()
        .map(|template| {
            let claim_name = claim_name(set, template, ordinal);
            let mut volume = Volume {
                name: template.metadata.name.clone(),
                ..Default::default()
            };
            let source = PersistentVolumeClaimVolumeSource {
                claim_name,
                ..Default::default()
            };
            volume.volume_source.persistent_volume_claim = Some(Box::new(source));
            volume
        })
        .collect();
    let others = pod.spec.volumes.drain(..).filter(|volume| {
        templates
            .iter()
            .all(|template| template.metadata.name != volume.name)
    });
    volumes.extend(others);
    pod.spec.volumes = volumes;
}

/// The claims a pod of the set needs.
pub(super) fn claims(set: &StatefulSet, pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let ordinal = ordinal(pod).unwrap_or(-1);
    let labels = set
        .spec
        .selector
        .as_ref()
        .map(|selector| selector.match_labels.clone())
        .unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.type_meta = TypeMeta::default();
        claim.metadata.name = claim_name(set, template, ordinal);
        claim.metadata.namespace = set.metadata.namespace.clone();
        claim.metadata.labels.extend(labels.clone());
        claim
    };
    set.spec.volume_claim_templates.iter().map(claim).collect()
}

/// A pod of the set that does not exist yet: its phase is empty.
pub(super) fn new_pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let mut pod = pod_from_template(
        template,
        &set.metadata.namespace,
        &set.metadata.name,
        new_controller_ref(set),
    );
    pod.metadata.name = pod_name(set, ordinal);
    set_identity(set, &mut pod);
    // These two cannot be changed later.
    pod.spec.hostname = pod.metadata.name.clone();
    pod.spec.subdomain = set.spec.service_name.clone();
    set_storage(set, &mut pod);
    pod.metadata
        .labels
        .insert(REVISION_LABEL.to_owned(), revision.to_owned());
    pod
}

/// Whether a new pod with this ordinal still gets the current revision rather than the update revision.
pub(super) fn starts_at_current_revision(set: &StatefulSet, ordinal: i32) -> bool {
    let kept = match &set.spec.update_strategy.rolling_update {
        Some(rolling) => rolling.partition.unwrap_or(0),
        None if set.spec.update_strategy.type_ == "RollingUpdate" => set.status.current_replicas,
        None => return false,
    };
    ordinal < start(set).saturating_add(kept)
}

#[cfg(test)]
pub(super) mod tests {
    use api_types::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSetOrdinals};
    use api_types::meta::v1::LabelSelector;

    use super::*;

    pub(crate) fn set(replicas: i32) -> StatefulSet {
        let mut set = StatefulSet::default();
        set.metadata.name = "web".into();
        set.metadata.namespace = "ns".into();
        set.metadata.uid = "set".into();
        set.spec.replicas = Some(replicas);
        set.spec.service_name = "svc".into();
        set.spec.update_strategy.type_ = "RollingUpdate".into();
        set.spec.revision_history_limit = Some(10);
        set.spec
            .template
            .metadata
            .labels
            .insert("a".into(), "b".into());
        set.spec.selector = Some(Box::new(LabelSelector {
            match_labels: [("a".into(), "b".into())].into(),
            ..Default::default()
        }));
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "data".into();
        claim.metadata.labels.insert("own".into(), "label".into());
        set.spec.volume_claim_templates.push(claim);
        set
    }

    pub(crate) fn pod_of(set: &StatefulSet, ordinal: i32) -> Pod {
        let mut pod = new_pod(set, &set.spec.template, "rev", ordinal);
        pod.metadata.uid = format!("pod-{ordinal}");
        pod
    }

    #[test]
    fn names_give_parent_and_ordinal() {
        for (name, expected) in [
            ("web-0", ("web", Some(0))),
            ("web-a-12", ("web-a", Some(12))),
            ("web", ("", None)),
            ("web-", ("", None)),
            ("web-x", ("", None)),
            ("web-99999999999", ("web", None)),
        ] {
            assert_eq!(parent_and_ordinal(name), expected, "{name}");
        }
    }

    #[test]
    fn a_new_pod_has_identity_and_storage() {
        let set = set(3);
        let pod = pod_of(&set, 2);
        assert!(
            identity_matches(&set, &pod)
                && storage_matches(&set, &pod)
                && is_member(&set, &pod)
                && in_range(&set, &pod)
        );
        assert_eq!(
            (
                pod.metadata.name.as_str(),
                pod.spec.hostname.as_str(),
                pod.spec.subdomain.as_str()
            ),
            ("web-2", "web-2", "svc")
        );
        assert_eq!(pod.metadata.labels[POD_INDEX_LABEL], "2");
        assert_eq!(revision_of(&pod), "rev");
        assert_eq!(
            pod.spec.volumes[0]
                .volume_source
                .persistent_volume_claim
                .as_ref()
                .unwrap()
                .claim_name,
            "data-web-2"
        );
        let claims = claims(&set, &pod);
        assert_eq!(
            (
                claims[0].metadata.name.as_str(),
                claims[0].metadata.labels.len()
            ),
            ("data-web-2", 2)
        );
    }

    #[test]
    fn a_template_volume_of_a_claims_name_is_replaced() {
        let set = set(1);
        let mut pod = pod_of(&set, 0);
        pod.spec.volumes = vec![
            Volume {
                name: "data".into(),
                ..Default::default()
            },
            Volume {
                name: "tmp".into(),
                ..Default::default()
            },
        ];
        assert!(!storage_matches(&set, &pod));
        set_storage(&set, &mut pod);
        assert!(storage_matches(&set, &pod));
        assert_eq!(pod.spec.volumes.len(), 2);
    }

    #[test]
    fn ordinals_may_start_later() {
        let mut set = set(2);
        set.spec.ordinals = Some(Box::new(StatefulSetOrdinals { start: 5 }));
        for (ordinal, expected) in [(4, false), (5, true), (6, true), (7, false)] {
            assert_eq!(
                in_range(&set, &pod_of(&set, ordinal)),
                expected,
                "{ordinal}"
            );
        }
        set.status.current_replicas = 1;
        assert!(starts_at_current_revision(&set, 5) && !starts_at_current_revision(&set, 6));
    }

    #[test]
    fn the_partition_decides_the_revision_of_new_pods() {
        let mut set = set(3);
        assert!(!starts_at_current_revision(&set, 0));
        set.spec.update_strategy.rolling_update =
            Some(Box::new(RollingUpdateStatefulSetStrategy {
                partition: Some(2),
                ..Default::default()
            }));
        assert!(starts_at_current_revision(&set, 1) && !starts_at_current_revision(&set, 2));
        set.spec.update_strategy.rolling_update = None;
        set.spec.update_strategy.type_ = "OnDelete".into();
        set.status.current_replicas = 3;
        assert!(!starts_at_current_revision(&set, 0));
    }
}

//! Pairs of fields that say the same, for clients of different ages. Upstream: the hand-written conversions between
//! versioned and internal types, which keep one of each pair.

use std::collections::BTreeMap;

use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::v2::HorizontalPodAutoscaler;
use api_types::batch::v1::{CronJob, Job};
use api_types::core::v1::{
    Node, Pod, PodIP, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController, Secret,
};
use api_types::meta::v1::TypeMeta;

use super::convert::autoscaling::drop_annotations;
use super::object::Object;

/// Makes both of each pair agree, after decoding and before storing.
pub fn normalize(object: &mut Object) {
    if let Some(pod) = object.get_mut::<Pod>() {
        let status = &mut pod.status;
        let first = status.pod_ips.first().map(|address| address.ip.clone());
        match first {
            _ if !status.pod_ip.is_empty() && first.as_ref() != Some(&status.pod_ip) => {
                status.pod_ips = vec![PodIP {
                    ip: status.pod_ip.clone(),
                }];
            }
            Some(first) => status.pod_ip = first,
            None => {}
        }
    } else if let Some(node) = object.get_mut::<Node>() {
        let spec = &mut node.spec;
        let first = spec.pod_cidrs.first().cloned();
        match first {
            _ if !spec.pod_cidr.is_empty() && first.as_ref() != Some(&spec.pod_cidr) => {
                spec.pod_cidrs = vec![spec.pod_cidr.clone()];
            }
            Some(first) => spec.pod_cidr = first,
            None => {}
        }
    } else if let Some(secret) = object.get_mut::<Secret>() {
        for (key, text) in std::mem::take(&mut secret.string_data) {
            secret.data.insert(key, text.into_bytes().into());
        }
    }
    if let Some(autoscaler) = object.get_mut::<HorizontalPodAutoscaler>() {
        drop_annotations(&mut autoscaler.metadata.annotations);
    }
    share_template_labels(object);
    // They have names in JSON only (`encode::name_claims`).
    if let Some(set) = object.get_mut::<StatefulSet>() {
        for claim in &mut set.spec.volume_claim_templates {
            claim.type_meta = TypeMeta::default();
        }
    }
    if let Some(pod) = object.get_mut::<Pod>()
        && let Some(seconds) = &mut pod.spec.termination_grace_period_seconds
        && *seconds < 0
    {
        *seconds = 1;
    }
    if let Some((annotations, spec)) = pod_parts(object) {
        for name in INIT_CONTAINER_ANNOTATIONS {
            annotations.remove(name);
        }
        if spec.service_account_name.is_empty() {
            spec.service_account_name.clone_from(&spec.service_account);
        }
        spec.service_account.clone_from(&spec.service_account_name);
    }
}

/// What init containers were before they had a field; old kubelets would believe these.
const INIT_CONTAINER_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// A job without labels has those of its pods. Where these have any, both are one map in upstream's defaults, so that what the server
/// makes up for the pods is the job's at once.
fn share_template_labels(object: &mut Object) {
    if let Some(job) = object.get_mut::<Job>()
        && job.metadata.labels.is_empty()
    {
        let labels = job.spec.template.metadata.labels.clone();
        object.shares_template_labels = !labels.is_empty();
        object.edit_metadata(|metadata| metadata.labels = labels);
    }
    follow_template_labels(object);
}

/// Gives a job whose labels are those of its pods' template what was added there.
pub fn follow_template_labels(object: &mut Object) {
    if object.shares_template_labels
        && let Some(job) = object.get_mut::<Job>()
    {
        job.metadata
            .labels
            .clone_from(&job.spec.template.metadata.labels);
    }
}

/// Annotations and spec of the pod that an object is or makes, if it does.
fn pod_parts(object: &mut Object) -> Option<(&mut BTreeMap<String, String>, &mut PodSpec)> {
    if object.get::<Pod>().is_some() {
        let pod = object.get_mut::<Pod>()?;
        return Some((&mut pod.metadata.annotations, &mut pod.spec));
    }
    let template = pod_template(object)?;
    Some((&mut template.metadata.annotations, &mut template.spec))
}

fn pod_template(object: &mut Object) -> Option<&mut PodTemplateSpec> {
    if object.get::<Deployment>().is_some() {
        return object
            .get_mut::<Deployment>()
            .map(|workload| &mut workload.spec.template);
    }
    if object.get::<ReplicaSet>().is_some() {
        return object
            .get_mut::<ReplicaSet>()
            .map(|workload| &mut workload.spec.template);
    }
    if object.get::<DaemonSet>().is_some() {
        return object
            .get_mut::<DaemonSet>()
            .map(|workload| &mut workload.spec.template);
    }
    if object.get::<StatefulSet>().is_some() {
        return object
            .get_mut::<StatefulSet>()
            .map(|workload| &mut workload.spec.template);
    }
    if object.get::<Job>().is_some() {
        return object
            .get_mut::<Job>()
            .map(|workload| &mut workload.spec.template);
    }
    if object.get::<CronJob>().is_some() {
        return object
            .get_mut::<CronJob>()
            .map(|workload| &mut workload.spec.job_template.spec.template);
    }
    if object.get::<PodTemplate>().is_some() {
        return object
            .get_mut::<PodTemplate>()
            .map(|workload| &mut workload.template);
    }
    let controller = object.get_mut::<ReplicationController>()?;
    controller.spec.template.as_deref_mut()
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::PersistentVolumeClaim;

    use super::*;

    #[test]
    fn older_and_newer_fields_agree() {
        let mut pod = Pod::default();
        pod.status.pod_ip = "10.0.0.1".to_owned();
        pod.spec.service_account = "a".to_owned();
        let mut object = Object::from(pod);
        normalize(&mut object);
        let pod = object.get::<Pod>().unwrap();
        assert_eq!(pod.status.pod_ips[0].ip, "10.0.0.1");
        assert_eq!(pod.spec.service_account_name, "a");
        let mut secret = Secret::default();
        secret.string_data.insert("k".to_owned(), "v".to_owned());
        let mut object = Object::from(secret);
        normalize(&mut object);
        let secret = object.get::<Secret>().unwrap();
        assert!(secret.string_data.is_empty());
        assert_eq!(&secret.data["k"][..], b"v");
    }

    #[test]
    fn what_upstreams_conversions_make_of_pods_and_claims() {
        let mut pod = Pod::default();
        pod.spec.termination_grace_period_seconds = Some(-5);
        let annotations = &mut pod.metadata.annotations;
        annotations.insert(INIT_CONTAINER_ANNOTATIONS[0].to_owned(), String::new());
        annotations.insert("a".to_owned(), String::new());
        let mut object = Object::from(pod);
        normalize(&mut object);
        let pod = object.get::<Pod>().unwrap();
        assert_eq!(pod.spec.termination_grace_period_seconds, Some(1));
        assert_eq!(pod.metadata.annotations.keys().collect::<Vec<_>>(), ["a"]);

        let mut set = StatefulSet::default();
        set.spec.template.spec.termination_grace_period_seconds = Some(-5);
        let mut claim = PersistentVolumeClaim::default();
        claim.type_meta.kind = "PersistentVolumeClaim".to_owned();
        set.spec.volume_claim_templates.push(claim);
        let mut object = Object::from(set);
        normalize(&mut object);
        let spec = &object.get::<StatefulSet>().unwrap().spec;
        let claim = &spec.volume_claim_templates[0];
        assert_eq!(*claim, PersistentVolumeClaim::default());
        // Of templates it stays as it is.
        let template = &spec.template.spec;
        assert_eq!(template.termination_grace_period_seconds, Some(-5));
    }

    #[test]
    fn a_job_without_labels_gets_those_that_are_made_up_for_its_pods() {
        let labels = |own: &[&str]| {
            let mut job = Job::default();
            job.metadata.name = "j".to_owned();
            job.metadata.labels = own
                .iter()
                .map(|key| ((*key).to_owned(), String::new()))
                .collect();
            let template = &mut job.spec.template.metadata.labels;
            template.insert("x".to_owned(), String::new());
            let mut object = Object::from(job);
            normalize(&mut object);
            let strategy = crate::registry::strategies::strategy("batch", "Job", "");
            let context = crate::registry::strategy::Context::default();
            let mut object = object.clone();
            strategy.prepare_for_create(&context, &mut object);
            object.metadata().labels.len()
        };
        assert_eq!((labels(&[]), labels(&["x"])), (5, 1));
    }
}

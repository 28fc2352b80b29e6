//! Pairs of fields that say the same, for clients of different ages. Upstream: the hand-written conversions between
//! versioned and internal types, which keep one of each pair.

use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::batch::v1::{CronJob, Job};
use api_types::core::v1::{Node, Pod, PodIP, PodSpec, PodTemplate, ReplicationController, Secret};

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
    // A job without labels has those of its pods, also those that the server makes up for them.
    if let Some(job) = object.get_mut::<Job>()
        && job.metadata.labels.is_empty()
    {
        job.metadata
            .labels
            .clone_from(&job.spec.template.metadata.labels);
    }
    if let Some(spec) = pod_spec(object) {
        if spec.service_account_name.is_empty() {
            spec.service_account_name.clone_from(&spec.service_account);
        }
        spec.service_account.clone_from(&spec.service_account_name);
    }
}

/// The pod spec in an object, if it has one.
fn pod_spec(object: &mut Object) -> Option<&mut PodSpec> {
    if object.get::<Pod>().is_some() {
        return object.get_mut::<Pod>().map(|pod| &mut pod.spec);
    }
    if object.get::<Deployment>().is_some() {
        return object
            .get_mut::<Deployment>()
            .map(|workload| &mut workload.spec.template.spec);
    }
    if object.get::<ReplicaSet>().is_some() {
        return object
            .get_mut::<ReplicaSet>()
            .map(|workload| &mut workload.spec.template.spec);
    }
    if object.get::<DaemonSet>().is_some() {
        return object
            .get_mut::<DaemonSet>()
            .map(|workload| &mut workload.spec.template.spec);
    }
    if object.get::<StatefulSet>().is_some() {
        return object
            .get_mut::<StatefulSet>()
            .map(|workload| &mut workload.spec.template.spec);
    }
    if object.get::<Job>().is_some() {
        return object
            .get_mut::<Job>()
            .map(|workload| &mut workload.spec.template.spec);
    }
    if object.get::<CronJob>().is_some() {
        return object
            .get_mut::<CronJob>()
            .map(|workload| &mut workload.spec.job_template.spec.template.spec);
    }
    if object.get::<PodTemplate>().is_some() {
        return object
            .get_mut::<PodTemplate>()
            .map(|workload| &mut workload.template.spec);
    }
    let controller = object.get_mut::<ReplicationController>()?;
    controller
        .spec
        .template
        .as_mut()
        .map(|template| &mut template.spec)
}

#[cfg(test)]
mod tests {
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
}

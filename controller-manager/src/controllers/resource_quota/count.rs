//! Adds up what the objects of a namespace use of a quota.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use api_types::resource::v1::{DeviceClass, ResourceClaim};
use apimachinery::quota::{self, Amounts, Counted, CountedClaim, DeviceClasses};
use client::Lister;

use super::device_classes_of;
use crate::context::SyncCheck;
use crate::controllers::SyncError;

const DEVICE_CLAIMS: (&str, &str) = ("resource.k8s.io", "resourceclaims");

/// The objects that count for more than one.
pub(super) struct Caches {
    pub(super) pods: Lister<Pod>,
    pub(super) services: Lister<Service>,
    pub(super) volume_claims: Lister<PersistentVolumeClaim>,
    pub(super) device_claims: Lister<ResourceClaim>,
    /// None where devices have no extended resources (gate DRAExtendedResource).
    pub(super) device_classes: Option<Lister<DeviceClass>>,
    /// Whether the caches of claims and classes of devices are filled.
    pub(super) has_devices: SyncCheck,
}

impl Caches {
    /// Whether a resource is counted from here.
    pub(super) fn hold(group: &str, resource: &str) -> bool {
        (group, resource) == DEVICE_CLAIMS
            || group.is_empty()
                && matches!(resource, "pods" | "services" | "persistentvolumeclaims")
    }

    /// What these objects use of a quota.
    pub(super) fn count<'q>(&self, quota: &'q ResourceQuota, now: Time) -> Count<'q> {
        let has_devices = (self.has_devices)();
        let classes = self.device_classes.as_ref().filter(|_| has_devices);
        let mut count = Count {
            quota,
            classes: classes.map(device_classes_of),
            now,
            total: Amounts::new(),
            failed: BTreeSet::new(),
            errors: Vec::new(),
        };
        let namespace = quota.metadata.namespace.as_str();
        if count.begin("", "pods") {
            for pod in self.pods.list_namespace(namespace) {
                count.add("", "pods", Counted::Pod(&pod));
            }
        }
        if count.begin("", "services") {
            for service in self.services.list_namespace(namespace) {
                count.add("", "services", Counted::Service(&service));
            }
        }
        if count.begin("", "persistentvolumeclaims") {
            for claim in self.volume_claims.list_namespace(namespace) {
                let object = Counted::PersistentVolumeClaim(&claim);
                count.add("", "persistentvolumeclaims", object);
            }
        }
        let (group, resource) = DEVICE_CLAIMS;
        let not_synced = |what: &str| SyncError::other(format!("{what} not yet synced"));
        if count.begin(group, resource) {
            if has_devices {
                let claims = self.device_claims.list_namespace(namespace);
                for claim in &claims {
                    let pod = self.pod_of(claim, &claims);
                    count.add_claim(claim, pod.as_deref());
                }
            } else {
                count.fail(group, resource, not_synced("resource claims"));
            }
        }
        if !has_devices && self.device_classes.is_some() && count.may_limit_devices() {
            count.errors.push(not_synced("device classes"));
        }
        count
    }

    fn pod_of(&self, claim: &ResourceClaim, claims: &[Arc<ResourceClaim>]) -> Option<Arc<Pod>> {
        let owner = quota::made_for(claim)?;
        let pod = self.pods.get_in(&claim.metadata.namespace, &owner.name)?;
        let claims = claims.iter().map(|claim| &**claim);
        quota::is_made_for(claim, &pod, claims).then_some(pod)
    }
}

/// One quota while it is counted.
pub(super) struct Count<'q> {
    quota: &'q ResourceQuota,
    classes: Option<DeviceClasses>,
    now: Time,
    total: Amounts,
    /// Limits of which not all usage could be counted.
    failed: BTreeSet<&'q str>,
    errors: Vec<SyncError>,
}

impl<'q> Count<'q> {
    fn limits(&self, group: &str, resource: &str) -> Vec<&'q str> {
        let names = self.quota.spec.hard.keys().map(String::as_str);
        names
            .filter(|name| quota::limits_resource(name, group, resource, self.classes.as_ref()))
            .collect()
    }

    /// Whether a limit is on an extended resource, which may be one of devices.
    fn may_limit_devices(&self) -> bool {
        let mut limits = self.limits("", "pods").into_iter();
        limits.any(|name| name.starts_with("requests.") && name.contains('/'))
    }

    /// Whether the quota limits a resource. What has no objects is used by nothing.
    pub(super) fn begin(&mut self, group: &str, resource: &str) -> bool {
        let limits = self.limits(group, resource);
        for name in &limits {
            self.total.entry((*name).to_owned()).or_default();
        }
        !limits.is_empty()
    }

    /// One more object, if it is in the quota's scopes.
    pub(super) fn add(&mut self, group: &str, resource: &str, object: Counted<'_>) {
        if quota::in_scope(self.quota, object) {
            let usage = quota::usage(group, resource, object, self.now);
            self.total = quota::add(&self.total, &usage);
        }
    }

    fn add_claim(&mut self, claim: &ResourceClaim, pod: Option<&Pod>) {
        let classes = self.classes.take();
        let object = Counted::ResourceClaim(CountedClaim {
            claim,
            classes: classes.as_ref(),
            pod,
        });
        let (group, resource) = DEVICE_CLAIMS;
        self.add(group, resource, object);
        self.classes = classes;
    }

    /// The objects of a resource could not be counted.
    pub(super) fn fail(&mut self, group: &str, resource: &str, error: SyncError) {
        self.failed.extend(self.limits(group, resource));
        self.errors.push(error);
    }

    /// What the quota's limits are used of. On failure, what could be counted.
    pub(super) fn finish(self) -> Result<Amounts, (Amounts, SyncError)> {
        let hard = &self.quota.spec.hard;
        let counted = quota::mask(&self.total, |name| {
            hard.contains_key(name) && !self.failed.contains(name)
        });
        match SyncError::aggregate(self.errors) {
            Ok(()) => Ok(counted),
            Err(error) => Err((counted, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::test_server::of_json;

    fn caches(pods: Vec<Pod>, claims: Vec<ResourceClaim>) -> Caches {
        let class: DeviceClass = of_json(
            json!({"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
        );
        Caches {
            pods: Lister::of(pods),
            services: Lister::of([]),
            volume_claims: Lister::of([]),
            device_claims: Lister::of(claims),
            device_classes: Some(Lister::of([class])),
            has_devices: Box::new(|| true),
        }
    }

    fn quota(hard: Value) -> ResourceQuota {
        of_json(json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": hard}}))
    }

    fn claim(name: &str, metadata: Value) -> ResourceClaim {
        let mut all = json!({"name": name, "namespace": "ns"});
        for (key, value) in metadata.as_object().unwrap() {
            all[key] = value.clone();
        }
        let exactly =
            json!({"deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 2});
        of_json(
            json!({"metadata": all, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}}),
        )
    }

    fn count(caches: &Caches, quota: &ResourceQuota) -> Result<String, (String, String)> {
        caches
            .count(quota, Time::now())
            .finish()
            .map(|counted| quota::pretty(&counted))
            .map_err(|(counted, error)| (quota::pretty(&counted), error.to_string()))
    }

    #[test]
    fn limits_without_objects_are_used_by_nothing() {
        let quota = quota(json!({"pods": 1, "count/configmaps": 1, "requests.cpu": 1}));
        let mut counted = caches(vec![], vec![]).count(&quota, Time::now());
        assert!(counted.begin("", "configmaps") && !counted.begin("", "secrets"));
        let counted = counted.finish().map_err(|(_, error)| error.to_string());
        let expected = "count/configmaps=0,pods=0,requests.cpu=0";
        assert_eq!(
            counted.map(|counted| quota::pretty(&counted)),
            Ok(expected.to_owned())
        );
    }

    #[test]
    fn devices() {
        let resources =
            json!({"requests": {"example.com/gpu": 3}, "limits": {"example.com/gpu": 3}});
        let pod: Pod = of_json(
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [{"name": "c", "resources": resources}]}}),
        );
        let made = json!({"annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]});
        let claims = vec![claim("a", json!({})), claim("made", made)];
        let mut caches = caches(vec![pod], claims);
        let quota = quota(json!({
            "gpus.deviceclass.resource.k8s.io/devices": 9, "requests.example.com/gpu": 9, "pods": 9,
            "requests.deviceclass.resource.kubernetes.io/gpus": 9, "count/resourceclaims.resource.k8s.io": 9,
        }));
        assert_eq!(
            count(&caches, &quota).unwrap(),
            "count/resourceclaims.resource.k8s.io=2,gpus.deviceclass.resource.k8s.io/devices=4,pods=1,\
             requests.deviceclass.resource.kubernetes.io/gpus=4,requests.example.com/gpu=5"
        );
        caches.device_classes = None;
        assert_eq!(
            count(&caches, &quota).unwrap(),
            "count/resourceclaims.resource.k8s.io=2,gpus.deviceclass.resource.k8s.io/devices=4,pods=1,\
             requests.deviceclass.resource.kubernetes.io/gpus=0,requests.example.com/gpu=3"
        );
    }

    #[test]
    fn caches_that_are_not_filled_hold_nothing_else_up() {
        let mut caches = caches(vec![], vec![]);
        caches.has_devices = Box::new(|| false);
        assert_eq!(
            count(&caches, &quota(json!({"pods": 9}))).unwrap(),
            "pods=0"
        );
        let extended = quota(json!({"requests.example.com/gpu": 9}));
        let problem = "device classes not yet synced".to_owned();
        assert_eq!(
            count(&caches, &extended),
            Err(("requests.example.com/gpu=0".to_owned(), problem))
        );
        let devices = quota(json!({"pods": 9, "gpus.deviceclass.resource.k8s.io/devices": 9}));
        let problem = "resource claims not yet synced".to_owned();
        assert_eq!(
            count(&caches, &devices),
            Err(("pods=0".to_owned(), problem))
        );
    }
}

//! What one request costs, and what one quota says to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota as Quota, Service};
use api_types::resource::v1::{DeviceClass, ResourceClaim};
use apimachinery::quota::{self, Amounts, Counted, CountedClaim, DeviceClasses};
use apimachinery::status::StatusError;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Verdict};
use crate::apis::gates;
use crate::registry::object::Object;

/// Which writes change usage.
pub(super) fn counts(attributes: &Attributes) -> bool {
    let is_update = attributes.operation == Operation::Update;
    let (group, resource, subresource) = attributes.endpoint();
    if quota::is_ignored(group, resource) {
        return false;
    }
    match (group, resource, subresource) {
        ("", "pods", "") if is_update => {
            let (old, new) = (attributes.old::<Pod>(), attributes.object::<Pod>());
            old.map(quota::is_terminating) != new.map(quota::is_terminating)
        }
        ("", "pods", "resize") => is_update,
        ("", "services" | "persistentvolumeclaims", "")
        | ("resource.k8s.io", "resourceclaims", "") => true,
        ("", "persistentvolumeclaims", "status") => attributes
            .old::<PersistentVolumeClaim>()
            .zip(attributes.object::<PersistentVolumeClaim>())
            .is_some_and(|(old, new)| quota::volume_status_counts(old, new)),
        (_, _, "") => !is_update,
        _ => false,
    }
}

/// What it takes to count the ResourceClaims of a request; nothing for other requests.
#[derive(Default)]
pub(super) struct Devices {
    classes: Option<DeviceClasses>,
    /// The pods that the new and the old claim were made for.
    pod: Option<Arc<Object>>,
    old_pod: Option<Arc<Object>>,
}

impl Devices {
    pub(super) async fn of(
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Result<Self, StatusError> {
        if !attributes.is_main("resource.k8s.io", "resourceclaims")
            || !gates::enabled("DRAExtendedResource")
        {
            return Ok(Self::default());
        }
        let classes = cluster.list("resource.k8s.io", "deviceclasses", "").await?;
        let classes = classes
            .iter()
            .filter_map(|object| object.get::<DeviceClass>());
        Ok(Self {
            classes: Some(DeviceClasses::of(classes)),
            pod: pod_of(attributes.object(), &attributes.namespace, cluster).await?,
            old_pod: pod_of(attributes.old(), &attributes.namespace, cluster).await?,
        })
    }

    fn counted<'a>(&'a self, object: &'a Object, pod: &'a Option<Arc<Object>>) -> Counted<'a> {
        if let Some(pod) = object.get::<Pod>() {
            return Counted::Pod(pod);
        }
        if let Some(service) = object.get::<Service>() {
            return Counted::Service(service);
        }
        if let Some(claim) = object.get::<ResourceClaim>() {
            return Counted::ResourceClaim(CountedClaim {
                claim,
                classes: self.classes.as_ref(),
                pod: pod.as_deref().and_then(Object::get),
            });
        }
        object
            .get::<PersistentVolumeClaim>()
            .map_or(Counted::Other, Counted::PersistentVolumeClaim)
    }
}

async fn pod_of(
    claim: Option<&ResourceClaim>,
    namespace: &str,
    cluster: &dyn Cluster,
) -> Result<Option<Arc<Object>>, StatusError> {
    let Some((claim, owner)) = claim.and_then(|claim| Some((claim, quota::made_for(claim)?)))
    else {
        return Ok(None);
    };
    let pod = cluster.get("", "pods", namespace, &owner.name, Freshness::Cached);
    let pod = pod.await?;
    let claims = cluster.list("resource.k8s.io", "resourceclaims", namespace);
    let claims = claims.await?;
    let claims = || {
        claims
            .iter()
            .filter_map(|object| object.get::<ResourceClaim>())
    };
    Ok(pod.filter(|pod| {
        pod.get::<Pod>()
            .is_some_and(|pod| quota::is_made_for(claim, pod, claims()))
    }))
}

/// A request, and what it costs.
pub(super) struct Request<'a> {
    pub(super) attributes: &'a Attributes,
    pub(super) new: Counted<'a>,
    old: Option<Counted<'a>>,
    classes: Option<&'a DeviceClasses>,
    /// What the object counts for.
    pub(super) used: Amounts,
    /// What of that its old state did not count for.
    pub(super) grows: Amounts,
}

impl<'a> Request<'a> {
    pub(super) fn new(attributes: &'a Attributes, devices: &'a Devices) -> Option<Self> {
        let now = Time::now();
        let (group, resource, _) = attributes.endpoint();
        let usage = |object| {
            let mut usage = quota::usage(group, resource, object, now);
            usage.retain(|_, amount| !amount.is_zero());
            usage
        };
        let new = devices.counted(attributes.object.as_ref()?, &devices.pod);
        let old = attributes
            .old_object
            .as_deref()
            .filter(|_| attributes.operation == Operation::Update)
            .map(|old| devices.counted(old, &devices.old_pod));
        let used = usage(new);
        let grows = match old {
            Some(old) => {
                let mut grows = quota::subtract_to_zero(&used, &usage(old));
                grows.retain(|_, amount| !amount.is_zero());
                grows
            }
            None => used.clone(),
        };
        Some(Self {
            attributes,
            new,
            old,
            classes: devices.classes.as_ref(),
            used,
            grows,
        })
    }

    /// Which of a quota's limits the request falls under; None when the quota is not about it.
    pub(super) fn limited_by<'q>(
        &self,
        quota: &'q Quota,
    ) -> Result<Option<BTreeSet<&'q str>>, StatusError> {
        let (group, resource, _) = self.attributes.endpoint();
        let limited: BTreeSet<&str> = quota
            .status
            .hard
            .keys()
            .map(String::as_str)
            .filter(|name| quota::limits_resource(name, group, resource, self.classes))
            .collect();
        if limited.is_empty() || !quota::in_scope(quota, self.new) {
            return Ok(None);
        }
        let name = &quota.metadata.name;
        if let Counted::Pod(pod) = self.new
            && let Some(problem) = quota::unspecified(pod, &limited)
        {
            let reason = format!("failed quota: {name}: {problem}");
            return Err(self.attributes.forbidden(reason));
        }
        let used = &quota.status.used;
        if limited.iter().any(|name| !used.contains_key(*name)) {
            let limited: Vec<&str> = limited.into_iter().collect();
            return Err(self.attributes.forbidden(format!(
                "status unknown for quota: {name}, resources: {}",
                limited.join(",")
            )));
        }
        Ok(Some(limited))
    }

    /// Refuses an object that counts for less than nothing.
    pub(super) fn check_sign(&self) -> Verdict {
        let negative = self.used.iter().filter(|(_, amount)| amount.signum() < 0);
        let negative: Vec<&str> = negative.map(|(name, _)| name.as_str()).collect();
        if negative.is_empty() {
            return Ok(());
        }
        Err(self.attributes.forbidden(format!(
            "quota usage is negative for resource(s): {}",
            negative.join(",")
        )))
    }

    /// What a quota is to be charged: for an update of an object that it counted before, only what is more.
    pub(super) fn delta(&self, quota: &Quota) -> &Amounts {
        match self.old {
            Some(old) if quota::in_scope(quota, old) => &self.grows,
            _ => &self.used,
        }
    }

    /// The quota with the request charged to it; None when the request costs it nothing.
    pub(super) fn charge(&self, quota: &Quota) -> Result<Option<Quota>, StatusError> {
        let requested = quota::mask(self.delta(quota), |name| {
            quota.status.hard.contains_key(name)
        });
        if requested.is_empty() {
            return Ok(None);
        }
        let used = quota::add(&quota.status.used, &requested);
        let is_exceeded = |name: &str| {
            used.get(name)
                .zip(quota.status.hard.get(name))
                .is_some_and(|(used, hard)| used > hard)
        };
        let exceeded: BTreeSet<&str> = requested
            .keys()
            .map(String::as_str)
            .filter(|name| is_exceeded(name))
            .collect();
        // A status says what is: it is charged, not refused.
        if !exceeded.is_empty() && self.attributes.subresource != "status" {
            let show = |amounts: &Amounts| {
                quota::pretty(&quota::mask(amounts, |name| exceeded.contains(name)))
            };
            return Err(self.attributes.forbidden(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.metadata.name,
                show(&requested),
                show(&quota.status.used),
                show(&quota.status.hard)
            )));
        }
        let mut charged = quota.clone();
        charged.status.used = used;
        Ok(Some(charged))
    }
}

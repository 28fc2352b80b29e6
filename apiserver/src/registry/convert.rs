//! Conversions between versions of one key space. Upstream: the conversion.go files of pkg/apis.
//!
//! - autoscaling/v1 HorizontalPodAutoscaler and v2, which is stored;
//! - events.k8s.io/v1 Event and core/v1 Event, which is stored;
//! - CustomResourceDefinitions, served as v1 and stored as v1beta1 JSON.
//!
//! Other version pairs (MutatingAdmissionPolicy v1 and v1beta1) have the same fields and only change their apiVersion.

pub(crate) mod autoscaling;
pub(crate) mod crd;
pub(crate) mod event;

use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;

use super::object::Object;

/// Turns an object of one version into one of another.
pub type Convert = fn(Object) -> Result<Object, String>;

/// Between the hub type of a resource and a version it is served in.
pub struct Conversion {
    pub to_hub: Convert,
    pub to_served: Convert,
}

/// Rewrites JSON on its way to and from etcd.
pub struct StoredJson {
    pub to_stored: fn(Vec<u8>) -> Vec<u8>,
    pub from_stored: fn(Vec<u8>) -> Vec<u8>,
}

/// The hub kind of a resource that has another served version, and the way there.
pub fn conversion(info: &ResourceInfo) -> Option<(&'static KindInfo, &'static Conversion)> {
    match (info.group, info.version, info.resource) {
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some((
            api_types::kinds::lookup("autoscaling", "v2", "HorizontalPodAutoscaler")?,
            &autoscaling::CONVERSION,
        )),
        ("events.k8s.io", "v1", "events") => Some((
            api_types::kinds::lookup("", "v1", "Event")?,
            &event::CONVERSION,
        )),
        _ => None,
    }
}

/// How to read objects that an older server stored in another version than today's.
pub fn from_stored_version(
    info: &ResourceInfo,
    api_version: &str,
) -> Option<(&'static KindInfo, Convert)> {
    match (info.resource, api_version) {
        ("horizontalpodautoscalers", "autoscaling/v1") => Some((
            api_types::kinds::lookup("autoscaling", "v1", "HorizontalPodAutoscaler")?,
            autoscaling::CONVERSION.to_hub,
        )),
        ("events", "events.k8s.io/v1") => Some((
            api_types::kinds::lookup("events.k8s.io", "v1", "Event")?,
            event::CONVERSION.to_hub,
        )),
        _ => None,
    }
}

/// The rewriting of a resource that is stored in JSON of another version.
pub fn stored_json(resource: &str) -> Option<&'static StoredJson> {
    (resource == "customresourcedefinitions").then_some(&crd::STORED)
}

//! What tests of plugins need: a cluster of a few objects, and requests about pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_types::core::v1::Pod;
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use apimachinery::status::StatusError;
use component_base::auth::{BoxFuture, UserInfo};

use crate::admission::{
    Attributes, Cluster, Freshness, Operation, Options, Reinvocation, UpdateOutcome,
};
use crate::registry::object::Object;
use crate::request::context::{AuditAnnotations, Warnings};

/// Objects by the name of their resource.
#[derive(Default)]
pub(super) struct Few {
    pub(super) objects: Vec<(&'static str, Arc<Object>)>,
    /// How often an object was looked for.
    pub(super) looks: AtomicUsize,
    /// Nothing is found before that many looks.
    pub(super) late: usize,
}

impl Few {
    pub(super) fn with(mut self, resource: &'static str, object: Object) -> Self {
        self.objects.push((resource, Arc::new(object)));
        self
    }

    fn of(&self, resource: &str, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.objects
            .iter()
            .filter(move |(found, object)| {
                *found == resource && object.metadata().namespace == namespace
            })
            .map(|(_, object)| object)
    }
}

impl Cluster for Few {
    fn get<'a>(
        &'a self,
        _: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        _: Freshness,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let mut found = self
            .of(resource, namespace)
            .find(|object| object.metadata().name == name)
            .cloned();
        if look < self.late {
            found = None;
        }
        Box::pin(async move { Ok(found) })
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>> {
        let found = self.of(resource, namespace).cloned().collect();
        Box::pin(async move { Ok(found) })
    }

    fn update_status<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Object,
    ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>> {
        Box::pin(async { Ok(UpdateOutcome::Updated) })
    }
}

/// A request about an object of a core resource.
pub(super) fn request(
    operation: Operation,
    kind: &str,
    resource: &str,
    object: Object,
) -> Attributes {
    let metadata = object.metadata();
    Attributes {
        operation,
        kind: GroupVersionKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
        },
        resource: GroupVersionResource {
            group: String::new(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
        },
        subresource: String::new(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        object: Some(object),
        old_object: None,
        options: Options::None,
        dry_run: false,
        user: UserInfo::default(),
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        deadline: None,
        reinvocation: Reinvocation::default(),
    }
}

/// The creation of a pod, called `p` in namespace `n` unless it has a name.
pub(in crate::admission) fn create(mut pod: Pod) -> Attributes {
    named(&mut pod);
    request(Operation::Create, "Pod", "pods", Object::from(pod))
}

/// The update of such a pod.
pub(super) fn update(mut old: Pod, mut new: Pod) -> Attributes {
    named(&mut old);
    named(&mut new);
    Attributes {
        old_object: Some(Arc::new(Object::from(old))),
        ..request(Operation::Update, "Pod", "pods", Object::from(new))
    }
}

fn named(pod: &mut Pod) {
    if pod.metadata.name.is_empty() {
        "p".clone_into(&mut pod.metadata.name);
        "n".clone_into(&mut pod.metadata.namespace);
    }
}

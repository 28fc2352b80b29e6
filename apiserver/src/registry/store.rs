//! Create, update and delete of any resource: the fixed order of steps around a strategy and one etcd transaction.
//! Upstream: registry/generic/registry/store.go and registry/rest.

mod create;
mod deletion;
mod update;

use std::sync::Arc;

use api_types::Time;
use api_types::meta::v1::{ObjectMeta, Status};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::status::{self, StatusError};
use bytes::Bytes;
use component_base::auth::BoxFuture;

use super::errors::{Operation, interpret, plain};
use super::object::Object;
use super::resource::Resource;
use super::stored_defaults;
use super::strategy::{Context, Strategy};
use crate::request::context::Warnings;
use crate::request_metrics::RequestMetrics;
use crate::storage::{self, Storage};

pub const OPTIMISTIC_LOCK_ERROR: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A write of one resource by one request.
pub struct Write<'a> {
    pub resource: &'a Arc<Resource>,
    /// The resource's strategy, or that of the subresource written through.
    pub strategy: &'a dyn Strategy,
    pub context: Context,
    pub name: String,
    pub warnings: Warnings,
    /// Allocations that go with the object's creation and change (cluster IPs, node ports).
    pub hooks: Option<Arc<dyn WriteHooks>>,
    /// `--enable-garbage-collector`.
    pub garbage_collection: bool,
    pub metrics: RequestMetrics,
}

/// Validating admission, called with the object as it will be stored, which it gives back.
pub type Validate<'a> = dyn Fn(Object, Option<Arc<Object>>) -> BoxFuture<'a, Result<Object, StatusError>>
    + Send
    + Sync
    + 'a;

/// Validating admission of a deletion, called with the object about to go.
pub type ValidateDelete<'a> =
    dyn Fn(Arc<Object>) -> BoxFuture<'a, Result<(), StatusError>> + Send + Sync + 'a;

/// Side effects outside the object that belong to its write. Upstream: Store.BeginCreate and BeginUpdate.
pub trait WriteHooks: Send + Sync {
    /// Through which subresource it is written; empty for the resource itself. As upstream, others do without.
    fn subresource(&self) -> &'static str {
        ""
    }
    /// Before the object is validated. The reservation is confirmed when the write succeeded and undone otherwise.
    fn begin_create<'a>(
        &'a self,
        object: &'a mut Object,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>>;
    fn begin_update<'a>(
        &'a self,
        object: &'a mut Object,
        old: &'a Object,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>>;
    /// After the object is gone.
    fn after_delete<'a>(&'a self, object: &'a Object, dry_run: bool) -> BoxFuture<'a, ()>;
}

/// What a hook has taken, to be kept or given back.
#[derive(Default)]
pub struct Reservation {
    finish: Option<Box<dyn FnOnce(bool) -> BoxFuture<'static, ()> + Send>>,
}

impl Reservation {
    pub fn none() -> Reservation {
        Reservation::default()
    }

    pub fn new(
        finish: impl FnOnce(bool) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Reservation {
        Reservation {
            finish: Some(Box::new(finish)),
        }
    }

    pub async fn finish(mut self, success: bool) {
        if let Some(finish) = self.finish.take() {
            finish(success).await;
        }
    }
}

/// What a deletion left behind for the response.
pub enum Deleted {
    /// The object: as deleted, or as it waits for deletion.
    Object(Object),
    Status(Box<Status>),
}

/// How an update ends without writing.
enum Refused {
    Error(StatusError),
    /// The last finalizer is gone: the object is to be deleted.
    Emptied(Box<Object>),
    DeleteNow,
    AlreadyDeleting,
}

impl From<StatusError> for Refused {
    fn from(error: StatusError) -> Self {
        Refused::Error(error)
    }
}

/// Clears metadata that only the server sets.
pub fn wipe_system_fields(metadata: &mut ObjectMeta) {
    metadata.creation_timestamp = Time::default();
    metadata.uid.clear();
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link.clear();
}

fn fill_system_fields(metadata: &mut ObjectMeta) {
    metadata.creation_timestamp = Time::now();
    metadata.uid = uuid::Uuid::new_v4().to_string();
}

/// Makes the object's namespace the request's, or refuses another one.
pub fn ensure_namespace(
    request_namespace: &str,
    metadata: &mut ObjectMeta,
) -> Result<(), StatusError> {
    if metadata.namespace == request_namespace {
        return Ok(());
    }
    if metadata.namespace.is_empty() || request_namespace.is_empty() {
        metadata.namespace = request_namespace.to_owned();
        return Ok(());
    }
    Err(status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// An object's version as a number; none is 0. What is no number is a 500 with Go's words, as upstream's versioner leaves it.
fn object_version(object: &Object) -> Result<u64, StatusError> {
    let text = object.metadata().resource_version.as_str();
    if text.is_empty() {
        return Ok(0);
    }
    let problem = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        match text.parse() {
            Ok(version) => return Ok(version),
            Err(_) => "value out of range",
        }
    } else {
        "invalid syntax"
    };
    Err(plain(format!(
        "strconv.ParseUint: parsing {}: {problem}",
        apimachinery::quote::quote(text)
    )))
}

fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    // A generated name's prefix may be "." or "..".
    if prefix {
        return ["/", "%"]
            .iter()
            .filter(|bad| name.contains(**bad))
            .map(|bad| format!("may not contain '{bad}'"))
            .collect();
    }
    crate::request::path_segment_problems(name)
}

impl Write<'_> {
    fn group_resource(&self) -> GroupResource {
        self.resource.group_resource()
    }

    fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.resource.hub.group.to_owned(),
            kind: self.resource.hub.kind.to_owned(),
        }
    }

    fn storage(&self) -> Result<&Storage, StatusError> {
        self.resource.storage()
    }

    /// What goes with a write. Nothing is allocated through a subresource, not even for an object that it creates, as upstream.
    fn allocator(&self) -> Option<&Arc<dyn WriteHooks>> {
        self.hooks
            .as_ref()
            .filter(|hooks| self.context.subresource == hooks.subresource())
    }

    /// The bytes to store. An object that came in a version with other fields than the hub has the hub's defaults only from here on, as
    /// upstream, where they are set when it is read.
    fn encode(&self, object: &mut Object) -> Result<Bytes, StatusError> {
        if self.resource.has_own_fields() && !stored_defaults::is_stored_without(object) {
            self.strategy.default(object);
        }
        self.resource.encode_stored(object)
    }

    fn key(&self, name: &str) -> Result<storage::Key, StatusError> {
        let namespace = if self.resource.info.namespaced {
            self.context.namespace.as_str()
        } else {
            ""
        };
        self.storage()?
            .key(namespace, name)
            .map_err(|error| interpret(error, Operation::Get, &self.group_resource(), name))
    }

    /// Reads the object to be written.
    pub async fn current(&self) -> Result<Object, StatusError> {
        let key = self.key(&self.name)?;
        let stored = self.storage()?.get(&key, "").await.map_err(|error| {
            interpret(error, Operation::Get, &self.group_resource(), &self.name)
        })?;
        self.resource
            .decode_stored(&stored.value, stored.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = |text: &str| {
            let mut object = Object::from(api_types::core::v1::Pod::default());
            object.edit_metadata(|metadata| metadata.resource_version = text.to_owned());
            object_version(&object).map_err(|error| {
                let status: Status = error.into();
                (status.code, status.reason, status.message)
            })
        };
        assert_eq!(version(""), Ok(0));
        assert_eq!(version("0"), Ok(0));
        assert_eq!(version("007"), Ok(7));
        for (text, problem) in [
            ("nonsense", "invalid syntax"),
            ("+1", "invalid syntax"),
            ("99999999999999999999", "value out of range"),
        ] {
            let message = format!("strconv.ParseUint: parsing {text:?}: {problem}");
            assert_eq!(version(text), Err((500, String::new(), message)));
        }
    }
}

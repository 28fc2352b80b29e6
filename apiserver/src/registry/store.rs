//! Create, update and delete of any resource: the fixed order of steps around a strategy and one etcd transaction.
//! Upstream: registry/generic/registry/store.go and registry/rest.

mod deletion;

use std::sync::Arc;
use std::time::Instant;

use api_types::Time;
use api_types::meta::v1::{ObjectMeta, Status};
use apimachinery::field::{self, Path};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::status::{self, StatusError};
use apimachinery::validation as checks;
use bytes::Bytes;
use component_base::auth::BoxFuture;
use parking_lot::Mutex;

use super::errors::{Operation, interpret, plain};
use super::object::Object;
use super::resource::Resource;
use super::stored_defaults;
use super::strategy::{Context, Strategy};
use crate::request::context::Warnings;
use crate::request_metrics::RequestMetrics;
use crate::storage::{
    self, Current, Hint, Preconditions, Storage, Update, UpdateError, UpdateOptions,
};

/// With `generateName`, how many names are tried.
const MAX_NAME_GENERATION_ATTEMPTS: usize = 8;
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

    /// Stores a new object. With `generateName`, names are made up until one is free.
    pub async fn create(
        &self,
        object: Object,
        validate: &Validate<'_>,
    ) -> Result<Object, StatusError> {
        let generates =
            !object.metadata().generate_name.is_empty() && object.metadata().name.is_empty();
        if !generates {
            return self.create_once(object, validate).await;
        }
        let mut attempt = 1;
        loop {
            match self.create_once(object.clone(), validate).await {
                Err(error)
                    if status::is_already_exists(&error)
                        && attempt < MAX_NAME_GENERATION_ATTEMPTS =>
                {
                    attempt += 1
                }
                result => return result,
            }
        }
    }

    async fn create_once(
        &self,
        mut object: Object,
        validate: &Validate<'_>,
    ) -> Result<Object, StatusError> {
        let reservation = self.prepare_create(&mut object).await?;
        let result = self.store_new(object, validate).await;
        reservation.finish(result.is_ok()).await;
        result
    }

    /// Everything before validating admission of a new object, but for the checks themselves.
    async fn prepare_create(&self, object: &mut Object) -> Result<Reservation, StatusError> {
        object.edit_metadata(|metadata| {
            fill_system_fields(metadata);
            if !metadata.generate_name.is_empty() && metadata.name.is_empty() {
                metadata.name = self.strategy.generate_name(&metadata.generate_name);
            }
        });
        match self.allocator() {
            Some(hooks) => hooks.begin_create(object, self.context.dry_run).await,
            None => Ok(Reservation::none()),
        }
    }

    async fn store_new(
        &self,
        mut object: Object,
        validate: &Validate<'_>,
    ) -> Result<Object, StatusError> {
        self.before_create(&mut object)?;
        let mut object = validate(object, None).await?;
        if !matches!(object.metadata().resource_version.as_str(), "" | "0") {
            return Err(plain(
                "resourceVersion should not be set on objects to be created".to_owned(),
            ));
        }
        let name = object.metadata().name.clone();
        let key = self.key(&name)?;
        let value = self.encode(&mut object)?;
        let storage = self.storage()?;
        let created = if self.context.dry_run {
            match storage.get(&key, "").await {
                Ok(_) => Err(storage::Error::AlreadyExists {
                    key: key.as_str().to_owned(),
                }),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        } else {
            storage
                .create(&key, value.clone(), self.resource.ttl)
                .await
                .map(Some)
        };
        match created {
            Ok(stored) => {
                let version = stored
                    .map(|stored| stored.resource_version.to_string())
                    .unwrap_or_default();
                object.edit_metadata(|metadata| metadata.resource_version = version);
                stored_defaults::complete(&mut object);
                object.set_stored(value);
                Ok(object)
            }
            Err(error) => Err(self.create_failed(error, &object, &key).await),
        }
    }

    async fn create_failed(
        &self,
        error: storage::Error,
        object: &Object,
        key: &storage::Key,
    ) -> StatusError {
        let exists = matches!(error, storage::Error::AlreadyExists { .. });
        let name = &object.metadata().name;
        let error = interpret(error, Operation::Create, &self.group_resource(), name);
        if !exists {
            return error;
        }
        let mut error = error;
        if !object.metadata().generate_name.is_empty() {
            let resource = GroupResource::new(self.resource.hub.group, self.resource.info.resource);
            error = status::generate_name_conflict(&resource, name, 1);
        }
        let Ok(storage) = self.storage() else {
            return error;
        };
        if let Ok(existing) = storage.get(key, "").await
            && let Ok(existing) = self
                .resource
                .decode_stored(&existing.value, existing.resource_version)
            && existing.metadata().deletion_timestamp.is_some()
        {
            let mut status: Status = error.into();
            status.message = format!("object is being deleted: {}", status.message);
            return status.into();
        }
        error
    }

    /// Prepare, validate, warn, canonicalize.
    fn before_create(&self, object: &mut Object) -> Result<(), StatusError> {
        let namespaced = self.resource.info.namespaced;
        let namespace = if namespaced {
            self.context.namespace.clone()
        } else {
            String::new()
        };
        if let Some(metadata) = object.metadata_mut() {
            ensure_namespace(&namespace, metadata)?;
        }
        self.strategy.prepare_for_create(&self.context, object);
        let mut errors = self.strategy.validate(&self.context, object);
        if errors.is_empty() {
            errors = checks::validate_object_meta(
                object.metadata(),
                namespaced,
                path_segment,
                &Path::new("metadata"),
            );
        }
        if !errors.is_empty() {
            return Err(status::invalid(
                &self.group_kind(),
                &object.metadata().name,
                &errors,
            ));
        }
        for warning in self.strategy.warnings_on_create(&self.context, object) {
            self.warnings.add(warning);
        }
        self.strategy.canonicalize(object);
        super::normalize::normalize(object);
        Ok(())
    }

    fn before_update(&self, object: &mut Object, old: &Object) -> Result<(), StatusError> {
        let namespaced = self.resource.info.namespaced;
        let namespace = if namespaced {
            self.context.namespace.clone()
        } else {
            String::new()
        };
        let old_metadata = old.metadata().clone();
        if let Some(metadata) = object.metadata_mut() {
            ensure_namespace(&namespace, metadata)?;
            metadata.generation = old_metadata.generation;
        }
        self.strategy.prepare_for_update(&self.context, object, old);
        object.edit_metadata(|metadata| {
            if metadata.uid.is_empty() {
                metadata.uid.clone_from(&old_metadata.uid);
            }
            if !old_metadata.creation_timestamp.is_zero() {
                metadata.creation_timestamp = old_metadata.creation_timestamp;
            }
            if old_metadata.deletion_timestamp.is_some() {
                metadata.deletion_timestamp = old_metadata.deletion_timestamp;
            }
            if old_metadata.deletion_grace_period_seconds.is_some()
                && metadata.deletion_grace_period_seconds.is_none()
            {
                metadata.deletion_grace_period_seconds = old_metadata.deletion_grace_period_seconds;
            }
        });
        let path = Path::new("metadata");
        let mut errors =
            checks::validate_object_meta(object.metadata(), namespaced, path_segment, &path);
        errors.extend(checks::validate_object_meta_update(
            object.metadata(),
            &old_metadata,
            &path,
        ));
        errors.extend(self.strategy.validate_update(&self.context, object, old));
        if !errors.is_empty() {
            return Err(status::invalid(
                &self.group_kind(),
                &object.metadata().name,
                &errors,
            ));
        }
        for warning in self.strategy.warnings_on_update(&self.context, object, old) {
            self.warnings.add(warning);
        }
        self.strategy.canonicalize(object);
        super::normalize::normalize(object);
        Ok(())
    }

    /// Changes an object. `updated` makes the new object out of the current one (None: there is none, and the request
    /// may create it); it runs again when the object changed meanwhile. True when the object was created.
    pub async fn update<'u, F>(
        &self,
        uid: Option<String>,
        allow_create: bool,
        validate: &Validate<'_>,
        updated: F,
    ) -> Result<(Object, bool), StatusError>
    where
        F: Fn(Option<Arc<Object>>) -> BoxFuture<'u, Result<Object, StatusError>> + Send + Sync,
    {
        let key = self.key(&self.name)?;
        let allow_create = allow_create || self.strategy.allow_create_on_update();
        let preconditions = Preconditions {
            uid: uid.filter(|uid| !uid.is_empty()),
            resource_version: None,
        };
        let result: Mutex<Option<(Object, bool)>> = Mutex::new(None);
        let attempt = |current: Current| {
            let (result, updated) = (&result, &updated);
            async move {
                let existing = match &current.object {
                    Some(stored) => Some(Arc::new(
                        self.resource
                            .decode_stored(&stored.value, stored.resource_version)?,
                    )),
                    None => None,
                };
                let created = existing.is_none();
                let mut object = match &existing {
                    Some(existing) => {
                        self.attempt_update(
                            existing,
                            validate,
                            updated(Some(existing.clone())).await?,
                        )
                        .await?
                    }
                    None if allow_create => {
                        self.attempt_create(validate, updated(None).await?).await?
                    }
                    None => {
                        return Err(status::not_found(&self.group_resource(), &self.name).into());
                    }
                };
                let value = self.encode(&mut object)?;
                *result.lock() = Some((object, created));
                let stored = current.object.as_ref();
                if stored.is_some_and(|stored| self.resource.is_incomplete(&stored.value)) {
                    return Ok(Update::Rewrite { value });
                }
                Ok::<Update, Refused>(Update::Write {
                    value,
                    ttl: self.resource.ttl,
                })
            }
        };
        let storage = self.storage()?;
        let outcome = if self.context.dry_run {
            self.dry_run_update(&key, &preconditions, allow_create, attempt)
                .await
        } else {
            let options = UpdateOptions {
                preconditions: preconditions.clone(),
                ignore_not_found: allow_create,
                hint: Hint::Cache,
            };
            storage.guaranteed_update(&key, options, attempt).await
        };
        let created_name = |result: &Mutex<Option<(Object, bool)>>| {
            result.lock().as_ref().is_some_and(|(_, created)| *created)
        };
        match outcome {
            Ok(stored) => {
                let taken = result.lock().take();
                let Some((mut object, created)) = taken else {
                    return Ok((
                        self.resource
                            .decode_stored(&stored.value, stored.resource_version)?,
                        false,
                    ));
                };
                let version = if stored.resource_version == 0 {
                    String::new()
                } else {
                    stored.resource_version.to_string()
                };
                object.edit_metadata(|metadata| metadata.resource_version = version);
                stored_defaults::complete(&mut object);
                object.set_stored(stored.value);
                Ok((object, created))
            }
            Err(UpdateError::Rejected(Refused::Error(error))) => Err(error),
            Err(UpdateError::Rejected(Refused::Emptied(object))) => self
                .delete_without_finalizers(&key, *object, preconditions)
                .await
                .map(|object| (object, false)),
            Err(UpdateError::Rejected(Refused::DeleteNow | Refused::AlreadyDeleting)) => Err(
                status::internal("an update cannot ask for immediate deletion"),
            ),
            Err(UpdateError::Storage(error)) => {
                let operation = if created_name(&result) {
                    Operation::Create
                } else {
                    Operation::Update
                };
                Err(interpret(
                    error,
                    operation,
                    &self.group_resource(),
                    &self.name,
                ))
            }
        }
    }

    async fn attempt_create(
        &self,
        validate: &Validate<'_>,
        mut object: Object,
    ) -> Result<Object, Refused> {
        let reservation = self.prepare_create(&mut object).await?;
        let checked = match self.before_create(&mut object) {
            Ok(()) => validate(object, None).await,
            Err(error) => Err(error),
        };
        // As upstream, allocations of a create-on-update are confirmed before the transaction.
        reservation.finish(checked.is_ok()).await;
        Ok(checked?)
    }

    async fn attempt_update(
        &self,
        existing: &Arc<Object>,
        validate: &Validate<'_>,
        mut object: Object,
    ) -> Result<Object, Refused> {
        let existing_version = &existing.metadata().resource_version;
        let version = object_version(&object)?;
        if version == 0 && self.strategy.allow_unconditional_update() {
            object.edit_metadata(|metadata| metadata.resource_version.clone_from(existing_version));
        } else if version == 0 {
            let kind = GroupKind {
                group: self.resource.info.group.to_owned(),
                kind: self.resource.info.resource.to_owned(),
            };
            let path = Path::new("metadata").child("resourceVersion");
            let errors = field::invalid(&path, 0i64, "must be specified for an update").into();
            return Err(status::invalid(&kind, &self.name, &errors).into());
        } else if version != object_version(existing)? {
            return Err(status::conflict(
                &self.group_resource(),
                &self.name,
                OPTIMISTIC_LOCK_ERROR,
            )
            .into());
        }
        let reservation = match self.allocator() {
            Some(hooks) => {
                hooks
                    .begin_update(&mut object, existing, self.context.dry_run)
                    .await?
            }
            None => Reservation::none(),
        };
        let checked = match self.before_update(&mut object, existing) {
            Ok(()) => {
                let start = Instant::now();
                let outcome =
                    super::managed_fields::ignore_timestamp_changes(&mut object, existing);
                self.metrics.compared(outcome, start.elapsed());
                validate(object, Some(existing.clone())).await
            }
            Err(error) => Err(error),
        };
        reservation.finish(checked.is_ok()).await;
        let object = checked?;
        let old = existing.metadata();
        if object.metadata().finalizers.is_empty()
            && old.deletion_timestamp.is_some()
            && old.deletion_grace_period_seconds.unwrap_or(0) == 0
            && self.deletes_when_emptied(&object, existing)
        {
            return Err(Refused::Emptied(Box::new(object)));
        }
        Ok(object)
    }

    /// Namespaces go only when their spec's finalizers are gone too.
    fn deletes_when_emptied(&self, object: &Object, existing: &Object) -> bool {
        match (
            object.get::<api_types::core::v1::Namespace>(),
            existing.get::<api_types::core::v1::Namespace>(),
        ) {
            (Some(object), Some(_)) => object.spec.finalizers.is_empty(),
            _ => true,
        }
    }

    /// Changes the stored object without any strategy, with what `edit` makes of it.
    pub async fn modify<F>(
        &self,
        preconditions: Preconditions,
        edit: F,
    ) -> Result<Object, StatusError>
    where
        F: Fn(Object) -> BoxFuture<'static, Result<Object, StatusError>> + Send + Sync,
    {
        let key = self.key(&self.name)?;
        let result: Mutex<Option<Object>> = Mutex::new(None);
        let attempt = |current: Current| {
            let (result, edit) = (&result, &edit);
            async move {
                let Some(stored) = current.object else {
                    return Err(Refused::Error(status::not_found(
                        &self.group_resource(),
                        &self.name,
                    )));
                };
                let mut object = edit(
                    self.resource
                        .decode_stored(&stored.value, stored.resource_version)?,
                )
                .await?;
                let value = self.resource.encode_stored(&mut object)?;
                *result.lock() = Some(object);
                Ok(Update::Write {
                    value,
                    ttl: self.resource.ttl,
                })
            }
        };
        let outcome = if self.context.dry_run {
            self.dry_run_update(&key, &preconditions, false, attempt)
                .await
        } else {
            let options = UpdateOptions {
                preconditions: preconditions.clone(),
                ignore_not_found: false,
                hint: Hint::Cache,
            };
            self.storage()?
                .guaranteed_update(&key, options, attempt)
                .await
        };
        match outcome {
            Ok(stored) => {
                let Some(mut object) = result.into_inner() else {
                    return self
                        .resource
                        .decode_stored(&stored.value, stored.resource_version);
                };
                object.edit_metadata(|metadata| {
                    metadata.resource_version = stored.resource_version.to_string()
                });
                object.set_stored(stored.value);
                Ok(object)
            }
            Err(UpdateError::Rejected(Refused::Error(error))) => Err(error),
            Err(UpdateError::Rejected(_)) => {
                Err(status::internal("the change cannot delete the object"))
            }
            Err(UpdateError::Storage(error)) => Err(interpret(
                error,
                Operation::Update,
                &self.group_resource(),
                &self.name,
            )),
        }
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

    async fn dry_run_update<F, Fut>(
        &self,
        key: &storage::Key,
        preconditions: &Preconditions,
        allow_create: bool,
        attempt: F,
    ) -> Result<storage::Object, UpdateError<Refused>>
    where
        F: Fn(Current) -> Fut,
        Fut: Future<Output = Result<Update, Refused>>,
    {
        let storage = self
            .storage()
            .map_err(|error| UpdateError::Rejected(error.into()))?;
        let current = match storage.get(key, "").await {
            Ok(object) => Some(object),
            Err(error) if error.is_not_found() && allow_create => None,
            Err(error) => return Err(error.into()),
        };
        if let (Some(uid), Some(object)) = (&preconditions.uid, &current) {
            let decoded = self
                .resource
                .decode_stored(&object.value, object.resource_version)
                .map_err(|error| UpdateError::Rejected(error.into()))?;
            if &decoded.metadata().uid != uid {
                return Err(storage::Error::PreconditionFailed {
                    key: key.as_str().to_owned(),
                    message: format!(
                        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                        decoded.metadata().uid
                    ),
                }
                .into());
            }
        }
        let resource_version = current.as_ref().map_or(0, |object| object.resource_version);
        let value = match attempt(Current {
            object: current.clone(),
        })
        .await
        .map_err(UpdateError::Rejected)?
        {
            Update::Write { value, .. } | Update::Rewrite { value } => value,
            Update::Unchanged => current.map(|object| object.value).unwrap_or_default(),
        };
        Ok(storage::Object {
            key: key.clone(),
            value,
            resource_version,
        })
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

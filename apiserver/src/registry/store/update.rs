//! Changes of objects. Upstream: Store.Update of registry/generic/registry/store.go and rest.BeforeUpdate.

use std::sync::Arc;
use std::time::Instant;

use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use apimachinery::validation as checks;
use component_base::auth::BoxFuture;
use parking_lot::Mutex;

use super::super::errors::{Operation, interpret};
use super::super::object::Object;
use super::super::stored_defaults;
use super::{
    OPTIMISTIC_LOCK_ERROR, Refused, Reservation, Validate, Write, ensure_namespace, object_version,
    path_segment,
};
use crate::storage::{self, Current, Hint, Preconditions, Update, UpdateError, UpdateOptions};

impl Write<'_> {
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
        super::super::normalize::normalize(object);
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
                    super::super::managed_fields::ignore_timestamp_changes(&mut object, existing);
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

    pub(super) async fn dry_run_update<F, Fut>(
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

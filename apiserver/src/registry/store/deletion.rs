//! Deletion: at once, after a grace period, or when the last finalizer is gone.
//! Upstream: Store.Delete, rest.BeforeDelete and the finalizer functions of registry/generic/registry/store.go.

use std::sync::Arc;

use api_types::Time;
use api_types::meta::v1::{DeleteOptions, ObjectMeta, Status, StatusDetails};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use parking_lot::Mutex;

use super::super::errors::{Operation, interpret};
use super::super::object::Object;
use super::super::strategy::GarbageCollection;
use super::{Deleted, Refused, ValidateDelete, Write};
use crate::storage::{self, Current, Hint, Preconditions, Update, UpdateError, UpdateOptions};

const FINALIZER_ORPHAN: &str = "orphan";
const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

impl Write<'_> {
    /// Deletes an object whose last finalizer an update has just removed. The client gets the object it wrote.
    pub(super) async fn delete_without_finalizers(
        &self,
        key: &storage::Key,
        object: Object,
        preconditions: Preconditions,
    ) -> Result<Object, StatusError> {
        if self.context.dry_run {
            return Ok(object);
        }
        let options = storage::DeleteOptions {
            preconditions,
            hint: Hint::Cache,
        };
        let deleted = self
            .storage()?
            .delete(key, options, |_| {
                std::future::ready(Ok::<(), StatusError>(()))
            })
            .await;
        match deleted {
            Ok(_) => self.after_delete(&object).await,
            // Somebody else removed it at the same time.
            Err(UpdateError::Storage(error)) if error.is_not_found() => {
                self.after_delete(&object).await
            }
            Err(UpdateError::Storage(error)) => {
                return Err(interpret(
                    error,
                    Operation::Delete,
                    &self.group_resource(),
                    &self.name,
                ));
            }
            Err(UpdateError::Rejected(error)) => return Err(error),
        }
        Ok(object)
    }

    async fn after_delete(&self, object: &Object) {
        if let Some(hooks) = &self.hooks {
            hooks.after_delete(object, self.context.dry_run).await;
        }
    }

    /// Deletes an object, at once or when its grace period and finalizers allow. True when it is gone.
    pub async fn delete(
        &self,
        options: &mut DeleteOptions,
        validate: &ValidateDelete<'_>,
    ) -> Result<(Deleted, bool), StatusError> {
        let key = self.key(&self.name)?;
        let storage = self.storage()?;
        let stored = storage.get(&key, "").await.map_err(|error| {
            interpret(error, Operation::Delete, &self.group_resource(), &self.name)
        })?;
        let mut object = self
            .resource
            .decode_stored(&stored.value, stored.resource_version)?;
        let (graceful, pending) = self.before_delete(&mut object, options)?;
        if pending {
            return Ok((self.finalize_delete(object, false).await, false));
        }
        let mut preconditions = options
            .preconditions
            .as_ref()
            .map(|preconditions| Preconditions {
                uid: preconditions.uid.clone(),
                resource_version: preconditions.resource_version.clone(),
            })
            .unwrap_or_default();
        let finalizers_change = self
            .deletion_finalizers(object.metadata(), options)
            .is_some();
        let mut last_existing = None;
        let mut ignore_not_found = false;
        if graceful || !object.metadata().finalizers.is_empty() || finalizers_change {
            match self
                .mark_for_deletion(&key, options, preconditions.clone(), validate)
                .await?
            {
                Marked::Waits(object) => return Ok((Deleted::Object(object), false)),
                Marked::AlreadyDeleting => {
                    return Ok((self.finalize_delete(object, true).await, false));
                }
                Marked::DeleteNow => {}
                Marked::Updated(object) => {
                    if self.context.dry_run {
                        return Ok((Deleted::Object(object), true));
                    }
                    if preconditions.resource_version.is_some() {
                        preconditions.resource_version =
                            Some(object.metadata().resource_version.clone());
                    }
                    ignore_not_found = true;
                    last_existing = Some(object);
                }
            }
        }
        if self.context.dry_run {
            self.check_preconditions(&object, &preconditions, &key)?;
            validate(Arc::new(object.clone())).await?;
            return Ok((self.finalize_delete(object, true).await, true));
        }
        let deleted = storage
            .delete(
                &key,
                storage::DeleteOptions {
                    preconditions,
                    hint: Hint::Cache,
                },
                |current| async move {
                    let object = self
                        .resource
                        .decode_stored(&current.value, current.resource_version)?;
                    validate(Arc::new(object)).await
                },
            )
            .await;
        match deleted {
            Ok(stored) => {
                let object = self
                    .resource
                    .decode_stored(&stored.value, stored.resource_version)?;
                Ok((self.finalize_delete(object, true).await, true))
            }
            Err(UpdateError::Storage(error)) => match last_existing {
                Some(object) if error.is_not_found() && ignore_not_found => {
                    Ok((self.finalize_delete(object, true).await, true))
                }
                _ => Err(interpret(
                    error,
                    Operation::Delete,
                    &self.group_resource(),
                    &self.name,
                )),
            },
            Err(UpdateError::Rejected(error)) => Err(error),
        }
    }

    fn check_preconditions(
        &self,
        object: &Object,
        preconditions: &Preconditions,
        key: &storage::Key,
    ) -> Result<(), StatusError> {
        let metadata = object.metadata();
        let failed = |message: String| {
            let error = storage::Error::PreconditionFailed {
                key: key.as_str().to_owned(),
                message,
            };
            interpret(error, Operation::Delete, &self.group_resource(), &self.name)
        };
        match preconditions {
            Preconditions { uid: Some(uid), .. } if *uid != metadata.uid => Err(failed(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                metadata.uid
            ))),
            Preconditions {
                resource_version: Some(version),
                ..
            } if *version != metadata.resource_version => Err(failed(format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                metadata.resource_version
            ))),
            _ => Ok(()),
        }
    }

    async fn finalize_delete(&self, object: Object, hooks: bool) -> Deleted {
        if hooks {
            self.after_delete(&object).await;
        }
        if self.resource.returns_deleted_object {
            return Deleted::Object(object);
        }
        // Upstream puts the resource where the kind is expected.
        let details = StatusDetails {
            name: object.metadata().name.clone(),
            group: self.resource.info.group.to_owned(),
            kind: self.resource.info.resource.to_owned(),
            uid: object.metadata().uid.clone(),
            ..StatusDetails::default()
        };
        Deleted::Status(Box::new(Status {
            status: "Success".to_owned(),
            details: Some(Box::new(details)),
            ..Status::default()
        }))
    }

    /// Sets what graceful deletion sets. The verdict: is deletion graceful, and is it already under way.
    fn before_delete(
        &self,
        object: &mut Object,
        options: &mut DeleteOptions,
    ) -> Result<(bool, bool), StatusError> {
        let metadata = object.metadata().clone();
        if let Some(preconditions) = &options.preconditions {
            let resource = GroupResource::new(self.resource.hub.group, self.resource.hub.kind);
            if let Some(uid) = preconditions
                .uid
                .as_ref()
                .filter(|uid| **uid != metadata.uid)
            {
                return Err(status::conflict(
                    &resource,
                    &metadata.name,
                    format!(
                        "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                        metadata.uid
                    ),
                ));
            }
            if let Some(version) = preconditions
                .resource_version
                .as_ref()
                .filter(|version| **version != metadata.resource_version)
            {
                return Err(status::conflict(
                    &resource,
                    &metadata.name,
                    format!(
                        "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                        metadata.resource_version
                    ),
                ));
            }
        }
        // Negative grace periods count as one second.
        if options
            .grace_period_seconds
            .is_some_and(|seconds| seconds < 0)
        {
            options.grace_period_seconds = Some(1);
        }
        if metadata
            .deletion_grace_period_seconds
            .is_some_and(|seconds| seconds < 0)
        {
            object.edit_metadata(|metadata| metadata.deletion_grace_period_seconds = Some(1));
        }
        if !self.strategy.supports_graceful_delete() {
            return Ok((false, false));
        }
        if let Some(deletion) = metadata.deletion_timestamp {
            let current = object.metadata().deletion_grace_period_seconds.unwrap_or(0);
            if current == 0 {
                return Ok((false, false));
            }
            let Some(mut period) = options.grace_period_seconds else {
                options.grace_period_seconds = Some(current);
                return Ok((false, true));
            };
            // A grace period that runs can only be made shorter.
            if period >= current {
                return Ok((false, true));
            }
            let mut shortened = Time::from_timestamp(
                deletion.timestamp() - jiff::SignedDuration::from_secs(current - period),
            );
            let now = Time::now();
            if shortened.timestamp() < now.timestamp() {
                shortened = now;
                if period != 0 {
                    // The node still has to be told and to do the last step itself.
                    period = 1;
                }
            }
            object.edit_metadata(|metadata| {
                metadata.deletion_timestamp = Some(shortened);
                metadata.deletion_grace_period_seconds = Some(period);
            });
            return Ok((true, false));
        }
        if !self.strategy.check_graceful_delete(object, options) {
            return Ok((false, false));
        }
        let Some(seconds) = options.grace_period_seconds else {
            return Err(status::internal(
                "options.GracePeriodSeconds should not be nil",
            ));
        };
        let at = Time::from_timestamp(
            Time::now().timestamp() + jiff::SignedDuration::from_secs(seconds),
        );
        object.edit_metadata(|metadata| {
            metadata.deletion_timestamp = Some(at);
            metadata.deletion_grace_period_seconds = Some(seconds);
            if metadata.generation > 0 {
                metadata.generation += 1;
            }
        });
        Ok((true, false))
    }

    /// The finalizers a deletion leaves for the garbage collector; None when nothing changes.
    fn deletion_finalizers(
        &self,
        metadata: &ObjectMeta,
        options: &DeleteOptions,
    ) -> Option<Vec<String>> {
        if !self.garbage_collection {
            return None;
        }
        let policy = self.strategy.garbage_collection(&self.context);
        let has = |finalizer: &str| {
            metadata
                .finalizers
                .iter()
                .find(|have| matches!(have.as_str(), FINALIZER_ORPHAN | FINALIZER_FOREGROUND))
                .is_some_and(|first| first == finalizer)
        };
        let (orphan, foreground) = match (
            policy,
            options.orphan_dependents,
            options.propagation_policy.as_deref(),
        ) {
            (GarbageCollection::Unsupported, _, _) => (false, false),
            (_, Some(orphan), _) => (orphan, false),
            (_, None, Some("Orphan")) => (true, false),
            (_, None, Some("Foreground")) => (false, true),
            (_, None, Some("Background")) => (false, false),
            _ if has(FINALIZER_ORPHAN) => (true, false),
            _ if has(FINALIZER_FOREGROUND) => (false, true),
            (policy, None, _) => (policy == GarbageCollection::OrphanDependents, false),
        };
        let mut finalizers: Vec<String> = metadata
            .finalizers
            .iter()
            .filter(|have| !matches!(have.as_str(), FINALIZER_ORPHAN | FINALIZER_FOREGROUND))
            .cloned()
            .collect();
        if orphan {
            finalizers.push(FINALIZER_ORPHAN.to_owned());
        }
        if foreground {
            finalizers.push(FINALIZER_FOREGROUND.to_owned());
        }
        let set = |finalizers: &[String]| {
            finalizers
                .iter()
                .cloned()
                .collect::<std::collections::BTreeSet<_>>()
        };
        (set(&finalizers) != set(&metadata.finalizers)).then_some(finalizers)
    }

    async fn mark_for_deletion(
        &self,
        key: &storage::Key,
        options: &mut DeleteOptions,
        preconditions: Preconditions,
        validate: &ValidateDelete<'_>,
    ) -> Result<Marked, StatusError> {
        let result: Mutex<Option<(Object, bool, i64)>> = Mutex::new(None);
        let shared = Mutex::new(std::mem::take(options));
        let attempt = |current: Current| {
            let (result, shared) = (&result, &shared);
            async move {
                let Some(stored) = current.object else {
                    return Err(Refused::Error(status::not_found(
                        &self.group_resource(),
                        &self.name,
                    )));
                };
                let mut existing = self
                    .resource
                    .decode_stored(&stored.value, stored.resource_version)?;
                validate(Arc::new(existing.clone())).await?;
                let (graceful, grace, new_finalizers) = {
                    let mut options = shared.lock();
                    let (graceful, pending) = self.before_delete(&mut existing, &mut options)?;
                    if pending {
                        return Err(Refused::AlreadyDeleting);
                    }
                    (
                        graceful,
                        options.grace_period_seconds.unwrap_or(0),
                        self.deletion_finalizers(existing.metadata(), &options),
                    )
                };
                if let Some(finalizers) = new_finalizers {
                    existing.edit_metadata(|metadata| metadata.finalizers = finalizers);
                }
                let pending_finalizers = !existing.metadata().finalizers.is_empty();
                if !graceful {
                    if !pending_finalizers {
                        return Err(Refused::DeleteNow);
                    }
                    mark_as_deleting(&mut existing);
                }
                let value = self.resource.encode_stored(&mut existing)?;
                *result.lock() = Some((
                    existing,
                    pending_finalizers,
                    if graceful { grace } else { 0 },
                ));
                Ok(Update::Write { value, ttl: None })
            }
        };
        let storage = self.storage()?;
        let outcome = if self.context.dry_run {
            self.dry_run_update(key, &preconditions, false, attempt)
                .await
        } else {
            let update = UpdateOptions {
                preconditions,
                ignore_not_found: false,
                hint: Hint::Cache,
            };
            storage.guaranteed_update(key, update, attempt).await
        };
        *options = shared.into_inner();
        match outcome {
            Ok(stored) => {
                let Some((mut object, pending_finalizers, grace)) = result.into_inner() else {
                    return Err(status::internal("deletion was not recorded"));
                };
                object.edit_metadata(|metadata| {
                    metadata.resource_version = stored.resource_version.to_string()
                });
                Ok(if pending_finalizers || grace > 0 {
                    Marked::Waits(object)
                } else {
                    Marked::Updated(object)
                })
            }
            Err(UpdateError::Rejected(Refused::Error(error))) => Err(error),
            Err(UpdateError::Rejected(Refused::AlreadyDeleting)) => Ok(Marked::AlreadyDeleting),
            Err(UpdateError::Rejected(Refused::DeleteNow | Refused::Emptied(_))) => {
                Ok(Marked::DeleteNow)
            }
            Err(UpdateError::Storage(error)) => Err(interpret(
                error,
                Operation::Update,
                &self.group_resource(),
                &self.name,
            )),
        }
    }
}

/// What marking for deletion came to.
enum Marked {
    /// The object stays until its grace period or finalizers are done.
    Waits(Object),
    /// The object was marked and can be removed now.
    Updated(Object),
    /// Nothing needed marking.
    DeleteNow,
    AlreadyDeleting,
}

fn mark_as_deleting(object: &mut Object) {
    let now = Time::now();
    object.edit_metadata(|metadata| {
        if metadata.deletion_timestamp.is_none() && metadata.generation > 0 {
            metadata.generation += 1;
        }
        if metadata
            .deletion_timestamp
            .is_none_or(|time| time.timestamp() > now.timestamp())
        {
            metadata.deletion_timestamp = Some(now);
        }
        metadata.deletion_grace_period_seconds = Some(0);
    });
}

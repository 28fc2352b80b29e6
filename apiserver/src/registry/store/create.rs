//! New objects. Upstream: Store.Create of registry/generic/registry/store.go and rest.BeforeCreate.

use api_types::meta::v1::Status;
use apimachinery::field::Path;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use apimachinery::validation as checks;

use super::super::errors::{Operation, interpret, plain};
use super::super::object::Object;
use super::super::stored_defaults;
use super::{Reservation, Validate, Write, ensure_namespace, fill_system_fields, path_segment};
use crate::storage;

/// With `generateName`, how many names are tried.
const MAX_NAME_GENERATION_ATTEMPTS: usize = 8;

impl Write<'_> {
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
    pub(super) async fn prepare_create(
        &self,
        object: &mut Object,
    ) -> Result<Reservation, StatusError> {
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
    pub(super) fn before_create(&self, object: &mut Object) -> Result<(), StatusError> {
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
        super::super::normalize::normalize(object);
        Ok(())
    }
}

//! The server as its own client: writes of hooks and controllers inside the process go the same way as anyone's, with
//! admission and validation, as the user system:apiserver. There is no token for it that works from outside.
//! Upstream: the loopback client config.

use std::sync::{Arc, OnceLock, Weak};

use api_types::Resource as ApiResource;
use api_types::meta::v1::{CreateOptions, DeleteOptions, PatchOptions, UpdateOptions};
use apimachinery::status::{self, StatusError};
use component_base::auth::{ALL_AUTHENTICATED, SYSTEM_PRIVILEGED_GROUP, UserInfo};
use component_base::serving::ConnectionInfo;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tokio::time::Instant;

use crate::flowcontrol::Place;
use crate::handlers::options::FieldValidation;
use crate::handlers::patch::{self, PatchRequest, PatchType};
use crate::handlers::{self, Endpoint, delete, write};
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::request::RequestInfo;
use crate::request::context::{AuditAnnotations, RequestContext, Warnings};
use crate::request::query::Query;
use crate::request_metrics::Measured;
use crate::server::ApiServer;
use crate::storage::{Entry, Everything, ListOptions};

/// Typed access to the server's own resources.
#[derive(Clone)]
pub struct Loopback {
    server: Arc<ApiServer>,
    /// Who owns what is written; empty for what the user agent says.
    manager: &'static str,
}

/// The client for parts of a server that are made before it.
#[derive(Clone, Default)]
pub struct LateLoopback(Arc<OnceLock<Weak<ApiServer>>>);

impl LateLoopback {
    /// Tells whose client it is.
    pub fn attach(&self, server: &Arc<ApiServer>) {
        let _ = self.0.set(Arc::downgrade(server));
    }

    /// None while the server is not built, and when it is gone.
    pub fn get(&self) -> Option<Loopback> {
        let server = self.0.get().and_then(Weak::upgrade)?;
        Some(Loopback::new(&server))
    }
}

/// A request of the server to itself.
pub fn context(verb: &str, resource: &Resource, namespace: &str, name: &str) -> RequestContext {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("kube-apiserver/v1.36.2 (linux/amd64) kubernetes"),
    );
    let info = resource.info;
    RequestContext {
        method: Method::GET,
        uri: Uri::default(),
        info: RequestInfo {
            is_resource_request: true,
            verb: verb.to_owned(),
            api_group: info.group.to_owned(),
            api_version: info.version.to_owned(),
            namespace: namespace.to_owned(),
            resource: info.resource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        },
        query: Query::default(),
        headers,
        user: UserInfo {
            name: "system:apiserver".to_owned(),
            uid: String::new(),
            groups: vec![
                SYSTEM_PRIVILEGED_GROUP.to_owned(),
                ALL_AUTHENTICATED.to_owned(),
            ],
            ..UserInfo::default()
        },
        audit_id: uuid::Uuid::new_v4().to_string(),
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        audit: None,
        received: Instant::now(),
        deadline: None,
        connection: Arc::new(ConnectionInfo::in_process()),
        place: Place::default(),
        measured: Measured::default(),
        trace: None,
        line: None,
    }
}

fn typed<T: ApiResource>(object: Object) -> Result<T, StatusError> {
    object
        .into_value()
        .downcast::<T>()
        .map(|object| *object)
        .map_err(|_| status::internal("stored object is of another type"))
}

impl Loopback {
    pub fn new(server: &Arc<ApiServer>) -> Loopback {
        Loopback {
            server: server.clone(),
            manager: "",
        }
    }

    /// The same client, whose writes have another field manager.
    pub fn managed_by(&self, manager: &'static str) -> Loopback {
        Loopback {
            manager,
            ..self.clone()
        }
    }

    fn create_options(&self) -> CreateOptions {
        CreateOptions {
            field_manager: self.manager.to_owned(),
            ..CreateOptions::default()
        }
    }

    fn update_options(&self) -> UpdateOptions {
        UpdateOptions {
            field_manager: self.manager.to_owned(),
            ..UpdateOptions::default()
        }
    }

    fn resource<T: ApiResource>(&self) -> Result<Arc<Resource>, StatusError> {
        self.server
            .resources
            .get(T::GROUP, T::VERSION, T::PLURAL)
            .ok_or_else(|| {
                status::internal(format!("{} of {} is not served", T::PLURAL, T::API_VERSION))
            })
    }

    /// Reads an object; None when it does not exist. `namespace` is empty for cluster-scoped kinds.
    pub async fn get<T: ApiResource>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, StatusError> {
        let resource = self.resource::<T>()?;
        match handlers::read(&resource, namespace, name, "").await {
            Ok(stored) => {
                typed(resource.decode_stored(&stored.value, stored.resource_version)?).map(Some)
            }
            Err(error) if status::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind, or those of one namespace.
    pub async fn list<T: ApiResource>(&self, namespace: &str) -> Result<Vec<T>, StatusError> {
        let resource = self.resource::<T>()?;
        let storage = resource.storage()?;
        let failed = |error| {
            crate::registry::errors::interpret(
                error,
                crate::registry::errors::Operation::List,
                &resource.group_resource(),
                "",
            )
        };
        let scope = storage.scope(namespace, "").map_err(failed)?;
        let options = ListOptions {
            resource_version: "0".to_owned(),
            ..ListOptions::default()
        };
        let list = storage
            .list(&scope, &options, Arc::new(Everything))
            .await
            .map_err(failed)?;
        list.iter()
            .map(|entry| typed(resource.decode_stored(&entry.value(), entry.resource_version())?))
            .collect()
    }

    pub async fn create<T: ApiResource>(&self, object: T) -> Result<T, StatusError> {
        let resource = self.resource::<T>()?;
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource: None,
        };
        let namespace = object.metadata().namespace.clone();
        let cx = context("create", &resource, &namespace, "");
        let object = write::hub_of(&endpoint, Object::from(object))?;
        typed(
            write::create_decoded(&self.server, &cx, &endpoint, object, self.create_options())
                .await?,
        )
    }

    pub async fn update<T: ApiResource>(&self, object: T) -> Result<T, StatusError> {
        let resource = self.resource::<T>()?;
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource: None,
        };
        let (namespace, name) = (
            object.metadata().namespace.clone(),
            object.metadata().name.clone(),
        );
        let cx = context("update", &resource, &namespace, &name);
        let object = write::hub_of(&endpoint, Object::from(object))?;
        typed(
            write::update_decoded(&self.server, &cx, &endpoint, object, self.update_options())
                .await?
                .0,
        )
    }

    /// Writes through `/status`.
    pub async fn update_status<T: ApiResource>(&self, object: T) -> Result<T, StatusError> {
        let resource = self.resource::<T>()?;
        let subresource = resource
            .info
            .subresources
            .iter()
            .find(|row| row.name == "status");
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource,
        };
        let (namespace, name) = (
            object.metadata().namespace.clone(),
            object.metadata().name.clone(),
        );
        let mut cx = context("update", &resource, &namespace, &name);
        "status".clone_into(&mut cx.info.subresource);
        let object = write::hub_of(&endpoint, Object::from(object))?;
        typed(
            write::update_decoded(&self.server, &cx, &endpoint, object, self.update_options())
                .await?
                .0,
        )
    }

    /// Applies a configuration through `/status`, whoever owns its fields now.
    pub async fn apply_status<T: ApiResource>(
        &self,
        name: &str,
        status: serde_json::Value,
    ) -> Result<(), StatusError> {
        let resource = self.resource::<T>()?;
        let subresources = resource.info.subresources.iter();
        let subresource = subresources.into_iter().find(|row| row.name == "status");
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource,
        };
        let mut cx = context("patch", &resource, "", name);
        "status".clone_into(&mut cx.info.subresource);
        let configuration = serde_json::json!({
            "apiVersion": resource.api_version,
            "kind": resource.info.kind,
            "metadata": {"name": name},
            "status": status,
        });
        let request = PatchRequest {
            kind: PatchType::Apply,
            bytes: configuration.to_string().into(),
            options: PatchOptions {
                force: Some(true),
                field_manager: self.manager.to_owned(),
                ..PatchOptions::default()
            },
            validation: FieldValidation::Strict,
            manager: self.manager.to_owned(),
            patched: Arc::default(),
        };
        let applied = patch::patch_stored(&self.server, &cx, &endpoint, &request).await?;
        drop(applied);
        Ok(())
    }

    /// Patches an object (RFC 7386).
    pub async fn merge_patch<T: ApiResource>(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<(), StatusError> {
        let resource = self.resource::<T>()?;
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource: None,
        };
        let cx = context("patch", &resource, namespace, name);
        let request = PatchRequest {
            kind: PatchType::Merge,
            bytes: patch.to_string().into(),
            manager: cx.field_manager(self.manager),
            options: PatchOptions {
                field_manager: self.manager.to_owned(),
                ..PatchOptions::default()
            },
            validation: FieldValidation::Ignore,
            patched: Arc::default(),
        };
        patch::patch_stored(&self.server, &cx, &endpoint, &request)
            .await
            .map(drop)
    }

    /// Deletes an object; one that does not exist is deleted already.
    pub async fn delete<T: ApiResource>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(), StatusError> {
        let options = DeleteOptions::default();
        self.delete_with::<T>(namespace, name, options).await
    }

    /// Deletes an object if it is the one that the options mean.
    pub async fn delete_with<T: ApiResource>(
        &self,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<(), StatusError> {
        let resource = self.resource::<T>()?;
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource: None,
        };
        let cx = context("delete", &resource, namespace, name);
        match delete::delete_one(&self.server, &cx, &endpoint, name, options).await {
            Err(error) if !status::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the watch cache has the object. It may lag behind.
    pub fn is_known<T: ApiResource>(&self, namespace: &str, name: &str) -> bool {
        self.resource::<T>()
            .ok()
            .and_then(|resource| {
                let storage = resource.storage.as_ref()?;
                storage.peek(&storage.key(namespace, name).ok()?)
            })
            .is_some()
    }

    /// Namespaces and names of all objects of a kind that the watch cache has. It may lag behind.
    pub fn keys<T: ApiResource>(&self) -> Vec<(String, String)> {
        let Ok(resource) = self.resource::<T>() else {
            return Vec::new();
        };
        let entries = resource.storage.as_ref().map(|storage| storage.entries());
        let Some(Ok((_, entries))) = entries else {
            return Vec::new();
        };
        let key = |entry: &Arc<Entry>| (entry.namespace().to_owned(), entry.name().to_owned());
        entries.iter().map(key).collect()
    }

    /// The object as the watch cache has it. It may lag behind.
    pub fn cached<T: ApiResource>(&self, namespace: &str, name: &str) -> Option<T> {
        let resource = self.resource::<T>().ok()?;
        let storage = resource.storage.as_ref()?;
        let entry = storage.peek(&storage.key(namespace, name).ok()?)?;
        typed(
            resource
                .decode_stored(&entry.value(), entry.resource_version())
                .ok()?,
        )
        .ok()
    }

    /// Creates an object unless it is there.
    pub async fn ensure<T: ApiResource>(&self, object: T) -> Result<(), StatusError> {
        match self.create(object).await {
            Err(error) if !status::is_already_exists(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

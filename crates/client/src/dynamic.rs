//! Access to resources whose types are not compiled in. Upstream: `client-go/dynamic`, `client-go/metadata`.

use api_types::meta::v1::{
    CreateOptions, DeleteOptions, ListOptions, ObjectMeta, PartialObjectMetadata,
    PartialObjectMetadataList, PatchOptions, Status, UpdateOptions,
};
use api_types::{List as _, decode_json};
use apimachinery::gvk::GroupVersionResource;
use http::Method;
use http::header::ACCEPT;
use serde_json::Value;

use crate::cache::Cacheable;
use crate::config::ContentType;
use crate::error::Error;
use crate::rest::{
    Call, Client, Deleted, Media, Patch, Target, decode, delete_body, list_query, patch_query,
    resource_path,
};
use crate::watch::{self, WatchStream};

/// An object as JSON, with its metadata read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicObject {
    /// The metadata as it was when the object was read; change it in `value`.
    metadata: ObjectMeta,
    /// The whole object.
    value: Value,
}

impl DynamicObject {
    /// Wraps a JSON object. Its metadata must be readable.
    pub fn new(value: Value) -> Result<Self, Error> {
        fn unreadable(error: impl std::fmt::Display) -> Error {
            Error::decode("object metadata", error.to_string())
        }
        let metadata = match value.get("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(metadata) => {
                // ObjectMeta alone is no kind: read it as the part of a kind that has nothing else.
                let wrapped = serde_json::to_vec(&serde_json::json!({ "metadata": metadata }))
                    .map_err(unreadable)?;
                decode_json::<PartialObjectMetadata>(&wrapped)
                    .map_err(unreadable)?
                    .metadata
            }
        };
        Ok(Self { metadata, value })
    }

    /// The object of a watch event.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Error> {
        Self::new(
            serde_json::from_slice(body).map_err(|error| Error::decode("watch event", error))?,
        )
    }

    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The whole object, to keep.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// `apiVersion`, or "".
    pub fn api_version(&self) -> &str {
        self.value
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `kind`, or "".
    pub fn kind(&self) -> &str {
        self.value
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl Cacheable for DynamicObject {
    fn object_meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn drop_managed_fields(&mut self) {
        self.metadata.managed_fields.clear();
        if let Some(metadata) = self
            .value
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
        {
            metadata.remove("managedFields");
        }
    }
}

/// A list of dynamic objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicList {
    /// The version of the collection.
    pub resource_version: String,
    /// Where the next page begins, or "".
    pub continue_: String,
    /// The objects of this page.
    pub items: Vec<DynamicObject>,
}

/// One resource, as JSON.
#[derive(Clone, Debug)]
pub struct DynamicApi {
    client: Client,
    resource: GroupVersionResource,
    namespace: Option<String>,
}

/// One resource, metadata only: what owners, finalizers and garbage collection need of any kind.
#[derive(Clone, Debug)]
pub struct MetadataApi {
    client: Client,
    resource: GroupVersionResource,
    namespace: Option<String>,
}

impl Client {
    /// Any resource, as JSON. `namespace` only for namespaced ones; without it lists cover all namespaces.
    pub fn dynamic(&self, resource: GroupVersionResource, namespace: Option<&str>) -> DynamicApi {
        DynamicApi {
            client: self.clone(),
            resource,
            namespace: namespace.map(str::to_owned),
        }
    }

    /// Any resource, metadata only.
    pub fn metadata(&self, resource: GroupVersionResource, namespace: Option<&str>) -> MetadataApi {
        MetadataApi {
            client: self.clone(),
            resource,
            namespace: namespace.map(str::to_owned),
        }
    }
}

const JSON: &str = "application/json";

fn call(
    resource: &GroupVersionResource,
    namespace: Option<&str>,
    method: Method,
    name: &str,
    subresource: &str,
    accept: &'static str,
) -> Call {
    let path = resource_path(
        &resource.group,
        &resource.version,
        namespace,
        &resource.resource,
        name,
        subresource,
    );
    let target = Target {
        group: resource.group.clone(),
        resource: resource.resource.clone(),
        name: name.to_owned(),
    };
    Call::new(method, path, target).header(ACCEPT, accept)
}

fn named(name: &str) -> Result<&str, Error> {
    if name.is_empty() {
        Err(Error::InvalidRequest("name is required".into()))
    } else {
        Ok(name)
    }
}

impl DynamicApi {
    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn call(&self, method: Method, name: &str, subresource: &str) -> Call {
        call(
            &self.resource,
            self.namespace.as_deref(),
            method,
            name,
            subresource,
            JSON,
        )
    }

    async fn fetch(&self, call: Call) -> Result<Value, Error> {
        let response = self.client.read(call).await?;
        serde_json::from_slice(response.body())
            .map_err(|error| Error::decode(self.resource.resource.as_str(), error))
    }

    /// One object.
    pub async fn get(&self, name: &str) -> Result<Value, Error> {
        self.get_subresource(name, "").await
    }

    /// A subresource of one object, or the object itself for "".
    pub async fn get_subresource(&self, name: &str, subresource: &str) -> Result<Value, Error> {
        self.fetch(self.call(Method::GET, named(name)?, subresource))
            .await
    }

    /// One page, or everything when the options set no limit.
    pub async fn list(&self, options: &ListOptions) -> Result<DynamicList, Error> {
        let mut call = self.call(Method::GET, "", "");
        list_query(&mut call, options);
        let mut value = self.fetch(call).await?;
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (resource_version, continue_) = (
            text("/metadata/resourceVersion"),
            text("/metadata/continue"),
        );
        let kind = text("/kind")
            .strip_suffix("List")
            .unwrap_or_default()
            .to_owned();
        let api_version = text("/apiVersion");
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let items = items
            .into_iter()
            .map(|mut item| {
                // Items of typed lists come without a kind of their own.
                if let Some(object) = item.as_object_mut()
                    && !kind.is_empty()
                {
                    object.entry("kind").or_insert_with(|| kind.clone().into());
                    object
                        .entry("apiVersion")
                        .or_insert_with(|| api_version.clone().into());
                }
                DynamicObject::new(item)
            })
            .collect::<Result<_, _>>()?;
        Ok(DynamicList {
            resource_version,
            continue_,
            items,
        })
    }

    /// Makes an object.
    pub async fn create(&self, object: &Value, options: &CreateOptions) -> Result<Value, Error> {
        self.create_subresource("", "", object, options).await
    }

    /// Posts to a subresource of an object.
    pub async fn create_subresource(
        &self,
        name: &str,
        subresource: &str,
        object: &Value,
        options: &CreateOptions,
    ) -> Result<Value, Error> {
        let mut call = self
            .call(Method::POST, name, subresource)
            .body(JSON, object.to_string().into_bytes());
        crate::rest::write_query(
            &mut call,
            &options.dry_run,
            &options.field_manager,
            &options.field_validation,
        );
        self.fetch(call).await
    }

    /// Replaces an object.
    pub async fn update(&self, object: &Value, options: &UpdateOptions) -> Result<Value, Error> {
        self.update_subresource("", object, options).await
    }

    /// Replaces an object's status.
    pub async fn update_status(
        &self,
        object: &Value,
        options: &UpdateOptions,
    ) -> Result<Value, Error> {
        self.update_subresource("status", object, options).await
    }

    /// Replaces a subresource of the object that is named in the body.
    pub async fn update_subresource(
        &self,
        subresource: &str,
        object: &Value,
        options: &UpdateOptions,
    ) -> Result<Value, Error> {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut call = self
            .call(Method::PUT, named(name)?, subresource)
            .body(JSON, object.to_string().into_bytes());
        crate::rest::write_query(
            &mut call,
            &options.dry_run,
            &options.field_manager,
            &options.field_validation,
        );
        self.fetch(call).await
    }

    /// Changes an object, or one of its subresources.
    pub async fn patch(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<Value, Error> {
        let mut call = self
            .call(Method::PATCH, named(name)?, subresource)
            .body(patch.content_type(), patch.body().to_vec());
        patch_query(&mut call, options);
        self.fetch(call).await
    }

    /// Deletes an object; gives the object or a Status.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Value, Error> {
        self.fetch(delete_body(
            self.call(Method::DELETE, named(name)?, ""),
            ContentType::Json,
            options,
        ))
        .await
    }

    /// Deletes all objects a selection matches.
    pub async fn delete_collection(
        &self,
        delete: &DeleteOptions,
        list: &ListOptions,
    ) -> Result<(), Error> {
        let mut call = self.call(Method::DELETE, "", "");
        list_query(&mut call, list);
        self.client
            .read(delete_body(call, ContentType::Json, delete))
            .await
            .map(drop)
    }

    /// Changes from the options' resource version on.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream<DynamicObject>, Error> {
        let mut call = self.call(Method::GET, "", "");
        list_query(
            &mut call,
            &ListOptions {
                watch: true,
                ..options.clone()
            },
        );
        let response = self.client.stream(call).await?;
        Ok(watch::with_decoder(response, |_, body| {
            DynamicObject::decode(body)
        }))
    }
}

/// Protobuf where the server has it, else JSON; and the whole object from servers that cannot give metadata alone.
const ACCEPT_OBJECT: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const ACCEPT_LIST: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl MetadataApi {
    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn call(&self, method: Method, name: &str, accept: &'static str) -> Call {
        call(
            &self.resource,
            self.namespace.as_deref(),
            method,
            name,
            "",
            accept,
        )
    }

    /// One object's metadata.
    pub async fn get(&self, name: &str) -> Result<PartialObjectMetadata, Error> {
        let response = self
            .client
            .read(self.call(Method::GET, named(name)?, ACCEPT_OBJECT))
            .await?;
        decode(Media::of(response.headers()), response.body())
    }

    /// One page, or everything when the options set no limit.
    pub async fn list(&self, options: &ListOptions) -> Result<PartialObjectMetadataList, Error> {
        let mut call = self.call(Method::GET, "", ACCEPT_LIST);
        list_query(&mut call, options);
        let response = self.client.read(call).await?;
        decode(Media::of(response.headers()), response.body())
    }

    /// All pages of a list, 500 objects at a time.
    pub async fn list_all(
        &self,
        options: &ListOptions,
    ) -> Result<PartialObjectMetadataList, Error> {
        let mut options = options.clone();
        options.limit = if options.limit == 0 {
            500
        } else {
            options.limit
        };
        let mut items = Vec::new();
        loop {
            let page = match self.list(&options).await {
                Err(error) if error.is_gone() && !options.continue_.is_empty() => {
                    return self
                        .list(&ListOptions {
                            limit: 0,
                            continue_: String::new(),
                            ..options
                        })
                        .await;
                }
                other => other?,
            };
            let metadata = page.metadata().clone();
            items.extend(page.into_items());
            options.continue_ = metadata.continue_.clone();
            options.resource_version = String::new();
            options.resource_version_match = String::new();
            if options.continue_.is_empty() {
                return Ok(PartialObjectMetadataList {
                    metadata,
                    items,
                    ..PartialObjectMetadataList::default()
                });
            }
        }
    }

    /// Changes from the options' resource version on.
    pub async fn watch(
        &self,
        options: &ListOptions,
    ) -> Result<WatchStream<PartialObjectMetadata>, Error> {
        let mut call = self.call(Method::GET, "", ACCEPT_OBJECT);
        list_query(
            &mut call,
            &ListOptions {
                watch: true,
                ..options.clone()
            },
        );
        let response = self.client.stream(call).await?;
        Ok(watch::typed(response))
    }

    /// Changes an object's metadata.
    pub async fn patch(
        &self,
        name: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<PartialObjectMetadata, Error> {
        let mut call = self
            .call(Method::PATCH, named(name)?, ACCEPT_OBJECT)
            .body(patch.content_type(), patch.body().to_vec());
        patch_query(&mut call, options);
        let response = self.client.read(call).await?;
        decode(Media::of(response.headers()), response.body())
    }

    /// Deletes an object.
    pub async fn delete(
        &self,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted<PartialObjectMetadata>, Error> {
        let content_type = self.client.config().content_type;
        let call = delete_body(
            self.call(Method::DELETE, named(name)?, JSON),
            content_type,
            options,
        );
        let response = self.client.read(call).await?;
        let media = Media::of(response.headers());
        match crate::rest::kind_of(media, response.body()) {
            Some((_, kind)) if kind == "Status" => Ok(Deleted::Status(Box::new(decode::<Status>(
                media,
                response.body(),
            )?))),
            _ => Ok(Deleted::Object(Box::new(decode(media, response.body())?))),
        }
    }

    /// Deletes all objects a selection matches.
    pub async fn delete_collection(
        &self,
        delete: &DeleteOptions,
        list: &ListOptions,
    ) -> Result<(), Error> {
        let mut call = self.call(Method::DELETE, "", JSON);
        list_query(&mut call, list);
        self.client
            .read(delete_body(call, self.client.config().content_type, delete))
            .await
            .map(drop)
    }
}

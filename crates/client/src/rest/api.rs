//! Typed access to one resource. Upstream: `client-go/kubernetes/typed`, `client-go/gentype`.

use std::fmt;
use std::marker::PhantomData;

use api_types::codec::Header;
use api_types::meta::v1::{
    CreateOptions, DeleteOptions, GetOptions, ListOptions, ObjectMeta, PatchOptions, Status,
    UpdateOptions,
};
use api_types::{Kind, List as _, Resource, Struct, encode_envelope_as, encode_json_as};
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, Response};

use super::call::{Call, Target, resource_path};
use super::client::Client;
use super::codec::{Media, decode, kind_of};
use crate::config::ContentType;
use crate::error::Error;
use crate::watch::{self, WatchStream};

/// Page size of [`Api::list_all`], as upstream's pager.
const PAGE: i64 = 500;

/// A change to an object, in one of the four patch languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 6902.
    Json(Vec<u8>),
    /// RFC 7386.
    Merge(Vec<u8>),
    /// Kubernetes' own: lists are merged by their keys. Built-in kinds only.
    Strategic(Vec<u8>),
    /// Server-side apply: the object as the field manager wants it, as JSON or YAML.
    Apply(Vec<u8>),
}

impl Patch {
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json-patch+json",
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Apply(_) => "application/apply-patch+yaml",
        }
    }

    pub(crate) fn body(&self) -> &[u8] {
        match self {
            Self::Json(body) | Self::Merge(body) | Self::Strategic(body) | Self::Apply(body) => {
                body
            }
        }
    }
}

/// What a delete gives: the object, when it is still there (finalizers, grace period), or a Status.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted<T> {
    /// The object as it was when it was marked, or the last that was seen of it.
    Object(Box<T>),
    /// It is gone.
    Status(Box<Status>),
}

/// One resource in one namespace, or cluster-wide.
pub struct Api<T> {
    endpoint: Endpoint,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Api<T> {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            kind: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Api<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("client", &self.endpoint.client)
            .field("namespace", &self.endpoint.namespace)
            .finish()
    }
}

impl Client {
    /// A cluster-scoped resource, or a namespaced one over all namespaces (list and watch only; `create` and `update` take the
    /// namespace from the object).
    pub fn api<T: Resource>(&self) -> Api<T> {
        self.api_in(None)
    }

    /// A namespaced resource in one namespace.
    pub fn namespaced<T: Resource>(&self, namespace: impl Into<String>) -> Api<T> {
        Api {
            endpoint: Endpoint::of::<T>(self, Some(namespace.into())),
            kind: PhantomData,
        }
    }

    /// Either of the two.
    pub fn api_in<T: Resource>(&self, namespace: Option<&str>) -> Api<T> {
        Api {
            endpoint: Endpoint::of::<T>(self, namespace.map(str::to_owned)),
            kind: PhantomData,
        }
    }
}

/// Where a built-in resource is found.
#[derive(Debug)]
struct ResourcePath {
    group: &'static str,
    version: &'static str,
    api_version: &'static str,
    plural: &'static str,
    namespaced: bool,
}

impl ResourcePath {
    const fn of<T: Resource>() -> &'static Self {
        const {
            &Self {
                group: T::GROUP,
                version: T::VERSION,
                api_version: T::API_VERSION,
                plural: T::PLURAL,
                namespaced: T::NAMESPACED,
            }
        }
    }
}

/// An [`Api`] without the type: what is the same for all kinds, and is compiled once therefore.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    client: Client,
    resource: &'static ResourcePath,
    namespace: Option<String>,
}

impl Endpoint {
    pub(crate) fn of<T: Resource>(client: &Client, namespace: Option<String>) -> Self {
        Self {
            client: client.clone(),
            resource: ResourcePath::of::<T>(),
            namespace,
        }
    }

    /// `apps/v1/deployments`, for logs.
    pub(crate) fn describe(&self) -> String {
        format!("{}/{}", self.resource.api_version, self.resource.plural)
    }

    fn content_type(&self) -> ContentType {
        self.client.config().content_type
    }

    fn call(&self, method: Method, namespace: Option<&str>, name: &str, subresource: &str) -> Call {
        let resource = self.resource;
        let namespace = namespace.filter(|_| resource.namespaced);
        let path = resource_path(
            resource.group,
            resource.version,
            namespace,
            resource.plural,
            name,
            subresource,
        );
        let target = Target {
            group: resource.group.to_owned(),
            resource: resource.plural.to_owned(),
            name: name.to_owned(),
        };
        Call::new(method, path, target).header(ACCEPT, self.content_type().accept())
    }

    /// A call on the whole collection.
    fn collection(&self, method: Method, options: &ListOptions) -> Call {
        let mut call = self.call(method, self.namespace.as_deref(), "", "");
        list_query(&mut call, options);
        call
    }

    /// A call on an existing object in the namespace of the handle.
    fn named(&self, method: Method, name: &str, subresource: &str) -> Result<Call, Error> {
        self.named_in(method, self.namespace.as_deref(), name, subresource)
    }

    /// A call on an existing object. An empty name would silently address the whole collection.
    fn named_in(
        &self,
        method: Method,
        namespace: Option<&str>,
        name: &str,
        subresource: &str,
    ) -> Result<Call, Error> {
        if name.is_empty() {
            return Err(Error::InvalidRequest(format!(
                "{}: resource name may not be empty",
                self.resource.plural
            )));
        }
        Ok(self.call(method, namespace, name, subresource))
    }

    fn with_object(&self, call: Call, object: &dyn Struct) -> Call {
        let content_type = self.content_type();
        call.body(content_type.name(), content_type.encode(object))
    }

    /// The namespace of the handle, or the object's own.
    fn namespace_of<'a>(&'a self, metadata: &'a ObjectMeta) -> Option<&'a str> {
        self.namespace
            .as_deref()
            .or(Some(metadata.namespace.as_str()))
    }

    fn create(&self, object: &dyn Struct, metadata: &ObjectMeta, options: &CreateOptions) -> Call {
        let mut call = self.call(Method::POST, self.namespace_of(metadata), "", "");
        write_query(
            &mut call,
            &options.dry_run,
            &options.field_manager,
            &options.field_validation,
        );
        self.with_object(call, object)
    }

    fn put(
        &self,
        object: &dyn Struct,
        metadata: &ObjectMeta,
        subresource: &str,
        options: &UpdateOptions,
    ) -> Result<Call, Error> {
        let mut call = self.named_in(
            Method::PUT,
            self.namespace_of(metadata),
            &metadata.name,
            subresource,
        )?;
        write_query(
            &mut call,
            &options.dry_run,
            &options.field_manager,
            &options.field_validation,
        );
        Ok(self.with_object(call, object))
    }

    fn patch(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<Call, Error> {
        let mut call = self
            .named(Method::PATCH, name, subresource)?
            .body(patch.content_type(), patch.body().to_vec());
        patch_query(&mut call, options);
        Ok(call)
    }

    /// The answer to a list.
    pub(crate) async fn list(&self, options: &ListOptions) -> Result<Response<Bytes>, Error> {
        self.client
            .read(&self.collection(Method::GET, options))
            .await
    }

    /// A watch whose objects `decode` reads.
    pub(crate) async fn watch<O>(
        &self,
        options: &ListOptions,
        decode: watch::Decode<O>,
    ) -> Result<WatchStream<O>, Error> {
        let options = ListOptions {
            watch: true,
            ..options.clone()
        };
        let call = self.collection(Method::GET, &options);
        let response = self.client.stream(&call).await?;
        Ok(watch::with_decoder(response, decode))
    }
}

impl<T: Resource> Api<T> {
    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.endpoint.client
    }

    async fn fetch<R: Struct + Default>(&self, call: &Call) -> Result<R, Error> {
        let response = self.client().read(call).await?;
        decode(Media::of(response.headers()), response.body())
    }

    /// One object.
    pub async fn get(&self, name: &str) -> Result<T, Error> {
        self.get_opts(name, &GetOptions::default()).await
    }

    /// One object, at least as new as a resource version.
    pub async fn get_opts(&self, name: &str, options: &GetOptions) -> Result<T, Error> {
        let mut call = self.endpoint.named(Method::GET, name, "")?;
        call.query("resourceVersion", options.resource_version.as_str());
        self.fetch(&call).await
    }

    /// One object, or `None` when there is no such object.
    pub async fn get_optional(&self, name: &str) -> Result<Option<T>, Error> {
        match self.get(name).await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    /// One page, or everything when the options set no limit.
    pub async fn list(&self, options: &ListOptions) -> Result<T::List, Error> {
        self.fetch(&self.endpoint.collection(Method::GET, options))
            .await
    }

    /// All pages of a list, 500 objects at a time unless the options set another limit. When the continue token expires on the
    /// way, everything is listed in one piece, as upstream's pager does.
    pub async fn list_all(&self, options: &ListOptions) -> Result<T::List, Error> {
        let mut options = options.clone();
        if options.limit == 0 {
            options.limit = PAGE;
        }
        let mut whole: Option<T::List> = None;
        loop {
            let page = match self.list(&options).await {
                Err(error) if error.is_gone() && !options.continue_.is_empty() => {
                    let full = ListOptions {
                        limit: 0,
                        continue_: String::new(),
                        resource_version_match: String::new(),
                        ..options
                    };
                    return self.list(&full).await;
                }
                other => other?,
            };
            options.continue_ = page.metadata().continue_.clone();
            // A continue token fixes the version; the server refuses both together.
            options.resource_version = String::new();
            options.resource_version_match = String::new();
            let whole = match &mut whole {
                None => whole.insert(page),
                Some(whole) => {
                    *whole.metadata_mut() = page.metadata().clone();
                    whole.items_mut().extend(page.into_items());
                    whole
                }
            };
            if options.continue_.is_empty() {
                return Ok(std::mem::take(whole));
            }
        }
    }

    /// Makes an object.
    pub async fn create(&self, object: &T) -> Result<T, Error> {
        self.create_opts(object, &CreateOptions::default()).await
    }

    /// Makes an object.
    pub async fn create_opts(&self, object: &T, options: &CreateOptions) -> Result<T, Error> {
        self.fetch(&self.endpoint.create(object, object.metadata(), options))
            .await
    }

    /// Replaces an object; a conflict when it is newer than the given one.
    pub async fn update(&self, object: &T) -> Result<T, Error> {
        self.update_opts(object, &UpdateOptions::default()).await
    }

    /// Replaces an object.
    pub async fn update_opts(&self, object: &T, options: &UpdateOptions) -> Result<T, Error> {
        self.put(object, "", options).await
    }

    /// Replaces an object's status.
    pub async fn update_status(&self, object: &T) -> Result<T, Error> {
        self.update_status_opts(object, &UpdateOptions::default())
            .await
    }

    /// Replaces an object's status.
    pub async fn update_status_opts(
        &self,
        object: &T,
        options: &UpdateOptions,
    ) -> Result<T, Error> {
        self.put(object, "status", options).await
    }

    async fn put(
        &self,
        object: &T,
        subresource: &str,
        options: &UpdateOptions,
    ) -> Result<T, Error> {
        let call = self
            .endpoint
            .put(object, object.metadata(), subresource, options)?;
        self.fetch(&call).await
    }

    /// Changes an object.
    pub async fn patch(
        &self,
        name: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<T, Error> {
        self.patch_subresource(name, "", patch, options).await
    }

    /// Changes an object's status.
    pub async fn patch_status(
        &self,
        name: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<T, Error> {
        self.patch_subresource(name, "status", patch, options).await
    }

    /// Changes a subresource that answers with the whole object (`status`, `ephemeralcontainers`, `resize`, `scale` of its own kind).
    pub async fn patch_subresource(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<T, Error> {
        let call = self.endpoint.patch(name, subresource, patch, options)?;
        self.fetch(&call).await
    }

    /// Deletes an object.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Deleted<T>, Error> {
        let call = self.endpoint.named(Method::DELETE, name, "")?;
        let call = delete_body(call, self.endpoint.content_type(), options);
        let response = self.client().read(&call).await?;
        deleted(&response)
    }

    /// Deletes all objects a selection matches.
    pub async fn delete_collection(
        &self,
        delete: &DeleteOptions,
        list: &ListOptions,
    ) -> Result<(), Error> {
        let call = self.endpoint.collection(Method::DELETE, list);
        let call = delete_body(call, self.endpoint.content_type(), delete);
        self.client().read(&call).await.map(drop)
    }

    /// Changes from the options' resource version on. Ends with the server's timeout, an error, or when dropped.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream<T>, Error> {
        self.endpoint.watch(options, decode).await
    }

    /// Reads a subresource.
    pub async fn get_subresource<R: Kind>(
        &self,
        name: &str,
        subresource: &str,
    ) -> Result<R, Error> {
        let call = self.endpoint.named(Method::GET, name, subresource)?;
        self.fetch(&call).await
    }

    /// Posts to a subresource: `binding`, `eviction`, `token`.
    pub async fn create_subresource<B: Kind, R: Kind>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R, Error> {
        let call = self.endpoint.named(Method::POST, name, subresource)?;
        self.fetch(&self.endpoint.with_object(call, body)).await
    }

    /// Replaces a subresource: `scale`, `approval`, `finalize`.
    pub async fn update_subresource<B: Kind, R: Kind>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R, Error> {
        let call = self.endpoint.named(Method::PUT, name, subresource)?;
        self.fetch(&self.endpoint.with_object(call, body)).await
    }
}

fn deleted<T: Kind>(response: &Response<Bytes>) -> Result<Deleted<T>, Error> {
    let media = Media::of(response.headers());
    if kind_of(media, response.body()).is_some_and(|(_, kind)| kind == "Status") {
        return Ok(Deleted::Status(Box::new(decode(media, response.body())?)));
    }
    Ok(Deleted::Object(Box::new(decode(media, response.body())?)))
}

/// Every group's endpoint understands DeleteOptions of `v1`.
const V1_DELETE_OPTIONS: Header<'static> = Header {
    api_version: "v1",
    kind: "DeleteOptions",
};

pub(crate) fn delete_body(call: Call, content_type: ContentType, options: &DeleteOptions) -> Call {
    let body = match content_type {
        ContentType::Protobuf => encode_envelope_as(options, V1_DELETE_OPTIONS),
        ContentType::Json => encode_json_as(options, V1_DELETE_OPTIONS),
    };
    call.body(content_type.name(), body)
}

pub(crate) fn write_query(
    call: &mut Call,
    dry_run: &[String],
    field_manager: &str,
    field_validation: &str,
) {
    for value in dry_run {
        call.query("dryRun", value.as_str());
    }
    call.query("fieldManager", field_manager);
    call.query("fieldValidation", field_validation);
}

pub(crate) fn patch_query(call: &mut Call, options: &PatchOptions) {
    write_query(
        call,
        &options.dry_run,
        &options.field_manager,
        &options.field_validation,
    );
    if let Some(force) = options.force {
        call.query("force", force.to_string());
    }
}

pub(crate) fn list_query(call: &mut Call, options: &ListOptions) {
    call.query("labelSelector", options.label_selector.as_str());
    call.query("fieldSelector", options.field_selector.as_str());
    if options.watch {
        call.query("watch", "true");
    }
    if options.allow_watch_bookmarks {
        call.query("allowWatchBookmarks", "true");
    }
    call.query("resourceVersion", options.resource_version.as_str());
    call.query(
        "resourceVersionMatch",
        options.resource_version_match.as_str(),
    );
    if let Some(seconds) = options.timeout_seconds {
        call.query("timeoutSeconds", seconds.to_string());
    }
    if options.limit != 0 {
        call.query("limit", options.limit.to_string());
    }
    call.query("continue", options.continue_.as_str());
    if let Some(send) = options.send_initial_events {
        call.query("sendInitialEvents", send.to_string());
    }
    call.query("shardSelector", options.shard_selector.as_str());
}

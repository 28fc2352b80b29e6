//! Typed access to one resource. Upstream: `client-go/kubernetes/typed`, `client-go/gentype`.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use api_types::codec::Header;
use api_types::meta::v1::{
    CreateOptions, DeleteOptions, GetOptions, ListOptions, ObjectMeta, PatchOptions, Status,
    UpdateOptions,
};
use api_types::{Kind, List as _, Resource, Struct, encode_envelope_as, encode_json_as};
use bytes::Bytes;
use futures::future::{self, BoxFuture};
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
            endpoint: Endpoint::new(self, ResourcePath::of::<T>(), Some(namespace.into())),
            kind: PhantomData,
        }
    }

    /// Either of the two.
    pub fn api_in<T: Resource>(&self, namespace: Option<&str>) -> Api<T> {
        Api {
            endpoint: Endpoint::new(self, ResourcePath::of::<T>(), namespace.map(str::to_owned)),
            kind: PhantomData,
        }
    }
}

/// Where a built-in resource is found.
#[derive(Debug)]
pub(crate) struct ResourcePath {
    group: &'static str,
    version: &'static str,
    api_version: &'static str,
    plural: &'static str,
    namespaced: bool,
}

impl ResourcePath {
    pub(crate) const fn of<T: Resource>() -> &'static Self {
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

/// An [`Api`] without the type: its requests, which are made in the same way for all kinds.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    client: Client,
    resource: &'static ResourcePath,
    namespace: Option<String>,
}

impl Endpoint {
    pub(crate) fn new(
        client: &Client,
        resource: &'static ResourcePath,
        namespace: Option<String>,
    ) -> Self {
        Self {
            client: client.clone(),
            resource,
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

    fn get(&self, name: &str, options: &GetOptions) -> Result<Call, Error> {
        let mut call = self.named(Method::GET, name, "")?;
        call.query("resourceVersion", options.resource_version.as_str());
        Ok(call)
    }

    fn with_body(
        &self,
        method: Method,
        name: &str,
        subresource: &str,
        body: &dyn Struct,
    ) -> Result<Call, Error> {
        let call = self.named(method, name, subresource)?;
        Ok(self.with_object(call, body))
    }

    fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Call, Error> {
        let call = self.named(Method::DELETE, name, "")?;
        Ok(delete_body(call, self.content_type(), options))
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

    /// The answer to a call that could be made.
    fn send(&self, call: Result<Call, Error>) -> BoxFuture<'_, Result<Response<Bytes>, Error>> {
        match call {
            Ok(call) => self.client.read(call),
            Err(error) => Box::pin(future::ready(Err(error))),
        }
    }

    /// The answer to a list.
    pub(crate) fn list(
        &self,
        options: &ListOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Error>> {
        self.client.read(self.collection(Method::GET, options))
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
        let response = self.client.stream(call).await?;
        Ok(watch::with_decoder(response, decode))
    }
}

/// What the methods of [`Api`] give. Nothing is sent before it is awaited. It is one future for all methods, and all that knows the
/// type is the function that reads the response in the end.
#[must_use = "nothing is sent unless it is awaited"]
pub struct Answer<'a, R> {
    response: BoxFuture<'a, Result<Response<Bytes>, Error>>,
    read: fn(Result<Response<Bytes>, Error>) -> Result<R, Error>,
}

impl<R> fmt::Debug for Answer<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl<R> Future for Answer<'_, R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.response.as_mut().poll(cx).map(self.read)
    }
}

impl<T: Resource> Api<T> {
    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.endpoint.client
    }

    /// The answer to a call, read as an `R`.
    fn answer<R: Struct + Default>(&self, call: Result<Call, Error>) -> Answer<'_, R> {
        Answer {
            response: self.endpoint.send(call),
            read: object,
        }
    }

    /// One object.
    pub fn get(&self, name: &str) -> Answer<'_, T> {
        self.answer(self.endpoint.named(Method::GET, name, ""))
    }

    /// One object, at least as new as a resource version.
    pub fn get_opts(&self, name: &str, options: &GetOptions) -> Answer<'_, T> {
        self.answer(self.endpoint.get(name, options))
    }

    /// One object, or `None` when there is no such object.
    pub fn get_optional(&self, name: &str) -> Answer<'_, Option<T>> {
        Answer {
            response: self.get(name).response,
            read: |response| match response {
                Err(error) if error.is_not_found() => Ok(None),
                other => object(other).map(Some),
            },
        }
    }

    /// One page, or everything when the options set no limit.
    pub fn list(&self, options: &ListOptions) -> Answer<'_, T::List> {
        Answer {
            response: self.endpoint.list(options),
            read: object,
        }
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
    pub fn create(&self, object: &T) -> Answer<'_, T> {
        self.create_opts(object, &CreateOptions::default())
    }

    /// Makes an object.
    pub fn create_opts(&self, object: &T, options: &CreateOptions) -> Answer<'_, T> {
        self.answer(Ok(self.endpoint.create(object, object.metadata(), options)))
    }

    /// Replaces an object; a conflict when it is newer than the given one.
    pub fn update(&self, object: &T) -> Answer<'_, T> {
        self.update_opts(object, &UpdateOptions::default())
    }

    /// Replaces an object.
    pub fn update_opts(&self, object: &T, options: &UpdateOptions) -> Answer<'_, T> {
        self.put(object, "", options)
    }

    /// Replaces an object's status.
    pub fn update_status(&self, object: &T) -> Answer<'_, T> {
        self.update_status_opts(object, &UpdateOptions::default())
    }

    /// Replaces an object's status.
    pub fn update_status_opts(&self, object: &T, options: &UpdateOptions) -> Answer<'_, T> {
        self.put(object, "status", options)
    }

    fn put(&self, object: &T, subresource: &str, options: &UpdateOptions) -> Answer<'_, T> {
        self.answer(
            self.endpoint
                .put(object, object.metadata(), subresource, options),
        )
    }

    /// Changes an object.
    pub fn patch(&self, name: &str, patch: &Patch, options: &PatchOptions) -> Answer<'_, T> {
        self.patch_subresource(name, "", patch, options)
    }

    /// Changes an object's status.
    pub fn patch_status(&self, name: &str, patch: &Patch, options: &PatchOptions) -> Answer<'_, T> {
        self.patch_subresource(name, "status", patch, options)
    }

    /// Changes a subresource that answers with the whole object (`status`, `ephemeralcontainers`, `resize`, `scale` of its own kind).
    pub fn patch_subresource(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Answer<'_, T> {
        self.answer(self.endpoint.patch(name, subresource, patch, options))
    }

    /// Deletes an object.
    pub fn delete(&self, name: &str, options: &DeleteOptions) -> Answer<'_, Deleted<T>> {
        Answer {
            response: self.endpoint.send(self.endpoint.delete(name, options)),
            read: deleted,
        }
    }

    /// Deletes all objects a selection matches.
    pub fn delete_collection(&self, delete: &DeleteOptions, list: &ListOptions) -> Answer<'_, ()> {
        let call = self.endpoint.collection(Method::DELETE, list);
        Answer {
            response: self.endpoint.send(Ok(delete_body(
                call,
                self.endpoint.content_type(),
                delete,
            ))),
            read: |response| response.map(drop),
        }
    }

    /// Changes from the options' resource version on. Ends with the server's timeout, an error, or when dropped.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream<T>, Error> {
        self.endpoint.watch(options, decode).await
    }

    /// Reads a subresource.
    pub fn get_subresource<R: Kind>(&self, name: &str, subresource: &str) -> Answer<'_, R> {
        self.answer(self.endpoint.named(Method::GET, name, subresource))
    }

    /// Posts to a subresource: `binding`, `eviction`, `token`.
    pub fn create_subresource<B: Kind, R: Kind>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Answer<'_, R> {
        self.answer(
            self.endpoint
                .with_body(Method::POST, name, subresource, body),
        )
    }

    /// Replaces a subresource: `scale`, `approval`, `finalize`.
    pub fn update_subresource<B: Kind, R: Kind>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Answer<'_, R> {
        self.answer(
            self.endpoint
                .with_body(Method::PUT, name, subresource, body),
        )
    }
}

fn object<R: Struct + Default>(response: Result<Response<Bytes>, Error>) -> Result<R, Error> {
    let response = response?;
    decode(Media::of(response.headers()), response.body())
}

fn deleted<T: Kind>(response: Result<Response<Bytes>, Error>) -> Result<Deleted<T>, Error> {
    let response = response?;
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

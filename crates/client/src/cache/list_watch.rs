//! Where a reflector reads from. Upstream: `client-go/tools/cache.ListerWatcher`.

use std::fmt;
use std::sync::Arc;

use api_types::meta::v1::{ListOptions, PartialObjectMetadata};
use api_types::{List as _, Resource};
use futures::future::BoxFuture;

use super::object::{AnyObject, Cacheable, decode_object, typed_mut};
use super::transforms::Transform;
use crate::dynamic::{DynamicApi, DynamicObject, MetadataApi};
use crate::error::Error;
use crate::rest::{Client, Endpoint, Media, decode};
use crate::watch::WatchStream;

/// One page of a collection.
pub(super) struct Listed {
    /// The version of the collection.
    pub resource_version: String,
    /// Where the next page begins, or "".
    pub continue_: String,
    /// The objects of this page.
    pub items: Vec<AnyObject>,
}

/// The events of one watch.
pub(super) type Events = WatchStream<AnyObject>;

/// Lists and watches one collection.
pub(super) trait ListWatch: Send + Sync + 'static {
    /// One page.
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>>;
    /// The changes after `options.resource_version`.
    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>>;
    /// What it reads, for logs.
    fn describe(&self) -> String;
}

/// Which part of a resource an informer holds, and how.
pub struct ListScope<T: ?Sized> {
    /// One namespace; `None` is all.
    pub namespace: Option<String>,
    /// A label selector; "" selects everything.
    pub label_selector: String,
    /// A field selector; "" selects everything.
    pub field_selector: String,
    /// Applied to every object before it is cached. Not part of an informer's identity: who asks first decides.
    pub transform: Option<Transform<T>>,
}

impl<T: ?Sized> Default for ListScope<T> {
    fn default() -> Self {
        Self {
            namespace: None,
            label_selector: String::new(),
            field_selector: String::new(),
            transform: None,
        }
    }
}

impl<T: ?Sized> Clone for ListScope<T> {
    fn clone(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            transform: self.transform.clone(),
        }
    }
}

impl<T: ?Sized> fmt::Debug for ListScope<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListScope")
            .field("namespace", &self.namespace)
            .field("label_selector", &self.label_selector)
            .field("field_selector", &self.field_selector)
            .field("transform", &self.transform.is_some())
            .finish()
    }
}

impl<T> ListScope<T> {
    /// One namespace.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            ..Self::default()
        }
    }

    /// What a field selector selects, e.g. `spec.nodeName=node-1`.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self {
            field_selector: selector.into(),
            ..Self::default()
        }
    }

    /// What a label selector selects.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self {
            label_selector: selector.into(),
            ..Self::default()
        }
    }
}

impl<T: Cacheable> ListScope<T> {
    /// The same scope without the type.
    pub(super) fn untyped(self) -> ListScope<dyn Cacheable> {
        ListScope {
            namespace: self.namespace,
            label_selector: self.label_selector,
            field_selector: self.field_selector,
            transform: self.transform.map(|transform| {
                Arc::new(move |object: &mut dyn Cacheable| transform(typed_mut(object)))
                    as Transform<dyn Cacheable>
            }),
        }
    }
}

impl ListScope<dyn Cacheable> {
    /// The options with this scope's selectors.
    fn select(&self, options: &ListOptions) -> ListOptions {
        ListOptions {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            ..options.clone()
        }
    }
}

/// A built-in resource.
pub(super) struct BuiltInListWatch {
    endpoint: Endpoint,
    scope: ListScope<dyn Cacheable>,
    kind: BuiltInKind,
}

/// How the objects of a built-in resource are read.
struct BuiltInKind {
    object: fn(Media, &[u8]) -> Result<AnyObject, Error>,
    list: fn(Media, &[u8]) -> Result<Listed, Error>,
}

impl BuiltInKind {
    fn of<T: Resource>() -> Self {
        Self {
            object: decode_object::<T>,
            list: decode_list::<T>,
        }
    }
}

fn decode_list<T: Resource>(media: Media, body: &[u8]) -> Result<Listed, Error> {
    let mut list: T::List = decode(media, body)?;
    let metadata = std::mem::take(list.metadata_mut());
    Ok(Listed {
        resource_version: metadata.resource_version,
        continue_: metadata.continue_,
        items: untyped(list.into_items()),
    })
}

fn untyped<T: Cacheable>(items: Vec<T>) -> Vec<AnyObject> {
    let mut objects: Vec<AnyObject> = Vec::with_capacity(items.len());
    for item in items {
        objects.push(Arc::new(item));
    }
    objects
}

impl BuiltInListWatch {
    pub(super) fn new<T: Resource>(client: &Client, scope: ListScope<dyn Cacheable>) -> Self {
        Self {
            endpoint: Endpoint::of::<T>(client, scope.namespace.clone()),
            scope,
            kind: BuiltInKind::of::<T>(),
        }
    }
}

impl ListWatch for BuiltInListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let response = self.endpoint.list(&self.scope.select(options)).await?;
            (self.kind.list)(Media::of(response.headers()), response.body())
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(async move {
            self.endpoint
                .watch(&self.scope.select(options), self.kind.object)
                .await
        })
    }

    fn describe(&self) -> String {
        self.endpoint.describe()
    }
}

/// Any resource, metadata only.
pub(super) struct MetadataListWatch {
    pub(super) api: MetadataApi,
    pub(super) scope: ListScope<dyn Cacheable>,
    pub(super) name: String,
}

impl ListWatch for MetadataListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let list = self.api.list(&self.scope.select(options)).await?;
            Ok(Listed {
                resource_version: list.metadata.resource_version,
                continue_: list.metadata.continue_,
                items: untyped(list.items),
            })
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(async move {
            let events = self.api.watch(&self.scope.select(options)).await?;
            Ok(events.decoded_by(decode_object::<PartialObjectMetadata>))
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// Any resource, as JSON.
pub(super) struct DynamicListWatch {
    pub(super) api: DynamicApi,
    pub(super) scope: ListScope<dyn Cacheable>,
    pub(super) name: String,
}

impl ListWatch for DynamicListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let list = self.api.list(&self.scope.select(options)).await?;
            Ok(Listed {
                resource_version: list.resource_version,
                continue_: list.continue_,
                items: untyped(list.items),
            })
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(async move {
            let events = self.api.watch(&self.scope.select(options)).await?;
            let decode = |_, body: &[u8]| Ok(Arc::new(DynamicObject::decode(body)?) as AnyObject);
            Ok(events.decoded_by(decode))
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

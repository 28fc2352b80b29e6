//! Where a reflector reads from. Upstream: `client-go/tools/cache.ListerWatcher`.

use std::fmt;
use std::sync::Arc;

use api_types::meta::v1::{ListOptions, PartialObjectMetadata};
use api_types::{List as _, Resource};
use apimachinery::gvk::GroupVersionResource;
use futures::future::BoxFuture;

use super::object::{AnyObject, Cacheable, decode_object, typed_mut};
use super::transforms::Transform;
use crate::dynamic::{DynamicApi, DynamicObject, MetadataApi};
use crate::error::Error;
use crate::rest::{Client, Endpoint, Media, ResourcePath, decode};
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
    /// The same scope without the type, as everything behind the informer's face has it.
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
    /// Options that select what is in scope.
    pub(super) fn options(&self) -> ListOptions {
        ListOptions {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            ..ListOptions::default()
        }
    }
}

/// A built-in kind, as its objects are found and read.
pub(super) struct BuiltInKind {
    path: &'static ResourcePath,
    object: fn(Media, &[u8]) -> Result<AnyObject, Error>,
    list: fn(Media, &[u8]) -> Result<Listed, Error>,
}

impl BuiltInKind {
    pub(super) const fn of<T: Resource>() -> &'static Self {
        const {
            &Self {
                path: ResourcePath::of::<T>(),
                object: decode_object::<T>,
                list: decode_list::<T>,
            }
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

/// Moves each object to where it is going to stay.
fn untyped<T: Cacheable>(items: Vec<T>) -> Vec<AnyObject> {
    let mut objects: Vec<AnyObject> = Vec::with_capacity(items.len());
    for item in items {
        objects.push(Arc::new(item));
    }
    objects
}

/// The objects of a built-in kind.
pub(super) fn built_in(
    client: &Client,
    kind: &'static BuiltInKind,
    namespace: Option<&str>,
) -> Arc<dyn ListWatch> {
    Arc::new(BuiltInListWatch {
        endpoint: Endpoint::new(client, kind.path, namespace.map(str::to_owned)),
        kind,
    })
}

struct BuiltInListWatch {
    endpoint: Endpoint,
    kind: &'static BuiltInKind,
}

impl ListWatch for BuiltInListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let response = self.endpoint.list(options).await?;
            (self.kind.list)(Media::of(response.headers()), response.body())
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(self.endpoint.watch(options, self.kind.object))
    }

    fn describe(&self) -> String {
        self.endpoint.describe()
    }
}

/// The objects of any resource, metadata only.
pub(super) fn metadata(
    client: &Client,
    resource: &GroupVersionResource,
    namespace: Option<&str>,
) -> Arc<dyn ListWatch> {
    Arc::new(MetadataListWatch {
        api: client.metadata(resource.clone(), namespace),
        name: format!("metadata of {}", name_of(resource)),
    })
}

fn name_of(resource: &GroupVersionResource) -> String {
    format!(
        "{}.{}/{}",
        resource.resource, resource.group, resource.version
    )
}

struct MetadataListWatch {
    api: MetadataApi,
    name: String,
}

impl ListWatch for MetadataListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let list = self.api.list(options).await?;
            Ok(Listed {
                resource_version: list.metadata.resource_version,
                continue_: list.metadata.continue_,
                items: untyped(list.items),
            })
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(async move {
            let events = self.api.watch(options).await?;
            Ok(events.decoded_by(decode_object::<PartialObjectMetadata>))
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// The objects of any resource, as JSON.
pub(super) fn dynamic(
    client: &Client,
    resource: &GroupVersionResource,
    namespace: Option<&str>,
) -> Arc<dyn ListWatch> {
    Arc::new(DynamicListWatch {
        api: client.dynamic(resource.clone(), namespace),
        name: name_of(resource),
    })
}

struct DynamicListWatch {
    api: DynamicApi,
    name: String,
}

impl ListWatch for DynamicListWatch {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed, Error>> {
        Box::pin(async move {
            let list = self.api.list(options).await?;
            Ok(Listed {
                resource_version: list.resource_version,
                continue_: list.continue_,
                items: untyped(list.items),
            })
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(async move {
            let events = self.api.watch(options).await?;
            let decode = |_, body: &[u8]| Ok(Arc::new(DynamicObject::decode(body)?) as AnyObject);
            Ok(events.decoded_by(decode))
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

//! Where a reflector reads from. Upstream: `client-go/tools/cache.ListerWatcher`.

use std::fmt;

use api_types::meta::v1::{ListOptions, PartialObjectMetadata};
use api_types::{List as _, Resource};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};

use super::transforms::Transform;
use crate::dynamic::{DynamicApi, DynamicObject, MetadataApi};
use crate::error::Error;
use crate::rest::Api;
use crate::watch::WatchEvent;

/// One page of a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed<T> {
    /// The version of the collection.
    pub resource_version: String,
    /// Where the next page begins, or "".
    pub continue_: String,
    /// The objects of this page.
    pub items: Vec<T>,
}

/// The events of one watch.
pub(super) type Events<T> = BoxStream<'static, Result<WatchEvent<T>, Error>>;

/// Lists and watches one collection.
pub trait ListWatch<T>: Send + Sync + 'static {
    /// One page.
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed<T>, Error>>;
    /// The changes after `options.resource_version`.
    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events<T>, Error>>;
    /// What it reads, for logs.
    fn describe(&self) -> String;
}

/// Which part of a resource an informer holds, and how.
pub struct ListScope<T> {
    /// One namespace; `None` is all.
    pub namespace: Option<String>,
    /// A label selector; "" selects everything.
    pub label_selector: String,
    /// A field selector; "" selects everything.
    pub field_selector: String,
    /// Applied to every object before it is cached. Not part of an informer's identity: who asks first decides.
    pub transform: Option<Transform<T>>,
}

impl<T> Default for ListScope<T> {
    fn default() -> Self {
        Self {
            namespace: None,
            label_selector: String::new(),
            field_selector: String::new(),
            transform: None,
        }
    }
}

impl<T> Clone for ListScope<T> {
    fn clone(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            transform: self.transform.clone(),
        }
    }
}

impl<T> fmt::Debug for ListScope<T> {
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
#[derive(Debug)]
pub struct TypedListWatch<T> {
    pub(super) api: Api<T>,
    pub(super) scope: ListScope<T>,
}

impl<T: Resource> ListWatch<T> for TypedListWatch<T> {
    fn list<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed<T>, Error>> {
        Box::pin(async move {
            let list = self.api.list(&self.scope.select(options)).await?;
            let metadata = list.metadata();
            Ok(Listed {
                resource_version: metadata.resource_version.clone(),
                continue_: metadata.continue_.clone(),
                items: list.into_items(),
            })
        })
    }

    fn watch<'a>(&'a self, options: &'a ListOptions) -> BoxFuture<'a, Result<Events<T>, Error>> {
        Box::pin(async move { Ok(self.api.watch(&self.scope.select(options)).await?.boxed()) })
    }

    fn describe(&self) -> String {
        format!("{}/{}", T::API_VERSION, T::PLURAL)
    }
}

/// Any resource, metadata only.
#[derive(Debug)]
pub struct MetadataListWatch {
    pub(super) api: MetadataApi,
    pub(super) scope: ListScope<PartialObjectMetadata>,
    pub(super) name: String,
}

impl ListWatch<PartialObjectMetadata> for MetadataListWatch {
    fn list<'a>(
        &'a self,
        options: &'a ListOptions,
    ) -> BoxFuture<'a, Result<Listed<PartialObjectMetadata>, Error>> {
        Box::pin(async move {
            let list = self.api.list(&self.scope.select(options)).await?;
            Ok(Listed {
                resource_version: list.metadata.resource_version,
                continue_: list.metadata.continue_,
                items: list.items,
            })
        })
    }

    fn watch<'a>(
        &'a self,
        options: &'a ListOptions,
    ) -> BoxFuture<'a, Result<Events<PartialObjectMetadata>, Error>> {
        Box::pin(async move { Ok(self.api.watch(&self.scope.select(options)).await?.boxed()) })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// Any resource, as JSON.
#[derive(Debug)]
pub struct DynamicListWatch {
    pub(super) api: DynamicApi,
    pub(super) scope: ListScope<DynamicObject>,
    pub(super) name: String,
}

impl ListWatch<DynamicObject> for DynamicListWatch {
    fn list<'a>(
        &'a self,
        options: &'a ListOptions,
    ) -> BoxFuture<'a, Result<Listed<DynamicObject>, Error>> {
        Box::pin(async move {
            let list = self.api.list(&self.scope.select(options)).await?;
            Ok(Listed {
                resource_version: list.resource_version,
                continue_: list.continue_,
                items: list.items,
            })
        })
    }

    fn watch<'a>(
        &'a self,
        options: &'a ListOptions,
    ) -> BoxFuture<'a, Result<Events<DynamicObject>, Error>> {
        Box::pin(async move { Ok(self.api.watch(&self.scope.select(options)).await?.boxed()) })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

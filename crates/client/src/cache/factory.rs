//! One informer per collection, started together. Upstream: `client-go/informers.SharedInformerFactory`.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource;
use api_types::meta::v1::PartialObjectMetadata;
use apimachinery::gvk::GroupVersionResource;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::list_watch::{self, BuiltInKind, ListWatch};
use super::shared_informer::Core;
use super::{Cacheable, ListScope, SharedInformer};
use crate::dynamic::DynamicObject;
use crate::rest::Client;

/// Makes informers and keeps them: the same type and scope give the same informer. Clones share it.
#[derive(Clone)]
pub struct InformerFactory {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    resync: Duration,
    informers: Mutex<HashMap<Identity, Arc<Core>>>,
    tasks: TaskTracker,
}

/// What makes two requests for an informer the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    kind: TypeId,
    /// For types that stand for many resources.
    resource: Option<GroupVersionResource>,
    namespace: Option<String>,
    label_selector: String,
    field_selector: String,
}

/// Makes where an informer reads from, in one namespace or all.
type Source<'a> = dyn Fn(&Client, Option<&str>) -> Arc<dyn ListWatch> + 'a;

impl fmt::Debug for InformerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let informers: Vec<Arc<Core>> = self.shared.informers.lock().values().cloned().collect();
        f.debug_struct("InformerFactory")
            .field("informers", &informers)
            .finish()
    }
}

impl InformerFactory {
    /// A factory without informers. `resync` is the default period for handlers; zero is none.
    pub fn new(client: Client, resync: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                resync,
                informers: Mutex::new(HashMap::new()),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// The client its informers use.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The informer over all objects of a type.
    pub fn informer<T: Resource>(&self) -> SharedInformer<T> {
        self.informer_with(ListScope::default())
    }

    /// The informer over a part of the objects of a type. The transform of whoever asks first is used.
    pub fn informer_with<T: Resource>(&self, scope: ListScope<T>) -> SharedInformer<T> {
        let kind = BuiltInKind::of::<T>();
        self.get(None, scope, &|client, namespace| {
            list_watch::built_in(client, kind, namespace)
        })
    }

    /// The informer over the metadata of any resource, in one namespace or all.
    pub fn metadata_informer(
        &self,
        resource: &GroupVersionResource,
        namespace: Option<&str>,
    ) -> SharedInformer<PartialObjectMetadata> {
        let scope = ListScope {
            namespace: namespace.map(str::to_owned),
            transform: Some(super::transforms::drop_managed_fields()),
            ..ListScope::default()
        };
        self.get(Some(resource), scope, &|client, namespace| {
            list_watch::metadata(client, resource, namespace)
        })
    }

    /// The informer over any resource as JSON, in one namespace or all.
    pub fn dynamic_informer(
        &self,
        resource: &GroupVersionResource,
        namespace: Option<&str>,
    ) -> SharedInformer<DynamicObject> {
        let scope = ListScope {
            namespace: namespace.map(str::to_owned),
            ..ListScope::default()
        };
        self.get(Some(resource), scope, &|client, namespace| {
            list_watch::dynamic(client, resource, namespace)
        })
    }

    fn get<T: Cacheable>(
        &self,
        resource: Option<&GroupVersionResource>,
        scope: ListScope<T>,
        source: &Source<'_>,
    ) -> SharedInformer<T> {
        // The identity has the type: what is found is an informer of it.
        SharedInformer::of(self.core(TypeId::of::<T>(), resource, scope.untyped(), source))
    }

    fn core(
        &self,
        kind: TypeId,
        resource: Option<&GroupVersionResource>,
        scope: ListScope<dyn Cacheable>,
        source: &Source<'_>,
    ) -> Arc<Core> {
        let identity = Identity {
            kind,
            resource: resource.cloned(),
            namespace: scope.namespace.clone(),
            label_selector: scope.label_selector.clone(),
            field_selector: scope.field_selector.clone(),
        };
        let make = || {
            let source = source(&self.shared.client, scope.namespace.as_deref());
            Core::new(source, scope, self.shared.resync)
        };
        let mut informers = self.shared.informers.lock();
        informers.entry(identity).or_insert_with(make).clone()
    }

    /// Starts every informer asked for so far that is not running. They end with the token. Call again after asking for more.
    pub fn start(&self, token: CancellationToken) {
        for informer in self.shared.informers.lock().values() {
            if !informer.is_running() {
                self.shared.tasks.spawn(informer.run(token.clone()));
            }
        }
    }

    /// Waits until the first list of every informer asked for so far is in its cache. `false` when the token is cancelled before.
    /// An informer that was not started never gets there.
    pub async fn wait_for_sync(&self, token: &CancellationToken) -> bool {
        let informers: Vec<_> = self.shared.informers.lock().values().cloned().collect();
        for informer in informers {
            if !informer.wait_for_sync(token).await {
                return false;
            }
        }
        true
    }

    /// Whether every informer asked for so far has synced.
    pub fn has_synced(&self) -> bool {
        self.shared
            .informers
            .lock()
            .values()
            .all(|informer| informer.has_synced())
    }

    /// Waits until all informers have ended, after their token was cancelled.
    pub async fn shut_down(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

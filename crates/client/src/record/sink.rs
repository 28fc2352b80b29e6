//! Where events go. Upstream: `EventSink` of client-go/tools/{events,record}.

use api_types::core::v1::Event as CoreEvent;
use api_types::events::v1::Event;
use futures::future::BoxFuture;

use crate::error::Error;
use crate::rest::{Client, Patch};

/// An API server that takes events, however it is reached.
pub trait EventSink: Send + Sync + 'static {
    /// Writes a new event.
    fn create<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<(), Error>>;

    /// Changes an event by a patch without lists. Not found, when it has expired.
    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: serde_json::Value,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

impl EventSink for Client {
    fn create<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<(), Error>> {
        let api = self.namespaced::<Event>(event.metadata.namespace.as_str());
        Box::pin(async move { api.create(event).await.map(drop) })
    }

    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: serde_json::Value,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let api = self.namespaced::<Event>(namespace);
        Box::pin(async move {
            let patch = Patch::Strategic(patch.to_string().into_bytes());
            let options = crate::PatchOptions::default();
            api.patch(name, &patch, &options).await.map(drop)
        })
    }
}

/// An API server that takes `v1` events, however it is reached. Both answer with what is stored.
pub trait CoreEventSink: Send + Sync + 'static {
    /// Writes a new event.
    fn create<'a>(&'a self, event: &'a CoreEvent) -> BoxFuture<'a, Result<CoreEvent, Error>>;

    /// Changes an event by a patch without lists, in JSON. Not found, when it has expired.
    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: &'a [u8],
    ) -> BoxFuture<'a, Result<CoreEvent, Error>>;
}

impl CoreEventSink for Client {
    fn create<'a>(&'a self, event: &'a CoreEvent) -> BoxFuture<'a, Result<CoreEvent, Error>> {
        let api = self.namespaced::<CoreEvent>(event.metadata.namespace.as_str());
        Box::pin(async move { api.create(event).await })
    }

    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: &'a [u8],
    ) -> BoxFuture<'a, Result<CoreEvent, Error>> {
        let api = self.namespaced::<CoreEvent>(namespace);
        Box::pin(async move {
            let patch = Patch::Strategic(patch.to_vec());
            api.patch(name, &patch, &crate::PatchOptions::default())
                .await
        })
    }
}

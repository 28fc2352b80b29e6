//! Events that this server writes itself.

use api_types::core::v1::Event as CoreEvent;
use api_types::events::v1::Event;
use apimachinery::status;
use client::record::{CoreEventSink, EventSink};
use component_base::auth::BoxFuture;
use serde_json::Value;

use crate::loopback::Loopback;

/// Writes them without a request.
pub(super) struct Events(pub(super) Loopback);

impl EventSink for Events {
    fn create<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<(), client::Error>> {
        let event = event.clone();
        Box::pin(async move {
            let created = self.0.create(event).await;
            created.map(drop).map_err(api_error)
        })
    }

    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: Value,
    ) -> BoxFuture<'a, Result<(), client::Error>> {
        Box::pin(async move {
            let patched = self.0.merge_patch::<Event>(namespace, name, patch).await;
            patched.map_err(api_error)
        })
    }
}

impl CoreEventSink for Events {
    fn create<'a>(
        &'a self,
        event: &'a CoreEvent,
    ) -> BoxFuture<'a, Result<CoreEvent, client::Error>> {
        let event = event.clone();
        Box::pin(async move { self.0.create(event).await.map_err(api_error) })
    }

    fn patch<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        patch: &'a [u8],
    ) -> BoxFuture<'a, Result<CoreEvent, client::Error>> {
        Box::pin(async move {
            let invalid = |error: serde_json::Error| api_error(status::internal(error));
            let patch: Value = serde_json::from_slice(patch).map_err(invalid)?;
            self.0
                .merge_patch::<CoreEvent>(namespace, name, patch)
                .await
                .map_err(api_error)?;
            let stored = self.0.get::<CoreEvent>(namespace, name).await;
            stored.map(Option::unwrap_or_default).map_err(api_error)
        })
    }
}

fn api_error(error: status::StatusError) -> client::Error {
    client::Error::Api(Box::new(error.into()))
}

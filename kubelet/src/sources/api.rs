//! Pods bound to this node, watched at the API server. Upstream: `pkg/kubelet/config/apiserver.go`.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use client::{Client, DeletedObject, EventHandler, ListScope, SharedInformer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Source, SourceEvent};

struct Forward {
    events: mpsc::UnboundedSender<SourceEvent>,
}

impl EventHandler<Pod> for Forward {
    fn on_add(&self, pod: &Arc<Pod>, _: bool) {
        let _ = self
            .events
            .send(SourceEvent::Upsert(Source::Api, Box::new(Pod::clone(pod))));
    }

    fn on_update(&self, old: &Arc<Pod>, pod: &Arc<Pod>) {
        // A pod that was deleted and made anew between two lists is another pod.
        if old.metadata.uid != pod.metadata.uid {
            let _ = self
                .events
                .send(SourceEvent::Remove(Source::Api, old.metadata.uid.clone()));
        }
        let _ = self
            .events
            .send(SourceEvent::Upsert(Source::Api, Box::new(Pod::clone(pod))));
    }

    fn on_delete(&self, deleted: DeletedObject<Pod>) {
        let _ = self.events.send(SourceEvent::Remove(
            Source::Api,
            deleted.object.metadata.uid.clone(),
        ));
    }
}

/// Watches until the token ends it.
///
/// The channel has no bound: it holds at most one entry per change of a pod of this node, and the sync loop drains it.
pub fn watch_api_server(
    client: Client,
    node_name: &str,
    events: mpsc::UnboundedSender<SourceEvent>,
    token: CancellationToken,
) {
    let scope = ListScope::<Pod>::fields(format!("spec.nodeName={node_name}"));
    let informer = SharedInformer::new(&client, scope, Duration::ZERO);
    let registration = informer.add_handler(Arc::new(Forward {
        events: events.clone(),
    }));
    let runner = informer.clone();
    let stop = token.clone();
    tokio::spawn(async move { runner.run(stop).await });
    tokio::spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = registration.synced() => {
                let _ = events.send(SourceEvent::Synced(Source::Api));
            }
        }
        // Dropping the registration would end the forwarding.
        token.cancelled().await;
        drop(registration);
    });
}

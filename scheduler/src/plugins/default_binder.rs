//! Binds a pod by POST to its `binding` subresource. Upstream: plugins/defaultbinder.

use std::sync::Arc;

use api_types::core::v1::{Binding, ObjectReference, Pod};
use api_types::meta::v1::{ObjectMeta, Status as ApiStatus};
use client::Client;
use futures::future::BoxFuture;

use crate::framework::cycle_state::CycleState;
use crate::framework::plugin::{Bind, Plugin};
use crate::framework::pod_info::PodInfo;
use crate::framework::status::{Status, Verdict};

pub struct DefaultBinder {
    pub client: Client,
}

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        super::names::DEFAULT_BINDER
    }
}

impl Bind for DefaultBinder {
    fn bind<'a>(
        &'a self,
        _: &'a CycleState,
        pod: &'a Arc<PodInfo>,
        node: &'a str,
    ) -> BoxFuture<'a, Verdict> {
        let meta = &pod.pod.metadata;
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: "Node".into(),
                name: node.to_owned(),
                ..ObjectReference::default()
            },
            ..Binding::default()
        };
        Box::pin(async move {
            tracing::debug!(
                v = 3,
                pod = pod.full_name(),
                node,
                "Attempting to bind pod to node"
            );
            self.client
                .namespaced::<Pod>(&*meta.namespace)
                .create_subresource::<Binding, ApiStatus>(&meta.name, "binding", &binding)
                .await
                .map(drop)
                .map_err(|error| Status::error(error.to_string()))
        })
    }
}

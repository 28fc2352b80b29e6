//! Publishes the OpenAPI of custom resources as CustomResourceDefinitions come and go. Upstream:
//! apiextensions-apiserver's controller/openapi and controller/openapiv3.

use std::sync::Arc;

use api_types::apiextensions::v1::CustomResourceDefinition;
use tokio_util::sync::CancellationToken;

use crate::registry::follow::{Change, follow};
use crate::server::ApiServer;

/// Keeps the documents as the definitions say until `stop`.
pub(super) fn start(server: &Arc<ApiServer>, stop: CancellationToken) {
    let resource = server
        .resources
        .get("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let Some(resource) = resource else {
        return;
    };
    let server = server.clone();
    follow::<CustomResourceDefinition>(resource, stop, move |change| {
        let openapi = &server.discovery.openapi;
        match change {
            Change::Set(crd) => openapi.set_custom(&crd),
            Change::Gone { name, .. } => openapi.remove_custom(&name),
            Change::Synced => {}
        }
    });
}

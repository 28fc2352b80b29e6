//! Publishes the OpenAPI of custom resources as CustomResourceDefinitions come and go. Upstream:
//! apiextensions-apiserver's controller/openapi and controller/openapiv3.

use std::sync::Arc;

use api_types::apiextensions::v1::CustomResourceDefinition;
use component_base::metrics::Opts;
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
    let second = server.metrics.counter_vec(
        Opts::new(
            "apiextensions_openapi_v2_regeneration_count",
            "Counter of OpenAPI v2 spec regeneration count broken down by causing CRD name and reason.",
        ),
        &["crd", "reason"],
    );
    let third = server.metrics.counter_vec(
        Opts::new(
            "apiextensions_openapi_v3_regeneration_count",
            "Counter of OpenAPI v3 spec regeneration count broken down by group, version, causing CRD and reason.",
        ),
        &["group", "version", "crd", "reason"],
    );
    follow::<CustomResourceDefinition>(resource, stop, move |change| {
        let openapi = &server.discovery.openapi;
        let (name, regenerated) = match change {
            Change::Set(crd) => (crd.metadata.name.clone(), openapi.set_custom(&crd)),
            Change::Gone { name, .. } => (name.clone(), openapi.remove_custom(&name)),
            Change::Synced => return,
        };
        let Some(regenerated) = regenerated else {
            return;
        };
        // Upstream makes the series and never counts.
        second.with_label_values(&[&*name, regenerated.reason]);
        for (document, reason) in &regenerated.third {
            let path = document.strip_prefix("apis/").unwrap_or(document);
            let (group, version) = path.split_once('/').unwrap_or((path, ""));
            third.with_label_values(&[group, version, &*name, *reason]);
        }
    });
}

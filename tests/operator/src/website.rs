//! The custom resource: one page, served by some pods.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "e2e.example.com",
    version = "v1",
    kind = "Website",
    namespaced,
    status = "WebsiteStatus",
    shortname = "ws",
    printcolumn = r#"{"name": "Ready", "type": "integer", "jsonPath": ".status.ready"}"#
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebsiteSpec {
    /// What the page says.
    #[schemars(length(min = 1, max = 1000))]
    pub(crate) text: String,
    /// How many pods serve it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 9))]
    pub(crate) replicas: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebsiteStatus {
    /// The generation that the rest is about.
    pub(crate) observed_generation: i64,
    /// Pods that serve.
    pub(crate) ready: i32,
}

fn one() -> i32 {
    1
}

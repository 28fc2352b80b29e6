//! What tests need: definitions and their objects.

use std::sync::Arc;

use api_types::CustomObject;
use component_base::auth::BoxFuture;
use component_base::metrics::{Metrics, MetricsOptions};
use serde_json::{Value, json};

use super::{CustomResourceMetrics, Definition};
use crate::egress::Egress;
use crate::webhook::{ServiceResolver, Webhooks};

struct NoServices;

impl ServiceResolver for NoServices {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u16,
    ) -> BoxFuture<'a, Result<(String, u16), String>> {
        Box::pin(async { Err("there are no services".to_owned()) })
    }
}

/// The definition of things, with the rest of its spec.
pub(super) fn definition(mut spec: Value) -> Definition {
    let names =
        json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
    spec["group"] = "example.com".into();
    spec["scope"] = "Namespaced".into();
    spec["names"] = names.clone();
    let crd = json!({
        "metadata": {"name": "things.example.com"},
        "spec": spec,
        "status": {"acceptedNames": names},
    });
    let crd = api_types::decode_json(crd.to_string().as_bytes()).expect("a CRD");
    let metrics = Metrics::for_daemon(MetricsOptions::default());
    let webhooks = Webhooks::new(Arc::new(NoServices), Egress::default(), &metrics);
    let metrics = CustomResourceMetrics::new(&metrics);
    Definition::new(&crd, &Arc::new(webhooks), &metrics).expect("a definition")
}

/// A thing of version v1, with its fields besides the metadata.
pub(super) fn object(mut content: Value) -> CustomObject {
    content["apiVersion"] = "example.com/v1".into();
    content["kind"] = "Thing".into();
    content["metadata"] =
        json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"});
    api_types::decode_json(content.to_string().as_bytes()).expect("an object")
}

//! RuntimeClass to runtime handler. Upstream: `pkg/kubelet/runtimeclass`.

use api_types::core::v1::Pod;
use api_types::node::v1::RuntimeClass;
use client::{ObjectKey, SharedInformer};

/// Looks up RuntimeClasses.
pub struct RuntimeClasses {
    informer: Option<SharedInformer<RuntimeClass>>,
}

impl RuntimeClasses {
    /// Without an API server only pods without a class can run.
    #[must_use]
    pub fn new(informer: Option<SharedInformer<RuntimeClass>>) -> Self {
        RuntimeClasses { informer }
    }

    /// Handler of the pod's class; empty for the default.
    ///
    /// # Errors
    /// When the class does not exist.
    pub fn handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(name) = pod
            .spec
            .runtime_class_name
            .as_deref()
            .filter(|name| !name.is_empty())
        else {
            return Ok(String::new());
        };
        let class = self
            .informer
            .as_ref()
            .and_then(|informer| informer.lister().get(&ObjectKey::cluster(name)));
        match class {
            Some(class) => Ok(class.handler.clone()),
            None => Err(format!(
                "failed to get RuntimeClass {name}: runtimeclass.node.k8s.io {} not found",
                apimachinery::quote::quote(name)
            )),
        }
    }
}

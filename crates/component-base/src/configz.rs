//! `/configz`: the component configs in use, as JSON. Upstream: k8s.io/component-base/configz.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::serving::{Response, json_response};

/// Configs by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Configz {
    configs: Arc<RwLock<BTreeMap<String, serde_json::Value>>>,
}

impl Configz {
    /// Shows a config under a name (`kubeletconfig`, `componentconfig`, ...), in place of one shown earlier.
    pub fn set(&self, name: &str, config: serde_json::Value) {
        self.configs.write().insert(name.to_owned(), config);
    }

    /// Answers `/configz`.
    pub fn handle(&self) -> Response {
        let json = serde_json::to_vec(&*self.configs.read()).unwrap_or_default();
        let mut response = json_response(http::StatusCode::OK, json);
        response.headers_mut().insert(
            http::header::X_CONTENT_TYPE_OPTIONS,
            http::HeaderValue::from_static("nosniff"),
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shows_configs_by_name() {
        let configz = Configz::default();
        configz.set(
            "kubeletconfig",
            serde_json::json!({"kind": "KubeletConfiguration"}),
        );
        let body = configz.handle().into_body().collect(1000).await.unwrap();
        assert_eq!(body, r#"{"kubeletconfig":{"kind":"KubeletConfiguration"}}"#);
    }
}

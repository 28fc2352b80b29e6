//! kube-system/extension-apiserver-authentication: which CAs sign client certificates, for servers that delegate to
//! this one. Upstream: pkg/controlplane/controller/clusterauthenticationtrust.

use std::collections::BTreeMap;

use api_types::core::v1::ConfigMap;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;
use crate::server::ApiServer;

const NAME: &str = "extension-apiserver-authentication";

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let flags = &server.config.flags;
    let mut wanted = BTreeMap::new();
    let mut file = |key: &str, flag: &str| {
        if let Some(path) = flags.non_empty(flag)
            && let Ok(text) = std::fs::read_to_string(path)
        {
            wanted.insert(key.to_owned(), text);
        }
    };
    file("client-ca-file", "client-ca-file");
    file(
        "requestheader-client-ca-file",
        "requestheader-client-ca-file",
    );
    if wanted.contains_key("requestheader-client-ca-file") {
        let list = |name: &str| serde_json::to_string(flags.strings(name)).unwrap_or_default();
        for name in [
            "requestheader-username-headers",
            "requestheader-group-headers",
            "requestheader-extra-headers-prefix",
            "requestheader-uid-headers",
            "requestheader-allowed-names",
        ] {
            // Headers with uids are younger than the others and only told when there are any.
            if name != "requestheader-uid-headers" || !flags.strings(name).is_empty() {
                wanted.insert(name.to_owned(), list(name));
            }
        }
    }
    match client.get::<ConfigMap>("kube-system", NAME).await? {
        None => {
            let mut map = ConfigMap {
                data: wanted,
                ..ConfigMap::default()
            };
            NAME.clone_into(&mut map.metadata.name);
            "kube-system".clone_into(&mut map.metadata.namespace);
            client.ensure(map).await
        }
        Some(map)
            if wanted
                .iter()
                .all(|(key, value)| map.data.get(key) == Some(value)) =>
        {
            Ok(())
        }
        Some(mut map) => {
            // Other servers' CAs stay in the bundles.
            for (key, value) in wanted {
                let bundle = map.data.entry(key.clone()).or_default();
                if key.ends_with("ca-file") && !bundle.is_empty() {
                    if !bundle.contains(value.trim()) {
                        bundle.push_str(&value);
                    }
                } else {
                    *bundle = value;
                }
            }
            client.update(map).await.map(drop)
        }
    }
}

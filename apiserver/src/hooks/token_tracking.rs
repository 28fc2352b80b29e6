//! Since when legacy service account tokens are tracked. Upstream: pkg/controlplane/controller/legacytokentracking.

use api_types::core::v1::ConfigMap;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;

const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    match client.get::<ConfigMap>("kube-system", NAME).await? {
        None => {
            let mut map = ConfigMap::default();
            NAME.clone_into(&mut map.metadata.name);
            "kube-system".clone_into(&mut map.metadata.namespace);
            map.data.insert(SINCE.to_owned(), today);
            client.ensure(map).await
        }
        // A date that cannot be read is set anew.
        Some(mut map)
            if map
                .data
                .get(SINCE)
                .is_none_or(|date| date.parse::<jiff::civil::Date>().is_err()) =>
        {
            map.data.insert(SINCE.to_owned(), today);
            client.update(map).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

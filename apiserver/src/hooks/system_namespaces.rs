//! kube-system, kube-public, kube-node-lease and default exist, always. Upstream: pkg/controlplane/controller/systemnamespaces.

use api_types::core::v1::Namespace;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;

const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    for name in NAMESPACES {
        ensure(client, name).await?;
    }
    Ok(())
}

/// Makes a namespace that is not there.
pub(super) async fn ensure(client: &Loopback, name: &str) -> Result<(), StatusError> {
    if client.get::<Namespace>("", name).await?.is_none() {
        let mut namespace = Namespace::default();
        name.clone_into(&mut namespace.metadata.name);
        client.ensure(namespace).await?;
    }
    Ok(())
}

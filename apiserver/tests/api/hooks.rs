//! What the server makes by itself.

use std::time::Duration;

use super::*;

/// The first pods of a cluster find the API server by this Service: it must not wait for the next round of its hook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_service_is_there_soon() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let there = async {
        while server.get(service).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), there)
        .await
        .expect("before the hook's period of ten seconds");
}

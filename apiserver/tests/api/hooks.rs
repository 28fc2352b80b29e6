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

/// The one condition of the default ServiceCIDR belongs to its controller, which applies it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_service_cidr_is_made_ready() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let ready = async {
        loop {
            let cidr = server.get(path).await;
            if cidr.code == 200 && !cidr.json()["status"]["conditions"].is_null() {
                return cidr.json();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cidr = tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .expect("the hook has run");
    let entries = cidr["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["subresource"] == "status")
        .unwrap();
    assert_eq!(entry["manager"], "kubernetes-service-cidr-controller");
    assert_eq!(entry["operation"], "Apply");
}

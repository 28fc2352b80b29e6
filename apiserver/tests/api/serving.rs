//! What all requests have in common.

use std::time::Duration;

use super::*;

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_what_they_may_do() {
    let more = flags(&[
        "--strict-transport-security-directives=max-age=31536000,includeSubDomains",
        r"--cors-allowed-origins=//example\.com(:|$)",
    ]);
    let Some(server) = Server::start_with(&more).await else {
        return;
    };
    let answer = server.get("/version").await;
    let header = |answer: &Answer, name: &str| {
        let value = answer.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let directives = "max-age=31536000; includeSubDomains".to_owned();
    assert_eq!(
        header(&answer, "strict-transport-security"),
        Some(directives)
    );
    assert_eq!(header(&answer, "access-control-allow-origin"), None);

    let site = [("origin", "https://example.com")];
    let answer = server.send("OPTIONS", "/api", &site, "").await;
    assert_eq!(answer.code, 204);
    assert_eq!(
        header(&answer, "access-control-allow-methods").unwrap(),
        "POST, GET, OPTIONS, PUT, DELETE, PATCH"
    );
    let refused = [site[0], ("authorization", "Bearer x")];
    let answer = server.send("GET", "/api", &refused, "").await;
    assert_eq!(answer.code, 401);
    assert_eq!(
        header(&answer, "access-control-allow-origin").unwrap(),
        site[0].1
    );
    assert_eq!(
        header(&answer, "access-control-allow-credentials").unwrap(),
        "true"
    );
    let other = [("origin", "https://example.org")];
    let answer = server.send("GET", "/api", &other, "").await;
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_requests_elsewhere_and_ends_watches_in_turn() {
    let more = flags(&[
        "--shutdown-send-retry-after",
        "--shutdown-watch-termination-grace-period=200ms",
    ]);
    let Some(server) = Server::start_with(&more).await else {
        return;
    };
    let mut watches = Vec::new();
    for _ in 0..8 {
        let path = "/api/v1/namespaces?watch=1&resourceVersion=0";
        watches.push(server.open("GET", path, &[], "").await);
    }
    let inner = server.inner();
    inner.draining.begin();
    let answer = server.get("/version").await;
    assert_eq!(
        (answer.code, &answer.headers["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    assert_eq!(
        answer.text,
        b"The apiserver is shutting down, please try again later.\n"
    );
    assert_eq!(server.get("/healthz/ping").await.code, 200);
    inner.shutdown_watches.cancel();
    inner.draining.wait(Duration::from_secs(10)).await;
    for watch in watches {
        let ended = watch.into_body().collect(1 << 20);
        tokio::time::timeout(Duration::from_secs(10), ended)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_watch_caches_reads_from_etcd() {
    let more = flags(&["--watch-cache=false", "--watch-cache-sizes=pods#0"]);
    let Some(server) = Server::start_with(&more).await else {
        return;
    };
    let cached = |resource: &str| {
        let found = server.inner().resources.get("", "v1", resource).unwrap();
        found.storage().unwrap().is_cached()
    };
    assert!(!cached("configmaps") && !cached("pods") && cached("services"));
    server.namespace("default").await;
    for name in ["a", "b"] {
        server.post(CONFIG_MAPS, config_map(name)).await.expect(201);
    }
    let list = server.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let page = server
        .get(&format!("{CONFIG_MAPS}?limit=1&resourceVersion=0"))
        .await
        .expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server
        .post("/api/v1/namespaces/default/pods", pod)
        .await
        .expect(201);
    server
        .get("/api/v1/namespaces/default/pods/p")
        .await
        .expect(200);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    server
        .delete(&format!("{CONFIG_MAPS}/a"), json!({}))
        .await
        .expect(200);
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}");
    let seen = events(&server.get(&path).await);
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0]["type"], &seen[0]["object"]["metadata"]["name"]),
        (&json!("DELETED"), &json!("a"))
    );
    // All at once, and then what comes.
    let path = format!(
        "{CONFIG_MAPS}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let seen = events(&server.get(&path).await);
    assert_eq!(seen[0]["type"], "ADDED");
    assert_eq!(seen[1]["type"], "BOOKMARK");
    let custom = json!({"metadata": {"name": "foos.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    server
        .post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            custom,
        )
        .await
        .expect(201);
}

/// Objects are counted in etcd where no cache knows how many there are.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_cached_is_counted_all_the_same() {
    let more = flags(&[
        "--watch-cache=false",
        "--etcd-count-metric-poll-period=100ms",
    ]);
    let Some(server) = Server::start_with(&more).await else {
        return;
    };
    server.namespace("default").await;
    for name in ["a", "b"] {
        server.post(CONFIG_MAPS, config_map(name)).await.expect(201);
    }
    let wanted = [
        "apiserver_storage_objects{resource=\"configmaps\"} 2\n",
        "apiserver_resource_objects{group=\"\",resource=\"configmaps\"} 2\n",
        "apiserver_resource_size_estimate_bytes{group=\"\",resource=\"configmaps\"} -1\n",
    ];
    let counted = async {
        loop {
            let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
            if wanted.iter().all(|series| metrics.contains(series)) {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let metrics = tokio::time::timeout(Duration::from_secs(30), counted)
        .await
        .expect("they are counted");
    assert!(!metrics.contains("apiserver_storage_objects{resource=\"masterleases\"}"));
}

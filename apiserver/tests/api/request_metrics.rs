//! What is counted of requests. What upstream counted of the same ones is told in full.

use futures::StreamExt as _;
use http_body_util::BodyStream;
use serde_json::json;

use super::{APPLY, CONFIG_MAPS, JSON, MERGE, Server, config_map};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl Server {
    /// The lines of a family.
    async fn counted(&self, family: &str) -> Vec<String> {
        let metrics = String::from_utf8(self.get("/metrics").await.text).unwrap();
        let start = format!("apiserver_{family}{{");
        let lines = metrics.lines().filter(|line| line.starts_with(&start));
        lines.map(str::to_owned).collect()
    }

    /// Waits until a line is there: what a client sees the end of is counted a little later.
    async fn counts(&self, line: &str) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let metrics = String::from_utf8(self.get("/metrics").await.text).unwrap();
            if metrics.lines().any(|found| found == line) {
                return;
            }
            let (family, _) = line.split_once('{').unwrap();
            let found: Vec<&str> = metrics
                .lines()
                .filter(|line| line.starts_with(family))
                .collect();
            assert!(
                tokio::time::Instant::now() < deadline,
                "no {line}: {found:#?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

fn total(code: u16, dry_run: &str, scope: &str, verb: &str, count: u64) -> String {
    format!(
        "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"{dry_run}\",group=\"\",resource=\"configmaps\",scope=\"{scope}\",subresource=\"\",system_client=\"\",verb=\"{verb}\",version=\"v1\"}} {count}"
    )
}

/// Upstream's registry counts a resource's objects as soon as it has a storage, and then every minute.
#[tokio::test]
async fn objects_of_every_resource_are_counted_from_the_start() {
    let Some(server) = Server::start().await else {
        return;
    };
    for (group, resource) in [("", "pods"), ("apps", "deployments"), ("", "events")] {
        let line =
            format!("apiserver_resource_objects{{group=\"{group}\",resource=\"{resource}\"}} 0");
        server.counts(&line).await;
    }
}

#[tokio::test]
async fn every_request_with_a_route_is_counted_once() {
    let Some(server) = Server::start().await else {
        return;
    };
    let one = format!("{CONFIG_MAPS}/a");
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    server.post(CONFIG_MAPS, config_map("a")).await.expect(409);
    let dry = format!("{CONFIG_MAPS}?dryRun=All&dryRun=All");
    server.post(&dry, config_map("b")).await.expect(201);
    let wrong = format!("{CONFIG_MAPS}?dryRun=All&dryRun=Some");
    assert_eq!(server.post(&wrong, config_map("b")).await.code, 422);
    server.get(&one).await.expect(200);
    let agent = [("user-agent", "kube-scheduler/v1.36.2 (linux/amd64)")];
    assert_eq!(server.send("GET", &one, &agent, "").await.code, 200);
    let own = [("user-agent", "kube-apiserver/v1.36.2 (linux/amd64)")];
    assert_eq!(server.send("GET", &one, &own, "").await.code, 200);
    server.get(&format!("{CONFIG_MAPS}/none")).await.expect(404);
    server.get(CONFIG_MAPS).await.expect(200);
    server.get("/api/v1/configmaps").await.expect(200);
    let patch = json!({"data": {"a": "2"}}).to_string();
    server.patch(&one, MERGE, patch).await.expect(200);
    let applied = config_map("c").to_string();
    let apply = format!("{CONFIG_MAPS}/c?fieldManager=m");
    server.patch(&apply, APPLY, applied).await.expect(201);
    server.put(&one, config_map("a")).await.expect(200);
    server.delete(&one, json!({})).await.expect(200);
    server.delete(CONFIG_MAPS, json!({})).await.expect(200);
    // Nothing of what has no route.
    let no = server.send("PUT", CONFIG_MAPS, &[("content-type", JSON)], "{}");
    assert_eq!(no.await.code, 405);
    assert_eq!(server.send("FOO", &one, &[], "").await.code, 405);
    assert_eq!(
        server.get("/api/v1/namespaces/default/nothings").await.code,
        404
    );

    let mut counted = server.counted("request_total").await;
    counted.retain(|line| line.contains("configmaps"));
    let mut wanted = vec![
        total(201, "", "resource", "POST", 1),
        total(409, "", "resource", "POST", 1),
        total(201, "All", "resource", "POST", 1),
        total(422, "invalid", "resource", "POST", 1),
        total(200, "", "resource", "GET", 1),
        total(200, "", "resource", "GET", 1)
            .replace("system_client=\"\"", "system_client=\"kube-scheduler\""),
        total(200, "", "resource", "GET", 1)
            .replace("system_client=\"\"", "system_client=\"kube-apiserver\""),
        total(404, "", "resource", "GET", 1),
        total(200, "", "namespace", "LIST", 1),
        total(200, "", "cluster", "LIST", 1),
        total(200, "", "resource", "PATCH", 1),
        total(201, "", "resource", "APPLY", 1),
        total(200, "", "resource", "PUT", 1),
        total(200, "", "resource", "DELETE", 1),
        total(200, "", "namespace", "DELETE", 1),
    ];
    counted.sort();
    wanted.sort();
    assert_eq!(counted, wanted);
    server
        .has_series(&[
            "apiserver_request_duration_seconds_bucket{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\",le=\"60\"} 4",
            "apiserver_request_duration_seconds_count{component=\"apiserver\",dry_run=\"All\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
            "apiserver_request_sli_duration_seconds_count{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 2",
            "apiserver_response_sizes_count{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1",
            "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"create\"} 4",
            "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"patch\"} 2",
            "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"update\"} 1",
            "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"delete\"} 1",
            "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"delete_collection\"} 1",
            "apiserver_selfrequest_total{group=\"\",resource=\"configmaps\",subresource=\"\",verb=\"GET\"} 1",
            "apiserver_request_filter_duration_seconds_count{filter=\"authentication\"} ",
            "apiserver_request_filter_duration_seconds_count{filter=\"authorization\"} ",
            "apiserver_request_filter_duration_seconds_count{filter=\"audit\"} ",
            "apiserver_request_filter_duration_seconds_count{filter=\"constrainedimpersonation\"} ",
            "apiserver_request_filter_duration_seconds_count{filter=\"priorityandfairness\"} ",
        ])
        .await;
}

#[tokio::test]
async fn watches_count_while_they_run() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let path = format!("{CONFIG_MAPS}?{query}&fieldSelector=metadata.name%3Da");
    let answer = server.open("GET", &path, &[], "").await;
    let mut events = BodyStream::new(answer.into_body());
    let mut text = String::new();
    while !text.contains("initial-events-end") {
        let frame = events.next().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    let running = |count: u64| {
        format!(
            "apiserver_longrunning_requests{{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"WATCH\",version=\"v1\"}} {count}"
        )
    };
    let over = total(200, "", "namespace", "WATCH", 1);
    server.counts(&running(1)).await;
    server
        .has_series(&[
            "apiserver_watch_events_total{group=\"\",resource=\"configmaps\",version=\"v1\"} 2\n",
            "apiserver_watch_events_sizes_count{group=\"\",resource=\"configmaps\",version=\"v1\"} 2\n",
            "apiserver_watch_list_duration_seconds_count{group=\"\",resource=\"configmaps\",scope=\"namespace\",version=\"v1\"} 1\n",
        ])
        .await;
    assert!(!server.counted("request_total").await.contains(&over));
    drop(events);
    server.counts(&running(0)).await;
    server.counts(&over).await;
    // The old form of watches, which ends by itself.
    let old = format!("/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1");
    assert_eq!(server.get(&old).await.code, 200);
    server.counts(&total(200, "", "resource", "WATCH", 1)).await;
}

#[tokio::test]
async fn pages_and_deprecated_kinds_are_counted() {
    let Some(server) = Server::start().await else {
        return;
    };
    // Hooks have not run.
    assert_eq!(server.get("/healthz").await.code, 500);
    assert_eq!(server.get("/livez/ping").await.code, 200);
    assert_eq!(server.get("/openapi/v3").await.code, 200);
    assert_eq!(server.get("/openapi/v3/api/v1").await.code, 200);
    assert_eq!(server.accept("/apis", AGGREGATED).await.code, 200);
    assert_eq!(server.get("/api").await.code, 200);
    assert_eq!(server.get("/flagz").await.code, 200);
    server.get("/api/v1/endpoints").await.expect(200);
    let mut counted = server.counted("request_total").await;
    counted.retain(|line| line.contains("version=\"\""));
    let page = |component: &str, resource: &str, subresource: &str| {
        format!(
            "apiserver_request_total{{code=\"200\",component=\"{component}\",dry_run=\"\",group=\"\",resource=\"{resource}\",scope=\"\",subresource=\"{subresource}\",system_client=\"\",verb=\"GET\",version=\"\"}} 1"
        )
    };
    let mut wanted = [
        page("", "", "/healthz").replace("code=\"200\"", "code=\"500\""),
        page("", "", "openapi/v3"),
        page("", "", "openapi/v3/"),
        page("apiserver", "", "apis"),
        page("apiserver", "flagz", ""),
    ];
    counted.sort();
    wanted.sort();
    assert_eq!(counted, wanted);
    server
        .has_series(&[
            "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
        ])
        .await;
}

#[tokio::test]
async fn updates_are_compared_with_what_there_was() {
    let Some(server) = Server::start().await else {
        return;
    };
    let one = format!("{CONFIG_MAPS}/a");
    let created = server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let mut changed = created.clone();
    changed["data"] = json!({"more": "of it"});
    for body in [created, changed] {
        server.put(&one, body).await.expect(200);
    }
    // Whether the first one is seen to be equal hangs on whether a second has passed.
    let compared = server
        .counted("request_timestamp_comparison_time_count")
        .await;
    let count = |line: &String| {
        line.rsplit_once(' ')
            .and_then(|(_, count)| count.parse::<u64>().ok())
    };
    assert_eq!(
        compared.iter().filter_map(count).sum::<u64>(),
        2,
        "{compared:?}"
    );
    // There are none, and it is told.
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    assert!(metrics.contains("\napiserver_validation_declarative_validation_mismatch_total 0\n"));
    assert!(!metrics.contains("etcd_bookmark_counts"));
}

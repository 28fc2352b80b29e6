//! Priority and fairness.

use std::time::Duration;

use super::*;

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const SCHEMA_UID: &str = "X-Kubernetes-PF-FlowSchema-UID";
const LEVEL_UID: &str = "X-Kubernetes-PF-PriorityLevel-UID";
const DUMP: &str = "/debug/api_priority_and_fairness";

/// A level with no seats of its own: it takes one request at a time.
fn narrow_level() -> Value {
    json!({
        "metadata": {"name": "narrow"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    })
}

fn schema_of_noxu() -> Value {
    let rule = json!({
        "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
            "clusterScope": true,
        }],
    });
    json!({
        "metadata": {"name": "of-noxu"},
        "spec": {
            "matchingPrecedence": 1000,
            "priorityLevelConfiguration": {"name": "narrow"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [rule],
        },
    })
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

impl Server {
    async fn get_as(&self, user: &str, path: &str) -> Answer {
        self.send("GET", path, &[("Impersonate-User", user)], "")
            .await
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.code, 200);
        String::from_utf8(answer.text).unwrap()
    }

    /// The level's number of requests that are executed.
    async fn executing(&self, level: &str) -> String {
        let text = self.text(&format!("{DUMP}/dump_priority_levels")).await;
        let row = text.lines().find(|line| line.starts_with(level)).unwrap();
        row.split(',').nth(5).unwrap().trim().to_owned()
    }
}

/// Asks again until it is so.
async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let limit = Duration::from_secs(20);
    let so = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, so).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_classified_limited_and_shown() {
    let Some(server) = Server::start().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let uid = |object: Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let level = uid(server.post(LEVELS, narrow_level()).await.expect(201));
    let schema = uid(server.post(SCHEMAS, schema_of_noxu()).await.expect(201));
    let path = "/api/v1/namespaces";
    let uids = |answer: &Answer| {
        let uids = [header(answer, SCHEMA_UID), header(answer, LEVEL_UID)];
        uids.map(str::to_owned)
    };
    eventually("the schema is in force", || async {
        uids(&server.get_as("noxu", path).await) == [schema.clone(), level.clone()]
    })
    .await;
    let default = format!("{SCHEMAS}/global-default");
    eventually("there are the schemas of every cluster", || async {
        server.get(&default).await.code == 200
    })
    .await;
    let default = uid(server.get(&default).await.expect(200));
    eventually("others have the default schemas", || async {
        header(&server.get_as("foo", path).await, SCHEMA_UID) == default
    })
    .await;

    // A request that does not end takes the only place.
    let (sender, body) = Body::channel(1);
    let mut request = Request::builder()
        .method("POST")
        .uri(CONFIG_MAPS)
        .header("authorization", AUTHORIZATION)
        .header("content-type", JSON)
        .header("Impersonate-User", "noxu")
        .body(body)
        .unwrap();
    request
        .extensions_mut()
        .insert(Arc::new(ConnectionInfo::in_process()));
    let slow = Service(server.inner().clone());
    let slow = tokio::spawn(async move { slow.handle(request).await });
    eventually("it is executed", || async {
        server.executing("narrow").await == "1"
    })
    .await;
    let refused = server.get_as("noxu", path).await;
    assert_eq!(refused.code, 429);
    assert_eq!(
        refused.text,
        b"Too many requests, please try again later.\n"
    );
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(
        header(&refused, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(uids(&refused), [schema.clone(), level.clone()]);
    let dump = format!("{DUMP}/dump_requests?includeRequestDetails=1");
    let dump = server.text(&dump).await;
    let row = dump
        .lines()
        .find(|line| line.starts_with("narrow"))
        .unwrap();
    let cells: Vec<&str> = row.split(',').map(str::trim).collect();
    assert_eq!(cells[..5], ["narrow", "of-noxu", "-1", "-1", ""]);
    assert_eq!(cells[6..9], ["1", "0", "0s"]);
    assert_eq!(
        cells[10..],
        [
            "noxu",
            "create",
            CONFIG_MAPS,
            "default",
            "",
            "v1",
            "configmaps",
            ""
        ]
    );
    // Others are not concerned.
    server.get_as("foo", path).await.expect(200);
    let metrics = server.text("/metrics").await;
    for line in [
        "apiserver_flowcontrol_current_executing_requests{flow_schema=\"of-noxu\",priority_level=\"narrow\"} 1",
        "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"of-noxu\",priority_level=\"narrow\",reason=\"concurrency-limit\"} 1",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"narrow\"} 0",
        "apiserver_request_terminations_total{code=\"429\",component=\"apiserver\",group=\"\",resource=\"namespaces\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1",
        "apiserver_request_total{code=\"429\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"namespaces\",scope=\"cluster\",subresource=\"\",system_client=\"\",verb=\"LIST\",version=\"v1\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    drop(sender);
    assert_eq!(slow.await.unwrap().status(), 400);
    server.get_as("noxu", path).await.expect(200);

    // A watch has its place only until it has started.
    let watch = "/api/v1/namespaces?watch=true&resourceVersion=0";
    let headers = [("Impersonate-User", "noxu")];
    let watch = server.open("GET", watch, &headers, "").await;
    assert_eq!(watch.status(), 200);
    let mut watch = watch.into_body();
    watch.next_chunk().await.unwrap().unwrap();
    eventually("the watch has started", || async {
        server.executing("narrow").await == "0"
    })
    .await;
    drop(watch);

    // One with queues lets requests wait, a quarter of their time.
    let queues = json!({"spec": {"limited": {"limitResponse": {
        "type": "Queue",
        "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 10},
    }}}});
    let narrow = format!("{LEVELS}/narrow");
    let patched = server.patch(&narrow, MERGE, queues.to_string()).await;
    patched.expect(200);
    let brief = "/api/v1/namespaces?timeout=1s";
    eventually("it has queues, and no seat for those who wait", || async {
        server.get_as("noxu", brief).await.code == 429
    })
    .await;
    let queues = server.text(&format!("{DUMP}/dump_queues")).await;
    assert!(queues.lines().any(|line| line.starts_with("narrow, ")));

    // Without its schema the user is one like any other.
    let of_noxu = format!("{SCHEMAS}/of-noxu");
    server.delete(&of_noxu, json!({})).await.expect(200);
    eventually("the schema is out of force", || async {
        header(&server.get_as("noxu", brief).await, SCHEMA_UID) == default
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_switched_off() {
    let off = ["--enable-priority-and-fairness=false".to_owned()];
    let Some(server) = Server::start_with(&off).await else {
        return;
    };
    let answer = server.get("/api/v1/namespaces").await;
    assert_eq!(answer.code, 200);
    assert_eq!(header(&answer, SCHEMA_UID), "");
    let dump = server.get(&format!("{DUMP}/dump_queues")).await;
    assert_eq!(dump.code, 404);
}

/// Lists that are longer than what is sent at once.
async fn long_list(server: &Server) -> &'static str {
    for name in ["a", "b"] {
        let mut map = config_map(name);
        map["data"] = json!({"a": "1".repeat(400_000)});
        server.post(CONFIG_MAPS, map).await.expect(201);
    }
    CONFIG_MAPS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_limited_without_it() {
    let flags = [
        "--enable-priority-and-fairness=false".to_owned(),
        "--max-requests-inflight=1".to_owned(),
        "--max-mutating-requests-inflight=0".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    let path = long_list(&server).await;
    let headers = [("Impersonate-User", "noxu")];
    // Its place is free when the answer is written, not when it begins.
    let list = server.open("GET", path, &headers, "").await;
    assert_eq!(list.status(), 200);
    let refused = server.get_as("noxu", path).await;
    assert_eq!(refused.code, 429);
    assert_eq!(header(&refused, "retry-after"), "1");
    server.get("/api/v1/namespaces").await.expect(200);
    let watch = format!("{path}?watch=true&timeoutSeconds=1");
    assert_eq!(server.get_as("noxu", &watch).await.code, 200);
    eventually("the place is shown as taken", || async {
        let text = server.text("/metrics").await;
        text.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1")
            && text.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 0")
    })
    .await;
    drop(list);
    server.get_as("noxu", path).await.expect(200);
    // A client that does not read holds its place until the deadline.
    let brief = format!("{path}?timeout=1s");
    let list = server.open("GET", &brief, &headers, "").await;
    assert_eq!(server.get_as("noxu", path).await.code, 429);
    eventually("the place is free", || async {
        server.get_as("noxu", path).await.code == 200
    })
    .await;
    drop(list);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limits_at_all() {
    let none = [
        "--max-requests-inflight=0".to_owned(),
        "--max-mutating-requests-inflight=0".to_owned(),
    ];
    let refused = Server::try_start_with(&none).await;
    let Some(refused) = refused else { return };
    let text = "invalid configuration: MaxRequestsInFlight=0 and MaxMutatingRequestsInFlight=0; they must add up to something positive";
    assert_eq!(refused.err().unwrap(), text);
    let mut off = none.to_vec();
    off.push("--enable-priority-and-fairness=false".to_owned());
    let server = Server::start_with(&off).await.unwrap();
    server
        .get_as("noxu", "/api/v1/namespaces")
        .await
        .expect(200);
    server
        .has_series(&["apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0"])
        .await;
}

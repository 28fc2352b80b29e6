//! What is written down about requests.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, CONFIG_MAPS, JSON, MERGE, Server, config_map};

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

/// A server that notes things, and its log.
struct Audited {
    server: Server,
    folder: tempfile::TempDir,
}

impl Audited {
    async fn start(policy: &str, flags: &[&str]) -> Option<Audited> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, format!("{HEAD}{policy}")).unwrap();
        let mut all = vec![
            format!("--audit-policy-file={}", file.display()),
            format!(
                "--audit-log-path={}",
                folder.path().join("audit.log").display()
            ),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let server = Server::start_with(&all).await?;
        server.namespace("default").await;
        Some(Audited { server, folder })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The events of one request.
    fn of(&self, id: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        events.filter(|event| event["auditID"] == id).collect()
    }

    /// The last event of a request, which must be complete.
    #[track_caller]
    fn complete(&self, id: &str) -> Value {
        let event = self.of(id).pop().unwrap();
        assert_eq!(event["stage"], "ResponseComplete");
        event
    }

    async fn send(&self, id: &str, method: &str, path: &str, kind: &str, body: Value) -> Answer {
        let headers = [("audit-id", id), ("content-type", kind)];
        self.server
            .send(method, path, &headers, body.to_string())
            .await
    }

    async fn get(&self, id: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("audit-id", id)];
        all.extend(headers);
        self.server.send("GET", path, &all, "").await
    }
}

fn stages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["stage"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_who_did_what() {
    let Some(audited) = Audited::start("rules:\n- level: Metadata\n", &[]).await else {
        return;
    };
    let headers = [
        ("audit-id", "1"),
        ("content-type", JSON),
        ("user-agent", "test/1"),
        ("x-forwarded-for", "1.2.3.4"),
    ];
    let answer = audited
        .server
        .send("POST", CONFIG_MAPS, &headers, config_map("a").to_string())
        .await;
    assert_eq!(answer.headers["audit-id"], "1");
    answer.expect(201);
    let mut events = audited.of("1");
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(
        events[0]["requestReceivedTimestamp"],
        events[0]["stageTimestamp"]
    );
    for event in &mut events {
        let object = event.as_object_mut().unwrap();
        for time in ["requestReceivedTimestamp", "stageTimestamp"] {
            let text = object.remove(time).unwrap();
            assert_eq!(
                text.as_str().unwrap().len(),
                "2026-11-29T02:14:15.057637Z".len()
            );
        }
    }
    let groups = ["system:masters", "system:authenticated"];
    let user = json!({"username": "tester", "uid": "1", "groups": groups});
    assert_eq!(
        events[0],
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "1",
            "stage": "RequestReceived", "requestURI": CONFIG_MAPS, "verb": "create", "user": user,
            "sourceIPs": ["1.2.3.4", "127.0.0.1"], "userAgent": "test/1",
            "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        })
    );
    assert_eq!(
        events[1],
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "1",
            "stage": "ResponseComplete", "requestURI": CONFIG_MAPS, "verb": "create", "user": user,
            "sourceIPs": ["1.2.3.4", "127.0.0.1"], "userAgent": "test/1",
            "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        })
    );
    // One without an ID is given one.
    let answer = audited.server.get("/version").await;
    let id = answer.headers["audit-id"].to_str().unwrap();
    let event = audited.complete(id);
    assert_eq!(event["requestURI"], "/version");
    assert_eq!(event.get("objectRef"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_noted_as_far_as_the_level_goes() {
    let policy = "omitManagedFields: true\nrules:\n\
        - {level: RequestResponse, verbs: [get, list, patch]}\n\
        - {level: Request, resources: [{resources: [configmaps]}]}\n\
        - {level: Metadata, resources: [{resources: [secrets]}]}\n\
        - {level: None}\n";
    let Some(audited) = Audited::start(policy, &[]).await else {
        return;
    };
    audited
        .send("create", "POST", CONFIG_MAPS, JSON, config_map("a"))
        .await
        .expect(201);
    let event = audited.complete("create");
    assert_eq!(event["requestObject"], config_map("a"));
    assert_eq!(event.get("responseObject"), None);

    let one = format!("{CONFIG_MAPS}/a");
    audited
        .send("patch", "PATCH", &one, MERGE, json!({"data": {"a": "<2>"}}))
        .await
        .expect(200);
    let event = audited.complete("patch");
    assert_eq!(event["requestObject"], json!({"data": {"a": "<2>"}}));
    assert_eq!(event["responseObject"]["data"]["a"], "<2>");
    assert_eq!(
        event["responseObject"]["metadata"].get("managedFields"),
        None
    );

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    for (id, path) in [("one", one.as_str()), ("all", CONFIG_MAPS)] {
        let shown = audited.get(id, path, &[]).await.expect(200);
        let shown_pretty = audited
            .get("pretty", &format!("{path}?pretty=1"), &[])
            .await
            .expect(200);
        for (form, accept) in [("protobuf", PROTOBUF), ("yaml", "application/yaml")] {
            let answer = audited.get(form, path, &[("accept", accept)]).await;
            assert_eq!(answer.code, 200);
        }
        let mut want = audited.complete(id)["responseObject"].clone();
        for form in ["pretty", "protobuf", "yaml"] {
            assert_eq!(audited.complete(form)["responseObject"], want, "{form}");
        }
        assert_eq!(shown, shown_pretty);
        let mut shown = shown;
        for object in [&mut want, &mut shown] {
            let inner = match id {
                "one" => object,
                _ => &mut object["items"][0],
            };
            inner["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("managedFields");
        }
        assert_eq!(want, shown);
    }

    // An error is its status, and the body of a refused request is not kept.
    audited
        .send("put", "PUT", &one, JSON, json!({"metadata": {"name": "b"}}))
        .await
        .expect(400);
    let event = audited.complete("put");
    assert_eq!(event["responseStatus"]["reason"], "BadRequest");
    assert_eq!(event["requestObject"]["metadata"]["name"], "b");

    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"p": "hidden"}});
    audited
        .send("secret", "POST", secrets, JSON, secret)
        .await
        .expect(201);
    assert_eq!(audited.complete("secret")["objectRef"]["name"], "s");
    audited
        .send(
            "none",
            "POST",
            "/api/v1/namespaces",
            JSON,
            json!({"metadata": {"name": "n"}}),
        )
        .await
        .expect(201);
    assert!(audited.of("none").is_empty());
    let text = std::fs::read_to_string(audited.log()).unwrap();
    assert!(!text.contains("hidden") && !text.contains("aGlkZGVu"));
    assert!(!text.contains("managedFields"));
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_start_and_end() {
    let Some(audited) = Audited::start("rules:\n- level: RequestResponse\n", &[]).await else {
        return;
    };
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1");
    audited.get("ends", &path, &[]).await;
    let events = audited.of("ends");
    let all = ["RequestReceived", "ResponseStarted", "ResponseComplete"];
    assert_eq!(stages(&events), all);
    assert_eq!(
        events[1]["responseStatus"],
        json!({"metadata": {}, "code": 200})
    );
    assert_eq!(events[2].get("responseObject"), None);

    let path = format!("{CONFIG_MAPS}?watch=1");
    let open = audited
        .server
        .open("GET", &path, &[("audit-id", "cut")], "")
        .await;
    assert_eq!(stages(&audited.of("cut")), all[..2]);
    drop(open);
    assert_eq!(stages(&audited.of("cut")), all);

    audited
        .get("bad", &format!("{path}&resourceVersion=x"), &[])
        .await;
    let events = audited.of("bad");
    assert_eq!(stages(&events), all);
    assert_eq!(events[1]["responseObject"]["kind"], "Status");
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_can_be_left_out() {
    let policy = "omitStages: [RequestReceived]\nrules:\n\
        - {level: Metadata, verbs: [get], omitStages: [ResponseComplete]}\n- level: Metadata\n";
    let Some(audited) = Audited::start(policy, &[]).await else {
        return;
    };
    audited.get("none", &format!("{CONFIG_MAPS}/x"), &[]).await;
    assert!(audited.of("none").is_empty());
    audited.get("list", CONFIG_MAPS, &[]).await;
    assert_eq!(stages(&audited.of("list")), ["ResponseComplete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_and_who_acts_as_another() {
    let Some(audited) = Audited::start("rules:\n- level: Metadata\n", &[]).await else {
        return;
    };
    audited
        .get("401", CONFIG_MAPS, &[("authorization", "Bearer x")])
        .await
        .expect(401);
    let events = audited.of("401");
    assert_eq!(stages(&events), ["ResponseStarted"]);
    assert_eq!(events[0]["user"], json!({}));
    assert_eq!(
        events[0]["responseStatus"],
        json!({"metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
    );
    audited
        .get("timeout", &format!("{CONFIG_MAPS}?timeout=x"), &[])
        .await
        .expect(400);
    assert_eq!(stages(&audited.of("timeout")), ["ResponseStarted"]);

    let jane = [("impersonate-user", "jane"), ("impersonate-group", "devs")];
    audited.get("jane", CONFIG_MAPS, &jane).await.expect(200);
    let event = audited.complete("jane");
    assert_eq!(event["user"]["username"], "tester");
    assert_eq!(
        event["impersonatedUser"],
        json!({"username": "jane", "groups": ["devs", "system:authenticated"]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_annotates() {
    let Some(audited) = Audited::start("rules:\n- level: Metadata\n", &[]).await else {
        return;
    };
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    audited
        .send("l", "PATCH", "/api/v1/namespaces/default", MERGE, labels)
        .await
        .expect(200);
    // A consistent list waits for what admission sees.
    audited
        .get("n", "/api/v1/namespaces", &[])
        .await
        .expect(200);
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    audited
        .send("p", "POST", "/api/v1/namespaces/default/pods", JSON, pod)
        .await
        .expect(201);
    assert_eq!(
        audited.complete("p")["annotations"]["pod-security.kubernetes.io/enforce-policy"],
        "baseline:latest"
    );
    let answer = audited
        .get("e", "/api/v1/namespaces/default/endpoints", &[])
        .await;
    answer.expect(200);
    assert_eq!(
        audited.complete("e")["annotations"]["k8s.io/deprecated"],
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_without_a_version_are_noted() {
    let flags = ["--runtime-config=networking.k8s.io/v1beta1=true"];
    let Some(audited) = Audited::start("rules:\n- level: Metadata\n", &flags).await else {
        return;
    };
    let path = "/apis/networking.k8s.io/v1beta1/ipaddresses";
    audited.get("a", path, &[]).await.expect(200);
    let noted = &audited.complete("a")["annotations"];
    assert_eq!(noted["k8s.io/deprecated"], "true");
    assert_eq!(noted["k8s.io/removed-release"], "1.37");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_written_when_the_server_stops() {
    let flags = [
        "--audit-log-mode=batch",
        "--audit-log-batch-max-size=100",
        "--audit-log-batch-max-wait=1h",
        "--audit-log-format=legacy",
    ];
    let Some(audited) = Audited::start("rules:\n- level: Metadata\n", &flags).await else {
        return;
    };
    audited.get("last", "/version", &[]).await.expect(200);
    let audit = audited.server.inner().audit.clone().unwrap();
    audit.shutdown().await;
    let text = std::fs::read_to_string(audited.log()).unwrap();
    let line = text.lines().last().unwrap();
    assert!(
        line.contains(
            " AUDIT: id=\"last\" stage=\"ResponseComplete\" ip=\"127.0.0.1\" method=\"get\""
        ),
        "{line}"
    );
    assert!(
        line.ends_with("uri=\"/version\" response=\"200\""),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_events_go_without_their_objects() {
    let flags = [
        "--audit-log-truncate-enabled",
        "--audit-log-truncate-max-event-size=2000",
    ];
    let Some(audited) = Audited::start("rules:\n- level: Request\n", &flags).await else {
        return;
    };
    let mut long = config_map("long");
    long["data"]["a"] = json!("x".repeat(2000));
    audited
        .send("long", "POST", CONFIG_MAPS, JSON, long)
        .await
        .expect(201);
    let event = audited.complete("long");
    assert_eq!(event.get("requestObject"), None);
    assert_eq!(event["annotations"]["audit.k8s.io/truncated"], "true");
    let path = format!("{CONFIG_MAPS}/{}", "y".repeat(2000));
    audited.get("lost", &path, &[]).await;
    assert!(audited.of("lost").is_empty());
    let metrics = audited.server.get("/metrics").await.text;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("apiserver_audit_error_total{plugin=\"truncate\"} 2"));
    assert!(metrics.contains("apiserver_audit_level_total{level=\"Request\"}"));
}

/// A server that takes events, and fails at first.
pub(super) async fn hook(fails: usize) -> (String, tokio::sync::mpsc::UnboundedReceiver<Value>) {
    use http_body_util::BodyExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(fails));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (sender, left) = (sender.clone(), left.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(
                    move |request: http::Request<hyper::body::Incoming>| {
                        let (sender, left) = (sender.clone(), left.clone());
                        async move {
                            assert_eq!(request.uri().path(), "/events");
                            let body = request.into_body().collect().await?.to_bytes();
                            let fails = left.fetch_update(
                                std::sync::atomic::Ordering::SeqCst,
                                std::sync::atomic::Ordering::SeqCst,
                                |left| left.checked_sub(1),
                            );
                            let mut response =
                                http::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
                            if fails.is_ok() {
                                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                            } else {
                                let _ = sender.send(serde_json::from_slice(&body).unwrap());
                            }
                            Ok::<_, hyper::Error>(response)
                        }
                    },
                );
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            });
        }
    });
    (url, receiver)
}

pub(super) fn kubeconfig(folder: &tempfile::TempDir, url: &str) -> String {
    let path = folder.path().join("hook.kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    format!("--audit-webhook-config-file={}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_batches_and_is_tried_again() {
    let (url, mut lists) = hook(2).await;
    let folder = tempfile::tempdir().unwrap();
    let hook = kubeconfig(&folder, &url);
    let flags = [
        hook.as_str(),
        "--audit-webhook-initial-backoff=10ms",
        "--audit-webhook-batch-max-wait=1h",
        "--audit-webhook-batch-max-size=3",
    ];
    let policy = "rules:\n- {level: RequestResponse, nonResourceURLs: ['/version']}\n";
    let Some(audited) = Audited::start(policy, &flags).await else {
        return;
    };
    for id in ["1", "2"] {
        audited.get(id, "/version", &[]).await.expect(200);
    }
    let list = tokio::time::timeout(Duration::from_secs(20), lists.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(list["kind"], "EventList");
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(list["items"][2]["auditID"], "2");
    // The rest comes when the server stops.
    audited
        .server
        .inner()
        .audit
        .clone()
        .unwrap()
        .shutdown()
        .await;
    let list = lists.recv().await.unwrap();
    assert_eq!(
        stages(list["items"].as_array().unwrap()),
        ["ResponseComplete"]
    );
    assert_eq!(audited.events().len(), 4, "the log has them too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_backend_that_fails_stops_requests() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let hook = kubeconfig(&folder, "http://127.0.0.1:1");
    let policy = "rules:\n- {level: Metadata, nonResourceURLs: ['/version']}\n";
    for (mode, code) in [("blocking-strict", 500), ("blocking", 200)] {
        let mode = format!("--audit-webhook-mode={mode}");
        let flags = [
            hook.as_str(),
            mode.as_str(),
            "--audit-webhook-initial-backoff=1ms",
        ];
        let Some(audited) = Audited::start(policy, &flags).await else {
            return;
        };
        let answer = audited.get("1", "/version", &[]).await;
        assert_eq!(answer.code, code);
        if code == 500 {
            let text = String::from_utf8(answer.text).unwrap();
            assert_eq!(
                text,
                "Internal Server Error: \"/version\": failed to store audit event\n"
            );
            assert_eq!(stages(&audited.of("1")), ["RequestReceived"]);
        }
    }
}

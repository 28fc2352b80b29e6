//! Admission webhooks: one TLS server of the test's own, whose paths say what it does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CONFIG_MAPS, JSON, MERGE, Server, config_map, self_signed, self_signed_for};

pub(super) const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub(super) const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// The webhook server. It is gone with the test.
pub(super) struct Hooks {
    port: u16,
    ca_bundle: String,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    /// The credentials of requests: `Authorization` and `Impersonate-User`.
    callers: Arc<Mutex<Vec<[String; 2]>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Hooks {
    pub(super) async fn start() -> Hooks {
        let (mut config, ca) = self_signed("127.0.0.1");
        let ca_bundle = STANDARD.encode(ca);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let callers = Arc::new(Mutex::new(Vec::new()));
        let called = callers.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log, called) = (acceptor.clone(), log.clone(), called.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request: http::Request<_>| {
                        let header = |name: &str| {
                            let value = request.headers().get(name);
                            value.map_or("", |value| value.to_str().unwrap()).to_owned()
                        };
                        let caller = ["authorization", "impersonate-user"].map(header);
                        called.lock().push(caller);
                        answer(request, log.clone())
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Hooks {
            port,
            ca_bundle,
            seen,
            callers,
            serving,
        }
    }

    /// A webhook whose path is what it does, about config maps unless `more` says otherwise.
    pub(super) fn hook(&self, name: &str, path: &str, more: Value) -> Value {
        let mut hook = json!({
            "name": format!("{name}.example.com"),
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}/{path}", self.port),
                "caBundle": self.ca_bundle,
            },
            "rules": [rule("", "*", "configmaps")],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        });
        for (key, value) in more.as_object().unwrap() {
            hook[key] = value.clone();
        }
        hook
    }

    /// What was asked since the last call: path and request.
    pub(super) fn seen(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.seen.lock())
    }
}

pub(super) fn rule(group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    log: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().trim_matches('/').to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    if let Some(instead) = instead_of_answer(&path, &review) {
        log.lock().push((path, review["request"].clone()));
        return Ok(instead);
    }
    if review["kind"] == "ImageReview" {
        log.lock().push((path, review["spec"].clone()));
        return Ok(judge_images(&review));
    }
    let object = &review["request"]["object"];
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    let mut patch = |operations: Value| {
        response["patch"] = STANDARD.encode(operations.to_string()).into();
        response["patchType"] = "JSONPatch".into();
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["deny"] => {
            response["allowed"] = false.into();
            response["status"] = json!({"message": "no", "reason": "Because", "code": 403});
        }
        ["warn"] => response["warnings"] = json!(["careful"]),
        // Adds a key to the data if another one is there.
        ["after", wanted, added] if object["data"].get(wanted).is_some() => {
            patch(json!([{"op": "add", "path": format!("/data/{added}"), "value": "1"}]));
        }
        ["field", field] => {
            patch(json!([{"op": "add", "path": format!("/{field}"), "value": {"a": "b"}}]));
        }
        ["pull", policy] => {
            let path = "/spec/containers/0/imagePullPolicy";
            patch(json!([{"op": "replace", "path": path, "value": policy}]));
        }
        // Wants to be asked again that often.
        ["busy", times] => {
            let mut log = log.lock();
            let asked = log.iter().filter(|(seen, _)| *seen == path).count();
            if asked < times.parse().unwrap() {
                log.push((path.clone(), Value::Null));
                let answer = http::Response::builder()
                    .status(http::StatusCode::TOO_MANY_REQUESTS)
                    .header(http::header::RETRY_AFTER, "0");
                return Ok(answer.body(Full::default()).unwrap());
            }
        }
        ["wrong-uid"] => response["uid"] = "x".into(),
        ["slow"] => tokio::time::sleep(Duration::from_secs(5)).await,
        _ => {}
    }
    log.lock().push((path, review["request"].clone()));
    let answer = json!({
        "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
    });
    Ok(http::Response::new(Full::from(answer.to_string())))
}

/// A page with a secret, in many ways, or a redirect to another port of this host.
fn instead_of_answer(path: &str, review: &Value) -> Option<http::Response<Full<Bytes>>> {
    let (what, more) = path.split_once('/')?;
    let page = |code: u16, kind: &str, text: String| {
        let response = http::Response::builder().status(code);
        let response = response.header("content-type", kind);
        Some(response.body(Full::from(text)).unwrap())
    };
    match what {
        "page" => page(500, "text/plain", format!("here is {more}")),
        "status" => page(
            500,
            JSON,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": more, "reason": more, "code": 500})
                .to_string(),
        ),
        "ok-page" => page(200, "text/html", format!("<p>{more}</p>")),
        "ok-json" => page(200, JSON, json!({"kind": more, more: more}).to_string()),
        "refusal" => page(
            200,
            JSON,
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": review["request"]["uid"], "status": {"message": more}}})
                .to_string(),
        ),
        "redirect" => {
            let (code, port) = more.split_once('/')?;
            let mut response = page(code.parse().unwrap(), "text/plain", String::new())?;
            let location = format!("https://127.0.0.1:{port}/");
            response
                .headers_mut()
                .insert("location", location.parse().unwrap());
            Some(response)
        }
        _ => None,
    }
}

/// Images that are bad may not run, and who asks about worse ones may not ask.
fn judge_images(review: &Value) -> http::Response<Full<Bytes>> {
    let images = review["spec"]["containers"].as_array().unwrap();
    let any = |what: &str| {
        let mut images = images.iter();
        images.any(|image| image["image"].as_str().unwrap().contains(what))
    };
    let mut answer = http::Response::new(Full::default());
    if any("worse") {
        *answer.status_mut() = http::StatusCode::FORBIDDEN;
        return answer;
    }
    let status = json!({"allowed": !any("bad"), "reason": "bad", "auditAnnotations": {"k": "v"}});
    let review =
        json!({"apiVersion": review["apiVersion"], "kind": "ImageReview", "status": status});
    *answer.body_mut() = Full::from(review.to_string());
    answer
}

impl Server {
    pub(super) async fn configure(&self, path: &str, name: &str, hooks: Value) {
        let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
        self.post(path, configuration).await.expect(201);
    }
}

async fn both() -> Option<(Server, Hooks)> {
    Some((Server::start().await?, Hooks::start().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_judged() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let named = |name: &str| json!({"objectSelector": {"matchLabels": {"name": name}}});
    let labelled = |name: &str| {
        let mut map = config_map(name);
        map["metadata"]["labels"] = json!({"name": name});
        map
    };
    server
        .configure(
            VALIDATING,
            "v",
            json!([
                hooks.hook("deny", "deny", named("denied")),
                hooks.hook("warn", "warn", named("warned")),
                hooks.hook("uid", "wrong-uid", named("uid")),
            ]),
        )
        .await;
    // In force at once.
    let denied = server.post(CONFIG_MAPS, labelled("denied")).await;
    denied.refuses(
        403,
        "admission webhook \"deny.example.com\" denied the request: no",
    );
    assert_eq!(denied.json()["reason"], "Because");
    let warned = server.post(CONFIG_MAPS, labelled("warned")).await;
    assert_eq!(warned.headers["warning"], "299 - \"careful\"");
    warned.expect(201);
    let (path, request) = hooks.seen().pop().unwrap();
    assert_eq!(path, "warn");
    assert_eq!(
        json!([
            request["operation"],
            request["name"],
            request["namespace"],
            request["kind"]["kind"],
            request["oldObject"],
            request["options"]["kind"]
        ]),
        json!([
            "CREATE",
            "warned",
            "default",
            "ConfigMap",
            null,
            "CreateOptions"
        ])
    );
    assert_eq!(request["object"]["data"], json!({"a": "1"}));
    let unsure = server.post(CONFIG_MAPS, labelled("uid")).await;
    assert_eq!(unsure.code, 500);
    assert!(unsure.message().contains(
        "failed calling webhook \"uid.example.com\": received invalid webhook response: expected response.uid="
    ));
    // What is deleted is judged by what it was.
    let path = format!("{CONFIG_MAPS}/warned");
    server
        .patch(&path, MERGE, r#"{"metadata":{"labels":{"name":"denied"}}}"#)
        .await
        .refuses(
            403,
            "admission webhook \"deny.example.com\" denied the request: no",
        );
    server.delete(&path, json!({})).await.expect(200);
    let (_, request) = hooks.seen().pop().unwrap();
    assert_eq!(
        (&request["operation"], &request["object"]),
        (&json!("DELETE"), &Value::Null)
    );
    assert_eq!(request["oldObject"]["metadata"]["name"], "warned");
    // Without its configuration nobody asks a webhook.
    server
        .delete(&format!("{VALIDATING}/v"), json!({}))
        .await
        .expect(200);
    server
        .post(CONFIG_MAPS, labelled("denied"))
        .await
        .expect(201);
    assert_eq!(hooks.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_cannot_be_asked() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let more = |policy: &str| json!({"failurePolicy": policy, "timeoutSeconds": 1});
    let mut unreachable = hooks.hook("off", "", more("Fail"));
    unreachable["clientConfig"]["url"] = format!("https://{closed}/a").into();
    let mut nowhere = hooks.hook("svc", "", more("Fail"));
    nowhere["clientConfig"] = json!({"service": {"namespace": "default", "name": "none", "path": "/a"}, "caBundle": hooks.ca_bundle});
    let mut untrusted = hooks.hook("ca", "", more("Fail"));
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    untrusted["clientConfig"]["caBundle"] = STANDARD.encode(other.cert.pem()).into();
    let port = hooks.port;
    for (name, hook, want) in [
        (
            "slow",
            hooks.hook("slow", "slow", more("Fail")),
            Some(format!(
                "Post \"https://127.0.0.1:{port}/slow?timeout=1s\": context deadline exceeded"
            )),
        ),
        ("ignored", hooks.hook("slow", "slow", more("Ignore")), None),
        (
            "off",
            unreachable,
            Some(format!(
                "Post \"https://{closed}/a?timeout=1s\": dial tcp {closed}: connect: connection refused"
            )),
        ),
        (
            "svc",
            nowhere,
            Some(
                "Post \"https://none.default.svc:443/a?timeout=1s\": service \"none\" not found"
                    .to_owned(),
            ),
        ),
        (
            "ca",
            untrusted,
            Some(format!(
                "Post \"https://127.0.0.1:{port}/?timeout=1s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
            )),
        ),
    ] {
        server.configure(VALIDATING, name, json!([hook])).await;
        let answer = server.post(CONFIG_MAPS, config_map(name)).await;
        match want {
            None => assert_eq!(answer.code, 201),
            Some(want) => answer.refuses(
                500,
                &format!(
                    "Internal error occurred: failed calling webhook {}: failed to call webhook: {want}",
                    hook["name"]
                ),
            ),
        }
        server
            .delete(&format!("{VALIDATING}/{name}"), json!({}))
            .await
            .expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_without_names_are_counted() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let (config, ca) = self_signed_for(Vec::new());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let mut nameless = hooks.hook("san", "", json!({"failurePolicy": "Ignore"}));
    nameless["clientConfig"]["url"] = format!("https://localhost:{port}/a").into();
    nameless["clientConfig"]["caBundle"] = STANDARD.encode(ca).into();
    server
        .configure(
            VALIDATING,
            "san",
            json!([nameless, hooks.hook("good", "", json!({}))]),
        )
        .await;
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    server
        .has_series(&[
            "apiserver_webhooks_x509_missing_san_total 1\n",
            "apiserver_webhooks_x509_insecure_sha1_total 0\n",
            "apiserver_kube_aggregator_x509_missing_san_total 0\n",
        ])
        .await;
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_are_busy_are_asked_again() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    for (path, code, asked) in [("busy/10", 201, 11), ("busy/11", 500, 11)] {
        let hook = hooks.hook("busy", path, json!({}));
        server.configure(VALIDATING, "busy", json!([hook])).await;
        let made = server.post(CONFIG_MAPS, config_map("busy")).await;
        assert_eq!(made.code, code);
        let seen = hooks.seen();
        assert_eq!(seen.iter().filter(|(seen, _)| seen == path).count(), asked);
        let configuration = format!("{VALIDATING}/busy");
        server.delete(&configuration, json!({})).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed_and_shown_again() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    // The first has nothing to do until the second has done its part.
    server
        .configure(
            MUTATING,
            "m",
            json!([
                hooks.hook("first", "after/two/three", again.clone()),
                hooks.hook("second", "after/a/two", json!({})),
            ]),
        )
        .await;
    let map = server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    assert_eq!(map["data"], json!({"a": "1", "two": "1", "three": "1"}));
    let asked: Vec<String> = hooks.seen().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["after/two/three", "after/a/two", "after/two/three"]);
    // Defaults come after, and the result must be valid.
    server
        .delete(&format!("{MUTATING}/m"), json!({}))
        .await
        .expect(200);
    server
        .configure(
            MUTATING,
            "m",
            json!([hooks.hook("f", "field/data", json!({}))]),
        )
        .await;
    let map = server.post(CONFIG_MAPS, config_map("b")).await.expect(201);
    assert_eq!(map["data"], json!({"a": "b"}));
    let refused = server.delete(&format!("{CONFIG_MAPS}/b"), json!({})).await;
    refused.refuses(500, "Internal error occurred: admission webhook \"f.example.com\" attempted to modify the object, which is not supported for this operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_reach_only_webhooks_without_side_effects() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let hook = hooks.hook("h", "warn", json!({"sideEffects": "NoneOnDryRun"}));
    server.configure(VALIDATING, "v", json!([hook])).await;
    let path = format!("{CONFIG_MAPS}?dryRun=All");
    server.post(&path, config_map("a")).await.expect(201);
    assert_eq!(hooks.seen()[0].1["dryRun"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_are_about() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let about = |rules: Value| json!({"rules": rules, "matchPolicy": "Equivalent"});
    server
        .configure(
            VALIDATING,
            "v",
            json!([
                hooks.hook("self", "deny", about(json!([rule("admissionregistration.k8s.io", "*", "*/*")]))),
                hooks.hook("ns", "deny", json!({
                    "rules": [rule("", "v1", "namespaces")],
                    "namespaceSelector": {"matchLabels": {"deny": "yes"}},
                })),
                hooks.hook("attach", "deny", about(json!([rule("", "v1", "pods/attach")]))),
                hooks.hook("hpa", "allow", about(json!([rule("autoscaling", "v2", "horizontalpodautoscalers")]))),
                hooks.hook("condition", "deny", json!({
                    "matchConditions": [{"name": "named", "expression": "object.metadata.name == 'conditional' && request.userInfo.username != ''"}],
                })),
            ]),
        )
        .await;
    let refused =
        |name: &str| format!("admission webhook \"{name}.example.com\" denied the request: no");
    // A webhook cannot keep its own configuration from being changed.
    let path = format!("{VALIDATING}/v");
    server
        .patch(&path, MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#)
        .await
        .expect(200);
    let namespace = json!({"metadata": {"name": "no", "labels": {"deny": "yes"}}});
    server
        .post("/api/v1/namespaces", namespace)
        .await
        .refuses(403, &refused("ns"));
    let namespace = json!({"metadata": {"name": "yes"}});
    server
        .post("/api/v1/namespaces", namespace)
        .await
        .expect(201);
    hooks.seen();
    let attach = "/api/v1/namespaces/default/pods/p/attach?container=c&stdin=true";
    server
        .send("POST", attach, &[], "")
        .await
        .refuses(403, &refused("attach"));
    let (_, request) = hooks.seen().pop().unwrap();
    assert_eq!(
        request["object"],
        json!({"apiVersion": "v1", "kind": "PodAttachOptions", "container": "c", "stdin": true})
    );
    let scaler = json!({
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    let scalers = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    server.post(scalers, scaler).await.expect(201);
    let (_, request) = hooks.seen().pop().unwrap();
    assert_eq!(
        json!([
            request["kind"]["version"],
            request["requestKind"]["version"],
            request["object"]["apiVersion"]
        ]),
        json!(["v2", "v1", "autoscaling/v2"])
    );
    assert_eq!(
        request["object"]["spec"]["metrics"][0]["resource"]["name"],
        "cpu"
    );
    server
        .post(CONFIG_MAPS, config_map("other"))
        .await
        .expect(201);
    let conditional = server.post(CONFIG_MAPS, config_map("conditional")).await;
    conditional.refuses(403, &refused("condition"));
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects() {
    let Some((server, hooks)) = both().await else {
        return;
    };
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "kept": {"type": "object", "additionalProperties": {"type": "string"}},
    }}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let definition = json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", true), version("v2", false)],
        },
    });
    server
        .post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
        )
        .await
        .expect(201);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let things = "/apis/example.com/v2/namespaces/default/things";
    let mut tries = 0;
    while server.get(things).await.code != 200 {
        tries += 1;
        assert!(tries < 200, "the custom resource is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let about = json!({"rules": [rule("example.com", "v1", "things")]});
    server
        .configure(
            MUTATING,
            "m",
            json!([
                hooks.hook("a", "field/kept", about.clone()),
                hooks.hook("b", "field/pruned", about.clone()),
            ]),
        )
        .await;
    let thing = json!({"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {"name": "t"}, "data": {"x": "y"}});
    let made = server
        .send("POST", things, &[("content-type", JSON)], thing.to_string())
        .await
        .expect(201);
    assert_eq!(
        json!([
            made["apiVersion"],
            made["data"],
            made["kept"],
            made["pruned"]
        ]),
        json!(["example.com/v2", {"x": "y"}, {"a": "b"}, null])
    );
    let seen = hooks.seen();
    assert_eq!(seen[0].1["object"]["apiVersion"], "example.com/v1");
    assert_eq!(seen[1].1["object"]["kept"], json!({"a": "b"}));
    server
        .delete(&format!("{MUTATING}/m"), json!({}))
        .await
        .expect(200);
    let deny = json!([hooks.hook("deny", "deny", about)]);
    server.configure(VALIDATING, "v", deny).await;
    let refused = "admission webhook \"deny.example.com\" denied the request: no";
    let path = format!("{things}/t");
    server
        .patch(&path, MERGE, r#"{"data":{"x":"z"}}"#)
        .await
        .refuses(403, refused);
    server.delete(&path, json!({})).await.refuses(403, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_know_who_calls() {
    let hooks = Hooks::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig.json");
    let token = folder.path().join("token");
    std::fs::write(&token, "from a file\n").unwrap();
    let target = format!("127.0.0.1:{}", hooks.port);
    let users = json!([
        {"name": target, "user": {"tokenFile": token, "as": "jane"}},
        {"name": "*", "user": {"token": "of somebody else"}},
    ]);
    let text = json!({"apiVersion": "v1", "kind": "Config", "users": users}).to_string();
    std::fs::write(&kubeconfig, text).unwrap();
    let file = folder.path().join("admission.json");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": kubeconfig,
        }}],
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    let flag = format!("--admission-control-config-file={}", file.display());
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    let validating = json!([hooks.hook("v", "allow", json!({}))]);
    server.configure(VALIDATING, "v", validating).await;
    let mutating = json!([hooks.hook("m", "allow", json!({}))]);
    server.configure(MUTATING, "m", mutating).await;
    for path in [VALIDATING, MUTATING] {
        server.get(path).await.expect(200);
    }
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let nobody = [String::new(), String::new()];
    let jane = ["Bearer from a file".to_owned(), "jane".to_owned()];
    assert_eq!(*hooks.callers.lock(), [nobody, jane]);
}

/// The flags of a server that asks about images here, which reads files in a folder.
pub(super) fn image_policy(hooks: &Hooks, folder: &std::path::Path) -> [String; 2] {
    let kubeconfig = folder.join("kubeconfig.json");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://127.0.0.1:{}/images", hooks.port), "certificate-authority-data": hooks.ca_bundle}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let file = folder.join("admission.json");
    let policy = json!({"imagePolicy": {"kubeConfigFile": kubeconfig, "allowTTL": 50, "denyTTL": 50, "retryBackoff": 1}});
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ImagePolicyWebhook", "configuration": policy}],
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    [
        "--enable-admission-plugins=ImagePolicyWebhook".to_owned(),
        format!("--admission-control-config-file={}", file.display()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_judged() {
    let hooks = Hooks::start().await;
    let folder = tempfile::tempdir().unwrap();
    let flags = image_policy(&hooks, folder.path());
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, image: &str| {
        json!({"metadata": {"name": name, "annotations": {"a.image-policy.k8s.io/b": "c", "d": "e"}}, "spec": {
            "containers": [{"name": "c", "image": image}], "initContainers": [{"name": "i", "image": "init"}]}})
    };
    server.post(pods, pod("a", "good")).await.expect(201);
    let asked = json!({
        "annotations": {"a.image-policy.k8s.io/b": "c"}, "namespace": "default",
        "containers": [{"image": "good"}, {"image": "init"}],
    });
    assert_eq!(hooks.seen(), [("images".to_owned(), asked)]);
    // The same question has the same answer for a while.
    server.post(pods, pod("b", "good")).await.expect(201);
    assert!(hooks.seen().is_empty());
    let denied = "is forbidden: image policy webhook backend denied one or more images: bad";
    let refused = server.post(pods, pod("c", "bad")).await;
    refused.refuses(403, &format!("pods \"c\" {denied}"));
    // The webhook's own 403 is passed on.
    server.post(pods, pod("d", "worse")).await.refuses(403, "");
    let path = format!("{pods}/a/ephemeralcontainers");
    let mut with = server.get(&format!("{pods}/a")).await.expect(200);
    with["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "bad"}]);
    let refused = server.put(&path, with).await;
    refused.refuses(403, &format!("pods \"a\" {denied}"));
}

//! Webhooks, policies of ABAC, and configurations of authorizers, which are followed. The webhook is a TLS server of the test's own.

use std::path::Path;
use std::time::Duration;

use super::authentication::Issuers;
use super::*;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

/// What the webhook says: the namespace `open` is open, and `shut` is shut.
pub(super) fn access_status(review: &Value) -> Value {
    let resource = &review["spec"]["resourceAttributes"];
    match resource["namespace"].as_str() {
        Some("open") => json!({"allowed": true, "reason": "it is open"}),
        Some("shut") => json!({"denied": true, "reason": "it is shut"}),
        Some("both") => json!({"allowed": true, "denied": true, "reason": "who knows"}),
        _ => json!({"reason": "ask somebody else", "evaluationError": "not told"}),
    }
}

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn configuration(authorizers: Value) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": authorizers,
    })
    .to_string()
}

/// A webhook of a configuration, with more or others.
fn webhook(name: &str, kubeconfig: &Path, more: Value) -> Value {
    let mut webhook = json!({
        "timeout": "10s",
        "subjectAccessReviewVersion": "v1",
        "failurePolicy": "NoOpinion",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
    });
    for (name, value) in more.as_object().unwrap() {
        webhook[name] = value.clone();
    }
    json!({"type": "Webhook", "name": name, "webhook": webhook})
}

fn config_flag(path: &Path) -> String {
    format!("--authorization-config={}", path.display())
}

impl Server {
    async fn read_as(&self, user: &str, path: &str) -> Answer {
        self.send("GET", path, &[("impersonate-user", user)], "")
            .await
    }

    async fn access(&self, spec: Value) -> Value {
        let review = self.post(REVIEWS, json!({"spec": spec})).await.expect(201);
        review["status"].clone()
    }

    async fn rules(&self, user: &str) -> Value {
        let headers = [("content-type", JSON), ("impersonate-user", user)];
        let body = json!({"spec": {"namespace": "open"}}).to_string();
        let review = self.send("POST", RULES, &headers, body).await.expect(201);
        review["status"].clone()
    }

    async fn metric(&self, line: &str) -> bool {
        let text = String::from_utf8(self.get("/metrics").await.text).unwrap();
        text.lines().any(|have| have.starts_with(line))
    }

    /// Asks until the user's request is answered with this code: files are read beside the requests.
    async fn in_time(&self, user: &str, path: &str, code: u16) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.read_as(user, path).await;
            if answer.code == code {
                return;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "{path}: {}: {}", answer.code, answer.message());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn metric_in_time(&self, line: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !self.metric(line).await {
            assert!(tokio::time::Instant::now() < deadline, "{line}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn in_namespace(namespace: &str) -> Value {
    let resource = json!({"namespace": namespace, "verb": "get", "resource": "pods"});
    json!({"user": "jane", "resourceAttributes": resource})
}

#[tokio::test]
async fn a_webhook_decides() {
    let hook = Issuers::start().await;
    let flags = [
        "--authorization-mode=Webhook".to_owned(),
        "--authorization-webhook-version=v1".to_owned(),
        format!(
            "--authorization-webhook-config-file={}",
            hook.kubeconfig("/authz").display()
        ),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    for _ in 0..2 {
        server
            .read_as("jane", &config_maps("open"))
            .await
            .expect(200);
    }
    let asked = hook.reviews();
    assert_eq!(asked.len(), 1, "the second answer is remembered");
    let spec = json!({
        "resourceAttributes": {
            "namespace": "open", "verb": "list", "version": "v1", "resource": "configmaps",
        },
        "user": "jane", "groups": ["system:authenticated"],
    });
    assert_eq!(asked[0]["spec"], spec);
    server.read_as("jane", &config_maps("shut")).await.refuses(
        403,
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"shut\": it is shut",
    );
    let refused = server.read_as("jane", "/metrics").await;
    refused.refuses(
        403,
        "forbidden: User \"jane\" cannot get path \"/metrics\": ask somebody else",
    );
    let broken = server.read_as("jane", &config_maps("both")).await;
    assert_eq!(broken.code, 500);
    assert_eq!(
        String::from_utf8_lossy(&broken.text),
        "Internal Server Error: \"/api/v1/namespaces/both/configmaps\": webhook subject access review returned both allow and deny response\n"
    );
    for (namespace, want) in [
        ("open", json!({"allowed": true, "reason": "it is open"})),
        (
            "shut",
            json!({"allowed": false, "denied": true, "reason": "it is shut"}),
        ),
        (
            "both",
            json!({"allowed": false, "denied": true, "reason": "who knows", "evaluationError": "webhook subject access review returned both allow and deny response"}),
        ),
        (
            "x",
            json!({"allowed": false, "reason": "ask somebody else"}),
        ),
    ] {
        assert_eq!(server.access(in_namespace(namespace)).await, want);
    }
    let mut question = in_namespace("open");
    question["resourceAttributes"]["fieldSelector"] = json!({"requirements": [
        {"key": "b", "operator": "In", "values": ["1"]}, {"key": "a", "operator": "Exists"},
    ]});
    question["resourceAttributes"]["labelSelector"] = json!({"rawSelector": "(("});
    question["extra"] = json!({"Scope": ["x"]});
    let want = json!({"allowed": true, "reason": "it is open", "evaluationError": "spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"});
    assert_eq!(server.access(question).await, want);
    let asked = hook.reviews().pop().unwrap();
    let requirements = json!([{"key": "b", "operator": "In", "values": ["1"]}]);
    let resource = &asked["spec"]["resourceAttributes"];
    assert_eq!(resource["fieldSelector"]["requirements"], requirements);
    assert_eq!(resource["labelSelector"], Value::Null);
    assert_eq!(resource["version"], "*");
    assert_eq!(asked["spec"]["extra"], json!({"Scope": ["x"]}));
    let rules = json!({
        "resourceRules": null, "nonResourceRules": null, "incomplete": true,
        "evaluationError": "webhook authorizer does not support user rule resolution",
    });
    let review = server
        .post(RULES, json!({"spec": {"namespace": "open"}}))
        .await;
    assert_eq!(review.expect(201)["status"], rules);
}

#[tokio::test]
async fn policies_decide() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.jsonl");
    let policies = [
        "# what jane may",
        r#"{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane","namespace":"open","resource":"configmaps","readonly":true}}"#,
        r#"{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"*","namespace":"*","resource":"selfsubjectrulesreviews","apiGroup":"authorization.k8s.io","nonResourcePath":"/version*"}}"#,
    ];
    std::fs::write(&file, policies.join("\n")).unwrap();
    let flags = [
        "--authorization-mode=ABAC".to_owned(),
        format!("--authorization-policy-file={}", file.display()),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    let open = config_maps("open");
    server.read_as("jane", &open).await.expect(200);
    let refused = server.read_as("joe", &open).await;
    refused.refuses(403, "configmaps is forbidden: User \"joe\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"open\": No policy matched.");
    let headers = [("content-type", JSON), ("impersonate-user", "jane")];
    let write = server
        .send("POST", &open, &headers, config_map("x").to_string())
        .await;
    assert_eq!(write.code, 403);
    server.read_as("joe", "/version").await.expect(200);
    assert_eq!(server.read_as("joe", "/metrics").await.code, 403);
    let rules = server.rules("jane").await;
    let read =
        json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"]});
    assert_eq!(rules["resourceRules"][0], read);
    let paths = json!([{"verbs": ["*"], "nonResourceURLs": ["/version*"]}]);
    assert_eq!(rules["nonResourceRules"], paths);
    assert_eq!(rules["incomplete"], false);
}

#[tokio::test]
async fn conditions_say_who_is_asked() {
    let hook = Issuers::start().await;
    let kubeconfig = hook.kubeconfig("/authz");
    let conditions = json!({
        "matchConditionSubjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "matchConditions": [
            {"expression": "request.resourceAttributes.namespace != 'both'"},
            {"expression": "request.user == 'jane' || request.resourceAttributes.verb == 'list'"},
        ],
    });
    let nobody = hook.write(
        "nobody.conf",
        &json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string(),
    );
    let file = hook.write(
        "authorization.yaml",
        &configuration(json!([
            webhook("careful", &kubeconfig, conditions),
            webhook("down", &nobody, json!({})),
            {"type": "AlwaysAllow", "name": "alwaysallow"},
        ])),
    );
    let Some(server) = Server::start_with(&[config_flag(&file)]).await else {
        return;
    };
    let get = |namespace: &str| format!("{}/nothing", config_maps(namespace));
    // Not asked, and the next one does not answer: the last one allows.
    server.read_as("joe", &get("shut")).await.expect(404);
    assert_eq!(hook.reviews().len(), 0);
    server
        .read_as("joe", &config_maps("both"))
        .await
        .expect(200);
    assert_eq!(hook.reviews().len(), 0);
    assert_eq!(server.read_as("jane", &get("shut")).await.code, 403);
    assert_eq!(server.read_as("joe", &config_maps("shut")).await.code, 403);
    assert_eq!(hook.reviews().len(), 2);
    // A condition that cannot be evaluated, where failures refuse.
    let answer = server.read_as("joe", "/version").await;
    assert_eq!(answer.code, 500);
    assert!(String::from_utf8_lossy(&answer.text).contains("cel evaluation error: expression"));
    for line in [
        "apiserver_authorization_match_condition_exclusions_total{name=\"careful\",type=\"Webhook\"} 2",
        "apiserver_authorization_match_condition_evaluation_errors_total{name=\"careful\",type=\"Webhook\"} 1",
        "apiserver_authorization_match_condition_evaluation_seconds_count{name=\"careful\",type=\"Webhook\"} 5",
        "apiserver_authorization_webhook_evaluations_total{name=\"careful\",result=\"success\"} 2",
        "apiserver_authorization_webhook_evaluations_fail_open_total{name=\"down\",result=\"error\"} 2",
        "apiserver_authorization_decisions_total{decision=\"denied\",name=\"careful\",type=\"Webhook\"} 3",
        "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"alwaysallow\",type=\"AlwaysAllow\"} 2",
    ] {
        assert!(server.metric(line).await, "{line}");
    }
}

#[tokio::test]
async fn the_configuration_is_followed() {
    let hook = Issuers::start().await;
    let kubeconfig = hook.kubeconfig("/authz");
    let write = |authorizers: Value| hook.write("authorization.yaml", &configuration(authorizers));
    let rbac = || json!({"type": "RBAC", "name": "rbac"});
    let file = write(json!([rbac()]));
    let Some(server) = Server::start_with(&[config_flag(&file)]).await else {
        return;
    };
    let open = config_maps("open");
    assert_eq!(server.read_as("jane", &open).await.code, 403);
    write(json!([webhook("w", &kubeconfig, json!({})), rbac()]));
    server.in_time("jane", &open, 200).await;
    let total = "apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash=\"sha256:";
    let ready = String::from_utf8(server.get("/readyz?verbose").await.text).unwrap();
    assert!(
        ready.contains("poststarthook/rbac/bootstrap-roles"),
        "{ready}"
    );
    let text = String::from_utf8(server.get("/metrics").await.text).unwrap();
    let reloads = |text: &str, status: &str| {
        let end = format!("status=\"{status}\"}}");
        let mut lines = text.lines().filter(|line| line.starts_with(total));
        lines
            .find_map(|line| line.split_once(&end))
            .map(|(_, count)| count.trim().to_owned())
    };
    assert_eq!(reloads(&text, "success").as_deref(), Some("1"));
    assert_eq!(reloads(&text, "failure"), None);
    // Without RBAC, and with a webhook without a timeout, the file does not count.
    for wrong in [
        json!([webhook("w", &kubeconfig, json!({}))]),
        json!([webhook("w", &kubeconfig, json!({"timeout": "0s"})), rbac()]),
    ] {
        write(wrong);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let text = String::from_utf8(server.get("/metrics").await.text).unwrap();
        if reloads(&text, "failure").is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no failure");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.read_as("jane", &open).await.expect(200);
    // RBAC works on, with what it knew before.
    let bind = json!({
        "metadata": {"name": "joe"}, "subjects": [{"kind": "User", "name": "joe", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
    });
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]});
    server
        .post(&format!("{roles}/clusterroles"), role)
        .await
        .expect(201);
    server
        .post(&format!("{roles}/clusterrolebindings"), bind)
        .await
        .expect(201);
    server.in_time("joe", &config_maps("x"), 200).await;
    write(json!([rbac()]));
    server.in_time("jane", &open, 403).await;
    server.read_as("joe", &config_maps("x")).await.expect(200);
    let info =
        "apiserver_authorization_config_controller_last_config_info{apiserver_id_hash=\"sha256:";
    server.metric_in_time(info).await;
}

#[tokio::test]
async fn questions_that_are_none_are_refused() {
    let Some(server) = Server::start().await else {
        return;
    };
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let about = |attributes: Value| json!({"user": "jane", "resourceAttributes": attributes});
    for (path, review, message) in [
        (
            REVIEWS,
            json!({"spec": about(json!({"fieldSelector": {}}))}),
            "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            own,
            json!({"spec": {"resourceAttributes": {"labelSelector": {
                "rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}],
            }}}}),
            "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
        ),
        (
            local,
            json!({"metadata": {"labels": {"a": "b"}}, "spec": about(json!({"namespace": "default"}))}),
            "metadata: Invalid value: {\"namespace\":\"default\",\"labels\":{\"a\":\"b\"},… must be empty except for namespace",
        ),
    ] {
        let answer = server.post(path, review).await;
        let refused = answer.message();
        assert_eq!(answer.code, 422, "{refused}");
        let (start, end) = message.split_once('…').unwrap_or((message, ""));
        assert!(
            refused.contains(&format!("is invalid: {start}")) && refused.ends_with(end),
            "{refused}"
        );
    }
    let selector = json!({"fieldSelector": {"rawSelector": "a=b"}, "namespace": "default"});
    for path in [REVIEWS, local, own] {
        let mut review = json!({"spec": about(selector.clone())});
        if path == own {
            review["spec"].as_object_mut().unwrap().remove("user");
        }
        let status = server.post(path, review).await.expect(201)["status"].clone();
        assert_eq!(status["allowed"], true);
    }
}

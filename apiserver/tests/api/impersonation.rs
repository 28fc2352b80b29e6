//! Constrained impersonation through the whole server.

use serde_json::json;

use super::*;

const AUTHENTICATION: &str = "authentication.k8s.io";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A rule about whom one may be.
fn be(mode: &str, resource: &str, names: &[&str]) -> Value {
    json!({"apiGroups": [AUTHENTICATION], "resources": [resource], "verbs": [format!("impersonate:{mode}")], "resourceNames": names})
}

/// A rule about what one may do as somebody else.
fn on(mode: &str, verb: &str, resource: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": [format!("impersonate-on:{mode}:{verb}")]})
}

struct Users {
    server: Server,
    _files: tempfile::TempDir,
    audit: std::path::PathBuf,
}

impl Users {
    /// A server that knows bob by the token `bob`.
    async fn start(more: &[&str]) -> Option<Users> {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let tester = AUTHORIZATION.trim_start_matches("Bearer ");
        let tokens = format!("{tester},tester,1,system:masters\nbob,bob,2,\n");
        let tokens = file("tokens.csv", &tokens);
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n";
        let policy = file("policy.yaml", policy);
        let audit = files.path().join("audit.log");
        let mut flags = vec![
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", tokens.display()),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit.display()),
        ];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let server = Server::start_with(&flags).await?;
        server.namespace("default").await;
        Some(Users {
            server,
            _files: files,
            audit,
        })
    }

    async fn bob(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("authorization", "Bearer bob")];
        all.extend(headers);
        self.server.send("GET", path, &all, "").await
    }

    /// Until bob is answered so.
    async fn until(&self, path: &str, headers: &[(&str, &str)], code: u16) -> Answer {
        let asked = async {
            loop {
                let answer = self.bob(path, headers).await;
                if answer.code == code {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), asked)
            .await
            .expect("the authorizer learns of rights")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_for_a_mode_a_verb_and_a_user() {
    let Some(users) = Users::start(&[]).await else {
        return;
    };
    let jane = [("impersonate-user", "jane")];
    // Who has no right is told of the first that is missing.
    users.bob(PODS, &jane).await.refuses(
        403,
        "pods is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \
         \"default\"",
    );
    users.bob("/healthz", &jane).await.refuses(
        403,
        "forbidden: User \"bob\" cannot impersonate-on:user-info:get path \"/healthz\"",
    );
    let rules = json!([on("user-info", "list", "pods")]);
    users.server.grant("bob", "on-pods", rules).await;
    let missing = "users.authentication.k8s.io \"jane\" is forbidden: User \"bob\" cannot impersonate:user-info resource \"users\" in \
                   API group \"authentication.k8s.io\" at the cluster scope";
    users.bob(PODS, &jane).await.refuses(403, missing);
    let rules = json!([be("user-info", "users", &["jane"])]);
    users.server.grant("bob", "be-jane", rules).await;
    // Bob may be jane, and jane may not list pods.
    let jane_may_not = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    users.bob(PODS, &jane).await.refuses(403, jane_may_not);
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["list"]}]);
    users.server.grant("jane", "list", rules).await;
    let listed = users
        .bob(
            PODS,
            &[("impersonate-user", "jane"), ("audit-id", "listed")],
        )
        .await;
    listed.expect(200);
    // But only pods.
    let secrets = "/api/v1/namespaces/default/secrets";
    users.bob(secrets, &jane).await.refuses(
        403,
        "secrets is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"secrets\" in API group \"\" in the \
         namespace \"default\"",
    );
    // The old right is good for everything.
    let rules = json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["jane"]}]);
    users.server.grant("bob", "old", rules).await;
    users.until(secrets, &jane, 200).await;

    let log = std::fs::read_to_string(&users.audit).unwrap();
    let mut events = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let event = events
        .rfind(|event| event["auditID"] == "listed")
        .expect("an event");
    assert_eq!(event["user"]["username"], "bob");
    assert_eq!(event["impersonatedUser"]["username"], "jane");
    assert_eq!(
        event["authenticationMetadata"],
        json!({"impersonationConstraint": "impersonate:user-info"})
    );
    let metrics = users.server.get("/metrics").await;
    let metrics = String::from_utf8(metrics.text).unwrap();
    for series in [
        "apiserver_impersonation_attempts_total{decision=\"allowed\",mode=\"user-info\"} 2\n",
        "apiserver_impersonation_attempts_total{decision=\"allowed\",mode=\"legacy\"} 1\n",
        "apiserver_impersonation_attempts_duration_seconds_count{decision=\"allowed\",mode=\"user-info\"} 2\n",
        "apiserver_impersonation_authorization_attempts_total{decision=\"allowed\",mode=\"legacy\"} 1\n",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_the_node_it_runs_on() {
    let Some(users) = Users::start(&[]).await else {
        return;
    };
    let server = &users.server;
    for node in ["a", "b"] {
        let body = json!({"metadata": {"name": node}});
        server.post("/api/v1/nodes", body).await.expect(201);
    }
    let pod = json!({"metadata": {"name": "agent"}, "spec": {
        "nodeName": "a", "containers": [{"name": "c", "image": "i"}]}});
    let pod = server.post(PODS, pod).await.expect(201);
    let request = json!({"spec": {"audiences": [], "boundObjectRef": {
        "apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": pod["metadata"]["uid"]}}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let token = server
        .post(&format!("{accounts}/default/token"), request)
        .await;
    let token = token.expect(201)["status"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let account = "system:serviceaccount:default:default";
    let rules = json!([
        on("associated-node", "list", "pods"),
        {"apiGroups": [AUTHENTICATION], "resources": ["nodes"], "verbs": ["impersonate:associated-node"]},
    ]);
    server.grant(account, "agent", rules).await;
    let nodes = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    server.grant("system:node:a", "node", nodes).await;
    let bearer = format!("Bearer {token}");
    let list = async |node: &str| {
        let node = format!("system:node:{node}");
        let headers = [("authorization", &*bearer), ("impersonate-user", &node)];
        server.send("GET", PODS, &headers, "").await
    };
    list("a").await.expect(200);
    list("b").await.refuses(
        403,
        &format!(
            "pods is forbidden: User \"{account}\" cannot impersonate-on:arbitrary-node:list resource \"pods\" in API group \"\" in \
             the namespace \"default\""
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_ascii_are_names() {
    let Some(users) = Users::start(&["--feature-gates=ConstrainedImpersonation=false"]).await
    else {
        return;
    };
    users
        .bob(PODS, &[("impersonate-user", "jösé")])
        .await
        .refuses(
            403,
            "users \"jösé\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        );
    users
        .bob(PODS, &[("impersonate-group", "devs")])
        .await
        .refuses(
            400,
            "requested [{Group  devs    }] without impersonating a user",
        );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_warned_too() {
    let Some(users) = Users::start(&[]).await else {
        return;
    };
    let authorization = ("authorization", "Bearer  bob");
    for (headers, message) in [
        (
            vec![authorization],
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![authorization, ("impersonate-user", "jane")],
            "pods is forbidden: User \"system:anonymous\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
    ] {
        let answer = users.server.send("GET", PODS, &headers, "").await;
        assert_eq!(
            answer.headers["warning"],
            "299 - \"the provided Authorization header contains extra space before the bearer token, and is ignored\""
        );
        answer.refuses(403, message);
    }
}

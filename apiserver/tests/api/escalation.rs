//! Nobody grants by RBAC what they do not have.

use serde_json::json;

use super::*;

const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

impl Server {
    /// Creates an object as a user whom the tester impersonates.
    pub(super) async fn post_as(&self, user: &str, path: &str, body: Value) -> Answer {
        let headers = [("content-type", JSON), ("impersonate-user", user)];
        self.send("POST", path, &headers, body.to_string()).await
    }

    /// Gives a user rights, and waits until the authorizer knows of the first of them.
    pub(super) async fn grant(&self, user: &str, name: &str, rules: Value) {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        self.post(&format!("{GROUP}/clusterroles"), role)
            .await
            .expect(201);
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        self.post(&format!("{GROUP}/clusterrolebindings"), binding)
            .await
            .expect(201);
        let rule = &rules[0];
        let asked = json!({"spec": {"user": user, "resourceAttributes": {
            "group": rule["apiGroups"][0], "resource": rule["resources"][0], "verb": rule["verbs"][0], "namespace": "default",
            "name": rule["resourceNames"][0],
        }}});
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let known = async {
            while self.post(reviews, asked.clone()).await.expect(201)["status"]["allowed"] != true {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), known)
            .await
            .expect("the authorizer learns of rights");
    }
}

fn role(name: &str, resource: &str) -> Value {
    json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
}

fn binding(name: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_granted_by_those_who_have_them() {
    let Some(server) = Server::start_with(&["--authorization-mode=RBAC".to_owned()]).await else {
        return;
    };
    server.namespace("default").await;
    let author = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]);
    server.grant("bob", "author", author).await;

    // What bob has, bob may grant.
    server
        .post_as("bob", ROLES, role("pods", "pods"))
        .await
        .expect(201);
    server
        .post_as("bob", BINDINGS, binding("pods", "pods"))
        .await
        .expect(201);
    // What bob does not have, bob may neither write down nor bind.
    let secrets = "user \"bob\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
                   {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
    let refused = |kind: &str, name: &str| {
        format!("{kind}.rbac.authorization.k8s.io \"{name}\" is forbidden: {secrets}")
    };
    server
        .post_as("bob", ROLES, role("secrets", "secrets"))
        .await
        .refuses(403, &refused("roles", "secrets"));
    server
        .post(ROLES, role("secrets", "secrets"))
        .await
        .expect(201);
    server
        .post_as("bob", BINDINGS, binding("secrets", "secrets"))
        .await
        .refuses(403, &refused("rolebindings", "secrets"));
    // Nor may bob widen what is there.
    let headers = [("content-type", MERGE), ("impersonate-user", "bob")];
    let wider = role("pods", "secrets").to_string();
    let patched = server
        .send("PATCH", &format!("{ROLES}/pods"), &headers, wider.clone())
        .await;
    assert_eq!(patched.code, 403, "bob may not patch at all");
    let put = [("content-type", JSON), ("impersonate-user", "bob")];
    server
        .send("PUT", &format!("{ROLES}/pods"), &put, wider)
        .await
        .refuses(403, &refused("roles", "pods"));

    // Unless bob may bind or escalate.
    let binder = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"]}]);
    server.grant("bob", "binder", binder).await;
    server
        .post_as("bob", BINDINGS, binding("secrets", "secrets"))
        .await
        .expect(201);
    let escalator = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]);
    server.grant("bob", "escalator", escalator).await;
    server
        .post_as("bob", ROLES, role("more", "secrets"))
        .await
        .expect(201);
}

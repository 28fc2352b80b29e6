//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy. Every write is in force for the request after it.

use serde_json::{Value, json};

use super::{CONFIG_MAPS, MERGE, Server, config_map};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn rules(groups: &[&str], resources: &[&str]) -> Value {
    json!({"resourceRules": [{
        "operations": ["CREATE", "UPDATE"], "apiGroups": groups, "apiVersions": ["v1"], "resources": resources,
    }]})
}

impl Server {
    /// Creates a policy of a kind, with a binding of the same name.
    async fn policy(&self, kind: &str, name: &str, mut spec: Value, mut binding: Value) {
        if spec.get("matchConstraints").is_none() {
            spec["matchConstraints"] = rules(&[""], &["configmaps"]);
        }
        let policy = json!({"metadata": {"name": name}, "spec": spec});
        let path = format!("{GROUP}/{kind}admissionpolicies");
        self.post(&path, policy).await.expect(201);
        binding["policyName"] = json!(name);
        if kind == "validating" && binding.get("validationActions").is_none() {
            binding["validationActions"] = json!(["Deny"]);
        }
        let binding = json!({"metadata": {"name": name}, "spec": binding});
        let path = format!("{GROUP}/{kind}admissionpolicybindings");
        self.post(&path, binding).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_policies_refuse_and_warn() {
    let Some(server) = Server::start().await else {
        return;
    };
    let spec = json!({
        "variables": [{"name": "a", "expression": "object.data.a"}],
        "validations": [
            {"expression": "variables.a != 'bad'", "messageExpression": "'a is ' + variables.a + ' in ' + namespaceObject.metadata.name"},
            {"expression": "variables.a != 'large'", "message": "too large", "reason": "RequestEntityTooLarge"},
        ],
    });
    server.policy("validating", "p", spec, json!({})).await;
    let with = |name: &str, a: &str| {
        let mut map = config_map(name);
        map["data"] = json!({"a": a});
        map
    };
    server
        .post(CONFIG_MAPS, with("good", "x"))
        .await
        .expect(201);
    let refused = server.post(CONFIG_MAPS, with("b", "bad")).await;
    let message =
        "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: a is bad in default";
    let status = refused.expect(422);
    assert_eq!(
        status["message"],
        json!(format!("configmaps \"b\" is forbidden: {message}"))
    );
    assert_eq!(status["reason"], json!("Invalid"));
    assert_eq!(status["details"]["causes"], json!([{"message": message}]));
    server
        .post(CONFIG_MAPS, with("b", "large"))
        .await
        .expect(413);
    let good = format!("{CONFIG_MAPS}/good");
    let refused = server.patch(&good, MERGE, r#"{"data":{"a":"bad"}}"#).await;
    refused.expect(422);
    // The binding now warns.
    let binding = format!("{GROUP}/validatingadmissionpolicybindings/p");
    let actions = r#"{"spec":{"validationActions":["Warn"]}}"#;
    server.patch(&binding, MERGE, actions).await.expect(200);
    let warned = server.post(CONFIG_MAPS, with("b", "bad")).await;
    let warning = warned.headers.get("warning").unwrap().to_str().unwrap();
    assert_eq!(
        warning,
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': a is bad in default\""
    );
    warned.expect(201);
    server.delete(&binding, json!({})).await.expect(200);
    let free = server.post(CONFIG_MAPS, with("c", "bad")).await;
    assert!(free.headers.get("warning").is_none());
    free.expect(201);
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    for (action, count) in [("deny", 3), ("warn", 1)] {
        let line = format!(
            "apiserver_validating_admission_policy_check_total{{enforcement_action=\"{action}\",error_type=\"invalid_error\",policy=\"p\",policy_binding=\"p\"}} {count}"
        );
        assert!(metrics.lines().any(|have| have == line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_objects() {
    let Some(server) = Server::start().await else {
        return;
    };
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules(&[""], &["secrets"]),
        "validations": [{"expression": "object.type != params.data.a"}],
    });
    let binding = json!({"paramRef": {"name": "params", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    server.policy("validating", "p", spec, binding).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str, kind: &str| json!({"metadata": {"name": name}, "type": kind});
    server.post(secrets, secret("a", "x")).await.refuses(
        422,
        "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    );
    server
        .post(CONFIG_MAPS, config_map("params"))
        .await
        .expect(201);
    // Parameters are read from the watch cache, which has them once a list has waited for it.
    server.get(CONFIG_MAPS).await.expect(200);
    server.post(secrets, secret("a", "x")).await.expect(201);
    server.post(secrets, secret("b", "1")).await.refuses(
        422,
        "secrets \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed expression: object.type != params.data.a",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_policies_apply_and_patch() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mutations = json!([
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{data: Object.data{b: object.data.a + '1'}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/data/b', value: '11'}, JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('c/d'), value: 'x'}]"}},
    ]);
    let spec = json!({"mutations": mutations, "reinvocationPolicy": "Never"});
    server.policy("mutating", "p", spec, json!({})).await;
    let created = server.post(CONFIG_MAPS, config_map("a")).await;
    // A ConfigMap has no slash in its keys.
    assert!(created.message().contains("data[c/d]: Invalid value"));
    created.expect(422);
    let policy = format!("{GROUP}/mutatingadmissionpolicies/p");
    let patch = json!({"spec": {"mutations": [mutations[0]]}}).to_string();
    server.patch(&policy, MERGE, patch).await.expect(200);
    let created = server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    assert_eq!(created["data"], json!({"a": "1", "b": "11"}));
    let wrong = json!({"spec": {"mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{nonsense: 1}"}},
    ]}});
    let patch = wrong.to_string();
    server.patch(&policy, MERGE, patch).await.expect(200);
    server.post(CONFIG_MAPS, config_map("b")).await.refuses(
        403,
        "policy 'p' with binding 'p' denied request: error applying patch: failed to convert patch object to typed object: .nonsense: field not declared in schema",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_run_again_when_the_object_changed() {
    let Some(server) = Server::start().await else {
        return;
    };
    let first = json!({"reinvocationPolicy": "IfNeeded", "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
        "has(object.data.later) ? [JSONPatch{op: 'add', path: '/data/saw', value: 'it'}] : [JSONPatch{op: 'add', path: '/data/first', value: 'x'}]"}}]});
    server.policy("mutating", "a", first, json!({})).await;
    let second = json!({"reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration":
        {"expression": "Object{data: Object.data{later: 'y'}}"}}]});
    server.policy("mutating", "b", second, json!({})).await;
    let created = server.post(CONFIG_MAPS, config_map("m")).await.expect(201);
    let want = json!({"a": "1", "first": "x", "later": "y", "saw": "it"});
    assert_eq!(created["data"], want);
}

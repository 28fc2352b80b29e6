use std::io::Write as _;

use component_base::flags::Parsed;
use serde_json::{Value as Json, json};

use super::*;

fn kubeconfig() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"{}").unwrap();
    file
}

fn document(authorizers: Json) -> Vec<u8> {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": authorizers,
    })
    .to_string()
    .into_bytes()
}

fn webhook(file: &Path) -> Json {
    json!({
        "timeout": "3s",
        "subjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": file},
    })
}

fn merge(into: &mut Json, change: &Json) {
    match (into, change) {
        (Json::Object(into), Json::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Json::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

#[track_caller]
fn refused(authorizers: Json, want: &str) {
    assert_eq!(load(&document(authorizers), &[]).unwrap_err(), want);
}

/// What is wrong with a configuration of one webhook, which is right but for `change`.
#[track_caller]
fn refused_webhook(change: Json, want: &str) {
    let file = kubeconfig();
    let mut webhook = webhook(file.path());
    merge(&mut webhook, &change);
    let authorizers = json!([{"type": "Webhook", "name": "w", "webhook": webhook}]);
    refused(authorizers, want);
}

#[test]
fn a_file_is_read() {
    let file = kubeconfig();
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let text = String::from_utf8(document(json!([
            {"type": "Node", "name": "node"},
            {"type": "Webhook", "name": "w", "webhook": webhook(file.path())},
            {"type": "RBAC", "name": "rbac"},
        ])));
        let text = text
            .unwrap()
            .replace("k8s.io/v1", &format!("k8s.io/{version}"));
        let configuration = load(text.as_bytes(), &[]).unwrap();
        let webhook = configuration.authorizers[1].webhook.as_deref().unwrap();
        assert_eq!(webhook.authorized_ttl, Duration::from_secs(300));
        assert_eq!(webhook.unauthorized_ttl, Duration::from_secs(30));
        assert_eq!(webhook.cache_authorized_requests, Some(true));
        assert_eq!(required_types(&configuration), ["Node", "RBAC"]);
    }
}

#[test]
fn files_of_something_else() {
    let error = |text: &str| load(text.as_bytes(), &[]).unwrap_err();
    assert_eq!(
        error(""),
        "authorizers: Required value: at least one authorization mode must be defined"
    );
    assert_eq!(
        error("kind: AuthorizationConfiguration\napiVersion: apiserver.config.k8s.io/v2\n"),
        "failed to load AuthorizationConfiguration from file: no kind \"AuthorizationConfiguration\" is registered for version \"apiserver.config.k8s.io/v2\" in scheme \"k8s.io/apiserver/pkg/apis/apiserver/load/load.go:32\""
    );
    assert_eq!(
        error("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n"),
        "failed to load AuthorizationConfiguration from file: expected AuthorizationConfiguration, got *apiserver.EncryptionConfiguration"
    );
    let text = "kind: AuthorizationConfiguration\napiVersion: apiserver.config.k8s.io/v1\nauthorizers:\n- type: Node\n  name: node\n  nonsense: 1\n";
    assert_eq!(
        error(text),
        "failed to load AuthorizationConfiguration from file: strict decoding error: unknown field \"authorizers[0].nonsense\""
    );
}

#[test]
fn types_and_names() {
    refused(json!([{}]), "authorizers[0].type: Required value");
    refused(
        json!([{"type": "rbac", "name": "rbac"}]),
        "authorizers[0].type: Unsupported value: \"rbac\": supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
    );
    refused(
        json!([{"type": "RBAC", "name": "rbac"}, {"type": "RBAC", "name": "other"}]),
        "authorizers[1].type: Duplicate value: \"RBAC\"",
    );
    refused(
        json!([{"type": "RBAC"}]),
        "authorizers[0].name: Required value",
    );
    refused(
        json!([{"type": "RBAC", "name": "x"}, {"type": "Node", "name": "x"}]),
        "authorizers[1].name: Duplicate value: \"x\"",
    );
    refused(
        json!([{"type": "RBAC", "name": "Rbac!"}]),
        "authorizers[0].name: Invalid value: \"Rbac!\": authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    );
    refused(
        json!([{"type": "RBAC", "name": "node"}, {"type": "Node", "name": "rbac"}]),
        "[expected name rbac for authorizer RBAC instead of node, expected name node for authorizer Node instead of rbac]",
    );
    refused(
        json!([{"type": "Webhook", "name": "w"}]),
        "authorizers[0].webhook: Required value: required when type=Webhook",
    );
    refused(
        json!([{"type": "Node", "name": "node", "webhook": {}}]),
        "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
    );
    let text = document(json!([{"type": "Node", "name": "node"}]));
    let required = ["Node", "RBAC", "ABAC"].map(str::to_owned);
    assert_eq!(
        load(&text, &required).unwrap_err(),
        "missing required types: [RBAC ABAC]"
    );
}

#[test]
fn webhooks() {
    refused_webhook(
        json!({"timeout": "0s"}),
        "authorizers[0].timeout: Required value",
    );
    refused_webhook(
        json!({"timeout": "31s", "authorizedTTL": "-1s", "unauthorizedTTL": "-1m"}),
        "[authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s, authorizers[0].authorizedTTL: Invalid value: \"-1s\": must be > 0s, authorizers[0].unauthorizedTTL: Invalid value: \"-1m0s\": must be > 0s]",
    );
    refused_webhook(
        json!({"subjectAccessReviewVersion": "v2", "failurePolicy": ""}),
        "[authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\", authorizers[0].failurePolicy: Required value]",
    );
    refused_webhook(
        json!({"connectionInfo": {"type": "Other", "kubeConfigFile": null}}),
        "authorizers[0].connectionInfo.type: Unsupported value: {\"Type\":\"Other\",\"KubeConfigFile\":null}: supported values: \"InClusterConfig\", \"KubeConfigFile\"",
    );
    let file = |path: &str| json!({"connectionInfo": {"kubeConfigFile": path}});
    refused_webhook(
        file("x"),
        "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"x\": must be an absolute path",
    );
    refused_webhook(
        file("/nonexistent/x"),
        "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/nonexistent/x\": error loading file: stat /nonexistent/x: no such file or directory",
    );
    refused_webhook(
        file("/"),
        "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/\": must be a regular file",
    );
}

#[test]
fn match_conditions() {
    let conditions = |expressions: &[&str]| {
        let rows: Vec<Json> = expressions
            .iter()
            .map(|expression| json!({"expression": expression}))
            .collect();
        json!({"matchConditions": rows, "matchConditionSubjectAccessReviewVersion": "v1"})
    };
    refused_webhook(
        conditions(&["", "true", "true", "request.user"]),
        "[authorizers[0].matchConditions[0].expression: Required value, authorizers[0].matchConditions[2].expression: Duplicate value: \"true\", authorizers[0].matchConditions[3].expression: Invalid value: \"request.user\": must evaluate to bool but got string]",
    );
    refused_webhook(
        json!({"matchConditions": [{"expression": "true"}]}),
        "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
    );
    refused_webhook(
        conditions(&["true"; 65]),
        "authorizers[0].matchConditions: Too many: 65: must have at most 64 items",
    );
}

fn of(arguments: &[&str]) -> Result<AuthorizationSettings, Vec<String>> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    let Ok(Parsed::Run(flags)) = Flags::parse(&crate::config::flags::COMMAND, arguments) else {
        panic!("flags")
    };
    AuthorizationSettings::from_flags(&flags)
}

#[test]
fn flags_are_a_configuration() {
    let settings = of(&[]).unwrap();
    assert!(settings.has("AlwaysAllow") && settings.file.is_none());
    let settings = of(&[
        "--authorization-mode=Node,Webhook,RBAC",
        "--authorization-webhook-config-file=/x",
        "--authorization-webhook-cache-unauthorized-ttl=0s",
    ]);
    let authorizers = settings.unwrap().configuration.authorizers;
    let names: Vec<&str> = authorizers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["node", "default", "rbac"]);
    let webhook = authorizers[1].webhook.as_deref().unwrap();
    assert_eq!(webhook.subject_access_review_version, "v1beta1");
    assert_eq!(webhook.timeout, Duration::from_secs(30));
    assert_eq!(webhook.cache_authorized_requests, Some(true));
    assert_eq!(webhook.cache_unauthorized_requests, Some(false));
}

#[test]
fn flags_that_contradict_each_other() {
    let refused = |arguments: &[&str], want: &[&str]| {
        assert_eq!(of(arguments).unwrap_err(), want, "{arguments:?}");
    };
    refused(
        &["--authorization-mode=Nonsense"],
        &["authorization-mode \"Nonsense\" is not a valid mode"],
    );
    refused(
        &["--authorization-mode=ABAC,Webhook"],
        &[
            "authorization-mode ABAC's authorization policy file not passed",
            "authorization-mode Webhook's authorization config file not passed",
        ],
    );
    refused(
        &[
            "--authorization-policy-file=/x",
            "--authorization-webhook-config-file=/x",
        ],
        &[
            "cannot specify --authorization-policy-file without mode ABAC",
            "cannot specify --authorization-webhook-config-file without mode Webhook",
        ],
    );
    refused(
        &["--authorization-mode=RBAC,RBAC"],
        &["authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once"],
    );
    refused(
        &[
            "--authorization-config=/x",
            "--authorization-webhook-version=v1",
        ],
        &[
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined",
        ],
    );
    refused(
        &["--authorization-config=/nonexistent/x"],
        &["open /nonexistent/x: no such file or directory"],
    );
}

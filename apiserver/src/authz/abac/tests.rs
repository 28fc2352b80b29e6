use std::io::Write as _;

use super::*;

fn read(text: &str) -> Result<Abac, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    Abac::from_file(file.path()).map_err(|error| error.to_string().replace(&path, "FILE"))
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().copied().chain(["system:authenticated"]);
    UserInfo {
        name: name.to_owned(),
        groups: groups.map(str::to_owned).collect(),
        ..UserInfo::default()
    }
}

/// `what` is `verb namespace/resource[.group]` or `verb /path`.
#[track_caller]
fn check(abac: &Abac, user: &UserInfo, what: &str, allowed: bool) {
    let (verb, rest) = what.split_once(' ').unwrap();
    let mut attributes = Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        ..Attributes::default()
    };
    match rest.strip_prefix('/') {
        Some(_) => attributes.path = rest.to_owned(),
        None => {
            let (namespace, resource) = rest.split_once('/').unwrap();
            let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
            attributes.resource_request = true;
            attributes.namespace = namespace.to_owned();
            attributes.resource = resource.to_owned();
            attributes.api_group = group.to_owned();
        }
    }
    let want = if allowed {
        Decision::allow()
    } else {
        Decision::NoOpinion("No policy matched.".to_owned())
    };
    assert_eq!(abac.decide(&attributes), want, "{}: {what}", user.name);
}

fn v1beta1(spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{spec}}}"#
    )
}

#[test]
fn policies_of_v1beta1() {
    let text = [
        "# who may what".to_owned(),
        String::new(),
        v1beta1(r#"{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}"#),
        v1beta1(r#"{"user":"bob","namespace":"ns","resource":"pods","readonly":true}"#),
        v1beta1(r#"{"group":"devs","user":"carol","namespace":"","resource":"nodes"}"#),
        v1beta1(r#"{"group":"*","readonly":true,"nonResourcePath":"/version/*"}"#),
        v1beta1(r#"{"resource":"*","namespace":"*","apiGroup":"*"}"#),
    ]
    .join("\r\n");
    let abac = read(&text).unwrap();
    let (alice, bob, other) = (user("alice", &[]), user("bob", &[]), user("other", &[]));
    check(&abac, &alice, "delete ns/deployments.apps", true);
    check(&abac, &alice, "delete /version/x", false);
    check(&abac, &bob, "get ns/pods", true);
    check(&abac, &bob, "delete ns/pods", false);
    check(&abac, &bob, "get other/pods", false);
    check(&abac, &bob, "get ns/pods.metrics.k8s.io", false);
    check(&abac, &other, "get ns/pods", false);
    check(&abac, &user("carol", &["devs"]), "delete /nodes", false);
    check(&abac, &user("carol", &["devs"]), "delete /nodes", false);
    let mut in_no_namespace = Attributes {
        user: user("carol", &["devs"]),
        verb: "delete".to_owned(),
        resource: "nodes".to_owned(),
        resource_request: true,
        ..Attributes::default()
    };
    assert!(abac.decide(&in_no_namespace).is_allowed());
    in_no_namespace.user.groups.clear();
    assert!(!abac.decide(&in_no_namespace).is_allowed());
    check(&abac, &other, "get /version/x", true);
    check(&abac, &other, "get /version", false);
    check(&abac, &other, "post /version/x", false);
    let nobody = UserInfo::default();
    check(&abac, &nobody, "get /version/x", false);
}

#[test]
fn policies_of_v0_are_wider() {
    let abac = read(concat!(
        "{\"user\":\"alice\"}\n",
        "{\"group\":\"devs\",\"resource\":\"pods\"}\n",
        "{\"readonly\":true,\"namespace\":\"ns\"}\n",
        "user: yaml\n",
    ))
    .unwrap();
    check(&abac, &user("alice", &[]), "delete ns/secrets", true);
    check(&abac, &user("alice", &[]), "delete /anything", true);
    check(&abac, &user("yaml", &[]), "delete /anything", true);
    check(&abac, &user("dave", &["devs"]), "delete ns/pods", true);
    check(&abac, &user("dave", &["devs"]), "delete ns/secrets", false);
    check(&abac, &user("eve", &[]), "get ns/secrets.any", true);
    check(&abac, &user("eve", &[]), "get other/secrets", false);
    check(&abac, &user("eve", &[]), "get /anything", false);
}

#[test]
fn rules() {
    let text = [
        v1beta1(r#"{"user":"bob","namespace":"ns","resource":"pods","readonly":true}"#),
        v1beta1(r#"{"user":"bob","namespace":"*","nonResourcePath":"/a*"}"#),
        v1beta1(r#"{"user":"joe","namespace":"*","resource":"pods"}"#),
    ]
    .join("\n");
    let abac = read(&text).unwrap();
    let rules = abac.rules_for(&user("bob", &[]), "ns");
    assert_eq!(rules.resource.len(), 1);
    assert_eq!(rules.resource[0].verbs, ["get", "list", "watch"]);
    assert_eq!(rules.resource[0].api_groups, [""]);
    assert_eq!(rules.non_resource.len(), 1);
    assert_eq!(rules.non_resource[0].verbs, ["*"]);
    assert!(!rules.incomplete && rules.errors.is_empty());
    assert!(abac.rules_for(&user("bob", &[]), "x").resource.is_empty());
}

#[test]
fn lines_that_are_no_policies() {
    let refused = |line: &str, why: &str| {
        let text = format!("\n{line}\n");
        let want = format!("error reading policy file FILE, line 2: {line}: {why}");
        assert_eq!(read(&text).unwrap_err(), want);
    };
    refused(
        "{\"user\":",
        "couldn't get version/kind; json parse error: unexpected end of JSON input",
    );
    refused(
        "{\"user\":7}",
        "json: cannot unmarshal number into Go struct field Policy.user of type string",
    );
    refused(
        &v1beta1("{\"readonly\":\"yes\"}"),
        "json: cannot unmarshal string into Go struct field PolicySpec.spec.readonly of type bool",
    );
    let long = "x".repeat(LONG);
    assert_eq!(
        read(&long).unwrap_err(),
        "error reading policy file FILE: bufio.Scanner: token too long"
    );
}

const LONG: usize = 70_000;

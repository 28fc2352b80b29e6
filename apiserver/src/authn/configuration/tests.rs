use serde_json::{Value as Json, json};

use super::*;

/// What is wrong with a configuration of one authenticator, which is right but for `change`.
#[track_caller]
fn check(change: Json, want: &str) {
    let mut authenticator = json!({
        "issuer": {"url": "https://issuer", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    });
    merge(&mut authenticator, &change);
    assert_eq!(problems(json!({"jwt": [authenticator]})), want, "{change}");
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

fn problems(fields: Json) -> String {
    let mut file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration",
    });
    merge(&mut file, &fields);
    match parse(file.to_string().as_bytes()) {
        Ok(configuration) => {
            let disallowed = ["https://own".to_owned(), "https://also".to_owned()];
            validate(&configuration, &disallowed)
                .aggregate()
                .unwrap_or_default()
        }
        Err(error) => error,
    }
}

#[test]
fn issuers() {
    let issuer = |fields: Json, want: &str| check(json!({"issuer": fields}), want);
    issuer(json!({}), "");
    issuer(json!({"url": ""}), "jwt[0].issuer.url: Required value");
    issuer(
        json!({"url": "http://a"}),
        r#"jwt[0].issuer.url: Invalid value: "http://a": URL scheme must be https"#,
    );
    issuer(
        json!({"url": "https://u:p@a/?q#f"}),
        "[jwt[0].issuer.url: Invalid value: \"https://u:p@a/?q#f\": URL must not contain a username or password, \
         jwt[0].issuer.url: Invalid value: \"https://u:p@a/?q#f\": URL must not contain a query, \
         jwt[0].issuer.url: Invalid value: \"https://u:p@a/?q#f\": URL must not contain a fragment]",
    );
    issuer(
        json!({"url": "https://issuer-url:invalid-port"}),
        r#"jwt[0].issuer.url: Invalid value: "https://issuer-url:invalid-port": parse "https://issuer-url:invalid-port": invalid port ":invalid-port" after host"#,
    );
    issuer(
        json!({"url": "https://own"}),
        r#"jwt[0].issuer.url: Invalid value: "https://own": URL must not overlap with disallowed issuers: [https://also https://own]"#,
    );
    issuer(
        json!({"discoveryURL": "https://issuer/"}),
        r#"jwt[0].issuer.discoveryURL: Invalid value: "https://issuer/": discoveryURL must be different from URL"#,
    );
    issuer(
        json!({"audiences": []}),
        "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
    );
    issuer(
        json!({"audiences": ["a", "a", ""]}),
        "[jwt[0].issuer.audiences[1]: Duplicate value: \"a\", jwt[0].issuer.audiences[2]: Required value, \
         jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences]",
    );
    issuer(
        json!({"audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny"}),
        "",
    );
    issuer(
        json!({"audienceMatchPolicy": "MatchAll"}),
        r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "MatchAll": audienceMatchPolicy must be empty or MatchAny for single audience"#,
    );
    issuer(
        json!({"certificateAuthority": "x"}),
        r#"jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates"#,
    );
    issuer(json!({"egressSelectorType": "cluster"}), "");
    issuer(
        json!({"egressSelectorType": "etcd"}),
        r#"jwt[0].issuer.egressSelectorType: Invalid value: "etcd": egress selector must be either controlplane or cluster"#,
    );
    let authenticator = json!({
        "issuer": {"url": "https://issuer", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    });
    assert_eq!(
        problems(json!({"jwt": [authenticator, authenticator]})),
        r#"jwt[1].issuer.url: Duplicate value: "https://issuer""#
    );
}

#[test]
fn egress_selectors_need_a_feature() {
    let off = [(
        "StructuredAuthenticationConfigurationEgressSelector".to_owned(),
        false,
    )];
    let off = component_base::features::FeatureGates::default().with(&off.into());
    crate::apis::gates::install(off.unwrap());
    let why = "egress selector is not supported when StructuredAuthenticationConfigurationEgressSelector feature gate is disabled";
    let authenticator = |selector: &str| {
        json!({
            "issuer": {"url": "https://issuer", "audiences": ["a"], "egressSelectorType": selector},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        })
    };
    assert_eq!(
        problems(json!({"jwt": [authenticator("cluster")]})),
        format!("jwt[0].issuer.egressSelectorType: Invalid value: \"cluster\": {why}")
    );
    assert_eq!(problems(json!({"jwt": [authenticator("")]})), "");
}

#[test]
fn mappings() {
    let mappings = |fields: Json, want: &str| check(json!({"claimMappings": fields}), want);
    mappings(
        json!({"username": {"claim": ""}}),
        "jwt[0].claimMappings.username: Required value: claim or expression is required",
    );
    mappings(
        json!({"username": {"prefix": null}}),
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
    );
    mappings(
        json!({"username": {"expression": "claims.a"}}),
        r#"jwt[0].claimMappings.username: Invalid value: "": claim and expression can't both be set"#,
    );
    mappings(
        json!({"groups": {"expression": "claims.a", "prefix": "x"}, "uid": {"claim": "a", "expression": "b"}}),
        "[jwt[0].claimMappings.groups.prefix: Invalid value: \"x\": may not be specified when expression is set, \
         jwt[0].claimMappings.uid: Invalid value: \"\": claim and expression can't both be set]",
    );
    mappings(
        json!({"uid": {"expression": "user.uid"}}),
        "jwt[0].claimMappings.uid.expression: Invalid value: \"user.uid\": compilation failed: \
         ERROR: <input>:1:1: undeclared reference to 'user' (in container '')\n | user.uid\n | ^",
    );
    let extra = |key: &str, expression: &str, want: &str| {
        let extra = json!([{"key": key, "valueExpression": expression}]);
        mappings(json!({"extra": extra}), want);
    };
    extra("example.com/a", "claims.a", "");
    extra(
        "a",
        "claims.a",
        r#"jwt[0].claimMappings.extra[0].key: Invalid value: "a": must be a domain-prefixed path (such as "acme.io/foo")"#,
    );
    extra(
        "x.k8s.io/a",
        "",
        "[jwt[0].claimMappings.extra[0].key: Invalid value: \"x.k8s.io/a\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use, \
         jwt[0].claimMappings.extra[0].valueExpression: Required value]",
    );
    extra(
        "example.com/A",
        "claims.a",
        r#"jwt[0].claimMappings.extra[0].key: Invalid value: "example.com/A": must be lowercase"#,
    );
}

#[test]
fn a_mail_address_must_be_verified() {
    let username =
        |expression: &str| json!({"claim": "", "prefix": null, "expression": expression});
    let refused = |expression: &str| {
        format!(
            "jwt[0].claimMappings.username.expression: Invalid value: \"{expression}\": claims.email_verified must be used in \
             claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression \
             when claims.email is used in claimMappings.username.expression"
        )
    };
    for expression in [
        "claims.email",
        "claims.?email.orValue('')",
        "has(claims.email) ? 'a' : 'b'",
        "'a' + string([claims.email][0])",
    ] {
        check(
            json!({"claimMappings": {"username": username(expression)}}),
            &refused(expression),
        );
        let rules = json!([{"expression": "claims.?email_verified.orValue(true) == true"}]);
        check(
            json!({"claimMappings": {"username": username(expression)}, "claimValidationRules": rules}),
            "",
        );
    }
    let extra = json!([{"key": "a.b/c", "valueExpression": "string(claims.email_verified)"}]);
    check(
        json!({"claimMappings": {"username": username("claims.email"), "extra": extra}}),
        "",
    );
}

#[test]
fn rules() {
    let claims = |rule: Json, want: &str| check(json!({"claimValidationRules": [rule]}), want);
    claims(json!({"claim": "a", "requiredValue": "b"}), "");
    claims(
        json!({}),
        "jwt[0].claimValidationRules[0]: Required value: claim or expression is required",
    );
    claims(
        json!({"claim": "a", "expression": "true"}),
        r#"jwt[0].claimValidationRules[0]: Invalid value: "a": claim and expression can't both be set"#,
    );
    claims(
        json!({"claim": "a", "message": "m"}),
        r#"jwt[0].claimValidationRules[0].message: Invalid value: "m": may not be specified when claim is set"#,
    );
    claims(
        json!({"expression": "true", "requiredValue": "b"}),
        r#"jwt[0].claimValidationRules[0].requiredValue: Invalid value: "b": may not be specified when expression is set"#,
    );
    claims(
        json!({"expression": "'a'"}),
        r#"jwt[0].claimValidationRules[0].expression: Invalid value: "'a'": must evaluate to bool"#,
    );
    let twice = json!({"expression": "user.username != ''"});
    check(
        json!({"userValidationRules": [twice, twice, {"message": "m"}]}),
        "[jwt[0].userValidationRules[1].expression: Duplicate value: \"user.username != ''\", \
         jwt[0].userValidationRules[2].expression: Required value]",
    );
}

#[test]
fn files() {
    assert_eq!(parse(b"").unwrap_err(), "empty config data");
    assert_eq!(problems(json!({})), "");
    assert_eq!(
        problems(json!({"kind": "Pod"})),
        r#"no kind "Pod" is registered for version "apiserver.config.k8s.io/v1beta1""#
    );
    assert_eq!(
        problems(json!({"jwt": [{"nonsense": 1}]})),
        r#"strict decoding error: unknown field "jwt[0].nonsense""#
    );
    assert_eq!(
        problems(json!({"anonymous": {"enabled": false, "conditions": [{"path": "/a"}]}})),
        r#"anonymous.conditions: Invalid value: [{"Path":"/a"}]: enabled should be set to true when conditions are defined"#
    );
    let many: Vec<Json> = (0..65).map(|_| json!({})).collect();
    assert_eq!(
        problems(json!({"jwt": many})),
        "jwt: Too many: 65: must have at most 64 items"
    );
}

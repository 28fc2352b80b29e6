use api_types::apiserver_config::v1::AuthenticationConfiguration;
use apimachinery::field::Path;
use serde_json::json;

use super::*;
use crate::authn::configuration::{compile_authenticator, parse};

fn authenticator(fields: &Json) -> (JWTAuthenticator, Expressions) {
    let mut authenticator = fields.clone();
    authenticator["issuer"] = json!({"url": "https://i", "audiences": ["a"]});
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [authenticator],
    });
    let configuration: AuthenticationConfiguration = parse(file.to_string().as_bytes()).unwrap();
    let authenticator = configuration.jwt.into_iter().next().unwrap();
    let (expressions, errors) = compile_authenticator(&authenticator, &Path::nil(), &[]);
    assert_eq!(errors.aggregate(), None);
    (authenticator, expressions)
}

#[track_caller]
fn check(fields: &Json, claims: Json, want: Result<(&str, &[&str]), &str>) {
    let (authenticator, expressions) = authenticator(fields);
    let found = user_of(&authenticator, &expressions, claims.as_object().unwrap());
    let found = found.map(|user| (user.name, user.groups));
    let want = want
        .map(|(name, groups)| {
            let groups = groups.iter().map(|group| (*group).to_owned());
            (name.to_owned(), groups.collect())
        })
        .map_err(str::to_owned);
    assert_eq!(found, want, "{claims}");
}

#[test]
fn claims() {
    let mapping = json!({"claimMappings": {
        "username": {"claim": "sub", "prefix": "o:"}, "groups": {"claim": "groups", "prefix": "g:"},
    }});
    let string = "json: cannot unmarshal number into Go value of type string";
    check(&mapping, json!({"sub": "a"}), Ok(("o:a", &[])));
    check(&mapping, json!({"sub": null}), Ok(("o:", &[])));
    check(
        &mapping,
        json!({"sub": 1}),
        Err(&format!("oidc: parse username claims \"sub\": {string}")),
    );
    check(
        &mapping,
        json!({}),
        Err("oidc: parse username claims \"sub\": claim not present"),
    );
    for (groups, want) in [
        (json!("x"), &["g:x"] as &[&str]),
        (json!(["x", "y"]), &["g:x", "g:y"]),
        (json!(["x", null]), &["g:x", "g:"]),
        (json!(null), &[]),
    ] {
        check(
            &mapping,
            json!({"sub": "a", "groups": groups}),
            Ok(("o:a", want)),
        );
    }
    check(
        &mapping,
        json!({"sub": "a", "groups": 1}),
        Err(&format!("oidc: parse groups claim \"groups\": {string}")),
    );
    check(
        &mapping,
        json!({"sub": "a", "groups": ["x", 1]}),
        Err(
            "oidc: parse groups claim \"groups\": json: cannot unmarshal array into Go value of type string",
        ),
    );
}

#[test]
fn mail_addresses() {
    let mapping = json!({"claimMappings": {"username": {"claim": "email", "prefix": ""}}});
    let check = |verified: Json, want| {
        let mut claims = json!({"email": "a@b"});
        if !verified.is_null() {
            claims["email_verified"] = verified;
        }
        check(&mapping, claims, want);
    };
    check(json!(null), Ok(("a@b", &[])));
    check(json!(true), Ok(("a@b", &[])));
    check(json!(false), Err("oidc: email not verified"));
    check(
        json!("true"),
        Err(
            "oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool",
        ),
    );
}

#[test]
fn expressions_and_rules() {
    let mapping = json!({
        "claimMappings": {
            "username": {"expression": "claims.names.given__dash__name + claims.list[0].a__dot__b"},
            "groups": {"expression": "claims.groups"},
        },
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "x"},
            {"expression": "type(claims.number) == double && claims.number == 3", "message": "m"},
        ],
        "userValidationRules": [{"expression": "user.groups.size() < 3 && user.uid == ''", "message": "n"}],
    });
    let claims = |change: Json| {
        let mut claims = json!({
            "names": {"given-name": "ann"}, "list": [{"a.b": "!"}], "groups": ["x", ""], "hd": "x", "number": 3,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let check = |change: Json, want| check(&mapping, claims(change), want);
    check(json!({}), Ok(("ann!", &["x"])));
    check(json!({"groups": "y"}), Ok(("ann!", &["y"])));
    check(json!({"groups": null}), Ok(("ann!", &[])));
    let wrong = "oidc: error evaluating group claim expression: expression must return a string or a list of strings";
    for groups in [json!(1), json!([1]), json!({})] {
        check(json!({"groups": groups}), Err(wrong));
    }
    check(
        json!({"names": {}}),
        Err(
            "oidc: error evaluating username claim expression: expression 'claims.names.given__dash__name + claims.list[0].a__dot__b' resulted in error: no such key: given__dash__name",
        ),
    );
    check(
        json!({"hd": "y"}),
        Err("oidc: required claim hd value does not match. Got = y, want = x"),
    );
    check(
        json!({"number": 4}),
        Err(
            "oidc: error evaluating claim validation expression: validation expression 'type(claims.number) == double && claims.number == 3' failed: m",
        ),
    );
    check(
        json!({"groups": ["a", "b", "c"]}),
        Err(
            "oidc: error evaluating user info validation rule: validation expression 'user.groups.size() < 3 && user.uid == ''' failed: n",
        ),
    );
}

//! Versions that are served with `--runtime-config`: the same objects in every version, and kinds that have no v1.

use super::*;

/// Kinds that have no v1.
mod kinds_without_v1;
/// Kinds in several versions.
mod versioned;

use versioned::{devices, others};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// A server with all versions of upstream's.
async fn with_all_versions() -> Option<Server> {
    let flags = [
        "--runtime-config=api/all=true".to_owned(),
        "--feature-gates=ClusterTrustBundle=true,StorageVersionMigrator=true".to_owned(),
    ];
    let server = Server::start_with(&flags).await?;
    server.namespace("default").await;
    Some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_serves_the_same_objects() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    // Each waits for the end of its watches.
    let kinds = devices().into_iter().chain(others());
    let checks = kinds.map(async |versioned| {
        for (version, _) in &versioned.versions {
            versioned.check_from(&server, version).await;
        }
    });
    futures::future::join_all(checks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_applied_have_owners_in_every_version() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    for versioned in devices().into_iter().chain(others()) {
        versioned.check_apply(&server).await;
    }
}

/// An Event is one object in two groups, and no group knows the fields of the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_written_in_its_other_group_has_no_former_owner() {
    let Some(server) = Server::start().await else {
        return;
    };
    let core = "/api/v1/namespaces/default/events";
    let other = "/apis/events.k8s.io/v1/namespaces/default/events/e?fieldManager=two";
    let event = json!({
        "metadata": {"name": "e"}, "reason": "R",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    let made = server
        .post(&format!("{core}?fieldManager=one"), event)
        .await
        .expect(201);
    let owners = |event: &Value| -> Vec<(String, String)> {
        let entries = event["metadata"]["managedFields"].as_array();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries
            .into_iter()
            .flatten()
            .map(|entry| (text(&entry["manager"]), text(&entry["apiVersion"])))
            .collect()
    };
    assert_eq!(owners(&made), [("one".to_owned(), "v1".to_owned())]);
    let labelled = server
        .patch(other, MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#)
        .await
        .expect(200);
    let two = ("two".to_owned(), "events.k8s.io/v1".to_owned());
    assert_eq!(owners(&labelled), [two]);
    // Also when nothing else changes.
    let path = format!("{core}/e");
    let same = server.get(&path).await.expect(200);
    let put = server.put(&path, same).await.expect(200);
    assert_eq!(owners(&put), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_those_of_the_version() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let group = "/apis/admissionregistration.k8s.io";
    let binding = json!({
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", "paramRef": {"name": "x"}, "matchResources": {}},
    });
    let post = async |version: &str| {
        let path = format!("{group}/{version}/mutatingadmissionpolicybindings");
        server.post(&path, binding.clone()).await
    };
    for version in ["v1", "v1beta1"] {
        post(version).await.refuses(
            422,
            "MutatingAdmissionPolicyBinding.admissionregistration.k8s.io \"b\" is invalid: spec.paramRef.parameterNotFoundAction: Required value",
        );
    }
    post("v1alpha1").await.expect(201);
    let path = format!("{group}/v1/mutatingadmissionpolicybindings/b");
    let got = server.get(&path).await.expect(200);
    assert_eq!(got["spec"]["paramRef"]["parameterNotFoundAction"], "Deny");
    assert_eq!(got["spec"]["matchResources"]["matchPolicy"], "Equivalent");

    let claims = "/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims";
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "c", "tolerations": [{"key": "k", "value": "v"}]}]}},
    });
    let made = server.post(claims, claim).await.expect(201);
    let wanted = json!({
        "name": "a", "deviceClassName": "c", "allocationMode": "ExactCount", "count": 1,
        "tolerations": [{"key": "k", "operator": "Equal", "value": "v"}],
    });
    assert_eq!(made["spec"]["devices"]["requests"][0], wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_fields_of_the_newest_version() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let claims = "/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims";
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"devices": {"requests": [{"name": "a", "count": -1}, {"name": "b"}]}},
    });
    server.post(claims, claim).await.refuses(
        422,
        "ResourceClaim.resource.k8s.io \"c\" is invalid: [spec.devices.requests[0].exactly.deviceClassName: Required value, spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"\": supported values: \"All\", \"ExactCount\", spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required]",
    );
    let rules = "/apis/resource.k8s.io/v1alpha3/devicetaintrules";
    let rule = json!({"metadata": {"name": "r"}, "spec": {"deviceSelector": {"pool": ""}, "taint": {"effect": "x"}}});
    server.post(rules, rule).await.refuses(
        422,
        "DeviceTaintRule.resource.k8s.io \"r\" is invalid: [spec.deviceSelector.pool: Required value, spec.taint.key: Invalid value: \"\": name part must be non-empty, spec.taint.key: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.taint.effect: Unsupported value: \"x\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"]",
    );
    let wrong_version = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.96.1.1"},
    });
    server
        .post("/apis/networking.k8s.io/v1beta1/ipaddresses", wrong_version)
        .await
        .refuses(
            400,
            "the API version in the data (networking.k8s.io/v1) does not match the expected API version (networking.k8s.io/v1beta1)",
        );
    let bundles = "/apis/certificates.k8s.io/v1alpha1/clustertrustbundles";
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::default().self_signed(&key);
    let bundle = json!({"metadata": {"name": "a"}, "spec": {"trustBundle": leaf.unwrap().pem()}});
    let mut named = bundle.clone();
    named["metadata"] = json!({"generateName": "a-"});
    let refused = server.post(bundles, named).await;
    assert!(
        !refused.message().contains("generateName"),
        "{}",
        refused.message()
    );
    server.post(bundles, bundle).await.refuses(
        422,
        "ClusterTrustBundle.certificates.k8s.io \"a\" is invalid: spec.trustBundle: Invalid value: \"<value omitted>\": entry 0 does not have the CA bit set",
    );
    server
        .get(&format!("{bundles}?fieldSelector=spec.x%3Dy"))
        .await
        .refuses(400, "field label not supported: spec.x");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_old_versions_are_warned() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let warnings = async |path: &str| -> Vec<String> {
        let answer = server.get(path).await;
        let all = answer.headers.get_all("warning").into_iter();
        all.map(|it| it.to_str().unwrap().to_owned()).collect()
    };
    for (path, text) in [
        (
            "/apis/networking.k8s.io/v1beta1/servicecidrs",
            "299 - \"networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+\"",
        ),
        (
            "/apis/storage.k8s.io/v1beta1/volumeattributesclasses",
            "299 - \"storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass\"",
        ),
        (
            "/apis/resource.k8s.io/v1beta2/resourceclaims",
            "299 - \"resource.k8s.io/v1beta2 ResourceClaim is deprecated in v1.36+, unavailable in v1.39+\"",
        ),
    ] {
        assert_eq!(warnings(path).await, [text]);
    }
    for path in [
        "/apis/networking.k8s.io/v1/servicecidrs",
        "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies",
        "/apis/resource.k8s.io/v1beta2/devicetaintrules",
    ] {
        assert!(warnings(path).await.is_empty(), "{path}");
    }
    server.has_series(&[
        "apiserver_requested_deprecated_apis{group=\"networking.k8s.io\",removed_release=\"1.37\",resource=\"servicecidrs\",subresource=\"\",version=\"v1beta1\"} 1",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_match_equivalent_versions() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["resource.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["resourceclaims"],
            }]},
            "validations": [{
                "expression": "object.spec.devices.requests.all(r, !has(r.exactly) || r.exactly.deviceClassName != 'no')",
                "messageExpression": "object.apiVersion + ' ' + request.kind.version + ' ' + request.requestKind.version",
            }],
        },
    });
    server
        .post(&format!("{group}/validatingadmissionpolicies"), policy)
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    server
        .post(
            &format!("{group}/validatingadmissionpolicybindings"),
            binding,
        )
        .await
        .expect(201);
    let claims = "/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims";
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "no"}]}},
    });
    let text = "resourceclaims.resource.k8s.io \"c\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: resource.k8s.io/v1 v1 v1beta1";
    // The policy is in force once the server has read it.
    let mut refused = server.post(claims, claim.clone()).await;
    for _ in 0..200 {
        if refused.code != 201 {
            break;
        }
        assert_eq!(
            server.delete(&format!("{claims}/c"), json!({})).await.code,
            200
        );
        refused = server.post(claims, claim.clone()).await;
    }
    refused.refuses(422, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_has_all_versions() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let group = server.get("/apis/resource.k8s.io").await.expect(200);
    let versions: Vec<&Value> = group["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["version"])
        .collect();
    assert_eq!(versions, ["v1", "v1beta2", "v1beta1", "v1alpha3"]);
    // The hash is of the stored version: the same for all.
    let hash = async |version: &str, resource: &str| {
        let list = server.get(&format!("/apis/{version}")).await.expect(200);
        let resources = list["resources"].as_array().unwrap().clone();
        let found = resources
            .into_iter()
            .find(|it| it["name"] == resource)
            .unwrap();
        found["storageVersionHash"].clone()
    };
    for (resource, versions) in [
        (
            "resourceclaims",
            ["resource.k8s.io/v1", "resource.k8s.io/v1beta1"],
        ),
        (
            "devicetaintrules",
            ["resource.k8s.io/v1beta2", "resource.k8s.io/v1alpha3"],
        ),
    ] {
        assert_eq!(
            hash(versions[0], resource).await,
            hash(versions[1], resource).await
        );
    }
    let document = server
        .get("/openapi/v3/apis/resource.k8s.io/v1beta1")
        .await
        .expect(200);
    let schemas = &document["components"]["schemas"];
    let mode =
        &schemas["io.k8s.api.resource.v1beta1.DeviceRequest"]["properties"]["allocationMode"];
    assert_eq!(mode["enum"], json!(["All", "ExactCount"]));
}

//! Versions that are served with `--runtime-config`: the same objects in every version, and kinds that have no v1.

use super::*;

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

/// A kind that is served in several versions.
struct Versioned {
    group: &'static str,
    resource: &'static str,
    kind: &'static str,
    namespaced: bool,
    /// Each version, and the spec (or what the kind has instead) as it has it.
    versions: Vec<(&'static str, Value)>,
    /// The version in etcd.
    stored: &'static str,
    name: &'static str,
    /// A field selector that the object matches.
    selector: &'static str,
    /// The first cells of its row.
    cells: Value,
}

impl Versioned {
    fn path(&self, version: &str) -> String {
        let namespace = if self.namespaced {
            "namespaces/default/"
        } else {
            ""
        };
        format!(
            "/apis/{}/{version}/{namespace}{}",
            self.group, self.resource
        )
    }

    fn key(&self) -> String {
        let namespace = if self.namespaced { "default/" } else { "" };
        format!("{}/{namespace}{}", self.resource, self.name)
    }

    fn object(&self, version: &str, fields: &Value) -> Value {
        let mut object = fields.clone();
        object["apiVersion"] = format!("{}/{version}", self.group).into();
        object["kind"] = self.kind.into();
        object["metadata"] = json!({"name": self.name});
        object
    }

    /// Made in one version, read and changed in all.
    async fn check_from(&self, server: &Server, made_in: &str) {
        let (_, fields) = self.versions.iter().find(|(it, _)| *it == made_in).unwrap();
        let object = self.object(made_in, fields);
        let before = server.get(&self.path(made_in)).await.expect(200);
        let made = server
            .post(&self.path(made_in), object.clone())
            .await
            .expect(201);
        contains(&made, &object);

        let stored = server.stored(&self.key()).await;
        let envelope = api_types::decode_envelope(&stored).unwrap();
        let stored_as = format!("{}/{}", self.group, self.stored);
        assert_eq!(
            (envelope.api_version, envelope.kind),
            (&*stored_as, self.kind)
        );

        for (version, fields) in &self.versions {
            let folder = self.path(version);
            let path = format!("{folder}/{}", self.name);
            let wanted = self.object(version, fields);
            contains(&server.get(&path).await.expect(200), &wanted);
            let protobuf = server
                .accept(&path, "application/vnd.kubernetes.protobuf")
                .await;
            let envelope = api_types::decode_envelope(&protobuf.text).unwrap();
            assert_eq!(envelope.api_version, wanted["apiVersion"]);
            let list = server
                .get(&format!("{folder}?fieldSelector={}", self.selector))
                .await
                .expect(200);
            assert_eq!(list["apiVersion"], wanted["apiVersion"]);
            assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
            let table = server.accept(&path, TABLE).await.expect(200);
            let cells = table["rows"][0]["cells"].as_array().unwrap();
            let first = self.cells.as_array().unwrap();
            assert_eq!(&cells[..first.len()], &first[..]);
            assert_eq!(table["rows"][0]["object"]["metadata"]["name"], self.name);
        }

        // Each version sees what was written in the others.
        for (written_in, _) in &self.versions {
            let patch = json!({"metadata": {"annotations": {"by": written_in}}});
            let path = format!("{}/{}", self.path(written_in), self.name);
            let patched = server.patch(&path, MERGE, patch.to_string()).await;
            assert_eq!(
                patched.expect(200)["metadata"]["annotations"]["by"],
                *written_in
            );
        }
        let since = &before["metadata"]["resourceVersion"];
        for (version, fields) in &self.versions {
            let watch = format!(
                "{}?watch=1&timeoutSeconds=1&fieldSelector={}&resourceVersion={}",
                self.path(version),
                self.selector,
                since.as_str().unwrap()
            );
            let seen = events(&server.get(&watch).await);
            let wanted = self.object(version, fields);
            for event in &seen {
                contains(&event["object"], &wanted);
            }
            let by: Vec<&Value> = seen
                .iter()
                .map(|event| &event["object"]["metadata"]["annotations"]["by"])
                .collect();
            let written: Vec<Value> = self.versions.iter().map(|(it, _)| json!(it)).collect();
            assert_eq!(by[0], &Value::Null);
            assert_eq!(by[1..], written.iter().collect::<Vec<_>>());
        }

        // What is read in one version can be put back in it.
        for (version, _) in &self.versions {
            let path = format!("{}/{}", self.path(version), self.name);
            let got = server.get(&path).await.expect(200);
            server.put(&path, got).await.expect(200);
        }
        let managers: Vec<Value> = {
            let path = format!("{}/{}", self.path(self.versions[0].0), self.name);
            let got = server.get(&path).await.expect(200);
            let entries = got["metadata"]["managedFields"].as_array().unwrap().clone();
            entries
                .into_iter()
                .map(|it| it["apiVersion"].clone())
                .collect()
        };
        // The annotation is the last writer's, the rest the maker's.
        let last = format!("{}/{}", self.group, self.versions.last().unwrap().0);
        let maker = format!("{}/{made_in}", self.group);
        assert!(
            managers.contains(&json!(last)) && managers.contains(&json!(maker)),
            "{managers:?}"
        );
        self.remove(server).await;
    }

    /// Without what protects it.
    async fn remove(&self, server: &Server) {
        let path = format!("{}/{}", self.path(self.versions[0].0), self.name);
        let patch = r#"{"metadata":{"finalizers":null}}"#;
        server.patch(&path, MERGE, patch).await.expect(200);
        assert_eq!(server.delete(&path, json!({})).await.code, 200);
    }

    /// Two managers apply the same in two versions, and then one of them gives up a label.
    async fn check_apply(&self, server: &Server) {
        let apply = async |version: &str, manager: &str, labels: Value| {
            let (_, fields) = self.versions.iter().find(|(it, _)| *it == version).unwrap();
            let mut object = self.object(version, fields);
            object["metadata"]["labels"] = labels;
            let path = format!(
                "{}/{}?fieldManager={manager}",
                self.path(version),
                self.name
            );
            server.patch(&path, APPLY, object.to_string()).await
        };
        let first = self.versions[0].0;
        let last = self.versions.last().unwrap().0;
        apply(first, "a", json!({"x": "1", "y": "1"}))
            .await
            .expect(201);
        let refused = apply(last, "b", json!({"x": "2"})).await;
        assert_eq!(refused.code, 409);
        let text = "conflict with \"a\": .metadata.labels.x";
        assert!(refused.message().ends_with(text), "{}", refused.message());
        apply(last, "b", json!({"x": "1"})).await.expect(200);
        // The same manager in another version: what it no longer sets is gone, what the other one has stays.
        let applied = apply(last, "a", json!({})).await.expect(200);
        assert_eq!(applied["metadata"]["labels"], json!({"x": "1"}));
        let path = format!("{}/{}", self.path(first), self.name);
        let got = server.get(&path).await.expect(200);
        let entries = got["metadata"]["managedFields"].as_array().unwrap();
        let versions: Vec<&Value> = entries.iter().map(|it| &it["apiVersion"]).collect();
        let last = json!(format!("{}/{last}", self.group));
        assert_eq!(versions, [&last, &last]);
        self.remove(server).await;
    }
}

/// Everything of one value is in the other. Lists are of one length.
#[track_caller]
fn contains(value: &Value, part: &Value) {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            for (name, part) in part {
                contains(value.get(name).unwrap_or(&Value::Null), part);
            }
        }
        (Value::Array(value), Value::Array(part)) => {
            assert_eq!(value.len(), part.len());
            value.iter().zip(part).for_each(|(a, b)| contains(a, b));
        }
        (value, part) => assert_eq!(value, part),
    }
}

fn same(versions: &[&'static str], fields: Value) -> Vec<(&'static str, Value)> {
    versions.iter().map(|it| (*it, fields.clone())).collect()
}

fn devices() -> Vec<Versioned> {
    let selector = json!({"cel": {"expression": "true"}});
    let exact = json!({
        "deviceClassName": "c", "selectors": [selector], "allocationMode": "ExactCount", "count": 2,
        "tolerations": [{"key": "k", "operator": "Exists"}],
    });
    let mut flat = exact.clone();
    flat["name"] = "a".into();
    let any = json!({"name": "b", "firstAvailable": [{
        "name": "sub", "deviceClassName": "d", "allocationMode": "All",
        "tolerations": [{"key": "k", "operator": "Equal", "value": "v"}],
    }]});
    let requests = |first: &Value| json!({"devices": {"requests": [first, any]}});
    let (new, old) = (
        requests(&json!({"name": "a", "exactly": exact})),
        requests(&flat),
    );
    let claims = |wrap: fn(&Value) -> Value| {
        vec![
            ("v1", json!({"spec": wrap(&new)})),
            ("v1beta2", json!({"spec": wrap(&new)})),
            ("v1beta1", json!({"spec": wrap(&old)})),
        ]
    };
    let parts =
        json!({"attributes": {"m": {"string": "x"}}, "capacity": {"memory": {"value": "1Gi"}}});
    let mut device = parts.clone();
    device["name"] = "d".into();
    let slice = |device: Value| {
        json!({"spec": {
            "driver": "d.example.com", "nodeName": "n", "devices": [device],
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        }})
    };
    let group = "resource.k8s.io";
    vec![
        Versioned {
            group,
            resource: "resourceclaims",
            kind: "ResourceClaim",
            namespaced: true,
            versions: claims(Value::clone),
            stored: "v1",
            name: "claim",
            selector: "metadata.name%3Dclaim",
            cells: json!(["claim", "pending"]),
        },
        Versioned {
            group,
            resource: "resourceclaimtemplates",
            kind: "ResourceClaimTemplate",
            namespaced: true,
            versions: claims(|spec| json!({"spec": spec})),
            stored: "v1",
            name: "template",
            selector: "metadata.name%3Dtemplate",
            cells: json!(["template"]),
        },
        Versioned {
            group,
            resource: "resourceslices",
            kind: "ResourceSlice",
            namespaced: false,
            versions: vec![
                ("v1", slice(device.clone())),
                ("v1beta2", slice(device)),
                ("v1beta1", slice(json!({"name": "d", "basic": parts}))),
            ],
            stored: "v1",
            name: "slice",
            selector: "spec.nodeName%3Dn",
            cells: json!(["slice", "n", "d.example.com", "p"]),
        },
        Versioned {
            group,
            resource: "deviceclasses",
            kind: "DeviceClass",
            namespaced: false,
            versions: same(
                &["v1", "v1beta2", "v1beta1"],
                json!({"spec": {"selectors": [selector]}}),
            ),
            stored: "v1",
            name: "class",
            selector: "metadata.name%3Dclass",
            cells: json!(["class"]),
        },
        Versioned {
            group,
            resource: "devicetaintrules",
            kind: "DeviceTaintRule",
            namespaced: false,
            versions: same(
                &["v1beta2", "v1alpha3"],
                json!({"spec": {
                    "deviceSelector": {"driver": "d.example.com", "pool": "p"},
                    "taint": {"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
                }}),
            ),
            stored: "v1alpha3",
            name: "rule",
            selector: "metadata.name%3Drule",
            cells: json!(["rule", "k", "v", "NoExecute"]),
        },
    ]
}

fn others() -> Vec<Versioned> {
    let ca = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let bundle = parameters.self_signed(&ca).unwrap().pem();
    let rules = json!([{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["statefulsets"], "scope": "*",
    }]);
    vec![
        Versioned {
            group: "networking.k8s.io",
            resource: "ipaddresses",
            kind: "IPAddress",
            namespaced: false,
            versions: same(
                &["v1", "v1beta1"],
                json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}}),
            ),
            stored: "v1",
            name: "10.96.7.7",
            selector: "metadata.name%3D10.96.7.7",
            cells: json!(["10.96.7.7", "services/default/s"]),
        },
        Versioned {
            group: "storage.k8s.io",
            resource: "volumeattributesclasses",
            kind: "VolumeAttributesClass",
            namespaced: false,
            versions: same(
                &["v1", "v1beta1"],
                json!({"driverName": "d.example.com", "parameters": {"a": "b"}}),
            ),
            stored: "v1",
            name: "gold",
            selector: "metadata.name%3Dgold",
            cells: json!(["gold", "d.example.com"]),
        },
        Versioned {
            group: "admissionregistration.k8s.io",
            resource: "mutatingadmissionpolicies",
            kind: "MutatingAdmissionPolicy",
            namespaced: false,
            versions: same(
                &["v1", "v1beta1", "v1alpha1"],
                json!({"spec": {
                    "matchConstraints": {
                        "resourceRules": rules, "matchPolicy": "Equivalent",
                        "namespaceSelector": {}, "objectSelector": {},
                    },
                    "reinvocationPolicy": "Never",
                    "matchConditions": [{"name": "c", "expression": "true"}],
                    "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"test\", path: \"/spec\", value: 1}]"}}],
                }}),
            ),
            stored: "v1beta1",
            name: "policy",
            selector: "metadata.name%3Dpolicy",
            cells: json!(["policy", 1]),
        },
        Versioned {
            group: "certificates.k8s.io",
            resource: "clustertrustbundles",
            kind: "ClusterTrustBundle",
            namespaced: false,
            versions: same(
                &["v1beta1", "v1alpha1"],
                json!({"spec": {"signerName": "example.com/s", "trustBundle": bundle}}),
            ),
            stored: "v1beta1",
            name: "example.com:s:a",
            selector: "spec.signerName%3Dexample.com%2Fs",
            cells: json!(["example.com:s:a", "example.com/s"]),
        },
        Versioned {
            group: "coordination.k8s.io",
            resource: "leasecandidates",
            kind: "LeaseCandidate",
            namespaced: true,
            versions: same(
                &["v1beta1", "v1alpha2"],
                json!({"spec": {
                    "leaseName": "l", "binaryVersion": "1.36.0", "emulationVersion": "1.35.0",
                    "strategy": "OldestEmulationVersion",
                }}),
            ),
            stored: "v1beta1",
            name: "candidate",
            selector: "metadata.name%3Dcandidate",
            cells: json!(["candidate", "l", "1.36.0", "1.35.0"]),
        },
    ]
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
async fn the_status_of_kinds_without_v1_is_written_by_itself() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let condition = json!({
        "type": "Succeeded", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let migrations = "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";
    let migration = json!({
        "metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}},
        "status": {"resourceVersion": "5"},
    });
    let made = server.post(migrations, migration).await.expect(201);
    assert_eq!(made["status"], json!({}));
    let status = format!("{migrations}/m/status");
    let patch = json!({"spec": {"resource": {"resource": "pods"}}, "status": {"resourceVersion": "5", "conditions": [condition]}});
    let patched = server
        .patch(&status, MERGE, patch.to_string())
        .await
        .expect(200);
    assert_eq!(patched["spec"]["resource"]["resource"], "deployments");
    server
        .patch(&status, MERGE, r#"{"status":{"resourceVersion":"6"}}"#)
        .await
        .refuses(
            422,
            "StorageVersionMigration.storagemigration.k8s.io \"m\" is invalid: status.resourceVersion: Invalid value: \"6\": field is immutable",
        );
    let table = server.accept(migrations, TABLE).await.expect(200);
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["m", "deployments.apps", "Succeeded"])
    );

    let requests = "/apis/resource.k8s.io/v1alpha3/resourcepoolstatusrequests";
    let request = json!({"metadata": {"name": "q"}, "spec": {"driver": "d.example.com"}});
    let made = server.post(requests, request).await.expect(201);
    assert_eq!(made["spec"]["limit"], 100);
    let status = format!("{requests}/q/status");
    server
        .patch(&status, MERGE, r#"{"status":{"poolCount":-1}}"#)
        .await
        .refuses(
            422,
            "ResourcePoolStatusRequest.resource.k8s.io \"q\" is invalid: status.poolCount: Invalid value: -1: must be greater than or equal to 0",
        );
    server
        .patch(&status, MERGE, r#"{"status":{"poolCount":0}}"#)
        .await
        .expect(200);
    let again = server
        .patch(&status, MERGE, r#"{"status":{"poolCount":1}}"#)
        .await;
    assert_eq!(again.code, 422);
    assert!(
        again.message().ends_with(": field is immutable"),
        "{}",
        again.message()
    );

    let versions = "/apis/internal.apiserver.k8s.io/v1alpha1/storageversions";
    let version = json!({"metadata": {"name": "apps.deployments"}, "spec": {}});
    server.post(versions, version).await.expect(201);
    server
        .patch(
            &format!("{versions}/apps.deployments/status"),
            MERGE,
            r#"{"status":{"commonEncodingVersion":"v1"}}"#,
        )
        .await
        .refuses(
            422,
            "StorageVersion.internal.apiserver.k8s.io \"apps.deployments\" is invalid: status.commonEncodingVersion: Invalid value: \"v1\": should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        );
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

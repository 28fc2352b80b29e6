//! Kinds in several versions, and what is checked of each.

use super::*;

/// A kind that is served in several versions.
pub(super) struct Versioned {
    group: &'static str,
    resource: &'static str,
    kind: &'static str,
    namespaced: bool,
    /// Each version, and the spec (or what the kind has instead) as it has it.
    pub(super) versions: Vec<(&'static str, Value)>,
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
    pub(super) async fn check_from(&self, server: &Server, made_in: &str) {
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
    pub(super) async fn check_apply(&self, server: &Server) {
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

pub(super) fn devices() -> Vec<Versioned> {
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

pub(super) fn others() -> Vec<Versioned> {
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

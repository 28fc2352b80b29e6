//! Objects that another server stored in a version that is no longer the stored one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Server, events};
use crate::storage::etcd::Etcd;

/// An object of an old version, and a part of what it is in v1.
struct Old {
    key: &'static str,
    api_version: &'static str,
    /// The version of its type here, where that is another.
    type_version: &'static str,
    kind: &'static str,
    namespaced: bool,
    name: &'static str,
    fields: Value,
    /// Group version and resource that it is served as.
    served: &'static str,
    at: &'static str,
    want: Value,
}

impl Old {
    fn key(&self) -> String {
        let namespace = if self.namespaced { "default/" } else { "" };
        format!("{}/{namespace}{}", self.key, self.name)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut object = self.fields.clone();
        object["metadata"]["name"] = self.name.into();
        if self.namespaced {
            object["metadata"]["namespace"] = "default".into();
        }
        object["metadata"]["uid"] = format!("uid-of-{}", self.name).into();
        object["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z".into();
        let kind = api_types::kinds::lookup_api_version(self.type_version, self.kind).unwrap();
        let mut value = (kind.new)();
        api_types::decode_json_into(&mut *value, object.to_string().as_bytes()).unwrap();
        let header = api_types::Header {
            api_version: self.api_version,
            kind: self.kind,
        };
        api_types::encode_envelope_as(&*value, header)
    }

    fn folder(&self) -> String {
        let (version, resource) = self.served.rsplit_once('/').unwrap();
        let namespace = if self.namespaced {
            "namespaces/default/"
        } else {
            ""
        };
        format!("/apis/{version}/{namespace}{resource}")
    }

    fn check(&self, object: &Value) {
        let version = self.served.rsplit_once('/').unwrap().0;
        assert_eq!(object["apiVersion"], version, "{object}");
        assert_eq!(object["kind"], self.kind, "{object}");
        assert_eq!(object.pointer(self.at), Some(&self.want), "{object}");
    }
}

fn old(
    api_version: &'static str,
    kind: &'static str,
    served: &'static str,
    name: &'static str,
    fields: Value,
    (at, want): (&'static str, Value),
) -> Old {
    Old {
        key: served.rsplit_once('/').unwrap().1,
        api_version,
        type_version: api_version,
        kind,
        namespaced: false,
        name,
        fields,
        served,
        at,
        want,
    }
}

fn in_namespace(object: Old) -> Old {
    Old {
        namespaced: true,
        ..object
    }
}

const CLAIMS: &str = "resource.k8s.io/v1/resourceclaims";
const TEMPLATES: &str = "resource.k8s.io/v1/resourceclaimtemplates";
const SLICES: &str = "resource.k8s.io/v1/resourceslices";
const CLASSES: &str = "resource.k8s.io/v1/deviceclasses";

/// Kinds of resource.k8s.io as v1beta1 has them.
fn v1beta1_devices() -> Vec<Old> {
    const V1BETA1: &str = "resource.k8s.io/v1beta1";
    let selector = json!({"cel": {"expression": "true"}});
    let requests = json!([
        {"name": "exact", "deviceClassName": "c", "selectors": [selector], "allocationMode": "ExactCount", "count": 2},
        {"name": "any", "firstAvailable": [
            {"name": "sub", "deviceClassName": "c", "allocationMode": "ExactCount", "count": 1},
        ]},
    ]);
    let wanted = json!([
        {"name": "exact", "exactly": {
            "deviceClassName": "c", "selectors": [selector], "allocationMode": "ExactCount", "count": 2,
        }},
        requests[1],
    ]);
    let attributes = json!({"model": {"string": "m"}});
    let capacity = json!({"memory": {"value": "1Gi"}});
    let spec = json!({"devices": {"requests": requests}});
    vec![
        in_namespace(old(
            V1BETA1,
            "ResourceClaim",
            CLAIMS,
            "claim1",
            json!({"spec": spec}),
            ("/spec/devices/requests", wanted.clone()),
        )),
        in_namespace(old(
            V1BETA1,
            "ResourceClaimTemplate",
            TEMPLATES,
            "template1",
            json!({"spec": {"spec": spec}}),
            ("/spec/spec/devices/requests", wanted),
        )),
        old(
            V1BETA1,
            "ResourceSlice",
            SLICES,
            "slice1",
            json!({"spec": {
                "driver": "d.example.com", "nodeName": "n",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "a", "basic": {"attributes": attributes, "capacity": capacity}}],
            }}),
            (
                "/spec",
                json!({
                    "driver": "d.example.com", "nodeName": "n",
                    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                    "devices": [{"name": "a", "attributes": attributes, "capacity": capacity}],
                }),
            ),
        ),
        old(
            V1BETA1,
            "DeviceClass",
            CLASSES,
            "class1",
            json!({"spec": {"selectors": [selector]}}),
            ("/spec/selectors", json!([selector])),
        ),
    ]
}

/// Kinds of resource.k8s.io as v1beta2 has them: as v1.
fn v1beta2_devices() -> Vec<Old> {
    const V1BETA2: &str = "resource.k8s.io/v1beta2";
    let requests = json!([
        {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}},
    ]);
    let spec = json!({"devices": {"requests": requests}});
    let devices = json!([{"name": "a", "attributes": {"model": {"string": "m"}}}]);
    vec![
        in_namespace(old(
            V1BETA2,
            "ResourceClaim",
            CLAIMS,
            "claim2",
            json!({"spec": spec}),
            ("/spec/devices/requests", requests.clone()),
        )),
        in_namespace(old(
            V1BETA2,
            "ResourceClaimTemplate",
            TEMPLATES,
            "template2",
            json!({"spec": {"spec": spec}}),
            ("/spec/spec/devices/requests", requests),
        )),
        old(
            V1BETA2,
            "ResourceSlice",
            SLICES,
            "slice2",
            json!({"spec": {
                "driver": "d.example.com", "allNodes": true, "devices": devices,
                "pool": {"name": "q", "generation": 1, "resourceSliceCount": 1},
            }}),
            ("/spec/devices", devices),
        ),
        old(
            V1BETA2,
            "DeviceClass",
            CLASSES,
            "class2",
            json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
            ("/spec/selectors/0/cel/expression", json!("true")),
        ),
    ]
}

fn others() -> Vec<Old> {
    let ingress = |api_version, name| {
        let backend = json!({"serviceName": "s", "servicePort": "http"});
        let mut ingress = in_namespace(old(
            api_version,
            "Ingress",
            "networking.k8s.io/v1/ingresses",
            name,
            json!({"spec": {
                "backend": {"serviceName": "s", "servicePort": 80},
                "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "backend": backend}]}}],
            }}),
            (
                "/spec",
                json!({
                    "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}},
                    "rules": [{"host": "a.example.com", "http": {"paths": [{
                        "path": "/", "pathType": "ImplementationSpecific",
                        "backend": {"service": {"name": "s", "port": {"name": "http"}}},
                    }]}}],
                }),
            ),
        ));
        ingress.key = "ingress";
        ingress.type_version = "networking.k8s.io/v1beta1";
        ingress
    };
    let level = |api_version, name, mut fields: Value, shares: i32| {
        let limited = &mut fields["spec"]["limited"];
        limited["limitResponse"] = json!({"type": "Reject"});
        limited["lendablePercent"] = 0.into();
        fields["spec"]["type"] = "Limited".into();
        old(
            api_version,
            "PriorityLevelConfiguration",
            "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
            name,
            fields,
            (
                "/spec/limited/nominalConcurrencyShares",
                Value::from(shares),
            ),
        )
    };
    vec![
        ingress("networking.k8s.io/v1beta1", "ingress1"),
        ingress("extensions/v1beta1", "ingress2"),
        in_namespace(old(
            "discovery.k8s.io/v1beta1",
            "EndpointSlice",
            "discovery.k8s.io/v1/endpointslices",
            "endpoints",
            json!({"addressType": "IPv4", "endpoints": [{
                "addresses": ["10.1.1.1"], "nodeName": "n", "conditions": {"ready": true},
                "topology": {"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "n", "k": "v"},
                "hints": {"forZones": [{"name": "z"}]},
            }]}),
            (
                "/endpoints",
                json!([{
                    "addresses": ["10.1.1.1"], "nodeName": "n", "conditions": {"ready": true},
                    "zone": "z", "deprecatedTopology": {"k": "v"}, "hints": {"forZones": [{"name": "z"}]},
                }]),
            ),
        )),
        in_namespace(old(
            "policy/v1beta1",
            "PodDisruptionBudget",
            "policy/v1/poddisruptionbudgets",
            "budget",
            json!({"spec": {"minAvailable": 1, "selector": {}}}),
            (
                "/spec/selector",
                json!({"matchExpressions": [{
                    "key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists",
                }]}),
            ),
        )),
        level(
            "flowcontrol.apiserver.k8s.io/v1beta1",
            "level1",
            json!({"spec": {"limited": {"assuredConcurrencyShares": 7}}}),
            7,
        ),
        level(
            "flowcontrol.apiserver.k8s.io/v1beta2",
            "level2",
            json!({"spec": {"limited": {"assuredConcurrencyShares": 8}}}),
            8,
        ),
        level(
            "flowcontrol.apiserver.k8s.io/v1beta3",
            "level3",
            json!({
                "metadata": {"annotations": {"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""}},
                "spec": {"limited": {"nominalConcurrencyShares": 0}},
            }),
            0,
        ),
        old(
            "networking.k8s.io/v1beta1",
            "IPAddress",
            "networking.k8s.io/v1/ipaddresses",
            "10.96.7.7",
            json!({
                "metadata": {"labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "someone",
                }},
                "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}},
            }),
            ("/spec/parentRef/name", json!("s")),
        ),
        old(
            "networking.k8s.io/v1beta1",
            "ServiceCIDR",
            "networking.k8s.io/v1/servicecidrs",
            "range",
            json!({"spec": {"cidrs": ["10.99.0.0/24"]}}),
            ("/spec/cidrs", json!(["10.99.0.0/24"])),
        ),
        old(
            "storage.k8s.io/v1beta1",
            "VolumeAttributesClass",
            "storage.k8s.io/v1/volumeattributesclasses",
            "fast",
            json!({"driverName": "d.example.com", "parameters": {"a": "b"}}),
            ("/parameters", json!({"a": "b"})),
        ),
        in_namespace(old(
            "batch/v1beta1",
            "CronJob",
            "batch/v1/cronjobs",
            "job",
            json!({"spec": {
                "schedule": "* * * * *", "concurrencyPolicy": "Allow",
                "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                    "containers": [{
                        "name": "c", "image": "i", "imagePullPolicy": "Always",
                        "terminationMessagePolicy": "File",
                    }],
                }}}},
            }}),
            ("/spec/schedule", json!("* * * * *")),
        )),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_older_versions_are_served_as_v1() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let etcd = Arc::new(etcd);
    let all: Vec<Old> = v1beta1_devices()
        .into_iter()
        .chain(v1beta2_devices())
        .chain(others())
        .collect();
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    for old in &all {
        client
            .put(format!("/registry/{}", old.key()), old.bytes(), None)
            .await
            .unwrap();
    }
    let server = Server::serve(etcd, &[]).await;
    server.namespace("default").await;
    for old in &all {
        let folder = old.folder();
        let path = format!("{folder}/{}", old.name);
        let mut got = server.get(&path).await.expect(200);
        old.check(&got);
        let list = server.get(&folder).await.expect(200);
        let has_name = |object: &&Value| object["metadata"]["name"] == old.name;
        let mut item = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(has_name)
            .unwrap()
            .clone();
        item["apiVersion"] = got["apiVersion"].clone();
        item["kind"] = got["kind"].clone();
        assert_eq!(item, got);
        let watch = format!(
            "{folder}?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true\
             &resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3D{}",
            old.name
        );
        assert_eq!(events(&server.get(&watch).await)[0]["object"], got);
        let put = server.put(&path, got.clone()).await.expect(200);
        old.check(&put);
        // An update that changes nothing writes the stored version, as upstream.
        assert_ne!(
            put["metadata"]["resourceVersion"],
            got["metadata"]["resourceVersion"]
        );
        let stored = server.stored(&old.key()).await;
        let envelope = api_types::decode_envelope(&stored).unwrap();
        assert_eq!(got["apiVersion"], envelope.api_version);
        got = server.get(&path).await.expect(200);
        assert_eq!(got, put);
    }
}

//! The objects that are written. They depend on nothing but a number, so every server gets the same bytes.

use bytes::Bytes;
use serde_json::{Value, json};

/// The namespace of everything here.
pub(super) const NAMESPACE: &str = "perf-apiserver";
/// A node that no kubelet will claim.
const NODE: &str = "perf-no-such-node";

const NAME: &str = "@NAME@";

/// An object whose name is filled in for each request.
pub(super) struct Template {
    parts: Vec<String>,
}

impl Template {
    fn new(object: &Value) -> Self {
        let text = object.to_string();
        Self {
            parts: text.split(NAME).map(str::to_owned).collect(),
        }
    }

    pub(super) fn named(&self, name: &str) -> Bytes {
        self.parts.join(name).into()
    }
}

/// Names as a ReplicaSet gives them.
pub(super) fn pod_name(number: usize) -> String {
    format!("checkout-7c9d8f6b54-{number:05}")
}

/// A pod as the template of an ordinary Deployment makes it: a server with probes and configuration, and a sidecar.
pub(super) fn pod() -> Template {
    Template::new(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "generateName": "checkout-7c9d8f6b54-",
            "labels": {
                "app.kubernetes.io/name": "checkout",
                "app.kubernetes.io/instance": "checkout-production",
                "app.kubernetes.io/version": "4.17.2",
                "app.kubernetes.io/component": "backend",
                "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/managed-by": "Helm",
                "team": "payments",
                "pod-template-hash": "7c9d8f6b54"
            },
            "annotations": {
                "checksum/config": "5f0c8e4c9ab1f0b9c8a9ee0c0f0d6d3f1f0be1c2c97c3f1e5b9a4a4f4d1b2c33",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9090",
                "prometheus.io/path": "/metrics"
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "checkout-7c9d8f6b54",
                "uid": "8d5bdf3c-6f0e-4b5f-9f0a-0d4c7c1a2b3e",
                "controller": true,
                "blockOwnerDeletion": true
            }]
        },
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 60,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            ],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "checkout"}},
                    "topologyKey": "kubernetes.io/hostname"
                }
            }]}},
            "containers": [
                {
                    "name": "checkout",
                    "image": "registry.example.com/shop/checkout:4.17.2",
                    "args": ["serve", "--config=/etc/checkout/config.yaml", "--log-level=info"],
                    "ports": [
                        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                        {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}
                    ],
                    "env": [
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                        {"name": "DATABASE_HOST", "value": "checkout-db.databases.svc.cluster.local"},
                        {"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "checkout-db", "key": "password"}}},
                        {"name": "PAYMENT_ENDPOINT", "value": "https://payments.shop.svc.cluster.local:8443/v2"},
                        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4317"}
                    ],
                    "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 10, "periodSeconds": 10},
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5, "failureThreshold": 2},
                    "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [
                        {"name": "config", "mountPath": "/etc/checkout", "readOnly": true},
                        {"name": "tls", "mountPath": "/etc/tls", "readOnly": true},
                        {"name": "scratch", "mountPath": "/tmp"}
                    ]
                },
                {
                    "name": "log-shipper",
                    "image": "registry.example.com/observability/log-shipper:2.3.0",
                    "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/var/log/checkout"}]
                }
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": "checkout-config"}},
                {"name": "tls", "secret": {"secretName": "checkout-tls"}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "256Mi"}}
            ]
        }
    }))
}

/// What a kubelet patches into a pod that has become ready.
pub(super) fn running_status() -> Bytes {
    let time = "2026-01-02T03:04:05Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time});
    let container = |name: &str, image: &str, id: &str| {
        json!({
            "name": name,
            "ready": true,
            "started": true,
            "restartCount": 0,
            "image": image,
            "imageID": format!("{image}@sha256:{}", id.repeat(8)),
            "containerID": format!("containerd://{}", id.repeat(8)),
            "state": {"running": {"startedAt": time}},
            "lastState": {}
        })
    };
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .map(condition);
    json!({
        "status": {
            "phase": "Running",
            "hostIP": "192.0.2.10",
            "hostIPs": [{"ip": "192.0.2.10"}],
            "podIP": "10.244.7.23",
            "podIPs": [{"ip": "10.244.7.23"}],
            "startTime": time,
            "conditions": conditions,
            "containerStatuses": [
                container("checkout", "registry.example.com/shop/checkout:4.17.2", "0123abcd"),
                container("log-shipper", "registry.example.com/observability/log-shipper:2.3.0", "89ef4567")
            ]
        }
    })
    .to_string()
    .into()
}

/// What a controller applies: the same fields each time, with one value that changes.
pub(super) fn applied_config_map(name: &str, round: usize) -> Bytes {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "checkout", "app.kubernetes.io/managed-by": "perf"}},
        "data": {
            "round": round.to_string(),
            "config.yaml": "log:\n  level: info\nlisten: 0.0.0.0:8080\ndatabase:\n  host: checkout-db.databases\n  pool: 20\n".repeat(4)
        }
    })
    .to_string()
    .into()
}

/// A ConfigMap with so many KiB of text in it, which differs by the number.
pub(super) fn filled_config_map(name: &str, kib: usize, number: usize) -> Bytes {
    let filler = "0123456789abcdefghijklmnopqrstuv".repeat(kib * 1024 / 32);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"number":"{number}","filler":"{filler}"}}}}"#
    )
    .into()
}

pub(super) fn delete_now() -> Bytes {
    Bytes::from_static(br#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_of_ordinary_size_and_has_its_name() {
        let body = pod().named(&pod_name(42));
        assert!((3000..5000).contains(&body.len()), "{} bytes", body.len());
        let object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(object["metadata"]["name"], "checkout-7c9d8f6b54-00042");
        assert!(!String::from_utf8_lossy(&body).contains(NAME));
    }

    #[test]
    fn filled_objects_have_their_size() {
        let body = filled_config_map("x", 256, 7);
        let object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(object["data"]["filler"].as_str().unwrap().len(), 256 << 10);
        assert_ne!(body, filled_config_map("x", 256, 8));
    }

    #[test]
    fn rounds_differ_in_one_value() {
        let round =
            |number| serde_json::from_slice::<Value>(&applied_config_map("x", number)).unwrap();
        let (mut first, second) = (round(1), round(2));
        assert_ne!(first, second);
        first["data"]["round"] = "2".into();
        assert_eq!(first, second);
    }
}

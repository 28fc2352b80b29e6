//! Every resource through its whole life.

use api_types::resources::{RESOURCES, ResourceInfo};
use apiserver::registry::resource::Resource;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{MERGE, Server, events};

fn pod_template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn workload() -> Value {
    json!({"selector": {"matchLabels": {"a": "b"}}, "template": pod_template()})
}

/// What a kind needs besides a name.
fn minimal(info: &ResourceInfo) -> Value {
    let reference = json!({"kind": "Pod", "namespace": "walks", "name": "p"});
    match info.resource {
        "pods" => json!({"spec": pod_template()["spec"]}),
        "podtemplates" => json!({"template": pod_template()}),
        "replicationcontrollers" => {
            json!({"spec": {"selector": {"a": "b"}, "template": pod_template()}})
        }
        "deployments" | "replicasets" | "daemonsets" => json!({"spec": workload()}),
        "statefulsets" => {
            let mut spec = workload();
            spec["serviceName"] = "s".into();
            json!({"spec": spec})
        }
        "controllerrevisions" => json!({"revision": 1, "data": {}}),
        "jobs" => {
            let mut template = pod_template();
            template["spec"]["restartPolicy"] = "Never".into();
            json!({"spec": {"template": template}})
        }
        "cronjobs" => {
            let mut template = pod_template();
            template["spec"]["restartPolicy"] = "Never".into();
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}})
        }
        "services" => json!({"spec": {"ports": [{"port": 80}]}}),
        "events" if info.group.is_empty() => {
            json!({"involvedObject": reference, "reason": "r", "message": "m", "type": "Normal"})
        }
        "events" => {
            json!({"regarding": reference, "reason": "r", "note": "n", "type": "Normal", "action": "a",
            "eventTime": "2020-01-01T00:00:00.000000Z", "reportingController": "x.y/z", "reportingInstance": "i"})
        }
        "limitranges" => {
            json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}})
        }
        "resourcequotas" => json!({"spec": {"hard": {"pods": "3"}}}),
        "persistentvolumes" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp"}}})
        }
        "persistentvolumeclaims" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "horizontalpodautoscalers" => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
        }
        "poddisruptionbudgets" => {
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}})
        }
        "ingresses" => {
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
        }
        "ingressclasses" => json!({"spec": {"controller": "a.b/c"}}),
        "networkpolicies" => json!({"spec": {"podSelector": {}}}),
        "ipaddresses" => {
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}})
        }
        "servicecidrs" => json!({"spec": {"cidrs": ["10.200.0.0/24"]}}),
        "endpointslices" => {
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]})
        }
        "rolebindings" | "clusterrolebindings" => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}})
        }
        "storageclasses" => json!({"provisioner": "a.b/c"}),
        "csidrivers" => json!({"spec": {}}),
        "csinodes" => json!({"spec": {"drivers": []}}),
        "csistoragecapacities" => json!({"storageClassName": "s"}),
        "volumeattachments" => {
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}})
        }
        "volumeattributesclasses" => json!({"driverName": "a.b", "parameters": {"a": "b"}}),
        "priorityclasses" => json!({"value": 7}),
        "runtimeclasses" => json!({"handler": "h"}),
        "certificatesigningrequests" => {
            json!({"spec": {"request": super::writes::csr(), "signerName": "a.b/c", "usages": ["client auth"]}})
        }
        "customresourcedefinitions" => {
            json!({"spec": {"group": "g.example.com", "scope": "Namespaced",
            "names": {"plural": "walks", "singular": "walk", "kind": "Walk", "listKind": "WalkList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
        }
        "apiservices" => {
            json!({"spec": {"group": "g.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}})
        }
        "flowschemas" => {
            json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 900}})
        }
        "prioritylevelconfigurations" => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
        }
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            json!({"webhooks": []})
        }
        "validatingadmissionpolicies" => {
            json!({"spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": "true"}]}})
        }
        "validatingadmissionpolicybindings" => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        "mutatingadmissionpolicies" => {
            json!({"spec": {"reinvocationPolicy": "Never", "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/data'}]"}}]}})
        }
        "mutatingadmissionpolicybindings" => json!({"spec": {"policyName": "p"}}),
        "resourceclaims" => json!({"spec": {}}),
        "resourceclaimtemplates" => json!({"spec": {"spec": {}}}),
        "resourceslices" => {
            json!({"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})
        }
        "deviceclasses" => json!({"spec": {}}),
        "storageversionmigrations" => {
            json!({"spec": {"resource": {"group": "", "resource": "pods"}}})
        }
        _ => json!({}),
    }
}

/// Names that the kind demands.
fn name_of(info: &ResourceInfo) -> &'static str {
    match info.resource {
        "ipaddresses" => "10.96.3.4",
        "customresourcedefinitions" => "walks.g.example.com",
        "apiservices" => "v1.g.example.com",
        // Two versions of one object are walked at the same time.
        "horizontalpodautoscalers" if info.version == "v1" => "walk-1",
        "events" if info.group.is_empty() => "walk-1",
        _ => "walk",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_lives_and_dies() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.namespace("walks").await;
    let rows = server.inner().resources.rows();
    let stored: Vec<_> = rows
        .iter()
        .filter(|row| row.info.storage.is_some())
        .collect();
    let known = RESOURCES
        .iter()
        .filter(|info| info.storage.is_some() && info.default_on)
        .count();
    assert!(stored.len() >= known - 5, "{} of {known}", stored.len());
    futures::stream::iter(stored)
        .for_each_concurrent(8, |row| walk(&server, row))
        .await;
}

async fn walk(server: &Server, row: &Resource) {
    let info = row.info;
    let root = if info.group.is_empty() {
        format!("/api/{}", info.version)
    } else {
        format!("/apis/{}/{}", info.group, info.version)
    };
    let namespace = if info.namespaced {
        "/namespaces/walks"
    } else {
        ""
    };
    let collection = format!("{root}{namespace}/{}", info.resource);
    let name = name_of(info);
    let path = format!("{collection}/{name}");
    let mut object = minimal(info);
    object["metadata"] = json!({"name": name, "labels": {"walk": name}});
    let before = server.get(&collection).await.expect(200);
    let version = before["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();

    let created = server.post(&collection, object.clone()).await.expect(201);
    assert_eq!(created["kind"], info.kind, "{path}");
    assert_eq!(created["apiVersion"], row.api_version);
    assert!(
        created["metadata"]["uid"].is_string()
            && created["metadata"]["creationTimestamp"].is_string()
    );
    server.post(&collection, object).await.expect(409);

    let got = server.get(&path).await.expect(200);
    assert_eq!(got, created, "{path}");
    let list = server
        .get(&format!("{collection}?labelSelector=walk%3D{name}"))
        .await
        .expect(200);
    assert_eq!(list["kind"], format!("{}List", info.kind));
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{path}");
    let watch = server
        .get(&format!("{collection}?watch=1&resourceVersion={version}&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}"))
        .await;
    let seen = events(&watch);
    assert_eq!(seen[0]["type"], "ADDED", "{path}: {seen:?}");
    assert_eq!(seen[0]["object"], created, "{path}");

    let patched = server
        .patch(&path, MERGE, r#"{"metadata":{"labels":{"walk":"2"}}}"#)
        .await
        .expect(200);
    assert_eq!(patched["metadata"]["labels"]["walk"], "2", "{path}");
    // As upstream, labels of slices count.
    if info.resource != "endpointslices" {
        assert_eq!(
            patched["metadata"]["generation"], created["metadata"]["generation"],
            "{path}"
        );
    }
    let replaced = server.put(&path, patched.clone()).await.expect(200);
    assert_eq!(
        replaced["metadata"]["resourceVersion"], patched["metadata"]["resourceVersion"],
        "{path}: nothing changed"
    );
    let table = server
        .accept(&path, "application/json;as=Table;g=meta.k8s.io;v=v1")
        .await
        .expect(200);
    assert_eq!(table["kind"], "Table");
    // As upstream, rows of addresses have a cell more than there are columns.
    if info.resource != "ipaddresses" {
        assert_eq!(
            table["rows"][0]["cells"].as_array().unwrap().len(),
            table["columnDefinitions"].as_array().unwrap().len(),
            "{path}"
        );
    }
    let protobuf = server
        .accept(&path, "application/vnd.kubernetes.protobuf")
        .await;
    assert!(
        protobuf.code == 406 || protobuf.text.starts_with(b"k8s\0"),
        "{path}"
    );

    let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
    let deleted = server.delete(&path, options).await;
    assert_eq!(
        deleted.code,
        200,
        "{path}: {}",
        String::from_utf8_lossy(&deleted.text)
    );
    if info.resource == "namespaces" {
        // The namespace controller does this when nothing is left in it.
        let mut waiting = server.get(&path).await.expect(200);
        assert_eq!(waiting["status"]["phase"], "Terminating");
        waiting["spec"]["finalizers"] = json!([]);
        server
            .put(&format!("{path}/finalize"), waiting)
            .await
            .expect(200);
    }
    let is_protected = |resource: &str| {
        resource.starts_with("persistentvolume")
            || matches!(
                resource,
                "volumeattributesclasses" | "customresourcedefinitions"
            )
    };
    if is_protected(info.resource) {
        // Until its controller says that nobody uses it.
        server
            .patch(&path, MERGE, r#"{"metadata":{"finalizers":null}}"#)
            .await
            .expect(200);
    }
    let gone = server.get(&path).await;
    let resource = row.group_resource();
    gone.refuses(404, &format!("{resource} {name:?} not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_agree_with_the_table() {
    let Some(server) = Server::start().await else {
        return;
    };
    let groups = server.get("/apis").await.expect(200);
    for group in groups["groups"].as_array().unwrap() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        let list = server.get(&format!("/apis/{version}")).await.expect(200);
        assert_eq!(list["groupVersion"], version);
    }
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = server.accept("/apis", accept).await;
    let etag = aggregated.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        aggregated.json()["items"].as_array().unwrap().len(),
        groups["groups"].as_array().unwrap().len()
    );
    let again = server
        .send(
            "GET",
            "/apis",
            &[("accept", accept), ("if-none-match", &etag)],
            "",
        )
        .await;
    assert_eq!(again.code, 304);
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let apps = server.get(url).await.expect(200);
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    assert_eq!(
        apps["paths"][path]["patch"]["x-kubernetes-group-version-kind"]["kind"],
        "Deployment"
    );
    let swagger = server.get("/openapi/v2").await.expect(200);
    assert_eq!(swagger["swagger"], "2.0");
    assert!(
        swagger["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["$ref"].is_string()
    );
}

/// Component statuses are selected by the fields that every object has.
#[tokio::test(flavor = "multi_thread")]
async fn component_statuses_are_selected() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    let all = "/api/v1/componentstatuses";
    server
        .get(&format!("{all}?fieldSelector=spec.x=y"))
        .await
        .refuses(400, "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    for (selector, wanted) in [
        ("fieldSelector=metadata.name=etcd-0", 1),
        ("fieldSelector=metadata.name!=etcd-0", 2),
        ("fieldSelector=metadata.namespace=x", 0),
        ("labelSelector=a=b", 0),
        ("labelSelector=!a", 3),
    ] {
        let list = server.get(&format!("{all}?{selector}")).await.expect(200);
        let found = list["items"].as_array().map_or(0, Vec::len);
        assert_eq!(found, wanted, "{selector}");
    }
}

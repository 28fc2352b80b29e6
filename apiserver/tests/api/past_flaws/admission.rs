//! What is stored, and who judges it before: validation, plugins of admission, webhooks.

use api_types::core::v1::{Pod, PodSpec};
use api_types::{Described as _, FieldSchema, StructSchema, TypeRef};
use apiserver::authz::node::{Kind, pod_references};
use serde_json::{Value, json};

use super::super::webhooks::{Hooks, MUTATING, VALIDATING, image_policy, rule};
use super::super::{APPLY, CONFIG_MAPS, JSON, MERGE, Server, config_map};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Addresses of a node itself in slices, though Endpoints refused them.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_25737_endpoints_are_not_of_the_node() {
    let Some(server) = Server::start().await else {
        return;
    };
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (family, address) in [
        ("IPv4", "127.0.0.1"),
        ("IPv4", "169.254.1.1"),
        ("IPv4", "224.0.0.1"),
        ("IPv4", "0.0.0.0"),
        ("IPv6", "::1"),
        ("IPv6", "fe80::1"),
        ("IPv6", "ff02::1"),
    ] {
        let slice = json!({"metadata": {"name": "s"}, "addressType": family, "endpoints": [{"addresses": [address]}]});
        let answer = server.post(slices, slice).await;
        assert_eq!(answer.code, 422, "slice of {address}");
        let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 1}]}]});
        let answer = server
            .post("/api/v1/namespaces/default/endpoints", endpoints)
            .await;
        assert_eq!(answer.code, 422, "endpoints of {address}");
    }
}

/// Addresses outside of the cluster let a user take others' traffic; the plugin refuses them.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_8554_external_addresses_can_be_refused() {
    let flags = ["--enable-admission-plugins=DenyServiceExternalIPs".to_owned()];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    let services = "/api/v1/namespaces/default/services";
    let service = |addresses: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "externalIPs": addresses}});
    let refused = server.post(services, service(json!(["192.0.2.1"]))).await;
    assert_eq!(refused.code, 403, "{}", refused.message());
    server.post(services, service(json!([]))).await.expect(201);
    let patch = json!({"spec": {"externalIPs": ["192.0.2.1"]}}).to_string();
    let refused = server.patch(&format!("{services}/s"), MERGE, patch).await;
    assert_eq!(refused.code, 403, "{}", refused.message());
}

/// A node that owns itself is deleted by the garbage collector, and comes back with the labels it likes; a mirror pod got devices that
/// the scheduler had given to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_5187_and_4563_nodes_do_not_choose_what_they_are() {
    let flags = ["--enable-admission-plugins=NodeRestriction".to_owned()];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    let as_node = async |method: &str, path: &str, kind: &str, body: Value| {
        let headers = [
            ("content-type", kind),
            ("impersonate-user", "system:node:n1"),
            ("impersonate-group", "system:nodes"),
        ];
        server.send(method, path, &headers, body.to_string()).await
    };
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}]);
    let node = as_node(
        "POST",
        "/api/v1/nodes",
        JSON,
        json!({"metadata": {"name": "n1"}}),
    )
    .await;
    node.expect(201);
    for patch in [
        json!({"metadata": {"ownerReferences": owner}}),
        json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
        json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}),
    ] {
        let refused = as_node("PATCH", "/api/v1/nodes/n1", MERGE, patch.clone()).await;
        assert_eq!(refused.code, 403, "{patch}: {}", refused.message());
    }
    let uid = server.get("/api/v1/nodes/n1").await.expect(200)["metadata"]["uid"].clone();
    let mirror = |spec: Value| {
        let mut spec = spec;
        spec["nodeName"] = json!("n1");
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
        spec["automountServiceAccountToken"] = json!(false);
        json!({"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true}]}, "spec": spec})
    };
    let pods = "/api/v1/namespaces/default/pods";
    let claims = json!({"resourceClaims": [{"name": "a", "resourceClaimName": "b"}]});
    let refused = as_node("POST", pods, JSON, mirror(claims)).await;
    assert_eq!(refused.code, 403, "{}", refused.message());
    as_node("POST", pods, JSON, mirror(json!({})))
        .await
        .expect(201);
}

/// A webhook that judges changes of Nodes was shown an old object that had been changed already.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_25735_old_objects_are_what_was_stored() {
    let Some(server) = Server::start().await else {
        return;
    };
    let hooks = Hooks::start().await;
    let node = json!({
        "metadata": {"name": "n", "labels": {"a": "1"}},
        "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "1"}, "addresses": [{"type": "Hostname", "address": "n"}]},
    });
    server.post("/api/v1/nodes", node).await.expect(201);
    server.post(CONFIG_MAPS, config_map("c")).await.expect(201);
    let rules = json!({"rules": [rule("", "*", "nodes"), rule("", "*", "nodes/status"), rule("", "*", "configmaps")]});
    let validating = json!([hooks.hook("v", "allow", rules)]);
    server.configure(VALIDATING, "v", validating).await;
    // It changes what the validating one is shown.
    let mutating = json!([hooks.hook("m", "after/a/added", json!({}))]);
    server.configure(MUTATING, "m", mutating).await;
    let (main, status) = ("/api/v1/nodes/n", "/api/v1/nodes/n/status");
    let map = format!("{CONFIG_MAPS}/c");
    let changes = json!({
        "metadata": {"labels": {"a": "2", "b": "1"}, "annotations": {"a": "1"}},
        "spec": {"unschedulable": true, "taints": [{"key": "b", "effect": "NoExecute"}]},
        "status": {"capacity": {"cpu": "2"}, "addresses": [{"type": "Hostname", "address": "m"}]},
        "data": {"b": "2"},
    });
    for (object, path) in [(main, main), (main, status), (&map, &map)] {
        for method in ["PUT", "PATCH", "APPLY"] {
            let before = server.get(object).await.expect(200);
            let mut change = changes.clone();
            // Each time it is another change.
            let version = before["metadata"]["resourceVersion"].clone();
            change["metadata"]["annotations"]["at"] = version;
            let of_kind = |name: &str| (name == "data") == (object == map);
            let change = change.as_object_mut().unwrap();
            change.retain(|name, _| name == "metadata" || of_kind(name));
            let answer = match method {
                "PUT" => {
                    let mut changed = before.clone();
                    for (name, value) in change.iter() {
                        for (field, value) in value.as_object().unwrap() {
                            changed[name][field] = value.clone();
                        }
                    }
                    server.put(path, changed).await
                }
                "PATCH" => {
                    let change = Value::Object(change.clone()).to_string();
                    server.patch(path, MERGE, change).await
                }
                _ => {
                    let mut change = Value::Object(change.clone());
                    change["apiVersion"] = before["apiVersion"].clone();
                    change["kind"] = before["kind"].clone();
                    let path = format!("{path}?fieldManager=m&force=true");
                    server.patch(&path, APPLY, change.to_string()).await
                }
            };
            answer.expect(200);
            let seen = hooks.seen();
            let (asked, request) = seen.last().unwrap();
            assert_eq!(asked, "allow");
            assert_eq!(request["oldObject"], before, "{method} {path}");
            assert_ne!(request["object"], before, "{method} {path}");
        }
        let before = server.get(object).await.expect(200);
        if path == object {
            server
                .delete(path, json!({"dryRun": ["All"]}))
                .await
                .expect(200);
            let (_, request) = hooks.seen().pop().unwrap();
            assert_eq!(request["oldObject"], before, "DELETE {path}");
        }
    }
}

/// Fields of a struct, with those of what is inlined.
fn fields(schema: &'static StructSchema) -> Vec<&'static FieldSchema> {
    let parts = schema
        .fields
        .iter()
        .map(|field| match field.ty.struct_schema() {
            Some(inner) if field.inline => fields(inner),
            _ => vec![field],
        });
    parts.flatten().collect()
}

/// The lists of a pod's spec whose items have images.
fn lists_of_containers() -> Vec<&'static str> {
    let lists = fields(PodSpec::SCHEMA).into_iter().filter(|field| {
        let item = field.ty.list_item().and_then(TypeRef::struct_schema);
        let is_image =
            |field: &&FieldSchema| field.json == "image" && matches!(field.ty, TypeRef::String);
        item.is_some_and(|item| fields(item).iter().any(is_image))
    });
    lists.map(|field| field.json).collect()
}

/// A pod in `default` with one more container in a list.
fn with_container(list: &str, more: Value) -> Value {
    let container = |name: &str, more: Value| {
        let mut container = json!({"name": name, "image": "good"});
        let more = more.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(more);
        container
    };
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "automountServiceAccountToken": false, "containers": [container("c", json!({}))],
    }});
    if pod["spec"][list].is_null() {
        pod["spec"][list] = json!([]);
    }
    let list = pod["spec"][list].as_array_mut().unwrap();
    list.push(container("more", more));
    pod
}

impl Server {
    /// Makes a pod have one more container. Ephemeral ones are for pods that run.
    async fn add_container(&self, list: &str, more: Value) -> super::super::Answer {
        let with = with_container(list, more);
        if list != "ephemeralContainers" {
            return self.post(PODS, with).await;
        }
        let path = format!("{PODS}/runs/ephemeralcontainers");
        let mut running = self.get(&format!("{PODS}/runs")).await.expect(200);
        running["spec"][list] = with["spec"][list].clone();
        self.put(&path, running).await
    }

    async fn running_pod(&self) {
        let pod = json!({"metadata": {"name": "runs"}, "spec": {
            "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "good"}],
        }});
        self.post(PODS, pod).await.expect(201);
    }
}

/// A policy of images looked at some of a pod's lists of containers. A list that is added to pods is tried here by itself.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_2727_images_of_all_containers_are_judged() {
    let hooks = Hooks::start().await;
    let folder = tempfile::tempdir().unwrap();
    let flags = image_policy(&hooks, folder.path());
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    server.running_pod().await;
    let lists = lists_of_containers();
    assert!(lists.len() >= 3, "{lists:?}");
    for list in lists {
        let answer = server.add_container(list, json!({"image": "bad"})).await;
        assert_eq!(answer.code, 403, "{list}: {}", answer.message());
        let told = "image policy webhook backend denied one or more images: bad";
        assert!(
            answer.message().ends_with(told),
            "{list}: {}",
            answer.message()
        );
    }
}

/// That images are pulled for each pod has the same holes; and what a webhook changes afterwards counts.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_2727_images_of_all_containers_are_pulled() {
    let flags = ["--enable-admission-plugins=AlwaysPullImages".to_owned()];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    server.running_pod().await;
    for list in lists_of_containers() {
        let with = json!({"image": "other", "imagePullPolicy": "Never"});
        let answer = server.add_container(list, with).await;
        assert!(answer.code < 300, "{list}: {}", answer.message());
        let containers = answer.json()["spec"][list].clone();
        // As upstream, the plugin leaves the subresource of ephemeral containers alone.
        let wanted = match list {
            "ephemeralContainers" => "Never",
            _ => "Always",
        };
        for container in containers.as_array().unwrap() {
            assert_eq!(container["imagePullPolicy"], wanted, "{list}");
        }
        let now = json!({"gracePeriodSeconds": 0});
        server.delete(&format!("{PODS}/p"), now).await;
    }
    let mut pod = with_container("containers", json!({}));
    pod["spec"]["volumes"] =
        json!([{"name": "v", "image": {"reference": "r", "pullPolicy": "Never"}}]);
    let made = server.post(PODS, pod.clone()).await.expect(201);
    assert_eq!(made["spec"]["volumes"][0]["image"]["pullPolicy"], "Always");

    let hooks = Hooks::start().await;
    let again =
        |policy: &str| json!({"rules": [rule("", "*", "pods")], "reinvocationPolicy": policy});
    let mutating = |policy: &str| json!([hooks.hook("m", "pull/Never", again(policy))]);
    server.configure(MUTATING, "m", mutating("Never")).await;
    pod["metadata"]["name"] = "q".into();
    let made = server.post(PODS, pod.clone()).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    // One that is asked again has the last word, but not its way.
    server
        .delete(&format!("{MUTATING}/m"), json!({}))
        .await
        .expect(200);
    server.configure(MUTATING, "n", mutating("IfNeeded")).await;
    pod["metadata"]["name"] = "r".into();
    server.post(PODS, pod).await.refuses(
        500,
        "pods \"r\" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    );
}

/// Which secrets a service account's pods may have was looked up in some of their lists of containers, and in some of the ways in
/// which these name secrets.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_2728_and_2024_3177_secrets_of_all_containers_are_judged() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.running_pod().await;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    let enforced = json!({
        "metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "known"}],
    });
    server
        .patch(account, MERGE, enforced.to_string())
        .await
        .expect(200);
    let reference = |name: &str| {
        let variable =
            json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
        [
            json!({"env": [variable]}),
            json!({"envFrom": [{"secretRef": {"name": name}}]}),
        ]
    };
    // The admission's cache may not have the account's annotation yet.
    let first = async || {
        let with = reference("other")[0].clone();
        server.add_container("containers", with).await.code == 403
    };
    let noticed = async {
        while !first().await {
            server
                .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0}))
                .await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), noticed)
        .await
        .expect("the account is noticed");
    for list in lists_of_containers() {
        for with in reference("other") {
            let answer = server.add_container(list, with.clone()).await;
            assert_eq!(answer.code, 403, "{list} {with}: {}", answer.message());
            let told = "service account default does not reference that secret";
            assert!(answer.message().ends_with(told), "{}", answer.message());
        }
    }
    for list in lists_of_containers() {
        for with in reference("known") {
            let answer = server.add_container(list, with.clone()).await;
            assert!(answer.code < 300, "{list} {with}: {}", answer.message());
            server
                .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0}))
                .await;
            server
                .delete(&format!("{PODS}/runs"), json!({"gracePeriodSeconds": 0}))
                .await;
            server.running_pod().await;
        }
    }
}

/// Where JSON of a type has the name of a secret: the names of the fields that lead there, with `[]` after those of lists.
fn secret_names(schema: &'static StructSchema, within: &[String], found: &mut Vec<Vec<String>>) {
    assert!(within.len() < 30, "{within:?}");
    for field in fields(schema) {
        let list = if field.ty.list_item().is_some() {
            "[]"
        } else {
            ""
        };
        let path = [within, &[format!("{}{list}", field.json)]].concat();
        if let Some(inner) = field.ty.struct_schema() {
            secret_names(inner, &path, found);
            continue;
        }
        let of_secret = path
            .iter()
            .any(|part| part.to_lowercase().contains("secret"));
        if of_secret && matches!(field.json, "name" | "secretName") {
            found.push(path);
        }
    }
}

/// Nodes see the secrets that their pods name, and mirror pods must not name any: one visitor of all references is behind both. A
/// field that is added to pods is tried here by itself.
#[test]
fn cve_2023_2728_all_references_to_secrets_are_seen() {
    let mut paths = Vec::new();
    secret_names(PodSpec::SCHEMA, &[], &mut paths);
    assert!(paths.len() >= 17, "only {paths:?}");
    for path in paths {
        let mut value = json!("the-secret");
        for part in path.iter().rev() {
            value = match part.strip_suffix("[]") {
                Some(name) => json!({name: [value]}),
                None => json!({part: value}),
            };
        }
        let json = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": value});
        let pod: Pod = api_types::decode_json(json.to_string().as_bytes()).unwrap();
        let wanted = (Kind::Secret, "the-secret".to_owned());
        assert!(pod_references(&pod).contains(&wanted), "{path:?}");
    }
}

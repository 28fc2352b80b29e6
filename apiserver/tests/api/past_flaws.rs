//! One test for each class of flaws that upstream's API server had once and that shows at a server as a whole, named after the
//! advisory. Classes that show in one part are tested there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CONFIG_MAPS, JSON, JSON_PATCH, MERGE, Server, config_map};

/// What bounded work may take on a busy machine.
const BOUNDED: Duration = Duration::from_secs(20);

/// A namespace that names its parent widened the prefix in etcd, so that objects of other types were listed.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_3162_namespaces_do_not_leave_their_prefix() {
    let Some(server) = Server::start().await else {
        return;
    };
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "canary"}});
    server
        .post("/api/v1/namespaces/default/secrets", secret)
        .await
        .expect(201);
    for path in [
        "/api/v1/namespaces/%2e%2e/configmaps",
        "/api/v1/namespaces/%2e%2e%2fsecrets/configmaps",
        "/api/v1/namespaces/..%2f..%2fsecrets%2fdefault/configmaps",
        "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets%2fdefault%2fs",
        "/api/v1/namespaces/default/configmaps/%2e%2e",
    ] {
        for query in ["", "?watch=1&timeoutSeconds=1&resourceVersion=0"] {
            let answer = server.get(&format!("{path}{query}")).await;
            let text = String::from_utf8_lossy(&answer.text);
            assert!(!text.contains("Y2FuYXJ5"), "{path}{query}: {text}");
        }
    }
    // Nor does the place where a list goes on.
    let token = json!({"v": "meta.k8s.io/v1", "rv": 1, "start": "../../secrets/default/\0"});
    use base64::Engine as _;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string());
    let answer = server.get(&format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!(answer.code, 400, "{}", answer.message());
}

/// Objects without a namespace could be reached through one.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_11247_scopes_are_kept() {
    let Some(server) = Server::start().await else {
        return;
    };
    let role = json!({"metadata": {"name": "r"}, "rules": []});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    server.post(roles, role.clone()).await.expect(201);
    let within = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles";
    for answer in [
        server.get(within).await,
        server.get(&format!("{within}/r")).await,
        server.put(&format!("{within}/r"), role).await,
        server.delete(&format!("{within}/r"), json!({})).await,
        server.get("/api/v1/namespaces/default/nodes").await,
    ] {
        assert_eq!(answer.code, 404);
    }
    server.get(&format!("{roles}/r")).await.expect(200);
}

/// Aliases that unfold to more than memory holds, and depth that takes more than linear time.
/// On a stack of its own: unoptimized frames of the parser are many times those of a release.
#[test]
fn cve_2019_11253_and_11254_yaml_is_read_in_bounds() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().build().unwrap()
    };
    std::thread::Builder::new()
        .stack_size(32 << 20)
        .spawn(move || runtime().block_on(yaml_is_read_in_bounds()))
        .unwrap()
        .join()
        .unwrap();
}

async fn yaml_is_read_in_bounds() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ('b'..='z').zip('a'..) {
        let list = [format!("*{of}").as_str(); 9].join(",");
        bomb.push_str(&format!("{name}: &{name} [{list}]\n"));
    }
    let nested = "- ".repeat(200_000);
    let flow = "[".repeat(1 << 20);
    let mapping = "? ".repeat(200_000);
    for (what, body) in [
        ("aliases", bomb),
        ("lists", nested),
        ("flow", flow),
        ("keys", mapping),
    ] {
        let started = Instant::now();
        let headers = [("content-type", "application/yaml")];
        let answer = server.send("POST", CONFIG_MAPS, &headers, body).await;
        assert!(
            matches!(answer.code, 400 | 413 | 422),
            "{what}: {}",
            answer.code
        );
        assert!(
            started.elapsed() < BOUNDED,
            "{what}: {:?}",
            started.elapsed()
        );
    }
    server
        .post(CONFIG_MAPS, config_map("after"))
        .await
        .expect(201);
}

/// The work of a JSON patch grew with the product of its operations and what they copied.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_1002100_json_patches_are_bounded() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let operations = |count: usize| {
        let one = json!({"op": "add", "path": "/data/b", "value": "c"});
        Value::from(vec![one; count]).to_string()
    };
    server
        .patch(&path, JSON_PATCH, operations(10_000))
        .await
        .expect(200);
    let answer = server.patch(&path, JSON_PATCH, operations(10_001)).await;
    answer.refuses(
        413,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    );
    // Each copy doubles the data.
    let mut copies = vec![json!({"op": "add", "path": "/data/x", "value": "y".repeat(1 << 10)})];
    copies.extend(
        (0..64).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})),
    );
    let started = Instant::now();
    let answer = server
        .patch(&path, JSON_PATCH, Value::from(copies).to_string())
        .await;
    assert!(answer.code >= 400, "{}", answer.code);
    assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
}

/// Callers' texts were labels of metrics, which made a series for each.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_8552_callers_make_no_series() {
    let Some(server) = Server::start().await else {
        return;
    };
    for n in 0..20 {
        let agent = format!("canary-{n}/1.0");
        let path = format!("{CONFIG_MAPS}/canary-{n}");
        let kind = format!("application/canary-{n}");
        let headers = [("user-agent", agent.as_str()), ("accept", kind.as_str())];
        server.send("GET", &path, &headers, "").await;
        let headers = [("user-agent", agent.as_str())];
        for path in [
            format!("/canary-{n}"),
            format!("/apis/canary-{n}/v1/canaries"),
        ] {
            server.send("GET", &path, &headers, "").await;
        }
        let method = format!("CANARY-{n}");
        server.send(&method, CONFIG_MAPS, &headers, "").await;
    }
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    let found = metrics
        .lines()
        .find(|line| line.to_lowercase().contains("canary"));
    assert_eq!(found, None);
}

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

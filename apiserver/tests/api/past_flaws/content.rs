//! What requests say: paths, bodies, names.

use std::time::{Duration, Instant};

use api_types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use api_types::{Described as _, StructSchema};
use serde_json::{Value, json};

use super::super::{CONFIG_MAPS, JSON_PATCH, Server, config_map};

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

/// Works on a stack of its own: unoptimized frames of parsers are many times those of a release.
fn on_a_stack<F: Future<Output = ()> + 'static>(size: usize, work: fn() -> F) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().build().unwrap()
    };
    std::thread::Builder::new()
        .stack_size(size)
        .spawn(move || runtime().block_on(work()))
        .unwrap()
        .join()
        .unwrap();
}

/// Aliases that unfold to more than memory holds, and depth that takes more than linear time.
#[test]
fn cve_2019_11253_and_11254_yaml_is_read_in_bounds() {
    on_a_stack(32 << 20, yaml_is_read_in_bounds);
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

/// An error for each element of a list, each with the whole list; a warning for each pair of elements. Upstream's answers to these
/// would be many times what memory holds.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_no_square_of_what_was_sent() {
    let Some(server) = Server::start().await else {
        return;
    };
    const MANY: usize = 20_000;
    let many = |element: Value| Value::from(vec![element; MANY]);
    let meta = |fields: Value| {
        let mut object = config_map("x");
        let fields = fields.as_object().unwrap().clone();
        object["metadata"].as_object_mut().unwrap().extend(fields);
        object
    };
    let pod = |container: Value, volumes: Value| {
        let mut one = json!({"name": "a", "image": "a"});
        let fields = container.as_object().unwrap().clone();
        one.as_object_mut().unwrap().extend(fields);
        json!({"metadata": {"name": "x"}, "spec": {"containers": [one], "volumes": volumes}})
    };
    let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"},
        "x-kubernetes-list-map-keys": many(json!(""))});
    let definition = json!({"metadata": {"name": "xs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "xs", "kind": "X"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": schema}}}}]}});
    let paths: Vec<Value> = (0..MANY)
        .map(|n| json!({"key": "a", "path": format!("p{n}")}))
        .collect();
    // Those that are equal count as one.
    let owners: Vec<Value> = (0..MANY)
        .map(|n| json!({"controller": true, "uid": n.to_string()}))
        .collect();
    let bodies = [
        (CONFIG_MAPS, meta(json!({"ownerReferences": owners})), 422),
        (
            CONFIG_MAPS,
            meta(
                json!({"managedFields": [{"manager": "xxxxxxxxx\u{1}".repeat(MANY / 10), "operation": "Update",
            "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:immutable": {}}}]}),
            ),
            422,
        ),
        (
            "/api/v1/namespaces/default/resourcequotas",
            json!({"metadata": {"name": "x"}, "spec": {"scopes": many(json!(""))}}),
            422,
        ),
        (
            "/api/v1/namespaces/default/resourcequotas",
            json!({"metadata": {"name": "x"}, "spec": {"hard": {"services": "1"}, "scopeSelector": {"matchExpressions":
                many(json!({"scopeName": "BestEffort", "operator": "Exists"}))}}}),
            422,
        ),
        (
            "/api/v1/namespaces/default/pods",
            pod(
                json!({"ports": many(json!({"containerPort": 1}))}),
                json!([]),
            ),
            201,
        ),
        (
            "/api/v1/namespaces/default/pods",
            pod(
                json!({}),
                json!([{"name": "v", "configMap": {"name": "c",
            "items": many(json!({"key": "a", "path": "a"}))}}]),
            ),
            201,
        ),
        (
            "/api/v1/namespaces/default/pods",
            pod(
                json!({}),
                json!([{"name": "v", "configMap": {"name": "c", "items": paths}}]),
            ),
            201,
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            json!({"metadata": {"name": "x"}, "webhooks": [{"name": "a.example.com", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "a", "namespace": "b",
                    "path": "/A".repeat(MANY)}}}]}),
            422,
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
            422,
        ),
    ];
    for (number, (path, body, code)) in bodies.into_iter().enumerate() {
        let started = Instant::now();
        let answer = server.post(&format!("{path}?dryRun=All"), body).await;
        assert_eq!(answer.code, code, "{number}: {}", answer.message());
        assert!(
            answer.text.len() < 64 << 20,
            "{number}: {}",
            answer.text.len()
        );
        assert!(
            started.elapsed() < BOUNDED,
            "{number}: {:?}",
            started.elapsed()
        );
    }
}

/// A record of bytes.
fn record(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut record = varint(u64::from(tag) << 3 | 2);
    record.extend(varint(bytes.len() as u64));
    record.extend(bytes);
    record
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An object of a kind as protobuf.
fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let kind = [
        record(1, api_version.as_bytes()),
        record(2, kind.as_bytes()),
    ];
    let unknown = [record(1, &kind.concat()), record(2, raw)];
    [b"k8s\0".as_slice(), &unknown.concat()].concat()
}

fn tag_of(schema: &StructSchema, field: &str) -> u32 {
    let mut fields = schema.fields.iter();
    fields.find(|known| known.json == field).unwrap().tag
}

/// A definition whose schema is the negation of the negation of and so on.
fn nested_definition(levels: usize) -> Vec<u8> {
    let not = tag_of(JSONSchemaProps::SCHEMA, "not");
    let mut raw = Vec::new();
    for _ in 0..levels {
        raw = record(not, &raw);
    }
    let mut schema = CustomResourceDefinition::SCHEMA;
    let mut tags = Vec::new();
    for field in ["spec", "versions", "schema", "openAPIV3Schema"] {
        tags.push(tag_of(schema, field));
        let mut fields = schema.fields.iter();
        let found = fields.find(|known| known.json == field).unwrap();
        schema = found.ty.struct_schema().unwrap();
    }
    for tag in tags.into_iter().rev() {
        raw = record(tag, &raw);
    }
    enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw)
}

/// Lengths that are negative, that lead out of the message or that overflow when they are added, in fields that are known and in
/// those that are skipped; groups and depth without end. (The decoder alone: `hostile.rs` of api-types, and the fuzz targets.)
#[test]
fn cve_2021_3121_protobuf_is_read_in_bounds() {
    // What threads of the daemon have.
    on_a_stack(8 << 20, protobuf_is_read_in_bounds);
}

async fn protobuf_is_read_in_bounds() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut bodies = Vec::new();
    // Metadata is known, 15 and 100,000 are not.
    for tag in [1_u64, 15, 100_000] {
        for length in [
            1_000,
            (1 << 31) - 1,
            1 << 31,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX,
        ] {
            let raw = [varint(tag << 3 | 2), varint(length), vec![b'x'; 16]].concat();
            bodies.push((CONFIG_MAPS, enveloped("v1", "ConfigMap", &raw)));
            let whole = [b"k8s\0".as_slice(), &raw].concat();
            bodies.push((CONFIG_MAPS, whole));
        }
        let unending = [varint(tag << 3), vec![0xff; 11]].concat();
        bodies.push((CONFIG_MAPS, enveloped("v1", "ConfigMap", &unending)));
        let groups = varint(tag << 3 | 3).repeat(100_000);
        bodies.push((CONFIG_MAPS, enveloped("v1", "ConfigMap", &groups)));
    }
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    bodies.push((definitions, nested_definition(5_000)));
    for (path, body) in bodies {
        let shown = body.iter().take(80).copied().collect::<Vec<u8>>();
        let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
        let started = Instant::now();
        let answer = server.send("POST", path, &headers, body).await;
        assert_eq!(answer.code, 400, "{shown:?}: {}", answer.message());
        assert!(started.elapsed() < BOUNDED, "{shown:?}");
    }
    server
        .post(CONFIG_MAPS, config_map("after"))
        .await
        .expect(201);
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

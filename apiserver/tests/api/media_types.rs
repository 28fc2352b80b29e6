//! What bodies may be in, and what answers can be had in. CBOR is neither.

use super::*;

const CBOR: &str = "application/cbor";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

impl Server {
    async fn foos(&self) {
        apiserver::hooks::start(self.inner(), self.stop.clone());
        let definition = json!({"metadata": {"name": "foos.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        }});
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.post(path, definition).await.expect(201);
        let served = async {
            while self.get(FOOS).await.code != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), served)
            .await
            .expect("the resource is served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers() {
    let Some(server) = Server::start().await else {
        return;
    };
    let available = "406: Not Acceptable\n\nAvailable representations:";
    let objects = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let log = "/api/v1/namespaces/default/pods/x/log";
    let scale = "/apis/apps/v1/namespaces/default/deployments/x/scale";
    let map = format!("{CONFIG_MAPS}/none");
    for (path, expected) in [
        (CONFIG_MAPS, format!("{available} {objects}, {streams}")),
        (&*map, format!("{available} {objects}")),
        (log, format!("{available} text/plain, {objects}")),
        (scale, format!("{available} {objects}")),
        ("/api", format!("{available} {objects}")),
        ("/api/v1", format!("{available} {objects}")),
        ("/apis/apps/v1", format!("{available} {objects}")),
        ("/version", format!("{available} application/json")),
        (
            "/apis",
            format!("only the following media types are accepted: {objects}"),
        ),
        (
            "/apis/apps",
            format!("only the following media types are accepted: {objects}"),
        ),
    ] {
        server.accept(path, CBOR).await.refuses(406, &expected);
        let also = format!("{CBOR}, application/json;q=0.5");
        assert_ne!(server.accept(path, &also).await.code, 406, "{path}");
    }
    // The router knows no wildcard but the widest; custom resources have no router.
    assert_eq!(server.accept(CONFIG_MAPS, "application/*").await.code, 406);
    server.foos().await;
    server.accept(FOOS, "application/*").await.expect(200);
    let only = format!("only the following media types are accepted: {objects}");
    server.accept(FOOS, CBOR).await.refuses(406, &only);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.foos().await;
    let unknown =
        "the body of the request was in an unknown format - accepted media types include:";
    let objects = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for path in [CONFIG_MAPS, FOOS] {
        for kind in [
            CBOR,
            "application/cbor-seq",
            "text/plain",
            "application/json;x",
        ] {
            let sent = server
                .send("POST", path, &[("content-type", kind)], "{}")
                .await;
            sent.refuses(415, &format!("{unknown} {objects}"));
        }
    }
    let patch = async |path: String, kind: &str| server.patch(&path, kind, "{}").await;
    for kind in ["application/apply-patch+cbor", CBOR, "text/plain"] {
        let answer = patch(format!("{CONFIG_MAPS}/a"), kind).await;
        answer.refuses(415, "415: Unsupported Media Type");
        let patches = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        let answer = patch(format!("{FOOS}/a"), kind).await;
        answer.refuses(415, &format!("{unknown} {patches}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_stored_as_text() {
    for (media, start) in [
        ("json", "{\"kind\":\"Pod\",\"apiVersion\":\"v1\","),
        ("yaml", "apiVersion: v1\nkind: Pod\n"),
    ] {
        let flag = format!("--storage-media-type=application/{media}");
        let Some(server) = Server::start_with(&[flag]).await else {
            return;
        };
        server.namespace("default").await;
        let pods = "/api/v1/namespaces/default/pods";
        for (name, node) in [("a", "n1"), ("b", "n2")] {
            let pod = json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": {
                "nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
            server.post(pods, pod).await.expect(201);
        }
        let stored = server.stored("pods/default/a").await;
        let stored = String::from_utf8(stored).unwrap();
        assert!(stored.starts_with(start), "{stored}");
        assert!(stored.ends_with('\n') && !stored.contains("resourceVersion"));
        let labels = r#"{"metadata": {"labels": {"more": "1"}}}"#;
        let path = format!("{pods}/a");
        server.patch(&path, STRATEGIC, labels).await.expect(200);
        for selector in ["fieldSelector=spec.nodeName%3Dn1", "labelSelector=more%3D1"] {
            let list = server.get(&format!("{pods}?{selector}")).await.expect(200);
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), 1, "{media} {selector}");
            assert_eq!(items[0]["metadata"]["name"], "a");
        }
        let protobuf = server
            .accept(pods, "application/vnd.kubernetes.protobuf")
            .await;
        assert!(protobuf.code == 200 && protobuf.text.starts_with(b"k8s\0"));
        // What another server with other flags reads.
        let other = Server::serve(server._etcd.clone(), &[]).await;
        let list = other
            .get(&format!("{pods}?fieldSelector=spec.nodeName%3Dn2"))
            .await
            .expect(200);
        assert_eq!(list["items"][0]["metadata"]["name"], "b");
        other
            .patch(&path, MERGE, labels.replace('1', "2"))
            .await
            .expect(200);
        assert!(other.stored("pods/default/a").await.starts_with(b"k8s\0"));
        let read = server.get(&path).await.expect(200);
        assert_eq!(read["metadata"]["labels"]["more"], "2");
    }
}

/// What was written is answered from the bytes that were stored, as a read is, where they have the form of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_as_a_read_of_it() {
    let containers =
        json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1500m"}}}]);
    let labels = json!({"app": "<&>"});
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}});
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let selector = json!({"matchLabels": {"app": "a"}});
    let namespaced = |group: &str, resource: &str| format!("{group}/namespaces/default/{resource}");
    let cases = [
        (
            namespaced("/api/v1", "pods"),
            json!({"containers": containers}),
        ),
        (
            namespaced("/api/v1", "services"),
            json!({"ports": [{"port": 80}]}),
        ),
        (
            namespaced("/apis/apps/v1", "deployments"),
            json!({"selector": selector, "template": template}),
        ),
        (
            namespaced("/apis/apps/v1", "statefulsets"),
            json!({"selector": selector, "template": template, "volumeClaimTemplates": [claim]}),
        ),
        // Stored as another version.
        (
            namespaced("/apis/autoscaling/v1", "horizontalpodautoscalers"),
            json!({"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}),
        ),
    ];
    let as_text = "--storage-media-type=application/json".to_owned();
    for flags in [Vec::new(), vec![as_text]] {
        let Some(server) = Server::start_with(&flags).await else {
            return;
        };
        server.namespace("default").await;
        for (media, name) in [
            (JSON, "j"),
            ("application/yaml", "y"),
            ("application/vnd.kubernetes.protobuf", "p"),
        ] {
            let sent = async |method, path: &str, kind, body: &Value| {
                let headers = [("content-type", kind), ("accept", media)];
                server.send(method, path, &headers, body.to_string()).await
            };
            for (path, spec) in &cases {
                let one = format!("{path}/{name}");
                let object =
                    json!({"metadata": {"name": name, "annotations": labels}, "spec": spec});
                let created = sent("POST", path, JSON, &object).await;
                assert_eq!(created.code, 201, "{path} {media}");
                assert_eq!(created.text, server.accept(&one, media).await.text, "{one}");
                let change = json!({"metadata": {"labels": {"b": "c"}}});
                let patched = sent("PATCH", &one, MERGE, &change).await;
                assert_eq!(patched.code, 200, "{one}");
                assert_ne!(patched.text, created.text, "{one}");
                assert_eq!(patched.text, server.accept(&one, media).await.text, "{one}");
                let unchanged = sent("PATCH", &one, MERGE, &change).await;
                assert_eq!(unchanged.text, patched.text, "{one}");
            }
        }
    }
}

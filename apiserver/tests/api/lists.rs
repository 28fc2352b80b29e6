//! Reading many: resource versions, selectors, pages, watches.

use serde_json::json;

use super::{CONFIG_MAPS, Server, config_map, events};

async fn filled(count: usize) -> Option<(Server, Vec<String>)> {
    let server = Server::start().await?;
    let mut versions = Vec::new();
    for n in 0..count {
        let mut object = config_map(&format!("m{n}"));
        object["metadata"]["labels"] =
            json!({"n": n.to_string(), "even": (n % 2 == 0).to_string()});
        let created = server.post(CONFIG_MAPS, object).await.expect(201);
        versions.push(
            created["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    Some((server, versions))
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_versions_choose_the_state_that_is_read() {
    let Some((server, versions)) = filled(3).await else {
        return;
    };
    let list = async |query: &str| server.get(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(names(&list("").await.expect(200)), ["m0", "m1", "m2"]);
    let exact = format!("resourceVersion={}&resourceVersionMatch=Exact", versions[1]);
    let old = list(&exact).await.expect(200);
    assert_eq!(names(&old), ["m0", "m1"]);
    assert_eq!(old["metadata"]["resourceVersion"], versions[1].as_str());
    let newer = format!(
        "resourceVersion={}&resourceVersionMatch=NotOlderThan",
        versions[0]
    );
    assert_eq!(names(&list(&newer).await.expect(200)).len(), 3);
    assert_eq!(list("resourceVersion=0").await.code, 200);
    let future = list("resourceVersion=99999999").await;
    assert_eq!(
        (
            future.code,
            future.json()["details"]["causes"][0]["reason"].as_str()
        ),
        (504, Some("ResourceVersionTooLarge"))
    );
    assert_eq!(list("resourceVersionMatch=Exact").await.code, 422);
    assert_eq!(
        list("resourceVersion=0&resourceVersionMatch=Exact")
            .await
            .code,
        422
    );
    assert_eq!(
        list("resourceVersion=1&resourceVersionMatch=Newer")
            .await
            .code,
        422
    );
    server
        .get(&format!("{CONFIG_MAPS}/m0?resourceVersion=abc"))
        .await
        .refuses(500, "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax");
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_choose_objects() {
    let Some((server, _)) = filled(4).await else {
        return;
    };
    let list = async |query: &str| server.get(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(
        names(&list("labelSelector=even%3Dtrue").await.expect(200)),
        ["m0", "m2"]
    );
    assert_eq!(
        names(&list("labelSelector=n+notin+(0,1)").await.expect(200)),
        ["m2", "m3"]
    );
    assert_eq!(
        names(&list("fieldSelector=metadata.name%3Dm3").await.expect(200)),
        ["m3"]
    );
    assert_eq!(
        names(
            &list("fieldSelector=metadata.name!%3Dm3,metadata.namespace%3Ddefault")
                .await
                .expect(200)
        ),
        ["m0", "m1", "m2"]
    );
    list("fieldSelector=data.a%3D1").await.refuses(
        400,
        "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
    assert_eq!(list("labelSelector=a+b").await.code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_state() {
    let Some((server, _)) = filled(5).await else {
        return;
    };
    let first = server
        .get(&format!("{CONFIG_MAPS}?limit=2"))
        .await
        .expect(200);
    assert_eq!(
        (
            names(&first),
            first["metadata"]["remainingItemCount"].as_i64()
        ),
        (vec!["m0", "m1"], Some(3))
    );
    server
        .delete(&format!("{CONFIG_MAPS}/m3"), json!({}))
        .await
        .expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server
        .get(&format!("{CONFIG_MAPS}?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&second), ["m2", "m3"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = server
        .get(&format!("{CONFIG_MAPS}?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&third), ["m4"]);
    assert!(third["metadata"]["continue"].is_null());
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}?continue=zz")).await.code,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_tell_what_happens_to_what_is_selected() {
    let Some((server, versions)) = filled(2).await else {
        return;
    };
    server
        .patch(
            &format!("{CONFIG_MAPS}/m0"),
            super::MERGE,
            r#"{"metadata":{"labels":{"even":"false"}}}"#,
        )
        .await
        .expect(200);
    server
        .delete(&format!("{CONFIG_MAPS}/m1"), json!({}))
        .await
        .expect(200);
    let watch = async |query: &str| {
        events(
            &server
                .get(&format!(
                    "{CONFIG_MAPS}?watch=true&timeoutSeconds=1&{query}"
                ))
                .await,
        )
    };
    let types = |events: &[serde_json::Value]| {
        events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let since = format!("resourceVersion={}", versions[0]);
    assert_eq!(
        types(&watch(&since).await),
        ["ADDED", "MODIFIED", "DELETED"]
    );
    // What leaves the selection is deleted for the watcher.
    assert_eq!(
        types(&watch(&format!("{since}&labelSelector=even%3Dtrue")).await),
        ["DELETED"]
    );
    assert_eq!(types(&watch("resourceVersion=0").await), ["ADDED"]);
    let streamed =
        watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
            .await;
    assert_eq!(types(&streamed), ["ADDED", "BOOKMARK"]);
    assert_eq!(
        streamed[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

/// Objects of a template are held and written with what they have in common: each has to come out as if it were alone.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_template_are_each_themselves() {
    let Some((server, _)) = filled(0).await else {
        return;
    };
    let name = |number: usize| format!("m{number:02}");
    // What is answered to a write is made of what was written.
    let mut alone = Vec::new();
    for number in 0..24 {
        let mut object = config_map(&name(number));
        let labels: serde_json::Map<_, _> = (0..12)
            .map(|label| (format!("example.com/template-{label}"), json!("x")))
            .collect();
        object["metadata"]["labels"] = labels.into();
        if number % 5 == 0 {
            object["data"]["own"] = json!("\u{2028}\n".repeat(number));
            object["binaryData"] = json!({"b": "AAE="});
        }
        let mut answer = server.post(CONFIG_MAPS, object).await.expect(201);
        if number % 3 == 0 {
            let patch = json!({
                "metadata": {"labels": {"example.com/template-3": null}},
                "data": {"number": number.to_string()}
            });
            let path = format!("{CONFIG_MAPS}/{}?fieldManager=other", name(number));
            let patched = server.patch(&path, super::MERGE, patch.to_string()).await;
            answer = patched.expect(200);
        }
        alone.push(answer);
    }
    for expected in &alone {
        let name = expected["metadata"]["name"].as_str().unwrap();
        let path = format!("{CONFIG_MAPS}/{name}");
        assert_eq!(&server.get(&path).await.expect(200), expected);
    }
    let mut items = alone.clone();
    for item in &mut items {
        let fields = item.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    let list = server.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(list["items"], json!(items));
    let cached = format!("{CONFIG_MAPS}?resourceVersion=0");
    assert_eq!(server.get(&cached).await.expect(200)["items"], json!(items));
    let pages = format!("{CONFIG_MAPS}?limit=20");
    let page = server.get(&pages).await.expect(200);
    assert_eq!(page["items"], json!(items[..20]));
    let watch = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0");
    let seen = events(&server.get(&watch).await);
    let objects: Vec<_> = seen.iter().map(|event| event["object"].clone()).collect();
    assert_eq!(objects, alone);
    let protobuf = server
        .accept(CONFIG_MAPS, "application/vnd.kubernetes.protobuf")
        .await;
    let envelope = api_types::decode_envelope(&protobuf.text).unwrap();
    let list: api_types::core::v1::ConfigMapList =
        api_types::decode_protobuf(envelope.raw).unwrap();
    assert_eq!(list.items.len(), 24);
    for (object, expected) in list.items.iter().zip(&alone) {
        let json: serde_json::Value =
            serde_json::from_slice(&api_types::encode_json(object)).unwrap();
        assert_eq!(&json, expected);
    }
}

/// Upstream's bookmarks are made of internal types, in which replicas are no pointer.
#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_of_workloads_are_not_quite_empty() {
    let Some((server, _)) = filled(0).await else {
        return;
    };
    for (resource, pointer, expected) in [
        ("deployments", "/spec/replicas", json!(0)),
        ("replicasets", "/spec/replicas", json!(0)),
        ("statefulsets", "/spec/replicas", json!(0)),
        (
            "daemonsets",
            "/metadata/annotations/deprecated.daemonset.template.generation",
            json!("0"),
        ),
    ] {
        let path = format!(
            "/apis/apps/v1/{resource}?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        );
        let seen = events(&server.get(&path).await);
        let bookmark = &seen.last().unwrap()["object"];
        assert_eq!(bookmark.pointer(pointer), Some(&expected), "{resource}");
    }
}

/// Upstream keeps no watch cache of events, and that shows.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_as_etcd_reads_them() {
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let Some((server, _)) = filled(0).await else {
        return;
    };
    for name in ["a", "b"] {
        let event = json!({
            "metadata": {"name": name},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        });
        server.post(EVENTS, event).await.expect(201);
    }
    let wrong = server.get(&format!("{EVENTS}/a?resourceVersion=x")).await;
    let refused = wrong.expect(400);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with("invalid resource version: "),
        "{message}"
    );
    // A limit counts, even where any version will do.
    for query in ["limit=1", "limit=1&resourceVersion=0"] {
        let page = server.get(&format!("{EVENTS}?{query}")).await.expect(200);
        let token = page["metadata"]["continue"].as_str().unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let shown = String::from_utf8(base64::Engine::decode(&engine, token).unwrap()).unwrap();
        assert!(shown.contains(r#""start":"a\u0000""#), "{shown}");
        // Either form is taken.
        let cached = shown.replace(r#""start":""#, r#""start":"/"#);
        for token in [token.to_owned(), base64::Engine::encode(&engine, cached)] {
            let path = format!("{EVENTS}?limit=1&continue={token}");
            assert_eq!(names(&server.get(&path).await.expect(200)), ["b"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_form_asked_for() {
    let Some((server, _)) = filled(1).await else {
        return;
    };
    let partial = server
        .accept(
            CONFIG_MAPS,
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        .await
        .expect(200);
    assert_eq!(
        (&partial["kind"], &partial["items"][0]["kind"]),
        (
            &json!("PartialObjectMetadataList"),
            &json!("PartialObjectMetadata")
        )
    );
    let yaml = server
        .accept(&format!("{CONFIG_MAPS}/m0"), "application/yaml")
        .await;
    assert!(
        yaml.text
            .starts_with(b"apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\n")
    );
    let cbor = server.accept(CONFIG_MAPS, "application/cbor").await;
    assert_eq!(cbor.code, 406);
    let pretty = server.get(&format!("{CONFIG_MAPS}/m0?pretty=true")).await;
    assert!(pretty.text.starts_with(b"{\n  \"kind\": \"ConfigMap\","));
    let large = "x".repeat(200 * 1024);
    server
        .post(
            CONFIG_MAPS,
            json!({"metadata": {"name": "large"}, "data": {"x": large}}),
        )
        .await
        .expect(201);
    let compressed = server
        .send("GET", CONFIG_MAPS, &[("accept-encoding", "gzip")], "")
        .await;
    assert_eq!(compressed.headers["content-encoding"], "gzip");
    assert!(compressed.text.len() < 20_000);
}

//! Custom resources from their definition to their objects. Upstream: apiextensions-apiserver/test/integration.

use serde_json::{Value, json};

use super::{APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Server};

pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

pub(super) fn definition() -> Value {
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "color": {"type": "string", "default": "red"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }, "x-kubernetes-validations": [
        {"rule": "self.size < 5 || self.color != 'red'", "message": "large things are not red"},
        {"rule": "self.size >= oldSelf.size", "message": "things do not shrink"},
    ]});
    let status = json!({"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList", "shortNames": ["th"]},
        "versions": [
            {"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "selectableFields": [{"jsonPath": ".spec.color"}]},
            {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}},
        ],
    }})
}

fn thing(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec})
}

/// Waits until the server serves, or no longer serves, the things of a version.
pub(super) async fn until_served(server: &Server, version: &str, served: bool) {
    let mut changes = server.inner().custom_resources.changes();
    let wait = async {
        while server
            .inner()
            .resources
            .get("example.com", version, "things")
            .is_some()
            != served
        {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), wait)
        .await
        .expect("the definition takes effect");
}

/// A server that serves things.
async fn start() -> Option<Server> {
    let server = Server::start().await?;
    apiserver::hooks::start(server.inner(), server.stop.clone());
    server.post(CRDS, definition()).await.expect(201);
    until_served(&server, "v1", true).await;
    Some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_what_their_schema_makes_of_them() {
    let Some(server) = start().await else { return };
    let created = server
        .post(
            THINGS,
            thing("a", json!({"size": 2, "unknown": 1, "free": {"x": 1.0}})),
        )
        .await;
    assert_eq!(
        created.headers["warning"],
        "299 - \"unknown field \\\"spec.unknown\\\"\""
    );
    let created = created.expect(201);
    assert_eq!(
        created["spec"],
        json!({"color": "red", "free": {"x": 1}, "size": 2})
    );
    assert_eq!(created["metadata"]["generation"], 1);
    let strict = format!("{THINGS}?fieldValidation=Strict");
    server
        .post(&strict, thing("b", json!({"size": 2, "unknown": 1})))
        .await
        .refuses(
            400,
            "Thing in version \"v1\" cannot be handled as a Thing: strict decoding error: unknown field \"spec.unknown\"",
        );
    server
        .post(THINGS, thing("b", json!({"size": 7})))
        .await
        .refuses(
            422,
            "Thing.example.com \"b\" is invalid: spec: Invalid value: large things are not red",
        );
    server
        .post(THINGS, thing("b", json!({})))
        .await
        .refuses(
            422,
            "Thing.example.com \"b\" is invalid: [spec.size: Required value, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]",
        );
    let path = format!("{THINGS}/a");
    server
        .patch(&path, MERGE, json!({"spec": {"size": 1}}).to_string())
        .await
        .refuses(
            422,
            "Thing.example.com \"a\" is invalid: spec: Invalid value: things do not shrink",
        );
    let strategic = server.patch(&path, STRATEGIC, "{}").await;
    assert_eq!(strategic.code, 415);
    let older = server.get(&path.replace("/v1/", "/v1beta1/")).await;
    assert_eq!(
        older.headers["warning"],
        "299 - \"example.com/v1beta1 Thing is deprecated; use example.com/v1 Thing\""
    );
    let older = older.expect(200);
    assert_eq!(older["apiVersion"], "example.com/v1beta1");
    assert_eq!(older["spec"], json!({"size": 2}));
    let protobuf = server
        .accept(&path, "application/vnd.kubernetes.protobuf")
        .await;
    assert_eq!(protobuf.code, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_bytes_are_those_of_upstream() {
    let Some(server) = start().await else { return };
    let created = server
        .post(
            THINGS,
            thing("a", json!({"size": 2, "free": {"z": "<", "b": 1e21}})),
        )
        .await
        .expect(201);
    let metadata = &created["metadata"];
    let resource = server
        .inner()
        .resources
        .get("example.com", "v1", "things")
        .unwrap();
    let storage = resource.storage().unwrap();
    let key = storage.key("default", "a").unwrap();
    assert_eq!(key.as_str(), "/registry/example.com/things/default/a");
    let stored = storage.get(&key, "").await.unwrap();
    let text = String::from_utf8(stored.value.to_vec()).unwrap();
    let entry = metadata["managedFields"][0]["fieldsV1"].to_string();
    let manager = metadata["managedFields"][0]["manager"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "{{\"apiVersion\":\"example.com/v1\",\"kind\":\"Thing\",\"metadata\":{{\"creationTimestamp\":{time},\"generation\":1,\"managedFields\":[{{\"apiVersion\":\"example.com/v1\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{entry},\"manager\":\"{manager}\",\"operation\":\"Update\",\"time\":{time}}}],\"name\":\"a\",\"namespace\":\"default\",\"uid\":{uid}}},\"spec\":{{\"color\":\"red\",\"free\":{{\"b\":1e+21,\"z\":\"\\u003c\"}},\"size\":2}}}}\n",
            time = metadata["creationTimestamp"],
            uid = metadata["uid"],
        )
    );
    // An update that changes nothing writes nothing.
    let again = server.put(&format!("{THINGS}/a"), created.clone()).await;
    assert_eq!(again.expect(200), created);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_scale_tables_and_selectors_follow_the_definition() {
    let Some(server) = start().await else { return };
    let with_status = |mut object: Value| {
        object["status"] = json!({"size": 9, "selector": "a=b"});
        object
    };
    let created = server
        .post(THINGS, with_status(thing("a", json!({"size": 2}))))
        .await
        .expect(201);
    assert_eq!(created["status"], Value::Null);
    server
        .post(THINGS, thing("b", json!({"size": 3, "color": "blue"})))
        .await
        .expect(201);
    let mut update = with_status(created);
    update["spec"]["size"] = json!(4);
    let updated = server
        .put(&format!("{THINGS}/a/status"), update)
        .await
        .expect(200);
    assert_eq!(updated["spec"]["size"], 2);
    assert_eq!(updated["status"]["size"], 9);
    assert_eq!(updated["metadata"]["generation"], 1);
    let scale = server
        .patch(
            &format!("{THINGS}/a/scale"),
            MERGE,
            r#"{"spec":{"replicas":3}}"#,
        )
        .await
        .expect(200);
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 9, "selector": "a=b"}));
    let blue = server
        .get(&format!("{THINGS}?fieldSelector=spec.color%3Dblue"))
        .await
        .expect(200);
    assert_eq!(blue["items"].as_array().unwrap().len(), 1);
    assert_eq!(blue["items"][0]["kind"], "Thing");
    let table = server.accept(THINGS, TABLE).await.expect(200);
    let names: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(names, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3]));
    let table = server
        .accept(&format!("{THINGS}/a/scale"), TABLE)
        .await
        .expect(200);
    let columns = table["columnDefinitions"].as_array().unwrap();
    let columns: Vec<Value> = columns
        .iter()
        .map(|column| json!([column["name"], column["type"], column["format"]]))
        .collect();
    let want = json!([
        ["Name", "string", "name"],
        ["Desired", "integer", ""],
        ["Available", "integer", ""],
        ["Age", "date", ""],
    ]);
    assert_eq!(json!(columns), want);
    let descriptions = [1, 2].map(|i| &table["columnDefinitions"][i]["description"]);
    assert_eq!(
        descriptions,
        ["Number of desired replicas", "Number of actual replicas"]
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("a"), json!(3), json!(9)]);
    let discovered = server.get("/apis/example.com/v1").await.expect(200);
    let names: Vec<&Value> = discovered["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| &resource["name"])
        .collect();
    assert_eq!(names, ["things", "things/status", "things/scale"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_own_the_fields_of_the_schema() {
    let Some(server) = start().await else { return };
    let path = format!("{THINGS}/a?fieldManager=");
    let apply = |manager: &str, spec: Value| {
        let path = format!("{path}{manager}");
        let body = thing("a", spec).to_string();
        let server = &server;
        async move { server.patch(&path, APPLY, body).await }
    };
    apply("one", json!({"size": 2, "color": "blue"}))
        .await
        .expect(201);
    assert_eq!(apply("two", json!({"size": 3})).await.code, 409);
    let applied = apply("one", json!({"size": 3})).await.expect(200);
    // What nobody applies any more is as if it had never been: here, the default.
    assert_eq!(applied["spec"], json!({"color": "red", "size": 3}));
    let unknown = apply("one", json!({"size": 3, "nonsense": 1})).await;
    assert_eq!(unknown.code, 500);
    assert!(
        unknown
            .message()
            .ends_with(".spec.nonsense: field not declared in schema")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_ends_its_watches_and_a_deleted_one_takes_its_objects() {
    let Some(server) = start().await else { return };
    server
        .post(THINGS, thing("a", json!({"size": 2})))
        .await
        .expect(201);
    let watch = format!("{THINGS}?watch=1&resourceVersion=0&timeoutSeconds=60");
    let crd = format!("{CRDS}/things.example.com");
    let unserved = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    let mut watched = server.open("GET", &watch, &[], "").await.into_body();
    let text = watched.next_chunk().await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(event["type"], "ADDED");
    server
        .patch(&crd, JSON_PATCH, unserved.to_string())
        .await
        .expect(200);
    assert_eq!(watched.collect(1 << 20).await.unwrap(), "");
    until_served(&server, "v1beta1", false).await;
    server
        .send("DELETE", &crd, &[("content-type", JSON)], "")
        .await
        .expect(200);
    until_served(&server, "v1", false).await;
    let gone = server.get(&format!("{THINGS}/a")).await;
    assert_eq!(
        (gone.code, &gone.text[..]),
        (404, &b"404 page not found\n"[..])
    );
    // The same names again have nothing of the old objects.
    server.post(CRDS, definition()).await.expect(201);
    until_served(&server, "v1", true).await;
    let list = server.get(THINGS).await.expect(200);
    assert_eq!(list["items"], json!([]));
}

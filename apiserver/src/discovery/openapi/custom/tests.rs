use serde_json::json;

use super::super::{Answer, OpenApi, Question, Regenerated};
use super::*;

const GROUP: &str = "stable.example.com";

/// A definition of crontabs with these versions.
fn crontabs(versions: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"},
            "versions": versions,
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    })
}

fn version(name: &str, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}})
}

fn typed(crd: &Value) -> apiextensions::CustomResourceDefinition {
    api_types::decode_json(crd.to_string().as_bytes()).expect("a CustomResourceDefinition")
}

fn documents() -> OpenApi {
    OpenApi::new(
        api_types::resources::RESOURCES.iter().filter(|row| {
            row.default_on && matches!(row.resource, "pods" | "replicationcontrollers")
        }),
    )
}

fn ask(api: &OpenApi, path: &str, accept: &str) -> Answer {
    let question = Question {
        path,
        accept,
        ..Question::default()
    };
    api.answer(&question).expect("an OpenAPI path")
}

fn get(api: &OpenApi, path: &str) -> Value {
    let answer = ask(api, path, "application/json");
    assert_eq!(answer.status, 200, "{path}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// What a schema of the field `f` is published as, in the two forms.
#[track_caller]
fn check(schema: Value, second: Value, third: Value) {
    let root = json!({"type": "object", "properties": {"f": schema}, "required": ["f"]});
    let crd = typed(&crontabs(&json!([version("v1", root)])));
    let api = documents();
    api.set_custom(&crd);
    let definition =
        get(&api, "/openapi/v2")["definitions"]["com.example.stable.v1.CronTab"].take();
    assert_eq!(definition["properties"]["f"], second, "form 2");
    let document = get(&api, "/openapi/v3/apis/stable.example.com/v1");
    let definition = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(definition["properties"]["f"], third, "form 3");
}

#[test]
fn schemas_are_published_as_each_form_can_say_them() {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let plain =
        json!({"type": "string", "title": "T", "maxLength": 0, "enum": ["a", ""], "pattern": "^a"});
    check(plain.clone(), plain.clone(), plain);
    check(
        json!({"type": "integer", "default": 3, "minimum": 1.5}),
        json!({"type": "integer", "minimum": 1.5}),
        json!({"type": "integer", "default": 3, "minimum": 1.5}),
    );
    check(
        json!({"type": "object", "nullable": true, "description": "d", "properties": {"a": {"type": "string"}}}),
        json!({"description": "d"}),
        json!({"type": "object", "nullable": true, "description": "d", "properties": {"a": {"type": "string"}}}),
    );
    check(
        json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string", "nullable": true}, "b": {"type": "string"},
        }}),
        json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
        json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string", "nullable": true}, "b": {"type": "string"},
        }}),
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "required": ["x"]}),
        json!({"type": "object", "additionalProperties": {}}),
        json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "required": ["x"]}),
    );
    check(
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}}),
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}}),
    );
    check(
        json!({"x-kubernetes-int-or-string": true, "pattern": "^1"}),
        json!({"x-kubernetes-int-or-string": true, "pattern": "^1"}),
        json!({"x-kubernetes-int-or-string": true, "pattern": "^1", "anyOf": either}),
    );
    check(
        json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
    );
    check(
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"maximum": 5.0}], "allOf": [{"minimum": 1.0}]}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"maximum": 5}],
            "allOf": [{"anyOf": either}, {"minimum": 1}],
        }),
    );
    check(
        json!({"type": "object", "not": {"required": ["a"]}, "oneOf": [{"properties": {"a": {"minLength": 1}}}]}),
        json!({"type": "object"}),
        json!({"type": "object", "not": {"required": ["a"]}, "oneOf": [{"properties": {"a": {"minLength": 1}}}]}),
    );
}

#[test]
fn objects_inside_get_what_every_object_has() {
    let schema = json!({"type": "object", "required": ["kind"], "x-kubernetes-embedded-resource": true,
        "properties": {"spec": {"type": "object"}}});
    let crd = typed(&crontabs(&json!([version(
        "v1",
        json!({"type": "object", "properties": {
            "whole": schema,
            "open": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }})
    )])));
    let api = documents();
    api.set_custom(&crd);
    let second = &get(&api, "/openapi/v2")["definitions"]["com.example.stable.v1.CronTab"];
    let whole = &second["properties"]["whole"];
    assert_eq!(whole["required"], json!(["kind", "apiVersion"]));
    assert_eq!(
        whole["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    assert_eq!(
        second["properties"]["open"],
        json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true})
    );
    let document = get(&api, "/openapi/v3/apis/stable.example.com/v1");
    let third = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    for name in ["whole", "open"] {
        let object = &third["properties"][name];
        assert_eq!(object["required"], json!(["kind", "apiVersion"]), "{name}");
        assert_eq!(
            object["properties"]["metadata"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        );
    }
}

#[test]
fn schemas_that_cannot_be_published_leave_the_kind_open() {
    let kind = json!([{"group": GROUP, "kind": "CronTab", "version": "v1"}]);
    let open = json!({"type": "object", "x-kubernetes-group-version-kind": kind});
    let field = json!({"type": "object", "properties": {"f": {"type": "string"}}});
    let mut preserving = field.clone();
    preserving["x-kubernetes-preserve-unknown-fields"] = true.into();
    let mut referring = field.clone();
    referring["properties"]["f"] = json!({"type": "array", "items": {"$ref": "#/x"}});
    for (schema, also_third) in [(preserving, false), (referring, true)] {
        let api = documents();
        api.set_custom(&typed(&crontabs(&json!([version("v1", schema)]))));
        let second = &get(&api, "/openapi/v2")["definitions"]["com.example.stable.v1.CronTab"];
        assert_eq!(second, &open);
        let document = get(&api, "/openapi/v3/apis/stable.example.com/v1");
        let third = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
        assert_eq!(third == &open, also_third);
    }
}

#[test]
fn each_version_is_structural_or_not() {
    let field = |ty: Value| json!({"type": "object", "properties": {"f": ty}});
    let string = json!({"type": "string"});
    let mut crd = crontabs(&json!([
        version("v1", field(string.clone())),
        version("v2", field(json!({"description": "no type"}))),
        version("v3", field(json!({"type": "text"}))),
    ]));
    let shown = |crd: &Value| {
        let api = documents();
        api.set_custom(&typed(crd));
        let second = get(&api, "/openapi/v2");
        ["v1", "v2", "v3"].map(|version| {
            let name = format!("com.example.stable.{version}.CronTab");
            let document = get(&api, &format!("/openapi/v3/apis/{GROUP}/{version}"));
            let third = &document["components"]["schemas"][&name];
            [&second["definitions"][&name], third].map(|it| it["properties"]["f"].clone())
        })
    };
    let nothing = [Value::Null, Value::Null];
    let want = [[string.clone(), string.clone()], nothing.clone(), nothing];
    assert_eq!(shown(&crd), want);
    // The condition is about all versions, and about what the second form alone cannot say.
    let conditions = crd["status"]["conditions"].as_array_mut();
    conditions
        .expect("conditions")
        .push(json!({"type": "NonStructuralSchema", "status": "True"}));
    assert_eq!(shown(&crd), want);
    crd["spec"]["preserveUnknownFields"] = json!(true);
    assert_eq!(shown(&crd)[0], [Value::Null, string]);
}

#[test]
fn built_in_paths_are_not_hidden() {
    let api = OpenApi::new(
        api_types::resources::RESOURCES
            .iter()
            .filter(|row| row.default_on && row.group == "networking.k8s.io"),
    );
    let before = get(&api, "/openapi/v2");
    let add = |plural: &str, kind: &str| {
        let mut crd = crontabs(&json!([version("v1", json!({"type": "object"}))]));
        crd["metadata"]["name"] = json!(format!("{plural}.networking.k8s.io"));
        crd["spec"]["group"] = json!("networking.k8s.io");
        crd["spec"]["names"] =
            json!({"plural": plural, "kind": kind, "listKind": format!("{kind}List")});
        api.set_custom(&typed(&crd));
    };
    for (plural, kind) in [
        ("foos", "Foo"),
        ("ingresses", "Ingress"),
        ("ipaddresses", "IPAddress"),
    ] {
        add(plural, kind);
    }
    let text = ask(&api, "/openapi/v2", "application/json").body;
    let text = String::from_utf8(text).expect("text");
    let after: Value = serde_json::from_str(&text).expect("JSON");
    let added = |table: &str| -> Vec<String> {
        let (before, after) = (&before[table], after[table].as_object().expect("a table"));
        let new = after
            .iter()
            .filter(|(name, value)| match before.get(*name) {
                Some(known) => {
                    assert_eq!(known, *value, "{name}");
                    assert_eq!(text.matches(&format!("{name:?}:{{")).count(), 1, "{name}");
                    false
                }
                None => true,
            });
        new.map(|(name, _)| name.clone()).collect()
    };
    let base = "/apis/networking.k8s.io/v1";
    let namespaced = format!("{base}/namespaces/{{namespace}}");
    assert_eq!(
        added("paths"),
        [
            format!("{base}/foos"),
            format!("{namespaced}/foos"),
            format!("{namespaced}/foos/{{name}}"),
            format!("{namespaced}/ipaddresses"),
            format!("{namespaced}/ipaddresses/{{name}}"),
        ]
    );
    let kinds = ["Foo", "FooList", "IPAddress", "IPAddressList"];
    let kinds = kinds.map(|kind| format!("io.k8s.networking.v1.{kind}"));
    assert_eq!(added("definitions"), kinds);
}

#[test]
fn operations_are_those_of_the_resource() {
    let mut served = version("v1", json!({"type": "object"}));
    served["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}});
    served["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    let api = documents();
    api.set_custom(&typed(&crontabs(&json!([served]))));
    let document = get(&api, "/openapi/v3/apis/stable.example.com/v1");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            if let Some(id) = operation["operationId"].as_str() {
                let path = path
                    .strip_prefix("/apis/stable.example.com/v1/")
                    .expect("in the group version");
                operations.push(format!("{method} {path} {id}"));
            }
        }
    }
    let own = "namespaces/{namespace}/crontabs";
    let expected: Vec<String> = [
        "get crontabs listStableExampleComV1CronTabForAllNamespaces".to_owned(),
        format!("delete {own} deleteStableExampleComV1CollectionNamespacedCronTab"),
        format!("get {own} listStableExampleComV1NamespacedCronTab"),
        format!("post {own} createStableExampleComV1NamespacedCronTab"),
        format!("delete {own}/{{name}} deleteStableExampleComV1NamespacedCronTab"),
        format!("get {own}/{{name}} readStableExampleComV1NamespacedCronTab"),
        format!("patch {own}/{{name}} patchStableExampleComV1NamespacedCronTab"),
        format!("put {own}/{{name}} replaceStableExampleComV1NamespacedCronTab"),
        format!("get {own}/{{name}}/scale readStableExampleComV1NamespacedCronTabScale"),
        format!("patch {own}/{{name}}/scale patchStableExampleComV1NamespacedCronTabScale"),
        format!("put {own}/{{name}}/scale replaceStableExampleComV1NamespacedCronTabScale"),
        format!("get {own}/{{name}}/status readStableExampleComV1NamespacedCronTabStatus"),
        format!("patch {own}/{{name}}/status patchStableExampleComV1NamespacedCronTabStatus"),
        format!("put {own}/{{name}}/status replaceStableExampleComV1NamespacedCronTabStatus"),
    ]
    .into();
    assert_eq!(operations, expected);
    let item =
        &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"];
    assert_eq!(item["delete"]["description"], "delete a CronTab");
    assert_eq!(item["delete"]["requestBody"]["required"], Value::Null);
    let media_types: Vec<&String> = item["patch"]["requestBody"]["content"]
        .as_object()
        .expect("content")
        .keys()
        .collect();
    assert_eq!(
        media_types,
        [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json"
        ]
    );
    for kind in ["CronTab", "CronTabList"] {
        let definition =
            &document["components"]["schemas"][format!("com.example.stable.v1.{kind}")];
        assert_eq!(
            definition["x-kubernetes-selectable-fields"],
            json!([{"fieldPath": "spec.color"}])
        );
    }
    assert!(document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"].is_object());
}

#[test]
fn names_become_identifiers() {
    let api = documents();
    let mut crd = crontabs(&json!([version("v1-beta", json!({"type": "object"}))]));
    crd["spec"]["group"] = "my-group.1st.example.com".into();
    crd["spec"]["names"]["kind"] = "e2e-test-crd".into();
    api.set_custom(&typed(&crd));
    let document = get(&api, "/openapi/v3/apis/my-group.1st.example.com/v1-beta");
    let list = &document["paths"]["/apis/my-group.1st.example.com/v1-beta/crontabs"]["get"];
    assert_eq!(
        list["operationId"],
        "listMyGroup1stExampleComV1BetaE2eTestCrdForAllNamespaces"
    );
    assert_eq!(list["tags"], json!(["myGroup1stExampleCom_v1Beta"]));
}

#[test]
fn every_reference_has_its_definition() {
    fn walk(value: &Value, on: &mut dyn FnMut(&str)) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, member)| match member {
                Value::String(text) if key == "$ref" => on(text),
                member => walk(member, on),
            }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, on)),
            _ => {}
        }
    }
    let api = documents();
    let mut served = version("v1", json!({"type": "object"}));
    served["subresources"] =
        json!({"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}});
    api.set_custom(&typed(&crontabs(&json!([served]))));
    for path in ["/openapi/v2", "/openapi/v3/apis/stable.example.com/v1"] {
        let document = get(&api, path);
        walk(&document, &mut |reference| {
            let pointer = reference.strip_prefix('#').expect("local");
            assert!(document.pointer(pointer).is_some(), "{path}: {reference}");
        });
    }
}

#[test]
fn documents_follow_the_definitions() {
    let api = documents();
    let names = |api: &OpenApi| -> Vec<String> {
        let second = get(api, "/openapi/v2");
        let index = get(api, "/openapi/v3");
        let definitions = second["definitions"]
            .as_object()
            .expect("definitions")
            .keys();
        let listed = index["paths"].as_object().expect("paths").keys();
        definitions
            .chain(listed)
            .filter(|name| name.contains("example"))
            .cloned()
            .collect()
    };
    let tag = |api: &OpenApi| -> String {
        let answer = ask(api, "/openapi/v2", "");
        let tag = answer.headers.iter().find(|(name, _)| *name == "etag");
        tag.expect("tagged").1.clone()
    };
    let schema = || json!({"type": "object"});
    let built_in = tag(&api);
    let mut crd = crontabs(&json!([version("v1", schema()), version("v2", schema())]));
    let established = crd["status"].take();
    api.set_custom(&typed(&crd));
    assert_eq!((names(&api), tag(&api)), (Vec::new(), built_in.clone()));

    crd["status"] = established;
    api.set_custom(&typed(&crd));
    let both = [
        "com.example.stable.v1.CronTab",
        "com.example.stable.v1.CronTabList",
        "com.example.stable.v2.CronTab",
        "com.example.stable.v2.CronTabList",
        "apis/stable.example.com/v1",
        "apis/stable.example.com/v2",
    ];
    assert_eq!(names(&api), both);
    let first = tag(&api);
    assert_ne!(first, built_in);
    api.set_custom(&typed(&crd));
    assert_eq!(tag(&api), first);

    crd["spec"]["versions"][1]["name"] = "v3".into();
    crd["spec"]["versions"][0]["served"] = false.into();
    api.set_custom(&typed(&crd));
    let renamed = [
        "com.example.stable.v3.CronTab",
        "com.example.stable.v3.CronTabList",
        "apis/stable.example.com/v3",
    ];
    assert_eq!(names(&api), renamed);
    assert_ne!(tag(&api), first);

    api.remove_custom("crontabs.stable.example.com");
    assert_eq!((names(&api), tag(&api)), (Vec::new(), built_in));
}

#[test]
fn resources_of_a_group_version_share_a_document() {
    let api = documents();
    let crontabs = crontabs(&json!([version("v1", json!({"type": "object"}))]));
    let mut apples = crontabs.clone();
    apples["metadata"]["name"] = "apples.stable.example.com".into();
    apples["spec"]["scope"] = "Cluster".into();
    apples["spec"]["names"] = json!({"plural": "apples", "kind": "Apple", "listKind": "AppleList"});
    let regenerated = |reason, third: &[&'static str]| {
        let name = "apis/stable.example.com/v1".to_owned();
        let third = third.iter().map(|reason| (name.clone(), *reason));
        Some(Regenerated {
            reason,
            third: third.collect(),
        })
    };
    let made = api.set_custom(&typed(&crontabs));
    assert_eq!(made, regenerated("add", &["add"]));
    assert_eq!(api.set_custom(&typed(&crontabs)), None);
    let alone = get(&api, "/openapi/v3/apis/stable.example.com/v1");
    let made = api.set_custom(&typed(&apples));
    assert_eq!(made, regenerated("add", &["update"]));
    let document = get(&api, "/openapi/v3/apis/stable.example.com/v1");
    for kind in ["CronTab", "CronTabList", "Apple", "AppleList"] {
        let name = format!("com.example.stable.v1.{kind}");
        assert!(
            document["components"]["schemas"][&name].is_object(),
            "{kind}"
        );
    }
    assert_eq!(
        document["paths"]["/apis/stable.example.com/v1/apples"]["post"]["description"],
        "create an Apple"
    );
    let made = api.remove_custom("apples.stable.example.com");
    assert_eq!(made, regenerated("remove", &["remove"]));
    assert_eq!(get(&api, "/openapi/v3/apis/stable.example.com/v1"), alone);
}

#[test]
fn the_protobuf_form_has_the_additions_at_its_end() {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let api = documents();
    let built_in = ask(&api, "/openapi/v2", PROTOBUF).body;
    let crd = typed(&crontabs(&json!([version(
        "v1",
        json!({"type": "object"})
    )])));
    api.set_custom(&crd);
    let merged = ask(&api, "/openapi/v2", PROTOBUF).body;
    let added = merged.strip_prefix(&built_in[..]).expect("appended");
    let custom = Custom::new(&crd).expect("established");
    assert_eq!(added, custom.second_protobuf().text());
    // Field 8 of the document: paths.
    assert_eq!(added.first(), Some(&0x42));
}

#[test]
fn a_resource_costs_little_memory() {
    let fields: serde_json::Map<String, Value> = (0..200)
        .map(|index| {
            let description = format!("What the field of number {index} is about.");
            (
                format!("field{index}"),
                json!({"type": "string", "description": description}),
            )
        })
        .collect();
    let mut served = version("v1", json!({"type": "object", "properties": fields}));
    served["subresources"] = json!({"status": {}});
    let custom = Custom::new(&typed(&crontabs(&json!([served])))).expect("established");
    let second = custom.second();
    let third = custom
        .third("apis/stable.example.com/v1")
        .expect("a served version");
    let size: usize = [
        &custom.spec,
        &second.paths,
        &second.definitions,
        &custom.second_protobuf(),
        &third.schemas,
        &third.paths,
    ]
    .into_iter()
    .map(Piece::size)
    .sum();
    assert!(size < 32 * 1024, "{size} bytes");
}

//! Writing one: patches, validation of fields, conflicts, deletion.

use serde_json::{Value, json};

use super::{APPLY, CONFIG_MAPS, JSON, JSON_PATCH, MERGE, STRATEGIC, Server, config_map};

/// A certificate request, base64 of PEM.
pub(super) fn csr() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::<String>::new())
        .unwrap()
        .serialize_request(&key)
        .unwrap();
    base64::engine::general_purpose::STANDARD.encode(request.pem().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_every_kind() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let merged = server
        .patch(&path, MERGE, r#"{"data":{"b":"2","a":null}}"#)
        .await
        .expect(200);
    assert_eq!(merged["data"], json!({"b": "2"}));
    let edited = server
        .patch(
            &path,
            JSON_PATCH,
            r#"[{"op":"add","path":"/data/c","value":"3"}]"#,
        )
        .await
        .expect(200);
    assert_eq!(edited["data"], json!({"b": "2", "c": "3"}));
    let replaced = server
        .patch(&path, STRATEGIC, r#"{"data":{"$patch":"replace","d":"4"}}"#)
        .await
        .expect(200);
    assert_eq!(replaced["data"], json!({"d": "4"}));
    let applied = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";
    server
        .patch(&format!("{CONFIG_MAPS}/b?fieldManager=one"), APPLY, applied)
        .await
        .expect(201);
    let conflict = server
        .patch(
            &format!("{CONFIG_MAPS}/b?fieldManager=two"),
            APPLY,
            applied.replace("k: v", "k: w"),
        )
        .await;
    conflict.refuses(
        409,
        "Apply failed with 1 conflict: conflict with \"one\": .data.k",
    );
    let forced = server
        .patch(
            &format!("{CONFIG_MAPS}/b?fieldManager=two&force=true"),
            APPLY,
            applied.replace("k: v", "k: w"),
        )
        .await;
    assert_eq!(
        forced.expect(200)["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    server
        .patch(&path, JSON, "{}")
        .await
        .refuses(415, "415: Unsupported Media Type");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_refused_or_warned_about() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut object = config_map("a");
    object["foo"] = 1.into();
    let post = async |query: &str| {
        server
            .post(&format!("{CONFIG_MAPS}?dryRun=All&{query}"), object.clone())
            .await
    };
    post("fieldValidation=Strict").await.refuses(
        400,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\"",
    );
    let warned = post("fieldValidation=Warn").await;
    assert_eq!(
        warned.headers["warning"],
        "299 - \"unknown field \\\"foo\\\"\""
    );
    warned.expect(201);
    let ignored = post("fieldValidation=Ignore").await;
    assert!(!ignored.headers.contains_key("warning"));
    ignored.expect(201);
    let twice = r#"{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}"#;
    server
        .send("POST", &format!("{CONFIG_MAPS}?fieldValidation=Strict"), &[("content-type", JSON)], twice)
        .await
        .refuses(400, "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data.a\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_upstreams_words() {
    let Some(server) = Server::start().await else {
        return;
    };
    let created = server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    server
        .post(CONFIG_MAPS, config_map("a"))
        .await
        .refuses(409, "configmaps \"a\" already exists");
    server
        .get(&format!("{CONFIG_MAPS}/b"))
        .await
        .refuses(404, "configmaps \"b\" not found");
    server.put(&path, config_map("b")).await.refuses(
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    );
    let mut other = config_map("c");
    other["metadata"]["namespace"] = "other".into();
    server.post(CONFIG_MAPS, other).await.refuses(
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    let mut stale = created.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    server.put(&path, stale).await.refuses(
        409,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let mut versioned = config_map("v");
    versioned["metadata"]["resourceVersion"] = "5".into();
    server.post(CONFIG_MAPS, versioned).await.refuses(
        500,
        "resourceVersion should not be set on objects to be created",
    );
    let large = "x".repeat(3 * 1024 * 1024 + 1);
    let too_large = server
        .send("POST", CONFIG_MAPS, &[("content-type", JSON)], large)
        .await;
    too_large.refuses(413, "Request entity too large: limit is 3145728");
    let text = server
        .send("POST", CONFIG_MAPS, &[("content-type", "text/plain")], "{}")
        .await;
    assert_eq!(text.code, 415);
    server
        .send("POST", "/api/v1/configmaps", &[], "{}")
        .await
        .refuses(
            405,
            "the server does not allow this method on the requested resource",
        );
    assert_eq!(
        server.get("/apis/nope/v1/x").await.text,
        b"404 page not found\n"
    );
    server
        .get("/api/v1/nope")
        .await
        .refuses(404, "the server could not find the requested resource");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_made_up_and_tried_runs_leave_nothing() {
    let Some(server) = Server::start().await else {
        return;
    };
    let made = server
        .post(CONFIG_MAPS, json!({"metadata": {"generateName": "g-"}}))
        .await
        .expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("g-") && name.len() == 7);
    server
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("dry"))
        .await
        .expect(201);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/dry")).await.code, 404);
    let path = format!("{CONFIG_MAPS}/{name}");
    server
        .delete(&format!("{path}?dryRun=All"), json!({"dryRun": ["All"]}))
        .await
        .expect(200);
    assert_eq!(server.get(&path).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_waits_for_finalizers_and_minds_preconditions() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["a.b/c"]);
    server.post(CONFIG_MAPS, object).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let wrong = server
        .delete(&path, json!({"preconditions": {"uid": "x"}}))
        .await;
    assert_eq!(
        (wrong.code, wrong.json()["reason"].as_str()),
        (409, Some("Conflict"))
    );
    let waiting = server.delete(&path, json!({})).await.expect(200);
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(server.get(&path).await.code, 200);
    server.post(CONFIG_MAPS, config_map("a")).await.refuses(
        409,
        "object is being deleted: configmaps \"a\" already exists",
    );
    server
        .patch(&path, MERGE, r#"{"metadata":{"finalizers":null}}"#)
        .await
        .expect(200);
    assert_eq!(server.get(&path).await.code, 404);
    for n in 0..3 {
        server
            .post(CONFIG_MAPS, config_map(&format!("c{n}")))
            .await
            .expect(201);
    }
    let list = server.delete(CONFIG_MAPS, json!({})).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!(
        server.get(CONFIG_MAPS).await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_policies_become_finalizers() {
    let Some(server) = Server::start().await else {
        return;
    };
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
        let path = format!("{CONFIG_MAPS}/a");
        let waiting = server
            .delete(&path, json!({"propagationPolicy": policy}))
            .await
            .expect(200);
        assert_eq!(waiting["metadata"]["finalizers"], json!([finalizer]));
        server
            .patch(&path, MERGE, r#"{"metadata":{"finalizers":[]}}"#)
            .await
            .expect(200);
        assert_eq!(server.get(&path).await.code, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_delete_a_collection() {
    let flags = ["--delete-collection-workers=4".to_owned()];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    for n in 0..20 {
        let object = config_map(&format!("m{n}"));
        server.post(CONFIG_MAPS, object).await.expect(201);
    }
    let selected = format!("{CONFIG_MAPS}?fieldSelector=metadata.name%21%3Dm7");
    let deleted = server.delete(&selected, json!({})).await.expect(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 19);
    let left = server.get(CONFIG_MAPS).await.expect(200);
    let left = left["items"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["metadata"]["name"], "m7");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lists_that_mean_something() {
    const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";
    let Some(server) = Server::start().await else {
        return;
    };
    let managers = |object: &serde_json::Value| object["metadata"]["managedFields"].clone();
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    // Clients that know nothing of the managers keep them.
    let kept = server
        .patch(&path, MERGE, r#"{"metadata":{"managedFields":null}}"#)
        .await;
    assert!(managers(&kept.expect(200)).is_array());
    let reset = server
        .patch(&path, MERGE, r#"{"metadata":{"managedFields":[]}}"#)
        .await;
    assert!(managers(&reset.expect(200)).is_null());

    // Merged by its items and always written, a list belongs to who sent it without any.
    for (name, drivers, owned) in [("sent", json!([]), true), ("none", json!(null), false)] {
        let node = json!({"metadata": {"name": name}, "spec": {"drivers": drivers}});
        let made = server.post(CSI_NODES, node).await.expect(201);
        assert_eq!(made["spec"]["drivers"], json!(null), "as it is stored");
        let field = made.pointer("/metadata/managedFields/0/fieldsV1/f:spec/f:drivers");
        assert_eq!(field.is_some(), owned, "{name}: {made}");
    }

    // Rules without policies are not those that say nothing of them.
    let autoscalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let autoscaler = |rules: serde_json::Value| {
        json!({
            "metadata": {"name": "a"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"},
                "maxReplicas": 2,
                "behavior": {"scaleUp": rules},
            },
        })
    };
    let none = autoscaler(json!({"policies": []}));
    server.post(autoscalers, none).await.refuses(
        422,
        "HorizontalPodAutoscaler.autoscaling \"a\" is invalid: spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
    );
    let made = server.post(autoscalers, autoscaler(json!({}))).await;
    let made = made.expect(201);
    let policies = &made["spec"]["behavior"]["scaleUp"]["policies"];
    assert_eq!(policies.as_array().map(Vec::len), Some(2));

    // A policy that says of a list that it is empty is another one each time.
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = |spec: serde_json::Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let plain = policy(json!({"podSelector": {}}));
    server.post(policies, plain.clone()).await.expect(201);
    let path = format!("{policies}/a");
    let empty = policy(json!({"podSelector": {}, "egress": []}));
    let no_labels = policy(json!({"podSelector": {"matchLabels": {}}}));
    for (body, generation) in [
        (&plain, 1),
        (&empty, 2),
        (&empty, 3),
        (&no_labels, 4),
        (&plain, 4),
    ] {
        let now = server.put(&path, body.clone()).await.expect(200);
        assert_eq!(now["metadata"]["generation"], json!(generation), "{body}");
    }
}

/// Classes of the system stay, unless the whole collection is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn system_priority_classes_are_not_deleted() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let system = ["system-cluster-critical", "system-node-critical"];
    for name in system {
        // With names like these there are no others, so a missing one is refused as well.
        server.delete(&format!("{classes}/{name}"), json!({})).await.refuses(
            403,
            &format!("priorityclasses.scheduling.k8s.io \"{name}\" is forbidden: this is a system priority class and cannot be deleted"),
        );
    }
    let value = 2_000_000_000;
    let class = json!({"metadata": {"name": system[0]}, "value": value});
    server.post(classes, class).await.expect(201);
    let class = json!({"metadata": {"name": "mine"}, "value": 1});
    server.post(classes, class).await.expect(201);
    server
        .delete(&format!("{classes}/mine"), json!({}))
        .await
        .expect(200);
    server.delete(classes, json!({})).await.expect(200);
    let path = format!("{classes}/{}", system[0]);
    assert_eq!(server.get(&path).await.code, 404);
}

/// Errors show an empty list or map that was sent, by whatever kind of request, and null where nothing was.
#[tokio::test]
async fn errors_show_what_a_patch_leaves_empty() {
    let Some(server) = Server::start().await else {
        return;
    };
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = |name: &str, labels: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        })
    };
    let made = deployment("made", json!({"a": "b"}));
    server.post(deployments, made).await.expect(201);
    let made = format!("{deployments}/made");
    let merge =
        |labels: Value| json!({"spec": {"template": {"metadata": {"labels": labels}}}}).to_string();
    let remove =
        |at: &str| json!([{"op": "remove", "path": format!("/spec/template/metadata/labels{at}")}]);
    let applied = format!("{deployments}/applied?fieldManager=m");
    for (path, kind, patch, shown) in [
        (&made, MERGE, merge(json!({"a": null})), "{}"),
        (&made, MERGE, merge(Value::Null), "null"),
        (&made, STRATEGIC, merge(json!({"a": null})), "{}"),
        (&made, STRATEGIC, merge(Value::Null), "null"),
        (&made, JSON_PATCH, remove("/a").to_string(), "{}"),
        (&made, JSON_PATCH, remove("").to_string(), "null"),
        (
            &applied,
            APPLY,
            deployment("applied", json!({})).to_string(),
            "{}",
        ),
    ] {
        let refused = server.patch(path, kind, patch.clone()).await;
        assert_eq!(refused.code, 422, "{patch}");
        let name = if path == &made { "made" } else { "applied" };
        assert_eq!(
            refused.json()["message"],
            format!(
                "Deployment.apps \"{name}\" is invalid: spec.template.metadata.labels: Invalid value: {shown}: `selector` does not match template `labels`"
            ),
            "{kind} {patch}"
        );
    }
}

/// As upstream, the phase of a new claim is not stored but a default for who reads it, so that the first update changes something.
#[tokio::test]
async fn the_phase_of_a_new_claim_is_a_default() {
    let Some(server) = Server::start().await else {
        return;
    };
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
    .to_string();
    let path = format!("{claims}/c?fieldManager=m");
    let mut versions = Vec::new();
    for code in [201, 200, 200] {
        let applied = server.patch(&path, APPLY, claim.clone()).await.expect(code);
        assert_eq!(applied["status"]["phase"], "Pending");
        versions.push(applied["metadata"]["resourceVersion"].clone());
        let read = server.get(&format!("{claims}/c")).await.expect(200);
        assert_eq!(read["status"], applied["status"]);
        let listed = server.get(claims).await.expect(200);
        assert_eq!(listed["items"][0]["status"], applied["status"]);
    }
    assert_ne!(versions[0], versions[1]);
    assert_eq!(versions[1], versions[2]);
}

/// As upstream, an autoscaler of v1 is stored without the defaults that v2 has for its behavior: who reads it has them, and each update
/// writes until they are written.
#[tokio::test]
async fn an_autoscaler_of_v1_is_stored_without_the_defaults_of_v2() {
    let Some(server) = Server::start().await else {
        return;
    };
    let of = |version: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers")
    };
    let behavior = "autoscaling.alpha.kubernetes.io/behavior";
    let policies = r#"{"ScaleUp":{"Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":5}]}}"#;
    let sent = json!({
        "metadata": {"name": "a", "annotations": {behavior: policies}},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    let made = server.post(&of("v1"), sent.clone()).await.expect(201);
    let shown = made["metadata"]["annotations"][behavior].as_str().unwrap();
    assert!(
        shown.contains(r#""StabilizationWindowSeconds":0,"SelectPolicy":"Max""#),
        "{shown}"
    );
    let read = server.get(&format!("{}/a", of("v2"))).await.expect(200);
    assert_eq!(read["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Max");
    assert_eq!(
        read["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );

    let path = format!("{}/a", of("v1"));
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let first = server.put(&path, sent.clone()).await.expect(200);
    assert_ne!(version(&first), version(&made));
    let second = server.put(&path, sent).await.expect(200);
    assert_ne!(version(&second), version(&first));
    // What was read has the defaults.
    let third = server.put(&path, second.clone()).await.expect(200);
    assert_ne!(version(&third), version(&second));
    let fourth = server.put(&path, third.clone()).await.expect(200);
    assert_eq!(version(&fourth), version(&third));
}

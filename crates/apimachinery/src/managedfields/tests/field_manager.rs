use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Time;
use api_types::meta::v1::ManagedFieldsEntry;
use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;

/// An object with its field manager, as a store would keep it.
struct Stored {
    fields: FieldManager,
    live: Value,
    clock: i64,
}

impl Stored {
    fn new(kind: GroupVersionKind) -> Self {
        Self::with_subresource(kind, "", BTreeMap::new())
    }

    fn with_subresource(
        kind: GroupVersionKind,
        subresource: &str,
        reset: BTreeMap<String, Filter>,
    ) -> Self {
        let types = BuiltInTypes::single_version(kind.kind.clone());
        let live = types.empty_object(&kind.api_version());
        Self {
            fields: FieldManager::new(kind, subresource, Arc::new(types), reset),
            live,
            clock: 0,
        }
    }

    fn deployment() -> Self {
        Self::new(GroupVersionKind::new("apps", "v1", "Deployment"))
    }

    fn now(&mut self) -> Time {
        self.clock += 1;
        time(self.clock)
    }

    fn store(&mut self, mut object: Value, entries: &[ManagedFieldsEntry]) {
        let entries: Vec<Value> = entries
            .iter()
            .map(|entry| serde_json::from_slice(&api_types::encode_json(entry)).expect("JSON"))
            .collect();
        object["metadata"]["managedFields"] = Value::from(entries);
        object["metadata"]["uid"] = Value::from("1");
        self.live = object;
    }

    #[track_caller]
    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut new = self.live.clone();
        change(&mut new);
        let now = self.now();
        let entries = self
            .fields
            .update(&self.live, &new, manager, now)
            .expect("update");
        self.store(new, &entries);
    }

    fn try_apply(
        &mut self,
        manager: &str,
        config: &Value,
        force: bool,
    ) -> Result<Applied, ApplyError> {
        let now = self.now();
        let applied = self.fields.apply(&self.live, config, manager, force, now)?;
        self.store(applied.object.clone(), &applied.managed_fields);
        Ok(applied)
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, config: Value) -> Applied {
        self.try_apply(manager, &config, false).expect("apply")
    }

    fn entries(&self) -> Vec<ManagedFieldsEntry> {
        super::super::entries::entries_of(&self.live).unwrap_or_default()
    }

    /// `manager/operation: fields` of every entry.
    fn owners(&self) -> Vec<String> {
        self.entries()
            .iter()
            .map(|entry| {
                let set = entry
                    .fields_v1
                    .as_ref()
                    .map(|fields| Set::parse(fields).expect("fields"))
                    .unwrap_or_default();
                format!(
                    "{}/{}: {}",
                    entry.manager,
                    entry.operation,
                    paths(&set).join(" ")
                )
            })
            .collect()
    }
}

fn time(seconds: i64) -> Time {
    Time::parse(&format!(
        "2024-01-01T00:{:02}:{:02}Z",
        seconds / 60,
        seconds % 60
    ))
    .expect("time")
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec})
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data})
}

fn config_maps() -> Stored {
    Stored::new(GroupVersionKind::new("", "v1", "ConfigMap"))
}

#[test]
fn a_created_deployment_has_the_fields_that_clusters_show() {
    let mut stored = Stored::deployment();
    // What `kubectl create deployment` makes, as the typed object is written after defaulting.
    let object: api_types::apps::v1::Deployment = api_types::decode_json(
        json!({
            "metadata": {"name": "nginx", "namespace": "default", "uid": "1", "generation": 1, "labels": {"app": "nginx"},
                "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {
                "progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "nginx"}},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
                "template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {
                    "containers": [{"name": "nginx", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30,
                }},
            },
        })
        .to_string()
        .as_bytes(),
    )
    .expect("a Deployment");
    let new: Value = serde_json::from_slice(&api_types::encode_json(&object)).expect("JSON");
    let entries = stored
        .fields
        .update(&stored.live, &new, "kubectl-create", time(1))
        .expect("update");
    assert_eq!(entries.len(), 1);
    let ManagedFieldsEntry {
        manager,
        operation,
        api_version,
        time: at,
        fields_type,
        fields_v1,
        subresource,
    } = &entries[0];
    assert_eq!(
        (manager.as_str(), operation.as_str(), api_version.as_str()),
        ("kubectl-create", "Update", "apps/v1")
    );
    assert_eq!(
        (*at, fields_type.as_str(), subresource.as_str()),
        (Some(time(1)), "FieldsV1", "")
    );
    let want = concat!(
        r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{},"#,
        r#""f:revisionHistoryLimit":{},"f:selector":{},"f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{},"#,
        r#""f:maxUnavailable":{}},"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"#,
        r#""f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"#,
        r#""f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"#,
        r#""f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#,
    );
    assert_eq!(
        std::str::from_utf8(&fields_v1.as_ref().expect("fields").raw),
        Ok(want)
    );
    stored.store(new, &entries);

    // The controller writes the status through the subresource.
    let mut status = Stored::with_subresource(
        GroupVersionKind::new("apps", "v1", "Deployment"),
        "status",
        BTreeMap::new(),
    );
    status.live = stored.live.clone();
    let mut new = status.live.clone();
    new["status"] =
        json!({"conditions": [{"type": "Available", "status": "True"}], "observedGeneration": 1});
    let entries = status
        .fields
        .update(&status.live, &new, "kube-controller-manager", time(2))
        .expect("update");
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (entries[1].manager.as_str(), entries[1].subresource.as_str()),
        ("kube-controller-manager", "status")
    );
    assert_eq!(
        std::str::from_utf8(&entries[1].fields_v1.as_ref().expect("fields").raw),
        Ok(
            r#"{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:status":{},"f:type":{}}},"f:observedGeneration":{}}}"#
        )
    );
}

#[test]
fn updates_take_fields_over() {
    let mut stored = config_maps();
    stored.update("a", |o| *o = config_map(json!({"x": "1", "y": "1"})));
    assert_eq!(stored.owners(), ["a/Update: .data .data.x .data.y"]);
    stored.update("b", |o| o["data"]["x"] = json!("2"));
    assert_eq!(
        stored.owners(),
        ["a/Update: .data .data.y", "b/Update: .data.x"]
    );
    // An update that changes nothing changes nobody's entry, nor its time.
    stored.update("c", |_| {});
    stored.update("a", |_| {});
    let times: Vec<_> = stored.entries().iter().map(|entry| entry.time).collect();
    assert_eq!(times, [Some(time(1)), Some(time(2))]);
    // What is gone is nobody's.
    stored.update("c", |o| {
        o["data"].as_object_mut().expect("data").remove("x");
    });
    assert_eq!(stored.owners(), ["a/Update: .data .data.y"]);
}

#[test]
fn applies_own_what_they_set() {
    let mut stored = config_maps();
    stored.apply("a", config_map(json!({"x": "1", "y": "1"})));
    assert_eq!(stored.owners(), ["a/Apply: .data.x .data.y"]);
    // The same values may be owned by several.
    stored.apply("b", config_map(json!({"y": "1", "z": "1"})));
    assert_eq!(
        stored.owners(),
        ["a/Apply: .data.x .data.y", "b/Apply: .data.y .data.z"]
    );
    // What is not applied any more goes, unless somebody else owns it.
    stored.apply("a", config_map(json!({})));
    assert_eq!(stored.live["data"], json!({"y": "1", "z": "1"}));
    stored.apply("b", config_map(json!({"z": "1"})));
    assert_eq!(stored.live["data"], json!({"z": "1"}));
}

#[test]
fn conflicts_name_owners_and_fields() {
    let mut stored = config_maps();
    stored.apply("a", config_map(json!({"x": "1", "y": "1"})));
    stored.update("b", |o| o["data"]["z"] = json!("1"));
    let error = stored
        .try_apply("c", &config_map(json!({"x": "2"})), false)
        .expect_err("conflict")
        .to_status();
    assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"a\": .data.x"
    );
    let error = stored
        .try_apply(
            "c",
            &config_map(json!({"x": "2", "y": "2", "z": "2"})),
            false,
        )
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.x\n- .data.y\nconflicts with \"b\" using v1:\n- .data.z"
    );
    let causes = &error.details.as_ref().expect("details").causes;
    assert_eq!(
        (
            causes[2].reason.as_str(),
            causes[2].message.as_str(),
            causes[2].field.as_str()
        ),
        (
            "FieldManagerConflict",
            "conflict with \"b\" using v1",
            ".data.z"
        )
    );
    // Force takes them.
    stored
        .try_apply("c", &config_map(json!({"x": "2"})), true)
        .expect("forced");
    assert_eq!(
        stored.owners(),
        ["a/Apply: .data.y", "c/Apply: .data.x", "b/Update: .data.z"]
    );
    // An update takes from appliers without asking; the next apply of the old value conflicts.
    stored.update("d", |o| o["data"]["y"] = json!("9"));
    let error = stored
        .try_apply("a", &config_map(json!({"y": "1"})), false)
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"d\" using v1: .data.y"
    );
}

#[test]
fn conflicts_name_subresources() {
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let mut stored = Stored::deployment();
    stored.apply("a", deployment(json!({"minReadySeconds": 1})));
    let mut scale = Stored::with_subresource(kind, "scale", BTreeMap::new());
    scale.live = stored.live.clone();
    scale.update("hpa", |o| o["spec"]["replicas"] = json!(5));
    stored.live = scale.live;
    let error = stored
        .try_apply("a", &deployment(json!({"replicas": 3})), false)
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn times_change_with_the_object_only() {
    let mut stored = config_maps();
    assert!(stored.apply("a", config_map(json!({"x": "1"}))).changed);
    assert!(!stored.apply("a", config_map(json!({"x": "1"}))).changed);
    // A second applier of the same has no time at all until it changes something, as upstream.
    assert!(!stored.apply("b", config_map(json!({"x": "1"}))).changed);
    let times: Vec<_> = stored
        .entries()
        .iter()
        .map(|e| (e.manager.clone(), e.time))
        .collect();
    assert_eq!(
        times,
        [("b".to_owned(), None), ("a".to_owned(), Some(time(1)))]
    );
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut stored = config_maps();
    stored.live = config_map(json!({"x": "1", "y": "1"}));
    stored.live["metadata"]["uid"] = json!("1");
    // Untracked objects stay so on updates.
    stored.update("u", |o| o["data"]["x"] = json!("2"));
    assert_eq!(stored.owners(), Vec::<String>::new());
    stored.live["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("managedFields");
    let error = stored
        .try_apply("a", &config_map(json!({"x": "3"})), false)
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x"
    );
    stored
        .try_apply("a", &config_map(json!({"x": "3"})), true)
        .expect("forced");
    assert_eq!(
        stored.owners(),
        [
            "a/Apply: .data.x",
            "before-first-apply/Update: .data .data.y"
        ]
    );
}

#[test]
fn clients_may_reset_and_set_managed_fields() {
    let mut stored = config_maps();
    stored.apply("a", config_map(json!({"x": "1"})));
    // A client that does not know of managed fields does not delete them.
    stored.update("u", |o| {
        o["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove("managedFields");
        o["data"]["y"] = json!("1");
    });
    assert_eq!(stored.owners(), ["a/Apply: .data.x", "u/Update: .data.y"]);
    stored.update("u", |o| {
        o["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update",
        "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}}}])
    });
    assert_eq!(stored.owners(), ["m/Update: .data.x"]);
    // Nonsense is ignored.
    stored.update("u", |o| {
        o["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Own"}])
    });
    assert_eq!(stored.owners(), ["m/Update: .data.x"]);
    stored.update("u", |o| o["metadata"]["managedFields"] = json!([{}]));
    assert_eq!(stored.owners(), Vec::<String>::new());
}

#[test]
fn old_updaters_are_put_together() {
    let mut stored = config_maps();
    stored.update("u0", |o| *o = config_map(json!({"x0": "1"})));
    for i in 1..=14 {
        stored.update(&format!("u{i}"), |o| {
            o["data"][format!("x{i}")] = json!("1")
        });
    }
    let entries = stored.entries();
    assert_eq!(entries.len(), MAX_UPDATE_MANAGERS);
    assert_eq!(entries[0].manager, "ancient-changes");
    assert_eq!(entries[0].time, Some(time(6)));
    assert!(
        stored.owners()[0].ends_with(".data.x0 .data.x1 .data.x2 .data.x3 .data.x4 .data.x5"),
        "{:?}",
        stored.owners()
    );
    assert_eq!(entries[9].manager, "u14");
}

#[test]
fn reset_fields_are_nobodys() {
    let reset: Set = [Path::of_fields(&["status"])].into_iter().collect();
    let filters = BTreeMap::from([("apps/v1".to_owned(), Filter::Exclude(reset))]);
    let mut stored = Stored::with_subresource(
        GroupVersionKind::new("apps", "v1", "Deployment"),
        "",
        filters,
    );
    let mut config = deployment(json!({"replicas": 1}));
    config["status"] = json!({"replicas": 5});
    stored.apply("a", config.clone());
    assert_eq!(stored.owners(), ["a/Apply: .spec.replicas"]);
    stored.update("u", |o| {
        o["status"]["replicas"] = json!(6);
        o["spec"]["paused"] = json!(true);
    });
    assert_eq!(
        stored.owners(),
        ["a/Apply: .spec.replicas", "u/Update: .spec.paused"]
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client_side() {
    let mut stored = config_maps();
    let last = config_map(json!({"x": "1", "y": "1"}));
    let mut client_side = last.clone();
    client_side["metadata"]["annotations"] = json!({LAST_APPLIED_ANNOTATION: last.to_string()});
    stored.update("kubectl-client-side-apply", |o| *o = client_side);
    // Others conflict, kubectl does not.
    stored
        .try_apply("other", &config_map(json!({"x": "2"})), false)
        .expect_err("conflict");
    stored.apply("kubectl", config_map(json!({"x": "2"})));
    assert_eq!(stored.live["data"]["x"], json!("2"));
    let annotation = stored
        .live
        .pointer("/metadata/annotations")
        .expect("annotations")[LAST_APPLIED_ANNOTATION]
        .clone();
    let want = config_map(json!({"x": "2"}));
    assert_eq!(
        annotation.as_str().map(|text| (
            text.ends_with("}\n"),
            serde_json::from_str::<Value>(text).expect("JSON")
        )),
        Some((true, want))
    );
    // A field that changed since is not kubectl's to take.
    stored.update("u", |o| o["data"]["x"] = json!("3"));
    let error = stored
        .try_apply("kubectl", &config_map(json!({"x": "4"})), false)
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"u\" using v1: .data.x"
    );
}

#[test]
fn bad_requests() {
    let mut stored = config_maps();
    let mut check = |config: Value, code: i32, want: &str| {
        let error = stored
            .try_apply("a", &config, false)
            .expect_err(want)
            .to_status();
        assert_eq!((error.code, error.message.as_str()), (code, want));
    };
    check(
        json!({"apiVersion": "v2", "kind": "ConfigMap"}),
        400,
        "invalid object type: /v2, Kind=ConfigMap",
    );
    check(json!({}), 400, "invalid object type: /, Kind=");
    let mut config = config_map(json!({}));
    config["metadata"]["managedFields"] = json!([]);
    check(config, 400, "metadata.managedFields must be nil");
    let mut config = config_map(json!({}));
    config["dataa"] = json!({});
    check(
        config,
        500,
        "failed to create typed patch object (n/c; /v1, Kind=ConfigMap): .dataa: field not declared in schema",
    );
}

#[test]
fn lists_are_owned_by_item() {
    let mut stored = Stored::deployment();
    let pod =
        |containers: Value| deployment(json!({"template": {"spec": {"containers": containers}}}));
    stored.apply(
        "a",
        pod(json!([{"name": "app", "image": "1", "ports": [{"containerPort": 80}]}])),
    );
    stored.apply("b", pod(json!([{"name": "sidecar", "image": "1"}])));
    let names = |stored: &Stored| -> Vec<String> {
        let containers = stored
            .live
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array)
            .cloned();
        containers
            .unwrap_or_default()
            .iter()
            .map(|c| c["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(&stored), ["app", "sidecar"]);
    // An item goes with the last manager that owns the item itself, also if others own fields of it.
    stored.update("u", |o| {
        o["spec"]["template"]["spec"]["containers"][0]["tty"] = json!(true)
    });
    stored.apply("a", deployment(json!({})));
    assert_eq!(names(&stored), ["sidecar"]);
    let b = ".spec.template.spec.containers[name=\"sidecar\"]";
    assert_eq!(
        stored.owners(),
        [
            format!("b/Apply: {b} {b}.image {b}.name"),
            "a/Apply: .spec".to_owned()
        ]
    );
    stored.apply("b", deployment(json!({})));
    assert_eq!(names(&stored), Vec::<String>::new());
}

#[test]
fn versions_are_converted() {
    // A made-up kind whose field is `old` in one version and `new` in the other.
    struct Renamed;
    impl TypeConverter for Renamed {
        fn object_type(&self, api_version: &str) -> Option<ObjectType> {
            ["g/v1", "g/v2"]
                .contains(&api_version)
                .then(ObjectType::deduced)
        }
        fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ConversionError> {
            let mut object = object.clone();
            let fields = object
                .as_object_mut()
                .ok_or(ConversionError::MissingVersion)?;
            let (from, to) = if api_version == "g/v1" {
                ("new", "old")
            } else {
                ("old", "new")
            };
            if let Some(value) = fields.remove(from) {
                fields.insert(to.to_owned(), value);
            }
            fields.insert("apiVersion".to_owned(), Value::from(api_version));
            Ok(object)
        }
        fn empty_object(&self, api_version: &str) -> Value {
            json!({"apiVersion": api_version, "kind": "K"})
        }
    }
    let manager = |version: &str| {
        FieldManager::new(
            GroupVersionKind::new("g", version, "K"),
            "",
            Arc::new(Renamed),
            BTreeMap::new(),
        )
    };
    let (v1, v2) = (manager("v1"), manager("v2"));
    let config = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "old": {"a": "1", "b": "1"}});
    let applied = v1
        .apply(&Renamed.empty_object("g/v1"), &config, "a", false, time(1))
        .expect("apply");
    let mut stored = Stored {
        fields: manager("v1"),
        live: Value::Null,
        clock: 1,
    };
    stored.store(applied.object, &applied.managed_fields);
    let live = Renamed.convert(&stored.live, "g/v2").expect("converts");

    // Another manager sees the field under its new name, and the conflict under the owner's.
    let config =
        json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "x"}, "new": {"a": "2"}});
    let error = v2
        .apply(&live, &config, "b", false, time(2))
        .expect_err("conflict")
        .to_status();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"a\": .old.a"
    );
    // The same manager in another version prunes what it applied in the first.
    let config =
        json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "x"}, "new": {"b": "1"}});
    let applied = v2
        .apply(&live, &config, "a", false, time(2))
        .expect("apply");
    assert_eq!(applied.object["new"], json!({"b": "1"}));
    assert_eq!(applied.managed_fields.len(), 1);
    assert_eq!(applied.managed_fields[0].api_version, "g/v2");
    // A version that is gone takes its managers with it.
    let mut gone = live.clone();
    gone["metadata"]["managedFields"][0]["apiVersion"] = json!("g/v0");
    let entries = v2.update(&gone, &gone, "u", time(3)).expect("update");
    assert_eq!(entries, []);
}

#[test]
fn a_managers_configuration_is_extracted() {
    let mut stored = Stored::deployment();
    stored.apply("a", deployment(json!({"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}})));
    stored.update("u", |o| o["spec"]["minReadySeconds"] = json!(1));
    let extracted = extract(&stored.live, &deployment_type(), "a", "")
        .expect("extracts")
        .expect("an entry");
    assert_eq!(
        extracted,
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    );
    assert_eq!(extract(&stored.live, &deployment_type(), "b", ""), Ok(None));
}

#[test]
fn timestamps_alone_are_reverted() {
    let entry = |seconds| ManagedFieldsEntry {
        manager: "a".to_owned(),
        time: Some(time(seconds)),
        ..Default::default()
    };
    let old = [entry(1)];
    let mut new = [entry(2)];
    assert!(!revert_timestamp_updates(&old, &mut new, || false));
    assert!(revert_timestamp_updates(&old, &mut new, || true));
    assert_eq!(new, old);
    assert!(
        !revert_timestamp_updates(&old, &mut new, || true),
        "nothing to revert"
    );
    let mut other = [ManagedFieldsEntry {
        manager: "b".to_owned(),
        ..entry(2)
    }];
    assert!(!revert_timestamp_updates(&old, &mut other, || true));
}

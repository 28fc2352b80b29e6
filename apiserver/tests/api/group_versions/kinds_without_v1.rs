//! Kinds that are there in beta and alpha versions only.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_kinds_without_v1_is_written_by_itself() {
    let Some(server) = with_all_versions().await else {
        return;
    };
    let condition = json!({
        "type": "Succeeded", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let migrations = "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";
    let migration = json!({
        "metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}},
        "status": {"resourceVersion": "5"},
    });
    let made = server.post(migrations, migration).await.expect(201);
    assert_eq!(made["status"], json!({}));
    let status = format!("{migrations}/m/status");
    let patch = json!({"spec": {"resource": {"resource": "pods"}}, "status": {"resourceVersion": "5", "conditions": [condition]}});
    let patched = server
        .patch(&status, MERGE, patch.to_string())
        .await
        .expect(200);
    assert_eq!(patched["spec"]["resource"]["resource"], "deployments");
    server
        .patch(&status, MERGE, r#"{"status":{"resourceVersion":"6"}}"#)
        .await
        .refuses(
            422,
            "StorageVersionMigration.storagemigration.k8s.io \"m\" is invalid: status.resourceVersion: Invalid value: \"6\": field is immutable",
        );
    let table = server.accept(migrations, TABLE).await.expect(200);
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["m", "deployments.apps", "Succeeded"])
    );

    let requests = "/apis/resource.k8s.io/v1alpha3/resourcepoolstatusrequests";
    let request = json!({"metadata": {"name": "q"}, "spec": {"driver": "d.example.com"}});
    let made = server.post(requests, request).await.expect(201);
    assert_eq!(made["spec"]["limit"], 100);
    let status = format!("{requests}/q/status");
    server
        .patch(&status, MERGE, r#"{"status":{"poolCount":-1}}"#)
        .await
        .refuses(
            422,
            "ResourcePoolStatusRequest.resource.k8s.io \"q\" is invalid: status.poolCount: Invalid value: -1: must be greater than or equal to 0",
        );
    server
        .patch(&status, MERGE, r#"{"status":{"poolCount":0}}"#)
        .await
        .expect(200);
    let again = server
        .patch(&status, MERGE, r#"{"status":{"poolCount":1}}"#)
        .await;
    assert_eq!(again.code, 422);
    assert!(
        again.message().ends_with(": field is immutable"),
        "{}",
        again.message()
    );

    let versions = "/apis/internal.apiserver.k8s.io/v1alpha1/storageversions";
    let version = json!({"metadata": {"name": "apps.deployments"}, "spec": {}});
    server.post(versions, version).await.expect(201);
    server
        .patch(
            &format!("{versions}/apps.deployments/status"),
            MERGE,
            r#"{"status":{"commonEncodingVersion":"v1"}}"#,
        )
        .await
        .refuses(
            422,
            "StorageVersion.internal.apiserver.k8s.io \"apps.deployments\" is invalid: status.commonEncodingVersion: Invalid value: \"v1\": should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        );
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_groups_are_made_from_workloads() {
    let flags = [
        "--runtime-config=scheduling.k8s.io/v1alpha2=true".to_owned(),
        "--feature-gates=GenericWorkload=true".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    let folder = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default";
    let workloads = format!("{folder}/workloads");
    let groups = format!("{folder}/podgroups");
    let workload = json!({
        "metadata": {"name": "w"},
        "spec": {"podGroupTemplates": [{"name": "t", "schedulingPolicy": {"gang": {"minCount": 2}}}]},
    });
    let group = |template: &str| {
        json!({
            "metadata": {"name": "g"},
            "spec": {
                "schedulingPolicy": {"gang": {"minCount": 2}},
                "podGroupTemplateRef": {"workload": {"workloadName": "w", "podGroupTemplateName": template}},
            },
        })
    };
    let refused = async |template: &str, why: &str| {
        let text =
            format!("podgroups.scheduling.k8s.io \"g\" is forbidden: PodGroup rejected: {why}");
        server
            .post(&groups, group(template))
            .await
            .refuses(403, &text);
    };
    refused("t", "Workload \"w\" not found").await;
    server.post(&workloads, workload).await.expect(201);
    refused("u", "PodGroupTemplate \"u\" not found in Workload \"w\"").await;
    let made = server.post(&groups, group("t")).await.expect(201);
    let finalizers = json!(["scheduling.k8s.io/podgroup-protection"]);
    assert_eq!(made["metadata"]["finalizers"], finalizers);
    assert_eq!(made["spec"]["disruptionMode"], "Pod");
    assert_eq!(made["spec"]["priority"], Value::Null);
    let table = server.accept(&groups, TABLE).await.expect(200);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..4], ["g", "Gang", "w", "Pending"]);

    let mut wrong = group("t");
    wrong["metadata"]["name"] = "h".into();
    wrong["spec"]["schedulingPolicy"] = json!({"basic": {}, "gang": {"minCount": 0}});
    server.post(&groups, wrong).await.refuses(
        422,
        "PodGroup.scheduling.k8s.io \"h\" is invalid: [spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`, spec.schedulingPolicy.gang.minCount: Required value]",
    );
    let patch = r#"{"spec":{"schedulingPolicy":{"gang":{"minCount":3}}}}"#;
    let refused = server.patch(&format!("{groups}/g"), MERGE, patch).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused
            .message()
            .ends_with("spec.schedulingPolicy: Invalid value: null: field is immutable")
    );

    // A job whose pods are in a gang keeps its size.
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({
        "metadata": {"name": "j"},
        "spec": {"parallelism": 2, "template": {"spec": {
            "schedulingGroup": {"podGroupName": "g"}, "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}],
        }}},
    });
    server.post(jobs, job).await.expect(201);
    let patch = async || {
        let path = format!("{jobs}/j");
        server
            .patch(&path, MERGE, r#"{"spec":{"parallelism":3}}"#)
            .await
    };
    patch().await.refuses(
        403,
        "jobs.batch \"j\" is forbidden: cannot change parallelism for a Job referencing gang-scheduled PodGroup \"g\"",
    );
}

//! What becomes of CustomResourceDefinitions: their conditions, their APIServices, and what is left when they go.

use std::future::Future;
use std::time::Duration;

use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A server that does by itself what a real one does.
async fn start() -> Option<Server> {
    let server = Server::start_empty().await?;
    apiserver::hooks::start(server.inner(), server.stop.clone());
    eventually(|| async {
        let answer = server.get("/api/v1/namespaces/default").await;
        is(answer, 200)
    })
    .await;
    Some(server)
}

/// The answer if it has this code, or what it says instead.
fn is(answer: Answer, code: u16) -> Result<Answer, String> {
    if answer.code == code {
        return Ok(answer);
    }
    Err(String::from_utf8_lossy(&answer.text).into_owned())
}

/// Waits for something to be so. An error says how it is instead.
async fn eventually<T, F: Future<Output = Result<T, String>>>(mut look: impl FnMut() -> F) -> T {
    let start = tokio::time::Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(state) if start.elapsed() > Duration::from_secs(10) => panic!("still {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn crd(plural: &str, kind: &str) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

impl Server {
    /// The conditions of a CRD once they are these, each as type, status and reason.
    async fn conditions(&self, name: &str, want: &[&str]) -> Value {
        eventually(|| async {
            let crd = self.get(&format!("{CRDS}/{name}.example.com")).await.json();
            let conditions = crd["status"]["conditions"].as_array();
            let text = |it: &Value| {
                let part = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
                format!("{}={} {}", part("type"), part("status"), part("reason"))
            };
            let have: Vec<String> = conditions.into_iter().flatten().map(text).collect();
            if have == want {
                Ok(crd)
            } else {
                Err(format!("{have:?}"))
            }
        })
        .await
    }

    async fn gone(&self, path: &str) {
        eventually(|| async {
            let answer = self.get(path).await;
            is(answer, 404)
        })
        .await;
    }
}

const ESTABLISHED: [&str; 2] = [
    "NamesAccepted=True NoConflicts",
    "Established=True InitialNamesAccepted",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crd_is_established_and_its_objects_go_with_it() {
    let Some(server) = start().await else {
        return;
    };
    let created = server.post(CRDS, crd("things", "Thing")).await.expect(201);
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    let stored = server.conditions("things", &ESTABLISHED).await;
    assert_eq!(
        stored["status"]["acceptedNames"],
        json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"})
    );
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com";
    let found = eventually(|| async {
        let answer = server.get(service).await;
        is(answer, 200)
    })
    .await
    .json();
    assert_eq!(
        found["spec"],
        json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );

    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing = |metadata: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata});
    let plain = thing(json!({"name": "plain"}));
    server.post(things, plain).await.expect(201);
    let held = thing(json!({"name": "held", "finalizers": ["example.com/held"]}));
    server.post(things, held).await.expect(201);
    let path = format!("{CRDS}/things.example.com");
    let marked = server.delete(&path, json!({})).await.expect(200);
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    assert_eq!(
        marked["status"]["conditions"][2]["reason"],
        "InstanceDeletionPending"
    );
    server.gone(&format!("{things}/plain")).await;
    let [accepted, established] = ESTABLISHED;
    let terminating = "Terminating=True InstanceDeletionInProgress";
    server
        .conditions("things", &[accepted, established, terminating])
        .await;
    const REFUSED: &str = "things.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating";
    let late = thing(json!({"name": "late"}));
    let refused = server.post(things, late.clone()).await;
    refused.refuses(403, REFUSED);
    let applied = format!("{things}/late?fieldManager=m");
    let refused = server.patch(&applied, APPLY, late.to_string()).await;
    refused.refuses(403, REFUSED);
    // The last object's last finalizer holds the CRD.
    let free = json!({"metadata": {"finalizers": null}}).to_string();
    server
        .patch(&format!("{things}/held"), MERGE, free)
        .await
        .expect(200);
    server.gone(&path).await;
    server.gone(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_belong_to_one_crd_of_a_group_at_a_time() {
    let Some(server) = start().await else {
        return;
    };
    server.post(CRDS, crd("things", "Thing")).await.expect(201);
    server.conditions("things", &ESTABLISHED).await;
    server.post(CRDS, crd("others", "Thing")).await.expect(201);
    let refused = server
        .conditions(
            "others",
            &[
                "NamesAccepted=False ListKindConflict",
                "Established=False NotAccepted",
            ],
        )
        .await;
    let accepted = &refused["status"]["acceptedNames"];
    assert_eq!(*accepted, json!({"plural": "others", "kind": ""}));
    server
        .delete(&format!("{CRDS}/things.example.com"), json!({}))
        .await
        .expect(200);
    server.conditions("others", &ESTABLISHED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crd_that_was_never_established_goes_at_once() {
    let Some(server) = start().await else {
        return;
    };
    server.post(CRDS, crd("things", "Thing")).await.expect(201);
    server.conditions("things", &ESTABLISHED).await;
    server.post(CRDS, crd("others", "Thing")).await.expect(201);
    let path = format!("{CRDS}/others.example.com");
    server.delete(&path, json!({})).await.expect(200);
    server.gone(&path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_built_in_group_version_has_no_custom_resources() {
    let Some(server) = start().await else {
        return;
    };
    let group = "/apis/networking.k8s.io/v1";
    let before = server.get(group).await.expect(200);
    let mut changes = server.inner().custom_resources.changes();
    for (plural, kind) in [("foos", "Foo"), ("ingresses", "Ingress")] {
        let mut crd = crd(plural, kind);
        let name = format!("{plural}.networking.k8s.io");
        crd["metadata"] = json!({
            "name": name,
            "annotations": {"api-approved.kubernetes.io": "https://example.com/approved"},
        });
        crd["spec"]["group"] = json!("networking.k8s.io");
        server.post(CRDS, crd).await.expect(201);
        let taken_in = async {
            while server
                .inner()
                .custom_resources
                .stored_resource(&name)
                .is_none()
            {
                changes.changed().await.unwrap();
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, taken_in)
            .await
            .expect("the definition is taken in");
    }
    // They come one after another: the first one is in the table when the second is taken in.
    let path = format!("{CRDS}/foos.networking.k8s.io");
    let foos = format!("{group}/namespaces/default/foos");
    let missing = "the server could not find the requested resource";
    server.get(&foos).await.refuses(404, missing);
    assert_eq!(server.get(group).await.expect(200), before);
    let ingresses = format!("{group}/namespaces/default/ingresses");
    let list = server.get(&ingresses).await.expect(200);
    assert_eq!(list["kind"], "IngressList");
    server.delete(&path, json!({})).await.expect(200);
    server.gone(&path).await;
}

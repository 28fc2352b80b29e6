//! Two servers of one cluster, each of which serves something that the other does not.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;

use super::aggregation::Authority;
use super::*;

const ALL: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const OWN: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The files that all servers of a cluster share.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster {
            folder: tempfile::tempdir().unwrap(),
        };
        let (servers, proxies) = (Authority::new(), Authority::new());
        cluster.write("ca.crt", &servers.pem);
        cluster.write("proxies.crt", &proxies.pem);
        let issued = [
            (
                "server",
                &servers,
                "kubernetes.default.svc",
                ExtendedKeyUsagePurpose::ServerAuth,
            ),
            (
                "proxy",
                &proxies,
                "front-proxy-client",
                ExtendedKeyUsagePurpose::ClientAuth,
            ),
        ];
        for (file, authority, name, usage) in issued {
            let (certificate, key) = authority.issue(name, usage);
            cluster.write(&format!("{file}.crt"), &certificate.pem());
            cluster.write(&format!("{file}.key"), &key.serialize_pem());
        }
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A server with this host name that does not serve a group version.
    async fn server(&self, etcd: &Arc<Etcd>, hostname: &str, without: &str) -> Server {
        self.server_with(etcd, hostname, without, None).await
    }

    /// The same, with one more flag.
    async fn server_with(
        &self,
        etcd: &Arc<Etcd>,
        hostname: &str,
        without: &str,
        more: Option<String>,
    ) -> Server {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        let port = unused_port();
        let mut flags = vec![
            format!("--runtime-config={without}=false"),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--peer-advertise-ip=127.0.0.1".to_owned(),
            format!("--peer-advertise-port={port}"),
            format!("--secure-port={port}"),
            file("requestheader-client-ca-file", "proxies.crt"),
            file("proxy-client-cert-file", "proxy.crt"),
            file("proxy-client-key-file", "proxy.key"),
            file("tls-cert-file", "server.crt"),
            file("tls-private-key-file", "server.key"),
            file("peer-ca-file", "ca.crt"),
        ];
        flags.extend(more);
        let server = Server::serve_as(etcd.clone(), &flags, |config| {
            hostname.clone_into(&mut config.hostname);
        })
        .await
        .unwrap();
        let inner = server.inner();
        let listener = inner.config.serving.clone().bind(&server.stop).unwrap();
        listener.spawn(
            Arc::new(Service(inner.clone())),
            server.stop.clone(),
            Duration::ZERO,
        );
        apiserver::hooks::start(inner, server.stop.clone());
        server
    }
}

fn groups(document: &Value) -> Vec<&str> {
    let items = document["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_the_peer_that_serves_the_resource() {
    let Some(etcd) = Etcd::start().await.map(Arc::new) else {
        return;
    };
    let cluster = Cluster::new();
    let first = cluster.server(&etcd, "first", "batch/v1").await;
    let second = cluster.server(&etcd, "second", "policy/v1").await;
    let found = |answer: &Answer| answer.code == 200;
    // Each has heard of the other.
    first.until(JOBS, JSON, found).await;
    second.until(BUDGETS, JSON, found).await;

    writes(&first, &second).await;
    documents(&first).await;
    told(&first).await;
    custom(&first).await;

    // What the peer has passed on is answered, not passed back.
    let marked = [("x-kubernetes-peer-proxied", "true")];
    assert_eq!(first.send("GET", JOBS, &marked, "").await.code, 404);
    // Nobody serves this.
    assert_eq!(first.get("/apis/batch/v2/jobs").await.code, 404);

    // A peer that has gone is not asked.
    apiserver::hooks::stop(second.inner()).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let name = apiserver_lease(&first, leases, "second").await;
    assert_eq!(
        first
            .delete(&format!("{leases}/{name}"), json!({}))
            .await
            .code,
        200
    );
    first.until(JOBS, JSON, |answer| answer.code == 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_behind_the_proxy_of_the_control_plane() {
    let Some(etcd) = Etcd::start().await.map(Arc::new) else {
        return;
    };
    let cluster = Cluster::new();
    let socket = cluster.path("proxy.sock");
    let proxy = konnectivity::Proxy::start(&socket);
    let through = egress::through("GRPC", &socket);
    let selection = json!([{"name": "controlplane", "connection": through}]);
    let flag = egress::selections(cluster.folder.path(), selection);
    let first = cluster
        .server_with(&etcd, "first", "batch/v1", Some(flag))
        .await;
    let second = cluster.server(&etcd, "second", "policy/v1").await;
    first.until(JOBS, JSON, |answer| answer.code == 200).await;
    let port = second.inner().config.flags.int("secure-port");
    assert!(proxy.asked(&format!("127.0.0.1:{port}")) > 0);
}

/// Writes, reads and watches through a server that does not know the resource.
async fn writes(first: &Server, second: &Server) {
    let job = json!({"metadata": {"name": "a"}, "spec": {"suspend": true, "template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}}});
    let made = first.post(JOBS, job).await.expect(201);
    assert_eq!(made["metadata"]["name"], "a");
    let at_home = second.get(&format!("{JOBS}/a")).await.expect(200);
    assert_eq!(at_home["metadata"]["uid"], made["metadata"]["uid"]);
    let bad = first.post(JOBS, json!({"metadata": {"name": "B"}})).await;
    assert_eq!((bad.code, &bad.json()["reason"]), (422, &json!("Invalid")));
    let watched = first
        .get(&format!(
            "{JOBS}?watch=true&timeoutSeconds=1&resourceVersion=0"
        ))
        .await;
    assert_eq!(events(&watched)[0]["object"]["metadata"]["name"], "a");
    let patched = first
        .patch(
            &format!("{JOBS}/a"),
            MERGE,
            r#"{"metadata": {"labels": {"b": "c"}}}"#,
        )
        .await
        .expect(200);
    assert_eq!(patched["metadata"]["labels"]["b"], "c");
}

/// Discovery tells of both servers, unless it is asked not to.
async fn documents(first: &Server) {
    let all = first.accept("/apis", ALL).await;
    let own = first.accept("/apis", OWN).await;
    assert_ne!(all.headers["etag"], own.headers["etag"]);
    let (all, own) = (all.expect(200), own.expect(200));
    assert!(groups(&all).contains(&"batch"), "{:?}", groups(&all));
    assert!(!groups(&own).contains(&"batch"), "{:?}", groups(&own));
    // In the order of the one that has it.
    let place = |name: &str| {
        groups(&all)
            .iter()
            .position(|group| *group == name)
            .unwrap()
    };
    assert!(place("autoscaling") < place("batch") && place("batch") < place("certificates.k8s.io"));
}

/// What servers say of themselves, in the Lease and in etcd.
async fn told(first: &Server) {
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let name = apiserver_lease(first, leases, "first").await;
    let lease = first.get(&format!("{leases}/{name}")).await.expect(200);
    let address = &lease["metadata"]["annotations"]["kubernetes.io/peer-advertise-address"];
    let port = first.inner().config.serving.bind_port;
    assert_eq!(*address, json!(format!("127.0.0.1:{port}")));
    let ready = first.get("/readyz?verbose").await;
    let text = String::from_utf8_lossy(&ready.text).into_owned();
    let hooks = [
        "peer-endpoint-reconciler-controller",
        "mixed-version-proxy-handler",
        "local-discovery-cache-sync",
        "peer-discovery-workers",
    ];
    let places: Vec<_> = hooks
        .iter()
        .map(|hook| text.find(&format!("[+]poststarthook/{hook} ok")))
        .collect();
    assert!(
        places.is_sorted() && places.iter().all(Option::is_some),
        "{text}"
    );
    let metrics = String::from_utf8(first.get("/metrics").await.text).unwrap();
    assert!(metrics.contains("apiserver_rerouted_request_total{code=\"201\",group=\"batch\",resource=\"jobs\",version=\"v1\"} 1"), "{metrics}");
}

async fn apiserver_lease(server: &Server, leases: &str, hostname: &str) -> String {
    let selector = format!("?labelSelector=kubernetes.io/hostname%3D{hostname}");
    let list = server.get(&format!("{leases}{selector}")).await.expect(200);
    list["items"][0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A custom resource is the same everywhere; once it is deleted, no peer is asked that has not seen it yet.
async fn custom(first: &Server) {
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    first.post(crds, crd).await.expect(201);
    let things = "/apis/example.com/v1/things";
    first.until(things, JSON, |answer| answer.code == 200).await;
    first
        .delete(&format!("{crds}/things.example.com"), json!({}))
        .await
        .expect(200);
    let gone = first.until(things, JSON, |answer| answer.code == 404).await;
    assert_eq!(String::from_utf8_lossy(&gone.text), "404 page not found\n");
}

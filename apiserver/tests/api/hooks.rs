//! What the server makes by itself.

use std::time::Duration;

use super::aggregation::Authority;
use super::*;

/// The first pods of a cluster find the API server by this Service: it must not wait for the next round of its hook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_service_is_there_soon() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let there = async {
        while server.get(service).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), there)
        .await
        .expect("before the hook's period of ten seconds");
}

/// The one condition of the default ServiceCIDR belongs to its controller, which applies it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_service_cidr_is_made_ready() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let ready = async {
        loop {
            let cidr = server.get(path).await;
            if cidr.code == 200 && !cidr.json()["status"]["conditions"].is_null() {
                return cidr.json();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cidr = tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .expect("the hook has run");
    let entries = cidr["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["subresource"] == "status")
        .unwrap();
    assert_eq!(entry["manager"], "kubernetes-service-cidr-controller");
    assert_eq!(entry["operation"], "Apply");
}

/// As upstream: a server that cannot reach etcd gets no more requests from those who look at its readiness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_a_server_is_not_ready() {
    let flags = ["healthcheck", "readycheck"].map(|check| format!("--etcd-{check}-timeout=1s"));
    let Some(mut server) = Server::start_with(&flags).await else {
        return;
    };
    let ready = async |server: &Server, query: &str| {
        let answer = server.get(&format!("/readyz?verbose{query}")).await;
        String::from_utf8(answer.text).unwrap()
    };
    let text = ready(&server, "").await;
    let checks = "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n";
    assert!(text.starts_with(checks), "{text}");
    Arc::get_mut(&mut server._etcd).unwrap().kill();
    let text = ready(&server, "").await;
    let failed = "[-]etcd failed: reason withheld\n[-]etcd-readiness failed: reason withheld\n";
    assert!(text.contains(failed), "{text}");
    assert_eq!(server.get("/livez/etcd").await.code, 500);
    let text = ready(&server, "&exclude=etcd&exclude=etcd-readiness").await;
    assert!(text.contains("[+]etcd excluded: ok\n"), "{text}");
}

/// Servers that delegate would not know their callers: the ConfigMap with the CAs does not wait for the next round of its hook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_certificates_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    let (first, second) = (Authority::new().pem, Authority::new().pem);
    std::fs::write(&file, &first).unwrap();
    let flag = format!("--client-ca-file={}", file.display());
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let told = async |uid: &str, ca: &str| {
        let until = async {
            loop {
                let map = server.get(path).await;
                if map.code == 200 {
                    let map = map.json();
                    let bundle = map["data"]["client-ca-file"].as_str().unwrap_or_default();
                    if map["metadata"]["uid"] != uid && bundle.contains(ca) {
                        return map["metadata"]["uid"].as_str().unwrap().to_owned();
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), until)
            .await
            .expect("before the hook's period of a minute")
    };
    let uid = told("", &first).await;
    server.delete(path, json!({})).await.expect(200);
    let uid = told(&uid, &first).await;
    let new = folder.path().join("new");
    std::fs::write(&new, &second).unwrap();
    std::fs::rename(&new, &file).unwrap();
    // What another server has told stays.
    told("", &format!("{first}{second}")).await;
    server.delete(path, json!({})).await.expect(200);
    told(&uid, &second).await;
}

/// What administrators say about flow control stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow_control_is_set_up_as_administrators_want_it() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    let levels = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
    let shares = json!({"nominalConcurrencyShares": 5, "lendablePercent": 10});
    let exempt =
        json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": shares}});
    server.post(levels, exempt).await.expect(201);
    let annotation = "apf.kubernetes.io/autoupdate-spec";
    let limited = json!({"nominalConcurrencyShares": 7, "limitResponse": {"type": "Reject"}});
    for (name, said) in [("dangling", "T"), ("kept", "false"), ("workload-low", "f")] {
        let metadata = json!({"name": name, "annotations": {annotation: said}});
        let level = json!({"metadata": metadata, "spec": {"type": "Limited", "limited": limited}});
        server.post(levels, level).await.expect(201);
    }
    // What nobody said anything about and nobody changed.
    let level = json!({"metadata": {"name": "workload-high"}, "spec": {"type": "Limited", "limited": limited}});
    server.post(levels, level).await.expect(201);
    server.get(levels).await.expect(200);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let dangling = format!("{levels}/dangling");
    let gone = async {
        while server.get(&dangling).await.code != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // It is the last thing that is done.
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the hook has run");
    let level = async |name: &str| server.get(&format!("{levels}/{name}")).await.expect(200);
    let exempt = level("exempt").await;
    assert_eq!(exempt["spec"]["exempt"], shares);
    assert_eq!(exempt["metadata"]["annotations"][annotation], "true");
    for (name, said, shares) in [
        ("kept", "false", 7),
        ("workload-low", "f", 7),
        ("workload-high", "true", 40),
    ] {
        let level = level(name).await;
        assert_eq!(level["metadata"]["annotations"][annotation], said, "{name}");
        assert_eq!(
            level["spec"]["limited"]["nominalConcurrencyShares"], shares,
            "{name}"
        );
    }
}

/// Leases of servers that are gone do not stay for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_servers_that_are_gone_are_removed() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    server.namespace("kube-system").await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = |name: &str, label: &str, spec: Value| json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": label}}, "spec": spec});
    let old = json!({"renewTime": "2020-01-01T00:00:00.000000Z", "leaseDurationSeconds": 3600});
    let new = json!({"renewTime": "2999-01-01T00:00:00.000000Z", "leaseDurationSeconds": 3600});
    for lease in [
        lease("old", "kube-apiserver", old.clone()),
        lease("without-time", "kube-apiserver", json!({})),
        lease("new", "kube-apiserver", new),
        lease("others", "somebody", old),
    ] {
        server.post(leases, lease).await.expect(201);
    }
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let gone = async {
        for name in ["old", "without-time"] {
            while server.get(&format!("{leases}/{name}")).await.code != 404 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the hook has run");
    for name in ["new", "others"] {
        server.get(&format!("{leases}/{name}")).await.expect(200);
    }
}

/// Polls until a path answers something.
async fn until(server: &Server, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let answered = async {
        loop {
            let answer = server.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), answered).await;
    answer.unwrap_or_else(|_| panic!("{path} does not answer as it should"))
}

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";

fn addresses(answer: &Answer) -> Vec<String> {
    if answer.code != 200 {
        return Vec::new();
    }
    let subset = &answer.json()["subsets"][0];
    let addresses = subset["addresses"].as_array().cloned().unwrap_or_default();
    let ip = |address: &Value| address["ip"].as_str().unwrap().to_owned();
    addresses.iter().map(ip).collect()
}

/// Clients that go by the endpoints of default/kubernetes find servers that are ready, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_published_while_it_is_ready() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (own, other) = ("10.1.2.3", "10.1.2.4");
    // They end by themselves.
    let lives = async |address: &str| {
        let leases = &server.inner().master_leases;
        apiserver::registry::server_leases::renew(leases, address, |_| {})
            .await
            .unwrap();
    };
    lives(own).await;
    lives(other).await;
    let stale = json!({
        "metadata": {"name": "kubernetes"},
        "subsets": [{"addresses": [{"ip": own}], "ports": [{"name": "https", "port": 6443}]}],
    });
    let all = "/api/v1/namespaces/default/endpoints";
    server.post(all, stale).await.expect(201);
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::new(tokio::sync::Notify::new());
    let check = {
        let (ready, asked) = (ready.clone(), asked.clone());
        component_base::healthz::named_check("not-yet", move || {
            asked.notify_one();
            let ready = ready.load(std::sync::atomic::Ordering::Relaxed);
            ready.then_some(()).ok_or_else(|| "wait".to_owned())
        })
    };
    server.inner().health.readyz.add(check);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    // It asks after it has removed what is stale.
    tokio::time::timeout(Duration::from_secs(30), async {
        asked.notified().await;
        asked.notified().await;
    })
    .await
    .expect("readiness is asked for");
    assert_eq!(addresses(&server.get(ENDPOINTS).await), [other]);
    lives(other).await;
    ready.store(true, std::sync::atomic::Ordering::Relaxed);
    until(&server, ENDPOINTS, |answer| {
        addresses(answer) == [own, other]
    })
    .await;
    lives(other).await;
    apiserver::hooks::stop(server.inner()).await;
    assert_eq!(addresses(&server.get(ENDPOINTS).await), [other]);
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = server.get(slice).await.expect(200);
    assert_eq!(slice["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(slice["endpoints"][0]["addresses"], json!([other]));
}

/// `--endpoint-reconciler-type=master-count`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_the_place_of_one_that_is_too_many() {
    let flags = [
        "--endpoint-reconciler-type=master-count",
        "--apiserver-count=2",
    ];
    let Some(server) = Server::start_with(&flags.map(str::to_owned)).await else {
        return;
    };
    server.namespace("default").await;
    let (own, others) = ("10.1.2.3", ["10.1.2.1", "10.1.2.2"]);
    let stored = json!({
        "metadata": {"name": "kubernetes"},
        "subsets": [{
            "addresses": others.map(|ip| json!({"ip": ip})),
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        }],
    });
    let all = "/api/v1/namespaces/default/endpoints";
    server.post(all, stored).await.expect(201);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    until(&server, ENDPOINTS, |answer| {
        addresses(answer) == [others[1], own]
    })
    .await;
    apiserver::hooks::stop(server.inner()).await;
    assert_eq!(addresses(&server.get(ENDPOINTS).await), [others[1]]);
}

/// Administrators learn by an Event that the flags and the default ServiceCIDR differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_default_service_cidr_is_told_of() {
    let Some(server) = Server::start().await else {
        return;
    };
    let cidrs = "/apis/networking.k8s.io/v1/servicecidrs";
    let other = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.100.0.0/16"]}});
    server.post(cidrs, other).await.expect(201);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let events = "/api/v1/namespaces/default/events?fieldSelector=reason=KubernetesDefaultServiceCIDRInconsistent";
    let told = until(&server, events, |answer| {
        answer.code == 200 && answer.json()["items"][0].is_object()
    })
    .await
    .json();
    let event = &told["items"][0];
    assert_eq!(
        event["message"],
        "The default ServiceCIDR [10.100.0.0/16] does not match the controller flag configurations [10.96.0.0/16]"
    );
    assert_eq!(event["type"], "Warning");
    assert_eq!(
        event["source"]["component"],
        "kubernetes-service-cidr-controller"
    );
    assert_eq!(event["involvedObject"]["kind"], "ServiceCIDR");
}

/// A default ServiceCIDR that goes away comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_service_cidr_is_made_again() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let first = until(&server, path, |answer| answer.code == 200)
        .await
        .json();
    server.delete(path, json!({})).await.expect(200);
    server
        .patch(path, MERGE, r#"{"metadata":{"finalizers":null}}"#)
        .await;
    until(&server, path, |answer| {
        answer.code == 200 && answer.json()["metadata"]["uid"] != first["metadata"]["uid"]
    })
    .await;
}

/// Paths that a CustomResourceDefinition may add are not missing before those are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_are_unavailable_at_first() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let server = Server::serve_as(Arc::new(etcd), &[], |_| {}).await.unwrap();
    let paths = [
        "/apis/example.com",
        "/apis/example.com/v1",
        "/apis/example.com/v1/things",
        "/nonsense",
    ];
    for path in paths {
        let answer = server.get(path).await;
        answer.refuses(503, "the request has been made before all known HTTP paths have been installed, please try again");
        assert_eq!(answer.headers["retry-after"], "5");
    }
    assert_eq!(server.get("/apis/apps/v9").await.code, 404);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    for path in paths {
        let answer = until(&server, path, |answer| answer.code != 503).await;
        assert_eq!(
            (answer.code, &*answer.text),
            (404, &b"404 page not found\n"[..]),
            "{path}"
        );
    }
}

/// Who goes by the endpoints leaves while the server still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_leaves_the_endpoints_before_the_delay_is_over() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let etcd = Arc::new(etcd);
    let reader = Server::serve(etcd.clone(), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("sa.key");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let port = unused_port();
    let arguments = [
        format!("--etcd-servers={}", etcd.endpoint()),
        format!("--cert-dir={}", folder.path().display()),
        format!("--secure-port={port}"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--advertise-address=10.1.2.3".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        "--shutdown-delay-duration=1h".to_owned(),
    ];
    let parsed = Flags::parse(&config::flags::COMMAND, arguments.into_iter()).unwrap();
    let component_base::flags::Parsed::Run(flags) = parsed else {
        panic!("flags")
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(apiserver::run(flags, stop.clone()));
    until(&reader, ENDPOINTS, |answer| {
        addresses(answer) == ["10.1.2.3"]
    })
    .await;
    stop.cancel();
    until(&reader, ENDPOINTS, |answer| addresses(answer).is_empty()).await;
    assert!(!running.is_finished());
    running.abort();
}

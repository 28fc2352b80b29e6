//! What the server does when a feature that is on by default is switched off.

use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// A user's UID in the subject of a certificate.
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

fn without(gates: &[&str]) -> String {
    let off: Vec<String> = gates.iter().map(|gate| format!("{gate}=false")).collect();
    format!("--feature-gates={}", off.join(","))
}

/// Code of the answer to a request over HTTP/2, and whether its connection ends with it.
async fn closes(server: &Server, authorization: &str) -> (u16, bool) {
    let mut request = Request::get("/api/v1/namespaces").version(http::Version::HTTP_2);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let connection = Arc::new(ConnectionInfo::in_process());
    request.extensions_mut().insert(connection.clone());
    let response = server.service.handle(request).await;
    (response.status().as_u16(), connection.closes())
}

async fn unknown_callers(more: &[String], close: bool) {
    let mut flags = vec!["--authorization-mode=RBAC".to_owned()];
    flags.extend_from_slice(more);
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    assert_eq!(closes(&server, AUTHORIZATION).await, (200, false));
    assert_eq!(closes(&server, "").await, (403, close));
    assert_eq!(closes(&server, "Bearer wrong").await, (401, close));
}

#[tokio::test]
async fn connections_of_unknown_callers_are_closed() {
    unknown_callers(&[], true).await;
}

#[tokio::test]
async fn connections_of_unknown_callers_stay() {
    unknown_callers(&[without(&["UnauthenticatedHTTP2DOSMitigation"])], false).await;
}

/// Who a client is whose certificate has these UIDs.
async fn certified(more: &[String], uids: &[&str]) -> Option<(u16, Value)> {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let mut flags = vec![format!("--client-ca-file={}", ca.display())];
    flags.extend_from_slice(more);
    let server = Server::start_with(&flags).await?;

    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, "jane");
    for uid in uids {
        let name = DnType::CustomDnType(UID.to_vec());
        params.distinguished_name.push(name, *uid);
    }
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer);
    let mut request = Request::post(SELF_REVIEW).header("content-type", JSON);
    request = request.header("accept", JSON);
    let mut request = request.body(Body::from("{}")).unwrap();
    let mut connection = ConnectionInfo::in_process();
    connection.peer_certificates = vec![certificate.unwrap().der().to_vec()].into();
    request.extensions_mut().insert(Arc::new(connection));
    let response = server.service.handle(request).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect(1 << 20).await.unwrap();
    let review: Value = serde_json::from_slice(&body).unwrap();
    Some((code, review["status"]["userInfo"]["uid"].clone()))
}

#[tokio::test]
async fn certificates_say_uids() {
    let Some(found) = certified(&[], &["42"]).await else {
        return;
    };
    assert_eq!(found, (201, json!("42")));
    assert_eq!(certified(&[], &[""]).await, Some((401, Value::Null)));
}

#[tokio::test]
async fn certificates_say_no_uids() {
    let off = [without(&["AllowParsingUserUIDFromCertAuth"])];
    for uids in [["42"], [""]] {
        let Some(found) = certified(&off, &uids).await else {
            return;
        };
        assert_eq!(found, (201, Value::Null), "{uids:?}");
    }
}

/// A token for an account that is another one by its UID.
#[tokio::test]
async fn tokens_for_another_uid() {
    let off = without(&["TokenRequestServiceAccountUIDValidation"]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    server.namespace("default").await;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    let uid = server.get(account).await.expect(200)["metadata"]["uid"].clone();
    let request = json!({"metadata": {"uid": "other"}});
    let answer = server.post(&format!("{account}/token"), request).await;
    let uid = uid.as_str().unwrap();
    assert_eq!(
        answer.headers["warning"].to_str().unwrap(),
        format!(
            "299 - \"the UID in the token request (other) does not match the UID of the service account ({uid}) but \
             TokenRequestServiceAccountUIDValidation is not enabled. In the future, this will return a conflict error\""
        )
    );
    assert_eq!(answer.expect(201)["metadata"]["uid"], "other");
}

#[tokio::test]
async fn large_answers_are_not_compressed() {
    let off = without(&["APIResponseCompression"]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    server.namespace("default").await;
    let mut map = config_map("a");
    map["data"] = json!({"a": "a".repeat(200_000)});
    server.post(CONFIG_MAPS, map).await.expect(201);
    for path in [CONFIG_MAPS.to_owned(), format!("{CONFIG_MAPS}/a")] {
        let headers = [("accept-encoding", "gzip")];
        let answer = server.send("GET", &path, &headers, "").await;
        assert_eq!(answer.headers.get("content-encoding"), None, "{path}");
        assert!(answer.text.len() > 200_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_identity_and_storage_readiness() {
    let off = without(&[
        "APIServerIdentity",
        "UnknownVersionInteroperabilityProxy",
        "WatchCacheInitializationPostStartHook",
    ]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let ready = async {
        loop {
            let answer = server.get("/readyz?verbose").await;
            if answer.code == 200 {
                return String::from_utf8(answer.text).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(60), ready)
        .await
        .expect("the hooks end");
    for hook in ["identity-lease", "storage-readiness"] {
        assert!(!text.contains(hook), "{text}");
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    assert_eq!(server.get(leases).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn resources_have_no_storage_version_hashes() {
    let off = without(&["StorageVersionHash"]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    let found = server.get("/api/v1").await.expect(200);
    let resources = found["resources"].as_array().unwrap();
    assert!(!resources.is_empty());
    for resource in resources {
        assert_eq!(resource.get("storageVersionHash"), None);
    }
}

/// Fields of a feature are as if they had not been sent.
#[tokio::test]
async fn claims_lose_fields() {
    let off = without(&[
        "DRAPrioritizedList",
        "DRADeviceTaints",
        "DRAConsumableCapacity",
    ]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    server.namespace("default").await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let request = json!({
        "name": "r",
        "exactly": {
            "deviceClassName": "c",
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "capacity": {"requests": {"memory": "1"}},
        },
    });
    let spec = json!({"devices": {
        "requests": [request],
        "constraints": [{"requests": ["r"], "distinctAttribute": "a.example/b"}],
    }});
    let claim = |spec: &Value| json!({"metadata": {"name": "c"}, "spec": spec});
    let refused = server.post(claims, claim(&spec)).await;
    // A constraint that says nothing is left over.
    assert_eq!(refused.code, 422, "{}", refused.message());
    let mut spec = spec;
    spec["devices"]["constraints"] = json!([]);
    let made = server.post(claims, claim(&spec)).await.expect(201);
    let exactly = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
    assert_eq!(made["spec"]["devices"]["requests"][0]["exactly"], exactly);

    let first = json!({"devices": {"requests": [
        {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c"}]},
    ]}});
    let templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": first}});
    for (path, object) in [(claims, claim(&first)), (templates, template)] {
        let refused = server.post(path, object).await;
        assert_eq!(refused.code, 422, "{}", refused.message());
    }
}

/// The status of a ServiceCIDR is part of what a user writes.
#[tokio::test]
async fn service_cidrs_keep_their_status() {
    let off = without(&["ServiceCIDRStatusFieldWiping"]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    let cidrs = "/apis/networking.k8s.io/v1/servicecidrs";
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let cidr = json!({
        "metadata": {"name": "a"},
        "spec": {"cidrs": ["10.5.0.0/24"]}, "status": {"conditions": [condition]},
    });
    let mut made = server.post(cidrs, cidr).await.expect(201);
    assert_eq!(made["status"]["conditions"], json!([condition]));
    made["status"]["conditions"][0]["message"] = "other".into();
    let path = format!("{cidrs}/a");
    let changed = server.put(&path, made).await.expect(200);
    assert_eq!(changed["status"]["conditions"][0]["message"], "other");
}

/// Commands of WebSocket clients are not translated: the kubelet gets them as they are.
#[tokio::test(flavor = "multi_thread")]
async fn web_sockets_go_to_kubelets() {
    let off = without(&[
        "TranslateStreamCloseWebsocketRequests",
        "PortForwardWebsockets",
    ]);
    let Some(server) = Server::start_with(&[off]).await else {
        return;
    };
    server.namespace("default").await;
    let (port, _) = egress::kubelet().await;
    let node = json!({"metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    server.post("/api/v1/nodes", node).await.expect(201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "containers": [{"name": "c", "image": "i"}],
    }});
    server.post(pods, pod).await.expect(201);
    for (path, protocol) in [
        ("exec?command=x&stdout=true", "v5.channel.k8s.io"),
        ("portforward?ports=1", "SPDY/3.1+portforward.k8s.io"),
    ] {
        let headers = [("sec-websocket-protocol", protocol)];
        let path = format!("{pods}/p/{path}");
        let answer = server.web_socket(&path, &headers).await;
        assert_eq!(answer.status(), 101, "{path}");
        // This kubelet sends back what it gets, which is no frame.
        let mut connection =
            hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        connection.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        connection.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ping", "{path}");
    }
}

/// Tokens that a node asks for, for this audience, again until there is an answer that the audience or the feature makes.
pub(super) async fn node_token(server: &Server, pod: &Value, audience: &str) -> Answer {
    let request = json!({"spec": {
        "audiences": [audience],
        "boundObjectRef": {
            "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
        },
    }});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let headers = [
        ("content-type", JSON),
        ("impersonate-user", "system:node:n"),
        ("impersonate-group", "system:nodes"),
    ];
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = server
            .send("POST", path, &headers, request.to_string())
            .await;
        // The node authorizer learns of the pod from a watch.
        let early = answer.code == 403 && answer.message().contains("no relationship found");
        if !early || tokio::time::Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that restricts nodes, and a pod on the node `n`.
pub(super) async fn with_pod_on_node(more: &[String], volumes: Value) -> Option<(Server, Value)> {
    let mut flags = vec![
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
    ];
    flags.extend_from_slice(more);
    let server = Server::start_with(&flags).await?;
    server.namespace("default").await;
    let node = json!({"metadata": {"name": "n"}});
    server.post("/api/v1/nodes", node).await.expect(201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "serviceAccountName": "default", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}], "volumes": volumes,
    }});
    let path = "/api/v1/namespaces/default/pods";
    let pod = server.post(path, pod).await.expect(201);
    Some((server, pod))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ask_for_any_audience() {
    let off = [without(&["ServiceAccountNodeAudienceRestriction"])];
    let Some((server, pod)) = with_pod_on_node(&off, json!([])).await else {
        return;
    };
    node_token(&server, &pod, "vault").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ask_for_audiences_of_their_pods() {
    let Some((server, pod)) = with_pod_on_node(&[], json!([])).await else {
        return;
    };
    node_token(&server, &pod, "vault").await.refuses(
        403,
        "serviceaccounts \"default\" is forbidden: audience \"vault\" not found in pod spec volume, \
         system:node:n is not authorized to request tokens for this audience",
    );
}

#[tokio::test]
async fn key_sets_of_issuers_are_not_counted() {
    let issuers = authentication::Issuers::start().await;
    let key = authentication::new_key();
    issuers.issuer("/a", &[&key]);
    let jwt = json!([issuers.authenticator("/a", json!({}))]);
    let file = issuers.configure(jwt, json!({}));
    let flags = [
        authentication::config_flag(&file),
        without(&["StructuredAuthenticationConfigurationJWKSMetrics"]),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    let token = issuers.token("/a", &key, json!({}));
    server.who_in_time(&token, 201).await;
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    assert!(metrics.contains("apiserver_authentication_jwt_authenticator_latency_seconds_count{"));
    assert!(!metrics.contains("apiserver_authentication_jwt_authenticator_jwks_fetch"));
}

#[tokio::test]
async fn uids_are_not_told_to_aggregated_servers() {
    let off = [without(&["RemoteRequestHeaderUID"])];
    aggregation::aggregates(&off).await;
}

/// Whether OpenAPI tells of values that fields may have.
async fn tells_enums(more: &[String]) -> Option<[bool; 3]> {
    let server = Server::start_with(more).await?;
    let mut told = [false; 3];
    let v3 = server.get("/openapi/v3/api/v1").await.expect(200);
    let v2 = server.get("/openapi/v2").await.expect(200);
    for (at, document) in [v3.to_string(), v2.to_string()].into_iter().enumerate() {
        told[at] = document.contains("\"enum\":[");
        told[2] |= document.contains("Possible enum values:");
    }
    Some(told)
}

#[tokio::test]
async fn openapi_tells_enums() {
    if let Some(told) = tells_enums(&[]).await {
        assert_eq!(told, [true; 3]);
    }
}

#[tokio::test]
async fn openapi_tells_no_enums() {
    if let Some(told) = tells_enums(&[without(&["OpenAPIEnums"])]).await {
        assert_eq!(told, [false; 3]);
    }
}

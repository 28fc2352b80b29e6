//! Certificates that kubelets ask for on behalf of pods, with the feature PodCertificateRequest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const REQUESTS: &str =
    "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests";
const NODE: [(&str, &str); 3] = [
    ("content-type", JSON),
    ("impersonate-user", "system:node:n"),
    ("impersonate-group", "system:nodes"),
];

#[tokio::test(flavor = "multi_thread")]
async fn kubelets_ask_and_signers_answer() {
    let flags = [
        "--feature-gates=PodCertificateRequest=true".to_owned(),
        "--runtime-config=certificates.k8s.io/v1beta1/podcertificaterequests=true".to_owned(),
    ];
    let Some((server, pod)) = gates::with_pod_on_node(&flags, json!([])).await else {
        return;
    };
    let uid = async |path: &str| {
        let found = server.get(path).await.expect(200);
        found["metadata"]["uid"].clone()
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key);
    let request = json!({
        "metadata": {"generateName": "req-"},
        "spec": {
            "signerName": "example.com/signer",
            "podName": "p", "podUID": pod["metadata"]["uid"],
            "serviceAccountName": "default",
            "serviceAccountUID": uid("/api/v1/namespaces/default/serviceaccounts/default").await,
            "nodeName": "n", "nodeUID": uid("/api/v1/nodes/n").await,
            "maxExpirationSeconds": 86400,
            "stubPKCS10Request": STANDARD.encode(csr.unwrap().der()),
        },
    });
    let post = async |request: &Value| {
        server
            .send("POST", REQUESTS, &NODE, request.to_string())
            .await
    };
    let mut of_another = request.clone();
    of_another["spec"]["nodeName"] = "m".into();
    let refused = post(&of_another).await;
    assert_eq!(refused.code, 403);
    let text = "PodCertificateRequest.Spec.NodeName=\"m\", which is not the requesting node \"n\"";
    assert!(refused.message().ends_with(text), "{}", refused.message());
    let made = post(&request).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();

    let listed = async |selector: &str| {
        let path = format!("{REQUESTS}?fieldSelector={selector}");
        server.send("GET", &path, &NODE, "").await
    };
    assert_eq!(listed("").await.code, 403);
    let own = listed("spec.nodeName%3Dn").await.expect(200);
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    let path = format!("{REQUESTS}?fieldSelector=spec.podName%3Dq");
    assert_eq!(server.get(&path).await.expect(200)["items"], json!([]));

    let mut denied = made.clone();
    denied["status"] = json!({"conditions": [{
        "type": "Denied", "status": "True", "reason": "No", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let status = format!("{REQUESTS}/{name}/status");
    let rules = json!([{
        "apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests/status"],
        "verbs": ["update"],
    }]);
    server.grant("signer", "writer", rules).await;
    let headers = [("content-type", JSON), ("impersonate-user", "signer")];
    let put = async || {
        server
            .send("PUT", &status, &headers, denied.to_string())
            .await
    };
    let refused = format!(
        "PodCertificateRequest.certificates.k8s.io \"{name}\" is invalid: spec.signerName: Forbidden: \
         User \"signer\" is not permitted to \"sign\" for signer \"example.com/signer\""
    );
    put().await.refuses(422, &refused);
    let rules = json!([{
        "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["example.com/*"], "verbs": ["sign"],
    }]);
    server.grant("signer", "signer", rules).await;
    let changed = put().await.expect(200);
    assert_eq!(changed["status"]["conditions"][0]["type"], "Denied");
}

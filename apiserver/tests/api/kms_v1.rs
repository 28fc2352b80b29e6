//! KMS v1 of encryption at rest, with a key service of the test's own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use prost::Message as _;
use tonic::{Code, Status};

use super::Server;
use super::encryption::{CLEAR, SECRETS, eventually, secret, write};
use super::grpc::{self, Answers};

/// "Seals" by turning every bit.
#[derive(Clone, Default)]
struct Plugin(Arc<Shared>);

#[derive(Default)]
struct Shared {
    version: Mutex<String>,
    is_shut: Mutex<bool>,
    encrypts: AtomicUsize,
    decrypts: AtomicUsize,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Version {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(string, tag = "3")]
    runtime_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "vec", tag = "2")]
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answered {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

impl Answers for Plugin {
    const SERVICE: &'static str = "v1beta1.KeyManagementService";

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        let shared = &self.0;
        if method == "/v1beta1.KeyManagementService/Version" {
            let version = Version {
                version: shared.version.lock().clone(),
                runtime_name: "tester".to_owned(),
                runtime_version: "0.1.0".to_owned(),
            };
            return Ok(version.encode_to_vec());
        }
        let calls = match method {
            "/v1beta1.KeyManagementService/Encrypt" => &shared.encrypts,
            "/v1beta1.KeyManagementService/Decrypt" => &shared.decrypts,
            _ => return Err(Status::unimplemented("")),
        };
        if *shared.is_shut.lock() {
            return Err(Status::new(Code::FailedPrecondition, "the vault is shut"));
        }
        calls.fetch_add(1, Ordering::Relaxed);
        let asked = Asked::decode(request).unwrap();
        assert_eq!(asked.version, "v1beta1");
        let bytes = asked.bytes.iter().map(|byte| !byte).collect();
        Ok(Answered { bytes }.encode_to_vec())
    }
}

impl Plugin {
    fn calls(&self) -> (usize, usize) {
        let count = |calls: &AtomicUsize| calls.load(Ordering::Relaxed);
        (count(&self.0.encrypts), count(&self.0.decrypts))
    }
}

fn flags(folder: &Path, gate: bool) -> [String; 2] {
    let file = folder.join("encryption.yaml");
    let socket = folder.join("kms.sock");
    let rules = format!(
        "- resources: [secrets]\n  providers: [{{kms: {{name: vault, endpoint: 'unix://{}', timeout: 1s}}}}, {{identity: {{}}}}]\n",
        socket.display()
    );
    write(&file, &rules);
    [
        format!("--encryption-provider-config={}", file.display()),
        format!("--feature-gates=KMSv1={gate}"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_gate_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(started) = Server::try_start_with(&flags(folder.path(), false)).await else {
        return;
    };
    assert_eq!(
        started.err().as_deref(),
        Some(
            "error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_has_a_key_that_the_service_seals() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = Plugin::default();
    "v1beta1".clone_into(&mut plugin.0.version.lock());
    let stop = grpc::serve(&plugin, &folder.path().join("kms.sock"));
    let flags = flags(folder.path(), true);
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    // Nobody is asked before there is something to seal.
    assert_eq!(plugin.calls(), (0, 0));
    for name in ["a", "b"] {
        server.post(SECRETS, secret(name)).await.expect(201);
    }
    assert_eq!(plugin.calls(), (2, 0));
    let mut keys = Vec::new();
    for name in ["a", "b"] {
        let stored = server.stored(&format!("secrets/default/{name}")).await;
        assert!(
            !stored
                .windows(CLEAR.len())
                .any(|part| part == CLEAR.as_bytes())
        );
        // The length of the sealed key, the key, and a nonce, the value and a tag.
        let sealed = stored.strip_prefix(b"k8s:enc:kms:v1:vault:\0\x20").unwrap();
        keys.push(sealed[..32].to_vec());
    }
    assert_ne!(keys[0], keys[1]);
    // The keys are at hand here, and not elsewhere.
    let a = format!("{SECRETS}/a");
    let read = server.get(&a).await.expect(200);
    let other = Server::serve(server._etcd.clone(), &flags).await;
    assert_eq!(other.get(&a).await.expect(200)["data"], read["data"]);
    assert_eq!(plugin.calls().0, 2);
    assert!(plugin.calls().1 >= 1);
    server
        .has_series(&[
            "apiserver_envelope_encryption_dek_cache_fill_percent 0.002\n",
            "apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds_count{transformation_type=\"to_storage\"} 2\n",
            "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v1:vault:\"} 2\n",
        ])
        .await;
    // What does not reach the service is not written.
    *plugin.0.is_shut.lock() = true;
    server.post(SECRETS, secret("c")).await.refuses(
        500,
        "Internal error occurred: rpc error: code = FailedPrecondition desc = the vault is shut",
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_has_a_health_check() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = Plugin::default();
    "v2".clone_into(&mut plugin.0.version.lock());
    let stop = grpc::serve(&plugin, &folder.path().join("kms.sock"));
    let Some(server) = Server::start_with(&flags(folder.path(), true)).await else {
        return;
    };
    let check = async || {
        let health = server.get("/healthz/kms-provider-0").await;
        (health.code, String::from_utf8(health.text).unwrap())
    };
    assert_eq!(
        check().await,
        (
            500,
            "internal server error: failed to perform encrypt section of the healthz check for KMS Provider vault, error: KMS provider api version v2 is not supported, only v1beta1 is supported now\n"
                .to_owned()
        )
    );
    "v1beta1".clone_into(&mut plugin.0.version.lock());
    eventually("the service is asked again", async || {
        check().await.0 == 200
    })
    .await;
    assert_eq!(server.get("/readyz/kms-provider-0").await.code, 200);
    assert_eq!(server.get("/livez/kms-provider-0").await.code, 404);
    assert_eq!(server.get("/healthz/kms-providers").await.code, 404);
    stop.cancel();
}

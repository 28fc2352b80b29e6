//! Encryption at rest, up to the bytes in etcd, with a key service of the test's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::grpc::{self, Answers};
use super::{APPLY, CONFIG_MAPS, JSON_PATCH, MERGE, Server, config_map, custom_resources};

pub(super) const SECRETS: &str = "/api/v1/namespaces/default/secrets";
pub(super) const CLEAR: &str = "nobody may read this";
const LONG: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub(super) fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"a": CLEAR}})
}

pub(super) fn write(file: &Path, resources: &str) {
    let header =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    std::fs::write(file, format!("{header}{resources}")).unwrap();
}

fn keys(provider: &str, name: &str) -> String {
    format!("{{{provider}: {{keys: [{{name: '{name}', secret: '{LONG}'}}]}}}}")
}

impl Server {
    /// With a file of encryption that is followed.
    async fn encrypting(resources: &str) -> Option<(Server, PathBuf, tempfile::TempDir)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("encryption.yaml");
        write(&file, resources);
        let flags = [
            format!("--encryption-provider-config={}", file.display()),
            "--encryption-provider-config-automatic-reload=true".to_owned(),
        ];
        let server = Server::start_with(&flags).await?;
        server.namespace("default").await;
        Some((server, file, folder))
    }

    /// What etcd has at a key below the prefix.
    pub(super) async fn stored(&self, key: &str) -> Vec<u8> {
        let mut client = etcd_client::Client::connect([self._etcd.endpoint()], None)
            .await
            .unwrap();
        let mut found = client.get(format!("/registry/{key}"), None).await.unwrap();
        found.take_kvs().remove(0).value().to_vec()
    }
}

/// Whatever way an object was written, and whatever encrypts it: its text is nowhere in etcd.
#[tokio::test(flavor = "multi_thread")]
async fn no_provider_leaves_a_text_in_etcd() {
    for provider in ["aescbc", "aesgcm", "secretbox"] {
        let rules = format!(
            "- resources: [secrets, configmaps, things.example.com]\n  providers: [{}]\n",
            keys(provider, "one")
        );
        let Some((server, _file, _folder)) = Server::encrypting(&rules).await else {
            return;
        };
        apiserver::hooks::start(server.inner(), server.stop.clone());
        let definition = custom_resources::definition();
        server
            .post(custom_resources::CRDS, definition)
            .await
            .expect(201);
        custom_resources::until_served(&server, "v1", true).await;

        let thing = |name: &str, text: &str| {
            json!({
                "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name},
                "spec": {"size": 4, "free": {"text": text}},
            })
        };
        let map = |name: &str, text: &str| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"a": text},
            })
        };
        let things = "/apis/example.com/v1/namespaces/default/things";
        let make: [&dyn Fn(&str, &str) -> Value; 3] = [
            &|name, text| {
                json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                    "stringData": {"a": text},
                })
            },
            &map,
            &thing,
        ];
        for (folder, make) in [SECRETS, CONFIG_MAPS, things].into_iter().zip(make) {
            server
                .post(folder, make("created", CLEAR))
                .await
                .expect(201);
            let created = server.post(folder, make("updated", "x")).await.expect(201);
            let mut update = make("updated", CLEAR);
            update["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"].clone();
            let updated = format!("{folder}/updated");
            server.put(&updated, update).await.expect(200);
            server.post(folder, make("patched", "x")).await.expect(201);
            let patched = format!("{folder}/patched");
            let patch = make("patched", CLEAR).to_string();
            server.patch(&patched, MERGE, patch).await.expect(200);
            let applied = format!("{folder}/applied?fieldManager=m");
            let patch = make("applied", CLEAR).to_string();
            server.patch(&applied, APPLY, patch).await.expect(201);
        }

        let mut client = etcd_client::Client::connect([server._etcd.endpoint()], None)
            .await
            .unwrap();
        let all = etcd_client::GetOptions::new().with_all_keys();
        let stored = client.get("", Some(all)).await.unwrap();
        let mut encrypted = 0;
        for pair in stored.kvs() {
            let key = String::from_utf8_lossy(pair.key());
            assert!(!clear(pair.value()), "{provider}: {key}");
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(CLEAR);
            let hides = |part: &[u8]| part == encoded.as_bytes();
            assert!(
                !pair.value().windows(encoded.len()).any(hides),
                "{provider}: {key}"
            );
            let prefix = format!("k8s:enc:{provider}:v1:one:");
            encrypted += usize::from(pair.value().starts_with(prefix.as_bytes()));
        }
        assert!(encrypted >= 12, "{provider}: {encrypted}");
    }
}

/// The clear text of a secret.
#[track_caller]
fn revealed(value: &Value) -> String {
    use base64::Engine as _;
    let data = value["data"]["a"].as_str().unwrap();
    String::from_utf8(
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap(),
    )
    .unwrap()
}

fn clear(stored: &[u8]) -> bool {
    stored
        .windows(CLEAR.len())
        .any(|part| part == CLEAR.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_clear_to_clients_is_not_to_etcd() {
    let rules = format!(
        "- resources: [secrets]\n  providers: [{}]\n- resources: [widgets.example.com]\n  providers: [{}]\n",
        keys("aescbc", "one"),
        keys("aesgcm", "two")
    );
    let Some((server, file, _folder)) = Server::encrypting(&rules).await else {
        return;
    };
    server.post(SECRETS, secret("a")).await.expect(201);
    server.post(SECRETS, secret("b")).await.expect(201);
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    let written = server.stored("secrets/default/a").await;
    assert!(written.starts_with(b"k8s:enc:aescbc:v1:one:") && !clear(&written));
    let config_map = server.stored("configmaps/default/a").await;
    assert!(config_map.starts_with(b"k8s\0"));
    let read = server.get(&format!("{SECRETS}/a")).await.expect(200);
    assert_eq!(revealed(&read), CLEAR);
    let list = server.get(SECRETS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);

    // The other key writes now. An update that changes nothing writes what the old one wrote; once.
    let rotated = rules.replace(
        "aescbc: {keys: [",
        &format!("aescbc: {{keys: [{{name: 'new', secret: '{LONG}'}}, "),
    );
    write(&file, &rotated);
    let encryption = server.inner().encryption.clone().unwrap();
    assert_eq!(encryption.take_over().await, Ok(true));
    let versions = async |body: &'static str| {
        let patched = server.patch(&format!("{SECRETS}/a"), MERGE, body).await;
        patched.expect(200)["metadata"]["resourceVersion"].clone()
    };
    let rewritten = versions("{}").await;
    assert_ne!(rewritten, read["metadata"]["resourceVersion"]);
    assert_eq!(versions("{}").await, rewritten);
    let stored = server.stored("secrets/default/a").await;
    assert!(stored.starts_with(b"k8s:enc:aescbc:v1:new:"));
    assert_eq!(
        server.stored("secrets/default/b").await[..22],
        written[..22]
    );

    // Without the old key that one object cannot be read, and says so.
    write(&file, &rules.replace("'one'", "'new'"));
    assert_eq!(encryption.take_over().await, Ok(true));
    let restarted = Server::on(&server, &file).await;
    restarted.get(&format!("{SECRETS}/b")).await.refuses(
        500,
        "Internal error occurred: no matching key was found for the provided AES transformer",
    );
    let readable = restarted.get(&format!("{SECRETS}/a")).await.expect(200);
    assert_eq!(revealed(&readable), CLEAR);
    restarted.get(SECRETS).await.refuses(
        500,
        "Internal error occurred: unable to transform key \"/registry/secrets/default/b\": no matching key was found for the provided AES transformer",
    );
    // The key comes back, and the object with it.
    write(&file, &rotated);
    let encryption = restarted.inner().encryption.clone().unwrap();
    assert_eq!(encryption.take_over().await, Ok(true));
    let secrets = restarted.inner().resources.known("", "secrets").unwrap();
    secrets.storage.as_ref().unwrap().reread_unreadable();
    let list = restarted.get(SECRETS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_do_not_change_places() {
    let rules = format!(
        "- resources: [secrets]\n  providers: [{}]\n",
        keys("aesgcm", "one")
    );
    let Some((server, _file, _folder)) = Server::encrypting(&rules).await else {
        return;
    };
    server.post(SECRETS, secret("a")).await.expect(201);
    let stored = server.stored("secrets/default/a").await;
    let mut client = etcd_client::Client::connect([server._etcd.endpoint()], None)
        .await
        .unwrap();
    client
        .put("/registry/secrets/default/b", stored, None)
        .await
        .unwrap();
    server.get(&format!("{SECRETS}/b")).await.refuses(
        500,
        "Internal error occurred: cipher: message authentication failed",
    );
}

/// A key service: "seals" by turning every bit, and says which of its keys it did that with.
#[derive(Clone, Default)]
struct Plugin(Arc<Shared>);

#[derive(Default)]
struct Shared {
    key: Mutex<String>,
    ill: Mutex<Option<&'static str>>,
    decrypts: AtomicUsize,
    encrypts: AtomicUsize,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// The fields of requests and responses with bytes, as far as the plugin cares.
#[derive(Clone, PartialEq, prost::Message)]
struct Sealing {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Opening {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

impl Answers for Plugin {
    const SERVICE: &'static str = "v2.KeyManagementService";

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        let shared = &self.0;
        let key_id = shared.key.lock().clone();
        match method {
            "/v2.KeyManagementService/Status" => Ok(StatusResponse {
                version: "v2".to_owned(),
                healthz: shared.ill.lock().unwrap_or("ok").to_owned(),
                key_id,
            }
            .encode_to_vec()),
            "/v2.KeyManagementService/Encrypt" => {
                shared.encrypts.fetch_add(1, Ordering::Relaxed);
                let request = Sealing::decode(request).unwrap();
                assert_eq!((request.bytes.len(), request.second.len()), (32, 36));
                Ok(Sealed {
                    ciphertext: turned(&request.bytes),
                    annotations: BTreeMap::from([(
                        "note.example.com".to_owned(),
                        key_id.clone().into_bytes(),
                    )]),
                    key_id,
                }
                .encode_to_vec())
            }
            "/v2.KeyManagementService/Decrypt" => {
                shared.decrypts.fetch_add(1, Ordering::Relaxed);
                if shared.ill.lock().is_some() {
                    return Err(Status::new(Code::FailedPrecondition, "the vault is shut"));
                }
                let request = Opening::decode(request).unwrap();
                assert_eq!(
                    request.annotations["note.example.com"],
                    request.key_id.as_bytes()
                );
                Ok(Sealing {
                    bytes: turned(&request.ciphertext),
                    second: String::new(),
                }
                .encode_to_vec())
            }
            _ => Err(Status::unimplemented("")),
        }
    }
}

/// Calls until the answer is what is wanted.
pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_seals_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kms.sock");
    let plugin = Plugin::default();
    "first".clone_into(&mut plugin.0.key.lock());
    let stop = grpc::serve(&plugin, &socket);
    let rules = format!(
        "- resources: [secrets]\n  providers: [{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}', timeout: 1s}}}}]\n",
        socket.display()
    );
    let Some((server, file, _folder)) = Server::encrypting(&rules).await else {
        return;
    };
    for name in ["a", "b", "c"] {
        server.post(SECRETS, secret(name)).await.expect(201);
    }
    let stored = server.stored("secrets/default/a").await;
    assert!(stored.starts_with(b"k8s:enc:kms:v2:vault:") && !clear(&stored));
    let list = server.get(SECRETS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    // One seed for all of them, and nothing needed opening.
    let calls = || {
        (
            plugin.0.encrypts.load(Ordering::Relaxed),
            plugin.0.decrypts.load(Ordering::Relaxed),
        )
    };
    assert_eq!(calls(), (1, 0));
    let health = server.get("/healthz/kms-providers").await;
    assert_eq!(
        (health.code, health.text.as_slice()),
        (200, b"ok".as_slice())
    );

    // Another server has a seed of its own, and has the first one's opened: once.
    let other = Server::on(&server, &file).await;
    let list = other.get(SECRETS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!(calls(), (2, 1));
    let patch = r#"[{"op": "add", "path": "/metadata/labels", "value": {"l": "v"}}]"#;
    other
        .patch(&format!("{SECRETS}/a"), JSON_PATCH, patch)
        .await
        .expect(200);
    eventually("the first server sees the other's write", async || {
        let read = server.get(&format!("{SECRETS}/a")).await.expect(200);
        read["metadata"]["labels"]["l"] == "v" && revealed(&read) == CLEAR
    })
    .await;
    assert_eq!(calls(), (2, 2));
    // The same key: nothing to be written again.
    let version = async |server: &Server, name: &str| {
        let patched = server
            .patch(&format!("{SECRETS}/{name}"), MERGE, "{}")
            .await;
        patched.expect(200)["metadata"]["resourceVersion"].clone()
    };
    assert_eq!(version(&other, "b").await, version(&server, "b").await);

    // Another key: the next server to look writes with it, and rewrites.
    "second".clone_into(&mut plugin.0.key.lock());
    let third = Server::on(&server, &file).await;
    let before = version(&server, "b").await;
    let after = version(&third, "b").await;
    assert_ne!(before, after);
    assert_eq!(version(&third, "b").await, after);

    // A server that starts while the service is ill reads nothing, says so, and recovers without a restart.
    *plugin.0.ill.lock() = Some("broken");
    let late = Server::on(&server, &file).await;
    let health = late.get("/readyz/kms-providers").await;
    let text = String::from_utf8(health.text).unwrap();
    assert!(
        health.code == 500
            && text.starts_with("internal server error: kms-provider-0: kmsv2 Provider vault is not healthy, error: got unexpected healthz status: broken"),
        "{text}"
    );
    let read = late.get(&format!("{SECRETS}/a")).await;
    read.refuses(
        500,
        "Internal error occurred: failed to decrypt DEK, error: rpc error: code = FailedPrecondition desc = the vault is shut",
    );
    *plugin.0.ill.lock() = None;
    eventually("secrets can be listed", async || {
        late.get(SECRETS).await.code == 200
    })
    .await;
    let metrics = String::from_utf8(late.get("/metrics").await.text).unwrap();
    for series in [
        "apiserver_envelope_encryption_kms_operations_latency_seconds_count{grpc_status_code=\"FailedPrecondition\",method_name=\"/v2.KeyManagementService/Decrypt\",provider_name=\"vault\"}",
        "apiserver_envelope_encryption_dek_source_cache_size{provider_name=\"vault\"}",
        "apiserver_envelope_encryption_key_id_hash_total{",
        "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"FailedPrecondition\",transformation_type=\"from_storage\",transformer_prefix=\"k8s:enc:kms:v2:vault:\"}",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    stop.cancel();
}

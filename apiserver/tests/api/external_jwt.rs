//! Service account tokens that a signer of the test's own signs, behind a socket.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::Status;

use super::grpc::{self, Answers};
use super::*;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// A text and bytes, or another text: what requests and answers are made of.
#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    der: Vec<u8>,
    #[prost(bool, tag = "3")]
    excluded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Keys {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
    #[prost(message, optional, tag = "2")]
    time: Option<Number>,
    #[prost(int64, tag = "3")]
    refresh_seconds: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Number {
    #[prost(int64, tag = "1")]
    value: i64,
}

struct Pair {
    id: &'static str,
    pair: EcdsaKeyPair,
    excluded: bool,
}

/// The first key signs.
#[derive(Clone)]
struct Signer(Arc<Mutex<State>>);

struct State {
    keys: Vec<Pair>,
    algorithm: &'static str,
    max_seconds: i64,
    refresh_seconds: i64,
    fetched: usize,
}

fn pair(id: &'static str, excluded: bool) -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    Pair { id, pair, excluded }
}

impl Answers for Signer {
    const SERVICE: &'static str = "v1.ExternalJWTSigner";

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        let mut state = self.0.lock();
        match method {
            "/v1.ExternalJWTSigner/Sign" => {
                let claims = Texts::decode(request).unwrap().first;
                let Some(key) = state.keys.first() else {
                    return Err(Status::failed_precondition("the vault is shut"));
                };
                let header = json!({"alg": state.algorithm, "kid": key.id, "typ": "JWT"});
                let header = URL_SAFE_NO_PAD.encode(header.to_string());
                let signed = format!("{header}.{claims}");
                let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes());
                Ok(Texts {
                    first: header,
                    second: URL_SAFE_NO_PAD.encode(signature.unwrap()),
                }
                .encode_to_vec())
            }
            "/v1.ExternalJWTSigner/FetchKeys" => {
                state.fetched += 1;
                let key = |key: &Pair| {
                    let der: PublicKeyX509Der<'_> = key.pair.public_key().as_der().unwrap();
                    Key {
                        id: key.id.to_owned(),
                        der: der.as_ref().to_vec(),
                        excluded: key.excluded,
                    }
                };
                Ok(Keys {
                    keys: state.keys.iter().map(key).collect(),
                    time: Some(Number {
                        value: 1_700_000_000,
                    }),
                    refresh_seconds: state.refresh_seconds,
                }
                .encode_to_vec())
            }
            "/v1.ExternalJWTSigner/Metadata" => Ok(Number {
                value: state.max_seconds,
            }
            .encode_to_vec()),
            _ => Err(Status::unimplemented("")),
        }
    }
}

struct Fixture {
    signer: Signer,
    socket: PathBuf,
    _folder: tempfile::TempDir,
    _serving: tokio_util::sync::DropGuard,
}

impl Fixture {
    fn new(keys: Vec<Pair>) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("signer.sock");
        let signer = Signer(Arc::new(Mutex::new(State {
            keys,
            algorithm: "ES256",
            max_seconds: 7200,
            refresh_seconds: 3000,
            fetched: 0,
        })));
        let serving = grpc::serve(&signer, &socket).drop_guard();
        Fixture {
            signer,
            socket,
            _folder: folder,
            _serving: serving,
        }
    }

    fn flags(&self, more: &[&str]) -> Vec<String> {
        let endpoint = format!(
            "--service-account-signing-endpoint={}",
            self.socket.display()
        );
        let more = more.iter().map(|flag| (*flag).to_owned());
        std::iter::once(endpoint).chain(more).collect()
    }
}

impl Server {
    async fn ask_token(&self, spec: Value) -> Answer {
        let path = format!("{ACCOUNTS}/default/token");
        self.post(&path, json!({ "spec": spec })).await
    }

    async fn new_token(&self) -> String {
        let answer = self.ask_token(json!({})).await.expect(201);
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    async fn judge(&self, token: &str) -> Value {
        let review = json!({"spec": {"token": token}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        self.post(path, review).await.expect(201)["status"].clone()
    }
}

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_signs_and_its_keys_are_followed() {
    let fixture = Fixture::new(vec![pair("one", false), pair("old", true)]);
    let Some(server) = Server::start_with(&fixture.flags(&[])).await else {
        return;
    };
    server.namespace("default").await;
    let token = server.new_token().await;
    let who = server.judge(&token).await;
    assert_eq!(
        who["user"]["username"],
        "system:serviceaccount:default:default"
    );
    let asked = json!({"expirationSeconds": 10_000});
    let longest = server.ask_token(asked).await;
    assert_eq!(
        longest.headers["warning"],
        "299 - \"requested expiration of 10000 seconds shortened to 7200 seconds\""
    );
    // Those others are told of, for as long as the signer says.
    let documents = server.get("/openid/v1/jwks").await;
    let control = documents.headers["cache-control"].to_str().unwrap();
    let max_age: u64 = control["public, max-age=".len()..].parse().unwrap();
    assert!((2900..=3000).contains(&max_age), "{control}");
    let keys = documents.expect(200)["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(
        (&keys[0]["kid"], &keys[0]["alg"]),
        (&json!("one"), &json!("ES256"))
    );

    // A key that is not known yet is asked for, once.
    let fetched = fixture.signer.0.lock().fetched;
    fixture.signer.0.lock().keys.insert(0, pair("two", false));
    let newer = server.new_token().await;
    assert_eq!(server.judge(&newer).await["authenticated"], true);
    assert_eq!(fixture.signer.0.lock().fetched, fetched + 1);
    let keys = server.get("/openid/v1/jwks").await.expect(200);
    let ids: Vec<&Value> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert_eq!(ids, ["two", "one"]);
    // Tokens of keys that are gone are no tokens; to look for the key drops the one of the first token.
    fixture.signer.0.lock().keys.remove(1);
    let stranger = server.judge(&of_another_key(&token)).await;
    assert_eq!(
        stranger["error"],
        "[invalid bearer token, invalid signature, no keys found]"
    );

    // What a signer may not do.
    fixture.signer.0.lock().algorithm = "HS256";
    server.ask_token(json!({})).await.refuses(
        500,
        "Internal error occurred: failed to generate token: while validating header: bad signing algorithm \"HS256\"",
    );
    fixture.signer.0.lock().algorithm = "ES256";
    fixture.signer.0.lock().keys.swap(0, 1);
    server.ask_token(json!({})).await.refuses(
        500,
        "Internal error occurred: failed to generate token: while validating header: key used for signing JWT (kid: old) is excluded \
         from OIDC discovery docs",
    );
    fixture.signer.0.lock().keys.clear();
    server.ask_token(json!({})).await.refuses(
        500,
        "Internal error occurred: failed to generate token: while signing jwt: rpc error: code = FailedPrecondition desc = the vault \
         is shut",
    );
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    for series in [
        "apiserver_externaljwt_sign_request_total{code=\"unknown-non-grpc\"} 2\n",
        "apiserver_externaljwt_sign_request_total{code=\"FailedPrecondition\"} 1\n",
        "apiserver_externaljwt_fetch_keys_data_timestamp 1700000000\n",
        "apiserver_externaljwt_fetch_keys_success_timestamp ",
        "apiserver_externaljwt_request_duration_seconds_count{code=\"OK\",method=\"/v1.ExternalJWTSigner/Metadata\"} 1\n",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
}

/// A token that names a key which nobody has any more.
fn of_another_key(token: &str) -> String {
    let header = json!({"alg": "ES256", "kid": "gone", "typ": "JWT"});
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_as_often_as_the_signer_says() {
    let fixture = Fixture::new(vec![pair("one", false)]);
    fixture.signer.0.lock().refresh_seconds = 1;
    let Some(server) = Server::start_with(&fixture.flags(&[])).await else {
        return;
    };
    fixture.signer.0.lock().keys = vec![pair("two", false)];
    let seen = async {
        while server.get("/openid/v1/jwks").await.expect(200)["keys"][0]["kid"] != "two" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen)
        .await
        .expect("keys are fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_tokens_live_as_long_as_the_signer_lets_them() {
    let fixture = Fixture::new(vec![pair("one", false)]);
    let Some(server) = Server::start_with(&fixture.flags(&[])).await else {
        return;
    };
    server.namespace("default").await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = server
        .post("/api/v1/namespaces/default/pods", pod)
        .await
        .expect(201);
    let uid = &pod["metadata"]["uid"];
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
    let spec = json!({"boundObjectRef": reference, "expirationSeconds": 3607});
    let answer = server.ask_token(spec).await.expect(201);
    let claims = claims(answer["status"]["token"].as_str().unwrap());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 7200);
    let warns = claims["kubernetes.io"]["warnafter"].as_u64().unwrap();
    assert!((now + 3500..now + 3700).contains(&warns));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signer_must_be_able_to() {
    let fixture = Fixture::new(vec![pair("one", false)]);
    let start = async |flags: &[&str]| Server::try_start_with(&fixture.flags(flags)).await;
    fixture.signer.0.lock().max_seconds = 599;
    let Some(refused) = start(&[]).await else {
        return;
    };
    assert_eq!(
        refused.err().as_deref(),
        Some(
            "max token life supported by external-jwt-signer (599s) is less than acceptable (min 600s)"
        )
    );
    fixture.signer.0.lock().max_seconds = 7200;
    let refused = start(&["--service-account-max-token-expiration=3h"])
        .await
        .unwrap();
    assert_eq!(
        refused.err().as_deref(),
        Some(
            "service-account-max-token-expiration cannot be set longer than the token expiration supported by \
              service-account-signing-endpoint: 3h0m0s > 2h0m0s"
        )
    );
    fixture.signer.0.lock().refresh_seconds = 0;
    let refused = start(&[]).await.unwrap();
    assert_eq!(
        refused.err().as_deref(),
        Some(
            "while setting up external-jwt-signer: while initially filling key cache: while performing initial cache fill: while \
              fetching token verification keys: found invalid refresh hint (0s)"
        )
    );
}

use std::collections::HashMap;

use api_types::core::v1::ServiceAccount;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::*;
use crate::authn::{BindTo, TokenIssuer, jws};

const API: &str = "https://api";

#[derive(Default)]
struct Subjects {
    states: HashMap<String, SubjectState>,
    secrets: HashMap<String, Arc<Secret>>,
}

impl Subjects {
    fn state(&self, key: String) -> BoxFuture<'_, Option<SubjectState>> {
        let state = self.states.get(&key).cloned();
        Box::pin(async move { state })
    }
}

impl TokenSubjects for Subjects {
    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<SubjectState>> {
        self.state(format!("account/{namespace}/{name}"))
    }
    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        self.state(format!("pod/{namespace}/{name}"))
    }
    fn node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        self.state(format!("node/{name}"))
    }
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Arc<Secret>>> {
        let secret = self.secrets.get(&format!("{namespace}/{name}")).cloned();
        Box::pin(async move { secret })
    }
}

fn key() -> Vec<u8> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = pair.to_pkcs8v1().expect("DER");
    pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())).into_bytes()
}

fn account() -> ServiceAccount {
    let mut account = ServiceAccount::default();
    account.metadata.namespace = "ns".into();
    account.metadata.name = "robot".into();
    account.metadata.uid = "u1".into();
    account
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

fn alive(uid: &str) -> SubjectState {
    SubjectState {
        uid: uid.into(),
        deleted_at: None,
    }
}

fn judge(
    tokens: &BoundTokens,
    token: &str,
    audiences: &[&str],
    now: i64,
) -> Result<Option<Authenticated>, String> {
    let audiences: Vec<String> = audiences
        .iter()
        .map(|audience| (*audience).to_owned())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime
        .block_on(tokens.judge(token, &audiences, at(now)))
        .map_err(|error| error.to_string())
}

struct Setting {
    issuer: TokenIssuer,
    keys: Vec<PublicKey>,
}

impl Setting {
    fn new() -> Self {
        let pem = key();
        let keys = jws::read_public_keys(&pem).expect("a public half");
        Self {
            issuer: TokenIssuer::new(API, &pem, keys.clone()).expect("a key"),
            keys,
        }
    }

    fn token(&self, bind_to: &BindTo, audiences: &[&str]) -> String {
        let audiences: Vec<String> = audiences
            .iter()
            .map(|audience| (*audience).to_owned())
            .collect();
        self.issuer
            .issue(&account(), bind_to, 600, None, &audiences, at(0))
            .expect("signed")
            .token
    }

    fn tokens(&self, states: &[(&str, SubjectState)]) -> BoundTokens {
        let subjects = Subjects {
            states: states
                .iter()
                .map(|(key, state)| ((*key).to_owned(), state.clone()))
                .collect(),
            ..Subjects::default()
        };
        BoundTokens::new(
            vec![API.into()],
            self.keys.clone(),
            vec![API.into()],
            Some(Arc::new(subjects)),
        )
    }
}

#[test]
fn a_pods_token() {
    let setting = Setting::new();
    let bind = BindTo::Pod {
        name: "pod".into(),
        uid: "p1".into(),
        node: Some(("node".into(), "n1".into())),
    };
    let token = setting.token(&bind, &[API]);
    let tokens = setting.tokens(&[
        ("account/ns/robot", alive("u1")),
        ("pod/ns/pod", alive("p1")),
    ]);
    let user = judge(&tokens, &token, &[], 10)
        .expect("valid")
        .expect("known")
        .user;
    assert_eq!(user.name, "system:serviceaccount:ns:robot");
    assert_eq!(user.uid, "u1");
    assert_eq!(
        user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:ns"]
    );
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["pod"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["n1"]);
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));

    let invalidated = "service account token has been invalidated";
    #[track_caller]
    fn check(
        setting: &Setting,
        token: &str,
        states: &[(&str, SubjectState)],
        now: i64,
        expected: &str,
    ) {
        assert_eq!(
            judge(&setting.tokens(states), token, &[], now).expect_err("refused"),
            expected
        );
    }
    let gone = |uid: &str, second: i64| SubjectState {
        uid: uid.into(),
        deleted_at: Some(at(second)),
    };
    check(
        &setting,
        &token,
        &[("account/ns/robot", alive("u1"))],
        10,
        invalidated,
    );
    check(
        &setting,
        &token,
        &[
            ("account/ns/robot", alive("u1")),
            ("pod/ns/pod", gone("p1", 0)),
        ],
        100,
        invalidated,
    );
    check(
        &setting,
        &token,
        &[
            ("account/ns/robot", alive("u1")),
            ("pod/ns/pod", alive("p2")),
        ],
        10,
        "pod UID (p2) does not match service account pod ref claim (p1)",
    );
    check(
        &setting,
        &token,
        &[
            ("account/ns/robot", alive("u2")),
            ("pod/ns/pod", alive("p1")),
        ],
        10,
        "service account UID (u2) does not match claim (u1)",
    );
    check(
        &setting,
        &token,
        &[
            ("account/ns/robot", alive("u1")),
            ("pod/ns/pod", alive("p1")),
        ],
        661,
        "service account token has expired",
    );
    check(
        &setting,
        &token,
        &[
            ("account/ns/robot", alive("u1")),
            ("pod/ns/pod", alive("p1")),
        ],
        -61,
        "service account token is not valid yet",
    );
    // A pod that is being deleted keeps its token for the leeway.
    let tokens = setting.tokens(&[
        ("account/ns/robot", alive("u1")),
        ("pod/ns/pod", gone("p1", 0)),
    ]);
    assert!(judge(&tokens, &token, &[], 30).expect("valid").is_some());
}

#[test]
fn audiences_and_issuers() {
    let setting = Setting::new();
    let states = [("account/ns/robot", alive("u1"))];
    let tokens = setting.tokens(&states);
    let token = setting.token(&BindTo::Account, &["vault", API]);
    assert_eq!(
        judge(&tokens, &token, &["vault", "other"], 0)
            .expect("valid")
            .expect("known")
            .audiences,
        ["vault"]
    );
    assert!(judge(&tokens, &token, &["other"], 0).is_err());
    let other = setting.token(&BindTo::Account, &["vault"]);
    assert!(
        judge(&tokens, &other, &[], 0).is_err(),
        "not for this API server"
    );
    // Another issuer's token is not this authenticator's business; one signed by another key is refused.
    let elsewhere = BoundTokens::new(
        vec!["https://other".into()],
        setting.keys.clone(),
        vec![API.into()],
        None,
    );
    assert_eq!(judge(&elsewhere, &token, &[], 0), Ok(None));
    let stranger = Setting::new().token(&BindTo::Account, &[API]);
    assert!(judge(&tokens, &stranger, &[], 0).is_err());
    assert_eq!(judge(&tokens, "opaque", &[], 0), Ok(None));
}

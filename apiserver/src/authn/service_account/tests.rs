use std::collections::HashMap;

use api_types::core::v1::ServiceAccount;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use component_base::metrics::Metrics;

use super::*;
use crate::authn::keys::StaticKeys;
use crate::authn::{BindTo, LegacyTokens, Signer, TokenIssuer, jws};

const API: &str = "https://api";

#[derive(Default)]
struct Subjects {
    states: HashMap<String, SubjectState>,
    secrets: HashMap<String, Arc<Secret>>,
    used: parking_lot::Mutex<Vec<String>>,
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
    fn used<'a>(&'a self, secret: &'a Secret, today: &'a str) -> BoxFuture<'a, ()> {
        let mut used = self.used.lock();
        used.push(format!("{} {today}", secret.metadata.name));
        Box::pin(async {})
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
        ..SubjectState::default()
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
    block_on(tokens.judge(token, &audiences, at(now))).map_err(|error| error.to_string())
}

struct Setting {
    issuer: TokenIssuer,
    key: Vec<u8>,
    checks: Checks,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().expect("a runtime").block_on(future)
}

impl Setting {
    fn new() -> Self {
        let pem = key();
        let keys = jws::read_public_keys(&pem).expect("a public half");
        let keys = Arc::new(StaticKeys::new(keys));
        let signer = jws::PrivateKey::from_pem(&pem).expect("a key");
        Self {
            issuer: TokenIssuer::new(API, Signer::Key(signer), keys.clone()),
            key: pem,
            checks: Checks {
                keys,
                api_audiences: vec![API.into()],
                metrics: Arc::new(ServiceAccountMetrics::new(&Metrics::default())),
            },
        }
    }

    fn token(&self, bind_to: &BindTo, audiences: &[&str]) -> String {
        let audiences: Vec<String> = audiences
            .iter()
            .map(|audience| (*audience).to_owned())
            .collect();
        self.issue(bind_to, None, &audiences)
    }

    fn issue(&self, bind_to: &BindTo, warn_after: Option<i64>, audiences: &[String]) -> String {
        let account = account();
        let issued = self
            .issuer
            .issue(&account, bind_to, 600, warn_after, audiences, at(0));
        block_on(issued).expect("signed").token
    }

    fn tokens(&self, states: &[(&str, SubjectState)]) -> BoundTokens {
        let subjects = Subjects {
            states: states
                .iter()
                .map(|(key, state)| ((*key).to_owned(), state.clone()))
                .collect(),
            ..Subjects::default()
        };
        BoundTokens::new(vec![API.into()], self.checks.clone(), Arc::new(subjects))
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
        ..SubjectState::default()
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
    assert_eq!(
        judge(&tokens, &token, &["other", "more"], 0),
        Err(format!(
            "token audiences [\"vault\" \"{API}\"] is invalid for the target audiences [\"other\" \"more\"]"
        ))
    );
    let other = setting.token(&BindTo::Account, &["vault"]);
    assert!(
        judge(&tokens, &other, &[], 0).is_err(),
        "not for this API server"
    );
    // Another issuer's token is not this authenticator's business; one signed by another key is refused.
    let elsewhere = BoundTokens::new(
        vec!["https://other".into()],
        setting.checks.clone(),
        Arc::new(Subjects::default()),
    );
    assert_eq!(judge(&elsewhere, &token, &[], 0), Ok(None));
    let stranger = Setting::new().token(&BindTo::Account, &[API]);
    assert_eq!(
        judge(&tokens, &stranger, &[], 0),
        Err("invalid signature, no keys found".to_owned())
    );
    assert_eq!(judge(&tokens, "opaque", &[], 0), Ok(None));
}

#[test]
fn a_token_that_should_have_been_replaced_is_noted() {
    let setting = Setting::new();
    let states = [("account/ns/robot", alive("u1"))];
    let tokens = setting.tokens(&states);
    let token = setting.issue(&BindTo::Account, Some(100), &[API.to_owned()]);
    let notes = |second| {
        let found = judge(&tokens, &token, &[], second).expect("valid");
        found.expect("known").notes
    };
    assert_eq!(notes(100), Notes::default());
    let note = "subject: system:serviceaccount:ns:robot, seconds after warning threshold: 7";
    assert_eq!(
        notes(107).annotations,
        [("authentication.k8s.io/stale-token", note.to_owned())]
    );
    let metrics = &setting.checks.metrics;
    assert_eq!((metrics.valid.get(), metrics.stale.get()), (1.0, 1.0));
}

#[test]
fn legacy_tokens() {
    let setting = Setting::new();
    let claims = serde_json::json!({
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:ns:robot",
        "kubernetes.io/serviceaccount/namespace": "ns",
        "kubernetes.io/serviceaccount/secret.name": "secret",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": "u1",
    });
    let signer = jws::PrivateKey::from_pem(&setting.key).expect("a key");
    let signed = |claims: &serde_json::Value| {
        let claims = serde_json::to_vec(claims).expect("JSON");
        signer.sign(&claims).expect("signed")
    };
    let token = signed(&claims);
    // What is said of a token whose Secret has these labels, and whose account names these Secrets.
    let judge = |token: &str, labels: &[(&str, &str)], secrets: &[&str], stored: &str| {
        let mut secret = Secret::default();
        secret.metadata.name = "secret".into();
        secret.metadata.namespace = "ns".into();
        let bytes = api_types::ByteString(stored.as_bytes().to_vec());
        secret.data.insert("token".into(), bytes);
        for (key, value) in labels {
            secret
                .metadata
                .labels
                .insert((*key).to_owned(), (*value).to_owned());
        }
        let account = SubjectState {
            uid: "u1".into(),
            secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
            ..SubjectState::default()
        };
        let subjects = Arc::new(Subjects {
            states: HashMap::from([("account/ns/robot".to_owned(), account)]),
            secrets: HashMap::from([("ns/secret".to_owned(), Arc::new(secret))]),
            ..Subjects::default()
        });
        let tokens = LegacyTokens::new(setting.checks.clone(), Some(subjects.clone()));
        let judged = block_on(tokens.judge(token, &[], at(0)));
        let used = std::mem::take(&mut *subjects.used.lock());
        (judged.map_err(|error| error.to_string()), used)
    };
    let today = "2027-01-15";
    let subject = (
        "authentication.k8s.io/legacy-token",
        "system:serviceaccount:ns:robot".to_owned(),
    );

    let (found, used) = judge(&token, &[], &["other"], &token);
    let found = found.expect("valid").expect("known");
    assert_eq!(found.user.name, "system:serviceaccount:ns:robot");
    assert_eq!(found.audiences, [API]);
    let manual = (
        "authentication.k8s.io/legacy-token-manual-secret",
        "secret".to_owned(),
    );
    assert_eq!(found.notes.annotations, [subject.clone(), manual]);
    assert_eq!(used, [format!("secret {today}")]);

    let last_used = "kubernetes.io/legacy-token-last-used";
    let (found, used) = judge(&token, &[(last_used, today)], &["secret"], &token);
    let notes = found.expect("valid").expect("known").notes;
    let automatic = (
        "authentication.k8s.io/legacy-token-autogenerated-secret",
        "secret".to_owned(),
    );
    assert_eq!(notes.annotations, [subject, automatic]);
    assert_eq!(
        notes.warnings,
        [
            "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens."
        ]
    );
    assert!(used.is_empty());
    let (_, used) = judge(&token, &[(last_used, "2027-01-16")], &[], &token);
    assert!(used.is_empty(), "another server's clock is ahead");

    let invalid = [("kubernetes.io/legacy-token-invalid-since", "2027-01-01")];
    let (found, used) = judge(&token, &invalid, &[], &token);
    assert_eq!(
        found,
        Err("the token in secret ns/secret for service account ns/robot has been marked invalid. Use tokens from the TokenRequest API \
             or manually created secret-based tokens, or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret \
             to temporarily allow use of this token".to_owned())
    );
    assert_eq!(used.len(), 1);
    let (found, _) = judge(&token, &[], &[], "another");
    assert_eq!(found, Err("Token does not match server's copy".to_owned()));
    let mut other = claims.clone();
    other["sub"] = "system:serviceaccount:ns:root".into();
    let other = signed(&other);
    let (found, _) = judge(&other, &[], &[], &other);
    assert_eq!(found, Err("sub claim is invalid".to_owned()));
    let metrics = &setting.checks.metrics;
    let counted = [
        &metrics.legacy,
        &metrics.manual,
        &metrics.automatic,
        &metrics.invalid,
    ];
    assert_eq!(counted.map(|counter| counter.get()), [6.0, 2.0, 1.0, 1.0]);
}

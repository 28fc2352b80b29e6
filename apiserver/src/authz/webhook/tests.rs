use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use component_base::metrics::{Metrics, MetricsOptions};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

use super::*;

/// What the webhook is asked, and what it will answer: a code and a body.
#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, Json)>,
    asked: Vec<(String, Json)>,
}

/// A webhook, and the authorizer that asks it. The last answer is given again and again.
struct Rig {
    script: Arc<Mutex<Script>>,
    authorizer: WebhookAuthorizer,
    metrics: Metrics,
    serving: tokio::task::JoinHandle<()>,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().to_string();
    let body = request.into_body().collect().await?.to_bytes();
    let mut script = script.lock();
    let asked = serde_json::from_slice(&body).unwrap_or(Json::Null);
    script.asked.push((path, asked));
    let (code, body) = match script.answers.len() {
        1 => script.answers[0].clone(),
        _ => script.answers.pop_front().unwrap_or((404, Json::Null)),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    Ok(response)
}

fn allows() -> (u16, Json) {
    status(json!({"allowed": true, "reason": "why not"}))
}

fn status(status: Json) -> (u16, Json) {
    (200, json!({"status": status}))
}

impl Rig {
    async fn new(answers: &[(u16, Json)], change: impl FnOnce(&mut WebhookConfiguration)) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/authz", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            answers: answers.iter().cloned().collect(),
            ..Script::default()
        }));
        let shared = script.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = shared.clone();
                let service = service_fn(move |request| answer(request, script.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        kubeconfig.write_all(text.to_string().as_bytes()).unwrap();
        let mut configuration = WebhookConfiguration {
            authorized_ttl: api_types::Duration::from_secs(300),
            unauthorized_ttl: api_types::Duration::from_secs(30),
            timeout: api_types::Duration::from_secs(3),
            subject_access_review_version: "v1".to_owned(),
            failure_policy: "NoOpinion".to_owned(),
            ..WebhookConfiguration::default()
        };
        let path = kubeconfig.path().display().to_string();
        configuration.connection_info.kube_config_file = Some(path);
        change(&mut configuration);
        let metrics = Metrics::bare(MetricsOptions::default());
        let counted = AuthorizerMetrics::new(&metrics);
        Rig {
            script,
            authorizer: WebhookAuthorizer::new("w", &configuration, &Dialer::default(), &counted)
                .unwrap(),
            metrics,
            serving,
            _kubeconfig: kubeconfig,
        }
    }

    async fn ask(&self, attributes: &Attributes) -> Result<Decision, AuthorizeError> {
        self.authorizer.authorize(attributes).await
    }

    fn calls(&self) -> usize {
        self.script.lock().asked.len()
    }

    #[track_caller]
    fn counted(&self, line: &str) {
        let text = String::from_utf8(self.metrics.text()).unwrap();
        let line = format!("apiserver_authorization_{line}");
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
}

fn path(path: &str) -> Attributes {
    Attributes {
        path: path.to_owned(),
        verb: "get".to_owned(),
        ..Attributes::default()
    }
}

fn pods() -> Attributes {
    Attributes {
        user: UserInfo {
            name: "jane".to_owned(),
            uid: "7".to_owned(),
            groups: vec!["devs".to_owned()],
            extra: [("scope".to_owned(), vec!["a".to_owned()])].into(),
        },
        verb: "list".to_owned(),
        namespace: "ns".to_owned(),
        api_version: "v1".to_owned(),
        resource: "pods".to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
    .with_selectors("spec.nodeName=n", "app=x,!old")
}

#[tokio::test]
async fn questions_and_answers() {
    let cases = [
        (
            json!({"allowed": true, "reason": "a"}),
            Ok(Decision::Allow("a".to_owned())),
        ),
        (
            json!({"denied": true, "reason": "b"}),
            Ok(Decision::Deny("b".to_owned())),
        ),
        (
            json!({"reason": "c", "evaluationError": "d"}),
            Ok(Decision::NoOpinion("c".to_owned())),
        ),
        (
            json!({"allowed": true, "denied": true, "reason": "e"}),
            Err(AuthorizeError {
                reason: "e".to_owned(),
                ..AuthorizeError::denied(BOTH)
            }),
        ),
    ];
    for (body, want) in cases {
        let rig = Rig::new(&[status(body)], |_| {}).await;
        assert_eq!(rig.ask(&pods()).await, want);
        let asked = rig.script.lock().asked[0].clone();
        assert_eq!(asked.0, "/authz?timeout=3s");
        assert_eq!(
            asked.1["spec"],
            json!({
                "resourceAttributes": {
                    "namespace": "ns", "verb": "list", "version": "v1", "resource": "pods",
                    "fieldSelector": {"requirements": [
                        {"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                    ]},
                    "labelSelector": {"requirements": [
                        {"key": "app", "operator": "In", "values": ["x"]},
                        {"key": "old", "operator": "DoesNotExist"},
                    ]},
                },
                "user": "jane", "groups": ["devs"], "extra": {"scope": ["a"]}, "uid": "7",
            })
        );
        rig.counted("webhook_evaluations_total{name=\"w\",result=\"success\"} 1");
    }
}

#[tokio::test]
async fn the_older_version_has_another_field() {
    let older = |configuration: &mut WebhookConfiguration| {
        configuration.subject_access_review_version = "v1beta1".to_owned();
    };
    let rig = Rig::new(&[allows()], older).await;
    assert!(rig.ask(&pods()).await.unwrap().is_allowed());
    let asked = rig.script.lock().asked[0].1.clone();
    assert_eq!(asked["apiVersion"], "authorization.k8s.io/v1beta1");
    assert_eq!(asked["spec"]["group"], json!(["devs"]));
    let newer = (
        200,
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}),
    );
    let rig = Rig::new(&[newer], older).await;
    assert_eq!(
        rig.ask(&pods()).await.unwrap_err().message,
        "converting (v1.SubjectAccessReview) to (v1beta1.SubjectAccessReview): unknown conversion"
    );
}

#[tokio::test]
async fn answers_are_remembered() {
    let rig = Rig::new(&[allows()], |_| {}).await;
    for _ in 0..2 {
        assert!(rig.ask(&path("/a")).await.unwrap().is_allowed());
    }
    assert_eq!(rig.calls(), 1);
    rig.ask(&path("/b")).await.unwrap();
    assert_eq!(rig.calls(), 2);
    let mut long = path("/c");
    long.verb = "x".repeat(9_998);
    for _ in 0..2 {
        rig.ask(&long).await.unwrap();
    }
    assert_eq!(rig.calls(), 4, "long questions are asked each time");
    let rig = Rig::new(&[allows()], |configuration| {
        configuration.cache_authorized_requests = Some(false);
    })
    .await;
    for _ in 0..2 {
        rig.ask(&path("/a")).await.unwrap();
    }
    assert_eq!(rig.calls(), 2);
    let no = status(json!({}));
    let rig = Rig::new(&[no], |configuration| {
        configuration.cache_authorized_requests = Some(false);
    })
    .await;
    for _ in 0..2 {
        rig.ask(&path("/a")).await.unwrap();
    }
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn failures() {
    let refuses = (403, json!({}));
    let rig = Rig::new(std::slice::from_ref(&refuses), |_| {}).await;
    assert!(!rig.ask(&path("/a")).await.unwrap_err().denied);
    assert_eq!(rig.calls(), 1, "not tried again");
    rig.counted("webhook_evaluations_fail_open_total{name=\"w\",result=\"error\"} 1");
    let rig = Rig::new(&[refuses], |configuration| {
        configuration.failure_policy = "Deny".to_owned();
    })
    .await;
    assert!(rig.ask(&path("/a")).await.unwrap_err().denied);
    let rig = Rig::new(&[(500, json!({})), allows()], |_| {}).await;
    assert!(rig.ask(&path("/a")).await.unwrap().is_allowed());
    assert_eq!(rig.calls(), 2, "tried again");
    rig.counted("webhook_evaluations_total{name=\"w\",result=\"error\"} 1");
    rig.counted("webhook_evaluations_total{name=\"w\",result=\"success\"} 1");
    rig.counted("webhook_duration_seconds_count{name=\"w\",result=\"error\"} 1");
}

#[tokio::test]
async fn conditions_leave_requests_out() {
    let condition = |expression: &str| {
        let condition = api_types::apiserver_config::v1::WebhookMatchCondition {
            expression: expression.to_owned(),
        };
        move |configuration: &mut WebhookConfiguration| {
            configuration.failure_policy = "Deny".to_owned();
            configuration.match_conditions = vec![condition];
        }
    };
    let only_resources = condition("has(request.resourceAttributes)");
    let rig = Rig::new(&[allows()], only_resources).await;
    assert_eq!(rig.ask(&path("/a")).await, Ok(Decision::no_opinion()));
    assert_eq!(rig.calls(), 0);
    rig.counted("match_condition_exclusions_total{name=\"w\",type=\"Webhook\"} 1");
    rig.counted("match_condition_evaluation_seconds_count{name=\"w\",type=\"Webhook\"} 1");
    assert!(rig.ask(&pods()).await.unwrap().is_allowed());
    let broken = condition("request.resourceAttributes.namespace == 'ns'");
    let rig = Rig::new(&[allows()], broken).await;
    let error = rig.ask(&path("/a")).await.unwrap_err();
    assert!(error.denied);
    assert_eq!(
        error.message,
        "cel evaluation error: expression 'request.resourceAttributes.namespace == 'ns'' resulted in error: no such key: resourceAttributes"
    );
    rig.counted("match_condition_evaluation_errors_total{name=\"w\",type=\"Webhook\"} 1");
}

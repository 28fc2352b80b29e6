//! A server that knows tokens, rights and one ConfigMap plays the apiserver; the daemon's side is the real thing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api_types::authentication::v1::TokenReview;
use api_types::authorization::v1::SubjectAccessReview;
use api_types::core::v1::{ConfigMap, ConfigMapList};
use api_types::{Kind, Struct};
use component_base::auth::delegated::{
    AuthenticationParts, DelegatedAuthentication, DelegatedAuthorization,
};
use component_base::auth::filter::Filter;
use component_base::auth::request_header::RequestHeaderConfig;
use component_base::auth::{Authorizer, UserInfo};
use component_base::metrics::Metrics;
use component_base::serving::{
    Body, Handler, Request, Response, Server, bind_plain, generate_self_signed, handler_fn,
    json_response, not_found, text_response,
};
use http::{Method, StatusCode};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Default)]
struct Counts {
    token_reviews: AtomicUsize,
    access_reviews: AtomicUsize,
}

struct Fake {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: CancellationToken,
    _stopped: DropGuard,
}

async fn read<T: Kind>(request: Request) -> T {
    let protobuf = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/vnd.kubernetes.protobuf");
    let body = request.into_body().collect(1 << 20).await.unwrap();
    if protobuf {
        let envelope = api_types::decode_envelope(&body).unwrap();
        api_types::decode_protobuf(envelope.raw).unwrap()
    } else {
        api_types::decode_json(&body).unwrap()
    }
}

fn answer(status: StatusCode, object: &dyn Struct) -> Response {
    json_response(status, api_types::encode_json(object))
}

fn config_map() -> ConfigMap {
    let ca = generate_self_signed("some-ca", &[], &[]).unwrap();
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = "extension-apiserver-authentication".to_owned();
    config_map.metadata.namespace = "kube-system".to_owned();
    config_map.metadata.resource_version = "5".to_owned();
    config_map.data.insert(
        "requestheader-client-ca-file".to_owned(),
        ca.certificate_pem,
    );
    config_map.data.insert(
        "requestheader-username-headers".to_owned(),
        "[\"X-Custom-User\"]".to_owned(),
    );
    config_map
}

async fn fake_apiserver(with_config_map: bool) -> Fake {
    let counts = Arc::new(Counts::default());
    let counting = counts.clone();
    let handler = handler_fn(move |request: Request| {
        let counts = counting.clone();
        async move {
            let path = request.uri().path().to_owned();
            let watch = request.uri().query().unwrap_or_default().contains("watch=");
            match (request.method(), path.as_str()) {
                (&Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews") => {
                    counts.token_reviews.fetch_add(1, Ordering::SeqCst);
                    let mut review: TokenReview = read(request).await;
                    if review.spec.token == "good" {
                        review.status.authenticated = true;
                        review.status.user.username = "bob".to_owned();
                    }
                    answer(StatusCode::CREATED, &review)
                }
                (&Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews") => {
                    counts.access_reviews.fetch_add(1, Ordering::SeqCst);
                    let mut review: SubjectAccessReview = read(request).await;
                    let path = review.spec.non_resource_attributes.as_ref().unwrap();
                    review.status.allowed =
                        review.spec.user == "bob" && path.path == "/metrics" && path.verb == "get";
                    review.status.reason = "as the test wants".to_owned();
                    answer(StatusCode::CREATED, &review)
                }
                (
                    &Method::GET,
                    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
                ) if with_config_map => answer(StatusCode::OK, &config_map()),
                (&Method::GET, "/api/v1/namespaces/kube-system/configmaps") if watch => {
                    let (sender, body) = Body::channel(1);
                    tokio::spawn(async move { sender.closed().await });
                    let mut response = Response::new(body);
                    response
                        .headers_mut()
                        .insert("content-type", "application/json".parse().unwrap());
                    response
                }
                (&Method::GET, "/api/v1/namespaces/kube-system/configmaps") => {
                    let mut list = ConfigMapList::default();
                    list.metadata.resource_version = "5".to_owned();
                    list.items = vec![config_map()];
                    answer(StatusCode::OK, &list)
                }
                _ => not_found(),
            }
        }
    });
    let server = Server::plain(bind_plain(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap());
    let address = server.local_addr();
    let stop = CancellationToken::new();
    server.spawn(Arc::new(handler), stop.clone(), Duration::ZERO);
    let _stopped = stop.clone().drop_guard();
    Fake {
        address,
        counts,
        stop,
        _stopped,
    }
}

impl Fake {
    fn kubeconfig(&self, folder: &tempfile::TempDir) -> std::path::PathBuf {
        let file = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: x\n  cluster: {{server: 'http://{}'}}\ncontexts:\n- name: x\n  context: {{cluster: x, user: x}}\nusers:\n- name: x\n  user: {{}}\n",
            self.address
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    async fn parts(
        &self,
        tolerate: bool,
    ) -> Result<(AuthenticationParts, Arc<dyn Authorizer>), component_base::Error> {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = self.kubeconfig(&folder);
        let authentication = DelegatedAuthentication {
            kubeconfig: Some(kubeconfig.clone()),
            skip_lookup: false,
            tolerate_lookup_failure: tolerate,
            cache_ttl: Duration::from_secs(10),
            client_ca_file: None,
            request_header_ca_file: None,
            request_header: RequestHeaderConfig::default(),
        };
        let authorization = DelegatedAuthorization {
            kubeconfig: Some(kubeconfig),
            always_allow_paths: vec!["/healthz".to_owned()],
            always_allow_groups: vec!["system:masters".to_owned()],
            allow_cache_ttl: Duration::from_secs(10),
            deny_cache_ttl: Duration::from_secs(10),
        };
        let parts = authentication
            .build("kube-test", &Metrics::default(), &self.stop)
            .await?;
        Ok((parts, authorization.build("kube-test")?))
    }
}

async fn get(filter: &Filter, path: &str, token: &str) -> (u16, String) {
    let mut request = http::Request::get(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = filter.handle(request.body(Body::empty()).unwrap()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect(10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn requests_are_judged_by_the_apiserver() {
    let fake = fake_apiserver(true).await;
    let (parts, authorizer) = fake.parts(false).await.unwrap();
    assert_eq!(
        parts.request_header.config().username_headers,
        ["X-Custom-User"]
    );
    let filter = Filter {
        authenticator: parts.authenticator,
        authorizer,
        request_header: Some(parts.request_header),
        inner: Arc::new(handler_fn(|request: Request| async move {
            assert!(!request.headers().contains_key("authorization"));
            let user = request
                .extensions()
                .get::<UserInfo>()
                .cloned()
                .unwrap_or_default();
            text_response(
                StatusCode::OK,
                format!("{} {}", user.name, user.groups.join(",")),
            )
        })),
    };
    for _ in 0..2 {
        assert_eq!(
            get(&filter, "/metrics", "good").await,
            (200, "bob system:authenticated".to_owned())
        );
    }
    assert_eq!(get(&filter, "/metrics", "bad").await.0, 401);
    let (status, text) = get(&filter, "/configz", "good").await;
    assert_eq!(status, 403);
    assert!(
        text.contains(r#"forbidden: User \"bob\" cannot get path \"/configz\": as the test wants"#),
        "{text}"
    );
    assert_eq!(get(&filter, "/metrics", "").await.0, 403);
    assert_eq!(
        get(&filter, "/healthz", "").await,
        (200, "system:anonymous system:unauthenticated".to_owned())
    );
    // "good" and "bad" were asked about once each; /metrics and /configz by bob and /metrics by nobody.
    assert_eq!(fake.counts.token_reviews.load(Ordering::SeqCst), 2);
    assert_eq!(fake.counts.access_reviews.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_missing_config_map_can_be_tolerated() {
    let fake = fake_apiserver(false).await;
    let error = fake
        .parts(false)
        .await
        .err()
        .expect("the ConfigMap is needed");
    assert!(
        error
            .to_string()
            .starts_with("unable to load configmap based request-header-client-ca-file: "),
        "{error}"
    );
    fake.parts(true).await.unwrap();
}

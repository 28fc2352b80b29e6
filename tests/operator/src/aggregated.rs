//! An API server behind the cluster's: wares.example.com/v1, with one resource that is kept in memory. It trusts the cluster's API server about who asks, by
//! the certificate authority in kube-system's ConfigMap, and asks it whether they may.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, PostParams};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use x509_parser::prelude::FromDer as _;

use crate::Error;
use crate::serving::{self, Answer, Options};

const GROUP: &str = "wares.example.com";
const VERSION: &str = "wares.example.com/v1";

pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let client = Client::try_default().await?;
    let trust = Trust::read(&client).await?;
    let authority = trust.authority.clone();
    let server = Server {
        reviews: Api::all(client),
        trust,
        wares: Mutex::default(),
    };
    serving::serve(options, Some(&authority), server).await
}

/// Whose word counts about who asks.
struct Trust {
    authority: String,
    /// Common names; none means any.
    names: Vec<String>,
}

impl Trust {
    async fn read(client: &Client) -> Result<Self, Error> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
        let map = maps.get("extension-apiserver-authentication").await?;
        let data = map.data.unwrap_or_default();
        let value = |key: &str| {
            data.get(key)
                .ok_or_else(|| format!("extension-apiserver-authentication has no {key}"))
        };
        Ok(Self {
            authority: value("requestheader-client-ca-file")?.clone(),
            names: serde_json::from_str(value("requestheader-allowed-names")?)?,
        })
    }

    fn covers(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(certificate)
        else {
            return false;
        };
        let mut names = certificate.subject().iter_common_name();
        self.names.is_empty()
            || names.any(|name| {
                name.as_str()
                    .is_ok_and(|name| self.names.iter().any(|allowed| allowed == name))
            })
    }
}

struct Server {
    reviews: Api<SubjectAccessReview>,
    trust: Trust,
    /// By namespace and name.
    wares: Mutex<BTreeMap<(String, String), Value>>,
}

/// Who asks, as the cluster's API server says.
struct User {
    name: String,
    groups: Vec<String>,
}

impl User {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
        Some(Self {
            name: headers.get("x-remote-user").and_then(text)?,
            groups: headers
                .get_all("x-remote-group")
                .iter()
                .filter_map(text)
                .collect(),
        })
    }
}

impl serving::Handler for Server {
    async fn answer(
        &self,
        request: Request<Incoming>,
        client: Option<CertificateDer<'static>>,
    ) -> Answer {
        let user = User::of(request.headers());
        let user = match (client, user) {
            (Some(certificate), Some(user)) if self.trust.covers(&certificate) => user,
            _ => return status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
        };
        match self.respond(request, &user).await {
            Ok(answer) => answer,
            Err(error) => status(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                &error.to_string(),
            ),
        }
    }
}

impl Server {
    async fn respond(&self, request: Request<Incoming>, user: &User) -> Result<Answer, Error> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (namespace, name) = match parts[..] {
            ["apis"] => return Ok(serving::json(StatusCode::OK, &groups())),
            ["apis", GROUP] => return Ok(serving::json(StatusCode::OK, &group())),
            ["apis", GROUP, "v1"] => return Ok(serving::json(StatusCode::OK, &resources())),
            ["apis", GROUP, "v1", "wares"] => (None, None),
            ["apis", GROUP, "v1", "namespaces", namespace, "wares"] => (Some(namespace), None),
            ["apis", GROUP, "v1", "namespaces", namespace, "wares", name] => {
                (Some(namespace), Some(name))
            }
            _ => return Ok(not_found(&path)),
        };
        let method = request.method().clone();
        let verb = match (&method, name) {
            (&Method::GET, Some(_)) => "get",
            (&Method::GET, None) => "list",
            (&Method::POST, None) => "create",
            (&Method::DELETE, Some(_)) => "delete",
            _ => {
                return Ok(status(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "MethodNotAllowed",
                    "the server does not allow this method on the requested resource",
                ));
            }
        };
        if !self.allows(user, verb, namespace, name).await? {
            let message = format!(
                "wares.{GROUP} is forbidden: User {:?} cannot {verb} them",
                user.name
            );
            return Ok(status(StatusCode::FORBIDDEN, "Forbidden", &message));
        }
        let key = |name: &str| (namespace.unwrap_or_default().to_owned(), name.to_owned());
        Ok(match (verb, name) {
            ("list", _) => self.list(namespace).await,
            ("get", Some(name)) => match self.wares.lock().await.get(&key(name)) {
                Some(ware) => serving::json(StatusCode::OK, ware),
                None => not_found(name),
            },
            ("delete", Some(name)) => match self.wares.lock().await.remove(&key(name)) {
                Some(ware) => serving::json(StatusCode::OK, &ware),
                None => not_found(name),
            },
            _ => {
                let body = request.into_body().collect().await?.to_bytes();
                let mut ware: Value = serde_json::from_slice(&body)?;
                let name = ware["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                ware["metadata"]["namespace"] = namespace.into();
                ware["madeBy"] = user.name.as_str().into();
                self.wares.lock().await.insert(key(&name), ware.clone());
                serving::json(StatusCode::CREATED, &ware)
            }
        })
    }

    async fn list(&self, namespace: Option<&str>) -> Answer {
        let wares = self.wares.lock().await;
        let items: Vec<&Value> = wares
            .iter()
            .filter(|((found, _), _)| namespace.is_none_or(|wanted| wanted == found))
            .map(|(_, ware)| ware)
            .collect();
        let list = json!({
            "apiVersion": VERSION, "kind": "WareList", "metadata": {"resourceVersion": "1"}, "items": items
        });
        serving::json(StatusCode::OK, &list)
    }

    async fn allows(
        &self,
        user: &User,
        verb: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<bool, Error> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("wares".to_owned()),
                    verb: Some(verb.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    name: name.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = self.reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

fn status(code: StatusCode, reason: &str, message: &str) -> Answer {
    serving::json(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {},
            "status": "Failure", "reason": reason, "message": message, "code": code.as_u16()
        }),
    )
}

fn not_found(what: &str) -> Answer {
    status(
        StatusCode::NOT_FOUND,
        "NotFound",
        &format!("{what} not found"),
    )
}

fn version() -> Value {
    json!({"groupVersion": VERSION, "version": "v1"})
}

fn group() -> Value {
    json!({
        "apiVersion": "v1", "kind": "APIGroup", "name": GROUP, "versions": [version()], "preferredVersion": version()
    })
}

fn groups() -> Value {
    json!({"apiVersion": "v1", "kind": "APIGroupList", "groups": [group()]})
}

fn resources() -> Value {
    json!({
        "apiVersion": "v1", "kind": "APIResourceList", "groupVersion": VERSION,
        "resources": [{
            "name": "wares", "singularName": "ware", "kind": "Ware", "namespaced": true, "verbs": ["create", "delete", "get", "list"]
        }]
    })
}

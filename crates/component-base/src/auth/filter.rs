//! Puts authentication and authorization in front of a handler. Upstream:
//! k8s.io/apiserver/pkg/endpoints/filters/{authentication,authorization}.go and handlers/responsewriters/errors.go.

use std::sync::Arc;

use api_types::meta::v1::Status;
use apimachinery::gvk::GroupResource;
use apimachinery::quote::quote;
use apimachinery::status;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::combine::is_anonymous;
use super::request_header::{RequestHeaderAuthenticator, clear_authentication_headers};
use super::{Attributes, Authenticator, Authorizer, BoxFuture, Credentials, Decision, UserInfo};
use crate::serving::{Handler, Request, Response, connection, error_response, json_response};

/// What of a request the authenticators look at.
pub fn credentials_of(request: &Request) -> Credentials {
    Credentials {
        peer_certificates: connection(request).peer_certificates.clone(),
        headers: request.headers().clone(),
        path: request.uri().path().to_owned(),
        ..Credentials::default()
    }
}

/// The attributes of a request to a path that is no API resource.
pub fn non_resource_attributes(request: &Request, user: &UserInfo) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: request.method().as_str().to_ascii_lowercase(),
        path: request.uri().path().to_owned(),
        ..Attributes::default()
    }
}

/// A handler behind authentication and authorization. The handler finds the caller as a [`UserInfo`] in the request's
/// extensions; what proved its identity is gone from the headers.
pub struct Filter {
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// The front proxy, whose headers are removed once the caller is known.
    pub request_header: Option<RequestHeaderAuthenticator>,
    pub inner: Arc<dyn Handler>,
}

impl Handler for Filter {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let request =
                match authenticate(request, &*self.authenticator, self.request_header.as_ref())
                    .await
                {
                    Ok(request) => request,
                    Err(refused) => return refused,
                };
            let user = request
                .extensions()
                .get::<UserInfo>()
                .cloned()
                .unwrap_or_default();
            let attributes = non_resource_attributes(&request, &user);
            match authorize(&request, &*self.authorizer, &attributes).await {
                Ok(()) => self.inner.handle(request).await,
                Err(refused) => refused,
            }
        })
    }
}

/// Finds out who a request is from and notes it in the request, or gives the 401.
pub async fn authenticate(
    mut request: Request,
    authenticator: &dyn Authenticator,
    request_header: Option<&RequestHeaderAuthenticator>,
) -> Result<Request, Response> {
    let credentials = credentials_of(&request);
    let found = match authenticator.authenticate(&credentials).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(error = %error, "Unable to authenticate the request");
            None
        }
    };
    let http2 = request.version() == http::Version::HTTP_2;
    let Some(found) = found else {
        if http2 {
            // Callers nobody knows get no long-lived connection (CVE-2023-44487).
            connection(&request).close_gracefully();
        }
        return Err(status_response(
            &status::unauthorized("Unauthorized").into_status(),
            request.headers(),
        ));
    };
    let config = request_header.map(RequestHeaderAuthenticator::config);
    clear_authentication_headers(request.headers_mut(), config.as_deref());
    if http2 && is_anonymous(&found.user) {
        connection(&request).close_gracefully();
    }
    request.extensions_mut().insert(found.user);
    Ok(request)
}

/// Asks whether the request may go on, or gives the 403.
pub async fn authorize(
    request: &Request,
    authorizer: &dyn Authorizer,
    attributes: &Attributes,
) -> Result<(), Response> {
    match authorizer.authorize(attributes).await {
        Ok(Decision::Allow(_)) => Ok(()),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
            tracing::debug!(v = 4, URI = %request.uri(), reason, "Forbidden");
            Err(status_response(
                &forbidden_status(attributes, &reason),
                request.headers(),
            ))
        }
        Err(error) => {
            tracing::error!(error = %error, "Could not decide whether a request is allowed");
            let text = format!(
                "Internal Server Error: {}: {error}",
                quote(&request.uri().to_string())
            );
            Err(error_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &sanitize(&text),
            ))
        }
    }
}

/// Upstream's 403 for attributes that were not allowed.
pub fn forbidden_status(attributes: &Attributes, reason: &str) -> Status {
    let message = sanitize(&forbidden_message(attributes));
    let message = if reason.is_empty() {
        message
    } else {
        format!("{message}: {reason}")
    };
    let resource = GroupResource {
        group: attributes.api_group.clone(),
        resource: attributes.resource.clone(),
    };
    status::forbidden(&resource, &attributes.name, message).into_status()
}

fn forbidden_message(attributes: &Attributes) -> String {
    let user = quote(&attributes.user.name);
    let verb = &attributes.verb;
    if !attributes.resource_request {
        return format!("User {user} cannot {verb} path {}", quote(&attributes.path));
    }
    let mut resource = attributes.resource.clone();
    if !attributes.subresource.is_empty() {
        resource = format!("{resource}/{}", attributes.subresource);
    }
    let (resource, group) = (quote(&resource), quote(&attributes.api_group));
    if attributes.namespace.is_empty() {
        format!(
            "User {user} cannot {verb} resource {resource} in API group {group} at the cluster scope"
        )
    } else {
        let namespace = quote(&attributes.namespace);
        format!(
            "User {user} cannot {verb} resource {resource} in API group {group} in the namespace {namespace}"
        )
    }
}

/// Keeps texts from looking like HTML.
pub fn sanitize(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A Status as a JSON response; indented for tools that people type into, as upstream does.
pub fn status_response(status: &Status, headers: &HeaderMap) -> Response {
    let mut json = api_types::encode_json(status);
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    if ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|tool| agent.starts_with(tool))
    {
        json = apimachinery::pretty::indent(&json);
    }
    let code = u16::try_from(status.code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let mut response = json_response(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), json);
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::super::combine::{AllowedPaths, UnionAuthenticator};
    use super::super::{AuthenticateError, Authenticated};
    use super::*;
    use crate::serving::{Body, handler_fn, text_response};

    struct Refuses;

    impl Authenticator for Refuses {
        fn authenticate<'a>(
            &'a self,
            request: &'a Credentials,
        ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
            let bad = request.headers.contains_key(header::AUTHORIZATION);
            let verdict = if bad {
                Err(AuthenticateError("bad token".to_owned()))
            } else {
                Ok(None)
            };
            Box::pin(std::future::ready(verdict))
        }
    }

    fn filter() -> Filter {
        Filter {
            authenticator: Arc::new(UnionAuthenticator {
                authenticators: vec![Arc::new(Refuses)],
                anonymous: true.into(),
            }),
            authorizer: Arc::new(AllowedPaths::new(&["/healthz".to_owned()]).unwrap()),
            request_header: None,
            inner: Arc::new(handler_fn(|request: Request| async move {
                let user = request.extensions().get::<UserInfo>().cloned().unwrap();
                text_response(StatusCode::OK, user.name)
            })),
        }
    }

    async fn get(path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = http::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = filter().handle(request.body(Body::empty()).unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect(10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn answers_are_upstreams() {
        assert_eq!(
            get("/healthz", &[]).await,
            (200, "system:anonymous".to_owned())
        );
        let (status, text) = get("/metrics", &[]).await;
        assert_eq!(status, 403);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json["message"],
            "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
        );
        assert_eq!(
            (json["kind"].as_str(), json["reason"].as_str()),
            (Some("Status"), Some("Forbidden"))
        );
        let (status, text) = get("/healthz", &[("authorization", "Bearer x")]).await;
        assert_eq!(status, 401);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["message"],
            "Unauthorized"
        );
        let (_, text) = get("/metrics", &[("user-agent", "curl/8")]).await;
        assert!(
            text.starts_with(
                "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn messages() {
        let mut attributes = Attributes {
            verb: "get".to_owned(),
            resource: "pods".to_owned(),
            subresource: "log".to_owned(),
            resource_request: true,
            name: "a".to_owned(),
            ..Attributes::default()
        };
        attributes.user.name = "bob".to_owned();
        assert_eq!(
            forbidden_status(&attributes, "").message,
            "pods \"a\" is forbidden: User \"bob\" cannot get resource \"pods/log\" in API group \"\" at the cluster scope"
        );
        attributes.namespace = "x".to_owned();
        assert!(
            forbidden_status(&attributes, "no")
                .message
                .ends_with("in the namespace \"x\": no")
        );
    }
}

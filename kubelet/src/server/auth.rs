//! Who may ask what of a kubelet. Upstream: `pkg/kubelet/server/auth.go` and the filter in `server.go`.
//!
//! A request is a question about the API resource `nodes` with this node's name. Some paths have a subresource of their own,
//! and with fine-grained authorization (KEP-2862) two are asked: the narrow one, then `proxy`, which allows everything.

use std::sync::Arc;

use component_base::auth::filter::credentials_of;
use component_base::auth::token::clear_websocket_token;
use component_base::auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo};
use component_base::serving::{Request, Response, text_response};
use http::{Method, StatusCode, header};

/// The two questions asked about every request.
#[derive(Clone)]
pub struct Auth {
    /// Who is it?
    pub authenticator: Arc<dyn Authenticator>,
    /// May they?
    pub authorizer: Arc<dyn Authorizer>,
    /// Name of this node.
    pub node_name: String,
    /// Feature gate KubeletFineGrainedAuthz.
    pub fine_grained: bool,
}

impl Auth {
    /// Lets a request pass, with its caller noted in its extensions, or gives the answer that refuses it.
    ///
    /// # Errors
    /// 401, 403, or 500 when it cannot be decided.
    pub async fn admit(&self, mut request: Request) -> Result<Request, Response> {
        let unauthorized = || text_response(StatusCode::UNAUTHORIZED, "Unauthorized");
        let found = match self
            .authenticator
            .authenticate(&credentials_of(&request))
            .await
        {
            Ok(Some(found)) => found,
            Ok(None) => return Err(unauthorized()),
            Err(error) => {
                tracing::error!(%error, "Unable to authenticate the request due to an error");
                return Err(unauthorized());
            }
        };
        // What proved the identity goes no further: the request may be relayed to the runtime.
        request.headers_mut().remove(header::AUTHORIZATION);
        clear_websocket_token(request.headers_mut());
        let subresources = subresources(request.uri().path(), self.fine_grained);
        let verb = verb(request.method());
        for subresource in &subresources {
            let attributes = self.attributes(&found.user, verb, subresource, request.uri().path());
            match self.authorizer.authorize(&attributes).await {
                Ok(Decision::Allow(_)) => {
                    request.extensions_mut().insert(found.user);
                    return Ok(request);
                }
                Ok(Decision::Deny(_) | Decision::NoOpinion(_)) => {}
                Err(error) => {
                    tracing::error!(%error, user = found.user.name, verb, subresource, "Authorization error");
                    let text = format!(
                        "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                        found.user.name
                    );
                    return Err(text_response(StatusCode::INTERNAL_SERVER_ERROR, text));
                }
            }
        }
        tracing::debug!(v = 2, user = found.user.name, verb, subresources = ?subresources, "Forbidden");
        let text = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
            found.user.name,
            subresources.join(" ")
        );
        Err(text_response(StatusCode::FORBIDDEN, text))
    }

    fn attributes(&self, user: &UserInfo, verb: &str, subresource: &str, path: &str) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            api_version: "v1".to_owned(),
            resource: "nodes".to_owned(),
            subresource: subresource.to_owned(),
            name: self.node_name.clone(),
            resource_request: true,
            path: path.to_owned(),
            ..Attributes::default()
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn is_at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The subresources that allow a path, narrowest first.
fn subresources(path: &str, fine_grained: bool) -> Vec<&'static str> {
    let at = |root: &str| is_at_or_below(path, root);
    let mut found = Vec::new();
    if fine_grained {
        found.extend(match () {
            () if at("/pods") => Some("pods"),
            () if at("/healthz") => Some("healthz"),
            () if at("/configz") => Some("configz"),
            () if at("/runningpods") => Some("pods"),
            () => None,
        });
    }
    found.push(match () {
        () if at("/stats") => "stats",
        () if at("/metrics") => "metrics",
        () if at("/logs") => "log",
        () if at("/checkpoint") => "checkpoint",
        () if at("/statusz") => "statusz",
        () if at("/flagz") => "configz",
        () => "proxy",
    });
    found
}

#[cfg(test)]
mod tests {
    use component_base::auth::{
        AuthenticateError, Authenticated, AuthorizeError, BoxFuture, Credentials,
    };
    use component_base::serving::Body;
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn upstream_mapping() {
        for (path, want, coarse) in [
            ("/exec", &["proxy"][..], "proxy"),
            ("/", &["proxy"], "proxy"),
            ("/containerLogs/ns/pod/c", &["proxy"], "proxy"),
            ("/pods", &["pods", "proxy"], "proxy"),
            ("/pods/", &["pods", "proxy"], "proxy"),
            ("/podsx", &["proxy"], "proxy"),
            ("/runningpods/", &["pods", "proxy"], "proxy"),
            ("/runningpods", &["pods", "proxy"], "proxy"),
            ("/healthz", &["healthz", "proxy"], "proxy"),
            ("/healthz/ping", &["healthz", "proxy"], "proxy"),
            ("/configz", &["configz", "proxy"], "proxy"),
            ("/stats", &["stats"], "stats"),
            ("/stats/summary", &["stats"], "stats"),
            ("/metrics", &["metrics"], "metrics"),
            ("/metrics/cadvisor", &["metrics"], "metrics"),
            ("/logs/", &["log"], "log"),
            ("/logsx", &["proxy"], "proxy"),
            ("/checkpoint/ns/pod/c", &["checkpoint"], "checkpoint"),
            ("/statusz", &["statusz"], "statusz"),
            ("/flagz", &["configz"], "configz"),
            ("/debug/pprof/", &["proxy"], "proxy"),
        ] {
            assert_eq!(subresources(path, true), want, "{path}");
            assert_eq!(subresources(path, false), [coarse], "{path}");
        }
    }

    #[derive(Default)]
    struct Fake {
        allowed: &'static str,
        broken: bool,
        asked: Mutex<Vec<Attributes>>,
    }

    impl Authenticator for Fake {
        fn authenticate<'a>(
            &'a self,
            request: &'a Credentials,
        ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
            Box::pin(async move {
                match request
                    .headers
                    .get(header::AUTHORIZATION)
                    .map(|value| value.as_bytes())
                {
                    Some(b"Bearer good") => {
                        let user = UserInfo {
                            name: "alice".to_owned(),
                            ..UserInfo::default()
                        };
                        Ok(Some(Authenticated {
                            user,
                            ..Authenticated::default()
                        }))
                    }
                    Some(_) => Err(AuthenticateError("bad token".to_owned())),
                    None => Ok(None),
                }
            })
        }
    }

    impl Authorizer for Fake {
        fn authorize<'a>(
            &'a self,
            attributes: &'a Attributes,
        ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
            self.asked.lock().push(attributes.clone());
            Box::pin(async move {
                if self.broken {
                    return Err(AuthorizeError::new("no answer"));
                }
                Ok(if attributes.subresource == self.allowed {
                    Decision::allow()
                } else {
                    Decision::no_opinion()
                })
            })
        }
    }

    async fn ask(
        fake: Fake,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> (Result<(), (u16, String)>, Vec<Attributes>) {
        let fake = Arc::new(fake);
        let auth = Auth {
            authenticator: fake.clone(),
            authorizer: fake.clone(),
            node_name: "n1".to_owned(),
            fine_grained: true,
        };
        let protocols = "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io";
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let result = match auth
            .admit(request.body(Body::empty()).expect("request"))
            .await
        {
            Ok(request) => {
                // No token reaches the runtime.
                assert!(!request.headers().contains_key(header::AUTHORIZATION));
                assert_eq!(
                    request.headers()[header::SEC_WEBSOCKET_PROTOCOL],
                    "v4.channel.k8s.io"
                );
                assert_eq!(
                    request.extensions().get::<UserInfo>().expect("user").name,
                    "alice"
                );
                Ok(())
            }
            Err(refused) => {
                let status = refused.status().as_u16();
                let text = refused.into_body().collect(1000).await.expect("body");
                Err((status, String::from_utf8(text.to_vec()).expect("text")))
            }
        };
        let asked = fake.asked.lock().clone();
        (result, asked)
    }

    #[tokio::test]
    async fn the_narrow_subresource_is_enough_and_proxy_too() {
        for (allowed, questions) in [("pods", 1), ("proxy", 2)] {
            let (result, asked) = ask(
                Fake {
                    allowed,
                    ..Fake::default()
                },
                Method::GET,
                "/pods",
                Some("good"),
            )
            .await;
            assert_eq!(result, Ok(()));
            assert_eq!(asked.len(), questions);
            let first = &asked[0];
            assert_eq!(
                (
                    first.verb.as_str(),
                    first.resource.as_str(),
                    first.subresource.as_str(),
                    first.name.as_str(),
                    first.resource_request
                ),
                ("get", "nodes", "pods", "n1", true)
            );
        }
    }

    #[tokio::test]
    async fn refusals() {
        let (result, _) = ask(Fake::default(), Method::GET, "/pods", None).await;
        assert_eq!(result, Err((401, "Unauthorized".to_owned())));
        let (result, asked) = ask(Fake::default(), Method::GET, "/pods", Some("bad")).await;
        assert_eq!(result, Err((401, "Unauthorized".to_owned())));
        assert!(asked.is_empty());
        let (result, _) = ask(Fake::default(), Method::POST, "/pods", Some("good")).await;
        assert_eq!(
            result,
            Err((403, "Forbidden (user=alice, verb=create, resource=nodes, subresource(s)=[pods proxy])\n".to_owned()))
        );
        let (result, _) = ask(
            Fake {
                broken: true,
                ..Fake::default()
            },
            Method::GET,
            "/stats/summary",
            Some("good"),
        )
        .await;
        assert_eq!(
            result,
            Err((
                500,
                "Authorization error (user=alice, verb=get, resource=nodes, subresource=stats)"
                    .to_owned()
            ))
        );
    }
}

//! A front proxy that authenticated the caller says who it is in headers. Upstream:
//! k8s.io/apiserver/pkg/authentication/request/headerrequest.
//!
//! The headers count only when the connection has a client certificate that leads to the front proxy's CA and has one of
//! the allowed names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};

use super::x509::CaBundle;
use super::{AuthenticateError, Authenticated, Authenticator, BoxFuture, Credentials, UserInfo};

/// Which headers and which certificates count; can be replaced while in use, since the cluster's ConfigMap can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeaderConfig {
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
    /// Common names of the front proxy's certificates; empty allows all that the CA signed.
    pub allowed_names: Vec<String>,
}

/// Authenticates callers that come through a front proxy. Clones share the config.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaderAuthenticator {
    pub(super) ca: CaBundle,
    pub(super) config: Arc<ArcSwap<RequestHeaderConfig>>,
}

impl RequestHeaderAuthenticator {
    pub fn new(ca: CaBundle, config: RequestHeaderConfig) -> Self {
        Self {
            ca,
            config: Arc::new(ArcSwap::from_pointee(config)),
        }
    }

    /// Replaces the headers and names that count.
    pub fn set_config(&self, config: RequestHeaderConfig) {
        self.config.store(Arc::new(config));
    }

    pub fn config(&self) -> Arc<RequestHeaderConfig> {
        self.config.load_full()
    }

    pub fn ca(&self) -> &CaBundle {
        &self.ca
    }

    fn judge(&self, request: &Credentials) -> Result<Option<Authenticated>, AuthenticateError> {
        if request.peer_certificates.is_empty() {
            return Ok(None);
        }
        let config = self.config.load();
        let Some(judgement) = self.ca.judge(&request.peer_certificates, SystemTime::now()) else {
            return Ok(None);
        };
        judgement.trusted.clone().map_err(AuthenticateError)?;
        if !config.allowed_names.is_empty() {
            let user = judgement.user.clone().map_err(AuthenticateError)?;
            let name = user.map(|user| user.name).unwrap_or_default();
            if !config.allowed_names.contains(&name) {
                return Err(AuthenticateError(format!(
                    "x509: subject with cn={name} is not in the allowed list"
                )));
            }
        }
        Ok(
            user_from_headers(&config, &request.headers).map(|user| Authenticated {
                user,
                ..Authenticated::default()
            }),
        )
    }
}

impl Authenticator for RequestHeaderAuthenticator {
    fn authenticate<'a>(
        &'a self,
        request: &'a Credentials,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        let verdict = self.judge(request);
        Box::pin(std::future::ready(verdict))
    }
}

/// Whom the headers name.
pub fn user_from_headers(config: &RequestHeaderConfig, headers: &HeaderMap) -> Option<UserInfo> {
    let first = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| headers.get(name.as_str())?.to_str().ok())
            .find(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let name = first(&config.username_headers)?;
    let groups = config
        .group_headers
        .iter()
        .flat_map(|name| headers.get_all(name.as_str()))
        .filter_map(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &config.extra_header_prefixes {
        for name in headers.keys() {
            let Some(key) = strip_prefix(name.as_str(), prefix) else {
                continue;
            };
            let key = percent_encoding::percent_decode_str(key);
            let key = key.decode_utf8().map_or_else(
                |_| name.as_str()[prefix.len()..].to_owned(),
                |key| key.into_owned(),
            );
            let values = headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(str::to_owned);
            extra.entry(key).or_default().extend(values);
        }
    }
    Some(UserInfo {
        name,
        uid: first(&config.uid_headers).unwrap_or_default(),
        groups,
        extra,
    })
}

fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let start = name.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &name[prefix.len()..])
}

/// Removes what proves an identity from a request that has one: the token, wherever it is, the standard front proxy headers,
/// and those of the config. What comes after must not be able to use them.
pub fn clear_authentication_headers(headers: &mut HeaderMap, config: Option<&RequestHeaderConfig>) {
    headers.remove(http::header::AUTHORIZATION);
    super::token::clear_websocket_token(headers);
    for name in ["x-remote-user", "x-remote-uid", "x-remote-group"] {
        headers.remove(name);
    }
    let mut prefixes = vec!["x-remote-extra-"];
    if let Some(config) = config {
        for name in config
            .username_headers
            .iter()
            .chain(&config.uid_headers)
            .chain(&config.group_headers)
        {
            headers.remove(name.as_str());
        }
        prefixes.extend(config.extra_header_prefixes.iter().map(String::as_str));
    }
    let doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            prefixes
                .iter()
                .any(|prefix| strip_prefix(name.as_str(), prefix).is_some())
        })
        .cloned()
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RequestHeaderConfig {
        RequestHeaderConfig {
            username_headers: vec!["X-Remote-User".to_owned()],
            uid_headers: vec!["X-Remote-Uid".to_owned()],
            group_headers: vec!["X-Remote-Group".to_owned()],
            extra_header_prefixes: vec!["X-Remote-Extra-".to_owned()],
            allowed_names: Vec::new(),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            );
        }
        headers
    }

    #[test]
    fn reads_users_from_headers() {
        let headers = headers(&[
            ("x-remote-user", "alice"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-scopes.example%2fone", "x"),
        ]);
        let user = user_from_headers(&config(), &headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["scopes.example/one"], ["x"]);
        assert_eq!(user_from_headers(&config(), &HeaderMap::new()), None);
    }

    #[test]
    fn clears_what_proves_an_identity() {
        let mut headers = headers(&[
            ("authorization", "Bearer x"),
            ("x-remote-user", "alice"),
            ("x-remote-extra-a", "1"),
            ("x-custom", "bob"),
            ("accept", "*/*"),
            (
                "sec-websocket-protocol",
                "base64url.bearer.authorization.k8s.io.eA",
            ),
        ]);
        let config = RequestHeaderConfig {
            username_headers: vec!["X-Custom".to_owned()],
            ..RequestHeaderConfig::default()
        };
        clear_authentication_headers(&mut headers, Some(&config));
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["accept"]
        );
    }
}

//! A front proxy that authenticated the caller says who it is in headers. Upstream:
//! k8s.io/apiserver/pkg/authentication/request/headerrequest.
//!
//! The headers count only when the connection has a client certificate that leads to the front proxy's CA and has one of
//! the allowed names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};

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
            .filter_map(|name| headers.get(name.as_str()))
            .find(|value| !value.is_empty())
            .map(header_text)
    };
    let name = first(&config.username_headers)?;
    let groups = config
        .group_headers
        .iter()
        .flat_map(|name| headers.get_all(name.as_str()))
        .filter(|value| !value.is_empty())
        .map(header_text)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &config.extra_header_prefixes {
        for name in headers.keys() {
            let Some(key) = strip_prefix(name.as_str(), prefix) else {
                continue;
            };
            let values = headers.get_all(name).iter().map(header_text);
            extra.entry(unescape_key(key)).or_default().extend(values);
        }
    }
    Some(UserInfo {
        name,
        uid: first(&config.uid_headers).unwrap_or_default(),
        groups,
        extra,
    })
}

/// The value of a header that is about a user. It may hold any bytes: to take one that is no ASCII for none would make the
/// caller somebody else.
pub fn header_text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Undoes the escapes of a key in a header's name, or leaves all of it when one of them is none. Upstream: url.PathUnescape.
pub fn unescape_key(key: &str) -> String {
    let valid = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !key.split('%').skip(1).all(valid) {
        return key.to_owned();
    }
    percent_encoding::percent_decode_str(key)
        .decode_utf8_lossy()
        .into_owned()
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
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn reads_users_from_headers() {
        let headers = headers(&[
            ("x-remote-user", "jösé"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-remote-group", "gröup"),
            ("x-remote-uid", "7ü"),
            ("x-remote-extra-scopes.example%2fone", "x"),
            ("x-remote-extra-scopes.example%2fone", "ÿ"),
            ("x-remote-extra-a%2f50%", "y"),
        ]);
        let user = user_from_headers(&config(), &headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jösé", "7ü"));
        assert_eq!(user.groups, ["a", "gröup"]);
        assert_eq!(user.extra["scopes.example/one"], ["x", "ÿ"]);
        assert_eq!(user.extra["a%2f50%"], ["y"]);
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

//! The headers that name whom a caller wants to be.

use std::collections::BTreeMap;

use apimachinery::quote::{go_syntax_list, quote};
use apimachinery::status::{self, StatusError};
use component_base::auth::UserInfo;
use component_base::auth::request_header::{header_text, unescape_key};
use http::{HeaderMap, HeaderName};

use crate::authn::split_service_account_user_name;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The user that the headers name; `None` when they name none. Attributes of a user without a user are a 400, whose text says
/// what was asked for in two ways, with and without constrained impersonation.
pub(super) fn wanted_user(
    headers: &HeaderMap,
    constrained: bool,
) -> Result<Option<UserInfo>, StatusError> {
    let first = |name: &str| headers.get(name).map(header_text).unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            extra
                .entry(unescape_key(key))
                .or_default()
                .push(header_text(value));
        }
    }
    let wanted = UserInfo {
        name: first(USER),
        uid: first(UID),
        groups: headers.get_all(GROUP).iter().map(header_text).collect(),
        extra,
    };
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == UserInfo::default() {
        return Ok(None);
    }
    Err(status::bad_request(if constrained {
        format!(
            "requested {} without impersonating a user name",
            go_syntax(&wanted)
        )
    } else {
        format!(
            "requested {} without impersonating a user",
            references(&wanted)
        )
    }))
}

/// Takes the headers out, so that nobody behind this acts on them.
pub(super) fn remove(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| {
        let name = name.as_str();
        [USER, GROUP, UID].contains(&name) || name.starts_with(EXTRA_PREFIX)
    };
    let names: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Go's `%#v` of a user.
fn go_syntax(user: &UserInfo) -> String {
    let groups = if user.groups.is_empty() {
        "[]string(nil)".to_owned()
    } else {
        go_syntax_list(&user.groups)
    };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let shown = user.extra.iter();
        let shown = shown.map(|(key, values)| format!("{}:{}", quote(key), go_syntax_list(values)));
        format!(
            "map[string][]string{{{}}}",
            shown.collect::<Vec<_>>().join(", ")
        )
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:{extra}}}",
        quote(&user.name),
        quote(&user.uid)
    )
}

/// Go's `%v` of object references, of which only kind, namespace, name, version and path are set.
fn references(user: &UserInfo) -> String {
    const VERSION: &str = "authentication.k8s.io/v1";
    let shown = |kind: &str, name: &str, version: &str, path: &str| {
        format!("{{{kind}  {name}  {version}  {path}}}")
    };
    let groups = user.groups.iter();
    let mut all: Vec<String> = groups.map(|group| shown("Group", group, "", "")).collect();
    for (key, values) in &user.extra {
        let values = values.iter();
        all.extend(values.map(|value| shown("UserExtra", value, VERSION, key)));
    }
    if !user.uid.is_empty() {
        all.push(shown("UID", &user.uid, VERSION, ""));
    }
    format!("[{}]", all.join(" "))
}

/// Namespace and name of a service account's user name.
pub(super) fn service_account(user: &str) -> Option<(&str, &str)> {
    use apimachinery::validation::{validate_namespace_name, validate_service_account_name};
    split_service_account_user_name(user).filter(|(namespace, name)| {
        validate_namespace_name(namespace, false).is_empty()
            && validate_service_account_name(name, false).is_empty()
    })
}

/// The node that a user name stands for.
pub(super) fn node(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:")
        .filter(|name| apimachinery::validation::name_is_dns_subdomain(name, false).is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_bytes(value).expect("a value"),
            );
        }
        headers
    }

    #[test]
    fn a_user_is_read_from_headers() {
        let mut headers = headers(&[
            ("Impersonate-User", "jösé".as_bytes()),
            ("Impersonate-User", b"second"),
            ("Impersonate-Group", b"a"),
            ("Impersonate-Group", b""),
            ("Impersonate-Uid", b"7"),
            ("Impersonate-Extra-Acme.io%2fScope", b"one"),
            ("Impersonate-Extra-acme.io%2Fscope", b"two"),
            ("Impersonate-Extra-50%", b"three"),
            ("Impersonate-Other", b"stays"),
        ]);
        let wanted = wanted_user(&headers, true).expect("valid").expect("a user");
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let expected = UserInfo {
            name: "jösé".to_owned(),
            uid: "7".to_owned(),
            groups: list(&["a", ""]),
            extra: BTreeMap::from([
                ("50%".to_owned(), list(&["three"])),
                ("acme.io/scope".to_owned(), list(&["one", "two"])),
            ]),
        };
        assert_eq!(wanted, expected);
        remove(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["impersonate-other"]);
    }

    #[test]
    fn attributes_need_a_user() {
        let headers = headers(&[
            ("Impersonate-Uid", b"7"),
            ("Impersonate-Group", b"a\"b"),
            ("Impersonate-Extra-x", b"1"),
            ("Impersonate-Extra-x", b"2"),
        ]);
        let message = |constrained| {
            let refused = wanted_user(&headers, constrained).expect_err("no user");
            refused.to_string()
        };
        assert_eq!(
            message(true),
            "requested &user.DefaultInfo{Name:\"\", UID:\"7\", Groups:[]string{\"a\\\"b\"}, \
             Extra:map[string][]string{\"x\":[]string{\"1\", \"2\"}}} without impersonating a user name"
        );
        assert_eq!(
            message(false),
            "requested [{Group  a\"b    } {UserExtra  1  authentication.k8s.io/v1  x} \
             {UserExtra  2  authentication.k8s.io/v1  x} {UID  7  authentication.k8s.io/v1  }] without impersonating a user"
        );
        assert_eq!(
            wanted_user(&HeaderMap::new(), true).expect("nothing wrong"),
            None
        );
    }

    #[test]
    fn names_of_accounts_and_nodes() {
        assert_eq!(
            service_account("system:serviceaccount:ns:sa"),
            Some(("ns", "sa"))
        );
        assert_eq!(service_account("system:serviceaccount:ns.x:sa"), None);
        assert_eq!(service_account("system:serviceaccount:ns:S"), None);
        assert_eq!(service_account("system:serviceaccount:ns:a:b"), None);
        assert_eq!(node("system:node:n.example"), Some("n.example"));
        assert_eq!(node("system:node:"), None);
        assert_eq!(node("system:node:N"), None);
    }
}

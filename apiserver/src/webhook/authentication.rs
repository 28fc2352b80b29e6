//! Who this server is to webhooks: the users of a kubeconfig, each named after the webhooks that it is for.
//! Upstream: apiserver/pkg/util/webhook/authentication.go.

use std::path::Path;

use client::ClientConfig;
use client::config::{ConfigError as ClientConfigError, Kubeconfig};

use super::ConfigError;

/// The users. Names are `host:port`, `*.domain:port`, the same without port 443, and `*` for all others; a Service's host is
/// `name.namespace.svc`.
#[derive(Clone)]
pub struct Authentication {
    kubeconfig: Kubeconfig,
}

impl Authentication {
    /// Reads a kubeconfig.
    pub fn new(file: &Path) -> Result<Authentication, ClientConfigError> {
        let kubeconfig = Kubeconfig::read(file)?;
        Ok(Authentication { kubeconfig })
    }

    /// The user for a webhook at `host:port`: the best match, or that of the current context. None is nobody.
    pub(super) fn of(&self, target: &str) -> Result<Option<ClientConfig>, ConfigError> {
        let names = names(target);
        let names = names.iter().map(String::as_str);
        let mut users = names
            .chain(self.kubeconfig.current_user())
            .filter_map(|name| self.kubeconfig.user(name));
        users
            .next()
            .transpose()
            .map_err(|error| ConfigError(error.to_string()))
    }
}

/// The names by which a user for a webhook may go, the best first.
fn names(target: &str) -> Vec<String> {
    let mut names = with_wildcards(target);
    if let Some(host) = target.strip_suffix(":443") {
        names.extend(with_wildcards(
            host.trim_start_matches('[').trim_end_matches(']'),
        ));
    }
    names.push("*".to_owned());
    names
}

/// A name, and those with an asterisk for its first steps.
fn with_wildcards(name: &str) -> Vec<String> {
    let dots = name.match_indices('.');
    let shorter = dots.map(|(at, _)| format!("*{}", &name[at..]));
    std::iter::once(name.to_owned()).chain(shorter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "
apiVersion: v1
kind: Config
users:
- {name: 'a.ns.svc:443', user: {token: exact}}
- {name: b.ns.svc, user: {token: without port}}
- {name: '*.ns.svc', user: {token: namespace}}
- {name: '*.example.com:8443', user: {username: me, password: secret}}
- {name: fallback, user: {token: fallback}}
contexts:
- {name: c, context: {user: fallback}}
current-context: c
";

    #[test]
    fn the_best_match_is_who_we_are() {
        let of = |text: &str, target: &str| {
            let kubeconfig = Kubeconfig::parse(text, "test").expect("a kubeconfig");
            let user = Authentication { kubeconfig }.of(target).expect("a user");
            user.map(|user| user.auth)
        };
        let token = |token: &str| Some(client::config::Auth::Token(token.to_owned()));
        assert_eq!(of(USERS, "a.ns.svc:443"), token("exact"));
        assert_eq!(of(USERS, "b.ns.svc:443"), token("without port"));
        assert_eq!(of(USERS, "c.ns.svc:443"), token("namespace"));
        assert_eq!(of(USERS, "c.ns.svc:8443"), token("fallback"));
        let basic = client::config::Auth::Basic {
            username: "me".to_owned(),
            password: "secret".to_owned(),
        };
        assert_eq!(of(USERS, "x.y.example.com:8443"), Some(basic));
        let all = USERS.replace("name: fallback, user", "name: '*', user");
        assert_eq!(of(&all, "elsewhere:1"), token("fallback"));
        let nobody = USERS.replace("current-context: c", "");
        assert_eq!(of(&nobody, "elsewhere:1"), None);
    }

    #[test]
    fn names_of_a_target() {
        assert_eq!(
            names("a.b.svc:443"),
            [
                "a.b.svc:443",
                "*.b.svc:443",
                "*.svc:443",
                "a.b.svc",
                "*.b.svc",
                "*.svc",
                "*"
            ]
        );
        assert_eq!(names("[::1]:443"), ["[::1]:443", "::1", "*"]);
        assert_eq!(names("h:8443"), ["h:8443", "*"]);
    }
}

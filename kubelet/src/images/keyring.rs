//! Registry credentials: from pull secrets and from docker configuration files of the node.
//!
//! Upstream: `pkg/credentialprovider`. Debug output of credentials shows no secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use api_types::core::v1::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::cri::v1;

/// One user name and password, or token.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credential {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// For the runtime.
    #[must_use]
    pub fn to_cri(&self, registry: &str) -> v1::AuthConfig {
        v1::AuthConfig {
            username: self.username.clone(),
            password: self.password.clone(),
            server_address: registry.to_owned(),
            ..Default::default()
        }
    }
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

#[derive(Deserialize, Default)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

impl Entry {
    fn credential(self) -> Option<Credential> {
        if self.auth.is_empty() {
            return Some(Credential {
                username: self.username,
                password: self.password,
            });
        }
        // Some tools write the text without padding.
        let padded = match self.auth.len() % 4 {
            0 => self.auth,
            missing => format!("{}{}", self.auth, "=".repeat(4 - missing)),
        };
        let decoded = String::from_utf8(STANDARD.decode(padded).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Some(Credential {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// Credentials by registry pattern.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Longest pattern first, so that the most specific one is tried first.
    entries: Vec<(String, Credential)>,
}

impl Keyring {
    /// Credentials of pull secrets, then those of the node.
    #[must_use]
    pub fn from_secrets(secrets: &[Secret], node: &Keyring) -> Self {
        let mut keyring = Keyring::default();
        for secret in secrets {
            let data = |key: &str| secret.data.get(key).map(|value| value.0.as_slice());
            match secret.type_.as_str() {
                "kubernetes.io/dockerconfigjson" => {
                    if let Some(data) = data(".dockerconfigjson") {
                        keyring.add_config_json(data);
                    }
                }
                "kubernetes.io/dockercfg" => {
                    if let Some(data) = data(".dockercfg") {
                        keyring.add_config(data);
                    }
                }
                _ => {}
            }
        }
        keyring.entries.extend(node.entries.iter().cloned());
        keyring
    }

    /// Credentials from `config.json` and `.dockercfg` in the usual places: the kubelet's folder, then the home of the user.
    #[must_use]
    pub fn of_node(root_dir: &Path, home: Option<&Path>) -> Self {
        let mut keyring = Keyring::default();
        let mut places = vec![root_dir.join("config.json")];
        if let Some(home) = home {
            places.push(home.join(".docker/config.json"));
        }
        places.push("/.docker/config.json".into());
        if let Some(data) = places.iter().find_map(|place| std::fs::read(place).ok()) {
            keyring.add_config_json(&data);
            return keyring;
        }
        let mut places = vec![root_dir.join(".dockercfg")];
        if let Some(home) = home {
            places.push(home.join(".dockercfg"));
        }
        if let Some(data) = places.iter().find_map(|place| std::fs::read(place).ok()) {
            keyring.add_config(&data);
        }
        keyring
    }

    fn add_config_json(&mut self, data: &[u8]) {
        if let Ok(config) = serde_json::from_slice::<ConfigJson>(data) {
            self.add(config.auths);
        }
    }

    fn add_config(&mut self, data: &[u8]) {
        if let Ok(auths) = serde_json::from_slice::<BTreeMap<String, Entry>>(data) {
            self.add(auths);
        }
    }

    fn add(&mut self, auths: BTreeMap<String, Entry>) {
        let mut added: Vec<(String, Credential)> = auths
            .into_iter()
            .filter_map(|(location, entry)| Some((pattern_of(&location), entry.credential()?)))
            .collect();
        added.sort_by(|a, b| b.0.cmp(&a.0));
        self.entries.extend(added);
    }

    /// Credentials that may pull this repository, best first.
    #[must_use]
    pub fn lookup(&self, repository: &str) -> Vec<Credential> {
        // Keys of docker's own registry are written "https://index.docker.io/v1/".
        let docker = repository
            .strip_prefix("docker.io/")
            .map(|path| format!("index.docker.io/{path}"));
        let mut found = Vec::new();
        for (pattern, credential) in &self.entries {
            let matched = matches(pattern, repository)
                || docker.as_deref().is_some_and(|name| matches(pattern, name));
            if matched && !found.contains(credential) {
                found.push(credential.clone());
            }
        }
        found
    }
}

/// `https://registry.example.com:5000/v2/path/` → `registry.example.com:5000/path`.
fn pattern_of(location: &str) -> String {
    let rest = location
        .strip_prefix("https://")
        .or_else(|| location.strip_prefix("http://"))
        .unwrap_or(location);
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, ""), |(host, path)| (host, path));
    // "/v1/" and "/v2/" name the protocol, not a repository.
    let path = path
        .strip_prefix("v1/")
        .or_else(|| path.strip_prefix("v2/"))
        .unwrap_or(path);
    let path = if path == "v1" || path == "v2" {
        ""
    } else {
        path.trim_end_matches('/')
    };
    if path.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

/// Whether a pattern covers a repository: host part by part, with `*` inside a part; port equal; path a prefix.
fn matches(pattern: &str, repository: &str) -> bool {
    let split = |text: &str| {
        let (host, path) = text
            .split_once('/')
            .map_or((text.to_owned(), String::new()), |(h, p)| {
                (h.to_owned(), p.to_owned())
            });
        let (host, port) = host
            .split_once(':')
            .map_or((host.clone(), String::new()), |(h, p)| {
                (h.to_owned(), p.to_owned())
            });
        (host, port, path)
    };
    let (pattern_host, pattern_port, pattern_path) = split(pattern);
    let (host, port, path) = split(repository);
    if pattern_port != port || !path.starts_with(&pattern_path) {
        return false;
    }
    let pattern_parts: Vec<&str> = pattern_host.split('.').collect();
    let parts: Vec<&str> = host.split('.').collect();
    pattern_parts.len() == parts.len()
        && pattern_parts
            .iter()
            .zip(&parts)
            .all(|(pattern, part)| glob(pattern, part))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(json: &str) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add_config_json(json.as_bytes());
        keyring
    }

    #[track_caller]
    fn check(location: &str, repository: &str, want: bool) {
        let keyring = keyring(&format!(
            r#"{{"auths": {{{location:?}: {{"auth": "{}"}}}}}}"#,
            STANDARD.encode("user:secret")
        ));
        let got = keyring.lookup(repository);
        assert_eq!(!got.is_empty(), want, "{location} {repository}");
        if want {
            assert_eq!(
                got[0],
                Credential {
                    username: "user".to_owned(),
                    password: "secret".to_owned()
                }
            );
        }
    }

    #[test]
    fn upstream_cases() {
        check("*.kubernetes.io", "prefix.kubernetes.io/foo", true);
        check("prefix.*.io", "prefix.kubernetes.io/foo", true);
        check(
            "*-good.kubernetes.io",
            "prefix-good.kubernetes.io/foo",
            true,
        );
        check("*.kubernetes.io/foo", "prefix.kubernetes.io/foo/bar", true);
        check("https://gcr.io/v1/", "gcr.io/foo", true);
        check("gcr.io:8080", "gcr.io:8080/foo", true);
        check(
            "https://index.docker.io/v1/",
            "docker.io/library/busybox",
            true,
        );
        check("*.kubernetes.io", "kubernetes.io/foo", false);
        check("*.*.kubernetes.io", "prefix.kubernetes.io/foo", false);
        check("gcr.io", "gcr.io:8080/foo", false);
        check("gcr.io/foo", "gcr.io/bar", false);
    }

    #[test]
    fn most_specific_first() {
        let keyring = keyring(
            r#"{"auths": {"r.io": {"username": "all", "password": "1"}, "r.io/team": {"username": "team", "password": "2"}}}"#,
        );
        let names: Vec<String> = keyring
            .lookup("r.io/team/app")
            .into_iter()
            .map(|found| found.username)
            .collect();
        assert_eq!(names, ["team", "all"]);
    }

    #[test]
    fn debug_output_has_no_secrets() {
        let keyring = keyring(r#"{"auths": {"r.io": {"username": "all", "password": "hunter2"}}}"#);
        assert!(!format!("{keyring:?}").contains("hunter2"));
    }
}

//! etcd keys, built segment by segment. Upstream: storage/util.go, `PrepareKey` and the key functions of
//! registry/generic/registry/store.go.
//!
//! Invariant: a [`Key`] or [`Scope`] made by [`Keys`] lies below the resource's prefix, whatever the caller put into
//! namespace and name (CVE-2022-3162).

use std::fmt;
use std::sync::Arc;

use crate::storage::error::Error;

/// The etcd key of one object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(crate) Arc<str>);

impl Key {
    /// The whole key, `/registry/...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a list or a watch covers: a resource, one namespace of it, or one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Ends in "/" when `recursive`, else the key of one object.
    pub(crate) prefix: Arc<str>,
    pub(crate) recursive: bool,
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl Scope {
    /// Whether a key is covered.
    pub fn contains(&self, key: &Key) -> bool {
        if self.recursive {
            key.0.starts_with(&*self.prefix)
        } else {
            *key.0 == *self.prefix
        }
    }
}

/// Builds the keys of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `/registry/pods/`
    root: Arc<str>,
    namespaced: bool,
}

impl Keys {
    /// `path_prefix` is `--etcd-prefix`; a slash is added in front and behind, as upstream.
    pub(crate) fn new(
        path_prefix: &str,
        resource_prefix: &str,
        namespaced: bool,
    ) -> Result<Self, Error> {
        let mut root = normalize_prefix(path_prefix)?;
        if resource_prefix.is_empty() {
            return Err(Error::internal("resourcePrefix cannot be empty"));
        }
        for segment in resource_prefix.split('/') {
            check_segment(segment).map_err(|problem| {
                Error::internal(format!("invalid key prefix {resource_prefix:?}: {problem}"))
            })?;
            root.push_str(segment);
            root.push('/');
        }
        Ok(Self {
            root: root.into(),
            namespaced,
        })
    }

    pub(crate) fn root(&self) -> &Arc<str> {
        &self.root
    }

    /// A key without what is before the resource's own prefix.
    pub(crate) fn shown(&self, key: &str, resource_prefix: &str) -> String {
        let rest = key.get(self.root.len()..).unwrap_or_default();
        format!("/{resource_prefix}/{rest}")
    }

    pub(crate) fn object(&self, namespace: &str, name: &str) -> Result<Key, Error> {
        self.check_namespace(namespace)?;
        if self.namespaced && namespace.is_empty() {
            return Err(Error::bad_request("Namespace parameter required."));
        }
        check_name(name)?;
        let mut key = String::with_capacity(self.root.len() + namespace.len() + name.len() + 1);
        key.push_str(&self.root);
        if self.namespaced {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        Ok(Key(key.into()))
    }

    pub(crate) fn scope(&self, namespace: &str, name: &str) -> Result<Scope, Error> {
        if !name.is_empty() {
            let key = self.object(namespace, name)?;
            return Ok(Scope {
                prefix: key.0,
                recursive: false,
                namespace: namespace.into(),
                name: name.into(),
            });
        }
        self.check_namespace(namespace)?;
        let prefix = if namespace.is_empty() {
            Arc::clone(&self.root)
        } else {
            format!("{}{namespace}/", self.root).into()
        };
        Ok(Scope {
            prefix,
            recursive: true,
            namespace: namespace.into(),
            name: "".into(),
        })
    }

    /// Where the namespace sits in a key of this resource.
    pub(crate) fn namespace_range(&self, key: &str) -> (u32, u32) {
        let start = self.root.len();
        let end = if self.namespaced {
            key.get(start..)
                .and_then(|rest| rest.find('/'))
                .map_or(start, |length| start + length)
        } else {
            start
        };
        (
            u32::try_from(start).unwrap_or(0),
            u32::try_from(end).unwrap_or(0),
        )
    }

    fn check_namespace(&self, namespace: &str) -> Result<(), Error> {
        if namespace.is_empty() {
            return Ok(());
        }
        if !self.namespaced {
            return Err(Error::bad_request(format!(
                "Namespace parameter invalid: {namespace:?}: not a namespaced resource"
            )));
        }
        check_segment(namespace).map_err(|problem| {
            Error::bad_request(format!(
                "Namespace parameter invalid: {namespace:?}: {problem}"
            ))
        })
    }
}

/// `--etcd-prefix` with one slash at each end.
pub(crate) fn normalize_prefix(path_prefix: &str) -> Result<String, Error> {
    let mut root = String::from("/");
    for segment in path_prefix.split('/').filter(|segment| !segment.is_empty()) {
        check_segment(segment).map_err(|problem| {
            Error::internal(format!("invalid etcd prefix {path_prefix:?}: {problem}"))
        })?;
        root.push_str(segment);
        root.push('/');
    }
    Ok(root)
}

/// The end of the range of all keys that start with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::bad_request("Name parameter required."));
    }
    check_segment(name).map_err(|problem| {
        Error::bad_request(format!("Name parameter invalid: {name:?}: {problem}"))
    })
}

/// Upstream's IsPathSegmentName, plus the empty segment.
fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment {
        "" => Err("may not be empty"),
        "." => Err("may not be '.'"),
        ".." => Err("may not be '..'"),
        _ if segment.contains('/') => Err("may not contain '/'"),
        _ if segment.contains('%') => Err("may not contain '%'"),
        _ if segment.contains('\0') => Err("may not contain NUL"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_resources() {
        let pods = Keys::new("/registry", "pods", true).unwrap();
        assert_eq!(
            pods.object("default", "a").unwrap().as_str(),
            "/registry/pods/default/a"
        );
        assert_eq!(&*pods.scope("", "").unwrap().prefix, "/registry/pods/");
        assert_eq!(
            &*pods.scope("default", "").unwrap().prefix,
            "/registry/pods/default/"
        );
        let services = Keys::new("registry/", "services/specs", true).unwrap();
        assert_eq!(
            services.object("default", "a").unwrap().as_str(),
            "/registry/services/specs/default/a"
        );
        let nodes = Keys::new("registry", "minions", false).unwrap();
        assert_eq!(
            nodes.object("", "n1").unwrap().as_str(),
            "/registry/minions/n1"
        );
        let roles = Keys::new("registry", "clusterroles", false).unwrap();
        assert_eq!(
            roles.object("", "system:node").unwrap().as_str(),
            "/registry/clusterroles/system:node"
        );
    }

    /// CVE-2022-3162: a namespace must not widen the prefix.
    #[test]
    fn cve_2022_3162_segments_are_checked() {
        let pods = Keys::new("/registry", "pods", true).unwrap();
        for bad in [".", "..", "a/b", "../secrets", "a%2f", "/", "a\0"] {
            assert!(pods.object(bad, "x").is_err(), "namespace {bad:?}");
            assert!(pods.object("x", bad).is_err(), "name {bad:?}");
            assert!(pods.scope(bad, "").is_err(), "scope {bad:?}");
            assert!(pods.scope("x", bad).is_err(), "scope name {bad:?}");
        }
        assert!(pods.object("", "x").is_err());
        assert!(pods.object("x", "").is_err());
        assert!(
            Keys::new("/registry", "minions", false)
                .unwrap()
                .object("ns", "n")
                .is_err()
        );
        assert!(Keys::new("/registry", "..", false).is_err());
        assert!(Keys::new("/registry", "", false).is_err());
        assert!(Keys::new("/../x", "pods", false).is_err());
    }

    #[test]
    fn scope_ends_at_a_segment() {
        let pods = Keys::new("/registry", "pods", true).unwrap();
        let scope = pods.scope("a", "").unwrap();
        assert!(scope.contains(&pods.object("a", "x").unwrap()));
        assert!(!scope.contains(&pods.object("ab", "x").unwrap()));
        let one = pods.scope("a", "x").unwrap();
        assert!(one.contains(&pods.object("a", "x").unwrap()));
        assert!(!one.contains(&pods.object("a", "xy").unwrap()));
    }

    #[test]
    fn end_of_prefix() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(&[0x61, 0xff]), [0x62]);
        assert_eq!(prefix_end(&[0xff]), [0]);
    }
}

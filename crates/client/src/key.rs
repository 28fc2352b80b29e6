//! The namespace/name pair caches and queues are keyed with. Upstream: `client-go/tools/cache.ObjectName`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::cache::Cacheable;

/// Names one object of one type: `namespace/name`, or `name` when it is cluster-scoped (empty namespace).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// A key in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self {
            namespace: String::new(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<T: Cacheable + ?Sized>(object: &T) -> Self {
        let metadata = object.object_meta();
        Self::new(metadata.namespace.as_str(), metadata.name.as_str())
    }

    /// The namespace, or `None` for a cluster-scoped object.
    pub fn namespace_option(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl FromStr for ObjectKey {
    type Err = Infallible;

    /// Splits at the first slash; names cannot hold one.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::cluster(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for (text, key) in [
            ("ns/pod", ObjectKey::new("ns", "pod")),
            ("node-1", ObjectKey::cluster("node-1")),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse::<ObjectKey>().unwrap(), key);
        }
    }
}

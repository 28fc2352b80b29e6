//! Objects as storage holds them: bytes, a revision, and the few facts that selection needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::storage::key::Key;
use crate::storage::value::Value;

/// A value read or written, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its etcd key.
    pub key: Key,
    /// Stored bytes after decryption. They hold no resourceVersion.
    pub value: Bytes,
    /// The resourceVersion to write into the object: its mod_revision, or the deletion's revision for what
    /// [`Storage::delete`](crate::storage::Storage::delete) gives back.
    pub resource_version: u64,
}

/// Why a header could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct HeaderError(pub String);

/// Sorted name and value pairs. The cache shares equal strings and equal sets between objects.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub(crate) Option<Arc<[Pair]>>);

/// Name and value.
pub(crate) type Pair = (Arc<str>, Arc<str>);

/// What the registry's parser reads out of a stored value. Namespace and name come from the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// metadata.uid
    pub uid: Box<str>,
    /// metadata.labels
    pub labels: Pairs,
    /// Selectable fields other than metadata.name and metadata.namespace, e.g. spec.nodeName, status.phase.
    pub fields: Pairs,
    /// metadata.deletionTimestamp is set.
    pub deleting: bool,
}

/// Which object of its resource an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    key: Key,
    namespace: (u32, u32),
}

impl Id {
    /// metadata.namespace, "" for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        namespace(&self.key, self.namespace)
    }

    /// metadata.name
    pub fn name(&self) -> &str {
        name(&self.key)
    }
}

fn namespace(key: &Key, (start, end): (u32, u32)) -> &str {
    let key = key.as_str();
    key.get(start as usize..end as usize).unwrap_or_default()
}

fn name(key: &Key) -> &str {
    let key = key.as_str();
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

/// One object of the watch cache or of a list.
pub struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) resource_version: u64,
    pub(crate) namespace: (u32, u32),
    pub(crate) header: Header,
    pub(crate) message_len: MessageLen,
}

/// Length of an object's message with its resourceVersion in it, once somebody has worked it out. A list in protobuf begins with the
/// lengths of all its objects together.
#[derive(Default)]
pub(crate) struct MessageLen(AtomicU32);

impl MessageLen {
    fn get(&self) -> Option<usize> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            len => usize::try_from(len).ok(),
        }
    }

    fn set(&self, len: usize) {
        // What does not fit is worked out each time.
        self.0
            .store(u32::try_from(len).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Entry {
    /// The etcd key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Stored bytes after decryption, without resourceVersion.
    pub fn value(&self) -> Bytes {
        self.value.get()
    }

    /// Looks at the stored bytes where they are.
    pub fn with_value<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        self.value.with(look)
    }

    /// Looks at the stored bytes where they are, one piece after another. `None` when they would have to be put together.
    pub fn with_pieces<R>(&self, look: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
        self.value.with_pieces(look)
    }

    /// Length of the stored message with its resourceVersion, if it is known.
    pub fn message_len(&self) -> Option<usize> {
        self.message_len.get()
    }

    /// Keeps the length of the stored message with its resourceVersion.
    pub fn keep_message_len(&self, len: usize) {
        self.message_len.set(len);
    }

    /// The object's resourceVersion.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// metadata.namespace, "" for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        namespace(&self.key, self.namespace)
    }

    /// metadata.name
    pub fn name(&self) -> &str {
        name(&self.key)
    }

    /// What tells it from other objects of the resource.
    pub fn id(&self) -> Id {
        Id {
            key: self.key.clone(),
            namespace: self.namespace,
        }
    }

    /// metadata.uid
    pub fn uid(&self) -> &str {
        &self.header.uid
    }

    /// metadata.labels
    pub fn labels(&self) -> &Pairs {
        &self.header.labels
    }

    /// Selectable fields other than metadata.name and metadata.namespace.
    pub fn fields(&self) -> &Pairs {
        &self.header.fields
    }

    /// A selectable field by name, metadata.name and metadata.namespace included.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => self.header.fields.get(name),
        }
    }

    /// metadata.deletionTimestamp is set.
    pub fn deleting(&self) -> bool {
        self.header.deleting
    }

    /// The bytes with key and version.
    pub fn object(&self) -> Object {
        Object {
            key: self.key.clone(),
            value: self.value.get(),
            resource_version: self.resource_version,
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.key, self.resource_version)
    }
}

impl Pairs {
    /// From pairs in any order; of repeated names the last one counts.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let map: std::collections::BTreeMap<Arc<str>, Arc<str>> = pairs
            .into_iter()
            .map(|(name, value)| (Arc::from(name.as_ref()), Arc::from(value.as_ref())))
            .collect();
        if map.is_empty() {
            Self(None)
        } else {
            Self(Some(map.into_iter().collect()))
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.0.as_deref()?;
        let index = pairs
            .binary_search_by(|(candidate, _)| (**candidate).cmp(name))
            .ok()?;
        pairs.get(index).map(|(_, value)| &**value)
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .as_deref()
            .unwrap_or_default()
            .iter()
            .map(|(name, value)| (&**name, &**value))
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, <[_]>::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl std::fmt::Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

//! Everything between the registry and etcd: keys, values, leases, compaction, and the watch cache.
//! Upstream: staging/src/k8s.io/apiserver/pkg/storage (`etcd3`, `cacher`).
//!
//! What goes in and out are *stored bytes*: the `k8s\0` protobuf envelope, or JSON. Nothing here knows an
//! API type. The registry supplies one function per resource that reads a small [`Header`] out of the bytes
//! (uid, labels, selectable fields); selection, preconditions and the watch cache work on that header.
//!
//! ```text
//! Backend            one etcd cluster: connections, revision, watch hub, leases, compactor, health, metrics
//!  └─ Storage        one resource: get, list, watch, create, guaranteed_update, delete
//!      ├─ etcd3      the transactions
//!      └─ cacher     snapshot tree + event ring + watchers, fed by the backend's one etcd watch
//! ```
//!
//! Invariants
//! - resourceVersion is etcd's mod_revision; a list carries the revision it shows.
//! - One successful single-object request makes at most one revision. A write whose outcome is unknown is
//!   never sent again ([`Error::Timeout`]).
//! - Stored bytes never contain a resourceVersion: whoever encodes an object for a client writes the
//!   `resource_version` that comes with it.
//! - Keys are built from checked segments only ([`Storage::key`], [`Storage::scope`]).
//! - Watchers see every event once, in revision order; a slow one is ended and holds nobody up.

mod cacher;
mod codec;
mod common;
mod continue_token;
/// Encryption at rest.
pub mod encryption;
mod entry;
mod error;
mod etcd3;
mod key;
mod metrics;
mod options;
mod resource;
mod transformer;
mod value;

pub use self::cacher::list::{List, ListIter};
pub use self::cacher::watch::{EncodingKey, EventType, ObjectEvent, WatchEvent, Watcher};
pub use self::codec::{
    Envelope, EnvelopeError, Spliced, decode_envelope, encode_envelope, raw_of_version,
    read_varint, splice_pieces, splice_resource_version,
};
pub use self::continue_token::{decode_continue, encode_continue};
pub use self::entry::{Entry, Header, HeaderError, Id, Object, Pairs};
pub use self::error::{Error, UpdateError};
pub use self::etcd3::backend::{Backend, EtcdVersion};
pub use self::etcd3::config::{EtcdConfig, LeaseConfig, TlsFiles};
pub use self::key::{Key, Scope};
pub use self::metrics::StorageMetrics;
pub use self::options::{
    Current, DeleteOptions, Everything, HeaderParser, Hint, ListOptions, Preconditions, Predicate,
    ResourceConfig, ResourceVersionMatch, Update, UpdateOptions, WatchOptions,
};
pub use self::resource::{Stamp, Storage};
pub use self::transformer::{Identity, TransformError, Transformer};

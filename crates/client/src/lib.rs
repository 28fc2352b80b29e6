//! REST client, list and watch, informers, workqueues, events, leader election and streaming, for the five daemons.
//!
//! Upstream: `client-go`, the streaming parts of `apimachinery` and `apiserver/pkg/util/proxy`. The README beside this crate has
//! the public surface on one page.
//!
//! Layers, each usable without the next:
//! 1. [`config`] says where the server is and who we are; nothing is opened.
//! 2. [`rest`] sends requests: one connection pool, throttle, retries, credentials, metrics. [`Client`] is its handle,
//!    [`Api`] its typed face, [`DynamicApi`] and [`MetadataApi`] the untyped ones.
//! 3. [`watch`] turns a response body into events.
//! 4. [`cache`] keeps a copy of what the server has and tells handlers about changes.
//! 5. [`workqueue`], [`record`], [`leader_election`] are what controllers are built from.
//! 6. [`streaming`] carries exec, attach and port-forward; it shares nothing with the others but the types of HTTP.
//!
//! Invariants: no global state (metrics registries and clients are handed in), no task outlives its handle or token,
//! and every wait can be cancelled by dropping its future.

#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
mod discovery;
mod dynamic;
mod error;
pub mod flowcontrol;
mod key;
pub mod leader_election;
pub mod record;
pub mod rest;
pub mod streaming;
pub mod watch;
pub mod workqueue;

pub use api_types::meta::v1::{
    CreateOptions, DeleteOptions, GetOptions, ListOptions, PatchOptions, UpdateOptions,
};
pub use apimachinery::gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
pub use cache::{
    ConsistencyGuard, DeletedObject, EventHandler, InformerFactory, ListScope, Lister,
    MetadataInformer, SharedInformer,
};
pub use config::{ClientConfig, ConfigError, ContentType, Impersonation, TokenSource};
pub use discovery::Discovery;
pub use dynamic::{DynamicApi, DynamicList, DynamicObject, MetadataApi};
pub use error::{Error, retry_on_conflict};
pub use key::ObjectKey;
pub use record::{EventRecorder, object_reference};
pub use rest::{AnyStream, Api, Client, Deleted, Dial, Patch, RestMetrics};
pub use watch::{WatchEvent, WatchStream};

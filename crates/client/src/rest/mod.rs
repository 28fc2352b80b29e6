//! Requests to the API server. Upstream: `client-go/rest`.
//!
//! A request goes through, in this order: client-side throttle, credentials, [`Transport`], metrics, retry. Retried are: answers
//! of 429 or 5xx that carry `Retry-After` (any method: the server says so), connections that broke under a GET, and requests
//! that certainly were not processed. Ten times at most, as upstream.

mod api;
mod call;
mod client;
mod codec;
mod metrics;
mod transport;

pub use api::{Answer, Api, Deleted, Patch};
pub(crate) use api::{Endpoint, ResourcePath, delete_body, list_query, patch_query, write_query};
pub(crate) use call::{Call, Target, resource_path};
pub use client::{Client, Upgraded};
pub(crate) use codec::{Media, decode, decode_into, kind_of};
pub use metrics::RestMetrics;
pub use transport::{
    AnyStream, BoxError, Dial, RequestBody, ResponseBody, Stream, Transport, TransportError,
    TransportErrorKind, UpgradeOutcome, UpgradedIo,
};

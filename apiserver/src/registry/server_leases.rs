//! Signs of life of the cluster's API servers in etcd, as Endpoints that go away when they are not renewed.
//! Upstream: pkg/controlplane/reconcilers/lease.go and apiserver/pkg/reconcilers/peer_endpoint_lease.go.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Endpoints;
use apimachinery::status::{self, StatusError};

use crate::storage::{
    Current, DeleteOptions, Error, Everything, ListOptions, Storage, Update, UpdateError,
    UpdateOptions,
};

/// How long a server counts as alive after its last sign.
pub const TTL: Duration = Duration::from_secs(15);

/// Writes a server's lease. Its generation grows each time, so that etcd sees a change and the time starts anew.
pub async fn renew(
    storage: &Storage,
    name: &str,
    set: impl Fn(&mut Endpoints) + Sync,
) -> Result<(), StatusError> {
    let key = storage.key("", name).map_err(failed)?;
    let options = UpdateOptions {
        ignore_not_found: true,
        ..UpdateOptions::default()
    };
    let result = storage
        .guaranteed_update(&key, options, |current: Current| {
            let mut endpoints = current
                .object
                .and_then(|object| decode(&object.value))
                .unwrap_or_default();
            set(&mut endpoints);
            endpoints.metadata.generation += 1;
            std::future::ready(Ok::<Update, StatusError>(Update::Write {
                value: api_types::encode_envelope(&endpoints).into(),
                ttl: Some(TTL),
            }))
        })
        .await;
    match result {
        Ok(_) => Ok(()),
        Err(UpdateError::Storage(error)) => Err(failed(error)),
        Err(UpdateError::Rejected(error)) => Err(error),
    }
}

/// Takes a server's lease away. False where there was none.
pub async fn remove(storage: &Storage, name: &str) -> Result<bool, StatusError> {
    let key = storage.key("", name).map_err(failed)?;
    let allowed = |_| std::future::ready(Ok::<(), StatusError>(()));
    let removed = storage
        .delete(&key, DeleteOptions::default(), allowed)
        .await;
    match removed {
        Ok(_) => Ok(true),
        Err(UpdateError::Storage(error)) if error.is_not_found() => Ok(false),
        Err(UpdateError::Storage(error)) => Err(failed(error)),
        Err(UpdateError::Rejected(error)) => Err(error),
    }
}

/// The leases that are there: their names and what they say.
pub async fn list(storage: &Storage) -> Result<Vec<(String, Endpoints)>, StatusError> {
    let scope = storage.scope("", "").map_err(failed)?;
    let list = storage
        .list(&scope, &ListOptions::default(), Arc::new(Everything))
        .await
        .map_err(failed)?;
    Ok(list
        .iter()
        .map(|entry| {
            let endpoints = decode(&entry.value()).unwrap_or_default();
            (entry.name().to_owned(), endpoints)
        })
        .collect())
}

fn decode(value: &[u8]) -> Option<Endpoints> {
    let envelope = api_types::decode_envelope(value).ok()?;
    api_types::decode_protobuf(envelope.raw).ok()
}

fn failed(error: Error) -> StatusError {
    status::internal(error)
}

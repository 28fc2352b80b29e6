//! The operations of one resource on etcd itself: one transaction per write, guarded by mod_revision.
//! Upstream: etcd3/store.go.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnResponse};

use crate::storage::entry::{Entry, MessageLen, Object};
use crate::storage::error::{Error, UpdateError};
use crate::storage::etcd3::client::{EtcdClient, EtcdError};
use crate::storage::etcd3::lease::LeaseManager;
use crate::storage::etcd3::revision::RevisionReader;
use crate::storage::key::{Key, Keys, prefix_end};
use crate::storage::metrics::{Op, ResourceMetrics};
use crate::storage::options::{Current, Preconditions, ResourceConfig, Update};
use crate::storage::value::Value;
use crate::traces::trace::{self, Open};

pub(crate) struct Store {
    pub(crate) client: Arc<EtcdClient>,
    pub(crate) leases: Arc<LeaseManager>,
    pub(crate) revisions: Arc<RevisionReader>,
    pub(crate) config: ResourceConfig,
    pub(crate) keys: Keys,
    pub(crate) metrics: Arc<ResourceMetrics>,
}

/// A key and its value as etcd has them.
pub(crate) struct RawKeyValue {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
}

/// A page of keys.
pub(crate) struct Page {
    pub(crate) items: Vec<RawKeyValue>,
    /// Keys in the range, this page's and the rest.
    pub(crate) count: i64,
    /// Revision of the store when it answered.
    pub(crate) revision: u64,
}

/// The state a write is computed from.
#[derive(Clone)]
pub(crate) struct State {
    object: Option<Object>,
    revision: u64,
    /// The stored bytes should be written again even if the object does not change.
    stale: bool,
    /// Read from etcd during this operation, not taken from a cache.
    current: bool,
}

impl State {
    /// From a copy that may be out of date.
    pub(crate) fn cached(object: Object) -> Self {
        Self {
            revision: object.resource_version,
            object: Some(object),
            stale: false,
            current: false,
        }
    }
}

impl Store {
    /// The object, and the revision of the answer.
    pub(crate) async fn get(&self, key: &Key) -> Result<(Option<Object>, u64), Error> {
        let page = self
            .range_one(key, 0)
            .await
            .map_err(|error| error.into_read_error(&format!("get {key}")))?;
        let revision = page.revision;
        let state = self.state(key, page.items.into_iter().next())?;
        Ok((state.object, revision))
    }

    pub(crate) async fn create(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<Object, Error> {
        let _span = self.span("Create etcd3", key);
        let response = self
            .put(Op::Create, key, value.clone(), 0, ttl, false)
            .await?;
        if !response.succeeded() {
            return Err(Error::AlreadyExists {
                key: key.to_string(),
            });
        }
        Ok(Object {
            key: key.clone(),
            value,
            resource_version: header_revision(&response),
        })
    }

    /// Upstream's GuaranteedUpdate. `initial` is a copy to start from; it is trusted for success only.
    pub(crate) async fn guaranteed_update<E, F, Fut>(
        &self,
        key: &Key,
        preconditions: &Preconditions,
        ignore_not_found: bool,
        initial: Option<State>,
        mut update: F,
    ) -> Result<Object, UpdateError<E>>
    where
        F: FnMut(Current) -> Fut,
        Fut: Future<Output = Result<Update, E>>,
    {
        let _span = self.span("GuaranteedUpdate etcd3", key);
        let mut state = match initial {
            Some(state) => state,
            None => self.current(key, ignore_not_found).await?,
        };
        trace::step("initial value restored");
        loop {
            if let Err(error) = self.check(key, preconditions, &state) {
                if state.current {
                    return Err(error.into());
                }
                state = self.current(key, ignore_not_found).await?;
                continue;
            }
            let wanted = match update(Current {
                object: state.object.clone(),
            })
            .await
            {
                Ok(wanted) => wanted,
                Err(verdict) => {
                    if state.current {
                        return Err(UpdateError::Rejected(verdict));
                    }
                    // The verdict may come from an old copy.
                    let seen = state.revision;
                    state = self.current(key, ignore_not_found).await?;
                    if state.revision == seen {
                        return Err(UpdateError::Rejected(verdict));
                    }
                    continue;
                }
            };
            let before = state.object.as_ref().map(|object| object.value.clone());
            let (value, ttl) = match (wanted, &state.object) {
                (Update::Write { value, ttl }, _) => (value, ttl),
                (Update::Rewrite { value }, _) => {
                    state.stale = true;
                    (value, None)
                }
                (Update::Unchanged, Some(object)) => (object.value.clone(), None),
                (Update::Unchanged, None) => {
                    return Err(Error::NotFound {
                        key: key.to_string(),
                        resource_version: 0,
                    }
                    .into());
                }
            };
            if !state.stale && before.as_ref() == Some(&value) {
                if !state.current {
                    // Only etcd can tell that nothing needs to be written.
                    state = self.current(key, ignore_not_found).await?;
                    if state.object.as_ref().map(|object| &object.value) != Some(&value) {
                        continue;
                    }
                }
                if let (false, Some(object)) = (state.stale, &state.object) {
                    return Ok(object.clone());
                }
            }
            trace::step("Transaction prepared");
            let response = self
                .put(Op::Update, key, value.clone(), state.revision, ttl, true)
                .await?;
            if response.succeeded() {
                trace::step("Transaction committed");
                return Ok(Object {
                    key: key.clone(),
                    value,
                    resource_version: header_revision(&response),
                });
            }
            state = self.state_after_conflict(key, response, ignore_not_found)?;
            trace::step("Retry value restored");
        }
    }

    /// Upstream's conditionalDelete.
    pub(crate) async fn delete<E, F, Fut>(
        &self,
        key: &Key,
        preconditions: &Preconditions,
        initial: Option<State>,
        mut validate: F,
    ) -> Result<Object, UpdateError<E>>
    where
        F: FnMut(Object) -> Fut,
        Fut: Future<Output = Result<(), E>>,
    {
        let mut state = match initial {
            Some(state) => state,
            None => self.current(key, false).await?,
        };
        loop {
            let Some(object) = state.object.clone() else {
                return Err(Error::NotFound {
                    key: key.to_string(),
                    resource_version: 0,
                }
                .into());
            };
            let verdict = match self.check(key, preconditions, &state) {
                Err(error) => Err(UpdateError::Storage(error)),
                Ok(()) => validate(object.clone())
                    .await
                    .map_err(UpdateError::Rejected),
            };
            if let Err(error) = verdict {
                if state.current {
                    return Err(error);
                }
                let seen = state.revision;
                state = self.current(key, false).await?;
                if state.revision == seen {
                    return Err(error);
                }
                continue;
            }
            let txn = Txn::new()
                .when([Compare::mod_revision(
                    key.as_str(),
                    CompareOp::Equal,
                    signed(state.revision),
                )])
                .and_then([TxnOp::delete(key.as_str(), None)])
                .or_else([TxnOp::get(key.as_str(), None)]);
            let response = self.txn(Op::Delete, key, txn).await?;
            if response.succeeded() {
                return Ok(Object {
                    resource_version: header_revision(&response),
                    ..object
                });
            }
            state = self.state_after_conflict(key, response, false)?;
        }
    }

    /// A part of a request that is about one key.
    fn span(&self, name: &'static str, key: &Key) -> Open {
        trace::begin_in_storage(name, |fields| {
            let config = &self.config;
            fields
                .text("key", self.keys.shown(key.as_str(), &config.prefix))
                .text("group", config.group.as_str())
                .text("resource", config.resource.as_str());
        })
    }

    /// How many objects there are.
    pub(crate) async fn count(&self) -> Result<u64, Error> {
        let root = self.keys.root();
        let end = prefix_end(root.as_bytes());
        let page = self
            .range(root, &end, 0, 0, true)
            .await
            .map_err(|error| error.into_read_error(&format!("count {root}")))?;
        Ok(u64::try_from(page.count).unwrap_or(0))
    }

    /// Keys from `start` up to `end` at a revision (0: newest).
    pub(crate) async fn range(
        &self,
        start: &str,
        end: &[u8],
        limit: i64,
        revision: u64,
        count_only: bool,
    ) -> Result<Page, EtcdError> {
        let _call = trace::call("etcdserverpb.KV/Range");
        let started = Instant::now();
        let mut options = GetOptions::new()
            .with_range(end)
            .with_limit(limit)
            .with_revision(signed(revision));
        if count_only {
            options = options.with_count_only();
        }
        let outcome = self
            .client
            .read(|endpoint| {
                let mut list = endpoint.list.clone();
                let options = options.clone();
                async move { list.get(start, Some(options)).await }
            })
            .await;
        let op = if count_only { Op::Count } else { Op::List };
        self.metrics.etcd_request(op, started, outcome.is_err());
        outcome.map(page)
    }

    pub(super) async fn range_one(&self, key: &Key, revision: u64) -> Result<Page, EtcdError> {
        let _call = trace::call("etcdserverpb.KV/Range");
        let started = Instant::now();
        let options = GetOptions::new().with_revision(signed(revision));
        let outcome = self
            .client
            .read(|endpoint| {
                let mut kv = endpoint.kv.clone();
                let options = options.clone();
                async move { kv.get(key.as_str(), Some(options)).await }
            })
            .await;
        self.metrics
            .etcd_request(Op::Get, started, outcome.is_err());
        outcome.map(page)
    }

    /// Decrypts a value and reads its header. [`Error::Corrupt`] stays until the value changes; other errors may pass.
    pub(crate) fn entry(&self, raw: RawKeyValue) -> Result<Entry, Error> {
        let (value, _) = self
            .plain(&raw.key, raw.value)
            .map_err(|error| match error {
                Error::Corrupt { key, message } => Error::Corrupt {
                    message: format!("unable to transform key {key:?}: {message}"),
                    key,
                },
                error => error,
            })?;
        let header = (self.config.header)(&raw.key, &value)
            .map_err(|error| self.corrupt(&raw.key, error.to_string()))?;
        let namespace = self.keys.namespace_range(&raw.key);
        Ok(Entry {
            key: Key(raw.key.into()),
            value: Value::new(value),
            resource_version: raw.revision,
            namespace,
            header,
            message_len: MessageLen::default(),
        })
    }

    fn plain(&self, key: &str, stored: Bytes) -> Result<(Bytes, bool), Error> {
        self.config
            .transformer
            .from_storage(key, stored)
            .map_err(|error| match error.transient {
                // Says nothing about the value, which may be readable in a moment.
                true => Error::internal(error.to_string()),
                false => self.corrupt(key, error.to_string()),
            })
    }

    fn corrupt(&self, key: &str, message: String) -> Error {
        self.metrics.decode_errors().inc();
        Error::Corrupt {
            key: key.to_owned(),
            message,
        }
    }

    async fn current(&self, key: &Key, ignore_not_found: bool) -> Result<State, Error> {
        let page = self
            .range_one(key, 0)
            .await
            .map_err(|error| error.into_read_error(&format!("get {key}")))?;
        found(
            key,
            self.state(key, page.items.into_iter().next())?,
            ignore_not_found,
        )
    }

    fn state(&self, key: &Key, raw: Option<RawKeyValue>) -> Result<State, Error> {
        let Some(raw) = raw else {
            return Ok(State {
                object: None,
                revision: 0,
                stale: false,
                current: true,
            });
        };
        let (value, stale) = self.plain(key.as_str(), raw.value)?;
        let object = Object {
            key: key.clone(),
            value,
            resource_version: raw.revision,
        };
        Ok(State {
            object: Some(object),
            revision: raw.revision,
            stale,
            current: true,
        })
    }

    /// The else branch of a transaction has read what stood in the way.
    fn state_after_conflict(
        &self,
        key: &Key,
        response: TxnResponse,
        ignore_not_found: bool,
    ) -> Result<State, Error> {
        let mut raw = None;
        for response in response.op_responses() {
            if let etcd_client::TxnOpResponse::Get(get) = response {
                raw = page(get).items.into_iter().next();
            }
        }
        found(key, self.state(key, raw)?, ignore_not_found)
    }

    fn check(&self, key: &Key, preconditions: &Preconditions, state: &State) -> Result<(), Error> {
        let failed = |message: String| Error::PreconditionFailed {
            key: key.to_string(),
            message,
        };
        if let Some(wanted) = &preconditions.uid {
            let uid = match &state.object {
                Some(object) => (self.config.header)(key.as_str(), &object.value)
                    .map(|header| header.uid)
                    .map_err(|error| self.corrupt(key.as_str(), error.to_string()))?,
                None => Box::from(""),
            };
            if **wanted != *uid {
                return Err(failed(format!(
                    "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
                )));
            }
        }
        if let Some(wanted) = &preconditions.resource_version {
            let version = if state.revision == 0 {
                String::new()
            } else {
                state.revision.to_string()
            };
            if *wanted != version {
                return Err(failed(format!(
                    "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {version}"
                )));
            }
        }
        Ok(())
    }

    async fn put(
        &self,
        op: Op,
        key: &Key,
        value: Bytes,
        expected_revision: u64,
        ttl: Option<Duration>,
        get_on_failure: bool,
    ) -> Result<TxnResponse, Error> {
        let stored = self
            .config
            .transformer
            .to_storage(key.as_str(), value)
            .map_err(|error| Error::internal(error.to_string()))?;
        trace::step("TransformToStorage succeeded");
        let options = match ttl.filter(|ttl| !ttl.is_zero()) {
            Some(ttl) => Some(PutOptions::new().with_lease(self.leases.lease(ttl).await?)),
            None => None,
        };
        let mut txn = Txn::new()
            .when([Compare::mod_revision(
                key.as_str(),
                CompareOp::Equal,
                signed(expected_revision),
            )])
            .and_then([TxnOp::put(key.as_str(), Vec::from(stored), options)]);
        if get_on_failure {
            txn = txn.or_else([TxnOp::get(key.as_str(), None)]);
        }
        self.txn(op, key, txn).await
    }

    async fn txn(&self, op: Op, key: &Key, txn: Txn) -> Result<TxnResponse, Error> {
        let call = trace::call("etcdserverpb.KV/Txn");
        let started = Instant::now();
        let outcome = self
            .client
            .write(|endpoint| {
                let mut kv = endpoint.kv.clone();
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await;
        drop(call);
        trace::step(match &outcome {
            Ok(_) => "Txn call succeeded",
            Err(_) => "Txn call failed",
        });
        self.metrics.etcd_request(op, started, outcome.is_err());
        outcome.map_err(|error| error.into_write_error(&format!("write {key}")))
    }
}

fn found(key: &Key, state: State, ignore_not_found: bool) -> Result<State, Error> {
    if state.object.is_none() && !ignore_not_found {
        return Err(Error::NotFound {
            key: key.to_string(),
            resource_version: 0,
        });
    }
    Ok(state)
}

pub(crate) fn page(mut response: etcd_client::GetResponse) -> Page {
    let revision = response.header().map_or(0, |header| header.revision());
    let count = response.count();
    let items = response
        .take_kvs()
        .into_iter()
        .filter_map(|kv| {
            let kv = kv.0;
            Some(RawKeyValue {
                // A key that is no UTF-8 is none of ours.
                key: String::from_utf8(kv.key).ok()?,
                value: kv.value.into(),
                revision: u64::try_from(kv.mod_revision).ok()?,
            })
        })
        .collect();
    Page {
        items,
        count,
        revision: u64::try_from(revision).unwrap_or(0),
    }
}

fn header_revision(response: &TxnResponse) -> u64 {
    response
        .header()
        .and_then(|header| u64::try_from(header.revision()).ok())
        .unwrap_or(0)
}

pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

//! The storage of one resource: where each request is answered, from the cache or from etcd.
//! Upstream: cacher/delegator.go, storage/interfaces.go.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::storage::cacher::cache::{BLOCK_TIMEOUT, Cache};
use crate::storage::cacher::list::List;
use crate::storage::cacher::watch::Watcher;
use crate::storage::entry::{Entry, Object};
use crate::storage::error::{Error, UpdateError};
use crate::storage::etcd3;
use crate::storage::etcd3::compact::CompactRevision;
use crate::storage::etcd3::list::{check_minimum_version, validate_list_options};
use crate::storage::etcd3::store::{State, Store};
use crate::storage::key::{Key, Scope};
use crate::storage::options::{
    Current, DeleteOptions, Everything, Hint, ListOptions, Predicate, ResourceConfig,
    ResourceVersionMatch, Update, UpdateOptions, WatchOptions,
};
use crate::traces::trace;

/// One resource's storage. Cheap to clone.
///
/// Writes belong into a task that is not dropped when the client goes away: a dropped write may or may not happen.
#[derive(Clone)]
pub struct Storage {
    store: Arc<Store>,
    cache: Option<Arc<Cache>>,
    compacted: Arc<CompactRevision>,
    token: CancellationToken,
    /// The newest revision that was written through this storage.
    written: Arc<AtomicU64>,
}

/// A state of a resource's objects: equal stamps mean equal objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    generation: u64,
    revision: u64,
}

/// How a list can be answered from the cache.
enum Plan {
    /// At exactly this revision, from a key on.
    Exact(u64, Option<String>),
    /// At least as new as all acknowledged writes, from a key on.
    Consistent(Option<String>),
    /// At least this revision.
    NotOlderThan(u64),
}

impl Storage {
    pub(crate) fn new(
        store: Arc<Store>,
        cache: Option<Arc<Cache>>,
        compacted: Arc<CompactRevision>,
        token: CancellationToken,
    ) -> Self {
        Self {
            store,
            cache,
            compacted,
            token,
            written: Arc::default(),
        }
    }

    /// What it was made from.
    pub fn config(&self) -> &ResourceConfig {
        &self.store.config
    }

    /// The key of an object; the namespace is empty for cluster-scoped resources. Fails with upstream's BadRequest texts.
    pub fn key(&self, namespace: &str, name: &str) -> Result<Key, Error> {
        self.store.keys.object(namespace, name)
    }

    /// What a list or watch covers: everything, one namespace, or one object. Empty means any.
    pub fn scope(&self, namespace: &str, name: &str) -> Result<Scope, Error> {
        self.store.keys.scope(namespace, name)
    }

    /// Reads one object: as new as etcd's quorum when `resource_version` is empty, else not older than it.
    ///
    /// Upstream asks etcd for the object when no version is given. Here the cache answers as soon as it has reached etcd's
    /// revision, whose read is small and shared by all who wait for it.
    pub async fn get(&self, key: &Key, resource_version: &str) -> Result<Object, Error> {
        let _span = trace::begin_in_storage("cacher.Get", |fields| {
            let prefix = &self.store.config.prefix;
            fields
                .text("key", self.store.keys.shown(key.as_str(), prefix))
                .text("resource-version", resource_version);
        });
        let consistent = resource_version.is_empty();
        let Some(cache) = self.cache.as_ref().filter(|cache| {
            cache.check_ready().is_ok()
                && (!consistent || cache.clock.tracks_revision())
                && !self.is_read_of_etcd(resource_version)
        }) else {
            return self.get_from_etcd(key, resource_version).await;
        };
        let minimum = if consistent {
            self.store.revisions.current().await?
        } else {
            parse_resource_version(resource_version)?
        };
        match cache.wait_fresh(minimum).await {
            Err(Error::TooLargeResourceVersion { .. }) if consistent => {
                return self.get_from_etcd(key, resource_version).await;
            }
            fresh => fresh?,
        }
        trace::step("About to fetch object from cache");
        let (entry, revision) = match cache.read(key) {
            // Whoever asks for one object learns what is wrong with it now.
            Err(Error::Corrupt { .. }) => return self.get_from_etcd(key, resource_version).await,
            read => read?,
        };
        entry
            .map(|entry| entry.object())
            .ok_or_else(|| Error::NotFound {
                key: key.to_string(),
                resource_version: if consistent { 0 } else { revision },
            })
    }

    /// Whether a read that names a version is left to etcd, for a resource that answers as etcd does.
    fn is_read_of_etcd(&self, resource_version: &str) -> bool {
        self.config().as_etcd && !matches!(resource_version, "" | "0")
    }

    /// What continue tokens leave out of keys. The prefix of upstream's watch cache ends before the slash, etcd's behind it.
    fn token_prefix<'a>(&self, scope: &'a Scope) -> &'a str {
        match scope.prefix.strip_suffix('/') {
            Some(prefix) if !self.config().as_etcd => prefix,
            _ => &scope.prefix,
        }
    }

    async fn get_from_etcd(&self, key: &Key, resource_version: &str) -> Result<Object, Error> {
        trace::step("About to Get from underlying storage");
        let (object, revision) = self.store.get(key).await?;
        check_minimum_version(resource_version, revision)?;
        object.ok_or_else(|| Error::NotFound {
            key: key.to_string(),
            resource_version: 0,
        })
    }

    /// Whether objects are in a watch cache.
    pub fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    /// The cache's copy of an object as it is now, perhaps behind etcd.
    pub fn peek(&self, key: &Key) -> Option<Arc<Entry>> {
        self.cache.as_ref()?.get(key)
    }

    /// The cache's copies of a scope's objects as they are now, perhaps behind etcd. None where there is no cache, or it is not
    /// ready. No list of a client, and not counted as one.
    pub fn peek_list(&self, scope: &Scope) -> Result<Option<List>, Error> {
        let snapshot = self.cache.as_ref().map(|cache| cache.snapshot());
        let Some(Ok(snapshot)) = snapshot else {
            return Ok(None);
        };
        let prefix = self.token_prefix(scope);
        List::from_snapshot(snapshot, scope, None, 0, Arc::new(Everything), prefix).map(Some)
    }

    /// The state of the cache, which has all writes of this process that have ended. Costs next to nothing.
    pub async fn stamp(&self) -> Result<Stamp, Error> {
        let Some(cache) = &self.cache else {
            return Err(Error::Internal {
                message: "the resource has no watch cache".to_owned(),
            });
        };
        cache.wait_ready(BLOCK_TIMEOUT).await?;
        let written = self.written.load(Ordering::Acquire);
        if cache.with_state(|state, _| state.revision) < written {
            cache.wait_fresh(written).await?;
        }
        Ok(cache.with_state(|state, _| Stamp {
            generation: state.generation,
            revision: state.revision,
        }))
    }

    /// All objects in the cache, in the order of their keys.
    pub fn entries(&self) -> Result<(Stamp, Vec<Arc<Entry>>), Error> {
        let Some(cache) = &self.cache else {
            return Err(Error::Internal {
                message: "the resource has no watch cache".to_owned(),
            });
        };
        cache.check_ready()?;
        Ok(cache.with_state(|state, _| {
            let stamp = Stamp {
                generation: state.generation,
                revision: state.revision,
            };
            (stamp, state.contents.tree.cursor("").collect())
        }))
    }

    fn note(&self, written: &Object) {
        self.written
            .fetch_max(written.resource_version, Ordering::AcqRel);
    }

    /// Lists a scope. See [`ListOptions`]; the rules are upstream's for resourceVersion, its match, limit and continue.
    pub async fn list(
        &self,
        scope: &Scope,
        options: &ListOptions,
        predicate: Arc<dyn Predicate>,
    ) -> Result<List, Error> {
        let (exact, start) = validate_list_options(scope, options)?;
        let Some(cache) = &self.cache else {
            return self.store.list(scope, options, predicate).await;
        };
        if self.is_read_of_etcd(&options.resource_version) {
            return self.store.list(scope, options, predicate).await;
        }
        let Some(plan) = self.plan(cache, scope, options, exact, start)? else {
            return self.store.list(scope, options, predicate).await;
        };
        if cache.check_ready().is_err() && options.limit > 0 && predicate.is_everything() {
            // KEP-4568: a page without selectors is cheap for etcd too.
            return self.store.list(scope, options, predicate).await;
        }
        let _span = trace::begin_in_storage("cacher.GetList", |fields| {
            let (group, resource) = (&self.config().group, &self.config().resource);
            let dot = if group.is_empty() { "" } else { "." };
            fields.text("type", format!("{resource}{dot}{group}"));
        });
        cache.wait_ready(BLOCK_TIMEOUT).await?;
        trace::step("Ready");
        let consistent = matches!(plan, Plan::Consistent(_));
        let outcome = self
            .list_from_cache(cache, scope, options, Arc::clone(&predicate), plan)
            .await;
        if let Ok(list) = &outcome {
            trace::step_with("Listed items from cache", |fields| {
                fields.number("count", list.len_hint());
            });
        }
        let fallback = match &outcome {
            Err(Error::Expired { .. }) => true,
            Err(Error::TooLargeResourceVersion { .. }) => consistent,
            _ => false,
        };
        let outcome = if fallback {
            self.store.list(scope, options, predicate).await
        } else {
            outcome
        };
        if consistent {
            self.store
                .metrics
                .consistent_read(outcome.is_ok(), fallback);
        }
        outcome
    }

    /// Upstream's ShouldDelegateList: `None` sends the request to etcd.
    fn plan(
        &self,
        cache: &Cache,
        scope: &Scope,
        options: &ListOptions,
        exact: u64,
        start: Option<String>,
    ) -> Result<Option<Plan>, Error> {
        let at_revision = |revision: u64, start| {
            let servable = scope.recursive && revision >= self.compacted.get();
            let future = revision > cache.revision();
            (servable && (!future || cache.clock.tracks_revision()))
                .then_some(Plan::Exact(revision, start))
        };
        let consistent = |start| {
            cache
                .clock
                .tracks_revision()
                .then_some(Plan::Consistent(start))
        };
        Ok(match options.resource_version_match {
            Some(ResourceVersionMatch::Exact) => at_revision(exact, None),
            Some(ResourceVersionMatch::NotOlderThan) => Some(Plan::NotOlderThan(
                parse_resource_version(&options.resource_version)?,
            )),
            None if !options.continue_token.is_empty() => match (scope.recursive, exact) {
                (false, _) => None,
                (true, 0) => consistent(start),
                (true, revision) => at_revision(revision, start),
            },
            None if options.resource_version.is_empty() => consistent(None),
            None if options.limit > 0 && options.resource_version != "0" => {
                at_revision(parse_resource_version(&options.resource_version)?, None)
            }
            None => Some(Plan::NotOlderThan(parse_resource_version(
                &options.resource_version,
            )?)),
        })
    }

    async fn list_from_cache(
        &self,
        cache: &Cache,
        scope: &Scope,
        options: &ListOptions,
        predicate: Arc<dyn Predicate>,
        plan: Plan,
    ) -> Result<List, Error> {
        // As upstream, a limit means nothing to a list of any version.
        let limit = if options.resource_version == "0" && !self.config().as_etcd {
            0
        } else {
            options.limit
        };
        let start = match plan {
            Plan::Exact(revision, start) => {
                cache.wait_fresh(revision).await?;
                let Some(snapshot) = cache.snapshot_at(revision) else {
                    return Err(Error::expired(format!(
                        "too old resource version: {revision}"
                    )));
                };
                let prefix = self.token_prefix(scope);
                let list = List::from_snapshot(snapshot, scope, start, limit, predicate, prefix)?;
                self.store.metrics.cache_list("", list.len_hint());
                return Ok(list.counted(self.store.metrics.cache_list_returned().clone()));
            }
            Plan::Consistent(start) => {
                cache
                    .wait_fresh(self.store.revisions.current().await?)
                    .await?;
                start
            }
            Plan::NotOlderThan(revision) => {
                cache.wait_fresh(revision).await?;
                None
            }
        };
        if let Some(field) = self.store.config.index_field
            && scope.recursive
            && limit == 0
            && start.is_none()
            && let Some(value) = predicate.exact_field(field).map(str::to_owned)
        {
            let (tree, snapshot) = cache.index_snapshot()?;
            let list = List::from_index(tree, &snapshot, scope, &value, predicate)?;
            self.store
                .metrics
                .cache_list(&format!("f:{field}"), list.len_hint());
            return Ok(list.counted(self.store.metrics.cache_list_returned().clone()));
        }
        let snapshot = cache.snapshot()?;
        let prefix = self.token_prefix(scope);
        let list = List::from_snapshot(snapshot, scope, start, limit, predicate, prefix)?;
        self.store.metrics.cache_list("", list.len_hint());
        Ok(list.counted(self.store.metrics.cache_list_returned().clone()))
    }

    /// Watches a scope. What is wrong with the version comes as the watch's only event, as upstream; what is wrong with
    /// the request, and a cache that is not filled, as an error.
    pub async fn watch(
        &self,
        scope: &Scope,
        options: &WatchOptions,
        predicate: Arc<dyn Predicate>,
    ) -> Result<Watcher, Error> {
        parse_resource_version(&options.resource_version)?;
        let Some(cache) = &self.cache else {
            let events = etcd3::watch::start(
                Arc::clone(&self.store),
                scope.clone(),
                options.clone(),
                predicate,
            );
            return Ok(Watcher::remote(events));
        };
        let generation = cache.wait_ready(BLOCK_TIMEOUT).await?;
        Watcher::start(cache, scope, options, predicate, generation).await
    }

    /// Writes a new object; it must not hold a resourceVersion. `ttl` puts it on an etcd lease.
    pub async fn create(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<Object, Error> {
        let created = self.store.create(key, value, ttl).await?;
        self.note(&created);
        Ok(created)
    }

    /// Changes an object with what `update` makes of its current state.
    ///
    /// `update` is called with the cache's copy first, and again with a fresh one when that was stale or somebody else
    /// wrote in between. It may wait. Its refusal counts only if it saw the newest state. Nothing is written when the
    /// bytes do not change.
    pub async fn guaranteed_update<E, F, Fut>(
        &self,
        key: &Key,
        options: UpdateOptions,
        update: F,
    ) -> Result<Object, UpdateError<E>>
    where
        F: FnMut(Current) -> Fut,
        Fut: Future<Output = Result<Update, E>>,
    {
        let initial = self.initial(key, options.hint);
        let updated = self
            .store
            .guaranteed_update(
                key,
                &options.preconditions,
                options.ignore_not_found,
                initial,
                update,
            )
            .await?;
        self.note(&updated);
        Ok(updated)
    }

    /// Deletes an object if `validate` agrees with its current state; called as the closure of an update. Gives back the
    /// last state with the revision of the deletion.
    pub async fn delete<E, F, Fut>(
        &self,
        key: &Key,
        options: DeleteOptions,
        validate: F,
    ) -> Result<Object, UpdateError<E>>
    where
        F: FnMut(Object) -> Fut,
        Fut: Future<Output = Result<(), E>>,
    {
        let initial = self.initial(key, options.hint);
        let deleted = self
            .store
            .delete(key, &options.preconditions, initial, validate)
            .await?;
        self.note(&deleted);
        Ok(deleted)
    }

    fn initial(&self, key: &Key, hint: Hint) -> Option<State> {
        match hint {
            Hint::Cache => self.peek(key).map(|entry| State::cached(entry.object())),
            Hint::Object(object) => Some(State::cached(object)),
            Hint::None => None,
        }
    }

    /// Whether lists and watches can be answered, for readyz "storage-readiness".
    pub fn ready(&self) -> Result<(), Error> {
        self.cache
            .as_ref()
            .map_or(Ok(()), |cache| cache.check_ready().map(drop))
    }

    /// Waits for the first list to arrive in the cache.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        match &self.cache {
            Some(cache) => cache.wait_ready(timeout).await.map(drop),
            None => Ok(()),
        }
    }

    /// Objects in the cache; counts in etcd for a resource without one.
    pub async fn count(&self) -> Result<u64, Error> {
        match self.object_count() {
            Some(count) => Ok(count),
            None => self.store.count().await,
        }
    }

    /// Objects in the cache, when there is one and it is filled.
    pub fn object_count(&self) -> Option<u64> {
        let cache = self.cache.as_ref()?;
        cache.check_ready().ok()?;
        Some(cache.size().0)
    }

    /// The same with the bytes of their values.
    pub fn object_stats(&self) -> Option<(u64, u64)> {
        let cache = self.cache.as_ref()?;
        cache.check_ready().ok()?;
        Some(cache.size())
    }

    /// Running watches.
    pub fn watcher_count(&self) -> usize {
        self.cache.as_ref().map_or(0, |cache| cache.watchers.len())
    }

    /// Reads everything again if there is something that could not be read: values may be decrypted in another way now.
    pub fn reread_unreadable(&self) {
        if let Some(cache) = self.cache.as_ref().filter(|cache| cache.has_unreadable()) {
            cache.reset("the encryption configuration has changed");
        }
    }

    /// Ends all watches and frees the cache, for a resource that is no longer served.
    pub fn stop(&self) {
        self.token.cancel();
    }
}

/// A resourceVersion of a request; "" and "0" are 0.
pub(crate) fn parse_resource_version(text: &str) -> Result<u64, Error> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let problem = if digits {
        "value out of range"
    } else {
        "invalid syntax"
    };
    match text.parse() {
        Ok(version) if digits => Ok(version),
        _ => Err(Error::InvalidResourceVersion {
            value: text.to_owned(),
            message: format!("strconv.ParseUint: parsing {text:?}: {problem}"),
        }),
    }
}

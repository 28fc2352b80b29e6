//! Whether a cache has what etcd has. Upstream: cacher/delegator.go, the feature DetectCacheInconsistency.
//!
//! Every few minutes each cache is compared with etcd at one revision: names and versions, which are all that etcd is asked
//! for. Both sides are walked together, a page of keys at a time, so that the check costs the same memory for any number of
//! objects. A cache that differs has lost events: it tells nothing of the past any more until it agrees again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::GetOptions;
use tracing::{debug, error};

use crate::storage::cacher::cache::{Cache, Snapshot};
use crate::storage::cacher::tree::Cursor;
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::etcd3::hub::Hub;
use crate::storage::etcd3::store::{Page, RawKeyValue, Store, page, signed};
use crate::storage::key::prefix_end;
use crate::storage::metrics::Op;

/// Keys per request.
const KEY_PAGE: i64 = 10_000;

/// Compares every cache with etcd once in a period and up to half of one more. The checks are spread over that time.
pub(crate) async fn run(hub: Arc<Hub>, period: Duration) {
    let jittered = || period.mul_f64(1.0 + rand::random::<f64>() * 0.5);
    tokio::time::sleep(jittered()).await;
    loop {
        let caches = hub.caches();
        let pause = jittered() / u32::try_from(caches.len().max(1)).unwrap_or(u32::MAX);
        for cache in caches.iter().filter(|cache| !cache.store.config.as_etcd) {
            if !cache.is_stopped() {
                check(cache).await;
            }
            tokio::time::sleep(pause).await;
        }
        if caches.iter().all(|cache| cache.store.config.as_etcd) {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Compares one cache with etcd, says and counts how that ended.
async fn check(cache: &Cache) {
    match compare(cache).await {
        Ok(digests) => conclude(cache, &digests),
        Err(problem) => {
            let config = &cache.store.config;
            error!(error = %problem, group = config.group, resource = config.resource, "Cache consistency check error");
            cache.store.metrics.consistency_check("error");
        }
    }
}

fn conclude(cache: &Cache, digests: &Digests) {
    let config = &cache.store.config;
    let Digests {
        revision,
        etcd,
        cached,
        difference,
    } = digests;
    if etcd == cached {
        debug!(
            v = 3, group = config.group, resource = config.resource, resourceVersion = revision, digest = %etcd,
            "Cache consistency check passed"
        );
        cache.store.metrics.consistency_check("success");
    } else {
        let detail = difference.as_ref().map(Difference::to_string);
        error!(
            group = config.group, resource = config.resource, resourceVersion = revision, etcdDigest = %etcd,
            cacheDigest = %cached, diffDetail = %detail.unwrap_or_default(), "Cache consistency check failed"
        );
        cache.store.metrics.consistency_check("failure");
    }
    cache.set_consistent(etcd == cached);
}

async fn compare(cache: &Cache) -> Result<Digests, Error> {
    let store = &cache.store;
    let root = store.keys.root();
    let end = prefix_end(root.as_bytes());
    let mut comparison = Comparison::new(store, cache.snapshot()?);
    let mut start = root.to_string();
    loop {
        let page = keys(store, &start, &end, comparison.revision()).await?;
        let more = (page.items.len() as i64) < page.count;
        let last = page.items.last().map(|raw| format!("{}\0", raw.key));
        comparison.add(&page.items);
        match last.filter(|_| more) {
            Some(next) => start = next,
            None => return Ok(comparison.finish()),
        }
    }
}

/// Keys and revisions, without the values.
async fn keys(store: &Store, start: &str, end: &[u8], revision: u64) -> Result<Page, Error> {
    let started = Instant::now();
    let options = GetOptions::new()
        .with_range(end)
        .with_limit(KEY_PAGE)
        .with_revision(signed(revision))
        .with_keys_only();
    let outcome = store
        .client
        .read(|endpoint| {
            let mut list = endpoint.list.clone();
            let options = options.clone();
            async move { list.get(start, Some(options)).await }
        })
        .await;
    store
        .metrics
        .etcd_request(Op::List, started, outcome.is_err());
    outcome
        .map(page)
        .map_err(|error| error.into_read_error("failed calculating etcd digest"))
}

/// What both sides have at a revision.
struct Digests {
    revision: u64,
    etcd: Digest,
    cached: Digest,
    difference: Option<Difference>,
}

/// Where they differ first.
struct Difference {
    index: usize,
    cached: Option<Identity>,
    etcd: Option<Identity>,
}

#[derive(PartialEq)]
struct Identity {
    namespace: String,
    name: String,
    revision: u64,
}

/// Walks both sides together.
struct Comparison<'a> {
    store: &'a Store,
    snapshot: Snapshot,
    cursor: Cursor<Entry>,
    etcd: Digest,
    cached: Digest,
    index: usize,
    difference: Option<Difference>,
}

impl<'a> Comparison<'a> {
    fn new(store: &'a Store, snapshot: Snapshot) -> Self {
        Self {
            store,
            cursor: snapshot.contents.tree.cursor(""),
            snapshot,
            etcd: Digest::default(),
            cached: Digest::default(),
            index: 0,
            difference: None,
        }
    }

    fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// The next keys of etcd.
    fn add(&mut self, page: &[RawKeyValue]) {
        for raw in page {
            // The cache knows of it, but has no object.
            if self.snapshot.contents.is_unreadable(&raw.key) {
                continue;
            }
            let (namespace, name) = self.split(&raw.key);
            self.etcd.add(namespace, name, raw.revision);
            let cached = self.next_cached();
            let same = cached.as_ref().is_some_and(|entry| {
                entry.key.as_str() == raw.key && entry.resource_version == raw.revision
            });
            if !same && self.difference.is_none() {
                self.difference = Some(Difference {
                    index: self.index,
                    cached: cached.as_deref().map(Identity::of),
                    etcd: Some(Identity {
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                        revision: raw.revision,
                    }),
                });
            }
            self.index += 1;
        }
    }

    /// There are no more.
    fn finish(mut self) -> Digests {
        while let Some(entry) = self.next_cached() {
            if self.difference.is_none() {
                self.difference = Some(Difference {
                    index: self.index,
                    cached: Some(Identity::of(&entry)),
                    etcd: None,
                });
            }
        }
        Digests {
            revision: self.snapshot.revision,
            etcd: self.etcd,
            cached: self.cached,
            difference: self.difference,
        }
    }

    fn next_cached(&mut self) -> Option<Arc<Entry>> {
        let entry = self.cursor.next()?;
        let (namespace, name) = (entry.namespace(), entry.name());
        self.cached.add(namespace, name, entry.resource_version);
        Some(entry)
    }

    /// Namespace and name of a key.
    fn split<'k>(&self, key: &'k str) -> (&'k str, &'k str) {
        let (start, end) = self.store.keys.namespace_range(key);
        let namespace = key.get(start as usize..end as usize);
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
        (namespace.unwrap_or_default(), name)
    }
}

impl Identity {
    fn of(entry: &Entry) -> Self {
        Self {
            namespace: entry.namespace().to_owned(),
            name: entry.name().to_owned(),
            revision: entry.resource_version,
        }
    }
}

/// As klog writes upstream's struct.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<Identity>| match side {
            None => "null".to_owned(),
            Some(Identity {
                namespace,
                name,
                revision,
            }) => format!(r#"{{"Namespace":{namespace:?},"Name":{name:?},"RV":"{revision}"}}"#),
        };
        let (cached, etcd) = (side(&self.cached), side(&self.etcd));
        write!(
            f,
            r#"{{"Index":{},"CacheItem":{cached},"EtcdItem":{etcd}}}"#,
            self.index
        )
    }
}

/// FNV-1 of namespaces, names and versions, the same as in upstream's log.
#[derive(Clone, Copy, PartialEq)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, namespace: &str, name: &str, revision: u64) {
        for text in [namespace, "/", name, "/"] {
            self.write(text.as_bytes());
        }
        self.write(revision.to_string().as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(*byte);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::cacher::cache::tests::{deliver, filled, raw};

    /// A page of etcd's keys.
    fn page(keys: &[(&str, u64)]) -> Vec<RawKeyValue> {
        let raw = |(key, revision): &(&str, u64)| RawKeyValue {
            key: format!("/registry/pods/{key}"),
            value: bytes::Bytes::new(),
            revision: *revision,
        };
        keys.iter().map(raw).collect()
    }

    /// The first difference to pages of etcd's keys, after the check has acted upon it.
    fn check(cache: &Cache, pages: &[&[(&str, u64)]]) -> Option<String> {
        let mut comparison = Comparison::new(&cache.store, cache.snapshot().unwrap());
        for keys in pages {
            comparison.add(&page(keys));
        }
        let digests = comparison.finish();
        assert_eq!(digests.etcd == digests.cached, digests.difference.is_none());
        conclude(cache, &digests);
        digests.difference.map(|difference| difference.to_string())
    }

    #[test]
    fn digests_are_upstreams() {
        let mut digest = Digest::default();
        assert_eq!(digest.to_string(), "cbf29ce484222325");
        digest.write(b"a");
        assert_eq!(digest.to_string(), "af63bd4c8601b7be", "FNV-1, not FNV-1a");
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.add("ns", "name", 12);
        other.write(b"ns/name/12");
        assert!(one == other);
    }

    #[tokio::test]
    async fn a_difference_is_found_wherever_it_is() {
        let cache = filled(&[("a/x", "l,n"), ("a/y", "l,n"), ("b/z", "l,n")]);
        let difference = |pages: &[&[(&str, u64)]]| check(&cache, pages).unwrap_or_default();
        let [x, y, z] = [("a/x", 5), ("a/y", 5), ("b/z", 5)];
        assert_eq!(difference(&[&[x, y], &[z]]), "");
        assert_eq!(
            difference(&[&[x], &[("a/y", 6), z]]),
            r#"{"Index":1,"CacheItem":{"Namespace":"a","Name":"y","RV":"5"},"EtcdItem":{"Namespace":"a","Name":"y","RV":"6"}}"#
        );
        assert_eq!(
            difference(&[&[x, y]]),
            r#"{"Index":2,"CacheItem":{"Namespace":"b","Name":"z","RV":"5"},"EtcdItem":null}"#
        );
        assert_eq!(
            difference(&[&[x, y, z, ("c/w", 4)]]),
            r#"{"Index":3,"CacheItem":null,"EtcdItem":{"Namespace":"c","Name":"w","RV":"4"}}"#
        );
        assert_eq!(
            difference(&[&[y, z]]),
            r#"{"Index":0,"CacheItem":{"Namespace":"a","Name":"x","RV":"5"},"EtcdItem":{"Namespace":"a","Name":"y","RV":"5"}}"#
        );
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_difference() {
        let cache = filled(&[("a/x", "l,n"), ("a/y", "l,n")]);
        deliver(&cache, vec![raw("a/x", Some("!"), 7)], 7);
        assert_eq!(check(&cache, &[&[("a/x", 7), ("a/y", 5)]]), None);
    }

    #[tokio::test]
    async fn a_cache_that_differs_tells_nothing_of_the_past_until_it_agrees() {
        let cache = filled(&[("a/x", "l,n")]);
        deliver(&cache, vec![raw("a/y", Some("l,n"), 7)], 7);
        let told = |revision| cache.snapshot_at(revision).is_some();
        assert!(told(5) && told(7));
        assert!(check(&cache, &[&[("a/x", 5)]]).is_some());
        assert!(!told(5) && !told(7) && cache.snapshot().is_ok());
        // Nothing is kept of what comes then, either.
        deliver(&cache, vec![raw("a/y", None, 8)], 8);
        assert_eq!(check(&cache, &[&[("a/x", 5)]]), None);
        deliver(&cache, vec![raw("a/w", Some("l,n"), 9)], 9);
        assert!(!told(5) && !told(7) && told(8) && told(9));
    }
}

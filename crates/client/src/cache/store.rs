//! The objects of one informer with their indexes, under one lock. Upstream: `client-go/tools/cache.{Store,Indexer,Lister}`.
//!
//! Invariants: every index agrees with the objects at any time a reader can look; a relist replaces objects, indexes and version
//! in one step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use apimachinery::labels::Selector;
use parking_lot::RwLock;

use super::Cacheable;
use crate::key::ObjectKey;

type IndexFn<T> = Arc<dyn Fn(&T) -> Vec<String> + Send + Sync>;

/// The objects of an informer.
pub(super) struct Store<T> {
    state: RwLock<State<T>>,
}

struct State<T> {
    objects: HashMap<ObjectKey, Arc<T>>,
    namespaces: HashMap<String, HashSet<ObjectKey>>,
    indexes: BTreeMap<String, Index<T>>,
    /// The version of the collection this state corresponds to.
    resource_version: String,
}

struct Index<T> {
    values: IndexFn<T>,
    keys: HashMap<String, HashSet<ObjectKey>>,
}

/// What a relist changed.
pub(super) struct Replaced<T> {
    pub added: Vec<Arc<T>>,
    pub updated: Vec<(Arc<T>, Arc<T>)>,
    pub removed: Vec<Arc<T>>,
}

impl<T> Index<T> {
    fn insert(&mut self, key: &ObjectKey, object: &T) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &T) {
        for value in (self.values)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

impl<T: Cacheable> State<T> {
    fn insert(&mut self, key: ObjectKey, object: Arc<T>) -> Option<Arc<T>> {
        let old = self.objects.insert(key.clone(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &object);
        }
        if old.is_none() {
            self.namespaces
                .entry(key.namespace.clone())
                .or_default()
                .insert(key);
        }
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        let old = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            index.remove(key, &old);
        }
        if let Some(keys) = self.namespaces.get_mut(&key.namespace) {
            keys.remove(key);
            if keys.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
        Some(old)
    }
}

impl<T: Cacheable> Store<T> {
    pub(super) fn new() -> Self {
        Self {
            state: RwLock::new(State {
                objects: HashMap::new(),
                namespaces: HashMap::new(),
                indexes: BTreeMap::new(),
                resource_version: String::new(),
            }),
        }
    }

    /// Puts an object in; gives what was there.
    pub(super) fn insert(&self, object: Arc<T>) -> Option<Arc<T>> {
        let resource_version = object.object_meta().resource_version.clone();
        let mut state = self.state.write();
        state.resource_version = resource_version;
        state.insert(ObjectKey::of(&*object), object)
    }

    /// Takes an object out. `last` is its final state, which carries the version of the deletion.
    pub(super) fn remove(&self, last: &T) -> Option<Arc<T>> {
        let mut state = self.state.write();
        state.resource_version = last.object_meta().resource_version.clone();
        state.remove(&ObjectKey::of(last))
    }

    /// The collection is at this version now, with no change to the objects here.
    pub(super) fn advance(&self, resource_version: &str) {
        self.state.write().resource_version = resource_version.to_owned();
    }

    /// Replaces everything in one step.
    pub(super) fn replace(&self, objects: Vec<Arc<T>>, resource_version: &str) -> Replaced<T> {
        // The new maps are built before the write lock is taken: readers wait for the swap only.
        let mut fresh: HashMap<ObjectKey, Arc<T>> = HashMap::with_capacity(objects.len());
        for object in objects {
            fresh.insert(ObjectKey::of(&*object), object);
        }
        let mut namespaces: HashMap<String, HashSet<ObjectKey>> = HashMap::new();
        for key in fresh.keys() {
            namespaces
                .entry(key.namespace.clone())
                .or_default()
                .insert(key.clone());
        }
        let build = |values: &IndexFn<T>| {
            let mut index = Index {
                values: values.clone(),
                keys: HashMap::new(),
            };
            for (key, object) in &fresh {
                index.insert(key, object);
            }
            index
        };
        let known: Vec<(String, IndexFn<T>)> = self
            .state
            .read()
            .indexes
            .iter()
            .map(|(name, index)| (name.clone(), index.values.clone()))
            .collect();
        let mut indexes: BTreeMap<String, Index<T>> = known
            .iter()
            .map(|(name, values)| (name.clone(), build(values)))
            .collect();

        let mut state = self.state.write();
        // An index added in the meantime.
        for (name, index) in &state.indexes {
            if !indexes.contains_key(name) {
                indexes.insert(name.clone(), build(&index.values));
            }
        }
        let mut replaced = Replaced {
            added: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
        };
        for (key, object) in &fresh {
            match state.objects.get(key) {
                None => replaced.added.push(object.clone()),
                Some(old) => replaced.updated.push((old.clone(), object.clone())),
            }
        }
        let gone = state
            .objects
            .iter()
            .filter(|(key, _)| !fresh.contains_key(*key))
            .map(|(_, old)| old.clone());
        replaced.removed.extend(gone);
        state.objects = fresh;
        state.namespaces = namespaces;
        state.indexes = indexes;
        state.resource_version = resource_version.to_owned();
        replaced
    }

    pub(super) fn add_index(&self, name: &str, values: IndexFn<T>) -> bool {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return false;
        }
        let mut index = Index {
            values,
            keys: HashMap::new(),
        };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.insert(name.to_owned(), index);
        true
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.state.read().objects.values().cloned().collect()
    }

    pub(super) fn resource_version(&self) -> String {
        self.state.read().resource_version.clone()
    }
}

/// Reads an informer's cache. Clones share it. See [`super::SharedInformer`] for what may be relied on; above all, **never**
/// wait for the cache to show a write of one's own without a bound, and never change what is in it (the types see to that).
pub struct Lister<T> {
    store: Arc<Store<T>>,
}

impl<T> Clone for Lister<T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
        }
    }
}

impl<T: Cacheable> fmt::Debug for Lister<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lister")
            .field("objects", &self.len())
            .finish()
    }
}

impl<T: Cacheable> Lister<T> {
    pub(super) fn new(store: Arc<Store<T>>) -> Self {
        Self { store }
    }

    /// A lister over fixed objects, for tests of what reads listers.
    pub fn of(objects: impl IntoIterator<Item = T>) -> Self {
        let store = Store::new();
        store.replace(objects.into_iter().map(Arc::new).collect(), "");
        Self::new(Arc::new(store))
    }

    /// Adds an index to a lister made with [`Self::of`]; see [`super::SharedInformer::add_index`].
    pub fn with_index(
        self,
        name: &str,
        values: impl Fn(&T) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.store.add_index(name, Arc::new(values));
        self
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.store.state.read().objects.get(key).cloned()
    }

    /// One object of a namespace.
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.store.all()
    }

    /// All objects of a namespace, in no order.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let state = self.store.state.read();
        state
            .namespaces
            .get(namespace)
            .into_iter()
            .flatten()
            .filter_map(|key| state.objects.get(key).cloned())
            .collect()
    }

    /// All objects a label selector matches.
    pub fn select(&self, selector: &Selector) -> Vec<Arc<T>> {
        let state = self.store.state.read();
        state
            .objects
            .values()
            .filter(|object| selector.matches(&object.object_meta().labels))
            .cloned()
            .collect()
    }

    /// The objects of a namespace a label selector matches.
    pub fn select_in(&self, namespace: &str, selector: &Selector) -> Vec<Arc<T>> {
        let mut found = self.list_namespace(namespace);
        found.retain(|object| selector.matches(&object.object_meta().labels));
        found
    }

    /// The objects for which the index gives `value`. Empty for an index nobody added.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<T>> {
        let state = self.store.state.read();
        let keys = state
            .indexes
            .get(index)
            .and_then(|index| index.keys.get(value));
        keys.into_iter()
            .flatten()
            .filter_map(|key| state.objects.get(key).cloned())
            .collect()
    }

    /// All values an index has.
    pub fn index_values(&self, index: &str) -> Vec<String> {
        self.store
            .state
            .read()
            .indexes
            .get(index)
            .map(|index| index.keys.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.store.state.read().objects.keys().cloned().collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.store.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version of the collection the cache corresponds to; "" before the first list.
    pub fn resource_version(&self) -> String {
        self.store.resource_version()
    }

    /// Runs `look` on all objects under one lock, so that it sees one state. It must be quick and must not use the lister.
    pub fn with_all<R>(
        &self,
        look: impl FnOnce(&mut dyn Iterator<Item = (&ObjectKey, &Arc<T>)>) -> R,
    ) -> R {
        look(&mut self.store.state.read().objects.iter())
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Pod;

    use super::*;

    fn pod(namespace: &str, name: &str, node: &str, version: u32) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.namespace = namespace.into();
        pod.metadata.name = name.into();
        pod.metadata.resource_version = version.to_string();
        pod.spec.node_name = node.into();
        Arc::new(pod)
    }

    fn names(mut pods: Vec<Arc<Pod>>) -> Vec<String> {
        pods.sort_by_key(|pod| pod.metadata.name.clone());
        pods.iter().map(|pod| pod.metadata.name.clone()).collect()
    }

    fn by_node(pod: &Pod) -> Vec<String> {
        vec![pod.spec.node_name.clone()]
    }

    #[test]
    fn indexes_follow_every_change() {
        let store = Arc::new(Store::new());
        let lister = Lister::new(store.clone());
        assert!(store.add_index("node", Arc::new(by_node)));
        assert!(!store.add_index("node", Arc::new(by_node)));
        store.insert(pod("a", "one", "n1", 1));
        store.insert(pod("a", "two", "n1", 2));
        store.insert(pod("b", "three", "n2", 3));
        assert_eq!(names(lister.by_index("node", "n1")), ["one", "two"]);
        assert_eq!(
            store
                .insert(pod("a", "one", "n2", 4))
                .unwrap()
                .metadata
                .resource_version,
            "1"
        );
        assert_eq!(names(lister.by_index("node", "n2")), ["one", "three"]);
        assert_eq!(names(lister.list_namespace("a")), ["one", "two"]);
        store.remove(&pod("a", "two", "n1", 5));
        assert!(
            lister.by_index("node", "n1").is_empty() && lister.by_index("nope", "n1").is_empty()
        );
        assert_eq!(lister.index_values("node"), ["n2"]);
        assert_eq!(lister.resource_version(), "5");
        store.add_index("late", Arc::new(by_node));
        assert_eq!(names(lister.by_index("late", "n2")), ["one", "three"]);
    }

    #[test]
    fn a_relist_replaces_everything_at_once() {
        let store = Arc::new(Store::new());
        let lister = Lister::new(store.clone());
        store.add_index("node", Arc::new(by_node));
        store.insert(pod("a", "keep", "n1", 1));
        store.insert(pod("a", "drop", "n1", 2));
        let replaced = store.replace(
            vec![pod("a", "keep", "n3", 7), pod("c", "new", "n1", 8)],
            "9",
        );
        assert_eq!(names(replaced.added), ["new"]);
        assert_eq!(names(replaced.removed), ["drop"]);
        assert_eq!(replaced.updated.len(), 1);
        assert_eq!(names(lister.by_index("node", "n1")), ["new"]);
        assert_eq!(names(lister.list_namespace("a")), ["keep"]);
        assert_eq!(
            (lister.len(), lister.resource_version()),
            (2, "9".to_owned())
        );
    }
}

//! The objects of one informer with their indexes, under one lock. Upstream: `client-go/tools/cache.{Store,Indexer,Lister}`.
//!
//! Invariants: every index agrees with the objects at any time a reader can look; a relist replaces objects, indexes and version
//! in one step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use apimachinery::labels::Selector;
use parking_lot::RwLock;

use super::object::{AnyObject, Cacheable, typed, typed_ref};
use crate::key::ObjectKey;

type IndexFn = Arc<dyn Fn(&dyn Cacheable) -> Vec<String> + Send + Sync>;

/// The function of an index without the type of its objects.
pub(super) fn index_fn<T: Cacheable>(
    values: impl Fn(&T) -> Vec<String> + Send + Sync + 'static,
) -> IndexFn {
    Arc::new(move |object| values(typed_ref(object)))
}

/// The objects of an informer.
pub(super) struct Store {
    state: RwLock<State>,
}

struct State {
    objects: HashMap<ObjectKey, AnyObject>,
    namespaces: HashMap<String, HashSet<ObjectKey>>,
    indexes: BTreeMap<String, Index>,
    /// The version of the collection this state corresponds to.
    resource_version: String,
}

struct Index {
    values: IndexFn,
    keys: HashMap<String, HashSet<ObjectKey>>,
}

/// What a relist changed.
pub(super) struct Replaced {
    pub added: Vec<AnyObject>,
    pub updated: Vec<(AnyObject, AnyObject)>,
    pub removed: Vec<AnyObject>,
}

impl Index {
    fn insert(&mut self, key: &ObjectKey, object: &dyn Cacheable) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &dyn Cacheable) {
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

impl State {
    fn insert(&mut self, key: ObjectKey, object: AnyObject) -> Option<AnyObject> {
        let old = self.objects.insert(key.clone(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, &**old);
            }
            index.insert(&key, &*object);
        }
        if old.is_none() {
            self.namespaces
                .entry(key.namespace.clone())
                .or_default()
                .insert(key);
        }
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<AnyObject> {
        let old = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            index.remove(key, &*old);
        }
        if let Some(keys) = self.namespaces.get_mut(&key.namespace) {
            keys.remove(key);
            if keys.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
        Some(old)
    }

    /// The objects of these keys.
    fn at(&self, keys: Option<&HashSet<ObjectKey>>) -> Vec<AnyObject> {
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.objects.get(key).cloned())
            .collect()
    }
}

impl Store {
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
    pub(super) fn insert(&self, object: AnyObject) -> Option<AnyObject> {
        let resource_version = object.object_meta().resource_version.clone();
        let mut state = self.state.write();
        state.resource_version = resource_version;
        state.insert(ObjectKey::of(&*object), object)
    }

    /// Takes an object out. `last` is its final state, which carries the version of the deletion.
    pub(super) fn remove(&self, last: &dyn Cacheable) -> Option<AnyObject> {
        let mut state = self.state.write();
        state.resource_version = last.object_meta().resource_version.clone();
        state.remove(&ObjectKey::of(last))
    }

    /// The collection is at this version now, with no change to the objects here.
    pub(super) fn advance(&self, resource_version: &str) {
        self.state.write().resource_version = resource_version.to_owned();
    }

    /// Replaces everything in one step.
    pub(super) fn replace(&self, objects: Vec<AnyObject>, resource_version: &str) -> Replaced {
        // The new maps are built before the write lock is taken: readers wait for the swap only.
        let mut fresh: HashMap<ObjectKey, AnyObject> = HashMap::with_capacity(objects.len());
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
        let build = |values: &IndexFn| {
            let mut index = Index {
                values: values.clone(),
                keys: HashMap::new(),
            };
            for (key, object) in &fresh {
                index.insert(key, &**object);
            }
            index
        };
        let known: Vec<(String, IndexFn)> = self
            .state
            .read()
            .indexes
            .iter()
            .map(|(name, index)| (name.clone(), index.values.clone()))
            .collect();
        let mut indexes: BTreeMap<String, Index> = known
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

    pub(super) fn add_index(&self, name: &str, values: IndexFn) -> bool {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return false;
        }
        let mut index = Index {
            values,
            keys: HashMap::new(),
        };
        for (key, object) in &state.objects {
            index.insert(key, &**object);
        }
        state.indexes.insert(name.to_owned(), index);
        true
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<AnyObject> {
        self.state.read().objects.get(key).cloned()
    }

    pub(super) fn all(&self) -> Vec<AnyObject> {
        self.state.read().objects.values().cloned().collect()
    }

    fn of_namespace(&self, namespace: &str) -> Vec<AnyObject> {
        let state = self.state.read();
        state.at(state.namespaces.get(namespace))
    }

    fn of_index(&self, index: &str, value: &str) -> Vec<AnyObject> {
        let state = self.state.read();
        state.at(state
            .indexes
            .get(index)
            .and_then(|index| index.keys.get(value)))
    }

    fn matching(&self, selector: &Selector) -> Vec<AnyObject> {
        let state = self.state.read();
        state
            .objects
            .values()
            .filter(|object| selector.matches(&object.object_meta().labels))
            .cloned()
            .collect()
    }

    fn index_values(&self, index: &str) -> Vec<String> {
        self.state
            .read()
            .indexes
            .get(index)
            .map(|index| index.keys.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.state.read().objects.keys().cloned().collect()
    }

    fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    pub(super) fn resource_version(&self) -> String {
        self.state.read().resource_version.clone()
    }
}

/// Reads an informer's cache. Clones share it. See [`super::SharedInformer`] for what may be relied on; above all, **never**
/// wait for the cache to show a write of one's own without a bound, and never change what is in it (the types see to that).
pub struct Lister<T> {
    store: Arc<Store>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Lister<T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            kind: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Lister<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lister")
            .field("objects", &self.store.len())
            .finish()
    }
}

impl<T: Cacheable> Lister<T> {
    /// `store` holds objects of this kind.
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            kind: PhantomData,
        }
    }

    /// A lister over fixed objects, for tests of what reads listers.
    pub fn of(objects: impl IntoIterator<Item = T>) -> Self {
        let store = Store::new();
        let objects = objects.into_iter().map(|object| Arc::new(object) as _);
        store.replace(objects.collect(), "");
        Self::new(Arc::new(store))
    }

    /// Adds an index to a lister made with [`Self::of`]; see [`super::SharedInformer::add_index`].
    pub fn with_index(
        self,
        name: &str,
        values: impl Fn(&T) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.store.add_index(name, index_fn(values));
        self
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.store.get(key).map(typed)
    }

    /// One object of a namespace.
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<T>> {
        all_typed(self.store.all())
    }

    /// All objects of a namespace, in no order.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        all_typed(self.store.of_namespace(namespace))
    }

    /// All objects a label selector matches.
    pub fn select(&self, selector: &Selector) -> Vec<Arc<T>> {
        all_typed(self.store.matching(selector))
    }

    /// The objects of a namespace a label selector matches.
    pub fn select_in(&self, namespace: &str, selector: &Selector) -> Vec<Arc<T>> {
        let mut found = self.store.of_namespace(namespace);
        found.retain(|object| selector.matches(&object.object_meta().labels));
        all_typed(found)
    }

    /// The objects for which the index gives `value`. Empty for an index nobody added.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<T>> {
        all_typed(self.store.of_index(index, value))
    }

    /// All values an index has.
    pub fn index_values(&self, index: &str) -> Vec<String> {
        self.store.index_values(index)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.store.keys()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version of the collection the cache corresponds to; "" before the first list.
    pub fn resource_version(&self) -> String {
        self.store.resource_version()
    }
}

/// In place: the vector's own memory is used again.
fn all_typed<T: Cacheable>(objects: Vec<AnyObject>) -> Vec<Arc<T>> {
    objects.into_iter().map(typed).collect()
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

    fn names<T: Cacheable + ?Sized>(objects: Vec<Arc<T>>) -> Vec<String> {
        let name = |object: &Arc<T>| object.object_meta().name.clone();
        let mut names: Vec<String> = objects.iter().map(name).collect();
        names.sort();
        names
    }

    fn by_node() -> IndexFn {
        index_fn(|pod: &Pod| vec![pod.spec.node_name.clone()])
    }

    #[test]
    fn indexes_follow_every_change() {
        let store = Arc::new(Store::new());
        let lister = Lister::<Pod>::new(store.clone());
        assert!(store.add_index("node", by_node()));
        assert!(!store.add_index("node", by_node()));
        store.insert(pod("a", "one", "n1", 1));
        store.insert(pod("a", "two", "n1", 2));
        store.insert(pod("b", "three", "n2", 3));
        assert_eq!(names(lister.by_index("node", "n1")), ["one", "two"]);
        assert_eq!(
            store
                .insert(pod("a", "one", "n2", 4))
                .unwrap()
                .object_meta()
                .resource_version,
            "1"
        );
        assert_eq!(names(lister.by_index("node", "n2")), ["one", "three"]);
        assert_eq!(names(lister.list_namespace("a")), ["one", "two"]);
        store.remove(&*pod("a", "two", "n1", 5));
        assert!(
            lister.by_index("node", "n1").is_empty() && lister.by_index("nope", "n1").is_empty()
        );
        assert_eq!(lister.index_values("node"), ["n2"]);
        assert_eq!(lister.resource_version(), "5");
        store.add_index("late", by_node());
        assert_eq!(names(lister.by_index("late", "n2")), ["one", "three"]);
    }

    #[test]
    fn a_relist_replaces_everything_at_once() {
        let store = Arc::new(Store::new());
        let lister = Lister::<Pod>::new(store.clone());
        store.add_index("node", by_node());
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

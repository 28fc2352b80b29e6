//! How many watches a change may have to be sent to. Upstream: util/flowcontrol/watch_tracker.go.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::request::RequestInfo;
use crate::request::query::Query;

/// Counts running watches by what they are on. Selectors are not looked at: they have to be evaluated for every change.
#[derive(Debug, Default)]
pub(crate) struct WatchTracker {
    /// By group and by resource.
    watches: RwLock<HashMap<String, HashMap<String, Watches>>>,
}

#[derive(Debug, Default)]
struct Watches {
    all: usize,
    /// Of one namespace; the empty one has those of single objects without namespace.
    namespaces: HashMap<String, InNamespace>,
}

#[derive(Debug, Default)]
struct InNamespace {
    all: usize,
    names: HashMap<String, usize>,
}

impl Watches {
    fn is_empty(&self) -> bool {
        self.all == 0 && self.namespaces.is_empty()
    }

    fn add(&mut self, namespace: &str, name: &str) {
        if namespace.is_empty() && name.is_empty() {
            self.all += 1;
            return;
        }
        let watches = self.namespaces.entry(namespace.to_owned()).or_default();
        if name.is_empty() {
            watches.all += 1;
        } else {
            *watches.names.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        if namespace.is_empty() && name.is_empty() {
            self.all -= 1;
            return;
        }
        let Some(watches) = self.namespaces.get_mut(namespace) else {
            return;
        };
        if name.is_empty() {
            watches.all -= 1;
        } else if let Some(count) = watches.names.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                watches.names.remove(name);
            }
        }
        if watches.all == 0 && watches.names.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

/// A running watch. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct TrackedWatch {
    tracker: Arc<WatchTracker>,
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

impl Drop for TrackedWatch {
    fn drop(&mut self) {
        let mut groups = self.tracker.watches.write();
        let Some(resources) = groups.get_mut(&self.group) else {
            return;
        };
        if let Some(watches) = resources.get_mut(&self.resource) {
            watches.remove(&self.namespace, &self.name);
            if watches.is_empty() {
                resources.remove(&self.resource);
            }
        }
        if resources.is_empty() {
            groups.remove(&self.group);
        }
    }
}

impl WatchTracker {
    /// Counts a watch. None when changes are dispatched past it: the watch cache has an index of the pods of each node.
    pub(crate) fn register(
        self: &Arc<Self>,
        info: &RequestInfo,
        query: &Query,
    ) -> Option<TrackedWatch> {
        if info.resource == "pods" && names_a_node(query) {
            return None;
        }
        let watch = TrackedWatch {
            tracker: self.clone(),
            group: info.api_group.clone(),
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
        };
        let mut groups = self.watches.write();
        let resources = groups.entry(watch.group.clone()).or_default();
        let watches = resources.entry(watch.resource.clone()).or_default();
        watches.add(&watch.namespace, &watch.name);
        Some(watch)
    }

    /// The watches that may be told of what a request changes.
    pub(crate) fn interested(&self, info: &RequestInfo) -> usize {
        let groups = self.watches.read();
        let Some(watches) = groups
            .get(info.api_group.as_str())
            .and_then(|resources| resources.get(info.resource.as_str()))
        else {
            return 0;
        };
        let in_namespace = watches.namespaces.get(info.namespace.as_str());
        watches.all
            + in_namespace.map_or(0, |watches| {
                let named = watches.names.get(info.name.as_str());
                watches.all + named.copied().unwrap_or(0)
            })
    }
}

fn names_a_node(query: &Query) -> bool {
    let Some(text) = query.first("fieldSelector") else {
        return false;
    };
    let Ok(selector) = apimachinery::fields::Selector::parse(text) else {
        return false;
    };
    selector
        .requires_exact_match("spec.nodeName")
        .is_some_and(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(namespace: &str, name: &str) -> RequestInfo {
        RequestInfo {
            is_resource_request: true,
            api_version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn watches_are_counted_while_they_run() {
        let tracker = Arc::new(WatchTracker::default());
        let none = Query::default();
        let count = |namespace: &str, name: &str| tracker.interested(&info(namespace, name));
        let all = tracker.register(&info("", ""), &none);
        let second = tracker.register(&info("", ""), &none);
        let a = tracker.register(&info("a", ""), &none);
        let one = tracker.register(&info("a", "x"), &none);
        let cluster_scoped = tracker.register(&info("", "x"), &none);
        assert_eq!(count("a", "x"), 4);
        assert_eq!(count("a", "y"), 3);
        assert_eq!(count("b", "x"), 2);
        assert_eq!(count("", "x"), 3);
        assert_eq!(count("", ""), 2);
        let by_node = Query::parse("fieldSelector=spec.nodeName%3Dn1");
        assert!(tracker.register(&info("", ""), &by_node).is_none());
        let unscheduled = Query::parse("fieldSelector=spec.nodeName%3D");
        let unscheduled = tracker.register(&info("", ""), &unscheduled);
        assert_eq!(count("b", "x"), 3);
        let other = RequestInfo {
            resource: "secrets".to_owned(),
            ..info("a", "x")
        };
        assert_eq!(tracker.interested(&other), 0);
        drop((all, second, a, one, cluster_scoped, unscheduled));
        assert!(tracker.watches.read().is_empty());
    }
}

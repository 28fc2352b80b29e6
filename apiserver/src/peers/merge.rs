//! Discovery documents of several servers as one, in an order that keeps each server's own as far as they agree. Upstream:
//! endpoints/discovery/aggregated/peer_aggregated_handler.go and apimachinery/pkg/util/sort.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_types::apidiscovery::v2::{
    APIGroupDiscovery, APIResourceDiscovery, APISubresourceDiscovery, APIVersionDiscovery,
};

/// Something of a document that has a name and can be joined with what another server says of it.
trait Part: Clone + PartialEq {
    fn name(&self) -> &str;
    /// `self` and `other`; None when nothing is added.
    fn join(&self, other: &Self) -> Option<Self>;
}

impl Part for APIGroupDiscovery {
    fn name(&self) -> &str {
        &self.metadata.name
    }

    fn join(&self, other: &Self) -> Option<Self> {
        let versions = join_lists(&self.versions, &other.versions)?;
        Some(APIGroupDiscovery {
            versions,
            ..self.clone()
        })
    }
}

impl Part for APIVersionDiscovery {
    fn name(&self) -> &str {
        &self.version
    }

    fn join(&self, other: &Self) -> Option<Self> {
        let resources = join_lists(&self.resources, &other.resources)?;
        Some(APIVersionDiscovery {
            resources,
            ..self.clone()
        })
    }
}

impl Part for APIResourceDiscovery {
    fn name(&self) -> &str {
        &self.resource
    }

    /// All verbs and subresources of both, sorted.
    fn join(&self, other: &Self) -> Option<Self> {
        if self == other {
            return None;
        }
        let verbs: BTreeSet<&String> = self.verbs.iter().chain(&other.verbs).collect();
        let subresources: BTreeMap<&str, &APISubresourceDiscovery> = self
            .subresources
            .iter()
            .chain(&other.subresources)
            .map(|subresource| (subresource.subresource.as_str(), subresource))
            .collect();
        Some(APIResourceDiscovery {
            verbs: verbs.into_iter().cloned().collect(),
            subresources: subresources.into_values().cloned().collect(),
            ..self.clone()
        })
    }
}

fn names<T: Part>(parts: &[T]) -> Vec<&str> {
    parts.iter().map(Part::name).collect()
}

/// Two lists as one; None when the second adds nothing to the first.
fn join_lists<T: Part>(a: &[T], b: &[T]) -> Option<Vec<T>> {
    let mut joined: HashMap<&str, T> = a.iter().map(|part| (part.name(), part.clone())).collect();
    let mut changed = false;
    for part in b {
        changed |= put(&mut joined, part);
    }
    let orders = [names(a), names(b)];
    if orders[0] == orders[1] {
        return changed.then(|| in_order(&joined, &orders[0]));
    }
    Some(in_order(&joined, &common_order(&orders)))
}

/// Adds a part; whether it has changed one that was there.
fn put<'a, T: Part>(joined: &mut HashMap<&'a str, T>, part: &'a T) -> bool {
    match joined.get_mut(part.name()) {
        None => {
            joined.insert(part.name(), part.clone());
            false
        }
        Some(have) => match have.join(part) {
            None => false,
            Some(both) => {
                *have = both;
                true
            }
        },
    }
}

fn in_order<T: Part>(parts: &HashMap<&str, T>, order: &[&str]) -> Vec<T> {
    let part = |name: &&str| parts.get(name).cloned();
    order.iter().filter_map(part).collect()
}

/// The groups of all servers; `own` are this server's, which are among `lists`, the lists in the order of the servers' names.
pub(super) fn groups<'a>(
    own: &[APIGroupDiscovery],
    lists: impl IntoIterator<Item = &'a Vec<APIGroupDiscovery>>,
) -> Vec<APIGroupDiscovery> {
    let mut joined = HashMap::new();
    let mut orders = Vec::new();
    let mut changed = false;
    for list in lists {
        for group in list {
            changed |= put(&mut joined, group);
        }
        orders.push(names(list));
    }
    let own_order = names(own);
    if orders.iter().any(|order| *order != own_order) {
        return in_order(&joined, &common_order(&orders));
    }
    if changed {
        in_order(&joined, &own_order)
    } else {
        own.to_vec()
    }
}

/// An order in which everything comes after what it comes after in some list; what no list decides goes by name. By name alone if
/// the lists contradict each other.
fn common_order<'a>(lists: &[Vec<&'a str>]) -> Vec<&'a str> {
    let all: BTreeSet<&str> = lists.iter().flatten().copied().collect();
    let has_all = |list: &&Vec<&'a str>| {
        list.len() == all.len() && list.iter().collect::<BTreeSet<_>>().len() == list.len()
    };
    if let Some(list) = lists.iter().find(has_all) {
        return list.clone();
    }
    // What directly follows what, and how many things each still waits for.
    let mut followers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut waits: BTreeMap<&str, usize> = all.iter().map(|name| (*name, 0)).collect();
    for pair in lists.iter().flat_map(|list| list.windows(2)) {
        if let [first, then] = pair
            && followers.entry(*first).or_default().insert(*then)
        {
            *waits.entry(*then).or_default() += 1;
        }
    }
    let free = waits.iter().filter(|(_, count)| **count == 0);
    let mut ready: BTreeSet<&str> = free.map(|(name, _)| *name).collect();
    let mut order = Vec::with_capacity(all.len());
    while let Some(name) = ready.pop_first() {
        order.push(name);
        for follower in followers.remove(name).unwrap_or_default() {
            if let Some(count) = waits.get_mut(follower) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(follower);
                }
            }
        }
    }
    if order.len() == all.len() {
        order
    } else {
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn ordered(lists: &[&[&str]], expected: &[&str]) {
        let lists: Vec<Vec<&str>> = lists.iter().map(|list| list.to_vec()).collect();
        assert_eq!(common_order(&lists), expected);
    }

    #[test]
    fn orders_are_kept() {
        ordered(&[&["a", "b", "c"], &["b", "c"]], &["a", "b", "c"]);
        ordered(&[&["c", "b", "a"], &["b"]], &["c", "b", "a"]);
        ordered(&[&["a", "c"], &["b", "c"]], &["a", "b", "c"]);
        ordered(&[&["z", "m"], &["m", "a"]], &["z", "m", "a"]);
        ordered(&[&["z"], &["a"]], &["a", "z"]);
        ordered(&[&["b", "a", "x"], &["a", "b", "y"]], &["a", "b", "x", "y"]);
        ordered(&[], &[]);
    }

    fn resource(name: &str, verbs: &[&str]) -> APIResourceDiscovery {
        APIResourceDiscovery {
            resource: name.to_owned(),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..APIResourceDiscovery::default()
        }
    }

    fn group(name: &str, versions: &[(&str, &[APIResourceDiscovery])]) -> APIGroupDiscovery {
        let mut group = APIGroupDiscovery::default();
        name.clone_into(&mut group.metadata.name);
        group.versions = versions
            .iter()
            .map(|(version, resources)| APIVersionDiscovery {
                version: (*version).to_owned(),
                resources: resources.to_vec(),
                freshness: "Current".to_owned(),
            })
            .collect();
        group
    }

    #[test]
    fn what_a_peer_has_more_is_added() {
        let jobs = [resource("jobs", &["get", "list"])];
        let both = [
            resource("cronjobs", &["get"]),
            resource("jobs", &["list", "create"]),
        ];
        let own = vec![
            group("apps", &[("v1", &[])]),
            group("batch", &[("v1", &jobs)]),
        ];
        let peer = vec![
            group("apps", &[("v1", &[])]),
            group("batch", &[("v2", &[]), ("v1", &both)]),
            group("node.k8s.io", &[("v1", &[])]),
        ];
        let merged = groups(&own, [&own, &peer]);
        assert_eq!(names(&merged), ["apps", "batch", "node.k8s.io"]);
        assert_eq!(names(&merged[1].versions), ["v2", "v1"]);
        let resources = &merged[1].versions[1].resources;
        assert_eq!(names(resources), ["cronjobs", "jobs"]);
        assert_eq!(resources[1].verbs, ["create", "get", "list"]);
        // Nothing new: this server's own document.
        assert_eq!(groups(&own, [&own, &own]), own);
    }
}

//! Nodes by zone, listed round-robin over zones, so that a search that ends early still looks into all zones. Upstream:
//! backend/cache/node_tree.go.

use api_types::core::v1::Node;

/// Names of nodes by zone. Zones stay in the order they came in, as do nodes in a zone.
#[derive(Debug, Default)]
pub struct NodeTree {
    zones: Vec<(String, Vec<String>)>,
}

/// Region and zone of a node as one text. Upstream: `GetZoneKey`.
pub fn zone_key(node: &Node) -> String {
    let labels = &node.metadata.labels;
    let either = |new: &str, old: &str| labels.get(old).or_else(|| labels.get(new)).cloned();
    let zone = either(
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
    )
    .unwrap_or_default();
    let region = either(
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/region",
    )
    .unwrap_or_default();
    if zone.is_empty() && region.is_empty() {
        return String::new();
    }
    // The separator is in no valid label.
    format!("{region}:\0:{zone}")
}

impl NodeTree {
    /// Adds a node unless it is there.
    pub fn add(&mut self, node: &Node) {
        let zone = zone_key(node);
        let name = &node.metadata.name;
        match self.zones.iter_mut().find(|(other, _)| *other == zone) {
            Some((_, nodes)) if nodes.contains(name) => {}
            Some((_, nodes)) => nodes.push(name.clone()),
            None => self.zones.push((zone, vec![name.clone()])),
        }
    }

    /// Removes a node; `false` if it was not there.
    pub fn remove(&mut self, node: &Node) -> bool {
        let zone = zone_key(node);
        let Some(at) = self.zones.iter().position(|(other, _)| *other == zone) else {
            return false;
        };
        let nodes = &mut self.zones[at].1;
        let Some(i) = nodes.iter().position(|name| *name == node.metadata.name) else {
            return false;
        };
        nodes.remove(i);
        if nodes.is_empty() {
            self.zones.remove(at);
        }
        true
    }

    /// Moves a node if its zone changed; tells whether it did.
    pub fn update(&mut self, old: &Node, new: &Node) -> bool {
        if zone_key(old) == zone_key(new) {
            return false;
        }
        self.remove(old);
        self.add(new);
        true
    }

    /// All nodes: the first of each zone, then the second of each, and so on.
    pub fn list(&self) -> Vec<&str> {
        let longest = self
            .zones
            .iter()
            .map(|(_, nodes)| nodes.len())
            .max()
            .unwrap_or(0);
        (0..longest)
            .flat_map(|i| self.zones.iter().filter_map(move |(_, nodes)| nodes.get(i)))
            .map(String::as_str)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, zone: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = name.into();
        if !zone.is_empty() {
            node.metadata
                .labels
                .insert("topology.kubernetes.io/zone".into(), zone.into());
        }
        node
    }

    #[test]
    fn goes_round_zones() {
        let mut tree = NodeTree::default();
        for (name, zone) in [
            ("a1", "a"),
            ("a2", "a"),
            ("a3", "a"),
            ("b1", "b"),
            ("c1", "c"),
            ("c2", "c"),
        ] {
            tree.add(&node(name, zone));
        }
        tree.add(&node("a1", "a"));
        assert_eq!(tree.list(), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(tree.remove(&node("b1", "b")));
        assert!(!tree.remove(&node("b1", "b")));
        assert!(tree.update(&node("a2", "a"), &node("a2", "")));
        assert!(!tree.update(&node("a1", "a"), &node("a1", "a")));
        assert_eq!(tree.list(), ["a1", "c1", "a2", "a3", "c2"]);
    }
}

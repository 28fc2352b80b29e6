//! An ordered map with cheap snapshots: a B-tree whose nodes are shared between versions and copied on write.
//! Upstream: cacher/store/store_btree.go.
//!
//! Cloning a [`Tree`] costs one reference count. A write copies only the nodes on its path that a clone still shares, so
//! a tree nobody holds a snapshot of is changed in place. Nodes know how many items lie below them: counting a range
//! and finding the n-th item cost the depth of the tree.

use std::sync::Arc;

use crate::storage::key::Key;

/// Most items of a leaf and children of an inner node.
const MAX: usize = 32;
/// Fewest before a node is merged with its neighbour.
const MIN: usize = 8;

/// Items carry their own key.
pub(crate) trait Keyed {
    fn key(&self) -> &Key;
}

/// See the module.
pub(crate) struct Tree<T> {
    root: Arc<Node<T>>,
    len: usize,
}

enum Node<T> {
    Leaf(Vec<Arc<T>>),
    Inner(Vec<Child<T>>),
}

struct Child<T> {
    /// Not above any key below; not necessarily the first key after removals.
    low: Key,
    count: usize,
    node: Arc<Node<T>>,
}

impl<T> Clone for Tree<T> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            len: self.len,
        }
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(items) => Self::Leaf(with_room(items)),
            Self::Inner(children) => Self::Inner(with_room(children)),
        }
    }
}

impl<T> Clone for Child<T> {
    fn clone(&self) -> Self {
        Self {
            low: self.low.clone(),
            count: self.count,
            node: Arc::clone(&self.node),
        }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(Vec::new())),
            len: 0,
        }
    }
}

/// A copy with room for the item that the copy is made for.
fn with_room<I: Clone>(items: &[I]) -> Vec<I> {
    let mut copy = Vec::with_capacity(items.len() + 1);
    copy.extend_from_slice(items);
    copy
}

impl<T: Keyed> Tree<T> {
    /// From items in ascending key order, each key once.
    pub(crate) fn from_sorted(items: Vec<Arc<T>>) -> Self {
        let len = items.len();
        let mut level: Vec<Child<T>> = chunks(items)
            .filter_map(|leaf| {
                let low = leaf.first()?.key().clone();
                Some(Child {
                    low,
                    count: leaf.len(),
                    node: Arc::new(Node::Leaf(leaf)),
                })
            })
            .collect();
        while level.len() > 1 {
            level = chunks(level)
                .filter_map(|children| {
                    let low = children.first()?.low.clone();
                    let count = children.iter().map(|child| child.count).sum();
                    Some(Child {
                        low,
                        count,
                        node: Arc::new(Node::Inner(children)),
                    })
                })
                .collect();
        }
        level.pop().map_or_else(Self::default, |child| Self {
            root: child.node,
            len,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<T>> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(items) => {
                    let index = items
                        .binary_search_by(|item| item.key().as_str().cmp(key))
                        .ok()?;
                    return items.get(index);
                }
                Node::Inner(children) => node = &children.get(route(children, key))?.node,
            }
        }
    }

    /// Adds or replaces; gives back what was there.
    pub(crate) fn insert(&mut self, item: Arc<T>) -> Option<Arc<T>> {
        let (old, split) = insert(&mut self.root, item);
        if old.is_none() {
            self.len += 1;
        }
        if let Some(right) = split {
            let left_count = self.len - right.count;
            // The low of the leftmost child is never compared: any key below goes left.
            let low = right.low.clone();
            let left = Child {
                low,
                count: left_count,
                node: Arc::clone(&self.root),
            };
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
        old
    }

    /// Removes; gives back what was there.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<T>> {
        // Looking first keeps a miss from copying the path.
        self.get(key)?;
        let old = remove(&mut self.root, key)?;
        self.len -= 1;
        while let Node::Inner(children) = &*self.root {
            let [only] = children.as_slice() else { break };
            self.root = Arc::clone(&only.node);
        }
        Some(old)
    }

    /// How many keys are below `key`.
    pub(crate) fn rank(&self, key: &str) -> usize {
        let mut rank = 0;
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(items) => {
                    return rank + items.partition_point(|item| item.key().as_str() < key);
                }
                Node::Inner(children) => {
                    let index = route(children, key);
                    rank += children
                        .iter()
                        .take(index)
                        .map(|child| child.count)
                        .sum::<usize>();
                    match children.get(index) {
                        Some(child) => node = &child.node,
                        None => return rank,
                    }
                }
            }
        }
    }

    /// The item with `rank` keys before it.
    pub(crate) fn nth(&self, mut rank: usize) -> Option<&Arc<T>> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(items) => return items.get(rank),
                Node::Inner(children) => {
                    let child = children.iter().find(|child| {
                        let inside = rank < child.count;
                        if !inside {
                            rank -= child.count;
                        }
                        inside
                    })?;
                    node = &child.node;
                }
            }
        }
    }

    /// All items from `start` on.
    pub(crate) fn cursor(&self, start: &str) -> Cursor<T> {
        let mut stack = Vec::with_capacity(4);
        let mut node = Arc::clone(&self.root);
        loop {
            let next = match &*node {
                Node::Leaf(items) => {
                    let index = items.partition_point(|item| item.key().as_str() < start);
                    stack.push((Arc::clone(&node), index));
                    return Cursor { stack };
                }
                Node::Inner(children) => {
                    let index = route(children, start);
                    // The frame remembers the child to visit after this one.
                    stack.push((Arc::clone(&node), index + 1));
                    children.get(index).map(|child| Arc::clone(&child.node))
                }
            };
            match next {
                Some(child) => node = child,
                None => return Cursor { stack },
            }
        }
    }
}

/// Walks a snapshot; holds the nodes on its path and nothing else.
pub(crate) struct Cursor<T> {
    stack: Vec<(Arc<Node<T>>, usize)>,
}

impl<T> Cursor<T> {
    /// Goes to the next item; false behind the last one.
    pub(crate) fn advance(&mut self) -> bool {
        while let Some((node, index)) = self.stack.last_mut() {
            let at = *index;
            *index += 1;
            let child = match &**node {
                Node::Leaf(items) if at < items.len() => return true,
                Node::Leaf(_) => None,
                Node::Inner(children) => children.get(at).map(|child| Arc::clone(&child.node)),
            };
            match child {
                Some(child) => self.stack.push((child, 0)),
                None => {
                    self.stack.pop();
                }
            }
        }
        false
    }

    /// The item that [`Self::advance`] went to.
    pub(crate) fn current(&self) -> Option<&Arc<T>> {
        let (node, index) = self.stack.last()?;
        match &**node {
            Node::Leaf(items) => items.get(index.checked_sub(1)?),
            Node::Inner(_) => None,
        }
    }
}

impl<T> Iterator for Cursor<T> {
    type Item = Arc<T>;

    fn next(&mut self) -> Option<Arc<T>> {
        self.advance();
        self.current().cloned()
    }
}

/// The child that holds `key` if any does.
fn route<T>(children: &[Child<T>], key: &str) -> usize {
    children.get(1..).map_or(0, |rest| {
        rest.partition_point(|child| child.low.as_str() <= key)
    })
}

fn insert<T: Keyed>(node: &mut Arc<Node<T>>, item: Arc<T>) -> (Option<Arc<T>>, Option<Child<T>>) {
    match Arc::make_mut(node) {
        Node::Leaf(items) => {
            match items.binary_search_by(|candidate| candidate.key().cmp(item.key())) {
                Ok(index) => match items.get_mut(index) {
                    Some(slot) => return (Some(std::mem::replace(slot, item)), None),
                    None => return (None, None),
                },
                Err(index) => items.insert(index, item),
            }
            if items.len() <= MAX {
                return (None, None);
            }
            let right = items.split_off(items.len() / 2);
            let split = right
                .first()
                .map(|first| first.key().clone())
                .map(|low| Child {
                    low,
                    count: right.len(),
                    node: Arc::new(Node::Leaf(right)),
                });
            (None, split)
        }
        Node::Inner(children) => {
            let index = route(children, item.key().as_str());
            let Some(child) = children.get_mut(index) else {
                return (None, None);
            };
            let (old, split) = insert(&mut child.node, item);
            if old.is_none() {
                child.count += 1;
            }
            let Some(right) = split else {
                return (old, None);
            };
            child.count -= right.count;
            children.insert(index + 1, right);
            if children.len() <= MAX {
                return (old, None);
            }
            let right = children.split_off(children.len() / 2);
            let split = right
                .first()
                .map(|first| first.low.clone())
                .map(|low| Child {
                    low,
                    count: right.iter().map(|child| child.count).sum(),
                    node: Arc::new(Node::Inner(right)),
                });
            (old, split)
        }
    }
}

fn remove<T: Keyed>(node: &mut Arc<Node<T>>, key: &str) -> Option<Arc<T>> {
    match Arc::make_mut(node) {
        Node::Leaf(items) => {
            let index = items
                .binary_search_by(|item| item.key().as_str().cmp(key))
                .ok()?;
            Some(items.remove(index))
        }
        Node::Inner(children) => {
            let index = route(children, key);
            let child = children.get_mut(index)?;
            let old = remove(&mut child.node, key)?;
            child.count -= 1;
            if child.node.width() < MIN && children.len() > 1 {
                join(children, if index == 0 { 0 } else { index - 1 });
            }
            Some(old)
        }
    }
}

impl<T> Node<T> {
    fn width(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

/// Merges the children at `index` and `index + 1`, or evens them out when one node cannot hold both.
fn join<T: Keyed>(children: &mut Vec<Child<T>>, index: usize) {
    let right = children.remove(index + 1);
    let Some(left) = children.get_mut(index) else {
        return;
    };
    let total = left.count + right.count;
    let split = match (Arc::make_mut(&mut left.node), &*right.node) {
        (Node::Leaf(items), Node::Leaf(more)) => {
            items.extend_from_slice(more);
            if items.len() > MAX {
                let right = items.split_off(items.len() / 2);
                right
                    .first()
                    .map(|first| first.key().clone())
                    .map(|low| (low, right.len(), Node::Leaf(right)))
            } else {
                None
            }
        }
        (Node::Inner(items), Node::Inner(more)) => {
            // The first child of the right node may have a low that was never compared; its parent's is right.
            let start = items.len();
            items.extend_from_slice(more);
            if let Some(first) = items.get_mut(start) {
                first.low = right.low.clone();
            }
            if items.len() > MAX {
                let right = items.split_off(items.len() / 2);
                let count = right.iter().map(|child| child.count).sum();
                right
                    .first()
                    .map(|first| first.low.clone())
                    .map(|low| (low, count, Node::Inner(right)))
            } else {
                None
            }
        }
        // All leaves have the same depth, so neighbours are of one sort.
        _ => return,
    };
    match split {
        None => left.count = total,
        Some((low, count, node)) => {
            left.count = total - count;
            children.insert(
                index + 1,
                Child {
                    low,
                    count,
                    node: Arc::new(node),
                },
            );
        }
    }
}

/// Cuts into runs of a size that leaves room for later insertions.
fn chunks<I>(items: Vec<I>) -> impl Iterator<Item = Vec<I>> {
    const FILL: usize = MAX * 3 / 4;
    let runs = items.len().div_ceil(FILL).max(1);
    let (size, longer) = (items.len() / runs, items.len() % runs);
    let mut items = items.into_iter();
    let mut run = 0;
    std::iter::from_fn(move || {
        let take = if run < longer { size + 1 } else { size };
        run += 1;
        let chunk: Vec<I> = items.by_ref().take(take).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Item {
        key: Key,
        value: u32,
    }

    impl Keyed for Item {
        fn key(&self) -> &Key {
            &self.key
        }
    }

    fn item(key: u32, value: u32) -> Arc<Item> {
        Arc::new(Item {
            key: Key(format!("{key:06}").into()),
            value,
        })
    }

    fn check(tree: &Tree<Item>, model: &BTreeMap<String, u32>) {
        assert_eq!(tree.len(), model.len());
        let items: Vec<(String, u32)> = tree
            .cursor("")
            .map(|item| (item.key.to_string(), item.value))
            .collect();
        let expected: Vec<(String, u32)> = model
            .iter()
            .map(|(key, value)| (key.clone(), *value))
            .collect();
        assert_eq!(items, expected);
        for (rank, (key, value)) in model.iter().enumerate() {
            assert_eq!(tree.get(key).map(|item| item.value), Some(*value));
            assert_eq!(tree.rank(key), rank);
            assert_eq!(
                tree.nth(rank).map(|item| item.key.to_string()),
                Some(key.clone())
            );
        }
        assert!(tree.nth(model.len()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Random writes against a BTreeMap, with snapshots that must not change.
        #[test]
        fn behaves_like_a_map(
            start in 0_u32..400,
            ops in proptest::collection::vec((any::<bool>(), 0_u32..600, any::<u32>()), 0..1500),
        ) {
            let mut model: BTreeMap<String, u32> = (0..start).map(|key| (format!("{key:06}"), key)).collect();
            let mut tree = Tree::from_sorted((0..start).map(|key| item(key, key)).collect());
            check(&tree, &model);
            let mut snapshots = Vec::new();
            for (step, (insert, key, value)) in ops.into_iter().enumerate() {
                let name = format!("{key:06}");
                if insert {
                    let old = tree.insert(item(key, value)).map(|item| item.value);
                    prop_assert_eq!(old, model.insert(name, value));
                } else {
                    let old = tree.remove(&name).map(|item| item.value);
                    prop_assert_eq!(old, model.remove(&name));
                }
                if step % 97 == 0 {
                    snapshots.push((tree.clone(), model.clone()));
                }
                let from = format!("{:06}", value % 600);
                prop_assert_eq!(
                    tree.cursor(&from).next().map(|item| item.key.to_string()),
                    model.range(from..).next().map(|(key, _)| key.clone())
                );
            }
            check(&tree, &model);
            for (snapshot, model) in &snapshots {
                check(snapshot, model);
            }
            for key in model.keys() {
                prop_assert!(tree.remove(key).is_some());
            }
            prop_assert_eq!(tree.len(), 0);
            prop_assert!(tree.cursor("").next().is_none());
        }
    }

    #[test]
    fn large_loads_keep_order() {
        let tree = Tree::from_sorted((0..50_000).map(|key| item(key, key)).collect());
        assert_eq!(tree.cursor("000000").count(), 50_000);
        assert_eq!(tree.rank("025000"), 25_000);
        assert_eq!(tree.nth(49_999).map(|item| item.value), Some(49_999));
    }
}

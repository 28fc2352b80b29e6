//! Sets of paths, kept as trees. Upstream: structured-merge-diff fieldpath/set.go.
//!
//! A set knows its members at this level, and below which elements there are more. An element can be a member, have members
//! below it, or both; that a child is a member does not make its parent one. Both lists are sorted, so that set operations
//! are merges, and no child is empty.

use super::path::{Path, PathElement};
use super::schema::{Schema, TypeId};

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    pub(super) members: Vec<PathElement>,
    pub(super) children: Vec<(PathElement, Set)>,
}

impl Set {
    /// The empty set.
    pub const fn new() -> Self {
        Self {
            members: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, child)| child.is_empty())
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
            + self
                .children
                .iter()
                .map(|(_, child)| child.len())
                .sum::<usize>()
    }

    /// Adds a path. The empty path is the whole object, which nobody owns.
    pub fn insert(&mut self, path: &Path) {
        let Some((last, parents)) = path.0.split_last() else {
            return;
        };
        let mut set = self;
        for element in parents {
            set = set.child_mut(element);
        }
        set.insert_element(last.clone());
    }

    /// Adds an element as a member at this level.
    pub(super) fn insert_element(&mut self, element: PathElement) {
        // Walks go in order most of the time.
        if self.members.last().is_none_or(|last| *last < element) {
            self.members.push(element);
        } else if let Err(at) = self.members.binary_search(&element) {
            self.members.insert(at, element);
        }
    }

    /// Adds all of a set below an element.
    pub(super) fn insert_child(&mut self, element: PathElement, set: Set) {
        if set.is_empty() {
            return;
        }
        if self.children.last().is_none_or(|(last, _)| *last < element) {
            self.children.push((element, set));
            return;
        }
        match self.children.binary_search_by(|(e, _)| e.cmp(&element)) {
            Ok(at) => {
                let merged = self.children[at].1.union(&set);
                self.children[at].1 = merged;
            }
            Err(at) => self.children.insert(at, (element, set)),
        }
    }

    fn child_mut(&mut self, element: &PathElement) -> &mut Set {
        let at = match self.children.binary_search_by(|(e, _)| e.cmp(element)) {
            Ok(at) => at,
            Err(at) => {
                self.children.insert(at, (element.clone(), Set::new()));
                at
            }
        };
        &mut self.children[at].1
    }

    /// What the set has below an element.
    pub fn child(&self, element: &PathElement) -> Option<&Set> {
        self.find_child(element).map(|at| &self.children[at].1)
    }

    fn find_child(&self, element: &PathElement) -> Option<usize> {
        self.children.binary_search_by(|(e, _)| e.cmp(element)).ok()
    }

    /// Whether an element at this level is a member.
    pub(super) fn has_element(&self, element: &PathElement) -> bool {
        self.members.binary_search(element).is_ok()
    }

    /// Whether the path is a member.
    pub fn has(&self, path: &Path) -> bool {
        let Some((last, parents)) = path.0.split_last() else {
            return false;
        };
        let mut set = self;
        for element in parents {
            match set.child(element) {
                Some(child) => set = child,
                None => return false,
            }
        }
        set.has_element(last)
    }

    /// The paths in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge(
            &self.members,
            &other.members,
            |e| e,
            |a, b| {
                out.members.extend(a.or(b).cloned());
            },
        );
        merge(
            &self.children,
            &other.children,
            |(e, _)| e,
            |a, b| match (a, b) {
                (Some((element, a)), Some((_, b))) => {
                    out.children.push((element.clone(), a.union(b)))
                }
                (a, b) => out.children.extend(a.or(b).cloned()),
            },
        );
        out
    }

    /// The paths in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::new();
        merge(
            &self.members,
            &other.members,
            |e| e,
            |a, b| {
                out.members.extend(a.filter(|_| b.is_some()).cloned());
            },
        );
        merge(
            &self.children,
            &other.children,
            |(e, _)| e,
            |a, b| {
                if let (Some((element, a)), Some((_, b))) = (a, b) {
                    out.insert_child(element.clone(), a.intersection(b));
                }
            },
        );
        out
    }

    /// The paths of this set that are not in the other. A path below one in the other set stays.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.difference_with(other, false)
    }

    /// The paths of this set that are neither in the other nor below one in it.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.difference_with(other, true)
    }

    fn difference_with(&self, other: &Self, recursive: bool) -> Self {
        let mut out = self.clone();
        out.remove_with(other, recursive);
        out
    }

    /// Whether a path is in both sets. The cost is that of a search for each path of the other set.
    pub(super) fn meets(&self, other: &Self) -> bool {
        if self.members.is_empty() && self.children.is_empty() {
            return false;
        }
        let below = |(element, below): &(PathElement, Self)| {
            self.child(element).is_some_and(|child| child.meets(below))
        };
        other
            .members
            .iter()
            .any(|element| self.has_element(element))
            || other.children.iter().any(below)
    }

    /// Whether all paths of the other set are in this one. The cost is that of a search for each of them.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let below = |(element, below): &(PathElement, Self)| match self.child(element) {
            Some(child) => child.contains(below),
            None => below.is_empty(),
        };
        other
            .members
            .iter()
            .all(|element| self.has_element(element))
            && other.children.iter().all(below)
    }

    /// Takes the paths of another set out. A path below one in the other set stays.
    pub(super) fn remove(&mut self, other: &Self) {
        self.remove_with(other, false);
    }

    /// The cost is that of a search for each path of the other set.
    fn remove_with(&mut self, other: &Self, recursive: bool) {
        if self.members.is_empty() && self.children.is_empty() {
            return;
        }
        for element in &other.members {
            if let Ok(at) = self.members.binary_search(element) {
                self.members.remove(at);
            }
            if recursive && let Some(at) = self.find_child(element) {
                self.children.remove(at);
            }
        }
        for (element, below) in &other.children {
            if let Some(at) = self.find_child(element) {
                self.children[at].1.remove_with(below, recursive);
                if self.children[at].1.is_empty() {
                    self.children.remove(at);
                }
            }
        }
    }

    /// Adds the paths of another set.
    pub(super) fn absorb(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            *self = self.union(&other);
        }
    }

    /// The paths that have no path of the set below them.
    #[must_use]
    pub fn leaves(&self) -> Self {
        Self {
            members: self
                .members
                .iter()
                .filter(|element| self.child(element).is_none())
                .cloned()
                .collect(),
            children: self
                .children
                .iter()
                .map(|(element, child)| (element.clone(), child.leaves()))
                .collect(),
        }
    }

    /// The set with every struct field added that has a member below it. Map entries and list items are not added.
    #[must_use]
    pub(super) fn with_named_fields(&self, schema: &Schema, ty: Option<TypeId>) -> Self {
        let atom = ty.map(|ty| schema.atom(ty));
        let mut out = Self {
            members: self.members.clone(),
            children: Vec::with_capacity(self.children.len()),
        };
        for (element, child) in &self.children {
            let mut child_type = None;
            match element {
                PathElement::Field(name) => {
                    if let Some(map) = atom.and_then(|atom| atom.map.as_ref()) {
                        child_type = map.element;
                        if let Some(field) = map.field(name) {
                            child_type = Some(field.ty);
                            out.insert_element(element.clone());
                        }
                    }
                }
                PathElement::Key(_) => {
                    child_type = atom
                        .and_then(|atom| atom.list.as_ref())
                        .map(|list| list.element)
                }
                PathElement::Value(_) | PathElement::Index(_) => {}
            }
            out.children
                .push((element.clone(), child.with_named_fields(schema, child_type)));
        }
        out
    }

    /// All paths: the members of a level first, then those below.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Path>) {
        for element in &self.members {
            let mut path = prefix.clone();
            path.push(element.clone());
            out.push(Path(path));
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect_paths(prefix, out);
            prefix.pop();
        }
    }
}

impl FromIterator<Path> for Set {
    fn from_iter<I: IntoIterator<Item = Path>>(paths: I) -> Self {
        let mut set = Self::new();
        for path in paths {
            set.insert(&path);
        }
        set
    }
}

/// Walks two sorted lists: what is in both comes as a pair, what is in one alone.
fn merge<'a, T>(
    left: &'a [T],
    right: &'a [T],
    key: impl Fn(&T) -> &PathElement,
    mut visit: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(key(b)),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        visit(a, b);
    }
}

/// Takes paths out of sets: fields that a resource's strategy resets, so that nobody can own them.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Drops these paths and all below them.
    Exclude(Set),
    /// Keeps paths that match, and all below them.
    Include(Matcher),
}

impl Filter {
    /// What is left of a set.
    pub fn apply(&self, mut set: Set) -> Set {
        match self {
            Self::Exclude(excluded) => {
                set.remove_with(excluded, true);
                set
            }
            Self::Include(matcher) => matcher.keep(&set),
        }
    }
}

/// Patterns of paths, with wildcards. Upstream: `SetMatcher`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// Everything matches.
    all: bool,
    /// Patterns of elements, those with a wildcard (`None`) first.
    members: Vec<(Option<PathElement>, Matcher)>,
}

impl Matcher {
    /// Matches every path.
    pub const fn all() -> Self {
        Self {
            all: true,
            members: Vec::new(),
        }
    }

    /// Matches paths that start like this; `None` is any element.
    pub fn prefix(
        parts: impl IntoIterator<Item = Option<PathElement>, IntoIter: DoubleEndedIterator>,
    ) -> Self {
        parts
            .into_iter()
            .rev()
            .fold(Self::all(), |child, part| Self {
                all: false,
                members: vec![(part, child)],
            })
    }

    /// Matches what either matches.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        if self.all || other.all {
            return Self::all();
        }
        let mut members = self.members.clone();
        for (pattern, child) in &other.members {
            match members.iter_mut().find(|(p, _)| p == pattern) {
                Some((_, mine)) => *mine = mine.or(child),
                None => members.push((pattern.clone(), child.clone())),
            }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Self {
            all: false,
            members,
        }
    }

    fn keep(&self, set: &Set) -> Set {
        if self.all {
            return set.clone();
        }
        let find = |element: &PathElement| {
            self.members
                .iter()
                .find(|(pattern, _)| pattern.as_ref().is_none_or(|p| p == element))
        };
        let mut out = Set::new();
        for element in &set.members {
            if find(element).is_some() {
                out.insert_element(element.clone());
            }
        }
        for (element, child) in &set.children {
            if let Some((_, matcher)) = find(element) {
                out.insert_child(element.clone(), matcher.keep(child));
            }
        }
        out
    }
}

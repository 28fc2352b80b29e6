//! What a list request gets: a view of a snapshot, not a copy.

use std::ops::Range;
use std::sync::Arc;

use prometheus::Counter;

use crate::storage::cacher::cache::{IndexItem, Snapshot};
use crate::storage::cacher::tree::{Cursor, Tree};
use crate::storage::continue_token::encode_continue;
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::key::{Scope, prefix_end};
use crate::storage::options::Predicate;

/// The answer to a list. Served from the cache it holds a snapshot and owns nothing per object.
pub struct List {
    source: Source,
    resource_version: u64,
    continue_token: String,
    remaining_item_count: Option<i64>,
    /// Counts what is handed out, for lists from the cache.
    returned: Option<Counter>,
}

enum Source {
    /// Keys in a range that a predicate selects.
    Tree {
        tree: Tree<Entry>,
        range: Range<String>,
        predicate: Arc<dyn Predicate>,
    },
    /// The same over the index: the range is of index keys.
    Index {
        tree: Tree<IndexItem>,
        range: Range<String>,
        predicate: Arc<dyn Predicate>,
    },
    /// Selected already.
    Items(Arc<[Arc<Entry>]>),
}

impl List {
    /// `metadata.resourceVersion` of the list.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// `metadata.continue` of the list; empty on the last page.
    pub fn continue_token(&self) -> &str {
        &self.continue_token
    }

    /// `metadata.remainingItemCount` of the list.
    pub fn remaining_item_count(&self) -> Option<i64> {
        self.remaining_item_count
    }

    /// The objects, in key order. The iterator is independent of the list.
    pub fn iter(&self) -> ListIter {
        let source = match &self.source {
            Source::Tree {
                tree,
                range,
                predicate,
            } => IterSource::Tree {
                cursor: tree.cursor(&range.start),
                left: self.len_hint(),
                predicate: Arc::clone(predicate),
            },
            Source::Index {
                tree,
                range,
                predicate,
            } => IterSource::Index {
                cursor: tree.cursor(&range.start),
                left: self.len_hint(),
                predicate: Arc::clone(predicate),
            },
            Source::Items(items) => IterSource::Items {
                items: Arc::clone(items),
                next: 0,
            },
        };
        ListIter {
            source,
            count: 0,
            returned: self.returned.clone(),
        }
    }

    /// An upper bound of the number of objects, without walking them.
    pub fn len_hint(&self) -> usize {
        match &self.source {
            Source::Tree { tree, range, .. } => tree
                .rank(&range.end)
                .saturating_sub(tree.rank(&range.start)),
            Source::Index { tree, range, .. } => tree
                .rank(&range.end)
                .saturating_sub(tree.rank(&range.start)),
            Source::Items(items) => items.len(),
        }
    }

    pub(crate) fn from_items(
        items: Vec<Arc<Entry>>,
        resource_version: u64,
        continue_token: String,
        remaining_item_count: Option<i64>,
    ) -> Self {
        Self {
            source: Source::Items(items.into()),
            resource_version,
            continue_token,
            remaining_item_count,
            returned: None,
        }
    }

    /// Counts the objects that are handed out.
    pub(crate) fn counted(self, returned: Counter) -> Self {
        Self {
            returned: Some(returned),
            ..self
        }
    }

    /// A page of a snapshot: at most `limit` objects (0: all) from `start` on. The continue token has the key from behind
    /// `token_prefix` on.
    pub(crate) fn from_snapshot(
        snapshot: Snapshot,
        scope: &Scope,
        start: Option<String>,
        limit: i64,
        predicate: Arc<dyn Predicate>,
        token_prefix: &str,
    ) -> Result<Self, Error> {
        let Snapshot { contents, revision } = snapshot;
        contents.check(scope)?;
        let tree = contents.tree;
        let mut range = start.unwrap_or_else(|| scope.prefix.to_string())..end(scope);
        let (mut continue_token, mut remaining) = (String::new(), None);
        if let (Ok(limit), true) = (usize::try_from(limit), limit > 0) {
            let (first, behind) = (tree.rank(&range.start), tree.rank(&range.end));
            // The last object of the page, and where it stands.
            let last = if predicate.is_everything() {
                tree.nth(first + limit - 1)
                    .map(|entry| (Arc::clone(entry), first + limit - 1))
            } else {
                tree.cursor(&range.start)
                    .take_while(|entry| entry.key.as_str() < range.end.as_str())
                    .enumerate()
                    .filter(|(_, entry)| predicate.matches(entry))
                    .nth(limit - 1)
                    .map(|(position, entry)| (entry, first + position))
            };
            if let Some((entry, position)) = last
                && position + 1 < behind
            {
                range.end = format!("{}\0", entry.key);
                let revision = i64::try_from(revision).unwrap_or(i64::MAX);
                continue_token = encode_continue(&range.end, token_prefix, revision)?;
                if predicate.is_everything() {
                    remaining = i64::try_from(behind - position - 1).ok();
                }
            }
        }
        Ok(Self {
            source: Source::Tree {
                tree,
                range,
                predicate,
            },
            resource_version: revision,
            continue_token,
            remaining_item_count: remaining,
            returned: None,
        })
    }

    /// Everything in the scope whose index field has a value.
    pub(crate) fn from_index(
        tree: Tree<IndexItem>,
        snapshot: &Snapshot,
        scope: &Scope,
        value: &str,
        predicate: Arc<dyn Predicate>,
    ) -> Result<Self, Error> {
        snapshot.contents.check(scope)?;
        let range = format!("{value}\0{}", scope.prefix)..format!("{value}\0{}", end(scope));
        Ok(Self {
            source: Source::Index {
                tree,
                range,
                predicate,
            },
            resource_version: snapshot.revision,
            continue_token: String::new(),
            remaining_item_count: None,
            returned: None,
        })
    }
}

/// The objects of a [`List`].
pub struct ListIter {
    source: IterSource,
    count: u64,
    returned: Option<Counter>,
}

impl Drop for ListIter {
    fn drop(&mut self) {
        if let Some(returned) = &self.returned {
            returned.inc_by(self.count as f64);
        }
    }
}

enum IterSource {
    Tree {
        cursor: Cursor<Entry>,
        /// Items of the range that are still to be looked at.
        left: usize,
        predicate: Arc<dyn Predicate>,
    },
    Index {
        cursor: Cursor<IndexItem>,
        left: usize,
        predicate: Arc<dyn Predicate>,
    },
    Items {
        items: Arc<[Arc<Entry>]>,
        next: usize,
    },
}

impl ListIter {
    /// The next object, left where it is: nothing is counted or copied for each of many.
    pub fn next_ref(&mut self) -> Option<&Entry> {
        self.advance().map(|entry| &**entry)
    }

    fn advance(&mut self) -> Option<&Arc<Entry>> {
        if !self.source.advance() {
            return None;
        }
        self.count += 1;
        self.source.current()
    }
}

impl Iterator for ListIter {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        self.advance().cloned()
    }
}

impl IterSource {
    /// Goes to the next object that is selected; false behind the last one.
    fn advance(&mut self) -> bool {
        loop {
            let more = match self {
                Self::Tree { cursor, left, .. } => spend(left) && cursor.advance(),
                Self::Index { cursor, left, .. } => spend(left) && cursor.advance(),
                Self::Items { items, next } => {
                    *next += 1;
                    return *next <= items.len();
                }
            };
            if !more || self.is_selected() {
                return more;
            }
        }
    }

    fn current(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Tree { cursor, .. } => cursor.current(),
            Self::Index { cursor, .. } => cursor.current().map(|item| &item.entry),
            Self::Items { items, next } => items.get(next.checked_sub(1)?),
        }
    }

    fn is_selected(&self) -> bool {
        match self {
            Self::Tree { predicate, .. } | Self::Index { predicate, .. } => {
                self.current().is_some_and(|entry| predicate.matches(entry))
            }
            Self::Items { .. } => true,
        }
    }
}

/// One less is left; false when there was none.
fn spend(left: &mut usize) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// The first key after a scope.
pub(crate) fn end(scope: &Scope) -> String {
    if !scope.recursive {
        return format!("{}\0", scope.prefix);
    }
    // The prefix ends in "/", so its successor is text.
    String::from_utf8(prefix_end(scope.prefix.as_bytes()))
        .unwrap_or_else(|_| format!("{}\u{10ffff}", scope.prefix))
}

//! Shares the strings of labels and fields, and whole sets of them: the pods of a deployment have one set of labels
//! between them.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::storage::entry::{Header, Pair, Pairs};

/// Never swept below this size.
const SWEEP_AT_LEAST: usize = 1024;

#[derive(Default)]
pub(crate) struct Interner {
    strings: HashSet<Arc<str>, RandomState>,
    sets: HashSet<Arc<[Pair]>, RandomState>,
    sweep_at: usize,
}

impl Interner {
    /// Replaces the strings of `header` by shared ones, and its sets by those of the object's previous version when
    /// they are equal, as they are in all status updates.
    pub(crate) fn compact(&mut self, header: &mut Header, previous: Option<&Header>) {
        self.pairs(&mut header.labels, previous.map(|header| &header.labels));
        self.pairs(&mut header.fields, previous.map(|header| &header.fields));
        if self.strings.len() + self.sets.len() > self.sweep_at.max(SWEEP_AT_LEAST) {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.strings.retain(|string| Arc::strong_count(string) > 1);
            self.sweep_at = (self.strings.len() + self.sets.len()) * 2;
        }
    }

    fn pairs(&mut self, pairs: &mut Pairs, previous: Option<&Pairs>) {
        if let Some(previous) = previous
            && previous == pairs
        {
            *pairs = previous.clone();
            return;
        }
        let Some(set) = &mut pairs.0 else { return };
        if let Some(shared) = self.sets.get(set) {
            *set = Arc::clone(shared);
            return;
        }
        *set = set
            .iter()
            .map(|(name, value)| (self.string(name), self.string(value)))
            .collect();
        self.sets.insert(Arc::clone(set));
    }

    fn string(&mut self, string: &Arc<str>) -> Arc<str> {
        if let Some(shared) = self.strings.get(string) {
            return Arc::clone(shared);
        }
        self.strings.insert(Arc::clone(string));
        Arc::clone(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_and_sets_are_shared_and_swept() {
        let mut interner = Interner::default();
        let header = |app: &str| Header {
            labels: Pairs::new([("app", app)]),
            ..Header::default()
        };
        let (mut a, mut b) = (header("web"), header("db"));
        interner.compact(&mut a, None);
        interner.compact(&mut b, None);
        let key = |header: &Header| Arc::as_ptr(&header.labels.0.as_ref().unwrap()[0].0);
        assert!(std::ptr::addr_eq(key(&a), key(&b)));
        let mut update = header("web");
        interner.compact(&mut update, Some(&a));
        assert!(Arc::ptr_eq(
            update.labels.0.as_ref().unwrap(),
            a.labels.0.as_ref().unwrap()
        ));
        let mut replica = header("web");
        interner.compact(&mut replica, None);
        assert!(Arc::ptr_eq(
            replica.labels.0.as_ref().unwrap(),
            a.labels.0.as_ref().unwrap()
        ));
        for number in 0..10_000 {
            interner.compact(&mut header(&number.to_string()), None);
        }
        assert!(
            interner.strings.len() <= SWEEP_AT_LEAST + 2,
            "{}",
            interner.strings.len()
        );
    }
}

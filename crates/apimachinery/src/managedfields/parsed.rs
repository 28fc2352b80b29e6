//! Sets of fields that were parsed lately.
//!
//! Every write of an object needs the sets of all its managers, and the objects of a workload, or one object that is written again
//! and again, have the same few. A set is found by its text.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use api_types::FieldsV1;

use super::fields_v1::ParseSetError;
use super::set::Set;

/// Texts longer than this are not kept.
const MAX_TEXT: usize = 8 << 10;
/// Text in one generation, in bytes. A set takes some ten times the memory of its text.
const MAX_GENERATION: usize = 64 << 10;

/// The texts in use, in two generations: what is found in the old one is young again, and when the young one is full the old one is
/// forgotten.
#[derive(Default)]
struct Cache {
    young: HashMap<Vec<u8>, Arc<Set>>,
    old: HashMap<Vec<u8>, Arc<Set>>,
    /// Text in the young generation.
    bytes: usize,
}

impl Cache {
    fn find(&mut self, text: &[u8]) -> Option<Arc<Set>> {
        if let Some(set) = self.young.get(text) {
            return Some(Arc::clone(set));
        }
        let (text, set) = self.old.remove_entry(text)?;
        self.keep(text, &set);
        Some(set)
    }

    fn keep(&mut self, text: Vec<u8>, set: &Arc<Set>) {
        self.bytes += text.len();
        if self.bytes > MAX_GENERATION {
            self.bytes = text.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, Arc::clone(set));
    }
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// The set that a text stands for.
pub(super) fn parse(fields: &FieldsV1) -> Result<Arc<Set>, ParseSetError> {
    let cached = !fields.raw.is_empty() && fields.raw.len() <= MAX_TEXT;
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cached && let Some(set) = cache().find(&fields.raw) {
        return Ok(set);
    }
    let set = Arc::new(Set::parse(fields)?);
    if cached {
        cache().keep(fields.raw.clone(), &set);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize) -> Vec<u8> {
        format!("{{\"f:data\":{{\"f:{n:01000}\":{{}}}}}}").into_bytes()
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = Cache::default();
        let set = Arc::new(Set::new());
        cache.keep(text(0), &set);
        for n in 1..1000 {
            assert!(cache.find(&text(0)).is_some(), "after {n}");
            cache.keep(text(n), &set);
            let kept: usize = cache
                .young
                .keys()
                .chain(cache.old.keys())
                .map(Vec::len)
                .sum();
            assert!(kept <= 2 * MAX_GENERATION, "{kept}");
        }
        assert!(cache.find(&text(999)).is_some());
        assert!(cache.find(&text(1)).is_none());
    }

    #[test]
    fn the_same_text_is_the_same_set() {
        let fields = FieldsV1::new(text(7));
        let first = parse(&fields).unwrap();
        assert_eq!(*first, Set::parse(&fields).unwrap());
        assert!(Arc::ptr_eq(&first, &parse(&fields).unwrap()));
        assert!(parse(&FieldsV1::new("{\"x\":{}}")).is_err());
        assert!(parse(&FieldsV1::default()).unwrap().is_empty());
    }
}

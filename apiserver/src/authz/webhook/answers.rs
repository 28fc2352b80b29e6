//! Answers of a webhook that are good for a while. Upstream: LRUExpireCache of apimachinery/pkg/util/cache.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use api_types::authorization::{v1, v1beta1};
use aws_lc_rs::digest;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Upstream keeps as many.
const CAPACITY: usize = 8192;

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) denied: bool,
    pub(super) reason: String,
}

macro_rules! from_status {
    ($status:ty) => {
        impl From<$status> for Answer {
            fn from(status: $status) -> Self {
                Self {
                    allowed: status.allowed,
                    denied: status.denied,
                    reason: status.reason,
                }
            }
        }
    };
}

from_status!(v1::SubjectAccessReviewStatus);
from_status!(v1beta1::SubjectAccessReviewStatus);

pub(super) type Key = [u8; 32];

/// The whole question, as a hash: groups and extra can be long, and no two questions share an answer.
pub(super) fn key(spec: &v1::SubjectAccessReviewSpec) -> Key {
    let digest = digest::digest(&digest::SHA256, &api_types::encode_json(spec));
    let mut key = [0; 32];
    key.copy_from_slice(digest.as_ref());
    key
}

/// Answers, of which those that were not used for the longest time go first.
#[derive(Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

struct Entry {
    answer: Answer,
    until: Instant,
    last_use: u64,
}

impl Answers {
    pub(super) fn get(&self, key: &Key) -> Option<Answer> {
        let kept = &mut *self.0.lock();
        let entry = kept.entries.get_mut(key)?;
        kept.by_use.remove(&entry.last_use);
        if entry.until <= Instant::now() {
            kept.entries.remove(key);
            return None;
        }
        kept.uses += 1;
        entry.last_use = kept.uses;
        kept.by_use.insert(kept.uses, *key);
        Some(entry.answer.clone())
    }

    pub(super) fn add(&self, key: Key, answer: Answer, keep: Duration) {
        let kept = &mut *self.0.lock();
        kept.uses += 1;
        let entry = Entry {
            answer,
            until: Instant::now() + keep,
            last_use: kept.uses,
        };
        if let Some(old) = kept.entries.insert(key, entry) {
            kept.by_use.remove(&old.last_use);
        }
        kept.by_use.insert(kept.uses, key);
        if kept.entries.len() > CAPACITY
            && let Some((_, oldest)) = kept.by_use.pop_first()
        {
            kept.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[tokio::test(start_paused = true)]
    async fn answers_end() {
        let answers = Answers::default();
        answers.add(number(1), Answer::default(), Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(answers.get(&number(1)).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(answers.get(&number(1)).is_none());
        assert!(answers.0.lock().by_use.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_used_goes_first() {
        let answers = Answers::default();
        let keep = Duration::from_secs(5);
        for i in 0..CAPACITY {
            answers.add(number(i), Answer::default(), keep);
        }
        assert!(answers.get(&number(0)).is_some());
        answers.add(number(CAPACITY), Answer::default(), keep);
        assert!(answers.get(&number(0)).is_some());
        assert!(answers.get(&number(1)).is_none());
        assert!(answers.get(&number(CAPACITY)).is_some());
        let kept = answers.0.lock();
        assert_eq!(kept.entries.len(), CAPACITY);
        assert_eq!(kept.by_use.len(), CAPACITY);
    }
}

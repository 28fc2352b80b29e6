//! Exponential back-off per key, as client-go's `flowcontrol.Backoff`: restarts of containers and pulls of images use it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug)]
struct Entry {
    backoff: SignedDuration,
    last_update: Timestamp,
}

/// Delays that double per key up to a maximum; a key that was quiet for twice the maximum starts over.
#[derive(Debug)]
pub struct Backoff {
    initial: SignedDuration,
    max: SignedDuration,
    entries: Mutex<HashMap<String, Entry>>,
}

impl Backoff {
    /// First delay and longest delay.
    #[must_use]
    pub fn new(initial: SignedDuration, max: SignedDuration) -> Self {
        Backoff {
            initial,
            max,
            entries: Mutex::new(HashMap::new()),
        }
    }

    fn expired(&self, event: Timestamp, last_update: Timestamp) -> bool {
        event.duration_since(last_update) > self.max * 2
    }

    /// The current delay of the key; zero when it has none.
    pub fn get(&self, key: &str) -> SignedDuration {
        self.entries
            .lock()
            .get(key)
            .map_or(SignedDuration::ZERO, |entry| entry.backoff)
    }

    /// Records an event: the delay of the key doubles.
    pub fn next(&self, key: &str, event: Timestamp, now: Timestamp) {
        let mut entries = self.entries.lock();
        let backoff = match entries.get(key) {
            Some(entry) if !self.expired(event, entry.last_update) => {
                (entry.backoff * 2).min(self.max)
            }
            _ => self.initial.min(self.max),
        };
        entries.insert(
            key.to_owned(),
            Entry {
                backoff,
                last_update: now,
            },
        );
    }

    /// Whether the delay that began with `event` is still running.
    pub fn is_in_backoff_since(&self, key: &str, event: Timestamp, now: Timestamp) -> bool {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(key) else {
            return false;
        };
        !self.expired(event, entry.last_update) && now.duration_since(event) < entry.backoff
    }

    /// Whether the delay that began with the last [`Backoff::next`] is still running at `now`.
    pub fn is_in_backoff_since_update(&self, key: &str, now: Timestamp) -> bool {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(key) else {
            return false;
        };
        !self.expired(now, entry.last_update)
            && now.duration_since(entry.last_update) < entry.backoff
    }

    /// Forgets keys that were quiet for long.
    pub fn gc(&self, now: Timestamp) {
        let limit = self.max * 2;
        self.entries
            .lock()
            .retain(|_, entry| now.duration_since(entry.last_update) <= limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: i64) -> SignedDuration {
        SignedDuration::from_secs(value)
    }

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff::new(seconds(10), seconds(300));
        let start = Timestamp::from_second(1_000_000).expect("time");
        let mut now = start;
        let mut seen = Vec::new();
        for _ in 0..7 {
            backoff.next("key", now, now);
            seen.push(backoff.get("key").as_secs());
            now += backoff.get("key");
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn starts_over_after_quiet_time() {
        let backoff = Backoff::new(seconds(10), seconds(300));
        let now = Timestamp::from_second(1_000_000).expect("time");
        backoff.next("key", now, now);
        backoff.next("key", now, now);
        assert_eq!(backoff.get("key"), seconds(20));
        let later = now + seconds(601);
        backoff.next("key", later, later);
        assert_eq!(backoff.get("key"), seconds(10));
        assert!(backoff.is_in_backoff_since("key", later, later + seconds(9)));
        assert!(!backoff.is_in_backoff_since("key", later, later + seconds(10)));
        assert!(!backoff.is_in_backoff_since("other", later, later));
        backoff.gc(later + seconds(601));
        assert_eq!(backoff.get("key"), SignedDuration::ZERO);
    }
}

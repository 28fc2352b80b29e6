//! Spaces the deletion of failed daemon pods on one node. Upstream: `flowcontrol.Backoff` in client-go.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

struct Entry {
    delay: Duration,
    since: Timestamp,
}

/// Delays by key, doubling with each event that follows soon.
#[derive(Default)]
pub(super) struct Backoff(Mutex<HashMap<String, Entry>>);

fn age(entry: &Entry, now: Timestamp) -> Duration {
    let age = now.duration_since(entry.since);
    if age.is_negative() {
        Duration::ZERO
    } else {
        age.unsigned_abs()
    }
}

fn is_over(entry: &Entry, now: Timestamp) -> bool {
    age(entry, now) > 2 * LONGEST
}

impl Backoff {
    /// The delay that an event now falls into, if it does.
    pub(super) fn waiting(&self, key: &str, now: Timestamp) -> Option<Duration> {
        let entries = self.0.lock();
        let entry = entries.get(key).filter(|entry| !is_over(entry, now))?;
        (age(entry, now) < entry.delay).then_some(entry.delay)
    }

    /// Notes an event; the next one waits longer.
    pub(super) fn note(&self, key: &str, now: Timestamp) {
        let mut entries = self.0.lock();
        let delay = entries
            .get(key)
            .filter(|entry| !is_over(entry, now))
            .map_or(FIRST, |entry| (2 * entry.delay).min(LONGEST));
        entries.insert(key.to_owned(), Entry { delay, since: now });
    }

    /// Forgets keys without recent events.
    pub(super) fn collect(&self, now: Timestamp) {
        self.0.lock().retain(|_, entry| !is_over(entry, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_expire() {
        let (backoff, at) = (Backoff::default(), |seconds| {
            Timestamp::from_second(seconds).unwrap()
        });
        assert_eq!(backoff.waiting("n", at(0)), None);
        backoff.note("n", at(0));
        assert_eq!(backoff.waiting("n", at(0)), Some(Duration::from_secs(1)));
        assert_eq!(backoff.waiting("n", at(1)), None);
        backoff.note("n", at(1));
        assert_eq!(backoff.waiting("n", at(2)), Some(Duration::from_secs(2)));
        assert_eq!(backoff.waiting("other", at(2)), None);
        for _ in 0..20 {
            backoff.note("n", at(10));
        }
        assert_eq!(backoff.waiting("n", at(10)), Some(LONGEST));
        backoff.note("n", at(10 + 1801));
        assert_eq!(
            backoff.waiting("n", at(10 + 1801)),
            Some(FIRST),
            "after a long quiet time it starts again"
        );
        backoff.collect(at(9999));
        assert!(backoff.0.lock().is_empty());
    }
}

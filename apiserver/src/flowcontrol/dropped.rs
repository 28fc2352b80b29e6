//! How long clients that are turned away are told to wait. Upstream: util/flowcontrol/dropped_requests_tracker.go.
//!
//! Like TCP: while a priority level keeps turning requests away the wait doubles, up to [`MAX_RETRY_AFTER`], and once it does
//! no more it shrinks second by second.

use std::collections::HashMap;

use parking_lot::Mutex;

const MAX_RETRY_AFTER: u64 = 32;

/// What happened at a priority level, in seconds of any clock.
#[derive(Debug)]
struct History {
    /// Seconds of the past and how many requests were turned away in them.
    past: Vec<(u64, u64)>,
    second: u64,
    count: u64,
    retry_after: u64,
    /// When it was doubled.
    raised: Option<u64>,
}

/// Requests turned away lately, by priority level.
#[derive(Debug, Default)]
pub(crate) struct DroppedRequests(Mutex<HashMap<String, History>>);

impl DroppedRequests {
    /// A request of this level is turned away: for how many seconds.
    pub(crate) fn note(&self, level: &str, second: u64) -> u64 {
        let mut levels = self.0.lock();
        if let Some(history) = levels.get_mut(level) {
            history.note(second);
            return history.retry_after;
        }
        let history = History {
            past: Vec::new(),
            second,
            count: 1,
            retry_after: 1,
            raised: None,
        };
        levels.insert(level.to_owned(), history);
        1
    }
}

impl History {
    fn note(&mut self, second: u64) {
        if second == self.second {
            self.count += 1;
            return;
        }
        self.past.push((self.second, self.count));
        let keep = (2 * self.retry_after).min(MAX_RETRY_AFTER);
        let last = self.second;
        self.past.retain(|(at, _)| last.saturating_sub(*at) <= keep);
        self.second = second;
        self.count = 1;
        self.adjust(second);
    }

    fn adjust(&mut self, now: u64) {
        let wait = self.retry_after;
        let dropped: u64 = self
            .past
            .iter()
            .filter(|(at, _)| *at < now && now - at <= wait)
            .map(|(_, count)| count)
            .sum();
        let may_raise = self
            .raised
            .is_none_or(|raised| now.saturating_sub(raised) >= wait);
        if may_raise && dropped >= 3 * wait {
            self.retry_after = (2 * wait).min(MAX_RETRY_AFTER);
            self.raised = Some(now);
        } else if dropped < wait && wait > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of upstream's TestDroppedRequestsTracker.
    #[test]
    fn the_wait_grows_and_shrinks() {
        let steps: &[(u64, u64)] = &[
            // Seconds since the step before, expected wait: each second five requests are turned away.
            (0, 1),
            (1, 2),
            (1, 2),
            (1, 4),
            (1, 4),
            (1, 4),
            (1, 4),
            (1, 8),
        ];
        let dropped = DroppedRequests::default();
        let mut second = 1000;
        for (step, expected) in steps {
            second += step;
            let mut last = 0;
            for _ in 0..5 {
                last = dropped.note("a", second);
            }
            assert_eq!(last, *expected, "at {second}");
        }
        for expected in [7, 6, 5, 4, 3, 2, 1, 1] {
            second += 40;
            assert_eq!(dropped.note("a", second), expected);
        }
        assert_eq!(dropped.note("b", second), 1);
    }
}

//! How long a Job waits before it replaces failed pods. Upstream: backoff_utils.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use client::ObjectKey;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::pods::{failures_before, finished_at};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Failures since the last success of a Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    failures: i32,
    last: Option<Timestamp>,
}

/// The records of all Jobs.
#[derive(Default)]
pub(super) struct Records(Mutex<HashMap<ObjectKey, Record>>);

impl Records {
    /// The Job's record with newly finished pods. It is kept by [`Records::keep`] once the pods are counted.
    pub(super) fn with(
        &self,
        key: &ObjectKey,
        succeeded: &[Arc<Pod>],
        failed: &[Arc<Pod>],
    ) -> Record {
        let before = self.0.lock().get(key).cloned().unwrap_or_default();
        before.with(
            succeeded.iter().map(|pod| finished_at(pod)).max(),
            failed.iter().map(|pod| finished_at(pod)).collect(),
        )
    }

    pub(super) fn keep(&self, key: &ObjectKey, record: Record) {
        self.0.lock().insert(key.clone(), record);
    }

    pub(super) fn remove(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

impl Record {
    fn with(self, last_success: Option<Timestamp>, failures: Vec<Timestamp>) -> Self {
        match last_success {
            None if failures.is_empty() => self,
            None => Self {
                failures: self.failures.saturating_add(failures.len() as i32),
                last: failures.into_iter().max(),
            },
            // A success forgives what failed before it.
            Some(success) => {
                let later: Vec<_> = failures
                    .into_iter()
                    .filter(|failure| *failure > success)
                    .collect();
                Self {
                    failures: later.len() as i32,
                    last: later.into_iter().max(),
                }
            }
        }
    }

    /// The time left before new pods may be created.
    pub(super) fn remaining(&self, now: Timestamp) -> Duration {
        remaining(self.failures, self.last, now)
    }
}

/// The time left before the index of this failed pod gets a new one.
pub(super) fn remaining_for_index(last_failed: Option<&Arc<Pod>>, now: Timestamp) -> Duration {
    last_failed.map_or(Duration::ZERO, |pod| {
        remaining(
            failures_before(pod).saturating_add(1),
            Some(finished_at(pod)),
            now,
        )
    })
}

fn remaining(failures: i32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let (Some(last), true) = (last, failures > 0) else {
        return Duration::ZERO;
    };
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(16);
    let wait = (FIRST * 2u32.pow(doublings)).min(LONGEST);
    let left = jiff::SignedDuration::try_from(wait).unwrap_or_default() - now.duration_since(last);
    if left.is_negative() {
        Duration::ZERO
    } else {
        left.unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn delays_double_with_failures() {
        let check = |failures, since, expected| {
            assert_eq!(
                remaining(failures, Some(at(0)), at(since)),
                Duration::from_secs(expected),
                "{failures} failures, {since} s ago"
            );
        };
        check(0, 0, 0);
        check(1, 0, 10);
        check(1, 4, 6);
        check(1, 10, 0);
        check(2, 0, 20);
        check(4, 0, 80);
        check(7, 0, 600);
        check(i32::MAX, 0, 600);
        check(3, 1000, 0);
        assert_eq!(remaining(3, None, at(0)), Duration::ZERO);
    }

    #[test]
    fn a_success_forgives_earlier_failures() {
        let record = Record {
            failures: 2,
            last: Some(at(5)),
        };
        assert_eq!(record.clone().with(None, vec![]), record);
        assert_eq!(
            record.clone().with(None, vec![at(9), at(7)]),
            Record {
                failures: 4,
                last: Some(at(9))
            }
        );
        assert_eq!(record.clone().with(Some(at(8)), vec![]), Record::default());
        assert_eq!(
            record.with(Some(at(8)), vec![at(7), at(9), at(12), at(8)]),
            Record {
                failures: 2,
                last: Some(at(12))
            }
        );
    }
}

//! What is counted of writes besides their answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use component_base::metrics::{Metrics, Opts, Stability};

use super::histogram::{self, Histogram};

/// What rules that are generated from tags would count. There are none here, and so nothing that differs from those written by hand.
pub(super) fn register_declarative(metrics: &Metrics) {
    for (name, help, stability) in [
        (
            "declarative_validation_mismatch_total",
            "Number of times declarative validation results differed from handwritten validation results for core types.",
            Stability::Beta,
        ),
        (
            "declarative_validation_panic_total",
            "Number of times declarative validation has panicked during validation.",
            Stability::Beta,
        ),
        (
            "duplicate_validation_error_total",
            "Number of duplicate validation errors during validation.",
            Stability::Internal,
        ),
    ] {
        let name = format!("apiserver_validation_{name}");
        metrics.counter(Opts::new(name, help).stability(stability));
    }
}

/// Who has noticed what became of a request after its time was up.
#[derive(Clone, Copy)]
pub(super) enum Source {
    RestHandler,
    TimeoutHandler,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostTimeout {
    Error,
    Ok,
    Panic,
    Pending,
}

const SOURCES: [(Source, &str); 2] = [
    (Source::RestHandler, "rest-handler"),
    (Source::TimeoutHandler, "timeout-handler"),
];
const OUTCOMES: [(PostTimeout, &str); 4] = [
    (PostTimeout::Error, "error"),
    (PostTimeout::Ok, "ok"),
    (PostTimeout::Panic, "panic"),
    (PostTimeout::Pending, "pending"),
];

#[derive(Default)]
pub(super) struct PostTimeouts([[AtomicU64; 4]; 2]);

impl PostTimeouts {
    pub(super) fn count(&self, source: Source, outcome: PostTimeout) {
        self.0[source as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Source, status and number of those that there were.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        SOURCES.iter().flat_map(move |(source, by)| {
            OUTCOMES.iter().filter_map(move |(outcome, status)| {
                let count = self.0[*source as usize][*outcome as usize].load(Ordering::Relaxed);
                (count > 0).then_some((*by, *status, count))
            })
        })
    }
}

/// How it was found out whether an update changes anything but times of managed fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    UnequalFast,
    UnequalSlow,
}

pub(super) const COMPARISONS: [(Comparison, &str); 3] = [
    (Comparison::Equal, "equal_objects"),
    (Comparison::UnequalFast, "unequal_objects_fast"),
    (Comparison::UnequalSlow, "unequal_objects_slow"),
];

pub(super) struct Comparisons([Histogram; 3]);

impl Default for Comparisons {
    fn default() -> Comparisons {
        Comparisons(std::array::from_fn(|_| {
            Histogram::new(&histogram::COMPARISONS)
        }))
    }
}

impl Comparisons {
    pub(super) fn observe(&self, outcome: Comparison, took: Duration) {
        self.0[outcome as usize].observe_duration(took);
    }

    pub(super) fn of(&self, outcome: Comparison) -> &Histogram {
        &self.0[outcome as usize]
    }
}

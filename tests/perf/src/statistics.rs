//! Percentiles and medians of samples that all fit into memory.

use std::time::Duration;

/// What is told of a set of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

impl Percentiles {
    /// `None` of no samples.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        let at = |percent| nearest_rank(&samples, percent).map(milliseconds);
        Some(Self {
            p50: at(50)?,
            p90: at(90)?,
            p99: at(99)?,
        })
    }
}

/// The smallest sample that at least `percent` per cent of all samples do not exceed.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(samples: impl IntoIterator<Item = u64>, expected: Option<(f64, f64, f64)>) {
        let samples = samples.into_iter().map(Duration::from_millis).collect();
        let found = Percentiles::of(samples).map(|found| (found.p50, found.p90, found.p99));
        assert_eq!(found, expected);
    }

    #[test]
    fn percentiles() {
        check([], None);
        check([7], Some((7.0, 7.0, 7.0)));
        check([4, 1], Some((1.0, 4.0, 4.0)));
        check((1..=100).rev(), Some((50.0, 90.0, 99.0)));
        check(1..=1000, Some((500.0, 900.0, 990.0)));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
